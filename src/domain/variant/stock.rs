//! How many units are free, and what a caller is told about it.
use super::{
    Variant,
    head::{Head, SaleState},
    hold::Hold,
};
use crate::domain::time::Timestamp;

/// The most units one figure may count; sums of several stay far below the range of 64 bits.
pub const MAX_UNITS: u64 = 1_000_000_000_000;

/// What a shopper is told about a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Enough.
    InStock,
    /// At or below the threshold.
    LowStock,
    /// None free.
    SoldOut,
    /// No new holds.
    Paused,
    /// No new holds or extensions.
    Draining,
    /// The sale is still to open.
    Scheduled,
    /// The sale is over.
    Closed,
}

impl Status {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InStock => "in_stock",
            Self::LowStock => "low_stock",
            Self::SoldOut => "sold_out",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Scheduled => "scheduled",
            Self::Closed => "closed",
        }
    }
}

/// A variant as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Description, rules, units on hand.
    pub head: Head,
    /// Units in live holds.
    pub held: u64,
    /// Units sold and not shipped.
    pub committed: u64,
    /// Units free; `None` for untracked goods.
    pub available: Option<u64>,
    /// What a shopper is told.
    pub status: Status,
    /// When units may come back.
    pub next_release_at: Option<Timestamp>,
    /// The moment this was seen.
    pub at: Timestamp,
}

impl Variant {
    /// The variant as it is shown at `now`. Holds that are due no longer count.
    pub fn view(&self, now: Timestamp) -> View {
        let due = self.due_units(now);
        let available = self.head.tracks_stock().then(|| self.free(due));
        View {
            head: self.head.clone(),
            held: self.held - due,
            committed: self.committed,
            available,
            status: self.status(available, now),
            next_release_at: self.next_release_at(now),
            at: now,
        }
    }

    /// How many live holds are due.
    pub fn due_count(&self, now: Timestamp) -> usize {
        self.due_holds(now).count()
    }

    /// Units free once `given_back` units of live holds have come back: law CONSERVATION.
    pub(super) fn free(&self, given_back: u64) -> u64 {
        let head = &self.head;
        let have = head.on_hand + head.settings.backorder_limit + given_back;
        planted!(OffByOneStock => return (have + 1).saturating_sub(self.held + self.committed));
        have.saturating_sub(self.held + self.committed + head.settings.safety_stock)
    }

    /// Units free right now, not counting holds that are due: what the sold-out gate may publish. `None` if untracked.
    pub fn published_available(&self) -> Option<u64> {
        self.head.tracks_stock().then(|| self.free(0))
    }

    /// Holds whose deadline has come, in deadline order.
    pub(super) fn due_holds(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.due
            .iter()
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, id)| self.kept(*id))
    }

    /// Units in live holds whose deadline has come.
    pub(super) fn due_units(&self, now: Timestamp) -> u64 {
        self.due_holds(now).map(|hold| u64::from(hold.quantity)).sum()
    }

    /// The state that counts: a draining variant without holds is closed, so is one whose time is over.
    pub fn sale_at(&self, now: Timestamp) -> SaleState {
        let settings = &self.head.settings;
        let over = settings.closes_at.is_some_and(|at| at <= now);
        match self.head.sale {
            SaleState::Draining if self.held == self.due_units(now) => SaleState::Closed,
            SaleState::Open if over => SaleState::Closed,
            SaleState::Open => SaleState::Open,
            SaleState::Paused => SaleState::Paused,
            SaleState::Draining => SaleState::Draining,
            SaleState::Closed => SaleState::Closed,
        }
    }

    /// Whether new holds are taken at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.sale_at(now) == SaleState::Open && !self.is_scheduled(now)
    }

    fn is_scheduled(&self, now: Timestamp) -> bool {
        self.head.settings.opens_at.is_some_and(|at| at > now)
    }

    fn status(&self, available: Option<u64>, now: Timestamp) -> Status {
        match self.sale_at(now) {
            SaleState::Paused => Status::Paused,
            SaleState::Draining => Status::Draining,
            SaleState::Closed => Status::Closed,
            SaleState::Open if self.is_scheduled(now) => Status::Scheduled,
            SaleState::Open => match available {
                Some(0) => Status::SoldOut,
                Some(units) if units <= self.head.settings.low_stock_threshold => Status::LowStock,
                Some(_) | None => Status::InStock,
            },
        }
    }
}
