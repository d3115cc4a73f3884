//! What a shop says about a variant and its stock.
use super::{MS, Tags, VariantRefs};
use crate::domain::money::Money;
use crate::domain::variant::{ReservationMode, Settings};
use crate::http::extract::body::{Object, nullable};
use crate::http::extract::member::{
    Amount, Attributes, CurrencyCode, Delta, Handle, HandleRef, Id, Instant, Label, Line, List, Quantity,
    Seconds, Units, VariantRef,
};
use crate::http::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// When units are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReservationMode)]
pub enum ModeWord {
    /// As soon as a shopper adds the variant.
    OnCart,
    /// Checked when added, taken at checkout.
    OnCheckout,
    /// Never counted: digital goods.
    Untracked,
}

impl From<ModeWord> for ReservationMode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::OnCart => Self::OnCart,
            ModeWord::OnCheckout => Self::OnCheckout,
            ModeWord::Untracked => Self::Untracked,
        }
    }
}

/// A price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": 2599, "currency": "USD"}))]
pub struct PriceBody {
    /// Minor units: 25.99 USD is 2599.
    #[schema(inline)]
    pub amount: Amount,
    /// ISO 4217.
    #[schema(inline)]
    pub currency: CurrencyCode,
}

impl From<Object<PriceBody>> for Money {
    fn from(Object(price): Object<PriceBody>) -> Self {
        Self {
            amount: price.amount.0,
            currency: price.currency.0,
        }
    }
}

/// A new variant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"id": "123", "productId": "45", "sku": "ALP-SOAP-1", "name": "Premium Aleppo Laurel Soap Set", "category": "Beauty & Wellness", "tags": ["organic"], "attributes": {"origin": "Aleppo"}, "price": {"amount": 2599, "currency": "USD"}, "onHand": 100}))]
pub struct VariantBody {
    /// The shop's id.
    #[schema(inline)]
    pub id: VariantRef,
    /// The product it belongs to.
    #[schema(inline)]
    pub product_id: Option<HandleRef>,
    /// The human code.
    #[schema(inline)]
    pub sku: Option<Label>,
    /// The name shoppers read.
    #[schema(inline)]
    pub name: Option<Line>,
    /// The shop's category.
    #[schema(inline)]
    pub category: Option<Label>,
    /// Free words; regions and seasons too.
    #[schema(inline)]
    pub tags: Option<Tags>,
    /// Free pairs.
    #[schema(inline)]
    pub attributes: Option<Attributes>,
    /// The price of one unit.
    #[schema(value_type = Option<PriceBody>)]
    pub price: Option<Object<PriceBody>>,
    /// The first stock; 0 without.
    #[schema(inline)]
    pub on_hand: Option<Units>,
    /// Units kept back from sale.
    #[schema(inline)]
    pub safety_stock: Option<Units>,
    /// Units that may be sold beyond those on hand.
    #[schema(inline)]
    pub backorder_limit: Option<Units>,
    /// When units are taken; `on_cart` without.
    pub reservation_mode: Option<ModeWord>,
    /// At or below this many available the status is `low_stock`.
    #[schema(inline)]
    pub low_stock_threshold: Option<Units>,
    /// No holds before this moment.
    #[schema(inline)]
    pub opens_at: Option<Instant>,
    /// No new holds from this moment on.
    #[schema(inline)]
    pub closes_at: Option<Instant>,
    /// Whether a second hold of the same shopper is refused.
    pub one_hold_per_customer: Option<bool>,
    /// The ttl of holds here instead of the store's.
    #[schema(inline)]
    pub hold_ttl_seconds: Option<Seconds>,
    /// Units for one customer here instead of the store's.
    #[schema(inline)]
    pub units_per_customer: Option<Quantity>,
}

impl VariantBody {
    /// What the shop says about the new variant.
    ///
    /// # Errors
    /// `invalid-member` when it closes before it opens.
    pub fn settings(self) -> Result<Settings, Problem> {
        let settings = Settings {
            product_id: self.product_id.map(|Id(Handle(id))| id),
            sku: self.sku.map(|text| text.0),
            name: self.name.map(|text| text.0),
            category: self.category.map(|text| text.0),
            tags: self.tags.map(tags).unwrap_or_default(),
            attributes: self.attributes.unwrap_or_default().0,
            price: self.price.map(Money::from),
            safety_stock: units_or_none(self.safety_stock),
            backorder_limit: units_or_none(self.backorder_limit),
            reservation_mode: self
                .reservation_mode
                .map(ReservationMode::from)
                .unwrap_or_default(),
            low_stock_threshold: units_or_none(self.low_stock_threshold),
            opens_at: self.opens_at.map(|moment| moment.0),
            closes_at: self.closes_at.map(|moment| moment.0),
            one_hold_per_customer: self.one_hold_per_customer.unwrap_or_default(),
            hold_ttl_ms: self.hold_ttl_seconds.map(|seconds| seconds.0 * MS),
            units_per_customer: self.units_per_customer.map(Quantity::as_u32),
        };
        checked(settings)
    }
}

fn units_or_none(units: Option<Units>) -> u64 {
    units.map_or(0, Units::as_u64)
}

