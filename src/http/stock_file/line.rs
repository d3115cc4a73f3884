//! A line of a list: its members with their limits, what it means to an import, how an export writes it.
use super::fault;
use crate::app::{ImportLine, LineFault};
use crate::config::nearest;
use crate::domain::ids::VariantId;
use crate::domain::money::Money;
use crate::domain::variant::{Import, Level, SaleState, Setting, Sheet};
use crate::http::extract::bodies::{ModeWord, PriceBody, Tags};
use crate::http::extract::body::{Object, nullable, parse};
use crate::http::extract::member::{
    Attributes, Delta, Handle, HandleRef, Id, Instant, Label, Line, List, Quantity, Seconds, Units,
    VariantRef,
};
use crate::http::problem::Problem;
use crate::http::time::Moment;
use crate::http::view::MoneyView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Milliseconds in a second, for lengths that callers say in seconds.
const MS: i64 = 1000;

/// What a name of a line's may have been meant to be.
const MEMBERS: [&str; 22] = [
    "id",
    "productId",
    "sku",
    "name",
    "category",
    "price",
    "price.amount",
    "price.currency",
    "onHand",
    "delta",
    "safetyStock",
    "backorderLimit",
    "reservationMode",
    "saleState",
    "lowStockThreshold",
    "opensAt",
    "closesAt",
    "oneHoldPerCustomer",
    "holdTtlSeconds",
    "unitsPerCustomer",
    "tags",
    "attributes",
];

/// What an operator allows, as a list can say it: a drained sale closes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SaleWord {
    Open,
    Paused,
    Draining,
}

/// A line as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LineBody {
    id: VariantRef,
    #[serde(default, deserialize_with = "nullable")]
    product_id: Option<Option<HandleRef>>,
    #[serde(default, deserialize_with = "nullable")]
    sku: Option<Option<Label>>,
    #[serde(default, deserialize_with = "nullable")]
    name: Option<Option<Line>>,
    #[serde(default, deserialize_with = "nullable")]
    category: Option<Option<Label>>,
    #[serde(default, deserialize_with = "nullable")]
    price: Option<Option<Object<PriceBody>>>,
    on_hand: Option<Units>,
    delta: Option<Delta>,
    safety_stock: Option<Units>,
    backorder_limit: Option<Units>,
    reservation_mode: Option<ModeWord>,
    sale_state: Option<SaleWord>,
    low_stock_threshold: Option<Units>,
    #[serde(default, deserialize_with = "nullable")]
    opens_at: Option<Option<Instant>>,
    #[serde(default, deserialize_with = "nullable")]
    closes_at: Option<Option<Instant>>,
    one_hold_per_customer: Option<bool>,
    #[serde(default, deserialize_with = "nullable")]
    hold_ttl_seconds: Option<Option<Seconds>>,
    #[serde(default, deserialize_with = "nullable")]
    units_per_customer: Option<Option<Quantity>>,
    tags: Option<Tags>,
    attributes: Option<Attributes>,
}

/// Reads a line from its JSON object.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(number: u64, json: &[u8], by: &str) -> Result<ImportLine, LineFault> {
    let body: LineBody = parse(json).map_err(|problem| of_problem(number, &problem))?;
    let (variant, import) = body
        .meant(number, by)
        .map_err(|problem| of_problem(number, &problem))?;
    Ok(ImportLine {
        number,
        variant,
        import,
    })
}

