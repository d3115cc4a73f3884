//! Carts: make, fill, change, extend, merge, check out, look at.
//!
//! What can be known before a cart is asked (its variant, its version) is judged here, unless the command's key brings back
//! an earlier answer: a repeat is answered by its record, whatever became of cart and variant since.
use super::{
    Answered, AppError, CartDone, Context, Keyed, Shop,
    bulk::{NOBODY, nobodys, unknown_variant},
    reservations::count,
};
use crate::{
    clock::Stopwatch,
    domain::{
        cart::{Cart, Command, Happened, LineId, MergeStrategy, Refusal},
        ids::{CartId, CustomerId, OrderId, ReservationId, SessionId, Slot, VariantId},
        order::Order,
    },
    telemetry::metrics::{Operation, Outcome},
};

/// How often the cart of a customer is looked up again because it ended between being found and being asked.
const LOOKUPS_MAX: usize = 3;

/// Whose a new cart is; nobody's is a guest's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// A customer of the shop.
    pub customer: Option<CustomerId>,
    /// A browser session.
    pub session: Option<SessionId>,
}

/// Units to be put into a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// Of which variant.
    pub variant: VariantId,
    /// How many, at least 1.
    pub quantity: u32,
    /// The campaign they are added from.
    pub campaign: Option<String>,
}

impl CartDone {
    /// Whether the command made the cart.
    pub fn created(&self) -> bool {
        self.happened.contains(&Happened::Created)
    }
}

impl Shop {
    /// The token that lets a guest act on this cart.
    pub fn cart_token(&self, cart: &CartId) -> String {
        self.tokens.of(cart)
    }

    /// Whether `shown` is the cart's token.
    pub fn is_cart_token(&self, cart: &CartId, shown: &str) -> bool {
        self.tokens.is_of(cart, shown)
    }

    /// Makes a cart; a customer who has an active one gets that.
    ///
    /// # Errors
    /// A refusal, or an error of the way.
    pub async fn create_cart(&self, ctx: &Context, whose: Whose) -> Result<Answered<CartDone>, AppError> {
        let Whose { customer, session } = whose;
        let command = Command::Create {
            customer: customer.clone(),
            session,
            policy: self.policies.of(&ctx.store),
        };
        self.ask_new_cart(ctx, customer.as_ref(), command).await
    }

    /// Puts units into a cart that is there.
    ///
    /// # Errors
    /// No such cart or variant, a stale version, another refusal, or an error of the way.
    pub async fn add_item(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
        item: NewItem,
    ) -> Result<Answered<CartDone>, AppError> {
        let begun = Stopwatch::start();
        let done = async {
            // An unknown cart must not come into being under an id that somebody made up.
            let standing = self.standing(ctx, cart).await;
            self.unless_known(ctx, standing).await?;
            let command = self.add(ctx, Whose::default(), item).await?;
            self.ask_cart(ctx, cart, expected, command).await
        };
        counted(Operation::Cart, begun, done.await)
    }

    /// Puts units into the customer's active cart, or into a new one.
    ///
    /// # Errors
    /// No such variant, another refusal, or an error of the way.
    pub async fn add_item_to_new_cart(
        &self,
        ctx: &Context,
        whose: Whose,
        item: NewItem,
    ) -> Result<Answered<CartDone>, AppError> {
        let customer = whose.customer.clone();
        let command = self.add(ctx, whose, item).await?;
        self.ask_new_cart(ctx, customer.as_ref(), command).await
    }

    /// Changes a line's units; one whose hold ended is held again.
    ///
    /// # Errors
    /// No such cart or line, a stale version, another refusal, or an error of the way.
    pub async fn change_item(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
        line: LineId,
        quantity: u32,
    ) -> Result<Answered<CartDone>, AppError> {
        let begun = Stopwatch::start();
        let done = async {
            let standing = self.standing(ctx, cart).await;
            let room = standing.and_then(|cart| self.room_of_line(ctx, &cart, line));
            let room = self.unless_known(ctx, room).await?;
            let command = Command::Change {
                line,
                quantity,
                reservation: room
                    .unwrap_or_else(|| nobodys(&ctx.store, &unknown_variant(), self.clock.now())),
                policy: self.policies.of(&ctx.store),
            };
            self.ask_cart(ctx, cart, expected, command).await
        };
        counted(Operation::Cart, begun, done.await)
    }

