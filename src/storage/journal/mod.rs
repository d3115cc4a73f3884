//! The journal: an append-only, numbered and chained log of records, one stream per partition.
//!
//! ```text
//!  actors ──► queue ──► writer thread ──► Journal (file | sled | a remote log one day) ──► device sync
//!                             │
//!                             └──► observer (only what is durable, in log order)      LogReader ◄── followers
//! ```
//!
//! | file | what it promises |
//! |---|---|
//! | [`format`](mod@format) | the bytes of a group, frozen; decoding never panics and never allocates beyond its limits |
//! | [`queue`] | numbers are assigned in log order under one lock; nobody waits for the disk |
//! | [`writer`] | one group, one sync, then delivery; a failed append ends everything |
//! | [`file`](mod@file) | append-only segment files over a small [`disk`] trait; [`segment`] reads one and tells torn from damaged |
//! | [`simulated`] | a disk that forgets, tears and reorders what was not synced, under a seed |
//! | [`sled_log`] | the same groups in rotating sled databases; `sled_raw` counts them before sled may forget some |
//! | `torn` | tells an end that was never completed from one that was damaged later |
//! | `owner` | the tail of a log and the guard before every append, for all back ends |
//! | [`verify`] | walks a whole log and reports the first break of LOG_CLOSED |
//! | [`survey`] | the same for an operator: unit by unit, up to the break, and what lies behind it |
//!
//! Absent on purpose: what a payload means (`storage::record`), who answers whom (the observer), metric names.
pub mod disk;
pub mod file;
pub mod format;
mod owner;
mod pace;
pub mod queue;
pub mod segment;
pub mod simulated;
mod sled_database;
pub mod sled_log;
mod sled_raw;
pub mod survey;
mod torn;
pub mod verify;
pub mod writer;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use format::Group;
pub use queue::{JournalLimits, JournalQueue, RejectReason, Waits};
pub use writer::{Delivered, DurableObserver, GroupMeasure, JournalMetrics, JournalWriter, WriterParts};

/// A stream of records of its own: numbered, chained and fenced apart from every other. Today there is one, number 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

/// The life of a partition between two restores; numbers of different epochs cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The place of a record in its partition: dense, from 1. [`RecordNumber::ZERO`] stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordNumber(pub u64);

impl RecordNumber {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The number after this one. A log of 2^64 records is out of reach.
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// The number `count` records later.
    pub fn plus(self, count: u64) -> Self {
        Self(
            self.0
                .checked_add(count)
                .expect("a log never reaches 2^64 records"),
        )
    }
}

impl fmt::Display for RecordNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record number with its epoch, written `<epoch>-<number>`; opaque to callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch the number belongs to.
    pub epoch: Epoch,
    /// The record.
    pub number: RecordNumber,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.number.0)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is written <epoch>-<number>, both decimal")]
pub struct PositionSyntax;

impl FromStr for Position {
    type Err = PositionSyntax;

    fn from_str(text: &str) -> Result<Self, PositionSyntax> {
        let (epoch, number) = text.split_once('-').ok_or(PositionSyntax)?;
        let position = Self {
            epoch: Epoch(epoch.parse().map_err(|_| PositionSyntax)?),
            number: RecordNumber(number.parse().map_err(|_| PositionSyntax)?),
        };
        // One text per position: `+1-007` parses as numbers but is not what we write.
        (position.to_string() == text)
            .then_some(position)
            .ok_or(PositionSyntax)
    }
}

/// One durable record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub number: RecordNumber,
    /// When its group was written, Unix milliseconds; never decreases along the log.
    pub logged_at_ms: i64,
    /// What the journal keeps and does not understand.
    pub payload: Bytes,
}

/// The hash of a group over its bytes, which include the hash of the group before it.
pub type ChainHash = [u8; 32];

/// The point in a log behind which the next group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The last record before the point.
    pub last: RecordNumber,
    /// The chain hash of its group; zeros before the first.
    pub chain: ChainHash,
    /// The time of its group, Unix milliseconds; `i64::MIN` before the first.
    pub logged_at_ms: i64,
}

impl Anchor {
    /// Before the first record of a log that begins with nothing.
    pub const GENESIS: Self = Self {
        last: RecordNumber::ZERO,
        chain: [0; 32],
        logged_at_ms: i64::MIN,
    };

    /// The point behind `group`.
    pub fn after(group: &Group) -> Self {
        Self {
            last: group.last(),
            chain: *group.chain(),
            logged_at_ms: group.logged_at_ms(),
        }
    }
}

/// What an owner learns when it acquires a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The epoch appends go to.
    pub epoch: Epoch,
    /// The last durable record; ZERO in an empty log.
    pub last: RecordNumber,
    /// The chain hash the next group continues.
    pub chain: ChainHash,
    /// The last group's time, Unix milliseconds; the next one's is not lower.
    pub logged_at_ms: i64,
    /// The torn tail that opening found and cut, to be reported to the operator.
    pub cut: Option<TornTail>,
}

