//! A variant that fails is read again behind its last records; three failures without progress close it, and an operator
//! opens it again. The bug that makes it fail is planted from outside: more is admitted than the journal's queue has places,
//! which no configuration that is loaded can say, so the next record finds none and its actor panics.
use super::{
    House, MINUTE, TTL, ctx, expect_lawful,
    held::{let_all_run, send, until_held},
    hold, on_both_logs, stock, variant, view,
    web::Web,
    wish,
};
use axum::{body::Body, http::Request};
use holdfast::{
    app::{AppError, Shop},
    config::{Config, JournalBackend},
    domain::ids::ReservationId,
    http::{frame::Frame, router::router, site::Site},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tower::ServiceExt;

on_both_logs! {
    a_variant_that_panics_is_read_again_behind_its_last_records,
    three_failures_on_one_record_close_a_variant_until_an_operator_has_looked,
    a_repeat_waits_for_the_work_of_a_cart_that_panicked,
    nobody_fails_because_the_shop_has_closed,
    a_line_of_a_closed_variant_stays_unconfirmed_until_it_can_be_held,
}

/// Places in the journal's queue.
const PLACES: usize = 4;

/// So many that a cart's work finds room beside what fills the rest.
const PLACES_FOR_CARTS: usize = 12;

fn house(backend: JournalBackend) -> House {
    house_of(backend, PLACES)
}

fn house_of(backend: JournalBackend, places: usize) -> House {
    House::in_one_thread(backend, |config| config.journal.queue_capacity = places)
}

/// Takes every place of the queue with holds of one unit, none of which is durable as long as the gate is closed.
async fn fill_the_queue(house: &House, shop: &Arc<Shop>, id: &'static str) -> Vec<Sent> {
    let places = house.config.journal.queue_capacity;
    house.gate.close();
    let one = || {
        send(shop, async move |shop| {
            shop.reserve(&ctx(), wish(id, 1)).await.map(drop)
        })
    };
    let sent = (0..places).map(|_| one()).collect();
    until_held(&house.gate).await;
    super::until(|| shop.in_flight() == places).await;
    let_all_run().await;
    sent
}

type Sent = tokio::task::JoinHandle<Result<(), AppError>>;

async fn expect_done(sent: Vec<Sent>) {
    for done in sent {
        done.await.unwrap().unwrap();
    }
}

fn expect_unknown<T: std::fmt::Debug>(done: Result<T, AppError>) {
    assert!(matches!(done, Err(AppError::OutcomeUnknown)), "{done:?}");
}

fn a_variant_that_panics_is_read_again_behind_its_last_records(backend: JournalBackend) {
    let mut house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        stock(&shop, "b", 10).await;
        hold(&shop, "a", 1).await;
        let sent = fill_the_queue(&house, &shop, "a").await;
        expect_unknown(shop.reserve(&ctx(), wish("a", 1)).await);
        let looking = send(&shop, async |shop| view(&shop, "a").await);
        // Others go on: their facts are durable.
        assert_eq!(view(&shop, "b").await.held, 0);
        let_readers_run().await;
        assert!(!looking.is_finished(), "its last records are still on their way");

        house.gate.open();
        expect_done(sent).await;
        let seen = looking.await.unwrap();
        assert_eq!(seen.held, 1 + PLACES as u64, "all that was answered, and no more");
        expect_lawful(&seen);
        hold(&shop, "a", 1).await;
        assert!(shop.quarantined(&ctx()).is_empty());
    });
    house.crash();
    house.audit();
}

/// Lets all run, and those who read the disk aside.
async fn let_readers_run() {
    for _ in 0..20 {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        let_all_run().await;
    }
}

/// Whoever reads the time next in this file panics.
fn panics_next(house: &House, file: &'static str) {
    let strikes = AtomicBool::new(true);
    house.clock.watch(move |place| {
        if place.file().ends_with(file) && strikes.swap(false, Ordering::Relaxed) {
            // Without the hook's message: it is meant.
            std::panic::resume_unwind(Box::new("a panic of the test"));
        }
    });
}