fn tags(List(tags): Tags) -> Vec<String> {
    tags.into_iter().map(|tag| tag.0).collect()
}

fn checked(settings: Settings) -> Result<Settings, Problem> {
    match (settings.opens_at, settings.closes_at) {
        (Some(opens), Some(closes)) if closes <= opens => {
            Err(Problem::invalid_member("closesAt", "a moment after opensAt"))
        }
        _ => Ok(settings),
    }
}

/// Changes of a variant: what is absent stays, null clears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"name": "Aleppo Laurel Soap", "safetyStock": 5, "closesAt": null}))]
pub struct VariantPatchBody {
    /// The product it belongs to.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<HandleRef>)]
    pub product_id: Option<Option<HandleRef>>,
    /// The human code.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Label>)]
    pub sku: Option<Option<Label>>,
    /// The name shoppers read.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Line>)]
    pub name: Option<Option<Line>>,
    /// The shop's category.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Label>)]
    pub category: Option<Option<Label>>,
    /// Free words, all of them.
    #[schema(inline)]
    pub tags: Option<Tags>,
    /// Free pairs, all of them.
    #[schema(inline)]
    pub attributes: Option<Attributes>,
    /// The price of one unit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<PriceBody>)]
    pub price: Option<Option<Object<PriceBody>>>,
    /// Units kept back from sale.
    #[schema(inline)]
    pub safety_stock: Option<Units>,
    /// Units that may be sold beyond those on hand.
    #[schema(inline)]
    pub backorder_limit: Option<Units>,
    /// When units are taken.
    pub reservation_mode: Option<ModeWord>,
    /// At or below this many available the status is `low_stock`.
    #[schema(inline)]
    pub low_stock_threshold: Option<Units>,
    /// No holds before this moment.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Instant>)]
    pub opens_at: Option<Option<Instant>>,
    /// No new holds from this moment on.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Instant>)]
    pub closes_at: Option<Option<Instant>>,
    /// Whether a second hold of the same shopper is refused.
    pub one_hold_per_customer: Option<bool>,
    /// The ttl of holds here; null for the store's.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Seconds>)]
    pub hold_ttl_seconds: Option<Option<Seconds>>,
    /// Units for one customer here; null for the store's.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(inline, value_type = Option<Quantity>)]
    pub units_per_customer: Option<Option<Quantity>>,
}

impl VariantPatchBody {
    /// Writes these changes into what the shop said before.
    pub fn write(self, settings: &mut Settings) {
        set(
            &mut settings.product_id,
            self.product_id.map(|id| id.map(|Id(Handle(id))| id)),
        );
        set(&mut settings.sku, self.sku.map(|text| text.map(|text| text.0)));
        set(&mut settings.name, self.name.map(|text| text.map(|text| text.0)));
        set(
            &mut settings.category,
            self.category.map(|text| text.map(|text| text.0)),
        );
        set(&mut settings.tags, self.tags.map(tags));
        set(
            &mut settings.attributes,
            self.attributes.map(|attributes| attributes.0),
        );
        set(
            &mut settings.price,
            self.price.map(|price| price.map(Money::from)),
        );
        set(&mut settings.safety_stock, self.safety_stock.map(Units::as_u64));
        set(
            &mut settings.backorder_limit,
            self.backorder_limit.map(Units::as_u64),
        );
        set(
            &mut settings.reservation_mode,
            self.reservation_mode.map(ReservationMode::from),
        );
        set(
            &mut settings.low_stock_threshold,
            self.low_stock_threshold.map(Units::as_u64),
        );
        set(
            &mut settings.opens_at,
            self.opens_at.map(|moment| moment.map(|moment| moment.0)),
        );
        set(
            &mut settings.closes_at,
            self.closes_at.map(|moment| moment.map(|moment| moment.0)),
        );
        set(&mut settings.one_hold_per_customer, self.one_hold_per_customer);
        set(
            &mut settings.hold_ttl_ms,
            self.hold_ttl_seconds.map(|ttl| ttl.map(|seconds| seconds.0 * MS)),
        );
        set(
            &mut settings.units_per_customer,
            self.units_per_customer.map(|units| units.map(Quantity::as_u32)),
        );
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A counted stock level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"onHand": 120}))]
pub struct StockBody {
    /// Physical units from now on.
    #[schema(inline)]
    pub on_hand: Units,
}

/// Units booked in or out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"delta": -2, "reason": "damaged in transit", "reference": "RMA-7"}))]
pub struct AdjustmentBody {
    /// Units in (positive) or out; not 0.
    #[schema(inline)]
    pub delta: Delta,
    /// Why.
    #[schema(inline)]
    pub reason: Line,
    /// The caller's document.
    #[schema(inline)]
    pub reference: Option<Line>,
    /// Units on hand the caller believes in; another level is 409 `expected-mismatch`.
    #[schema(inline)]
    pub expected_on_hand: Option<Units>,
}

/// Which variants.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"variantIds": ["123", "156"]}))]
pub struct AvailabilityBody {
    /// 1 to 200 ids.
    #[schema(inline)]
    pub variant_ids: VariantRefs,
}
