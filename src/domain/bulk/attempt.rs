//! One try of a coordinator.
use crate::domain::ids::BulkId;

/// A coordinator may try twice, and a key may be used again after a try was given up: each try has its own number, so
/// that late messages of an earlier one find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// The coordinator.
    pub bulk: BulkId,
    /// Counts from 1 over the coordinator's whole life.
    pub number: u32,
}
