//! The load generator: one thread, one small runtime, N keep-alive connections.
//!
//! Open loop: a pacer puts every request into the line at its intended time, whether or not earlier ones were answered; a free
//! connection takes it. Closed loop: each connection sends its next request as soon as it has its answer, which finds
//! the most a server can do but hides waiting; such a figure is always called `max throughput`. A flood is a closed loop
//! that does not wait when it is told to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::ledger::{Entry, HoldId, Ledger, Operation, Outcome};
use super::round::Round;
use super::scenario::{Ask, Plan, Target};
use super::schedule::{Arrivals, Pacer, Schedule, Stopwatch};
use super::wire::{Answer, Connection, Lost};

/// What sets the pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// Open loop at this many requests a second.
    Open {
        /// Requests a second.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
        /// Of the arrival times.
        seed: u64,
    },
    /// Closed loop: every connection always has a request under way.
    Closed,
    /// The same by those who do not wait as they are told to when they are turned away.
    Flood,
}

impl Pace {
    /// Whether a pacer says when.
    fn is_scheduled(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// One round of load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// The server.
    pub(super) address: SocketAddr,
    /// Who it is.
    pub(super) target: Target,
    /// Connections.
    pub(super) connections: u32,
    /// The pace.
    pub(super) pace: Pace,
    /// Start of the load; what is intended before `measure_ns` is warm-up.
    pub(super) start_ns: u64,
    /// Start of the measured part.
    pub(super) measure_ns: u64,
    /// End of the load.
    pub(super) end_ns: u64,
    /// How long after the end the last answers are waited for; what is still open then is unknown.
    pub(super) drain: Duration,
    /// Part of the round to be shown apart.
    pub(super) storm: Option<(u64, u64)>,
}

/// What all connections of a round share; one thread, so a `RefCell` that is never borrowed over an await is enough.
struct Floor {
    load: Load,
    stopwatch: Stopwatch,
    /// Requests that are due and not taken.
    line: RefCell<VecDeque<Due>>,
    /// Connections that wait for a request.
    idle: Cell<usize>,
    closed: Cell<bool>,
    arrived: Notify,
    books: RefCell<Books>,
}

struct Books {
    plan: Plan,
    ledger: Ledger,
    round: Round,
    under_way: Vec<Option<UnderWay>>,
}

/// A request in the line.
#[derive(Debug, Clone, Copy)]
struct Due {
    intended_ns: u64,
    /// When the pacer really put it there.
    entered_ns: u64,
    /// Every connection was busy then, or already meant for an earlier one.
    waits: bool,
}

/// A request that has left.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    ask: Ask,
    intended_ns: u64,
    sent_ns: u64,
}

/// Runs one round on the calling thread, to its end.
///
/// # Errors
/// When the runtime or its timer cannot be made; what goes wrong with the server is in the books.
pub(super) fn run_round(
    load: Load,
    stopwatch: Stopwatch,
    plan: Plan,
    ledger: Ledger,
) -> std::io::Result<(Plan, Ledger, Round)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let scheduled = load.pace.is_scheduled();
    let round = Round::new(load.target, load.end_ns - load.measure_ns, scheduled);
    let under_way = vec![None; load.connections as usize];
    let floor = Rc::new(Floor {
        load,
        stopwatch,
        line: RefCell::default(),
        idle: Cell::new(0),
        closed: Cell::new(false),
        arrived: Notify::new(),
        books: RefCell::new(Books {
            plan,
            ledger,
            round,
            under_way,
        }),
    });
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(drive(Rc::clone(&floor))))?;
    drop(tasks);
    let floor = Rc::into_inner(floor).expect("every connection's task has ended");
    let Books {
        plan, ledger, round, ..
    } = floor.books.into_inner();
    Ok((plan, ledger, round))
}

async fn drive(floor: Rc<Floor>) -> std::io::Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    for number in 0..floor.load.connections as usize {
        connections.spawn_local(serve_connection(Rc::clone(&floor), number));
    }
    if let Pace::Open { rate, arrivals, seed } = floor.load.pace {
        let schedule = Schedule::new(rate, arrivals, seed, floor.load.start_ns, floor.load.end_ns);
        pace(&floor, schedule).await?;
    }
    let left_ns = floor.load.end_ns.saturating_sub(floor.stopwatch.now_ns());
    let patience = Duration::from_nanos(left_ns) + floor.load.drain;
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, all_done).await.is_err() {
        connections.shutdown().await;
    }
    floor.cut_off();
    Ok(())
}

