//! The floor: a bare axum server that parses the same JSON bodies and sends them back. What it costs is the price of HTTP and JSON on this
//! machine; the stock service can only be slower.

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Failure, Output};

/// The body of a reserve.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    variant_id: String,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u32>,
}

/// The body of a bulk request.
#[derive(Debug, Serialize, Deserialize)]
struct Bulk {
    action: String,
    mode: String,
    lines: Vec<Line>,
}

/// Serves the echo on a free port of the loopback until SIGTERM, after printing where in the form `serve` uses.
///
/// # Errors
/// When the socket or the signal handler cannot be had.
pub(super) async fn serve(output: Output) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("the echo failed: {error}"));
    let (listener, mut terminate, url) = bind().await.map_err(failed)?;
    output.data(|| format!("listening api={url} ops={url}\n"), &url)?;
    // As the service does: an answer is one write and must not wait for the next.
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).ok();
    });
    tokio::select! {
        served = async { axum::serve(listener, router()).await } => served.map_err(failed),
        _ = terminate.recv() => Ok(()),
    }
}

/// Binds before it says where, so that whoever reads the line can connect at once.
async fn bind() -> std::io::Result<(TcpListener, Signal, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, signal(SignalKind::terminate())?, url))
}

fn router() -> Router {
    Router::new()
        .route("/api/echo", post(async |Json(line): Json<Line>| Json(line)))
        .route("/api/echo/bulk", post(async |Json(bulk): Json<Bulk>| Json(bulk)))
}
