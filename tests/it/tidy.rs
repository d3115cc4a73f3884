//! The floors of the house, held by a test that reads the source: who may name which crate, who may look at a clock,
//! and how a file looks. The table at the end plants one breach of each rule and shows that it bites.
use std::{fs, path::Path};

/// Longer files are split along the domain.
const LINES_MAX: usize = 800;

/// The only place that reads wall time and sleeps.
const CLOCK: &str = "src/clock.rs";

/// The only folder that spells metric names: the catalogue, and the tests of what is rendered.
const METRICS: &str = "src/telemetry/";

/// The load generator: a client of a running server, which measures real time by real waiting and carries the bare axum
/// floor that servers are compared with.
const BENCH: &str = "src/cli/bench/";

/// A measurement that runs for minutes waits in real time.
const SOAK: &str = "benches/soak.rs";

/// This file names what it forbids.
const SELF: &str = "tests/it/tidy.rs";

/// Crates that belong to one floor.
const OWNED: [(&str, &str); 6] = [
    ("sled", "src/storage/"),
    ("bincode", "src/storage/"),
    ("ractor", "src/actor/"),
    ("axum", "src/http/"),
    ("utoipa", "src/http/"),
    ("utoipa_axum", "src/http/"),
];

/// Floors that a floor must not know: calls go down, facts go up.
const ABOVE: [(&str, &[&str]); 4] = [
    (
        "src/domain/",
        &[
            "storage",
            "actor",
            "app",
            "http",
            "cli",
            "telemetry",
            "config",
            "clock",
        ],
    ),
    ("src/storage/", &["actor", "app", "http"]),
    ("src/actor/", &["app", "http"]),
    ("src/app/", &["http"]),
];

/// Words that stand in one place or nowhere: the word, where it is looked for, where it is allowed.
const WORDS: [(&str, &str, &[&str]); 16] = [
    ("SystemTime::now", "src/", &[CLOCK]),
    ("Instant::now", "src/", &[CLOCK, BENCH]),
    ("\"holdfast_", "src/", &[METRICS]),
    ("counter!(\"", "src/", &[METRICS]),
    ("gauge!(\"", "src/", &[METRICS]),
    ("histogram!(\"", "src/", &[METRICS]),
    ("print!(", "src/", &["src/cli/"]),
    ("println!(", "src/", &["src/cli/"]),
    ("eprint!(", "src/", &["src/cli/"]),
    ("eprintln!(", "src/", &["src/cli/"]),
    ("thread::sleep", "", &[CLOCK]),
    ("time::sleep", "", &[CLOCK, BENCH, SOAK]),
    ("todo!(", "", &[]),
    ("unimplemented!(", "", &[]),
    ("#[ignore", "", &[]),
    ("unsafe {", "", &[]),
];

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = dependencies(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    assert!(crates.contains(&"sled".to_owned()), "dependencies not found");
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(root, &root.join(folder), &mut files);
    }
    assert!(files.len() > 10, "source not found");
    let breaches: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| breaches(path, text, &crates))
        .collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names of the crates we depend on, as code spells them.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    let names = section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='));
    names.map(|(name, _)| name.trim().replace('-', "_")).collect()
}

/// Every breach of a rule in one file.
fn breaches(path: &str, text: &str, crates: &[String]) -> Vec<String> {
    let mut found = looks(path, text);
    if path == SELF {
        return found;
    }
    for (number, line) in text.lines().enumerate() {
        let line = code(line);
        let told = words(path, line)
            .into_iter()
            .chain(names_crates(path, line, crates));
        found.extend(told.map(|breach| format!("{path}:{}: {breach}", number + 1)));
    }
    found.extend(floors(path, text));
    found
}

/// The line without its comment.
fn code(line: &str) -> &str {
    let line = if line.trim_start().starts_with("//") {
        ""
    } else {
        line
    };
    line.split(" // ").next().unwrap_or(line)
}

fn looks(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!(
            "{path}: does not open with a //! doc that says what it is"
        ));
    }
    let lines = text.lines().count();
    if lines >= LINES_MAX {
        found.push(format!("{path}: {lines} lines, split it along the domain"));
    }
    found
}

fn words(path: &str, line: &str) -> Vec<String> {
    let forbidden = WORDS.iter().filter(|(_, place, allowed)| {
        path.starts_with(place) && !allowed.iter().any(|allowed| path.starts_with(allowed))
    });
    forbidden
        .filter(|(word, _, _)| places(line, word).any(|at| starts_a_word(line, at)))
        .map(|(word, _, allowed)| {
            format!(
                "{word} belongs {}",
                if allowed.is_empty() { "nowhere" } else { allowed[0] }
            )
        })
        .collect()
}

/// Crates named outside the floor that owns them; in the domain any but thiserror.
fn names_crates(path: &str, line: &str, crates: &[String]) -> Vec<String> {
    if !path.starts_with("src/") {
        return Vec::new();
    }
    let owned = OWNED
        .iter()
        .filter(|(name, floor)| !path.starts_with(floor) && names(line, name))
        .filter(|(name, _)| !(*name == "axum" && path.starts_with(BENCH)));
    let owned = owned.map(|(name, floor)| format!("{name} belongs to {floor}"));
    let pure = path.starts_with("src/domain");
    let foreign = crates
        .iter()
        .filter(|name| pure && *name != "thiserror" && names(line, name));
    let foreign = foreign.map(|name| format!("the domain is pure and names no {name}"));
    owned.chain(foreign).collect()
}

