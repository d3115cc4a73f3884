//! A house without actors: variants judged and applied by hand, records through the real queue and writer, checkpoints
//! by the real follower. What it knows of itself is what a recovery must find again.
use holdfast::{
    domain::{
        agree::Mend,
        cart::{self, Cart},
        ids::{CartId, CustomerId, ReservationId, StoreId, VariantId, VariantOrdinal},
        order::{self, Order},
        policy::{HoldLengths, Terms},
        rules::Gate,
        time::Timestamp,
        variant::{
            AfterSale, Command, Confirm, Decision, Event, Extend, Hold, Reserve, Settings, Shopper, Variant,
        },
    },
    storage::{
        archive::{ArchiveNews, ArchiveOptions, Keeper},
        checkpoint::{CheckpointOptions, CheckpointParts, CheckpointThread, Checkpointer},
        data_dir::DataDir,
        dto,
        journal::{
            Delivered, Group, JournalLimits, JournalQueue, JournalWriter, LogReader, PartitionId, ReadError,
            Record, RecordNumber, Waits, WriterParts, disk::RealDisk, writer::NoMetrics,
        },
        keys::{Claim, Claimed, Fingerprint, KeyHash, KeyTable},
        projection::{Projection, Statistics},
        record::{CartFact, Fact, KeyMark, OrderFact, Turn, VariantFact},
        recovery::{
            Backend, RecoverError, RecoverOptions, Recovered, RecoveredAgent, RecoveredVariant, recover,
            state_digest,
        },
        state::{StateOptions, StateStore},
        trim_holds::TrimHolds,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
};

pub(super) const STORES: [&str; 3] = ["default", "north", "south"];
pub(super) const START_MS: i64 = 1_700_000_000_000;
/// Keys and ended reservations are kept this long here.
pub(super) const RETENTION_MS: i64 = 1_000_000;

pub(super) fn options(backend: Backend) -> RecoverOptions {
    RecoverOptions {
        partition: PartitionId(0),
        backend,
        segment_bytes: 32 * 1024,
        journal_cache_bytes: 1 << 20,
        state: StateOptions {
            cache_bytes: 4 << 20,
            compact_floor_bytes: 1 << 30,
        },
        keys_memory_max: 100_000,
        keys_ms: 24 * 60 * 60 * 1_000,
    }
}

/// Reservations that left their variant, with their store.
pub(super) type Gone = BTreeMap<ReservationId, (StoreId, Hold)>;

enum Item {
    Turn(Box<Turn>, Option<Claim>),
    Barrier(mpsc::Sender<()>),
}

/// What a caller was answered under a key.
pub(super) struct Keyed {
    pub(super) hash: KeyHash,
    pub(super) fingerprint: Fingerprint,
    pub(super) number: u64,
    pub(super) turn: Turn,
}

/// What stays when the process is gone: the directory, and what callers remember.
pub(super) struct Home {
    pub(super) dir: tempfile::TempDir,
    pub(super) options: RecoverOptions,
}

impl Home {
    pub(super) fn new(backend: Backend) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            options: options(backend),
        }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(super) fn try_open(&self) -> Result<House, RecoverError> {
        House::open(&self.root(), &self.options)
    }

    pub(super) fn open(&self) -> House {
        self.try_open().unwrap()
    }
}

/// The log as the follower and snapshots see it. The thread [`Watched::WATCHED`] can be stopped when it asks for the end.
pub(super) struct Watched {
    log: Arc<dyn LogReader>,
    pub(super) at_last: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Watched {
    pub(super) const WATCHED: &str = "watched";
}

impl LogReader for Watched {
    fn read(
        &self,
        partition: PartitionId,
        from: RecordNumber,
        max_bytes: usize,
    ) -> Result<Vec<Group>, ReadError> {
        self.log.read(partition, from, max_bytes)
    }

    fn record(&self, partition: PartitionId, number: RecordNumber) -> Result<Option<Record>, ReadError> {
        self.log.record(partition, number)
    }

    fn first(&self) -> RecordNumber {
        self.log.first()
    }

    fn last(&self) -> RecordNumber {
        if std::thread::current().name() == Some(Self::WATCHED)
            && let Some(stop) = self.at_last.lock().unwrap().take()
        {
            stop();
        }
        self.log.last()
    }

    fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }
}

