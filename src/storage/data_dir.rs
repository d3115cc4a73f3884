//! The data directory: whose it is, who uses it now, and which epoch in it is the current one.
//!
//! ```text
//! <data>/LOCK            flock of the process that uses the directory; holds its process id
//! <data>/CURRENT         format version and current epoch, replaced in one step
//! <data>/secret          32 random bytes that only the server's user may read; what it proves is not stored anywhere
//! <data>/RESERVE         bytes kept back for the day the disk is full, see `disk_reserve`
//! <data>/epochs/<n>/     journal/ and state/ of epoch n; a restore builds n + 1 beside it and then swaps CURRENT
//! <data>/epochs/<n>/BEGUN   there once epoch n has a log: without one it is not begun anew, but refused
//! <data>/LINEAGE         which epoch began from where, see `lineage`; made by the first restore
//! <data>/archive/<n>/    groups that the log of epoch n let go, see `archive`; made when there is one
//! <data>/snapshots/      portable snapshot files
//! ```
//!
//! `CURRENT` is two lines, `holdfast-data 1` and `epoch <n>`. Compatibility: the number in the first line grows with every change
//! of this layout that an older binary would misread; a number that is not known refuses to start.
//!
//! The first start creates everything durably and writes `CURRENT` last, so that a crash on the way leaves a directory that the
//! next start completes. A directory with other content, or one that lost its `CURRENT`, is refused rather than guessed at.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::engine::{EngineError, parent_of, sync_dir};
use super::lineage::LINEAGE;

const LOCK: &str = "LOCK";
const CURRENT: &str = "CURRENT";
const CURRENT_UNFINISHED: &str = "CURRENT.new";
const SECRET: &str = "secret";
const SECRET_UNFINISHED: &str = "secret.new";
const EPOCHS: &str = "epochs";
const BEGUN: &str = "BEGUN";
/// The name of the folder of portable snapshots.
pub(super) const SNAPSHOTS: &str = "snapshots";
const ARCHIVE: &str = "archive";
/// The name of the file that keeps disk space back.
pub(super) const RESERVE: &str = "RESERVE";

/// First line of `CURRENT`: what this directory is and the version of its layout.
const FORMAT: &str = "holdfast-data 1";
/// What `CURRENT` may be long at most; anything longer is not ours.
const CURRENT_MAX_BYTES: u64 = 256;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("{} is in use{}", path.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that holds the lock, when its id could be read.
        pid: Option<u32>,
    },
    /// It has content that is not ours.
    #[error("{} is not empty and not a data directory (it contains {found:?}); name an empty or a new directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One entry that does not belong in a data directory.
        found: String,
    },
    /// `CURRENT` is missing although there are epochs, or cannot be understood.
    #[error("{} {problem}; put it back from a copy, or restore a snapshot into a new directory", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
    /// The file system refused an operation.
    #[error(transparent)]
    Disk(#[from] EngineError),
}

/// A data directory that this process has locked. The lock is freed when the value is dropped or the process ends.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    epoch: u64,
    /// Held for its flock only.
    _lock: File,
}

impl DataDir {
    /// Locks the data directory at `root` and finds its current epoch; creates the directory with epoch 1 when it is absent or
    /// empty.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] when another process uses it; [`DataDirError::Foreign`] and [`DataDirError::Damaged`] when it is
    /// not safe to use; [`DataDirError::Disk`] when the file system refuses.
    pub fn open(root: &Path) -> Result<DataDir, DataDirError> {
        // What it holds is about customers: nobody else's business from the first moment.
        let mut private = DirBuilder::new();
        let made = private.recursive(true).mode(0o700).create(root);
        made.map_err(EngineError::io("create the directory", root))?;
        sync_parent(root)?;
        refuse_foreign(root)?;
        let lock = take_lock(root)?;
        let epoch = match read_current(root)? {
            Some(epoch) => epoch,
            None => create_first_epoch(root)?,
        };
        let dir = DataDir {
            root: root.to_owned(),
            epoch,
            _lock: lock,
        };
        create_dirs(&dir.epoch_dir(), &["journal", "state"])?;
        create_dirs(root, &[SNAPSHOTS])?;
        Ok(dir)
    }

