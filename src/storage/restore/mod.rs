//! Putting a shop back: from a portable snapshot, and the log behind it, to any record number or instant.
//!
//! ```text
//!  snapshot (states at N, records N+1..P) ──► archive ──► journal        one pass over it: `source`
//!        │                                                    │
//!        ├── up to the cut ──► rows of a new epoch (`fill`)   └── after the cut ──► what is lost (`survey`)
//!        └── deadlines moved, sold variants paused: the new log's first records (`amend`)
//!  rows and log durable ──► CURRENT names the epoch
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `choose` | the nearest snapshot of a directory |
//! | `source` | snapshot, archive and journal as one run of records; gaps and damage by name |
//! | `survey` | reads all of it, changes nothing, and says what a restore would mean: the [`Plan`] |
//! | `fill` | carries it out: the next epoch beside the current one, entered at the very end |
//! | `amend` | what the operator's rule does to deadlines, and the pauses, as records |
//! | `lost` | the sales behind the cut, and the file from which they can be made again |
//!
//! Laws: a crash or an error on the way leaves the epoch before as the current one, and the next try begins anew; nothing
//! is believed before its checksum, and the snapshot's digest is found right before the epoch is entered. The states of the
//! cut are those the house had when that record was its last (REPLAY_EQUAL): [`Restored::digest`] says so.
//!
//! The log behind a snapshot goes through as many epochs as lie between it and the cut (`storage::lineage`): a moment is in the
//! epoch that was current then. Lost is what the current shop has sold and the cut has not, in whichever epoch it was sold. Where
//! the logs do not tell all of it, every variant comes up paused. Deliberately absent: going on in the old epoch (a restore always
//! begins a new one, so that its readers can tell), and undoing a restore other than by another one.
mod amend;
mod choose;
mod error;
mod fill;
mod lost;
mod source;
mod survey;

pub use choose::nearest;
pub use error::RestoreError;
pub use fill::{Restored, Step, carry_out, fill_empty};
pub use lost::{Lost, SoldAfter};
pub use source::{LogBehind, Logs, Source};
pub use survey::{Plan, survey};

use super::lineage::Lineage;
use crate::domain::rewind::HoldsRule;

/// Where the log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Behind everything there is.
    End,
    /// Behind this record.
    Number(u64),
    /// Behind the last group that was logged at or before this moment, ms since the Unix epoch.
    Time(i64),
}

impl Cut {
    /// The epoch it is in, where nobody says otherwise.
    fn epoch(self, lineage: &Lineage) -> u64 {
        match self {
            Self::Time(at_ms) => lineage.current_at(at_ms),
            Self::End | Self::Number(_) => lineage.current(),
        }
    }

    /// Whether a record is before the cut.
    fn keeps(self, number: u64, logged_at_ms: i64) -> bool {
        match self {
            Self::End => true,
            Self::Number(last) => number <= last,
            Self::Time(last) => logged_at_ms <= last,
        }
    }
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Back to where.
    pub cut: Cut,
    /// What becomes of the deadlines.
    pub holds: HoldsRule,
    /// The moment of the restore, ms since the Unix epoch.
    pub now_ms: i64,
}
