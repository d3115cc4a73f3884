//! One run: written once, in key order, and then only read and deleted.
//!
//! ```text
//! rows of the family: run u64 | page u32 -> page, see `item`
//!                     run u64 | 0xffffffff -> the first key of each page
//!                     run u64 | 0xfffffffe -> the filter
//! row of Family::Run: family u8 | run u64 -> tier u8 | upto u64 | items u64 | pages u32 | bytes u64
//!                     | oldest u64 | newest u64 | base_seq u64 | base_number u64       (little-endian)
//! ```
//!
//! The last row makes the run visible and is written by the change that the run belongs to; all others are written and synced before.
use std::sync::Arc;

use super::item::{Base, Item, ItemKey, Kind, PAGE_HEADER_BYTES, PageItems, begin_page, item_key, push_item};
use crate::storage::state::StateError;
use crate::storage::state::changes::RowChange;
use crate::storage::state::filter::RunFilter;
use crate::storage::state::rows::{Family, ONE_VALUE_BYTES, Trees};

/// The page number of the row with the first keys.
const FIRSTS_PAGE: u32 = u32::MAX;
/// The page number of the row with the filter.
const FILTER_PAGE: u32 = u32::MAX - 1;

/// A finished run, as it is held in memory.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) kind: Kind,
    pub(super) about: About,
    /// The first key of each page, one behind the other.
    firsts: Vec<u8>,
    filter: Option<RunFilter>,
}

/// What its row of `Family::Run` says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    pub(super) number: u64,
    pub(super) tier: u8,
    /// Which of two runs is newer: the number that the newest run merged into this one had at first.
    pub(super) upto: u64,
    pub(super) items: u64,
    pub(super) pages: u32,
    /// Bytes of all rows.
    pub(super) bytes: u64,
    pub(super) oldest_ms: u64,
    pub(super) newest_ms: u64,
    pub(super) base_seq: u64,
    pub(super) base_number: u64,
}

impl About {
    const BYTES: usize = 1 + 8 + 8 + 4 + 8 + 8 + 8 + 8 + 8;

    fn to_bytes(self) -> Vec<u8> {
        let mut out = vec![self.tier];
        out.extend_from_slice(&self.upto.to_le_bytes());
        out.extend_from_slice(&self.items.to_le_bytes());
        out.extend_from_slice(&self.pages.to_le_bytes());
        for number in [
            self.bytes,
            self.oldest_ms,
            self.newest_ms,
            self.base_seq,
            self.base_number,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    fn from_bytes(number: u64, bytes: &[u8]) -> Option<About> {
        let bytes: &[u8; About::BYTES] = bytes.try_into().ok()?;
        let (tier, rest) = bytes.split_first()?;
        let (upto, rest) = rest.split_first_chunk()?;
        let (items, rest) = rest.split_first_chunk()?;
        let (pages, rest) = rest.split_first_chunk()?;
        let ([bytes, oldest_ms, newest_ms, base_seq, base_number], _) = rest.as_chunks::<8>() else {
            return None;
        };
        Some(About {
            number,
            tier: *tier,
            upto: u64::from_le_bytes(*upto),
            items: u64::from_le_bytes(*items),
            pages: u32::from_le_bytes(*pages),
            bytes: u64::from_le_bytes(*bytes),
            oldest_ms: u64::from_le_bytes(*oldest_ms),
            newest_ms: u64::from_le_bytes(*newest_ms),
            base_seq: u64::from_le_bytes(*base_seq),
            base_number: u64::from_le_bytes(*base_number),
        })
    }
}

impl Run {
    /// Reads what memory holds of a run, from the key and content of its row of `Family::Run`.
    pub(super) fn load(trees: &Trees, key: &[u8], row: &[u8]) -> Result<Run, StateError> {
        let damage = || trees.damage(Family::Run, key);
        let (family, number) = key.split_first().ok_or_else(damage)?;
        let kinds = Kind::ALL.into_iter();
        let kind = { kinds }
            .find(|kind| kind.family() as u8 == *family)
            .ok_or_else(damage)?;
        let number = u64::from_be_bytes(number.try_into().map_err(|_| damage())?);
        let about = About::from_bytes(number, row).ok_or_else(damage)?;
        let read = |page: u32| {
            let key = page_key(number, page);
            let row = trees.get(kind.family(), &key)?;
            row.ok_or_else(|| trees.damage(kind.family(), &key))
        };
        let firsts = read(FIRSTS_PAGE)?;
        let pages = usize::try_from(about.pages).map_err(|_| damage())?;
        if pages == 0 || firsts.len() != pages * kind.key_len() {
            return Err(trees.damage(kind.family(), &page_key(number, FIRSTS_PAGE)));
        }
        let filter = match kind.has_filter() {
            true => Some(RunFilter::from_bytes(&read(FILTER_PAGE)?).ok_or_else(damage)?),
            false => None,
        };
        Ok(Run {
            kind,
            about,
            firsts,
            filter,
        })
    }

    /// The row that makes the run visible.
    pub(super) fn row(&self) -> RowChange {
        RowChange {
            family: Family::Run,
            key: self.row_key(),
            row: Some(self.about.to_bytes()),
        }
    }

    /// The deletion of that row.
    pub(super) fn deletion(&self) -> RowChange {
        RowChange {
            family: Family::Run,
            key: self.row_key(),
            row: None,
        }
    }

    fn row_key(&self) -> Vec<u8> {
        [&[self.kind.family() as u8][..], &self.about.number.to_be_bytes()].concat()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let filter = self.filter.as_ref().map_or(0, RunFilter::memory_bytes);
        size_of::<Run>() + self.firsts.len() + filter
    }

    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_have(key))
    }

