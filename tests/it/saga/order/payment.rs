//! Paying, in time and late, and giving back.
use super::*;

#[test]
fn a_payment_sells_every_line_whatever_is_lost() {
    for count in 1..=3 {
        let from = opened(count);
        let command = pay_all(&from.after, "pay-1");
        let smooth = with_every_fault(
            &from.after,
            &from.peers,
            says(command.clone()),
            at(2_000),
            expect_same,
        );
        assert_eq!(
            (smooth.after.status, &smooth.said),
            (Status::Confirmed, &Some(Ok(())))
        );
        assert_eq!(smooth.peers.told, [(Status::Confirmed, false)]);
        // Twice, late, by webhook and browser: the same order.
        let again = go(&smooth, command, at(9_000_000));
        assert_eq!((&again.said, &again.after), (&smooth.said, &smooth.after));
        // By another reference: asked back once.
        let other = go(&smooth, pay_all(&smooth.after, "pay-2"), at(3_000));
        let twice = go(&other, pay_all(&smooth.after, "pay-2"), at(4_000));
        assert!(
            matches!(&other.said, Some(Err(Refusal::RefundRequired { refund })) if refund.reason == RefundReason::AlreadyPaid)
        );
        assert_eq!((&twice.said, &twice.after), (&other.said, &other.after));
        assert_eq!(other.after.status, Status::Confirmed);
    }
}

#[test]
fn an_accepted_payment_is_not_repeated_with_another_amount() {
    let ran = paid(2);
    let total = ran.after.total().unwrap();
    let again = |amount: Option<i64>, currency: &str| Command::Confirm {
        reference: "pay-1".to_owned(),
        amount,
        currency: Currency::parse(currency),
        fresh: Vec::new(),
    };
    for same in [again(Some(total.amount), "USD"), again(None, "")] {
        let same = go(&ran, same, at(3_000));
        assert_eq!((&same.said, &same.after), (&Some(Ok(())), &ran.after));
    }
    for other in [again(Some(total.amount - 1), "USD"), again(None, "EUR")] {
        let other = go(&ran, other, at(3_000));
        assert!(
            matches!(&other.said, Some(Err(Refusal::PaidOtherwise { payment })) if Some(payment) == ran.after.payment.as_ref()),
            "{:?}",
            other.said
        );
        assert_eq!(other.after, ran.after, "nothing is owed");
    }
}

#[test]
fn refunds_of_one_order_are_bounded() {
    let mut ran = paid(1);
    for number in 0..REFUNDS_MAX {
        ran = go(&ran, pay_all(&ran.after, &format!("again-{number}")), at(3_000));
        assert!(matches!(ran.said, Some(Err(Refusal::RefundRequired { .. }))));
    }
    let full = go(&ran, pay_all(&ran.after, "one more"), at(4_000));
    let status = Status::Confirmed;
    assert_eq!(full.said, Some(Err(Refusal::State { status })));
    assert_eq!((&full.after, full.after.refunds.len()), (&ran.after, REFUNDS_MAX));
    // Those that were asked back before are told so as ever.
    let again = go(&ran, pay_all(&ran.after, "again-0"), at(4_000));
    assert!(matches!(again.said, Some(Err(Refusal::RefundRequired { .. }))));
}

#[test]
fn a_failed_or_cancelled_payment_gives_everything_back() {
    let cancel = |close_cart| Command::Cancel {
        lines: None,
        restock: true,
        close_cart,
        by: "shop".to_owned(),
    };
    for count in 1..=3 {
        let from = opened(count);
        let endings = [
            (Command::Fail, Status::PaymentFailed, true),
            (cancel(false), Status::Cancelled, true),
            (cancel(true), Status::Cancelled, false),
        ];
        for (command, status, reopen) in endings {
            let smooth = with_every_fault(
                &from.after,
                &from.peers,
                says(command.clone()),
                at(2_000),
                expect_same,
            );
            assert_eq!((smooth.after.status, &smooth.said), (status, &Some(Ok(()))));
            assert_eq!(smooth.peers.told, [(status, reopen)]);
            smooth.peers.expect_nothing_of_an_order("given back");
            let held: u64 = smooth
                .peers
                .variants
                .values()
                .map(|world| world.variant.held())
                .sum();
            assert_eq!(held, if reopen { 2 * u64::from(count) } else { 0 });
            let again = go(&smooth, command, at(3_000));
            assert_eq!((&again.said, &again.after), (&Some(Ok(())), &smooth.after));
            let late = go(&smooth, pay_all(&from.after, "pay-1"), at(3_000));
            assert!(matches!(late.said, Some(Err(Refusal::RefundRequired { .. }))));
        }
    }
}

