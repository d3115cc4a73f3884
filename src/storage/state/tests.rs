//! The promises of the stored states, each crash point made by hand.
use std::sync::atomic::Ordering;

use super::*;
use crate::storage::keys::{Claimed, Fingerprint, KeyEntry, KeyHash, KeyTable, OlderKeys};

const OPTIONS: StateOptions = StateOptions {
    cache_bytes: 1 << 20,
    compact_floor_bytes: 1 << 40,
};

/// A byte that tells small numbers apart.
fn byte(number: u64) -> u8 {
    u8::try_from(number % 251).unwrap()
}

fn at(number: u64) -> Checkpoint {
    Checkpoint {
        number,
        epoch: 1,
        chain: [byte(number); 32],
        logged_at_ms: number * 10,
    }
}

/// A variant with two holds at record 1; at record 2 one hold was released, one granted, and the head moved.
fn state_at(number: u64) -> RowChanges {
    let mut changes = RowChanges::default();
    changes.put(Family::Entity, b"v123", [byte(number)]);
    match number {
        1 => {
            changes.put(Family::Hold, b"a", b"2 units");
            changes.put(Family::Hold, b"b", b"1 unit");
        }
        _ => {
            changes.delete(Family::Hold, b"a");
            changes.put(Family::Hold, b"c", b"5 units");
        }
    }
    changes
}

fn rows_of(store: &StateStore) -> (Vec<u8>, Vec<Vec<u8>>) {
    let head = store.get(Family::Entity, b"v123").unwrap().unwrap();
    let holds = store
        .scan(Family::Hold, &[], None, 100)
        .map(|entry| entry.unwrap().0)
        .collect();
    (head, holds)
}

fn assert_at(store: &StateStore, number: u64) {
    let holds: [&[u8]; 2] = if number == 1 { [b"a", b"b"] } else { [b"b", b"c"] };
    assert_eq!(
        rows_of(store),
        (vec![byte(number)], holds.map(<[u8]>::to_vec).to_vec())
    );
    assert_eq!(store.checkpoint(), Some(at(number)));
}

/// A store at checkpoint 1, closed.
fn prepared() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    assert_eq!(store.checkpoint(), None);
    store.apply(state_at(1), at(1)).unwrap();
    store.close().unwrap();
    home
}

fn second_change() -> Redo {
    Redo {
        change: 2,
        checkpoint: Some(at(2)),
        rows: state_at(2).rows,
    }
}

#[test]
fn a_checkpoint_is_there_whole_after_reopening() {
    let home = prepared();
    for _ in 0..3 {
        let store = StateStore::open(home.path(), OPTIONS).unwrap();
        assert_at(&store, 1);
        store.close().unwrap();
    }
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    store.apply(state_at(2), at(2)).unwrap();
    assert_at(&store, 2);
    assert!(!home.path().join("redo").exists());
}

#[test]
fn a_crash_before_the_redo_has_its_name_changes_nothing() {
    let home = prepared();
    let bytes = second_change().to_bytes();
    for len in [0, 10, bytes.len() - 1, bytes.len()] {
        fs::write(home.path().join("redo.new"), &bytes[..len]).unwrap();
        let store = StateStore::open(home.path(), OPTIONS).unwrap();
        assert_at(&store, 1);
        store.close().unwrap();
    }
}

#[test]
fn a_crash_after_any_row_is_completed_at_the_next_start() {
    for written in 0..=second_change().rows.len() {
        let home = prepared();
        let store = StateStore::open(home.path(), OPTIONS).unwrap();
        replace_file(home.path(), REDO, &second_change().to_bytes()).unwrap();
        for change in &second_change().rows[..written] {
            let trees = &store.generation().trees;
            match &change.row {
                Some(row) => trees.put(change.family, &change.key, row, 2).unwrap(),
                None => trees.delete(change.family, &change.key).unwrap(),
            }
        }
        store.generation().engine.sync().unwrap();
        store.close().unwrap();

        let store = StateStore::open(home.path(), OPTIONS).unwrap();
        assert_at(&store, 2);
        assert!(!home.path().join("redo").exists());
    }
}

