//! The follower of the durable log that keeps the stored rows up to date and lets the log go behind it.
//!
//! ```text
//!  journal ──LogReader──► fold ──► StateStore::apply (rows and mark in one durable step)
//!                                        │
//!                       key table, projection: may forget      archive: keeps the groups; then
//!                                                              journal: may trim, below everybody who still needs it
//! ```
//!
//! It reads what recovery reads, so what it stores is what a restart would have replayed, and no actor is asked for anything.
//! A round takes the log in batches of bounded size up to what was durable when it began. Batches end with groups: the mark
//! carries the chain hash the next group must continue.
//!
//! Laws: a row never has more than the durable log; the mark and the rows change in one step; a record is trimmed only when
//! the rows have it. A failed write is final: the process ends and the next start goes on from the last mark.
pub(super) mod fold;

use super::{
    archive::Keeper,
    entity_rows::RowError,
    journal::{Anchor, AppendError, Epoch, LogReader, LogTrimmer, PartitionId, ReadError, RecordNumber},
    keys::KeyTable,
    projection::Projection,
    state::{Checkpoint, Compaction, StateError, StateStore},
    trim_holds::TrimHolds,
};
use crate::{
    clock::Stopwatch,
    workers::{Patience, Started, Stepped, Threads, Worker, Workers},
};
use fold::{Fold, millis};
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// When rows are written, and for how long what has ended is kept.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// The partition whose log is followed.
    pub partition: PartitionId,
    /// The longest time between two rounds.
    pub every: Duration,
    /// A round starts early when the log has grown by this many bytes; see [`Checkpointer::grown`].
    pub log_bytes: u64,
    /// About how many bytes of log are folded at once; bounds memory and how long one change of the rows takes.
    pub batch_bytes: usize,
    /// How long idempotency keys are kept after their logged time, ms.
    pub keys_ms: i64,
    /// How long ended reservations are kept, ms.
    pub ended_ms: i64,
    /// The most rows that retention deletes in one round.
    pub sweep_rows: usize,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        Self {
            partition: PartitionId(0),
            every: Duration::from_secs(10),
            log_bytes: 64 << 20,
            batch_bytes: 16 << 20,
            keys_ms: DAY_MS,
            ended_ms: DAY_MS,
            sweep_rows: 50_000,
        }
    }
}

/// What one batch was and took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointMeasure {
    /// The last record in the rows now.
    pub number: u64,
    /// Records folded.
    pub records: u64,
    /// Rows changed.
    pub rows: usize,
    /// From the first read to the synced rows, in seconds.
    pub seconds: f64,
}

/// Where measurements go; the names are given elsewhere.
pub trait CheckpointMetrics: Send {
    /// A batch is in the rows, durably.
    fn checkpointed(&self, measure: &CheckpointMeasure);
}

/// A function takes measurements.
impl<F: Fn(&CheckpointMeasure) + Send> CheckpointMetrics for F {
    fn checkpointed(&self, measure: &CheckpointMeasure) {
        self(measure);
    }
}

/// What the follower works with.
pub struct CheckpointParts {
    /// Where the rows are.
    pub state: Arc<StateStore>,
    /// The durable log.
    pub reader: Arc<dyn LogReader>,
    /// Lets the log go.
    pub trimmer: Arc<dyn LogTrimmer>,
    /// Who else needs the log.
    pub holds: TrimHolds,
    /// Keeps groups before the log may let them go, if they are to be kept; holds what it has not kept.
    pub archive: Option<Keeper>,
    /// Learns which keys are found in the rows.
    pub keys: KeyTable,
    /// Learns which ended reservations are found in the rows.
    pub projection: Arc<Projection>,
    /// Gets the measurements.
    pub metrics: Box<dyn CheckpointMetrics>,
    /// The house's time in Unix milliseconds, for retention.
    pub clock: Box<dyn Fn() -> i64 + Send>,
    /// Whether free disk space is short: the rows are not copied into a fresh database then.
    pub disk_is_low: Box<dyn Fn() -> bool + Send>,
    /// Called once when a round failed. In production it logs and ends the process; if it returns, the follower has stopped.
    pub on_fatal: Box<dyn FnOnce(CheckpointError) + Send>,
}

