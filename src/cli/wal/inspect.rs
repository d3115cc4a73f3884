//! `holdfast wal inspect` and `tail`: what lies in a log, up to its first break.
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::WalOptions;
use super::record::{about, whole};
use crate::cli::table::{Cell, Column, Look, Table, size};
use crate::cli::{Exit, Failure, Output};
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::data_dir::DataDir;
use crate::storage::dto;
use crate::storage::journal::survey::{Survey, Unit};
use crate::storage::journal::{Damage, OpenError, Record};
use crate::storage::record::Turn;
use crate::storage::record_words::kinds;
use crate::storage::recovery::{RecoverOptions, Remedy};

/// What to show.
#[derive(Debug, Args)]
pub(in crate::cli) struct InspectOptions {
    /// Show records from this number on
    #[arg(long, value_name = "N", conflicts_with = "record")]
    from: Option<u64>,
    /// Most records shown
    #[arg(long, value_name = "N", default_value_t = 20, requires = "from")]
    limit: usize,
    /// Show one record whole
    #[arg(long, value_name = "N")]
    record: Option<u64>,
    #[command(flatten)]
    log: WalOptions,
}

/// How many.
#[derive(Debug, Args)]
pub(in crate::cli) struct TailOptions {
    /// How many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    log: WalOptions,
}

pub(super) fn inspect(options: &InspectOptions, output: Output) -> Result<(), Failure> {
    let (dir, recover) = options.log.open()?;
    if let Some(number) = options.record {
        return one(&dir, &recover, number, output);
    }
    if let Some(from) = options.from {
        let mut shown = Vec::new();
        let survey = walk(&dir, &recover, &mut |record| {
            if record.number.0 >= from && shown.len() < options.limit {
                shown.push(record.clone());
            }
        })?;
        return listed(&shown, &survey, &dir, output);
    }
    let mut found: BTreeMap<&'static str, u64> = BTreeMap::new();
    let survey = walk(&dir, &recover, &mut |record| {
        let known =
            dto::decode_turn(&record.payload).map_or_else(|_| vec!["unreadable"], |turn| kinds(&turn));
        for kind in known {
            *found.entry(kind).or_default() += 1;
        }
    })?;
    let journal = dir.journal_dir();
    let told = json!({
        "directory": journal.display().to_string(),
        "backend": recover.backend.as_str(),
        "units": survey.units.iter().map(unit_json).collect::<Vec<_>>(),
        "kinds": found,
        "tornBytes": survey.torn.as_ref().map_or(0, |torn| torn.bytes),
    });
    output.data(|| overview(&journal, &survey, &found), &told)?;
    judged(&survey, &dir)?;
    if let Some(last) = survey.units.iter().rev().find_map(|unit| unit.last) {
        output.next(&format!(
            "holdfast wal inspect --record {last} --data-dir {}",
            dir.root().display()
        ));
    }
    Ok(())
}

pub(super) fn tail(options: &TailOptions, output: Output) -> Result<(), Failure> {
    let (dir, recover) = options.log.open()?;
    let mut last: VecDeque<Record> = VecDeque::new();
    let survey = walk(&dir, &recover, &mut |record| {
        if last.len() == options.lines {
            last.pop_front();
        }
        if options.lines > 0 {
            last.push_back(record.clone());
        }
    })?;
    listed(&last.into_iter().collect::<Vec<_>>(), &survey, &dir, output)
}

/// Shows each record of the log up to its first break.
fn walk(dir: &DataDir, recover: &RecoverOptions, each: &mut dyn FnMut(&Record)) -> Result<Survey, Failure> {
    let journal = dir.journal_dir();
    let log = recover.log(dir, &journal);
    log.survey(&mut |_, group| group.records().for_each(|record| each(&record)))
        .map_err(|error| unopened(&error))
}

/// Why a log could not be looked at at all.
pub(super) fn unopened(error: &OpenError) -> Failure {
    let cause = std::error::Error::source(error);
    let because = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Failure::failed(format!("{error}{because}"))
}

/// Exit code 3 where the log breaks.
pub(super) fn judged(survey: &Survey, dir: &DataDir) -> Result<(), Failure> {
    let Some(damage) = &survey.damage else {
        return Ok(());
    };
    Err(broken(damage, dir))
}

/// The first break, by file, offset and record.
pub(super) fn broken(damage: &Damage, dir: &DataDir) -> Failure {
    Failure::new(Exit::Damage, damage.to_string()).next(Remedy::CutLog.command(dir.root()))
}

