//! The stock API as callers see it: the router without a socket, over a whole shop in a fresh directory, by a clock that is
//! turned by hand.
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use holdfast::app::{Shop, ShopOptions, Time};
use holdfast::clock::ManualClock;
use holdfast::config::Config;
use holdfast::domain::time::Timestamp;
use holdfast::http::frame::Frame;
use holdfast::http::router::router;
use holdfast::http::site::Site;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt;

/// A shop behind its router.
struct House {
    router: Router,
    shop: Arc<Shop>,
    clock: ManualClock,
    _dir: TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON, not {:?}", self.text))
    }

    fn code(&self) -> String {
        let body = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json", "{body}");
        assert_eq!(
            (&body["status"], &body["requestId"]),
            (&json!(self.status), &json!(self.header("x-request-id")))
        );
        assert!(
            body["title"].is_string() && body["detail"].is_string() && body["retryable"].is_boolean(),
            "{body}"
        );
        body["code"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl House {
    async fn open(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut flags = vec![(
            "data.dir".to_owned(),
            dir.path().join("data").display().to_string(),
        )];
        flags.extend(
            settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let loaded = Arc::new(Config::load(None, [], &flags).unwrap());
        let clock = ManualClock::new(Timestamp::from_millis(1_800_000_000_000));
        let options = ShopOptions {
            config: Arc::new(loaded.config.clone()),
            time: Time::Given(clock.clone().into()),
            seed: None,
            progress: Box::new(|_| ()),
            on_fatal: Arc::new(|why| panic!("{why}")),
        };
        let (shop, _) = Shop::open(options).await.unwrap();
        let frame = Frame::new(&loaded.config.server);
        let router = router(Site::new(Arc::clone(&shop), loaded), frame);
        Self {
            router,
            shop,
            clock,
            _dir: dir,
        }
    }

    /// A shop with variant 123, ten units.
    async fn stocked() -> Self {
        let house = Self::open(&[]).await;
        let made = house
            .post(
                "/api/stock/variants",
                json!({"id": "123", "name": "Soap", "onHand": 10}),
            )
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
        house
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = self
            .router
            .clone()
            .oneshot(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (head, body) = answer.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    async fn keyed(&self, method: &str, path: &str, key: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send(method, path, &headers, body.to_string()).await
    }

    async fn reserve(&self, quantity: u32) -> Value {
        let held = self
            .post(
                "/api/stock/reservations",
                json!({"variantId": "123", "quantity": quantity}),
            )
            .await;
        assert_eq!(held.status, 201, "{}", held.text);
        held.json()
    }

    /// Everything a caller can see of the shop.
    async fn seen(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        for path in [
            "/api/stock/variants",
            "/api/stock/variants/123/ledger",
            "/api/stock/reservations",
            "/api/stock/reservations/statistics",
            "/api/admin/policy",
        ] {
            seen.push(self.get(path).await.json());
        }
        seen
    }
}

#[tokio::test]
async fn bad_input_gets_what_the_contract_says_and_changes_nothing() {
    let house = House::stocked().await;
    let held = house.reserve(2).await;
    let id = held["id"].as_str().unwrap().to_owned();
    let before = house.seen().await;
    let json = ("content-type", "application/json");
    let reserve = "/api/stock/reservations";
    let variant = "/api/stock/variants/123";
    let (long, unknown) = ("x".repeat(129), "rsv_00000000000070008000000000000000");
    let (big, wide) = (" ".repeat(64 * 1024 + 1), " ".repeat(256 * 1024 + 1));
    let many = json!({"reservationIds": vec!["rsv_1"; 201]}).to_string();
    let with = |body: &str| body.to_owned();
    for (method, path, headers, body, status, code) in [
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with("no json"),
            400,
            "malformed-json",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with("{\"variantId\":"),
            400,
            "malformed-json",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with("[]"),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":"2"}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":-2}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":0}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":1e3}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":18446744073709551617}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":1,"customerID":"u"}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            format!(r#"{{"variantId":"{long}","quantity":1}}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":1,"ttlSeconds":999999}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            big.clone(),
            413,
            "body-too-large",
        ),
        (
            "POST",
            format!("{reserve}/bulk"),
            vec![json],
            wide,
            413,
            "body-too-large",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![("content-type", "text/plain")],
            with("{}"),
            415,
            "unsupported-media-type",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![],
            with("{}"),
            415,
            "unsupported-media-type",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json, ("idempotency-key", "")],
            with(r#"{"variantId":"123","quantity":1}"#),
            400,
            "invalid-header",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"absent","quantity":1}"#),
            404,
            "variant-not-found",
        ),
        (
            "POST",
            reserve.to_owned(),
            vec![json],
            with(r#"{"variantId":"123","quantity":9}"#),
            409,
            "insufficient-stock",
        ),
        (
            "DELETE",
            reserve.to_owned(),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "DELETE",
            format!("{reserve}?cartId=a&reservationId=b"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "DELETE",
            format!("{reserve}?cart=a"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "PUT",
            reserve.to_owned(),
            vec![json],
            format!(r#"{{"reservationId":"{id}","action":"update"}}"#),
            422,
            "invalid-member",
        ),
        (
            "PUT",
            reserve.to_owned(),
            vec![json],
            format!(r#"{{"reservationId":"{id}","action":"extend","quantity":1}}"#),
            422,
            "invalid-member",
        ),
        (
            "PUT",
            reserve.to_owned(),
            vec![json],
            format!(r#"{{"reservationId":"{id}","action":"destroy"}}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            format!("{reserve}/{unknown}/extend"),
            vec![],
            with(""),
            404,
            "reservation-not-found",
        ),
        (
            "POST",
            format!("{reserve}/foreign/confirm"),
            vec![],
            with(""),
            404,
            "reservation-not-found",
        ),
        (
            "GET",
            format!("{reserve}/{long}"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "GET",
            format!("{reserve}?limit=501"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "GET",
            format!("{reserve}?cursor=ff"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "GET",
            format!("{reserve}?status=tentative"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "GET",
            format!("{reserve}/validate"),
            vec![],
            with(""),
            422,
            "invalid-parameter",
        ),
        (
            "POST",
            format!("{reserve}/validate"),
            vec![json],
            many,
            422,
            "invalid-member",
        ),
        (
            "POST",
            format!("{reserve}/bulk"),
            vec![json],
            with(r#"{"action":"reserve","lines":[]}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            format!("{reserve}/bulk"),
            vec![json],
            with(r#"{"action":"release","reservationIds":["foreign"]}"#),
            422,
            "invalid-member",
        ),
        (
            "POST",
            format!("{reserve}/{id}/fulfil"),
            vec![],
            with(""),
            409,
            "reservation-not-confirmed",
        ),
        (
            "POST",
            "/api/stock/variants".to_owned(),
            vec![json],
            with(r#"{"id":"123"}"#),
            409,
            "already-exists",
        ),
        (
            "POST",
            "/api/stock/variants".to_owned(),
            vec![json],
            with(r#"{"id":"1","price":[1,"USD"]}"#),
            422,
            "invalid-member",
        ),
        (
            "PATCH",
            variant.to_owned(),
            vec![json],
            with("{}"),
            428,
            "precondition-required",
        ),
        (
            "PATCH",
            variant.to_owned(),
            vec![json, ("if-match", "\"7\"")],
            with("{}"),
            412,
            "stale-version",
        ),
        (
            "PATCH",
            variant.to_owned(),
            vec![json, ("if-match", "W/\"1\"")],
            with("{}"),
            400,
            "invalid-header",
        ),
        (
            "DELETE",
            variant.to_owned(),
            vec![("if-match", "*")],
            with(""),
            409,
            "has-active-holds",
        ),
        (
            "PUT",
            format!("{variant}/stock"),
            vec![json, ("if-match", "*")],
            with(r#"{"onHand":1}"#),
            409,
            "below-held",
        ),
        (
            "POST",
            format!("{variant}/adjustments"),
            vec![json],
            with(r#"{"delta":1,"reason":"found","expectedOnHand":11}"#),
            409,
            "expected-mismatch",
        ),
        (
            "PUT",
            "/api/admin/policy".to_owned(),
            vec![json, ("if-match", "*")],
            with("{}"),
            422,
            "invalid-member",
        ),
        (
            "POST",
            "/api/admin/quarantine/123/rebuild".to_owned(),
            vec![],
            with(""),
            404,
            "quarantine-not-found",
        ),
        (
            "GET",
            "/api/nowhere".to_owned(),
            vec![],
            with(""),
            404,
            "route-not-found",
        ),
        (
            "PUT",
            "/api/stock/reservations/bulk".to_owned(),
            vec![],
            with(""),
            405,
            "method-not-allowed",
        ),
        (
            "BREW",
            reserve.to_owned(),
            vec![],
            with(""),
            405,
            "method-not-allowed",
        ),
    ] {
        let short: String = body.chars().take(80).collect();
        let answer = house.send(method, &path, &headers, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path} {short}: {}",
            answer.text
        );
    }
    assert_eq!(house.seen().await, before, "nothing of it changed anything");
}

#[tokio::test]
async fn a_hold_is_made_extended_sold_and_shipped() {
    let house = House::stocked().await;
    let held = house
        .post(
            "/api/stock/reservations",
            json!({"variantId": 123, "quantity": 2, "customerId": "u1"}),
        )
        .await;
    let body = held.json();
    let path = format!("/api/stock/reservations/{}", body["id"].as_str().unwrap());
    assert_eq!(
        (held.status, held.header("location"), held.header("etag")),
        (201, path.as_str(), "\"1\"")
    );
    assert_eq!(
        (&body["status"], &body["phase"], &body["expiresInMs"]),
        (&json!("active"), &json!("cart"), &json!(900_000))
    );
    assert_eq!(body["serverTime"], "2027-01-15T08:00:00.000Z");
    assert_eq!(held.header("cache-control"), "no-store");
    assert_eq!(house.get(&path).await.json(), body);

    let variant = house.get("/api/stock/variants/123").await;
    assert_eq!(
        (
            variant.header("etag"),
            &variant.json()["available"],
            &variant.json()["held"]
        ),
        ("\"1\"", &json!(8), &json!(2))
    );

    house.clock.advance(1_000);
    let extended = house
        .send("POST", &format!("{path}/extend"), &[], Body::empty())
        .await;
    assert_eq!(
        (extended.status, &extended.json()["extensionsLeft"]),
        (200, &json!(2)),
        "{}",
        extended.text
    );
    let sold = house
        .post(&format!("{path}/confirm"), json!({"orderId": 77}))
        .await;
    assert_eq!(
        (sold.status, &sold.json()["status"], &sold.json()["orderId"]),
        (200, &json!("confirmed"), &json!("77"))
    );
    let again = house
        .post(&format!("{path}/confirm"), json!({"orderId": 77}))
        .await;
    assert_eq!(
        (again.status, again.json()),
        (200, sold.json()),
        "a repeat gives the same answer"
    );
    let refused = house.send("DELETE", &path, &[], Body::empty()).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "reservation-confirmed")
    );
    let shipped = house
        .post(&format!("{path}/fulfil"), json!({"quantity": 1}))
        .await;
    assert_eq!(
        (shipped.status, &shipped.json()["fulfilment"]["shipped"]),
        (200, &json!(1)),
        "{}",
        shipped.text
    );
    let cancelled = house.post(&format!("{path}/cancel"), json!({})).await;
    assert_eq!(
        (cancelled.status, &cancelled.json()["fulfilment"]["cancelled"]),
        (200, &json!(1)),
        "{}",
        cancelled.text
    );
    let variant = house.get("/api/stock/variants/123/availability").await.json();
    assert_eq!(
        (&variant["available"], &variant["onHand"], &variant["committed"]),
        (&json!(9), &json!(9), &json!(0))
    );
}

#[tokio::test]
async fn a_key_has_one_effect_and_one_answer() {
    let house = House::stocked().await;
    let (path, body) = (
        "/api/stock/reservations",
        json!({"variantId": "123", "quantity": 2}),
    );
    let first = house.keyed("POST", path, "k1", &body).await;
    house.clock.advance(5_000);
    let second = house.keyed("POST", path, "k1", &body).await;
    assert_eq!((second.status, &second.text), (201, &first.text), "byte-equal");
    assert_eq!(
        (
            first.header("idempotent-replayed"),
            second.header("idempotent-replayed")
        ),
        ("", "true")
    );
    assert_eq!(second.header("location"), first.header("location"));
    let other = house
        .keyed("POST", path, "k1", &json!({"variantId": "123", "quantity": 3}))
        .await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency-key-reused")
    );
    let elsewhere = house
        .keyed("POST", "/api/stock/variants/123/pause", "k1", &json!({}))
        .await;
    assert_eq!(
        (elsewhere.status, elsewhere.code().as_str()),
        (422, "idempotency-key-reused")
    );
    assert_eq!(house.get("/api/stock/variants/123").await.json()["held"], 2);

    let all = json!({"variantId": "123", "quantity": 9});
    assert_eq!(house.keyed("POST", path, "k2", &all).await.status, 409);
    let gone = house
        .send("DELETE", first.header("location"), &[], Body::empty())
        .await;
    assert_eq!(gone.status, 204);
    assert_eq!(
        house.keyed("POST", path, "k2", &all).await.status,
        201,
        "a refusal is not a fact"
    );
}

#[tokio::test]
async fn a_shortage_says_how_many_are_left_and_when_more_may_come() {
    let house = House::stocked().await;
    let held = house.reserve(9).await;
    let refused = house
        .post(
            "/api/stock/reservations",
            json!({"variantId": "123", "quantity": 2}),
        )
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "insufficient-stock")
    );
    let body = refused.json();
    assert_eq!(
        (&body["requested"], &body["available"], &body["nextReleaseAt"]),
        (&json!(2), &json!(1), &held["expiresAt"])
    );
    assert_eq!(
        body["lines"],
        json!([{"variantId": "123", "requested": 2, "available": 1}])
    );
    let partial = json!({"variantId": "123", "quantity": 2, "allowPartial": true});
    assert_eq!(
        house.post("/api/stock/reservations", partial).await.json()["quantity"],
        1
    );
    house.clock.advance(900_000);
    let expired = house
        .get(&format!(
            "/api/stock/reservations/{}",
            held["id"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(
        (&expired["status"], &expired["expiresInMs"]),
        (&json!("expired"), &json!(0))
    );
    house.reserve(10).await;
}

#[tokio::test]
async fn bulk_is_all_or_nothing_or_each_for_itself() {
    let house = House::stocked().await;
    house
        .post("/api/stock/variants", json!({"id": "156", "onHand": 1}))
        .await;
    let lines = json!([{"variantId": "123", "quantity": 3}, {"variantId": "156", "quantity": 2}, {"variantId": "123", "quantity": 3}]);
    let bulk =
        |mode: &str, lines: &Value| json!({"action": "reserve", "mode": mode, "cartId": "c", "lines": lines});
    let refused = house
        .post("/api/stock/reservations/bulk", bulk("all_or_nothing", &lines))
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "lines-refused"),
        "{}",
        refused.text
    );
    let failing = &refused.json()["lines"];
    assert_eq!(failing.as_array().unwrap().len(), 1);
    assert_eq!(
        (&failing[0]["code"], &failing[0]["available"]),
        (&json!("insufficient-stock"), &json!(1))
    );
    assert_eq!(
        house.get("/api/stock/variants/123").await.json()["held"],
        0,
        "nothing was kept"
    );

    let mixed = house
        .post("/api/stock/reservations/bulk", bulk("best_effort", &lines))
        .await;
    let body = mixed.json();
    assert_eq!(
        (mixed.status, &body["succeeded"], &body["failed"]),
        (200, &json!(1), &json!(1))
    );
    assert_eq!(
        (
            &body["results"][0]["reservation"]["quantity"],
            &body["results"][1]["problem"]["code"]
        ),
        (&json!(6), &json!("insufficient-stock"))
    );

    let released = house
        .send("DELETE", "/api/stock/reservations?cartId=c", &[], Body::empty())
        .await;
    assert_eq!(released.status, 204);
    assert_eq!(house.get("/api/stock/variants/123").await.json()["held"], 0);
    let nothing = house
        .send(
            "DELETE",
            "/api/stock/reservations?cartId=nobody",
            &[],
            Body::empty(),
        )
        .await;
    assert_eq!(nothing.status, 204);
    let both = json!([{"variantId": "123", "quantity": 1}, {"variantId": "156", "quantity": 1}]);
    let done = house
        .post("/api/stock/reservations/bulk", bulk("all_or_nothing", &both))
        .await;
    assert_eq!((done.status, &done.json()["succeeded"]), (201, &json!(2)));
    let ids: Vec<Value> = done.json()["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["reservationId"].clone())
        .collect();
    let judged = house
        .post(
            "/api/stock/reservations/validate",
            json!({"reservationIds": [ids[0], "foreign", ids[1]]}),
        )
        .await
        .json();
    let valid: Vec<_> = judged["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["valid"].clone())
        .collect();
    assert_eq!(valid, [json!(true), json!(false), json!(true)]);
    let sold = house
        .post(
            "/api/stock/reservations/bulk",
            json!({"action": "confirm", "reservationIds": ids}),
        )
        .await;
    assert_eq!(
        (sold.status, &sold.json()["results"][1]["reservation"]["status"]),
        (201, &json!("confirmed"))
    );
}

#[tokio::test]
async fn lists_go_on_where_their_cursor_says() {
    let house = House::stocked().await;
    for id in ["a", "b", "c"] {
        house.post("/api/stock/variants", json!({"id": id})).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/stock/variants?limit=2".to_owned();
    loop {
        let page = house.get(&path).await.json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/stock/variants?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["123", "a", "b", "c"]);

    let ids: Vec<Value> = [
        house.reserve(1).await,
        house.reserve(1).await,
        house.reserve(1).await,
    ]
    .map(|held| held["id"].clone())
    .to_vec();
    let first = house
        .get("/api/stock/reservations?variantId=123&limit=2")
        .await
        .json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = house
        .get(&format!(
            "/api/stock/reservations?variantId=123&limit=2&cursor={cursor}"
        ))
        .await
        .json();
    let listed = first["items"]
        .as_array()
        .unwrap()
        .iter()
        .chain(second["items"].as_array().unwrap());
    let mut listed: Vec<Value> = listed.map(|item| item["id"].clone()).collect();
    let mut ids = ids;
    listed.sort_by_key(ToString::to_string);
    ids.sort_by_key(ToString::to_string);
    assert_eq!((listed, &second["nextCursor"]), (ids, &Value::Null));
}

#[tokio::test]
async fn the_shops_side_goes_by_versions() {
    let house = House::stocked().await;
    let json = ("content-type", "application/json");
    let changed = house
        .send(
            "PATCH",
            "/api/stock/variants/123",
            &[json, ("if-match", "\"1\"")],
            r#"{"name":"Laurel soap","sku":"S"}"#,
        )
        .await;
    assert_eq!(
        (changed.status, changed.header("etag"), &changed.json()["name"]),
        (200, "\"2\"", &json!("Laurel soap"))
    );
    let cleared = house
        .send(
            "PATCH",
            "/api/stock/variants/123",
            &[json, ("if-match", "*")],
            r#"{"sku":null}"#,
        )
        .await;
    assert_eq!(
        (&cleared.json()["sku"], &cleared.json()["name"]),
        (&Value::Null, &json!("Laurel soap"))
    );
    let counted = house
        .send(
            "PUT",
            "/api/stock/variants/123/stock",
            &[json, ("if-match", cleared.header("etag"))],
            r#"{"onHand":12}"#,
        )
        .await;
    assert_eq!((counted.status, &counted.json()["available"]), (200, &json!(12)));
    let booked = house
        .post(
            "/api/stock/variants/123/adjustments",
            json!({"delta": -2, "reason": "damaged", "reference": "D-1"}),
        )
        .await;
    assert_eq!(
        (
            booked.status,
            &booked.json()["entry"]["after"],
            &booked.json()["variant"]["onHand"]
        ),
        (201, &json!(10), &json!(10))
    );
    let ledger = house.get("/api/stock/variants/123/ledger").await.json();
    let deltas: Vec<_> = ledger["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["delta"].clone())
        .collect();
    assert_eq!(deltas, [json!(10), json!(2), json!(-2)]);

    assert_eq!(
        house
            .post("/api/stock/variants/123/pause", json!({}))
            .await
            .json()["status"],
        "paused"
    );
    let refused = house
        .post(
            "/api/stock/reservations",
            json!({"variantId": "123", "quantity": 1}),
        )
        .await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sale-not-open"));
    assert_eq!(
        house
            .send("POST", "/api/stock/variants/123/resume", &[], Body::empty())
            .await
            .json()["saleState"],
        "open"
    );

    let policy = house.get("/api/admin/policy").await;
    let mut wanted = policy.json();
    wanted["cart"]["ttlSeconds"] = json!(60);
    let put = house
        .send(
            "PUT",
            "/api/admin/policy",
            &[json, ("if-match", policy.header("etag"))],
            wanted.to_string(),
        )
        .await;
    assert_eq!(
        (put.status, &put.json()["cart"]["ttlSeconds"], put.header("etag")),
        (200, &json!(60), "\"2\""),
        "{}",
        put.text
    );
    let stale = house
        .send(
            "PUT",
            "/api/admin/policy",
            &[json, ("if-match", policy.header("etag"))],
            wanted.to_string(),
        )
        .await;
    assert_eq!((stale.status, stale.code().as_str()), (412, "stale-version"));

    let gone = house
        .send(
            "DELETE",
            "/api/stock/variants/123",
            &[("if-match", "*")],
            Body::empty(),
        )
        .await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    assert_eq!(
        house.get("/api/stock/variants/123").await.code(),
        "variant-not-found"
    );
}

#[tokio::test]
async fn a_configured_key_is_wanted_for_the_api_alone() {
    let house = House::open(&[("auth.admin_key", "s3cret-s3cret-s3cret")]).await;
    let refused = house.get("/api/stock/variants").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "unauthenticated")
    );
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    let shown = [("authorization", "Bearer s3cret-s3cret-s3cret")];
    assert_eq!(
        house
            .send("GET", "/api/stock/variants", &shown, Body::empty())
            .await
            .status,
        200
    );
    assert_eq!(house.get("/openapi.json").await.status, 200);
    let config = house
        .send("GET", "/api/admin/config", &shown, Body::empty())
        .await;
    assert!(!config.text.contains("s3cret"), "secrets are masked");
}

#[tokio::test]
async fn an_operator_can_ask_for_the_end() {
    let house = House::stocked().await;
    let asked = house.send("POST", "/api/admin/drain", &[], Body::empty()).await;
    assert_eq!((asked.status, &asked.json()["status"]), (200, &json!("draining")));
    house.shop.end_wanted().await;
    house.shop.drain();
    let refused = house
        .post(
            "/api/stock/reservations",
            json!({"variantId": "123", "quantity": 1}),
        )
        .await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "draining"));
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn the_hottest_variants_come_first() {
    let house = House::stocked().await;
    house.reserve(1).await;
    let hot = house.get("/api/admin/hot-variants?limit=1").await.json();
    assert_eq!(hot["items"][0]["variantId"], "123");
    assert_eq!(
        house.get("/api/admin/quarantine").await.json()["items"],
        json!([])
    );
    let cleaned = house
        .post("/api/stock/reservations/cleanup", json!({"dryRun": true}))
        .await;
    assert_eq!(cleaned.json(), json!({"dryRun": true, "due": 0, "expired": 0}));
    let figures = house.get("/api/stock/reservations/statistics").await.json();
    assert_eq!(
        (&figures["active"], &figures["conversionRate"]),
        (&json!(1), &Value::Null)
    );
}
