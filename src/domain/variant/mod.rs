//! A product variant: its stock, its reservations, and what may be done with them.
//!
//! `decide` refuses early in a fixed order and promises at the end; `apply` changes and cannot refuse. A command's
//! events always begin with the expiries it relied on, so that at every log prefix the units add up. The actor above
//! owns one `Variant`; replay calls only `apply`.
//!
//! ```
//! use holdfast::domain::{ids::*, policy::*, time::Timestamp, variant::*};
//!
//! let (store, id) = (StoreId::parse("default")?, VariantId::parse("123")?);
//! let mut soap = Variant::unborn(store, id, VariantOrdinal(0));
//! let now = Timestamp::from_millis(1_800_000_000_000);
//! let mut happen = |soap: &mut Variant, command| match soap.decide(&command, now) {
//!     Ok(Decision::Granted(events)) => events.iter().for_each(|event| soap.apply(event, now)),
//!     other => panic!("{other:?}"),
//! };
//! happen(&mut soap, Command::Create { settings: Box::default(), on_hand: 2, by: "shop".into() });
//!
//! let lengths = HoldLengths { ttl_ms: 60_000, extension_ms: 60_000, max_extensions: 1 };
//! let (payment_ttl_ms, max_ttl_ms) = (120_000, 3_600_000);
//! let terms = Terms { lengths, payment_ttl_ms, max_ttl_ms, units_per_customer: None, window_days: None };
//! let ask = |salt, quantity, at| {
//!     let id = ReservationId::new(at, soap_slot(), VariantOrdinal(0), salt);
//!     Reserve { id, quantity, shopper: Shopper::default(), ttl_ms: None, allow_partial: false, terms, for_order: None }
//! };
//! # fn soap_slot() -> Slot {
//! #     Slot::of_variant(&StoreId::parse("default").unwrap(), &VariantId::parse("123").unwrap())
//! # }
//! happen(&mut soap, Command::Reserve(ask(1, 2, now)));
//!
//! // Both units are held: the next buyer is refused, until the deadline has come.
//! let refused = soap.decide(&Command::Reserve(ask(2, 1, now)), now).unwrap_err();
//! assert!(matches!(refused, Refusal::InsufficientStock { available: 0, .. }));
//! let later = now.saturating_add(60_000);
//! assert!(matches!(soap.decide(&Command::Reserve(ask(2, 1, later)), later), Ok(Decision::Granted(_))));
//! # Ok::<(), InvalidId>(())
//! ```
mod after_sale;
mod command;
mod decide;
mod event;
mod for_order;
mod head;
mod hold;
mod import;
mod invariant;
mod merge;
mod owner;
mod refusal;
mod settle;
mod shop;
mod stock;

pub use command::{AfterSale, Command, Confirm, Extend, ForOrder, OrderStep, Prepare, Reserve, Sell};
pub use decide::{Decision, EXPIRIES_PER_TURN};
pub use event::{Event, LedgerEntry, LedgerKind};
pub use head::{Flows, Head, ReservationMode, SaleState, Settings};
pub use hold::{
    EndReason, Ended, Fulfilment, Hold, HoldStatus, Intent, NEEDS_EXTENSION_MS, Owner, Phase, Pin, Shopper,
};
pub use import::{FAILURES_TOLD_MAX, Import, ImportReport, Level, LineFailure, Setting, Sheet, WhyNot};
pub use owner::Purchases;
pub use refusal::Refusal;
pub use settle::{settled, settled_for};
pub use stock::{MAX_UNITS, Status, View};

use super::{
    ids::{ReservationId, StoreId, VariantId, VariantOrdinal},
    time::Timestamp,
};
use owner::Owners;
use std::collections::{BTreeMap, BTreeSet};

/// A variant with its live reservations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    head: Head,
    /// Tentative, active, sold and unshipped, and for a while those brought back by a return. In boxes: new ones come at the
    /// end, which leaves the map's nodes half empty, and an empty place in a node is as large as what it would hold.
    holds: BTreeMap<ReservationId, Box<Hold>>,
    /// The deadlines of live holds, earliest first.
    due: BTreeSet<(Timestamp, ReservationId)>,
    /// When reservations brought back by a return leave again.
    closing: BTreeSet<(Timestamp, ReservationId)>,
    held: u64,
    tentative: u64,
    committed: u64,
    owners: Owners,
}

