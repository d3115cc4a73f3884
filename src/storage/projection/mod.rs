//! What lists and statistics are served from (decisions 11): an index in memory over every reservation that its variant
//! keeps and every one that ended above the last checkpoint; older ones are found in the stored rows.
//!
//! ```text
//!  journal writer ──apply──► memory (live, unshipped, just ended) ◄──checkpointed── checkpoint thread
//!                               │                                                        │
//!                 list ◄── merge┴────────── stored index of ended reservations ◄─────────┘
//! ```
//!
//! It is told of a record after the device sync and before the answers of its group leave, in log order, so that a caller
//! reads its own writes. One mutex guards it, held for a few tree operations; lists read the disk outside of it.
//!
//! A reservation leaves memory only after its row is durable, and a list looks into memory first and at the rows second:
//! it may see one twice, and shows it once, but cannot miss it between the two.
//!
//! Deliberately absent: the reservations themselves. An id says which variant keeps it; [`Projection::ended`] and the
//! stored rows have the rest.
mod index;
mod list;
pub(super) mod selector;
mod statistics;

pub use list::{Filter, LOOKS_PER_PAGE, Page};
pub use statistics::Statistics;

use super::{
    fate::{Fate, fate},
    record::{Fact, Turn},
    state::StateStore,
};
use crate::domain::{
    bulk::{self, LineOutcome},
    ids::{ReservationId, StoreId, VariantOrdinal},
    variant::{Event, Hold, Variant},
};
use hashbrown::HashMap;
use index::{Lists, StoreIndex};
use parking_lot::Mutex;
use selector::Selector;
use std::{collections::VecDeque, fmt, sync::Arc};

/// Reservations that leave memory in one hold of the lock after a checkpoint.
const FORGET_AT_ONCE: usize = 256;

/// What lists and statistics are served from. Shared by the journal's writer, the checkpoint thread and readers.
pub struct Projection {
    state: Arc<StateStore>,
    memory: Mutex<Memory>,
}

/// Figures over all stores, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Live holds.
    pub live_holds: u64,
    /// Units in live and tentative holds.
    pub held_units: u64,
}

#[derive(Default)]
struct Memory {
    stores: Vec<(StoreId, StoreIndex)>,
    numbers: HashMap<StoreId, u32>,
    /// Of each variant, by ordinal.
    homes: Vec<Option<VariantHome>>,
    /// Ends in log order, until a checkpoint has them.
    ended: VecDeque<EndedHere>,
}

/// Whose a variant is.
#[derive(Clone, Copy)]
struct VariantHome {
    store: u32,
    /// The hash of its list.
    list: u64,
}

/// A reservation that ended above the last checkpoint.
struct EndedHere {
    number: u64,
    id: ReservationId,
    lists: Lists,
}

impl Projection {
    /// An empty projection in front of the stored rows.
    pub fn new(state: Arc<StateStore>) -> Self {
        Self {
            state,
            memory: Mutex::default(),
        }
    }

    /// Takes in a durable record. Called in log order, before the answers of its group leave.
    pub fn apply(&self, number: u64, turn: &Turn) {
        match &turn.fact {
            Fact::Variant(fact) => {
                let mut memory = self.memory.lock();
                if let Some((store, _)) = &fact.named {
                    memory.settle(fact.ordinal, store);
                }
                for event in &fact.events {
                    memory.apply(number, fact.ordinal, event);
                }
            }
            Fact::Bulk { event, .. } => {
                let mut memory = self.memory.lock();
                promised(event).for_each(|hold| memory.promise(hold));
            }
            Fact::Policy { .. } => {}
        }
    }

    /// Says that everything up to record `number` is in the stored rows; what ended before leaves memory.
    pub fn checkpointed(&self, number: u64) {
        // In small steps, for the journal's writer waits for the same lock.
        while self.memory.lock().forget(number, FORGET_AT_ONCE) {}
    }

    /// The record a reservation ended with, if that is above the last checkpoint; older ones are in the stored rows.
    pub fn ended(&self, id: ReservationId) -> Option<u64> {
        let memory = self.memory.lock();
        let home = memory.home(id.variant())?;
        memory.stores[home.store as usize].1.ended_with(id)
    }

    /// The figures of a store so far; zeros for a store without reservations.
    pub fn statistics(&self, store: &StoreId) -> Statistics {
        let memory = self.memory.lock();
        let number = memory.numbers.get(store);
        number.map_or_else(Statistics::default, |number| {
            memory.stores[*number as usize].1.statistics
        })
    }

    /// The figures of all stores together.
    pub fn totals(&self) -> Totals {
        let memory = self.memory.lock();
        let mut totals = Totals::default();
        for (_, index) in &memory.stores {
            totals.live_holds += index.statistics.active;
            totals.held_units += index.held_units;
        }
        totals
    }