    /// Whether there is a data directory at `root`: one that was begun, whatever has become of it.
    pub fn is_begun(root: &Path) -> bool {
        root.join(CURRENT).exists() || root.join(EPOCHS).exists()
    }

    /// Whether a directory is new, empty, or has never held a record: something can be put into it. Looks and changes nothing.
    ///
    /// # Errors
    /// [`DataDirError::Foreign`] when it is somebody else's; the file system refuses.
    pub fn is_vacant(root: &Path) -> Result<bool, DataDirError> {
        if !root.exists() {
            return Ok(true);
        }
        refuse_foreign(root)?;
        let epochs = root.join(EPOCHS);
        for epoch in names_in(&epochs)? {
            if epochs.join(&epoch).join(BEGUN).exists() {
                return Ok(false);
            }
            for part in ["journal", "state"] {
                if !names_in(&epochs.join(&epoch).join(part))?.is_empty() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The current epoch, from 1; it grows with every restore and is the first part of a position.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the current epoch lies.
    pub fn epoch_path(&self) -> PathBuf {
        self.epoch_dir()
    }

    /// Where the journal of an epoch of the directory at `root` lies, if it is kept.
    pub fn journal_dir_in(root: &Path, epoch: u64) -> PathBuf {
        epoch_dir(root, epoch).join("journal")
    }

    /// Where the log archive of the directory at `root` lies, if there is one.
    pub fn archive_dir_in(root: &Path) -> PathBuf {
        root.join(ARCHIVE)
    }

    /// Where the journal of the current epoch lies; exists.
    pub fn journal_dir(&self) -> PathBuf {
        self.epoch_dir().join("journal")
    }

    /// Where the stored states of the current epoch lie; exists.
    pub fn state_dir(&self) -> PathBuf {
        self.epoch_dir().join("state")
    }

    /// Where portable snapshot files lie; exists.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.root.join(SNAPSHOTS)
    }

    /// Where the log archive lies; made when there is something to keep.
    pub fn archive_dir(&self) -> PathBuf {
        Self::archive_dir_in(&self.root)
    }

    /// The secret of this directory: made at the first call, the same ever after, through restores too.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] when the file is not 32 bytes: a new secret would void what the old one proved.
    /// [`DataDirError::Disk`] when the file system or the source of randomness refuses.
    pub fn secret(&self) -> Result<[u8; 32], DataDirError> {
        let path = self.root.join(SECRET);
        let kept = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fresh = random_bytes()?;
                replace_private_file(&self.root, SECRET, &fresh)?;
                return Ok(fresh);
            }
            Err(error) => return Err(EngineError::io("read", &path)(error).into()),
        };
        let bytes = kept.len();
        kept.try_into().map_err(|_| DataDirError::Damaged {
            path,
            problem: format!("has {bytes} bytes instead of 32"),
        })
    }

    /// Whether the current epoch was opened once: there was a log in it then, whatever has become of that.
    pub fn has_begun(&self) -> bool {
        self.epoch_dir().join(BEGUN).exists()
    }

