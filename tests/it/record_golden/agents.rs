//! Carts and orders of the golden bytes: every state, every work, everything that happens.
use super::{at, hold, policy, refusals, reservation};
use holdfast::domain::{
    cart::{self, Capped, Cart, Kept, LineHold, LineId, Merge, MergeStage, MergeStrategy, NotExtended, Task},
    ids::{CartId, CustomerId, OrderId, SessionId, StoreId, VariantId, VariantOrdinal},
    key::KeyMark,
    money::{Currency, Money},
    order::{self, Late, Movement, Order, Payment, Refund, RefundReason, Status, Step, Then},
    variant::{Fulfilment, Refusal},
};
use holdfast::storage::record::{CartFact, Fact, OrderFact};

fn cart_id(last: u8) -> CartId {
    CartId::from_bits(0x018b_cfe5_6800_7abc_aaaa_aaaa_aaaa_aa00 | u128::from(last)).unwrap()
}

fn order_id() -> OrderId {
    OrderId::from_bits(0x018b_cfe5_6800_7abc_bbbb_bbbb_bbbb_bbbb).unwrap()
}

fn kept() -> Kept {
    Kept {
        reservation: reservation(),
        expires_at: at(900),
        max_expires_at: at(1800),
        extensions_left: 3,
        version: 1,
    }
}

fn price() -> Option<Money> {
    Some(Money {
        amount: 2599,
        currency: Currency::parse("USD").unwrap(),
    })
}

fn line(id: u32, hold: LineHold) -> cart::Line {
    cart::Line {
        id: LineId(id),
        variant: VariantId::parse("123").unwrap(),
        ordinal: reservation().variant(),
        quantity: 2,
        unit_price: price(),
        campaign: None,
        hold,
    }
}

/// A cart with two lines, left alone.
pub(super) fn idle_cart() -> Cart {
    Cart {
        id: cart_id(1),
        store: StoreId::parse("default").unwrap(),
        customer: Some(CustomerId::parse("c42").unwrap()),
        session: Some(SessionId::parse("8c5d1e0a-3f7b-4c2d-9e6a-1b2c3d4e5f60").unwrap()),
        status: cart::Status::Active,
        lines: vec![line(1, LineHold::Held(kept())), line(2, LineHold::Held(kept()))],
        next_line: 3,
        strays: Vec::new(),
        created_at: at(0),
        touched_at: at(60),
        ended_at: None,
        policy: policy(),
        version: 3,
        revision: 5,
        work: None,
    }
}

/// A cart with every kind of line, which did `task`.
fn cart(status: cart::Status, task: Task) -> Cart {
    let unconfirmed = LineHold::Unconfirmed {
        reservation: reservation(),
        again_at: at(61),
        tries: 2,
    };
    let campaign = Some("spring".to_owned());
    let lines = [LineHold::None, LineHold::Ended(kept()), unconfirmed];
    let lines = (1..).zip(lines).map(|(id, hold)| cart::Line {
        campaign: campaign.clone(),
        unit_price: None,
        ..line(id, hold)
    });
    Cart {
        customer: None,
        session: None,
        status,
        lines: lines.collect(),
        ended_at: Some(at(70)),
        work: Some(cart::Work {
            task,
            key: Some(key()),
            begun_at: at(60),
            by_shopper: true,
        }),
        ..idle_cart()
    }
}

fn key() -> KeyMark {
    KeyMark {
        hash: [0xab; 16],
        fingerprint: [0xcd; 8],
    }
}

pub(super) fn order() -> Order {
    let fulfilment = Fulfilment {
        shipped: 2,
        cancelled: 0,
        returned: 1,
    };
    Order {
        id: order_id(),
        store: StoreId::parse("default").unwrap(),
        cart: cart_id(1),
        customer: Some(CustomerId::parse("c42").unwrap()),
        session: None,
        status: Status::PartiallyFulfilled,
        lines: vec![order::Line {
            variant: VariantId::parse("123").unwrap(),
            ordinal: VariantOrdinal(7),
            quantity: 2,
            unit_price: price(),
            reservation: reservation(),
            held: true,
            hold: Some(hold()),
            fulfilment,
        }],
        terms: policy().terms(false),
        payment_deadline: at(2100),
        grace_ms: 60_000,
        payment: Some(Payment {
            reference: "pay-1".to_owned(),
            at: at(100),
        }),
        refunds: Vec::new(),
        refused: Vec::new(),
        created_at: at(80),
        version: 4,
        revision: 9,
        work: None,
    }
}

