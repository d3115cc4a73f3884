//! The queue and the writer: order, bounds, groups, and that nothing leaves before its sync.
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use holdfast::storage::journal::format::{FOOT_BYTES, GROUP_BYTES_MAX, HEAD_BYTES, RECORD_HEAD_BYTES};
use holdfast::storage::journal::queue::{JournalLimits, JournalQueue, RejectReason};
use holdfast::storage::journal::simulated::Operation;
use holdfast::storage::journal::verify::verify_log;
use holdfast::storage::journal::writer::{
    Delivered, GroupMeasure, JournalMetrics, JournalWriter, NoMetrics, WriterParts,
};
use holdfast::storage::journal::{
    AppendError, Group, Journal, LogReader, LogTrimmer, PartitionId, Position, RecordNumber, Tail, Waits,
};
use parking_lot::Mutex;

use super::{Home, PARTITION, RealFiles, SimulatedFiles};

const LIMITS: JournalLimits = JournalLimits {
    queue_capacity: 1_000,
    group_records: 64,
    group_bytes: 8 * 1024,
};

/// A writer over some journal, with everything it says to the outside.
struct Running {
    queue: JournalQueue<u64>,
    writer: JournalWriter,
    delivered: Receiver<Vec<Delivered<u64>>>,
    fatal: Receiver<AppendError>,
    reader: Arc<dyn LogReader>,
}

fn start(journal: Box<dyn Journal>, limits: JournalLimits) -> Running {
    start_with(journal, limits, Box::new(NoMetrics), Box::new(|| 1_000))
}

fn start_with(
    mut journal: Box<dyn Journal>,
    limits: JournalLimits,
    metrics: Box<dyn JournalMetrics>,
    clock: Box<dyn Fn() -> i64 + Send>,
) -> Running {
    let tail = journal.acquire(PARTITION).unwrap();
    let reader = journal.reader();
    let (deliver, delivered) = channel();
    let (die, fatal) = channel();
    let parts = WriterParts {
        observer: Box::new(move |items: Vec<Delivered<u64>>| deliver.send(items).unwrap()),
        metrics,
        clock,
        on_fatal: Box::new(move |error| die.send(error).unwrap()),
    };
    let (queue, writer) = JournalWriter::start(journal, PARTITION, &tail, limits, parts).unwrap();
    Running {
        queue,
        writer,
        delivered,
        fatal,
        reader,
    }
}

impl Running {
    /// Closes the queue, waits for the end and returns everything that was delivered and not yet looked at.
    fn finish(self) -> Vec<Delivered<u64>> {
        self.queue.close();
        self.writer.join();
        assert!(self.fatal.try_recv().is_err());
        self.delivered.into_iter().flatten().collect()
    }
}

/// A journal whose appends happen only when the test says so, each with the outcome it names.
struct Gate {
    inner: Box<dyn Journal>,
    arrived: Sender<Group>,
    outcome: Receiver<Result<(), AppendError>>,
}

impl Journal for Gate {
    fn acquire(&mut self, partition: PartitionId) -> Result<Tail, AppendError> {
        self.inner.acquire(partition)
    }

    fn append(
        &mut self,
        partition: PartitionId,
        expected: RecordNumber,
        group: &Group,
    ) -> Result<Position, AppendError> {
        self.arrived.send(group.clone()).unwrap();
        self.outcome.recv().unwrap()?;
        self.inner.append(partition, expected, group)
    }

    fn last_sync(&self) -> Duration {
        self.inner.last_sync()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.inner.reader()
    }

    fn trimmer(&self) -> Arc<dyn LogTrimmer> {
        self.inner.trimmer()
    }
}

struct Gated {
    running: Running,
    arrived: Receiver<Group>,
    outcome: Sender<Result<(), AppendError>>,
}

fn gated(limits: JournalLimits) -> Gated {
    let (arrived_in, arrived) = channel();
    let (outcome, outcome_out) = channel();
    let gate = Gate {
        inner: SimulatedFiles::new(1).open(),
        arrived: arrived_in,
        outcome: outcome_out,
    };
    Gated {
        running: start(Box::new(gate), limits),
        arrived,
        outcome,
    }
}

