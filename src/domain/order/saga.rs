//! The order's saga as a table: what each step asks, where it goes, and how it is undone. A step without an undo has been
//! decided: whoever does not answer is asked until they do.
use super::{
    Happened, Line, Movement, Order, Payment, Refund, RefundReason, Refusal, Status, Step, Then, Work,
};
use crate::domain::{
    agent::{Answer, Ask, Next, Told, Verdict},
    bulk::{Attempt, DECIDE_WITHIN_MS},
    cart,
    ids::{BulkId, ReservationId, VariantId},
    time::Timestamp,
    variant::{
        self, Command, ForOrder, Fulfilment, Hold, HoldStatus, OrderStep, Prepare, Reserve, Shopper,
        settled_for,
    },
};

/// The try of payments that come late; each has reservations of its own.
const LATE_ATTEMPT: u32 = 3;

/// How long a returned reservation stays within its variant's reach, ms.
const KEEP_MS: i64 = 24 * 60 * 60 * 1000;

/// Who stands in the ledger when the order itself gives units back.
const BY_ORDER: &str = "order";

/// A row of the table.
struct Row {
    /// Which lines are asked, by their place.
    asked: fn(&Order, &Work) -> Vec<usize>,
    /// What each of them is asked.
    ask: fn(&Order, &Work, usize) -> Command,
    /// Where it goes when everybody has answered.
    went: fn(&Order, &Work, &[Told], Timestamp) -> Next<Order>,
    /// What it comes to when somebody says no, or does not answer.
    undo: Option<Undo>,
}

/// Lines that said no, and why.
pub(super) type Refused = Vec<(VariantId, variant::Refusal)>;
type Undo = fn(&Order, &Work, Refused, Timestamp) -> Next<Order>;

/// The table. The cart is told by [`asks`] itself, for it is no line.
fn row(step: &Step) -> Row {
    let every: fn(&Order, &Work) -> Vec<usize> = |order, _| (0..order.lines.len()).collect();
    match step {
        Step::Taking { .. } => Row {
            asked: taken,
            ask: take,
            went: took,
            undo: Some(refuse),
        },
        Step::Retaking { .. } => Row {
            asked: retaken,
            ask: retake,
            went: retook,
            undo: Some(ask_back),
        },
        Step::Settling { .. } => Row {
            asked: every,
            ask: settle,
            went: has_settled,
            undo: None,
        },
        Step::Confirming => Row {
            asked: every,
            ask: sell,
            went: sold,
            undo: None,
        },
        Step::GivingBack { .. } => Row {
            asked: every,
            ask: give_back,
            went: given_back,
            undo: None,
        },
        Step::Moving { .. } => Row {
            asked: moving,
            ask: move_to,
            went: moved,
            undo: None,
        },
        Step::TellingCart { .. } => Row {
            asked: |_, _| Vec::new(),
            ask: settle,
            went: |order, _, _, _| done(order.idle(), vec![Happened::Went]),
            undo: None,
        },
    }
}

impl Order {
    pub(super) fn asks_of(&self, work: &Work) -> Vec<Ask> {
        if let Step::TellingCart { reopen } = work.step {
            let order = Box::new(self.idle());
            return vec![Ask::Cart {
                to: self.cart.clone(),
                command: Box::new(cart::Command::OrderStands { order, reopen }),
            }];
        }
        let row = row(&work.step);
        let ask = |at: usize| Ask::Variant {
            to: self.lines[at].ordinal,
            command: Box::new((row.ask)(self, work, at)),
        };
        (row.asked)(self, work).into_iter().map(ask).collect()
    }

