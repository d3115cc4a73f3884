//! `holdfast doctor`: is this machine fit to serve this data directory? Each line says what was found, and what to do where
//! it is not as it should be. Nothing is changed; a directory in use is looked at from outside.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::data_dir::text_of;
use super::nouns::length;
use super::table::{Look, Tone, hanging, size};
use super::{ConfigOptions, Failure, Output};
use crate::app::recover_options;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::checkup::{Rights, free_bytes, is_in_memory, leftovers, sync_times};
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::storage::journal::survey::Survey;
use crate::storage::recovery::Remedy;
use crate::storage::snapshot::{self, SnapshotReader};

/// Syncs that are timed: enough for a 99th percentile, and some 0.1 s on a fast disk.
const SYNCS: usize = 200;
/// The longest that syncs are timed.
const SYNCS_FOR: Duration = Duration::from_secs(3);
/// A 99th percentile above this is felt by every shopper.
const SLOW_SYNC: Duration = Duration::from_millis(20);
/// Files that a server opens beside its connections.
const OWN_FILES: u64 = 256;

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct DoctorOptions {
    /// Data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warn => Tone::Warn,
            Self::Fail => Tone::Bad,
        }
    }
}

/// One line.
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn but(
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            name,
            verdict,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    /// A question that the system did not answer.
    fn unknown(name: &'static str, error: &dyn std::fmt::Display) -> Self {
        Self::but(name, Verdict::Fail, error.to_string(), "look at the file system")
    }
}

pub(super) fn run(options: &DoctorOptions, output: Output) -> Result<(), Failure> {
    let flag = options
        .data_dir
        .as_deref()
        .map(|dir| Ok::<_, Failure>(("data.dir".to_owned(), text_of(dir)?)));
    let loaded = options.config.load(flag.transpose()?)?;
    let checks = checked(&loaded.config);
    let items: Vec<_> = checks
        .iter()
        .map(|check| {
            json!({ "check": check.name, "verdict": check.verdict.word(), "found": check.found, "advice": check.advice })
        })
        .collect();
    let failed = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .count();
    output.data(
        || told(&checks, Look::of_stdout()),
        &json!({ "checks": items, "fit": failed == 0 }),
    )?;
    if failed > 0 {
        return Err(Failure::failed(format!(
            "{failed} of {} checks failed",
            checks.len()
        )));
    }
    let serves = checks
        .iter()
        .any(|check| check.name == LOCK && check.found != FREE);
    let next = if serves {
        "holdfast status".to_owned()
    } else {
        format!("holdfast serve --data-dir {}", loaded.config.data.dir.display())
    };
    output.next(&next);
    Ok(())
}

/// The check that finds a server at work, and what it says where there is none.
const LOCK: &str = "lock";
const FREE: &str = "free";

/// Where what was found stands, behind the verdict and the check's name.
const FOUND_COLUMN: usize = 21;
/// In front of an advice.
const ARROW: &str = "-> ";

fn told(checks: &[Check], look: Look) -> String {
    let below = |text: &str, column| hanging(&text.into(), column, look);
    let mut text = String::new();
    for check in checks {
        let word = format!("{:<5}", check.verdict.word());
        text.push_str(&format!(
            "{} {:<14} {}\n",
            look.paint(check.verdict.tone(), &word),
            check.name,
            below(&check.found, FOUND_COLUMN)
        ));
        if let Some(advice) = &check.advice {
            let advice = below(advice, FOUND_COLUMN + ARROW.len());
            text.push_str(&format!("{:FOUND_COLUMN$}{ARROW}{advice}\n", ""));
        }
    }
    text
}

