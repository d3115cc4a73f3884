//! A house put back to any record or instant: from a snapshot, its tail, and the log behind it.
use super::{
    agents::{cart, cart_id, order},
    house::{Gone, Home, House, Keyed, shopper},
};
use holdfast::{
    domain::{
        cart::{self as carts, Kept},
        ids::VariantOrdinal,
        order::{self as orders, Order, Payment, Status},
        rewind::HoldsRule,
        rules::Rules,
        time::Timestamp,
        variant::{Command, Confirm, Hold, SaleState, Shopper},
    },
    storage::{
        data_dir::DataDir,
        dto,
        journal::{Epoch, PartitionId, RecordNumber},
        keys::{Claimed, KeyEntry},
        recovery::{Backend, CaptureAbout, CaptureTo, capture, verify},
        restore::{Cut, Logs, Lost, Plan, RestoreError, Restored, Source, Step, Wanted, carry_out, survey},
        snapshot::{About, EntityKind, Entry, SnapshotReader, SnapshotWriter, TailRecord},
        state::Family,
    },
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
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
            logged_at_ms: None,
            rows_number: Some(self.number),
            rows_logged_at_ms: None,
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
        let open = || SnapshotReader::open(self.file);
        let log = dir.as_ref().zip(self.from);
        let log = log
            .map(|(dir, home)| {
                let logs = Logs::of_data_dir(dir, &home.options)?;
                logs.behind(open()?.manifest(), self.wanted.cut, true)
            })
            .transpose()?;
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
    /// What callers were answered under their keys.
    keyed: Vec<Keyed>,
    now: Timestamp,
}

