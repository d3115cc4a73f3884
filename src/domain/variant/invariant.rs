//! The laws of one variant, stated once. `check` is cheap and runs after every apply; `recount` walks every hold and
//! runs in tests, at recovery and offline.
use super::{Event, Head, Variant, hold::HoldStatus};
use crate::domain::{
    law::{Law, Violation},
    time::Timestamp,
};

impl Variant {
    /// The laws by running sums.
    ///
    /// # Errors
    /// The first broken law.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_with(&self.head)
    }

    /// The laws as they will stand after `events`, none of which is about a reservation.
    ///
    /// # Errors
    /// The first law that they would break.
    pub fn check_after(&self, events: &[Event], at: Timestamp) -> Result<(), Violation> {
        let mut head = self.head.clone();
        for event in events {
            debug_assert!(event.hold().is_none(), "it would change the sums");
            head.apply(event, at);
        }
        self.check_with(&head)
    }

    fn check_with(&self, head: &Head) -> Result<(), Violation> {
        let subject = || format!("variant {}", head.id);
        let used = self.held + self.committed;
        let allowed = head.on_hand + head.settings.backorder_limit;
        if head.tracks_stock() && used > allowed {
            let evidence = format!("held {} + committed {} > {allowed}", self.held, self.committed);
            return Err(Violation::new(Law::NoOversell, subject(), evidence));
        }
        if head.flows.on_hand() != Some(head.on_hand) {
            let evidence = format!("on hand {} but flows {:?}", head.on_hand, head.flows);
            return Err(Violation::new(Law::Conservation, subject(), evidence));
        }
        if head.deleted && !self.holds.is_empty() {
            let evidence = format!("{} reservations of a deleted variant", self.holds.len());
            return Err(Violation::new(Law::Conservation, subject(), evidence));
        }
        Ok(())
    }

    /// Units sold beyond what there is: the metric that must stay 0.
    pub fn oversold(&self) -> u64 {
        let allowed = self.head.on_hand + self.head.settings.backorder_limit;
        if self.head.tracks_stock() {
            (self.held + self.committed).saturating_sub(allowed)
        } else {
            0
        }
    }

    /// The laws by counting everything again.
    ///
    /// # Errors
    /// The first broken law.
    pub fn recount(&self) -> Result<(), Violation> {
        self.check()?;
        let subject = || format!("variant {}", self.head.id);
        let held: u64 = self.holds().map(|hold| hold.held_units()).sum();
        let committed: u64 = self.holds().map(|hold| hold.committed_units()).sum();
        if (held, committed) != (self.held, self.committed) {
            let evidence = format!(
                "sums over holds are held {held} committed {committed}, running sums {} and {}",
                self.held, self.committed
            );
            return Err(Violation::new(Law::Conservation, subject(), evidence));
        }
        for hold in self.holds() {
            self.check_hold(hold)?;
        }
        let again = Self::restore(
            self.head.clone(),
            self.holds().cloned(),
            self.purchases()
                .map(|(owner, bought)| (owner.clone(), bought.clone())),
        );
        if again.due != self.due || again.closing != self.closing || again.tentative != self.tentative {
            let evidence = "indexes differ from those rebuilt from its holds";
            return Err(Violation::new(Law::ReplayEqual, subject(), evidence));
        }
        Ok(())
    }

    fn check_hold(&self, hold: &super::Hold) -> Result<(), Violation> {
        let broken = |law, evidence: &str| Err(Violation::new(law, hold.id, evidence));
        let sold = u64::from(hold.fulfilment.shipped) + u64::from(hold.fulfilment.cancelled);
        match hold.status {
            HoldStatus::Released | HoldStatus::Expired => {
                return broken(Law::OneTerminal, "ended but still kept by its variant");
            }
            HoldStatus::Active | HoldStatus::Tentative if hold.ended.is_some() => {
                return broken(Law::OneTerminal, "live but it has an end");
            }
            HoldStatus::Confirmed if hold.ended.is_none() => {
                return broken(Law::OneTerminal, "confirmed without an end");
            }
            HoldStatus::Tentative if hold.pin.is_none() => {
                return broken(Law::Agree, "tentative without a coordinator");
            }
            HoldStatus::Active | HoldStatus::Tentative | HoldStatus::Confirmed => {}
        }
        if hold.quantity == 0
            || sold > u64::from(hold.quantity)
            || hold.fulfilment.returned > hold.fulfilment.shipped
        {
            return broken(
                Law::Conservation,
                "more units shipped, cancelled or returned than there were",
            );
        }
        if hold.id.variant() != self.head.ordinal {
            return broken(Law::Conservation, "kept by another variant than its id says");
        }
        Ok(())
    }
}
