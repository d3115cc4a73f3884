//! Every limit that the OpenAPI document tells is the one that is kept, and every route refuses what no route takes. Both go
//! over all operations of the document, so that a new one is covered on the day it is made.
use super::document::{Document, Operation};
use super::{Answer, House};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const ANY: (&str, &str) = ("if-match", "*");

/// A house whose policy allows every length, and whose stock every example, so that only form is judged.
async fn lenient() -> House {
    let house = House::stocked().await;
    let mut policy = house.get("/api/admin/policy").await.json();
    policy["maxTtlSeconds"] = json!(31 * 24 * 60 * 60);
    let set = house
        .send("PUT", "/api/admin/policy", &[JSON, ANY], policy.to_string())
        .await;
    assert_eq!(set.status, 200, "{}", set.text);
    let stock = json!({"onHand": 1_000}).to_string();
    let set = house
        .send("PUT", "/api/stock/variants/123/stock", &[JSON, ANY], stock)
        .await;
    assert_eq!(set.status, 200, "{}", set.text);
    house
}

/// The address of something there: a live reservation, or a variant without stock that nobody else uses.
async fn address(house: &House, operation: &Operation, fresh: usize) -> String {
    let id = if let Some(absent) = absent(&operation.path) {
        absent.to_owned()
    } else if operation.path.contains("/reservations/{id}") {
        house.reserve(1).await["id"].as_str().unwrap().to_owned()
    } else {
        let id = format!("fresh-{fresh}");
        if operation.path.contains("{id}") {
            let made = house.post("/api/stock/variants", json!({"id": id})).await;
            assert_eq!(made.status, 201, "{}", made.text);
        }
        id
    };
    within(operation.path.replace("{id}", &id))
}

/// Carts and orders are judged by form alone here: none of them is there.
fn absent(path: &str) -> Option<&'static str> {
    let of = |prefix: &str| path.starts_with(prefix);
    of("/api/cart/{id}")
        .then_some("cart_00000000000070008000000000000000")
        .or_else(|| of("/api/orders/{id}").then_some("ord_00000000000070008000000000000000"))
}

fn within(path: String) -> String {
    path.replace("{lineId}", "line_1")
        .replace("{paymentReference}", "p")
}

fn names(answer: &Answer, place: &str) -> bool {
    answer.status == 422
        && answer.code() == "invalid-member"
        && answer.json()["member"].as_str().unwrap().starts_with(place)
}

#[tokio::test]
async fn every_limit_of_the_document_is_the_one_that_is_kept() {
    let document = Document::new();
    let house = lenient().await;
    let mut operations = document.operations();
    // A policy that is changed would change what the others are told.
    operations.sort_by_key(|operation| operation.path.contains("policy"));
    let mut lines = 0;
    for operation in operations.iter().filter(|operation| !operation.bodies.is_empty()) {
        let path = address(&house, operation, lines).await;
        for schema in &operation.bodies {
            let body = document.sample(schema);
            for member in document.members(schema) {
                let place = &member.place;
                let found = member.lines(&document);
                for value in found.allowed {
                    let sent = document.with(&body, schema, place, value).to_string();
                    let answer = house
                        .send(&operation.method, &path, &[JSON, ANY], sent.clone())
                        .await;
                    let told = format!("{} {path} {sent}\n{}", operation.method, answer.text);
                    assert!(answer.status < 500 && !names(&answer, place), "allowed: {told}");
                    lines += 1;
                }
                for value in found.refused {
                    let sent = document.with(&body, schema, place, value).to_string();
                    let answer = house
                        .send(&operation.method, &path, &[JSON, ANY], sent.clone())
                        .await;
                    let told = format!("{} {path} {sent}\n{}", operation.method, answer.text);
                    assert!(names(&answer, place), "refused, naming {place}: {told}");
                    lines += 1;
                }
            }
        }
    }
    assert!(lines > 500, "{lines} lines found");
}

