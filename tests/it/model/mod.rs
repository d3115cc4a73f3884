//! Random commands against a variant and, beside it, against a model so naive that it is plainly right: a list of
//! reservations, sums counted anew each time, and every dead hold gone the moment it is due.
mod naive;
mod said;
mod steps;

use crate::world::{START, World};
use holdfast::domain::{
    bulk::Attempt,
    ids::{BulkId, CustomerId, ReservationId, VariantOrdinal},
    variant::{
        AfterSale, Command, Confirm, Event, Extend, Hold, HoldStatus, Prepare, Reserve, SaleState, Shopper,
    },
};
use naive::{Kept, Model, State};
use proptest::{prelude::*, sample::Index};
use said::{Said, said};
use steps::{Rules, Step, TERMS, rules, step};

/// Stories per run and steps per story: together more than 10,000 steps; `HOLDFAST_STORIES=50` makes it a million.
const STORIES: u32 = 128;
const STEPS: usize = 160;

fn shopper(who: u8) -> Shopper {
    let customer = (who > 0).then(|| CustomerId::parse(&who.to_string()).unwrap());
    Shopper {
        customer,
        ..Shopper::default()
    }
}

fn attempt(try_: u8) -> Attempt {
    Attempt {
        bulk: BulkId(u128::from(try_ / 2)),
        number: u32::from(try_ % 2) + 1,
    }
}

fn reserve(id: ReservationId, who: u8, quantity: u32, ttl_ms: Option<i64>, allow_partial: bool) -> Reserve {
    Reserve {
        id,
        quantity,
        shopper: shopper(who),
        ttl_ms,
        allow_partial,
        terms: TERMS,
        for_order: None,
    }
}

/// The command for a step; `None` for those that are none.
fn command(step: &Step, id: ReservationId, model: &Model, world: &World) -> Option<Command> {
    let of = |index: &Index| model.all[pick(index, &model.all)].id;
    let by = "model".to_owned();
    Some(match step {
        Step::Wait(_) | Step::Expire(_) => return None,
        Step::Reserve {
            who,
            quantity,
            ttl_ms,
            partial,
        } => Command::Reserve(reserve(id, *who, *quantity, *ttl_ms, *partial)),
        Step::ReserveAgain(index) => Command::Reserve(reserve(of(index), 0, 1, None, false)),
        Step::Extend {
            of: index,
            by_ms,
            phase,
        } => Command::Extend(Extend {
            id: of(index),
            by_ms: *by_ms,
            phase: *phase,
            terms: TERMS,
            seen: None,
        }),
        Step::Resize { of: index, quantity } => Command::Resize {
            id: of(index),
            quantity: *quantity,
            terms: TERMS,
        },
        Step::Confirm { of: index, quantity } => Command::Confirm(Confirm {
            id: of(index),
            quantity: *quantity,
            order: None,
        }),
        Step::Release(index) => Command::Release { id: of(index) },
        Step::After {
            of: index,
            what,
            quantity,
            restock,
        } => {
            let id = of(index);
            let closed = world
                .gone
                .get(&id)
                .filter(|hold| hold.status != HoldStatus::Tentative);
            let ask = AfterSale {
                id,
                quantity: *quantity,
                restock: *restock,
                closed: closed.cloned().map(Box::new),
                by,
                keep_ms: 45_000,
            };
            match what {
                0 => Command::Fulfil(ask),
                1 => Command::Cancel(ask),
                _ => Command::Return(ask),
            }
        }
        Step::PrepareNew { try_, who, quantity } => Command::Prepare {
            attempt: attempt(*try_),
            prepare: Prepare::Reserve(reserve(id, *who, *quantity, None, false)),
        },
        Step::Prepare {
            try_,
            of: index,
            what,
        } => Command::Prepare {
            attempt: attempt(*try_),
            prepare: match what {
                0 => Prepare::Extend(Extend {
                    id: of(index),
                    by_ms: None,
                    phase: None,
                    terms: TERMS,
                    seen: None,
                }),
                1 => Prepare::Confirm(of(index)),
                _ => Prepare::Release(of(index)),
            },
        },
        Step::Settle {
            try_,
            of: index,
            commit,
        } => Command::Settle {
            attempt: attempt(*try_),
            id: of(index),
            commit: *commit,
            decided_at: model.now,
            shopper: None,
        },
        Step::SetStock(on_hand) => Command::SetStock {
            on_hand: *on_hand,
            by,
        },
        Step::Adjust(delta) => Command::Adjust {
            delta: *delta,
            reason: String::new(),
            reference: None,
            expected_on_hand: None,
            by,
        },
        Step::Change(rules) => Command::Change {
            settings: Box::new(rules.settings()),
        },
        Step::Sale(sale) => Command::SetSale { sale: *sale },
        Step::Delete => Command::Delete,
    })
}

/// Which reservation a step is about: one of the latest, as older ones have mostly ended.
fn pick(index: &Index, all: &[Kept]) -> usize {
    let recent = all.len().min(10);
    all.len() - recent + index.index(recent)
}