/// An incomplete last group: it was never synced, so nothing in it was ever answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it lay.
    pub file: PathBuf,
    /// Its first byte.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The number its first record would have had.
    pub record: RecordNumber,
    /// What was wrong with it.
    pub reason: String,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            offset,
            bytes,
            record,
            reason,
        } = self;
        write!(
            f,
            "cut {bytes} bytes of an unsynced tail of {} at offset {offset}, record {record}: {reason}",
            file.display()
        )
    }
}

impl TornTail {
    /// That it was durable once: records up to `proven` are known to have been.
    pub(crate) fn check_unproven(&self, proven: RecordNumber) -> Result<(), Damage> {
        if self.record > proven {
            return Ok(());
        }
        Err(Damage {
            file: self.file.clone(),
            record: self.record,
            offset: self.offset,
            reason: format!("{}; records up to {proven} were durable", self.reason),
        })
    }
}

/// The log is broken before records that are good, or in records that were durable once (LOG_CLOSED). Nothing was modified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damage in {} at offset {offset}, record {record}: {reason}", file.display())]
pub struct Damage {
    /// The file, or the database directory.
    pub file: PathBuf,
    /// The first record that cannot be read.
    pub record: RecordNumber,
    /// Where in the file; 0 where the engine has no offsets.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// An error that carries another one.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why an append was not acknowledged. The four differ in who must act.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The local device failed: the process ends. What was appended is unknown until the next start; it is never retried.
    #[error("the journal's device failed: {context}")]
    Fatal {
        /// What was being done.
        context: String,
        /// What the device said.
        source: Option<BoxedError>,
    },
    /// Another owner writes this partition, or our idea of its tail is wrong: this partition ends here.
    #[error("the journal refused a group: {context}")]
    Fenced {
        /// What was expected and what was found.
        context: String,
        /// The cause, if a remote log gave one.
        source: Option<BoxedError>,
    },
    /// The group may or may not be in the log: only reading can tell.
    #[error("it is unknown whether a group is in the journal: {context}")]
    Unknown {
        /// What was being done.
        context: String,
        /// The cause.
        source: Option<BoxedError>,
    },
    /// The group is certainly not in the log; the same append may be tried again.
    #[error("the journal is unavailable: {context}")]
    Unavailable {
        /// What was being done.
        context: String,
        /// The cause.
        source: Option<BoxedError>,
    },
}

impl AppendError {
    pub(crate) fn fatal(context: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Self::Fatal {
            context: context.into(),
            source: Some(source.into()),
        }
    }

