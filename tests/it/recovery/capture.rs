//! A house becomes a portable snapshot and a house again: while it sells, on the disk, and never out of a damaged file.
use super::{
    agents::{cart, order},
    house::{Gone, Home, House, Keyed, START_MS, Watched},
};
use holdfast::{
    domain::{cart, order::Status, variant::Command},
    storage::{
        checkpoint::Checkpointer,
        data_dir::DataDir,
        dto,
        journal::{Epoch, PartitionId, RecordNumber},
        keys::Claimed,
        recovery::{
            Backend, CaptureAbout, CaptureError, CaptureTo, Captured, JudgeError, RecoverError, capture,
            capture_directory, judge, verify,
        },
        restore::fill_empty,
        snapshot::{
            self, About, Damage, EntityKind, Entry, Item, Place, SnapshotError, SnapshotReader,
            SnapshotWriter, Stand, TailRecord,
        },
        state::Family,
    },
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{atomic::AtomicBool, mpsc},
};

const EPOCH: Epoch = Epoch(1);

fn about() -> CaptureAbout {
    CaptureAbout {
        written_by: "holdfast 0.1.0".to_owned(),
        created_at_ms: START_MS,
        source: "a test".to_owned(),
    }
}

fn taken(checkpointer: &Checkpointer, path: &Path) -> Result<Captured, CaptureError> {
    capture(
        checkpointer,
        EPOCH,
        CaptureTo::File(path),
        &about(),
        &AtomicBool::new(false),
    )
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A shop in the middle of its day, with keys that callers remember and states that it had.
struct Story {
    rng: fastrand::Rng,
    gone: Gone,
    keyed: Vec<Keyed>,
    /// The digest behind each record.
    history: BTreeMap<u64, [u8; 32]>,
}

impl Story {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            gone: Gone::new(),
            keyed: Vec::new(),
            history: BTreeMap::new(),
        }
    }

    fn go_on(&mut self, house: &mut House, steps: usize) {
        for step in 0..steps {
            match self.rng.u32(0..12) {
                0 => {
                    let happened = match self.rng.u32(0..4) {
                        0 => cart::Happened::Forgotten,
                        _ => cart::Happened::Extended,
                    };
                    house.put_cart(cart(self.rng.u64(0..9), []), vec![happened]);
                }
                1 => house.put_order(order(self.rng.u64(0..9), Status::Confirmed), Vec::new()),
                2 => {
                    let existing = house.existing().next().map(|variant| variant.head().ordinal);
                    let key = format!("k{}-{step}", self.keyed.len());
                    let keyed = existing.and_then(|ordinal| house.reserve_keyed(ordinal, &key));
                    self.keyed.extend(keyed);
                }
                _ => house.step(&mut self.rng, &mut self.gone),
            }
            house.settle();
            self.history.insert(house.reader.last().0, house.digest());
            if self.rng.u32(0..25) == 0 {
                house.checkpoint();
            }
        }
    }

    /// What was captured is the state at its position.
    fn check(&self, captured: &Captured) {
        let manifest = &captured.manifest;
        let state = manifest.state.as_ref().unwrap();
        assert_eq!(
            state.digest,
            hex(self.history[&manifest.position]),
            "at record {}",
            manifest.position
        );
        let rows = manifest.rows_number.unwrap();
        assert_eq!(manifest.counts.records, manifest.position - rows);
    }
}

/// Fills a fresh directory from a snapshot and opens it.
fn seeded(backend: Backend, path: &Path) -> (Home, House) {
    let home = Home::new(backend);
    let mut dir = DataDir::open(&home.root()).unwrap();
    fill_empty(&mut dir, &home.options, &home.options.journal(), || {
        SnapshotReader::open(path)
    })
    .unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert_eq!(report.violations, [""; 0]);
    drop(dir);
    let house = home.open();
    (home, house)
}

