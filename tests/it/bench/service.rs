//! A small stock service in memory, right or wrong in a chosen way: what the load generator must believe, and what it must
//! catch. It speaks the part of the contract that the generator uses, and keeps its stock behind one lock.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What the service does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Grants one unit more than there is.
    Oversells,
    /// Refuses the last unit.
    Undersells,
    /// Answers every hundredth hold and keeps no trace of it.
    Forgets,
    /// Gives every hundredth hold the id of the one before.
    RepeatsIds,
    /// Answers every tenth confirm and leaves the hold as it was.
    DropsConfirms,
}

#[derive(Default)]
struct Stock {
    variants: HashMap<String, Variant>,
    holds: HashMap<String, (String, &'static str)>,
    requests: u64,
}

#[derive(Default)]
struct Variant {
    on_hand: i64,
    held: i64,
    committed: i64,
}

struct Shop {
    fault: Fault,
    stock: Mutex<Stock>,
}

type Shared = State<Arc<Shop>>;
type Answer = (StatusCode, Json<Value>);

/// Serves on a free port of the loopback for as long as the test's process lives.
pub(super) fn start(fault: Fault) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let shop = Arc::new(Shop {
                fault,
                stock: Mutex::default(),
            });
            axum::serve(listener, router(shop)).await.unwrap();
        });
    });
    told.recv().unwrap()
}

fn router(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/api/stock/variants", post(make_variant))
        .route("/api/stock/variants/{id}", get(show_variant))
        .route("/api/stock/reservations", post(reserve))
        .route("/api/stock/reservations/bulk", post(bulk))
        .route("/api/stock/reservations/validate", post(validate))
        .route("/api/stock/reservations/{id}", axum::routing::delete(release))
        .route("/api/stock/reservations/{id}/confirm", post(confirm))
        .with_state(shop)
}

async fn make_variant(State(shop): Shared, Json(body): Json<Value>) -> Answer {
    let on_hand = body["onHand"].as_i64().unwrap();
    let id = body["id"].as_str().unwrap().to_owned();
    shop.stock.lock().unwrap().variants.insert(
        id,
        Variant {
            on_hand,
            ..Variant::default()
        },
    );
    (StatusCode::CREATED, Json(body))
}

async fn show_variant(State(shop): Shared, Path(id): Path<String>) -> Answer {
    let stock = shop.stock.lock().unwrap();
    let Variant {
        on_hand,
        held,
        committed,
    } = stock.variants[&id];
    let available = (on_hand - held - committed).max(0);
    let body =
        json!({"id": id, "onHand": on_hand, "held": held, "committed": committed, "available": available});
    (StatusCode::OK, Json(body))
}

async fn reserve(State(shop): Shared, Json(body): Json<Value>) -> Answer {
    let mut stock = shop.stock.lock().unwrap();
    match grant(&mut stock, shop.fault, body["variantId"].as_str().unwrap()) {
        Some(hold) => (StatusCode::CREATED, Json(hold)),
        None => sold_out(),
    }
}

async fn bulk(State(shop): Shared, Json(body): Json<Value>) -> Answer {
    let mut stock = shop.stock.lock().unwrap();
    let lines = body["lines"].as_array().unwrap().iter();
    let holds: Option<Vec<Value>> = lines
        .map(|line| grant(&mut stock, shop.fault, line["variantId"].as_str().unwrap()))
        .collect();
    match holds {
        Some(holds) => (StatusCode::CREATED, Json(json!({ "results": holds }))),
        None => sold_out(),
    }
}

fn sold_out() -> Answer {
    (StatusCode::CONFLICT, Json(json!({"code": "insufficient-stock"})))
}

fn grant(stock: &mut Stock, fault: Fault, variant_id: &str) -> Option<Value> {
    let variant = stock.variants.get_mut(variant_id).unwrap();
    let sellable = match fault {
        Fault::Oversells => variant.on_hand + 1,
        Fault::Undersells => variant.on_hand - 1,
        Fault::None | Fault::Forgets | Fault::RepeatsIds | Fault::DropsConfirms => variant.on_hand,
    };
    if variant.held + variant.committed >= sellable {
        return None;
    }
    stock.requests += 1;
    let every_hundredth = stock.requests.is_multiple_of(100);
    let number = stock.requests - u64::from(every_hundredth && fault == Fault::RepeatsIds);
    let id = format!("rsv_{number:032x}");
    if !(every_hundredth && fault == Fault::Forgets) {
        variant.held += 1;
        stock.holds.insert(id.clone(), (variant_id.to_owned(), "active"));
    }
    Some(json!({"id": id, "variantId": variant_id, "expiresInMs": 900_000}))
}

async fn confirm(State(shop): Shared, Path(id): Path<String>) -> Answer {
    let mut stock = shop.stock.lock().unwrap();
    stock.requests += 1;
    if shop.fault == Fault::DropsConfirms && stock.requests.is_multiple_of(10) {
        return (StatusCode::OK, Json(json!({ "id": id })));
    }
    let (variant, status) = stock.holds.get_mut(&id).unwrap();
    *status = "confirmed";
    let variant = variant.clone();
    let variant = stock.variants.get_mut(&variant).unwrap();
    variant.held -= 1;
    variant.committed += 1;
    (StatusCode::OK, Json(json!({ "id": id })))
}

async fn release(State(shop): Shared, Path(id): Path<String>) -> StatusCode {
    let mut stock = shop.stock.lock().unwrap();
    let (variant, status) = stock.holds.get_mut(&id).unwrap();
    *status = "released";
    let variant = variant.clone();
    stock.variants.get_mut(&variant).unwrap().held -= 1;
    StatusCode::NO_CONTENT
}

async fn validate(State(shop): Shared, Json(body): Json<Value>) -> Json<Value> {
    let stock = shop.stock.lock().unwrap();
    let ids = body["reservationIds"].as_array().unwrap().iter();
    let status = |id: &Value| stock.holds.get(id.as_str().unwrap()).map(|(_, status)| *status);
    let results: Vec<Value> = ids
        .map(|id| json!({"reservationId": id, "status": status(id)}))
        .collect();
    Json(json!({ "results": results }))
}
