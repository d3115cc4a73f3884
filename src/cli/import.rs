//! `holdfast import`: a shop's list into a running server.
//!
//! Every import has a key, made here when none is given: when the connection breaks or the server dies in the middle, the
//! command that is told next goes on where it stopped.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::nouns::text;
use super::online::{AtServer, Server, segment};
use super::table::{Cell, Column, Look, Table, Tone, facts};
use super::{Exit, Failure, Output};
use crate::http::stock_file::Format;

/// How long the server may be silent: it answers when every line is done.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How much of a long value a dry run shows.
const VALUE_CHARS_SHOWN: usize = 40;

/// The form of a list, as a flag says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatWord {
    /// RFC 4180 with a header
    Csv,
    /// One JSON object a line
    Ndjson,
}

impl FormatWord {
    /// The form that was named, or the one of the file's name.
    pub(super) fn of(named: Option<Self>, file: Option<&Path>) -> Option<Format> {
        let by_name = || match file?.extension()?.to_str()? {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            _ => None,
        };
        match named {
            Some(Self::Csv) => Some(Format::Csv),
            Some(Self::Ndjson) => Some(Format::Ndjson),
            None => by_name(),
        }
    }
}

/// What to import, and how.
#[derive(Debug, Args)]
pub(super) struct ImportOptions {
    /// The list; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its form [default: by the file's name]
    #[arg(long, value_enum)]
    format: Option<FormatWord>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// All lines, at most 200, or none
    #[arg(long)]
    atomic: bool,
    /// Go on with the import that had this key [default: a fresh one]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    server: AtServer,
}

impl ImportOptions {
    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The command that does what this one would, or does it again under its key.
    fn command(&self, key: Option<&str>) -> String {
        let mut told = format!("holdfast import {}", self.file.display());
        if self.atomic {
            told.push_str(" --atomic");
        }
        if let Some(key) = key {
            told.push_str(&format!(" --key {key}"));
        }
        if self.server.is_elsewhere() {
            told.push_str(&format!(" --url {}", self.server.url));
        }
        told
    }
}

pub(super) fn run(options: &ImportOptions, output: Output) -> Result<(), Failure> {
    let Some(format) = FormatWord::of(options.format, Some(&options.file)) else {
        let told = format!("{}: csv or ndjson?", options.file.display());
        return Err(Failure::new(Exit::Usage, told)
            .next(format!("holdfast import {} --format csv", options.file.display())));
    };
    let key = options
        .key
        .clone()
        .unwrap_or_else(|| format!("import-{:032x}", fastrand::u128(..)));
    let (status, answer) = send(options, format, &key, output)?;
    match status {
        200 => tell(options, &answer, output),
        409 | 422 if answer["lines"].is_array() => Err(faults(options, &answer)),
        status => {
            let told = ["detail", "title", "code"].map(|name| answer[name].as_str().unwrap_or_default());
            let told = format!("{} ({}, {status})", told[0], told[2]);
            let failure = Failure::failed(told);
            if answer["retryable"] == true && !options.dry_run && !options.is_stdin() {
                return Err(failure.next(options.command(Some(&key))));
            }
            Err(failure)
        }
    }
}

/// Sends the list and waits until every line is done.
fn send(options: &ImportOptions, format: Format, key: &str, output: Output) -> Result<(u16, Value), Failure> {
    let mut parameters = Vec::new();
    if options.dry_run {
        parameters.push("dryRun=true");
    }
    if options.atomic {
        parameters.push("atomic=true");
    }
    let query = if parameters.is_empty() {
        String::new()
    } else {
        format!("?{}", parameters.join("&"))
    };
    let path = format!("/api/stock/import{query}");
    let mut server = Server::at(&options.server.url)?.patient(PATIENCE);
    if !options.dry_run {
        server = server.under_key(key);
    }
    let (bar, list) = list(options, output)?;
    let answer = server.upload(
        &path,
        format.media_type(),
        Watched {
            list,
            bar: bar.clone(),
        },
    );
    bar.finish_and_clear();
    let answer = answer.map_err(|failure| {
        if options.dry_run || options.is_stdin() {
            failure
        } else {
            failure.next(options.command(Some(key)))
        }
    })?;
    let status = answer.status();
    let text = answer.text()?;
    let told = serde_json::from_str(&text).map_err(|_| {
        Failure::failed(format!(
            "{} answered {status}, and not as a Holdfast server does",
            segment(&path)
        ))
    })?;
    Ok((status, told))
}

