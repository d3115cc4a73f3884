//! A portable snapshot becomes a data directory.
use super::{
    agents::{cart, order},
    house::{Home, shopper},
};
use holdfast::{
    domain::{
        cart,
        order::Status,
        rules::{Gate, Rules},
        time::Timestamp,
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{PartitionId, RecordNumber},
        recovery::{Backend, verify},
        restore::{RestoreError, fill_empty},
        snapshot::{About, EntityKind, Entry, SnapshotReader, SnapshotWriter, TailRecord},
        state::Family,
    },
};

/// A snapshot whose first variant was taken before the last records and whose second after them.
fn snapshot(home: &Home, path: &std::path::Path, rules: Rules) -> [u8; 32] {
    let mut house = home.open();
    let soap = house.create("default", "soap", 100);
    let towel = house.create("default", "towel", 100);
    let early = house.variants[&soap.0].clone();
    for variant in [soap, towel, soap, towel] {
        let command = house.reserve(variant, 2, shopper(Some(1), Some(2)), 60_000);
        house.ask(variant, &command);
    }
    house.settle();
    let mut writer = SnapshotWriter::create(path).unwrap();
    for (variant, number) in [(&early, 1), (&house.variants[&towel.0], 6)] {
        let id = variant.head().ordinal.0.to_be_bytes().to_vec();
        let state = dto::encode_variant(variant);
        writer
            .entity(&Entry {
                kind: EntityKind::VARIANT,
                id,
                number,
                state,
            })
            .unwrap();
    }
    for number in 2..=6 {
        let record = house
            .reader
            .record(PartitionId(0), RecordNumber(number))
            .unwrap()
            .unwrap();
        writer
            .record(&TailRecord {
                number,
                logged_at: record.logged_at_ms,
                payload: record.payload.to_vec(),
            })
            .unwrap();
    }
    let about = About {
        written_by: "test".to_owned(),
        created_at_ms: house.now().as_millis(),
        epoch: 1,
        position: 6,
        logged_at_ms: None,
        rows_number: None,
        rows_logged_at_ms: None,
        rules: rules.0,
        rules_since: "9.9.9".to_owned(),
        totals: [].into(),
        attribution: Vec::new(),
        source: "a test".to_owned(),
    };
    writer.finish(about).unwrap();
    let digest = house.digest();
    house.close();
    digest
}

#[test]
fn a_snapshot_taken_while_records_ran_becomes_the_house_at_its_position() {
    for backend in [Backend::File, Backend::Sled] {
        let (source, home) = (Home::new(Backend::File), Home::new(backend));
        let path = source.dir.path().join("shop.holdfast");
        let digest = snapshot(&source, &path, Rules::CURRENT);

        let mut dir = DataDir::open(&home.root()).unwrap();
        let open = || SnapshotReader::open(&path);
        let seeded = fill_empty(&mut dir, &home.options, &home.options.journal(), open).unwrap();
        assert_eq!(
            (seeded.counted.variants, seeded.position.to_string(), dir.epoch()),
            (2, "2-6".to_owned(), 2)
        );
        assert_eq!(seeded.digest, digest);
        let again = fill_empty(&mut dir, &home.options, &home.options.journal(), open).unwrap_err();
        assert!(matches!(again, RestoreError::NotEmpty), "{again:?}");
        assert!(verify(&dir, &home.options).unwrap().is_sound());
        drop(dir);

        let mut house = home.open();
        let gate = Gate {
            rules: Rules::CURRENT,
            release: "9.9.9".to_owned(),
        };
        assert_eq!(house.gate, Some(gate), "the rules come with the snapshot");
        assert_eq!((house.digest(), house.next_ordinal), (digest, 2));
        assert!(house.now() > Timestamp::from_millis(0));
        let brush = house.create("default", "brush", 1);
        house.settle();
        assert_eq!(
            (brush.0, house.reader.last()),
            (2, RecordNumber(7)),
            "numbers go on"
        );
        let digest = house.digest();
        house.close();
        let house = home.open();
        assert_eq!(house.digest(), digest);
        house.close();
    }
}

