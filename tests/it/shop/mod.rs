//! A whole shop in this process: fresh directory, clock turned by hand, both back ends of the log. It can be closed in
//! good order or dropped hard, and opened again; what it left behind is audited record by record.
mod audit;
mod bulk;
mod carts;
mod cuts;
mod departed;
mod durability;
mod expiry;
mod gate;
mod give_back;
pub(crate) mod held;
mod history;
mod import;
mod keys;
mod ledger;
mod lists;
mod orders;
mod policy;
mod put_back;
mod quarantine;
mod race;
mod rules;
mod together;
mod way;
mod web;

use holdfast::{
    app::{
        self, Answered, AppError, BulkAsk, BulkWhat, Context, HoldFilter, Opened, RequestKey, Reservation,
        ReserveAsk, Shop, ShopOptions, Statistics, Time, configured_journal, recover_options,
    },
    clock::{Clock, ManualClock},
    config::{ByteSize, Config, JournalBackend, Length},
    domain::{
        bulk::{LineOutcome, Mode},
        ids::{CartId, CustomerId, ReservationId, StoreId, VariantId},
        time::Timestamp,
        variant::{Hold, Refusal, Settings, Shopper, View},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{Anchor, Epoch, format::GroupBuilder},
        record::Turn,
        recovery,
    },
};
use std::{future::Future, path::Path, sync::Arc};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use crate::world::START;
pub(crate) use audit::Audit;
use held::Gate;

/// Runs each test on both back ends of the log.
macro_rules! on_both_logs {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn on_sled() {
                super::$name(holdfast::config::JournalBackend::Sled);
            }

            #[test]
            fn on_files() {
                super::$name(holdfast::config::JournalBackend::File);
            }
        }
    )+};
}
pub(crate) use on_both_logs;

/// A minute, ms.
pub(crate) const MINUTE: i64 = 60_000;

/// The default policy's hold length, ms.
pub(crate) const TTL: i64 = 15 * MINUTE;

/// A data directory with the shop in it, which may be open.
pub(crate) struct House {
    // Dropped in this order: nothing may run any more when the directory goes.
    life: Option<Life>,
    pub(crate) clock: ManualClock,
    pub(crate) config: Arc<Config>,
    /// Between the shop and the device of its log.
    pub(crate) gate: Arc<Gate>,
    dir: TempDir,
    /// Worker threads of the runtime; with none everything runs in the thread of the test.
    workers: usize,
    /// It goes by the machine's time instead of `clock`.
    by_the_wall: bool,
}

/// One life of the shop, from opening to close or crash. The runtime is its own, so that a crash ends every task.
struct Life {
    shop: Arc<Shop>,
    runtime: Runtime,
}

impl House {
    /// An open shop on this back end.
    pub(crate) fn new(backend: JournalBackend) -> Self {
        Self::with(backend, |_| {})
    }

    /// An open shop with some limits changed.
    pub(crate) fn with(backend: JournalBackend, change: impl FnOnce(&mut Config)) -> Self {
        Self::build(backend, 2, false, change)
    }

    /// An open shop whose clock runs by itself.
    pub(crate) fn by_the_wall(backend: JournalBackend) -> Self {
        Self::build(backend, 2, true, |_| {})
    }

    /// The same, with all tasks in one thread: what a story does between two awaits comes before what other tasks do.
    pub(crate) fn in_one_thread(backend: JournalBackend, change: impl FnOnce(&mut Config)) -> Self {
        Self::build(backend, 0, false, change)
    }

    fn build(
        backend: JournalBackend,
        workers: usize,
        by_the_wall: bool,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut house = Self::built(backend, workers, by_the_wall, change);
        house.open();
        house
    }

    /// A shop that is not open, in a fresh directory.
    pub(crate) fn unopened(backend: JournalBackend, change: impl FnOnce(&mut Config)) -> Self {
        Self::built(backend, 2, false, change)
    }

