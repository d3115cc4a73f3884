//! Units sold without an order of ours: shipped, cancelled or returned.
use super::Reply;
use super::reservations::{meant, reservation_id, told};
use crate::http::extract::ask::{Ask, IfMatch};
use crate::http::extract::bodies::AfterSaleBody;
use crate::http::extract::member::Quantity;
use crate::http::problem::Problem;
use crate::http::site::Site;
use crate::http::view::ReservationView;
use axum::extract::{Path, State};
use std::sync::Arc;

/// Sold units leave the warehouse.
#[utoipa::path(post, path = "/api/stock/reservations/{id}/fulfil", tag = "reservations", request_body = AfterSaleBody,
    responses((status = 200, body = ReservationView, description = "Shipped", headers(("ETag" = String)))))]
pub(crate) async fn fulfil_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { body, context }: Ask<AfterSaleBody>,
) -> Result<Reply, Problem> {
    let reservation = reservation_id(&reservation)?;
    told(
        (&site, &context),
        reservation,
        site.shop
            .fulfil(
                &context,
                meant(reservation, seen),
                body.quantity.map(Quantity::as_u32),
            )
            .await,
    )
}

/// Sold units are cancelled before they leave.
#[utoipa::path(post, path = "/api/stock/reservations/{id}/cancel", tag = "reservations", request_body = AfterSaleBody,
    responses((status = 200, body = ReservationView, description = "Cancelled", headers(("ETag" = String)))))]
pub(crate) async fn cancel_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { body, context }: Ask<AfterSaleBody>,
) -> Result<Reply, Problem> {
    let reservation = reservation_id(&reservation)?;
    let (quantity, restock) = (body.quantity.map(Quantity::as_u32), body.restock.unwrap_or(true));
    told(
        (&site, &context),
        reservation,
        site.shop
            .cancel(&context, meant(reservation, seen), quantity, restock)
            .await,
    )
}

/// Shipped units come back.
#[utoipa::path(post, path = "/api/stock/reservations/{id}/return", tag = "reservations", request_body = AfterSaleBody,
    responses((status = 200, body = ReservationView, description = "Taken back", headers(("ETag" = String)))))]
pub(crate) async fn return_reservation(
    State(site): State<Arc<Site>>,
    Path(reservation): Path<String>,
    seen: IfMatch,
    Ask { body, context }: Ask<AfterSaleBody>,
) -> Result<Reply, Problem> {
    let reservation = reservation_id(&reservation)?;
    let (quantity, restock) = (body.quantity.map(Quantity::as_u32), body.restock.unwrap_or(true));
    told(
        (&site, &context),
        reservation,
        site.shop
            .take_back(&context, meant(reservation, seen), quantity, restock)
            .await,
    )
}
