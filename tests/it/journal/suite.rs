//! What every back end promises.
use holdfast::storage::journal::format::PAYLOAD_BYTES_MAX;
use holdfast::storage::journal::verify::verify_log;
use holdfast::storage::journal::{Anchor, AppendError, Epoch, PartitionId, ReadError, RecordNumber};

use super::{Home, Owner, PARTITION, RealFiles, SimulatedFiles, SledDatabases, payload, payloads, read_all};

macro_rules! on_every_back_end {
    ($($promise:ident),+ $(,)?) => {
        mod on_files {
            $(#[test] fn $promise() { super::$promise(&super::RealFiles::new()); })+
        }
        mod on_simulated_files {
            $(#[test] fn $promise() { super::$promise(&super::SimulatedFiles::new(1)); })+
        }
        mod on_sled {
            $(#[test] fn $promise() { super::$promise(&super::SledDatabases::new()); })+
        }
    };
}

on_every_back_end!(
    an_empty_log_has_no_records,
    numbers_and_chain_go_on_after_reopening,
    a_log_may_begin_behind_a_snapshot,
    a_stranger_is_fenced_and_nothing_is_written,
    reading_is_bounded_and_random,
    the_largest_group_reads_back,
    a_long_log_reads_as_it_was_written,
    trimming_drops_old_records_and_keeps_the_tail,
    trimming_does_not_disturb_a_reader,
    a_reader_follows_the_writer_from_another_thread,
);

fn an_empty_log_has_no_records(home: &dyn Home) {
    let mut journal = home.open();
    let tail = journal.acquire(PARTITION).unwrap();
    assert_eq!((tail.last, tail.cut), (RecordNumber::ZERO, None));
    let reader = journal.reader();
    assert_eq!(
        (reader.first(), reader.last()),
        (RecordNumber(1), RecordNumber::ZERO)
    );
    assert!(reader.read(PARTITION, RecordNumber(1), 1_000).unwrap().is_empty());
    assert_eq!(reader.record(PARTITION, RecordNumber(1)).unwrap(), None);
    assert_eq!(verify_log(&*reader, PARTITION).unwrap().groups, 0);
    assert!(matches!(
        journal.acquire(PartitionId(1)),
        Err(AppendError::Fenced { .. })
    ));
}

fn numbers_and_chain_go_on_after_reopening(home: &dyn Home) {
    let mut expected = Vec::new();
    let mut before = Anchor::GENESIS;
    for round in 1..=5 {
        let mut owner = Owner::of(home.open());
        assert_eq!(owner.tail, before, "round {round}");
        for count in 1..=round {
            let fresh = payloads(&owner.tail, count, 30);
            expected.extend(fresh.iter().cloned());
            owner.append(&fresh);
        }
        before = owner.tail;
        let verified = verify_log(&*owner.journal.reader(), PARTITION).unwrap();
        assert_eq!((verified.first.0, verified.last), (1, owner.tail.last));
    }
    let read = read_all(&*home.open(), RecordNumber(1));
    assert_eq!(read, (1..).zip(expected).collect::<Vec<_>>());
}

fn a_log_may_begin_behind_a_snapshot(home: &dyn Home) {
    let start = Anchor {
        last: RecordNumber(1_000),
        chain: [9; 32],
        logged_at_ms: 50,
    };
    let mut owner = Owner::of(home.open_at(start).unwrap());
    assert_eq!(owner.tail, start);
    let group = owner.append(&payloads(&start, 2, 10));
    assert_eq!((group.first().0, group.previous()), (1_001, &[9; 32]));
    let tail = owner.tail;
    drop(owner);
    let owner = Owner::of(home.open());
    assert_eq!(owner.tail, tail);
    let below = owner.journal.reader().read(PARTITION, RecordNumber(1_000), 1_000);
    assert!(matches!(
        below,
        Err(ReadError::Trimmed {
            first: RecordNumber(1_001)
        })
    ));
}

fn a_stranger_is_fenced_and_nothing_is_written(home: &dyn Home) {
    let mut owner = Owner::of(home.open());
    for _ in 0..3 {
        let fresh = payloads(&owner.tail, 1, 20);
        owner.append(&fresh);
    }
    let good = owner.tail;
    let next = payloads(&good, 1, 20);
    let strangers = [
        (
            "behind",
            Anchor {
                last: RecordNumber(2),
                ..good
            },
            owner.epoch,
            RecordNumber(2),
        ),
        (
            "ahead",
            Anchor {
                last: RecordNumber(4),
                ..good
            },
            owner.epoch,
            RecordNumber(4),
        ),
        (
            "the group is of another place",
            Anchor {
                last: RecordNumber(2),
                ..good
            },
            owner.epoch,
            good.last,
        ),
        (
            "another chain",
            Anchor {
                chain: [1; 32],
                ..good
            },
            owner.epoch,
            good.last,
        ),
        ("another epoch", good, Epoch(owner.epoch.0 + 1), good.last),
        (
            "older",
            Anchor {
                logged_at_ms: 0,
                ..good
            },
            owner.epoch,
            good.last,
        ),
    ];
    for (what, tail, epoch, expected) in strangers {
        let real_epoch = owner.epoch;
        (owner.tail, owner.epoch) = (tail, epoch);
        let group = owner.group(&next);
        (owner.tail, owner.epoch) = (good, real_epoch);
        let refused = owner.journal.append(PARTITION, expected, &group);
        assert!(
            matches!(refused, Err(AppendError::Fenced { .. })),
            "{what}: {refused:?}"
        );
        assert_eq!(owner.journal.reader().last(), good.last, "{what}");
    }
    let group = owner.group(&next);
    let refused = owner.journal.append(PartitionId(1), good.last, &group);
    assert!(matches!(refused, Err(AppendError::Fenced { .. })));
    // A refusal is not a failure: the owner goes on.
    owner.append(&next);
    drop(owner);
    assert_eq!(Owner::of(home.open()).tail.last, RecordNumber(4));
}

fn reading_is_bounded_and_random(home: &dyn Home) {
    let mut owner = Owner::of(home.open());
    let sizes: Vec<usize> = (1..=40_u64)
        .map(|count| {
            let fresh = payloads(&owner.tail, count % 5 + 1, 100);
            owner.append(&fresh).bytes().len()
        })
        .collect();
    let reader = owner.journal.reader();
    let last = owner.tail.last;
    for number in 1..=last.0 {
        let record = reader.record(PARTITION, RecordNumber(number)).unwrap().unwrap();
        assert_eq!(
            (record.number.0, record.payload.to_vec()),
            (number, payload(number, 100))
        );
        let groups = reader.read(PARTITION, record.number, 0).unwrap();
        assert_eq!(
            groups.len(),
            1,
            "at least one group, and no more than was asked for"
        );
        assert!(groups[0].first() <= record.number && record.number <= groups[0].last());
        assert_eq!(
            groups[0].records_from(record.number).next().unwrap().number,
            record.number
        );
    }
    for limit in [1, sizes[0], sizes[0] + 1, sizes[0] + sizes[1], 3_000] {
        let groups = reader.read(PARTITION, RecordNumber(1), limit).unwrap();
        let bytes: usize = groups.iter().map(|group| group.bytes().len()).sum();
        assert!(bytes <= limit || groups.len() == 1, "{bytes} bytes for {limit}");
    }
    let two = reader
        .read(PARTITION, RecordNumber(1), sizes[0] + sizes[1])
        .unwrap();
    assert_eq!(two.len(), 2);
    assert!(reader.read(PARTITION, last.next(), 1_000).unwrap().is_empty());
    assert_eq!(reader.record(PARTITION, last.next()).unwrap(), None);
}

fn the_largest_group_reads_back(home: &dyn Home) {
    let mut owner = Owner::of(home.open());
    owner.append(&payloads(&Anchor::GENESIS, 1, 10));
    for _ in 0..3 {
        let large = vec![payload(owner.tail.last.0 + 1, PAYLOAD_BYTES_MAX)];
        owner.append(&large);
    }
    owner.append(&payloads(&owner.tail.clone(), 1, 10));
    drop(owner);
    let records = read_all(&*home.open(), RecordNumber(1));
    let lengths: Vec<usize> = records.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(
        lengths,
        [10, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX, 10]
    );
}

fn a_long_log_reads_as_it_was_written(home: &dyn Home) {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut expected = Vec::new();
    let mut owner = Owner::of(home.open());
    for _ in 0..150 {
        if rng.u8(0..20) == 0 {
            drop(owner);
            owner = Owner::of(home.open());
        }
        let count = rng.u64(1..20);
        let fresh: Vec<_> = (1..=count)
            .map(|index| payload(owner.tail.last.0 + index, rng.usize(0..600)))
            .collect();
        expected.extend(fresh.iter().cloned());
        owner.append(&fresh);
    }
    assert_eq!(
        read_all(&*owner.journal, RecordNumber(1)),
        (1..).zip(expected.clone()).collect::<Vec<_>>()
    );
    let size = owner.journal.reader().size_bytes();
    assert!(size as usize >= expected.iter().map(Vec::len).sum(), "{size}");
}

fn fill(owner: &mut Owner, groups: u64) {
    for _ in 0..groups {
        let fresh = payloads(&owner.tail, 10, 200);
        owner.append(&fresh);
    }
}

fn trimming_drops_old_records_and_keeps_the_tail(home: &dyn Home) {
    let mut owner = Owner::of(home.open());
    fill(&mut owner, 60);
    assert_eq!(
        owner.journal.trim(PARTITION, RecordNumber::ZERO).unwrap(),
        RecordNumber(1)
    );
    let first = owner.journal.trim(PARTITION, RecordNumber(300)).unwrap();
    assert!(
        first.0 > 1 && first.0 <= 301,
        "only records up to 300 may go, not {first}"
    );
    let reader = owner.journal.reader();
    assert_eq!(reader.first(), first);
    let below = reader.read(PARTITION, RecordNumber(first.0 - 1), 100);
    assert!(matches!(below, Err(ReadError::Trimmed { first: named }) if named == first));
    assert!(matches!(
        reader.record(PARTITION, RecordNumber(1)),
        Err(ReadError::Trimmed { .. })
    ));
    assert_eq!(verify_log(&*reader, PARTITION).unwrap().last, RecordNumber(600));
    assert!(matches!(
        owner.journal.trim(PartitionId(1), first),
        Err(AppendError::Fenced { .. })
    ));

    // Everything may go, but the tail must be found again: the last group stays.
    let first = owner.journal.trim(PARTITION, RecordNumber(10_000)).unwrap();
    assert!(first.0 <= 600);
    let tail = owner.tail;
    drop((owner, reader));
    let mut owner = Owner::of(home.open());
    assert_eq!(owner.tail, tail);
    assert_eq!(owner.journal.reader().first(), first);
    fill(&mut owner, 1);
    assert_eq!(read_all(&*owner.journal, first).last().unwrap().0, 610);
}

fn trimming_does_not_disturb_a_reader(home: &dyn Home) {
    let mut owner = Owner::of(home.open());
    fill(&mut owner, 60);
    let (reader, trimmer) = (owner.journal.reader(), owner.journal.trimmer());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for upto in (0..600).step_by(10) {
                trimmer.trim(PARTITION, RecordNumber(upto)).unwrap();
            }
        });
        let mut next = RecordNumber(1);
        while next <= RecordNumber(600) {
            match reader.read(PARTITION, next, 4_000) {
                Ok(groups) => {
                    for record in groups.iter().flat_map(|group| group.records_from(next)) {
                        assert_eq!(record.payload, payload(record.number.0, 200));
                    }
                    next = groups.last().unwrap().last().next();
                }
                Err(ReadError::Trimmed { first }) => next = first,
                Err(error) => panic!("{error}"),
            }
        }
        fill(&mut owner, 20);
    });
    assert_eq!(owner.journal.reader().last(), RecordNumber(800));
}

fn a_reader_follows_the_writer_from_another_thread(home: &dyn Home) {
    let mut owner = Owner::of(home.open());
    let reader = owner.journal.reader();
    let follower = std::thread::spawn(move || {
        let mut next = RecordNumber(1);
        while next <= RecordNumber(600) {
            let from = next;
            let groups = reader.read(PARTITION, from, 10_000).unwrap();
            for record in groups.iter().flat_map(|group| group.records_from(from)) {
                assert_eq!(
                    (record.number, record.payload.to_vec()),
                    (next, payload(next.0, 200))
                );
                next = next.next();
            }
            std::thread::yield_now();
        }
    });
    fill(&mut owner, 60);
    follower.join().unwrap();
}
