//! `/api/orders`: from checkout to the shelf's end.
use super::{Reply, page};
use crate::app::{Answered, AppError, ListedOrders, OrderDone, OrderFilter};
use crate::domain::ids::OrderId;
use crate::domain::order::{Order, Status};
use crate::http::extract::ask::{Ask, Look, NoBody};
use crate::http::extract::bodies::{
    OrderCancelBody, OrderFulfilBody, OrderReturnBody, PaymentConfirmBody, after_sale_lines,
};
use crate::http::extract::member::Handle;
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::Problem;
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{ListPage, OrderView, order_status};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

/// Where orders live.
pub(super) const COLLECTION: &str = "/api/orders";

/// An order as an answer tells it.
pub(super) fn reply(status: StatusCode, done: &Answered<Box<Order>>) -> Reply {
    let reply = Reply::json(status, &OrderView::new(&done.body, done.at)).etag(done.body.version);
    reply.replayed(done.replayed)
}

/// An order as a command left it, with the lines that stayed as they were.
fn told(done: Result<Answered<OrderDone>, AppError>) -> Result<Reply, Problem> {
    let done = done.map_err(|error| failure::problem(&error, Subject::default()))?;
    let reply = Reply::ok(&OrderView::after(&done.body, done.at)).etag(done.body.order.version);
    Ok(reply.replayed(done.replayed))
}

/// Lists orders in order of creation.
#[utoipa::path(get, path = "/api/orders", tag = "orders",
    params(
        ("customerId" = Option<String>, Query, description = "Of this customer"),
        ("status" = Option<String>, Query, description = "That stand like this")),
    responses((status = 200, body = ListPage<OrderView>, description = "One page")))]
pub(crate) async fn list_orders(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let filter = OrderFilter {
        customer: params.id("customerId")?,
        status: params.word("status", &STATUSES.map(|status| (order_status(status), status)))?,
    };
    let wanted = params.page()?;
    params.finish()?;
    let after = wanted.after(site.shop.epoch(), created_after)?;
    let listed = site
        .shop
        .list_orders(&context, &filter, after, wanted.limit as usize)
        .await;
    let listed = listed.map_err(|error| failure::problem(&error, Subject::default()))?;
    let ListedOrders { items, next, at } = listed;
    let items = items.iter().map(|order| OrderView::new(order, at)).collect();
    let next = next
        .and_then(|next| next.bits())
        .map(|bits| bits.to_be_bytes().to_vec());
    Ok(Reply::ok(&page(&site, items, next)))
}

/// The states that are shown; one that is being made or was refused is its cart's business.
pub(crate) const STATUSES: [Status; 9] = [
    Status::PendingPayment,
    Status::PaymentFailed,
    Status::Confirmed,
    Status::PartiallyFulfilled,
    Status::Fulfilled,
    Status::Cancelled,
    Status::Returned,
    Status::Expired,
    Status::RefundRequired,
];

/// Behind whom a page begins, by a cursor's key.
pub(crate) fn created_after(key: &[u8]) -> Option<OrderId> {
    let bits = key.try_into().ok().map(u128::from_be_bytes);
    bits.and_then(OrderId::from_bits)
}

/// Reads an order.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders",
    responses((status = 200, body = OrderView, description = "As it stands", headers(("ETag" = String)))))]
pub(crate) async fn get_order(
    State(site): State<Arc<Site>>,
    Path(order): Path<String>,
    Look(context): Look,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    let order = id::<OrderId>("id", &order)?;
    let read = site.shop.get_order(&context, &order).await;
    read.map(|done| reply(StatusCode::OK, &done))
        .map_err(|error| failure::problem(&error, Subject::default()))
}

/// Takes a payment that succeeded: twice, late or at the same time, there is one outcome. A payment that cannot be honoured
/// is answered 409 with the `refund` that is due. After the deadline it takes what the cart holds again of the same, and free
/// units. The accepted payment told again with another amount is 409 `amount-mismatch` without a `refund`: nothing is owed.
#[utoipa::path(post, path = "/api/orders/{id}/confirm", tag = "orders", request_body = PaymentConfirmBody,
    responses((status = 200, body = OrderView, description = "Sold; a repeat gives the same answer",
        headers(("ETag" = String)))))]
