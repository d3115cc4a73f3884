//! The way into the log: numbers are given out in the order of the queue, and the queue's order is the log's order.
//!
//! Adding never waits for the disk: the lock is held for a push, and the writer takes everything that waits by swapping the
//! queue for an empty one. The queue's bound is not enforced by waiting either. Whoever adds holds a permit, permits are fewer
//! than places, and a full queue is therefore a bug and an assertion.
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::workers::Patience;

use super::format::{FOOT_BYTES, GROUP_BYTES_MAX, HEAD_BYTES, RECORD_HEAD_BYTES};
use super::{RecordNumber, Tail};

/// The bounds of the way into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// How many entries may be queued or on their way to the disk; more is a bug of whoever gives out permits.
    pub queue_capacity: usize,
    /// The largest number of entries (records and repeats) in one group, unless more were queued as one.
    pub group_records: usize,
    /// The largest number of bytes in one group, all told; at most [`GROUP_BYTES_MAX`].
    pub group_bytes: usize,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            queue_capacity: 65_536,
            group_records: 4_096,
            group_bytes: GROUP_BYTES_MAX,
        }
    }
}

impl JournalLimits {
    /// The largest payload that fits into a group.
    pub fn payload_bytes_max(&self) -> usize {
        self.records_bytes_max() - RECORD_HEAD_BYTES
    }

    /// The most that the records of one group may take, with their heads.
    fn records_bytes_max(&self) -> usize {
        self.group_bytes - HEAD_BYTES - FOOT_BYTES
    }

    pub(super) fn check(&self) {
        assert!(self.queue_capacity > 0, "a queue has room for an entry");
        assert!(self.group_records > 0, "a group has room for a record");
        assert!(
            self.group_bytes <= GROUP_BYTES_MAX,
            "a group is at most {GROUP_BYTES_MAX} bytes"
        );
        assert!(
            self.group_bytes > HEAD_BYTES + FOOT_BYTES + RECORD_HEAD_BYTES,
            "a group has room for a payload"
        );
    }
}

/// Who waits until a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A caller.
    Somebody,
    /// Nobody: what comes of it is told by a later record.
    Nobody,
}

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// The journal is closed, or its writer has stopped after an error.
    #[error("the journal is closed")]
    Closed,
    /// The payload, or what is to lie in one group, does not fit into one.
    #[error("the record is larger than a group")]
    TooLarge,
}

/// An entry that was not taken, with what came with it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected<T> {
    /// What the caller had handed over.
    pub item: T,
    /// Why it was not taken.
    pub reason: RejectReason,
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// The queue into one partition's log. Clones are the same queue.
pub struct JournalQueue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for JournalQueue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Somebody added an entry, or the queue was closed.
    changed: Condvar,
    /// Calls that wait for records to be told, in order of those; they take no place in the queue.
    waiting: Mutex<BTreeMap<RecordNumber, Vec<Call>>>,
    limits: JournalLimits,
    /// Entries that were delivered or dropped, out of all that were ever added.
    settled: AtomicU64,
    last: AtomicU64,
    durable: AtomicU64,
    told: AtomicU64,
    /// Nothing is told any more.
    ended: AtomicBool,
}

/// Something to be done on the writer's thread.
type Call = Box<dyn FnOnce() + Send>;

struct State<T> {
    entries: VecDeque<Entry<T>>,
    added: u64,
    last: RecordNumber,
    closed: bool,
    /// How many of them somebody waits for.
    awaited: usize,
    /// The writer sleeps until so many entries wait; waking it for each would cost a system call an entry.
    wake_at: usize,
    /// It sleeps until somebody waits for an entry.
    idle_for_nobody: bool,
}

/// How long an entry that nobody waits for may wait for one that somebody does, before it goes to the disk alone. What comes of
/// one request in several entities, each with a record of its own, thus needs one sync, not one each.
const NOBODY_WAITS_MAX: Duration = Duration::from_millis(1);

/// How long a busy writer waits for a fuller group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gather {
    /// It goes on with so many entries,
    pub(super) entries: usize,
    /// or after this long.
    pub(super) at_most: Duration,
}

/// What asking for entries came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// There are some in the backlog.
    Entries,
    /// There are none for now, and nobody waited for them.
    Nothing,
    /// There will be none: the queue is closed.
    End,
}

