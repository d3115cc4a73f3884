//! What each shopper has here: live holds and purchases, for per-customer limits. Purchases count by day, so that a
//! limit can look back over a window; cancelled and returned units come off the day they were bought.
use super::{
    event::Event,
    hold::{Hold, HoldStatus, Owner},
};
use crate::domain::{ids::ReservationId, time::Timestamp};
use std::collections::{
    BTreeMap,
    btree_map::{Entry, OccupiedEntry},
};

/// What one shopper bought of one variant, by day since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purchases(pub Vec<(i64, u64)>);

impl Purchases {
    /// Units bought in the last `window_days` days (`None`: ever), today included.
    pub fn units(&self, now: Timestamp, window_days: Option<u32>) -> u64 {
        let first = window_days.map_or(i64::MIN, |days| now.day() - i64::from(days) + 1);
        self.0
            .iter()
            .filter(|(day, _)| *day >= first)
            .map(|(_, units)| units)
            .sum()
    }

    /// Changes by what happened to one of the shopper's reservations.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Confirmed { hold, .. } => self.add(sold_day(hold), hold.quantity),
            Event::Cancelled { hold, quantity, .. } | Event::Returned { hold, quantity, .. } => {
                self.remove(sold_day(hold), *quantity);
            }
            Event::Created { .. }
            | Event::SettingsChanged { .. }
            | Event::SaleChanged { .. }
            | Event::StockChanged { .. }
            | Event::Deleted
            | Event::Held(_)
            | Event::Extended(_)
            | Event::Resized(_)
            | Event::Released(_)
            | Event::Expired(_)
            | Event::Pinned(_)
            | Event::Unpinned(_)
            | Event::Withdrawn(_)
            | Event::Fulfilled { .. }
            | Event::Closed(_)
            | Event::Rehomed { .. } => {}
        }
    }

    fn add(&mut self, day: i64, units: u32) {
        match self.0.iter_mut().find(|(at, _)| *at == day) {
            Some((_, bought)) => *bought += u64::from(units),
            None => self.0.push((day, u64::from(units))),
        }
    }

    fn remove(&mut self, day: i64, units: u32) {
        if let Some((_, bought)) = self.0.iter_mut().find(|(at, _)| *at == day) {
            *bought = bought.saturating_sub(u64::from(units));
        }
        self.0.retain(|(_, bought)| *bought > 0);
    }
}

fn sold_day(hold: &Hold) -> i64 {
    hold.ended.map_or(0, |ended| ended.at.day())
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OwnerUnits {
    held: u64,
    /// In id order, so that the state does not tell in which order its holds were put in.
    live: Vec<ReservationId>,
    bought: Purchases,
}

impl OwnerUnits {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.bought.0.is_empty()
    }
}

/// All shoppers of one variant that were named by a caller. In order of a hash first: comparing names means to fetch each
/// from its own place in memory, which took more of a replay than anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owners(BTreeMap<(u64, Owner), OwnerUnits>);

/// Where a shopper stands.
fn place(owner: Owner) -> (u64, Owner) {
    let (kind, text) = match &owner {
        Owner::Customer(id) => (1, id.as_str()),
        Owner::Session(id) => (2, id.as_str()),
        Owner::Cart(id) => (3, id.as_str()),
    };
    // FNV-1a: short texts, the same on every machine, and nothing depends on who could guess it: equal hashes cost a
    // comparison of names, as before.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ kind, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash, owner)
}

impl Owners {
    pub(super) fn restore(purchases: impl IntoIterator<Item = (Owner, Purchases)>) -> Self {
        let units = |(owner, bought)| {
            (
                place(owner),
                OwnerUnits {
                    bought,
                    ..OwnerUnits::default()
                },
            )
        };
        Self(purchases.into_iter().map(units).collect())
    }

    /// In order of shoppers.
    pub(super) fn purchases(&self) -> impl Iterator<Item = (&Owner, &Purchases)> {
        let bought = self.0.iter().filter(|(_, units)| !units.bought.0.is_empty());
        let mut bought: Vec<_> = bought.map(|((_, owner), units)| (owner, &units.bought)).collect();
        bought.sort_unstable_by_key(|(owner, _)| *owner);
        bought.into_iter()
    }

    fn of(&self, owner: &Owner) -> Option<&OwnerUnits> {
        self.0.get(&place(owner.clone()))
    }

    /// Units in live holds.
    pub(super) fn held(&self, owner: &Owner) -> u64 {
        self.of(owner).map_or(0, |units| units.held)
    }

    /// Units bought within the window.
    pub(super) fn bought(&self, owner: &Owner, now: Timestamp, window_days: Option<u32>) -> u64 {
        self.of(owner)
            .map_or(0, |units| units.bought.units(now, window_days))
    }

    /// The ids of live holds.
    pub(super) fn live(&self, owner: &Owner) -> &[ReservationId] {
        self.of(owner).map_or(&[], |units| &units.live)
    }

    pub(super) fn apply(&mut self, event: &Event) {
        let bought = matches!(
            event,
            Event::Confirmed { .. } | Event::Cancelled { .. } | Event::Returned { .. }
        );
        let Some(owner) = event
            .hold()
            .filter(|_| bought)
            .and_then(|hold| hold.shopper.owner())
        else {
            return;
        };
        match self.0.entry(place(owner)) {
            Entry::Vacant(entry) => {
                let mut units = OwnerUnits::default();
                units.bought.apply(event);
                if !units.is_empty() {
                    entry.insert(units);
                }
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().bought.apply(event);
                forget_if_empty(entry);
            }
        }
    }

    pub(super) fn hold_added(&mut self, hold: &Hold) {
        let live = matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative);
        let Some(owner) = hold.shopper.owner().filter(|_| live) else {
            return;
        };
        let units = self.0.entry(place(owner)).or_default();
        units.held += hold.held_units();
        if let Err(place) = units.live.binary_search(&hold.id) {
            if units.live.is_empty() {
                // Most shoppers hold one line of a variant; a vector would begin with room for four.
                units.live.reserve_exact(1);
            }
            units.live.insert(place, hold.id);
        }
    }

    pub(super) fn hold_removed(&mut self, hold: &Hold) {
        let live = matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative);
        let Some(owner) = hold.shopper.owner().filter(|_| live) else {
            return;
        };
        let Entry::Occupied(mut entry) = self.0.entry(place(owner)) else {
            return;
        };
        let units = entry.get_mut();
        units.held -= hold.held_units();
        if let Ok(place) = units.live.binary_search(&hold.id) {
            units.live.remove(place);
        }
        forget_if_empty(entry);
    }
}

fn forget_if_empty(entry: OccupiedEntry<'_, (u64, Owner), OwnerUnits>) {
    if entry.get().is_empty() {
        entry.remove();
    }
}