pub(crate) async fn confirm_order(
    State(site): State<Arc<Site>>,
    Path(order): Path<String>,
    Ask { body, context }: Ask<PaymentConfirmBody>,
) -> Result<Reply, Problem> {
    let order = id::<OrderId>("id", &order)?;
    told(site.shop.confirm_order(&context, &order, body.into()).await)
}

/// The payment failed: the cart is the shopper's again, with its holds.
#[utoipa::path(post, path = "/api/orders/{id}/fail", tag = "orders",
    responses((status = 200, body = OrderView, description = "Failed", headers(("ETag" = String)))))]
pub(crate) async fn fail_order(
    State(site): State<Arc<Site>>,
    Path(order): Path<String>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let order = id::<OrderId>("id", &order)?;
    told(site.shop.fail_order(&context, &order).await)
}

/// Cancels an order, or units of it that have not left. To ask for all again is harmless. Lines that could not be cancelled
/// while others were are named in `warnings`; if none could, that is the 409 with its `lines`.
#[utoipa::path(post, path = "/api/orders/{id}/cancel", tag = "orders", request_body = OrderCancelBody,
    responses((status = 200, body = OrderView, description = "Cancelled", headers(("ETag" = String)))))]
pub(crate) async fn cancel_order(
    State(site): State<Arc<Site>>,
    Path(order): Path<String>,
    Ask { body, context }: Ask<OrderCancelBody>,
) -> Result<Reply, Problem> {
    let order = id::<OrderId>("id", &order)?;
    let lines = after_sale_lines(body.lines)?;
    let (restock, close_cart) = (body.restock.unwrap_or(true), body.close_cart.unwrap_or_default());
    told(
        site.shop
            .cancel_order(&context, &order, lines, restock, close_cart)
            .await,
    )
}

/// Units leave the warehouse. To ask for all again is harmless. Lines that could not leave while others did are named in
/// `warnings`; if none could, that is the 409 with its `lines`.
#[utoipa::path(post, path = "/api/orders/{id}/fulfil", tag = "orders", request_body = OrderFulfilBody,
    responses((status = 200, body = OrderView, description = "Shipped", headers(("ETag" = String)))))]
pub(crate) async fn fulfil_order(
    State(site): State<Arc<Site>>,
    Path(order): Path<String>,
    Ask { body, context }: Ask<OrderFulfilBody>,
) -> Result<Reply, Problem> {
    let order = id::<OrderId>("id", &order)?;
    let lines = after_sale_lines(body.lines)?;
    told(site.shop.fulfil_order(&context, &order, lines).await)
}

/// Shipped units come back. To ask for all again is harmless. Lines that could not come back while others did are named in
/// `warnings`; if none could, that is the 409 with its `lines`.
#[utoipa::path(post, path = "/api/orders/{id}/return", tag = "orders", request_body = OrderReturnBody,
    responses((status = 200, body = OrderView, description = "Back", headers(("ETag" = String)))))]
pub(crate) async fn return_order(
    State(site): State<Arc<Site>>,
    Path(order): Path<String>,
    Ask { body, context }: Ask<OrderReturnBody>,
) -> Result<Reply, Problem> {
    let order = id::<OrderId>("id", &order)?;
    let lines = after_sale_lines(body.lines)?;
    let restock = body.restock.unwrap_or(true);
    told(site.shop.return_order(&context, &order, lines, restock).await)
}

/// The shop says that it paid a refund.
#[utoipa::path(post, path = "/api/orders/{id}/refunds/{paymentReference}/done", tag = "orders",
    responses((status = 200, body = OrderView, description = "The refund is closed", headers(("ETag" = String)))))]
pub(crate) async fn close_refund(
    State(site): State<Arc<Site>>,
    Path((order, reference)): Path<(String, String)>,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let order = id::<OrderId>("id", &order)?;
    let Handle(reference) = id::<Handle>("paymentReference", &reference)?;
    told(site.shop.refund_done(&context, &order, reference).await)
}
