//! Why an order says no.
use super::{Payment, Refund, Status};
use crate::domain::{ids::VariantId, variant};

/// Why a command of an order was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such order.
    NotFound,
    /// Some lines cannot be had: every one of them with its reason.
    LinesUnavailable {
        /// Them.
        lines: Vec<(VariantId, variant::Refusal)>,
    },
    /// The order is not in a state for this.
    State {
        /// Where it stands.
        status: Status,
    },
    /// The payment cannot be honoured and must be paid back.
    RefundRequired {
        /// What is asked for.
        refund: Refund,
    },
    /// What was paid is not what the order costs; it must be paid back.
    AmountMismatch {
        /// What is asked for.
        refund: Refund,
    },
    /// The accepted payment is told of with another amount. It stands as it was accepted, and none of it is owed.
    PaidOtherwise {
        /// As it was accepted.
        payment: Payment,
    },
    /// No refund under this reference.
    RefundNotFound,
    /// The order has no such line.
    LineNotFound {
        /// The variant asked for.
        variant: VariantId,
    },
    /// More units than the line has for this.
    QuantityExceeds {
        /// Which line.
        variant: VariantId,
        /// Units wanted.
        requested: u32,
        /// Units there are.
        allowed: u32,
    },
    /// A line could not be asked; nothing was changed.
    Unanswered,
}
