//! What the house tells about itself: numbers for a collector, lines for a reader.
//!
//! | file | what it holds |
//! |---|---|
//! | `catalogue.rs` | every metric name with unit, help and buckets |
//! | `metrics.rs` | the handles other floors record with; rendering |
//! | `process.rs` | memory, descriptors and threads of the process |
//! | `tracing.rs` | the set-up of log lines |
//!
//! Other floors never write a metric's name: they use the handles of [`metrics::Metrics`].
//! Deliberately absent: labels per SKU, customer or key (their number is not bounded).
mod catalogue;
pub mod metrics;
mod process;
pub mod tracing;

pub use catalogue::{CATALOGUE, Kind, Spec};
pub(crate) use catalogue::{COMMANDS, EXPIRY_LAG, JOURNAL_RECORDS, JOURNAL_SYNC_SECONDS, OVERSELL_UNITS};
pub use metrics::{Telemetry, install, metrics};
