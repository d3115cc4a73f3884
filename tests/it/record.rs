//! The stored formats: what goes in comes out, and no bytes do harm.
use crate::strategies;
use holdfast::domain::{
    cart::{self, LineId, Task},
    ids::{InvalidId, VariantOrdinal},
    order::{self, Line, Movement, Step},
    time::Timestamp,
    variant::{EndReason, Ended, Fulfilment, Head, Hold, HoldStatus, Purchases, Variant},
};
use holdfast::storage::{
    dto::{self, FormatError},
    record::{Fact, Turn, VariantFact},
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_turn_reads_back_as_it_was(turn in strategies::turn()) {
        prop_assert_eq!(dto::decode_turn(&dto::encode_turn(&turn)), Ok(turn));
    }

    #[test]
    fn a_variant_reads_back_as_it_was(variant in strategies::variant()) {
        prop_assert_eq!(dto::decode_variant(&dto::encode_variant(&variant)), Ok(variant));
    }

    #[test]
    fn rows_read_back_as_they_were(
        head in strategies::head(),
        hold in strategies::hold(),
        (owner, bought) in strategies::purchases(),
        policy in strategies::policy(),
        bulk in strategies::bulk(),
        entry in strategies::entry(),
        cart in strategies::cart(),
        order in strategies::order(),
    ) {
        prop_assert_eq!(dto::decode_cart(&dto::encode_cart(&cart)), Ok(cart));
        prop_assert_eq!(dto::decode_order(&dto::encode_order(&order)), Ok(order));
        let row = dto::encode_purchases(&owner, &bought);
        prop_assert_eq!(dto::decode_purchases(&row), Ok((owner, bought)));
        prop_assert_eq!(dto::decode_head(&dto::encode_head(&head)), Ok(head));
        prop_assert_eq!(dto::decode_hold(&dto::encode_hold(&hold)), Ok(hold));
        prop_assert_eq!(dto::decode_policy(&dto::encode_policy(&policy)), Ok(policy));
        prop_assert_eq!(dto::decode_bulk(&dto::encode_bulk(&bulk)), Ok(bulk));
        prop_assert_eq!(dto::decode_ledger_entry(&dto::encode_ledger_entry(&entry)), Ok(entry));
    }

    #[test]
    fn any_bytes_are_taken_without_harm(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&body);
        read_as_everything(&[&[dto::FORMAT_VERSION], &body[..]].concat());
    }

    #[test]
    fn damaged_bytes_are_taken_without_harm(
        turn in strategies::turn(),
        variant in strategies::variant(),
        cart in strategies::cart(),
        order in strategies::order(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = [dto::encode_variant(&variant), dto::encode_cart(&cart), dto::encode_order(&order)];
        for mut bytes in whole.into_iter().chain([dto::encode_turn(&turn)]) {
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read_as_everything(&bytes);
            read_as_everything(&bytes[..cut.index(bytes.len())]);
        }
    }

    #[test]
    fn a_cut_or_longer_value_is_refused(turn in strategies::turn(), cut in any::<prop::sample::Index>()) {
        let mut bytes = dto::encode_turn(&turn);
        prop_assert!(dto::decode_turn(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert_eq!(dto::decode_turn(&bytes), Err(FormatError::TrailingBytes { extra: 1 }));
    }

    #[test]
    fn an_unknown_version_is_refused_by_its_number(turn in strategies::turn(), found in any::<u8>()) {
        prop_assume!(found != dto::FORMAT_VERSION);
        let mut bytes = dto::encode_turn(&turn);
        bytes[0] = found;
        prop_assert_eq!(dto::decode_turn(&bytes), Err(FormatError::UnknownVersion { found }));
    }
}

/// What is read must also be fit for use: whatever the domain reckons with it stays in range.
fn read_as_everything(bytes: &[u8]) {
    if let Ok(turn) = dto::decode_turn(bytes) {
        assert_eq!(dto::decode_turn(&dto::encode_turn(&turn)), Ok(turn));
    }
    if let Ok(variant) = dto::decode_variant(bytes) {
        let now = variant.head().decided_at;
        let _ = (variant.recount(), variant.view(now), variant.oversold());
        let expired = variant.expire_due(now, 8);
        let mut later = variant;
        expired.iter().for_each(|event| later.apply(event, now));
    }
    if let Ok(hold) = dto::decode_hold(bytes) {
        let _ = (hold.committed_units(), hold.closes_at());
    }
    let _ = dto::decode_head(bytes);
    let _ = dto::decode_purchases(bytes);
    let _ = dto::decode_policy(bytes);
    let _ = dto::decode_bulk(bytes);
    if let Ok(cart) = dto::decode_cart(bytes) {
        assert!(cart.id.bits().is_some());
    }
    if let Ok(order) = dto::decode_order(bytes) {
        let left = |line: &Line| line.quantity - line.fulfilment.shipped - line.fulfilment.cancelled;
        let _ = order.lines.iter().map(left).max();
    }
    let _ = dto::decode_ledger_entry(bytes);
}

fn refused<T: std::fmt::Debug>(read: Result<T, FormatError>) -> &'static str {
    match read {
        Err(FormatError::Invalid(why)) => why,
        other => panic!("read as {other:?}"),
    }
}

proptest! {
    #[test]
    fn an_impossible_hold_is_refused(hold in strategies::hold(), variant in strategies::variant()) {
        let read = |hold: Hold| dto::decode_hold(&dto::encode_hold(&hold));
        prop_assert_eq!(refused(read(Hold { quantity: 0, ..hold.clone() })), "a reservation of no units");
        let fulfilment = Fulfilment { shipped: hold.quantity, cancelled: u32::MAX, returned: 0 };
        let why = refused(read(Hold { fulfilment, ..hold.clone() }));
        prop_assert_eq!(why, "more units shipped and cancelled than sold");
        let fulfilment = Fulfilment { shipped: 0, cancelled: 0, returned: 1 };
        let why = refused(read(Hold { fulfilment, ..hold.clone() }));
        prop_assert_eq!(why, "more units returned than shipped");
        let ended = match hold.ended {
            Some(_) => None,
            None => Some(Ended { at: hold.expires_at, reason: EndReason::Expired }),
        };
        let why = refused(read(Hold { ended, ..hold.clone() }));
        prop_assert_eq!(why, "a reservation's status and end disagree");
        let elsewhere = VariantOrdinal(hold.id.variant().0.wrapping_add(1));
        let head = Head { ordinal: elsewhere, ..variant.head().clone() };
        let foreign = Hold { status: HoldStatus::Active, ended: None, ..hold };
        let why = refused(dto::decode_variant(&dto::encode_variant(&Variant::restore(head, [foreign], []))));
        prop_assert_eq!(why, "a reservation of another variant");
    }

    #[test]
    fn figures_whose_sums_would_overflow_are_refused(head in strategies::head(), (owner, _) in strategies::purchases()) {
        let head = Head { on_hand: u64::MAX, ..head };
        prop_assert_eq!(refused(dto::decode_head(&dto::encode_head(&head))), "a figure of units is out of range");
        let bought = Purchases(vec![(1, 1 << 60), (2, 1)]);
        let why = refused(dto::decode_purchases(&dto::encode_purchases(&owner, &bought)));
        prop_assert_eq!(why, "a figure of units is out of range");
    }

    #[test]
    fn an_impossible_cart_is_refused(cart in strategies::cart(), key in any::<bool>()) {
        let read = |cart: &cart::Cart| refused(dto::decode_cart(&dto::encode_cart(cart)));
        let work = |task| Some(cart::Work { task, key: None, begun_at: cart.created_at, by_shopper: key });
        let resize = Task::Resize { line: LineId(1), quantity: 0 };
        let wrong = cart::Cart { work: work(resize), ..cart.clone() };
        prop_assert_eq!(read(&wrong), "a line of no units");
        let endless = Task::Remove { lines: vec![LineId(1); 10_001], abandon: false };
        let wrong = cart::Cart { work: work(endless), ..cart.clone() };
        prop_assert_eq!(read(&wrong), "more lines than a cart can have");
        if let Some(line) = cart.lines.first().cloned() {
            let lines = vec![cart::Line { quantity: 0, ..line }];
            prop_assert_eq!(read(&cart::Cart { lines, ..cart.clone() }), "a line of no units");
        }
        let mut bytes = dto::encode_cart(&cart);
        bytes[7] = 0; // version and variant of the UUID are gone
        bytes[1 + 8] = 0;
        prop_assert_eq!(refused(dto::decode_cart(&bytes)), "not a cart's id");
    }

    #[test]
    fn an_impossible_order_is_refused(order in strategies::order()) {
        let read = |order: &order::Order| refused(dto::decode_order(&dto::encode_order(order)));
        let with = |line: Line| order::Order { lines: vec![line], work: None, ..order.clone() };
        let work = |step| Some(order::Work { step, key: None, begun_at: order.created_at });
        let line = order.lines[0].clone();
        let none = Line { quantity: 0, fulfilment: Fulfilment::default(), ..line.clone() };
        prop_assert_eq!(read(&with(none)), "a line of no units");
        let fulfilment = Fulfilment { shipped: line.quantity, cancelled: 1, returned: 0 };
        let wrong = with(Line { fulfilment, ..line });
        prop_assert_eq!(read(&wrong), "more units shipped and cancelled than sold");
        let lines = order.lines.len();
        let moving = |totals| Step::Moving { movement: Movement::Fulfil, restock: false, totals, by: "a".to_owned() };
        let wrong = order::Order { work: work(moving(vec![Fulfilment::default(); lines + 1])), ..order.clone() };
        prop_assert_eq!(read(&wrong), "a step with other lines than its order");
        let totals = vec![Fulfilment { shipped: 0, cancelled: 0, returned: 1 }; lines];
        let wrong = order::Order { work: work(moving(totals)), ..order.clone() };
        prop_assert_eq!(read(&wrong), "more units returned than shipped");
        let retaking = Step::Retaking { reference: "pay".to_owned(), reservations: Vec::new() };
        let wrong = order::Order { work: work(retaking), ..order.clone() };
        prop_assert_eq!(read(&wrong), "a step with other lines than its order");
        let promised = u32::try_from(lines + 1).unwrap();
        let wrong = order::Order { work: work(Step::Taking { attempt: 2, promised }), ..order.clone() };
        prop_assert_eq!(read(&wrong), "more promises than lines");
    }

    #[test]
    fn a_bulk_without_lines_is_refused(mut bulk in strategies::bulk()) {
        bulk.plan.lines.clear();
        prop_assert_eq!(refused(dto::decode_bulk(&dto::encode_bulk(&bulk))), "a bulk without lines");
    }
}

#[test]
fn a_length_that_lies_costs_nothing() {
    let owner = [dto::FORMAT_VERSION, 0, 1, b'c'];
    let endless = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let list = [&owner[..], &endless].concat();
    assert!(matches!(
        dto::decode_purchases(&list),
        Err(FormatError::Malformed(_))
    ));
    let text = [&owner[..2], &endless].concat();
    assert!(matches!(
        dto::decode_purchases(&text),
        Err(FormatError::Malformed(_))
    ));
}

#[test]
fn short_bytes_of_a_huge_value_are_refused() {
    // A decided bulk whose outcomes are all "unanswered" takes a byte a line, and hundreds in memory.
    let head = [&[dto::FORMAT_VERSION, 0, 2][..], &[0; 16], &[1, 1, 0xfc]].concat();
    let lines = 1_000_000_u32;
    let body = vec![2; usize::try_from(lines).unwrap()];
    let bytes = [&head[..], &lines.to_le_bytes(), &body, &[0]].concat();
    let why = FormatError::Malformed("LimitExceeded".to_owned());
    assert_eq!(dto::decode_turn(&bytes), Err(why));
}

#[test]
fn nothing_at_all_is_no_record() {
    assert_eq!(dto::decode_turn(&[]), Err(FormatError::Empty));
}

#[test]
fn an_id_beyond_its_length_is_refused() {
    let mut row = vec![dto::FORMAT_VERSION, 0, 129];
    row.extend([b'c'; 129]);
    row.push(0);
    assert_eq!(
        dto::decode_purchases(&row),
        Err(FormatError::Id(InvalidId::TooLong))
    );
}

#[test]
#[should_panic(expected = "a variant's turn has events")]
fn a_turn_that_says_nothing_is_a_bug() {
    let fact = VariantFact {
        ordinal: VariantOrdinal(1),
        revision: 1,
        named: None,
        events: Vec::new(),
        view: None,
    };
    dto::encode_turn(&Turn {
        at: Timestamp::from_millis(0),
        fact: Fact::Variant(fact),
        key: None,
    });
}
