//! `/api/admin/restore` and `/api/admin/operations`: the shop put back while the process goes on.
use super::Reply;
use crate::app::{House, HouseError, RestoreAsk, Stage};
use crate::http::extract::ask::Ask;
use crate::http::extract::bodies::RestoreBody;
use crate::http::extract::query::Params;
use crate::http::problem::{Code, Problem};
use crate::http::site::Site;
use crate::http::view::{OperationView, RestorePlanView};
use crate::storage::restore::RestoreError;
use crate::storage::snapshot::SnapshotError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Says what a restore would mean and gives a token for it; with the token, carries it out: then every route answers 503
/// `restoring` until the shop is open again, and `GET /api/admin/operations/{id}` shows how far it is. The same token again
/// names the same operation. What was sold between plan and run is lost and written down like what the plan said; pause the
/// variants first where that must not be.
#[utoipa::path(post, path = "/api/admin/restore", tag = "admin", request_body = RestoreBody,
    responses(
        (status = 200, body = RestorePlanView, description = "What it would mean; nothing is changed"),
        (status = 202, body = OperationView, description = "It has begun", headers(("Location" = String)))))]
pub(crate) async fn restore(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<RestoreBody>,
) -> Result<Reply, Problem> {
    if let Some(token) = body.token()? {
        let (begun, replayed) = site
            .house
            .run(&site.shop, context.key, token)
            .map_err(|error| problem(&error))?;
        let view = OperationView::from(&*begun);
        let reply = Reply::json(StatusCode::ACCEPTED, &view).replayed(replayed);
        return Ok(reply.location("/api/admin/operations", &begun.id));
    }
    let ask: RestoreAsk = body.ask()?;
    let (planned, replayed) = site
        .house
        .plan(&site.shop, context.key, ask)
        .await
        .map_err(|error| problem(&error))?;
    Ok(Reply::ok(&RestorePlanView::from(&planned)).replayed(replayed))
}

/// Shows an operation: what it is at, how long it will take, what came of it. Answers while the shop is closed too.
#[utoipa::path(get, path = "/api/admin/operations/{id}", tag = "admin",
    responses((status = 200, body = OperationView, description = "As it stands")))]
pub(crate) async fn get_operation(
    State(site): State<Arc<Site>>,
    Path(operation): Path<String>,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    shown(&site.house, &operation)
}

/// The same while there is no shop.
pub(crate) async fn get_operation_meanwhile(
    State(house): State<Arc<House>>,
    Path(operation): Path<String>,
) -> Result<Reply, Problem> {
    shown(&house, &operation)
}

/// What everything else answers while there is no shop: who knows how long it takes.
pub(crate) async fn restoring(State(house): State<Arc<House>>) -> Response {
    let problem = Problem::new(Code::Restoring);
    let Stage::Restoring(operation) = house.stage() else {
        return problem.into_response();
    };
    let id = operation.id.as_str();
    problem
        .detail(format!("GET /api/admin/operations/{id} says how far it is"))
        .with("operationId", id)
        .into_response()
}

fn shown(house: &House, id: &str) -> Result<Reply, Problem> {
    let operation = house.operation(id);
    let operation = operation.ok_or_else(|| Problem::new(Code::OperationNotFound))?;
    Ok(Reply::ok(&OperationView::from(&*operation)))
}

fn problem(error: &HouseError) -> Problem {
    match error {
        HouseError::NoSnapshot(_) | HouseError::Restore(RestoreError::NoSnapshot { .. }) => {
            Problem::new(Code::SnapshotNotFound).detail(error.to_string())
        }
        HouseError::Stale(why) => Problem::new(Code::PlanStale).detail(*why),
        HouseError::Busy => Problem::new(Code::Restoring),
        HouseError::KeyReused => Problem::new(Code::IdempotencyKeyReused),
        HouseError::Restore(
            RestoreError::Before { .. }
            | RestoreError::Behind { .. }
            | RestoreError::OtherHistory { .. }
            | RestoreError::Gap { .. },
        ) => Problem::new(Code::CutUnreachable).detail(error.to_string()),
        HouseError::Restore(RestoreError::Snapshot(SnapshotError::UnknownFormat { .. })) => damaged(error),
        HouseError::Restore(restore) if restore.is_damage() => damaged(error),
        HouseError::Restore(_) | HouseError::Internal(_) => {
            tracing::error!(%error, "a restore could not be planned");
            Problem::new(Code::Internal)
        }
    }
}

fn damaged(error: &HouseError) -> Problem {
    Problem::new(Code::SnapshotDamaged).detail(error.to_string())
}
