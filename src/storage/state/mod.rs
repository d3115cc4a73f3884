//! Stored states: everything a restart needs besides the tail of the log.
//!
//! The second sled database of an epoch, with its own syncs, written by the checkpoint thread alone. Rows are opaque bytes in
//! [`Family`]s; who writes them gives them meaning. A checkpoint at record number N leaves the rows as the state after record N,
//! so that recovery is: load the rows, replay the log from N + 1. Nothing here reads a clock.
//!
//! # Why a crash never shows half a checkpoint
//! An entity's head and its hold rows change together, and neither order of writing them is safe: replay from the old checkpoint
//! over rows of the new one would meet holds that already exist or have already gone. A sled batch would be atomic, but takes a
//! lock that all sled databases of the process share, and with it the journal's writer would wait for the whole checkpoint. So
//! each change is numbered and goes through a redo file:
//!
//! 1. all its rows are written to `redo.new`, synced, renamed to `redo`, the directory synced: from here on the change will happen;
//! 2. the rows are written one by one (upserts and deletes of the state as of the checkpoint, so doing it again changes nothing);
//! 3. the database is flushed and device-synced;
//! 4. the mark {change, record number, epoch, chain hash, logged time} is written and synced: the change has happened;
//! 5. `redo` is deleted. That needs no sync: a redo whose change is not above the mark's is not done again.
//!
//! At start a `redo` above the mark is done from step 2. So the rows are the state at the mark, whole, in every crash: before step 1
//! is complete nothing was touched, and after it the change is completed before anyone reads. The log may be trimmed up to the
//! checkpoint once [`StateStore::apply`] has returned. A `redo` that cannot be read, though it was synced before it got its name,
//! is damage, and the start is refused.
//!
//! Keys and ended holds are far too many to be rows of their own: they lie in `runs`, whose pages are written before step 1.
//!
//! # Growth and cost
//! A plain row costs sled about 10 us to write and as much to delete; so 53,000 changes a second were the most. With runs, checkpoints
//! of 100,000 keys and 50,000 ended holds with three lists each, merges and retention after 20 checkpoints beside them, take 240,000
//! to 340,000 keys and ended holds per second of one processor (550,000 before the first merge), most of it sled's; the directory
//! then stays at 1.6 GiB for 2 million keys and 1 million ended holds within retention, and opens in 0.9 s
//! (`cargo bench --bench state_growth -- 60`). When the database has grown to [`GROWTH_FACTOR`] times its size when it was fresh (and
//! above a floor), [`StateStore::compact_if_grown`] copies the live rows into a fresh one beside it, turn by turn, see `generation`.
//!
//! A change and its redo are held in memory twice over, so whoever checkpoints bounds the rows of one [`RowChanges`]; the log can
//! be cut into checkpoints after any record.
//!
//! Deliberately absent: transactions, a cache of its own, any knowledge of what a row means.
mod changes;
mod filter;
mod generation;
mod mark;
mod retention;
mod rows;
mod runs;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use changes::{Checkpoint, RowChanges};
pub use filter::FALSE_POSITIVES;
pub use retention::{DISK_FACTOR, StoredEnded, StoredKey, StoredPage, Swept};
pub use rows::{Family, ROW_MAX_BYTES};

use super::data_dir::replace_file;
use super::engine::{EngineError, EngineOptions};
use changes::{Redo, RowChange};
use generation::{Copying, Generation};
use mark::Mark;
use rows::Trees;
use runs::{Prepared, Runs, RunsWriter};

/// A database this many times its fresh size is copied.
pub const GROWTH_FACTOR: u64 = 4;
/// The file that makes a change one step.
const REDO: &str = "redo";

/// How a state store is opened.
#[derive(Debug, Clone, Copy)]
pub struct StateOptions {
    /// sled's page cache in bytes.
    pub cache_bytes: u64,
    /// Below this size on disk, in bytes, the database is never copied.
    pub compact_floor_bytes: u64,
}

/// Why the stored states cannot be used. After an error of a write the process must end and recover by a restart.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database or the file system refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A row's bytes are not what was written.
    #[error("a stored row of {family:?} with key {} in {} is damaged; restore a snapshot", hex(key), dir.display())]
    Damage {
        /// The family of the row.
        family: Family,
        /// The key of the row.
        key: Box<[u8]>,
        /// The database.
        dir: PathBuf,
    },
    /// A file of the store is not what was written.
    #[error("{} is damaged; restore a snapshot", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
    },
}

