//! The index of one store's reservations in memory: live ones, sold and unshipped ones, and those that ended above the
//! last checkpoint.
//!
//! Compact, because a million live holds lie in it: 28 bytes in the map and 24 in the lists for each of variant,
//! customer and cart, and a third more for the trees' slack.
use super::{selector::Selector, statistics::Statistics};
use crate::domain::{
    ids::{ReservationId, StoreId},
    variant::{Hold, HoldStatus, Shopper},
};
use std::collections::{BTreeMap, BTreeSet};

/// The lists a reservation is in, beside that of its store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    variant: u64,
    customer: Option<u64>,
    cart: Option<u64>,
}

impl Lists {
    /// `variant` is the hash of the variant's list.
    pub(super) fn of(store: &StoreId, variant: u64, shopper: &Shopper) -> Self {
        Self {
            variant,
            customer: Selector::customer_of(store, shopper).map(|selector| selector.hash),
            cart: Selector::cart(store, shopper).map(|selector| selector.hash),
        }
    }

    fn hashes(self) -> impl Iterator<Item = u64> {
        [Some(self.variant), self.customer, self.cart]
            .into_iter()
            .flatten()
    }

    /// Where a reservation lies in them.
    pub(super) fn places(self, id: ReservationId) -> impl Iterator<Item = Place> {
        self.hashes().map(move |hash| Place::of(hash, id.as_u128()))
    }
}

/// A place in a list: hash of the list, then the two halves of the id. Three words instead of a u128 beside a u64, which
/// would take four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64, u64, u64);

impl Place {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the id")]
    pub(super) fn of(hash: u64, id: u128) -> Self {
        Self(hash, (id >> 64) as u64, id as u64)
    }

    pub(super) fn id(self) -> u128 {
        u128::from(self.1) << 64 | u128::from(self.2)
    }
}

/// What is kept of a reservation, in 12 bytes: where it stands, its units, and the record it ended with (zero while its
/// variant keeps it; 56 bits are enough for ten thousand years at a hundred thousand records a second).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    quantity: u32,
    number: [u8; 7],
    status: u8,
}

impl Kept {
    pub(super) fn new(status: HoldStatus, quantity: u32, ended_with: u64) -> Self {
        let [high, number @ ..] = ended_with.to_be_bytes();
        assert_eq!(high, 0, "a log never reaches 2^56 records");
        let status = match status {
            HoldStatus::Tentative => 0,
            HoldStatus::Active => 1,
            HoldStatus::Confirmed => 2,
            HoldStatus::Released => 3,
            HoldStatus::Expired => 4,
        };
        Self {
            quantity,
            number,
            status,
        }
    }

    fn status(self) -> HoldStatus {
        match self.status {
            0 => HoldStatus::Tentative,
            1 => HoldStatus::Active,
            2 => HoldStatus::Confirmed,
            3 => HoldStatus::Released,
            _ => HoldStatus::Expired,
        }
    }

    fn ended_with(self) -> Option<u64> {
        let [a, b, c, d, e, f, g] = self.number;
        let number = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        (number > 0).then_some(number)
    }

    fn held_units(self) -> u64 {
        match self.status() {
            HoldStatus::Tentative | HoldStatus::Active => u64::from(self.quantity),
            HoldStatus::Confirmed | HoldStatus::Released | HoldStatus::Expired => 0,
        }
    }

    fn is_live(self) -> bool {
        self.status() == HoldStatus::Active
    }
}

/// The reservations of one store.
#[derive(Debug, Default)]
pub(super) struct StoreIndex {
    kept: BTreeMap<ReservationId, Kept>,
    lists: BTreeSet<Place>,
    /// Live holds are counted in `active`.
    pub(super) statistics: Statistics,
    /// Units in live and tentative holds.
    pub(super) held_units: u64,
}

impl StoreIndex {
    /// A reservation stands like this from now on; `ended_with` is the record it left its variant with. `lists` is asked
    /// only for one that is new.
    pub(super) fn put(&mut self, hold: &Hold, lists: impl FnOnce() -> Lists, ended_with: Option<u64>) {
        let kept = Kept::new(hold.status, hold.quantity, ended_with.unwrap_or(0));
        match self.kept.insert(hold.id, kept) {
            Some(before) => self.uncount(before),
            None => self.lists.extend(lists().places(hold.id)),
        }
        self.statistics.active += u64::from(kept.is_live());
        self.held_units += kept.held_units();
    }

