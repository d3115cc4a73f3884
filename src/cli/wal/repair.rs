//! `holdfast wal verify` and `repair`: where a log breaks, and a log that a start takes again.
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::WalOptions;
use super::inspect::{judged, unopened};
use crate::cli::data_dir::unreadable;
use crate::cli::table::{Cell, Column, Look, Table, Tone, facts};
use crate::cli::{Exit, Failure, Output};
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::data_dir::DataDir;
use crate::storage::recovery::{self, Lost, Named, RecoverOptions, Remedy, RepairPlan, plan_repair};

/// How to repair.
#[derive(Debug, Args)]
pub(in crate::cli) struct RepairOptions {
    /// Cut the log before its first break; what is cut stays in .bak files beside it
    #[arg(long)]
    truncate_tail: bool,
    /// Cut records too for which somebody may have been answered
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    log: WalOptions,
}

pub(super) fn verify(options: &WalOptions, output: Output) -> Result<(), Failure> {
    let (dir, recover) = options.open()?;
    let journal = dir.journal_dir();
    let mut records = 0;
    let survey = recover
        .log(&dir, &journal)
        .survey(&mut |_, group| records += u64::from(group.count()))
        .map_err(|error| unopened(&error))?;
    let groups: u64 = survey.units.iter().map(|unit| unit.groups).sum();
    let bytes: u64 = survey.units.iter().map(|unit| unit.bytes).sum();
    let first = survey
        .units
        .iter()
        .find_map(|unit| unit.first)
        .map(|first| first.0);
    let last = survey
        .units
        .iter()
        .rev()
        .find_map(|unit| unit.last)
        .map(|last| last.0);
    let torn = survey.torn.as_ref();
    let told = json!({
        "firstRecord": first,
        "lastRecord": last,
        "records": records,
        "groups": groups,
        "bytes": bytes,
        "tornBytes": torn.map_or(0, |torn| torn.bytes),
        "damage": survey.damage.as_ref().map(|damage| json!({
            "file": damage.file.display().to_string(),
            "offset": damage.offset,
            "record": damage.record.0,
            "reason": damage.reason,
        })),
        "sound": survey.damage.is_none(),
    });
    let verdict = if survey.damage.is_none() {
        "closed"
    } else {
        "BROKEN"
    };
    let span = match (first, last) {
        (Some(first), Some(last)) => format!("{first} to {last}, {groups} groups, {bytes} bytes"),
        _ => "none".to_owned(),
    };
    let text = || {
        let rows = [
            ("good records", Cell::from(span)),
            (
                "torn tail",
                torn.map_or_else(|| "none".into(), |torn| format!("{} bytes", torn.bytes).into()),
            ),
            (
                "verdict",
                Cell::toned(
                    verdict,
                    if survey.damage.is_none() {
                        Tone::Good
                    } else {
                        Tone::Bad
                    },
                ),
            ),
        ];
        facts(rows, Look::of_stdout())
    };
    output.data(text, &told)?;
    judged(&survey, &dir)?;
    output.next(&format!("holdfast verify --data-dir {}", dir.root().display()));
    Ok(())
}

pub(super) fn repair(options: &RepairOptions, output: Output) -> Result<(), Failure> {
    let (dir, recover) = options.log.open()?;
    let root = dir.root().display().to_string();
    let plan = plan_repair(&dir, &recover).map_err(|error| unreadable(&error, dir.root()))?;
    if plan.broken.is_none() {
        output.data(
            || "the log is sound: nothing to cut\n".to_owned(),
            &report(&plan, &[], false),
        )?;
        output.next(&format!("holdfast verify --data-dir {root}"));
        return Ok(());
    }
    if !options.truncate_tail {
        output.data(|| told(&plan, &[]), &report(&plan, &[], false))?;
        let message = "nothing was changed; to cut the log before its break, say --truncate-tail";
        return Err(Failure::new(Exit::Unsafe, message)
            .next(format!("holdfast wal repair --truncate-tail --data-dir {root}")));
    }
    if plan.cuts_answered() && !options.yes {
        output.data(|| told(&plan, &[]), &report(&plan, &[], false))?;
        let what = match plan.lost.records {
            0 => "the break is damage, and what stood there may have been answered".to_owned(),
            records => format!("good records lie behind the break and would be lost: {records}"),
        };
        let message = format!("{what}. Nothing was changed; to cut it nevertheless, say --yes");
        return Err(Failure::new(Exit::Unsafe, message).next(format!(
            "holdfast wal repair --truncate-tail --yes --data-dir {root}"
        )));
    }
    let kept = recovery::repair(&dir, &recover, &plan).map_err(|error| unreadable(&error, dir.root()))?;
    output.data(|| told(&plan, &kept), &report(&plan, &kept, true))?;
    sound_again(&dir, &recover)?;
    output.next(&format!("holdfast serve --data-dir {root}"));
    Ok(())
}

