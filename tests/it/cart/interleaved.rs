//! Random interleavings message by message: carts, orders and variants as actors with mailboxes, whose deliveries, losses,
//! doubles, time-outs and crashes come in any order, while shoppers and payment providers go on asking. What has to hold is
//! naive: units are conserved, an order has one outcome, a payment is taken or asked back once, an answer stays true, and when
//! nothing is under way all sides agree.
//!
//! `HOLDFAST_INTERLEAVINGS` says how many there are; each is a seed, and a seed that fails is named.
mod agreement;

use super::house::{POLICY, price};
use crate::world::{Answer as Decided, START, World};
use holdfast::domain::{
    agent::{Agent, Answer, Ask, Next, Quote, Told, Verdict},
    cart::{self, Cart, LineId, MergeStrategy},
    ids::{CartId, CustomerId, OrderId, Slot, StoreId, VariantOrdinal},
    order::{self, AfterSaleLine, Order},
    time::Timestamp,
    variant::{self, Event, Settings},
};
use std::collections::{BTreeMap, VecDeque};

/// As many as take a few seconds.
const INTERLEAVINGS: u64 = 400;

/// Random steps of one.
const STEPS: usize = 120;

/// Units on hand of each variant.
const STOCK: [u64; 3] = [3, 5, 8];

const CARTS: usize = 3;

#[test]
fn any_interleaving_ends_in_agreement() {
    let wanted = std::env::var("HOLDFAST_INTERLEAVINGS").ok();
    let count = wanted.map_or(INTERLEAVINGS, |count| count.parse().unwrap());
    for seed in 0..count {
        let run = std::panic::catch_unwind(|| Sim::new(seed).run());
        assert!(run.is_ok(), "interleaving {seed}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Cart(u128),
    Order(u128),
    Variant(u32),
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
struct Address {
    to: Who,
    round: u64,
    place: usize,
}

#[derive(Clone, Debug)]
enum Mail {
    Ask {
        ask: Ask,
        from: Address,
    },
    Answer {
        answer: Answer,
        at: Address,
    },
    /// A caller's, who may hang up but whose answer is remembered.
    CartCommand(cart::Command),
    OrderCommand(order::Command),
}

/// What a running agent knows beside its state: gone with a crash.
struct Desk<A: Agent> {
    waiting: VecDeque<(A::Command, Option<Address>)>,
    caller: Option<(A::Command, Option<Address>)>,
    round: u64,
    answers: Vec<Option<Answer>>,
    /// It has just come back.
    resumes: bool,
}

impl<A: Agent> Desk<A> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            caller: None,
            round: 0,
            answers: Vec::new(),
            resumes: false,
        }
    }

    /// Of an agent that comes back in the middle of its work, or without any.
    fn of(agent: &A) -> Self {
        Self {
            resumes: agent.is_working(),
            ..Self::new()
        }
    }
}

struct Sim {
    random: fastrand::Rng,
    now: Timestamp,
    variants: Vec<World>,
    carts: BTreeMap<u128, (Cart, Desk<Cart>)>,
    orders: BTreeMap<u128, (Order, Desk<Order>)>,
    /// In order for each receiver.
    mail: BTreeMap<Who, VecDeque<Mail>>,
    rounds: u64,
    ids: u64,
    /// Those that shoppers use; one that has ended is followed by another.
    shopped: Vec<u128>,
    told: Vec<(u128, order::Happened)>,
    /// What payment providers were answered: order, reference, whether it was taken.
    answered: Vec<(u128, String, bool)>,
    faulty: bool,
}

