//! How a server ends and how it refuses to start, as an operator meets it: signals, locks, wrong directories, damage, clocks.
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::Request;
use holdfast::app::{Shop, ShopOptions, Time, configured_journal};
use holdfast::clock::ManualClock;
use holdfast::config::Config;
use holdfast::domain::time::Timestamp;
use holdfast::http::frame::Frame;
use holdfast::http::router::router;
use holdfast::http::site::Site;
use holdfast::storage::journal::format::{GROUP_MAGIC, GroupBuilder, GroupHead};
use holdfast::storage::journal::{Anchor, Epoch, PartitionId};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::kill::ledger::{Ledger, VARIANTS, check};
use crate::server::wire::{Connection, request};
use crate::server::{Refused, Server, Starting};

fn home() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    (home, data)
}

fn refused(data: &Path, arguments: &[&str]) -> Refused {
    match Starting::spawn(data, arguments).listen() {
        Ok(_) => panic!("it started"),
        Err(refused) => refused,
    }
}

fn stock(server: &Server) {
    for (id, units) in VARIANTS {
        let body = json!({"id": id, "onHand": units}).to_string();
        assert_eq!(server.ask("POST", "/api/stock/variants", "", &body).status, 201);
    }
}

/// Holds one unit and returns the reservation's path.
fn hold(server: &Server) -> String {
    let body = json!({"variantId": "cold", "quantity": 1}).to_string();
    let held = server.ask("POST", "/api/stock/reservations", "", &body);
    assert_eq!(held.status, 201, "{}", held.text());
    held.header("location").to_owned()
}

/// Every byte of a directory's files, for what must not be touched.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn drains_under_load(back_end: &str) {
    let (_home, data) = home();
    let arguments = ["--set", &format!("journal.backend={back_end}")];
    let server = Server::start(&data, &arguments);
    stock(&server);
    let mut ledgers: Vec<_> = (0..4)
        .map(|client| Ledger::new(&format!("d{client}"), client))
        .collect();
    let (tell, heard) = mpsc::channel();
    let (status, log) = std::thread::scope(|scope| {
        for ledger in &mut ledgers {
            let (tell, connection) = (tell.clone(), server.connect());
            scope.spawn(move || ledger.ask_until_lost(connection, || _ = tell.send(())));
        }
        drop(tell);
        assert_eq!(heard.iter().take(200).count(), 200, "{}", server.log());
        server.signal(Signal::TERM);
        server.wait()
    });
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("draining why=\"SIGTERM\""), "{log}");
    assert!(!log.contains("deadline"), "nothing was cut: {log}");
    assert!(log.contains("ended in good order"), "{log}");

    let again = Server::start(&data, &arguments);
    assert!(
        again.log().contains("replayed=0"),
        "the rows have everything: {}",
        again.log()
    );
    assert!(check(&again, &mut ledgers).answers > 100);
}

#[test]
fn a_drain_under_load_loses_nothing_on_files() {
    drains_under_load("file");
}

#[test]
fn a_drain_under_load_loses_nothing_on_sled() {
    drains_under_load("sled");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let (_home, data) = home();
    let first = Server::start(&data, &[]);
    let log = first.log();
    let second = refused(&data, &[]);
    assert_eq!(second.status.code(), Some(7), "{}", second.log);
    let names = format!("{} is in use by process {}", data.display(), first.id());
    assert!(second.log.contains(&names), "{}", second.log);
    assert!(log.contains("ready"));
    stock(&first);
}

#[test]
fn a_directory_that_is_somebody_elses_is_refused_and_left_alone() {
    let (_home, data) = home();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("thesis.txt"), "do not lose").unwrap();
    let stranger = refused(&data, &[]);
    assert_eq!(stranger.status.code(), Some(5), "{}", stranger.log);
    assert!(stranger.log.contains("thesis.txt"), "{}", stranger.log);
    assert_eq!(
        contents(&data),
        [(data.join("thesis.txt"), b"do not lose".to_vec())]
    );
}

/// A log that no checkpoint has touched, of a server that was killed; the paths of what it answered, in order.
fn killed_with_a_log(data: &Path, back_end: &str, holds: usize) -> Vec<String> {
    let server = Server::start(data, &arguments_of(back_end));
    stock(&server);
    let held = (0..holds).map(|_| hold(&server)).collect();
    server.kill();
    held
}

/// Settings of a server whose log is all there is.
fn arguments_of(back_end: &str) -> [&str; 6] {
    let setting = match back_end {
        "file" => "journal.backend=file",
        _ => "journal.backend=sled",
    };
    [
        "--set",
        setting,
        "--set",
        "checkpoint.every=1h",
        "--set",
        "journal.segment_bytes=1MiB",
    ]
}

