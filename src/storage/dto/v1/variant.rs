//! A variant: settings, head, the view it was answered with, and the whole of it with its holds.
use super::{
    List, Mirror, Moment,
    hold::{Bought, Hold},
    units, words,
};
use crate::{
    domain::{
        ids::{StoreId, VariantId, VariantOrdinal},
        money,
        variant::{self, ReservationMode, SaleState, Status},
    },
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};
use std::collections::BTreeMap;

words!(
    /// When units are taken.
    ModeWord of ReservationMode { OnCart, OnCheckout, Untracked }
);

words!(
    /// What an operator allows.
    SaleWord of SaleState { Open, Paused, Draining, Closed }
);

words!(
    /// What a shopper is told.
    StockWord of Status { InStock, LowStock, SoldOut, Paused, Draining, Scheduled, Closed }
);

/// An amount.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Money<'a> {
    amount: i64,
    currency: &'a str,
}

#[derive(Encode, BorrowDecode)]
struct Attribute<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> Mirror<'a> for Attribute<'a> {
    type Domain = (String, String);

    fn of((name, value): &'a (String, String)) -> Self {
        Self { name, value }
    }

    fn restore(self) -> Result<(String, String), FormatError> {
        Ok((self.name.to_owned(), self.value.to_owned()))
    }
}

/// What a shop says about a variant.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Settings<'a> {
    product_id: Option<&'a str>,
    sku: Option<&'a str>,
    name: Option<&'a str>,
    category: Option<&'a str>,
    tags: List<'a, &'a str>,
    attributes: List<'a, Attribute<'a>>,
    price: Option<Money<'a>>,
    safety_stock: u64,
    backorder_limit: u64,
    reservation_mode: ModeWord,
    low_stock_threshold: u64,
    opens_at: Option<Moment>,
    closes_at: Option<Moment>,
    one_hold_per_customer: bool,
    hold_ttl_ms: Option<i64>,
    units_per_customer: Option<u32>,
}

impl<'a> Mirror<'a> for Settings<'a> {
    type Domain = variant::Settings;

    fn of(domain: &'a variant::Settings) -> Self {
        let attributes = domain.attributes.iter();
        Self {
            product_id: domain.product_id.as_deref(),
            sku: domain.sku.as_deref(),
            name: domain.name.as_deref(),
            category: domain.category.as_deref(),
            tags: List::Of(&domain.tags),
            attributes: List::Made(
                attributes
                    .map(|(name, value)| Attribute { name, value })
                    .collect(),
            ),
            price: domain.price.as_ref().map(Money::of),
            safety_stock: domain.safety_stock,
            backorder_limit: domain.backorder_limit,
            reservation_mode: domain.reservation_mode.into(),
            low_stock_threshold: domain.low_stock_threshold,
            opens_at: domain.opens_at.map(Moment::from),
            closes_at: domain.closes_at.map(Moment::from),
            one_hold_per_customer: domain.one_hold_per_customer,
            hold_ttl_ms: domain.hold_ttl_ms,
            units_per_customer: domain.units_per_customer,
        }
    }

    fn restore(self) -> Result<variant::Settings, FormatError> {
        let attributes: Vec<(String, String)> = self.attributes.restore()?;
        let count = attributes.len();
        let attributes: BTreeMap<String, String> = attributes.into_iter().collect();
        if attributes.len() != count {
            return Err(FormatError::Invalid("an attribute is named twice"));
        }
        Ok(variant::Settings {
            product_id: self.product_id.map(str::to_owned),
            sku: self.sku.map(str::to_owned),
            name: self.name.map(str::to_owned),
            category: self.category.map(str::to_owned),
            tags: self.tags.restore()?,
            attributes,
            price: self.price.map(Money::restore).transpose()?,
            safety_stock: units(self.safety_stock)?,
            backorder_limit: units(self.backorder_limit)?,
            reservation_mode: self.reservation_mode.into(),
            low_stock_threshold: self.low_stock_threshold,
            opens_at: self.opens_at.map(Into::into),
            closes_at: self.closes_at.map(Into::into),
            one_hold_per_customer: self.one_hold_per_customer,
            hold_ttl_ms: self.hold_ttl_ms,
            units_per_customer: self.units_per_customer,
        })
    }
}

impl<'a> Mirror<'a> for Money<'a> {
    type Domain = money::Money;

    fn of(domain: &'a money::Money) -> Self {
        Self {
            amount: domain.amount,
            currency: domain.currency.as_str(),
        }
    }

    fn restore(self) -> Result<money::Money, FormatError> {
        Ok(money::Money {
            amount: self.amount,
            currency: money::Currency::parse(self.currency).ok_or(FormatError::Invalid("not a currency"))?,
        })
    }
}

/// Whose a variant is, and the shop's id of it.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Name<'a> {
    store: &'a str,
    id: &'a str,
}