fn live(backend: Backend, seed: u64) -> Lived {
    let mut home = Home::new(backend);
    // So that the log has something to let go.
    home.options.segment_bytes = 4 * 1024;
    let file = home.dir.path().join("shop.holdfast");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut gone = Gone::new();
    let mut house = home.open();
    let (mut digests, mut logged) = (BTreeMap::new(), BTreeMap::new());
    let (mut keyed, mut taken) = (Vec::new(), None);
    for turn in 0..300 {
        house.step(&mut rng, &mut gone);
        if turn % 7 == 0 {
            let known = house.carts.len() as u64;
            house.put_cart(cart(rng.u64(0..=known), []), vec![carts::Happened::Extended]);
        }
        if turn % 11 == 0 {
            house.put_order(order(rng.u64(0..4), Status::PendingPayment), Vec::new());
        }
        if turn % 5 == 0 {
            let existing = house.existing().next().map(|variant| variant.head().ordinal);
            keyed.extend(existing.and_then(|ordinal| house.reserve_keyed(ordinal, &format!("k{turn}"))));
        }
        house.settle();
        let last = house.reader.last();
        digests.insert(last.0, house.digest());
        let record = house.reader.record(PartitionId(0), last).unwrap();
        logged.extend(record.map(|record| (last.0, record.logged_at_ms)));
        if turn == 100 || turn == 260 {
            // The rows of the snapshot are at the first; the log lets go what the archive has.
            house.checkpoint();
        }
        if turn == 200 {
            let about = CaptureAbout {
                written_by: "test".to_owned(),
                created_at_ms: house.now().as_millis(),
                source: "a test".to_owned(),
            };
            let captured = capture(
                &house.checkpointer,
                Epoch(1),
                CaptureTo::File(&file),
                &about,
                &AtomicBool::new(false),
            );
            taken = Some(captured.unwrap());
        }
    }
    let now = house.now();
    house.close();
    let manifest = taken.unwrap().manifest;
    Lived {
        home,
        file,
        states_at: manifest.rows_number.unwrap(),
        position: manifest.position,
        digests,
        logged,
        keyed,
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
fn keys_of_before_the_cut_answer_and_what_came_behind_it_is_in_no_row() {
    let lived = live(Backend::File, 12);
    let ledger = |house: &House| {
        let lines = house.state.scan(Family::Ledger, &[], None, usize::MAX).count() as u64;
        let booked: u64 = house.existing().map(|variant| variant.head().ledger_seq).sum();
        (lines, booked)
    };
    for cut in [
        lived.states_at,
        (lived.states_at + lived.position) / 2,
        lived.end(),
    ] {
        let into = Home::new(Backend::File);
        lived.ask(Cut::Number(cut)).run(&into).unwrap();
        let house = into.open();
        for keyed in &lived.keyed {
            match house.keys.claim(keyed.hash, keyed.fingerprint).unwrap() {
                Claimed::Known { number } => assert!(keyed.number <= cut && number == keyed.number),
                Claimed::Fresh(_) => assert!(keyed.number > cut, "record {}, cut {cut}", keyed.number),
                _ => panic!("the key is of this request"),
            }
        }
        let (lines, booked) = ledger(&house);
        assert!(lines >= booked && booked > 0, "deleted variants keep their lines");
        house.close();
    }
}

/// A snapshot whose ledger and keys were read later than its states, as one taken while the house sells.
#[test]
fn what_a_snapshot_has_from_behind_the_cut_is_left_out() {
    let home = Home::new(Backend::File);
    let file = home.dir.path().join("shop.holdfast");
    let mut house = home.open();
    let soap = house.create("default", "soap", 10);
    let mut taken = Taken::of(&house);
    let adjust = Command::Adjust {
        delta: 5,
        reason: "count".to_owned(),
        reference: None,
        expected_on_hand: None,
        by: "test".to_owned(),
    };
    house.ask(soap, &adjust);
    let late = house.reserve_keyed(soap, "late").unwrap();
    house.checkpoint();
    for line in house.state.scan(Family::Ledger, &[], None, usize::MAX) {
        let (id, state) = line.unwrap();
        let (kind, number) = (EntityKind::LEDGER, taken.number);
        taken.states.push(Entry {
            kind,
            id,
            number,
            state,
        });
    }
    let entry = KeyEntry {
        fingerprint: late.fingerprint,
        number: late.number,
    };
    let state = [
        &0_u64.to_be_bytes()[..],
        &entry.to_bytes(),
        &dto::encode_turn(&late.turn),
    ]
    .concat();
    let (kind, id, number) = (EntityKind::KEY, late.hash.0.to_vec(), late.number);
    taken.states.push(Entry {
        kind,
        id,
        number,
        state,
    });
    taken.write(&house, &file);
    let now = house.now();
    house.close();
    let into = Home::new(Backend::File);
    let ask = Ask {
        file: &file,
        from: None,
        wanted: wanted(Cut::Number(taken.number), HoldsRule::Keep, now),
    };
    ask.run(&into).unwrap();
    let house = into.open();
    assert_eq!(house.state.scan(Family::Ledger, &[], None, usize::MAX).count(), 1);
    assert!(matches!(
        house.keys.claim(late.hash, late.fingerprint).unwrap(),
        Claimed::Fresh(_)
    ));
    house.close();
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

/// A house whose cut has a hold of a cart made here, one of a shop's own cart, and an order that awaits its payment; behind
/// it one is confirmed and the order paid.
struct Sold {
    home: Home,
    file: PathBuf,
    cut: u64,
    cut_at: Timestamp,
    now: Timestamp,
    hold: Hold,
    in_cart: Hold,
    order: Order,
}

fn sold() -> Sold {
    let home = Home::new(Backend::File);
    let file = home.dir.path().join("shop.holdfast");
    let mut house = home.open();
    let [soap, towel] = ["soap", "towel"].map(|id| house.create("default", id, 10));
    let hold_of = |house: &mut House, variant: VariantOrdinal, shopper| {
        let ask = house.reserve(variant, 2, shopper, 60_000);
        house.ask(variant, &ask).last().unwrap().hold().unwrap().clone()
    };
    let hold = hold_of(&mut house, soap, shopper(Some(1), None));
    let ours = Shopper {
        cart: Some(cart_id(1)),
        ..Shopper::default()
    };
    let in_cart = hold_of(&mut house, towel, ours);
    house.put_cart(cart(1, [&in_cart]), vec![carts::Happened::Created]);
    house.put_order(order(1, Status::PendingPayment), vec![orders::Happened::Opened]);
    Taken::of(&house).write(&house, &file);
    let cut = house.reader.last();
    let logged = house.reader.record(PartitionId(0), cut).unwrap().unwrap();
    let before = house.orders.values().next().unwrap().clone();
    house.pass(10_000);
    let confirm = Command::Confirm(Confirm {
        id: hold.id,
        quantity: None,
        order: None,
    });
    assert_eq!(house.ask(soap, &confirm).len(), 1);
    let paid = Order {
        payment: Some(Payment {
            reference: "pay-1".to_owned(),
            at: house.now(),
        }),
        ..order(1, Status::Confirmed)
    };
    house.put_order(
        paid,
        vec![orders::Happened::PaymentAccepted, orders::Happened::Confirmed],
    );
    house.settle();
    house.pass(20_000);
    let now = house.now();
    house.close();
    Sold {
        home,
        file,
        cut: cut.0,
        cut_at: Timestamp::from_millis(logged.logged_at_ms),
        now,
        hold,
        in_cart,
        order: before,
    }
}

impl Sold {
    fn ask(&self, holds: HoldsRule) -> Ask<'_> {
        Ask {
            file: &self.file,
            from: Some(&self.home),
            wanted: wanted(Cut::Number(self.cut), holds, self.now),
        }
    }
}

/// What a house has of the two holds, the cart's line and the order's deadline.
fn deadlines(house: &House, sold: &Sold) -> (Timestamp, Timestamp, Kept, Timestamp) {
    let hold = |hold: &Hold| {
        house.variants[&hold.id.variant().0]
            .hold(hold.id)
            .unwrap()
            .clone()
    };
    let carts::LineHold::Held(kept) = house.carts.values().next().unwrap().lines[0].hold else {
        panic!("the line is held");
    };
    let order = house.orders.values().next().unwrap();
    let in_cart = hold(&sold.in_cart);
    assert_eq!(kept, Kept::from(&in_cart), "AGREE");
    (
        hold(&sold.hold).expires_at,
        in_cart.expires_at,
        kept,
        order.payment_deadline,
    )
}

#[test]
fn deadlines_are_kept_rebased_or_ended_as_the_operator_says() {
    let sold = sold();
    let passed = sold.now.since(sold.cut_at);
    assert!(passed > 0 && passed < 60_000);
    for rule in [HoldsRule::Keep, HoldsRule::Rebase, HoldsRule::Expire] {
        let into = Home::new(Backend::File);
        let (plan, restored) = sold.ask(rule).run(&into).unwrap();
        let house = into.open();
        let moved = |at: Timestamp| match rule {
            HoldsRule::Keep => at,
            HoldsRule::Rebase => at.saturating_add(passed),
            HoldsRule::Expire => at.min(sold.cut_at),
        };
        let (hold, in_cart, _, pay_by) = deadlines(&house, &sold);
        assert_eq!(hold, moved(sold.hold.expires_at), "{rule:?}");
        assert_eq!(in_cart, moved(sold.in_cart.expires_at), "{rule:?}");
        let due = sold.order.payment_deadline;
        let rebased = rule == HoldsRule::Rebase;
        assert_eq!(pay_by, if rebased { due.saturating_add(passed) } else { due });
        let expired = if rule == HoldsRule::Expire { 2 } else { 0 };
        assert_eq!((plan.live_holds, plan.expired_holds), (2, expired), "{rule:?}");
        let (carts, orders) = (u64::from(rule != HoldsRule::Keep), u64::from(rebased));
        assert_eq!((restored.amended.carts, restored.amended.orders), (carts, orders));
        let digest = house.digest();
        house.close();
        let house = into.open();
        assert_eq!(house.digest(), digest, "REPLAY_EQUAL");
        house.close();
    }
}

#[test]
fn variants_sold_behind_the_cut_come_up_paused_and_the_sales_are_written_down() {
    let sold = sold();
    let into = Home::new(Backend::File);
    let (plan, restored) = sold.ask(HoldsRule::Keep).run(&into).unwrap();
    let units: Vec<_> = plan
        .sold_after
        .iter()
        .map(|sold| (sold.id.as_str(), sold.units, sold.existed))
        .collect();
    assert_eq!(units, [("soap", 2, true)]);
    assert_eq!(
        (plan.lost.len(), plan.without_stock, restored.amended.paused),
        (2, 0, 1)
    );
    assert!(matches!(plan.lost[1], Lost::Order(_)) || matches!(plan.lost[0], Lost::Order(_)));

    let house = into.open();
    let sale = |ordinal: u32| house.variants[&ordinal].head().sale;
    assert_eq!((sale(0), sale(1)), (SaleState::Paused, SaleState::Open));
    house.close();

    let file = restored.lost_file.unwrap();
    assert_eq!(file, into.root().join("lost-orders-2.ndjson"));
    let lines: Vec<serde_json::Value> = fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |kind: &str| lines.iter().find(|line| line["kind"] == kind).unwrap();
    assert_eq!(of("order")["paymentReference"], "pay-1");
    assert_eq!(of("order")["lines"][0]["quantity"], 2);
    assert_eq!(of("reservation")["reservationId"], sold.hold.id.to_string());
    assert_eq!(of("reservation")["customerId"], "c1");
    assert_eq!(of("reservation")["lines"][0]["variantId"], "soap");
}

#[test]
fn without_a_log_nobody_says_what_came_after() {
    let sold = sold();
    let ask = Ask {
        from: None,
        ..sold.ask(HoldsRule::Keep)
    };
    let plan = ask.plan().unwrap();
    assert!(!plan.knows_what_came_after && plan.lost.is_empty());
    assert!(sold.ask(HoldsRule::Keep).plan().unwrap().knows_what_came_after);
}

#[test]
fn a_restore_goes_into_an_epoch_above_all_it_comes_from() {
    let sold = sold();
    let into = Home::new(Backend::File);
    let (_, restored) = sold.ask(HoldsRule::Keep).run(&into).unwrap();
    assert_eq!((restored.position.epoch.0, restored.left), (2, None));
    let again = sold.ask(HoldsRule::Keep).run(&into).unwrap().1;
    assert_eq!(again.position.epoch.0, 3);
    let left = into.root().join("epochs/2");
    assert!(left.is_dir(), "the epoch of before is kept");
    assert_eq!(again.left, Some(left));
}

#[test]
fn a_restore_that_is_killed_leaves_the_epoch_before_and_the_next_try_works() {
    let sold = sold();
    let into = Home::new(Backend::File);
    let (_, first) = sold.ask(HoldsRule::Keep).run(&into).unwrap();
    for at in [Step::Checking, Step::Amending, Step::Entering] {
        let ask = sold.ask(HoldsRule::Rebase);
        let killed = std::panic::catch_unwind(|| {
            ask.source(|source| {
                let plan = survey(source, ask.wanted)?;
                let mut dir = DataDir::open(&into.root())?;
                let journal = into.options.journal();
                carry_out(&mut dir, &into.options, &journal, source, &plan, &|step| {
                    assert_ne!(step, at, "killed here");
                })
            })
        });
        assert!(killed.is_err(), "{at:?}");
        let dir = DataDir::open(&into.root()).unwrap();
        assert_eq!(dir.epoch(), 2, "{at:?}");
        assert_eq!(verify(&dir, &into.options).unwrap().last, first.position.number.0);
    }
    let again = sold.ask(HoldsRule::Rebase).run(&into).unwrap().1;
    assert_eq!(again.position.epoch.0, 3);
}

/// The archive's files of a house that has let log go.
fn archived(lived: &Lived) -> Vec<PathBuf> {
    let folder = lived.home.root().join("archive/1");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn damage_and_gaps_are_named_and_leave_nothing_behind() {
    let lived = live(Backend::File, 8);
    let files = archived(&lived);
    assert!(files.len() > 2, "{files:?}");
    let victim = files
        .iter()
        .rfind(|file| first_in(file) <= lived.position + 1)
        .unwrap();
    let whole = fs::read(victim).unwrap();
    let into = Home::new(Backend::File);
    drop(DataDir::open(&into.root()).unwrap());
    let ask = || lived.ask(Cut::End);

    let mut flipped = whole.clone();
    let at = whole.len() - whole.len() / 8;
    flipped[at] ^= 4;
    fs::write(victim, flipped).unwrap();
    let damaged = ask().run(&into).unwrap_err();
    assert!(damaged.is_damage(), "{damaged:?}");
    assert!(
        damaged
            .to_string()
            .contains(victim.file_name().unwrap().to_str().unwrap()),
        "{damaged}"
    );

    fs::remove_file(victim).unwrap();
    let gap = ask().run(&into).unwrap_err();
    assert!(
        gap.is_damage() && matches!(gap, RestoreError::Gap { .. }),
        "{gap:?}"
    );
    assert!(ask().from.is_some());
    fs::write(victim, whole).unwrap();

    let mut bytes = fs::read(&lived.file).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    let broken = lived.home.dir.path().join("broken.holdfast");
    fs::write(&broken, bytes).unwrap();
    let snapshot = Ask {
        file: &broken,
        ..ask()
    }
    .run(&into)
    .unwrap_err();
    assert!(snapshot.is_damage(), "{snapshot:?}");
    assert!(snapshot.to_string().contains("block"), "{snapshot}");

    let dir = DataDir::open(&into.root()).unwrap();
    assert!(
        dir.is_unused().unwrap() && dir.epoch() == 1,
        "nothing is half restored"
    );
    assert_eq!(fs::read_dir(into.root().join("epochs")).unwrap().count(), 1);
    drop(dir);
    ask().run(&into).unwrap();
}

/// The first record of an archive file, which is its name.
fn first_in(file: &Path) -> u64 {
    file.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn damage_behind_the_cut_leaves_the_figures_incomplete_and_every_variant_paused() {
    let lived = live(Backend::File, 9);
    let files = archived(&lived);
    let victim = files
        .iter()
        .rfind(|file| first_in(file) <= lived.position + 1)
        .unwrap();
    fs::remove_file(victim).unwrap();
    let plan = lived.ask(Cut::Number(lived.position)).plan().unwrap();
    let why = plan.log_cut_short.unwrap();
    assert!(why.contains("are missing"), "{why}");
    let into = Home::new(Backend::File);
    let (_, restored) = lived.ask(Cut::Number(lived.position)).run(&into).unwrap();
    assert_eq!(restored.digest, lived.digests[&lived.position]);
    let house = into.open();
    let sales: Vec<SaleState> = house.existing().map(|one| one.head().sale).collect();
    assert!(
        !sales.is_empty() && !sales.contains(&SaleState::Open),
        "nobody knows what was sold: {sales:?}"
    );
    house.close();
}

#[test]
fn a_log_of_another_shop_is_refused() {
    let (lived, other) = (live(Backend::File, 10), live(Backend::File, 11));
    let ask = Ask {
        from: Some(&other.home),
        ..lived.ask(Cut::End)
    };
    let refused = ask.plan().unwrap_err();
    assert!(
        matches!(refused, RestoreError::Foreign { .. }) && refused.is_damage(),
        "{refused:?}"
    );
}
