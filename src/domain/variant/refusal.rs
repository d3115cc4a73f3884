//! A business no, with the figures a caller needs. A refusal is not a fact: it is never logged, and a retry is judged
//! afresh.
use super::head::SaleState;
use crate::domain::{
    ids::{OrderId, ReservationId},
    time::Timestamp,
};

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such variant (or it was deleted).
    VariantNotFound,
    /// The variant is there already.
    AlreadyExists,
    /// The variant keeps no such reservation; it may have ended and been stored.
    ReservationNotFound,
    /// Too few units are free.
    InsufficientStock {
        /// Units wanted.
        requested: u64,
        /// Units free.
        available: u64,
        /// When the next hold ends by itself.
        next_release_at: Option<Timestamp>,
        /// Another coordinator's tentative holds are in the way and may be given back in a moment.
        contended: bool,
    },
    /// The variant does not take this now.
    SaleNotOpen {
        /// What an operator allows.
        sale: SaleState,
        /// When it opens, if that is to come.
        opens_at: Option<Timestamp>,
        /// When it closed, if it has.
        closes_at: Option<Timestamp>,
    },
    /// The shopper would have more than allowed.
    LimitReached {
        /// Units allowed.
        limit: u32,
        /// Units in live holds and purchases.
        taken: u64,
        /// Units wanted.
        requested: u64,
    },
    /// The shopper has a hold here and only one is allowed.
    AlreadyHeld {
        /// That hold.
        id: ReservationId,
    },
    /// The ttl asked for is longer than allowed.
    TtlTooLong {
        /// The longest, ms.
        max_ms: i64,
    },
    /// The deadline can move no further.
    ExtensionLimit {
        /// The latest deadline.
        max_expires_at: Timestamp,
    },
    /// The deadline had passed.
    ReservationExpired {
        /// When.
        at: Timestamp,
    },
    /// It was given back.
    ReservationReleased {
        /// When.
        at: Timestamp,
    },
    /// It was sold.
    ReservationConfirmed {
        /// When.
        at: Timestamp,
    },
    /// It is not sold, so nothing can be shipped, cancelled or returned.
    NotConfirmed,
    /// More units than the reservation has for this.
    QuantityExceeds {
        /// Units wanted.
        requested: u32,
        /// Units there are.
        allowed: u32,
    },
    /// A coordinator is deciding about this reservation.
    InFlight,
    /// The stock level would fall below what is held and sold.
    BelowHeld {
        /// Units held.
        held: u64,
        /// Units sold and not shipped.
        committed: u64,
        /// The least level possible.
        least: u64,
    },
    /// The level is not what the caller believes.
    ExpectedMismatch {
        /// Units on hand.
        on_hand: u64,
    },
    /// The caller's view is stale.
    VersionMismatch {
        /// The current version.
        current: u64,
    },
    /// Holds or sold units stand in the way.
    HasActiveHolds {
        /// Units held.
        held: u64,
        /// Units sold and not shipped.
        committed: u64,
    },
    /// The figure is beyond what stock is counted in.
    OutOfRange,
    /// An order made here owns the reservation: ask the order.
    OwnedByOrder {
        /// Which.
        order: OrderId,
    },
}

impl Refusal {
    /// Whether it cites a fact that the caller will rely on, so that the answer must wait until that fact is durable
    /// (decisions 6).
    pub fn cites_a_fact(&self) -> bool {
        match self {
            Self::VariantNotFound
            | Self::AlreadyExists
            | Self::ReservationNotFound
            | Self::AlreadyHeld { .. }
            | Self::ReservationExpired { .. }
            | Self::ReservationReleased { .. }
            | Self::ReservationConfirmed { .. }
            | Self::NotConfirmed
            | Self::QuantityExceeds { .. }
            | Self::ExpectedMismatch { .. }
            | Self::VersionMismatch { .. }
            | Self::ExtensionLimit { .. }
            | Self::HasActiveHolds { .. }
            | Self::OwnedByOrder { .. }
            | Self::BelowHeld { .. } => true,
            Self::InsufficientStock { .. }
            | Self::SaleNotOpen { .. }
            | Self::LimitReached { .. }
            | Self::TtlTooLong { .. }
            | Self::InFlight
            | Self::OutOfRange => false,
        }
    }
}
