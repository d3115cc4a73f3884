//! Any value of the domain, for properties over what is stored: every event, every refusal, every stage.
//! Boxed, for trees of this size do not fit on a test thread's stack. Carts and orders are in `agents`.
mod agents;

pub(crate) use agents::{STATUSES, cart, order};
use holdfast::domain::{
    bulk::{self, Action, Attempt, Bulk, Line, LineOutcome, Mode, Plan, Stage},
    ids::{
        BulkId, CartId, CustomerId, OrderId, ReservationId, SessionId, Slot, StoreId, VariantId,
        VariantOrdinal,
    },
    money::{Currency, Money},
    policy::{ExpiredLines, HoldLengths, Limits, Policy, PolicyChanged, Terms},
    rules::{Gate, Rules},
    time::Timestamp,
    variant::{
        EndReason, Ended, Event, Flows, Fulfilment, Head, Hold, HoldStatus, Intent, LedgerEntry, LedgerKind,
        MAX_UNITS, Owner, Phase, Pin, Purchases, Refusal, ReservationMode, SaleState, Settings, Shopper,
        Status, Variant, View,
    },
};
use holdfast::storage::record::{Fact, KeyMark, Told, Turn, VariantFact};
use proptest::{collection, option, prelude::*, sample::select};

fn text() -> impl Strategy<Value = String> {
    // Ids of any script, at most 30 characters: at most 120 bytes.
    prop_oneof![3 => "[a-z0-9]{1,8}", 1 => "\\PC{1,30}"]
}

fn at() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        3 => (1_600_000_000_000_i64..2_000_000_000_000).prop_map(Timestamp::from_millis),
        1 => any::<i64>().prop_map(Timestamp::from_millis),
    ]
}

fn units() -> impl Strategy<Value = u64> {
    0..=MAX_UNITS
}

fn store() -> impl Strategy<Value = StoreId> {
    text().prop_map(|text| StoreId::parse(&text).unwrap())
}

fn variant_id() -> impl Strategy<Value = VariantId> {
    text().prop_map(|text| VariantId::parse(&text).unwrap())
}

fn reservation() -> impl Strategy<Value = ReservationId> {
    (0..1_i64 << 48, store(), variant_id(), any::<u32>(), any::<u32>()).prop_map(
        |(created, store, variant, ordinal, salt)| {
            let slot = Slot::of_variant(&store, &variant);
            ReservationId::new(
                Timestamp::from_millis(created),
                slot,
                VariantOrdinal(ordinal),
                salt,
            )
        },
    )
}

fn customer() -> impl Strategy<Value = CustomerId> {
    text().prop_map(|text| CustomerId::parse(&text).unwrap())
}

fn session() -> impl Strategy<Value = SessionId> {
    text().prop_map(|text| SessionId::parse(&text).unwrap())
}

fn cart_id() -> impl Strategy<Value = CartId> {
    text().prop_map(|text| CartId::parse(&text).unwrap())
}

fn order_id() -> impl Strategy<Value = OrderId> {
    text().prop_map(|text| OrderId::parse(&text).unwrap())
}

fn shopper() -> BoxedStrategy<Shopper> {
    (
        option::of(customer()),
        option::of(session()),
        option::of(cart_id()),
    )
        .prop_map(|(customer, session, cart)| Shopper {
            customer,
            session,
            cart,
        })
        .boxed()
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        customer().prop_map(Owner::Customer),
        session().prop_map(Owner::Session),
        cart_id().prop_map(Owner::Cart),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    (any::<u128>(), any::<u32>()).prop_map(|(bulk, number)| Attempt {
        bulk: BulkId(bulk),
        number,
    })
}

fn pin() -> impl Strategy<Value = Pin> {
    let intent = prop_oneof![
        Just(Intent::Reserve),
        at().prop_map(Intent::Extend),
        Just(Intent::Confirm),
        Just(Intent::Release),
        at().prop_map(Intent::Pay),
    ];
    (attempt(), intent).prop_map(|(attempt, intent)| Pin { attempt, intent })
}

