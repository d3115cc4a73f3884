//! What can be wrong with a snapshot file, and where.
use super::format::{ENTRY_BYTES_MAX, FORMAT, ID_BYTES_MAX, MANIFEST_SPACE};
use std::{fmt, io, path::PathBuf};

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The device or the file system failed; the text says during what.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// As in "cannot ...".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not begin like a snapshot.
    #[error("{} is not a Holdfast snapshot: it does not begin with its magic bytes", path.display())]
    NotASnapshot {
        /// The file.
        path: PathBuf,
    },
    /// A format of a later version.
    #[error(
        "{} has snapshot format {format}, written by {written_by}; this version reads formats 1 to {FORMAT}",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its format number.
        format: u16,
        /// The writer by its own manifest.
        written_by: String,
    },
    /// The file is damaged; nothing of it may be used.
    #[error("{} is damaged in {place} at byte {offset}: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which part.
        place: Place,
        /// Where that part begins; for a truncated file, where it ends.
        offset: u64,
        /// How.
        damage: Damage,
    },
    /// An entry larger than any reader would take.
    #[error("an entry of {bytes} bytes exceeds the limit of {ENTRY_BYTES_MAX}")]
    EntryTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// An id longer than any reader would take.
    #[error("an id of {bytes} bytes exceeds the limit of {ID_BYTES_MAX}")]
    IdTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The description does not fit into its place.
    #[error("a manifest of {bytes} bytes exceeds the limit of {MANIFEST_SPACE}")]
    ManifestTooLong {
        /// Its length as JSON.
        bytes: usize,
    },
    /// The caller handed over an entity after the log tail had begun.
    #[error("an entity came after the records of the log tail")]
    EntityAfterRecord,
    /// The caller left a gap in the log tail.
    #[error("record {found} cannot follow record {last} in the log tail")]
    RecordGap {
        /// The one before.
        last: u64,
        /// The one handed over.
        found: u64,
    },
    /// The file read back is not what was written; the device cannot be trusted.
    #[error("{} was read back with another content than was written", path.display())]
    ReadBackDiffers {
        /// The file, under its temporary name.
        path: PathBuf,
    },
}

/// A part of a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Magic, format, lengths.
    Prologue,
    /// The description.
    Manifest,
    /// A block by its index, from 0; the end mark has the index after the last.
    Block(u32),
    /// Behind the end mark.
    AfterEnd,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prologue => f.write_str("the prologue"),
            Self::Manifest => f.write_str("the manifest"),
            Self::Block(index) => write!(f, "block {index}"),
            Self::AfterEnd => f.write_str("the part after the end mark"),
        }
    }
}

/// How a part is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends inside.
    #[error("the file ends here")]
    Truncated,
    /// A bit is not what was written.
    #[error("the checksum does not match")]
    Checksum,
    /// No block begins here.
    #[error("no block begins here")]
    NoBlock,
    /// Another block's place.
    #[error("block {found} stands here")]
    WrongBlock {
        /// The index it carries.
        found: u32,
    },
    /// A length that no writer would write.
    #[error("{what} {found} exceeds the limit of {limit}")]
    OverLimit {
        /// Of what.
        what: &'static str,
        /// As declared.
        found: u64,
        /// The named limit.
        limit: u64,
    },
    /// The zstd frame does not unpack to the declared length.
    #[error("the block does not unpack to its {declared} bytes")]
    Unpack {
        /// As declared.
        declared: u32,
    },
    /// The parts do not add up.
    #[error("{0}")]
    Malformed(&'static str),
    /// The manifest is no JSON, or lacks members.
    #[error("the manifest cannot be read: {0}")]
    Manifest(String),
    /// Every block is sound, yet they are not those that were written.
    #[error("the digest of the content does not match")]
    Digest,
    /// The manifest tells another story than the content.
    #[error("the manifest's {0} does not match the content")]
    ManifestDiffers(&'static str),
    /// Something follows.
    #[error("bytes follow the end mark")]
    Trailing,
}
