//! Records, journal, stored states, recovery, portable snapshots.
pub mod engine;
pub mod journal;
pub mod record;
pub mod snapshot;
pub mod state;
