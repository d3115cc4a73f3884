//! `holdfast verify`: the laws over a data directory, or over a snapshot file.
use std::path::{Path, PathBuf};

use clap::Args;

use super::data_dir::{existing, lock, unreadable};
use super::snapshot::working;
use super::table::{Cell, Look, Tone, facts};
use super::{ConfigOptions, Exit, Failure, Output};
use crate::app::recover_options;
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::recovery::{JudgeError, Remedy, VerifyReport, judge, verify};
use crate::storage::snapshot::{self, SnapshotReader};

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct VerifyOptions {
    /// Snapshot file to verify instead of a data directory
    #[arg(value_name = "FILE", conflicts_with = "data_dir")]
    file: Option<PathBuf>,
    /// Data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

pub(super) fn run(options: &VerifyOptions, output: Output) -> Result<(), Failure> {
    if let Some(file) = &options.file {
        if file.is_dir() {
            let dir = file.display();
            let message = format!(
                "{dir} is a directory, and a snapshot is a file; a data directory is named by --data-dir"
            );
            return Err(Failure::new(Exit::Usage, message).next(format!("holdfast verify --data-dir {dir}")));
        }
        return snapshot_file(file, output);
    }
    let loaded = existing(&options.config, options.data_dir.as_deref())?;
    let root = &loaded.config.data.dir;
    let report = verify(&lock(&loaded)?, &recover_options(&loaded.config))
        .map_err(|error| unreadable(&error, root))?;
    output.data(|| table(&report), &json(&report))?;
    if report.is_sound() {
        output.next(&format!("holdfast serve --data-dir {}", root.display()));
        return Ok(());
    }
    let failure = broken(root, &report.violations, report.violations_untold);
    Err(failure.next(Remedy::Restore.command(root)))
}

fn broken(path: &Path, told: &[String], untold: u64) -> Failure {
    let laws = told.len() as u64 + untold;
    let message = format!("{laws} broken laws in {}: {}", path.display(), told.join("; "));
    Failure::new(Exit::Damage, message)
}

/// First every byte, then every law at the snapshot's position.
pub(super) fn snapshot_file(file: &Path, output: Output) -> Result<(), Failure> {
    let reading = working("reading the snapshot");
    let summary = snapshot::verify(file).map_err(|error| unjudged(&JudgeError::from(error)))?;
    let open = || SnapshotReader::open(file);
    let manifest = open()
        .map_err(|error| unjudged(&JudgeError::from(error)))?
        .manifest()
        .clone();
    let judged = judge(&open).map_err(|error| unjudged(&error))?;
    reading.finish_and_clear();
    let sound = judged.violations.is_empty();
    let created = Moment(Timestamp::from_millis(manifest.created_at_ms));
    let rows = || {
        let rows = [
            ("written by", Cell::from(&manifest.written_by)),
            ("created", created.into()),
            (
                "position",
                format!("{}-{}", manifest.epoch, manifest.position).into(),
            ),
            (
                "bytes",
                format!("{} in {} blocks, whole", summary.bytes, summary.blocks).into(),
            ),
            ("records replayed", manifest.counts.records.into()),
            ("variants", judged.variants.into()),
            ("reservations", format!("{} kept", judged.holds).into()),
            ("carts", judged.carts.into()),
            ("orders", judged.orders.into()),
            (
                "units",
                format!(
                    "{} on hand, {} held, {} sold",
                    judged.on_hand, judged.held, judged.committed
                )
                .into(),
            ),
            ("disagreements", judged.mends.into()),
            ("state digest", hex(&judged.digest).into()),
            ("verdict", verdict(sound)),
        ];
        facts(rows, Look::of_stdout())
    };
    let told = serde_json::json!({
        "file": file.display().to_string(),
        "writtenBy": manifest.written_by,
        "createdAt": created,
        "position": format!("{}-{}", manifest.epoch, manifest.position),
        "bytes": summary.bytes,
        "blocks": summary.blocks,
        "contentDigest": summary.digest.to_string(),
        "records": manifest.counts.records,
        "variants": judged.variants,
        "reservations": judged.holds,
        "carts": judged.carts,
        "orders": judged.orders,
        "totals": judged.totals(),
        "disagreements": judged.mends,
        "stateDigest": hex(&judged.digest),
        "violations": judged.violations,
        "violationsUntold": judged.violations_untold,
        "sound": sound,
    });
    output.data(rows, &told)?;
    if !sound {
        return Err(broken(file, &judged.violations, judged.violations_untold));
    }
    output.next(&format!(
        "holdfast restore {} --into DIR --dry-run",
        file.display()
    ));
    Ok(())
}

fn unjudged(error: &JudgeError) -> Failure {
    let code = if error.is_damage() {
        Exit::Damage
    } else {
        Exit::Failed
    };
    let cause = std::error::Error::source(error);
    let because = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Failure::new(code, format!("{error}{because}"))
}

fn verdict(sound: bool) -> Cell {
    if sound {
        Cell::toned("sound", Tone::Good)
    } else {
        Cell::toned("BROKEN", Tone::Bad)
    }
}

fn table(report: &VerifyReport) -> String {
    let torn = report
        .torn
        .as_ref()
        .map_or_else(|| "none".to_owned(), |torn| format!("{} bytes", torn.bytes));
    let compared = if report.compared_with_whole_log {
        "yes"
    } else {
        "no, its beginning was trimmed"
    };
    let log = match report.groups {
        0 => format!("empty, goes on with record {}", report.first),
        groups => format!("records {} to {} in {groups} groups", report.first, report.last),
    };
    let rows = [
        ("log", log),
        ("torn tail", torn),
        ("stored rows up to", format!("record {}", report.checkpoint)),
        ("replayed behind", format!("{} records", report.replayed)),
        ("variants", report.variants.to_string()),
        (
            "reservations",
            format!("{} kept, {} ended", report.holds, report.ended),
        ),
        ("carts", report.carts.to_string()),
        ("orders", report.orders.to_string()),
        ("disagreements", report.mends.to_string()),
        ("idempotency keys", report.keys.to_string()),
        ("ledger lines", report.ledger.to_string()),
        ("replay equal", compared.to_owned()),
        ("state digest", hex(&report.digest)),
    ];
    let rows = rows.map(|(name, value)| (name, Cell::from(value)));
    let verdict = ("verdict", verdict(report.is_sound()));
    facts(rows.into_iter().chain([verdict]), Look::of_stdout())
}

fn json(report: &VerifyReport) -> serde_json::Value {
    serde_json::json!({
        "firstRecord": report.first,
        "lastRecord": report.last,
        "groups": report.groups,
        "logBytes": report.log_bytes,
        "tornBytes": report.torn.as_ref().map_or(0, |torn| torn.bytes),
        "checkpoint": report.checkpoint,
        "replayed": report.replayed,
        "variants": report.variants,
        "reservations": report.holds,
        "endedReservations": report.ended,
        "carts": report.carts,
        "orders": report.orders,
        "disagreements": report.mends,
        "keys": report.keys,
        "ledgerLines": report.ledger,
        "comparedWithWholeLog": report.compared_with_whole_log,
        "stateDigest": hex(&report.digest),
        "violations": report.violations,
        "violationsUntold": report.violations_untold,
        "sound": report.is_sound(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
