//! The run from start to table.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::arena::{Arena, POSTGRES_SETTINGS, Programs};
use crate::cores::{Cores, Times};
use crate::load::Length;
use crate::plan::{RIVALS, Rival, Step, Way, steps};
use crate::server::User;
use crate::table::{Book, Leg, failed};
use crate::trouble::Trouble;
use crate::{note, say, tune};

/// The longest that one leg may take, with start, check and end.
const LEG_MAX: Duration = Duration::from_secs(90);
/// A core that is busier than this before the run is somebody else's.
const QUIET: f64 = 0.1;

/// What the operator says; `run.sh` fills in where the programs are.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The holdfast program to measure
    #[arg(long, value_name = "PROGRAM")]
    holdfast: PathBuf,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Measured seconds of a leg, after half a second of warm-up
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// HTTP connections, each with one request under way
    #[arg(long, value_name = "C", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Where the run's directory goes, on the disk that is meant
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Also write the table to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only these rivals: redis, postgres, floors
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = ["redis", "postgres", "floors"])]
    only: Vec<String>,
    /// The whole run ends after so many seconds, whatever it does
    #[arg(long, value_name = "S", default_value_t = 1_800)]
    limit: u64,
    /// The client's core
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    client_core: usize,
    /// The servers' cores
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    server_cores: Vec<usize>,
    /// The redis-server program
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis: PathBuf,
    /// Where postgres and initdb are
    #[arg(long, value_name = "DIR", default_value = ".")]
    postgres_bin: PathBuf,
    /// Numbers of the user and the group that PostgreSQL runs as: it refuses to be root
    #[arg(long, value_name = "UID:GID", value_parser = user)]
    postgres_user: Option<(u32, u32)>,
    /// A line about machine and versions for the head of the table
    #[arg(long, value_name = "TEXT", default_value = "")]
    told: String,
}

fn user(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').ok_or("UID:GID")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    Ok((number(user)?, number(group)?))
}

/// Measures and tells; whether every law held and every leg came to a figure.
pub(crate) fn run(args: &RunArgs) -> Result<bool, Trouble> {
    let cores = Cores::new(args.client_core, &args.server_cores)?;
    cores.pin_client()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Trouble::system("start the runtime"))?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(Trouble::system("listen for signals"));
        let (mut interrupt, mut terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        // Whatever ends first, the rest is dropped: children end, the directory goes.
        tokio::select! {
            whole = measure(args, cores) => whole,
            _ = interrupt.recv() => Err(Trouble::Ended("interrupted")),
            _ = terminate.recv() => Err(Trouble::Ended("terminated")),
            () = passed(Duration::from_secs(args.limit)) => Err(Trouble::Ended("its limit in time")),
        }
    })
}

async fn passed(length: Duration) {
    tokio::time::timeout(length, std::future::pending::<()>())
        .await
        .ok();
}

async fn measure(args: &RunArgs, cores: Cores) -> Result<bool, Trouble> {
    let begun = Instant::now();
    let busy_before = busy_now(&cores).await;
    let rivals: Vec<Rival> = RIVALS
        .into_iter()
        .filter(|rival| args.only.is_empty() || args.only.iter().any(|only| only == rival.who.group()))
        .collect();
    let programs = Programs {
        holdfast: whole_path(&args.holdfast)?,
        redis: args.redis.clone(),
        postgres_bin: args.postgres_bin.clone(),
        own: std::env::current_exe().map_err(Trouble::system("find this program"))?,
    };
    let length = Length {
        warmup: Duration::from_millis(500),
        measured: Duration::from_secs(args.seconds),
    };
    let mut arena = Arena::new(
        &args.dir,
        cores.clone(),
        programs,
        usize::from(args.connections),
        length,
    )?;
    if rivals.iter().any(|rival| rival.who.group() == "postgres") {
        let user: User = args.postgres_user;
        arena.start_postgres(user).await?;
    }
    let settings = tune::settings(&mut arena, &rivals).await;
    let mut book = Book::new(rivals.clone(), usize::from(args.rounds));
    for round in 0..usize::from(args.rounds) {
        for step in steps(rivals.len(), round) {
            match step {
                Step::Holdfast(pair) => {
                    let leg = bounded(arena.holdfast()).await;
                    progress(args, round, "Holdfast durable HTTP", &leg);
                    book.holdfast[round][pair] = Some(leg);
                }
                Step::Rival(at) => {
                    let Rival { who, way } = rivals[at];
                    let leg = bounded(arena.rival(rivals[at])).await;
                    progress(
                        args,
                        round,
                        &[who.store(), who.mode(), way.name()].join(" "),
                        &leg,
                    );
                    book.rival_legs[round][at] = Some(leg);
                }
            }
        }
    }
    drop(arena);
    let busy = [busy_before, busy_now(&cores).await];
    let text = report(args, &cores, &book, &settings, busy, begun.elapsed());
    say(&text)?;
    if let Some(path) = &args.out {
        std::fs::write(path, &text).map_err(Trouble::system(format!("write {}", path.display())))?;
    }
    Ok(book.is_whole())
}

