//! Checkout: the cart stands still while its order takes the lines, and follows what the order tells it afterwards.
use super::{
    Cart, Happened, Kept, Line, LineHold, LineId, Refusal, Status, Task,
    turn::{Turn, never_held},
};
use crate::domain::{
    agent::{Answer, Ask, Next, Told, Verdict},
    ids::{CustomerId, OrderId, ReservationId, Slot},
    key::KeyMark,
    order::{self, Order},
    time::Timestamp,
    variant::{self, Fulfilment, HoldStatus},
};

impl Turn {
    pub(super) fn check_out(
        mut self,
        task: Task,
        order: &OrderId,
        key: Option<KeyMark>,
        now: Timestamp,
    ) -> Result<Next<Cart>, Refusal> {
        if self.after.lines.is_empty() {
            return Err(Refusal::Empty);
        }
        let wanted = self.after.units();
        if let Some(limit) = self.after.policy.limits.units_per_order
            && wanted > u64::from(limit)
        {
            return Err(Refusal::UnitsLimit { limit, wanted });
        }
        self.after.status = Status::CheckingOut { order: order.clone() };
        self.say(Happened::CheckoutBegan(order.clone()));
        Ok(self.begin(task, key, now, true))
    }

    /// Nothing came of the order: the cart is the shopper's again, with the holds it had.
    fn check_out_refused(mut self, order: &OrderId, refusal: Refusal, now: Timestamp) -> Next<Cart> {
        self.after.status = Status::Active;
        self.end_due(now);
        self.say(Happened::CheckoutRefused(order.clone()));
        self.refused(refusal)
    }
}

impl Cart {
    /// What is unconfirmed is asked about first: it may be held after all, under an id the order must not take it under again.
    /// Then the order is asked.
    pub(super) fn asks_of_checkout(
        &self,
        order: &OrderId,
        customer: Option<&CustomerId>,
        grace_ms: i64,
        begun_at: Timestamp,
    ) -> Vec<Ask> {
        let unclear: Vec<Ask> = self
            .unclear_lines()
            .flat_map(|(line, id)| self.ask_to_hold(line.id, id, line.quantity))
            .collect();
        if !unclear.is_empty() {
            return unclear;
        }
        let customer = customer.or(self.customer.as_ref());
        let open = order::Command::Open {
            cart: self.id.clone(),
            customer: customer.cloned(),
            session: self.session.clone(),
            lines: self
                .lines
                .iter()
                .map(|line| self.order_line(line, order, begun_at))
                .collect(),
            terms: self.policy.terms(customer.is_none()),
            grace_ms,
        };
        vec![Ask::Order {
            to: order.clone(),
            command: Box::new(open),
        }]
    }

    fn unclear_lines(&self) -> impl Iterator<Item = (&Line, ReservationId)> {
        self.lines.iter().filter_map(|line| match line.hold {
            LineHold::Unconfirmed { .. } => line.hold.maybe_live().map(|id| (line, id)),
            LineHold::None | LineHold::Held(_) | LineHold::Ended(_) => None,
        })
    }

    fn order_line(&self, line: &Line, order: &OrderId, begun_at: Timestamp) -> order::Line {
        let held = match line.hold {
            LineHold::Held(kept) => Some(kept.reservation),
            LineHold::None | LineHold::Ended(_) | LineHold::Unconfirmed { .. } => None,
        };
        order::Line {
            variant: line.variant.clone(),
            ordinal: line.ordinal,
            quantity: line.quantity,
            unit_price: line.unit_price,
            reservation: held.unwrap_or_else(|| self.fresh_reservation(line, order, begun_at)),
            held: held.is_some(),
            hold: None,
            fulfilment: Fulfilment::default(),
        }
    }

    /// The id an order takes a line under for which nothing is held: the same whenever it is asked again. FNV-1a over the
    /// order's id, which was drawn at random, makes the salt.
    fn fresh_reservation(&self, line: &Line, order: &OrderId, begun_at: Timestamp) -> ReservationId {
        let salt = order.as_str().bytes().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let slot = Slot::of_variant(&self.store, &line.variant);
        ReservationId::new(begun_at, slot, line.ordinal, salt)
    }

