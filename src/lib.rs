//! # Holdfast: the map of the house
//!
//! Holdfast holds units of stock for shoppers while they check out. One reservation travels like this:
//!
//! ```text
//!  http ──► app ──► actor ──► storage::journal ──► (device sync) ──► storage::projection ──► answer
//!            \________\___________\____► domain (pure: std and thiserror only)
//! ```
//!
//! Calls go down, facts go up; `tests/it/tidy.rs` enforces the floors.
//!
//! | floor | what it is | what it never does |
//! |---|---|---|
//! | [`domain`] | what is true about stock: `decide` reads and may refuse, `apply` changes and cannot | async, serde, disk, clock, randomness |
//! | [`storage`] | records, journal (queue, writer thread, back ends), checkpoint, stored rows, projections, keys, recovery, the checker of the laws, portable snapshots | sees ractor or axum |
//! | [`actor`] | ractor shells: variant, bulk coordinator, lists that happen as one (`together`), one for carts and orders (`agent`), supervisor; the directory that routes and the timers | decide what is true |
//! | [`app`] | use cases, one file per noun; transport-free errors | know HTTP |
//! | [`http`] | translate in, translate out: router, bodies, problems, listeners | decide |
//! | [`telemetry`] | every metric name with unit and help; tracing set-up | |
//! | [`cli`] | the operator's commands | |
//! | [`config`], [`clock`] | every limit by name; the only readers of wall time | |
//! | [`workers`] | who steps the loops that wait for the disk: threads, or a simulation | |
//! | [`planted`] | faults for testing the tests, in debug builds with a feature | touch a release |
#[cfg(all(feature = "planted-faults", not(debug_assertions)))]
compile_error!("planted-faults is for debug builds: nobody is to be served by a build with faults in it");

#[macro_use]
pub mod planted;

pub mod actor;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod storage;
pub mod telemetry;
pub mod workers;