impl LineBody {
    fn meant(self, number: u64, by: &str) -> Result<(VariantId, Import), Problem> {
        let level = match (self.on_hand, self.delta) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid_member("delta", "onHand or delta, not both"));
            }
            (Some(units), None) => Some(Level::Counted(units.as_u64())),
            (None, Some(delta)) => Some(Level::Delta(delta.0)),
            (None, None) => None,
        };
        if let (Some(Some(opens)), Some(Some(closes))) = (self.opens_at, self.closes_at)
            && closes.0 <= opens.0
        {
            return Err(Problem::invalid_member("closesAt", "a moment after opensAt"));
        }
        let sale = self.sale_state.map(|word| match word {
            SaleWord::Open => SaleState::Open,
            SaleWord::Paused => SaleState::Paused,
            SaleWord::Draining => SaleState::Draining,
        });
        let Self {
            id: Id(variant),
            product_id,
            sku,
            name,
            category,
            price,
            safety_stock,
            backorder_limit,
            reservation_mode,
            low_stock_threshold,
            opens_at,
            closes_at,
            one_hold_per_customer,
            hold_ttl_seconds,
            units_per_customer,
            tags,
            attributes,
            ..
        } = self;
        let settings = [
            product_id.map(|id| Setting::ProductId(id.map(|Id(Handle(id))| id))),
            sku.map(|text| Setting::Sku(text.map(|text| text.0))),
            name.map(|text| Setting::Name(text.map(|text| text.0))),
            category.map(|text| Setting::Category(text.map(|text| text.0))),
            price.map(|price| Setting::Price(price.map(Money::from))),
            safety_stock.map(|units| Setting::SafetyStock(units.as_u64())),
            backorder_limit.map(|units| Setting::BackorderLimit(units.as_u64())),
            reservation_mode.map(|mode| Setting::ReservationMode(mode.into())),
            low_stock_threshold.map(|units| Setting::LowStockThreshold(units.as_u64())),
            opens_at.map(|at| Setting::OpensAt(at.map(|at| at.0))),
            closes_at.map(|at| Setting::ClosesAt(at.map(|at| at.0))),
            one_hold_per_customer.map(Setting::OneHoldPerCustomer),
            hold_ttl_seconds.map(|ttl| Setting::HoldTtlMs(ttl.map(|seconds| seconds.0 * MS))),
            units_per_customer.map(|units| Setting::UnitsPerCustomer(units.map(Quantity::as_u32))),
            tags.map(|List(tags)| Setting::Tags(tags.into_iter().map(|tag| tag.0).collect())),
            attributes.map(|pairs| Setting::Attributes(pairs.0)),
        ];
        let import = Import {
            settings: settings.into_iter().flatten().collect(),
            level,
            sale,
            reference: format!("line {number}"),
            by: by.to_owned(),
        };
        Ok((variant, import))
    }
}

/// What a problem of a body says of a line.
fn of_problem(line: u64, problem: &Problem) -> LineFault {
    let text = |name| problem.data(name).and_then(|value| value.as_str());
    let Some((member, expected)) = text("member").zip(text("expected")) else {
        // The line is a document of its own to the reader, which counts from its beginning.
        let told = problem.told().replace(" at line 1 column ", " at column ");
        return fault(line, None, told);
    };
    let problem = if expected.starts_with("no such member") {
        unknown("member", member)
    } else {
        format!("expected {expected}")
    };
    fault(line, Some(member.to_owned()), problem)
}

/// What is said of a name that is none of a line's.
pub(super) fn unknown(what: &str, name: &str) -> String {
    match nearest(name, MEMBERS.iter().copied()) {
        Some(meant) => format!("no such {what}, did you mean {meant}?"),
        None => format!("no such {what}"),
    }
}

/// A line as it is written: every member, in this order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LineView<'a> {
    pub(super) id: &'a str,
    pub(super) product_id: Option<&'a str>,
    pub(super) sku: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) category: Option<&'a str>,
    pub(super) price: Option<MoneyView>,
    pub(super) on_hand: u64,
    pub(super) safety_stock: u64,
    pub(super) backorder_limit: u64,
    pub(super) reservation_mode: &'static str,
    pub(super) sale_state: &'static str,
    pub(super) low_stock_threshold: u64,
    pub(super) opens_at: Option<Moment>,
    pub(super) closes_at: Option<Moment>,
    pub(super) one_hold_per_customer: bool,
    pub(super) hold_ttl_seconds: Option<i64>,
    pub(super) units_per_customer: Option<u32>,
    pub(super) tags: &'a [String],
    pub(super) attributes: &'a BTreeMap<String, String>,
}

impl<'a> LineView<'a> {
    /// A variant's line.
    pub(crate) fn new(id: &'a VariantId, sheet: &'a Sheet) -> Self {
        let settings = &sheet.settings;
        let sale = match sheet.sale {
            SaleState::Open => SaleState::Open,
            SaleState::Paused => SaleState::Paused,
            // A list says it as it can be read back.
            SaleState::Draining | SaleState::Closed => SaleState::Draining,
        };
        Self {
            id: id.as_str(),
            product_id: settings.product_id.as_deref(),
            sku: settings.sku.as_deref(),
            name: settings.name.as_deref(),
            category: settings.category.as_deref(),
            price: settings.price.map(MoneyView::from),
            on_hand: sheet.on_hand,
            safety_stock: settings.safety_stock,
            backorder_limit: settings.backorder_limit,
            reservation_mode: settings.reservation_mode.as_str(),
            sale_state: sale.as_str(),
            low_stock_threshold: settings.low_stock_threshold,
            opens_at: settings.opens_at.map(Moment),
            closes_at: settings.closes_at.map(Moment),
            one_hold_per_customer: settings.one_hold_per_customer,
            hold_ttl_seconds: settings.hold_ttl_ms.map(|ms| ms / MS),
            units_per_customer: settings.units_per_customer,
            tags: &settings.tags,
            attributes: &settings.attributes,
        }
    }
}
