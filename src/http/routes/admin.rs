//! `/api/admin`: for operators.
use super::{Reply, page, variants};
use crate::app::AppError;
use crate::domain::ids::VariantId;
use crate::http::extract::ask::{Ask, Look, NoBody, RequiredIfMatch};
use crate::http::extract::bodies::PolicyBody;
use crate::http::extract::header::Expected;
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::{Code, Problem};
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{
    ConfigView, DrainView, HotVariantView, ListPage, PolicyView, QuarantinedView, StatusView, VariantView,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
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
    let policy = site.shop.policy(&context);
    let view = PolicyView::from(&policy.body);
    Ok(Reply::ok(&view).etag(view.version))
}

/// Replaces the store's policy; it counts for holds from now on.
#[utoipa::path(put, path = "/api/admin/policy", tag = "admin", request_body = PolicyBody,
    responses((status = 200, body = PolicyView, description = "Replaced", headers(("ETag" = String)))))]
pub(crate) async fn put_policy(
    State(site): State<Arc<Site>>,
    seen: RequiredIfMatch,
    Ask { body, context }: Ask<PolicyBody>,
) -> Result<Reply, Problem> {
    let expected = match seen.expected()? {
        Expected::Version(version) => version,
        Expected::Any => site.shop.policy(&context).body.version,
    };
    let set = site.shop.set_policy(&context, body.policy()?, expected).await;
    let set = set.map_err(problem)?;
    let view = PolicyView::from(&set.body);
    Ok(Reply::ok(&view).etag(view.version).replayed(set.replayed))
}

fn problem(error: AppError) -> Problem {
    failure::problem(&error, Subject::default())
}

/// Shows the configuration, each value with its source, secrets masked.
#[utoipa::path(get, path = "/api/admin/config", tag = "admin",
    responses((status = 200, body = ConfigView, description = "As the process runs with it")))]
pub(crate) async fn get_config(State(site): State<Arc<Site>>, params: Params) -> Result<Reply, Problem> {
    params.finish()?;
    Ok(Reply::ok(&ConfigView::from(&*site.loaded)))
}

/// Shows how the process is: what it keeps, how far its log is, what waits, the disk.
#[utoipa::path(get, path = "/api/admin/status", tag = "admin",
    responses((status = 200, body = StatusView, description = "Over all stores, as it stands")))]
pub(crate) async fn get_status(State(site): State<Arc<Site>>, params: Params) -> Result<Reply, Problem> {
    params.finish()?;
    Ok(Reply::ok(&StatusView::from(&site.shop.status())))
}

/// Ends the process in order: nothing new is taken, what was begun is finished.
#[utoipa::path(post, path = "/api/admin/drain", tag = "admin",
    responses((status = 200, body = DrainView, description = "It drains")))]
pub(crate) async fn drain(
    State(site): State<Arc<Site>>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let ends = site.shop.end(&context).await;
    let ends = ends.map_err(|error| failure::problem(&error, Subject::default()))?;
    Ok(Reply::ok(&DrainView { status: "draining" }).replayed(ends.replayed))
}

/// Shows the variants with the most commands since the process began. One page: the order is another a moment later.
#[utoipa::path(get, path = "/api/admin/hot-variants", tag = "admin",
    responses((status = 200, body = ListPage<HotVariantView>, description = "Hottest first")))]
pub(crate) async fn get_hot_variants(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let limit = params.limit()?;
    params.finish()?;
    let hot = site.shop.hot_variants(&context, limit as usize);
    Ok(Reply::ok(&page(
        &site,
        hot.into_iter().map(HotVariantView::from).collect(),
        None,
    )))
}

/// Lists the variants that are set aside because a law was found broken, by id.
#[utoipa::path(get, path = "/api/admin/quarantine", tag = "admin",
    responses((status = 200, body = ListPage<QuarantinedView>, description = "One page")))]
pub(crate) async fn list_quarantine(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let wanted = params.page()?;
    params.finish()?;
    let after = wanted.after(site.shop.epoch(), last_seen)?;
    let mut closed = site.shop.quarantined(&context);
    closed.sort_by(|a, b| a.id.cmp(&b.id));
    closed.retain(|one| after.as_ref().is_none_or(|after| one.id > *after));
    let more = closed.len() > wanted.limit as usize;
    closed.truncate(wanted.limit as usize);
    let next = closed.last().filter(|_| more);
    let next = next.map(|last| last.id.as_str().as_bytes().to_vec());
    Ok(Reply::ok(&page(
        &site,
        closed.into_iter().map(QuarantinedView::from).collect(),
        next,
    )))
}

fn last_seen(key: &[u8]) -> Option<VariantId> {
    VariantId::parse(std::str::from_utf8(key).ok()?).ok()
}

/// Has a quarantined variant read again from its stored state and the log.
#[utoipa::path(post, path = "/api/admin/quarantine/{id}/rebuild", tag = "admin",
    responses((status = 200, body = VariantView, description = "It serves again")))]
pub(crate) async fn rebuild_quarantined(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let seen = site.shop.rebuild_quarantined(&context, &variant).await;
    match seen.map_err(|error| variants::problem(&error, &variant))? {
        Some(seen) => Ok(variants::reply(StatusCode::OK, &seen)),
        None => Err(Problem::new(Code::QuarantineNotFound).with("variantId", variant.as_str())),
    }
}
