//! `/api/stock/variants`: what the shop sells.
use super::{Reply, page, version};
use crate::app::{Answered, AppError};
use crate::domain::ids::{VariantId, VariantOrdinal};
use crate::domain::variant::{SaleState, View};
use crate::http::extract::ask::{Ask, IfMatch, Look, NoBody, RequiredIfMatch};
use crate::http::extract::bodies::{VariantBody, VariantPatchBody};
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::Problem;
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{ListPage, VariantView};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

/// Where variants live.
const COLLECTION: &str = "/api/stock/variants";

/// Says what went wrong with a variant.
pub(super) fn problem(error: &AppError, variant: &VariantId) -> Problem {
    failure::problem(
        error,
        Subject {
            variant: Some(variant),
            ..Subject::default()
        },
    )
}

pub(super) fn reply(status: StatusCode, answered: &Answered<View>) -> Reply {
    let view = VariantView::from(&answered.body);
    Reply::json(status, &view)
        .etag(view.version)
        .replayed(answered.replayed)
}

/// Takes a variant into the shop.
#[utoipa::path(post, path = "/api/stock/variants", tag = "variants", request_body = VariantBody,
    responses((status = 201, body = VariantView, description = "It is for sale",
        headers(("Location" = String), ("ETag" = String)))))]
pub(crate) async fn create_variant(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<VariantBody>,
) -> Result<Reply, Problem> {
    let variant = body.id.0.clone();
    // As a path segment these two mean another place (RFC 3986, 5.2.4), however they are escaped: clients could not ask for it.
    if matches!(variant.as_str(), "." | "..") {
        return Err(Problem::invalid_member("id", "an id other than . and .."));
    }
    let on_hand = body.on_hand.map_or(0, |units| units.as_u64());
    let created = site
        .shop
        .create_variant(&context, &variant, body.settings()?, on_hand)
        .await;
    let created = created.map_err(|error| problem(&error, &variant))?;
    Ok(reply(StatusCode::CREATED, &created).location(COLLECTION, &variant))
}

/// Lists variants in order of creation.
#[utoipa::path(get, path = "/api/stock/variants", tag = "variants",
    responses((status = 200, body = ListPage<VariantView>, description = "One page")))]
pub(crate) async fn list_variants(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let wanted = params.page()?;
    params.finish()?;
    let after = wanted.after(site.shop.epoch(), ordinal)?;
    let listed = site
        .shop
        .list_variants(&context, after, wanted.limit as usize)
        .await;
    let (views, next) = listed.map_err(|error| failure::problem(&error, Subject::default()))?;
    let items = views.iter().map(VariantView::from).collect();
    Ok(Reply::ok(&page(
        &site,
        items,
        next.map(|next| next.0.to_be_bytes().to_vec()),
    )))
}

/// Behind whom a page begins, by a cursor's key.
pub(crate) fn ordinal(key: &[u8]) -> Option<VariantOrdinal> {
    let ordinal = key.try_into().ok().map(u32::from_be_bytes);
    ordinal.map(VariantOrdinal)
}

/// Reads a variant.
#[utoipa::path(get, path = "/api/stock/variants/{id}", tag = "variants",
    responses((status = 200, body = VariantView, description = "As it stands", headers(("ETag" = String)))))]
pub(crate) async fn get_variant(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    Look(context): Look,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    let variant = id::<VariantId>("id", &variant)?;
    let seen = site
        .shop
        .get_variant(&context, &variant)
        .await
        .map_err(|error| problem(&error, &variant))?;
    Ok(reply(StatusCode::OK, &seen))
}

/// Changes what the shop says about a variant.
#[utoipa::path(patch, path = "/api/stock/variants/{id}", tag = "variants", request_body = VariantPatchBody,
    responses((status = 200, body = VariantView, description = "Changed", headers(("ETag" = String)))))]
pub(crate) async fn change_variant(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    seen: RequiredIfMatch,
    Ask { body, context }: Ask<VariantPatchBody>,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let change = |settings: &mut _| body.write(settings);
    let changed = site
        .shop
        .change_variant(&context, &variant, version(seen.expected()?), change)
        .await;
    Ok(reply(
        StatusCode::OK,
        &changed.map_err(|error| problem(&error, &variant))?,
    ))
}

/// Takes a variant out of the shop. Refused while units are held or sold and not shipped.
#[utoipa::path(delete, path = "/api/stock/variants/{id}", tag = "variants",
    responses((status = 204, description = "Gone")))]
pub(crate) async fn delete_variant(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    seen: RequiredIfMatch,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let deleted = site
        .shop
        .delete_variant(&context, &variant, version(seen.expected()?))
        .await;
    let deleted = deleted.map_err(|error| problem(&error, &variant))?;
    Ok(Reply::no_content().replayed(deleted.replayed))
}

/// Takes no new holds; extend and confirm go on.
#[utoipa::path(post, path = "/api/stock/variants/{id}/pause", tag = "variants",
    responses((status = 200, body = VariantView, description = "Paused", headers(("ETag" = String)))))]
pub(crate) async fn pause_variant(
    site: State<Arc<Site>>,
    path: Path<String>,
    seen: IfMatch,
    ask: Ask<NoBody>,
) -> Result<Reply, Problem> {
    set_sale(site, path, seen, ask, SaleState::Paused).await
}

/// Takes holds again.
#[utoipa::path(post, path = "/api/stock/variants/{id}/resume", tag = "variants",
    responses((status = 200, body = VariantView, description = "Open", headers(("ETag" = String)))))]
pub(crate) async fn resume_variant(
    site: State<Arc<Site>>,
    path: Path<String>,
    seen: IfMatch,
    ask: Ask<NoBody>,
) -> Result<Reply, Problem> {
    set_sale(site, path, seen, ask, SaleState::Open).await
}

/// Takes no new holds and no extensions; closed when the last hold ends.
#[utoipa::path(post, path = "/api/stock/variants/{id}/drain", tag = "variants",
    responses((status = 200, body = VariantView, description = "Draining", headers(("ETag" = String)))))]
pub(crate) async fn drain_variant(
    site: State<Arc<Site>>,
    path: Path<String>,
    seen: IfMatch,
    ask: Ask<NoBody>,
) -> Result<Reply, Problem> {
    set_sale(site, path, seen, ask, SaleState::Draining).await
}

async fn set_sale(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    IfMatch(expected): IfMatch,
    Ask { context, .. }: Ask<NoBody>,
    sale: SaleState,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let changed = site
        .shop
        .set_sale(&context, &variant, sale, version(expected))
        .await;
    Ok(reply(
        StatusCode::OK,
        &changed.map_err(|error| problem(&error, &variant))?,
    ))
}
