//! What a restore changes in what it brings back. It puts everything as it was at the cut; the time that has passed since is
//! given to the shoppers, taken from them, or neither, as the operator says. Variants of which units were sold after the cut
//! come up paused: those sales are to be looked at before new ones are made.
//!
//! Deadlines move, nothing else: a hold that is due afterwards expires by itself, in its order, wherever it is looked at
//! (EXPIRY_WINDOW), and its cart's line with it. What was in the middle of something at the cut is left as it was logged: it
//! asks again by itself, and what it asks must not have changed meanwhile.
use super::{
    agent::Agent,
    cart::{self, Cart, Kept, LineHold},
    ids::ReservationId,
    order::{self, Order},
    time::Timestamp,
    variant::{Event, Hold, HoldStatus, Phase, SaleState, Variant},
};
use std::collections::BTreeSet;

/// What becomes of the deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldsRule {
    /// They stay as they were logged.
    #[default]
    Keep,
    /// Live holds and payments get the time back that passed since the cut.
    Rebase,
    /// Holds of the cart phase end at the cut; orders that await their payment keep theirs.
    Expire,
}

impl HoldsRule {
    /// The operator's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Rebase => "rebase",
            Self::Expire => "expire",
        }
    }
}

/// A rule between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// What becomes of the deadlines.
    pub rule: HoldsRule,
    /// The moment everything is put back to.
    pub cut_at: Timestamp,
    /// The moment of the restore.
    pub now: Timestamp,
}

/// Carts and orders that are in the middle of something, by the bits of their ids.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    carts: BTreeSet<u128>,
    orders: BTreeSet<u128>,
}

impl Busy {
    /// Takes in a cart.
    pub fn cart(&mut self, cart: &Cart) {
        if cart.is_working() || matches!(cart.status, cart::Status::Merging { .. }) {
            self.carts.extend(cart.id.bits());
        }
    }

    /// Takes in an order. Its cart waits for it.
    pub fn order(&mut self, order: &Order) {
        if order.is_working() {
            self.orders.extend(order.id.bits());
            self.carts.extend(order.cart.bits());
        }
    }

    fn has(&self, hold: &Hold) -> bool {
        let cart = hold.shopper.cart.as_ref().and_then(super::ids::CartId::bits);
        let order = hold.owning_order().and_then(super::ids::OrderId::bits);
        hold.pin.is_some()
            || cart.is_some_and(|bits| self.carts.contains(&bits))
            || order.is_some_and(|bits| self.orders.contains(&bits))
    }
}

impl Rewind {
    /// The hold as the rule has it; `None` where it stays as it is.
    fn moved(&self, hold: &Hold) -> Option<Hold> {
        let after = match self.rule {
            HoldsRule::Keep => return None,
            HoldsRule::Rebase => Hold {
                expires_at: self.later(hold.expires_at),
                max_expires_at: self.later(hold.max_expires_at),
                ..hold.clone()
            },
            HoldsRule::Expire if hold.phase == Phase::Payment => return None,
            HoldsRule::Expire => {
                let end = self.cut_at.max(hold.id.created_at());
                Hold {
                    expires_at: hold.expires_at.min(end),
                    ..hold.clone()
                }
            }
        };
        (after != *hold).then(|| Hold {
            version: hold.version + 1,
            ..after
        })
    }

    fn later(&self, at: Timestamp) -> Timestamp {
        at.saturating_add(self.now.since(self.cut_at).max(0))
    }

    /// What happens to a variant; `sold` says that units of it were sold after the cut.
    pub fn variant(&self, variant: &Variant, sold: bool, busy: &Busy) -> Vec<Event> {
        let live = variant
            .holds()
            .filter(|hold| hold.status == HoldStatus::Active && !busy.has(hold));
        let moved = live.filter_map(|hold| self.moved(hold)).map(Event::Extended);
        let pauses = sold && variant.head().sale == SaleState::Open;
        let paused = pauses.then_some(Event::SaleChanged {
            sale: SaleState::Paused,
        });
        moved.chain(paused).collect()
    }

    /// A cart as it stands after its holds have moved; `None` where none has.
    pub fn cart(&self, cart: &Cart, moved: impl Fn(ReservationId) -> Option<Kept>) -> Option<Cart> {
        if cart.is_working() || cart.status != cart::Status::Active {
            return None;
        }
        let mut after = cart.clone();
        for line in &mut after.lines {
            if let LineHold::Held(kept) = &mut line.hold
                && let Some(hold) = moved(kept.reservation)
            {
                *kept = hold;
            }
        }
        if after == *cart {
            return None;
        }
        if self.rule == HoldsRule::Rebase {
            // Or a cart that was left alone meanwhile, as everybody was, would give everything back at once.
            after.touched_at = self.later(cart.touched_at);
        }
        after.revision += 1;
        Some(after)
    }