/// The claim of the key once died with the actor: a repeat took it, and was carried out behind the work, which had gone on.
fn a_repeat_waits_for_the_work_of_a_cart_that_panicked(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        let web = Arc::new(Web::new(&house, &shop));
        web.stock("a", 10).await;
        let cart = web.cart("u1", "a", 1).await;
        // The cart's variant answers nobody until its last record is durable.
        house.gate.close();
        let last = send(&shop, async |shop| {
            shop.reserve(&ctx(), wish("a", 1)).await.map(drop)
        });
        until_held(&house.gate).await;
        panics_next(&house, "actor/variant.rs");
        expect_unknown(shop.reserve(&ctx(), wish("a", 1)).await);
        let add = || {
            let (web, path) = (Arc::clone(&web), format!("{cart}/items"));
            let item = json!({"variantId": "a", "quantity": 1});
            tokio::spawn(async move { web.keyed(&path, "once", item).await })
        };
        let first = add();
        let_all_run().await;
        let repeat = add();
        let_readers_run().await;
        panics_next(&house, "agent/shell.rs");
        web.get(&cart).await;
        let_readers_run().await;
        // Durable is what both need to be read again, a group each; what they do then is held up.
        house.gate.let_pass(2);
        last.await.unwrap().unwrap();
        until_held(&house.gate).await;
        let_readers_run().await;
        house.gate.open();
        let (first, repeat) = (first.await.unwrap(), repeat.await.unwrap().ok(201));
        assert_eq!(first.status, 503, "{}", first.text);
        assert_eq!(repeat.at("/items/0/quantity"), json!(2));
        assert_eq!(web.get(&cart).await.at("/items/0/quantity"), json!(2));
    });
    house.crash();
    house.audit();
}

/// What falls due behind the end of the journal once closed the variant, and the gauge of an online restore stayed up.
fn nobody_fails_because_the_shop_has_closed(backend: JournalBackend) {
    let house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        hold(&shop, "a", 1).await;
        let web = Web::new(&house, &shop);
        web.stock("b", 10).await;
        let cart = web.cart("u1", "b", 1).await;
        web.post(&format!("{cart}/checkout"), serde_json::json!({}))
            .await
            .ok(201);
        shop.close().await;
        house.clock.advance(TTL * 10);
        let_readers_run().await;
        assert!(shop.quarantined(&ctx()).is_empty());
    });
}

/// Has the variant's actor panic once, without a record of its own.
async fn fail(house: &House, shop: &Arc<Shop>, id: ReservationId) {
    let sent = fill_the_queue(house, shop, "b").await;
    expect_unknown(shop.extend(&ctx(), id, None, None).await);
    house.gate.open();
    expect_done(sent).await;
    // It is read again before anybody is answered by it.
    let _ = shop.get_variant(&ctx(), &variant("a")).await;
}

fn three_failures_on_one_record_close_a_variant_until_an_operator_has_looked(backend: JournalBackend) {
    let mut house = house(backend);
    house.run(async |shop| {
        stock(&shop, "a", 1).await;
        stock(&shop, "b", 100).await;
        let id = hold(&shop, "a", 1).await.id;
        for _ in 0..2 {
            fail(&house, &shop, id).await;
            assert_eq!(view(&shop, "a").await.held, 1);
        }
        // A record in between is progress.
        shop.extend(&ctx(), id, None, None).await.unwrap();
        for _ in 0..2 {
            fail(&house, &shop, id).await;
            assert_eq!(view(&shop, "a").await.held, 1);
        }
        fail(&house, &shop, id).await;

        let api = Api::of(&shop);
        let listed = api.get("/api/admin/quarantine").await.1["items"].clone();
        assert_eq!(listed[0]["variantId"], "a", "{listed}");
        let reason = listed[0]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("its actor failed 3 times at record "),
            "{reason}"
        );
        assert_eq!(listed.as_array().unwrap().len(), 1);
        let reserve = |id: &str| json!({"variantId": id, "quantity": 1});
        // It was sold out when it was closed; what it published then counts no more.
        api.expect_closed("POST", "/api/stock/reservations", &reserve("a"))
            .await;
        let path = format!("/api/stock/reservations/{id}");
        api.expect_closed("GET", &path, &Value::Null).await;
        api.expect_closed("POST", &format!("{path}/confirm"), &json!({}))
            .await;
        api.expect_closed("GET", "/api/stock/variants/a", &Value::Null)
            .await;
        let other = api.send("POST", "/api/stock/reservations", &reserve("b")).await;
        assert_eq!(other.0, 201, "{other:?}");
        assert_eq!(shop.in_flight(), 0, "refused with its permit");

        let rebuild = "/api/admin/quarantine/a/rebuild";
        let (status, rebuilt) = api.send("POST", rebuild, &Value::Null).await;
        assert_eq!((status, &rebuilt["held"]), (200, &json!(1)), "{rebuilt}");
        assert_eq!(
            api.get("/api/admin/quarantine").await.1,
            json!({"items": [], "nextCursor": null})
        );
        let (status, again) = api.send("POST", rebuild, &Value::Null).await;
        assert_eq!((status, &again["code"]), (404, &json!("quarantine-not-found")));
        let confirmed = api.send("POST", &format!("{path}/confirm"), &json!({})).await;
        assert_eq!(confirmed.0, 200, "{confirmed:?}");
        let refused = api.send("POST", "/api/stock/reservations", &reserve("a")).await;
        assert_eq!(
            (refused.0, &refused.1["code"]),
            (409, &json!("insufficient-stock"))
        );
    });
    house.crash();
    house.audit();
}