fn checked(config: &Config) -> Vec<Check> {
    let root = &config.data.dir;
    // A directory that is still to be made lies where its nearest parent does.
    let there = root
        .ancestors()
        .find(|dir| dir.is_dir())
        .unwrap_or(Path::new("."));
    let mut checks = vec![space(there, config), speed(there), files(config)];
    if !DataDir::is_begun(root) {
        checks.push(Check::but(
            "data directory",
            Verdict::Warn,
            format!("there is none at {}", root.display()),
            "holdfast serve makes it",
        ));
        return checks;
    }
    checks.push(rights("rights", root, Verdict::Warn, "700"));
    checks.push(rights("secret", &root.join("secret"), Verdict::Fail, "600"));
    checks.push(left_over(root));
    checks.extend(inside(config));
    checks.push(last_snapshot(config));
    checks
}

fn space(dir: &Path, config: &Config) -> Check {
    let reserve = config.disk.reserve.bytes();
    let free = match free_bytes(dir) {
        Ok(free) => free,
        Err(error) => return Check::unknown("disk space", &error),
    };
    let found = format!("{} free, {} kept back (disk.reserve)", size(free), size(reserve));
    if free < reserve + reserve / 4 {
        return Check::but(
            "disk space",
            Verdict::Fail,
            found,
            "new holds would be refused: free some space",
        );
    }
    if free < reserve.saturating_mul(4) {
        return Check::but(
            "disk space",
            Verdict::Warn,
            found,
            "snapshots and the log need room: free some space soon",
        );
    }
    Check::ok("disk space", found)
}

fn speed(dir: &Path) -> Check {
    let times = match sync_times(dir, SYNCS, SYNCS_FOR) {
        Ok(times) if !times.is_empty() => times,
        Ok(_) => {
            return Check::but(
                "disk sync",
                Verdict::Fail,
                "not one within 3 s",
                "use another disk",
            );
        }
        Err(error) => return Check::unknown("disk sync", &error),
    };
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let found = format!(
        "p50 {}, p99 {} ({} of 4 KiB)",
        ms(at(50)),
        ms(at(99)),
        times.len()
    );
    if is_in_memory(dir).unwrap_or_default() {
        return Check::but(
            "disk sync",
            Verdict::Warn,
            found,
            "it lies in memory: nothing outlives the machine",
        );
    }
    if at(99) > SLOW_SYNC {
        return Check::but(
            "disk sync",
            Verdict::Warn,
            found,
            "every answer waits for one: use a faster disk",
        );
    }
    Check::ok("disk sync", found)
}

fn files(config: &Config) -> Check {
    let wanted = config.server.connections_max as u64 + OWN_FILES;
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Check::ok("open files", "no limit");
    };
    let found = format!("{limit} allowed, {wanted} wanted (server.connections_max + {OWN_FILES})");
    if limit >= wanted {
        return Check::ok("open files", found);
    }
    let advice = format!("ulimit -n {wanted}, or a lower server.connections_max");
    Check::but("open files", Verdict::Warn, found, advice)
}

/// Whose a path is, and that others may not use it; `shared` is how bad it is if they may.
fn rights(name: &'static str, path: &Path, shared: Verdict, wanted: &str) -> Check {
    let rights = match Rights::of(path) {
        Ok(Some(rights)) => rights,
        Ok(None) => return Check::ok(name, "none yet"),
        Err(error) => return Check::unknown(name, &error),
    };
    let found = format!(
        "{} is of user {}, mode {:o}",
        path.display(),
        rights.owner,
        rights.mode
    );
    if !rights.is_ours {
        return Check::but(name, Verdict::Fail, found, "run as its owner, or chown it");
    }
    if rights.is_shared() {
        return Check::but(name, shared, found, format!("chmod {wanted} {}", path.display()));
    }
    Check::ok(name, found)
}

fn left_over(root: &Path) -> Check {
    match leftovers(root) {
        Ok(found) if found.is_empty() => Check::ok("leftovers", "none"),
        Ok(found) => {
            let names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
            let advice = "of interrupted writes or repairs: remove them when nobody needs them";
            Check::but("leftovers", Verdict::Warn, names.join(", "), advice)
        }
        Err(error) => Check::unknown("leftovers", &error),
    }
}

