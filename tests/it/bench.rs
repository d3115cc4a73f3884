//! The load generator as an operator runs it. Its parts are tested where they live (`src/cli/bench/`).
use std::process::Command;

use serde_json::Value;

#[test]
fn the_floor_is_measured_over_real_sockets_and_stopped_again() {
    // A closed loop: it has no schedule that a busy machine could make it miss.
    let arguments = "--json bench --scenario echo --max --seconds 1 --warmup 0 --connections 4 --rounds 2";
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["judgement"], "holds");
    let rounds = told["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert!(round["answers"]["done"].as_u64().unwrap() > 0, "{round}");
        assert_eq!(
            (&round["answers"]["unknown"], &round["answers"]["unexpected"]),
            (&0.into(), &0.into())
        );
    }
}

#[test]
fn a_url_nobody_answers_is_told_apart_from_a_broken_law() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["bench", "--url", &url])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(6),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["bench", "--url", "nowhere"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
