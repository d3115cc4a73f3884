//! The stock API as callers see it: the router without a socket, over a whole shop in a fresh directory, by a clock that is
//! turned by hand.
mod bad_input;
mod document;
mod holds;
mod limits;
mod operators;
mod snapshots;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use document::Document;
use holdfast::app::{Shop, ShopOptions, Time, configured_journal};
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
    document: Document,
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
            journal: configured_journal(&loaded.config),
            time: Time::Given(clock.clone().into()),
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
        Self {
            router,
            shop,
            clock,
            document: Document::new(),
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
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
        };
        self.expect_documented(method, path, &answer);
        answer
    }

    /// Whatever a route of the document refuses, the document says that it may.
    fn expect_documented(&self, method: &str, path: &str, answer: &Answer) {
        if answer.header("content-type") != "application/problem+json" || !path.starts_with("/api/") {
            return;
        }
        let code = answer.code();
        if matches!(code.as_str(), "route-not-found" | "method-not-allowed") {
            return;
        }
        let told = self.document.codes(method, path, answer.status);
        assert!(
            told.contains(&code),
            "{method} {path} may answer {code}, says the document, beside {told:?}"
        );
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
