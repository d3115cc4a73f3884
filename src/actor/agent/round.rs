//! What the work of a cart or an order has asked others, and what they have answered.
use super::AgentAddress;
use crate::{
    actor::admission::Watch,
    domain::{
        agent::{Answer, Ask},
        time::Timestamp,
    },
};

/// Asks that came to nothing are asked again after so long at first, ms.
pub(super) const AGAIN_MIN_MS: i64 = 2;

/// The asks of the work in hand and what has been answered.
pub(super) struct Round {
    /// Tells answers of this round from late ones of others; begins at a random number.
    pub(super) number: u64,
    pub(super) asks: Vec<Ask>,
    /// As they were sent, one for each ask.
    pub(super) sent: Vec<Sent>,
    /// Asks of earlier work that have not arrived yet, in the order they were sent.
    pub(super) late: Vec<Sent>,
    pub(super) answers: Vec<Option<Answer>>,
    /// When what is not answered counts as unanswered.
    pub(super) until: Option<Timestamp>,
    /// When the same is asked again, or work that found no room is tried.
    pub(super) again_at: Option<Timestamp>,
    pub(super) again_ms: i64,
    /// An answer came while the next try was waited for.
    pub(super) came_late: bool,
}

/// An ask that was sent.
pub(super) struct Sent {
    pub(super) ask: Ask,
    /// Where its answer is expected.
    pub(super) from: AgentAddress,
    pub(super) watch: Watch,
}

impl Round {
    /// Before the first ask.
    pub(super) fn begun() -> Self {
        Self {
            number: fastrand::u64(..),
            asks: Vec::new(),
            sent: Vec::new(),
            late: Vec::new(),
            answers: Vec::new(),
            until: None,
            again_at: None,
            again_ms: AGAIN_MIN_MS,
            came_late: false,
        }
    }

    /// Whether an ask of earlier work has not arrived yet.
    pub(super) fn has_late(&self) -> bool {
        self.late.iter().any(|sent| sent.watch.is_on_its_way())
    }

    /// The same ask of earlier work, if it is the last that is on its way to where it goes: what was asked there since would
    /// otherwise be done after it.
    pub(super) fn take_late(&mut self, ask: &Ask) -> Option<Sent> {
        let place = self.late.iter().rposition(|sent| sent.ask.goes_where(ask))?;
        (self.late[place].ask == *ask).then(|| self.late.remove(place))
    }
}
