//! `holdfast verify`: the laws over a data directory.
use std::path::PathBuf;

use clap::Args;

use super::data_dir::{existing, lock, unreadable};
use super::{ConfigOptions, Exit, Failure, Output};
use crate::app::recover_options;
use crate::storage::recovery::{VerifyReport, verify};

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct VerifyOptions {
    /// Data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

pub(super) fn run(options: &VerifyOptions, output: Output) -> Result<(), Failure> {
    let loaded = existing(&options.config, options.data_dir.as_deref())?;
    let root = &loaded.config.data.dir;
    let report = verify(&lock(&loaded)?, &recover_options(&loaded.config))
        .map_err(|error| unreadable(&error, root))?;
    output.data(|| table(&report), &json(&report))?;
    if report.is_sound() {
        return Ok(());
    }
    let broken = report.violations.len() as u64 + report.violations_untold;
    let message = format!(
        "{broken} broken laws in {}: {}",
        root.display(),
        report.violations.join("; ")
    );
    Err(Failure::new(Exit::Damage, message))
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
    let verdict = if report.is_sound() { "sound" } else { "BROKEN" };
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
        ("verdict", verdict.to_owned()),
    ];
    rows.iter()
        .map(|(name, value)| format!("{name:<18}{value}\n"))
        .collect()
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
        "digest": hex(&report.digest),
        "violations": report.violations,
        "violationsUntold": report.violations_untold,
        "sound": report.is_sound(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