/// The running house.
pub(super) struct House {
    _dir: DataDir,
    pub(super) state: Arc<StateStore>,
    pub(super) keys: KeyTable,
    pub(super) projection: Arc<Projection>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) checkpointer: Checkpointer,
    pub(super) watched: Arc<Watched>,
    thread: CheckpointThread,
    queue: JournalQueue<Item>,
    writer: JournalWriter,
    now_ms: Arc<AtomicI64>,
    pub(super) variants: BTreeMap<u32, Variant>,
    /// By the bits of their ids, as the house itself knows them.
    pub(super) carts: BTreeMap<u128, Cart>,
    pub(super) orders: BTreeMap<u128, Order>,
    pub(super) mends: Vec<Mend>,
    pub(super) recovered: Vec<RecoveredVariant>,
    pub(super) next_ordinal: u32,
    pub(super) replayed: u64,
    pub(super) torn: Option<String>,
    pub(super) gate: Option<Gate>,
    salt: u32,
}

impl House {
    fn open(root: &Path, options: &RecoverOptions) -> Result<Self, RecoverError> {
        let dir = DataDir::open(root).unwrap();
        let recovered = recover(&dir, options, &options.journal(), &|_| {})?;
        let variants = recovered.variants.iter().map(|sleeping| {
            let variant = dto::decode_variant(&sleeping.encoded).unwrap();
            assert_eq!(variant.next_deadline(), sleeping.next_deadline);
            (sleeping.ordinal.0, variant)
        });
        let variants: BTreeMap<u32, Variant> = variants.collect();
        let logged_at_ms = recovered.tail.logged_at_ms.max(START_MS);
        let decided_at_ms = recovered
            .decided_at
            .map_or(START_MS, |decided| decided.as_millis());
        let now_ms = Arc::new(AtomicI64::new(logged_at_ms.max(decided_at_ms)));
        Ok(Self::start(dir, recovered, options, variants, now_ms))
    }

    fn start(
        dir: DataDir,
        recovered: Recovered,
        options: &RecoverOptions,
        variants: BTreeMap<u32, Variant>,
        now_ms: Arc<AtomicI64>,
    ) -> Self {
        let reader = recovered.journal.reader();
        let trimmer = recovered.journal.trimmer();
        let projection = Arc::clone(&recovered.projection);
        let observed = Arc::clone(&projection);
        let observer = move |group: Vec<Delivered<Item>>| {
            for delivered in group {
                match delivered.item {
                    Item::Turn(turn, claim) => {
                        let number = delivered.number.unwrap().0;
                        observed.apply(number, &turn);
                        if let Some(claim) = claim {
                            claim.fill(number);
                        }
                    }
                    Item::Barrier(passed) => passed.send(()).unwrap(),
                }
            }
        };
        let (clock, retention_clock) = (Arc::clone(&now_ms), Arc::clone(&now_ms));
        let parts = WriterParts {
            observer: Box::new(observer),
            metrics: Box::new(NoMetrics),
            clock: Box::new(move || clock.load(Ordering::Relaxed)),
            on_fatal: Box::new(|error| panic!("{error}")),
        };
        let (queue, writer) = JournalWriter::start(
            recovered.journal,
            options.partition,
            &recovered.tail,
            JournalLimits::default(),
            parts,
        )
        .unwrap();
        let holds = TrimHolds::default();
        let archive = ArchiveOptions {
            partition: options.partition,
            epoch: recovered.tail.epoch,
            file_bytes: 16 * 1024,
            max_bytes: u64::MAX,
            max_age_ms: i64::MAX,
        };
        let watched = Arc::new(Watched {
            log: Arc::clone(&reader),
            at_last: Mutex::default(),
        });
        let parts = CheckpointParts {
            state: Arc::clone(&recovered.state),
            reader: watched.clone(),
            trimmer,
            archive: Some(Keeper::new(
                Arc::new(RealDisk),
                dir.archive_dir(),
                archive,
                &holds,
                Box::new(|news| assert!(matches!(news, ArchiveNews::Kept { .. }), "{news:?}")),
            )),
            holds,
            keys: recovered.keys.clone(),
            projection: Arc::clone(&projection),
            metrics: Box::new(|_: &_| {}),
            clock: Box::new(move || retention_clock.load(Ordering::Relaxed)),
            disk_is_low: Box::new(|| false),
            on_fatal: Box::new(|error| panic!("{error:?}")),
        };
        let checkpoints = CheckpointOptions {
            every: std::time::Duration::from_secs(3600),
            batch_bytes: 8 * 1024,
            keys_ms: RETENTION_MS,
            ended_ms: RETENTION_MS,
            ..CheckpointOptions::default()
        };
        let (checkpointer, thread) = Checkpointer::start(parts, checkpoints).unwrap();
        Self {
            _dir: dir,
            state: recovered.state,
            keys: recovered.keys,
            projection,
            reader,
            checkpointer,
            watched,
            thread,
            queue,
            writer,
            now_ms,
            variants,
            carts: awake(
                recovered.carts,
                |cart: &Cart| cart.work.is_some(),
                dto::decode_cart,
            ),
            orders: awake(
                recovered.orders,
                |order: &Order| order.work.is_some(),
                dto::decode_order,
            ),
            mends: recovered.mends,
            recovered: recovered.variants,
            next_ordinal: recovered.next_ordinal,
            replayed: recovered.replayed,
            torn: recovered.tail.cut.map(|torn| torn.to_string()),
            gate: recovered.gate,
            salt: fastrand::u32(..),
        }
    }

