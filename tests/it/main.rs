//! The one integration binary: a module per topic.
mod journal;
