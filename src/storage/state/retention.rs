//! Rows that leave with time: idempotency keys by whole blocks, ended holds one by one.
use std::sync::atomic::Ordering;

use super::changes::{KeyRow, RowChange, index_prefix};
use super::rows::Family;
use super::{StateError, StateStore};
use crate::storage::keys::{KeyEntry, KeyHash, KeyLookupError, OlderKeys};

/// What one stored key occupies on disk beside its record's payload, in bytes: 59 bytes of key and row, and their share of sled's
/// pages and slack. Measured with 250,000 to 1,000,000 keys: 209 to 222, freshly copied 188. `keys.disk_max` is counted with it.
pub const KEY_ROW_BYTES: u64 = 224;
/// Bytes of a key's row before the payload: logged time and entry.
const KEY_HEAD_BYTES: usize = 8 + KeyEntry::BYTES;
/// Bytes of the block number in front of a key's hash.
const BLOCK_BYTES: usize = 4;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Idempotency keys deleted.
    pub keys: usize,
    /// Ended holds deleted.
    pub ended: usize,
    /// Whether more is past its retention: sweep again.
    pub more: bool,
}

/// The row of a key in its block.
pub(super) fn key_row(block: u32, key: &KeyRow) -> RowChange {
    let row = [
        &key.logged_at_ms.to_be_bytes()[..],
        &key.entry.to_bytes(),
        &key.payload,
    ]
    .concat();
    RowChange {
        family: Family::Key,
        key: key_address(block, &key.hash),
        row: Some(row),
    }
}

/// What a key's row occupies on disk, an estimate.
pub(super) fn key_row_bytes(row: &[u8]) -> u64 {
    KEY_ROW_BYTES + row.len().saturating_sub(KEY_HEAD_BYTES) as u64
}

fn key_address(block: u32, hash: &KeyHash) -> Vec<u8> {
    [&block.to_be_bytes()[..], &hash.0].concat()
}

impl StateStore {
    /// The bytes that the stored keys occupy on disk, for the limit `keys.disk_max`: an estimate, [`KEY_ROW_BYTES`] and the payload
    /// of each. Those from before the start are counted by [`StateStore::read_key_blocks`].
    pub fn keys_bytes(&self) -> u64 {
        self.key_bytes.load(Ordering::Relaxed)
    }

