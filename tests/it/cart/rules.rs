//! What a cart promises its shopper, a test each.
use super::house::{Fate, House, POLICY, price};
use holdfast::domain::{
    agent::{Agent, Answer, Told, Verdict},
    cart::{Cart, Command, ENDED_KEPT_MS, Happened, LineHold, MergeStrategy, NotExtended, Refusal, Status},
    key::KeyMark,
    policy::{ExpiredLines, Limits},
    time::Timestamp,
    variant::{self, Confirm, Extend, HoldStatus, ReservationMode},
};

fn line_refused(told: Result<Vec<Happened>, Refusal>) -> variant::Refusal {
    match told {
        Err(Refusal::Line { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn adding_again_changes_the_one_hold() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let first = house.carts[&cart].lines[0].hold.maybe_live();
    house.add(&cart, 0, 2).unwrap();
    assert_eq!(house.told(&cart), "v0 4 active");
    assert_eq!(house.carts[&cart].lines[0].hold.maybe_live(), first);
    assert_eq!(house.variants[0].variant.holds().len(), 1);
}

#[test]
fn a_failed_plus_moves_no_deadline_and_changes_nothing() {
    let mut house = House::new(&[3]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let before = house.carts[&cart].clone();
    house.wait(10_000);
    for _ in 0..2 {
        assert!(matches!(
            line_refused(house.add(&cart, 0, 2)),
            variant::Refusal::InsufficientStock { available: 3, .. }
        ));
    }
    let after = house.carts[&cart].clone();
    assert_eq!(
        (&after.lines, after.version, after.touched_at, &after.status),
        (&before.lines, before.version, before.touched_at, &before.status)
    );
    house.change(&cart, 0, 3).unwrap();
    assert_eq!(
        (house.told(&cart).as_str(), house.until(&cart, 0)),
        ("v0 3 active", 60)
    );
}

#[test]
fn a_refused_first_add_leaves_no_cart() {
    let mut house = House::new(&[1]);
    let cart = house.unborn();
    assert!(matches!(
        line_refused(house.add(&cart, 0, 2)),
        variant::Refusal::InsufficientStock { .. }
    ));
    assert!(!house.carts[&cart].exists());
    assert_eq!(house.log.last().unwrap().1, Happened::Forgotten);
    house.add(&cart, 0, 1).unwrap();
    assert!(
        house
            .log
            .iter()
            .any(|(_, happened)| *happened == Happened::Created)
    );
    assert_eq!(
        (house.told(&cart).as_str(), house.carts[&cart].version),
        ("v0 1 active", 1)
    );
    assert_eq!(house.carts[&cart].lines[0].campaign.as_deref(), Some("spring"));
}

#[test]
fn an_ended_line_is_held_again_with_the_sum_or_by_a_change() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.add(&cart, 1, 2).unwrap();
    house.wait(60_000);
    assert_eq!(house.told(&cart), "v0 2 expired, v1 2 expired");
    assert_eq!(house.held(0), 0);
    house.add(&cart, 0, 1).unwrap();
    house.change(&cart, 1, 2).unwrap();
    assert_eq!(house.told(&cart), "v0 3 active, v1 2 active");
    assert!(
        house
            .log
            .iter()
            .any(|(_, happened)| matches!(happened, Happened::LineEnded(_)))
    );
}

#[test]
fn the_shoppers_own_hold_never_blocks_the_shoppers_retry() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    // The answer is lost: all units are held, and the shopper asks once more.
    house.befall(&[Fate::LoseAnswer]);
    house.add(&cart, 0, 5).unwrap();
    assert_eq!(house.told(&cart), "v0 5 unconfirmed");
    house.change(&cart, 0, 5).unwrap();
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v0 5 active", 5));
    // It expired, was not swept, and somebody else has some: what is free is judged, not what was held.
    let other = house.guest();
    house.wait(60_000);
    house.add(&other, 0, 3).unwrap();
    assert!(matches!(
        line_refused(house.change(&cart, 0, 5)),
        variant::Refusal::InsufficientStock { available: 2, .. }
    ));
    house.change(&cart, 0, 2).unwrap();
    assert_eq!(house.held(0), 5);
}

#[test]
fn removing_and_deleting_give_everything_back() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.add(&cart, 1, 2).unwrap();
    house.befall(&[Fate::LoseAnswer, Fate::LoseAsk, Fate::Crash]);
    house.remove(&cart, 0).unwrap();
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v1 2 active", 0));
    assert!(matches!(
        house.remove(&cart, 0),
        Err(Refusal::LineNotFound { .. })
    ));
    house.ask(&cart, &Command::Delete).unwrap();
    assert_eq!(
        (house.held(1), &house.carts[&cart].status),
        (0, &Status::Abandoned)
    );
    house.ask(&cart, &Command::Delete).unwrap();
    assert_eq!(house.add(&cart, 0, 1), Err(Refusal::Abandoned));
}

#[test]
fn what_cannot_be_given_back_is_over_by_its_deadline_at_the_latest() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let line = house.line(&cart, 0);
    let begun = house.carts[&cart]
        .decide(&Command::Remove { line }, None, house.now)
        .unwrap()
        .after;
    let lost = [holdfast::domain::agent::Answer::Unanswered];
    let before = house.now.saturating_add(59_999);
    assert_eq!(begun.conclude(&lost, before).after, begun);
    assert!(
        begun
            .conclude(&lost, before.saturating_add(1))
            .after
            .lines
            .is_empty()
    );
}

