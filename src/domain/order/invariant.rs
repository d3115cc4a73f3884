//! The laws of one order, stated once: they hold after every record.
use super::{Line, Order, Status, Step};
use crate::domain::{
    law::{Law, Violation},
    variant::{Fulfilment, HoldStatus},
};

impl Order {
    pub(super) fn lawful(&self) -> Result<(), Violation> {
        if !self.exists() {
            return self.expect(
                Law::Conservation,
                self.work.is_none(),
                "without lines it is at work",
            );
        }
        for line in &self.lines {
            self.line_is_lawful(line)?;
        }
        self.payments_are_lawful()?;
        self.status_follows()?;
        self.work_fits()
    }

    /// Units add up, and what the order says of a line is what its reservation says.
    fn line_is_lawful(&self, line: &Line) -> Result<(), Violation> {
        self.expect(Law::Conservation, line.quantity > 0, "a line without units")?;
        self.expect(
            Law::Conservation,
            fits(line.fulfilment, line.quantity),
            "more units shipped, cancelled or returned than there were",
        )?;
        let here = line.reservation.variant() == line.ordinal;
        self.expect(Law::Agree, here, "a reservation of another variant")?;
        let Some(hold) = &line.hold else { return Ok(()) };
        self.expect(
            Law::Agree,
            hold.id == line.reservation,
            "another reservation than the line's",
        )?;
        if hold.status == HoldStatus::Confirmed {
            let ours = hold.order.as_ref() == Some(&self.id) && hold.quantity == line.quantity;
            self.expect(
                Law::Agree,
                ours,
                "sold to another order, or another number of units",
            )?;
            self.expect(
                Law::Agree,
                hold.fulfilment == line.fulfilment,
                "units moved without the order's decision",
            )?;
        }
        Ok(())
    }

    /// Every payment counts once: accepted or asked back.
    fn payments_are_lawful(&self) -> Result<(), Violation> {
        for (at, refund) in self.refunds.iter().enumerate() {
            let earlier = self.refunds[..at]
                .iter()
                .any(|other| other.reference == refund.reference);
            self.expect(Law::OneTerminal, !earlier, "a payment is asked back twice")?;
            let accepted = self
                .payment
                .as_ref()
                .is_some_and(|payment| payment.reference == refund.reference);
            self.expect(
                Law::OneTerminal,
                !accepted,
                "a payment is accepted and asked back",
            )?;
        }
        Ok(())
    }

    /// Where it stands follows from its payment and its units.
    fn status_follows(&self) -> Result<(), Violation> {
        let paid = self.payment.is_some();
        let untouched = self
            .lines
            .iter()
            .all(|line| line.fulfilment == Fulfilment::default());
        let fits = match self.status {
            Status::Opening | Status::Refused | Status::PaymentFailed | Status::Expired => !paid && untouched,
            // An accepted payment is told to every line before the order is confirmed.
            Status::PendingPayment => untouched && (!paid || self.work.is_some()),
            Status::RefundRequired => !paid && !self.refunds.is_empty(),
            Status::Cancelled if !paid => untouched,
            Status::Confirmed
            | Status::PartiallyFulfilled
            | Status::Fulfilled
            | Status::Returned
            | Status::Cancelled => paid && self.status == self.status_of_units(),
        };
        self.expect(
            Law::Agree,
            fits,
            "it stands otherwise than its payment and units say",
        )?;
        let sold = !paid || self.status == Status::PendingPayment || self.lines.iter().all(Line::is_sold);
        self.expect(Law::Agree, sold, "it is paid and a line is not sold")?;
        // Once promised, every line has its hold until the order gives it back.
        let awaits = self.status == Status::PendingPayment && !paid;
        let held = |line: &Line| line.hold.as_ref().and_then(|hold| hold.order.as_ref()) == Some(&self.id);
        self.expect(
            Law::Agree,
            !awaits || self.lines.iter().all(held),
            "it awaits its payment without holding every line",
        )
    }

    fn work_fits(&self) -> Result<(), Violation> {
        let Some(work) = &self.work else {
            let settled = self.status != Status::Opening;
            return self.expect(Law::Agree, settled, "it is being opened and nobody does it");
        };
        let lines = self.lines.len();
        let fits = match &work.step {
            Step::Taking { promised, .. } => self.status == Status::Opening && (*promised as usize) < lines,
            Step::Settling { reservations, .. } => reservations.len() == lines,
            Step::Retaking { reservations, .. } => {
                reservations.len() == lines && matches!(self.status, Status::Expired | Status::PendingPayment)
            }
            Step::Confirming => self.payment.is_some() && self.status == Status::PendingPayment,
            Step::GivingBack { late, .. } => {
                late.as_ref().is_none_or(|late| late.reservations.len() == lines) && self.payment.is_none()
            }
            Step::Moving { totals, .. } => {
                let within = |(line, total): (&Line, &Fulfilment)| fits(*total, line.quantity);
                totals.len() == lines && self.lines.iter().zip(totals).all(within)
            }
            Step::TellingCart { .. } => self.is_shown(),
        };
        self.expect(
            Law::Agree,
            fits,
            "it is in the middle of something that does not fit",
        )
    }

    fn expect(&self, law: Law, holds: bool, evidence: &str) -> Result<(), Violation> {
        if holds {
            Ok(())
        } else {
            Err(Violation::new(law, format!("order {}", self.id), evidence))
        }
    }
}

fn fits(total: Fulfilment, quantity: u32) -> bool {
    let gone = u64::from(total.shipped) + u64::from(total.cancelled);
    gone <= u64::from(quantity) && total.returned <= total.shipped
}