    /// A stored key with the payload of its record.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn key(&self, hash: &KeyHash) -> Result<Option<(KeyEntry, Vec<u8>)>, StateError> {
        for block in self.filter.candidates(hash) {
            let key = key_address(block, hash);
            if let Some(row) = self.get(Family::Key, &key)? {
                let (.., entry, payload) = parse_key_row(&key, &row).ok_or_else(|| self.damaged_key(&key))?;
                return Ok(Some((entry, payload.to_vec())));
            }
        }
        Ok(None)
    }

    /// Deletions of an ended hold's rows, when it is stored.
    pub(super) fn revival(&self, id: &[u8; 16], rows: &mut Vec<RowChange>) -> Result<(), StateError> {
        let Some((at_ms, _)) = self.ended(id)? else {
            return Ok(());
        };
        let by_time = [&at_ms.to_be_bytes()[..], id].concat();
        let listed = self.get(Family::EndedByTime, &by_time)?.unwrap_or_default();
        for prefix in listed.chunks_exact(9) {
            rows.push(deletion(Family::EndedIndex, [prefix, id].concat()));
        }
        rows.push(deletion(Family::EndedByTime, by_time));
        rows.push(deletion(Family::Ended, id.to_vec()));
        Ok(())
    }

    /// How many keys are stored; those from before the start are counted by [`StateStore::read_key_blocks`].
    pub fn keys_len(&self) -> u64 {
        self.key_rows.load(Ordering::Relaxed)
    }

    /// The memory of the filter before the keys, in bytes.
    pub fn keys_filter_bytes(&self) -> usize {
        self.filter.memory_bytes()
    }

    /// An ended hold: when it ended, in Unix milliseconds, and its row.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn ended(&self, id: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>, StateError> {
        let Some(row) = self.get(Family::Ended, id)? else {
            return Ok(None);
        };
        Ok(row
            .split_first_chunk()
            .map(|(at, row)| (u64::from_be_bytes(*at), row.to_vec())))
    }

    /// At most `limit` ids of ended holds under an index, in id order after `after`. An id may be listed that is no longer stored
    /// or, after the hold was stored anew, no longer belongs here: check its row.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn ended_ids(
        &self,
        kind: u8,
        hash: u64,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<[u8; 16]>, StateError> {
        let prefix = index_prefix(kind, hash);
        // A zero byte behind the last key is the smallest key after it; 17 bytes of 0xff are above every id.
        let from = after.map_or_else(|| prefix.to_vec(), |id| [&prefix[..], &id, &[0]].concat());
        let to = [&prefix[..], &[0xff; 17]].concat();
        let mut ids = Vec::new();
        for entry in self.scan(Family::EndedIndex, &from, Some(&to), limit) {
            let (key, _) = entry?;
            ids.extend(key.last_chunk::<16>().copied());
        }
        Ok(ids)
    }

    /// Deletes keys logged before `keys_older_than_ms` and holds ended before `ended_older_than_ms` with their index rows, at most
    /// `rows_max` rows of each, durably. Runs on the checkpoint thread.
    ///
    /// # Errors
    /// Any error is final, as of [`StateStore::apply`].
    pub fn sweep(
        &self,
        keys_older_than_ms: u64,
        ended_older_than_ms: u64,
        rows_max: usize,
    ) -> Result<Swept, StateError> {
        let mut mark = self.mark.lock();
        self.filter.forget_before(keys_older_than_ms);
        let (mut rows, key_bytes) = self.expired_keys(rows_max)?;
        let keys = rows.len();
        let (ended, more_ended) = self.expired_ended(ended_older_than_ms, rows_max, &mut rows)?;
        let checkpoint = mark.checkpoint;
        if !rows.is_empty() {
            self.commit(&mut mark, rows, checkpoint)?;
        }
        self.key_rows.fetch_sub(keys as u64, Ordering::Relaxed);
        self.key_bytes.fetch_sub(key_bytes, Ordering::Relaxed);
        Ok(Swept {
            keys,
            ended,
            more: keys == rows_max || more_ended,
        })
    }

    /// Deletions of keys whose block the filter has forgotten, and the bytes they occupied.
    fn expired_keys(&self, rows_max: usize) -> Result<(Vec<RowChange>, u64), StateError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let Some(oldest) = self.filter.oldest() else {
            return Ok((rows, bytes));
        };
        for entry in self.scan(Family::Key, &[], Some(&oldest.to_be_bytes()), rows_max) {
            let (key, row) = entry?;
            bytes += key_row_bytes(&row);
            rows.push(deletion(Family::Key, key));
        }
        Ok((rows, bytes))
    }

    /// Adds the deletions of ended holds past their retention; tells how many holds and whether there are more.
    fn expired_ended(
        &self,
        older_than_ms: u64,
        rows_max: usize,
        rows: &mut Vec<RowChange>,
    ) -> Result<(usize, bool), StateError> {
        let (before, mut ended, mut seen) = (rows.len(), 0, 0);
        for entry in self.scan(
            Family::EndedByTime,
            &[],
            Some(&older_than_ms.to_be_bytes()),
            rows_max,
        ) {
            let (key, listed) = entry?;
            if rows.len() - before >= rows_max {
                return Ok((ended, true));
            }
            let Some((at, id)) = key.split_first_chunk::<8>() else {
                continue;
            };
            let Ok(id) = <[u8; 16]>::try_from(id) else {
                continue;
            };
            ended += usize::from(self.expire(u64::from_be_bytes(*at), &id, &listed, rows)?);
            rows.push(deletion(Family::EndedByTime, key));
            seen += 1;
        }
        Ok((ended, seen == rows_max))
    }

    /// Adds the deletions of one hold that ended at `at_ms`; tells whether the hold itself goes. It stays when it was stored anew
    /// later, and so do the index rows it has kept.
    fn expire(
        &self,
        at_ms: u64,
        id: &[u8; 16],
        listed: &[u8],
        rows: &mut Vec<RowChange>,
    ) -> Result<bool, StateError> {
        let kept = match self.ended(id)? {
            Some((stored_at_ms, _)) if stored_at_ms > at_ms => {
                let newer = [&stored_at_ms.to_be_bytes()[..], id].concat();
                Some(self.get(Family::EndedByTime, &newer)?.unwrap_or_default())
            }
            Some(_) | None => None,
        };
        let kept_prefixes = kept.as_deref().unwrap_or_default();
        for prefix in listed.chunks_exact(9) {
            if !kept_prefixes.chunks_exact(9).any(|kept| kept == prefix) {
                rows.push(deletion(Family::EndedIndex, [prefix, id].concat()));
            }
        }
        if kept.is_none() {
            rows.push(deletion(Family::Ended, id.to_vec()));
        }
        Ok(kept.is_none())
    }

    /// Finds the blocks of keys on disk without reading them: one seek each.
    pub(super) fn find_key_blocks(&self) -> Result<(), StateError> {
        let mut from = 0u32;
        while let Some(entry) = self.scan(Family::Key, &from.to_be_bytes(), None, 1).next() {
            let (key, _) = entry?;
            let (block, _) = key
                .split_first_chunk::<BLOCK_BYTES>()
                .ok_or_else(|| self.damaged_key(&key))?;
            let block = u32::from_be_bytes(*block);
            self.filter.expect_block(block);
            let Some(next) = block.checked_add(1) else { break };
            from = next;
        }
        Ok(())
    }

    /// Reads the keys that were on disk when the store was opened and completes the filter before them and their count. Until
    /// then everything works, but each fresh key costs a disk read per unread block, and no key leaves. Call it once after the
    /// start, on a thread that may read the disk for long (measured: 300,000 keys/s); other calls go on meanwhile.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn read_key_blocks(&self) -> Result<(), StateError> {
        for number in self.filter.unread() {
            let to = number.checked_add(1).map(u32::to_be_bytes);
            let (mut shorts, mut newest_ms, mut bytes) = (Vec::new(), 0, 0);
            let to = to.as_ref().map(<[u8; BLOCK_BYTES]>::as_slice);
            for entry in self.scan(Family::Key, &number.to_be_bytes(), to, usize::MAX) {
                let (key, row) = entry?;
                let (hash, logged_at_ms, ..) =
                    parse_key_row(&key, &row).ok_or_else(|| self.damaged_key(&key))?;
                bytes += key_row_bytes(&row);
                shorts.push(hash.short());
                newest_ms = newest_ms.max(logged_at_ms);
            }
            self.filter.fill(number, &shorts, newest_ms);
            self.key_rows.fetch_add(shorts.len() as u64, Ordering::Relaxed);
            self.key_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn damaged_key(&self, key: &[u8]) -> StateError {
        StateError::Damage {
            family: Family::Key,
            key: key.into(),
            dir: self.dir.clone(),
        }
    }
}

/// Hash, logged time, entry and payload of a key's row.
fn parse_key_row<'a>(key: &[u8], row: &'a [u8]) -> Option<(KeyHash, u64, KeyEntry, &'a [u8])> {
    let (_block, hash) = key.split_first_chunk::<BLOCK_BYTES>()?;
    let (logged_at_ms, row) = row.split_first_chunk::<8>()?;
    let (entry, payload) = row.split_first_chunk::<{ KeyEntry::BYTES }>()?;
    let entry = KeyEntry::from_bytes(entry)?;
    let hash = KeyHash(hash.try_into().ok()?);
    Some((hash, u64::from_be_bytes(*logged_at_ms), entry, payload))
}

fn deletion(family: Family, key: Vec<u8>) -> RowChange {
    RowChange {
        family,
        key,
        row: None,
    }
}

impl OlderKeys for StateStore {
    fn find(&self, hash: &KeyHash) -> Result<Option<KeyEntry>, KeyLookupError> {
        let found = self.key(hash);
        let found = found.map_err(|error| KeyLookupError { source: error.into() })?;
        Ok(found.map(|(entry, _payload)| entry))
    }
}
