//! The sold-out gate (decisions 4), admission (5) and what is shown of what (6).
use super::{
    House, MINUTE, START, TTL, ctx, expect_lawful, hold, keyed, on_both_logs, refusal, stock, told, variant,
    view, wish, wish_for,
};
use holdfast::{
    app::AppError,
    config::JournalBackend,
    domain::{
        ids::BulkId,
        time::Timestamp,
        variant::{Refusal, Settings},
    },
    storage::record::{Fact, Turn},
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

on_both_logs! {
    the_buyer_of_the_last_unit_repeats_past_the_gate,
    the_gate_says_what_the_variant_would_say,
    the_gate_opens_when_units_come_back,
    a_hundred_thousand_callers_who_hang_up_make_no_room,
    every_admission_limit_has_its_edge,
    many_variants_that_wake_and_leave_at_once_never_overflow_the_queue,
    coordinators_of_before_wait_for_their_slots,
    a_draining_shop_turns_new_requests_away_and_ends_what_it_has,
    a_command_whose_caller_has_gone_is_not_judged,
    the_clock_is_never_behind_the_log,
    states_of_random_moments_are_the_same_after_checkpoint_and_crash,
}

fn the_buyer_of_the_last_unit_repeats_past_the_gate(backend: JournalBackend) {
    let mut house = House::new(backend);
    let last = keyed("last", "1 of a");
    let answer = house.run(async |shop| {
        stock(&shop, "a", 1).await;
        let answer = shop.reserve(&last, wish("a", 1)).await.unwrap();
        refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        assert_eq!(
            told(&shop.reserve(&last, wish("a", 1)).await.unwrap()),
            told(&answer)
        );
        told(&answer)
    });
    house.crash_and_open();
    house.run(async |shop| {
        let first = refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        let second = refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        assert_eq!(
            first, second,
            "the first is judged, the second may be stopped at the gate"
        );
        assert_eq!(told(&shop.reserve(&last, wish("a", 1)).await.unwrap()), answer);
    });
}

fn the_gate_says_what_the_variant_would_say(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let closes_at = Some(START.saturating_add(5 * MINUTE));
        let settings = Settings {
            closes_at,
            ..Settings::default()
        };
        shop.create_variant(&ctx(), &variant("a"), settings, 2)
            .await
            .unwrap();
        let sold = shop
            .reserve(&ctx(), wish_for(MINUTE, "a", 1))
            .await
            .unwrap()
            .body
            .hold
            .id;
        let held = shop
            .reserve(&ctx(), wish_for(10 * MINUTE, "a", 1))
            .await
            .unwrap()
            .body
            .hold;
        shop.confirm(&ctx(), sold, None, None).await.unwrap();
        let told = refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        let Refusal::InsufficientStock { next_release_at, .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!(next_release_at, view(&shop, "a").await.next_release_at);
        assert_eq!(next_release_at, Some(held.expires_at));
        house.clock.advance(5 * MINUTE);
        let closed = refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        assert!(matches!(closed, Refusal::SaleNotOpen { .. }), "{closed:?}");
    });
}

fn the_gate_opens_when_units_come_back(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 1).await;
        let first = hold(&shop, "a", 1).await.id;
        refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        shop.release(&ctx(), first).await.unwrap();
        let second = hold(&shop, "a", 1).await.id;
        refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        shop.confirm(&ctx(), second, None, None).await.unwrap();
        refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        shop.cancel(&ctx(), second, None, true).await.unwrap();
        let third = hold(&shop, "a", 1).await.id;
        refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        shop.set_stock(&ctx(), &variant("a"), 2, None).await.unwrap();
        hold(&shop, "a", 1).await;
        shop.confirm(&ctx(), third, None, None).await.unwrap();
        refusal(shop.reserve(&ctx(), wish("a", 1)).await);
    });
}

