//! Decisions 6: what is shown is durable, whatever the disk takes. The gate before the device is closed, and what may leave
//! then leaves and nothing else.
use super::{
    House, TTL, ctx, expect_lawful, get,
    held::{let_all_run, send, until_held},
    hold, keyed, on_both_logs, refusal, stock, told, variant, view, wish,
};
use holdfast::{
    app::{Answered, AppError, Context, HoldFilter, Shop},
    config::JournalBackend,
    domain::{
        ids::ReservationId,
        variant::{HoldStatus, Refusal, SaleState, Settings, View},
    },
};
use std::{fmt::Debug, sync::Arc};
use tokio::task::JoinHandle;

on_both_logs! {
    reads_wait_for_what_is_on_its_way,
    a_repeat_by_key_waits_for_its_record,
    a_refusal_that_cites_a_fact_waits_for_it,
    a_refusal_that_cites_no_fact_does_not_wait,
    a_place_behind_a_deletion_is_empty_only_when_that_is_durable,
    what_a_crash_loses_was_shown_to_nobody,
    when_the_device_fails_the_process_is_ended_and_nobody_gets_a_success,
    callers_who_hang_up_while_the_device_is_busy_make_no_room,
}

/// Expects that a request which has taken its place among `in_flight` stays without an answer.
async fn expect_waiting<T>(shop: &Shop, asked: &JoinHandle<T>, in_flight: usize, what: &str) {
    super::until(|| shop.in_flight() >= in_flight || asked.is_finished()).await;
    let_all_run().await;
    assert!(!asked.is_finished(), "{what} was answered before the disk");
    assert_eq!(shop.in_flight(), in_flight, "{what}");
}

fn house(backend: JournalBackend) -> House {
    House::in_one_thread(backend, |_| {})
}

fn reads_wait_for_what_is_on_its_way(backend: JournalBackend) {
    let mut house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        stock(&shop, "gone", 1).await;
        stock(&shop, "quiet", 3).await;
        let quiet = hold(&shop, "quiet", 1).await.id;
        let (sold, released) = (hold(&shop, "a", 2).await.id, hold(&shop, "a", 3).await.id);
        let policy = shop.policy(&ctx()).body;

        house.gate.close();
        let confirming = send(&shop, async move |shop| {
            shop.confirm(&ctx(), sold, None, None).await
        });
        let releasing = send(&shop, async move |shop| shop.release(&ctx(), released).await);
        let deleting = send(&shop, async |shop| {
            shop.delete_variant(&ctx(), &variant("gone"), None).await
        });
        let wanted = holdfast::domain::policy::Policy {
            max_ttl_ms: policy.max_ttl_ms + 1,
            ..policy
        };
        let changing = send(&shop, async move |shop| shop.set_policy(&ctx(), wanted, 1).await);
        until_held(&house.gate).await;
        super::until(|| shop.in_flight() == 4).await;

        let by_id = send(&shop, async move |shop| get(&shop, sold).await);
        expect_waiting(&shop, &by_id, 5, "a read by id").await;
        let ended = send(&shop, async move |shop| get(&shop, released).await);
        expect_waiting(&shop, &ended, 6, "a read of what has left its variant").await;
        let valid = send(&shop, async move |shop| {
            let ids = [sold, released].map(|id| id.to_string());
            shop.validate(&ctx(), ids.into()).await.unwrap().body
        });
        expect_waiting(&shop, &valid, 7, "a validation").await;
        let of_variant = HoldFilter {
            variant: Some(variant("a")),
            ..HoldFilter::default()
        };
        let listed = send(&shop, async move |shop| {
            super::every_hold(&shop, &of_variant, 10).await
        });
        expect_waiting(&shop, &listed, 8, "a list").await;
        let seen = send(&shop, async |shop| view(&shop, "a").await);
        expect_waiting(&shop, &seen, 9, "a variant").await;
        let all = send(&shop, async |shop| {
            shop.list_variants(&ctx(), None, 10).await.unwrap().0
        });
        expect_waiting(&shop, &all, 10, "a list of variants").await;
        // A policy is shown as it is durable.
        assert_eq!(shop.policy(&ctx()).body, policy);

        // Who is not concerned is not held up.
        assert_eq!(get(&shop, quiet).await.status, HoldStatus::Active);
        assert_eq!(view(&shop, "quiet").await.held, 1);
        assert_eq!(shop.statistics(&ctx()).body.confirmed, 0);

        house.gate.open();
        confirming.await.unwrap().unwrap();
        releasing.await.unwrap().unwrap();
        deleting.await.unwrap().unwrap();
        let changed = changing.await.unwrap().unwrap().body;
        assert_eq!(by_id.await.unwrap().status, HoldStatus::Confirmed);
        assert_eq!(ended.await.unwrap().status, HoldStatus::Released);
        let status = |id: ReservationId, told: &[holdfast::app::Validity]| {
            let mut found = told.iter().filter(|one| one.id == id.to_string());
            found.next().unwrap().reservation.clone().unwrap().hold.status
        };
        let valid = valid.await.unwrap();
        assert_eq!(status(sold, &valid), HoldStatus::Confirmed);
        assert_eq!(status(released, &valid), HoldStatus::Released);
        let listed = listed.await.unwrap();
        let statuses: Vec<HoldStatus> = listed.iter().map(|hold| hold.status).collect();
        assert_eq!(statuses, [HoldStatus::Confirmed, HoldStatus::Released]);
        let seen = seen.await.unwrap();
        assert_eq!((seen.held, seen.committed), (0, 2));
        assert_eq!(all.await.unwrap().len(), 2, "the deletion is durable");
        assert_eq!(shop.policy(&ctx()).body, changed);
    });
    house.crash();
    house.audit();
}

