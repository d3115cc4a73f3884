//! The operator's commands against a real server and the data directory it leaves behind: what they print, how they end, and
//! that both places tell the same.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;

/// Compares with the reviewed text `tests/golden/cli/<name>.snap`.
macro_rules! golden {
    ($name:expr, $text:expr) => {
        insta::with_settings!(
            { snapshot_path => "../golden/cli", prepend_module_to_snapshot => false, omit_expression => true },
            { insta::assert_snapshot!($name, $text) }
        )
    };
}

fn holdfast_with(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .unwrap()
}

fn holdfast(arguments: &[&str]) -> Output {
    holdfast_with(&[], arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that succeeds prints.
fn printed(arguments: &[&str]) -> String {
    let output = holdfast(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn printed_json(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[arguments, &["--json"]].concat())).unwrap()
}

fn ended(arguments: &[&str]) -> (i32, String) {
    let output = holdfast(arguments);
    (output.status.code().unwrap(), text(&output.stderr))
}

/// Moments, ids made here and digests as `#`: each has one length, so that columns stay where they are.
fn redacted(text: &str) -> String {
    let mut told: Vec<char> = text.chars().collect();
    let is_hex = |letter: char| letter.is_ascii_digit() || ('a'..='f').contains(&letter);
    let runs = |told: &[char], long: usize| -> Vec<usize> {
        (0..told.len().saturating_sub(long - 1))
            .filter(|at| told[*at..at + long].iter().all(|letter| is_hex(*letter)))
            .collect()
    };
    for at in runs(&told, 32) {
        told[at..at + 32].fill('#');
    }
    let moment = |part: &[char]| {
        part[4] == '-' && part[7] == '-' && part[10] == 'T' && part[13] == ':' && part[23] == 'Z'
    };
    for at in 0..told.len().saturating_sub(23) {
        if moment(&told[at..at + 24]) {
            for letter in &mut told[at..at + 24] {
                if letter.is_ascii_digit() {
                    *letter = '#';
                }
            }
        }
    }
    told.into_iter().collect()
}

/// A shop in which some things have happened.
struct Town {
    _home: TempDir,
    data: PathBuf,
    server: Server,
    reservation: String,
    order: String,
}

impl Town {
    fn built(backend: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let backend = format!("journal.backend={backend}");
        let server = Server::start(&data, &["--demo", "--set", &backend]);
        let post = |path: &str, body: Value| {
            let answer = server.ask("POST", path, "", &body.to_string());
            assert!(answer.status < 300, "{path}: {}", answer.text());
            answer.json()
        };
        let hold = json!({"variantId": "123", "quantity": 2, "customerId": "amal"});
        let reservation = id(&post("/api/stock/reservations", hold));
        let sold = id(&post(
            "/api/stock/reservations",
            json!({"variantId": "124", "quantity": 1}),
        ));
        post(&format!("/api/stock/reservations/{sold}/confirm"), json!({}));
        let cart = id(&post(
            "/api/cart/items",
            json!({"variantId": "156", "quantity": 3}),
        ));
        let order = id(&post(
            &format!("/api/cart/{cart}/checkout"),
            json!({"customerId": "amal"}),
        ));
        // The checkout was answered when its order stood; what it promised is settled behind that.
        while server.get("/api/admin/status")["position"] != "2-3556" {
            std::thread::yield_now();
        }
        Self {
            _home: home,
            data,
            server,
            reservation,
            order,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.api())
    }

    fn ops(&self) -> String {
        format!("http://{}", self.server.ops())
    }

    /// Kills the server: what is left is what an operator finds after a crash.
    fn killed(self) -> (TempDir, PathBuf, String, String) {
        self.server.kill();
        (self._home, self.data, self.reservation, self.order)
    }
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_and_what_it_leaves_behind_tell_the_same() {
    for backend in ["file", "sled"] {
        let town = Town::built(backend);
        let (url, reservation, order) = (town.url(), town.reservation.clone(), town.order.clone());
        let questions: Vec<Vec<&str>> = vec![
            vec!["variant", "get", "123"],
            vec!["variant", "list", "--limit", "4"],
            // The demo shop was put in by a restore, so that its log is of epoch 2.
            vec![
                "variant",
                "list",
                "--limit",
                "500",
                "--cursor",
                "000000000000000200000d00",
            ],
            vec!["reservation", "get", &reservation],
            vec!["reservation", "list"],
            vec!["reservation", "list", "--status", "confirmed"],
            vec!["reservation", "list", "--variant", "156"],
            vec!["reservation", "list", "--customer", "nobody"],
            vec!["order", "get", &order],
            vec![
                "order",
                "list",
                "--customer",
                "amal",
                "--status",
                "pending_payment",
            ],
        ];
        let ask = |place: &[&str]| -> Vec<Value> {
            questions
                .iter()
                .map(|question| timeless(printed_json(&[question, place].concat())))
                .collect()
        };
        let online = ask(&["--url", &url]);
        let (_home, data, ..) = town.killed();
        let offline = ask(&["--data-dir", data.to_str().unwrap()]);
        for (question, (online, offline)) in questions.iter().zip(online.iter().zip(&offline)) {
            assert_eq!(online, offline, "{backend}: {question:?}");
        }
        // A cursor of the epoch before is told from one that no list gave out.
        for (cursor, why) in [
            ("000000000000000100000d00", "of before a restore"),
            ("0000000000000002", "wanted the cursor"),
        ] {
            let data = data.to_str().unwrap();
            let (code, told) = ended(&["variant", "list", "--cursor", cursor, "--data-dir", data]);
            assert_eq!(code, 2, "{told}");
            assert!(told.contains(why), "{told}");
        }
        assert_eq!(online[2]["items"].as_array().unwrap().len(), 214);
        assert_eq!(online[4]["items"].as_array().unwrap().len(), 3);
        assert_eq!(online[7]["items"], json!([]));
    }
}

/// Without what depends on the moment of asking.
fn timeless(mut answer: Value) -> Value {
    for member in ["serverTime", "expiresInMs"] {
        if let Some(members) = answer.as_object_mut() {
            members.remove(member);
        }
    }
    if let Some(items) = answer["items"].as_array_mut() {
        for item in items {
            *item = timeless(item.take());
        }
    }
    answer
}

#[test]
fn what_a_server_answers_is_shown_as_reviewed() {
    let town = Town::built("file");
    let (url, ops) = (town.url(), town.ops());
    let at = |arguments: &[&str]| redacted(&printed(&[arguments, &["--url", &url]].concat()));
    golden!("variant_get", at(&["variant", "get", "123"]));
    golden!("variant_list", at(&["variant", "list", "--limit", "4"]));
    golden!("reservation_get", at(&["reservation", "get", &town.reservation]));
    let listed = at(&["reservation", "list", "--status", "confirmed"]);
    golden!("reservation_list", listed);
    golden!("order_get", at(&["order", "get", &town.order]));

    // Figures differ from run to run; names and their order do not.
    let status = printed(&["status", "--url", &url, "--ops-url", &ops]);
    let names: Vec<&str> = status.lines().map(|line| line[..18].trim_end()).collect();
    golden!("status_names", names.join("\n"));
    let told = printed_json(&["status", "--url", &url, "--ops-url", &ops]);
    assert_eq!(
        (
            &told["liveHolds"],
            &told["heldUnits"],
            &told["orders"],
            &told["variants"]
        ),
        (&json!(2), &json!(5), &json!(1), &json!(3543)),
        "{told}"
    );
    assert_eq!(
        (&told["role"], &told["status"]),
        (&json!("single"), &json!("serving"))
    );
    assert!(told["position"].as_str().unwrap().starts_with("2-"), "{told}");
    let top = printed_json(&["top", "--url", &url, "--ops-url", &ops]);
    let hot: Vec<&Value> = top["hot"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["variantId"])
        .collect();
    assert!(
        hot.contains(&&json!("123")) && hot.contains(&&json!("124")),
        "{top}"
    );
    let frame = printed(&["top", "--once", "--url", &url, "--ops-url", &ops]);
    assert!(frame.contains("PER SECOND") && !frame.contains('\x1b'), "{frame}");
}

#[test]
fn a_next_command_is_one_that_works() {
    let town = Town::built("file");
    let url = town.url();
    for start in [
        &["variant", "list", "--limit", "3"][..],
        &["reservation", "list", "--status", "active"],
        &["order", "list", "--status", "pending_payment"],
        &["variant", "get", "123"],
        &["reservation", "get", &town.reservation],
        &["order", "get", &town.order],
    ] {
        let output = holdfast(&[start, &["--url", &url]].concat());
        let told = text(&output.stderr);
        let next = told
            .trim()
            .strip_prefix("next: holdfast ")
            .unwrap_or_else(|| panic!("{told}"));
        let again: Vec<&str> = next.split(' ').collect();
        assert_eq!(ended(&again).0, 0, "{start:?}: {next}");
    }
}

#[test]
fn refusals_of_a_server_are_told_in_its_words() {
    let town = Town::built("file");
    let url = town.url();
    let (code, told) = ended(&["variant", "get", "no/such", "--url", &url]);
    assert_eq!(code, 1);
    assert!(told.contains("(variant-not-found, 404)"), "{told}");
    let (code, told) = ended(&["reservation", "list", "--cursor", "zz", "--url", &url]);
    assert_eq!(code, 1);
    assert!(told.contains("cursor"), "{told}");
    let nobody = "http://127.0.0.1:1";
    for command in [
        &["status", "--url", nobody][..],
        &["top", "--once", "--url", nobody],
        &["variant", "list", "--url", nobody],
        &["order", "get", "ord_1", "--url", nobody],
    ] {
        assert_eq!(ended(command).0, 6, "{command:?}");
    }
}

#[test]
fn the_key_of_the_environment_opens_a_closed_server() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("data"), &["--set", "auth.admin_key=sesame"]);
    let url = format!("http://{}", server.api());
    let ask = ["variant", "list", "--url", &url];
    let (code, told) = ended(&ask);
    assert_eq!(code, 1);
    assert!(
        told.contains("unauthenticated") && told.contains("HOLDFAST__AUTH__ADMIN_KEY"),
        "{told}"
    );
    let output = holdfast_with(&[("HOLDFAST__AUTH__ADMIN_KEY", "sesame")], &ask);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_place_is_a_server_or_a_directory() {
    let both = [
        "variant",
        "list",
        "--url",
        "http://127.0.0.1:1",
        "--data-dir",
        "x",
    ];
    assert_eq!(ended(&both).0, 2);
    let home = tempfile::tempdir().unwrap();
    let empty = home.path().to_str().unwrap();
    for command in [
        &["variant", "list", "--data-dir", empty][..],
        &["wal", "inspect", "--data-dir", empty],
        &["wal", "verify", "--data-dir", empty],
        &["verify", "--data-dir", empty],
    ] {
        let (code, told) = ended(command);
        assert_eq!(code, 1, "{command:?}");
        assert!(told.contains("there is no data directory"), "{told}");
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            0,
            "{command:?} made something"
        );
    }
}

#[test]
fn a_directory_in_use_is_exit_seven() {
    let town = Town::built("file");
    let data = town.data.to_str().unwrap();
    for command in [
        &["variant", "list", "--data-dir", data][..],
        &["wal", "inspect", "--data-dir", data],
        &["wal", "tail", "--data-dir", data],
        &["wal", "verify", "--data-dir", data],
        &["wal", "repair", "--truncate-tail", "--data-dir", data],
        &["verify", "--data-dir", data],
    ] {
        let (code, told) = ended(command);
        assert_eq!(code, 7, "{command:?}: {told}");
        assert!(told.contains("in use by process"), "{told}");
    }
    // The doctor looks from outside.
    let told = printed_json(&["doctor", "--data-dir", data, "--set", "disk.reserve=1MiB"]);
    assert_eq!(
        (check(&told, "lock"), check(&told, "secret")),
        ("ok", "ok"),
        "{told}"
    );
}

fn check<'a>(told: &'a Value, name: &str) -> &'a str {
    let checks = told["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {told}"))["verdict"]
        .as_str()
        .unwrap()
}

