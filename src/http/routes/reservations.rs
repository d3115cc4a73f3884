//! `/api/stock/reservations`: units held until they are confirmed, released or expire.
use super::{Reply, page, version};
use crate::app::{
    Answered, AppError, CleanedUp, Context, HoldFilter, Meant, Reservation, ReserveAsk, SaleAsk,
};
use crate::domain::ids::{CartId, ReservationId, VariantId};
use crate::domain::variant::{HoldStatus, Phase};
use crate::http::extract::ask::{Ask, IfMatch, Look, NoBody, ParamsOnly};
use crate::http::extract::bodies::{
    ActionWord, CleanupBody, ConfirmBody, ExtendBody, LINES_MAX, QuantityBody, ReservationActionBody,
    ReserveBody, SaleBody, ValidateBody, millis,
};
use crate::http::extract::member::{Handle, Id, Quantity};
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::{Code, Problem};
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::time::Moment;
use crate::http::view::{
    CleanupView, ListPage, ReservationView, StatisticsView, ValidationView, ValidationsView,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

/// Where reservations live.
const COLLECTION: &str = "/api/stock/reservations";

/// A reservation's id from a path or body. A text that no id of ours has names nothing, so it is not found rather than
/// malformed: callers keep ids of other services in the same column.
pub(super) fn reservation_id(text: &str) -> Result<ReservationId, Problem> {
    id::<Handle>("id", text)?;
    text.parse()
        .map_err(|_| Problem::new(Code::ReservationNotFound).with("reservationId", text))
}

pub(super) fn reply(status: StatusCode, answered: &Answered<Reservation>) -> Reply {
    let Reservation { hold, variant } = &answered.body;
    let view = ReservationView::new(hold, variant, answered.at);
    Reply::written(status, |out| view.write_json(out))
        .etag(u64::from(hold.version))
        .replayed(answered.replayed)
}

/// The reservation that a caller names, in the version that they saw.
pub(super) fn meant(id: ReservationId, IfMatch(expected): IfMatch) -> Meant {
    Meant {
        id,
        version: version(expected),
    }
}

/// The answer of a route about one reservation.
pub(super) fn told(
    (site, context): (&Site, &Context),
    reservation: ReservationId,
    done: Result<Answered<Reservation>, AppError>,
) -> Result<Reply, Problem> {
    done.map(|answered| reply(StatusCode::OK, &answered))
        .map_err(|error| failure::of_reservation(site, context, reservation, &error))
}

/// Holds units for a shopper.
#[utoipa::path(post, path = "/api/stock/reservations", tag = "reservations", request_body = ReserveBody,
    responses((status = 201, body = ReservationView, description = "They are held, and the hold is durable",
        headers(("Location" = String), ("ETag" = String)))))]
pub(crate) async fn reserve(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<ReserveBody>,
) -> Result<Reply, Problem> {
    body.check()?;
    let shopper = body.shopper();
    let (Id(variant), quantity) = (body.variant_id, body.quantity.as_u32());
    let ask = ReserveAsk {
        variant: variant.clone(),
        quantity,
        shopper,
        ttl_ms: millis(body.ttl_seconds),
        allow_partial: body.allow_partial.unwrap_or_default(),
    };
    let held = site.shop.reserve(&context, ask).await;
    let held = held.map_err(|error| failure::problem(&error, asked_for(&variant, quantity)))?;
    Ok(reply(StatusCode::CREATED, &held).location(COLLECTION, held.body.hold.id))
}

/// Books a sale that was made already: before the shop was put back, or where Holdfast was not asked. The units must be there;
/// whether the sale is open and what the limits say is not asked again.
#[utoipa::path(post, path = "/api/stock/sales", tag = "reservations", request_body = SaleBody,
    responses((status = 201, body = ReservationView, description = "They are sold, and the sale is durable",
        headers(("Location" = String), ("ETag" = String)))))]