fn a_repeat_by_key_waits_for_its_record(backend: JournalBackend) {
    let house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        house.gate.close();
        let ask = async |shop: Arc<Shop>| shop.reserve(&keyed("k", "1 of a"), wish("a", 1)).await.unwrap();
        let first = send(&shop, ask);
        until_held(&house.gate).await;
        let repeat = send(&shop, ask);
        expect_waiting(&shop, &repeat, 1, "a repeat").await;
        house.gate.open();
        let (first, repeat) = (first.await.unwrap(), repeat.await.unwrap());
        assert_eq!(told(&first), told(&repeat));
        assert_eq!((first.replayed, repeat.replayed), (false, true));

        // Without a key, a confirm repeats by its reservation.
        let id = first.body.hold.id;
        house.gate.close();
        let ask = async move |shop: Arc<Shop>| shop.confirm(&ctx(), id, None, None).await.unwrap();
        let first = send(&shop, ask);
        until_held(&house.gate).await;
        let repeat = send(&shop, ask);
        expect_waiting(&shop, &repeat, 2, "a second confirm").await;
        house.gate.open();
        assert_eq!(told(&first.await.unwrap()), told(&repeat.await.unwrap()));
    });
}

fn a_refusal_that_cites_a_fact_waits_for_it(backend: JournalBackend) {
    let house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        let (sold, released, due) = (
            hold(&shop, "a", 1).await.id,
            hold(&shop, "a", 1).await.id,
            hold(&shop, "a", 1).await.id,
        );
        let mut sent = Vec::new();
        house.gate.close();
        sent.push(send(&shop, async move |shop| {
            shop.confirm(&ctx(), sold, None, None).await.map(drop)
        }));
        sent.push(send(&shop, async move |shop| {
            shop.release(&ctx(), released).await.map(drop)
        }));
        sent.push(send(&shop, async |shop| make(&shop).await.map(drop)));
        until_held(&house.gate).await;
        super::until(|| shop.in_flight() == 3).await;

        let confirmed = send(&shop, async move |shop| shop.release(&ctx(), sold).await);
        expect_waiting(&shop, &confirmed, 4, "reservation-confirmed").await;
        let gone = send(&shop, async move |shop| {
            shop.confirm(&ctx(), released, None, None).await
        });
        expect_waiting(&shop, &gone, 5, "reservation-released").await;
        let exists = send(&shop, async |shop| make(&shop).await);
        expect_waiting(&shop, &exists, 6, "already-exists").await;
        house.clock.advance(TTL);
        let expired = send(&shop, async move |shop| {
            shop.confirm(&ctx(), due, None, None).await
        });
        expect_waiting(&shop, &expired, 7, "reservation-expired").await;

        house.gate.open();
        for done in sent {
            done.await.unwrap().unwrap();
        }
        let confirmed = refusal(confirmed.await.unwrap());
        assert!(
            matches!(confirmed, Refusal::ReservationConfirmed { .. }),
            "{confirmed:?}"
        );
        let gone = refusal(gone.await.unwrap());
        assert!(matches!(gone, Refusal::ReservationReleased { .. }), "{gone:?}");
        assert_eq!(refusal(exists.await.unwrap()), Refusal::AlreadyExists);
        let expired = refusal(expired.await.unwrap());
        assert!(
            matches!(expired, Refusal::ReservationExpired { .. }),
            "{expired:?}"
        );
    });
}

