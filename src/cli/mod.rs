//! The operator's commands.
//!
//! Data goes to stdout, messages to stderr; `--json` turns both into objects. Every command ends in an [`Exit`]; a
//! [`Failure`] carries the code, the message and the command that helps next. One file per command.
pub mod bench;
mod commit;
mod completions;
mod config;
mod data_dir;
pub mod demo;
mod doctor;
mod exit;
mod export;
mod figures;
mod healthcheck;
mod history;
mod import;
mod man;
mod nouns;
pub mod online;
mod openapi;
mod options;
mod order;
mod output;
mod reservation;
mod restore;
mod serve;
mod snapshot;
mod status;
pub mod table;
mod top;
mod variant;
mod verify;
mod wal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use options::ConfigOptions;
pub use output::Output;

/// Holds stock for shoppers: sells no unit twice, loses nothing it answered.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Start here:\n  holdfast serve --demo\n\nA server that wants a key is shown the one in HOLDFAST__AUTH__ADMIN_KEY."
)]
struct Arguments {
    /// Data and messages as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeOptions),
    /// Measure a server under load and check every answer
    Bench(Box<bench::BenchArgs>),
    /// Check the laws over a data directory that no server uses, or over a snapshot file
    Verify(verify::VerifyOptions),
    /// Put a shop back from a snapshot, to any record or moment
    Restore(restore::RestoreOptions),
    /// Take, look at, verify and copy portable snapshots
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Show how a running server is
    Status(status::StatusOptions),
    /// Watch what is hot
    Top(top::TopOptions),
    /// Look at the log, or cut it where it breaks
    #[command(subcommand)]
    Wal(wal::WalCommand),
    /// Look at what the shop sells
    #[command(subcommand)]
    Variant(variant::VariantCommand),
    /// Look at what is held
    #[command(subcommand)]
    Reservation(reservation::ReservationCommand),
    /// Look at what was checked out
    #[command(subcommand)]
    Order(order::OrderCommand),
    /// Take a shop's list over into a running server
    Import(import::ImportOptions),
    /// Write a shop's list
    Export(export::ExportOptions),
    /// Check that this machine is fit to serve a data directory
    Doctor(doctor::DoctorOptions),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make the demo shop's snapshot from its published sources
    #[command(subcommand)]
    Demo(demo::DemoCommand),
    /// Print the completions of a shell
    Completions(completions::CompletionsOptions),
    /// Print the manual page, or write all of them
    Man(man::ManOptions),
    /// Print the OpenAPI document
    Openapi,
    /// Ask a running server whether it is ready
    Healthcheck(healthcheck::HealthcheckOptions),
}

impl Command {
    fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Serve(options) => serve::run(&options, output),
            Self::Bench(args) => bench::run(&args, output),
            Self::Verify(options) => verify::run(&options, output),
            Self::Restore(options) => restore::run(&options, output),
            Self::Status(options) => status::run(&options, output),
            Self::Top(options) => top::run(&options, output),
            Self::Snapshot(command) => snapshot::run(&command, output),
            Self::Wal(command) => wal::run(&command, output),
            Self::Variant(command) => variant::run(&command, output),
            Self::Reservation(command) => reservation::run(&command, output),
            Self::Order(command) => order::run(&command, output),
            Self::Import(options) => import::run(&options, output),
            Self::Export(options) => export::run(&options, output),
            Self::Doctor(options) => doctor::run(&options, output),
            Self::Config(command) => config::run(command, output),
            Self::Demo(command) => demo::run(&command, output),
            Self::Completions(options) => completions::run(&options, output),
            Self::Man(options) => man::run(&options, output),
            Self::Openapi => openapi::run(output),
            Self::Healthcheck(options) => healthcheck::run(&options, output),
        }
    }
}

/// Runs the command that `arguments` (the program's name first) ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(told) => return tell(&told).into(),
    };
    let output = Output::new(arguments.json);
    match arguments.command.run(output) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.code.into()
        }
    }
}

/// Prints what the parser has to say: help and version to stdout, a wrong usage with its suggestion to stderr.
fn tell(told: &clap::Error) -> Exit {
    // A reader that has closed its end wants no more: the code says the rest.
    let _ = told.print();
    if told.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