    /// Takes a line out and gives its units back.
    ///
    /// # Errors
    /// No such cart or line, a stale version, another refusal, or an error of the way.
    pub async fn remove_item(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
        line: LineId,
    ) -> Result<Answered<CartDone>, AppError> {
        self.act_on_cart(ctx, cart, expected, Command::Remove { line })
            .await
    }

    /// Ends a cart and gives everything back. One that was ended so before is ended.
    ///
    /// # Errors
    /// No such cart, a stale version, another refusal, or an error of the way.
    pub async fn delete_cart(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
    ) -> Result<Answered<CartDone>, AppError> {
        self.act_on_cart(ctx, cart, expected, Command::Delete).await
    }

    /// Moves the deadline of every line.
    ///
    /// # Errors
    /// No such cart, a stale version, no line that can be extended, another refusal, or an error of the way.
    pub async fn extend_cart(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
        by_ms: Option<i64>,
    ) -> Result<Answered<CartDone>, AppError> {
        let policy = self.policies.of(&ctx.store);
        self.act_on_cart(ctx, cart, expected, Command::Extend { by_ms, policy })
            .await
    }

    /// Takes over the lines of another cart.
    ///
    /// # Errors
    /// No such cart, a stale version, carts that cannot be merged, or an error of the way.
    pub async fn merge_carts(
        &self,
        ctx: &Context,
        into: &CartId,
        expected: Option<u64>,
        from: CartId,
        strategy: MergeStrategy,
    ) -> Result<Answered<CartDone>, AppError> {
        let policy = self.policies.of(&ctx.store);
        let merge = Command::Merge {
            from,
            strategy,
            policy,
        };
        self.act_on_cart(ctx, into, expected, merge).await
    }

    /// Has an order made of a cart; it awaits its payment.
    ///
    /// # Errors
    /// No such cart, a stale version, lines that cannot be had, another refusal, or an error of the way.
    pub async fn check_out(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
        customer: Option<CustomerId>,
    ) -> Result<Answered<Box<Order>>, AppError> {
        let slot = cart.slot().unwrap_or(Slot::of_cart(0));
        let checkout = Command::Checkout {
            order: OrderId::made(self.clock.now(), slot, fastrand::u64(..)),
            customer,
            grace_ms: self.config.payment.grace.as_millis(),
            policy: self.policies.of(&ctx.store),
        };
        let Answered { body, at, replayed } = self.act_on_cart(ctx, cart, expected, checkout).await?;
        let order = body.happened.into_iter().find_map(|happened| {
            if let Happened::CheckedOut(order) = happened {
                Some(order)
            } else {
                None
            }
        });
        Ok(Answered {
            // Another kind of command under the same key had another fingerprint, so this record is a checkout's.
            body: order.ok_or_else(|| AppError::bug("a checkout's record has no order"))?,
            at,
            replayed,
        })
    }

    /// A cart as it stands.
    ///
    /// # Errors
    /// No such cart, or an error of the way.
    pub async fn get_cart(&self, ctx: &Context, cart: &CartId) -> Result<Answered<Box<Cart>>, AppError> {
        self.made_here(cart)?;
        self.look_at_cart(ctx, cart).await
    }

    /// One command to a cart that is there.
    async fn act_on_cart(
        &self,
        ctx: &Context,
        cart: &CartId,
        expected: Option<u64>,
        command: Command,
    ) -> Result<Answered<CartDone>, AppError> {
        let begun = Stopwatch::start();
        let done = async {
            self.made_here(cart)?;
            self.ask_cart(ctx, cart, expected, command).await
        };
        counted(Operation::Cart, begun, done.await)
    }