/// Units shipped, cancelled and returned of `quantity`.
fn fulfilment(quantity: u32) -> impl Strategy<Value = Fulfilment> {
    (0..=quantity)
        .prop_flat_map(move |shipped| (Just(shipped), 0..=quantity - shipped, 0..=shipped))
        .prop_map(|(shipped, cancelled, returned)| Fulfilment {
            shipped,
            cancelled,
            returned,
        })
}

/// A reservation as it may stand.
pub(crate) fn hold() -> BoxedStrategy<Hold> {
    let status = select(vec![
        HoldStatus::Tentative,
        HoldStatus::Active,
        HoldStatus::Confirmed,
        HoldStatus::Released,
        HoldStatus::Expired,
    ]);
    let quantity = prop_oneof![1..=10_u32, 1..=u32::MAX];
    let quantity = quantity.prop_flat_map(|quantity| (Just(quantity), fulfilment(quantity)));
    let reason = select(vec![
        EndReason::Released,
        EndReason::Expired,
        EndReason::Confirmed,
    ]);
    (
        (
            reservation(),
            quantity,
            status,
            select(vec![Phase::Cart, Phase::Payment]),
            shopper(),
        ),
        option::of(order_id()),
        (at(), at(), any::<u8>(), any::<u32>()),
        (at(), reason, option::of(pin())),
    )
        .prop_map(
            |((id, (quantity, fulfilment), status, phase, shopper), order, counts, (at, reason, pin))| {
                let (expires_at, max_expires_at, extensions_left, version) = counts;
                let live = matches!(status, HoldStatus::Tentative | HoldStatus::Active);
                Hold {
                    id,
                    quantity,
                    status,
                    phase,
                    shopper,
                    order,
                    expires_at,
                    max_expires_at,
                    extensions_left,
                    version,
                    ended: (!live).then_some(Ended { at, reason }),
                    fulfilment,
                    pin,
                }
            },
        )
        .boxed()
}

fn price() -> impl Strategy<Value = Money> {
    (0..i64::MAX, "[A-Z]{3}").prop_map(|(amount, currency)| Money {
        amount,
        currency: Currency::parse(&currency).unwrap(),
    })
}

fn settings() -> BoxedStrategy<Settings> {
    let mode = select(vec![
        ReservationMode::OnCart,
        ReservationMode::OnCheckout,
        ReservationMode::Untracked,
    ]);
    let texts = (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
    );
    let many = (
        collection::vec(text(), 0..4),
        collection::btree_map(text(), "\\PC{0,20}", 0..4),
    );
    let rules = (
        option::of(at()),
        option::of(at()),
        any::<bool>(),
        any::<Option<i64>>(),
        any::<Option<u32>>(),
    );
    (
        texts,
        many,
        option::of(price()),
        (units(), units(), mode, units()),
        rules,
    )
        .prop_map(
            |((product_id, sku, name, category), (tags, attributes), price, figures, rules)| Settings {
                product_id,
                sku,
                name,
                category,
                tags,
                attributes,
                price,
                safety_stock: figures.0,
                backorder_limit: figures.1,
                reservation_mode: figures.2,
                low_stock_threshold: figures.3,
                opens_at: rules.0,
                closes_at: rules.1,
                one_hold_per_customer: rules.2,
                hold_ttl_ms: rules.3,
                units_per_customer: rules.4,
            },
        )
        .boxed()
}

fn sale() -> impl Strategy<Value = SaleState> {
    select(vec![
        SaleState::Open,
        SaleState::Paused,
        SaleState::Draining,
        SaleState::Closed,
    ])
}

/// The head of a variant.
pub(crate) fn head() -> BoxedStrategy<Head> {
    let flows =
        (units(), units(), units(), units()).prop_map(|(received, returned, shipped, written_off)| Flows {
            received,
            returned,
            shipped,
            written_off,
        });
    (
        (any::<u32>(), store(), variant_id(), settings(), sale()),
        (
            units(),
            flows,
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<bool>(),
            at(),
        ),
    )
        .prop_map(|((ordinal, store, id, settings, sale), rest)| Head {
            ordinal: VariantOrdinal(ordinal),
            store,
            id,
            settings,
            sale,
            on_hand: rest.0,
            flows: rest.1,
            version: rest.2,
            revision: rest.3,
            ledger_seq: rest.4,
            deleted: rest.5,
            decided_at: rest.6,
        })
        .boxed()
}

