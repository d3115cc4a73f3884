//! `holdfast variant get|list|history`: what the shop sells, from a server or from a data directory.
use clap::{Args, Subcommand};
use serde_json::Value;

use super::history::{self, HistoryOptions};
use super::nouns::{
    Asked, ListColumn, PageOptions, Source, at, body, failed, no_such, page, show_one, show_page, text,
};
use super::online::{Place, segment, with_query};
use super::table::Column;
use super::{Failure, Output};
use crate::domain::ids::VariantId;
use crate::http::routes::variants::ordinal;
use crate::http::view::VariantView;

/// The commands under `variant`.
#[derive(Debug, Subcommand)]
pub(super) enum VariantCommand {
    /// Show a variant
    Get(GetOptions),
    /// List variants in order of creation
    List(ListOptions),
    /// Tell what happened to its units, and who held the last one when
    History(HistoryOptions),
}

/// Which one.
#[derive(Debug, Args)]
pub(super) struct GetOptions {
    /// The shop's id of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Which of them.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    place: Place,
}

const COLLECTION: &str = "/api/stock/variants";

const COLUMNS: &[ListColumn] = &[
    (Column::text("VARIANT"), |item| text(&item["id"]).into()),
    (Column::cut("NAME"), |item| text(&item["name"]).into()),
    (Column::number("ON HAND"), |item| text(&item["onHand"]).into()),
    (Column::number("HELD"), |item| text(&item["held"]).into()),
    (Column::number("SOLD"), |item| text(&item["committed"]).into()),
    (Column::number("FREE"), |item| text(&item["available"]).into()),
    (Column::text("STATUS"), |item| text(&item["status"]).into()),
];

const MEMBERS: &[(&str, &str)] = &[
    ("variant", "id"),
    ("name", "name"),
    ("sku", "sku"),
    ("product", "productId"),
    ("category", "category"),
    ("tags", "tags"),
    ("attributes", "attributes"),
    ("price (minor units)", "price"),
    ("status", "status"),
    ("on hand", "onHand"),
    ("held", "held"),
    ("sold, not shipped", "committed"),
    ("kept back", "safetyStock"),
    ("free", "available"),
    ("beyond stock", "backorderLimit"),
    ("held from", "reservationMode"),
    ("sale", "saleState"),
    ("opens", "opensAt"),
    ("closes", "closesAt"),
    ("next release", "nextReleaseAt"),
    ("version", "version"),
];

pub(super) fn run(command: &VariantCommand, output: Output) -> Result<(), Failure> {
    match command {
        VariantCommand::Get(options) => {
            show_one(&get(options, output)?, MEMBERS, output)?;
            let next = format!("reservation list --variant {}", options.id);
            output.next(&at(&options.place, &next));
            Ok(())
        }
        VariantCommand::History(options) => history::run(options, output),
        VariantCommand::List(options) => {
            let asked = Asked {
                place: &options.place,
                page: &options.page,
                filters: &[],
            };
            show_page(&list(options, output)?, ("variant", COLUMNS), &asked, output)
        }
    }
}

fn get(options: &GetOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => server
            .get(&format!("{COLLECTION}/{}", segment(&options.id)))?
            .json(),
        Source::House(house) => {
            let found = match VariantId::parse(&options.id) {
                Ok(id) => house.variant(&id).map_err(|error| failed(&error))?,
                Err(_) => None,
            };
            no_such(
                "variant",
                &options.id,
                found.map(|view| body(&VariantView::from(&view))),
            )
        }
    }
}

fn list(options: &ListOptions, output: Output) -> Result<Value, Failure> {
    match Source::at(&options.place, output)? {
        Source::Server(server) => server.get(&with_query(COLLECTION, &options.page.query()))?.json(),
        Source::House(house) => {
            let after = options.page.after(&house, ordinal)?;
            let (views, next) = house
                .variants(after, options.page.limit as usize)
                .map_err(|error| failed(&error))?;
            let views = views.iter().map(VariantView::from).collect();
            Ok(page(
                &house,
                views,
                next.map(|next| next.0.to_be_bytes().to_vec()),
            ))
        }
    }
}