#[test]
fn a_redo_that_came_back_after_it_was_done_is_not_done_again() {
    let home = prepared();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    store.apply(state_at(2), at(2)).unwrap();
    store.close().unwrap();
    let first = Redo {
        change: 1,
        checkpoint: Some(at(1)),
        rows: state_at(1).rows,
    };
    fs::write(home.path().join("redo"), first.to_bytes()).unwrap();
    assert_at(&StateStore::open(home.path(), OPTIONS).unwrap(), 2);
}

#[test]
fn a_damaged_redo_is_refused_by_name() {
    let home = prepared();
    let mut bytes = second_change().to_bytes();
    bytes[40] ^= 1;
    fs::write(home.path().join("redo"), bytes).unwrap();
    let refused = StateStore::open(home.path(), OPTIONS).unwrap_err();
    assert!(
        matches!(&refused, StateError::DamagedFile { path } if path.ends_with("redo")),
        "{refused:?}"
    );
}

#[test]
fn rows_around_the_limit_of_one_value_come_back_and_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let mut number = 0;
    for len in [0u64, 1, 4080, 4081, 4082, 4096, 8177, 8178, 300_000, 9000, 5] {
        let row: Vec<u8> = (0..len).map(byte).collect();
        let mut changes = RowChanges::default();
        changes.put(Family::Statistics, b"big", row.clone());
        number += 1;
        store.apply(changes, at(number)).unwrap();
        assert_eq!(store.get(Family::Statistics, b"big").unwrap(), Some(row), "{len}");
    }
    let mut changes = RowChanges::default();
    changes.delete(Family::Statistics, b"big");
    changes.put(Family::Statistics, b"next", vec![1; 9000]);
    store.apply(changes, at(number + 1)).unwrap();
    assert_eq!(store.get(Family::Statistics, b"big").unwrap(), None);
    assert_eq!(
        store.generation().trees.pieces_len(),
        2,
        "only the pieces of the living row are left"
    );
    store.close().unwrap();
    assert_eq!(fs::read_dir(home.path().join("1/blobs")).unwrap().count(), 0);
}

#[test]
fn a_flipped_bit_and_a_misplaced_row_are_damage_with_their_name() {
    let home = prepared();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let tree = store
        .generation()
        .engine
        .db()
        .open_tree([b'f', Family::Hold as u8])
        .unwrap();
    let whole = tree.get(b"a").unwrap().unwrap().to_vec();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        tree.insert(b"a", flipped).unwrap();
        let named = matches!(
            store.get(Family::Hold, b"a"),
            Err(StateError::Damage { family: Family::Hold, key, .. }) if *key == *b"a"
        );
        assert!(named, "byte {at}");
    }
    tree.insert(b"b", whole).unwrap();
    assert!(matches!(
        store.get(Family::Hold, b"b"),
        Err(StateError::Damage { .. })
    ));
    assert!(store.scan(Family::Hold, &[], None, 9).any(|entry| entry.is_err()));
}

#[test]
fn a_scan_keeps_to_its_range_its_limit_and_its_family() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let mut changes = RowChanges::default();
    for number in 0u32..100 {
        changes.put(Family::Ledger, number.to_be_bytes(), number.to_le_bytes());
        changes.put(Family::Audit, number.to_be_bytes(), []);
    }
    store.apply(changes, at(1)).unwrap();
    let keys = |from: u32, to: Option<u32>, limit| -> Vec<u32> {
        let to = to.map(u32::to_be_bytes);
        store
            .scan(
                Family::Ledger,
                &from.to_be_bytes(),
                to.as_ref().map(<[u8; 4]>::as_slice),
                limit,
            )
            .map(|entry| u32::from_le_bytes(entry.unwrap().1.try_into().unwrap()))
            .collect()
    };
    assert_eq!(keys(10, Some(14), 99), [10, 11, 12, 13]);
    assert_eq!(keys(98, None, 99), [98, 99]);
    assert_eq!(keys(0, None, 2), [0, 1]);
    assert_eq!(keys(5, Some(5), 9), [0; 0]);
    assert_eq!(keys(6, Some(5), 9), [0; 0]);
}