/// Where the groups of a log begin: each has a head whose checksum fits. Its magic alone would not do, see the test below.
fn groups_in(bytes: &[u8]) -> Vec<u64> {
    let begins = |at: &usize| bytes[*at] == GROUP_MAGIC[0] && GroupHead::decode(&bytes[*at..]).is_ok();
    (0..bytes.len()).filter(begins).map(|at| at as u64).collect()
}

/// A group ends with a hash and a mark of which the first letters are those of the magic: behind a hash that happens to end
/// like the magic begins, one in 256, the two read like the beginning of another group.
#[test]
fn the_end_of_a_group_is_not_taken_for_the_beginning_of_the_next() {
    let ending = |time: i64| {
        let mut group = GroupBuilder::new(PartitionId(0), Epoch(1), &Anchor::GENESIS, 0);
        group.push(b"a record");
        group.finish(time).unwrap()
    };
    let mut groups = (1..).map(ending);
    let group = groups.find(|group| group.chain()[31] == GROUP_MAGIC[0]).unwrap();
    let magics = group.bytes().windows(4).filter(|bytes| *bytes == GROUP_MAGIC);
    assert_eq!(magics.count(), 2);
    assert_eq!(groups_in(group.bytes()), [0]);
}

fn flip(file: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

#[test]
fn damage_in_the_middle_of_a_log_file_names_file_record_and_next_command() {
    let (_home, data) = home();
    killed_with_a_log(&data, "file", 20);
    let segment = data.join("epochs/1/journal/00000000000000000001.log");
    let bytes = fs::read(&segment).unwrap();
    let groups = groups_in(&bytes);
    assert!(groups.len() > 20, "{groups:?}");
    // Into the record of the tenth group, behind its head, which says which record that is.
    let head = GroupHead::decode(&bytes[usize::try_from(groups[9]).unwrap()..]).unwrap();
    let record = head.first;
    flip(&segment, groups[9] + 100);
    let before = contents(&data.join("epochs/1/journal"));
    let damaged = refused(&data, &arguments_of("file"));
    assert_eq!(damaged.status.code(), Some(3), "{}", damaged.log);
    for named in [
        segment.display().to_string(),
        format!("record {record}"),
        format!(
            "next: holdfast wal repair --truncate-tail --data-dir {}",
            data.display()
        ),
    ] {
        assert!(damaged.log.contains(&named), "{named}: {}", damaged.log);
    }
    assert!(
        contents(&data.join("epochs/1/journal")) == before,
        "nothing was touched"
    );

    // The command it names finds the same.
    let verify = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .arg("verify")
        .arg("--data-dir")
        .arg(&data)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&verify.stderr);
    assert_eq!(verify.status.code(), Some(3), "{told}");
    assert!(told.contains(&format!("record {record}")), "{told}");
}

#[test]
fn a_torn_tail_of_a_log_file_is_cut_and_reported() {
    let (_home, data) = home();
    let held = killed_with_a_log(&data, "file", 20);
    let segment = data.join("epochs/1/journal/00000000000000000001.log");
    // The last group as a power failure leaves it that comes before its sync: half of it is not there.
    let last = *groups_in(&fs::read(&segment).unwrap()).last().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[0; 512], last + 90).unwrap();
    let server = Server::start(&data, &arguments_of("file"));
    assert!(
        server.log().contains("a torn tail was cut off the log"),
        "{}",
        server.log()
    );
    assert!(server.log().contains("torn_bytes="), "{}", server.log());
    let (torn, whole) = held.split_last().unwrap();
    for path in whole {
        assert_eq!(server.get(path)["status"], "active");
    }
    assert_eq!(server.ask("GET", torn, "", "").status, 404);
    // What comes next continues the log.
    let next = hold(&server);
    server.kill();
    let again = Server::start(&data, &arguments_of("file"));
    assert_eq!(again.get(&next)["status"], "active");
    assert!(!again.log().contains("torn"), "{}", again.log());
}

#[test]
fn damage_in_the_log_of_sled_is_never_passed_over_in_silence() {
    let (_home, data) = home();
    let held = killed_with_a_log(&data, "sled", 20);
    let database = data.join("epochs/1/journal/00000001.sled/db");
    let bytes = fs::read(&database).unwrap();
    let groups = groups_in(&bytes);
    assert!(groups.len() > 20, "{groups:?}");
    flip(&database, groups[9] + 100);
    // Opening makes sled forget what it could not read; a second start must not take that for the truth.
    for _ in 0..2 {
        let damaged = match Starting::spawn(&data, &arguments_of("sled")).listen() {
            Err(refused) => refused,
            Ok(server) => {
                let lost: Vec<_> = held
                    .iter()
                    .filter(|path| server.ask("GET", path, "", "").status != 200)
                    .collect();
                panic!("it started without {lost:?}: {}", server.log());
            }
        };
        assert_eq!(damaged.status.code(), Some(3), "{}", damaged.log);
        assert!(damaged.log.contains("00000001.sled"), "{}", damaged.log);
        assert!(damaged.log.contains("record "), "{}", damaged.log);
        let next = format!(
            "next: holdfast wal repair --truncate-tail --data-dir {}",
            data.display()
        );
        assert!(damaged.log.contains(&next), "{}", damaged.log);
    }
}

