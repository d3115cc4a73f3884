//! What is true about stock.
