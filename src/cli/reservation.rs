//! `holdfast reservation get|list`: what is held and what became of it, from a server or from a data directory.
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::nouns::{
    Asked, ListColumn, PageOptions, Source, at, body, failed, left, no_such, page, show_one, show_page, text,
};
use super::online::{Place, segment, with_query};
use super::table::Column;
use super::{Exit, Failure, Output};
use crate::app::{HoldFilter, Offline};
use crate::domain::ids::{CartId, CustomerId, InvalidId, ReservationId, VariantId};
use crate::http::RESERVATION_STATUSES;
use crate::http::routes::reservations::created_after;
use crate::http::view::ReservationView;

/// The commands under `reservation`.
#[derive(Debug, Subcommand)]
pub(super) enum ReservationCommand {
    /// Show a reservation, live or ended
    Get(GetOptions),
    /// List reservations in order of creation
    List(ListOptions),
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
    /// Of this variant
    #[arg(long, value_name = "ID")]
    variant: Option<String>,
    /// Of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Of this cart
    #[arg(long, value_name = "ID")]
    cart: Option<String>,
    /// That stand like this
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(RESERVATION_STATUSES.map(|(word, _)| word)))]
    status: Option<String>,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    place: Place,
}

const COLLECTION: &str = "/api/stock/reservations";

const COLUMNS: &[ListColumn] = &[
    (Column::text("RESERVATION"), |item| text(&item["id"]).into()),
    (Column::cut("VARIANT"), |item| text(&item["variantId"]).into()),
    (Column::number("QTY"), |item| text(&item["quantity"]).into()),
    (Column::text("STATUS"), |item| text(&item["status"]).into()),
    (Column::number("LEFT"), left),
];

const MEMBERS: &[(&str, &str)] = &[
    ("reservation", "id"),
    ("variant", "variantId"),
    ("quantity", "quantity"),
    ("status", "status"),
    ("phase", "phase"),
    ("customer", "customerId"),
    ("session", "sessionId"),
    ("cart", "cartId"),
    ("order", "orderId"),
    ("created", "createdAt"),
    ("expires", "expiresAt"),
    ("at the latest", "maxExpiresAt"),
    ("extensions left", "extensionsLeft"),
    ("ended", "endedAt"),
    ("by", "endReason"),
    ("units", "fulfilment"),
    ("version", "version"),
    ("as of", "serverTime"),
];

pub(super) fn run(command: &ReservationCommand, output: Output) -> Result<(), Failure> {
    match command {
        ReservationCommand::Get(options) => {
            let answer = get(options, output)?;
            show_one(&answer, MEMBERS, output)?;
            let next = match answer["orderId"].as_str() {
                Some(order) => format!("order get {order}"),
                None => format!("variant get {}", text(&answer["variantId"])),
            };
            output.next(&at(&options.place, &next));
            Ok(())
        }
        ReservationCommand::List(options) => {
            let filters = [
                ("variant", options.variant.as_deref()),
                ("customer", options.customer.as_deref()),
                ("cart", options.cart.as_deref()),
                ("status", options.status.as_deref()),
            ];
            let asked = Asked {
                place: &options.place,
                page: &options.page,
                filters: &filters,
            };
            show_page(&list(options, output)?, ("reservation", COLUMNS), &asked, output)
        }
    }
}

fn get(options: &GetOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => server
            .get(&format!("{COLLECTION}/{}", segment(&options.id)))?
            .json(),
        Source::House(house) => {
            let found = match options.id.parse::<ReservationId>() {
                Ok(id) => house.reservation(id).map_err(|error| failed(&error))?,
                Err(_) => None,
            };
            let view = found.map(|found| ReservationView::new(&found.hold, &found.variant, house.at()));
            no_such("reservation", &options.id, view.map(|view| body(&view)))
        }
    }
}

fn list(options: &ListOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => {
            let [limit, cursor] = options.page.query();
            let parameters = [
                ("variantId", options.variant.clone()),
                ("customerId", options.customer.clone()),
                ("cartId", options.cart.clone()),
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
    let filter = HoldFilter {
        variant: id("variant", options.variant.as_deref(), VariantId::parse)?,
        customer: id("customer", options.customer.as_deref(), CustomerId::parse)?,
        cart: id("cart", options.cart.as_deref(), CartId::parse)?,
        status: RESERVATION_STATUSES
            .iter()
            .find(|(known, _)| Some(*known) == word)
            .map(|(_, status)| *status),
    };
    let after = options.page.after(house, created_after)?;
    let listed = house
        .reservations(&filter, after, options.page.limit as usize)
        .map_err(|error| failed(&error))?;
    let items = listed
        .items
        .iter()
        .map(|item| ReservationView::new(&item.hold, &item.variant, listed.at))
        .collect();
    let next = listed.next.map(|next| next.as_u128().to_be_bytes().to_vec());
    Ok(page(house, items, next))
}

/// An id of a filter, if one was given.
pub(super) fn id<T>(
    flag: &str,
    text: Option<&str>,
    read: fn(&str) -> Result<T, InvalidId>,
) -> Result<Option<T>, Failure> {
    let read = text.map(read).transpose();
    read.map_err(|invalid| Failure::new(Exit::Usage, format!("--{flag}: an id {invalid}")))
}
