//! What a caller asks of one reservation.
use super::{HandleRefs, Takes, expect_foreign_cart, expect_foreign_order, shopper};
use crate::domain::variant::{Phase, Shopper};
use crate::http::extract::member::{
    CartRef, CustomerRef, HandleRef, OrderRef, Quantity, Seconds, SessionRef, VariantRef,
};
use crate::http::extract::shape::{foreign_cart, foreign_order};
use crate::http::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// A request to hold units.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"variantId": "123", "quantity": 2, "customerId": "u1"}))]
pub struct ReserveBody {
    /// Whose units.
    #[schema(inline)]
    pub variant_id: VariantRef,
    /// How many.
    #[schema(inline)]
    pub quantity: Quantity,
    /// For which customer.
    #[schema(inline)]
    pub customer_id: Option<CustomerRef>,
    /// For which guest.
    #[schema(inline)]
    pub session_id: Option<SessionRef>,
    /// For which cart.
    #[schema(schema_with = foreign_cart)]
    pub cart_id: Option<CartRef>,
    /// For how long; the variant's or the store's ttl without.
    #[schema(inline)]
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
#[schema(example = json!({"reservationId": "rsv_019aa4b5c2f07abc8000000740000001", "action": "extend", "seconds": 300}))]
pub struct ReservationActionBody {
    /// Which reservation.
    #[schema(inline)]
    pub reservation_id: HandleRef,
    /// What to do.
    pub action: ActionWord,
    /// For `confirm` (fewer: the rest is given back) and `update`.
    #[schema(inline)]
    pub quantity: Option<Quantity>,
    /// For `extend`.
    #[schema(inline)]
    pub seconds: Option<Seconds>,
    /// For `extend`.
    pub phase: Option<PhaseWord>,
    /// For `confirm`.
    #[schema(schema_with = foreign_order)]
    pub order_id: Option<OrderRef>,
}

impl ReservationActionBody {
    /// What each action takes.
    pub const ACTIONS: &[Takes] = &[
        Takes {
            action: "extend",
            members: &["seconds", "phase"],
            needs: &[],
        },
        Takes {
            action: "confirm",
            members: &["quantity", "orderId"],
            needs: &[],
        },
        Takes {
            action: "update",
            members: &["quantity"],
            needs: &["quantity"],
        },
    ];

    /// Refuses members that another action would use, and an update without its quantity.
    ///
    /// # Errors
    /// `invalid-member` naming the member.
    pub fn check(&self) -> Result<(), Problem> {
        let takes = match self.action {
            ActionWord::Extend => &Self::ACTIONS[0],
            ActionWord::Confirm => &Self::ACTIONS[1],
            ActionWord::Update => &Self::ACTIONS[2],
        };
        takes.check(&[
            ("quantity", self.quantity.is_some()),
            ("seconds", self.seconds.is_some()),
            ("phase", self.phase.is_some()),
            ("orderId", self.order_id.is_some()),
        ])?;
        expect_foreign_order(self.order_id.as_ref())
    }
}

/// A new quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"quantity": 3}))]
pub struct QuantityBody {
    /// Units from now on.
    #[schema(inline)]
    pub quantity: Quantity,
}

/// More time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"seconds": 300}))]
pub struct ExtendBody {
    /// How much; the store's extension without.
    #[schema(inline)]
    pub seconds: Option<Seconds>,
    /// Into which phase.
    pub phase: Option<PhaseWord>,
}

/// A sale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"orderId": "A-1042"}))]
pub struct ConfirmBody {
    /// Fewer than held: the rest is given back. All without.
    #[schema(inline)]
    pub quantity: Option<Quantity>,
    /// The shop's order.
    #[schema(schema_with = foreign_order)]
    pub order_id: Option<OrderRef>,
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

/// A sale that was made already.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"variantId": "123", "quantity": 2, "customerId": "u1", "orderId": "A-1042"}))]
pub struct SaleBody {
    /// Whose units.
    #[schema(inline)]
    pub variant_id: VariantRef,
    /// How many.
    #[schema(inline)]
    pub quantity: Quantity,
    /// To which customer.
    #[schema(inline)]
    pub customer_id: Option<CustomerRef>,
    /// To which guest.
    #[schema(inline)]
    pub session_id: Option<SessionRef>,
    /// From which cart.
    #[schema(schema_with = foreign_cart)]
    pub cart_id: Option<CartRef>,
    /// The shop's order.
    #[schema(schema_with = foreign_order)]
    pub order_id: Option<OrderRef>,
}

impl SaleBody {
    /// Refuses a cart or an order made here: they sell by themselves.
    ///
    /// # Errors
    /// `invalid-member` naming it.
    pub fn check(&self) -> Result<(), Problem> {
        expect_foreign_cart(self.cart_id.as_ref())?;
        expect_foreign_order(self.order_id.as_ref())
    }

    /// To whom.
    pub fn shopper(&self) -> Shopper {
        shopper(
            self.customer_id.as_ref(),
            self.session_id.as_ref(),
            self.cart_id.as_ref(),
        )
    }
}

/// What becomes of sold units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"quantity": 1, "restock": true}))]
pub struct AfterSaleBody {
    /// Units; all that remain without.
    #[schema(inline)]
    pub quantity: Option<Quantity>,
    /// Whether they can be sold again; true without. Means nothing to shipped units.
    pub restock: Option<bool>,
}

/// Which reservations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"reservationIds": ["rsv_019aa4b5c2f07abc8000000740000001"]}))]
pub struct ValidateBody {
    /// 1 to 200 ids.
    #[schema(inline)]
    pub reservation_ids: HandleRefs,
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
#[schema(example = json!({"dryRun": true}))]
pub struct CleanupBody {
    /// Whether to count only.
    pub dry_run: Option<bool>,
}
