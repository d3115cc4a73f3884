//! AGREE between holds, carts and orders: after a restart, and after a restore that cut the log, what one side believes and
//! the other does not is mended, where neither side is in the middle of anything.
//!
//! | what is found | mended by |
//! |---|---|
//! | a live hold of a cart made here that no line of it and no order claims | giving it back |
//! | a held line of an active cart whose reservation its variant does not keep live for it | ending the line |
//! | a cart that stands still for a cart which is not taking its lines over | letting it go on with what it has |
//! | a cart that is being checked out for an order which has come to its end | telling it how the order stands |
//!
//! Work that was logged goes on by itself and asks again, so whatever it touches is left alone: the cart that works, a cart
//! that stands still for another one, the cart of an order that works, a hold that a coordinator has pinned. A shop's own cart
//! ids are labels; nobody here answers for them.
use super::{
    cart::{self, Cart, LineHold, LineId},
    ids::{CartId, OrderId, ReservationId},
    order::{self, Order},
    time::Timestamp,
    variant::{HoldStatus, Variant},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What has to be done for both sides to agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Nobody claims this hold: give it back. Its id says which variant's it is.
    Release {
        /// The hold.
        reservation: ReservationId,
    },
    /// This cart stands still for another one that does not take its lines over: it goes on.
    Thaw {
        /// The cart that stands still.
        cart: CartId,
        /// The other one.
        into: CartId,
    },
    /// This order has come to its end, and its cart does not know.
    TellCart {
        /// The order.
        order: Box<Order>,
        /// Nobody has paid: the cart is the shopper's again.
        reopen: bool,
    },
    /// The hold of this line is gone: the line ended.
    EndLine {
        /// The cart.
        cart: CartId,
        /// Its line.
        line: LineId,
        /// The hold the line believes in.
        reservation: ReservationId,
    },
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { reservation } => write!(f, "{reservation} is claimed by nobody: given back"),
            Self::Thaw { cart, into } => {
                write!(
                    f,
                    "{cart} stood still for {into}, which does not take it over: it goes on"
                )
            }
            Self::TellCart { order, .. } => {
                write!(
                    f,
                    "{} waited for {}, which is over: told so",
                    order.cart, order.id
                )
            }
            Self::EndLine {
                cart, reservation, ..
            } => write!(
                f,
                "{cart} believed in {reservation}, which is gone: its line ended"
            ),
        }
    }
}

/// What both sides say, taken in entity by entity. Only what can disagree is kept: some 100 bytes for each hold of a cart.
#[derive(Debug, Default)]
pub struct Sides {
    holds: BTreeMap<ReservationId, HeldFor>,
    lines: Vec<HeldLine>,
    claimed: BTreeSet<ReservationId>,
    /// Carts in the middle of something: their own work, or their order's.
    busy: BTreeSet<u128>,
    /// Carts that stand still, and for whom.
    merging: BTreeMap<u128, u128>,
    /// Carts that take over another one's lines: whose, and which does.
    merges: BTreeSet<(u128, u128)>,
    /// Carts that are being checked out, and for which order; they do nothing themselves.
    checking_out: BTreeMap<u128, OrderId>,
    /// Orders of those that have come to their end, by cart.
    over: BTreeMap<u128, Box<Order>>,
}

/// A live hold as its variant has it.
#[derive(Clone, Copy, Debug)]
struct HeldFor {
    cart: u128,
    pinned: bool,
}

/// A held line as its cart has it.
#[derive(Clone, Copy, Debug)]
struct HeldLine {
    cart: u128,
    line: LineId,
    reservation: ReservationId,
    expires_at: Timestamp,
}

impl Sides {
    /// Takes in the holds of a variant.
    pub fn variant(&mut self, variant: &Variant) {
        for hold in variant.holds() {
            let live = matches!(hold.status, HoldStatus::Tentative | HoldStatus::Active);
            let cart = hold.shopper.cart.as_ref().and_then(CartId::bits);
            if let (true, Some(cart)) = (live, cart) {
                let pinned = hold.pin.is_some();
                self.holds.insert(hold.id, HeldFor { cart, pinned });
            }
        }
    }

