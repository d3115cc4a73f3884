//! What an order tells its own reservations. The order has logged its decision before (decisions 20), so that nothing here
//! judges it again: a payment counts by the moment it was accepted, and asking twice is asking once.
use super::{
    Variant,
    after_sale::Movement,
    command::{AfterSale, Confirm, OrderStep},
    decide::{CART_PHASE_LEAST_MS, Decision, confirmed, granted, released},
    event::Event,
    hold::{Fulfilment, Hold, HoldStatus, Phase},
    refusal::Refusal,
};
use crate::domain::{
    ids::{OrderId, ReservationId},
    time::Timestamp,
};

impl Variant {
    pub(super) fn for_order(
        &self,
        order: &OrderId,
        id: ReservationId,
        step: &OrderStep,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        match step {
            OrderStep::Confirm { paid_at } => self.confirm_paid(order, id, *paid_at, now),
            OrderStep::Release => Ok(match self.unsold(order, id)? {
                None => Decision::Nothing,
                Some(hold) if hold.is_due(now) => Decision::Granted(self.expiries_up_to(hold, now)),
                Some(hold) => granted(released(hold, now)),
            }),
            OrderStep::Reopen { ttl_ms } => self.reopen(order, id, *ttl_ms, now),
            OrderStep::Totals {
                fulfilment,
                restock,
                closed,
                by,
                keep_ms,
            } => {
                let closed = closed.as_deref();
                let hold = self.sold(id, closed)?;
                expect_owned(hold, order)?;
                if self.hold(id).is_none() && hold.committed_units() > 0 {
                    // Only the order moves these units. It was told of some that were left, and none are: what it asks
                    // for has been done, and the answer was lost.
                    return Ok(Decision::Repeat(Box::new(Hold {
                        fulfilment: *fulfilment,
                        version: hold.version + 1,
                        ..hold.clone()
                    })));
                }
                let Some((movement, units)) = difference(hold.fulfilment, *fulfilment)? else {
                    return Ok(Decision::Repeat(Box::new(hold.clone())));
                };
                let ask = AfterSale {
                    id,
                    quantity: Some(units),
                    restock: *restock,
                    closed: None,
                    by: by.clone(),
                    keep_ms: *keep_ms,
                };
                self.moved(hold, &ask, movement, now)
            }
        }
    }

    fn confirm_paid(
        &self,
        order: &OrderId,
        id: ReservationId,
        paid_at: Timestamp,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let hold = self.hold(id).ok_or(Refusal::ReservationNotFound)?;
        expect_owned(hold, order)?;
        if hold.status == HoldStatus::Confirmed {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        if hold.pin.is_some() {
            return Err(Refusal::InFlight);
        }
        if paid_at >= hold.expires_at {
            // Only an order that was lost pays so late.
            return Ok(Decision::Refused {
                events: self.expiries_up_to(hold, now),
                refusal: Refusal::ReservationExpired { at: now },
            });
        }
        let ask = Confirm {
            id,
            quantity: None,
            order: Some(order.clone()),
        };
        Ok(granted(confirmed(hold, hold.quantity, &ask, paid_at)))
    }

    /// Back to the cart, for as long as a cart has a hold: never beyond its last deadline, but for a minute at least, so that
    /// the shopper can act.
    fn reopen(
        &self,
        order: &OrderId,
        id: ReservationId,
        ttl_ms: i64,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let kept = self.hold(id).filter(|hold| hold.status == HoldStatus::Active);
        if let Some(hold) = kept.filter(|hold| hold.order.is_none() && !hold.is_due(now)) {
            return Ok(Decision::Repeat(Box::new(hold.clone())));
        }
        Ok(match self.unsold(order, id)? {
            None => Decision::Nothing,
            Some(hold) if hold.is_due(now) => Decision::Granted(self.expiries_up_to(hold, now)),
            Some(hold) => {
                let least = now.saturating_add(CART_PHASE_LEAST_MS);
                let ttl_ms = self.head.settings.hold_ttl_ms.unwrap_or(ttl_ms);
                granted(Event::Extended(Hold {
                    phase: Phase::Cart,
                    order: None,
                    expires_at: least.max(now.saturating_add(ttl_ms).min(hold.max_expires_at)),
                    version: hold.version + 1,
                    ..hold.clone()
                }))
            }
        })
    }

    /// The order's hold while it is live; `None` when it has ended without a sale.
    fn unsold(&self, order: &OrderId, id: ReservationId) -> Result<Option<&Hold>, Refusal> {
        let Some(hold) = self.hold(id) else {
            return Ok(None);
        };
        expect_owned(hold, order)?;
        match (hold.status, hold.pin) {
            (HoldStatus::Confirmed, _) => Err(hold.ended_refusal()),
            (_, Some(_)) => Err(Refusal::InFlight),
            (_, None) => Ok(Some(hold)),
        }
    }
}

/// A reservation of another order, or of none, is not this order's business.
fn expect_owned(hold: &Hold, order: &OrderId) -> Result<(), Refusal> {
    match &hold.order {
        Some(owner) if owner == order => Ok(()),
        Some(owner) => Err(Refusal::OwnedByOrder { order: owner.clone() }),
        None => Err(Refusal::ReservationNotFound),
    }
}

/// How totals move from `is` to `wanted`: one movement at a time, and never back.
fn difference(is: Fulfilment, wanted: Fulfilment) -> Result<Option<(Movement, u32)>, Refusal> {
    let moves = [
        (Movement::Fulfil, is.shipped, wanted.shipped),
        (Movement::Cancel, is.cancelled, wanted.cancelled),
        (Movement::Return, is.returned, wanted.returned),
    ];
    let mut differing = moves.into_iter().filter(|(_, is, wanted)| is != wanted);
    let first = differing.next();
    match (first, differing.next()) {
        (None, _) => Ok(None),
        (Some((movement, is, wanted)), None) => {
            let units = wanted.checked_sub(is).ok_or(Refusal::OutOfRange)?;
            Ok(Some((movement, units)))
        }
        (Some(_), Some(_)) => Err(Refusal::OutOfRange),
    }
}
