//! The operations listener: opens before recovery, closes after drain, asks for no key. It shows no stock and changes
//! nothing.
use super::frame::{Frame, FrameLayer};
use super::health::{Health, Phase};
use super::problem::{Code, Problem};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::fmt;
use std::sync::Arc;

/// What the operations routes show.
#[derive(Clone)]
pub struct Operations {
    /// How far the process is.
    pub health: Arc<Health>,
    /// Renders the metrics in the Prometheus text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// The routes of the operations listener.
pub fn operations(state: Operations, around: Frame) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/version", get(version))
        .with_state(state)
        .layer(FrameLayer::new(around))
}

async fn metrics(State(state): State<Operations>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (state.metrics)(),
    )
        .into_response()
}

/// Answers as long as the process can answer at all.
async fn livez() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

async fn readyz(State(state): State<Operations>) -> Response {
    match state.health.phase() {
        Phase::Starting => Problem::new(Code::NotReady).into_response(),
        Phase::Ready if state.health.is_restoring() => Problem::new(Code::Restoring).into_response(),
        Phase::Ready => Json(json!({"status": "ready"})).into_response(),
        Phase::Draining => Problem::new(Code::Draining).into_response(),
    }
}

async fn startupz(State(state): State<Operations>) -> Response {
    let startup = state.health.startup();
    if startup.started {
        return Json(startup).into_response();
    }
    let problem = Problem::new(Code::NotReady)
        .detail(format!(
            "{} of {} records replayed",
            startup.records_replayed, startup.records_total
        ))
        .with("started", false)
        .with("recordsReplayed", startup.records_replayed)
        .with("recordsTotal", startup.records_total)
        .with("percent", startup.percent);
    problem.into_response()
}

async fn version() -> Response {
    Json(json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")})).into_response()
}