#[tokio::test]
async fn every_example_of_the_document_is_taken() {
    let house = lenient().await;
    let document = serde_json::to_value(holdfast::http::router::document()).unwrap();
    for operation in Document::new().operations() {
        let schema = &operation.spec["requestBody"]["content"]["application/json"]["schema"];
        let Some(reference) = schema["$ref"].as_str() else {
            continue;
        };
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        let example = schema.get("example").unwrap_or(&schema["examples"][0]);
        assert!(example.is_object(), "{reference} has an example");
        let id = if let Some(absent) = absent(&operation.path) {
            absent.to_owned()
        } else if operation.path.contains("/reservations/{id}") {
            house.reserve(1).await["id"].as_str().unwrap().to_owned()
        } else {
            "123".to_owned()
        };
        let path = within(operation.path.replace("{id}", &id));
        let answer = house
            .send(&operation.method, &path, &[JSON, ANY], example.to_string())
            .await;
        assert!(
            !matches!(answer.status, 400 | 415 | 422 | 500..),
            "{path}: {}",
            answer.text
        );
    }
}

/// What each changing operation is sent, and what it must answer. `None` as a member: whatever is named.
async fn refuses(house: &House, document: &Document, operation: &Operation, path: &str) {
    let schema = operation.bodies.first();
    let body = schema.map_or(json!({}), |schema| document.sample(schema));
    let expect = async |headers: &[(&str, &str)], sent: String, status: u16, code: &str, named: &str| {
        let answer = house.send(&operation.method, path, headers, sent).await;
        let about = answer.json();
        let place = ["member", "parameter", "header"].map(|name| &about[name]);
        let told = place.iter().find_map(|value| value.as_str()).unwrap_or_default();
        assert_eq!(
            (answer.status, answer.code().as_str(), told),
            (status, code, named),
            "{} {path}: {}",
            operation.method,
            answer.text
        );
    };
    let good = [JSON, ANY];
    for bytes in ["no json", "{", "{}x", "\u{feff}{}"] {
        expect(&good, bytes.to_owned(), 400, "malformed-json", "").await;
    }
    for other in ["[]", "null", "1", "\"x\""] {
        expect(&good, other.to_owned(), 422, "invalid-member", "body").await;
    }
    let mut odd = body.clone();
    odd["nonsense"] = json!(1);
    expect(&good, odd.to_string(), 422, "invalid-member", "nonsense").await;
    for name in schema
        .iter()
        .filter_map(|schema| schema["required"].as_array())
        .flatten()
    {
        let name = name.as_str().unwrap();
        let mut without = body.clone();
        without.as_object_mut().unwrap().remove(name);
        expect(&good, without.to_string(), 422, "invalid-member", name).await;
    }
    let sent = body.to_string();
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
    ] {
        expect(
            &[("content-type", other), ANY],
            sent.clone(),
            415,
            "unsupported-media-type",
            "",
        )
        .await;
    }
    expect(&[ANY], sent.clone(), 415, "unsupported-media-type", "").await;
    let limit = 1024
        * if path.ends_with("/bulk") || path.ends_with("/validate") {
            256
        } else {
            64
        };
    expect(&good, " ".repeat(limit + 1), 413, "body-too-large", "").await;
    let key = ("idempotency-key", "a b");
    expect(
        &[JSON, ANY, key],
        sent.clone(),
        400,
        "invalid-header",
        "Idempotency-Key",
    )
    .await;
    let cross = ("sec-fetch-site", "cross-site");
    expect(&[JSON, ANY, cross], sent.clone(), 403, "cross-site-request", "").await;
    let foreign = ("host", "evil.example");
    expect(&[JSON, ANY, foreign], sent, 421, "misdirected-request", "").await;
}

