//! What lies in a run, and how a page of it is written.
//!
//! ```text
//! page: base_at u64 | base_seq u64 | base_number u64 | items
//! item: shared u8 (leading bytes of the key that are those of the item before) | the other bytes of the key
//!       | varint ((at - base_at) << 1 | gone)
//!       | varint (seq - base_seq), of keys and ended holds that are not gone
//!       | zigzag varint (number - base_number) - (seq - base_seq), fingerprint 8, of keys
//! ```
//!
//! Numbers are little-endian, varints LEB128. A page is a row of its family: key run u64 | page u32, both big-endian.
use crate::storage::keys::{Fingerprint, KeyEntry};
use crate::storage::state::rows::Family;

/// The longest key of an item, in bytes.
pub(super) const KEY_MAX: usize = 9 + 16;

/// What a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage::state) enum Kind {
    /// Idempotency keys by hash; `seq` finds the payload.
    Keys,
    /// Ended holds by id; `seq` finds the row.
    Ended,
    /// Where ended holds are listed: kind u8, hash u64, id.
    Index,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Keys, Kind::Ended, Kind::Index];

    pub(super) fn family(self) -> Family {
        match self {
            Kind::Keys => Family::Key,
            Kind::Ended => Family::Ended,
            Kind::Index => Family::EndedIndex,
        }
    }

    pub(super) fn key_len(self) -> usize {
        match self {
            Kind::Keys | Kind::Ended => 16,
            Kind::Index => KEY_MAX,
        }
    }

    /// Lists are read in ranges, which no filter can answer.
    pub(super) fn has_filter(self) -> bool {
        self != Kind::Index
    }
}

/// A key of an item; zeros behind a shorter one, so that all keys of a run sort as their bytes do.
pub(super) type ItemKey = [u8; KEY_MAX];

/// One entry of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage::state) struct Item {
    pub(super) key: ItemKey,
    /// When retention begins to count, in Unix milliseconds.
    pub(in crate::storage::state) at_ms: u64,
    /// Whether this hides what older runs say of the key.
    pub(super) gone: bool,
    /// Where the payload or row lies among the values.
    pub(super) seq: u64,
    /// The record of a key.
    pub(super) number: u64,
    pub(super) fingerprint: [u8; 8],
}

impl Item {
    pub(super) fn of_key(hash: &[u8; 16], entry: &KeyEntry, at_ms: u64, seq: u64) -> Item {
        Item {
            key: item_key(hash),
            at_ms,
            gone: false,
            seq,
            number: entry.number,
            fingerprint: entry.fingerprint.0,
        }
    }

    /// A plain item of any other kind; without a `seq` its key is gone.
    pub(super) fn new(key: &[u8], at_ms: u64, seq: Option<u64>) -> Item {
        Item {
            key: item_key(key),
            at_ms,
            gone: seq.is_none(),
            seq: seq.unwrap_or(0),
            number: 0,
            fingerprint: [0; 8],
        }
    }

    /// The hash or id at the end of the key.
    pub(in crate::storage::state) fn id(&self, kind: Kind) -> [u8; 16] {
        let key = &self.key[..kind.key_len()];
        *key.last_chunk().expect("every key ends in 16 bytes of its own")
    }

    pub(in crate::storage::state) fn entry(&self) -> KeyEntry {
        KeyEntry {
            fingerprint: Fingerprint(self.fingerprint),
            number: self.number,
        }
    }
}

pub(super) fn item_key(key: &[u8]) -> ItemKey {
    let mut padded = [0; KEY_MAX];
    padded[..key.len()].copy_from_slice(key);
    padded
}

/// What the numbers of a run are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) at_ms: u64,
    pub(super) seq: u64,
    pub(super) number: u64,
}

impl Base {
    pub(super) fn of(items: &[Item]) -> Base {
        let live = || items.iter().filter(|item| !item.gone);
        Base {
            at_ms: items.iter().map(|item| item.at_ms).min().unwrap_or(0),
            seq: live().map(|item| item.seq).min().unwrap_or(0),
            number: live().map(|item| item.number).min().unwrap_or(0),
        }
    }
}

pub(super) const PAGE_HEADER_BYTES: usize = 24;

/// Begins a page in an emptied buffer.
pub(super) fn begin_page(page: &mut Vec<u8>, base: Base) {
    page.clear();
    page.extend_from_slice(&base.at_ms.to_le_bytes());
    page.extend_from_slice(&base.seq.to_le_bytes());
    page.extend_from_slice(&base.number.to_le_bytes());
}

