//! `holdfast wal`: the log of a data directory that no server uses.
//!
//! | file | what it does |
//! |---|---|
//! | `inspect` | `inspect` and `tail`: units, kinds of facts, records |
//! | `record` | one record, member by member |
//! | `repair` | `verify` and `repair`: where it breaks, and what cutting it there would cost |
//!
//! Absent: following a log that is being written; a server's own readers do that.
mod inspect;
mod record;
mod repair;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::data_dir::{existing, lock};
use super::{ConfigOptions, Failure, Output};
use crate::app::recover_options;
use crate::storage::data_dir::DataDir;
use crate::storage::recovery::RecoverOptions;

/// The commands under `wal`.
#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// Show the files of the log, what is in them, and single records
    Inspect(inspect::InspectOptions),
    /// Show the last records
    Tail(inspect::TailOptions),
    /// Check the log from end to end and name its first break
    Verify(WalOptions),
    /// Cut a log that a start refuses, before its first break
    Repair(repair::RepairOptions),
}

/// Which log.
#[derive(Debug, Args)]
pub(super) struct WalOptions {
    /// Data directory that no server uses [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

impl WalOptions {
    /// Locks the data directory and says how its log is opened.
    fn open(&self) -> Result<(DataDir, RecoverOptions), Failure> {
        let loaded = existing(&self.config, self.data_dir.as_deref())?;
        let dir = lock(&loaded)?;
        let options = recover_options(&loaded.config)
            .as_found(&dir)
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok((dir, options))
    }
}

pub(super) fn run(command: &WalCommand, output: Output) -> Result<(), Failure> {
    match command {
        WalCommand::Inspect(options) => inspect::inspect(options, output),
        WalCommand::Tail(options) => inspect::tail(options, output),
        WalCommand::Verify(options) => repair::verify(options, output),
        WalCommand::Repair(options) => repair::repair(options, output),
    }
}
