//! Keys and ended holds: what is asked of them, and when they leave.
use super::changes::{ended_row, index_prefix};
use super::rows::Family;
use super::runs::item::{Item, Kind};
use super::{StateError, StateStore};
use crate::storage::keys::{KeyEntry, KeyHash, KeyLookupError, OlderKeys};

/// What the disk gives for a byte of a run or value, with sled's half-filled pages and the segments it has not rewritten yet.
/// Measured with a million to four million keys: 1.8 to 2.2, freshly copied 1.8.
pub const DISK_FACTOR: u64 = 2;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Idempotency keys whose runs were deleted whole; merges leave out others.
    pub keys: usize,
    /// Ended holds whose runs were deleted whole.
    pub ended: usize,
    /// Whether more is past its retention: sweep again.
    pub more: bool,
}

/// Some of the stored keys or ended holds in the order of their hashes or ids, and behind which the next ones come.
#[derive(Debug)]
pub struct StoredPage<T> {
    /// Those that are within retention.
    pub items: Vec<T>,
    /// The last one looked at; `None` when there are no more.
    pub next: Option<[u8; 16]>,
}

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Of store, caller and key.
    pub hash: KeyHash,
    /// Who may repeat it and which record answers.
    pub entry: KeyEntry,
    /// When its record was logged, in Unix milliseconds.
    pub logged_at_ms: u64,
    /// Its record.
    pub payload: Vec<u8>,
}

/// A stored ended hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnded {
    /// Of the hold.
    pub id: [u8; 16],
    /// When it ended, in Unix milliseconds.
    pub at_ms: u64,
    /// The hold.
    pub row: Vec<u8>,
}

impl StateStore {
    /// The keys behind `after`, at most `limit`, with their payloads.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn keys_after(
        &self,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<StoredPage<StoredKey>, StateError> {
        self.page(Kind::Keys, after, limit, |item, payload| {
            Ok(StoredKey {
                hash: KeyHash(item.id(Kind::Keys)),
                entry: item.entry(),
                logged_at_ms: item.at_ms,
                payload,
            })
        })
    }

    /// The ended holds behind `after`, at most `limit`.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn ended_after(
        &self,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<StoredPage<StoredEnded>, StateError> {
        self.page(Kind::Ended, after, limit, |item, stored| {
            let id = item.id(Kind::Ended);
            let (_, row) = ended_row(&stored).ok_or_else(|| self.trees().damage(Family::EndedRow, &id))?;
            Ok(StoredEnded {
                id,
                at_ms: item.at_ms,
                row: row.to_vec(),
            })
        })
    }

    fn page<T>(
        &self,
        kind: Kind,
        after: Option<[u8; 16]>,
        limit: usize,
        read: impl Fn(&Item, Vec<u8>) -> Result<T, StateError>,
    ) -> Result<StoredPage<T>, StateError> {
        let after = after.as_ref().map(|after| &after[..]);
        let found = self.runs.range(|| self.trees(), kind, &[], after, limit)?;
        let mut items = Vec::with_capacity(found.len());
        for item in &found {
            if let Some(value) = self.runs.value(&self.trees(), kind, item)? {
                items.push(read(item, value)?);
            }
        }
        let next = found.last().filter(|_| found.len() == limit);
        Ok(StoredPage {
            items,
            next: next.map(|item| item.id(kind)),
        })
    }

    /// The bytes that the stored keys and the payloads behind them occupy on disk, for the limit `keys.disk_max`: an estimate,
    /// [`DISK_FACTOR`] times what was written of them.
    pub fn keys_bytes(&self) -> u64 {
        self.runs.keys_bytes() * DISK_FACTOR
    }

    /// How many keys are stored, those past retention included until they leave the disk.
    pub fn keys_len(&self) -> u64 {
        self.runs.keys()
    }

    /// How many ended holds are stored, counted as [`StateStore::keys_len`].
    pub fn ended_len(&self) -> u64 {
        self.runs.ended()
    }

