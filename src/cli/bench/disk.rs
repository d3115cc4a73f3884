//! The disk under the server: a directory of its own, and what one device sync costs there without any of our code.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;

use super::round::histogram;
use super::schedule::Stopwatch;

/// Writes and syncs of the floor: enough for a 99th percentile, and some 0.2 s on a fast disk.
const FLOOR_SYNCS: usize = 500;
/// Bytes of one write of the floor: a small group of records.
const FLOOR_WRITE_BYTES: usize = 4096;

/// A directory that is removed with its content when dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// A new directory below `parent`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(parent: &Path, run: &str) -> std::io::Result<Directory> {
        let path = parent.join(format!("holdfast-bench-{run}"));
        std::fs::create_dir(&path)?;
        Ok(Directory { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The floor of durability: the time of one append and `fdatasync` of a plain file, nanoseconds.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn sync_floor(&self) -> std::io::Result<Histogram<u64>> {
        let path = self.path.join("floor");
        let mut file = File::create(&path)?;
        let mut times = histogram();
        for _ in 0..FLOOR_SYNCS {
            let stopwatch = Stopwatch::start();
            file.write_all(&[0x5a; FLOOR_WRITE_BYTES])?;
            file.sync_data()?;
            times.saturating_record(stopwatch.now_ns());
        }
        std::fs::remove_file(path)?;
        Ok(times)
    }

    /// Whether it lies in memory, where a device sync costs nothing and a durable figure means nothing.
    pub(super) fn in_memory(&self) -> bool {
        const TMPFS_MAGIC: i128 = 0x0102_1994;
        rustix::fs::statfs(&self.path).is_ok_and(|found| i128::from(found.f_type) == TMPFS_MAGIC)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::new(parent.path(), "ab").unwrap();
        std::fs::write(directory.path().join("file"), b"x").unwrap();
        assert!(Directory::new(parent.path(), "ab").is_err(), "never shared");
        assert_eq!(directory.sync_floor().unwrap().len(), FLOOR_SYNCS as u64);
        drop(directory);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
