//! Orders: paid, failed, cancelled, shipped, returned; looked at and listed.
use super::{Answered, AppError, Context, OrderDone, Shop, bulk::nobodys, carts::counted};
use crate::{
    clock::Stopwatch,
    domain::{
        ids::{CustomerId, OrderId},
        money::Currency,
        order::{AfterSaleLine, Command, Order, Refusal, Status},
        time::Timestamp,
    },
    storage::projection::{self, OrderPage},
    telemetry::metrics::Operation,
};

/// Which orders are wanted; everything left out is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// That stand like this.
    pub status: Option<Status>,
}

/// A page of orders.
#[derive(Clone, Debug)]
pub struct ListedOrders {
    /// In order of creation.
    pub items: Vec<Box<Order>>,
    /// Where the next page begins.
    pub next: Option<OrderId>,
    /// The moment the page tells.
    pub at: Timestamp,
}

/// A payment that somebody says succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidAsk {
    /// The caller's reference.
    pub reference: String,
    /// What was paid, minor units.
    pub amount: Option<i64>,
    /// In which currency.
    pub currency: Option<Currency>,
}

impl Shop {
    /// Takes a payment. A repeat gives the same answer, told at the moment the payment was accepted.
    ///
    /// # Errors
    /// The payment cannot be honoured, another refusal, or an error of the way.
    pub async fn confirm_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        paid: PaidAsk,
    ) -> Result<Answered<OrderDone>, AppError> {
        let begun = Stopwatch::start();
        let done = async {
            // A late payment may need new reservations: one for each line of the order.
            let order = self.get_order(ctx, id).await?.body;
            let now = self.clock.now();
            let lines = order.lines.iter();
            let fresh = lines.map(|line| match self.directory.by_ordinal(line.ordinal) {
                Some(entry) => entry.new_reservation(now),
                None => nobodys(&ctx.store, &line.variant, now),
            });
            let PaidAsk {
                reference,
                amount,
                currency,
            } = paid;
            let confirm = Command::Confirm {
                reference,
                amount,
                currency,
                fresh: fresh.collect(),
            };
            self.ask_order(ctx, id, confirm).await
        };
        let done = counted(Operation::Order, begun, done.await)?;
        let accepted = done.body.order.payment.as_ref().map(|payment| payment.at);
        Ok(Answered {
            at: accepted.unwrap_or(done.at),
            ..done
        })
    }

    /// The payment failed: the cart gets its holds back.
    ///
    /// # Errors
    /// A refusal, or an error of the way.
    pub async fn fail_order(&self, ctx: &Context, id: &OrderId) -> Result<Answered<OrderDone>, AppError> {
        self.act_on_order(ctx, id, Command::Fail).await
    }

    /// Cancels an order or some of its units.
    ///
    /// # Errors
    /// A refusal, or an error of the way.
    pub async fn cancel_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        lines: Option<Vec<AfterSaleLine>>,
        restock: bool,
        close_cart: bool,
    ) -> Result<Answered<OrderDone>, AppError> {
        let by = ctx.caller.to_string();
        let cancel = Command::Cancel {
            lines,
            restock,
            close_cart,
            by,
        };
        self.act_on_order(ctx, id, cancel).await
    }

    /// Units leave the warehouse.
    ///
    /// # Errors
    /// A refusal, or an error of the way.
    pub async fn fulfil_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        lines: Option<Vec<AfterSaleLine>>,
    ) -> Result<Answered<OrderDone>, AppError> {
        let by = ctx.caller.to_string();
        self.act_on_order(ctx, id, Command::Fulfil { lines, by }).await
    }

    /// Shipped units come back.
    ///
    /// # Errors
    /// A refusal, or an error of the way.
    pub async fn return_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        lines: Option<Vec<AfterSaleLine>>,
        restock: bool,
    ) -> Result<Answered<OrderDone>, AppError> {
        let by = ctx.caller.to_string();
        self.act_on_order(ctx, id, Command::Return { lines, restock, by })
            .await
    }

    /// The shop paid a refund.
    ///
    /// # Errors
    /// No such order or refund, or an error of the way.
    pub async fn refund_done(
        &self,
        ctx: &Context,
        id: &OrderId,
        reference: String,
    ) -> Result<Answered<OrderDone>, AppError> {
        self.act_on_order(ctx, id, Command::RefundDone { reference })
            .await
    }

    /// An order as it stands.
    ///
    /// # Errors
    /// No such order, or an error of the way.
    pub async fn get_order(&self, ctx: &Context, id: &OrderId) -> Result<Answered<Box<Order>>, AppError> {
        self.order_made_here(id)?;
        self.look_at_order(ctx, id).await
    }

    /// Orders in order of creation, after `after`, at most `limit`.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn list_orders(
        &self,
        ctx: &Context,
        filter: &OrderFilter,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<ListedOrders, AppError> {
        let at = self.clock.now();
        let wanted = projection::OrderFilter {
            store: ctx.store.clone(),
            customer: filter.customer.clone(),
            status: filter.status,
        };
        let OrderPage { ids, next } = self.projection.orders(&wanted, after.as_ref(), limit);
        let mut items = Vec::with_capacity(ids.len());
        for id in &ids {
            // An order may have moved on between the index and here: what is told is what stands.
            match self.look_at_order(ctx, id).await {
                Ok(Answered { body, .. }) if filter.status.is_none_or(|status| body.status == status) => {
                    items.push(body);
                }
                Ok(_)
                | Err(AppError::OrderRefused {
                    refusal: Refusal::NotFound,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ListedOrders { items, next, at })
    }

    async fn act_on_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        command: Command,
    ) -> Result<Answered<OrderDone>, AppError> {
        let begun = Stopwatch::start();
        let done = async {
            self.order_made_here(id)?;
            self.ask_order(ctx, id, command).await
        };
        counted(Operation::Order, begun, done.await)
    }

    /// Orders are made here; a shop's own order id names confirmed reservations, not an order.
    fn order_made_here(&self, id: &OrderId) -> Result<(), AppError> {
        let made = id.bits().map(drop);
        made.ok_or_else(|| self.order_refused(Refusal::NotFound))
    }

    fn order_refused(&self, refusal: Refusal) -> AppError {
        AppError::OrderRefused {
            refusal,
            at: self.clock.now(),
        }
    }
}