    /// The memory of the filters and page indexes of all runs, in bytes.
    pub fn runs_memory_bytes(&self) -> usize {
        self.runs.memory_bytes()
    }

    /// A stored key with the payload of its record.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn key(&self, hash: &KeyHash) -> Result<Option<(KeyEntry, Vec<u8>)>, StateError> {
        let Some(item) = self.runs.find(|| self.trees(), Kind::Keys, &hash.0)? else {
            return Ok(None);
        };
        let payload = self.runs.value(&self.trees(), Kind::Keys, &item)?;
        Ok(payload.map(|payload| (item.entry(), payload)))
    }

    /// The payload of the record behind a stored key.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn key_payload(&self, hash: &KeyHash) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.key(hash)?.map(|(_entry, payload)| payload))
    }

    /// An ended hold: when it ended, in Unix milliseconds, and its row.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn ended(&self, id: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>, StateError> {
        self.with_ended(id, |at_ms, _, row| (at_ms, row.to_vec()))
    }

    /// Whether an ended hold is in a list, by its row.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn is_ended_listed(&self, kind: u8, hash: u64, id: &[u8; 16]) -> Result<bool, StateError> {
        let prefix = index_prefix(kind, hash);
        let listed = self.with_ended(id, |_, lists, _| lists.contains(&prefix))?;
        Ok(listed.unwrap_or(false))
    }

    fn with_ended<T>(
        &self,
        id: &[u8; 16],
        read: impl FnOnce(u64, &[[u8; 9]], &[u8]) -> T,
    ) -> Result<Option<T>, StateError> {
        let Some(item) = self.runs.find(|| self.trees(), Kind::Ended, id)? else {
            return Ok(None);
        };
        let trees = self.trees();
        let Some(stored) = self.runs.value(&trees, Kind::Ended, &item)? else {
            return Ok(None);
        };
        let (lists, row) = ended_row(&stored).ok_or_else(|| trees.damage(Family::EndedRow, id))?;
        Ok(Some(read(item.at_ms, lists, row)))
    }

    /// At most `limit` ids of ended holds under an index, in id order after `after`. A hold that was stored anew without being
    /// revived is listed where it ever was: then check its row.
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
        let after = after.map(|id| [&prefix[..], &id].concat());
        let listed = self
            .runs
            .range(|| self.trees(), Kind::Index, &prefix, after.as_deref(), limit)?;
        Ok(listed.iter().map(|item| item.id(Kind::Index)).collect())
    }

    /// Keys logged before `keys_older_than_ms` and holds ended before `ended_older_than_ms` are not found from now on. Deletes
    /// those whose pages have no other, at most `pages_max` pages (of 4 KiB) of payloads and as many of rows, durably. Runs on
    /// the checkpoint thread.
    ///
    /// # Errors
    /// Any error is final, as of [`StateStore::apply`].
    pub fn sweep(
        &self,
        keys_older_than_ms: u64,
        ended_older_than_ms: u64,
        pages_max: usize,
    ) -> Result<Swept, StateError> {
        let mut writing = self.writing.lock();
        let trees = self.trees();
        self.runs
            .raise(&mut writing.runs, keys_older_than_ms, ended_older_than_ms);
        let (prepared, swept) = self.runs.prepare_sweep(&trees, &mut writing.runs, pages_max)?;
        let checkpoint = writing.mark.checkpoint;
        self.commit(&mut writing, Vec::new(), prepared, checkpoint)?;
        Ok(swept)
    }
}

impl OlderKeys for StateStore {
    fn find(&self, hash: &KeyHash) -> Result<Option<KeyEntry>, KeyLookupError> {
        let found = self.runs.find(|| self.trees(), Kind::Keys, &hash.0);
        let found = found.map_err(|error| KeyLookupError { source: error.into() })?;
        Ok(found.map(|item| item.entry()))
    }
}
