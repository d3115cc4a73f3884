//! All or nothing over several variants (decisions 22), and crashes in between.
use super::{
    House, MINUTE, all_or_nothing, checkpoint, ctx,
    cuts::done_lines,
    every_hold, expect_lawful, get,
    held::{let_all_run, send, until_held},
    hold, keyed, on_both_logs, refusal, stock, until_expired, variant, view, wish, wish_for,
};
use holdfast::{
    app::{Answered, AppError, BulkAsk, BulkDone, BulkLine, BulkWhat, HoldFilter, Shop},
    config::JournalBackend,
    domain::{
        bulk::{LineOutcome, Mode},
        ids::ReservationId,
        variant::{EndReason, HoldStatus, Refusal, Shopper},
    },
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinSet;

on_both_logs! {
    all_lines_or_none,
    of_two_bulks_over_the_last_of_two_variants_exactly_one_wins,
    a_crash_at_any_moment_leaves_all_lines_or_none,
    existing_reservations_are_changed_all_or_none,
    best_effort_does_what_it_can,
    a_bulk_confirms_what_was_live_when_it_asked,
    a_bulk_takes_what_is_done_already_for_done,
    a_line_that_cannot_be_had_does_not_borrow_from_the_line_beside_it,
    a_repeated_bulk_tells_of_reservations_that_nobody_remembers_any_more,
    a_settlement_that_was_lost_with_its_actor_is_told_again,
}

/// Line by line what an all-or-nothing request that kept nothing says.
fn refused_lines(done: Result<Answered<BulkDone>, AppError>) -> Vec<(BulkLine, LineOutcome)> {
    match done {
        Err(AppError::BulkRefused { lines, .. }) => lines,
        done => panic!("{done:?}"),
    }
}

fn all_lines_or_none(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        for (id, units) in [("a", 5), ("b", 1), ("c", 0)] {
            stock(&shop, id, units).await;
        }
        let refused = shop
            .bulk(
                &ctx(),
                all_or_nothing(&[("a", 5), ("b", 2), ("c", 1), ("nowhere", 1)]),
            )
            .await;
        let lines = refused_lines(refused);
        let failing: Vec<_> = lines.iter().filter(|(_, outcome)| !outcome.is_done()).collect();
        assert_eq!(failing.len(), 3, "every failing line is named: {failing:?}");
        assert!(
            every_hold(&shop, &HoldFilter::default(), 10).await.is_empty(),
            "tentative holds are not listed"
        );
        // What the abort gives back is free as soon as its lines are settled.
        let kept =
            super::until_ok(async || shop.bulk(&ctx(), all_or_nothing(&[("a", 5), ("b", 1)])).await).await;
        assert!(kept.body.is_complete());
        assert_eq!((view(&shop, "a").await.held, view(&shop, "b").await.held), (5, 1));
    });
    house.close();
    house.audit();
}

