//! The database of the stored states, and how a fresh copy takes its place.
//!
//! ```text
//! <state>/CURRENT   "holdfast-state 1", "generation <n>", "base_bytes <bytes right after the copy>"
//! <state>/<n>/      the sled database of generation n
//! ```
//!
//! A copy is built in `<n + 1>`, synced, and becomes current by the durable replacement of `CURRENT`; only then the old one is
//! deleted. A crash before leaves a half copy, a crash after an old original: either is the directory that `CURRENT` does not name,
//! and the next start deletes it.
//!
//! A copy is made in turns of bounded size ([`TURN_BYTES`]), between which changes go on: whatever is written into the original
//! meanwhile is written into the copy as well ([`Trees::mirror_to`]), whether or not its turn has come. So each turn finds the
//! original as it stands, and behind the last turn both say the same.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StateError;
use super::mark::Mark;
use super::rows::{CopyPoint, Trees};
use crate::storage::data_dir::replace_file;
use crate::storage::engine::{Engine, EngineError, EngineOptions, sync_dir};

const CURRENT: &str = "CURRENT";
const FORMAT: &str = "holdfast-state 1";

/// One open database of stored states.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) trees: Arc<Trees>,
    pub(super) mark: sled::Tree,
    pub(super) engine: Engine,
    pub(super) number: u64,
    /// What the database occupied when it was fresh; growth is measured against it.
    pub(super) base_bytes: u64,
}

/// What `CURRENT` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pointer {
    generation: u64,
    base_bytes: u64,
}

impl Generation {
    /// Opens the current generation and deletes every other; creates the first one in an empty directory.
    pub(super) fn open_current(dir: &Path, options: EngineOptions) -> Result<Generation, StateError> {
        let Some(pointer) = read_pointer(dir)? else {
            return Generation::create_first(dir, options);
        };
        let database = generation_dir(dir, pointer.generation);
        if !database.is_dir() {
            return Err(EngineError::Missing { path: database }.into());
        }
        remove_all_but(dir, pointer.generation)?;
        Generation::open(dir, pointer, options)
    }

    /// Creates generation 1, or completes its creation. A database with a mark proves that `CURRENT` was there once.
    fn create_first(dir: &Path, options: EngineOptions) -> Result<Generation, StateError> {
        let pointer = Pointer {
            generation: 1,
            base_bytes: 0,
        };
        if numbered_entries(dir)?
            .iter()
            .any(|(number, _)| *number != Some(pointer.generation))
        {
            return Err(EngineError::Missing {
                path: dir.join(CURRENT),
            }
            .into());
        }
        let generation = Generation::open(dir, pointer, options)?;
        if Mark::read(&generation)?.is_some() {
            return Err(EngineError::Missing {
                path: dir.join(CURRENT),
            }
            .into());
        }
        publish(dir, pointer)?;
        Ok(generation)
    }

    fn open(dir: &Path, pointer: Pointer, options: EngineOptions) -> Result<Generation, StateError> {
        let engine = Engine::open(&generation_dir(dir, pointer.generation), options)?;
        let trees = Arc::new(Trees::open(&engine)?);
        let mark = engine
            .db()
            .open_tree(b"mark")
            .map_err(EngineError::sled("open a tree of", engine.dir()))?;
        engine.sync()?;
        Ok(Generation {
            trees,
            mark,
            engine,
            number: pointer.generation,
            base_bytes: pointer.base_bytes,
        })
    }

    /// Ends the database; the directory can be opened again afterwards.
    pub(super) fn close(self) -> Result<(), EngineError> {
        let Generation {
            trees, mark, engine, ..
        } = self;
        drop((trees, mark));
        engine.close()
    }
}

/// About how many bytes one turn of a copy takes; sled takes some 100 ms for it.
pub(super) const TURN_BYTES: usize = 8 << 20;
/// The most rows that one turn takes.
pub(super) const TURN_ROWS: usize = 8_192;

/// A copy of the live rows on its way.
#[derive(Debug)]
pub(super) struct Copying {
    fresh: Generation,
    at: CopyPoint,
}

