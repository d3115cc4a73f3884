//! The work on lines: what variants are asked, and what their answers come to.
use super::{
    Cart, Happened, Kept, Line, LineHold, LineId, NotExtended, Refusal, Status, Task, Work,
    turn::{Turn, again_at, is_over, never_held},
};
use crate::domain::{
    agent::{Answer, Ask, Next, Quote, Told, Verdict},
    ids::ReservationId,
    time::Timestamp,
    variant::{self, Extend, Hold, HoldStatus, Reserve},
};

impl Cart {
    /// What the work in hand asks.
    pub(super) fn asks_of_work(&self) -> Vec<Ask> {
        let Some(work) = &self.work else {
            return Vec::new();
        };
        match &work.task {
            Task::Hold {
                line,
                reservation,
                quantity,
                ..
            } => self.ask_to_hold(*line, *reservation, *quantity),
            Task::Resize { line, quantity } => self
                .line(*line)
                .and_then(held)
                .map(|kept| variant::Command::Resize {
                    id: kept.reservation,
                    quantity: *quantity,
                    terms: self.terms(),
                })
                .map_or_else(Vec::new, |command| self.ask(*line, command)),
            Task::Remove { lines, .. } => self
                .to_release(lines)
                .flat_map(|(line, id)| self.ask(line, variant::Command::Release { id }))
                .collect(),
            Task::Undo {
                line, reservation, ..
            } => self.ask(*line, variant::Command::Release { id: *reservation }),
            Task::Look { lines, .. } => self
                .looked_at(lines)
                .flat_map(|(line, id)| self.ask(line.id, variant::Command::Look { id }))
                .collect(),
            Task::GiveBack { reservations } => {
                let release = |id: &ReservationId| Ask::Variant {
                    to: id.variant(),
                    command: Box::new(variant::Command::Release { id: *id }),
                };
                reservations.iter().map(release).collect()
            }
            Task::Extend { by_ms } => self
                .held_lines()
                .flat_map(|(line, kept)| {
                    let extend = Extend {
                        id: kept.reservation,
                        by_ms: *by_ms,
                        phase: None,
                        terms: self.terms(),
                        seen: Some(kept.version),
                    };
                    self.ask(line.id, variant::Command::Extend(extend))
                })
                .collect(),
            Task::Merge(merge) => self.asks_of_merge(merge),
            Task::Checkout {
                order,
                customer,
                grace_ms,
            } => self.asks_of_checkout(order, customer.as_ref(), *grace_ms, work.begun_at),
        }
    }

    /// What the work in hand asks when it is not known whether it was asked before. Units that were held and given back since
    /// must not rise again under their id.
    pub(super) fn asks_of_resumed_work(&self) -> Vec<Ask> {
        match self.work.as_ref().map(|work| &work.task) {
            Some(Task::Hold {
                line, reservation, ..
            }) => self.ask(*line, variant::Command::Look { id: *reservation }),
            Some(_) | None => self.asks_of_work(),
        }
    }

    /// Goes on with the answers.
    pub(super) fn conclude_work(&self, answers: &[Answer], now: Timestamp) -> Next<Self> {
        let Some(work) = self.work.clone() else {
            return self.unchanged();
        };
        match &work.task {
            Task::Hold {
                line,
                reservation,
                quantity,
                new,
            } => {
                let asked = Asked {
                    line: *line,
                    reservation: *reservation,
                    quantity: *quantity,
                    new: *new,
                    by_shopper: work.by_shopper,
                };
                Turn::of(self).held(&asked, answers.first(), now)
            }
            Task::Resize { line, quantity } => {
                Turn::of(self).resized(*line, *quantity, &work, answers.first(), now)
            }
            Task::Remove { lines, abandon } => self.removed(lines, *abandon, &work, answers, now),
            Task::Undo {
                line,
                reservation,
                new,
            } => match answers.first().and_then(told) {
                Some(answer) if is_released(answer) => Turn::of(self).undone(*line, *reservation, *new, now),
                Some(_) | None => self.again(),
            },
            Task::Extend { .. } => self.extended(answers, now),
            Task::Look { lines, bought } => self.looked(lines, *bought, answers, now),
            Task::GiveBack { reservations } => self.gave_back(reservations, answers, now),
            Task::Merge(merge) => self.merge_went(merge, answers, now),
            Task::Checkout { order, .. } => self.checkout_went(order, answers, now),
        }
    }