fn view() -> BoxedStrategy<View> {
    let status = select(vec![
        Status::InStock,
        Status::LowStock,
        Status::SoldOut,
        Status::Paused,
        Status::Draining,
        Status::Scheduled,
        Status::Closed,
    ]);
    (
        head(),
        units(),
        units(),
        option::of(units()),
        status,
        option::of(at()),
        at(),
    )
        .prop_map(
            |(head, held, committed, available, status, next_release_at, at)| View {
                head,
                held,
                committed,
                available,
                status,
                next_release_at,
                at,
            },
        )
        .boxed()
}

/// A line of the stock ledger.
pub(crate) fn entry() -> BoxedStrategy<LedgerEntry> {
    let kind = select(vec![
        LedgerKind::Received,
        LedgerKind::WrittenOff,
        LedgerKind::Shipped,
        LedgerKind::Returned,
    ]);
    let delta = -1_000_000_000_000_i64..=1_000_000_000_000;
    (
        (any::<u64>(), at(), kind, delta, units(), units()),
        (text(), option::of(text()), text(), option::of(reservation())),
    )
        .prop_map(
            |((seq, at, kind, delta, before, after), (reason, reference, by, reservation))| LedgerEntry {
                seq,
                at,
                kind,
                delta,
                before,
                after,
                reason,
                reference,
                by,
                reservation,
            },
        )
        .boxed()
}

/// Any event of a variant.
pub(crate) fn event() -> BoxedStrategy<Event> {
    let boxed = || settings().prop_map(Box::new);
    let sold = || (hold(), any::<u32>(), option::of(entry()));
    prop_oneof![
        (boxed(), option::of(entry())).prop_map(|(settings, entry)| Event::Created { settings, entry }),
        boxed().prop_map(|settings| Event::SettingsChanged { settings }),
        sale().prop_map(|sale| Event::SaleChanged { sale }),
        option::of(entry()).prop_map(|entry| Event::StockChanged { entry }),
        Just(Event::Deleted),
        hold().prop_map(Event::Held),
        hold().prop_map(Event::Extended),
        hold().prop_map(Event::Resized),
        (hold(), any::<u32>()).prop_map(|(hold, given_back)| Event::Confirmed { hold, given_back }),
        hold().prop_map(Event::Released),
        hold().prop_map(Event::Expired),
        hold().prop_map(Event::Pinned),
        hold().prop_map(Event::Unpinned),
        hold().prop_map(Event::Withdrawn),
        sold().prop_map(|(hold, quantity, entry)| Event::Fulfilled {
            hold,
            quantity,
            entry
        }),
        sold().prop_map(|(hold, quantity, entry)| Event::Cancelled {
            hold,
            quantity,
            entry
        }),
        sold().prop_map(|(hold, quantity, entry)| Event::Returned {
            hold,
            quantity,
            entry
        }),
        hold().prop_map(Event::Closed),
        (hold(), shopper()).prop_map(|(hold, from)| Event::Rehomed { hold, from }),
    ]
    .boxed()
}

