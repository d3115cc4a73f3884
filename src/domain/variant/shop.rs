//! The shop's side: entering, describing, counting and leaving. Nothing here may fall below what is held and sold.
use super::{
    Variant,
    decide::{Decision, expired, granted},
    event::{Event, LedgerEntry, LedgerKind},
    head::{ReservationMode, Settings},
    refusal::Refusal,
    stock::MAX_UNITS,
};
use crate::domain::time::Timestamp;

impl Variant {
    pub(super) fn create(
        &self,
        settings: &Settings,
        on_hand: u64,
        by: &str,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        if self.head.version > 0 {
            return Err(if self.head.deleted {
                Refusal::VariantNotFound
            } else {
                Refusal::AlreadyExists
            });
        }
        if on_hand > MAX_UNITS || !settings.in_range() {
            return Err(Refusal::OutOfRange);
        }
        let units = i64::try_from(on_hand).map_err(|_| Refusal::OutOfRange)?;
        let entry = (units > 0).then(|| self.entry(LedgerKind::Received, units, "initial stock", by, now));
        Ok(granted(Event::Created {
            settings: Box::new(settings.clone()),
            entry,
        }))
    }

    pub(super) fn change(&self, settings: &Settings, now: Timestamp) -> Result<Decision, Refusal> {
        if !settings.in_range() {
            return Err(Refusal::OutOfRange);
        }
        let tracked = settings.reservation_mode != ReservationMode::Untracked;
        let room = Room {
            on_hand: self.head.on_hand,
            backorder: settings.backorder_limit,
            tracked,
        };
        let mut events = self.expiries_to_fit(room, now)?;
        events.push(Event::SettingsChanged {
            settings: Box::new(settings.clone()),
        });
        Ok(Decision::Granted(events))
    }

    pub(super) fn set_stock(&self, on_hand: u64, by: &str, now: Timestamp) -> Result<Decision, Refusal> {
        if on_hand > MAX_UNITS {
            return Err(Refusal::OutOfRange);
        }
        let mut events = self.expiries_to_fit(self.room(on_hand), now)?;
        let delta = i64::try_from(on_hand).map_err(|_| Refusal::OutOfRange)?
            - i64::try_from(self.head.on_hand).map_err(|_| Refusal::OutOfRange)?;
        let entry = (delta != 0).then(|| self.entry(booked(delta), delta, "stock level set", by, now));
        events.push(Event::StockChanged { entry });
        Ok(Decision::Granted(events))
    }

    pub(super) fn adjust(
        &self,
        delta: i64,
        reason: &str,
        reference: Option<&String>,
        expected_on_hand: Option<u64>,
        by: &str,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        if expected_on_hand.is_some_and(|expected| expected != self.head.on_hand) {
            return Err(Refusal::ExpectedMismatch {
                on_hand: self.head.on_hand,
            });
        }
        let after = self.head.on_hand.checked_add_signed(delta);
        if after.is_some_and(|units| units > MAX_UNITS) || delta.unsigned_abs() > MAX_UNITS {
            return Err(Refusal::OutOfRange);
        }
        let after = after.ok_or_else(|| self.below_held(self.room(0), now))?;
        let mut events = self.expiries_to_fit(self.room(after), now)?;
        let entry = self.entry(booked(delta), delta, reason, by, now);
        let entry = LedgerEntry {
            reference: reference.cloned(),
            ..entry
        };
        events.push(Event::StockChanged { entry: Some(entry) });
        Ok(Decision::Granted(events))
    }

    /// Nothing live may be left. What is due, and what a return had brought back, leaves first.
    pub(super) fn delete(&self, now: Timestamp) -> Result<Decision, Refusal> {
        let held = self.held - self.due_units(now);
        if held > 0 || self.committed > 0 {
            return Err(Refusal::HasActiveHolds {
                held,
                committed: self.committed,
            });
        }
        let expired = self.due_holds(now).map(|hold| expired(hold, now));
        let closed = self
            .closing
            .iter()
            .map(|(_, id)| Event::Closed(self.kept(*id).clone()));
        Ok(Decision::Granted(
            expired.chain(closed).chain([Event::Deleted]).collect(),
        ))
    }

    pub(super) fn room(&self, on_hand: u64) -> Room {
        Room {
            on_hand,
            backorder: self.head.settings.backorder_limit,
            tracked: self.head.tracks_stock(),
        }
    }

    pub(super) fn below_held(&self, room: Room, now: Timestamp) -> Refusal {
        let held = self.held - self.due_units(now);
        let used = held + self.committed;
        Refusal::BelowHeld {
            held,
            committed: self.committed,
            least: if room.tracked {
                used.saturating_sub(room.backorder)
            } else {
                0
            },
        }
    }

    /// The expiries without which held and sold units would not fit into `room`: as few as are needed, so that units
    /// add up at every log prefix.
    pub(super) fn expiries_to_fit(&self, room: Room, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let mut used = self.held + self.committed;
        let mut events = Vec::new();
        let mut due = self.due_holds(now);
        while room.tracked && used > room.on_hand + room.backorder {
            let Some(hold) = due.next() else {
                return Err(self.below_held(room, now));
            };
            used -= u64::from(hold.quantity);
            events.push(expired(hold, now));
        }
        Ok(events)
    }

    pub(super) fn entry(
        &self,
        kind: LedgerKind,
        delta: i64,
        reason: &str,
        by: &str,
        now: Timestamp,
    ) -> LedgerEntry {
        LedgerEntry {
            seq: self.head.ledger_seq + 1,
            at: now,
            kind,
            delta,
            before: self.head.on_hand,
            after: self.head.on_hand.saturating_add_signed(delta),
            reason: reason.to_owned(),
            reference: None,
            by: by.to_owned(),
            reservation: None,
        }
    }
}

/// The room that held and sold units must fit into.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) on_hand: u64,
    pub(super) backorder: u64,
    pub(super) tracked: bool,
}

impl Settings {
    /// Whether every figure is one that stock is counted in, so that sums cannot overflow.
    pub(super) fn in_range(&self) -> bool {
        let units = self.safety_stock.max(self.backorder_limit);
        units <= MAX_UNITS && self.hold_ttl_ms.is_none_or(|ttl_ms| ttl_ms > 0)
    }
}

pub(super) fn booked(delta: i64) -> LedgerKind {
    if delta < 0 {
        LedgerKind::WrittenOff
    } else {
        LedgerKind::Received
    }
}
