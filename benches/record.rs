//! Bytes of the hot path's record: one hold with a customer, under a key. Expected before the first run: encode below
//! 500 ns, decode below 1 us, about 100 bytes.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use holdfast::domain::{
    ids::{CustomerId, ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
    time::Timestamp,
    variant::{Event, Fulfilment, Hold, HoldStatus, Phase, Shopper},
};
use holdfast::storage::{
    dto,
    record::{Fact, KeyMark, Turn, VariantFact},
};
use std::hint::black_box;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn held() -> Turn {
    let at = Timestamp::from_millis(1_800_000_000_000);
    let store = StoreId::parse("default").expect("a plain text");
    let variant = VariantId::parse("123").expect("a plain text");
    let ordinal = VariantOrdinal(7);
    let hold = Hold {
        id: ReservationId::new(at, Slot::of_variant(&store, &variant), ordinal, 12_345_678),
        quantity: 2,
        status: HoldStatus::Active,
        phase: Phase::Cart,
        shopper: Shopper {
            customer: Some(CustomerId::parse("c42").expect("a plain text")),
            session: None,
            cart: None,
        },
        order: None,
        expires_at: at.saturating_add(900_000),
        max_expires_at: at.saturating_add(1_800_000),
        extensions_left: 3,
        version: 1,
        ended: None,
        fulfilment: Fulfilment::default(),
        pin: None,
    };
    Turn {
        at,
        fact: Fact::Variant(VariantFact {
            ordinal,
            revision: 100_000,
            named: None,
            events: vec![Event::Held(hold)],
            view: None,
        }),
        key: Some(KeyMark {
            hash: [0xab; 16],
            fingerprint: [0xcd; 8],
        }),
    }
}

fn record(criterion: &mut Criterion) {
    let turn = held();
    let bytes = dto::encode_turn(&turn);
    let mut group = criterion.benchmark_group(format!("record/held_{}_bytes", bytes.len()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| dto::encode_turn(black_box(&turn)))
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| dto::decode_turn(black_box(&bytes)))
    });
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
