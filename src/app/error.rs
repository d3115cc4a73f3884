//! Why a use case did not succeed, free of any transport. A refusal carries its figures; an error of ours carries one
//! text for the log and none for the caller.
use crate::{
    actor::{Shed, Unroutable},
    domain::{
        bulk::LineOutcome,
        cart, order,
        time::Timestamp,
        variant::{LineFailure, Refusal},
    },
    telemetry::metrics::{self, Outcome},
};

/// Why a use case did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The domain says no.
    #[error("refused: {refusal:?}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// When it was judged.
        at: Timestamp,
    },
    /// An all-or-nothing bulk kept nothing.
    #[error("the bulk request was refused")]
    BulkRefused {
        /// Line by line.
        lines: Vec<(super::BulkLine, LineOutcome)>,
        /// When it was judged.
        at: Timestamp,
    },
    /// A cart says no.
    #[error("the cart refused: {refusal:?}")]
    CartRefused {
        /// Why.
        refusal: cart::Refusal,
        /// When it was judged.
        at: Timestamp,
    },
    /// An order says no.
    #[error("the order refused: {refusal:?}")]
    OrderRefused {
        /// Why.
        refusal: order::Refusal,
        /// When it was judged.
        at: Timestamp,
    },
    /// Another request was sent under the same key.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// A request under this key is being settled.
    #[error("a request under this key is in flight")]
    InFlight,
    /// The window of recent keys is full until the next checkpoint.
    #[error("too many recent idempotency keys")]
    KeysFull,
    /// Not admitted.
    #[error("not admitted: {0:?}")]
    Shed(Shed),
    /// The deadline passed before the command was judged; it had no effect.
    #[error("not judged before the deadline")]
    Late,
    /// The deadline passed, or the actor was lost, after the command was handed over.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// The variant is closed until an operator has looked.
    #[error("the variant is quarantined")]
    Quarantined,
    /// The variant left while it was asked; as good as not there.
    #[error("the variant has gone")]
    Gone,
    /// Lines of an import cannot be read or name what is not there; nothing was done.
    #[error("{total} faults in the lines of an import")]
    ImportFaults {
        /// The first of them.
        faults: Vec<super::LineFault>,
        /// How many there are.
        total: u64,
    },
    /// A list has more lines than are taken over all or not at all; nothing was done.
    #[error("{lines} lines are too many to be taken over as one")]
    ImportTooLong {
        /// How many it has.
        lines: usize,
    },
    /// What such a list comes to is more than a group of the log takes; nothing was done.
    #[error("an import is larger than a group of the log, {bytes_max} bytes")]
    ImportTooLarge {
        /// What a group takes.
        bytes_max: usize,
    },
    /// Lines of such a list were refused; nothing was done.
    #[error("{} of {lines} lines were refused", failures.len())]
    ImportRefused {
        /// Every line that was.
        failures: Vec<LineFailure>,
        /// How many lines the list has.
        lines: usize,
    },
    /// Neither records nor stored states reach back so far.
    #[error("the past is not known so far back")]
    HistoryTooOld {
        /// The first record behind which the variant's state is known.
        known_from: Option<u64>,
    },
    /// An import came to a stop between two lines.
    #[error("stopped after {lines} lines: {because}")]
    ImportStopped {
        /// Lines judged.
        lines: u64,
        /// Why.
        because: Box<AppError>,
    },
    /// Too little disk space for new business.
    #[error("the disk is below its reserve")]
    DiskReserve,
    /// A snapshot is being taken or verified.
    #[error("a snapshot is being taken or verified")]
    SnapshotRunning,
    /// There is no such snapshot.
    #[error("there is no snapshot {0}")]
    SnapshotNotFound(String),
    /// A snapshot is not what was written.
    #[error("{why}")]
    SnapshotDamaged {
        /// Which.
        id: String,
        /// In which part and how, in words for an operator.
        why: String,
        /// Where that part begins in the file, where that is known.
        offset: Option<u64>,
    },
    /// The disk has no room for a snapshot; the earlier ones are as they were.
    #[error("the disk has no room for a snapshot")]
    DiskFull,
    /// Something of ours failed; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

impl AppError {
    pub(super) fn internal(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Internal(format!("{what}: {error}"))
    }

    pub(super) fn bug(what: &str) -> Self {
        Self::Internal(format!("bug: {what}"))
    }
}

impl AppError {
    /// Why the command was turned away without being judged, if it was.
    pub(super) fn shed(&self) -> Option<metrics::Shed> {
        match self {
            Self::Shed(Shed::Process | Shed::Reserved) => Some(metrics::Shed::Process),
            Self::Shed(Shed::Variant) => Some(metrics::Shed::Variant),
            Self::Shed(Shed::Cart) => Some(metrics::Shed::Cart),
            Self::Shed(Shed::Draining) => Some(metrics::Shed::Draining),
            Self::KeysFull => Some(metrics::Shed::KeysFull),
            Self::DiskReserve => Some(metrics::Shed::DiskReserve),
            Self::Quarantined => Some(metrics::Shed::Quarantined),
            Self::ImportStopped { because, .. } => because.shed(),
            Self::Refused { .. }
            | Self::BulkRefused { .. }
            | Self::ImportFaults { .. }
            | Self::ImportTooLong { .. }
            | Self::ImportTooLarge { .. }
            | Self::ImportRefused { .. }
            | Self::HistoryTooOld { .. }
            | Self::CartRefused { .. }
            | Self::OrderRefused { .. }
            | Self::KeyReused
            | Self::InFlight
            | Self::Late
            | Self::OutcomeUnknown
            | Self::Gone
            | Self::SnapshotRunning
            | Self::SnapshotNotFound(_)
            | Self::SnapshotDamaged { .. }
            | Self::DiskFull
            | Self::Internal(_) => None,
        }
    }