#[test]
fn a_snapshot_taken_while_it_sells_is_the_house_at_its_position() {
    for (backend, seed) in [(Backend::File, 1), (Backend::Sled, 2), (Backend::File, 3)] {
        let home = Home::new(backend);
        let path = home.dir.path().join("shop.holdfast");
        let mut house = home.open();
        let mut story = Story::new(seed);
        story.go_on(&mut house, 300);
        let mut captured = Vec::new();
        for _ in 0..3 {
            let checkpointer = house.checkpointer.clone();
            let one = std::thread::scope(|scope| {
                let taking = scope.spawn(|| taken(&checkpointer, &path).unwrap());
                while !taking.is_finished() {
                    story.go_on(&mut house, 5);
                }
                taking.join().unwrap()
            });
            story.check(&one);
            captured.push(one.manifest.position);
        }
        assert!(
            house.reader.first() > RecordNumber(1),
            "the log was trimmed meanwhile"
        );
        assert!(captured.is_sorted() && captured[2] > captured[0], "{captured:?}");
        house.close();
    }
}

/// Between the rows and the records the log is written into the rows and trimmed, but for what the snapshot still needs.
#[test]
fn the_log_waits_for_a_snapshot_that_is_being_taken() {
    let home = Home::new(Backend::File);
    let path = home.dir.path().join("shop.holdfast");
    let mut house = home.open();
    let mut story = Story::new(8);
    story.go_on(&mut house, 200);
    house.checkpoint();
    let rows = house.state.checkpoint().unwrap().number;
    let (reached, arrived) = mpsc::channel();
    let (released, going_on) = mpsc::channel::<()>();
    *house.watched.at_last.lock().unwrap() = Some(Box::new(move || {
        reached.send(()).unwrap();
        going_on.recv().unwrap();
    }));
    let (checkpointer, file) = (house.checkpointer.clone(), path.clone());
    let taking = std::thread::Builder::new().name(Watched::WATCHED.to_owned());
    let taking = taking
        .spawn(move || taken(&checkpointer, &file).unwrap())
        .unwrap();
    arrived.recv().unwrap();
    story.go_on(&mut house, 400);
    house.checkpoint();
    let first = house.reader.first().0;
    assert!(first > 1 && first <= rows + 1, "{first}, the rows were at {rows}");
    released.send(()).unwrap();
    let captured = taking.join().unwrap();
    story.check(&captured);
    assert_eq!(captured.manifest.rows_number, Some(rows));
    assert_eq!(captured.manifest.position, house.reader.last().0);
    story.go_on(&mut house, 50);
    house.checkpoint();
    assert!(house.reader.first().0 > rows + 1, "and lets go when it was taken");
    house.close();
}

#[test]
fn a_fresh_directory_becomes_the_house_with_all_it_knows() {
    for backend in [Backend::File, Backend::Sled] {
        let home = Home::new(backend);
        let path = home.dir.path().join("shop.holdfast");
        let mut house = home.open();
        let mut story = Story::new(7);
        story.go_on(&mut house, 400);
        house.checkpoint();
        story.go_on(&mut house, 60);
        let checkpointer = house.checkpointer.clone();
        let captured = taken(&checkpointer, &path).unwrap();
        drop(checkpointer);
        story.check(&captured);
        let state = captured.manifest.state.clone().unwrap();
        assert_eq!(state.variants, house.existing().count() as u64);
        assert_eq!(
            (state.carts, state.orders),
            (house.carts.len() as u64, house.orders.len() as u64)
        );
        assert_eq!(captured.bytes, fs::metadata(&path).unwrap().len());
        for (name, of) in [("held", 0), ("committed", 1), ("onHand", 2)] {
            let figures = |variant: &holdfast::domain::variant::Variant| {
                [variant.held(), variant.committed(), variant.head().on_hand][of]
            };
            let sum: u64 = house.existing().map(figures).sum();
            assert_eq!(captured.manifest.totals[name], sum, "{name}");
        }

        let (_other, fresh) = seeded(backend, &path);
        assert_eq!(fresh.digest(), house.digest());
        assert_eq!(fresh.statistics(), house.statistics());
        assert_eq!(fresh.projection.totals(), house.projection.totals());
        assert_eq!(fresh.next_ordinal, house.next_ordinal);
        for keyed in &story.keyed {
            let Claimed::Known { number } = fresh.keys.claim(keyed.hash, keyed.fingerprint).unwrap() else {
                panic!("a key of before is known")
            };
            assert_eq!(number, keyed.number);
            let payload = fresh.state.key_payload(&keyed.hash).unwrap().unwrap();
            assert_eq!(dto::decode_turn(&payload).unwrap(), keyed.turn, "its answer too");
        }
        house.checkpoint();
        let rows = |house: &House, family| -> Vec<_> {
            house
                .state
                .scan(family, &[], None, usize::MAX)
                .map(Result::unwrap)
                // The gate is in the manifest; this house never entered one.
                .filter(|(key, _)| key != b"gate")
                .collect()
        };
        for family in [
            Family::Entity,
            Family::Hold,
            Family::Ledger,
            Family::Statistics,
            Family::Meta,
        ] {
            assert!(rows(&fresh, family) == rows(&house, family), "{family:?} differs");
        }
        for id in story.gone.keys() {
            let id = id.as_u128().to_be_bytes();
            let ended = |house: &House| house.state.ended(&id).unwrap().map(|(_, row)| row);
            assert_eq!(ended(&fresh), ended(&house));
            assert!(ended(&fresh).is_some());
        }
        fresh.close();
        house.close();
    }
}

