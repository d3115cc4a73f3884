//! Carts, orders and variants in one room. The shell around `Agent` here is the smallest that keeps its promises: it logs
//! (keeps) each state, asks, gathers, concludes; a network loses asks and answers and doubles them, and a crash forgets
//! everything but the states. One command comes to its end before the next.
use crate::world::{Answer as Decided, START, World};
use holdfast::domain::{
    agent::{Agent, Answer, Ask, Next, Quote, Told, Verdict},
    cart::{Cart, Command, Happened, LineId, LineStatus, MergeStrategy, Refusal, Task},
    ids::{CartId, CustomerId, OrderId, ReservationId, Slot, StoreId, VariantOrdinal},
    key::KeyMark,
    money::{Currency, Money},
    order::{self, Order},
    policy::{ExpiredLines, HoldLengths, Limits, Policy},
    time::Timestamp,
    variant::{self, Event, Hold, HoldStatus, Reserve, Settings},
};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const POLICY: Policy = Policy {
    cart: HoldLengths {
        ttl_ms: 60_000,
        extension_ms: 30_000,
        max_extensions: 2,
    },
    guest: HoldLengths {
        ttl_ms: 60_000,
        extension_ms: 30_000,
        max_extensions: 2,
    },
    payment_ttl_ms: 120_000,
    limits: Limits {
        units_per_order: None,
        units_per_customer_per_variant: None,
        lines_per_cart: 4,
        window_days: None,
    },
    cart_idle_ms: 600_000,
    max_ttl_ms: 600_000,
    expired_lines: ExpiredLines::Keep,
    version: 1,
};

/// What the network does to one ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Double,
    LoseAsk,
    LoseAnswer,
    /// Everything is asked again by a process that knows only the last record.
    Crash,
}

pub(crate) struct House {
    pub(crate) variants: Vec<World>,
    pub(crate) carts: BTreeMap<CartId, Cart>,
    pub(crate) orders: BTreeMap<OrderId, Order>,
    pub(crate) now: Timestamp,
    pub(crate) policy: Policy,
    /// What befalls the next asks; those after them arrive.
    pub(crate) fates: VecDeque<Fate>,
    /// Everything that happened, in order.
    pub(crate) log: Vec<(CartId, Happened)>,
    /// The same of orders.
    pub(crate) order_log: Vec<(OrderId, order::Happened)>,
    /// The key each record would carry.
    pub(crate) keys: Vec<KeyMark>,
    salt: u32,
}

/// What whoever asked was told, and the state behind it.
struct Said<A: Agent> {
    said: Result<Vec<A::Happened>, A::Refusal>,
    after: A,
}

/// An agent of the house.
pub(crate) trait Lives: Agent<Happened: Clone, Refusal: Clone + PartialEq> {
    type Id: Clone + Ord;

    fn all(house: &House) -> &BTreeMap<Self::Id, Self>;
    fn all_mut(house: &mut House) -> &mut BTreeMap<Self::Id, Self>;
    fn log(house: &mut House) -> &mut Vec<(Self::Id, Self::Happened)>;
    /// One more record.
    fn count(&mut self);
    fn work_key(&self) -> Option<KeyMark>;
}

impl Lives for Cart {
    type Id = CartId;

    fn all(house: &House) -> &BTreeMap<CartId, Self> {
        &house.carts
    }

    fn all_mut(house: &mut House) -> &mut BTreeMap<CartId, Self> {
        &mut house.carts
    }

    fn log(house: &mut House) -> &mut Vec<(CartId, Happened)> {
        &mut house.log
    }

    fn count(&mut self) {
        self.revision += 1;
    }

    fn work_key(&self) -> Option<KeyMark> {
        self.work.as_ref().and_then(|work| work.key)
    }
}

impl Lives for Order {
    type Id = OrderId;

    fn all(house: &House) -> &BTreeMap<OrderId, Self> {
        &house.orders
    }

    fn all_mut(house: &mut House) -> &mut BTreeMap<OrderId, Self> {
        &mut house.orders
    }

    fn log(house: &mut House) -> &mut Vec<(OrderId, order::Happened)> {
        &mut house.order_log
    }

    fn count(&mut self) {
        self.revision += 1;
    }

    fn work_key(&self) -> Option<KeyMark> {
        self.work.as_ref().and_then(|work| work.key)
    }
}

