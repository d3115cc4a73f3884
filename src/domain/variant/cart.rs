//! What carts ask of a variant: units for a line, a hold that changes hands, two holds that become one. Each may come twice.
use super::{
    Variant,
    command::Reserve,
    decide::{Decision, Live, granted, released},
    event::Event,
    head::ReservationMode,
    hold::{Hold, HoldStatus, Shopper},
    refusal::Refusal,
};
use crate::domain::{ids::ReservationId, policy::Terms, time::Timestamp};

impl Variant {
    pub(super) fn take_for_cart(&self, ask: &Reserve, now: Timestamp) -> Result<Decision, Refusal> {
        if self.hold(ask.id).is_some() {
            return self.reserve(ask, now);
        }
        match self.head.settings.reservation_mode {
            ReservationMode::OnCart => {
                // A hold made under this id would have ended by now: the ask is a late double, and an id lives once.
                let over = ask.id.created_at().saturating_add(self.ttl(ask)?);
                if over <= now {
                    return Err(Refusal::ReservationExpired { at: over });
                }
                self.reserve(ask, now)
            }
            ReservationMode::OnCheckout => self.grant(ask, now).map(|_| Decision::Granted(Vec::new())),
            ReservationMode::Untracked => self.expect_open(now).map(|()| Decision::Granted(Vec::new())),
        }
    }

    pub(super) fn rehome(
        &self,
        id: ReservationId,
        shopper: &Shopper,
        quantity: u32,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let hold = match self.live(id, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        if hold.shopper == *shopper {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        let quantity = self.together(&[hold], shopper, quantity, terms, now)?;
        Ok(granted(Event::Resized(Hold {
            shopper: shopper.clone(),
            quantity,
            version: hold.version + 1,
            ..hold.clone()
        })))
    }

    pub(super) fn fold(
        &self,
        into: ReservationId,
        from: Option<ReservationId>,
        quantity: u32,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let stays = match self.live(into, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        let from = from.and_then(|from| self.hold(from));
        let goes = from.filter(|hold| hold.status == HoldStatus::Active && !hold.is_due(now));
        if goes.is_some_and(|hold| hold.pin.is_some()) {
            return Err(Refusal::InFlight);
        }
        let both: Vec<&Hold> = goes.into_iter().chain([stays]).collect();
        let quantity = self.together(&both, &stays.shopper, quantity, terms, now)?;
        if goes.is_none() && quantity == stays.quantity {
            return Ok(Decision::Repeat(Box::new(stays.clone())));
        }
        let folded = Hold {
            quantity,
            version: stays.version + 1,
            expires_at: both
                .iter()
                .fold(stays.expires_at, |at, hold| at.max(hold.expires_at)),
            max_expires_at: both
                .iter()
                .fold(stays.max_expires_at, |at, hold| at.max(hold.max_expires_at)),
            ..stays.clone()
        };
        let released = goes.map(|hold| released(hold, now));
        let events = released.into_iter().chain([Event::Resized(folded)]);
        Ok(Decision::Granted(events.collect()))
    }

    /// So many of the units wanted as these holds and the free stock have and the shopper's limit allows, at least 1.
    fn together(
        &self,
        holds: &[&Hold],
        shopper: &Shopper,
        wanted: u32,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<u32, Refusal> {
        let have: u64 = holds.iter().map(|hold| u64::from(hold.quantity)).sum();
        let mut units = u64::from(wanted);
        if self.head.tracks_stock() {
            units = units.min(have + self.free(0));
        }
        let limit = self.head.settings.units_per_customer.or(terms.units_per_customer);
        if let (Some(limit), Some(owner)) = (limit, shopper.owner()) {
            let own = holds
                .iter()
                .filter(|hold| hold.shopper.owner().as_ref() == Some(&owner));
            let own: u64 = own.map(|hold| u64::from(hold.quantity)).sum();
            let taken = self.owners.held(&owner) - own + self.owners.bought(&owner, now, terms.window_days);
            units = units.min(u64::from(limit).saturating_sub(taken));
            if units == 0 {
                return Err(Refusal::LimitReached {
                    limit,
                    taken,
                    requested: u64::from(wanted),
                });
            }
        }
        u32::try_from(units).map_err(|_| Refusal::OutOfRange)
    }
}
