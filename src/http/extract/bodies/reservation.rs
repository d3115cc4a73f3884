//! What a caller asks of one reservation.
use super::{LINES_MAX, expect_foreign_cart, expect_foreign_order, shopper};
use crate::domain::ids::{CartId, CustomerId, OrderId, SessionId, VariantId};
use crate::domain::variant::{Phase, Shopper};
use crate::http::extract::member::{Handle, Id, List, Quantity, Seconds};
use crate::http::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// A request to hold units.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"variantId": "123", "quantity": 2, "customerId": "u1"}))]
pub struct ReserveBody {
    /// Whose units.
    #[schema(value_type = String, max_length = 128)]
    pub variant_id: Id<VariantId>,
    /// How many.
    #[schema(value_type = u32, minimum = 1, maximum = 1_000_000_000)]
    pub quantity: Quantity,
    /// For which customer.
    #[schema(value_type = Option<String>, max_length = 128)]
    pub customer_id: Option<Id<CustomerId>>,
    /// For which guest.
    #[schema(value_type = Option<String>, max_length = 128)]
    pub session_id: Option<Id<SessionId>>,
    /// For which cart.
    #[schema(value_type = Option<String>, max_length = 128)]
    pub cart_id: Option<Id<CartId>>,
    /// For how long; the variant's or the store's ttl without.
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub ttl_seconds: Option<Seconds>,
    /// Whether fewer units are welcome.
    pub allow_partial: Option<bool>,
}

impl ReserveBody {
    /// Refuses a cart made here: its holds are its own business.
    ///
    /// # Errors
    /// `invalid-member` naming the cart.
    pub fn check(&self) -> Result<(), Problem> {
        expect_foreign_cart(self.cart_id.as_ref())
    }

    /// For whom.
    pub fn shopper(&self) -> Shopper {
        shopper(
            self.customer_id.as_ref(),
            self.session_id.as_ref(),
            self.cart_id.as_ref(),
        )
    }
}

/// What a PUT on the collection does to one reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionWord {
    /// As POST `/{id}/extend`.
    Extend,
    /// As POST `/{id}/confirm`.
    Confirm,
    /// As PATCH `/{id}`.
    Update,
}

/// One of the routes below, with its id in the body.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReservationActionBody {
    /// Which reservation.
    #[schema(value_type = String)]
    pub reservation_id: Id<Handle>,
    /// What to do.
    pub action: ActionWord,
    /// For `confirm` (fewer: the rest is given back) and `update`.
    #[schema(value_type = Option<u32>)]
    pub quantity: Option<Quantity>,
    /// For `extend`.
    #[schema(value_type = Option<u64>)]
    pub seconds: Option<Seconds>,
    /// For `extend`.
    pub phase: Option<PhaseWord>,
    /// For `confirm`.
    #[schema(value_type = Option<String>)]
    pub order_id: Option<Id<OrderId>>,
}

impl ReservationActionBody {
    /// Refuses members that another action would use: they would be dropped in silence.
    ///
    /// # Errors
    /// `invalid-member` naming the first of them, or the quantity that an update needs.
    pub fn check(&self) -> Result<(), Problem> {
        let (quantity, extends, order) = match self.action {
            ActionWord::Extend => (false, true, false),
            ActionWord::Confirm => (true, false, true),
            ActionWord::Update => (true, false, false),
        };
        let given = [
            ("quantity", self.quantity.is_some(), quantity),
            ("seconds", self.seconds.is_some(), extends),
            ("phase", self.phase.is_some(), extends),
            ("orderId", self.order_id.is_some(), order),
        ];
        if let Some((member, ..)) = given.iter().find(|(_, given, used)| *given && !*used) {
            return Err(Problem::invalid_member(*member, "to be absent with this action"));
        }
        if self.action == ActionWord::Update && self.quantity.is_none() {
            return Err(Problem::invalid_member(
                "quantity",
                "a value; it is required with this action",
            ));
        }
        expect_foreign_order(self.order_id.as_ref())
    }
}

/// A new quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantityBody {
    /// Units from now on.
    #[schema(value_type = u32, minimum = 1)]
    pub quantity: Quantity,
}

/// More time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtendBody {
    /// How much; the store's extension without.
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub seconds: Option<Seconds>,
    /// Into which phase.
    pub phase: Option<PhaseWord>,
}

/// A sale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmBody {
    /// Fewer than held: the rest is given back. All without.
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub quantity: Option<Quantity>,
    /// The shop's order.
    #[schema(value_type = Option<String>)]
    pub order_id: Option<Id<OrderId>>,
}

impl ConfirmBody {
    /// Refuses an order made here: it confirms its reservations itself.
    ///
    /// # Errors
    /// `invalid-member` naming the order.
    pub fn check(&self) -> Result<(), Problem> {
        expect_foreign_order(self.order_id.as_ref())
    }
}

/// What becomes of sold units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterSaleBody {
    /// Units; all that remain without.
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub quantity: Option<Quantity>,
    /// Whether they can be sold again; true without. Means nothing to shipped units.
    pub restock: Option<bool>,
}

/// Which reservations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidateBody {
    /// 1 to 200 ids.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 200)]
    pub reservation_ids: List<Id<Handle>, 1, LINES_MAX>,
}

/// Which part of the shopper's way a hold covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseWord {
    /// Shopping.
    Cart,
    /// Paying.
    Payment,
}

impl From<PhaseWord> for Phase {
    fn from(word: PhaseWord) -> Self {
        match word {
            PhaseWord::Cart => Self::Cart,
            PhaseWord::Payment => Self::Payment,
        }
    }
}

/// A clean-up of holds that are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CleanupBody {
    /// Whether to count only.
    pub dry_run: Option<bool>,
}
