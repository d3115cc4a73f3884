//! `holdfast top`: what is hot now, every second.
//!
//! On a terminal the screen is redrawn until `q` or Ctrl-C; elsewhere, and with `--once`, one frame is printed. In the first
//! frame rates are averages since the server began; from the second on they are of the time between two frames.
use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _, Write as _};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::figures::{Figures, seconds};
use super::nouns::{length, text};
use super::online::{AtOps, AtServer, Server};
use super::table::{Cell, Column, Look, Table, Tone, size};
use super::{Failure, Output};
use crate::clock::Stopwatch;
use crate::telemetry::{EXPIRY_LAG, JOURNAL_RECORDS, JOURNAL_SYNC_SECONDS};

/// How many variants are shown.
const ROWS: usize = 15;
/// From one frame to the next.
const EVERY: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Which server.
#[derive(Debug, Args)]
pub(super) struct TopOptions {
    /// Print one frame and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    server: AtServer,
    #[command(flatten)]
    ops: AtOps,
}

pub(super) fn run(options: &TopOptions, output: Output) -> Result<(), Failure> {
    let watched = Watched {
        server: Server::at(&options.server.url)?,
        ops: Server::at(&options.ops.ops_url)?,
    };
    let live = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if options.once || output.is_json() || !live {
        let seen = watched.look()?;
        let frame = Frame::of(&seen, None);
        output.data(|| frame.text(Look::of_stdout()), &frame.json())?;
        output.next("holdfast variant get ID");
        return Ok(());
    }
    redraw(&watched)
}

/// Draws until somebody ends it.
fn redraw(watched: &Watched) -> Result<(), Failure> {
    let _screen = Screen::take()?;
    let mut before: Option<Seen> = None;
    loop {
        let seen = watched.look()?;
        let frame = Frame::of(&seen, before.as_ref());
        draw(&frame.text(Look::of_stdout()))?;
        before = Some(seen);
        if asked_to_end()? {
            return Ok(());
        }
    }
}

/// One look at a server.
struct Seen {
    at: Stopwatch,
    status: Value,
    hot: Vec<Value>,
    stock: HashMap<String, Value>,
    figures: Figures,
}

/// Whom to look at.
struct Watched {
    server: Server,
    ops: Server,
}

impl Watched {
    fn look(&self) -> Result<Seen, Failure> {
        let at = Stopwatch::start();
        let status = self.server.get("/api/admin/status")?.json()?;
        let path = format!("/api/admin/hot-variants?limit={ROWS}");
        let mut hot = self.server.get(&path)?.json()?;
        let hot = hot["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let ids: Vec<&Value> = hot.iter().map(|item| &item["variantId"]).collect();
        let mut stock = HashMap::new();
        if !ids.is_empty() {
            let asked = json!({ "variantIds": ids });
            let answer = self.server.post("/api/stock/availability", &asked)?.json()?;
            for item in answer["items"].as_array().into_iter().flatten() {
                stock.insert(text(&item["variantId"]), item.clone());
            }
        }
        Ok(Seen {
            at,
            status,
            hot,
            stock,
            figures: Figures::of(&self.ops)?,
        })
    }
}

/// What is shown.
struct Frame {
    status: Value,
    records_per_second: f64,
    sync_p50: Option<f64>,
    sync_p99: Option<f64>,
    expiry_lag_p99: Option<f64>,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    rate: f64,
    commands: u64,
    in_flight: u64,
    stock: Value,
}

impl Frame {
    fn of(seen: &Seen, before: Option<&Seen>) -> Self {
        let uptime = seen.status["uptimeSeconds"].as_f64().unwrap_or_default().max(1.0);
        let elapsed = before.map_or(uptime, |before| before.at.seconds() - seen.at.seconds());
        let rate = |now: f64, earlier: f64| (now - earlier).max(0.0) / elapsed.max(0.001);
        let records = |seen: &Seen| seen.figures.value(JOURNAL_RECORDS).unwrap_or_default();
        let below = |spec, share| match before {
            Some(before) => seen.figures.since(spec, &before.figures, share),
            None => seen.figures.below(spec, share),
        };
        let mut rows: Vec<Row> = seen
            .hot
            .iter()
            .map(|item| {
                let id = text(&item["variantId"]);
                let earlier = before
                    .and_then(|before| commands_of(before, &id))
                    .unwrap_or_default();
                Row {
                    rate: rate(item["commands"].as_f64().unwrap_or_default(), earlier),
                    commands: item["commands"].as_u64().unwrap_or_default(),
                    in_flight: item["inFlight"].as_u64().unwrap_or_default(),
                    stock: seen.stock.get(&id).cloned().unwrap_or_default(),
                    id,
                }
            })
            .collect();
        rows.sort_by(|a, b| {
            b.rate
                .total_cmp(&a.rate)
                .then_with(|| b.commands.cmp(&a.commands))
        });
        Self {
            records_per_second: rate(records(seen), before.map_or(0.0, records)),
            sync_p50: below(JOURNAL_SYNC_SECONDS, 0.5),
            sync_p99: below(JOURNAL_SYNC_SECONDS, 0.99),
            expiry_lag_p99: below(EXPIRY_LAG, 0.99),
            status: seen.status.clone(),
            rows,
        }
    }

