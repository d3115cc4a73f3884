//! What a checkpoint changes, and the redo file that makes it one step.
//!
//! ```text
//! redo: "HFREDO01" | change u64 | flag u8, checkpoint 56 bytes | count u32 | entries | crc32c u32 of all before
//! entry: family u8 | kind u8 (0 delete, 1 put) | key length u16 | row length u32 | key | row
//! ```
//!
//! All numbers little-endian. The magic carries the version; a file of another version is damage, because redo files do not
//! outlive a clean stop of the version that wrote them.
use std::ops::Range;

use super::rows::{Family, ROW_MAX_BYTES};
use crate::storage::keys::{KeyEntry, KeyHash};

/// Up to where the stored states have the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of the last record whose effect is in the rows.
    pub number: u64,
    /// The epoch of that record.
    pub epoch: u64,
    /// The hash chain of the log after that record's group.
    pub chain: [u8; 32],
    /// The logged time of that record, in Unix milliseconds.
    pub logged_at_ms: u64,
}

impl Checkpoint {
    pub(super) const BYTES: usize = 8 + 8 + 32 + 8;

    pub(super) fn to_bytes(self) -> [u8; Checkpoint::BYTES] {
        let mut out = [0; Checkpoint::BYTES];
        out[..8].copy_from_slice(&self.number.to_le_bytes());
        out[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..48].copy_from_slice(&self.chain);
        out[48..].copy_from_slice(&self.logged_at_ms.to_le_bytes());
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Checkpoint> {
        let mut input = Input(bytes);
        let checkpoint = Checkpoint {
            number: input.u64()?,
            epoch: input.u64()?,
            chain: input.array()?,
            logged_at_ms: input.u64()?,
        };
        input.0.is_empty().then_some(checkpoint)
    }
}

/// The rows that one checkpoint writes and deletes: the state as of its record number, not the way there. For one key the last
/// change counts.
#[derive(Debug, Default)]
pub struct RowChanges {
    pub(super) rows: Vec<RowChange>,
    pub(super) keys: Vec<KeyChange>,
    pub(super) ended: Vec<EndedChange>,
    /// The payloads and rows that `keys` and `ended` point into; one buffer, because there are very many.
    pub(super) bytes: Vec<u8>,
}

/// An idempotency key to be stored.
#[derive(Debug)]
pub(super) struct KeyChange {
    pub(super) hash: KeyHash,
    pub(super) entry: KeyEntry,
    pub(super) logged_at_ms: u64,
    pub(super) payload: Range<usize>,
}

/// A hold that has ended, or is live again.
#[derive(Debug)]
pub(super) struct EndedChange {
    pub(super) id: [u8; 16],
    pub(super) ended: Option<EndedHold>,
}

/// When a hold ended, and its stored form: see `ended_row`.
#[derive(Debug)]
pub(super) struct EndedHold {
    pub(super) at_ms: u64,
    pub(super) row: Range<usize>,
}

/// One row to write, or to delete when it has no content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RowChange {
    pub(super) family: Family,
    pub(super) key: Vec<u8>,
    pub(super) row: Option<Vec<u8>>,
}

impl RowChanges {
    /// Writes a row of a plain family: not of ended holds, keys, or what belongs to them, which have their own ways in.
    ///
    /// # Panics
    /// On another family, a key above 65,535 bytes or a row above [`ROW_MAX_BYTES`]: limits of the caller are far below.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, row: impl Into<Vec<u8>>) {
        assert!(is_plain(family), "{family:?} rows are not written one by one");
        self.push(family, key.into(), Some(row.into()));
    }

    /// Deletes a row; one that is not there is fine.
    ///
    /// # Panics
    /// As [`RowChanges::put`].
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        assert!(is_plain(family), "{family:?} rows leave by retention");
        self.push(family, key.into(), None);
    }

    /// Stores a hold that has ended, to be found by id and under each of `indexes` (kind and hash, for instance of its customer)
    /// until retention takes it. Storing it again later replaces the row and begins its retention anew; it stays listed where it
    /// was, so [`RowChanges::revive`] it first when its indexes change. An id never ends earlier than it did before.
    ///
    /// # Panics
    /// On more than 255 indexes, or a row above half of [`ROW_MAX_BYTES`].
    pub fn put_ended(&mut self, id: [u8; 16], ended_at_ms: u64, row: &[u8], indexes: &[(u8, u64)]) {
        assert!(row.len() <= ROW_MAX_BYTES / 2, "a row of {} bytes", row.len());
        let from = self.bytes.len();
        self.bytes
            .push(u8::try_from(indexes.len()).expect("a hold is in a few lists"));
        for (kind, hash) in indexes {
            self.bytes.extend_from_slice(&index_prefix(*kind, *hash));
        }
        self.bytes.extend_from_slice(row);
        let ended = Some(EndedHold {
            at_ms: ended_at_ms,
            row: from..self.bytes.len(),
        });
        self.ended.push(EndedChange { id, ended });
    }

    /// Takes a hold that had ended out of the ended ones and their lists: it is live again. If it ends once more, even within the
    /// same change, [`RowChanges::put_ended`] stores it anew.
    pub fn revive(&mut self, id: [u8; 16]) {
        self.ended.push(EndedChange { id, ended: None });
    }

    /// Remembers an idempotency key, with the payload of its record, from which the answer is rebuilt once the log was trimmed.
    /// Keys that come in log order are stored in the least space and leave the disk soonest.
    ///
    /// # Panics
    /// On a payload above half of [`ROW_MAX_BYTES`].
    pub fn put_key(&mut self, hash: KeyHash, entry: KeyEntry, payload: &[u8], logged_at_ms: u64) {
        assert!(
            payload.len() <= ROW_MAX_BYTES / 2,
            "a payload of {} bytes",
            payload.len()
        );
        let from = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.keys.push(KeyChange {
            hash,
            entry,
            logged_at_ms,
            payload: from..self.bytes.len(),
        });
    }

    /// How many rows, keys and ended holds are changed.
    pub fn len(&self) -> usize {
        self.rows.len() + self.keys.len() + self.ended.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, family: Family, key: Vec<u8>, row: Option<Vec<u8>>) {
        assert!(u16::try_from(key.len()).is_ok(), "a key of {} bytes", key.len());
        assert!(
            row.as_ref().is_none_or(|row| row.len() <= ROW_MAX_BYTES),
            "a row above {ROW_MAX_BYTES} bytes"
        );
        self.rows.push(RowChange { family, key, row });
    }
}

