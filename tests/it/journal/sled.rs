//! What the sled back end promises beside the suite: no unsynced blobs, bounded space, damage that is named.
use std::fs;

use holdfast::storage::{
    engine::{Engine, EngineOptions},
    journal::{Anchor, OpenError, RecordNumber},
};

use super::{Home, Owner, PARTITION, SledDatabases, payloads, read_all};

fn databases(home: &SledDatabases) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn fill(owner: &mut Owner, groups: u64) {
    for _ in 0..groups {
        let fresh = payloads(&owner.tail, 40, 200);
        owner.append(&fresh);
    }
}

#[test]
fn groups_of_every_size_leave_the_unsynced_blobs_empty() {
    let home = SledDatabases::new();
    let mut owner = Owner::of(home.open());
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..120 {
        let fresh = payloads(&owner.tail, rng.u64(1..40), rng.usize(0..9_000));
        owner.append(&fresh);
    }
    drop(owner);
    let mut seen = 0;
    for database in databases(&home) {
        assert_eq!(
            fs::read_dir(database.join("blobs")).unwrap().count(),
            0,
            "{database:?}"
        );
        seen += 1;
    }
    assert!(seen > 2);
}

#[test]
fn trimming_removes_whole_directories_and_space_stays_bounded() {
    let home = SledDatabases::new();
    let mut owner = Owner::of(home.open());
    let mut largest = 0;
    for _ in 0..20 {
        fill(&mut owner, 20);
        let upto = RecordNumber(owner.tail.last.0 - 100);
        assert!(owner.journal.trim(PARTITION, upto).unwrap() <= upto.next());
        largest = largest.max(databases(&home).len());
    }
    assert!(largest <= 5, "{largest} databases");
    let first = owner.journal.reader().first();
    assert!(first.0 > 10_000, "{first}");
    drop(owner);
    assert_eq!(read_all(&*home.open(), first).last().unwrap().0, 20 * 20 * 40);
}

#[test]
fn an_interrupted_removal_is_finished() {
    let home = SledDatabases::new();
    fill(&mut Owner::of(home.open()), 1);
    let half = home.path().join("00000000.trimmed");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("conf"), b"what is left").unwrap();
    home.open();
    assert!(!half.exists());
}

#[test]
fn a_missing_database_or_file_is_named() {
    let home = SledDatabases::new();
    fill(&mut Owner::of(home.open()), 40);
    let all = databases(&home);
    assert!(all.len() > 3, "{all:?}");
    let aside = home.dir.path().join("aside");
    fs::rename(&all[1], &aside).unwrap();
    let Err(OpenError::Damage(damage)) = home.open_at(Anchor::GENESIS) else {
        panic!("it opened")
    };
    assert_eq!(damage.file, all[0]);
    assert!(damage.reason.contains("goes on with record"), "{damage}");
    fs::rename(&aside, &all[1]).unwrap();

    fs::rename(all[1].join("db"), &aside).unwrap();
    let Err(OpenError::Damage(damage)) = home.open_at(Anchor::GENESIS) else {
        panic!("it opened")
    };
    assert_eq!(damage.file, all[1]);
    fs::rename(&aside, all[1].join("db")).unwrap();
    assert_eq!(Owner::of(home.open()).tail.last, RecordNumber(1_600));
}

/// Opens the last database that holds groups, behind the journal's back.
fn tamper(home: &SledDatabases, change: impl FnOnce(&sled::Db)) {
    let options = EngineOptions {
        cache_bytes: 1 << 20,
        mode: sled::Mode::HighThroughput,
    };
    let engine = Engine::open(&home.path().join("00000001.sled"), options).unwrap();
    change(engine.db());
    engine.sync().unwrap();
    engine.close().unwrap();
}

fn key(first: u64, chunk: u32) -> Vec<u8> {
    [first.to_be_bytes().as_slice(), &chunk.to_be_bytes()].concat()
}

#[test]
fn a_group_without_its_end_is_cut_at_the_tail_and_damage_before_it() {
    let home = SledDatabases::new();
    fill(&mut Owner::of(home.open()), 3);
    tamper(&home, |db| {
        db.remove(key(81, 2)).unwrap().unwrap();
    });
    let mut journal = home.open();
    let tail = journal.acquire(PARTITION).unwrap();
    assert_eq!((tail.last.0, tail.cut.unwrap().record.0), (80, 81));
    drop(journal);
    fill(&mut Owner::of(home.open()), 1);
    tamper(&home, |db| {
        db.remove(key(41, 1)).unwrap().unwrap();
    });
    let Err(OpenError::Damage(damage)) = home.open_at(Anchor::GENESIS) else {
        panic!("it opened")
    };
    assert_eq!(damage.record.0, 41);
    tamper(&home, |db| {
        db.remove(key(41, 0)).unwrap().unwrap();
        db.remove(key(41, 2)).unwrap().unwrap();
    });
    let Err(OpenError::Damage(damage)) = home.open_at(Anchor::GENESIS) else {
        panic!("it opened")
    };
    assert!(damage.reason.contains("missing"), "{damage}");
}

#[test]
fn a_last_group_that_was_stored_whole_and_changed_refuses() {
    for (chunk, at) in [(0, 10), (0, 900), (1, 50), (2, 3)] {
        let home = SledDatabases::new();
        fill(&mut Owner::of(home.open()), 3);
        tamper(&home, |db| {
            let mut value = db.get(key(81, chunk)).unwrap().unwrap().to_vec();
            value[at] ^= 1;
            db.insert(key(81, chunk), value).unwrap();
        });
        for _ in 0..2 {
            let damage = match home.open_at(Anchor::GENESIS) {
                Err(OpenError::Damage(damage)) => damage,
                Err(error) => panic!("chunk {chunk} changed at {at}: {error:?}"),
                Ok(_) => panic!("it opened with chunk {chunk} changed at {at}"),
            };
            assert_eq!(
                (damage.record.0, &damage.file),
                (81, &home.path().join("00000001.sled"))
            );
            assert!(damage.reason.contains("complete once"), "{damage}");
        }
    }
}

/// The raw bytes of a small last group in sled's file, before sled sees them; sled itself would forget it without a word.
#[test]
fn a_flipped_bit_in_the_raw_bytes_of_a_small_last_group_refuses_for_ever() {
    let home = SledDatabases::new();
    let mut owner = Owner::of(home.open());
    for _ in 0..3 {
        let fresh = payloads(&owner.tail, 2, 60);
        owner.append(&fresh);
    }
    let group = owner.group(&payloads(&owner.tail, 2, 60));
    owner.journal.append(PARTITION, owner.tail.last, &group).unwrap();
    drop(owner);
    let file = home.path().join("00000001.sled/db");
    let mut bytes = fs::read(&file).unwrap();
    let places: Vec<usize> = bytes
        .windows(group.bytes().len())
        .enumerate()
        .filter_map(|(place, window)| (window == group.bytes().as_ref()).then_some(place))
        .collect();
    assert!(!places.is_empty());
    for place in &places {
        bytes[place + 100] ^= 1;
    }
    fs::write(&file, &bytes).unwrap();
    for start in 0..2 {
        let Err(OpenError::Damage(damage)) = home.open_at(Anchor::GENESIS) else {
            panic!("start {start}: it opened")
        };
        assert_eq!(damage.record.0, 7, "{damage}");
        assert!(damage.reason.contains("complete once"), "{damage}");
    }
}
