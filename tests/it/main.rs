//! The integration tests: one binary, one module per topic.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails, its numbers are small, and it names the cases it is about"
)]
mod bench;
mod bulk_model;
mod cart;
mod cli;
mod demo_shop;
mod fuzz;
mod http_edge;
mod http_pages;
mod journal;
mod kill;
mod model;
mod record;
mod record_golden;
mod recovery;
mod restore;
mod saga;
mod scenario;
mod server;
mod shop;
mod snapshot_cli;
mod snapshot_file;
mod socket;
mod stops;
mod strategies;
mod tidy;
mod world;
