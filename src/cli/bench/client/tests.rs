//! The generator against a small fake server on its own thread.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::schedule::NANOS;
use super::*;
use crate::cli::bench::Scenario;

/// Answers every request with what `reply` says to its running number and target line; empty means: hang up.
fn fake_server(reply: impl Fn(u64, &str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new((AtomicU64::new(0), reply));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some(target) = read_request(&mut reader) {
                    let number = shared.0.fetch_add(1, Ordering::Relaxed);
                    let answer = (shared.1)(number, &target);
                    if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let mut target = String::new();
    reader.read_line(&mut target).ok().filter(|&read| read > 0)?;
    let (mut length, mut keyed) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        keyed |= line.starts_with("idempotency-key: ");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    assert!(keyed, "every request has a key");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(target)
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn created(number: u64) -> String {
    answer(
        201,
        "",
        &format!("{{\"id\":\"rsv_{number:032x}\",\"variantId\":\"bench-ab-0\",\"expiresInMs\":900000}}"),
    )
}

/// A round of a fifth of a second without warm-up.
fn run(address: SocketAddr, scenario: Scenario, pace: Pace) -> (Ledger, Round) {
    run_and_drain(address, scenario, pace, Duration::from_secs(60))
}

fn run_and_drain(address: SocketAddr, scenario: Scenario, pace: Pace, drain: Duration) -> (Ledger, Round) {
    let stopwatch = Stopwatch::start();
    let load = Load {
        address,
        target: Target::Holdfast,
        connections: 4,
        pace,
        start_ns: 0,
        measure_ns: 0,
        end_ns: NANOS / 5,
        drain,
        storm: None,
    };
    let plan = Plan::new(scenario, scenario.variants(), "ab".to_owned(), 1);
    let (_, ledger, round) = run_round(load, stopwatch, plan, Ledger::default()).unwrap();
    (ledger, round)
}

fn open(rate: f64) -> Pace {
    Pace::Open {
        rate,
        arrivals: Arrivals::Constant,
        seed: 1,
    }
}

#[test]
fn an_open_loop_sends_the_whole_schedule_and_books_every_answer() {
    let address = fake_server(|number, _| created(number));
    let (ledger, round) = run(address, Scenario::Hot, open(1000.0));
    assert_eq!(round.tally.done, 200);
    assert_eq!(
        (round.latency.len(), round.lag.len(), round.unsent),
        (200, 200, 0)
    );
    assert_eq!(ledger.entries.len(), 200);
    let sound = |entry: &Entry| {
        entry.hold.is_some() && entry.intended_ns <= entry.sent_ns && entry.sent_ns <= entry.received_ns
    };
    assert!(
        ledger
            .entries
            .iter()
            .all(|entry| sound(entry) && entry.ttl_ms == 900_000)
    );
}

#[test]
fn waiting_for_a_slow_server_is_latency_and_not_lag() {
    // The first answers come only when all four connections have asked: until then later requests wait in the line.
    let gate = std::sync::Barrier::new(4);
    let address = fake_server(move |number, _| {
        if number < 4 {
            gate.wait();
        }
        created(number)
    });
    let (_, round) = run(address, Scenario::Hot, open(1000.0));
    assert_eq!(round.tally.done, 200);
    assert!(
        round.latency.max() >= 2_900_000,
        "the first waited for the fourth, 3 ms later: {}",
        round.latency.max()
    );
}

#[test]
fn a_server_that_hangs_up_leaves_unknown_outcomes_and_is_asked_again() {
    let address = fake_server(|number, _| {
        if number % 10 == 3 {
            String::new()
        } else {
            created(number)
        }
    });
    let (ledger, round) = run(address, Scenario::Hot, open(500.0));
    assert_eq!(round.tally.done + round.tally.unknown, 100);
    assert_eq!(round.tally.unknown, 10);
    assert_eq!(
        ledger
            .entries
            .iter()
            .filter(|entry| entry.outcome == Outcome::Unknown)
            .count(),
        10
    );
}

#[test]
fn a_lifecycle_ends_what_it_began() {
    let address = fake_server(|number, target| match target.split(' ').next() {
        Some("DELETE") => answer(204, "", ""),
        _ if target.contains("/confirm ") => answer(200, "", "{}"),
        _ => created(number),
    });
    let (ledger, round) = run(address, Scenario::Lifecycle, open(1000.0));
    let count = |operation| {
        ledger
            .entries
            .iter()
            .filter(|entry| entry.operation == operation)
            .count()
    };
    let (reserves, confirms, releases) = (
        count(Operation::Reserve),
        count(Operation::Confirm),
        count(Operation::Release),
    );
    assert_eq!((round.tally.done, round.tally.unexpected), (200, 0));
    assert!(
        confirms > releases && releases > 0 && reserves > confirms,
        "{reserves} {confirms} {releases}"
    );
}

#[test]
fn refusals_and_strange_answers_are_told_apart() {
    let problem = |code: &str| format!("{{\"code\":\"{code}\"}}");
    let address = fake_server(move |number, _| match number % 4 {
        0 => answer(409, "", &problem("insufficient-stock")),
        1 => answer(503, "Retry-After: 9\r\n", &problem("overloaded")),
        2 => answer(503, "Retry-After: 9\r\n", &problem("outcome-unknown")),
        _ => answer(500, "", &problem("bug")),
    });
    let (_, round) = run(address, Scenario::Hot, open(1000.0));
    let tally = round.tally;
    assert_eq!(
        (tally.sold_out, tally.shed, tally.unknown, tally.unexpected),
        (50, 50, 50, 50)
    );
    assert!(round.first_trouble.unwrap().contains("500"));
}

#[test]
fn a_closed_loop_keeps_going_until_its_end_and_heeds_retry_after() {
    let address = fake_server(|number, _| created(number));
    let (ledger, round) = run(address, Scenario::Hot, Pace::Closed);
    assert!(
        round.tally.done >= 4,
        "each connection at least once: {}",
        round.tally.done
    );
    assert_eq!(ledger.entries.len() as u64, round.tally.done);
    let busy = fake_server(|_, _| answer(503, "Retry-After: 60\r\n", ""));
    let (_, round) = run(busy, Scenario::Hot, Pace::Closed);
    assert_eq!(round.tally.shed, 4, "each connection asked once and then waited");
}

#[test]
fn a_closed_loop_waits_for_its_start() {
    let address = fake_server(|number, _| created(number));
    let stopwatch = Stopwatch::start();
    let load = Load {
        address,
        target: Target::Holdfast,
        connections: 4,
        pace: Pace::Closed,
        start_ns: NANOS / 10,
        measure_ns: NANOS / 10,
        end_ns: NANOS / 5,
        drain: Duration::from_secs(60),
        storm: None,
    };
    let plan = Plan::new(Scenario::Hot, 1, "ab".to_owned(), 1);
    let (_, ledger, _) = run_round(load, stopwatch, plan, Ledger::default()).unwrap();
    assert!(!ledger.entries.is_empty());
    assert!(ledger.entries.iter().all(|entry| entry.sent_ns >= NANOS / 10));
}

#[test]
fn a_bulk_answer_is_booked_line_by_line() {
    let address = fake_server(|number, _| {
        let line = |index: u64| {
            let id = number * 1000 + index;
            let shown =
                format!("{{\"id\":\"rsv_{id:032x}\",\"variantId\":\"bench-ab-{index}\",\"expiresInMs\":5}}");
            format!(
                "{{\"variantId\":\"bench-ab-{index}\",\"reservationId\":\"rsv_{id:032x}\",\"reservation\":{shown}}}"
            )
        };
        let lines: Vec<String> = (0..100).map(line).collect();
        answer(201, "", &format!("{{\"lines\":[{}]}}", lines.join(",")))
    });
    let (ledger, round) = run(address, Scenario::Bulk, open(100.0));
    assert_eq!((round.tally.done, ledger.entries.len()), (20, 2000));
    assert!(
        ledger.entries[..100]
            .iter()
            .enumerate()
            .all(|(index, entry)| entry.variant as usize == index)
    );
    let silent = fake_server(|_, _| answer(201, "", "{}"));
    let (_, round) = run(silent, Scenario::Bulk, open(100.0));
    assert_eq!(
        round.tally.unexpected, 20,
        "a success that names nothing is no success"
    );
}

#[test]
fn nobody_listening_is_told() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ledger, round) = run(address, Scenario::Hot, open(100.0));
    assert!(ledger.entries.is_empty());
    assert_eq!(round.unsent, 20);
    assert!(round.first_trouble.unwrap().starts_with("cannot connect"));
}

#[test]
fn what_the_end_cuts_off_is_unknown_or_unsent() {
    let never = std::sync::Barrier::new(5);
    let address = fake_server(move |number, _| {
        never.wait();
        created(number)
    });
    let (ledger, round) = run_and_drain(address, Scenario::Hot, open(100.0), Duration::ZERO);
    assert_eq!(
        (round.tally.unknown, round.unsent),
        (4, 16),
        "four connections wait for ever"
    );
    assert!(
        ledger
            .entries
            .iter()
            .all(|entry| entry.outcome == Outcome::Unknown)
    );
    assert_eq!(
        (ledger.entries.len(), round.latency.len()),
        (4, 16),
        "the wait of the unsent is not left out"
    );
}