#[test]
fn a_revived_hold_leaves_the_ended_ones_and_may_end_again() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let listed = || [(b'c', 7), (b'v', 1)].map(|(kind, hash)| store.ended_ids(kind, hash, None, 9).unwrap());
    let put = |at_ms, again: bool| {
        let mut changes = RowChanges::default();
        if again {
            changes.revive([1; 16]);
        }
        changes.put_ended([1; 16], at_ms, b"row", &[(b'c', 7), (b'v', 1)]);
        changes
    };
    store.apply(put(100, false), at(1)).unwrap();

    let mut changes = RowChanges::default();
    changes.revive([1; 16]);
    changes.revive([2; 16]); // was never stored
    store.apply(changes, at(2)).unwrap();
    assert_eq!(store.ended(&[1; 16]).unwrap(), None);
    assert_eq!(listed(), [[], []] as [[[u8; 16]; 0]; 2]);

    store.apply(put(200, false), at(3)).unwrap();
    store.apply(put(300, true), at(4)).unwrap();
    assert_eq!(store.ended(&[1; 16]).unwrap(), Some((300, b"row".to_vec())));
    assert_eq!(
        listed(),
        [[[1; 16]], [[1; 16]]],
        "back and ended again in one change"
    );
}

#[test]
fn an_ended_hold_is_found_and_listed_until_its_retention_ends() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let mut changes = RowChanges::default();
    for id in 1..=5u8 {
        changes.put_ended(
            [id; 16],
            u64::from(id) * 100,
            &[id],
            &[(b'c', 7), (b'v', u64::from(id))],
        );
    }
    store.apply(changes, at(1)).unwrap();
    // The first hold is returned, ends again later and moves to another list; the third one lives again.
    let mut changes = RowChanges::default();
    changes.revive([1; 16]);
    changes.put_ended([1; 16], 1000, b"again", &[(b'v', 1), (b's', 3)]);
    changes.revive([3; 16]);
    store.apply(changes, at(2)).unwrap();
    assert_eq!(store.ended(&[1; 16]).unwrap(), Some((1000, b"again".to_vec())));
    assert_eq!(store.ended(&[3; 16]).unwrap(), None);
    assert_eq!(
        store.ended_ids(b'c', 7, None, 2).unwrap(),
        [[2; 16], [4; 16]],
        "the first and the third left this list"
    );
    assert_eq!(
        store.ended_ids(b'c', 7, Some([2; 16]), 9).unwrap(),
        [[4; 16], [5; 16]]
    );
    assert_eq!(store.ended_ids(b's', 3, None, 9).unwrap(), [[1; 16]]);
    assert!(store.is_ended_listed(b'c', 7, &[2; 16]).unwrap());
    assert!(!store.is_ended_listed(b'c', 7, &[1; 16]).unwrap());
    assert!(!store.is_ended_listed(b'c', 7, &[3; 16]).unwrap());

    store.sweep(0, 400, 100).unwrap();
    assert_eq!(store.ended(&[2; 16]).unwrap(), None);
    assert_eq!(store.ended(&[4; 16]).unwrap(), Some((400, vec![4])));
    assert_eq!(store.ended_ids(b'c', 7, None, 9).unwrap(), [[4; 16], [5; 16]]);
    assert_eq!(store.ended_ids(b'v', 1, None, 9).unwrap(), [[1; 16]]);
    assert_eq!(store.checkpoint(), Some(at(2)), "a sweep moves no checkpoint");

    let swept = store.sweep(0, 2000, 1).unwrap();
    assert!(swept.more, "a sweep is bounded");
    assert_eq!(swept.ended, 5 + 2, "what the two runs had");
    while store.sweep(0, 2000, 1).unwrap().more {}
    for family in [Family::Ended, Family::EndedIndex, Family::EndedRow] {
        assert_eq!(store.scan(family, &[], None, 9).count(), 0, "{family:?}");
    }
    assert_eq!(
        store.scan(Family::Run, &[], None, 9).count(),
        1,
        "only the bounds"
    );
}

