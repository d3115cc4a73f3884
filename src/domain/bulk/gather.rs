//! Gathering the lines' answers: which line to ask next, and when it is decided. Not logged: after a crash a
//! coordinator without a decision gives up.
use super::{Action, Line, LineOutcome, Mode};
use crate::domain::variant::{EndReason, Hold, Refusal};

/// Tries of one coordinator: all at once, and after a collision once more in id order, waiting at a
/// line that another coordinator has.
const TRIES: u32 = 2;

/// How long a line in another coordinator's hands is left alone before it is asked again, ms: that one has to decide
/// and log it.
pub const ASK_AGAIN_MS: i64 = 2;

/// What a coordinator does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for more answers.
    Wait,
    /// Ask this line (in order, one at a time).
    Ask(usize),
    /// This line is in another coordinator's hands: ask it again, in this try, after [`ASK_AGAIN_MS`].
    AskAgain(usize),
    /// Give back what this try has, then ask the first line of the order in a new try.
    TryInOrder,
    /// Decided.
    Decide {
        /// Which way.
        commit: bool,
    },
}

/// The answers so far of one try.
#[derive(Clone, Debug)]
pub struct Gather {
    mode: Mode,
    number: u32,
    /// The lines in the order of the second try: the same for everybody, whoever asked for them in which order. Two
    /// coordinators that wait at lines of their own orders could each have what the other waits for.
    order: Vec<usize>,
    outcomes: Vec<Option<LineOutcome>>,
    /// The latest answer of an earlier ask, for lines that have no final one.
    earlier: Vec<Option<LineOutcome>>,
}

impl Gather {
    /// The first try over `lines`: all are asked at once.
    pub fn new(mode: Mode, lines: &[Line]) -> Self {
        let mut order: Vec<usize> = (0..lines.len()).collect();
        // Lines of one new hold each are told apart by their variants, those of existing ones by their ids.
        order.sort_by_key(|line| (&lines[*line].variant_id, lines[*line].reservation));
        Self {
            mode,
            number: 1,
            order,
            outcomes: vec![None; lines.len()],
            earlier: vec![None; lines.len()],
        }
    }

    /// The try's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Takes an answer; one of another try or a line that has answered changes nothing.
    pub fn answered(&mut self, number: u32, line: usize, outcome: LineOutcome) -> Next {
        match self.outcomes.get_mut(line) {
            // In order a collision is waited for: whoever has the first common line gets the others too, or gives all
            // of them back. If both gave up here, two bulks over the last units could both lose.
            Some(None) if number == self.number && number == TRIES && is_collision(&outcome) => {
                self.earlier[line] = Some(outcome);
                return Next::AskAgain(line);
            }
            Some(slot @ None) if number == self.number => *slot = Some(outcome),
            Some(_) | None => return Next::Wait,
        }
        self.next()
    }

    /// Nobody waits any longer.
    pub fn timed_out(&mut self) -> Next {
        self.outcomes = self.outcomes().into_iter().map(Some).collect();
        Next::Decide {
            commit: self.mode == Mode::BestEffort,
        }
    }

    /// Lines were refused because their reservations have ended, as somebody else remembers: one that ended as it was to
    /// be is done. What comes next by that.
    pub fn looked_back(&mut self, action: &Action, ended: Vec<(usize, Hold)>) -> Next {
        for (line, hold) in ended {
            self.outcomes[line] = Some(outcome_of_ended(action, hold));
        }
        self.next()
    }

    /// The second try, in order: only lines that are not promised, because they were before what they should become,
    /// have their answers. What comes next by that.
    pub fn try_in_order(&mut self) -> Next {
        self.number += 1;
        let as_wished =
            |outcome: &LineOutcome| matches!(outcome, LineOutcome::Done(hold) if hold.pin.is_none());
        let kept = self
            .outcomes
            .iter()
            .map(|outcome| outcome.clone().filter(as_wished));
        let kept = kept.collect();
        self.earlier = std::mem::replace(&mut self.outcomes, kept);
        self.next()
    }

    /// Every line's outcome. A line that was not asked any more stands as the earlier try left it, so that a refusal
    /// names every failing line; without one it did not answer.
    pub fn outcomes(&self) -> Vec<LineOutcome> {
        self.outcomes
            .iter()
            .zip(&self.earlier)
            .map(|(outcome, earlier)| outcome.as_ref().or(earlier.as_ref()))
            .map(|outcome| outcome.cloned().unwrap_or(LineOutcome::Unanswered))
            .collect()
    }

