//! The thread that owns the log: take what waits, write one group, sync, deliver.
//!
//! ```text
//!  queue ──take──► group ──append (write + sync)──► durable number ──► observer, in log order
//!                             │ error
//!                             └──► on_fatal: the process ends, nothing of the group is delivered
//! ```
//!
//! The writer takes the first entry at once; while it waits for the device the next ones gather. While the processors are busy
//! it waits a moment for as many entries as its last group had ([`Pace`]): fewer, fuller groups leave more of the processors to
//! the callers.
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::workers::{Patience, Started, Stepped, Threads, Worker, Workers};

use super::format::{GroupBuilder, RECORD_HEAD_BYTES};
use super::pace::Pace;
use super::queue::{Entry, JournalLimits, JournalQueue, Taken};
use super::{Anchor, AppendError, Epoch, Group, Journal, PartitionId, RecordNumber, Tail};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// An item whose record, and every record before it, is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered<T> {
    /// Its record; `None` for a repeat.
    pub number: Option<RecordNumber>,
    /// When its group was logged, Unix milliseconds; for a repeat, the group it was delivered with or after.
    pub logged_at_ms: i64,
    /// What the caller had queued.
    pub item: T,
}

/// Learns what became durable.
pub trait DurableObserver<T>: Send {
    /// Called on the writer's thread, in log order, after the device sync. The next group waits meanwhile.
    fn durable(&mut self, delivered: Vec<Delivered<T>>);

    /// Whether those who are told, and those who ask, wait for processors rather than for the log. Asked after each group.
    fn busy(&mut self) -> bool {
        false
    }
}

/// A function is an observer.
impl<T, F: FnMut(Vec<Delivered<T>>) + Send> DurableObserver<T> for F {
    fn durable(&mut self, delivered: Vec<Delivered<T>>) {
        self(delivered);
    }
}

/// What one group was and took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupMeasure {
    /// Records in it.
    pub records: u32,
    /// Repeats delivered with it.
    pub repeats: usize,
    /// Its bytes.
    pub bytes: usize,
    /// From the call of append to its return, in seconds; the sync is part of it.
    pub append_seconds: f64,
    /// What of that was the device sync.
    pub sync_seconds: f64,
}

/// Where measurements go; the names are given elsewhere.
pub trait JournalMetrics: Send {
    /// A group is durable.
    fn group(&self, measure: &GroupMeasure);

    /// How many records have a number and are not durable, just before a group is written and just after.
    fn unsynced(&self, records: u64);

    /// The log was unavailable; the same group is tried again.
    fn unavailable(&self) {}
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

impl JournalMetrics for NoMetrics {
    fn group(&self, _measure: &GroupMeasure) {}

    fn unsynced(&self, _records: u64) {}
}

/// What the writer is given beside the log.
pub struct WriterParts<T> {
    /// Learns what became durable.
    pub observer: Box<dyn DurableObserver<T>>,
    /// Gets the measurements.
    pub metrics: Box<dyn JournalMetrics>,
    /// The wall time in Unix milliseconds. It may step; what is logged does not.
    pub clock: Box<dyn Fn() -> i64 + Send>,
    /// Called once when the log can no longer be trusted to take records. In production it logs and ends the process with exit
    /// code 1. If it returns, the writer stops: what was not durable is dropped and never delivered.
    pub on_fatal: Box<dyn FnOnce(AppendError) + Send>,
}

/// The running writer.
pub struct JournalWriter {
    worker: Box<dyn Started>,
}

impl JournalWriter {
    /// Starts the writer on a thread of its own; see [`JournalWriter::start_by`].
    ///
    /// # Errors
    /// When the system gives no thread.
    ///
    /// # Panics
    /// When `limits` contradict each other.
    pub fn start<T: Send + 'static>(
        journal: Box<dyn Journal>,
        partition: PartitionId,
        tail: &Tail,
        limits: JournalLimits,
        parts: WriterParts<T>,
    ) -> std::io::Result<(JournalQueue<T>, Self)> {
        Self::start_by(&Threads, journal, (partition, tail), limits, parts)
    }