    pub(super) fn goes(&self, work: &Work, answers: &[Answer], now: Timestamp) -> Next<Self> {
        let row = row(&work.step);
        let told: Option<Vec<Told>> = answers.iter().map(told).collect();
        let Some(undo) = row.undo else {
            return match told {
                // In another's hands for a moment, or not answered: asked again.
                Some(told) if !told.contains(&IN_FLIGHT) => (row.went)(self, work, &told, now),
                Some(_) | None => waiting(self),
            };
        };
        let asked = (row.asked)(self, work);
        let noes = self.noes(&asked, answers);
        let in_time = now.since(work.begun_at) < DECIDE_WITHIN_MS;
        let retaking = matches!(work.step, Step::Retaking { .. });
        let contended = noes.iter().any(|(_, no)| is_contended(no));
        if (contended || told.is_none()) && in_time && (retaking || self.waits_in_order(work, &noes)) {
            return waiting(self);
        }
        match told {
            Some(told) if noes.is_empty() && retaking => (row.went)(self, work, &told, now),
            Some(told) if noes.is_empty() => (row.went)(&self.priced(&asked, answers), work, &told, now),
            Some(_) if !retaking && self.may_try_again(work, &noes, in_time) => {
                self.try_again(work, &noes, now)
            }
            Some(_) | None => {
                let named = |(at, no): (usize, variant::Refusal)| (self.lines[at].variant.clone(), no);
                undo(self, work, noes.into_iter().map(named).collect(), now)
            }
        }
    }

    /// The lines that said no, and those that promised another number of units than the order has.
    fn noes(&self, asked: &[usize], answers: &[Answer]) -> Vec<(usize, variant::Refusal)> {
        let no = |(at, answer): (&usize, &Answer)| {
            let quantity = self.lines[*at].quantity;
            let refusal = match told(answer)? {
                Told::Refused(refusal) => refusal,
                Told::Hold(hold) if hold.quantity == quantity => return None,
                Told::Hold(hold) => variant::Refusal::QuantityExceeds {
                    requested: quantity,
                    allowed: hold.quantity,
                },
                Told::Nothing => variant::Refusal::ReservationNotFound,
            };
            Some((*at, refusal))
        };
        asked.iter().zip(answers).filter_map(no).collect()
    }

    /// In the second try a collision is waited for: whoever has the first common line gets the others too.
    fn waits_in_order(&self, work: &Work, noes: &[(usize, variant::Refusal)]) -> bool {
        let second = matches!(work.step, Step::Taking { attempt, .. } if attempt > 1);
        second && !noes.is_empty() && noes.iter().all(|(_, no)| is_contended(no))
    }

    /// Whether every no may be a yes in the next try: of a collision, or of a hold that has ended since its cart told of it
    /// and can be made anew.
    fn may_try_again(&self, work: &Work, noes: &[(usize, variant::Refusal)], in_time: bool) -> bool {
        let first = matches!(work.step, Step::Taking { attempt: 1, .. });
        let ended = |at: usize, no: &variant::Refusal| self.lines[at].held && has_ended(no);
        in_time
            && noes
                .iter()
                .all(|(at, no)| ended(*at, no) || (first && is_contended(no)))
    }

    fn try_again(&self, work: &Work, noes: &[(usize, variant::Refusal)], now: Timestamp) -> Next<Self> {
        let before = self.reservations();
        let mut after = self.clone();
        for (at, _) in noes.iter().filter(|(_, no)| has_ended(no)) {
            let line = &mut after.lines[*at];
            line.reservation = line.reservation.successor(now);
            line.held = false;
        }
        let step = if matches!(work.step, Step::Taking { attempt: 1, .. }) {
            Step::Settling {
                attempt: 1,
                reservations: before,
                commit: false,
                decided_at: now,
                then: Then::TryInOrder,
            }
        } else {
            work.step.clone()
        };
        goes_on(after.doing(Work { step, ..work.clone() }), vec![Happened::Went])
    }

    /// It goes on with this.
    pub(super) fn doing(&self, work: Work) -> Self {
        Self {
            work: Some(work),
            ..self.clone()
        }
    }

    fn goes_to(&self, step: Step, work: &Work, now: Timestamp) -> Self {
        self.doing(Work {
            step,
            key: work.key,
            begun_at: now,
        })
    }

    /// As [`Self::goes_to`], when whoever asked has been answered.
    fn settles_to(&self, step: Step, now: Timestamp) -> Self {
        self.doing(Work {
            step,
            key: None,
            begun_at: now,
        })
    }

    fn idle(&self) -> Self {
        Self {
            work: None,
            ..self.clone()
        }
    }

    fn reservations(&self) -> Vec<ReservationId> {
        self.lines.iter().map(|line| line.reservation).collect()
    }

    fn attempt(&self, number: u32) -> Attempt {
        Attempt {
            bulk: BulkId(self.id.bits().unwrap_or_default()),
            number,
        }
    }

