//! `holdfast restore`: a shop put back from a snapshot and the log behind it, into an empty data directory.
//!
//! The plan is told first, whatever comes after: what is replayed and lost, which sales lie behind the cut, what becomes of
//! the holds. A server that runs is put back by `POST /api/admin/restore`.
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Value, json};

use super::output::progress_bar;
use super::table::{Cell, Look, Tone, facts};
use super::{ConfigOptions, Exit, Failure, Output};
use crate::app::recover_options;
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::domain::rewind::HoldsRule;
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::storage::restore::{
    Cut, Logs, Plan, RestoreError, Restored, Source, Step, Wanted, carry_out, nearest, survey,
};
use crate::storage::snapshot::SnapshotReader;

/// Variants named one by one; `--json` names all.
const SOLD_TOLD: usize = 20;

/// What to restore, and how.
#[derive(Debug, Args)]
pub(super) struct RestoreOptions {
    /// Snapshot file, or a directory: the nearest snapshot in it before the cut
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Data directory to fill; a new or an empty one
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Data directory whose archives and logs go on behind the snapshot, through the restores of before
    #[arg(long, value_name = "DATA_DIR")]
    log_from: Option<PathBuf>,
    /// Back to this moment, in the epoch that was current then, like 2026-11-27T02:14:07Z
    #[arg(long, value_name = "T", conflicts_with = "to_number", value_parser = moment)]
    to_time: Option<i64>,
    /// Back to this record: of the snapshot's own epoch if FILE is one, of the history of --log-from if it is a directory
    #[arg(long, value_name = "N")]
    to_number: Option<u64>,
    /// What becomes of live holds
    #[arg(long, value_name = "RULE", default_value = "keep")]
    holds: Rule,
    /// Tell what it would mean and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

/// The rule as it is spelled on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// Deadlines stay as they were
    Keep,
    /// Live holds get the time back that has passed since
    Rebase,
    /// Live holds of the cart phase end
    Expire,
}

impl From<Rule> for HoldsRule {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Keep => Self::Keep,
            Rule::Rebase => Self::Rebase,
            Rule::Expire => Self::Expire,
        }
    }
}

/// A moment in RFC 3339, as ms since the Unix epoch.
fn moment(text: &str) -> Result<i64, String> {
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| "wanted a moment with its offset, like 2026-11-27T02:14:07Z".to_owned())?;
    Ok(moment.as_millisecond())
}

impl RestoreOptions {
    fn cut(&self) -> Cut {
        match (self.to_time, self.to_number) {
            (Some(at), _) => Cut::Time(at),
            (None, Some(number)) => Cut::Number(number),
            (None, None) => Cut::End,
        }
    }

    /// The file named, or the nearest in the directory named: a data directory's snapshots, or any other.
    fn snapshot(&self, logs: Option<&Logs>) -> Result<PathBuf, RestoreError> {
        if !self.file.is_dir() {
            return Ok(self.file.clone());
        }
        let of_data = self.file.join("snapshots");
        let dir = if DataDir::is_begun(&self.file) {
            &of_data
        } else {
            &self.file
        };
        nearest(dir, self.cut(), logs.map(Logs::lineage))
    }
}

pub(super) fn run(options: &RestoreOptions, output: Output) -> Result<(), Failure> {
    let told = |error: RestoreError| failure(&error, options);
    let loaded = options.config.load(None)?;
    if !DataDir::is_vacant(&options.into).map_err(|error| told(error.into()))? {
        return Err(told(RestoreError::NotEmpty));
    }
    let logs = logs(options, &loaded)?;
    let logs = logs.as_ref().map(|(logs, _locked)| logs);
    let file = options.snapshot(logs).map_err(told)?;
    let open = || SnapshotReader::open(&file);
    let log = logs
        .map(|logs| logs.behind(open()?.manifest(), options.cut(), options.file.is_file()))
        .transpose()
        .map_err(told)?;
    let source = Source {
        open: &open,
        log: log.as_ref(),
    };
    let wanted = Wanted {
        cut: options.cut(),
        holds: options.holds.into(),
        now_ms: now().as_millis(),
    };
    let plan = survey(&source, wanted).map_err(told)?;
    if options.dry_run {
        output.data(
            || plan_text(&plan, &file, Look::of_stdout()),
            &json!({ "plan": plan_json(&plan, &file), "restored": Value::Null }),
        )?;
        let message = format!("dry run: {} is as it was", options.into.display());
        return Err(Failure::new(Exit::Differs, message));
    }
    if !output.is_json() {
        output.note(plan_text(&plan, &file, Look::PLAIN).trim_end());
    }
    let restored = fill(options, &loaded, &source, &plan).map_err(told)?;
    output.data(
        || totals_text(&restored, Look::of_stdout()),
        &json!({ "plan": plan_json(&plan, &file), "restored": totals_json(&restored) }),
    )?;
    output.next(&format!("holdfast serve --data-dir {}", options.into.display()));
    Ok(())
}

