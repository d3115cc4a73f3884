//! Carts as they are told, against reviewed bodies.
use super::*;
use crate::domain::ids::{Slot, StoreId, VariantOrdinal};
use crate::domain::policy::{ExpiredLines, HoldLengths, Limits, Policy};

const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: i64 = 60_000;

fn policy() -> Policy {
    let lengths = HoldLengths {
        ttl_ms: 15 * MINUTE,
        extension_ms: 15 * MINUTE,
        max_extensions: 3,
    };
    Policy {
        cart: lengths,
        guest: lengths,
        payment_ttl_ms: 35 * MINUTE,
        limits: Limits {
            units_per_order: None,
            units_per_customer_per_variant: None,
            lines_per_cart: 100,
            window_days: None,
        },
        cart_idle_ms: 24 * 60 * MINUTE,
        max_ttl_ms: 24 * 60 * MINUTE,
        expired_lines: ExpiredLines::Keep,
        version: 1,
    }
}

fn kept(ordinal: u32, expires_at: Timestamp) -> Kept {
    Kept {
        reservation: reservation(ordinal),
        expires_at,
        max_expires_at: AT.saturating_add(60 * MINUTE),
        extensions_left: 3,
        version: 1,
    }
}

fn reservation(ordinal: u32) -> ReservationId {
    ReservationId::new(AT, Slot::of_cart(1), VariantOrdinal(ordinal), 1)
}

fn line(number: u32, quantity: u32, hold: LineHold) -> Line {
    Line {
        id: LineId(number),
        variant: VariantId::parse(&format!("v{number}")).unwrap(),
        ordinal: VariantOrdinal(number),
        quantity,
        unit_price: Some(Money {
            amount: 2599,
            currency: Currency::parse("USD").unwrap(),
        }),
        campaign: None,
        hold,
    }
}

/// A line of each kind.
fn cart(status: Status) -> Cart {
    let held = line(1, 2, LineHold::Held(kept(1, AT.saturating_add(15 * MINUTE))));
    let due = line(2, 1, LineHold::Held(kept(2, AT)));
    let ended = line(3, 1, LineHold::Ended(kept(3, AT.saturating_add(MINUTE))));
    let unconfirmed = LineHold::Unconfirmed {
        reservation: reservation(4),
        again_at: AT.saturating_add(200),
        tries: 1,
    };
    Cart {
        id: CartId::made(AT, Slot::of_cart(1), 1),
        store: StoreId::parse("default").unwrap(),
        customer: Some(CustomerId::parse("u1").unwrap()),
        session: None,
        status,
        lines: vec![
            Line {
                campaign: Some("spring".into()),
                ..held
            },
            due,
            ended,
            line(4, 1, unconfirmed),
            line(5, 1, LineHold::None),
        ],
        next_line: 6,
        strays: Vec::new(),
        created_at: AT.saturating_add(-MINUTE),
        touched_at: AT,
        ended_at: None,
        policy: policy(),
        version: 7,
        revision: 12,
        work: None,
    }
}

fn done(status: Status, happened: Vec<Happened>) -> CartDone {
    CartDone {
        cart: Box::new(cart(status)),
        happened,
    }
}

fn pretty(view: &impl Serialize) -> String {
    serde_json::to_string_pretty(view).unwrap() + "\n"
}

#[test]
fn an_active_cart_is_told_line_by_line() {
    let view = CartView::new(&cart(Status::Active), AT);
    assert_eq!(
        pretty(&view),
        include_str!("../../../../tests/golden/http/cart.json")
    );
}

#[test]
fn the_deadline_itself_is_past_and_the_moment_before_is_not() {
    let word = |at: Timestamp| {
        let view = CartView::new(&cart(Status::Active), at);
        view.items[1].reservation_status
    };
    assert_eq!(word(AT.saturating_add(-1)), Some("active"));
    assert_eq!(word(AT), Some("expired"));
}

