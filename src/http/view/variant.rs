//! A variant, what is free of it, and its ledger.
use super::Shown;
use crate::domain::ids::{ReservationId, VariantId};
use crate::domain::money::Money;
use crate::domain::variant::{LedgerEntry, LedgerKind, View};
use crate::http::time::Moment;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Milliseconds in a second, for lengths that callers see in seconds.
const MS: i64 = 1000;

/// A variant: what the shop says about it, and its stock now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Variant)]
pub struct VariantView {
    /// The shop's id.
    #[schema(value_type = String, example = "123")]
    pub id: Shown<VariantId>,
    /// The product it belongs to.
    pub product_id: Option<String>,
    /// The human code.
    pub sku: Option<String>,
    /// The name shoppers read.
    pub name: Option<String>,
    /// The shop's category.
    pub category: Option<String>,
    /// Free words; regions and seasons too.
    pub tags: Vec<String>,
    /// Free pairs.
    pub attributes: BTreeMap<String, String>,
    /// The price of one unit.
    pub price: Option<MoneyView>,
    /// Physical units.
    pub on_hand: u64,
    /// Units in live holds.
    pub held: u64,
    /// Units sold and not shipped.
    pub committed: u64,
    /// Units kept back from sale.
    pub safety_stock: u64,
    /// Units free; null for untracked goods.
    pub available: Option<u64>,
    /// Units that may be sold beyond those on hand.
    pub backorder_limit: u64,
    /// `on_cart`, `on_checkout` or `untracked`.
    #[schema(value_type = String)]
    pub reservation_mode: &'static str,
    /// What an operator allows: `open`, `paused`, `draining` or `closed`.
    #[schema(value_type = String)]
    pub sale_state: &'static str,
    /// At or below this many available the status is `low_stock`.
    pub low_stock_threshold: u64,
    /// `in_stock`, `low_stock`, `sold_out`, `paused`, `draining`, `scheduled` or `closed`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// No holds before this moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens_at: Option<Moment>,
    /// No new holds from this moment on.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<Moment>,
    /// A second hold of the same shopper is refused with the id of the first.
    pub one_hold_per_customer: bool,
    /// The ttl of holds here instead of the store's.
    pub hold_ttl_seconds: Option<i64>,
    /// Units for one customer here instead of the store's.
    pub units_per_customer: Option<u32>,
    /// When the next hold may give units back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_release_at: Option<Moment>,
    /// Counts administrative changes; the ETag. Holds never move it.
    pub version: u64,
}

impl From<&View> for VariantView {
    fn from(view: &View) -> Self {
        let (head, settings) = (&view.head, &view.head.settings);
        Self {
            id: Shown(head.id.clone()),
            product_id: settings.product_id.clone(),
            sku: settings.sku.clone(),
            name: settings.name.clone(),
            category: settings.category.clone(),
            tags: settings.tags.clone(),
            attributes: settings.attributes.clone(),
            price: settings.price.map(MoneyView::from),
            on_hand: head.on_hand,
            held: view.held,
            committed: view.committed,
            safety_stock: settings.safety_stock,
            available: view.available,
            backorder_limit: settings.backorder_limit,
            reservation_mode: settings.reservation_mode.as_str(),
            sale_state: head.sale.as_str(),
            low_stock_threshold: settings.low_stock_threshold,
            status: view.status.as_str(),
            opens_at: settings.opens_at.map(Moment),
            closes_at: settings.closes_at.map(Moment),
            one_hold_per_customer: settings.one_hold_per_customer,
            hold_ttl_seconds: settings.hold_ttl_ms.map(|ms| ms / MS),
            units_per_customer: settings.units_per_customer,
            next_release_at: view.next_release_at.map(Moment),
            version: head.version,
        }
    }
}

/// Money in the currency's minor unit: 25.99 USD is 2599.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Money)]
pub struct MoneyView {
    /// Minor units.
    #[schema(example = 2599, minimum = 0)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
}

impl From<Money> for MoneyView {
    fn from(money: Money) -> Self {
        Self {
            amount: money.amount,
            currency: money.currency.as_str().to_owned(),
        }
    }
}

/// What is free of a variant. A display: the hold decides.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Availability)]
pub struct AvailabilityView {
    /// The variant.
    #[schema(value_type = String, example = "123")]
    pub variant_id: Shown<VariantId>,
    /// Units free; null for untracked goods.
    pub available: Option<u64>,
    /// Physical units.
    pub on_hand: u64,
    /// Units in live holds.
    pub held: u64,
    /// Units sold and not shipped.
    pub committed: u64,
    /// As in the variant.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// When the next hold may give units back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_release_at: Option<Moment>,
    /// The variant's version.
    pub version: u64,
}

impl From<&View> for AvailabilityView {
    fn from(view: &View) -> Self {
        Self {
            variant_id: Shown(view.head.id.clone()),
            available: view.available,
            on_hand: view.head.on_hand,
            held: view.held,
            committed: view.committed,
            status: view.status.as_str(),
            next_release_at: view.next_release_at.map(Moment),
            version: view.head.version,
        }
    }
}

/// What is free of several variants.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Availabilities)]
pub struct AvailabilitiesView {
    /// Those that exist, in the order asked.
    pub items: Vec<AvailabilityView>,
    /// Those that do not.
    pub unknown: Vec<String>,
}

/// A change of the units on hand: who, why, before and after.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LedgerEntry)]
pub struct LedgerEntryView {
    /// Dense per variant, from 1.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Moment,
    /// `received`, `written_off`, `shipped` or `returned`.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// Units in (positive) or out.
    pub delta: i64,
    /// Units on hand before.
    pub before: u64,
    /// Units on hand after.
    pub after: u64,
    /// Why, in the caller's words.
    pub reason: String,
    /// The caller's document, if any.
    pub reference: Option<String>,
    /// Who asked.
    pub by: String,
    /// The reservation behind it, if any.
    #[schema(value_type = Option<String>)]
    pub reservation_id: Option<Shown<ReservationId>>,
}

impl From<&LedgerEntry> for LedgerEntryView {
    fn from(entry: &LedgerEntry) -> Self {
        Self {
            seq: entry.seq,
            at: Moment(entry.at),
            kind: kind(entry.kind),
            delta: entry.delta,
            before: entry.before,
            after: entry.after,
            reason: entry.reason.clone(),
            reference: entry.reference.clone(),
            by: entry.by.clone(),
            reservation_id: entry.reservation.map(Shown),
        }
    }
}

/// A booked adjustment: its line of the ledger, and the variant after it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Adjustment)]
pub struct AdjustmentView {
    /// The line.
    pub entry: LedgerEntryView,
    /// The variant.
    pub variant: VariantView,
}

impl AdjustmentView {
    /// A line of the ledger with the variant after it.
    pub fn new(view: &View, entry: &LedgerEntry) -> Self {
        Self {
            entry: entry.into(),
            variant: view.into(),
        }
    }
}

const fn kind(kind: LedgerKind) -> &'static str {
    match kind {
        LedgerKind::Received => "received",
        LedgerKind::WrittenOff => "written_off",
        LedgerKind::Shipped => "shipped",
        LedgerKind::Returned => "returned",
    }
}
