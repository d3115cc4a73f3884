//! Taking the holds: all or none, whatever is lost.
use super::*;

#[test]
fn a_checkout_takes_every_line_or_leaves_all_as_they_were() {
    for count in 1..=3 {
        let (before, lines) = house(count);
        let judge = |smooth: &Outcome, ran: &Outcome, faults: &[((usize, usize), Fault)]| {
            if ran.after.status == Status::PendingPayment {
                expect_same(smooth, ran, faults);
                return;
            }
            let why = format!("{faults:?}");
            assert_eq!(ran.after.status, Status::Refused, "{why}");
            ran.peers.expect_nothing_of_an_order(&why);
            assert_eq!(ran.peers.stock(), before.stock(), "{why}");
            assert!(matches!(
                ran.said,
                Some(Err(Refusal::LinesUnavailable { .. } | Refusal::Unanswered))
            ));
            // Asked again, it says the same: its cart has let go of it.
            let again = go(ran, open(&lines), at(1_000));
            assert_eq!((&again.said, &again.after), (&ran.said, &ran.after), "{why}");
        };
        let smooth = with_every_fault(&unborn(), &before, says(open(&lines)), at(1_000), judge);
        assert_eq!(smooth.after.status, Status::PendingPayment);
        for line in &smooth.after.lines {
            let hold = line.hold.as_ref().unwrap();
            assert_eq!(
                Some(hold),
                smooth.peers.variants[&line.ordinal.0].variant.hold(hold.id)
            );
            let backstop = smooth.after.payment_deadline.saturating_add(GRACE_MS);
            assert_eq!((hold.phase, hold.expires_at), (Phase::Payment, backstop));
        }
    }
}

#[test]
fn a_refusal_names_every_failing_line() {
    for count in 1..=3_u32 {
        for short in 0..1_u32 << count {
            let (mut house, mut lines) = house(count);
            let names: Vec<VariantId> = lines
                .iter_mut()
                .enumerate()
                .filter(|(at, _)| short & (1 << at) != 0)
                .map(|(_, line)| {
                    // Nothing is free, and the cart has nothing: it expired.
                    house.let_go(line, START);
                    house.take_all(line, START);
                    line.held = false;
                    line.reservation = line.reservation.successor(START);
                    line.variant.clone()
                })
                .collect();
            let before = house.stock();
            let ran = run(&unborn(), &house, says(open(&lines)), &[], at(1_000));
            if names.is_empty() {
                assert_eq!(ran.after.status, Status::PendingPayment);
                continue;
            }
            let Some(Err(Refusal::LinesUnavailable { lines: failing })) = &ran.said else {
                panic!("{:?}", ran.said);
            };
            let failing: Vec<_> = failing.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(failing, names);
            assert_eq!(ran.peers.stock(), before);
        }
    }
}

#[test]
fn a_hold_that_ended_on_the_way_to_checkout_is_made_anew() {
    for count in 1..=3 {
        let (mut house, lines) = house(count);
        let gone = lines[0].reservation;
        let world = house.variants.get_mut(&0).unwrap();
        world.ask(&variant::Command::Release { id: gone }, at(500));
        let ran = run(&unborn(), &house, says(open(&lines)), &[], at(1_000));
        assert_eq!(ran.after.status, Status::PendingPayment, "{:?}", ran.said);
        assert_ne!(ran.after.lines[0].reservation, gone);
        assert_eq!(ran.peers.variants[&0].variant.held(), 2);
    }
}

#[test]
fn what_a_guest_held_counts_for_the_customer_who_checks_out() {
    for (limit, fits) in [(4, true), (3, false)] {
        let (mut house, lines) = house(1);
        let world = house.variants.get_mut(&0).unwrap();
        let guest = Shopper {
            customer: None,
            ..shopper()
        };
        let release = variant::Command::Release {
            id: lines[0].reservation,
        };
        world.ask(&release, START);
        let mut line = lines[0].clone();
        line.reservation = world.fresh_id(START);
        let held = Reserve {
            shopper: guest.clone(),
            ..reserve(line.reservation, 2)
        };
        world.ask(&variant::Command::Take(held), START);
        let id = world.fresh_id(START);
        world.ask(&variant::Command::Reserve(reserve(id, 2)), START);
        let mut command = open(&[line.clone()]);
        if let Command::Open { terms, .. } = &mut command {
            terms.units_per_customer = Some(limit);
        }
        let begin = says(command);
        let smooth = if fits {
            let judge = |smooth: &Outcome, ran: &Outcome, faults: &[((usize, usize), Fault)]| {
                if ran.after.status == Status::PendingPayment {
                    expect_same(smooth, ran, faults);
                } else {
                    let hold = ran.peers.variants[&0].variant.hold(line.reservation).unwrap();
                    assert_eq!(hold.shopper, guest, "{faults:?}");
                }
            };
            with_every_fault(&unborn(), &house, &begin, at(1_000), judge)
        } else {
            run(&unborn(), &house, &begin, &[], at(1_000))
        };
        let hold = smooth.peers.variants[&0].variant.hold(line.reservation).unwrap();
        if fits {
            assert_eq!((smooth.said, &hold.shopper), (Some(Ok(())), &shopper()));
            assert_eq!(smooth.after.lines[0].hold.as_ref(), Some(hold));
        } else {
            assert!(matches!(smooth.said, Some(Err(Refusal::LinesUnavailable { .. }))));
            assert_eq!(hold.shopper, guest);
        }
    }
}