#[test]
fn extending_moves_every_line_that_can_and_refuses_when_none_can() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    house.befall(&[Fate::Double]);
    house.extend(&cart).unwrap();
    assert_eq!(house.until(&cart, 0), 90, "doubled, extended once");
    house.extend(&cart).unwrap();
    house.add(&cart, 1, 1).unwrap();
    let first = house.line(&cart, 0);
    let told = house.extend(&cart).unwrap();
    let refused = Happened::NotExtended(first, NotExtended::Limit);
    assert!(told.contains(&refused), "{told:?}");
    assert_eq!((house.until(&cart, 0), house.until(&cart, 1)), (120, 90));
    house.extend(&cart).unwrap();
    let version = house.carts[&cart].version;
    assert!(matches!(
        line_refused(house.extend(&cart)),
        variant::Refusal::ExtensionLimit { .. }
    ));
    assert_eq!(house.carts[&cart].version, version);
    house.wait(200_000);
    assert!(matches!(
        line_refused(house.extend(&cart)),
        variant::Refusal::ReservationExpired { .. }
    ));
    let empty = house.guest();
    assert_eq!(house.extend(&empty), Err(Refusal::Empty));
}

#[test]
fn an_extension_whose_answer_is_lost_is_asked_about_and_not_pretended() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    house.add(&cart, 1, 1).unwrap();
    house.befall(&[Fate::LoseAnswer]);
    house.extend(&cart).unwrap();
    assert_eq!(house.told(&cart), "v0 1 unconfirmed, v1 1 active");
    house.wait(200);
    house.lapse();
    assert_eq!(
        (house.told(&cart).as_str(), house.until(&cart, 0)),
        ("v0 1 active, v1 1 active", 90)
    );
    house.befall(&[Fate::LoseAsk, Fate::LoseAsk]);
    assert_eq!(house.extend(&cart), Err(Refusal::Unanswered));
}

#[test]
fn a_price_is_locked_until_its_hold_ends() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    house.set(0, |settings| settings.price = Some(price(150, "EUR")));
    house.add(&cart, 0, 1).unwrap();
    assert_eq!(house.carts[&cart].lines[0].unit_price, Some(price(100, "EUR")));
    // Not known for a moment whether it grew: still the same hold.
    house.befall(&[Fate::LoseAnswer]);
    house.add(&cart, 0, 1).unwrap();
    house.wait(200);
    house.lapse();
    assert_eq!(house.told(&cart), "v0 3 active");
    let view = house.carts[&cart].view_at(house.now);
    assert_eq!((view.units, view.totals), (3, vec![price(300, "EUR")]));
    assert_eq!(view.lines[0].price_locked_until, view.expires_at);
    house.wait(60_000);
    house.change(&cart, 0, 2).unwrap();
    assert_eq!(house.carts[&cart].lines[0].unit_price, Some(price(150, "EUR")));
}

