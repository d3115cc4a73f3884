//! The way of a command to a cart or an order and back: claim the key, take a permit, route one message, await the answer until
//! the caller's deadline. The answer is what the record says, so that a replay by key repeats it.
use super::{Answered, AppError, Context, Keyed, Shop};
use crate::{
    actor::{AgentId, AgentJob, Answer, Port, Unroutable},
    domain::{
        agent::Agent,
        cart::{self, Cart},
        ids::{CartId, CustomerId, OrderId, VariantId},
        order::{self, Order},
        time::Timestamp,
        variant,
    },
    storage::record::{Fact, Turn},
};
use tokio::sync::oneshot;

/// A cart after a command, with what the record says happened: the answer is rebuilt from it alone.
#[derive(Clone, Debug)]
pub struct CartDone {
    /// The cart.
    pub cart: Box<Cart>,
    /// What happened; empty when nothing had to.
    pub happened: Vec<cart::Happened>,
}

/// An order after a command.
#[derive(Clone, Debug)]
pub struct OrderDone {
    /// The order.
    pub order: Box<Order>,
    /// Lines whose units did not move although others' did, and why: they are as they were.
    pub refused: Vec<(VariantId, variant::Refusal)>,
}

impl Shop {
    /// One command to one cart, once per key.
    pub(super) async fn ask_cart(
        &self,
        ctx: &Context,
        id: &CartId,
        expected: Option<u64>,
        command: cart::Command,
    ) -> Result<Answered<CartDone>, AppError> {
        let route = |job: AgentJob<Cart>| self.directory.route_cart(id, AgentJob { expected, ..job });
        self.ask_a_cart(ctx, command, route).await
    }

    /// One command, once per key, to the cart a customer shops with; who has none, and a guest, gets the cart `fresh`,
    /// which it makes.
    pub(super) async fn ask_cart_of(
        &self,
        ctx: &Context,
        customer: Option<&CustomerId>,
        fresh: &CartId,
        command: cart::Command,
    ) -> Result<Answered<CartDone>, AppError> {
        let route = |job| self.directory.route_new_cart(customer, fresh, job);
        self.ask_a_cart(ctx, command, route).await
    }

    /// An order is answered for as soon as its own end is durable, and tells its cart a moment later: whoever shops on meanwhile
    /// is not told to pay first.
    async fn ask_a_cart(
        &self,
        ctx: &Context,
        command: cart::Command,
        route: impl Fn(AgentJob<Cart>) -> Result<(), Unroutable>,
    ) -> Result<Answered<CartDone>, AppError> {
        match self.ask_a_cart_once(ctx, command.clone(), &route).await {
            Err(AppError::CartRefused {
                refusal: cart::Refusal::CheckingOut { order },
                at,
            }) => {
                if self.has_told_its_cart(ctx, &order).await {
                    return self.ask_a_cart_once(ctx, command, &route).await;
                }
                let refusal = cart::Refusal::CheckingOut { order };
                Err(AppError::CartRefused { refusal, at })
            }
            done => done,
        }
    }

    /// Waits until an order that is over has told its cart so; `false` if it is not over, or not in time.
    async fn has_told_its_cart(&self, ctx: &Context, id: &OrderId) -> bool {
        let over = match self.look_at_order(ctx, id).await {
            Ok(order) => !matches!(
                order.body.status,
                order::Status::Opening | order::Status::PendingPayment
            ),
            Err(_) => false,
        };
        let Some(bits) = id.bits().filter(|_| over) else {
            return false;
        };
        let settled = self.directory.settle_agent(AgentId::Order(bits));
        self.until(ctx.deadline, settled).await.is_some()
    }

    async fn ask_a_cart_once(
        &self,
        ctx: &Context,
        command: cart::Command,
        route: impl FnOnce(AgentJob<Cart>) -> Result<(), Unroutable>,
    ) -> Result<Answered<CartDone>, AppError> {
        let refusal = cart::Refusal::NotFound;
        let not_found = |at| AppError::CartRefused { refusal, at };
        let (answer, replayed) = self.ask_agent(ctx, command, route, not_found).await?;
        match answer {
            Answer::Logged(logged) => cart_done(logged.turn, replayed),
            Answer::Cart { cart, at } => Ok(Answered {
                body: CartDone {
                    cart,
                    happened: Vec::new(),
                },
                at,
                replayed,
            }),
            Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Order { .. }
            | Answer::Count(_)
            | Answer::Holds { .. } => Err(AppError::bug("a cart was answered for by something else")),
        }
    }

