//! `holdfast snapshot` as an operator meets it: texts, files and exit codes.
use holdfast::storage::{
    data_dir::DataDir,
    recovery::{Backend, RecoverOptions},
    restore::fill_empty,
    snapshot::SnapshotReader,
    state::StateOptions,
};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/demo.holdfast")
}

fn holdfast(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .arg("snapshot")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A data directory with the demo shop that nobody serves.
fn stocked(root: &Path) {
    let options = RecoverOptions {
        partition: holdfast::storage::journal::PartitionId(0),
        backend: Backend::Sled,
        segment_bytes: 8 << 20,
        journal_cache_bytes: 1 << 20,
        state: StateOptions {
            cache_bytes: 4 << 20,
            compact_floor_bytes: 1 << 30,
        },
        keys_memory_max: 1_000,
        keys_ms: 24 * 60 * 60 * 1_000,
    };
    let mut dir = DataDir::open(root).unwrap();
    fill_empty(&mut dir, &options, &options.journal(), || {
        SnapshotReader::open(&demo())
    })
    .unwrap();
}

#[test]
fn a_directory_is_captured_listed_verified_exported_and_pruned() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("data");
    stocked(&root);
    let place = ["--data-dir", root.to_str().unwrap()];
    let with = |arguments: &[&str]| holdfast(&[arguments, &place[..]].concat());

    let (code, out, err) = with(&["create", "--json"]);
    assert_eq!(code, 0, "{err}");
    let taken: Value = serde_json::from_str(&out).unwrap();
    let (id, file) = (taken["id"].as_str().unwrap(), taken["file"].as_str().unwrap());
    assert_eq!(taken["verified"], true);
    assert_eq!(
        taken["counts"]["variants"],
        SnapshotReader::open(&demo()).unwrap().manifest().counts.entities["variants"]
    );

    let (code, out, _) = with(&["list"]);
    assert_eq!(code, 0);
    assert!(
        out.contains(id) && out.lines().all(|line| line.len() <= 80),
        "{out}"
    );
    for named in [id, file] {
        let (code, out, err) = with(&["verify", named]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("verdict"), "{out}");
    }
    let copy = home.path().join("copy.holdfast");
    let export = ["export", id, "--into", copy.to_str().unwrap()];
    assert_eq!(with(&export).0, 0);
    assert!(fs::read(&copy).unwrap() == fs::read(file).unwrap());
    let (code, _, err) = with(&export);
    assert_eq!(code, 5, "{err}");

    assert_eq!(with(&["create"]).0, 0);
    let (code, out, _) = with(&["prune", "--keep", "1"]);
    assert_eq!((code, out.as_str()), (0, "removed 1, kept 1\n"));
    let _held = DataDir::open(&root).unwrap();
    assert_eq!(with(&["create"]).0, 7, "in use");
    assert_eq!(with(&["prune", "--keep", "1"]).0, 7, "in use");
    assert_eq!(with(&["prune", "--keep", "0"]).0, 2, "nobody means all of them");
}

#[test]
fn what_is_wrong_with_a_file_has_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x.holdfast");
    let file = path.to_str().unwrap();
    let bytes = fs::read(demo()).unwrap();

    let (code, out, err) = holdfast(&["inspect", demo().to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("written by") && out.contains("variants"), "{out}");

    let mut flipped = bytes.clone();
    flipped[20_000] ^= 1;
    fs::write(&path, flipped).unwrap();
    let (code, _, err) = holdfast(&["verify", file]);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("damaged in block") && err.contains("at byte"),
        "{err}"
    );
    assert_eq!(
        holdfast(&["export", file, "--into", home.path().join("y").to_str().unwrap()]).0,
        3
    );
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        1,
        "no copy of a damaged file stays"
    );

    fs::write(&path, b"a thesis").unwrap();
    assert_eq!(holdfast(&["inspect", file]).0, 3, "a foreign file");

    let mut newer = bytes.clone();
    newer[8..10].copy_from_slice(&9_u16.to_le_bytes());
    let crc = crc32c::crc32c(&newer[..20]);
    newer[20..24].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, newer).unwrap();
    for command in ["inspect", "verify"] {
        let (code, _, err) = holdfast(&[command, file]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("format 9") && err.contains("holdfast 0."), "{err}");
    }
    assert_eq!(
        holdfast(&["inspect", home.path().join("none").to_str().unwrap()]).0,
        1
    );
    assert_eq!(
        holdfast(&["create", "--data-dir", "x", "--url", "http://127.0.0.1:1"]).0,
        2,
        "never both"
    );
    assert_eq!(holdfast(&["list", "--url", "http://127.0.0.1:1"]).0, 6);
}