    /// Says for all later starts that the current epoch has a log, durably.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn begin(&self) -> Result<(), EngineError> {
        if self.has_begun() {
            return Ok(());
        }
        replace_file(&self.epoch_dir(), BEGUN, b"")
    }

    /// Whether the current epoch has never held anything.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn is_unused(&self) -> Result<bool, DataDirError> {
        if self.has_begun() {
            return Ok(false);
        }
        for dir in [self.journal_dir(), self.state_dir()] {
            let mut content = fs::read_dir(&dir).map_err(EngineError::io("read the directory", &dir))?;
            if content.next().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes room for the next epoch beside the current one, above `other` too, the epoch that what goes in comes from; what
    /// an interrupted restore left there is removed.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn begin_epoch(&self, other: u64) -> Result<NextEpoch, DataDirError> {
        let epoch = self.epoch.max(other) + 1;
        let dir = epoch_dir(&self.root, epoch);
        remove_if_there(&dir)?;
        create_dirs(&self.root.join(EPOCHS), &[&epoch.to_string()])?;
        create_dirs(&dir, &["journal", "state"])?;
        Ok(NextEpoch { epoch, dir })
    }

    /// Makes an epoch whose content is complete and durable the current one, in one durable step.
    ///
    /// # Errors
    /// The file system refuses; the epoch before is still the current one then, or this one is.
    pub fn enter_epoch(&mut self, next: NextEpoch) -> Result<(), DataDirError> {
        publish_epoch(&self.root, next.epoch)?;
        self.epoch = next.epoch;
        Ok(())
    }

    /// Makes an epoch of before the current one again, in one durable step.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn go_back(&mut self, epoch: u64) -> Result<(), DataDirError> {
        publish_epoch(&self.root, epoch)?;
        self.epoch = epoch;
        Ok(())
    }

    fn epoch_dir(&self) -> PathBuf {
        epoch_dir(&self.root, self.epoch)
    }
}

/// An epoch being built beside the current one; nobody reads it before [`DataDir::enter_epoch`].
#[derive(Debug)]
pub struct NextEpoch {
    epoch: u64,
    dir: PathBuf,
}

impl NextEpoch {
    /// Its number.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Removes it: it will not be entered.
    ///
    /// # Errors
    /// The file system refuses; [`DataDir::begin_epoch`] tries again.
    pub fn give_up(self) -> Result<(), DataDirError> {
        remove_if_there(&self.dir)
    }

    /// Where its journal will lie; exists.
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Where its stored states will lie; exists.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }
}

fn epoch_dir(root: &Path, epoch: u64) -> PathBuf {
    root.join(EPOCHS).join(epoch.to_string())
}

/// What is in a directory; nothing if it is not there.
fn names_in(dir: &Path) -> Result<Vec<std::ffi::OsString>, EngineError> {
    let list = || fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect();
    match list() {
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(EngineError::io("read the directory", dir)),
    }
}