impl House {
    /// Variants with this much stock, at 100 EUR cents each.
    pub(crate) fn new(stock: &[u64]) -> Self {
        let mut house = Self {
            variants: Vec::new(),
            carts: BTreeMap::new(),
            orders: BTreeMap::new(),
            now: START,
            policy: POLICY,
            fates: VecDeque::new(),
            log: Vec::new(),
            order_log: Vec::new(),
            keys: Vec::new(),
            salt: 0,
        };
        for (number, on_hand) in stock.iter().enumerate() {
            let ordinal = VariantOrdinal(u32::try_from(number).unwrap());
            let mut world = World::new(&format!("v{number}"), ordinal);
            let settings = Box::new(Settings {
                price: Some(price(100, "EUR")),
                ..Settings::default()
            });
            let by = "shop".to_owned();
            let on_hand = *on_hand;
            world.ask(
                &variant::Command::Create {
                    settings,
                    on_hand,
                    by,
                },
                START,
            );
            house.variants.push(world);
        }
        house
    }

    pub(crate) fn set(&mut self, variant: usize, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.variants[variant].variant.head().settings.clone();
        change(&mut settings);
        let command = variant::Command::Change {
            settings: Box::new(settings),
        };
        let now = self.now;
        self.variants[variant].ask(&command, now);
    }

    pub(crate) fn wait(&mut self, ms: i64) {
        self.now = self.now.saturating_add(ms);
    }

    pub(crate) fn befall(&mut self, fates: &[Fate]) {
        self.fates.extend(fates);
    }

    // --- what shoppers do ---

    pub(crate) fn guest(&mut self) -> CartId {
        self.cart_of(None)
    }

    pub(crate) fn cart_of(&mut self, customer: Option<&str>) -> CartId {
        let id = self.unborn();
        let create = Command::Create {
            customer: customer.map(|text| CustomerId::parse(text).unwrap()),
            session: None,
            policy: self.policy,
        };
        self.ask(&id, &create).unwrap();
        id
    }

    /// The id of a cart that is not created yet.
    pub(crate) fn unborn(&mut self) -> CartId {
        self.salt += 1;
        let id = CartId::made(START, Slot::of_cart(7), u64::from(self.salt));
        let store = StoreId::parse("default").unwrap();
        self.carts.insert(id.clone(), Cart::unborn(id.clone(), store));
        id
    }

    pub(crate) fn add(
        &mut self,
        cart: &CartId,
        variant: usize,
        quantity: u32,
    ) -> Result<Vec<Happened>, Refusal> {
        let command = self.adding(variant, quantity);
        self.ask(cart, &command)
    }

    fn adding(&mut self, variant: usize, quantity: u32) -> Command {
        Command::Add {
            customer: None,
            session: None,
            variant: self.variants[variant].variant.head().id.clone(),
            ordinal: VariantOrdinal(u32::try_from(variant).unwrap()),
            quantity,
            campaign: Some("spring".to_owned()),
            reservation: self.reservation(variant),
            policy: self.policy,
        }
    }

    /// A cart in the middle of an add that is not logged yet, and the id it holds under.
    pub(crate) fn begin_to_add(
        &mut self,
        cart: &CartId,
        variant: usize,
        quantity: u32,
    ) -> (Cart, ReservationId) {
        let command = self.adding(variant, quantity);
        let begun = self.carts[cart].decide(&command, None, self.now).unwrap().after;
        match begun.work.as_ref().map(|work| &work.task) {
            Some(Task::Hold { reservation, .. }) => (begun.clone(), *reservation),
            other => panic!("{other:?}"),
        }
    }

    /// A cart comes back in the middle of its work, and brings it to its end.
    pub(crate) fn take_up_again(&mut self, id: &CartId, cart: Cart) {
        self.carts.insert(id.clone(), cart);
        self.finish::<Cart>(id, None, true, &mut Vec::new());
        self.expect_lawful();
    }

    pub(crate) fn change(
        &mut self,
        cart: &CartId,
        variant: usize,
        quantity: u32,
    ) -> Result<Vec<Happened>, Refusal> {
        let command = Command::Change {
            line: self.line(cart, variant),
            quantity,
            reservation: self.reservation(variant),
            policy: self.policy,
        };
        self.ask(cart, &command)
    }

    pub(crate) fn remove(&mut self, cart: &CartId, variant: usize) -> Result<Vec<Happened>, Refusal> {
        let line = self.line(cart, variant);
        self.ask(cart, &Command::Remove { line })
    }

    pub(crate) fn extend(&mut self, cart: &CartId) -> Result<Vec<Happened>, Refusal> {
        let policy = self.policy;
        self.ask(cart, &Command::Extend { by_ms: None, policy })
    }

