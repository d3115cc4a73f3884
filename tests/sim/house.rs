//! The whole house over a simulated disk, in one thread, one life after another. Directory, actors, sagas, journal, rows and
//! recovery are those of a server; what a server leaves to threads, clock and device is in the hands of the story.
use crate::{
    faults::Faults,
    hands::Hands,
    judge::{Judge, SharedJudge, Watched},
    swarm::Swarm,
};
use holdfast::{
    app::{OnFatal, Shop, ShopOptions, Time, recover_options},
    clock::{Clock, ManualClock},
    config::{ByteSize, Config, JournalBackend, Length},
    domain::time::Timestamp,
    storage::{
        data_dir::DataDir,
        journal::{
            file::{FileJournal, FileOptions},
            simulated::SimulatedDisk,
        },
        recovery::{self, JournalPlace, OpenJournal},
    },
};
use parking_lot::Mutex;
use std::{fs, path::Path, sync::Arc};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 2023-11-15T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_006_400_000);

/// The epoch of a fresh data directory, and of a house that never restores.
const JOURNAL: &str = "epochs/1/journal";

/// What stays when a process ends.
pub(crate) struct Home {
    pub(crate) disk: SimulatedDisk,
    pub(crate) faults: Arc<Faults>,
    pub(crate) judge: SharedJudge,
    config: Arc<Config>,
    // Removed last.
    dir: TempDir,
}

/// The shop, once it is open or could not be opened.
type Opened = Option<Result<Arc<Shop>, String>>;

/// One life of the house, from the first read to its end.
pub(crate) struct Life {
    pub(crate) runtime: Runtime,
    pub(crate) hands: Hands,
    pub(crate) clock: ManualClock,
    shop: Arc<Mutex<Opened>>,
    /// What the process said as it ended.
    fatal: Arc<Mutex<Option<String>>>,
}

impl Home {
    pub(crate) fn new(seed: u64, swarm: &Swarm) -> Self {
        // The stored rows lie in a real file system; one in memory, where there is one.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.unwrap();
        let disk = SimulatedDisk::new(seed);
        Self {
            faults: Faults::of(&disk),
            judge: Judge::new(Config::default().retention.keys.as_millis()),
            config: Arc::new(configured(dir.path(), swarm)),
            disk,
            dir,
        }
    }

    /// Logs on the simulated disk, under the eyes of the judge.
    fn journal(&self) -> OpenJournal {
        let (disk, judge) = (self.disk.clone(), Arc::clone(&self.judge));
        let segment_bytes = self.config.journal.segment_bytes.bytes();
        Arc::new(move |place: JournalPlace<'_>| {
            let options = FileOptions {
                partition: place.partition,
                epoch: place.epoch,
                segment_bytes,
                prepare_ahead: false,
                start: place.start,
                proven: place.proven,
            };
            // The data directory is asked whether it ever had a log; this one lies elsewhere.
            let _ = fs::write(place.dir.join("simulated"), b"");
            let log = FileJournal::open(Arc::new(disk.clone()), Path::new("/journal"), options)?;
            Ok(Box::new(Watched::new(Box::new(log), Arc::clone(&judge))))
        })
    }

    /// Begins a life at a moment; the shop opens as the story lets it.
    pub(crate) fn begin(&self, at: Timestamp) -> Life {
        let runtime = tokio::runtime::Builder::new_current_thread()
            // One task at a time: between any two the story may go another way.
            .event_interval(1)
            .build()
            .unwrap();
        let (hands, clock) = (Hands::default(), ManualClock::new(at));
        let fatal = Arc::new(Mutex::new(None));
        let said = Arc::clone(&fatal);
        let on_fatal: OnFatal = Arc::new(move |why: &str| {
            said.lock().get_or_insert_with(|| why.to_owned());
        });
        let options = ShopOptions {
            config: Arc::clone(&self.config),
            journal: self.journal(),
            time: Time::Given(Clock::from(clock.clone())),
            seed: None,
            progress: Box::new(|_| {}),
            on_fatal,
            workers: Arc::new(hands.clone()),
        };
        let shop = Arc::new(Mutex::new(None));
        let opened = Arc::clone(&shop);
        runtime.spawn(async move {
            let opening = Shop::open(options).await;
            let opening = opening
                .map(|(shop, _)| shop)
                .map_err(|error| format!("{error:?}"));
            *opened.lock() = Some(opening);
        });
        Life {
            runtime,
            hands,
            clock,
            shop,
            fatal,
        }
    }

    /// REPLAY_EQUAL: what the next start would find is what the log says.
    pub(crate) fn compare(&self) -> Result<(), String> {
        let data_dir = DataDir::open(self.dir.path()).map_err(|error| error.to_string())?;
        let options = recover_options(&self.config);
        let recovered = recovery::recover(&data_dir, &options, &self.journal(), &|_| {});
        let recovered = recovered.map_err(|error| format!("the log cannot be recovered: {error:?}"))?;
        let compared = self.judge.lock().checker.compare(&recovered);
        compared.map_err(|violation| violation.to_string())
    }

    /// Whether a log was ever begun.
    pub(crate) fn has_log(&self) -> bool {
        self.dir.path().join(JOURNAL).is_dir()
    }
}