fn store() -> StoreId {
    StoreId::parse("default").unwrap()
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut sim = Self {
            random: fastrand::Rng::with_seed(seed),
            now: START,
            variants: Vec::new(),
            carts: BTreeMap::new(),
            orders: BTreeMap::new(),
            mail: BTreeMap::new(),
            rounds: 0,
            ids: 0,
            shopped: Vec::new(),
            told: Vec::new(),
            answered: Vec::new(),
            faulty: true,
        };
        for (number, on_hand) in STOCK.iter().enumerate() {
            let ordinal = VariantOrdinal(u32::try_from(number).unwrap());
            let mut world = World::new(&format!("v{number}"), ordinal);
            let settings = Settings {
                price: Some(price(100, "EUR")),
                units_per_customer: (number == 1).then_some(4),
                ..Settings::default()
            };
            let create = variant::Command::Create {
                settings: Box::new(settings),
                on_hand: *on_hand,
                by: "shop".to_owned(),
            };
            world.ask(&create, START);
            sim.variants.push(world);
        }
        for _ in 0..CARTS {
            let cart = sim.make_cart();
            sim.shopped.push(cart);
        }
        sim
    }

    fn make_cart(&mut self) -> u128 {
        self.ids += 1;
        let id = CartId::made(START, Slot::of_cart(7), self.ids);
        let number = id.bits().unwrap();
        let cart = Cart::unborn(id, store());
        let customer = self
            .ids
            .is_multiple_of(2)
            .then(|| CustomerId::parse("ann").unwrap());
        let create = cart::Command::Create {
            customer,
            session: None,
            policy: POLICY,
        };
        let made = cart.decide(&create, None, self.now).unwrap();
        self.carts.insert(number, (made.after, Desk::new()));
        number
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.any_step();
        }
        self.faulty = false;
        self.settle();
        self.expect_agreement();
        self.give_everything_back();
        self.expect_outcomes();
    }

    // --- steps ---

    fn any_step(&mut self) {
        match self.random.u32(..100) {
            0..30 => self.command(),
            30..88 => self.deliver_any(),
            88..93 => self.time_out_any(),
            93..96 => self.crash_any(),
            96..99 => self.wait(),
            _ => self.settle(),
        }
    }

    fn wait(&mut self) {
        let wait_ms = match self.random.u32(..10) {
            0..5 => self.random.i64(1..500),
            5..9 => self.random.i64(1..14) * 5_000,
            _ => 600_000,
        };
        self.pass(wait_ms);
    }

    fn pass(&mut self, wait_ms: i64) {
        self.now = self.now.saturating_add(wait_ms);
        for world in &mut self.variants {
            world.expire(self.now, 256);
        }
        self.pump_all();
    }

    /// Somebody asks for something.
    fn command(&mut self) {
        let place = self.random.usize(..CARTS);
        if self.carts[&self.shopped[place]].0.ended_at.is_some() {
            self.shopped[place] = self.make_cart();
        }
        let cart = self.shopped[place];
        let known: Vec<u128> = self.orders.keys().copied().collect();
        if !known.is_empty() && self.random.u32(..3) == 0 {
            let order = known[self.random.usize(..known.len())];
            let command = self.of_an_order(order);
            return self.post(Who::Order(order), Mail::OrderCommand(command));
        }
        let command = self.of_a_cart(cart);
        self.post(Who::Cart(cart), Mail::CartCommand(command));
    }

    fn of_a_cart(&mut self, number: u128) -> cart::Command {
        let variant = self.random.usize(..STOCK.len());
        let quantity = self.random.u32(1..4);
        let reservation = self.variants[variant].fresh_id(self.now);
        let line = LineId(self.random.u32(1..6));
        let policy = POLICY;
        match self.random.u32(..20) {
            0..8 => cart::Command::Add {
                customer: None,
                session: None,
                variant: self.variants[variant].variant.head().id.clone(),
                ordinal: VariantOrdinal(u32::try_from(variant).unwrap()),
                quantity,
                campaign: None,
                reservation,
                policy,
            },
            8..10 => {
                // A line keeps its number and its variant for life.
                let line = self.carts[&number].0.lines.first().cloned();
                let Some(line) = line else {
                    return cart::Command::Extend { by_ms: None, policy };
                };
                let reservation = self.variants[line.ordinal.0 as usize].fresh_id(self.now);
                cart::Command::Change {
                    line: line.id,
                    quantity,
                    reservation,
                    policy,
                }
            }
            10..12 => cart::Command::Remove { line },
            12 => cart::Command::Extend { by_ms: None, policy },
            13 => cart::Command::Merge {
                from: CartId::from_bits(self.shopped[self.random.usize(..CARTS)]).unwrap(),
                strategy: [MergeStrategy::Sum, MergeStrategy::Max, MergeStrategy::Keep]
                    [self.random.usize(..3)],
                policy,
            },
            14 if self.random.bool() => cart::Command::Delete,
            _ => {
                self.ids += 1;
                cart::Command::Checkout {
                    order: OrderId::made(START, Slot::of_cart(7), self.ids),
                    customer: self.random.bool().then(|| CustomerId::parse("ann").unwrap()),
                    grace_ms: 60_000,
                    policy,
                }
            }
        }
    }

    fn of_an_order(&mut self, number: u128) -> order::Command {
        let by = || "shop".to_owned();
        let order = &self.orders[&number].0;
        let lines = order.lines.get(self.random.usize(..3)).map(|line| {
            vec![AfterSaleLine {
                variant: line.variant.clone(),
                quantity: Some(1),
            }]
        });
        let restock = true;
        let total = order.total();
        match self.random.u32(..12) {
            0..6 => order::Command::Confirm {
                reference: format!("p{}", self.random.u32(..3)),
                amount: total.map(|total| total.amount + i64::from(self.random.u32(..12) == 0)),
                currency: None,
                fresh: Vec::new(),
            },
            6 => order::Command::Fail,
            7 => order::Command::Cancel {
                lines: None,
                restock,
                close_cart: self.random.bool(),
                by: by(),
            },
            8 => order::Command::Cancel {
                lines,
                restock,
                close_cart: false,
                by: by(),
            },
            9..11 => order::Command::Fulfil { lines, by: by() },
            _ => order::Command::Return {
                lines,
                restock,
                by: by(),
            },
        }
    }

    // --- the net ---

    fn post(&mut self, to: Who, mail: Mail) {
        self.mail.entry(to).or_default().push_back(mail);
    }

    fn deliver_any(&mut self) {
        let full: Vec<Who> = self.mail.keys().copied().collect();
        if full.is_empty() {
            return;
        }
        let to = full[self.random.usize(..full.len())];
        let fate = if self.faulty { self.random.u32(..20) } else { 9 };
        let Some(mail) = self.take(to) else { return };
        match fate {
            0 => {}
            1 if !matches!(mail, Mail::CartCommand(_) | Mail::OrderCommand(_)) => {
                self.handle(to, mail.clone());
                self.handle(to, mail);
            }
            _ => self.handle(to, mail),
        }
    }

    fn take(&mut self, to: Who) -> Option<Mail> {
        let queue = self.mail.get_mut(&to)?;
        let mail = queue.pop_front();
        if queue.is_empty() {
            self.mail.remove(&to);
        }
        mail
    }

    fn handle(&mut self, to: Who, mail: Mail) {
        match (to, mail) {
            (
                Who::Variant(number),
                Mail::Ask {
                    ask: Ask::Variant { command, .. },
                    from,
                },
            ) => {
                let answer = self.ask_variant(number as usize, &command);
                self.post(from.to, Mail::Answer { answer, at: from });
            }
            (
                Who::Cart(number),
                Mail::Ask {
                    ask: Ask::Cart { command, .. },
                    from,
                },
            ) => {
                self.take_in::<Cart>(number, *command, Some(from));
            }
            (
                Who::Order(number),
                Mail::Ask {
                    ask: Ask::Order { command, .. },
                    from,
                },
            ) => {
                let unborn = || {
                    (
                        Order::unborn(OrderId::from_bits(number).unwrap(), store()),
                        Desk::new(),
                    )
                };
                self.orders.entry(number).or_insert_with(unborn);
                self.take_in::<Order>(number, *command, Some(from));
            }
            (Who::Cart(number), Mail::CartCommand(command)) => self.take_in::<Cart>(number, command, None),
            (Who::Order(number), Mail::OrderCommand(command)) => self.take_in::<Order>(number, command, None),
            (Who::Cart(number), Mail::Answer { answer, at }) => self.gather::<Cart>(number, answer, at),
            (Who::Order(number), Mail::Answer { answer, at }) => self.gather::<Order>(number, answer, at),
            (to, mail) => panic!("{mail:?} for {to:?}"),
        }
    }

    fn ask_variant(&mut self, number: usize, command: &variant::Command) -> Answer {
        let told = match self.variants[number].ask(command, self.now) {
            Decided::Granted(events) => events
                .last()
                .and_then(Event::hold)
                .map_or(Told::Nothing, |hold| Told::Hold(Box::new(hold.clone()))),
            Decided::Nothing => Told::Nothing,
            Decided::Repeat(hold) => Told::Hold(hold),
            Decided::Refused(_, refusal) => Told::Refused(refusal),
        };
        let settings = &self.variants[number].variant.head().settings;
        let quote = Some(Quote {
            price: settings.price,
            mode: settings.reservation_mode,
        });
        Answer::Variant { told, quote }
    }

    // --- agents ---

    fn take_in<A: Lives>(&mut self, number: u128, command: A::Command, from: Option<Address>) {
        let now = self.now;
        let (agent, desk) = A::seat(self, number);
        if agent.is_working() && !agent.waits(&command) {
            return match agent.decide(&command, None, now) {
                Ok(next) => self.step::<A>(number, next, Some((command, from))),
                Err(refusal) => self.tell::<A>(number, &command, from, Err(refusal)),
            };
        }
        desk.waiting.push_back((command, from));
        self.pump::<A>(number);
    }

    fn gather<A: Lives>(&mut self, number: u128, answer: Answer, at: Address) {
        let (_, desk) = A::seat(self, number);
        if at.round == desk.round
            && let Some(slot @ None) = desk.answers.get_mut(at.place)
        {
            *slot = Some(answer);
        } else if let Some(command) = A::word_of(answer) {
            desk.waiting.push_back((command, None));
        }
        self.pump::<A>(number);
    }

    /// Goes on as far as it can without another message.
    fn pump<A: Lives>(&mut self, number: u128) {
        loop {
            let now = self.now;
            let (agent, desk) = A::seat(self, number);
            if agent.is_working() {
                if desk.answers.is_empty() {
                    self.ask::<A>(number);
                    return;
                }
                if desk.answers.iter().any(Option::is_none) {
                    return;
                }
                let answers: Vec<Answer> = desk.answers.drain(..).flatten().collect();
                let next = agent.conclude(&answers, now);
                let waits = next.after == *agent && next.verdict == Verdict::Working;
                let caller = desk.caller.take();
                self.step::<A>(number, next, caller);
                if waits {
                    return; // It asks again at its next time-out.
                }
            } else if let Some(next) = agent.due(now) {
                self.step::<A>(number, next, None);
            } else if let Some((command, from)) = desk.waiting.pop_front() {
                match agent.decide(&command, None, now) {
                    Ok(next) => self.step::<A>(number, next, Some((command, from))),
                    Err(refusal) => self.tell::<A>(number, &command, from, Err(refusal)),
                }
            } else {
                return;
            }
        }
    }

    fn pump_all(&mut self) {
        for number in self.carts.keys().copied().collect::<Vec<_>>() {
            self.pump::<Cart>(number);
        }
        for number in self.orders.keys().copied().collect::<Vec<_>>() {
            self.pump::<Order>(number);
        }
    }

    fn ask<A: Lives>(&mut self, number: u128) {
        self.rounds += 1;
        let round = self.rounds;
        let (agent, desk) = A::seat(self, number);
        let resumes = std::mem::take(&mut desk.resumes);
        let asks = if resumes { agent.asks_again() } else { agent.asks() };
        assert!(!asks.is_empty(), "work asks something: {agent:?}");
        desk.round = round;
        desk.answers = vec![None; asks.len()];
        for (place, ask) in asks.into_iter().enumerate() {
            let from = Address {
                to: A::who(number),
                round,
                place,
            };
            let to = match &ask {
                Ask::Variant { to, .. } => Who::Variant(to.0),
                Ask::Cart { to, .. } => Who::Cart(to.bits().unwrap()),
                Ask::Order { to, .. } => Who::Order(to.bits().unwrap()),
            };
            self.post(to, Mail::Ask { ask, from });
        }
    }

    /// Logs a state, and tells whoever asked.
    fn step<A: Lives>(&mut self, number: u128, next: Next<A>, caller: Option<Caller<A>>) {
        let mut after = next.after;
        after
            .check()
            .unwrap_or_else(|broken| panic!("{broken}: {after:?}"));
        let (agent, _) = A::seat(self, number);
        if after != *agent {
            after.count();
        }
        *agent = after.clone();
        A::happened(self, number, next.happened);
        let said = match next.verdict {
            Verdict::Working => {
                A::seat(self, number).1.caller = caller;
                return;
            }
            Verdict::Done => Ok(Box::new(after)),
            Verdict::Refused(refusal) => Err(refusal),
        };
        if let Some((command, from)) = caller {
            self.tell::<A>(number, &command, from, said);
        }
    }

    fn tell<A: Lives>(
        &mut self,
        number: u128,
        command: &A::Command,
        from: Option<Address>,
        said: Result<Box<A>, A::Refusal>,
    ) {
        match from {
            Some(at) => self.post(
                at.to,
                Mail::Answer {
                    answer: A::answer(said),
                    at,
                },
            ),
            None => A::note(self, number, command, said.err()),
        }
    }

    // --- what goes wrong ---

    fn time_out_any(&mut self) {
        let busy = self.busy();
        if !busy.is_empty() {
            let who = busy[self.random.usize(..busy.len())];
            self.time_out(who);
        }
    }

    fn busy(&self) -> Vec<Who> {
        let carts = self.carts.iter().filter(|(_, (cart, _))| cart.is_working());
        let orders = self.orders.iter().filter(|(_, (order, _))| order.is_working());
        let carts = carts.map(|(number, _)| Who::Cart(*number));
        carts
            .chain(orders.map(|(number, _)| Who::Order(*number)))
            .collect()
    }

    fn time_out(&mut self, who: Who) {
        match who {
            Who::Cart(number) => self.time_out_of::<Cart>(number),
            Who::Order(number) => self.time_out_of::<Order>(number),
            Who::Variant(_) => {}
        }
    }

    fn time_out_of<A: Lives>(&mut self, number: u128) {
        let (_, desk) = A::seat(self, number);
        let open = desk.answers.iter_mut().filter(|answer| answer.is_none());
        open.for_each(|answer| *answer = Some(Answer::Unanswered));
        self.pump::<A>(number);
    }

    /// One actor ends with everything it knew but its state, or all of them do.
    fn crash_any(&mut self) {
        let busy = self.busy();
        if busy.is_empty() || self.random.bool() {
            self.mail.clear();
            self.carts
                .values_mut()
                .for_each(|(cart, desk)| *desk = Desk::of(cart));
            self.orders
                .values_mut()
                .for_each(|(order, desk)| *desk = Desk::of(order));
            return self.pump_all();
        }
        let who = busy[self.random.usize(..busy.len())];
        self.mail.remove(&who);
        match who {
            Who::Cart(number) => Cart::comes_back(self, number),
            Who::Order(number) => Order::comes_back(self, number),
            Who::Variant(_) => {}
        }
        self.pump_all();
    }

    /// Everything that is under way comes to its end.
    fn settle(&mut self) {
        for round in 0..2_000 {
            while !self.mail.is_empty() {
                self.deliver_any();
            }
            let busy = self.busy();
            if busy.is_empty() {
                return;
            }
            busy.into_iter().for_each(|who| self.time_out(who));
            if round % 20 == 19 {
                self.pass(500);
            }
        }
        panic!("it never ends: {:?}", self.busy());
    }
}

