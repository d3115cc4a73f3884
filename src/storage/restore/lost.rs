//! The sales behind the cut: whose they were, whether the stock of the cut can fill them, and the file from which they can be
//! made again.
use super::super::{
    dto,
    engine::sync_dir,
    entity_rows::RowError,
    journal::Record,
    record::{Fact, OrderFact, Turn, VariantFact},
    snapshot::{EntityKind, Entry},
    state::Family,
};
use super::{RestoreError, source::Visitor, survey::decode};
use crate::domain::{
    ids::{ReservationId, StoreId, VariantId, VariantOrdinal},
    money::Money,
    order::{self, Order},
    rewind::{HoldsRule, Rewind},
    time::Timestamp,
    variant::{Event, Head, Hold, HoldStatus, Phase, Variant},
};
use hashbrown::HashMap;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::{BufWriter, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Units of a variant that were sold after the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldAfter {
    /// Whose shop.
    pub store: StoreId,
    /// The shop's id.
    pub id: VariantId,
    /// Units.
    pub units: u64,
    /// Whether it was there at the cut.
    pub existed: bool,
}

/// A sale behind the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// An order, as it stood at the end of the log.
    Order(Box<Order>),
    /// A reservation that was confirmed without an order made here.
    Sale {
        /// Whose shop.
        store: StoreId,
        /// Of what.
        variant: VariantId,
        /// As it stood at the end of the log.
        hold: Box<Hold>,
        /// When it was confirmed.
        at: Timestamp,
    },
}

impl Lost {
    /// When it was paid or confirmed.
    fn at(&self) -> Timestamp {
        match self {
            Self::Order(order) => order
                .payment
                .as_ref()
                .map_or(order.created_at, |payment| payment.at),
            Self::Sale { at, .. } => *at,
        }
    }

    /// Reservations and units, by variant.
    fn units(&self) -> Vec<(VariantOrdinal, ReservationId, u64)> {
        match self {
            Self::Order(order) => order
                .lines
                .iter()
                .map(|line| (line.ordinal, line.reservation, u64::from(line.quantity)))
                .collect(),
            Self::Sale { hold, .. } => vec![(hold.id.variant(), hold.id, u64::from(hold.quantity))],
        }
    }

    /// Everything that is needed to make it again.
    fn to_json(&self) -> Value {
        let at = self.at().as_millis();
        match self {
            Self::Order(order) => json!({
                "kind": "order",
                "store": order.store.as_str(),
                "orderId": order.id.as_str(),
                "cartId": order.cart.as_str(),
                "customerId": order.customer.as_ref().map(|id| id.as_str()),
                "sessionId": order.session.as_ref().map(|id| id.as_str()),
                "paymentReference": order.payment.as_ref().map(|payment| payment.reference.as_str()),
                "confirmedAtMs": at,
                "total": order.total().map(money),
                "lines": order.lines.iter().map(|line| json!({
                    "variantId": line.variant.as_str(),
                    "quantity": line.quantity,
                    "unitPrice": line.unit_price.map(money),
                    "reservationId": line.reservation.to_string(),
                    "shipped": line.fulfilment.shipped,
                    "cancelled": line.fulfilment.cancelled,
                    "returned": line.fulfilment.returned,
                })).collect::<Vec<_>>(),
            }),
            Self::Sale {
                store, variant, hold, ..
            } => json!({
                "kind": "reservation",
                "store": store.as_str(),
                "reservationId": hold.id.to_string(),
                "orderId": hold.order.as_ref().map(|id| id.as_str()),
                "cartId": hold.shopper.cart.as_ref().map(|id| id.as_str()),
                "customerId": hold.shopper.customer.as_ref().map(|id| id.as_str()),
                "sessionId": hold.shopper.session.as_ref().map(|id| id.as_str()),
                "confirmedAtMs": at,
                "lines": [{
                    "variantId": variant.as_str(),
                    "quantity": hold.quantity,
                    "reservationId": hold.id.to_string(),
                    "shipped": hold.fulfilment.shipped,
                    "cancelled": hold.fulfilment.cancelled,
                    "returned": hold.fulfilment.returned,
                }],
            }),
        }
    }
}