/// Appends an item; `before` is the one before it in this page. No number of it is below the base.
pub(super) fn push_item(page: &mut Vec<u8>, kind: Kind, base: Base, before: Option<&ItemKey>, item: &Item) {
    let key = &item.key[..kind.key_len()];
    let shared = before.map_or(0, |before| {
        key.iter().zip(before).take_while(|(new, old)| new == old).count()
    });
    page.push(u8::try_from(shared).expect("a key has at most 25 bytes"));
    page.extend_from_slice(&key[shared..]);
    let after_base = item.at_ms.saturating_sub(base.at_ms);
    push_varint(page, u128::from(after_base) << 1 | u128::from(item.gone));
    if item.gone || kind == Kind::Index {
        return;
    }
    let seq = item.seq.saturating_sub(base.seq);
    push_varint(page, u128::from(seq));
    if kind == Kind::Keys {
        // Keys are stored in the order of their records, so the two run side by side.
        let ahead = i128::from(item.number.saturating_sub(base.number)) - i128::from(seq);
        push_varint(page, ((ahead << 1) ^ (ahead >> 127)).cast_unsigned());
        page.extend_from_slice(&item.fingerprint);
    }
}

/// The items of a page in order; yields `None` once, and then ends, where the bytes are no items.
pub(super) struct PageItems<'a> {
    rest: &'a [u8],
    kind: Kind,
    base: Base,
    key: ItemKey,
}

impl<'a> PageItems<'a> {
    pub(super) fn new(page: &'a [u8], kind: Kind) -> Option<PageItems<'a>> {
        let (at_ms, rest) = page.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        Some(PageItems {
            rest,
            kind,
            base: Base {
                at_ms: u64::from_le_bytes(*at_ms),
                seq: u64::from_le_bytes(*seq),
                number: u64::from_le_bytes(*number),
            },
            key: [0; KEY_MAX],
        })
    }

    fn read(&mut self) -> Option<Item> {
        let (shared, rest) = self.rest.split_first()?;
        let tail = self.key[..self.kind.key_len()].get_mut(usize::from(*shared)..)?;
        let (bytes, mut rest) = rest.split_at_checked(tail.len())?;
        tail.copy_from_slice(bytes);
        let timed = take_varint(&mut rest)?;
        let mut item = Item {
            key: self.key,
            at_ms: self.base.at_ms.checked_add(u64::try_from(timed >> 1).ok()?)?,
            gone: timed & 1 == 1,
            seq: 0,
            number: 0,
            fingerprint: [0; 8],
        };
        if !item.gone && self.kind != Kind::Index {
            let after_base = u64::try_from(take_varint(&mut rest)?).ok()?;
            item.seq = self.base.seq.checked_add(after_base)?;
            if self.kind == Kind::Keys {
                let zigzag = take_varint(&mut rest)?;
                let ahead = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
                let number = i128::from(self.base.number) + i128::from(after_base) + ahead;
                item.number = u64::try_from(number).ok()?;
                (item.fingerprint, rest) = rest.split_first_chunk().map(|(taken, rest)| (*taken, rest))?;
            }
        }
        self.rest = rest;
        Some(item)
    }
}

impl Iterator for PageItems<'_> {
    type Item = Option<Item>;

    fn next(&mut self) -> Option<Option<Item>> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_none() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Appends a number in LEB128.
pub(super) fn push_varint(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Takes a number in LEB128 off the front; `None` when there is none of at most 70 bits.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u128> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_from_a_page_and_a_cut_page_does_not_pass() {
        let items = [
            Item::new(&[1; 25], 5, Some(0)),
            Item::new(&[[1; 20].as_slice(), &[2; 5]].concat(), u64::MAX, None),
            Item::new(&[9; 25], 6, Some(0)),
        ];
        let keys = [
            Item::of_key(
                &[3; 16],
                &KeyEntry {
                    fingerprint: Fingerprint([7; 8]),
                    number: u64::MAX,
                },
                5,
                77,
            ),
            Item::of_key(
                &[4; 16],
                &KeyEntry {
                    fingerprint: Fingerprint([8; 8]),
                    number: 12,
                },
                50_000,
                u64::MAX,
            ),
        ];
        for (kind, items) in [(Kind::Index, &items[..]), (Kind::Keys, &keys[..])] {
            let base = Base::of(items);
            let (mut page, mut before) = (Vec::new(), None);
            begin_page(&mut page, base);
            for item in items {
                push_item(&mut page, kind, base, before, item);
                before = Some(&item.key);
            }
            let read = |page: &[u8]| -> Option<Vec<Item>> { PageItems::new(page, kind)?.collect() };
            assert_eq!(read(&page).as_deref(), Some(items));
            for len in 0..page.len() {
                assert!(
                    read(&page[..len]).is_none_or(|read| read.len() < items.len()),
                    "{len}"
                );
            }
        }
    }
}
