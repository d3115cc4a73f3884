//! What an order can be asked to do.
use super::Line;
use crate::domain::{
    ids::{CartId, CustomerId, ReservationId, SessionId, VariantId},
    money::Currency,
    policy::Terms,
};

/// What moves after the sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Units leave.
    Fulfil,
    /// Units are cancelled before they leave.
    Cancel,
    /// Shipped units come back.
    Return,
}

/// How many units of a line move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterSaleLine {
    /// Which line.
    pub variant: VariantId,
    /// Units; all that can otherwise.
    pub quantity: Option<u32>,
}

/// What an order can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// From its cart: come into being and take the holds.
    Open {
        /// The cart.
        cart: CartId,
        /// The customer.
        customer: Option<CustomerId>,
        /// The browser session.
        session: Option<SessionId>,
        /// The lines, with the reservation each has or will have.
        lines: Vec<Line>,
        /// The store's terms.
        terms: Terms,
        /// How long after the payment's deadline the variants' backstop is, ms.
        grace_ms: i64,
    },
    /// A payment succeeded. May come twice, late, at the same time.
    Confirm {
        /// The caller's reference.
        reference: String,
        /// What was paid, minor units.
        amount: Option<i64>,
        /// In which currency.
        currency: Option<Currency>,
        /// Ids for the reservations a late payment may need, line by line.
        fresh: Vec<ReservationId>,
    },
    /// The payment failed: the cart gets its holds back.
    Fail,
    /// Cancel all or some lines.
    Cancel {
        /// Which; all otherwise.
        lines: Option<Vec<AfterSaleLine>>,
        /// Whether the units can be sold again.
        restock: bool,
        /// While the payment is awaited: end the cart too instead of giving it back to the shopper.
        close_cart: bool,
        /// Who asks, for the ledger.
        by: String,
    },
    /// Units leave.
    Fulfil {
        /// Which; all otherwise.
        lines: Option<Vec<AfterSaleLine>>,
        /// Who asks, for the ledger.
        by: String,
    },
    /// Shipped units come back.
    Return {
        /// Which; all otherwise.
        lines: Option<Vec<AfterSaleLine>>,
        /// Whether the units can be sold again.
        restock: bool,
        /// Who asks, for the ledger.
        by: String,
    },
    /// The shop paid a refund.
    RefundDone {
        /// The payment's reference.
        reference: String,
    },
}
