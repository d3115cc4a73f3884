//! Judging a command of an order: refusals first, then what is logged before anybody else hears of it.
use super::{
    AfterSaleLine, Command, Happened, Late, Line, Movement, Order, Payment, Refund, RefundReason, Refusal,
    Status, Step, Work,
    saga::{done, goes_on},
};
use crate::domain::{
    agent::{Next, Verdict},
    ids::{CartId, ReservationId},
    key::KeyMark,
    money::Currency,
    time::Timestamp,
    variant::Fulfilment,
};

/// The most payments of one order that are asked back for what they are. Beyond it such a payment is refused by the order's
/// status, and no record is kept of it: a caller who draws references could otherwise let an order grow without end. A payment
/// that was taken up and whose units are gone is asked back all the same, which happens once.
pub const REFUNDS_MAX: usize = 64;

/// A payment as its caller tells of it.
struct Paid<'a> {
    reference: &'a str,
    amount: Option<i64>,
    currency: Option<Currency>,
    fresh: &'a [ReservationId],
}

/// Who asks, under which key, when.
#[derive(Clone, Copy)]
struct Asked {
    key: Option<KeyMark>,
    now: Timestamp,
}

impl Order {
    pub(super) fn judge(
        &self,
        command: &Command,
        key: Option<KeyMark>,
        now: Timestamp,
    ) -> Result<Next<Self>, Refusal> {
        let asked = Asked { key, now };
        if let Command::Open { cart, lines, .. } = command {
            return self.open(command, cart, lines, asked);
        }
        if !self.exists() || self.status == Status::Refused {
            return Err(Refusal::NotFound);
        }
        match command {
            Command::Open { .. } => Err(self.not_now()),
            Command::Confirm {
                reference,
                amount,
                currency,
                fresh,
            } => {
                let paid = Paid {
                    reference,
                    amount: *amount,
                    currency: *currency,
                    fresh,
                };
                self.confirm(&paid, asked)
            }
            Command::Fail => self.fail(asked),
            Command::Cancel {
                lines,
                restock,
                close_cart,
                by,
            } => {
                let lines = lines.as_deref();
                if self.status == Status::PendingPayment {
                    self.cancel_pending(lines, *close_cart, asked)
                } else {
                    self.moving(Movement::Cancel, lines, *restock, by, asked)
                }
            }
            Command::Fulfil { lines, by } => self.moving(Movement::Fulfil, lines.as_deref(), true, by, asked),
            Command::Return { lines, restock, by } => {
                self.moving(Movement::Return, lines.as_deref(), *restock, by, asked)
            }
            Command::RefundDone { reference } => self.refund_done(reference, now),
        }
    }

    /// Asked again it answers as it did: the cart of a refused order has let go of it and makes another.
    fn open(
        &self,
        command: &Command,
        cart: &CartId,
        lines: &[Line],
        asked: Asked,
    ) -> Result<Next<Self>, Refusal> {
        if self.exists() {
            return if self.status == Status::Refused {
                Err(self.why_refused())
            } else if self.cart == *cart {
                Ok(done(self.clone(), Vec::new()))
            } else {
                Err(self.not_now())
            };
        }
        let Command::Open {
            customer,
            session,
            terms,
            grace_ms,
            ..
        } = command
        else {
            return Err(Refusal::NotFound);
        };
        if lines.is_empty() {
            return Err(Refusal::LinesUnavailable { lines: Vec::new() });
        }
        let fresh = |line: &Line| Line {
            hold: None,
            fulfilment: Fulfilment::default(),
            ..line.clone()
        };
        let opening = Self {
            cart: cart.clone(),
            customer: customer.clone(),
            session: session.clone(),
            status: Status::Opening,
            lines: lines.iter().map(fresh).collect(),
            terms: *terms,
            payment_deadline: asked.now.saturating_add(terms.payment_ttl_ms),
            grace_ms: *grace_ms,
            created_at: asked.now,
            ..self.clone()
        };
        let taking = Step::Taking {
            attempt: 1,
            promised: 0,
        };
        Ok(goes_on(opening.begin(taking, asked), vec![Happened::Began]))
    }

