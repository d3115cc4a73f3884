//! What both sides can say.
use crate::world::Answer;
use holdfast::domain::{ids::ReservationId, time::Timestamp, variant::Refusal};

/// An answer reduced to what both sides can say. A hold that is due has ended for the model, while the variant may
/// still have to log it, so that expired, released and unknown are one word here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Done,
    Repeat,
    Ended,
    Sold,
    Missing,
    Insufficient(u64),
    NotOpen,
    Limit(u64),
    Held(ReservationId),
    TtlTooLong,
    ExtensionLimit(Timestamp),
    NotConfirmed,
    Exceeds(u32),
    InFlight,
    Below(u64),
    HasHolds(u64, u64),
    OutOfRange,
}

pub(crate) fn said(answer: &Answer) -> Said {
    match answer {
        Answer::Granted(_) => Said::Done,
        Answer::Repeat(_) => Said::Repeat,
        Answer::Nothing => Said::Done,
        Answer::Refused(_, refusal) => match refusal {
            Refusal::VariantNotFound => Said::Missing,
            Refusal::ReservationNotFound
            | Refusal::ReservationExpired { .. }
            | Refusal::ReservationReleased { .. } => Said::Ended,
            Refusal::InsufficientStock { available, .. } => Said::Insufficient(*available),
            Refusal::SaleNotOpen { .. } => Said::NotOpen,
            Refusal::LimitReached { taken, .. } => Said::Limit(*taken),
            Refusal::AlreadyHeld { id } => Said::Held(*id),
            Refusal::TtlTooLong { .. } => Said::TtlTooLong,
            Refusal::ExtensionLimit { max_expires_at } => Said::ExtensionLimit(*max_expires_at),
            Refusal::ReservationConfirmed { .. } => Said::Sold,
            Refusal::NotConfirmed => Said::NotConfirmed,
            Refusal::QuantityExceeds { allowed, .. } => Said::Exceeds(*allowed),
            Refusal::InFlight => Said::InFlight,
            Refusal::BelowHeld { least, .. } => Said::Below(*least),
            Refusal::HasActiveHolds { held, committed } => Said::HasHolds(*held, *committed),
            Refusal::OutOfRange => Said::OutOfRange,
            Refusal::AlreadyExists
            | Refusal::ExpectedMismatch { .. }
            | Refusal::VersionMismatch { .. }
            | Refusal::OwnedByOrder { .. } => {
                panic!("no step leads to {refusal:?}")
            }
        },
    }
}