/// Sends a request and hangs up: the future is polled once, which hands the command over, and dropped.
pub(crate) async fn send_and_hang_up<F: Future>(request: F) -> Option<F::Output> {
    let mut request = pin!(request);
    poll_fn(|context| {
        Poll::Ready(match request.as_mut().poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

fn a_hundred_thousand_callers_who_hang_up_make_no_room(backend: JournalBackend) {
    // In one thread the commands pile up: none is judged before the story waits for something.
    let mut house = House::in_one_thread(backend, |config| {
        config.admission.max_in_flight = 64;
        config.admission.max_per_variant = 64;
        config.admission.reserved = 8;
        config.journal.queue_capacity = 72;
        config.journal.group_records = 72;
    });
    house.run(async |shop| {
        stock(&shop, "a", 1_000_000).await;
        let mut shed = 0;
        for number in 0..100_000 {
            let done = send_and_hang_up(shop.reserve(&ctx(), wish("a", 1))).await;
            assert!(shop.in_flight() <= 64);
            match done {
                None => {}
                Some(Err(AppError::Shed(_))) => {
                    assert_eq!(shop.in_flight(), 64, "shed though there was room");
                    shed += 1;
                }
                other => panic!("{other:?}"),
            }
            if number % 1_000 == 999 {
                super::until(|| shop.in_flight() == 0).await;
            }
        }
        assert_eq!(shed, 100_000 - 100 * 64);
        expect_lawful(&view(&shop, "a").await);
    });
    house.crash();
    house.audit();
}

fn every_admission_limit_has_its_edge(backend: JournalBackend) {
    let house = House::in_one_thread(backend, |config| {
        config.admission.max_in_flight = 5;
        config.admission.max_per_variant = 3;
        config.admission.reserved = 12;
    });
    house.run(async |shop| {
        stock(&shop, "a", 100).await;
        stock(&shop, "b", 100).await;
        {
            let mut waiting: Vec<_> = Vec::new();
            let mut send = async |id: &'static str| {
                let shop = shop.clone();
                let mut request = Box::pin(async move { shop.reserve(&ctx(), wish(id, 1)).await });
                let done = poll_fn(|context| {
                    Poll::Ready(match request.as_mut().poll(context) {
                        Poll::Ready(done) => Some(done),
                        Poll::Pending => None,
                    })
                })
                .await;
                waiting.push(request);
                done.map(|done| format!("{:?}", done.unwrap_err()))
            };
            for _ in 0..3 {
                assert_eq!(send("a").await, None);
            }
            assert_eq!(send("a").await.unwrap(), "Shed(Variant)");
            for _ in 0..2 {
                assert_eq!(send("b").await, None);
            }
            assert_eq!(send("b").await.unwrap(), "Shed(Process)");
            assert_eq!(shop.in_flight(), 5);
        }
        super::until(|| shop.in_flight() == 0).await;
        // A bulk of two lines can use 4 slots a line and 4 of its own.
        let two = shop
            .bulk(&ctx(), super::all_or_nothing(&[("a", 1), ("b", 1)]))
            .await;
        assert!(two.unwrap().body.is_complete());
        let three = shop
            .bulk(&ctx(), super::all_or_nothing(&[("a", 1), ("b", 1), ("a", 1)]))
            .await;
        assert_eq!(format!("{:?}", three.unwrap_err()), "Shed(Reserved)");
    });
}

fn many_variants_that_wake_and_leave_at_once_never_overflow_the_queue(backend: JournalBackend) {
    // All slots are for expiries and barriers: one more entry than there are permits would be one too many.
    let mut house = House::in_one_thread(backend, |config| {
        config.admission.max_in_flight = 1;
        config.admission.max_per_variant = 1;
        config.admission.reserved = 12;
        config.journal.queue_capacity = 12;
        config.journal.group_records = 12;
    });
    let variants: Vec<String> = (0..60).map(|number| format!("v{number}")).collect();
    house.run(async |shop| {
        for id in &variants {
            stock(&shop, id, 1).await;
            hold(&shop, id, 1).await;
        }
    });
    house.restart();
    house.run(async |shop| {
        assert_eq!(shop.running_variants(), 0);
        // Each wakes, logs its expiry, and wants to hear when that is durable, so that it may sleep again.
        house.clock.advance(TTL);
        super::until(|| {
            // Who found no slot comes again in a moment.
            house.clock.advance(1);
            shop.statistics(&ctx()).body.expired == 60 && shop.running_variants() == 0
        })
        .await;
        for id in &variants {
            assert_eq!(view(&shop, id).await.available, Some(1));
        }
    });
    house.close();
    assert_eq!(house.audit().statistics.expired, 60);
}

fn coordinators_of_before_wait_for_their_slots(backend: JournalBackend) {
    let mut whole = House::new(backend);
    whole.run(async |shop| {
        stock(&shop, "a", 5).await;
        stock(&shop, "b", 5).await;
        let lines = super::all_or_nothing(&[("a", 1), ("b", 1)]);
        shop.bulk(&keyed("k", "k"), lines).await.unwrap();
    });
    whole.close();
    let mut turns = whole.audit().turns;
    // Three coordinators that have logged their intent and no more.
    // Behind the gate of the log and the two variants.
    let intent = turns.swap_remove(3);
    turns.truncate(3);
    for number in 0..3 {
        let Fact::Bulk { event, .. } = intent.fact.clone() else {
            panic!("{intent:?}");
        };
        let id = BulkId(number);
        turns.push(Turn {
            fact: Fact::Bulk { id, event },
            ..intent.clone()
        });
    }
    for (reserved, opens) in [(11, false), (12, true)] {
        let opened = std::panic::catch_unwind(|| {
            // One request, and what a coordinator over two lines can use: exactly one of them at a time.
            let house = House::from_log(backend, &turns, |config| {
                config.admission.max_in_flight = 1;
                config.admission.max_per_variant = 1;
                config.admission.reserved = reserved;
                config.journal.queue_capacity = reserved + 1;
                config.journal.group_records = 12;
            });
            house.run(async |shop| {
                shop.idle().await;
                expect_lawful(&view(&shop, "a").await);
            });
        });
        assert_eq!(opened.is_ok(), opens, "{reserved} slots");
    }
}

fn a_draining_shop_turns_new_requests_away_and_ends_what_it_has(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        // An answer leaves before its permit is free.
        super::until(|| shop.in_flight() == 0).await;
        let asking = {
            let shop = shop.clone();
            tokio::spawn(async move { shop.reserve(&ctx(), wish("a", 1)).await })
        };
        super::until(|| asking.is_finished() || shop.in_flight() > 0).await;
        shop.drain();
        let refused = shop.reserve(&ctx(), wish("a", 1)).await.unwrap_err();
        assert_eq!(format!("{refused:?}"), "Shed(Draining)");
        shop.idle().await;
        asking.await.unwrap().unwrap();
    });
    house.restart();
    house.run(async |shop| assert_eq!(view(&shop, "a").await.held, 1));
}

fn a_command_whose_caller_has_gone_is_not_judged(backend: JournalBackend) {
    let house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        assert!(
            send_and_hang_up(shop.reserve(&ctx(), wish("a", 1)))
                .await
                .is_none()
        );
        super::until(|| shop.in_flight() == 0).await;
        assert_eq!(view(&shop, "a").await.held, 0);
        // One who waits no longer than now is told that nothing happened, or that nobody knows.
        let patience = holdfast::app::Context {
            deadline: house.clock.now().saturating_add(-1),
            ..ctx()
        };
        let late = shop.reserve(&patience, wish("a", 1)).await.unwrap_err();
        assert!(
            matches!(late, AppError::Late | AppError::OutcomeUnknown),
            "{late:?}"
        );
        super::until(|| shop.in_flight() == 0).await;
        assert_eq!(view(&shop, "a").await.held, 0);
    });
}