/// One waiting entry. A repeat has no record.
pub(super) struct Entry<T> {
    pub(super) record: Option<(RecordNumber, Vec<u8>)>,
    /// So many entries behind it lie in the same group.
    pub(super) together: usize,
    awaited: bool,
    pub(super) item: T,
}

impl<T> Entry<T> {
    /// What it takes in a group.
    pub(super) fn bytes(&self) -> usize {
        let record = self.record.as_ref();
        record.map_or(0, |(_, payload)| RECORD_HEAD_BYTES + payload.len())
    }
}

impl<T> JournalQueue<T> {
    pub(super) fn new(tail: &Tail, limits: JournalLimits) -> Self {
        limits.check();
        let state = State {
            entries: VecDeque::new(),
            added: 0,
            last: tail.last,
            closed: false,
            awaited: 0,
            wake_at: usize::MAX,
            idle_for_nobody: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            waiting: Mutex::default(),
            limits,
            settled: AtomicU64::new(0),
            last: AtomicU64::new(tail.last.0),
            durable: AtomicU64::new(tail.last.0),
            told: AtomicU64::new(tail.last.0),
            ended: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Queues a record and gives it its number; `item` is delivered when the record is durable. One that nobody waits for goes
    /// to the disk with the next one that somebody does, or soon by itself.
    ///
    /// # Errors
    /// The item comes back when the journal is closed or the payload does not fit into a group. No number is used up.
    ///
    /// # Panics
    /// When more entries are under way than the queue's capacity: permits must make that impossible.
    pub fn append(&self, payload: Vec<u8>, item: T, waits: Waits) -> Result<RecordNumber, Rejected<T>> {
        if payload.len() > self.shared.limits.payload_bytes_max() {
            return Err(Rejected {
                item,
                reason: RejectReason::TooLarge,
            });
        }
        let added = self.add(std::iter::once((Some(payload), item, waits)));
        added.map_err(|mut untaken| Rejected {
            item: untaken.next().expect("nothing was taken").1,
            reason: RejectReason::Closed,
        })
    }

    /// Queues records that lie in one group: after a crash the log has all of them or none. They get numbers in a row; the
    /// first is returned.
    ///
    /// # Errors
    /// The items come back when the journal is closed or the records do not fit into one group. No number is used up.
    ///
    /// # Panics
    /// As [`JournalQueue::append`], and without a record.
    pub fn append_together(
        &self,
        records: Vec<(Vec<u8>, T, Waits)>,
    ) -> Result<RecordNumber, Rejected<Vec<T>>> {
        assert!(!records.is_empty(), "a group has a record");
        planted!(TornList => {
            let numbers = records.into_iter().map(|(payload, item, waits)| self.append(payload, item, waits).ok());
            return Ok(numbers.collect::<Vec<_>>()[0].expect("it is open"));
        });
        let bytes: usize = records
            .iter()
            .map(|(payload, ..)| RECORD_HEAD_BYTES + payload.len())
            .sum();
        if bytes > self.shared.limits.records_bytes_max() {
            return Err(Rejected {
                item: records.into_iter().map(|(_, item, _)| item).collect(),
                reason: RejectReason::TooLarge,
            });
        }
        let later = records.len() as u64 - 1;
        let entries = records.into_iter();
        let added = self.add(entries.map(|(payload, item, waits)| (Some(payload), item, waits)));
        added
            .map(|last| RecordNumber(last.0 - later))
            .map_err(|untaken| Rejected {
                item: untaken.map(|(_, item, _)| item).collect(),
                reason: RejectReason::Closed,
            })
    }

    /// Queues an item without a record: it is delivered, in order, once everything queued before it is durable.
    ///
    /// # Errors
    /// The item comes back when the journal is closed.
    ///
    /// # Panics
    /// As [`JournalQueue::append`].
    pub fn repeat(&self, item: T) -> Result<(), Rejected<T>> {
        let added = self.add(std::iter::once((None, item, Waits::Somebody)));
        added.map(|_| ()).map_err(|mut untaken| Rejected {
            item: untaken.next().expect("nothing was taken").1,
            reason: RejectReason::Closed,
        })
    }

    /// Adds entries that lie in one group, and returns the last number given out. What is not taken comes back.
    fn add<I>(&self, entries: I) -> Result<RecordNumber, I>
    where
        I: ExactSizeIterator<Item = (Option<Vec<u8>>, T, Waits)>,
    {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        if state.closed {
            return Err(entries);
        }
        let under_way = state.added - shared.settled.load(Ordering::Acquire);
        let count = entries.len();
        assert!(
            under_way + count as u64 <= shared.limits.queue_capacity as u64,
            "permits are fewer than the places in the journal's queue"
        );
        let mut wanted = false;
        for (place, (payload, item, waits)) in entries.enumerate() {
            let record = payload.map(|payload| {
                state.last = state.last.next();
                (state.last, payload)
            });
            let awaited = waits == Waits::Somebody;
            wanted |= awaited;
            state.added += 1;
            state.awaited += usize::from(awaited);
            state.entries.push_back(Entry {
                record,
                together: count - 1 - place,
                awaited,
                item,
            });
        }
        let last = state.last;
        shared.last.store(last.0, Ordering::Release);
        let wake = state.entries.len() >= state.wake_at || (wanted && state.idle_for_nobody);
        drop(state);
        if wake {
            shared.changed.notify_one();
        }
        Ok(last)
    }

    /// The last record that is on the device.
    pub fn durable(&self) -> RecordNumber {
        RecordNumber(self.shared.durable.load(Ordering::Acquire))
    }

    /// The last record that was given a number.
    pub fn last(&self) -> RecordNumber {
        RecordNumber(self.shared.last.load(Ordering::Acquire))
    }

    /// How many records have a number and are not on the device yet.
    pub fn unsynced(&self) -> u64 {
        // In this order: what is durable now cannot be above what was numbered later.
        let durable = self.durable();
        self.last().0.saturating_sub(durable.0)
    }

    /// How many entries are queued or on their way to the device.
    pub fn depth(&self) -> usize {
        let added = self.shared.state.lock().added;
        let under_way = added.saturating_sub(self.shared.settled.load(Ordering::Acquire));
        usize::try_from(under_way).expect("the depth is below the capacity")
    }

    /// Takes no more entries. What is queued is still written and delivered; then the writer ends.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Whether entries are handed back.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().closed
    }

    /// Waits until something is queued, if `patience` allows, and moves up to `wanted` entries to `backlog`; everything, in one
    /// step, if that is empty. With entries in the backlog it does not wait.
    pub(super) fn take(
        &self,
        backlog: &mut VecDeque<Entry<T>>,
        wanted: usize,
        gather: Option<Gather>,
        patience: Patience,
    ) -> Taken {
        let mut state = self.shared.state.lock();
        if backlog.is_empty() {
            while state.entries.is_empty() {
                if state.closed {
                    return Taken::End;
                }
                if patience == Patience::Looks {
                    return Taken::Nothing;
                }
                state.wake_at = 1;
                self.shared.changed.wait(&mut state);
            }
            if state.awaited == 0 && patience == Patience::Waits {
                let nobody = |state: &mut State<T>| {
                    !state.closed && state.awaited == 0 && state.entries.len() < wanted
                };
                (state.wake_at, state.idle_for_nobody) = (wanted, true);
                self.shared
                    .changed
                    .wait_while_for(&mut state, nobody, NOBODY_WAITS_MAX);
                state.idle_for_nobody = false;
            }
            if let (Some(Gather { entries, at_most }), Patience::Waits) = (gather, patience) {
                let more = |state: &mut State<T>| !state.closed && state.entries.len() < entries;
                state.wake_at = entries;
                self.shared.changed.wait_while_for(&mut state, more, at_most);
            }
            state.wake_at = usize::MAX;
            state.awaited = 0;
            std::mem::swap(&mut state.entries, backlog);
            return Taken::Entries;
        }
        let mut missing = wanted.saturating_sub(backlog.len()).min(state.entries.len());
        if let Some(last) = missing.checked_sub(1) {
            // What lies in one group is taken as a whole.
            missing += state.entries[last].together;
        }
        let taken = state.entries.range(..missing);
        let awaited = taken.filter(|entry| entry.awaited).count();
        state.awaited -= awaited;
        backlog.extend(state.entries.drain(..missing));
        Taken::Entries
    }

    /// Waits for `pause`, or until the queue is closed: `true` then.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let mut state = self.shared.state.lock();
        let closed = |state: &mut State<T>| !state.closed;
        self.shared.changed.wait_while_for(&mut state, closed, pause);
        state.closed
    }

