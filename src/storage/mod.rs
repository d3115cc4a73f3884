//! The only floor that sees sled, bincode and the disk: records, journal, stored states, recovery, portable snapshots.
//!
//! | module | what it is |
//! |---|---|
//! | [`record`], `dto` | what a record says, and its bytes; [`record_words`] tells it to a person |
//! | [`journal`] | the log: queue, writer thread, back ends |
//! | [`state`] | the stored rows: entity states, ended reservations, keys, ledger |
//! | [`checkpoint`], [`trim_holds`] | the follower of the log that keeps the rows up to date, and who still needs the log |
//! | [`past`] | what is still known of a variant's past |
//! | [`projection`] | lists and statistics |
//! | [`recovery`] | from rows and log to a house that goes on; verify |
//! | [`restore`] | from a portable snapshot and the log behind it to a new epoch, cut at any record or instant |
//! | [`keys`] | the idempotency keys of a partition |
//! | [`laws`] | the laws over a whole log, record by record |
//! | [`archive`] | trimmed groups of the log, kept a while longer |
//! | [`snapshot`] | the portable file |
//! | [`spool`] | a body too large for memory |
//! | [`entity_rows`], `agents` | where entities lie in the rows; carts and orders as rows and log see them |
//! | [`checkup`] | what an operator asks of the disk before anything is opened |
//! | [`engine`], [`data_dir`], [`lineage`] | sled opened the safe way; lock, epochs and reserve of a data directory; which epoch began from where |
mod agents;
pub mod archive;
pub mod checkpoint;
pub mod checkup;
pub mod data_dir;
pub mod disk_reserve;
pub mod dto;
pub mod engine;
pub mod entity_rows;
mod fate;
pub mod journal;
pub mod keys;
pub mod laws;
pub mod lineage;
pub mod past;
pub mod projection;
pub mod record;
pub mod record_words;
pub mod recovery;
pub mod restore;
pub mod snapshot;
pub mod spool;
pub mod state;
pub mod trim_holds;