fn refused_order() -> Order {
    let refused = (VariantId::parse("123").unwrap(), Refusal::InFlight);
    Order {
        status: Status::Refused,
        refused: vec![refused],
        ..order()
    }
}

fn working(status: Status, step: Step) -> Order {
    Order {
        status,
        work: Some(order::Work {
            step,
            key: Some(key()),
            begun_at: at(90),
        }),
        ..order()
    }
}

/// Every kind of turn by name.
pub(super) fn facts() -> Vec<(String, Fact)> {
    let carts = carts().into_iter().zip(cart_happened());
    let carts = carts.map(|((name, cart), happened)| {
        let fact = CartFact { cart, happened };
        (format!("turn cart_{name}"), Fact::Cart(Box::new(fact)))
    });
    let orders = orders().into_iter().zip(order_happened());
    let orders = orders.map(|((name, order), happened)| {
        let fact = OrderFact { order, happened };
        (format!("turn order_{name}"), Fact::Order(Box::new(fact)))
    });
    let limits = [
        NotExtended::Limit,
        NotExtended::SaleNotOpen,
        NotExtended::InFlight,
        NotExtended::OwnedByOrder,
    ];
    let [(_, cart), ..] = self::carts();
    let limited = CartFact {
        cart,
        happened: limits
            .map(|why| cart::Happened::NotExtended(LineId(1), why))
            .into(),
    };
    let limited = Fact::Cart(Box::new(limited));
    let limited = ("turn cart_not_extended".to_owned(), limited);
    carts.chain(orders).chain([limited]).collect()
}

fn capped() -> Capped {
    Capped {
        variant: VariantId::parse("123").unwrap(),
        wanted: 3,
        got: 1,
    }
}

