//! What segment files promise about ends and damage: see the head of `storage/journal/segment.rs`.
use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use holdfast::storage::journal::simulated::{Operation, SimulatedDisk};
use holdfast::storage::journal::verify::verify_files;
use holdfast::storage::journal::{Anchor, Damage, OpenError, ReadError, RecordNumber};

use super::{EPOCH, Home, Owner, PARTITION, SimulatedFiles, payloads, read_all};

fn segment(first: u64) -> PathBuf {
    Path::new(SimulatedFiles::DIR).join(format!("{first:020}.log"))
}

/// Three groups of two records; the offsets where each begins and the last one ends.
fn three_groups() -> (SimulatedFiles, Vec<usize>) {
    let home = SimulatedFiles::new(1);
    let mut owner = Owner::of(home.open());
    let mut offsets = vec![4_096];
    for _ in 0..3 {
        let fresh = payloads(&owner.tail, 2, 40);
        let group = owner.append(&fresh);
        offsets.push(offsets.last().unwrap() + group.bytes().len());
    }
    drop(owner);
    (home, offsets)
}

fn damage_of(home: &SimulatedFiles) -> Damage {
    match home.open_at(Anchor::GENESIS) {
        Err(OpenError::Damage(damage)) => damage,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the log opened"),
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_reported() {
    let (home, offsets) = three_groups();
    let whole = home.disk.content(&segment(1)).unwrap();
    for end in offsets[2]..offsets[3] {
        let mut torn = whole.clone();
        torn[end..].fill(0);
        let written_end = torn.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        home.disk.overwrite(&segment(1), &torn);
        let mut journal = home.open();
        let tail = journal.acquire(PARTITION).unwrap();
        assert_eq!(tail.last, RecordNumber(4), "torn at {end}");
        let cut = tail.cut.map_or(0, |cut| {
            assert_eq!(
                (cut.offset as usize, cut.record, &cut.file),
                (offsets[2], RecordNumber(5), &segment(1))
            );
            cut.bytes
        });
        assert_eq!(cut as usize, written_end.saturating_sub(offsets[2]));
        // The log goes on over the cut, and nothing of the old tail comes back.
        let mut owner = Owner::of(journal);
        let fresh = payloads(&owner.tail, 1, 10);
        owner.append(&fresh);
        drop(owner);
        assert_eq!(read_all(&*home.open(), RecordNumber(5)), [(5, fresh[0].clone())]);
    }
}

#[test]
fn a_torn_tail_is_cut_once() {
    let (home, offsets) = three_groups();
    let mut torn = home.disk.content(&segment(1)).unwrap();
    // The sector with its beginning was not written, the one with its end was.
    let sector_end = (offsets[2] / 512 + 1) * 512;
    assert!(sector_end < offsets[3]);
    torn[offsets[2]..sector_end].fill(0);
    home.disk.overwrite(&segment(1), &torn);
    let before = verify_files(&home.disk, Path::new(SimulatedFiles::DIR), PARTITION, EPOCH).unwrap();
    assert_eq!(
        (before.last.0, before.torn.unwrap().bytes as usize),
        (4, offsets[3] - offsets[2])
    );
    assert!(home.open().acquire(PARTITION).unwrap().cut.is_some());
    assert!(home.open().acquire(PARTITION).unwrap().cut.is_none());
}

/// A cut that broke off once left half a header of zeros before bytes of the record: that looked like a group that had been complete.
#[test]
fn a_cut_that_breaks_off_leaves_a_torn_tail() {
    let (home, offsets) = three_groups();
    let whole = home.disk.content(&segment(1)).unwrap();
    for end in offsets[2] + 1..offsets[3] {
        for failing in 0..4 {
            let mut torn = whole.clone();
            torn[end..].fill(0);
            home.disk.overwrite(&segment(1), &torn);
            let left = AtomicU64::new(failing);
            home.disk.set_plan(move |operation, _| {
                let counts = matches!(operation, Operation::Write | Operation::Sync);
                if !counts || left.fetch_sub(1, Ordering::Relaxed) != 0 {
                    return Ok(());
                }
                Err(io::Error::from_raw_os_error(5))
            });
            let _ = home.open_at(Anchor::GENESIS);
            home.disk.clear_plan();
            let tail = home.open().acquire(PARTITION).unwrap();
            assert_eq!(
                tail.last,
                RecordNumber(4),
                "torn at {end}, operation {failing} failed"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_group_refuses_because_it_was_complete_once() {
    let (home, offsets) = three_groups();
    let whole = home.disk.content(&segment(1)).unwrap();
    for offset in offsets[2]..offsets[3] {
        let mut bad = whole.clone();
        bad[offset] ^= 4;
        home.disk.overwrite(&segment(1), &bad);
        let damage = damage_of(&home);
        assert_eq!(
            (&damage.file, damage.record.0, damage.offset as usize),
            (&segment(1), 5, offsets[2]),
            "flipped at {offset}"
        );
        assert!(damage.reason.contains("complete once"), "{damage}");
        assert_eq!(
            home.disk.content(&segment(1)).unwrap(),
            bad,
            "nothing is modified"
        );
    }
}

#[test]
fn bytes_behind_the_last_group_are_no_torn_write() {
    let (home, offsets) = three_groups();
    let whole = home.disk.content(&segment(1)).unwrap();
    for header in [true, false] {
        let mut bad = whole.clone();
        bad[offsets[2] + 100..offsets[3]].fill(0);
        if !header {
            bad[offsets[2]..offsets[2] + 100].fill(0);
        }
        let behind = if header { offsets[3] } else { bad.len() - 1 };
        bad[behind] = 7;
        home.disk.overwrite(&segment(1), &bad);
        match (header, home.open_at(Anchor::GENESIS)) {
            (true, Err(OpenError::Damage(damage))) => {
                assert!(damage.reason.contains("behind its end"), "{damage}");
            }
            // Where the header is lost, a torn group may reach as far as the largest one does.
            (false, Ok(mut journal)) => assert!(journal.acquire(PARTITION).unwrap().cut.is_some()),
            (_, Err(error)) => panic!("{error}"),
            (_, Ok(_)) => panic!("the log opened"),
        }
    }
}

#[test]
fn a_tail_that_the_stored_rows_know_is_never_taken_for_torn() {
    let (home, offsets) = three_groups();
    let mut torn = home.disk.content(&segment(1)).unwrap();
    torn[offsets[3] - 20..].fill(0);
    home.disk.overwrite(&segment(1), &torn);
    let open = |proven| {
        let mut options = super::options(Anchor::GENESIS);
        options.proven = RecordNumber(proven);
        let disk = std::sync::Arc::new(home.disk.clone());
        holdfast::storage::journal::file::FileJournal::open(disk, Path::new(SimulatedFiles::DIR), options)
    };
    let Err(OpenError::Damage(damage)) = open(5) else {
        panic!("it opened")
    };
    assert!(damage.reason.contains("records up to 5 were durable"), "{damage}");
    assert_eq!(
        home.disk.content(&segment(1)).unwrap(),
        torn,
        "nothing is modified"
    );
    assert!(open(4).is_ok());
}

#[test]
fn a_flipped_bit_before_good_records_refuses_and_names_the_place() {
    let (home, offsets) = three_groups();
    let whole = home.disk.content(&segment(1)).unwrap();
    for offset in offsets[0]..offsets[2] {
        let mut bad = whole.clone();
        bad[offset] ^= 1 << (offset % 8);
        home.disk.overwrite(&segment(1), &bad);
        let damage = damage_of(&home);
        let group = usize::from(offset >= offsets[1]);
        assert_eq!(damage.file, segment(1));
        assert_eq!(
            (damage.record.0, damage.offset as usize),
            (group as u64 * 2 + 1, offsets[group]),
            "flipped at {offset}"
        );
        assert_eq!(
            home.disk.content(&segment(1)).unwrap(),
            bad,
            "nothing is modified"
        );
        assert!(verify_files(&home.disk, Path::new(SimulatedFiles::DIR), PARTITION, EPOCH).is_err());
    }
}

#[test]
fn a_lost_group_before_a_good_one_is_damage_even_if_only_zeros_are_left() {
    let (home, offsets) = three_groups();
    let mut bad = home.disk.content(&segment(1)).unwrap();
    bad[offsets[1]..offsets[2]].fill(0);
    home.disk.overwrite(&segment(1), &bad);
    assert_eq!(damage_of(&home).record, RecordNumber(3));
}

#[test]
fn swapped_and_repeated_groups_are_damage() {
    let (home, offsets) = three_groups();
    let whole = home.disk.content(&segment(1)).unwrap();
    let part = |index: usize| whole[offsets[index]..offsets[index + 1]].to_vec();
    for order in [[1, 0, 2], [0, 2, 1], [0, 0, 1], [0, 1, 1]] {
        let mut bad = whole.clone();
        let groups: Vec<u8> = order.iter().flat_map(|index| part(*index)).collect();
        bad[offsets[0]..offsets[0] + groups.len()].copy_from_slice(&groups);
        home.disk.overwrite(&segment(1), &bad);
        assert!(damage_of(&home).reason.contains("out of order"), "{order:?}");
    }
}

fn full_segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    use holdfast::storage::journal::disk::Disk;
    let dir = Path::new(SimulatedFiles::DIR);
    disk.list(dir)
        .unwrap()
        .into_iter()
        .map(|name| dir.join(name))
        .collect()
}

fn several_segments() -> SimulatedFiles {
    let home = SimulatedFiles::new(1);
    let mut owner = Owner::of(home.open());
    for _ in 0..40 {
        let fresh = payloads(&owner.tail, 5, 200);
        owner.append(&fresh);
    }
    drop(owner);
    home
}

#[test]
fn a_missing_or_damaged_segment_is_named() {
    use holdfast::storage::journal::disk::Disk;
    let home = several_segments();
    let segments = full_segments(&home.disk);
    assert!(segments.len() > 3, "{segments:?}");
    let anchor = home.disk.content(&segments[2]).unwrap();
    let mut bad = anchor.clone();
    bad[20] ^= 1;
    home.disk.overwrite(&segments[2], &bad);
    assert_eq!(
        (damage_of(&home).file, damage_of(&home).offset),
        (segments[2].clone(), 0)
    );
    home.disk.overwrite(&segments[2], &anchor);
    home.open();

    // The end of a segment that is not the last cannot be torn.
    let mut bad = home.disk.content(&segments[0]).unwrap();
    let last = bad.iter().rposition(|byte| *byte != 0).unwrap();
    bad[last] ^= 1;
    let good = home.disk.content(&segments[0]).unwrap();
    home.disk.overwrite(&segments[0], &bad);
    assert_eq!(damage_of(&home).file, segments[0]);
    home.disk.overwrite(&segments[0], &good);

    home.disk.remove(&segments[1]).unwrap();
    let damage = damage_of(&home);
    assert_eq!(damage.file, segments[0]);
    assert!(damage.reason.contains("goes on with record"), "{damage}");
}

#[test]
fn a_reader_notices_bytes_that_changed_under_it() {
    let (home, offsets) = three_groups();
    let journal = home.open();
    let mut bad = home.disk.content(&segment(1)).unwrap();
    bad[offsets[1] + 100] ^= 1;
    home.disk.overwrite(&segment(1), &bad);
    let reader = journal.reader();
    assert!(
        matches!(reader.read(PARTITION, RecordNumber(3), 100), Err(ReadError::Damage(damage)) if damage.record.0 == 3)
    );
    assert!(reader.read(PARTITION, RecordNumber(1), 100).is_ok());
}

#[test]
fn another_partition_or_epoch_is_refused_by_name() {
    let (home, _) = three_groups();
    let disk = std::sync::Arc::new(home.disk.clone());
    let mut options = super::options(Anchor::GENESIS);
    options.epoch = holdfast::storage::journal::Epoch(2);
    let Err(error) =
        holdfast::storage::journal::file::FileJournal::open(disk, Path::new(SimulatedFiles::DIR), options)
    else {
        panic!("it opened")
    };
    assert!(
        error
            .to_string()
            .ends_with("belongs to partition 0, epoch 1, not to partition 0, epoch 2"),
        "{error}"
    );
}