/// Who a command is for, beside it.
type Caller<A> = (<A as Agent>::Command, Option<Address>);

/// An agent of the house.
trait Lives: Agent<Command: Clone, Refusal: PartialEq> {
    fn seat(sim: &mut Sim, number: u128) -> (&mut Self, &mut Desk<Self>);
    fn who(number: u128) -> Who;
    /// It has ended with everything it knew but its state.
    fn comes_back(sim: &mut Sim, number: u128) {
        let (agent, desk) = Self::seat(sim, number);
        *desk = Desk::of(agent);
    }
    /// One more record.
    fn count(&mut self);
    fn answer(said: Result<Box<Self>, Self::Refusal>) -> Answer;
    fn happened(sim: &mut Sim, number: u128, happened: Vec<Self::Happened>);
    /// A caller was answered.
    fn note(sim: &mut Sim, number: u128, command: &Self::Command, refusal: Option<Self::Refusal>);
}

impl Lives for Cart {
    fn seat(sim: &mut Sim, number: u128) -> (&mut Self, &mut Desk<Self>) {
        let (cart, desk) = sim.carts.get_mut(&number).unwrap();
        (cart, desk)
    }

    fn who(number: u128) -> Who {
        Who::Cart(number)
    }

    fn count(&mut self) {
        self.revision += 1;
    }

