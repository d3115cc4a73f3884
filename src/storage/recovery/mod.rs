//! From what lies on the disk to a house that goes on: load the rows, replay the log behind their mark, check the laws.
//!
//! | file | what it does |
//! |---|---|
//! | `replay` | one record after the other into variants, policies and coordinators |
//! | `open` | opens rows and log and checks that they fit together |
//! | `verify` | the same for an operator, who wants to know and change nothing |
//! | `seed` | a portable snapshot becomes the rows of a new epoch |
//!
//! Laws: LOG_CLOSED before anything is believed; REPLAY_EQUAL, state = rows + tail; the variants' own by counting every
//! reservation again. Replay reads no clock and no randomness. Damage refuses the start and names file, record and
//! command; a torn tail, which nobody was answered from, is cut and reported.
mod error;
mod open;
mod replay;
mod seed;
mod verify;

pub use error::RecoverError;
pub use open::{
    Backend, JournalPlace, OpenJournal, Progress, RecoverOptions, Recovered, RecoveredVariant, recover,
};
pub use replay::state_digest;
pub use seed::{SeedError, Seeded, seed_from_snapshot};
pub use verify::{VerifyReport, verify};

use super::{checkpoint::Checkpointer, journal::RecordNumber};
use crate::domain::{ids::VariantOrdinal, variant::Variant};
use replay::Replay;

/// About how many bytes of log are read at once.
const READ_BYTES: usize = 4 << 20;

/// One variant again, from its rows and the durable log behind them, with the number of its last record. For an actor that
/// died, or an operator who releases it from quarantine. Blocks on the disk.
///
/// # Errors
/// There is no such variant, or what the disk says; in words for an operator.
pub fn rebuild_variant(
    checkpointer: &Checkpointer,
    ordinal: VariantOrdinal,
) -> Result<(Variant, u64), RecoverError> {
    let (stored, _kept) = checkpointer.with_rows("rebuild", |state, number| {
        super::entity_rows::load_variant(state, ordinal).map(|variant| (variant, number))
    });
    let (variant, number) = stored?;
    let mut replay = Replay::only(ordinal, variant);
    let (reader, partition) = checkpointer.log();
    let mut next = number.next();
    loop {
        let groups = reader.read(partition, next, READ_BYTES)?;
        let Some(last) = groups.last().map(|group| group.last()) else {
            break;
        };
        for group in &groups {
            for record in group.records_from(next) {
                replay.record(&record)?;
            }
        }
        next = last.next();
    }
    let found = replay.into_variant(ordinal);
    let (variant, number) = found.ok_or(RecoverError::NoSuchVariant { ordinal })?;
    variant
        .recount()
        .map_err(|violation| RecoverError::Law { violation, number })?;
    Ok((variant, number))
}

/// The first record that is not in the rows yet.
fn behind(mark: Option<super::state::Checkpoint>) -> RecordNumber {
    RecordNumber(mark.map_or(0, |mark| mark.number)).next()
}