fn hash(number: u64) -> KeyHash {
    KeyHash::of("default", "shop", &number.to_string())
}

fn entry(number: u64) -> KeyEntry {
    KeyEntry {
        fingerprint: Fingerprint([byte(number); 8]),
        number,
    }
}

fn payload(number: u64) -> Vec<u8> {
    vec![byte(number); usize::from(byte(number)) * 3]
}

#[test]
fn keys_are_found_after_reopening_until_their_retention_ends() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    for first in [1, 101, 201] {
        let mut changes = RowChanges::default();
        for number in first..first + 100 {
            changes.put_key(hash(number), entry(number), &payload(number), number * 10);
        }
        store.apply(changes, at(first + 99)).unwrap();
    }
    let bytes = store.keys_bytes();
    store.close().unwrap();

    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    for number in 1..=300 {
        assert_eq!(store.find(&hash(number)).unwrap(), Some(entry(number)));
        assert_eq!(store.key_payload(&hash(number)).unwrap(), Some(payload(number)));
    }
    assert_eq!(store.find(&hash(301)).unwrap(), None);
    assert_eq!((store.keys_len(), store.keys_bytes()), (300, bytes));

    while store.sweep(1500, 0, 2).unwrap().more {}
    assert_eq!(store.find(&hash(149)).unwrap(), None);
    assert_eq!(store.find(&hash(150)).unwrap(), Some(entry(150)));
    assert_eq!(store.keys_len(), 200, "the first run is gone whole");
    assert!(store.keys_bytes() < bytes * 3 / 4);
    store.close().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    assert_eq!(store.key(&hash(149)).unwrap(), None, "a bound is stored");
    assert_eq!(store.key(&hash(150)).unwrap(), Some((entry(150), payload(150))));
}

#[test]
fn a_key_that_left_memory_is_repeated_from_disk() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(StateStore::open(home.path(), OPTIONS).unwrap());
    let table = KeyTable::new(2, store.clone());
    for number in 1..=20 {
        let claimed = table.claim(hash(number), entry(number).fingerprint).unwrap();
        let Claimed::Fresh(claim) = claimed else {
            panic!("{claimed:?}")
        };
        claim.fill(number);
        let mut changes = RowChanges::default();
        changes.put_key(hash(number), entry(number), &payload(number), number);
        store.apply(changes, at(number)).unwrap();
        table.checkpointed(number);
    }
    assert!(table.len() <= 2);
    for number in 1..=20 {
        let again = table.claim(hash(number), entry(number).fingerprint).unwrap();
        assert!(
            matches!(again, Claimed::Known { number: n } if n == number),
            "{again:?}"
        );
        assert!(matches!(
            table.claim(hash(number), Fingerprint([99; 8])).unwrap(),
            Claimed::Mismatch
        ));
    }
}

