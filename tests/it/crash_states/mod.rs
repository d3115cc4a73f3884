//! Every state a crash may leave behind, opened: a real life of the shop is recorded call by call (strace), the states its disk may
//! be in after a kill or a power failure are laid out, and each has to open by the laws with everything that was answered.
//!
//! | file | what it is |
//! |---|---|
//! | `story` | the life that is traced, and the judge of what a crash of it left behind |
//! | `trace` | from strace's lines to changes, syncs and answers |
//! | `disk` | what lies on the disk at a moment, without what was lost |
//! | `states` | which states there are: by mode, and by what is lost |
//!
//! `HOLDFAST_CRASH_STATES=100000 cargo test --test it crash_states:: -- --nocapture` opens so many over both back ends and prints
//! the table. A usual run opens a few thousand. Without strace nothing is proven, and the test says so.
//!
//! What is taken for granted of a disk: fsync and fdatasync make the content of a file durable, fsync of a directory its names;
//! sync_file_range makes nothing durable; a sector of 512 bytes is written whole or not at all; a rename is one step. That the
//! method sees a missing sync is shown by leaving the syncs of the log out of the same trace.
mod disk;
mod states;
pub(crate) mod story;
mod trace;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};

use fastrand::Rng;
use holdfast::config::JournalBackend;

use disk::Disk;
use states::{Kind, Mode, State};
use story::{Facts, Look};
use trace::Event;

/// States of a usual run, for each back end.
const STATES: usize = 1_500;

/// States that show that a missing sync is seen.
const STATES_WITHOUT_SYNCS: usize = 150;

/// One state in so many is sold from, too.
const GOES_ON_EVERY: usize = 8;

/// Violations told in full.
const TOLD: usize = 5;

const CALLS: &str = "trace=openat,mkdirat,unlinkat,renameat,renameat2,ftruncate,truncate,fallocate,write,writev,pwrite64,pwritev,\
                     pwritev2,read,readv,lseek,fsync,fdatasync,sync_file_range,fcntl,dup,?dup2,dup3,linkat,symlinkat,\
                     copy_file_range,sendfile,?mkdir,?unlink,?rmdir,?rename,?link,?symlink,?creat,?open";

fn backend_of(word: &str) -> JournalBackend {
    match word {
        "file" => JournalBackend::File,
        "sled" => JournalBackend::Sled,
        other => panic!("{other}"),
    }
}

