//! A real server under real load is killed with SIGKILL, again and again, on one data directory; each start must show everything
//! that was ever answered (ACK_DURABLE, NO_OVERSELL, CONSERVATION, ONE_TERMINAL, ONCE_PER_KEY).
//!
//! `HOLDFAST_KILL_CYCLES=1000 HOLDFAST_KILL_SEED=7 cargo test --test it kill:: -- --nocapture` runs more of it and says
//! what it did. Half of the kills fall into start-up, checkpoint and trim.
pub(crate) mod ledger;
mod moment;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::json;

use crate::server::{Server, Starting};
use ledger::{Checked, Ledger, VARIANTS, check};
use moment::{Moment, calls, kill_at_call, wait_for};

const CLIENTS: u64 = 4;
const CYCLES: u64 = 25;

/// Of each four cycles one dies in its start, half of the others in a checkpoint or a trim.
const MOMENTS: [Moment; 8] = [
    Moment::Load,
    Moment::StartUp,
    Moment::Checkpoint,
    Moment::Load,
    Moment::Trim,
    Moment::StartUp,
    Moment::Load,
    Moment::Load,
];

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect(variable))
}

struct Loop {
    data_dir: std::path::PathBuf,
    arguments: Vec<String>,
    ledgers: Vec<Ledger>,
    rng: Rng,
    kills: BTreeMap<Moment, u64>,
    total: Checked,
    /// Read and write calls of the last start that came to its end.
    start_calls: u64,
}

impl Loop {
    fn start(&mut self) -> Server {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let server = Server::start(&self.data_dir, &arguments);
        self.start_calls = calls(server.id());
        if self.ledgers.is_empty() {
            for (id, units) in VARIANTS {
                let body = json!({"id": id, "name": id, "onHand": units}).to_string();
                let made = server.ask("POST", "/api/stock/variants", &format!("make-{id}"), &body);
                assert_eq!(made.status, 201, "{}", made.text());
            }
            let names = (0..CLIENTS).map(|client| Ledger::new(&format!("c{client}"), self.rng.u64(..)));
            self.ledgers = names.collect();
        }
        let Checked {
            answers,
            holds,
            replays,
            unknown,
        } = check(&server, &mut self.ledgers);
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
        }
        *self.kills.entry(died).or_default() += 1;
    }

    fn load_until_killed(&mut self, server: Server, moment: Moment) {
        let answers = self.rng.usize(1..300);
        let journal = self.data_dir.join("epochs/1/journal");
        let (tell, heard) = mpsc::channel();
        std::thread::scope(|scope| {
            for ledger in &mut self.ledgers {
                let (tell, connection) = (tell.clone(), server.connect());
                // Nobody may listen any more when the kill is under way.
                scope.spawn(move || ledger.ask_until_lost(connection, || _ = tell.send(())));
            }
            drop(tell);
            wait_for(moment, &server, answers, &heard, &journal);
            server.kill();
        });
    }
}

fn nothing_answered_is_lost(back_end: &str) {
    let home = tempfile::tempdir().unwrap();
    let (cycles, seed) = (
        number("HOLDFAST_KILL_CYCLES", CYCLES),
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
    let mut run = Loop {
        data_dir: home.path().join("data"),
        arguments: settings
            .iter()
            .flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()])
            .collect(),
        ledgers: Vec::new(),
        rng: Rng::with_seed(seed),
        kills: BTreeMap::new(),
        total: Checked::default(),
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
         {unknown} unanswered settled, {holds} holds at the end, 0 violations"
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
    nothing_answered_is_lost("file");
}

#[test]
fn nothing_answered_is_lost_by_a_kill_on_sled() {
    nothing_answered_is_lost("sled");
}
