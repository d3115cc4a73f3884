//! Arbitrary input for everything that decodes: never a panic, never a fault of ours, never a changed shop. The seeds in
//! `tests/fuzz/` are used as they are and bent; `PROPTEST_CASES=100000 cargo test --test it fuzz::` looks longer.
use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use bytes::Bytes;
use holdfast::app::{Shop, ShopOptions, Time, configured_journal};
use holdfast::clock::ManualClock;
use holdfast::config::Config;
use holdfast::domain::time::Timestamp;
use holdfast::http::frame::Frame;
use holdfast::http::router::router;
use holdfast::http::site::Site;
use holdfast::storage::dto;
use holdfast::storage::journal::format::{Group, GroupHead, LogHead};
use holdfast::storage::snapshot::SnapshotReader;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// The seeds of one target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// How a seed is bent.
#[derive(Clone, Debug)]
enum Bend {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        (any::<usize>(), 1..=255u8).prop_map(|(at, with)| Bend::Flip(at, with)),
        any::<usize>().prop_map(Bend::Cut),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Bend::Insert(at, bytes)),
        (any::<usize>(), 1..64usize).prop_map(|(at, count)| Bend::Repeat(at, count)),
    ]
}

fn bent(mut bytes: Vec<u8>, bends: &[Bend]) -> Vec<u8> {
    for bend in bends {
        let length = bytes.len();
        if length == 0 {
            return bytes;
        }
        match bend {
            Bend::Flip(at, with) => bytes[at % length] ^= with,
            Bend::Cut(at) => bytes.truncate(at % length),
            Bend::Insert(at, more) => {
                let at = at % length;
                bytes.splice(at..at, more.iter().copied());
            }
            Bend::Repeat(at, count) => {
                let at = at % length;
                let piece = bytes[at..(at + count).min(length)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// Bytes: a seed, mostly bent, or anything.
fn input(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has no seeds");
    prop_oneof![
        4 => (prop::sample::select(seeds), prop::collection::vec(bend(), 0..4))
            .prop_map(|(seed, bends)| bent(seed, &bends)),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_are_refused(bytes in input("record")) {
        if let Ok(turn) = dto::decode_turn(&bytes) {
            prop_assert_eq!(dto::decode_turn(&dto::encode_turn(&turn)).unwrap(), turn);
        }
    }

    #[test]
    fn any_bytes_are_a_group_or_are_refused(bytes in input("group")) {
        let _ = LogHead::decode(&bytes);
        let head = GroupHead::decode(&bytes);
        let bytes = Bytes::from(bytes);
        if let Ok(group) = Group::decode(&bytes) {
            prop_assert_eq!(head.unwrap().first, group.first());
            prop_assert_eq!(group.records().count(), group.count() as usize);
            prop_assert_eq!(group.records().last().unwrap().number, group.last());
        }
    }

    #[test]
    fn any_bytes_are_a_row_or_are_refused(bytes in input("record")) {
        let _ = dto::decode_variant(&bytes);
        let _ = dto::decode_head(&bytes);
        let _ = dto::decode_hold(&bytes);
        let _ = dto::decode_purchases(&bytes);
        let _ = dto::decode_policy(&bytes);
        let _ = dto::decode_bulk(&bytes);
        let _ = dto::decode_cart(&bytes);
        let _ = dto::decode_order(&bytes);
        let _ = dto::decode_ledger_entry(&bytes);
    }

    #[test]
    fn any_bytes_are_a_snapshot_or_are_refused(bytes in input("snapshot")) {
        let whole = SnapshotReader::from_bytes(Path::new("fuzz"), bytes).and_then(SnapshotReader::verify);
        prop_assert!(whole.is_err(), "the seed is half a file");
    }
}

/// A request as a stranger may send it.
#[derive(Clone, Debug)]
struct Ask {
    method: Method,
    uri: Uri,
    headers: Vec<(&'static str, HeaderValue)>,
    body: Vec<u8>,
}

const ROUTES: [&str; 28] = [
    "/api/stock/variants",
    "/api/stock/variants/{}",
    "/api/stock/variants/{}/availability",
    "/api/stock/variants/{}/stock",
    "/api/stock/variants/{}/adjustments",
    "/api/stock/variants/{}/ledger",
    "/api/stock/variants/{}/pause",
    "/api/stock/variants/{}/resume",
    "/api/stock/variants/{}/drain",
    "/api/stock/availability",
    "/api/stock/reservations",
    "/api/stock/reservations/{}",
    "/api/stock/reservations/{}/extend",
    "/api/stock/reservations/{}/confirm",
    "/api/stock/reservations/{}/fulfil",
    "/api/stock/reservations/{}/cancel",
    "/api/stock/reservations/{}/return",
    "/api/stock/reservations/validate",
    "/api/stock/reservations/bulk",
    "/api/stock/reservations/cleanup",
    "/api/stock/reservations/statistics",
    "/api/admin/policy",
    "/api/admin/config",
    "/api/admin/hot-variants",
    "/api/admin/status",
    "/api/admin/quarantine/{}/rebuild",
    "/problems/{}",
    "/{}/{}",
];

const QUERIES: [&str; 10] = [
    "limit",
    "cursor",
    "status",
    "variantId",
    "customerId",
    "cartId",
    "reservationId",
    "ids",
    "dryRun",
    "x",
];

const HEADERS: [&str; 9] = [
    "content-type",
    "idempotency-key",
    "if-match",
    "x-request-id",
    "traceparent",
    "authorization",
    "accept",
    "expect",
    "host",
];

/// Any bytes, escaped so that they are one part of an address.
fn part() -> impl Strategy<Value = String> {
    let any = prop::collection::vec(any::<u8>(), 0..150).prop_map(|bytes| {
        bytes
            .iter()
            .map(|byte| format!("%{byte:02X}"))
            .collect::<String>()
    });
    let held = Just("rsv_01a1fc2155ff78b1800000002a8f6121".to_owned());
    prop_oneof![2 => Just("123".to_owned()), 1 => held, 1 => "[a-zA-Z0-9_.~-]{1,40}", 2 => any]
}

fn value() -> impl Strategy<Value = HeaderValue> {
    let known = prop::sample::select(vec![
        "application/json",
        "text/csv",
        "\"1\"",
        "*",
        "k",
        "100-continue",
        "Bearer x",
    ]);
    let any = prop::collection::vec(prop_oneof![0x20..=0x7e_u8, 0x80..=0xff_u8], 0..300);
    prop_oneof![
        3 => known.prop_map(HeaderValue::from_static),
        1 => any.prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap()),
    ]
}

/// Requests that mean something: route and seed.
const USUAL: [(&str, &str, &str); 8] = [
    ("POST", "/api/stock/variants/123/adjustments", "adjustment"),
    ("POST", "/api/stock/reservations", "reserve"),
    ("POST", "/api/stock/reservations/bulk", "bulk"),
    ("POST", "/api/stock/reservations/validate", "validate"),
    ("POST", "/api/stock/variants/156/pause", "cleanup"),
    ("POST", "/api/stock/availability", "availability"),
    ("PUT", "/api/admin/policy", "policy"),
    ("PUT", "/api/stock/variants/123/stock", "stock"),
];

/// A request that means something, with a body that is hardly bent.
fn usual() -> impl Strategy<Value = Ask> {
    let bends = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(bend(), 1..3)];
    (prop::sample::select(&USUAL[..]), bends).prop_map(|((method, path, seed), bends)| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/body/{seed}.json"));
        let headers = [("content-type", "application/json"), ("if-match", "*")];
        Ask {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            uri: Uri::from_static(path),
            headers: headers
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .to_vec(),
            body: bent(fs::read(file).unwrap(), &bends),
        }
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![2 => anything(), 1 => usual()]
}

fn anything() -> impl Strategy<Value = Ask> {
    let method = prop::sample::select(vec![
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW",
    ]);
    let uri = (
        prop::sample::select(&ROUTES[..]),
        prop::collection::vec(part(), 2),
        prop::collection::vec((prop::sample::select(&QUERIES[..]), part()), 0..3),
    );
    let uri = uri.prop_map(|(route, parts, query)| {
        let mut parts = parts.into_iter();
        let path: Vec<_> = route
            .split('/')
            .map(|word| {
                if word == "{}" {
                    parts.next().unwrap()
                } else {
                    word.to_owned()
                }
            })
            .collect();
        let query: Vec<_> = query
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Uri::try_from(format!("{}?{}", path.join("/"), query.join("&"))).unwrap()
    });
    let headers = prop::collection::vec((prop::sample::select(&HEADERS[..]), value()), 0..4);
    (method, uri, headers, input("body")).prop_map(|(method, uri, headers, body)| Ask {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        uri,
        headers: [
            vec![("content-type", HeaderValue::from_static("application/json"))],
            headers,
        ]
        .concat(),
        body,
    })
}

/// A shop behind its router.
struct House {
    router: Router,
    _shop: Arc<Shop>,
    _dir: TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = [
            (
                "data.dir".to_owned(),
                dir.path().join("data").display().to_string(),
            ),
            ("disk.reserve".to_owned(), "1MiB".to_owned()),
            ("journal.backend".to_owned(), "file".to_owned()),
            ("journal.segment_bytes".to_owned(), "1MiB".to_owned()),
            // A machine that stands still for a while is no fault of the request.
            ("server.request_deadline".to_owned(), "10m".to_owned()),
        ];
        let loaded = Arc::new(Config::load(None, [], &flags).unwrap());
        let options = ShopOptions {
            config: Arc::new(loaded.config.clone()),
            journal: configured_journal(&loaded.config),
            time: Time::Given(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)).into()),
            seed: None,
            progress: Box::new(|_| ()),
            on_fatal: Arc::new(|why| panic!("{why}")),
            workers: holdfast::workers::threads(),
        };
        let (shop, _) = Shop::open(options).await.unwrap();
        let frame = Frame::new(&loaded.config.server);
        let house = holdfast::app::House::new(
            Arc::clone(&shop),
            configured_journal(&loaded.config),
            Arc::new(|why| panic!("{why}")),
        );
        let router = router(Site::new(Arc::clone(&shop), house, loaded), frame);
        let house = Self {
            router,
            _shop: shop,
            _dir: dir,
        };
        for body in [
            json!({"id": "123", "onHand": 1000}),
            json!({"id": "156", "onHand": 5}),
        ] {
            house.post("/api/stock/variants", &body).await;
        }
        house
            .post(
                "/api/stock/reservations",
                &json!({"variantId": "123", "quantity": 2}),
            )
            .await;
        house
    }

    async fn post(&self, path: &'static str, body: &Value) {
        let ask = Ask {
            method: Method::POST,
            uri: Uri::from_static(path),
            headers: vec![("content-type", HeaderValue::from_static("application/json"))],
            body: body.to_string().into_bytes(),
        };
        assert_eq!(self.send(&ask).await.0, 201);
    }

    /// Status, content type and body of the answer.
    async fn send(&self, ask: &Ask) -> (u16, String, Vec<u8>) {
        let mut request = Request::new(Body::from(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri.clone();
        for (name, value) in &ask.headers {
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value.clone());
        }
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let kind = head
            .headers
            .get("content-type")
            .map_or("", |kind| kind.to_str().unwrap())
            .to_owned();
        (
            head.status.as_u16(),
            kind,
            body.collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    /// Everything a caller can see of the shop.
    async fn seen(&self) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        for path in [
            "/api/stock/variants?limit=500",
            "/api/stock/variants/123/ledger?limit=500",
            "/api/stock/reservations?limit=500",
            "/api/stock/reservations/statistics",
            "/api/admin/policy",
        ] {
            let ask = Ask {
                method: Method::GET,
                uri: Uri::from_static(path),
                headers: Vec::new(),
                body: Vec::new(),
            };
            let (status, _, body) = self.send(&ask).await;
            assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
            seen.push(body);
        }
        seen
    }
}

#[test]
fn any_request_is_answered_and_a_refused_one_changes_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let house = runtime.block_on(House::open());
    let mut before = runtime.block_on(house.seen());
    let (mut done, mut refused) = (0, 0);
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(ProptestConfig::default().cases * 4)
    });
    let before = std::cell::RefCell::new(&mut before);
    let counts = std::cell::RefCell::new((&mut done, &mut refused));
    let ran = runner.run(&ask(), |ask| {
        let (status, kind, body) = runtime.block_on(house.send(&ask));
        let after = runtime.block_on(house.seen());
        prop_assert!(status < 500, "{status}: {}", String::from_utf8_lossy(&body));
        if status >= 400 {
            prop_assert_eq!(kind, "application/problem+json");
            if ask.method != Method::HEAD {
                let problem: Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(&problem["status"], status);
                prop_assert!(
                    problem["code"].is_string() && problem["requestId"].is_string(),
                    "{}",
                    problem
                );
            }
            prop_assert!(**before.borrow() == after, "a refused request changed something");
            *counts.borrow_mut().1 += 1;
        } else {
            *counts.borrow_mut().0 += 1;
        }
        **before.borrow_mut() = after;
        Ok(())
    });
    ran.unwrap();
    assert!(
        done > 20 && refused > 200,
        "{done} done, {refused} refused: the requests are of one kind only"
    );
}