    pub(super) fn checkout_went(&self, order: &OrderId, answers: &[Answer], now: Timestamp) -> Next<Self> {
        if self.unclear_lines().next().is_some() {
            return self.cleared(order, answers, now);
        }
        let turn = Turn::of(self);
        match answers.first() {
            Some(Answer::Order(Ok(opened))) => turn.checked_out(opened, now),
            Some(Answer::Order(Err(refusal))) => {
                let refusal = match refusal {
                    order::Refusal::LinesUnavailable { lines } => {
                        Refusal::LinesUnavailable { lines: lines.clone() }
                    }
                    order::Refusal::NotFound
                    | order::Refusal::State { .. }
                    | order::Refusal::RefundRequired { .. }
                    | order::Refusal::AmountMismatch { .. }
                    | order::Refusal::PaidOtherwise { .. }
                    | order::Refusal::RefundNotFound
                    | order::Refusal::LineNotFound { .. }
                    | order::Refusal::QuantityExceeds { .. }
                    | order::Refusal::Unanswered => Refusal::Unanswered,
                };
                turn.check_out_refused(order, refusal, now)
            }
            // It may have taken the lines: it has to say.
            Some(Answer::Variant { .. } | Answer::Cart(_) | Answer::Unanswered) | None => self.again(),
        }
    }

    /// The variants of unconfirmed lines were asked how they stand.
    fn cleared(&self, order: &OrderId, answers: &[Answer], now: Timestamp) -> Next<Self> {
        let mut turn = Turn::of(self);
        let mut refusal = None;
        for ((line, id), answer) in self.unclear_lines().zip(answers) {
            if let Err(no) = turn.clear(line, id, answer, now) {
                refusal.get_or_insert(no);
            }
        }
        match refusal {
            Some(refusal) => turn.check_out_refused(order, refusal, now),
            None => turn.close(Verdict::Working),
        }
    }

    /// The order says how it stands: paid, or over, or the cart is the shopper's again. One that the cart has let go of may
    /// have been paid late.
    ///
    /// # Errors
    /// `Busy` while another cart takes the lines over: it may go on without them.
    pub(super) fn order_stands(
        &self,
        order: &Order,
        reopen: bool,
        now: Timestamp,
    ) -> Result<Next<Self>, Refusal> {
        match &self.status {
            Status::Active if order.payment.is_some() => return Ok(self.bought_late(order, now)),
            Status::Merging { .. } if order.payment.is_some() => return Err(Refusal::Busy),
            Status::CheckingOut { order: own } if *own == order.id => {}
            Status::Active
            | Status::Merging { .. }
            | Status::CheckingOut { .. }
            | Status::Ordered { .. }
            | Status::Merged { .. }
            | Status::Abandoned => return Ok(self.unchanged()),
        }
        let mut turn = Turn::of(self);
        if reopen {
            turn.reopened(order, now);
        } else {
            turn.order_over(order, now);
        }
        Ok(turn.done())
    }

    /// What waited to be held again since the order expired has been bought. Of what the shopper holds anew the order took
    /// what it needed: the variants say what is left.
    fn bought_late(&self, order: &Order, now: Timestamp) -> Next<Self> {
        let bought = self.lines.iter().filter(|line| was_left_by(order, line));
        let bought: Vec<LineId> = bought.map(|line| line.id).collect();
        let held_anew = |line: &&Line| line.hold.maybe_live().is_some() && taken(order, line).is_some();
        let lines: Vec<LineId> = self.lines.iter().filter(held_anew).map(|line| line.id).collect();
        if bought.is_empty() && lines.is_empty() {
            return self.unchanged();
        }
        let mut turn = Turn::of(self);
        if !bought.is_empty() {
            turn.take_out(&bought, false, now, false);
        }
        if lines.is_empty() {
            return turn.done();
        }
        let bought = true;
        turn.begin(Task::Look { lines, bought }, None, now, false)
    }
}

impl Turn {
    /// Takes in how an unconfirmed line stands; what is not held is left to the order.
    ///
    /// # Errors
    /// Why the checkout cannot go on with it.
    fn clear(
        &mut self,
        line: &Line,
        id: ReservationId,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Answer::Variant { told, quote } = answer else {
            return Err(Refusal::Unanswered);
        };
        match told {
            Told::Refused(variant::Refusal::InFlight | variant::Refusal::OwnedByOrder { .. }) => {
                return Err(Refusal::Unanswered);
            }
            Told::Refused(refusal @ variant::Refusal::ReservationConfirmed { .. }) => {
                return Err(self.bought(line.id, refusal));
            }
            // It has the units of before a change; that is made first, in the background.
            Told::Hold(hold) if hold.quantity != line.quantity => return Err(Refusal::Unanswered),
            Told::Hold(hold) if hold.status == HoldStatus::Active => {
                if line.unit_price.is_none() && self.other_currency(line.id, *quote) {
                    let variant = line.variant.clone();
                    return Err(Refusal::OtherCurrency { variant });
                }
                self.follow(line.id, hold);
                self.say(Happened::LineHeld(line.id));
                self.changed();
            }
            Told::Nothing => self.line(line.id).hold = LineHold::None,
            Told::Hold(_) | Told::Refused(_) => {
                self.line(line.id).hold = LineHold::Unconfirmed {
                    reservation: id.successor(now),
                    again_at: now,
                    tries: 0,
                };
            }
        }
        let unit_price = line.unit_price.or(quote.and_then(|quote| quote.price));
        self.line(line.id).unit_price = unit_price;
        Ok(())
    }