    /// The lines in the order of the second try: the same for every order.
    fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lines.len()).collect();
        order.sort_by_key(|at| &self.lines[*at].variant);
        order
    }

    fn reserve(&self, line: &Line, id: ReservationId, pay_by: Timestamp) -> Prepare {
        Prepare::Reserve(Reserve {
            id,
            quantity: line.quantity,
            shopper: self.shopper(),
            ttl_ms: None,
            allow_partial: false,
            terms: self.terms,
            for_order: Some(self.pays_by(pay_by)),
        })
    }

    /// For whom its reservations are.
    fn shopper(&self) -> Shopper {
        Shopper {
            customer: self.customer.clone(),
            session: self.session.clone(),
            cart: Some(self.cart.clone()),
        }
    }

    fn pays_by(&self, pay_by: Timestamp) -> ForOrder {
        ForOrder {
            order: self.id.clone(),
            pay_by,
        }
    }

    /// The variants' backstop for a payment that is in time until `deadline`, that moment included.
    fn backstop(&self, deadline: Timestamp) -> Timestamp {
        deadline.saturating_add(self.grace_ms.max(1))
    }

    /// The backstop of reservations made for a late payment.
    fn late_backstop(&self, work: &Work) -> Timestamp {
        self.backstop(work.begun_at.saturating_add(self.terms.payment_ttl_ms))
    }

    fn tell(&self, at: usize, step: OrderStep) -> Command {
        Command::ForOrder {
            order: self.id.clone(),
            id: self.lines[at].reservation,
            step,
        }
    }
}

// --- taking the holds ---

fn taken(order: &Order, work: &Work) -> Vec<usize> {
    let Step::Taking { attempt, promised } = work.step else {
        unreachable!("the table does this in its own step only")
    };
    if attempt > 1 {
        let next = order.in_order().into_iter().skip(promised as usize);
        next.take(1).collect()
    } else {
        (0..order.lines.len()).collect()
    }
}

fn take(order: &Order, work: &Work, at: usize) -> Command {
    let Step::Taking { attempt, .. } = work.step else {
        unreachable!("the table does this in its own step only")
    };
    let line = &order.lines[at];
    let pay_by = order.backstop(order.payment_deadline);
    Command::Prepare {
        attempt: order.attempt(attempt),
        prepare: if line.held {
            Prepare::Pay {
                id: line.reservation,
                shopper: order.shopper(),
                terms: order.terms,
                for_order: order.pays_by(pay_by),
            }
        } else {
            order.reserve(line, line.reservation, pay_by)
        },
    }
}

/// Promises: in the first try of every line, in the second of the next one. All of them together are the decision.
fn took(order: &Order, work: &Work, told: &[Told], now: Timestamp) -> Next<Order> {
    let Step::Taking { attempt, promised } = work.step else {
        unreachable!("the table does this in its own step only")
    };
    let mut after = order.clone();
    for (at, told) in taken(order, work).into_iter().zip(told) {
        after.lines[at].hold = hold_of(told);
    }
    let so_far = if attempt > 1 { promised + 1 } else { u32::MAX };
    if (so_far as usize) < order.lines.len() {
        let step = Step::Taking {
            attempt,
            promised: so_far,
        };
        let work = Work { step, ..work.clone() };
        return goes_on(after.doing(work), vec![Happened::Went]);
    }
    if now > order.payment_deadline {
        // It was decided so late, after a crash perhaps, that nobody could pay.
        return refuse(order, work, Vec::new(), now);
    }
    let other_currency = after.in_another_currency();
    if !other_currency.is_empty() {
        return refuse(order, work, other_currency, now);
    }
    after.keep_promises(now);
    after.status = Status::PendingPayment;
    after.version += 1;
    let step = Step::Settling {
        attempt,
        reservations: order.reservations(),
        commit: true,
        decided_at: now,
        then: Then::Await,
    };
    done(after.settles_to(step, now), vec![Happened::Opened])
}

fn refuse(order: &Order, work: &Work, lines: Refused, now: Timestamp) -> Next<Order> {
    let Step::Taking { attempt, .. } = work.step else {
        unreachable!("the table does this in its own step only")
    };
    let mut after = Order {
        status: Status::Refused,
        refused: lines.clone(),
        ..order.clone()
    };
    after.lines.iter_mut().for_each(|line| line.hold = None);
    let step = Step::Settling {
        attempt,
        reservations: order.reservations(),
        commit: false,
        decided_at: now,
        then: Then::End,
    };
    let verdict = Verdict::Refused(after.why_refused());
    Next {
        after: after.settles_to(step, now),
        happened: vec![Happened::Refused { lines }],
        verdict,
    }
}

