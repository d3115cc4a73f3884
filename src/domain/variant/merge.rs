//! Holds of two carts that become one: they change hands or are folded together, and are never given back in between.
use super::{
    Variant,
    decide::{Decision, Live, expired, released, within},
    event::Event,
    hold::{Hold, HoldStatus, Shopper},
    refusal::Refusal,
};
use crate::domain::{ids::ReservationId, policy::Terms, time::Timestamp};

/// Two reservations that become one.
pub(super) struct Fold {
    pub(super) into: ReservationId,
    pub(super) from: Option<ReservationId>,
    /// Units wanted.
    pub(super) quantity: u32,
    /// The version of `into` that the asker knows.
    pub(super) seen: Option<u32>,
}

impl Variant {
    /// The hold belongs to another shopper from now on. Asked again it stands as it is.
    pub(super) fn rehome(
        &self,
        id: ReservationId,
        shopper: &Shopper,
        quantity: u32,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let hold = match self.foreign(id, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        if hold.shopper == *shopper {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        if quantity == 0 {
            return Err(Refusal::OutOfRange);
        }
        let expiries = self.expiries_for(0, shopper, now);
        self.expect_no_other_hold(shopper, &expiries, &[hold])?;
        let left = self.allowance(shopper, terms, &expiries, &[hold], now);
        let units = within(left, u64::from(quantity.min(hold.quantity)), true)?;
        let rehomed = Event::Rehomed {
            from: hold.shopper.clone(),
            hold: Hold {
                shopper: shopper.clone(),
                quantity: u32::try_from(units).expect("at most what is held"),
                version: hold.version + 1,
                ..hold.clone()
            },
        };
        let expiries = expiries.into_iter().map(|due| expired(due, now));
        Ok(Decision::Granted(expiries.chain([rehomed]).collect()))
    }

    /// `from` ends and `into` has the units wanted, as far as the two and what is free go. Asked again, when `from` has
    /// ended and `into` has changed, `into` stands as it is, whatever is free by now.
    pub(super) fn fold(&self, fold: &Fold, terms: &Terms, now: Timestamp) -> Result<Decision, Refusal> {
        let Fold {
            into,
            from,
            quantity,
            seen,
        } = *fold;
        let hold = match self.foreign(into, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        if quantity == 0 || from == Some(into) {
            return Err(Refusal::OutOfRange);
        }
        let sold = |id| {
            self.hold(id)
                .is_some_and(|hold| hold.status == HoldStatus::Confirmed)
        };
        if from.is_some_and(sold) {
            // What was bought is not wanted once more: nothing is taken in its place.
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        let from = from.map(|id| self.folded(id, now)).transpose()?.flatten();
        if from.is_none() && seen.is_some_and(|seen| hold.version > seen) {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        let own: Vec<&Hold> = [Some(hold), from].into_iter().flatten().collect();
        let have: u64 = own.iter().map(|hold| u64::from(hold.quantity)).sum();
        let more = u64::from(quantity).saturating_sub(have);
        let expiries = self.expiries_for(more, &hold.shopper, now);
        let given_back = expiries.iter().map(|hold| u64::from(hold.quantity)).sum();
        let room = match (self.expect_open(now), self.head.tracks_stock()) {
            (Err(_), _) => 0,
            (Ok(()), true) => self.free(given_back),
            (Ok(()), false) => more,
        };
        let left = self.allowance(&hold.shopper, terms, &expiries, &own, now);
        let wanted = u64::from(quantity).min(have + room);
        let allowed = left.map_or(wanted, |left| wanted.min(left.left()));
        // What this cart holds already it keeps, unless fewer are wanted: it may have asked for fewer and not have been heard.
        let kept = hold.quantity.min(quantity);
        let units = u32::try_from(allowed).unwrap_or(u32::MAX).max(kept);
        if from.is_none() && units == hold.quantity {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        let later =
            |into: Timestamp, other: fn(&Hold) -> Timestamp| from.map_or(into, |from| into.max(other(from)));
        let folded = Event::Resized(Hold {
            quantity: units,
            expires_at: later(hold.expires_at, |from| from.expires_at),
            max_expires_at: later(hold.max_expires_at, |from| from.max_expires_at),
            version: hold.version + 1,
            ..hold.clone()
        });
        // Given back first, so that units add up between the two events as well.
        let expiries = expiries.into_iter().map(|due| expired(due, now));
        let ended = from.map(|from| released(from, now));
        Ok(Decision::Granted(expiries.chain(ended).chain([folded]).collect()))
    }

    /// The other reservation of a fold, while there is something to fold.
    fn folded(&self, id: ReservationId, now: Timestamp) -> Result<Option<&Hold>, Refusal> {
        let kept = self
            .holds
            .get(&id)
            .filter(|hold| hold.status == HoldStatus::Active);
        let Some(hold) = kept.filter(|hold| !hold.is_due(now)) else {
            return Ok(None);
        };
        match self.foreign(hold.id, now)? {
            Live::Due(_) => Ok(None),
            Live::Yes(hold) => Ok(Some(hold)),
        }
    }
}
