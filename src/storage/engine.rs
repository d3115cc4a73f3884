//! Opens sled 0.34.7 the safe way; the one place in the house that does.
//!
//! sled by itself is safe against a kill, not against a power loss. The recipe around it, each step for a trap found in its
//! source or measured:
//!
//! 1. A new database is built in `<dir>.new`, closed, synced and only then renamed to `<dir>`: a crash during creation leaves
//!    nothing that would later be opened. A directory that has content but no `db` file is refused, because sled would
//!    silently begin an empty database there.
//! 2. `snap.*.generating` files are deleted before opening: a process killed while opening leaves one, and sled takes it for
//!    the newest snapshot and reports corruption (spacejam/sled#1527, #1533).
//! 3. The `db` file is synced before opening: opening writes a synced snapshot of what it read, which must not outlive the
//!    bytes it describes when those were only in the page cache of a killed process.
//! 4. After opening, `conf`, `db`, `blobs/`, the directory and its parent are synced; sled syncs none of them.
//! 5. [`Engine::sync`] is `flush` and then `sync_data` on a handle of our own, kept for the life of the engine: sled's flush
//!    ends in `sync_file_range`, which is no barrier (spacejam/sled#1452, #1351).
//! 6. The flusher thread stays on, because it also runs sled's garbage collection.
//! 7. Values must stay at or below [`MAX_VALUE_BYTES`]: larger ones end in `blobs/`, whose files sled never syncs.
//!
//! Any error of an insert, a flush or a sync is final: stop acknowledging, end the process and recover by a restart. This file
//! takes no lock of its own: the data directory has one. sled transactions, `flush_async` and `generate_id` are not used
//! anywhere (deadlocks and repeated ids).
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The largest value that may be given to sled, in bytes: 4 KiB values leave `blobs/` empty however they are consolidated,
/// 16 KiB values do not. Longer data is split by the caller into several values.
pub const MAX_VALUE_BYTES: usize = 4096;

/// The pause of sled's flusher thread, in milliseconds; it also paces garbage collection.
const FLUSH_EVERY_MS: u64 = 500;

/// How an engine is opened.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// sled's page cache in bytes. The memory really used is a multiple of it.
    pub cache_bytes: u64,
    /// What sled favours: [`sled::Mode::LowSpace`] rewrites half-empty segments earlier than
    /// [`sled::Mode::HighThroughput`].
    pub mode: sled::Mode,
}

/// Why the engine could not do what it was asked. The engine must not be used again after one of these.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file system refused an operation.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The operation, as a verb for a sentence.
        what: &'static str,
        /// The file or directory it was about.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// sled refused an operation; corruption of its files appears here too.
    #[error("the embedded database cannot {what} {}", path.display())]
    Sled {
        /// The operation, as a verb for a sentence.
        what: &'static str,
        /// The database directory.
        path: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
    /// The directory has content, but the database file is gone. Opening would silently start an empty database.
    #[error("{} is missing, but its directory is not empty; put it back from a copy or restore a snapshot", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
}

impl EngineError {
    /// Whether what lies on the disk is not what was written; a retry will not help.
    pub fn is_damage(&self) -> bool {
        match self {
            EngineError::Missing { .. } => true,
            EngineError::Sled { source, .. } => !matches!(source, sled::Error::Io(_)),
            EngineError::Io { .. } => false,
        }
    }

    /// Gives an I/O error its place and its verb; for `map_err`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
        let path = path.to_owned();
        move |source| EngineError::Io { what, path, source }
    }

    /// Gives an error of sled its place and its verb; for `map_err`.
    pub(crate) fn sled(what: &'static str, path: &Path) -> impl FnOnce(sled::Error) -> EngineError {
        let path = path.to_owned();
        move |source| EngineError::Sled { what, path, source }
    }
}

/// One open sled database with the handle that makes its flushes durable.
#[derive(Debug)]
pub struct Engine {
    db: sled::Db,
    /// A second read-write handle on the `db` file, see the module head. Dropped after `db`.
    device: Device,
    dir: PathBuf,
}

/// A handle on the `db` file that lets go only after sled has: whoever opens the directory next would find it locked.
#[derive(Debug)]
struct Device(File);

