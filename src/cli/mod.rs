//! The operator's commands.
pub mod demo;
