//! Carts and orders as rows and log see them: one whole state each, replaced by the next record.
use super::{
    dto::{self, FormatError},
    entity_rows,
};
use crate::domain::{
    agent::Agent,
    cart::Cart,
    ids::{CustomerId, StoreId},
    law::Violation,
    order::Order,
    time::Timestamp,
};

/// An agent that is stored. Whatever is read from rows and records has an id made here.
pub(super) trait StoredAgent: Clone + PartialEq + Sized {
    /// The first byte of its rows' keys.
    const KIND: u8;
    /// What it is called.
    const NOUN: &'static str;

    /// The bits of its id.
    fn bits(&self) -> u128;
    /// Counts its records.
    fn revision(&self) -> u64;
    /// Whose shop.
    fn store(&self) -> &StoreId;
    /// The customer, if it is not a guest's.
    fn customer(&self) -> Option<&CustomerId>;
    /// Its bytes.
    fn encode(&self) -> Vec<u8>;
    /// Reads it.
    fn decode(bytes: &[u8]) -> Result<Self, FormatError>;
    /// Whether it is in the middle of something.
    fn is_working(&self) -> bool;
    /// When something happens in it by itself.
    fn next_deadline(&self) -> Option<Timestamp>;
    /// Its own laws.
    fn check(&self) -> Result<(), Violation>;
}

macro_rules! stored {
    ($agent:ty, $noun:literal, $kind:expr, $encode:path, $decode:path) => {
        impl StoredAgent for $agent {
            const KIND: u8 = $kind;
            const NOUN: &'static str = $noun;

            fn bits(&self) -> u128 {
                self.id
                    .bits()
                    .expect("it was read back, so its id was made here")
            }

            fn revision(&self) -> u64 {
                self.revision
            }

            fn store(&self) -> &StoreId {
                &self.store
            }

            fn customer(&self) -> Option<&CustomerId> {
                self.customer.as_ref()
            }

            fn encode(&self) -> Vec<u8> {
                $encode(self)
            }

            fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
                $decode(bytes)
            }

            fn is_working(&self) -> bool {
                Agent::is_working(self)
            }

            fn next_deadline(&self) -> Option<Timestamp> {
                Agent::next_deadline(self)
            }

            fn check(&self) -> Result<(), Violation> {
                Agent::check(self)
            }
        }
    };
}

stored!(
    Cart,
    "cart",
    entity_rows::CART,
    dto::encode_cart,
    dto::decode_cart
);
stored!(
    Order,
    "order",
    entity_rows::ORDER,
    dto::encode_order,
    dto::decode_order
);