fn now() -> Timestamp {
    let clock = SystemClock::start(None, true).expect("without a log there is no gap to it");
    clock.now()
}

/// The logs that go on behind the snapshot, with their data directory, which stays locked.
fn logs(options: &RestoreOptions, loaded: &Loaded) -> Result<Option<(Logs, DataDir)>, Failure> {
    let Some(from) = &options.log_from else {
        return Ok(None);
    };
    if !DataDir::is_begun(from) {
        return Err(Failure::failed(format!(
            "there is no data directory {}",
            from.display()
        )));
    }
    let told = |error: RestoreError| failure(&error, options);
    let dir = DataDir::open(from).map_err(|error| told(error.into()))?;
    let logs = Logs::of_data_dir(&dir, &recover_options(&loaded.config)).map_err(told)?;
    Ok(Some((logs, dir)))
}

fn fill(
    options: &RestoreOptions,
    loaded: &Loaded,
    source: &Source<'_>,
    plan: &Plan,
) -> Result<Restored, RestoreError> {
    let mut dir = DataDir::open(&options.into)?;
    let recover = recover_options(&loaded.config);
    let bar = progress_bar();
    let restored = carry_out(&mut dir, &recover, &recover.journal(), source, plan, &|step| {
        tell(&bar, step);
    });
    bar.finish_and_clear();
    restored
}

fn tell(bar: &ProgressBar, step: Step) {
    match step {
        Step::Filling { done, total } => {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message("states and records");
        }
        Step::Checking => bar.set_message("checking the laws"),
        Step::Amending => bar.set_message("deadlines and pauses"),
        Step::Entering => bar.set_message("entering the epoch"),
    }
}

fn failure(error: &RestoreError, options: &RestoreOptions) -> Failure {
    let into = options.into.display();
    let is_taken = matches!(
        error,
        RestoreError::NotEmpty | RestoreError::Directory(DataDirError::Foreign { .. })
    );
    let code = if is_taken {
        Exit::Unsafe
    } else if matches!(error, RestoreError::Directory(DataDirError::Locked { .. })) {
        Exit::Locked
    } else if error.is_damage() {
        Exit::Damage
    } else {
        Exit::Failed
    };
    let message = if matches!(error, RestoreError::NotEmpty) {
        format!("{into} is in use already; name a new or an empty directory with --into")
    } else if matches!(error, RestoreError::Behind { .. }) && options.log_from.is_none() {
        format!("{error}; name the log with --log-from")
    } else {
        error.to_string()
    };
    Failure::new(code, message)
}

/// The plan in words, one fact a line.
fn plan_text(plan: &Plan, file: &Path, look: Look) -> String {
    let moment = |ms: i64| Moment(Timestamp::from_millis(ms)).to_string();
    let sold: u64 = plan.sold_after.iter().map(|sold| sold.units).sum();
    let mut rows: Vec<(&str, Cell)> = vec![
        (
            "snapshot",
            format!(
                "{}, taken at {}, {}",
                file.display(),
                plan.snapshot,
                moment(plan.taken_at_ms)
            )
            .into(),
        ),
        ("ends now at", plan.end.to_string().into()),
        (
            "cut behind",
            format!("{}, {}", plan.cut, moment(plan.cut_at_ms)).into(),
        ),
        ("replayed", format!("{} records", plan.replayed).into()),
        ("lost", count(plan.lost_records, "records")),
    ];
    if plan.knows_what_came_after {
        rows.push(("sold after", count(sold, "units")));
        rows.push((
            "lost sales",
            count(
                plan.lost.len() as u64,
                &format!("in all, {} without stock", plan.without_stock),
            ),
        ));
    } else {
        rows.push((
            "sold after",
            Cell::toned("not known: no log was named", Tone::Warn),
        ));
    }
    if let Some(why) = &plan.log_cut_short {
        let why = format!("{why}; every variant comes up paused");
        rows.push(("not all known", Cell::toned(why, Tone::Bad)));
    }
    let rule = plan.wanted.holds.as_str();
    rows.push((
        "holds",
        format!(
            "{} live, {} of them expired by now (--holds {rule})",
            plan.live_holds, plan.expired_holds
        )
        .into(),
    ));
    rows.push(("reads", HumanBytes(plan.bytes).to_string().into()));
    rows.push(("takes", format!("about {} s", plan.seconds).into()));
    let mut text = facts(rows, look);
    for sold in plan.sold_after.iter().take(SOLD_TOLD) {
        let there = if sold.existed {
            "comes up paused"
        } else {
            "did not exist then"
        };
        text.push_str(&format!(
            "  {} sold {} after the cut, {there}\n",
            sold.id, sold.units
        ));
    }
    let more = plan.sold_after.len().saturating_sub(SOLD_TOLD);
    if more > 0 {
        text.push_str(&format!("  and {more} more variants\n"));
    }
    text
}

