//! The promises of runs, through the store: a naive model beside it, crashes between the steps, damage, memory.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::merge::FAN_IN;
use super::*;
use crate::storage::data_dir::replace_file;
use crate::storage::keys::{Fingerprint, KeyEntry, KeyHash};
use crate::storage::state::changes::Redo;
use crate::storage::state::{Checkpoint, REDO, StateOptions, StateStore};

const OPTIONS: StateOptions = StateOptions {
    cache_bytes: 1 << 20,
    compact_floor_bytes: 1 << 40,
};

fn open(home: &tempfile::TempDir) -> StateStore {
    StateStore::open(home.path(), OPTIONS).unwrap()
}

fn at(number: u64, logged_at_ms: u64) -> Checkpoint {
    Checkpoint {
        number,
        epoch: 1,
        chain: [1; 32],
        logged_at_ms,
    }
}

fn id(number: u64) -> [u8; 16] {
    u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes()
}

fn row(number: u64) -> Vec<u8> {
    number
        .to_le_bytes()
        .repeat(1 + usize::try_from(number % 9).unwrap())
}

/// The lists of a hold that ended at this time; an id that ends again changes them.
fn lists(number: u64, at_ms: u64) -> [(u8, u64); 2] {
    [(b'c', number % 3), (b's', (number + at_ms) % 2)]
}

/// Keys are hash -> (time, number); ended holds are id -> (time, number of the row, lists).
#[derive(Debug, Default)]
struct Model {
    keys: BTreeMap<u64, (u64, u64)>,
    ended: BTreeMap<u64, (u64, u64)>,
    keys_from_ms: u64,
    ended_from_ms: u64,
    number: u64,
    now_ms: u64,
}

#[derive(Debug, Clone)]
enum Step {
    /// Keys and ended holds of one checkpoint, with those that live again.
    Checkpoint {
        keys: u8,
        ended: Vec<u8>,
        revived: Vec<u8>,
    },
    Sweep {
        keys_kept: u8,
        ended_kept: u8,
    },
    Reopen,
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = |most| proptest::collection::vec(0..60u8, 0..most);
    let step = prop_oneof![
        12 => (0..40u8, ids(30), ids(6))
            .prop_map(|(keys, ended, revived)| Step::Checkpoint { keys, ended, revived }),
        2 => (0..60u8, 0..60u8).prop_map(|(keys_kept, ended_kept)| Step::Sweep { keys_kept, ended_kept }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Copy),
    ];
    proptest::collection::vec(step, 1..60)
}

impl Model {
    fn checkpoint(&mut self, store: &StateStore, keys: u8, ended: &[u8], revived: &[u8]) {
        let mut changes = RowChanges::default();
        for _ in 0..keys {
            self.number += 1;
            let key = self.number * 7 % 500; // after 500 keys the newest of a hash counts
            changes.put_key(hash(key), entry(self.number), &row(self.number), self.now_ms);
            self.keys.insert(key, (self.now_ms, self.number));
        }
        let revive = |changes: &mut RowChanges, model: &mut Model, number: u64| {
            changes.revive(id(number));
            model.ended.remove(&number);
        };
        for number in ended {
            let number = u64::from(*number);
            revive(&mut changes, self, number);
            self.number += 1;
            let lists = lists(number, self.now_ms);
            changes.put_ended(id(number), self.now_ms, &row(self.number), &lists);
            self.ended.insert(number, (self.now_ms, self.number));
        }
        for number in revived {
            revive(&mut changes, self, u64::from(*number));
        }
        self.number += 1;
        store.apply(changes, at(self.number, self.now_ms)).unwrap();
        self.now_ms += 5;
    }