#[test]
fn records_and_repeats_are_delivered_in_the_order_of_the_queue() {
    let home = RealFiles::new();
    let running = start(home.open(), LIMITS);
    for item in 0..900 {
        if item % 3 == 0 {
            running.queue.repeat(item).unwrap();
        } else {
            let number = running.queue.append(vec![1; 20], item, Waits::Somebody).unwrap();
            assert_eq!(number.0, item - item / 3);
        }
    }
    let reader = Arc::clone(&running.reader);
    let queue = running.queue.clone();
    let delivered = running.finish();
    assert_eq!(
        delivered
            .iter()
            .map(|delivered| delivered.item)
            .collect::<Vec<_>>(),
        (0..900).collect::<Vec<_>>()
    );
    let numbers: Vec<u64> = delivered
        .iter()
        .filter_map(|delivered| Some(delivered.number?.0))
        .collect();
    assert_eq!(numbers, (1..=600).collect::<Vec<_>>());
    assert_eq!(
        (queue.durable(), queue.last(), queue.depth(), queue.unsynced()),
        (RecordNumber(600), RecordNumber(600), 0, 0)
    );
    assert_eq!(verify_log(&*reader, PARTITION).unwrap().last, RecordNumber(600));
}

#[test]
fn many_threads_get_dense_numbers_and_the_log_agrees_with_them() {
    let home = RealFiles::new();
    let limits = JournalLimits {
        queue_capacity: 10_000,
        group_records: 256,
        ..JournalLimits::default()
    };
    let running = start(home.open(), limits);
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let queue = running.queue.clone();
            std::thread::spawn(move || {
                let append = |index: u64| {
                    let item = thread * 10_000 + index;
                    (
                        queue
                            .append(item.to_le_bytes().to_vec(), item, Waits::Somebody)
                            .unwrap(),
                        item,
                    )
                };
                (0..2_000).map(append).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut given: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    given.sort_unstable();
    let reader = Arc::clone(&running.reader);
    let delivered: Vec<_> = running
        .finish()
        .into_iter()
        .map(|one| (one.number.unwrap(), one.item))
        .collect();
    assert_eq!(delivered, given);
    assert_eq!(delivered.last().unwrap().0, RecordNumber(8_000));
    for (number, item) in given.into_iter().step_by(97) {
        assert_eq!(
            reader.record(PARTITION, number).unwrap().unwrap().payload,
            item.to_le_bytes().as_slice()
        );
    }
}

#[test]
fn nothing_is_delivered_before_its_group_is_durable() {
    let Gated {
        running,
        arrived,
        outcome,
    } = gated(LIMITS);
    running
        .queue
        .append(b"first".to_vec(), 1, Waits::Somebody)
        .unwrap();
    let group = arrived.recv().unwrap();
    assert_eq!(group.count(), 1, "an idle writer takes the first at once");
    // These gather while the device is busy; the repeat may not overtake.
    running.queue.repeat(2).unwrap();
    running
        .queue
        .append(b"third".to_vec(), 3, Waits::Somebody)
        .unwrap();
    assert!(running.delivered.try_recv().is_err());
    assert_eq!(
        (
            running.queue.durable().0,
            running.queue.unsynced(),
            running.queue.depth()
        ),
        (0, 2, 3)
    );
    outcome.send(Ok(())).unwrap();
    assert_eq!(running.delivered.recv().unwrap()[0].item, 1);
    assert_eq!(arrived.recv().unwrap().count(), 1);
    assert!(running.delivered.try_recv().is_err());
    outcome.send(Ok(())).unwrap();
    let items: Vec<u64> = running
        .delivered
        .recv()
        .unwrap()
        .iter()
        .map(|delivered| delivered.item)
        .collect();
    assert_eq!(items, [2, 3]);
    // A repeat with nothing unsynced before it needs no group.
    running.queue.repeat(4).unwrap();
    assert_eq!(
        running.delivered.recv().unwrap()[0],
        Delivered {
            number: None,
            logged_at_ms: 1_000,
            item: 4
        }
    );
    assert!(arrived.try_recv().is_err());
    assert_eq!(running.finish(), []);
}

#[test]
fn groups_stay_within_their_bounds_at_the_edge() {
    let record = 100;
    let group_bytes = HEAD_BYTES + FOOT_BYTES + 4 * (RECORD_HEAD_BYTES + record);
    for (limit, expected) in [
        (
            JournalLimits {
                group_bytes,
                ..LIMITS
            },
            vec![1, 4, 4, 2],
        ),
        (
            JournalLimits {
                group_bytes: group_bytes - 1,
                ..LIMITS
            },
            vec![1, 3, 3, 3, 1],
        ),
        (
            JournalLimits {
                group_bytes: group_bytes + 1,
                ..LIMITS
            },
            vec![1, 4, 4, 2],
        ),
        (
            JournalLimits {
                group_records: 5,
                ..LIMITS
            },
            vec![1, 5, 5],
        ),
        (
            JournalLimits {
                group_records: 1,
                ..LIMITS
            },
            vec![1; 11],
        ),
    ] {
        let Gated {
            running,
            arrived,
            outcome,
        } = gated(limit);
        running.queue.append(vec![0; record], 0, Waits::Somebody).unwrap();
        let mut counts = vec![arrived.recv().unwrap().count()];
        for item in 1..11 {
            running
                .queue
                .append(vec![0; record], item, Waits::Somebody)
                .unwrap();
        }
        outcome.send(Ok(())).unwrap();
        while counts.iter().sum::<u32>() < 11 {
            let group = arrived.recv().unwrap();
            assert!(group.bytes().len() <= limit.group_bytes);
            counts.push(group.count());
            outcome.send(Ok(())).unwrap();
        }
        assert_eq!(counts, expected, "{limit:?}");
        assert_eq!(running.finish().len(), 11);
    }
}

/// So many entries of which records that were handed over together are one.
fn hand_over(queue: &JournalQueue<u64>, count: u64, item: &mut u64, record: usize) -> RecordNumber {
    let mut next = || {
        *item += 1;
        (vec![0; record], *item, Waits::Somebody)
    };
    if count == 1 {
        let (payload, item, waits) = next();
        return queue.append(payload, item, waits).unwrap();
    }
    let records = (0..count).map(|_| next());
    queue.append_together(records.collect()).unwrap()
}

#[test]
fn records_that_are_handed_over_together_lie_in_one_group() {
    let record = 100;
    let bytes = |records: usize| HEAD_BYTES + FOOT_BYTES + records * (RECORD_HEAD_BYTES + record);
    for (limit, handed_over, expected) in [
        // By bytes: what does not fit any more goes with the next one, as a whole.
        ((64, bytes(4)), vec![3, 2, 1, 4, 1], vec![1, 3, 3, 4, 1]),
        ((64, bytes(4) - 1), vec![3, 2, 1, 3, 1], vec![1, 3, 3, 3, 1]),
        // By entries: one more than usual is no reason to tear them apart.
        ((3, bytes(20)), vec![1, 4, 2, 2, 9], vec![1, 5, 4, 9]),
        ((1, bytes(20)), vec![1, 1, 3, 1], vec![1, 1, 1, 3, 1]),
    ] {
        let limit = JournalLimits {
            group_records: limit.0,
            group_bytes: limit.1,
            ..LIMITS
        };
        let Gated {
            running,
            arrived,
            outcome,
        } = gated(limit);
        let mut item = 0;
        hand_over(&running.queue, 1, &mut item, record);
        let mut counts = vec![arrived.recv().unwrap().count()];
        for count in &handed_over {
            let first = item + 1;
            let number = hand_over(&running.queue, *count, &mut item, record);
            assert_eq!(number.0, first, "the first of a row");
        }
        outcome.send(Ok(())).unwrap();
        while u64::from(counts.iter().sum::<u32>()) < item {
            let group = arrived.recv().unwrap();
            assert!(group.bytes().len() <= limit.group_bytes);
            counts.push(group.count());
            outcome.send(Ok(())).unwrap();
        }
        assert_eq!(counts, expected, "{limit:?}");
        let delivered = running.finish();
        let order: Vec<u64> = delivered.iter().map(|delivered| delivered.item).collect();
        assert_eq!(order, (1..=item).collect::<Vec<_>>());
    }
}

#[test]
fn records_that_no_group_can_hold_together_are_handed_back() {
    let running = start(SimulatedFiles::new(1).open(), LIMITS);
    let largest = LIMITS.payload_bytes_max();
    let two = |second: usize| {
        let records = [
            (vec![0; 10], 1, Waits::Nobody),
            (vec![0; second], 2, Waits::Somebody),
        ];
        running.queue.append_together(records.into())
    };
    let rejected = two(largest - 10 - RECORD_HEAD_BYTES + 1).unwrap_err();
    assert_eq!(
        (rejected.item, rejected.reason),
        (vec![1, 2], RejectReason::TooLarge)
    );
    let first = two(largest - 10 - RECORD_HEAD_BYTES).unwrap();
    assert_eq!(first, RecordNumber(1), "no number was used up");
    running.queue.close();
    let rejected = two(1).unwrap_err();
    assert_eq!(
        (rejected.item, rejected.reason),
        (vec![1, 2], RejectReason::Closed)
    );
    assert_eq!(running.finish().len(), 2);
}

#[test]
fn a_payload_that_no_group_can_hold_is_handed_back() {
    let running = start(
        SimulatedFiles::new(1).open(),
        JournalLimits {
            group_bytes: GROUP_BYTES_MAX,
            ..LIMITS
        },
    );
    let largest = JournalLimits {
        group_bytes: GROUP_BYTES_MAX,
        ..LIMITS
    }
    .payload_bytes_max();
    let rejected = running
        .queue
        .append(vec![0; largest + 1], 7, Waits::Somebody)
        .unwrap_err();
    assert_eq!((rejected.item, rejected.reason), (7, RejectReason::TooLarge));
    assert_eq!(
        running
            .queue
            .append(vec![0; largest], 8, Waits::Somebody)
            .unwrap(),
        RecordNumber(1),
        "no number was used up"
    );
    assert_eq!(running.finish().len(), 1);
}

#[test]
fn a_full_queue_is_a_bug_and_a_delivered_entry_makes_room() {
    let Gated {
        running,
        arrived,
        outcome,
    } = gated(JournalLimits {
        queue_capacity: 3,
        ..LIMITS
    });
    for item in 0..3 {
        running.queue.append(vec![0], item, Waits::Somebody).unwrap();
    }
    arrived.recv().unwrap();
    let queue = running.queue.clone();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        queue.append(vec![0], 3, Waits::Somebody)
    }));
    assert!(
        refused.is_err(),
        "three entries are under way and there are three places"
    );
    outcome.send(Ok(())).unwrap();
    let mut delivered = running.delivered.recv().unwrap().len();
    assert_eq!(
        running.queue.append(vec![0], 3, Waits::Somebody).unwrap(),
        RecordNumber(4),
        "a bug elsewhere does not spoil the numbers"
    );
    while delivered < 4 {
        arrived.recv().unwrap();
        outcome.send(Ok(())).unwrap();
        delivered += running.delivered.recv().unwrap().len();
    }
    assert_eq!(running.finish(), []);
}