    fn text(&self, look: Look) -> String {
        let status = &self.status;
        let uptime = status["uptimeSeconds"]
            .as_i64()
            .unwrap_or_default()
            .saturating_mul(1000);
        let bytes = |value: &Value| size(value.as_u64().unwrap_or_default());
        let mut told = format!(
            "holdfast {}  {}  up {}  position {}\n",
            text(&status["version"]),
            text(&status["status"]),
            length(uptime),
            text(&status["position"]),
        );
        told.push_str(&format!(
            "holds {}  units {}  carts {}  orders {}  in flight {}  quarantined {}\n",
            status["liveHolds"],
            status["heldUnits"],
            status["carts"],
            status["orders"],
            status["inFlight"],
            status["quarantinedVariants"],
        ));
        told.push_str(&format!(
            "journal {:.0} records/s  queue {}  sync p50 {}  p99 {}\n",
            self.records_per_second,
            status["queueDepth"],
            seconds(self.sync_p50),
            seconds(self.sync_p99),
        ));
        told.push_str(&format!(
            "expiry lag p99 {}  disk {} free\n\n",
            seconds(self.expiry_lag_p99),
            bytes(&status["disk"]["freeBytes"]),
        ));
        if self.rows.is_empty() {
            told.push_str("no variant was asked anything yet\n");
            return told;
        }
        told.push_str(&self.table().render(look));
        told
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            Column::cut("VARIANT"),
            Column::number("PER SECOND"),
            Column::number("COMMANDS"),
            Column::number("IN FLIGHT"),
            Column::number("FREE"),
            Column::number("HELD"),
            Column::text("STATUS"),
        ]);
        for row in &self.rows {
            let status = text(&row.stock["status"]);
            let tone = match status.as_str() {
                "sold_out" | "closed" => Tone::Bad,
                "low_stock" | "paused" | "draining" => Tone::Warn,
                _ => Tone::Plain,
            };
            table.row([
                row.id.clone().into(),
                format!("{:.1}", row.rate).into(),
                row.commands.into(),
                row.in_flight.into(),
                text(&row.stock["available"]).into(),
                text(&row.stock["held"]).into(),
                Cell::toned(status, tone),
            ]);
        }
        table
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "variantId": row.id,
                "commandsPerSecond": row.rate,
                "commands": row.commands,
                "inFlight": row.in_flight,
                "available": row.stock["available"],
                "held": row.stock["held"],
                "status": row.stock["status"],
            })
        };
        json!({
            "status": self.status,
            "recordsPerSecond": self.records_per_second,
            "hot": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

fn commands_of(seen: &Seen, id: &str) -> Option<f64> {
    let item = seen.hot.iter().find(|item| text(&item["variantId"]) == id)?;
    item["commands"].as_f64()
}

/// The terminal while it is drawn on: keys are read one by one and not shown. Given back when it is dropped.
struct Screen(Termios);

impl Screen {
    fn take() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        let failed = |error| Failure::failed(format!("cannot use the terminal: {error}"));
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &quiet).map_err(failed)?;
        let screen = Self(before);
        // The other screen, without a cursor: what was on this one comes back.
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing back.
        let _ = write("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn draw(frame: &str) -> Result<(), Failure> {
    // Each line is cleared behind its end, and the screen below the last: nothing flickers.
    let lines = frame.replace('\n', "\x1b[K\r\n");
    write(&format!("\x1b[H{lines}\x1b[J"))
}

fn write(bytes: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::failed(format!("cannot write to the terminal: {error}")))
}

/// Waits for the next frame's time; whether `q`, Ctrl-C or the end of input came first.
fn asked_to_end() -> Result<bool, Failure> {
    let mut stdin = std::io::stdin();
    let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut ready, Some(&EVERY)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(Failure::failed(format!("cannot wait for a key: {error}"))),
    }
    let mut keys = [0; 16];
    let read = stdin
        .read(&mut keys)
        .map_err(|error| Failure::failed(format!("cannot read a key: {error}")))?;
    const CTRL_C: u8 = 3;
    Ok(read == 0 || keys[..read].iter().any(|key| [b'q', b'Q', CTRL_C].contains(key)))
}
