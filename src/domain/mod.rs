//! What is true about stock: pure state machines, one folder per noun.
//!
//! Every noun has the same shape: `decide(&self, command, now)` only reads and may refuse; `apply(&mut self, event)`
//! only changes and cannot refuse. Time, ids and policy terms are arguments, so that replay gives the same state on any
//! machine. Neighbours: `actor` calls `decide` and `apply`, `storage` translates events to bytes.
//!
//! Carts and orders work through others: see [`agent`].
//!
//! Deliberately absent: async, serde, disk, clock, randomness, floats, hash order.
pub mod agent;
pub mod agree;
pub mod bulk;
pub mod cart;
pub mod ids;
pub mod key;
pub mod law;
pub mod money;
pub mod order;
pub mod policy;
pub mod rewind;
pub mod rules;
pub mod time;
pub mod variant;