    pub(crate) fn merge(
        &mut self,
        into: &CartId,
        from: &CartId,
        strategy: MergeStrategy,
    ) -> Result<Vec<Happened>, Refusal> {
        let command = Command::Merge {
            from: from.clone(),
            strategy,
            policy: self.policy,
        };
        self.ask(into, &command)
    }

    pub(crate) fn check_out(&mut self, cart: &CartId) -> Result<OrderId, Refusal> {
        self.salt += 1;
        let order = OrderId::made(self.now, Slot::of_cart(7), u64::from(self.salt) * 7_919);
        let command = Command::Checkout {
            order: order.clone(),
            customer: None,
            grace_ms: 60_000,
            policy: self.policy,
        };
        self.ask(cart, &command).map(|_| order)
    }

    /// The line of a variant; a number that no line has if there is none.
    pub(crate) fn line(&self, cart: &CartId, variant: usize) -> LineId {
        let ordinal = VariantOrdinal(u32::try_from(variant).unwrap());
        self.carts[cart]
            .line_of(ordinal)
            .map_or(LineId(u32::MAX), |line| line.id)
    }

    fn reservation(&mut self, variant: usize) -> ReservationId {
        let now = self.now;
        self.variants[variant].fresh_id(now)
    }

    /// The lines as a shopper sees them: `v0 2 active, v1 1 expired`.
    pub(crate) fn told(&self, cart: &CartId) -> String {
        let view = self.carts[cart].view_at(self.now);
        let lines = view.lines.iter().map(|view| {
            let (line, status) = (view.line, view.status.as_str());
            format!("{} {} {status}", line.variant, line.quantity)
        });
        lines.collect::<Vec<_>>().join(", ")
    }

    /// Seconds from the start to a line's deadline.
    pub(crate) fn until(&self, cart: &CartId, variant: usize) -> i64 {
        let line = self.line(cart, variant);
        let view = self.carts[cart].view_at(self.now);
        let found = view.lines.iter().find(|view| view.line.id == line).unwrap();
        found.expires_at.unwrap().since(START) / 1000
    }

    pub(crate) fn held(&self, variant: usize) -> u64 {
        let live = self.variants[variant].variant.holds();
        live.filter(|hold| !hold.is_due(self.now))
            .map(|hold| hold.held_units())
            .sum()
    }

    // --- the shell ---

    pub(crate) fn ask(&mut self, cart: &CartId, command: &Command) -> Result<Vec<Happened>, Refusal> {
        self.ask_keyed(cart, command, None)
    }

    pub(crate) fn ask_keyed(
        &mut self,
        cart: &CartId,
        command: &Command,
        key: Option<KeyMark>,
    ) -> Result<Vec<Happened>, Refusal> {
        let next = self.carts[cart].decide(command, key, self.now)?;
        let told = self.run(cart, next, key);
        self.expect_lawful();
        told.said
    }

    /// A command to an order.
    pub(crate) fn ask_order(
        &mut self,
        order: &OrderId,
        command: &order::Command,
    ) -> Result<Vec<order::Happened>, order::Refusal> {
        let next = self.orders[order].decide(command, None, self.now)?;
        let told = self.run(order, next, None);
        self.expect_lawful();
        told.said
    }

    /// What is due by itself everywhere.
    pub(crate) fn lapse(&mut self) {
        self.lapse_all::<Order>();
        self.lapse_all::<Cart>();
        self.expect_lawful();
    }

    /// The cart has missed word of its holds.
    pub(crate) fn look(&mut self, cart: &CartId) {
        if let Some(next) = self.carts[cart].look(self.now) {
            self.run(cart, next, None);
        }
        self.expect_lawful();
    }

    /// A variant grants what a cart asked for, late.
    pub(crate) fn grant(&mut self, cart: &CartId, id: ReservationId, quantity: u32) -> Hold {
        let cart = &self.carts[cart];
        let take = variant::Command::Take(Reserve {
            id,
            quantity,
            shopper: cart.shopper(),
            ttl_ms: None,
            allow_partial: false,
            terms: self.policy.terms(true),
            for_order: None,
        });
        let now = self.now;
        let world = &mut self.variants[id.variant().0 as usize];
        world.ask(&take, now);
        world.variant.hold(id).unwrap().clone()
    }

    fn lapse_all<A: Lives>(&mut self) {
        for id in A::all(self).keys().cloned().collect::<Vec<_>>() {
            while let Some(next) = A::all(self)[&id].due(self.now) {
                // Nobody asked: a refusal is told to nobody.
                self.run(&id, next, None);
            }
        }
    }