fn money(price: Money) -> Value {
    json!({ "amount": price.amount, "currency": price.currency.as_str() })
}

/// Writes the sales down, one a line, durably. `None` when there are none.
pub(super) fn write_down(root: &Path, epoch: u64, lost: &[Lost]) -> Result<Option<PathBuf>, RestoreError> {
    if lost.is_empty() {
        return Ok(None);
    }
    let path = root.join(format!("lost-orders-{epoch}.ndjson"));
    let write = || {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let mut out = BufWriter::new(file);
        for one in lost {
            serde_json::to_writer(&mut out, &one.to_json())?;
            out.write_all(b"\n")?;
        }
        out.into_inner()?.sync_all()
    };
    write().map_err(|source| RestoreError::Lost {
        path: path.clone(),
        source,
    })?;
    sync_dir(root).map_err(crate::storage::data_dir::DataDirError::from)?;
    Ok(Some(path))
}

/// What was sold behind the cut, gathered record by record. Ordinals are those of the history it was sold in: one that was given
/// behind the cut may be another variant's at the cut.
#[derive(Default)]
pub(super) struct LostSales {
    units: BTreeMap<VariantOrdinal, u64>,
    orders: BTreeMap<u128, Order>,
    sales: BTreeMap<ReservationId, (Hold, Timestamp)>,
    /// Variants that were created behind the cut.
    created: HashMap<VariantOrdinal, (StoreId, VariantId)>,
}

impl LostSales {
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty() && self.orders.is_empty()
    }

    fn ordinals(&self) -> impl Iterator<Item = VariantOrdinal> {
        let lines = self.orders.values().flat_map(|order| &order.lines);
        let of_orders = lines.map(|line| line.ordinal);
        self.units.keys().copied().chain(of_orders)
    }

    pub(super) fn turn(&mut self, turn: Turn) {
        match turn.fact {
            Fact::Variant(fact) => self.variant(fact, turn.at),
            Fact::Order(fact) => self.order(*fact),
            Fact::Policy { .. } | Fact::Bulk { .. } | Fact::Gate(_) | Fact::Told(_) | Fact::Cart(_) => {}
        }
    }

    fn variant(&mut self, fact: VariantFact, at: Timestamp) {
        if let Some(name) = fact.named {
            self.created.insert(fact.ordinal, name);
        }
        for event in fact.events {
            if let Event::Confirmed { hold, .. } = event {
                *self.units.entry(fact.ordinal).or_default() += u64::from(hold.quantity);
                if hold.owning_order().is_none() {
                    self.sales.insert(hold.id, (hold, at));
                }
            } else if let Event::Fulfilled { hold, .. }
            | Event::Cancelled { hold, .. }
            | Event::Returned { hold, .. } = event
                && let Some((sold, _)) = self.sales.get_mut(&hold.id)
            {
                *sold = hold;
            }
        }
    }

    /// An order is lost when its payment was accepted behind the cut. One that was accepted before and confirmed behind it
    /// goes on by itself.
    fn order(&mut self, fact: OrderFact) {
        let bits = fact.order.id.bits().unwrap_or_default();
        let paid = fact.happened.contains(&order::Happened::PaymentAccepted);
        if paid || self.orders.contains_key(&bits) {
            self.orders.insert(bits, fact.order);
        }
    }

    /// The sales in the order of their payment, without those that came to nothing later.
    pub(super) fn in_order(&self, stock: &Stock) -> Vec<Lost> {
        let orders = self.orders.values().filter(|order| {
            use order::Status;
            match order.status {
                Status::Cancelled | Status::Returned | Status::RefundRequired | Status::PaymentFailed => {
                    false
                }
                Status::Opening
                | Status::Refused
                | Status::PendingPayment
                | Status::Confirmed
                | Status::PartiallyFulfilled
                | Status::Fulfilled
                | Status::Expired => order.payment.is_some(),
            }
        });
        let orders = orders.map(|order| Lost::Order(Box::new(order.clone())));
        let stands = |hold: &Hold| hold.fulfilment.cancelled + hold.fulfilment.returned < hold.quantity;
        let sales = self.sales.values().filter(|(hold, _)| stands(hold));
        let sales = sales.filter_map(|(hold, at)| {
            let ordinal = hold.id.variant();
            let name = self.created.get(&ordinal).cloned();
            let (store, variant) = name.or_else(|| stock.name(ordinal))?;
            Some(Lost::Sale {
                store,
                variant,
                hold: Box::new(hold.clone()),
                at: *at,
            })
        });
        let mut lost: Vec<Lost> = orders.chain(sales).collect();
        lost.sort_by_key(Lost::at);
        lost
    }
}