    /// Has `workers` step the writer behind `tail`, which `journal` gave when its partition was acquired, and returns the queue
    /// into it.
    ///
    /// # Errors
    /// When the system gives no thread.
    ///
    /// # Panics
    /// When `limits` contradict each other.
    pub fn start_by<T: Send + 'static>(
        workers: &dyn Workers,
        journal: Box<dyn Journal>,
        (partition, tail): (PartitionId, &Tail),
        limits: JournalLimits,
        parts: WriterParts<T>,
    ) -> std::io::Result<(JournalQueue<T>, Self)> {
        let queue = JournalQueue::new(tail, limits);
        let WriterParts {
            observer,
            metrics,
            clock,
            on_fatal,
        } = parts;
        let writer = Writer {
            journal,
            partition,
            epoch: tail.epoch,
            tail: Anchor {
                last: tail.last,
                chain: tail.chain,
                logged_at_ms: tail.logged_at_ms,
            },
            limits,
            queue: queue.clone(),
            observer,
            metrics,
            clock,
            backlog: VecDeque::new(),
            has_taken: false,
            pace: Pace::default(),
        };
        let on_fatal = Some(on_fatal);
        let worker = workers.start("journal-writer", Box::new(Ending { writer, on_fatal }))?;
        Ok((queue, Self { worker }))
    }

    /// Waits until the writer has ended: after [`JournalQueue::close`] and everything queued, or after an error.
    pub fn join(self) {
        self.worker.join();
    }
}

/// The writer and what has to happen at its end.
struct Ending<T> {
    writer: Writer<T>,
    /// Until it was called.
    on_fatal: Option<Box<dyn FnOnce(AppendError) + Send>>,
}

impl<T: Send> Worker for Ending<T> {
    fn step(&mut self, patience: Patience) -> Stepped {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.writer.step(patience)));
        if let Ok(Ok(stepped @ (Stepped::Went | Stepped::Idle))) = stepped {
            return stepped;
        }
        self.writer.queue.close();
        // Nothing is dropped before the process had its chance to end: a dropped completion is an answer of a kind.
        let (error, items) = match stepped {
            Ok(Ok(_)) => (None, Vec::new()),
            Ok(Err(Stopped { error, items })) => (Some(error), items),
            // A log whose writer is gone would let every caller wait for ever.
            Err(_) => {
                let context = "the journal writer panicked".into();
                let source = None;
                (Some(AppendError::Fatal { context, source }), Vec::new())
            }
        };
        if let (Some(error), Some(on_fatal)) = (error, self.on_fatal.take()) {
            on_fatal(error);
        }
        drop(items);
        self.writer.queue.end();
        Stepped::Ended
    }
}

struct Writer<T> {
    journal: Box<dyn Journal>,
    partition: PartitionId,
    epoch: Epoch,
    tail: Anchor,
    limits: JournalLimits,
    queue: JournalQueue<T>,
    observer: Box<dyn DurableObserver<T>>,
    metrics: Box<dyn JournalMetrics>,
    clock: Box<dyn Fn() -> i64 + Send>,
    /// Taken from the queue, not yet in a group.
    backlog: VecDeque<Entry<T>>,
    /// The queue has been asked for the next group.
    has_taken: bool,
    pace: Pace,
}

/// Why the writer ended early, and the items it did not deliver.
struct Stopped<T> {
    error: AppendError,
    items: Vec<(Option<RecordNumber>, T)>,
}

/// The entries of a group, in order, and the group unless all of them are repeats.
struct Batch<T> {
    group: Option<Group>,
    items: Vec<(Option<RecordNumber>, T)>,
}

