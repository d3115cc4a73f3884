//! What the service says about itself: the OpenAPI document, the pages for people, the operations listener.
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use holdfast::config::Config;
use holdfast::http::docs::docs;
use holdfast::http::frame::{Frame, FrameLayer};
use holdfast::http::health::Health;
use holdfast::http::operations::{Operations, operations};
use holdfast::http::problem::Code;
use holdfast::http::router::{document, document_json};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tower::ServiceExt;

async fn get(router: &Router, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::get(path)
        .header("accept", accept)
        .body(Body::empty())
        .unwrap();
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status,
        head.headers,
        String::from_utf8_lossy(&body).into_owned(),
    )
}

fn pages() -> Router {
    docs(document_json())
}

#[test]
fn the_openapi_document_is_the_reviewed_one() {
    let golden = include_str!("../golden/openapi.json");
    assert!(
        document_json() + "\n" == golden,
        "run `holdfast openapi > tests/golden/openapi.json` and review the difference"
    );
}

#[test]
fn every_operation_has_a_name_of_its_own_and_documented_problems() {
    let document = serde_json::to_value(document()).unwrap();
    let mut names = BTreeSet::new();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    for reference in references {
        assert!(
            document.pointer(reference.trim_start_matches('#')).is_some(),
            "{reference} leads somewhere"
        );
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{method} {path}"
            );
            for status in ["401", "422", "500", "503"] {
                assert!(
                    operation["responses"][status].is_object(),
                    "{method} {path} tells about {status}"
                );
            }
        }
    }
    let links = &document["paths"]["/api/stock/reservations"]["post"]["responses"]["201"]["links"];
    for (link, target) in [
        ("extend", "extend_reservation"),
        ("confirm", "confirm_reservation"),
        ("release", "release_reservation"),
    ] {
        assert_eq!(links[link]["operationId"], target);
        assert_eq!(links[link]["parameters"]["id"], "$response.body#/id");
        assert!(names.contains(target));
    }
    let link = |path: &str, link: &str| {
        let links = &document["paths"][path]["post"]["responses"]["201"]["links"];
        assert_eq!(
            links[link]["parameters"]["id"], "$response.body#/id",
            "{path} {link}"
        );
        links[link]["operationId"].as_str().unwrap().to_owned()
    };
    let onward = [
        link("/api/cart/items", "checkout"),
        link("/api/cart/{id}/checkout", "confirm"),
    ];
    assert_eq!(
        onward,
        ["check_out_cart", "confirm_order"],
        "from a first line to a paid order"
    );
    assert!(onward.iter().all(|target| names.contains(target)));
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members
                .values()
                .for_each(|member| collect_references(member, found));
        }
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| collect_references(element, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_documentation_asks_no_other_host() {
    let pages = pages();
    let (status, headers, _) = get(&pages, "/docs", "text/html").await;
    assert_eq!(
        (status, &headers["location"]),
        (StatusCode::PERMANENT_REDIRECT, &"/docs/".parse().unwrap())
    );
    let (status, headers, index) = get(&pages, "/docs/", "text/html").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"text/html".parse().unwrap())
    );
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
        "the browser keeps it too: {policy}"
    );
    for attribute in ["src=\"", "href=\""] {
        for link in index.split(attribute).skip(1) {
            let link = link.split('"').next().unwrap();
            assert!(!link.contains("//"), "{link} is served here");
            let file = link.trim_start_matches("./");
            assert_eq!(
                get(&pages, &format!("/docs/{file}"), "*/*").await.0,
                StatusCode::OK,
                "{file}"
            );
        }
    }
    let (_, _, script) = get(&pages, "/docs/swagger-initializer.js", "*/*").await;
    assert!(
        script.contains("/openapi.json") && !script.contains("//petstore"),
        "{script}"
    );
    assert!(
        script.contains("\"validatorUrl\": \"none\""),
        "no public validator is told about this shop: {script}"
    );
    let (status, headers, text) = get(&pages, "/openapi.json", "*/*").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        serde_json::to_value(document()).unwrap()
    );
}

