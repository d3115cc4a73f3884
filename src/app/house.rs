//! The house that outlives its shops: a restore closes the shop in good order, builds the next epoch beside the old one,
//! and opens a shop there, all in one process.
//!
//! ```text
//!  plan (only reads) ──► token ──► run: callers turned away ──► shop closed ──► epoch n+1 built ──► shop opened ──► callers let in
//!                                                                  │ whatever fails from here on
//!                                                                  └──► the old epoch's shop opened again
//! ```
//!
//! A token stands for what its plan said: snapshot, cut, rule and epoch. It is good for ten minutes and for as long as
//! the epoch is the same; run again it names the operation it began. Plans and operations are kept in memory, a few of each: a
//! process that ends has finished or forgotten them. Whoever serves the shops is told of each stage before it begins.
use super::{
    OnFatal, OpenError, RequestKey, Shop, ShopOptions, Time,
    open::{chain, recover_options},
};
use crate::{
    clock::{Clock, pause},
    config::Config,
    domain::{rewind::HoldsRule, time::Timestamp},
    storage::{
        data_dir::DataDir,
        recovery::{OpenJournal, RecoverOptions},
        restore::{
            Cut, Logs, Plan, RestoreError, Restored, Source, Step, Wanted, carry_out, nearest, survey,
        },
        snapshot::SnapshotReader,
    },
    workers::threads,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::watch;

/// How long a plan may be carried out after it was made, ms.
const PLAN_GOOD_FOR_MS: i64 = 10 * 60 * 1000;

/// Plans and operations that are kept.
const KEPT: usize = 16;

/// How long a closed shop is waited for until nobody holds it any more, in looks and their distance.
const LEAVES_IN_LOOKS: u32 = 1_000;
const LEAVE_LOOK: Duration = Duration::from_millis(10);

/// Hears of every stage the house enters.
type Tell = Box<dyn Fn(&Stage) + Send + Sync>;

/// One shop after another in one data directory.
pub struct House {
    config: Arc<Config>,
    journal: OpenJournal,
    on_fatal: OnFatal,
    stage: watch::Sender<Stage>,
    told: OnceLock<Tell>,
    desk: Mutex<Desk>,
}

/// What the house is doing.
#[derive(Clone)]
pub enum Stage {
    /// A shop is open.
    Open(Arc<Shop>),
    /// A restore is under way.
    Restoring(Arc<Operation>),
}

#[derive(Default)]
struct Desk {
    plans: VecDeque<Planned>,
    operations: VecDeque<Arc<Operation>>,
}

/// What was asked under a key. Keys are kept as long as what they were for: the log of an epoch does not outlive it.
enum Known {
    Plan(Planned),
    Operation(Arc<Operation>),
}

impl Desk {
    fn known(&self, key: Option<RequestKey>) -> Result<Option<Known>, HouseError> {
        let Some(key) = key else { return Ok(None) };
        let is_it = |other: &Option<RequestKey>| other.is_some_and(|other| other.hash == key.hash);
        let plan = self.plans.iter().find(|planned| is_it(&planned.key));
        let operation = self.operations.iter().find(|operation| is_it(&operation.key));
        let (before, known) = match (operation, plan) {
            (Some(operation), _) => (operation.key, Known::Operation(Arc::clone(operation))),
            (None, Some(plan)) => (plan.key, Known::Plan(plan.clone())),
            (None, None) => return Ok(None),
        };
        if before == Some(key) {
            Ok(Some(known))
        } else {
            Err(HouseError::KeyReused)
        }
    }
}

/// A plan with its token.
#[derive(Clone)]
pub struct Planned {
    /// Names it for the run.
    pub token: String,
    /// The snapshot file.
    pub file: PathBuf,
    /// What it means.
    pub plan: Arc<Plan>,
    /// Until when it may be carried out.
    pub good_until: Timestamp,
    /// What it was asked under.
    key: Option<RequestKey>,
    /// The epoch it was made in.
    epoch: u64,
    /// Whether the operator named the snapshot.
    named: bool,
}

/// What an operator asks to have planned.
#[derive(Clone, Debug)]
pub struct RestoreAsk {
    /// A snapshot by its file's name; without one the nearest before the cut.
    pub file: Option<String>,
    /// Back to where; without one to where the snapshot was taken.
    pub cut: Option<Cut>,
    /// What becomes of the deadlines.
    pub holds: HoldsRule,
}

/// Why a restore was not planned or not begun.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// There is no such snapshot.
    #[error("there is no snapshot {0}")]
    NoSnapshot(String),
    /// The plan is too old, of another epoch, or not known.
    #[error("{0}")]
    Stale(&'static str),
    /// Another restore is under way.
    #[error("a restore is under way")]
    Busy,
    /// The idempotency key was used for something else.
    #[error("the key was used for another request")]
    KeyReused,
    /// The plan could not be made.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Something of ours failed.
    #[error("{0}")]
    Internal(String),
}

/// A restore under way, or over.
#[derive(Debug)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// What it was asked under.
    key: Option<RequestKey>,
    clock: Clock,
    now: Mutex<Now>,
}

