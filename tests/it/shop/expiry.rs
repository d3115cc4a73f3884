//! Commit meets expiry (edge case A), and how due holds are given back (decisions 4, 7 and 8).
use super::{
    House, MINUTE, START, TTL, ctx, expect_lawful, get, hold, on_both_logs, refusal, stock, told,
    until_expired, view, wish, wish_for,
};
use crate::world::World;
use holdfast::{
    app::{AppError, Shop},
    config::JournalBackend,
    domain::{
        ids::{ReservationId, VariantOrdinal},
        policy::Terms,
        rules::{Gate, Rules},
        time::Timestamp,
        variant::{
            Command, Decision, EXPIRIES_PER_TURN, Event, HoldStatus, Refusal, Reserve, Shopper, Variant,
        },
    },
    storage::record::{Fact, Turn, VariantFact},
};
use tokio::task::JoinSet;

on_both_logs! {
    a_payment_meets_the_deadline,
    a_payment_meets_the_deadline_across_a_restart,
    a_payment_in_time_is_repeated_across_a_restart_that_spans_the_deadline,
    a_thousand_due_holds_come_back_in_deadline_order_a_bounded_number_a_turn,
    twenty_thousand_holds_that_end_at_one_instant_let_others_in_between,
    a_reserve_at_the_deadline_needs_no_timer,
    a_reserve_that_needs_six_hundred_due_holds_is_granted_at_once,
    without_reserved_slots_such_a_reserve_is_answered_and_nothing_is_applied,
    a_turn_of_expiries_rides_along_with_a_reserve_without_reserved_slots,
    a_restart_starts_nobody_and_sleeping_variants_wake_at_their_deadlines,
    an_idle_variant_sleeps_and_wakes_up_as_it_was,
}

/// When the payment comes, from the deadline, and whether it is in time.
const PAYMENTS: [(i64, bool); 4] = [(-1, true), (0, false), (1, false), (10 * MINUTE, false)];

fn a_payment_meets_the_deadline(backend: JournalBackend) {
    for (offset, in_time) in PAYMENTS {
        let mut house = House::new(backend);
        house.run(async |shop| {
            stock(&shop, "last", 1).await;
            let id = hold(&shop, "last", 1).await.id;
            refusal(shop.reserve(&ctx(), wish("last", 1)).await);
            house.clock.advance(TTL + offset);
            let paid = shop.confirm(&ctx(), id, None, None).await;
            let second_buyer = shop.reserve(&ctx(), wish("last", 1)).await;
            // The webhook after the browser, and once more much later.
            let paid_again = shop.confirm(&ctx(), id, None, None).await;
            house.clock.advance(TTL + 10 * MINUTE);
            let paid_late = shop.confirm(&ctx(), id, None, None).await;
            if in_time {
                let paid = told(&paid.unwrap());
                refusal(second_buyer);
                assert_eq!(told(&paid_again.unwrap()), paid);
                assert_eq!(told(&paid_late.unwrap()), paid);
            } else {
                second_buyer.unwrap();
                let at = START.saturating_add(TTL + offset);
                for late in [paid, paid_again, paid_late] {
                    assert_eq!(refusal(late), Refusal::ReservationExpired { at }, "{offset}");
                }
            }
            expect_lawful(&view(&shop, "last").await);
        });
        house.crash();
        house.audit();
    }
}

fn a_payment_meets_the_deadline_across_a_restart(backend: JournalBackend) {
    for (offset, in_time) in PAYMENTS {
        let mut house = House::new(backend);
        let id = house.run(async |shop| {
            stock(&shop, "last", 1).await;
            hold(&shop, "last", 1).await.id
        });
        house.crash();
        house.clock.advance(TTL + offset);
        house.open();
        house.run(async |shop| {
            let paid = shop.confirm(&ctx(), id, None, None).await;
            let second_buyer = shop.reserve(&ctx(), wish("last", 1)).await;
            if in_time {
                assert_eq!(paid.unwrap().body.hold.status, HoldStatus::Confirmed);
                refusal(second_buyer);
            } else {
                assert!(matches!(refusal(paid), Refusal::ReservationExpired { .. }));
                second_buyer.unwrap();
            }
        });
        house.crash();
        house.audit();
    }
}

