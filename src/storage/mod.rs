//! Records, journal, stored states, recovery, portable snapshots.
pub mod data_dir;
pub mod disk_reserve;
pub mod engine;
pub mod journal;
pub mod keys;
pub mod snapshot;
pub mod state;
