//! Judging a command: refusals first and in a fixed order; then it is done at once, or work begins.
use super::{
    Cart, Command, Happened, Kept, Line, LineHold, LineId, Merge, MergeStage, MergeStrategy, Refusal, Status,
    Task, turn::Turn,
};
use crate::domain::{
    agent::{Agent, Answer, Ask, Next, Told, Verdict},
    ids::{CartId, CustomerId, ReservationId, SessionId, VariantId, VariantOrdinal},
    key::KeyMark,
    law::Violation,
    policy::Policy,
    time::Timestamp,
    variant::{self, Hold, HoldStatus},
};

impl Agent for Cart {
    type Command = Command;
    type Happened = Happened;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, key: Option<KeyMark>, now: Timestamp) -> Result<Next<Self>, Refusal> {
        if self.waits(command) {
            return Err(Refusal::Busy);
        }
        match command {
            Command::Create {
                customer,
                session,
                policy,
            } => self.create(customer.as_ref(), session.as_ref(), policy, now),
            Command::Add {
                customer,
                session,
                variant,
                ordinal,
                quantity,
                campaign,
                reservation,
                policy,
            } => {
                let turn = if self.exists() {
                    self.shopping(policy, now)?
                } else {
                    self.born(customer.as_ref(), session.as_ref(), policy, now)
                };
                let added = Added {
                    variant,
                    ordinal: *ordinal,
                    quantity: *quantity,
                    campaign: campaign.as_ref(),
                    reservation: *reservation,
                };
                turn.add(&added, key, now)
            }
            Command::Change {
                line,
                quantity,
                reservation,
                policy,
            } => {
                let turn = self.shopping(policy, now)?;
                if turn.after.line(*line).is_none() {
                    return Err(Refusal::LineNotFound { line: *line });
                }
                turn.demand(*line, *quantity, *reservation, key, now)
            }
            Command::Remove { line } => {
                let turn = self.shopping(&self.policy, now)?;
                if turn.after.line(*line).is_none() {
                    return Err(Refusal::LineNotFound { line: *line });
                }
                Ok(turn.give_back(vec![*line], false, key, now, true))
            }
            Command::Delete if self.status == Status::Abandoned => Ok(self.unchanged()),
            Command::Delete => {
                let turn = self.shopping(&self.policy, now)?;
                let lines = turn.after.lines.iter().map(|line| line.id).collect();
                Ok(turn.give_back(lines, true, key, now, true))
            }
            Command::Extend { by_ms, policy } => self.shopping(policy, now)?.extend(*by_ms, key, now),
            Command::Merge {
                from,
                strategy,
                policy,
            } => self
                .shopping(policy, now)?
                .merge(from.clone(), *strategy, key, now),
            Command::Checkout {
                order,
                customer,
                grace_ms,
                policy,
            } => {
                let turn = self.shopping(policy, now)?;
                let task = Task::Checkout {
                    order: order.clone(),
                    customer: customer.clone(),
                    grace_ms: *grace_ms,
                };
                turn.check_out(task, order, key, now)
            }
            Command::Freeze { into } => self.freeze(into, now),
            Command::Thaw { into, merged } => Ok(self.thaw(into, *merged, now)),
            Command::OrderStands { order, reopen } => self.order_stands(order, *reopen, now),
            Command::HoldChanged(hold) => Ok(self.hold_changed(hold)),
            Command::HoldFound(hold) if self.is_stray(hold) => Ok(self.strays(hold.id, now)),
            Command::HoldFound(hold) => Ok(self.hold_changed(hold)),
            Command::HoldLost { reservation } => Ok(self.hold_lost(*reservation, now)),
        }
    }

    fn is_working(&self) -> bool {
        self.work.is_some()
    }

    /// Two carts that merge into each other must not wait for each other.
    fn waits(&self, command: &Command) -> bool {
        self.is_working() && !matches!(command, Command::Freeze { .. } | Command::Thaw { .. })
    }

    fn asks(&self) -> Vec<Ask> {
        self.asks_of_work()
    }

    fn asks_again(&self) -> Vec<Ask> {
        self.asks_of_resumed_work()
    }

    fn conclude(&self, answers: &[Answer], now: Timestamp) -> Next<Self> {
        self.conclude_work(answers, now)
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.next_lapse()
    }

    fn due(&self, now: Timestamp) -> Option<Next<Self>> {
        self.lapse(now)
    }

    fn look(&self, now: Timestamp) -> Option<Next<Self>> {
        self.look_at_holds(now)
    }

    fn word_of(answer: Answer) -> Option<Command> {
        match answer {
            Answer::Variant {
                told: Told::Hold(hold),
                ..
            } => Some(Command::HoldFound(hold)),
            Answer::Variant { .. } | Answer::Cart(_) | Answer::Order(_) | Answer::Unanswered => None,
        }
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_laws()
    }
}

/// What an add puts in.
struct Added<'a> {
    variant: &'a VariantId,
    ordinal: VariantOrdinal,
    quantity: u32,
    campaign: Option<&'a String>,
    reservation: ReservationId,
}