fn carts() -> [(&'static str, Cart); 12] {
    let merge = |strategy, stage| {
        Task::Merge(Merge {
            from: cart_id(2),
            strategy,
            stage,
            capped: vec![capped()],
        })
    };
    let moving = MergeStage::Moving {
        lines: vec![line(4, LineHold::None)],
        surplus: vec![line(5, LineHold::Ended(kept()))],
    };
    let ending = MergeStage::Ending { merged: true };
    let order = order_id;
    let into = cart_id(3);
    [
        ("idle", idle_cart()),
        (
            "holding",
            cart(
                cart::Status::Active,
                Task::Hold {
                    line: LineId(3),
                    reservation: reservation(),
                    quantity: 2,
                    new: true,
                },
            ),
        ),
        (
            "resizing",
            cart(
                cart::Status::Active,
                Task::Resize {
                    line: LineId(2),
                    quantity: 300,
                },
            ),
        ),
        (
            "removing",
            cart(
                cart::Status::Abandoned,
                Task::Remove {
                    lines: vec![LineId(1), LineId(2)],
                    abandon: true,
                },
            ),
        ),
        (
            "extending",
            cart(
                cart::Status::Ordered { order: order() },
                Task::Extend { by_ms: Some(300_000) },
            ),
        ),
        (
            "freezing",
            cart(
                cart::Status::Merging { into: into.clone() },
                merge(MergeStrategy::Sum, MergeStage::Freezing),
            ),
        ),
        (
            "moving",
            cart(cart::Status::Active, merge(MergeStrategy::Max, moving)),
        ),
        (
            "ending",
            cart(cart::Status::Merged { into }, merge(MergeStrategy::Keep, ending)),
        ),
        (
            "checking_out",
            cart(
                cart::Status::CheckingOut { order: order() },
                Task::Checkout {
                    order: order(),
                    customer: Some(CustomerId::parse("c42").unwrap()),
                    grace_ms: 60_000,
                },
            ),
        ),
        (
            "undoing",
            cart(
                cart::Status::Active,
                Task::Undo {
                    line: LineId(3),
                    reservation: reservation(),
                    new: true,
                },
            ),
        ),
        (
            "looking",
            cart(
                cart::Status::Active,
                Task::Look {
                    lines: vec![LineId(1)],
                    bought: true,
                },
            ),
        ),
        (
            "giving_back",
            Cart {
                strays: vec![cart::Stray {
                    reservation: reservation(),
                    again_at: at(300),
                    tries: 2,
                }],
                ..cart(
                    cart::Status::Abandoned,
                    Task::GiveBack {
                        reservations: vec![reservation()],
                    },
                )
            },
        ),
    ]
}

/// Everything that happens, for as many carts as there are above.
fn cart_happened() -> [Vec<cart::Happened>; 12] {
    use cart::Happened as Of;
    let line = LineId(1);
    [
        vec![Of::Created, Of::LineHeld(line)],
        vec![Of::Began, Of::LineEnded(line)],
        vec![Of::LineUnconfirmed(line), Of::LineRefused(line)],
        vec![Of::LineChanged(line), Of::LineRemoved(line), Of::Abandoned],
        vec![Of::Extended, Of::Ordered(order_id())],
        vec![Of::Frozen],
        vec![Of::TookOver(cart_id(2)), Of::MergedInto(cart_id(3))],
        vec![Of::Forgotten],
        vec![
            Of::CheckoutBegan(order_id()),
            Of::CheckoutRefused(order_id()),
            Of::CheckedOut(Box::new(order())),
            Of::Reopened(order_id()),
        ],
        vec![Of::Capped(capped())],
        vec![Of::Began],
        Vec::new(),
    ]
}

fn orders() -> Vec<(&'static str, Order)> {
    let settling = |then| Step::Settling {
        attempt: 1,
        reservations: vec![reservation()],
        commit: true,
        decided_at: at(91),
        then,
    };
    let moving = |movement| Step::Moving {
        movement,
        restock: true,
        totals: vec![order().lines[0].fulfilment],
        by: "shop".to_owned(),
    };
    let retaking = Step::Retaking {
        reference: "pay-2".to_owned(),
        reservations: vec![reservation()],
    };
    let taking = Step::Taking {
        attempt: 2,
        promised: 1,
    };
    let reasons = [
        RefundReason::Expired,
        RefundReason::Failed,
        RefundReason::Cancelled,
        RefundReason::AlreadyPaid,
        RefundReason::AmountMismatch,
    ];
    let refunds = reasons.map(|reason| Refund {
        reference: format!("{reason:?}"),
        reason,
        at: at(3000),
        done_at: (reason == RefundReason::Failed).then(|| at(4000)),
    });
    let refunded = Order {
        status: Status::RefundRequired,
        refunds: refunds.to_vec(),
        payment: None,
        ..order()
    };
    let giving_back = Step::GivingBack {
        reopen: true,
        late: None,
    };
    let expiring = Step::GivingBack {
        reopen: false,
        late: Some(Late {
            reference: "pay-2".to_owned(),
            reservations: vec![reservation()],
        }),
    };
    let telling = Step::TellingCart { reopen: false };
    vec![
        ("taking", working(Status::Opening, taking)),
        ("refusing", working(Status::Refused, settling(Then::End))),
        ("opening", working(Status::PendingPayment, settling(Then::Await))),
        (
            "trying_again",
            working(Status::Opening, settling(Then::TryInOrder)),
        ),
        ("paid_late", working(Status::Expired, settling(Then::Confirm))),
        ("retaking", working(Status::Expired, retaking)),
        ("confirming", working(Status::PendingPayment, Step::Confirming)),
        ("failing", working(Status::PaymentFailed, giving_back)),
        ("telling", working(Status::Confirmed, telling)),
        ("fulfilling", working(Status::Fulfilled, moving(Movement::Fulfil))),
        ("cancelling", working(Status::Cancelled, moving(Movement::Cancel))),
        ("returning", working(Status::Returned, moving(Movement::Return))),
        ("refunded", refunded),
        ("undoing", working(Status::RefundRequired, settling(Then::Undo))),
        ("expiring", working(Status::Expired, expiring)),
        ("refused", refused_order()),
    ]
}

/// Everything that happens, for as many orders as there are above.
fn order_happened() -> Vec<Vec<order::Happened>> {
    use order::Happened as Of;
    let variant = || VariantId::parse("123").unwrap();
    let refused = || refusals().map(|refusal| (variant(), refusal)).collect();
    let reference = || "pay-2".to_owned();
    vec![
        vec![Of::Began],
        vec![Of::Refused { lines: refused() }],
        vec![Of::Opened],
        vec![Of::Went],
        vec![Of::PaymentAccepted],
        vec![Of::PaymentExpired],
        vec![Of::PaymentAccepted, Of::Went],
        vec![Of::PaymentFailed],
        vec![Of::Confirmed],
        vec![Of::Fulfilled],
        vec![Of::Cancelled],
        vec![Of::Returned],
        vec![
            Of::RefundRequired {
                reference: reference(),
            },
            Of::RefundDone {
                reference: reference(),
            },
        ],
        vec![Of::Went],
        vec![Of::PaymentExpired],
        vec![Of::LinesRefused { lines: refused() }],
    ]
}