#[test]
fn a_copy_has_every_row_and_its_readers_do_not_notice() {
    let home = prepared();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let mut changes = state_at(2);
    changes.put(Family::Audit, b"large", vec![7; 20_000]);
    changes.put_key(hash(1), entry(1), &payload(1), 1);
    store.apply(changes, at(2)).unwrap();
    let mut scan = store.scan(Family::Hold, &[], None, 9);
    assert_eq!(scan.next().unwrap().unwrap().0, b"b");

    store.compact().unwrap();
    assert_eq!(
        scan.next().unwrap().unwrap().0,
        b"c",
        "a scan goes on in the old database"
    );
    drop(scan);
    assert!(!home.path().join("1").exists());
    store.compact().unwrap();
    store.close().unwrap();

    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    assert_at(&store, 2);
    assert_eq!(store.get(Family::Audit, b"large").unwrap(), Some(vec![7; 20_000]));
    assert_eq!(store.find(&hash(1)).unwrap(), Some(entry(1)));
    assert!(home.path().join("3").is_dir());
}

#[test]
fn a_copy_cut_short_leaves_the_original() {
    let home = prepared();
    for leftover in ["2", "2.new", "9"] {
        fs::create_dir(home.path().join(leftover)).unwrap();
        fs::write(home.path().join(leftover).join("db"), b"half").unwrap();
    }
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    assert_at(&store, 1);
    assert!(
        ["2", "2.new", "9"]
            .iter()
            .all(|leftover| !home.path().join(leftover).exists())
    );
}

#[test]
fn a_lost_pointer_or_database_is_refused_rather_than_begun_anew() {
    let home = prepared();
    fs::rename(home.path().join("CURRENT"), home.path().join("kept")).unwrap();
    let refused = StateStore::open(home.path(), OPTIONS).unwrap_err();
    assert!(refused.to_string().contains("CURRENT"), "{refused}");
    fs::rename(home.path().join("kept"), home.path().join("CURRENT")).unwrap();
    fs::remove_dir_all(home.path().join("1")).unwrap();
    assert!(StateStore::open(home.path(), OPTIONS).is_err());
}

#[test]
fn a_grown_database_is_copied_and_a_fresh_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(
        home.path(),
        StateOptions {
            compact_floor_bytes: 0,
            ..OPTIONS
        },
    )
    .unwrap();
    assert!(
        tidied(&store) > 0,
        "without a floor the first copy sets the measure"
    );
    assert_eq!(tidied(&store), 0);
    let mut changes = RowChanges::default();
    for row in 0..40_000u32 {
        changes.put(Family::Hold, row.to_be_bytes(), vec![7; 400]);
    }
    store.apply(changes, at(1)).unwrap();
    assert!(tidied(&store) > 1, "{} rows are more than one turn takes", 40_000);
    assert_eq!(tidied(&store), 0);
    assert_eq!(store.scan(Family::Hold, &[], None, usize::MAX).count(), 40_000);

    store.close().unwrap();
    let floored = StateOptions {
        compact_floor_bytes: 1 << 40,
        ..OPTIONS
    };
    assert_eq!(tidied(&StateStore::open(home.path(), floored).unwrap()), 0);
}

/// Copies until there is nothing to copy; the turns it took.
fn tidied(store: &StateStore) -> usize {
    let mut turns = 0;
    loop {
        match store.compact_if_grown(true).unwrap() {
            Compaction::Idle => return turns,
            Compaction::UnderWay => turns += 1,
            Compaction::Done => return turns + 1,
        }
    }
}

/// A store whose copy takes several turns, with the first of them done; rows are `width` bytes.
fn half_copied(home: &Path, width: usize) -> StateStore {
    let eager = StateOptions {
        compact_floor_bytes: 0,
        ..OPTIONS
    };
    let store = StateStore::open(home, eager).unwrap();
    let mut changes = RowChanges::default();
    for row in 0..30_000u32 {
        changes.put(Family::Hold, row.to_be_bytes(), vec![1; width]);
    }
    store.apply(changes, at(1)).unwrap();
    assert_eq!(store.compact_if_grown(true).unwrap(), Compaction::UnderWay);
    store
}

fn all_rows(store: &StateStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = store.scan(Family::Hold, &[], None, usize::MAX);
    rows.map(Result::unwrap).collect()
}

