//! How fast does the state directory take checkpoints, does it stay bounded under endless change, and how long does it take to open?
//!
//! `cargo bench --bench state_growth -- [checkpoints] [keys] [holds] [compact_floor_mib]` writes `checkpoints` (100) of `keys`
//! keys (100,000) with payloads of 150 bytes, half as many ended holds with rows of 160 bytes and three lists each, and `holds` random
//! upserts and deletes of live holds (0). Keys and ended holds leave by retention after 20 checkpoints.
#![allow(clippy::print_stdout, reason = "a report for the terminal")]
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast::storage::keys::{Fingerprint, KeyEntry, KeyHash};
use holdfast::storage::state::{Checkpoint, Compaction, Family, RowChanges, StateOptions, StateStore};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEPT_CHECKPOINTS: u64 = 20;
const CHECKPOINT_MS: u64 = 1000;
const LIVE: u64 = 100_000;
const MIB: u64 = 1 << 20;

/// What is written.
struct Load {
    checkpoints: u64,
    keys: u64,
    holds: u64,
}

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let load = Load {
        checkpoints: number(0, 100),
        keys: number(1, 100_000),
        holds: number(2, 0),
    };
    let options = StateOptions {
        cache_bytes: 64 * MIB,
        compact_floor_bytes: number(3, 256) * MIB,
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    let store = StateStore::open(home.path(), options).expect("an empty directory opens");
    let last = run(&store, &load);
    store.compact().expect("the disk takes it");
    println!(
        "freshly copied {} MiB",
        store.disk_bytes().expect("the directory is readable") / MIB
    );
    store.close().expect("nothing reads any more");
    reopen(home.path(), options, &last);
}

/// Writes the load; tells a key of the last checkpoint.
fn run(store: &StateStore, load: &Load) -> KeyHash {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut largest = 0;
    let (mut spent, mut slowest, mut cpu) = (Duration::ZERO, Duration::ZERO, 0.0);
    let (mut longest_turn, mut copies) = (Duration::ZERO, 0);
    let mut last = KeyHash([0; 16]);
    let step = (load.checkpoints / 20).max(1);
    for number in 1..=load.checkpoints {
        let (changes, key) = changes_of(number, load, &mut rng);
        last = key;
        let checkpoint = Checkpoint {
            number: number * load.keys,
            epoch: 1,
            chain: [0; 32],
            logged_at_ms: number * CHECKPOINT_MS,
        };
        let (before, cpu_before) = (Instant::now(), cpu_seconds());
        store.apply(changes, checkpoint).expect("the disk takes it");
        let from_ms = number.saturating_sub(KEPT_CHECKPOINTS) * CHECKPOINT_MS;
        while store
            .sweep(from_ms, from_ms, 10_000)
            .expect("the disk takes it")
            .more
        {}
        spent += before.elapsed();
        cpu += cpu_seconds() - cpu_before;
        slowest = slowest.max(before.elapsed());
        let before = Instant::now();
        match store.compact_if_grown(true).expect("the disk takes it") {
            Compaction::Idle => {}
            Compaction::UnderWay => longest_turn = longest_turn.max(before.elapsed()),
            Compaction::Done => {
                copies += 1;
                longest_turn = longest_turn.max(before.elapsed());
            }
        }
        let bytes = store.disk_bytes().expect("the directory is readable");
        largest = largest.max(bytes);
        if number % step == 0 {
            let items = (load.keys + load.keys / 2 + load.holds) * step;
            println!(
                "{number:>5} checkpoints  {:>8.0} keys, ended and live holds/s, {:>8.0} a processor second  slowest {:>5.0} ms  now {:>5} MiB  largest {:>5} MiB  keys {:>9} x {:>5.1} bytes  memory {:>6} KiB  copies {copies}, longest turn {:.0} ms",
                items as f64 / spent.as_secs_f64(),
                items as f64 / cpu,
                slowest.as_secs_f64() * 1e3,
                bytes / MIB,
                largest / MIB,
                store.keys_len(),
                store.keys_bytes() as f64 / store.keys_len().max(1) as f64,
                store.runs_memory_bytes() / 1024,
                longest_turn.as_secs_f64() * 1e3,
            );
            (spent, slowest, cpu) = (Duration::ZERO, Duration::ZERO, 0.0);
        }
    }
    last
}

/// The processor time of this process on all its threads: what a busy machine cannot distort much.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let (_, behind_name) = stat.rsplit_once(')').expect("the name is in brackets");
    let fields = behind_name.split_whitespace().skip(11).take(2); // utime, stime
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// The changes of a checkpoint and one of its keys.
fn changes_of(number: u64, load: &Load, rng: &mut fastrand::Rng) -> (RowChanges, KeyHash) {
    let mut changes = RowChanges::default();
    let now_ms = number * CHECKPOINT_MS;
    for _ in 0..load.holds {
        let hold = rng.u64(0..LIVE * 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let key = [&1u32.to_be_bytes()[..], &u128::from(hold).to_be_bytes()].concat();
        if rng.bool() {
            changes.put(Family::Hold, key, [7; 200]);
        } else {
            changes.delete(Family::Hold, key);
        }
    }
    let mut last = KeyHash([0; 16]);
    for at in 0..load.keys {
        last = KeyHash(rng.u128(..).to_le_bytes());
        let entry = KeyEntry {
            fingerprint: Fingerprint(rng.u64(..).to_le_bytes()),
            number: (number - 1) * load.keys + at + 1,
        };
        changes.put_key(last, entry, &[5; 150], now_ms + at * CHECKPOINT_MS / load.keys);
    }
    for at in 0..load.keys / 2 {
        // Like a UUIDv7: the time, the ordinal of the variant, 30 random bits.
        let id = u128::from(now_ms) << 80 | 7 << 30 | u128::from(rng.u32(..) >> 2);
        let lists = [(1, 1), (2, rng.u64(0..100_000)), (3, rng.u64(0..100))];
        let ended_at_ms = now_ms + at * CHECKPOINT_MS / load.keys;
        changes.put_ended(id.to_be_bytes(), ended_at_ms, &[9; 160], &lists);
    }
    (changes, last)
}

fn reopen(dir: &Path, options: StateOptions, key: &KeyHash) {
    let before = Instant::now();
    let store = StateStore::open(dir, options).expect("the store opens again");
    println!(
        "opened again in {:.2} s with {} keys",
        before.elapsed().as_secs_f64(),
        store.keys_len()
    );
    assert!(store.key(key).expect("it can be read").is_some());
    const ASKED: u32 = 100_000;
    let mut rng = fastrand::Rng::with_seed(2);
    let before = Instant::now();
    for _ in 0..ASKED {
        let fresh = KeyHash(rng.u128(..).to_le_bytes());
        assert!(store.key(&fresh).expect("it can be read").is_none());
    }
    println!(
        "{:.2} us to miss a key",
        before.elapsed().as_secs_f64() * 1e6 / f64::from(ASKED)
    );
    let before = Instant::now();
    for _ in 0..100 {
        store
            .ended_ids(2, rng.u64(0..100_000), None, 50)
            .expect("it can be read");
    }
    println!(
        "{:.0} us to read a page of a list",
        before.elapsed().as_secs_f64() * 1e6 / 100.0
    );
}