    fn check(&self, store: &StateStore) {
        for key in 0..500 {
            let known = self.keys.get(&key).filter(|(at, _)| *at >= self.keys_from_ms);
            let expected = known.map(|(_, number)| (entry(*number), row(*number)));
            assert_eq!(store.key(&hash(key)).unwrap(), expected, "key {key}");
        }
        let live = |number: &u64| {
            let ended = self.ended.get(number);
            ended.copied().filter(|(at, _)| *at >= self.ended_from_ms)
        };
        for number in 0..60 {
            let expected = live(&number).map(|(at, written)| (at, row(written)));
            assert_eq!(store.ended(&id(number)).unwrap(), expected, "hold {number}");
        }
        for list in [(b'c', 0), (b'c', 1), (b'c', 2), (b's', 0), (b's', 1), (b's', 2)] {
            let in_list =
                |number: &u64| live(number).is_some_and(|(at, _)| lists(*number, at).contains(&list));
            let mut expected: Vec<[u8; 16]> = (0..60).filter(in_list).map(id).collect();
            expected.sort_unstable();
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = store.ended_ids(list.0, list.1, after, 3).unwrap();
                paged.extend_from_slice(&page);
                after = page.last().copied();
                if page.len() < 3 {
                    break;
                }
            }
            assert_eq!(paged, expected, "list {list:?}");
            for number in 0..60 {
                let listed = store.is_ended_listed(list.0, list.1, &id(number)).unwrap();
                assert_eq!(listed, in_list(&number), "hold {number} in {list:?}");
            }
        }
    }
}

fn hash(number: u64) -> KeyHash {
    KeyHash::of("default", "shop", &number.to_string())
}

fn entry(number: u64) -> KeyEntry {
    KeyEntry {
        fingerprint: Fingerprint(number.to_le_bytes()),
        number,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_agrees_with_a_naive_model(steps in steps()) {
        let home = tempfile::tempdir().unwrap();
        let (mut store, mut model) = (open(&home), Model::default());
        for step in steps {
            match step {
                Step::Checkpoint { keys, ended, revived } => model.checkpoint(&store, keys, &ended, &revived),
                Step::Sweep { keys_kept, ended_kept } => {
                    let (keys, ended) = (u64::from(keys_kept) * 5, u64::from(ended_kept) * 5);
                    model.keys_from_ms = model.keys_from_ms.max(model.now_ms.saturating_sub(keys));
                    model.ended_from_ms = model.ended_from_ms.max(model.now_ms.saturating_sub(ended));
                    while store.sweep(model.keys_from_ms, model.ended_from_ms, 3).unwrap().more {}
                }
                Step::Reopen => {
                    // A bound that nothing was deleted for may be forgotten; the follower sweeps again.
                    store.close().unwrap();
                    store = open(&home);
                    store.sweep(model.keys_from_ms, model.ended_from_ms, 3).unwrap();
                }
                Step::Copy => store.compact().unwrap(),
            }
        }
        model.check(&store);
    }
}

/// The store with 200 checkpoints, so that merges of two tiers have been.
fn filled(store: &StateStore, checkpoints: u64) -> Model {
    let mut model = Model::default();
    for number in 0..checkpoints {
        let ended = [0, 1, 2].map(|more| u8::try_from((number * 3 + more) % 60).unwrap());
        model.checkpoint(store, 5, &ended, &[ended[0].wrapping_add(30) % 60]);
    }
    model
}

#[test]
fn runs_stay_few_and_the_newest_wins_over_all_tiers() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let model = filled(&store, 200);
    model.check(&store);
    let lists = store.runs.lists();
    for kind in Kind::ALL {
        let runs = lists.of(kind);
        assert!(runs.len() <= 3 * FAN_IN, "{kind:?}: {}", runs.len());
        assert!(runs.iter().any(|run| run.about.tier == 2), "{kind:?}");
        assert!(runs.is_sorted_by(|one, other| one.about.upto > other.about.upto));
        assert!(runs.is_sorted_by_key(|run| run.about.tier));
    }
}

#[test]
fn after_everything_expired_nothing_is_left() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let mut model = filled(&store, 100);
    model.keys_from_ms = model.now_ms;
    model.ended_from_ms = model.now_ms;
    while store.sweep(model.now_ms, model.now_ms, 4).unwrap().more {}
    model.check(&store);
    store.close().unwrap();
    let store = open(&home);
    for family in [
        Family::Key,
        Family::Ended,
        Family::EndedIndex,
        Family::KeyPayload,
        Family::EndedRow,
    ] {
        assert_eq!(store.scan(family, &[], None, 9).count(), 0, "{family:?}");
    }
    assert_eq!((store.keys_len(), store.keys_bytes()), (0, 0));
}