    /// The same is asked again.
    pub(super) fn again(&self) -> Next<Self> {
        Turn::of(self).close(Verdict::Working)
    }

    /// Units for a line. Under an id that was asked for before, how that stands: a hold that was made under it and has been
    /// given back since must not rise again.
    pub(super) fn ask_to_hold(&self, line: LineId, reservation: ReservationId, quantity: u32) -> Vec<Ask> {
        let maybe_live = self.line(line).and_then(|line| line.hold.maybe_live());
        if maybe_live == Some(reservation) {
            return self.ask(line, variant::Command::Look { id: reservation });
        }
        let take = Reserve {
            id: reservation,
            quantity,
            shopper: self.shopper(),
            ttl_ms: None,
            allow_partial: false,
            terms: self.terms(),
            for_order: None,
        };
        self.ask(line, variant::Command::Take(take))
    }

    pub(super) fn ask(&self, line: LineId, command: variant::Command) -> Vec<Ask> {
        let to = self.line(line).map(|line| line.ordinal);
        let ask = to.map(|to| Ask::Variant {
            to,
            command: Box::new(command),
        });
        ask.into_iter().collect()
    }

    fn held_lines(&self) -> impl Iterator<Item = (&Line, Kept)> {
        let lines = self.lines.iter();
        lines.filter_map(|line| held(line).map(|kept| (line, kept)))
    }

    /// What is live of these lines.
    fn to_release(&self, lines: &[LineId]) -> impl Iterator<Item = (LineId, ReservationId)> {
        let lines = lines.iter().filter_map(|line| self.line(*line));
        lines.filter_map(|line| held(line).map(|kept| (line.id, kept.reservation)))
    }

    fn removed(
        &self,
        lines: &[LineId],
        abandon: bool,
        work: &Work,
        answers: &[Answer],
        now: Timestamp,
    ) -> Next<Self> {
        // What was asked for before this work was begun has ended by itself after the longest ttl.
        let over = work.begun_at.saturating_add(self.policy.max_ttl_ms) <= now;
        let gone = |((line, _), answer): ((LineId, ReservationId), &Answer)| {
            let due = self.line(line).is_some_and(|line| line.hold.is_due(now));
            due || over || told(answer).is_some_and(is_released)
        };
        if !self.to_release(lines).zip(answers).all(gone) {
            return self.again();
        }
        let mut turn = Turn::of(self);
        turn.take_out(lines, abandon, now, work.by_shopper);
        turn.done()
    }

    /// Every held line is asked about.
    pub(super) fn look_at_holds(&self, now: Timestamp) -> Option<Next<Self>> {
        let lines: Vec<LineId> = self.held_lines().map(|(line, _)| line.id).collect();
        let asks = self.status == Status::Active && !lines.is_empty();
        let bought = false;
        asks.then(|| Turn::of(self).begin(Task::Look { lines, bought }, None, now, false))
    }

    /// These lines, and what may be live of each.
    fn looked_at(&self, lines: &[LineId]) -> impl Iterator<Item = (&Line, ReservationId)> {
        let lines = self.lines.iter().filter(|line| lines.contains(&line.id));
        lines.filter_map(|line| line.hold.maybe_live().map(|id| (line, id)))
    }