    /// An open shop that finds this log: what a crash left that came behind its last record.
    pub(crate) fn from_log(
        backend: JournalBackend,
        turns: &[Turn],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut house = Self::built(backend, 2, false, change);
        house.write_log(turns);
        if let Some(last) = turns.last() {
            house.clock = ManualClock::new(last.at);
        }
        house.open();
        house
    }

    /// Writes a log, a group for each record, as if each had been synced alone.
    fn write_log(&self, turns: &[Turn]) {
        let data_dir = DataDir::open(self.path()).unwrap();
        let options = recover_options(&self.config);
        let recovered = recovery::recover(&data_dir, &options, &options.journal(), &|_| {});
        let mut journal = recovered.unwrap().journal;
        let partition = options.partition;
        let mut tail = Anchor::GENESIS;
        let epoch = Epoch(u32::try_from(data_dir.epoch()).unwrap());
        for turn in turns {
            let mut group = GroupBuilder::new(partition, epoch, &tail, 1 << 10);
            group.push(&dto::encode_turn(turn));
            let logged_at_ms = turn.at.as_millis().max(tail.logged_at_ms);
            let group = group.finish(logged_at_ms).unwrap();
            journal.append(partition, tail.last, &group).unwrap();
            tail = Anchor::after(&group);
        }
    }