fn refusal() -> BoxedStrategy<Refusal> {
    prop_oneof![
        select(vec![
            Refusal::VariantNotFound,
            Refusal::AlreadyExists,
            Refusal::ReservationNotFound,
            Refusal::NotConfirmed,
            Refusal::InFlight,
            Refusal::OutOfRange,
        ]),
        (any::<u64>(), any::<u64>(), option::of(at()), any::<bool>()).prop_map(
            |(requested, available, next_release_at, contended)| Refusal::InsufficientStock {
                requested,
                available,
                next_release_at,
                contended,
            }
        ),
        (sale(), option::of(at()), option::of(at())).prop_map(|(sale, opens_at, closes_at)| {
            Refusal::SaleNotOpen {
                sale,
                opens_at,
                closes_at,
            }
        }),
        (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(limit, taken, requested)| {
            Refusal::LimitReached {
                limit,
                taken,
                requested,
            }
        }),
        reservation().prop_map(|id| Refusal::AlreadyHeld { id }),
        any::<i64>().prop_map(|max_ms| Refusal::TtlTooLong { max_ms }),
        at().prop_map(|max_expires_at| Refusal::ExtensionLimit { max_expires_at }),
        at().prop_map(|at| Refusal::ReservationExpired { at }),
        at().prop_map(|at| Refusal::ReservationReleased { at }),
        at().prop_map(|at| Refusal::ReservationConfirmed { at }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(requested, allowed)| Refusal::QuantityExceeds { requested, allowed }),
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(held, committed, least)| Refusal::BelowHeld {
            held,
            committed,
            least,
        }),
        order_id().prop_map(|order| Refusal::OwnedByOrder { order }),
        any::<u64>().prop_map(|on_hand| Refusal::ExpectedMismatch { on_hand }),
        any::<u64>().prop_map(|current| Refusal::VersionMismatch { current }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(held, committed)| Refusal::HasActiveHolds { held, committed }),
    ]
    .boxed()
}

