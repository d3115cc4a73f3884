//! What `variant`, `reservation` and `order` share: where they read, pages, and how an answer is shown.
//!
//! Both places answer with the bodies of the API, so that `--json` prints the same whichever was asked, and there is one way
//! to show them.
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::data_dir::{existing, failed_to_open};
use super::online::{Place, Server};
use super::table::{Cell, Column, Look, Table, facts};
use super::{ConfigOptions, Exit, Failure, Output};
use crate::app::{AppError, Offline};
use crate::http::extract::query::{Cursor, LIMIT_DEFAULT, LIMIT_MAX};
use crate::http::problem::Code;
use crate::http::site::default_store;
use crate::http::time::Moment;
use crate::http::view::ListPage;

/// Which page of a list.
#[derive(Clone, Debug, Args)]
pub(super) struct PageOptions {
    /// Most items shown
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    pub(super) limit: u32,
    /// Where to go on: the cursor of the page before
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,
}

impl PageOptions {
    /// As query parameters.
    pub(super) fn query(&self) -> [(&'static str, Option<String>); 2] {
        [
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.clone()),
        ]
    }

    /// The sort key behind which the page of a house begins; `read` knows its form.
    pub(super) fn after<T>(
        &self,
        house: &Offline,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let after = Cursor::parse(text).and_then(|cursor| cursor.key(house.epoch(), read));
        after.map(Some).map_err(|told| {
            let why = if told.code() == Code::CursorTooOld {
                "that is of before a restore; read the list again from its start"
            } else {
                "wanted the cursor of the page before"
            };
            Failure::new(Exit::Usage, format!("--cursor: {why}"))
        })
    }
}

/// Where an answer comes from.
pub(super) enum Source {
    /// A running server.
    Server(Server),
    /// A data directory that nobody uses.
    House(Box<Offline>),
}

impl Source {
    /// The place that was named; without one a server.
    pub(super) fn at(place: &Place, output: Output) -> Result<Self, Failure> {
        let Some(dir) = &place.data_dir else {
            return Ok(Self::Server(place.server()?));
        };
        let config = existing(&ConfigOptions::default(), Some(dir))?.config;
        let house = Offline::open(&config, default_store()).map_err(|error| failed_to_open(&error, dir))?;
        output.note(&format!("as of the last record, {}", Moment(house.at())));
        Ok(Self::House(Box::new(house)))
    }
}

/// What a house says, as the API would.
pub(super) fn body(view: &impl Serialize) -> Value {
    serde_json::to_value(view).expect("the bodies of the API are plain data")
}

/// One page of a house, as the API would give it.
pub(super) fn page<T: Serialize>(house: &Offline, items: Vec<T>, next: Option<Vec<u8>>) -> Value {
    body(&ListPage::new(house.epoch(), items, next))
}

/// Something of ours that failed while a house was read.
pub(super) fn failed(error: &AppError) -> Failure {
    Failure::new(Exit::Damage, error.to_string())
}

/// A column of a list: its head, and the cell of an item.
pub(super) type ListColumn = (Column, fn(&Value) -> Cell);

/// Shows one page of a list of `noun`s; the next command goes on from it, or looks at the first.
pub(super) fn show_page(
    answer: &Value,
    (noun, columns): (&str, &[ListColumn]),
    asked: &Asked<'_>,
    output: Output,
) -> Result<(), Failure> {
    let none = Vec::new();
    let items = answer["items"].as_array().unwrap_or(&none);
    let heads: Vec<Column> = columns.iter().map(|(head, _)| *head).collect();
    let mut table = Table::new(&heads);
    for item in items {
        table.row(columns.iter().map(|(_, cell)| cell(item)));
    }
    output.data(|| table.render(Look::of_stdout()), answer)?;
    if table.is_empty() {
        output.note("none");
    }
    if let Some(cursor) = answer["nextCursor"].as_str() {
        output.next(&asked.again(&format!("{noun} list"), cursor));
    } else if let Some(id) = items.first().and_then(|item| item["id"].as_str()) {
        output.next(&at(asked.place, &format!("{noun} get {id}")));
    }
    Ok(())
}

/// How a list was asked for.
pub(super) struct Asked<'a> {
    /// Where.
    pub(super) place: &'a Place,
    /// Which page.
    pub(super) page: &'a PageOptions,
    /// Flags and what was given for them.
    pub(super) filters: &'a [(&'static str, Option<&'a str>)],
}

impl Asked<'_> {
    /// The command that shows the next page: with the same filters, or the cursor means something else.
    pub(super) fn again(&self, command: &str, cursor: &str) -> String {
        let mut told = at(self.place, command);
        for (flag, value) in self.filters {
            if let Some(value) = value {
                told.push_str(&format!(" --{flag} {value}"));
            }
        }
        if self.page.limit != LIMIT_DEFAULT {
            told.push_str(&format!(" --limit {}", self.page.limit));
        }
        format!("{told} --cursor {cursor}")
    }
}

/// Shows one thing, member by member; what is null is left out.
pub(super) fn show_one(answer: &Value, members: &[(&str, &str)], output: Output) -> Result<(), Failure> {
    let rows = members.iter().filter_map(|(name, member)| {
        let value = &answer[member];
        (!value.is_null()).then(|| (*name, Cell::from(text(value))))
    });
    output.data(|| facts(rows, Look::of_stdout()), answer)
}

/// A member as a person reads it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(members) => match (members.get("amount"), members.get("currency")) {
            (Some(amount), Some(currency)) => format!("{} {}", text(amount), text(currency)),
            _ => {
                let pair = |(name, value): (&String, &Value)| format!("{name}: {}", text(value));
                members.iter().map(pair).collect::<Vec<_>>().join("; ")
            }
        },
    }
}

/// A length in milliseconds as a person reads it: its two largest units.
pub(super) fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours:02}h"),
    }
}

/// The length of a hold that is left, of an item that has one.
pub(super) fn left(item: &Value) -> Cell {
    match item["expiresInMs"].as_i64() {
        Some(ms) if ms > 0 => length(ms).into(),
        Some(_) | None => "-".into(),
    }
}

/// A command in the same place.
pub(super) fn at(place: &Place, command: &str) -> String {
    let mut told = format!("holdfast {command}");
    if let Some(dir) = &place.data_dir {
        told.push_str(&format!(" --data-dir {}", dir.display()));
    }
    if let Some(url) = &place.url {
        told.push_str(&format!(" --url {url}"));
    }
    told
}

/// What was found, or that there is none of this id.
pub(super) fn no_such(noun: &str, id: &str, found: Option<Value>) -> Result<Value, Failure> {
    let missing = || {
        let failure = Failure::failed(format!("there is no {noun} {id}"));
        failure.next(format!("holdfast {noun} list"))
    };
    found.ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lengths_are_told_in_two_units() {
        let told = [0, 59_999, 60_000, 899_999, 3_600_000, 90_000_000, -5].map(length);
        assert_eq!(told, ["0s", "59s", "1m 00s", "14m 59s", "1h 00m", "1d 01h", "0s"]);
    }

    #[test]
    fn members_are_told_in_words() {
        let price = json!({"amount": 2599, "currency": "USD"});
        assert_eq!(text(&price), "2599 USD");
        assert_eq!(
            text(&json!({"origin": "Aleppo", "weight": "180 g"})),
            "origin: Aleppo; weight: 180 g"
        );
        assert_eq!(text(&json!(["a", "b"])), "a, b");
        assert_eq!(
            (text(&json!(true)), text(&Value::Null)),
            ("yes".to_owned(), "-".to_owned())
        );
    }
}