fn remove_if_there(dir: &Path) -> Result<(), DataDirError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::io("remove", dir)(error).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the directory's own entry durable. A parent that we may pass but not read was made by somebody else, as was the entry.
fn sync_parent(root: &Path) -> Result<(), EngineError> {
    match sync_dir(parent_of(root)) {
        Err(EngineError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Refuses a directory with an entry that neither we nor a freshly made file system put there. Runs before the lock is taken, so
/// that a wrong path is left as it was.
fn refuse_foreign(root: &Path) -> Result<(), DataDirError> {
    const OURS: [&str; 11] = [
        LOCK,
        CURRENT,
        CURRENT_UNFINISHED,
        SECRET,
        SECRET_UNFINISHED,
        EPOCHS,
        SNAPSHOTS,
        ARCHIVE,
        LINEAGE,
        RESERVE,
        "lost+found",
    ];
    if root.join(CURRENT).exists() {
        return Ok(()); // ours; an operator may keep notes beside it
    }
    for entry in fs::read_dir(root).map_err(EngineError::io("read the directory", root))? {
        let name = entry
            .map_err(EngineError::io("read the directory", root))?
            .file_name();
        let found = name.to_string_lossy().into_owned();
        if !OURS.contains(&found.as_str()) {
            return Err(DataDirError::Foreign {
                path: root.to_owned(),
                found,
            });
        }
    }
    Ok(())
}

/// Takes the lock and leaves our process id in it, for the message another process will print.
fn take_lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join(LOCK);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(EngineError::io("open", &path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let pid = lock
                .read_to_string(&mut holder)
                .ok()
                .and_then(|_| holder.trim().parse().ok());
            return Err(DataDirError::Locked {
                path: root.to_owned(),
                pid,
            });
        }
        Err(errno) => return Err(EngineError::io("lock", &path)(errno.into()).into()),
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .or_else(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                Ok(())
            } else {
                Err(error)
            }
        })
        .map_err(EngineError::io("write our process id to", &path))?;
    Ok(lock)
}

/// The epoch that `CURRENT` names; `None` when there is no `CURRENT` and nothing that one would have named.
fn read_current(root: &Path) -> Result<Option<u64>, DataDirError> {
    let path = root.join(CURRENT);
    let damaged = |problem: String| DataDirError::Damaged {
        path: path.clone(),
        problem,
    };
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(CURRENT_MAX_BYTES).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if holds_records(root)? {
                Err(damaged("is missing, but there are epochs".to_owned()))
            } else {
                Ok(None)
            };
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(damaged("is not text".to_owned()));
        }
        Err(error) => return Err(EngineError::io("read", &path)(error).into()),
    }
    let mut lines = text.lines();
    let format = lines.next().unwrap_or_default();
    if format != FORMAT {
        return Err(damaged(format!("says {format:?}, this version reads {FORMAT:?}")));
    }
    let epoch = lines
        .next()
        .and_then(|line| line.strip_prefix("epoch "))
        .and_then(|epoch| epoch.parse().ok());
    match (epoch, lines.next()) {
        (Some(epoch), None) if epoch > 0 && epoch_dir(root, epoch).is_dir() => Ok(Some(epoch)),
        (Some(epoch), None) => Err(damaged(format!("names epoch {epoch}, which has no directory"))),
        _ => Err(damaged("does not name an epoch".to_owned())),
    }
}

/// Whether some epoch has content. A first start that was cut short leaves at most the empty directory of epoch 1.
fn holds_records(root: &Path) -> Result<bool, EngineError> {
    let epochs = root.join(EPOCHS);
    let entries = match fs::read_dir(&epochs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(EngineError::io("read the directory", &epochs)(error)),
    };
    for entry in entries {
        let path = entry
            .map_err(EngineError::io("read the directory", &epochs))?
            .path();
        let mut content = fs::read_dir(&path).map_err(EngineError::io("read the directory", &path))?;
        if content.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn create_first_epoch(root: &Path) -> Result<u64, DataDirError> {
    const FIRST: u64 = 1;
    create_dirs(root, &[EPOCHS])?;
    create_dirs(&root.join(EPOCHS), &[&FIRST.to_string()])?;
    publish_epoch(root, FIRST)?;
    Ok(FIRST)
}

/// Makes `epoch` the current one in one durable step.
fn publish_epoch(root: &Path, epoch: u64) -> Result<(), EngineError> {
    replace_file(root, CURRENT, format!("{FORMAT}\nepoch {epoch}\n").as_bytes())
}

/// Writes `dir/name` so that after a crash it holds the old or the new bytes, never a mixture: a file beside it, synced, renamed
/// over it, and the directory synced.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
    replace(dir, name, bytes, 0o666)
}

/// The same for a file that only its owner may read.
fn replace_private_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
    replace(dir, name, bytes, 0o600)
}

/// `mode` is what the process's umask takes from.
fn replace(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), EngineError> {
    let unfinished = dir.join(format!("{name}.new"));
    let path = dir.join(name);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(EngineError::io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(EngineError::io("put in place", &path))?;
    sync_dir(dir)
}

fn random_bytes() -> Result<[u8; 32], EngineError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    File::open(source)
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(EngineError::io("draw random bytes from", source))?;
    Ok(bytes)
}

