//! Law LINEARIZABLE, per variant: what clients were answered is what one of them after the other would have been answered by a
//! naive variant, in an order that respects who had ended before whom began. Requests without an answer may have happened or not.
//!
//! | file | what it is |
//! |---|---|
//! | `model` | the naive variant, what it is asked and what it answers |
//! | `search` | looks for such an order in a history |
//! | `planted` | the search checked on good and bad histories |
//! | `in_process`, `over_http` | histories of a shop in this process, with a clock turned meanwhile, and of a real server |
//!
//! `HOLDFAST_HISTORIES=10000 HOLDFAST_HISTORY_SEED=7 cargo test --test it linear:: -- --nocapture` checks so many of each kind of
//! shop in this process, a tenth of it over HTTP, and says what it did.
//!
//! Left out on purpose: crashes. A refusal for lack of stock may cite a hold that a crash then loses (decisions 6); what a crash
//! must not lose is checked by `crash_states` and `kill`.
pub(crate) mod model;
pub(crate) mod search;

mod in_process;
mod over_http;
mod planted;

use fastrand::Rng;
use holdfast::config::JournalBackend;

use crate::shop::{House, on_both_logs};
use model::{Answer, Op, Stamp};
use search::Verdict;

const CLIENTS: u64 = 8;
const OPERATIONS: u64 = 50;

/// Histories a back end in a usual run; a tenth of it over HTTP.
const HISTORIES: u64 = 50;

/// A hold is soon due where somebody turns the clock.
const TTL_MS: i64 = 40;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect(variable))
}

/// Scarce: most histories sell out and recover.
fn first_stock(rng: &mut Rng) -> u64 {
    rng.u64(1..12)
}

/// What a client asks next; `known` are the holds of everybody.
fn next_op(rng: &mut Rng, known: &[Stamp], turns_clocks: bool) -> Op {
    let quantity = rng.u64(1..=3);
    // The latest holds are the likeliest to live, and to be raced for.
    let of = (!known.is_empty()).then(|| known[known.len() - 1 - rng.usize(0..known.len().min(6))]);
    match (rng.u8(0..100), of) {
        (0..6, _) => Op::Look,
        (6..12, _) => Op::Adjust {
            delta: rng.i64(-2..=2) * 2 + 1,
        },
        (12..18, _) if turns_clocks => Op::Tick { ms: rng.i64(1..15) },
        (18..34, Some(of)) => Op::Release { of },
        (34..48, Some(of)) => Op::Confirm { of },
        (48..60, Some(of)) => Op::Resize { of, quantity },
        (60..66, Some(of)) => Op::LookAt { of },
        _ => Op::Reserve {
            quantity,
            ttl_ms: TTL_MS,
        },
    }
}

on_both_logs! {
    a_shop_in_this_process_is_linearizable,
    a_server_is_linearizable,
}

fn a_shop_in_this_process_is_linearizable(backend: JournalBackend) {
    let (histories, seed) = (
        number("HOLDFAST_HISTORIES", HISTORIES),
        number("HOLDFAST_HISTORY_SEED", 1),
    );
    let (states, unknown) = in_process::check(backend, histories, seed);
    tell("in this process", backend, (histories, seed), (states, unknown));
}

fn a_server_is_linearizable(backend: JournalBackend) {
    let (histories, seed) = (
        number("HOLDFAST_HISTORIES", HISTORIES) / 10,
        number("HOLDFAST_HISTORY_SEED", 1),
    );
    let (states, unknown) = over_http::check(word(backend), histories, seed);
    tell("over HTTP", backend, (histories, seed), (states, unknown));
}

/// The configuration's word.
fn word(backend: JournalBackend) -> &'static str {
    match backend {
        JournalBackend::Sled => "sled",
        JournalBackend::File => "file",
    }
}

fn tell(
    how: &str,
    backend: JournalBackend,
    (histories, seed): (u64, u64),
    (states, unknown): (usize, usize),
) {
    let operations = histories * CLIENTS * OPERATIONS;
    let backend = word(backend);
    let story = format!(
        "{how}, {backend}, seed {seed}: {histories} histories of {operations} operations in all, {unknown} of them without an \
         answer, {states} states searched, 0 violations"
    );
    crate::report(&story);
}

#[test]
fn a_falsified_figure_in_a_recorded_history_is_noticed() {
    let house = House::new(JournalBackend::File);
    let mut rng = Rng::with_seed(3);
    let history = in_process::record(&house, 0, &mut rng);
    history.expect_linearizable();
    let mut falsified = 0;
    for index in (0..history.calls.len()).step_by(9) {
        let mut other = history.clone();
        match &mut other.calls[index].answer {
            Some(Answer::Seen(figures)) => figures.committed += 1_000,
            Some(Answer::Short { available }) => *available += 1_000,
            Some(Answer::Hold { quantity, .. }) => *quantity = Some(1_000),
            _ => continue,
        }
        let verdict = other.judge();
        assert!(matches!(verdict, Verdict::Violated(_)), "{index}: {verdict:?}");
        falsified += 1;
    }
    assert!(falsified > 20, "{falsified}");
}