#[test]
fn a_directory_that_nobody_serves_is_captured_too() {
    for backend in [Backend::File, Backend::Sled] {
        let home = Home::new(backend);
        let path = home.dir.path().join("shop.holdfast");
        let mut house = home.open();
        let mut story = Story::new(9);
        story.go_on(&mut house, 120);
        let digest = house.digest();
        house.close();
        let dir = DataDir::open(&home.root()).unwrap();
        let captured = capture_directory(&dir, &home.options, CaptureTo::File(&path), &about()).unwrap();
        story.check(&captured);
        assert_eq!(verify(&dir, &home.options).unwrap().digest, digest);
        let (_other, fresh) = seeded(backend, &path);
        assert_eq!(fresh.digest(), digest);
        fresh.close();
    }
}

#[test]
fn an_empty_house_has_a_snapshot() {
    let home = Home::new(Backend::File);
    let path = home.dir.path().join("empty.holdfast");
    let house = home.open();
    let captured = taken(&house.checkpointer, &path).unwrap();
    assert_eq!(
        (
            captured.manifest.position,
            captured.manifest.counts.all_entities()
        ),
        (0, 0)
    );
    let (_other, fresh) = seeded(Backend::File, &path);
    assert_eq!(fresh.digest(), house.digest());
    fresh.close();
    house.close();
}

/// A file on the way to its name that cannot be written leaves nothing, and what was there before stays.
#[test]
fn what_cannot_be_finished_leaves_nothing() {
    let home = Home::new(Backend::File);
    let folder = home.dir.path().join("snapshots");
    fs::create_dir(&folder).unwrap();
    let mut house = home.open();
    Story::new(4).go_on(&mut house, 50);
    let good = folder.join("good.holdfast");
    taken(&house.checkpointer, &good).unwrap();
    let bytes = fs::read(&good).unwrap();
    let full = Path::new("/dev/full");
    let error = if full.exists() {
        std::os::unix::fs::symlink(full, folder.join("full.holdfast.partial")).unwrap();
        let error = taken(&house.checkpointer, &folder.join("full.holdfast")).unwrap_err();
        assert!(error.is_disk_full(), "{error:?}");
        error
    } else {
        fs::create_dir(folder.join("full.holdfast.partial")).unwrap();
        taken(&house.checkpointer, &folder.join("full.holdfast")).unwrap_err()
    };
    assert!(
        matches!(error, CaptureError::Snapshot(SnapshotError::Io { .. })),
        "{error:?}"
    );
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["good.holdfast"]);
    assert!(fs::read(&good).unwrap() == bytes);
    house.close();
}

/// The file of a busy shop with carts, orders, keys, ended reservations and records.
fn busy(path: &Path) -> Captured {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let mut story = Story::new(5);
    story.go_on(&mut house, 300);
    let soap = house.create("north", "gone", 1);
    house.ask(soap, &Command::Delete);
    house.checkpoint();
    story.go_on(&mut house, 40);
    let captured = taken(&house.checkpointer, path).unwrap();
    house.close();
    for kind in [
        EntityKind::HEAD,
        EntityKind::HOLD,
        EntityKind::CART,
        EntityKind::ORDER,
        EntityKind::KEY,
        EntityKind::ENDED,
    ] {
        assert!(captured.manifest.counts.of(kind) > 0, "{}", kind.name());
    }
    assert!(captured.manifest.counts.records > 0);
    captured
}