/// Steps that say something about an existing reservation.
fn target(step: &Step) -> Option<&Index> {
    match step {
        Step::ReserveAgain(of)
        | Step::Extend { of, .. }
        | Step::Resize { of, .. }
        | Step::Confirm { of, .. }
        | Step::Release(of)
        | Step::After { of, .. }
        | Step::Prepare { of, .. }
        | Step::Settle { of, .. } => Some(of),
        _ => None,
    }
}

/// Whether `step` is about a reservation that has ended.
fn is_about_ended(step: &Step, model: &Model) -> bool {
    target(step).is_some_and(|of| model.all[pick(of, &model.all)].state == State::Ended)
}

/// Whether both sides may answer differently: the variant has closed a reservation whose sold units all left, or has
/// ended one whose id must not be used again; the store behind it answers then.
fn answered_elsewhere(step: &Step, hold: &Kept) -> bool {
    let closed = hold.state == State::Sold && hold.unshipped() == 0;
    match step {
        Step::ReserveAgain(_) => closed || hold.state == State::Ended,
        Step::Settle { .. } | Step::After { .. } => false,
        _ => closed,
    }
}

fn expect_same(world: &World, model: &Model) {
    let variant = &world.variant;
    let view = variant.view(model.now);
    let available = (!model.rules.untracked).then(|| model.free());
    assert_eq!(
        (view.head.on_hand, view.held, view.committed, view.available),
        (model.on_hand, model.held(), model.committed(), available)
    );
    for kept in &model.all {
        let hold = variant.hold(kept.id).filter(|hold| !hold.is_due(model.now));
        match kept.state {
            State::Ended => assert_eq!(hold, None),
            State::Sold if kept.unshipped() == 0 => {}
            State::Sold | State::Live | State::Tentative => {
                expect_same_hold(hold.expect("the model keeps it"), kept);
            }
        }
    }
}

fn expect_same_hold(hold: &Hold, kept: &Kept) {
    let fulfilment = (
        hold.fulfilment.shipped,
        hold.fulfilment.cancelled,
        hold.fulfilment.returned,
    );
    assert_eq!(
        (hold.quantity, fulfilment),
        (kept.quantity, (kept.shipped, kept.cancelled, kept.returned))
    );
    assert_eq!(hold.pin.is_some(), kept.pin.is_some());
    if kept.state != State::Sold {
        assert_eq!(
            (hold.phase, hold.expires_at, hold.extensions_left),
            (kept.phase, kept.until, kept.extensions)
        );
    }
}

fn run(first: Rules, steps: &[Step]) {
    let rules = Rules {
        safety: first.safety.min(3),
        backorder: first.backorder.min(3),
        ..first
    };
    let mut world = World::new("model", VariantOrdinal(7));
    let create = Command::Create {
        settings: Box::new(rules.settings()),
        on_hand: 12,
        by: "model".to_owned(),
    };
    world.ask(&create, START);
    let mut model = Model {
        now: START,
        on_hand: 12,
        rules,
        sale: SaleState::Open,
        deleted: false,
        all: Vec::new(),
    };
    let mut stored = world.store();
    for (number, step) in steps.iter().enumerate() {
        if target(step).is_some() && model.all.is_empty() {
            continue;
        }
        if let Step::Wait(ms) = step {
            model.now = model.now.saturating_add(*ms);
        }
        model.sweep();
        take(step, &mut world, &mut model);
        if !model.deleted {
            expect_same(&world, &model);
        }
        world.expect_restore_equal(&stored);
        if number % 16 == 0 {
            stored = world.store();
            world.expect_replay_equal();
        }
    }
    world.expect_replay_equal();
}

fn take(step: &Step, world: &mut World, model: &mut Model) {
    if let Step::Expire(limit) = step {
        let events = world.expire(model.now, *limit);
        assert!(
            events
                .iter()
                .all(|event| matches!(event, Event::Expired(_) | Event::Closed(_)))
        );
        return;
    }
    let id = world.fresh_id(model.now);
    let Some(command) = command(step, id, model, world) else {
        return;
    };
    let elsewhere = target(step).is_some_and(|of| answered_elsewhere(step, &model.all[pick(of, &model.all)]));
    if elsewhere && matches!(step, Step::ReserveAgain(_)) {
        return;
    }
    let mut answer = said(&world.ask(&command, model.now));
    if answer == Said::NotConfirmed && is_about_ended(step, model) {
        // Dead, but its end is not logged yet: not sold either way.
        answer = Said::Ended;
    }
    if elsewhere {
        assert!(
            matches!(answer, Said::Ended | Said::Sold | Said::Repeat | Said::Missing),
            "{answer:?}"
        );
        return;
    }
    let expected = if model.deleted {
        Said::Missing
    } else {
        model.step(step, id).unwrap_or_else(|no| no)
    };
    assert_eq!(answer, expected, "{step:?}");
    model.sweep();
}

proptest! {
    #![proptest_config(crate::stories(STORIES))]

    #[test]
    fn a_variant_answers_like_its_naive_model(
        first in rules(),
        steps in proptest::collection::vec(step(), STEPS),
    ) {
        run(first, &steps);
    }
}