    /// Puts what a recovered variant keeps into memory; harmless for what is there.
    pub(super) fn restore_variant(&self, variant: &Variant) {
        let head = variant.head();
        let mut memory = self.memory.lock();
        let home = memory.settle(head.ordinal, &head.store);
        let (store, index) = &mut memory.stores[home.store as usize];
        for hold in variant.holds() {
            index.put(hold, || Lists::of(store, home.list, &hold.shopper), None);
        }
    }

    /// Says whose a variant is before its records come.
    pub(super) fn settle(&self, ordinal: VariantOrdinal, store: &StoreId) {
        self.memory.lock().settle(ordinal, store);
    }

    /// Puts the stored figures of a store into memory, before any record.
    pub(super) fn restore_statistics(&self, store: &StoreId, statistics: Statistics) {
        let mut memory = self.memory.lock();
        let number = memory.number_of(store);
        memory.stores[number as usize].1.statistics = statistics;
    }
}

impl fmt::Debug for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}

/// The lines that a coordinator's decision makes real.
fn promised(event: &bulk::Event) -> impl Iterator<Item = &Hold> {
    let outcomes = match event {
        bulk::Event::Decided {
            commit: true,
            outcomes,
        } => outcomes.as_slice(),
        bulk::Event::Decided { commit: false, .. } | bulk::Event::Intended(_) | bulk::Event::Finished => &[],
    };
    outcomes.iter().filter_map(|outcome| match outcome {
        LineOutcome::Done(hold) => Some(hold),
        LineOutcome::Refused(_) | LineOutcome::Unanswered => None,
    })
}

impl Memory {
    /// A coordinator's answer leaves with its decision, before the variants have logged what it made of their lines; its
    /// caller must find them all the same. Their own records say the same again.
    fn promise(&mut self, hold: &Hold) {
        let Some(home) = self.home(hold.id.variant()) else {
            return;
        };
        let (store, index) = &mut self.stores[home.store as usize];
        if index.awaits(hold) {
            index.put(hold, || Lists::of(store, home.list, &hold.shopper), None);
        }
    }

    fn number_of(&mut self, store: &StoreId) -> u32 {
        if let Some(number) = self.numbers.get(store) {
            return *number;
        }
        let number = u32::try_from(self.stores.len()).expect("stores are far fewer than 2^32");
        self.stores.push((store.clone(), StoreIndex::default()));
        self.numbers.insert(store.clone(), number);
        number
    }

    fn settle(&mut self, ordinal: VariantOrdinal, store: &StoreId) -> VariantHome {
        let place = ordinal.0 as usize;
        if let Some(home) = self.home(ordinal) {
            return home;
        }
        if self.homes.len() <= place {
            self.homes.resize(place + 1, None);
        }
        let home = VariantHome {
            store: self.number_of(store),
            list: Selector::variant(store, ordinal).hash,
        };
        self.homes[place] = Some(home);
        home
    }

    fn home(&self, ordinal: VariantOrdinal) -> Option<VariantHome> {
        self.homes.get(ordinal.0 as usize).copied().flatten()
    }

    fn apply(&mut self, number: u64, ordinal: VariantOrdinal, event: &Event) {
        let home = self
            .home(ordinal)
            .expect("a variant's store is said with its creation, or when its rows are loaded");
        let (store, index) = &mut self.stores[home.store as usize];
        index.statistics.count(event);
        if let Event::Rehomed { hold, from } = event {
            // It stands in the lists of whoever had it.
            index.remove(hold.id, Lists::of(store, home.list, from));
        }
        let lists = |hold: &Hold| Lists::of(store, home.list, &hold.shopper);
        match fate(event) {
            None => {}
            Some(Fate::Kept(hold)) => index.put(hold, || lists(hold), None),
            Some(Fate::Withdrawn(hold)) => index.remove(hold.id, lists(hold)),
            Some(Fate::Ended(hold)) => {
                let lists = lists(hold);
                index.put(hold, || lists, Some(number));
                self.ended.push_back(EndedHere {
                    number,
                    id: hold.id,
                    lists,
                });
            }
        }
    }

    /// Forgets at most `count` ends up to record `upto`; whether there are more.
    fn forget(&mut self, upto: u64, count: usize) -> bool {
        for _ in 0..count {
            let Some(ended) = self.ended.pop_front_if(|ended| ended.number <= upto) else {
                return false;
            };
            if let Some(home) = self.home(ended.id.variant()) {
                let (_, index) = &mut self.stores[home.store as usize];
                // One that came back by a return, and perhaps ended again, has another number.
                if index.ended_with(ended.id) == Some(ended.number) {
                    index.remove(ended.id, ended.lists);
                }
            }
        }
        true
    }
}
