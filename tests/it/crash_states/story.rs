//! The life that is traced, told as it goes; and the judge of what a crash of it left behind.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use holdfast::app::{
    AdjustAsk, ImportLine, ImportSource, NoLine, OnFatal, Shop, ShopOptions, Time, configured_journal,
    recover_options,
};
use holdfast::clock::{Clock, ManualClock};
use holdfast::config::{ByteSize, Config, JournalBackend, Length};
use holdfast::domain::ids::ReservationId;
use holdfast::domain::time::Timestamp;
use holdfast::domain::variant::{Hold, HoldStatus, Import, Level, Setting, View};
use holdfast::storage::data_dir::DataDir;
use holdfast::storage::recovery::{OpenJournal, verify};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::shop::{
    START, all_or_nothing, ctx, expect_lawful, hold, keyed, stock, variant, view, wish, wish_for,
};

/// Names the back end and the directory for the process that is traced.
pub(super) const STORY: &str = "HOLDFAST_CRASH_STORY";

const MINUTE: i64 = 60_000;

/// An open shop whose clock is turned by hand.
pub(crate) struct Life {
    shop: Arc<Shop>,
    runtime: Runtime,
    /// What it said when it found that it cannot go on.
    fatal: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn config(dir: &Path, backend: JournalBackend) -> Config {
    let mut config = Config::default();
    config.data.dir = dir.to_owned();
    config.journal.backend = backend;
    config.disk.reserve = ByteSize::from_bytes(4 << 10);
    config.state.cache = ByteSize::from_bytes(1 << 20);
    // Small, so that the story rolls and trims.
    config.journal.segment_bytes = ByteSize::from_bytes(12 << 10);
    config.checkpoint.every = Length::from_millis(24 * 60 * 60 * 1_000);
    config
}

impl Life {
    fn begin(dir: &Path, backend: JournalBackend, clock: &ManualClock) -> Result<Self, String> {
        let config = config(dir, backend);
        let journal = configured_journal(&config);
        Self::begin_on(config, journal, clock)
    }

    /// With its log somewhere else.
    pub(crate) fn begin_on(
        config: Config,
        journal: OpenJournal,
        clock: &ManualClock,
    ) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let fatal: Arc<Mutex<Vec<String>>> = Arc::default();
        let said = Arc::clone(&fatal);
        let on_fatal: OnFatal = Arc::new(move |why| said.lock().push(why.to_owned()));
        let opened = runtime.block_on(Shop::open(ShopOptions {
            journal,
            config: Arc::new(config),
            time: Time::Given(Clock::from(clock.clone())),
            seed: None,
            progress: Box::new(|_| {}),
            on_fatal,
            workers: holdfast::workers::threads(),
        }));
        let (shop, _) = opened.map_err(|error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            text
        })?;
        Ok(Self { shop, runtime, fatal })
    }

    pub(crate) fn run<T>(&self, story: impl AsyncFnOnce(&Arc<Shop>) -> T) -> T {
        self.runtime.block_on(story(&self.shop))
    }

    /// Ends like a killed process.
    pub(crate) fn drop_hard(self) -> Result<(), String> {
        drop(self.runtime);
        drop(Arc::into_inner(self.shop).expect("every task has ended with its runtime"));
        let fatal = self.fatal.lock();
        if fatal.is_empty() {
            Ok(())
        } else {
            Err(fatal.join("; "))
        }
    }
}

// --- what was answered ---

/// A hold as it was answered, with the key it was asked for under.
#[derive(Clone, Debug)]
struct HoldFact {
    version: u32,
    status: String,
    quantity: u32,
    key: Option<(String, String)>,
}

/// Everything that was answered up to a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    now_ms: i64,
    holds: BTreeMap<String, HoldFact>,
    /// Version and units on hand.
    variants: BTreeMap<String, (u64, u64)>,
}

/// A tracer listens, or somebody in this process.
fn tell(line: String) {
    let line = format!("answered {line}");
    if std::env::var_os(STORY).is_some() {
        crate::report(&line);
    }
    HEARD.with_borrow_mut(|heard| heard.hear(&line));
}

