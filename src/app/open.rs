//! Opening a shop: lock, recover, start the journal's writer, settle what was under way, wake the timers; and closing it.
//!
//! The order matters. Coordinators of before the restart are settled before any timer runs and before any request is
//! admitted, so that a promise made in time is kept however long the process was down.
use super::{
    Shop,
    admin::DiskWatch,
    house::Place,
    measure,
    policies::{Policies, configured},
    replay::Remembered,
    snapshots::{self, Snapshots},
    token::CartTokens,
};
use crate::{
    actor::{
        ActorLimits, Admission, AdmissionLimits, AgentId, Directory, Durable, Pending, Rebuild, Services,
    },
    clock::{Clock, ClockGap, SystemClock},
    config::{Config, JournalBackend},
    domain::{
        agree::Mend,
        ids::{ReservationId, VariantOrdinal},
        rules::Gate,
        variant::{Hold, Variant},
    },
    storage::{
        archive::{ArchiveOptions, Keeper},
        checkpoint::{CheckpointError, CheckpointOptions, CheckpointParts, CheckpointThread, Checkpointer},
        data_dir::{DataDir, DataDirError},
        disk_reserve::DiskReserve,
        dto,
        engine::EngineError,
        journal::{
            AppendError, Epoch, JournalLimits, JournalQueue, JournalWriter, PartitionId, WriterParts,
            disk::RealDisk,
        },
        past::Past,
        record::{Fact, Turn},
        recovery::{
            self, Backend, OpenJournal, Progress, RecoverError, RecoverOptions, Recovered, RecoveredAgent,
        },
        restore::{self, Logs, RestoreError},
        snapshot::{SnapshotError, SnapshotReader},
        state::{StateOptions, StateStore},
        trim_holds::TrimHolds,
    },
    telemetry::metrics::metrics,
    workers::{Workers, aside},
};
use parking_lot::Mutex;
use std::{
    path::Path,
    sync::{Arc, Weak},
};
use tokio::sync::{Semaphore, watch};

/// The one partition there is today.
pub(super) const PARTITION: PartitionId = PartitionId(0);

/// Below this size the stored rows are never copied into a fresh database.
const COMPACT_FLOOR_BYTES: u64 = 256 << 20;

/// The size of one file of the log archive: what letting go gives back at once.
const ARCHIVE_FILE_BYTES: u64 = 64 << 20;

/// sled's page cache for the log; it is only written to, so a small one does.
const JOURNAL_CACHE_BYTES: u64 = 16 << 20;

/// How a shop is opened.
pub struct ShopOptions {
    /// Its limits, and where its data lies.
    pub config: Arc<Config>,
    /// Opens its log; usually [`configured_journal`].
    pub journal: OpenJournal,
    /// Whose time.
    pub time: Time,
    /// A portable snapshot that fills an empty data directory.
    pub seed: Option<Seed>,
    /// Told how far the replay is.
    pub progress: Box<dyn Fn(Progress) + Send>,
    /// Called when the disk can no longer be trusted; must end the process.
    pub on_fatal: OnFatal,
    /// Who writes its log, keeps its rows and reads from its disk; usually [`threads`](crate::workers::threads).
    pub workers: Arc<dyn Workers>,
}

/// Opens the portable snapshot that fills an empty data directory; called more than once.
pub type Seed = Box<dyn Fn() -> Result<SnapshotReader, SnapshotError> + Send>;

/// Ends the process after saying why.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Whose time a shop goes by.
pub enum Time {
    /// The machine's.
    System {
        /// Start even if the wall clock is far behind the log.
        accept_gap: bool,
    },
    /// A clock that somebody turns.
    Given(Clock),
}