impl Cart {
    /// It has happened before, or is none of this cart's business.
    pub(super) fn unchanged(&self) -> Next<Self> {
        Turn::of(self).close(Verdict::Done)
    }

    /// Asked again it is the cart that is there, unless that one has ended.
    fn create(
        &self,
        customer: Option<&CustomerId>,
        session: Option<&SessionId>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Next<Self>, Refusal> {
        if self.ended_at.is_some() {
            self.expect_active()?;
        }
        if self.exists() {
            return Ok(self.unchanged());
        }
        let mut turn = self.born(customer, session, policy, now);
        turn.say(Happened::Created);
        turn.touched(now);
        Ok(turn.done())
    }

    /// The cart as it comes into being; it is there once something succeeded.
    fn born(
        &self,
        customer: Option<&CustomerId>,
        session: Option<&SessionId>,
        policy: &Policy,
        now: Timestamp,
    ) -> Turn {
        let mut turn = Turn::of(self);
        turn.after.customer = customer.cloned();
        turn.after.session = session.cloned();
        turn.after.policy = *policy;
        turn.after.created_at = now;
        turn.after.touched_at = now;
        turn
    }

    /// The shopper wants something of the cart: it must be theirs, and what has ended by now is said first.
    ///
    /// # Errors
    /// Why a cart that is not active refuses.
    fn shopping(&self, policy: &Policy, now: Timestamp) -> Result<Turn, Refusal> {
        self.expect_active()?;
        let mut turn = Turn::of(self);
        turn.after.policy = *policy;
        turn.end_due(now);
        Ok(turn)
    }

    pub(super) fn expect_active(&self) -> Result<(), Refusal> {
        if !self.exists() {
            return Err(Refusal::NotFound);
        }
        match &self.status {
            Status::Active => Ok(()),
            Status::CheckingOut { order } => Err(Refusal::CheckingOut { order: order.clone() }),
            Status::Ordered { order } => Err(Refusal::Ordered { order: order.clone() }),
            Status::Merging { .. } => Err(Refusal::Busy),
            Status::Merged { into } => Err(Refusal::Merged { into: into.clone() }),
            Status::Abandoned => Err(Refusal::Abandoned),
        }
    }

    /// Somebody else changed or ended one of the holds: the line follows, unless the cart knows better.
    fn hold_changed(&self, hold: &Hold) -> Next<Self> {
        let line = self.lines.iter().find(|line| match line.hold {
            LineHold::Held(kept) => kept.reservation == hold.id && kept.version < hold.version,
            // Of a living one it is asked: word that came late may be older than what was asked for since.
            LineHold::Unconfirmed { reservation, .. } => {
                reservation == hold.id && hold.status != HoldStatus::Active
            }
            LineHold::None | LineHold::Ended(_) => false,
        });
        let Some(line) = line else {
            return self.unchanged();
        };
        let mut turn = Turn::of(self);
        turn.follow(line.id, hold);
        if turn.after.lines == self.lines {
            return self.unchanged();
        }
        if turn.happened.is_empty() {
            turn.say(Happened::LineChanged(line.id));
        }
        turn.changed();
        turn.done()
    }
}

impl Cart {
    /// Whether the hold is the cart's and nothing accounts for it. While others have its lines it is not the cart that says.
    fn is_stray(&self, hold: &Hold) -> bool {
        let asked = matches!(self.status, Status::Active | Status::Abandoned) && self.exists();
        let its_own = hold.shopper.cart.as_ref() == Some(&self.id) && hold.order.is_none();
        let live = hold.status == HoldStatus::Active && hold.pin.is_none();
        asked && its_own && live && !self.accounts_for(hold.id)
    }

    fn strays(&self, reservation: ReservationId, now: Timestamp) -> Next<Self> {
        let mut turn = Turn::of(self);
        turn.stray(reservation, now);
        turn.done()
    }

    /// No variant keeps this hold: the line ends as if its deadline had come.
    fn hold_lost(&self, reservation: ReservationId, now: Timestamp) -> Next<Self> {
        let lost = self.lines.iter().find_map(|line| match line.hold {
            LineHold::Held(kept) if kept.reservation == reservation => Some((line.id, kept)),
            LineHold::None | LineHold::Held(_) | LineHold::Ended(_) | LineHold::Unconfirmed { .. } => None,
        });
        let Some((line, kept)) = lost else {
            return self.unchanged();
        };
        let mut turn = Turn::of(self);
        let expires_at = kept.expires_at.min(now);
        turn.end_line(line, Kept { expires_at, ..kept });
        turn.changed();
        turn.done()
    }
}

impl Turn {
    fn add(mut self, added: &Added<'_>, key: Option<KeyMark>, now: Timestamp) -> Result<Next<Cart>, Refusal> {
        if let Some(line) = self.after.line_of(added.ordinal) {
            let refusal = Refusal::Line {
                variant: line.variant.clone(),
                refusal: variant::Refusal::OutOfRange,
            };
            let together = line.quantity.checked_add(added.quantity).ok_or(refusal)?;
            let line = line.id;
            return self.demand(line, together, added.reservation, key, now);
        }
        let limit = self.after.policy.limits.lines_per_cart;
        if self.after.lines.len() >= limit as usize {
            return Err(Refusal::LinesLimit { limit });
        }
        self.expect_within_units(added.variant, 0, added.quantity)?;
        let line = LineId(self.after.next_line);
        self.after.next_line += 1;
        self.after.lines.push(Line {
            id: line,
            variant: added.variant.clone(),
            ordinal: added.ordinal,
            quantity: added.quantity,
            unit_price: None,
            campaign: added.campaign.cloned(),
            hold: LineHold::Unconfirmed {
                reservation: added.reservation,
                again_at: now,
                tries: 0,
            },
        });
        let task = Task::Hold {
            line,
            reservation: added.reservation,
            quantity: added.quantity,
            new: true,
        };
        Ok(self.begin(task, key, now, true))
    }

