//! The contract's "bad input gets": a table of requests, each refused as it says, and a shop that nothing of it changed.
use super::House;

/// Method, path, headers, body, status and code. `R` is the collection of reservations, `V` the variant 123; `{held}`
/// is a live reservation, `{long}` 129 characters.
const TABLE: &str = r#"
POST   | R                    | json              | no json                                                | 400 malformed-json
POST   | R                    | json              | {"variantId":                                          | 400 malformed-json
POST   | R                    | json              |                                                        | 400 malformed-json
POST   | R                    | json              | []                                                     | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":"2"}                     | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":-2}                      | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":0}                       | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":1e3}                     | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":18446744073709551617}    | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":1,"customerID":"u"}      | 422 invalid-member
POST   | R                    | json              | {"variantId":"{long}","quantity":1}                    | 422 invalid-member
POST   | R                    | json              | {"variantId":"123","quantity":1,"ttlSeconds":999999}   | 422 invalid-member
POST   | R                    | text              | {"variantId":"123","quantity":1}                       | 415 unsupported-media-type
POST   | R                    |                   | {"variantId":"123","quantity":1}                       | 415 unsupported-media-type
POST   | R                    | json, no key      | {"variantId":"123","quantity":1}                       | 400 invalid-header
POST   | R                    | json              | {"variantId":"absent","quantity":1}                    | 404 variant-not-found
POST   | R                    | json              | {"variantId":"123","quantity":9}                       | 409 insufficient-stock
DELETE | R                    |                   |                                                        | 422 invalid-parameter
DELETE | R?cartId=a&reservationId=b |             |                                                        | 422 invalid-parameter
DELETE | R?cart=a             |                   |                                                        | 422 invalid-parameter
PUT    | R                    | json              | {"reservationId":"{held}","action":"update"}           | 422 invalid-member
PUT    | R                    | json              | {"reservationId":"{held}","action":"extend","quantity":1} | 422 invalid-member
PUT    | R                    | json              | {"reservationId":"{held}","action":"destroy"}          | 422 invalid-member
POST   | R/rsv_00000000000070008000000000000000/extend | |                                                 | 404 reservation-not-found
POST   | R/foreign/confirm    |                   |                                                        | 404 reservation-not-found
GET    | R/{long}             |                   |                                                        | 422 invalid-parameter
GET    | R?limit=501          |                   |                                                        | 422 invalid-parameter
GET    | R?cursor=ff          |                   |                                                        | 422 invalid-parameter
GET    | R?status=tentative   |                   |                                                        | 422 invalid-parameter
GET    | R/validate           |                   |                                                        | 422 invalid-parameter
GET    | R/validate?ids=a,%01 |                   |                                                        | 422 invalid-parameter
POST   | R/bulk               | json              | {"action":"reserve","lines":[]}                        | 422 invalid-member
POST   | R/bulk               | json              | {"action":"release","reservationIds":["foreign"]}      | 422 invalid-member
POST   | R/bulk               | json              | {"action":"reserve","lines":[{"variantId":"a","quantity":1}]} | 409 lines-refused
POST   | R/{held}/fulfil      |                   |                                                        | 409 reservation-not-confirmed
POST   | /api/stock/variants  | json              | {"id":"123"}                                           | 409 already-exists
POST   | /api/stock/variants  | json              | {"id":".."}                                            | 422 invalid-member
POST   | /api/stock/variants  | json              | {"id":"1","price":[1,"USD"]}                           | 422 invalid-member
PATCH  | V                    | json              | {}                                                     | 428 precondition-required
PATCH  | V                    | text              | {}                                                     | 415 unsupported-media-type
PUT    | V/stock              | json              | no json                                                | 400 malformed-json
PUT    | /api/admin/policy    | json              | {"ttlSeconds":-1}                                      | 422 invalid-member
PATCH  | V                    | json, match "7"   | {}                                                     | 412 stale-version
PATCH  | V                    | json, match W/"1" | {}                                                     | 400 invalid-header
DELETE | V                    | match *           |                                                        | 409 has-active-holds
PUT    | V/stock              | json, match *     | {"onHand":1}                                           | 409 below-held
POST   | V/adjustments        | json              | {"delta":0,"reason":"found"}                           | 422 invalid-member
POST   | V/adjustments        | json              | {"delta":1,"reason":"found","expectedOnHand":11}       | 409 expected-mismatch
PUT    | /api/admin/policy    | json, match *     | {}                                                     | 422 invalid-member
POST   | /api/admin/quarantine/123/rebuild | |                                                             | 404 quarantine-not-found
GET    | /api/nowhere         |                   |                                                        | 404 route-not-found
PUT    | R/bulk               |                   |                                                        | 405 method-not-allowed
BREW   | R                    |                   |                                                        | 405 method-not-allowed
"#;

fn header(word: &str) -> (&str, &str) {
    match word {
        "json" => ("content-type", "application/json"),
        "text" => ("content-type", "text/plain"),
        "no key" => ("idempotency-key", ""),
        _ => ("if-match", word.strip_prefix("match ").unwrap()),
    }
}

#[tokio::test]
async fn bad_input_gets_what_the_contract_says_and_changes_nothing() {
    let house = House::stocked().await;
    let held = house.reserve(2).await["id"].as_str().unwrap().to_owned();
    let before = house.seen().await;
    let filled = |text: &str| text.replace("{held}", &held).replace("{long}", &"x".repeat(129));
    let mut rows = 0;
    for row in TABLE.lines().filter(|row| !row.is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [method, path, headers, body, answer] = cells[..] else {
            panic!("five cells, not {cells:?}")
        };
        let path = match path.as_bytes() {
            [b'R', rest @ ..] => format!("/api/stock/reservations{}", str::from_utf8(rest).unwrap()),
            [b'V', rest @ ..] => format!("/api/stock/variants/123{}", str::from_utf8(rest).unwrap()),
            _ => path.to_owned(),
        };
        let headers: Vec<_> = headers
            .split(", ")
            .filter(|word| !word.is_empty())
            .map(header)
            .collect();
        let given = house.send(method, &filled(&path), &headers, filled(body)).await;
        assert_eq!(
            format!("{} {}", given.status, given.code()),
            answer,
            "{row}\n{}",
            given.text
        );
        rows += 1;
    }
    assert_eq!(rows, 53);
    assert_eq!(house.seen().await, before, "nothing of it changed anything");
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused() {
    let house = House::stocked().await;
    let json = [header("json")];
    for (path, limit) in [
        ("/api/stock/reservations", 64),
        ("/api/stock/reservations/bulk", 256),
    ] {
        let refused = house
            .send("POST", path, &json, " ".repeat(limit * 1024 + 1))
            .await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (413, "body-too-large"),
            "{path}"
        );
        assert_eq!(refused.json()["limitBytes"], limit * 1024);
    }
    let many = serde_json::json!({"reservationIds": vec!["rsv_1"; 201]});
    assert_eq!(
        house.post("/api/stock/reservations/validate", many).await.code(),
        "invalid-member"
    );
}
