//! A log that a start refuses is cut, loses no more than it must, and says what that is; what is cut stays beside it.
use super::house::{Home, shopper};
use holdfast::storage::{
    data_dir::DataDir,
    journal::RecordNumber,
    recovery::{Backend, RepairPlan, plan_repair, repair, verify},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Holds `count` units one by one; each is a record.
fn hold(home: &Home, count: usize, keep_log: bool) {
    let mut house = home.open();
    let known = house.existing().next().map(|variant| variant.head().ordinal);
    let soap = known.unwrap_or_else(|| house.create("default", "soap", 10_000));
    for _ in 0..count {
        let command = house.reserve(soap, 1, shopper(Some(1), Some(1)), 60_000);
        house.ask(soap, &command);
        house.settle();
    }
    if keep_log {
        let trim = house.checkpointer.trim_holds().hold("test", RecordNumber(1));
        house.checkpoint();
        drop(trim);
    }
    house.close();
}

/// A home with a few units of log, 601 records, and no checkpoint.
fn home(backend: Backend) -> Home {
    let home = Home::new(backend);
    hold(&home, 600, false);
    home
}

fn journal(home: &Home) -> PathBuf {
    home.root().join("epochs/1/journal")
}

fn units(home: &Home, end: &str) -> Vec<PathBuf> {
    let mut units: Vec<PathBuf> = fs::read_dir(journal(home))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == end))
        .collect();
    units.sort();
    units
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn plan(home: &Home) -> RepairPlan {
    let dir = DataDir::open(&home.root()).unwrap();
    plan_repair(&dir, &home.options).unwrap()
}

/// Repairs, and finds every law kept.
fn repaired(home: &Home) -> (RepairPlan, Vec<PathBuf>) {
    let dir = DataDir::open(&home.root()).unwrap();
    let plan = plan_repair(&dir, &home.options).unwrap();
    let aside = repair(&dir, &home.options, &plan).unwrap();
    let report = verify(&dir, &home.options).unwrap();
    assert!(report.is_sound(), "{report:?}");
    (plan, aside)
}

fn held(home: &Home) -> u64 {
    let house = home.open();
    let held = house.variants[&0].held();
    house.close();
    held
}

#[test]
fn a_sound_log_is_left_alone() {
    for backend in [Backend::File, Backend::Sled] {
        let home = home(backend);
        let (plan, aside) = repaired(&home);
        assert_eq!(
            (plan.broken, plan.lost.records, plan.keeps),
            (None, 0, 601),
            "{backend:?}"
        );
        assert_eq!(aside, Vec::<PathBuf>::new());
        assert_eq!(held(&home), 600);
    }
}

#[test]
fn a_log_is_cut_before_its_break_and_what_lies_behind_is_told() {
    let home = home(Backend::File);
    let segment = units(&home, "log").swap_remove(1);
    flip(&segment, 10_000);
    let before = fs::read(&segment).unwrap();
    let planned = plan(&home);
    let broken = planned.broken.clone().unwrap();
    assert_eq!(broken.file, segment);
    assert_eq!(fs::read(&segment).unwrap(), before, "a plan changes nothing");

    let (plan, aside) = repaired(&home);
    assert_eq!(plan, planned);
    assert_eq!((plan.keeps, plan.begins_behind_rows), (broken.record - 1, false));
    // The broken group is one record here; every one behind it is good.
    assert_eq!(plan.lost.records, 601 - broken.record);
    assert_eq!((plan.lost.first, plan.lost.last), (broken.record + 1, 601));
    assert_eq!(plan.lost.kinds["reservation.held"], plan.lost.records);
    assert_eq!(plan.lost.reservations.len() as u64, plan.lost.records);
    assert_eq!(plan.lost.reservations.some().count(), 20, "some by name");
    assert_eq!(aside.len(), plan.replaces.len());
    assert_eq!(fs::read(&aside[0]).unwrap(), before, "what is cut stays");
    assert_eq!(held(&home), plan.keeps - 1);
    // It goes on from there as any log does.
    hold(&home, 100, false);
    assert_eq!(held(&home), plan.keeps + 99);
}

#[test]
fn damage_in_what_the_rows_have_costs_nothing() {
    for backend in [Backend::File, Backend::Sled] {
        let home = home(backend);
        hold(&home, 0, true);
        hold(&home, 50, false);
        match backend {
            Backend::File => flip(&units(&home, "log")[0], 10_000),
            Backend::Sled => flip_group(&units(&home, "sled")[0], 9),
        }
        assert!(home.try_open().is_err(), "{backend:?}");
        let (plan, _) = repaired(&home);
        assert!(plan.begins_behind_rows, "{plan:?}");
        assert_eq!(
            (plan.stored, plan.lost.records),
            (601, 0),
            "{backend:?}: {plan:?}"
        );
        assert!(!plan.cuts_answered(), "{backend:?}");
        assert_eq!((plan.keeps, held(&home)), (651, 650), "{backend:?}");
    }
}

