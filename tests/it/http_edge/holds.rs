//! Holding, selling and giving back, one by one and in bulk.
use super::House;
use axum::body::Body;
use serde_json::{Value, json};

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
    let returned = house.post(&format!("{path}/return"), json!({})).await.json();
    assert_eq!(
        (&returned["fulfilment"]["returned"], &returned["expiresAt"]),
        (&json!(1), &extended.json()["expiresAt"]),
        "the deadline that it had"
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
    // A change to more is told by what was wished for, and what of it could be had.
    let path = format!("/api/stock/reservations/{}", held["id"].as_str().unwrap());
    let changed = Body::from(json!({"quantity": 12}).to_string());
    let json = [("content-type", "application/json")];
    let refused = house.send("PATCH", &path, &json, changed).await.json();
    assert_eq!(
        (&refused["code"], &refused["requested"], &refused["available"]),
        (&json!("insufficient-stock"), &json!(12), &json!(10))
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
async fn a_bulk_is_listed_and_given_back_as_soon_as_it_is_answered() {
    let house = House::stocked().await;
    house
        .post("/api/stock/variants", json!({"id": "156", "onHand": 2}))
        .await;
    let lines = json!([{"variantId": "123", "quantity": 2}, {"variantId": "156", "quantity": 2}]);
    for round in 0..50 {
        let body = json!({"action": "reserve", "cartId": round.to_string(), "lines": lines});
        let done = house.post("/api/stock/reservations/bulk", body).await;
        assert_eq!(done.status, 201, "{round}: {}", done.text);
        let cart = format!("/api/stock/reservations?cartId={round}");
        let listed = house.get(&format!("{cart}&status=active")).await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{round}: {listed}");
        assert_eq!(
            house.get("/api/stock/reservations/statistics").await.json()["active"],
            2
        );
        house.send("DELETE", &cart, &[], Body::empty()).await;
        assert_eq!(
            house.get("/api/stock/reservations/statistics").await.json()["active"],
            0
        );
        let given_back = house.get("/api/stock/variants/156").await.json();
        assert_eq!(given_back["held"], 0, "{round}: {given_back}");
    }
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
    let first = &judged["results"][0];
    assert!(
        first["expiresAt"].is_string() && first["expiresInMs"].is_u64() && judged["serverTime"].is_string(),
        "expiry is part of the answer: {judged}"
    );
    let looked = format!(
        "/api/stock/reservations/validate?ids={}",
        ids[0].as_str().unwrap()
    );
    let looked = house.get(&looked).await.json();
    assert_eq!(looked["results"][0], *first);
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
async fn a_repeat_of_what_changed_nothing_says_so() {
    let house = House::stocked().await;
    let in_cart = json!({"variantId": "123", "quantity": 1, "cartId": "c"});
    house.post("/api/stock/reservations", in_cart.clone()).await;
    let sold = house.reserve(1).await["id"].as_str().unwrap().to_owned();
    let confirm = format!("/api/stock/reservations/{sold}/confirm");
    house.post(&confirm, json!({})).await;
    let given_back = house.reserve(1).await["id"].as_str().unwrap().to_owned();
    let release = format!("/api/stock/reservations/{given_back}");
    house.send("DELETE", &release, &[], Body::empty()).await;

    let cart = "/api/stock/reservations?cartId=c";
    let nobody = "/api/stock/reservations?cartId=nobody";
    let cleanup = "/api/stock/reservations/cleanup";
    let asked = [
        ("POST", confirm.as_str(), 200),
        ("DELETE", release.as_str(), 204),
        ("DELETE", cart, 204),
        ("DELETE", nobody, 204),
        ("POST", cleanup, 200),
        ("POST", "/api/admin/drain", 200),
    ];
    for (method, path, status) in asked {
        let (key, body) = (format!("key-of-{path}"), json!({}));
        let first = house.keyed(method, path, &key, &body).await;
        assert_eq!(first.status, status, "{path}: {}", first.text);
        assert!(!first.headers.contains_key("idempotent-replayed"), "{path}");
        house.clock.advance(1_000);
        house.post("/api/stock/reservations", in_cart.clone()).await;
        let again = house.keyed(method, path, &key, &body).await;
        assert_eq!((again.status, &again.text), (status, &first.text), "{path}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{path}");
    }
    let left = house
        .get("/api/stock/reservations?cartId=c&status=active")
        .await
        .json();
    assert_eq!(
        left["items"].as_array().unwrap().len(),
        4,
        "a repeat touches nothing that was held since: {left}"
    );
}

#[tokio::test]
async fn a_write_under_a_stale_tag_is_refused_and_changes_nothing() {
    let house = House::stocked().await;
    let id = house.reserve(2).await["id"].as_str().unwrap().to_owned();
    let hold = format!("/api/stock/reservations/{id}");
    let variant = "/api/stock/variants/123";
    let of_hold = [
        ("PATCH", hold.clone(), json!({"quantity": 3})),
        ("POST", format!("{hold}/extend"), json!({"seconds": 60})),
        ("POST", format!("{hold}/confirm"), json!({})),
        (
            "PUT",
            "/api/stock/reservations".into(),
            json!({"reservationId": id, "action": "confirm"}),
        ),
        (
            "PUT",
            "/api/stock/reservations".into(),
            json!({"reservationId": id, "action": "extend"}),
        ),
        ("DELETE", hold.clone(), json!({})),
        (
            "DELETE",
            format!("/api/stock/reservations?reservationId={id}"),
            json!({}),
        ),
    ];
    let of_variant = [
        ("POST", format!("{variant}/pause"), json!({})),
        ("POST", format!("{variant}/resume"), json!({})),
        ("POST", format!("{variant}/drain"), json!({})),
        (
            "POST",
            format!("{variant}/adjustments"),
            json!({"delta": 1, "reason": "found"}),
        ),
    ];
    let seen = house.seen().await;
    let tagged = async |method: &str, path: &str, tag: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        house.send(method, path, &headers, body.to_string()).await
    };
    for (method, path, body) in of_hold.iter().chain(&of_variant) {
        let stale = tagged(method, path, "\"7\"", body).await;
        assert_eq!(
            (stale.status, stale.code().as_str()),
            (412, "stale-version"),
            "{method} {path}"
        );
        assert_eq!(stale.json()["version"], 1, "{method} {path}");
        let odd = tagged(method, path, "7", body).await;
        assert_eq!(
            (odd.status, odd.code().as_str()),
            (400, "invalid-header"),
            "{method} {path}"
        );
    }
    assert_eq!(house.seen().await, seen);

    // The tag that was read lets each of them through, and so does none at all.
    for (method, path, body) in &of_variant {
        let tag = house.get(variant).await.header("etag").to_owned();
        let done = tagged(method, path, &tag, body).await;
        assert!(matches!(done.status, 200 | 201), "{method} {path}: {}", done.text);
        assert_ne!(done.header("etag"), tag, "{method} {path}");
    }
    house.post(&format!("{variant}/resume"), json!({})).await;
    let sold = [
        ("POST", format!("{hold}/fulfil")),
        ("POST", format!("{hold}/cancel")),
    ];
    let writes = of_hold[..3]
        .iter()
        .map(|(method, path, body)| (*method, path.clone(), body.clone()));
    let writes = writes.chain(sold.map(|(method, path)| (method, path, json!({"quantity": 1}))));
    for (method, path, body) in writes {
        let tag = house.get(&hold).await.header("etag").to_owned();
        let stale = tagged(method, &path, "\"77\"", &body).await;
        assert_eq!(stale.status, 412, "{method} {path}: {}", stale.text);
        let done = tagged(method, &path, &tag, &body).await;
        assert_eq!(done.status, 200, "{method} {path}: {}", done.text);
    }
}

/// Whatever the state of a variant refuses names it as a line.
#[tokio::test]
async fn every_conflict_names_its_line() {
    let house = House::stocked().await;
    let ask = json!({"variantId": 123, "quantity": 2, "customerId": "u1"});
    let held = house.post("/api/stock/reservations", ask.clone()).await.json();
    let path = format!("/api/stock/reservations/{}", held["id"].as_str().unwrap());
    let line = |requested: Value, available: Value| json!([{"variantId": "123", "requested": requested, "available": available}]);
    let more = Body::from(json!({"quantity": 99}).to_string());
    let json_type = ("content-type", "application/json");
    let more = house.send("PATCH", &path, &[json_type], more).await;
    assert_eq!((more.status, more.code().as_str()), (409, "insufficient-stock"));
    assert_eq!(more.json()["lines"], line(json!(99), json!(10)), "{}", more.text);
    let early = house.post(&format!("{path}/fulfil"), json!({})).await;
    assert_eq!(
        (early.status, early.code().as_str()),
        (409, "reservation-not-confirmed")
    );
    assert_eq!(early.json()["lines"], line(Value::Null, Value::Null));

    house.post("/api/stock/variants/123/pause", json!({})).await;
    let paused = house.post("/api/stock/reservations", ask).await;
    assert_eq!((paused.status, paused.code().as_str()), (409, "sale-not-open"));
    assert_eq!(paused.json()["lines"], line(json!(2), Value::Null));
    let bulk = json!({"action": "reserve", "mode": "best_effort", "lines": [
        {"variantId": 123, "quantity": 3}, {"variantId": "none", "quantity": 1}]});
    let bulk = house.post("/api/stock/reservations/bulk", bulk).await.json();
    let figures = |at: usize| {
        let line = &bulk["results"][at]["problem"];
        (
            line["code"].clone(),
            line["requested"].clone(),
            line["variantId"].clone(),
        )
    };
    assert_eq!(
        figures(0),
        (json!("sale-not-open"), json!(3), json!("123")),
        "{bulk}"
    );
    assert_eq!(figures(1).2, json!("none"), "{bulk}");
}

/// A sale that was made already is judged by stock alone.
#[tokio::test]
async fn a_sale_of_before_is_booked_whatever_the_sale_says_now() {
    let house = House::stocked().await;
    house.post("/api/stock/variants/123/pause", json!({})).await;
    let sale = json!({"variantId": 123, "quantity": 4, "customerId": "u1", "orderId": "A-7"});
    let key = [("idempotency-key", "k"), ("content-type", "application/json")];
    let sell = || house.send("POST", "/api/stock/sales", &key, Body::from(sale.to_string()));
    let sold = sell().await;
    let view = sold.json();
    assert_eq!(
        (sold.status, &view["status"], &view["orderId"], &view["quantity"]),
        (201, &json!("confirmed"), &json!("A-7"), &json!(4)),
        "{}",
        sold.text
    );
    let path = format!("/api/stock/reservations/{}", view["id"].as_str().unwrap());
    assert_eq!(sold.header("location"), path);
    let again = sell().await;
    assert_eq!(
        (again.json(), again.header("idempotent-replayed")),
        (view, "true")
    );
    let variant = house.get("/api/stock/variants/123").await.json();
    assert_eq!(
        ["onHand", "held", "committed", "available"].map(|member| variant[member].clone()),
        [10, 0, 4, 6].map(Value::from)
    );
    let shipped = house
        .post(&format!("{path}/fulfil"), json!({"quantity": 4}))
        .await;
    assert_eq!(shipped.status, 200, "{}", shipped.text);

    let short = house
        .post("/api/stock/sales", json!({"variantId": 123, "quantity": 7}))
        .await;
    assert_eq!((short.status, short.code().as_str()), (409, "insufficient-stock"));
    assert_eq!(
        short.json()["lines"],
        json!([{"variantId": "123", "requested": 7, "available": 6}])
    );
    let ours = json!({"variantId": 123, "quantity": 1, "orderId": "ord_1"});
    let ours = house.post("/api/stock/sales", ours).await;
    assert_eq!((ours.status, &ours.json()["member"]), (422, &json!("orderId")));
    let none = house
        .post("/api/stock/sales", json!({"variantId": 123, "quantity": 0}))
        .await;
    assert_eq!((none.status, &none.json()["member"]), (422, &json!("quantity")));
}
