//! The portable snapshot file: what was written is read again, and nothing else is.
use holdfast::storage::snapshot::{
    About, BLOCK_BYTES, Damage, ENTRY_BYTES_MAX, EntityKind, Entry, FORMAT, Item, Place, SnapshotError,
    SnapshotReader, SnapshotWriter, Summary, TailRecord, verify,
};
use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

#[test]
fn what_was_written_is_read_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.holdfast");
    let items = sample();
    let written = write(&path, &items).unwrap();

    let mut reader = SnapshotReader::open(&path).unwrap();
    assert_eq!(reader.manifest().position, 4200);
    assert_eq!(reader.manifest().digest, written.digest.to_string());
    assert_eq!(reader.manifest().attribution, ["Somebody, CC BY 4.0"]);
    let read: Vec<Item> = reader.by_ref().map(Result::unwrap).collect();
    assert!(read == items, "entries differ");
    assert_eq!(reader.into_summary(), Some(written.clone()));

    assert_eq!(verify(&path).unwrap(), written);
    assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(written.counts.of(EntityKind::VARIANT), 1500);
    assert_eq!(written.counts.of(EntityKind::POLICY), 1);
    assert_eq!(written.counts.records, 800);
    assert!(
        written.blocks > 4,
        "the sample spans blocks, else the tests below say little"
    );
    assert_eq!(names_in(folder.path()), ["a.holdfast"], "no temporary file stays");
}

#[test]
fn an_empty_shop_has_a_snapshot() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("empty.holdfast");
    let written = write(&path, &[]).unwrap();
    assert_eq!((written.blocks, written.counts.all_entities()), (0, 0));
    assert_eq!(verify(&path).unwrap(), written);
}

#[test]
fn the_same_content_gives_the_same_file() {
    let folder = TempDir::new().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    write(&a, &sample()).unwrap();
    write(&b, &sample()).unwrap();
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
}

#[test]
fn the_digest_is_of_the_content_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a");
    let one = write(&path, &sample()).unwrap();
    let mut writer = SnapshotWriter::create(&path).unwrap();
    sample()
        .iter()
        .try_for_each(|item| put(&mut writer, item))
        .unwrap();
    let later = About {
        created_at_ms: 1_900_000_000_000,
        written_by: "holdfast 9.9.9".to_owned(),
        ..about()
    };
    assert_eq!(writer.finish(later).unwrap().digest, one.digest);

    let mut other = sample();
    let Item::Entity(entry) = &mut other[700] else {
        panic!("an entity")
    };
    entry.number += 1;
    assert_ne!(write(&path, &other).unwrap().digest, one.digest);
}

#[test]
fn every_flipped_byte_is_found() {
    let file = SampleFile::new();
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let parts = file.parts();
    let spread = (0..200).map(|_| random.usize(..file.bytes.len()));
    // Small parts would hardly be hit by chance.
    let ends = parts
        .iter()
        .flat_map(|part| [part.start, part.start + 9, part.end - 1]);
    for at in spread.chain(ends).chain(0..24).collect::<Vec<_>>() {
        let mut bytes = file.bytes.clone();
        bytes[at] ^= 1 << random.u32(..8);
        let error = file
            .judge(&bytes)
            .expect_err(&format!("byte {at} of {}", bytes.len()));
        if let SnapshotError::Damaged { place, offset, .. } = &error {
            let expected = match parts.iter().position(|part| part.contains(&at)) {
                Some(0) => Place::Prologue,
                Some(1) => Place::Manifest,
                Some(part) => Place::Block(u32::try_from(part - 2).unwrap()),
                None => panic!("the parts cover the file"),
            };
            assert_eq!(*place, expected, "byte {at}: {error}");
            assert!(*offset as usize <= bytes.len());
        } else {
            assert!(
                at < 8 && matches!(error, SnapshotError::NotASnapshot { .. }),
                "byte {at}: {error}"
            );
        }
    }
}