#[derive(Clone, Debug)]
struct Now {
    phase: Phase,
    done: u64,
    total: u64,
    ended_at: Option<Timestamp>,
    result: Option<Arc<Result<Restored, String>>>,
}

/// What a restore is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The shop ends in good order.
    Closing,
    /// What came after the plan is read.
    Reading,
    /// States and records become rows.
    Filling,
    /// The laws are counted.
    Checking,
    /// Deadlines move, variants are paused.
    Amending,
    /// The epoch is entered.
    Entering,
    /// The shop is opened there.
    Opening,
    /// It is done.
    Done,
    /// It failed; the shop goes on as it was before.
    Failed,
}

impl Phase {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Reading => "reading",
            Self::Filling => "filling",
            Self::Checking => "checking",
            Self::Amending => "amending",
            Self::Entering => "entering",
            Self::Opening => "opening",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// How an operation stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it is at.
    pub phase: Phase,
    /// States and records that are in, of so many.
    pub progress: (u64, u64),
    /// Milliseconds left, as far as the pace so far tells.
    pub eta_ms: Option<i64>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What came of it, or why nothing did.
    pub result: Option<Arc<Result<Restored, String>>>,
}

impl Operation {
    fn new(id: String, key: Option<RequestKey>, clock: Clock) -> Self {
        Self {
            id,
            key,
            begun_at: clock.now(),
            clock,
            now: Mutex::new(Now {
                phase: Phase::Closing,
                done: 0,
                total: 0,
                ended_at: None,
                result: None,
            }),
        }
    }

    /// How it stands now.
    pub fn standing(&self) -> Standing {
        let now = self.now.lock().clone();
        let elapsed = self.clock.now().since(self.begun_at);
        let left = |done: u64| {
            elapsed.saturating_mul(i64::try_from(now.total - done).unwrap_or(i64::MAX))
                / i64::try_from(done).unwrap_or(i64::MAX)
        };
        let eta_ms = (now.phase == Phase::Filling && now.done > 0).then(|| left(now.done.min(now.total)));
        Standing {
            phase: now.phase,
            progress: (now.done, now.total),
            eta_ms,
            ended_at: now.ended_at,
            result: now.result,
        }
    }

    fn at(&self, phase: Phase) {
        tracing::info!(operation = %self.id, phase = phase.as_str(), "restore");
        self.now.lock().phase = phase;
    }

    fn step(&self, step: Step) {
        match step {
            Step::Filling { done, total } => {
                let mut now = self.now.lock();
                (now.phase, now.done, now.total) = (Phase::Filling, done, total);
            }
            Step::Checking => self.at(Phase::Checking),
            Step::Amending => self.at(Phase::Amending),
            Step::Entering => self.at(Phase::Entering),
        }
    }

    fn end(&self, result: Result<Restored, String>) {
        let mut now = self.now.lock();
        now.phase = if result.is_ok() {
            Phase::Done
        } else {
            Phase::Failed
        };
        now.ended_at = Some(self.clock.now());
        now.result = Some(Arc::new(result));
    }
}