    /// One order, one payment: the same reference again is the same answer, whatever came of the order since, unless it is told
    /// with another amount. A payment that cannot be honoured is asked back once, up to [`REFUNDS_MAX`] of them.
    fn confirm(&self, paid: &Paid<'_>, asked: Asked) -> Result<Next<Self>, Refusal> {
        if let Some(payment) = self
            .payment
            .as_ref()
            .filter(|payment| payment.reference == paid.reference)
        {
            if self.is_mismatch(paid) {
                let payment = payment.clone();
                return Err(Refusal::PaidOtherwise { payment });
            }
            return Ok(done(self.clone(), Vec::new()));
        }
        if let Some(refund) = self.refund(paid.reference) {
            return Err(refund.refusal());
        }
        if let Some(reason) = self.dishonoured(paid) {
            if self.refunds.len() >= REFUNDS_MAX {
                return Err(self.not_now());
            }
            return Ok(self.refunded(paid.reference, reason, asked.now));
        }
        let late = || Late {
            reference: paid.reference.to_owned(),
            reservations: self.fresh(paid.fresh, asked.now),
        };
        match self.status {
            Status::PendingPayment if asked.now <= self.payment_deadline => {
                let accepted = Self {
                    payment: Some(Payment {
                        reference: paid.reference.to_owned(),
                        at: asked.now,
                    }),
                    version: self.version + 1,
                    ..self.clone()
                };
                Ok(goes_on(
                    accepted.begin(Step::Confirming, asked),
                    vec![Happened::PaymentAccepted],
                ))
            }
            // The timer is late, the payment is later.
            Status::PendingPayment => Ok(self.expired(Some(late()), asked)),
            Status::Expired => {
                let Late {
                    reference,
                    reservations,
                } = late();
                let retaking = Step::Retaking {
                    reference,
                    reservations,
                };
                Ok(goes_on(self.begin(retaking, asked), vec![Happened::Went]))
            }
            Status::Opening
            | Status::Refused
            | Status::PaymentFailed
            | Status::Confirmed
            | Status::PartiallyFulfilled
            | Status::Fulfilled
            | Status::Cancelled
            | Status::Returned
            | Status::RefundRequired => Err(self.not_now()),
        }
    }

    fn dishonoured(&self, paid: &Paid<'_>) -> Option<RefundReason> {
        if self.payment.is_some() {
            return Some(RefundReason::AlreadyPaid);
        }
        match self.status {
            Status::PaymentFailed => Some(RefundReason::Failed),
            Status::Cancelled => Some(RefundReason::Cancelled),
            Status::RefundRequired => Some(RefundReason::Expired),
            Status::Opening
            | Status::Refused
            | Status::PendingPayment
            | Status::Expired
            | Status::Confirmed
            | Status::PartiallyFulfilled
            | Status::Fulfilled
            | Status::Returned => self.is_mismatch(paid).then_some(RefundReason::AmountMismatch),
        }
    }

    /// Whether what was paid, as far as its caller says, is not what the order costs.
    fn is_mismatch(&self, paid: &Paid<'_>) -> bool {
        self.total().is_some_and(|total| {
            let short = paid.amount.is_some_and(|amount| amount != total.amount);
            let foreign = paid.currency.is_some_and(|currency| currency != total.currency);
            short || foreign
        })
    }

    fn refunded(&self, reference: &str, reason: RefundReason, now: Timestamp) -> Next<Self> {
        let refund = Refund {
            reference: reference.to_owned(),
            reason,
            at: now,
            done_at: None,
        };
        let refusal = refund.refusal();
        let mut after = Self {
            version: self.version + 1,
            ..self.clone()
        };
        after.refunds.push(refund);
        Next {
            after,
            happened: vec![Happened::RefundRequired {
                reference: reference.to_owned(),
            }],
            verdict: Verdict::Refused(refusal),
        }
    }

    /// Ids for reservations made anew: the caller's, or derived ones.
    fn fresh(&self, given: &[ReservationId], now: Timestamp) -> Vec<ReservationId> {
        let derived = |line: &Line| line.reservation.successor(now);
        if given.len() == self.lines.len() {
            given.to_vec()
        } else {
            self.lines.iter().map(derived).collect()
        }
    }

