//! An order as a shop and its shopper see it.
use super::cart::{line_amount, sum};
use super::{MoneyView, Shown};
use crate::app::OrderDone;
use crate::domain::ids::{CartId, CustomerId, OrderId, ReservationId, VariantId};
use crate::domain::money::Money;
use crate::domain::order::{Line, Order, Refund, RefundReason, Status};
use crate::domain::time::Timestamp;
use crate::domain::variant::Refusal;
use crate::http::refusal::{Subject, problem};
use crate::http::time::Moment;
use serde::Serialize;
use utoipa::ToSchema;

/// An order. Its prices are kept for ever.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Order)]
pub struct OrderView {
    /// Made by this service.
    #[schema(value_type = String, example = "ord_019aa4b5c2f07abc8000000740000001")]
    pub id: Shown<OrderId>,
    /// `pending_payment`, `payment_failed`, `confirmed`, `partially_fulfilled`, `fulfilled`, `cancelled`, `returned`,
    /// `expired` or `refund_required`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// The cart it was made of.
    #[schema(value_type = String)]
    pub cart_id: Shown<CartId>,
    /// The shop's customer.
    #[schema(value_type = Option<String>)]
    pub customer_id: Option<Shown<CustomerId>>,
    /// In the cart's order.
    pub lines: Vec<OrderLineView>,
    /// What it costs; null if a line has no price.
    pub total: Option<MoneyView>,
    /// Until when a payment is in time.
    #[schema(value_type = String, format = DateTime)]
    pub payment_deadline: Moment,
    /// The same while the payment is awaited: until then its units are held. Null otherwise.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Moment>,
    /// Milliseconds from `serverTime` to that.
    pub expires_in_ms: Option<i64>,
    /// The payment that was accepted.
    pub payment_reference: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paid_at: Option<Moment>,
    /// Payments that cannot be honoured, one each.
    pub refunds: Vec<RefundView>,
    /// Lines whose units did not move with this command although others' did; left out otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<OrderWarningView>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// Counts its changes; the ETag.
    pub version: u64,
    /// The moment this was told at.
    #[schema(value_type = String, format = DateTime)]
    pub server_time: Moment,
}

/// One line of an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderLine)]
pub struct OrderLineView {
    /// Whose units.
    #[schema(value_type = String)]
    pub variant_id: Shown<VariantId>,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Option<MoneyView>,
    /// The reservation behind it.
    #[schema(value_type = String)]
    pub reservation_id: Shown<ReservationId>,
    /// Units that left.
    pub shipped: u32,
    /// Units cancelled before they left.
    pub cancelled: u32,
    /// Shipped units that came back.
    pub returned: u32,
}

/// A payment that cannot be honoured.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Refund)]
pub struct RefundView {
    /// The payment.
    pub payment_reference: String,
    /// `expired`, `failed`, `cancelled`, `already_paid` or `amount_mismatch`.
    #[schema(value_type = String)]
    pub reason: &'static str,
    /// `required` or `done`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Moment,
    /// When the shop said that it paid back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub done_at: Option<Moment>,
}

/// A line whose units did not move: it is as it was.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderWarning)]
pub struct OrderWarningView {
    /// The same as a refusal's.
    #[schema(value_type = String, example = "reservation-not-found")]
    pub code: &'static str,
    /// Whose units.
    #[schema(value_type = String)]
    pub variant_id: Shown<VariantId>,
    /// For people, in English.
    pub message: &'static str,
}

impl OrderView {
    /// An order as a command left it.
    pub fn after(done: &OrderDone, at: Timestamp) -> Self {
        let warning = |(variant, refusal): &(VariantId, Refusal)| {
            let code = problem(refusal, Subject::default()).code();
            OrderWarningView {
                code: code.as_str(),
                variant_id: Shown(variant.clone()),
                message: code.title(),
            }
        };
        Self {
            warnings: done.refused.iter().map(warning).collect(),
            ..Self::new(&done.order, at)
        }
    }

    /// An order as it stands at a moment.
    pub fn new(order: &Order, at: Timestamp) -> Self {
        let pending = order.status == Status::PendingPayment;
        let deadline = pending.then_some(order.payment_deadline);
        Self {
            id: Shown(order.id.clone()),
            status: order_status(order.status),
            cart_id: Shown(order.cart.clone()),
            customer_id: order.customer.clone().map(Shown),
            lines: order.lines.iter().map(OrderLineView::new).collect(),
            total: total(&order.lines),
            payment_deadline: Moment(order.payment_deadline),
            expires_at: deadline.map(Moment),
            expires_in_ms: deadline.map(|deadline| deadline.since(at).max(0)),
            payment_reference: order.payment.as_ref().map(|payment| payment.reference.clone()),
            paid_at: order.payment.as_ref().map(|payment| Moment(payment.at)),
            refunds: order.refunds.iter().map(RefundView::new).collect(),
            warnings: Vec::new(),
            created_at: Moment(order.created_at),
            version: order.version,
            server_time: Moment(at),
        }
    }
}

fn total(lines: &[Line]) -> Option<MoneyView> {
    let currency = lines.iter().find_map(|line| line.unit_price)?.currency;
    let amount = sum(lines
        .iter()
        .map(|line| line_amount(line.unit_price, line.quantity)))?;
    Some(MoneyView::from(Money { amount, currency }))
}