impl Order {
    /// The holds as they are once their variants have heard of the decision.
    fn keep_promises(&mut self, now: Timestamp) {
        let shopper = self.shopper();
        for line in &mut self.lines {
            let kept = line.hold.take().map(|hold| {
                let promised = hold.pin.is_some();
                let event = promised.then(|| settled_for(&hold, &shopper, true, now));
                event.and_then(|event| event.hold().cloned()).unwrap_or(hold)
            });
            line.hold = kept;
        }
    }
}

// --- settling ---

fn settle(order: &Order, work: &Work, at: usize) -> Command {
    let Step::Settling {
        attempt,
        reservations,
        commit,
        decided_at,
        ..
    } = &work.step
    else {
        unreachable!("the table does this in its own step only")
    };
    planted!(NonAtomicCheckout => if at == 0 { return Command::Settle {
        attempt: order.attempt(*attempt), id: reservations[at], commit: true, decided_at: *decided_at, shopper: Some(order.shopper()),
    } });
    Command::Settle {
        attempt: order.attempt(*attempt),
        id: reservations[at],
        commit: *commit,
        decided_at: *decided_at,
        shopper: Some(order.shopper()),
    }
}

fn has_settled(order: &Order, work: &Work, _: &[Told], now: Timestamp) -> Next<Order> {
    let went = vec![Happened::Went];
    let Step::Settling { then, .. } = &work.step else {
        unreachable!("the table does this in its own step only")
    };
    match then {
        Then::End if order.status == Status::RefundRequired => {
            goes_on(order.settles_to(Step::TellingCart { reopen: true }, now), went)
        }
        Then::Await | Then::End => done(order.idle(), went),
        Then::TryInOrder => {
            let after = Order {
                payment_deadline: now.saturating_add(order.terms.payment_ttl_ms),
                ..order.clone()
            };
            let step = Step::Taking {
                attempt: 2,
                promised: 0,
            };
            goes_on(after.goes_to(step, work, now), went)
        }
        Then::Confirm => goes_on(order.goes_to(Step::Confirming, work, now), went),
        Then::Undo => {
            let back = |line: &Line| Fulfilment {
                cancelled: if line.is_sold() { line.quantity } else { 0 },
                ..Fulfilment::default()
            };
            let step = Step::Moving {
                movement: Movement::Cancel,
                restock: true,
                totals: order.lines.iter().map(back).collect(),
                by: BY_ORDER.to_owned(),
            };
            goes_on(order.settles_to(step, now), went)
        }
    }
}

impl Line {
    /// Whether its units are sold.
    pub(super) fn is_sold(&self) -> bool {
        self.hold
            .as_ref()
            .is_some_and(|hold| hold.status == HoldStatus::Confirmed)
    }
}

// --- late payments and lost holds ---

/// The lines that need another reservation: all of an expired order, those that were lost of a paid one.
fn retaken(order: &Order, work: &Work) -> Vec<usize> {
    let Step::Retaking { reservations, .. } = &work.step else {
        unreachable!("the table does this in its own step only")
    };
    let new = |at: &usize| reservations[*at] != order.lines[*at].reservation;
    (0..order.lines.len()).filter(new).collect()
}

fn retake(order: &Order, work: &Work, at: usize) -> Command {
    let Step::Retaking { reservations, .. } = &work.step else {
        unreachable!("the table does this in its own step only")
    };
    let id = reservations[at];
    Command::Prepare {
        attempt: order.attempt(LATE_ATTEMPT),
        prepare: order.reserve(&order.lines[at], id, order.late_backstop(work)),
    }
}

