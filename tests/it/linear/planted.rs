//! The checker checked: histories that are good, histories with a planted fault, and small random ones against trying every
//! order.
use super::model::{Answer, Figures, Op, Stamp, Stand, Variant};
use super::search::{Call, History, NEVER, Verdict};

const TTL: i64 = 1_000;

fn call(called: Stamp, returned: Stamp, op: Op, answer: Answer) -> Call {
    Call {
        op,
        answer: Some(answer),
        called,
        returned,
    }
}

fn unknown(called: Stamp, op: Op) -> Call {
    Call {
        op,
        answer: None,
        called,
        returned: NEVER,
    }
}

fn reserve(quantity: u64) -> Op {
    Op::Reserve {
        quantity,
        ttl_ms: TTL,
    }
}

fn hold(stand: Stand, quantity: u64) -> Answer {
    Answer::Hold {
        stand: Some(stand),
        quantity: Some(quantity),
        until_ms: None,
    }
}

fn held(quantity: u64) -> Answer {
    hold(Stand::Live, quantity)
}

fn seen(on_hand: u64, held: u64, committed: u64) -> Answer {
    Answer::Seen(Figures {
        on_hand,
        held,
        committed,
        available: on_hand - held - committed,
    })
}

fn short(available: u64) -> Answer {
    Answer::Short { available }
}

fn of(on_hand: u64, calls: Vec<Call>) -> History {
    History {
        start: Variant::new(on_hand, 0),
        calls,
    }
}

#[test]
fn good_histories_pass() {
    let good = [
        (
            "one after the other",
            of(
                2,
                vec![
                    call(1, 2, reserve(2), held(2)),
                    call(3, 4, reserve(1), short(0)),
                    call(5, 6, Op::Release { of: 1 }, hold(Stand::Released, 2)),
                    call(7, 8, reserve(1), held(1)),
                    call(9, 10, Op::Confirm { of: 7 }, hold(Stand::Sold, 1)),
                    call(11, 12, Op::Look, seen(2, 0, 1)),
                ],
            ),
        ),
        (
            "the later one wins the last unit while both are on their way",
            of(
                1,
                vec![call(1, 10, reserve(1), short(0)), call(2, 9, reserve(1), held(1))],
            ),
        ),
        (
            "a refusal between a grant and its return",
            of(
                1,
                vec![call(1, 9, reserve(1), held(1)), call(2, 3, reserve(1), short(0))],
            ),
        ),
        (
            "what was never answered did happen",
            of(
                1,
                vec![
                    unknown(1, reserve(1)),
                    call(2, 3, Op::Look, seen(1, 0, 0)),
                    call(4, 5, reserve(1), short(0)),
                ],
            ),
        ),
        (
            "what was never answered did not happen",
            of(1, vec![unknown(1, reserve(1)), call(2, 3, reserve(1), held(1))]),
        ),
        (
            "a hold ends by its deadline while somebody confirms it",
            of(
                1,
                vec![
                    call(1, 2, reserve(1), held(1)),
                    call(3, 8, Op::Tick { ms: TTL }, Answer::Turned),
                    call(4, 7, Op::Confirm { of: 1 }, hold(Stand::Sold, 1)),
                ],
            ),
        ),
        (
            "two adjustments answered the other way round than they were called",
            of(
                1,
                vec![
                    call(1, 4, Op::Adjust { delta: 1 }, seen(3, 0, 0)),
                    call(2, 3, Op::Adjust { delta: 1 }, seen(2, 0, 0)),
                ],
            ),
        ),
    ];
    for (name, history) in good {
        let verdict = history.judge();
        assert!(
            matches!(verdict, Verdict::Linearizable { .. }),
            "{name}: {verdict:?}"
        );
    }
}