    pub(super) fn advance_durable(&self, number: RecordNumber) {
        self.shared.durable.store(number.0, Ordering::Release);
    }

    /// The last record the observer has been told of.
    pub fn told(&self) -> RecordNumber {
        RecordNumber(self.shared.told.load(Ordering::Acquire))
    }

    /// Calls back once the observer has been told of everything that was numbered until now: at once if it has been,
    /// otherwise from the writer's thread. If the writer ends before, the call is dropped with what it owns. It takes no
    /// place in the queue: whoever waits without a permit cannot fill it.
    pub fn when_told(&self, call: impl FnOnce() + Send + 'static) {
        let last = self.last();
        let mut waiting = self.shared.waiting.lock();
        // Under the lock: `advance_told` looks here after it has moved the number.
        if self.told() < last {
            // Behind the writer's end nobody looks here any more.
            if !self.shared.ended.load(Ordering::Acquire) {
                waiting.entry(last).or_default().push(Box::new(call));
            }
            return;
        }
        drop(waiting);
        call();
    }

    pub(super) fn advance_told(&self, number: RecordNumber) {
        self.shared.told.store(number.0, Ordering::Release);
        let due = {
            let mut waiting = self.shared.waiting.lock();
            let later = waiting.split_off(&number.next());
            std::mem::replace(&mut *waiting, later)
        };
        due.into_values().flatten().for_each(|call| call());
    }

