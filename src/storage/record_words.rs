//! A record in words, for operators: what kinds of things happened in it, and to whom. Not stored, and no promise to anybody.
use super::record::{Fact, Turn};
use crate::domain::{
    bulk, cart,
    ids::{CartId, OrderId, ReservationId},
    order, variant,
};

/// What happened, in order, as `noun.verb`; at least one.
pub fn kinds(turn: &Turn) -> Vec<&'static str> {
    match &turn.fact {
        Fact::Variant(fact) => fact.events.iter().map(variant_kind).collect(),
        Fact::Policy { .. } => vec!["policy.changed"],
        Fact::Bulk { event, .. } => vec![match event {
            bulk::Event::Intended(_) => "bulk.intended",
            bulk::Event::Decided { commit: true, .. } => "bulk.committed",
            bulk::Event::Decided { commit: false, .. } => "bulk.refused",
            bulk::Event::Finished => "bulk.finished",
        }],
        Fact::Gate(_) => vec!["log.rules"],
        Fact::Told(_) => vec!["key.told"],
        Fact::Cart(fact) => or_changed(fact.happened.iter().map(cart_kind).collect(), "cart.changed"),
        Fact::Order(fact) => or_changed(fact.happened.iter().map(order_kind).collect(), "order.changed"),
    }
}

fn or_changed(kinds: Vec<&'static str>, changed: &'static str) -> Vec<&'static str> {
    if kinds.is_empty() { vec![changed] } else { kinds }
}

/// What an event is, as `noun.verb`.
pub fn variant_kind(event: &variant::Event) -> &'static str {
    use variant::Event;
    match event {
        Event::Created { .. } => "variant.created",
        Event::SettingsChanged { .. } => "variant.changed",
        Event::SaleChanged { .. } => "variant.sale",
        Event::StockChanged { .. } => "variant.stock",
        Event::Deleted => "variant.deleted",
        Event::Held(_) => "reservation.held",
        Event::Extended(_) => "reservation.extended",
        Event::Resized(_) => "reservation.resized",
        Event::Confirmed { .. } => "reservation.confirmed",
        Event::Released(_) => "reservation.released",
        Event::Expired(_) => "reservation.expired",
        Event::Pinned(_) => "reservation.pinned",
        Event::Unpinned(_) => "reservation.unpinned",
        Event::Withdrawn(_) => "reservation.withdrawn",
        Event::Fulfilled { .. } => "reservation.shipped",
        Event::Cancelled { .. } => "reservation.cancelled",
        Event::Returned { .. } => "reservation.returned",
        Event::Closed(_) => "reservation.closed",
        Event::Rehomed { .. } => "reservation.rehomed",
    }
}

fn cart_kind(happened: &cart::Happened) -> &'static str {
    use cart::Happened;
    match happened {
        Happened::Created => "cart.created",
        Happened::Began => "cart.began",
        Happened::LineHeld(_) => "cart.line_held",
        Happened::LineUnconfirmed(_) => "cart.line_unconfirmed",
        Happened::LineRefused(_) => "cart.line_refused",
        Happened::NotExtended(..) => "cart.line_not_extended",
        Happened::LineChanged(_) => "cart.line_changed",
        Happened::LineEnded(_) => "cart.line_ended",
        Happened::LineRemoved(_) => "cart.line_removed",
        Happened::Extended => "cart.extended",
        Happened::Frozen => "cart.frozen",
        Happened::TookOver(_) => "cart.took_over",
        Happened::Capped(_) => "cart.capped",
        Happened::MergedInto(_) => "cart.merged",
        Happened::CheckoutBegan(_) => "cart.checkout_began",
        Happened::CheckoutRefused(_) => "cart.checkout_refused",
        Happened::CheckedOut(_) => "cart.checked_out",
        Happened::Reopened(_) => "cart.reopened",
        Happened::Ordered(_) => "cart.ordered",
        Happened::Abandoned => "cart.abandoned",
        Happened::Forgotten => "cart.forgotten",
    }
}

fn order_kind(happened: &order::Happened) -> &'static str {
    use order::Happened;
    match happened {
        Happened::Began => "order.began",
        Happened::Went => "order.went",
        Happened::Refused { .. } => "order.refused",
        Happened::Opened => "order.opened",
        Happened::PaymentAccepted => "order.payment_accepted",
        Happened::PaymentExpired => "order.payment_expired",
        Happened::PaymentFailed => "order.payment_failed",
        Happened::Confirmed => "order.confirmed",
        Happened::RefundRequired { .. } => "order.refund_required",
        Happened::RefundDone { .. } => "order.refund_done",
        Happened::Fulfilled => "order.shipped",
        Happened::Cancelled => "order.cancelled",
        Happened::Returned => "order.returned",
        Happened::LinesRefused { .. } => "order.lines_refused",
    }
}

/// Whom it happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The reservations, in order.
    pub reservations: Vec<ReservationId>,
    /// The cart.
    pub cart: Option<CartId>,
    /// The order.
    pub order: Option<OrderId>,
}

/// Whom a record is about.
pub fn touched(turn: &Turn) -> Touched {
    let mut touched = Touched::default();
    match &turn.fact {
        Fact::Variant(fact) => {
            let holds = fact.events.iter().filter_map(variant::Event::hold);
            touched.reservations = holds.map(|hold| hold.id).collect();
        }
        Fact::Cart(fact) => touched.cart = Some(fact.cart.id.clone()),
        Fact::Order(fact) => touched.order = Some(fact.order.id.clone()),
        Fact::Policy { .. } | Fact::Bulk { .. } | Fact::Gate(_) | Fact::Told(_) => {}
    }
    touched
}
