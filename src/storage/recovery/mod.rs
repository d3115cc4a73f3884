//! From what lies on the disk to a house that goes on: load the rows, replay the log behind their mark, check the laws.
//!
//! | file | what it does |
//! |---|---|
//! | `replay` | one record after the other into variants, carts, orders, policies and coordinators |
//! | `open` | opens rows and log and checks that they fit together |
//! | `verify` | the same for an operator, who wants to know and change nothing |
//! | `capture` | a house becomes a portable snapshot, while it serves or on the disk |
//! | `entries` | what the entries of a portable snapshot say |
//! | `judge` | is a portable snapshot lawful, and what does it amount to? |
//! | `repair` | a log that a start refuses becomes one that it takes |
//! | `seed` | states and records of a portable snapshot become the rows of a new epoch |
//!
//! Laws: LOG_CLOSED before anything is believed; REPLAY_EQUAL, state = rows + tail; the variants' own by counting every
//! reservation again, those of carts and orders; AGREE between them, where what is found is to be mended by whoever opens the
//! house. Replay reads no clock and no randomness. Damage refuses the start and names file, record and
//! command; a torn tail, which nobody was answered from, is cut and reported.
mod capture;
mod entries;
mod error;
mod judge;
mod open;
mod repair;
mod replay;
mod seed;
mod verify;

pub use capture::{CaptureAbout, CaptureError, CaptureTo, Captured, capture, capture_directory};
pub use error::{RecoverError, Remedy};
pub use judge::{JudgeError, Judged, OpenSnapshot, judge};
pub(in crate::storage) use open::log_backend;
pub use open::{
    Backend, JournalPlace, OpenJournal, Progress, RecoverOptions, Recovered, RecoveredAgent,
    RecoveredVariant, recover,
};
pub use repair::{Break, Lost, Named, RepairPlan, plan_repair, repair};
pub use replay::state_digest;
pub(in crate::storage) use seed::Seed;
pub use seed::SeedError;
pub(in crate::storage) use verify::judge_rows;
pub use verify::{VerifyReport, verify};

use super::{agents::StoredAgent, checkpoint::Checkpointer, journal::RecordNumber};
use crate::domain::{cart::Cart, ids::VariantOrdinal, order::Order, variant::Variant};
use replay::{Agents, Only, Replay};

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
    let found = replayed(checkpointer, Only::Variant(ordinal))?.into_variant(ordinal);
    let missing = || RecoverError::NoSuchEntity(format!("variant with ordinal {}", ordinal.0));
    let (variant, number) = found.ok_or_else(missing)?;
    variant
        .recount()
        .map_err(|violation| RecoverError::Law { violation, number })?;
    Ok((variant, number))
}

/// One cart again, by the bits of its id, like [`rebuild_variant`].
///
/// # Errors
/// As [`rebuild_variant`].
pub fn rebuild_cart(checkpointer: &Checkpointer, bits: u128) -> Result<(Cart, u64), RecoverError> {
    rebuild_agent(checkpointer, bits, Only::Cart, |replay| replay.carts)
}

/// One order again, by the bits of its id, like [`rebuild_variant`].
///
/// # Errors
/// As [`rebuild_variant`].
pub fn rebuild_order(checkpointer: &Checkpointer, bits: u128) -> Result<(Order, u64), RecoverError> {
    rebuild_agent(checkpointer, bits, Only::Order, |replay| replay.orders)
}

fn rebuild_agent<A: StoredAgent>(
    checkpointer: &Checkpointer,
    bits: u128,
    only: fn(u128) -> Only,
    agents: fn(Replay<'static>) -> Agents<A>,
) -> Result<(A, u64), RecoverError> {
    let missing = || RecoverError::NoSuchEntity(format!("{} {bits:032x}", A::NOUN));
    let found = agents(replayed(checkpointer, only(bits))?).remove(&bits);
    let (agent, number) = found.flatten().ok_or_else(missing)?;
    agent
        .check()
        .map_err(|violation| RecoverError::Law { violation, number })?;
    Ok((agent, number))
}

/// One entity from its rows, with the durable log behind them replayed.
fn replayed(checkpointer: &Checkpointer, only: Only) -> Result<Replay<'static>, RecoverError> {
    let (stored, _kept) = checkpointer.with_rows("rebuild", |state, number| {
        Replay::only(only, state).map(|replay| (replay, number))
    });
    let (mut replay, number) = stored?;
    let (reader, partition) = checkpointer.log();
    let mut next = number.next();
    loop {
        let groups = reader.read(partition, next, READ_BYTES)?;
        let Some(last) = groups.last().map(|group| group.last()) else {
            return Ok(replay);
        };
        for group in &groups {
            for record in group.records_from(next) {
                replay.record(&record)?;
            }
        }
        next = last.next();
    }
}

/// The first record that is not in the rows yet.
fn behind(mark: Option<super::state::Checkpoint>) -> RecordNumber {
    RecordNumber(mark.map_or(0, |mark| mark.number)).next()
}