    fn looked(&self, lines: &[LineId], bought: bool, answers: &[Answer], now: Timestamp) -> Next<Self> {
        let mut turn = Turn::of(self);
        for ((line, id), answer) in self.looked_at(lines).zip(answers) {
            match told(answer) {
                Some(Told::Hold(hold)) => turn.seen(line, hold, quote(answer), now),
                Some(Told::Refused(refusal)) if is_over(refusal) => {
                    if bought || told(answer).is_some_and(is_sold) {
                        turn.remove(line.id);
                        turn.say(Happened::LineRemoved(line.id));
                    } else {
                        turn.end_line(line.id, held(line).unwrap_or_else(|| never_held(id, now)));
                    }
                }
                // It was bought; what may be left of its hold is given back, or it would be held, and bought, once more.
                Some(Told::Nothing | Told::Refused(_)) | None if bought => turn.leave(line.id, now),
                Some(Told::Refused(variant::Refusal::OwnedByOrder { .. })) => {}
                Some(Told::Nothing | Told::Refused(_)) | None => turn.unconfirmed(line.id, id, now),
            }
        }
        if turn.after.lines != self.lines {
            turn.changed();
        }
        turn.done()
    }

    /// Who does not answer is asked again later, until what may be there has ended by itself.
    fn gave_back(&self, reservations: &[ReservationId], answers: &[Answer], now: Timestamp) -> Next<Self> {
        let mut turn = Turn::of(self);
        for (id, answer) in reservations.iter().zip(answers) {
            let over = id.created_at().saturating_add(self.policy.max_ttl_ms) <= now;
            let gone = match told(answer) {
                // What is an order's is not the cart's to give back.
                Some(Told::Refused(variant::Refusal::OwnedByOrder { .. })) => true,
                Some(told) => is_released(told),
                None => false,
            };
            if gone || over {
                turn.after.strays.retain(|stray| stray.reservation != *id);
                continue;
            }
            for stray in turn
                .after
                .strays
                .iter_mut()
                .filter(|stray| stray.reservation == *id)
            {
                stray.again_at = again_at(stray.tries, now);
                stray.tries = stray.tries.saturating_add(1);
            }
        }
        turn.done()
    }

    fn extended(&self, answers: &[Answer], now: Timestamp) -> Next<Self> {
        let mut turn = Turn::of(self);
        let mut moved = false;
        let mut refused = None;
        let mut unanswered = false;
        for ((line, kept), answer) in self.held_lines().zip(answers) {
            match told(answer) {
                Some(Told::Hold(hold)) if hold.status == HoldStatus::Active => {
                    moved |= hold.expires_at > kept.expires_at;
                    turn.follow(line.id, hold);
                    turn.say(Happened::LineChanged(line.id));
                }
                Some(Told::Hold(hold)) => turn.follow(line.id, hold),
                Some(Told::Nothing) => turn.end_line(line.id, kept),
                Some(Told::Refused(refusal)) => {
                    if told(answer).is_some_and(is_sold) {
                        turn.was_sold(line.id);
                    } else if is_over(refusal) {
                        turn.end_line(line.id, kept);
                    } else {
                        turn.say(Happened::NotExtended(line.id, why_not_extended(refusal)));
                    }
                    refused.get_or_insert_with(|| Refusal::Line {
                        variant: line.variant.clone(),
                        refusal: refusal.clone(),
                    });
                }
                // It was extended or not: the variant is asked how the hold stands.
                None => {
                    unanswered = true;
                    turn.unconfirmed(line.id, kept.reservation, now);
                }
            }
        }
        if moved {
            turn.say(Happened::Extended);
            turn.touched(now);
            return turn.done();
        }
        if unanswered {
            turn.changed();
            return turn.refused(Refusal::Unanswered);
        }
        match refused {
            Some(refusal) => turn.refused(refusal),
            None => turn.done(),
        }
    }
}

/// A hold that was asked for.
struct Asked {
    line: LineId,
    reservation: ReservationId,
    quantity: u32,
    new: bool,
    by_shopper: bool,
}