/// What only the one who holds the lock can see: the log, and its last moment against the clock.
fn inside(config: &Config) -> Vec<Check> {
    let root = &config.data.dir;
    let dir = match DataDir::open(root) {
        Ok(dir) => dir,
        Err(error @ DataDirError::Locked { .. }) => {
            let mut checks = vec![Check::ok(LOCK, format!("{error}: its log and clock are its own"))];
            checks.extend(SystemClock::start(None, false).map(|clock| clock_now(&clock.into())));
            return checks;
        }
        Err(error) => {
            let advice = Remedy::Restore.command(root);
            return vec![Check::but(
                "data directory",
                Verdict::Fail,
                error.to_string(),
                advice,
            )];
        }
    };
    let mut checks = vec![Check::ok(LOCK, FREE)];
    let surveyed = recover_options(config).as_found(&dir).map(|options| {
        let journal = dir.journal_dir();
        options.log(&dir, &journal).survey(&mut |_, _| {})
    });
    match surveyed {
        Ok(Ok(survey)) => {
            checks.push(log(&survey, &dir));
            checks.push(clock(&survey));
        }
        Ok(Err(error)) => checks.push(Check::unknown("log", &error)),
        Err(error) => checks.push(Check::unknown("log", &error)),
    }
    checks
}

fn log(survey: &Survey, dir: &DataDir) -> Check {
    let root = dir.root();
    if survey.units.is_empty() && dir.has_begun() {
        let advice = Remedy::Restore.command(root);
        return Check::but("log", Verdict::Fail, "it is gone", advice);
    }
    let records: u64 = survey.units.iter().map(|unit| unit.records).sum();
    let files = survey.units.len();
    if let Some(damage) = &survey.damage {
        return Check::but(
            "log",
            Verdict::Fail,
            damage.to_string(),
            Remedy::CutLog.command(root),
        );
    }
    let s = if files == 1 { "" } else { "s" };
    let found = format!("{records} records in {files} file{s}, closed");
    match &survey.torn {
        None => Check::ok("log", found),
        Some(torn) => Check::but(
            "log",
            Verdict::Warn,
            format!("{found}, and a torn tail of {} bytes", torn.bytes),
            "the next start cuts it; nobody was answered from it",
        ),
    }
}

fn clock(survey: &Survey) -> Check {
    let last = survey
        .tail
        .map(|tail| tail.logged_at_ms)
        .filter(|ms| *ms != i64::MIN);
    let last = last.map(Timestamp::from_millis);
    match SystemClock::start(last, false) {
        Err(gap) => Check::but(
            "clock",
            Verdict::Fail,
            gap.to_string(),
            "set the machine's clock (NTP)",
        ),
        Ok(clock) => clock_now(&clock.into()),
    }
}

fn clock_now(clock: &Clock) -> Check {
    Check::ok("clock", format!("{}, not behind the log", Moment(clock.now())))
}

/// The newest snapshot: how old it is, and whether its bytes are whole.
fn last_snapshot(config: &Config) -> Check {
    const NAME: &str = "last snapshot";
    let dir = config.data.dir.join("snapshots");
    let listed = fs::read_dir(&dir).into_iter().flatten().flatten();
    let files = listed
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "holdfast"));
    let made = |path: PathBuf| {
        let created = SnapshotReader::open(&path).ok()?.manifest().created_at_ms;
        Some((created, path))
    };
    let Some((created, path)) = files.filter_map(made).max() else {
        return Check::but(NAME, Verdict::Warn, "none", "holdfast snapshot create");
    };
    let file = path.display();
    if let Err(error) = snapshot::verify(&path) {
        return Check::but(NAME, Verdict::Fail, error.to_string(), "holdfast snapshot create");
    }
    let now = SystemClock::start(None, false).map_or(created, |clock| Clock::from(clock).now().as_millis());
    let age = now.saturating_sub(created);
    let found = format!("{file}, {} old, whole", length(age));
    match config.snapshots.every {
        Some(every) if age > every.as_millis().saturating_mul(2) => Check::but(
            NAME,
            Verdict::Warn,
            found,
            "older than twice snapshots.every: holdfast snapshot create",
        ),
        Some(_) | None => Check::ok(NAME, found),
    }
}
