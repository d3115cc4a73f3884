//! Decisions 1 to 3: one key, one effect, one answer.
use super::{
    House, MINUTE, TTL, all_or_nothing, ctx, customer, every_hold, gate::send_and_hang_up, hold, in_cart,
    keyed, on_both_logs, refusal, stock, told, until_expired, variant, view, wish,
};
use holdfast::{
    app::{AdjustAsk, AppError, HoldFilter, ReserveAsk, Shop, recover_options},
    config::{ByteSize, JournalBackend},
    domain::{
        ids::{CartId, ReservationId},
        variant::{Refusal, SaleState, Settings},
    },
    storage::{data_dir::DataDir, recovery::verify},
};
use std::fmt::Debug;

on_both_logs! {
    a_repeat_is_answered_the_same_through_restarts_checkpoints_trimming_and_eviction,
    another_request_under_a_key_is_refused_wherever_it_goes,
    a_refusal_is_not_remembered,
    duplicates_in_flight_wait_for_the_one_answer,
    a_key_is_filled_by_a_bulk_that_commits_and_not_by_one_that_aborts,
    a_full_window_of_keys_sheds_until_the_next_checkpoint,
    a_repeat_is_answered_when_its_variant_has_gone,
    a_success_that_changed_nothing_is_remembered,
    a_cart_given_back_is_remembered_even_when_it_was_empty,
    a_cart_of_many_reservations_is_given_back_whole,
    a_keyed_order_to_end_ends_one_life_only,
    a_rebuilt_variant_is_told_again,
    a_key_in_two_records_is_found_by_verify,
}

/// Every kind of keyed command once, each under a key of its own; what was answered, and whether it was a repeat.
async fn everything(shop: &Shop) -> Vec<(bool, String)> {
    let mut answers = Vec::new();
    macro_rules! ask {
        ($key:literal, |$ctx:ident| $asked:expr) => {{
            let $ctx = &keyed($key, $key);
            let answered = $asked.await.unwrap();
            answers.push((
                answered.replayed,
                format!("{:?} {:?}", answered.at, answered.body),
            ));
            answered.body
        }};
    }
    let book = variant("book");
    ask!("create", |ctx| shop.create_variant(
        ctx,
        &book,
        Settings::default(),
        50
    ));
    let sold = ask!("reserve", |ctx| shop.reserve(ctx, wish("book", 3))).hold.id;
    ask!("extend", |ctx| shop.extend(ctx, sold, Some(MINUTE), None));
    ask!("resize", |ctx| shop.resize(ctx, sold, 2));
    ask!("confirm", |ctx| shop.confirm(ctx, sold, None, None));
    ask!("fulfil", |ctx| shop.fulfil(ctx, sold, Some(1)));
    ask!("cancel", |ctx| shop.cancel(ctx, sold, None, true));
    ask!("return", |ctx| shop.take_back(ctx, sold, None, true));
    let back = ask!("reserve again", |ctx| shop.reserve(ctx, wish("book", 1)))
        .hold
        .id;
    ask!("release", |ctx| shop.release(ctx, back));
    let delivery = AdjustAsk {
        delta: 5,
        reason: "delivery".into(),
        reference: None,
        expected_on_hand: None,
    };
    ask!("adjust", |ctx| shop.adjust_stock(ctx, &book, delivery, None));
    ask!("set stock", |ctx| shop.set_stock(ctx, &book, 40, None));
    ask!("change", |ctx| shop.change_variant(
        ctx,
        &book,
        None,
        |settings| {
            settings.name = Some("A book".into());
        }
    ));
    ask!("sale", |ctx| shop.set_sale(ctx, &book, SaleState::Open, None));
    ask!("bulk", |ctx| shop
        .bulk(ctx, all_or_nothing(&[("book", 2), ("book", 1)])));
    let policy = shop.policy(&ctx()).body;
    ask!("policy", |ctx| shop.set_policy(ctx, policy, 1));
    answers
}

