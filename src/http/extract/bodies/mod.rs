//! The bodies of requests, one struct per shape of the contract, and what they mean to the domain.
mod bulk;
mod cart;
mod order;
mod policy;
mod reservation;
mod restore;
mod variant;

pub use bulk::{BulkActionWord, BulkBody, BulkLineBody, BulkLines, BulkModeWord, ReservationRefs};
pub use cart::{CartBody, CartExtendBody, CartItemBody, CheckoutBody, ItemBody, MergeBody, StrategyWord};
pub use order::{
    OrderCancelBody, OrderFulfilBody, OrderLineBody, OrderLines, OrderReturnBody, PaymentConfirmBody,
    after_sale_lines,
};
pub use policy::{
    CartLines, ExpiredLinesWord, Extensions, GuestLengthsBody, HoldLengthsBody, LimitsBody, PaymentBody,
    PolicyBody, Version, WindowDays,
};
pub use reservation::{
    ActionWord, AfterSaleBody, CleanupBody, ConfirmBody, ExtendBody, PhaseWord, QuantityBody,
    ReservationActionBody, ReserveBody, SaleBody, ValidateBody,
};
pub use restore::{HoldsWord, RestoreBody};
pub use variant::{
    AdjustmentBody, AvailabilityBody, ModeWord, PriceBody, StockBody, VariantBody, VariantPatchBody,
};

use super::member::{CartRef, CustomerRef, HandleRef, List, OrderRef, Seconds, SessionRef, Tag, VariantRef};
use crate::domain::ids::{CartId, OrderId};
use crate::domain::variant::Shopper;
use crate::http::problem::Problem;
use serde::de::DeserializeOwned;

/// The most lines of a bulk request, ids of a validation, variants of an availability question.
pub const LINES_MAX: usize = crate::domain::bulk::LINES_MAX;
/// The most tags of a variant.
pub const TAGS_MAX: usize = 32;

/// The tags of a variant.
pub type Tags = List<Tag, 0, TAGS_MAX>;
/// Which variants.
pub type VariantRefs = List<VariantRef, 1, LINES_MAX>;
/// Which reservations.
pub type HandleRefs = List<HandleRef, 1, LINES_MAX>;

/// Milliseconds in a second, for lengths that callers say in seconds.
const MS: i64 = 1000;

/// A body that a route takes.
pub trait Body: DeserializeOwned {
    /// Whether no body at all means an empty object.
    const OPTIONAL: bool = false;
    /// Whether the route only looks, so that no key is wanted.
    const READS: bool = false;
    /// Whether the limit of bulk requests goes for it.
    const BULK: bool = false;
    /// Whether its route takes parameters and judges them itself; elsewhere any parameter is refused.
    const PARAMS: bool = false;
}

/// What the OpenAPI document must know of a body beside its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyKind {
    /// The name of its schema.
    pub name: &'static str,
    /// As [`Body::OPTIONAL`].
    pub optional: bool,
    /// As [`Body::READS`].
    pub reads: bool,
}

macro_rules! bodies {
    ($($name:ident $({ $($constant:ident)* })?)*) => {
        $(impl Body for $name { $($(const $constant: bool = true;)*)? })*

        /// Every body of the contract.
        pub const BODIES: &[BodyKind] = &[$(BodyKind {
            name: stringify!($name),
            optional: <$name as Body>::OPTIONAL,
            reads: <$name as Body>::READS,
        },)*];
    };
}

bodies! {
    VariantBody VariantPatchBody StockBody AdjustmentBody AvailabilityBody { READS }
    ReserveBody ReservationActionBody QuantityBody SaleBody
    ExtendBody { OPTIONAL } ConfirmBody { OPTIONAL } AfterSaleBody { OPTIONAL }
    ValidateBody { BULK READS } BulkBody { BULK } CleanupBody { OPTIONAL } PolicyBody
    CartBody { OPTIONAL } ItemBody CartItemBody CartExtendBody { OPTIONAL } MergeBody CheckoutBody { OPTIONAL }
    RestoreBody
    PaymentConfirmBody OrderCancelBody { OPTIONAL } OrderFulfilBody { OPTIONAL } OrderReturnBody { OPTIONAL }
}

/// What one action of a body takes, beside the members that every action takes. The document says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Its word.
    pub action: &'static str,
    /// What it may take.
    pub members: &'static [&'static str],
    /// What of it must be there.
    pub needs: &'static [&'static str],
}

