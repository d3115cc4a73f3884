//! Random shoppers: two carts and their orders over few units, with a network that loses and doubles, and crashes. After every
//! command the laws hold, and what each cart has is what plain arithmetic over the answers says.
use super::house::{Fate, House};
use holdfast::domain::{
    cart::{Happened, LineHold, MergeStrategy, Refusal, Status},
    ids::{CartId, OrderId},
    order::{self, Order},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const VARIANTS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Add {
        cart: usize,
        variant: usize,
        quantity: u32,
    },
    Change {
        cart: usize,
        variant: usize,
        quantity: u32,
    },
    Remove {
        cart: usize,
        variant: usize,
    },
    Extend {
        cart: usize,
    },
    Merge {
        into: usize,
        strategy: u8,
    },
    Delete {
        cart: usize,
    },
    CheckOut {
        cart: usize,
    },
    OrderEnds {
        cart: usize,
        how: u8,
    },
    /// A payment of some order so far, by one of two references: in time, late, again, or as another.
    Pay {
        order: usize,
        reference: u8,
    },
    /// Units of some order move.
    Move {
        order: usize,
        variant: usize,
        quantity: u32,
        how: u8,
    },
    Wait(i64),
    Befall(Vec<Fate>),
}

fn step() -> impl Strategy<Value = Step> {
    let (cart, variant, quantity) = (0..2_usize, 0..VARIANTS, 1..5_u32);
    let fate = prop_oneof![
        2 => Just(Fate::Deliver),
        1 => Just(Fate::Double),
        1 => Just(Fate::LoseAsk),
        1 => Just(Fate::LoseAnswer),
        1 => Just(Fate::Crash)
    ];
    let wait = prop_oneof![4 => 0..300_i64, 4 => (0..13_i64).prop_map(|n| n * 5_000), 1 => Just(600_000)];
    prop_oneof![
        12 => (cart.clone(), variant.clone(), quantity.clone())
            .prop_map(|(cart, variant, quantity)| Step::Add { cart, variant, quantity }),
        6 => (cart.clone(), variant.clone(), quantity)
            .prop_map(|(cart, variant, quantity)| Step::Change { cart, variant, quantity }),
        3 => (cart.clone(), variant).prop_map(|(cart, variant)| Step::Remove { cart, variant }),
        3 => cart.clone().prop_map(|cart| Step::Extend { cart }),
        2 => (cart.clone(), 0..3_u8).prop_map(|(into, strategy)| Step::Merge { into, strategy }),
        1 => cart.clone().prop_map(|cart| Step::Delete { cart }),
        3 => cart.clone().prop_map(|cart| Step::CheckOut { cart }),
        4 => (cart, 0..4_u8).prop_map(|(cart, how)| Step::OrderEnds { cart, how }),
        3 => (0..4_usize, 0..2_u8).prop_map(|(order, reference)| Step::Pay { order, reference }),
        3 => (0..4_usize, 0..VARIANTS, 1..4_u32, 0..3_u8)
            .prop_map(|(order, variant, quantity, how)| Step::Move { order, variant, quantity, how }),
        6 => wait.prop_map(Step::Wait),
        5 => proptest::collection::vec(fate, 1..6).prop_map(Step::Befall),
    ]
}

/// Quantities by variant: all a naive cart is.
type Naive = BTreeMap<usize, u32>;

struct Shop {
    house: House,
    /// The two carts; one that ended is followed by a new one.
    carts: [CartId; 2],
    naive: [Naive; 2],
    /// Units sold and not moved since, by variant.
    sold: [u64; VARIANTS],
    on_hand: [u64; VARIANTS],
}

/// Units on hand at first.
const STOCK: [u64; VARIANTS] = [4, 6, 8];

