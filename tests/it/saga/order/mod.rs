//! The order's saga, over one to three lines: half of them held by the cart, half taken by the order.
mod after_sale;
mod checkout;
mod payment;

use super::{Fault, Peers, Ran, run, with_every_fault};
use crate::world::{self, START, World};
use holdfast::domain::{
    agent::{Agent, Answer, Ask, Next, Quote, Told},
    cart,
    ids::{CartId, CustomerId, OrderId, ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
    money::{Currency, Money},
    order::{
        AfterSaleLine, Command, Happened, Line, Order, REFUNDS_MAX, Refund, RefundReason, Refusal, Status,
    },
    policy::{HoldLengths, Terms},
    time::Timestamp,
    variant::{self, Fulfilment, HoldStatus, Phase, Prepare, Reserve, Shopper},
};
use std::collections::BTreeMap;

const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: 900_000,
        extension_ms: 900_000,
        max_extensions: 3,
    },
    payment_ttl_ms: 2_100_000,
    max_ttl_ms: 86_400_000,
    units_per_customer: None,
    window_days: None,
};

const GRACE_MS: i64 = 60_000;

/// Units on hand of each variant.
const STOCK: u64 = 5;

/// Variants that are really there, and carts that listen.
#[derive(Clone, Debug)]
struct House {
    variants: BTreeMap<u32, World>,
    told: Vec<(Status, bool)>,
}

impl Peers for House {
    fn ask(&mut self, ask: &Ask, now: Timestamp) -> Answer {
        match ask {
            Ask::Variant { to, command } => {
                let world = self.variants.get_mut(&to.0).expect("it is there");
                let told = match world.ask(command, now) {
                    world::Answer::Granted(events) => {
                        let hold = events.last().and_then(|event| event.hold().cloned());
                        hold.map_or(Told::Nothing, |hold| Told::Hold(Box::new(hold)))
                    }
                    world::Answer::Repeat(hold) => Told::Hold(hold),
                    world::Answer::Nothing => Told::Nothing,
                    world::Answer::Refused(_, refusal) => Told::Refused(refusal),
                };
                let settings = &world.variant.head().settings;
                let quote = Some(Quote {
                    price: settings.price,
                    mode: settings.reservation_mode,
                });
                Answer::Variant { told, quote }
            }
            Ask::Cart { command, .. } => {
                let cart::Command::OrderStands { order, reopen } = &**command else {
                    panic!("an order only tells how it stands");
                };
                self.told.push((order.status, *reopen));
                Answer::Cart(Err(cart::Refusal::NotFound))
            }
            Ask::Order { .. } => panic!("orders ask no orders"),
        }
    }

    fn refusal(&self, ask: &Ask) -> Option<Answer> {
        let Ask::Variant { command, .. } = ask else {
            return None;
        };
        let variant::Command::Prepare { prepare, .. } = &**command else {
            return None;
        };
        let refusal = match prepare {
            Prepare::Reserve(ask) => variant::Refusal::InsufficientStock {
                requested: u64::from(ask.quantity),
                available: 0,
                next_release_at: None,
                contended: false,
            },
            _ => variant::Refusal::ExtensionLimit {
                max_expires_at: START,
            },
        };
        let told = Told::Refused(refusal);
        Some(Answer::Variant { told, quote: None })
    }
}

impl House {
    /// The variants as a caller sees them: what is held, sold and on hand, hold by hold.
    fn stock(&self) -> Vec<(u64, u64, u64, Vec<variant::Hold>)> {
        let stock = |world: &World| {
            let variant = &world.variant;
            let holds = variant.holds().cloned().collect();
            (variant.head().on_hand, variant.held(), variant.committed(), holds)
        };
        self.variants.values().map(stock).collect()
    }

    /// No hold belongs to an order, and nobody's decision is awaited.
    fn expect_nothing_of_an_order(&self, why: &str) {
        for world in self.variants.values() {
            for hold in world
                .variant
                .holds()
                .filter(|hold| hold.status != HoldStatus::Confirmed)
            {
                assert!(
                    hold.owning_order().is_none() && hold.pin.is_none(),
                    "{why}: {hold:?}"
                );
            }
        }
    }

    fn reprice(&mut self, line: &Line, amount: i64, currency: &str) {
        let world = self.variants.get_mut(&line.ordinal.0).unwrap();
        let change = variant::Command::Change {
            settings: Box::new(costs(amount, currency)),
        };
        world.ask(&change, START);
    }

    /// The cart's own hold, if it has one, is given back.
    fn let_go(&mut self, line: &Line, now: Timestamp) {
        let id = line.reservation;
        let world = self.variants.get_mut(&line.ordinal.0).unwrap();
        world.ask(&variant::Command::Release { id }, now);
    }

    /// Somebody else takes all that is free.
    fn take_all(&mut self, line: &Line, now: Timestamp) {
        let free = self.variants[&line.ordinal.0].variant.view(now).available;
        let quantity = u32::try_from(free.unwrap()).unwrap();
        if quantity > 0 {
            self.hold(line, Shopper::default(), quantity, now);
        }
    }