#[test]
fn closing_writes_what_is_queued_and_hands_back_the_rest() {
    let home = SimulatedFiles::new(1);
    let running = start(home.open(), LIMITS);
    for item in 0..100 {
        running.queue.append(vec![0; 10], item, Waits::Somebody).unwrap();
    }
    let queue = running.queue.clone();
    assert_eq!(running.finish().len(), 100);
    assert!(queue.is_closed());
    assert_eq!(queue.append(vec![0], 5, Waits::Somebody).unwrap_err().item, 5);
    assert_eq!(queue.repeat(6).unwrap_err().reason, RejectReason::Closed);
    // And the next owner goes on behind them.
    let running = start(home.open(), LIMITS);
    assert_eq!(
        running.queue.append(vec![0], 0, Waits::Somebody).unwrap(),
        RecordNumber(101)
    );
    assert_eq!(running.finish().len(), 1);
}

#[test]
fn a_sync_error_is_fatal_and_nothing_of_it_is_delivered() {
    let home = SimulatedFiles::new(5);
    let running = start(home.open(), LIMITS);
    running
        .queue
        .append(b"good".to_vec(), 1, Waits::Somebody)
        .unwrap();
    assert_eq!(running.delivered.recv().unwrap().len(), 1);
    home.disk.set_plan(|operation, _| match operation {
        Operation::Sync => Err(io::Error::from_raw_os_error(5)),
        Operation::Write | Operation::Meta => Ok(()),
    });
    running
        .queue
        .append(b"lost".to_vec(), 2, Waits::Somebody)
        .unwrap();
    let error = running.fatal.recv().unwrap();
    assert!(matches!(error, AppendError::Fatal { .. }), "{error}");
    // The device is well again, but what it lost stays lost: nothing may be retried.
    home.disk.clear_plan();
    let Running {
        queue,
        writer,
        delivered,
        fatal,
        ..
    } = running;
    writer.join();
    assert_eq!(
        queue
            .append(b"later".to_vec(), 3, Waits::Somebody)
            .unwrap_err()
            .item,
        3
    );
    assert!(
        delivered.recv().is_err() && fatal.recv().is_err(),
        "nothing was delivered after the error"
    );
    assert_eq!(
        (queue.durable().0, queue.depth()),
        (1, 1),
        "the entry in doubt is never settled"
    );
}