/// Puts each request into the line when it is due.
async fn pace(floor: &Floor, schedule: Schedule) -> std::io::Result<()> {
    let pacer = Pacer::new(floor.stopwatch)?;
    let mut now_ns = floor.stopwatch.now_ns();
    for intended_ns in schedule {
        if intended_ns > now_ns {
            pacer.until(intended_ns).await?;
            now_ns = floor.stopwatch.now_ns();
        }
        floor.enter_line(intended_ns, now_ns);
        floor.arrived.notify_one();
    }
    floor.closed.set(true);
    floor.arrived.notify_waiters();
    Ok(())
}

async fn serve_connection(floor: Rc<Floor>, number: usize) {
    let mut connection = Connection::new(floor.load.address);
    let (mut body, mut request) = (Vec::new(), Vec::new());
    if let Err(lost) = connection.connect().await {
        floor.trouble(&lost.to_string());
        return;
    }
    if !floor.load.pace.is_scheduled() {
        // An open loop's schedule knows its start; a closed one would begin at once.
        let early_ns = floor.load.start_ns.saturating_sub(floor.stopwatch.now_ns());
        tokio::time::sleep(Duration::from_nanos(early_ns)).await;
    }
    let mut free_ns = floor.stopwatch.now_ns();
    while let Some(due) = floor.next_due().await {
        let now_ns = floor.stopwatch.now_ns();
        let Some(ask) = floor.write_next(now_ns, &mut body, &mut request) else {
            return;
        };
        let sent_ns = floor.stopwatch.now_ns();
        let intended_ns = due.map_or(sent_ns, |due| due.intended_ns);
        floor.sent(
            number,
            UnderWay {
                ask,
                intended_ns,
                sent_ns,
            },
            due,
            free_ns,
        );
        let answer = connection.exchange(&request).await;
        free_ns = floor.stopwatch.now_ns();
        let turn = floor.answered(number, &answer, free_ns);
        match turn {
            Turn::Next => {}
            Turn::Pause(seconds) => {
                let pause = Duration::from_secs(u64::from(seconds));
                let left = Duration::from_nanos(floor.load.end_ns.saturating_sub(free_ns));
                tokio::time::sleep(pause.min(left)).await;
            }
            Turn::Stop => return,
        }
    }
}

/// What a connection does after an answer.
enum Turn {
    Next,
    /// The server asked for it. Only in a closed loop: an open loop's next buyer does not know what the last one was told.
    Pause(u32),
    Stop,
}

impl Floor {
    fn enter_line(&self, intended_ns: u64, entered_ns: u64) {
        let mut line = self.line.borrow_mut();
        let waits = self.idle.get() <= line.len();
        line.push_back(Due {
            intended_ns,
            entered_ns,
            waits,
        });
    }

    /// The next request: `Some(None)` means now (closed loop), `None` that there are no more.
    async fn next_due(&self) -> Option<Option<Due>> {
        if !self.load.pace.is_scheduled() {
            return (self.stopwatch.now_ns() < self.load.end_ns).then_some(None);
        }
        loop {
            let due = self.line.borrow_mut().pop_front();
            if due.is_some() {
                return Some(due);
            }
            if self.closed.get() {
                return None;
            }
            self.idle.set(self.idle.get() + 1);
            self.arrived.notified().await;
            self.idle.set(self.idle.get() - 1);
        }
    }

    fn write_next(&self, now_ns: u64, body: &mut Vec<u8>, request: &mut Vec<u8>) -> Option<Ask> {
        let plan = &mut self.books.borrow_mut().plan;
        let ask = plan.next(now_ns)?;
        plan.write(&ask, self.load.target, body, request);
        Some(ask)
    }

    fn sent(&self, number: usize, request: UnderWay, due: Option<Due>, free_ns: u64) {
        let books = &mut *self.books.borrow_mut();
        books.under_way[number] = Some(request);
        let Some(due) = due.filter(|due| due.intended_ns >= self.load.measure_ns) else {
            return;
        };
        // The wait for a free connection is the server's doing and stays out of the generator's own lag.
        let waited_ns = if due.waits {
            free_ns.saturating_sub(due.entered_ns)
        } else {
            0
        };
        books.round.waited += u64::from(due.waits);
        books
            .round
            .lag
            .saturating_record(request.sent_ns - due.intended_ns - waited_ns);
    }

