//! `/api/admin`: for operators.
use super::Reply;
use crate::http::extract::ask::{Ask, Look, NoBody, RequiredIfMatch};
use crate::http::extract::bodies::PolicyBody;
use crate::http::extract::header::Expected;
use crate::http::extract::query::Params;
use crate::http::failure;
use crate::http::problem::Problem;
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{ConfigView, DrainView, PolicyView};
use axum::extract::State;
use std::sync::Arc;

/// Reads the store's policy.
#[utoipa::path(get, path = "/api/admin/policy", tag = "admin",
    responses((status = 200, body = PolicyView, description = "As it stands", headers(("ETag" = String)))))]
pub(crate) async fn get_policy(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    let view = PolicyView::from(&site.shop.policy(&context).body);
    Ok(Reply::ok(&view).etag(view.version))
}

/// Replaces the store's policy; it counts for holds from now on.
#[utoipa::path(put, path = "/api/admin/policy", tag = "admin", request_body = PolicyBody,
    responses((status = 200, body = PolicyView, description = "Replaced", headers(("ETag" = String)))))]
pub(crate) async fn put_policy(
    State(site): State<Arc<Site>>,
    RequiredIfMatch(expected): RequiredIfMatch,
    Ask { body, context }: Ask<PolicyBody>,
) -> Result<Reply, Problem> {
    let expected = match expected {
        Expected::Version(version) => version,
        Expected::Any => site.shop.policy(&context).body.version,
    };
    let set = site.shop.set_policy(&context, body.policy()?, expected).await;
    let set = set.map_err(|error| failure::problem(&error, Subject::default()))?;
    let view = PolicyView::from(&set.body);
    Ok(Reply::ok(&view).etag(view.version).replayed(set.replayed))
}

/// Shows the configuration, each value with its source, secrets masked.
#[utoipa::path(get, path = "/api/admin/config", tag = "admin",
    responses((status = 200, body = ConfigView, description = "As the process runs with it")))]
pub(crate) async fn get_config(State(site): State<Arc<Site>>, params: Params) -> Result<Reply, Problem> {
    params.finish()?;
    Ok(Reply::ok(&ConfigView::from(&*site.loaded)))
}

/// Ends the process in order: nothing new is taken, what was begun is finished.
#[utoipa::path(post, path = "/api/admin/drain", tag = "admin",
    responses((status = 200, body = DrainView, description = "It drains")))]
pub(crate) async fn drain(State(site): State<Arc<Site>>, _: Ask<NoBody>) -> Result<Reply, Problem> {
    site.health.drain();
    Ok(Reply::ok(&DrainView { status: "draining" }))
}
