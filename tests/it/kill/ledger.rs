//! The client's own ledger: what it asked, what it was answered, and what a restarted server must therefore show.
use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};

use super::answers::Answers;
use super::{Checked, Client};
use crate::server::Server;
use crate::server::wire::{Answer, Connection, request};

/// The variants on sale, and the units each has at the beginning.
pub(crate) const VARIANTS: [(&str, u64); 3] = [("hot", 60), ("warm", 4_000), ("cold", 1_000_000)];

/// What a client asks for.
#[derive(Clone, Debug)]
enum Act {
    Reserve {
        variant: usize,
        quantity: u64,
    },
    ReserveTogether {
        lines: Vec<(usize, u64)>,
    },
    Confirm(String),
    Release(String),
    Extend(String),
    Resize(String, u64),
    Adjust {
        variant: usize,
        delta: i64,
    },
    /// A list that is taken over all or not at all.
    AdjustTogether {
        deltas: [i64; VARIANTS.len()],
    },
}

/// A request with its key: sent again, it must have the same one effect.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    key: String,
    act: Act,
}

impl Call {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let path = |id: &str, action: &str| format!("/api/stock/reservations/{id}{action}");
        let (method, path, body) = match &self.act {
            Act::Reserve { variant, quantity } => {
                let body =
                    json!({"variantId": VARIANTS[*variant].0, "quantity": quantity, "customerId": self.key});
                ("POST", "/api/stock/reservations".to_owned(), body)
            }
            Act::ReserveTogether { lines } => {
                let lines: Vec<_> = lines
                    .iter()
                    .map(|(variant, quantity)| json!({"variantId": VARIANTS[*variant].0, "quantity": quantity}))
                    .collect();
                let body = json!({"action": "reserve", "mode": "all_or_nothing", "cartId": self.key, "lines": lines});
                ("POST", "/api/stock/reservations/bulk".to_owned(), body)
            }
            Act::Confirm(id) => ("POST", path(id, "/confirm"), json!({})),
            Act::Release(id) => ("DELETE", path(id, ""), Value::Null),
            Act::Extend(id) => ("POST", path(id, "/extend"), json!({"seconds": 60})),
            Act::Resize(id, quantity) => ("PATCH", path(id, ""), json!({"quantity": quantity})),
            Act::Adjust { variant, delta } => {
                let path = format!("/api/stock/variants/{}/adjustments", VARIANTS[*variant].0);
                ("POST", path, json!({"delta": delta, "reason": "recount"}))
            }
            Act::AdjustTogether { deltas } => {
                let lines = VARIANTS.iter().zip(deltas);
                let list: String = lines
                    .map(|((id, _), delta)| format!("{}\n", json!({"id": id, "delta": delta})))
                    .collect();
                return request("POST", "/api/stock/import?atomic=true", &self.key, &list);
            }
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        request(method, &path, &self.key, &body)
    }

    fn hold(&self) -> Option<&str> {
        match &self.act {
            Act::Confirm(id) | Act::Release(id) | Act::Extend(id) | Act::Resize(id, _) => Some(id),
            Act::Reserve { .. }
            | Act::ReserveTogether { .. }
            | Act::Adjust { .. }
            | Act::AdjustTogether { .. } => None,
        }
    }
}

/// A hold as its last answer left it.
#[derive(Clone, Debug)]
struct Hold {
    status: String,
    variant: String,
    quantity: u64,
    /// The members of the answer that do not depend on when it is asked for; none after a release, which shows nothing.
    shown: Option<Value>,
}

impl Hold {
    fn of(shown: &Value) -> Self {
        Self {
            status: shown["status"].as_str().unwrap().to_owned(),
            variant: shown["variantId"].as_str().unwrap().to_owned(),
            quantity: shown["quantity"].as_u64().unwrap(),
            shown: Some(timeless(shown)),
        }
    }
}

fn timeless(shown: &Value) -> Value {
    let mut shown = shown.clone();
    let members = shown.as_object_mut().unwrap();
    for passing in ["serverTime", "expiresInMs", "needsExtension"] {
        members.remove(passing);
    }
    shown
}

/// One client's ledger.
pub(crate) struct Ledger {
    name: String,
    rng: Rng,
    calls: u64,
    holds: BTreeMap<String, Hold>,
    /// The holds that can still be acted on.
    live: Vec<String>,
    answers: Answers,
    /// Sent and never answered: they may have happened or not.
    unknown: Option<Call>,
    adjusted: [i64; VARIANTS.len()],
}

