//! Who asks for what: requests over what was heard of so far, and what answers add to that.
use crate::{
    asks::{Ask, Facts, Over},
    swarm::Swarm,
};
use fastrand::Rng;
use holdfast::domain::{
    bulk::Mode,
    cart::{LineId, MergeStrategy},
    ids::{CartId, CustomerId, OrderId, ReservationId, VariantId},
    variant::SaleState,
};

/// What is remembered of each kind; the oldest go.
const REMEMBERED: usize = 24;

/// What shoppers have heard of.
#[derive(Default)]
pub(crate) struct Heard {
    holds: Vec<ReservationId>,
    carts: Vec<(CartId, Vec<LineId>)>,
    orders: Vec<(OrderId, Option<i64>)>,
    payments: u32,
}

pub(crate) fn variant(number: u32) -> VariantId {
    VariantId::parse(&format!("v{number}")).unwrap()
}

fn keep<T>(all: &mut Vec<T>, one: T) {
    if all.len() >= REMEMBERED {
        all.remove(0);
    }
    all.push(one);
}

impl Heard {
    /// An answer arrived.
    pub(crate) fn learn(&mut self, facts: &Facts) {
        for hold in facts.holds.iter().chain(&facts.promised) {
            if !self.holds.contains(&hold.id) {
                keep(&mut self.holds, hold.id);
            }
        }
        for cart in &facts.carts {
            let lines = cart.lines.iter().map(|line| line.id).collect();
            self.carts.retain(|(id, _)| *id != cart.id);
            keep(&mut self.carts, (cart.id.clone(), lines));
        }
        for order in &facts.orders {
            let total = order.total().map(|total| total.amount);
            self.orders.retain(|(id, _)| *id != order.id);
            keep(&mut self.orders, (order.id.clone(), total));
        }
    }

    /// The next request.
    pub(crate) fn ask(&mut self, swarm: &Swarm, rng: &mut Rng) -> Ask {
        loop {
            let drawn = match rng.u32(0..100) {
                0..24 => Some(reserve(swarm, rng)),
                24..48 => self.about_a_hold(rng),
                48..56 => Some(bulk(swarm, rng)),
                56..60 => self.bulk_over(rng),
                60..64 => Some(Ask::NewCart {
                    customer: customer(rng),
                    variant: variant(rng.u32(0..swarm.variants)),
                    quantity: rng.u32(1..=3),
                }),
                64..78 => self.about_a_cart(swarm, rng),
                78..82 => self.check_out(rng),
                82..92 => self.about_an_order(rng),
                92..96 => Some(shops_side(swarm, rng)),
                _ => self.look(swarm, rng),
            };
            if let Some(ask) = drawn {
                return ask;
            }
        }
    }

    fn about_a_hold(&self, rng: &mut Rng) -> Option<Ask> {
        let id = *rng.choice(&self.holds)?;
        Some(match rng.u32(0..12) {
            0..4 => Ask::Confirm {
                id,
                quantity: rng.bool().then_some(1),
            },
            4..6 => Ask::Release(id),
            6 => Ask::Extend {
                id,
                by_ms: rng.bool().then(|| rng.i64(1..60_000)),
            },
            7 => Ask::Resize {
                id,
                quantity: rng.u32(1..=4),
            },
            8..10 => Ask::Fulfil(id),
            10 => Ask::Cancel(id),
            _ => Ask::TakeBack(id),
        })
    }