impl Device {
    /// Waits until sled's own threads have let go, which hold the file, and sled's lock on it, a moment longer than the last `Db`.
    /// The lock is given back by name: a process that is being started may hold a copy of this handle for a moment.
    fn await_end(&self) -> Result<(), Errno> {
        flock(&self.0, FlockOperation::LockExclusive)?;
        flock(&self.0, FlockOperation::Unlock)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Without the lock the next opening says so itself.
        let _ = self.await_end();
    }
}

impl Engine {
    /// Opens the database in `dir`, or creates it durably when `dir` is absent or an empty directory. The parent of `dir` must
    /// exist.
    ///
    /// # Errors
    /// [`EngineError::Missing`] when the directory has lost its `db` file; otherwise whatever the file system or sled said.
    pub fn open(dir: &Path, options: EngineOptions) -> Result<Engine, EngineError> {
        if is_absent_or_empty(dir)? {
            create(dir, options)?;
        }
        Engine::open_existing(dir, options)
    }

    /// Opens a database that is there already and makes everything about it durable.
    fn open_existing(dir: &Path, options: EngineOptions) -> Result<Engine, EngineError> {
        let db_file = dir.join("db");
        if !db_file.exists() {
            return Err(EngineError::Missing { path: db_file });
        }
        sync_file(&db_file)?;
        remove_unfinished_snapshots(dir)?;
        Engine::start(dir, options)
    }

    /// Starts sled in `dir` and syncs what it never syncs itself.
    fn start(dir: &Path, options: EngineOptions) -> Result<Engine, EngineError> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(options.cache_bytes)
            .mode(options.mode)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()
            .map_err(EngineError::sled("open", dir))?;
        let db_file = dir.join("db");
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&db_file)
            .map_err(EngineError::io("open", &db_file))?;
        let engine = Engine {
            db,
            device: Device(device),
            dir: dir.to_owned(),
        };
        engine.sync()?;
        sync_file(&dir.join("conf"))?;
        sync_dir(&dir.join("blobs"))?;
        sync_dir(dir)?;
        sync_dir(parent_of(dir))?;
        Ok(engine)
    }

    /// The database. What is written here is durable after the next [`Engine::sync`].
    pub fn db(&self) -> &sled::Db {
        &self.db
    }

    /// The database directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes everything written before this call durable on the device, against a power loss too.
    ///
    /// # Errors
    /// Any error is final: what the device holds is unknown, so nothing may be acknowledged and the process must end.
    pub fn sync(&self) -> Result<(), EngineError> {
        self.db.flush().map_err(EngineError::sled("flush", &self.dir))?;
        planted!(SkipDeviceSync => return Ok(()));
        self.device
            .0
            .sync_data()
            .map_err(EngineError::io("sync the database file in", &self.dir))
    }

    /// The bytes that the database occupies on the disk: the sum of its files' allocated blocks.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn size_on_disk(&self) -> Result<u64, EngineError> {
        allocated_bytes(&self.dir)
    }

    /// Ends sled and returns once it let go of its file, so that the directory can be opened again, renamed or deleted. Every
    /// `sled::Tree` and iterator taken from [`Engine::db`] must have been dropped before: this waits for them, and so does
    /// dropping an engine.
    ///
    /// # Errors
    /// The lock of the `db` file cannot be asked for.
    pub fn close(self) -> Result<(), EngineError> {
        let Engine { db, device, dir } = self;
        drop(db);
        device
            .await_end()
            .map_err(|errno| EngineError::io("wait for the end of the database in", &dir)(errno.into()))
    }
}

/// Syncs the entries of a directory (what it contains, not the content of its files).
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(EngineError::io("sync the directory", dir))
}

/// The bytes that the files below `dir` occupy on the disk, sparse parts not counted. Files that vanish meanwhile count as
/// nothing.
///
/// # Errors
/// A directory cannot be read.
pub fn allocated_bytes(dir: &Path) -> Result<u64, EngineError> {
    use std::os::unix::fs::MetadataExt;
    const BLOCK_BYTES: u64 = 512; // the unit of st_blocks, whatever the file system's own block size
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(EngineError::io("read the directory", dir))? {
        let entry = entry.map_err(EngineError::io("read the directory", dir))?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += allocated_bytes(&entry.path())?,
            Ok(metadata) => bytes += metadata.blocks() * BLOCK_BYTES,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(EngineError::io("read the size of", &entry.path())(error)),
        }
    }
    Ok(bytes)
}

