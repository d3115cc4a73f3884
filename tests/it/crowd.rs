//! Many slow, silent and rude clients at once over real sockets: those who behave are served all the while, nobody who left holds
//! anything up, and the end comes in time.
//!
//! `HOLDFAST_IDLE_CONNECTIONS=10000 cargo test --test it crowd::` brings more of them, as far as files may be opened.
use rustix::process::{Resource, Signal, getrlimit};
use serde_json::json;
use tempfile::TempDir;

use crate::server::Server;
use crate::server::wire::{Connection, request};

const IDLE: u64 = 2_000;

fn started(settings: &[&str]) -> (TempDir, Server) {
    let home = tempfile::tempdir().unwrap();
    let settings: Vec<_> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let server = Server::start(&home.path().join("data"), &settings);
    let body = json!({"id": "1", "onHand": 100_000}).to_string();
    assert_eq!(server.ask("POST", "/api/stock/variants", "", &body).status, 201);
    (home, server)
}

fn reserve() -> Vec<u8> {
    let body = json!({"variantId": "1", "quantity": 1}).to_string();
    request("POST", "/api/stock/reservations", "", &body)
}

/// A client that behaves gets everything it asks for.
fn serves(server: &Server, requests: usize) {
    let mut connection = server.connect();
    for _ in 0..requests {
        let answer = connection.exchange(&reserve()).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

fn until(server: &Server, metric: &str, is: impl Fn(f64) -> bool) {
    while !is(server.metric(metric).parse().unwrap()) {
        std::thread::yield_now();
    }
}

/// The memory of the process that stays, in bytes.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// As many as asked for, and as may be: both ends of a connection are files, and other tests open some too.
fn idle_connections() -> u64 {
    let wanted =
        std::env::var("HOLDFAST_IDLE_CONNECTIONS").map_or(IDLE, |text| text.parse().expect("a number"));
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    wanted.min(allowed.saturating_sub(500))
}

#[test]
fn silent_connections_cost_little_and_hold_nobody_up() {
    let count = idle_connections();
    let (_home, server) = started(&["server.header_read_timeout=10m"]);
    serves(&server, 20);
    let before = resident(&server);
    let silent: Vec<_> = (0..count).map(|_| server.connect()).collect();
    until(&server, "holdfast_http_connections", |open| open >= count as f64);
    serves(&server, 50);
    let each = resident(&server).saturating_sub(before) / count.max(1);
    crate::report(&format!(
        "{count} silent connections, {each} bytes of memory each"
    ));
    assert!(each < 32 * 1024, "{each} bytes for each of {count}");
    drop(silent);
    until(&server, "holdfast_http_connections", |open| open < 10.0);
}

#[test]
fn slow_senders_are_let_go_while_others_are_served() {
    let (_home, server) = started(&[
        "server.header_read_timeout=500ms",
        "server.request_deadline=500ms",
    ]);
    let whole = reserve();
    let head = whole.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let mut slow: Vec<Connection> = (0..200).map(|_| server.connect()).collect();
    for (index, connection) in slow.iter_mut().enumerate() {
        let sent = [1, 20, head - 1, head, head + 5][index % 5];
        connection.write(&whole[..sent]).unwrap();
    }
    serves(&server, 100);
    for connection in &mut slow {
        let told = String::from_utf8(connection.rest()).unwrap();
        assert!(!told.starts_with("HTTP/1.1 2"), "{told}");
    }
    assert_eq!(
        server.get("/api/stock/variants/1")["held"],
        100,
        "nobody else asked for anything"
    );
    until(&server, "holdfast_commands_in_flight", |some| some == 0.0);
}

#[test]
fn who_never_reads_holds_neither_others_nor_the_end_up() {
    let (_home, server) = started(&["server.drain_deadline=1s"]);
    serves(&server, 200);
    let list = request("GET", "/api/stock/reservations?limit=500", "", "");
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = server.connect();
            // Far more answers than the sockets between us can keep.
            connection.write(list.repeat(100)).unwrap();
            connection
        })
        .collect();
    serves(&server, 100);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    drop(deaf);
}

#[test]
fn abandoned_requests_happen_whole_or_not_at_all_and_leave_nothing_behind() {
    let (home, server) = started(&[]);
    let whole = reserve();
    for index in 0..1_000 {
        let mut gone = server.connect();
        let sent = if index % 4 == 0 {
            index % whole.len()
        } else {
            whole.len()
        };
        gone.write(&whole[..sent]).unwrap();
    }
    // Whoever comes now is let in behind all of them.
    serves(&server, 1);
    until(&server, "holdfast_http_connections", |open| open < 2.0);
    until(&server, "holdfast_commands_in_flight", |some| some == 0.0);
    let variant = server.get("/api/stock/variants/1");
    let statistics = server.get("/api/stock/reservations/statistics");
    assert_eq!(variant["held"], statistics["active"], "CONSERVATION");
    assert!(variant["held"].as_u64().unwrap() <= 1_001);
    serves(&server, 20);
    let held = server.get("/api/stock/variants/1")["held"].clone();
    server.kill();
    let again = Server::start(&home.path().join("data"), &[]);
    assert_eq!(again.get("/api/stock/variants/1")["held"], held);
}

#[test]
fn the_end_comes_in_time_among_silent_slow_and_busy_clients() {
    let (home, server) = started(&["server.header_read_timeout=10m"]);
    let silent: Vec<_> = (0..100).map(|_| server.connect()).collect();
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = server.connect();
            connection.write(&reserve()[..20]).unwrap();
            connection
        })
        .collect();
    let (tell, heard) = std::sync::mpsc::channel();
    let (status, log, answered) = std::thread::scope(|scope| {
        let busy: Vec<_> = (0..4)
            .map(|_| {
                let (tell, mut connection) = (tell.clone(), server.connect());
                scope.spawn(move || {
                    let mut answered = Vec::new();
                    while let Ok(answer) = connection.exchange(&reserve()) {
                        if answer.status == 503 {
                            break;
                        }
                        answered.push(answer.json()["id"].as_str().unwrap().to_owned());
                        // Nobody may listen any more.
                        let _ = tell.send(());
                    }
                    answered
                })
            })
            .collect();
        drop(tell);
        assert_eq!(heard.iter().take(200).count(), 200);
        server.signal(Signal::TERM);
        let (status, log) = server.wait();
        let answered: Vec<String> = busy.into_iter().flat_map(|one| one.join().unwrap()).collect();
        (status, log, answered)
    });
    assert_eq!(status.code(), Some(0), "{log}");
    drop((silent, slow));
    let again = Server::start(&home.path().join("data"), &[]);
    for id in &answered {
        assert_eq!(
            again.get(&format!("/api/stock/reservations/{id}"))["status"],
            "active",
            "ACK_DURABLE"
        );
    }
}