impl Shop {
    fn new() -> Self {
        let mut house = House::new(&STOCK);
        house.policy.limits.units_per_order = Some(12);
        let carts = [house.guest(), house.guest()];
        Self {
            house,
            carts,
            naive: Default::default(),
            sold: [0; VARIANTS],
            on_hand: STOCK,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Add {
                cart,
                variant,
                quantity,
            } => {
                let before = self.naive[*cart].get(variant).copied().unwrap_or(0);
                let log = self.house.log.len();
                let told = self.house.add(&self.carts[*cart], *variant, *quantity);
                self.judge(*cart, *variant, before + quantity, &told, log);
            }
            Step::Change {
                cart,
                variant,
                quantity,
            } => {
                let log = self.house.log.len();
                let told = self.house.change(&self.carts[*cart], *variant, *quantity);
                self.judge(*cart, *variant, *quantity, &told, log);
            }
            Step::Remove { cart, variant } => {
                if self.house.remove(&self.carts[*cart], *variant).is_ok() {
                    self.naive[*cart].remove(variant);
                }
            }
            Step::Extend { cart } => {
                let _ = self.house.extend(&self.carts[*cart]);
            }
            Step::Merge { into, strategy } => self.merge(*into, *strategy),
            Step::Delete { cart } => {
                let delete = holdfast::domain::cart::Command::Delete;
                if self.house.ask(&self.carts[*cart], &delete).is_ok() {
                    self.naive[*cart].clear();
                }
            }
            Step::CheckOut { cart } => {
                if self.house.check_out(&self.carts[*cart]).is_ok() {
                    let held = self
                        .house
                        .count(&self.carts[*cart], holdfast::domain::cart::LineStatus::Active);
                    assert_eq!(held, self.naive[*cart].len(), "all or nothing");
                }
            }
            Step::OrderEnds { cart, how } => self.order_ends(*cart, *how),
            Step::Pay { order, reference } => {
                let order = self.house.orders.values().nth(*order);
                // One that could not be had is nobody's to pay.
                if let Some(order) = order
                    .filter(|order| order.is_shown())
                    .map(|order| order.id.clone())
                {
                    self.pay(&order, &format!("p{reference}"));
                }
            }
            Step::Move {
                order,
                variant,
                quantity,
                how,
            } => self.move_units(*order, *variant, *quantity, *how),
            Step::Wait(ms) => {
                self.house.wait(*ms);
                for world in &mut self.house.variants {
                    world.expire(self.house.now, 2);
                }
                self.lapse();
            }
            Step::Befall(fates) => self.house.befall(fates),
        }
    }

    /// A shopper's command about one line: done means that many units are wanted now, a refusal changes nothing, unless the
    /// line was unconfirmed and its variant told at last how many units it has.
    fn judge(
        &mut self,
        cart: usize,
        variant: usize,
        wanted: u32,
        told: &Result<Vec<Happened>, Refusal>,
        log: usize,
    ) {
        let told_at_last = |(_, said): &(CartId, Happened)| matches!(said, Happened::LineHeld(_));
        if told.is_ok() {
            self.naive[cart].insert(variant, wanted);
        } else if self.house.log[log..].iter().any(told_at_last) {
            self.look_again(cart);
        }
    }

    fn merge(&mut self, into: usize, strategy: u8) {
        let strategy = match strategy {
            0 => MergeStrategy::Sum,
            1 => MergeStrategy::Max,
            _ => MergeStrategy::Keep,
        };
        let from = 1 - into;
        let Ok(happened) = self
            .house
            .merge(&self.carts[into], &self.carts[from].clone(), strategy)
        else {
            return;
        };
        let taken = std::mem::take(&mut self.naive[from]);
        for (variant, theirs) in taken {
            let own = self.naive[into].get(&variant).copied();
            let wanted = match (own, strategy) {
                (None, _) => theirs,
                (Some(own), MergeStrategy::Sum) => own + theirs,
                (Some(own), MergeStrategy::Max) => own.max(theirs),
                (Some(own), MergeStrategy::Keep) => own,
            };
            let name = self.house.variants[variant].variant.head().id.clone();
            let capped = happened.iter().find_map(|said| match said {
                Happened::Capped(capped) if capped.variant == name => Some(capped),
                _ => None,
            });
            let got = capped.map_or(wanted, |capped| {
                assert!(
                    capped.got < capped.wanted && capped.wanted == wanted,
                    "{capped:?}, wanted {wanted}"
                );
                capped.got
            });
            if got > 0 {
                self.naive[into].insert(variant, got);
            }
        }
    }