    fn answer(said: Result<Box<Self>, cart::Refusal>) -> Answer {
        Answer::Cart(said)
    }

    fn happened(_: &mut Sim, _: u128, _: Vec<cart::Happened>) {}

    fn note(_: &mut Sim, _: u128, _: &cart::Command, _: Option<cart::Refusal>) {}
}

impl Lives for Order {
    fn seat(sim: &mut Sim, number: u128) -> (&mut Self, &mut Desk<Self>) {
        let (order, desk) = sim.orders.get_mut(&number).unwrap();
        (order, desk)
    }

    fn who(number: u128) -> Who {
        Who::Order(number)
    }

    fn count(&mut self) {
        self.revision += 1;
    }

    fn answer(said: Result<Box<Self>, order::Refusal>) -> Answer {
        Answer::Order(said)
    }

    fn happened(sim: &mut Sim, number: u128, happened: Vec<order::Happened>) {
        let told = happened.into_iter().map(|happened| (number, happened));
        sim.told.extend(told);
    }

    fn note(sim: &mut Sim, number: u128, command: &order::Command, refusal: Option<order::Refusal>) {
        let order::Command::Confirm { reference, .. } = command else {
            return;
        };
        let taken = match refusal {
            None => true,
            Some(order::Refusal::RefundRequired { .. } | order::Refusal::AmountMismatch { .. }) => false,
            Some(_) => return,
        };
        sim.answered.push((number, reference.clone(), taken));
    }
}