/// Why a shop cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is locked, foreign or damaged.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] EngineError),
    /// The data cannot be read whole.
    #[error(transparent)]
    Recovery(#[from] RecoverError),
    /// The snapshot could not fill the directory.
    #[error(transparent)]
    Seed(#[from] RestoreError),
    /// The wall clock is far behind the log.
    #[error(transparent)]
    Clock(#[from] ClockGap),
    /// The system gave no thread.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What a shop found and did when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Variants in the shop.
    pub variants: usize,
    /// Log records replayed.
    pub replayed: u64,
    /// Bytes of a torn tail that were cut off; nobody was answered from them.
    pub torn_bytes: u64,
    /// Coordinators of before that were brought to their end.
    pub settled: usize,
}

/// What has to end in good order.
pub(super) struct Running {
    queue: JournalQueue<Pending>,
    writer: JournalWriter,
    checkpoint: CheckpointThread,
    /// Its lock is held as long as the shop is open.
    data_dir: DataDir,
}

impl Running {
    /// Ends the workers, whose queue has been closed: the writer, then whoever keeps the rows, as `last` has it. Blocks on the
    /// disk.
    fn end(self, last: impl FnOnce(CheckpointThread)) -> DataDir {
        self.writer.join();
        last(self.checkpoint);
        self.data_dir
    }
}

/// A shop that is dropped without [`Shop::close`] ends like a killed process: what was on its way is not written and
/// nobody is answered from it. Only its threads and its lock on the data directory end with it.
impl Drop for Shop {
    fn drop(&mut self) {
        self.snapshots.stop();
        if let Some(running) = self.running.get_mut().take() {
            running.queue.abandon();
            drop(running.end(CheckpointThread::stop));
        }
    }
}

impl Shop {
    /// Opens the shop in the configured data directory.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way; nothing was changed then but a torn tail cut off.
    pub async fn open(options: ShopOptions) -> Result<(Arc<Self>, Opened), OpenError> {
        Self::open_with(None, options).await
    }

    /// The same in a data directory that is locked already.
    pub(super) async fn open_in(
        data_dir: DataDir,
        options: ShopOptions,
    ) -> Result<(Arc<Self>, Opened), OpenError> {
        Self::open_with(Some(data_dir), options).await
    }

    async fn open_with(
        locked: Option<DataDir>,
        options: ShopOptions,
    ) -> Result<(Arc<Self>, Opened), OpenError> {
        let ShopOptions {
            config,
            journal,
            time,
            seed,
            progress,
            on_fatal,
            workers,
        } = options;
        let settings = Arc::clone(&config);
        let reading = aside(&*workers, move || {
            read(locked, &settings, &journal, seed, &*progress)
        });
        let Found {
            data_dir,
            reserve,
            secret,
            recovered,
        } = reading.await.map_err(std::io::Error::other)??;
        let clock = match time {
            Time::Given(clock) => clock,
            Time::System { accept_gap } => SystemClock::start(recovered.decided_at, accept_gap)?.into(),
        };
        let Recovered {
            journal,
            tail,
            state,
            keys,
            projection,
            variants,
            carts,
            orders,
            mends,
            bulks,
            next_ordinal,
            gate,
            ..
        } = recovered;
        let reader = journal.reader();

        let disk = DiskWatch::start(reserve, clock.clone());
        let (now, low) = (clock.clone(), disk.low());
        let holds = TrimHolds::default();
        let checkpoint = CheckpointParts {
            state: Arc::clone(&state),
            reader: Arc::clone(&reader),
            trimmer: journal.trimmer(),
            archive: keeper(&config, &data_dir, tail.epoch, &holds),
            holds,
            keys: keys.clone(),
            projection: Arc::clone(&projection),
            metrics: Box::new(measure::checkpoint),
            clock: Box::new(move || now.now().as_millis()),
            disk_is_low: Box::new(low),
            on_fatal: ends(&on_fatal, |error: CheckpointError| {
                format!("the checkpoint failed: {}", chain(&error))
            }),
        };
        let (checkpointer, checkpoint) =
            Checkpointer::start_by(&*workers, checkpoint, checkpoint_options(&config))?;

        let now = clock.clone();
        let parts = WriterParts {
            observer: Box::new(Durable::new(Arc::clone(&projection), keys.clone())),
            metrics: Box::new(measure::Journal::new(checkpointer.clone())),
            clock: Box::new(move || now.now().as_millis()),
            on_fatal: ends(&on_fatal, |error: AppendError| {
                format!("the journal failed: {}", chain(&error))
            }),
        };
        let (queue, writer) = JournalWriter::start_by(
            &*workers,
            journal,
            (PARTITION, &tail),
            journal_limits(&config),
            parts,
        )?;

        let admission = Arc::new(Admission::new(AdmissionLimits {
            max_in_flight: config.admission.max_in_flight,
            max_per_variant: config.admission.max_per_variant,
            reserved: config.admission.reserved,
            orders: config.admission.orders,
        }));
        let services = Services {
            clock: clock.clone(),
            queue: queue.clone(),
            admission: Arc::clone(&admission),
            rebuild: Arc::new(FromDisk {
                checkpointer: checkpointer.clone(),
                remembered: Remembered {
                    projection: Arc::clone(&projection),
                    reader: Arc::clone(&reader),
                    state: Arc::clone(&state),
                },
            }),
            keys: keys.clone(),
            workers: Arc::clone(&workers),
            limits: ActorLimits {
                idle_ms: config.actor.idle.as_millis(),
                agent_waiting_max: config.admission.max_per_cart,
            },
        };
        let directory = Directory::start(services, next_ordinal).await;
        if let Some(gate) = Gate::due(gate.as_ref(), env!("CARGO_PKG_VERSION")) {
            enter(gate, &directory, &clock);
            // Its place in the queue is free again before anybody holds a permit for one.
            let _ = directory.caught_up().await;
        }
        let opened = Opened {
            variants: variants.len(),
            replayed: recovered.replayed,
            torn_bytes: tail.cut.as_ref().map_or(0, |cut| cut.bytes),
            settled: bulks.len(),
        };
        for variant in variants {
            let head = (variant.store, variant.id, variant.ordinal);
            directory.restore(head, variant.encoded, variant.number, variant.next_deadline);
        }
        if opened.settled > 0 {
            // In tasks of their own: what is not settled in time goes on in the background, and holds up no other.
            let tasks = bulks
                .into_iter()
                .map(|bulk| tokio::spawn(directory.resume_bulk(bulk)));
            let tasks: Vec<_> = tasks.collect();
            let resuming = async {
                for task in tasks {
                    task.await?;
                }
                Ok::<(), tokio::task::JoinError>(())
            };
            if let Some(resumed) = settled(&directory, &clock, "bulk requests", resuming).await {
                resumed.map_err(std::io::Error::other)?;
            }
        }
        settle_agents(&directory, &clock, carts, orders).await;
        mend(&directory, &admission, &mends).await;
        directory.start_timers();
        let since = clock.now();
        let past = Past::of(&data_dir, Arc::clone(&reader), Arc::clone(&state));
        let place = Place {
            snapshots: data_dir.snapshots_dir(),
            logs: Logs::live(&data_dir, &recover_options(&config), Arc::clone(&reader)),
        };
        let shop = Arc::new(Self {
            directory,
            admission,
            keys,
            policies: Policies::new(configured(&config.policy), Arc::clone(&projection)),
            projection,
            reader,
            state,
            checkpointer,
            clock,
            workers,
            disk,
            imports: super::import::Imports::beside(config.admission.max_in_flight),
            past,
            histories: Arc::new(Semaphore::new(1)),
            snapshots: Snapshots::open(data_dir.snapshots_dir(), tail.epoch),
            config,
            tokens: CartTokens::new(secret),
            since,
            ending: watch::Sender::new(false),
            place,
            running: Mutex::new(Some(Running {
                queue,
                writer,
                checkpoint,
                data_dir,
            })),
        });
        measure::keep_up(&shop);
        snapshots::schedule(&shop);
        Ok((shop, opened))
    }

    /// Ends in good order: nothing new is taken, what is on its way is answered, the stored rows are brought up to the
    /// log. Blocks on the disk in between; a second call does nothing.
    pub async fn close(&self) {
        drop(self.close_and_keep().await);
    }

    /// The same; the data directory stays locked. `None` when it is closed already.
    pub(super) async fn close_and_keep(&self) -> Option<DataDir> {
        self.drain();
        let deadline = self.config.server.drain_deadline.as_millis();
        let waited = self.until(self.clock.now().saturating_add(deadline), self.idle());
        if waited.await.is_none() {
            // What was promised is in the log; the next start brings it to its end.
            tracing::warn!(in_flight = self.in_flight(), "closing with work under way");
        }
        if self.running.lock().is_some() {
            self.end_snapshots().await;
        }
        let running = self.running.lock().take()?;
        let ended = aside(&*self.workers, move || {
            running.queue.close();
            running.end(CheckpointThread::finish)
        });
        let ended = ended.await;
        ended
            .inspect_err(|error| tracing::error!(%error, "closing the shop panicked"))
            .ok()
    }

    /// Ends the actors of a closed shop. What is returned is gone when nobody holds its rows and its log any more.
    pub(super) fn end_actors(&self) -> Weak<StateStore> {
        self.directory.end();
        Arc::downgrade(&self.state)
    }
}

/// Switches to the rules of this release: the record is queued before any that is judged by them.
fn enter(gate: Gate, directory: &Directory, clock: &Clock) {
    tracing::info!(
        rules = gate.rules.0,
        "the log goes on by the rules of this release"
    );
    let turn = Box::new(Turn {
        at: clock.now(),
        fact: Fact::Gate(gate),
        key: None,
    });
    let pending = Pending::Turn {
        claim: None,
        port: None,
        permit: None,
        turn,
    };
    // Refused only when the journal has ended, and with it the process.
    let _ = directory.append(pending);
}

/// Reads again, from rows and log, what no actor keeps.
struct FromDisk {
    checkpointer: Checkpointer,
    remembered: Remembered,
}

impl Rebuild for FromDisk {
    fn variant(&self, ordinal: VariantOrdinal) -> Result<(Variant, u64), String> {
        recovery::rebuild_variant(&self.checkpointer, ordinal).map_err(|error| error.to_string())
    }

    fn agent(&self, id: AgentId) -> Result<Option<Vec<u8>>, String> {
        let read = match id {
            AgentId::Cart(bits) => {
                recovery::rebuild_cart(&self.checkpointer, bits).map(|(cart, _)| dto::encode_cart(&cart))
            }
            AgentId::Order(bits) => {
                recovery::rebuild_order(&self.checkpointer, bits).map(|(order, _)| dto::encode_order(&order))
            }
        };
        match read {
            Ok(encoded) => Ok(Some(encoded)),
            Err(RecoverError::NoSuchEntity(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn ended(&self, id: ReservationId) -> Result<Option<Hold>, String> {
        self.remembered.ended(id).map_err(|error| error.to_string())
    }
}

/// How long a start waits for bulk requests, and then for carts and orders, to come to the end of what they were in the middle
/// of, ms. What a variant in quarantine holds up goes on in the background.
const SETTLE_WITHIN_MS: i64 = 5_000;

/// Mends under way at once.
const MENDS_AT_ONCE: usize = 1_024;

/// Puts carts and orders to sleep, and brings those to their end that were in the middle of something or whose moment has
/// passed: an order whose payment's deadline has passed is decided before any reserve is admitted (decisions 20).
async fn settle_agents(
    directory: &Arc<Directory>,
    clock: &Clock,
    carts: Vec<RecoveredAgent>,
    orders: Vec<RecoveredAgent>,
) {
    let now = clock.now();
    let awake = |agent: &RecoveredAgent| agent.working || agent.next_deadline.is_some_and(|at| at <= now);
    let mut busy = Vec::new();
    for order in orders {
        busy.extend(awake(&order).then_some(AgentId::Order(order.bits)));
        directory.restore_order(order);
    }
    for cart in carts {
        busy.extend(cart.working.then_some(AgentId::Cart(cart.bits)));
        directory.restore_cart(cart);
    }
    if busy.is_empty() {
        return;
    }
    let settling: Vec<_> = busy.iter().map(|id| directory.settle_agent(*id)).collect();
    let all = async {
        for one in settling {
            // An error means that there is nothing of it left to settle.
            let _ = one.await;
        }
    };
    let _ = settled(directory, clock, "carts and orders", all).await;
    tracing::info!(
        agents = busy.len(),
        "brought carts and orders to the end of what they were doing"
    );
}

/// Waits until what was under way before the restart has come to its end and is durable, but not for ever.
async fn settled<F: Future>(directory: &Directory, clock: &Clock, who: &str, all: F) -> Option<F::Output> {
    let done = tokio::select! {
        done = all => Some(done),
        () = clock.sleep_until(clock.now().saturating_add(SETTLE_WITHIN_MS)) => {
            tracing::warn!(who, "still settling what was under way before the restart");
            None
        }
    };
    // Ended early only with the journal, and then the process ends.
    let _ = directory.caught_up().await;
    done
}

/// Brings holds and carts together that do not agree.
async fn mend(directory: &Arc<Directory>, admission: &Arc<Admission>, mends: &[Mend]) {
    for some in mends.chunks(MENDS_AT_ONCE) {
        for mend in some {
            tracing::warn!(%mend, "holds, carts and orders did not agree; mended");
            metrics().mended.increment(1);
        }
        // Nobody else is admitted yet, so the pool has room; a limit below it only makes the rounds wait for each other.
        let _slots = admission.reserve(some.len());
        some.iter().for_each(|mend| directory.mend(mend));
        directory.caught_up().await;
    }
}

/// What is read from the disk before anything runs.
struct Found {
    data_dir: DataDir,
    reserve: DiskReserve,
    secret: [u8; 32],
    recovered: Recovered,
}

fn read(
    locked: Option<DataDir>,
    config: &Config,
    journal: &OpenJournal,
    seed: Option<Seed>,
    progress: &dyn Fn(Progress),
) -> Result<Found, OpenError> {
    let root: &Path = &config.data.dir;
    let mut data_dir = match locked {
        Some(data_dir) => data_dir,
        None => DataDir::open(root)?,
    };
    let reserve = DiskReserve::open(root, config.disk.reserve.bytes())?;
    let options = recover_options(config);
    if let Some(seed) = seed
        && data_dir.is_unused()?
    {
        let filled = restore::fill_empty(&mut data_dir, &options, journal, seed)?;
        tracing::info!(
            variants = filled.counted.variants,
            position = %filled.position,
            "filled the empty data directory from a snapshot"
        );
    }
    let recovered = recovery::recover(&data_dir, &options, journal, progress)?;
    let secret = match &config.auth.cart_secret {
        Some(secret) => *secret.expose(),
        None => data_dir.secret()?,
    };
    Ok(Found {
        data_dir,
        reserve,
        secret,
        recovered,
    })
}

/// Opens the log with the back end of `config`.
pub fn configured_journal(config: &Config) -> OpenJournal {
    recover_options(config).journal()
}

/// How the rows and the log of `config` are opened.
pub fn recover_options(config: &Config) -> RecoverOptions {
    RecoverOptions {
        partition: PARTITION,
        backend: match config.journal.backend {
            JournalBackend::Sled => Backend::Sled,
            JournalBackend::File => Backend::File,
        },
        segment_bytes: config.journal.segment_bytes.bytes(),
        journal_cache_bytes: JOURNAL_CACHE_BYTES,
        state: StateOptions {
            cache_bytes: config.state.cache.bytes(),
            compact_floor_bytes: COMPACT_FLOOR_BYTES,
        },
        keys_memory_max: config.keys.memory_max,
        keys_ms: config.retention.keys.as_millis(),
    }
}

/// Who keeps what the log lets go, if it is to be kept.
fn keeper(config: &Config, data_dir: &DataDir, epoch: Epoch, holds: &TrimHolds) -> Option<Keeper> {
    let options = ArchiveOptions {
        partition: PARTITION,
        epoch,
        file_bytes: ARCHIVE_FILE_BYTES,
        max_bytes: config.archive.max_bytes.bytes(),
        max_age_ms: config.archive.max_age.as_millis(),
    };
    config.archive.enabled.then(|| {
        let told = Box::new(measure::archive);
        Keeper::new(Arc::new(RealDisk), data_dir.archive_dir(), options, holds, told)
    })
}

fn checkpoint_options(config: &Config) -> CheckpointOptions {
    CheckpointOptions {
        partition: PARTITION,
        every: config.checkpoint.every.duration(),
        log_bytes: config.checkpoint.log_bytes.bytes(),
        keys_ms: config.retention.keys.as_millis(),
        ended_ms: config.retention.ended.as_millis(),
        ..CheckpointOptions::default()
    }
}

fn journal_limits(config: &Config) -> JournalLimits {
    JournalLimits {
        queue_capacity: config.journal.queue_capacity,
        group_records: config.journal.group_records,
        group_bytes: config.journal.group_bytes.as_usize(),
    }
}

/// An error with its causes, for one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

fn ends<E: 'static>(
    on_fatal: &OnFatal,
    say: impl Fn(E) -> String + Send + 'static,
) -> Box<dyn FnOnce(E) + Send> {
    let on_fatal = Arc::clone(on_fatal);
    Box::new(move |error| on_fatal(&say(error)))
}