#[test]
fn planted_faults_are_found() {
    let released = |called, returned| call(called, returned, Op::Release { of: 1 }, hold(Stand::Released, 1));
    let bad = [
        (
            "a lost unit",
            vec![
                call(1, 2, reserve(1), held(1)),
                released(3, 4),
                call(5, 6, Op::Look, seen(0, 0, 0)),
            ],
        ),
        (
            "a lost hold",
            vec![
                call(1, 2, reserve(1), held(1)),
                call(3, 4, Op::Look, seen(1, 0, 0)),
            ],
        ),
        (
            "a stale read",
            vec![
                call(1, 2, reserve(1), held(1)),
                released(3, 4),
                call(5, 6, Op::Look, seen(1, 1, 0)),
            ],
        ),
        (
            "a read that goes back",
            vec![
                unknown(1, reserve(1)),
                call(2, 3, Op::Look, seen(1, 1, 0)),
                call(4, 5, Op::Look, seen(1, 0, 0)),
            ],
        ),
        (
            "a double grant",
            vec![call(1, 4, reserve(1), held(1)), call(2, 3, reserve(1), held(1))],
        ),
        (
            "a refusal with a unit free",
            vec![call(1, 2, reserve(1), short(0))],
        ),
        (
            "answers out of order",
            vec![
                call(1, 2, Op::Adjust { delta: 1 }, seen(3, 0, 0)),
                call(3, 4, Op::Adjust { delta: 1 }, seen(2, 0, 0)),
            ],
        ),
        (
            "sold and given back",
            vec![
                call(1, 2, reserve(1), held(1)),
                call(3, 6, Op::Confirm { of: 1 }, hold(Stand::Sold, 1)),
                call(4, 5, Op::Release { of: 1 }, hold(Stand::Released, 1)),
            ],
        ),
        (
            "sold after its deadline",
            vec![
                call(1, 2, reserve(1), held(1)),
                call(3, 4, Op::Tick { ms: TTL }, Answer::Turned),
                call(5, 6, Op::Confirm { of: 1 }, hold(Stand::Sold, 1)),
            ],
        ),
        (
            "expired before its deadline",
            vec![
                call(1, 2, reserve(1), held(1)),
                call(3, 4, Op::Tick { ms: TTL - 1 }, Answer::Turned),
                call(5, 6, Op::Confirm { of: 1 }, Answer::Ended(Stand::Expired)),
            ],
        ),
        (
            "a refused change that had its effect",
            vec![
                call(1, 2, reserve(1), held(1)),
                call(3, 4, Op::Resize { of: 1, quantity: 2 }, short(0)),
                call(5, 6, Op::LookAt { of: 1 }, held(2)),
            ],
        ),
        (
            "one unknown request for two grants",
            vec![
                unknown(1, Op::Adjust { delta: 1 }),
                call(2, 3, reserve(1), held(1)),
                call(4, 5, reserve(1), held(1)),
                call(6, 7, reserve(1), held(1)),
            ],
        ),
        (
            "an effect before its call",
            vec![call(1, 2, reserve(1), short(0)), unknown(3, reserve(1))],
        ),
    ];
    for (name, calls) in bad {
        let verdict = of(1, calls).judge();
        assert!(matches!(verdict, Verdict::Violated(_)), "{name}: {verdict:?}");
    }
}

/// Whether some order of some of the unknown and all of the others fits; by trying them all.
fn fits_in_some_order(state: &Variant, left: &[Call]) -> bool {
    if left.iter().all(|call| call.answer.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let call = &left[index];
        if left.iter().any(|other| other.returned < call.called) {
            return false;
        }
        let mut rest = left.to_vec();
        rest.remove(index);
        match state.after(&call.op, call.called, call.answer.as_ref()) {
            Ok(after) => fits_in_some_order(after.as_ref().unwrap_or(state), &rest),
            Err(_) => false,
        }
    })
}

fn random_history(rng: &mut fastrand::Rng) -> History {
    let count = rng.usize(2..=6);
    let mut moments: Vec<Stamp> = (1..=2 * count as u64).collect();
    rng.shuffle(&mut moments);
    let mut calls = Vec::new();
    for pair in moments.chunks(2) {
        let (called, returned) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let (op, answer) = match rng.u8(0..5) {
            0 => (reserve(1), if rng.bool() { held(1) } else { short(0) }),
            1 => (Op::Adjust { delta: 1 }, seen(rng.u64(2..4), rng.u64(0..2), 0)),
            2 => (Op::Look, seen(rng.u64(1..3), rng.u64(0..2), 0)),
            3 => (reserve(1), held(1)),
            _ => (Op::Adjust { delta: -1 }, Answer::TooLow { least: 1 }),
        };
        let answered = rng.u8(0..5) > 0;
        calls.push(Call {
            op,
            answer: answered.then_some(answer),
            called,
            returned: if answered { returned } else { NEVER },
        });
    }
    of(1, calls)
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut counts = [0, 0];
    for _ in 0..3_000 {
        let history = random_history(&mut rng);
        let fits = fits_in_some_order(&history.start, &history.calls);
        let verdict = history.judge();
        let found = matches!(verdict, Verdict::Linearizable { .. });
        assert_eq!(found, fits, "{history:?}: {verdict:?}");
        counts[usize::from(fits)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 300), "both kinds: {counts:?}");
}
