//! `holdfast order get|list|commit`: what was checked out, from a server or from a data directory.
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::commit::{self, CommitOptions};
use super::nouns::{
    Asked, ListColumn, PageOptions, Source, at, body, failed, left, no_such, page, show_page, text,
};
use super::online::{Place, segment, with_query};
use super::reservation::id;
use super::table::{Cell, Column, Look, Table, facts};
use super::{Failure, Output};
use crate::app::{Offline, OrderFilter};
use crate::domain::ids::{CustomerId, OrderId};
use crate::http::ORDER_STATUSES;
use crate::http::routes::orders::created_after;
use crate::http::view::{OrderView, order_status};

/// The commands under `order`.
#[derive(Debug, Subcommand)]
pub(super) enum OrderCommand {
    /// Show an order with its lines and refunds
    Get(GetOptions),
    /// List orders in order of creation
    List(ListOptions),
    /// Make the sales again that a restore lost
    Commit(CommitOptions),
}

/// Which one.
#[derive(Debug, Args)]
pub(super) struct GetOptions {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Which of them.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// That stand like this
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(ORDER_STATUSES.map(order_status)))]
    status: Option<String>,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    place: Place,
}

const COLLECTION: &str = "/api/orders";

const COLUMNS: &[ListColumn] = &[
    (Column::text("ORDER"), |item| text(&item["id"]).into()),
    (Column::text("STATUS"), |item| text(&item["status"]).into()),
    (Column::cut("CUSTOMER"), |item| text(&item["customerId"]).into()),
    (Column::number("UNITS"), |item| units(item).into()),
    (Column::number("LEFT"), left),
];

const MEMBERS: &[(&str, &str)] = &[
    ("order", "id"),
    ("status", "status"),
    ("customer", "customerId"),
    ("cart", "cartId"),
    ("total (minor units)", "total"),
    ("created", "createdAt"),
    ("payment until", "paymentDeadline"),
    ("payment", "paymentReference"),
    ("paid", "paidAt"),
    ("version", "version"),
    ("as of", "serverTime"),
];

const LINES: [(Column, &str); 6] = [
    (Column::cut("VARIANT"), "variantId"),
    (Column::number("QTY"), "quantity"),
    (Column::text("RESERVATION"), "reservationId"),
    (Column::number("OUT"), "shipped"),
    (Column::number("CANCELLED"), "cancelled"),
    (Column::number("BACK"), "returned"),
];

const REFUNDS: [(Column, &str); 4] = [
    (Column::cut("REFUND OF"), "paymentReference"),
    (Column::text("REASON"), "reason"),
    (Column::text("STATUS"), "status"),
    (Column::text("ASKED FOR"), "requestedAt"),
];

pub(super) fn run(command: &OrderCommand, output: Output) -> Result<(), Failure> {
    match command {
        OrderCommand::Get(options) => {
            let answer = get(options, output)?;
            output.data(|| told(&answer), &answer)?;
            if let Some(line) = answer["lines"].as_array().and_then(|lines| lines.first()) {
                let next = format!("reservation get {}", text(&line["reservationId"]));
                output.next(&at(&options.place, &next));
            }
            Ok(())
        }
        OrderCommand::List(options) => {
            let filters = [
                ("customer", options.customer.as_deref()),
                ("status", options.status.as_deref()),
            ];
            let asked = Asked {
                place: &options.place,
                page: &options.page,
                filters: &filters,
            };
            show_page(&list(options, output)?, ("order", COLUMNS), &asked, output)
        }
        OrderCommand::Commit(options) => commit::run(options, output),
    }
}

/// An order, its lines, and its refunds if there are any.
fn told(answer: &Value) -> String {
    let look = Look::of_stdout();
    let rows = MEMBERS.iter().filter_map(|(name, member)| {
        let value = &answer[member];
        (!value.is_null()).then(|| (*name, Cell::from(text(value))))
    });
    let mut told = facts(rows, look);
    for (columns, items) in [(&LINES[..], &answer["lines"]), (&REFUNDS[..], &answer["refunds"])] {
        let heads: Vec<Column> = columns.iter().map(|(head, _)| *head).collect();
        let mut table = Table::new(&heads);
        for item in items.as_array().into_iter().flatten() {
            table.row(columns.iter().map(|(_, member)| text(&item[member]).into()));
        }
        if !table.is_empty() {
            told.push('\n');
            told.push_str(&table.render(look));
        }
    }
    told
}

fn units(order: &Value) -> u64 {
    let lines = order["lines"].as_array().into_iter().flatten();
    lines.filter_map(|line| line["quantity"].as_u64()).sum()
}

fn get(options: &GetOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => server
            .get(&format!("{COLLECTION}/{}", segment(&options.id)))?
            .json(),
        Source::House(house) => {
            let found = match OrderId::parse(&options.id) {
                Ok(id) => house.order(&id).map_err(|error| failed(&error))?,
                Err(_) => None,
            };
            let view = found.map(|order| body(&OrderView::new(&order, house.at())));
            no_such("order", &options.id, view)
        }
    }
}

fn list(options: &ListOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => {
            let [limit, cursor] = options.page.query();
            let parameters = [
                ("customerId", options.customer.clone()),
                ("status", options.status.clone()),
                limit,
                cursor,
            ];
            server.get(&with_query(COLLECTION, &parameters))?.json()
        }
        Source::House(house) => list_in(&house, options),
    }
}

fn list_in(house: &Offline, options: &ListOptions) -> Result<Value, Failure> {
    let word = options.status.as_deref();
    let filter = OrderFilter {
        customer: id("customer", options.customer.as_deref(), CustomerId::parse)?,
        status: ORDER_STATUSES
            .into_iter()
            .find(|status| Some(order_status(*status)) == word),
    };
    let after = options.page.after(house, created_after)?;
    let listed = house
        .orders(&filter, after.as_ref(), options.page.limit as usize)
        .map_err(|error| failed(&error))?;
    let items = listed
        .items
        .iter()
        .map(|order| OrderView::new(order, listed.at))
        .collect();
    let next = listed.next.and_then(|next| next.bits());
    Ok(page(house, items, next.map(|bits| bits.to_be_bytes().to_vec())))
}