impl House {
    /// The house of an open shop. `journal` and `on_fatal` are those the shop was opened with.
    pub fn new(shop: Arc<Shop>, journal: OpenJournal, on_fatal: OnFatal) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::clone(shop.config()),
            journal,
            on_fatal,
            stage: watch::Sender::new(Stage::Open(shop)),
            told: OnceLock::new(),
            desk: Mutex::default(),
        })
    }

    /// Has `told` called now and before each stage begins. Once.
    ///
    /// # Panics
    /// When it is called a second time.
    pub fn tell(&self, told: impl Fn(&Stage) + Send + Sync + 'static) {
        told(&self.stage());
        let first = self.told.set(Box::new(told)).is_ok();
        assert!(first, "whoever serves the house is told once");
    }

    /// What it is doing.
    pub fn stage(&self) -> Stage {
        self.stage.borrow().clone()
    }

    /// The open shop; waits until a restore that is under way has ended.
    pub async fn shop(&self) -> Arc<Shop> {
        let mut stages = self.stage.subscribe();
        loop {
            if let Stage::Open(shop) = &*stages.borrow_and_update() {
                return Arc::clone(shop);
            }
            // The sender is ours, so there is a next stage.
            let _ = stages.changed().await;
        }
    }

    /// Resolves when somebody asked a shop of this house to end.
    pub async fn end_wanted(&self) {
        let mut stages = self.stage.subscribe();
        loop {
            let stage = stages.borrow_and_update().clone();
            let ends = async {
                match stage {
                    Stage::Open(shop) => shop.end_wanted().await,
                    Stage::Restoring(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ends => return,
                // The next shop is listened to anew; the sender is ours, so there is a next stage.
                _ = stages.changed() => {}
            }
        }
    }

    fn enter(&self, stage: Stage) {
        self.announce(&stage);
        self.stage.send_replace(stage);
    }

    /// Whoever serves the shops has callers find the stage from here on.
    fn announce(&self, stage: &Stage) {
        if let Some(told) = self.told.get() {
            told(stage);
        }
    }

    /// An operation by its id.
    pub fn operation(&self, id: &str) -> Option<Arc<Operation>> {
        let desk = self.desk.lock();
        desk.operations
            .iter()
            .find(|operation| operation.id == id)
            .cloned()
    }

    /// Says what a restore would mean, and gives a token for it. Only reads. The flag says that it was given
    /// before, under the same key.
    ///
    /// # Errors
    /// There is no such snapshot, or it and the log do not reach there; the key was used for something else.
    pub async fn plan(
        self: &Arc<Self>,
        shop: &Arc<Shop>,
        key: Option<RequestKey>,
        ask: RestoreAsk,
    ) -> Result<(Planned, bool), HouseError> {
        if let Some(known) = self.desk.lock().known(key)? {
            return match known {
                Known::Plan(planned) => Ok((planned, true)),
                Known::Operation(_) => Err(HouseError::KeyReused),
            };
        }
        let (place, now) = (shop.place(), shop.clock().now());
        let (epoch, named) = (place.epoch(), ask.file.is_some());
        let planning = tokio::task::spawn_blocking(move || plan(&place, &ask, now));
        let (file, plan) = planning
            .await
            .map_err(|panic| HouseError::Internal(format!("planning a restore panicked: {panic}")))??;
        let planned = Planned {
            token: token("plan"),
            file,
            plan: Arc::new(plan),
            good_until: now.saturating_add(PLAN_GOOD_FOR_MS),
            key,
            epoch,
            named,
        };
        let mut desk = self.desk.lock();
        desk.plans.push_back(planned.clone());
        while desk.plans.len() > KEPT {
            desk.plans.pop_front();
        }
        Ok((planned, false))
    }

    /// Begins to carry a plan out. A token that was run before names the same operation; the flag says that the
    /// answer was given before, under the same key.
    ///
    /// # Errors
    /// The plan is stale, or another restore is under way; the key was used for something else.
    pub fn run(
        self: &Arc<Self>,
        shop: &Arc<Shop>,
        key: Option<RequestKey>,
        token: &str,
    ) -> Result<(Arc<Operation>, bool), HouseError> {
        let id = token.replacen("plan", "op", 1);
        let mut desk = self.desk.lock();
        if let Some(known) = desk.known(key)? {
            return match known {
                Known::Operation(begun) => Ok((begun, true)),
                Known::Plan(_) => Err(HouseError::KeyReused),
            };
        }
        if let Some(begun) = desk.operations.iter().find(|operation| operation.id == id) {
            return Ok((Arc::clone(begun), false));
        }
        let known = desk.plans.iter().find(|planned| planned.token == token);
        let planned = known
            .cloned()
            .ok_or(HouseError::Stale("this process knows no such plan"))?;
        if shop.clock().now() > planned.good_until {
            return Err(HouseError::Stale("the plan is older than ten minutes"));
        }
        if planned.epoch != shop.place().epoch() {
            return Err(HouseError::Stale("the shop was restored since the plan was made"));
        }
        if desk
            .operations
            .iter()
            .any(|operation| operation.standing().ended_at.is_none())
        {
            return Err(HouseError::Busy);
        }
        let operation = Arc::new(Operation::new(id, key, shop.clock().clone()));
        desk.operations.push_back(Arc::clone(&operation));
        while desk.operations.len() > KEPT {
            desk.operations.pop_front();
        }
        drop(desk);
        // Whoever reads this answer and asks for anything else is told to wait.
        self.enter(Stage::Restoring(Arc::clone(&operation)));
        let (house, shop, begun) = (Arc::clone(self), Arc::clone(shop), Arc::clone(&operation));
        tokio::spawn(async move { house.carry_out(shop, planned, begun).await });
        Ok((operation, false))
    }

    async fn carry_out(self: Arc<Self>, shop: Arc<Shop>, planned: Planned, operation: Arc<Operation>) {
        let (place, clock) = (shop.place(), shop.clock().clone());
        let Some(mut dir) = shop.close_and_keep().await else {
            // Whoever closed it ends the process.
            operation.end(Err("the shop was closed by somebody else".to_owned()));
            return;
        };
        let before = dir.epoch();
        operation.at(Phase::Reading);
        let (wanted, options) = (
            Wanted {
                now_ms: clock.now().as_millis(),
                ..planned.plan.wanted
            },
            (recover_options(&self.config), Arc::clone(&self.journal)),
        );
        let told = Arc::clone(&operation);
        let building = tokio::task::spawn_blocking(move || {
            let built = build(&mut dir, &place, &options, &planned, wanted, &told);
            (dir, built)
        });
        let (dir, built) = match building.await {
            Ok(built) => built,
            Err(panic) => return (self.on_fatal)(&format!("a restore panicked: {panic}")),
        };
        let opened = self.reopen(shop, dir, before, &built, clock, &operation).await;
        match opened {
            Ok((shop, result)) => {
                if let Err(why) = &result {
                    tracing::error!(%why, epoch = before, "the restore failed; the shop goes on as it was before");
                }
                let stage = Stage::Open(shop);
                // Whoever reads that it is done finds the shop open.
                self.announce(&stage);
                operation.end(result);
                self.stage.send_replace(stage);
            }
            Err(why) => {
                operation.end(Err(why.clone()));
                (self.on_fatal)(&format!("after a restore no shop could be opened: {why}"));
            }
        }
    }

    /// Opens the shop in the epoch that was built; if there is none, or it cannot be opened, in the one before.
    async fn reopen(
        &self,
        closed: Arc<Shop>,
        dir: DataDir,
        before: u64,
        built: &Result<Restored, RestoreError>,
        clock: Clock,
        operation: &Operation,
    ) -> Result<(Arc<Shop>, Result<Restored, String>), String> {
        operation.at(Phase::Opening);
        leave(closed).await?;
        let mut result = match built {
            Ok(restored) => Ok(restored.clone()),
            Err(error) => Err(chain(error)),
        };
        let mut dir = dir;
        if result.is_ok() {
            match self.open_shop(dir, clock.clone()).await {
                Ok(shop) => return Ok((shop, result)),
                Err(error) => result = Err(format!("the new epoch cannot be opened: {}", chain(&error))),
            }
            dir = DataDir::open(&self.config.data.dir).map_err(|error| error.to_string())?;
            dir.go_back(before).map_err(|error| error.to_string())?;
        }
        let shop = self
            .open_shop(dir, clock)
            .await
            .map_err(|error| error.to_string())?;
        Ok((shop, result))
    }

    async fn open_shop(&self, dir: DataDir, clock: Clock) -> Result<Arc<Shop>, OpenError> {
        let options = ShopOptions {
            config: Arc::clone(&self.config),
            journal: Arc::clone(&self.journal),
            time: Time::Given(clock),
            seed: None,
            progress: Box::new(|_| {}),
            on_fatal: Arc::clone(&self.on_fatal),
            workers: threads(),
        };
        let (shop, _) = Shop::open_in(dir, options).await?;
        Ok(shop)
    }

    /// Closes the shop in good order; a restore that is under way is waited for.
    pub async fn close(&self) {
        self.shop().await.close().await;
    }
}

/// Where a shop's snapshots and logs lie.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) snapshots: PathBuf,
    pub(super) logs: Logs,
}