fn retook(order: &Order, work: &Work, told: &[Told], now: Timestamp) -> Next<Order> {
    let Step::Retaking {
        reference,
        reservations,
    } = &work.step
    else {
        unreachable!("the table does this in its own step only")
    };
    if now >= order.late_backstop(work) {
        return ask_back(order, work, Vec::new(), now);
    }
    let mut after = order.clone();
    for (at, told) in retaken(order, work).into_iter().zip(told) {
        let line = &mut after.lines[at];
        line.reservation = reservations[at];
        line.held = false;
        line.hold = hold_of(told);
    }
    after.keep_promises(now);
    after.status = Status::PendingPayment;
    let mut happened = Vec::new();
    if after.payment.is_none() {
        after.payment = Some(Payment {
            reference: reference.clone(),
            at: now,
        });
        happened.push(Happened::PaymentAccepted);
    } else {
        happened.push(Happened::Went);
    }
    after.version += 1;
    let step = Step::Settling {
        attempt: LATE_ATTEMPT,
        reservations: reservations.clone(),
        commit: true,
        decided_at: now,
        then: Then::Confirm,
    };
    goes_on(after.goes_to(step, work, now), happened)
}

/// The units are gone: what was paid is asked back, and what was sold of the order before comes back.
fn ask_back(order: &Order, work: &Work, _: Refused, now: Timestamp) -> Next<Order> {
    let Step::Retaking {
        reference,
        reservations,
    } = &work.step
    else {
        unreachable!("the table does this in its own step only")
    };
    let refund = Refund {
        reference: reference.clone(),
        reason: RefundReason::Expired,
        at: now,
        done_at: None,
    };
    let verdict = Verdict::Refused(refund.refusal());
    let mut after = Order {
        status: Status::RefundRequired,
        payment: None,
        version: order.version + 1,
        ..order.clone()
    };
    after.refunds.push(refund);
    let then = if order.lines.iter().any(Line::is_sold) {
        Then::Undo
    } else {
        Then::End
    };
    let step = Step::Settling {
        attempt: LATE_ATTEMPT,
        reservations: reservations.clone(),
        commit: false,
        decided_at: now,
        then,
    };
    Next {
        after: after.settles_to(step, now),
        happened: vec![Happened::RefundRequired {
            reference: reference.clone(),
        }],
        verdict,
    }
}

// --- selling ---

fn sell(order: &Order, work: &Work, at: usize) -> Command {
    let paid_at = order.payment.as_ref().map_or(work.begun_at, |payment| payment.at);
    order.tell(at, OrderStep::Confirm { paid_at })
}

/// Every unit is sold. A hold that was lost although its payment was in time is made anew, or the payment is asked back.
fn sold(order: &Order, work: &Work, told: &[Told], now: Timestamp) -> Next<Order> {
    let mut after = order.clone();
    let mut reservations = order.reservations();
    let mut lost = false;
    for (at, told) in told.iter().enumerate() {
        let line = &mut after.lines[at];
        line.hold = hold_of(told).filter(|hold| hold.status == HoldStatus::Confirmed);
        if line.hold.is_none() {
            lost = true;
            reservations[at] = line.reservation.successor(now);
        }
    }
    if let (true, Some(payment)) = (lost, &order.payment) {
        let step = Step::Retaking {
            reference: payment.reference.clone(),
            reservations,
        };
        return goes_on(after.goes_to(step, work, now), vec![Happened::Went]);
    }
    after.status = after.status_of_units();
    after.version += 1;
    done(
        after.settles_to(Step::TellingCart { reopen: false }, now),
        vec![Happened::Confirmed],
    )
}

// --- giving back ---

fn give_back(order: &Order, work: &Work, at: usize) -> Command {
    let step = if matches!(work.step, Step::GivingBack { reopen: true, .. }) {
        OrderStep::Reopen {
            ttl_ms: order.terms.lengths.ttl_ms,
        }
    } else {
        OrderStep::Release
    };
    order.tell(at, step)
}

fn given_back(order: &Order, work: &Work, told: &[Told], now: Timestamp) -> Next<Order> {
    let Step::GivingBack { reopen, late } = &work.step else {
        unreachable!("the table does this in its own step only")
    };
    let mut after = order.clone();
    for (line, told) in after.lines.iter_mut().zip(told) {
        // One that has ended says nothing any more, whoever tells of it.
        line.hold = hold_of(told).filter(|hold| hold.status == HoldStatus::Active);
    }
    let step = match late {
        Some(late) => Step::Retaking {
            reference: late.reference.clone(),
            reservations: late.reservations.clone(),
        },
        None => Step::TellingCart {
            reopen: *reopen || order.status == Status::Expired,
        },
    };
    goes_on(after.goes_to(step, work, now), vec![Happened::Went])
}

// --- after the sale ---

