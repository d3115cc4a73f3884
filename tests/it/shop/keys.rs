//! Decisions 1 to 3: one key, one effect, one answer.
use super::{
    House, MINUTE, all_or_nothing, ctx, customer, every_hold, hold, keyed, on_both_logs, refusal, stock,
    told, variant, view, wish,
};
use holdfast::{
    app::{AdjustAsk, AppError, HoldFilter, ReserveAsk, Shop},
    config::{ByteSize, JournalBackend},
    domain::variant::{Refusal, SaleState, Settings},
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
    ask!("adjust", |ctx| shop.adjust_stock(ctx, &book, delivery));
    ask!("set stock", |ctx| shop.set_stock(ctx, &book, 40, None));
    ask!("change", |ctx| shop.change_variant(
        ctx,
        &book,
        None,
        |settings| {
            settings.name = Some("A book".into());
        }
    ));
    ask!("sale", |ctx| shop.set_sale(ctx, &book, SaleState::Open));
    ask!("bulk", |ctx| shop
        .bulk(ctx, all_or_nothing(&[("book", 2), ("book", 1)])));
    let policy = shop.policy(&ctx()).await.unwrap().body;
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
            let policy = shop.policy(&ctx()).await.unwrap().body;
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