impl Life {
    /// The shop, once it is open.
    pub(crate) fn shop(&self) -> Option<Arc<Shop>> {
        self.shop.lock().as_ref()?.as_ref().ok().cloned()
    }

    /// Why the process ended, or could not begin.
    pub(crate) fn ended(&self) -> Option<String> {
        let refused = |opened: &Result<Arc<Shop>, String>| opened.as_ref().err().cloned();
        let fatal = self.fatal.lock().clone();
        fatal.or_else(|| self.shop.lock().as_ref().and_then(refused))
    }

    /// Lets so many tasks run, each up to where it waits.
    pub(crate) fn run(&self, tasks: u32) {
        self.runtime.block_on(async {
            for _ in 0..tasks {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Ends it at once: tasks stop wherever they are, what waits for the log is not written. The disk is dead by now.
    pub(crate) fn end(self) {
        let Self {
            runtime, hands, shop, ..
        } = self;
        drop(runtime);
        let opened = shop.lock().take();
        if let Some(Ok(shop)) = opened {
            let shop = Arc::into_inner(shop).expect("every task has ended with its runtime");
            drop(shop);
        }
        hands.drop_all();
    }
}

fn configured(dir: &Path, swarm: &Swarm) -> Config {
    let mut config = Config::default();
    config.data.dir = dir.to_owned();
    config.journal.backend = JournalBackend::File;
    config.journal.segment_bytes = ByteSize::from_bytes(swarm.segment_bytes);
    config.journal.group_records = swarm.group_records;
    config.journal.queue_capacity = 4_096;
    config.admission.max_in_flight = swarm.in_flight;
    config.admission.max_per_variant = swarm.in_flight;
    config.admission.max_per_cart = 8;
    config.admission.reserved = 512;
    config.admission.orders = 512;
    config.disk.reserve = ByteSize::from_bytes(1 << 12);
    config.state.cache = ByteSize::from_bytes(1 << 20);
    // Always due: when a round really comes, the story says.
    config.checkpoint.every = Length::from_millis(0);
    config.archive.enabled = false;
    config.snapshots.every = None;
    config.keys.memory_max = swarm.keys_in_memory;
    config.actor.idle = Length::from_millis(swarm.idle_ms);
    config.policy.ttl = Length::from_millis(60_000);
    config.policy.extension = Length::from_millis(30_000);
    config.policy.max_ttl = Length::from_millis(600_000);
    config.policy.payment_ttl = Length::from_millis(120_000);
    config.policy.cart_idle = Length::from_millis(600_000);
    config.policy.lines_per_cart = 4;
    config.policy.units_per_customer_per_variant = swarm.units_per_customer;
    config
}
