//! Carts and variants in one room, and an order that takes, keeps and gives back holds the way the saga does. The shell around
//! `Agent` here is the smallest that keeps its promises: it logs (keeps) each state, asks, gathers, concludes; a network
//! loses asks and answers and doubles them, and a crash forgets everything but the states.
use crate::world::{Answer as Decided, START, World};
use holdfast::domain::{
    agent::{Agent, Answer, Ask, Next, Quote, Told, Verdict},
    cart::{Cart, Command, Happened, LineId, LineStatus, MergeStrategy, Refusal, Status},
    ids::{CartId, CustomerId, OrderId, ReservationId, Slot, StoreId, VariantOrdinal},
    key::KeyMark,
    money::{Currency, Money},
    order::{self, Order},
    policy::{ExpiredLines, HoldLengths, Limits, Policy},
    time::Timestamp,
    variant::{self, Event, Extend, HoldStatus, Phase, Reserve, Settings, Shopper},
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
    /// The key each record would carry.
    pub(crate) keys: Vec<KeyMark>,
    salt: u32,
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
        let command = Command::Add {
            customer: None,
            session: None,
            variant: self.variants[variant].variant.head().id.clone(),
            ordinal: VariantOrdinal(u32::try_from(variant).unwrap()),
            quantity,
            campaign: Some("spring".to_owned()),
            reservation: self.reservation(variant),
            policy: self.policy,
        };
        self.ask(cart, &command)
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
        let before = self.carts[cart].clone();
        let decided = before.decide(command, key, self.now);
        let told = self.run(cart, decided?, key);
        self.expect_lawful();
        told
    }

    /// What is due by itself everywhere.
    pub(crate) fn lapse(&mut self) {
        for cart in self.carts.keys().cloned().collect::<Vec<_>>() {
            while let Some(next) = self.carts[&cart].due(self.now) {
                // Nobody asked: a refusal is told to nobody.
                let _ = self.run(&cart, next, None);
            }
        }
        self.expect_lawful();
    }

    /// Takes the step and goes on until nothing is worked on any more.
    fn run(
        &mut self,
        cart: &CartId,
        next: Next<Cart>,
        key: Option<KeyMark>,
    ) -> Result<Vec<Happened>, Refusal> {
        let mut happened = Vec::new();
        let mut told = self.step(cart, next, key, &mut happened);
        for _ in 0..200 {
            if !self.carts[cart].is_working() {
                return told.expect("whoever asked is told before the work ends");
            }
            let Some(answers) = self.round(cart) else { continue };
            let next = self.carts[cart].conclude(&answers, self.now);
            let mut more = Vec::new();
            let verdict = self.step(cart, next, None, &mut more);
            if told.is_none() {
                happened.extend(more);
                told = verdict.map(|verdict| verdict.map(|_| happened.clone()));
            }
        }
        panic!("still working: {:?}", self.carts[cart]);
    }

    /// Logs a state; what whoever asked is told, if that is said.
    fn step(
        &mut self,
        cart: &CartId,
        next: Next<Cart>,
        key: Option<KeyMark>,
        happened: &mut Vec<Happened>,
    ) -> Option<Result<Vec<Happened>, Refusal>> {
        let mut after = next.after;
        let before = &self.carts[cart];
        if after != *before {
            after.revision += 1;
        }
        after
            .check()
            .unwrap_or_else(|broken| panic!("{broken}: {after:?}"));
        if next.verdict == Verdict::Done {
            let begun = before.work.as_ref().and_then(|work| work.key);
            self.keys.extend(key.or(begun));
        }
        self.carts.insert(cart.clone(), after);
        happened.extend(next.happened.iter().cloned());
        let said = next.happened.into_iter().map(|happened| (cart.clone(), happened));
        self.log.extend(said);
        match next.verdict {
            Verdict::Working => None,
            Verdict::Done => Some(Ok(happened.clone())),
            Verdict::Refused(refusal) => Some(Err(refusal)),
        }
    }

    /// Asks everything once; nothing after a crash.
    fn round(&mut self, cart: &CartId) -> Option<Vec<Answer>> {
        let asks = self.carts[cart].asks();
        assert!(!asks.is_empty(), "work asks something: {:?}", self.carts[cart]);
        assert_eq!(
            format!("{asks:?}"),
            format!("{:?}", self.carts[cart].asks()),
            "the same asks"
        );
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
        match ask {
            Ask::Variant { to, command } => self.ask_variant(*to, command),
            Ask::Cart { to, command } => {
                let store = StoreId::parse("default").unwrap();
                let cart = self.carts.get(to).cloned();
                let cart = cart.unwrap_or_else(|| Cart::unborn(to.clone(), store));
                if cart.waits(command) {
                    return Answer::Unanswered;
                }
                Answer::Cart(cart.decide(command, None, self.now).map(|next| {
                    self.carts.insert(to.clone(), cart);
                    self.step(to, next, None, &mut Vec::new());
                    Box::new(self.carts[to].clone())
                }))
            }
            Ask::Order { to, command } => Answer::Order(self.open(to, command)),
        }
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

    // --- the order ---

    /// Takes every line or none.
    fn open(&mut self, id: &OrderId, command: &order::Command) -> Result<Box<Order>, order::Refusal> {
        if let Some(order) = self.orders.get(id) {
            return Ok(Box::new(order.clone()));
        }
        let order::Command::Open {
            cart,
            customer,
            session,
            lines,
            terms,
            grace_ms,
        } = command
        else {
            panic!("carts only open orders");
        };
        let before = self.variants.clone();
        let mut order = Order {
            id: id.clone(),
            store: StoreId::parse("default").unwrap(),
            cart: cart.clone(),
            customer: customer.clone(),
            session: session.clone(),
            status: order::Status::PendingPayment,
            lines: lines.clone(),
            terms: *terms,
            payment_deadline: self.now.saturating_add(terms.payment_ttl_ms),
            grace_ms: *grace_ms,
            payment: None,
            refunds: Vec::new(),
            refused: Vec::new(),
            created_at: self.now,
            version: 1,
            revision: 1,
            work: None,
        };
        let mut failing = Vec::new();
        for line in &mut order.lines {
            let pay = Extend {
                id: line.reservation,
                by_ms: None,
                phase: Some(Phase::Payment),
                terms: *terms,
                seen: None,
            };
            if !line.held {
                let reserve = Reserve {
                    id: line.reservation,
                    quantity: line.quantity,
                    shopper: Shopper {
                        customer: customer.clone(),
                        session: session.clone(),
                        cart: Some(cart.clone()),
                    },
                    ttl_ms: None,
                    allow_partial: false,
                    terms: *terms,
                    for_order: None,
                };
                if let Answer::Variant {
                    told: Told::Refused(refusal),
                    ..
                } = self.ask_variant(line.ordinal, &variant::Command::Reserve(reserve))
                {
                    failing.push((line.variant.clone(), refusal));
                    continue;
                }
            }
            match self.ask_variant(line.ordinal, &variant::Command::Extend(pay)) {
                Answer::Variant {
                    told: Told::Hold(hold),
                    ..
                } => line.hold = Some(*hold),
                Answer::Variant {
                    told: Told::Refused(refusal),
                    ..
                } => {
                    failing.push((line.variant.clone(), refusal));
                }
                other => panic!("{other:?}"),
            }
        }
        if !failing.is_empty() {
            self.variants = before;
            return Err(order::Refusal::LinesUnavailable { lines: failing });
        }
        // Past the cart's last deadline a second payment gets the time that is left.
        let holds = order.lines.iter().filter_map(|line| line.hold.as_ref());
        let earliest = holds.map(|hold| hold.expires_at).min();
        order.payment_deadline = order
            .payment_deadline
            .min(earliest.unwrap_or(order.payment_deadline));
        self.orders.insert(id.clone(), order.clone());
        Ok(Box::new(order))
    }

    /// The order comes to this end and tells its cart, twice as a network does.
    pub(crate) fn order_ends(&mut self, id: &OrderId, status: order::Status, reopen: bool) {
        let mut order = self.orders[id].clone();
        order.status = status;
        for line in &mut order.lines {
            let id = line.reservation;
            let command = match (status, reopen) {
                (order::Status::Confirmed, _) => variant::Command::Confirm(variant::Confirm {
                    id,
                    quantity: None,
                    order: Some(order.id.clone()),
                }),
                (order::Status::PaymentFailed, true) => variant::Command::Extend(Extend {
                    id,
                    by_ms: None,
                    phase: Some(Phase::Cart),
                    terms: order.terms,
                    seen: None,
                }),
                _ => variant::Command::Release { id },
            };
            if let Answer::Variant {
                told: Told::Hold(hold),
                ..
            } = self.ask_variant(line.ordinal, &command)
            {
                line.hold = Some(*hold);
            } else {
                line.hold = None;
            }
        }
        let cart = order.cart.clone();
        self.orders.insert(id.clone(), order.clone());
        let tell = Command::OrderStands {
            order: Box::new(order),
            reopen,
        };
        for _ in 0..2 {
            self.ask(&cart, &tell).unwrap();
        }
    }

    /// An expired order is paid after all, under new reservations, and its cart is told.
    pub(crate) fn paid_late(&mut self, id: &OrderId) {
        let mut order = self.orders[id].clone();
        order.status = order::Status::Confirmed;
        order.payment = Some(order::Payment {
            reference: "late".to_owned(),
            at: self.now,
        });
        for line in &mut order.lines {
            line.reservation = line.reservation.successor(self.now);
        }
        let cart = order.cart.clone();
        let tell = Command::OrderStands {
            order: Box::new(order),
            reopen: false,
        };
        for _ in 0..2 {
            self.ask(&cart, &tell).unwrap();
        }
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
                let ordered = matches!(cart.status, Status::CheckingOut { .. });
                assert!(
                    cart.accounts_for(hold.id) || ordered,
                    "no line for {hold:?} in {cart:?}"
                );
            }
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
