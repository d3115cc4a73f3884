//! `holdfast variant history`: the story of a variant's units, from a server or from a data directory.
use clap::Args;
use serde_json::Value;

use super::nouns::{Asked, PageOptions, Source, body, failed, no_such, text};
use super::online::{Place, segment, with_query};
use super::table::{Cell, Column, Look, Table, Tone, facts};
use super::{Failure, Output};
use crate::app::{AppError, HistoryAsk, Moment};
use crate::domain::ids::VariantId;
use crate::http::routes::history::place;
use crate::http::time::read;
use crate::http::view::HistoryView;

/// Which variant, and when.
#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    /// The shop's id of it
    #[arg(value_name = "ID")]
    id: String,
    /// How it stood at this moment, like 2026-11-21T02:14:07Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<String>,
    /// How it stood behind this record
    #[arg(long, value_name = "NUMBER", conflicts_with = "at")]
    at_number: Option<u64>,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    place: Place,
}

fn time(text: &str) -> Result<String, String> {
    let wanted = "wanted a moment like 2026-11-21T02:14:07Z";
    read(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| wanted.to_owned())
}

pub(super) fn run(options: &HistoryOptions, output: Output) -> Result<(), Failure> {
    let story = story(options, output)?;
    output.data(|| told(&story, Look::of_stdout()), &story)?;
    if let Some(cursor) = story["nextCursor"].as_str() {
        let number = options.at_number.map(|number| number.to_string());
        let filters = [("at", options.at.as_deref()), ("at-number", number.as_deref())];
        let asked = Asked {
            place: &options.place,
            page: &options.page,
            filters: &filters,
        };
        output.next(&asked.again(&format!("variant history {}", options.id), cursor));
    }
    Ok(())
}

fn story(options: &HistoryOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => {
            let mut parameters = options.page.query().to_vec();
            parameters.push(("at", options.at.clone()));
            parameters.push(("number", options.at_number.map(|number| number.to_string())));
            let path = format!("/api/stock/variants/{}/history", segment(&options.id));
            server.get(&with_query(&path, &parameters))?.json()
        }
        Source::House(house) => {
            let ask = HistoryAsk {
                at: match (options.at.as_deref().and_then(read), options.at_number) {
                    (Some(at), _) => Moment::Time(at),
                    (None, Some(number)) => Moment::Number(number),
                    (None, None) => Moment::Now,
                },
                before: options.page.after(&house, place)?,
                limit: options.page.limit as usize,
            };
            let Ok(id) = VariantId::parse(&options.id) else {
                return no_such("variant", &options.id, None);
            };
            let story = house.history(&id, ask).map_err(|error| untold(&error))?;
            no_such(
                "variant",
                &options.id,
                story.map(|story| body(&HistoryView::new(&id, &story, house.epoch()))),
            )
        }
    }
}

fn untold(error: &AppError) -> Failure {
    if let AppError::HistoryTooOld { known_from } = error {
        return Failure::failed(match known_from {
            Some(number) => format!("the past is not known so far back, but behind record {number}"),
            None => error.to_string(),
        });
    }
    failed(error)
}

/// How it stood, who had its units, who took the last one, and what happened.
fn told(story: &Value, look: Look) -> String {
    let state = &story["state"];
    let mut rows: Vec<(&str, Cell)> = vec![
        ("variant", text(&story["variantId"]).into()),
        ("behind record", text(&story["number"]).into()),
        ("at", text(&story["at"]).into()),
    ];
    if state.is_null() {
        rows.push(("state", Cell::toned("not there yet", Tone::Warn)));
    } else {
        rows.extend([
            ("on hand", text(&state["onHand"]).into()),
            ("held", text(&state["held"]).into()),
            ("sold, not shipped", text(&state["committed"]).into()),
            ("free", text(&state["available"]).into()),
            ("status", text(&state["status"]).into()),
        ]);
    }
    rows.push(("last unit", last_unit(&story["lastUnit"]).into()));
    let mut told = facts(rows, look);
    told.push_str(&holds(state, look));
    told.push_str(&events(story, look));
    told
}

fn last_unit(last: &Value) -> String {
    if last.is_null() {
        return "never taken, as far as is known".to_owned();
    }
    let taken = &last["taken"];
    let by = match owner(&taken["reservation"]) {
        who if who == "-" => text(&taken["type"]),
        who => who,
    };
    let until = match last["freeAgainAt"].as_str() {
        Some(at) => format!("free again {at}"),
        None => "not free again".to_owned(),
    };
    format!("{by} at {}, {until}", text(&taken["at"]))
}

fn holds(state: &Value, look: Look) -> String {
    let none = Vec::new();
    let holds = state["holds"].as_array().unwrap_or(&none);
    if holds.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        Column::text("RESERVATION"),
        Column::number("UNITS"),
        Column::cut("WHOSE"),
        Column::text("UNTIL"),
    ]);
    for hold in holds {
        table.row([
            text(&hold["reservationId"]).into(),
            text(&hold["quantity"]).into(),
            owner(hold).into(),
            text(&hold["expiresAt"]).into(),
        ]);
    }
    let omitted = state["holdsOmitted"].as_u64().unwrap_or_default();
    let more = if omitted > 0 {
        format!("and {omitted} more\n")
    } else {
        String::new()
    };
    format!("\n{}{more}", table.render(look))
}

fn events(story: &Value, look: Look) -> String {
    let none = Vec::new();
    let items = story["items"].as_array().unwrap_or(&none);
    if items.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        Column::number("RECORD"),
        Column::text("AT"),
        Column::text("WHAT"),
        Column::number("UNITS"),
        Column::cut("WHO"),
        Column::number("ON HAND"),
        Column::number("HELD"),
        Column::number("SOLD"),
        Column::number("FREE"),
    ]);
    for item in items {
        let held = &item["reservation"];
        let units = if held.is_null() {
            &item["delta"]
        } else {
            &held["quantity"]
        };
        let who = match owner(held) {
            who if who == "-" => text(&item["by"]),
            who => who,
        };
        table.row([
            text(&item["number"]).into(),
            moment(&text(&item["at"]), look).into(),
            event(&text(&item["type"]), look).into(),
            text(units).into(),
            who.into(),
            text(&item["onHand"]).into(),
            text(&item["held"]).into(),
            text(&item["committed"]).into(),
            text(&item["available"]).into(),
        ]);
    }
    format!("\n{}", table.render(look))
}

/// A moment; on a terminal, where room is short and the record's number tells the order, to the second.
fn moment(at: &str, look: Look) -> String {
    match (look.width, at.split_once('.')) {
        (Some(_), Some((seconds, _))) => format!("{seconds}Z"),
        _ => at.to_owned(),
    }
}

/// What happened; on a terminal without what it happened to.
fn event(kind: &str, look: Look) -> String {
    match (look.width, kind.rsplit_once('.')) {
        (Some(_), Some((_, word))) => word.to_owned(),
        _ => kind.to_owned(),
    }
}

/// Whose a hold is: the customer, else the cart, else the session, with the order if there is one.
fn owner(hold: &Value) -> String {
    let known = ["customerId", "cartId", "sessionId"]
        .iter()
        .find_map(|name| hold[name].as_str());
    match (known, hold["orderId"].as_str()) {
        (Some(who), Some(order)) => format!("{who} ({order})"),
        (Some(who), None) => who.to_owned(),
        (None, Some(order)) => order.to_owned(),
        (None, None) => "-".to_owned(),
    }
}
