//! Any cart and any order, with any work in hand.
use super::{
    at, cart_id, customer, fulfilment, hold, key, policy, price, refusal, reservation, session, store, terms,
    text, variant_id,
};
use holdfast::domain::{
    cart::{self, Capped, Cart, Kept, LineHold, LineId, Merge, MergeStage, MergeStrategy, NotExtended, Task},
    ids::{CartId, OrderId, Slot, VariantOrdinal},
    order::{self, Late, Movement, Order, Payment, Refund, RefundReason, Status, Step, Then},
    time::Timestamp,
    variant::Fulfilment,
};
use holdfast::storage::record::{CartFact, Fact, OrderFact};
use proptest::{collection, option, prelude::*, sample::select};

fn made() -> impl Strategy<Value = (Timestamp, Slot, u64)> {
    (0..1_i64 << 48, any::<u64>(), any::<u64>())
        .prop_map(|(created, slot, random)| (Timestamp::from_millis(created), Slot::of_cart(slot), random))
}

fn made_cart() -> impl Strategy<Value = CartId> {
    made().prop_map(|(created_at, slot, random)| CartId::made(created_at, slot, random))
}

fn made_order() -> impl Strategy<Value = OrderId> {
    made().prop_map(|(created_at, slot, random)| OrderId::made(created_at, slot, random))
}

fn line_id() -> impl Strategy<Value = LineId> {
    any::<u32>().prop_map(LineId)
}

fn kept() -> impl Strategy<Value = Kept> {
    (reservation(), at(), at(), any::<u8>(), any::<u32>()).prop_map(
        |(reservation, expires_at, max_expires_at, extensions_left, version)| Kept {
            reservation,
            expires_at,
            max_expires_at,
            extensions_left,
            version,
        },
    )
}

fn line() -> BoxedStrategy<cart::Line> {
    let hold = prop_oneof![
        Just(LineHold::None),
        kept().prop_map(LineHold::Held),
        kept().prop_map(LineHold::Ended),
        (reservation(), at(), any::<u32>()).prop_map(|(reservation, again_at, tries)| {
            LineHold::Unconfirmed {
                reservation,
                again_at,
                tries,
            }
        }),
    ];
    let of = (line_id(), variant_id(), any::<u32>(), 1..=u32::MAX);
    (of, option::of(price()), option::of(text()), hold)
        .prop_map(
            |((id, variant, ordinal, quantity), unit_price, campaign, hold)| cart::Line {
                id,
                variant,
                ordinal: VariantOrdinal(ordinal),
                quantity,
                unit_price,
                campaign,
                hold,
            },
        )
        .boxed()
}

fn capped() -> impl Strategy<Value = Capped> {
    (variant_id(), any::<u32>(), any::<u32>()).prop_map(|(variant, wanted, got)| Capped {
        variant,
        wanted,
        got,
    })
}

fn task() -> BoxedStrategy<Task> {
    let lines = || collection::vec(line(), 0..3);
    let stage = prop_oneof![
        Just(MergeStage::Freezing),
        (lines(), lines()).prop_map(|(lines, surplus)| MergeStage::Moving { lines, surplus }),
        any::<bool>().prop_map(|merged| MergeStage::Ending { merged }),
    ];
    let strategy = select(vec![MergeStrategy::Sum, MergeStrategy::Max, MergeStrategy::Keep]);
    prop_oneof![
        (line_id(), reservation(), 1..=u32::MAX, any::<bool>()).prop_map(
            |(line, reservation, quantity, new)| Task::Hold {
                line,
                reservation,
                quantity,
                new,
            }
        ),
        (line_id(), 1..=u32::MAX).prop_map(|(line, quantity)| Task::Resize { line, quantity }),
        (collection::vec(line_id(), 0..4), any::<bool>())
            .prop_map(|(lines, abandon)| Task::Remove { lines, abandon }),
        any::<Option<i64>>().prop_map(|by_ms| Task::Extend { by_ms }),
        (cart_id(), strategy, stage, collection::vec(capped(), 0..3)).prop_map(
            |(from, strategy, stage, capped)| {
                Task::Merge(Merge {
                    from,
                    strategy,
                    stage,
                    capped,
                })
            }
        ),
        (made_order(), option::of(customer()), any::<i64>()).prop_map(|(order, customer, grace_ms)| {
            Task::Checkout {
                order,
                customer,
                grace_ms,
            }
        }),
        (line_id(), reservation(), any::<bool>()).prop_map(|(line, reservation, new)| Task::Undo {
            line,
            reservation,
            new,
        }),
        (collection::vec(line_id(), 0..4), any::<bool>())
            .prop_map(|(lines, bought)| Task::Look { lines, bought }),
        collection::vec(reservation(), 0..4).prop_map(|reservations| Task::GiveBack { reservations }),
    ]
    .boxed()
}