/// Whether processes can be traced here.
fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The events of the story on this back end; `None` where nothing can be traced.
fn recorded(backend: &str) -> Option<Vec<Event>> {
    if !can_trace() {
        crate::report("NOT CHECKED: strace is not available here");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let (data, trace) = (root.join("data"), home.path().join("trace"));
    let output = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "16777216", "-e", CALLS, "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "crash_states::story::a_life_is_lived_and_told"])
        .args(["--nocapture", "--test-threads=1"])
        .env(story::STORY, format!("{backend}:{}", data.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let events = trace::read(&std::fs::read_to_string(&trace).unwrap(), root.to_str().unwrap());
    assert!(events.len() > 300, "{} events", events.len());
    check_whole(&events, &root);
    Some(events)
}

/// With nothing lost, the last state is what really lies there: the trace and its reading are complete.
fn check_whole(events: &[Event], root: &Path) {
    let mut disk = Disk::new(events);
    disk.go_to(events.len());
    let laid_out = tempfile::tempdir().unwrap();
    disk.lay_out(&disk::Lost::default(), laid_out.path());
    let compared = Command::new("diff")
        .arg("-r")
        .arg(root)
        .arg(laid_out.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&compared.stdout);
    assert!(
        compared.status.success(),
        "the trace is not the whole story: {told}"
    );
}

/// What was found in the states of a mode.
#[derive(Default)]
struct Found {
    opened: BTreeMap<(Mode, Kind), u64>,
    violations: BTreeMap<(Mode, Kind), u64>,
    told: Vec<String>,
}

impl Found {
    fn add(&mut self, other: Self) {
        for (mine, others) in [
            (&mut self.opened, other.opened),
            (&mut self.violations, other.violations),
        ] {
            for (key, count) in others {
                *mine.entry(key).or_default() += count;
            }
        }
        self.told.extend(other.told);
        self.told.truncate(TOLD);
    }

    fn violations(&self) -> u64 {
        self.violations.values().sum()
    }

    fn table(&self, backend: &str) -> String {
        let mut table = format!(
            "{:<6}{:<14}{:<10}{:>9}{:>12}\n",
            "log", "mode", "lost", "states", "violations"
        );
        for ((mode, kind), opened) in &self.opened {
            let violations = self.violations.get(&(*mode, *kind)).copied().unwrap_or(0);
            let (mode, kind) = (format!("{mode:?}"), format!("{kind:?}"));
            table.push_str(&format!(
                "{backend:<6}{mode:<14}{kind:<10}{opened:>9}{violations:>12}\n"
            ));
        }
        table
    }
}

/// Opens all of these states, on all processors.
fn open_all(events: &[Event], backend: &str, states: &[State]) -> Found {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let mut found = Found::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = states
            .chunks(states.len().div_ceil(workers).max(1))
            .map(|part| scope.spawn(move || open_part(events, backend, part)))
            .collect();
        for part in parts {
            found.add(part.join().unwrap());
        }
    });
    found
}

fn open_part(events: &[Event], backend: &str, states: &[State]) -> Found {
    let mut found = Found::default();
    let (mut disk, mut facts, mut heard) = (Disk::new(events), Facts::default(), 0);
    for (number, state) in states.iter().enumerate() {
        disk.go_to(state.at);
        for event in &events[heard..state.at] {
            if let Event::Told(line) = event {
                facts.hear(line);
            }
        }
        heard = state.at;
        let home = laid_out(&disk, state);
        let look = if number % GOES_ON_EVERY == 0 {
            Look::GoesOn
        } else {
            Look::Opens
        };
        let data = home.path().join("data");
        let judged = catch_unwind(AssertUnwindSafe(|| {
            story::judge(&data, backend_of(backend), &facts, look)
        }));
        *found.opened.entry((state.mode, state.kind)).or_default() += 1;
        let wrong = match judged {
            Ok(Ok(())) => continue,
            Ok(Err(wrong)) => wrong,
            Err(_) => "it panicked".to_owned(),
        };
        *found.violations.entry((state.mode, state.kind)).or_default() += 1;
        if found.told.len() < TOLD {
            // Opening changed it: it is laid out again, for whoever has to look at it.
            let kept = laid_out(&disk, state).keep();
            let what = described(events, state);
            found
                .told
                .push(format!("{what}: {wrong}; kept in {}", kept.display()));
        }
    }
    found
}

/// A state on a file system in memory where there is one: what is laid out need not survive anything.
fn laid_out(disk: &Disk<'_>, state: &State) -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let home = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    disk.lay_out(&state.lost, home.path());
    home
}

fn described(events: &[Event], state: &State) -> String {
    let short = |index: &usize| {
        let mut text = format!("{index} {:?}", events[*index]);
        text.truncate(160);
        text
    };
    let lost: Vec<_> = state.lost.events.iter().take(4).map(short).collect();
    format!(
        "{:?} after event {}, lost {} {lost:?}, torn {:?}",
        state.mode,
        short(&(state.at - 1)),
        state.lost.events.len(),
        state.lost.torn
    )
}

fn a_crash_loses_nothing(backend: &str) {
    let Some(events) = recorded(backend) else { return };
    let wanted = std::env::var("HOLDFAST_CRASH_STATES").map_or(STATES, |text| {
        text.parse::<usize>().expect("a number of states") / 2
    });
    let seed = std::env::var("HOLDFAST_CRASH_SEED").map_or(1, |text| text.parse().expect("a seed"));
    let mut rng = Rng::with_seed(seed);
    let modes = [Mode::Kill, Mode::PowerOrdered, Mode::PowerStrict];
    let samples = 2 + wanted / events.len();
    let all = states::all(&events, &modes, samples, &mut rng);
    let count = all.len();
    let states = states::some(all, wanted, &mut rng);
    let found = open_all(&events, backend, &states);
    let table = found.table(backend);
    let story = format!(
        "{backend}, seed {seed}: {} events, {} of {count} states opened\n{table}",
        events.len(),
        states.len()
    );
    crate::report(&story);
    assert_eq!(found.violations(), 0, "{table}\n{}", found.told.join("\n"));
}

fn a_missing_device_sync_is_seen(backend: &str) {
    let Some(mut events) = recorded(backend) else {
        return;
    };
    events.retain(
        |event| !matches!(event, Event::Sync { only_data: true, path, .. } if path.contains("/journal/")),
    );
    let mut rng = Rng::with_seed(1);
    let modes = [Mode::PowerOrdered, Mode::PowerStrict];
    let all = states::all(&events, &modes, 1, &mut rng);
    let states = states::some(all, STATES_WITHOUT_SYNCS, &mut rng);
    let found = open_all(&events, backend, &states);
    let table = found.table(backend);
    crate::report(&format!("without the syncs of the log:\n{table}"));
    for mode in modes {
        let seen: u64 = found
            .violations
            .iter()
            .filter(|((of, _), _)| *of == mode)
            .map(|(_, count)| count)
            .sum();
        assert!(seen > 0, "{mode:?}: the method is blind: {table}");
    }
}

#[test]
fn a_crash_loses_nothing_on_files() {
    a_crash_loses_nothing("file");
}

#[test]
fn a_crash_loses_nothing_on_sled() {
    a_crash_loses_nothing("sled");
}

#[test]
fn a_missing_device_sync_is_seen_on_files() {
    a_missing_device_sync_is_seen("file");
}

#[test]
fn a_missing_device_sync_is_seen_on_sled() {
    a_missing_device_sync_is_seen("sled");
}