    fn checked_out(mut self, order: &Order, now: Timestamp) -> Next<Cart> {
        if order.status == order::Status::Refused {
            // Asked again after its refusal was lost; which lines it was is not kept.
            return self.check_out_refused(&order.id, Refusal::LinesUnavailable { lines: Vec::new() }, now);
        }
        for line in &mut self.after.lines {
            if let Some(taken) = taken(order, line) {
                line.hold = in_payment(line, taken, order.payment_deadline);
                line.unit_price = taken.unit_price;
            }
        }
        self.say(Happened::CheckedOut(Box::new(order.clone())));
        self.touched(now);
        self.done()
    }

    fn reopened(&mut self, order: &Order, now: Timestamp) {
        self.after.status = Status::Active;
        for line in &mut self.after.lines {
            if let Some(taken) = taken(order, line) {
                line.hold = given_back(taken, order.status, now);
            }
        }
        let ended = self
            .after
            .lines
            .iter()
            .filter(|line| matches!(line.hold, LineHold::Ended(_)));
        let ended: Vec<Happened> = ended.map(|line| Happened::LineEnded(line.id)).collect();
        self.happened.extend(ended);
        self.end_due(now);
        self.say(Happened::Reopened(order.id.clone()));
        self.touched(now);
    }

    fn order_over(&mut self, order: &Order, now: Timestamp) {
        match order.status {
            order::Status::Confirmed
            | order::Status::PartiallyFulfilled
            | order::Status::Fulfilled
            | order::Status::Returned => {
                for line in &mut self.after.lines {
                    line.hold = LineHold::None;
                }
                let order = order.id.clone();
                self.say(Happened::Ordered(order.clone()));
                self.end(Status::Ordered { order }, now);
            }
            order::Status::Opening
            | order::Status::Refused
            | order::Status::PendingPayment
            | order::Status::PaymentFailed
            | order::Status::Cancelled
            | order::Status::Expired
            | order::Status::RefundRequired => {
                self.after.lines.clear();
                self.say(Happened::Abandoned);
                self.end(Status::Abandoned, now);
            }
        }
        self.changed();
    }
}

/// Whether nothing is held for the line since the order expired. While an order has a cart's lines nothing is held for them anew,
/// so what was granted before its payment was over is its own: it has other reservations since.
fn was_left_by(order: &Order, line: &Line) -> bool {
    let left = match line.hold {
        LineHold::Ended(kept) => kept.reservation.created_at() <= order.payment_deadline,
        LineHold::Unconfirmed { tries, .. } => tries == 0,
        LineHold::Held(_) | LineHold::None => false,
    };
    left && taken(order, line).is_some()
}

fn taken<'a>(order: &'a Order, line: &Line) -> Option<&'a order::Line> {
    order.lines.iter().find(|taken| taken.ordinal == line.ordinal)
}

/// The hold as the order has it while the payment is awaited: the order's decision ends it, not the clock.
fn in_payment(line: &Line, taken: &order::Line, payment_deadline: Timestamp) -> LineHold {
    let kept = match (&taken.hold, &line.hold) {
        (Some(hold), _) => Kept::from(hold),
        (None, LineHold::Held(kept)) => *kept,
        (None, LineHold::None | LineHold::Ended(_) | LineHold::Unconfirmed { .. }) => {
            never_held(taken.reservation, payment_deadline)
        }
    };
    LineHold::Held(Kept {
        reservation: taken.reservation,
        // Not the variant's own backstop, which is later: until then a payment is in time.
        expires_at: payment_deadline,
        ..kept
    })
}

/// The hold as the order leaves it to the cart.
fn given_back(taken: &order::Line, status: order::Status, now: Timestamp) -> LineHold {
    match &taken.hold {
        Some(hold) if hold.status == HoldStatus::Active && status != order::Status::Expired => {
            LineHold::Held(Kept::from(hold))
        }
        Some(hold) => LineHold::Ended(Kept {
            expires_at: hold.expires_at.min(now),
            ..Kept::from(hold)
        }),
        // It has ended, whether the order gave it back or its own time did after that.
        None => LineHold::Ended(never_held(taken.reservation, now)),
    }
}