/// A cart. The laws need not hold: they are no matter of the format.
pub(crate) fn cart() -> BoxedStrategy<Cart> {
    let status = prop_oneof![
        Just(cart::Status::Active),
        Just(cart::Status::Abandoned),
        made_order().prop_map(|order| cart::Status::CheckingOut { order }),
        made_order().prop_map(|order| cart::Status::Ordered { order }),
        made_cart().prop_map(|into| cart::Status::Merging { into }),
        made_cart().prop_map(|into| cart::Status::Merged { into }),
    ];
    let work =
        (task(), option::of(key()), at(), any::<bool>()).prop_map(|(task, key, begun_at, by_shopper)| {
            cart::Work {
                task,
                key,
                begun_at,
                by_shopper,
            }
        });
    let who = (
        made_cart(),
        store(),
        option::of(customer()),
        option::of(session()),
    );
    let moments = (at(), at(), option::of(at()));
    let counts = (any::<u32>(), any::<u64>(), any::<u64>());
    let stray = (reservation(), at(), any::<u32>()).prop_map(|(reservation, again_at, tries)| cart::Stray {
        reservation,
        again_at,
        tries,
    });
    let strays = collection::vec(stray, 0..3);
    let parts = (collection::vec(line(), 0..4), policy(), strays, option::of(work));
    (who, status, moments, counts, parts)
        .prop_map(
            |((id, store, customer, session), status, moments, counts, (lines, policy, strays, work))| Cart {
                id,
                store,
                customer,
                session,
                status,
                lines,
                next_line: counts.0,
                created_at: moments.0,
                touched_at: moments.1,
                ended_at: moments.2,
                policy,
                version: counts.1,
                revision: counts.2,
                strays,
                work,
            },
        )
        .boxed()
}

fn order_line() -> BoxedStrategy<order::Line> {
    let quantity = prop_oneof![1..=10_u32, 1..=u32::MAX];
    let quantity = quantity.prop_flat_map(|quantity| (Just(quantity), fulfilment(quantity)));
    let of = (variant_id(), any::<u32>(), option::of(price()), reservation());
    (of, quantity, any::<bool>(), option::of(hold()))
        .prop_map(
            |((variant, ordinal, unit_price, reservation), (quantity, fulfilment), held, hold)| order::Line {
                variant,
                ordinal: VariantOrdinal(ordinal),
                quantity,
                unit_price,
                reservation,
                held,
                hold,
                fulfilment,
            },
        )
        .boxed()
}

/// A step of an order with these lines.
fn step(lines: &[order::Line]) -> BoxedStrategy<Step> {
    let count = lines.len();
    let reservations = move || collection::vec(reservation(), count);
    let late = move || {
        (text(), reservations()).prop_map(|(reference, reservations)| Late {
            reference,
            reservations,
        })
    };
    let totals: Vec<Fulfilment> = lines.iter().map(|line| line.fulfilment).collect();
    let then = select(vec![
        Then::Await,
        Then::Confirm,
        Then::End,
        Then::Undo,
        Then::TryInOrder,
    ]);
    let movement = select(vec![Movement::Fulfil, Movement::Cancel, Movement::Return]);
    prop_oneof![
        (any::<u32>(), 0..=u32::try_from(count).unwrap())
            .prop_map(|(attempt, promised)| Step::Taking { attempt, promised }),
        (any::<u32>(), reservations(), any::<bool>(), at(), then).prop_map(
            |(attempt, reservations, commit, decided_at, then)| Step::Settling {
                attempt,
                reservations,
                commit,
                decided_at,
                then,
            }
        ),
        late().prop_map(
            |Late {
                 reference,
                 reservations,
             }| Step::Retaking {
                reference,
                reservations,
            }
        ),
        Just(Step::Confirming),
        (any::<bool>(), option::of(late())).prop_map(|(reopen, late)| Step::GivingBack { reopen, late }),
        (movement, any::<bool>(), text()).prop_map(move |(movement, restock, by)| Step::Moving {
            movement,
            restock,
            totals: totals.clone(),
            by,
        }),
        any::<bool>().prop_map(|reopen| Step::TellingCart { reopen }),
    ]
    .boxed()
}

/// Every status.
pub(crate) const STATUSES: [Status; 11] = [
    Status::Opening,
    Status::Refused,
    Status::PendingPayment,
    Status::PaymentFailed,
    Status::Confirmed,
    Status::PartiallyFulfilled,
    Status::Fulfilled,
    Status::Cancelled,
    Status::Returned,
    Status::Expired,
    Status::RefundRequired,
];

