//! A house put back to any record or instant: from a snapshot, its tail, and the log behind it.
use super::{
    agents::{cart, order},
    house::{Gone, Home, House, shopper},
};
use holdfast::{
    domain::{
        cart as carts,
        ids::VariantOrdinal,
        order::{self as orders, Payment, Status},
        rewind::HoldsRule,
        rules::Rules,
        time::Timestamp,
        variant::{Command, Confirm, Hold, HoldStatus, SaleState},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{PartitionId, RecordNumber},
        recovery::{Backend, verify},
        restore::{Cut, LogBehind, Lost, Plan, RestoreError, Restored, Source, Wanted, carry_out, survey},
        snapshot::{About, EntityKind, Entry, SnapshotReader, SnapshotWriter, TailRecord},
    },
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The states as they are now, and the records behind them up to `position`.
struct Taken {
    states: Vec<Entry>,
    number: u64,
}

impl Taken {
    fn of(house: &House) -> Self {
        house.settle();
        let number = house.reader.last().0;
        let entry = |kind, id: Vec<u8>, state| Entry {
            kind,
            id,
            number,
            state,
        };
        let variants = house.existing().map(|variant| {
            let id = variant.head().ordinal.0.to_be_bytes().to_vec();
            entry(EntityKind::VARIANT, id, dto::encode_variant(variant))
        });
        let carts = house.carts.iter().map(|(bits, cart)| {
            entry(
                EntityKind::CART,
                bits.to_be_bytes().to_vec(),
                dto::encode_cart(cart),
            )
        });
        let orders = house.orders.iter().map(|(bits, order)| {
            entry(
                EntityKind::ORDER,
                bits.to_be_bytes().to_vec(),
                dto::encode_order(order),
            )
        });
        let states = variants.chain(carts).chain(orders).collect();
        Self { states, number }
    }

    /// Writes the file, with the log up to now as its tail.
    fn write(&self, house: &House, path: &Path) {
        house.settle();
        let position = house.reader.last().0;
        let mut writer = SnapshotWriter::create(path).unwrap();
        self.states.iter().for_each(|entry| writer.entity(entry).unwrap());
        for number in self.number + 1..=position {
            let record = house
                .reader
                .record(PartitionId(0), RecordNumber(number))
                .unwrap()
                .unwrap();
            let record = TailRecord {
                number,
                logged_at: record.logged_at_ms,
                payload: record.payload.to_vec(),
            };
            writer.record(&record).unwrap();
        }
        let about = About {
            written_by: "test".to_owned(),
            created_at_ms: house.now().as_millis(),
            epoch: 1,
            position,
            rules: Rules::CURRENT.0,
            rules_since: "0.1.0".to_owned(),
            totals: [].into(),
            attribution: Vec::new(),
            source: "a test".to_owned(),
        };
        writer.finish(about).unwrap();
    }
}

/// What is asked for, with the log of `from` if there is one.
struct Ask<'a> {
    file: &'a Path,
    from: Option<&'a Home>,
    wanted: Wanted,
}

impl Ask<'_> {
    fn source<T>(
        &self,
        then: impl FnOnce(&Source<'_>) -> Result<T, RestoreError>,
    ) -> Result<T, RestoreError> {
        let dir = self.from.map(|home| DataDir::open(&home.root()).unwrap());
        let log = dir.as_ref().zip(self.from);
        let log = log
            .map(|(dir, home)| LogBehind::of_data_dir(dir, 1, &home.options))
            .transpose()?;
        let open = || SnapshotReader::open(self.file);
        then(&Source {
            open: &open,
            log: log.as_ref(),
        })
    }

    fn plan(&self) -> Result<Plan, RestoreError> {
        self.source(|source| survey(source, self.wanted))
    }

    fn run(&self, into: &Home) -> Result<(Plan, Restored), RestoreError> {
        self.source(|source| {
            let plan = survey(source, self.wanted)?;
            let mut dir = DataDir::open(&into.root())?;
            let journal = into.options.journal();
            let restored = carry_out(&mut dir, &into.options, &journal, source, &plan, &|_| {})?;
            assert!(verify(&dir, &into.options).unwrap().is_sound());
            Ok((plan, restored))
        })
    }
}

fn wanted(cut: Cut, holds: HoldsRule, now: Timestamp) -> Wanted {
    Wanted {
        cut,
        holds,
        now_ms: now.as_millis(),
    }
}

/// A busy house: its snapshot with a tail, more log behind it, and the digest at every number.
struct Lived {
    home: Home,
    file: PathBuf,
    states_at: u64,
    position: u64,
    digests: BTreeMap<u64, [u8; 32]>,
    /// When each record was logged.
    logged: BTreeMap<u64, i64>,
    now: Timestamp,
}