/// Opens the shop in this process, by a clock that is an hour ahead, and sells something: what a machine with a wrong clock
/// leaves behind.
async fn sold_in_an_hour(data: &Path) {
    let flags = [("data.dir".to_owned(), data.display().to_string())];
    let loaded = Arc::new(Config::load(None, [], &flags).unwrap());
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead = i64::try_from(wall.as_millis()).unwrap() + 3_600_000;
    let options = ShopOptions {
        config: Arc::new(loaded.config.clone()),
        journal: configured_journal(&loaded.config),
        time: Time::Given(ManualClock::new(Timestamp::from_millis(ahead)).into()),
        seed: None,
        progress: Box::new(|_| ()),
        on_fatal: Arc::new(|why| panic!("{why}")),
        workers: holdfast::workers::threads(),
    };
    let (shop, _) = Shop::open(options).await.unwrap();
    let frame = Frame::new(&loaded.config.server);
    let house = holdfast::app::House::new(
        Arc::clone(&shop),
        configured_journal(&loaded.config),
        Arc::new(|why| panic!("{why}")),
    );
    let router = router(Site::new(Arc::clone(&shop), house, loaded), frame);
    let request = Request::post("/api/stock/variants").header("content-type", "application/json");
    let made = router
        .oneshot(request.body(Body::from(r#"{"id":"late","onHand":1}"#)).unwrap())
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    shop.close().await;
}

#[test]
fn a_clock_far_behind_the_log_is_refused_unless_accepted() {
    let (_home, data) = home();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(sold_in_an_hour(&data));
    drop(runtime);
    let early = refused(&data, &[]);
    assert_eq!(early.status.code(), Some(5), "{}", early.log);
    let next = format!(
        "next: holdfast serve --data-dir {} --accept-clock",
        data.display()
    );
    assert!(early.log.contains(&next), "{}", early.log);
    let accepted = Server::start(&data, &["--accept-clock"]);
    assert_eq!(accepted.get("/api/stock/variants/late")["onHand"], 1);
}

/// A port that was free a moment ago, for the one server whose port must be known before it says so.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn healthcheck(ops: SocketAddr) -> (Option<i32>, String) {
    let url = format!("http://{ops}");
    let asked = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["healthcheck", "--url", &url])
        .output()
        .unwrap();
    (asked.status.code(), String::from_utf8(asked.stdout).unwrap())
}

#[test]
fn the_healthcheck_tells_starting_ready_and_draining_apart() {
    let (_home, data) = home();
    Server::start(&data, &[]).kill();
    // A start that waits: CURRENT is a pipe that nobody has written to yet.
    let current = data.join("CURRENT");
    let text = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    let ours = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &current, rustix::fs::FileType::Fifo, ours, 0).unwrap();
    let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let starting = Starting::spawn(&data, &["--set", &format!("server.ops_listen={ops}")]);
    // Opening the pipe waits for its reader, who by then has opened the operations listener.
    let mut pipe = fs::OpenOptions::new().write(true).open(&current).unwrap();
    assert_eq!(healthcheck(ops), (Some(1), "not ready (503)\n".to_owned()));
    let mut probe = Connection::open(ops).unwrap();
    assert_eq!(
        probe.exchange(&request("GET", "/livez", "", "")).unwrap().status,
        200
    );
    let startup = probe.exchange(&request("GET", "/startupz", "", "")).unwrap();
    assert_eq!((startup.status, &startup.json()["started"]), (503, &json!(false)));
    pipe.write_all(&text).unwrap();
    drop(pipe);

    let Ok(server) = starting.listen() else {
        panic!("it did not start")
    };
    assert_eq!(healthcheck(ops), (Some(0), "ready\n".to_owned()));

    // A request whose body has not come yet keeps a draining server up.
    let mut slow = server.connect();
    let whole = request("POST", "/api/stock/variants", "", r#"{"id":"last","onHand":1}"#);
    let (first, rest) = whole.split_at(whole.len() - 5);
    slow.write(first).unwrap();
    while !server.metric("holdfast_http_requests_in_flight").starts_with('2') {
        std::thread::yield_now();
    }
    server.signal(Signal::TERM);
    while healthcheck(ops).0 == Some(0) {}
    assert_eq!(healthcheck(ops), (Some(1), "not ready (503)\n".to_owned()));
    assert!(Connection::open(server.api()).is_err(), "nobody new is let in");
    slow.write(rest).unwrap();
    let answer = slow.read().unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (503, "close"),
        "{}",
        answer.text()
    );
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
