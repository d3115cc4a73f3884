//! `holdfast order commit`: the sales that a restore lost, out of its `lost-orders-<epoch>.ndjson`, made again in a running server.
//!
//! ```text
//!  an order that awaits its payment again   ──► it is paid, with the payment's reference of then
//!  a reservation that is held again         ──► it is confirmed
//!  anything else                            ──► units are sold anew, whether the sale is open or not: order `lost-<its id>`
//!  then                                     ──► shipped, cancelled and returned units, as far as it had come
//! ```
//!
//! Every request has a key made of the sale's id, so that the same file can be sent again: what is done is done once, for as
//! long as the server keeps keys (`retention.keys`). Sales that find no stock are told one by one and hold nobody up.
use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::nouns::text;
use super::online::{Answer, AtServer, Server, segment};
use super::output::progress_bar;
use super::table::{Cell, Column, Look, Table, Tone, facts};
use super::{Exit, Failure, Output};

/// What was lost, and who sells it again.
#[derive(Debug, Args)]
pub(super) struct CommitOptions {
    /// The file that the restore wrote, lost-orders-<epoch>.ndjson
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only show what is in it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: AtServer,
}

/// What happened to a sold unit afterwards: the route's last word, the member that counts it.
const MOVEMENTS: [(&str, &str); 3] = [
    ("fulfil", "shipped"),
    ("cancel", "cancelled"),
    ("return", "returned"),
];

/// What the units of a sale are not held for any more, or not all of them: they are sold anew.
const NOT_HELD: [&str; 4] = [
    "reservation-not-found",
    "reservation-released",
    "reservation-expired",
    "too-many-units",
];

/// A sale that could not be made again.
struct Refused {
    id: String,
    variant: String,
    why: String,
}

pub(super) fn run(options: &CommitOptions, output: Output) -> Result<(), Failure> {
    let sales = read(options)?;
    if options.dry_run {
        let units: u64 = sales
            .iter()
            .flat_map(lines)
            .map(|line| count(line, "quantity"))
            .sum();
        output.data(
            || {
                facts(
                    [
                        ("sales", sales.len().to_string().into()),
                        ("units", units.to_string().into()),
                    ],
                    Look::of_stdout(),
                )
            },
            &json!({ "sales": sales.len(), "units": units }),
        )?;
        return Err(Failure::new(Exit::Differs, "dry run: nothing was sent"));
    }
    let server = Server::at(&options.server.url)?;
    let (mut done, mut refused) = (0_u64, Vec::new());
    let bar = progress_bar();
    bar.set_length(sales.len() as u64);
    for sale in &sales {
        let before = refused.len();
        Again {
            server: &server,
            sale,
        }
        .make(&mut refused)?;
        done += u64::from(refused.len() == before);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let told: Vec<_> = refused
        .iter()
        .map(|no| json!({ "id": no.id, "variantId": no.variant, "why": no.why }))
        .collect();
    output.data(
        || table(done, &refused),
        &json!({ "read": sales.len(), "committed": done, "refused": told }),
    )?;
    if !refused.is_empty() {
        let (lost, all) = (sales.len() as u64 - done, sales.len());
        return Err(Failure::failed(format!(
            "{lost} of {all} sales could not be made again as they were"
        )));
    }
    output.next("holdfast variant list");
    Ok(())
}

/// The sales of the file, in their order.
fn read(options: &CommitOptions) -> Result<VecDeque<Value>, Failure> {
    let file = options.file.display();
    let text = fs::read_to_string(&options.file)
        .map_err(|error| Failure::failed(format!("cannot read {file}: {error}")))?;
    let sale = |(number, line): (usize, &str)| {
        let sale: Option<Value> = serde_json::from_str(line).ok();
        sale.filter(|sale| !id(sale).is_empty() && sale["lines"].is_array())
            .ok_or_else(|| Failure::failed(format!("{file}:{}: not a sale that a restore wrote", number + 1)))
    };
    text.lines().enumerate().map(sale).collect()
}

fn is_order(sale: &Value) -> bool {
    sale["kind"] == "order"
}

fn id(sale: &Value) -> &str {
    let member = if is_order(sale) {
        "orderId"
    } else {
        "reservationId"
    };
    sale[member].as_str().unwrap_or_default()
}

fn lines(sale: &Value) -> impl Iterator<Item = &Value> {
    sale["lines"].as_array().into_iter().flatten()
}

fn count(line: &Value, member: &str) -> u64 {
    line[member].as_u64().unwrap_or_default()
}

/// One sale made again.
struct Again<'a> {
    server: &'a Server,
    sale: &'a Value,
}