#[test]
fn changes_between_the_turns_of_a_copy_are_in_it_wherever_they_are() {
    let home = tempfile::tempdir().unwrap();
    let store = half_copied(home.path(), 300);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut number = 1;
    let before = loop {
        number += 1;
        let mut changes = RowChanges::default();
        let first = rng.u32(0..31_000);
        for step in 0..200 {
            // Each row once: what a change says twice of a row leaves its first pieces behind.
            let row = ((first + step * 151) % 31_000).to_be_bytes();
            match rng.u8(0..3) {
                0 => changes.delete(Family::Hold, row),
                1 => changes.put(Family::Hold, row, vec![byte(number); rng.usize(0..600)]),
                _ => changes.put(Family::Hold, row, vec![byte(number); rng.usize(5_000..9_000)]),
            }
        }
        store.apply(changes, at(number)).unwrap();
        let before = all_rows(&store);
        if store.compact_if_grown(true).unwrap() == Compaction::Done {
            break before;
        }
    };
    assert!(number > 3, "the copy took {number} turns");
    assert_eq!(all_rows(&store), before);
    assert_eq!(store.checkpoint(), Some(at(number)));
    let pieces = store.trees().pieces_len();
    let reachable: usize = before
        .iter()
        .map(|(_, row)| row.len().saturating_sub(rows::ONE_VALUE_BYTES))
        .map(|rest| rest.div_ceil(4_096))
        .sum();
    assert_eq!(pieces, reachable, "no piece is left over");
    store.close().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    assert_eq!(all_rows(&store), before);
}

#[test]
fn a_copy_that_a_crash_or_a_full_disk_interrupts_leaves_the_original() {
    let home = tempfile::tempdir().unwrap();
    let store = half_copied(home.path(), 300);
    store.apply(state_at(1), at(2)).unwrap();
    let before = all_rows(&store);
    assert!(home.path().join("2").is_dir());
    assert_eq!(store.compact_if_grown(false).unwrap(), Compaction::Idle);
    assert!(!home.path().join("2").exists(), "its space is given back");
    assert_eq!(all_rows(&store), before);

    assert_eq!(store.compact_if_grown(true).unwrap(), Compaction::UnderWay);
    // A killed process leaves both directories; the pointer names the original.
    let copy = tempfile::tempdir().unwrap();
    store.generation().engine.sync().unwrap();
    copy_tree(home.path(), copy.path());
    let crashed = StateStore::open(copy.path(), OPTIONS).unwrap();
    assert_eq!(
        (all_rows(&crashed), crashed.checkpoint()),
        (before.clone(), Some(at(2)))
    );
    assert!(!copy.path().join("2").exists());
    assert_eq!(store.compact_if_grown(true).unwrap(), Compaction::UnderWay);
    assert!(tidied(&store) > 0);
    assert_eq!(all_rows(&store), before);
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn readers_see_whole_rows_while_they_are_replaced_and_copied() {
    let home = tempfile::tempdir().unwrap();
    let store = StateStore::open(home.path(), OPTIONS).unwrap();
    let row_at = |number: u64| vec![byte(number); 9000 + usize::from(byte(number)) * 40];
    let replace = |number: u64| {
        let mut changes = RowChanges::default();
        changes.put(Family::Entity, b"v1", row_at(number));
        store.apply(changes, at(number)).unwrap();
    };
    replace(1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::SeqCst) {
                    let row = store.get(Family::Entity, b"v1").unwrap().unwrap();
                    assert_eq!(row, row_at(u64::from(row[0])));
                    assert!(row[0] >= last, "never back to an older row");
                    last = row[0];
                    let (_, scanned) = store.scan(Family::Entity, &[], None, 1).next().unwrap().unwrap();
                    assert_eq!(scanned, row_at(u64::from(scanned[0])));
                }
            });
        }
        for number in 2..=120 {
            replace(number);
            if number % 40 == 0 {
                store.compact().unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}