    /// One command to one order, once per key.
    pub(super) async fn ask_order(
        &self,
        ctx: &Context,
        id: &OrderId,
        command: order::Command,
    ) -> Result<Answered<OrderDone>, AppError> {
        let route = |job| self.directory.route_order(id, job);
        let not_found = order::Refusal::NotFound;
        let done = self
            .ask_agent(ctx, command, route, |at| AppError::OrderRefused {
                refusal: not_found,
                at,
            })
            .await;
        done.and_then(|(answer, replayed)| match answer {
            Answer::Logged(logged) => order_done(logged.turn, replayed),
            Answer::Order { order, at } => Ok(Answered {
                body: OrderDone {
                    order,
                    refused: Vec::new(),
                },
                at,
                replayed,
            }),
            Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Cart { .. }
            | Answer::Count(_)
            | Answer::Holds { .. } => Err(AppError::bug("an order was answered for by something else")),
        })
    }

    async fn ask_agent<A: Agent>(
        &self,
        ctx: &Context,
        command: A::Command,
        route: impl FnOnce(AgentJob<A>) -> Result<(), Unroutable>,
        not_found: impl FnOnce(Timestamp) -> AppError,
    ) -> Result<(Answer, bool), AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return Ok((Answer::Logged(logged), true)),
            Keyed::Fresh(key) => key,
        };
        let permit = self.admission.admit().map_err(AppError::Shed)?;
        let (port, answer) = oneshot::channel();
        let job = AgentJob {
            store: ctx.store.clone(),
            command,
            expected: None,
            key,
            permit,
            deadline: ctx.deadline,
            port,
        };
        if route(job) == Err(Unroutable::Gone) {
            return Err(not_found(self.clock.now()));
        }
        Ok((self.answer(ctx, answer).await?, false))
    }

    /// A cart as durable state has it; never waits for variants.
    pub(super) async fn look_at_cart(
        &self,
        ctx: &Context,
        id: &CartId,
    ) -> Result<Answered<Box<Cart>>, AppError> {
        let seen = match id.bits() {
            Some(bits) => self.look_at(ctx, AgentId::Cart(bits)).await?,
            None => None,
        };
        match seen {
            Some(Answer::Cart { cart, at }) if cart.store == ctx.store => Ok(Answered {
                body: cart,
                at,
                replayed: false,
            }),
            _ => Err(AppError::CartRefused {
                refusal: cart::Refusal::NotFound,
                at: self.clock.now(),
            }),
        }
    }

    /// An order as durable state has it.
    pub(super) async fn look_at_order(
        &self,
        ctx: &Context,
        id: &OrderId,
    ) -> Result<Answered<Box<Order>>, AppError> {
        let seen = match id.bits() {
            Some(bits) => self.look_at(ctx, AgentId::Order(bits)).await?,
            None => None,
        };
        match seen {
            Some(Answer::Order { order, at }) if order.store == ctx.store && order.is_shown() => {
                Ok(Answered {
                    body: order,
                    at,
                    replayed: false,
                })
            }
            _ => Err(AppError::OrderRefused {
                refusal: order::Refusal::NotFound,
                at: self.clock.now(),
            }),
        }
    }

    async fn look_at(&self, ctx: &Context, id: AgentId) -> Result<Option<Answer>, AppError> {
        let permit = self.admission.admit().map_err(AppError::Shed)?;
        let (port, answer): (Port, _) = oneshot::channel();
        match self.directory.look_at(id, permit, port) {
            Ok(()) => self.answer(ctx, answer).await.map(Some),
            Err(Unroutable::Gone) => Ok(None),
            Err(Unroutable::Quarantined) => Err(AppError::Quarantined),
        }
    }
}

fn cart_done(turn: Turn, replayed: bool) -> Result<Answered<CartDone>, AppError> {
    let Fact::Cart(fact) = turn.fact else {
        return Err(AppError::KeyReused);
    };
    Ok(Answered {
        body: CartDone {
            cart: Box::new(fact.cart),
            happened: fact.happened,
        },
        at: turn.at,
        replayed,
    })
}

fn order_done(turn: Turn, replayed: bool) -> Result<Answered<OrderDone>, AppError> {
    let Fact::Order(fact) = turn.fact else {
        return Err(AppError::KeyReused);
    };
    let refused = fact.happened.into_iter().find_map(|happened| {
        if let order::Happened::LinesRefused { lines } = happened {
            Some(lines)
        } else {
            None
        }
    });
    Ok(Answered {
        body: OrderDone {
            order: Box::new(fact.order),
            refused: refused.unwrap_or_default(),
        },
        at: turn.at,
        replayed,
    })
}
