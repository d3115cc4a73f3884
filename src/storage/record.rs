//! What a record says: one atomic turn of one entity. `dto` turns it into bytes and back.
pub use crate::domain::key::KeyMark;
use crate::domain::{
    bulk, cart,
    ids::{BulkId, StoreId, VariantId, VariantOrdinal},
    order,
    policy::PolicyChanged,
    rules::Gate,
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
    /// To the log itself: other rules hold from here on. The first record of every log is one.
    Gate(Gate),
    /// Nothing: a request succeeded without one record of an entity that could say so, and its answer is remembered.
    Told(Told),
    /// To a cart.
    Cart(Box<CartFact>),
    /// To an order.
    Order(Box<OrderFact>),
}

/// What was told of a success that changed nothing, or nothing that one record could say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// That it is done.
    Done,
    /// A reservation as it stood.
    Reservation(Box<variant::Hold>),
    /// A variant as it stood.
    Variant(Box<variant::View>),
    /// What a clean-up found.
    CleanedUp {
        /// Holds that were due.
        due: u64,
        /// Holds given back by it.
        expired: u64,
    },
    /// What became of an import, line by line where nothing was done.
    Imported(Box<variant::ImportReport>),
    /// A snapshot that was taken or found whole, by its id; its file says the rest.
    Snapshot(String),
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
