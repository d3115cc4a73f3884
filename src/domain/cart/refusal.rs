//! Why a cart says no.
use super::LineId;
use crate::domain::{
    ids::{CartId, OrderId, VariantId},
    variant,
};

/// Why a command of a cart was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such cart (any more).
    NotFound,
    /// No such line.
    LineNotFound {
        /// The line.
        line: LineId,
    },
    /// A variant said no.
    Line {
        /// About which variant.
        variant: VariantId,
        /// Why.
        refusal: variant::Refusal,
    },
    /// Some lines cannot be had: every one of them with its reason.
    LinesUnavailable {
        /// Them.
        lines: Vec<(VariantId, variant::Refusal)>,
    },
    /// There is nothing to check out.
    Empty,
    /// The cart has as many lines as it may.
    LinesLimit {
        /// Lines allowed.
        limit: u32,
    },
    /// The order would have more units than it may.
    UnitsLimit {
        /// Units allowed.
        limit: u32,
        /// Units it would have.
        wanted: u64,
    },
    /// The variant is priced in another currency than the cart.
    OtherCurrency {
        /// The variant.
        variant: VariantId,
    },
    /// An order is being made of it or awaits its payment.
    CheckingOut {
        /// The order.
        order: OrderId,
    },
    /// Its order was paid.
    Ordered {
        /// The order.
        order: OrderId,
    },
    /// Another cart has its lines.
    Merged {
        /// Its successor.
        into: CartId,
    },
    /// Everything was given back.
    Abandoned,
    /// It cannot be merged: it is the same cart, another customer's, or not active.
    MergeConflict {
        /// Why, for the caller.
        why: &'static str,
    },
    /// A variant or cart that had to be asked did not answer.
    Unanswered,
    /// The work was begun by another command and is not concluded.
    Busy,
}
