//! The directory by itself, over a log in a fresh directory: what it is given from outside may be broken, which no shop that was
//! opened over its own rows can show, because recovery refuses it.
use holdfast::{
    actor::{
        ActorLimits, Admission, AdmissionLimits, AgentId, Answer, Directory, Entry, Job, Logged, Message,
        NotDone, Outcome, Pending, Rebuild, Services, Unroutable,
    },
    clock::ManualClock,
    domain::{
        ids::{ReservationId, StoreId, VariantId, VariantOrdinal},
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
    },
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
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
struct Kept(Mutex<BTreeMap<VariantOrdinal, Variant>>);

impl Rebuild for Kept {
    fn variant(&self, ordinal: VariantOrdinal) -> Result<(Variant, u64), String> {
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
            reserved: 8,
            orders: 8,
        }));
        let kept = Arc::new(Kept::default());
        let services = Services {
            clock: ManualClock::new(START).into(),
            queue: queue.clone(),
            admission: Arc::clone(&admission),
            rebuild: Arc::clone(&kept) as Arc<dyn Rebuild>,
            keys: KeyTable::new(8, Arc::new(NoneOlder)),
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
        let (port, answer) = oneshot::channel();
        let job = Job {
            command,
            key: None,
            permit: self.admission.admit().unwrap().for_variant(entry).unwrap(),
            deadline: Timestamp::from_millis(i64::MAX),
            port,
        };
        self.directory.route(entry, Message::Command(Box::new(job)))?;
        Ok(answer.await.unwrap())
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