thread_local! {
    /// What was told in this thread.
    static HEARD: RefCell<Facts> = RefCell::default();
}

fn tell_hold(clock: &ManualClock, hold: &Hold, key: Option<(&str, &str)>) {
    let (now, id) = (clock.now().as_millis(), hold.id);
    let (key, of) = key.unwrap_or(("-", "-"));
    let Hold {
        version,
        quantity,
        status,
        ..
    } = hold;
    tell(format!(
        "hold {now} {id} {version} {status:?} {quantity} {key} {of}"
    ));
}

fn tell_variant(clock: &ManualClock, view: &View) {
    let now = clock.now().as_millis();
    let head = &view.head;
    tell(format!(
        "variant {now} {} {} {}",
        head.id, head.version, head.on_hand
    ));
}

impl Facts {
    /// Takes in a line of the traced process.
    pub(crate) fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["answered", "hold", now, id, version, status, quantity, key, of] => {
                self.now_ms = now.parse().unwrap();
                let before = self.holds.get(*id).and_then(|before| before.key.clone());
                let key = (*key != "-").then(|| ((*key).to_owned(), (*of).to_owned()));
                let fact = HoldFact {
                    version: version.parse().unwrap(),
                    status: (*status).to_owned(),
                    quantity: quantity.parse().unwrap(),
                    key: key.or(before),
                };
                self.holds.insert((*id).to_owned(), fact);
            }
            ["answered", "variant", now, id, version, on_hand] => {
                self.now_ms = now.parse().unwrap();
                let figures = (version.parse().unwrap(), on_hand.parse().unwrap());
                self.variants.insert((*id).to_owned(), figures);
            }
            _ => {}
        }
    }
}

// --- the life ---

/// What the traced process does: a shop from its first start over checkpoints, rolls, trims and restarts, telling every answer;
/// all that was told, and what of it was told before the last checkpoint.
pub(crate) fn live(dir: &Path, backend: JournalBackend) -> (Facts, Facts) {
    HEARD.take();
    let clock = ManualClock::new(START);
    let life = Life::begin(dir, backend, &clock).unwrap();
    life.run(async |shop| {
        for (id, units) in [("a", 500), ("b", 40)] {
            tell_variant(&clock, &stock(shop, id, units).await);
        }
        sell(shop, &clock, 0..8).await;
        shop.checkpoint().await.unwrap();
        sell(shop, &clock, 8..24).await;
        together(shop, &clock).await;
        list(shop, &clock, 1).await;
        shop.checkpoint().await.unwrap();
        sell(shop, &clock, 24..40).await;
        // Some of the holds come to their end by themselves.
        clock.advance(2 * MINUTE);
        sell(shop, &clock, 40..44).await;
        shop.close().await;
    });
    life.drop_hard().unwrap();

    let life = Life::begin(dir, backend, &clock).unwrap();
    life.run(async |shop| {
        sell(shop, &clock, 44..56).await;
        together(shop, &clock).await;
        list(shop, &clock, 2).await;
    });
    // Killed in between: the next life has a tail to replay.
    life.drop_hard().unwrap();

    let life = Life::begin(dir, backend, &clock).unwrap();
    let stored = life.run(async |shop| {
        sell(shop, &clock, 56..64).await;
        shop.checkpoint().await.unwrap();
        let stored = HEARD.with_borrow(Clone::clone);
        sell(shop, &clock, 64..70).await;
        list(shop, &clock, LISTS).await;
        stored
    });
    // Killed: what comes behind the last checkpoint is in the log alone.
    life.drop_hard().unwrap();
    (HEARD.take(), stored)
}

