//! The folder of snapshots: names that sort by time, a list that reads manifests only, nothing unfinished after a crash.
//!
//! ```text
//! <data>/snapshots/snap_<time>-<epoch>-<number>.holdfast     time as 20261126T081409123Z; the id is the name without its end
//! ```
use super::{Manifest, SnapshotError, SnapshotReader};
use crate::storage::journal::Position;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// How the name of a snapshot ends.
const ENDING: &str = ".holdfast";
/// How the name of one ends that is being written.
const UNFINISHED: &str = ".holdfast.partial";
/// How every id begins.
const PREFIX: &str = "snap_";
/// The longest id; ours are shorter.
const ID_BYTES_MAX: usize = 100;

/// A folder of snapshots.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// A snapshot in the folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelved {
    /// Its id.
    pub id: String,
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it says about itself.
    pub manifest: Manifest,
}

/// Some of the snapshots of a folder, newest first.
#[derive(Debug)]
pub struct ShelfPage {
    /// Those whose manifests can be read.
    pub items: Vec<Shelved>,
    /// Those whose manifests cannot be read, and why.
    pub unreadable: Vec<(String, SnapshotError)>,
    /// The id behind which the next ones come; `None` when there are no more.
    pub next: Option<String>,
}

/// The id of a snapshot taken at a moment, ms since the Unix epoch, of the state at a position.
pub fn id_of(created_at_ms: i64, position: Position) -> String {
    format!("{}-{position}", begun(created_at_ms))
}

/// The first part of an id, which is known before the position is.
fn begun(created_at_ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(created_at_ms).unwrap_or_default();
    format!("{PREFIX}{}", moment.strftime("%Y%m%dT%H%M%S%3fZ"))
}

impl Shelf {
    /// The snapshots in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The snapshots of a data directory.
    pub fn of_data_dir(root: &Path) -> Self {
        Self::new(root.join(crate::storage::data_dir::SNAPSHOTS))
    }

    /// Where a snapshot of this moment is written until its position is known.
    pub fn begin_at(&self, created_at_ms: i64) -> PathBuf {
        self.folder.join(begun(created_at_ms) + ENDING)
    }

    /// Where the snapshot of this id lies, whether or not there is one; `None` if that is no id.
    pub fn path_of(&self, id: &str) -> Option<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_id = id.starts_with(PREFIX) && id.len() <= ID_BYTES_MAX && id.bytes().all(plain);
        is_id.then(|| self.folder.join(format!("{id}{ENDING}")))
    }

    /// The ids of all snapshots, newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn ids(&self) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            ids.extend(id.filter(|id| self.path_of(id).is_some()).map(str::to_owned));
        }
        // The time in front makes the order of names that of time.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// The snapshots behind the id `after`, at most `limit`, newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn page(&self, after: Option<&str>, limit: usize) -> io::Result<ShelfPage> {
        let ids = self.ids()?;
        let mut behind = ids
            .into_iter()
            .filter(|id| after.is_none_or(|after| id.as_str() < after));
        let mut page = ShelfPage {
            items: Vec::new(),
            unreadable: Vec::new(),
            next: None,
        };
        let mut last = None;
        for id in behind.by_ref().take(limit) {
            match self.get(&id) {
                Ok(Some(found)) => page.items.push(found),
                Ok(None) => {} // removed meanwhile
                Err(error) => page.unreadable.push((id.clone(), error)),
            }
            last = Some(id);
        }
        page.next = behind.next().and(last);
        Ok(page)
    }

    /// One snapshot by its manifest; `None` when there is none of this id.
    ///
    /// # Errors
    /// Its manifest cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Shelved>, SnapshotError> {
        let Some(path) = self.path_of(id) else {
            return Ok(None);
        };
        let reader = match SnapshotReader::open(&path) {
            Ok(reader) => reader,
            Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Shelved {
            id: id.to_owned(),
            bytes: reader.bytes(),
            manifest: reader.manifest().clone(),
            path,
        }))
    }

    /// Removes a snapshot, durably; whether there was one.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, id: &str) -> io::Result<bool> {
        let Some(path) = self.path_of(id) else {
            return Ok(false);
        };
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.folder).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what a crash left unfinished. Nobody may be writing.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not be removed.
    pub fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(UNFINISHED)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::journal::{Epoch, RecordNumber};

    #[test]
    fn ids_sort_by_time_and_lead_nowhere_else() {
        let position = |number| Position {
            epoch: Epoch(1),
            number: RecordNumber(number),
        };
        let early = id_of(1_700_000_000_123, position(99));
        assert_eq!(early, "snap_20231114T221320123Z-1-99");
        assert!(early < id_of(1_700_000_000_124, position(1)));
        let shelf = Shelf::new(PathBuf::from("/s"));
        assert_eq!(
            shelf.path_of(&early),
            Some(PathBuf::from("/s/snap_20231114T221320123Z-1-99.holdfast"))
        );
        for foreign in [
            "",
            "snap",
            "demo",
            "snap_../../etc/passwd",
            "snap_a/b",
            "snap_a.b",
            "snap_a\0",
        ] {
            assert_eq!(shelf.path_of(foreign), None, "{foreign}");
        }
    }
}
