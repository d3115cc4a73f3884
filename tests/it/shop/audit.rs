//! What a shop left on the disk, judged from outside: rows and tail as recovery reads them, and the whole log again from
//! its first record, with the laws asked after every event.
use super::House;
use holdfast::{
    app::{Statistics, recover_options},
    domain::{
        bulk,
        cart::{self, Cart},
        ids::{BulkId, CartId, OrderId, ReservationId, VariantOrdinal},
        order::Order,
        variant::{EndReason, Event, Hold, HoldStatus, Variant},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{LogReader, PartitionId, RecordNumber},
        record::{Fact, Turn},
        recovery,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// The findings.
#[derive(Default)]
pub(crate) struct Audit {
    /// Every variant that was not deleted.
    pub(crate) variants: BTreeMap<VariantOrdinal, Variant>,
    /// Every cart that was not forgotten.
    pub(crate) carts: BTreeMap<CartId, Cart>,
    /// Every order.
    pub(crate) orders: BTreeMap<OrderId, Order>,
    /// Every turn, in log order.
    pub(crate) turns: Vec<Turn>,
    /// How reservations went, counted from the events alone.
    pub(crate) statistics: Statistics,
    /// Coordinators that have not finished.
    pub(crate) unfinished: BTreeSet<BulkId>,
    keys: BTreeMap<[u8; 16], u64>,
    ended: BTreeMap<ReservationId, EndReason>,
}

impl House {
    /// Audits a shop that is not open. Its log must not have been trimmed.
    pub(crate) fn audit(&self) -> Audit {
        let data_dir = DataDir::open(self.path()).unwrap();
        let options = recover_options(&self.config);
        let recovered = recovery::recover(&data_dir, &options, &options.journal(), &|_| {}).unwrap();
        let reader = recovered.journal.reader();
        let mut audit = Audit::default();
        audit.read(&*reader);
        // REPLAY_EQUAL: rows and tail are what the whole log makes.
        let replayed: Vec<_> = audit.variants.values().map(dto::encode_variant).collect();
        let stored: Vec<_> = recovered
            .variants
            .iter()
            .map(|variant| variant.encoded.clone())
            .collect();
        assert_eq!(stored, replayed, "REPLAY_EQUAL");
        let states = |agents: &[recovery::RecoveredAgent]| -> Vec<Vec<u8>> {
            agents.iter().map(|agent| agent.encoded.clone()).collect()
        };
        let replayed: Vec<_> = audit.carts.values().map(dto::encode_cart).collect();
        assert_eq!(states(&recovered.carts), replayed, "REPLAY_EQUAL of carts");
        let replayed: Vec<_> = audit.orders.values().map(dto::encode_order).collect();
        assert_eq!(states(&recovered.orders), replayed, "REPLAY_EQUAL of orders");
        let unfinished: BTreeSet<BulkId> = recovered.bulks.iter().map(|bulk| bulk.id).collect();
        assert_eq!(unfinished, audit.unfinished, "coordinators");
        // METRICS_TRUE: what lists and statistics are served from equals a recount of the log.
        let told = recovered.projection.statistics(&super::store());
        assert_eq!(told, audit.statistics, "METRICS_TRUE");
        audit
    }

    /// The number of the oldest record in the log of a shop that is not open.
    pub(crate) fn first_record(&self) -> u64 {
        let data_dir = DataDir::open(self.path()).unwrap();
        let options = recover_options(&self.config);
        let recovered = recovery::recover(&data_dir, &options, &options.journal(), &|_| {}).unwrap();
        recovered.journal.reader().first().0
    }
}

impl Audit {
    fn read(&mut self, reader: &dyn LogReader) {
        assert_eq!(reader.first(), RecordNumber(1), "the log was trimmed");
        let mut next = RecordNumber(1);
        while next <= reader.last() {
            for group in reader.read(PartitionId(0), next, 1 << 20).unwrap() {
                for record in group.records_from(next) {
                    assert_eq!(record.number, next, "LOG_CLOSED");
                    self.turn(record.number.0, dto::decode_turn(&record.payload).unwrap());
                    next = next.next();
                }
            }
        }
        self.statistics.active = self.holds(|hold| hold.status == HoldStatus::Active).count() as u64;
    }

    fn turn(&mut self, number: u64, turn: Turn) {
        if let Some(key) = turn.key {
            let earlier = self.keys.insert(key.hash, number);
            assert_eq!(earlier, None, "ONCE_PER_KEY: record {number}");
        }
        match &turn.fact {
            Fact::Variant(fact) => {
                if let Some((store, id)) = &fact.named {
                    let unborn = Variant::unborn(store.clone(), id.clone(), fact.ordinal);
                    self.variants.insert(fact.ordinal, unborn);
                }
                for event in &fact.events {
                    self.end(event);
                    let variant = self.variants.get_mut(&fact.ordinal).expect("it was created");
                    expect_in_time(variant, event, &turn);
                    variant.apply(event, turn.at);
                    variant
                        .check()
                        .unwrap_or_else(|broken| panic!("{broken} in record {number}"));
                }
                let variant = &self.variants[&fact.ordinal];
                variant
                    .recount()
                    .unwrap_or_else(|broken| panic!("{broken} in record {number}"));
                assert_eq!(variant.head().revision, fact.revision, "record {number}");
                if variant.head().deleted {
                    self.variants.remove(&fact.ordinal);
                }
            }
            Fact::Bulk { id, event } => {
                match event {
                    bulk::Event::Intended(_) => self.unfinished.insert(*id),
                    bulk::Event::Decided { .. } => self.unfinished.contains(id),
                    bulk::Event::Finished => self.unfinished.remove(id),
                };
            }
            Fact::Cart(fact) => {
                let before = self.carts.insert(fact.cart.id.clone(), fact.cart.clone());
                let revision = before.map_or(0, |before| before.revision);
                assert_eq!(fact.cart.revision, revision + 1, "record {number}");
                if fact.happened.contains(&cart::Happened::Forgotten) {
                    self.carts.remove(&fact.cart.id);
                }
            }
            Fact::Order(fact) => {
                let before = self.orders.insert(fact.order.id.clone(), fact.order.clone());
                let revision = before.map_or(0, |before| before.revision);
                assert_eq!(fact.order.revision, revision + 1, "record {number}");
            }
            Fact::Policy { .. } | Fact::Gate(_) | Fact::Told(_) => {}
        }
        self.turns.push(turn);
    }

    /// ONE_TERMINAL, and the statistics.
    fn end(&mut self, event: &Event) {
        let (Event::Confirmed { hold, .. } | Event::Released(hold) | Event::Expired(hold)) = event else {
            return;
        };
        let end = hold.ended.expect("an end");
        let earlier = self.ended.insert(hold.id, end.reason);
        assert_eq!(earlier, None, "ONE_TERMINAL: {event:?}");
        match end.reason {
            EndReason::Confirmed => self.statistics.confirmed += 1,
            EndReason::Released => self.statistics.released += 1,
            EndReason::Expired => self.statistics.expired += 1,
        }
        self.statistics.hold_ms += end.at.since(hold.id.created_at()).unsigned_abs();
    }

    /// The reservations that variants keep.
    pub(crate) fn holds(&self, which: impl Fn(&Hold) -> bool) -> impl Iterator<Item = &Hold> {
        self.variants
            .values()
            .flat_map(Variant::holds)
            .filter(move |hold| which(hold))
    }

    /// The events about reservations, in log order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.turns.iter().flat_map(|turn| match &turn.fact {
            Fact::Variant(fact) => fact.events.as_slice(),
            Fact::Policy { .. }
            | Fact::Bulk { .. }
            | Fact::Gate(_)
            | Fact::Told(_)
            | Fact::Cart(_)
            | Fact::Order(_) => &[],
        })
    }
}

/// EXPIRY_WINDOW: never before its deadline, never confirmed after it.
fn expect_in_time(variant: &Variant, event: &Event, turn: &Turn) {
    let Some(before) = event.hold().and_then(|hold| variant.hold(hold.id)) else {
        return;
    };
    match event {
        Event::Expired(_) => assert!(before.expires_at <= turn.at, "EXPIRY_WINDOW: early {event:?}"),
        Event::Confirmed { .. } if before.pin.is_none() => {
            assert!(turn.at < before.expires_at, "EXPIRY_WINDOW: late {event:?}");
        }
        _ => {}
    }
}