#[test]
fn an_extended_cart_says_what_came_of_each_line() {
    let done = done(Status::Active, vec![Happened::Extended]);
    let view = ExtendedCart::new(&done, AT);
    let told: Vec<_> = view
        .results
        .iter()
        .map(|line| (line.extended, line.code))
        .collect();
    assert_eq!(
        told,
        [
            (true, None),
            (false, Some("reservation-expired")),
            (false, Some("reservation-expired")),
            (false, Some("line-unconfirmed")),
            (false, Some("not-held")),
        ]
    );
    let body = serde_json::to_value(&view).unwrap();
    assert_eq!((&body["status"], &body["version"]), (&"active".into(), &7.into()));
    for (why, code) in [
        (NotExtended::Limit, "extension-limit"),
        (NotExtended::SaleNotOpen, "sale-not-open"),
        (NotExtended::InFlight, "request-in-flight"),
        (NotExtended::OwnedByOrder, "owned-by-order"),
    ] {
        let refused = CartDone {
            happened: vec![Happened::NotExtended(LineId(1), why)],
            ..done.clone()
        };
        let view = ExtendedCart::new(&refused, AT);
        assert_eq!(view.results[0].code, Some(code));
    }
    let of_before = CartDone {
        happened: vec![Happened::LineRefused(LineId(1))],
        ..done
    };
    assert_eq!(
        ExtendedCart::new(&of_before, AT).results[0].code,
        Some("extension-limit")
    );
}

#[test]
fn in_checkout_the_order_has_the_deadline() {
    let order = OrderId::parse("ord_1").unwrap();
    let view = CartView::new(&cart(Status::CheckingOut { order: order.clone() }), AT);
    assert_eq!(
        (view.status, view.order_id),
        ("checking_out", Some(Shown(order.clone())))
    );
    let due = &view.items[1];
    assert_eq!(
        (due.reservation_status, due.reserved_until),
        (Some("active"), None)
    );
    let view = CartView::new(&cart(Status::Ordered { order }), AT);
    assert_eq!(
        (view.status, view.items[0].reservation_status, view.expires_at),
        ("ordered", None, None)
    );
}

#[test]
fn a_merged_cart_names_its_successor_and_a_merge_the_lines_it_changed() {
    let into = CartId::parse("cart_2").unwrap();
    let view = CartView::new(&cart(Status::Merged { into: into.clone() }), AT);
    assert_eq!(
        (view.status, view.merged_into),
        ("merged", Some(Shown(into.clone())))
    );
    assert_eq!(
        CartView::new(&cart(Status::Merging { into: into.clone() }), AT).status,
        "active"
    );
    let capped = |wanted, got| {
        Happened::Capped(Capped {
            variant: VariantId::parse("v1").unwrap(),
            wanted,
            got,
        })
    };
    let happened = vec![capped(120, 100), capped(1, 0), Happened::TookOver(into)];
    let view = CartView::after(&done(Status::Active, happened), AT);
    let told: Vec<_> = view
        .warnings
        .iter()
        .map(|warning| (warning.code, warning.requested, warning.quantity))
        .collect();
    assert_eq!(
        told,
        [
            ("line-unconfirmed", 1, 1),
            ("quantity-capped", 120, 100),
            ("quantity-capped", 1, 0)
        ]
    );
    assert!(view.warnings[1].message.contains("100 of this instead of 120"));
}

#[test]
fn where_expired_lines_leave_they_leave_at_their_deadline() {
    let mut cart = cart(Status::Active);
    cart.policy.expired_lines = ExpiredLines::Remove;
    let view = CartView::new(&cart, AT);
    let shown: Vec<_> = view.items.iter().map(|item| item.id.0.0.0).collect();
    assert_eq!((shown, view.totals.items), (vec![1, 4, 5], 4));
}

#[test]
fn totals_are_sure_or_unknown() {
    let mut cart = cart(Status::Active);
    cart.lines[4].unit_price = None;
    let view = CartView::new(&cart, AT);
    assert_eq!((view.totals.items, view.totals.amount), (6, None));
    cart.lines.clear();
    let view = CartView::new(&cart, AT);
    assert_eq!((view.totals.items, view.totals.amount), (0, Some(0)));
    assert!(view.currency.is_none() && view.expires_at.is_none());
}

#[test]
fn a_line_has_one_spelling() {
    assert_eq!(LineHandle::parse("line_7"), Some(LineHandle(LineId(7))));
    for foreign in [
        "",
        "7",
        "line_",
        "line_07",
        "line_+7",
        "line_-1",
        "line_4294967296",
        "LINE_7",
    ] {
        assert_eq!(LineHandle::parse(foreign), None, "{foreign}");
    }
}

#[test]
fn what_is_left_is_said_as_people_count() {
    for (ms, expected) in [
        (15 * MINUTE, "15 more minutes"),
        (MINUTE + 1, "2 more minutes"),
        (MINUTE, "60 more seconds"),
        (1, "1 more second."),
    ] {
        assert!(held_for(ms).contains(expected), "{ms}: {}", held_for(ms));
    }
}
