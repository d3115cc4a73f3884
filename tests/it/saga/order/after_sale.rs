//! After the sale: every unit moves once.
use super::*;

#[test]
fn units_move_once_whatever_is_lost() {
    for count in 1..=3 {
        let from = paid(count);
        let fulfil = Command::Fulfil {
            lines: None,
            by: "shop".to_owned(),
        };
        let shipped = with_every_fault(&from.after, &from.peers, says(fulfil), at(3_000), expect_same);
        assert_eq!(shipped.after.status, Status::Fulfilled);
        assert!(
            shipped
                .peers
                .stock()
                .iter()
                .all(|(on_hand, ..)| *on_hand == STOCK - 2)
        );
        let take_back = Command::Return {
            lines: None,
            restock: true,
            by: "shop".to_owned(),
        };
        let returned = with_every_fault(
            &shipped.after,
            &shipped.peers,
            says(take_back),
            at(4_000),
            expect_same,
        );
        assert_eq!(returned.after.status, Status::Returned);
        assert!(
            returned
                .peers
                .stock()
                .iter()
                .all(|(on_hand, ..)| *on_hand == STOCK)
        );
        let cancel = Command::Cancel {
            lines: None,
            restock: true,
            close_cart: false,
            by: "shop".to_owned(),
        };
        let cancelled = with_every_fault(&from.after, &from.peers, says(cancel), at(3_000), expect_same);
        assert_eq!(cancelled.after.status, Status::Cancelled);
        assert!(cancelled.peers.stock().iter().all(|(_, _, sold, _)| *sold == 0));
    }
}

#[test]
fn a_line_that_cannot_move_stays_as_it_was_and_is_named() {
    for count in 1..=3_usize {
        let mut from = paid(u32::try_from(count).unwrap());
        let world = from.peers.variants.get_mut(&0).unwrap();
        // Sold on backorder: fewer are on the shelf than were sold.
        let settings = variant::Settings {
            backorder_limit: 5,
            ..variant::Settings::default()
        };
        let change = variant::Command::Change {
            settings: Box::new(settings),
        };
        world.ask(&change, at(2_500));
        let broken = variant::Command::SetStock {
            on_hand: 1,
            by: "shop".to_owned(),
        };
        world.ask(&broken, at(2_500));
        let fulfil = || Command::Fulfil {
            lines: None,
            by: "shop".to_owned(),
        };
        let ran = go(&from, fulfil(), at(3_000));
        let first = ran.after.lines[0].variant.clone();
        assert_eq!(ran.after.lines[0].fulfilment, Fulfilment::default());
        let refused = ran.happened.iter().find_map(|what| match what {
            Happened::LinesRefused { lines } => Some(lines.clone()),
            _ => None,
        });
        assert_eq!(refused.map(|lines| lines[0].0.clone()), Some(first));
        if count == 1 {
            assert!(matches!(&ran.said, Some(Err(Refusal::LinesUnavailable { .. }))));
            assert_eq!(ran.after, from.after, "nothing was done");
            continue;
        }
        assert_eq!(
            (&ran.said, ran.after.status),
            (&Some(Ok(())), Status::PartiallyFulfilled)
        );
        // The shelf is filled, and asked again only the rest moves.
        let mut filled = ran.clone();
        let found = variant::Command::SetStock {
            on_hand: 9,
            by: "shop".to_owned(),
        };
        filled.peers.variants.get_mut(&0).unwrap().ask(&found, at(3_500));
        let rest = go(&filled, fulfil(), at(4_000));
        assert_eq!(rest.after.status, Status::Fulfilled);
        assert!(rest.after.lines.iter().all(|line| line.fulfilment.shipped == 2));
    }
}