fn the_clock_is_never_behind_the_log(backend: JournalBackend) {
    let mut house = House::new(backend);
    let held = house.run(async |shop| {
        stock(&shop, "a", 2).await;
        house.clock.advance(60 * MINUTE);
        hold(&shop, "a", 1).await
    });
    house.crash();
    // A clock that was set back meanwhile: what was logged has happened.
    house.clock = holdfast::clock::ManualClock::new(START);
    house.open();
    house.run(async |shop| {
        let later = shop.reserve(&ctx(), wish("a", 1)).await.unwrap();
        assert!(later.at >= held.id.created_at(), "{:?}", later.at);
        assert!(view(&shop, "a").await.at >= held.id.created_at());
    });
    house.crash();
    let audit = house.audit();
    let moments: Vec<Timestamp> = audit.turns.iter().map(|turn| turn.at).collect();
    assert!(moments.is_sorted(), "{moments:?}");
}

fn states_of_random_moments_are_the_same_after_checkpoint_and_crash(backend: JournalBackend) {
    let seed = 0x0b5e_55ed;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut house = House::new(backend);
    house.run(async |shop| {
        for id in ["a", "b", "c"] {
            stock(&shop, id, 40).await;
        }
    });
    let mut holds = Vec::new();
    for life in 0..8 {
        for _ in 0..random.usize(5..25) {
            let id = *random.choice(["a", "b", "c"].iter()).unwrap();
            let moved = (random.u32(0..9), random.u32(1..4), random.i64(0..MINUTE));
            house.run(async |shop| {
                house.clock.advance(moved.2);
                let picked = (!holds.is_empty()).then(|| holds[random.usize(0..holds.len())]);
                // Refusals are welcome: a hold may have ended, a variant may be sold out.
                match (moved.0, picked) {
                    (0..=3, _) | (_, None) => {
                        let ask = wish_for(20 * MINUTE, id, moved.1);
                        holds.extend(shop.reserve(&ctx(), ask).await.map(|answer| answer.body.hold.id));
                    }
                    (4, Some(id)) => drop(shop.confirm(&ctx(), id, None, None).await),
                    (5, Some(id)) => drop(shop.release(&ctx(), id).await),
                    (6, Some(id)) => drop(shop.extend(&ctx(), id, Some(MINUTE), None).await),
                    (7, Some(id)) => drop(shop.fulfil(&ctx(), id, Some(1)).await),
                    (_, Some(_)) => shop.checkpoint().await.unwrap(),
                }
            });
        }
        let before = house.run(async |shop| {
            // Whatever is due has been given back, so that nothing moves between the two looks.
            super::until_settled(&shop).await;
            super::picture(&shop).await
        });
        if life % 3 == 2 {
            house.restart()
        } else {
            house.crash_and_open()
        };
        let after = house.run(async |shop| super::picture(&shop).await);
        assert_eq!(after, before, "seed {seed:#x}, life {life}");
    }
    house.crash();
    house.audit();
}
