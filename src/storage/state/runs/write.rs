//! Writing runs: what a checkpoint adds, and the merges it moves on.
use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::item::{Base, Item, Kind};
use super::merge::Merge;
use super::run::RunWriter;
use super::values::{self, ValueWriter};
use super::{BOUNDS_KEY, Bounds, Lists, Prepared, StateError};
use crate::storage::state::changes::{EndedChange, RowChange, RowChanges, ended_row};
use crate::storage::state::rows::{Family, Trees};

/// What the one who writes needs.
#[derive(Debug)]
pub(in crate::storage::state) struct RunsWriter {
    next_run: u64,
    pub(super) bounds: Bounds,
    pub(super) stored_bounds: Bounds,
    pub(super) merges: Vec<Merge>,
    /// Pages of runs that are gone.
    pub(super) doomed: VecDeque<(Family, [u8; 12])>,
}

impl RunsWriter {
    /// Goes on behind what is stored.
    pub(super) fn new(lists: &Lists, bounds: Bounds) -> RunsWriter {
        let all = lists.0.iter().flatten();
        RunsWriter {
            next_run: 1 + all.map(|run| run.about.number).max().unwrap_or(0),
            bounds,
            stored_bounds: bounds,
            merges: Vec::new(),
            doomed: VecDeque::new(),
        }
    }

    fn next_run(&mut self) -> u64 {
        self.next_run += 1;
        self.next_run - 1
    }

    /// Begins the merges that are due and gives each under way its round.
    pub(super) fn merge(&mut self, trees: &Trees, prepared: &mut Prepared) -> Result<(), StateError> {
        for kind in Kind::ALL {
            let runs = prepared.lists.of(kind);
            let from_ms = self.bounds.bound_ms(kind);
            let tiers: Vec<u8> = runs.iter().map(|run| run.about.tier).collect();
            for (at, tier) in tiers.iter().enumerate() {
                let is_first = tiers.get(at.wrapping_sub(1)) != Some(tier);
                let is_busy = self
                    .merges
                    .iter()
                    .any(|merge| merge.kind == kind && merge.tier == *tier);
                if !is_first || is_busy {
                    continue;
                }
                if let Some(inputs) = Merge::wanted(runs, *tier, from_ms) {
                    let oldest = inputs.last().zip(runs.last());
                    let is_oldest = oldest.is_some_and(|(input, run)| Arc::ptr_eq(input, run));
                    let number = self.next_run;
                    self.next_run += 1;
                    self.merges
                        .push(Merge::begin(trees, inputs, number, is_oldest, from_ms)?);
                }
            }
        }
        for mut merge in std::mem::take(&mut self.merges) {
            if !merge.go_on(trees, self.bounds.bound_ms(merge.kind))? {
                self.merges.push(merge);
                continue;
            }
            for input in merge.inputs() {
                prepared.drop_run(input);
            }
            if let Some(run) = merge.finish(trees)? {
                prepared.add_run(run);
            }
        }
        Ok(())
    }

    /// Writes the items, of which the last of a key counts, as a run.
    pub(super) fn add_run(
        &mut self,
        trees: &Trees,
        kind: Kind,
        mut items: Vec<Item>,
        prepared: &mut Prepared,
    ) -> Result<(), StateError> {
        items.sort_by_key(|item| item.key);
        let number = self.next_run();
        let mut writer = RunWriter::new(kind, number, 0, number, Base::of(&items), items.len());
        for (at, item) in items.iter().enumerate() {
            if items.get(at + 1).is_none_or(|next| next.key != item.key) {
                writer.push(trees, item)?;
            }
        }
        if let Some(run) = writer.finish(trees)? {
            prepared.add_run(run);
        }
        Ok(())
    }

    /// Writes the payloads behind the keys.
    pub(super) fn put_payloads(
        &mut self,
        trees: &Trees,
        changes: &RowChanges,
        change: u64,
    ) -> Result<Vec<Item>, StateError> {
        let mut writer = ValueWriter::new(trees, Family::KeyPayload, change);
        let mut items = Vec::with_capacity(changes.keys.len());
        for key in &changes.keys {
            self.bounds.last_payload += 1;
            let seq = self.bounds.last_payload;
            writer.push(seq, key.logged_at_ms, &changes.bytes[key.payload.clone()])?;
            items.push(Item::of_key(&key.hash.0, &key.entry, key.logged_at_ms, seq));
        }
        self.bounds.payload_bytes += writer.finish()?;
        Ok(items)
    }

    /// Writes the rows of ended holds; tells the items of ended holds and of their lists.
    pub(super) fn put_ended(
        &mut self,
        lists: &Lists,
        trees: &Trees,
        changes: &RowChanges,
        change: u64,
        now_ms: u64,
    ) -> Result<(Vec<Item>, Vec<Item>), StateError> {
        let mut writer = ValueWriter::new(trees, Family::EndedRow, change);
        let (mut items, mut listed) = (Vec::with_capacity(changes.ended.len()), Vec::new());
        let revived: HashMap<[u8; 16], usize> = { changes.ended.iter().enumerate() }
            .filter(|(_, change)| change.ended.is_none())
            .map(|(at, change)| (change.id, at))
            .collect();
        for (at, EndedChange { id, ended }) in changes.ended.iter().enumerate() {
            let last_revival = revived.get(id).copied();
            let Some(hold) = ended else {
                if last_revival == Some(at)
                    && let Some((gone, unlisted)) = revival(lists, trees, id, now_ms, &self.bounds)?
                {
                    items.push(gone);
                    listed.extend(unlisted);
                }
                continue;
            };
            if last_revival.is_some_and(|revival| revival > at) {
                continue;
            }
            let row = &changes.bytes[hold.row.clone()];
            self.bounds.last_row += 1;
            writer.push(self.bounds.last_row, hold.at_ms, row)?;
            items.push(Item::new(id, hold.at_ms, Some(self.bounds.last_row)));
            let (prefixes, _) = ended_row(row).expect("written by put_ended");
            for prefix in prefixes {
                listed.push(Item::new(&[&prefix[..], id].concat(), hold.at_ms, Some(0)));
            }
        }
        self.bounds.row_bytes += writer.finish()?;
        Ok((items, listed))
    }

    pub(super) fn bounds_row(&self, prepared: &mut Prepared) {
        if self.bounds != self.stored_bounds {
            prepared.rows.push(RowChange {
                family: Family::Run,
                key: BOUNDS_KEY.to_vec(),
                row: Some(self.bounds.to_bytes()),
            });
        }
    }
}

/// The items that take a stored hold out of the ended ones and of every list it is in.
fn revival(
    lists: &Lists,
    trees: &Trees,
    id: &[u8; 16],
    now_ms: u64,
    bounds: &Bounds,
) -> Result<Option<(Item, Vec<Item>)>, StateError> {
    let stored = lists.find(trees, Kind::Ended, id)?;
    let Some(stored) = stored.filter(|item| !item.gone && item.at_ms >= bounds.ended_from_ms) else {
        return Ok(None);
    };
    let missing = || trees.damage(Family::EndedRow, &stored.seq.to_be_bytes());
    // It must outlive what it hides.
    let at_ms = now_ms.max(stored.at_ms);
    let row = values::read(trees, Family::EndedRow, stored.seq)?.ok_or_else(missing)?;
    let (prefixes, _) = ended_row(&row).ok_or_else(missing)?;
    let listed = prefixes.iter().map(|prefix| [&prefix[..], id].concat());
    let listed = listed.map(|key| Item::new(&key, at_ms, None)).collect();
    Ok(Some((Item::new(id, at_ms, None), listed)))
}
