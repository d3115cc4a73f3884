//! A real server under real load is killed with SIGKILL, again and again, on one data directory; each start must show everything
//! that was ever answered (ACK_DURABLE, NO_OVERSELL, CONSERVATION, ONE_TERMINAL, ONCE_PER_KEY). One loop has clients that hold
//! units themselves, the other shoppers who go the whole way from cart to payment (AGREE too).
//!
//! `HOLDFAST_KILL_CYCLES=1000 HOLDFAST_KILL_SEED=7 cargo test --test it kill:: -- --nocapture` runs more of it and says
//! what it did. More than half of the kills fall into start-up, checkpoint, trim and snapshot.
mod answers;
pub(crate) mod ledger;
mod moment;
mod shelf;
mod shopper;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::json;

use crate::server::wire::Connection;
use crate::server::{Server, Starting};
use ledger::Ledger;
use moment::{Moment, calls, kill_at_call, wait_for};
use shelf::{Shelf, half_written};
use shopper::Shopper;

const CLIENTS: u64 = 4;

/// Of each four cycles one dies in its start, half of the others in a checkpoint, a trim or a snapshot.
const MOMENTS: [Moment; 8] = [
    Moment::Load,
    Moment::StartUp,
    Moment::Checkpoint,
    Moment::Load,
    Moment::Trim,
    Moment::StartUp,
    Moment::Snapshot,
    Moment::Load,
];

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect(variable))
}

/// What a check looked at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Checked {
    pub(crate) answers: usize,
    pub(crate) holds: usize,
    pub(crate) replays: usize,
    pub(crate) unknown: usize,
}

/// Somebody who asks and keeps a ledger of the answers.
trait Client: Send + Sized {
    /// Kills, unless it is told how many.
    const CYCLES: u64;
    /// What is on sale, and the units of each at the beginning.
    const VARIANTS: &'static [(&'static str, u64)];

    fn new(name: &str, seed: u64) -> Self;

    /// Asks until the connection is lost; `each` hears of every answer.
    fn ask_until_lost(&mut self, connection: Connection, each: impl Fn());

    /// Holds a restarted server to everything that was ever answered.
    fn check(server: &Server, clients: &mut [Self]) -> Checked;
}

struct Loop<C> {
    data_dir: std::path::PathBuf,
    arguments: Vec<String>,
    clients: Vec<C>,
    rng: Rng,
    kills: BTreeMap<Moment, u64>,
    total: Checked,
    shelf: Shelf,
    /// Read and write calls of the last start that came to its end.
    start_calls: u64,
}

impl<C: Client> Loop<C> {
    fn start(&mut self) -> Server {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let server = Server::start(&self.data_dir, &arguments);
        self.start_calls = calls(server.id());
        if self.clients.is_empty() {
            for (id, units) in C::VARIANTS {
                let body = json!({"id": id, "name": id, "onHand": units}).to_string();
                let made = server.ask("POST", "/api/stock/variants", &format!("make-{id}"), &body);
                assert_eq!(made.status, 201, "{}", made.text());
            }
            let names = (0..CLIENTS).map(|client| C::new(&format!("c{client}"), self.rng.u64(..)));
            self.clients = names.collect();
        }
        let Checked {
            answers,
            holds,
            replays,
            unknown,
        } = C::check(&server, &mut self.clients);
        self.shelf.served_by(&server, &self.data_dir);
        self.total.answers += answers;
        self.total.holds = holds;
        self.total.replays += replays;
        self.total.unknown += unknown;
        server
    }

    fn cycle(&mut self, moment: Moment) {
        let mut died = moment;
        if moment == Moment::StartUp && self.start_calls > 0 {
            let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
            let starting = Starting::spawn(&self.data_dir, &arguments);
            let call = self.rng.u64(1..=self.start_calls);
            if !kill_at_call(starting, call, &self.data_dir.with_extension("log")) {
                died = Moment::Load;
            }
        } else {
            let server = self.start();
            self.load_until_killed(server, moment);
            if moment == Moment::Snapshot && !half_written(&self.data_dir) {
                died = Moment::Load;
            }
        }
        self.shelf.judge(&self.data_dir);
        *self.kills.entry(died).or_default() += 1;
    }

    fn load_until_killed(&mut self, server: Server, moment: Moment) {
        let answers = self.rng.usize(1..300);
        let data_dir = &self.data_dir;
        let (tell, heard) = mpsc::channel();
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                let (tell, connection) = (tell.clone(), server.connect());
                // Nobody may listen any more when the kill is under way.
                scope.spawn(move || client.ask_until_lost(connection, || _ = tell.send(())));
            }
            drop(tell);
            let operator = wait_for(moment, &server, answers, &heard, data_dir);
            server.kill();
            drop(operator);
        });
    }
}

fn nothing_answered_is_lost<C: Client>(back_end: &str) {
    let home = tempfile::tempdir().unwrap();
    let (cycles, seed) = (
        number("HOLDFAST_KILL_CYCLES", C::CYCLES),
        number("HOLDFAST_KILL_SEED", 2),
    );
    let settings = [
        &format!("journal.backend={back_end}"),
        "journal.segment_bytes=448KiB",
        "journal.group_bytes=448KiB",
        "checkpoint.every=40ms",
        // Keys and ended holds are soon asked for from the disk, not from memory.
        "keys.memory_max=1000",
    ];
    let mut run = Loop::<C> {
        data_dir: home.path().join("data"),
        arguments: settings
            .iter()
            .flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()])
            .collect(),
        clients: Vec::new(),
        rng: Rng::with_seed(seed),
        kills: BTreeMap::new(),
        total: Checked::default(),
        shelf: Shelf::default(),
        start_calls: 0,
    };
    for cycle in 0..cycles {
        run.cycle(MOMENTS[usize::try_from(cycle).unwrap() % MOMENTS.len()]);
    }
    let last = run.start();
    last.signal(Signal::TERM);
    let (status, log) = last.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    verified(&run.data_dir);

    let Checked {
        answers,
        holds,
        replays,
        unknown,
    } = run.total;
    let kills = run.kills;
    let story = format!(
        "{back_end}, seed {seed}: {cycles} kills {kills:?}, {answers} answers and {replays} replays checked, \
         {unknown} unanswered settled, {holds} holds at the end, {} snapshots whole, 0 violations",
        run.shelf.count()
    );
    let mut out = std::io::stdout();
    writeln!(out, "{story}").unwrap();
    let at_work: u64 = kills
        .iter()
        .filter(|(moment, _)| **moment != Moment::Load)
        .map(|(_, count)| count)
        .sum();
    assert!(at_work * 10 >= cycles * 3, "{story}");
    assert!(answers > usize::try_from(cycles).unwrap() * 20, "{story}");
}

/// The whole directory keeps the laws, says the operator's own command.
fn verified(data_dir: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .arg("verify")
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn nothing_answered_is_lost_by_a_kill_on_files() {
    nothing_answered_is_lost::<Ledger>("file");
}

#[test]
fn nothing_answered_is_lost_by_a_kill_on_sled() {
    nothing_answered_is_lost::<Ledger>("sled");
}

#[test]
fn no_step_of_a_shopper_is_lost_by_a_kill_on_files() {
    nothing_answered_is_lost::<Shopper>("file");
}

#[test]
fn no_step_of_a_shopper_is_lost_by_a_kill_on_sled() {
    nothing_answered_is_lost::<Shopper>("sled");
}
