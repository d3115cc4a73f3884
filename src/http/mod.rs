//! Translate in, translate out.
pub mod extract;
pub mod problem;
pub mod time;
