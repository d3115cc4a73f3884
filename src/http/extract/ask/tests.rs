//! Bad input at a route that takes a reservation, without a socket and without a shop: the handler only repeats what it
//! was given.
use super::*;
use crate::clock::ManualClock;
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::http::extract::bodies::{ExtendBody, ReserveBody, ValidateBody};
use crate::http::frame::{Frame, FrameLayer};
use crate::http::site::Edge;
use axum::Router;
use axum::routing::{patch, post};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

fn router(change: impl FnOnce(&mut Config)) -> Router {
    let mut config = Config::default();
    change(&mut config);
    let edge = Edge::new(ManualClock::new(Timestamp::from_millis(0)).into(), &config);
    let reserve = |ask: Ask<ReserveBody>| async move { ask.body.quantity.as_u32().to_string() };
    let keyed = |ask: Ask<ExtendBody>| async move { format!("{:?}", ask.context.key) };
    let validate = |ask: Ask<ValidateBody>| async move { ask.body.reservation_ids.0.len().to_string() };
    let versioned =
        |seen: RequiredIfMatch| async move { seen.expected().map(|expected| format!("{expected:?}")) };
    Router::new()
        .route("/api/reserve", post(reserve))
        .route("/api/{id}/extend", post(keyed))
        .route("/api/validate", post(validate))
        .route("/api/change", patch(versioned))
        .with_state(Arc::new(edge))
        .layer(FrameLayer::new(Frame::new(&config.server)))
}