impl Copying {
    /// Begins a copy of `original`; changes of it go into the copy from here on.
    pub(super) fn begin(
        original: &Generation,
        dir: &Path,
        options: EngineOptions,
    ) -> Result<Self, StateError> {
        let pointer = Pointer {
            generation: original.number + 1,
            base_bytes: 0,
        };
        remove_tree(&generation_dir(dir, pointer.generation))?;
        let fresh = Generation::open(dir, pointer, options)?;
        original.trees.mirror_to(Some(Arc::clone(&fresh.trees)));
        let at = CopyPoint::default();
        Ok(Self { fresh, at })
    }

    /// Copies the next rows, durably; whether there are more.
    pub(super) fn turn(&mut self, original: &Generation) -> Result<bool, StateError> {
        let more = original
            .trees
            .copy_some(&self.fresh.trees, &mut self.at, TURN_ROWS, TURN_BYTES)?;
        self.fresh.engine.sync()?;
        Ok(more)
    }

    /// Makes the complete copy the current generation and deletes the files of the original. Readers that still hold that go on
    /// reading it until they let go.
    pub(super) fn finish(self, original: &Generation, dir: &Path) -> Result<Generation, StateError> {
        let mut fresh = self.fresh;
        if let Some(mark) = Mark::read(original)? {
            mark.write(&fresh)?;
        }
        fresh.engine.sync()?;
        fresh.base_bytes = fresh.engine.size_on_disk()?;
        publish(
            dir,
            Pointer {
                generation: fresh.number,
                base_bytes: fresh.base_bytes,
            },
        )?;
        original.trees.mirror_to(None);
        remove_tree(original.engine.dir())?;
        sync_dir(dir)?;
        Ok(fresh)
    }

    /// Gives the copy up and its space back.
    pub(super) fn abandon(self, original: &Generation, dir: &Path) -> Result<(), StateError> {
        original.trees.mirror_to(None);
        let path = self.fresh.engine.dir().to_owned();
        self.fresh.close()?;
        remove_tree(&path)?;
        Ok(sync_dir(dir)?)
    }
}

fn generation_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(number.to_string())
}

fn publish(dir: &Path, pointer: Pointer) -> Result<(), EngineError> {
    let Pointer {
        generation,
        base_bytes,
    } = pointer;
    let text = format!("{FORMAT}\ngeneration {generation}\nbase_bytes {base_bytes}\n");
    replace_file(dir, CURRENT, text.as_bytes())
}

fn read_pointer(dir: &Path) -> Result<Option<Pointer>, StateError> {
    let path = dir.join(CURRENT);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::io("read", &path)(error).into()),
    };
    match String::from_utf8(bytes).ok().as_deref().and_then(parse_pointer) {
        Some(pointer) => Ok(Some(pointer)),
        None => Err(StateError::DamagedFile { path }),
    }
}

fn parse_pointer(text: &str) -> Option<Pointer> {
    let mut lines = text.lines();
    if lines.next()? != FORMAT {
        return None;
    }
    let generation = lines.next()?.strip_prefix("generation ")?.parse().ok()?;
    let base_bytes = lines.next()?.strip_prefix("base_bytes ")?.parse().ok()?;
    lines.next().is_none().then_some(Pointer {
        generation,
        base_bytes,
    })
}

/// The directories in `dir`, each with its generation number when its name is one. `<n>.new` is an engine being created.
fn numbered_entries(dir: &Path) -> Result<Vec<(Option<u64>, PathBuf)>, EngineError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(EngineError::io("read the directory", dir))? {
        let path = entry.map_err(EngineError::io("read the directory", dir))?.path();
        if path.is_dir() {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            found.push((name.strip_suffix(".new").unwrap_or(&name).parse().ok(), path));
        }
    }
    Ok(found)
}

fn remove_all_but(dir: &Path, current: u64) -> Result<(), EngineError> {
    let keep = generation_dir(dir, current);
    for (number, path) in numbered_entries(dir)? {
        if number.is_some() && path != keep {
            remove_tree(&path)?;
        }
    }
    sync_dir(dir)
}

fn remove_tree(dir: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EngineError::io("remove", dir)(error)),
    }
}
