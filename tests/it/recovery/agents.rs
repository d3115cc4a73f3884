//! Carts and orders: rows and tail are what the whole log says, lists find every order, and what the sides of a hold do not
//! agree about is told.
use super::house::{Home, House, START_MS, STORES, TERMS, shopper};
use crate::strategies::STATUSES;
use holdfast::{
    domain::{
        agree::Mend,
        cart::{self, Cart, Kept, LineHold, LineId, Task, Work},
        ids::{CartId, CustomerId, OrderId, ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
        order::{self, Order, Payment, Refund, RefundReason, Status, Step},
        policy::{ExpiredLines, Limits, Policy},
        time::Timestamp,
        variant::{Command, EndReason, Ended, Fulfilment, Hold, HoldStatus, Phase, Shopper},
    },
    storage::{
        data_dir::DataDir,
        journal::RecordNumber,
        projection::{OrderFilter, OrderPage},
        record::{CartFact, Fact},
        recovery::{Backend, RecoverError, rebuild_cart, rebuild_order, verify},
        state::Family,
    },
};

pub(super) fn policy() -> Policy {
    Policy {
        cart: TERMS.lengths,
        guest: TERMS.lengths,
        payment_ttl_ms: TERMS.payment_ttl_ms,
        limits: Limits {
            units_per_order: None,
            units_per_customer_per_variant: None,
            lines_per_cart: 100,
            window_days: None,
        },
        cart_idle_ms: 86_400_000,
        max_ttl_ms: TERMS.max_ttl_ms,
        expired_lines: ExpiredLines::Keep,
        version: 1,
    }
}

fn slot() -> Slot {
    Slot::of_cart(0xabc)
}

/// The n-th cart; their ids are not in the order of their numbers.
pub(super) fn cart_id(n: u64) -> CartId {
    CartId::made(
        Timestamp::from_millis(START_MS),
        slot(),
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    )
}

pub(super) fn order_id(n: u64) -> OrderId {
    OrderId::made(
        Timestamp::from_millis(START_MS),
        slot(),
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    )
}

fn store(n: u64) -> StoreId {
    StoreId::parse(STORES[usize::try_from(n % 3).unwrap()]).unwrap()
}

fn customer(n: u64) -> Option<CustomerId> {
    (!n.is_multiple_of(5)).then(|| CustomerId::parse(&format!("c{}", n % 7)).unwrap())
}

/// An active cart that holds these.
pub(super) fn cart<'a>(n: u64, held: impl IntoIterator<Item = &'a Hold>) -> Cart {
    let line = |(id, hold): (u32, &Hold)| cart::Line {
        id: LineId(id),
        variant: VariantId::parse("soap").unwrap(),
        ordinal: hold.id.variant(),
        quantity: hold.quantity,
        unit_price: None,
        campaign: None,
        hold: LineHold::Held(Kept {
            reservation: hold.id,
            expires_at: hold.expires_at,
            max_expires_at: hold.max_expires_at,
            extensions_left: hold.extensions_left,
            version: hold.version,
        }),
    };
    let now = Timestamp::from_millis(START_MS);
    Cart {
        id: cart_id(n),
        store: store(n),
        customer: customer(n),
        session: None,
        status: cart::Status::Active,
        lines: (1..).zip(held).map(line).collect(),
        next_line: 100,
        strays: Vec::new(),
        created_at: now,
        touched_at: now,
        ended_at: None,
        policy: policy(),
        version: 1,
        revision: 0,
        work: None,
    }
}