    /// Stops everything in order; what is not in the rows stays in the log.
    pub(super) fn close(self) {
        self.thread.stop();
        self.queue.close();
        self.writer.join();
        drop((
            self.keys,
            self.projection,
            self.reader,
            self.checkpointer,
            self.watched,
        ));
        let state = Arc::try_unwrap(self.state).expect("nobody else has the rows");
        state.close().unwrap();
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Returns when everything that was appended is durable and observed.
    pub(super) fn settle(&self) {
        let (passed, barrier) = mpsc::channel();
        self.queue.repeat(Item::Barrier(passed)).unwrap();
        barrier.recv().unwrap();
    }

    pub(super) fn checkpoint(&self) {
        self.settle();
        self.checkpointer.run_now().unwrap();
    }

    /// Variants that are not deleted.
    pub(super) fn existing(&self) -> impl Iterator<Item = &Variant> {
        self.variants.values().filter(|variant| variant.head().exists())
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        state_digest(self.existing(), self.carts.values(), self.orders.values())
    }

    pub(super) fn append(&self, turn: Turn, claim: Option<Claim>) -> u64 {
        let payload = dto::encode_turn(&turn);
        let item = Item::Turn(Box::new(turn), claim);
        self.queue.append(payload, item, Waits::Somebody).unwrap().0
    }

    /// Logs a cart as it is from now on, with the next revision.
    pub(super) fn put_cart(&mut self, cart: Cart, happened: Vec<cart::Happened>) {
        let bits = cart.id.bits().unwrap();
        let before = self.carts.get(&bits).map_or(0, |before| before.revision);
        let cart = Cart {
            revision: before + 1,
            ..cart
        };
        if happened.contains(&cart::Happened::Forgotten) {
            self.carts.remove(&bits);
        } else {
            self.carts.insert(bits, cart.clone());
        }
        let fact = Fact::Cart(Box::new(CartFact { cart, happened }));
        self.log(fact);
    }

    /// Logs an order as it is from now on, with the next revision.
    pub(super) fn put_order(&mut self, order: Order, happened: Vec<order::Happened>) {
        let bits = order.id.bits().unwrap();
        let before = self.orders.get(&bits).map_or(0, |before| before.revision);
        let order = Order {
            revision: before + 1,
            ..order
        };
        self.orders.insert(bits, order.clone());
        let fact = Fact::Order(Box::new(OrderFact { order, happened }));
        self.log(fact);
    }

    pub(super) fn log(&self, fact: Fact) -> u64 {
        let at = self.now();
        self.append(Turn { at, fact, key: None }, None)
    }

    pub(super) fn create(&mut self, store: &str, id: &str, on_hand: u64) -> VariantOrdinal {
        let ordinal = VariantOrdinal(self.next_ordinal);
        self.next_ordinal += 1;
        let (store, id) = (StoreId::parse(store).unwrap(), VariantId::parse(id).unwrap());
        self.variants
            .insert(ordinal.0, Variant::unborn(store, id, ordinal));
        let create = Command::Create {
            settings: Box::new(Settings::default()),
            on_hand,
            by: "test".to_owned(),
        };
        self.ask(ordinal, &create);
        ordinal
    }

    /// Judges, applies and logs. The events that were logged.
    pub(super) fn ask(&mut self, ordinal: VariantOrdinal, command: &Command) -> Vec<Event> {
        self.ask_keyed(ordinal, command, None).0
    }

    fn ask_keyed(
        &mut self,
        ordinal: VariantOrdinal,
        command: &Command,
        key: Option<(KeyMark, Claim)>,
    ) -> (Vec<Event>, Option<(u64, Turn)>) {
        let now = self.now();
        let variant = self.variants.get_mut(&ordinal.0).unwrap();
        let named = !variant.head().exists();
        let (events, granted) = match variant.decide(command, now) {
            Ok(Decision::Granted(events)) => (events, true),
            Ok(Decision::Refused { events, .. }) => (events, false),
            Ok(Decision::Repeat(_) | Decision::Nothing) | Err(_) => (Vec::new(), false),
        };
        if events.is_empty() {
            return (events, None);
        }
        for event in &events {
            variant.apply(event, now);
        }
        variant.recount().unwrap();
        let head = variant.head();
        let key = key.filter(|_| granted);
        let turn = Turn {
            at: now,
            fact: Fact::Variant(VariantFact {
                ordinal,
                revision: head.revision,
                named: named.then(|| (head.store.clone(), head.id.clone())),
                events: events.clone(),
                view: None,
            }),
            key: key.as_ref().map(|(mark, _)| *mark),
        };
        let number = self.append(turn.clone(), key.map(|(_, claim)| claim));
        (events, Some((number, turn)))
    }

    /// A reservation under a key; `None` when it is refused.
    pub(super) fn reserve_keyed(&mut self, ordinal: VariantOrdinal, key: &str) -> Option<Keyed> {
        let hash = KeyHash::of("default", "test", key);
        let fingerprint = Fingerprint::of("POST /reserve", "", key.as_bytes());
        let Claimed::Fresh(claim) = self.keys.claim(hash, fingerprint).unwrap() else {
            panic!("the key is not fresh")
        };
        let command = self.reserve(ordinal, 1, shopper(Some(1), Some(1)), 60_000);
        let mark = KeyMark {
            hash: hash.0,
            fingerprint: fingerprint.0,
        };
        let (_, logged) = self.ask_keyed(ordinal, &command, Some((mark, claim)));
        let (number, turn) = logged?;
        Some(Keyed {
            hash,
            fingerprint,
            number,
            turn,
        })
    }

    pub(super) fn reserve(
        &mut self,
        ordinal: VariantOrdinal,
        quantity: u32,
        shopper: Shopper,
        ttl_ms: i64,
    ) -> Command {
        self.salt = self.salt.wrapping_add(1);
        let slot = self.variants[&ordinal.0].head().slot();
        Command::Reserve(Reserve {
            id: ReservationId::new(self.now(), slot, ordinal, self.salt),
            quantity,
            shopper,
            ttl_ms: Some(ttl_ms),
            allow_partial: false,
            for_order: None,
            terms: TERMS,
        })
    }

    /// Something random happens to a random variant.
    pub(super) fn step(&mut self, rng: &mut fastrand::Rng, gone: &mut Gone) {
        self.pass(rng.i64(0..500));
        let existing = self.variants.values().filter(|variant| variant.head().exists());
        let ordinals: Vec<VariantOrdinal> = existing.map(|variant| variant.head().ordinal).collect();
        if ordinals.is_empty() || rng.u32(0..80) == 0 {
            let store = STORES[rng.usize(0..3)];
            self.create(store, &format!("v{}", self.next_ordinal), rng.u64(0..40));
            return;
        }
        let ordinal = ordinals[rng.usize(0..ordinals.len())];
        let command = self.random_command(ordinal, rng, gone);
        for event in self.ask(ordinal, &command) {
            note(&self.variants[&ordinal.0], &event, gone);
        }
    }

    fn random_command(&mut self, ordinal: VariantOrdinal, rng: &mut fastrand::Rng, gone: &Gone) -> Command {
        let kept: Vec<ReservationId> = self.variants[&ordinal.0].holds().map(|hold| hold.id).collect();
        let any = |rng: &mut fastrand::Rng| kept[rng.usize(0..kept.len())];
        let by = "test".to_owned();
        let dice = rng.u32(0..100);
        if kept.is_empty() || dice < 40 {
            let who = shopper(
                rng.bool().then(|| rng.u32(0..6)),
                rng.bool().then(|| rng.u32(0..6)),
            );
            return self.reserve(ordinal, rng.u32(1..4), who, rng.i64(1_000..60_000));
        }
        match dice {
            40..55 => Command::Confirm(Confirm {
                id: any(rng),
                quantity: None,
                order: None,
            }),
            55..65 => Command::Release { id: any(rng) },
            65..70 => Command::Extend(Extend {
                id: any(rng),
                by_ms: None,
                phase: None,
                terms: TERMS,
                seen: None,
            }),
            70..78 => Command::Fulfil(after_sale(any(rng), None, rng)),
            78..82 => Command::Cancel(after_sale(any(rng), None, rng)),
            82..88 => {
                let sold: Vec<&Hold> = gone
                    .values()
                    .map(|(_, hold)| hold)
                    .filter(|hold| hold.id.variant() == ordinal && hold.fulfilment.shipped > 0)
                    .collect();
                match sold.get(rng.usize(0..sold.len().max(1))) {
                    Some(hold) => Command::Return(after_sale(hold.id, Some(hold), rng)),
                    None => Command::Cleanup,
                }
            }
            88..94 => Command::Adjust {
                delta: rng.i64(-3..20),
                reason: "count".to_owned(),
                reference: None,
                expected_on_hand: None,
                by,
            },
            94..98 => Command::Cleanup,
            _ => Command::Delete,
        }
    }

    /// Reservations that are shown, by store, as the house itself knows them.
    pub(super) fn shown(&self, gone: &Gone) -> Gone {
        let mut shown = gone.clone();
        for variant in self.existing() {
            let store = &variant.head().store;
            shown.extend(
                variant
                    .holds()
                    .map(|hold| (hold.id, (store.clone(), hold.clone()))),
            );
        }
        shown
    }

    pub(super) fn statistics(&self) -> Vec<(String, Statistics)> {
        let of = |store: &str| self.projection.statistics(&StoreId::parse(store).unwrap());
        STORES
            .into_iter()
            .map(|store| (store.to_owned(), of(store)))
            .collect()
    }
}

/// Carts or orders out of what they sleep as.
fn awake<A>(
    sleeping: Vec<RecoveredAgent>,
    is_working: impl Fn(&A) -> bool,
    decode: impl Fn(&[u8]) -> Result<A, dto::FormatError>,
) -> BTreeMap<u128, A> {
    assert!(sleeping.is_sorted_by_key(|agent| agent.bits));
    let awake = sleeping.into_iter().map(|sleeping| {
        let agent = decode(&sleeping.encoded).unwrap();
        assert_eq!(is_working(&agent), sleeping.working);
        (sleeping.bits, agent)
    });
    awake.collect()
}

pub(super) const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: 30_000,
        extension_ms: 10_000,
        max_extensions: 2,
    },
    payment_ttl_ms: 60_000,
    max_ttl_ms: 86_400_000,
    units_per_customer: None,
    window_days: None,
};

pub(super) fn shopper(customer: Option<u32>, cart: Option<u32>) -> Shopper {
    Shopper {
        customer: customer.map(|number| CustomerId::parse(&format!("c{number}")).unwrap()),
        session: None,
        cart: cart.map(|number| CartId::parse(&format!("k{number}")).unwrap()),
    }
}

fn after_sale(id: ReservationId, closed: Option<&Hold>, rng: &mut fastrand::Rng) -> AfterSale {
    AfterSale {
        id,
        quantity: rng.bool().then_some(1),
        restock: rng.bool(),
        closed: closed.map(|hold| Box::new(hold.clone())),
        by: "test".to_owned(),
        keep_ms: rng.i64(100..5_000),
    }
}

/// Keeps track of reservations that left their variant.
fn note(variant: &Variant, event: &Event, gone: &mut Gone) {
    let Some(hold) = event.hold() else { return };
    if variant.hold(hold.id).is_some() {
        gone.remove(&hold.id);
    } else if !matches!(event, Event::Withdrawn(_)) {
        gone.insert(hold.id, (variant.head().store.clone(), hold.clone()));
    }
}
