//! Disks that fail: full, broken, damaged afterwards. Each ends in correct service or in a refusal that says where to look; nothing
//! that was answered is lost in silence.
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use holdfast::clock::ManualClock;
use holdfast::config::JournalBackend;
use holdfast::domain::ids::ReservationId;
use holdfast::storage::journal::Journal;
use holdfast::storage::journal::file::{FileJournal, FileOptions};
use holdfast::storage::journal::simulated::{Operation, SimulatedDisk};
use holdfast::storage::recovery::{JournalPlace, OpenJournal};
use serde_json::json;

use crate::crash_states::story::{Facts, Life, Look, config, judge, live};
use crate::server::wire::request;
use crate::server::{Server, Starting};
use crate::shop::{START, ctx, on_both_logs, stock, wish};

// --- a log on a disk that fails ---

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A log in files on this disk; the rows are on the real one, and empty.
fn log_on(disk: &SimulatedDisk) -> OpenJournal {
    let disk = disk.clone();
    Arc::new(move |place: JournalPlace<'_>| {
        let options = FileOptions {
            partition: place.partition,
            epoch: place.epoch,
            segment_bytes: 8 << 10,
            prepare_ahead: false,
            start: place.start,
            proven: place.proven,
        };
        // The data directory is asked whether it still has a log; this one lies elsewhere.
        let _ = fs::write(place.dir.join("simulated"), b"");
        let journal = FileJournal::open(Arc::new(disk.clone()), place.dir, options)?;
        Ok(Box::new(journal) as Box<dyn Journal>)
    })
}

/// The operation after so many of its kind fails, and every one behind it.
fn fail(disk: &SimulatedDisk, kind: Operation, after: u64, error: i32) {
    let left = AtomicU64::new(after);
    disk.set_plan(move |operation, _| {
        if operation != kind {
            return Ok(());
        }
        let counted = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted.map(drop).map_err(|_| io::Error::from_raw_os_error(error))
    });
}

/// Sells until the disk fails; what was answered.
fn sell_until_it_fails(life: &Life) -> Vec<ReservationId> {
    life.run(async |shop| {
        let mut answered = Vec::new();
        for _ in 0..60 {
            match shop.reserve(&ctx(), wish("a", 1)).await {
                Ok(held) => answered.push(held.body.hold.id),
                Err(_) => break,
            }
        }
        answered
    })
}

#[test]
fn a_log_whose_disk_fails_ends_the_shop_and_loses_no_answer() {
    let faults = [
        ("ENOSPC on write", Operation::Write, ENOSPC),
        // The simulated disk writes half of what fails.
        ("EIO on write", Operation::Write, EIO),
        ("EIO on sync", Operation::Sync, EIO),
        ("ENOSPC on names and lengths", Operation::Meta, ENOSPC),
    ];
    let mut failed = 0;
    for (name, kind, error) in faults {
        for after in 0..24 {
            let home = tempfile::tempdir().unwrap();
            let config = config(&home.path().join("data"), JournalBackend::File);
            let disk = SimulatedDisk::new(after);
            let clock = ManualClock::new(START);
            let life = Life::begin_on(config.clone(), log_on(&disk), &clock).unwrap();
            life.run(async |shop| stock(shop, "a", 1_000).await);
            fail(&disk, kind, after, error);
            let answered = sell_until_it_fails(&life);
            let ended = life.drop_hard();
            assert_eq!(
                ended.is_err(),
                answered.len() < 60,
                "{name} after {after}: {ended:?}"
            );
            failed += usize::from(ended.is_err());
            disk.crash();
            disk.clear_plan();
            disk.power_on();
            let life = Life::begin_on(config, log_on(&disk), &clock);
            let life = life.unwrap_or_else(|error| panic!("{name} after {after}: {error}"));
            life.run(async |shop| {
                for id in &answered {
                    let found = shop.get_reservation(&ctx(), *id).await;
                    assert!(
                        found.is_ok(),
                        "ACK_DURABLE: {name} after {after}: {id}: {found:?}"
                    );
                }
                assert!(shop.reserve(&ctx(), wish("a", 1)).await.is_ok());
            });
            life.drop_hard().unwrap();
        }
    }
    assert!(failed > 40, "{failed} of the disks failed");
}

// --- damage ---

/// Files below a directory, with their paths from there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What happened to a file behind everybody's back; `false` if it is too small for that.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Bit,
    SwappedChunks,
    Cut,
    Missing,
}

