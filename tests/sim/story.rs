//! One seed: a house, its network, its shoppers and its faults, turn by turn; then quiet, in which everything comes to its end.
//!
//! Every choice comes from one generator, and everything runs in one thread, so that a seed is a story that can be told again.
use crate::{
    asks::{Ask, Said, context, request_key},
    faults::Fault,
    house::{Home, Life, START},
    shoppers::{Heard, variant},
    swarm::Swarm,
};
use fastrand::Rng;
use holdfast::{
    app::{AppError, Context, RequestKey},
    domain::{
        money::{Currency, Money},
        time::Timestamp,
        variant::Settings,
    },
    storage::journal::simulated::Operation,
    workers::Stepped,
};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// How long a caller waits, ms of the house's time.
const PATIENCE_MS: i64 = 20_000;

/// Turns in the quiet phase after which whoever still waits waits for ever.
const QUIET_TURNS: u32 = 4_000;

/// What a seed came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Requests that reached the house.
    pub(crate) sent: u64,
    pub(crate) answers: u64,
    pub(crate) records: u64,
    pub(crate) turns: u64,
    pub(crate) lives: u64,
    /// The hash over every byte of the log.
    pub(crate) digest: [u8; 32],
    pub(crate) broken: Option<String>,
}

/// A request of somebody who wants an answer.
struct Request {
    ask: Ask,
    key: Option<RequestKey>,
    /// Asked again at this turn.
    again_at: u64,
    /// Why it was not judged.
    put_off: Option<String>,
}

/// What an answer was.
enum Hears {
    Said(Box<Said>),
    Refused,
    /// Nothing was done, and it may be asked again.
    NotNow(String),
    /// It may have been done.
    Unknown,
}

/// On its way in the network.
enum Mail {
    ToHouse(u64),
    ToShopper(u64, Arc<Hears>),
}

/// Answers that have left the house.
type Outbox = Arc<Mutex<Vec<(u64, Hears)>>>;

pub(crate) struct Story {
    rng: Rng,
    swarm: Swarm,
    home: Home,
    life: Option<Life>,
    heard: Heard,
    /// Those without an answer, by number.
    open: Vec<(u64, Request)>,
    asked: u32,
    mail: Vec<Mail>,
    outbox: Outbox,
    on_their_way: Vec<(u64, tokio::task::AbortHandle)>,
    /// Readings of the clock by actors until one of them breaks.
    panic_in: Arc<AtomicU32>,
    /// The wall clock of the machine, which a process begins with.
    wall: Timestamp,
    told: Told,
}

impl Story {
    /// Tells the story of a seed.
    pub(crate) fn tell(seed: u64, prints: bool) -> Told {
        let mut rng = Rng::with_seed(seed);
        let swarm = Swarm::draw(&mut rng);
        let home = Home::new(rng.u64(..), &swarm);
        // Behind the name of a directory, which is drawn until it is free.
        fastrand::seed(seed);
        let mut story = Self {
            home,
            swarm,
            rng,
            life: None,
            heard: Heard::default(),
            open: Vec::new(),
            asked: 0,
            mail: Vec::new(),
            outbox: Outbox::default(),
            on_their_way: Vec::new(),
            panic_in: Arc::default(),
            wall: START,
            told: Told::default(),
        };
        story.home.judge.lock().prints = prints;
        story.run();
        if let Some(life) = story.life.take() {
            story.home.disk.kill();
            life.end();
        }
        let judge = story.home.judge.lock();
        Told {
            records: judge.records,
            answers: judge.answers,
            digest: judge.checker.behind().chain,
            broken: judge.broken.clone(),
            ..story.told.clone()
        }
    }

    fn run(&mut self) {
        self.fill();
        while (self.asked < self.swarm.asks || !self.open.is_empty()) && !self.is_broken() {
            if self.told.turns > u64::from(self.swarm.asks) * 60 {
                break; // What is still unanswered is answered in the quiet phase.
            }
            self.turn();
        }
        self.quiet();
    }

