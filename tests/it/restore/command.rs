//! `holdfast restore`: the plan first, then totals and the next command; nothing that is in use, nothing by halves.
use super::Home;
use holdfast::{
    app::{Shop, recover_options},
    domain::rewind::HoldsRule,
    storage::{
        data_dir::DataDir,
        restore::{Cut, Logs, Source, Wanted, carry_out, survey},
        snapshot::SnapshotReader,
    },
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::shop::{ctx, hold, stock, view};

fn holdfast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .arg("restore")
        .args(arguments)
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A closed shop with a snapshot from before its last sale.
struct Closed {
    home: Home,
    file: PathBuf,
    into: PathBuf,
    cut: u64,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn lived(home: &Home, story: impl AsyncFnOnce(&Shop)) {
    let runtime = runtime();
    let shop = runtime.block_on(async {
        let shop = home.open(home.journal()).await;
        story(&shop).await;
        shop.close().await;
        shop
    });
    drop(runtime);
    drop(shop);
}

fn closed() -> Closed {
    let home = Home::new("file");
    lived(&home, async |shop| {
        stock(shop, "soap", 10).await;
        hold(shop, "soap", 2).await;
    });
    let file = home.dir.path().join("shop.holdfast");
    let cut = home.capture(&file).manifest.position;
    lived(&home, async |shop| {
        let sale = hold(shop, "soap", 3).await;
        shop.confirm(&ctx(), sale.id, None, None).await.unwrap();
    });
    let into = home.dir.path().join("restored");
    Closed {
        home,
        file,
        into,
        cut,
    }
}

impl Closed {
    /// Restores with these arguments beside file, directory and log.
    fn restore(&self, arguments: &[&str]) -> Output {
        let (file, into, data) = (
            self.file.to_str().unwrap(),
            self.into.to_str().unwrap(),
            self.home.data(),
        );
        let own = [file, "--into", into, "--log-from", data.to_str().unwrap()];
        holdfast(&[&own, arguments].concat())
    }

    /// The text without what differs from run to run; each kind is checked before it goes.
    fn redacted(&self, text: &str) -> String {
        let dir = self.home.dir.path().to_str().unwrap();
        let word = |word: &str| -> String {
            if word.len() == 24 && word.ends_with('Z') && word.parse::<jiff::Timestamp>().is_ok() {
                "MOMENT".to_owned()
            } else if word.len() == 64 && word.chars().all(|digit| digit.is_ascii_hexdigit()) {
                "DIGEST".to_owned()
            } else {
                word.replace(dir, "DIR")
            }
        };
        let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Compares with the reviewed text `tests/golden/cli/<name>.snap`.
macro_rules! golden {
    ($name:expr, $text:expr) => {
        insta::with_settings!(
            { snapshot_path => "../../golden/cli", prepend_module_to_snapshot => false, omit_expression => true },
            { insta::assert_snapshot!($name, $text) }
        )
    };
}

fn names(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("LOCK") {
                // The lock says which process looked last.
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let closed = closed();
    let before = names(&closed.home.data());
    let cut = closed.cut.to_string();
    let output = closed.restore(&["--to-number", &cut, "--holds", "rebase", "--dry-run"]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    golden!("restore_dry_run", closed.redacted(stdout(&output)));
    assert_eq!(names(&closed.home.data()), before);
    assert!(!closed.into.exists());
}

#[test]
fn a_restore_tells_plan_totals_and_the_next_command() {
    let closed = closed();
    let cut = closed.cut.to_string();
    let output = closed.restore(&["--to-number", &cut, "--holds", "rebase"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    golden!("restore_totals", closed.redacted(stdout(&output)));
    golden!("restore_messages", closed.redacted(stderr(&output)));
    let again = closed.restore(&["--to-number", &cut]);
    assert_eq!(code(&again), 5, "{}", stderr(&again));
    assert!(stderr(&again).contains("is in use already"), "{}", stderr(&again));

    // It opens, with what was sold since paused.
    let flags = [
        ("data.dir".to_owned(), closed.into.display().to_string()),
        ("journal.backend".to_owned(), "sled".to_owned()),
    ];
    let restored = Home {
        loaded: std::sync::Arc::new(holdfast::config::Config::load(None, [], &flags).unwrap()),
        clock: closed.home.clock.clone(),
        dir: tempfile::tempdir().unwrap(),
    };
    lived(&restored, async |shop| {
        let soap = view(shop, "soap").await;
        assert_eq!((soap.held, soap.committed), (2, 0));
        assert_eq!(soap.head.sale.as_str(), "paused");
    });
}

#[test]
fn json_says_the_same_to_programs() {
    let closed = closed();
    let output = closed.restore(&["--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["plan"]["recordsLost"], 0);
    assert_eq!(told["restored"]["variants"], 1);
    assert_eq!(told["restored"]["variantsPaused"], 0, "nothing is lost");
    assert_eq!(told["plan"]["knowsWhatCameAfter"], true);
}

#[test]
fn what_is_refused_has_its_exit_code() {
    let closed = closed();
    let (file, into, data) = (
        closed.file.to_str().unwrap(),
        closed.into.to_str().unwrap(),
        closed.home.data(),
    );
    let data = data.to_str().unwrap();
    let in_use = DataDir::open(&closed.home.data()).unwrap();
    let locked = closed.restore(&[]);
    assert_eq!(code(&locked), 7, "{}", stderr(&locked));
    drop(in_use);
    let filled = holdfast(&[file, "--into", data]);
    assert_eq!(code(&filled), 5, "{}", stderr(&filled));
    let foreign = closed.home.dir.path().join("thesis");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
    let somebody = holdfast(&[file, "--into", foreign.to_str().unwrap()]);
    assert_eq!(code(&somebody), 5, "{}", stderr(&somebody));
    let both = closed.restore(&["--to-number", "1", "--to-time", "2027-01-15T08:00:00Z"]);
    assert_eq!(code(&both), 2, "{}", stderr(&both));
    let beyond = closed.restore(&["--to-number", "1000"]);
    assert_eq!(code(&beyond), 1, "{}", stderr(&beyond));
    assert!(
        stderr(&beyond).contains("behind the last record"),
        "{}",
        stderr(&beyond)
    );
    let mut bytes = std::fs::read(&closed.file).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 2;
    std::fs::write(&closed.file, bytes).unwrap();
    let damaged = holdfast(&[file, "--into", into]);
    assert_eq!(code(&damaged), 3, "{}", stderr(&damaged));
    assert!(!closed.into.exists(), "nothing is half restored");
}

/// The shop of `closed`, put back in its own directory to the snapshot, where it sells once more.
fn put_back_and_sold(closed: &Closed) {
    let data = closed.home.data();
    let mut dir = DataDir::open(&data).unwrap();
    let options = recover_options(&closed.home.loaded.config);
    let open = || SnapshotReader::open(&closed.file);
    let logs = Logs::of_data_dir(&dir, &options).unwrap();
    let log = logs
        .behind(open().unwrap().manifest(), Cut::Number(closed.cut), true)
        .unwrap();
    let source = Source {
        open: &open,
        log: Some(&log),
    };
    let wanted = Wanted {
        cut: Cut::Number(closed.cut),
        holds: HoldsRule::Keep,
        now_ms: closed.home.clock.now().as_millis(),
    };
    let plan = survey(&source, wanted).unwrap();
    carry_out(&mut dir, &options, &options.journal(), &source, &plan, &|_| {}).unwrap();
    drop((log, dir));
    lived(&closed.home, async |shop| {
        stock(shop, "towel", 5).await;
        let sale = hold(shop, "towel", 2).await;
        shop.confirm(&ctx(), sale.id, None, None).await.unwrap();
    });
}

#[test]
fn a_restore_goes_through_the_restores_of_before() {
    let closed = closed();
    put_back_and_sold(&closed);
    let told = |arguments: &[&str]| {
        let output = closed.restore(&[&["--json", "--dry-run"], arguments].concat());
        assert_eq!(code(&output), 4, "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["plan"].clone()
    };
    let end = told(&[]);
    assert!(end["cut"].as_str().unwrap().starts_with("2-"), "{end}");
    assert_eq!(
        (&end["recordsLost"], &end["logCutShort"]),
        (&Value::from(0), &Value::Null)
    );
    let cut = closed.cut.to_string();
    let back = told(&["--to-number", &cut]);
    assert_eq!(back["soldAfter"][0]["variantId"], "towel", "{back}");
    assert_eq!(back["lostSales"], 1, "what epoch 1 lost is lost: {back}");

    // Nobody knows where epoch 2 began.
    std::fs::remove_file(closed.home.data().join("LINEAGE")).unwrap();
    let unknown = told(&["--to-number", &cut]);
    let why = unknown["logCutShort"].as_str().unwrap();
    assert!(why.contains("not written down where epoch 2 began"), "{why}");
    assert_eq!(unknown["lostSales"], 1, "what can be read is told: {unknown}");
    let output = closed.restore(&["--json", "--to-number", &cut]);
    let restored: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        restored["restored"]["variantsPaused"], 1,
        "every variant: {restored}"
    );

    // A shop sells on where it cannot be read; a restore says what is in its way.
    std::fs::write(closed.home.data().join("LINEAGE"), "holdfast-lineage 1\n2 from\n").unwrap();
    lived(&closed.home, async |shop| {
        hold(shop, "towel", 1).await;
    });
    std::fs::remove_dir_all(&closed.into).unwrap();
    let damaged = closed.restore(&["--dry-run"]);
    assert_eq!(code(&damaged), 3, "{}", stderr(&damaged));
    assert!(stderr(&damaged).contains("LINEAGE says"), "{}", stderr(&damaged));
}

#[test]
fn a_directory_stands_for_its_nearest_snapshot() {
    let closed = closed();
    let named = closed.home.data().join("snapshots/a.holdfast");
    std::fs::copy(&closed.file, &named).unwrap();
    let data = closed.home.data();
    let data = data.to_str().unwrap();
    let into = closed.into.to_str().unwrap();
    let none = holdfast(&[data, "--into", into, "--to-number", "0", "--dry-run"]);
    assert_eq!(code(&none), 1, "{}", stderr(&none));
    let found = holdfast(&[data, "--into", into, "--dry-run"]);
    assert_eq!(code(&found), 4, "{}", stderr(&found));
    assert!(stdout(&found).contains("a.holdfast"), "{}", stdout(&found));
}
