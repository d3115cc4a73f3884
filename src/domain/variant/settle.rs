//! The participant's side of a bulk: prepare promises, settle keeps or drops the promise.
//!
//! A promise is judged at the moment it is prepared; from then on the reservation's own deadline rests until the
//! coordinator has decided, and nobody else may act on it. Both messages may come twice.
use super::{
    Variant,
    command::{Confirm, ForOrder, Prepare, Reserve},
    decide::{Decision, Live, confirmed, expired, granted, released, within},
    event::Event,
    hold::{Hold, HoldStatus, Intent, Owner, Phase, Pin, Shopper},
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
            return self.promise_units(attempt, ask, now);
        }
        if let Prepare::Confirm(id) = prepare
            && let Some(sold) = self.hold(*id)
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
                let mut events = Vec::new();
                // Only a hold that came back from an order lives beyond this: going back and forth must not keep it
                // for ever.
                if now >= hold.max_expires_at {
                    return Err(Refusal::ExtensionLimit {
                        max_expires_at: hold.max_expires_at,
                    });
                }
                if hold.shopper.owner() != shopper.owner() {
                    let expiries = self.expiries_for(0, shopper, now);
                    self.expect_no_other_hold(shopper, &expiries, &[hold])?;
                    let left = self.allowance(shopper, terms, &expiries, &[hold], now);
                    within(left, u64::from(hold.quantity), false)?;
                    events.extend(expiries.into_iter().map(|due| expired(due, now)));
                }
                events.push(promised_to_pay(hold, attempt, shopper, for_order));
                return Ok(Decision::Granted(events));
            }
        };
        Ok(granted(Event::Pinned(Hold {
            pin: Some(Pin { attempt, intent }),
            ..hold.clone()
        })))
    }

    /// Units held tentatively. An order's come first from what its own cart holds: a shopper's own live hold never blocks the
    /// shopper's own retry.
    fn promise_units(&self, attempt: Attempt, ask: &Reserve, now: Timestamp) -> Result<Decision, Refusal> {
        let own = ask
            .for_order
            .as_ref()
            .and_then(|_| self.own_hold(&ask.shopper, now));
        let (mut events, hold) = self.grant(ask, own, now)?;
        let pin = |intent| Some(Pin { attempt, intent });
        let intent = match own {
            None => Intent::Reserve,
            Some(own) => {
                let units = own.quantity.min(hold.quantity);
                events.push(Event::Pinned(Hold {
                    pin: pin(Intent::Yield(units)),
                    ..own.clone()
                }));
                Intent::TakeOver(own.id)
            }
        };
        events.push(Event::Pinned(Hold {
            status: HoldStatus::Tentative,
            pin: pin(intent),
            ..hold
        }));
        Ok(Decision::Granted(events))
    }

    /// What the shopper's cart holds here for itself, whoever its shopper was known as.
    fn own_hold(&self, shopper: &Shopper, now: Timestamp) -> Option<&Hold> {
        let cart = shopper.cart.clone()?;
        let owners = [
            shopper.customer.clone().map(Owner::Customer),
            shopper.session.clone().map(Owner::Session),
            Some(Owner::Cart(cart)),
        ];
        let live = owners.iter().flatten().flat_map(|owner| self.owners.live(owner));
        live.map(|id| self.kept(*id)).find(|hold| {
            let its_own = hold.status == HoldStatus::Active && hold.order.is_none() && hold.pin.is_none();
            its_own && !hold.is_due(now) && hold.shopper.cart == shopper.cart
        })
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
        let event = match shopper {
            Some(shopper) => settled_for(hold, shopper, commit, decided_at),
            None => settled(hold, commit, decided_at),
        };
        let Some(own) = self.taken_over_by(hold) else {
            return granted(event);
        };
        let own = settled(own, commit, decided_at);
        // Units add up between the two as well: they count with the one that takes over, until that is gone.
        Decision::Granted(if commit {
            vec![own, event]
        } else {
            vec![event, own]
        })
    }

    /// The hold that a promise takes units over from.
    fn taken_over_by(&self, hold: &Hold) -> Option<&Hold> {
        let pin = hold.pin?;
        let Intent::TakeOver(own) = pin.intent else {
            return None;
        };
        self.pinned_by(pin.attempt, own)
    }

    fn pinned_by(&self, attempt: Attempt, id: ReservationId) -> Option<&Hold> {
        self.hold(id)
            .filter(|hold| hold.pin.is_some_and(|pin| pin.attempt == attempt))
    }
}

/// The promise that a hold moves into the payment phase.
fn promised_to_pay(hold: &Hold, attempt: Attempt, shopper: &Shopper, for_order: &ForOrder) -> Event {
    let pinned = |intent| Hold {
        order: Some(for_order.order.clone()),
        pin: Some(Pin { attempt, intent }),
        ..hold.clone()
    };
    if hold.shopper.customer.is_some() || shopper.customer.is_none() {
        return Event::Pinned(pinned(Intent::Pay(for_order.pay_by)));
    }
    Event::Rehomed {
        from: hold.shopper.clone(),
        hold: Hold {
            shopper: Shopper {
                customer: shopper.customer.clone(),
                ..hold.shopper.clone()
            },
            ..pinned(Intent::PayAs(for_order.pay_by))
        },
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
        (Intent::Reserve | Intent::TakeOver(_), true) => Event::Held(Hold {
            status: HoldStatus::Active,
            ..free
        }),
        (Intent::Reserve | Intent::TakeOver(_), false) => Event::Withdrawn(free),
        (Intent::Extend(_) | Intent::Confirm | Intent::Release | Intent::Yield(_), false) => {
            Event::Unpinned(free)
        }
        (Intent::Yield(units), true) if units == hold.quantity => released(hold, decided_at),
        (Intent::Yield(units), true) => Event::Resized(Hold {
            quantity: free.quantity - units,
            version: free.version + 1,
            ..free
        }),
        (Intent::Pay(_), false) => Event::Unpinned(Hold { order: None, ..free }),
        (Intent::PayAs(_), false) => Event::Rehomed {
            from: free.shopper.clone(),
            hold: Hold {
                order: None,
                shopper: Shopper {
                    customer: None,
                    ..free.shopper.clone()
                },
                ..free
            },
        },
        (Intent::Pay(expires_at) | Intent::PayAs(expires_at), true) => Event::Extended(Hold {
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
