//! When a server is killed. Every moment is a condition that is seen from outside, never a length of time.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::shelf::{half_written, whole};
use crate::server::wire::{Connection, request};
use crate::server::{Server, Starting};

/// Where the kill falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// Before it listens: while it reads the configuration, takes the lock, recovers.
    StartUp,
    /// While the checkpoint's thread runs or waits for the disk.
    Checkpoint,
    /// When a part of the log has just gone away.
    Trim,
    /// While a snapshot lies half written under its temporary name.
    Snapshot,
    /// Anywhere between two answers.
    Load,
}

/// Read and write calls of a process so far; 0 when it has ended.
pub(super) fn calls(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let of = |label: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.map_or(0, |count| count.trim().parse().unwrap())
    };
    of("syscr:") + of("syscw:")
}

/// Kills a starting server once it has made so many read and write calls. Whether it died before it was ready.
pub(super) fn kill_at_call(mut starting: Starting, call: u64, log: &Path) -> bool {
    let ready = || {
        std::fs::read_to_string(log)
            .unwrap_or_default()
            .contains(" ready ")
    };
    while calls(starting.id()) < call && !ready() && !starting.has_ended() {
        std::thread::yield_now();
    }
    assert!(
        !starting.has_ended(),
        "it ended by itself: {:?}",
        std::fs::read_to_string(log)
    );
    starting.kill();
    !ready()
}

/// Waits under load until `answers` were given, and then for the moment itself. Whoever asked for what it waits for is handed
/// back, to stay on the line until the kill.
pub(super) fn wait_for(
    moment: Moment,
    server: &Server,
    answers: usize,
    heard: &Receiver<()>,
    data_dir: &Path,
) -> Option<Connection> {
    let journal = &data_dir.join("epochs/1/journal");
    assert_eq!(
        heard.iter().take(answers).count(),
        answers,
        "it ended by itself: {}",
        server.log()
    );
    match moment {
        Moment::StartUp | Moment::Load => {}
        Moment::Checkpoint => _ = spin(heard, || checkpoint_runs(server.id())),
        Moment::Trim => {
            let before = parts(journal);
            spin(heard, || !before.is_subset(&parts(journal)));
        }
        Moment::Snapshot => return Some(until_half_written(server, heard, data_dir)),
    }
    None
}

/// Asks for one snapshot that comes to its end, so that there is one to stay, and then for more until one is seen half
/// written; one may be whole before anybody looked.
fn until_half_written(server: &Server, heard: &Receiver<()>, data_dir: &Path) -> Connection {
    let mut operator = server.connect();
    let ask = request("POST", "/api/admin/snapshots", "", "");
    loop {
        let taken = operator.exchange(&ask).unwrap();
        assert_eq!(taken.status, 201, "{}", taken.text());
        let before = whole(data_dir);
        operator.write(&ask).unwrap();
        let ended = spin(heard, || half_written(data_dir) || whole(data_dir) != before);
        if ended || half_written(data_dir) {
            return operator;
        }
        let taken = operator.read().unwrap();
        assert_eq!(taken.status, 201, "{}", taken.text());
    }
}

/// Waits for a condition as long as somebody is being answered. Whether nobody is any more.
fn spin(heard: &Receiver<()>, is_true: impl Fn() -> bool) -> bool {
    while !is_true() {
        if heard.try_recv() == Err(TryRecvError::Disconnected) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Whether the checkpoint's thread is on a processor or waits for the disk, instead of for its next round.
fn checkpoint_runs(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    let mut stats =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    stats.any(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        stat.contains("(checkpoint)") && matches!(state, Some(b'R' | b'D'))
    })
}

/// The parts of the log: segments, or databases.
fn parts(journal: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(journal).unwrap();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect()
}
