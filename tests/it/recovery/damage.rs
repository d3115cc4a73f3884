//! What is broken is refused by name, or cut and told.
use super::house::{Home, shopper};
use holdfast::storage::{
    data_dir::DataDir,
    recovery::{Backend, RecoverError, Remedy, plan_repair, verify},
};
use std::{fs, path::PathBuf};

/// A home with a few segments of log and no checkpoint.
fn home() -> Home {
    let home = Home::new(Backend::File);
    let mut house = home.open();
    let soap = house.create("default", "soap", 10_000);
    for _ in 0..600 {
        let command = house.reserve(soap, 1, shopper(Some(1), Some(1)), 60_000);
        house.ask(soap, &command);
        house.settle();
    }
    house.close();
    home
}

fn segments(home: &Home) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = fs::read_dir(home.root().join("epochs/1/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .collect();
    segments.sort();
    segments
}

fn flip(path: &PathBuf, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn refusal(home: &Home) -> RecoverError {
    match home.try_open() {
        Ok(_) => panic!("the start must be refused"),
        Err(error) => error,
    }
}

#[test]
fn damage_in_the_middle_refuses_with_file_record_and_command() {
    let home = home();
    let segment = segments(&home).swap_remove(1);
    flip(&segment, 10_000);
    let before = fs::read(&segment).unwrap();
    let error = refusal(&home);
    let text = error.to_string();
    assert!(error.is_damage());
    for part in [
        &segment.display().to_string(),
        "record ",
        &format!(
            "holdfast wal repair --truncate-tail --data-dir {}",
            home.root().display()
        ),
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(fs::read(&segment).unwrap(), before, "nothing was modified");
    let dir = DataDir::open(&home.root()).unwrap();
    assert!(
        verify(&dir, &home.options)
            .unwrap_err()
            .to_string()
            .contains("record ")
    );
}

#[test]
fn a_torn_tail_is_cut_and_told() {
    let home = home();
    let segment = segments(&home).pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut torn = bytes.clone();
    torn[end - 60..].fill(0);
    fs::write(&segment, torn).unwrap();
    let dir = DataDir::open(&home.root()).unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert!(
        report.is_sound() && report.torn.is_some() && report.last == 600,
        "{report:?}"
    );
    drop(dir);
    let house = home.open();
    assert!(
        house.torn.as_ref().unwrap().contains("record 601"),
        "{:?}",
        house.torn
    );
    assert_eq!(house.variants[&0].held(), 599);
    house.close();
    let house = home.open();
    assert_eq!(house.torn, None);
    house.close();
}

#[test]
fn damage_in_the_last_group_refuses_with_file_record_and_command() {
    let home = home();
    let segment = segments(&home).pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    flip(&segment, end - 60);
    let error = refusal(&home);
    let text = error.to_string();
    assert!(error.is_damage());
    for part in [
        &segment.display().to_string(),
        "record 601",
        &format!(
            "holdfast wal repair --truncate-tail --data-dir {}",
            home.root().display()
        ),
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_log_that_lost_records_the_rows_have_is_refused() {
    let home = home();
    let house = home.open();
    let keeps = house
        .checkpointer
        .trim_holds()
        .hold("test", holdfast::storage::journal::RecordNumber(1));
    house.checkpoint();
    drop(keeps);
    house.close();
    fs::remove_file(segments(&home).pop().unwrap()).unwrap();
    let text = refusal(&home).to_string();
    assert!(
        text.contains("stored states have everything up to record 601"),
        "{text}"
    );
    for segment in segments(&home) {
        fs::remove_file(segment).unwrap();
    }
    let text = refusal(&home).to_string();
    assert!(text.contains("record 602: the log is gone"), "{text}");
    assert_eq!(segments(&home).len(), 0, "no empty log in its place");
}

/// Before the first checkpoint nothing but the log knows what was sold: an empty one in its place is an empty shop.
#[test]
fn a_log_that_is_gone_is_not_begun_anew() {
    for (backend, rows_too) in [
        (Backend::File, false),
        (Backend::File, true),
        (Backend::Sled, false),
        (Backend::Sled, true),
    ] {
        let home = Home::new(backend);
        let mut house = home.open();
        house.create("default", "soap", 10);
        house.settle();
        if rows_too {
            house.checkpoint();
        }
        house.close();
        let epoch = home.root().join("epochs/1");
        for part in ["journal", "state"] {
            if part == "journal" || rows_too {
                fs::remove_dir_all(epoch.join(part)).unwrap();
            }
        }
        for _ in 0..2 {
            let error = refusal(&home);
            let text = error.to_string();
            assert!(error.is_damage(), "{text}");
            for part in [
                epoch.join("journal").display().to_string(),
                "record 1".to_owned(),
                format!("holdfast snapshot list --data-dir {}", home.root().display()),
            ] {
                assert!(text.contains(&part), "{part}: {text}");
            }
        }
        let dir = DataDir::open(&home.root()).unwrap();
        assert!(
            plan_repair(&dir, &home.options).is_err(),
            "there is nothing to repair"
        );
        assert!(verify(&dir, &home.options).is_err(), "nothing is not sound");
        drop(dir);
        refusal(&home);
    }
}

/// The log is sound: to cut it would lose what is left.
#[test]
fn states_that_are_gone_send_the_operator_to_a_snapshot() {
    let home = home();
    let house = home.open();
    house.checkpoint();
    house.close();
    let mut house = home.open();
    house.create("default", "more", 10);
    house.settle();
    house.checkpoint();
    house.close();
    fs::remove_dir_all(home.root().join("epochs/1/state")).unwrap();
    let error = refusal(&home);
    let text = error.to_string();
    assert!(error.is_damage(), "{text}");
    for part in [
        "epochs/1/state",
        "the log begins at record ",
        "holdfast snapshot list",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_database_of_states_that_cannot_be_opened_is_damage() {
    for broken in ["1/conf", "1/db", "1", "CURRENT"] {
        let home = home();
        let house = home.open();
        house.checkpoint();
        house.close();
        let path = home.root().join("epochs/1/state").join(broken);
        match broken {
            "1/conf" => fs::write(path, b"this is no configuration").unwrap(),
            "1" => fs::remove_dir_all(path).unwrap(),
            _ => fs::remove_file(path).unwrap(),
        }
        let error = refusal(&home);
        assert!(error.is_damage(), "{broken}: {error:?}");
        assert_eq!(error.remedy(), Some(Remedy::Restore), "{broken}");
    }
}

#[test]
fn another_history_behind_the_same_number_is_refused() {
    let (home, other) = (home(), home());
    for home in [&home, &other] {
        let house = home.open();
        let keeps = house
            .checkpointer
            .trim_holds()
            .hold("test", holdfast::storage::journal::RecordNumber(1));
        house.checkpoint();
        drop(keeps);
        house.close();
    }
    let journal = |home: &Home| home.root().join("epochs/1/journal");
    fs::remove_dir_all(journal(&home)).unwrap();
    fs::rename(journal(&other), journal(&home)).unwrap();
    let error = refusal(&home);
    assert!(
        error.is_damage() && error.to_string().contains("hash chain"),
        "{error}"
    );
    let dir = DataDir::open(&home.root()).unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert!(
        report.violations[0].contains("LOG_CLOSED"),
        "{:?}",
        report.violations
    );
    assert!(
        report
            .violations
            .iter()
            .any(|violation| violation.contains("REPLAY_EQUAL"))
    );
}

#[test]
fn a_log_of_the_other_back_end_is_not_replaced_by_an_empty_one() {
    let mut home = home();
    home.options.backend = Backend::Sled;
    let text = refusal(&home).to_string();
    assert!(text.contains("journal.backend = \"file\""), "{text}");
}
