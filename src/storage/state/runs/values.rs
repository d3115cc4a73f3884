//! The long part of keys and ended holds, apart from the runs, so that merging never copies it.
//!
//! ```text
//! row: first seq u64 big-endian -> newest u64 | values
//! value: varint (seq - first) | varint length | bytes          (newest little-endian)
//! ```
//!
//! Values are numbered upwards as they come, which is nearly the order of time; so the page of a value is found by one seek, and retention takes pages off the front. A value that is
//! too long for a page has one of its own in several pieces.
use super::item::{push_varint, take_varint};
use crate::storage::state::StateError;
use crate::storage::state::rows::{Family, ONE_VALUE_BYTES, Trees};

/// Bytes before the values of a page.
const HEADER_BYTES: usize = 8;

/// Writes values behind those already there.
pub(super) struct ValueWriter<'a> {
    trees: &'a Trees,
    family: Family,
    change: u64,
    first: u64,
    newest_ms: u64,
    page: Vec<u8>,
    /// Bytes of the pages written.
    bytes: u64,
}

impl<'a> ValueWriter<'a> {
    pub(super) fn new(trees: &'a Trees, family: Family, change: u64) -> ValueWriter<'a> {
        ValueWriter {
            trees,
            family,
            change,
            first: 0,
            newest_ms: 0,
            page: Vec::with_capacity(ONE_VALUE_BYTES),
            bytes: 0,
        }
    }

    /// Appends a value; `seq` is above that of the one before.
    pub(super) fn push(&mut self, seq: u64, at_ms: u64, value: &[u8]) -> Result<(), StateError> {
        const LENGTHS_MAX: usize = 10 + 5;
        if self.page.len() + LENGTHS_MAX + value.len() > ONE_VALUE_BYTES {
            self.end_page()?;
        }
        if self.page.is_empty() {
            self.page.extend_from_slice(&[0; HEADER_BYTES]);
            self.first = seq;
        }
        push_varint(&mut self.page, u128::from(seq - self.first));
        push_varint(&mut self.page, value.len() as u128);
        self.page.extend_from_slice(value);
        self.newest_ms = self.newest_ms.max(at_ms);
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), StateError> {
        if self.page.is_empty() {
            return Ok(());
        }
        self.page[..HEADER_BYTES].copy_from_slice(&self.newest_ms.to_le_bytes());
        self.trees
            .put(self.family, &self.first.to_be_bytes(), &self.page, self.change)?;
        self.bytes += self.page.len() as u64;
        self.page.clear();
        self.newest_ms = 0;
        Ok(())
    }

    /// Writes what is left; tells the bytes of all pages.
    pub(super) fn finish(mut self) -> Result<u64, StateError> {
        self.end_page()?;
        Ok(self.bytes)
    }
}

/// Reads a value.
pub(super) fn read(trees: &Trees, family: Family, seq: u64) -> Result<Option<Vec<u8>>, StateError> {
    let Some((key, page)) = trees.floor(family, &seq.to_be_bytes())? else {
        return Ok(None);
    };
    let damage = || trees.damage(family, &key);
    let first: &[u8; 8] = key.as_ref().try_into().map_err(|_| damage())?;
    let first = u64::from_be_bytes(*first);
    let mut rest = page.get(HEADER_BYTES..).ok_or_else(damage)?;
    while !rest.is_empty() {
        let after_first = take_varint(&mut rest).ok_or_else(damage)?;
        let len = take_varint(&mut rest).and_then(|len| usize::try_from(len).ok());
        let (value, behind) = len
            .and_then(|len| rest.split_at_checked(len))
            .ok_or_else(damage)?;
        if after_first == u128::from(seq - first) {
            return Ok(Some(value.to_vec()));
        }
        rest = behind;
    }
    Ok(None)
}

/// The oldest pages whose every value is older than `older_than_ms`, at most `limit`: their keys and their bytes.
pub(super) fn expired(
    trees: &Trees,
    family: Family,
    older_than_ms: u64,
    limit: usize,
) -> Result<(Vec<Vec<u8>>, u64), StateError> {
    let (mut keys, mut bytes, mut from) = (Vec::new(), 0, Vec::new());
    while keys.len() < limit {
        let batch = trees.read_from(family, &from, 64.min(limit - keys.len()))?;
        let Some((last, _)) = batch.last() else { break };
        from = [last.as_ref(), &[0]].concat();
        for (key, page) in &batch {
            let newest = page.first_chunk().ok_or_else(|| trees.damage(family, key))?;
            if u64::from_le_bytes(*newest) >= older_than_ms {
                return Ok((keys, bytes));
            }
            keys.push(key.to_vec());
            bytes += page.len() as u64;
        }
    }
    Ok((keys, bytes))
}