/// Why a round failed. Final.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The rows could not be written or read.
    #[error("the stored states failed")]
    State(#[from] StateError),
    /// A record does not fit the rows before it.
    #[error("a record does not fit the stored states")]
    Row(#[from] RowError),
    /// The log could not be read.
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    /// The log could not be trimmed.
    #[error("the log could not be trimmed")]
    Trim(#[from] AppendError),
    /// The follower itself broke.
    #[error("the checkpoint thread panicked")]
    Panicked,
}

/// There is no follower any more: it was stopped, or a round failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint thread has ended")]
pub struct CheckpointEnded;

/// Asks for rounds. Clones ask the same follower.
#[derive(Clone)]
pub struct Checkpointer {
    shared: Arc<Shared>,
}

struct Shared {
    asked: Mutex<Asked>,
    changed: Condvar,
    log_bytes: u64,
    /// Held by whoever reads rows of several keys that must fit together; the follower changes them under its other side.
    rows: RwLock<()>,
    state: Arc<StateStore>,
    reader: Arc<dyn LogReader>,
    holds: TrimHolds,
    partition: PartitionId,
}

#[derive(Debug, Default)]
struct Asked {
    /// Rounds asked for, and the highest that is done.
    wanted: u64,
    done: u64,
    /// Bytes the log has grown since the last round.
    grown: u64,
    /// No round is begun but one that was asked for.
    closing: bool,
    stop: bool,
    ended: bool,
}

/// The running follower.
pub struct CheckpointThread {
    checkpointer: Checkpointer,
    worker: Box<dyn Started>,
}

impl fmt::Debug for CheckpointThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointThread").finish_non_exhaustive()
    }
}

impl Checkpointer {
    /// Starts the follower on a thread of its own; see [`Checkpointer::start_by`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        parts: CheckpointParts,
        options: CheckpointOptions,
    ) -> std::io::Result<(Self, CheckpointThread)> {
        Self::start_by(&Threads, parts, options)
    }

    /// Has `workers` step the follower; it goes on from the mark in the rows.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_by(
        workers: &dyn Workers,
        mut parts: CheckpointParts,
        options: CheckpointOptions,
    ) -> std::io::Result<(Self, CheckpointThread)> {
        // Called by what surrounds the follower, once it has ended.
        let on_fatal = Some(std::mem::replace(&mut parts.on_fatal, Box::new(|_| {})));
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            changed: Condvar::new(),
            log_bytes: options.log_bytes,
            rows: RwLock::default(),
            state: Arc::clone(&parts.state),
            reader: Arc::clone(&parts.reader),
            holds: parts.holds.clone(),
            partition: options.partition,
        });
        let checkpointer = Self { shared };
        let follower = Follower {
            shared: Arc::clone(&checkpointer.shared),
            parts,
            options,
            waiting: Stopwatch::start(),
        };
        let ending = Ending { follower, on_fatal };
        let worker = workers.start("checkpoint", Box::new(ending))?;
        let running = CheckpointThread {
            checkpointer: checkpointer.clone(),
            worker,
        };
        Ok((checkpointer, running))
    }

    /// Writes everything that is durable now into the rows; returns when that is done. Blocks on the disk. Cheap when there is
    /// nothing new.
    ///
    /// # Errors
    /// The follower has ended; why was told to `on_fatal`.
    pub fn run_now(&self) -> Result<(), CheckpointEnded> {
        let shared = &self.shared;
        let mut asked = shared.asked.lock();
        asked.wanted += 1;
        let wanted = asked.wanted;
        shared.changed.notify_all();
        while asked.done < wanted {
            if asked.ended {
                return Err(CheckpointEnded);
            }
            shared.changed.wait(&mut asked);
        }
        Ok(())
    }

    /// Says that the log has grown; enough of it starts a round early. Called by the journal's writer for each group.
    pub fn grown(&self, bytes: u64) {
        let mut asked = self.shared.asked.lock();
        let before = asked.grown;
        asked.grown += bytes;
        if before < self.shared.log_bytes && asked.grown >= self.shared.log_bytes {
            self.shared.changed.notify_all();
        }
    }

    /// Who needs old records; hold them here.
    pub fn trim_holds(&self) -> &TrimHolds {
        &self.shared.holds
    }

    /// Reads rows that must fit together, and says up to which record they are. Records after it stay in the log until the
    /// returned value is dropped.
    pub(super) fn with_rows<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&StateStore, RecordNumber) -> T,
    ) -> (T, super::trim_holds::TrimHold) {
        let shared = &self.shared;
        let unchanging = shared.rows.read();
        let number = RecordNumber(shared.state.checkpoint().map_or(0, |mark| mark.number));
        let hold = shared.holds.hold(name, number.next());
        let value = read(&shared.state, number);
        drop(unchanging);
        (value, hold)
    }

    /// The durable log and its partition.
    pub(super) fn log(&self) -> (&Arc<dyn LogReader>, PartitionId) {
        (&self.shared.reader, self.shared.partition)
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer")
            .field("asked", &self.shared.asked)
            .finish_non_exhaustive()
    }
}