    /// An awaited payment comes to this end.
    fn order_ends(&mut self, cart: usize, how: u8) {
        let Status::CheckingOut { order } = self.house.carts[&self.carts[cart]].status.clone() else {
            return;
        };
        let late = self.house.orders[&order].payment_deadline < self.house.now;
        let (told, closes) = match how {
            0 | 1 => return self.pay(&order, "p0"),
            2 => (self.house.fail(&order), false),
            _ => (self.house.cancel(&order, true), true),
        };
        assert_eq!(told.is_err(), late, "{told:?}");
        if closes && !late {
            self.naive[cart].clear();
        }
    }

    /// Somebody says that an order was paid: one outcome, and each payment that is not the order's is asked back once.
    fn pay(&mut self, order: &OrderId, reference: &str) {
        let before = self.house.orders[order].clone();
        let unconfirmed = self.unconfirmed(&before.cart);
        let told = self.house.pay(order, reference);
        let after = &self.house.orders[order];
        let is_its = |order: &Order| {
            order
                .payment
                .as_ref()
                .is_some_and(|paid| paid.reference == reference)
        };
        assert_eq!(told.is_ok(), is_its(after), "{told:?}");
        assert_eq!(told.is_err(), after.refund(reference).is_some(), "{told:?}");
        if before.payment.is_some() || told.is_err() {
            assert_eq!(after.payment, before.payment, "one outcome");
            let grown = after.refunds.len() - before.refunds.len();
            let again = before.refund(reference).is_some() || is_its(&before);
            assert_eq!(grown, usize::from(!again), "asked back once");
            return;
        }
        for line in &after.lines {
            self.sold[line.ordinal.0 as usize] += u64::from(line.quantity);
        }
        let Some(cart) = (0..2).find(|cart| self.carts[*cart] == after.cart) else {
            return;
        };
        if self.house.carts[&self.carts[cart]].ended_at.is_some() {
            self.naive[cart].clear();
            return;
        }
        // The cart has gone on without it: what is bought leaves, of what is held again only as much.
        for (variant, wanted) in self.naive[cart].clone() {
            let is = self.is(cart).get(&variant).copied().unwrap_or(0);
            let ordinal = variant;
            let line = after.lines.iter().find(|line| line.ordinal.0 as usize == ordinal);
            let bought = line.map_or(0, |line| line.quantity);
            // A change that nobody could be asked for goes the way of the look: the line is as its hold is.
            let forgotten = unconfirmed.contains(&variant) && is + bought < wanted;
            assert!(
                is == wanted || is == 0 || is + bought == wanted || forgotten,
                "{wanted} became {is}"
            );
            if is == 0 {
                self.naive[cart].remove(&variant);
            } else {
                self.naive[cart].insert(variant, is);
            }
        }
    }

    /// The variants whose lines are unconfirmed.
    fn unconfirmed(&self, cart: &CartId) -> Vec<usize> {
        let lines = self.house.carts[cart].lines.iter();
        let unclear = lines.filter(|line| matches!(line.hold, LineHold::Unconfirmed { .. }));
        unclear.map(|line| line.ordinal.0 as usize).collect()
    }

    /// Units of a paid order leave, are cancelled or come back, as many as plain arithmetic allows.
    fn move_units(&mut self, at: usize, variant: usize, quantity: u32, how: u8) {
        let Some(id) = self.house.orders.keys().nth(at).cloned() else {
            return;
        };
        let order = &self.house.orders[&id];
        let name = self.house.variants[variant].variant.head().id.clone();
        let line = order.lines.iter().find(|line| line.variant == name).cloned();
        let lines = Some(vec![order::AfterSaleLine {
            variant: name,
            quantity: Some(quantity),
        }]);
        let by = "shop".to_owned();
        let restock = true;
        let paid = order.payment.is_some();
        let command = match how {
            0 => order::Command::Fulfil { lines, by },
            1 => order::Command::Cancel {
                lines,
                restock,
                close_cart: false,
                by,
            },
            _ => order::Command::Return { lines, restock, by },
        };
        if order.status == order::Status::PendingPayment && how == 1 {
            return; // As a whole it is another step's.
        }
        let done = self.house.ask_order(&id, &command).is_ok();
        let left = line.map_or(0, |line| {
            let moved = line.fulfilment;
            match how {
                0 | 1 => line.quantity - moved.shipped - moved.cancelled,
                _ => moved.shipped - moved.returned,
            }
        });
        assert_eq!(done, paid && quantity <= left);
        let units = u64::from(quantity);
        match (done, how) {
            (false, _) => {}
            (true, 0) => {
                self.sold[variant] -= units;
                self.on_hand[variant] -= units;
            }
            (true, 1) => self.sold[variant] -= units,
            (true, _) => self.on_hand[variant] += units,
        }
    }