    /// How the command counts.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Refused { refusal, .. } => outcome_of(refusal),
            Self::CartRefused { refusal, .. } => outcome_of_cart(refusal),
            Self::OrderRefused { refusal, .. } => outcome_of_order(refusal),
            Self::KeyReused => Outcome::KeyMismatch,
            Self::Gone | Self::SnapshotNotFound(_) => Outcome::NotFound,
            Self::BulkRefused { .. }
            | Self::ImportFaults { .. }
            | Self::ImportTooLong { .. }
            | Self::ImportTooLarge { .. }
            | Self::ImportRefused { .. }
            | Self::HistoryTooOld { .. }
            | Self::SnapshotRunning
            | Self::InFlight => Outcome::Refused,
            Self::ImportStopped { because, .. } => because.outcome(),
            Self::Late => Outcome::Abandoned,
            Self::KeysFull
            | Self::Shed(_)
            | Self::OutcomeUnknown
            | Self::Quarantined
            | Self::DiskReserve
            | Self::SnapshotDamaged { .. }
            | Self::DiskFull
            | Self::Internal(_) => Outcome::Failed,
        }
    }
}

fn outcome_of(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::VariantNotFound | Refusal::ReservationNotFound => Outcome::NotFound,
        Refusal::InsufficientStock { .. } => Outcome::InsufficientStock,
        Refusal::SaleNotOpen { .. } => Outcome::NotOpen,
        Refusal::LimitReached { .. } | Refusal::AlreadyHeld { .. } | Refusal::ExtensionLimit { .. } => {
            Outcome::LimitReached
        }
        Refusal::ReservationExpired { .. }
        | Refusal::ReservationReleased { .. }
        | Refusal::ReservationConfirmed { .. } => Outcome::Ended,
        Refusal::AlreadyExists
        | Refusal::InFlight
        | Refusal::TtlTooLong { .. }
        | Refusal::NotConfirmed
        | Refusal::QuantityExceeds { .. }
        | Refusal::BelowHeld { .. }
        | Refusal::ExpectedMismatch { .. }
        | Refusal::VersionMismatch { .. }
        | Refusal::HasActiveHolds { .. }
        | Refusal::OwnedByOrder { .. }
        | Refusal::OutOfRange => Outcome::Refused,
    }
}

fn outcome_of_cart(refusal: &cart::Refusal) -> Outcome {
    use cart::Refusal as Cart;
    match refusal {
        Cart::Line { refusal, .. } => outcome_of(refusal),
        Cart::NotFound | Cart::LineNotFound { .. } => Outcome::NotFound,
        Cart::LinesUnavailable { lines } => outcome_of_lines(lines.iter().map(|(_, refusal)| refusal)),
        Cart::LinesLimit { .. } | Cart::UnitsLimit { .. } => Outcome::LimitReached,
        Cart::Ordered { .. } | Cart::Merged { .. } | Cart::Abandoned => Outcome::Ended,
        Cart::Empty
        | Cart::OtherCurrency { .. }
        | Cart::CheckingOut { .. }
        | Cart::MergeConflict { .. }
        | Cart::Busy => Outcome::Refused,
        Cart::Unanswered => Outcome::Failed,
    }
}

fn outcome_of_order(refusal: &order::Refusal) -> Outcome {
    use order::Refusal as Order;
    match refusal {
        Order::NotFound | Order::RefundNotFound | Order::LineNotFound { .. } => Outcome::NotFound,
        Order::LinesUnavailable { lines } => outcome_of_lines(lines.iter().map(|(_, refusal)| refusal)),
        Order::State { .. }
        | Order::RefundRequired { .. }
        | Order::AmountMismatch { .. }
        | Order::PaidOtherwise { .. }
        | Order::QuantityExceeds { .. } => Outcome::Refused,
        Order::Unanswered => Outcome::Failed,
    }
}

/// Several lines count as one command: by their reason if it is the same, as refused otherwise.
fn outcome_of_lines<'a>(mut refusals: impl Iterator<Item = &'a Refusal>) -> Outcome {
    let first = refusals.next().map_or(Outcome::Refused, outcome_of);
    if refusals.all(|refusal| outcome_of(refusal) == first) {
        first
    } else {
        Outcome::Refused
    }
}

impl From<Unroutable> for AppError {
    fn from(unroutable: Unroutable) -> Self {
        match unroutable {
            Unroutable::Quarantined => Self::Quarantined,
            Unroutable::Gone => Self::Gone,
        }
    }
}
