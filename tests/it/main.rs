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
mod crash_states;
mod crowd;
mod demo_shop;
mod directory;
mod disk_faults;
mod fuzz;
mod http_edge;
mod http_pages;
mod journal;
mod kill;
mod linear;
mod model;
mod operators;
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
mod stock_commands;
mod stops;
mod strategies;
mod tidy;
mod world;

/// Says what a test did, also where its output is not shown: figures, and what could not be checked.
fn report(line: &str) {
    let mut out = std::io::stdout();
    std::io::Write::write_all(&mut out, format!("{line}\n").as_bytes()).unwrap();
}

/// Random stories of a model test: as many as usual, or `HOLDFAST_STORIES` times as many.
fn stories(usual: u32) -> proptest::test_runner::Config {
    let times = std::env::var("HOLDFAST_STORIES").map_or(1, |text| text.parse().expect("a number"));
    proptest::test_runner::Config {
        cases: usual * times,
        ..Default::default()
    }
}