async fn make(shop: &Shop) -> Result<Answered<View>, AppError> {
    shop.create_variant(&ctx(), &variant("new"), Settings::default(), 1)
        .await
}

fn a_refusal_that_cites_no_fact_does_not_wait(backend: JournalBackend) {
    let house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 3).await;
        stock(&shop, "last", 1).await;
        stock(&shop, "paused", 1).await;
        house.gate.close();
        let mut sent = Vec::new();
        for id in ["a", "last"] {
            sent.push(send(&shop, async move |shop| {
                shop.reserve(&ctx(), wish(id, 1)).await.map(drop)
            }));
        }
        sent.push(send(&shop, async |shop| {
            shop.set_sale(&ctx(), &variant("paused"), SaleState::Paused, None)
                .await
                .map(drop)
        }));
        until_held(&house.gate).await;
        super::until(|| shop.in_flight() == 3).await;
        let_all_run().await;

        let too_many = refusal(shop.reserve(&ctx(), wish("a", 3)).await);
        assert!(
            matches!(too_many, Refusal::InsufficientStock { available: 2, .. }),
            "the actor's: {too_many:?}"
        );
        let sold_out = refusal(shop.reserve(&ctx(), wish("last", 1)).await);
        assert!(
            matches!(sold_out, Refusal::InsufficientStock { available: 0, .. }),
            "the gate's: {sold_out:?}"
        );
        let closed = refusal(shop.reserve(&ctx(), wish("paused", 1)).await);
        assert!(matches!(closed, Refusal::SaleNotOpen { .. }), "{closed:?}");
        assert!(sent.iter().all(|sent| !sent.is_finished()));
        house.gate.open();
        for done in sent {
            done.await.unwrap().unwrap();
        }
    });
}

/// Somebody who makes a variant anew before its deletion is durable must not bring the news of it forward: after a crash the
/// old one would be back.
fn a_place_behind_a_deletion_is_empty_only_when_that_is_durable(backend: JournalBackend) {
    let mut house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 1).await;
        house.gate.close();
        let deleting = send(&shop, async |shop| {
            shop.delete_variant(&ctx(), &variant("a"), None).await
        });
        until_held(&house.gate).await;
        // Refused at once, it leaves a place in which nothing was made.
        let endless = shop
            .create_variant(&ctx(), &variant("a"), Settings::default(), u64::MAX)
            .await;
        assert_eq!(refusal(endless), Refusal::OutOfRange);
        let seen = send(&shop, async |shop| shop.get_variant(&ctx(), &variant("a")).await);
        expect_waiting(&shop, &seen, 2, "that there is none").await;
        let held = send(&shop, async |shop| shop.reserve(&ctx(), wish("a", 1)).await);
        expect_waiting(&shop, &held, 3, "that there is none to hold").await;
        house.gate.open();
        deleting.await.unwrap().unwrap();
        assert_eq!(refusal(seen.await.unwrap()), Refusal::VariantNotFound);
        assert_eq!(refusal(held.await.unwrap()), Refusal::VariantNotFound);
        stock(&shop, "a", 2).await;
        assert_eq!(view(&shop, "a").await.available, Some(2));
    });
    house.crash();
}

fn what_a_crash_loses_was_shown_to_nobody(backend: JournalBackend) {
    let mut house = house(backend);
    let (id, asked) = house.run(async |shop| {
        stock(&shop, "a", 10).await;
        let id = hold(&shop, "a", 2).await.id;
        house.gate.close();
        let confirming = send(&shop, async move |shop| {
            shop.confirm(&ctx(), id, None, None).await.map(drop)
        });
        until_held(&house.gate).await;
        let looking = send(&shop, async move |shop| {
            shop.get_reservation(&ctx(), id).await.map(drop)
        });
        expect_waiting(&shop, &looking, 2, "a read by id").await;
        (id, [confirming, looking])
    });
    house.crash_and_open();
    house.run(async |shop| {
        for asked in asked {
            assert!(!matches!(asked.await, Ok(Ok(()))), "answered from what was lost");
        }
        assert_eq!(get(&shop, id).await.status, HoldStatus::Active);
        assert_eq!(view(&shop, "a").await.held, 2);
    });
}