async fn sell(shop: &Shop, clock: &ManualClock, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let of = if number % 3 == 0 { "b" } else { "a" };
        let key = format!("k{number}");
        let ask = wish_for(if number % 5 == 4 { MINUTE } else { 15 * MINUTE }, of, 1);
        let held = shop.reserve(&keyed(&key, of), ask).await.unwrap().body.hold;
        tell_hold(clock, &held, Some((&key, of)));
        let after = match number % 4 {
            0 => shop.confirm(&ctx(), held.id, None, None).await,
            1 => shop.release(&ctx(), held.id).await,
            2 => shop.resize(&ctx(), held.id, 2).await,
            _ => continue,
        };
        tell_hold(clock, &after.unwrap().body.hold, None);
        if number % 8 == 0 {
            let ask = AdjustAsk {
                delta: 3,
                reason: "found".to_owned(),
                reference: None,
                expected_on_hand: None,
            };
            let adjusted = shop.adjust_stock(&ctx(), &variant("a"), ask, None).await.unwrap();
            tell_variant(clock, &adjusted.body.view);
        }
    }
}

/// Several at once, so that a group has several records; and a bulk over two variants.
async fn together(shop: &Shop, clock: &ManualClock) {
    let held = tokio::join!(
        hold(shop, "a", 1),
        hold(shop, "b", 1),
        hold(shop, "a", 2),
        hold(shop, "a", 1)
    );
    for held in [held.0, held.1, held.2, held.3] {
        tell_hold(clock, &held, None);
    }
    let done = shop
        .bulk(&ctx(), all_or_nothing(&[("a", 1), ("b", 1)]))
        .await
        .unwrap();
    for line in done.body.lines {
        let holdfast::domain::bulk::LineOutcome::Done(held) = line.1 else {
            panic!("{line:?}")
        };
        tell_hold(clock, &held, None);
    }
}

/// Lists of the whole life.
const LISTS: u64 = 3;

/// Lines that are taken over as one.
struct Lines(Vec<ImportLine>);

impl ImportSource for Lines {
    fn lines(&self) -> Box<dyn Iterator<Item = Result<ImportLine, NoLine>> + Send + '_> {
        Box::new(self.0.iter().cloned().map(Ok))
    }
}

fn made_by(number: u64) -> String {
    format!("made-{number}")
}

/// A list, all or nothing: it says its number in two variants, one of which gets a unit, and makes a third.
async fn list(shop: &Arc<Shop>, clock: &ManualClock, number: u64) {
    let made = made_by(number);
    let level = [Some(Level::Delta(1)), None, Some(Level::Counted(number))];
    let ids = ["a", "b", &made];
    let lines = ids
        .into_iter()
        .zip(level)
        .zip(1..)
        .map(|((id, level), line)| ImportLine {
            number: line,
            variant: variant(id),
            import: Import {
                settings: vec![Setting::Name(Some(number.to_string()))],
                level,
                sale: None,
                reference: format!("line {line}"),
                by: "shop".to_owned(),
            },
        });
    let lines = Arc::new(Lines(lines.collect()));
    let seat = shop.import_seat().unwrap();
    let key = format!("list-{number}");
    let done = shop
        .import_together(&keyed(&key, &key), lines, seat)
        .await
        .unwrap();
    assert_eq!((done.body.created, done.body.changed), (1, 2));
    for id in ids {
        tell_variant(clock, &view(shop, id).await);
    }
}

// --- the judge ---

/// How closely a state is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It opens by the laws, and everything that was answered is there.
    Opens,
    /// Then it sells on, is killed, and opens again; and the operator's own check finds nothing.
    GoesOn,
}

/// Opens what a crash left behind.
pub(crate) fn judge(dir: &Path, backend: JournalBackend, facts: &Facts, look: Look) -> Result<(), String> {
    let clock = ManualClock::new(Timestamp::from_millis(facts.now_ms).max(START));
    let life = Life::begin(dir, backend, &clock)?;
    let found = life.run(async |shop| {
        has_everything(shop, facts).await?;
        match look {
            Look::Opens => Ok(None),
            Look::GoesOn => goes_on(shop).await.map(Some),
        }
    });
    life.drop_hard()?;
    let Some(held) = found? else { return Ok(()) };
    let life = Life::begin(dir, backend, &clock).map_err(|error| format!("the second start: {error}"))?;
    let there = life.run(async |shop| shop.get_reservation(&ctx(), held).await.is_ok());
    life.drop_hard()?;
    if !there {
        return Err(format!("ACK_DURABLE: {held} of the second life is lost"));
    }
    let data_dir = DataDir::open(dir).map_err(|error| error.to_string())?;
    let report =
        verify(&data_dir, &recover_options(&config(dir, backend))).map_err(|error| error.to_string())?;
    if report.is_sound() {
        Ok(())
    } else {
        Err(report.violations.join("; "))
    }
}

