//! What a checkout promises, a test each.
use super::house::{Fate, House};
use holdfast::domain::{
    cart::{Command, Line, LineHold, LineStatus, MergeStrategy, Refusal, Status},
    ids::{CartId, OrderId, Slot},
    order::{self, Order, Payment},
    variant::{self, Confirm},
};

#[test]
fn an_empty_cart_cannot_be_checked_out() {
    let mut house = House::new(&[1]);
    let cart = house.guest();
    assert_eq!(house.check_out(&cart), Err(Refusal::Empty));
}

#[test]
fn a_checkout_takes_ended_and_unconfirmed_lines_again() {
    let mut house = House::new(&[5, 5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 1).unwrap();
    let ended = house.carts[&cart].lines[0].hold.maybe_live();
    house.wait(60_000);
    house.add(&cart, 1, 2).unwrap();
    house.befall(&[Fate::LoseAnswer]);
    house.add(&cart, 2, 5).unwrap();
    house.befall(&[Fate::Deliver, Fate::Crash, Fate::Double]);
    let order = house.check_out(&cart).unwrap();
    assert_eq!(house.count(&cart, LineStatus::Active), 3);
    assert_ne!(house.carts[&cart].lines[0].hold.maybe_live(), ended);
    assert_eq!([house.held(0), house.held(1), house.held(2)], [1, 2, 5]);
    assert_eq!(house.orders.len(), 1);
    let opened = house.orders[&order]
        .lines
        .iter()
        .map(|line| line.held)
        .collect::<Vec<_>>();
    assert_eq!(opened, [false, true, true]);
    let edit = house.add(&cart, 0, 1);
    assert_eq!(edit, Err(Refusal::CheckingOut { order }));
    house.wait(120_000 - 1);
    assert_eq!(house.count(&cart, LineStatus::Active), 3, "the order decides");
}

#[test]
fn a_refused_checkout_names_every_line_and_gives_the_cart_back() {
    let mut house = House::new(&[1, 1, 5]);
    let (cart, other) = (house.guest(), house.guest());
    house.add(&cart, 0, 1).unwrap();
    house.add(&cart, 1, 1).unwrap();
    house.wait(60_000);
    house.add(&cart, 2, 1).unwrap();
    house.add(&other, 0, 1).unwrap();
    house.add(&other, 1, 1).unwrap();
    let Err(Refusal::LinesUnavailable { lines }) = house.check_out(&cart) else {
        panic!("not refused");
    };
    assert_eq!(lines.len(), 2);
    assert_eq!(house.told(&cart), "v0 1 expired, v1 1 expired, v2 1 active");
    assert_eq!(house.carts[&cart].status, Status::Active);
    house.remove(&cart, 0).unwrap();
}

#[test]
fn a_checkout_that_cannot_clear_an_unconfirmed_line_is_refused() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.befall(&[Fate::LoseAnswer, Fate::LoseAsk]);
    house.add(&cart, 0, 1).unwrap();
    assert_eq!(house.check_out(&cart), Err(Refusal::Unanswered));
    assert_eq!(house.told(&cart), "v0 1 unconfirmed");
    house.check_out(&cart).unwrap();
}

#[test]
fn a_paid_order_ends_the_cart() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let order = house.check_out(&cart).unwrap();
    house.pay(&order, "p").unwrap();
    let now = house.now;
    let ended = &house.carts[&cart];
    assert_eq!(
        (&ended.status, ended.ended_at),
        (&Status::Ordered { order: order.clone() }, Some(now))
    );
    assert_eq!(house.told(&cart), "v0 2 none");
    assert_eq!(house.add(&cart, 0, 1), Err(Refusal::Ordered { order }));
}