/// Some variants as they stood at the cut.
pub(super) struct Stock {
    wanted: BTreeSet<VariantOrdinal>,
    /// Those that were created behind the cut, where they were sold: whether there is one of the name here, and which.
    named: HashMap<(StoreId, VariantId), Option<VariantOrdinal>>,
    cut: u64,
    variants: BTreeMap<VariantOrdinal, (Variant, u64)>,
    /// Of variants whose reservations are entries of their own, as long as these come.
    heads: BTreeMap<VariantOrdinal, (Head, u64)>,
    holds: BTreeMap<VariantOrdinal, Vec<Hold>>,
}

impl Stock {
    pub(super) fn new(sales: &LostSales, cut: u64) -> Self {
        let (created, wanted): (BTreeSet<_>, _) = sales
            .ordinals()
            .partition(|ordinal| sales.created.contains_key(ordinal));
        let named = created
            .iter()
            .map(|ordinal| (sales.created[ordinal].clone(), None));
        Self {
            wanted,
            named: named.collect(),
            cut,
            variants: BTreeMap::new(),
            heads: BTreeMap::new(),
            holds: BTreeMap::new(),
        }
    }

    /// Whether a variant is one of those; one that is by its name is from here on by its ordinal.
    fn wants(&mut self, ordinal: VariantOrdinal, store: &StoreId, id: &VariantId) -> bool {
        // Nothing is cloned for a question that mostly has no answer.
        if !self.named.is_empty()
            && let Some(here) = self.named.get_mut(&(store.clone(), id.clone()))
        {
            *here = Some(ordinal);
            self.wanted.insert(ordinal);
        }
        self.wanted.contains(&ordinal)
    }

    /// The ordinal that a variant has here, by the one it was sold under.
    fn here(&self, sales: &LostSales, ordinal: VariantOrdinal) -> Option<VariantOrdinal> {
        match sales.created.get(&ordinal) {
            Some(name) => self.named.get(name).copied().flatten(),
            None => Some(ordinal),
        }
    }

    /// Puts variants together once all their parts have come. What shoppers bought before is not asked here.
    pub(super) fn assemble(&mut self) {
        for (ordinal, (head, number)) in std::mem::take(&mut self.heads) {
            let holds = self.holds.remove(&ordinal).unwrap_or_default();
            self.variants
                .insert(ordinal, (Variant::restore(head, holds, []), number));
        }
    }

    fn name(&self, ordinal: VariantOrdinal) -> Option<(StoreId, VariantId)> {
        let (variant, _) = self.variants.get(&ordinal)?;
        Some((variant.head().store.clone(), variant.head().id.clone()))
    }

    /// What was sold, by variant; and which of them are here.
    pub(super) fn sold_after(&self, sales: &LostSales) -> (Vec<SoldAfter>, BTreeSet<VariantOrdinal>) {
        let mut here = BTreeSet::new();
        let sold = sales.units.iter().filter_map(|(ordinal, units)| {
            let name = sales.created.get(ordinal).cloned();
            let (store, id) = name.or_else(|| self.name(*ordinal))?;
            let variant = self
                .here(sales, *ordinal)
                .and_then(|ordinal| self.variants.get(&ordinal));
            here.extend(variant.map(|(variant, _)| variant.head().ordinal));
            Some(SoldAfter {
                store,
                id,
                units: *units,
                existed: variant.is_some_and(|(variant, _)| variant.head().exists()),
            })
        });
        (sold.collect(), here)
    }