impl<'a> Name<'a> {
    pub(in crate::storage::dto) fn of_both(store: &'a StoreId, id: &'a VariantId) -> Self {
        Self {
            store: store.as_str(),
            id: id.as_str(),
        }
    }
}

impl<'a> Mirror<'a> for Name<'a> {
    type Domain = (StoreId, VariantId);

    fn of((store, id): &'a (StoreId, VariantId)) -> Self {
        Self::of_both(store, id)
    }

    fn restore(self) -> Result<(StoreId, VariantId), FormatError> {
        Ok((StoreId::parse(self.store)?, VariantId::parse(self.id)?))
    }
}

/// Everything but the holds.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Head<'a> {
    ordinal: u32,
    store: &'a str,
    id: &'a str,
    settings: Settings<'a>,
    sale: SaleWord,
    on_hand: u64,
    received: u64,
    returned: u64,
    shipped: u64,
    written_off: u64,
    version: u64,
    revision: u64,
    ledger_seq: u64,
    deleted: bool,
    decided_at: Moment,
}

impl<'a> Mirror<'a> for Head<'a> {
    type Domain = variant::Head;

    fn of(domain: &'a variant::Head) -> Self {
        Self {
            ordinal: domain.ordinal.0,
            store: domain.store.as_str(),
            id: domain.id.as_str(),
            settings: Settings::of(&domain.settings),
            sale: domain.sale.into(),
            on_hand: domain.on_hand,
            received: domain.flows.received,
            returned: domain.flows.returned,
            shipped: domain.flows.shipped,
            written_off: domain.flows.written_off,
            version: domain.version,
            revision: domain.revision,
            ledger_seq: domain.ledger_seq,
            deleted: domain.deleted,
            decided_at: domain.decided_at.into(),
        }
    }

    fn restore(self) -> Result<variant::Head, FormatError> {
        Ok(variant::Head {
            ordinal: VariantOrdinal(self.ordinal),
            store: StoreId::parse(self.store)?,
            id: VariantId::parse(self.id)?,
            settings: self.settings.restore()?,
            sale: self.sale.into(),
            on_hand: units(self.on_hand)?,
            flows: variant::Flows {
                received: units(self.received)?,
                returned: units(self.returned)?,
                shipped: units(self.shipped)?,
                written_off: units(self.written_off)?,
            },
            version: self.version,
            revision: self.revision,
            ledger_seq: self.ledger_seq,
            deleted: self.deleted,
            decided_at: self.decided_at.into(),
        })
    }
}

/// A variant as it was answered.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct View<'a> {
    head: Head<'a>,
    held: u64,
    committed: u64,
    available: Option<u64>,
    status: StockWord,
    next_release_at: Option<Moment>,
    at: Moment,
}

impl<'a> Mirror<'a> for View<'a> {
    type Domain = variant::View;

    fn of(domain: &'a variant::View) -> Self {
        Self {
            head: Head::of(&domain.head),
            held: domain.held,
            committed: domain.committed,
            available: domain.available,
            status: domain.status.into(),
            next_release_at: domain.next_release_at.map(Moment::from),
            at: domain.at.into(),
        }
    }

    fn restore(self) -> Result<variant::View, FormatError> {
        Ok(variant::View {
            head: self.head.restore()?,
            held: units(self.held)?,
            committed: units(self.committed)?,
            available: self.available.map(units).transpose()?,
            status: self.status.into(),
            next_release_at: self.next_release_at.map(Into::into),
            at: self.at.into(),
        })
    }
}

/// A variant with its holds and what each shopper bought.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Variant<'a> {
    head: Head<'a>,
    holds: List<'a, Hold<'a>>,
    bought: List<'a, Bought<'a>>,
}

impl<'a> Mirror<'a> for Variant<'a> {
    type Domain = variant::Variant;

    fn of(domain: &'a variant::Variant) -> Self {
        let bought = domain.purchases();
        Self {
            head: Head::of(domain.head()),
            holds: List::Made(domain.holds().map(Hold::of).collect()),
            bought: List::Made(
                bought
                    .map(|(owner, purchases)| Bought::of_both(owner, purchases))
                    .collect(),
            ),
        }
    }

    fn restore(self) -> Result<variant::Variant, FormatError> {
        let head = self.head.restore()?;
        let holds: Vec<variant::Hold> = self.holds.restore()?;
        let bought: Vec<(variant::Owner, variant::Purchases)> = self.bought.restore()?;
        if !holds.is_sorted_by(|earlier, later| earlier.id < later.id) {
            return Err(FormatError::Invalid("reservations are not in order, each once"));
        }
        if holds.iter().any(|hold| hold.id.variant() != head.ordinal) {
            return Err(FormatError::Invalid("a reservation of another variant"));
        }
        if !bought.is_sorted_by(|(earlier, _), (later, _)| earlier < later) {
            return Err(FormatError::Invalid(
                "purchases are not in order, each owner once",
            ));
        }
        Ok(variant::Variant::restore(head, holds, bought))
    }
}