#[test]
fn merges_leave_out_what_is_past_and_rewrite_a_run_that_half_is() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let mut model = filled(&store, 66);
    let keys_before = store.keys_len();
    model.keys_from_ms = model.now_ms * 9 / 10;
    while store.sweep(model.keys_from_ms, 0, 100).unwrap().more {}
    for _ in 0..4 {
        model.checkpoint(&store, 1, &[], &[]);
    }
    assert!(store.keys_len() < keys_before / 5, "{}", store.keys_len());
    model.check(&store);
}

/// What a change leaves when the process dies: `redo` says whether its redo was complete.
fn crash_in_change(store: StateStore, home: &tempfile::TempDir, model: &mut Model, redo: bool) -> StateStore {
    let mut changes = RowChanges::default();
    let number = model.number + 1;
    changes.put_key(hash(1), entry(number), &row(number), model.now_ms);
    changes.revive(id(1));
    changes.revive(id(2));
    changes.put_ended(id(2), model.now_ms, &row(number), &lists(2, model.now_ms));
    {
        let mut writing = store.writing.lock();
        let change = writing.mark.change + 1;
        let trees = store.trees();
        let prepared = store
            .runs
            .prepare(&trees, &mut writing.runs, &changes, change, model.now_ms)
            .unwrap();
        store.generation().engine.sync().unwrap();
        if redo {
            let redo = Redo {
                change,
                checkpoint: Some(at(number, model.now_ms)),
                rows: prepared.rows,
            };
            replace_file(home.path(), REDO, &redo.to_bytes()).unwrap();
        }
    }
    if redo {
        model.number = number;
        model.keys.insert(1, (model.now_ms, number));
        model.ended.remove(&1);
        model.ended.insert(2, (model.now_ms, number));
    }
    store.close().unwrap();
    open(home)
}

#[test]
fn a_crash_at_each_step_of_changes_and_merges_shows_the_change_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let mut store = open(&home);
    let mut model = Model::default();
    // Merges begin, go on and end in these rounds: of the first tier every 8th, of the second every 64th.
    for round in 0..80u64 {
        let ended = [1, 2, u8::try_from(round % 60).unwrap()];
        model.checkpoint(&store, 3, &ended[..2 + usize::from(round % 60 > 2)], &[]);
        if round % 8 >= 6 || round > 60 {
            for redo in [false, true] {
                store = crash_in_change(store, &home, &mut model, redo);
                model.check(&store);
            }
        }
    }
    assert_no_orphans(&store);
}

/// Every page belongs to a run, but for those of merges under way and runs just deleted.
fn assert_no_orphans(store: &StateStore) {
    let lists = store.runs.lists();
    let pages: u64 = Kind::ALL
        .iter()
        .map(|kind| lists.sum(*kind, |run| run.page_keys().count() as u64))
        .sum();
    let without_filter = lists.of(Kind::Index).len() as u64;
    let stored: usize = Kind::ALL
        .iter()
        .map(|kind| store.scan(kind.family(), &[], None, usize::MAX).count())
        .sum();
    assert_eq!(stored as u64, pages - without_filter);
}

#[test]
fn pages_of_a_merge_cut_short_and_of_deleted_runs_go_at_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let mut model = Model::default();
    for _ in 0..9 {
        // More than one round takes: 8 x 3000 > 4096.
        let mut changes = RowChanges::default();
        for _ in 0..3000 {
            model.number += 1;
            changes.put_key(hash(model.number), entry(model.number), b"", 1);
        }
        store.apply(changes, at(model.number, 1)).unwrap();
    }
    assert_eq!(
        store.writing.lock().runs.merges.len(),
        1,
        "it is not done in one round"
    );
    let pages = |store: &StateStore| store.scan(Family::Key, &[], None, usize::MAX).count();
    let before = pages(&store);
    store.close().unwrap();
    let store = open(&home);
    assert!(pages(&store) < before);
    assert_no_orphans(&store);
    for number in 1..=model.number {
        assert_eq!(
            store.key(&hash(number)).unwrap(),
            Some((entry(number), Vec::new()))
        );
    }
}

