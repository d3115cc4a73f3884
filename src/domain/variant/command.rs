//! What a variant can be asked to do.
use super::{
    head::{SaleState, Settings},
    hold::{Fulfilment, Hold, Phase, Shopper},
    import::Import,
};
use crate::domain::{
    bulk::Attempt,
    ids::{OrderId, ReservationId},
    policy::Terms,
    time::Timestamp,
};

/// For which order a hold is made or kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForOrder {
    /// The order.
    pub order: OrderId,
    /// The variant's own backstop, for an order that is lost: later than the order's payment deadline.
    pub pay_by: Timestamp,
}

/// A request to hold units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The id the reservation will have.
    pub id: ReservationId,
    /// Units wanted, at least 1.
    pub quantity: u32,
    /// For whom.
    pub shopper: Shopper,
    /// The length asked for, ms, at least 1; the variant's or the store's otherwise.
    pub ttl_ms: Option<i64>,
    /// Fewer units are welcome.
    pub allow_partial: bool,
    /// The store's terms for this shopper.
    pub terms: Terms,
    /// An order asks: the hold is in the payment phase at once.
    pub for_order: Option<ForOrder>,
}

/// A sale that is a fact already: made before the shop was put back, or where Holdfast was not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sell {
    /// The id the reservation will have.
    pub id: ReservationId,
    /// Units sold, at least 1.
    pub quantity: u32,
    /// To whom.
    pub shopper: Shopper,
    /// The shop's order.
    pub order: Option<OrderId>,
}

/// A request to move a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Which reservation.
    pub id: ReservationId,
    /// By how much, ms; the store's extension otherwise.
    pub by_ms: Option<i64>,
    /// Into which phase; the present one otherwise.
    pub phase: Option<Phase>,
    /// The store's terms.
    pub terms: Terms,
    /// The version the asker knows: a hold that is past it has been extended already.
    pub seen: Option<u32>,
}

/// A request to sell held units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// Which reservation.
    pub id: ReservationId,
    /// Fewer than held, at least 1: the rest is given back. All otherwise.
    pub quantity: Option<u32>,
    /// The shop's order.
    pub order: Option<OrderId>,
}

/// A request about units already sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterSale {
    /// Which reservation.
    pub id: ReservationId,
    /// Units; all that remain otherwise.
    pub quantity: Option<u32>,
    /// Whether the units can be sold again.
    pub restock: bool,
    /// The reservation as it was stored when it was closed, if the variant no longer keeps it.
    pub closed: Option<Box<Hold>>,
    /// Who asks, for the ledger.
    pub by: String,
    /// How long a returned reservation stays within reach, ms.
    pub keep_ms: i64,
}

/// What an order tells a reservation of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderStep {
    /// It is paid: sell. Judged by that moment, not by when the variant hears of it.
    Confirm {
        /// When the order accepted the payment.
        paid_at: Timestamp,
    },
    /// It came to nothing: give back.
    Release,
    /// It came to nothing: the hold is the cart's again.
    Reopen {
        /// How long the cart has it, ms, where the variant does not say otherwise.
        ttl_ms: i64,
    },
    /// After the sale: how many units have moved altogether, so that asking twice moves nothing twice.
    Totals {
        /// The totals wanted.
        fulfilment: Fulfilment,
        /// Whether units that are cancelled or come back can be sold again.
        restock: bool,
        /// The reservation as the order knows it, if the variant no longer keeps it.
        closed: Option<Box<Hold>>,
        /// Who asks, for the ledger.
        by: String,
        /// How long a returned reservation stays within reach, ms.
        keep_ms: i64,
    },
}

/// What a coordinator wants to do to one reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Hold units tentatively.
    Reserve(Reserve),
    /// Move a deadline.
    Extend(Extend),
    /// Sell.
    Confirm(ReservationId),
    /// Give back.
    Release(ReservationId),
    /// Move from the cart into the payment phase of an order.
    Pay {
        /// Which.
        id: ReservationId,
        /// For whom the order is: a guest may have become a customer since, who has limits of their own.
        shopper: Shopper,
        /// The store's terms for them.
        terms: Terms,
        /// Whose it will be.
        for_order: ForOrder,
    },
}

