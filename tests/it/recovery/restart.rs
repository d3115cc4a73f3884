//! A restart finds the house as it was.
use super::house::{Gone, Home, House, RETENTION_MS, shopper};
use holdfast::{
    domain::{
        ids::{ReservationId, StoreId, VariantOrdinal},
        variant::{Command, Confirm, Hold, HoldStatus},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{PartitionId, RecordNumber},
        keys::Claimed,
        projection::{Filter, Page},
        recovery::{Backend, rebuild_variant, verify},
        state::Family,
    },
};

/// Random turns with checkpoints and restarts at random moments.
fn story(backend: Backend, seed: u64, steps: usize) {
    let home = Home::new(backend);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut gone = Gone::new();
    let mut house = home.open();
    for step in 0..steps {
        house.step(&mut rng, &mut gone);
        if rng.u32(0..60) == 0 {
            house.checkpoint();
        }
        if rng.u32(0..150) == 0 {
            house = restarted(&home, house);
        }
        if step % 100 == 99 {
            house.settle();
            check_lists(&house, &gone, &mut rng);
            check_ended(&house, &gone);
        }
    }
    house.settle();
    check_rebuild(&house);
    house = restarted(&home, house);
    check_lists(&house, &gone, &mut rng);
    house.checkpoint();
    check_lists(&house, &gone, &mut rng);
    check_ended(&house, &gone);
    for hold in house.existing().flat_map(|variant| variant.holds()) {
        let stored = house.state.ended(&hold.id.as_u128().to_be_bytes()).unwrap();
        assert_eq!(stored, None, "one that came back is no longer among the ended");
    }
    let digest = house.digest();
    house.close();
    let dir = DataDir::open(&home.root()).unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert_eq!(report.violations, [""; 0], "seed {seed}");
    assert_eq!(report.digest, digest, "seed {seed}");
}

fn restarted(home: &Home, house: House) -> House {
    house.settle();
    let before = (
        house.digest(),
        house.statistics(),
        house.projection.totals(),
        house.next_ordinal,
    );
    house.close();
    let house = home.open();
    let after = (
        house.digest(),
        house.statistics(),
        house.projection.totals(),
        house.next_ordinal,
    );
    assert_eq!(before, after, "digest, statistics, totals, next ordinal");
    house
}

/// Every page of every kind of list, against a filter over everything.
fn check_lists(house: &House, gone: &Gone, rng: &mut fastrand::Rng) {
    let shown = house.shown(gone);
    let variants: Vec<VariantOrdinal> = house.existing().map(|variant| variant.head().ordinal).collect();
    for store in ["default", "north", "south", "nowhere"] {
        let who = shopper(
            rng.bool().then(|| rng.u32(0..6)),
            rng.bool().then(|| rng.u32(0..6)),
        );
        let statuses = [
            HoldStatus::Active,
            HoldStatus::Confirmed,
            HoldStatus::Released,
            HoldStatus::Expired,
        ];
        let filter = Filter {
            store: StoreId::parse(store).unwrap(),
            variant: (rng.u32(0..3) == 0).then(|| variants[rng.usize(0..variants.len())]),
            customer: who.customer,
            cart: who.cart,
            status: rng.bool().then(|| statuses[rng.usize(0..4)]),
        };
        let expected: Vec<ReservationId> = shown
            .values()
            .filter(|(store, hold)| fits(&filter, store, hold))
            .map(|(_, hold)| hold.id)
            .collect();
        assert_eq!(pages(house, &filter, rng.usize(1..9)), expected, "{filter:?}");
    }
}

fn fits(filter: &Filter, store: &StoreId, hold: &Hold) -> bool {
    filter.store == *store
        && hold.status != HoldStatus::Tentative
        && filter.variant.is_none_or(|variant| hold.id.variant() == variant)
        && filter.status.is_none_or(|status| hold.status == status)
        && (filter.customer.is_none() || filter.customer == hold.shopper.customer)
        && (filter.cart.is_none() || filter.cart == hold.shopper.cart)
}

fn pages(house: &House, filter: &Filter, limit: usize) -> Vec<ReservationId> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let Page { ids, next } = house.projection.list(filter, after, limit).unwrap();
        assert!(ids.len() <= limit);
        all.extend(ids);
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// An ended reservation is found: above the checkpoint by its record, below in its row.
fn check_ended(house: &House, gone: &Gone) {
    for (id, (_, expected)) in gone {
        let found = match house.projection.ended(*id) {
            Some(number) => {
                let record = house.reader.record(PartitionId(0), RecordNumber(number)).unwrap();
                let turn = dto::decode_turn(&record.unwrap().payload).unwrap();
                let holdfast::storage::record::Fact::Variant(fact) = turn.fact else {
                    panic!()
                };
                let events = fact.events.into_iter().rev();
                events
                    .filter_map(|event| event.hold().cloned())
                    .find(|hold| hold.id == *id)
            }
            None => {
                let row = house.state.ended(&id.as_u128().to_be_bytes()).unwrap();
                row.map(|(_, row)| dto::decode_hold(&row).unwrap())
            }
        };
        assert_eq!(found.as_ref(), Some(expected));
    }
}

fn check_rebuild(house: &House) {
    for variant in house.variants.values() {
        let rebuilt = rebuild_variant(&house.checkpointer, variant.head().ordinal);
        match rebuilt {
            Ok((rebuilt, _)) => assert_eq!(&rebuilt, variant),
            Err(error) => assert!(variant.head().deleted, "{error}"),
        }
    }
    let needed = house.checkpointer.trim_holds().oldest();
    assert_eq!(needed.filter(|(name, _)| *name != "archive"), None);
}

#[test]
fn a_restart_finds_the_house_as_it_was_on_files() {
    for seed in 0..4 {
        story(Backend::File, seed, 900);
    }
}

