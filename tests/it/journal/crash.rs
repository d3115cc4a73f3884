//! Power failures on the simulated disk: at any operation, under any outcome of what was not synced, what was acknowledged is
//! there and nothing is torn.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast::storage::journal::simulated::Operation;
use holdfast::storage::journal::verify::verify_log;
use holdfast::storage::journal::{Anchor, AppendError, RecordNumber};

use super::{Home, Owner, PARTITION, SimulatedFiles, payload, read_all};

const POWER_CUT: i32 = 5;

/// Lets the power fail at the `countdown`-th operation from now on.
fn fail_after(home: &SimulatedFiles, countdown: u64) {
    let left = AtomicU64::new(countdown);
    home.disk.set_plan(move |_, _| {
        let fails = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_err();
        if fails {
            Err(io::Error::from_raw_os_error(POWER_CUT))
        } else {
            Ok(())
        }
    });
}

/// Opens, appends, trims until the power fails; `acknowledged` and `written` grow.
fn live_until_the_power_fails(home: &SimulatedFiles, rng: &mut fastrand::Rng, story: &mut Story) {
    let Ok(journal) = home.open_at(Anchor::GENESIS) else {
        return;
    };
    let mut owner = Owner::of(journal);
    story.check_tail(&owner.tail);
    loop {
        let count = rng.u64(1..12);
        let fresh: Vec<_> = (1..=count)
            .map(|index| payload(owner.tail.last.0 + index, rng.usize(0..900)))
            .collect();
        let group = owner.group(&fresh);
        story
            .written
            .truncate(usize::try_from(owner.tail.last.0).unwrap());
        story.written.extend(fresh);
        match owner.journal.append(PARTITION, owner.tail.last, &group) {
            Ok(_) => owner.tail = Anchor::after(&group),
            Err(AppendError::Fatal { .. }) => {
                let again = owner.journal.append(PARTITION, owner.tail.last, &group);
                assert!(
                    matches!(again, Err(AppendError::Fatal { .. })),
                    "a failed log stays failed"
                );
                return;
            }
            Err(error) => panic!("{error}"),
        }
        story.acknowledged = owner.tail.last;
        if rng.u8(0..10) == 0 {
            let upto = RecordNumber(owner.tail.last.0.saturating_sub(rng.u64(0..40)));
            if owner.journal.trim(PARTITION, upto).is_err() {
                return;
            }
        }
    }
}

/// What was given to the log, and up to where it was acknowledged.
#[derive(Default)]
struct Story {
    written: Vec<Vec<u8>>,
    acknowledged: RecordNumber,
}

impl Story {
    fn check_tail(&self, tail: &Anchor) {
        assert!(
            tail.last >= self.acknowledged,
            "acknowledged up to {}, found {}",
            self.acknowledged,
            tail.last
        );
        assert!(
            tail.last.0 <= self.written.len() as u64,
            "{} was never written",
            tail.last
        );
    }

    fn check_content(&self, home: &SimulatedFiles) {
        let journal = home.open();
        let reader = journal.reader();
        let verified = verify_log(&*reader, PARTITION).unwrap();
        for (number, payload) in read_all(&*journal, verified.first) {
            assert_eq!(payload, self.written[number as usize - 1], "record {number}");
        }
    }
}

#[test]
fn a_power_failure_at_any_operation_loses_nothing_that_was_acknowledged() {
    for seed in 0..500 {
        let home = SimulatedFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut story = Story::default();
        for life in 0..4 {
            let countdown = if life == 0 {
                rng.u64(0..400)
            } else {
                rng.u64(0..60)
            };
            fail_after(&home, countdown);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                live_until_the_power_fails(&home, &mut rng, &mut story);
                home.disk.crash();
                home.disk.clear_plan();
                home.disk.power_on();
                story.check_content(&home);
                story.check_tail(&Owner::of(home.open()).tail);
            }));
            assert!(outcome.is_ok(), "seed {seed}, life {life}");
        }
    }
}

#[test]
fn the_same_seed_crashes_the_same_way() {
    let run = || {
        let home = SimulatedFiles::new(42);
        let mut rng = fastrand::Rng::with_seed(42);
        let mut story = Story::default();
        fail_after(&home, 200);
        live_until_the_power_fails(&home, &mut rng, &mut story);
        home.disk.crash();
        home.disk.clear_plan();
        home.disk.power_on();
        (
            Owner::of(home.open()).tail,
            home.disk.operations(),
            story.acknowledged,
        )
    };
    assert_eq!(run(), run());
}

#[test]
fn a_full_disk_ends_the_log_and_keeps_what_was_acknowledged() {
    let home = SimulatedFiles::new(3);
    let mut owner = Owner::of(home.open());
    let fresh = super::payloads(&owner.tail, 3, 50);
    owner.append(&fresh);
    home.disk.set_plan(|operation, _| match operation {
        Operation::Write => Err(io::Error::from_raw_os_error(28)),
        Operation::Sync | Operation::Meta => Ok(()),
    });
    let group = owner.group(&super::payloads(&owner.tail, 1, 50));
    let refused = owner
        .journal
        .append(PARTITION, owner.tail.last, &group)
        .unwrap_err();
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        matches!(refused, AppendError::Fatal { .. }) && source.contains("space"),
        "{source}"
    );
    home.disk.clear_plan();
    drop(owner);
    let mut journal = home.open();
    let tail = journal.acquire(PARTITION).unwrap();
    assert_eq!((tail.last, tail.cut.is_some()), (RecordNumber(3), true));
}

/// The tests of the test: whoever took a group for durable although its sync failed would have lost it.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let lost = (0..20).any(|seed| {
        let home = SimulatedFiles::new(seed);
        let mut owner = Owner::of(home.open());
        home.disk.set_plan(|operation, _| match operation {
            Operation::Sync => Err(io::Error::from_raw_os_error(5)),
            Operation::Write | Operation::Meta => Ok(()),
        });
        let group = owner.group(&super::payloads(&owner.tail, 3, 50));
        owner
            .journal
            .append(PARTITION, owner.tail.last, &group)
            .unwrap_err();
        home.disk.clear_plan();
        home.disk.crash();
        home.disk.power_on();
        Arc::new(home).open().acquire(PARTITION).unwrap().last < RecordNumber(3)
    });
    assert!(lost);
}
