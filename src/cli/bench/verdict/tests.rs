//! Planted bad ledgers: each must be caught, under its law's name, and its lawful twin must pass.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn id(number: u8) -> HoldId {
    HoldId::parse(format!("{number:032x}").as_bytes()).unwrap()
}

/// A line at whole seconds.
fn line(operation: Operation, outcome: Outcome, hold: Option<HoldId>, sent: u64, received: u64) -> Entry {
    let (sent_ns, received_ns) = (sent * SECOND, received * SECOND);
    Entry {
        intended_ns: sent_ns,
        sent_ns,
        received_ns,
        hold,
        variant: 0,
        ttl_ms: 900_000,
        status: 0,
        operation,
        outcome,
    }
}

fn granted(number: u8, sent: u64, received: u64) -> Entry {
    line(
        Operation::Reserve,
        Outcome::Done,
        Some(id(number)),
        sent,
        received,
    )
}

fn refused(sent: u64, received: u64) -> Entry {
    line(Operation::Reserve, Outcome::SoldOut, None, sent, received)
}

fn confirm(number: u8, outcome: Outcome, sent: u64, received: u64) -> Entry {
    line(Operation::Confirm, outcome, Some(id(number)), sent, received)
}

fn release(number: u8, outcome: Outcome, sent: u64, received: u64) -> Entry {
    line(Operation::Release, outcome, Some(id(number)), sent, received)
}

fn short_lived(mut entry: Entry, seconds: u32) -> Entry {
    entry.ttl_ms = seconds * 1000;
    entry
}

/// The broken laws, of one variant with `stock` units.
fn broken(entries: &[Entry], stock: u64) -> Vec<&'static str> {
    broken_with(entries, stock, &[], &[])
}

fn broken_with(
    entries: &[Entry],
    stock: u64,
    variants: &[FinalStock],
    holds: &[FinalHold],
) -> Vec<&'static str> {
    let counters = FinalCounters::default();
    let verdict = judge(&Evidence {
        entries,
        stock: &[stock],
        variants,
        holds,
        counters,
    });
    verdict.violations.iter().map(|violation| violation.law).collect()
}

fn last_stock(held: i64, committed: i64) -> FinalStock {
    FinalStock {
        asked_ns: (90 * SECOND, 91 * SECOND),
        on_hand: 3,
        held,
        committed,
        available: 3 - held - committed,
    }
}