#[test]
fn every_other_error_ends_the_writer_too() {
    let context = || "planned".to_owned();
    for error in [
        AppendError::Fenced {
            context: context(),
            source: None,
        },
        AppendError::Unknown {
            context: context(),
            source: None,
        },
        AppendError::Fatal {
            context: context(),
            source: None,
        },
    ] {
        let Gated {
            running,
            arrived,
            outcome,
        } = gated(LIMITS);
        running.queue.append(vec![0], 1, Waits::Somebody).unwrap();
        arrived.recv().unwrap();
        let text = error.to_string();
        outcome.send(Err(error)).unwrap();
        assert_eq!(running.fatal.recv().unwrap().to_string(), text);
        running.writer.join();
        assert!(running.delivered.recv().is_err());
    }
}

#[test]
fn an_unavailable_log_gets_the_same_group_again() {
    let Gated {
        running,
        arrived,
        outcome,
    } = gated(LIMITS);
    running.queue.append(vec![0], 1, Waits::Somebody).unwrap();
    let group = arrived.recv().unwrap();
    for _ in 0..2 {
        outcome
            .send(Err(AppendError::Unavailable {
                context: "planned".into(),
                source: None,
            }))
            .unwrap();
        assert_eq!(arrived.recv().unwrap(), group);
    }
    outcome.send(Ok(())).unwrap();
    assert_eq!(running.delivered.recv().unwrap()[0].number, Some(RecordNumber(1)));
    assert_eq!(running.finish(), []);
}

