//! `/api/admin/snapshots`: portable snapshots of the whole house.
use super::{Reply, page};
use crate::app::{Answered, AppError};
use crate::http::extract::ask::{Ask, Look, NoBody};
use crate::http::extract::member::Handle;
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::Problem;
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{ListPage, SnapshotView};
use crate::storage::snapshot::Shelved;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

/// Takes a snapshot while sales go on; answers when it is whole, read back and found lawful.
#[utoipa::path(post, path = "/api/admin/snapshots", tag = "admin",
    responses((status = 201, body = SnapshotView, description = "Taken", headers(("Location" = String)))))]
pub(crate) async fn create_snapshot(
    State(site): State<Arc<Site>>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let taken = site.shop.create_snapshot(&context).await.map_err(problem)?;
    let id = taken.body.id.clone();
    Ok(reply(StatusCode::CREATED, &taken).location("/api/admin/snapshots", id))
}

/// Lists the snapshots, newest first.
#[utoipa::path(get, path = "/api/admin/snapshots", tag = "admin",
    responses((status = 200, body = ListPage<SnapshotView>, description = "One page")))]
pub(crate) async fn list_snapshots(
    State(site): State<Arc<Site>>,
    Look(_): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let wanted = params.page()?;
    params.finish()?;
    let after = wanted.after(site.shop.epoch(), |id| String::from_utf8(id.to_vec()).ok())?;
    let listed = site.shop.list_snapshots(after, wanted.limit as usize).await;
    let listed = listed.map_err(problem)?;
    Ok(Reply::ok(&page(
        &site,
        listed.items.iter().map(SnapshotView::from).collect(),
        listed.next.map(String::into_bytes),
    )))
}

/// Shows one snapshot, by what it says about itself.
#[utoipa::path(get, path = "/api/admin/snapshots/{id}", tag = "admin",
    responses((status = 200, body = SnapshotView, description = "As it was taken")))]
pub(crate) async fn get_snapshot(
    State(site): State<Arc<Site>>,
    Look(_): Look,
    Path(snapshot): Path<String>,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    let Handle(id) = id("id", &snapshot)?;
    let found = site.shop.get_snapshot(&id).await.map_err(problem)?;
    Ok(Reply::ok(&SnapshotView::from(&found)))
}

/// Removes a snapshot.
#[utoipa::path(delete, path = "/api/admin/snapshots/{id}", tag = "admin",
    responses((status = 204, description = "Removed")))]
pub(crate) async fn delete_snapshot(
    State(site): State<Arc<Site>>,
    Path(snapshot): Path<String>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let Handle(id) = id("id", &snapshot)?;
    let removed = site.shop.delete_snapshot(&context, &id).await.map_err(problem)?;
    Ok(Reply::no_content().replayed(removed.replayed))
}

/// Reads a whole snapshot again: every checksum, every record replayed, every law.
#[utoipa::path(post, path = "/api/admin/snapshots/{id}/verify", tag = "admin",
    responses((status = 200, body = SnapshotView, description = "It is whole and lawful")))]
pub(crate) async fn verify_snapshot(
    State(site): State<Arc<Site>>,
    Path(snapshot): Path<String>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let Handle(id) = id("id", &snapshot)?;
    let verified = site.shop.verify_snapshot(&context, &id).await.map_err(problem)?;
    Ok(reply(StatusCode::OK, &verified))
}

fn reply(status: StatusCode, snapshot: &Answered<Shelved>) -> Reply {
    Reply::json(status, &SnapshotView::from(&snapshot.body)).replayed(snapshot.replayed)
}

fn problem(error: AppError) -> Problem {
    failure::problem(&error, Subject::default())
}