#[test]
fn the_doctor_names_what_is_wrong_and_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let (_home, data, ..) = Town::built("file").killed();
    let dir = data.to_str().unwrap();
    let doctor = ["doctor", "--data-dir", dir, "--set", "disk.reserve=1MiB"];
    let told = printed_json(&doctor);
    for name in [
        "disk space",
        "disk sync",
        "rights",
        "secret",
        "leftovers",
        "lock",
        "log",
        "clock",
    ] {
        assert_ne!(check(&told, name), "fail", "{told}");
    }
    assert_eq!(
        (check(&told, "rights"), check(&told, "last snapshot")),
        ("ok", "warn"),
        "{told}"
    );
    fs::set_permissions(data.join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(data.join("snapshots/a.holdfast"), b"no snapshot").unwrap();
    fs::write(data.join("snapshots/b.holdfast.partial"), b"half").unwrap();
    let output = holdfast(&doctor);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("1 of "), "{stderr}");
    for told in [
        "fail  secret",
        "chmod 600",
        "warn  leftovers",
        "b.holdfast.partial",
    ] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
    let output = holdfast(&["doctor", "--data-dir", dir, "--set", "disk.reserve=1000TiB"]);
    assert!(
        text(&output.stdout).contains("fail  disk space"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_log_is_shown_record_by_record() {
    let (_home, data, reservation, order) = Town::built("file").killed();
    let data = data.to_str().unwrap();
    let shown = printed(&["wal", "inspect", "--data-dir", data]);
    let kinds: Vec<&str> = shown
        .lines()
        .skip_while(|line| !line.starts_with("KIND"))
        .collect();
    golden!("wal_inspect_kinds", kinds.join("\n"));
    let told = printed_json(&["wal", "inspect", "--data-dir", data]);
    assert_eq!(
        (&told["backend"], &told["units"][0]["firstRecord"]),
        (&json!("file"), &json!(3544))
    );
    let last = told["units"][0]["lastRecord"].as_u64().unwrap();

    let from = printed_json(&[
        "wal",
        "inspect",
        "--from",
        "3544",
        "--limit",
        "2",
        "--data-dir",
        data,
    ]);
    let numbers: Vec<&Value> = from["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| &record["number"])
        .collect();
    assert_eq!(numbers, [&json!(3544), &json!(3545)]);
    let held = &from["records"][0];
    assert_eq!(held["kinds"], json!(["reservation.held"]));
    assert_eq!(
        held["variant"]["events"][0]["reservation"]["id"],
        json!(reservation)
    );
    let tail = printed_json(&["wal", "tail", "-n", "3", "--data-dir", data]);
    let tail = tail["records"].as_array().unwrap();
    assert_eq!((tail.len(), &tail[2]["number"]), (3, &json!(last)));

    let whole = redacted(&printed(&[
        "wal",
        "inspect",
        "--record",
        "3544",
        "--data-dir",
        data,
    ]));
    golden!("wal_inspect_record", whole);
    let all = printed(&["wal", "tail", "-n", "100", "--data-dir", data]);
    assert!(all.contains(&order) && all.contains(&reservation), "{all}");
    let (code, told) = ended(&["wal", "inspect", "--record", "1", "--data-dir", data]);
    assert_eq!(code, 1);
    assert!(
        told.contains("there is no record 1: the log has 3544 to"),
        "{told}"
    );
    assert_eq!(
        printed_json(&["wal", "verify", "--data-dir", data])["sound"],
        true
    );
}

/// Groups of a segment file, by their first byte. Behind a hash that ends with that byte an end mark looks like a magic.
fn groups_in(segment: &Path) -> Vec<usize> {
    let bytes = fs::read(segment).unwrap();
    let magic =
        |at: &usize| bytes[*at..].starts_with(b"\x89HFG") && !bytes[at + 1..].starts_with(b"HFGEND\r\n");
    (0..bytes.len()).filter(magic).collect()
}

#[test]
fn a_damaged_log_is_named_refused_and_repaired() {
    let (_home, root, ..) = Town::built("file").killed();
    let data = root.to_str().unwrap();
    let segment = root.join("epochs/2/journal/00000000000000003544.log");
    let groups = groups_in(&segment);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[groups[2] + 100] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let (code, told) = ended(&["wal", "verify", "--data-dir", data]);
    assert_eq!(code, 3);
    let next = format!("next: holdfast wal repair --truncate-tail --data-dir {data}");
    for part in [
        "00000000000000003544.log",
        &format!("offset {}", groups[2]),
        "record 3546",
        &next,
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(ended(&["wal", "inspect", "--data-dir", data]).0, 3);
    let doctor = holdfast(&["doctor", "--data-dir", data, "--set", "disk.reserve=1MiB"]);
    assert!(
        text(&doctor.stdout).contains("fail  log"),
        "{}",
        text(&doctor.stdout)
    );
    let looked = holdfast(&["wal", "repair", "--data-dir", data]);
    assert_eq!(looked.status.code(), Some(5), "the flag says what it does");
    assert!(
        text(&looked.stdout).contains("good records cut"),
        "{}",
        text(&looked.stdout)
    );
    assert!(
        text(&looked.stderr).contains("--truncate-tail"),
        "{}",
        text(&looked.stderr)
    );

    let repair = ["wal", "repair", "--truncate-tail", "--data-dir", data];
    let output = holdfast(&repair);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("--yes"), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("good records cut"),
        "{}",
        text(&output.stdout)
    );
    assert!(!segment.with_extension("log.bak").exists(), "nothing was changed");

    let told = printed_json(&[&repair[..], &["--yes"]].concat());
    assert_eq!(
        (&told["repaired"], &told["keptUpTo"]),
        (&json!(true), &json!(3545))
    );
    assert_eq!(told["lost"]["orders"]["count"], 1, "{told}");
    assert!(segment.with_extension("log.bak").exists());
    assert_eq!(printed(&repair), "the log is sound: nothing to cut\n");
    let server = Server::start(&root, &["--set", "journal.backend=file"]);
    assert_eq!(server.get("/api/stock/variants/123")["held"], 2);
    assert_eq!(server.get("/api/orders")["items"], json!([]));
}

#[test]
fn a_snapshot_file_is_verified_by_its_laws() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/demo.holdfast");
    let told = printed_json(&["verify", demo.to_str().unwrap()]);
    assert_eq!(
        (&told["sound"], &told["variants"], &told["totals"]["onHand"]),
        (&json!(true), &json!(3543), &json!(375_140))
    );
    golden!(
        "verify_snapshot",
        redacted(&printed(&["verify", demo.to_str().unwrap()])).replace(demo.to_str().unwrap(), "FILE")
    );
    let home = tempfile::tempdir().unwrap();
    let bent = home.path().join("bent.holdfast");
    let mut bytes = fs::read(&demo).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bent, &bytes).unwrap();
    let (code, told) = ended(&["verify", bent.to_str().unwrap()]);
    assert_eq!(code, 3);
    assert!(told.contains("block ") && told.contains("at byte "), "{told}");
    fs::write(&bent, b"something else").unwrap();
    assert_eq!(ended(&["verify", bent.to_str().unwrap()]).0, 3);
    assert_eq!(ended(&["verify", "no-such-file"]).0, 1);
    assert_eq!(ended(&["verify", "a", "--data-dir", "b"]).0, 2);
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        assert!(
            script.contains("truncate-tail") && script.contains("reservation"),
            "{shell}"
        );
    }
    assert_eq!(ended(&["completions", "tcsh"]).0, 2);
    let page = printed(&["man"]);
    assert!(page.contains(".TH holdfast 1") && page.contains("wal"), "{page}");
    let home = tempfile::tempdir().unwrap();
    let pages = printed(&["man", "--into", home.path().to_str().unwrap()]);
    for name in ["holdfast.1", "holdfast-wal-repair.1", "holdfast-config-check.1"] {
        assert!(
            pages.contains(name) && home.path().join(name).is_file(),
            "{name}: {pages}"
        );
    }
}

