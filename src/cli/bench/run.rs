//! One run from start to verdict.

mod evidence;
pub(super) mod overload;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use rustix::thread::CpuSet;

use super::client::{Load, Pace, run_round};
use super::disk::Directory;
use super::inspect::{self, InspectError};
use super::ledger::Ledger;
use super::report;
use super::round::{Round, Usage};
use super::scenario::{Plan, SOLDOUT_STOCK, Scenario, Target};
use super::schedule::{NANOS, Stopwatch};
use super::server::{Server, ServerError, address_of};
use super::verdict::Verdict;
use super::{BenchArgs, Cpus};
use crate::cli::output::progress_bar;
use crate::telemetry;

/// How long after a round its last answers are waited for.
const DRAIN: Duration = Duration::from_secs(10);
/// Between two looks at whether the servers are at rest, and how many looks are taken at most.
const SETTLE_LOOK: Duration = Duration::from_millis(250);
const SETTLE_LOOKS_MAX: u32 = 80;
/// Share of one processor below which a server is at rest.
const AT_REST: f64 = 0.05;
/// Pairs of rounds with `--floor` unless told (proof.md asks for at least 5).
const FLOOR_ROUNDS: u32 = 5;
/// Between the command to go and the first request: connections are made in this time.
const LEAD_NS: u64 = 100_000_000;
/// The slowest rate at which the holds of a storm are made in time.
const PRELOAD_PER_SECOND_MIN: u64 = 4_000;
/// Priority of the generator's thread: above the servers, so that its schedule is kept on a busy machine.
const GENERATOR_NICE: i32 = -10;
/// What of a storm is shown apart: from half a second before its moment to this long after.
const STORM_SHOWN_NS: u64 = 3 * NANOS;

/// Why a run came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server's state could not be made or read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The generator could not run.
    #[error("the load generator failed: {0}")]
    Generator(#[from] std::io::Error),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Every law was kept and the figures mean something.
    Holds,
    /// A law was broken: no speed.
    Violated,
    /// The generator lagged in most rounds: no latencies.
    Void,
}

/// Runs the load test.
///
/// # Errors
/// [`BenchError`] when it came to no verdict. A broken law is not an error but a [`Judgement`].
pub(super) async fn run(args: &BenchArgs) -> Result<RunResult, BenchError> {
    let mut bench = Bench::start(args).await?;
    let mut rounds = Vec::new();
    if let Some(connections) = args.overload {
        rounds = bench.overload(connections).await?;
    } else {
        for (number, target) in order(args).into_iter().enumerate() {
            bench.settle().await;
            let leg = bench.usual_leg(number as u64);
            rounds.push(bench.round(number as u64, target, leg).await?);
        }
    }
    let verdict = bench.verdict().await?;
    let mut setting = bench.setting();
    setting.stopped_cleanly = bench.stop().await;
    let judgement = judgement(&verdict, &rounds);
    Ok(RunResult {
        setting,
        rounds,
        verdict,
        judgement,
    })
}

/// Who is measured when: A B B A, so that a machine that grows slower favours neither.
fn order(args: &BenchArgs) -> Vec<Target> {
    if args.scenario == Scenario::Echo {
        return vec![Target::Echo; args.rounds.unwrap_or(1) as usize];
    }
    if !args.floor {
        return vec![Target::Holdfast; args.rounds.unwrap_or(1) as usize];
    }
    let pairs = args.rounds.unwrap_or(FLOOR_ROUNDS);
    let pair = |number: u32| match number % 2 {
        0 => [Target::Holdfast, Target::Echo],
        _ => [Target::Echo, Target::Holdfast],
    };
    (0..pairs).flat_map(pair).collect()
}

fn judgement(verdict: &Verdict, rounds: &[Round]) -> Judgement {
    let void = rounds.iter().filter(|round| round.is_void()).count();
    if !verdict.holds_up() {
        Judgement::Violated
    } else if 2 * void > rounds.len() {
        Judgement::Void
    } else {
        Judgement::Holds
    }
}

/// All that a run found out.
#[derive(Debug)]
pub(super) struct RunResult {
    /// What it measured on.
    pub(super) setting: Setting,
    /// Its rounds in order.
    pub(super) rounds: Vec<Round>,
    /// Whether the answers were right.
    pub(super) verdict: Verdict,
    /// How it ended.
    pub(super) judgement: Judgement,
}

/// What a run turned out to be, beside its arguments.
#[derive(Debug)]
pub(super) struct Setting {
    /// Variants made.
    pub(super) variants: u32,
    /// The data directory was in memory.
    pub(super) in_memory: bool,
    /// One append and sync of a plain file beside the server's data, nanoseconds.
    pub(super) sync_floor: Option<Histogram<u64>>,
    /// The server was this run's own.
    pub(super) own_server: bool,
    /// The run's own servers ended by themselves when asked to.
    pub(super) stopped_cleanly: bool,
}