#[test]
fn logged_time_never_goes_back() {
    let home = SimulatedFiles::new(1);
    let run = |time: i64, item: u64| {
        let running = start_with(home.open(), LIMITS, Box::new(NoMetrics), Box::new(move || time));
        running.queue.append(vec![0], item, Waits::Somebody).unwrap();
        running.finish()[0].logged_at_ms
    };
    assert_eq!([run(500, 1), run(400, 2), run(600, 3)], [500, 500, 600]);
    let record = home
        .open()
        .reader()
        .record(PARTITION, RecordNumber(2))
        .unwrap()
        .unwrap();
    assert_eq!(record.logged_at_ms, 500);
}

/// Collects the measures of all groups.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<GroupMeasure>>>);

impl JournalMetrics for Collected {
    fn group(&self, measure: &GroupMeasure) {
        self.0.lock().push(*measure);
    }

    fn unsynced(&self, records: u64) {
        assert!(records <= LIMITS.queue_capacity as u64);
    }
}

#[test]
fn measurements_agree_with_the_log() {
    let collected = Collected::default();
    let home = RealFiles::new();
    let running = start_with(home.open(), LIMITS, Box::new(collected.clone()), Box::new(|| 0));
    for item in 0..500 {
        running.queue.append(vec![0; 50], item, Waits::Somebody).unwrap();
        running.queue.repeat(item).unwrap();
    }
    let verified = {
        let reader = Arc::clone(&running.reader);
        assert_eq!(running.finish().len(), 1_000);
        verify_log(&*reader, PARTITION).unwrap()
    };
    let measures = collected.0.lock();
    assert_eq!(measures.len() as u64, verified.groups);
    assert_eq!(
        measures.iter().map(|measure| measure.bytes as u64).sum::<u64>(),
        verified.bytes
    );
    assert_eq!(measures.iter().map(|measure| measure.records).sum::<u32>(), 500);
    assert!(
        measures
            .iter()
            .all(|measure| measure.append_seconds >= measure.sync_seconds && measure.sync_seconds > 0.0)
    );
}

