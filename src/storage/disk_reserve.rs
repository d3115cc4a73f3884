//! Disk space kept back, so that a full disk stops new business and not business under way.
//!
//! `disk.reserve` bytes are preallocated in the file `RESERVE`: no other program can take them. The free space is probed from
//! time to time by the caller. When it runs low the file is given back to the file system and the probe says `below_reserve`: from
//! then on new holds, imports and snapshots are refused before they are decided, while confirm, release and expiry go on in the
//! space that was set free. Once there is room again the file is allocated again.
//!
//! A margin of a quarter of the reserve is looked after as well, because the journal, its engine and a running checkpoint write
//! between two probes. Going up needs twice the margin, so that the state does not flicker.
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

use super::data_dir::RESERVE;
use super::engine::EngineError;

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write, the reserve's file not counted.
    pub free_bytes: u64,
    /// Whether only business under way may go on.
    pub below_reserve: bool,
}

/// The reserve of one data directory.
#[derive(Debug)]
pub struct DiskReserve {
    file: File,
    path: PathBuf,
    reserve_bytes: u64,
    held: Mutex<Held>,
}

/// What the `RESERVE` file keeps at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    bytes: u64,
    below_reserve: bool,
}

/// What a probe's figures ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Give the reserve back and take only business under way.
    Below,
    /// Keep or allocate the reserve and take everything.
    Enough,
}

impl DiskReserve {
    /// Opens the reserve of the data directory `root` and probes once. A disk too full for the reserve is not an error: the
    /// process must be able to start on it.
    ///
    /// # Errors
    /// The file cannot be opened or the file system does not tell its free space.
    pub fn open(root: &Path, reserve_bytes: u64) -> Result<DiskReserve, EngineError> {
        let path = root.join(RESERVE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(EngineError::io("open", &path))?;
        let bytes = file
            .metadata()
            .map_err(EngineError::io("read the size of", &path))?
            .len()
            .min(reserve_bytes);
        // Also cuts what an earlier, larger setting left.
        file.set_len(bytes).map_err(EngineError::io("resize", &path))?;
        let held = Mutex::new(Held {
            bytes,
            below_reserve: false,
        });
        let reserve = DiskReserve {
            file,
            path,
            reserve_bytes,
            held,
        };
        reserve.probe()?;
        Ok(reserve)
    }

    /// Reads the free space, gives the reserve back or takes it again as needed, and says where we stand. Cheap enough for once a
    /// second; call it at least that often while writing.
    ///
    /// # Errors
    /// The file system does not tell its free space or refuses to shrink the file.
    pub fn probe(&self) -> Result<DiskSpace, EngineError> {
        let mut held = self.held.lock();
        let free_bytes = self.free_bytes()?;
        match judge(free_bytes, *held, self.reserve_bytes) {
            Verdict::Below => {
                self.resize(&mut held, 0)?;
                held.below_reserve = true;
            }
            Verdict::Enough if held.bytes < self.reserve_bytes => self.allocate(&mut held)?,
            Verdict::Enough => held.below_reserve = false,
        }
        Ok(DiskSpace {
            free_bytes: self.free_bytes()?,
            below_reserve: held.below_reserve,
        })
    }

    fn free_bytes(&self) -> Result<u64, EngineError> {
        let stat = fstatvfs(&self.file)
            .map_err(|errno| EngineError::io("read the free space beside", &self.path)(errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Takes the whole reserve. A file system that cannot preallocate leaves the file empty; the free space is then all there
    /// is to judge by, and the verdict already said that it suffices.
    fn allocate(&self, held: &mut Held) -> Result<(), EngineError> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, self.reserve_bytes) {
            Ok(()) => {
                *held = Held {
                    bytes: self.reserve_bytes,
                    below_reserve: false,
                }
            }
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::FBIG) => {
                self.resize(held, 0)?;
                held.below_reserve = true;
            }
            Err(rustix::io::Errno::OPNOTSUPP) => held.below_reserve = false,
            Err(errno) => return Err(EngineError::io("preallocate", &self.path)(errno.into())),
        }
        Ok(())
    }

    fn resize(&self, held: &mut Held, bytes: u64) -> Result<(), EngineError> {
        self.file
            .set_len(bytes)
            .map_err(EngineError::io("resize", &self.path))?;
        held.bytes = bytes;
        Ok(())
    }
}

/// The rule of the module head, on plain numbers.
fn judge(free_bytes: u64, held: Held, reserve_bytes: u64) -> Verdict {
    let margin_bytes = reserve_bytes / 4;
    let margins = if held.below_reserve { 2 } else { 1 };
    let wanted_bytes = reserve_bytes.saturating_add(margin_bytes.saturating_mul(margins));
    if free_bytes.saturating_add(held.bytes) < wanted_bytes {
        Verdict::Below
    } else {
        Verdict::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_verdict_turns_at_the_reserve_and_its_margin_and_returns_at_two() {
        let above = Held {
            bytes: 256 * MIB,
            below_reserve: false,
        };
        assert_eq!(judge(64 * MIB, above, 256 * MIB), Verdict::Enough);
        assert_eq!(judge(64 * MIB - 1, above, 256 * MIB), Verdict::Below);
        let below = Held {
            bytes: 0,
            below_reserve: true,
        };
        assert_eq!(judge(384 * MIB - 1, below, 256 * MIB), Verdict::Below);
        assert_eq!(judge(384 * MIB, below, 256 * MIB), Verdict::Enough);
    }

    #[test]
    fn the_reserve_is_really_allocated_and_found_again() {
        let home = tempfile::tempdir().unwrap();
        for reserve_bytes in [4 * MIB, 4 * MIB, MIB] {
            let reserve = DiskReserve::open(home.path(), reserve_bytes).unwrap();
            assert!(!reserve.probe().unwrap().below_reserve);
            let file = std::fs::metadata(home.path().join("RESERVE")).unwrap();
            assert_eq!(file.len(), reserve_bytes);
            assert!(
                file.blocks() * 512 >= reserve_bytes,
                "sparse: {} blocks",
                file.blocks()
            );
        }
    }

    #[test]
    fn a_disk_too_small_for_the_reserve_starts_below_it() {
        let home = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::open(home.path(), 1 << 55).unwrap();
        assert!(reserve.probe().unwrap().below_reserve);
        assert_eq!(
            std::fs::metadata(home.path().join("RESERVE")).unwrap().blocks(),
            0
        );
    }
}