    /// The payment's deadline has passed: logged before any variant hears of it.
    fn expired(&self, late: Option<Late>, asked: Asked) -> Next<Self> {
        let expired = Self {
            status: Status::Expired,
            version: self.version + 1,
            ..self.clone()
        };
        let back = Step::GivingBack { reopen: false, late };
        goes_on(expired.begin(back, asked), vec![Happened::PaymentExpired])
    }

    pub(super) fn expires(&self, now: Timestamp) -> Next<Self> {
        self.expired(None, Asked { key: None, now })
    }

    fn fail(&self, asked: Asked) -> Result<Next<Self>, Refusal> {
        match self.status {
            Status::PendingPayment if asked.now <= self.payment_deadline => {
                let failed = Self {
                    status: Status::PaymentFailed,
                    version: self.version + 1,
                    ..self.clone()
                };
                let back = Step::GivingBack {
                    reopen: true,
                    late: None,
                };
                Ok(goes_on(failed.begin(back, asked), vec![Happened::PaymentFailed]))
            }
            Status::PendingPayment => Ok(self.expired_first(asked.now)),
            Status::PaymentFailed => Ok(done(self.clone(), Vec::new())),
            Status::Opening
            | Status::Refused
            | Status::Confirmed
            | Status::PartiallyFulfilled
            | Status::Fulfilled
            | Status::Cancelled
            | Status::Returned
            | Status::Expired
            | Status::RefundRequired => Err(self.not_now()),
        }
    }

    /// The command comes after the deadline but before the timer: it finds an expired order.
    fn expired_first(&self, now: Timestamp) -> Next<Self> {
        let expired = self.expires(now);
        Next {
            verdict: Verdict::Refused(expired.after.not_now()),
            ..expired
        }
    }

    fn cancel_pending(
        &self,
        lines: Option<&[AfterSaleLine]>,
        close_cart: bool,
        asked: Asked,
    ) -> Result<Next<Self>, Refusal> {
        let cancelled = self.totals(Movement::Cancel, lines)?;
        let whole = |(line, total): (&Line, &Fulfilment)| line.quantity == total.cancelled;
        if !self.lines.iter().zip(&cancelled).all(whole) {
            return Err(self.not_now()); // What is not paid is cancelled as a whole.
        }
        if asked.now > self.payment_deadline {
            return Ok(self.expired_first(asked.now));
        }
        let cancelled = Self {
            status: Status::Cancelled,
            version: self.version + 1,
            ..self.clone()
        };
        let back = Step::GivingBack {
            reopen: !close_cart,
            late: None,
        };
        Ok(goes_on(cancelled.begin(back, asked), vec![Happened::Cancelled]))
    }

    fn moving(
        &self,
        movement: Movement,
        lines: Option<&[AfterSaleLine]>,
        restock: bool,
        by: &str,
        asked: Asked,
    ) -> Result<Next<Self>, Refusal> {
        let over = movement == Movement::Cancel && self.status == Status::Cancelled;
        if lines.is_none() && (over || self.has_moved(movement)) {
            return Ok(done(self.clone(), Vec::new()));
        }
        if self.payment.is_none() {
            return Err(self.not_now());
        }
        let totals = self.totals(movement, lines)?;
        if self
            .lines
            .iter()
            .zip(&totals)
            .all(|(line, total)| line.fulfilment == *total)
        {
            return Err(self.not_now()); // Nothing is left that could move like this.
        }
        let step = Step::Moving {
            movement,
            restock,
            totals,
            by: by.to_owned(),
        };
        Ok(goes_on(self.begin(step, asked), vec![Happened::Went]))
    }

    /// Whether all units that can move like this have, and some did: to ask for all of them again is harmless.
    fn has_moved(&self, movement: Movement) -> bool {
        let moved = |total: &Fulfilment| match movement {
            Movement::Fulfil => total.shipped,
            Movement::Cancel => total.cancelled,
            Movement::Return => total.returned,
        };
        let mut lines = self.lines.iter();
        let any = lines.clone().any(|line| moved(&line.fulfilment) > 0);
        any && lines.all(|line| left(line.quantity, line.fulfilment, movement) == 0)
    }

