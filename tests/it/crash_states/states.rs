//! Which states a crash may leave behind: every moment after a change or an answer, with everything that happened up to it, and
//! without one, two or more of the changes that may be lost then.
use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::disk::{Disk, Lost, SECTOR_BYTES, Torn};
use super::trace::{Data, Event};

/// How the machine ended, and what its file system promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// The process is killed: whatever it wrote is there.
    Kill,
    /// The power goes. Content that was not synced may be lost in any order; names are lost in the order they were made, the last
    /// ones first, as on a file system with an ordered journal.
    PowerOrdered,
    /// The power goes, and names that were not synced may be lost in any order too.
    PowerStrict,
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Nothing,
    One,
    Two,
    /// Parts of one of the last writes.
    Torn,
    /// Any of them, at random.
    Sampled,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    pub(super) kind: Kind,
    /// Events that have happened.
    pub(super) at: usize,
    pub(super) lost: Lost,
}

/// Every state, and so many at random for each moment and mode.
pub(super) fn all(events: &[Event], modes: &[Mode], samples: usize, rng: &mut Rng) -> Vec<State> {
    let mut states = Vec::new();
    let mut disk = Disk::new(events);
    for (index, event) in events.iter().enumerate() {
        let at = index + 1;
        disk.go_to(at);
        if matches!(event, Event::Sync { .. }) {
            // It takes something off the list of what may be lost: those states are among the next ones.
            continue;
        }
        let (content, names) = disk.pending();
        for mode in modes {
            let mut found = match mode {
                Mode::Kill => killed(event, index),
                Mode::PowerOrdered | Mode::PowerStrict => {
                    powerless(*mode, events, &content, &names, samples, rng)
                }
            };
            found.insert(0, (Kind::Nothing, Lost::default()));
            let mode = *mode;
            states.extend(
                found
                    .into_iter()
                    .map(|(kind, lost)| State { mode, kind, at, lost }),
            );
        }
    }
    states
}

/// Of the writes that may be lost, so many of the latest ones are torn.
const TORN_WRITES: usize = 3;

/// How many sectors a write reaches into.
fn sectors(event: &Event) -> usize {
    match event {
        Event::Data {
            data: Data::Write { offset, bytes },
            ..
        } => (offset % SECTOR_BYTES + bytes.len()).div_ceil(SECTOR_BYTES),
        Event::Data { .. } | Event::Names { .. } | Event::Sync { .. } | Event::Told(_) => 0,
    }
}

/// A killed process may have been in the middle of its last write.
fn killed(event: &Event, index: usize) -> Vec<(Kind, Lost)> {
    let sectors = sectors(event);
    let ends = BTreeSet::from([1, sectors / 2, sectors.saturating_sub(1)]);
    let ends = ends.into_iter().filter(|end| (1..sectors).contains(end));
    ends.map(|end| torn(index, Torn::First(end))).collect()
}

fn torn(index: usize, how: Torn) -> (Kind, Lost) {
    let lost = Lost {
        events: BTreeSet::new(),
        torn: Some((index, how)),
    };
    (Kind::Torn, lost)
}

fn powerless(
    mode: Mode,
    events: &[Event],
    content: &[usize],
    names: &[usize],
    samples: usize,
    rng: &mut Rng,
) -> Vec<(Kind, Lost)> {
    let lost = |kind, events: &[usize]| {
        let events = events.iter().copied().collect();
        (kind, Lost { events, torn: None })
    };
    // What can be lost without losing anything else first.
    let last_names = match mode {
        Mode::PowerStrict => names,
        Mode::Kill | Mode::PowerOrdered => &names[names.len().saturating_sub(1)..],
    };
    let single: Vec<usize> = content.iter().chain(last_names).copied().collect();
    let mut found: Vec<_> = single.iter().map(|one| lost(Kind::One, &[*one])).collect();
    for (index, one) in single.iter().enumerate() {
        found.extend(single[..index].iter().map(|two| lost(Kind::Two, &[*one, *two])));
    }
    if let (Mode::PowerOrdered, [.., before, last]) = (mode, names) {
        found.push(lost(Kind::Two, &[*before, *last]));
    }
    let writes = content.iter().rev().filter(|index| sectors(&events[**index]) > 1);
    for write in writes.take(TORN_WRITES) {
        let hows = [Torn::First(1), Torn::First(sectors(&events[*write]) - 1)];
        let random = std::iter::repeat_with(|| Torn::Some(rng.u64(..))).take(2 + samples.min(6));
        let random: Vec<_> = random.collect();
        found.extend(hows.into_iter().chain(random).map(|how| torn(*write, how)));
    }
    if single.len() > 2 {
        found.push(lost(Kind::Sampled, &[content, names].concat()));
        found.extend((0..samples).map(|_| (Kind::Sampled, sample(mode, content, names, rng))));
    }
    found
}

fn sample(mode: Mode, content: &[usize], names: &[usize], rng: &mut Rng) -> Lost {
    let mut events: BTreeSet<usize> = content.iter().copied().filter(|_| rng.bool()).collect();
    match mode {
        Mode::PowerStrict => events.extend(names.iter().copied().filter(|_| rng.bool())),
        Mode::Kill | Mode::PowerOrdered => events.extend(&names[rng.usize(0..=names.len())..]),
    }
    let mut kept = content.iter().copied().filter(|index| !events.contains(index));
    let torn = kept.next_back().filter(|_| rng.bool());
    Lost {
        torn: torn.map(|index| (index, Torn::Some(rng.u64(..)))),
        events,
    }
}

/// At most so many of them, some of every mode and kind, in the order of their moments.
pub(super) fn some(states: Vec<State>, at_most: usize, rng: &mut Rng) -> Vec<State> {
    let mut groups: BTreeMap<(Mode, Kind), Vec<State>> = BTreeMap::new();
    for state in states {
        groups.entry((state.mode, state.kind)).or_default().push(state);
    }
    let mut chosen = Vec::new();
    let mut groups: Vec<_> = groups.into_values().collect();
    // The small groups first: what they leave goes to the others.
    groups.sort_by_key(Vec::len);
    let mut left = groups.len();
    for mut group in groups {
        rng.shuffle(&mut group);
        let share = (at_most - chosen.len()).div_ceil(left);
        chosen.extend(group.into_iter().take(share.min(at_most - chosen.len())));
        left -= 1;
    }
    chosen.sort_by_key(|state| state.at);
    chosen
}
