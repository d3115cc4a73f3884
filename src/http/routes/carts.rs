//! `/api/cart`: what a shopper means to buy. Every handler about one cart has its caller checked against it.
use super::{Reply, orders, version};
use crate::app::{Answered, AppError, CartDone};
use crate::domain::cart::{Cart, LineId};
use crate::domain::ids::CartId;
use crate::http::auth::Caller;
use crate::http::extract::ask::{Ask, IfMatch, Look, NoBody};
use crate::http::extract::bodies::{
    CartBody, CartExtendBody, CartItemBody, CheckoutBody, ItemBody, MergeBody, QuantityBody, StrategyWord,
    millis,
};
use crate::http::extract::member::{Handle, Id, Text};
use crate::http::extract::query::{Params, id};
use crate::http::failure;
use crate::http::problem::{Code, Problem};
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{CartView, ExtendedCart, LineHandle, OrderView};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

/// Where carts live.
const COLLECTION: &str = "/api/cart";

/// The cart of a path, once its caller may act on it.
fn cart(site: &Site, caller: &Caller, text: &str) -> Result<CartId, Problem> {
    let cart = id::<CartId>("id", text)?;
    caller.check(site, &cart)?;
    Ok(cart)
}

/// A line's id from a path. A text that no line of ours has names nothing, so it is not found rather than malformed.
fn line(text: &str) -> Result<LineId, Problem> {
    id::<Handle>("lineId", text)?;
    let line = LineHandle::parse(text).map(|LineHandle(line)| line);
    line.ok_or_else(|| Problem::new(Code::LineNotFound).with("lineId", text))
}

fn refused(error: &AppError) -> Problem {
    failure::problem(error, Subject::default())
}

/// The answer of a command that may have made the cart. A guest is told the token of its new cart, and a repeat tells it
/// again.
fn made(site: &Site, status: StatusCode, done: &Answered<CartDone>) -> Reply {
    let cart = &done.body.cart;
    let is_guests = done.body.created() && cart.customer.is_none();
    let token = is_guests.then(|| site.shop.cart_token(&cart.id));
    let view = CartView::after(&done.body, done.at).with_token(token.clone());
    let reply = Reply::json(status, &view).etag(cart.version);
    reply
        .cart_token(token.as_deref())
        .location(COLLECTION, cart.id.as_str())
        .replayed(done.replayed)
}

fn told(done: Result<Answered<CartDone>, AppError>) -> Result<Reply, Problem> {
    let done = done.map_err(|error| refused(&error))?;
    let reply = Reply::ok(&CartView::after(&done.body, done.at)).etag(done.body.cart.version);
    Ok(reply.replayed(done.replayed))
}

fn seen(seen: &Answered<Box<Cart>>) -> Reply {
    Reply::ok(&CartView::new(&seen.body, seen.at)).etag(seen.body.version)
}

/// Makes a cart. A customer who has an active one gets that.
#[utoipa::path(post, path = "/api/cart", tag = "carts", request_body = CartBody,
    responses(
        (status = 201, body = CartView, description = "It was made; a guest's comes with its `cartToken`",
            headers(("Location" = String), ("ETag" = String), ("Cart-Token" = String))),
        (status = 200, body = CartView, description = "The customer's active cart", headers(("ETag" = String)))))]
pub(crate) async fn create_cart(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<CartBody>,
) -> Result<Reply, Problem> {
    let done = site.shop.create_cart(&context, body.whose()).await;
    let done = done.map_err(|error| refused(&error))?;
    let status = if done.body.created() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(made(&site, status, &done))
}

/// Reads a cart, at once even while it waits for variants.
#[utoipa::path(get, path = "/api/cart/{id}", tag = "carts",
    responses((status = 200, body = CartView, description = "As it stands", headers(("ETag" = String)))))]
pub(crate) async fn get_cart(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    caller: Caller,
    Look(context): Look,
    params: Params,
) -> Result<Reply, Problem> {
    params.finish()?;
    let cart = cart(&site, &caller, &text)?;
    let found = site.shop.get_cart(&context, &cart).await;
    found.map(|found| seen(&found)).map_err(|error| refused(&error))
}

/// Ends a cart and gives everything in it back.
#[utoipa::path(delete, path = "/api/cart/{id}", tag = "carts",
    responses((status = 204, description = "It has ended")))]
pub(crate) async fn delete_cart(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let cart = cart(&site, &caller, &text)?;
    let done = site.shop.delete_cart(&context, &cart, version(expected)).await;
    let done = done.map_err(|error| refused(&error))?;
    Ok(Reply::no_content().replayed(done.replayed))
}

/// Puts units into the named cart, the customer's active one, or a new one, and holds them. While an order of that cart awaits
/// its payment this is 409 `cart-checking-out` with the order's `orderId`: pay, fail or cancel that first.
#[utoipa::path(post, path = "/api/cart/items", tag = "carts", request_body = ItemBody,
    responses((status = 201, body = CartView,
        description = "The cart with the line; a guest's new one comes with its `cartToken`",
        headers(("Location" = String), ("ETag" = String), ("Cart-Token" = String)))))]
