//! The checker: pure, from what the client was told and what was read back from the store. A leg that broke a law has no speed.

use std::collections::{HashMap, HashSet};
use std::fmt;

/// A hold that the client was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Number of the request, and so its key.
    pub(crate) number: u64,
    /// The hold's id.
    pub(crate) id: u128,
}

/// What the client knows after a leg.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Every hold answered, in the warm-up too.
    pub(crate) answered: Vec<Answered>,
    /// Requests without an answer: each may have made a hold or not.
    pub(crate) unknown: u64,
    /// Requests that were refused or turned away.
    pub(crate) refused: u64,
}

/// A hold that was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundHold {
    /// Its id.
    pub(crate) id: u128,
    /// The request whose key leads to it, where keys can be read.
    pub(crate) number: Option<u64>,
    /// Its units.
    pub(crate) units: u64,
}

/// What was read back from a store after a leg.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Units of the variant before the leg.
    pub(crate) on_hand: u64,
    /// Units counted down.
    pub(crate) taken: u64,
    /// How many holds the store says it has.
    pub(crate) count: u64,
    /// The holds: all, or where only known ones can be looked up, all that were answered and are there.
    pub(crate) holds: Vec<FoundHold>,
    /// What else is kept once for each hold, and how many of it there are.
    pub(crate) beside: Vec<(&'static str, u64)>,
    /// Keys that were sent once more, with the holds they led to.
    pub(crate) repeats: Vec<Answered>,
    /// Units counted down after the repeats.
    pub(crate) taken_after_repeats: u64,
}

/// Whether the laws hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They do, over so many holds.
    Holds(u64),
    /// They do not, and why.
    Broken(Vec<String>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(holds) => write!(out, "HOLDS ({holds})"),
            Self::Broken(laws) => write!(out, "BROKEN: {}", laws.join("; ")),
        }
    }
}

