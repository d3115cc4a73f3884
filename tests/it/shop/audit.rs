//! What a shop left on the disk, judged from outside: the whole log from its first record by the checker of the laws, and rows
//! and tail as recovery reads them held against it.
use super::House;
use holdfast::{
    app::{Statistics, recover_options},
    domain::{
        cart, order,
        variant::{EndReason, Event, Hold, HoldStatus, Variant},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{LogReader, PartitionId, RecordNumber},
        laws::Checker,
        record::{Fact, Turn},
        recovery,
    },
};

/// The findings.
#[derive(Default)]
pub(crate) struct Audit {
    /// Has judged the whole log.
    pub(crate) checker: Checker,
    /// Every turn, in log order.
    pub(crate) turns: Vec<Turn>,
    /// How reservations went, counted from the events alone.
    pub(crate) statistics: Statistics,
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
        let compared = audit.checker.compare(&recovered);
        compared.unwrap_or_else(|violation| panic!("{violation}"));
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
                let judged = self.checker.group(&group);
                judged.unwrap_or_else(|broken| panic!("{broken}"));
                next = group.last().next();
                for record in group.records() {
                    self.turn(dto::decode_turn(&record.payload).unwrap());
                }
            }
        }
        self.statistics.active = self.holds(|hold| hold.status == HoldStatus::Active).count() as u64;
    }

    fn turn(&mut self, turn: Turn) {
        if let Fact::Variant(fact) = &turn.fact {
            fact.events.iter().for_each(|event| self.count(event));
        }
        self.turns.push(turn);
    }

    fn count(&mut self, event: &Event) {
        let (Event::Confirmed { hold, .. } | Event::Released(hold) | Event::Expired(hold)) = event else {
            return;
        };
        let end = hold.ended.expect("an end");
        match end.reason {
            EndReason::Confirmed => self.statistics.confirmed += 1,
            EndReason::Released => self.statistics.released += 1,
            EndReason::Expired => self.statistics.expired += 1,
        }
        self.statistics.hold_ms += end.at.since(hold.id.created_at()).unsigned_abs();
    }

    /// The reservations that variants keep.
    pub(crate) fn holds(&self, which: impl Fn(&Hold) -> bool) -> impl Iterator<Item = &Hold> {
        self.checker
            .variants()
            .flat_map(Variant::holds)
            .filter(move |hold| which(hold))
    }

    /// What happened to carts, in log order.
    pub(crate) fn cart_happenings(&self) -> impl Iterator<Item = &cart::Happened> {
        let carts = self.turns.iter().filter_map(|turn| match &turn.fact {
            Fact::Cart(fact) => Some(&fact.happened),
            _ => None,
        });
        carts.flatten()
    }

    /// What happened to orders, in log order.
    pub(crate) fn order_happenings(&self) -> impl Iterator<Item = &order::Happened> {
        let orders = self.turns.iter().filter_map(|turn| match &turn.fact {
            Fact::Order(fact) => Some(&fact.happened),
            _ => None,
        });
        orders.flatten()
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
