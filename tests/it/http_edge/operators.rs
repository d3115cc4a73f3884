//! The shop's and the operator's side: lists, versions, keys of access, the end.
use super::House;
use axum::body::Body;
use serde_json::{Value, json};

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