    /// The page that has the key if any has.
    pub(super) fn page_of(&self, key: &[u8]) -> u32 {
        let len = self.kind.key_len();
        let (mut low, mut high) = (0, self.firsts.len() / len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.firsts[middle * len..][..len] <= *key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        u32::try_from(low.saturating_sub(1)).expect("a run has fewer than 2^32 pages")
    }

    /// Appends the items of a page to `out`. A page that is missing is damage, or the run was deleted meanwhile: see `steady`.
    pub(super) fn read_page(&self, trees: &Trees, page: u32, out: &mut Vec<Item>) -> Result<(), StateError> {
        let key = page_key(self.about.number, page);
        let damage = || trees.damage(self.kind.family(), &key);
        let bytes = trees.get(self.kind.family(), &key)?.ok_or_else(damage)?;
        for item in PageItems::new(&bytes, self.kind).ok_or_else(damage)? {
            out.push(item.ok_or_else(damage)?);
        }
        Ok(())
    }

    /// The item of a key.
    pub(super) fn find(&self, trees: &Trees, key: &[u8]) -> Result<Option<Item>, StateError> {
        if !self.may_have(key) {
            return Ok(None);
        }
        let page = page_key(self.about.number, self.page_of(key));
        let damage = || trees.damage(self.kind.family(), &page);
        let bytes = trees.get(self.kind.family(), &page)?.ok_or_else(damage)?;
        let key = item_key(key);
        for item in PageItems::new(&bytes, self.kind).ok_or_else(damage)? {
            let item = item.ok_or_else(damage)?;
            if item.key >= key {
                return Ok((item.key == key).then_some(item));
            }
        }
        Ok(None)
    }

    /// The pages to delete when the run goes: the numbered ones and the two others.
    pub(super) fn page_keys(&self) -> impl Iterator<Item = [u8; 12]> + use<> {
        let number = self.about.number;
        (0..self.about.pages)
            .chain([FILTER_PAGE, FIRSTS_PAGE])
            .map(move |page| page_key(number, page))
    }
}

pub(super) fn page_key(run: u64, page: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&run.to_be_bytes());
    key[8..].copy_from_slice(&page.to_be_bytes());
    key
}

/// A run being written.
#[derive(Debug)]
pub(super) struct RunWriter {
    kind: Kind,
    about: About,
    page: Vec<u8>,
    last: Option<ItemKey>,
    firsts: Vec<u8>,
    filter: Option<RunFilter>,
}

impl RunWriter {
    /// Begins a run with room for `items`.
    pub(super) fn new(kind: Kind, number: u64, tier: u8, upto: u64, base: Base, items: usize) -> RunWriter {
        let about = About {
            number,
            tier,
            upto,
            items: 0,
            pages: 0,
            bytes: 0,
            oldest_ms: base.at_ms,
            newest_ms: 0,
            base_seq: base.seq,
            base_number: base.number,
        };
        RunWriter {
            kind,
            about,
            page: Vec::with_capacity(ONE_VALUE_BYTES),
            last: None,
            firsts: Vec::new(),
            filter: kind.has_filter().then(|| RunFilter::with_room(items)),
        }
    }