impl Damage {
    fn inflict(self, path: &Path, rng: &mut Rng) -> bool {
        let mut bytes = fs::read(path).unwrap();
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        match self {
            Self::Missing => fs::remove_file(path).unwrap(),
            _ if written == 0 => return false,
            Self::Bit => {
                bytes[rng.usize(0..written)] ^= 1 << rng.u8(0..8);
                fs::write(path, bytes).unwrap();
            }
            Self::Cut => {
                bytes.truncate(rng.usize(0..written));
                fs::write(path, bytes).unwrap();
            }
            Self::SwappedChunks => {
                const CHUNK: usize = 512;
                let chunks = written / CHUNK;
                if chunks < 2 {
                    return false;
                }
                let (one, two) = (rng.usize(0..chunks - 1), chunks - 1);
                for index in 0..CHUNK {
                    bytes.swap(one * CHUNK + index, two * CHUNK + index);
                }
                fs::write(path, bytes).unwrap();
            }
        }
        true
    }
}

/// Rounds over all files in a usual run.
const ROUNDS: u64 = 2;

on_both_logs! {
    a_damaged_file_is_refused_by_name_or_does_no_harm,
}

fn a_damaged_file_is_refused_by_name_or_does_no_harm(backend: JournalBackend) {
    let rounds = std::env::var("HOLDFAST_DAMAGE_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("rounds"));
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("data");
    let told = live(&whole, backend);
    let live_parts = live_parts(&whole);
    let mut rng = Rng::with_seed(5);
    let (mut all, mut wrong) = (Tally::default(), Vec::new());
    for damage in [Damage::Bit, Damage::SwappedChunks, Damage::Cut, Damage::Missing] {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            for file in files(&whole) {
                let name = file.strip_prefix(&whole).unwrap();
                let other = tempfile::tempdir().unwrap();
                let data = other.path().join("data");
                copy(&whole, &data);
                if !damage.inflict(&data.join(name), &mut rng) {
                    continue;
                }
                let is_live = live_parts.iter().any(|part| file.starts_with(part));
                match verdict(&data, backend, &told, is_live) {
                    Ok(Verdict::Serves) => tally.served += 1,
                    Ok(Verdict::Refuses) => tally.refused += 1,
                    Ok(Verdict::Shortened) => tally.shortened += 1,
                    Err(why) => wrong.push(format!("{damage:?} of {}: {why}", name.display())),
                }
            }
        }
        crate::report(&format!("{damage:?} on {backend:?}: {tally}"));
        all.served += tally.served;
        all.refused += tally.refused;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.served > 0 && all.refused > 0);
}

/// What became of damaged directories.
#[derive(Default)]
struct Tally {
    served: u32,
    refused: u32,
    shortened: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            served,
            refused,
            shortened,
        } = self;
        write!(
            f,
            "{served} did no harm, {refused} were refused by name, {shortened} at the end of the log were taken for a torn tail"
        )
    }
}

/// The part of the log that takes appends: the last one, or the one before it when the next is made already.
fn live_parts(data: &Path) -> Vec<PathBuf> {
    let parts = fs::read_dir(data.join("epochs/1/journal")).unwrap();
    let mut parts: Vec<PathBuf> = parts.map(|part| part.unwrap().path()).collect();
    parts.sort();
    parts.split_off(parts.len().saturating_sub(2))
}

/// What a start on a damaged directory does.
enum Verdict {
    /// Everything that was answered is there.
    Serves,
    /// It says where to look.
    Refuses,
    /// The end of the log behind the stored rows is gone, and cannot be told from what was never written: a file that is cut, a
    /// sector that is emptied, what sled writes around the last group. Everything in the rows is there.
    Shortened,
}

fn verdict(
    data: &Path,
    backend: JournalBackend,
    (told, stored): &(Facts, Facts),
    is_live: bool,
) -> Result<Verdict, String> {
    match judged(data, backend, told)? {
        Ok(()) => Ok(Verdict::Serves),
        // It started, and something that was answered is not there.
        Err(lost) if lost.starts_with("ACK_DURABLE") || lost.starts_with("ONCE_PER_KEY") => {
            match judged(data, backend, stored)? {
                Ok(()) if is_live => Ok(Verdict::Shortened),
                _ => Err(lost),
            }
        }
        Err(refusal) if refusal.contains(&data.display().to_string()) => Ok(Verdict::Refuses),
        Err(nameless) => Err(format!("it names no file: {nameless}")),
    }
}

fn judged(data: &Path, backend: JournalBackend, facts: &Facts) -> Result<Result<(), String>, String> {
    catch_unwind(AssertUnwindSafe(|| judge(data, backend, facts, Look::Opens)))
        .map_err(|_| "it panicked".to_owned())
}