impl CheckpointThread {
    /// Stops after the batch in hand, and waits. What is not in the rows is replayed by the next start; for less of that, see
    /// [`CheckpointThread::finish`].
    pub fn stop(self) {
        let shared = &self.checkpointer.shared;
        shared.asked.lock().stop = true;
        shared.changed.notify_all();
        self.worker.join();
    }

    /// Writes everything that is durable now into the rows, then stops, and waits for that. Why it could not was told to
    /// `on_fatal`; the log has everything.
    pub fn finish(self) {
        let shared = &self.checkpointer.shared;
        {
            let mut asked = shared.asked.lock();
            asked.wanted += 1;
            asked.closing = true;
        }
        shared.changed.notify_all();
        self.worker.join();
    }
}

/// The follower and what has to happen at its end.
struct Ending {
    follower: Follower,
    on_fatal: Option<Box<dyn FnOnce(CheckpointError) + Send>>,
}

impl Worker for Ending {
    fn step(&mut self, patience: Patience) -> Stepped {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.follower.step(patience)));
        if let Ok(Ok(stepped @ (Stepped::Went | Stepped::Idle))) = stepped {
            return stepped;
        }
        {
            let shared = &self.follower.shared;
            let mut asked = shared.asked.lock();
            asked.ended = true;
            shared.changed.notify_all();
        }
        let error = match stepped {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(CheckpointError::Panicked),
        };
        if let (Some(error), Some(on_fatal)) = (error, self.on_fatal.take()) {
            on_fatal(error);
        }
        Stepped::Ended
    }
}

struct Follower {
    shared: Arc<Shared>,
    parts: CheckpointParts,
    options: CheckpointOptions,
    /// Since the last round.
    waiting: Stopwatch,
}

/// What comes next.
enum Next {
    Round(u64),
    Copied,
    Nothing,
    End,
}

impl Follower {
    /// A round, or a turn of copying rows.
    fn step(&mut self, patience: Patience) -> Result<Stepped, CheckpointError> {
        let wanted = match self.next(patience)? {
            Next::Round(wanted) => wanted,
            Next::Copied => return Ok(Stepped::Went),
            Next::Nothing => return Ok(Stepped::Idle),
            Next::End => return Ok(Stepped::Ended),
        };
        self.round()?;
        // Also when the next round is due at once: under endless load the copy must come to its end too.
        self.copy_some()?;
        self.waiting = Stopwatch::start();
        let mut asked = self.shared.asked.lock();
        asked.done = asked.done.max(wanted);
        self.shared.changed.notify_all();
        Ok(Stepped::Went)
    }