fn of_two_bulks_over_the_last_of_two_variants_exactly_one_wins(backend: JournalBackend) {
    // The coordinators' pauses need a clock that runs.
    let mut house = House::by_the_wall(backend);
    house.run(async |shop| {
        stock(&shop, "x", 1).await;
        stock(&shop, "y", 1).await;
        for round in 0..60 {
            let ask = |lines: [(&'static str, u32); 2]| {
                let shop = Arc::clone(&shop);
                tokio::spawn(async move { shop.bulk(&ctx(), all_or_nothing(&lines)).await })
            };
            let (one, other) = (ask([("x", 1), ("y", 1)]), ask([("y", 1), ("x", 1)]));
            let (one, other) = (one.await.unwrap(), other.await.unwrap());
            assert!(
                one.is_ok() != other.is_ok(),
                "round {round}: {one:?} and {other:?}"
            );
            let winner = one.or(other).unwrap();
            for (_, outcome) in winner.body.lines {
                let LineOutcome::Done(held) = outcome else {
                    panic!("a winner has every line")
                };
                super::until_ok(async || shop.release(&ctx(), held.id).await).await;
            }
        }
    });
    house.close();
    let audit = house.audit();
    assert_eq!(audit.statistics.released, 120);
    assert_eq!(audit.holds(|_| true).count(), 0, "no tentative hold is left");
}

const VARIANTS: [&str; 4] = ["a", "b", "c", "d"];

fn a_crash_at_any_moment_leaves_all_lines_or_none(backend: JournalBackend) {
    let mut house = House::by_the_wall(backend);
    house.run(async |shop| {
        for id in VARIANTS {
            stock(&shop, id, 60).await;
        }
    });
    let lives = 6;
    for life in 0..lives {
        house.run(async |shop| {
            let answered = Arc::new(AtomicUsize::new(0));
            for number in 0..40 {
                let (shop, answered) = (Arc::clone(&shop), Arc::clone(&answered));
                tokio::spawn(async move {
                    let _ = ask(&shop, life, number).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                });
            }
            // Another moment in every life; whatever is under way then is lost.
            super::until(|| answered.load(Ordering::Relaxed) >= life * 5).await;
        });
        house.crash_and_open();
    }
    // Every client comes again with its old keys, twice.
    let first = house.run(async |shop| retry_all(&shop, lives).await);
    house.crash_and_open();
    let second = house.run(async |shop| retry_all(&shop, lives).await);
    for (ask, kept) in &first {
        assert!(kept.is_none() || second[ask] == *kept, "ONCE_PER_KEY: {ask:?}");
    }
    let units = second.values().flatten().map(Vec::len).sum::<usize>() as u64;
    house.run(async |shop| {
        let mut held = 0;
        for id in VARIANTS {
            let view = view(&shop, id).await;
            expect_lawful(&view);
            held += view.held;
        }
        assert_eq!(held, units, "what the clients were told is all that is held");
    });
    house.close();
    let audit = house.audit();
    assert!(audit.checker.bulks().next().is_none());
    assert!(
        audit.holds(|hold| hold.pin.is_some()).next().is_none(),
        "no tentative hold is left"
    );
}

/// One of the asks of a life: two lines, each for one unit.
async fn ask(shop: &Shop, life: usize, number: usize) -> Result<Vec<ReservationId>, AppError> {
    let key = format!("bulk {life} {number}");
    let lines = [
        (VARIANTS[number % 4], 1),
        (VARIANTS[(number + 1 + number / 4 % 3) % 4], 1),
    ];
    let done = shop.bulk(&keyed(&key, &key), all_or_nothing(&lines)).await?;
    let id = |outcome| match outcome {
        LineOutcome::Done(hold) => hold.id,
        other => panic!("a bulk was kept without {other:?}"),
    };
    Ok(done
        .body
        .lines
        .into_iter()
        .map(|(_, outcome)| id(outcome))
        .collect())
}

async fn retry_all(shop: &Arc<Shop>, lives: usize) -> BTreeMap<(usize, usize), Option<Vec<ReservationId>>> {
    let mut asking = JoinSet::new();
    for (life, number) in (0..lives).flat_map(|life| (0..40).map(move |number| (life, number))) {
        let shop = Arc::clone(shop);
        asking.spawn(async move {
            let kept = loop {
                match ask(&shop, life, number).await {
                    Ok(kept) => break Some(kept),
                    Err(AppError::BulkRefused { .. }) => break None,
                    Err(AppError::InFlight) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error:?}"),
                }
            };
            ((life, number), kept)
        });
    }
    asking.join_all().await.into_iter().collect()
}

fn existing_reservations_are_changed_all_or_none(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 5).await;
        stock(&shop, "b", 5).await;
        let (first, second) = (hold(&shop, "a", 1).await.id, hold(&shop, "b", 1).await.id);
        let gone = hold(&shop, "b", 1).await.id;
        shop.release(&ctx(), gone).await.unwrap();
        let asked = |what| BulkAsk {
            mode: Mode::AllOrNothing,
            what,
        };
        let refused = shop
            .bulk(&ctx(), asked(BulkWhat::Confirm(vec![first, second, gone])))
            .await;
        let lines = refused_lines(refused);
        assert!(
            matches!(
                lines[2].1,
                LineOutcome::Refused(Refusal::ReservationReleased { .. })
            ),
            "{lines:?}"
        );
        let confirmed = super::until_ok(async || {
            shop.bulk(&ctx(), asked(BulkWhat::Confirm(vec![first, second])))
                .await
        })
        .await;
        assert!(confirmed.body.is_complete());
        for id in [first, second] {
            assert_eq!(get(&shop, id).await.status, HoldStatus::Confirmed);
        }
        assert!(matches!(
            refusal(shop.release(&ctx(), first).await),
            Refusal::ReservationConfirmed { .. }
        ));
    });
    house.close();
    house.audit();
}

fn best_effort_does_what_it_can(backend: JournalBackend) {
    let mut house = House::new(backend);
    let ask = BulkAsk {
        mode: Mode::BestEffort,
        what: BulkWhat::Reserve {
            lines: vec![(variant("a"), 1), (variant("b"), 1), (variant("nowhere"), 1)],
            shopper: Shopper::default(),
            ttl_ms: None,
        },
    };
    let told = house.run(async |shop| {
        stock(&shop, "a", 1).await;
        stock(&shop, "b", 0).await;
        let done = shop.bulk(&keyed("k", "k"), ask.clone()).await.unwrap().body;
        let which: Vec<bool> = done.lines.iter().map(|(_, outcome)| outcome.is_done()).collect();
        assert_eq!(which, [true, false, false]);
        format!("{done:?}")
    });
    house.crash_and_open();
    house.run(async |shop| {
        let again = shop.bulk(&keyed("k", "k"), ask).await.unwrap();
        assert_eq!((again.replayed, format!("{:?}", again.body)), (true, told));
        assert_eq!(view(&shop, "a").await.held, 1);
    });
}

