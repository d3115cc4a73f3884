//! One turn of a cart in the making: the state after it and what happened, until the verdict closes it.
use super::{Cart, Happened, Kept, Line, LineHold, LineId, Refusal, Status, Stray, Task, Work};
use crate::domain::{
    agent::{Next, Verdict},
    ids::ReservationId,
    key::KeyMark,
    policy::ExpiredLines,
    time::Timestamp,
    variant::{self, Hold, HoldStatus},
};

/// A line that is asked about waits this long before its variant is asked again, ms, doubling up to [`AGAIN_MAX_MS`].
const AGAIN_MIN_MS: i64 = 200;

/// The longest wait before a variant is asked again, ms.
const AGAIN_MAX_MS: i64 = 30_000;

/// The state so far and what happened.
pub(super) struct Turn {
    pub(super) after: Cart,
    pub(super) happened: Vec<Happened>,
}

impl Turn {
    /// From this state, with nothing happened yet.
    pub(super) fn of(cart: &Cart) -> Self {
        Self {
            after: cart.clone(),
            happened: Vec::new(),
        }
    }

    pub(super) fn say(&mut self, happened: Happened) {
        self.happened.push(happened);
    }

    /// The line a task is about.
    pub(super) fn line(&mut self, id: LineId) -> &mut Line {
        let line = self.after.lines.iter_mut().find(|line| line.id == id);
        line.expect("work is about lines of the cart, which nobody removes meanwhile")
    }

    pub(super) fn remove(&mut self, id: LineId) {
        self.after.lines.retain(|line| line.id != id);
    }

    /// Says that every hold has ended whose deadline has come. Where the store wants it, ended lines leave.
    pub(super) fn end_due(&mut self, now: Timestamp) {
        let remove = self.after.policy.expired_lines == ExpiredLines::Remove;
        let due = |line: &Line| match line.hold {
            LineHold::Held(kept) => (kept.expires_at <= now).then_some(kept),
            LineHold::Ended(kept) => remove.then_some(kept),
            LineHold::None | LineHold::Unconfirmed { .. } => None,
        };
        let ended: Vec<(LineId, Kept)> = self
            .after
            .lines
            .iter()
            .filter_map(|line| due(line).map(|kept| (line.id, kept)))
            .collect();
        for (line, kept) in ended {
            self.end_line(line, kept);
        }
    }

    /// A line's hold ended: it waits for the shopper, or leaves where the store wants it.
    pub(super) fn end_line(&mut self, id: LineId, kept: Kept) {
        let remove = self.after.policy.expired_lines == ExpiredLines::Remove;
        let line = self.line(id);
        if line.hold != LineHold::Ended(kept) {
            line.hold = LineHold::Ended(kept);
            self.say(Happened::LineEnded(id));
        }
        if remove {
            self.remove(id);
            self.say(Happened::LineRemoved(id));
        }
    }

    /// A line leaves; what may be held for it is given back in the background.
    pub(super) fn leave(&mut self, id: LineId, now: Timestamp) {
        if let Some(reservation) = self.line(id).hold.maybe_live() {
            self.stray(reservation, now);
        }
        self.remove(id);
        self.say(Happened::LineRemoved(id));
    }

    /// A line's units were bought: it leaves, and this is why it cannot be had.
    pub(super) fn bought(&mut self, id: LineId, refusal: &variant::Refusal) -> Refusal {
        let (variant, refusal) = (self.line(id).variant.clone(), refusal.clone());
        self.was_sold(id);
        Refusal::Line { variant, refusal }
    }

    /// The same where nobody asked for the line.
    pub(super) fn was_sold(&mut self, id: LineId) {
        self.remove(id);
        self.say(Happened::LineRemoved(id));
        self.changed();
    }

    /// The line follows its reservation as its variant tells of it.
    pub(super) fn follow(&mut self, id: LineId, hold: &Hold) {
        match hold.status {
            HoldStatus::Active => {
                let line = self.line(id);
                line.quantity = hold.quantity;
                line.hold = LineHold::Held(Kept::from(hold));
            }
            HoldStatus::Confirmed => {
                // Bought: a line that waits to be held again would be bought twice.
                self.remove(id);
                self.say(Happened::LineRemoved(id));
            }
            HoldStatus::Released | HoldStatus::Expired => self.end_line(id, Kept::from(hold)),
            HoldStatus::Tentative => {}
        }
    }

