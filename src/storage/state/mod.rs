//! Stored entity states.
pub mod filter;