impl Place {
    /// The epoch the shop is in.
    pub(super) fn epoch(&self) -> u64 {
        self.logs.lineage().current()
    }

    /// The file of a snapshot; no path, only a name.
    fn file(&self, ask: &RestoreAsk) -> Result<PathBuf, HouseError> {
        let Some(name) = &ask.file else {
            let lineage = Some(self.logs.lineage());
            return Ok(nearest(&self.snapshots, ask.cut.unwrap_or(Cut::End), lineage)?);
        };
        let path = self.snapshots.join(name);
        let is_name = Path::new(name)
            .file_name()
            .is_some_and(|last| last == name.as_str());
        if !is_name || !path.is_file() {
            return Err(HouseError::NoSnapshot(name.clone()));
        }
        Ok(path)
    }
}

fn plan(place: &Place, ask: &RestoreAsk, now: Timestamp) -> Result<(PathBuf, Plan), HouseError> {
    let file = place.file(ask)?;
    let open = || SnapshotReader::open(&file);
    let taken = open().map_err(RestoreError::from)?;
    let manifest = taken.manifest();
    let wanted = Wanted {
        cut: ask.cut.unwrap_or(Cut::Number(manifest.position)),
        holds: ask.holds,
        now_ms: now.as_millis(),
    };
    let log = place.logs.behind(manifest, wanted.cut, ask.file.is_some())?;
    let source = Source {
        open: &open,
        log: Some(&log),
    };
    let plan = survey(&source, wanted)?;
    Ok((file, plan))
}