fn create_dirs(parent: &Path, names: &[&str]) -> Result<(), EngineError> {
    for name in names {
        let dir = parent.join(name);
        fs::create_dir_all(&dir).map_err(EngineError::io("create the directory", &dir))?;
    }
    sync_dir(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_start_makes_epoch_one_and_the_next_finds_it() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("data");
        let dir = DataDir::open(&root).unwrap();
        assert_eq!(dir.epoch(), 1);
        assert!(dir.journal_dir().is_dir() && dir.state_dir().is_dir() && dir.snapshots_dir().is_dir());
        fs::write(dir.journal_dir().join("0"), b"records").unwrap();
        drop(dir);
        assert_eq!(
            DataDir::open(&root).unwrap().journal_dir(),
            root.join("epochs/1/journal")
        );
    }

    #[test]
    fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
        let home = tempfile::tempdir().unwrap();
        let _held = DataDir::open(home.path()).unwrap();
        let refused = DataDir::open(home.path()).unwrap_err();
        let ours = Some(std::process::id());
        assert!(
            matches!(refused, DataDirError::Locked { pid, .. } if pid == ours),
            "{refused:?}"
        );
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis.txt"), b"precious").unwrap();
        let refused = DataDir::open(home.path()).unwrap_err();
        assert!(
            matches!(&refused, DataDirError::Foreign { found, .. } if found == "thesis.txt"),
            "{refused:?}"
        );
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_first_start_cut_short_is_completed() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("epochs/1")).unwrap();
        fs::write(home.path().join("CURRENT.new"), b"holdf").unwrap();
        fs::write(home.path().join("LOCK"), b"").unwrap();
        assert_eq!(DataDir::open(home.path()).unwrap().epoch(), 1);
    }

    #[test]
    fn an_epoch_is_built_beside_the_current_one_and_then_entered() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = DataDir::open(home.path()).unwrap();
        assert!(dir.is_unused().unwrap());
        let left = dir.begin_epoch(0).unwrap();
        fs::write(left.state_dir().join("half"), b"").unwrap();
        drop(left);
        let next = dir.begin_epoch(0).unwrap();
        assert!(
            !next.state_dir().join("half").exists(),
            "an interrupted one is begun anew"
        );
        fs::write(next.journal_dir().join("0"), b"records").unwrap();
        assert_eq!(dir.epoch(), 1);
        dir.enter_epoch(next).unwrap();
        assert!(dir.epoch() == 2 && !dir.is_unused().unwrap());
        drop(dir);
        let dir = DataDir::open(home.path()).unwrap();
        assert_eq!(dir.journal_dir(), home.path().join("epochs/2/journal"));
    }

    #[test]
    fn the_secret_is_made_once_and_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("data");
        let secret = DataDir::open(&root).unwrap().secret().unwrap();
        assert_ne!(secret, [0; 32]);
        let mode = fs::metadata(root.join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let dir = DataDir::open(&root).unwrap();
        assert_eq!(dir.secret().unwrap(), secret, "the same ever after");
        let other = DataDir::open(&home.path().join("other")).unwrap();
        assert_ne!(other.secret().unwrap(), secret);
        fs::write(root.join("secret"), b"short").unwrap();
        assert!(
            matches!(dir.secret(), Err(DataDirError::Damaged { problem, .. }) if problem.contains("5 bytes")),
            "not replaced by another"
        );
    }

    #[test]
    fn a_lost_or_unreadable_current_is_refused_by_name() {
        let home = tempfile::tempdir().unwrap();
        drop(DataDir::open(home.path()).unwrap());
        let current = home.path().join("CURRENT");
        for planted in [
            None,
            Some("holdfast-data 2\nepoch 1\n"),
            Some("holdfast-data 1\nepoch 9\n"),
            Some(""),
        ] {
            match planted {
                None => fs::remove_file(&current).unwrap(),
                Some(text) => fs::write(&current, text).unwrap(),
            }
            let refused = DataDir::open(home.path()).unwrap_err();
            assert!(
                matches!(&refused, DataDirError::Damaged { path, .. } if *path == current),
                "{planted:?}: {refused:?}"
            );
        }
    }
}