#[test]
fn commit_meets_expiry_at_the_orders_deadline() {
    for (after_ms, free, status) in [
        (-1, true, Status::Confirmed),
        (-1, false, Status::Confirmed), // nothing is free, and nothing needs to be
        (0, true, Status::Confirmed),
        (0, false, Status::Confirmed),
        (1, true, Status::Confirmed), // late, but the units are free again
        (1, false, Status::RefundRequired),
        (600_000, true, Status::Confirmed),
        (600_000, false, Status::RefundRequired),
    ] {
        for count in 1..=3 {
            for timer_first in [false, true] {
                let from = opened(count);
                let deadline = from.after.payment_deadline;
                let now = deadline.saturating_add(after_ms);
                assert_eq!(from.after.next_deadline(), Some(deadline.saturating_add(1)));
                let mut from = from;
                if timer_first && from.after.due(now).is_some() {
                    from = run(
                        &from.after,
                        &from.peers,
                        |order: &Order, now| Ok(order.due(now).unwrap()),
                        &[],
                        now,
                    );
                    assert_eq!(from.after.status, Status::Expired);
                    assert_eq!(from.peers.told, [(Status::Expired, true)]);
                }
                if !free {
                    // Somebody else has bought all that is left; with what this order gives back one unit is missing.
                    let lines = from.after.lines.clone();
                    for line in &lines {
                        let world = from.peers.variants.get_mut(&line.ordinal.0).unwrap();
                        let on_hand = u64::from(line.quantity) - 1;
                        if timer_first {
                            from.peers.take_all(line, now);
                        } else {
                            let safety = variant::Settings {
                                safety_stock: STOCK - on_hand,
                                ..variant::Settings::default()
                            };
                            let change = variant::Command::Change {
                                settings: Box::new(safety),
                            };
                            world.ask(&change, now);
                        }
                    }
                }
                let command = pay_all(&from.after, "pay-1");
                let ran = go(&from, command.clone(), now);
                let case = format!("{after_ms} ms, free {free}, timer first {timer_first}, {count} lines");
                assert_eq!(ran.after.status, status, "{case}");
                let sold: u64 = ran
                    .peers
                    .variants
                    .values()
                    .map(|world| world.variant.committed())
                    .sum();
                if status == Status::Confirmed {
                    assert_eq!((&ran.said, sold), (&Some(Ok(())), 2 * u64::from(count)), "{case}");
                } else {
                    assert!(
                        matches!(&ran.said, Some(Err(Refusal::RefundRequired { .. }))),
                        "{case}"
                    );
                    assert_eq!((ran.after.refunds.len(), sold), (1, 0), "{case}");
                    ran.peers.expect_nothing_of_an_order(&case);
                }
                let again = go(&ran, command, now.saturating_add(5));
                assert_eq!((&again.said, &again.after), (&ran.said, &ran.after), "{case}");
                let refunds = |ran: &Outcome| {
                    let asked = |what: &&Happened| matches!(what, Happened::RefundRequired { .. });
                    ran.happened.iter().filter(asked).count()
                };
                assert_eq!(refunds(&ran) + refunds(&again), ran.after.refunds.len(), "{case}");
            }
        }
    }
}

#[test]
fn an_expiry_and_a_late_payment_end_the_same_whatever_is_lost() {
    for count in 1..=3 {
        let from = opened(count);
        let now = from.after.payment_deadline.saturating_add(1);
        let expires = |order: &Order, now: Timestamp| Ok(order.due(now).unwrap());
        let expired = with_every_fault(&from.after, &from.peers, expires, now, expect_same);
        assert_eq!(expired.after.status, Status::Expired);
        expired.peers.expect_nothing_of_an_order("expired");
        let command = pay_all(&from.after, "late");
        for start in [&from, &expired] {
            let judge = |smooth: &Outcome, ran: &Outcome, faults: &[((usize, usize), Fault)]| {
                if ran.after.status == Status::Confirmed && smooth.after.payment == ran.after.payment {
                    expect_same(smooth, ran, faults);
                } else if ran.after.status != Status::Confirmed {
                    assert_eq!(ran.after.status, Status::RefundRequired, "{faults:?}");
                    assert_eq!(ran.after.refunds.len(), 1, "{faults:?}");
                    ran.peers.expect_nothing_of_an_order("asked back");
                    assert!(
                        ran.peers
                            .stock()
                            .iter()
                            .all(|(_, held, sold, _)| held + sold == 0)
                    );
                }
            };
            let smooth = with_every_fault(&start.after, &start.peers, says(command.clone()), now, judge);
            assert_eq!(
                (smooth.after.status, &smooth.said),
                (Status::Confirmed, &Some(Ok(())))
            );
        }
    }
}