fn last_hold(number: u8, status: FinalStatus) -> FinalHold {
    FinalHold {
        hold: id(number),
        asked_ns: (90 * SECOND, 91 * SECOND),
        status,
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_id_given_twice_is_caught() {
    assert_eq!(broken(&[granted(1, 0, 1), granted(2, 0, 1)], 9), NOTHING);
    assert_eq!(broken(&[granted(1, 0, 1), granted(1, 2, 3)], 9), ["ONE_ID"]);
}

#[test]
fn one_unit_too_many_is_caught() {
    let sale = [granted(1, 0, 1), granted(2, 0, 1), granted(3, 0, 1)];
    assert_eq!(broken(&sale, 3), NOTHING);
    assert_eq!(broken(&sale, 2), ["NO_OVERSELL"]);
}

#[test]
fn a_unit_given_back_may_be_sold_again_but_not_before() {
    let back = release(1, Outcome::Done, 5, 6);
    assert_eq!(
        broken(&[granted(1, 0, 1), back, granted(2, 5, 7)], 1),
        NOTHING,
        "the release may have come first"
    );
    assert_eq!(
        broken(&[granted(1, 0, 1), back, granted(2, 3, 4)], 1),
        ["NO_OVERSELL"]
    );
    let lost = release(1, Outcome::Unknown, 5, 9);
    assert_eq!(
        broken(&[granted(1, 0, 1), lost, granted(2, 6, 7)], 1),
        NOTHING,
        "a lost release may have worked"
    );
}

#[test]
fn an_expired_unit_may_be_sold_again_and_a_confirmed_one_never() {
    let first = short_lived(granted(1, 0, 1), 10);
    assert_eq!(broken(&[first, granted(2, 10, 12)], 1), NOTHING);
    assert_eq!(
        broken(&[first, granted(2, 7, 8)], 1),
        ["NO_OVERSELL"],
        "two seconds before its deadline"
    );
    let sold = confirm(1, Outcome::Done, 5, 6);
    assert_eq!(broken(&[first, sold, granted(2, 20, 21)], 1), ["NO_OVERSELL"]);
}

#[test]
fn a_refusal_with_units_left_is_caught() {
    assert_eq!(broken(&[granted(1, 0, 1), refused(2, 3)], 1), NOTHING);
    assert_eq!(broken(&[granted(1, 0, 1), refused(2, 3)], 2), ["UNDERSELL"]);
    let lost = line(Operation::Reserve, Outcome::Unknown, None, 0, 1);
    assert_eq!(
        broken(&[lost, refused(2, 3)], 1),
        NOTHING,
        "the lost request may have taken it"
    );
    let back = release(1, Outcome::Done, 4, 5);
    assert_eq!(
        broken(&[granted(1, 0, 1), back, refused(5, 6)], 1),
        NOTHING,
        "they may have overlapped"
    );
    assert_eq!(broken(&[granted(1, 0, 1), back, refused(6, 7)], 1), ["UNDERSELL"]);
}

#[test]
fn what_happens_at_the_same_moment_is_judged_kindly() {
    let back = release(1, Outcome::Done, 5, 6);
    assert_eq!(
        broken(&[granted(1, 0, 1), back, granted(2, 4, 5)], 1),
        NOTHING,
        "given back, then granted"
    );
    let back = release(1, Outcome::Done, 3, 4);
    assert_eq!(
        broken(&[granted(1, 0, 1), back, granted(2, 4, 6), refused(3, 5)], 2),
        NOTHING,
        "both at 4 s"
    );
    assert_eq!(
        broken(&[granted(1, 5, 6), refused(4, 5)], 1),
        NOTHING,
        "taken when the refusal left"
    );
}

#[test]
fn a_lost_confirm_may_keep_its_unit_for_ever() {
    let hold = short_lived(granted(1, 0, 1), 10);
    assert_eq!(broken(&[hold, refused(20, 21)], 1), ["UNDERSELL"]);
    assert_eq!(
        broken(&[hold, confirm(1, Outcome::Unknown, 2, 3), refused(20, 21)], 1),
        NOTHING
    );
}

#[test]
fn a_hold_that_ends_while_the_final_state_is_read_may_count_or_not() {
    let sale = [short_lived(granted(1, 0, 1), 95)];
    for held in [0, 1] {
        assert_eq!(broken_with(&sale, 3, &[last_stock(held, 0)], &[]), NOTHING);
    }
}

#[test]
fn two_ends_of_one_hold_are_caught() {
    let both = [
        granted(1, 0, 1),
        confirm(1, Outcome::Done, 2, 3),
        release(1, Outcome::Done, 2, 3),
    ];
    assert_eq!(broken(&both, 9), ["ONE_TERMINAL"]);
}

#[test]
fn a_deadline_judged_wrongly_is_caught() {
    let hold = short_lived(granted(1, 0, 1), 10);
    assert_eq!(broken(&[hold, confirm(1, Outcome::Done, 9, 10)], 9), NOTHING);
    assert_eq!(
        broken(&[hold, confirm(1, Outcome::Done, 13, 14)], 9),
        ["EXPIRY_WINDOW"],
        "confirmed too late"
    );
    assert_eq!(broken(&[hold, confirm(1, Outcome::Ended, 13, 14)], 9), NOTHING);
    assert_eq!(
        broken(&[hold, confirm(1, Outcome::Ended, 4, 5)], 9),
        ["EXPIRY_WINDOW"],
        "expired too early"
    );
}

#[test]
fn a_lost_hold_is_caught() {
    let sale = [granted(1, 0, 1)];
    let check = |status| broken_with(&sale, 9, &[], &[last_hold(1, status)]);
    assert_eq!(check(FinalStatus::Active), NOTHING);
    assert_eq!(check(FinalStatus::Missing), ["ACK_DURABLE"]);
    assert_eq!(
        check(FinalStatus::Expired),
        ["ONE_TERMINAL"],
        "long before its deadline"
    );
    assert_eq!(
        check(FinalStatus::Confirmed),
        ["ONE_TERMINAL"],
        "nobody confirmed it"
    );
}

#[test]
fn a_forgotten_confirm_is_caught_and_a_lost_one_may_be_either() {
    let sold = [granted(1, 0, 1), confirm(1, Outcome::Done, 2, 3)];
    assert_eq!(
        broken_with(&sold, 9, &[], &[last_hold(1, FinalStatus::Active)]),
        ["ONE_TERMINAL"]
    );
    let lost = [granted(1, 0, 1), confirm(1, Outcome::Unknown, 2, 3)];
    for status in [FinalStatus::Active, FinalStatus::Confirmed] {
        assert_eq!(broken_with(&lost, 9, &[], &[last_hold(1, status)]), NOTHING);
    }
}

#[test]
fn the_servers_own_count_must_be_the_ledgers() {
    let sale = [
        granted(1, 0, 1),
        granted(2, 0, 1),
        confirm(2, Outcome::Done, 2, 3),
    ];
    let check = |last| broken_with(&sale, 3, &[last], &[]);
    assert_eq!(check(last_stock(1, 1)), NOTHING);
    assert_eq!(check(last_stock(2, 1)), ["METRICS_TRUE"], "a unit nobody holds");
    assert_eq!(check(last_stock(0, 1)), ["METRICS_TRUE"], "a hold forgotten");
    assert_eq!(check(last_stock(2, 0)), ["METRICS_TRUE"], "a sale forgotten");
    assert_eq!(
        check(FinalStock {
            available: 2,
            ..last_stock(1, 1)
        }),
        ["CONSERVATION"]
    );
    assert_eq!(
        check(FinalStock {
            on_hand: 2,
            available: 0,
            ..last_stock(1, 1)
        }),
        ["CONSERVATION"]
    );
    let lost = [
        granted(1, 0, 1),
        line(Operation::Reserve, Outcome::Unknown, None, 0, 1),
    ];
    for held in [1, 2] {
        assert_eq!(
            broken_with(&lost, 3, &[last_stock(held, 0)], &[]),
            NOTHING,
            "within the unknown"
        );
    }
}

#[test]
fn counters_and_strange_answers_are_caught() {
    let sale = [
        granted(1, 0, 1),
        line(Operation::Reserve, Outcome::Unknown, None, 0, 1),
    ];
    let check = |oversell, granted| {
        let counters = FinalCounters {
            oversell: Some(oversell),
            granted: Some(granted),
        };
        judge(&Evidence {
            entries: &sale,
            stock: &[9],
            variants: &[],
            holds: &[],
            counters,
        })
        .violation_count
    };
    assert_eq!(
        [check(0, 1), check(0, 2), check(1, 1), check(0, 3), check(0, 0)],
        [0, 0, 1, 1, 1]
    );
    assert_eq!(
        broken(&[line(Operation::Reserve, Outcome::Unexpected, None, 0, 1)], 9),
        ["CONTRACT"]
    );
}

#[test]
fn violations_beyond_the_told_are_counted_and_hide_no_other_law() {
    let mut entries =
        vec![line(Operation::Reserve, Outcome::Unexpected, None, 0, 1); VIOLATIONS_TOLD_MAX + 5];
    entries.extend([granted(1, 0, 1), granted(1, 2, 3)]);
    let counters = FinalCounters::default();
    let verdict = judge(&Evidence {
        entries: &entries,
        stock: &[9],
        variants: &[],
        holds: &[],
        counters,
    });
    let told = |law| {
        verdict
            .violations
            .iter()
            .filter(|violation| violation.law == law)
            .count()
    };
    assert_eq!(verdict.violation_count, VIOLATIONS_TOLD_MAX + 6);
    assert_eq!((told("CONTRACT"), told("ONE_ID")), (VIOLATIONS_TOLD_MAX, 1));
}