    fn answered(&self, number: usize, answer: &Result<Answer<'_>, Lost>, now_ns: u64) -> Turn {
        let books = &mut *self.books.borrow_mut();
        let request = books.under_way[number]
            .take()
            .expect("an answer follows its request");
        books.enter(&self.load, request, answer.as_ref().ok(), now_ns);
        match answer {
            Ok(answer) => match answer.retry_after_seconds {
                Some(seconds) if self.load.pace == Pace::Closed => Turn::Pause(seconds),
                _ => Turn::Next,
            },
            Err(lost) => {
                books.round.first_trouble.get_or_insert_with(|| lost.to_string());
                if matches!(lost, Lost::Connect { .. }) {
                    Turn::Stop
                } else {
                    Turn::Next
                }
            }
        }
    }

    fn trouble(&self, what: &str) {
        self.books
            .borrow_mut()
            .round
            .first_trouble
            .get_or_insert_with(|| what.to_owned());
    }

    /// Books what the end of the round cut off: requests under way are unknown, requests in the line were never sent.
    fn cut_off(&self) {
        let now_ns = self.stopwatch.now_ns();
        let books = &mut *self.books.borrow_mut();
        for number in 0..books.under_way.len() {
            if let Some(request) = books.under_way[number].take() {
                books.enter(&self.load, request, None, now_ns);
            }
        }
        for Due { intended_ns, .. } in self.line.borrow_mut().drain(..) {
            if intended_ns >= self.load.measure_ns {
                books.round.unsent += 1;
                // It waited at least this long; leaving it out would flatter the server.
                books.round.latency.saturating_record(now_ns - intended_ns);
            }
        }
    }
}

impl Books {
    /// One answer (`None`: there was none) into figures, ledger and plan.
    fn enter(&mut self, load: &Load, request: UnderWay, answer: Option<&Answer<'_>>, now_ns: u64) {
        let mut outcome = match answer {
            Some(answer) => judge(load.target, &request.ask, answer),
            None => Outcome::Unknown,
        };
        if load.target == Target::Holdfast && !self.enter_ledger(request, outcome, answer, now_ns) {
            outcome = Outcome::Unexpected;
        }
        if let (Outcome::Unexpected, Some(answer)) = (outcome, answer) {
            self.round.first_trouble.get_or_insert_with(|| {
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
                format!("{:?} was answered {} {body}", request.ask, answer.status)
            });
        }
        if request.intended_ns < load.measure_ns {
            return;
        }
        self.round.tally.add(outcome);
        let latency_ns = now_ns - request.intended_ns;
        if matches!(outcome, Outcome::Done | Outcome::SoldOut | Outcome::Ended) {
            self.round.answered_in_time += u64::from(now_ns <= load.end_ns);
            self.round.latency.saturating_record(latency_ns);
            if load
                .storm
                .is_some_and(|(from, to)| (from..to).contains(&request.intended_ns))
            {
                self.round.storm_latency.saturating_record(latency_ns);
            }
        }
        if outcome == Outcome::Shed {
            self.round.turned_away.saturating_record(now_ns - request.sent_ns);
        }
        if matches!(outcome, Outcome::SoldOut | Outcome::Ended | Outcome::Shed) {
            self.round.refusal_latency.saturating_record(latency_ns);
        }
    }

    /// False when a success does not say what it must (the ids of what it granted).
    fn enter_ledger(
        &mut self,
        request: UnderWay,
        outcome: Outcome,
        answer: Option<&Answer<'_>>,
        now_ns: u64,
    ) -> bool {
        let UnderWay {
            ask,
            intended_ns,
            sent_ns,
        } = request;
        let status = answer.map_or(0, |answer| answer.status);
        let body = answer.map_or(&b""[..], |answer| answer.body);
        let line = |operation, variant, hold, ttl_ms, outcome| Entry {
            intended_ns,
            sent_ns,
            received_ns: now_ns,
            hold,
            variant,
            ttl_ms,
            status,
            operation,
            outcome,
        };
        match ask {
            Ask::Confirm { hold, variant } => {
                self.ledger
                    .entries
                    .push(line(Operation::Confirm, variant, Some(hold), 0, outcome));
            }
            Ask::Release { hold, variant } => {
                self.ledger
                    .entries
                    .push(line(Operation::Release, variant, Some(hold), 0, outcome));
            }
            Ask::Reserve { variant, fate, .. } => {
                let hold = hold(body)
                    .filter(|_| outcome == Outcome::Done)
                    .map(|(hold, _)| hold);
                let told = hold.is_some() || outcome != Outcome::Done;
                let outcome = if told { outcome } else { Outcome::Unexpected };
                if let Some(hold) = hold {
                    self.plan.granted(hold, variant, fate);
                }
                self.ledger
                    .entries
                    .push(line(Operation::Reserve, variant, hold, ttl_ms(body), outcome));
                return told;
            }
            Ask::Bulk { first } => return self.enter_bulk(first, outcome, body, line),
        }
        true
    }

