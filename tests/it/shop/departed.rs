//! A deleted variant's reservations are remembered as long as any (decisions 3): read, listed, validated, counted, and
//! answered for under their keys.
use super::{
    House, MINUTE, TTL, checkpoint, ctx, customer, every_hold, get, hold, keyed, on_both_logs, refusal,
    stock, until_expired, variant, wish,
};
use holdfast::{
    app::{AppError, BulkAsk, BulkWhat, Context, HoldFilter, ReserveAsk, Shop},
    config::JournalBackend,
    domain::{
        bulk::{LineOutcome, Mode},
        ids::{CustomerId, ReservationId, StoreId},
        variant::{Hold, HoldStatus, Refusal},
    },
};

on_both_logs! {
    what_a_deleted_variant_leaves_is_answered_for,
    a_variant_made_and_deleted_between_two_checkpoints_is_remembered_too,
}

/// Reservations of "a", each ended in another way, and the answers that their commands got under keys.
struct Left {
    released: ReservationId,
    expired: ReservationId,
    sold: ReservationId,
    answers: Vec<String>,
}

async fn keyed_commands(shop: &Shop, released: ReservationId, sold: ReservationId) -> Vec<String> {
    let key = |name: &str| keyed(name, name);
    let confirm_all = BulkAsk {
        mode: Mode::AllOrNothing,
        what: BulkWhat::Confirm(vec![sold]),
    };
    let mut answers = Vec::new();
    macro_rules! ask {
        ($done:expr) => {{
            let done = $done.await.unwrap();
            answers.push(format!("{:?} {:?}", done.at, done.body));
        }};
    }
    ask!(shop.extend(&key("extend"), released, Some(MINUTE), None));
    ask!(shop.resize(&key("resize"), released, 2));
    ask!(shop.release(&key("release"), released));
    ask!(shop.confirm(&key("confirm"), sold, None, None));
    ask!(shop.confirm(&key("confirm again"), sold, None, None));
    ask!(shop.bulk(&key("bulk"), confirm_all));
    ask!(shop.fulfil(&key("fulfil"), sold, None));
    ask!(shop.confirm(&key("confirm once more"), sold, None, None));
    answers
}

/// Lives of a variant from its creation to its deletion.
async fn live_and_die(house: &House, shop: &Shop) -> Left {
    stock(shop, "a", 10).await;
    let ask = ReserveAsk {
        shopper: customer("ada"),
        ..wish("a", 1)
    };
    let held = async || shop.reserve(&ctx(), ask.clone()).await.unwrap().body.hold.id;
    let (released, expired, sold) = (held().await, held().await, held().await);
    let answers = keyed_commands(shop, released, sold).await;
    house.clock.advance(TTL);
    until_expired(shop, 1).await;
    shop.delete_variant(&ctx(), &variant("a"), None).await.unwrap();
    Left {
        released,
        expired,
        sold,
        answers,
    }
}

/// Nobody sits in the variant's place any more.
async fn until_gone(house: &House, shop: &Shop) {
    house.clock.advance(MINUTE);
    super::until(|| shop.running_variants() == 0).await;
}

async fn expect_answered_for(shop: &Shop, left: &Left, when: &str) {
    let ids = [left.released, left.expired, left.sold];
    let ends = [HoldStatus::Released, HoldStatus::Expired, HoldStatus::Confirmed];
    let again = keyed_commands(shop, left.released, left.sold).await;
    assert_eq!(again, left.answers, "{when}");

    for (id, status) in ids.iter().zip(ends) {
        let read = shop.get_reservation(&ctx(), *id).await.unwrap().body;
        assert_eq!((read.hold.status, read.variant), (status, variant("a")), "{when}");
    }
    let judged = shop
        .validate(&ctx(), ids.iter().map(ToString::to_string).collect())
        .await;
    for (validity, status) in judged.unwrap().body.iter().zip(ends) {
        let known = validity.reservation.as_ref().expect(when);
        assert_eq!(known.hold.status, status, "{when}");
    }
    let of_ada = HoldFilter {
        customer: Some(CustomerId::parse("ada").unwrap()),
        ..HoldFilter::default()
    };
    let listed: Vec<ReservationId> = every_hold(shop, &of_ada, 2)
        .await
        .iter()
        .map(|hold: &Hold| hold.id)
        .collect();
    assert_eq!(listed, ids, "{when}");
    let statistics = shop.statistics(&ctx()).body;
    assert_eq!(
        (
            statistics.active,
            statistics.confirmed,
            statistics.released,
            statistics.expired
        ),
        (0, 1, 1, 1),
        "{when}"
    );
    expect_judged(shop, left, when).await;

    let stranger = Context {
        store: StoreId::parse("elsewhere").unwrap(),
        ..ctx()
    };
    for id in ids {
        let read = shop.get_reservation(&stranger, id).await;
        assert_eq!(refusal(read), Refusal::ReservationNotFound, "{when}");
    }
}