pub(crate) async fn sell(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<SaleBody>,
) -> Result<Reply, Problem> {
    body.check()?;
    let shopper = body.shopper();
    let (Id(variant), quantity) = (body.variant_id, body.quantity.as_u32());
    let ask = SaleAsk {
        variant: variant.clone(),
        quantity,
        shopper,
        order: body.order_id.map(|Id(order)| order),
    };
    let sold = site.shop.sell(&context, ask).await;
    let sold = sold.map_err(|error| failure::problem(&error, asked_for(&variant, quantity)))?;
    Ok(reply(StatusCode::CREATED, &sold).location(COLLECTION, sold.body.hold.id))
}

/// What a request for units is about.
fn asked_for(variant: &VariantId, quantity: u32) -> Subject<'_> {
    Subject {
        variant: Some(variant),
        quantity: Some(quantity),
        ..Subject::default()
    }
}

/// Reads a reservation, live or ended.
#[utoipa::path(get, path = "/api/stock/reservations/{id}", tag = "reservations",
    responses((status = 200, body = ReservationView, description = "As it stands", headers(("ETag" = String)))))]
pub(crate) async fn get_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    Look(context): Look,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    let reservation = reservation_id(&reservation)?;
    told(
        (&site, &context),
        reservation,
        site.shop.get_reservation(&context, reservation).await,
    )
}

/// Extends, confirms or changes one reservation; the id is in the body.
#[utoipa::path(put, path = "/api/stock/reservations", tag = "reservations", request_body = ReservationActionBody,
    responses((status = 200, body = ReservationView, description = "Done", headers(("ETag" = String)))))]
pub(crate) async fn act_on_reservation(
    State(site): State<Arc<Site>>,
    seen: IfMatch,
    Ask { body, context }: Ask<ReservationActionBody>,
) -> Result<Reply, Problem> {
    body.check()?;
    let Id(Handle(text)) = &body.reservation_id;
    let reservation = reservation_id(text)?;
    let meant = meant(reservation, seen);
    let quantity = body.quantity.map(Quantity::as_u32);
    let done = match (body.action, quantity) {
        (ActionWord::Extend, _) => {
            let phase = body.phase.map(Phase::from);
            site.shop
                .extend(&context, meant, millis(body.seconds), phase)
                .await
        }
        (ActionWord::Update, Some(quantity)) => site.shop.resize(&context, meant, quantity).await,
        (ActionWord::Confirm | ActionWord::Update, _) => {
            let order = body.order_id.map(|Id(order)| order);
            site.shop.confirm(&context, meant, quantity, order).await
        }
    };
    told((&site, &context), reservation, done)
}

/// Changes how many units are held.
#[utoipa::path(patch, path = "/api/stock/reservations/{id}", tag = "reservations", request_body = QuantityBody,
    responses((status = 200, body = ReservationView, description = "Changed", headers(("ETag" = String)))))]
pub(crate) async fn resize_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { body, context }: Ask<QuantityBody>,
) -> Result<Reply, Problem> {
    let reservation = reservation_id(&reservation)?;
    told(
        (&site, &context),
        reservation,
        site.shop
            .resize(&context, meant(reservation, seen), body.quantity.as_u32())
            .await,
    )
}

/// Moves the deadline.
#[utoipa::path(post, path = "/api/stock/reservations/{id}/extend", tag = "reservations", request_body = ExtendBody,
    responses((status = 200, body = ReservationView, description = "Moved", headers(("ETag" = String)))))]
pub(crate) async fn extend_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { body, context }: Ask<ExtendBody>,
) -> Result<Reply, Problem> {
    let reservation = reservation_id(&reservation)?;
    let phase = body.phase.map(Phase::from);
    told(
        (&site, &context),
        reservation,
        site.shop
            .extend(&context, meant(reservation, seen), millis(body.seconds), phase)
            .await,
    )
}