    /// Takes in a cart.
    pub fn cart(&mut self, cart: &Cart) {
        let Some(bits) = cart.id.bits() else { return };
        if cart.work.is_some() {
            self.busy.insert(bits);
        }
        self.claimed
            .extend(cart.strays.iter().map(|stray| stray.reservation));
        if let Some(cart::Task::Merge(merge)) = cart.work.as_ref().map(|work| &work.task) {
            self.merges.extend(merge.from.bits().map(|from| (from, bits)));
        }
        match &cart.status {
            cart::Status::Merging { into } => {
                self.merging.extend(into.bits().map(|into| (bits, into)));
            }
            cart::Status::CheckingOut { order } if cart.work.is_none() => {
                self.checking_out.insert(bits, order.clone());
            }
            cart::Status::Active | cart::Status::CheckingOut { .. } => {}
            cart::Status::Ordered { .. } | cart::Status::Merged { .. } | cart::Status::Abandoned => return,
        }
        for line in &cart.lines {
            match &line.hold {
                LineHold::Held(kept) => {
                    self.claimed.insert(kept.reservation);
                    if matches!(cart.status, cart::Status::Active | cart::Status::Merging { .. }) {
                        self.lines.push(HeldLine {
                            cart: bits,
                            line: line.id,
                            reservation: kept.reservation,
                            expires_at: kept.expires_at,
                        });
                    }
                }
                LineHold::Unconfirmed { reservation, .. } => {
                    self.claimed.insert(*reservation);
                }
                LineHold::None | LineHold::Ended(_) => {}
            }
        }
    }

    /// Takes in an order. Its cart has been taken in before: an order is large, and few have a cart that waits.
    pub fn order(&mut self, order: &Order) {
        let cart = order.cart.bits();
        if order.work.is_some() {
            self.busy.extend(cart);
        } else if order.status != order::Status::PendingPayment
            && let Some(cart) = cart
            && self.checking_out.get(&cart) == Some(&order.id)
        {
            self.over.insert(cart, Box::new(order.clone()));
        }
        if order.status == order::Status::PendingPayment {
            self.claimed
                .extend(order.lines.iter().map(|line| line.reservation));
        }
    }

    /// What has to be done at `now`: holds first, each side in the order of ids. A line past its deadline shows that by
    /// itself and needs no mending.
    pub fn reconcile(&self, now: Timestamp) -> Vec<Mend> {
        let unclaimed = self.holds.iter().filter(|(reservation, held)| {
            !held.pinned && !self.is_busy(held.cart) && !self.claimed.contains(reservation)
        });
        let releases = unclaimed.map(|(reservation, _)| Mend::Release {
            reservation: *reservation,
        });
        let mut mends: Vec<Mend> = releases.collect();
        let stuck = self
            .merging
            .iter()
            .filter(|(cart, into)| self.is_stuck(**cart, **into));
        mends.extend(stuck.filter_map(|(cart, into)| {
            Some(Mend::Thaw {
                cart: CartId::from_bits(*cart)?,
                into: CartId::from_bits(*into)?,
            })
        }));
        mends.extend(self.over.values().map(|order| Mend::TellCart {
            order: order.clone(),
            reopen: order.payment.is_none(),
        }));
        let mut gone: Vec<&HeldLine> = self.lines.iter().filter(|line| self.is_gone(line, now)).collect();
        gone.sort_unstable_by_key(|line| (line.cart, line.line));
        mends.extend(gone.into_iter().filter_map(|line| {
            Some(Mend::EndLine {
                cart: CartId::from_bits(line.cart)?,
                line: line.line,
                reservation: line.reservation,
            })
        }));
        mends
    }