fn a_payment_in_time_is_repeated_across_a_restart_that_spans_the_deadline(backend: JournalBackend) {
    let mut house = House::new(backend);
    let (id, paid) = house.run(async |shop| {
        stock(&shop, "last", 1).await;
        let id = hold(&shop, "last", 1).await.id;
        house.clock.advance(TTL - 1);
        (id, told(&shop.confirm(&ctx(), id, None, None).await.unwrap()))
    });
    for end in [House::crash, House::close] {
        end(&mut house);
        house.clock.advance(10 * MINUTE);
        house.open();
        house.run(async |shop| {
            assert_eq!(told(&shop.confirm(&ctx(), id, None, None).await.unwrap()), paid);
            refusal(shop.reserve(&ctx(), wish("last", 1)).await);
        });
    }
}

/// Holds so many single units, each a millisecond longer than the one before.
async fn hold_many(shop: &std::sync::Arc<Shop>, id: &'static str, count: i64) {
    let mut holding = JoinSet::new();
    for longer in 0..count {
        let shop = shop.clone();
        holding.spawn(async move {
            shop.reserve(&ctx(), wish_for(MINUTE + longer, id, 1))
                .await
                .unwrap()
        });
    }
    assert_eq!(holding.join_all().await.len() as i64, count);
}

fn a_thousand_due_holds_come_back_in_deadline_order_a_bounded_number_a_turn(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "hot", 1_000).await;
        hold_many(&shop, "hot", 1_000).await;
        house.clock.advance(MINUTE + 1_000);
        assert_eq!(
            view(&shop, "hot").await.available,
            Some(1_000),
            "before any timer fired"
        );
        until_expired(&shop, 1_000).await;
    });
    house.crash();
    let audit = house.audit();
    let turns: Vec<usize> = audit
        .turns
        .iter()
        .map(|turn| expiries(turn).len())
        .filter(|count| *count > 0)
        .collect();
    assert!(turns.iter().all(|count| *count <= EXPIRIES_PER_TURN), "{turns:?}");
    let deadlines: Vec<Timestamp> = audit.turns.iter().flat_map(expiries).collect();
    assert_eq!(deadlines.len(), 1_000);
    assert!(deadlines.is_sorted());
}

/// The deadlines of what a turn gave back.
fn expiries(turn: &Turn) -> Vec<Timestamp> {
    let Fact::Variant(fact) = &turn.fact else {
        return Vec::new();
    };
    let expired = |event: &Event| match event {
        Event::Expired(hold) => Some(hold.expires_at),
        _ => None,
    };
    fact.events.iter().filter_map(expired).collect()
}

/// A log of one variant: so many holds that end after a minute, and as many as `later` that end much later.
fn storm(due: usize, later: usize) -> (Vec<Turn>, Vec<ReservationId>) {
    const HOLDS_PER_TURN: usize = 1_000;
    let mut world = World::new("hot", VariantOrdinal(0));
    let create = Command::Create {
        settings: Box::default(),
        on_hand: (due + later) as u64,
        by: "shop".to_owned(),
    };
    let turn = |fact| Turn {
        at: START,
        fact,
        key: None,
    };
    let gate = Fact::Gate(Gate {
        rules: Rules::CURRENT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
    });
    let mut turns = vec![turn(gate)];
    let mut log = |variant: &Variant, events: Vec<Event>| {
        let head = variant.head();
        let named = matches!(events[0], Event::Created { .. });
        turns.push(turn(Fact::Variant(VariantFact {
            ordinal: head.ordinal,
            revision: head.revision,
            named: named.then(|| (head.store.clone(), head.id.clone())),
            events,
            view: named.then(|| Box::new(variant.view(START))),
        })));
    };
    let mut variant = world.variant.clone();
    let decide = |variant: &mut Variant, command: &Command| {
        let Ok(Decision::Granted(events)) = variant.decide(command, START) else {
            panic!("there is room for all")
        };
        events.iter().for_each(|event| variant.apply(event, START));
        events
    };
    let created = decide(&mut variant, &create);
    log(&variant, created);
    let terms = Terms {
        max_ttl_ms: 10 * MINUTE,
        ..Terms::NONE
    };
    let mut ids = Vec::new();
    let mut events = Vec::new();
    for number in 0..due + later {
        let reserve = Reserve {
            id: world.fresh_id(START),
            quantity: 1,
            shopper: Shopper::default(),
            ttl_ms: Some(if number < due { MINUTE } else { 10 * MINUTE }),
            allow_partial: false,
            terms,
            for_order: None,
        };
        ids.push(reserve.id);
        events.extend(decide(&mut variant, &Command::Reserve(reserve)));
        if events.len() == HOLDS_PER_TURN || number + 1 == due + later {
            log(&variant, std::mem::take(&mut events));
        }
    }
    (turns, ids.split_off(due))
}

