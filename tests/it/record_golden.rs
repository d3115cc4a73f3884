//! Version 1 of the stored formats, byte by byte: `tests/golden/record-v1.txt` never changes; a new version gets a
//! file of its own. Until 0.1.0 is released version 1 grows, and the file with it.
mod agents;

use holdfast::domain::{
    bulk::{self, Action, Attempt, Bulk, Line, LineOutcome, Mode, Plan, Stage},
    ids::{
        BulkId, CartId, CustomerId, OrderId, ReservationId, SessionId, StoreId, VariantId, VariantOrdinal,
    },
    money::{Currency, Money},
    policy::{ExpiredLines, HoldLengths, Limits, Policy, PolicyChanged},
    rules::{Gate, Rules},
    time::Timestamp,
    variant::{
        EndReason, Ended, Event, Flows, Fulfilment, Head, Hold, HoldStatus, ImportReport, Intent,
        LedgerEntry, LedgerKind, LineFailure, Owner, Phase, Pin, Purchases, Refusal, ReservationMode,
        SaleState, Settings, Shopper, Variant, WhyNot,
    },
};
use holdfast::storage::{
    dto,
    record::{Fact, KeyMark, Told, Turn, VariantFact},
};
use std::fmt::Write as _;

const GOLDEN: &str = include_str!("../golden/record-v1.txt");

#[test]
fn the_bytes_of_version_1_never_change() {
    let mut written = String::new();
    for (name, turn) in turns() {
        line(&mut written, &name, &dto::encode_turn(&turn));
    }
    let variant = Variant::restore(head(), [hold()], [(owner(), purchases())]);
    line(&mut written, "row variant", &dto::encode_variant(&variant));
    line(&mut written, "row head", &dto::encode_head(&head()));
    line(&mut written, "row hold", &dto::encode_hold(&hold()));
    line(
        &mut written,
        "row purchases",
        &dto::encode_purchases(&owner(), &purchases()),
    );
    line(&mut written, "row policy", &dto::encode_policy(&policy()));
    line(&mut written, "row bulk", &dto::encode_bulk(&bulk()));
    line(
        &mut written,
        "row name",
        &dto::encode_name(&head().store, &head().id),
    );
    line(
        &mut written,
        "row ledger_entry",
        &dto::encode_ledger_entry(&entry()),
    );
    line(&mut written, "row gate", &dto::encode_gate(&gate()));
    line(&mut written, "row cart", &dto::encode_cart(&agents::idle_cart()));
    line(&mut written, "row order", &dto::encode_order(&agents::order()));
    assert_eq!(written, GOLDEN, "a stored format changed: it needs a new version");
}

#[test]
fn the_bytes_of_version_1_stay_readable() {
    for (name, turn) in turns() {
        assert_eq!(dto::decode_turn(&golden(&name)), Ok(turn), "{name}");
    }
    let variant = Variant::restore(head(), [hold()], [(owner(), purchases())]);
    assert_eq!(dto::decode_variant(&golden("row variant")), Ok(variant));
    assert_eq!(dto::decode_head(&golden("row head")), Ok(head()));
    assert_eq!(dto::decode_hold(&golden("row hold")), Ok(hold()));
    assert_eq!(
        dto::decode_purchases(&golden("row purchases")),
        Ok((owner(), purchases()))
    );
    assert_eq!(dto::decode_policy(&golden("row policy")), Ok(policy()));
    assert_eq!(dto::decode_bulk(&golden("row bulk")), Ok(bulk()));
    assert_eq!(
        dto::decode_name(&golden("row name")),
        Ok((head().store, head().id))
    );
    assert_eq!(dto::decode_ledger_entry(&golden("row ledger_entry")), Ok(entry()));
    assert_eq!(dto::decode_gate(&golden("row gate")), Ok(gate()));
    assert_eq!(dto::decode_cart(&golden("row cart")), Ok(agents::idle_cart()));
    assert_eq!(dto::decode_order(&golden("row order")), Ok(agents::order()));
}

#[test]
fn an_idle_cart_of_two_lines_takes_less_than_250_bytes() {
    let bytes = dto::encode_cart(&agents::idle_cart()).len();
    assert!(bytes < 250, "{bytes} bytes");
}

#[test]
fn a_hold_of_a_known_customer_costs_at_most_100_bytes() {
    assert!(dto::encode_turn(&held()).len() <= 100);
}

fn line(text: &mut String, name: &str, bytes: &[u8]) {
    write!(text, "{name}:").unwrap();
    for chunk in bytes {
        write!(text, "{chunk:02x}").unwrap();
    }
    text.push('\n');
}