    fn bulk_over(&self, rng: &mut Rng) -> Option<Ask> {
        let mut ids: Vec<ReservationId> = Vec::new();
        for _ in 0..rng.u32(1..=3) {
            let id = *rng.choice(&self.holds)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Some(Ask::BulkOver {
            ids,
            mode: mode(rng),
            over: *rng.choice(&[Over::Confirm, Over::Release, Over::Extend])?,
        })
    }

    fn about_a_cart(&self, swarm: &Swarm, rng: &mut Rng) -> Option<Ask> {
        let (cart, lines) = rng.choice(&self.carts)?.clone();
        let line = rng.choice(&lines).copied();
        Some(match rng.u32(0..16) {
            0..7 => Ask::AddItem {
                cart,
                variant: variant(rng.u32(0..swarm.variants)),
                quantity: rng.u32(1..=3),
            },
            7..10 => Ask::ChangeItem {
                cart,
                line: line?,
                quantity: rng.u32(1..=4),
            },
            10..12 => Ask::RemoveItem { cart, line: line? },
            12 => Ask::ExtendCart(cart),
            13 => Ask::DeleteCart(cart),
            _ => {
                let (from, _) = rng.choice(&self.carts)?.clone();
                let strategy = *rng.choice(&[MergeStrategy::Sum, MergeStrategy::Max, MergeStrategy::Keep])?;
                (from != cart).then_some(Ask::Merge {
                    into: cart,
                    from,
                    strategy,
                })?
            }
        })
    }

    fn check_out(&self, rng: &mut Rng) -> Option<Ask> {
        let (cart, _) = rng.choice(&self.carts)?.clone();
        let customer = if rng.bool() { customer(rng) } else { None };
        Some(Ask::CheckOut { cart, customer })
    }

    fn about_an_order(&mut self, rng: &mut Rng) -> Option<Ask> {
        let (order, total) = rng.choice(&self.orders)?.clone();
        Some(match rng.u32(0..12) {
            0..6 => {
                // Now and then the same payment is told again, and now and then another sum.
                if self.payments == 0 || rng.u32(0..4) > 0 {
                    self.payments += 1;
                }
                let amount = if rng.u32(0..8) == 0 { Some(1) } else { total };
                Ask::Pay {
                    order,
                    reference: format!("pay-{}", self.payments),
                    amount,
                }
            }
            6 => Ask::FailPayment(order),
            7..9 => Ask::CancelOrder {
                order,
                close_cart: rng.bool(),
            },
            9..11 => Ask::FulfilOrder(order),
            _ => Ask::ReturnOrder(order),
        })
    }

    fn look(&self, swarm: &Swarm, rng: &mut Rng) -> Option<Ask> {
        Some(match rng.u32(0..4) {
            0 => Ask::LookAtVariant(variant(rng.u32(0..swarm.variants))),
            1 => Ask::LookAtHold(*rng.choice(&self.holds)?),
            2 => Ask::LookAtCart(rng.choice(&self.carts)?.0.clone()),
            _ => Ask::LookAtOrder(rng.choice(&self.orders)?.0.clone()),
        })
    }
}

fn reserve(swarm: &Swarm, rng: &mut Rng) -> Ask {
    Ask::Reserve {
        variant: variant(rng.u32(0..swarm.variants)),
        quantity: rng.u32(1..=3),
        ttl_ms: rng.bool().then(|| rng.i64(1..90_000)),
        customer: customer(rng),
        partial: rng.bool(),
    }
}

fn bulk(swarm: &Swarm, rng: &mut Rng) -> Ask {
    let mut lines: Vec<(VariantId, u32)> = Vec::new();
    for number in 0..swarm.variants {
        if lines.is_empty() || rng.bool() {
            lines.push((variant(number), rng.u32(1..=3)));
        }
    }
    Ask::Bulk {
        lines,
        mode: mode(rng),
    }
}

fn shops_side(swarm: &Swarm, rng: &mut Rng) -> Ask {
    if rng.u32(0..3) == 0 {
        let line = |number| (variant(number), rng.i64(-3..=5));
        return Ask::TakeOver((0..swarm.variants).map(line).collect());
    }
    let variant = variant(rng.u32(0..swarm.variants));
    match rng.u32(0..6) {
        0 => Ask::SetSale {
            variant,
            sale: SaleState::Paused,
        },
        1 | 2 => Ask::SetSale {
            variant,
            sale: SaleState::Open,
        },
        _ => Ask::Adjust {
            variant,
            delta: rng.i64(-3..=5),
        },
    }
}

fn mode(rng: &mut Rng) -> Mode {
    if rng.bool() {
        Mode::AllOrNothing
    } else {
        Mode::BestEffort
    }
}

fn customer(rng: &mut Rng) -> Option<CustomerId> {
    let number = rng.u32(0..6);
    (number < 4).then(|| CustomerId::parse(&format!("c{number}")).unwrap())
}