/// The cart never pretends: the line says that nothing is held, the cart goes on with its other lines, and the hold is made
/// once an operator has opened the variant, whoever asks or not.
fn a_line_of_a_closed_variant_stays_unconfirmed_until_it_can_be_held(backend: JournalBackend) {
    let mut house = house_of(backend, PLACES_FOR_CARTS);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 3).await;
        stock(&shop, "b", 100).await;
        web.stock("c", 5).await;
        let id = hold(&shop, "a", 1).await.id;
        for _ in 0..3 {
            fail(&house, &shop, id).await;
        }
        let cart = web.cart("u1", "c", 1).await;
        let items = format!("{cart}/items");
        let kept = web
            .post(&items, json!({"variantId": "a", "quantity": 2}))
            .await
            .ok(201);
        let line = |told: &super::web::Told| told.word("/items/1/reservationStatus");
        assert_eq!(line(&kept), "unconfirmed");
        assert_eq!(kept.at("/warnings/0/variantId"), json!("a"), "{}", kept.text);
        let read = web.get(&cart).await.ok(200);
        assert_eq!(
            (line(&read).as_str(), read.at("/items/1/reservedUntil")),
            ("unconfirmed", Value::Null)
        );
        web.post(&items, json!({"variantId": "c", "quantity": 1}))
            .await
            .ok(201);
        web.post(&format!("{cart}/checkout"), json!({}))
            .await
            .refused(503, "overloaded");

        web.post("/api/admin/quarantine/a/rebuild", Value::Null)
            .await
            .ok(200);
        house.clock.advance(MINUTE);
        web.until(&cart, "/items/1/reservationStatus", json!("active"))
            .await;
        assert_eq!(web.figures("a").await, (0, 3, 0));
        assert_eq!(web.get(&cart).await.at("/warnings"), json!([]));
    });
    house.crash();
    house.audit();
}

/// The shop's routes, without a socket.
struct Api(axum::Router);

impl Api {
    fn of(shop: &Arc<Shop>) -> Self {
        let loaded = Arc::new(Config::load(None, [], &[]).unwrap());
        let frame = Frame::new(&loaded.config.server);
        let site = Site::new(Arc::clone(shop), super::house_of(shop), loaded);
        Self(router(site, frame))
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            let request = request.header("content-type", "application/json");
            request.body(Body::from(body.to_string()))
        };
        let answer = self.0.clone().oneshot(request.unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            head.status.as_u16(),
            serde_json::from_slice(&body).unwrap_or(Value::Null),
        )
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, &Value::Null).await
    }

    async fn expect_closed(&self, method: &str, path: &str, body: &Value) {
        let (status, problem) = self.send(method, path, body).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("variant-quarantined")),
            "{method} {path}: {problem}"
        );
    }
}