fn refund() -> impl Strategy<Value = Refund> {
    let reason = select(vec![
        RefundReason::Expired,
        RefundReason::Failed,
        RefundReason::Cancelled,
        RefundReason::AlreadyPaid,
        RefundReason::AmountMismatch,
    ]);
    (text(), reason, at(), option::of(at())).prop_map(|(reference, reason, at, done_at)| Refund {
        reference,
        reason,
        at,
        done_at,
    })
}

/// An order. The laws need not hold: they are no matter of the format.
pub(crate) fn order() -> BoxedStrategy<Order> {
    let who = (
        made_order(),
        store(),
        made_cart(),
        option::of(customer()),
        option::of(session()),
    );
    let lines =
        collection::vec(order_line(), 1..4).prop_flat_map(|lines| {
            let work = (step(&lines), option::of(key()), at())
                .prop_map(|(step, key, begun_at)| order::Work { step, key, begun_at });
            (Just(lines), option::of(work))
        });
    let payment = (text(), at()).prop_map(|(reference, at)| Payment { reference, at });
    let refused = collection::vec((variant_id(), refusal()), 0..3);
    let paid = (option::of(payment), collection::vec(refund(), 0..3), refused);
    let figures = (at(), at(), any::<i64>(), any::<u64>(), any::<u64>());
    let stands = (select(STATUSES.to_vec()), terms());
    (who, stands, lines, paid, figures)
        .prop_map(
            |(who, (status, terms), (lines, work), (payment, refunds, refused), figures)| Order {
                id: who.0,
                store: who.1,
                cart: who.2,
                customer: who.3,
                session: who.4,
                status,
                lines,
                terms,
                payment_deadline: figures.0,
                grace_ms: figures.2,
                payment,
                refunds,
                refused,
                created_at: figures.1,
                version: figures.3,
                revision: figures.4,
                work,
            },
        )
        .boxed()
}

fn cart_happened() -> BoxedStrategy<cart::Happened> {
    use cart::Happened as Of;
    prop_oneof![
        select(vec![
            Of::Created,
            Of::Began,
            Of::Extended,
            Of::Frozen,
            Of::Abandoned,
            Of::Forgotten,
        ]),
        (
            line_id(),
            select(vec![
                Of::LineHeld as fn(LineId) -> Of,
                Of::LineUnconfirmed,
                Of::LineRefused,
                Of::LineChanged,
                Of::LineEnded,
                Of::LineRemoved,
            ])
        )
            .prop_map(|(line, of)| of(line)),
        (
            made_cart(),
            select(vec![Of::TookOver as fn(CartId) -> Of, Of::MergedInto])
        )
            .prop_map(|(cart, of)| of(cart)),
        (
            made_order(),
            select(vec![
                Of::CheckoutBegan as fn(OrderId) -> Of,
                Of::CheckoutRefused,
                Of::Reopened,
                Of::Ordered,
            ])
        )
            .prop_map(|(order, of)| of(order)),
        order().prop_map(|order| Of::CheckedOut(Box::new(order))),
        capped().prop_map(Of::Capped),
        (
            line_id(),
            select(vec![
                NotExtended::Limit,
                NotExtended::SaleNotOpen,
                NotExtended::InFlight,
                NotExtended::OwnedByOrder,
            ])
        )
            .prop_map(|(line, why)| Of::NotExtended(line, why)),
    ]
    .boxed()
}

fn order_happened() -> BoxedStrategy<order::Happened> {
    use order::Happened as Of;
    prop_oneof![
        select(vec![
            Of::Began,
            Of::Went,
            Of::Opened,
            Of::PaymentAccepted,
            Of::PaymentExpired,
            Of::PaymentFailed,
            Of::Confirmed,
            Of::Fulfilled,
            Of::Cancelled,
            Of::Returned,
        ]),
        collection::vec((variant_id(), refusal()), 0..3).prop_map(|lines| Of::Refused { lines }),
        collection::vec((variant_id(), refusal()), 0..3).prop_map(|lines| Of::LinesRefused { lines }),
        text().prop_map(|reference| Of::RefundRequired { reference }),
        text().prop_map(|reference| Of::RefundDone { reference }),
    ]
    .boxed()
}

/// A turn of a cart or an order.
pub(super) fn fact() -> BoxedStrategy<Fact> {
    prop_oneof![
        (cart(), collection::vec(cart_happened(), 0..3))
            .prop_map(|(cart, happened)| Fact::Cart(Box::new(CartFact { cart, happened }))),
        (order(), collection::vec(order_happened(), 0..3))
            .prop_map(|(order, happened)| Fact::Order(Box::new(OrderFact { order, happened }))),
    ]
    .boxed()
}