fn moving(order: &Order, work: &Work) -> Vec<usize> {
    let Step::Moving { totals, .. } = &work.step else {
        unreachable!("the table does this in its own step only")
    };
    let moves = |at: &usize| totals[*at] != order.lines[*at].fulfilment;
    (0..order.lines.len()).filter(moves).collect()
}

fn move_to(order: &Order, work: &Work, at: usize) -> Command {
    let line = &order.lines[at];
    let Step::Moving {
        restock, totals, by, ..
    } = &work.step
    else {
        unreachable!("the table does this in its own step only")
    };
    let step = OrderStep::Totals {
        fulfilment: totals[at],
        restock: *restock,
        closed: line.hold.clone().map(Box::new),
        by: by.clone(),
        keep_ms: KEEP_MS,
    };
    order.tell(at, step)
}

/// Each line that could has moved. One that was refused is as it was, and is named: only if none has moved it is a no, for
/// the caller's key must remember what has.
fn moved(order: &Order, work: &Work, told: &[Told], now: Timestamp) -> Next<Order> {
    let Step::Moving { movement, totals, .. } = &work.step else {
        unreachable!("the table does this in its own step only")
    };
    let mut after = order.idle();
    let mut refused = Refused::new();
    let asked = moving(order, work);
    for (at, told) in asked.iter().zip(told) {
        let line = &mut after.lines[*at];
        match told {
            Told::Hold(hold) => {
                line.fulfilment = totals[*at];
                line.hold = Some((**hold).clone());
            }
            Told::Nothing => refused.push((line.variant.clone(), variant::Refusal::ReservationNotFound)),
            Told::Refused(refusal) => refused.push((line.variant.clone(), refusal.clone())),
        }
    }
    let mut happened = Vec::new();
    let any = refused.len() < asked.len();
    if any {
        after.version += 1;
        happened.push(match movement {
            Movement::Fulfil => Happened::Fulfilled,
            Movement::Cancel => Happened::Cancelled,
            Movement::Return => Happened::Returned,
        });
    }
    if !refused.is_empty() {
        let lines = refused.clone();
        happened.push(Happened::LinesRefused { lines });
    }
    if order.payment.is_none() {
        // Not a caller's wish: a paid order came to nothing.
        return goes_on(
            after.settles_to(Step::TellingCart { reopen: true }, now),
            happened,
        );
    }
    after.status = after.status_of_units();
    let verdict = if any {
        Verdict::Done
    } else {
        Verdict::Refused(Refusal::LinesUnavailable { lines: refused })
    };
    Next {
        after,
        happened,
        verdict,
    }
}

// --- answers and what follows ---

const IN_FLIGHT: Told = Told::Refused(variant::Refusal::InFlight);

/// What was answered, if anything was. A cart's answer says all there is to say by coming, but for one that cannot listen now.
fn told(answer: &Answer) -> Option<Told> {
    match answer {
        Answer::Variant { told, .. } => Some(told.clone()),
        Answer::Cart(Err(cart::Refusal::Busy)) => None,
        Answer::Cart(_) | Answer::Order(_) => Some(Told::Nothing),
        Answer::Unanswered => None,
    }
}

fn hold_of(told: &Told) -> Option<Hold> {
    match told {
        Told::Hold(hold) => Some((**hold).clone()),
        Told::Nothing | Told::Refused(_) => None,
    }
}

/// Another coordinator has what is wanted and may let go of it in a moment.
fn is_contended(no: &variant::Refusal) -> bool {
    matches!(
        no,
        variant::Refusal::InFlight | variant::Refusal::InsufficientStock { contended: true, .. }
    )
}

fn has_ended(no: &variant::Refusal) -> bool {
    matches!(
        no,
        variant::Refusal::ReservationNotFound
            | variant::Refusal::ReservationExpired { .. }
            | variant::Refusal::ReservationReleased { .. }
    )
}

/// Nothing has changed: who has not answered is asked again.
pub(super) fn waiting(order: &Order) -> Next<Order> {
    goes_on(order.clone(), Vec::new())
}

pub(super) fn goes_on(after: Order, happened: Vec<Happened>) -> Next<Order> {
    Next {
        after,
        happened,
        verdict: Verdict::Working,
    }
}

pub(super) fn done(after: Order, happened: Vec<Happened>) -> Next<Order> {
    Next {
        after,
        happened,
        verdict: Verdict::Done,
    }
}
