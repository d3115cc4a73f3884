//! How long a busy writer waits for a fuller group.
//!
//! Callers in a loop bring as many entries back as the last group answered, and within a moment: a group that waits for them
//! is one sync and one round of wake-ups for all. Whoever comes alone, or at a rate that the device keeps up with, waits for
//! one sync and nothing else.
//!
//! ```text
//!   idle ──a group of BUSY entries──► busy: wait for as many as the last group had
//!    ▲                                  │ every LOOK_GROUPS groups
//!    └──fewer than BUSY entries── look: take what is there ──as many──► busy, trying for FULLER times as many
//! ```
use std::time::Duration;

use super::queue::Gather;

/// A group as large as this or larger means that many wait: then a fuller next group saves more than a moment costs.
/// Measured with 256 callers on 2 cores: waking the threads of the disk for each small group took a quarter of the time.
const BUSY_ENTRIES: usize = 32;

/// Behind a look, a busy writer tries for so many times the entries of its groups before.
const FULLER: usize = 2;

/// A busy writer takes what is there, without waiting, once in so many groups. Otherwise its own waiting would fill the
/// groups that tell it that waiting pays: traffic of 20,000 entries a second fills 2 ms with 40 of them, and a sync of
/// half a millisecond with 10.
const LOOK_GROUPS: u32 = 16;

/// The longest wait of a busy writer for a fuller group. Measured with 256 callers on 2 cores: 1, 2 and 3 ms give 76, 130 and
/// 190 answers a sync; what a group costs beside its entries no longer matters from 2 ms on.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// How a writer paces itself; starts idle.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Entries worth waiting for; none when idle.
    target: Option<usize>,
    /// Groups since the last look.
    waited: u32,
}

impl Pace {
    /// What the next group may wait for.
    pub(super) fn gather(&self) -> Option<Gather> {
        let entries = self.target.filter(|_| !self.looks())?;
        Some(Gather {
            entries,
            at_most: GATHER_MAX,
        })
    }

    /// Learns how many entries a group had, of at most so many.
    pub(super) fn after(&mut self, entries: usize, at_most: usize) {
        if entries < BUSY_ENTRIES {
            *self = Self::default();
            return;
        }
        let target = match self.target {
            Some(before) if self.looks() => {
                self.waited = 0;
                before.max(entries) * FULLER
            }
            Some(_) | None => {
                self.waited += 1;
                entries
            }
        };
        self.target = Some(target.min(at_most));
    }

    fn looks(&self) -> bool {
        self.waited >= LOOK_GROUPS
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
    fn who_comes_alone_never_waits() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            assert_eq!(waits_for(&pace), None);
            pace.after(1, GROUP_MAX);
        }
    }

    #[test]
    fn many_callers_in_a_loop_are_waited_for_and_now_and_then_more_are_tried_for() {
        let mut pace = Pace::default();
        pace.after(100, GROUP_MAX);
        let mut tried = Vec::new();
        for _ in 0..2 * LOOK_GROUPS {
            tried.extend(waits_for(&pace));
            // A hundred and no more come, whatever is tried for.
            pace.after(100, GROUP_MAX);
        }
        assert!(tried.len() >= 2 * LOOK_GROUPS as usize - 2, "{tried:?}");
        let fuller = tried.iter().filter(|entries| **entries == 200).count();
        assert!((1..=2).contains(&fuller), "{tried:?}");
        let steady = tried.iter().filter(|entries| **entries == 100).count();
        assert_eq!(steady + fuller, tried.len(), "{tried:?}");
        pace.after(3_000, GROUP_MAX);
        for _ in 0..2 * LOOK_GROUPS {
            assert!(waits_for(&pace).is_none_or(|entries| entries <= GROUP_MAX));
            pace.after(3_000, GROUP_MAX);
        }
    }

    #[test]
    fn a_burst_does_not_leave_steady_traffic_waiting() {
        let mut pace = Pace::default();
        pace.after(500, GROUP_MAX);
        let mut groups = 0;
        while pace.target.is_some() {
            // 20,000 entries a second: 50 within a wait and a sync, 10 within a sync.
            let entries = if pace.gather().is_some() { 50 } else { 10 };
            pace.after(entries, GROUP_MAX);
            groups += 1;
            assert!(groups <= LOOK_GROUPS, "it would wait for ever");
        }
        assert_eq!(waits_for(&pace), None);
    }
}
