//! Does the state directory stay bounded under endless change, and how long does it take to open?
//!
//! `cargo bench --bench state_growth -- [rows] [live] [compact_floor_mib]` writes `rows` row changes (20 million) in checkpoints
//! of 10,000 over `live` live holds (100,000): half of each checkpoint are random upserts and deletes of holds, the rest is what passes
//! through: ended holds with two indexes, and idempotency keys, each deleted by retention after 20 checkpoints.
#![allow(clippy::print_stdout, reason = "a report for the terminal")]
use std::path::Path;
use std::time::Instant;

use holdfast::storage::keys::{Fingerprint, KeyEntry, KeyHash};
use holdfast::storage::state::{Checkpoint, Family, RowChanges, StateOptions, StateStore};

const BATCH: u64 = 10_000;
const KEPT_CHECKPOINTS: u64 = 20;
const MIB: u64 = 1 << 20;

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let rows = numbers.first().copied().unwrap_or(20_000_000);
    let live = numbers.get(1).copied().unwrap_or(100_000);
    let floor_mib = numbers.get(2).copied().unwrap_or(256);
    let options = StateOptions {
        cache_bytes: 64 * MIB,
        key_block_span_ms: 2,
        compact_floor_bytes: floor_mib * MIB,
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    let store = StateStore::open(home.path(), options).expect("an empty directory opens");
    run(&store, rows, live);
    store.close().expect("nothing reads any more");
    reopen(home.path(), options);
}

fn run(store: &StateStore, rows: u64, live: u64) {
    let mut rng = fastrand::Rng::with_seed(1);
    let began = Instant::now();
    let (mut largest, mut copies, mut slowest_apply, mut slowest_copy) = (0, 0, 0.0f64, 0.0f64);
    let checkpoints = rows / BATCH;
    for number in 1..=checkpoints {
        let changes = changes_of(number, live, &mut rng);
        let checkpoint = Checkpoint {
            number,
            epoch: 1,
            chain: [0; 32],
            logged_at_ms: number,
        };
        let before = Instant::now();
        store.apply(changes, checkpoint).expect("the disk takes it");
        slowest_apply = slowest_apply.max(before.elapsed().as_secs_f64());
        let kept_from = number.saturating_sub(KEPT_CHECKPOINTS);
        while store
            .sweep(kept_from, kept_from, 10_000)
            .expect("the disk takes it")
            .more
        {}
        let before = Instant::now();
        if store.compact_if_grown().expect("the disk takes it") {
            copies += 1;
            slowest_copy = slowest_copy.max(before.elapsed().as_secs_f64());
        }
        let bytes = store.disk_bytes().expect("the directory is readable");
        largest = largest.max(bytes);
        if number % (checkpoints / 20).max(1) == 0 {
            println!(
                "{:>9} rows {:>6.1} s  now {:>5} MiB  largest {:>5} MiB  copies {copies} (slowest {slowest_copy:.2} s)  slowest checkpoint {:>6.1} ms",
                number * BATCH,
                began.elapsed().as_secs_f64(),
                bytes / MIB,
                largest / MIB,
                slowest_apply * 1e3,
            );
            slowest_apply = 0.0;
        }
    }
}

/// Half random holds; of the other half, four rows for each ended hold and one for its key.
fn changes_of(number: u64, live: u64, rng: &mut fastrand::Rng) -> RowChanges {
    let mut changes = RowChanges::default();
    for _ in 0..BATCH / 2 {
        let hold = rng.u64(0..live * 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let key = [&1u32.to_be_bytes()[..], &u128::from(hold).to_be_bytes()].concat();
        if rng.bool() {
            changes.put(Family::Hold, key, [7; 200]);
        } else {
            changes.delete(Family::Hold, key);
        }
    }
    for _ in 0..BATCH / 10 {
        let id = rng.u128(..);
        changes.put_ended(
            id.to_be_bytes(),
            number,
            &[9; 160],
            &[(1, rng.u64(0..1000)), (2, rng.u64(0..100))],
        );
        let entry = KeyEntry {
            fingerprint: Fingerprint([1; 8]),
            number,
        };
        changes.put_key(KeyHash(rng.u128(..).to_le_bytes()), entry, &[5; 180], number);
    }
    changes
}

fn reopen(dir: &Path, options: StateOptions) {
    let before = Instant::now();
    let store = StateStore::open(dir, options).expect("the store opens again");
    println!(
        "opened again in {:.2} s with {} keys",
        before.elapsed().as_secs_f64(),
        store.keys_len()
    );
    let before = Instant::now();
    let holds = store
        .scan(Family::Hold, &[], None, usize::MAX)
        .filter(Result::is_ok)
        .count();
    println!(
        "{holds} live holds read in {:.2} s",
        before.elapsed().as_secs_f64()
    );
}
