//! How fast a restart replays the log, how fast the follower turns it into rows, and how fast a restart is after that.
//! Not sampled: each phase is one long run and is told in records per second.
//!
//! ```text
//! cargo bench --bench recovery -- [records] [file|sled]
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a measurement prints its figures and stops when something fails"
)]
use holdfast::{
    domain::{
        ids::{CartId, CustomerId, ReservationId, StoreId, VariantId, VariantOrdinal},
        policy::{HoldLengths, Terms},
        time::Timestamp,
        variant::{Command, Confirm, Decision, Reserve, Settings, Shopper, Variant},
    },
    storage::{
        checkpoint::{CheckpointOptions, CheckpointParts, Checkpointer},
        data_dir::DataDir,
        dto,
        journal::{Anchor, Epoch, Journal, PartitionId, format::GroupBuilder},
        record::{Fact, KeyMark, Turn, VariantFact},
        recovery::{Backend, RecoverOptions, Recovered, recover},
        state::{StateOptions, StateStore},
        trim_holds::TrimHolds,
    },
};
use std::{path::Path, sync::Arc, time::Instant};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITION: PartitionId = PartitionId(0);
const VARIANTS: u32 = 1_000;
const RECORDS_PER_GROUP: u64 = 128;
const START_MS: i64 = 1_700_000_000_000;
const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: 900_000,
        extension_ms: 900_000,
        max_extensions: 3,
    },
    payment_ttl_ms: 2_100_000,
    max_ttl_ms: 86_400_000,
    units_per_customer: None,
    window_days: None,
};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let records = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let backend = match arguments.next().as_deref() {
        Some("file") => Backend::File,
        _ => Backend::Sled,
    };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("data");
    let payload_bytes = fill(&root, backend, records);
    println!("{records} records over {VARIANTS} variants, {payload_bytes} B each, journal in {backend:?}");
    let recovered = timed("restart, whole log to replay", records, || open(&root, backend));
    let live: u64 = recovered.projection.totals().live_holds;
    println!("  {live} live holds");
    let rss_before = rss_kib();
    checkpoint(recovered, records);
    println!("  resident before and after: {rss_before} and {} KiB", rss_kib());
    let recovered = timed("restart after the checkpoint, per live hold", live, || {
        open(&root, backend)
    });
    assert_eq!(
        (recovered.replayed, recovered.projection.totals().live_holds),
        (0, live)
    );
}

fn timed<T>(what: &str, units: u64, work: impl FnOnce() -> T) -> T {
    let (begin, cpu_begin) = (Instant::now(), cpu_seconds());
    let value = work();
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu_begin);
    println!(
        "{what}: {seconds:.2} s, {:.0}/s ({cpu:.2} s on the processor)",
        units as f64 / seconds
    );
    value
}

/// User and system time of the process; a machine with other work tells more by it than by the clock.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn open(root: &Path, backend: Backend) -> Recovered {
    let options = RecoverOptions {
        partition: PARTITION,
        backend,
        segment_bytes: 256 << 20,
        journal_cache_bytes: 16 << 20,
        state: StateOptions {
            cache_bytes: 64 << 20,
            compact_floor_bytes: 1 << 30,
        },
        keys_memory_max: 1_000_000,
        keys_ms: 24 * 60 * 60 * 1_000,
    };
    recover(
        &DataDir::open(root).unwrap(),
        &options,
        &options.journal(),
        &|_| {},
    )
    .unwrap()
}