impl Ledger {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            rng: Rng::with_seed(seed),
            calls: 0,
            holds: BTreeMap::new(),
            live: Vec::new(),
            answers: Answers::default(),
            unknown: None,
            adjusted: [0; VARIANTS.len()],
        }
    }

    /// Asks until the connection is lost or the server drains; `each` hears of every answer.
    pub(crate) fn ask_until_lost(&mut self, mut connection: Connection, each: impl Fn()) {
        loop {
            let call = self.next();
            match connection.exchange(&call.bytes()) {
                Ok(answer) if answer.status != 503 => self.learn(call, &answer),
                // Turned away with nothing done, as the books of the check will say: while a snapshot reads the rows, no key goes to
                // the disk, and few have room in memory here.
                Ok(answer) if answer.json()["code"] == "overloaded" => continue,
                Ok(answer) => {
                    assert_eq!(answer.json()["code"], "draining", "{call:?}: {}", answer.text());
                    return;
                }
                Err(_) => {
                    self.unknown = Some(call);
                    return;
                }
            }
            each();
        }
    }

    fn next(&mut self) -> Call {
        self.calls += 1;
        let key = format!("{}-{}", self.name, self.calls);
        let rng = &mut self.rng;
        let variant = rng.usize(..VARIANTS.len());
        let act = match rng.u32(..100) {
            0..40 => Act::Reserve {
                variant,
                quantity: rng.u64(1..=3),
            },
            40..50 => {
                let first = (variant, rng.u64(1..=2));
                let second = ((variant + 1) % VARIANTS.len(), rng.u64(1..=2));
                Act::ReserveTogether {
                    lines: vec![first, second],
                }
            }
            50..54 => Act::Adjust {
                variant,
                delta: rng.i64(-1..=2) * 2 + 1,
            },
            54..57 => Act::AdjustTogether {
                deltas: std::array::from_fn(|_| rng.i64(-1..=2) * 2 + 1),
            },
            _ if self.live.is_empty() => Act::Reserve { variant, quantity: 1 },
            choice => {
                let id = self.live[rng.usize(..self.live.len())].clone();
                match choice {
                    57..72 => Act::Confirm(id),
                    72..86 => Act::Release(id),
                    86..93 => Act::Extend(id),
                    _ => Act::Resize(id, rng.u64(1..=4)),
                }
            }
        };
        Call { key, act }
    }

    /// Notes an answer. A refusal for lack of stock or of extensions is an answer too, but changes nothing and is not kept.
    fn learn(&mut self, call: Call, answer: &Answer) {
        let ok = |status| assert_eq!(answer.status, status, "{call:?}: {}", answer.text());
        if answer.status == 409 {
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            let usual = [
                "insufficient-stock",
                "lines-refused",
                "extension-limit",
                "below-held",
            ];
            assert!(usual.contains(&code.as_str()), "{call:?}: {}", answer.text());
            return;
        }
        match &call.act {
            Act::Reserve { .. } => {
                ok(201);
                self.note(&answer.json());
            }
            Act::ReserveTogether { lines } => {
                ok(201);
                let results = answer.json()["results"].as_array().unwrap().clone();
                assert_eq!(results.len(), lines.len(), "{}", answer.text());
                for result in results {
                    self.note(&result["reservation"]);
                }
            }
            Act::Confirm(_) | Act::Extend(_) | Act::Resize(..) => {
                ok(200);
                self.note(&answer.json());
            }
            Act::Release(id) => {
                ok(204);
                let hold = self.holds.get_mut(id).unwrap();
                (hold.status, hold.shown) = ("released".to_owned(), None);
                self.live.retain(|live| live != id);
            }
            Act::Adjust { variant, delta } => {
                ok(201);
                self.adjusted[*variant] += delta;
            }
            Act::AdjustTogether { deltas } => {
                ok(200);
                for (adjusted, delta) in self.adjusted.iter_mut().zip(deltas) {
                    *adjusted += delta;
                }
            }
        }
        self.answers.note(call.bytes(), answer);
    }

    fn note(&mut self, shown: &Value) {
        let id = shown["id"].as_str().unwrap().to_owned();
        let hold = Hold::of(shown);
        match (hold.status.as_str(), self.holds.contains_key(&id)) {
            ("active", false) => self.live.push(id.clone()),
            ("active", true) => {}
            _ => self.live.retain(|live| *live != id),
        }
        self.holds.insert(id, hold);
    }

    /// What was not answered happened wholly or not at all; asked again under its key it is answered, and counts once.
    fn settle(&mut self, server: &Server) -> usize {
        let Some(call) = self.unknown.take() else {
            return 0;
        };
        if let Some(id) = call.hold() {
            let before = &self.holds[id];
            let now = server.get(&format!("/api/stock/reservations/{id}"));
            let after = match &call.act {
                Act::Confirm(_) => now["status"] == "confirmed",
                Act::Release(_) => now["status"] == "released",
                Act::Resize(_, quantity) => now["quantity"] == *quantity && now["status"] == "active",
                _ => now["status"] == "active",
            };
            let unchanged = before.shown.as_ref() == Some(&timeless(&now));
            assert!(after || unchanged, "{call:?}: {before:?} became {now}");
        }
        let answer = server.connect().exchange(&call.bytes()).unwrap();
        self.learn(call, &answer);
        1
    }
}