#[test]
fn a_damaged_or_lost_page_is_named() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    filled(&store, 1);
    for (family, read) in [
        (
            Family::Key,
            (|store| store.key(&hash(7)).err()) as fn(&StateStore) -> Option<StateError>,
        ),
        (Family::KeyPayload, |store| store.key(&hash(7)).err()),
        (Family::Ended, |store| store.ended(&id(1)).err()),
        (Family::EndedRow, |store| store.ended(&id(1)).err()),
        (Family::EndedIndex, |store| {
            store.ended_ids(b'c', 1, None, 9).err()
        }),
    ] {
        assert!(read(&store).is_none(), "{family:?}");
        let name = [b'f', family as u8];
        let tree = store.generation().engine.db().open_tree(name).unwrap();
        let (key, page) = tree.first().unwrap().unwrap();
        let named = |error: Option<StateError>| match error {
            Some(StateError::Damage {
                family: of, key: at, ..
            }) => of == family && at.len() == key.len(),
            _ => false,
        };
        for bit in 0..page.len() * 8 {
            let mut flipped = page.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            tree.insert(&key, flipped).unwrap();
            assert!(named(read(&store)), "{family:?} bit {bit}");
        }
        tree.remove(&key).unwrap();
        assert!(named(read(&store)), "{family:?} without its page");
        tree.insert(&key, page).unwrap();
        assert!(read(&store).is_none());
    }
}

#[test]
fn payloads_and_rows_of_any_length_come_back() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let lens = [
        0, 1, 4050, 4060, 4066, 4070, 4072, 4080, 4096, 9000, 100_000, 3, 0,
    ];
    let mut changes = RowChanges::default();
    for (number, len) in (1..).zip(lens) {
        changes.put_key(hash(number), entry(number), &vec![7; len], 1);
        changes.put_ended(id(number), 1, &vec![8; len], &[(b'c', 1)]);
    }
    store.apply(changes, at(99, 1)).unwrap();
    for (number, len) in (1..).zip(lens) {
        assert_eq!(
            store.key_payload(&hash(number)).unwrap(),
            Some(vec![7; len]),
            "{len}"
        );
        assert_eq!(
            store.ended(&id(number)).unwrap(),
            Some((1, vec![8; len])),
            "{len}"
        );
    }
    store.close().unwrap();
    assert_eq!(std::fs::read_dir(home.path().join("1/blobs")).unwrap().count(), 0);
}

#[test]
fn memory_and_disk_of_a_key_are_the_stated_ones() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let (changes_made, keys_each, payload) = (10, 4000, [7; 100]);
    let mut number = 0;
    for change in 0..changes_made {
        let mut changes = RowChanges::default();
        for _ in 0..keys_each {
            number += 1;
            changes.put_key(
                hash(number),
                entry(number),
                &payload,
                change * 1000 + number % 1000,
            );
        }
        store.apply(changes, at(number, change)).unwrap();
    }
    let memory = store.runs_memory_bytes() as f64 / number as f64;
    assert!(memory < 2.6, "{memory} bytes of memory a key");
    let disk = store.runs.keys_bytes() as f64 / number as f64 - payload.len() as f64;
    assert!(disk < 38.0, "{disk} bytes of disk a key beside its payload");
}

#[test]
fn readers_find_what_is_there_while_runs_are_merged_and_copied() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut model = Model::default();
    model.checkpoint(&store, 20, &[1, 2, 3, 4], &[]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    for number in 1..=20 {
                        let found = store.key(&hash(number * 7)).unwrap();
                        assert_eq!(found, Some((entry(number), row(number))));
                    }
                    let mut ids = [1, 4].map(id);
                    ids.sort_unstable();
                    assert_eq!(store.ended_ids(b'c', 1, None, 9).unwrap(), ids);
                }
            });
        }
        for round in 0..100u64 {
            let mut changes = RowChanges::default();
            let number = 1000 + round;
            changes.put_key(hash(number), entry(number), b"x", 1);
            changes.put_ended(id(number), 1, b"x", &[(b'c', 9)]);
            store.apply(changes, at(number, 1)).unwrap();
            if round % 30 == 0 {
                store.compact().unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}
