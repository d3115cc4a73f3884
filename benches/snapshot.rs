//! How long a snapshot of a large house takes, for how long checkpoints wait for it, how large it is, and how long it takes to
//! become a house again. Not sampled: each phase is one long run.
//!
//! ```text
//! cargo bench --bench snapshot -- [variants] [holds] [directory that is kept]
//! ```
//! A kept directory can be served (`holdfast serve --data-dir DIR --set journal.backend=file`), so that `holdfast bench` tells what
//! a buyer notices while `holdfast snapshot create` runs beside it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a measurement prints its figures and stops when something fails"
)]
use holdfast::{
    domain::{
        ids::{CustomerId, ReservationId, StoreId, VariantId, VariantOrdinal},
        policy::{HoldLengths, Terms},
        time::Timestamp,
        variant::{Command, Decision, Reserve, Settings, Shopper, Variant},
    },
    storage::{
        checkpoint::{CheckpointOptions, CheckpointParts, Checkpointer},
        data_dir::DataDir,
        dto,
        journal::{Anchor, Epoch, Journal, PartitionId, format::GroupBuilder},
        record::{Fact, Turn, VariantFact},
        recovery::{Backend, CaptureAbout, CaptureTo, RecoverOptions, Recovered, capture, recover},
        restore::fill_empty,
        snapshot::SnapshotReader,
        state::StateOptions,
        trim_holds::TrimHolds,
    },
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Instant,
};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITION: PartitionId = PartitionId(0);
const RECORDS_PER_GROUP: usize = 512;
const START_MS: i64 = 1_900_000_000_000;
const OPTIONS: RecoverOptions = RecoverOptions {
    partition: PARTITION,
    backend: Backend::File,
    segment_bytes: 256 << 20,
    journal_cache_bytes: 16 << 20,
    state: StateOptions {
        cache_bytes: 64 << 20,
        compact_floor_bytes: 64 << 20,
    },
    keys_memory_max: 1_000_000,
    keys_ms: 24 * 60 * 60 * 1_000,
};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let mut count = |default: u32| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (variants, holds) = (count(1_000_000), count(1_000_000));
    let home = tempfile::tempdir().unwrap();
    let root = arguments.next().map_or(home.path().join("data"), PathBuf::from);
    let file = home.path().join("house.holdfast");
    println!("{variants} variants, {holds} live holds");
    timed("log written", || fill(&root, variants, holds));
    let recovered = timed("log replayed", || open(&root));
    take(recovered, &file);
    let other = home.path().join("other");
    timed("restored into an empty directory", || {
        let mut dir = DataDir::open(&other).unwrap();
        fill_empty(&mut dir, &OPTIONS, &OPTIONS.journal(), || {
            SnapshotReader::open(&file)
        })
        .unwrap();
    });
    let again = timed("opened again", || open(&other));
    assert_eq!(again.projection.totals().live_holds, u64::from(holds));
}

