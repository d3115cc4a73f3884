//! The command line as an operator meets it: the built binary, its texts and its exit codes.
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Runs the binary with nothing in its environment but `environment`.
fn holdfast_in(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .unwrap()
}

fn holdfast(arguments: &[&str]) -> Output {
    holdfast_in(&[], arguments)
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

/// Compares with the reviewed text `tests/golden/cli/<name>.snap`.
macro_rules! golden {
    ($name:expr, $text:expr) => {
        insta::with_settings!(
            { snapshot_path => "../golden/cli", prepend_module_to_snapshot => false, omit_expression => true },
            { insta::assert_snapshot!($name, $text) }
        )
    };
}

#[test]
fn help_is_as_reviewed() {
    let commands: &[&[&str]] = &[
        &[],
        &["serve"],
        &["bench"],
        &["verify"],
        &["restore"],
        &["snapshot"],
        &["snapshot", "create"],
        &["snapshot", "list"],
        &["snapshot", "inspect"],
        &["snapshot", "verify"],
        &["snapshot", "export"],
        &["snapshot", "prune"],
        &["status"],
        &["top"],
        &["wal"],
        &["wal", "inspect"],
        &["wal", "tail"],
        &["wal", "verify"],
        &["wal", "repair"],
        &["variant"],
        &["variant", "get"],
        &["variant", "list"],
        &["reservation"],
        &["reservation", "get"],
        &["reservation", "list"],
        &["order"],
        &["order", "get"],
        &["order", "list"],
        &["doctor"],
        &["completions"],
        &["man"],
        &["config"],
        &["config", "print"],
        &["config", "check"],
        &["demo"],
        &["demo", "articles"],
        &["demo", "build"],
        &["import"],
        &["export"],
        &["variant", "history"],
        &["openapi"],
        &["healthcheck"],
    ];
    for command in commands {
        let output = holdfast(&[*command, &["--help"]].concat());
        assert_eq!((code(&output), stderr(&output)), (0, ""), "{command:?}");
        golden!([&["help"], *command].concat().join("_"), stdout(&output));
    }
}

#[test]
fn the_version_goes_to_stdout() {
    let output = holdfast(&["--version"]);
    assert_eq!(
        (code(&output), stdout(&output)),
        (0, concat!("holdfast ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[test]
fn wrong_usage_is_exit_two_with_a_suggestion() {
    for (arguments, suggestion) in [
        (&["serv"][..], "serve"),
        (&["serve", "--lissten", "127.0.0.1:1"], "--listen"),
        (&["config", "prin"], "print"),
    ] {
        let output = holdfast(arguments);
        assert_eq!((code(&output), stdout(&output)), (2, ""), "{arguments:?}");
        assert!(stderr(&output).contains(suggestion), "{}", stderr(&output));
    }
    for arguments in [
        &[][..],
        &["serve", "--listen", "nowhere"],
        &["serve", "--set", "ttl=1m"],
        &["healthcheck", "--url", "x"],
    ] {
        assert_eq!(code(&holdfast(arguments)), 2, "{arguments:?}");
    }
}

#[test]
fn the_default_configuration_is_printed_as_reviewed() {
    let output = holdfast(&["config", "print"]);
    assert_eq!((code(&output), stderr(&output)), (0, ""));
    golden!("config_print_defaults", stdout(&output));
}

#[test]
fn sources_are_shown_and_secrets_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("holdfast.toml");
    std::fs::write(&file, "[policy]\nttl = \"10m\"\n[log]\nformat = \"json\"\n").unwrap();
    let file = file.to_str().unwrap();
    let environment = [
        ("HOLDFAST__AUTH__ADMIN_KEY", "open sesame"),
        ("HOLDFAST__LOG__FORMAT", "text"),
    ];
    let arguments = [
        "config",
        "print",
        "--config",
        file,
        "--set",
        "journal.backend=file",
    ];

    let output = holdfast_in(&environment, &arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said: Vec<&str> = stdout(&output)
        .lines()
        .filter(|line| !line.ends_with("  default"))
        .collect();
    golden!("config_print_sources", said.join("\n"));

    let output = holdfast_in(&environment, &[&arguments[..], &["--json"]].concat());
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(
        *row("auth.admin_key"),
        json!({ "key": "auth.admin_key", "value": "***", "source": "environment", "from": "HOLDFAST__AUTH__ADMIN_KEY" })
    );
    assert_eq!(
        *row("policy.ttl"),
        json!({ "key": "policy.ttl", "value": "10m", "source": "file", "from": file })
    );
    assert!(!stdout(&output).contains("sesame"));
}

#[test]
fn a_wrong_configuration_is_exit_two_and_names_the_source() {
    let output = holdfast(&["config", "print", "--set", "policy.tll=10m"]);
    assert_eq!(code(&output), 2);
    assert_eq!(
        stderr(&output),
        "error: unknown key \"policy.tll\" in the command line (did you mean \"policy.ttl\"?)\n\nnext: holdfast config print\n"
    );
    let output = holdfast_in(
        &[("HOLDFAST__KEYS__REQUIRED", "yes")],
        &["config", "print", "--json"],
    );
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((code(&output), told["exitCode"].as_u64()), (2, Some(2)));
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("HOLDFAST__KEYS__REQUIRED"),
        "{told}"
    );
}

#[test]
fn a_configuration_file_is_checked_whatever_the_environment_says() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join("holdfast.toml"), text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .current_dir(folder.path())
            .env_clear()
            .env("HOLDFAST__NO__SUCH", "1")
            .args(["config", "check", "holdfast.toml", "--json"])
            .output()
            .unwrap()
    };
    let output = check("[retention]\nkeys = \"48h\"\nended = \"72h\"\n");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (code(&output), verdict),
        (
            0,
            json!({ "file": "holdfast.toml", "valid": true, "problems": [] })
        )
    );

    let output = check("[retention]\nkeys = \"48h\"\n");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(code(&output), 2);
    assert_eq!(
        verdict["problems"],
        json!(["retention.keys must not exceed retention.ended: 2d > 1d"])
    );
}

#[test]
fn an_open_server_beyond_loopback_is_refused_as_unsafe() {
    let output = holdfast(&["serve", "--listen", "0.0.0.0:0", "--ops-listen", "127.0.0.1:0"]);
    assert_eq!(code(&output), 5);
    assert!(stderr(&output).contains("auth.admin_key"), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("next: HOLDFAST__AUTH__ADMIN_KEY="),
        "{}",
        stderr(&output)
    );
}

#[test]
fn verify_wants_a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let output = holdfast(&["verify", "--data-dir", missing.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("there is no data directory"),
        "{}",
        stderr(&output)
    );
    assert!(!Path::new(&missing).exists());
}

/// Answers one request with `head` and runs the health check against it.
fn asked(head: &'static str) -> (Output, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(head.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let output = holdfast(&["healthcheck", "--url", &url]);
    (output, server.join().unwrap())
}

#[test]
fn a_ready_server_is_healthy() {
    let (output, request) = asked("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        (code(&output), stdout(&output)),
        (0, "ready\n"),
        "{}",
        stderr(&output)
    );
    assert!(request.starts_with("GET /readyz HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nhost: 127.0.0.1:"), "{request}");
}

#[test]
fn a_server_that_is_not_ready_is_not_healthy() {
    let (output, _) = asked("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((code(&output), stdout(&output)), (1, "not ready (503)\n"));
    let (output, _) = asked("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    assert_eq!(code(&output), 6, "{}", stderr(&output));
}

#[test]
fn nobody_listening_is_exit_six() {
    // Port 1 is assigned to a service that no machine runs, and no test is ever given it.
    let nobody = "127.0.0.1:1";
    let output = holdfast(&["healthcheck", "--url", &format!("http://{nobody}/readyz")]);
    assert_eq!((code(&output), stdout(&output)), (6, ""));
    // Without --url the listener of the configuration is asked.
    let output = holdfast_in(&[("HOLDFAST__SERVER__OPS_LISTEN", nobody)], &["healthcheck"]);
    assert_eq!(code(&output), 6);
    assert!(stderr(&output).contains(nobody), "{}", stderr(&output));
}