    /// Appends an item; keys come in order, each once.
    pub(super) fn push(&mut self, trees: &Trees, item: &Item) -> Result<(), StateError> {
        let base = Base {
            at_ms: self.about.oldest_ms,
            seq: self.about.base_seq,
            number: self.about.base_number,
        };
        let before = self.page.len();
        if before > 0 {
            push_item(&mut self.page, self.kind, base, self.last.as_ref(), item);
            if self.page.len() > ONE_VALUE_BYTES {
                self.page.truncate(before);
                self.end_page(trees)?;
            }
        }
        if self.page.is_empty() {
            begin_page(&mut self.page, base);
            debug_assert_eq!(self.page.len(), PAGE_HEADER_BYTES);
            self.firsts.extend_from_slice(&item.key[..self.kind.key_len()]);
            push_item(&mut self.page, self.kind, base, None, item);
        }
        if let Some(filter) = &mut self.filter {
            filter.add(&item.key[..self.kind.key_len()]);
        }
        self.last = Some(item.key);
        self.about.items += 1;
        self.about.newest_ms = self.about.newest_ms.max(item.at_ms);
        Ok(())
    }

    fn end_page(&mut self, trees: &Trees) -> Result<(), StateError> {
        let page = std::mem::take(&mut self.page);
        self.put(trees, self.about.pages, &page)?;
        self.about.pages += 1;
        self.page = page;
        self.page.clear();
        Ok(())
    }

    fn put(&mut self, trees: &Trees, page: u32, bytes: &[u8]) -> Result<(), StateError> {
        self.about.bytes += bytes.len() as u64;
        let key = page_key(self.about.number, page);
        trees.put(self.kind.family(), &key, bytes, self.about.number)
    }

    /// Completes the run; `None` when it has no item.
    pub(super) fn finish(mut self, trees: &Trees) -> Result<Option<Arc<Run>>, StateError> {
        if self.page.is_empty() {
            return Ok(None);
        }
        self.end_page(trees)?;
        let firsts = std::mem::take(&mut self.firsts);
        self.put(trees, FIRSTS_PAGE, &firsts)?;
        let filter = self.filter.take();
        if let Some(filter) = &filter {
            self.put(trees, FILTER_PAGE, &filter.to_bytes())?;
        }
        Ok(Some(Arc::new(Run {
            kind: self.kind,
            about: self.about,
            firsts,
            filter,
        })))
    }
}

/// Items of one run in order, from a key on.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) run: Arc<Run>,
    items: Vec<Item>,
    at: usize,
    next_page: u32,
}

impl Cursor {
    /// Before the first item that is not below `from`.
    pub(super) fn from(trees: &Trees, run: Arc<Run>, from: &[u8]) -> Result<Cursor, StateError> {
        let next_page = if from.is_empty() { 0 } else { run.page_of(from) };
        let mut cursor = Cursor {
            run,
            items: Vec::new(),
            at: 0,
            next_page,
        };
        cursor.fill(trees)?;
        let from = item_key(from);
        while cursor.item().is_some_and(|item| item.key < from) {
            cursor.advance(trees)?;
        }
        Ok(cursor)
    }

    /// The item here; `None` at the end.
    pub(super) fn item(&self) -> Option<&Item> {
        self.items.get(self.at)
    }

    /// To the next item.
    pub(super) fn advance(&mut self, trees: &Trees) -> Result<(), StateError> {
        self.at += 1;
        if self.at < self.items.len() {
            return Ok(());
        }
        self.fill(trees)
    }

    fn fill(&mut self, trees: &Trees) -> Result<(), StateError> {
        self.items.clear();
        self.at = 0;
        if self.next_page == self.run.about.pages {
            return Ok(());
        }
        let page = self.next_page;
        self.next_page += 1;
        self.run.read_page(trees, page, &mut self.items)
    }
}

/// The next key in order over several cursors, newest run first, with what the newest of them says of it.
pub(super) fn next_of(cursors: &mut [Cursor], trees: &Trees) -> Result<Option<Item>, StateError> {
    let mut newest: Option<Item> = None;
    for item in cursors.iter().filter_map(Cursor::item) {
        if newest.is_none_or(|newest| item.key < newest.key) {
            newest = Some(*item);
        }
    }
    if let Some(taken) = newest {
        for cursor in cursors {
            if cursor.item().is_some_and(|item| item.key == taken.key) {
                cursor.advance(trees)?;
            }
        }
    }
    Ok(newest)
}
