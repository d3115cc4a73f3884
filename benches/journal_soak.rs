//! Many records through queue, writer and back end, trimmed behind a follower as a checkpoint would: does the space stay
//! bounded, and how long does the next start take? `cargo bench --bench journal_soak [-- <records>]` (5 million by default).
//!
//! Expected before the first run: at least 300,000 records/s on sled and 500,000/s on files; at most 3 databases or segments
//! beside the kept records; reopening within a second.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "its table is what it is for")]
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use holdfast::storage::journal::disk::RealDisk;
use holdfast::storage::journal::file::{FileJournal, FileOptions};
use holdfast::storage::journal::queue::JournalLimits;
use holdfast::storage::journal::sled_log::{SledJournal, SledOptions};
use holdfast::storage::journal::writer::{
    Delivered, GroupMeasure, JournalMetrics, JournalWriter, WriterParts,
};
use holdfast::storage::journal::{Journal, PartitionId, RecordNumber, Waits};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITION: PartitionId = PartitionId(0);
const RECORD_BYTES: usize = 150;
const IN_FLIGHT: u64 = 4_096;
const KEPT_RECORDS: u64 = 300_000;
const STEP_RECORDS: u64 = 250_000;

fn main() {
    // Cargo adds `--bench` to what the caller gives.
    let records = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(5_000_000);
    let home = tempfile::tempdir_in(".").unwrap();
    println!("{records} records of {RECORD_BYTES} bytes, {IN_FLIGHT} in flight, {KEPT_RECORDS} kept");
    let file = |dir: &Path| {
        Box::new(FileJournal::open(Arc::new(RealDisk), dir, FileOptions::default()).unwrap())
            as Box<dyn Journal>
    };
    soak("file", &home.path().join("file"), records, &file);
    let sled =
        |dir: &Path| Box::new(SledJournal::open(dir, SledOptions::default()).unwrap()) as Box<dyn Journal>;
    soak("sled", &home.path().join("sled"), records, &sled);
}

fn soak(name: &str, dir: &Path, records: u64, open: &dyn Fn(&Path) -> Box<dyn Journal>) {
    let mut journal = open(dir);
    let tail = journal.acquire(PARTITION).unwrap();
    let (reader, trimmer) = (journal.reader(), journal.trimmer());
    let measures = Arc::new(Mutex::new(Vec::new()));
    let (deliver, delivered) = channel();
    let parts = WriterParts {
        observer: Box::new(move |items: Vec<Delivered<()>>| deliver.send(items.len() as u64).unwrap()),
        metrics: Box::new(Measures(Arc::clone(&measures))),
        clock: Box::new(|| 0),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    let (queue, writer) =
        JournalWriter::start(journal, PARTITION, &tail, JournalLimits::default(), parts).unwrap();
    let (ask, asked): (Sender<u64>, Receiver<u64>) = channel();
    let trimming = std::thread::spawn(move || {
        let mut largest = 0;
        for upto in asked {
            trimmer.trim(PARTITION, RecordNumber(upto)).unwrap();
            largest = largest.max(reader.size_bytes());
        }
        largest
    });
    let begin = Instant::now();
    let (mut answered, mut next_step) = (0, STEP_RECORDS);
    for sent in 0..records {
        if sent - answered >= IN_FLIGHT {
            answered += delivered.recv().unwrap();
        }
        queue.append(vec![7; RECORD_BYTES], (), Waits::Somebody).unwrap();
        if answered >= next_step {
            ask.send(answered.saturating_sub(KEPT_RECORDS)).unwrap();
            next_step += STEP_RECORDS;
        }
    }
    queue.close();
    writer.join();
    let seconds = begin.elapsed().as_secs_f64();
    drop(ask);
    let largest = trimming.join().unwrap();
    report(name, records, seconds, largest, &mut measures.lock().unwrap());

    let begin = Instant::now();
    let mut journal = open(dir);
    let tail = journal.acquire(PARTITION).unwrap();
    let first = journal.reader().first();
    assert_eq!(tail.last, RecordNumber(records));
    println!(
        "{name}: reopened and verified records {first}..={} in {:.3} s, {} MiB",
        tail.last,
        begin.elapsed().as_secs_f64(),
        journal.reader().size_bytes() >> 20
    );
}

fn report(name: &str, records: u64, seconds: f64, largest: u64, measures: &mut [GroupMeasure]) {
    measures.sort_by(|a, b| a.append_seconds.total_cmp(&b.append_seconds));
    let at = |hundredths: usize| {
        measures[(measures.len() * hundredths / 10_000).min(measures.len() - 1)].append_seconds * 1e3
    };
    println!(
        "{name}: {:.0} records/s, {} groups, append p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.1} ms, at most {} MiB on disk",
        records as f64 / seconds,
        measures.len(),
        at(5_000),
        at(9_900),
        at(9_990),
        at(10_000),
        largest >> 20
    );
}

struct Measures(Arc<Mutex<Vec<GroupMeasure>>>);

impl JournalMetrics for Measures {
    fn group(&self, measure: &GroupMeasure) {
        self.0.lock().unwrap().push(*measure);
    }

    fn unsynced(&self, _records: u64) {}
}