    fn is_broken(&self) -> bool {
        self.home.judge.lock().broken.is_some()
    }

    fn violation(&self, what: impl ToString) {
        self.home.judge.lock().violation(what);
    }

    // --- lives ---

    /// The variants of the shop.
    fn fill(&mut self) {
        self.begin();
        self.settle();
        let shop = self
            .life
            .as_ref()
            .and_then(Life::shop)
            .expect("nothing fails yet");
        let settings = Settings {
            price: Some(Money {
                amount: 100,
                currency: Currency::parse("EUR").unwrap(),
            }),
            ..Settings::default()
        };
        for number in 0..self.swarm.variants {
            let (shop, settings, on_hand) = (Arc::clone(&shop), settings.clone(), self.swarm.stock);
            let life = self.life.as_ref().expect("it was begun");
            life.runtime.spawn(async move {
                let ctx = context(None, Timestamp::from_millis(i64::MAX));
                let created = shop
                    .create_variant(&ctx, &variant(number), settings, on_hand)
                    .await;
                created.expect("an empty shop takes a variant");
            });
        }
        drop(shop);
        self.settle();
    }

    fn begin(&mut self) {
        self.told.lives += 1;
        // Never before what was logged, whatever the wall clock says: as a server that accepts the gap.
        let logged = self.home.judge.lock().checker.decided_at();
        let at = logged.map_or(self.wall, |logged| logged.max(self.wall));
        let life = self.home.begin(at);
        let (panic_in, clock) = (Arc::clone(&self.panic_in), life.clock.clone());
        clock.watch(move |place| {
            let in_an_actor =
                place.file().ends_with("actor/variant.rs") || place.file().ends_with("agent/shell.rs");
            if in_an_actor
                && panic_in.load(Ordering::Relaxed) > 0
                && panic_in.fetch_sub(1, Ordering::Relaxed) == 1
            {
                // Without the hook's message: it is meant.
                std::panic::resume_unwind(Box::new("a panic of the story"));
            }
        });
        if self.swarm.slow_sync_ms > 0 {
            let (clock, mut rng, most) = (
                life.clock.clone(),
                Rng::with_seed(self.rng.u64(..)),
                self.swarm.slow_sync_ms,
            );
            self.home.faults.while_syncing(move || {
                if rng.u8(..) < 16 {
                    clock.turn(rng.i64(0..most));
                }
            });
        }
        self.life = Some(life);
    }

    /// The process is gone: everybody who waits has lost the connection.
    fn end(&mut self, fault: Fault) {
        self.panic_in.store(0, Ordering::Relaxed);
        self.home.faults.clear();
        let Some(life) = self.life.take() else { return };
        self.wall = life.clock.now();
        match fault {
            Fault::PowerFailure => {
                self.home.disk.crash();
                life.end();
                self.home.disk.power_on();
            }
            Fault::Kill | Fault::NoSpace | Fault::Failure => {
                self.home.disk.kill();
                life.end();
            }
        }
        let _ = self.home.faults.take_struck();
        self.outbox.lock().clear();
        self.on_their_way.clear();
        if self.rng.u8(..) < 64 {
            // While nobody looks, somebody sets the clock.
            let hour = 60 * 60 * 1_000;
            self.wall = self.wall.saturating_add(self.rng.i64(-hour..hour));
        }
        if self.rng.u8(..) < 64 && self.home.has_log() {
            self.compare();
        }
    }

    fn compare(&self) {
        if self.is_broken() {
            return;
        }
        if let Err(why) = self.home.compare() {
            self.violation(why);
        }
        // Whoever compared is gone too.
        self.home.disk.kill();
    }

    /// The process has ended by itself, or in the middle of an operation.
    fn bury(&mut self) {
        let struck = self.home.faults.take_struck();
        let ended = self.life.as_ref().is_none_or(|life| life.ended().is_some());
        match struck {
            Some(fault) => self.end(fault),
            None if ended => {
                let fault = if self.rng.bool() {
                    Fault::Kill
                } else {
                    Fault::PowerFailure
                };
                self.end(fault);
            }
            None => return,
        }
        self.begin();
    }