/// New commands are judged by what is remembered.
async fn expect_judged(shop: &Shop, left: &Left, when: &str) {
    shop.release(&ctx(), left.released).await.unwrap();
    shop.confirm(&ctx(), left.sold, None, None).await.unwrap();
    assert!(matches!(
        refusal(shop.extend(&ctx(), left.expired, None, None).await),
        Refusal::ReservationExpired { .. }
    ));
    assert!(matches!(
        refusal(shop.release(&ctx(), left.sold).await),
        Refusal::ReservationConfirmed { .. }
    ));
    let back = shop.take_back(&ctx(), left.sold, None, true).await;
    assert_eq!(refusal(back), Refusal::VariantNotFound, "{when}");
    let bulk = BulkAsk {
        mode: Mode::BestEffort,
        what: BulkWhat::Release(vec![left.sold]),
    };
    let (line, outcome) = shop.bulk(&ctx(), bulk).await.unwrap().body.lines.remove(0);
    assert_eq!(line.variant, Some(variant("a")), "{when}");
    assert!(matches!(
        outcome,
        LineOutcome::Refused(Refusal::ReservationConfirmed { .. })
    ));
}

fn what_a_deleted_variant_leaves_is_answered_for(backend: JournalBackend) {
    let mut house = House::new(backend);
    let left = house.run(async |shop| {
        stock(&shop, "b", 5).await;
        let left = live_and_die(&house, &shop).await;
        expect_answered_for(&shop, &left, "while its actor is there").await;
        until_gone(&house, &shop).await;
        expect_answered_for(&shop, &left, "when its actor has gone").await;
        // Another variant of the same name is another variant.
        stock(&shop, "a", 1).await;
        expect_answered_for(&shop, &left, "beside another one of its name").await;
        left
    });
    house.crash_and_open();
    house.run(async |shop| expect_answered_for(&shop, &left, "after a crash").await);
    house.run(async |shop| {
        checkpoint(&shop).await;
        expect_answered_for(&shop, &left, "from rows").await;
    });
    house.restart();
    house.run(async |shop| expect_answered_for(&shop, &left, "after a restart").await);

    house.run(async |shop| {
        house
            .clock
            .advance(house.config.retention.ended.as_millis() + MINUTE);
        // Something new, so that there is a checkpoint that sweeps.
        hold(&shop, "b", 1).await;
        checkpoint(&shop).await;
        let read = shop.get_reservation(&ctx(), left.released).await;
        assert_eq!(refusal(read), Refusal::ReservationNotFound, "past its retention");
        assert_eq!(
            refusal(shop.extend(&ctx(), left.expired, None, None).await),
            Refusal::ReservationNotFound
        );
        assert_eq!(
            shop.statistics(&ctx()).body.released,
            1,
            "figures have no retention"
        );
    });
    house.close();
    house.audit();
}

fn a_variant_made_and_deleted_between_two_checkpoints_is_remembered_too(backend: JournalBackend) {
    let mut house = House::new(backend);
    let id = house.run(async |shop| {
        stock(&shop, "b", 5).await;
        checkpoint(&shop).await;
        stock(&shop, "a", 5).await;
        let id = hold(&shop, "a", 1).await.id;
        shop.release(&ctx(), id).await.unwrap();
        shop.delete_variant(&ctx(), &variant("a"), None).await.unwrap();
        until_gone(&house, &shop).await;
        checkpoint(&shop).await;
        assert_eq!(get(&shop, id).await.status, HoldStatus::Released);
        let unknown = shop
            .release(
                &keyed("k", "k"),
                ReservationId::from_u128(id.as_u128() ^ 1).unwrap(),
            )
            .await;
        assert!(
            matches!(
                unknown,
                Err(AppError::Refused {
                    refusal: Refusal::ReservationNotFound,
                    ..
                })
            ),
            "{unknown:?}"
        );
        id
    });
    house.restart();
    house.run(async |shop| {
        assert_eq!(get(&shop, id).await.status, HoldStatus::Released);
        assert_eq!(shop.statistics(&ctx()).body.released, 1);
    });
}