/// Sells the held units. A repeat gives the same answer.
#[utoipa::path(post, path = "/api/stock/reservations/{id}/confirm", tag = "reservations", request_body = ConfirmBody,
    responses((status = 200, body = ReservationView, description = "Sold", headers(("ETag" = String)))))]
pub(crate) async fn confirm_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { body, context }: Ask<ConfirmBody>,
) -> Result<Reply, Problem> {
    body.check()?;
    let reservation = reservation_id(&reservation)?;
    let (quantity, order) = (
        body.quantity.map(Quantity::as_u32),
        body.order_id.map(|Id(order)| order),
    );
    told(
        (&site, &context),
        reservation,
        site.shop
            .confirm(&context, meant(reservation, seen), quantity, order)
            .await,
    )
}

/// Gives the units back. One that has ended without being sold is given back already.
#[utoipa::path(delete, path = "/api/stock/reservations/{id}", tag = "reservations",
    responses((status = 204, description = "Given back")))]
pub(crate) async fn release_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    release(&site, &context, meant(reservation_id(&reservation)?, seen)).await
}

async fn release(site: &Site, context: &Context, meant: Meant) -> Result<Reply, Problem> {
    let released = site.shop.release(context, meant).await;
    let released = released.map_err(|error| failure::of_reservation(site, context, meant.id, &error))?;
    Ok(Reply::no_content().replayed(released.replayed))
}

/// Gives back one reservation or all of a cart: exactly one of the two is named. Nothing to give back is fine.
#[utoipa::path(delete, path = "/api/stock/reservations", tag = "reservations",
    params(
        ("reservationId" = Option<String>, Query, description = "One reservation"),
        ("cartId" = Option<String>, Query, description = "Every live reservation of this cart")),
    responses((status = 204, description = "Given back, or nothing was held")))]
pub(crate) async fn release_reservations(
    State(site): State<Arc<Site>>,
    mut params: Params,
    seen: IfMatch,
    Ask { context, .. }: Ask<ParamsOnly>,
) -> Result<Reply, Problem> {
    let (one, cart) = (params.text("reservationId")?, params.id::<CartId>("cartId")?);
    params.finish()?;
    match (one, cart) {
        (Some(one), None) => release(&site, &context, meant(reservation_id(&one)?, seen)).await,
        (None, Some(cart)) => {
            let released = site.shop.release_cart(&context, cart).await;
            let released = released.map_err(|error| failure::problem(&error, Subject::default()))?;
            Ok(Reply::no_content().replayed(released.replayed))
        }
        (None, None) => Err(Problem::invalid_parameter(
            "reservationId",
            "reservationId or cartId: what to give back",
        )),
        (Some(_), Some(_)) => Err(Problem::invalid_parameter(
            "cartId",
            "to be absent beside reservationId",
        )),
    }
}

/// Lists reservations in order of creation.
#[utoipa::path(get, path = "/api/stock/reservations", tag = "reservations",
    params(
        ("variantId" = Option<String>, Query, description = "Of this variant"),
        ("customerId" = Option<String>, Query, description = "Of this customer"),
        ("cartId" = Option<String>, Query, description = "Of this cart"),
        ("status" = Option<String>, Query, description = "`active`, `confirmed`, `released` or `expired`")),
    responses((status = 200, body = ListPage<ReservationView>, description = "One page")))]
pub(crate) async fn list_reservations(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let filter = HoldFilter {
        variant: params.id("variantId")?,
        customer: params.id("customerId")?,
        cart: params.id("cartId")?,
        status: params.word("status", &STATUSES)?,
    };
    let wanted = params.page()?;
    params.finish()?;
    let after = wanted.after(site.shop.epoch(), created_after)?;
    let listed = site
        .shop
        .list_reservations(&context, &filter, after, wanted.limit as usize)
        .await;
    let listed = listed.map_err(|error| failure::problem(&error, Subject::default()))?;
    let items = listed
        .items
        .iter()
        .map(|item| ReservationView::new(&item.hold, &item.variant, listed.at))
        .collect();
    Ok(Reply::ok(&page(
        &site,
        items,
        listed.next.map(|next| next.as_u128().to_be_bytes().to_vec()),
    )))
}