    /// The places of `count` entries are free again.
    pub(super) fn settle(&self, count: usize) {
        self.shared.settled.fetch_add(count as u64, Ordering::AcqRel);
    }

    /// The writer has ended: whoever waits to be called waits in vain.
    pub(super) fn end(&self) {
        self.abandon();
        let dropped = {
            let mut waiting = self.shared.waiting.lock();
            self.shared.ended.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        drop(dropped);
    }

    /// Closes the queue and drops what waits: nobody will write it. What the writer has taken already goes on.
    pub fn abandon(&self) {
        let dropped = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.awaited = 0;
            std::mem::take(&mut state.entries)
        };
        self.shared.changed.notify_all();
        self.settle(dropped.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::journal::{Anchor, Epoch};

    fn queue() -> JournalQueue<u32> {
        let tail = Tail {
            epoch: Epoch(1),
            last: Anchor::GENESIS.last,
            chain: Anchor::GENESIS.chain,
            logged_at_ms: 0,
            cut: None,
        };
        JournalQueue::new(&tail, JournalLimits::default())
    }

    fn taken(queue: &JournalQueue<u32>) -> Vec<u32> {
        let mut backlog = VecDeque::new();
        assert_eq!(
            queue.take(&mut backlog, 16, None, Patience::Waits),
            Taken::Entries
        );
        backlog.into_iter().map(|entry| entry.item).collect()
    }

    #[test]
    fn what_nobody_waits_for_goes_with_what_somebody_does_or_alone() {
        let queue = queue();
        queue.append(vec![0], 1, Waits::Nobody).unwrap();
        queue.append(vec![0], 2, Waits::Nobody).unwrap();
        queue.append(vec![0], 3, Waits::Somebody).unwrap();
        assert_eq!(taken(&queue), [1, 2, 3]);
        queue.append(vec![0], 4, Waits::Nobody).unwrap();
        assert_eq!(taken(&queue), [4], "it does not wait for ever");
        assert_eq!(queue.shared.state.lock().awaited, 0);
    }

    #[test]
    fn those_that_are_waited_for_are_counted_when_a_group_is_filled_up() {
        let queue = queue();
        queue.append(vec![0], 1, Waits::Somebody).unwrap();
        let mut backlog = VecDeque::new();
        assert_eq!(
            queue.take(&mut backlog, 16, None, Patience::Waits),
            Taken::Entries
        );
        queue.append(vec![0], 2, Waits::Nobody).unwrap();
        queue.append(vec![0], 3, Waits::Somebody).unwrap();
        assert_eq!(queue.take(&mut backlog, 2, None, Patience::Waits), Taken::Entries);
        assert_eq!((backlog.len(), queue.shared.state.lock().awaited), (2, 1));
        assert_eq!(
            queue.take(&mut backlog, 16, None, Patience::Waits),
            Taken::Entries
        );
        assert_eq!((backlog.len(), queue.shared.state.lock().awaited), (3, 0));
    }
}