/// An order that stands like this and obeys its laws.
pub(super) fn order(n: u64, status: Status) -> Order {
    let now = Timestamp::from_millis(START_MS);
    let reservation = ReservationId::new(now, slot(), VariantOrdinal(0), 1);
    let paid = matches!(
        status,
        Status::Confirmed | Status::PartiallyFulfilled | Status::Fulfilled | Status::Returned
    );
    let (shipped, returned) = match status {
        Status::PartiallyFulfilled => (1, 0),
        Status::Fulfilled => (2, 0),
        Status::Returned => (2, 2),
        _ => (0, 0),
    };
    let fulfilment = Fulfilment {
        shipped,
        cancelled: 0,
        returned,
    };
    let holds = paid || status == Status::PendingPayment;
    let hold = holds.then(|| Hold {
        id: reservation,
        quantity: 2,
        status: if paid {
            HoldStatus::Confirmed
        } else {
            HoldStatus::Active
        },
        phase: Phase::Payment,
        shopper: Shopper::default(),
        order: Some(order_id(n)),
        expires_at: now,
        max_expires_at: now,
        extensions_left: 0,
        version: 1,
        ended: paid.then_some(Ended {
            at: now,
            reason: EndReason::Confirmed,
        }),
        fulfilment,
        pin: None,
    });
    let refund = Refund {
        reference: "pay-2".to_owned(),
        reason: RefundReason::Expired,
        at: now,
        done_at: None,
    };
    let taking = Step::Taking {
        attempt: 1,
        promised: 0,
    };
    Order {
        id: order_id(n),
        store: store(n),
        cart: cart_id(n),
        customer: customer(n),
        session: None,
        status,
        lines: vec![order::Line {
            variant: VariantId::parse("soap").unwrap(),
            ordinal: VariantOrdinal(0),
            quantity: 2,
            unit_price: None,
            reservation,
            held: true,
            hold,
            fulfilment,
        }],
        terms: TERMS,
        payment_deadline: now,
        grace_ms: 60_000,
        payment: paid.then(|| Payment {
            reference: "pay-1".to_owned(),
            at: now,
        }),
        refunds: (status == Status::RefundRequired)
            .then_some(refund)
            .into_iter()
            .collect(),
        refused: Vec::new(),
        created_at: now,
        version: 1,
        revision: 0,
        work: (status == Status::Opening).then_some(order::Work {
            step: taking,
            key: None,
            begun_at: now,
        }),
    }
}

/// A random turn of a random cart or order.
fn step(house: &mut House, rng: &mut fastrand::Rng) {
    house.pass(rng.i64(0..500));
    let n = rng.u64(0..60);
    if rng.bool() {
        // One that was placed never goes back behind that.
        let known = house.orders.get(&order_id(n).bits().unwrap());
        let placed = known.is_some_and(is_placed);
        let status = STATUSES[rng.usize(if placed { 2 } else { 0 }..STATUSES.len())];
        let mut order = order(n, status);
        order.version = rng.u64(..);
        if is_placed(&order) && rng.u32(0..4) == 0 {
            order.work = Some(order::Work {
                step: Step::TellingCart { reopen: true },
                key: None,
                begun_at: house.now(),
            });
        }
        house.put_order(order, vec![order::Happened::Went]);
        return;
    }
    let known = house.carts.contains_key(&cart_id(n).bits().unwrap());
    let happened = match (known, rng.u32(0..4)) {
        (true, 0) => cart::Happened::Forgotten,
        (true, _) => cart::Happened::Extended,
        (false, _) => cart::Happened::Created,
    };
    let begun_at = house.now();
    let work = (rng.u32(0..4) == 0).then_some(Work {
        task: Task::Extend { by_ms: None },
        key: None,
        begun_at,
        by_shopper: true,
    });
    let cart = Cart {
        work,
        touched_at: begun_at,
        version: rng.u64(..),
        ..cart(n, [])
    };
    house.put_cart(cart, vec![happened]);
}

fn story(backend: Backend, seed: u64) {
    let home = Home::new(backend);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut house = home.open();
    for turn in 0..600 {
        step(&mut house, &mut rng);
        if rng.u32(0..50) == 0 {
            house.checkpoint();
        }
        if rng.u32(0..100) == 0 {
            house = restarted(&home, house);
        }
        if turn % 100 == 99 {
            house.settle();
            check_pages(&house, &mut rng);
        }
    }
    house.settle();
    check_rebuild(&house);
    house = restarted(&home, house);
    check_pages(&house, &mut rng);
    house.checkpoint();
    house = restarted(&home, house);
    check_pages(&house, &mut rng);
    let (digest, carts, orders) = (house.digest(), house.carts.len(), house.orders.len());
    let rows = house
        .state
        .scan(Family::Entity, &[6], Some(&[8]), usize::MAX)
        .count();
    assert_eq!(rows, carts + orders, "what is forgotten has no row");
    house.close();
    let dir = DataDir::open(&home.root()).unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert_eq!(report.violations, [""; 0], "seed {seed}");
    assert_eq!(report.digest, digest, "seed {seed}");
    assert_eq!((report.carts, report.orders), (carts as u64, orders as u64));
}

