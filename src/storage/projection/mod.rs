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
//! Beside the lists it knows, in the same way, the policies of the stores as they are durable, and which records hold the
//! lines of the stock ledger above the last checkpoint. Orders are listed from memory alone, see `orders`. A cart is no list.
//!
//! Deliberately absent: the reservations themselves. An id says which variant keeps it; [`Projection::ended`] and the
//! stored rows have the rest, and [`Projection::departed`] knows the variants that are no more.
pub(super) mod filling;
mod index;
mod list;
mod orders;
pub(super) mod selector;
mod statistics;

pub use list::{Filter, LOOKS_PER_PAGE, Page};
pub use orders::{OrderFilter, OrderPage};
pub use statistics::Statistics;

use super::{
    entity_rows::{RowError, load_departed},
    fate::{Fate, fate},
    record::{Fact, Turn, VariantFact},
    state::StateStore,
};
use crate::domain::{
    bulk::{self, LineOutcome},
    ids::{ReservationId, StoreId, VariantId, VariantOrdinal},
    order::Order,
    policy::Policy,
    variant::{Event, Hold},
};
use hashbrown::HashMap;
use index::{Lists, StoreIndex};
use orders::OrderIndex;
use parking_lot::{Mutex, RwLock};
use selector::Selector;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

/// Reservations that leave memory in one hold of the lock after a checkpoint.
const FORGET_AT_ONCE: usize = 256;

/// What lists and statistics are served from. Shared by the journal's writer, the checkpoint thread and readers.
pub struct Projection {
    state: Arc<StateStore>,
    memory: Mutex<Memory>,
    /// Of stores that have set one; apart from the rest, because every hold reads its store's.
    policies: RwLock<HashMap<StoreId, Policy>>,
}

/// Figures over all stores, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Live holds.
    pub live_holds: u64,
    /// Units in live and tentative holds.
    pub held_units: u64,
    /// Orders that were placed, all of which are in memory.
    pub orders: u64,
}

#[derive(Default)]
struct Memory {
    stores: Vec<(StoreId, StoreIndex)>,
    /// Of each store, in the same order.
    orders: Vec<OrderIndex>,
    numbers: HashMap<StoreId, u32>,
    /// Of each variant, by ordinal.
    homes: Vec<Option<VariantHome>>,
    /// Ends in log order, until a checkpoint has them.
    ended: VecDeque<EndedHere>,
    /// The records of ledger lines, by variant and line, until a checkpoint has them.
    ledger: BTreeMap<(VariantOrdinal, u64), u64>,
    /// The same in log order.
    ledger_order: VecDeque<(u64, VariantOrdinal, u64)>,
    /// Store and id of the variants deleted above the last checkpoint.
    departed: HashMap<VariantOrdinal, (StoreId, VariantId)>,
    /// The same in log order, with the record of each.
    departures: VecDeque<(u64, VariantOrdinal)>,
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
            policies: RwLock::default(),
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
                memory.depart(number, fact);
            }
            Fact::Bulk { event, .. } => {
                let mut memory = self.memory.lock();
                promised(event).for_each(|hold| memory.promise(hold));
            }
            Fact::Policy { store, changed } => {
                self.policies.write().insert(store.clone(), changed.policy);
            }
            Fact::Order(fact) => self.memory.lock().order(&fact.order),
            Fact::Gate(_) | Fact::Told(_) | Fact::Cart(_) => {}
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

    /// The durable policy of a store that has set one.
    pub fn policy(&self, store: &StoreId) -> Option<Policy> {
        self.policies.read().get(store).copied()
    }

    /// Lines of a variant's ledger above line `after` with the records they are in, at most `limit`, in order: those
    /// above the last checkpoint; older ones are in the stored rows.
    pub fn ledger(&self, ordinal: VariantOrdinal, after: u64, limit: usize) -> Vec<(u64, u64)> {
        let memory = self.memory.lock();
        let lines = memory
            .ledger
            .range((ordinal, after.saturating_add(1))..=(ordinal, u64::MAX));
        lines
            .take(limit)
            .map(|((_, line), number)| (*line, *number))
            .collect()
    }

    /// Store and id of a variant that was deleted; `None` when no such one was. Reads the disk.
    ///
    /// # Errors
    /// The stored rows could not be read.
    pub fn departed(&self, ordinal: VariantOrdinal) -> Result<Option<(StoreId, VariantId)>, RowError> {
        // Memory first: what leaves it meanwhile is in the rows by then.
        let recent = self.memory.lock().departed.get(&ordinal).cloned();
        recent.map_or_else(|| load_departed(&self.state, ordinal), |name| Ok(Some(name)))
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
        totals.orders = memory.orders.iter().map(|index| index.len() as u64).sum();
        totals
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
        self.orders.push(OrderIndex::default());
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

    fn settled(&self, ordinal: VariantOrdinal) -> VariantHome {
        self.home(ordinal)
            .expect("a variant's store is said with its creation, or when its rows are loaded")
    }

    /// A deleted variant's name, by which its ended reservations are shown.
    fn depart(&mut self, number: u64, fact: &VariantFact) {
        if let (Some(Event::Deleted), Some(view)) = (fact.events.last(), &fact.view) {
            let name = (view.head.store.clone(), view.head.id.clone());
            self.departed.insert(fact.ordinal, name);
            self.departures.push_back((number, fact.ordinal));
        }
    }

    /// What is not about one reservation: the figures, and where a line of the ledger is.
    fn count(&mut self, number: u64, ordinal: VariantOrdinal, event: &Event) {
        let home = self.settled(ordinal);
        self.stores[home.store as usize].1.statistics.count(event);
        if let Some(line) = event.ledger_entry() {
            self.ledger.insert((ordinal, line.seq), number);
            self.ledger_order.push_back((number, ordinal, line.seq));
        }
    }

    fn apply(&mut self, number: u64, ordinal: VariantOrdinal, event: &Event) {
        self.count(number, ordinal, event);
        let home = self.settled(ordinal);
        let (store, index) = &mut self.stores[home.store as usize];
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

    fn order(&mut self, order: &Order) {
        let number = self.number_of(&order.store);
        self.orders[number as usize].put(&order.store, order);
    }

    /// Forgets at most `count` ends, ledger lines and deleted variants each, up to record `upto`; whether there are more.
    fn forget(&mut self, upto: u64, count: usize) -> bool {
        let lines = self.forget_lines(upto, count);
        for _ in 0..count {
            let departure = self.departures.pop_front_if(|(number, _)| *number <= upto);
            let ended = self.ended.pop_front_if(|ended| ended.number <= upto);
            if let Some((_, ordinal)) = departure {
                self.departed.remove(&ordinal);
            }
            let Some(ended) = ended else {
                if departure.is_none() {
                    return lines;
                }
                continue;
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

    fn forget_lines(&mut self, upto: u64, count: usize) -> bool {
        for _ in 0..count {
            let Some((_, ordinal, line)) = self.ledger_order.pop_front_if(|(number, ..)| *number <= upto)
            else {
                return false;
            };
            self.ledger.remove(&(ordinal, line));
        }
        true
    }
}