/// The stored states of one epoch. Reads may come from any thread; changes, sweeps and compaction from one at a time (they queue).
#[derive(Debug)]
pub struct StateStore {
    dir: PathBuf,
    options: StateOptions,
    current: RwLock<Arc<Generation>>,
    runs: Runs,
    /// Held while something changes.
    writing: Mutex<Writing>,
}

/// What only the one who changes something needs.
#[derive(Debug)]
struct Writing {
    /// The last change.
    mark: Mark,
    runs: RunsWriter,
    /// A fresh copy of the database on its way.
    copying: Option<Copying>,
}

/// What [`StateStore::compact_if_grown`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing: the database has not grown, or there is no room for a copy.
    Idle,
    /// It copied some rows; there are more.
    UnderWay,
    /// It copied the last rows; the fresh database is in use.
    Done,
}

impl StateStore {
    /// Opens the store in `dir`, an existing directory, completes an interrupted change and reads the filters of the runs.
    ///
    /// # Errors
    /// Damage, or a refusal of the disk.
    pub fn open(dir: &Path, options: StateOptions) -> Result<StateStore, StateError> {
        let generation = Generation::open_current(dir, engine_options(&options))?;
        let mark = complete_change(dir, &generation)?;
        let (runs, runs_writer) = Runs::load(&generation.trees)?;
        Ok(StateStore {
            dir: dir.to_owned(),
            options,
            current: RwLock::new(Arc::new(generation)),
            runs,
            writing: Mutex::new(Writing {
                mark,
                runs: runs_writer,
                copying: None,
            }),
        })
    }

    /// Ends the database, so that the directory can be opened again. While a scan still holds the database, only it can end it.
    ///
    /// # Errors
    /// The database cannot be waited for.
    pub fn close(self) -> Result<(), StateError> {
        let generation = self.current.into_inner();
        if let Some(copying) = self.writing.into_inner().copying {
            copying.abandon(&generation, &self.dir)?;
        }
        match Arc::try_unwrap(generation) {
            Ok(generation) => Ok(generation.close()?),
            Err(_shared_with_a_scan) => Ok(()),
        }
    }

    /// Up to where the rows have the log; `None` before the first checkpoint.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.writing.lock().mark.checkpoint
    }

    /// Makes the rows the state at `checkpoint`, durably and in one step, and goes on merging runs. When this returns, the log up
    /// to the checkpoint may be trimmed and the key table told.
    ///
    /// # Errors
    /// Any error is final: end the process; the next start completes or never began the change.
    pub fn apply(&self, changes: RowChanges, checkpoint: Checkpoint) -> Result<(), StateError> {
        let mut writing = self.writing.lock();
        let trees = self.trees();
        let change = writing.mark.change + 1;
        let prepared = self.runs.prepare(
            &trees,
            &mut writing.runs,
            &changes,
            change,
            checkpoint.logged_at_ms,
        )?;
        self.commit(&mut writing, changes.rows, prepared, Some(checkpoint))
    }

    /// The five steps of the module head, between what runs write before and delete after.
    fn commit(
        &self,
        writing: &mut Writing,
        mut rows: Vec<RowChange>,
        mut prepared: Prepared,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StateError> {
        let generation = self.generation();
        rows.append(&mut prepared.rows);
        // Neighbours one after the other: sled finds the leaf of the row before still at hand. Stable, so that the last change
        // of a row stays the last.
        rows.sort_by(|a, b| (a.family, &a.key).cmp(&(b.family, &b.key)));
        let redo = Redo {
            change: writing.mark.change + 1,
            checkpoint,
            rows,
        };
        if redo.rows.is_empty() && redo.checkpoint == writing.mark.checkpoint {
            return Runs::delete_doomed(&generation.trees, &mut writing.runs);
        }
        if prepared.needs_sync {
            generation.engine.sync()?;
        }
        replace_file(&self.dir, REDO, &redo.to_bytes())?;
        writing.mark = carry_out(&generation, &redo)?;
        remove_redo(&self.dir)?;
        self.runs.show(&generation.trees, &mut writing.runs, prepared)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`StateError::Damage`] when its checksum does not agree, or a refusal of the disk.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.generation().trees.get(family, key)
    }

    /// Reads at most `limit` rows of a family in key order, from `from` (inclusive) up to `to` (exclusive; none for the end). The
    /// next call goes on from the last key with a zero byte appended.
    pub fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Rows {
        let generation = self.generation();
        let heads = generation.trees.scan(family, from, to);
        Rows {
            generation,
            heads,
            family,
            left: limit,
        }
    }

    /// The bytes the store occupies on the disk.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn disk_bytes(&self) -> Result<u64, StateError> {
        Ok(super::engine::allocated_bytes(&self.dir)?)
    }

    /// One turn of copying the live rows into a fresh database, where the current one has grown too far. A turn is bounded, so
    /// that checkpoints and trimming go on between turns; readers go on all the time. Needs as much free disk as the live rows:
    /// with `has_room` false none is begun, and one under way is given up.
    ///
    /// # Errors
    /// Any error is final, as of [`StateStore::apply`].
    pub fn compact_if_grown(&self, has_room: bool) -> Result<Compaction, StateError> {
        let mut writing = self.writing.lock();
        let generation = self.generation();
        if !has_room {
            if let Some(copying) = writing.copying.take() {
                copying.abandon(&generation, &self.dir)?;
            }
            return Ok(Compaction::Idle);
        }
        if writing.copying.is_none() {
            let grown = generation.base_bytes.saturating_mul(GROWTH_FACTOR);
            let limit = self.options.compact_floor_bytes.max(grown);
            if generation.engine.size_on_disk()? <= limit {
                return Ok(Compaction::Idle);
            }
        }
        self.copy_turn(&mut writing, &generation)
    }

    /// Copies the live rows into a fresh database now, all in one.
    ///
    /// # Errors
    /// Any error is final, as of [`StateStore::apply`].
    pub fn compact(&self) -> Result<(), StateError> {
        let mut writing = self.writing.lock();
        let generation = self.generation();
        while self.copy_turn(&mut writing, &generation)? != Compaction::Done {}
        Ok(())
    }

    fn copy_turn(&self, writing: &mut Writing, original: &Generation) -> Result<Compaction, StateError> {
        let mut copying = match writing.copying.take() {
            Some(copying) => copying,
            None => Copying::begin(original, &self.dir, engine_options(&self.options))?,
        };
        if copying.turn(original)? {
            writing.copying = Some(copying);
            return Ok(Compaction::UnderWay);
        }
        let fresh = copying.finish(original, &self.dir)?;
        *self.current.write() = Arc::new(fresh);
        Ok(Compaction::Done)
    }

    fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read())
    }

    fn trees(&self) -> Arc<Trees> {
        Arc::clone(&self.current.read().trees)
    }
}