#[test]
fn every_cut_is_found() {
    let file = SampleFile::new();
    let boundaries = file.parts().into_iter().flat_map(|part| [part.start, part.end]);
    for cut in boundaries.flat_map(|at| [at.saturating_sub(1), at, at + 1]) {
        if cut >= file.bytes.len() {
            continue;
        }
        match file.judge(&file.bytes[..cut]) {
            Err(SnapshotError::Damaged {
                damage: Damage::Truncated,
                offset,
                ..
            }) => {
                assert_eq!(offset, cut as u64);
            }
            Err(SnapshotError::NotASnapshot { .. }) => assert!(cut < 8, "cut at {cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn swapped_repeated_and_missing_blocks_are_found() {
    let file = SampleFile::new();
    let parts = file.parts();
    let blocks = &parts[2..];
    let with_order = |order: &[usize]| {
        let mut bytes = file.bytes[..blocks[0].start].to_vec();
        for &block in order {
            bytes.extend(&file.bytes[blocks[block].clone()]);
        }
        file.judge(&bytes)
    };
    let straight: Vec<usize> = (0..blocks.len()).collect();
    assert!(
        with_order(&straight).is_ok(),
        "the test's own view of the file is right"
    );

    for at in 0..blocks.len() - 2 {
        let mut swapped = straight.clone();
        swapped.swap(at, at + 1);
        let mut repeated = straight.clone();
        repeated.insert(at, at);
        let mut missing = straight.clone();
        missing.remove(at);
        for (order, index, found) in [
            (swapped, at, at + 1),
            (repeated, at + 1, at),
            (missing, at, at + 1),
        ] {
            match with_order(&order) {
                Err(SnapshotError::Damaged {
                    place: Place::Block(place),
                    damage,
                    ..
                }) => {
                    let found = u32::try_from(found).unwrap();
                    assert_eq!((place as usize, damage), (index, Damage::WrongBlock { found }));
                }
                other => panic!("{order:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_sound_block_of_another_snapshot_is_found_by_the_digest() {
    let file = SampleFile::new();
    let mut other = sample();
    let Item::Entity(entry) = &mut other[0] else {
        panic!("an entity")
    };
    entry.state[0] ^= 1;
    let other = SampleFile::of(&other);
    let (first, others) = (file.parts()[2].clone(), other.parts()[2].clone());
    let bytes = [
        &file.bytes[..first.start],
        &other.bytes[others],
        &file.bytes[first.end..],
    ]
    .concat();
    let last = u32::try_from(file.parts().len() - 3).unwrap();
    match file.judge(&bytes) {
        Err(SnapshotError::Damaged { place, damage, .. }) => {
            assert_eq!((place, damage), (Place::Block(last), Damage::Digest));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_manifest_of_another_snapshot_is_found() {
    let file = SampleFile::new();
    let other = SampleFile::of(&sample()[1..]);
    let blocks = file.parts()[2].start;
    let bytes = [&other.bytes[..blocks], &file.bytes[blocks..]].concat();
    match file.judge(&bytes) {
        Err(SnapshotError::Damaged {
            place: Place::Manifest,
            damage,
            ..
        }) => {
            assert_eq!(damage, Damage::ManifestDiffers("digest"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_behind_the_end_are_found() {
    let file = SampleFile::new();
    match file.judge(&[&file.bytes[..], b"\0"].concat()) {
        Err(SnapshotError::Damaged {
            place: Place::AfterEnd,
            offset,
            damage,
            ..
        }) => {
            assert_eq!((offset, damage), (file.bytes.len() as u64, Damage::Trailing));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bomb_unpacks_no_further_than_its_block_may() {
    bomb(64 << 20);
    bomb(300_001);
    // The opposite: fewer bytes than the block says.
    bomb(299_999);
}

fn bomb(unpacked: usize) {
    let file = SampleFile::new();
    let block = file.parts()[2].clone();
    let bomb = zstd::bulk::compress(&vec![0; unpacked], 19).unwrap();
    let packed = u32::try_from(bomb.len()).unwrap();
    let planted = |unpacked: u32| {
        let mut head = file.bytes[block.start..block.start + 24].to_vec();
        head[16..20].copy_from_slice(&unpacked.to_le_bytes());
        head[20..24].copy_from_slice(&packed.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &bomb);
        [&file.bytes[..block.start], &head, &crc.to_le_bytes(), &bomb].concat()
    };
    for (declared, limit) in [(300_000, false), (64 << 20, true), (u32::MAX, true)] {
        match file.judge(&planted(declared)) {
            Err(SnapshotError::Damaged {
                place: Place::Block(0),
                offset,
                damage,
                ..
            }) => {
                assert_eq!(offset, block.start as u64);
                assert_eq!(matches!(damage, Damage::OverLimit { .. }), limit, "{damage}");
                assert_eq!(matches!(damage, Damage::Unpack { .. }), !limit, "{damage}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_later_format_names_its_writer_and_a_foreign_file_is_no_snapshot() {
    let file = SampleFile::new();
    let mut bytes = file.bytes.clone();
    bytes[8..10].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    match file.judge(&bytes) {
        Err(SnapshotError::UnknownFormat {
            format, written_by, ..
        }) => {
            assert_eq!((format, written_by.as_str()), (FORMAT + 1, "holdfast 0.0.0-test"));
        }
        other => panic!("{other:?}"),
    }
    for foreign in [
        &b""[..],
        b"PK\x03\x04",
        b"id,name\n1,a shop in a text file, longer than a prologue\n",
    ] {
        assert!(matches!(
            file.judge(foreign),
            Err(SnapshotError::NotASnapshot { .. })
        ));
    }
}

#[test]
fn a_writer_refuses_what_no_reader_would_take() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a");
    let mut writer = SnapshotWriter::create(&path).unwrap();
    let fits = entity(1, ENTRY_BYTES_MAX - 14 - 8);
    writer.entity(&fits).unwrap();
    let larger = entity(2, ENTRY_BYTES_MAX - 14 - 7);
    assert!(matches!(
        writer.entity(&larger),
        Err(SnapshotError::EntryTooLarge { .. })
    ));
    let long_id = Entry {
        id: vec![b'x'; 1025],
        ..entity(3, 1)
    };
    assert!(matches!(
        writer.entity(&long_id),
        Err(SnapshotError::IdTooLong { bytes: 1025 })
    ));

    writer.record(&record(5)).unwrap();
    let gap = writer.record(&record(7));
    assert!(matches!(gap, Err(SnapshotError::RecordGap { last: 5, found: 7 })));
    assert!(matches!(
        writer.entity(&entity(4, 1)),
        Err(SnapshotError::EntityAfterRecord)
    ));
    writer.record(&record(6)).unwrap();
    let summary = writer.finish(about()).unwrap();
    assert_eq!((summary.counts.all_entities(), summary.counts.records), (1, 2));

    let writer = SnapshotWriter::create(&path).unwrap();
    let source = "x".repeat(9000);
    let too_long = writer.finish(About { source, ..about() });
    assert!(matches!(too_long, Err(SnapshotError::ManifestTooLong { .. })));
    assert_eq!(verify(&path).unwrap(), summary, "the earlier file is untouched");
    assert_eq!(names_in(folder.path()), ["a"]);
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let mut writer = SnapshotWriter::create(&folder.path().join("a")).unwrap();
    writer.entity(&entity(1, BLOCK_BYTES)).unwrap();
    assert_eq!(names_in(folder.path()), ["a.partial"]);
    drop(writer);
    assert!(names_in(folder.path()).is_empty());
}

/// A sound snapshot with several blocks of each content, in memory and as a place to judge damaged copies.
struct SampleFile {
    _folder: TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl SampleFile {
    fn new() -> Self {
        Self::of(&sample())
    }

    fn of(items: &[Item]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("sample");
        write(&path, items).unwrap();
        let bytes = fs::read(&path).unwrap();
        Self {
            _folder: folder,
            path,
            bytes,
        }
    }

    fn judge(&self, bytes: &[u8]) -> Result<Summary, SnapshotError> {
        fs::write(&self.path, bytes).unwrap();
        verify(&self.path)
    }

    /// Prologue, manifest and blocks, by the layout as it is documented.
    fn parts(&self) -> Vec<Range<usize>> {
        let u32_at = |at: usize| u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap()) as usize;
        let mut parts = vec![0..24, 24..24 + u32_at(12)];
        while let Some(Range { end: start, .. }) = parts.last().cloned()
            && start < self.bytes.len()
        {
            assert_eq!(&self.bytes[start..start + 4], b"HFBK");
            parts.push(start..start + 28 + u32_at(start + 20));
        }
        parts
    }
}

/// States that hardly compress, so that the file has many bytes that matter.
fn sample() -> Vec<Item> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut state = |at: u64| {
        let mut entry = entity(at, random.usize(1..400));
        random.fill(&mut entry.state);
        entry
    };
    let policy = Entry {
        kind: EntityKind::POLICY,
        ..state(0)
    };
    let variants: Vec<Entry> = (0..1500).map(state).collect();
    let entities = variants.into_iter().chain([policy]).map(Item::Entity);
    entities
        .chain((3401..=4200).map(record).map(Item::Record))
        .collect()
}

fn entity(at: u64, bytes: usize) -> Entry {
    Entry {
        kind: EntityKind::VARIANT,
        id: at.to_be_bytes().to_vec(),
        number: at * 3,
        state: vec![b's'; bytes],
    }
}

fn record(number: u64) -> TailRecord {
    let payload = fastrand::Rng::with_seed(number).u128(..).to_le_bytes().repeat(40);
    TailRecord {
        number,
        logged_at: number.cast_signed() * 10 - 1,
        payload,
    }
}

fn about() -> About {
    About {
        written_by: "holdfast 0.0.0-test".to_owned(),
        created_at_ms: 1_800_000_000_000,
        epoch: 1,
        position: 4200,
        logged_at_ms: None,
        rows_number: None,
        rows_logged_at_ms: None,
        rules: 1,
        rules_since: "0.0.0-test".to_owned(),
        totals: [("onHand".to_owned(), 7)].into(),
        attribution: vec!["Somebody, CC BY 4.0".to_owned()],
        source: "a test".to_owned(),
    }
}

fn write(path: &Path, items: &[Item]) -> Result<Summary, SnapshotError> {
    let mut writer = SnapshotWriter::create(path)?;
    items.iter().try_for_each(|item| put(&mut writer, item))?;
    writer.finish(about())
}

fn put(writer: &mut SnapshotWriter, item: &Item) -> Result<(), SnapshotError> {
    match item {
        Item::Entity(entry) => writer.entity(entry),
        Item::Record(record) => writer.record(record),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