/// All laws, over what the repair has left.
fn sound_again(dir: &DataDir, recover: &RecoverOptions) -> Result<(), Failure> {
    let report = recovery::verify(dir, recover).map_err(|error| unreadable(&error, dir.root()))?;
    if report.is_sound() {
        return Ok(());
    }
    let message = format!(
        "the log was cut, but laws are broken: {}",
        report.violations.join("; ")
    );
    Err(Failure::new(Exit::Damage, message).next(Remedy::Restore.command(dir.root())))
}

fn told(plan: &RepairPlan, kept: &[PathBuf]) -> String {
    let look = Look::of_stdout();
    let Some(broken) = &plan.broken else {
        return String::new();
    };
    let rest = if plan.begins_behind_rows {
        format!(
            "the stored states up to record {}, the log behind them",
            plan.stored
        )
    } else {
        "the log up to there".to_owned()
    };
    let mut rows = vec![
        ("break in", Cell::from(broken.file.display())),
        (
            "at",
            format!("offset {}, record {}", broken.offset, broken.record).into(),
        ),
        ("because", broken.reason.clone().into()),
        ("kept", format!("{rest}: all up to record {}", plan.keeps).into()),
        ("good records cut", lost_records(&plan.lost)),
    ];
    for (name, named) in names(&plan.lost) {
        if !named.is_empty() {
            rows.push((name, listed(named).into()));
        }
    }
    for path in kept {
        rows.push(("kept aside", path.display().into()));
    }
    let mut told = facts(rows, look);
    let mut by_kind = Table::new(&[Column::text("KIND CUT"), Column::number("COUNT")]);
    for (kind, count) in &plan.lost.kinds {
        by_kind.row([(*kind).into(), (*count).into()]);
    }
    if !by_kind.is_empty() {
        told.push_str(&format!("\n{}", by_kind.render(look)));
    }
    told
}

fn lost_records(lost: &Lost) -> Cell {
    if lost.records == 0 {
        return Cell::toned("none", Tone::Good);
    }
    let until = Moment(Timestamp::from_millis(lost.until_ms));
    Cell::toned(
        format!("{}: {} to {}, until {until}", lost.records, lost.first, lost.last),
        Tone::Bad,
    )
}

fn names(lost: &Lost) -> [(&'static str, &Named); 3] {
    [
        ("reservations", &lost.reservations),
        ("carts", &lost.carts),
        ("orders", &lost.orders),
    ]
}

/// The ids of one kind: the first few by name.
fn listed(named: &Named) -> String {
    let some: Vec<&str> = named.some().collect();
    let more = named.len() - some.len();
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    format!("{}: {}{more}", named.len(), some.join(", "))
}

fn report(plan: &RepairPlan, kept: &[PathBuf], done: bool) -> Value {
    let ids = |named: &Named| json!({ "count": named.len(), "ids": named.some().collect::<Vec<_>>() });
    let lost = &plan.lost;
    json!({
        "repaired": done,
        "break": plan.broken.as_ref().map(|broken| json!({
            "file": broken.file.display().to_string(),
            "offset": broken.offset,
            "record": broken.record,
            "reason": broken.reason,
        })),
        "storedUpTo": plan.stored,
        "keptUpTo": plan.keeps,
        "beginsBehindRows": plan.begins_behind_rows,
        "lost": {
            "records": lost.records,
            "first": (lost.records > 0).then_some(lost.first),
            "last": (lost.records > 0).then_some(lost.last),
            "kinds": lost.kinds,
            "reservations": ids(&lost.reservations),
            "carts": ids(&lost.carts),
            "orders": ids(&lost.orders),
        },
        "keptAside": kept.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
}