impl Again<'_> {
    fn make(&self, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        if is_order(self.sale) {
            return self.order(refused);
        }
        for line in lines(self.sale) {
            let reservation = text(&line["reservationId"]);
            let path = format!("/api/stock/reservations/{}", segment(&reservation));
            let confirm = json!({ "quantity": line["quantity"], "orderId": self.sale["orderId"] });
            let confirmed = self.post(&reservation, &format!("{path}/confirm"), &confirm)?;
            match confirmed.status() {
                200 => self.moved(&path, line, refused)?,
                404 | 409 | 410 => {
                    let (code, why) = confirmed.problem()?;
                    if NOT_HELD.contains(&code.as_str()) {
                        let order = self.sale["orderId"].as_str().map(str::to_owned);
                        self.sell(line, order, refused)?;
                    } else {
                        self.refuse(line, why, refused);
                    }
                }
                _ => _ = confirmed.ok()?,
            }
        }
        Ok(())
    }

    /// An order that awaits its payment again is paid. One that has ended since, or was not there yet, is not made to ask its
    /// payment back: its lines are sold.
    fn order(&self, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        let order = id(self.sale);
        let path = format!("/api/orders/{}", segment(order));
        let stands = self.server.get(&path)?;
        let awaits = match stands.status() {
            404 => false,
            _ => matches!(
                stands.json()?["status"].as_str(),
                Some("pending_payment" | "confirmed" | "partially_fulfilled" | "fulfilled")
            ),
        };
        if awaits {
            let payment = json!({ "paymentReference": self.sale["paymentReference"] });
            let paid = self.post(order, &format!("{path}/confirm"), &payment)?;
            if paid.status() == 409 {
                self.refuse(&Value::Null, paid.problem()?.1, refused);
                return Ok(());
            }
            paid.ok()?;
            return self.order_moved(&path, refused);
        }
        for line in lines(self.sale) {
            self.sell(line, Some(format!("lost-{order}")), refused)?;
        }
        Ok(())
    }

    /// The units are sold anew, to whoever bought them.
    fn sell(&self, line: &Value, order: Option<String>, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        let foreign_cart = self.sale["cartId"]
            .as_str()
            .filter(|cart| !cart.starts_with("cart_"));
        let sale = json!({
            "variantId": line["variantId"],
            "quantity": line["quantity"],
            "customerId": self.sale["customerId"],
            "sessionId": self.sale["sessionId"],
            "cartId": foreign_cart,
            "orderId": order,
        });
        let sold = self.post(&text(&line["reservationId"]), "/api/stock/sales", &sale)?;
        if matches!(sold.status(), 404 | 409) {
            self.refuse(line, sold.problem()?.1, refused);
            return Ok(());
        }
        let sold = sold.json()?;
        let path = format!("/api/stock/reservations/{}", segment(&text(&sold["id"])));
        self.moved(&path, line, refused)
    }

    /// What happened to a reservation's units after they were sold.
    fn moved(&self, path: &str, line: &Value, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        for (word, member) in MOVEMENTS {
            let quantity = count(line, member);
            if quantity > 0 {
                let moved = self.post(
                    &text(&line["reservationId"]),
                    &format!("{path}/{word}"),
                    &json!({ "quantity": quantity }),
                )?;
                if matches!(moved.status(), 404 | 409 | 410) {
                    self.refuse(line, moved.problem()?.1, refused);
                    return Ok(());
                }
                moved.ok()?;
            }
        }
        Ok(())
    }

    /// What happened to an order's units after they were sold.
    fn order_moved(&self, path: &str, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        for (word, member) in MOVEMENTS {
            let moved: Vec<_> = lines(self.sale)
                .filter(|line| count(line, member) > 0)
                .map(|line| json!({ "variantId": line["variantId"], "quantity": line[member] }))
                .collect();
            if !moved.is_empty() {
                let moved = self.post(
                    id(self.sale),
                    &format!("{path}/{word}"),
                    &json!({ "lines": moved }),
                )?;
                if moved.status() == 409 {
                    self.refuse(&Value::Null, moved.problem()?.1, refused);
                    return Ok(());
                }
                moved.ok()?;
            }
        }
        Ok(())
    }

    /// Sends something under a key made of the sale's id and the route's last word.
    fn post(&self, of: &str, path: &str, body: &Value) -> Result<Answer, Failure> {
        let word = path.rsplit('/').next().unwrap_or_default();
        let body: serde_json::Map<String, Value> = body
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let keyed = self.server.clone().under_key(&format!("lost-{of}-{word}"));
        keyed.post(path, &Value::Object(body))
    }

    fn refuse(&self, line: &Value, why: Failure, refused: &mut Vec<Refused>) {
        refused.push(Refused {
            id: id(self.sale).to_owned(),
            variant: text(&line["variantId"]),
            why: why.message,
        });
    }
}

fn table(done: u64, refused: &[Refused]) -> String {
    let look = Look::of_stdout();
    let tone = if refused.is_empty() {
        Tone::Plain
    } else {
        Tone::Bad
    };
    let mut told = facts(
        [
            ("made again", Cell::from(done.to_string())),
            ("refused", Cell::toned(refused.len().to_string(), tone)),
        ],
        look,
    );
    if !refused.is_empty() {
        let mut table = Table::new(&[Column::text("SALE"), Column::cut("VARIANT"), Column::cut("WHY")]);
        for no in refused {
            table.row([&no.id, &no.variant, &no.why].map(|cell| cell.clone().into()));
        }
        told.push('\n');
        told.push_str(&table.render(look));
    }
    told
}