fn twenty_thousand_holds_that_end_at_one_instant_let_others_in_between(backend: JournalBackend) {
    const DUE: usize = 20_000;
    let (turns, live) = storm(DUE, 30);
    let mut house = House::built(backend, 0, false, |_| {});
    house.write_log(&turns);
    house.open();
    house.run(async |shop| {
        // In one thread the sales come when the first turn of expiries is about to be taken.
        house.clock.advance(MINUTE);
        let mut selling = JoinSet::new();
        for id in live {
            let shop = shop.clone();
            selling.spawn(async move { shop.confirm(&ctx(), id, None, None).await.unwrap() });
        }
        assert_eq!(selling.join_all().await.len(), 30);
        until_expired(&shop, DUE as u64).await;
        let seen = view(&shop, "hot").await;
        assert_eq!(
            (seen.held, seen.committed, seen.available),
            (0, 30, Some(DUE as u64))
        );
        expect_lawful(&seen);
    });
    house.crash();
    let audit = house.audit();
    let counts: Vec<usize> = audit.turns.iter().map(|turn| expiries(turn).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), DUE);
    assert!(
        counts.iter().all(|count| *count <= EXPIRIES_PER_TURN),
        "{counts:?}"
    );
    assert_eq!(
        counts.iter().filter(|count| **count > 0).count(),
        DUE.div_ceil(EXPIRIES_PER_TURN),
        "full turns but the last"
    );
    let last_sale = audit.turns.iter().rposition(is_a_sale).unwrap();
    let before_it = counts[..last_sale].iter().filter(|count| **count > 0).count();
    assert!(before_it <= 2, "a sale waited for {before_it} turns of expiries");
}

fn is_a_sale(turn: &Turn) -> bool {
    let Fact::Variant(fact) = &turn.fact else {
        return false;
    };
    fact.events
        .iter()
        .any(|event| matches!(event, Event::Confirmed { .. }))
}

fn a_reserve_at_the_deadline_needs_no_timer(backend: JournalBackend) {
    // In one thread the wish is on its way before the timer's task can run.
    let mut house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        stock(&shop, "last", 1).await;
        let first = hold(&shop, "last", 1).await;
        house.clock.set(first.expires_at.saturating_add(-1));
        let refused = refusal(shop.reserve(&ctx(), wish("last", 1)).await);
        let release = Some(first.expires_at);
        assert!(
            matches!(refused, Refusal::InsufficientStock { available: 0, next_release_at, .. } if next_release_at == release)
        );
        house.clock.set(first.expires_at);
        let second = shop.reserve(&ctx(), wish("last", 1)).await.unwrap();
        assert_eq!(second.at, first.expires_at);
        assert_eq!(get(&shop, first.id).await.status, HoldStatus::Expired);
    });
    house.crash();
    let audit = house.audit();
    let kinds: Vec<_> = audit.events().skip(1).map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 3);
    // The first record is the log's gate.
    assert_eq!(
        audit.turns.len(),
        1 + 3,
        "the expiry is in the grant's own record"
    );
}