    fn built(
        backend: JournalBackend,
        workers: usize,
        by_the_wall: bool,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = dir.path().to_owned();
        config.journal.backend = backend;
        config.disk.reserve = ByteSize::from_bytes(1 << 20);
        config.state.cache = ByteSize::from_bytes(4 << 20);
        // Laid out in full and read to its end at each opening.
        config.journal.segment_bytes = ByteSize::from_bytes(8 << 20);
        // Stored rows are written when a test says so, see `checkpoint`.
        config.checkpoint.every = Length::from_millis(24 * 60 * 60 * 1_000);
        // Tests turn the clock by days; who wants a snapshot asks for it.
        config.snapshots.every = None;
        change(&mut config);
        Self {
            life: None,
            clock: ManualClock::new(START),
            config: Arc::new(config),
            gate: Arc::default(),
            dir,
            workers,
            by_the_wall,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Begins a life.
    pub(crate) fn open(&mut self) -> Opened {
        assert!(self.life.is_none(), "it is open");
        let mut runtime = match self.workers {
            0 => tokio::runtime::Builder::new_current_thread(),
            workers => {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                runtime.worker_threads(workers);
                runtime
            }
        };
        let runtime = runtime.enable_all().build().unwrap();
        let (shop, opened) = runtime
            .block_on(Shop::open(ShopOptions {
                config: Arc::clone(&self.config),
                journal: Gate::before(&self.gate, configured_journal(&self.config)),
                time: if self.by_the_wall {
                    Time::System { accept_gap: false }
                } else {
                    Time::Given(Clock::from(self.clock.clone()))
                },
                seed: None,
                progress: Box::new(|_| {}),
                on_fatal: Gate::on_fatal(&self.gate),
                workers: holdfast::workers::threads(),
            }))
            .unwrap();
        self.life = Some(Life { shop, runtime });
        opened
    }

    /// Runs a story against the open shop.
    pub(crate) fn run<F: Future>(&self, story: impl FnOnce(Arc<Shop>) -> F) -> F::Output {
        let life = self.life.as_ref().expect("it is open");
        life.runtime.block_on(story(Arc::clone(&life.shop)))
    }

    /// Ends the life in good order.
    pub(crate) fn close(&mut self) {
        let life = self.life.take().expect("it is open");
        life.runtime.block_on(life.shop.close());
        life.end();
    }

    /// Ends the life at once: tasks stop wherever they are, what is queued for the log is not written, rows are not
    /// brought up to the log.
    pub(crate) fn crash(&mut self) {
        // What the device holds up is lost with the rest.
        self.gate.lose();
        self.life.take().expect("it is open").end();
        self.gate.open();
    }

    /// A crash and a new life.
    pub(crate) fn crash_and_open(&mut self) -> Opened {
        self.crash();
        self.open()
    }

    /// A good end and a new life.
    pub(crate) fn restart(&mut self) -> Opened {
        self.close();
        self.open()
    }
}

impl Life {
    fn end(self) {
        let Self { shop, runtime } = self;
        drop(runtime);
        let shop = Arc::into_inner(shop).expect("every task has ended with its runtime");
        drop(shop);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // A test that failed before a closed gate would otherwise wait for its writer for ever.
        self.gate.lose();
        if let Some(life) = self.life.take()
            && !std::thread::panicking()
        {
            life.end();
        }
    }
}

/// What a site wants beside its shop.
pub(crate) fn house_of(shop: &Arc<Shop>) -> Arc<app::House> {
    let journal = configured_journal(shop.config());
    app::House::new(Arc::clone(shop), journal, Arc::new(|why| panic!("{why}")))
}

/// For stories of many houses: a segment is laid out in full.
pub(crate) fn small(config: &mut Config) {
    config.journal.segment_bytes = ByteSize::from_bytes(1 << 20);
}

// --- who asks ---

pub(crate) fn store() -> StoreId {
    StoreId::parse("default").unwrap()
}

/// A caller who waits for ever and sends no key.
pub(crate) fn ctx() -> Context {
    Context {
        store: store(),
        caller: "shop".into(),
        key: None,
        deadline: Timestamp::from_millis(i64::MAX),
    }
}

/// A caller with a key, whose request is told apart from others by `ask`.
pub(crate) fn keyed(key: &str, ask: &str) -> Context {
    let key = RequestKey::new(&store(), "shop", key, ("POST /story", "", ask.as_bytes()));
    Context {
        key: Some(key),
        ..ctx()
    }
}

pub(crate) fn variant(id: &str) -> VariantId {
    VariantId::parse(id).unwrap()
}

pub(crate) fn customer(id: &str) -> Shopper {
    Shopper {
        customer: Some(CustomerId::parse(id).unwrap()),
        ..Shopper::default()
    }
}

pub(crate) fn in_cart(customer_id: &str, cart: &str) -> Shopper {
    Shopper {
        cart: Some(CartId::parse(cart).unwrap()),
        ..customer(customer_id)
    }
}

// --- what is asked ---

/// A wish for so many units of a variant, for nobody in particular.
pub(crate) fn wish(id: &str, quantity: u32) -> ReserveAsk {
    ReserveAsk {
        variant: variant(id),
        quantity,
        shopper: Shopper::default(),
        ttl_ms: None,
        allow_partial: false,
    }
}

pub(crate) fn wish_for(ttl_ms: i64, id: &str, quantity: u32) -> ReserveAsk {
    ReserveAsk {
        ttl_ms: Some(ttl_ms),
        ..wish(id, quantity)
    }
}

pub(crate) fn all_or_nothing(lines: &[(&str, u32)]) -> BulkAsk {
    let lines = lines.iter().map(|(id, quantity)| (variant(id), *quantity));
    BulkAsk {
        mode: Mode::AllOrNothing,
        what: BulkWhat::Reserve {
            lines: lines.collect(),
            shopper: Shopper::default(),
            ttl_ms: None,
        },
    }
}

/// Takes a plain variant with this stock into the shop.
pub(crate) async fn stock(shop: &Shop, id: &str, on_hand: u64) -> View {
    let created = shop
        .create_variant(&ctx(), &variant(id), Settings::default(), on_hand)
        .await;
    created.unwrap().body
}

/// Brings the stored rows up to the log.
pub(crate) async fn checkpoint(shop: &Shop) {
    shop.checkpoint().await.unwrap();
}

pub(crate) async fn hold(shop: &Shop, id: &str, quantity: u32) -> Hold {
    shop.reserve(&ctx(), wish(id, quantity)).await.unwrap().body.hold
}

pub(crate) async fn view(shop: &Shop, id: &str) -> View {
    shop.get_variant(&ctx(), &variant(id)).await.unwrap().body
}

pub(crate) async fn get(shop: &Shop, id: ReservationId) -> Hold {
    shop.get_reservation(&ctx(), id).await.unwrap().body.hold
}

/// The refusal of something that must be refused.
pub(crate) fn refusal<T: std::fmt::Debug>(done: Result<Answered<T>, AppError>) -> Refusal {
    match done {
        Err(AppError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// An answer as its caller could compare it: the moment and the reservation.
pub(crate) fn told(answered: &Answered<Reservation>) -> (Timestamp, Hold) {
    (answered.at, answered.body.hold.clone())
}

/// Waits until something is true, without a clock: other tasks run meanwhile.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Asks again as long as a coordinator has its hands on what is asked for: it is settling, which takes no clock.
pub(crate) async fn until_ok<T: std::fmt::Debug>(ask: impl AsyncFn() -> Result<T, AppError>) -> T {
    loop {
        match ask().await {
            Err(AppError::InFlight) => tokio::task::yield_now().await,
            Err(AppError::Refused {
                refusal: Refusal::InFlight | Refusal::InsufficientStock { contended: true, .. },
                ..
            }) => tokio::task::yield_now().await,
            Err(AppError::BulkRefused { lines, .. }) if lines.iter().any(|(_, line)| is_contended(line)) => {
                tokio::task::yield_now().await;
            }
            done => return done.unwrap(),
        }
    }
}

fn is_contended(outcome: &LineOutcome) -> bool {
    matches!(
        outcome,
        LineOutcome::Refused(Refusal::InFlight | Refusal::InsufficientStock { contended: true, .. })
    )
}

/// Waits until the statistics say that so many reservations have expired.
pub(crate) async fn until_expired(shop: &Shop, count: u64) {
    until(|| shop.statistics(&ctx()).body.expired >= count).await;
}

/// Waits until nothing is due any more in any running variant.
pub(crate) async fn until_settled(shop: &Shop) {
    while shop.clean_up(&ctx(), true).await.unwrap().body.due > 0 {
        tokio::task::yield_now().await;
    }
}

/// Everything a caller can see, for comparing two lives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    variants: Vec<View>,
    holds: Vec<Hold>,
    statistics: Statistics,
}

pub(crate) async fn picture(shop: &Shop) -> Picture {
    let (variants, more) = shop.list_variants(&ctx(), None, 10_000).await.unwrap();
    assert!(more.is_none());
    let holds = every_hold(shop, &HoldFilter::default(), 500).await;
    Picture {
        variants,
        holds,
        statistics: shop.statistics(&ctx()).body,
    }
}

/// Every reservation a filter lets through, read page by page.
pub(crate) async fn every_hold(shop: &Shop, filter: &HoldFilter, page: usize) -> Vec<Hold> {
    let (mut holds, mut after) = (Vec::new(), None);
    loop {
        let listed = shop.list_reservations(&ctx(), filter, after, page).await.unwrap();
        holds.extend(listed.items.into_iter().map(|item| item.hold));
        match listed.next {
            Some(next) => after = Some(next),
            None => return holds,
        }
    }
}

/// Law CONSERVATION as a caller can check it.
pub(crate) fn expect_lawful(view: &View) {
    let head = &view.head;
    assert_eq!(head.flows.on_hand(), Some(head.on_hand), "CONSERVATION: {view:?}");
    let have = head.on_hand + head.settings.backorder_limit;
    assert!(view.held + view.committed <= have, "NO_OVERSELL: {view:?}");
    let free = have.saturating_sub(view.held + view.committed + head.settings.safety_stock);
    assert_eq!(view.available, Some(free), "CONSERVATION: {view:?}");
}