/// Plans again, now that nothing comes after, and carries it out.
fn build(
    dir: &mut DataDir,
    place: &Place,
    (options, journal): &(RecoverOptions, OpenJournal),
    planned: &Planned,
    wanted: Wanted,
    operation: &Operation,
) -> Result<Restored, RestoreError> {
    let open = || SnapshotReader::open(&planned.file);
    let log = place.logs.behind(open()?.manifest(), wanted.cut, planned.named)?;
    let source = Source {
        open: &open,
        log: Some(&log),
    };
    let plan = survey(&source, wanted)?;
    if plan.cut != planned.plan.cut {
        return Err(RestoreError::Moved {
            planned: planned.plan.cut,
            found: plan.cut,
        });
    }
    carry_out(dir, options, journal, &source, &plan, &|step| {
        operation.step(step)
    })
}

/// Waits until nobody holds a closed shop, its rows and its log any more: they can be opened only once.
async fn leave(shop: Arc<Shop>) -> Result<(), String> {
    let rows = shop.end_actors();
    drop(shop);
    for _ in 0..LEAVES_IN_LOOKS {
        if rows.strong_count() == 0 {
            return Ok(());
        }
        pause(LEAVE_LOOK).await;
    }
    Err("the closed shop is still in use".to_owned())
}

/// A name that no other plan has.
fn token(prefix: &str) -> String {
    let mut random = [0; 16];
    fastrand::Rng::new().fill(&mut random);
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}_{digits}")
}