    /// Takes the step and goes on until nothing is worked on any more.
    fn run<A: Lives>(&mut self, id: &A::Id, next: Next<A>, key: Option<KeyMark>) -> Said<A> {
        let mut happened = Vec::new();
        let told = self.step(id, next, key, &mut happened);
        let told = self.finish(id, told, false, &mut happened);
        told.expect("whoever asked is told before the work ends")
    }

    /// Goes on with the work in hand, which somebody else may have asked for; what whoever waits is told.
    fn finish<A: Lives>(
        &mut self,
        id: &A::Id,
        mut told: Option<Said<A>>,
        mut resumes: bool,
        happened: &mut Vec<A::Happened>,
    ) -> Option<Said<A>> {
        for _ in 0..200 {
            if !A::all(self)[id].is_working() {
                return told;
            }
            let answers = self.round::<A>(id, resumes);
            resumes = answers.is_none();
            let Some(answers) = answers else {
                continue;
            };
            let next = A::all(self)[id].conclude(&answers, self.now);
            let said = self.step(id, next, None, happened);
            told = told.or(said);
        }
        panic!("still working: {:?}", A::all(self)[id]);
    }

    /// Logs a state; what whoever asked is told, if that is said.
    fn step<A: Lives>(
        &mut self,
        id: &A::Id,
        next: Next<A>,
        key: Option<KeyMark>,
        happened: &mut Vec<A::Happened>,
    ) -> Option<Said<A>> {
        let mut after = next.after;
        let before = &A::all(self)[id];
        if after != *before {
            after.count();
        }
        after
            .check()
            .unwrap_or_else(|broken| panic!("{broken}: {after:?}"));
        if next.verdict == Verdict::Done {
            let begun = before.work_key();
            self.keys.extend(key.or(begun));
        }
        A::all_mut(self).insert(id.clone(), after.clone());
        happened.extend(next.happened.iter().cloned());
        let said = next.happened.into_iter().map(|happened| (id.clone(), happened));
        A::log(self).extend(said);
        let said = match next.verdict {
            Verdict::Working => return None,
            Verdict::Done => Ok(happened.clone()),
            Verdict::Refused(refusal) => Err(refusal),
        };
        Some(Said { said, after })
    }

    /// Asks everything once; no answers after a crash.
    fn round<A: Lives>(&mut self, id: &A::Id, resumes: bool) -> Option<Vec<Answer>> {
        let asks = || {
            let agent = &A::all(self)[id];
            if resumes { agent.asks_again() } else { agent.asks() }
        };
        let (asks, same) = (asks(), asks());
        assert!(!asks.is_empty(), "work asks something: {:?}", A::all(self)[id]);
        assert_eq!(asks, same, "the same asks");
        let mut answers = Vec::new();
        for ask in &asks {
            let answer = match self.fates.pop_front().unwrap_or(Fate::Deliver) {
                Fate::Deliver => self.deliver(ask),
                Fate::Double => {
                    self.deliver(ask);
                    self.deliver(ask)
                }
                Fate::LoseAsk => Answer::Unanswered,
                Fate::LoseAnswer => {
                    self.deliver(ask);
                    Answer::Unanswered
                }
                Fate::Crash => {
                    self.deliver(ask);
                    return None;
                }
            };
            answers.push(answer);
        }
        Some(answers)
    }

    fn deliver(&mut self, ask: &Ask) -> Answer {
        let store = StoreId::parse("default").unwrap();
        match ask {
            Ask::Variant { to, command } => self.ask_variant(*to, command),
            Ask::Cart { to, command } => {
                let unborn = Cart::unborn(to.clone(), store);
                self.answer(to, unborn, command)
                    .map_or(Answer::Unanswered, Answer::Cart)
            }
            Ask::Order { to, command } => {
                let unborn = Order::unborn(to.clone(), store);
                self.answer(to, unborn, command)
                    .map_or(Answer::Unanswered, Answer::Order)
            }
        }
    }

    /// What an agent that another one asks does and answers; nothing while it has to wait.
    fn answer<A: Lives>(
        &mut self,
        id: &A::Id,
        unborn: A,
        command: &A::Command,
    ) -> Option<Result<Box<A>, A::Refusal>> {
        let agent = A::all_mut(self).entry(id.clone()).or_insert(unborn).clone();
        if agent.waits(command) {
            return None;
        }
        let next = match agent.decide(command, None, self.now) {
            Ok(next) => next,
            Err(refusal) => return Some(Err(refusal)),
        };
        let said = if agent.is_working() {
            // It neither touches the work nor begins any.
            self.step(id, next, None, &mut Vec::new())?
        } else {
            self.run(id, next, None)
        };
        Some(said.said.map(|_| Box::new(said.after)))
    }

