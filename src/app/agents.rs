//! How use cases reach carts and orders.
use super::{Answered, AppError, Context, OrderFilter, Shop};
use crate::domain::{
    cart::{self, Cart},
    ids::{CartId, CustomerId, OrderId, StoreId},
    order::{self, Order},
};

/// A cart after a command: the record's content; the answer is rebuilt from it alone.
#[derive(Clone, Debug)]
pub struct CartDone {
    /// The cart after it.
    pub cart: Box<Cart>,
    /// What happened, in order.
    pub happened: Vec<cart::Happened>,
}

impl Shop {
    /// One command to one cart, once per key; the cart after it, as logged. `created` tells whether this command made it.
    pub(super) async fn ask_cart(
        &self,
        ctx: &Context,
        id: &CartId,
        command: cart::Command,
    ) -> Result<Answered<CartDone>, AppError> {
        let _ = (ctx, id, command);
        Err(AppError::bug("carts are not reached yet"))
    }

    /// A cart as durable state has it; never waits for variants.
    pub(super) async fn look_at_cart(
        &self,
        ctx: &Context,
        id: &CartId,
    ) -> Result<Answered<Box<Cart>>, AppError> {
        let _ = (ctx, id);
        Err(AppError::bug("carts are not reached yet"))
    }

    /// One command to one order, once per key; the order after it, as logged.
    pub(super) async fn ask_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        command: order::Command,
    ) -> Result<Answered<Box<Order>>, AppError> {
        let _ = (ctx, id, command);
        Err(AppError::bug("orders are not reached yet"))
    }

    /// An order as durable state has it.
    pub(super) async fn look_at_order(
        &self,
        ctx: &Context,
        id: &OrderId,
    ) -> Result<Answered<Box<Order>>, AppError> {
        let _ = (ctx, id);
        Err(AppError::bug("orders are not reached yet"))
    }

    /// The active cart of a customer; one for a customer who has none gets the id `fresh` (nothing is created yet).
    pub(super) fn cart_of_customer(&self, store: &StoreId, customer: &CustomerId, fresh: CartId) -> CartId {
        let _ = (store, customer);
        fresh
    }

    /// Order ids of a store, by customer and status, after a cursor.
    pub(super) fn order_ids(
        &self,
        store: &StoreId,
        filter: &OrderFilter,
        after: Option<OrderId>,
        limit: usize,
    ) -> Vec<OrderId> {
        let _ = (store, filter, after, limit);
        Vec::new()
    }
}