#[test]
fn an_observer_that_panics_ends_the_writer_instead_of_hanging_everybody() {
    let mut journal = SimulatedFiles::new(1).open();
    let tail = journal.acquire(PARTITION).unwrap();
    let (die, fatal) = channel();
    let parts = WriterParts {
        observer: Box::new(|_: Vec<Delivered<u64>>| panic!("planned")),
        metrics: Box::new(NoMetrics),
        clock: Box::new(|| 0),
        on_fatal: Box::new(move |error| die.send(error).unwrap()),
    };
    let (queue, writer) = JournalWriter::start(journal, PARTITION, &tail, LIMITS, parts).unwrap();
    queue.append(vec![0], 1, Waits::Somebody).unwrap();
    assert!(fatal.recv().unwrap().to_string().contains("panicked"));
    writer.join();
    assert!(queue.append(vec![0], 2, Waits::Somebody).is_err());
}

#[test]
fn a_power_failure_under_the_writer_loses_nothing_that_was_delivered() {
    for seed in 0..100 {
        let home = SimulatedFiles::new(seed);
        let running = start(home.open(), LIMITS);
        let left = std::sync::atomic::AtomicU64::new(fastrand::Rng::with_seed(seed).u64(0..60));
        home.disk.set_plan(move |_, _| {
            use std::sync::atomic::Ordering::Relaxed;
            let cut = left
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_err();
            if cut {
                Err(io::Error::from_raw_os_error(5))
            } else {
                Ok(())
            }
        });
        // Until the writer hands back: one entry in flight per place, so that the queue is never full.
        let mut sent = 0_u64;
        let mut settled = 0_u64;
        let mut delivered = Vec::new();
        loop {
            while sent - settled < 100
                && running
                    .queue
                    .append(sent.to_le_bytes().repeat(9), sent, Waits::Somebody)
                    .is_ok()
            {
                sent += 1;
            }
            let Ok(items) = running.delivered.recv() else {
                break;
            };
            settled += items.len() as u64;
            delivered.extend(items);
        }
        let Running { writer, fatal, .. } = running;
        writer.join();
        assert!(
            matches!(fatal.recv(), Ok(AppendError::Fatal { .. })),
            "seed {seed}"
        );
        home.disk.crash();
        home.disk.clear_plan();
        home.disk.power_on();
        let journal = home.open();
        let found = super::read_all(&*journal, RecordNumber(1));
        assert!(
            found.len() >= delivered.len() && found.len() as u64 <= sent,
            "seed {seed}"
        );
        for (index, one) in delivered.iter().enumerate() {
            let number = one.number.unwrap().0;
            assert_eq!(
                (number, one.item),
                (index as u64 + 1, index as u64),
                "seed {seed}"
            );
            assert_eq!(
                found[index],
                (number, one.item.to_le_bytes().repeat(9)),
                "seed {seed}"
            );
        }
    }
}
