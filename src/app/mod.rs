//! Use cases, one file per noun. They turn a caller's wish into one message and the answer into facts; they know
//! nothing of HTTP, and nothing here decides what is true.
//!
//! The way of a command: claim the key, pass the sold-out gate, take a permit, route one message, await the answer
//! until the caller's deadline. What fails on the way is an [`AppError`]; a refusal of the domain is one of them.
mod admin;
mod agents;
mod bulk;
mod carts;
mod error;
mod export;
mod history;
mod home;
mod house;
mod import;
mod keys;
mod lists;
mod measure;
mod offline;
mod open;
mod orders;
mod policies;
mod replay;
mod reservations;
mod snapshots;
mod status;
mod token;
mod variants;

pub use crate::storage::projection::Statistics;
pub use admin::{CleanedUp, HotVariant, Quarantined};
pub use agents::{CartDone, OrderDone};
pub use bulk::{BulkAsk, BulkDone, BulkLine, BulkWhat};
pub use carts::{NewItem, Whose};
pub use error::AppError;
pub use export::Export;
pub use history::{EventPlace, Figures, Happened, HistoryAsk, LastUnit, Moment, Story};
pub use house::{House, HouseError, Operation, Phase, Planned, RestoreAsk, Stage, Standing};
pub use import::{
    IMPORT_LINES_MAX, ImportLine, ImportPlan, ImportSeat, ImportSource, LineFault, NoLine, PlannedChange,
    TOGETHER_MAX,
};
pub use lists::{HoldFilter, Listed};
pub use offline::Offline;
pub(crate) use open::chain;
pub use open::{OnFatal, OpenError, Opened, Seed, ShopOptions, Time, configured_journal, recover_options};
pub use orders::{ListedOrders, OrderFilter, PaidAsk};
pub use reservations::{Meant, Reservation, ReserveAsk, SaleAsk, Validity};
pub use snapshots::{ListedSnapshots, WRITTEN_BY};
pub use status::Status;
pub use variants::{AdjustAsk, Adjusted};

use crate::{
    actor::{
        Admission, Answer, Directory, Entry, Job, KeyClaim, Logged, Message, NotDone, Permit, Shed, Viewing,
        What,
    },
    clock::Clock,
    config::Config,
    domain::{
        ids::{StoreId, VariantId},
        time::Timestamp,
        variant::{Command, Hold, Refusal},
    },
    storage::{
        checkpoint::Checkpointer,
        journal::LogReader,
        keys::{Fingerprint, KeyHash, KeyTable},
        past::Past,
        projection::Projection,
        spool::Spool,
        state::StateStore,
    },
    workers::Workers,
};
use admin::DiskWatch;
use keys::Keyed;
use parking_lot::Mutex;
use policies::Policies;
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{Semaphore, oneshot, watch};

/// The whole service behind any edge.
pub struct Shop {
    directory: Arc<Directory>,
    admission: Arc<Admission>,
    keys: KeyTable,
    projection: Arc<Projection>,
    policies: Policies,
    reader: Arc<dyn LogReader>,
    state: Arc<StateStore>,
    checkpointer: Checkpointer,
    clock: Clock,
    workers: Arc<dyn Workers>,
    disk: DiskWatch,
    snapshots: snapshots::Snapshots,
    config: Arc<Config>,
    tokens: token::CartTokens,
    imports: import::Imports,
    past: Past,
    /// Lets one story be told at a time.
    histories: Arc<Semaphore>,
    /// Since when it serves.
    since: Timestamp,
    /// Turns true when somebody wants the server to end.
    ending: watch::Sender<bool>,
    /// Where its snapshots and its log lie, for a restore.
    place: house::Place,
    /// What has to end in good order; `None` once it has.
    running: Mutex<Option<open::Running>>,
}

/// Who asks, and how long they wait.
#[derive(Clone, Debug)]
pub struct Context {
    /// Whose shop.
    pub store: StoreId,
    /// Who, for ledger and audit.
    pub caller: Arc<str>,
    /// The idempotency key, if one was sent.
    pub key: Option<RequestKey>,
    /// When the caller stops waiting.
    pub deadline: Timestamp,
}

/// An idempotency key with what it was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Of store, caller and key.
    pub hash: KeyHash,
    /// Of route, target and body.
    pub fingerprint: Fingerprint,
}

impl RequestKey {
    /// The key of a caller, for a request given as route (method and template), target and body. The same key of
    /// another store or caller is another key.
    pub fn new(store: &StoreId, caller: &str, key: &str, (route, target, body): (&str, &str, &[u8])) -> Self {
        Self {
            hash: KeyHash::of(store.as_str(), caller, key),
            fingerprint: Fingerprint::of(route, target, body),
        }
    }