fn checkpoint(recovered: Recovered, records: u64) {
    let state = Arc::clone(&recovered.state);
    let parts = CheckpointParts {
        state: Arc::clone(&state),
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
    let options = CheckpointOptions::default();
    let (checkpointer, thread) = Checkpointer::start(parts, options).unwrap();
    timed("checkpoint of everything", records, || {
        checkpointer.run_now().unwrap()
    });
    thread.stop();
    drop((checkpointer, recovered.journal, recovered.state));
    println!("  rows on disk: {} MiB", state.disk_bytes().unwrap() >> 20);
    close(state);
}

fn close(state: Arc<StateStore>) {
    let state = Arc::into_inner(state).expect("nobody else has the rows");
    state.close().unwrap();
}

/// Writes a log of holds, each under a key, of which a third is sold and a third is given back.
fn fill(root: &Path, backend: Backend, records: u64) -> u64 {
    let mut shop = Shop::new();
    let mut recovered = open(root, backend);
    let mut log = Log {
        tail: Anchor::GENESIS,
        journal: &mut *recovered.journal,
    };
    let mut bytes = 0;
    let mut payloads = Vec::new();
    for number in 1..=records {
        let payload = dto::encode_turn(&shop.turn(number));
        bytes += payload.len() as u64;
        payloads.push(payload);
        if number % RECORDS_PER_GROUP == 0 || number == records {
            log.append(&std::mem::take(&mut payloads));
        }
    }
    drop(recovered.journal);
    drop((recovered.keys, recovered.projection));
    close(recovered.state);
    bytes / records
}

struct Log<'a> {
    journal: &'a mut dyn Journal,
    tail: Anchor,
}

impl Log<'_> {
    fn append(&mut self, payloads: &[Vec<u8>]) {
        let mut builder = GroupBuilder::new(PARTITION, Epoch(1), &self.tail, 0);
        for payload in payloads {
            builder.push(payload);
        }
        let group = builder.finish(START_MS.max(self.tail.logged_at_ms)).unwrap();
        self.journal.append(PARTITION, self.tail.last, &group).unwrap();
        self.tail = Anchor::after(&group);
    }
}

struct Shop {
    variants: Vec<Variant>,
    open: Vec<ReservationId>,
    rng: fastrand::Rng,
}

impl Shop {
    fn new() -> Self {
        let variant = |ordinal| {
            let id = VariantId::parse(&format!("variant-{ordinal}")).unwrap();
            Variant::unborn(StoreId::parse("default").unwrap(), id, VariantOrdinal(ordinal))
        };
        Self {
            variants: (0..VARIANTS).map(variant).collect(),
            open: Vec::new(),
            rng: fastrand::Rng::with_seed(7),
        }
    }

    fn turn(&mut self, number: u64) -> Turn {
        let now = Timestamp::from_millis(START_MS + number as i64 / 100);
        let creates = number <= u64::from(VARIANTS);
        let (ordinal, command) = if creates {
            (number as u32 - 1, self.create())
        } else {
            self.business(number, now)
        };
        let variant = &mut self.variants[ordinal as usize];
        let Ok(Decision::Granted(events)) = variant.decide(&command, now) else {
            panic!("nothing here is refused")
        };
        for event in &events {
            variant.apply(event, now);
        }
        let head = variant.head();
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        Turn {
            at: now,
            fact: Fact::Variant(VariantFact {
                ordinal: head.ordinal,
                revision: head.revision,
                named: creates.then(|| (head.store.clone(), head.id.clone())),
                events,
                view: None,
            }),
            key: Some(KeyMark {
                hash,
                fingerprint: [1; 8],
            }),
        }
    }

    fn create(&self) -> Command {
        Command::Create {
            settings: Box::new(Settings::default()),
            on_hand: 1_000_000_000,
            by: "bench".to_owned(),
        }
    }

    fn business(&mut self, number: u64, now: Timestamp) -> (u32, Command) {
        if !self.open.is_empty() && self.rng.u32(0..5) >= 3 {
            let id = self.open.swap_remove(self.rng.usize(0..self.open.len()));
            let command = if self.rng.bool() {
                Command::Release { id }
            } else {
                Command::Confirm(Confirm {
                    id,
                    quantity: None,
                    order: None,
                })
            };
            return (id.variant().0, command);
        }
        let ordinal = self.rng.u32(0..VARIANTS);
        let slot = self.variants[ordinal as usize].head().slot();
        let id = ReservationId::new(now, slot, VariantOrdinal(ordinal), number as u32);
        self.open.push(id);
        let shopper = Shopper {
            customer: CustomerId::parse(&format!("customer-{}", self.rng.u32(0..1_000_000))).ok(),
            session: None,
            cart: CartId::parse(&format!("cart-{number}")).ok(),
        };
        let reserve = Reserve {
            id,
            quantity: 1,
            shopper,
            ttl_ms: None,
            allow_partial: false,
            for_order: None,
            terms: TERMS,
        };
        (ordinal, Command::Reserve(reserve))
    }
}