/// A figure that somebody should look at unless it is nought.
fn count(figure: u64, what: &str) -> Cell {
    let tone = if figure > 0 { Tone::Warn } else { Tone::Plain };
    Cell::toned(format!("{figure} {what}"), tone)
}

fn plan_json(plan: &Plan, file: &Path) -> Value {
    let moment = |ms: i64| Moment(Timestamp::from_millis(ms));
    json!({
        "snapshot": file,
        "takenAt": moment(plan.taken_at_ms),
        "snapshotPosition": plan.snapshot.to_string(),
        "position": plan.end.to_string(),
        "cut": plan.cut.to_string(),
        "cutAt": moment(plan.cut_at_ms),
        "holds": plan.wanted.holds.as_str(),
        "recordsReplayed": plan.replayed,
        "recordsLost": plan.lost_records,
        "knowsWhatCameAfter": plan.knows_what_came_after,
        "logCutShort": plan.log_cut_short,
        "soldAfter": plan.sold_after.iter().map(|sold| json!({
            "store": sold.store.as_str(),
            "variantId": sold.id.as_str(),
            "units": sold.units,
            "existed": sold.existed,
        })).collect::<Vec<_>>(),
        "lostSales": plan.lost.len(),
        "lostSalesWithoutStock": plan.without_stock,
        "holdsLive": plan.live_holds,
        "holdsExpired": plan.expired_holds,
        "bytes": plan.bytes,
        "estimatedSeconds": plan.seconds,
    })
}

/// What came of it in words.
fn totals_text(restored: &Restored, look: Look) -> String {
    let Restored { counted, amended, .. } = restored;
    let mut rows: Vec<(&str, Cell)> = vec![
        ("position", restored.position.to_string().into()),
        ("variants", counted.variants.to_string().into()),
        (
            "reservations",
            format!("{} kept, {} ended", counted.holds, counted.ended).into(),
        ),
        ("carts", counted.carts.to_string().into()),
        ("orders", counted.orders.to_string().into()),
        ("keys", counted.keys.to_string().into()),
        ("laws", Cell::toned("sound", Tone::Good)),
        (
            "to be mended",
            format!("{} disagreements, at the next start", counted.mends).into(),
        ),
        (
            "moved",
            format!(
                "{} holds, {} carts, {} orders",
                amended.holds, amended.carts, amended.orders
            )
            .into(),
        ),
        ("paused", count(amended.paused, "variants")),
        ("state digest", hex(&restored.digest).into()),
    ];
    if let Some(file) = &restored.lost_file {
        let told = format!("{}; holdfast order commit makes them again", file.display());
        rows.push(("lost sales", Cell::toned(told, Tone::Warn)));
    }
    if let Some(left) = &restored.left {
        rows.push((
            "of before",
            format!("{}; rm -r it when nobody needs it", left.display()).into(),
        ));
    }
    facts(rows, look)
}

fn totals_json(restored: &Restored) -> Value {
    let Restored { counted, amended, .. } = restored;
    json!({
        "position": restored.position.to_string(),
        "variants": counted.variants,
        "reservations": counted.holds,
        "endedReservations": counted.ended,
        "carts": counted.carts,
        "orders": counted.orders,
        "keys": counted.keys,
        "disagreements": counted.mends,
        "holdsMoved": amended.holds,
        "cartsMoved": amended.carts,
        "ordersMoved": amended.orders,
        "variantsPaused": amended.paused,
        "stateDigest": hex(&restored.digest),
        "lostSalesFile": restored.lost_file,
        "epochOfBefore": restored.left,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