fn live(backend: Backend, seed: u64) -> Lived {
    let home = Home::new(backend);
    let file = home.dir.path().join("shop.holdfast");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut gone = Gone::new();
    let mut house = home.open();
    let (mut digests, mut logged) = (BTreeMap::new(), BTreeMap::new());
    let mut taken = None;
    let mut position = 0;
    for turn in 0..300 {
        house.step(&mut rng, &mut gone);
        if turn % 7 == 0 {
            let known = house.carts.len() as u64;
            house.put_cart(cart(rng.u64(0..=known), []), vec![carts::Happened::Extended]);
        }
        if turn % 11 == 0 {
            house.put_order(order(rng.u64(0..4), Status::PendingPayment), Vec::new());
        }
        house.settle();
        let last = house.reader.last();
        digests.insert(last.0, house.digest());
        let record = house.reader.record(PartitionId(0), last).unwrap();
        logged.extend(record.map(|record| (last.0, record.logged_at_ms)));
        if turn == 100 {
            taken = Some(Taken::of(&house));
        }
        if turn == 200 {
            taken.as_ref().unwrap().write(&house, &file);
            position = house.reader.last().0;
        }
    }
    let now = house.now();
    house.close();
    Lived {
        home,
        file,
        states_at: taken.unwrap().number,
        position,
        digests,
        logged,
        now,
    }
}

impl Lived {
    fn ask(&self, cut: Cut) -> Ask<'_> {
        Ask {
            file: &self.file,
            from: Some(&self.home),
            wanted: wanted(cut, HoldsRule::Keep, self.now),
        }
    }

    fn end(&self) -> u64 {
        *self.digests.keys().next_back().unwrap()
    }
}

#[test]
fn a_house_is_put_back_to_any_number_as_it_was_then() {
    for (backend, seed) in [(Backend::File, 3), (Backend::Sled, 4)] {
        let lived = live(backend, seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let reachable: Vec<u64> = lived
            .digests
            .range(lived.states_at..)
            .map(|(number, _)| *number)
            .collect();
        let mut numbers: Vec<u64> = (0..16).map(|_| reachable[rng.usize(..reachable.len())]).collect();
        numbers.extend([lived.states_at, lived.position, lived.position + 1, lived.end()]);
        for number in numbers {
            let Some(digest) = lived.digests.get(&number) else {
                continue;
            };
            let into = Home::new(backend);
            let (plan, restored) = lived.ask(Cut::Number(number)).run(&into).unwrap();
            assert_eq!(restored.digest, *digest, "seed {seed}, record {number}");
            assert_eq!(
                (plan.cut.number.0, plan.lost_records),
                (number, lived.end() - number)
            );
            assert_eq!(restored.position.number.0, number + restored.amended.records);
            assert_eq!(restored.amended.paused > 0, restored.amended.records > 0);
            let house = into.open();
            if restored.amended.records == 0 {
                assert_eq!(house.digest(), *digest);
            }
            house.close();
        }
    }
}

#[test]
fn a_moment_is_cut_behind_the_last_group_at_or_before_it() {
    let lived = live(Backend::File, 5);
    let last_of: BTreeMap<i64, u64> = lived.logged.iter().map(|(number, at)| (*at, *number)).collect();
    let edges: Vec<(i64, u64)> = last_of
        .into_iter()
        .filter(|(_, number)| *number > lived.states_at + 1)
        .collect();
    for pair in edges.windows(2).step_by(9) {
        let [(_, before), (at, number)] = pair else {
            unreachable!()
        };
        for (at, number) in [(*at, number), (at - 1, before)] {
            let into = Home::new(Backend::File);
            let (plan, restored) = lived.ask(Cut::Time(at)).run(&into).unwrap();
            assert_eq!(
                (plan.cut.number.0, restored.digest),
                (*number, lived.digests[number])
            );
            assert_eq!(plan.cut_at_ms, at, "what the operator named is the moment");
        }
    }
}

#[test]
fn a_cut_that_cannot_be_had_says_what_can() {
    let lived = live(Backend::File, 6);
    let before = lived.ask(Cut::Number(lived.states_at - 1)).plan().unwrap_err();
    assert!(
        matches!(before, RestoreError::Before { first, .. } if first == lived.states_at),
        "{before}"
    );
    let early = lived.ask(Cut::Time(0)).plan().unwrap_err();
    assert!(matches!(early, RestoreError::Before { .. }), "{early}");
    let behind = lived.ask(Cut::Number(lived.end() + 1)).plan().unwrap_err();
    assert!(
        matches!(behind, RestoreError::Behind { last, .. } if last == lived.end()),
        "{behind}"
    );
    let alone = Ask {
        from: None,
        ..lived.ask(Cut::Number(lived.position + 1))
    };
    let behind = alone.plan().unwrap_err();
    assert!(
        matches!(behind, RestoreError::Behind { last, .. } if last == lived.position),
        "{behind}"
    );
}

/// Every file under a directory with its bytes.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut content = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                content.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    content
}

#[test]
fn a_plan_changes_nothing() {
    let lived = live(Backend::File, 7);
    drop(DataDir::open(&lived.home.root()).unwrap());
    let before = content(&lived.home.root());
    let plan = lived.ask(Cut::Number(lived.position)).plan().unwrap();
    assert!(plan.bytes > 0 && plan.replayed > 0 && plan.lost_records > 0);
    assert_eq!(content(&lived.home.root()), before);
}
