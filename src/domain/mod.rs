//! What is true about stock.
pub mod time;