/// Builds an empty database beside `dir` and puts it in place in one step.
fn create(dir: &Path, options: EngineOptions) -> Result<(), EngineError> {
    let unfinished = with_suffix(dir, ".new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(EngineError::io("remove", &unfinished))?;
    }
    fs::create_dir(&unfinished).map_err(EngineError::io("create the directory", &unfinished))?;
    Engine::start(&unfinished, options)?.close()?;
    sync_file(&unfinished.join("db"))?;
    sync_dir(&unfinished)?;
    fs::rename(&unfinished, dir).map_err(EngineError::io("put in place", dir))?;
    sync_dir(parent_of(dir))
}

fn is_absent_or_empty(dir: &Path) -> Result<bool, EngineError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(EngineError::io("read the directory", dir)(error)),
    }
}

/// Deletes what a process killed while opening left behind, durably.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), EngineError> {
    for entry in fs::read_dir(dir).map_err(EngineError::io("read the directory", dir))? {
        let entry = entry.map_err(EngineError::io("read the directory", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(EngineError::io("remove", &entry.path()))?;
        }
    }
    sync_dir(dir)
}

fn sync_file(path: &Path) -> Result<(), EngineError> {
    File::open(path)
        .and_then(|handle| handle.sync_all())
        .map_err(EngineError::io("sync", path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that lists `dir`; a bare relative name lies in the current one.
pub(super) fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: EngineOptions = EngineOptions {
        cache_bytes: 1 << 20,
        mode: sled::Mode::LowSpace,
    };

    #[test]
    fn what_was_synced_is_there_after_reopening() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        for round in 0u32..10 {
            let engine = Engine::open(&dir, OPTIONS).unwrap();
            assert_eq!(engine.db().len(), round as usize);
            engine.db().insert(round.to_be_bytes(), b"row").unwrap();
            engine.sync().unwrap();
            engine.close().unwrap();
        }
    }

    /// Between fork and exec a process holds copies of all handles, and of the locks on them.
    #[test]
    fn it_is_opened_again_while_processes_are_started() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        std::process::Command::new("true").status().unwrap();
                    }
                });
            }
            let opened = std::panic::catch_unwind(|| {
                for _ in 0..60 {
                    Engine::open(&dir, OPTIONS).unwrap().close().unwrap();
                }
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            opened.unwrap();
        });
    }

    #[test]
    fn an_unfinished_snapshot_of_a_killed_start_does_not_hinder_the_next() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        let engine = Engine::open(&dir, OPTIONS).unwrap();
        engine.db().insert("kept", "yes").unwrap();
        engine.sync().unwrap();
        engine.close().unwrap();
        let planted = dir.join("snap.00000000FFFFFFFF.generating");
        fs::write(&planted, b"half a snapsh").unwrap();

        let engine = Engine::open(&dir, OPTIONS).unwrap();
        assert!(!planted.exists());
        assert_eq!(engine.db().get("kept").unwrap().unwrap(), "yes");
    }

    #[test]
    fn an_unfinished_creation_is_begun_again() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        fs::create_dir(home.path().join("state.new")).unwrap();
        fs::write(home.path().join("state.new/conf"), b"torn").unwrap();
        let engine = Engine::open(&dir, OPTIONS).unwrap();
        assert!(engine.db().is_empty());
        assert!(!home.path().join("state.new").exists());
    }

    #[test]
    fn a_lost_database_file_is_refused_by_name() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        Engine::open(&dir, OPTIONS).unwrap().close().unwrap();
        fs::remove_file(dir.join("db")).unwrap();
        let refused = Engine::open(&dir, OPTIONS).unwrap_err();
        assert!(
            matches!(&refused, EngineError::Missing { path } if *path == dir.join("db")),
            "{refused:?}"
        );
    }

    #[test]
    fn values_up_to_the_limit_leave_the_unsynced_blobs_empty() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        let engine = Engine::open(&dir, OPTIONS).unwrap();
        let value = vec![7u8; MAX_VALUE_BYTES];
        for turn in 0u32..40 {
            let mut batch = sled::Batch::default();
            for key in 0u32..100 {
                batch.insert(&(turn * 50 + key).to_be_bytes(), value.as_slice());
            }
            engine.db().apply_batch(batch).unwrap();
            engine.sync().unwrap();
        }
        assert!(engine.size_on_disk().unwrap() > 40 * 50 * 4096);
        engine.close().unwrap();
        assert_eq!(fs::read_dir(dir.join("blobs")).unwrap().count(), 0);
    }
}