impl OrderLineView {
    fn new(line: &Line) -> Self {
        Self {
            variant_id: Shown(line.variant.clone()),
            quantity: line.quantity,
            unit_price: line.unit_price.map(MoneyView::from),
            reservation_id: Shown(line.reservation),
            shipped: line.fulfilment.shipped,
            cancelled: line.fulfilment.cancelled,
            returned: line.fulfilment.returned,
        }
    }
}

impl RefundView {
    /// A refund as it stands.
    pub fn new(refund: &Refund) -> Self {
        let status = if refund.done_at.is_some() {
            "done"
        } else {
            "required"
        };
        Self {
            payment_reference: refund.reference.clone(),
            reason: reason(refund.reason),
            status,
            requested_at: Moment(refund.at),
            done_at: refund.done_at.map(Moment),
        }
    }
}

const fn reason(reason: RefundReason) -> &'static str {
    match reason {
        RefundReason::Expired => "expired",
        RefundReason::Failed => "failed",
        RefundReason::Cancelled => "cancelled",
        RefundReason::AlreadyPaid => "already_paid",
        RefundReason::AmountMismatch => "amount_mismatch",
    }
}

/// The contract's word for where an order stands.
pub const fn order_status(status: Status) -> &'static str {
    match status {
        Status::Opening => "opening",
        Status::Refused => "refused",
        Status::PendingPayment => "pending_payment",
        Status::PaymentFailed => "payment_failed",
        Status::Confirmed => "confirmed",
        Status::PartiallyFulfilled => "partially_fulfilled",
        Status::Fulfilled => "fulfilled",
        Status::Cancelled => "cancelled",
        Status::Returned => "returned",
        Status::Expired => "expired",
        Status::RefundRequired => "refund_required",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Slot, StoreId, VariantOrdinal};
    use crate::domain::money::Currency;
    use crate::domain::order::Payment;
    use crate::domain::policy::{HoldLengths, Terms};
    use crate::domain::variant::Fulfilment;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn line(number: u32, quantity: u32, fulfilment: Fulfilment) -> Line {
        Line {
            variant: VariantId::parse(&format!("v{number}")).unwrap(),
            ordinal: VariantOrdinal(number),
            quantity,
            unit_price: Some(Money {
                amount: 2599,
                currency: Currency::parse("USD").unwrap(),
            }),
            reservation: ReservationId::new(AT, Slot::of_cart(1), VariantOrdinal(number), 1),
            held: true,
            hold: None,
            fulfilment,
        }
    }

    fn order(status: Status) -> Order {
        let lengths = HoldLengths {
            ttl_ms: 1,
            extension_ms: 1,
            max_extensions: 0,
        };
        let shipped = Fulfilment {
            shipped: 1,
            cancelled: 1,
            returned: 0,
        };
        Order {
            id: OrderId::made(AT, Slot::of_cart(1), 1),
            store: StoreId::parse("default").unwrap(),
            cart: CartId::made(AT, Slot::of_cart(1), 1),
            customer: Some(CustomerId::parse("u1").unwrap()),
            session: None,
            status,
            lines: vec![line(1, 3, shipped), line(2, 1, Fulfilment::default())],
            terms: Terms {
                lengths,
                payment_ttl_ms: 2_100_000,
                max_ttl_ms: 1,
                units_per_customer: None,
                window_days: None,
            },
            payment_deadline: AT.saturating_add(2_100_000),
            grace_ms: 60_000,
            payment: None,
            refunds: Vec::new(),
            refused: Vec::new(),
            created_at: AT,
            version: 2,
            revision: 4,
            work: None,
        }
    }

    #[test]
    fn a_paid_order_is_told_with_its_refunds() {
        let refund = Refund {
            reference: "pay_2".into(),
            reason: RefundReason::AlreadyPaid,
            at: AT.saturating_add(5_000),
            done_at: Some(AT.saturating_add(9_000)),
        };
        let paid = Order {
            payment: Some(Payment {
                reference: "pay_1".into(),
                at: AT.saturating_add(1_000),
            }),
            refunds: vec![refund],
            ..order(Status::PartiallyFulfilled)
        };
        let text = serde_json::to_string_pretty(&OrderView::new(&paid, AT.saturating_add(10_000))).unwrap();
        assert_eq!(text + "\n", include_str!("../../../tests/golden/http/order.json"));
    }

    #[test]
    fn only_a_pending_order_expires() {
        let deadline = |status, after_ms| {
            let view = OrderView::new(&order(status), AT.saturating_add(after_ms));
            view.expires_at.map(|_| view.expires_in_ms.unwrap())
        };
        assert_eq!(deadline(Status::PendingPayment, 100_000), Some(2_000_000));
        assert_eq!(deadline(Status::PendingPayment, 9_000_000), Some(0));
        assert_eq!(deadline(Status::Confirmed, 0), None);
    }

    #[test]
    fn a_total_is_sure_or_unknown() {
        let mut order = order(Status::PendingPayment);
        let total = |order: &Order| OrderView::new(order, AT).total.map(|total| total.amount);
        assert_eq!(total(&order), Some(4 * 2599));
        order.lines[1].unit_price = None;
        assert_eq!(total(&order), None);
    }
}
