//! How a row lies in sled: families, checksums, and values larger than one sled value may be.
//!
//! ```text
//! tree <family>:  key -> version u8 = 1 | crc32c u32 | pieces u16 | change u64 | first bytes of the row
//! tree "pieces":  family u8 | change u64 | key | piece u16 (from 1) -> the next bytes of the row
//! ```
//!
//! Numbers in keys are big-endian (they sort), all others little-endian. The checksum covers family, change, key and the whole row, so that
//! a flipped bit and a row in the wrong place are both found. Compatibility: a row of an unknown version is refused; an older one
//! stays readable.
//!
//! Pieces carry the change that wrote them. A row is replaced by writing the new pieces, then the head, then deleting the old
//! pieces; a reader that lost that race finds a new head and reads again, so reading takes no lock.
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::StateError;
use crate::storage::engine::{Engine, EngineError, MAX_VALUE_BYTES};

/// A kind of rows with its own key space and order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// The head of an entity's state: kind u8, entity id bytes.
    Entity = 1,
    /// A live hold: the variant's ordinal u32, reservation id 16.
    Hold = 2,
    /// Runs of ended holds, see `runs`. Written by `put_ended`, read by `ended`.
    Ended = 3,
    /// Runs of the lists of ended holds. Written by `put_ended`, read by `ended_ids`.
    EndedIndex = 4,
    /// One row per run, and one for the bounds of all.
    Run = 5,
    /// Runs of idempotency keys. Written by `put_key`, read by `key`.
    Key = 6,
    /// The stock ledger of a variant: ordinal u32, sequence number u64.
    Ledger = 7,
    /// The audit trail: sequence number u64.
    Audit = 8,
    /// Statistics, keyed by their owner.
    Statistics = 9,
    /// Small facts about the partition, keyed by name.
    Meta = 10,
    /// The payloads of the records behind the keys, in pages by record number.
    KeyPayload = 11,
    /// The rows of ended holds, in pages in the order they ended.
    EndedRow = 12,
}

impl Family {
    /// All families, in the order of their numbers.
    pub const ALL: [Family; 12] = [
        Family::Entity,
        Family::Hold,
        Family::Ended,
        Family::EndedIndex,
        Family::Run,
        Family::Key,
        Family::Ledger,
        Family::Audit,
        Family::Statistics,
        Family::Meta,
        Family::KeyPayload,
        Family::EndedRow,
    ];

    /// The family with this stored number.
    pub(super) fn from_number(number: u8) -> Option<Family> {
        Family::ALL.into_iter().find(|family| *family as u8 == number)
    }

    fn index(self) -> usize {
        self as usize - 1
    }

    fn tree_name(self) -> [u8; 2] {
        [b'f', self as u8]
    }
}

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 + 2 + 8;
const HEAD_BYTES: usize = MAX_VALUE_BYTES - HEADER_BYTES;
const PIECES_MAX: usize = u16::MAX as usize;
/// The largest row that is one value.
pub(super) const ONE_VALUE_BYTES: usize = HEAD_BYTES;
/// The largest row that can be stored, in bytes.
pub const ROW_MAX_BYTES: usize = HEAD_BYTES + PIECES_MAX * MAX_VALUE_BYTES;

/// The trees of one open database.
#[derive(Debug)]
pub(super) struct Trees {
    families: Vec<sled::Tree>,
    pieces: sled::Tree,
    dir: std::path::PathBuf,
    /// Where every change goes as well, while a copy is made.
    mirror: RwLock<Option<Arc<Trees>>>,
}

/// How far a copy is: the family, and the key its next row is at or above.
#[derive(Debug, Default)]
pub(super) struct CopyPoint {
    family: usize,
    from: Vec<u8>,
}

/// A stored head, taken apart.
struct Head<'a> {
    crc: u32,
    pieces: u16,
    change: u64,
    bytes: &'a [u8],
}

impl Trees {
    pub(super) fn open(engine: &Engine) -> Result<Trees, EngineError> {
        let open = |name: &[u8]| {
            engine
                .db()
                .open_tree(name)
                .map_err(EngineError::sled("open a tree of", engine.dir()))
        };
        let families = Family::ALL
            .iter()
            .map(|family| open(&family.tree_name()))
            .collect::<Result<_, _>>()?;
        Ok(Trees {
            families,
            pieces: open(b"pieces")?,
            dir: engine.dir().to_owned(),
            mirror: RwLock::default(),
        })
    }

    /// How many pieces are stored, reachable or not.
    #[cfg(test)]
    pub(super) fn pieces_len(&self) -> usize {
        self.pieces.len()
    }

