//! What a merge promises, a test each.
use super::house::{Fate, House, POLICY, price};
use holdfast::domain::{
    agent::{Agent, Verdict},
    cart::{Capped, Command, Happened, MergeStrategy, Refusal, Status},
    ids::StoreId,
    variant::ReservationMode,
};

#[test]
fn a_merge_sums_takes_the_larger_or_keeps() {
    for (strategy, both, told) in [
        (MergeStrategy::Sum, 5, "v0 5 active, v1 1 active"),
        (MergeStrategy::Max, 3, "v0 3 active, v1 1 active"),
        (MergeStrategy::Keep, 2, "v0 2 active, v1 1 active"),
    ] {
        let mut house = House::new(&[9, 9]);
        let (cart, guest) = (house.cart_of(Some("ann")), house.guest());
        house.add(&cart, 0, 2).unwrap();
        house.wait(10_000);
        house.add(&guest, 0, 3).unwrap();
        house.add(&guest, 1, 1).unwrap();
        let moved = house.carts[&guest].lines[1].hold.maybe_live();
        let happened = house.merge(&cart, &guest, strategy).unwrap();
        assert_eq!(house.told(&cart), told);
        assert_eq!(
            (house.held(0), house.until(&cart, 0)),
            (both, 70),
            "the later deadline"
        );
        assert_eq!(
            house.carts[&cart].lines[1].hold.maybe_live(),
            moved,
            "moved, not taken again"
        );
        assert!(happened.contains(&Happened::TookOver(guest.clone())));
        let mut again = house.carts[&cart].clone();
        house.merge(&cart, &guest, strategy).unwrap();
        again.revision = house.carts[&cart].revision;
        assert_eq!(house.carts[&cart], again, "repeat is harmless");
        let merged = Err(Refusal::Merged { into: cart.clone() });
        assert_eq!(house.add(&guest, 0, 1), merged, "names its successor");
        assert_eq!(house.told(&guest), "");
    }
}

#[test]
fn a_merge_is_capped_to_what_is_free_and_allowed_and_says_so() {
    let mut house = House::new(&[100, 9, 9]);
    house.policy.limits.units_per_order = Some(103);
    house.policy.limits.units_per_customer_per_variant = Some(60);
    let (cart, guest) = (house.cart_of(Some("ann")), house.guest());
    house.add(&cart, 0, 40).unwrap();
    house.add(&guest, 0, 60).unwrap();
    house.add(&guest, 1, 3).unwrap();
    house.add(&guest, 2, 9).unwrap();
    let happened = house.merge(&cart, &guest, MergeStrategy::Sum).unwrap();
    let capped = |variant: usize, wanted, got| {
        let variant = house.variants[variant].variant.head().id.clone();
        Happened::Capped(Capped { variant, wanted, got })
    };
    let said: Vec<_> = happened
        .iter()
        .filter(|said| matches!(said, Happened::Capped(_)))
        .cloned()
        .collect();
    assert_eq!(house.told(&cart), "v0 60 active, v1 3 active");
    assert_eq!(said, [capped(2, 9, 0), capped(0, 100, 60)]);
    assert_eq!((house.held(0), house.held(2)), (60, 0));
}

#[test]
fn a_merge_ends_the_same_through_lost_answers_and_crashes() {
    for fates in [
        vec![Fate::Crash; 3],
        vec![
            Fate::Deliver,
            Fate::LoseAnswer,
            Fate::LoseAsk,
            Fate::Double,
            Fate::LoseAnswer,
        ],
        vec![
            Fate::Double,
            Fate::Crash,
            Fate::LoseAnswer,
            Fate::LoseAnswer,
            Fate::LoseAnswer,
        ],
    ] {
        let mut house = House::new(&[9, 9, 9]);
        let (cart, guest) = (house.guest(), house.guest());
        house.add(&cart, 0, 2).unwrap();
        house.add(&guest, 0, 3).unwrap();
        house.add(&guest, 1, 1).unwrap();
        house.befall(&[Fate::LoseAnswer]);
        house.add(&guest, 2, 1).unwrap();
        house.befall(&fates);
        house.merge(&cart, &guest, MergeStrategy::Sum).unwrap();
        let told = house.told(&cart);
        let mut told: Vec<&str> = told.split(", ").collect();
        told.sort_unstable();
        assert_eq!(told, ["v0 5 active", "v1 1 active", "v2 1 active"], "{fates:?}");
        assert_eq!(house.carts[&guest].status, Status::Merged { into: cart.clone() });
    }
}