    // --- turns ---

    fn turn(&mut self) {
        self.told.turns += 1;
        self.bury();
        if self.is_broken() {
            return;
        }
        self.strike();
        let total: u32 = self.swarm.weights.iter().sum();
        let mut drawn = self.rng.u32(0..total);
        let mut next = 0;
        while drawn >= self.swarm.weights[next] {
            drawn -= self.swarm.weights[next];
            next += 1;
        }
        let life = self.life.as_ref().expect("begun above");
        match next {
            0 => {
                let tasks = self.rng.u32(1..=24);
                life.run(tasks);
            }
            1 => self.step("journal-writer"),
            2 => self.step("checkpoint"),
            3 => self.read(),
            4 => self.make_request(),
            5 => self.post(),
            6 => self.pass(),
            _ => {
                let most = self.rng.usize(1..4);
                life.clock.ring(most);
            }
        }
        self.collect();
    }

    fn step(&self, worker: &str) {
        let life = self.life.as_ref().expect("a life");
        let _inside = life.runtime.enter();
        let _ = life.hands.step(worker);
    }

    fn read(&mut self) {
        let life = self.life.as_ref().expect("a life");
        let jobs = life.hands.jobs();
        if jobs > 0 {
            let _inside = life.runtime.enter();
            life.hands.read(self.rng.usize(0..jobs));
        }
    }

    fn pass(&mut self) {
        let life = self.life.as_ref().expect("a life");
        let ms = self.rng.i64(0..=self.swarm.pace_ms);
        let next = life.clock.next_bell().map(|bell| bell.since(life.clock.now()));
        match next {
            // Nothing happens until then.
            Some(next) if self.rng.u8(..) < 64 => life.clock.turn(next.min(60_000)),
            _ => life.clock.turn(ms),
        }
    }

    fn strikes(&mut self, in_10_000: u32) -> bool {
        in_10_000 > 0 && self.rng.u32(0..10_000) < in_10_000
    }

    fn strike(&mut self) {
        if self.strikes(self.swarm.crash) {
            let fault = if self.rng.bool() {
                Fault::Kill
            } else {
                Fault::PowerFailure
            };
            if self.rng.bool() {
                let kind = *self
                    .rng
                    .choice(&[Operation::Write, Operation::Sync, Operation::Meta])
                    .expect("some");
                self.home.faults.plan(Some(kind), self.rng.u32(0..4), fault);
            } else {
                self.end(fault);
                self.begin();
            }
        }
        if self.strikes(self.swarm.disk_fault) {
            let fault = if self.rng.bool() {
                Fault::NoSpace
            } else {
                Fault::Failure
            };
            let kind = *self
                .rng
                .choice(&[Operation::Write, Operation::Sync, Operation::Meta])
                .expect("some");
            self.home.faults.plan(Some(kind), self.rng.u32(0..8), fault);
        }
        if self.strikes(self.swarm.panic) {
            self.panic_in.store(self.rng.u32(1..6), Ordering::Relaxed);
        }
        if self.strikes(self.swarm.jump) {
            let life = self.life.as_ref().expect("a life");
            life.clock.turn(self.rng.i64(0..60 * 60 * 1_000));
        }
        if self.rng.u32(0..1_000) < self.swarm.hang_up && !self.on_their_way.is_empty() {
            let which = self.rng.usize(0..self.on_their_way.len());
            self.on_their_way.swap_remove(which).1.abort();
        }
    }

    // --- shoppers and the network ---