    /// How many sales find fewer free units than they need, filled in their order. What they held themselves is theirs.
    pub(super) fn cannot_fill(&self, sales: &LostSales, lost: &[Lost], rewind: &Rewind) -> u64 {
        let theirs: BTreeSet<ReservationId> = lost
            .iter()
            .flat_map(Lost::units)
            .map(|(_, reservation, _)| reservation)
            .collect();
        let free = |(ordinal, (variant, _)): (&VariantOrdinal, &(Variant, u64))| {
            (*ordinal, free_units(variant, &theirs, rewind))
        };
        let mut free: BTreeMap<VariantOrdinal, Option<u64>> = self.variants.iter().map(free).collect();
        let mut cannot = 0;
        for sale in lost {
            let units = sale.units().into_iter();
            let units: Vec<_> = units
                .map(|(ordinal, _, units)| (self.here(sales, ordinal), units))
                .collect();
            let fits = |(here, units): &(Option<VariantOrdinal>, u64)| {
                here.and_then(|ordinal| free.get(&ordinal))
                    .is_some_and(|free| free.is_none_or(|free| free >= *units))
            };
            if !units.iter().all(fits) {
                cannot += 1;
                continue;
            }
            for (here, units) in units {
                if let Some(Some(free)) = here.and_then(|ordinal| free.get_mut(&ordinal)) {
                    *free -= units;
                }
            }
        }
        cannot
    }
}

/// Units at the cut that are neither sold nor in a hold that lives on; `None` where stock is not counted.
fn free_units(variant: &Variant, theirs: &BTreeSet<ReservationId>, rewind: &Rewind) -> Option<u64> {
    let head = variant.head();
    if !head.tracks_stock() {
        return None;
    }
    let lives_on = |hold: &&Hold| {
        let open = match rewind.rule {
            HoldsRule::Keep => hold.expires_at > rewind.now,
            HoldsRule::Rebase => true,
            HoldsRule::Expire => hold.phase == Phase::Payment,
        };
        hold.status == HoldStatus::Active && !theirs.contains(&hold.id) && (open || hold.pin.is_some())
    };
    let held: u64 = variant.holds().filter(lives_on).map(Hold::held_units).sum();
    let have = head.on_hand + head.settings.backorder_limit;
    Some(have.saturating_sub(held + variant.committed()))
}

impl Visitor for Stock {
    fn entity(&mut self, entry: &Entry) -> Result<(), RestoreError> {
        let ordinal = entry
            .id
            .first_chunk()
            .map(|bytes| VariantOrdinal(u32::from_be_bytes(*bytes)));
        let Some(ordinal) = ordinal.filter(|ordinal| !self.named.is_empty() || self.wanted.contains(ordinal))
        else {
            return Ok(());
        };
        let wrong = |error| RowError::content(Family::Entity, error);
        match entry.kind {
            EntityKind::VARIANT => {
                let variant = dto::decode_variant(&entry.state).map_err(wrong)?;
                let head = variant.head();
                if self.wants(ordinal, &head.store, &head.id) {
                    self.variants.insert(ordinal, (variant, entry.number));
                }
            }
            EntityKind::HEAD => {
                let head = dto::decode_head(&entry.state).map_err(wrong)?;
                if self.wants(ordinal, &head.store, &head.id) {
                    self.heads.insert(ordinal, (head, entry.number));
                }
            }
            EntityKind::HOLD if self.wanted.contains(&ordinal) => {
                let hold = dto::decode_hold(&entry.state).map_err(wrong)?;
                self.holds.entry(ordinal).or_default().push(hold);
            }
            _ => {}
        }
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<ControlFlow<()>, RestoreError> {
        self.assemble();
        if record.number.0 > self.cut {
            return Ok(ControlFlow::Break(()));
        }
        let Turn { at, fact, .. } = decode(&record)?;
        let Fact::Variant(fact) = fact else {
            return Ok(ControlFlow::Continue(()));
        };
        if let Some((store, id)) = &fact.named {
            self.wants(fact.ordinal, store, id);
        }
        if !self.wanted.contains(&fact.ordinal) {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some((store, id)) = fact.named {
            let unborn = Variant::unborn(store, id, fact.ordinal);
            self.variants.entry(fact.ordinal).or_insert((unborn, 0));
        }
        if let Some((variant, number)) = self.variants.get_mut(&fact.ordinal)
            && record.number.0 > *number
        {
            fact.events.iter().for_each(|event| variant.apply(event, at));
            *number = record.number.0;
        }
        Ok(ControlFlow::Continue(()))
    }
}
