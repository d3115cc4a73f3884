//! A rule change switches on at a logged gate (design, twelve points, 8).
use super::house::{Home, House};
use holdfast::{
    domain::rules::{Gate, Rules},
    storage::{
        data_dir::DataDir,
        dto,
        record::{Fact, Turn},
        recovery::{Backend, RecoverError, verify},
        state::{Family, RowChanges},
    },
};

fn gate(rules: u32) -> Gate {
    Gate {
        rules: Rules(rules),
        release: "9.9.9".to_owned(),
    }
}

fn log(house: &House, gate: Gate) -> u64 {
    let turn = Turn {
        at: house.now(),
        fact: Fact::Gate(gate),
        key: None,
    };
    house.append(turn, None)
}

fn refusal(home: &Home) -> RecoverError {
    match home.try_open() {
        Ok(_) => panic!("the start must be refused"),
        Err(error) => error,
    }
}

#[test]
fn a_log_under_rules_of_a_later_release_is_refused_by_record_and_release() {
    for backend in [Backend::File, Backend::Sled] {
        let home = Home::new(backend);
        let mut house = home.open();
        house.create("default", "soap", 5);
        log(&house, gate(Rules::CURRENT.0));
        let number = log(&house, gate(Rules::CURRENT.0 + 1));
        house.settle();
        house.close();
        let refused = refusal(&home);
        assert!(
            matches!(&refused, RecoverError::UnknownRules { number: at, .. } if at.0 == number),
            "{refused:?}"
        );
        assert!(!refused.is_damage(), "the later release reads on");
        let text = refused.to_string();
        assert!(text.contains("holdfast 9.9.9 switched to rule set 2"), "{text}");
        let dir = DataDir::open(&home.root()).unwrap();
        let report = verify(&dir, &home.options).unwrap();
        assert!(report.violations[0].contains("holdfast 9.9.9"), "{report:?}");
    }
}

#[test]
fn the_rules_are_known_from_the_log_and_from_the_rows() {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    assert_eq!(house.gate, None);
    log(&house, gate(Rules::CURRENT.0));
    house.create("default", "soap", 5);
    house.settle();
    house.close();
    let house = home.open();
    assert_eq!(house.gate, Some(gate(Rules::CURRENT.0)), "from the log");
    house.checkpoint();
    house.close();
    let house = home.open();
    assert_eq!(
        (house.replayed, &house.gate),
        (0, &Some(gate(Rules::CURRENT.0))),
        "from the rows"
    );
    let mark = house.state.checkpoint().unwrap();
    let mut changes = RowChanges::default();
    changes.put(
        Family::Meta,
        &b"gate"[..],
        dto::encode_gate(&gate(Rules::CURRENT.0 + 1)),
    );
    house.state.apply(changes, mark).unwrap();
    house.close();
    let refused = refusal(&home);
    assert!(
        matches!(refused, RecoverError::UnknownRules { .. }),
        "{refused:?}"
    );
}

#[test]
fn rules_never_go_back() {
    let home = Home::new(Backend::File);
    let house = home.open();
    log(&house, gate(Rules::CURRENT.0));
    log(&house, gate(Rules::CURRENT.0));
    house.settle();
    house.close();
    let text = refusal(&home).to_string();
    assert!(
        text.contains("record 2: it switches to rule set 1 behind 1"),
        "{text}"
    );
}
