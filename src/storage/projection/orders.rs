//! Orders by customer and status, all of them in memory: they stay until they are erased.
//!
//! Compact, because a million orders lie in it: 17 bytes in the map, and 24 in each of the two lists; with the trees' slack
//! some 100 bytes an order. What an order says is read from its actor or its row.
use super::{LOOKS_PER_PAGE, Projection, index::Place, selector::Selector};
use crate::domain::{
    ids::{CustomerId, OrderId, StoreId},
    order::{Order, Status},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included},
};

/// Which orders are wanted.
#[derive(Clone, Debug)]
pub struct OrderFilter {
    /// Of this store.
    pub store: StoreId,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// That stand like this. Those that nobody was told of are never listed: opening and refused ones.
    pub status: Option<Status>,
}

/// A page of orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderPage {
    /// In order of creation: the newest last.
    pub ids: Vec<OrderId>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<OrderId>,
}

/// The orders of one store.
#[derive(Debug, Default)]
pub(super) struct OrderIndex {
    kept: BTreeMap<[u8; 16], Status>,
    by_customer: BTreeSet<Place>,
    by_status: BTreeSet<Place>,
}

impl OrderIndex {
    /// An order stands like this from now on.
    pub(super) fn put(&mut self, store: &StoreId, order: &Order) {
        let Some(id) = order.id.bits() else { return };
        if matches!(order.status, Status::Opening | Status::Refused) {
            return;
        }
        match self.kept.insert(id.to_be_bytes(), order.status) {
            Some(before) if before == order.status => return,
            Some(before) => {
                self.by_status.remove(&Place::of(list_of(before), id));
            }
            None => {
                let customer = order.customer.as_ref();
                let list = customer.map(|customer| Selector::customer(store, customer).hash);
                self.by_customer.extend(list.map(|list| Place::of(list, id)));
            }
        }
        self.by_status.insert(Place::of(list_of(order.status), id));
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Ids above `after` in the list of `customer`, else in that of `status`, else of all, that have `status`; at most
    /// `limit`, looking at most at `looks` entries. The second is where to go on, if there may be more.
    fn page(
        &self,
        customer: Option<u64>,
        status: Option<Status>,
        after: Option<u128>,
        limit: usize,
        looks: usize,
    ) -> (Vec<u128>, Option<u128>) {
        let mut found = Vec::new();
        let mut last = None;
        for (looked, id) in self.ids(customer, status, after).enumerate() {
            if found.len() == limit || looked == looks {
                return (found, last);
            }
            last = Some(id);
            if status.is_none_or(|status| self.kept.get(&id.to_be_bytes()) == Some(&status)) {
                found.push(id);
            }
        }
        (found, None)
    }

    fn ids(
        &self,
        customer: Option<u64>,
        status: Option<Status>,
        after: Option<u128>,
    ) -> Box<dyn Iterator<Item = u128> + '_> {
        let (lists, list) = match (customer, status) {
            (Some(customer), _) => (&self.by_customer, customer),
            (None, Some(status)) => (&self.by_status, list_of(status)),
            (None, None) => {
                let from = Excluded(after.unwrap_or(0).to_be_bytes());
                let ids = self.kept.range((from, Included([u8::MAX; 16])));
                return Box::new(ids.map(|(id, _)| u128::from_be_bytes(*id)));
            }
        };
        let from = Excluded(Place::of(list, after.unwrap_or(0)));
        let to = Included(Place::of(list, u128::MAX));
        Box::new(lists.range((from, to)).map(|place| place.id()))
    }
}

/// The number of a status' list. Not stored.
fn list_of(status: Status) -> u64 {
    status as u64
}

impl Projection {
    /// Orders of a store by id, which is by creation, newest last: after `after`, at most `limit`. Never reads the disk.
    pub fn orders(&self, filter: &OrderFilter, after: Option<&OrderId>, limit: usize) -> OrderPage {
        let customer = filter.customer.as_ref();
        let customer = customer.map(|customer| Selector::customer(&filter.store, customer).hash);
        // An id that was not made here is none of a list's: nothing comes after it.
        let after = after.map(|id| id.bits().unwrap_or(u128::MAX));
        let memory = self.memory.lock();
        let Some(number) = memory.numbers.get(&filter.store) else {
            return OrderPage::default();
        };
        let index = &memory.orders[*number as usize];
        let (ids, next) = index.page(customer, filter.status, after, limit, LOOKS_PER_PAGE);
        drop(memory);
        OrderPage {
            ids: ids.into_iter().filter_map(OrderId::from_bits).collect(),
            next: next.and_then(OrderId::from_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_small() {
        assert_eq!((size_of::<([u8; 16], Status)>(), size_of::<Place>()), (17, 24));
    }
}