    /// Somebody holds units.
    fn hold(&mut self, line: &Line, shopper: Shopper, quantity: u32, now: Timestamp) -> ReservationId {
        let world = self.variants.get_mut(&line.ordinal.0).unwrap();
        let id = world.fresh_id(now);
        let ask = Reserve {
            shopper,
            ..reserve(id, quantity)
        };
        let held = world.ask(&variant::Command::Reserve(ask), now);
        assert!(matches!(held, world::Answer::Granted(_)), "{held:?}");
        id
    }
}

fn costs(amount: i64, currency: &str) -> variant::Settings {
    let currency = Currency::parse(currency).unwrap();
    variant::Settings {
        price: Some(Money { amount, currency }),
        ..variant::Settings::default()
    }
}

fn reserve(id: ReservationId, quantity: u32) -> Reserve {
    Reserve {
        id,
        quantity,
        shopper: shopper(),
        ttl_ms: None,
        allow_partial: false,
        terms: TERMS,
        for_order: None,
    }
}

fn shopper() -> Shopper {
    Shopper {
        customer: Some(CustomerId::parse("ann").unwrap()),
        session: None,
        cart: Some(cart()),
    }
}

fn cart() -> CartId {
    CartId::made(START, Slot::of_cart(1), 1)
}

fn unborn() -> Order {
    Order::unborn(
        OrderId::made(START, Slot::of_cart(1), 1),
        StoreId::parse("default").unwrap(),
    )
}

/// Variants named against the order of their lines, so that the second try goes another way than the first.
fn house(lines: u32) -> (House, Vec<Line>) {
    let mut house = House {
        variants: BTreeMap::new(),
        told: Vec::new(),
    };
    let mut all = Vec::new();
    for number in 0..lines {
        let name = format!("v{}", 9 - number);
        let ordinal = VariantOrdinal(number);
        let mut world = World::new(&name, ordinal);
        let create = variant::Command::Create {
            settings: Box::new(costs(100, "USD")),
            on_hand: STOCK,
            by: "test".to_owned(),
        };
        world.ask(&create, START);
        let (id, held) = (world.fresh_id(START), number % 2 == 0);
        if held {
            world.ask(&variant::Command::Take(reserve(id, 2)), START);
        }
        house.variants.insert(number, world);
        all.push(Line {
            variant: VariantId::parse(&name).unwrap(),
            ordinal,
            quantity: 2,
            unit_price: costs(100, "USD").price,
            reservation: id,
            held,
            hold: None,
            fulfilment: Fulfilment::default(),
        });
    }
    (house, all)
}

fn at(ms: i64) -> Timestamp {
    START.saturating_add(ms)
}

fn open(lines: &[Line]) -> Command {
    Command::Open {
        cart: cart(),
        customer: shopper().customer,
        session: None,
        lines: lines.to_vec(),
        terms: TERMS,
        grace_ms: GRACE_MS,
    }
}

fn pay(reference: &str) -> Command {
    Command::Confirm {
        reference: reference.to_owned(),
        amount: Some(0),
        currency: None,
        fresh: Vec::new(),
    }
}

fn pay_all(order: &Order, reference: &str) -> Command {
    Command::Confirm {
        reference: reference.to_owned(),
        amount: order.total().map(|total| total.amount),
        currency: Currency::parse("USD"),
        fresh: Vec::new(),
    }
}

fn says(command: Command) -> impl Fn(&Order, Timestamp) -> Result<Next<Order>, Refusal> {
    move |order, now| order.decide(&command, None, now)
}

type Outcome = Ran<Order, House>;

fn go(from: &Outcome, command: Command, now: Timestamp) -> Outcome {
    run(&from.after, &from.peers, says(command), &[], now)
}

fn opened(lines: u32) -> Outcome {
    let (house, lines) = house(lines);
    let ran = run(&unborn(), &house, says(open(&lines)), &[], at(1_000));
    assert_eq!(
        (ran.after.status, &ran.said),
        (Status::PendingPayment, &Some(Ok(())))
    );
    ran
}

fn paid(lines: u32) -> Outcome {
    let from = opened(lines);
    let ran = go(&from, pay_all(&from.after, "pay-1"), at(2_000));
    assert_eq!(ran.after.status, Status::Confirmed);
    ran
}

/// The outcome is the one without faults, to the last hold.
fn expect_same(smooth: &Outcome, ran: &Outcome, faults: &[((usize, usize), Fault)]) {
    let told = |ran: &Outcome| ran.peers.told.last().copied();
    assert_eq!(ran.after, smooth.after, "{faults:?}");
    assert_eq!(ran.said, smooth.said, "{faults:?}");
    assert_eq!(ran.peers.stock(), smooth.peers.stock(), "{faults:?}");
    assert_eq!(told(ran), told(smooth), "{faults:?}");
}