fn is_plain(family: Family) -> bool {
    !matches!(
        family,
        Family::Ended
            | Family::EndedIndex
            | Family::Run
            | Family::Key
            | Family::KeyPayload
            | Family::EndedRow
    )
}

/// The lists and the row in the stored form of an ended hold: `count u8 | count times (kind u8, hash u64) | row`.
pub(super) fn ended_row(stored: &[u8]) -> Option<(&[[u8; 9]], &[u8])> {
    let (count, rest) = stored.split_first()?;
    let (lists, row) = rest.split_at_checked(usize::from(*count) * 9)?;
    Some((lists.as_chunks().0, row))
}

/// The part of an index key before the reservation id.
pub(super) fn index_prefix(kind: u8, hash: u64) -> [u8; 9] {
    let mut prefix = [0; 9];
    prefix[0] = kind;
    prefix[1..].copy_from_slice(&hash.to_be_bytes());
    prefix
}

const MAGIC: &[u8; 8] = b"HFREDO01";

/// One numbered change of the stored states, complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redo {
    pub(super) change: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) rows: Vec<RowChange>,
}

impl Redo {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.change.to_le_bytes());
        out.push(u8::from(self.checkpoint.is_some()));
        out.extend_from_slice(
            &self
                .checkpoint
                .map_or([0; Checkpoint::BYTES], Checkpoint::to_bytes),
        );
        let count = u32::try_from(self.rows.len()).expect("a checkpoint is bounded far below 2^32 rows");
        out.extend_from_slice(&count.to_le_bytes());
        for change in &self.rows {
            let key_len = u16::try_from(change.key.len()).expect("checked when the row was added");
            let row = change.row.as_deref().unwrap_or_default();
            let row_len = u32::try_from(row.len()).expect("checked when the row was added");
            out.push(change.family as u8);
            out.push(u8::from(change.row.is_some()));
            out.extend_from_slice(&key_len.to_le_bytes());
            out.extend_from_slice(&row_len.to_le_bytes());
            out.extend_from_slice(&change.key);
            out.extend_from_slice(row);
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a redo file; `None` when it is not exactly what [`Redo::to_bytes`] writes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Redo> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut input = Input(bytes);
        if input.array()? != *MAGIC {
            return None;
        }
        let change = input.u64()?;
        let has_checkpoint = input.u8()? != 0;
        let checkpoint = Checkpoint::from_bytes(input.take(Checkpoint::BYTES)?)?;
        let count = input.u32()?;
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.push(input.row()?);
        }
        let checkpoint = has_checkpoint.then_some(checkpoint);
        input.0.is_empty().then_some(Redo {
            change,
            checkpoint,
            rows,
        })
    }
}

/// The rest of a byte string that is being read; every reader answers `None` past its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn row(&mut self) -> Option<RowChange> {
        let family = Family::from_number(self.u8()?)?;
        let is_put = self.u8()? != 0;
        let key_len = self.array().map(u16::from_le_bytes)?;
        let row_len = usize::try_from(self.u32()?).ok()?;
        let key = self.take(usize::from(key_len))?.to_vec();
        let row = self.take(row_len)?.to_vec();
        Some(RowChange {
            family,
            key,
            row: is_put.then_some(row),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redo() -> Redo {
        let checkpoint = Checkpoint {
            number: 7,
            epoch: 1,
            chain: [3; 32],
            logged_at_ms: 99,
        };
        let rows = vec![
            RowChange {
                family: Family::Entity,
                key: b"v123".to_vec(),
                row: Some(vec![1, 2, 3]),
            },
            RowChange {
                family: Family::Hold,
                key: vec![0; 20],
                row: None,
            },
            RowChange {
                family: Family::EndedIndex,
                key: vec![9],
                row: Some(Vec::new()),
            },
        ];
        Redo {
            change: 5,
            checkpoint: Some(checkpoint),
            rows,
        }
    }

    #[test]
    fn a_redo_comes_back_as_it_was_written() {
        let redo = redo();
        assert_eq!(Redo::from_bytes(&redo.to_bytes()), Some(redo));
    }

    #[test]
    fn a_torn_or_flipped_redo_is_no_redo() {
        let bytes = redo().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Redo::from_bytes(&bytes[..len]), None);
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(Redo::from_bytes(&flipped), None, "bit in byte {at}");
        }
    }
}