#[test]
fn a_merge_brings_no_units_back_that_were_given_up_without_an_answer() {
    let mut house = House::new(&[8]);
    let (cart, guest) = (house.guest(), house.guest());
    house.add(&cart, 0, 4).unwrap();
    house.befall(&[Fate::LoseAsk]);
    house.change(&cart, 0, 1).unwrap();
    house.befall(&[Fate::LoseAsk]);
    house.add(&guest, 0, 1).unwrap();
    assert_eq!(
        (house.told(&cart), house.told(&guest), house.held(0)),
        ("v0 1 unconfirmed".to_owned(), "v0 1 unconfirmed".to_owned(), 4)
    );
    house.merge(&cart, &guest, MergeStrategy::Sum).unwrap();
    assert_eq!((house.told(&cart), house.held(0)), ("v0 2 active".to_owned(), 2));
}

#[test]
fn ended_and_unheld_lines_move_too() {
    let mut house = House::new(&[9, 9, 9]);
    house.set(1, |settings| {
        settings.reservation_mode = ReservationMode::OnCheckout
    });
    let (cart, guest) = (house.guest(), house.guest());
    house.add(&guest, 0, 3).unwrap();
    house.add(&cart, 2, 1).unwrap();
    house.add(&guest, 1, 1).unwrap();
    house.wait(60_000);
    house.add(&guest, 2, 2).unwrap();
    house.merge(&cart, &guest, MergeStrategy::Max).unwrap();
    assert_eq!(house.told(&cart), "v2 2 active, v0 3 expired, v1 1 none");
}

#[test]
fn carts_that_cannot_be_merged_go_on_by_themselves() {
    let mut house = House::new(&[9, 9]);
    house.set(1, |settings| settings.price = Some(price(9, "USD")));
    let (ann, bob, guest) = (
        house.cart_of(Some("ann")),
        house.cart_of(Some("bob")),
        house.guest(),
    );
    house.add(&ann, 0, 1).unwrap();
    house.add(&guest, 1, 1).unwrap();
    house.add(&bob, 0, 1).unwrap();
    let unborn = house.unborn();
    for from in [&ann, &bob, &guest, &unborn] {
        let told = house.merge(&ann, from, MergeStrategy::Sum);
        assert!(matches!(told, Err(Refusal::MergeConflict { .. })), "{told:?}");
    }
    house.policy.limits.lines_per_cart = 1;
    house.set(1, |settings| settings.price = None);
    let other = house.guest();
    house.add(&other, 1, 1).unwrap();
    assert_eq!(
        house.merge(&ann, &other, MergeStrategy::Sum),
        Err(Refusal::LinesLimit { limit: 1 })
    );
    house.befall(&[Fate::LoseAnswer]);
    assert_eq!(
        house.merge(&ann, &other, MergeStrategy::Sum),
        Err(Refusal::Unanswered)
    );
    for cart in [&ann, &bob, &guest, &other] {
        assert_eq!(house.carts[cart].status, Status::Active);
    }
    house.add(&guest, 1, 1).unwrap();
}

#[test]
fn a_cart_of_another_store_is_unknown() {
    let mut house = House::new(&[9]);
    let (cart, other, unborn) = (house.guest(), house.guest(), house.unborn());
    house.add(&other, 0, 2).unwrap();
    house.carts.get_mut(&other).unwrap().store = StoreId::parse("elsewhere").unwrap();
    let unknown = house.merge(&cart, &unborn, MergeStrategy::Sum);
    assert!(matches!(unknown, Err(Refusal::MergeConflict { .. })));
    assert_eq!(house.merge(&cart, &other, MergeStrategy::Sum), unknown);
    assert_eq!(
        (house.told(&cart).as_str(), house.told(&other).as_str()),
        ("", "v0 2 active")
    );
    assert_eq!(house.carts[&other].status, Status::Active);
}

#[test]
fn two_carts_that_merge_into_each_other_do_not_wait_for_ever() {
    let mut house = House::new(&[9]);
    let (one, two) = (house.guest(), house.guest());
    let merge = |from: &holdfast::domain::ids::CartId| Command::Merge {
        from: from.clone(),
        strategy: MergeStrategy::Sum,
        policy: POLICY,
    };
    let begun = house.carts[&one]
        .decide(&merge(&two), None, house.now)
        .unwrap()
        .after;
    let other = house.carts[&two]
        .decide(&merge(&one), None, house.now)
        .unwrap()
        .after;
    let freeze = Command::Freeze { into: two.clone() };
    assert!(!begun.waits(&freeze) && begun.waits(&Command::Delete));
    assert_eq!(begun.decide(&freeze, None, house.now), Err(Refusal::Busy));
    let answer = holdfast::domain::agent::Answer::Cart(Err(Refusal::Busy));
    let next = other.conclude(&[answer], house.now);
    assert_eq!(next.verdict, Verdict::Refused(Refusal::Busy));
    assert!(!next.after.is_working());
    let thaw = Command::Thaw {
        into: two,
        merged: false,
    };
    assert_eq!(begun.decide(&thaw, None, house.now).unwrap().after, begun);
}
