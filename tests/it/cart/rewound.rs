//! What a restore's rule makes of carts, orders and variants (`domain::rewind`): deadlines move, and nothing of what is in
//! the middle of something.
use super::house::House;
use holdfast::domain::{
    agent::Agent,
    cart::{self, Kept, LineHold},
    order,
    rewind::{Busy, HoldsRule, Rewind},
    time::Timestamp,
    variant::{Event, SaleState},
};

const LATER_MS: i64 = 600_000;

/// A cart with two units held, and the rule ten minutes after the cut.
fn cut(rule: HoldsRule) -> (House, holdfast::domain::ids::CartId, Rewind) {
    let mut house = House::new(&[9]);
    let cart = house.guest();
    house.add(&cart, 0, 2).unwrap();
    house.wait(1_000);
    let (cut_at, now) = (house.now, house.now.saturating_add(LATER_MS));
    (house, cart, Rewind { rule, cut_at, now })
}

/// What became of the one hold there is.
fn deadline(events: &[Event]) -> Option<Timestamp> {
    events.iter().find_map(Event::hold).map(|hold| hold.expires_at)
}

#[test]
fn a_cart_follows_its_holds_and_was_not_left_alone_meanwhile() {
    let (house, id, rewind) = cut(HoldsRule::Rebase);
    let cart = &house.carts[&id];
    let events = rewind.variant(&house.variants[0].variant, false, &Busy::default());
    let moved = events.iter().find_map(Event::hold).unwrap();
    let held = house.variants[0].variant.holds().next().unwrap();
    assert_eq!(
        (moved.max_expires_at, moved.version),
        (held.max_expires_at.saturating_add(LATER_MS), held.version + 1)
    );
    let after = rewind.cart(cart, |_| Some(Kept::from(moved))).unwrap();
    assert_eq!(after.lines[0].hold, LineHold::Held(Kept::from(moved)));
    assert_eq!(
        (after.revision, after.touched_at),
        (cart.revision + 1, cart.touched_at.saturating_add(LATER_MS))
    );
    assert_eq!(rewind.cart(cart, |_| None), None, "none of its holds moved");
    let frozen = cart.decide(&freeze(&id), None, house.now).unwrap().after;
    assert_eq!(
        rewind.cart(&frozen, |_| Some(Kept::from(moved))),
        None,
        "another cart is taking it over"
    );
}

fn freeze(cart: &holdfast::domain::ids::CartId) -> cart::Command {
    cart::Command::Freeze { into: cart.clone() }
}

#[test]
fn holds_of_what_is_at_work_stay_as_they_were() {
    let (mut house, id, rewind) = cut(HoldsRule::Rebase);
    let held = house.variants[0].variant.holds().next().unwrap().expires_at;
    let events = |house: &House, busy: &Busy| rewind.variant(&house.variants[0].variant, false, busy);
    let mut busy = Busy::default();
    busy.cart(&house.carts[&id]);
    assert_eq!(
        deadline(&events(&house, &busy)),
        Some(held.saturating_add(LATER_MS)),
        "it rests"
    );
    let frozen = house.carts[&id]
        .decide(&freeze(&id), None, house.now)
        .unwrap()
        .after;
    busy.cart(&frozen);
    assert!(events(&house, &busy).is_empty());

    let order = house.check_out(&id).unwrap();
    let mut busy = Busy::default();
    busy.order(&house.orders[&order]);
    assert!(
        deadline(&events(&house, &busy)).is_some(),
        "it awaits its payment"
    );
    let pay = order::Command::Confirm {
        reference: "p".to_owned(),
        amount: None,
        currency: None,
        fresh: Vec::new(),
    };
    let paying = house.orders[&order].decide(&pay, None, house.now).unwrap().after;
    assert!(paying.is_working());
    assert_eq!(paying.version, house.orders[&order].version + 1, "it was paid");
    busy.order(&paying);
    assert!(events(&house, &busy).is_empty());
}

#[test]
fn an_order_that_awaits_its_payment_gets_its_time_back_and_no_other() {
    let (mut house, id, rebase) = cut(HoldsRule::Rebase);
    let order = house.check_out(&id).unwrap();
    let order = &house.orders[&order];
    let after = rebase.order(order, |_| None).unwrap();
    assert_eq!(
        (after.payment_deadline, after.version, after.revision),
        (
            order.payment_deadline.saturating_add(LATER_MS),
            order.version + 1,
            order.revision + 1
        )
    );
    let keep = Rewind {
        rule: HoldsRule::Keep,
        ..rebase
    };
    assert_eq!(keep.order(order, |_| None), None);
    let id = order.id.clone();
    house.pay(&id, "p").unwrap();
    assert_eq!(rebase.order(&house.orders[&id], |_| None), None, "it was paid");
}

#[test]
fn only_an_open_variant_that_sold_behind_the_cut_comes_up_paused() {
    let (mut house, _, keep) = cut(HoldsRule::Keep);
    let busy = Busy::default();
    let paused = Event::SaleChanged {
        sale: SaleState::Paused,
    };
    assert_eq!(keep.variant(&house.variants[0].variant, true, &busy), [paused]);
    assert_eq!(keep.variant(&house.variants[0].variant, false, &busy), []);
    let now = house.now;
    house.variants[0].ask(
        &holdfast::domain::variant::Command::SetSale {
            sale: SaleState::Draining,
        },
        now,
    );
    assert_eq!(keep.variant(&house.variants[0].variant, true, &busy), []);
}
