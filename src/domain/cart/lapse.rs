//! What happens to a cart by itself: a line's variant is asked again, a stray is given back, a cart left alone gives everything back, an ended one is
//! forgotten. A hold that expires needs nothing of this: its deadline is judged by the clock wherever the line is looked at.
use super::{Cart, LineHold, Status, Task, turn::Turn};
use crate::domain::{
    agent::Next,
    ids::ReservationId,
    time::{MILLIS_PER_DAY, Timestamp},
};

/// An ended cart answers for so long after its end, ms; then it is forgotten.
pub const ENDED_KEPT_MS: i64 = MILLIS_PER_DAY;

impl Cart {
    pub(super) fn next_lapse(&self) -> Option<Timestamp> {
        if self.work.is_some() || !self.exists() {
            return None;
        }
        let given_back = self.strays.iter().map(|stray| stray.again_at).min();
        let lapse = match self.status {
            Status::Active => {
                let again = self.lines.iter().filter_map(|line| match line.hold {
                    LineHold::Unconfirmed { again_at, .. } => Some(again_at),
                    LineHold::None | LineHold::Held(_) | LineHold::Ended(_) => None,
                });
                again.chain([self.left_alone_at()]).min()
            }
            Status::Ordered { .. } | Status::Merged { .. } | Status::Abandoned => self.forgotten_at(),
            Status::CheckingOut { .. } | Status::Merging { .. } => return None,
        };
        [lapse, given_back].into_iter().flatten().min()
    }

    pub(super) fn lapse(&self, now: Timestamp) -> Option<Next<Self>> {
        self.next_lapse().filter(|at| *at <= now)?;
        let mut turn = Turn::of(self);
        let strays = self.strays.iter().filter(|stray| stray.again_at <= now);
        let reservations: Vec<ReservationId> = strays.map(|stray| stray.reservation).collect();
        if !reservations.is_empty() {
            return Some(turn.begin(Task::GiveBack { reservations }, None, now, false));
        }
        if self.status != Status::Active {
            turn.forget();
            return Some(turn.done());
        }
        turn.end_due(now);
        if self.left_alone_at() <= now {
            let lines = turn.after.lines.iter().map(|line| line.id).collect();
            return Some(turn.give_back(lines, true, None, now, false));
        }
        let due = turn.after.lines.iter().find_map(|line| match line.hold {
            LineHold::Unconfirmed {
                reservation,
                again_at,
                ..
            } if again_at <= now => Some((line.id, reservation, line.quantity)),
            LineHold::Unconfirmed { .. } | LineHold::None | LineHold::Held(_) | LineHold::Ended(_) => None,
        });
        let (line, reservation, quantity) = due?;
        let task = Task::Hold {
            line,
            reservation,
            quantity,
            new: false,
        };
        Some(turn.begin(task, None, now, false))
    }

    fn left_alone_at(&self) -> Timestamp {
        self.touched_at.saturating_add(self.policy.cart_idle_ms)
    }

    fn forgotten_at(&self) -> Option<Timestamp> {
        self.ended_at.map(|ended| ended.saturating_add(ENDED_KEPT_MS))
    }
}