pub(crate) async fn add_item(
    State(site): State<Arc<Site>>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<ItemBody>,
) -> Result<Reply, Problem> {
    let (item, named, whose) = body.split();
    let done = if let Some(cart) = named {
        caller.check(&site, &cart)?;
        site.shop.add_item(&context, &cart, version(expected), item).await
    } else {
        caller.check_trusted("a cart's token opens that cart; `cartId` must name it")?;
        site.shop.add_item_to_new_cart(&context, whose, item).await
    };
    let done = done.map_err(|error| refused(&error))?;
    Ok(made(&site, StatusCode::CREATED, &done))
}

/// Puts units into a cart and holds them.
#[utoipa::path(post, path = "/api/cart/{id}/items", tag = "carts", request_body = CartItemBody,
    responses((status = 201, body = CartView, description = "The cart with the line",
        headers(("Location" = String), ("ETag" = String)))))]
pub(crate) async fn add_item_to_cart(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<CartItemBody>,
) -> Result<Reply, Problem> {
    let cart = cart(&site, &caller, &text)?;
    let done = site
        .shop
        .add_item(&context, &cart, version(expected), body.into())
        .await;
    let done = done.map_err(|error| refused(&error))?;
    Ok(made(&site, StatusCode::CREATED, &done))
}

/// Changes a line's units. One whose hold expired is held again.
#[utoipa::path(patch, path = "/api/cart/{id}/items/{lineId}", tag = "carts", request_body = QuantityBody,
    responses((status = 200, body = CartView, description = "The cart with the line", headers(("ETag" = String)))))]
pub(crate) async fn change_item(
    State(site): State<Arc<Site>>,
    Path((text, line_text)): Path<(String, String)>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<QuantityBody>,
) -> Result<Reply, Problem> {
    let cart = cart(&site, &caller, &text)?;
    let (line, quantity) = (line(&line_text)?, body.quantity.as_u32());
    told(
        site.shop
            .change_item(&context, &cart, version(expected), line, quantity)
            .await,
    )
}

/// Takes a line out and gives its units back.
#[utoipa::path(delete, path = "/api/cart/{id}/items/{lineId}", tag = "carts",
    responses((status = 200, body = CartView, description = "The cart without the line", headers(("ETag" = String)))))]
pub(crate) async fn remove_item(
    State(site): State<Arc<Site>>,
    Path((text, line_text)): Path<(String, String)>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { context, .. }: Ask<NoBody>,
) -> Result<Reply, Problem> {
    let cart = cart(&site, &caller, &text)?;
    let line = line(&line_text)?;
    told(
        site.shop
            .remove_item(&context, &cart, version(expected), line)
            .await,
    )
}

/// Gives every line more time: one button for the shopper.
#[utoipa::path(post, path = "/api/cart/{id}/extend", tag = "carts", request_body = CartExtendBody,
    responses((status = 200, body = ExtendedCart, description = "The cart, and what came of each line",
        headers(("ETag" = String)))))]
pub(crate) async fn extend_cart(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<CartExtendBody>,
) -> Result<Reply, Problem> {
    let cart = cart(&site, &caller, &text)?;
    let done = site
        .shop
        .extend_cart(&context, &cart, version(expected), millis(body.seconds))
        .await;
    let done = done.map_err(|error| refused(&error))?;
    let reply = Reply::ok(&ExtendedCart::new(&done.body, done.at)).etag(done.body.cart.version);
    Ok(reply.replayed(done.replayed))
}

/// Takes over the lines of another cart: a guest's, once the guest has logged in. Their holds move; none is given back.
#[utoipa::path(post, path = "/api/cart/{id}/merge", tag = "carts", request_body = MergeBody,
    responses((status = 200, body = CartView, description = "The cart with the lines; `warnings` names changed ones",
        headers(("ETag" = String)))))]
pub(crate) async fn merge_carts(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<MergeBody>,
) -> Result<Reply, Problem> {
    let into = cart(&site, &caller, &text)?;
    let Id(from) = body.from_cart_id;
    // Guests do not come here: only who has the key says that two carts are one shopper's.
    if let Some(Text(token)) = body.cart_token
        && !site.shop.is_cart_token(&from, &token)
    {
        return Err(Problem::new(Code::CartTokenInvalid).with("cartId", from.as_str()));
    }
    let strategy = body.strategy.unwrap_or(StrategyWord::Sum).into();
    told(
        site.shop
            .merge_carts(&context, &into, version(expected), from, strategy)
            .await,
    )
}

/// Has an order made of a cart: every line's hold moves into the payment phase, or none does.
#[utoipa::path(post, path = "/api/cart/{id}/checkout", tag = "carts", request_body = CheckoutBody,
    responses((status = 201, body = OrderView, description = "The order awaits its payment",
        headers(("Location" = String), ("ETag" = String)))))]
pub(crate) async fn check_out_cart(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Ask { body, context }: Ask<CheckoutBody>,
) -> Result<Reply, Problem> {
    let cart = cart(&site, &caller, &text)?;
    let customer = body.customer_id.map(|Id(customer)| customer);
    if customer.is_some() {
        caller.check_trusted("only a caller with the key says who the customer is")?;
    }
    let done = site
        .shop
        .check_out(&context, &cart, version(expected), customer)
        .await;
    let done = done.map_err(|error| refused(&error))?;
    Ok(orders::reply(StatusCode::CREATED, &done).location(orders::COLLECTION, done.body.id.as_str()))
}
