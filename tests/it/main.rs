//! What holds of the service as a whole, a module per topic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]
mod record;
mod record_golden;
mod strategies;
