//! A shopper's ledger: what went into the cart, what was ordered, what was paid, and what a restarted server must therefore
//! show of carts, orders and holds together.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use super::answers::Answers;
use super::{Checked, Client};
use crate::server::Server;
use crate::server::wire::{Answer, Connection, request};

/// Work that a kill cut short goes on after the start; nothing of ours takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines a shopper goes on adding to.
const LINES: usize = 3;

/// What a shopper does.
#[derive(Clone, Debug)]
enum Act {
    Add,
    Change,
    Checkout,
    /// Paid, or moved after it was paid.
    Order,
    /// The order ends without a payment, and the cart is the shopper's again.
    Reopen,
}

/// A request with its key: sent again, it must have the same one effect.
#[derive(Clone, Debug)]
struct Call {
    request: Vec<u8>,
    act: Act,
}

/// One shopper, as the last answers left it.
pub(super) struct Shopper {
    name: String,
    rng: Rng,
    calls: u64,
    /// The cart, until it is ordered.
    cart: Option<Value>,
    /// The order that waits for its payment.
    pending: Option<Value>,
    /// All other orders, by id.
    orders: BTreeMap<String, Value>,
    answers: Answers,
    /// Sent and never answered: it may have happened or not.
    unknown: Option<Call>,
}

/// A cart without what depends on when it is asked for. A hold's deadline is shown by the hold.
fn cart(shown: &Value, status: &str) -> Value {
    let items = shown["items"].as_array().unwrap();
    let items = items.iter().map(|item| {
        json!([
            item["id"],
            item["variantId"],
            item["quantity"],
            item["unitPrice"],
            item["reservationId"],
            item["reservationStatus"]
        ])
    });
    json!({"id": shown["id"], "status": status, "items": items.collect::<Vec<_>>()})
}

/// An order likewise.
fn order(shown: &Value) -> Value {
    let members = [
        "id",
        "status",
        "cartId",
        "customerId",
        "lines",
        "total",
        "paymentDeadline",
        "paymentReference",
        "paidAt",
        "refunds",
        "version",
    ];
    members
        .iter()
        .map(|member| ((*member).to_owned(), shown[*member].clone()))
        .collect()
}

fn text<'a>(shown: &'a Value, member: &str) -> &'a str {
    shown[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} of {shown}"))
}

impl Client for Shopper {
    const CYCLES: u64 = 12;
    const VARIANTS: &'static [(&'static str, u64)] = &[("lamp", 40), ("rug", 2_000), ("soap", 1_000_000)];

    fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            rng: Rng::with_seed(seed),
            calls: 0,
            cart: None,
            pending: None,
            orders: BTreeMap::new(),
            answers: Answers::default(),
            unknown: None,
        }
    }

    fn ask_until_lost(&mut self, mut connection: Connection, each: impl Fn()) {
        loop {
            let call = self.next();
            match connection.exchange(&call.request) {
                Ok(answer) => self.learn(&call, &answer),
                Err(_) => {
                    self.unknown = Some(call);
                    return;
                }
            }
            each();
        }
    }

    fn check(server: &Server, shoppers: &mut [Self]) -> Checked {
        let mut checked = Checked::default();
        for shopper in shoppers.iter_mut() {
            checked.answers += shopper.answers.fresh();
            if let Some(call) = shopper.unknown.take() {
                // It happened wholly or not at all; asked again under its key it is answered, and counts once.
                let answer = server.connect().exchange(&call.request).unwrap();
                shopper.learn(&call, &answer);
                checked.unknown += 1;
            }
        }
        checked.holds = settled(server, shoppers);
        for Shopper { answers, rng, .. } in shoppers.iter_mut() {
            checked.replays += answers.replay(server, rng);
        }
        checked.holds = settled(server, shoppers);
        checked
    }
}