    /// Waits for the next round, if `patience` allows: asked for, due by size, or by time. While there is none, the rows are
    /// copied into a fresh database if they need it, a bounded turn at a time.
    fn next(&self, patience: Patience) -> Result<Next, CheckpointError> {
        let mut copies = true;
        loop {
            let mut asked = self.shared.asked.lock();
            let left = self.options.every.saturating_sub(self.waiting.elapsed());
            let is_asked = asked.wanted != asked.done;
            if asked.stop || (asked.closing && !is_asked) {
                return Ok(Next::End);
            }
            if is_asked || asked.grown >= self.options.log_bytes || left.is_zero() {
                asked.grown = 0;
                return Ok(Next::Round(asked.wanted));
            }
            if copies {
                drop(asked);
                copies = self.copy_some()?;
                if copies {
                    return Ok(Next::Copied);
                }
            } else if patience == Patience::Waits {
                self.shared.changed.wait_for(&mut asked, left);
            } else {
                return Ok(Next::Nothing);
            }
        }
    }

    /// One turn of copying the rows into a fresh database, if they need it; whether there is more to copy.
    fn copy_some(&self) -> Result<bool, CheckpointError> {
        let has_room = !(self.parts.disk_is_low)();
        Ok(self.parts.state.compact_if_grown(has_room)? == Compaction::UnderWay)
    }

    fn round(&mut self) -> Result<(), CheckpointError> {
        let upto = self.parts.reader.last();
        loop {
            let stored = self.stored();
            if stored >= upto || self.shared.asked.lock().stop {
                break;
            }
            self.batch(stored)?;
            self.trim()?;
        }
        self.trim()?;
        self.sweep()
    }

    fn stored(&self) -> RecordNumber {
        RecordNumber(self.parts.state.checkpoint().map_or(0, |mark| mark.number))
    }

    /// Folds the next groups into rows and tells everybody.
    fn batch(&self, stored: RecordNumber) -> Result<(), CheckpointError> {
        let begin = Stopwatch::start();
        let parts = &self.parts;
        let from = stored.next();
        let groups = parts
            .reader
            .read(self.options.partition, from, self.options.batch_bytes)?;
        let Some(last) = groups.last() else { return Ok(()) };
        let mut fold = Fold::new(&parts.state);
        for group in &groups {
            for record in group.records_from(from) {
                fold.record(&record)?;
            }
        }
        let changes = fold.finish()?;
        let rows = changes.len();
        let mark = mark(last.epoch(), &Anchor::after(last));
        {
            let _nobody_reads = self.shared.rows.write();
            parts.state.apply(changes, mark)?;
        }
        parts.keys.checkpointed(mark.number);
        parts.projection.checkpointed(mark.number);
        parts.metrics.checkpointed(&CheckpointMeasure {
            number: mark.number,
            records: mark.number - stored.0,
            rows,
            seconds: begin.seconds(),
        });
        Ok(())
    }

    /// Lets the log go behind the rows, the archive and everybody else.
    fn trim(&mut self) -> Result<(), CheckpointError> {
        let stored = self.stored();
        if let Some(archive) = &mut self.parts.archive {
            let now_ms = (self.parts.clock)();
            archive.follow(&*self.parts.reader, stored, now_ms, (self.parts.disk_is_low)());
        }
        let upto = self.parts.holds.limit(stored);
        if upto >= self.parts.reader.first() {
            self.parts.trimmer.trim(self.options.partition, upto)?;
        }
        Ok(())
    }

    /// Lets go what is past its retention, and gives disk space back.
    fn sweep(&self) -> Result<(), CheckpointError> {
        let now = (self.parts.clock)();
        let before = |ms: i64| millis(now.saturating_sub(ms));
        let keys_before = before(self.options.keys_ms);
        let ended_before = before(self.options.ended_ms);
        let _nobody_reads = self.shared.rows.write();
        self.parts
            .state
            .sweep(keys_before, ended_before, self.options.sweep_rows)?;
        Ok(())
    }
}

/// The mark behind a group.
pub(super) fn mark(epoch: Epoch, behind: &Anchor) -> Checkpoint {
    Checkpoint {
        number: behind.last.0,
        epoch: u64::from(epoch.0),
        chain: behind.chain,
        logged_at_ms: millis(behind.logged_at_ms),
    }
}