impl Variant {
    /// A variant that has not been created yet.
    pub fn unborn(store: StoreId, id: VariantId, ordinal: VariantOrdinal) -> Self {
        Self::restore(Head::unborn(store, id, ordinal), [], [])
    }

    /// A variant from its stored parts: head, holds, and what each shopper bought.
    pub fn restore(
        head: Head,
        holds: impl IntoIterator<Item = Hold>,
        purchases: impl IntoIterator<Item = (Owner, Purchases)>,
    ) -> Self {
        let mut variant = Self {
            head,
            holds: BTreeMap::new(),
            due: BTreeSet::new(),
            closing: BTreeSet::new(),
            held: 0,
            tentative: 0,
            committed: 0,
            owners: Owners::restore(purchases),
        };
        for hold in holds {
            variant.put(hold);
        }
        variant
    }

    /// Everything but the reservations.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The reservations it keeps, in order of creation.
    pub fn holds(&self) -> impl ExactSizeIterator<Item = &Hold> {
        self.holds.values().map(|hold| &**hold)
    }

    /// What each shopper bought here.
    pub fn purchases(&self) -> impl Iterator<Item = (&Owner, &Purchases)> {
        self.owners.purchases()
    }

    /// One reservation it keeps.
    pub fn hold(&self, id: ReservationId) -> Option<&Hold> {
        self.holds.get(&id).map(|hold| &**hold)
    }

    /// One that an index of ours names.
    fn kept(&self, id: ReservationId) -> &Hold {
        &self.holds[&id]
    }

    /// Units in live and tentative holds.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Units sold and neither shipped nor cancelled.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// The earliest moment something happens by itself.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let due = self.due.first().map(|(at, _)| *at);
        let closing = self.closing.first().map(|(at, _)| *at);
        [due, closing].into_iter().flatten().min()
    }

    /// The earliest deadline of a live hold after `now`: when units may come back.
    pub fn next_release_at(&self, now: Timestamp) -> Option<Timestamp> {
        let later = (now.saturating_add(1), ReservationId::FIRST);
        self.due.range(later..).next().map(|(at, _)| *at)
    }

    /// Changes by what happened at the logged moment `at`.
    pub fn apply(&mut self, event: &Event, at: Timestamp) {
        self.head.apply(event, at);
        self.owners.apply(event);
        match event {
            Event::Held(hold)
            | Event::Extended(hold)
            | Event::Resized(hold)
            | Event::Pinned(hold)
            | Event::Unpinned(hold)
            | Event::Confirmed { hold, .. }
            | Event::Rehomed { hold, .. }
            | Event::Returned { hold, .. } => self.put(hold.clone()),
            Event::Fulfilled { hold, .. } | Event::Cancelled { hold, .. } if hold.committed_units() > 0 => {
                self.put(hold.clone());
            }
            Event::Fulfilled { hold, .. }
            | Event::Cancelled { hold, .. }
            | Event::Released(hold)
            | Event::Expired(hold)
            | Event::Withdrawn(hold)
            | Event::Closed(hold) => self.take(hold.id),
            Event::Created { .. }
            | Event::SettingsChanged { .. }
            | Event::SaleChanged { .. }
            | Event::StockChanged { .. }
            | Event::Deleted => {}
        }
    }

    fn put(&mut self, hold: Hold) {
        self.take(hold.id);
        self.held += hold.held_units();
        self.committed += hold.committed_units();
        if hold.status == HoldStatus::Tentative {
            self.tentative += u64::from(hold.quantity);
        }
        if let Some(deadline) = hold.deadline() {
            self.due.insert((deadline, hold.id));
        }
        if let Some(closes_at) = hold.closes_at() {
            self.closing.insert((closes_at, hold.id));
        }
        self.owners.hold_added(&hold);
        self.holds.insert(hold.id, Box::new(hold));
    }

    fn take(&mut self, id: ReservationId) {
        let Some(hold) = self.holds.remove(&id) else {
            return;
        };
        self.held -= hold.held_units();
        self.committed -= hold.committed_units();
        if hold.status == HoldStatus::Tentative {
            self.tentative -= u64::from(hold.quantity);
        }
        if let Some(deadline) = hold.deadline() {
            self.due.remove(&(deadline, id));
        }
        if let Some(closes_at) = hold.closes_at() {
            self.closing.remove(&(closes_at, id));
        }
        self.owners.hold_removed(&hold);
    }
}
