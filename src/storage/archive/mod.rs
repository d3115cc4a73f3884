//! The log archive: groups that the log may soon let go, kept a while longer, so that a restore can go to any record or
//! instant between two snapshots.
//!
//! ```text
//! <data>/archive/<epoch>/<number of its first record, 20 digits>.log      a segment file, see `journal::segment`
//! ```
//!
//! The checkpoint thread hands every group over once the stored rows have it and before the log may be trimmed behind it
//! (decisions 12): a trim hold named `archive` stands behind the last synced group. A file is laid out as a segment of the
//! log, with the same head, groups, checksums and chain, but without the zeros written ahead. Many groups go in with one
//! sync, so a sector of the first block says up to where they were synced; what is wrong before that place is damage, what is
//! wrong behind it was never finished:
//!
//! ```text
//!   512   end of what is synced u64 | CRC32C of these 8 bytes u32     little-endian; zeros before the first group
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `keeper` | writes, rolls, lets the oldest go |
//! | `reader` | reads epochs, ranges and groups, offline or beside a keeper |
//!
//! Laws: a record is in the log or in the archive until the archive's bounds let it go; nothing that was synced is written
//! again in its place. Bytes behind the last good group of a file, torn by a crash or left by a write that failed, are never
//! cut: the log still has what they were to be, and it goes into a new file. So a file ends where the next one begins, and
//! what stands behind that place says nothing.
//!
//! A full or failing disk does not stop the shop for the archive's sake: a failed write is told and tried again, the log
//! grows meanwhile; while the disk is low the oldest files go, and then the archive leaves a gap, which readers name.
mod keeper;
mod reader;
mod synced;

pub use keeper::{ArchiveNews, ArchiveOptions, ArchiveTold, Keeper};
pub use reader::{ArchiveReader, Groups};

use super::journal::{Epoch, OpenError, ReadError, RecordNumber};
use std::path::{Path, PathBuf};

/// Why the archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// What was asked for has gone, or never came.
    #[error("the archive of epoch {} begins at record {first}", epoch.0)]
    Begins {
        /// The epoch that was asked for.
        epoch: Epoch,
        /// Its first archived record.
        first: RecordNumber,
    },
    /// Nothing is archived of this epoch.
    #[error("the archive has nothing of epoch {}", .0.0)]
    NoEpoch(Epoch),
    /// Records are missing between two files.
    #[error("{} ends at offset {offset} with record {last}; the archive goes on with record {next}", file.display())]
    Gap {
        /// The file before the gap.
        file: PathBuf,
        /// Behind its last group.
        offset: u64,
        /// The last record before the gap.
        last: RecordNumber,
        /// The first record behind it.
        next: RecordNumber,
    },
    /// A file is damaged, of a newer release, or of another partition or epoch; or the disk refused.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl ArchiveError {
    /// Whether archived bytes are not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File(OpenError::Damage(_)) | Self::Log(ReadError::Damage(_)) | Self::Gap { .. } => true,
            Self::Begins { .. } | Self::NoEpoch(_) | Self::File(_) | Self::Log(_) => false,
        }
    }
}

fn epoch_dir(root: &Path, epoch: Epoch) -> PathBuf {
    root.join(epoch.0.to_string())
}

fn failed(doing: &str, path: &Path, error: std::io::Error) -> ArchiveError {
    OpenError::disk(format!("cannot {doing} {}", path.display()), error).into()
}