impl Client for Ledger {
    const CYCLES: u64 = 25;
    const VARIANTS: &'static [(&'static str, u64)] = &VARIANTS;

    fn new(name: &str, seed: u64) -> Self {
        Self::new(name, seed)
    }

    fn ask_until_lost(&mut self, connection: Connection, each: impl Fn()) {
        self.ask_until_lost(connection, each);
    }

    fn check(server: &Server, clients: &mut [Self]) -> Checked {
        check(server, clients)
    }
}

/// Holds a restarted server to everything that was ever answered.
pub(crate) fn check(server: &Server, ledgers: &mut [Ledger]) -> Checked {
    let mut checked = Checked::default();
    for ledger in ledgers.iter_mut() {
        checked.answers += ledger.answers.fresh();
        checked.unknown += ledger.settle(server);
    }
    // Now every request has its answer, so that the books must agree to the unit, with nothing beside them.
    checked.holds = holds_agree(server, ledgers);
    units_agree(server, ledgers);
    for ledger in ledgers.iter_mut() {
        checked.replays += ledger.answers.replay(server, &mut ledger.rng);
    }
    units_agree(server, ledgers);
    checked
}

fn holds_agree(server: &Server, ledgers: &[Ledger]) -> usize {
    let mut wanted: BTreeMap<&str, &Hold> = BTreeMap::new();
    for (id, hold) in ledgers.iter().flat_map(|ledger| &ledger.holds) {
        assert!(wanted.insert(id, hold).is_none(), "two clients were given {id}");
    }
    let statistics = server.get("/api/stock/reservations/statistics");
    let mut seen = 0;
    for status in ["active", "confirmed", "released", "expired"] {
        let found = list(server, status);
        let count = wanted.values().filter(|hold| hold.status == status).count();
        for item in &found {
            let id = item["id"].as_str().unwrap();
            let hold = wanted
                .get(id)
                .unwrap_or_else(|| panic!("nobody was ever given {item}"));
            assert_eq!(item["status"], hold.status.as_str(), "{item}");
            if let Some(shown) = &hold.shown {
                assert_eq!(&timeless(item), shown, "{id}");
            }
        }
        let shown: BTreeSet<_> = found.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(found.len(), shown.len(), "{status}: some are listed twice");
        let of_status = wanted.iter().filter(|(_, hold)| hold.status == status);
        let missing: Vec<_> = of_status
            .filter(|(id, _)| !shown.contains(*id))
            .map(|(id, hold)| {
                (
                    hold,
                    server
                        .ask("GET", &format!("/api/stock/reservations/{id}"), "", "")
                        .text(),
                )
            })
            .collect();
        assert!(
            missing.is_empty(),
            "{status}: not listed: {missing:#?}\n{}",
            server.log()
        );
        assert_eq!(statistics[status], count, "{statistics}");
        seen += count;
    }
    seen
}

pub(super) fn list(server: &Server, status: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/stock/reservations?limit=500&status={status}{cursor}");
        let page = server.get(&path);
        found.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// NO_OVERSELL and CONSERVATION, from the client's side of the counter.
fn units_agree(server: &Server, ledgers: &[Ledger]) {
    for (index, (id, stocked)) in VARIANTS.iter().enumerate() {
        let variant = server.get(&format!("/api/stock/variants/{id}"));
        let units = |status: &str| -> u64 {
            let holds = ledgers.iter().flat_map(|ledger| ledger.holds.values());
            holds
                .filter(|hold| hold.variant == *id && hold.status == status)
                .map(|hold| hold.quantity)
                .sum()
        };
        let adjusted: i64 = ledgers.iter().map(|ledger| ledger.adjusted[index]).sum();
        let on_hand = stocked.checked_add_signed(adjusted).unwrap();
        let (held, committed) = (units("active"), units("confirmed"));
        assert!(held + committed <= on_hand, "oversold: {variant}");
        assert_eq!(variant["onHand"], on_hand, "{variant}");
        assert_eq!(variant["held"], held, "{variant}");
        assert_eq!(variant["committed"], committed, "{variant}");
        assert_eq!(variant["available"], on_hand - held - committed, "{variant}");
    }
}