/// The states that are shown; a tentative hold is a coordinator's business.
pub(crate) const STATUSES: [(&str, HoldStatus); 4] = [
    ("active", HoldStatus::Active),
    ("confirmed", HoldStatus::Confirmed),
    ("released", HoldStatus::Released),
    ("expired", HoldStatus::Expired),
];

/// Behind whom a page begins, by a cursor's key.
pub(crate) fn created_after(key: &[u8]) -> Option<ReservationId> {
    let bits = key.try_into().ok().map(u128::from_be_bytes);
    bits.and_then(ReservationId::from_u128)
}

/// Says how reservations have gone so far.
#[utoipa::path(get, path = "/api/stock/reservations/statistics", tag = "reservations",
    responses((status = 200, body = StatisticsView, description = "Over the whole store")))]
pub(crate) async fn get_statistics(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    Ok(Reply::ok(&StatisticsView::from(
        site.shop.statistics(&context).body,
    )))
}

/// Ends holds whose deadline has come. The timers do it anyway, so there is rarely anything to find.
#[utoipa::path(post, path = "/api/stock/reservations/cleanup", tag = "reservations", request_body = CleanupBody,
    responses((status = 200, body = CleanupView, description = "What was found")))]
pub(crate) async fn clean_up(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<CleanupBody>,
) -> Result<Reply, Problem> {
    let dry_run = body.dry_run.unwrap_or_default();
    let cleaned = site.shop.clean_up(&context, dry_run).await;
    let cleaned = cleaned.map_err(|error| failure::problem(&error, Subject::default()))?;
    let CleanedUp { due, expired } = cleaned.body;
    let view = CleanupView {
        dry_run,
        due,
        expired,
    };
    Ok(Reply::ok(&view).replayed(cleaned.replayed))
}

/// Says which reservations still hold their units.
#[utoipa::path(post, path = "/api/stock/reservations/validate", tag = "reservations", request_body = ValidateBody,
    responses((status = 200, body = ValidationsView, description = "One result for each id")))]
pub(crate) async fn validate_reservations(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<ValidateBody>,
) -> Result<Reply, Problem> {
    let ids = body
        .reservation_ids
        .0
        .into_iter()
        .map(|Id(Handle(id))| id)
        .collect();
    validations(&site, &context, ids).await
}

/// Says which of up to 200 reservations still hold their units.
#[utoipa::path(get, path = "/api/stock/reservations/validate", tag = "reservations",
    params(("ids" = String, Query, description = "1 to 200 ids, divided by commas")),
    responses((status = 200, body = ValidationsView, description = "One result for each id")))]
pub(crate) async fn check_reservations(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let text = params.text("ids")?.unwrap_or_default();
    params.finish()?;
    let ids: Vec<String> = text
        .split(',')
        .map(|id| id.trim_matches(' ').to_owned())
        .collect();
    if ids.len() > LINES_MAX {
        return Err(Problem::invalid_parameter(
            "ids",
            "1 to 200 ids, divided by commas",
        ));
    }
    ids.iter()
        .try_for_each(|text| id::<Handle>("ids", text).map(drop))?;
    validations(&site, &context, ids).await
}

async fn validations(site: &Site, context: &Context, ids: Vec<String>) -> Result<Reply, Problem> {
    let judged = site.shop.validate(context, ids).await;
    let judged = judged.map_err(|error| failure::problem(&error, Subject::default()))?;
    let results = judged.body.into_iter();
    let results = results.map(|validity| {
        ValidationView::new(
            validity.id,
            validity.reservation.as_ref().map(|found| &found.hold),
            judged.at,
        )
    });
    Ok(Reply::ok(&ValidationsView {
        results: results.collect(),
        server_time: Moment(judged.at),
    }))
}