fn overview(journal: &Path, survey: &Survey, found: &BTreeMap<&'static str, u64>) -> String {
    let look = Look::of_stdout();
    let mut units = Table::new(&[
        Column::cut("FILE"),
        Column::number("RECORDS"),
        Column::number("GROUPS"),
        Column::number("SIZE"),
        Column::text("WRITTEN FROM"),
    ]);
    for unit in &survey.units {
        units.row([
            file_name(unit).into(),
            span(unit).into(),
            unit.groups.to_string().into(),
            size(unit.bytes).into(),
            if unit.groups == 0 {
                "-".into()
            } else {
                moment(unit.since_ms).into()
            },
        ]);
    }
    let mut by_kind = Table::new(&[Column::text("KIND"), Column::number("COUNT")]);
    for (kind, count) in found {
        by_kind.row([(*kind).into(), (*count).into()]);
    }
    let mut told = format!("{}\n\n{}", journal.display(), units.render(look));
    if !by_kind.is_empty() {
        told.push_str(&format!("\n{}", by_kind.render(look)));
    }
    if let Some(torn) = &survey.torn {
        told.push_str(&format!(
            "\ntorn tail: {} bytes at record {}; nobody was answered from it, the next start cuts it\n",
            torn.bytes, torn.record
        ));
    }
    told
}

fn span(unit: &Unit) -> String {
    match (unit.first, unit.last) {
        (Some(first), Some(last)) => format!("{first}-{last}"),
        _ => "-".to_owned(),
    }
}

fn file_name(unit: &Unit) -> String {
    unit.file
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn unit_json(unit: &Unit) -> Value {
    json!({
        "file": file_name(unit),
        "firstRecord": unit.first.map(|first| first.0),
        "lastRecord": unit.last.map(|last| last.0),
        "groups": unit.groups,
        "records": unit.records,
        "bytes": unit.bytes,
        "since": (unit.groups > 0).then(|| moment(unit.since_ms)),
        "until": (unit.groups > 0).then(|| moment(unit.until_ms)),
    })
}

fn moment(ms: i64) -> String {
    Moment(Timestamp::from_millis(ms)).to_string()
}

fn one(dir: &DataDir, recover: &RecoverOptions, number: u64, output: Output) -> Result<(), Failure> {
    let mut found = None;
    let survey = walk(dir, recover, &mut |record| {
        if record.number.0 == number {
            found = Some(record.clone());
        }
    })?;
    let Some(record) = found else {
        judged(&survey, dir)?;
        let ends = survey.tail.map_or(0, |tail| tail.last.0);
        let first = survey
            .units
            .iter()
            .find_map(|unit| unit.first)
            .map_or(ends + 1, |first| first.0);
        let message = format!("there is no record {number}: the log has {first} to {ends}");
        return Err(Failure::failed(message));
    };
    let told = whole(&record).map_err(|reason| Failure::new(Exit::Damage, reason))?;
    let text = serde_json::to_string_pretty(&told).expect("a record's members are plain data");
    output.data(|| format!("{text}\n"), &told)
}

fn listed(records: &[Record], survey: &Survey, dir: &DataDir, output: Output) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::number("RECORD"),
        Column::text("LOGGED"),
        Column::number("BYTES"),
        Column::text("KIND"),
        Column::cut("ABOUT"),
    ]);
    let mut items = Vec::new();
    for record in records {
        let decoded = dto::decode_turn(&record.payload);
        let kind = decoded
            .as_ref()
            .map_or_else(|_| "unreadable".to_owned(), told_kinds);
        let about = decoded.as_ref().map_or_else(ToString::to_string, about);
        table.row([
            record.number.to_string().into(),
            moment(record.logged_at_ms).into(),
            record.payload.len().to_string().into(),
            kind.into(),
            Cell::from(about),
        ]);
        if output.is_json() {
            items.push(
                whole(record).unwrap_or_else(|reason| json!({"number": record.number.0, "error": reason})),
            );
        }
    }
    output.data(|| table.render(Look::of_stdout()), &json!({ "records": items }))?;
    judged(survey, dir)?;
    if let Some(last) = records.last() {
        output.next(&format!(
            "holdfast wal inspect --record {} --data-dir {}",
            last.number,
            dir.root().display()
        ));
    }
    Ok(())
}

/// The kinds of a record in one cell.
fn told_kinds(turn: &Turn) -> String {
    let kinds = kinds(turn);
    match kinds.as_slice() {
        [only] => (*only).to_owned(),
        [first, rest @ ..] if rest.iter().all(|kind| kind == first) => format!("{first} x{}", kinds.len()),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
        [] => String::new(),
    }
}