/// A list is there as a whole or not at all.
async fn has_whole_lists(shop: &Shop) -> Result<(), String> {
    let seen = async |id: &str| {
        shop.get_variant(&ctx(), &variant(id))
            .await
            .ok()
            .map(|seen| seen.body)
    };
    let last = async |id: &str| {
        let name = seen(id).await.and_then(|view| view.head.settings.name);
        name.map_or(0, |number| number.parse().unwrap())
    };
    let said: [u64; 2] = [last("a").await, last("b").await];
    let mut made = 0;
    for number in 1..=LISTS {
        made += u64::from(seen(&made_by(number)).await.is_some());
    }
    if said != [made; 2] {
        return Err(format!("a part of a list: {said:?} of {made}"));
    }
    Ok(())
}

/// ACK_DURABLE and ONCE_PER_KEY for everything that was answered.
async fn has_everything(shop: &Shop, facts: &Facts) -> Result<(), String> {
    has_whole_lists(shop).await?;
    for (id, (version, on_hand)) in &facts.variants {
        let found = shop.get_variant(&ctx(), &variant(id)).await;
        let view = found
            .map_err(|error| format!("ACK_DURABLE: variant {id}: {error}"))?
            .body;
        let head = &view.head;
        if head.version < *version || (head.version == *version && head.on_hand != *on_hand) {
            return Err(format!(
                "ACK_DURABLE: variant {id} of version {version} is now {head:?}"
            ));
        }
        expect_lawful(&view);
    }
    for (id, fact) in &facts.holds {
        let parsed: ReservationId = id.parse().unwrap();
        let found = shop.get_reservation(&ctx(), parsed).await;
        let found = found
            .map_err(|error| format!("ACK_DURABLE: {id} {fact:?}: {error}"))?
            .body
            .hold;
        let same = found.version == fact.version
            && found.quantity == fact.quantity
            && (format!("{:?}", found.status) == fact.status || found.status == HoldStatus::Expired);
        if !same && found.version <= fact.version {
            return Err(format!("ACK_DURABLE: {id} {fact:?} is now {found:?}"));
        }
    }
    // A key costs a look into the log: the latest ones are those in danger.
    let keyed_holds = facts
        .holds
        .iter()
        .rev()
        .filter_map(|(id, fact)| Some((id, fact.key.as_ref()?)));
    for (id, (key, of)) in keyed_holds.take(6) {
        let again = shop.reserve(&keyed(key, of), wish(of, 1)).await;
        let again = again.map_err(|error| format!("ONCE_PER_KEY: {key}: {error}"))?;
        if !again.replayed || again.body.hold.id.to_string() != *id {
            return Err(format!("ONCE_PER_KEY: {key} of {id} is answered {again:?}"));
        }
    }
    Ok(())
}

/// Sells one more, in a variant that may have to be made first.
async fn goes_on(shop: &Shop) -> Result<ReservationId, String> {
    let id = variant("next");
    if shop.get_variant(&ctx(), &id).await.is_err() {
        stock(shop, "next", 10).await;
    }
    let held = shop
        .reserve(&ctx(), wish("next", 1))
        .await
        .map_err(|error| error.to_string())?;
    expect_lawful(&view(shop, "next").await);
    Ok(held.body.hold.id)
}

/// Run by itself, it lives its life in a directory of its own; under a tracer, in the one it is told of.
#[test]
fn a_life_is_lived_and_told() {
    let Ok(told) = std::env::var(STORY) else {
        for backend in [JournalBackend::File, JournalBackend::Sled] {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("data");
            let (facts, _) = live(&dir, backend);
            assert!(facts.holds.len() > 70, "{facts:?}");
            judge(&dir, backend, &facts, Look::GoesOn).unwrap();
        }
        return;
    };
    let (backend, dir) = told.split_once(':').unwrap();
    _ = live(Path::new(dir), super::backend_of(backend));
}
