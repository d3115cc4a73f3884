//! A merge: the other cart stands still and names its lines, its holds move over one by one, then it is told to end.
//!
//! ```text
//!  this cart                       the other cart
//!  Freezing  ── Freeze ──────────► merging            refused, lost: Ending (not merged)
//!  Moving    ── per line: Fold, Rehome or nothing to ask; Release where there is no room
//!  Ending    ── Thaw ────────────► merged, or active again
//! ```
//! Holds are never given back and taken again. What is taken over leaves `Moving`'s list with the record that says so, so
//! that a line is asked about again only until its answer is known.
use super::{
    Capped, Cart, Happened, Kept, Line, LineHold, LineId, Merge, MergeStage, MergeStrategy, Refusal, Status,
    Task,
    turn::{Turn, is_over},
    work::{held, is_released, is_sold, told},
};
use crate::domain::{
    agent::{Answer, Ask, Next, Told, Verdict},
    ids::{CartId, ReservationId},
    time::Timestamp,
    variant::{self, Hold, HoldStatus},
};

// --- the cart that is taken over ---

impl Cart {
    /// Another cart takes over the lines.
    pub(super) fn freeze(&self, into: &CartId, now: Timestamp) -> Result<Next<Self>, Refusal> {
        match &self.status {
            Status::Merging { into: other } | Status::Merged { into: other } if other == into => {
                return Ok(self.unchanged());
            }
            Status::Active
            | Status::CheckingOut { .. }
            | Status::Ordered { .. }
            | Status::Merging { .. }
            | Status::Merged { .. }
            | Status::Abandoned => {}
        }
        if self.work.is_some() {
            return Err(Refusal::Busy);
        }
        self.expect_active()?;
        let mut turn = Turn::of(self);
        turn.end_due(now);
        turn.after.status = Status::Merging { into: into.clone() };
        turn.say(Happened::Frozen);
        Ok(turn.done())
    }

    /// The other cart has the lines, or goes on without.
    pub(super) fn thaw(&self, into: &CartId, merged: bool, now: Timestamp) -> Next<Self> {
        if !matches!(&self.status, Status::Merging { into: other } if other == into) {
            return self.unchanged();
        }
        let mut turn = Turn::of(self);
        if merged {
            turn.after.lines.clear();
            turn.end(Status::Merged { into: into.clone() }, now);
            turn.say(Happened::MergedInto(into.clone()));
            turn.changed();
        } else {
            turn.after.status = Status::Active;
            turn.end_due(now);
        }
        turn.done()
    }
}

// --- the cart that takes over ---

/// What becomes of one line of the other cart.
struct Plan {
    /// Units both carts want together.
    wanted: u32,
    /// Units there is room for under the store's limit.
    quantity: u32,
    step: Step,
}

enum Step {
    /// The variant is asked.
    Ask(Box<variant::Command>),
    /// Nothing is held for it: only the cart changes.
    Here,
    /// There is no room for it.
    Surplus,
}

impl Cart {
    pub(super) fn asks_of_merge(&self, merge: &Merge) -> Vec<Ask> {
        let ask_cart = |command| {
            vec![Ask::Cart {
                to: merge.from.clone(),
                command: Box::new(command),
            }]
        };
        let into = self.id.clone();
        match &merge.stage {
            MergeStage::Freezing => ask_cart(super::Command::Freeze { into }),
            MergeStage::Ending { merged } => ask_cart(super::Command::Thaw {
                into,
                merged: *merged,
            }),
            MergeStage::Moving { lines, surplus } => {
                let moves = self.asked_lines(merge.strategy, lines);
                let releases = surplus.iter().filter_map(|line| {
                    let id = line.hold.maybe_live()?;
                    Some((line, Box::new(variant::Command::Release { id })))
                });
                let asks = moves.chain(releases).map(|(line, command)| Ask::Variant {
                    to: line.ordinal,
                    command,
                });
                asks.collect()
            }
        }
    }