    /// Fills an empty index, in one go; of several entries of one reservation the last counts.
    pub(super) fn fill(&mut self, mut kept: Vec<(ReservationId, Kept)>, mut places: Vec<Place>) {
        std::thread::scope(|scope| {
            let lists = scope.spawn(|| {
                places.sort_unstable();
                places.into_iter().collect()
            });
            kept.reverse();
            kept.sort_by_key(|(id, _)| *id);
            kept.dedup_by_key(|(id, _)| *id);
            self.kept = kept.into_iter().collect();
            self.lists = lists
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        for kept in self.kept.values() {
            self.statistics.active += u64::from(kept.is_live());
            self.held_units += kept.held_units();
        }
    }

    /// Whether a decision to keep, sell or give back `hold` is news here. A line that was sold already may have moved on since.
    pub(super) fn awaits(&self, hold: &Hold) -> bool {
        let before = self.kept.get(&hold.id).map(|kept| kept.status());
        matches!(
            (before, hold.status),
            (Some(HoldStatus::Tentative), HoldStatus::Active)
                | (
                    Some(HoldStatus::Active),
                    HoldStatus::Confirmed | HoldStatus::Released
                )
        )
    }

    /// A reservation is gone.
    pub(super) fn remove(&mut self, id: ReservationId, lists: Lists) {
        if let Some(before) = self.kept.remove(&id) {
            self.uncount(before);
            for place in lists.places(id) {
                self.lists.remove(&place);
            }
        }
    }

    fn uncount(&mut self, before: Kept) {
        self.statistics.active -= u64::from(before.is_live());
        self.held_units -= before.held_units();
    }

    /// The record a reservation ended with, if it ended above the last checkpoint.
    pub(super) fn ended_with(&self, id: ReservationId) -> Option<u64> {
        self.kept.get(&id)?.ended_with()
    }

    /// Ids above `after` in the list `of` (all of the store for `None`) that are in all of `also` and have `status`, at most
    /// `limit`, looking at most at `looks` entries. The second is the last one looked at if the looks ran out.
    pub(super) fn list(
        &self,
        of: Option<u64>,
        also: &[u64],
        status: Option<HoldStatus>,
        after: Option<ReservationId>,
        limit: usize,
        looks: usize,
    ) -> (Vec<ReservationId>, Option<ReservationId>) {
        let mut found = Vec::new();
        let mut last = None;
        for (looked, id) in self.ids(of, after).enumerate() {
            if found.len() == limit || looked == looks {
                return (found, last);
            }
            last = Some(id);
            let shown = match (self.kept.get(&id).map(|kept| kept.status()), status) {
                (None | Some(HoldStatus::Tentative), _) => false,
                (Some(_), None) => true,
                (Some(stands), Some(wanted)) => stands == wanted,
            };
            if shown
                && also
                    .iter()
                    .all(|hash| self.lists.contains(&Place::of(*hash, id.as_u128())))
            {
                found.push(id);
            }
        }
        (found, None)
    }

    fn ids(
        &self,
        of: Option<u64>,
        after: Option<ReservationId>,
    ) -> Box<dyn Iterator<Item = ReservationId> + '_> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        match of {
            Some(hash) => {
                let from = Place::of(hash, after.map_or(0, ReservationId::as_u128));
                let to = Place::of(hash, u128::MAX);
                let places = self.lists.range((Excluded(from), Included(to)));
                Box::new(places.filter_map(|place| ReservationId::from_u128(place.id())))
            }
            None => {
                let from = after.map_or(Unbounded, Excluded);
                Box::new(self.kept.range((from, Unbounded)).map(|(id, _)| *id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_small() {
        assert_eq!((size_of::<Kept>(), size_of::<Place>()), (12, 24));
    }

    #[test]
    fn what_is_kept_comes_back() {
        for status in [
            HoldStatus::Tentative,
            HoldStatus::Active,
            HoldStatus::Confirmed,
            HoldStatus::Released,
            HoldStatus::Expired,
        ] {
            let kept = Kept::new(status, 3, (1 << 56) - 1);
            assert_eq!((kept.status(), kept.ended_with()), (status, Some((1 << 56) - 1)));
            assert_eq!(Kept::new(status, 3, 0).ended_with(), None);
        }
    }
}