fn a_repeat_is_answered_the_same_through_restarts_checkpoints_trimming_and_eviction(backend: JournalBackend) {
    let mut house = House::with(backend, |config| {
        config.keys.memory_max = 20;
        config.journal.segment_bytes = ByteSize::from_bytes(64 << 10);
        config.journal.group_bytes = ByteSize::from_bytes(32 << 10);
    });
    let first = house.run(async |shop| everything(&shop).await);
    assert!(first.iter().all(|(replayed, _)| !replayed), "{first:#?}");
    let expect_the_same = |house: &House, when: &str| {
        house.clock.advance(MINUTE);
        let again = house.run(async |shop| everything(&shop).await);
        for ((_, first), (replayed, again)) in first.iter().zip(&again) {
            assert_eq!((again, *replayed), (first, true), "{when}");
        }
    };
    expect_the_same(&house, "at once");
    house.crash_and_open();
    expect_the_same(&house, "after a crash");
    house.restart();
    expect_the_same(&house, "after a restart");

    house.run(async |shop| fill_the_log(&shop).await);
    expect_the_same(&house, "after the log was trimmed and the keys left memory");
    house.close();
    assert!(
        house.first_record() > 100,
        "trimmed up to {}",
        house.first_record()
    );
    house.open();
    expect_the_same(&house, "after a restart from rows alone");
}

/// Moves the log on until its beginning is trimmed, and the window of keys over its end.
async fn fill_the_log(shop: &Shop) {
    for round in 0..8 {
        for _ in 0..60 {
            let id = hold(shop, "book", 1).await.id;
            shop.release(&ctx(), id).await.unwrap();
        }
        for key in 0..3 {
            let key = format!("filler {round} {key}");
            shop.reserve(&keyed(&key, &key), wish("book", 1)).await.unwrap();
        }
        shop.checkpoint().await.unwrap();
    }
}

fn another_request_under_a_key_is_refused_wherever_it_goes(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 5).await;
        stock(&shop, "b", 5).await;
        shop.reserve(&keyed("k", "1 of a"), wish("a", 1)).await.unwrap();
    });
    for _ in 0..2 {
        house.run(async |shop| {
            let other = keyed("k", "something else");
            let held = hold(&shop, "b", 1).await.id;
            expect_reused(shop.reserve(&other, wish("a", 1)).await);
            expect_reused(shop.reserve(&other, wish("b", 2)).await);
            expect_reused(shop.reserve(&other, wish("nowhere", 2)).await);
            expect_reused(shop.release(&other, held).await);
            expect_reused(shop.fulfil(&other, held, None).await);
            expect_reused(shop.set_stock(&other, &variant("b"), 9, None).await);
            expect_reused(shop.bulk(&other, all_or_nothing(&[("b", 1)])).await);
            let policy = shop.policy(&ctx()).body;
            expect_reused(shop.set_policy(&other, policy, 1).await);
            assert_eq!(view(&shop, "b").await.head.on_hand, 5);
        });
        house.crash_and_open();
    }
}

fn expect_reused<T: Debug>(done: Result<T, AppError>) {
    assert!(matches!(done, Err(AppError::KeyReused)), "{done:?}");
}

fn a_refusal_is_not_remembered(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 0).await;
        let ctx = keyed("k", "1 of a");
        refusal(shop.reserve(&ctx, wish("a", 1)).await);
        refusal(shop.reserve(&keyed("k", "another request"), wish("a", 2)).await);
        shop.set_stock(&super::ctx(), &variant("a"), 1, None)
            .await
            .unwrap();
        let granted = shop.reserve(&ctx, wish("a", 1)).await.unwrap();
        let again = shop.reserve(&ctx, wish("a", 1)).await.unwrap();
        assert_eq!(told(&granted), told(&again));
        assert!(!granted.replayed && again.replayed);
    });
}

fn duplicates_in_flight_wait_for_the_one_answer(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 100).await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let shop = shop.clone();
            asking.spawn(async move { shop.reserve(&keyed("k", "1 of a"), wish("a", 1)).await.unwrap() });
        }
        let answers = asking.join_all().await;
        assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])));
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        assert_eq!(view(&shop, "a").await.held, 1);
    });
}

