//! The directory by itself, over a log in a fresh directory: what it is given from outside may be broken, which no shop that was
//! opened over its own rows can show, because recovery refuses it.
mod together;

use holdfast::{
    actor::{
        ActorLimits, Admission, AdmissionLimits, AgentId, AgentJob, Answer, Directory, Entry, Job, Logged,
        Message, NotDone, Outcome, Pending, Rebuild, Services, Unroutable,
    },
    clock::ManualClock,
    domain::{
        bulk::{Action, Bulk, Line, Mode, Plan},
        cart::{self, Cart, LineHold},
        ids::{BulkId, CartId, ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
        policy::Terms,
        time::Timestamp,
        variant::{Command, Flows, Head, Hold, Reserve, Settings, Shopper, Variant},
    },
    storage::{
        dto,
        journal::{
            Delivered, Journal, JournalLimits, JournalQueue, JournalWriter, PartitionId, WriterParts,
            disk::RealDisk,
            file::{FileJournal, FileOptions},
            writer::NoMetrics,
        },
        keys::{KeyEntry, KeyHash, KeyLookupError, KeyTable, OlderKeys},
        record::Fact,
    },
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::world::{START, World};

/// No key is remembered.
struct NoneOlder;

impl OlderKeys for NoneOlder {
    fn find(&self, _hash: &KeyHash) -> Result<Option<KeyEntry>, KeyLookupError> {
        Ok(None)
    }
}

/// Variants as they are read again.
#[derive(Default)]
struct Kept(
    Mutex<BTreeMap<VariantOrdinal, Variant>>,
    /// The next reading ends only when this does.
    Mutex<Option<mpsc::Receiver<()>>>,
);

impl Rebuild for Kept {
    fn variant(&self, ordinal: VariantOrdinal) -> Result<(Variant, u64), String> {
        if let Some(gate) = self.1.lock().take() {
            assert!(gate.recv().is_err(), "nothing is ever sent");
        }
        let kept = self.0.lock().get(&ordinal).cloned();
        kept.map(|variant| (variant, 0))
            .ok_or_else(|| "there is none".to_owned())
    }

    fn agent(&self, _: AgentId) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn ended(&self, _: ReservationId) -> Result<Option<Hold>, String> {
        Ok(None)
    }
}

/// Answers whoever waits for what is durable.
fn answer(durable: Vec<Delivered<Pending>>) {
    for Delivered { number, item, .. } in durable {
        let (port, outcome) = match item {
            Pending::Later { port, outcome, .. } => (port, outcome),
            Pending::Turn { port: None, .. } => continue,
            Pending::Turn {
                turn,
                port: Some((port, outcome)),
                ..
            } => {
                let number = number.unwrap().0;
                let logged = || Ok(Answer::Logged(Box::new(Logged { number, turn: *turn })));
                (port, outcome.unwrap_or_else(logged))
            }
        };
        port.send(outcome).unwrap();
    }
}

struct House {
    directory: Arc<Directory>,
    admission: Arc<Admission>,
    queue: JournalQueue<Pending>,
    writer: JournalWriter,
    kept: Arc<Kept>,
    clock: ManualClock,
    _dir: TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = FileOptions {
            segment_bytes: 1 << 20,
            prepare_ahead: false,
            ..FileOptions::default()
        };
        let mut journal =
            FileJournal::open(Arc::new(RealDisk), &dir.path().join("journal"), options).unwrap();
        let tail = journal.acquire(PartitionId(0)).unwrap();
        let parts = WriterParts {
            observer: Box::new(answer),
            metrics: Box::new(NoMetrics),
            clock: Box::new(|| START.as_millis()),
            on_fatal: Box::new(|error| panic!("{error}")),
        };
        let limits = JournalLimits::default();
        let (queue, writer) =
            JournalWriter::start(Box::new(journal), PartitionId(0), &tail, limits, parts).unwrap();
        let admission = Arc::new(Admission::new(AdmissionLimits {
            max_in_flight: 8,
            max_per_variant: 8,
            reserved: 40,
            orders: 8,
        }));
        let kept = Arc::new(Kept::default());
        let clock = ManualClock::new(START);
        let services = Services {
            clock: clock.clone().into(),
            queue: queue.clone(),
            admission: Arc::clone(&admission),
            rebuild: Arc::clone(&kept) as Arc<dyn Rebuild>,
            keys: KeyTable::new(8, Arc::new(NoneOlder)),
            workers: holdfast::workers::threads(),
            limits: ActorLimits {
                idle_ms: 60_000,
                agent_waiting_max: 8,
            },
        };
        Self {
            directory: Directory::start(services, 2).await,
            admission,
            queue,
            writer,
            kept,
            clock,
            _dir: dir,
        }
    }

    /// Puts a variant to sleep in its place, as its bytes say.
    fn bring_in(&self, variant: &Variant) -> Arc<Entry> {
        let head = variant.head();
        let (store, id, ordinal) = (head.store.clone(), head.id.clone(), head.ordinal);
        let next = variant.next_deadline();
        self.directory
            .restore((store, id, ordinal), dto::encode_variant(variant), 0, next);
        self.directory.by_ordinal(ordinal).unwrap()
    }

    async fn ask(&self, entry: &Arc<Entry>, command: Command) -> Result<Outcome, Unroutable> {
        Ok(self.send(entry, command)?.await.unwrap())
    }

    fn send(&self, entry: &Arc<Entry>, command: Command) -> Result<oneshot::Receiver<Outcome>, Unroutable> {
        let (port, answer) = oneshot::channel();
        let job = Job {
            command,
            key: None,
            permit: self.admission.admit().unwrap().for_variant(entry).unwrap(),
            deadline: Timestamp::from_millis(i64::MAX),
            port,
        };
        self.directory.route(entry, Message::Command(Box::new(job)))?;
        Ok(answer)
    }

    fn close(self) {
        self.queue.close();
        self.writer.join();
    }
}

/// A variant of ten units with three holds of one.
fn sound(name: &str, ordinal: u32) -> (Variant, Vec<ReservationId>) {
    let mut world = World::new(name, VariantOrdinal(ordinal));
    let create = Command::Create {
        settings: Box::new(Settings::default()),
        on_hand: 10,
        by: "shop".to_owned(),
    };
    world.ask(&create, START);
    let held = (0..3).map(|_| {
        let reserve = reserve(world.fresh_id(START));
        world.ask(&Command::Reserve(reserve.clone()), START);
        reserve.id
    });
    let held = held.collect();
    (world.variant, held)
}

fn reserve(id: ReservationId) -> Reserve {
    Reserve {
        id,
        quantity: 1,
        shopper: Shopper::default(),
        ttl_ms: Some(60_000),
        allow_partial: false,
        terms: Terms {
            max_ttl_ms: 60_000,
            ..Terms::NONE
        },
        for_order: None,
    }
}

/// The same with one unit on hand: more is held than there is.
fn oversold(variant: &Variant) -> Variant {
    let head = Head {
        on_hand: 1,
        flows: Flows {
            received: 1,
            ..variant.head().flows
        },
        ..variant.head().clone()
    };
    Variant::restore(head, variant.holds().cloned(), [])
}

#[tokio::test]
async fn a_variant_that_breaks_a_law_is_closed_alone_and_the_others_sell_on() {
    let house = House::open().await;
    let (good, held) = sound("a", 0);
    let a = house.bring_in(&oversold(&good));
    let b = house.bring_in(&sound("b", 1).0);
    let release = |which: usize| Command::Release { id: held[which] };
    // As it is read again it is broken still: each time it is closed in the turn that would have logged something.
    house.kept.0.lock().insert(a.ordinal, oversold(&good));
    for _ in 0..2 {
        let done = house.ask(&a, release(0)).await.unwrap();
        assert_eq!(done.unwrap_err(), NotDone::Quarantined);
        assert_eq!(
            house.ask(&a, release(1)).await.unwrap_err(),
            Unroutable::Quarantined
        );
        let closed = house.directory.quarantined();
        let [(entry, reason)] = &closed[..] else {
            panic!("{closed:?}")
        };
        assert_eq!(entry.id, VariantId::parse("a").unwrap());
        assert!(reason.contains("NO_OVERSELL"), "{reason}");
        assert!(house.directory.release_from_quarantine(&a));
    }
    let logged = house.queue.last();
    assert_eq!(logged.0, 0, "nothing of it is in the log");
    let reserved = house
        .ask(&b, Command::Reserve(reserve(ReservationId::FIRST)))
        .await;
    assert!(matches!(reserved, Ok(Ok(Answer::Logged(_)))), "{reserved:?}");

    // Closed once more, and sound when it is read again.
    let done = house.ask(&a, release(0)).await.unwrap();
    assert_eq!(done.unwrap_err(), NotDone::Quarantined);
    house.kept.0.lock().insert(a.ordinal, good);
    assert!(house.directory.release_from_quarantine(&a));
    let released = house.ask(&a, release(0)).await.unwrap();
    assert!(matches!(released, Ok(Answer::Logged(_))), "{released:?}");
    assert!(house.directory.quarantined().is_empty());
    let store = StoreId::parse("default").unwrap();
    assert_eq!(house.directory.list(&store, None, 10).len(), 2);
    house.close();
}

/// A command for a cart, and its answer.
fn ask_cart(
    house: &House,
    id: &CartId,
    command: cart::Command,
) -> impl Future<Output = Result<Box<Cart>, NotDone>> + use<> {
    let (port, answer) = oneshot::channel();
    let job = AgentJob {
        store: StoreId::parse("default").unwrap(),
        command,
        expected: None,
        key: None,
        permit: house.admission.admit().unwrap(),
        deadline: Timestamp::from_millis(i64::MAX),
        port,
    };
    house.directory.route_new_cart(None, id, job).unwrap();
    async move {
        match answer.await.unwrap()? {
            Answer::Logged(logged) => match logged.turn.fact {
                Fact::Cart(fact) => Ok(Box::new(fact.cart)),
                other => panic!("{other:?} is no cart's"),
            },
            other => panic!("{other:?} is no record"),
        }
    }
}

async fn until(mut is_true: impl FnMut() -> bool) {
    while !is_true() {
        tokio::task::yield_now().await;
    }
}

/// Decisions 5: the permit is the message's, so that the cart which gives its own room up does not make more of it than there
/// is; and what is on its way is not sent again, however often the cart tries.
#[tokio::test]
async fn an_ask_keeps_its_room_while_it_is_on_its_way_and_is_not_sent_again() {
    let house = House::open().await;
    house.directory.start_timers();
    let (good, held) = sound("a", 0);
    let entry = house.bring_in(&oversold(&good));
    house.kept.0.lock().insert(entry.ordinal, good);
    let closed = house.ask(&entry, Command::Release { id: held[0] }).await.unwrap();
    assert_eq!(closed.unwrap_err(), NotDone::Quarantined);
    // It is being read again, and that takes long: what is sent to it waits.
    let (open, gate) = mpsc::channel();
    *house.kept.1.lock() = Some(gate);
    assert!(house.directory.release_from_quarantine(&entry));
    let id = CartId::made(START, Slot::of_cart(1), 1);
    let add = cart::Command::Add {
        customer: None,
        session: None,
        variant: entry.id.clone(),
        ordinal: entry.ordinal,
        quantity: 2,
        campaign: None,
        reservation: entry.new_reservation(START),
        policy: crate::record_golden::policy(),
    };
    let added = ask_cart(&house, &id, add);
    let in_use = || house.admission.reserved_in_use();
    until(|| in_use() > 1).await;
    // Nobody answers in time: the line is told to be unconfirmed, and the cart gives up what room it has.
    house.clock.advance(2_000);
    let cart = added.await.unwrap();
    assert!(
        matches!(cart.lines[0].hold, LineHold::Unconfirmed { .. }),
        "{cart:?}"
    );
    until(|| in_use() <= 2).await;
    assert_eq!(in_use(), 1, "the message has its own");
    for again in 1..=3 {
        // The line is tried again.
        house.clock.advance(30_000);
        until(|| in_use() > 2).await;
        house.clock.advance(2_000);
        until(|| in_use() <= 2 + again).await;
        assert_eq!(
            in_use(),
            2,
            "try {again}: the message, and how it stands was asked once"
        );
    }
    let before = house.queue.last().0;
    drop(open);
    // The one message comes to the one hold, and its permit is freed with that record. What was asked behind it needs none.
    until(|| in_use() == 0).await;
    assert_eq!(house.queue.last().0 - before, 1, "the variant's record");
    // At the next try the variant has it already.
    house.clock.advance(30_000);
    let look = || {
        let (port, seen) = oneshot::channel();
        let (permit, id) = (
            house.admission.admit().unwrap(),
            AgentId::Cart(id.bits().unwrap()),
        );
        house.directory.look_at(id, permit, port).unwrap();
        async move {
            match seen.await.unwrap().unwrap() {
                Answer::Cart { cart, .. } => cart,
                other => panic!("{other:?} is no cart"),
            }
        }
    };
    while !matches!(look().await.lines[0].hold, LineHold::Held(_)) {
        tokio::task::yield_now().await;
    }
    until(|| in_use() == 0).await;
    assert_eq!(
        house.queue.last().0 - before,
        3,
        "the variant's record, and two more of the cart"
    );
    house.close();
}

/// The coordinator of before the restart once took its id only when it had its slots, and refused itself when a request with the same
/// key had been quicker: nobody settled what it had promised.
#[tokio::test]
async fn a_coordinator_of_before_the_restart_has_its_id_before_it_has_its_slots() {
    let house = House::open().await;
    let plan = Plan {
        store: StoreId::parse("default").unwrap(),
        mode: Mode::AllOrNothing,
        action: Action::Release,
        lines: vec![Line {
            variant: None,
            variant_id: VariantId::parse("gone").unwrap(),
            reservation: ReservationId::FIRST,
            quantity: 0,
        }],
        terms: Terms::NONE,
    };
    let id = BulkId(7);
    let others = house.admission.reserve(40).unwrap();
    let resumed = house.directory.resume_bulk(Bulk::intended(id, plan.clone()));
    let second = || {
        let permit = house.admission.admit().unwrap();
        let (port, _) = oneshot::channel();
        house.directory.start_bulk(id, plan.clone(), None, permit, port)
    };
    assert!(second().is_err(), "its id is taken");
    drop(others);
    resumed.await;
    assert!(second().is_ok(), "it has come to its end");
    house.close();
}