#[test]
fn a_restart_finds_the_house_as_it_was_on_sled() {
    story(Backend::Sled, 7, 700);
}

#[test]
fn a_checkpoint_shortens_the_replay_and_the_log() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let soap = house.create("default", "soap", 10_000);
    for _ in 0..600 {
        let command = house.reserve(soap, 1, shopper(Some(1), Some(1)), 60_000);
        house.ask(soap, &command);
    }
    house.settle();
    let keeps = house.checkpointer.trim_holds().hold("a reader", RecordNumber(1));
    house.checkpoint();
    assert_eq!(house.reader.first(), RecordNumber(1), "somebody needs it");
    drop(keeps);
    house.checkpoint();
    assert!(
        house.reader.first() > RecordNumber(100),
        "trimmed to {}",
        house.reader.first()
    );
    let digest = house.digest();
    house.close();
    let house = home.open();
    assert_eq!((house.replayed, house.digest()), (0, digest));
    house.close();
}

/// The stages between two checkpoints: old rows with the whole log, new rows with it, new rows with a trimmed log.
#[test]
fn a_crash_around_a_checkpoint_changes_nothing() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut gone = Gone::new();
    for _ in 0..300 {
        house.step(&mut rng, &mut gone);
    }
    house.checkpoint();
    for _ in 0..300 {
        house.step(&mut rng, &mut gone);
    }
    house.settle();
    let (digest, statistics) = (house.digest(), house.statistics());
    house.close();
    let before = copy_of(&home, "before");

    let house = home.open();
    let keeps = house
        .checkpointer
        .trim_holds()
        .hold("everything", RecordNumber(1));
    house.checkpoint();
    assert!(house.reader.first() < RecordNumber(400));
    drop(keeps);
    house.close();
    let written = copy_of(&home, "written");

    let house = home.open();
    house.checkpoint();
    house.close();
    for home in [before, written, home] {
        let house = home.open();
        assert_eq!((house.digest(), house.statistics()), (digest, statistics.clone()));
        check_lists(&house, &gone, &mut rng);
        house.close();
    }
}

/// The home as a kill at this moment would leave it.
fn copy_of(home: &Home, name: &str) -> Home {
    let copy = Home::new(home.options.backend);
    copy_dir(&home.root(), &copy.root());
    assert!(copy.root().join("CURRENT").exists(), "{name}");
    copy
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_key_answers_from_the_log_and_from_its_row_when_the_log_is_trimmed() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let soap = house.create("default", "soap", 10_000);
    let keyed: Vec<_> = (0..400)
        .filter_map(|key| house.reserve_keyed(soap, &key.to_string()))
        .collect();
    assert_eq!(keyed.len(), 400);
    house.settle();
    house.close();

    let mut house = home.open();
    let check = |house: &House| {
        for key in &keyed {
            let claimed = house.keys.claim(key.hash, key.fingerprint).unwrap();
            assert!(
                matches!(claimed, Claimed::Known { number } if number == key.number),
                "{claimed:?}"
            );
        }
    };
    check(&house);
    house.checkpoint();
    for _ in 0..200 {
        let command = house.reserve(soap, 1, shopper(None, None), 60_000);
        house.ask(soap, &command);
    }
    house.checkpoint();
    check(&house);
    house.close();
    let house = home.open();
    check(&house);
    assert!(
        house.reader.first() > RecordNumber(keyed[200].number),
        "the records are gone"
    );
    for key in &keyed {
        let (entry, payload) = house.state.key(&key.hash).unwrap().unwrap();
        assert_eq!(
            (entry.number, dto::decode_turn(&payload).unwrap()),
            (key.number, key.turn.clone())
        );
    }

    // Past their retention they are gone, and so are reservations that ended.
    house.pass(RETENTION_MS + 20_000);
    house.checkpoint();
    assert_eq!(house.state.scan(Family::Key, &[], None, 9).count(), 0);
    assert_eq!(house.state.keys_bytes(), 0);
    house.close();
}

#[test]
fn a_deleted_variant_stays_deleted_and_its_ordinal_is_not_given_out_again() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let soap = house.create("default", "soap", 5);
    let last = house.create("default", "towel", 5);
    let command = house.reserve(last, 1, shopper(Some(1), None), 60_000);
    house.ask(last, &command);
    let id = house.variants[&last.0].holds().next().unwrap().id;
    house.ask(
        last,
        &Command::Confirm(Confirm {
            id,
            quantity: None,
            order: None,
        }),
    );
    house.checkpoint();
    house.ask(
        last,
        &Command::Cancel(holdfast::domain::variant::AfterSale {
            id,
            quantity: None,
            restock: true,
            closed: None,
            by: "test".to_owned(),
            keep_ms: 1,
        }),
    );
    let deleted = house.ask(last, &Command::Delete { expected: None });
    assert_eq!(deleted.len(), 1, "{deleted:?}");
    house.settle();
    house.close();
    for checkpoint in [false, true] {
        let house = home.open();
        let ordinals: Vec<u32> = house.recovered.iter().map(|variant| variant.ordinal.0).collect();
        assert_eq!((ordinals, house.next_ordinal), (vec![soap.0], last.0 + 1));
        if checkpoint {
            house.checkpoint();
        }
        house.close();
    }
    let house = home.open();
    assert_eq!((house.replayed, house.next_ordinal), (0, last.0 + 1));
    assert_eq!(
        house.state.scan(Family::Entity, &[], None, 99).count(),
        2,
        "one head, the name of the other, no purchases"
    );
    assert_eq!(
        house
            .state
            .scan(Family::Ledger, &last.0.to_be_bytes(), None, 99)
            .count(),
        1
    );
    house.close();
}