/// Rows of a family in key order, see [`StateStore::scan`].
pub struct Rows {
    /// Dropped before the generation, whose database waits for every iterator on it.
    heads: rows::RowsIter,
    generation: Arc<Generation>,
    family: Family,
    left: usize,
}

impl Iterator for Rows {
    type Item = Result<(Vec<u8>, Vec<u8>), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let (key, head) = match self.heads.next(&self.generation.trees)? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let assembled = match self.generation.trees.assemble(self.family, &key, &head) {
                Ok(None) => self.generation.trees.get(self.family, &key), // replaced since the head was read
                settled => settled,
            };
            match assembled {
                Ok(None) => {} // deleted since the head was read
                Ok(Some(row)) => {
                    self.left -= 1;
                    return Some(Ok((key.to_vec(), row)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

fn engine_options(options: &StateOptions) -> EngineOptions {
    EngineOptions {
        cache_bytes: options.cache_bytes,
        mode: sled::Mode::LowSpace,
    }
}

/// Steps 2 to 4 of the module head.
fn carry_out(generation: &Generation, redo: &Redo) -> Result<Mark, StateError> {
    for RowChange { family, key, row } in &redo.rows {
        match row {
            Some(row) => generation.trees.put(*family, key, row, redo.change)?,
            None => generation.trees.delete(*family, key)?,
        }
    }
    generation.engine.sync()?;
    let mark = Mark {
        change: redo.change,
        checkpoint: redo.checkpoint,
    };
    mark.write(generation)?;
    generation.engine.sync()?;
    Ok(mark)
}

/// Does at start what a crash interrupted, and tells how far the rows are.
fn complete_change(dir: &Path, generation: &Generation) -> Result<Mark, StateError> {
    let mark = Mark::read(generation)?.unwrap_or_default();
    let path = dir.join(REDO);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(mark),
        Err(error) => return Err(EngineError::io("read", &path)(error).into()),
    };
    let redo = Redo::from_bytes(&bytes).ok_or_else(|| StateError::DamagedFile { path: path.clone() })?;
    let mark = if redo.change > mark.change {
        carry_out(generation, &redo)?
    } else {
        mark
    };
    remove_redo(dir)?;
    Ok(mark)
}

fn remove_redo(dir: &Path) -> Result<(), StateError> {
    let path = dir.join(REDO);
    Ok(fs::remove_file(&path).map_err(EngineError::io("remove", &path))?)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
        out
    })
}
