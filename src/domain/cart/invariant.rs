//! The laws of one cart, stated once, and its side of AGREE.
use super::{Cart, Line, LineHold, LineId, Merge, MergeStage, Status, Task, Work};
use crate::domain::{
    ids::ReservationId,
    law::{Law, Violation},
    time::Timestamp,
    variant::{Hold, HoldStatus},
};

impl Cart {
    pub(super) fn check_laws(&self) -> Result<(), Violation> {
        let broken = |evidence: String| Violation::new(Law::Agree, format!("cart {}", self.id), evidence);
        self.check_lines().map_err(broken)?;
        self.check_status().map_err(broken)?;
        self.check_work().map_err(broken)
    }

    fn check_lines(&self) -> Result<(), String> {
        let ascending = self.lines.windows(2).all(|pair| pair[0].id < pair[1].id);
        let below = self
            .lines
            .last()
            .is_none_or(|line| line.id < LineId(self.next_line));
        if !ascending || !below {
            let ids: Vec<u32> = self.lines.iter().map(|line| line.id.0).collect();
            return Err(format!("lines {ids:?}, the next {}", self.next_line));
        }
        for (place, line) in self.lines.iter().enumerate() {
            let same = |other: &Line| other.ordinal == line.ordinal || other.variant == line.variant;
            if self.lines[..place].iter().any(same) {
                return Err(format!("two lines of variant {}", line.variant));
            }
            if line.quantity == 0 {
                return Err(format!("no units of variant {}", line.variant));
            }
            if let Some(id) = reservation(line).filter(|id| id.variant() != line.ordinal) {
                return Err(format!("line {} has the hold {id} of another variant", line.id.0));
            }
        }
        Ok(())
    }

    fn check_status(&self) -> Result<(), String> {
        let ended = match self.status {
            Status::Ordered { .. } | Status::Merged { .. } | Status::Abandoned => true,
            Status::Active | Status::CheckingOut { .. } | Status::Merging { .. } => false,
        };
        if ended != self.ended_at.is_some() {
            return Err(format!("{:?}, ended at {:?}", self.status, self.ended_at));
        }
        if ended && self.lines.iter().any(|line| line.hold.maybe_live().is_some()) {
            return Err(format!("{:?} with holds", self.status));
        }
        let being_born = matches!(&self.work, Some(work) if is_first_add(work));
        if !self.exists() && !self.lines.is_empty() && !being_born {
            return Err(format!("{} lines before it exists", self.lines.len()));
        }
        Ok(())
    }

    fn check_work(&self) -> Result<(), String> {
        let Some(work) = &self.work else {
            return Ok(());
        };
        let fits = match (&work.task, &self.status) {
            (Task::Checkout { order, .. }, Status::CheckingOut { order: own }) => order == own,
            (Task::Checkout { .. }, _) => false,
            (Task::GiveBack { .. }, _) => true,
            (_, status) => *status == Status::Active,
        };
        if !fits {
            return Err(format!("{:?} while {:?}", work.task, self.status));
        }
        let about: &[LineId] = match &work.task {
            Task::Hold { line, .. } | Task::Resize { line, .. } | Task::Undo { line, .. } => {
                std::slice::from_ref(line)
            }
            Task::Remove { lines, .. } | Task::Look { lines, .. } => lines,
            Task::Extend { .. } | Task::GiveBack { .. } | Task::Merge(_) | Task::Checkout { .. } => &[],
        };
        match about.iter().find(|line| self.line(**line).is_none()) {
            Some(missing) => Err(format!("work on line {}, which is not there", missing.0)),
            None => Ok(()),
        }
    }

    /// Whether a line or the work in hand accounts for this reservation.
    pub fn accounts_for(&self, id: ReservationId) -> bool {
        let in_lines = |lines: &[Line]| lines.iter().any(|line| reservation(line) == Some(id));
        in_lines(&self.lines)
            || self.strays.iter().any(|stray| stray.reservation == id)
            || self.work.as_ref().is_some_and(|work| match &work.task {
                Task::Hold { reservation, .. } | Task::Undo { reservation, .. } => *reservation == id,
                Task::Merge(Merge {
                    stage: MergeStage::Moving { lines, surplus },
                    ..
                }) => in_lines(lines) || in_lines(surplus),
                Task::Merge(_)
                | Task::Resize { .. }
                | Task::Remove { .. }
                | Task::Look { .. }
                | Task::GiveBack { .. }
                | Task::Extend { .. }
                | Task::Checkout { .. } => false,
            })
    }

    /// The cart's side of AGREE for one line, where nothing is in the middle of work: the hold it believes in is live in its
    /// variant, with its units, for this cart. `hold` is what the variant keeps under the line's reservation.
    ///
    /// # Errors
    /// What does not agree.
    pub fn check_line(&self, line: &Line, hold: Option<&Hold>, now: Timestamp) -> Result<(), Violation> {
        let LineHold::Held(kept) = line.hold else {
            return Ok(());
        };
        let subject = format!("cart {} line {}", self.id, line.id.0);
        let broken = |evidence: String| Err(Violation::new(Law::Agree, &subject, evidence));
        let checking_out = matches!(self.status, Status::CheckingOut { .. });
        if kept.expires_at <= now {
            return Ok(());
        }
        let Some(hold) = hold else {
            return broken(format!("its hold {} is not there", kept.reservation));
        };
        if hold.id != kept.reservation || hold.shopper.cart.as_ref() != Some(&self.id) {
            return broken(format!("its hold {} is another's", kept.reservation));
        }
        if checking_out {
            return Ok(()); // The order moves it.
        }
        if hold.status != HoldStatus::Active || hold.quantity != line.quantity {
            let (status, units) = (hold.status.as_str(), hold.quantity);
            return broken(format!("{} units, its hold {status} with {units}", line.quantity));
        }
        if hold.expires_at != kept.expires_at {
            return broken(format!(
                "until {:?}, its hold {:?}",
                kept.expires_at, hold.expires_at
            ));
        }
        Ok(())
    }
}

fn is_first_add(work: &Work) -> bool {
    matches!(
        work.task,
        Task::Hold { new: true, .. } | Task::Undo { new: true, .. }
    )
}

/// The reservation a line names, live or not.
fn reservation(line: &Line) -> Option<ReservationId> {
    match line.hold {
        LineHold::Held(kept) | LineHold::Ended(kept) => Some(kept.reservation),
        LineHold::Unconfirmed { reservation, .. } => Some(reservation),
        LineHold::None => None,
    }
}