    /// Whether the cart is in the middle of something: its own work, its order's, or another cart's.
    fn is_busy(&self, cart: u128) -> bool {
        let merges = |into: &u128| !self.is_stuck(cart, *into);
        self.busy.contains(&cart) || self.merging.get(&cart).is_some_and(merges)
    }

    fn is_stuck(&self, cart: u128, into: u128) -> bool {
        !self.merges.contains(&(cart, into))
    }

    fn is_gone(&self, line: &HeldLine, now: Timestamp) -> bool {
        let held = self.holds.get(&line.reservation);
        line.expires_at > now && !self.is_busy(line.cart) && held.is_none_or(|held| held.cart != line.cart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        bulk::Attempt,
        cart::{Kept, Line, Merge, MergeStage, MergeStrategy, Task, Work},
        ids::{BulkId, OrderId, Slot, StoreId, VariantId, VariantOrdinal},
        order::Step,
        policy::Policy,
        variant::{Fulfilment, Head, Hold, Intent, Phase, Pin, Shopper},
    };

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const LATER: Timestamp = Timestamp::from_millis(1_700_000_900_000);

    fn cart_id(random: u64) -> CartId {
        CartId::made(NOW, Slot::of_cart(1), random)
    }

    fn order_id() -> OrderId {
        OrderId::made(NOW, Slot::of_cart(1), 7)
    }

    fn reservation(salt: u32) -> ReservationId {
        ReservationId::new(NOW, Slot::of_cart(0), VariantOrdinal(0), salt)
    }

    /// A live hold of a cart.
    fn hold(salt: u32, cart: CartId) -> Hold {
        Hold {
            id: reservation(salt),
            quantity: 1,
            status: HoldStatus::Active,
            phase: Phase::Cart,
            shopper: Shopper {
                cart: Some(cart),
                ..Shopper::default()
            },
            order: None,
            expires_at: LATER,
            max_expires_at: LATER,
            extensions_left: 0,
            version: 1,
            ended: None,
            fulfilment: Fulfilment::default(),
            pin: None,
        }
    }

    fn kept(salt: u32) -> Kept {
        Kept {
            reservation: reservation(salt),
            expires_at: LATER,
            max_expires_at: LATER,
            extensions_left: 0,
            version: 1,
        }
    }

    /// An active cart with these lines.
    fn cart(lines: impl IntoIterator<Item = LineHold>) -> Cart {
        let line = |(id, hold)| Line {
            id: LineId(id),
            variant: VariantId::parse("soap").unwrap(),
            ordinal: VariantOrdinal(0),
            quantity: 1,
            unit_price: None,
            campaign: None,
            hold,
        };
        Cart {
            id: cart_id(1),
            store: StoreId::parse("default").unwrap(),
            customer: None,
            session: None,
            status: cart::Status::Active,
            lines: (1..).zip(lines).map(line).collect(),
            next_line: 9,
            strays: Vec::new(),
            created_at: NOW,
            touched_at: NOW,
            ended_at: None,
            policy: Policy::sample(),
            version: 1,
            revision: 1,
            work: None,
        }
    }

    fn order(status: order::Status, salt: u32, step: Option<Step>) -> Order {
        Order {
            id: order_id(),
            store: StoreId::parse("default").unwrap(),
            cart: cart_id(1),
            customer: None,
            session: None,
            status,
            lines: vec![order::Line {
                variant: VariantId::parse("soap").unwrap(),
                ordinal: VariantOrdinal(0),
                quantity: 1,
                unit_price: None,
                reservation: reservation(salt),
                held: true,
                hold: None,
                fulfilment: Fulfilment::default(),
            }],
            terms: Policy::sample().terms(true),
            payment_deadline: LATER,
            grace_ms: 1,
            payment: None,
            refunds: Vec::new(),
            refused: Vec::new(),
            created_at: NOW,
            version: 1,
            revision: 1,
            work: step.map(|step| order::Work {
                step,
                key: None,
                begun_at: NOW,
            }),
        }
    }

    fn mends(holds: Vec<Hold>, carts: &[Cart], orders: &[Order], now: Timestamp) -> Vec<Mend> {
        let store = StoreId::parse("default").unwrap();
        let head = Head::unborn(store, VariantId::parse("soap").unwrap(), VariantOrdinal(0));
        let mut sides = Sides::default();
        sides.variant(&Variant::restore(head, holds, []));
        carts.iter().for_each(|cart| sides.cart(cart));
        orders.iter().for_each(|order| sides.order(order));
        sides.reconcile(now)
    }

    fn release(salt: u32) -> Mend {
        Mend::Release {
            reservation: reservation(salt),
        }
    }

    fn tell_cart(status: order::Status, reopen: bool) -> Mend {
        Mend::TellCart {
            order: Box::new(order(status, 1, None)),
            reopen,
        }
    }

    fn end_line(line: u32, salt: u32) -> Mend {
        Mend::EndLine {
            cart: cart_id(1),
            line: LineId(line),
            reservation: reservation(salt),
        }
    }

    /// Its name, what each side says, what is to be done.
    type Case = (&'static str, Vec<Hold>, Vec<Cart>, Vec<Order>, Vec<Mend>);

    #[test]
    fn each_case_has_its_mend() {
        let mine = |salt| hold(salt, cart_id(1));
        let held = |salt| LineHold::Held(kept(salt));
        let status = |status| Cart {
            status,
            ..cart([held(1)])
        };
        let working = |cart: Cart| Cart {
            work: Some(Work {
                task: Task::Extend { by_ms: None },
                key: None,
                begun_at: NOW,
                by_shopper: true,
            }),
            ..cart
        };
        let pinned = Hold {
            pin: Some(Pin {
                attempt: Attempt {
                    bulk: BulkId(1),
                    number: 1,
                },
                intent: Intent::Release,
            }),
            ..mine(1)
        };
        let sold = Hold {
            status: HoldStatus::Confirmed,
            ..mine(1)
        };
        let unconfirmed = LineHold::Unconfirmed {
            reservation: reservation(1),
            again_at: LATER,
            tries: 1,
        };
        let order_of = order_id;
        let foreign = CartId::parse("c1").unwrap();
        let checking_out = || cart::Status::CheckingOut { order: order_of() };
        let pending = |step| order(order::Status::PendingPayment, 1, step);
        let opening = order(
            order::Status::Opening,
            1,
            Some(Step::Taking {
                attempt: 1,
                promised: 0,
            }),
        );
        let merged = || cart::Status::Merged { into: cart_id(2) };
        let merging = || cart::Status::Merging { into: cart_id(2) };
        let merge = Task::Merge(Merge {
            from: cart_id(1),
            strategy: MergeStrategy::Sum,
            stage: MergeStage::Freezing,
            capped: Vec::new(),
        });
        let taker = Cart {
            id: cart_id(2),
            work: working(cart([])).work.map(|work| Work { task: merge, ..work }),
            ..cart([])
        };
        let cases: Vec<Case> = vec![
            ("both agree", vec![mine(1)], vec![cart([held(1)])], vec![], vec![]),
            (
                "a hold whose cart is gone",
                vec![mine(1)],
                vec![],
                vec![],
                vec![release(1)],
            ),
            (
                "no line claims it",
                vec![mine(1), mine(2)],
                vec![cart([held(2)])],
                vec![],
                vec![release(1)],
            ),
            (
                "the line has ended",
                vec![mine(1)],
                vec![cart([LineHold::Ended(kept(1))])],
                vec![],
                vec![release(1)],
            ),
            (
                "the line waits for it",
                vec![mine(1)],
                vec![cart([unconfirmed.clone()])],
                vec![],
                vec![],
            ),
            (
                "a line waits for one not made",
                vec![],
                vec![cart([unconfirmed])],
                vec![],
                vec![],
            ),
            (
                "a shop's own cart",
                vec![hold(1, foreign)],
                vec![],
                vec![],
                vec![],
            ),
            ("sold, not held", vec![sold], vec![], vec![], vec![]),
            ("a coordinator has it", vec![pinned], vec![], vec![], vec![]),
            (
                "the cart works",
                vec![mine(2)],
                vec![working(cart([held(1)]))],
                vec![],
                vec![],
            ),
            (
                "a line without its hold",
                vec![],
                vec![cart([held(1)])],
                vec![],
                vec![end_line(1, 1)],
            ),
            (
                "another cart's hold",
                vec![hold(1, cart_id(2))],
                vec![cart([held(1)])],
                vec![],
                vec![end_line(1, 1)],
            ),
            (
                "the order has it",
                vec![mine(1)],
                vec![status(checking_out())],
                vec![pending(None)],
                vec![],
            ),
            (
                "only the order has it",
                vec![mine(1)],
                vec![],
                vec![pending(None)],
                vec![],
            ),
            (
                "the order works",
                vec![mine(2)],
                vec![cart([held(1)])],
                vec![pending(Some(Step::Confirming))],
                vec![],
            ),
            (
                "the order is being made",
                vec![mine(1)],
                vec![status(checking_out())],
                vec![opening],
                vec![],
            ),
            (
                "the order is over, and its cart does not know",
                vec![mine(1)],
                vec![status(checking_out())],
                vec![order(order::Status::Expired, 1, None)],
                vec![tell_cart(order::Status::Expired, true)],
            ),
            (
                "another order is over",
                vec![mine(1)],
                vec![status(checking_out())],
                vec![Order {
                    id: OrderId::made(NOW, Slot::of_cart(1), 8),
                    ..order(order::Status::Expired, 1, None)
                }],
                vec![],
            ),
            (
                "the cart asks for its order",
                vec![mine(1)],
                vec![working(status(checking_out()))],
                vec![order(order::Status::Refused, 1, None)],
                vec![],
            ),
            (
                "the order is over",
                vec![mine(1)],
                vec![status(cart::Status::Ordered { order: order_of() })],
                vec![order(order::Status::Confirmed, 1, None)],
                vec![release(1)],
            ),
            (
                "a merge is on its way",
                vec![mine(2)],
                vec![status(merging()), taker],
                vec![],
                vec![],
            ),
            (
                "it stands still for nobody",
                vec![mine(2)],
                vec![status(merging())],
                vec![],
                vec![
                    release(2),
                    Mend::Thaw {
                        cart: cart_id(1),
                        into: cart_id(2),
                    },
                    end_line(1, 1),
                ],
            ),
            (
                "merged, and still has a hold",
                vec![mine(1)],
                vec![status(merged())],
                vec![],
                vec![release(1)],
            ),
            (
                "abandoned",
                vec![mine(1)],
                vec![status(cart::Status::Abandoned)],
                vec![],
                vec![release(1)],
            ),
        ];
        for (name, holds, carts, orders, expected) in cases {
            assert_eq!(mends(holds, &carts, &orders, NOW), expected, "{name}");
        }
    }

    #[test]
    fn a_line_past_its_deadline_needs_no_mending() {
        let carts = [cart([LineHold::Held(kept(1))])];
        let before = LATER.saturating_add(-1);
        assert_eq!(mends(vec![], &carts, &[], before), [end_line(1, 1)]);
        assert_eq!(mends(vec![], &carts, &[], LATER), []);
        // It claims the hold all the same: somebody may have extended it.
        assert_eq!(mends(vec![hold(1, cart_id(1))], &carts, &[], LATER), []);
    }

    #[test]
    fn an_opening_orders_new_holds_are_left_alone() {
        let order = order(
            order::Status::Refused,
            1,
            Some(Step::TellingCart { reopen: true }),
        );
        assert_eq!(mends(vec![hold(5, cart_id(1))], &[], &[order], NOW), []);
    }
}
