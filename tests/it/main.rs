//! The integration tests: one binary, a module per topic.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the cases it is about"
)]
mod bulk_model;
mod model;
mod scenario;
mod tidy;
mod world;
