//! What a record says: one atomic turn of one entity. `dto` turns it into bytes and back.
pub use crate::domain::key::KeyMark;
use crate::domain::{
    bulk, cart,
    ids::{BulkId, StoreId, VariantId, VariantOrdinal},
    order,
    policy::PolicyChanged,
    time::Timestamp,
    variant,
};

/// One turn of one entity: what the record with its number says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The moment it was decided at.
    pub at: Timestamp,
    /// What happened.
    pub fact: Fact,
    /// The idempotency key of the command behind it; one record, so that key and effect cannot part.
    pub key: Option<KeyMark>,
}

/// What happened, by entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// To a variant.
    Variant(VariantFact),
    /// To a store's policy.
    Policy {
        /// Whose.
        store: StoreId,
        /// The change.
        changed: PolicyChanged,
    },
    /// To a bulk coordinator.
    Bulk {
        /// Which.
        id: BulkId,
        /// What.
        event: bulk::Event,
    },
    /// To a cart.
    Cart(Box<CartFact>),
    /// To an order.
    Order(Box<OrderFact>),
}

/// What happened to a variant in one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantFact {
    /// Which.
    pub ordinal: VariantOrdinal,
    /// Its revision after the last event.
    pub revision: u64,
    /// Store and id; said once, with the creation.
    pub named: Option<(StoreId, VariantId)>,
    /// In order; never empty.
    pub events: Vec<variant::Event>,
    /// The variant as it was answered, for keyed commands of the shop's side, so that a replay repeats the answer.
    pub view: Option<Box<variant::View>>,
}

/// A cart after one turn, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartFact {
    /// The whole of it from now on; answers are rebuilt from it.
    pub cart: cart::Cart,
    /// In order.
    pub happened: Vec<cart::Happened>,
}

/// An order after one turn, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderFact {
    /// The whole of it from now on; answers are rebuilt from it.
    pub order: order::Order,
    /// In order.
    pub happened: Vec<order::Happened>,
}