/// What a variant can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Enter the shop.
    Create {
        /// What the shop says about it.
        settings: Box<Settings>,
        /// The first stock.
        on_hand: u64,
        /// Who asks.
        by: String,
    },
    /// Replace description and rules.
    Change {
        /// All of them.
        settings: Box<Settings>,
    },
    /// Set the units on hand.
    SetStock {
        /// Units counted.
        on_hand: u64,
        /// Who asks.
        by: String,
    },
    /// Book units in or out.
    Adjust {
        /// Units in (positive) or out.
        delta: i64,
        /// Why.
        reason: String,
        /// The caller's document.
        reference: Option<String>,
        /// Units on hand the caller believes in.
        expected_on_hand: Option<u64>,
        /// Who asks.
        by: String,
    },
    /// Open, pause or drain.
    SetSale {
        /// From now on.
        sale: SaleState,
    },
    /// Enter the shop or change, as a line of an import says.
    Import(Box<Import>),
    /// Leave the shop.
    Delete,
    /// Hold units.
    Reserve(Reserve),
    /// Book a sale that was made already.
    Sell(Sell),
    /// A cart puts a line in: hold units if this variant takes them so early, otherwise only say whether it could.
    Take(Reserve),
    /// Move a deadline.
    Extend(Extend),
    /// Change a quantity.
    Resize {
        /// Which reservation.
        id: ReservationId,
        /// Units from now on, at least 1.
        quantity: u32,
        /// The store's terms.
        terms: Terms,
    },
    /// Sell.
    Confirm(Confirm),
    /// Give back.
    Release {
        /// Which reservation.
        id: ReservationId,
    },
    /// Say how a reservation stands.
    Look {
        /// Which.
        id: ReservationId,
    },
    /// A reservation changes hands with its cart. Fewer units if that is what the new shopper wants or may have.
    Rehome {
        /// Which reservation.
        id: ReservationId,
        /// Whose it is from now on.
        shopper: Shopper,
        /// Units wanted, at least 1.
        quantity: u32,
        /// The store's terms for the new shopper.
        terms: Terms,
    },
    /// Two reservations of merged carts become one, in one turn.
    Fold {
        /// The one that stays.
        into: ReservationId,
        /// The one that ends, if the other cart had a live one.
        from: Option<ReservationId>,
        /// Units wanted, at least 1.
        quantity: u32,
        /// The store's terms.
        terms: Terms,
        /// The version of the one that stays that the asker knows: one past it whose other has ended was folded already.
        seen: Option<u32>,
    },
    /// An order tells a reservation of its own how it goes on.
    ForOrder {
        /// The order.
        order: OrderId,
        /// Which reservation.
        id: ReservationId,
        /// How.
        step: OrderStep,
    },
    /// Give back what is due, as the timer does.
    Cleanup,
    /// Sold units leave.
    Fulfil(AfterSale),
    /// Sold units are cancelled before they leave.
    Cancel(AfterSale),
    /// Shipped units come back.
    Return(AfterSale),
    /// A coordinator asks for a promise.
    Prepare {
        /// Whose.
        attempt: Attempt,
        /// For what.
        prepare: Prepare,
    },
    /// A coordinator has decided about what it prepared.
    Settle {
        /// Whose promise.
        attempt: Attempt,
        /// About which reservation.
        id: ReservationId,
        /// Do it, or let go.
        commit: bool,
        /// When it was decided; the reservation's deadline is judged by this moment.
        decided_at: Timestamp,
        /// For whom the order is that has the reservation from now on.
        shopper: Option<Shopper>,
    },
    /// Do it only if what it is about is as the caller saw it.
    IfVersion {
        /// The version seen: of the reservation that the command names, or of the variant.
        version: u64,
        /// What to do then.
        command: Box<Command>,
    },
}

impl Command {
    /// This, if what it is about has that version; `None` takes any.
    pub fn if_version(self, version: Option<u64>) -> Self {
        match version {
            Some(version) => Self::IfVersion {
                version,
                command: Box::new(self),
            },
            None => self,
        }
    }
}
