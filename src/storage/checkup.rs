//! What an operator asks of the disk before anything is opened: room, speed, rights, leftovers. Changes nothing.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Bytes of one write whose sync is timed: a small group of records.
const WRITE_BYTES: usize = 4096;

/// Bytes that this process may still write on the file system of `path`.
///
/// # Errors
/// The file system does not tell.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether `path` lies in memory, where a sync costs nothing and promises nothing.
///
/// # Errors
/// The file system does not tell.
pub fn is_in_memory(path: &Path) -> io::Result<bool> {
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    Ok(i128::from(rustix::fs::statfs(path)?.f_type) == TMPFS_MAGIC)
}

/// What an append and its device sync take in `dir`, `rounds` times or until `patience` is over, ascending. The file has no
/// name while it is written, so that nothing is left behind whatever happens.
///
/// # Errors
/// The disk does not take it.
pub fn sync_times(dir: &Path, rounds: usize, patience: Duration) -> io::Result<Vec<Duration>> {
    let path = dir.join(format!(".checkup-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    let all = Stopwatch::start();
    let mut times = Vec::with_capacity(rounds);
    while times.len() < rounds && all.elapsed() < patience {
        let one = Stopwatch::start();
        file.write_all(&[0x5a; WRITE_BYTES])?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Whose a file is, and who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The owner's number.
    pub owner: u32,
    /// Whether it is this process's user.
    pub is_ours: bool,
    /// The permission bits.
    pub mode: u32,
}

impl Rights {
    /// Of a file or directory; `None` if there is none.
    ///
    /// # Errors
    /// The file system does not tell.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        Ok(Some(Self {
            owner: found.uid(),
            is_ours: found.uid() == rustix::process::geteuid().as_raw(),
            mode: found.mode() & 0o7777,
        }))
    }

    /// Whether others than the owner may use it.
    pub fn is_shared(self) -> bool {
        self.mode & 0o077 != 0
    }
}

/// What an interrupted write or a repair has left below a data directory, in no order: each may be removed.
///
/// # Errors
/// A directory cannot be listed.
pub fn leftovers(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned(), root.join("snapshots")];
    for epoch in entries(&root.join("epochs"))? {
        dirs.push(epoch.join("journal"));
        dirs.push(epoch.join("state"));
    }
    for dir in dirs {
        for path in entries(&dir)? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| is_leftover(&name)) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn is_leftover(name: &str) -> bool {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    name == "repaired" || matches!(end, "new" | "partial" | "trimmed") || end.starts_with("bak")
}

/// What lies in a directory; nothing if there is none.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    listed.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_syncs_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let times = sync_times(dir.path(), 5, Duration::from_secs(60)).unwrap();
        assert!(times.len() == 5 && times.is_sorted());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_are_told_from_data() {
        let known = [
            "CURRENT.new",
            "a.holdfast.partial",
            "00000001.sled.bak2",
            "repaired",
            "1.log.bak",
        ];
        assert!(known.iter().all(|name| is_leftover(name)));
        let data = [
            "CURRENT",
            "secret",
            "a.holdfast",
            "00000001.sled",
            "00000001.sled.damaged",
            "redo",
        ];
        assert!(!data.iter().any(|name| is_leftover(name)));
    }
}