    /// The key of a request whose body lies in a spool.
    pub fn of_spooled(
        store: &StoreId,
        caller: &str,
        key: &str,
        (route, target, body): (&str, &str, &Spool),
    ) -> Self {
        Self {
            hash: KeyHash::of(store.as_str(), caller, key),
            fingerprint: Fingerprint::of_digest(route, target, body.digest()),
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// What.
    pub body: T,
    /// The moment it tells (`serverTime`): the logged one, so that a replay repeats it.
    pub at: Timestamp,
    /// Whether an idempotency key brought back an earlier answer.
    pub replayed: bool,
}

/// What a command came to.
enum Done {
    /// There was nothing to do.
    Nothing,
    Logged {
        logged: Box<Logged>,
        replayed: bool,
    },
    Repeat {
        hold: Box<Hold>,
        at: Timestamp,
    },
}

impl Done {
    fn replayed(logged: Box<Logged>) -> Self {
        Self::Logged {
            logged,
            replayed: true,
        }
    }
}

impl Shop {
    /// The house clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The epoch of its log: a restore begins the next.
    pub fn epoch(&self) -> u64 {
        self.place.epoch()
    }

    fn place(&self) -> house::Place {
        self.place.clone()
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn variant(&self, ctx: &Context, id: &VariantId) -> Result<Arc<Entry>, AppError> {
        self.directory
            .find(&ctx.store, id)
            .ok_or_else(|| self.refused(Refusal::VariantNotFound))
    }

    fn refused(&self, refusal: Refusal) -> AppError {
        AppError::Refused {
            refusal,
            at: self.clock.now(),
        }
    }

    fn permit(&self, entry: &Arc<Entry>) -> Result<Permit, AppError> {
        let permit = self
            .admission
            .admit()
            .and_then(|permit| permit.for_variant(entry));
        permit.map_err(AppError::Shed)
    }

    async fn send(
        &self,
        ctx: &Context,
        entry: &Arc<Entry>,
        command: Command,
        key: Option<KeyClaim>,
    ) -> Result<Done, AppError> {
        let permit = self.permit(entry)?;
        entry.commands.fetch_add(1, Ordering::Relaxed);
        let (port, answer) = oneshot::channel();
        let job = Job {
            command,
            key,
            permit,
            deadline: ctx.deadline,
            port,
        };
        self.directory.route(entry, Message::Command(Box::new(job)))?;
        match self.answer(ctx, answer).await? {
            Answer::Logged(logged) => Ok(Done::Logged {
                logged,
                replayed: false,
            }),
            Answer::Repeat { hold, at } => Ok(Done::Repeat { hold, at }),
            Answer::Count(_) => Ok(Done::Nothing),
            Answer::Variant(_) | Answer::Holds { .. } | Answer::Cart { .. } | Answer::Order { .. } => {
                Err(AppError::bug("a command was answered by a view"))
            }
        }
    }

    async fn look(&self, ctx: &Context, entry: &Arc<Entry>, what: What) -> Result<Answer, AppError> {
        let permit = self.permit(entry)?;
        let (port, answer) = oneshot::channel();
        let deadline = ctx.deadline;
        let viewing = Box::new(Viewing {
            what,
            permit,
            deadline,
            port,
        });
        self.directory.route(entry, Message::View(viewing))?;
        self.answer(ctx, answer).await
    }

    async fn answer(
        &self,
        ctx: &Context,
        answer: oneshot::Receiver<Result<Answer, NotDone>>,
    ) -> Result<Answer, AppError> {
        match self.until(ctx.deadline, answer).await {
            Some(Ok(Ok(answer))) => Ok(answer),
            Some(Ok(Err(NotDone::Refused { refusal, at }))) => Err(AppError::Refused { refusal, at }),
            Some(Ok(Err(NotDone::CartRefused { refusal, at }))) => Err(AppError::CartRefused { refusal, at }),
            Some(Ok(Err(NotDone::OrderRefused { refusal, at }))) => {
                Err(AppError::OrderRefused { refusal, at })
            }
            Some(Ok(Err(NotDone::Crowded))) => Err(AppError::Shed(Shed::Cart)),
            Some(Ok(Err(NotDone::Late))) => Err(AppError::Late),
            Some(Ok(Err(NotDone::Quarantined))) => Err(AppError::Quarantined),
            // The actor died with the message, or the deadline passed: the record may or may not be on its way.
            Some(Err(_)) | None => Err(AppError::OutcomeUnknown),
        }
    }

    /// The future's value, or `None` when `deadline` comes first.
    pub(super) async fn until<F: Future>(&self, deadline: Timestamp, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = self.clock.sleep_until(deadline) => None,
        }
    }
}