    fn ask_variant(&mut self, to: VariantOrdinal, command: &variant::Command) -> Answer {
        let world = &mut self.variants[to.0 as usize];
        let told = match world.ask(command, self.now) {
            Decided::Granted(events) => events
                .last()
                .and_then(Event::hold)
                .map_or(Told::Nothing, |hold| Told::Hold(Box::new(hold.clone()))),
            Decided::Nothing => Told::Nothing,
            Decided::Repeat(hold) => Told::Hold(hold),
            Decided::Refused(_, refusal) => Told::Refused(refusal),
        };
        let settings = &world.variant.head().settings;
        let quote = Some(Quote {
            price: settings.price,
            mode: settings.reservation_mode,
        });
        Answer::Variant { told, quote }
    }

    // --- what becomes of orders ---

    /// A payment of what the order costs succeeded.
    pub(crate) fn pay(&mut self, id: &OrderId, reference: &str) -> Result<(), order::Refusal> {
        let total = self.orders[id].total();
        let pay = order::Command::Confirm {
            reference: reference.to_owned(),
            amount: total.map(|total| total.amount),
            currency: total.map(|total| total.currency),
            fresh: Vec::new(),
        };
        self.ask_order(id, &pay).map(drop)
    }

    /// The payment failed.
    pub(crate) fn fail(&mut self, id: &OrderId) -> Result<(), order::Refusal> {
        self.ask_order(id, &order::Command::Fail).map(drop)
    }

    /// The whole order is cancelled.
    pub(crate) fn cancel(&mut self, id: &OrderId, close_cart: bool) -> Result<(), order::Refusal> {
        let cancel = order::Command::Cancel {
            lines: None,
            restock: true,
            close_cart,
            by: "shop".to_owned(),
        };
        self.ask_order(id, &cancel).map(drop)
    }

    /// Somebody acts on a hold by its id, and its cart is told.
    pub(crate) fn by_id(
        &mut self,
        cart: &CartId,
        variant: usize,
        act: impl FnOnce(ReservationId) -> variant::Command,
    ) {
        let line = self.line(cart, variant);
        let view = self.carts[cart].view_at(self.now);
        let found = view.lines.iter().find(|view| view.line.id == line).unwrap();
        let id = found.reservation.unwrap();
        let ordinal = VariantOrdinal(u32::try_from(variant).unwrap());
        let Answer::Variant {
            told: Told::Hold(hold),
            ..
        } = self.ask_variant(ordinal, &act(id))
        else {
            panic!("nobody could act on {id}");
        };
        let notice = Command::HoldChanged(hold);
        for _ in 0..2 {
            self.ask(cart, &notice).unwrap();
        }
    }

    // --- laws ---

    /// AGREE, both ways. Nothing is in the middle of work here.
    pub(crate) fn expect_lawful(&self) {
        for cart in self.carts.values() {
            cart.check().unwrap();
            assert!(!cart.is_working());
            for line in &cart.lines {
                let world = &self.variants[line.ordinal.0 as usize];
                let hold = match &line.hold {
                    holdfast::domain::cart::LineHold::Held(kept) => world.variant.hold(kept.reservation),
                    _ => None,
                };
                let agrees = cart.check_line(line, hold, self.now);
                agrees.unwrap_or_else(|broken| panic!("{broken}: {cart:?}"));
            }
        }
        for world in &self.variants {
            world.variant.recount().unwrap();
            let live = world
                .variant
                .holds()
                .filter(|hold| hold.status == HoldStatus::Active);
            for hold in live.filter(|hold| !hold.is_due(self.now)) {
                let Some(cart) = &hold.shopper.cart else { continue };
                let cart = &self.carts[cart];
                let order = hold.order.as_ref().map(|order| &self.orders[order]);
                let owes = |order: &Order| {
                    order.status == order::Status::PendingPayment
                        && order.lines.iter().any(|line| line.reservation == hold.id)
                };
                assert!(
                    order.map_or(cart.accounts_for(hold.id), owes),
                    "nobody answers for {hold:?}: {cart:?}"
                );
                assert!(hold.pin.is_none(), "nobody decides about {hold:?}");
            }
        }
        for order in self.orders.values() {
            order.check().unwrap();
            assert!(!order.is_working());
        }
    }

    pub(crate) fn count(&self, cart: &CartId, status: LineStatus) -> usize {
        let view = self.carts[cart].view_at(self.now);
        view.lines.iter().filter(|view| view.status == status).count()
    }
}

pub(crate) fn price(amount: i64, currency: &str) -> Money {
    Money {
        amount,
        currency: Currency::parse(currency).unwrap(),
    }
}