fn restarted(home: &Home, house: House) -> House {
    house.settle();
    let before = (house.digest(), house.projection.totals());
    house.close();
    let house = home.open();
    assert_eq!(before, (house.digest(), house.projection.totals()));
    house
}

/// Whether somebody was told of it.
fn is_placed(order: &Order) -> bool {
    !matches!(order.status, Status::Opening | Status::Refused)
}

/// Every page of every kind of list, against a filter over everything.
fn check_pages(house: &House, rng: &mut fastrand::Rng) {
    let placed: Vec<&Order> = house.orders.values().filter(|order| is_placed(order)).collect();
    assert_eq!(house.projection.totals().orders, placed.len() as u64);
    for number in 0..12 {
        let filter = OrderFilter {
            store: store(number),
            customer: rng.bool().then(|| customer(number + 1)).flatten(),
            status: rng.bool().then(|| STATUSES[rng.usize(2..STATUSES.len())]),
        };
        let fits = |order: &&&Order| {
            order.store == filter.store
                && filter.status.is_none_or(|status| order.status == status)
                && (filter.customer.is_none() || filter.customer == order.customer)
        };
        let expected: Vec<OrderId> = placed.iter().filter(fits).map(|order| order.id.clone()).collect();
        assert_eq!(pages(house, &filter, rng.usize(1..5)), expected, "{filter:?}");
    }
}

fn pages(house: &House, filter: &OrderFilter, limit: usize) -> Vec<OrderId> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let OrderPage { ids, next } = house.projection.orders(filter, after.as_ref(), limit);
        assert!(ids.len() <= limit);
        all.extend(ids);
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn check_rebuild(house: &House) {
    for n in 0..60 {
        let cart = house.carts.get(&cart_id(n).bits().unwrap());
        let rebuilt = rebuild_cart(&house.checkpointer, cart_id(n).bits().unwrap());
        match rebuilt {
            Ok((rebuilt, _)) => assert_eq!(Some(&rebuilt), cart),
            Err(error) => assert!(
                matches!(error, RecoverError::NoSuchEntity(_)) && cart.is_none(),
                "{error}"
            ),
        }
        let rebuilt = rebuild_order(&house.checkpointer, order_id(n).bits().unwrap()).map(|(order, _)| order);
        assert_eq!(
            rebuilt.ok().as_ref(),
            house.orders.get(&order_id(n).bits().unwrap())
        );
    }
}

#[test]
fn a_restart_finds_carts_and_orders_as_they_were_on_files() {
    for seed in 0..3 {
        story(Backend::File, seed);
    }
}

#[test]
fn a_restart_finds_carts_and_orders_as_they_were_on_sled() {
    story(Backend::Sled, 5);
}

#[test]
fn a_forgotten_cart_is_gone_from_rows_and_tail() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    house.put_cart(cart(1, []), vec![cart::Happened::Created]);
    house.put_cart(cart(2, []), vec![cart::Happened::Created]);
    house.checkpoint();
    house.put_cart(cart(1, []), vec![cart::Happened::Forgotten]);
    house.settle();
    house.close();
    // Known to the rows, forgotten by the tail; then by both.
    for checkpoint in [true, false] {
        let house = home.open();
        assert_eq!(
            house.carts.keys().copied().collect::<Vec<_>>(),
            [cart_id(2).bits().unwrap()]
        );
        if checkpoint {
            house.checkpoint();
        }
        house.close();
    }
}

#[test]
fn a_gap_in_the_revisions_refuses_the_start() {
    for checkpoint in [false, true] {
        let home = Home::new(Backend::File);
        let mut house = home.open();
        house.put_cart(cart(1, []), vec![cart::Happened::Created]);
        if checkpoint {
            house.checkpoint();
        }
        let cart = Cart {
            revision: 3,
            ..cart(1, [])
        };
        let happened = vec![cart::Happened::Extended];
        house.log(Fact::Cart(Box::new(CartFact { cart, happened })));
        house.settle();
        house.close();
        let Err(error) = home.try_open() else {
            panic!("the start must be refused")
        };
        let text = error.to_string();
        assert!(
            error.is_damage() && text.contains("is at revision 1 before it, the record says 3"),
            "{text}"
        );
    }
}