fn golden(name: &str) -> Vec<u8> {
    let hex = GOLDEN
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no golden bytes of {name}"));
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Every kind of turn by name: every event, every refusal.
fn turns() -> Vec<(String, Turn)> {
    let mut turns = vec![("turn held_with_key".to_owned(), held())];
    let promised = [
        ("pay_as", Intent::PayAs(at(3000))),
        ("take_over", Intent::TakeOver(hold().id)),
        ("yield", Intent::Yield(1)),
    ];
    let promised =
        promised.map(|(name, intent)| (format!("turn pinned_{name}"), Event::Pinned(promise(intent))));
    let named = events().map(|event| (format!("turn {}", word(&event)), event));
    turns.extend(named.chain(promised).map(|(name, event)| {
        let fact = VariantFact {
            ordinal: VariantOrdinal(7),
            revision: 300,
            named: None,
            events: vec![event],
            view: None,
        };
        (name, turn(Fact::Variant(fact)))
    }));
    let variant = Variant::restore(head(), [hold()], []);
    let named = VariantFact {
        ordinal: VariantOrdinal(70_000),
        revision: 2,
        named: Some((head().store, head().id)),
        events: vec![Event::Deleted, Event::Expired(ended())],
        view: Some(Box::new(variant.view(at(30)))),
    };
    turns.push(("turn named_with_view".to_owned(), turn(Fact::Variant(named))));
    let changed = PolicyChanged {
        policy: policy(),
        at: at(1),
    };
    let store = head().store;
    turns.push(("turn policy".to_owned(), turn(Fact::Policy { store, changed })));
    let mut outcomes = vec![LineOutcome::Done(hold()), LineOutcome::Unanswered];
    outcomes.extend(refusals().map(LineOutcome::Refused));
    for (name, event) in [
        ("intended", bulk::Event::Intended(Box::new(bulk().plan))),
        (
            "decided",
            bulk::Event::Decided {
                commit: true,
                outcomes,
            },
        ),
        ("finished", bulk::Event::Finished),
    ] {
        let id = bulk().id;
        turns.push((format!("turn bulk_{name}"), turn(Fact::Bulk { id, event })));
    }
    turns.push(("turn gate".to_owned(), turn(Fact::Gate(gate()))));
    let view = Box::new(variant.view(at(30)));
    for (name, told) in [
        ("done", Told::Done),
        ("reservation", Told::Reservation(Box::new(sold()))),
        ("variant", Told::Variant(view)),
        ("cleaned_up", Told::CleanedUp { due: 3, expired: 2 }),
        ("imported", Told::Imported(Box::new(report()))),
        (
            "snapshot",
            Told::Snapshot("snap_20231114T221320123Z-1-99".to_owned()),
        ),
    ] {
        turns.push((format!("turn told_{name}"), turn(Fact::Told(told))));
    }
    let facts = agents::facts().into_iter();
    turns.extend(facts.map(|(name, fact)| (name, turn(fact))));
    turns
}

/// What became of an import, with a failure of each kind.
fn report() -> ImportReport {
    let whys = [
        WhyNot::Refused(Refusal::VariantNotFound),
        WhyNot::Quarantined,
        WhyNot::Unknown,
    ];
    let failures = whys.into_iter().zip(7..).map(|(why, line)| LineFailure {
        line,
        variant: head().id,
        why,
    });
    ImportReport {
        created: 300,
        changed: 2,
        unchanged: 1,
        failed: 3,
        failures: failures.collect(),
    }
}

/// The hot path: one hold under a key.
fn held() -> Turn {
    let shopper = Shopper {
        customer: Some(CustomerId::parse("c42").unwrap()),
        ..Shopper::default()
    };
    let hold = Hold {
        status: HoldStatus::Active,
        shopper,
        order: None,
        pin: None,
        fulfilment: Fulfilment::default(),
        version: 1,
        ..hold()
    };
    let fact = VariantFact {
        ordinal: VariantOrdinal(7),
        revision: 300,
        named: None,
        events: vec![Event::Held(hold)],
        view: None,
    };
    Turn {
        key: Some(KeyMark {
            hash: [0xab; 16],
            fingerprint: [0xcd; 8],
        }),
        ..turn(Fact::Variant(fact))
    }
}

fn gate() -> Gate {
    Gate {
        rules: Rules(1),
        release: "0.1.0".to_owned(),
    }
}

fn turn(fact: Fact) -> Turn {
    Turn {
        at: at(0),
        fact,
        key: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn reservation() -> ReservationId {
    "rsv_018bcfe568007ea780000001eaaaaaaa".parse().unwrap()
}

fn hold() -> Hold {
    Hold {
        id: reservation(),
        quantity: 2,
        status: HoldStatus::Tentative,
        phase: Phase::Cart,
        shopper: Shopper {
            customer: Some(CustomerId::parse("c42").unwrap()),
            session: Some(SessionId::parse("s-1").unwrap()),
            cart: Some(CartId::parse("cart 9").unwrap()),
        },
        order: None,
        expires_at: at(900),
        max_expires_at: at(1800),
        extensions_left: 3,
        version: 1,
        ended: None,
        fulfilment: Fulfilment::default(),
        pin: Some(Pin {
            attempt: Attempt {
                bulk: bulk().id,
                number: 1,
            },
            intent: Intent::Extend(at(1200)),
        }),
    }
}

/// A hold on its way into the payment phase.
fn paying() -> Hold {
    Hold {
        order: Some(OrderId::parse("ord_018bcfe568007001bfffffffffffffff").unwrap()),
        ..promise(Intent::Pay(at(3000)))
    }
}

fn promise(intent: Intent) -> Hold {
    let pin = hold().pin.unwrap();
    Hold {
        pin: Some(Pin { intent, ..pin }),
        ..hold()
    }
}

fn ended() -> Hold {
    Hold {
        status: HoldStatus::Expired,
        ended: Some(Ended {
            at: at(901),
            reason: EndReason::Expired,
        }),
        pin: None,
        version: 2,
        ..hold()
    }
}

fn sold() -> Hold {
    Hold {
        quantity: 300,
        status: HoldStatus::Confirmed,
        phase: Phase::Payment,
        order: Some(OrderId::parse("o-1").unwrap()),
        ended: Some(Ended {
            at: at(5),
            reason: EndReason::Confirmed,
        }),
        fulfilment: Fulfilment {
            shipped: 3,
            cancelled: 2,
            returned: 1,
        },
        ..ended()
    }
}

fn entry() -> LedgerEntry {
    LedgerEntry {
        seq: 4,
        at: at(2),
        kind: LedgerKind::WrittenOff,
        delta: -3,
        before: 103,
        after: 100,
        reason: "broken".to_owned(),
        reference: Some("doc-1".to_owned()),
        by: "anna".to_owned(),
        reservation: Some(reservation()),
    }
}

fn settings() -> Settings {
    Settings {
        product_id: Some("45".to_owned()),
        sku: Some("SOAP".to_owned()),
        name: Some("Premium Aleppo Laurel Soap Set".to_owned()),
        category: None,
        tags: vec!["organic".to_owned(), "unesco".to_owned()],
        attributes: [("region".to_owned(), "حلب".to_owned())].into(),
        price: Some(Money {
            amount: 2599,
            currency: Currency::parse("USD").unwrap(),
        }),
        safety_stock: 1,
        backorder_limit: 2,
        reservation_mode: ReservationMode::OnCheckout,
        low_stock_threshold: 5,
        opens_at: Some(at(10)),
        closes_at: None,
        one_hold_per_customer: true,
        hold_ttl_ms: Some(60_000),
        units_per_customer: Some(4),
    }
}

fn head() -> Head {
    Head {
        ordinal: reservation().variant(),
        store: StoreId::parse("default").unwrap(),
        id: VariantId::parse("123").unwrap(),
        settings: settings(),
        sale: SaleState::Paused,
        on_hand: 100,
        flows: Flows {
            received: 103,
            returned: 1,
            shipped: 1,
            written_off: 3,
        },
        version: 3,
        revision: 300,
        ledger_seq: 4,
        deleted: false,
        decided_at: at(3),
    }
}

fn owner() -> Owner {
    Owner::Session(SessionId::parse("s-1").unwrap())
}

fn purchases() -> Purchases {
    Purchases(vec![(19_675, 2), (19_676, 1)])
}

pub(crate) fn policy() -> Policy {
    Policy {
        cart: HoldLengths {
            ttl_ms: 900_000,
            extension_ms: 300_000,
            max_extensions: 3,
        },
        guest: HoldLengths {
            ttl_ms: 600_000,
            extension_ms: 300_000,
            max_extensions: 1,
        },
        payment_ttl_ms: 1_800_000,
        limits: Limits {
            units_per_order: Some(20),
            units_per_customer_per_variant: None,
            lines_per_cart: 50,
            window_days: Some(30),
        },
        cart_idle_ms: 86_400_000,
        max_ttl_ms: 3_600_000,
        expired_lines: ExpiredLines::Remove,
        version: 2,
    }
}

fn bulk() -> Bulk {
    Bulk {
        id: BulkId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        plan: Plan {
            store: StoreId::parse("default").unwrap(),
            mode: Mode::BestEffort,
            action: Action::Reserve {
                shopper: Shopper::default(),
                ttl_ms: Some(60_000),
            },
            lines: vec![Line {
                variant_id: VariantId::parse("123").unwrap(),
                variant: Some(VariantOrdinal(7)),
                reservation: reservation(),
                quantity: 2,
            }],
            terms: policy().terms(true),
        },
        stage: Stage::Decided {
            kept: vec![true, false],
            at: at(4),
        },
    }
}

fn events() -> impl Iterator<Item = Event> {
    let settings = || Box::new(settings());
    [
        Event::Created {
            settings: settings(),
            entry: Some(entry()),
        },
        Event::SettingsChanged { settings: settings() },
        Event::SaleChanged {
            sale: SaleState::Draining,
        },
        Event::StockChanged { entry: Some(entry()) },
        Event::Deleted,
        Event::Held(hold()),
        Event::Extended(hold()),
        Event::Resized(hold()),
        Event::Confirmed {
            hold: sold(),
            given_back: 1,
        },
        Event::Released(ended()),
        Event::Expired(ended()),
        Event::Pinned(hold()),
        Event::Unpinned(hold()),
        Event::Withdrawn(hold()),
        Event::Fulfilled {
            hold: sold(),
            quantity: 3,
            entry: Some(entry()),
        },
        Event::Cancelled {
            hold: sold(),
            quantity: 2,
            entry: None,
        },
        Event::Returned {
            hold: sold(),
            quantity: 1,
            entry: Some(entry()),
        },
        Event::Closed(sold()),
        Event::Rehomed {
            hold: paying(),
            from: Shopper {
                session: Some(SessionId::parse("s").unwrap()),
                ..Shopper::default()
            },
        },
    ]
    .into_iter()
}

fn refusals() -> impl Iterator<Item = Refusal> {
    [
        Refusal::VariantNotFound,
        Refusal::AlreadyExists,
        Refusal::ReservationNotFound,
        Refusal::InsufficientStock {
            requested: 5,
            available: 2,
            next_release_at: Some(at(9)),
            contended: true,
        },
        Refusal::SaleNotOpen {
            sale: SaleState::Closed,
            opens_at: None,
            closes_at: Some(at(8)),
        },
        Refusal::LimitReached {
            limit: 4,
            taken: 3,
            requested: 2,
        },
        Refusal::AlreadyHeld { id: reservation() },
        Refusal::TtlTooLong { max_ms: 3_600_000 },
        Refusal::ExtensionLimit {
            max_expires_at: at(7),
        },
        Refusal::ReservationExpired { at: at(6) },
        Refusal::ReservationReleased { at: at(6) },
        Refusal::ReservationConfirmed { at: at(6) },
        Refusal::NotConfirmed,
        Refusal::QuantityExceeds {
            requested: 3,
            allowed: 1,
        },
        Refusal::InFlight,
        Refusal::BelowHeld {
            held: 3,
            committed: 4,
            least: 7,
        },
        Refusal::ExpectedMismatch { on_hand: 100 },
        Refusal::VersionMismatch { current: 3 },
        Refusal::HasActiveHolds {
            held: 3,
            committed: 4,
        },
        Refusal::OutOfRange,
        Refusal::OwnedByOrder {
            order: OrderId::parse("o-1").unwrap(),
        },
    ]
    .into_iter()
}

/// The event's word. Exhaustive, so that a new event cannot be forgotten here.
fn word(event: &Event) -> &'static str {
    match event {
        Event::Created { .. } => "created",
        Event::SettingsChanged { .. } => "settings_changed",
        Event::SaleChanged { .. } => "sale_changed",
        Event::StockChanged { .. } => "stock_changed",
        Event::Deleted => "deleted",
        Event::Held(_) => "held",
        Event::Extended(_) => "extended",
        Event::Resized(_) => "resized",
        Event::Confirmed { .. } => "confirmed",
        Event::Released(_) => "released",
        Event::Expired(_) => "expired",
        Event::Pinned(_) => "pinned",
        Event::Unpinned(_) => "unpinned",
        Event::Withdrawn(_) => "withdrawn",
        Event::Fulfilled { .. } => "fulfilled",
        Event::Cancelled { .. } => "cancelled",
        Event::Returned { .. } => "returned",
        Event::Closed(_) => "closed",
        Event::Rehomed { .. } => "rehomed",
    }
}
