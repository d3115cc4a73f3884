//! What happened to a variant. Events about a hold carry the whole hold as it stands afterwards, so that an answer can
//! be rebuilt from the record alone and a stored row is simply replaced.
use super::{
    head::{SaleState, Settings},
    hold::{Hold, Shopper},
};
use crate::domain::{ids::ReservationId, time::Timestamp};

/// Which flow a ledger entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerKind {
    /// Booked in.
    Received,
    /// Booked out without a sale.
    WrittenOff,
    /// Left with a sale.
    Shipped,
    /// Came back from a sale.
    Returned,
}

impl LedgerKind {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::WrittenOff => "written_off",
            Self::Shipped => "shipped",
            Self::Returned => "returned",
        }
    }
}

/// One line of the stock ledger: who changed the units on hand, why, from what to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Dense per variant, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which flow.
    pub kind: LedgerKind,
    /// Units in (positive) or out.
    pub delta: i64,
    /// Units on hand before.
    pub before: u64,
    /// Units on hand after.
    pub after: u64,
    /// Why, in the caller's words.
    pub reason: String,
    /// The caller's document, if any.
    pub reference: Option<String>,
    /// Who asked.
    pub by: String,
    /// The reservation behind it, if any.
    pub reservation: Option<ReservationId>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The variant entered the shop, with its first stock if there was any.
    Created {
        /// What the shop says about it.
        settings: Box<Settings>,
        /// The first stock.
        entry: Option<LedgerEntry>,
    },
    /// Its description or rules changed.
    SettingsChanged {
        /// All of them from now on.
        settings: Box<Settings>,
    },
    /// An operator opened, paused, drained or closed it.
    SaleChanged {
        /// From now on.
        sale: SaleState,
    },
    /// Units were booked in or out; without an entry the level was confirmed as it was.
    StockChanged {
        /// The ledger's line.
        entry: Option<LedgerEntry>,
    },
    /// It left the shop.
    Deleted,
    /// Units were held; also the commit of a tentative hold.
    Held(Hold),
    /// The deadline moved.
    Extended(Hold),
    /// The quantity changed.
    Resized(Hold),
    /// The units were sold; `given_back` units of the hold were not wanted.
    Confirmed {
        /// The reservation from now on.
        hold: Hold,
        /// Units given back at once.
        given_back: u32,
    },
    /// Given back.
    Released(Hold),
    /// Given back by the deadline.
    Expired(Hold),
    /// A coordinator marked it (or made a tentative hold).
    Pinned(Hold),
    /// The coordinator let go without doing anything.
    Unpinned(Hold),
    /// The coordinator gave a tentative hold back; it was never a reservation.
    Withdrawn(Hold),
    /// Sold units left the warehouse.
    Fulfilled {
        /// The reservation from now on.
        hold: Hold,
        /// Units shipped now.
        quantity: u32,
        /// The ledger's line; none for untracked goods.
        entry: Option<LedgerEntry>,
    },
    /// Sold units were cancelled before they left.
    Cancelled {
        /// The reservation from now on.
        hold: Hold,
        /// Units cancelled now.
        quantity: u32,
        /// The ledger's line when they are written off instead of sold again.
        entry: Option<LedgerEntry>,
    },
    /// Shipped units came back.
    Returned {
        /// The reservation from now on.
        hold: Hold,
        /// Units returned now.
        quantity: u32,
        /// The ledger's line when they are put back on the shelf.
        entry: Option<LedgerEntry>,
    },
    /// A reservation that had come back by a return is out of reach again.
    Closed(Hold),
    /// It changed hands with its cart.
    Rehomed {
        /// The reservation from now on.
        hold: Hold,
        /// Whose it was.
        from: Shopper,
    },
}

impl Event {
    /// The hold it is about, as it stands afterwards.
    pub fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Held(hold)
            | Self::Extended(hold)
            | Self::Resized(hold)
            | Self::Released(hold)
            | Self::Expired(hold)
            | Self::Pinned(hold)
            | Self::Unpinned(hold)
            | Self::Withdrawn(hold)
            | Self::Closed(hold)
            | Self::Confirmed { hold, .. }
            | Self::Rehomed { hold, .. }
            | Self::Fulfilled { hold, .. }
            | Self::Cancelled { hold, .. }
            | Self::Returned { hold, .. } => Some(hold),
            Self::Created { .. }
            | Self::SettingsChanged { .. }
            | Self::SaleChanged { .. }
            | Self::StockChanged { .. }
            | Self::Deleted => None,
        }
    }

    /// The ledger's line, if units on hand changed.
    pub fn ledger_entry(&self) -> Option<&LedgerEntry> {
        match self {
            Self::Created { entry, .. }
            | Self::StockChanged { entry }
            | Self::Fulfilled { entry, .. }
            | Self::Cancelled { entry, .. }
            | Self::Returned { entry, .. } => entry.as_ref(),
            Self::SettingsChanged { .. }
            | Self::SaleChanged { .. }
            | Self::Deleted
            | Self::Held(_)
            | Self::Extended(_)
            | Self::Resized(_)
            | Self::Confirmed { .. }
            | Self::Released(_)
            | Self::Expired(_)
            | Self::Pinned(_)
            | Self::Unpinned(_)
            | Self::Withdrawn(_)
            | Self::Closed(_)
            | Self::Rehomed { .. } => None,
        }
    }
}
