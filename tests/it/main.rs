//! The integration tests: one binary, one module per topic.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails, and its numbers are small"
)]
mod cli;
mod journal;
