//! What a shop says about an order.
use super::LINES_MAX;
use crate::app::PaidAsk;
use crate::domain::order::AfterSaleLine;
use crate::http::extract::body::Object;
use crate::http::extract::member::{Amount, CurrencyCode, Handle, HandleRef, Id, List, Quantity, VariantRef};
use crate::http::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// A payment that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"paymentReference": "pay_1", "amount": 5198, "currency": "USD"}))]
pub struct PaymentConfirmBody {
    /// The payment's id at whoever took it: the same for browser and webhook.
    #[schema(inline)]
    pub payment_reference: HandleRef,
    /// What was paid, minor units; judged if it is given.
    #[schema(inline)]
    pub amount: Option<Amount>,
    /// In which currency; judged if it is given.
    #[schema(value_type = Option<String>, pattern = "^[A-Z]{3}$")]
    pub currency: Option<CurrencyCode>,
}

impl From<PaymentConfirmBody> for PaidAsk {
    fn from(body: PaymentConfirmBody) -> Self {
        let Id(Handle(reference)) = body.payment_reference;
        Self {
            reference,
            amount: body.amount.map(|amount| amount.0),
            currency: body.currency.map(|currency| currency.0),
        }
    }
}

/// Units of one line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderLineBody {
    /// Which line.
    #[schema(inline)]
    pub variant_id: VariantRef,
    /// How many; all that can without.
    #[schema(inline)]
    pub quantity: Option<Quantity>,
}

/// The lines of an order that something happens to.
pub type OrderLines = List<Object<OrderLineBody>, 1, LINES_MAX>;

/// A cancellation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"restock": true}))]
pub struct OrderCancelBody {
    /// Which lines; all without.
    #[schema(inline)]
    pub lines: Option<OrderLines>,
    /// Whether the units can be sold again; true without.
    pub restock: Option<bool>,
    /// While the payment is awaited: end the cart too, instead of giving it back to the shopper.
    pub close_cart: Option<bool>,
}

/// A shipment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"lines": [{"variantId": "123", "quantity": 1}]}))]
pub struct OrderFulfilBody {
    /// Which lines; all without.
    #[schema(inline)]
    pub lines: Option<OrderLines>,
}

/// A return.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"lines": [{"variantId": "123", "quantity": 1}], "restock": true}))]
pub struct OrderReturnBody {
    /// Which lines; all without.
    #[schema(inline)]
    pub lines: Option<OrderLines>,
    /// Whether the units can be sold again; true without.
    pub restock: Option<bool>,
}

/// The lines named, each once: an order has one line for each variant.
///
/// # Errors
/// `invalid-member` naming the second mention of a variant.
pub fn after_sale_lines(lines: Option<OrderLines>) -> Result<Option<Vec<AfterSaleLine>>, Problem> {
    let Some(List(lines)) = lines else {
        return Ok(None);
    };
    let mut named: Vec<AfterSaleLine> = Vec::with_capacity(lines.len());
    for (index, Object(line)) in lines.into_iter().enumerate() {
        let line = AfterSaleLine {
            variant: line.variant_id.0,
            quantity: line.quantity.map(Quantity::as_u32),
        };
        if named.iter().any(|earlier| earlier.variant == line.variant) {
            let member = format!("lines[{index}].variantId");
            return Err(Problem::invalid_member(member, "each variant once"));
        }
        named.push(line);
    }
    Ok(Some(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::body::parse;

    #[test]
    fn a_payment_is_named_by_text_or_number() {
        let body: PaymentConfirmBody =
            parse(br#"{"paymentReference":17,"amount":5198,"currency":"USD"}"#).unwrap();
        let paid = PaidAsk::from(body);
        assert_eq!((paid.reference.as_str(), paid.amount), ("17", Some(5198)));
        assert_eq!(paid.currency.unwrap().as_str(), "USD");
        for refused in [
            "{}",
            r#"{"paymentReference":""}"#,
            r#"{"paymentReference":"p","amount":-1}"#,
            r#"{"paymentReference":"p","currency":"usd"}"#,
            r#"{"paymentReference":"p","paid":true}"#,
        ] {
            assert!(
                parse::<PaymentConfirmBody>(refused.as_bytes()).is_err(),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_line_is_named_once() {
        let lines = |text: &str| {
            let body: OrderFulfilBody = parse(text.as_bytes()).unwrap();
            after_sale_lines(body.lines)
        };
        assert_eq!(lines("{}").unwrap(), None);
        let named = lines(r#"{"lines":[{"variantId":"a","quantity":2},{"variantId":"b"}]}"#)
            .unwrap()
            .unwrap();
        assert_eq!((named[0].quantity, named[1].quantity), (Some(2), None));
        let refused = lines(r#"{"lines":[{"variantId":"a","quantity":2},{"variantId":"a"}]}"#).unwrap_err();
        let body = serde_json::to_value(refused.body("r")).unwrap();
        assert_eq!(body["member"], "lines[1].variantId");
        assert!(parse::<OrderFulfilBody>(br#"{"lines":[]}"#).is_err());
    }
}
