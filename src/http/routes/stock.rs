//! Stock of a variant: its level, what is booked in and out, and what is free.
use super::variants::problem;
use super::{Reply, page, version};
use crate::app::AdjustAsk;
use crate::domain::ids::VariantId;
use crate::http::extract::ask::{Ask, IfMatch, Look, RequiredIfMatch};
use crate::http::extract::bodies::{AdjustmentBody, AvailabilityBody, StockBody};
use crate::http::extract::member::{Id, Units};
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::Problem;
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{
    AdjustmentView, AvailabilitiesView, AvailabilityView, LedgerEntryView, ListPage, VariantView,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

/// Sets the units on hand after a count.
#[utoipa::path(put, path = "/api/stock/variants/{id}/stock", tag = "variants", request_body = StockBody,
    responses((status = 200, body = VariantView, description = "Counted", headers(("ETag" = String)))))]
pub(crate) async fn set_stock(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    seen: RequiredIfMatch,
    Ask { body, context }: Ask<StockBody>,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let set = site
        .shop
        .set_stock(
            &context,
            &variant,
            body.on_hand.as_u64(),
            version(seen.expected()?),
        )
        .await;
    let set = set.map_err(|error| problem(&error, &variant))?;
    let view = VariantView::from(&set.body);
    Ok(Reply::ok(&view).etag(view.version).replayed(set.replayed))
}

/// Books units in or out.
#[utoipa::path(post, path = "/api/stock/variants/{id}/adjustments", tag = "variants", request_body = AdjustmentBody,
    responses((status = 201, body = AdjustmentView, description = "Booked", headers(("ETag" = String)))))]
pub(crate) async fn adjust_stock(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<AdjustmentBody>,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    if body.delta.0 == 0 {
        return Err(Problem::invalid_member("delta", "a number other than 0"));
    }
    let ask = AdjustAsk {
        delta: body.delta.0,
        reason: body.reason.0,
        reference: body.reference.map(|text| text.0),
        expected_on_hand: body.expected_on_hand.map(Units::as_u64),
    };
    let adjusted = site
        .shop
        .adjust_stock(&context, &variant, ask, version(expected))
        .await;
    let adjusted = adjusted.map_err(|error| problem(&error, &variant))?;
    let view = AdjustmentView::new(&adjusted.body.view, &adjusted.body.entry);
    Ok(Reply::json(StatusCode::CREATED, &view)
        .etag(adjusted.body.view.head.version)
        .replayed(adjusted.replayed))
}

/// Reads the ledger of a variant, oldest line first.
#[utoipa::path(get, path = "/api/stock/variants/{id}/ledger", tag = "variants",
    responses((status = 200, body = ListPage<LedgerEntryView>, description = "One page")))]
pub(crate) async fn list_ledger(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let wanted = params.page()?;
    params.finish()?;
    let after = wanted.after(site.shop.epoch(), seq)?.unwrap_or(0);
    let lines = site
        .shop
        .ledger(&context, &variant, after, wanted.limit as usize)
        .await;
    let (lines, more) = lines.map_err(|error| problem(&error, &variant))?;
    let next = lines
        .last()
        .filter(|_| more)
        .map(|line| line.seq.to_be_bytes().to_vec());
    Ok(Reply::ok(&page(
        &site,
        lines.iter().map(LedgerEntryView::from).collect(),
        next,
    )))
}

fn seq(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Reads what is free of a variant. A display: the hold decides.
#[utoipa::path(get, path = "/api/stock/variants/{id}/availability", tag = "variants",
    responses((status = 200, body = AvailabilityView, description = "As it stands", headers(("ETag" = String)))))]
pub(crate) async fn get_availability(
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
    let view = AvailabilityView::from(&seen.body);
    Ok(Reply::ok(&view).etag(view.version))
}

/// Reads what is free of up to 200 variants.
#[utoipa::path(post, path = "/api/stock/availability", tag = "variants", request_body = AvailabilityBody,
    responses((status = 200, body = AvailabilitiesView, description = "As they stand")))]
pub(crate) async fn get_availabilities(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<AvailabilityBody>,
) -> Result<Reply, Problem> {
    let ids: Vec<VariantId> = body
        .variant_ids
        .0
        .into_iter()
        .map(|Id(variant)| variant)
        .collect();
    let views = site.shop.get_variants(&context, &ids).await;
    let views = views.map_err(|error| failure::problem(&error, Subject::default()))?;
    let unknown = ids.iter().zip(&views).filter(|(_, view)| view.is_none());
    let answer = AvailabilitiesView {
        unknown: unknown.map(|(variant, _)| variant.to_string()).collect(),
        items: views.iter().flatten().map(AvailabilityView::from).collect(),
    };
    Ok(Reply::ok(&answer))
}