#[tokio::test]
async fn every_problem_has_its_page() {
    let pages = pages();
    for code in Code::ALL {
        let path = format!("/problems/{}", code.as_str());
        let (status, _, text) = get(&pages, &path, "application/json").await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &body["code"]), (StatusCode::OK, &json!(code.as_str())));
        assert_eq!(
            (&body["type"], &body["status"]),
            (&json!(path), &json!(code.status().as_u16()))
        );
        let (_, headers, html) = get(&pages, &path, "text/html,*/*;q=0.8").await;
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(html.contains(code.title()));
    }
    let (_, _, all) = get(&pages, "/problems", "*/*").await;
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&all).unwrap().len(),
        Code::ALL.len()
    );
}

fn operations_of(health: &Arc<Health>) -> Router {
    let metrics: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(|| "holdfast_up 1\n".to_owned());
    operations(
        Operations {
            health: Arc::clone(health),
            metrics,
        },
        Frame::new(&Config::default().server),
    )
}

#[tokio::test]
async fn the_operations_listener_tells_how_far_the_process_is() {
    let health = Arc::new(Health::default());
    let router = operations_of(&health);
    assert_eq!(get(&router, "/livez", "*/*").await.0, StatusCode::OK);
    assert_eq!(get(&router, "/metrics", "*/*").await.2, "holdfast_up 1\n");
    assert!(
        get(&router, "/version", "*/*")
            .await
            .2
            .contains(env!("CARGO_PKG_VERSION"))
    );

    health.replayed(1, 4);
    let (status, headers, text) = get(&router, "/startupz", "*/*").await;
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &headers["content-type"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &"application/problem+json".parse().unwrap()
        )
    );
    assert_eq!(
        (&body["recordsReplayed"], &body["recordsTotal"], &body["percent"]),
        (&json!(1), &json!(4), &json!(25))
    );
    let code = |text: String| serde_json::from_str::<Value>(&text).unwrap()["code"].clone();
    assert_eq!(code(get(&router, "/readyz", "*/*").await.2), "not-ready");

    health.ready();
    assert_eq!(get(&router, "/readyz", "*/*").await.0, StatusCode::OK);
    assert_eq!(get(&router, "/startupz", "*/*").await.0, StatusCode::OK);

    health.drain();
    let (status, headers, text) = get(&router, "/readyz", "*/*").await;
    assert_eq!(
        (status, code(text)),
        (StatusCode::SERVICE_UNAVAILABLE, json!("draining"))
    );
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test]
async fn what_the_framework_refuses_becomes_a_problem_too() {
    let router = operations_of(&Arc::new(Health::default()));
    let (status, headers, text) = get(&router, "/nowhere", "*/*").await;
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::NOT_FOUND, &json!("route-not-found"))
    );
    assert_eq!(body["requestId"], headers["x-request-id"].to_str().unwrap());
    assert_eq!(body["traceparent"], headers["traceparent"].to_str().unwrap());

    let request = Request::post("/livez")
        .header("x-request-id", "mine-1")
        .body(Body::empty())
        .unwrap();
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(
        (head.status, &body["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &json!("method-not-allowed"))
    );
    assert_eq!(
        (&head.headers["allow"], &body["requestId"]),
        (&"GET,HEAD".parse().unwrap(), &json!("mine-1"))
    );
}

#[tokio::test]
async fn a_panic_and_a_silence_become_problems() {
    use axum::routing::{get as on_get, post as on_post};
    let around = Frame {
        deadline: std::time::Duration::from_millis(1),
        ..Frame::new(&Config::default().server)
    };
    let router = Router::new()
        .route(
            "/api/panic",
            on_get(|| async {
                if true {
                    panic!("on purpose")
                }
            }),
        )
        .route(
            "/api/silence",
            on_get(std::future::pending::<()>).merge(on_post(std::future::pending::<()>)),
        )
        .layer(FrameLayer::new(around));
    let code = |text: &str| serde_json::from_str::<Value>(text).unwrap()["code"].clone();
    let (status, headers, text) = get(&router, "/api/panic", "*/*").await;
    assert_eq!(
        (status, code(&text)),
        (StatusCode::INTERNAL_SERVER_ERROR, json!("internal"))
    );
    assert_eq!(headers["cache-control"], "no-store");
    let (status, _, text) = get(&router, "/api/silence", "*/*").await;
    assert_eq!(
        (status, code(&text)),
        (StatusCode::SERVICE_UNAVAILABLE, json!("overloaded"))
    );
    let silent = Request::post("/api/silence").body(Body::empty()).unwrap();
    let body = router
        .oneshot(silent)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(code(&String::from_utf8_lossy(&body)), "outcome-unknown");
}