    fn lapse(&mut self) {
        let before = self.house.log.len();
        self.house.lapse();
        // An unconfirmed line that grew and could not is found out in the background.
        for (cart, id) in self.carts.clone().iter().enumerate() {
            let said = self.house.log[before..].iter().filter(|(said, _)| said == id);
            let corrected = said
                .clone()
                .any(|(_, said)| matches!(said, Happened::LineRefused(_)));
            if said.clone().any(|(_, said)| *said == Happened::Abandoned) {
                self.naive[cart].clear();
            } else if corrected {
                self.look_again(cart);
            }
        }
    }

    /// Lines that were unconfirmed have been told how many units they have.
    fn look_again(&mut self, cart: usize) {
        for (variant, quantity) in self.is(cart) {
            let known = self.naive[cart].insert(variant, quantity);
            assert!(known.is_some(), "a line of {variant} that nobody asked for");
        }
    }

    fn is(&self, cart: usize) -> Naive {
        let lines = &self.house.carts[&self.carts[cart]].lines;
        lines
            .iter()
            .map(|line| (line.ordinal.0 as usize, line.quantity))
            .collect()
    }

    /// Whoever ended is followed by a new cart; then everything is compared.
    fn expect_as_naive(&mut self) {
        for cart in 0..2 {
            let ended = self.house.carts[&self.carts[cart]].ended_at.is_some();
            let gone = !self.house.carts[&self.carts[cart]].exists();
            if ended || gone {
                assert!(self.naive[cart].is_empty());
                self.carts[cart] = self.house.guest();
            }
            assert_eq!(
                self.is(cart),
                self.naive[cart],
                "{:?}",
                self.house.carts[&self.carts[cart]]
            );
        }
        for variant in 0..VARIANTS {
            let committed = self.house.variants[variant].variant.committed();
            assert_eq!(committed, self.sold[variant], "units sold");
            let on_hand = self.house.variants[variant].variant.head().on_hand;
            assert_eq!(on_hand, self.on_hand[variant], "each unit comes back once");
        }
    }

    /// The faults end: every line is confirmed or not, and deleting both carts leaves nothing held.
    fn calm_down(&mut self) {
        self.house.fates.clear();
        for cart in 0..2 {
            if let Status::CheckingOut { order } = self.house.carts[&self.carts[cart]].status.clone() {
                // Past its deadline it expires instead, and its cart has lines again.
                let _ = self.house.cancel(&order, true);
            }
        }
        self.house.wait(30_000);
        self.lapse();
        let unconfirmed = self.house.carts.values().flat_map(|cart| &cart.lines);
        assert!(
            !unconfirmed
                .into_iter()
                .any(|line| matches!(line.hold, LineHold::Unconfirmed { .. }))
        );
        for cart in self.carts.clone() {
            let _ = self.house.ask(&cart, &holdfast::domain::cart::Command::Delete);
        }
        for variant in 0..VARIANTS {
            assert_eq!(self.house.held(variant), 0, "nothing is left behind");
        }
    }
}

proptest! {
    #![proptest_config(crate::stories(400))]

    #[test]
    fn carts_do_what_plain_arithmetic_says(steps in proptest::collection::vec(step(), 1..60)) {
        let mut shop = Shop::new();
        for step in &steps {
            shop.take(step);
            shop.house.expect_lawful();
            shop.expect_as_naive();
        }
        shop.calm_down();
    }
}