fn lengths() -> impl Strategy<Value = HoldLengths> {
    (any::<i64>(), any::<i64>(), any::<u8>()).prop_map(|(ttl_ms, extension_ms, max_extensions)| HoldLengths {
        ttl_ms,
        extension_ms,
        max_extensions,
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    (
        lengths(),
        any::<i64>(),
        any::<i64>(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
    )
        .prop_map(
            |(lengths, payment_ttl_ms, max_ttl_ms, units_per_customer, window_days)| Terms {
                lengths,
                payment_ttl_ms,
                max_ttl_ms,
                units_per_customer,
                window_days,
            },
        )
}

/// A store's policy.
pub(crate) fn policy() -> BoxedStrategy<Policy> {
    let limits = (
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<u32>(),
        any::<Option<u32>>(),
    )
        .prop_map(
            |(units_per_order, units_per_customer_per_variant, lines_per_cart, window_days)| Limits {
                units_per_order,
                units_per_customer_per_variant,
                lines_per_cart,
                window_days,
            },
        );
    let expired_lines = select(vec![ExpiredLines::Keep, ExpiredLines::Remove]);
    let lengths_ms = (any::<i64>(), any::<i64>(), any::<i64>());
    (
        lengths(),
        lengths(),
        lengths_ms,
        limits,
        expired_lines,
        any::<u64>(),
    )
        .prop_map(
            |(cart, guest, (payment_ttl_ms, cart_idle_ms, max_ttl_ms), limits, expired_lines, version)| {
                Policy {
                    cart,
                    guest,
                    payment_ttl_ms,
                    limits,
                    cart_idle_ms,
                    max_ttl_ms,
                    expired_lines,
                    version,
                }
            },
        )
        .boxed()
}

fn plan() -> BoxedStrategy<Plan> {
    let action = prop_oneof![
        (shopper(), any::<Option<i64>>()).prop_map(|(shopper, ttl_ms)| Action::Reserve { shopper, ttl_ms }),
        any::<Option<i64>>().prop_map(|by_ms| Action::Extend { by_ms }),
        Just(Action::Confirm),
        Just(Action::Release),
    ];
    let line = (variant_id(), any::<Option<u32>>(), reservation(), any::<u32>()).prop_map(
        |(variant_id, variant, reservation, quantity)| Line {
            variant_id,
            variant: variant.map(VariantOrdinal),
            reservation,
            quantity,
        },
    );
    let mode = select(vec![Mode::AllOrNothing, Mode::BestEffort]);
    (store(), mode, action, collection::vec(line, 1..4), terms())
        .prop_map(|(store, mode, action, lines, terms)| Plan {
            store,
            mode,
            action,
            lines,
            terms,
        })
        .boxed()
}

/// A coordinator.
pub(crate) fn bulk() -> BoxedStrategy<Bulk> {
    let stage = prop_oneof![
        Just(Stage::Trying),
        (collection::vec(any::<bool>(), 0..4), at()).prop_map(|(kept, at)| Stage::Decided { kept, at }),
        Just(Stage::Finished),
    ];
    (any::<u128>(), plan(), stage)
        .prop_map(|(id, plan, stage)| Bulk {
            id: BulkId(id),
            plan,
            stage,
        })
        .boxed()
}

fn bulk_event() -> BoxedStrategy<bulk::Event> {
    let outcome = prop_oneof![
        hold().prop_map(LineOutcome::Done),
        refusal().prop_map(LineOutcome::Refused),
        Just(LineOutcome::Unanswered),
    ];
    prop_oneof![
        plan().prop_map(|plan| bulk::Event::Intended(Box::new(plan))),
        (any::<bool>(), collection::vec(outcome, 0..5))
            .prop_map(|(commit, outcomes)| bulk::Event::Decided { commit, outcomes }),
        Just(bulk::Event::Finished),
    ]
    .boxed()
}

/// What one owner bought.
pub(crate) fn purchases() -> impl Strategy<Value = (Owner, Purchases)> {
    (
        owner(),
        collection::vec((any::<i64>(), units()), 1..4).prop_map(Purchases),
    )
}

/// A variant with holds and purchases. The laws need not hold: they are no matter of the format.
pub(crate) fn variant() -> BoxedStrategy<Variant> {
    let kept = |hold: &Hold| !matches!(hold.status, HoldStatus::Released | HoldStatus::Expired);
    let holds = collection::vec(hold().prop_filter("kept by its variant", kept), 0..4);
    let bought = collection::vec(purchases(), 0..3);
    (head(), holds, bought)
        .prop_map(|(head, holds, bought)| {
            let ordinal = u128::from(head.ordinal.0) << 30;
            let elsewhere = 0xffff_ffff_u128 << 30;
            let here = holds.into_iter().map(|hold| Hold {
                id: ReservationId::from_u128(hold.id.as_u128() & !elsewhere | ordinal).unwrap(),
                ..hold
            });
            let here: Vec<Hold> = here.collect();
            Variant::restore(head, here, bought)
        })
        .boxed()
}

fn told() -> BoxedStrategy<Told> {
    prop_oneof![
        Just(Told::Done),
        hold().prop_map(|hold| Told::Reservation(Box::new(hold))),
        view().prop_map(|view| Told::Variant(Box::new(view))),
        any::<(u64, u64)>().prop_map(|(due, expired)| Told::CleanedUp { due, expired }),
        "snap_[0-9A-Z-]{0,40}".prop_map(Told::Snapshot),
    ]
    .boxed()
}

fn key() -> impl Strategy<Value = KeyMark> {
    any::<([u8; 16], [u8; 8])>().prop_map(|(hash, fingerprint)| KeyMark { hash, fingerprint })
}

/// Any record.
pub(crate) fn turn() -> BoxedStrategy<Turn> {
    let named = option::of((store(), variant_id()));
    let variant = (
        any::<u32>(),
        any::<u64>(),
        named,
        collection::vec(event(), 1..4),
        option::of(view()),
    );
    let variant = variant.prop_map(|(ordinal, revision, named, events, view)| {
        Fact::Variant(VariantFact {
            ordinal: VariantOrdinal(ordinal),
            revision,
            named,
            events,
            view: view.map(Box::new),
        })
    });
    let policy = (store(), policy(), at()).prop_map(|(store, policy, at)| Fact::Policy {
        store,
        changed: PolicyChanged { policy, at },
    });
    let bulk = (any::<u128>(), bulk_event()).prop_map(|(id, event)| Fact::Bulk {
        id: BulkId(id),
        event,
    });
    let gate = (any::<u32>(), "[0-9.]{0,8}").prop_map(|(rules, release)| {
        Fact::Gate(Gate {
            rules: Rules(rules),
            release,
        })
    });
    let told = told().prop_map(Fact::Told);
    let fact = prop_oneof![4 => variant, 1 => policy, 2 => bulk, 1 => gate, 1 => told, 3 => agents::fact()];
    (at(), fact, option::of(key()))
        .prop_map(|(at, fact, key)| Turn { at, fact, key })
        .boxed()
}