/// Whether the line names the crate: `name::` or `use name`, as the head of a path.
fn names(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let used = [
        format!("use {name};"),
        format!("use {name} as"),
        format!("extern crate {name}"),
    ];
    let head = |at: usize| starts_a_word(line, at) && !line[..at].ends_with("::");
    places(line, &path).any(head) || used.iter().any(|used| line.contains(used.as_str()))
}

fn places<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word).map(|(at, _)| at)
}

fn starts_a_word(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
}

/// Floors named by a floor below them.
fn floors(path: &str, text: &str) -> Vec<String> {
    let Some((floor, above)) = ABOVE.iter().find(|(floor, _)| path.starts_with(floor)) else {
        return Vec::new();
    };
    let code = text.lines().map(code).collect::<Vec<_>>().join("\n");
    let named = crate_roots(&code);
    let breached = above.iter().filter(|name| named.iter().any(|root| root == *name));
    breached
        .map(|name| format!("{path}: {floor} must not know {name}"))
        .collect()
}

/// The modules named after `crate::`, also in a group.
fn crate_roots(code: &str) -> Vec<String> {
    let mut roots = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            roots.push(first_name(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for letter in group.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => roots.push(first_name(&std::mem::take(&mut item))),
                _ if depth == 0 => item.push(letter),
                _ => {}
            }
        }
        roots.push(first_name(&item));
    }
    roots
}

fn first_name(text: &str) -> String {
    let name = text.trim_start().chars();
    name.take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

#[test]
fn every_rule_bites() {
    let crates = ["sled", "serde", "tokio", "thiserror", "ractor"].map(str::to_owned);
    let planted = [
        ("src/domain/a.rs", "use serde::Serialize;"),
        ("src/domain/a.rs", "let x = tokio::spawn(f);"),
        ("src/domain/a.rs", "use crate::storage::Engine;"),
        (
            "src/domain/a.rs",
            "use crate::{\n    domain::{ids::A, time::B},\n    clock::Clock,\n};",
        ),
        ("src/app/a.rs", "use sled::Db;"),
        ("src/actor/a.rs", "bincode::encode(x);"),
        ("src/app/a.rs", "use ractor::Actor;"),
        ("src/storage/a.rs", "fn f(actor: ractor::ActorRef) {}"),
        ("src/app/a.rs", "use axum::Router;"),
        ("src/cli/a.rs", "use utoipa::OpenApi;"),
        ("src/storage/a.rs", "use crate::actor::Directory;"),
        ("src/storage/a.rs", "use crate::{clock, http::Router};"),
        ("src/actor/a.rs", "crate::app::stock::go();"),
        ("src/app/a.rs", "use crate::http;"),
        ("src/storage/a.rs", "let at = std::time::Instant::now();"),
        ("src/http/a.rs", "SystemTime::now()"),
        ("src/app/a.rs", "counter!(\"reserves\");"),
        ("src/http/mod.rs", "gauge(\"holdfast_held\");"),
        ("src/app/a.rs", "println!(\"x\");"),
        ("src/main.rs", "eprintln!(\"x\");"),
        ("src/app/a.rs", "todo!()"),
        ("tests/it/a.rs", "unimplemented!()"),
        ("tests/it/a.rs", "#[ignore]"),
        ("tests/it/a.rs", "std::thread::sleep(d);"),
        ("src/actor/a.rs", "tokio::time::sleep(d).await;"),
        ("benches/a.rs", "unsafe { f() }"),
    ];
    for (path, line) in planted {
        let text = format!("//! Doc.\n{line}\n");
        assert_eq!(breaches(path, &text, &crates).len(), 1, "{path}: {line}");
    }
    assert_eq!(breaches("src/a.rs", "fn main() {}\n", &crates).len(), 1, "no doc");
    let long = "//! Doc.\n".repeat(LINES_MAX);
    assert_eq!(breaches("src/a.rs", &long, &crates).len(), 1, "too long");
}

#[test]
fn no_rule_bites_the_innocent() {
    let crates = ["sled", "serde", "tokio", "thiserror", "bytes"].map(str::to_owned);
    let innocent = [
        ("src/domain/a.rs", "#[derive(thiserror::Error)]"),
        (
            "src/domain/a.rs",
            "use super::bytes::Width;\nuse crate::domain::ids::A;\nuse std::fmt;",
        ),
        ("src/domain/a.rs", "// unlike serde::Serialize, todo!()"),
        (
            "src/storage/a.rs",
            "use crate::{clock::Clock, domain::{time, bulk}};\nuse sled::Db;",
        ),
        (
            "src/storage/engine.rs",
            "let assembled::Db = x; // see crate::http",
        ),
        ("src/cli/a.rs", "println!(\"x\");"),
        ("src/clock.rs", "Instant::now(); tokio::time::sleep(d)"),
        ("src/telemetry/metrics.rs", "counter!(\"holdfast_reserves\")"),
        ("tests/it/a.rs", "use sled::Db; let at = Instant::now();"),
    ];
    for (path, text) in innocent {
        let text = format!("//! Doc.\n{text}\n");
        assert_eq!(breaches(path, &text, &crates), Vec::<String>::new());
    }
}
