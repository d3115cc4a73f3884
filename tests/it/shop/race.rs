//! The rush: 3,000 buyers at once for 500 units.
use super::{House, ctx, expect_lawful, keyed, on_both_logs, picture, refusal, stock, view, wish};
use holdfast::{
    app::{AppError, Shop},
    config::JournalBackend,
    domain::{ids::ReservationId, variant::Refusal},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{sync::Barrier, task::JoinSet};

const BUYERS: usize = 3_000;
const UNITS: usize = 500;

on_both_logs! {
    three_thousand_buyers_get_exactly_five_hundred_units,
    buyers_who_send_everything_twice_get_exactly_five_hundred_units,
}

fn three_thousand_buyers_get_exactly_five_hundred_units(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "123", UNITS as u64).await;
        let (mut granted, mut refused) = (BTreeSet::new(), 0);
        let start = Arc::new(Barrier::new(BUYERS));
        let mut buyers = JoinSet::new();
        for _ in 0..BUYERS {
            let (shop, start) = (Arc::clone(&shop), Arc::clone(&start));
            buyers.spawn(async move {
                start.wait().await;
                shop.reserve(&ctx(), wish("123", 1)).await
            });
        }
        while let Some(done) = buyers.join_next().await {
            match done.unwrap() {
                Ok(answered) => assert!(granted.insert(answered.body.hold.id), "an id was given out twice"),
                refused_one => {
                    expect_sold_out(&refusal(refused_one));
                    refused += 1;
                }
            }
        }
        assert_eq!((granted.len(), refused), (UNITS, BUYERS - UNITS));
        expect_all_held(&shop).await;
    });
    expect_lawful_afterwards(&mut house);
}

fn buyers_who_send_everything_twice_get_exactly_five_hundred_units(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "123", UNITS as u64).await;
        let start = Arc::new(Barrier::new(BUYERS));
        let mut buyers = JoinSet::new();
        for buyer in 0..BUYERS {
            let (shop, start) = (Arc::clone(&shop), Arc::clone(&start));
            buyers.spawn(async move {
                start.wait().await;
                let ctx = keyed(&format!("buyer-{buyer}"), "1 of 123");
                let (first, second) = tokio::join!(
                    shop.reserve(&ctx, wish("123", 1)),
                    shop.reserve(&ctx, wish("123", 1))
                );
                same_answer(first.map(|a| a.body.hold.id), second.map(|a| a.body.hold.id))
            });
        }
        let mut granted = BTreeSet::new();
        let mut lucky = 0;
        while let Some(done) = buyers.join_next().await {
            if let Some(id) = done.unwrap() {
                lucky += 1;
                granted.insert(id);
            }
        }
        assert_eq!((granted.len(), lucky), (UNITS, UNITS));
        expect_all_held(&shop).await;
    });
    expect_lawful_afterwards(&mut house);
}

/// Both got the same reservation, or both were refused.
fn same_answer(
    first: Result<ReservationId, AppError>,
    second: Result<ReservationId, AppError>,
) -> Option<ReservationId> {
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second, "ONCE_PER_KEY");
            Some(first)
        }
        (Err(AppError::Refused { refusal: first, .. }), Err(AppError::Refused { refusal: second, .. })) => {
            expect_sold_out(&first);
            expect_sold_out(&second);
            None
        }
        other => panic!("ONCE_PER_KEY: {other:?}"),
    }
}

fn expect_sold_out(refusal: &Refusal) {
    assert!(
        matches!(
            refusal,
            Refusal::InsufficientStock {
                requested: 1,
                available: 0,
                ..
            }
        ),
        "{refusal:?}"
    );
}

async fn expect_all_held(shop: &Shop) {
    let view = view(shop, "123").await;
    assert_eq!((view.held, view.available), (UNITS as u64, Some(0)));
    expect_lawful(&view);
}

fn expect_lawful_afterwards(house: &mut House) {
    let before = house.run(async |shop| picture(&shop).await);
    house.crash();
    let audit = house.audit();
    assert_eq!(audit.holds(|_| true).count(), UNITS);
    assert_eq!(audit.statistics.active, UNITS as u64);
    house.open();
    assert_eq!(
        house.run(async |shop| picture(&shop).await),
        before,
        "REPLAY_EQUAL"
    );
}
