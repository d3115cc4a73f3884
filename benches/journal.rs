//! Appends per second of each back end, one device sync per group: `cargo bench --bench journal`.
//!
//! Expected before the first run, on two cores with an `fdatasync` of 0.2 ms (96-byte records): files 4,900/s, 68,000/s, 400,000/s
//! and 1,900,000/s at 1, 16, 128 and 1,024 records a group; sled 3,900/s, 57,000/s, 250,000/s and 1,000,000/s. The log is
//! trimmed as it grows, so the figures include rolling over.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdfast::storage::journal::disk::RealDisk;
use holdfast::storage::journal::file::{FileJournal, FileOptions};
use holdfast::storage::journal::format::GroupBuilder;
use holdfast::storage::journal::sled_log::{SledJournal, SledOptions};
use holdfast::storage::journal::{Anchor, Epoch, Journal, PartitionId, RecordNumber};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITION: PartitionId = PartitionId(0);
const RECORD_BYTES: usize = 96;
const KEPT_RECORDS: u64 = 100_000;

struct Owner {
    journal: Box<dyn Journal>,
    tail: Anchor,
}

impl Owner {
    fn append(&mut self, count: u32) {
        let mut group = GroupBuilder::new(PARTITION, Epoch(1), &self.tail, count as usize * 128 + 256);
        for _ in 0..count {
            group.push(&[7; RECORD_BYTES]);
        }
        let group = group.finish(0).unwrap();
        self.journal.append(PARTITION, self.tail.last, &group).unwrap();
        self.tail = Anchor::after(&group);
        if self.tail.last.0 % KEPT_RECORDS < u64::from(count) {
            let upto = RecordNumber(self.tail.last.0.saturating_sub(KEPT_RECORDS));
            self.journal.trim(PARTITION, upto).unwrap();
        }
    }
}

fn appends(criterion: &mut Criterion) {
    let home = tempfile::tempdir_in(".").unwrap();
    let files = FileJournal::open(
        Arc::new(RealDisk),
        &home.path().join("files"),
        FileOptions::default(),
    )
    .unwrap();
    let sled = SledJournal::open(&home.path().join("sled"), SledOptions::default()).unwrap();
    let journals: [(&str, Box<dyn Journal>); 2] = [("file", Box::new(files)), ("sled", Box::new(sled))];
    let mut group = criterion.benchmark_group("journal_append");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    for (name, journal) in journals {
        let mut owner = Owner {
            journal,
            tail: Anchor {
                logged_at_ms: 0,
                ..Anchor::GENESIS
            },
        };
        for records in [1_u32, 16, 128, 1_024] {
            group.throughput(Throughput::Elements(u64::from(records)));
            group.bench_function(BenchmarkId::new(name, records), |bencher| {
                bencher.iter(|| owner.append(records))
            });
        }
    }
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