fn a_key_is_filled_by_a_bulk_that_commits_and_not_by_one_that_aborts(backend: JournalBackend) {
    let mut house = House::new(backend);
    let ctx = keyed("k", "one of each");
    let ask = || all_or_nothing(&[("a", 1), ("b", 1)]);
    house.run(async |shop| {
        stock(&shop, "a", 1).await;
        stock(&shop, "b", 0).await;
        let aborted = shop.bulk(&ctx, ask()).await;
        assert!(
            matches!(aborted, Err(AppError::BulkRefused { .. })),
            "{aborted:?}"
        );
        shop.set_stock(&super::ctx(), &variant("b"), 1, None)
            .await
            .unwrap();
    });
    // The answer leaves with the decision; its lines are settled right behind it, and until then the key is theirs.
    let first = house.run(async |shop| {
        loop {
            match shop.bulk(&ctx, ask()).await {
                Err(AppError::InFlight) => tokio::task::yield_now().await,
                done => return format!("{:?}", done.unwrap().body),
            }
        }
    });
    house.crash_and_open();
    house.run(async |shop| {
        let again = shop.bulk(&ctx, ask()).await.unwrap();
        assert_eq!((again.replayed, format!("{:?}", again.body)), (true, first));
        assert_eq!(every_hold(&shop, &HoldFilter::default(), 10).await.len(), 2);
    });
}

fn a_full_window_of_keys_sheds_until_the_next_checkpoint(backend: JournalBackend) {
    let house = House::with(backend, |config| config.keys.memory_max = 4);
    house.run(async |shop| {
        stock(&shop, "a", 100).await;
        let ask = async |number: u32| {
            let key = format!("key {number}");
            shop.reserve(&keyed(&key, &key), wish("a", 1)).await
        };
        for number in 0..4 {
            ask(number).await.unwrap();
        }
        let shed = ask(4).await;
        assert!(matches!(shed, Err(AppError::KeysFull)), "{shed:?}");
        assert!(ask(0).await.unwrap().replayed, "what is known is answered still");
        hold(&shop, "a", 1).await;
        shop.checkpoint().await.unwrap();
        assert!(!ask(4).await.unwrap().replayed);
        assert!(ask(0).await.unwrap().replayed);
    });
}

fn a_repeat_is_answered_when_its_variant_has_gone(backend: JournalBackend) {
    let mut house = House::new(backend);
    let reserve = keyed("reserve", "1 of a");
    let delete = keyed("delete", "a");
    let wish = || ReserveAsk {
        shopper: customer("ada"),
        ..wish("a", 1)
    };
    let (reserved, deleted) = house.run(async |shop| {
        stock(&shop, "a", 1).await;
        let reserved = shop.reserve(&reserve, wish()).await.unwrap();
        shop.release(&ctx(), reserved.body.hold.id).await.unwrap();
        let deleted = shop.delete_variant(&delete, &variant("a"), None).await.unwrap();
        (told(&reserved), deleted.body)
    });
    for _ in 0..2 {
        house.run(async |shop| {
            assert_eq!(told(&shop.reserve(&reserve, wish()).await.unwrap()), reserved);
            let again = shop.delete_variant(&delete, &variant("a"), None).await.unwrap();
            assert_eq!((again.replayed, &again.body), (true, &deleted));
            let fresh = shop.reserve(&keyed("fresh", "1 of a"), wish()).await;
            assert_eq!(refusal(fresh), Refusal::VariantNotFound);
        });
        house.crash_and_open();
    }
}

/// Reservations of "a" that have ended: sold, sold and shipped, given back, expired.
async fn four_ends(house: &House, shop: &Shop) -> [ReservationId; 4] {
    stock(shop, "a", 10).await;
    let mut ids = [ReservationId::FIRST; 4];
    for id in &mut ids {
        *id = hold(shop, "a", 1).await.id;
    }
    shop.confirm(&ctx(), ids[0], None, None).await.unwrap();
    shop.confirm(&ctx(), ids[1], None, None).await.unwrap();
    shop.fulfil(&ctx(), ids[1], None).await.unwrap();
    shop.release(&ctx(), ids[2]).await.unwrap();
    house.clock.advance(TTL);
    until_expired(shop, 1).await;
    ids
}