#[test]
fn disagreement_is_told_at_recovery_until_it_is_mended() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let soap = house.create("default", "soap", 10);
    let of = |n| Shopper {
        cart: Some(cart_id(n)),
        ..shopper(None, None)
    };
    for n in [1, 1, 2] {
        let command = house.reserve(soap, 1, of(n), 60_000);
        house.ask(soap, &command);
    }
    let holds: Vec<Hold> = house.variants[&soap.0].holds().cloned().collect();
    // Cart 1 has one of its two holds; cart 2 is not there; cart 3 believes in one that was given back; cart 4 waits for an
    // order that has expired.
    house.put_cart(cart(1, &holds[..1]), vec![cart::Happened::Created]);
    let command = house.reserve(soap, 1, of(3), 60_000);
    house.ask(soap, &command);
    let given_back = house.variants[&soap.0].holds().last().unwrap().clone();
    house.put_cart(cart(3, [&given_back]), vec![cart::Happened::Created]);
    house.ask(soap, &Command::Release { id: given_back.id });
    let waiting = Cart {
        status: cart::Status::CheckingOut { order: order_id(4) },
        ..cart(4, [])
    };
    house.put_cart(waiting, vec![cart::Happened::Created]);
    house.put_order(order(4, Status::Expired), vec![order::Happened::Opened]);
    let over = house.orders[&order_id(4).bits().unwrap()].clone();
    assert_eq!((&over.cart, &over.work), (&cart_id(4), &None));
    house.settle();
    house.close();
    let expected = [
        Mend::Release {
            reservation: holds[1].id,
        },
        Mend::Release {
            reservation: holds[2].id,
        },
        Mend::TellCart {
            order: Box::new(over),
            reopen: true,
        },
        Mend::EndLine {
            cart: cart_id(3),
            line: LineId(1),
            reservation: given_back.id,
        },
    ];
    for checkpoint in [true, false] {
        let house = home.open();
        assert_eq!(house.mends, expected);
        if checkpoint {
            house.checkpoint();
        }
        house.close();
    }
    let dir = DataDir::open(&home.root()).unwrap();
    assert_eq!(verify(&dir, &home.options).unwrap().mends, 4);
    drop(dir);

    let mut house = home.open();
    for mend in house.mends.clone() {
        match mend {
            Mend::Release { reservation } => {
                house.ask(soap, &Command::Release { id: reservation });
            }
            Mend::EndLine { line, .. } => {
                house.put_cart(cart(3, []), vec![cart::Happened::LineEnded(line)]);
            }
            Mend::TellCart { order, reopen } => {
                assert!(reopen);
                house.put_cart(cart(4, []), vec![cart::Happened::Reopened(order.id)]);
            }
            Mend::Thaw { .. } => panic!("no cart stands still here"),
        }
    }
    house.settle();
    house.close();
    let house = home.open();
    assert_eq!(house.mends, []);
    house.close();
}

/// The stages between two checkpoints: old rows with the whole log, new rows with it, new rows with a trimmed log.
#[test]
fn a_crash_around_a_checkpoint_changes_no_cart() {
    let home = Home::new(Backend::File);
    let mut rng = fastrand::Rng::with_seed(11);
    let mut house = home.open();
    for _ in 0..150 {
        step(&mut house, &mut rng);
    }
    house.checkpoint();
    for _ in 0..150 {
        step(&mut house, &mut rng);
    }
    house.settle();
    let digest = house.digest();
    house.close();
    let house = home.open();
    let keeps = house
        .checkpointer
        .trim_holds()
        .hold("everything", RecordNumber(1));
    house.checkpoint();
    assert_eq!(house.digest(), digest);
    drop(keeps);
    house.close();
    let house = home.open();
    assert_eq!((house.replayed, house.digest()), (0, digest));
    house.checkpoint();
    house.close();
    let house = home.open();
    assert_eq!(house.digest(), digest);
    house.close();
}
