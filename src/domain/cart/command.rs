//! What a cart can be asked to do, by shoppers and by other entities.
use super::{LineId, MergeStrategy};
use crate::domain::{
    ids::{CartId, CustomerId, OrderId, ReservationId, SessionId, VariantId, VariantOrdinal},
    order::Order,
    policy::Policy,
    variant::Hold,
};

/// What a cart can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Come into being.
    Create {
        /// The customer, if it is not a guest's.
        customer: Option<CustomerId>,
        /// The browser session.
        session: Option<SessionId>,
        /// The store's policy.
        policy: Policy,
    },
    /// Put units of a variant in; where it is in already, that many more.
    Add {
        /// For a cart that does not exist yet: whose it will be.
        customer: Option<CustomerId>,
        /// For a cart that does not exist yet: the browser session.
        session: Option<SessionId>,
        /// The shop's id.
        variant: VariantId,
        /// Where it lives.
        ordinal: VariantOrdinal,
        /// Units, at least 1.
        quantity: u32,
        /// The campaign it is added from.
        campaign: Option<String>,
        /// The id a new hold will have.
        reservation: ReservationId,
        /// The store's policy.
        policy: Policy,
    },
    /// Change a line's units; an ended line is held again.
    Change {
        /// Which.
        line: LineId,
        /// Units from now on, at least 1.
        quantity: u32,
        /// The id a new hold will have.
        reservation: ReservationId,
        /// The store's policy.
        policy: Policy,
    },
    /// Take a line out.
    Remove {
        /// Which.
        line: LineId,
    },
    /// End: give everything back.
    Delete,
    /// Move every line's deadline.
    Extend {
        /// By how much, ms; the store's extension otherwise.
        by_ms: Option<i64>,
        /// The store's policy.
        policy: Policy,
    },
    /// Take over another cart's lines.
    Merge {
        /// The other cart.
        from: CartId,
        /// Whose quantities count where both have a variant.
        strategy: MergeStrategy,
        /// The store's policy.
        policy: Policy,
    },
    /// Have an order made.
    Checkout {
        /// The id the order will have.
        order: OrderId,
        /// The customer, if the shopper is known by now.
        customer: Option<CustomerId>,
        /// How long after the payment's deadline the variants' backstop is, ms.
        grace_ms: i64,
        /// The store's policy.
        policy: Policy,
    },
    /// From another cart: stand still and name your lines.
    Freeze {
        /// The other cart.
        into: CartId,
    },
    /// From another cart: it has your lines, end; or it has not, go on.
    Thaw {
        /// The other cart.
        into: CartId,
        /// Whether it has them.
        merged: bool,
    },
    /// From the cart's order: this is how it stands now.
    OrderStands {
        /// The order: paid, failed (its holds are back in the cart phase) or over.
        order: Box<Order>,
        /// The cart is the shopper's again.
        reopen: bool,
    },
    /// From a restart: no variant keeps this hold any more.
    HoldLost {
        /// The hold.
        reservation: ReservationId,
    },
    /// From a variant: somebody else changed or ended one of the holds.
    HoldChanged(Box<Hold>),
    /// From a variant: it keeps this hold for the cart, which may know nothing of it: word of it came late.
    HoldFound(Box<Hold>),
}