/// Every keyed command that succeeds without changing anything; what was answered, and whether it was a repeat.
async fn nothing_new(
    shop: &Shop,
    [sold, shipped, released, expired]: [ReservationId; 4],
) -> Vec<(bool, String)> {
    let mut answers = Vec::new();
    macro_rules! ask {
        ($key:literal, |$ctx:ident| $asked:expr) => {{
            let $ctx = &keyed($key, $key);
            let answered = $asked.await.unwrap();
            answers.push((
                answered.replayed,
                format!("{:?} {:?}", answered.at, answered.body),
            ));
        }};
    }
    ask!("confirm sold", |ctx| shop.confirm(ctx, sold, None, None));
    ask!("confirm shipped", |ctx| shop.confirm(ctx, shipped, None, None));
    ask!("release released", |ctx| shop.release(ctx, released));
    ask!("release expired", |ctx| shop.release(ctx, expired));
    ask!("clean up", |ctx| shop.clean_up(ctx, false));
    ask!("look what is due", |ctx| shop.clean_up(ctx, true));
    answers
}

fn a_success_that_changed_nothing_is_remembered(backend: JournalBackend) {
    let mut house = House::new(backend);
    let (ids, first) = house.run(async |shop| {
        let ids = four_ends(&house, &shop).await;
        (ids, nothing_new(&shop, ids).await)
    });
    assert!(first.iter().all(|(replayed, _)| !replayed), "{first:#?}");
    let expect_the_same = |house: &House, when: &str| {
        house.clock.advance(MINUTE);
        let again = house.run(async |shop| nothing_new(&shop, ids).await);
        for ((_, first), (replayed, again)) in first.iter().zip(&again) {
            assert_eq!((again, *replayed), (first, true), "{when}");
        }
    };
    expect_the_same(&house, "at once");
    house.run(async |shop| {
        // Under a remembered key nothing else is done.
        let other = keyed("confirm sold", "another request");
        expect_reused(shop.confirm(&other, ids[0], Some(1), None).await);
        // What stands now is not what the keys remember: all of it is shipped, and something is due.
        shop.fulfil(&ctx(), ids[0], None).await.unwrap();
        shop.take_back(&ctx(), ids[1], None, true).await.unwrap();
    });
    expect_the_same(&house, "when the reservations have moved on");
    house.crash_and_open();
    expect_the_same(&house, "after a crash");
    house.restart();
    expect_the_same(&house, "after a restart");
    house.close();
    house.audit();
}

fn a_cart_given_back_is_remembered_even_when_it_was_empty(backend: JournalBackend) {
    let mut house = House::new(backend);
    let cart = CartId::parse("cart-1").unwrap();
    let (full, empty) = (keyed("full", "cart-1"), keyed("empty", "cart-1"));
    let in_cart = || ReserveAsk {
        shopper: in_cart("ada", "cart-1"),
        ..wish("a", 1)
    };
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        let before = shop.release_cart(&empty, cart.clone()).await.unwrap();
        assert!(!before.replayed, "nothing to give back is fine");
        shop.reserve(&ctx(), in_cart()).await.unwrap();
        shop.reserve(&ctx(), in_cart()).await.unwrap();
        assert!(!shop.release_cart(&full, cart.clone()).await.unwrap().replayed);
        assert_eq!(view(&shop, "a").await.held, 0);
        shop.reserve(&ctx(), in_cart()).await.unwrap();
    });
    for _ in 0..3 {
        house.run(async |shop| {
            for key in [&full, &empty] {
                assert!(shop.release_cart(key, cart.clone()).await.unwrap().replayed);
                assert_eq!(view(&shop, "a").await.held, 1, "what was held since stays");
            }
            let other = keyed("full", "another cart");
            expect_reused(shop.release_cart(&other, CartId::parse("cart-2").unwrap()).await);
        });
        house.crash_and_open();
    }
    house.close();
    house.audit();
}

