//! The shape of the hot path: how many allocations a request costs, from its head and body to the answer's, with the record
//! behind it on the disk. Counted over the whole process, so the actor's, the writer's and the completion's are among them.
//! A clock says how busy the machine was; this says how much work was done. Of the test build, whose checks allocate too: the
//! accepted figures are its own.
//!
//! ```text
//! cargo test --bench shape              compares with benches/shape.txt; more than 5 % off, either way, is a failure
//! cargo test --bench shape -- write     writes the file, for a change that was meant
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints its figures and stops when something fails"
)]
mod house;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use holdfast::{
    app::{House, configured_journal},
    config::Config,
    http::{frame::Frame, router::router, site::Site},
};
use http_body_util::BodyExt;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, fmt::Write, process::ExitCode, sync::Arc};
use tower::ServiceExt;

/// Figures that are accepted, a line each: a name and allocations a request.
const FIGURES: &str = "benches/shape.txt";

/// How far a figure may be off, in percent of the accepted one.
const TOLERANCE_PERCENT: f64 = 5.0;

/// Requests before anything is counted: tables and buffers have grown by then.
const WARM_UP: u32 = 2_000;

/// The median of so many windows is told: one in which a table grows, or the rows are written, is not the rule.
const WINDOWS: usize = 7;

/// Requests in a window.
const WINDOW: u32 = 500;

/// The system's allocator, counted: how often it is asked does not depend on who answers.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if !cfg!(debug_assertions) {
        println!("the accepted figures are of the test build: cargo test --bench shape");
        return ExitCode::SUCCESS;
    }
    let write = std::env::args().any(|word| word == "write");
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let flags = [
        ("data.dir", data.as_str()),
        ("journal.backend", "file"),
        // What is not a request's own work stays out of the windows.
        ("checkpoint.every", "1h"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let loaded = Arc::new(Config::load(None, [], &flags).unwrap());
    let config = Arc::new(loaded.config.clone());
    let shop = house::open(&config).await.unwrap();
    let whole = House::new(
        Arc::clone(&shop),
        configured_journal(&config),
        Arc::new(|why| panic!("{why}")),
    );
    let frame = Frame::new(&config.server);
    let router = router(Site::new(Arc::clone(&shop), whole, loaded), frame);

    let stocked = |id: &str, units: u64| format!(r#"{{"id":"{id}","name":"{id}","onHand":{units}}}"#);
    for (id, units) in [("hot", 1_000_000), ("none", 0)] {
        let make = post("/api/stock/variants", &format!("make-{id}"), stocked(id, units));
        assert_eq!(send(&router, make).await.0, StatusCode::CREATED);
    }
    // Every reservation under a key of its own, and for a customer of its own.
    let mut asked = 0;
    let mut reserve = |variant: &str| {
        asked += 1;
        let body = format!(r#"{{"variantId":"{variant}","quantity":1,"customerId":"c{asked}"}}"#);
        post("/api/stock/reservations", &format!("key-{asked}"), body)
    };
    let look = || {
        let request = Request::get("/api/stock/variants/hot/availability");
        request.body(Body::empty()).unwrap()
    };
    let figures = [
        (
            "reserve",
            measure(&router, StatusCode::CREATED, || reserve("hot")).await,
        ),
        (
            "sold-out",
            measure(&router, StatusCode::CONFLICT, || reserve("none")).await,
        ),
        ("availability", measure(&router, StatusCode::OK, look).await),
    ];
    shop.close().await;

    if write {
        let mut text = String::new();
        for (name, count) in &figures {
            writeln!(text, "{name} {count}").unwrap();
        }
        std::fs::write(FIGURES, text).unwrap();
        return ExitCode::SUCCESS;
    }
    compare(&figures)
}

/// Tells every figure beside the accepted one.
fn compare(figures: &[(&str, u64)]) -> ExitCode {
    let accepted = std::fs::read_to_string(FIGURES).unwrap();
    let mut off = 0;
    println!("allocations a request (accepted, off by):");
    for (name, count) in figures {
        let line = accepted
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let wanted: u32 = line.unwrap_or_else(|| panic!("{FIGURES} has no line for {name}"));
        let count = u32::try_from(*count).unwrap();
        let percent = (f64::from(count) - f64::from(wanted)) / f64::from(wanted) * 100.0;
        println!("{name:<14}{count:>6} ({wanted}, {percent:+.1} %)");
        off += u32::from(percent.abs() > TOLERANCE_PERCENT);
    }
    if off == 0 {
        return ExitCode::SUCCESS;
    }
    println!(
        "{off} of them more than {TOLERANCE_PERCENT} % off: find out why, or accept it with \
         `cargo test --bench shape -- write`"
    );
    ExitCode::FAILURE
}

/// Allocations of one such request, sent one after the other: the median window's.
async fn measure(router: &Router, expected: StatusCode, mut ask: impl FnMut() -> Request<Body>) -> u64 {
    let mut windows = Vec::new();
    for count in std::iter::once(WARM_UP).chain([WINDOW; WINDOWS]) {
        let mut spent = 0;
        for _ in 0..count {
            let (status, allocations) = send(router, ask()).await;
            assert_eq!(status, expected);
            spent += allocations;
        }
        windows.push(spent / u64::from(count));
    }
    let counted = &mut windows[1..];
    counted.sort_unstable();
    counted[WINDOWS / 2]
}

fn post(path: &str, key: &str, body: String) -> Request<Body> {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    request.body(Body::from(body)).unwrap()
}

/// The answer's status, and the allocations from the request to its answer, to the last byte.
async fn send(router: &Router, request: Request<Body>) -> (StatusCode, u64) {
    let counted = Region::new(ALLOCATOR);
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    body.collect().await.unwrap();
    let change = counted.change();
    (head.status, (change.allocations + change.reallocations) as u64)
}