#[test]
fn a_failed_payment_gives_the_cart_back_with_its_holds() {
    let mut house = House::new(&[5, 5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.wait(59_000);
    house.add(&cart, 1, 1).unwrap();
    let order = house.check_out(&cart).unwrap();
    house.wait(10_000);
    house.fail(&order).unwrap();
    assert_eq!(house.told(&cart), "v0 2 active, v1 1 active");
    // A cart's own time, and never beyond the last deadline, but a minute at least.
    assert_eq!((house.until(&cart, 0), house.until(&cart, 1)), (69 + 60, 69 + 60));
    house.add(&cart, 0, 1).unwrap();
}

/// It was given back to the cart, nobody heard of it, and its time passed before the cart was told.
#[test]
fn a_reopened_line_whose_hold_has_ended_meanwhile_is_expired() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let order = house.check_out(&cart).unwrap();
    let mut order = house.orders[&order].clone();
    let release = variant::Command::ForOrder {
        order: order.id.clone(),
        id: order.lines[0].reservation,
        step: variant::OrderStep::Release,
    };
    let now = house.now;
    house.variants[0].ask(&release, now);
    order.status = order::Status::PaymentFailed;
    order.lines[0].hold = None;
    house.orders.insert(order.id.clone(), order.clone());
    let order = Box::new(order);
    house
        .ask(&cart, &Command::OrderStands { order, reopen: true })
        .unwrap();
    assert_eq!(house.told(&cart), "v0 2 expired");
    house.change(&cart, 0, 2).unwrap();
}

#[test]
fn an_expired_order_leaves_ended_lines_and_a_closed_one_nothing() {
    let mut house = House::new(&[5]);
    let (cart, other) = (house.guest(), house.guest());
    house.add(&cart, 0, 2).unwrap();
    house.add(&other, 0, 2).unwrap();
    house.check_out(&cart).unwrap();
    let closed = house.check_out(&other).unwrap();
    assert_eq!(
        house.until(&cart, 0),
        120,
        "the payment's deadline, not the variant's backstop"
    );
    house.cancel(&closed, true).unwrap();
    house.wait(120_001);
    house.lapse();
    assert_eq!(house.told(&cart), "v0 2 expired");
    assert_eq!(house.carts[&other].status, Status::Abandoned);
    assert_eq!(house.held(0), 0);
    house.change(&cart, 0, 2).unwrap();
}

/// What waits to be held again has been bought, and what is held again is what was bought, as far as it goes.
#[test]
fn a_late_payment_takes_what_it_bought_out_of_the_reopened_cart() {
    let mut house = House::new(&[9, 9, 4, 2]);
    let (cart, other) = (house.guest(), house.guest());
    for variant in 0..4 {
        house.add(&cart, variant, 2).unwrap();
    }
    let order = house.check_out(&cart).unwrap();
    house.wait(120_001);
    house.lapse();
    assert_eq!(
        house.told(&cart),
        "v0 2 expired, v1 2 expired, v2 2 expired, v3 2 expired"
    );
    house.change(&cart, 1, 3).unwrap();
    house.change(&cart, 2, 1).unwrap();
    house.by_id(&cart, 2, |id| variant::Command::Release { id });
    house.change(&cart, 3, 2).unwrap();
    house.add(&other, 2, 2).unwrap();
    house.befall(&[Fate::LoseAnswer, Fate::Crash, Fate::Double]);
    house.pay(&order, "late").unwrap();
    assert_eq!(
        house.told(&cart),
        "v1 1 active, v2 1 expired",
        "somebody gave that one back"
    );
    assert_eq!((house.held(1), house.held(3)), (1, 0));
    let version = house.carts[&cart].version;
    house.pay(&order, "late").unwrap();
    assert_eq!(house.carts[&cart].version, version, "told twice");
    assert_eq!(house.carts[&cart].status, Status::Active);
    assert!(house.orders[&order].refunds.is_empty());
}

/// Word of what is held again may have been lost, or was never asked for; and the look at what is left may be lost too.
#[test]
fn a_late_payment_takes_out_of_the_cart_what_nobody_knows_to_be_held_again() {
    let again: [&[Fate]; 3] = [&[], &[Fate::LoseAnswer], &[Fate::LoseAsk]];
    for (fates, quantity) in again.into_iter().flat_map(|fates| [(fates, 2), (fates, 3)]) {
        for looks in [Fate::Deliver, Fate::LoseAsk, Fate::LoseAnswer] {
            let mut house = House::new(&[9]);
            let cart = house.guest();
            house.add(&cart, 0, 2).unwrap();
            let order = house.check_out(&cart).unwrap();
            house.wait(120_001);
            house.lapse();
            house.befall(fates);
            house.change(&cart, 0, quantity).unwrap();
            let case = format!("{}, {looks:?}", house.told(&cart));
            // The order's two asks of the variant, its word to the cart, and then the look.
            house.befall(&[Fate::Deliver, Fate::Deliver, Fate::Deliver, looks]);
            house.pay(&order, "late").unwrap();
            let held = |line: &Line| matches!(line.hold, LineHold::Held(_));
            let without_price = |line: &&Line| held(line) && line.unit_price.is_none();
            let lines = &house.carts[&cart].lines;
            assert_eq!(lines.iter().find(without_price), None, "{case}");
            house.wait(60_000);
            house.lapse();
            let left = house.told(&cart);
            assert!(left.is_empty() || left == "v0 1 expired", "{case}: {left}");
            assert_eq!(house.held(0), 0, "{case}");
        }
    }
}

/// The shop sold a hold by itself whose word the cart had lost.
#[test]
fn what_was_bought_meanwhile_is_not_bought_again_with_the_cart() {
    let acts: [fn(&mut House, &CartId) -> Option<Refusal>; 3] = [
        |house, cart| house.check_out(cart).err(),
        |house, cart| house.change(cart, 0, 2).err(),
        |house, _| {
            house.lapse();
            None
        },
    ];
    for (number, act) in acts.into_iter().enumerate() {
        let mut house = House::new(&[9]);
        let cart = house.guest();
        house.befall(&[Fate::LoseAnswer]);
        house.add(&cart, 0, 2).unwrap();
        let id = house.carts[&cart].lines[0].hold.maybe_live().unwrap();
        let order = OrderId::made(house.now, Slot::of_cart(7), 1);
        let (quantity, order) = (None, Some(order));
        let now = house.now;
        house.variants[0].ask(&variant::Command::Confirm(Confirm { id, quantity, order }), now);
        house.wait(200);
        let refused = act(&mut house, &cart);
        let told = matches!(
            refused,
            Some(Refusal::Line {
                refusal: variant::Refusal::ReservationConfirmed { .. },
                ..
            })
        );
        assert!(told || number == 2, "{number}: {refused:?}");
        assert_eq!(house.told(&cart), "", "{number}");
        house.wait(1_000);
        house.lapse();
        assert_eq!((house.told(&cart).as_str(), house.held(0)), ("", 0), "{number}");
    }
}

/// The shop sells a line's hold by itself, and nobody tells the cart.
fn sell(house: &mut House, cart: &CartId) {
    let id = house.carts[cart].lines[0].hold.maybe_live().unwrap();
    let (quantity, order, now) = (None, None, house.now);
    house.variants[0].ask(&variant::Command::Confirm(Confirm { id, quantity, order }), now);
}

#[test]
fn what_was_bought_meanwhile_leaves_the_cart_with_an_extension() {
    let mut house = House::new(&[9, 9]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.add(&cart, 1, 1).unwrap();
    sell(&mut house, &cart);
    house.wait(200);
    house.extend(&cart).unwrap();
    assert_eq!(house.told(&cart), "v1 1 active");
}

/// Whichever of the two carts had it.
#[test]
fn what_was_bought_meanwhile_is_not_taken_over_by_a_merge() {
    for (own, theirs, sold, told) in [
        (2, 3, "own", "v0 3 active"),
        (2, 3, "theirs", "v0 2 active"),
        (0, 3, "theirs", ""),
    ] {
        let mut house = House::new(&[9]);
        let (cart, other) = (house.guest(), house.guest());
        for (id, quantity) in [(&cart, own), (&other, theirs)] {
            if quantity > 0 {
                house.add(id, 0, quantity).unwrap();
            }
        }
        let bought = if sold == "own" { &cart } else { &other };
        sell(&mut house, bought);
        house.merge(&cart, &other, MergeStrategy::Sum).unwrap();
        assert_eq!(house.told(&cart), told, "{own} {theirs} {sold}");
        let held = house.carts[&cart].units();
        house.wait(200);
        house.lapse();
        assert_eq!((house.held(0), house.told(&cart)), (held, told.to_owned()));
    }
}

/// A payment comes late while another cart takes the lines over, which comes to nothing.
#[test]
fn a_late_payment_waits_for_a_cart_that_stands_still() {
    let mut house = House::new(&[9]);
    let (cart, other) = (house.guest(), house.guest());
    house.add(&cart, 0, 2).unwrap();
    let order = house.check_out(&cart).unwrap();
    house.wait(120_001);
    house.lapse();
    assert_eq!(house.told(&cart), "v0 2 expired");
    house
        .ask(&cart, &Command::Freeze { into: other.clone() })
        .unwrap();
    let paid = Order {
        payment: Some(Payment {
            reference: "late".to_owned(),
            at: house.now,
        }),
        ..house.orders[&order].clone()
    };
    let stands = Command::OrderStands {
        order: Box::new(paid),
        reopen: false,
    };
    assert_eq!(house.ask(&cart, &stands), Err(Refusal::Busy));
    let thaw = Command::Thaw {
        into: other,
        merged: false,
    };
    house.ask(&cart, &thaw).unwrap();
    house.ask(&cart, &stands).unwrap();
    assert_eq!(house.told(&cart), "");
}

/// The shopper's own hold is no reason to ask a payment back; somebody else's is, and then nothing of the cart is touched.
#[test]
fn a_late_payment_that_cannot_be_honoured_leaves_the_cart_what_it_holds() {
    let mut house = House::new(&[4, 2]);
    let (cart, other) = (house.guest(), house.guest());
    house.add(&cart, 0, 2).unwrap();
    house.add(&cart, 1, 2).unwrap();
    let order = house.check_out(&cart).unwrap();
    house.wait(120_001);
    house.lapse();
    house.change(&cart, 0, 3).unwrap();
    house.add(&other, 1, 1).unwrap();
    let refused = house.pay(&order, "late");
    assert!(
        matches!(refused, Err(order::Refusal::RefundRequired { .. })),
        "{refused:?}"
    );
    assert_eq!(house.told(&cart), "v0 3 active, v1 2 expired");
    house.change(&cart, 0, 4).unwrap();
}

#[test]
fn an_ended_cart_is_not_created_again() {
    let mut house = House::new(&[5]);
    let cart = house.guest();
    let create = Command::Create {
        customer: None,
        session: None,
        policy: house.policy,
    };
    house.ask(&cart, &create).unwrap();
    house.ask(&cart, &Command::Delete).unwrap();
    assert_eq!(house.ask(&cart, &create), Err(Refusal::Abandoned));
}

#[test]
fn every_outcome_of_an_order_is_another_version_of_it() {
    type Ends = fn(&mut House, &OrderId);
    let ends: [Ends; 3] = [
        |house, order| house.pay(order, "p").unwrap(),
        |house, order| house.fail(order).unwrap(),
        |house, _| {
            house.wait(120_001);
            house.lapse();
        },
    ];
    for end in ends {
        let mut house = House::new(&[9]);
        let cart = house.guest();
        house.add(&cart, 0, 2).unwrap();
        let order = house.check_out(&cart).unwrap();
        let before = house.orders[&order].version;
        end(&mut house, &order);
        let after = &house.orders[&order];
        assert!(after.version > before, "{:?} {}", after.status, after.version);
    }
}

#[test]
fn a_refund_that_is_done_is_another_version_of_its_order() {
    let mut house = House::new(&[9]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    let order = house.check_out(&cart).unwrap();
    house.pay(&order, "p").unwrap();
    house.pay(&order, "another").unwrap_err();
    let before = house.orders[&order].version;
    let reference = "another".to_owned();
    house
        .ask_order(&order, &order::Command::RefundDone { reference })
        .unwrap();
    assert_eq!(house.orders[&order].version, before + 1);
}