    /// The lines whose variants are asked, and what.
    fn asked_lines<'a>(
        &self,
        strategy: MergeStrategy,
        lines: &'a [Line],
    ) -> impl Iterator<Item = (&'a Line, Box<variant::Command>)> {
        let plans = self.plan(strategy, lines);
        lines
            .iter()
            .zip(plans)
            .filter_map(|(line, plan)| match plan.step {
                Step::Ask(command) => Some((line, command)),
                Step::Here | Step::Surplus => None,
            })
    }

    /// What becomes of each line, in order; the units the store allows in one order go to the first.
    fn plan(&self, strategy: MergeStrategy, lines: &[Line]) -> Vec<Plan> {
        let limit = self.policy.limits.units_per_order;
        let mut room = limit.map_or(u32::MAX, |limit| {
            limit.saturating_sub(u32::try_from(self.units()).unwrap_or(u32::MAX))
        });
        let mut plan = |other: &Line| {
            let own = self.line_of(other.ordinal);
            let has = own.map_or(0, |own| own.quantity);
            let wanted = match (own, strategy) {
                (None, _) => other.quantity,
                (Some(own), MergeStrategy::Sum) => own.quantity.saturating_add(other.quantity),
                (Some(own), MergeStrategy::Max) => own.quantity.max(other.quantity),
                (Some(own), MergeStrategy::Keep) => own.quantity,
            };
            let more = (wanted - has).min(room);
            room -= if limit.is_some() { more } else { 0 };
            let quantity = has + more;
            Plan {
                wanted,
                quantity,
                step: self.step(own, other, quantity),
            }
        };
        lines.iter().map(&mut plan).collect()
    }

    fn step(&self, own: Option<&Line>, other: &Line, quantity: u32) -> Step {
        let live = own.and_then(|own| own.hold.maybe_live());
        let terms = self.terms();
        let ask = |command| Step::Ask(Box::new(command));
        match (live, other.hold.maybe_live()) {
            _ if quantity == 0 => Step::Surplus,
            (Some(into), from @ Some(_)) => ask(variant::Command::Fold {
                into,
                from,
                quantity,
                terms,
                seen: own.and_then(held).map(|kept| kept.version),
            }),
            (None, Some(id)) => ask(variant::Command::Rehome {
                id,
                shopper: self.shopper(),
                quantity,
                terms,
            }),
            (Some(into), None) if own.is_some_and(|own| own.quantity != quantity && is_held(own)) => {
                ask(variant::Command::Fold {
                    into,
                    from: None,
                    quantity,
                    terms,
                    seen: own.and_then(held).map(|kept| kept.version),
                })
            }
            (Some(_) | None, None) => Step::Here,
        }
    }

    pub(super) fn merge_went(&self, merge: &Merge, answers: &[Answer], now: Timestamp) -> Next<Self> {
        match &merge.stage {
            MergeStage::Freezing => self.froze(merge, answers.first(), now),
            MergeStage::Moving { lines, surplus } => self.moved(merge, lines, surplus, answers, now),
            MergeStage::Ending { .. } => match answers.first() {
                Some(Answer::Cart(_)) => Turn::of(self).done(),
                Some(Answer::Variant { .. } | Answer::Order(_) | Answer::Unanswered) | None => self.again(),
            },
        }
    }

    fn froze(&self, merge: &Merge, answer: Option<&Answer>, now: Timestamp) -> Next<Self> {
        let turn = Turn::of(self);
        let other = match answer {
            Some(Answer::Cart(Ok(other))) => other,
            // It stands still as it was.
            Some(Answer::Cart(Err(refusal))) => {
                let refusal = match refusal {
                    Refusal::Busy => Refusal::Busy,
                    Refusal::Merged { .. } => conflict("it was merged into another cart"),
                    Refusal::NotFound => unknown(),
                    Refusal::LineNotFound { .. }
                    | Refusal::Line { .. }
                    | Refusal::LinesUnavailable { .. }
                    | Refusal::Empty
                    | Refusal::LinesLimit { .. }
                    | Refusal::UnitsLimit { .. }
                    | Refusal::OtherCurrency { .. }
                    | Refusal::CheckingOut { .. }
                    | Refusal::Ordered { .. }
                    | Refusal::Abandoned
                    | Refusal::MergeConflict { .. }
                    | Refusal::Unanswered => conflict("the other cart is not active"),
                };
                return turn.refused(refusal);
            }
            Some(Answer::Variant { .. } | Answer::Order(_) | Answer::Unanswered) | None => {
                return turn.part(merge, Refusal::Unanswered);
            }
        };
        if matches!(&other.status, Status::Merged { into } if *into == self.id) {
            return turn.done();
        }
        if let Err(refusal) = self.expect_mergeable(other) {
            return turn.part(merge, refusal);
        }
        turn.advance(merge.clone(), other.lines.clone(), Vec::new(), now)
    }

    fn expect_mergeable(&self, other: &Self) -> Result<(), Refusal> {
        if other.store != self.store {
            return Err(unknown()); // To this store there is no such cart.
        }
        if other.customer.is_some() && other.customer != self.customer {
            return Err(conflict("it is another customer's"));
        }
        let limit = self.policy.limits.lines_per_cart;
        let new = other
            .lines
            .iter()
            .filter(|line| self.line_of(line.ordinal).is_none());
        if self.lines.len() + new.count() > limit as usize {
            return Err(Refusal::LinesLimit { limit });
        }
        match (self.currency(), other.currency()) {
            (Some(own), Some(theirs)) if own != theirs => Err(conflict("it is priced in another currency")),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    fn moved(
        &self,
        merge: &Merge,
        lines: &[Line],
        surplus: &[Line],
        answers: &[Answer],
        now: Timestamp,
    ) -> Next<Self> {
        let mut turn = Turn::of(self);
        let mut merge = merge.clone();
        let mut left = Vec::new();
        let mut no_room = Vec::new();
        let mut answers = answers.iter();
        for (line, plan) in lines.iter().zip(self.plan(merge.strategy, lines)) {
            let answer = match plan.step {
                Step::Ask(_) => answers.next().and_then(told),
                Step::Here | Step::Surplus => None,
            };
            match turn.line_moved(line, &plan, answer, now) {
                Moved::Over(capped) => merge.capped.extend(capped),
                Moved::Left(line) => left.push(line),
                Moved::Surplus(capped) => {
                    merge.capped.push(capped);
                    no_room.push(line.clone());
                }
            }
        }
        let held = surplus.iter().filter(|line| line.hold.maybe_live().is_some());
        let still = held.filter(|line| {
            let answer = answers.next().and_then(told);
            !line.hold.is_due(now) && !answer.is_some_and(is_released)
        });
        no_room.extend(still.cloned());
        turn.advance(merge, left, no_room, now)
    }
}

/// What became of a line whose variant was asked.
enum Moved {
    /// This cart has it.
    Over(Option<Capped>),
    /// It is asked about again, as it stands now.
    Left(Line),
    /// It finds no room here.
    Surplus(Capped),
}

impl Turn {
    /// The carts part: the other one goes on by itself.
    fn part(mut self, merge: &Merge, refusal: Refusal) -> Next<Cart> {
        self.ending(merge, false);
        self.close(Verdict::Refused(refusal))
    }

    /// The other cart is told. Whoever asked has the answer with this record, so that the key is in it, not in the last.
    fn ending(&mut self, merge: &Merge, merged: bool) {
        let Some(work) = &mut self.after.work else { return };
        work.key = None;
        work.task = Task::Merge(Merge {
            stage: MergeStage::Ending { merged },
            capped: Vec::new(),
            ..merge.clone()
        });
    }

    /// Takes over what needs no asking; goes on with the rest, or says that all is here.
    fn advance(
        mut self,
        mut merge: Merge,
        lines: Vec<Line>,
        surplus: Vec<Line>,
        now: Timestamp,
    ) -> Next<Cart> {
        let mut left = Vec::new();
        let mut no_room = surplus;
        let lines: Vec<Line> = lines.into_iter().map(|line| as_of(line, now)).collect();
        for (line, plan) in lines.iter().zip(self.after.plan(merge.strategy, &lines)) {
            match plan.step {
                Step::Ask(_) => left.push(line.clone()),
                Step::Here => merge.capped.extend(self.over(line, &plan, None)),
                Step::Surplus => {
                    merge.capped.push(capped(line, plan.wanted, 0));
                    no_room.push(line.clone());
                }
            }
        }
        no_room.retain(|line| line.hold.maybe_live().is_some());
        if !left.is_empty() || !no_room.is_empty() {
            merge.stage = MergeStage::Moving {
                lines: left,
                surplus: no_room,
            };
            return self.go_on(Task::Merge(merge));
        }
        self.say(Happened::TookOver(merge.from.clone()));
        for capped in &merge.capped {
            self.say(Happened::Capped(capped.clone()));
        }
        self.touched(now);
        self.ending(&merge, true);
        self.close(Verdict::Done)
    }

    fn line_moved(&mut self, line: &Line, plan: &Plan, answer: Option<&Told>, now: Timestamp) -> Moved {
        let own = self.after.line_of(line.ordinal).map(|own| (own.id, own.quantity));
        match answer {
            // By the clock it may have ended meanwhile; then there is less to ask.
            None => {
                if let Some((own, _)) = own.filter(|(own, _)| self.line(*own).hold.is_due(now)) {
                    self.not_there(own, now);
                }
                Moved::Left(line.clone())
            }
            Some(Told::Hold(hold)) if hold.status == HoldStatus::Active => {
                Moved::Over(self.over(line, plan, Some(hold)))
            }
            Some(Told::Refused(variant::Refusal::InFlight)) => Moved::Left(line.clone()),
            Some(Told::Refused(refusal)) if !is_over(refusal) => {
                let has = own.map_or(0, |(_, has)| has);
                Moved::Surplus(capped(line, plan.wanted, has))
            }
            // What was asked of is not there any more: this cart's hold, or the other's.
            Some(Told::Hold(_) | Told::Nothing | Told::Refused(_)) => {
                let folds =
                    matches!(&plan.step, Step::Ask(ask) if matches!(**ask, variant::Command::Fold { .. }));
                let sold = answer.is_some_and(is_sold);
                if let Some((own, _)) = own.filter(|_| folds) {
                    if sold {
                        self.was_sold(own);
                    } else {
                        self.not_there(own, now);
                    }
                    return Moved::Left(line.clone());
                }
                if sold {
                    // It stays behind, or it would be bought once more.
                    return Moved::Over(None);
                }
                Moved::Left(Line {
                    hold: gone(&line.hold, now),
                    ..line.clone()
                })
            }
        }
    }

    fn not_there(&mut self, own: LineId, now: Timestamp) {
        let line = self.line(own);
        line.hold = gone(&line.hold, now);
        if matches!(line.hold, LineHold::Ended(_)) {
            self.say(Happened::LineEnded(own));
        }
    }

    /// Takes a line over with the hold it has from now on, if any.
    fn over(&mut self, other: &Line, plan: &Plan, hold: Option<&Hold>) -> Option<Capped> {
        let quantity = hold.map_or(plan.quantity, |hold| hold.quantity);
        match self.after.line_of(other.ordinal).map(|own| own.id) {
            Some(own) => {
                let line = self.line(own);
                if let Some(hold) = hold {
                    if line.hold.maybe_live().is_none() || line.unit_price.is_none() {
                        line.unit_price = other.unit_price;
                    }
                    line.hold = LineHold::Held(Kept::from(hold));
                }
                if hold.is_some() || line.quantity != quantity {
                    line.quantity = quantity;
                    self.say(Happened::LineChanged(own));
                }
            }
            None => {
                let id = LineId(self.after.next_line);
                self.after.next_line += 1;
                self.after.lines.push(Line {
                    id,
                    quantity,
                    hold: hold.map_or_else(|| other.hold.clone(), |hold| LineHold::Held(Kept::from(hold))),
                    ..other.clone()
                });
                self.say(Happened::LineHeld(id));
            }
        }
        (quantity < plan.wanted).then(|| capped(other, plan.wanted, quantity))
    }
}

fn is_held(line: &Line) -> bool {
    matches!(line.hold, LineHold::Held(_))
}

fn capped(line: &Line, wanted: u32, got: u32) -> Capped {
    Capped {
        variant: line.variant.clone(),
        wanted,
        got,
    }
}

fn unknown() -> Refusal {
    conflict("there is no such cart")
}

fn conflict(why: &'static str) -> Refusal {
    Refusal::MergeConflict { why }
}

/// The line by the clock.
fn as_of(line: Line, now: Timestamp) -> Line {
    if line.hold.is_due(now) {
        let hold = gone(&line.hold, now);
        Line { hold, ..line }
    } else {
        line
    }
}

/// What stands behind a line whose hold is not there any more.
fn gone(hold: &LineHold, now: Timestamp) -> LineHold {
    let asked_anew = |reservation: ReservationId| LineHold::Unconfirmed {
        reservation: reservation.successor(now),
        again_at: now,
        tries: 0,
    };
    match hold {
        LineHold::Held(kept) => LineHold::Ended(*kept),
        LineHold::Unconfirmed { reservation, .. } => asked_anew(*reservation),
        LineHold::Ended(_) | LineHold::None => hold.clone(),
    }
}
