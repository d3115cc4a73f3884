//! After the sale: units leave, are cancelled before they leave, or come back.
use super::{
    Variant,
    command::AfterSale,
    decide::{Decision, granted},
    event::{Event, LedgerEntry, LedgerKind},
    hold::{Fulfilment, Hold, HoldStatus},
    refusal::Refusal,
    stock::MAX_UNITS,
};
use crate::domain::{ids::ReservationId, time::Timestamp};

/// What moves after the sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    /// Units leave.
    Fulfil,
    /// Units are cancelled before they leave.
    Cancel,
    /// Shipped units come back.
    Return,
}

impl Variant {
    /// One of the three, asked for a reservation that was confirmed without an order made here.
    pub(super) fn after_sale(
        &self,
        ask: &AfterSale,
        movement: Movement,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let hold = self.sold(ask.id, ask.closed.as_deref())?;
        if let Some(order) = hold.owning_order() {
            return Err(Refusal::OwnedByOrder { order: order.clone() });
        }
        self.moved(hold, ask, movement, now)
    }

    /// Units of a sold reservation move.
    pub(super) fn moved(
        &self,
        hold: &Hold,
        ask: &AfterSale,
        movement: Movement,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        match movement {
            Movement::Fulfil => self.fulfil(hold, ask, now),
            Movement::Cancel => self.cancel(hold, ask, now),
            Movement::Return => self.take_back(hold, ask, now),
        }
    }

    fn fulfil(&self, hold: &Hold, ask: &AfterSale, now: Timestamp) -> Result<Decision, Refusal> {
        let left = hold.quantity - hold.fulfilment.shipped - hold.fulfilment.cancelled;
        let quantity = units_of(ask, left)?;
        if self.head.tracks_stock() && self.head.on_hand < u64::from(quantity) {
            return Err(self.insufficient(u64::from(quantity), self.head.on_hand, now));
        }
        let shipped = hold.fulfilment.shipped + quantity;
        let fulfilment = Fulfilment {
            shipped,
            ..hold.fulfilment
        };
        let entry = self.sale_entry(LedgerKind::Shipped, -i64::from(quantity), "shipped", ask, now);
        let hold = Hold {
            fulfilment,
            version: hold.version + 1,
            ..hold.clone()
        };
        Ok(granted(Event::Fulfilled {
            hold,
            quantity,
            entry,
        }))
    }

    fn cancel(&self, hold: &Hold, ask: &AfterSale, now: Timestamp) -> Result<Decision, Refusal> {
        let left = hold.quantity - hold.fulfilment.shipped - hold.fulfilment.cancelled;
        let quantity = units_of(ask, left)?;
        // Units that are only promised (backorder) cannot be written off.
        let write_off = !ask.restock && self.head.on_hand >= u64::from(quantity);
        let entry = write_off.then(|| {
            self.sale_entry(
                LedgerKind::WrittenOff,
                -i64::from(quantity),
                "cancelled, not restocked",
                ask,
                now,
            )
        });
        let cancelled = hold.fulfilment.cancelled + quantity;
        let fulfilment = Fulfilment {
            cancelled,
            ..hold.fulfilment
        };
        let hold = Hold {
            fulfilment,
            version: hold.version + 1,
            ..hold.clone()
        };
        Ok(granted(Event::Cancelled {
            hold,
            quantity,
            entry: entry.flatten(),
        }))
    }

    fn take_back(&self, hold: &Hold, ask: &AfterSale, now: Timestamp) -> Result<Decision, Refusal> {
        let quantity = units_of(ask, hold.fulfilment.shipped - hold.fulfilment.returned)?;
        if self.head.on_hand + u64::from(quantity) > MAX_UNITS {
            return Err(Refusal::OutOfRange);
        }
        let back = || self.sale_entry(LedgerKind::Returned, i64::from(quantity), "returned", ask, now);
        let entry = ask.restock.then(back).flatten();
        let returned = hold.fulfilment.returned + quantity;
        // While units are to leave, the variant keeps it for that.
        let max_expires_at = if hold.committed_units() == 0 {
            now.saturating_add(ask.keep_ms)
        } else {
            hold.max_expires_at
        };
        let hold = Hold {
            fulfilment: Fulfilment {
                returned,
                ..hold.fulfilment
            },
            version: hold.version + 1,
            max_expires_at,
            ..hold.clone()
        };
        Ok(granted(Event::Returned {
            hold,
            quantity,
            entry,
        }))
    }

    /// The sold reservation: the variant's own, or the stored one if the variant has closed it.
    pub(super) fn sold<'a>(
        &'a self,
        id: ReservationId,
        closed: Option<&'a Hold>,
    ) -> Result<&'a Hold, Refusal> {
        let kept = self.hold(id).filter(|hold| hold.status != HoldStatus::Tentative);
        let hold = kept.or(closed).ok_or(Refusal::ReservationNotFound)?;
        match (hold.status, hold.ended) {
            (HoldStatus::Confirmed, _) => Ok(hold),
            (HoldStatus::Expired, Some(end)) => Err(Refusal::ReservationExpired { at: end.at }),
            (HoldStatus::Released, Some(end)) => Err(Refusal::ReservationReleased { at: end.at }),
            _ => Err(Refusal::NotConfirmed),
        }
    }

    fn sale_entry(
        &self,
        kind: LedgerKind,
        delta: i64,
        reason: &str,
        ask: &AfterSale,
        now: Timestamp,
    ) -> Option<LedgerEntry> {
        let entry = || self.entry(kind, delta, reason, &ask.by, now);
        self.head.tracks_stock().then(|| LedgerEntry {
            reservation: Some(ask.id),
            ..entry()
        })
    }
}

fn units_of(ask: &AfterSale, left: u32) -> Result<u32, Refusal> {
    match ask.quantity.unwrap_or(left) {
        0 => Err(Refusal::QuantityExceeds {
            requested: ask.quantity.unwrap_or(1),
            allowed: 0,
        }),
        quantity if quantity > left => Err(Refusal::QuantityExceeds {
            requested: quantity,
            allowed: left,
        }),
        quantity => Ok(quantity),
    }
}
