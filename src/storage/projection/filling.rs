//! A projection while a recovery fills it. Nobody reads it yet, so entries are only gathered as the log is read, and put in
//! order once, at the end: one place in a tree after the other took a quarter of a replay.
use super::{
    EndedHere, Memory, Projection, Statistics,
    index::{Kept, Lists, Place},
};
use crate::{
    domain::{
        ids::{ReservationId, StoreId, VariantOrdinal},
        order::Order,
        policy::Policy,
        variant::{Event, Hold, Variant},
    },
    storage::{
        fate::{Fate, fate},
        record::{Fact, Turn},
    },
};

/// What is known so far.
pub(in crate::storage) struct Filling<'a> {
    projection: &'a Projection,
    memory: Memory,
    /// Of each store in `memory`, by place.
    entries: Vec<Entries>,
}

/// What the index of a store is made of.
#[derive(Default)]
struct Entries {
    /// Of several of one reservation the last counts.
    kept: Vec<(ReservationId, Kept)>,
    places: Vec<Place>,
}

impl<'a> Filling<'a> {
    /// Fills `projection`, which is empty.
    pub(in crate::storage) fn new(projection: &'a Projection) -> Self {
        Self {
            projection,
            memory: Memory::default(),
            entries: Vec::new(),
        }
    }

    /// The stored figures of a store, before any record.
    pub(in crate::storage) fn statistics(&mut self, store: &StoreId, statistics: Statistics) {
        let number = self.memory.number_of(store);
        self.memory.stores[number as usize].1.statistics = statistics;
    }

    /// The stored policy of a store, before any record.
    pub(in crate::storage) fn policy(&mut self, store: StoreId, policy: Policy) {
        self.projection.policies.write().insert(store, policy);
    }

    /// Whether it is known whose a variant is.
    pub(in crate::storage) fn knows(&self, ordinal: VariantOrdinal) -> bool {
        self.memory.home(ordinal).is_some()
    }

    /// Says whose a variant is, before its records come.
    pub(in crate::storage) fn settle(&mut self, ordinal: VariantOrdinal, store: &StoreId) {
        self.memory.settle(ordinal, store);
    }

    /// Takes in a record of the tail. A coordinator's promises are kept by the variants' own records, which are in the tail
    /// too.
    pub(in crate::storage) fn record(&mut self, number: u64, turn: &Turn) {
        match &turn.fact {
            Fact::Variant(fact) => {
                if let Some((store, _)) = &fact.named {
                    self.settle(fact.ordinal, store);
                }
                for event in &fact.events {
                    self.event(number, fact.ordinal, event);
                }
                self.memory.depart(number, fact);
            }
            Fact::Policy { store, changed } => self.policy(store.clone(), changed.policy),
            // Carts are no list, and orders come as they stand after the last record.
            Fact::Bulk { .. } | Fact::Gate(_) | Fact::Told(_) | Fact::Cart(_) | Fact::Order(_) => {}
        }
    }

    fn event(&mut self, number: u64, ordinal: VariantOrdinal, event: &Event) {
        self.memory.count(number, ordinal, event);
        if let Some(Fate::Ended(hold)) = fate(event) {
            let lists = self.put(ordinal, hold, number);
            self.memory.ended.push_back(EndedHere {
                number,
                id: hold.id,
                lists,
            });
        }
    }

    /// What a variant keeps after the last record; each variant once, and after all records.
    pub(in crate::storage) fn variant(&mut self, variant: &Variant) {
        let head = variant.head();
        self.settle(head.ordinal, &head.store);
        for hold in variant.holds() {
            self.put(head.ordinal, hold, 0);
        }
    }

    /// An order as it stands after the last record.
    pub(in crate::storage) fn order(&mut self, order: &Order) {
        self.memory.order(order);
    }

    fn put(&mut self, ordinal: VariantOrdinal, hold: &Hold, ended_with: u64) -> Lists {
        let home = self.memory.settled(ordinal);
        let (store, _) = &self.memory.stores[home.store as usize];
        let lists = Lists::of(store, home.list, &hold.shopper);
        if self.entries.len() <= home.store as usize {
            self.entries
                .resize_with(home.store as usize + 1, Entries::default);
        }
        let entries = &mut self.entries[home.store as usize];
        let kept = Kept::new(hold.status, hold.quantity, ended_with);
        entries.kept.push((hold.id, kept));
        entries.places.extend(lists.places(hold.id));
        lists
    }

    /// Puts everything in order; from here on the projection is read and written as ever.
    pub(in crate::storage) fn finish(mut self) {
        for ((_, index), entries) in self.memory.stores.iter_mut().zip(self.entries) {
            index.fill(entries.kept, entries.places);
        }
        *self.projection.memory.lock() = self.memory;
    }
}
