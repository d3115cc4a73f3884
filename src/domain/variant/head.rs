//! The head of a variant: everything but its holds. It is also what a checkpoint stores as one row, which is why it
//! applies events by itself.
use super::event::{Event, LedgerEntry, LedgerKind};
use crate::domain::{
    ids::{Slot, StoreId, VariantId, VariantOrdinal},
    money::Money,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// When units are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReservationMode {
    /// As soon as a shopper adds the variant.
    #[default]
    OnCart,
    /// Checked when added, taken at checkout.
    OnCheckout,
    /// Never counted: digital goods.
    Untracked,
}

impl ReservationMode {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnCart => "on_cart",
            Self::OnCheckout => "on_checkout",
            Self::Untracked => "untracked",
        }
    }
}

/// What an operator allows right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaleState {
    /// Everything.
    #[default]
    Open,
    /// No new holds; extend and confirm go on.
    Paused,
    /// No new holds and no extensions; closed when the last hold ends.
    Draining,
    /// No holds left.
    Closed,
}

impl SaleState {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// What a shop says about a variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The product it belongs to.
    pub product_id: Option<String>,
    /// The human code.
    pub sku: Option<String>,
    /// The name shoppers read.
    pub name: Option<String>,
    /// The shop's category.
    pub category: Option<String>,
    /// Free words; regions and seasons too.
    pub tags: Vec<String>,
    /// Free pairs.
    pub attributes: BTreeMap<String, String>,
    /// The price of one unit.
    pub price: Option<Money>,
    /// Units kept back from sale.
    pub safety_stock: u64,
    /// Units that may be sold beyond those on hand.
    pub backorder_limit: u64,
    /// When units are taken.
    pub reservation_mode: ReservationMode,
    /// At or below this many available the variant says so.
    pub low_stock_threshold: u64,
    /// No holds before this moment.
    pub opens_at: Option<Timestamp>,
    /// No new holds from this moment on.
    pub closes_at: Option<Timestamp>,
    /// A second hold of the same shopper is refused with the id of the first.
    pub one_hold_per_customer: bool,
    /// The ttl of holds here instead of the store's, ms.
    pub hold_ttl_ms: Option<i64>,
    /// Units for one customer here instead of the store's.
    pub units_per_customer: Option<u32>,
}

/// Where units on hand came from and went: on hand = received + returned - shipped - written off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// Units booked in.
    pub received: u64,
    /// Shipped units put back on the shelf.
    pub returned: u64,
    /// Units that left.
    pub shipped: u64,
    /// Units booked out otherwise.
    pub written_off: u64,
}

impl Flows {
    /// Units on hand by law CONSERVATION; `None` when more went than came.
    pub fn on_hand(self) -> Option<u64> {
        (self.received + self.returned).checked_sub(self.shipped + self.written_off)
    }

    fn book(&mut self, entry: &LedgerEntry) {
        let units = entry.delta.unsigned_abs();
        match entry.kind {
            LedgerKind::Received => self.received += units,
            LedgerKind::WrittenOff => self.written_off += units,
            LedgerKind::Shipped => self.shipped += units,
            LedgerKind::Returned => self.returned += units,
        }
    }
}

/// Everything a variant knows about itself but its holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its dense number.
    pub ordinal: VariantOrdinal,
    /// Whose it is.
    pub store: StoreId,
    /// The shop's id.
    pub id: VariantId,
    /// What the shop says about it.
    pub settings: Settings,
    /// What an operator allows.
    pub sale: SaleState,
    /// Physical units.
    pub on_hand: u64,
    /// How they came about.
    pub flows: Flows,
    /// Counts administrative changes; the ETag.
    pub version: u64,
    /// Counts events.
    pub revision: u64,
    /// The last ledger entry's number.
    pub ledger_seq: u64,
    /// Taken out of the shop; nothing can happen any more.
    pub deleted: bool,
    /// The latest moment an event was decided at; time never runs back here.
    pub decided_at: Timestamp,
}

impl Head {
    /// A variant that has not been created yet.
    pub fn unborn(store: StoreId, id: VariantId, ordinal: VariantOrdinal) -> Self {
        Self {
            ordinal,
            store,
            id,
            settings: Settings::default(),
            sale: SaleState::Open,
            on_hand: 0,
            flows: Flows::default(),
            version: 0,
            revision: 0,
            ledger_seq: 0,
            deleted: false,
            decided_at: Timestamp::from_millis(0),
        }
    }

    /// Whether the creation has happened.
    pub fn exists(&self) -> bool {
        self.version > 0 && !self.deleted
    }

    /// Its place in a cluster.
    pub fn slot(&self) -> Slot {
        Slot::of_variant(&self.store, &self.id)
    }

    /// Whether stock is counted.
    pub fn tracks_stock(&self) -> bool {
        self.settings.reservation_mode != ReservationMode::Untracked
    }

    /// Changes by what happened. Events about holds alone only count as revisions here.
    pub fn apply(&mut self, event: &Event, at: Timestamp) {
        self.revision += 1;
        self.decided_at = self.decided_at.max(at);
        match event {
            Event::Created { settings, entry } => {
                self.settings = (**settings).clone();
                self.version = 1;
                self.book_if(entry.as_ref());
            }
            Event::SettingsChanged { settings } => {
                self.settings = (**settings).clone();
                self.version += 1;
            }
            Event::SaleChanged { sale } => {
                self.sale = *sale;
                self.version += 1;
            }
            Event::StockChanged { entry } => {
                self.book_if(entry.as_ref());
                self.version += 1;
            }
            Event::Deleted => {
                self.deleted = true;
                self.version += 1;
            }
            Event::Fulfilled { entry, .. }
            | Event::Cancelled { entry, .. }
            | Event::Returned { entry, .. } => {
                self.book_if(entry.as_ref());
            }
            Event::Held(_)
            | Event::Extended(_)
            | Event::Resized(_)
            | Event::Confirmed { .. }
            | Event::Released(_)
            | Event::Expired(_)
            | Event::Pinned(_)
            | Event::Unpinned(_)
            | Event::Withdrawn(_)
            | Event::Closed(_)
            | Event::Rehomed { .. } => {}
        }
    }

    fn book_if(&mut self, entry: Option<&LedgerEntry>) {
        let Some(entry) = entry else { return };
        self.flows.book(entry);
        self.on_hand = entry.after;
        self.ledger_seq = entry.seq;
    }
}