/// Of two carts and an order taken at record 2; behind them the first cart changes, the second is forgotten, and an order comes.
#[test]
fn a_snapshot_with_carts_and_orders_becomes_the_house_at_its_position() {
    let (source, home) = (Home::new(Backend::File), Home::new(Backend::File));
    let path = source.dir.path().join("shop.holdfast");
    let mut house = source.open();
    house.put_cart(cart(1, []), vec![cart::Happened::Created]);
    house.put_cart(cart(2, []), vec![cart::Happened::Created]);
    house.put_order(order(1, Status::PendingPayment), Vec::new());
    let mut writer = SnapshotWriter::create(&path).unwrap();
    let carts = house.carts.iter();
    let carts = carts.map(|(bits, cart)| (EntityKind::CART, *bits, dto::encode_cart(cart)));
    let orders = house.orders.iter();
    let orders = orders.map(|(bits, order)| (EntityKind::ORDER, *bits, dto::encode_order(order)));
    for (kind, bits, state) in carts.chain(orders) {
        let id = bits.to_be_bytes().to_vec();
        let number = 3;
        writer
            .entity(&Entry {
                kind,
                id,
                number,
                state,
            })
            .unwrap();
    }
    house.put_cart(cart(1, []), vec![cart::Happened::Extended]);
    house.put_cart(cart(2, []), vec![cart::Happened::Forgotten]);
    house.put_order(order(1, Status::Confirmed), Vec::new());
    house.put_order(order(2, Status::PendingPayment), Vec::new());
    house.settle();
    for number in 4..=7 {
        let record = house.reader.record(PartitionId(0), RecordNumber(number)).unwrap();
        let record = record.unwrap();
        let (logged_at, payload) = (record.logged_at_ms, record.payload.to_vec());
        writer
            .record(&TailRecord {
                number,
                logged_at,
                payload,
            })
            .unwrap();
    }
    let about = About {
        written_by: "test".to_owned(),
        created_at_ms: house.now().as_millis(),
        epoch: 1,
        position: 7,
        logged_at_ms: None,
        rows_number: None,
        rows_logged_at_ms: None,
        rules: Rules::CURRENT.0,
        rules_since: "9.9.9".to_owned(),
        totals: [].into(),
        attribution: Vec::new(),
        source: "a test".to_owned(),
    };
    let summary = writer.finish(about).unwrap();
    assert_eq!(
        (
            summary.counts.of(EntityKind::CART),
            summary.counts.of(EntityKind::ORDER)
        ),
        (2, 1)
    );
    assert_eq!(
        summary.counts.entities["carts"] + summary.counts.entities["orders"],
        3
    );
    let (digest, totals) = (house.digest(), house.projection.totals());
    house.close();

    let mut dir = DataDir::open(&home.root()).unwrap();
    let journal = home.options.journal();
    fill_empty(&mut dir, &home.options, &journal, || SnapshotReader::open(&path)).unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.carts, report.orders, report.digest), (1, 2, digest));
    drop(dir);
    let mut house = home.open();
    assert_eq!((house.digest(), house.projection.totals()), (digest, totals));
    house.put_cart(cart(1, []), vec![cart::Happened::Extended]);
    house.settle();
    let digest = house.digest();
    house.close();
    let house = home.open();
    assert_eq!(house.digest(), digest, "revisions go on");
    house.close();
}

#[test]
fn a_damaged_snapshot_leaves_the_directory_unused() {
    let (source, home) = (Home::new(Backend::File), Home::new(Backend::File));
    let path = source.dir.path().join("shop.holdfast");
    snapshot(&source, &path, Rules::CURRENT);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut dir = DataDir::open(&home.root()).unwrap();
    fill_empty(&mut dir, &home.options, &home.options.journal(), || {
        SnapshotReader::open(&path)
    })
    .unwrap_err();
    assert!(dir.is_unused().unwrap() && dir.epoch() == 1);
}

#[test]
fn a_snapshot_under_rules_of_a_later_release_is_refused_by_its_name() {
    let (source, home) = (Home::new(Backend::File), Home::new(Backend::File));
    let path = source.dir.path().join("shop.holdfast");
    snapshot(&source, &path, Rules(Rules::CURRENT.0 + 1));
    let mut dir = DataDir::open(&home.root()).unwrap();
    let refused = fill_empty(&mut dir, &home.options, &home.options.journal(), || {
        SnapshotReader::open(&path)
    })
    .unwrap_err();
    assert!(matches!(refused, RestoreError::Rules(_)), "{refused:?}");
    assert!(
        refused.to_string().contains("use holdfast 9.9.9 or later"),
        "{refused}"
    );
    assert!(dir.is_unused().unwrap() && dir.epoch() == 1);
}

#[test]
fn the_demo_shop_opens() {
    let home = Home::new(Backend::File);
    let mut dir = DataDir::open(&home.root()).unwrap();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/demo.holdfast");
    let seeded = fill_empty(&mut dir, &home.options, &home.options.journal(), || {
        SnapshotReader::open(&path)
    })
    .unwrap();
    drop(dir);
    let house = home.open();
    let variants = seeded.counted.variants;
    assert_eq!(house.recovered.len() as u64, variants);
    assert!(variants >= 3_000);
    assert_eq!(
        house.state.scan(Family::Ledger, &[], None, usize::MAX).count() as u64,
        variants
    );
    house.close();
}
