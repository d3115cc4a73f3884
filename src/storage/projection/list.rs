//! Pages of reservations: memory and stored rows merged in the order of ids, which is that of creation.
use super::{Projection, selector::Selector};
use crate::{
    domain::{
        ids::{CartId, CustomerId, ReservationId, StoreId, VariantOrdinal},
        variant::{HoldStatus, Shopper},
    },
    storage::state::{StateError, StateStore},
};
use std::collections::BTreeSet;

/// The most entries of an index that one page looks at. A page whose filter fits few of them may be short and still have
/// a next one.
pub const LOOKS_PER_PAGE: usize = 4_096;

/// Which reservations are wanted.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of this store.
    pub store: StoreId,
    /// Of this variant.
    pub variant: Option<VariantOrdinal>,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// Of this cart.
    pub cart: Option<CartId>,
    /// That stand like this; tentative ones are never listed.
    pub status: Option<HoldStatus>,
}

/// A page of reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order of creation.
    pub ids: Vec<ReservationId>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<ReservationId>,
}

/// The lists a filter names: the narrowest, and others that must have a reservation too.
struct Wanted {
    narrowest: Selector,
    also: Vec<Selector>,
}

impl Wanted {
    fn of(filter: &Filter) -> Self {
        let store = &filter.store;
        let shopper = Shopper {
            customer: filter.customer.clone(),
            session: None,
            cart: filter.cart.clone(),
        };
        let named = [
            Selector::cart(store, &shopper),
            Selector::customer_of(store, &shopper),
            filter.variant.map(|ordinal| Selector::variant(store, ordinal)),
        ];
        let mut named = named.into_iter().flatten();
        Self {
            narrowest: named.next().unwrap_or_else(|| Selector::store(store)),
            also: named.collect(),
        }
    }
}

/// A part of a page from one source: what it has, and how far it looked if it did not see everything.
struct Part {
    ids: Vec<ReservationId>,
    seen_to: Option<ReservationId>,
}

impl Projection {
    /// Reservations of a store in order of creation, after `after`, at most `limit`. Reads the disk.
    ///
    /// # Errors
    /// Damage of the stored rows, or a refusal of the disk.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<ReservationId>,
        limit: usize,
    ) -> Result<Page, StateError> {
        let wanted = Wanted::of(filter);
        // Memory first: what leaves it meanwhile is in the rows by then.
        let mut parts = vec![self.in_memory(filter, &wanted, after, limit)];
        for status in [HoldStatus::Confirmed, HoldStatus::Released, HoldStatus::Expired] {
            if filter.status.is_none_or(|only| only == status) {
                parts.push(stored(&self.state, &wanted, status, after, limit)?);
            }
        }
        Ok(merge(&parts, limit))
    }

    fn in_memory(
        &self,
        filter: &Filter,
        wanted: &Wanted,
        after: Option<ReservationId>,
        limit: usize,
    ) -> Part {
        let memory = self.memory.lock();
        let Some(number) = memory.numbers.get(&filter.store) else {
            return Part {
                ids: Vec::new(),
                seen_to: None,
            };
        };
        let (_, index) = &memory.stores[*number as usize];
        let narrowest = wanted.narrowest;
        let of = (narrowest != Selector::store(&filter.store)).then_some(narrowest.hash);
        let also: Vec<u64> = wanted.also.iter().map(|selector| selector.hash).collect();
        let (ids, seen_to) = index.list(of, &also, filter.status, after, limit, LOOKS_PER_PAGE);
        Part { ids, seen_to }
    }
}

/// Ended reservations of one status from the stored index.
fn stored(
    state: &StateStore,
    wanted: &Wanted,
    status: HoldStatus,
    after: Option<ReservationId>,
    limit: usize,
) -> Result<Part, StateError> {
    let kind = |selector: Selector| {
        selector
            .stored_kind(status)
            .expect("only statuses of ended ones are asked for")
    };
    let looks = if wanted.also.is_empty() {
        limit
    } else {
        LOOKS_PER_PAGE
    };
    let after = after.map(|id| id.as_u128().to_be_bytes());
    let ids = state.ended_ids(kind(wanted.narrowest), wanted.narrowest.hash, after, looks)?;
    let last = ids.last().copied().and_then(reservation);
    let seen_to = last.filter(|_| ids.len() == looks);
    let mut found = Vec::new();
    'ids: for id in ids {
        for selector in &wanted.also {
            if !state.is_ended_listed(kind(*selector), selector.hash, &id)? {
                continue 'ids;
            }
        }
        found.extend(reservation(id));
    }
    Ok(Part { ids: found, seen_to })
}

fn reservation(id: [u8; 16]) -> Option<ReservationId> {
    ReservationId::from_u128(u128::from_be_bytes(id))
}

/// Ids up to the first point that not every source has seen beyond, each once.
fn merge(parts: &[Part], limit: usize) -> Page {
    let horizon = parts.iter().filter_map(|part| part.seen_to).min();
    let within = |id: &&ReservationId| horizon.is_none_or(|horizon| **id <= horizon);
    let ids: BTreeSet<ReservationId> = parts
        .iter()
        .flat_map(|part| part.ids.iter().filter(within))
        .copied()
        .collect();
    let more = ids.len() > limit;
    let ids: Vec<ReservationId> = ids.into_iter().take(limit).collect();
    let next = if more { ids.last().copied() } else { horizon };
    Page { ids, next }
}
