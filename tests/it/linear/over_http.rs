//! Histories of a real server over real sockets: clients that race for one variant, hang up, and ask again under their keys.
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::model::{Answer, Figures, Op, Stamp, Stand, Variant};
use super::search::{Call, History, NEVER};
use super::{CLIENTS, OPERATIONS, first_stock, next_op};
use crate::server::Server;
use crate::server::wire::{self, Connection, request};

struct Race<'a> {
    server: &'a Server,
    variant: String,
    stamps: AtomicU64,
    holds: Mutex<Vec<(Stamp, String)>>,
}

impl Race<'_> {
    fn stamp(&self) -> Stamp {
        self.stamps.fetch_add(1, Ordering::SeqCst)
    }

    fn path_of(&self, of: Stamp) -> String {
        let holds = self.holds.lock();
        let found = holds.iter().find(|(stamp, _)| *stamp == of);
        let id = &found.expect("only what was granted is named").1;
        format!("/api/stock/reservations/{id}")
    }

    fn bytes(&self, op: &Op, key: &str) -> Vec<u8> {
        let (method, path, body) = match op {
            Op::Reserve { quantity, .. } => {
                let body = json!({"variantId": self.variant, "quantity": quantity});
                ("POST", "/api/stock/reservations".to_owned(), body)
            }
            Op::Release { of } => ("DELETE", self.path_of(*of), Value::Null),
            Op::Confirm { of } => ("POST", self.path_of(*of) + "/confirm", json!({})),
            Op::Resize { of, quantity } => ("PATCH", self.path_of(*of), json!({"quantity": quantity})),
            Op::Adjust { delta } => {
                let path = format!("/api/stock/variants/{}/adjustments", self.variant);
                ("POST", path, json!({"delta": delta, "reason": "recount"}))
            }
            Op::Look => (
                "GET",
                format!("/api/stock/variants/{}", self.variant),
                Value::Null,
            ),
            Op::LookAt { of } => ("GET", self.path_of(*of), Value::Null),
            Op::Tick { .. } => panic!("nobody turns the clock of a server"),
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        request(method, &path, key, &body)
    }
}

fn client(race: &Race<'_>, mut rng: Rng, name: u64) -> Vec<Call> {
    let mut connection = race.server.connect();
    let mut calls = Vec::new();
    for number in 0..OPERATIONS {
        let known: Vec<Stamp> = race.holds.lock().iter().map(|(stamp, _)| *stamp).collect();
        let op = next_op(&mut rng, &known, false);
        let reads = matches!(op, Op::Look | Op::LookAt { .. });
        let keyed = !reads && rng.u8(0..3) == 0;
        let key = if keyed {
            format!("{}-{name}-{number}", race.variant)
        } else {
            String::new()
        };
        let bytes = race.bytes(&op, &key);
        let called = race.stamp();
        let hangs_up = rng.u8(0..40) == 0;
        if hangs_up {
            // Whole or broken off, and nobody hears the answer.
            let sent = if rng.bool() {
                bytes.len()
            } else {
                rng.usize(0..bytes.len())
            };
            let mut gone = race.server.connect();
            gone.write(&bytes[..sent]).unwrap();
        }
        let answer = (!hangs_up || keyed).then(|| told(&op, &exchange(race, &mut connection, &bytes)));
        if let (Op::Reserve { .. }, Some((Answer::Hold { .. }, Some(id)))) = (&op, &answer) {
            let mut holds = race.holds.lock();
            assert!(
                holds.iter().all(|(_, other)| other != id),
                "{id} was given out twice"
            );
            holds.push((called, id.clone()));
        }
        let returned = answer.as_ref().map_or(NEVER, |_| race.stamp());
        calls.push(Call {
            op,
            answer: answer.map(|(answer, _)| answer),
            called,
            returned,
        });
    }
    calls
}

/// One answer; of a connection that the server closed while it was idle, on the next one.
fn exchange(race: &Race<'_>, connection: &mut Connection, bytes: &[u8]) -> wire::Answer {
    connection
        .exchange(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", race.server.log()))
}

/// The answer, and the hold it names.
fn told(op: &Op, answer: &wire::Answer) -> (Answer, Option<String>) {
    if answer.status == 204 {
        let given_back = Answer::Hold {
            stand: None,
            quantity: None,
            until_ms: None,
        };
        return (given_back, None);
    }
    let body = answer.json();
    let units = |name: &str| body[name].as_u64().unwrap_or_else(|| panic!("{name}: {body}"));
    match (answer.status, op) {
        (200 | 201, Op::Adjust { .. }) => (seen(&body["variant"]), None),
        (200, Op::Look) => (seen(&body), None),
        (200 | 201, _) => {
            let hold = Answer::Hold {
                stand: Some(stand(body["status"].as_str().unwrap())),
                quantity: Some(units("quantity")),
                until_ms: None,
            };
            (hold, Some(body["id"].as_str().unwrap().to_owned()))
        }
        _ => (refused(&body), None),
    }
}

fn refused(body: &Value) -> Answer {
    match body["code"].as_str().unwrap() {
        "insufficient-stock" => Answer::Short {
            available: body["available"].as_u64().unwrap(),
        },
        "below-held" => Answer::TooLow {
            least: body["minimum"].as_u64().unwrap(),
        },
        code => match code.strip_prefix("reservation-") {
            Some(ended) => Answer::Ended(stand(ended)),
            None => panic!("{body}"),
        },
    }
}

fn stand(status: &str) -> Stand {
    match status {
        "active" => Stand::Live,
        "confirmed" => Stand::Sold,
        "released" => Stand::Released,
        "expired" => Stand::Expired,
        other => panic!("{other}"),
    }
}

fn seen(variant: &Value) -> Answer {
    let units = |name: &str| {
        variant[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {variant}"))
    };
    Answer::Seen(Figures {
        on_hand: units("onHand"),
        held: units("held"),
        committed: units("committed"),
        available: units("available"),
    })
}

/// So many histories; how many states their searches looked at, and how many operations were never answered.
pub(super) fn check(backend: &str, histories: u64, seed: u64) -> (usize, usize) {
    let home = tempfile::tempdir().unwrap();
    let setting = format!("journal.backend={backend}");
    let server = Server::start(&home.path().join("data"), &["--set", &setting]);
    let (mut states, mut unknown) = (0, 0);
    for number in 0..histories {
        let mut rng = Rng::with_seed(seed ^ number);
        let first = first_stock(&mut rng);
        let race = Race {
            server: &server,
            variant: format!("race-{number}"),
            stamps: AtomicU64::new(1),
            holds: Mutex::default(),
        };
        let body = json!({"id": race.variant, "onHand": first}).to_string();
        let made = server.ask("POST", "/api/stock/variants", "", &body);
        assert_eq!(made.status, 201, "{}", made.text());
        let calls = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|name| {
                    let (race, rng) = (&race, rng.fork());
                    scope.spawn(move || client(race, rng, name))
                })
                .collect();
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        let history = History {
            start: Variant::new(first, 0),
            calls,
        };
        unknown += history.calls.iter().filter(|call| call.answer.is_none()).count();
        states += history.expect_linearizable();
    }
    (states, unknown)
}
