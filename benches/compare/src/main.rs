//! # Holdfast beside its rivals
//!
//! One run measures Holdfast, Redis and PostgreSQL doing the same unit of work, and the floors below them, each pair in the order A B
//! B A, and has a checker read every store back. `run.sh` finds what is needed and starts it.
//!
//! | file | holds |
//! |---|---|
//! | [`run`] | the run from start to table |
//! | [`plan`] | who is compared, in which order |
//! | [`arena`] | one leg: servers, load, check |
//! | [`tune`] | the best setting of each store's client |
//! | [`load`], [`http`] | the closed loop and its HTTP connection |
//! | [`store`] | the rivals' clients; [`front`] the axum server before them; [`holdfast`] the same questions to Holdfast |
//! | [`floor`] | the domain in memory; write and sync |
//! | [`checker`] | the laws: pure |
//! | [`table`] | medians, ratios, Markdown |
//! | [`server`], [`cores`] | child processes and where they run |
//! | [`ask`], [`trouble`] | the unit of work; what can go wrong |

mod arena;
mod ask;
mod checker;
mod cores;
mod floor;
mod front;
mod holdfast;
mod http;
mod load;
mod plan;
mod run;
mod server;
mod store;
mod table;
mod trouble;
mod tune;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use front::Behind;
use trouble::Trouble;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Holdfast beside Redis, PostgreSQL and the floors
#[derive(Debug, clap::Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Runs the comparison
    Run(Box<run::RunArgs>),
    /// Serves a rival's front
    #[command(hide = true)]
    Front {
        #[arg(long)]
        behind: Behind,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        batch: usize,
    },
    /// Serves the echo
    #[command(hide = true)]
    Echo,
    /// Measures the domain in memory
    #[command(hide = true)]
    Domain {
        #[arg(long)]
        seconds: u64,
    },
    /// Measures write and sync in the working directory
    #[command(hide = true)]
    Syncs {
        #[arg(long)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match work(Args::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            note("a law was broken, or a leg came to no figure");
            ExitCode::FAILURE
        }
        Err(trouble) => {
            note(&format!("error: {trouble}"));
            ExitCode::FAILURE
        }
    }
}

fn work(command: Command) -> Result<bool, Trouble> {
    match command {
        Command::Run(args) => return run::run(&args),
        Command::Front {
            behind,
            port,
            connections,
            batch,
        } => serve(front::serve(behind, port, connections, batch))?,
        Command::Echo => serve(front::serve_echo())?,
        Command::Domain { seconds } => say(&format!("{}\n", floor::domain(Duration::from_secs(seconds))?))?,
        Command::Syncs { seconds } => {
            say(&format!(
                "{}\n",
                floor::syncs(Path::new("."), Duration::from_secs(seconds))?
            ))?;
        }
    }
    Ok(true)
}

/// A server's runtime: as many threads as it has cores, as in Holdfast.
fn serve(server: impl Future<Output = Result<(), Trouble>>) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Trouble::system("start the runtime"))?;
    runtime.block_on(server)
}

/// Data: to standard output.
fn say(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Trouble::system("write the output"))
}

/// For a person who waits: to standard error.
fn note(text: &str) {
    // Nobody is left to be told if it fails.
    writeln!(std::io::stderr(), "{text}").ok();
}