#[test]
fn two_hundred_flipped_bytes_of_a_busy_shop_are_all_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("busy.holdfast");
    busy(&path);
    let bytes = fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(0xb1f);
    for _ in 0..200 {
        let at = random.usize(..bytes.len());
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << random.u32(..8);
        fs::write(&path, &flipped).unwrap();
        let error = snapshot::verify(&path).expect_err(&format!("byte {at}"));
        match error {
            // A block's length that says more than there is: what is told is where the file ends.
            SnapshotError::Damaged {
                offset,
                damage: Damage::Truncated,
                place: Place::Block(_),
                ..
            } => assert_eq!(offset as usize, bytes.len(), "byte {at}"),
            SnapshotError::Damaged { offset, .. } => {
                assert!(offset as usize <= at, "byte {at}, told {offset}")
            }
            SnapshotError::NotASnapshot { .. } => assert!(at < 8, "byte {at}"),
            error => panic!("byte {at}: {error}"),
        }
        let home = Home::new(Backend::File);
        let mut dir = DataDir::open(&home.root()).unwrap();
        fill_empty(&mut dir, &home.options, &home.options.journal(), || {
            SnapshotReader::open(&path)
        })
        .unwrap_err();
        assert!(dir.is_unused().unwrap() && dir.epoch() == 1, "byte {at}");
    }
}

/// Writes a snapshot again, each item as `change` leaves it.
fn rewritten(path: &Path, to: &Path, mut change: impl FnMut(&mut Item)) {
    let reader = SnapshotReader::open(path).unwrap();
    let manifest = reader.manifest().clone();
    let mut writer = SnapshotWriter::create(to).unwrap();
    for item in reader {
        let mut item = item.unwrap();
        change(&mut item);
        match &item {
            Item::Entity(entry) => writer.entity(entry).unwrap(),
            Item::Record(record) => writer.record(record).unwrap(),
        }
    }
    writer
        .finish(About {
            written_by: manifest.written_by,
            created_at_ms: manifest.created_at_ms,
            epoch: manifest.epoch,
            position: manifest.position,
            logged_at_ms: manifest.logged_at_ms,
            rows_number: manifest.rows_number,
            rows_logged_at_ms: manifest.rows_logged_at_ms,
            rules: manifest.rules,
            rules_since: manifest.rules_since,
            totals: manifest.totals,
            attribution: manifest.attribution,
            source: manifest.source,
        })
        .unwrap();
}

/// Sound bytes that say what cannot be: a forger's file, or one of a house that broke a law.
#[test]
fn sound_bytes_with_false_content_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (
        folder.path().join("busy.holdfast"),
        folder.path().join("false.holdfast"),
    );
    let captured = busy(&path);
    let judged = |path: &Path| judge(&|| SnapshotReader::open(path)).and_then(|judged| judged.lawful());
    assert_eq!(
        judged(&path).unwrap().stand(),
        captured.manifest.state.clone().unwrap()
    );

    rewritten(&path, &other, |item| {
        if let Item::Entity(Entry {
            kind: EntityKind::HEAD,
            state,
            ..
        }) = item
        {
            let mut head = dto::decode_head(state).unwrap();
            head.on_hand += 1;
            *state = dto::encode_head(&head);
        }
    });
    snapshot::verify(&other).unwrap();
    assert!(
        matches!(judged(&other), Err(JudgeError::Laws(_))),
        "{:?}",
        judged(&other)
    );

    let mut first = true;
    rewritten(&path, &other, |item| {
        if let Item::Entity(Entry {
            kind: EntityKind::HOLD,
            id,
            ..
        }) = item
            && std::mem::take(&mut first)
        {
            id[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        }
    });
    assert!(
        matches!(judged(&other), Err(JudgeError::Row(_))),
        "{:?}",
        judged(&other)
    );

    rewritten(&path, &other, |item| {
        if let Item::Record(TailRecord { number, payload, .. }) = item
            && *number == captured.manifest.position
        {
            *payload = b"nothing".to_vec();
        }
    });
    assert!(
        matches!(
            judged(&other),
            Err(JudgeError::Replay(RecoverError::Replay { .. }))
        ),
        "{:?}",
        judged(&other)
    );
}