#[test]
fn a_cart_has_one_currency() {
    let mut house = House::new(&[5, 5, 5]);
    house.set(1, |settings| settings.price = Some(price(9, "USD")));
    house.set(2, |settings| settings.price = None);
    let cart = house.guest();
    house.add(&cart, 2, 1).unwrap();
    house.add(&cart, 0, 1).unwrap();
    house.befall(&[Fate::Deliver, Fate::LoseAnswer, Fate::LoseAsk]);
    assert!(matches!(
        house.add(&cart, 1, 1),
        Err(Refusal::OtherCurrency { .. })
    ));
    assert_eq!(
        (house.told(&cart).as_str(), house.held(1)),
        ("v2 1 active, v0 1 active", 0)
    );
    house.set(1, |settings| {
        settings.reservation_mode = ReservationMode::Untracked
    });
    assert!(matches!(
        house.add(&cart, 1, 1),
        Err(Refusal::OtherCurrency { .. })
    ));
    // A line alone may change its currency with a new hold.
    house.remove(&cart, 0).unwrap();
    house.add(&cart, 1, 1).unwrap();
}

#[test]
fn lines_and_units_have_limits() {
    let mut house = House::new(&[9, 9, 9]);
    house.policy.limits = Limits {
        units_per_order: Some(5),
        lines_per_cart: 2,
        ..POLICY.limits
    };
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.add(&cart, 1, 2).unwrap();
    assert_eq!(house.add(&cart, 2, 1), Err(Refusal::LinesLimit { limit: 2 }));
    house.add(&cart, 1, 1).unwrap();
    let over = Refusal::UnitsLimit { limit: 5, wanted: 6 };
    assert_eq!(house.add(&cart, 1, 1), Err(over.clone()));
    assert_eq!(house.change(&cart, 0, 3), Err(over));
    house.policy.limits.units_per_order = Some(4);
    assert!(matches!(
        house.check_out(&cart),
        Err(Refusal::UnitsLimit { limit: 4, wanted: 5 })
    ));
    house.change(&cart, 0, 1).unwrap();
    house.check_out(&cart).unwrap();
}

#[test]
fn units_are_taken_when_the_variant_takes_them() {
    let mut house = House::new(&[5, 0]);
    house.set(0, |settings| {
        settings.reservation_mode = ReservationMode::OnCheckout
    });
    house.set(1, |settings| {
        settings.reservation_mode = ReservationMode::Untracked
    });
    let cart = house.guest();
    house.add(&cart, 0, 3).unwrap();
    house.add(&cart, 1, 30).unwrap();
    assert_eq!(
        (house.told(&cart).as_str(), house.held(0)),
        ("v0 3 none, v1 30 none", 0)
    );
    assert!(matches!(
        line_refused(house.add(&cart, 0, 3)),
        variant::Refusal::InsufficientStock { .. }
    ));
    house.add(&cart, 0, 2).unwrap();
    house.check_out(&cart).unwrap();
    assert_eq!(
        (house.told(&cart).as_str(), house.held(0)),
        ("v0 5 active, v1 30 active", 5)
    );
}

#[test]
fn expired_lines_stay_or_leave_as_the_store_wants() {
    let mut house = House::new(&[5, 5]);
    house.policy.expired_lines = ExpiredLines::Remove;
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    house.wait(30_000);
    house.add(&cart, 1, 1).unwrap();
    house.wait(29_999);
    assert_eq!(house.told(&cart), "v0 1 active, v1 1 active");
    house.wait(1);
    assert_eq!(
        house.told(&cart),
        "v1 1 active",
        "at once, before anything is logged"
    );
    let gone = house.line(&cart, 0);
    house.add(&cart, 1, 1).unwrap();
    assert_eq!(house.carts[&cart].lines.len(), 1);
    assert!(
        house
            .log
            .iter()
            .any(|(_, happened)| *happened == Happened::LineRemoved(gone))
    );
}