fn when_the_device_fails_the_process_is_ended_and_nobody_gets_a_success(backend: JournalBackend) {
    let mut house = house(backend);
    let id = house.run(async |shop| {
        stock(&shop, "a", 10).await;
        let id = hold(&shop, "a", 2).await.id;
        house.gate.close();
        let reserving = send(&shop, async |shop| {
            shop.reserve(&keyed("k", "1 of a"), wish("a", 1)).await.map(drop)
        });
        until_held(&house.gate).await;
        // Behind the group that will fail: in the queue, or waiting for what is in the group.
        let confirming = send(&shop, async move |shop| {
            shop.confirm(&ctx(), id, None, None).await.map(drop)
        });
        let looking = send(&shop, async move |shop| {
            shop.get_reservation(&ctx(), id).await.map(drop)
        });
        let repeating = send(&shop, async |shop| {
            let soon = Context {
                deadline: shop.clock().now().saturating_add(1_000),
                ..keyed("k", "1 of a")
            };
            shop.reserve(&soon, wish("a", 1)).await.map(drop)
        });
        super::until(|| shop.in_flight() == 3).await;
        let_all_run().await;
        assert_eq!(house.gate.fatal(), Vec::<String>::new());

        house.gate.break_down();
        super::until(|| !house.gate.fatal().is_empty()).await;
        let said = house.gate.fatal();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("the journal failed: "), "{said:?}");
        for asked in [reserving, confirming, looking] {
            expect_unknown(asked.await.unwrap());
        }
        house.clock.advance(1_000);
        repeating.await.unwrap().unwrap_err();
        // Nothing is promised any more either.
        let soon = Context {
            deadline: house.clock.now().saturating_add(1_000),
            ..ctx()
        };
        shop.reserve(&soon, wish("a", 1)).await.unwrap_err();
        shop.confirm(&soon, id, None, None).await.unwrap_err();
        id
    });
    house.crash_and_open();
    house.run(async |shop| {
        assert_eq!(get(&shop, id).await.status, HoldStatus::Active);
        assert_eq!(view(&shop, "a").await.held, 2);
        let again = shop.reserve(&keyed("k", "1 of a"), wish("a", 1)).await.unwrap();
        assert!(!again.replayed, "it had no effect");
    });
    house.crash();
    house.audit();
}

fn expect_unknown<T: Debug>(done: Result<T, AppError>) {
    assert!(matches!(done, Err(AppError::OutcomeUnknown)), "{done:?}");
}

fn callers_who_hang_up_while_the_device_is_busy_make_no_room(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |config| {
        config.admission.max_in_flight = 64;
        config.admission.max_per_variant = 64;
        config.admission.reserved = 8;
        config.journal.queue_capacity = 72;
        config.journal.group_records = 72;
    });
    house.run(async |shop| {
        stock(&shop, "a", 1_000_000).await;
        for round in 1..=10 {
            house.gate.close();
            let sent: Vec<_> = (0..64)
                .map(|_| {
                    send(&shop, async |shop| {
                        shop.reserve(&ctx(), wish("a", 1)).await.map(drop)
                    })
                })
                .collect();
            // All judged: 64 records are with the journal, and their callers go.
            super::until(|| shop.in_flight() == 64).await;
            let_all_run().await;
            sent.iter().for_each(JoinHandle::abort);
            let_all_run().await;
            for _ in 0..1_000 {
                let done = shop.reserve(&ctx(), wish("a", 1)).await;
                assert!(matches!(done, Err(AppError::Shed(_))), "round {round}: {done:?}");
                assert_eq!(shop.in_flight(), 64);
            }
            house.gate.open();
            super::until(|| shop.in_flight() == 0).await;
            let held = view(&shop, "a").await;
            assert_eq!(held.held, 64 * round, "a hang-up undoes nothing");
            expect_lawful(&held);
        }
    });
    house.crash();
    house.audit();
}
