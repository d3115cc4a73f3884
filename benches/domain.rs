//! What one turn of a variant costs without a log: judge and apply. Expected, on one core: a reserve below 2 µs whatever
//! the number of live holds, a sold-out refusal below 0.3 µs, an expiry turn of 256 below 400 µs.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use holdfast::domain::{
    ids::{ReservationId, StoreId, VariantId, VariantOrdinal},
    policy::{HoldLengths, Terms},
    time::Timestamp,
    variant::{Command, Decision, EXPIRIES_PER_TURN, Event, Hold, Reserve, Settings, Shopper, Variant},
};
use std::hint::black_box;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: 900_000,
        extension_ms: 900_000,
        max_extensions: 3,
    },
    payment_ttl_ms: 2_100_000,
    max_ttl_ms: 3_600_000,
    units_per_customer: None,
    window_days: None,
};

/// A variant and its latest reservation.
struct Bench {
    variant: Variant,
    next: u32,
    last: ReservationId,
}

impl Bench {
    /// A variant with `holds` live holds of one unit, and `free` units more.
    fn new(holds: u32, free: u64) -> Self {
        let store = StoreId::parse("default").unwrap();
        let id = VariantId::parse("bench").unwrap();
        let mut bench = Self {
            variant: Variant::unborn(store, id, VariantOrdinal(1)),
            next: 0,
            last: ReservationId::FIRST,
        };
        let create = Command::Create {
            settings: Box::new(Settings::default()),
            on_hand: u64::from(holds) + free,
            by: "bench".to_owned(),
        };
        bench.turn(&create, START);
        for _ in 0..holds {
            bench.reserve();
        }
        bench
    }

    fn ask(&mut self) -> Command {
        self.next += 1;
        let head = self.variant.head();
        // A thousand reservations a millisecond.
        let at = START.saturating_add(i64::from(self.next / 1024));
        self.last = ReservationId::new(at, head.slot(), head.ordinal, self.next);
        Command::Reserve(Reserve {
            id: self.last,
            quantity: 1,
            shopper: Shopper::default(),
            ttl_ms: None,
            allow_partial: false,
            for_order: None,
            terms: TERMS,
        })
    }

    fn reserve(&mut self) -> bool {
        let command = self.ask();
        self.turn(&command, START)
    }

    /// Judges and applies; whether it was granted.
    fn turn(&mut self, command: &Command, now: Timestamp) -> bool {
        let Ok(Decision::Granted(events)) = self.variant.decide(command, now) else {
            return false;
        };
        for event in &events {
            self.variant.apply(event, now);
        }
        true
    }
}

fn reserve(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reserve");
    for holds in [0, 1_000, 1_000_000] {
        // Each granted hold is released again, so that the number of live holds stays what the name says.
        let mut bench = Bench::new(holds, 1);
        group.bench_function(BenchmarkId::new("and_release", holds), |bencher| {
            bencher.iter(|| {
                assert!(bench.reserve());
                let id = bench.last;
                assert!(bench.turn(&Command::Release { id }, START));
            });
        });
    }
    group.finish();
}

fn sold_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sold_out");
    for holds in [1_000, 1_000_000] {
        let mut bench = Bench::new(holds, 0);
        group.bench_function(BenchmarkId::new("refusal", holds), |bencher| {
            bencher.iter(|| assert!(!black_box(bench.reserve())));
        });
    }
    group.finish();
}

fn expiry(criterion: &mut Criterion) {
    let full = Bench::new(1_000_000, 0);
    let due = START.saturating_add(TERMS.lengths.ttl_ms);
    let mut variant = full.variant;
    let first: Vec<Hold> = variant.holds().take(EXPIRIES_PER_TURN).cloned().collect();
    criterion.bench_function("expiry/256_of_1000000_and_back", |bencher| {
        bencher.iter(|| {
            let events = variant.expire_due(due, EXPIRIES_PER_TURN);
            assert_eq!(events.len(), EXPIRIES_PER_TURN);
            events.iter().for_each(|event| variant.apply(event, due));
            // The same holds come back, so that every turn finds a million.
            first
                .iter()
                .for_each(|hold| variant.apply(&Event::Held(hold.clone()), START));
        });
    });
}

criterion_group!(domain, reserve, sold_out, expiry);
criterion_main!(domain);
