//! A variant whose line of a list is judged waits until it is known what becomes of the list, step by step.
use super::{House, oversold, reserve, sound, until};
use crate::{shop::held::let_all_run, world::START};
use holdfast::{
    actor::{Agreed, Answer, Closing, Draft, Entry, NotDone, NotTogether, Outcome, Together, Unroutable},
    domain::{
        ids::{ReservationId, StoreId, VariantId},
        time::Timestamp,
        variant::{Command, Event, Import, ImportReport, Level, LineFailure, Refusal, WhyNot},
    },
    storage::{
        journal::RejectReason,
        record::{Fact, Told, Turn},
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc,
};
use tokio::sync::oneshot;

const LATER: Timestamp = Timestamp::from_millis(i64::MAX);

fn import(level: Level) -> Import {
    Import {
        settings: Vec::new(),
        level: Some(level),
        sale: None,
        reference: "line 1".to_owned(),
        by: "shop".to_owned(),
    }
}

async fn judged(list: &mut Together, entry: &Arc<Entry>, level: Level) -> Result<Draft, NotDone> {
    list.ask(entry, import(level), LATER).unwrap().await.unwrap()
}

/// The record that closes a list, and its answer.
fn closing() -> (Closing, oneshot::Receiver<Outcome>) {
    let (port, answer) = oneshot::channel();
    let turn = Turn {
        at: START,
        fact: Fact::Told(Told::Imported(Box::default())),
        key: None,
    };
    let claim = None;
    (Closing { turn, claim, port }, answer)
}

/// A line without a key.
fn agreed(entry: &Arc<Entry>, draft: Draft) -> Agreed {
    let entry = Arc::clone(entry);
    let key = None;
    Agreed { entry, draft, key }
}

fn wish() -> Command {
    Command::Reserve(reserve(ReservationId::FIRST))
}

/// The events of a turn that is not logged yet.
fn events(draft: &Draft) -> Vec<Event> {
    match draft.turn.as_deref() {
        None => Vec::new(),
        Some(Turn {
            fact: Fact::Variant(fact),
            ..
        }) => fact.events.clone(),
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_comes_to_a_waiting_variant_is_judged_behind_its_list() {
    for is_logged in [false, true] {
        let house = House::open().await;
        let entry = house.bring_in(&sound("a", 0).0);
        let mut list = Together::begin(&house.directory, 1).await;
        let draft = judged(&mut list, &entry, Level::Delta(-7)).await.unwrap();
        let mut shopper = house.send(&entry, wish()).unwrap();
        let_all_run().await;
        assert!(shopper.try_recv().is_err(), "it waits");
        assert_eq!(house.queue.last().0, 0);
        if !is_logged {
            drop(list);
            let reserved = shopper.await.unwrap();
            assert!(matches!(reserved, Ok(Answer::Logged(_))), "{reserved:?}");
        } else {
            let (closing, told) = closing();
            list.carry_out(vec![agreed(&entry, draft)], closing).unwrap();
            let told = told.await.unwrap();
            let Ok(Answer::Logged(logged)) = told else {
                panic!("{told:?}")
            };
            assert_eq!(logged.number, 2, "it closes the group");
            let refused = shopper.await.unwrap().unwrap_err();
            let NotDone::Refused {
                refusal: Refusal::InsufficientStock { available, .. },
                ..
            } = refused
            else {
                panic!("{refused:?}")
            };
            assert_eq!(available, 0, "the list came first");
        }
        until(|| house.admission.reserved_in_use() == 0).await;
        house.close();
    }
}

#[tokio::test]
async fn a_deadline_that_comes_while_it_waits_ends_its_holds_behind_the_list() {
    let house = House::open().await;
    let entry = house.bring_in(&sound("a", 0).0);
    let mut list = Together::begin(&house.directory, 1).await;
    let draft = judged(&mut list, &entry, Level::Delta(1)).await.unwrap();
    house.clock.advance(60_000);
    let_all_run().await;
    assert_eq!(house.queue.last().0, 0, "nothing happens here");
    let (closing, told) = closing();
    list.carry_out(vec![agreed(&entry, draft)], closing).unwrap();
    assert!(told.await.unwrap().is_ok());
    until(|| house.queue.last().0 == 3).await;
    house.close();
}

#[tokio::test]
async fn what_is_due_when_a_line_is_judged_has_ended_whatever_becomes_of_the_list() {
    let house = House::open().await;
    let entry = house.bring_in(&sound("a", 0).0);
    house.clock.advance(60_000);
    let mut list = Together::begin(&house.directory, 1).await;
    let draft = judged(&mut list, &entry, Level::Counted(0)).await.unwrap();
    assert!(matches!(events(&draft)[..], [Event::StockChanged { .. }]));
    drop(list);
    let reserved = house.ask(&entry, wish()).await.unwrap();
    let Ok(Answer::Logged(logged)) = reserved else {
        panic!("{reserved:?}")
    };
    assert_eq!(logged.number, 2, "behind the end of those that were due");
    house.close();
}

#[tokio::test]
async fn one_that_refuses_its_line_sells_on_and_one_that_agrees_waits() {
    let house = House::open().await;
    let (a, b) = (house.bring_in(&sound("a", 0).0), house.bring_in(&sound("b", 1).0));
    let mut list = Together::begin(&house.directory, 2).await;
    let refused = judged(&mut list, &a, Level::Delta(-8)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            NotDone::Refused {
                refusal: Refusal::BelowHeld { least: 3, .. },
                ..
            }
        ),
        "{refused:?}"
    );
    let draft = judged(&mut list, &b, Level::Counted(10)).await.unwrap();
    assert!(
        draft.turn.is_none(),
        "it is so already, and has to stay so until all are heard"
    );
    let mut waits = house.send(&b, wish()).unwrap();
    assert!(house.ask(&a, wish()).await.unwrap().is_ok());
    let_all_run().await;
    assert!(waits.try_recv().is_err());
    drop(list);
    assert!(waits.await.unwrap().is_ok());
    house.close();
}

#[tokio::test]
async fn lists_that_come_together_are_judged_one_behind_the_other() {
    let house = House::open().await;
    let entry = house.bring_in(&sound("a", 0).0);
    let mut first = Together::begin(&house.directory, 1).await;
    let draft = judged(&mut first, &entry, Level::Delta(-6)).await.unwrap();
    let mut second = Together::begin(&house.directory, 1).await;
    let mut answer = second.ask(&entry, import(Level::Delta(-2)), LATER).unwrap();
    let mut third = Together::begin(&house.directory, 1).await;
    let given_up = third.ask(&entry, import(Level::Delta(-1)), LATER).unwrap();
    let_all_run().await;
    assert!(answer.try_recv().is_err());
    // Whoever gives up takes the place of nobody.
    drop((third, given_up));
    let (closing, told) = closing();
    first.carry_out(vec![agreed(&entry, draft)], closing).unwrap();
    assert!(told.await.unwrap().is_ok());
    let refused = answer.await.unwrap().unwrap_err();
    assert!(
        matches!(
            refused,
            NotDone::Refused {
                refusal: Refusal::BelowHeld { least: 3, .. },
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(house.ask(&entry, wish()).await.unwrap().is_ok());
    house.close();
}

/// An actor that waits handles nothing but what becomes of lists; here it dies of one that it had refused.
#[tokio::test]
async fn nothing_is_logged_for_an_actor_that_has_died_since_it_agreed() {
    let house = House::open().await;
    let (good, _) = sound("a", 0);
    let (a, b) = (house.bring_in(&good), house.bring_in(&sound("b", 1).0));
    house.kept.0.lock().insert(a.ordinal, good);
    let mut refused = Together::begin(&house.directory, 1).await;
    judged(&mut refused, &a, Level::Delta(-8)).await.unwrap_err();
    let mut list = Together::begin(&house.directory, 2).await;
    let drafts = vec![
        agreed(&a, judged(&mut list, &a, Level::Delta(-1)).await.unwrap()),
        agreed(&b, judged(&mut list, &b, Level::Delta(-1)).await.unwrap()),
    ];
    let lost = house.send(&a, wish()).unwrap();
    let strikes = AtomicBool::new(true);
    house.clock.watch(move |place| {
        if place.file().ends_with("actor/variant.rs") && strikes.swap(false, Ordering::Relaxed) {
            // Without the hook's message: it is meant.
            std::panic::resume_unwind(Box::new("a panic of the test"));
        }
    });
    drop(refused);
    assert!(lost.await.is_err(), "what it had put aside went with it");
    let_all_run().await;
    let (closing, told) = closing();
    assert_eq!(list.carry_out(drafts, closing), Err(NotTogether::Lost));
    assert!(told.await.is_err());
    assert_eq!(house.queue.last().0, 0);
    for entry in [&a, &b] {
        assert!(
            house.ask(entry, wish()).await.unwrap().is_ok(),
            "{} sells on",
            entry.id
        );
    }
    until(|| house.admission.reserved_in_use() == 0).await;
    house.close();
}

#[tokio::test]
async fn a_variant_that_comes_back_too_late_to_be_heard_waits_for_nobody() {
    let house = House::open().await;
    let (good, held) = sound("a", 0);
    let entry = house.bring_in(&oversold(&good));
    house.kept.0.lock().insert(entry.ordinal, good);
    let closed = house.ask(&entry, Command::Release { id: held[0] }).await.unwrap();
    assert_eq!(closed.unwrap_err(), NotDone::Quarantined);
    let mut list = Together::begin(&house.directory, 2).await;
    assert_eq!(
        list.ask(&entry, import(Level::Delta(1)), LATER).unwrap_err(),
        Unroutable::Quarantined
    );
    // It is being read again, and that takes long: what is sent to it waits.
    let (open, gate) = mpsc::channel();
    *house.kept.1.lock() = Some(gate);
    assert!(house.directory.release_from_quarantine(&entry));
    let answer = list.ask(&entry, import(Level::Delta(1)), LATER).unwrap();
    let shopper = house.send(&entry, wish()).unwrap();
    drop((list, answer));
    drop(open);
    assert!(shopper.await.unwrap().is_ok());
    assert_eq!(house.queue.last().0, 1, "the shopper's record");
    until(|| house.admission.reserved_in_use() == 0).await;
    house.close();
}

#[tokio::test]
async fn a_variant_that_a_list_would_make_is_there_with_the_list_or_not_at_all() {
    let house = House::open().await;
    let (store, id) = (
        StoreId::parse("default").unwrap(),
        VariantId::parse("new").unwrap(),
    );
    for is_logged in [false, true] {
        let entry = house.directory.place(&store, &id);
        let mut list = Together::begin(&house.directory, 1).await;
        let draft = judged(&mut list, &entry, Level::Counted(5)).await.unwrap();
        assert!(matches!(events(&draft)[..], [Event::Created { .. }]));
        if is_logged {
            let (closing, told) = closing();
            list.carry_out(vec![agreed(&entry, draft)], closing).unwrap();
            assert!(told.await.unwrap().is_ok());
            assert!(house.ask(&entry, wish()).await.unwrap().is_ok());
        } else {
            drop(list);
            until(|| house.directory.find(&store, &id).is_none()).await;
        }
    }
    house.close();
}

/// Units come in: whoever has the answer finds them, whether or not the actor has heard by then.
#[tokio::test]
async fn a_sold_out_variant_is_open_before_its_list_is_answered() {
    let house = House::open().await;
    let entry = house.bring_in(&sound("a", 0).0);
    for _ in 0..7 {
        assert!(house.ask(&entry, wish()).await.unwrap().is_ok());
    }
    let sold_out = || entry.gate.sold_out(START).is_some();
    assert!(sold_out());
    let mut list = Together::begin(&house.directory, 1).await;
    let draft = judged(&mut list, &entry, Level::Delta(1)).await.unwrap();
    let (mut closing, told) = closing();
    // A report that no group can take.
    let mut report = ImportReport::default();
    let variant = VariantId::parse(&"x".repeat(128)).unwrap();
    for line in 0..5_000 {
        let (variant, why) = (variant.clone(), WhyNot::Unknown);
        report.failures.push(LineFailure { line, variant, why });
    }
    closing.turn.fact = Fact::Told(Told::Imported(Box::new(report)));
    let refused = list.carry_out(vec![agreed(&entry, draft)], closing);
    assert_eq!(refused, Err(NotTogether::Rejected(RejectReason::TooLarge)));
    assert!(told.await.is_err());
    until(sold_out).await;
    let mut list = Together::begin(&house.directory, 1).await;
    let draft = judged(&mut list, &entry, Level::Delta(1)).await.unwrap();
    let (closing, told) = self::closing();
    list.carry_out(vec![agreed(&entry, draft)], closing).unwrap();
    assert!(!sold_out(), "nothing else has run since");
    assert!(told.await.unwrap().is_ok());
    assert!(house.ask(&entry, wish()).await.unwrap().is_ok());
    until(sold_out).await;
    house.close();
}
