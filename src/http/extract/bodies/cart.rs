//! What a shopper asks of a cart.
use crate::app::{NewItem, Whose};
use crate::domain::cart::MergeStrategy;
use crate::domain::ids::CartId;
use crate::http::extract::member::{
    CartRef, CustomerRef, Label, Quantity, Seconds, SessionRef, Text, VariantRef,
};
use serde::Deserialize;
use utoipa::ToSchema;

/// A new cart; without a customer it is a guest's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sessionId": "s1"}))]
pub struct CartBody {
    /// Whose; a customer who has an active cart gets that.
    #[schema(inline)]
    pub customer_id: Option<CustomerRef>,
    /// The guest's browser session.
    #[schema(inline)]
    pub session_id: Option<SessionRef>,
}

impl CartBody {
    /// Whose it will be.
    pub fn whose(self) -> Whose {
        Whose {
            customer: self.customer_id.map(|id| id.0),
            session: self.session_id.map(|id| id.0),
        }
    }
}

/// Units for a cart, which may be one to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"variantId": "123", "quantity": 2, "sessionId": "s1"}))]
pub struct ItemBody {
    /// Whose units.
    #[schema(inline)]
    pub variant_id: VariantRef,
    /// How many; where the cart has some already, so many more.
    #[schema(inline)]
    pub quantity: Quantity,
    /// Which cart; the customer's active one, or a new one, without.
    #[schema(inline)]
    pub cart_id: Option<CartRef>,
    /// For a cart to be found or made: whose.
    #[schema(inline)]
    pub customer_id: Option<CustomerRef>,
    /// For a cart to be made: the guest's browser session.
    #[schema(inline)]
    pub session_id: Option<SessionRef>,
    /// The campaign it is added from.
    #[schema(inline)]
    pub campaign: Option<Label>,
}

impl ItemBody {
    /// What is added, to which cart if one is named, and whose a cart to be made is.
    pub fn split(self) -> (NewItem, Option<CartId>, Whose) {
        let item = NewItem {
            variant: self.variant_id.0,
            quantity: self.quantity.as_u32(),
            campaign: self.campaign.map(|Text(campaign)| campaign),
        };
        let whose = Whose {
            customer: self.customer_id.map(|id| id.0),
            session: self.session_id.map(|id| id.0),
        };
        (item, self.cart_id.map(|id| id.0), whose)
    }
}

/// Units for the cart in the address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"variantId": "123", "quantity": 2}))]
pub struct CartItemBody {
    /// Whose units.
    #[schema(inline)]
    pub variant_id: VariantRef,
    /// How many; where the cart has some already, so many more.
    #[schema(inline)]
    pub quantity: Quantity,
    /// The campaign it is added from.
    #[schema(inline)]
    pub campaign: Option<Label>,
}

impl From<CartItemBody> for NewItem {
    fn from(body: CartItemBody) -> Self {
        Self {
            variant: body.variant_id.0,
            quantity: body.quantity.as_u32(),
            campaign: body.campaign.map(|Text(campaign)| campaign),
        }
    }
}

/// More time for every line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"seconds": 300}))]
pub struct CartExtendBody {
    /// How much; the store's extension without.
    #[schema(inline)]
    pub seconds: Option<Seconds>,
}

/// Whose quantity counts where both carts have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyWord {
    /// Both together.
    Sum,
    /// The larger.
    Max,
    /// This cart's own.
    Keep,
}

impl From<StrategyWord> for MergeStrategy {
    fn from(word: StrategyWord) -> Self {
        match word {
            StrategyWord::Sum => Self::Sum,
            StrategyWord::Max => Self::Max,
            StrategyWord::Keep => Self::Keep,
        }
    }
}

/// Another cart to be taken over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"fromCartId": "cart_019aa4b5c2f07abc8000000740000001", "strategy": "sum"}))]
pub struct MergeBody {
    /// Which.
    #[schema(inline)]
    pub from_cart_id: CartRef,
    /// Its token; a caller with a key needs none.
    #[schema(inline)]
    pub cart_token: Option<Label>,
    /// Whose quantities count; `sum` without.
    pub strategy: Option<StrategyWord>,
}

/// A checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"customerId": "u1"}))]
pub struct CheckoutBody {
    /// The customer, if the shopper is known by now.
    #[schema(inline)]
    pub customer_id: Option<CustomerRef>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::body::parse;

    #[test]
    fn a_line_says_what_where_and_whose() {
        let text = br#"{"variantId":123,"quantity":2,"customerId":7,"campaign":"spring"}"#;
        let (item, cart, whose) = parse::<ItemBody>(text).unwrap().split();
        assert_eq!(
            (item.variant.as_str(), item.quantity, item.campaign.as_deref()),
            ("123", 2, Some("spring"))
        );
        assert_eq!(cart, None);
        assert_eq!((whose.customer.unwrap().as_str(), whose.session), ("7", None));
        let named = parse::<ItemBody>(br#"{"variantId":"a","quantity":1,"cartId":"cart_1"}"#).unwrap();
        assert_eq!(named.split().1.unwrap().as_str(), "cart_1");
    }

    #[test]
    fn unknown_and_impossible_members_are_refused_by_name() {
        let member = |told: Result<(), crate::http::problem::Problem>| {
            let body = serde_json::to_value(told.unwrap_err().body("r")).unwrap();
            body["member"].as_str().unwrap().to_owned()
        };
        for (text, expected) in [
            (r#"{"variantId":"1"}"#, "quantity"),
            (r#"{"variantId":"1","quantity":0}"#, "quantity"),
            (r#"{"variantId":"1","quantity":1,"campaign":""}"#, "campaign"),
            (r#"{"variantId":"1","quantity":1,"cartID":"c"}"#, "cartID"),
        ] {
            assert_eq!(
                member(parse::<ItemBody>(text.as_bytes()).map(drop)),
                expected,
                "{text}"
            );
        }
        let text = br#"{"variantId":"1","quantity":1,"cartId":"c"}"#;
        assert_eq!(member(parse::<CartItemBody>(text).map(drop)), "cartId");
        assert_eq!(
            member(parse::<MergeBody>(br#"{"fromCartId":"c","strategy":"add"}"#).map(drop)),
            "strategy"
        );
    }
}
