//! The no of a cart and of an order.
use super::{Subject, problem};
use crate::domain::cart::Refusal as Cart;
use crate::domain::ids::VariantId;
use crate::domain::order::Refusal as Order;
use crate::domain::variant::Refusal;
use crate::http::problem::{Code, Problem};
use crate::http::time::Moment;
use crate::http::view::{LineHandle, RefundView, order_status};
use serde_json::Value;

/// Says a cart's refusal to the caller.
pub fn of_cart(refusal: &Cart) -> Problem {
    match refusal {
        Cart::NotFound => Problem::new(Code::CartNotFound),
        Cart::LineNotFound { line } => {
            Problem::new(Code::LineNotFound).with("lineId", LineHandle(*line).to_string())
        }
        Cart::Line { variant, refusal } => problem(refusal, about(variant)),
        Cart::LinesUnavailable { lines } => unavailable(lines),
        Cart::Empty => Problem::new(Code::CartEmpty),
        Cart::LinesLimit { limit } => Problem::new(Code::LimitReached)
            .detail(format!("a cart has at most {limit} lines"))
            .with("limit", "linesPerCart")
            .with("allowed", *limit),
        Cart::UnitsLimit { limit, wanted } => Problem::new(Code::LimitReached)
            .detail(format!("{wanted} units, {limit} allowed in one order"))
            .with("limit", "unitsPerOrder")
            .with("allowed", *limit)
            .with("requested", *wanted),
        Cart::OtherCurrency { variant } => {
            Problem::new(Code::CurrencyMismatch).with("variantId", variant.as_str())
        }
        Cart::CheckingOut { order } => Problem::new(Code::CartCheckingOut).with("orderId", order.as_str()),
        Cart::Ordered { order } => Problem::new(Code::CartOrdered).with("orderId", order.as_str()),
        Cart::Merged { into } => Problem::new(Code::CartMerged).with("mergedInto", into.as_str()),
        Cart::Abandoned => Problem::new(Code::CartAbandoned),
        Cart::MergeConflict { why } => Problem::new(Code::MergeConflict).detail(*why),
        Cart::Unanswered => unanswered(),
        Cart::Busy => {
            Problem::new(Code::RequestInFlight).detail("the cart is in the middle of something else")
        }
    }
}

/// Says an order's refusal to the caller.
pub fn of_order(refusal: &Order) -> Problem {
    match refusal {
        Order::NotFound => Problem::new(Code::OrderNotFound),
        Order::LinesUnavailable { lines } => unavailable(lines),
        Order::State { status } => {
            let word = order_status(*status);
            Problem::new(Code::OrderState)
                .detail(format!("the order is {word}"))
                .with("orderStatus", word)
        }
        Order::RefundRequired { refund } => {
            Problem::new(Code::RefundRequired).with("refund", data(&RefundView::new(refund)))
        }
        Order::AmountMismatch { refund } => {
            Problem::new(Code::AmountMismatch).with("refund", data(&RefundView::new(refund)))
        }
        Order::PaidOtherwise { payment } => Problem::new(Code::AmountMismatch)
            .detail("this payment was accepted with another amount and stands as it was accepted; nothing is owed")
            .with("paymentReference", payment.reference.clone())
            .with("paidAt", data(&Moment(payment.at))),
        Order::RefundNotFound => Problem::new(Code::RefundNotFound),
        Order::LineNotFound { variant } => {
            Problem::new(Code::LineNotFound).with("variantId", variant.as_str())
        }
        Order::QuantityExceeds {
            variant,
            requested,
            allowed,
        } => {
            let (requested, allowed) = (*requested, *allowed);
            problem(&Refusal::QuantityExceeds { requested, allowed }, about(variant))
        }
        Order::Unanswered => unanswered(),
    }
}

fn about(variant: &VariantId) -> Subject<'_> {
    Subject {
        variant: Some(variant),
        ..Subject::default()
    }
}

/// Every line with its own code. Lines that only have no time left to be added are that one no: the shopper has them still.
fn unavailable(lines: &[(VariantId, Refusal)]) -> Problem {
    let is_extension = |refusal: &Refusal| matches!(refusal, Refusal::ExtensionLimit { .. });
    let code = if !lines.is_empty() && lines.iter().all(|(_, refusal)| is_extension(refusal)) {
        Code::ExtensionLimit
    } else {
        Code::LinesUnavailable
    };
    let told: Vec<Value> = lines
        .iter()
        .map(|(variant, refusal)| problem(refusal, about(variant)).as_line())
        .collect();
    let names: Vec<_> = lines.iter().map(|(variant, _)| variant.as_str()).collect();
    Problem::new(code)
        .detail(format!("{}: {}", code.title(), names.join(", ")))
        .with("lines", told)
}

fn unanswered() -> Problem {
    Problem::new(Code::Overloaded).detail("somebody who had to be asked did not answer; nothing was changed")
}

