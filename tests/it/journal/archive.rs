//! The log archive: what the log let go is there, whatever the disk does; damage and gaps are named.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use holdfast::storage::archive::{ArchiveError, ArchiveNews, ArchiveOptions, ArchiveReader, Keeper};
use holdfast::storage::journal::disk::{Disk, RealDisk};
use holdfast::storage::journal::simulated::Operation;
use holdfast::storage::journal::{Anchor, Damage, Epoch, OpenError, RecordNumber};
use holdfast::storage::trim_holds::TrimHolds;

use super::{
    EPOCH, Home, Owner, PARTITION, RealFiles, SimulatedFiles, SledDatabases, payload, payloads, read_all,
};

const NOW_MS: i64 = 1_000;

fn options(file_bytes: u64) -> ArchiveOptions {
    ArchiveOptions {
        partition: PARTITION,
        epoch: EPOCH,
        file_bytes,
        max_bytes: u64::MAX,
        max_age_ms: i64::MAX,
    }
}

/// What a keeper said.
type Said = Arc<Mutex<Vec<String>>>;

fn keeper(disk: Arc<dyn Disk>, root: &Path, options: ArchiveOptions, holds: &TrimHolds) -> (Keeper, Said) {
    let said = Said::default();
    let heard = Arc::clone(&said);
    let told = move |news: &ArchiveNews<'_>| match news {
        ArchiveNews::Kept { .. } => {}
        ArchiveNews::Failed(error) => heard.lock().unwrap().push(error.to_string()),
        ArchiveNews::Gap { last, next } => heard.lock().unwrap().push(format!("gap {last} {next}")),
    };
    (
        Keeper::new(disk, root.to_owned(), options, holds, Box::new(told)),
        said,
    )
}

/// Up to where a log with these rows may be trimmed.
fn limit(holds: &TrimHolds, stored: RecordNumber) -> RecordNumber {
    let needed = holds
        .oldest()
        .map_or(u64::MAX, |(_, from)| from.0.saturating_sub(1));
    RecordNumber(stored.0.min(needed))
}