/// Judges a leg.
pub(crate) fn judge(told: &Told, found: &Found) -> Verdict {
    let mut broken = Vec::new();
    let mut law = |holds: bool, told: String| {
        if !holds {
            broken.push(told);
        }
    };
    let answered = count(told.answered.len());
    let numbers: HashMap<u64, u128> = told.answered.iter().map(|hold| (hold.number, hold.id)).collect();
    let ids: HashSet<u128> = told.answered.iter().map(|hold| hold.id).collect();
    law(
        count(ids.len()) == answered && count(numbers.len()) == answered,
        format!(
            "{answered} holds answered, {} ids and {} keys among them",
            ids.len(),
            numbers.len()
        ),
    );

    let stored: HashSet<u128> = found.holds.iter().map(|hold| hold.id).collect();
    let lost = ids.difference(&stored).count();
    law(lost == 0, format!("{lost} answered holds are not stored"));
    law(
        (answered..=answered + told.unknown).contains(&found.count),
        format!(
            "{} holds stored, {answered} answered and {} unknown",
            found.count, told.unknown
        ),
    );

    for (what, there) in &found.beside {
        law(
            *there == found.count,
            format!("{} holds stored, {there} {what}", found.count),
        );
    }
    let keyed: Vec<(u64, u128)> = found
        .holds
        .iter()
        .filter_map(|hold| Some((hold.number?, hold.id)))
        .collect();
    law(
        keyed.is_empty() || keyed.len() == found.holds.len(),
        format!("{} keys lead to {} holds", keyed.len(), found.holds.len()),
    );
    let distinct: HashSet<u64> = keyed.iter().map(|(number, _)| *number).collect();
    let twice = keyed.len() - distinct.len();
    law(twice == 0, format!("{twice} keys lead to two holds"));
    let astray = keyed
        .iter()
        .filter(|(number, id)| numbers.get(number).is_some_and(|answered| answered != id));
    let astray = astray.count();
    law(
        astray == 0,
        format!("{astray} keys lead to another hold than was answered"),
    );

    // Where every hold was read, their units; elsewhere each has one, for that was asked.
    let whole = count(found.holds.len()) == found.count;
    let units = if whole {
        found.holds.iter().map(|hold| hold.units).sum()
    } else {
        found.count
    };
    law(
        found.taken == units,
        format!("{} units taken, {units} in holds", found.taken),
    );
    law(
        found.taken <= found.on_hand,
        format!("oversold: {} units taken of {}", found.taken, found.on_hand),
    );

    let others = found
        .repeats
        .iter()
        .filter(|again| numbers.get(&again.number) != Some(&again.id))
        .count();
    law(others == 0, format!("{others} keys sent again got another hold"));
    law(
        !found.repeats.is_empty() || answered == 0,
        "no key was sent again".to_owned(),
    );
    law(
        found.taken_after_repeats == found.taken,
        format!(
            "keys sent again moved the units taken from {} to {}",
            found.taken, found.taken_after_repeats
        ),
    );
    if broken.is_empty() {
        Verdict::Holds(found.count)
    } else {
        Verdict::Broken(broken)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(number: u64) -> Answered {
        Answered {
            number,
            id: u128::from(number) + 1_000,
        }
    }

    fn stored(number: u64) -> FoundHold {
        FoundHold {
            id: u128::from(number) + 1_000,
            number: Some(number),
            units: 1,
        }
    }

    /// Four holds answered and stored.
    fn good() -> (Told, Found) {
        let told = Told {
            answered: (0..4).map(answered).collect(),
            unknown: 0,
            refused: 0,
        };
        let found = Found {
            on_hand: 10,
            taken: 4,
            count: 4,
            holds: (0..4).map(stored).collect(),
            beside: vec![("deadlines", 4)],
            repeats: vec![answered(2)],
            taken_after_repeats: 4,
        };
        (told, found)
    }

    #[test]
    fn a_good_store_is_not_blamed() {
        let (told, found) = good();
        assert_eq!(judge(&told, &found), Verdict::Holds(4));
    }

    #[test]
    fn a_request_without_an_answer_may_have_made_a_hold() {
        let (mut told, mut found) = good();
        told.unknown = 1;
        assert_eq!(judge(&told, &found), Verdict::Holds(4));
        found.holds.push(stored(9));
        found.beside = vec![("deadlines", 5)];
        (found.count, found.taken, found.taken_after_repeats) = (5, 5, 5);
        assert_eq!(judge(&told, &found), Verdict::Holds(5));
    }

    #[test]
    fn a_store_that_only_answers_for_known_holds_is_judged_by_its_count() {
        let (told, mut found) = good();
        found.holds.iter_mut().for_each(|hold| hold.number = None);
        assert_eq!(judge(&told, &found), Verdict::Holds(4));
        (found.count, found.taken, found.taken_after_repeats) = (5, 5, 5);
        assert!(
            matches!(judge(&told, &found), Verdict::Broken(_)),
            "a hold nobody asked for"
        );
    }

    /// Each line: what is wrong with the store, and a part of what the checker must say.
    #[test]
    fn a_bad_store_is_found_out() {
        type Plant = fn(&mut Told, &mut Found);
        let planted: [(Plant, &str); 12] = [
            (
                |_, found| {
                    found.holds.remove(1);
                    (found.count, found.taken, found.taken_after_repeats) = (3, 3, 3);
                },
                "1 answered holds are not stored",
            ),
            (
                |_, found| {
                    found.holds.push(stored(9));
                    (found.count, found.taken, found.taken_after_repeats) = (5, 5, 5);
                },
                "5 holds stored, 4 answered",
            ),
            (|_, found| found.taken = 3, "3 units taken, 4 in holds"),
            (|_, found| found.holds[0].units = 2, "4 units taken, 5 in holds"),
            (|_, found| found.on_hand = 3, "oversold: 4 units taken of 3"),
            (
                |_, found| found.holds[3].number = Some(2),
                "1 keys lead to two holds",
            ),
            (
                |_, found| found.holds[3].number = Some(1),
                "1 keys lead to another hold than was answered",
            ),
            (|_, found| found.holds[3].number = None, "3 keys lead to 4 holds"),
            (|_, found| found.beside[0].1 = 3, "4 holds stored, 3 deadlines"),
            (
                |told, _| told.answered[3].id = told.answered[2].id,
                "4 holds answered, 3 ids and 4 keys",
            ),
            (
                |_, found| found.repeats[0].id = 7,
                "1 keys sent again got another hold",
            ),
            (
                |_, found| found.taken_after_repeats = 5,
                "keys sent again moved the units taken from 4 to 5",
            ),
        ];
        for (plant, expected) in planted {
            let (mut told, mut found) = good();
            plant(&mut told, &mut found);
            let verdict = judge(&told, &found).to_string();
            assert!(verdict.starts_with("BROKEN: "), "{expected}: {verdict}");
            assert!(verdict.contains(expected), "{expected}: {verdict}");
        }
    }
}
