//! `holdfast status`: how a running server is, in one look.
use clap::Args;
use serde_json::{Value, json};

use super::figures::{Figures, seconds};
use super::nouns::length;
use super::online::{AtOps, AtServer, Server};
use super::table::{Cell, Look, Tone, facts, size};
use super::{Failure, Output};
use crate::telemetry::{EXPIRY_LAG, JOURNAL_SYNC_SECONDS, OVERSELL_UNITS};

/// Which server.
#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    server: AtServer,
    #[command(flatten)]
    ops: AtOps,
}

pub(super) fn run(options: &StatusOptions, output: Output) -> Result<(), Failure> {
    let server = Server::at(&options.server.url)?;
    let ops = Server::at(&options.ops.ops_url)?;
    let status = server.get("/api/admin/status")?.json()?;
    let figures = Figures::of(&ops)?;
    let snapshot = last_snapshot(&server)?;
    let told = with_figures(&status, &figures, snapshot.as_ref());
    output.data(|| facts(rows(&told), Look::of_stdout()), &told)?;
    if status["quarantinedVariants"].as_u64() > Some(0) {
        output.next(&format!("curl {}/api/admin/quarantine", options.server.url));
    } else {
        output.next(&format!(
            "holdfast top --url {} --ops-url {}",
            options.server.url, options.ops.ops_url
        ));
    }
    Ok(())
}

/// The newest snapshot; `None` if there is none, or the server knows no snapshots.
fn last_snapshot(server: &Server) -> Result<Option<Value>, Failure> {
    let answer = server.get("/api/admin/snapshots?limit=500")?;
    if answer.status() == 404 {
        return Ok(None);
    }
    let listed = answer.json()?;
    let items = listed["items"].as_array().into_iter().flatten();
    let made = |snapshot: &&Value| snapshot["createdAt"].as_str().map(str::to_owned);
    Ok(items.max_by_key(made).cloned())
}

/// The server's own status with what its metrics add.
fn with_figures(status: &Value, figures: &Figures, snapshot: Option<&Value>) -> Value {
    let mut told = status.clone();
    told["journalSyncSeconds"] = json!({
        "p50": finite(figures.below(JOURNAL_SYNC_SECONDS, 0.5)),
        "p99": finite(figures.below(JOURNAL_SYNC_SECONDS, 0.99)),
    });
    told["expiryLagSeconds"] = json!({ "p99": finite(figures.below(EXPIRY_LAG, 0.99)) });
    told["oversellUnits"] = json!(figures.value(OVERSELL_UNITS));
    told["lastSnapshot"] = json!(snapshot);
    told
}

/// JSON has no infinity: what is above every bound is told as the text `inf`.
fn finite(bound: Option<f64>) -> Value {
    match bound {
        Some(bound) if bound.is_infinite() => "inf".into(),
        bound => json!(bound),
    }
}

fn rows(told: &Value) -> Vec<(&'static str, Cell)> {
    let number = |member: &str| Cell::from(told[member].as_u64().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let bytes = |value: &Value| size(value.as_u64().unwrap_or_default());
    let state = text(&told["status"]);
    let uptime = told["uptimeSeconds"].as_i64().unwrap_or_default();
    let disk = &told["disk"];
    let low = disk["belowReserve"].as_bool().unwrap_or_default();
    let free = format!(
        "{} free, {} kept back",
        bytes(&disk["freeBytes"]),
        bytes(&disk["reserveBytes"])
    );
    let sync = &told["journalSyncSeconds"];
    vec![
        ("version", text(&told["version"]).into()),
        ("role", text(&told["role"]).into()),
        ("status", toned(&state, state == "serving", Tone::Warn)),
        ("up for", length(uptime.saturating_mul(1000)).into()),
        (
            "position",
            format!(
                "{} (stored up to {})",
                text(&told["position"]),
                told["checkpoint"]
            )
            .into(),
        ),
        (
            "variants",
            format!("{}, {} awake", told["variants"], told["runningVariants"]).into(),
        ),
        ("live holds", number("liveHolds")),
        ("held units", number("heldUnits")),
        ("carts", number("carts")),
        ("orders", number("orders")),
        ("in flight", number("inFlight")),
        ("journal queue", number("queueDepth")),
        ("journal size", bytes(&told["logBytes"]).into()),
        ("journal sync p50", seconds(bound(&sync["p50"])).into()),
        ("journal sync p99", seconds(bound(&sync["p99"])).into()),
        (
            "expiry lag p99",
            seconds(bound(&told["expiryLagSeconds"]["p99"])).into(),
        ),
        ("disk", toned(&free, !low, Tone::Bad)),
        ("last snapshot", snapshot(&told["lastSnapshot"])),
        ("quarantined", zero(&told["quarantinedVariants"])),
        ("oversold units", zero(&told["oversellUnits"])),
    ]
}

fn toned(text: &str, good: bool, otherwise: Tone) -> Cell {
    Cell::toned(text, if good { Tone::Good } else { otherwise })
}

/// A figure that must stay 0.
fn zero(value: &Value) -> Cell {
    let figure = value.as_f64().unwrap_or_default();
    toned(&figure.to_string(), figure == 0.0, Tone::Bad)
}

fn snapshot(snapshot: &Value) -> Cell {
    match (snapshot["id"].as_str(), snapshot["createdAt"].as_str()) {
        (Some(id), Some(created)) => format!("{created} ({id})").into(),
        _ => Cell::toned("none", Tone::Warn),
    }
}

/// A percentile as it was told, back.
fn bound(value: &Value) -> Option<f64> {
    if value == "inf" {
        Some(f64::INFINITY)
    } else {
        value.as_f64()
    }
}