#[test]
fn only_a_live_hold_locks_the_price() {
    let (mut house, lines) = house(2);
    for line in &lines {
        house.reprice(line, 130, "USD");
    }
    let amounts = |order: &Order| {
        let amount = |line: &Line| line.unit_price.unwrap().amount;
        order.lines.iter().map(amount).collect::<Vec<_>>()
    };
    let begin = says(open(&lines));
    let smooth = with_every_fault(&unborn(), &house, &begin, at(1_000), |_, ran, faults| {
        let opened = ran.after.status == Status::PendingPayment;
        assert!(!opened || amounts(&ran.after) == [100, 130], "{faults:?}");
    });
    assert_eq!(smooth.after.total().unwrap().amount, 2 * 100 + 2 * 130);
    // Its hold ended on the way here, and the lock with it.
    let world = house.variants.get_mut(&0).unwrap();
    let id = lines[0].reservation;
    world.ask(&variant::Command::Release { id }, at(500));
    let ran = run(&unborn(), &house, &begin, &[], at(1_000));
    assert_eq!(amounts(&ran.after), [130, 130]);
}

#[test]
fn an_order_is_priced_in_one_currency() {
    let (mut house, lines) = house(2);
    house.reprice(&lines[1], 130, "EUR");
    let before = house.stock();
    let ran = run(&unborn(), &house, says(open(&lines)), &[], at(1_000));
    let Some(Err(Refusal::LinesUnavailable { lines: failing })) = &ran.said else {
        panic!("{:?}", ran.said);
    };
    let failing: Vec<_> = failing.iter().map(|(name, _)| name).collect();
    assert_eq!(failing, [&lines[1].variant]);
    assert_eq!(ran.peers.stock(), before);
}

/// An order whose asks are delivered one at a time.
struct Slow {
    order: Order,
    answers: Vec<Option<Answer>>,
}

impl Slow {
    fn new(number: u64, lines: &[Line]) -> Self {
        let id = OrderId::made(START, Slot::of_cart(1), number);
        let order = Order::unborn(id, StoreId::parse("default").unwrap());
        let order = order.decide(&open(lines), None, START).unwrap().after;
        let answers = vec![None; order.asks().len()];
        Self { order, answers }
    }

    fn act(&mut self, house: &mut House) {
        let Some(at) = self.answers.iter().position(Option::is_none) else {
            let answers: Vec<Answer> = self.answers.drain(..).flatten().collect();
            self.order = self.order.conclude(&answers, START).after;
            self.order.check().unwrap();
            self.answers = vec![None; self.order.asks().len()];
            return;
        };
        self.answers[at] = Some(house.ask(&self.order.asks()[at], START));
    }
}

#[test]
fn of_two_orders_over_the_last_x_and_y_exactly_one_wins() {
    for schedule in 0..1_u32 << 13 {
        let (mut house, lines) = house(2);
        let mut lines: Vec<Line> = lines
            .into_iter()
            .map(|line| {
                let world = house.variants.get_mut(&line.ordinal.0).unwrap();
                world.ask(&variant::Command::Release { id: line.reservation }, START);
                let last = variant::Command::SetStock {
                    on_hand: u64::from(line.quantity),
                    by: "shop".to_owned(),
                };
                world.ask(&last, START);
                let reservation = world.fresh_id(START);
                Line {
                    reservation,
                    held: false,
                    ..line
                }
            })
            .collect();
        let first = Slow::new(1, &lines);
        lines.reverse();
        for line in &mut lines {
            line.reservation = house.variants.get_mut(&line.ordinal.0).unwrap().fresh_id(START);
        }
        let mut both = [first, Slow::new(2, &lines)];
        for turn in 0..200 {
            let who = if turn < 13 { schedule >> turn & 1 } else { turn & 1 };
            if both[who as usize].order.is_working() {
                both[who as usize].act(&mut house);
            }
        }
        let stands = both.map(|slow| slow.order.status);
        let won = [
            [Status::PendingPayment, Status::Refused],
            [Status::Refused, Status::PendingPayment],
        ];
        assert!(won.contains(&stands), "{schedule:b}: {stands:?}");
    }
}

#[test]
fn the_laws_of_an_order_bite() {
    let (open, sold) = (opened(2).after, paid(2).after);
    let refund = Refund {
        reference: "pay-1".to_owned(),
        reason: RefundReason::AlreadyPaid,
        at: START,
        done_at: None,
    };
    let with = |order: &Order, change: &dyn Fn(&mut Order)| {
        let mut order = order.clone();
        change(&mut order);
        order.check().map_err(|broken| broken.evidence)
    };
    assert_eq!((open.check(), sold.check()), (Ok(()), Ok(())));
    let broken = [
        with(&open, &|order| order.lines[1].hold = None),
        with(&open, &|order| order.lines[0].quantity = 0),
        with(&open, &|order| order.status = Status::Confirmed),
        with(&open, &|order| order.payment = sold.payment.clone()),
        with(&open, &|order| {
            order.refunds = vec![refund.clone(), refund.clone()]
        }),
        with(&open, &|order| order.status = Status::Opening),
        with(&open, &|order| order.status = Status::RefundRequired),
        with(&sold, &|order| order.refunds = vec![refund.clone()]),
        with(&sold, &|order| order.lines[0].fulfilment.shipped = 3),
        with(&sold, &|order| order.lines[0].fulfilment.shipped = 1),
        with(&sold, &|order| order.status = Status::Fulfilled),
        with(&sold, &|order| order.lines[0].hold = None),
        with(&sold, &|order| order.lines[0].ordinal = VariantOrdinal(9)),
        with(&sold, &|order| order.status = Status::Opening),
    ];
    for (number, broken) in broken.iter().enumerate() {
        assert!(broken.is_err(), "number {number} is lawful");
    }
}
