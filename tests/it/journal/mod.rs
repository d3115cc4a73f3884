//! The journal: one suite that every back end passes, what only files can show, the writer, and power failures.
mod archive;
mod crash;
mod files;
mod kill;
mod sled;
mod suite;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast::storage::journal::disk::RealDisk;
use holdfast::storage::journal::file::{FileJournal, FileOptions};
use holdfast::storage::journal::format::GroupBuilder;
use holdfast::storage::journal::simulated::SimulatedDisk;
use holdfast::storage::journal::sled_log::{SledJournal, SledOptions};
use holdfast::storage::journal::{Anchor, Epoch, Group, Journal, OpenError, PartitionId, RecordNumber, Tail};

const PARTITION: PartitionId = PartitionId(0);
const EPOCH: Epoch = Epoch(1);

/// Small segments, so that a few groups fill one.
fn options(start: Anchor) -> FileOptions {
    FileOptions {
        partition: PARTITION,
        epoch: EPOCH,
        segment_bytes: 16 * 1024,
        prepare_ahead: false,
        start,
        proven: RecordNumber::ZERO,
    }
}

/// A place where a log lives and can be opened again and again.
trait Home {
    fn open_at(&self, start: Anchor) -> Result<Box<dyn Journal>, OpenError>;

    fn open(&self) -> Box<dyn Journal> {
        self.open_at(Anchor::GENESIS).unwrap()
    }
}

struct RealFiles {
    dir: tempfile::TempDir,
}

impl RealFiles {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }
}

impl Home for RealFiles {
    fn open_at(&self, start: Anchor) -> Result<Box<dyn Journal>, OpenError> {
        let options = FileOptions {
            prepare_ahead: true,
            ..options(start)
        };
        Ok(Box::new(FileJournal::open(
            Arc::new(RealDisk),
            &self.path(),
            options,
        )?))
    }
}

struct SimulatedFiles {
    disk: SimulatedDisk,
}

impl SimulatedFiles {
    const DIR: &str = "/journal";

    fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::new(seed),
        }
    }
}

impl Home for SimulatedFiles {
    fn open_at(&self, start: Anchor) -> Result<Box<dyn Journal>, OpenError> {
        Ok(Box::new(FileJournal::open(
            Arc::new(self.disk.clone()),
            Path::new(Self::DIR),
            options(start),
        )?))
    }
}

/// Databases that are full after a few groups.
struct SledDatabases {
    dir: tempfile::TempDir,
}

impl SledDatabases {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }
}

impl Home for SledDatabases {
    fn open_at(&self, start: Anchor) -> Result<Box<dyn Journal>, OpenError> {
        let database_bytes = 64 * 1024;
        let options = SledOptions {
            partition: PARTITION,
            epoch: EPOCH,
            database_bytes,
            cache_bytes: 1024 * 1024,
            start,
            proven: RecordNumber::ZERO,
        };
        Ok(Box::new(SledJournal::open(&self.path(), options)?))
    }
}

/// An owner that keeps track of its tail and remembers every payload.
struct Owner {
    journal: Box<dyn Journal>,
    epoch: Epoch,
    tail: Anchor,
}

fn anchor(tail: &Tail) -> Anchor {
    Anchor {
        last: tail.last,
        chain: tail.chain,
        logged_at_ms: tail.logged_at_ms,
    }
}

impl Owner {
    fn of(mut journal: Box<dyn Journal>) -> Self {
        let tail = journal.acquire(PARTITION).unwrap();
        Self {
            journal,
            epoch: tail.epoch,
            tail: anchor(&tail),
        }
    }

    fn group(&self, payloads: &[Vec<u8>]) -> Group {
        let mut builder = GroupBuilder::new(PARTITION, self.epoch, &self.tail, 0);
        for payload in payloads {
            builder.push(payload);
        }
        builder.finish(self.tail.logged_at_ms.max(0) + 1).unwrap()
    }

    fn append(&mut self, payloads: &[Vec<u8>]) -> Group {
        let group = self.group(payloads);
        let position = self.journal.append(PARTITION, self.tail.last, &group).unwrap();
        assert_eq!((position.epoch, position.number), (self.epoch, group.last()));
        self.tail = Anchor::after(&group);
        group
    }
}

/// A payload that names its record, so that a swap is seen.
fn payload(number: u64, length: usize) -> Vec<u8> {
    let mut payload = format!("record {number} ").into_bytes();
    payload.resize(length.max(payload.len()), b'.');
    payload
}

/// `count` payloads for the records behind `tail`.
fn payloads(tail: &Anchor, count: u64, length: usize) -> Vec<Vec<u8>> {
    (1..=count)
        .map(|index| payload(tail.last.0 + index, length))
        .collect()
}

/// Every record of a log from `from` on, read in small steps.
fn read_all(journal: &dyn Journal, from: RecordNumber) -> Vec<(u64, Vec<u8>)> {
    let reader = journal.reader();
    let mut records = Vec::new();
    let mut next = from;
    loop {
        let groups = reader.read(PARTITION, next, 2_000).unwrap();
        let Some(last) = groups.last() else { return records };
        for group in &groups {
            records.extend(
                group
                    .records_from(next)
                    .map(|record| (record.number.0, record.payload.to_vec())),
            );
        }
        next = last.last().next();
    }
}