    fn make_request(&mut self) {
        if self.open.len() >= self.swarm.crowd || self.asked >= self.swarm.asks {
            return;
        }
        let ask = self.heard.ask(&self.swarm, &mut self.rng);
        self.asked += 1;
        let number = u64::from(self.asked);
        let keyed = !ask.only_looks() && self.rng.u32(0..100) >= self.swarm.unkeyed;
        let request = Request {
            key: keyed.then(|| request_key(&format!("key-{number}"), &ask)),
            ask,
            again_at: self.patience(),
            put_off: None,
        };
        self.open.push((number, request));
        self.mail.push(Mail::ToHouse(number));
    }

    fn patience(&mut self) -> u64 {
        self.told.turns + self.rng.u64(50..600)
    }

    /// One message goes on, whichever; some are lost, some come twice. Who waits too long asks again.
    fn post(&mut self) {
        let turn = self.told.turns;
        if let Some(place) = self.open.iter().position(|(_, request)| request.again_at <= turn) {
            let again_at = self.patience();
            let (number, request) = &mut self.open[place];
            let number = *number;
            request.again_at = again_at;
            if request.key.is_some() || request.ask.only_looks() {
                self.mail.push(Mail::ToHouse(number));
            } else {
                // Nobody knows what became of it.
                self.open.remove(place);
            }
        }
        if self.mail.is_empty() {
            return;
        }
        let mail = self.mail.swap_remove(self.rng.usize(0..self.mail.len()));
        if self.rng.u32(0..1_000) < self.swarm.lost {
            return;
        }
        if self.rng.u32(0..1_000) < self.swarm.doubled {
            self.mail.push(match &mail {
                Mail::ToHouse(number) => Mail::ToHouse(*number),
                Mail::ToShopper(number, heard) => Mail::ToShopper(*number, Arc::clone(heard)),
            });
        }
        match mail {
            Mail::ToHouse(number) => self.deliver(number),
            Mail::ToShopper(number, heard) => self.hear(number, &heard),
        }
    }

    fn deliver(&mut self, number: u64) {
        let Some((_, request)) = self.open.iter().find(|(open, _)| *open == number) else {
            return;
        };
        let life = self.life.as_ref().expect("a life");
        // Nobody listens before the shop is open.
        let Some(shop) = life.shop() else { return };
        self.told.sent += 1;
        let ctx: Context = context(request.key, life.clock.now().saturating_add(PATIENCE_MS));
        let (ask, key) = (
            request.ask.clone(),
            request.key.map(|key| (key.hash.0, key.fingerprint.0)),
        );
        let (judge, outbox) = (Arc::clone(&self.home.judge), Arc::clone(&self.outbox));
        let task = life.runtime.spawn(async move {
            let asked = format!("{ask:?}");
            let answer = ask.send(shop, ctx).await;
            let heard = match answer {
                Ok(said) => {
                    judge.lock().answered(key, &said.text, &said.facts);
                    Hears::Said(Box::new(said))
                }
                Err(AppError::OutcomeUnknown) => Hears::Unknown,
                Err(
                    why @ (AppError::InFlight
                    | AppError::KeysFull
                    | AppError::Shed(_)
                    | AppError::Late
                    | AppError::Quarantined
                    | AppError::Gone
                    | AppError::DiskReserve),
                ) => Hears::NotNow(why.to_string()),
                Err(AppError::KeyReused) => {
                    judge.lock().violation(format!(
                        "ONCE_PER_KEY: the key of {asked} is said to be another's"
                    ));
                    Hears::Refused
                }
                Err(AppError::Internal(why)) => {
                    judge
                        .lock()
                        .violation(format!("{asked} was answered by an error of ours: {why}"));
                    Hears::Unknown
                }
                Err(_) => Hears::Refused,
            };
            outbox.lock().push((number, heard));
        });
        self.on_their_way.push((number, task.abort_handle()));
    }

    fn collect(&mut self) {
        let answers = std::mem::take(&mut *self.outbox.lock());
        for (number, heard) in answers {
            self.on_their_way
                .retain(|(on_its_way, task)| *on_its_way != number || !task.is_finished());
            self.mail.push(Mail::ToShopper(number, Arc::new(heard)));
        }
    }

