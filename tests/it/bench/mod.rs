//! The load generator as an operator runs it. Its parts are tested where they live (`src/cli/bench/`).
mod service;

use std::process::Command;

use serde_json::{Value, json};

use service::Fault;

/// The broken laws a short run finds in a service with this fault.
fn broken_laws(fault: Fault, arguments: &str) -> Vec<String> {
    let url = format!("http://{}", service::start(fault));
    let line = format!("--json bench --url {url} --max --seconds 1 --warmup 0 --connections 8 {arguments}");
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
    let found = told["verdict"]["violations"].as_array().unwrap().iter();
    let mut laws: Vec<String> = found
        .map(|violation| violation["law"].as_str().unwrap().to_owned())
        .collect();
    laws.sort();
    laws.dedup();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!laws.is_empty())),
        "{stderr}"
    );
    assert_eq!(
        told.get("rounds").is_some(),
        laws.is_empty(),
        "a run that broke a law has no speed"
    );
    laws
}

#[test]
fn a_lawful_service_is_believed_in_every_scenario() {
    for scenario in [
        "hot --stock 50",
        "zipf --variants 500",
        "soldout",
        "bulk --variants 200",
    ] {
        assert_eq!(
            broken_laws(Fault::None, &format!("--scenario {scenario}")),
            [""; 0],
            "{scenario}"
        );
    }
}

#[test]
fn one_unit_too_many_is_caught() {
    assert!(broken_laws(Fault::Oversells, "--stock 50").contains(&"NO_OVERSELL".to_owned()));
}

#[test]
fn one_unit_too_few_is_caught() {
    assert_eq!(broken_laws(Fault::Undersells, "--stock 50"), ["UNDERSELL"]);
}

#[test]
fn a_forgotten_hold_is_caught() {
    assert_eq!(broken_laws(Fault::Forgets, ""), ["ACK_DURABLE", "METRICS_TRUE"]);
}

#[test]
fn an_id_given_twice_is_caught() {
    assert!(broken_laws(Fault::RepeatsIds, "").contains(&"ONE_ID".to_owned()));
}

#[test]
fn a_confirm_that_did_not_happen_is_caught() {
    assert_eq!(
        broken_laws(Fault::DropsConfirms, "--scenario lifecycle"),
        ["METRICS_TRUE", "ONE_TERMINAL"]
    );
}

#[test]
fn the_floor_is_measured_over_real_sockets_and_stopped_again() {
    // A closed loop: it has no schedule that a busy machine could make it miss.
    let arguments = "--scenario echo --max --seconds 1 --warmup 0 --connections 4 --rounds 2";
    let told = told(&arguments.split(' ').collect::<Vec<_>>());
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

/// What a run of these arguments, with a server of its own, tells.
fn told(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["--json", "bench"])
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    serde_json::from_slice(&output.stdout).expect(&stderr)
}

#[test]
fn shoppers_go_their_whole_ways_and_the_stock_is_what_they_were_told() {
    let arguments = "--scenario checkout --seconds 1 --rounds 1 --connections 4";
    let told = told(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!((&told["differences"], &told["refused"]), (&json!([]), &json!([])));
    assert!(told["paid"].as_u64() > Some(0), "{told}");
    assert!(told["latencyMs"]["confirm"]["count"].as_u64() > Some(0), "{told}");
}

/// Two customers and a guest; one order comes back in part, and twice something does that was never bought here. A fee, a
/// correction of the stock book and a line without a price are no orders.
const ORDERS: &str = "\
invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country
1,85123A,SOAP,6,2010-12-01T08:26:00,2.55,17850,X
1,71053,LAMP,2,2010-12-01T08:26:00,3.39,17850,X
2,85123A,SOAP,4,2010-12-01T09:00:00,2.55,13047,X
2,POST,POSTAGE,1,2010-12-01T09:00:00,18.00,13047,X
3,22752,BOX,1,2010-12-01T09:30:00,7.65,,X
C4,85123A,SOAP,-5,2010-12-02T10:00:00,2.55,17850,X
C5,22752,BOX,-3,2010-12-02T11:00:00,7.65,13047,X
6,71053,LAMP,-2,2010-12-02T12:00:00,0.00,,X
7,71053,LAMP,1,2010-12-02T12:30:00,3.39,13047,X
C8,71053,LAMP,-1,2010-12-02T12:45:00,3.39,,X
";

#[test]
fn orders_of_a_file_are_replayed_to_the_last_unit() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("orders.csv");
    std::fs::write(&file, ORDERS).unwrap();
    let told = told(&["--replay", file.to_str().unwrap(), "--connections", "4"]);
    assert_eq!((&told["differences"], &told["refused"]), (&json!([]), &json!([])));
    assert_eq!(
        (&told["invoices"], &told["lines"], &told["leftOut"]),
        (&json!(7), &json!(8), &json!(2))
    );
    assert_eq!((&told["orders"], &told["orderLines"]), (&json!(4), &json!(5)));
    // The boxes were never this customer's, nor was the lamp anybody's.
    assert_eq!((&told["returns"], &told["bookedIn"]), (&json!(1), &json!(2)));
}