fn a_bulk_confirms_what_was_live_when_it_asked(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 2).await;
        let due = shop
            .reserve(&ctx(), wish_for(MINUTE, "a", 1))
            .await
            .unwrap()
            .body
            .hold
            .id;
        let live = shop
            .reserve(&ctx(), wish_for(2 * MINUTE, "a", 1))
            .await
            .unwrap()
            .body
            .hold
            .id;
        house.clock.advance(MINUTE);
        let ask = BulkAsk {
            mode: Mode::AllOrNothing,
            what: BulkWhat::Confirm(vec![live, due]),
        };
        let refused = shop.bulk(&ctx(), ask).await;
        let lines = refused_lines(refused);
        assert!(
            matches!(
                lines[1].1,
                LineOutcome::Refused(Refusal::ReservationExpired { .. })
            ),
            "{lines:?}"
        );
        until_expired(&shop, 1).await;
        // The promise of the other line was given back: its deadline counts again.
        house.clock.advance(MINUTE);
        until_expired(&shop, 2).await;
        assert_eq!(get(&shop, live).await.ended.unwrap().reason, EndReason::Expired);
        shop.reserve(&ctx(), wish("a", 2)).await.unwrap();
    });
    house.crash();
    house.audit();
}

/// As a single request does: giving back what has been given back, and selling what has been sold.
fn a_bulk_takes_what_is_done_already_for_done(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 4).await;
        let released = hold(&shop, "a", 1).await.id;
        let live = hold(&shop, "a", 1).await.id;
        let sold = hold(&shop, "a", 1).await.id;
        let shipped = hold(&shop, "a", 1).await.id;
        shop.release(&ctx(), released).await.unwrap();
        for id in [sold, shipped] {
            shop.confirm(&ctx(), id, None, None).await.unwrap();
        }
        // Nothing is left to ship: the variant closes it.
        shop.fulfil(&ctx(), shipped, None).await.unwrap();
        let all = async |what| {
            let mode = Mode::AllOrNothing;
            shop.bulk(&ctx(), BulkAsk { mode, what }).await
        };
        let refused = all(BulkWhat::Confirm(vec![live, released])).await;
        refused_lines(refused);
        let refused = all(BulkWhat::Release(vec![live, sold])).await;
        refused_lines(refused);
        let extended = all(BulkWhat::Extend {
            ids: vec![released],
            by_ms: None,
        })
        .await;
        refused_lines(extended);

        let confirmed = all(BulkWhat::Confirm(vec![sold, shipped])).await.unwrap();
        assert!(confirmed.body.is_complete(), "{confirmed:?}");
        let given_back = all(BulkWhat::Release(vec![released, live])).await.unwrap();
        assert!(given_back.body.is_complete(), "{given_back:?}");
        assert_eq!(get(&shop, live).await.status, HoldStatus::Released);
        let due = shop.reserve(&ctx(), wish_for(MINUTE, "a", 1)).await.unwrap();
        house.clock.advance(MINUTE);
        let given_back = all(BulkWhat::Release(vec![due.body.hold.id])).await.unwrap();
        assert!(
            given_back.body.is_complete(),
            "whether or not its timer was first: {given_back:?}"
        );
        let seen = view(&shop, "a").await;
        assert_eq!((seen.head.on_hand, seen.held), (3, 0));
    });
    house.crash();
    house.audit();
}

/// Two lines of one request, one with too few units: not one of the other's is taken for it, in either mode.
fn a_line_that_cannot_be_had_does_not_borrow_from_the_line_beside_it(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "x", 2).await;
        stock(&shop, "y", 9).await;
        let refused = shop.bulk(&ctx(), all_or_nothing(&[("x", 3), ("y", 3)])).await;
        let lines = refused_lines(refused);
        let LineOutcome::Refused(Refusal::InsufficientStock {
            requested, available, ..
        }) = lines[0].1
        else {
            panic!("{lines:?}");
        };
        assert_eq!((requested, available, lines[1].1.is_done()), (3, 2, true));
        let ask = BulkAsk {
            mode: Mode::BestEffort,
            ..all_or_nothing(&[("x", 3), ("y", 3)])
        };
        let done = shop.bulk(&ctx(), ask).await.unwrap();
        assert_eq!(done_lines(&done.body), [false, true]);
        for (id, held) in [("x", 0), ("y", 3)] {
            assert_eq!(view(&shop, id).await.held, held, "{id}");
        }
    });
    house.crash();
    house.audit();
}