/// How one round is asked for.
#[derive(Debug, Clone, Copy)]
struct Leg {
    pace: Pace,
    connections: u32,
    /// Unmeasured seconds before it.
    warmup: u32,
}

/// A run under way.
struct Bench<'a> {
    args: &'a BenchArgs,
    stopwatch: Stopwatch,
    /// The stock service; `None` when only the floor is measured.
    api: Option<SocketAddr>,
    ops: Option<SocketAddr>,
    server: Option<Server>,
    echo: Option<Server>,
    in_memory: bool,
    sync_floor: Option<Histogram<u64>>,
    generator_cpus: Option<CpuSet>,
    /// Both are away while a round's thread has them.
    books: Option<(Plan, Ledger)>,
    stock: Vec<u64>,
    metrics_before: Option<String>,
    bar: ProgressBar,
}

impl<'a> Bench<'a> {
    async fn start(args: &'a BenchArgs) -> Result<Bench<'a>, BenchError> {
        let run = format!("{:012x}", fastrand::u64(..) >> 16);
        let variants = args.variants.unwrap_or_else(|| args.scenario.variants());
        let variants = if args.scenario == Scenario::Soldout {
            variants.max(2)
        } else {
            variants
        };
        let plan = Plan::new(args.scenario, variants, run.clone(), args.seed);
        let (generator_cpus, server_cpus) = split(args.cpus);
        let mut bench = Bench {
            args,
            stopwatch: Stopwatch::start(),
            api: None,
            ops: None,
            server: None,
            echo: None,
            in_memory: false,
            sync_floor: None,
            generator_cpus,
            books: None,
            stock: stock(args, variants),
            metrics_before: None,
            bar: progress_bar(),
        };
        if args.floor || args.scenario == Scenario::Echo {
            let arguments = ["bench", "--serve-echo"].map(str::to_owned).to_vec();
            bench.echo = Some(Server::start(arguments, None, server_cpus).await?);
        }
        if args.scenario != Scenario::Echo {
            bench.start_server(&run, server_cpus).await?;
            bench.make_variants(&plan).await?;
        }
        bench.books = Some((plan, Ledger::default()));
        Ok(bench)
    }

    async fn start_server(&mut self, run: &str, cpus: Option<CpuSet>) -> Result<(), BenchError> {
        if let Some(url) = &self.args.url {
            self.api = Some(address_of(url)?);
            self.ops = self.args.ops_url.as_deref().map(address_of).transpose()?;
            return Ok(());
        }
        let parent = self.args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = Directory::new(&parent, run)?;
        self.in_memory = directory.in_memory();
        self.bar.set_message("syncing the bare disk");
        let measured =
            tokio::task::spawn_blocking(move || directory.sync_floor().map(|floor| (floor, directory)));
        let (floor, directory) = measured.await.map_err(std::io::Error::other)??;
        self.sync_floor = Some(floor);
        let server = Server::in_directory(self.args, directory, cpus).await?;
        (self.api, self.ops) = (Some(server.api), Some(server.ops));
        self.server = Some(server);
        Ok(())
    }

    async fn make_variants(&mut self, plan: &Plan) -> Result<(), BenchError> {
        let Some(api) = self.api else { return Ok(()) };
        self.bar
            .set_message(format!("making {} variants", plan.variants()));
        inspect::make_variants(api, names(plan), self.stock.clone()).await?;
        self.metrics_before = self.metrics().await?;
        Ok(())
    }

    async fn metrics(&self) -> Result<Option<String>, BenchError> {
        match self.ops {
            Some(ops) => Ok(Some(inspect::metrics(ops).await?)),
            None => Ok(None),
        }
    }

    /// As the arguments say.
    fn usual_leg(&self, number: u64) -> Leg {
        let pace = if self.args.max {
            Pace::Closed
        } else {
            let seed = self.args.seed.wrapping_add(number);
            Pace::Open {
                rate: self.args.rate,
                arrivals: self.args.arrivals,
                seed,
            }
        };
        Leg {
            pace,
            connections: self.args.connections,
            warmup: self.args.warmup,
        }
    }

    async fn round(&mut self, number: u64, target: Target, leg: Leg) -> Result<Round, BenchError> {
        let address = match target {
            Target::Holdfast => self.api,
            Target::Echo => self.echo.as_ref().map(|echo| echo.api),
        };
        let address = address.expect("only servers that were started are in the order");
        let mut load = self.load(address, target, leg);
        if self.args.scenario == Scenario::ExpiryStorm && target == Target::Holdfast {
            load = self.preload(load).await?;
        }
        let used_before = self.child(target).map(Server::usage);
        let syncs_before = self.syncs(target).await?;
        self.bar
            .set_message(format!("round {}, {}", number + 1, report::name_of(target)));
        let mut round = self.drive(load).await?;
        let syncs = self
            .syncs(target)
            .await?
            .zip(syncs_before)
            .map(|(after, before)| after.saturating_sub(before));
        let used = self.child(target).map(Server::usage).zip(used_before);
        round.usage = used.map(|(after, before)| Usage {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            rss_bytes: after.rss_bytes,
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            syncs,
        });
        Ok(round)
    }

    /// The process of a target, when it is this run's own.
    fn child(&self, target: Target) -> Option<&Server> {
        match target {
            Target::Holdfast => self.server.as_ref(),
            Target::Echo => self.echo.as_ref(),
        }
    }

    /// Waits until the servers have finished what the last round left them to do (checkpoints, expiries): their own cost
    /// must not fall on the next round, least of all on the floor's.
    async fn settle(&self) {
        self.bar.set_message("waiting for the servers to come to rest");
        let cpu_seconds = || {
            let servers = [&self.server, &self.echo].into_iter().flatten();
            servers.map(|server| server.usage().cpu_seconds).sum::<f64>()
        };
        let mut before = cpu_seconds();
        for _ in 0..SETTLE_LOOKS_MAX {
            tokio::time::sleep(SETTLE_LOOK).await;
            let now = cpu_seconds();
            if now - before <= SETTLE_LOOK.as_secs_f64() * AT_REST {
                return;
            }
            before = now;
        }
    }

    fn load(&self, address: SocketAddr, target: Target, leg: Leg) -> Load {
        let start_ns = self.stopwatch.now_ns() + LEAD_NS;
        let measure_ns = start_ns + u64::from(leg.warmup) * NANOS;
        let end_ns = measure_ns + u64::from(self.args.seconds) * NANOS;
        Load {
            address,
            target,
            connections: leg.connections,
            pace: leg.pace,
            start_ns,
            measure_ns,
            end_ns,
            drain: DRAIN,
            storm: None,
        }
    }

    /// Makes the holds of a storm, all due in the middle of the round that follows; returns that round's load.
    async fn preload(&mut self, load: Load) -> Result<Load, BenchError> {
        let wait_ns = (self.args.storm_holds / PRELOAD_PER_SECOND_MIN + 2) * NANOS;
        let later = Load {
            start_ns: load.start_ns + wait_ns,
            measure_ns: load.measure_ns + wait_ns,
            end_ns: load.end_ns + wait_ns,
            ..load
        };
        let due_ns = later.measure_ns + (later.end_ns - later.measure_ns) / 2;
        let (plan, _) = self.books.as_mut().expect("no round is under way");
        plan.preload(self.args.storm_holds, due_ns);
        self.bar
            .set_message(format!("making {} holds", self.args.storm_holds));
        let make = Load {
            pace: Pace::Closed,
            measure_ns: later.start_ns,
            end_ns: later.start_ns,
            ..load
        };
        self.drive(make).await?;
        let (plan, _) = self.books.as_mut().expect("the round has ended");
        plan.go_live();
        Ok(Load {
            storm: Some((due_ns - NANOS / 2, due_ns + STORM_SHOWN_NS)),
            ..later
        })
    }

    /// Runs one round on a thread of its own, the bar moving meanwhile.
    async fn drive(&mut self, load: Load) -> Result<Round, BenchError> {
        let (plan, ledger) = self.books.take().expect("rounds follow each other");
        let (tell, told) = tokio::sync::oneshot::channel();
        let (cpus, stopwatch) = (self.generator_cpus, self.stopwatch);
        let thread = std::thread::Builder::new()
            .name("generator".to_owned())
            .spawn(move || {
                // An instrument should not wait in line behind what it measures. Only root may; without it, lag tells.
                rustix::process::nice(GENERATOR_NICE).ok();
                let pinned = cpus.map_or(Ok(()), |cpus| Ok(rustix::thread::sched_setaffinity(None, &cpus)?));
                let ran = pinned.and_then(|()| run_round(load, stopwatch, plan, ledger));
                // The receiver is gone only when the whole run was given up.
                drop(tell.send(ran));
            })?;
        let begun_ns = stopwatch.now_ns();
        self.bar
            .set_length(load.end_ns.saturating_sub(begun_ns) / 1_000_000);
        self.bar.reset();
        let memory = Cell::new(None);
        let ticks = async {
            loop {
                let now_ns = stopwatch.now_ns();
                self.bar.set_position((now_ns - begun_ns) / 1_000_000);
                if let Some(child) = self.child(load.target)
                    && (load.measure_ns..load.end_ns).contains(&now_ns)
                {
                    let is = child.usage().rss_bytes;
                    memory.set(Some(memory.get().map_or((is, is), |(first, _)| (first, is))));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let ran = tokio::select! {
            ran = told => ran,
            never = ticks => never,
        };
        let Ok(ran) = ran else {
            match thread.join() {
                Err(panicked) => std::panic::resume_unwind(panicked),
                Ok(()) => unreachable!("the thread answers before it ends"),
            }
        };
        let (plan, ledger, mut round) = ran?;
        round.memory = memory.get();
        self.books = Some((plan, ledger));
        Ok(round)
    }

    async fn syncs(&self, target: Target) -> Result<Option<u64>, BenchError> {
        if target == Target::Echo {
            return Ok(None);
        }
        Ok(self
            .metrics()
            .await?
            .and_then(|text| counter(&text, &syncs_metric(), &[])))
    }

    fn setting(&self) -> Setting {
        let (plan, _) = self.books.as_ref().expect("no round is under way");
        Setting {
            variants: plan.variants(),
            in_memory: self.in_memory,
            sync_floor: self.sync_floor.clone(),
            own_server: self.server.is_some(),
            stopped_cleanly: false,
        }
    }

    /// True when every server of this run ended by itself, with exit code 0.
    async fn stop(mut self) -> bool {
        self.bar.finish_and_clear();
        let mut clean = true;
        for server in [self.server.take(), self.echo.take()].into_iter().flatten() {
            clean &= server.stop().await;
        }
        clean
    }
}

/// The count of the journal's syncs.
fn syncs_metric() -> String {
    format!("{}_count", telemetry::JOURNAL_SYNC_SECONDS.name)
}

/// A counter's value in `/metrics`.
fn counter(metrics: &str, name: &str, labels: &[&str]) -> Option<u64> {
    inspect::sample_sum(metrics, name, labels).map(super::schedule::whole)
}

fn names(plan: &Plan) -> Vec<String> {
    (0..plan.variants()).map(|index| plan.variant(index)).collect()
}

fn stock(args: &BenchArgs, variants: u32) -> Vec<u64> {
    let mut stock = vec![args.stock; variants as usize];
    if args.scenario == Scenario::Soldout {
        stock[0] = SOLDOUT_STOCK;
    }
    stock
}

/// Processors of the generator and of the servers; `None` leaves them to the system, as does a machine with only one.
fn split(cpus: Cpus) -> (Option<CpuSet>, Option<CpuSet>) {
    let Ok(all) = rustix::thread::sched_getaffinity(None) else {
        return (None, None);
    };
    if cpus == Cpus::Shared || all.count() < 2 {
        return (None, None);
    }
    let (mut first, mut rest) = (CpuSet::new(), CpuSet::new());
    let mine = all.count() / 2;
    let usable = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu));
    for (index, cpu) in usable.enumerate() {
        if (index as u64) < u64::from(mine) {
            first.set(cpu)
        } else {
            rest.set(cpu)
        }
    }
    (Some(first), Some(rest))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn args(line: &str) -> BenchArgs {
        Line::parse_from(std::iter::once("bench").chain(line.split_whitespace())).bench
    }

    #[test]
    fn rounds_are_interleaved() {
        use Target::{Echo, Holdfast};
        assert_eq!(
            order(&args("--floor --rounds 2")),
            [Holdfast, Echo, Echo, Holdfast]
        );
        assert_eq!(order(&args("--floor")).len(), 10);
        assert_eq!(order(&args("")), [Holdfast]);
        assert_eq!(order(&args("--scenario echo --rounds 2")), [Echo, Echo]);
    }

    #[test]
    fn most_rounds_void_make_the_run_void_and_a_violation_beats_that() {
        let good = || Round::new(Target::Holdfast, NANOS, true);
        let void = || {
            let mut round = good();
            round.lag.record(NANOS).unwrap();
            round
        };
        let kept = Verdict::default();
        assert_eq!(judgement(&kept, &[good(), void()]), Judgement::Holds);
        assert_eq!(judgement(&kept, &[void(), void(), good()]), Judgement::Void);
        let broken = Verdict {
            violation_count: 1,
            ..Verdict::default()
        };
        assert_eq!(judgement(&broken, &[void()]), Judgement::Violated);
    }

    #[test]
    fn the_flooded_variant_has_little_and_the_other_plenty() {
        assert_eq!(
            stock(&args("--scenario soldout --stock 5000"), 2),
            [SOLDOUT_STOCK, 5000]
        );
    }
}
