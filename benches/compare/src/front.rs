//! The axum front that each rival stands behind: the same path, body and head as Holdfast's, a reservation as the answer. And the bare
//! echo: what HTTP and JSON cost here. A rival's front is spared what Holdfast does besides (who may ask, limits, problems, metrics).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::ask::{Ask, Held, Ids, TTL_MS, VARIANT, hold_text};
use crate::store::Store;
use crate::store::gather::Gatherer;
use crate::store::postgres::Postgres;
use crate::store::redis::Redis;
use crate::trouble::Trouble;

/// Where reservations are made, as at Holdfast's.
pub(crate) const RESERVE: &str = "/api/stock/reservations";
/// Where the echo is.
pub(crate) const ECHO: &str = "/api/echo";

/// What stands behind a front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Behind {
    /// Redis.
    Redis,
    /// PostgreSQL, one call for each request.
    Postgres,
    /// PostgreSQL, one call for what waits.
    PostgresBatched,
}

/// The body of a reserve.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    variant_id: String,
    quantity: u32,
    customer_id: String,
    ttl_seconds: u32,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    id: String,
    variant_id: String,
    quantity: u32,
    status: &'static str,
    customer_id: String,
    expires_at: i64,
    server_time: u128,
}

#[derive(Debug)]
enum Way {
    /// One exchange for each request.
    Each(Arc<Store>),
    /// One for what waits.
    Gathered(Gatherer),
}

#[derive(Debug)]
struct Site {
    way: Way,
    ids: Ids,
}

/// Serves the front until it is killed, after saying where it listens.
pub(crate) async fn serve(
    behind: Behind,
    port: u16,
    connections: usize,
    batch: usize,
) -> Result<(), Trouble> {
    let way = match behind {
        Behind::Redis => Way::Each(Arc::new(Store::Redis(Redis::connect(port, connections).await?))),
        Behind::Postgres => Way::Each(postgres(port, connections).await?),
        Behind::PostgresBatched => Way::Gathered(Gatherer::start(
            &postgres(port, connections).await?,
            connections,
            batch,
        )),
    };
    let site = Site {
        way,
        ids: Ids::default(),
    };
    let router = Router::new()
        .route(RESERVE, post(reserve))
        .with_state(Arc::new(site));
    listen(router).await
}

async fn postgres(port: u16, connections: usize) -> Result<Arc<Store>, Trouble> {
    Ok(Arc::new(Store::Postgres(
        Postgres::connect(port, connections).await?,
    )))
}

/// Serves the echo until it is killed, after saying where it listens.
pub(crate) async fn serve_echo() -> Result<(), Trouble> {
    listen(Router::new().route(ECHO, post(async |Json(line): Json<Line>| Json(line)))).await
}

async fn listen(router: Router) -> Result<(), Trouble> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(Trouble::system("listen"))?;
    let address = listener.local_addr().map_err(Trouble::system("listen"))?;
    crate::say(&format!("listening http://{address}\n"))?;
    // As Holdfast does: an answer is one write and must not wait for the next.
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, router)
        .await
        .map_err(Trouble::system("serve"))
}

async fn reserve(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    Json(line): Json<Line>,
) -> Result<(StatusCode, Json<Reservation>), (StatusCode, String)> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let Some(key) = key else {
        return Err((StatusCode::BAD_REQUEST, "a key is missing".to_owned()));
    };
    let asked = (
        line.variant_id.as_str(),
        line.quantity,
        i64::from(line.ttl_seconds) * 1_000,
    );
    if asked != (VARIANT, 1, TTL_MS) {
        return Err((
            StatusCode::BAD_REQUEST,
            "only the unit of work is served".to_owned(),
        ));
    }
    let ask = Ask {
        key: key.to_owned(),
        customer: line.customer_id.clone(),
        id: site.ids.next(),
    };
    let held = match &site.way {
        Way::Each(store) => store.hold(&ask).await,
        Way::Gathered(gatherer) => gatherer.hold(ask).await,
    };
    match held {
        Ok(held) => Ok((StatusCode::CREATED, Json(reservation(line, held)))),
        Err(trouble) => Err((StatusCode::SERVICE_UNAVAILABLE, trouble.to_string())),
    }
}

fn reservation(line: Line, held: Held) -> Reservation {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Reservation {
        id: hold_text(held.id),
        variant_id: line.variant_id,
        quantity: line.quantity,
        status: "active",
        customer_id: line.customer_id,
        expires_at: held.expires_at_ms,
        server_time: now.map_or(0, |since| since.as_millis()),
    }
}
