//! Why a restore did not happen. The data directory is as it was.
use super::super::{
    archive::ArchiveError,
    checkpoint::CheckpointError,
    data_dir::DataDirError,
    entity_rows::RowError,
    journal::{AppendError, OpenError, Position, ReadError},
    recovery::{RecoverError, SeedError},
    snapshot::SnapshotError,
    state::StateError,
};
use crate::domain::rules::UnknownRules;
use std::{io, path::PathBuf};

/// Why a restore did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory has data already.
    #[error("the data directory is in use already; a snapshot goes into an empty one")]
    NotEmpty,
    /// The snapshot is damaged, or of a later version.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A later release wrote it, by rules that this one does not know.
    #[error("the snapshot cannot be restored by this release: {0}")]
    Rules(#[from] UnknownRules),
    /// What is in it does not become rows.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// No snapshot is old enough, or there is none.
    #[error("no snapshot in {} is from before the cut", dir.display())]
    NoSnapshot {
        /// Where one was looked for.
        dir: PathBuf,
    },
    /// Planned and carried out are not the same.
    #[error("the plan was to cut behind {planned}, what is there now is cut behind {found}")]
    Moved {
        /// The cut of the plan.
        planned: Position,
        /// The cut now.
        found: Position,
    },
    /// The cut is before what the snapshot can give.
    #[error("the snapshot begins at record {first}; to go back to {wanted} take an earlier one")]
    Before {
        /// Its first state.
        first: u64,
        /// The cut, in words.
        wanted: String,
    },
    /// The cut is behind what there is.
    #[error("{wanted} is behind the last record there is, {last}")]
    Behind {
        /// The last record.
        last: u64,
        /// The cut, in words.
        wanted: String,
    },
    /// The cut is in a history that the snapshot is not of.
    #[error(
        "that moment is in epoch {meant}, whose history does not go through this snapshot of epoch {snapshot}; name no snapshot to take the nearest, or one of epoch {meant}"
    )]
    OtherHistory {
        /// The snapshot's epoch.
        snapshot: u64,
        /// The epoch the cut is in.
        meant: u64,
    },
    /// Records are missing between the snapshot and the log, or within the log.
    #[error("records {from} to {to} are missing: {}", file.display())]
    Gap {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
        /// Where they should be.
        file: PathBuf,
    },
    /// The log is damaged.
    #[error("{0}")]
    Damage(String),
    /// The log is another shop's.
    #[error("record {number} of the log is not record {number} of the snapshot: they are not of one shop")]
    Foreign {
        /// The record that both have.
        number: u64,
    },
    /// What came out breaks a law.
    #[error("what was restored breaks a law: {0}")]
    Law(String),
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The stored rows could not be written.
    #[error("the stored states could not be written: {0}")]
    State(#[from] StateError),
    /// The log could not be read.
    #[error("the log could not be read: {0}")]
    Read(String),
    /// The log could not be created.
    #[error("the log could not be created: {0}")]
    Log(#[source] RecoverError),
    /// The log could not be written.
    #[error("the log could not be written: {0}")]
    Append(#[from] AppendError),
    /// The lost sales could not be written down.
    #[error("cannot write {}: {source}", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RestoreError {
    /// Whether stored data is damaged.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Snapshot(error) => matches!(
                error,
                SnapshotError::Damaged { .. } | SnapshotError::NotASnapshot { .. }
            ),
            Self::Seed(SeedError::Entity { .. } | SeedError::Tail(CheckpointError::Row(_)))
            | Self::Gap { .. }
            | Self::Damage(_)
            | Self::Foreign { .. }
            | Self::Law(_)
            | Self::Directory(DataDirError::Damaged { .. }) => true,
            Self::Log(error) => error.is_damage(),
            Self::NotEmpty
            | Self::Seed(_)
            | Self::Rules(_)
            | Self::NoSnapshot { .. }
            | Self::Moved { .. }
            | Self::Before { .. }
            | Self::Behind { .. }
            | Self::OtherHistory { .. }
            | Self::Directory(_)
            | Self::State(_)
            | Self::Read(_)
            | Self::Append(_)
            | Self::Lost { .. } => false,
        }
    }
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damage(damage) => Self::Damage(damage.to_string()),
            OpenError::TooNew { .. } | OpenError::Foreign { .. } | OpenError::Disk { .. } => {
                Self::Read(error.to_string())
            }
        }
    }
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damage(damage) => Self::Damage(damage.to_string()),
            ReadError::Trimmed { .. } | ReadError::Disk { .. } => Self::Read(error.to_string()),
        }
    }
}

impl From<ArchiveError> for RestoreError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Gap { file, last, next, .. } => Self::Gap {
                from: last.next().0,
                to: next.0 - 1,
                file,
            },
            ArchiveError::File(error) => error.into(),
            ArchiveError::Log(error) => error.into(),
            ArchiveError::Begins { .. } | ArchiveError::NoEpoch(_) => Self::Read(error.to_string()),
        }
    }
}

impl From<RowError> for RestoreError {
    fn from(error: RowError) -> Self {
        Self::Seed(SeedError::Tail(CheckpointError::Row(error)))
    }
}