    /// The variant could not be asked, or said something that may be otherwise in a moment: it is asked again later.
    pub(super) fn unconfirmed(&mut self, id: LineId, reservation: ReservationId, now: Timestamp) {
        let line = self.line(id);
        let tries = match line.hold {
            LineHold::Unconfirmed { tries, .. } => tries,
            LineHold::None | LineHold::Held(_) | LineHold::Ended(_) => 0,
        };
        line.hold = LineHold::Unconfirmed {
            reservation,
            again_at: again_at(tries, now),
            tries: tries.saturating_add(1),
        };
        self.say(Happened::LineUnconfirmed(id));
    }

    /// A hold may be live that no line accounts for.
    pub(super) fn stray(&mut self, reservation: ReservationId, now: Timestamp) {
        self.after.strays.push(Stray {
            reservation,
            again_at: now,
            tries: 0,
        });
    }

    /// The cart ends.
    pub(super) fn end(&mut self, status: Status, now: Timestamp) {
        self.after.status = status;
        self.after.ended_at = Some(now);
    }

    /// Something a shopper can see changed.
    pub(super) fn changed(&mut self) {
        self.after.version += 1;
    }

    /// The shopper changed something.
    pub(super) fn touched(&mut self, now: Timestamp) {
        self.after.touched_at = now;
        self.changed();
    }

    /// Something changed, by the shopper or in the background.
    pub(super) fn changed_by(&mut self, by_shopper: bool, now: Timestamp) {
        if by_shopper {
            self.touched(now);
        } else {
            self.changed();
        }
    }

    // --- verdicts ---

    /// Work begins: whoever asked waits.
    pub(super) fn begin(
        mut self,
        task: Task,
        key: Option<KeyMark>,
        now: Timestamp,
        by_shopper: bool,
    ) -> Next<Cart> {
        self.say(Happened::Began);
        self.after.work = Some(Work {
            task,
            key,
            begun_at: now,
            by_shopper,
        });
        self.close(Verdict::Working)
    }

    /// The same work goes on with another task.
    pub(super) fn go_on(mut self, task: Task) -> Next<Cart> {
        if let Some(work) = &mut self.after.work {
            work.task = task;
        }
        self.close(Verdict::Working)
    }

    /// It is done, and whatever was worked on is concluded.
    pub(super) fn done(mut self) -> Next<Cart> {
        self.after.work = None;
        self.close(Verdict::Done)
    }

    /// It is refused, and whatever was worked on is concluded. A cart that was to be born with it is not.
    pub(super) fn refused(mut self, refusal: Refusal) -> Next<Cart> {
        self.after.work = None;
        if !self.after.exists() {
            self.forget();
        }
        self.close(Verdict::Refused(refusal))
    }

    /// The cart is forgotten.
    pub(super) fn forget(&mut self) {
        let cart = &self.after;
        let unborn = Cart::unborn(cart.id.clone(), cart.store.clone());
        self.after = Cart {
            revision: cart.revision,
            ..unborn
        };
        self.happened = vec![Happened::Forgotten];
    }

    pub(super) fn close(self, verdict: Verdict<Refusal>) -> Next<Cart> {
        Next {
            after: self.after,
            happened: self.happened,
            verdict,
        }
    }
}

/// When a variant is asked again that was asked so often in vain.
pub(super) fn again_at(tries: u32, now: Timestamp) -> Timestamp {
    let wait_ms = AGAIN_MIN_MS << tries.min(16);
    now.saturating_add(wait_ms.min(AGAIN_MAX_MS))
}

/// What a line keeps of a hold that turned out not to be there.
pub(super) fn never_held(reservation: ReservationId, now: Timestamp) -> Kept {
    Kept {
        reservation,
        expires_at: now,
        max_expires_at: now,
        extensions_left: 0,
        version: 0,
    }
}

/// Whether the reservation is over for whoever held it.
pub(super) fn is_over(refusal: &variant::Refusal) -> bool {
    matches!(
        refusal,
        variant::Refusal::ReservationNotFound
            | variant::Refusal::ReservationExpired { .. }
            | variant::Refusal::ReservationReleased { .. }
            | variant::Refusal::ReservationConfirmed { .. }
            | variant::Refusal::VariantNotFound
    )
}
