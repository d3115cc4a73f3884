//! The participant's side of a bulk: prepare promises, settle keeps or drops the promise.
//!
//! A promise is judged at the moment it is prepared; from then on the reservation's own deadline rests until the
//! coordinator has decided, and nobody else may act on it. Both messages may come twice.
use super::{
    Variant,
    command::{Confirm, Prepare},
    decide::{Decision, Live, confirmed, expired, granted, released, within},
    event::Event,
    hold::{Hold, HoldStatus, Intent, Phase, Pin, Shopper},
    refusal::Refusal,
};
use crate::domain::{bulk::Attempt, ids::ReservationId, time::Timestamp};

impl Variant {
    pub(super) fn prepare(
        &self,
        attempt: Attempt,
        prepare: &Prepare,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let id = prepare.reservation();
        if let Some(hold) = self.pinned_by(attempt, id) {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        if let Prepare::Reserve(ask) = prepare {
            // A late double of a promise that is settled, or another try's: it must not replace what is there.
            if self.holds.contains_key(&id) {
                return Err(Refusal::InFlight);
            }
            let (mut events, hold) = self.grant(ask, now)?;
            let pin = Some(Pin {
                attempt,
                intent: Intent::Reserve,
            });
            events.push(Event::Pinned(Hold {
                status: HoldStatus::Tentative,
                pin,
                ..hold
            }));
            return Ok(Decision::Granted(events));
        }
        if let Prepare::Confirm(id) = prepare
            && let Some(sold) = self.holds.get(id)
            && sold.status == HoldStatus::Confirmed
            && sold.owning_order().is_none()
        {
            // Sold already, and a sale may be confirmed again: there is nothing to promise.
            return Ok(Decision::Repeat(Box::new(sold.clone())));
        }
        let hold = match self.foreign(id, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        let mut order = hold.order.clone();
        let mut expiries = Vec::new();
        let intent = match prepare {
            Prepare::Reserve(_) => Intent::Reserve,
            Prepare::Extend(ask) => Intent::Extend(self.extended(hold, ask, now)?.expires_at),
            Prepare::Confirm(_) => Intent::Confirm,
            Prepare::Release(_) => Intent::Release,
            Prepare::Pay {
                shopper,
                terms,
                for_order,
                ..
            } => {
                // Only a hold that came back from an order lives beyond this: going back and forth must not keep it
                // for ever.
                if now >= hold.max_expires_at {
                    return Err(Refusal::ExtensionLimit {
                        max_expires_at: hold.max_expires_at,
                    });
                }
                if hold.shopper.owner() != shopper.owner() {
                    expiries = self.expiries_for(0, shopper, now);
                    self.expect_no_other_hold(shopper, &expiries, &[hold])?;
                    let left = self.allowance(shopper, terms, &expiries, &[hold], now);
                    within(left, u64::from(hold.quantity), false)?;
                }
                order = Some(for_order.order.clone());
                Intent::Pay(for_order.pay_by)
            }
        };
        let pinned = Event::Pinned(Hold {
            order,
            pin: Some(Pin { attempt, intent }),
            ..hold.clone()
        });
        let expiries = expiries.into_iter().map(|due| expired(due, now));
        Ok(Decision::Granted(expiries.chain([pinned]).collect()))
    }

    pub(super) fn settle(
        &self,
        attempt: Attempt,
        id: ReservationId,
        commit: bool,
        decided_at: Timestamp,
        shopper: Option<&Shopper>,
    ) -> Decision {
        // Nothing pinned: settled before, or never prepared because the message was lost.
        let Some(hold) = self.pinned_by(attempt, id) else {
            return Decision::Granted(Vec::new());
        };
        granted(match shopper {
            Some(shopper) => settled_for(hold, shopper, commit, decided_at),
            None => settled(hold, commit, decided_at),
        })
    }

    fn pinned_by(&self, attempt: Attempt, id: ReservationId) -> Option<&Hold> {
        self.holds
            .get(&id)
            .filter(|hold| hold.pin.is_some_and(|pin| pin.attempt == attempt))
    }
}

/// What settling does to a pinned reservation: the coordinator answers with it, the variant logs it.
pub fn settled(hold: &Hold, commit: bool, decided_at: Timestamp) -> Event {
    let intent = hold.pin.map_or(Intent::Reserve, |pin| pin.intent);
    let free = Hold {
        pin: None,
        ..hold.clone()
    };
    match (intent, commit) {
        (Intent::Reserve, true) => Event::Held(Hold {
            status: HoldStatus::Active,
            ..free
        }),
        (Intent::Reserve, false) => Event::Withdrawn(free),
        (Intent::Extend(_) | Intent::Confirm | Intent::Release, false) => Event::Unpinned(free),
        (Intent::Pay(_), false) => Event::Unpinned(Hold { order: None, ..free }),
        (Intent::Pay(expires_at), true) => Event::Extended(Hold {
            phase: Phase::Payment,
            expires_at,
            version: free.version + 1,
            ..free
        }),
        (Intent::Extend(expires_at), true) => {
            let extensions_left = free.extensions_left.saturating_sub(1);
            Event::Extended(Hold {
                expires_at,
                extensions_left,
                version: free.version + 1,
                ..free
            })
        }
        (Intent::Confirm, true) => {
            let ask = Confirm {
                id: hold.id,
                quantity: None,
                order: None,
            };
            confirmed(hold, hold.quantity, &ask, decided_at)
        }
        (Intent::Release, true) => released(hold, decided_at),
    }
}

/// As [`settled`], by an order: a reservation that it keeps changes hands with its cart's shopper.
pub fn settled_for(hold: &Hold, shopper: &Shopper, commit: bool, decided_at: Timestamp) -> Event {
    let event = settled(hold, commit, decided_at);
    if let Event::Extended(kept) = &event
        && kept.shopper != *shopper
    {
        return Event::Rehomed {
            from: kept.shopper.clone(),
            hold: Hold {
                shopper: shopper.clone(),
                ..kept.clone()
            },
        };
    }
    event
}

impl Prepare {
    /// The reservation it is about.
    pub fn reservation(&self) -> ReservationId {
        match self {
            Self::Reserve(ask) => ask.id,
            Self::Extend(ask) => ask.id,
            Self::Confirm(id) | Self::Release(id) | Self::Pay { id, .. } => *id,
        }
    }
}
