//! The whole house under a seed: real domain, directory, actors, sagas, journal, checkpoint and recovery over a simulated disk, a
//! clock turned by hand and a network that loses, doubles and reorders; every law judged at every durable record.
//!
//! ```text
//! cargo test --test sim                               the short form: 20 seeds, each twice
//! cargo test --release --test sim -- --seeds 1000     seeds 0..1000
//! cargo test --release --test sim -- --seed 42        one seed, told again; with --log record by record and with what the house warns of
//! cargo test --release --test sim -- --seeds 1000 --twice   each twice: the logs must be equal to the byte
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test program: it prints what it found, and stops where it cannot go on"
)]
mod asks;
mod faults;
mod hands;
mod house;
mod judge;
mod shoppers;
mod story;
mod swarm;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};
use story::{Story, Told};

/// The seeds of the short form, each told twice. The same ones on every machine: what they show is the same, too.
const SHORT_SEEDS: u64 = 20;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    from: u64,
    seeds: u64,
    twice: bool,
    loud: bool,
    prints: bool,
}

fn main() -> ExitCode {
    match wanted(std::env::args().skip(1)) {
        Some(wanted) => {
            if wanted.prints {
                let warnings = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
                warnings.with_writer(std::io::stdout).without_time().init();
            }
            run(wanted)
        }
        None => ExitCode::SUCCESS,
    }
}

/// Reads the arguments; `None` if cargo runs other tests by name, or only lists them.
fn wanted(arguments: impl Iterator<Item = String>) -> Option<Wanted> {
    let mut wanted = Wanted {
        from: 0,
        seeds: SHORT_SEEDS,
        twice: true,
        loud: false,
        prints: false,
    };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let number = arguments.next().and_then(|number| number.parse().ok());
            number.unwrap_or_else(|| panic!("{argument} takes a number"))
        };
        match argument.as_str() {
            "--seed" => {
                (wanted.from, wanted.seeds) = (number(), 1);
                (wanted.twice, wanted.loud) = (false, true);
            }
            "--seeds" => (wanted.seeds, wanted.twice) = (number(), false),
            "--from" => wanted.from = number(),
            "--log" => wanted.prints = true,
            "--twice" => wanted.twice = true,
            "--list" => return None,
            other if other.starts_with('-') => {}
            other if "sim".contains(other) => {}
            _ => return None,
        }
    }
    Some(wanted)
}

/// What all seeds came to.
#[derive(Default)]
struct Sum {
    seeds: AtomicU64,
    sent: AtomicU64,
    answers: AtomicU64,
    records: AtomicU64,
    turns: AtomicU64,
    lives: AtomicU64,
    violations: AtomicU64,
}

impl Sum {
    fn add(&self, told: &Told) {
        let add = |sum: &AtomicU64, count| sum.fetch_add(count, Ordering::Relaxed);
        add(&self.seeds, 1);
        add(&self.sent, told.sent);
        add(&self.answers, told.answers);
        add(&self.records, told.records);
        add(&self.turns, told.turns);
        add(&self.lives, told.lives);
        add(&self.violations, u64::from(told.broken.is_some()));
    }
}

fn run(wanted: Wanted) -> ExitCode {
    let begun = Instant::now();
    let (next, sum) = (AtomicU64::new(wanted.from), Sum::default());
    let threads = if wanted.seeds == 1 {
        1
    } else {
        thread::available_parallelism().map_or(1, usize::from)
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - wanted.from >= wanted.seeds {
                        return;
                    }
                    tell(seed, wanted, &sum);
                }
            });
        }
    });
    let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "rates need no last digit")]
    let rate = |sum: &AtomicU64| (read(sum) as f64 / seconds).round();
    println!(
        "{} seeds in {seconds:.1} s, {} lives: {} requests reached the house, {} answers, {} records judged, {} turns",
        read(&sum.seeds),
        read(&sum.lives),
        read(&sum.sent),
        read(&sum.answers),
        read(&sum.records),
        read(&sum.turns),
    );
    println!(
        "{} requests/s ({} a minute), {} records/s, {} steps/s",
        rate(&sum.sent),
        rate(&sum.sent) * 60.0,
        rate(&sum.records),
        rate(&sum.turns)
    );
    println!("violations: {}", read(&sum.violations));
    if read(&sum.violations) > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn tell(seed: u64, wanted: Wanted, sum: &Sum) {
    let mut told = Story::tell(seed, wanted.prints);
    if wanted.twice {
        let again = Story::tell(seed, false);
        if again.digest != told.digest {
            told.broken
                .get_or_insert_with(|| "the same seed made another log".to_owned());
        }
    }
    sum.add(&told);
    if let Some(broken) = &told.broken {
        println!("seed {seed}: {broken}\n  again: cargo test --test sim -- --seed {seed}");
    }
    if wanted.loud {
        let digest: String = told.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        println!(
            "seed {seed}: log {digest}, {} records in {} lives",
            told.records, told.lives
        );
    }
}
