//! Edge case C over HTTP: release, expiry, cancel, a partial return and cancel again are interleaved, cut off by a crash behind
//! every record, and asked for again under their old keys. Each unit comes back once.
use super::{
    House, MINUTE, TTL, on_both_logs,
    web::{Told, Web},
};
use holdfast::{
    app::recover_options,
    config::JournalBackend,
    domain::time::Timestamp,
    storage::{data_dir::DataDir, recovery},
};
use serde_json::{Value, json};

on_both_logs!(each_unit_comes_back_once_wherever_a_crash_cuts_the_ways_back);

/// What units may come back from.
struct Sold {
    /// An order of five units, paid.
    order: String,
    /// Holds of two units each: one that is released and one that expires.
    released: String,
    expired: String,
    /// When it does.
    deadline: Timestamp,
}

/// Free, held and sold once everything has come back: of twenty units two were shipped, and one of those returned.
const AT_LAST: (i64, i64, i64) = (19, 0, 0);

async fn sell(house: &House, web: &Web) -> Sold {
    web.stock("a", 20).await;
    let (_, order) = web.order("u1", "a", 5).await;
    web.keyed(
        &format!("{order}/confirm"),
        "pay",
        json!({"paymentReference": "p"}),
    )
    .await
    .ok(200);
    let hold = async || {
        let body = json!({"variantId": "a", "quantity": 2});
        let held = web.post("/api/stock/reservations", body).await.ok(201);
        held.header("location").to_owned()
    };
    Sold {
        order,
        released: hold().await,
        expired: hold().await,
        deadline: house.clock.now().saturating_add(TTL),
    }
}

/// What the client asks for, in this order, each time under the same keys; one of them cannot be done.
async fn give_back(house: &House, web: &Web, sold: &Sold) -> Vec<(u16, Told)> {
    let Sold { order, released, .. } = sold;
    let units = |quantity: u32| json!({"lines": [{"variantId": "a", "quantity": quantity}]});
    let asks = [
        ("POST", format!("{order}/cancel"), "cancel", units(1), 200),
        ("DELETE", released.clone(), "release", Value::Null, 204),
        ("POST", format!("{order}/fulfil"), "fulfil", units(2), 200),
        ("POST", format!("{order}/return"), "return", units(1), 200),
        ("DELETE", released.clone(), "release-again", Value::Null, 204),
        ("POST", format!("{order}/cancel"), "cancel-again", json!({}), 200),
        ("POST", format!("{order}/cancel"), "and-again", units(1), 409),
    ];
    let mut told = Vec::new();
    for (method, path, key, body, status) in asks {
        if key == "return" {
            // Between the two the other hold ends by itself, if it has not.
            house.clock.set(sold.deadline.max(house.clock.now()));
            web.until(&sold.expired, "/status", json!("expired")).await;
        }
        let headers = [("idempotency-key", key)];
        told.push((status, web.send(method, &path, &headers, body).await));
    }
    told
}

/// Every answer, as its client could compare it, and which of them are repeats.
fn answers(told: Vec<(u16, Told)>) -> Vec<(String, bool)> {
    let answer = |(status, told): (u16, Told)| {
        let repeats = told.header("idempotent-replayed") == "true";
        let told = told.ok(status);
        // A refusal is judged afresh and has an id and a time of its own.
        let text = if status == 409 {
            told.word("/code")
        } else {
            told.text
        };
        (text, repeats)
    };
    told.into_iter().map(answer).collect()
}

/// The checker of a shop that is not open finds nothing to mend.
fn expect_whole(house: &House, case: &str) {
    let data_dir = DataDir::open(house.path()).unwrap();
    let report = recovery::verify(&data_dir, &recover_options(&house.config)).unwrap();
    assert_eq!((report.mends, &report.violations), (0, &Vec::new()), "{case}");
}

fn each_unit_comes_back_once_wherever_a_crash_cuts_the_ways_back(backend: JournalBackend) {
    let mut house = House::new(backend);
    let sold = house.run(async |shop| sell(&house, &Web::new(&house, &shop)).await);
    house.crash();
    let begun = house.audit().turns.len();
    house.open();
    let first = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let first = answers(give_back(&house, &web, &sold).await);
        assert_eq!(web.figures("a").await, AT_LAST);
        first
    });
    assert!(first.iter().all(|(_, repeats)| !repeats), "{first:?}");
    house.crash();
    expect_whole(&house, "without a crash");
    let turns = house.audit().turns;
    assert!(turns.len() > begun + 8, "{} records", turns.len() - begun);

    for cut in begun..=turns.len() {
        let case = format!("cut behind record {cut} of {}", turns.len());
        // Each of many lays out a segment in full.
        let mut house = House::from_log(backend, &turns[..cut], |config| {
            config.journal.segment_bytes = holdfast::config::ByteSize::from_bytes(1 << 20);
        });
        let again = house.run(async |shop| {
            let web = Web::new(&house, &shop);
            let again = answers(give_back(&house, &web, &sold).await);
            assert_eq!(web.figures("a").await, AT_LAST, "{case}");
            again
        });
        let kept = again.iter().zip(&first).filter(|((_, repeats), _)| *repeats);
        for ((again, _), (first, _)) in kept {
            assert_eq!(again, first, "an old key answers the old result: {case}");
        }
        house.clock.advance(MINUTE);
        house.crash_and_open();
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            let once_more = answers(give_back(&house, &web, &sold).await);
            let texts =
                |told: &[(String, bool)]| -> Vec<String> { told.iter().map(|told| told.0.clone()).collect() };
            assert_eq!(texts(&once_more), texts(&again), "{case}");
            assert!(
                once_more[..6].iter().all(|(_, repeats)| *repeats),
                "{case}: {once_more:?}"
            );
            assert_eq!(web.figures("a").await, AT_LAST, "{case}");
        });
        house.close();
        expect_whole(&house, &case);
        house.audit();
    }
}