impl<T> Writer<T> {
    /// Takes what waits, or, when it has, writes and delivers a group of it.
    fn step(&mut self, patience: Patience) -> Result<Stepped, Stopped<T>> {
        let wanted = self.limits.group_records;
        if !self.has_taken {
            let gather = self.pace.gather();
            match self.queue.take(&mut self.backlog, wanted, gather, patience) {
                Taken::Entries => self.has_taken = true,
                Taken::Nothing => return Ok(Stepped::Idle),
                Taken::End => return Ok(Stepped::Ended),
            }
            return Ok(Stepped::Went);
        }
        self.has_taken = false;
        let Batch { group, items } = self.build();
        let entries = items.len();
        if let Some(group) = group {
            self.metrics.unsynced(self.queue.unsynced());
            planted!(AnswerBeforeSync => { self.deliver(items); _ = self.append(&group, entries); self.queue.advance_told(self.tail.last); return Ok(Stepped::Went) });
            match self.append(&group, items.len()) {
                Ok(true) => self.metrics.unsynced(self.queue.unsynced()),
                Ok(false) => return Ok(Stepped::Ended),
                Err(error) => return Err(Stopped { error, items }),
            }
        }
        self.deliver(items);
        // Who only looks in never waits, and is not to depend on how busy the machine is.
        if patience == Patience::Waits {
            self.pace.after(entries, wanted, self.observer.busy());
        }
        Ok(Stepped::Went)
    }

    /// Takes entries from the front of the backlog while they fit into one group.
    fn build(&mut self) -> Batch<T> {
        let backlog = &mut self.backlog;
        let entries = backlog.len().min(self.limits.group_records);
        let guess: usize = backlog.iter().take(entries).map(Entry::bytes).sum();
        let mut builder = GroupBuilder::new(
            self.partition,
            self.epoch,
            &self.tail,
            guess + GroupBuilder::FRAME_BYTES,
        );
        let mut items = Vec::with_capacity(entries);
        // Entries still to come of those that lie in one group.
        let mut together = 0;
        while together > 0 || items.len() < self.limits.group_records {
            if together == 0 && !fits(&builder, backlog, self.limits.group_bytes) {
                break;
            }
            let Some(entry) = backlog.pop_front() else {
                break;
            };
            together = entry.together;
            let number = entry.record.map(|(number, payload)| {
                let pushed = builder.push(&payload);
                assert_eq!(pushed, number, "the queue's order is the log's order");
                number
            });
            items.push((number, entry.item));
        }
        let logged_at_ms = (self.clock)().max(self.tail.logged_at_ms);
        Batch {
            group: builder.finish(logged_at_ms),
            items,
        }
    }

    /// Appends until the group is durable. `false` if the queue was closed while the log was unavailable.
    fn append(&mut self, group: &Group, entries: usize) -> Result<bool, AppendError> {
        let mut pause = PAUSE_MIN;
        loop {
            let begin = Stopwatch::start();
            match self.journal.append(self.partition, self.tail.last, group) {
                Ok(_) => {
                    self.tail = Anchor::after(group);
                    self.queue.advance_durable(self.tail.last);
                    let records = group.count();
                    self.metrics.group(&GroupMeasure {
                        records,
                        repeats: entries - records as usize,
                        bytes: group.bytes().len(),
                        append_seconds: begin.seconds(),
                        sync_seconds: self.journal.last_sync().as_secs_f64(),
                    });
                    return Ok(true);
                }
                // Certainly not in the log, so the same group may go again. Admission closes meanwhile: permits stay taken.
                Err(AppendError::Unavailable { .. }) => {
                    self.metrics.unavailable();
                    if self.queue.pause(pause) {
                        return Ok(false);
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn deliver(&mut self, items: Vec<(Option<RecordNumber>, T)>) {
        // First, so that whoever is answered may queue the next entry.
        self.queue.settle(items.len());
        let logged_at_ms = self.tail.logged_at_ms;
        let delivered = items.into_iter().map(|(number, item)| Delivered {
            number,
            logged_at_ms,
            item,
        });
        self.observer.durable(delivered.collect());
        self.queue.advance_told(self.tail.last);
    }
}

/// Whether what comes next fits into the group, with everything that lies in the same one.
fn fits<T>(builder: &GroupBuilder, backlog: &VecDeque<Entry<T>>, group_bytes: usize) -> bool {
    let Some(first) = backlog.front() else {
        return false;
    };
    let next = backlog.iter().take(1 + first.together);
    let bytes: usize = next.map(Entry::bytes).sum();
    bytes == 0 || builder.fits(bytes - RECORD_HEAD_BYTES, group_bytes)
}
