//! Merging runs, a bounded part of it in each change.
//!
//! Runs of one tier are made by changes or by merging [`FAN_IN`] runs of the tier below, oldest first; so the tiers are in order of
//! age, and eight runs of one tier are neighbours in age too. A tier's merge takes so much in each change that it is done before
//! the next one is due: under a steady load a tier has at most twice [`FAN_IN`] runs. A run of which retention has outlived half is rewritten
//! alone.
use std::sync::Arc;

use super::item::{Base, Kind};
use super::run::{Cursor, Run, RunWriter, next_of};
use crate::storage::state::StateError;
use crate::storage::state::rows::Trees;

/// How many runs are merged into one.
pub(super) const FAN_IN: usize = 8;
/// What a merge takes in one change at least, in items.
const ITEMS_PER_ROUND_MIN: u64 = 4096;

/// A merge that is under way. Its pages belong to no run yet.
#[derive(Debug)]
pub(super) struct Merge {
    pub(super) kind: Kind,
    /// The tier of the runs merged.
    pub(super) tier: u8,
    /// Newest first.
    cursors: Vec<Cursor>,
    inputs: Vec<Arc<Run>>,
    writer: RunWriter,
    items_per_round: u64,
    /// Whether nothing older is left that an item which is gone could hide.
    is_oldest: bool,
}

impl Merge {
    /// The runs of a tier that should be merged now, newest first.
    pub(super) fn wanted(runs: &[Arc<Run>], tier: u8, older_than_ms: u64) -> Option<Vec<Arc<Run>>> {
        let of_tier: Vec<&Arc<Run>> = runs.iter().filter(|run| run.about.tier == tier).collect();
        if of_tier.len() >= FAN_IN {
            let oldest = of_tier[of_tier.len() - FAN_IN..].iter();
            return Some(oldest.copied().map(Arc::clone).collect());
        }
        let outlived = |run: &&&Arc<Run>| {
            let about = &run.about;
            older_than_ms > about.oldest_ms + (about.newest_ms.saturating_sub(about.oldest_ms)) / 2
                && older_than_ms > about.oldest_ms
        };
        let run = of_tier.iter().rev().find(outlived)?;
        Some(vec![Arc::clone(run)])
    }

    /// Begins to merge `inputs`, newest first, into run `number`.
    pub(super) fn begin(
        trees: &Trees,
        inputs: Vec<Arc<Run>>,
        number: u64,
        is_oldest: bool,
        older_than_ms: u64,
    ) -> Result<Merge, StateError> {
        let newest = &inputs[0];
        let (kind, tier, upto) = (newest.kind, newest.about.tier, newest.about.upto);
        let least = |of: fn(&Run) -> u64| inputs.iter().map(|run| of(run)).min().unwrap_or(0);
        let base = Base {
            at_ms: least(|run| run.about.oldest_ms).max(older_than_ms),
            seq: least(|run| run.about.base_seq),
            number: least(|run| run.about.base_number),
        };
        let items: u64 = inputs.iter().map(|run| run.about.items).sum();
        let room = usize::try_from(items).expect("items are counted in memory");
        let into = if inputs.len() == 1 { tier } else { tier + 1 };
        // A run of this tier comes with every FAN_IN to the power of the tier'th change; FAN_IN of them make the next merge.
        let rounds = (FAN_IN as u64 - 2).saturating_mul((FAN_IN as u64).saturating_pow(u32::from(tier)));
        let mut cursors = Vec::with_capacity(inputs.len());
        for run in &inputs {
            cursors.push(Cursor::from(trees, Arc::clone(run), &[])?);
        }
        Ok(Merge {
            kind,
            tier,
            cursors,
            inputs,
            writer: RunWriter::new(kind, number, into, upto, base, room),
            items_per_round: (items / rounds).max(ITEMS_PER_ROUND_MIN),
            is_oldest,
        })
    }

    /// Whether this merge reads the run.
    pub(super) fn reads(&self, run: &Arc<Run>) -> bool {
        self.inputs.iter().any(|input| Arc::ptr_eq(input, run))
    }

    /// Takes one round's items; tells whether none is left. Nothing older than `older_than_ms` is taken over.
    pub(super) fn go_on(&mut self, trees: &Trees, older_than_ms: u64) -> Result<bool, StateError> {
        for _ in 0..self.items_per_round {
            let Some(item) = next_of(&mut self.cursors, trees)? else {
                return Ok(true);
            };
            let is_needed = !(item.gone && self.is_oldest);
            if is_needed && item.at_ms >= older_than_ms {
                self.writer.push(trees, &item)?;
            }
        }
        Ok(self.cursors.iter().all(|cursor| cursor.item().is_none()))
    }

    /// The runs merged.
    pub(super) fn inputs(&self) -> &[Arc<Run>] {
        &self.inputs
    }

    /// The run that takes their place, unless nothing is left.
    pub(super) fn finish(self, trees: &Trees) -> Result<Option<Arc<Run>>, StateError> {
        self.writer.finish(trees)
    }
}