impl Turn {
    /// A variant was asked to hold units for a line.
    fn held(mut self, asked: &Asked, answer: Option<&Answer>, now: Timestamp) -> Next<Cart> {
        let Some(Answer::Variant { told, quote }) = answer else {
            self.line(asked.line).quantity = asked.quantity;
            self.forget_price(asked);
            return self.asked_later(asked, now);
        };
        match told {
            Told::Hold(hold) if hold.status == HoldStatus::Active => self.got(asked, hold, *quote, now),
            Told::Hold(hold) => self.not_held(asked, &hold.ended_refusal(), now),
            Told::Nothing if self.other_currency(asked.line, *quote) => {
                let variant = self.line(asked.line).variant.clone();
                self.let_go(asked, Refusal::OtherCurrency { variant }, now)
            }
            Told::Nothing => {
                let line = self.line(asked.line);
                line.quantity = asked.quantity;
                line.hold = LineHold::None;
                line.unit_price = quote.and_then(|quote| quote.price);
                self.say(Happened::LineHeld(asked.line));
                self.settled(asked, now)
            }
            Told::Refused(refusal) => self.not_held(asked, refusal, now),
        }
    }

    fn got(mut self, asked: &Asked, hold: &Hold, quote: Option<Quote>, now: Timestamp) -> Next<Cart> {
        let resumed = self.resumes(asked);
        if !resumed && self.other_currency(asked.line, quote) {
            return self.go_on(Task::Undo {
                line: asked.line,
                reservation: asked.reservation,
                new: asked.new,
            });
        }
        self.follow(asked.line, hold);
        if !resumed {
            self.line(asked.line).unit_price = quote.and_then(|quote| quote.price);
        }
        self.say(Happened::LineHeld(asked.line));
        if hold.quantity != asked.quantity {
            // It was held before, with the quantity of then.
            return self.go_on(Task::Resize {
                line: asked.line,
                quantity: asked.quantity,
            });
        }
        self.settled(asked, now)
    }

    fn not_held(mut self, asked: &Asked, refusal: &variant::Refusal, now: Timestamp) -> Next<Cart> {
        // An earlier try whose answer was lost used the id up, or never arrived.
        let used_up = matches!(
            refusal,
            variant::Refusal::ReservationExpired { .. }
                | variant::Refusal::ReservationReleased { .. }
                | variant::Refusal::ReservationNotFound
        );
        if used_up {
            return self.go_on(Task::Hold {
                line: asked.line,
                reservation: asked.reservation.successor(now),
                quantity: asked.quantity,
                new: asked.new,
            });
        }
        if !asked.new && matches!(refusal, variant::Refusal::ReservationConfirmed { .. }) {
            return self.was_bought(asked.line, refusal);
        }
        let for_a_moment = matches!(
            refusal,
            variant::Refusal::InsufficientStock { contended: true, .. }
                | variant::Refusal::InFlight
                | variant::Refusal::OwnedByOrder { .. }
        );
        if for_a_moment && !asked.by_shopper {
            return self.asked_later(asked, now);
        }
        if matches!(refusal, variant::Refusal::InFlight) {
            // Somebody has the hold in hand that an earlier try made: it is looked at until they let go.
            self.line(asked.line).hold = LineHold::Unconfirmed {
                reservation: asked.reservation,
                again_at: now,
                tries: 1,
            };
            return self.close(Verdict::Working);
        }
        let variant = self.line(asked.line).variant.clone();
        let refusal = refusal.clone();
        self.let_go(asked, Refusal::Line { variant, refusal }, now)
    }

    fn asked_later(mut self, asked: &Asked, now: Timestamp) -> Next<Cart> {
        self.unconfirmed(asked.line, asked.reservation, now);
        if asked.by_shopper {
            return self.settled(asked, now);
        }
        self.done()
    }