fn archived(reader: &ArchiveReader, epoch: Epoch, from: RecordNumber) -> Vec<(u64, Vec<u8>)> {
    let groups = reader.groups(epoch, from).unwrap();
    let records = groups.flat_map(|group| group.unwrap().records_from(from).collect::<Vec<_>>());
    records
        .map(|record| (record.number.0, record.payload.to_vec()))
        .collect()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root.join("1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// A directory with an archive of several files and the owner of its log.
struct Kept {
    _home: RealFiles,
    root: PathBuf,
    owner: Owner,
    holds: TrimHolds,
    keeper: Keeper,
    said: Said,
}

impl Kept {
    fn new(options: ArchiveOptions) -> Self {
        let home = RealFiles::new();
        let root = home.dir.path().join("archive");
        let (owner, holds) = (Owner::of(home.open()), TrimHolds::default());
        let (keeper, said) = keeper(Arc::new(RealDisk), &root, options, &holds);
        Self {
            _home: home,
            root,
            owner,
            holds,
            keeper,
            said,
        }
    }

    fn append(&mut self, groups: usize) {
        for _ in 0..groups {
            let fresh = payloads(&self.owner.tail, 4, 400);
            self.owner.append(&fresh);
        }
    }

    fn follow(&mut self) {
        self.follow_at(NOW_MS, false);
    }

    fn follow_at(&mut self, now_ms: i64, disk_is_low: bool) {
        let reader = self.owner.journal.reader();
        self.keeper
            .follow(&*reader, self.owner.tail.last, now_ms, disk_is_low);
    }

    fn reader(&self) -> ArchiveReader {
        ArchiveReader::open(&self.root).unwrap()
    }
}

#[test]
fn what_the_log_let_go_is_in_the_archive_with_every_back_end() {
    let homes: [(Box<dyn Home>, PathBuf); 2] = {
        let (file, sled) = (RealFiles::new(), SledDatabases::new());
        let roots = (file.dir.path().join("archive"), sled.dir.path().join("archive"));
        [(Box::new(file), roots.0), (Box::new(sled), roots.1)]
    };
    for (home, root) in homes {
        let mut owner = Owner::of(home.open());
        let holds = TrimHolds::default();
        let (mut keeper, said) = keeper(Arc::new(RealDisk), &root, options(8 << 10), &holds);
        for _ in 0..60 {
            let fresh = payloads(&owner.tail, 5, 900);
            owner.append(&fresh);
            let reader = owner.journal.reader();
            keeper.follow(&*reader, owner.tail.last, NOW_MS, false);
            let trimmer = owner.journal.trimmer();
            trimmer.trim(PARTITION, limit(&holds, owner.tail.last)).unwrap();
        }
        assert!(
            owner.journal.reader().first() > RecordNumber(1),
            "nothing was trimmed"
        );
        let reader = ArchiveReader::open(&root).unwrap();
        assert_eq!(reader.epochs(), [EPOCH]);
        let range = reader.range(EPOCH).unwrap().unwrap();
        assert_eq!(range, RecordNumber(1)..=owner.tail.last);
        let expected: Vec<_> = (1..=owner.tail.last.0)
            .map(|number| (number, payload(number, 900)))
            .collect();
        assert!(archived(&reader, EPOCH, RecordNumber(1)) == expected);
        assert!(archived(&reader, EPOCH, RecordNumber(123)) == expected[122..]);
        assert!(files(&root).len() > 4, "the archive never rolled");
        assert_eq!(*said.lock().unwrap(), [""; 0]);
    }
}

#[test]
fn an_archive_goes_on_after_a_restart() {
    let mut kept = Kept::new(options(1 << 20));
    kept.append(3);
    kept.follow();
    let (again, said) = keeper(Arc::new(RealDisk), &kept.root, options(1 << 20), &kept.holds);
    assert_eq!(
        limit(&kept.holds, RecordNumber(12)),
        RecordNumber(0),
        "unread, it needs everything"
    );
    (kept.keeper, kept.said) = (again, said);
    kept.append(2);
    kept.follow();
    assert_eq!(limit(&kept.holds, RecordNumber(20)), RecordNumber(20));
    assert_eq!(files(&kept.root).len(), 1, "a whole file is gone on with");
    assert_eq!(
        kept.reader().range(EPOCH).unwrap().unwrap(),
        RecordNumber(1)..=RecordNumber(20)
    );
    assert_eq!(*kept.said.lock().unwrap(), [""; 0]);
}

#[test]
fn a_torn_tail_is_written_again_beside_it() {
    let mut kept = Kept::new(options(1 << 20));
    kept.append(3);
    kept.follow();
    let file = files(&kept.root).pop().unwrap();
    let (mut bytes, fresh) = (fs::read(&file).unwrap(), payloads(&kept.owner.tail, 4, 400));
    let group = kept.owner.append(&fresh);
    bytes.extend(&group.bytes()[..900]);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(
        kept.reader().range(EPOCH).unwrap().unwrap(),
        RecordNumber(1)..=RecordNumber(12)
    );
    assert_eq!(
        archived(&kept.reader(), EPOCH, RecordNumber(1)).len(),
        12,
        "a torn tail is the end"
    );
    let (again, said) = keeper(Arc::new(RealDisk), &kept.root, options(1 << 20), &kept.holds);
    (kept.keeper, kept.said) = (again, said);
    kept.follow();
    assert_eq!(files(&kept.root).len(), 2);
    assert_eq!(archived(&kept.reader(), EPOCH, RecordNumber(1)).len(), 16);
    assert_eq!(*kept.said.lock().unwrap(), [""; 0]);
}

#[test]
fn damage_and_gaps_are_named_by_file_and_offset() {
    let mut kept = Kept::new(options(4 << 10));
    kept.append(20);
    kept.follow();
    let all = files(&kept.root);
    assert!(all.len() >= 4);
    let whole = fs::read(&all[1]).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..200 {
        let at = random.usize(..whole.len());
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << random.u32(..8);
        fs::write(&all[1], &bytes).unwrap();
        let found = kept
            .reader()
            .groups(EPOCH, RecordNumber(1))
            .unwrap()
            .find_map(Result::err);
        // The rest of the first block says nothing.
        let is_filling = (68..4096).contains(&at);
        match found {
            None => assert!(is_filling, "byte {at}"),
            Some(ArchiveError::File(OpenError::Damage(Damage { file, offset, .. }))) => {
                assert_eq!(file, all[1], "byte {at}");
                assert!(offset as usize <= at, "byte {at}, told {offset}");
            }
            Some(ArchiveError::File(OpenError::TooNew { .. } | OpenError::Foreign { .. })) => {
                panic!("byte {at}: a checksum comes first")
            }
            Some(error) => panic!("byte {at}: {error}"),
        }
    }
    fs::remove_file(&all[1]).unwrap();
    let groups = kept.reader().groups(EPOCH, RecordNumber(1)).unwrap();
    let (good, gap): (Vec<_>, Vec<_>) = groups.partition(Result::is_ok);
    let last = good.last().unwrap().as_ref().unwrap().last();
    let gap = gap.into_iter().next().unwrap().unwrap_err();
    assert!(
        matches!(&gap, ArchiveError::Gap { file, offset, last: told, next }
            if *file == all[0] && *offset == fs::metadata(&all[0]).unwrap().len() && *told == last && *next > last.next()),
        "{gap}"
    );
    fs::remove_file(&all[0]).unwrap();
    let below = kept.reader().groups(EPOCH, RecordNumber(1)).err().unwrap();
    assert!(matches!(below, ArchiveError::Begins { .. }), "{below}");
    let none = kept.reader().groups(Epoch(7), RecordNumber(1)).err().unwrap();
    assert!(matches!(none, ArchiveError::NoEpoch(Epoch(7))), "{none}");
}

#[test]
fn the_oldest_goes_by_size_by_age_and_while_the_disk_is_low() {
    let sized = ArchiveOptions {
        max_bytes: 20 << 10,
        ..options(4 << 10)
    };
    let mut kept = Kept::new(sized);
    kept.append(40);
    kept.follow();
    let bytes = |kept: &Kept| -> u64 {
        files(&kept.root)
            .iter()
            .map(|file| fs::metadata(file).unwrap().len())
            .sum()
    };
    assert!(
        bytes(&kept) <= 20 << 10 && bytes(&kept) > 8 << 10,
        "{}",
        bytes(&kept)
    );
    let range = kept.reader().range(EPOCH).unwrap().unwrap();
    assert!(*range.start() > RecordNumber(1) && *range.end() == kept.owner.tail.last);
    let before = files(&kept.root).len();
    kept.follow_at(NOW_MS, true);
    assert_eq!(files(&kept.root).len(), before - 1, "one a round");

    let aged = ArchiveOptions {
        max_age_ms: 5_000,
        ..options(4 << 10)
    };
    let mut kept = Kept::new(aged);
    kept.append(40);
    kept.follow();
    let all = files(&kept.root).len();
    let newest_ms = kept.owner.tail.logged_at_ms;
    kept.follow_at(newest_ms + 5_000 - 20, false);
    let some = files(&kept.root).len();
    assert!(some < all && some > 1, "{some} of {all}");
    kept.follow_at(i64::MAX, false);
    assert_eq!(files(&kept.root).len(), 1, "the last file stays");
}

#[test]
fn a_failing_disk_is_tried_again_and_the_log_waits_for_it() {
    let home = SimulatedFiles::new(5);
    let root = PathBuf::from("/archive");
    let mut owner = Owner::of(home.open());
    let holds = TrimHolds::default();
    let disk: Arc<dyn Disk> = Arc::new(home.disk.clone());
    let (mut keeper, said) = keeper(Arc::clone(&disk), &root, options(1 << 20), &holds);
    let reader = owner.journal.reader();
    let fresh = payloads(&owner.tail, 3, 100);
    owner.append(&fresh);
    keeper.follow(&*reader, owner.tail.last, NOW_MS, false);
    let fresh = payloads(&owner.tail, 3, 100);
    owner.append(&fresh);
    home.disk.set_plan(|operation, _| match operation {
        Operation::Sync => Err(io::Error::from_raw_os_error(28)),
        Operation::Write | Operation::Meta => Ok(()),
    });
    keeper.follow(&*reader, owner.tail.last, NOW_MS, false);
    assert_eq!(limit(&holds, RecordNumber(6)), RecordNumber(3));
    assert_eq!(said.lock().unwrap().len(), 1);
    home.disk.clear_plan();
    keeper.follow(&*reader, owner.tail.last, NOW_MS, false);
    assert_eq!(limit(&holds, RecordNumber(6)), RecordNumber(6));
    home.disk.crash();
    home.disk.power_on();
    let reader = ArchiveReader::open_on(disk, &root, PARTITION).unwrap();
    assert_eq!(
        archived(&reader, EPOCH, RecordNumber(1)).len(),
        6,
        "what failed once is durable now"
    );
}

#[test]
fn a_low_and_failing_disk_leaves_a_gap_and_not_a_shop_that_stands_still() {
    let mut kept = Kept::new(options(1 << 20));
    kept.append(2);
    kept.follow();
    // A directory in the way of the next file stands for a disk that takes nothing.
    kept.keeper = keeper(Arc::new(RealDisk), &kept.root, options(1), &kept.holds).0;
    kept.follow();
    fs::create_dir(kept.root.join("1/next.unfinished")).unwrap();
    kept.append(2);
    kept.follow_at(NOW_MS, false);
    assert_eq!(
        limit(&kept.holds, RecordNumber(16)),
        RecordNumber(8),
        "it waits while there is room"
    );
    kept.follow_at(NOW_MS, true);
    assert_eq!(limit(&kept.holds, RecordNumber(16)), RecordNumber(16));
}

/// Power failures at any operation, between the rows and the trim: every record is in the log or in the archive.
#[test]
fn a_power_failure_anywhere_leaves_nothing_between_archive_and_log() {
    let (mut trimmed, mut torn) = (0, 0);
    for seed in 0..200 {
        let home = SimulatedFiles::new(seed);
        let root = PathBuf::from("/archive");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..4 {
            let left = AtomicU64::new(rng.u64(20..300));
            home.disk.set_plan(move |_, _| {
                let lives =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                lives.map(|_| ()).map_err(|_| io::Error::from_raw_os_error(5))
            });
            live(&home, &root, &mut rng);
            home.disk.crash();
            home.disk.clear_plan();
            home.disk.power_on();
            let journal = home.open();
            let (first, last) = (journal.reader().first(), journal.reader().last());
            let disk: Arc<dyn Disk> = Arc::new(home.disk.clone());
            let reader = ArchiveReader::open_on(disk, &root, PARTITION).unwrap();
            let mut found = match reader.groups(EPOCH, RecordNumber(1)) {
                Ok(_) => archived(&reader, EPOCH, RecordNumber(1)),
                Err(ArchiveError::NoEpoch(_)) => Vec::new(),
                Err(error) => panic!("seed {seed}: {error}"),
            };
            trimmed += u64::from(first > RecordNumber(1));
            torn += u64::from(found.len() as u64 + 1 < last.0);
            assert!(
                found.len() as u64 + 1 >= first.0,
                "seed {seed}: nothing between {} and {first}",
                found.len()
            );
            found.retain(|(number, _)| *number < first.0);
            found.extend(read_all(&*journal, first));
            let expected: Vec<_> = (1..=last.0)
                .map(|number| (number, payload(number, 700)))
                .collect();
            assert!(found == expected, "seed {seed}");
        }
    }
    assert!(trimmed > 100 && torn > 100, "{trimmed} trimmed, {torn} behind");
}

fn live(home: &SimulatedFiles, root: &Path, rng: &mut fastrand::Rng) {
    let Ok(journal) = home.open_at(Anchor::GENESIS) else {
        return;
    };
    let mut owner = Owner::of(journal);
    let holds = TrimHolds::default();
    let (mut keeper, _) = keeper(Arc::new(home.disk.clone()), root, options(8 << 10), &holds);
    loop {
        let fresh = payloads(&owner.tail, rng.u64(1..6), 700);
        let group = owner.group(&fresh);
        if owner.journal.append(PARTITION, owner.tail.last, &group).is_err() {
            return;
        }
        owner.tail = Anchor::after(&group);
        if rng.u8(0..3) == 0 {
            let reader = owner.journal.reader();
            keeper.follow(&*reader, owner.tail.last, NOW_MS, false);
            let upto = limit(&holds, owner.tail.last);
            if owner.journal.trimmer().trim(PARTITION, upto).is_err() {
                return;
            }
        }
    }
}