    /// One command to the active cart of a customer or to a new one. The key's record names the cart it made, so that a
    /// repeat comes back to it whatever id is drawn here.
    async fn ask_new_cart(
        &self,
        ctx: &Context,
        customer: Option<&CustomerId>,
        command: Command,
    ) -> Result<Answered<CartDone>, AppError> {
        let begun = Stopwatch::start();
        let done = async {
            if self.disk_is_low() {
                return Err(AppError::DiskReserve);
            }
            let fresh = self.fresh_cart(ctx);
            for _ in 1..LOOKUPS_MAX {
                match self.ask_cart_of(ctx, customer, &fresh, command.clone()).await {
                    // It ended between being found and being asked: find the next one.
                    Err(AppError::CartRefused { refusal, .. }) if has_ended(&refusal) => {}
                    done => return done,
                }
            }
            self.ask_cart_of(ctx, customer, &fresh, command).await
        };
        counted(Operation::Cart, begun, done.await)
    }

    /// An id for a cart to be made; its slot is that of the creation key (decisions 10).
    fn fresh_cart(&self, ctx: &Context) -> CartId {
        let hash = ctx.key.map_or_else(
            || fastrand::u64(..),
            |key| u64::from_be_bytes(*key.hash.0.first_chunk().expect("a key's hash has 16 bytes")),
        );
        CartId::made(self.clock.now(), Slot::of_cart(hash), fastrand::u64(..))
    }

    async fn add(&self, ctx: &Context, whose: Whose, item: NewItem) -> Result<Command, AppError> {
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let now = self.clock.now();
        let entry = self.variant(ctx, &item.variant);
        let room = entry.map(|entry| (entry.ordinal, entry.new_reservation(now)));
        let room = self.unless_known(ctx, room).await?;
        let (ordinal, reservation) =
            room.unwrap_or_else(|| (NOBODY, nobodys(&ctx.store, &item.variant, now)));
        let NewItem {
            variant,
            quantity,
            campaign,
        } = item;
        Ok(Command::Add {
            customer: whose.customer,
            session: whose.session,
            variant,
            ordinal,
            quantity,
            campaign,
            reservation,
            policy: self.policies.of(&ctx.store),
        })
    }

    fn room_of_line(&self, ctx: &Context, cart: &Cart, line: LineId) -> Result<ReservationId, AppError> {
        let found = cart.lines.iter().find(|kept| kept.id == line);
        let found = found.ok_or_else(|| self.cart_refused(Refusal::LineNotFound { line }))?;
        let entry = self.variant(ctx, &found.variant)?;
        Ok(entry.new_reservation(self.clock.now()))
    }

    /// The cart as it stands.
    async fn standing(&self, ctx: &Context, cart: &CartId) -> Result<Box<Cart>, AppError> {
        Ok(self.get_cart(ctx, cart).await?.body)
    }

    /// What was judged before the cart is asked; `None` in place of a no when the command's key is known: then the cart is
    /// asked for the earlier answer only.
    async fn unless_known<T>(
        &self,
        ctx: &Context,
        judged: Result<T, AppError>,
    ) -> Result<Option<T>, AppError> {
        match judged {
            Ok(judged) => Ok(Some(judged)),
            // A fresh claim dies here; a refusal is not remembered.
            Err(_) if matches!(self.claim(ctx).await?, Keyed::Known(_)) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// Carts are made here; a shop's own cart id names holds, not a cart.
    fn made_here(&self, cart: &CartId) -> Result<(), AppError> {
        let made = cart.bits().map(drop);
        made.ok_or_else(|| self.cart_refused(Refusal::NotFound))
    }

    fn cart_refused(&self, refusal: Refusal) -> AppError {
        AppError::CartRefused {
            refusal,
            at: self.clock.now(),
        }
    }
}

const fn has_ended(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NotFound | Refusal::Ordered { .. } | Refusal::Merged { .. } | Refusal::Abandoned
    )
}

/// Counts a command that is not logged anew, and its time; what is logged is counted where it becomes durable.
pub(super) fn counted<T>(
    operation: Operation,
    begun: Stopwatch,
    done: Result<Answered<T>, AppError>,
) -> Result<Answered<T>, AppError> {
    let outcome = match &done {
        Ok(Answered { replayed: false, .. }) => None,
        Ok(Answered { replayed: true, .. }) => Some(Outcome::Repeated),
        Err(error) => Some(error.outcome()),
    };
    count(operation, outcome, begun, done.as_ref().err());
    done
}