    /// An order that awaits its payment, as it stands after the rule; `None` where it stays as it is.
    pub fn order(&self, order: &Order, moved: impl Fn(ReservationId) -> Option<Hold>) -> Option<Order> {
        let awaits = order.status == order::Status::PendingPayment && !order.is_working();
        if !awaits || self.rule != HoldsRule::Rebase {
            return None;
        }
        let mut after = order.clone();
        after.payment_deadline = self.later(order.payment_deadline);
        for line in &mut after.lines {
            if line.hold.is_some()
                && let Some(hold) = moved(line.reservation)
            {
                line.hold = Some(hold);
            }
        }
        if after == *order {
            return None;
        }
        after.version += 1;
        after.revision += 1;
        Some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        bulk::Attempt,
        ids::{BulkId, CartId, Slot, StoreId, VariantId, VariantOrdinal},
        variant::{Fulfilment, Head, Intent, Pin, Shopper},
    };

    const CUT: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_600_000);
    const DUE: Timestamp = Timestamp::from_millis(1_700_000_900_000);

    fn cart_id() -> CartId {
        CartId::made(CUT, Slot::of_cart(1), 1)
    }

    fn hold(salt: u32) -> Hold {
        Hold {
            id: ReservationId::new(CUT, Slot::of_cart(0), VariantOrdinal(0), salt),
            quantity: 1,
            status: HoldStatus::Active,
            phase: Phase::Cart,
            shopper: Shopper::default(),
            order: None,
            expires_at: DUE,
            max_expires_at: DUE,
            extensions_left: 0,
            version: 1,
            ended: None,
            fulfilment: Fulfilment::default(),
            pin: None,
        }
    }

    /// Deadlines after a rule, hold by hold; `None` where nothing is said of it.
    fn moved(rule: HoldsRule, holds: &[Hold], busy: &Busy) -> Vec<Option<Timestamp>> {
        let store = StoreId::parse("default").unwrap();
        let head = Head::unborn(store, VariantId::parse("soap").unwrap(), VariantOrdinal(0));
        let variant = Variant::restore(head, holds.to_vec(), []);
        let rewind = Rewind {
            rule,
            cut_at: CUT,
            now: NOW,
        };
        let events = rewind.variant(&variant, false, busy);
        let after = |hold: &Hold| {
            let told = events
                .iter()
                .filter_map(Event::hold)
                .find(|told| told.id == hold.id);
            told.map(|told| told.expires_at)
        };
        holds.iter().map(after).collect()
    }

    #[test]
    fn what_is_in_the_middle_of_something_stays_as_it_was() {
        let pin = Pin {
            attempt: Attempt {
                bulk: BulkId(1),
                number: 1,
            },
            intent: Intent::Confirm,
        };
        let pinned = Hold {
            pin: Some(pin),
            ..hold(2)
        };
        let of_cart = Hold {
            shopper: Shopper {
                cart: Some(cart_id()),
                ..Shopper::default()
            },
            ..hold(3)
        };
        let tentative = Hold {
            status: HoldStatus::Tentative,
            ..hold(4)
        };
        let mut busy = Busy::default();
        busy.carts.extend(cart_id().bits());
        let later = Some(DUE.saturating_add(NOW.since(CUT)));
        let holds = [hold(1), pinned, of_cart, tentative];
        assert_eq!(moved(HoldsRule::Rebase, &holds, &busy), [later, None, None, None]);
        let idle = Busy::default();
        assert_eq!(
            moved(HoldsRule::Rebase, &holds, &idle),
            [later, None, later, None]
        );
        assert_eq!(moved(HoldsRule::Keep, &holds, &idle), [None; 4]);
    }

    #[test]
    fn only_the_cart_phase_ends_at_the_cut() {
        let paying = Hold {
            phase: Phase::Payment,
            ..hold(2)
        };
        let over = Hold {
            expires_at: CUT,
            ..hold(3)
        };
        let holds = [hold(1), paying, over];
        assert_eq!(
            moved(HoldsRule::Expire, &holds, &Busy::default()),
            [Some(CUT), None, None]
        );
    }
}
