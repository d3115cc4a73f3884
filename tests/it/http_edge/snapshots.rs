//! Portable snapshots as operators ask for them: taken, listed, verified, removed; damaged ones and full disks by their names.
use super::House;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const PATH: &str = "/api/admin/snapshots";

impl House {
    fn shelf(&self) -> PathBuf {
        self._dir.path().join("data/snapshots")
    }

    async fn listed(&self) -> Vec<Value> {
        let page = self.get(&format!("{PATH}?limit=500")).await.json();
        page["items"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_snapshot_is_taken_shown_verified_and_removed() {
    let house = House::stocked().await;
    house.reserve(2).await;
    house.post("/api/cart", json!({})).await;
    let taken = house.post(PATH, json!({})).await;
    assert_eq!(taken.status, 201, "{}", taken.text);
    let body = taken.json();
    let id = body["id"].as_str().unwrap();
    assert_eq!(taken.header("location"), format!("{PATH}/{id}"));
    assert_eq!(
        body["counts"],
        json!({"variants": 1, "reservations": 1, "carts": 1, "orders": 0})
    );
    assert_eq!(body["verified"], true);
    assert_eq!(body["createdAt"], "2027-01-15T08:00:00.000Z");
    let position = body["position"].as_str().unwrap();
    assert_eq!(id, format!("snap_20270115T080000000Z-{position}"));
    let file = fs::metadata(body["file"].as_str().unwrap()).unwrap();
    assert_eq!(body["bytes"], file.len());

    assert_eq!(house.get(&format!("{PATH}/{id}")).await.json(), body);
    assert_eq!(house.listed().await, [body.clone()]);
    let verified = house.post(&format!("{PATH}/{id}/verify"), json!({})).await;
    assert_eq!((verified.status, verified.json()), (200, body.clone()));

    let removed = house
        .keyed("DELETE", &format!("{PATH}/{id}"), "gone", &json!({}))
        .await;
    assert_eq!(removed.status, 204, "{}", removed.text);
    let again = house
        .keyed("DELETE", &format!("{PATH}/{id}"), "gone", &json!({}))
        .await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (204, "true"));
    for (method, path) in [
        ("GET", format!("{PATH}/{id}")),
        ("POST", format!("{PATH}/{id}/verify")),
        ("DELETE", format!("{PATH}/{id}")),
    ] {
        let missing = house.send(method, &path, &[], axum::body::Body::empty()).await;
        assert_eq!(
            (missing.status, missing.code().as_str()),
            (404, "snapshot-not-found"),
            "{method}"
        );
    }
    assert_eq!(
        house.get(&format!("{PATH}/..%2F..%2FCURRENT")).await.code(),
        "snapshot-not-found"
    );
    assert_eq!(fs::read_dir(house.shelf()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_key_brings_the_same_snapshot_back() {
    let house = House::stocked().await;
    let first = house.keyed("POST", PATH, "nightly", &json!({})).await;
    house.clock.advance(1_000);
    let again = house.keyed("POST", PATH, "nightly", &json!({})).await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(house.listed().await.len(), 1);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let other = house
        .keyed("POST", &format!("{PATH}/{id}/verify"), "nightly", &json!({}))
        .await;
    assert_eq!(other.code(), "idempotency-key-reused");
}

#[tokio::test]
async fn one_is_taken_at_a_time() {
    let house = House::stocked().await;
    let (first, second) = tokio::join!(house.post(PATH, json!({})), house.post(PATH, json!({})));
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!((second.status, second.code().as_str()), (409, "snapshot-running"));
    assert_eq!(house.listed().await.len(), 1);
}

#[tokio::test]
async fn the_list_goes_on_where_its_cursor_says_newest_first() {
    let house = House::stocked().await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(house.post(PATH, json!({})).await.json()["id"].clone());
        house.clock.advance(60_000);
    }
    taken.reverse();
    let (mut seen, mut path) = (Vec::new(), format!("{PATH}?limit=2"));
    loop {
        let page = house.get(&path).await.json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].clone()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("{PATH}?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, taken);
}

#[tokio::test]
async fn a_damaged_snapshot_is_named_with_its_place() {
    let house = House::stocked().await;
    let taken = house.post(PATH, json!({})).await.json();
    let (id, file) = (taken["id"].as_str().unwrap(), taken["file"].as_str().unwrap());
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 4;
    fs::write(file, &bytes).unwrap();
    let refused = house.post(&format!("{PATH}/{id}/verify"), json!({})).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (422, "snapshot-damaged")
    );
    let told = refused.json();
    assert!(told["detail"].as_str().unwrap().contains("block"), "{told}");
    assert!(told["offset"].as_u64().unwrap() <= at as u64);
    assert_eq!(house.listed().await.len(), 1, "its manifest is whole");
    bytes[40] ^= 1;
    fs::write(file, &bytes).unwrap();
    assert_eq!(
        house.get(&format!("{PATH}/{id}")).await.code(),
        "snapshot-damaged"
    );
    assert_eq!(house.listed().await.len(), 0);
}

#[tokio::test]
async fn below_the_reserve_none_is_taken() {
    let house = House::open(&[("disk.reserve", "1000TiB")]).await;
    let refused = house.post(PATH, json!({})).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (507, "insufficient-storage")
    );
    assert_eq!(fs::read_dir(house.shelf()).unwrap().count(), 0);
}

#[tokio::test]
async fn scheduled_ones_go_when_there_are_more_than_are_kept() {
    let house = House::open(&[("snapshots.every", "1h"), ("snapshots.keep", "2")]).await;
    let asked = house.post(PATH, json!({})).await.json()["id"].clone();
    let mut newest = asked.clone();
    for _ in 0..4 {
        house.clock.advance(3_600_000);
        loop {
            let listed = house.listed().await;
            if listed[0]["id"] != newest && listed.len() <= 3 {
                newest = listed[0]["id"].clone();
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let listed = house.listed().await;
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!(listed[2]["id"], asked, "one that somebody asked for stays");
}

#[tokio::test]
async fn a_server_that_ends_may_leave_one() {
    let house = House::open(&[("snapshots.on_drain", "true")]).await;
    house
        .post("/api/stock/variants", json!({"id": "123", "onHand": 1}))
        .await;
    fs::write(
        house.shelf().join("snap_20270115T080000000Z.holdfast.partial"),
        b"half",
    )
    .unwrap();
    house.shop.close().await;
    house.shop.close().await;
    let left: Vec<_> = fs::read_dir(house.shelf())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let refused = house.post(PATH, json!({})).await;
    assert_eq!(refused.code(), "draining");
}
