//! A real process that appends is killed with SIGKILL, while it opens and while it writes; the next one finds everything that
//! was acknowledged. The process is this test binary itself, started again to run [`appends_until_it_is_killed`] alone.
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdfast::storage::journal::disk::RealDisk;
use holdfast::storage::journal::file::{FileJournal, FileOptions};
use holdfast::storage::journal::sled_log::{SledJournal, SledOptions};
use holdfast::storage::journal::verify::verify_log;
use holdfast::storage::journal::{Anchor, Journal, RecordNumber};

use super::{Owner, PARTITION, options, payload, read_all};

const DIRECTORY: &str = "HOLDFAST_TEST_KILL_DIRECTORY";

fn open(dir: &Path) -> Box<dyn Journal> {
    if dir.ends_with("sled") {
        let options = SledOptions {
            database_bytes: 256 * 1024,
            cache_bytes: 1024 * 1024,
            ..SledOptions::default()
        };
        return Box::new(SledJournal::open(dir, options).unwrap());
    }
    let options = FileOptions {
        prepare_ahead: true,
        ..options(Anchor::GENESIS)
    };
    Box::new(FileJournal::open(Arc::new(RealDisk), dir, options).unwrap())
}

/// What the child does: it says what it has acknowledged, until it is killed. Without its directory it has nothing to do.
#[test]
fn appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let mut out = std::io::stdout();
    writeln!(out, "\nopening").unwrap();
    let mut owner = Owner::of(open(&dir));
    loop {
        let count = owner.tail.last.0 % 37 + 1;
        let fresh: Vec<_> = (1..=count)
            .map(|index| payload(owner.tail.last.0 + index, 120))
            .collect();
        owner.append(&fresh);
        writeln!(out, "acknowledged {}", owner.tail.last).unwrap();
        if owner.tail.last.0.is_multiple_of(10) {
            owner
                .journal
                .trim(PARTITION, RecordNumber(owner.tail.last.0.saturating_sub(2_000)))
                .unwrap();
        }
    }
}

/// Lets a child live for some lines of its report; the last record it acknowledged.
fn live_and_die(dir: &Path, lines: usize) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "journal::kill::appends_until_it_is_killed",
            "--nocapture",
        ])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut report = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    report.find(|line| line == "opening").expect("the child begins");
    let mut acknowledged = None;
    let mut note = |line: String| {
        // The last line may be cut short by the kill: only a whole one counts, and a shorter number is a smaller promise.
        acknowledged = line
            .strip_prefix("acknowledged ")
            .and_then(|number| number.parse().ok())
            .or(acknowledged);
    };
    report.by_ref().take(lines).for_each(&mut note);
    child.kill().unwrap();
    report.for_each(&mut note);
    child.wait().unwrap();
    acknowledged
}

fn nothing_is_lost_by_a_kill(back_end: &str) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(back_end);
    let mut rng = fastrand::Rng::with_seed(4);
    let mut acknowledged = 0;
    for cycle in 0..12 {
        // A third of them dies while it opens.
        let lines = if cycle % 3 == 0 { 0 } else { rng.usize(1..150) };
        acknowledged = live_and_die(&dir, lines).unwrap_or(0).max(acknowledged);
        let journal = open(&dir);
        let verified = verify_log(&*journal.reader(), PARTITION).unwrap();
        assert!(
            verified.last.0 >= acknowledged,
            "cycle {cycle}: {acknowledged} acknowledged, {} found",
            verified.last
        );
        for (number, found) in read_all(&*journal, verified.first) {
            assert_eq!(found, payload(number, 120), "cycle {cycle}");
        }
    }
    assert!(acknowledged > 1_000, "only {acknowledged} records were written");
}

#[test]
fn nothing_is_lost_by_a_kill_on_files() {
    nothing_is_lost_by_a_kill("file");
}

#[test]
fn nothing_is_lost_by_a_kill_on_sled() {
    nothing_is_lost_by_a_kill("sled");
}