#[test]
fn a_manifest_that_tells_of_another_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.holdfast");
    let sealed = SnapshotWriter::create(&path).unwrap().seal(About {
        written_by: "test".to_owned(),
        created_at_ms: START_MS,
        epoch: 1,
        position: 0,
        logged_at_ms: None,
        rows_number: None,
        rows_logged_at_ms: None,
        rules: 1,
        rules_since: "0.1.0".to_owned(),
        totals: [].into(),
        attribution: Vec::new(),
        source: "a test".to_owned(),
    });
    sealed.unwrap().publish(Stand::default(), [].into()).unwrap();
    let judged = judge(&|| SnapshotReader::open(&path)).unwrap();
    assert!(
        judged.violations[0].contains("REPLAY_EQUAL"),
        "{:?}",
        judged.violations
    );
}

#[test]
fn the_demo_shop_is_lawful() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/demo.holdfast");
    let judged = judge(&|| SnapshotReader::open(&path)).unwrap().lawful().unwrap();
    let manifest = SnapshotReader::open(&path).unwrap().manifest().clone();
    assert_eq!(judged.variants, manifest.counts.of(EntityKind::VARIANT));
    assert_eq!(judged.totals(), manifest.totals);
    let (_home, house) = seeded(Backend::File, &path);
    assert_eq!(house.digest(), judged.digest);
    house.close();
}

#[test]
fn records_that_were_logged_in_other_groups_are_in_the_archive_too() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let mut story = Story::new(6);
    story.go_on(&mut house, 400);
    house.checkpoint();
    let archive = home.root().join("archive");
    let reader = holdfast::storage::archive::ArchiveReader::open(&archive).unwrap();
    let range = reader.range(EPOCH).unwrap().unwrap();
    assert_eq!(range, RecordNumber(1)..=house.reader.last());
    assert!(house.reader.first() > RecordNumber(1));
    let groups = reader.groups(EPOCH, RecordNumber(1)).unwrap();
    let archived: u64 = groups.map(|group| u64::from(group.unwrap().count())).sum();
    assert_eq!(archived, house.reader.last().0);
    let first = house.reader.first();
    let record = house.reader.record(PartitionId(0), first).unwrap().unwrap();
    let mut groups = reader.groups(EPOCH, first).unwrap();
    let group = groups.next().unwrap().unwrap();
    assert_eq!(group.records_from(first).next().unwrap(), record);
    house.close();
}

/// Every released format stays readable. The file was made once, by this test with UPDATE_GOLDEN=1 and no such file.
#[test]
fn the_golden_file_of_format_1_is_the_house_it_was() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/format-1.holdfast");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        busy(&path);
    }
    let summary = snapshot::verify(&path).unwrap();
    assert!(summary.bytes < 200_000, "{}", summary.bytes);
    let manifest = SnapshotReader::open(&path).unwrap().manifest().clone();
    assert_eq!(manifest.format, 1);
    for kind in [
        EntityKind::HEAD,
        EntityKind::HOLD,
        EntityKind::PURCHASES,
        EntityKind::DEPARTED,
        EntityKind::CART,
        EntityKind::ORDER,
        EntityKind::KEY,
        EntityKind::ENDED,
        EntityKind::LEDGER,
        EntityKind::STATISTICS,
        EntityKind::META,
    ] {
        assert!(summary.counts.of(kind) > 0, "{}", kind.name());
    }
    assert!(summary.counts.records > 0, "it has a tail of the log");
    let judged = judge(&|| SnapshotReader::open(&path)).unwrap().lawful().unwrap();
    assert_eq!(Some(judged.stand()), manifest.state);
    assert_eq!(judged.totals(), manifest.totals);
    let (_home, house) = seeded(Backend::File, &path);
    assert_eq!(hex(house.digest()), manifest.state.unwrap().digest);
    house.close();
}