/// Children are started in other directories.
fn whole_path(path: &PathBuf) -> Result<PathBuf, Trouble> {
    std::fs::canonicalize(path).map_err(Trouble::system(format!("find {}", path.display())))
}

async fn busy_now(cores: &Cores) -> (f64, f64) {
    let begun = Times::now(cores);
    passed(Duration::from_secs(1)).await;
    begun.busy_until(&Times::now(cores))
}

/// A leg, or why there is none.
async fn bounded(leg: impl Future<Output = Result<Leg, Trouble>>) -> Leg {
    match tokio::time::timeout(LEG_MAX, leg).await {
        Ok(Ok(leg)) => leg,
        Ok(Err(trouble)) => failed(trouble.to_string()),
        Err(_) => failed(format!("not at its end after {LEG_MAX:?}")),
    }
}

fn progress(args: &RunArgs, round: usize, name: &str, leg: &Leg) {
    let verdict = leg.verdict.as_ref().map_or(String::new(), ToString::to_string);
    let trouble = leg.trouble.as_deref().unwrap_or_default();
    note(&format!(
        "round {}/{}  {name:<40} {:>9.0}/s  {verdict} {trouble}",
        round + 1,
        args.rounds,
        leg.rate
    ));
}

fn report(
    args: &RunArgs,
    cores: &Cores,
    book: &Book,
    settings: &[String],
    busy: [(f64, f64); 2],
    took: Duration,
) -> String {
    let mut out = String::new();
    let RunArgs {
        rounds,
        seconds,
        connections,
        ..
    } = args;
    let most = busy
        .iter()
        .map(|(client, servers)| client.max(*servers))
        .fold(0.0, f64::max);
    let quiet = if most > QUIET { "**not quiet**" } else { "quiet" };
    let [before, after] =
        busy.map(|(client, servers)| format!("{:.0} % and {:.0} %", client * 100.0, servers * 100.0));
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string");
    if !args.told.is_empty() {
        line(args.told.clone());
    }
    line(format!(
        "{rounds} rounds of legs of {seconds} s, {connections} HTTP connections, client on core {}, servers on {}; {} s in all. The cores \
         were {before} busy before the run, {after} after it: {quiet}.\n",
        cores.client,
        cores.servers_text(),
        took.as_secs(),
    ));
    out.push_str(&book.markdown());
    if !settings.is_empty() {
        out.push_str("\nHow the stores were asked natively, the fastest of what was tried:\n\n");
        for setting in settings {
            writeln!(out, "- {setting}").expect("writing to a string");
        }
    }
    if book
        .rivals
        .iter()
        .any(|rival| rival.who.group() == "postgres" && rival.way != Way::Bare)
    {
        writeln!(
            out,
            "\nPostgreSQL's settings: `{}`.",
            POSTGRES_SETTINGS.join("` `")
        )
        .expect("writing to a string");
    }
    out
}