/// The list's bytes, and the bar that shows how they go; only a terminal sees it.
fn list(options: &ImportOptions, output: Output) -> Result<(ProgressBar, Box<dyn Read>), Failure> {
    let (list, bytes): (Box<dyn Read>, Option<u64>) = if options.is_stdin() {
        (Box::new(io::stdin()), None)
    } else {
        let cannot =
            |error: io::Error| Failure::failed(format!("cannot read {}: {error}", options.file.display()));
        let file = File::open(&options.file).map_err(cannot)?;
        let bytes = file.metadata().map_err(cannot)?.len();
        (Box::new(file), Some(bytes))
    };
    Ok((progress(bytes, output), list))
}

/// A bar over so many bytes, or a count of them when nobody knows how many there are. It goes to stderr, and is drawn on a
/// terminal only.
pub(super) fn progress(bytes: Option<u64>, output: Output) -> ProgressBar {
    let target = if output.is_json() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(bytes, target);
    let template = if bytes.is_some() {
        "{bar:40} {bytes}/{total_bytes} {eta} {msg}"
    } else {
        "{spinner} {bytes} {msg}"
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    bar.with_style(style)
}

/// A list on its way; when all of it has left, the server works on it.
struct Watched {
    list: Box<dyn Read>,
    bar: ProgressBar,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.list.read(buffer)?;
        if read == 0 {
            self.bar.set_message("sent; the server takes it over");
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
        self.bar.inc(read as u64);
        Ok(read)
    }
}

/// Every line that cannot be taken, or that its variant refuses, as compilers tell it.
fn faults(options: &ImportOptions, problem: &Value) -> Failure {
    let none = Vec::new();
    let lines = problem["lines"].as_array().unwrap_or(&none);
    let mut told: Vec<String> = lines
        .iter()
        .map(|line| {
            let member = line["member"]
                .as_str()
                .map_or(String::new(), |name| format!("{name}: "));
            let why = match line["problem"].as_str() {
                Some(problem) => format!("{member}{problem}"),
                None => ["variantId", "title"].map(|name| text(&line[name])).join(": "),
            };
            format!("{}:{}: {why}", options.file.display(), line["line"])
        })
        .collect();
    let total = problem["total"].as_u64().unwrap_or_default();
    let untold = total.saturating_sub(lines.len() as u64);
    if untold > 0 {
        told.push(format!("and {untold} more"));
    }
    told.push("nothing was done".to_owned());
    Failure::failed(told.join("\n"))
}

fn tell(options: &ImportOptions, answer: &Value, output: Output) -> Result<(), Failure> {
    let look = Look::of_stdout();
    output.data(|| told(answer, look), answer)?;
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    let failed = count("failed");
    if options.dry_run && count("created") + count("changed") > 0 {
        let told = format!(
            "it would create {} and change {} variants",
            count("created"),
            count("changed")
        );
        return Err(Failure::new(Exit::Differs, told).next(options.command(None)));
    }
    if failed > 0 {
        return Err(Failure::failed(format!("nothing was done of {failed} lines")));
    }
    Ok(())
}

/// What changes, what was refused, and the sums.
fn told(answer: &Value, look: Look) -> String {
    let mut told = String::new();
    let none = Vec::new();
    let changes = answer["changes"].as_array().unwrap_or(&none);
    if !changes.is_empty() {
        let mut table = Table::new(&[
            Column::number("LINE"),
            Column::cut("VARIANT"),
            Column::text("MEMBER"),
            Column::text("BEFORE"),
            Column::text("AFTER"),
        ]);
        changes.iter().for_each(|change| show_change(change, &mut table));
        told.push_str(&table.render(look));
        let omitted = answer["changesOmitted"].as_u64().unwrap_or_default();
        if omitted > 0 {
            told.push_str(&format!("and {omitted} more\n"));
        }
        told.push('\n');
    }
    let lines = answer["lines"].as_array().unwrap_or(&none);
    if !lines.is_empty() {
        let mut table = Table::new(&[
            Column::number("LINE"),
            Column::text("VARIANT"),
            Column::text("REFUSED"),
            Column::cut("WHY"),
        ]);
        for line in lines {
            table.row([
                line["line"].to_string().into(),
                text(&line["variantId"]).into(),
                Cell::toned(text(&line["code"]), Tone::Bad),
                text(&line["title"]).into(),
            ]);
        }
        told.push_str(&table.render(look));
        told.push('\n');
    }
    let rows =
        ["created", "changed", "unchanged", "failed"].map(|name| (name, answer[name].to_string().into()));
    told + &facts(rows, look)
}

fn show_change(change: &Value, table: &mut Table) {
    let none = Vec::new();
    let members = change["members"].as_array().unwrap_or(&none);
    let (line, variant) = (change["line"].to_string(), text(&change["variantId"]));
    let is_new = change["action"] == "create";
    if is_new || members.is_empty() {
        let word = Cell::toned("new", Tone::Good);
        table.row([
            line.as_str().into(),
            variant.as_str().into(),
            word,
            "".into(),
            "".into(),
        ]);
    }
    for member in members {
        table.row([
            line.as_str().into(),
            variant.as_str().into(),
            text(&member["member"]).into(),
            shown(&member["before"]).into(),
            shown(&member["after"]).into(),
        ]);
    }
}

fn shown(value: &Value) -> String {
    let whole = text(value);
    if whole.chars().count() <= VALUE_CHARS_SHOWN {
        return whole;
    }
    let kept: String = whole.chars().take(VALUE_CHARS_SHOWN - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dry_run_is_a_table_of_members() {
        let answer = json!({"dryRun": true, "created": 1, "changed": 1, "unchanged": 0, "failed": 1,
            "changesOmitted": 2,
            "changes": [
                {"line": 2, "variantId": "soap", "action": "change", "members": [
                    {"member": "name", "before": "Soap", "after": null},
                    {"member": "price", "before": null, "after": {"amount": 5, "currency": "USD"}}]},
                {"line": 3, "variantId": "new", "action": "create", "members": [
                    {"member": "onHand", "before": null, "after": 4}]}],
            "lines": [{"line": 4, "variantId": "cup", "code": "below-held", "title": "Too low"}]});
        let wanted = "\
LINE  VARIANT  MEMBER  BEFORE  AFTER
   2  soap     name    Soap    -
   2  soap     price   -       5 USD
   3  new      new
   3  new      onHand  -       4
and 2 more

LINE  VARIANT  REFUSED     WHY
   4  cup      below-held  Too low

created    1
changed    1
unchanged  0
failed     1
";
        assert_eq!(told(&answer, Look::PLAIN), wanted);
    }

    #[test]
    fn the_form_is_the_named_one_or_the_files() {
        let of = |named, file: &str| FormatWord::of(named, Some(Path::new(file)));
        assert_eq!(of(None, "a.csv"), Some(Format::Csv));
        assert_eq!(of(None, "a.jsonl"), Some(Format::Ndjson));
        assert_eq!(of(Some(FormatWord::Ndjson), "a.csv"), Some(Format::Ndjson));
        assert_eq!(of(None, "-"), None);
    }
}
