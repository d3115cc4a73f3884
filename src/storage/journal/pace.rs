//! How long a busy writer waits for a fuller group.
//!
//! A group costs a sync and a round of wake-ups however few entries it has. While the processors have nothing better to do that
//! is free, and an entry goes to the disk at once. While they are [busy](super::DurableObserver::busy), callers wait for them
//! anyway: a group that waits a moment for more of its kind leaves more of them to all.
//!
//! Callers in a loop bring as many entries back as the last group answered, and within a moment, so that is what a busy writer
//! waits for; now and then it tries for more.
//!
//! ```text
//!   idle ──busy──► waits for as many as the last group had; every TRY_GROUPS groups for FULLER times as many
//!    ▲                 │
//!    └────not busy─────┘
//! ```
use std::time::Duration;

use super::queue::Gather;

/// What is tried for is so many times the entries of the group before.
const FULLER: usize = 2;

/// A busy writer tries for more once in so many groups.
const TRY_GROUPS: u32 = 8;

/// The longest wait of a busy writer for a fuller group. Measured with 256 callers on 2 cores: 1, 2 and 3 ms give 76, 130 and
/// 190 answers a sync; what a group costs beside its entries no longer matters from 2 ms on.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// How a writer paces itself; starts idle.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Entries worth waiting for; none when idle.
    target: Option<usize>,
    /// Groups since more was tried for.
    groups: u32,
}

impl Pace {
    /// What the next group may wait for.
    pub(super) fn gather(&self) -> Option<Gather> {
        let target = self.target?;
        let fuller = if self.groups >= TRY_GROUPS { FULLER } else { 1 };
        Some(Gather {
            entries: target * fuller,
            at_most: GATHER_MAX,
        })
    }

    /// Learns how many entries a group had, of at most so many, and whether the processors are busy.
    pub(super) fn after(&mut self, entries: usize, at_most: usize, busy: bool) {
        let tried = self.groups >= TRY_GROUPS;
        *self = match self.target {
            _ if !busy => Self::default(),
            target => Self {
                target: Some(entries.clamp(1, (at_most / FULLER).max(1))),
                groups: match target {
                    None => TRY_GROUPS,
                    Some(_) if tried => 0,
                    Some(_) => self.groups + 1,
                },
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP_MAX: usize = 4_096;

    fn waits_for(pace: &Pace) -> Option<usize> {
        pace.gather().map(|gather| gather.entries)
    }

    #[test]
    fn nobody_waits_while_the_processors_are_not_busy() {
        let mut pace = Pace::default();
        for entries in [1, 10, 100, 1_000] {
            assert_eq!(waits_for(&pace), None);
            pace.after(entries, GROUP_MAX, false);
        }
    }

    #[test]
    fn many_callers_in_a_loop_are_waited_for_and_now_and_then_more_are_tried_for() {
        let mut pace = Pace::default();
        pace.after(100, GROUP_MAX, true);
        let mut tried = Vec::new();
        for _ in 0..2 * TRY_GROUPS {
            tried.extend(waits_for(&pace));
            // A hundred and no more come, whatever is tried for.
            pace.after(100, GROUP_MAX, true);
        }
        let fuller = tried.iter().filter(|entries| **entries == 200).count();
        assert_eq!((tried[0], fuller), (200, 2), "{tried:?}");
        let steady = tried.iter().filter(|entries| **entries == 100).count();
        assert_eq!(steady + fuller, 2 * TRY_GROUPS as usize, "{tried:?}");
    }

    #[test]
    fn small_groups_grow_as_long_as_more_come() {
        let mut pace = Pace::default();
        pace.after(8, GROUP_MAX, true);
        for _ in 0..4 * (TRY_GROUPS + 1) {
            // Twenty-five come in every millisecond.
            let entries = waits_for(&pace).map_or(8, |wanted| wanted.min(50));
            pace.after(entries, GROUP_MAX, true);
        }
        assert!(waits_for(&pace) >= Some(50), "{pace:?}");
    }

    #[test]
    fn more_than_a_group_takes_is_never_waited_for() {
        let mut pace = Pace::default();
        for _ in 0..4 * TRY_GROUPS {
            pace.after(GROUP_MAX, GROUP_MAX, true);
            assert!(waits_for(&pace).is_none_or(|entries| entries <= GROUP_MAX));
        }
    }

    #[test]
    fn groups_of_one_are_paced_too() {
        for at_most in 1..=3 {
            let mut pace = Pace::default();
            (0..4 * TRY_GROUPS).for_each(|_| pace.after(at_most, at_most, true));
            assert!(pace.target.is_some_and(|target| target <= at_most), "{pace:?}");
        }
    }

    #[test]
    fn it_is_idle_again_as_soon_as_the_processors_are() {
        let mut pace = Pace::default();
        pace.after(500, GROUP_MAX, true);
        pace.after(500, GROUP_MAX, false);
        assert_eq!(waits_for(&pace), None);
    }
}