/// The answer is what the decision's record says, however the shop's memory changes after it.
fn a_repeated_bulk_tells_of_reservations_that_nobody_remembers_any_more(backend: JournalBackend) {
    let mut house = House::new(backend);
    let retention = house.config.retention.ended.as_millis();
    let (ask, told, released) = house.run(async |shop| {
        stock(&shop, "a", 5).await;
        let released = hold(&shop, "a", 1).await.id;
        let expired = hold(&shop, "a", 1).await.id;
        shop.release(&ctx(), released).await.unwrap();
        house.clock.advance(retention - 10 * MINUTE);
        until_expired(&shop, 1).await;
        let live = hold(&shop, "a", 1).await.id;
        let sold = hold(&shop, "a", 1).await.id;
        shop.confirm(&ctx(), sold, None, None).await.unwrap();
        let ask = BulkAsk {
            mode: Mode::BestEffort,
            what: BulkWhat::Release(vec![released, expired, live, sold]),
        };
        let told = shop.bulk(&keyed("k", "k"), ask.clone()).await.unwrap();
        let [released_line, expired_line, live_line, sold_line] = &told.body.lines[..] else {
            panic!("{told:?}");
        };
        let LineOutcome::Refused(Refusal::ReservationConfirmed { .. }) = sold_line.1 else {
            panic!("{told:?}");
        };
        for (line, end) in [
            (released_line, EndReason::Released),
            (expired_line, EndReason::Expired),
            (live_line, EndReason::Released),
        ] {
            let LineOutcome::Done(hold) = &line.1 else {
                panic!("{told:?}");
            };
            assert_eq!(hold.ended.unwrap().reason, end, "{told:?}");
        }
        (ask, format!("{:?} {:?}", told.at, told.body), released)
    });
    house.run(async |shop| {
        house.clock.advance(30 * MINUTE);
        // Something new, so that there is a checkpoint that sweeps.
        hold(&shop, "a", 1).await;
        checkpoint(&shop).await;
        let read = shop.get_reservation(&ctx(), released).await;
        assert_eq!(refusal(read), Refusal::ReservationNotFound, "past its retention");
    });
    for _ in 0..2 {
        house.run(async |shop| {
            let again = shop.bulk(&keyed("k", "k"), ask.clone()).await.unwrap();
            assert_eq!(
                (again.replayed, format!("{:?} {:?}", again.at, again.body)),
                (true, told.clone())
            );
        });
        house.crash_and_open();
    }
}

/// The bug is planted from outside, as in the stories of quarantine: the queue of the log has room for all that leads to the
/// answer, and the next record, a settlement, finds none: its actor panics, and the message is lost with it.
fn a_settlement_that_was_lost_with_its_actor_is_told_again(backend: JournalBackend) {
    // The intent, two promises, the decision and its answer.
    const PLACES: usize = 5;
    const TOLD_AGAIN_MS: i64 = 1_000;
    let mut house = House::in_one_thread(backend, |config| config.journal.queue_capacity = PLACES);
    house.run(async |shop| {
        stock(&shop, "a", 1).await;
        stock(&shop, "b", 1).await;
        house.gate.close();
        let asked = send(&shop, async |shop| {
            shop.bulk(&ctx(), all_or_nothing(&[("a", 1), ("b", 1)])).await
        });
        until_held(&house.gate).await;
        let_all_run().await;
        house.gate.open();
        let lines = asked.await.unwrap().unwrap().body.lines;
        let ids: Vec<ReservationId> = lines
            .into_iter()
            .map(|(_, outcome)| match outcome {
                LineOutcome::Done(hold) => hold.id,
                other => panic!("{other:?}"),
            })
            .collect();
        // Read again, both variants keep their promise, and nobody has told them how it was decided.
        house.clock.advance(TOLD_AGAIN_MS - 1);
        for (id, variant) in ids.iter().zip(["a", "b"]) {
            assert_eq!(view(&shop, variant).await.held, 1);
            let promised = shop.get_reservation(&ctx(), *id).await;
            assert_eq!(refusal(promised), Refusal::ReservationNotFound);
        }
        house.clock.advance(1);
        for id in ids {
            while shop.get_reservation(&ctx(), id).await.is_err() {
                tokio::task::yield_now().await;
            }
            assert_eq!(get(&shop, id).await.status, HoldStatus::Active);
        }
        assert!(shop.quarantined(&ctx()).is_empty());
    });
    house.close();
    assert!(house.audit().checker.bulks().next().is_none());
}