#[tokio::test]
async fn every_changing_route_refuses_what_no_route_takes_and_changes_nothing() {
    let document = Document::new();
    let house = House::stocked().await;
    let held = house.reserve(2).await["id"].as_str().unwrap().to_owned();
    let before = house.seen().await;
    let mut routes = 0;
    for operation in document
        .operations()
        .iter()
        .filter(|operation| operation.method != "GET" && !operation.takes_a_list())
    {
        let id = if let Some(absent) = absent(&operation.path) {
            absent
        } else if operation.path.contains("/reservations/{id}") {
            &held
        } else {
            "123"
        };
        let path = within(operation.path.replace("{id}", id));
        let selected = if operation.method == "DELETE" && path.ends_with("/reservations") {
            format!("{path}?reservationId={held}")
        } else {
            path.clone()
        };
        refuses(&house, &document, operation, &selected).await;
        let body = operation
            .bodies
            .first()
            .map_or(json!({}), |schema| document.sample(schema));
        let odd = house
            .send(
                &operation.method,
                &format!("{path}?dryRun=true"),
                &[JSON, ANY],
                body.to_string(),
            )
            .await;
        assert_eq!(
            (odd.status, odd.code().as_str(), &odd.json()["parameter"]),
            (422, "invalid-parameter", &json!("dryRun")),
            "{path}: a parameter is never dropped in silence"
        );
        if operation.path.contains("{id}") {
            let path = within(operation.path.replace("{id}", &"x".repeat(129)));
            let long = house
                .send(&operation.method, &path, &[JSON, ANY], body.to_string())
                .await;
            assert_eq!(
                (long.status, long.code().as_str()),
                (422, "invalid-parameter"),
                "{path}"
            );
            let path = within(operation.path.replace("{id}", "absent"));
            let absent = house
                .send(&operation.method, &path, &[JSON, ANY], body.to_string())
                .await;
            assert_eq!(absent.status, 404, "{path}: {}", absent.text);
            let broken = within(operation.path.replace("{id}", "%ff"));
            let broken = house
                .send(&operation.method, &broken, &[JSON, ANY], body.to_string())
                .await;
            assert_eq!(
                (broken.status, broken.code().as_str()),
                (400, "malformed-request")
            );
        }
        routes += 1;
    }
    assert!(routes >= 23, "{routes} routes that change something");
    assert_eq!(house.seen().await, before, "nothing of it changed anything");
    assert!(!house.shop.is_draining(), "nor did anybody end the service");
}

/// Reads that are open to whoever can reach the service are not open to names that are not its own.
#[tokio::test]
async fn an_open_service_answers_to_its_own_names_only() {
    let house = House::stocked().await;
    let path = "/api/stock/variants/123";
    for (host, status) in [
        ("localhost:3000", 200),
        ("127.0.0.1", 200),
        ("evil.example:3000", 421),
    ] {
        let answer = house.send("GET", path, &[("host", host)], "").await;
        assert_eq!(answer.status, status, "{host}: {}", answer.text);
    }
    let refused = house.send("GET", "/docs/", &[("host", "evil.example")], "").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (421, "misdirected-request")
    );

    let key = ("authorization", "Bearer s3cret-s3cret-s3cret");
    let closed = House::open(&[("auth.admin_key", "s3cret-s3cret-s3cret")]).await;
    let shop = ("host", "stock.shop.example");
    assert_eq!(
        closed
            .send("GET", "/api/stock/variants", &[key, shop], "")
            .await
            .status,
        200
    );
    let site = ("sec-fetch-site", "same-site");
    // No browser sends the key by itself, so whoever does may forward what a page asked of the shop.
    let forwarded = closed
        .send("POST", "/api/admin/drain", &[key, shop, site], "")
        .await;
    assert_eq!(forwarded.status, 200, "{}", forwarded.text);
}

#[tokio::test]
async fn a_shops_own_page_and_its_servers_pass() {
    let house = House::stocked().await;
    let path = "/api/stock/variants/123/pause";
    let host = ("host", "127.0.0.1:3000");
    for headers in [
        vec![host],
        vec![host, ("origin", "http://127.0.0.1:3000")],
        vec![
            host,
            ("origin", "http://127.0.0.1:3000"),
            ("sec-fetch-site", "same-origin"),
        ],
    ] {
        let answer = house.send("POST", path, &headers, "").await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text);
    }
    for headers in [
        vec![host, ("origin", "http://evil.example")],
        vec![host, ("origin", "null")],
    ] {
        let answer = house.send("POST", path, &headers, "").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "cross-site-request")
        );
    }
    let seen: Value = house.get("/problems/cross-site-request").await.json();
    assert_eq!(seen["status"], 403);
}