    fn tree(&self, family: Family) -> &sled::Tree {
        &self.families[family.index()]
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets every change from now on go into another database too, or no longer.
    pub(super) fn mirror_to(&self, mirror: Option<Arc<Trees>>) {
        *self.mirror.write() = mirror;
    }

    /// Writes a row as change number `change`, in place of an earlier one. Writing the same again changes nothing.
    pub(super) fn put(&self, family: Family, key: &[u8], row: &[u8], change: u64) -> Result<(), StateError> {
        if let Some(mirror) = &*self.mirror.read() {
            mirror.put_here(family, key, row, change)?;
        }
        self.put_here(family, key, row, change)
    }

    fn put_here(&self, family: Family, key: &[u8], row: &[u8], change: u64) -> Result<(), StateError> {
        let head_len = row.len().min(HEAD_BYTES);
        let (first, rest) = row.split_at(head_len);
        let pieces = u16::try_from(rest.len().div_ceil(MAX_VALUE_BYTES))
            .expect("a row is at most ROW_MAX_BYTES long, checked when it was added");
        for (piece, bytes) in (1..=pieces).zip(rest.chunks(MAX_VALUE_BYTES)) {
            self.pieces
                .insert(piece_key(family, change, key, piece), bytes)
                .map_err(EngineError::sled("write to", self.dir()))?;
        }
        let mut head = Vec::with_capacity(HEADER_BYTES + first.len());
        head.push(VERSION);
        head.extend_from_slice(&checksum(family, key, change, row).to_le_bytes());
        head.extend_from_slice(&pieces.to_le_bytes());
        head.extend_from_slice(&change.to_le_bytes());
        head.extend_from_slice(first);
        let old = self
            .tree(family)
            .insert(key, head)
            .map_err(EngineError::sled("write to", self.dir()))?;
        match old {
            Some(old) => self.remove_pieces(family, key, &old, change),
            None => Ok(()),
        }
    }

    /// Deletes a row; one that is not there is fine.
    pub(super) fn delete(&self, family: Family, key: &[u8]) -> Result<(), StateError> {
        if let Some(mirror) = &*self.mirror.read() {
            mirror.delete_here(family, key)?;
        }
        self.delete_here(family, key)
    }

    fn delete_here(&self, family: Family, key: &[u8]) -> Result<(), StateError> {
        let old = self
            .tree(family)
            .remove(key)
            .map_err(EngineError::sled("delete from", self.dir()))?;
        match old {
            Some(old) => self.remove_pieces(family, key, &old, 0),
            None => Ok(()),
        }
    }

    /// Deletes the pieces of a replaced head, unless change `kept` wrote them.
    fn remove_pieces(&self, family: Family, key: &[u8], old: &[u8], kept: u64) -> Result<(), StateError> {
        // A damaged old head has lost its pieces' address; the next compaction leaves them behind.
        let Some(head) = parse(old).filter(|head| head.change != kept) else {
            return Ok(());
        };
        for piece in 1..=head.pieces {
            self.pieces
                .remove(piece_key(family, head.change, key, piece))
                .map_err(EngineError::sled("delete from", self.dir()))?;
        }
        Ok(())
    }

    /// Reads a row.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let read = || {
            self.tree(family)
                .get(key)
                .map_err(EngineError::sled("read", self.dir()))
        };
        let mut head = read()?;
        loop {
            let Some(found) = &head else { return Ok(None) };
            match self.assemble(family, key, found)? {
                Some(row) => return Ok(Some(row)),
                None => {
                    // A piece is gone: either the row was replaced meanwhile, or it is damaged.
                    let again = read()?;
                    if again == head {
                        return Err(self.damage(family, key));
                    }
                    head = again;
                }
            }
        }
    }

    /// Rows of a family from `from` (inclusive) up to `to` (exclusive, none for the end), in key order.
    pub(super) fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>) -> RowsIter {
        let tree = self.tree(family);
        match to {
            Some(to) if to <= from => RowsIter(tree.range::<&[u8], _>(from..from)),
            Some(to) => RowsIter(tree.range(from..to)),
            None => RowsIter(tree.range(from..)),
        }
    }

    /// The row below a found head; `None` when one of its pieces is missing.
    pub(super) fn assemble(
        &self,
        family: Family,
        key: &[u8],
        head: &[u8],
    ) -> Result<Option<Vec<u8>>, StateError> {
        let damage = || self.damage(family, key);
        let head = parse(head).ok_or_else(damage)?;
        let mut row = head.bytes.to_vec();
        for piece in 1..=head.pieces {
            let stored = self
                .pieces
                .get(piece_key(family, head.change, key, piece))
                .map_err(EngineError::sled("read", self.dir()))?;
            let Some(bytes) = stored else { return Ok(None) };
            row.extend_from_slice(&bytes);
        }
        if checksum(family, key, head.change, &row) == head.crc {
            Ok(Some(row))
        } else {
            Err(damage())
        }
    }

    /// The row with the largest key that is not above `key`.
    pub(super) fn floor(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<(sled::IVec, Vec<u8>)>, StateError> {
        let found = self.tree(family).range(..=key).next_back();
        let Some(entry) = found else { return Ok(None) };
        let (key, head) = entry.map_err(EngineError::sled("read", self.dir()))?;
        match self.assemble(family, &key, &head)? {
            Some(row) => Ok(Some((key, row))),
            None => Ok(self.get(family, &key)?.map(|row| (key, row))),
        }
    }

    /// At most `limit` rows from `from` on, while nobody writes the family.
    pub(super) fn read_from(
        &self,
        family: Family,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(sled::IVec, Vec<u8>)>, StateError> {
        let mut rows = Vec::new();
        let mut heads = self.scan(family, from, None);
        while rows.len() < limit {
            let Some(entry) = heads.next(self) else { break };
            let (key, head) = entry?;
            let row = self.assemble(family, &key, &head)?;
            let row = row.ok_or_else(|| self.damage(family, &key))?;
            rows.push((key, row));
        }
        Ok(rows)
    }

    /// A key at or above `from`, without its row.
    pub(super) fn first_key(&self, family: Family, from: &[u8]) -> Result<Option<sled::IVec>, StateError> {
        let first = self.scan(family, from, None).next(self).transpose()?;
        Ok(first.map(|(key, _)| key))
    }

    /// That a row of these trees is not what was written.
    pub(super) fn damage(&self, family: Family, key: &[u8]) -> StateError {
        StateError::Damage {
            family,
            key: key.into(),
            dir: self.dir().to_owned(),
        }
    }

    /// Copies the next rows, as they are, into another database: about `bytes` of them, at most `rows`. Pieces that no head
    /// names stay behind. Whether there are more.
    pub(super) fn copy_some(
        &self,
        target: &Trees,
        at: &mut CopyPoint,
        mut rows: usize,
        mut bytes: usize,
    ) -> Result<bool, StateError> {
        while let Some(family) = Family::ALL.get(at.family).copied() {
            let mut heads = self.scan(family, &at.from, None);
            while let Some(entry) = heads.next(self) {
                let (key, head) = entry?;
                if rows == 0 || bytes == 0 {
                    at.from = key.to_vec();
                    return Ok(true);
                }
                let mut copied = key.len() + head.len();
                if let Some(parsed) = parse(&head) {
                    self.copy_pieces(target, family, &key, &parsed)?;
                    copied += usize::from(parsed.pieces) * MAX_VALUE_BYTES;
                }
                let write = EngineError::sled("write to", target.dir());
                target.tree(family).insert(key, head).map_err(write)?;
                (rows, bytes) = (rows - 1, bytes.saturating_sub(copied));
            }
            *at = CopyPoint {
                family: at.family + 1,
                from: Vec::new(),
            };
        }
        Ok(false)
    }

    fn copy_pieces(
        &self,
        target: &Trees,
        family: Family,
        key: &[u8],
        head: &Head<'_>,
    ) -> Result<(), StateError> {
        for piece in 1..=head.pieces {
            let address = piece_key(family, head.change, key, piece);
            let stored = self
                .pieces
                .get(&address)
                .map_err(EngineError::sled("read", self.dir()))?;
            if let Some(bytes) = stored {
                target
                    .pieces
                    .insert(address, bytes)
                    .map_err(EngineError::sled("write to", target.dir()))?;
            }
        }
        Ok(())
    }
}

/// Heads of a family in key order, as they are stored.
pub(super) struct RowsIter(sled::Iter);

impl RowsIter {
    pub(super) fn next(&mut self, trees: &Trees) -> Option<Result<(sled::IVec, sled::IVec), StateError>> {
        let entry = self.0.next()?;
        Some(entry.map_err(|error| EngineError::sled("read", trees.dir())(error).into()))
    }
}

fn parse(head: &[u8]) -> Option<Head<'_>> {
    let (version, head) = head.split_first()?;
    let (crc, head) = head.split_first_chunk()?;
    let (pieces, head) = head.split_first_chunk()?;
    let (change, bytes) = head.split_first_chunk()?;
    (*version == VERSION).then_some(Head {
        crc: u32::from_le_bytes(*crc),
        pieces: u16::from_le_bytes(*pieces),
        change: u64::from_le_bytes(*change),
        bytes,
    })
}

fn checksum(family: Family, key: &[u8], change: u64, row: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[family as u8]);
    let crc = crc32c::crc32c_append(crc, &change.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, key), row)
}

fn piece_key(family: Family, change: u64, key: &[u8], piece: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 8 + key.len() + 2);
    out.push(family as u8);
    out.extend_from_slice(&change.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&piece.to_be_bytes());
    out
}
