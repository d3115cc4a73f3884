//! What each shopper has here: live holds and purchases, for per-customer limits. Purchases count by day, so that a
//! limit can look back over a window; cancelled and returned units come off the day they were bought.
use super::{
    event::Event,
    hold::{Hold, HoldStatus, Owner},
};
use crate::domain::{ids::ReservationId, time::Timestamp};
use std::collections::BTreeMap;

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

/// All shoppers of one variant that were named by a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owners(BTreeMap<Owner, OwnerUnits>);

impl Owners {
    pub(super) fn restore(purchases: impl IntoIterator<Item = (Owner, Purchases)>) -> Self {
        let units = |(owner, bought)| {
            (
                owner,
                OwnerUnits {
                    bought,
                    ..OwnerUnits::default()
                },
            )
        };
        Self(purchases.into_iter().map(units).collect())
    }

    pub(super) fn purchases(&self) -> impl Iterator<Item = (&Owner, &Purchases)> {
        self.0
            .iter()
            .filter(|(_, units)| !units.bought.0.is_empty())
            .map(|(owner, units)| (owner, &units.bought))
    }

    /// Units in live holds.
    pub(super) fn held(&self, owner: &Owner) -> u64 {
        self.0.get(owner).map_or(0, |units| units.held)
    }

    /// Units bought within the window.
    pub(super) fn bought(&self, owner: &Owner, now: Timestamp, window_days: Option<u32>) -> u64 {
        self.0
            .get(owner)
            .map_or(0, |units| units.bought.units(now, window_days))
    }

    /// The ids of live holds.
    pub(super) fn live(&self, owner: &Owner) -> &[ReservationId] {
        self.0.get(owner).map_or(&[], |units| &units.live)
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
        self.0.entry(owner.clone()).or_default().bought.apply(event);
        self.forget_if_empty(&owner);
    }

    pub(super) fn hold_added(&mut self, hold: &Hold) {
        let live = matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative);
        let Some(owner) = hold.shopper.owner().filter(|_| live) else {
            return;
        };
        let units = self.0.entry(owner).or_default();
        units.held += hold.held_units();
        if let Err(place) = units.live.binary_search(&hold.id) {
            units.live.insert(place, hold.id);
        }
    }

    pub(super) fn hold_removed(&mut self, hold: &Hold) {
        let live = matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative);
        let Some(owner) = hold.shopper.owner().filter(|_| live) else {
            return;
        };
        let Some(units) = self.0.get_mut(&owner) else {
            return;
        };
        units.held -= hold.held_units();
        if let Ok(place) = units.live.binary_search(&hold.id) {
            units.live.remove(place);
        }
        self.forget_if_empty(&owner);
    }

    fn forget_if_empty(&mut self, owner: &Owner) {
        if self
            .0
            .get(owner)
            .is_some_and(|units| units.live.is_empty() && units.bought.0.is_empty())
        {
            self.0.remove(owner);
        }
    }
}