    /// The shopper wants so many units of a line from now on.
    fn demand(
        self,
        line: LineId,
        quantity: u32,
        fresh: ReservationId,
        key: Option<KeyMark>,
        now: Timestamp,
    ) -> Result<Next<Cart>, Refusal> {
        let found = self
            .after
            .line(line)
            .expect("looked up by whoever changes it")
            .clone();
        self.expect_within_units(&found.variant, found.quantity, quantity)?;
        let task = match found.hold {
            LineHold::Held(_) if quantity == found.quantity => return Ok(self.done()),
            LineHold::Held(_) => Task::Resize { line, quantity },
            LineHold::Ended(_) | LineHold::None => Task::Hold {
                line,
                reservation: fresh,
                quantity,
                new: false,
            },
            // The same id again: it may be held after all.
            LineHold::Unconfirmed { reservation, .. } => Task::Hold {
                line,
                reservation,
                quantity,
                new: false,
            },
        };
        Ok(self.begin(task, key, now, true))
    }

    fn expect_within_units(&self, variant: &VariantId, before: u32, wanted: u32) -> Result<(), Refusal> {
        if wanted == 0 {
            return Err(Refusal::Line {
                variant: variant.clone(),
                refusal: variant::Refusal::OutOfRange,
            });
        }
        let units = self.after.units() - u64::from(before) + u64::from(wanted);
        match self.after.policy.limits.units_per_order {
            Some(limit) if wanted > before && units > u64::from(limit) => {
                Err(Refusal::UnitsLimit { limit, wanted: units })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Lines leave; what is held for them is given back first.
    pub(super) fn give_back(
        mut self,
        lines: Vec<LineId>,
        abandon: bool,
        key: Option<KeyMark>,
        now: Timestamp,
        by_shopper: bool,
    ) -> Next<Cart> {
        let held = |id: &LineId| {
            let line = self.after.line(*id);
            line.is_some_and(|line| matches!(line.hold, LineHold::Held(_)))
        };
        if lines.iter().any(held) {
            return self.begin(Task::Remove { lines, abandon }, key, now, by_shopper);
        }
        self.take_out(&lines, abandon, now, by_shopper);
        self.done()
    }

    /// Takes lines out of which nothing is held any more, as far as anybody knows.
    pub(super) fn take_out(&mut self, lines: &[LineId], abandon: bool, now: Timestamp, by_shopper: bool) {
        for line in lines {
            // As far as anybody knows nothing is held there; whoever takes it out does not wait until it is known.
            if let LineHold::Unconfirmed {
                reservation, tries, ..
            } = self.line(*line).hold
                && tries > 0
            {
                self.stray(reservation, now);
            }
            self.remove(*line);
            self.say(Happened::LineRemoved(*line));
        }
        if abandon {
            self.end(Status::Abandoned, now);
            self.say(Happened::Abandoned);
        }
        self.changed_by(by_shopper, now);
    }

    fn extend(self, by_ms: Option<i64>, key: Option<KeyMark>, now: Timestamp) -> Result<Next<Cart>, Refusal> {
        let lines = &self.after.lines;
        if lines.is_empty() {
            return Err(Refusal::Empty);
        }
        if lines.iter().any(|line| matches!(line.hold, LineHold::Held(_))) {
            return Ok(self.begin(Task::Extend { by_ms }, key, now, true));
        }
        let ended = lines.iter().find_map(|line| match line.hold {
            LineHold::Ended(kept) => Some((line, kept)),
            LineHold::None | LineHold::Held(_) | LineHold::Unconfirmed { .. } => None,
        });
        match ended {
            Some((line, kept)) => Err(Refusal::Line {
                variant: line.variant.clone(),
                refusal: variant::Refusal::ReservationExpired { at: kept.expires_at },
            }),
            // Nothing here has a deadline.
            None => Ok(self.done()),
        }
    }

    fn merge(
        self,
        from: CartId,
        strategy: MergeStrategy,
        key: Option<KeyMark>,
        now: Timestamp,
    ) -> Result<Next<Cart>, Refusal> {
        if from == self.after.id {
            return Err(Refusal::MergeConflict {
                why: "a cart cannot be merged into itself",
            });
        }
        let merge = Merge {
            from,
            strategy,
            stage: MergeStage::Freezing,
            capped: Vec::new(),
        };
        Ok(self.begin(Task::Merge(merge), key, now, true))
    }
}