    /// The totals of every line once the units asked for have moved.
    fn totals(
        &self,
        movement: Movement,
        lines: Option<&[AfterSaleLine]>,
    ) -> Result<Vec<Fulfilment>, Refusal> {
        let mut totals: Vec<Fulfilment> = self.lines.iter().map(|line| line.fulfilment).collect();
        let Some(named) = lines else {
            for (line, total) in self.lines.iter().zip(&mut totals) {
                move_units(total, movement, left(line.quantity, *total, movement));
            }
            return Ok(totals);
        };
        for AfterSaleLine { variant, quantity } in named {
            let at = self.lines.iter().position(|line| line.variant == *variant);
            let at = at.ok_or_else(|| Refusal::LineNotFound {
                variant: variant.clone(),
            })?;
            let allowed = left(self.lines[at].quantity, totals[at], movement);
            let units = quantity.unwrap_or(allowed);
            if units == 0 || units > allowed {
                return Err(Refusal::QuantityExceeds {
                    variant: variant.clone(),
                    requested: quantity.unwrap_or(1),
                    allowed,
                });
            }
            move_units(&mut totals[at], movement, units);
        }
        Ok(totals)
    }

    fn refund_done(&self, reference: &str, now: Timestamp) -> Result<Next<Self>, Refusal> {
        let mut after = self.clone();
        let refund = after
            .refunds
            .iter_mut()
            .find(|refund| refund.reference == reference);
        let refund = refund.ok_or(Refusal::RefundNotFound)?;
        if refund.done_at.is_some() {
            return Ok(done(after, Vec::new()));
        }
        refund.done_at = Some(now);
        after.version += 1;
        let reference = reference.to_owned();
        Ok(done(after, vec![Happened::RefundDone { reference }]))
    }

    fn begin(&self, step: Step, asked: Asked) -> Self {
        self.doing(Work {
            step,
            key: asked.key,
            begun_at: asked.now,
        })
    }

    fn not_now(&self) -> Refusal {
        Refusal::State { status: self.status }
    }

    /// Why it could not be had.
    pub(super) fn why_refused(&self) -> Refusal {
        if self.refused.is_empty() {
            Refusal::Unanswered
        } else {
            Refusal::LinesUnavailable {
                lines: self.refused.clone(),
            }
        }
    }

    /// The refund asked for under a payment's reference.
    pub fn refund(&self, reference: &str) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.reference == reference)
    }

    /// Where a paid order stands follows from its units.
    pub(super) fn status_of_units(&self) -> Status {
        let sum = |units: fn(&Line) -> u32| self.lines.iter().map(|line| u64::from(units(line))).sum::<u64>();
        let sold = sum(|line| line.quantity);
        let shipped = sum(|line| line.fulfilment.shipped);
        let cancelled = sum(|line| line.fulfilment.cancelled);
        let returned = sum(|line| line.fulfilment.returned);
        if cancelled == sold {
            Status::Cancelled
        } else if shipped + cancelled == sold && returned == shipped {
            Status::Returned
        } else if shipped + cancelled == sold {
            Status::Fulfilled
        } else if shipped > 0 {
            Status::PartiallyFulfilled
        } else {
            Status::Confirmed
        }
    }
}

impl Refund {
    /// What the payer's shop is told, each time.
    pub(super) fn refusal(&self) -> Refusal {
        let refund = self.clone();
        match self.reason {
            RefundReason::AmountMismatch => Refusal::AmountMismatch { refund },
            RefundReason::Expired
            | RefundReason::Failed
            | RefundReason::Cancelled
            | RefundReason::AlreadyPaid => Refusal::RefundRequired { refund },
        }
    }
}

/// Units of a line that can still move like this.
fn left(quantity: u32, total: Fulfilment, movement: Movement) -> u32 {
    match movement {
        Movement::Fulfil | Movement::Cancel => quantity - total.shipped - total.cancelled,
        Movement::Return => total.shipped - total.returned,
    }
}

fn move_units(total: &mut Fulfilment, movement: Movement, units: u32) {
    match movement {
        Movement::Fulfil => total.shipped += units,
        Movement::Cancel => total.cancelled += units,
        Movement::Return => total.returned += units,
    }
}
