//! The participant's side of an all-or-nothing bulk: prepare promises, settle keeps or drops the promise.
//!
//! A promise is judged at the moment it is prepared; from then on the reservation's own deadline rests until the
//! coordinator has decided, and nobody else may act on it. Both messages may come twice.
use super::{
    Variant,
    command::{Confirm, Prepare},
    decide::{Decision, Live, confirmed, granted, released},
    event::Event,
    hold::{Hold, HoldStatus, Intent, Phase, Pin},
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
        let hold = match self.foreign(id, now)? {
            Live::Due(refused) => return Ok(refused),
            Live::Yes(hold) => hold,
        };
        let mut order = hold.order.clone();
        let intent = match prepare {
            Prepare::Reserve(_) => Intent::Reserve,
            Prepare::Extend(ask) => Intent::Extend(self.extended(hold, ask, now)?.expires_at),
            Prepare::Confirm(_) => Intent::Confirm,
            Prepare::Release(_) => Intent::Release,
            Prepare::Pay { for_order, .. } => {
                // Only a hold that came back from an order lives beyond this: going back and forth must not keep it
                // for ever.
                if now >= hold.max_expires_at {
                    return Err(Refusal::ExtensionLimit {
                        max_expires_at: hold.max_expires_at,
                    });
                }
                order = Some(for_order.order.clone());
                Intent::Pay(for_order.pay_by)
            }
        };
        Ok(granted(Event::Pinned(Hold {
            order,
            pin: Some(Pin { attempt, intent }),
            ..hold.clone()
        })))
    }

    pub(super) fn settle(
        &self,
        attempt: Attempt,
        id: ReservationId,
        commit: bool,
        decided_at: Timestamp,
    ) -> Decision {
        // Nothing pinned: settled before, or never prepared because the message was lost.
        let Some(hold) = self.pinned_by(attempt, id) else {
            return Decision::Granted(Vec::new());
        };
        granted(settled(hold, commit, decided_at))
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