fn data(view: &impl serde::Serialize) -> Value {
    serde_json::to_value(view).expect("a view is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cart::LineId;
    use crate::domain::ids::{CartId, OrderId};
    use crate::domain::order::{Refund, RefundReason, Status};
    use crate::domain::time::Timestamp;
    use serde_json::json;

    fn told(problem: &Problem) -> Value {
        let mut body = serde_json::to_value(problem.body("r")).unwrap();
        let members = body.as_object_mut().unwrap();
        for common in ["type", "title", "detail", "retryable", "requestId"] {
            members.remove(common);
        }
        body
    }

    fn variant(id: &str) -> VariantId {
        VariantId::parse(id).unwrap()
    }

    fn shortage() -> Refusal {
        Refusal::InsufficientStock {
            requested: 2,
            available: 1,
            next_release_at: None,
            contended: false,
        }
    }

    #[test]
    fn a_cart_says_who_must_act_and_names_what_is_in_the_way() {
        let order = OrderId::parse("ord_1").unwrap();
        let into = CartId::parse("cart_2").unwrap();
        let line = |refusal| Cart::Line {
            variant: variant("a"),
            refusal,
        };
        for (refusal, expected) in [
            (Cart::NotFound, json!({"status": 404, "code": "cart-not-found"})),
            (
                Cart::LineNotFound { line: LineId(3) },
                json!({"status": 404, "code": "line-not-found", "lineId": "line_3"}),
            ),
            (
                line(Refusal::VariantNotFound),
                json!({"status": 404, "code": "variant-not-found", "variantId": "a"}),
            ),
            (
                line(shortage()),
                json!({"status": 409, "code": "insufficient-stock", "variantId": "a", "requested": 2, "available": 1,
                    "nextReleaseAt": null, "lines": [{"variantId": "a", "requested": 2, "available": 1}]}),
            ),
            (Cart::Empty, json!({"status": 409, "code": "cart-empty"})),
            (
                Cart::LinesLimit { limit: 100 },
                json!({"status": 409, "code": "limit-reached", "limit": "linesPerCart", "allowed": 100}),
            ),
            (
                Cart::UnitsLimit { limit: 5, wanted: 6 },
                json!({"status": 409, "code": "limit-reached", "limit": "unitsPerOrder", "allowed": 5, "requested": 6}),
            ),
            (
                Cart::OtherCurrency {
                    variant: variant("a"),
                },
                json!({"status": 409, "code": "currency-mismatch", "variantId": "a"}),
            ),
            (
                Cart::CheckingOut { order: order.clone() },
                json!({"status": 409, "code": "cart-checking-out", "orderId": "ord_1"}),
            ),
            (
                Cart::Ordered { order },
                json!({"status": 409, "code": "cart-ordered", "orderId": "ord_1"}),
            ),
            (
                Cart::Merged { into },
                json!({"status": 410, "code": "cart-merged", "mergedInto": "cart_2"}),
            ),
            (Cart::Abandoned, json!({"status": 410, "code": "cart-abandoned"})),
            (
                Cart::MergeConflict {
                    why: "it is the same cart",
                },
                json!({"status": 409, "code": "merge-conflict"}),
            ),
            (Cart::Busy, json!({"status": 409, "code": "request-in-flight"})),
            (Cart::Unanswered, json!({"status": 503, "code": "overloaded"})),
        ] {
            assert_eq!(told(&of_cart(&refusal)), expected, "{refusal:?}");
        }
    }

    #[test]
    fn every_line_that_cannot_be_had_is_named_with_its_own_code() {
        let at = Timestamp::from_millis(0);
        let late = Refusal::ExtensionLimit { max_expires_at: at };
        let lines = vec![(variant("a"), shortage()), (variant("b"), late.clone())];
        let problem = of_cart(&Cart::LinesUnavailable { lines: lines.clone() });
        assert_eq!(
            told(&problem),
            json!({"status": 409, "code": "lines-unavailable", "lines": [
                {"code": "insufficient-stock", "title": "Not enough units are free", "variantId": "a",
                    "requested": 2, "available": 1, "nextReleaseAt": null},
                {"code": "extension-limit", "title": "The hold cannot be extended further", "variantId": "b",
                    "maxExpiresAt": "1970-01-01T00:00:00.000Z", "requested": null, "available": null}]})
        );
        assert_eq!(
            told(&of_order(&Order::LinesUnavailable { lines })),
            told(&problem)
        );
        let lines = vec![(variant("a"), late.clone()), (variant("b"), late)];
        assert_eq!(
            of_cart(&Cart::LinesUnavailable { lines }).code(),
            Code::ExtensionLimit
        );
    }

    #[test]
    fn an_order_says_which_payment_must_be_paid_back() {
        let refund = Refund {
            reference: "pay_1".into(),
            reason: RefundReason::Expired,
            at: Timestamp::from_millis(0),
            done_at: None,
        };
        let owed = json!({"paymentReference": "pay_1", "reason": "expired", "status": "required",
            "requestedAt": "1970-01-01T00:00:00.000Z", "doneAt": null});
        for (refusal, expected) in [
            (
                Order::RefundRequired {
                    refund: refund.clone(),
                },
                json!({"status": 409, "code": "refund-required", "refund": owed}),
            ),
            (
                Order::AmountMismatch { refund },
                json!({"status": 409, "code": "amount-mismatch", "refund": owed}),
            ),
            (
                Order::State {
                    status: Status::PaymentFailed,
                },
                json!({"status": 409, "code": "order-state", "orderStatus": "payment_failed"}),
            ),
            (Order::NotFound, json!({"status": 404, "code": "order-not-found"})),
            (
                Order::RefundNotFound,
                json!({"status": 404, "code": "refund-not-found"}),
            ),
            (
                Order::LineNotFound {
                    variant: variant("a"),
                },
                json!({"status": 404, "code": "line-not-found", "variantId": "a"}),
            ),
            (
                Order::QuantityExceeds {
                    variant: variant("a"),
                    requested: 3,
                    allowed: 2,
                },
                json!({"status": 409, "code": "too-many-units", "variantId": "a", "requested": 3, "allowed": 2,
                    "lines": [{"variantId": "a", "requested": 3, "available": null}]}),
            ),
            (Order::Unanswered, json!({"status": 503, "code": "overloaded"})),
        ] {
            assert_eq!(told(&of_order(&refusal)), expected, "{refusal:?}");
        }
    }
}