#[test]
fn a_line_that_ended_while_they_stayed_leaves_when_the_store_wants_it() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    house.wait(60_000);
    house.add(&cart, 1, 1).unwrap();
    assert_eq!(house.told(&cart), "v0 1 expired, v1 1 active");
    house.policy.expired_lines = ExpiredLines::Remove;
    house.add(&cart, 1, 1).unwrap();
    house.add(&cart, 1, 1).unwrap();
    assert_eq!(house.carts[&cart].lines.len(), 1);
}

#[test]
fn a_line_that_cannot_be_asked_about_is_unconfirmed_and_asked_again_with_backoff() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.befall(&[Fate::LoseAsk; 10]);
    house.add(&cart, 0, 2).unwrap();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let again = house.carts[&cart].next_deadline().unwrap();
        waits.push(again.since(house.now));
        house.wait(again.since(house.now));
        house.lapse();
    }
    assert_eq!(
        waits,
        [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]
    );
    assert_eq!(house.told(&cart), "v0 2 unconfirmed");
    house.wait(30_000);
    house.lapse();
    assert_eq!(
        (house.told(&cart).as_str(), house.held(0)),
        ("v0 2 active", 2),
        "under an id of its own"
    );
}

#[test]
fn an_unconfirmed_line_that_is_sold_out_says_so() {
    let mut house = House::new(&[2]);
    let (cart, other) = (house.guest(), house.guest());
    house.befall(&[Fate::LoseAsk]);
    house.add(&cart, 0, 2).unwrap();
    house.add(&other, 0, 1).unwrap();
    house.wait(200);
    house.lapse();
    assert_eq!(house.told(&cart), "v0 2 expired");
    house.change(&cart, 0, 1).unwrap();
}

#[test]
fn a_used_up_id_is_not_asked_under_again() {
    let mut house = House::new(&[2]);
    let cart = house.guest();
    house.befall(&[Fate::LoseAnswer]);
    house.add(&cart, 0, 2).unwrap();
    let first = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
    house.wait(60_000);
    house.variants[0].expire(house.now, 10);
    house.lapse();
    let second = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
    assert_ne!(first, second);
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v0 2 active", 2));
}

/// A crash in the middle of an add: the hold was made, the cart was not told, and the hold was given back since.
#[test]
fn an_add_taken_up_again_does_not_raise_what_was_given_back() {
    let mut house = House::new(&[2]);
    let cart = house.guest();
    let (begun, id) = house.begin_to_add(&cart, 0, 2);
    house.grant(&cart, id, 2);
    let now = house.now;
    house.variants[0].ask(&variant::Command::Release { id }, now);
    house.take_up_again(&cart, begun);
    let held = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
    assert_eq!(house.told(&cart), "v0 2 active");
    assert_ne!(held, id, "it has ended");
}

/// The same, and the shop sold the hold by itself.
#[test]
fn a_first_add_taken_up_again_makes_no_cart_of_what_was_bought_meanwhile() {
    let mut house = House::new(&[2]);
    let cart = house.unborn();
    let (begun, id) = house.begin_to_add(&cart, 0, 2);
    house.grant(&cart, id, 2);
    let (quantity, order, now) = (None, None, house.now);
    house.variants[0].ask(&variant::Command::Confirm(Confirm { id, quantity, order }), now);
    house.take_up_again(&cart, begun);
    assert!(!house.carts[&cart].exists());
    assert_eq!(house.held(0), 0);
}

/// The same, and somebody has the hold in hand just now: it is the line's once they have let go.
#[test]
fn an_add_taken_up_again_waits_for_whoever_has_its_hold_in_hand() {
    let mut house = House::new(&[2]);
    let cart = house.unborn();
    let (begun, id) = house.begin_to_add(&cart, 0, 2);
    house.grant(&cart, id, 2);
    let in_flight = Answer::Variant {
        told: Told::Refused(variant::Refusal::InFlight),
        quote: None,
    };
    let later = begun.conclude(&[in_flight], house.now);
    assert_eq!(later.verdict, Verdict::Working);
    house.take_up_again(&cart, later.after);
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v0 2 active", 2));
    assert_eq!(house.carts[&cart].lines[0].hold.maybe_live(), Some(id));
}