    /// The lines of a bulk answer. A refusal of the whole says nothing about its single lines and is not booked.
    fn enter_bulk(
        &mut self,
        first: u32,
        outcome: Outcome,
        body: &[u8],
        line: impl Fn(Operation, u32, Option<HoldId>, u32, Outcome) -> Entry,
    ) -> bool {
        let expected: Vec<u32> = self.plan.bulk_lines(first).collect();
        match outcome {
            Outcome::Done => {
                let ttl_ms = ttl_ms(body);
                let granted: Vec<(HoldId, u32)> = granted_lines(body).collect();
                if granted.len() != expected.len() {
                    return false;
                }
                for (hold, variant) in granted {
                    let entry = line(Operation::Reserve, variant, Some(hold), ttl_ms, Outcome::Done);
                    self.ledger.entries.push(entry);
                }
            }
            Outcome::Unknown => {
                for variant in expected {
                    self.ledger
                        .entries
                        .push(line(Operation::Reserve, variant, None, 0, Outcome::Unknown));
                }
            }
            Outcome::SoldOut | Outcome::Ended | Outcome::Shed | Outcome::Unexpected => {}
        }
        true
    }
}

/// What an answer means for the request it answers.
fn judge(target: Target, ask: &Ask, answer: &Answer<'_>) -> Outcome {
    if target == Target::Echo {
        return if answer.status == 200 {
            Outcome::Done
        } else {
            Outcome::Unexpected
        };
    }
    match (ask, answer.status) {
        (Ask::Reserve { .. } | Ask::Bulk { .. }, 201)
        | (Ask::Confirm { .. }, 200)
        | (Ask::Release { .. }, 204) => Outcome::Done,
        (Ask::Reserve { .. } | Ask::Bulk { .. }, 409) if contains(answer.body, b"insufficient-stock") => {
            Outcome::SoldOut
        }
        (Ask::Confirm { .. } | Ask::Release { .. }, 409 | 410) if contains(answer.body, b"reservation-") => {
            Outcome::Ended
        }
        (_, 503) if contains(answer.body, b"outcome-unknown") => Outcome::Unknown,
        (_, 429 | 503) => Outcome::Shed,
        _ => Outcome::Unexpected,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

/// The value behind the first `mark` in `text`, up to its closing quote, and what follows it.
fn value<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = &text[find(text, mark)? + mark.len()..];
    let length = rest.iter().position(|&byte| byte == b'"')?;
    Some(rest.split_at(length))
}

/// The reservation an answer shows first, and what follows its id. A scan instead of a parse: the answer is ours, compact, and a
/// parse would cost the generator more than the request did.
fn hold(body: &[u8]) -> Option<(HoldId, &[u8])> {
    let (id, rest) = value(body, b"\"id\":\"rsv_")?;
    Some((HoldId::parse(id)?, rest))
}

/// The reservations a bulk answer shows, each with the variant it names after its id.
fn granted_lines(body: &[u8]) -> impl Iterator<Item = (HoldId, u32)> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (hold, behind) = hold(rest)?;
        let (variant, behind) = value(behind, b"\"variantId\":\"")?;
        rest = behind;
        Some((hold, Plan::index_of(variant)?))
    })
}

/// `expiresInMs` of an answer; 0 without one.
fn ttl_ms(body: &[u8]) -> u32 {
    const MARK: &[u8] = b"\"expiresInMs\":";
    let Some(at) = find(body, MARK) else { return 0 };
    let digits = body[at + MARK.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_u32, |value, digit| {
        value.saturating_mul(10).saturating_add(u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