    pub(crate) fn fenced(context: impl Into<String>) -> Self {
        Self::Fenced {
            context: context.into(),
            source: None,
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log is broken before good records; nothing was modified.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A newer release wrote it.
    #[error("{} is in format version {version}; this release knows version {}", file.display(), format::VERSION)]
    TooNew {
        /// The file or database.
        file: PathBuf,
        /// The version it names.
        version: u16,
    },
    /// The log belongs to another partition or epoch than the one asked for.
    #[error("{} belongs to {found}, not to {wanted}", file.display())]
    Foreign {
        /// The file or database.
        file: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The disk or the engine refused.
    #[error("{context}")]
    Disk {
        /// What was being done.
        context: String,
        /// The cause.
        source: BoxedError,
    },
}

impl OpenError {
    pub(crate) fn disk(context: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Self::Disk {
            context: context.into(),
            source: source.into(),
        }
    }

    /// Refuses a file or database that belongs to another partition or epoch.
    pub(crate) fn check_owner(
        file: &std::path::Path,
        found: (PartitionId, Epoch),
        wanted: (PartitionId, Epoch),
    ) -> Result<(), Self> {
        let text = |(partition, epoch): (PartitionId, Epoch)| {
            format!("partition {}, epoch {}", partition.0, epoch.0)
        };
        if found == wanted {
            return Ok(());
        }
        Err(Self::Foreign {
            file: file.to_owned(),
            found: text(found),
            wanted: text(wanted),
        })
    }
}

/// Why durable records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They are no longer in the log.
    #[error("the journal begins at record {first}")]
    Trimmed {
        /// The oldest record that is still there.
        first: RecordNumber,
    },
    /// They no longer read as they were written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The disk or the engine refused.
    #[error("{context}")]
    Disk {
        /// What was being done.
        context: String,
        /// The cause.
        source: BoxedError,
    },
}

impl ReadError {
    pub(crate) fn disk(context: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Self::Disk {
            context: context.into(),
            source: source.into(),
        }
    }
}

/// One owner's access to a log. The meaning is that of a remote log, so that a replicated one fits behind the same trait.
pub trait Journal: Send {
    /// Takes a partition over and says where its log ends. Whoever held it before is fenced from here on.
    ///
    /// # Errors
    /// Any of the four; [`AppendError::Fenced`] if this log does not hold the partition.
    fn acquire(&mut self, partition: PartitionId) -> Result<Tail, AppendError>;

    /// Puts `group` behind record `expected` and returns when it is on the device: the position of its last record.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] if the log does not end at `expected` or the group does not continue its chain; nothing was
    /// written then. [`AppendError::Fatal`] when the device failed; every later append is refused.
    fn append(
        &mut self,
        partition: PartitionId,
        expected: RecordNumber,
        group: &Group,
    ) -> Result<Position, AppendError>;

    /// How long the last append waited for the device, out of all it took.
    fn last_sync(&self) -> Duration;

    /// Access for other threads while this one appends.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Drops old records. It runs beside appends, on the thread of whoever decides what is old.
    fn trimmer(&self) -> Arc<dyn LogTrimmer>;

    /// Allows records up to and including `upto` to be dropped; see [`LogTrimmer::trim`].
    ///
    /// # Errors
    /// As [`LogTrimmer::trim`].
    fn trim(&mut self, partition: PartitionId, upto: RecordNumber) -> Result<RecordNumber, AppendError> {
        self.trimmer().trim(partition, upto)
    }
}

/// Drops old records while others append and read.
pub trait LogTrimmer: Send + Sync {
    /// Allows records up to and including `upto` to be dropped, and returns the first that remains. A log drops whole units
    /// (segments, databases) and never its last group, so it may keep more than it must.
    ///
    /// # Errors
    /// [`AppendError::Fatal`] when the device failed, [`AppendError::Fenced`] for a partition that is not in this log.
    fn trim(&self, partition: PartitionId, upto: RecordNumber) -> Result<RecordNumber, AppendError>;
}

/// Reads what is durable, from any thread.
pub trait LogReader: Send + Sync {
    /// Whole verified groups, from the one that holds record `from`, about `max_bytes` of them but at least one; nothing if
    /// `from` is not durable yet. The first group may begin before `from` ([`Group::records_from`]).
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] below the log's beginning, [`ReadError::Damage`] if the bytes changed since they were written.
    fn read(
        &self,
        partition: PartitionId,
        from: RecordNumber,
        max_bytes: usize,
    ) -> Result<Vec<Group>, ReadError>;

    /// One record; `None` if it is not durable yet.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    fn record(&self, partition: PartitionId, number: RecordNumber) -> Result<Option<Record>, ReadError>;

    /// The oldest record that can be read; in an empty log the number the first one will have.
    fn first(&self) -> RecordNumber;

    /// The last durable record.
    fn last(&self) -> RecordNumber;

    /// What the log occupies on the device, in bytes.
    fn size_bytes(&self) -> u64;
}

/// What every back end checks before it writes: the group goes exactly behind the tail it claims to follow.
pub(crate) fn check_fence(
    partition: PartitionId,
    epoch: Epoch,
    tail: &Anchor,
    expected: RecordNumber,
    group: &Group,
) -> Result<(), AppendError> {
    if expected != tail.last {
        let context = format!(
            "the log ends at record {}, the writer expected {expected}",
            tail.last
        );
        return Err(AppendError::fenced(context));
    }
    if group.partition() != partition || group.epoch() != epoch {
        return Err(AppendError::fenced("the group is of another partition or epoch"));
    }
    if group.first() != expected.next() || group.previous() != &tail.chain {
        return Err(AppendError::fenced(format!(
            "the group does not continue record {expected}"
        )));
    }
    if group.logged_at_ms() < tail.logged_at_ms {
        return Err(AppendError::fenced(
            "the group was logged before the one it follows",
        ));
    }
    Ok(())
}

/// What every back end checks about each group when it opens a log (LOG_CLOSED); the error says what is wrong.
pub(crate) fn check_follows(
    partition: PartitionId,
    epoch: Epoch,
    tail: &Anchor,
    group: &Group,
) -> Result<(), &'static str> {
    if (group.partition(), group.epoch()) != (partition, epoch) {
        return Err("a group of another partition or epoch");
    }
    if group.first() != tail.last.next() {
        return Err("a group that is out of order");
    }
    if group.previous() != &tail.chain {
        return Err("a group that does not continue the hash chain");
    }
    if group.logged_at_ms() < tail.logged_at_ms {
        return Err("a group that is older than the one before");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_text() {
        let position = Position {
            epoch: Epoch(3),
            number: RecordNumber(70),
        };
        assert_eq!(position.to_string(), "3-70");
        assert_eq!("3-70".parse(), Ok(position));
        for text in [
            "",
            "3",
            "3-",
            "-70",
            "3-070",
            "+3-70",
            "3-70-1",
            "3--70",
            "4294967296-1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionSyntax), "{text}");
        }
    }
}