    /// Nothing is held under the id asked for: a new line leaves, another is as it was. One that was to be confirmed in the
    /// background has its answer.
    fn let_go(mut self, asked: &Asked, refusal: Refusal, now: Timestamp) -> Next<Cart> {
        self.say(Happened::LineRefused(asked.line));
        if asked.new {
            self.remove(asked.line);
        } else if !asked.by_shopper {
            self.end_line(asked.line, never_held(asked.reservation, now));
            self.changed();
        }
        self.refused(refusal)
    }

    /// A shopper's line is in; a cart that did not exist does now.
    fn settled(mut self, asked: &Asked, now: Timestamp) -> Next<Cart> {
        if !self.after.exists() {
            self.happened.insert(0, Happened::Created);
        }
        self.changed_by(asked.by_shopper, now);
        self.done()
    }

    fn undone(mut self, line: LineId, reservation: ReservationId, new: bool, now: Timestamp) -> Next<Cart> {
        let variant = self.line(line).variant.clone();
        self.say(Happened::LineRefused(line));
        if new {
            self.remove(line);
        } else if matches!(self.line(line).hold, LineHold::Unconfirmed { .. }) {
            self.end_line(line, never_held(reservation, now));
            self.changed();
        }
        self.refused(Refusal::OtherCurrency { variant })
    }

    /// A variant was asked to change how many units a line holds.
    fn resized(
        mut self,
        line: LineId,
        quantity: u32,
        work: &Work,
        answer: Option<&Answer>,
        now: Timestamp,
    ) -> Next<Cart> {
        let Some(kept) = held(self.line(line)) else {
            return self.done();
        };
        match answer.and_then(told) {
            // It has that many units or not: the variant is asked how the hold stands.
            None => {
                self.line(line).quantity = quantity;
                self.unconfirmed(line, kept.reservation, now);
                self.changed_by(work.by_shopper, now);
                self.done()
            }
            Some(Told::Hold(hold)) if hold.status == HoldStatus::Active => {
                self.follow(line, hold);
                self.say(Happened::LineChanged(line));
                self.changed_by(work.by_shopper, now);
                self.done()
            }
            // It ended without the cart's knowledge: units are held anew.
            Some(Told::Hold(_) | Told::Nothing) => self.hold_anew(line, kept, quantity, now),
            Some(Told::Refused(refusal @ variant::Refusal::ReservationConfirmed { .. })) => {
                self.was_bought(line, refusal)
            }
            Some(Told::Refused(refusal)) if is_over(refusal) => self.hold_anew(line, kept, quantity, now),
            Some(Told::Refused(refusal)) => {
                self.say(Happened::LineRefused(line));
                let variant = self.line(line).variant.clone();
                let refusal = refusal.clone();
                self.refused(Refusal::Line { variant, refusal })
            }
        }
    }

    /// The units were bought meanwhile: the line leaves, or it would be bought twice.
    fn was_bought(mut self, line: LineId, refusal: &variant::Refusal) -> Next<Cart> {
        let refusal = self.bought(line, refusal);
        self.refused(refusal)
    }

    fn hold_anew(mut self, line: LineId, kept: Kept, quantity: u32, now: Timestamp) -> Next<Cart> {
        self.line(line).hold = LineHold::Ended(kept);
        self.say(Happened::LineEnded(line));
        self.go_on(Task::Hold {
            line,
            reservation: kept.reservation.successor(now),
            quantity,
            new: false,
        })
    }

    /// Whether the hold asked for is one that the line had before, and whose price is locked.
    fn resumes(&self, asked: &Asked) -> bool {
        let line = self.after.line(asked.line);
        line.is_some_and(|line| {
            let same = matches!(line.hold, LineHold::Unconfirmed { reservation, .. } if reservation == asked.reservation);
            same && line.unit_price.is_some()
        })
    }