#[test]
fn a_log_that_is_gone_begins_anew_behind_the_rows() {
    for backend in [Backend::File, Backend::Sled] {
        let home = home(backend);
        hold(&home, 0, true);
        fs::remove_dir_all(journal(&home)).unwrap();
        assert!(home.try_open().is_err());
        let (plan, aside) = repaired(&home);
        assert_eq!((plan.keeps, plan.lost.records), (601, 0));
        assert_eq!(aside, Vec::<PathBuf>::new());
        assert_eq!(held(&home), 600, "{backend:?}");
        hold(&home, 10, false);
        assert_eq!(held(&home), 610, "{backend:?}");
    }
}

#[test]
fn a_torn_tail_is_cut_without_a_loss() {
    let home = home(Backend::File);
    let segment = units(&home, "log").pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 60..].fill(0);
    fs::write(&segment, bytes).unwrap();
    let (plan, _) = repaired(&home);
    assert!(!plan.cuts_answered());
    assert!(plan.broken.unwrap().reason.contains("never completed"));
    assert_eq!((plan.keeps, plan.lost.records), (600, 0));
    assert_eq!(held(&home), 599);
}

#[test]
fn damage_in_the_last_group_may_have_been_answered() {
    for backend in [Backend::File, Backend::Sled] {
        let home = home(backend);
        match backend {
            Backend::File => {
                let segment = units(&home, "log").pop().unwrap();
                let begin = *groups_in(&segment).last().unwrap();
                flip(&segment, begin + 100);
            }
            Backend::Sled => {
                // A database that has just been begun holds no group yet.
                let groups = |database: &PathBuf| groups_in(&database.join("db")).len();
                let mut databases = units(&home, "sled").into_iter();
                let last = databases.rfind(|database| groups(database) > 0).unwrap();
                flip_group(&last, groups(&last) - 1);
            }
        }
        assert!(home.try_open().is_err(), "{backend:?}");
        let (plan, _) = repaired(&home);
        assert_eq!((plan.keeps, plan.lost.records), (600, 0), "{backend:?}: {plan:?}");
        assert!(plan.cuts_answered(), "{backend:?}: {plan:?}");
        assert_eq!(held(&home), 599, "{backend:?}");
    }
}

#[test]
fn another_history_is_replaced_and_counted_as_lost() {
    let (home, other) = (home(Backend::File), home(Backend::File));
    for home in [&home, &other] {
        hold(home, 0, true);
    }
    hold(&other, 20, false);
    fs::remove_dir_all(journal(&home)).unwrap();
    fs::rename(journal(&other), journal(&home)).unwrap();
    let (plan, _) = repaired(&home);
    assert!(plan.begins_behind_rows);
    assert_eq!((plan.keeps, plan.lost.records, plan.lost.first), (601, 20, 602));
    assert_eq!(held(&home), 600);
}

/// Damages the record of the group with this number, counted in the order of the file.
fn flip_group(database: &Path, number: usize) {
    let file = database.join("db");
    flip(&file, groups_in(&file)[number] + 100);
}

/// Where the groups begin in a file.
fn groups_in(file: &Path) -> Vec<usize> {
    let bytes = fs::read(file).unwrap();
    let magic = |at: &usize| bytes[*at..].starts_with(&[0x89, b'H', b'F', b'G']);
    (0..bytes.len()).filter(magic).collect()
}

#[test]
fn a_database_that_was_found_damaged_is_cut_and_serves_again() {
    let home = home(Backend::Sled);
    assert!(units(&home, "sled").len() > 2);
    let database = units(&home, "sled").swap_remove(1);
    flip_group(&database, 9);
    // The first start makes sled forget and leaves a mark, the second is refused by it.
    assert!(home.try_open().is_err());
    assert!(home.try_open().is_err());
    let (plan, aside) = repaired(&home);
    assert!(
        plan.broken.as_ref().unwrap().file.starts_with(&database),
        "{plan:?}"
    );
    assert!(!plan.begins_behind_rows && plan.lost.records > 0, "{plan:?}");
    assert!(aside.iter().all(|path| path.is_dir()), "{aside:?}");
    assert_eq!(units(&home, "damaged"), Vec::<PathBuf>::new());
    assert_eq!(held(&home), plan.keeps - 1);
    hold(&home, 100, false);
    assert_eq!(held(&home), plan.keeps + 99);
}

#[test]
fn a_repair_that_was_cut_short_is_refused_and_can_be_done_again() {
    let home = home(Backend::File);
    let segment = units(&home, "log").swap_remove(1);
    flip(&segment, 10_000);
    let (first, aside) = repaired(&home);
    assert!(aside.len() > 1, "{aside:?}");
    // As if it had ended when the new unit was in its place and the others had not left yet; a half-made one lies about too.
    for path in &aside[1..] {
        fs::rename(path, path.with_extension("")).unwrap();
    }
    fs::write(journal(&home).join("repaired"), b"half").unwrap();
    assert!(home.try_open().is_err());
    let (second, _) = repaired(&home);
    assert_eq!(second.keeps, first.keeps);
    assert_eq!(held(&home), first.keeps - 1);
}