// --- a disk that is full ---

/// A file system of its own, as small as one likes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|mounted| mounted.status.success())
            .then(|| Self(at.to_owned()))
    }

    /// Fills it until so many bytes are free. Somebody else may take what is left before us.
    fn fill(&self, but: u64) {
        let mut ballast = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.ballast())
            .unwrap();
        let free = || {
            let stat = rustix::fs::statvfs(&self.0).unwrap();
            stat.f_bavail * stat.f_frsize
        };
        while free() > but && ballast.write_all(&[1; 4_096]).is_ok() {}
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is left mounted is seen by whoever removes the directory above it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn a_full_disk_stops_new_business_and_loses_no_answer(back_end: &str) {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&home.path().join("disk"), "48m") else {
        crate::report("NOT CHECKED: no file system can be mounted here");
        return;
    };
    let data = disk.0.join("data");
    let arguments = [
        "--set",
        &format!("journal.backend={back_end}"),
        "--set",
        "journal.segment_bytes=1MiB",
        "--set",
        "checkpoint.every=200ms",
        // Room for a segment, and for what is written before the next look at what is free.
        "--set",
        "disk.reserve=8MiB",
    ];
    let server = Server::start(&data, &arguments);
    let body = json!({"id": "a", "onHand": 1_000_000}).to_string();
    assert_eq!(server.ask("POST", "/api/stock/variants", "", &body).status, 201);
    let reserve = reserve();
    let mut held = Vec::new();
    let mut connection = server.connect();
    for _ in 0..50 {
        let answer = connection.exchange(&reserve).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        held.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    let shelf = "/api/admin/snapshots";
    let kept = server.ask("POST", shelf, "", "{}");
    assert_eq!(kept.status, 201, "{}", kept.text());
    // Below the reserve new holds are turned away; those that were made can be sold.
    disk.fill(1536 << 10);
    // A fast machine would fill the rest before the server has looked.
    while server.get("/api/admin/status")["disk"]["belowReserve"] != true {}
    let refused = connection.exchange(&reserve).unwrap();
    assert_eq!(
        refused.json()["code"],
        "storage-unavailable",
        "{}",
        refused.text()
    );
    // Nor is a snapshot taken; an alert hears of it, and the one that there is stays.
    let none = server.ask("POST", shelf, "", "{}");
    assert_eq!(
        (none.status, &none.json()["code"]),
        (507, &json!("insufficient-storage"))
    );
    assert_eq!(server.metric("holdfast_snapshot_failures_total"), "1");
    assert_eq!(server.get(shelf)["items"], json!([kept.json()]));
    let (sold, left) = held.split_at(25);
    for id in sold {
        let confirm = request("POST", &format!("/api/stock/reservations/{id}/confirm"), "", "{}");
        assert_eq!(connection.exchange(&confirm).unwrap().status, 200);
    }
    // Nothing is free at all: it goes on inside what it has, or ends and says why.
    disk.fill(0);
    let mut released = Vec::new();
    for id in left {
        let release = request("DELETE", &format!("/api/stock/reservations/{id}"), "", "");
        match connection.exchange(&release) {
            Ok(answer) if answer.status == 204 => released.push(id),
            Ok(answer) => assert!(answer.status >= 500, "{}", answer.text()),
            Err(_) => {
                assert!(
                    server.log().contains("the disk can no longer be trusted"),
                    "{}",
                    server.log()
                );
                break;
            }
        }
    }
    server.kill();
    fs::remove_file(disk.ballast()).unwrap();
    let again = Starting::spawn(&data, &arguments).listen();
    let again = again.unwrap_or_else(|refused| panic!("{}", refused.log));
    for id in &held {
        let status = again.get(&format!("/api/stock/reservations/{id}"))["status"].clone();
        if sold.contains(id) {
            assert_eq!(status, "confirmed", "ACK_DURABLE: {id}");
        } else if released.contains(&id) {
            assert_eq!(status, "released", "ACK_DURABLE: {id}");
        }
    }
}

fn reserve() -> Vec<u8> {
    let body = json!({"variantId": "a", "quantity": 1}).to_string();
    request("POST", "/api/stock/reservations", "", &body)
}

#[test]
fn a_full_disk_stops_new_business_and_loses_no_answer_on_files() {
    a_full_disk_stops_new_business_and_loses_no_answer("file");
}

#[test]
fn a_full_disk_stops_new_business_and_loses_no_answer_on_sled() {
    a_full_disk_stops_new_business_and_loses_no_answer("sled");
}
