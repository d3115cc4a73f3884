//! `holdfast bench`: how fast, and was it right?
//!
//! A run starts an own server on a temporary directory (or takes `--url`), makes its variants, sends one scenario's requests in rounds, and at the end
//! asks the server for its final state and judges every answer by the laws. A run that broke a law has no speed; a round whose
//! generator lagged has no latencies.
//!
//! | file | holds |
//! |---|---|
//! | [`schedule`] | intended send times, the run's clock, the pacer |
//! | [`scenario`] | which request comes next, and its bytes |
//! | [`wire`] | one keep-alive HTTP/1.1 connection |
//! | [`client`] | N connections under one pace, open or closed loop; books every answer |
//! | [`ledger`] | what the client saw, compact |
//! | [`round`] | what was measured |
//! | [`inspect`] | making variants; asking for the final state |
//! | [`verdict`] | the checker: pure, from ledger and final state |
//! | [`disk`] | the directory of the own server, and what a device sync costs there |
//! | [`server`], [`echo`] | the server under test and the floor, as child processes |
//! | [`run`] | one run from start to verdict; `run/evidence.rs` gathers what the checker judges, `run/overload.rs` asks for too much |
//! | [`report`] | table and JSON |
//! | [`shoppers`] | whole ways from cart to return, closed loop: `--scenario checkout`, `--replay FILE` |

use std::path::PathBuf;

use super::{Exit, Failure, Output};

mod client;
mod disk;
mod echo;
mod inspect;
mod ledger;
mod report;
mod round;
mod run;
mod scenario;
mod schedule;
mod server;
mod shoppers;
mod verdict;
mod wire;

pub use inspect::InspectError;
pub use run::{BenchError, Judgement};
pub use scenario::Scenario;
pub use schedule::Arrivals;
pub use server::ServerError;
pub use shoppers::OrdersError;
pub use wire::Lost;

/// Measures a server under load and checks every answer it gave.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  holdfast bench --scenario hot --rate 10000\n  holdfast bench --scenario hot --max --floor\n  \
    holdfast bench --scenario lifecycle --rate 5000 --seconds 30 --json\n  holdfast bench --scenario checkout\n  \
    holdfast bench --overload --seconds 60\n  holdfast bench --replay online-retail.csv.gz"
)]
pub struct BenchArgs {
    /// What the buyers do
    #[arg(long, value_enum, default_value_t = Scenario::Hot)]
    pub scenario: Scenario,
    /// Play a file of real orders (columns of the Online Retail data set, .csv or .csv.gz) as carts, checkouts and returns,
    /// and compare the stock left with plain arithmetic over the file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "max", "rate", "floor"])]
    pub replay: Option<PathBuf>,
    /// How many times faster than it happened a replay goes [default: as fast as the server answers]
    #[arg(long, value_name = "TIMES", requires = "replay", value_parser = positive_rate)]
    pub speed: Option<f64>,
    /// Open loop: requests a second, sent on schedule whatever the server does
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5_000.0, value_parser = positive_rate)]
    pub rate: f64,
    /// How the open loop spreads its requests
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,
    /// Closed loop instead: every connection always has a request under way (finds the maximum throughput)
    #[arg(long, conflicts_with_all = ["rate", "arrivals"])]
    pub max: bool,
    /// Ask for too much: a closed loop finds the most that the server can do, then so many connections ask without a pause,
    /// also when they are turned away, and the closed loop tells what is left a second later
    #[arg(long, value_name = "CONNECTIONS", conflicts_with_all = ["replay", "max", "rate", "arrivals", "floor", "url", "rounds"],
        num_args = 0..=1, require_equals = true, default_missing_value = "10000",
        value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub overload: Option<u32>,
    /// Measured seconds of a round
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Unmeasured seconds before each round
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub warmup: u32,
    /// Rounds; with --floor each is a pair, in the order A B B A, and 5 unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,
    /// Measure a bare axum JSON echo beside the server, in the same run, and print the ratio
    #[arg(long)]
    pub floor: bool,
    /// Keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// Variants to make [default: what the scenario needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub variants: Option<u32>,
    /// Units of each variant (the flooded variant of soldout always has 100)
    #[arg(long, value_name = "UNITS", default_value_t = 100_000_000)]
    pub stock: u64,
    /// Holds that fall due in one second (expiry-storm)
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub storm_holds: u64,
    /// Seed of schedule and scenario
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A running server, http://ADDRESS:PORT, instead of an own one; the run leaves its variants there
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The running server's operations listener, for /metrics
    #[arg(long, value_name = "URL", requires = "url")]
    pub ops_url: Option<String>,
    /// Journal back end of the own server
    #[arg(long, value_enum, conflicts_with = "url")]
    pub journal: Option<JournalKind>,
    /// Where the own server's temporary directory goes; it should be on the disk that is meant [default: the system's]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub dir: Option<PathBuf>,
    /// Processors: shared by both, or split (the generator gets the first half)
    #[arg(long, value_enum, default_value_t = Cpus::Shared)]
    pub cpus: Cpus,
    /// Only serve the echo: how the run starts its own floor
    #[arg(long, hide = true)]
    pub serve_echo: bool,
}

/// Runs the load test and prints its report.
///
/// # Errors
/// Exit code 1 when a law was broken, the generator lagged or the run came to no end; 2 for a bad URL; 6 when there is no
/// server at it.
pub(super) fn run(args: &BenchArgs, output: Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let judgement = runtime.block_on(async {
        if args.serve_echo {
            return echo::serve(output).await.map(|()| Judgement::Holds);
        }
        if args.replay.is_some() {
            return shoppers::replay(args, output).await;
        }
        let whole_ways = [Scenario::Checkout, Scenario::Echo].contains(&args.scenario);
        if args.overload.is_some() && whole_ways {
            let scenario = args.scenario.name();
            return Err(Failure::new(
                Exit::Usage,
                format!("--overload does not go with {scenario}"),
            ));
        }
        if args.scenario == Scenario::Checkout {
            return shoppers::checkout(args, output).await;
        }
        let result = run::run(args).await?;
        output.data(
            || report::as_table(args, &result),
            &report::as_json(args, &result),
        )?;
        Ok(result.judgement)
    })?;
    match judgement {
        Judgement::Holds => Ok(()),
        Judgement::Violated => Err(Failure::failed("a law was broken")),
        Judgement::Void => Err(Failure::failed("the load generator lagged: no latencies")),
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        let code = match &error {
            BenchError::Server(ServerError::Url(_)) => Exit::Usage,
            BenchError::Inspect(InspectError::Lost(Lost::Connect { .. })) => Exit::Unreachable,
            BenchError::Server(_) | BenchError::Inspect(_) | BenchError::Generator(_) => Exit::Failed,
        };
        Failure::new(code, error.to_string())
    }
}

/// The journal back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum JournalKind {
    /// sled.
    Sled,
    /// A plain append-only file.
    File,
}

impl JournalKind {
    /// Its value in the configuration.
    fn name(self) -> &'static str {
        match self {
            JournalKind::Sled => "sled",
            JournalKind::File => "file",
        }
    }
}

/// How generator and server share the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Cpus {
    /// The system decides.
    Shared,
    /// The generator has the first half, the servers the rest.
    Split,
}

fn positive_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000_000.0 => Ok(rate),
        _ => Err("a rate is a number above 0 and at most 10,000,000".to_owned()),
    }
}