impl Shopper {
    fn next(&mut self) -> Call {
        self.calls += 1;
        let key = format!("{}-{}", self.name, self.calls);
        let ask = |method: &str, path: String, body: &Value, act| Call {
            request: request(method, &path, &key, &body.to_string()),
            act,
        };
        let rng = &mut self.rng;
        if let Some(pending) = &self.pending {
            let path = |action| format!("/api/orders/{}/{action}", text(pending, "id"));
            return match rng.u32(..10) {
                0..6 => {
                    let body = json!({"paymentReference": key});
                    ask("POST", path("confirm"), &body, Act::Order)
                }
                6..8 => ask("POST", path("fail"), &json!({}), Act::Reopen),
                _ => ask("POST", path("cancel"), &json!({}), Act::Reopen),
            };
        }
        let sold = self
            .orders
            .values()
            .filter(|order| order["status"] == "confirmed");
        let sold: Vec<&Value> = sold.collect();
        if !sold.is_empty() && rng.u32(..10) == 0 {
            let path = format!("/api/orders/{}/cancel", text(rng.choice(sold).unwrap(), "id"));
            return ask("POST", path, &json!({"restock": true}), Act::Order);
        }
        let (variant, _) = *rng.choice(Self::VARIANTS).unwrap();
        let quantity = rng.u64(1..=2);
        let Some(cart) = &self.cart else {
            let body = json!({"variantId": variant, "quantity": quantity, "customerId": self.name});
            return ask("POST", "/api/cart/items".to_owned(), &body, Act::Add);
        };
        let path = format!("/api/cart/{}", text(cart, "id"));
        let line = rng
            .choice(cart["items"].as_array().unwrap())
            .map(|line| line[0].clone());
        match (rng.u32(..10), line) {
            (0..3, Some(line)) => {
                let path = format!("{path}/items/{}", line.as_str().unwrap());
                ask("PATCH", path, &json!({"quantity": rng.u64(1..=4)}), Act::Change)
            }
            (3, Some(line)) => {
                let path = format!("{path}/items/{}", line.as_str().unwrap());
                ask("DELETE", path, &json!({}), Act::Change)
            }
            (4..7, Some(_)) => ask("POST", format!("{path}/checkout"), &json!({}), Act::Checkout),
            (_, line) => {
                let full = cart["items"].as_array().unwrap().len() >= LINES;
                let variant = match line.filter(|_| full) {
                    Some(line) => {
                        let items = cart["items"].as_array().unwrap();
                        let item = items.iter().find(|item| item[0] == line).unwrap();
                        item[1].as_str().unwrap()
                    }
                    None => variant,
                };
                let body = json!({"variantId": variant, "quantity": quantity});
                ask("POST", format!("{path}/items"), &body, Act::Add)
            }
        }
    }

    /// Notes an answer. What is refused for lack of stock is answered too, but changes nothing and is not kept.
    fn learn(&mut self, call: &Call, answer: &Answer) {
        let told = || format!("{}: {}", String::from_utf8_lossy(&call.request), answer.text());
        if answer.status == 409 {
            let code = answer.json()["code"].clone();
            assert_eq!(code, "insufficient-stock", "{}", told());
            return;
        }
        let ok = |status| assert_eq!(answer.status, status, "{}", told());
        match call.act {
            Act::Add => {
                ok(201);
                self.cart = Some(cart(&answer.json(), "active"));
            }
            Act::Change => {
                ok(200);
                self.cart = Some(cart(&answer.json(), "active"));
            }
            Act::Checkout => {
                ok(201);
                self.pending = Some(order(&answer.json()));
                self.cart.as_mut().unwrap()["status"] = "checking_out".into();
            }
            Act::Order => {
                ok(200);
                let moved = order(&answer.json());
                let id = text(&moved, "id").to_owned();
                if self
                    .pending
                    .as_ref()
                    .is_some_and(|pending| text(pending, "id") == id)
                {
                    (self.pending, self.cart) = (None, None);
                }
                self.orders.insert(id, moved);
            }
            Act::Reopen => {
                ok(200);
                let ended = order(&answer.json());
                self.pending = None;
                self.cart.as_mut().unwrap()["status"] = "active".into();
                self.orders.insert(text(&ended, "id").to_owned(), ended);
            }
        }
        self.answers.note(call.request.clone(), answer);
    }
}