async fn send(router: &Router, request: Request) -> (u16, String) {
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

fn json_post(path: &str, body: impl Into<HttpBody>) -> Request {
    Request::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// Status, code, and the member or header that is named.
async fn refused(router: &Router, request: Request) -> (u16, String, Value) {
    let (status, text) = send(router, request).await;
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("a problem, not {text:?}"));
    assert_eq!(
        (&body["status"], &body["type"]),
        (
            &json!(status),
            &json!(format!("/problems/{}", body["code"].as_str().unwrap()))
        )
    );
    let named = ["member", "header", "limitBytes"]
        .iter()
        .map(|name| &body[*name])
        .find(|value| !value.is_null());
    (
        status,
        body["code"].as_str().unwrap().to_owned(),
        named.cloned().unwrap_or_default(),
    )
}

#[tokio::test]
async fn bad_bodies_get_what_the_contract_says() {
    let router = router(|_| ());
    let long = format!(r#"{{"variantId":"{}","quantity":1}}"#, "x".repeat(129));
    for (body, status, code, member) in [
        ("", 400, "malformed-json", json!(null)),
        ("no json", 400, "malformed-json", json!(null)),
        (
            r#"{"variantId":"1","quantity":1"#,
            400,
            "malformed-json",
            json!(null),
        ),
        (
            r#"{"variantId":"1","quantity":"1"}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (
            r#"{"variantId":"1","quantity":-1}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (
            r#"{"variantId":"1","quantity":0}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (
            r#"{"variantId":"1","quantity":1.5}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (
            r#"{"variantId":"1","quantity":4294967296}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (
            r#"{"variantId":"1","quantity":18446744073709551616}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (r#"{"variantId":"1"}"#, 422, "invalid-member", json!("quantity")),
        (r#"{"quantity":1}"#, 422, "invalid-member", json!("variantId")),
        (
            r#"{"variantId":"","quantity":1}"#,
            422,
            "invalid-member",
            json!("variantId"),
        ),
        (
            r#"{"variantId":true,"quantity":1}"#,
            422,
            "invalid-member",
            json!("variantId"),
        ),
        (
            r#"{"variantId":1.5,"quantity":1}"#,
            422,
            "invalid-member",
            json!("variantId"),
        ),
        (
            r#"{"variantId":"a\u0000","quantity":1}"#,
            422,
            "invalid-member",
            json!("variantId"),
        ),
        (long.as_str(), 422, "invalid-member", json!("variantId")),
        (
            r#"{"variantId":"1","quantity":1,"ttlSecond":5}"#,
            422,
            "invalid-member",
            json!("ttlSecond"),
        ),
        (
            r#"{"variantId":"1","quantity":1,"quantity":2}"#,
            422,
            "invalid-member",
            json!("quantity"),
        ),
        (
            r#"{"variantId":"1","quantity":1,"ttlSeconds":0}"#,
            422,
            "invalid-member",
            json!("ttlSeconds"),
        ),
        (r#"["1",1]"#, 422, "invalid-member", json!("body")),
        ("null", 422, "invalid-member", json!("body")),
    ] {
        assert_eq!(
            refused(&router, json_post("/api/reserve", body.to_owned())).await,
            (status, code.into(), member),
            "{body}"
        );
    }
    assert_eq!(
        send(
            &router,
            json_post("/api/reserve", r#"{"variantId":1,"quantity":3}"#)
        )
        .await,
        (200, "3".into())
    );
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let router = router(|_| ());
    let with = |content_type: Option<&str>| {
        let request = Request::post("/api/reserve");
        let request = content_type
            .into_iter()
            .fold(request, |request, value| request.header("content-type", value));
        request
            .body(HttpBody::from(r#"{"variantId":1,"quantity":3}"#))
            .unwrap()
    };
    for content_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/jsonp"),
        Some("application/x-www-form-urlencoded"),
    ] {
        assert_eq!(
            refused(&router, with(content_type)).await.1,
            "unsupported-media-type",
            "{content_type:?}"
        );
    }
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(
            send(&router, with(Some(content_type))).await.0,
            200,
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn a_body_has_a_limit_of_its_own_kind() {
    let router = router(|_| ());
    let padded = |body: &str, bytes: usize| body.to_owned() + &" ".repeat(bytes - body.len());
    let reserve = |bytes| json_post("/api/reserve", padded(r#"{"variantId":1,"quantity":3}"#, bytes));
    assert_eq!(send(&router, reserve(64 * 1024)).await.0, 200);
    assert_eq!(
        refused(&router, reserve(64 * 1024 + 1)).await,
        (413, "body-too-large".into(), json!(64 * 1024))
    );
    let validate = |bytes| json_post("/api/validate", padded(r#"{"reservationIds":["a"]}"#, bytes));
    assert_eq!(send(&router, validate(256 * 1024)).await.0, 200);
    assert_eq!(
        refused(&router, validate(256 * 1024 + 1)).await,
        (413, "body-too-large".into(), json!(256 * 1024))
    );
}

#[tokio::test]
async fn a_body_that_never_comes_is_told_apart_from_an_open_outcome() {
    let router = router(|config| config.server.request_deadline = crate::config::Length::from_millis(2));
    let never = HttpBody::new(Silent);
    assert_eq!(
        refused(&router, json_post("/api/reserve", never)).await.1,
        "request-timeout"
    );
}

/// A body whose next part never comes.
struct Silent;

impl hyper::body::Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_key_is_read_and_wanted_where_the_configuration_says() {
    let open = router(|_| ());
    let extend = |key: Option<&str>, path: &str, body: &'static str| {
        let request = Request::post(path).header("content-type", "application/json");
        let request = key
            .into_iter()
            .fold(request, |request, key| request.header("idempotency-key", key));
        request.body(HttpBody::from(body)).unwrap()
    };
    assert_eq!(
        send(&open, extend(None, "/api/a/extend", "")).await,
        (200, "None".into())
    );
    let (_, one) = send(&open, extend(Some("k"), "/api/a/extend", "{}")).await;
    assert_eq!(send(&open, extend(Some("k"), "/api/a/extend", "{}")).await.1, one);
    for (path, body) in [
        ("/api/b/extend", "{}"),
        ("/api/a/extend", "{ }"),
        ("/api/a/extend", ""),
    ] {
        assert_ne!(
            send(&open, extend(Some("k"), path, body)).await.1,
            one,
            "{path} {body}"
        );
    }
    let spaced = refused(&open, extend(Some("a b"), "/api/a/extend", "")).await;
    assert_eq!(spaced, (400, "invalid-header".into(), json!("Idempotency-Key")));

    let strict = router(|config| config.keys.required = true);
    assert_eq!(
        refused(&strict, extend(None, "/api/a/extend", "")).await.1,
        "idempotency-key-missing"
    );
    assert_eq!(
        send(&strict, json_post("/api/validate", r#"{"reservationIds":["a"]}"#))
            .await
            .0,
        200,
        "a look needs none"
    );
}

#[tokio::test]
async fn a_version_is_wanted_where_something_is_replaced() {
    let router = router(|_| ());
    let change = |value: Option<&str>| {
        let request = Request::patch("/api/change");
        let request = value
            .into_iter()
            .fold(request, |request, value| request.header("if-match", value));
        request.body(HttpBody::empty()).unwrap()
    };
    assert_eq!(refused(&router, change(None)).await.1, "precondition-required");
    assert_eq!(
        refused(&router, change(Some("W/\"17\""))).await,
        (400, "invalid-header".into(), json!("If-Match"))
    );
    assert_eq!(
        send(&router, change(Some("\"17\""))).await,
        (200, "Version(17)".into())
    );
}

#[test]
fn a_target_tells_paths_and_queries_apart() {
    let of = |method: &str, uri: &str| {
        let (parts, ()) = axum::http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap()
            .into_parts();
        let (route, target) = address(&parts);
        (route, target.to_owned())
    };
    let all = [
        of("POST", "/a/1"),
        of("PUT", "/a/1"),
        of("POST", "/a/2"),
        of("POST", "/a/1?x=1"),
    ];
    for (index, one) in all.iter().enumerate() {
        assert_eq!(all.iter().position(|other| other == one), Some(index));
    }
}
