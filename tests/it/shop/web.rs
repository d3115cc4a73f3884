//! A shop behind its router, without a socket, that can crash and be opened again.
use super::House;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use holdfast::{
    app::Shop,
    config::{KEYS, Loaded, Source},
    http::{frame::Frame, router::router, site::Site},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

/// The router of one life.
pub(super) struct Web(Router);

/// An answer as its caller sees it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Told {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON, not {:?}", self.text))
    }

    /// One member of the body.
    pub(super) fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// A text of the body.
    pub(super) fn word(&self, pointer: &str) -> String {
        let value = self.at(pointer);
        let text = value.as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("a text at {pointer}, not {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Must have gone well.
    pub(super) fn ok(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Must be this no.
    pub(super) fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.word("/code").as_str()),
            (status, code),
            "{}",
            self.text
        );
        self
    }
}

impl Web {
    pub(super) fn new(house: &House, shop: &Arc<Shop>) -> Self {
        let config = (*house.config).clone();
        let frame = Frame::new(&config.server);
        let loaded = Loaded {
            config,
            sources: vec![Source::Default; KEYS.len()],
        };
        let site = Site::new(Arc::clone(shop), super::house_of(shop), Arc::new(loaded));
        Self(router(site, frame))
    }

    pub(super) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Told {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let json = [("content-type", "application/json")];
        self.raw(method, path, &[&json, headers].concat(), &text).await
    }

    /// Sends a body as it stands.
    pub(super) async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Told {
        let request = Request::builder().method(method).uri(path);
        let request = headers
            .iter()
            .fold(request.header("host", "localhost"), |request, (name, value)| {
                request.header(*name, *value)
            });
        let sent = self
            .0
            .clone()
            .oneshot(request.body(Body::from(body.to_owned())).unwrap());
        let (head, body) = sent.await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Told {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(body).unwrap(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Told {
        self.send("GET", path, &[], Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Told {
        self.send("POST", path, &[], body).await
    }

    pub(super) async fn keyed(&self, path: &str, key: &str, body: Value) -> Told {
        self.send("POST", path, &[("idempotency-key", key)], body).await
    }

    /// Takes a priced variant with this stock into the shop.
    pub(super) async fn stock(&self, id: &str, on_hand: u64) {
        let body = json!({"id": id, "onHand": on_hand, "price": {"amount": 1000, "currency": "USD"}});
        self.post("/api/stock/variants", body).await.ok(201);
    }

    /// Units free, held and sold of a variant.
    pub(super) async fn figures(&self, id: &str) -> (i64, i64, i64) {
        let told = self
            .get(&format!("/api/stock/variants/{id}/availability"))
            .await
            .ok(200);
        let figure = |name| told.at(name).as_i64().unwrap();
        (figure("/available"), figure("/held"), figure("/committed"))
    }

    /// A new cart of a customer with one line; its address.
    pub(super) async fn cart(&self, customer: &str, variant: &str, quantity: u32) -> String {
        let body = json!({"variantId": variant, "quantity": quantity, "customerId": customer});
        let told = self.post("/api/cart/items", body).await.ok(201);
        format!("/api/cart/{}", told.word("/id"))
    }

    /// An order of a new cart with one line; cart's and order's addresses.
    pub(super) async fn order(&self, customer: &str, variant: &str, quantity: u32) -> (String, String) {
        let cart = self.cart(customer, variant, quantity).await;
        let told = self.post(&format!("{cart}/checkout"), json!({})).await.ok(201);
        (cart, format!("/api/orders/{}", told.word("/id")))
    }

    /// Asks until the answer is as it will be: work goes on behind an answer, which takes no clock.
    pub(super) async fn until(&self, path: &str, pointer: &str, expected: Value) -> Told {
        loop {
            let told = self.get(path).await.ok(200);
            if told.at(pointer) == expected {
                return told;
            }
            tokio::task::yield_now().await;
        }
    }
}