    fn hear(&mut self, number: u64, heard: &Hears) {
        let Some(place) = self.open.iter().position(|(open, _)| *open == number) else {
            return;
        };
        match heard {
            Hears::Said(said) => {
                self.heard.learn(&said.facts);
                self.open.remove(place);
            }
            Hears::Refused => {
                self.open.remove(place);
            }
            Hears::NotNow(why) => self.open[place].1.put_off = Some(why.clone()),
            Hears::Unknown => {}
        }
    }

    // --- quiet ---

    /// Nothing fails any more. Everybody is answered, everything under way comes to its end, and the log is what the house says.
    fn quiet(&mut self) {
        if self.is_broken() {
            return;
        }
        (self.swarm.lost, self.swarm.doubled, self.swarm.hang_up) = (0, 0, 0);
        (
            self.swarm.crash,
            self.swarm.disk_fault,
            self.swarm.panic,
            self.swarm.jump,
        ) = (0, 0, 0, 0);
        self.home.faults.clear();
        self.panic_in.store(0, Ordering::Relaxed);
        // What a panic has closed is open again in a new process.
        self.end(Fault::Kill);
        self.begin();
        self.settle();
        self.mail.clear();
        let mut turns = 0;
        while !self.open.is_empty() {
            turns += 1;
            if turns > QUIET_TURNS {
                let (number, request) = &self.open[0];
                let (ask, put_off) = (&request.ask, &request.put_off);
                self.violation(format!(
                    "LIVENESS: request {number} is never answered, {put_off:?}: {ask:?}"
                ));
                return;
            }
            self.told.turns += 1;
            for number in self.open.iter().map(|(number, _)| *number).collect::<Vec<_>>() {
                if !self
                    .on_their_way
                    .iter()
                    .any(|(on_its_way, _)| *on_its_way == number)
                {
                    self.deliver(number);
                }
            }
            self.settle();
            while let Some(Mail::ToShopper(number, heard)) = self.mail.pop() {
                self.hear(number, &heard);
            }
            if turns % 16 == 0 {
                self.step("checkpoint");
            }
            self.life.as_ref().expect("a life").clock.advance(250);
            if self.is_broken() {
                return;
            }
        }
        self.rest();
    }

    /// Shoppers are gone and payments do not come.
    fn rest(&mut self) {
        for _ in 0..40 {
            self.life.as_ref().expect("a life").clock.advance(60_000);
            self.settle();
        }
        let life = self.life.as_ref().expect("a life");
        let now = life.clock.now();
        let in_flight = life.shop().map(|shop| shop.in_flight());
        if in_flight != Some(0) {
            self.violation(format!("BOUNDED: permits are not given back: {in_flight:?}"));
        }
        self.home.judge.lock().expect_rest(now);
        if self.is_broken() {
            return;
        }
        self.close();
        self.compare();
    }

    /// A good end.
    fn close(&mut self) {
        let life = self.life.as_ref().expect("a life");
        if let Some(shop) = life.shop() {
            life.runtime.spawn(async move { shop.close().await });
        }
        self.settle();
        self.end(Fault::Kill);
    }

    /// Lets everything run that can, without the time moving.
    fn settle(&mut self) {
        let mut idle = 0;
        while idle < 3 {
            let life = self.life.as_ref().expect("a life");
            life.run(64);
            let mut went = life.clock.ring(usize::MAX) > 0;
            {
                let _inside = life.runtime.enter();
                went |= life.hands.step("journal-writer") == Some(Stepped::Went);
            }
            if life.hands.jobs() > 0 {
                let _inside = life.runtime.enter();
                life.hands.read(0);
                went = true;
            }
            let answered = !self.outbox.lock().is_empty();
            self.collect();
            idle = if went || answered { 0 } else { idle + 1 };
        }
        if let Some(why) = self.life.as_ref().and_then(Life::ended) {
            self.violation(format!("the process ended although nothing failed: {why}"));
        }
    }
}