#[test]
fn a_mistyped_flag_or_word_is_exit_two_with_a_suggestion() {
    for (arguments, suggestion) in [
        (&["wal", "inspekt"][..], "inspect"),
        (&["wal", "repair", "--truncate-tial"], "--truncate-tail"),
        (&["reservation", "list", "--statsu", "active"], "--status"),
        (&["reservation", "list", "--status", "activ"], "active"),
        (&["status", "--uri", "http://a:1"], "--url"),
        (&["order", "lst"], "list"),
        (&["top", "--onse"], "--once"),
    ] {
        let (code, told) = ended(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(told.contains(suggestion), "{arguments:?}: {told}");
    }
    for arguments in [
        &["variant", "list", "--limit", "0"][..],
        &["variant", "list", "--limit", "501"],
        &["variant", "list", "--url", "https://shop"],
        &["wal", "inspect", "--limit", "3"],
    ] {
        assert_eq!(ended(arguments).0, 2, "{arguments:?}");
    }
}

/// A restore loses sales of every kind, and the file it writes makes them again: though their variants are paused, and once.
#[test]
fn sales_that_a_restore_lost_are_made_again_out_of_its_file() {
    let town = Town::built("file");
    let (server, url) = (&town.server, town.url());
    let post = |path: &str, body: Value| {
        let answer = server.ask("POST", path, "", &body.to_string());
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()
    };
    let standing = |variant: &str| {
        let view = server.get(&format!("/api/stock/variants/{variant}"));
        ["onHand", "held", "committed", "saleState"].map(|member| view[member].clone())
    };
    post("/api/admin/snapshots", json!({}));
    post(
        &format!("/api/stock/reservations/{}/confirm", town.reservation),
        json!({"orderId": "A-1"}),
    );
    post(
        &format!("/api/orders/{}/confirm", town.order),
        json!({"paymentReference": "pay-1"}),
    );
    let late = id(&post(
        "/api/stock/reservations",
        json!({"variantId": "124", "quantity": 2, "customerId": "amal"}),
    ));
    let late = format!("/api/stock/reservations/{late}");
    post(&format!("{late}/confirm"), json!({"orderId": "A-2"}));
    post(&format!("{late}/fulfil"), json!({"quantity": 1}));
    let cart = id(&post(
        "/api/cart/items",
        json!({"variantId": "125", "quantity": 1}),
    ));
    let order = id(&post(&format!("/api/cart/{cart}/checkout"), json!({})));
    post(
        &format!("/api/orders/{order}/confirm"),
        json!({"paymentReference": "pay-2"}),
    );
    let goods = ["123", "124", "125", "156"];
    let before = goods.map(standing);

    let plan = post("/api/admin/restore", json!({}));
    assert_eq!(plan["lostSales"], 4, "{plan}");
    let begun = post("/api/admin/restore", json!({"planToken": plan["planToken"]}));
    let operation = format!("/api/admin/operations/{}", begun["id"].as_str().unwrap());
    while server.get(&operation)["status"] == "running" {
        std::thread::yield_now();
    }
    let lost = server.get(&operation)["result"]["lostSalesFile"].clone();
    let lost = lost.as_str().unwrap();
    assert_ne!(goods.map(standing), before);

    let commit = ["order", "commit", lost, "--url", &url];
    let (code, _) = ended(&[&commit[..], &["--dry-run"]].concat());
    assert_eq!(code, 4, "nothing was sent");
    for _ in 0..2 {
        assert_eq!(
            printed_json(&commit),
            json!({"read": 4, "committed": 4, "refused": []})
        );
        for (variant, before) in goods.iter().zip(&before) {
            let [on_hand, held, committed, sale] = standing(variant);
            assert_eq!([on_hand, held, committed], before[..3], "{variant}");
            assert_eq!(sale, "paused", "{variant}: nobody else had it meanwhile");
        }
    }
    let paid = server.get(&format!("/api/orders/{}", town.order));
    assert_eq!(
        (&paid["status"], &paid["paymentReference"]),
        (&json!("confirmed"), &json!("pay-1"))
    );
    golden!("order_commit", printed(&commit));

    // What cannot be had is told, and holds nobody up.
    let more = town.data.join("more.ndjson");
    let sale = json!({"kind": "reservation", "reservationId": "rsv_none", "customerId": null,
        "lines": [{"variantId": "none", "quantity": 1, "reservationId": "rsv_none"}]});
    fs::write(&more, format!("{}{sale}\n", fs::read_to_string(lost).unwrap())).unwrap();
    let output = holdfast(&["order", "commit", more.to_str().unwrap(), "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    golden!("order_commit_refused", text(&output.stdout));
    golden!("order_commit_messages", text(&output.stderr));
    let (_home, data, ..) = town.killed();
    let report = printed_json(&["verify", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(report["violations"], json!([]), "{report}");
}