/// Waits until everything agrees; how many reservations were looked at.
fn settled(server: &Server, shoppers: &[Shopper]) -> usize {
    let begin = Instant::now();
    loop {
        match agree(server, shoppers) {
            Ok(holds) => return holds,
            // A saga goes on where the kill cut it, and tells its cart last.
            Err(why) => assert!(begin.elapsed() < PATIENCE, "{why}\n{}", server.log()),
        }
    }
}

/// AGREE, NO_OVERSELL and CONSERVATION, from the shoppers' side of the counter.
fn agree(server: &Server, shoppers: &[Shopper]) -> Result<usize, String> {
    // Each reservation that must be there: its status, phase, units, and how many of them were sold and not cancelled.
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for shopper in shoppers {
        if let Some(known) = &shopper.cart {
            let shown = server.get(&format!("/api/cart/{}", text(known, "id")));
            let now = cart(&shown, text(&shown, "status"));
            if now != *known {
                return Err(format!("{}: {known} became {now}", shopper.name));
            }
            for item in known["items"].as_array().unwrap() {
                let phase = if known["status"] == "active" {
                    "cart"
                } else {
                    "payment"
                };
                let hold = json!([known["id"], item[1], "active", phase, item[2], 0]);
                wanted.insert(item[4].as_str().unwrap().to_owned(), hold);
            }
        }
        for known in shopper.orders.values().chain(&shopper.pending) {
            let now = order(&server.get(&format!("/api/orders/{}", text(known, "id"))));
            if now != *known {
                return Err(format!("{}: {known} became {now}", shopper.name));
            }
            if known["paidAt"].is_null() {
                // Its lines are the cart's.
                continue;
            }
            for line in known["lines"].as_array().unwrap() {
                let sold = line["quantity"].as_u64().unwrap() - line["cancelled"].as_u64().unwrap();
                let hold = json!([
                    known["cartId"],
                    line["variantId"],
                    "confirmed",
                    "payment",
                    line["quantity"],
                    sold
                ]);
                wanted.insert(text(line, "reservationId").to_owned(), hold);
            }
        }
    }
    let mut found = BTreeMap::new();
    for status in ["active", "confirmed"] {
        for hold in super::ledger::list(server, status) {
            let fulfilment = &hold["fulfilment"];
            let sold =
                hold["quantity"].as_u64().unwrap() - fulfilment["cancelled"].as_u64().unwrap_or_default();
            let sold = if status == "confirmed" { sold } else { 0 };
            let shown = json!([
                hold["cartId"],
                hold["variantId"],
                hold["status"],
                hold["phase"],
                hold["quantity"],
                sold
            ]);
            found.insert(text(&hold, "id").to_owned(), shown);
        }
    }
    if found != wanted {
        let differs = |(id, hold): &(&String, &Value)| found.get(*id) != Some(*hold);
        let missing: Vec<_> = wanted.iter().filter(differs).collect();
        let extra: Vec<_> = found
            .iter()
            .filter(|(id, hold)| wanted.get(*id) != Some(*hold))
            .collect();
        return Err(format!("wanted {missing:?}, found {extra:?}"));
    }
    for (id, on_hand) in Shopper::VARIANTS {
        let variant = server.get(&format!("/api/stock/variants/{id}"));
        let of = |status: &str, place: usize| -> u64 {
            let holds = wanted.values().filter(|hold| hold[1] == *id && hold[2] == status);
            holds.map(|hold| hold[place].as_u64().unwrap()).sum()
        };
        let (held, committed) = (of("active", 4), of("confirmed", 5));
        assert!(held + committed <= *on_hand, "oversold: {variant}");
        let shown = [
            &variant["onHand"],
            &variant["held"],
            &variant["committed"],
            &variant["available"],
        ];
        let books = [*on_hand, held, committed, on_hand - held - committed];
        if shown.map(|figure| figure.as_u64()) != books.map(Some) {
            return Err(format!("{books:?} expected of {variant}"));
        }
    }
    Ok(found.len())
}
