//! One variant under watch: every turn is judged and applied as in production, and the laws are asked after every
//! event, so that each log prefix is a state in which they hold.
use holdfast::domain::{
    ids::{ReservationId, StoreId, VariantId, VariantOrdinal},
    law::Violation,
    time::Timestamp,
    variant::{Command, Decision, Event, Head, Hold, HoldStatus, Owner, Purchases, Refusal, Variant},
};
use std::collections::BTreeMap;

/// 2023-11-15T00:00:00Z: a midnight, so that stories about days are readable.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_006_400_000);

/// What a command led to, with the events already applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(Vec<Event>),
    Repeat(Box<Hold>),
    Nothing,
    Refused(Vec<Event>, Refusal),
}

/// The stored parts of a variant at some moment: what a checkpoint writes.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    head: Head,
    holds: Vec<Hold>,
    purchases: Vec<(Owner, Purchases)>,
    /// Events that the parts contain.
    events: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) variant: Variant,
    pub(crate) log: Vec<(Event, Timestamp)>,
    /// Reservations that left the variant, as their last event tells.
    pub(crate) gone: BTreeMap<ReservationId, Hold>,
    salt: u32,
}

impl World {
    pub(crate) fn new(name: &str, ordinal: VariantOrdinal) -> Self {
        Self {
            variant: unborn(name, ordinal),
            log: Vec::new(),
            gone: BTreeMap::new(),
            salt: 0,
        }
    }

    pub(crate) fn fresh_id(&mut self, now: Timestamp) -> ReservationId {
        self.salt += 1;
        let head = self.variant.head();
        ReservationId::new(now, head.slot(), head.ordinal, self.salt)
    }

    /// Judges `command` and applies what it leads to.
    pub(crate) fn ask(&mut self, command: &Command, now: Timestamp) -> Answer {
        let before = self.variant.clone();
        let decision = self.variant.decide(command, now);
        assert_eq!(before, self.variant, "decide only reads");
        match decision {
            Ok(Decision::Granted(events)) => {
                self.apply(&events, now);
                Answer::Granted(events)
            }
            Ok(Decision::Repeat(hold)) => Answer::Repeat(hold),
            Ok(Decision::Nothing) => Answer::Nothing,
            Ok(Decision::Refused { events, refusal }) => {
                self.apply(&events, now);
                Answer::Refused(events, refusal)
            }
            Err(refusal) => Answer::Refused(Vec::new(), refusal),
        }
    }

    /// The timer's turn.
    pub(crate) fn expire(&mut self, now: Timestamp, limit: usize) -> Vec<Event> {
        let events = self.variant.expire_due(now, limit);
        self.apply(&events, now);
        events
    }

    fn apply(&mut self, events: &[Event], now: Timestamp) {
        for event in events {
            self.expect_lawful(event, now);
            self.variant.apply(event, now);
            self.variant
                .check()
                .unwrap_or_else(|broken| panic!("{broken} after {event:?}"));
            self.log.push((event.clone(), now));
            if let Some(hold) = event.hold().filter(|hold| self.variant.hold(hold.id).is_none()) {
                self.gone.insert(hold.id, hold.clone());
            }
        }
        self.recount()
            .unwrap_or_else(|broken| panic!("{broken} after {events:?}"));
    }

    fn recount(&self) -> Result<(), Violation> {
        self.variant.recount()
    }

    /// ONE_TERMINAL and EXPIRY_WINDOW, judged from outside.
    fn expect_lawful(&self, event: &Event, now: Timestamp) {
        let Some(hold) = event.hold() else { return };
        let earlier = self.variant.hold(hold.id);
        if let Some(gone) = self.gone.get(&hold.id).filter(|_| earlier.is_none()) {
            let brought_back =
                matches!(event, Event::Returned { .. }) && gone.status == HoldStatus::Confirmed;
            assert!(
                gone.status == HoldStatus::Tentative || brought_back,
                "ONE_TERMINAL: {event:?} after {gone:?}"
            );
        }
        match event {
            Event::Expired(_) => {
                let deadline = earlier.expect("only a live hold expires").expires_at;
                assert!(deadline <= now, "EXPIRY_WINDOW: expired before {deadline:?}");
            }
            Event::Confirmed { hold, .. } => {
                let earlier = earlier.expect("only a live hold is confirmed");
                let judged_by_coordinator = earlier.pin.is_some();
                // An order's payment counts by the moment it was accepted, whenever its variant hears of it.
                let judged_at = match earlier.owning_order() {
                    Some(_) => hold.ended.expect("sold").at,
                    None => now,
                };
                assert!(
                    judged_by_coordinator || judged_at < earlier.expires_at,
                    "EXPIRY_WINDOW: confirmed after its deadline"
                );
            }
            _ => {}
        }
    }

    /// The stored parts as they are now.
    pub(crate) fn store(&self) -> Stored {
        Stored {
            head: self.variant.head().clone(),
            holds: self.variant.holds().cloned().collect(),
            purchases: self
                .variant
                .purchases()
                .map(|(owner, bought)| (owner.clone(), bought.clone()))
                .collect(),
            events: self.log.len(),
        }
    }

    /// REPLAY_EQUAL: the state from its events alone.
    pub(crate) fn expect_replay_equal(&self) {
        let head = self.variant.head();
        let mut replayed = unborn(head.id.as_str(), head.ordinal);
        for (event, at) in &self.log {
            replayed.apply(event, *at);
        }
        assert_eq!(replayed, self.variant, "REPLAY_EQUAL from the first event");
    }

    /// REPLAY_EQUAL: the state from stored parts and the events after them.
    pub(crate) fn expect_restore_equal(&self, stored: &Stored) {
        let parts = stored.clone();
        let mut restored = Variant::restore(parts.head, parts.holds, parts.purchases);
        for (event, at) in &self.log[stored.events..] {
            restored.apply(event, *at);
        }
        assert_eq!(
            restored, self.variant,
            "REPLAY_EQUAL from event {}",
            stored.events
        );
    }
}

fn unborn(name: &str, ordinal: VariantOrdinal) -> Variant {
    let store = StoreId::parse("default").unwrap();
    Variant::unborn(store, VariantId::parse(name).unwrap(), ordinal)
}