fn take(recovered: Recovered, file: &Path) {
    let parts = CheckpointParts {
        state: recovered.state,
        reader: recovered.journal.reader(),
        trimmer: recovered.journal.trimmer(),
        holds: TrimHolds::default(),
        archive: None,
        keys: recovered.keys,
        projection: recovered.projection,
        metrics: Box::new(|_: &_| {}),
        clock: Box::new(|| START_MS),
        disk_is_low: Box::new(|| false),
        on_fatal: Box::new(|error| panic!("{error:?}")),
    };
    let (checkpointer, thread) = Checkpointer::start(parts, CheckpointOptions::default()).unwrap();
    timed("checkpoint of everything", || checkpointer.run_now().unwrap());
    let about = CaptureAbout {
        written_by: "bench".to_owned(),
        created_at_ms: START_MS,
        source: "A measurement.".to_owned(),
    };
    let never = AtomicBool::new(false);
    let taken = timed("snapshot, read back and judged", || {
        capture(&checkpointer, Epoch(1), CaptureTo::File(file), &about, &never).unwrap()
    });
    println!(
        "  checkpoints waited {:.2} s; {} bytes; resident {} KiB",
        taken.held_seconds,
        taken.bytes,
        rss_kib()
    );
    thread.stop();
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let value = work();
    println!("{what}: {:.2} s", begin.elapsed().as_secs_f64());
    value
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn open(root: &Path) -> Recovered {
    recover(
        &DataDir::open(root).unwrap(),
        &OPTIONS,
        &OPTIONS.journal(),
        &|_| {},
    )
    .unwrap()
}

/// Writes a log of variants, each created and then held from in turn.
fn fill(root: &Path, variants: u32, holds: u32) {
    let mut recovered = open(root);
    let mut tail = Anchor::GENESIS;
    let mut payloads = Vec::new();
    let mut append = |payload: Vec<u8>, journal: &mut dyn Journal, last: bool| {
        payloads.push(payload);
        if payloads.len() < RECORDS_PER_GROUP && !last {
            return;
        }
        let mut builder = GroupBuilder::new(PARTITION, Epoch(1), &tail, 0);
        for payload in payloads.drain(..) {
            builder.push(&payload);
        }
        let group = builder.finish(START_MS).unwrap();
        journal.append(PARTITION, tail.last, &group).unwrap();
        tail = Anchor::after(&group);
    };
    for ordinal in 0..variants {
        let id = VariantId::parse(&format!("variant-{ordinal}")).unwrap();
        let mut variant = Variant::unborn(StoreId::parse("default").unwrap(), id, VariantOrdinal(ordinal));
        let create = Command::Create {
            settings: Box::new(Settings {
                name: Some(format!("Article number {ordinal}")),
                ..Settings::default()
            }),
            on_hand: 1_000,
            by: "bench".to_owned(),
        };
        append(said(&mut variant, &create, true), &mut *recovered.journal, false);
        let mine = holds / variants + u32::from(ordinal < holds % variants);
        for salt in 0..mine {
            let reserve = reserve(&variant, salt);
            append(
                said(&mut variant, &reserve, false),
                &mut *recovered.journal,
                false,
            );
        }
    }
    let id = VariantId::parse("the-last").unwrap();
    let mut last = Variant::unborn(StoreId::parse("default").unwrap(), id, VariantOrdinal(variants));
    let create = Command::Create {
        settings: Box::new(Settings::default()),
        on_hand: 1,
        by: "bench".to_owned(),
    };
    append(said(&mut last, &create, true), &mut *recovered.journal, true);
}

fn reserve(variant: &Variant, salt: u32) -> Command {
    let (head, now) = (variant.head(), Timestamp::from_millis(START_MS));
    let lengths = HoldLengths {
        ttl_ms: 86_400_000,
        extension_ms: 900_000,
        max_extensions: 3,
    };
    Command::Reserve(Reserve {
        id: ReservationId::new(now, head.slot(), head.ordinal, salt),
        quantity: 1,
        shopper: Shopper {
            customer: CustomerId::parse(&format!("customer-{}-{salt}", head.ordinal.0)).ok(),
            session: None,
            cart: None,
        },
        ttl_ms: None,
        allow_partial: false,
        for_order: None,
        terms: Terms {
            lengths,
            payment_ttl_ms: 2_100_000,
            max_ttl_ms: 86_400_000,
            units_per_customer: None,
            window_days: None,
        },
    })
}

/// The record of a command that is granted.
fn said(variant: &mut Variant, command: &Command, named: bool) -> Vec<u8> {
    let at = Timestamp::from_millis(START_MS);
    let Ok(Decision::Granted(events)) = variant.decide(command, at) else {
        panic!("nothing here is refused")
    };
    for event in &events {
        variant.apply(event, at);
    }
    let head = variant.head();
    dto::encode_turn(&Turn {
        at,
        fact: Fact::Variant(VariantFact {
            ordinal: head.ordinal,
            revision: head.revision,
            named: named.then(|| (head.store.clone(), head.id.clone())),
            events,
            view: None,
        }),
        key: None,
    })
}