    /// A hold that may have been made has a price the cart was not told.
    fn forget_price(&mut self, asked: &Asked) {
        if !self.resumes(asked) {
            self.line(asked.line).unit_price = None;
        }
    }

    /// A line's hold stands like this. One whose word was lost has no price yet; it gets one, or leaves a cart of another currency.
    fn seen(&mut self, line: &Line, hold: &Hold, quote: Option<Quote>, now: Timestamp) {
        let is_new = line.unit_price.is_none() && hold.status == HoldStatus::Active;
        if is_new && self.other_currency(line.id, quote) {
            return self.leave(line.id, now);
        }
        self.follow(line.id, hold);
        if is_new {
            self.line(line.id).unit_price = quote.and_then(|quote| quote.price);
        }
    }

    /// Whether the variant is priced in another currency than the other lines.
    pub(super) fn other_currency(&self, line: LineId, quote: Option<Quote>) -> bool {
        let price = quote.and_then(|quote| quote.price);
        let mut others = self.after.lines.iter().filter(|other| other.id != line);
        let cart = others.find_map(|other| other.unit_price);
        price
            .zip(cart)
            .is_some_and(|(price, cart)| price.currency != cart.currency)
    }
}

/// The hold the cart believes in.
pub(super) fn held(line: &Line) -> Option<Kept> {
    match line.hold {
        LineHold::Held(kept) => Some(kept),
        LineHold::None | LineHold::Ended(_) | LineHold::Unconfirmed { .. } => None,
    }
}

/// What a variant told; nothing when it was not reached.
pub(super) fn told(answer: &Answer) -> Option<&Told> {
    match answer {
        Answer::Variant { told, .. } => Some(told),
        Answer::Cart(_) | Answer::Order(_) | Answer::Unanswered => None,
    }
}

/// What a variant said of itself.
fn quote(answer: &Answer) -> Option<Quote> {
    match answer {
        Answer::Variant { quote, .. } => *quote,
        Answer::Cart(_) | Answer::Order(_) | Answer::Unanswered => None,
    }
}

/// Whether nothing is held any more under the id that was to be released.
pub(super) fn is_released(told: &Told) -> bool {
    match told {
        Told::Hold(hold) => hold.status != HoldStatus::Active && hold.status != HoldStatus::Tentative,
        Told::Nothing => true,
        Told::Refused(refusal) => is_over(refusal),
    }
}

/// Whether what was held under the id was sold.
pub(super) fn is_sold(told: &Told) -> bool {
    match told {
        Told::Hold(hold) => hold.status == HoldStatus::Confirmed,
        Told::Refused(refusal) => matches!(refusal, variant::Refusal::ReservationConfirmed { .. }),
        Told::Nothing => false,
    }
}

/// Why a hold that lives got no more time.
fn why_not_extended(refusal: &variant::Refusal) -> NotExtended {
    use variant::Refusal as Of;
    match refusal {
        Of::SaleNotOpen { .. } => NotExtended::SaleNotOpen,
        Of::InFlight => NotExtended::InFlight,
        Of::OwnedByOrder { .. } => NotExtended::OwnedByOrder,
        // An extension is refused for nothing else while the hold lives.
        Of::ExtensionLimit { .. }
        | Of::VariantNotFound
        | Of::AlreadyExists
        | Of::ReservationNotFound
        | Of::InsufficientStock { .. }
        | Of::LimitReached { .. }
        | Of::AlreadyHeld { .. }
        | Of::TtlTooLong { .. }
        | Of::ReservationExpired { .. }
        | Of::ReservationReleased { .. }
        | Of::ReservationConfirmed { .. }
        | Of::NotConfirmed
        | Of::QuantityExceeds { .. }
        | Of::BelowHeld { .. }
        | Of::ExpectedMismatch { .. }
        | Of::VersionMismatch { .. }
        | Of::HasActiveHolds { .. }
        | Of::OutOfRange => NotExtended::Limit,
    }
}