/// The shopper's own live hold never blocks the shopper's own late payment: an order of two units a line, of which its cart
/// holds some again and somebody else the rest but for a few.
#[test]
fn a_late_payment_takes_over_what_its_cart_holds_again_whatever_is_lost() {
    for (held, free) in [(1, 0), (1, 1), (2, 0), (3, 0), (3, 2)] {
        for count in 1..=2 {
            let from = opened(count);
            let now = from.after.payment_deadline.saturating_add(1);
            let mut from = run(
                &from.after,
                &from.peers,
                |order: &Order, now| Ok(order.due(now).unwrap()),
                &[],
                now,
            );
            let mut again = Vec::new();
            for line in &from.after.lines {
                again.push(from.peers.hold(line, shopper(), held, now));
                let others = u32::try_from(STOCK).unwrap() - held - free;
                if others > 0 {
                    from.peers.hold(line, Shopper::default(), others, now);
                }
            }
            let judge = |_: &Outcome, ran: &Outcome, faults: &[((usize, usize), Fault)]| {
                let case = format!("{held} held again, {free} free, {count} lines: {faults:?}");
                let bought = ran.after.status == Status::Confirmed;
                assert!(bought || ran.after.status == Status::RefundRequired, "{case}");
                assert_eq!(bought, ran.after.refunds.is_empty(), "one outcome: {case}");
                ran.peers.expect_nothing_of_an_order(&case);
                let left = if bought { held.saturating_sub(2) } else { held };
                for (line, own) in ran.after.lines.iter().zip(&again) {
                    let variant = &ran.peers.variants[&line.ordinal.0].variant;
                    let own = variant.hold(*own).map_or(0, |hold| hold.quantity);
                    assert_eq!(own, left, "{case}");
                    assert_eq!(variant.committed(), if bought { 2 } else { 0 }, "{case}");
                }
            };
            let pay = says(pay_all(&from.after, "late"));
            let smooth = with_every_fault(&from.after, &from.peers, pay, now, judge);
            assert_eq!(smooth.after.status == Status::Confirmed, held + free >= 2);
        }
    }
}

#[test]
fn a_hold_lost_although_it_was_paid_in_time_is_made_anew_or_the_payment_asked_back() {
    for count in 1..=3 {
        for lost in 0..count {
            for free in [true, false] {
                let mut from = opened(count);
                let line = from.after.lines[lost as usize].clone();
                let world = from.peers.variants.get_mut(&lost).unwrap();
                // A backstop that went off too early, say after a restore.
                let release = variant::Command::ForOrder {
                    order: from.after.id.clone(),
                    id: line.reservation,
                    step: variant::OrderStep::Release,
                };
                world.ask(&release, at(1_500));
                if !free {
                    from.peers.take_all(&line, at(1_500));
                }
                let command = pay_all(&from.after, "pay-1");
                let ran = go(&from, command.clone(), at(2_000));
                let sold: u64 = ran
                    .peers
                    .variants
                    .values()
                    .map(|world| world.variant.committed())
                    .sum();
                if free {
                    assert_eq!((ran.after.status, &ran.said), (Status::Confirmed, &Some(Ok(()))));
                    assert_eq!(sold, 2 * u64::from(count));
                    assert_ne!(ran.after.lines[lost as usize].reservation, line.reservation);
                } else {
                    assert_eq!((ran.after.status, sold), (Status::RefundRequired, 0));
                    assert!(matches!(&ran.said, Some(Err(Refusal::RefundRequired { .. }))));
                    ran.peers.expect_nothing_of_an_order("asked back");
                    let on_hand = ran.peers.stock().iter().all(|(on_hand, ..)| *on_hand == STOCK);
                    assert!(on_hand, "what was sold before is back on the shelf");
                }
                let again = go(&ran, command, at(2_000));
                assert_eq!((&again.said, &again.after), (&ran.said, &ran.after));
            }
        }
    }
}

#[test]
fn a_wrong_amount_is_asked_back_and_the_order_waits_on() {
    let from = opened(2);
    let wrong = go(&from, pay("short"), at(2_000));
    assert!(matches!(&wrong.said, Some(Err(Refusal::AmountMismatch { .. }))));
    assert_eq!(
        (wrong.after.status, wrong.after.refunds.len()),
        (Status::PendingPayment, 1)
    );
    let twice = go(&wrong, pay("short"), at(2_001));
    assert_eq!((&twice.said, &twice.after), (&wrong.said, &wrong.after));
    let right = go(&wrong, pay_all(&from.after, "right"), at(3_000));
    assert_eq!(right.after.status, Status::Confirmed);
    let reference = "short".to_owned();
    let done = go(&right, Command::RefundDone { reference }, at(4_000));
    assert_eq!(done.after.refunds[0].done_at, Some(at(4_000)));
    let none = "none".to_owned();
    let missing = go(&done, Command::RefundDone { reference: none }, at(4_000));
    assert_eq!(missing.said, Some(Err(Refusal::RefundNotFound)));
}
