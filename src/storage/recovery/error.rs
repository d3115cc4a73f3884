//! Why a start is refused.
use super::super::{
    entity_rows::RowError,
    journal::{AppendError, Damage, OpenError, ReadError, RecordNumber},
    state::StateError,
};
use super::open::Backend;
use crate::domain::{law::Violation, rules::UnknownRules};
use std::path::{Path, PathBuf};

/// Why the state could not be recovered. [`RecoverError::is_damage`] tells what an operator must look at from what a retry
/// may mend.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// What lies on the disk is not what was written (LOG_CLOSED). Nothing was modified.
    #[error(
        "damage in {} at record {record}: {reason}; go on with: {}",
        file.display(),
        remedy.command(data_dir)
    )]
    Damage {
        /// The file or database.
        file: PathBuf,
        /// The first record that is lost or wrong.
        record: RecordNumber,
        /// What is wrong there.
        reason: String,
        /// The data directory.
        data_dir: PathBuf,
        /// What helps.
        remedy: Remedy,
    },
    /// A record cannot be applied to the state before it.
    #[error("record {number} cannot be replayed: {reason}")]
    Replay {
        /// The record.
        number: RecordNumber,
        /// Why.
        reason: String,
    },
    /// A part of the data is gone, and what is left of the others does not make up for it.
    #[error("{} is gone from record {record} on: {reason}", file.display())]
    Gone {
        /// The directory it lay in.
        file: PathBuf,
        /// The first record that cannot be had.
        record: RecordNumber,
        /// How that shows.
        reason: String,
    },
    /// A recovered variant, cart or order breaks a law.
    #[error("a recovered entity breaks a law at record {number}")]
    Law {
        /// Which law, where, and the figures.
        #[source]
        violation: Violation,
        /// The last record in the entity.
        number: u64,
    },
    /// A later release wrote from here on, by rules that this one does not know. Nothing was modified.
    #[error("record {number} cannot be replayed by this release: {unknown}")]
    UnknownRules {
        /// The gate's record, or the last one in the rows it was found in.
        number: RecordNumber,
        /// Which rules, and whose.
        unknown: UnknownRules,
    },
    /// The log was written by the other back end.
    #[error(
        "the log in {} was written by the {} back end; set journal.backend = \"{}\"",
        dir.display(),
        found.as_str(),
        found.as_str()
    )]
    OtherBackend {
        /// Where the log lies.
        dir: PathBuf,
        /// What wrote it.
        found: Backend,
    },
    /// There is no such variant, cart or order.
    #[error("there is no {0}")]
    NoSuchEntity(String),
    /// The log could not be opened.
    #[error("the log could not be opened")]
    Open(#[source] OpenError),
    /// The log could not be taken over.
    #[error("the log could not be taken over")]
    Acquire(#[from] AppendError),
    /// The log could not be read.
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    /// The stored rows could not be opened or read.
    #[error("the stored states could not be read")]
    State(#[from] StateError),
    /// A stored row says what cannot be.
    #[error("the stored states could not be read")]
    Row(#[from] RowError),
}

/// What an operator can do about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The log is broken: cut it there.
    CutLog,
    /// The stored rows are: go back to a snapshot.
    Restore,
}

impl Remedy {
    /// The command to begin with.
    pub fn command(self, data_dir: &Path) -> String {
        let what = match self {
            Self::CutLog => "wal repair --truncate-tail",
            Self::Restore => "snapshot list",
        };
        format!("holdfast {what} --data-dir {}", data_dir.display())
    }
}

impl RecoverError {
    /// What helps, where something is damaged.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Damage { remedy, .. } => Some(*remedy),
            Self::Replay { .. } | Self::Open(OpenError::Damage(_)) | Self::Read(ReadError::Damage(_)) => {
                Some(Remedy::CutLog)
            }
            Self::Gone { .. } | Self::Law { .. } | Self::State(_) | Self::Row(_) => {
                self.is_damage().then_some(Remedy::Restore)
            }
            Self::UnknownRules { .. }
            | Self::OtherBackend { .. }
            | Self::NoSuchEntity(_)
            | Self::Open(_)
            | Self::Acquire(_)
            | Self::Read(_) => None,
        }
    }

    /// Whether the data is damaged: the exit code differs, and a restart will not help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damage { .. }
            | Self::Replay { .. }
            | Self::Gone { .. }
            | Self::Law { .. }
            | Self::Open(OpenError::Damage(_))
            | Self::Read(ReadError::Damage(_))
            | Self::State(StateError::Damage { .. } | StateError::DamagedFile { .. })
            | Self::Row(
                RowError::Content { .. }
                | RowError::State(StateError::Damage { .. } | StateError::DamagedFile { .. }),
            ) => true,
            Self::State(StateError::Engine(error))
            | Self::Row(RowError::State(StateError::Engine(error))) => error.is_damage(),
            Self::UnknownRules { .. }
            | Self::OtherBackend { .. }
            | Self::NoSuchEntity(_)
            | Self::Open(_)
            | Self::Acquire(_)
            | Self::Read(_) => false,
        }
    }

    /// Adds the directory, and the command that shows more, to what the journal found.
    pub(super) fn in_data_dir(self, data_dir: &Path, journal: &Path, state: &Path) -> Self {
        let damage = |file: PathBuf, record, reason, remedy| Self::Damage {
            file,
            record,
            reason,
            data_dir: data_dir.to_owned(),
            remedy,
        };
        match self {
            Self::Open(OpenError::Damage(Damage {
                file,
                record,
                offset,
                reason,
            }))
            | Self::Read(ReadError::Damage(Damage {
                file,
                record,
                offset,
                reason,
            })) => damage(
                file,
                record,
                format!("{reason} (offset {offset})"),
                Remedy::CutLog,
            ),
            Self::Replay { number, reason } => damage(journal.to_owned(), number, reason, Remedy::CutLog),
            Self::Gone { file, record, reason } => damage(file, record, reason, Remedy::Restore),
            Self::Law { violation, number } => {
                let number = RecordNumber(number);
                damage(state.to_owned(), number, violation.to_string(), Remedy::Restore)
            }
            Self::Damage { .. }
            | Self::UnknownRules { .. }
            | Self::OtherBackend { .. }
            | Self::NoSuchEntity(_)
            | Self::Open(_)
            | Self::Acquire(_)
            | Self::Read(_)
            | Self::State(_)
            | Self::Row(_) => self,
        }
    }
}