impl Takes {
    /// Refuses what another action would use, so that nothing is dropped in silence, and what is missing.
    fn check(&self, given: &[(&'static str, bool)]) -> Result<(), Problem> {
        let is_given = |name: &str| given.iter().any(|(member, given)| *member == name && *given);
        let unused = |name: &&str| !self.members.contains(name);
        let names = given.iter().map(|(member, _)| *member);
        if let Some(member) = names.filter(unused).find(|name| is_given(name)) {
            return Err(Problem::invalid_member(member, "to be absent with this action"));
        }
        match self.needs.iter().find(|name| !is_given(name)) {
            None => Ok(()),
            Some(member) => Err(Problem::invalid_member(
                *member,
                "a value; it is required with this action",
            )),
        }
    }
}

fn shopper(customer: Option<&CustomerRef>, session: Option<&SessionRef>, cart: Option<&CartRef>) -> Shopper {
    Shopper {
        customer: customer.map(|id| id.0.clone()),
        session: session.map(|id| id.0.clone()),
        cart: cart.map(|id| id.0.clone()),
    }
}

/// Refuses a shop's own id that begins as those made here do: it would be taken for one of ours.
fn expect_foreign(member: &'static str, id: Option<&str>, prefix: &'static str) -> Result<(), Problem> {
    match id {
        Some(id) if id.starts_with(prefix) => Err(Problem::invalid_member(
            member,
            format!("an id of the shop's own; those that begin with {prefix} are made here"),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a cart that is not the shop's own.
fn expect_foreign_cart(cart: Option<&CartRef>) -> Result<(), Problem> {
    expect_foreign("cartId", cart.map(|cart| cart.0.as_str()), CartId::PREFIX)
}

/// Refuses an order that is not the shop's own.
fn expect_foreign_order(order: Option<&OrderRef>) -> Result<(), Problem> {
    expect_foreign("orderId", order.map(|order| order.0.as_str()), OrderId::PREFIX)
}

/// A length of a hold in milliseconds.
pub fn millis(seconds: Option<Seconds>) -> Option<i64> {
    seconds.map(|seconds| seconds.0 * MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::body::parse;
    use proptest::prelude::*;

    /// Arbitrary bytes, and bytes near a good body: only a panic or a server's fault would be wrong.
    fn holds<T: Body>(bytes: &[u8]) {
        if let Err(problem) = parse::<T>(bytes) {
            assert!(problem.code().status().is_client_error());
            assert!(serde_json::to_vec(&problem.body("r")).is_ok());
        }
    }

    fn every_body_holds(bytes: &[u8]) {
        holds::<VariantBody>(bytes);
        holds::<VariantPatchBody>(bytes);
        holds::<StockBody>(bytes);
        holds::<AdjustmentBody>(bytes);
        holds::<AvailabilityBody>(bytes);
        holds::<ReserveBody>(bytes);
        holds::<SaleBody>(bytes);
        holds::<ReservationActionBody>(bytes);
        holds::<QuantityBody>(bytes);
        holds::<ExtendBody>(bytes);
        holds::<ConfirmBody>(bytes);
        holds::<AfterSaleBody>(bytes);
        holds::<ValidateBody>(bytes);
        holds::<BulkBody>(bytes);
        holds::<CleanupBody>(bytes);
        holds::<PolicyBody>(bytes);
        holds::<CartBody>(bytes);
        holds::<ItemBody>(bytes);
        holds::<CartItemBody>(bytes);
        holds::<CartExtendBody>(bytes);
        holds::<MergeBody>(bytes);
        holds::<CheckoutBody>(bytes);
        holds::<PaymentConfirmBody>(bytes);
        holds::<OrderCancelBody>(bytes);
        holds::<OrderFulfilBody>(bytes);
        holds::<OrderReturnBody>(bytes);
    }

    #[test]
    fn ids_that_begin_like_ours_are_refused_by_name() {
        let member = |checked: Result<(), Problem>| {
            let body = serde_json::to_value(checked.err()?.body("r")).ok()?;
            body["member"].as_str().map(str::to_owned)
        };
        let reserve = |cart: &str| {
            let text = format!(r#"{{"variantId":"1","quantity":1,"cartId":"{cart}"}}"#);
            member(parse::<ReserveBody>(text.as_bytes()).unwrap().check())
        };
        assert_eq!(
            (reserve("c1"), reserve("cart_1")),
            (None, Some("cartId".to_owned()))
        );
        let bulk = r#"{"action":"reserve","cartId":"cart_1","lines":[{"variantId":1,"quantity":1}]}"#;
        assert_eq!(
            member(parse::<BulkBody>(bulk.as_bytes()).unwrap().check()).as_deref(),
            Some("cartId")
        );
        let confirm = |order: &str| {
            let text = format!(r#"{{"orderId":"{order}"}}"#);
            member(parse::<ConfirmBody>(text.as_bytes()).unwrap().check())
        };
        assert_eq!(
            (confirm("o1"), confirm("ord_1")),
            (None, Some("orderId".to_owned()))
        );
        let act = r#"{"action":"confirm","reservationId":"r","orderId":"ord_1"}"#;
        assert_eq!(
            member(parse::<ReservationActionBody>(act.as_bytes()).unwrap().check()).as_deref(),
            Some("orderId")
        );
    }

    const SEEDS: [&str; 6] = [
        r#"{"variantId":"123","quantity":2,"cartId":"cart_1","campaign":"spring","fromCartId":"c","strategy":"max"}"#,
        r#"{"paymentReference":"p","amount":1,"currency":"USD","lines":[{"variantId":1}],"restock":false,"closeCart":true}"#,
        r#"{"variantId":"123","quantity":2,"customerId":7,"ttlSeconds":60,"allowPartial":true}"#,
        r#"{"id":"1","price":{"amount":1,"currency":"USD"},"tags":["a"],"attributes":{"a":"b"},"opensAt":"2026-11-21T00:00:00Z"}"#,
        r#"{"action":"reserve","mode":"best_effort","lines":[{"variantId":1,"quantity":1}],"reservationIds":["rsv_1"]}"#,
        r#"{"cart":{"ttlSeconds":1,"extensionSeconds":1,"maxExtensions":1},"payment":{"ttlSeconds":1},"limits":{"linesPerCart":1}}"#,
    ];

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_value_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            every_body_holds(&bytes);
        }

        #[test]
        fn a_damaged_body_is_a_value_or_a_refusal(
            seed in 0..SEEDS.len(),
            at in any::<prop::sample::Index>(),
            cut in 0..4_usize,
            patch in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let mut bytes = SEEDS[seed].as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes.splice(at..(at + cut).min(bytes.len()), patch);
            every_body_holds(&bytes);
        }
    }
}