fn a_reserve_that_needs_six_hundred_due_holds_is_granted_at_once(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        stock(&shop, "hot", 600).await;
        hold_many(&shop, "hot", 600).await;
        house.clock.advance(2 * MINUTE);
        let granted = shop.reserve(&ctx(), wish("hot", 600)).await.unwrap();
        assert_eq!(granted.body.hold.quantity, 600);
        assert_eq!(shop.statistics(&ctx()).body.expired, 600);
        expect_lawful(&view(&shop, "hot").await);
    });
    house.crash();
    let audit = house.audit();
    let turns: Vec<usize> = audit
        .turns
        .iter()
        .map(|turn| expiries(turn).len())
        .filter(|count| *count > 0)
        .collect();
    assert_eq!(
        turns,
        [256, 256, 88],
        "in records of their own, the last with the grant"
    );
    assert!(audit.turns.iter().flat_map(expiries).is_sorted());
}

fn without_reserved_slots_such_a_reserve_is_answered_and_nothing_is_applied(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |config| config.admission.reserved = 0);
    house.run(async |shop| {
        stock(&shop, "hot", 600).await;
        hold_many(&shop, "hot", 600).await;
        house.clock.advance(2 * MINUTE);
        let done = shop.reserve(&ctx(), wish("hot", 600)).await;
        assert!(matches!(done, Err(AppError::Late)), "{done:?}");
        assert_eq!(shop.statistics(&ctx()).body.expired, 0);
        assert_eq!(shop.in_flight(), 0, "its permit is free again");
    });
    house.crash();
    let audit = house.audit();
    assert_eq!(audit.holds(|_| true).count(), 600);
    assert_eq!(audit.turns.len(), 1 + 601, "the log's gate and the rest");
}

fn a_turn_of_expiries_rides_along_with_a_reserve_without_reserved_slots(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |config| config.admission.reserved = 0);
    house.run(async |shop| {
        stock(&shop, "hot", 600).await;
        hold_many(&shop, "hot", 600).await;
        house.clock.advance(2 * MINUTE);
        shop.reserve(&ctx(), wish("hot", 256)).await.unwrap();
        assert_eq!(view(&shop, "hot").await.available, Some(344));
    });
    house.crash();
    let audit = house.audit();
    let turns: Vec<usize> = audit
        .turns
        .iter()
        .map(|turn| expiries(turn).len())
        .filter(|count| *count > 0)
        .collect();
    assert_eq!(turns, [256]);
}

fn a_restart_starts_nobody_and_sleeping_variants_wake_at_their_deadlines(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        for id in ["a", "b", "c"] {
            stock(&shop, id, 1).await;
        }
        hold(&shop, "a", 1).await;
        shop.reserve(&ctx(), wish_for(5 * MINUTE, "b", 1)).await.unwrap();
    });
    for _ in 0..2 {
        house.crash_and_open();
        house.run(async |shop| {
            assert_eq!(shop.running_variants(), 0);
            assert_eq!(view(&shop, "a").await.held, 1);
            assert_eq!(shop.running_variants(), 0, "a look does not wake it");
        });
    }
    house.run(async |shop| {
        house.clock.advance(5 * MINUTE - 1);
        assert_eq!(shop.statistics(&ctx()).body.expired, 0);
        house.clock.advance(1);
        until_expired(&shop, 1).await;
        house.clock.advance(10 * MINUTE);
        until_expired(&shop, 2).await;
        super::until(|| shop.running_variants() == 0).await;
    });
    house.crash();
    house.audit();
}

fn an_idle_variant_sleeps_and_wakes_up_as_it_was(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 3).await;
        let sold = hold(&shop, "a", 3).await.id;
        shop.confirm(&ctx(), sold, None, None).await.unwrap();
        let before = view(&shop, "a").await;
        house.clock.advance(MINUTE);
        super::until(|| shop.running_variants() == 0).await;
        let asleep = view(&shop, "a").await;
        assert_eq!((asleep.head, asleep.committed), (before.head, before.committed));
        // The gate outlives the actor: sold out needs nobody awake.
        let refused = refusal(shop.reserve(&ctx(), wish("a", 1)).await);
        assert!(matches!(
            refused,
            Refusal::InsufficientStock {
                available: 0,
                next_release_at: None,
                ..
            }
        ));
        assert_eq!(shop.running_variants(), 0);
        shop.cancel(&ctx(), sold, Some(1), true).await.unwrap();
        shop.reserve(&ctx(), wish("a", 1)).await.unwrap();
        assert_eq!(shop.running_variants(), 1);
    });
    house.crash();
    house.audit();
}