#[test]
fn units_move_line_by_line_and_no_further_than_there_are() {
    let from = paid(2);
    let names: Vec<VariantId> = from.after.lines.iter().map(|line| line.variant.clone()).collect();
    let some = |lines: &[(usize, Option<u32>)]| {
        let line = |(at, quantity): &(usize, Option<u32>)| AfterSaleLine {
            variant: names[*at].clone(),
            quantity: *quantity,
        };
        Some(lines.iter().map(line).collect::<Vec<_>>())
    };
    let by = || "shop".to_owned();
    let fulfil = |lines| Command::Fulfil { lines, by: by() };
    let cancel = |lines| Command::Cancel {
        lines,
        restock: true,
        close_cart: false,
        by: by(),
    };
    let take_back = |lines| Command::Return {
        lines,
        restock: true,
        by: by(),
    };
    let one = go(&from, fulfil(some(&[(0, Some(1))])), at(3_000));
    assert_eq!(one.after.status, Status::PartiallyFulfilled);
    let exceeds = |requested, allowed| {
        Some(Err(Refusal::QuantityExceeds {
            variant: names[0].clone(),
            requested,
            allowed,
        }))
    };
    assert_eq!(
        go(&one, fulfil(some(&[(0, Some(2))])), at(3_000)).said,
        exceeds(2, 1)
    );
    assert_eq!(
        go(&one, fulfil(some(&[(0, Some(0))])), at(3_000)).said,
        exceeds(0, 1)
    );
    // Named twice in one request, the units are counted once.
    let twice = some(&[(0, Some(1)), (0, Some(1))]);
    assert_eq!(go(&one, cancel(twice), at(3_000)).said, exceeds(1, 0));
    assert_eq!(
        go(&one, take_back(some(&[(0, Some(2))])), at(3_000)).said,
        exceeds(2, 1)
    );
    let unknown = Some(vec![AfterSaleLine {
        variant: VariantId::parse("nope").unwrap(),
        quantity: None,
    }]);
    assert!(matches!(
        go(&one, fulfil(unknown), at(3_000)).said,
        Some(Err(Refusal::LineNotFound { .. }))
    ));
    let back = go(&one, take_back(some(&[(0, None)])), at(4_000));
    assert_eq!(
        (back.after.status, back.after.lines[0].fulfilment.returned),
        (Status::PartiallyFulfilled, 1)
    );
    let rest = go(&back, cancel(None), at(5_000));
    assert_eq!(
        rest.after.status,
        Status::Returned,
        "all that left came back, the rest never left"
    );
    let stock: Vec<u64> = rest.peers.stock().iter().map(|(on_hand, ..)| *on_hand).collect();
    assert_eq!(stock, [STOCK, STOCK]);
    let pending = opened(2);
    let part = go(&pending, cancel(some(&[(0, None)])), at(2_000));
    assert!(
        matches!(part.said, Some(Err(Refusal::State { .. }))),
        "unpaid it is cancelled as a whole"
    );
    let whole = go(&pending, cancel(some(&[(0, None), (1, Some(2))])), at(2_000));
    assert_eq!(whole.after.status, Status::Cancelled);
}

/// All again is harmless once all of it is done, whatever else became of the order; what never happened is a no.
#[test]
fn to_move_all_again_is_harmless() {
    let by = || "shop".to_owned();
    let fulfil = |lines| Command::Fulfil { lines, by: by() };
    let cancel = || Command::Cancel {
        lines: None,
        restock: true,
        close_cart: false,
        by: by(),
    };
    let take_back = || Command::Return {
        lines: None,
        restock: true,
        by: by(),
    };
    let from = paid(2);
    let part = Some(vec![AfterSaleLine {
        variant: from.after.lines[0].variant.clone(),
        quantity: Some(1),
    }]);
    let part = go(&from, fulfil(part), at(3_000));
    let again = |ran: &Outcome, command: Command| {
        let twice = go(ran, command, at(9_000));
        assert_eq!((&twice.said, &twice.after), (&Some(Ok(())), &ran.after));
    };
    let refused = |ran: &Outcome, command: Command| {
        let no = go(ran, command, at(9_000));
        assert!(
            matches!(no.said, Some(Err(Refusal::State { .. }))),
            "{:?}",
            no.said
        );
    };
    let back = go(&part, take_back(), at(4_000));
    assert_eq!(back.after.status, Status::PartiallyFulfilled);
    again(&back, take_back());
    let rest = go(&part, cancel(), at(4_000));
    assert_eq!(rest.after.status, Status::Fulfilled);
    again(&rest, cancel());
    again(&rest, fulfil(None));
    let all = go(&from, fulfil(None), at(4_000));
    again(&all, fulfil(None));
    refused(&all, cancel());
    refused(&from, take_back());
    let none = go(&from, cancel(), at(4_000));
    again(&none, cancel());
    refused(&none, fulfil(None));
}
