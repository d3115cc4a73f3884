//! A business no, as a bulk's decision remembers it line by line.
use super::{Bits, Mirror, Moment, variant::SaleWord};
use crate::{
    domain::{ids::OrderId, variant},
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

/// A refusal.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Refusal<'a> {
    VariantNotFound,
    AlreadyExists,
    ReservationNotFound,
    InsufficientStock {
        requested: u64,
        available: u64,
        next_release_at: Option<Moment>,
        contended: bool,
    },
    SaleNotOpen {
        sale: SaleWord,
        opens_at: Option<Moment>,
        closes_at: Option<Moment>,
    },
    LimitReached {
        limit: u32,
        taken: u64,
        requested: u64,
    },
    AlreadyHeld(Bits),
    TtlTooLong(i64),
    ExtensionLimit(Moment),
    ReservationExpired(Moment),
    ReservationReleased(Moment),
    ReservationConfirmed(Moment),
    NotConfirmed,
    QuantityExceeds {
        requested: u32,
        allowed: u32,
    },
    InFlight,
    BelowHeld {
        held: u64,
        committed: u64,
        least: u64,
    },
    ExpectedMismatch(u64),
    VersionMismatch(u64),
    HasActiveHolds {
        held: u64,
        committed: u64,
    },
    OutOfRange,
    OwnedByOrder(&'a str),
}

impl<'a> Mirror<'a> for Refusal<'a> {
    type Domain = variant::Refusal;

    fn of(domain: &'a variant::Refusal) -> Self {
        use variant::Refusal as Of;
        match *domain {
            Of::VariantNotFound => Self::VariantNotFound,
            Of::AlreadyExists => Self::AlreadyExists,
            Of::ReservationNotFound => Self::ReservationNotFound,
            Of::InsufficientStock {
                requested,
                available,
                next_release_at,
                contended,
            } => Self::InsufficientStock {
                requested,
                available,
                next_release_at: next_release_at.map(Moment::from),
                contended,
            },
            Of::SaleNotOpen {
                sale,
                opens_at,
                closes_at,
            } => Self::SaleNotOpen {
                sale: sale.into(),
                opens_at: opens_at.map(Moment::from),
                closes_at: closes_at.map(Moment::from),
            },
            Of::LimitReached {
                limit,
                taken,
                requested,
            } => Self::LimitReached {
                limit,
                taken,
                requested,
            },
            Of::AlreadyHeld { id } => Self::AlreadyHeld(id.into()),
            Of::TtlTooLong { max_ms } => Self::TtlTooLong(max_ms),
            Of::ExtensionLimit { max_expires_at } => Self::ExtensionLimit(max_expires_at.into()),
            Of::ReservationExpired { at } => Self::ReservationExpired(at.into()),
            Of::ReservationReleased { at } => Self::ReservationReleased(at.into()),
            Of::ReservationConfirmed { at } => Self::ReservationConfirmed(at.into()),
            Of::NotConfirmed => Self::NotConfirmed,
            Of::QuantityExceeds { requested, allowed } => Self::QuantityExceeds { requested, allowed },
            Of::InFlight => Self::InFlight,
            Of::BelowHeld {
                held,
                committed,
                least,
            } => Self::BelowHeld {
                held,
                committed,
                least,
            },
            Of::ExpectedMismatch { on_hand } => Self::ExpectedMismatch(on_hand),
            Of::VersionMismatch { current } => Self::VersionMismatch(current),
            Of::HasActiveHolds { held, committed } => Self::HasActiveHolds { held, committed },
            Of::OutOfRange => Self::OutOfRange,
            Of::OwnedByOrder { ref order } => Self::OwnedByOrder(order.as_str()),
        }
    }

    // Figures of a refusal are only shown, never reckoned with, so they are taken as they are.
    fn restore(self) -> Result<variant::Refusal, FormatError> {
        use variant::Refusal as Of;
        Ok(match self {
            Self::VariantNotFound => Of::VariantNotFound,
            Self::AlreadyExists => Of::AlreadyExists,
            Self::ReservationNotFound => Of::ReservationNotFound,
            Self::InsufficientStock {
                requested,
                available,
                next_release_at,
                contended,
            } => Of::InsufficientStock {
                requested,
                available,
                next_release_at: next_release_at.map(Into::into),
                contended,
            },
            Self::SaleNotOpen {
                sale,
                opens_at,
                closes_at,
            } => Of::SaleNotOpen {
                sale: sale.into(),
                opens_at: opens_at.map(Into::into),
                closes_at: closes_at.map(Into::into),
            },
            Self::LimitReached {
                limit,
                taken,
                requested,
            } => Of::LimitReached {
                limit,
                taken,
                requested,
            },
            Self::AlreadyHeld(id) => Of::AlreadyHeld { id: id.try_into()? },
            Self::TtlTooLong(max_ms) => Of::TtlTooLong { max_ms },
            Self::ExtensionLimit(at) => Of::ExtensionLimit {
                max_expires_at: at.into(),
            },
            Self::ReservationExpired(at) => Of::ReservationExpired { at: at.into() },
            Self::ReservationReleased(at) => Of::ReservationReleased { at: at.into() },
            Self::ReservationConfirmed(at) => Of::ReservationConfirmed { at: at.into() },
            Self::NotConfirmed => Of::NotConfirmed,
            Self::QuantityExceeds { requested, allowed } => Of::QuantityExceeds { requested, allowed },
            Self::InFlight => Of::InFlight,
            Self::BelowHeld {
                held,
                committed,
                least,
            } => Of::BelowHeld {
                held,
                committed,
                least,
            },
            Self::ExpectedMismatch(on_hand) => Of::ExpectedMismatch { on_hand },
            Self::VersionMismatch(current) => Of::VersionMismatch { current },
            Self::HasActiveHolds { held, committed } => Of::HasActiveHolds { held, committed },
            Self::OutOfRange => Of::OutOfRange,
            Self::OwnedByOrder(order) => Of::OwnedByOrder {
                order: OrderId::parse(order)?,
            },
        })
    }
}
