//! A store's policy.
use super::MS;
use crate::domain::policy::LINES_PER_CART_MAX;
use crate::domain::policy::{ExpiredLines, HoldLengths, Limits, Policy};
use crate::http::extract::body::Object;
use crate::http::extract::member::{Quantity, SECONDS_MAX, Seconds, Whole};
use crate::http::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// How often a hold may be extended.
pub type Extensions = Whole<0, 255>;
/// Lines in one cart.
pub type CartLines = Whole<1, { LINES_PER_CART_MAX as i64 }>;
/// Days over which purchases count.
pub type WindowDays = Whole<1, 36_500>;
/// The version of a policy.
pub type Version = Whole<0, { i64::MAX }>;

/// Lengths of holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldLengthsBody {
    /// A new hold's length.
    #[schema(inline)]
    pub ttl_seconds: Seconds,
    /// One extension's length.
    #[schema(inline)]
    pub extension_seconds: Seconds,
    /// How often a hold may be extended.
    #[schema(inline)]
    pub max_extensions: Extensions,
}

/// Lengths of guests' holds; what is absent is as for customers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestLengthsBody {
    /// A new hold's length.
    #[schema(inline)]
    pub ttl_seconds: Option<Seconds>,
    /// One extension's length.
    #[schema(inline)]
    pub extension_seconds: Option<Seconds>,
    /// How often a hold may be extended.
    #[schema(inline)]
    pub max_extensions: Option<Extensions>,
}

/// Checkouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PaymentBody {
    /// How long a checkout may await its payment.
    #[schema(inline)]
    pub ttl_seconds: Seconds,
}

/// Unit limits; absent or null is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsBody {
    /// Units in one order.
    #[schema(inline)]
    pub units_per_order: Option<Quantity>,
    /// Units of one variant for one customer.
    #[schema(inline)]
    pub units_per_customer_per_variant: Option<Quantity>,
    /// Lines in one cart.
    #[schema(inline)]
    pub lines_per_cart: CartLines,
    /// Over how many days purchases count.
    #[schema(inline)]
    pub window_days: Option<WindowDays>,
}

/// What becomes of a cart line whose hold expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiredLinesWord {
    /// It stays, marked expired.
    Keep,
    /// It leaves the cart.
    Remove,
}

/// A whole policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"cart": {"ttlSeconds": 900, "extensionSeconds": 900, "maxExtensions": 3}, "payment": {"ttlSeconds": 2100}, "limits": {"linesPerCart": 100}, "cartIdleSeconds": 86400, "maxTtlSeconds": 86400, "expiredLines": "keep"}))]
pub struct PolicyBody {
    /// Holds of customers.
    #[schema(value_type = HoldLengthsBody)]
    pub cart: Object<HoldLengthsBody>,
    /// Holds without a customer id.
    #[schema(value_type = Option<GuestLengthsBody>)]
    pub guest: Option<Object<GuestLengthsBody>>,
    /// Checkouts.
    #[schema(value_type = PaymentBody)]
    pub payment: Object<PaymentBody>,
    /// Unit limits.
    #[schema(value_type = LimitsBody)]
    pub limits: Object<LimitsBody>,
    /// A cart left alone this long is abandoned.
    #[schema(inline)]
    pub cart_idle_seconds: Seconds,
    /// The longest ttl a caller may ask for.
    #[schema(inline)]
    pub max_ttl_seconds: Seconds,
    /// What becomes of expired cart lines.
    pub expired_lines: ExpiredLinesWord,
    /// Taken so that an answer can be edited and sent back; If-Match says which version is meant.
    #[schema(inline)]
    pub version: Option<Version>,
}

impl PolicyBody {
    /// The policy it says; the version is the app's to give.
    ///
    /// # Errors
    /// `invalid-member` when a ttl is longer than the longest.
    pub fn policy(&self) -> Result<Policy, Problem> {
        let (cart, guest, limits) = (self.cart.0, self.guest.unwrap_or_default().0, self.limits.0);
        let guest = HoldLengthsBody {
            ttl_seconds: guest.ttl_seconds.unwrap_or(cart.ttl_seconds),
            extension_seconds: guest.extension_seconds.unwrap_or(cart.extension_seconds),
            max_extensions: guest.max_extensions.unwrap_or(cart.max_extensions),
        };
        for (member, ttl) in [
            ("cart.ttlSeconds", cart.ttl_seconds),
            ("guest.ttlSeconds", guest.ttl_seconds),
        ] {
            if ttl.0 > self.max_ttl_seconds.0 {
                return Err(Problem::invalid_member(member, "at most maxTtlSeconds"));
            }
        }
        Ok(Policy {
            cart: lengths(cart),
            guest: lengths(guest),
            payment_ttl_ms: self.payment.0.ttl_seconds.0 * MS,
            limits: Limits {
                units_per_order: limits.units_per_order.map(Quantity::as_u32),
                units_per_customer_per_variant: limits.units_per_customer_per_variant.map(Quantity::as_u32),
                lines_per_cart: limits.lines_per_cart.as_u32(),
                window_days: limits.window_days.map(Whole::as_u32),
            },
            cart_idle_ms: self.cart_idle_seconds.0 * MS,
            max_ttl_ms: self.max_ttl_seconds.0 * MS,
            expired_lines: match self.expired_lines {
                ExpiredLinesWord::Keep => ExpiredLines::Keep,
                ExpiredLinesWord::Remove => ExpiredLines::Remove,
            },
            version: 0,
        })
    }
}

const _: () = assert!(
    SECONDS_MAX < i64::MAX / MS,
    "a length in seconds fits in milliseconds"
);

fn lengths(body: HoldLengthsBody) -> HoldLengths {
    HoldLengths {
        ttl_ms: body.ttl_seconds.0 * MS,
        extension_ms: body.extension_seconds.0 * MS,
        max_extensions: u8::try_from(body.max_extensions.0).expect("the type's limits fit in u8"),
    }
}