fn a_cart_of_many_reservations_is_given_back_whole(backend: JournalBackend) {
    let mut house = House::new(backend);
    let (key, cart) = (keyed("k", "cart-1"), CartId::parse("cart-1").unwrap());
    for many in [200, 201, 430] {
        let key = keyed(&many.to_string(), "cart-1");
        house.run(async |shop| {
            let id = format!("stock of {many}");
            stock(&shop, &id, 1_000).await;
            let mut asking = tokio::task::JoinSet::new();
            for _ in 0..many {
                let (shop, ask) = (
                    shop.clone(),
                    ReserveAsk {
                        shopper: in_cart("ada", "cart-1"),
                        ..wish(&id, 1)
                    },
                );
                asking.spawn(async move { shop.reserve(&ctx(), ask).await.unwrap() });
            }
            asking.join_all().await;
            assert!(!shop.release_cart(&key, cart.clone()).await.unwrap().replayed);
            assert_eq!(view(&shop, &id).await.held, 0);
            assert!(shop.release_cart(&key, cart.clone()).await.unwrap().replayed);
        });
    }
    house.run(async |shop| assert!(!shop.release_cart(&key, cart.clone()).await.unwrap().replayed));
    house.close();
    house.audit();
}

fn a_keyed_order_to_end_ends_one_life_only(backend: JournalBackend) {
    let mut house = House::new(backend);
    let ctx = keyed("k", "end");
    house.run(async |shop| {
        assert!(send_and_hang_up(shop.end_wanted()).await.is_none());
        assert!(!shop.end(&ctx).await.unwrap().replayed);
        assert!(send_and_hang_up(shop.end_wanted()).await.is_some());
        shop.drain();
        assert!(shop.end(&ctx).await.unwrap().replayed);
        let other = keyed("another", "end");
        assert!(
            !shop.end(&other).await.unwrap().replayed,
            "also while it is ending"
        );
    });
    house.restart();
    house.run(async |shop| {
        assert!(shop.end(&ctx).await.unwrap().replayed);
        assert!(
            send_and_hang_up(shop.end_wanted()).await.is_none(),
            "a repeat ends nobody"
        );
    });
}

fn a_rebuilt_variant_is_told_again(backend: JournalBackend) {
    let mut house = House::with(backend, |config| {
        config.journal.segment_bytes = ByteSize::from_bytes(64 << 10);
        config.journal.group_bytes = ByteSize::from_bytes(32 << 10);
    });
    let key = keyed("k", "rebuild a");
    let first = house.run(async |shop| {
        stock(&shop, "a", 5).await;
        // A record that no group takes: the state that ran ahead of the log is dropped.
        let huge = |settings: &mut Settings| settings.name = Some("a".repeat(64 << 10));
        let lost = shop.change_variant(&ctx(), &variant("a"), None, huge).await;
        assert!(matches!(lost, Err(AppError::OutcomeUnknown)), "{lost:?}");
        super::until(|| !shop.quarantined(&ctx()).is_empty()).await;
        let rebuilt = shop.rebuild_quarantined(&key, &variant("a")).await.unwrap();
        let rebuilt = rebuilt.expect("it was quarantined");
        assert!(!rebuilt.replayed);
        hold(&shop, "a", 1).await;
        rebuilt.body
    });
    for _ in 0..2 {
        house.run(async |shop| {
            let again = shop.rebuild_quarantined(&key, &variant("a")).await.unwrap();
            let again = again.expect("it was answered");
            assert_eq!((again.replayed, again.body), (true, first.clone()));
            let fresh = shop.rebuild_quarantined(&ctx(), &variant("a")).await.unwrap();
            assert!(fresh.is_none(), "there is nothing to rebuild");
        });
        house.crash_and_open();
    }
}

/// What no house writes: `holdfast verify` judges the whole log by every law, and names the record.
fn a_key_in_two_records_is_found_by_verify(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 9).await;
        for key in ["one", "two"] {
            shop.reserve(&keyed(key, "a"), wish("a", 1)).await.unwrap();
        }
    });
    house.crash();
    let mut turns = house.audit().turns;
    let second = turns.len() - 1;
    turns[second].key = turns[second - 1].key;
    let mut again = House::from_log(backend, &turns, |_| {});
    again.crash();
    let dir = DataDir::open(again.path()).unwrap();
    let report = verify(&dir, &recover_options(&again.config)).unwrap();
    let told = report.violations.join("\n");
    let record = second + 1;
    for part in [
        format!("ONCE_PER_KEY broken by a key: it is in the records {second} and {record}"),
        format!("record {record}"),
        "before: Keyed".to_owned(),
    ] {
        assert!(told.contains(&part), "{part}: {told}");
    }
}