    fn next(&self) -> Next {
        if self.number == 1 {
            return if self.outcomes.iter().any(Option::is_none) {
                Next::Wait
            } else {
                self.judge()
            };
        }
        // In order: after a refusal nothing more is asked, so that a coordinator that cannot win takes nothing.
        let refused = self.outcomes.iter().flatten().any(|outcome| !outcome.is_done());
        let open = |line: &&usize| self.outcomes[**line].is_none();
        match self.order.iter().find(open) {
            Some(&line) if !refused => Next::Ask(line),
            Some(_) | None => self.judge(),
        }
    }

    fn judge(&self) -> Next {
        let refused = || {
            self.outcomes
                .iter()
                .flatten()
                .filter(|outcome| !outcome.is_done())
        };
        match self.mode {
            Mode::BestEffort => Next::Decide { commit: true },
            Mode::AllOrNothing if refused().next().is_none() => Next::Decide { commit: true },
            Mode::AllOrNothing if self.number < TRIES && refused().all(is_collision) => Next::TryInOrder,
            Mode::AllOrNothing => Next::Decide { commit: false },
        }
    }
}

/// What a line comes to whose reservation has ended: giving back what was given back and selling what was sold are done
/// already, as when they are asked for one by one.
fn outcome_of_ended(action: &Action, hold: Hold) -> LineOutcome {
    if matches!(action, Action::Confirm)
        && let Some(order) = hold.owning_order()
    {
        return LineOutcome::Refused(Refusal::OwnedByOrder { order: order.clone() });
    }
    let done = match (action, hold.ended.map(|ended| ended.reason)) {
        (Action::Release, Some(EndReason::Released | EndReason::Expired))
        | (Action::Confirm, Some(EndReason::Confirmed)) => true,
        (Action::Reserve { .. } | Action::Extend { .. } | Action::Release | Action::Confirm, _) => false,
    };
    if done {
        LineOutcome::Done(hold)
    } else {
        LineOutcome::Refused(hold.ended_refusal())
    }
}

fn is_collision(outcome: &LineOutcome) -> bool {
    matches!(
        outcome,
        LineOutcome::Refused(Refusal::InsufficientStock { contended: true, .. } | Refusal::InFlight)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ReservationId, VariantId, VariantOrdinal};

    fn lines(variants: &[&str]) -> Vec<Line> {
        let line = |variant: &&str| Line {
            variant_id: VariantId::parse(variant).unwrap(),
            variant: Some(VariantOrdinal(0)),
            reservation: ReservationId::FIRST,
            quantity: 1,
        };
        variants.iter().map(line).collect()
    }

    #[test]
    fn everybody_tries_again_in_the_same_order() {
        for (variants, order) in [(["x", "y"], [0, 1]), (["y", "x"], [1, 0])] {
            let mut gather = Gather::new(Mode::AllOrNothing, &lines(&variants));
            gather.answered(1, 0, refused(true));
            gather.answered(1, 1, refused(true));
            assert_eq!(
                gather.try_in_order(),
                Next::Ask(order[0]),
                "x first: {variants:?}"
            );
            assert_eq!(gather.order, order);
        }
    }

    fn refused(contended: bool) -> LineOutcome {
        let refusal = Refusal::InsufficientStock {
            requested: 1,
            available: 0,
            next_release_at: None,
            contended,
        };
        LineOutcome::Refused(refusal)
    }

    #[test]
    fn a_plain_refusal_aborts_once_every_line_has_answered() {
        let mut gather = Gather::new(Mode::AllOrNothing, &lines(&["a", "b"]));
        assert_eq!(gather.answered(1, 0, refused(false)), Next::Wait);
        assert_eq!(
            gather.answered(1, 1, refused(true)),
            Next::Decide { commit: false }
        );
    }

    #[test]
    fn a_collision_is_tried_once_more_in_order() {
        let mut gather = Gather::new(Mode::AllOrNothing, &lines(&["a", "b"]));
        gather.answered(1, 0, refused(true));
        assert_eq!(gather.answered(1, 1, refused(true)), Next::TryInOrder);
        gather.try_in_order();
        assert_eq!(
            gather.answered(1, 0, refused(true)),
            Next::Wait,
            "a late answer of the first try"
        );
        assert_eq!(gather.answered(2, 0, refused(true)), Next::AskAgain(0));
        assert_eq!(
            gather.answered(2, 0, refused(false)),
            Next::Decide { commit: false },
            "a plain refusal ends it, and line 1 is left alone"
        );
        assert_eq!(
            gather.outcomes(),
            [refused(false), refused(true)],
            "every failing line is named"
        );
    }

    #[test]
    fn best_effort_always_commits() {
        let mut gather = Gather::new(Mode::BestEffort, &lines(&["a", "b"]));
        gather.answered(1, 0, refused(false));
        assert_eq!(gather.timed_out(), Next::Decide { commit: true });
        assert_eq!(gather.outcomes()[1], LineOutcome::Unanswered);
    }
}