#[test]
fn a_cart_left_alone_gives_everything_back_and_is_forgotten_later() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.wait(570_000);
    house.add(&cart, 0, 2).unwrap();
    house.wait(29_999);
    house.lapse();
    assert_eq!(house.told(&cart), "v0 2 active");
    house.extend(&cart).unwrap();
    house.extend(&cart).unwrap();
    house.policy.cart_idle_ms = 60_000;
    house.change(&cart, 0, 1).unwrap();
    house.wait(60_000);
    house.lapse();
    assert_eq!(
        (house.held(0), &house.carts[&cart].status),
        (0, &Status::Abandoned)
    );
    assert_eq!(house.log.last().unwrap().1, Happened::Abandoned);
    let at = house.carts[&cart].next_deadline().unwrap();
    assert_eq!(at.since(house.now), ENDED_KEPT_MS);
    house.wait(ENDED_KEPT_MS);
    house.lapse();
    assert!(!house.carts[&cart].exists());
    assert_eq!(
        house.add(&cart, 0, 0).unwrap_err(),
        Refusal::Line {
            variant: house.variants[0].variant.head().id.clone(),
            refusal: variant::Refusal::OutOfRange,
        }
    );
    assert_eq!(house.extend(&cart), Err(Refusal::NotFound));
}

#[test]
fn a_key_is_in_exactly_one_record() {
    let mut house = House::new(&[5, 1]);
    let (cart, guest) = (house.guest(), house.guest());
    house.add(&guest, 0, 1).unwrap();
    let line = |house: &House| house.line(&cart, 0);
    let key = |number| {
        Some(KeyMark {
            hash: [number; 16],
            fingerprint: [0; 8],
        })
    };
    house.add(&cart, 0, 1).unwrap();
    house.befall(&[
        Fate::Crash,
        Fate::Deliver,
        Fate::LoseAnswer,
        Fate::Deliver,
        Fate::LoseAsk,
    ]);
    let from = guest.clone();
    let (policy, strategy) = (house.policy, MergeStrategy::Sum);
    house
        .ask_keyed(
            &cart,
            &Command::Merge {
                from,
                strategy,
                policy,
            },
            key(1),
        )
        .unwrap();
    let remove = Command::Remove { line: line(&house) };
    house.ask_keyed(&cart, &remove, key(2)).unwrap();
    assert!(house.ask_keyed(&cart, &remove, key(3)).is_err());
    let from = house.unborn();
    assert!(
        house
            .ask_keyed(
                &cart,
                &Command::Merge {
                    from,
                    strategy,
                    policy
                },
                key(4)
            )
            .is_err()
    );
    let hashes: Vec<u8> = house.keys.iter().map(|key| key.hash[0]).collect();
    assert_eq!(hashes, [1, 2]);
}

#[test]
fn a_line_follows_a_hold_that_somebody_else_changes() {
    let mut house = House::new(&[9, 9, 9]);
    let cart = house.guest();
    for variant in 0..3 {
        house.add(&cart, variant, 2).unwrap();
    }
    let terms = house.policy.terms(true);
    house.by_id(&cart, 0, |id| variant::Command::Resize {
        id,
        quantity: 5,
        terms,
    });
    house.by_id(&cart, 0, |id| {
        variant::Command::Extend(Extend {
            id,
            by_ms: None,
            phase: None,
            terms,
            seen: None,
        })
    });
    assert_eq!(
        (house.told(&cart).as_str(), house.until(&cart, 0)),
        ("v0 5 active, v1 2 active, v2 2 active", 90)
    );
    house.by_id(&cart, 1, |id| variant::Command::Release { id });
    house.by_id(&cart, 2, |id| {
        variant::Command::Confirm(Confirm {
            id,
            quantity: None,
            order: None,
        })
    });
    assert_eq!(
        house.told(&cart),
        "v0 5 active, v1 2 expired",
        "what was bought leaves"
    );
    assert!(
        house.variants[2]
            .variant
            .holds()
            .all(|hold| hold.status == HoldStatus::Confirmed)
    );
}

