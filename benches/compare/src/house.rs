//! The domain of Holdfast, compiled from its own source: what a hold costs in memory, without keys, log or HTTP.
//!
//! Neighbour: `floor` of the program. Nothing else of Holdfast comes in here; it is measured from outside.

#[macro_use]
#[path = "../../../src/planted.rs"]
mod planted;

#[allow(dead_code, reason = "what the floors above it use is not used here")]
#[path = "../../../src/domain/mod.rs"]
pub mod domain;