#[test]
fn a_hold_that_ended_without_notice_is_held_anew() {
    let mut house = House::new(&[9]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let id = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
    let now = house.now;
    house.variants[0].ask(&variant::Command::Release { id }, now);
    house.change(&cart, 0, 3).unwrap();
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v0 3 active", 3));
}

#[test]
fn a_hold_that_is_lost_ends_its_line_at_once() {
    let mut house = House::new(&[9]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.wait(10_000);
    let reservation = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
    house.ask(&cart, &Command::HoldLost { reservation }).unwrap();
    assert_eq!(
        (house.told(&cart).as_str(), house.until(&cart, 0)),
        ("v0 2 expired", 10)
    );
}

#[test]
fn word_of_a_hold_that_comes_by_itself_is_a_word_to_the_cart() {
    let mut house = House::new(&[9]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let hold = Box::new(house.variants[0].variant.holds().next().unwrap().clone());
    let told = |told| Answer::Variant { told, quote: None };
    let word = |answer| <Cart as Agent>::word_of(answer);
    assert_eq!(
        word(told(Told::Hold(hold.clone()))),
        Some(Command::HoldFound(hold))
    );
    assert_eq!(word(told(Told::Nothing)), None);
    assert_eq!(word(Answer::Unanswered), None);
}

#[test]
fn a_line_says_when_it_needs_an_extension() {
    let mut house = House::new(&[9]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    let view = |house: &House, at: Timestamp| house.carts[&cart].view_at(at).needs_extension;
    assert!(view(&house, house.now), "under five minutes");
    house.policy.guest.ttl_ms = 400_000;
    let other = house.guest();
    house.add(&other, 0, 1).unwrap();
    let at = house.carts[&other].view_at(house.now).expires_at.unwrap();
    let needs = |at: Timestamp| house.carts[&other].view_at(at).needs_extension;
    assert!(!needs(at.saturating_add(-300_000)) && needs(at.saturating_add(-299_999)) && !needs(at));
    assert!(matches!(house.carts[&other].lines[0].hold, LineHold::Held(_)));
    for _ in 0..house.policy.guest.max_extensions {
        house.extend(&cart).unwrap();
    }
    assert!(!view(&house, house.now), "it has had all of them");
}

#[test]
fn every_law_of_a_cart_bites() {
    let mut house = House::new(&[9, 9]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    house.add(&cart, 1, 1).unwrap();
    let sound = house.carts[&cart].clone();
    let begun = |command: Command| sound.decide(&command, None, house.now).unwrap().after;
    let removing = begun(Command::Remove {
        line: sound.lines[0].id,
    });
    type Breach = fn(&mut Cart);
    let breaches: [(&str, Breach); 9] = [
        ("a line id twice", |cart| cart.lines[1].id = cart.lines[0].id),
        ("a line id to come", |cart| cart.next_line = cart.lines[1].id.0),
        ("a variant twice", |cart| {
            cart.lines[1].variant = cart.lines[0].variant.clone()
        }),
        ("no units", |cart| cart.lines[0].quantity = 0),
        ("another variant's hold", |cart| {
            cart.lines[0].hold = cart.lines[1].hold.clone()
        }),
        ("an end while active", |cart| {
            cart.ended_at = Some(cart.created_at)
        }),
        ("no end", |cart| cart.status = Status::Abandoned),
        ("ended with holds", |cart| {
            cart.status = Status::Abandoned;
            cart.ended_at = Some(cart.created_at);
        }),
        ("lines before it exists", |cart| cart.version = 0),
    ];
    for (what, breach) in breaches {
        let mut broken = sound.clone();
        breach(&mut broken);
        assert!(broken.check().is_err(), "{what}");
    }
    let mut frozen_at_work = removing.clone();
    frozen_at_work.status = Status::Merging { into: cart };
    assert!(frozen_at_work.check().is_err(), "work while it stands still");
    let mut lost = removing;
    lost.lines.remove(0);
    assert!(lost.check().is_err(), "work on a line that is not there");
    let hold = |variant: usize| house.variants[variant].variant.holds().next().unwrap().clone();
    let line = &sound.lines[0];
    assert!(sound.check_line(line, Some(&hold(0)), house.now).is_ok());
    let mut larger = hold(0);
    larger.quantity += 1;
    let mut anothers = hold(0);
    anothers.shopper.cart = None;
    for disagrees in [None, Some(&hold(1)), Some(&larger), Some(&anothers)] {
        assert!(
            sound.check_line(line, disagrees, house.now).is_err(),
            "{disagrees:?}"
        );
    }
}

/// The answer to an add comes after the answer to the change that followed it was lost: it tells of units that are not there
/// any more.
#[test]
fn word_that_comes_late_does_not_overrule_what_was_asked_for_since() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.add(&cart, 0, 3).unwrap();
    let id = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
    let late = Box::new(house.variants[0].variant.hold(id).unwrap().clone());
    house.befall(&[Fate::LoseAnswer]);
    house.change(&cart, 0, 2).unwrap();
    house.ask(&cart, &Command::HoldFound(late)).unwrap();
    assert_eq!(house.told(&cart), "v0 2 unconfirmed");
    house.wait(200);
    house.lapse();
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v0 2 active", 2));
}

/// A line that nobody could confirm leaves at once, whether its variant can be asked or not; what was held there all the same
/// goes back in the background, and so does what is granted later.
#[test]
fn an_unconfirmed_line_leaves_at_once_and_leaves_nothing_behind() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.befall(&[Fate::LoseAnswer, Fate::LoseAsk]);
    house.add(&cart, 0, 3).unwrap();
    assert_eq!(house.told(&cart), "v0 3 unconfirmed");
    house.remove(&cart, 0).unwrap();
    assert_eq!(
        (house.told(&cart).as_str(), house.held(0)),
        ("", 3),
        "nobody was asked"
    );
    house.lapse();
    house.add(&cart, 0, 1).unwrap();
    assert_eq!(house.held(0), 4, "the variant did not hear of it yet");
    house.wait(200);
    house.lapse();
    assert_eq!((house.told(&cart).as_str(), house.held(0)), ("v0 1 active", 1));
    assert!(house.carts[&cart].strays.is_empty());
    // A grant that comes when its line has left.
    house.befall(&[Fate::LoseAsk]);
    let other = house.guest();
    house.add(&other, 0, 2).unwrap();
    let LineHold::Unconfirmed { reservation, .. } = house.carts[&other].lines[0].hold else {
        panic!("{:?}", house.carts[&other]);
    };
    house.remove(&other, 0).unwrap();
    house.lapse();
    house.ask(&other, &Command::Delete).unwrap();
    let hold = house.grant(&other, reservation, 2);
    house.ask(&other, &Command::HoldFound(Box::new(hold))).unwrap();
    assert_eq!(house.held(0), 3);
    house.lapse();
    assert_eq!(house.held(0), 1);
}

/// Word of what others did was lost: every hold is looked at.
#[test]
fn a_cart_that_missed_word_looks_at_its_holds() {
    let mut house = House::new(&[5, 5, 5]);
    let cart = house.guest();
    for variant in 0..3 {
        house.add(&cart, variant, 2).unwrap();
    }
    let now = house.now;
    let id = |house: &House, at: usize| house.carts[&cart].lines[at].hold.maybe_live().unwrap();
    let release = variant::Command::Release { id: id(&house, 0) };
    house.variants[0].ask(&release, now);
    let sell = variant::Command::Confirm(variant::Confirm {
        id: id(&house, 1),
        quantity: None,
        order: None,
    });
    house.variants[1].ask(&sell, now);
    house.look(&cart);
    assert_eq!(house.told(&cart), "v0 2 expired, v2 2 active");
    let before = house.carts[&cart].version;
    house.look(&cart);
    assert_eq!(house.carts[&cart].version, before, "nothing new");
}
