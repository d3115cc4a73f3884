//! The actor of a cart or an order: receive, stamp the time, decide, log, ask, gather, conclude.
//!
//! A turn never awaits. The state may run ahead of the log; what callers are told may not. What another agent is told may:
//! its own record comes later in the same log.
use super::{
    AgentAddress, AgentJob, AgentMessage,
    home::Left,
    key::Key,
    kind::Housed,
    round::{AGAIN_MIN_MS, Round, Sent},
};
use crate::{
    actor::{
        admission::Permit,
        directory::Directory,
        durable::Pending,
        message::{NotDone, Outcome, Port},
        timer::Timer,
    },
    domain::{
        agent::{Answer, Next, Verdict, entries_max},
        time::Timestamp,
        variant,
    },
    storage::{journal::RejectReason, record::Turn},
    telemetry::metrics::{self, metrics},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{collections::VecDeque, marker::PhantomData, sync::Arc};
use tokio::sync::oneshot;

/// An ask that is not answered after so long counts as unanswered, ms; less than a caller waits by default.
const ANSWER_WITHIN_MS: i64 = 2_000;

/// The longest wait before asks that came to nothing are asked again, ms; it doubles up to there.
const AGAIN_MAX_MS: i64 = 10_000;

/// Work for which the reserved pool has no room waits this long, ms.
const PAUSE_MS: i64 = 20;

/// Slots that work keeps for its own records when it asks.
const OWN_SLOTS: usize = 2;

/// Commands of other entities and notices that may wait in front of an agent; callers' have a limit of their own.
const WAITING_MAX: usize = 1_024;

/// The ractor side.
pub(super) struct Shell<A>(PhantomData<fn() -> A>);

impl<A> Default for Shell<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// What an actor starts with.
pub(super) struct Start<A> {
    pub(super) agent: A,
    pub(super) generation: u64,
    pub(super) directory: Arc<Directory>,
}

/// A running agent.
pub(super) struct Running<A: Housed> {
    agent: A,
    /// Its last record.
    number: u64,
    generation: u64,
    directory: Arc<Directory>,
    timer: Timer,
    /// Messages taken from the mailbox, against the directory's count of those it put there.
    handled: u64,
    last_used: Timestamp,
    waiting: VecDeque<Waiting<A>>,
    /// Who the work in hand is for, until they are told.
    current: Option<Caller>,
    round: Round,
    /// The work in hand was begun before this actor, and may have been asked for.
    resumes: bool,
    /// The slots of the work in hand, and how many.
    slots: Option<(Permit, usize)>,
    /// Until when nothing that needs slots is begun: the pool has none.
    room_at: Option<Timestamp>,
    /// Told when the work of before a restart has come to its end.
    settled: Vec<oneshot::Sender<()>>,
    /// A notice found no room: what others told of is to be looked at.
    missed: bool,
    asked_to_leave: bool,
    leaving: bool,
    /// The journal has ended, and with it this life of the shop: nothing is done any more.
    ended: bool,
}

/// A command that waits its turn.
struct Waiting<A: Housed> {
    command: A::Command,
    current: Current,
    deadline: Option<Timestamp>,
    /// Whose shop the caller is in.
    store: Option<crate::domain::ids::StoreId>,
    /// The version the caller saw.
    expected: Option<u64>,
}

struct Current {
    caller: Caller,
    key: Key,
}

enum Caller {
    Port { port: Port, permit: Permit },
    Agent { from: AgentAddress, permit: Permit },
    Nobody,
}

impl<A: Housed> Actor for Shell<A> {
    type Msg = AgentMessage<A>;
    type State = Running<A>;
    type Arguments = Start<A>;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage<A>>,
        start: Start<A>,
    ) -> Result<Running<A>, ActorProcessingErr> {
        metrics().actor_starts.increment(1);
        metrics().actors_running.increment(1.0);
        // A repeat under the key of what is under way waits for its end, as if nobody had died in between.
        if let Some(mark) = start.agent.work_key() {
            start.directory.park_key(mark);
        }
        Ok(Running {
            resumes: start.agent.is_working(),
            agent: start.agent,
            number: 0,
            generation: start.generation,
            directory: start.directory,
            timer: Timer::default(),
            handled: 0,
            last_used: Timestamp::default(),
            waiting: VecDeque::new(),
            current: None,
            round: Round::begun(),
            slots: None,
            room_at: None,
            settled: Vec::new(),
            missed: false,
            asked_to_leave: false,
            leaving: false,
            ended: false,
        })
    }

    /// Nothing before this may fail: only from here on the supervisor hears of it.
    async fn post_start(
        &self,
        _: ActorRef<AgentMessage<A>>,
        running: &mut Running<A>,
    ) -> Result<(), ActorProcessingErr> {
        running.last_used = running.directory.now();
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMessage<A>>,
        message: AgentMessage<A>,
        running: &mut Running<A>,
    ) -> Result<(), ActorProcessingErr> {
        if running.leaving || running.ended {
            return Ok(()); // What came after is a tick: everything routed had been handled.
        }
        let now = running.directory.now();
        running.receive(message, now);
        running.go_on(now);
        if !running.agent.is_working() && running.agent.due(now).is_none() {
            for settled in running.settled.drain(..) {
                // Whoever waited may have given up.
                let _ = settled.send(());
            }
        }
        if running.ended {
            return Ok(());
        }
        running.try_to_leave(&myself, now);
        if running.leaving {
            myself.stop(None);
        } else {
            running.arm(&myself, now);
        }
        Ok(())
    }
}

impl<A: Housed> Running<A> {
    fn receive(&mut self, message: AgentMessage<A>, now: Timestamp) {
        match message {
            AgentMessage::Job(job) => {
                self.used(now);
                self.take_in(*job);
            }
            AgentMessage::Asked {
                command,
                permit,
                from,
            } => {
                self.used(now);
                if self.agent.is_working() && !self.agent.waits(&command) {
                    self.at_once(&command, permit, from, now);
                } else {
                    self.queue(*command, Caller::Agent { from, permit });
                }
            }
            AgentMessage::Notice(command) => {
                self.used(now);
                self.queue(*command, Caller::Nobody);
            }
            AgentMessage::Look { permit, port } => {
                self.used(now);
                let seen = if self.agent.exists() {
                    Ok(self.agent.clone().seen(now))
                } else {
                    Err(A::not_done(A::not_found(), now))
                };
                self.later(port, seen, permit);
            }
            AgentMessage::Answered { from, answer } => {
                self.handled += 1;
                let place = self.round.sent.iter().position(|sent| sent.from == from);
                if let Some(place) = place
                    && let slot @ None = &mut self.round.answers[place]
                {
                    *slot = Some(*answer);
                    self.round.came_late = self.round.again_at.is_some();
                } else if let Some(word) = A::word_of(*answer) {
                    // Nobody waits for it any more, but it may tell of something the agent does not know.
                    self.queue(word, Caller::Nobody);
                }
            }
            AgentMessage::Wake => self.handled += 1,
            AgentMessage::TellWhenSettled(settled) => {
                self.handled += 1;
                self.settled.push(settled);
            }
            AgentMessage::Tick => self.timer.fired(),
            // The barrier is called before its group counts as told: then this asks once more.
            AgentMessage::Leave => self.asked_to_leave = false,
        }
    }

    fn used(&mut self, now: Timestamp) {
        self.handled += 1;
        self.last_used = now;
    }

    fn take_in(&mut self, job: AgentJob<A>) {
        let AgentJob {
            store,
            command,
            expected,
            key,
            permit,
            deadline,
            port,
        } = job;
        let of_callers = |waiting: &&Waiting<A>| matches!(waiting.current.caller, Caller::Port { .. });
        if self.waiting.iter().filter(of_callers).count() >= self.directory.agent_waiting_max() {
            // Freed before the caller is woken, who may come back at once with the same key.
            drop((key, permit));
            let _ = port.send(Err(NotDone::Crowded));
            return;
        }
        self.waiting.push_back(Waiting {
            command,
            current: Current {
                caller: Caller::Port { port, permit },
                key: Key::of(key),
            },
            deadline: Some(deadline),
            store: Some(store),
            expected,
        });
    }

    fn queue(&mut self, command: A::Command, caller: Caller) {
        if self.waiting.len() >= WAITING_MAX {
            // Another agent asks again; what a notice would have told is looked at when there is time.
            metrics().shed.of(metrics::Shed::Cart).increment(1);
            self.missed |= matches!(caller, Caller::Nobody);
            return;
        }
        self.waiting.push_back(Waiting {
            command,
            current: Current {
                caller,
                key: Key::None,
            },
            deadline: None,
            store: None,
            expected: None,
        });
    }

    /// Does what can be done now: gathers, asks again, begins what waits, does what is due.
    fn go_on(&mut self, now: Timestamp) {
        while !self.ended {
            // An answer that came late may be the one that was missing: then nobody is asked again.
            let complete = self.round.came_late && self.round.answers.iter().all(Option::is_some);
            if self.round.again_at.is_some_and(|at| at > now) && !complete {
                return;
            }
            if self.agent.is_working() {
                let again = self.round.again_at.take().is_some() && !complete;
                if again || self.round.asks.is_empty() {
                    if !self.ask(now) {
                        return;
                    }
                } else if self.round.until.is_some_and(|until| until <= now) {
                    let open = self.round.answers.iter_mut().filter(|answer| answer.is_none());
                    open.for_each(|answer| *answer = Some(Answer::Unanswered));
                }
                if self.round.answers.iter().any(Option::is_none) {
                    return;
                }
                self.conclude(now);
                continue;
            }
            self.round.again_at = None;
            if self.room_at.is_some_and(|at| at > now) {
                // What others ask uses their slots, and they hold theirs until it is done: it goes first.
                let asked = |waiting: &Waiting<A>| matches!(waiting.current.caller, Caller::Agent { .. });
                let first = self.waiting.iter().position(asked);
                let Some(waiting) = first.and_then(|place| self.waiting.remove(place)) else {
                    return;
                };
                if self.command(waiting, now) {
                    continue;
                }
                return;
            }
            self.room_at = None;
            if let Some(next) = self.agent.due(now) {
                if !self.begin(next, now) {
                    return;
                }
            } else if let Some(waiting) = self.waiting.pop_front() {
                if !self.command(waiting, now) {
                    return;
                }
            } else if !self.look(now) {
                return;
            }
        }
    }

    /// Has a look at what lost notices would have told; `false` when there is none to be had now.
    fn look(&mut self, now: Timestamp) -> bool {
        let Some(next) = self.agent.look(now).filter(|_| self.missed) else {
            self.missed = false;
            return false;
        };
        let waits_on = self.begin(next, now);
        self.missed = !self.agent.is_working();
        waits_on && !self.missed
    }

    /// Judges what may not wait for the work in hand and does not touch it. Its record has the asker's permit.
    fn at_once(&mut self, command: &A::Command, mut permit: Permit, from: AgentAddress, now: Timestamp) {
        permit.arrived();
        let current = Current {
            caller: Caller::Agent { from, permit },
            key: Key::None,
        };
        match self.agent.decide(command, None, now) {
            Ok(next) => self.step(next, current, now),
            Err(refusal) => self.directory.answer_agent(from, A::answer(Err(refusal))),
        }
    }

    /// Judges a command; `false` when there is no room for its work and it waits on.
    fn command(&mut self, waiting: Waiting<A>, now: Timestamp) -> bool {
        let late = match &waiting.current.caller {
            Caller::Port { port, .. } => {
                port.is_closed() || waiting.deadline.is_some_and(|deadline| now > deadline)
            }
            Caller::Agent { .. } | Caller::Nobody => false,
        };
        if late {
            metrics().shed.of(metrics::Shed::Deadline).increment(1);
            self.refuse(waiting.current, NotDone::Late, None);
            return true;
        }
        let foreign = |store: &crate::domain::ids::StoreId| store != self.agent.store();
        if waiting.store.as_ref().is_some_and(foreign) {
            let not_found = A::not_found();
            self.refuse(waiting.current, A::not_done(not_found, now), None);
            return true;
        }
        let current = self.agent.version();
        if waiting.expected.is_some_and(|expected| expected != current) {
            let refusal = variant::Refusal::VersionMismatch { current };
            self.refuse(waiting.current, NotDone::Refused { refusal, at: now }, None);
            return true;
        }
        if matches!(&waiting.current.key, Key::Claimed(key) if key.claim.is_overtaken()) {
            // Work of before a restart has come to its end under this key: the caller asks again and is answered by its record.
            self.refuse(waiting.current, NotDone::Late, None);
            return true;
        }
        let mark = waiting.current.key.mark();
        match self.agent.decide(&waiting.command, mark, now) {
            Ok(next) => {
                // A record that ends it at once has a slot: the permit of the caller, or of the agent that asks.
                let needs_more = next.after.is_working() || matches!(waiting.current.caller, Caller::Nobody);
                if needs_more && !self.have_slots(next.after.asks().len()) {
                    self.room_at = Some(now.saturating_add(PAUSE_MS));
                    self.waiting.push_front(waiting);
                    return false;
                }
                self.step(next, waiting.current, now);
                true
            }
            Err(refusal) => {
                let told = A::not_done(refusal.clone(), now);
                self.refuse(waiting.current, told, Some(A::answer(Err(refusal))));
                true
            }
        }
    }

    /// Begins what is due by itself; `false` when there is no room for it yet.
    fn begin(&mut self, next: Next<A>, now: Timestamp) -> bool {
        // Without work it still has a record.
        if !self.have_slots(next.after.asks().len()) {
            self.room_at = Some(now.saturating_add(PAUSE_MS));
            // Others' asks do not wait for it.
            let asked = |waiting: &Waiting<A>| matches!(waiting.current.caller, Caller::Agent { .. });
            return self.waiting.iter().any(asked);
        }
        let nobody = Current {
            caller: Caller::Nobody,
            key: Key::None,
        };
        self.step(next, nobody, now);
        true
    }

    /// Makes sure of slots for work with so many asks; work that goes on with more of them needs more.
    fn have_slots(&mut self, asks: usize) -> bool {
        let wanted = entries_max(asks);
        let had = self.slots.as_ref().map_or(0, |(_, had)| *had);
        if had >= wanted {
            return true;
        }
        let Ok(more) = A::reserve(&self.directory, wanted - had) else {
            return false;
        };
        let slots = match self.slots.take() {
            Some((slots, _)) => slots.with(more),
            None => more,
        };
        self.slots = Some((slots, wanted));
        true
    }

    /// Asks what the work in hand asks; `false` when there is no room yet, as after a restart.
    fn ask(&mut self, now: Timestamp) -> bool {
        let asks = if self.resumes {
            self.agent.asks_again()
        } else {
            self.agent.asks()
        };
        let had = self.slots.as_ref().map_or(0, |(_, had)| *had);
        if had < asks.len() + OWN_SLOTS && !self.have_slots(asks.len()) {
            // What it has may be what others wait for.
            self.slots = None;
            self.round.again_at = Some(now.saturating_add(PAUSE_MS));
            return false;
        }
        self.round.number = self.round.number.wrapping_add(1);
        self.round.answers = vec![None; asks.len()];
        self.round.until = Some(now.saturating_add(ANSWER_WITHIN_MS));
        let again = std::mem::take(&mut self.round.sent);
        let mut again = again.into_iter();
        self.round.late.retain(|sent| sent.watch.is_on_its_way());
        for (place, ask) in asks.iter().enumerate() {
            let again = again.next().filter(|sent| sent.watch.is_on_its_way());
            if let Some(sent) = again.or_else(|| self.round.take_late(ask)) {
                // Its answer is still to come: another one would only wait behind it.
                self.round.sent.push(sent);
                continue;
            }
            let (slots, had) = self.slots.as_mut().expect("work that asks has slots");
            let mut permit = slots.split().expect("there is one for each ask");
            *had -= 1;
            let from = AgentAddress {
                agent: self.agent.id(),
                round: self.round.number,
                place,
            };
            self.round.sent.push(Sent {
                ask: ask.clone(),
                from,
                watch: permit.watch(),
            });
            let store = self.agent.store();
            self.round.answers[place] = self.directory.send_ask(ask.clone(), store, permit, from);
        }
        self.round.asks = asks;
        self.resumes = false;
        true
    }

    /// Every ask has its answer.
    fn conclude(&mut self, now: Timestamp) {
        let answers: Vec<Answer> = self.round.answers.iter().flatten().cloned().collect();
        self.round.until = None;
        self.round.came_late = false;
        let next = self.agent.conclude(&answers, now);
        if next.after == self.agent && matches!(next.verdict, Verdict::Working) {
            let missing = self
                .round
                .answers
                .iter_mut()
                .filter(|answer| **answer == Some(Answer::Unanswered));
            missing.for_each(|answer| *answer = None);
            // Others may have the slots meanwhile: one variant that answers nobody must not stop the rest of the shop.
            self.slots = None;
            self.round.again_at = Some(now.saturating_add(self.round.again_ms));
            self.round.again_ms = (self.round.again_ms * 2).min(AGAIN_MAX_MS);
            return;
        }
        self.round.asks.clear();
        let sent = self.round.sent.drain(..);
        let late = sent.filter(|sent| sent.watch.is_on_its_way());
        self.round.late.extend(late);
        self.round.answers.clear();
        self.round.again_ms = AGAIN_MIN_MS;
        let current = Current {
            caller: self.current.take().unwrap_or(Caller::Nobody),
            key: self.agent.work_key().map_or(Key::None, Key::OfWork),
        };
        self.step(next, current, now);
    }

    /// Takes over the next state, logs it, and tells whoever asked.
    fn step(&mut self, next: Next<A>, current: Current, now: Timestamp) {
        let Next {
            mut after,
            happened,
            verdict,
        } = next;
        let Current { caller, key } = current;
        // A success under a key is remembered even if nothing changed.
        let done = matches!(verdict, Verdict::Done);
        let mark = key.mark().filter(|_| done);
        let logs = after != self.agent || mark.is_some();
        if !logs {
            self.tell_unchanged(verdict, Current { caller, key }, now);
            return;
        }
        *after.revision() += 1;
        if let Err(violation) = after.check() {
            // A bug of ours: nothing of this turn reaches the log. The actor ends and is read again from the log.
            panic!("{violation}");
        }
        let ends = !after.is_working();
        self.agent = after;
        self.agent.index(&self.directory);
        let mut agent_told = None;
        let claim = match verdict {
            Verdict::Working => {
                key.stay(self.agent.work_key());
                None
            }
            Verdict::Done => key.claim(&self.directory),
            Verdict::Refused(_) => {
                drop(key.claim(&self.directory));
                None
            }
        };
        let (port, permit) = match (verdict, caller) {
            (Verdict::Working, caller) => {
                self.current = Some(caller);
                (None, None)
            }
            (Verdict::Done, Caller::Port { port, permit }) => (Some((port, None)), Some(permit)),
            (Verdict::Done, Caller::Agent { from, mut permit }) => {
                permit.arrived();
                agent_told = Some((from, A::answer(Ok(Box::new(self.agent.clone())))));
                (None, Some(permit))
            }
            (Verdict::Refused(refusal), Caller::Port { port, permit }) => {
                let refused = Err(A::not_done(refusal, now));
                (Some((port, Some(refused))), Some(permit))
            }
            (Verdict::Refused(refusal), Caller::Agent { from, mut permit }) => {
                permit.arrived();
                agent_told = Some((from, A::answer(Err(refusal))));
                (None, Some(permit))
            }
            (Verdict::Done | Verdict::Refused(_), Caller::Nobody) => (None, None),
        };
        let slots = if ends {
            self.slots.take().map(|(slots, _)| slots)
        } else {
            None
        };
        let permit = match (permit, slots) {
            (Some(permit), Some(slots)) => Some(permit.with(slots)),
            (permit, slots) => permit.or(slots),
        };
        let turn = Box::new(Turn {
            at: now,
            fact: A::fact(self.agent.clone(), happened),
            key: mark,
        });
        let pending = Pending::Turn {
            turn,
            claim,
            port,
            permit,
        };
        match self.directory.append(pending) {
            Ok(number) => self.number = number,
            Err(RejectReason::Closed) => {
                self.ended = true;
                return;
            }
            // The limits exclude it: a bug of ours.
            Err(reason @ RejectReason::TooLarge) => panic!("{reason}"),
        }
        if ends && !self.agent.exists() {
            // It was forgotten: whatever is made in its place is new, in the log too.
            *self.agent.revision() = 0;
        }
        // Behind its record: what another agent logs because of it has to come later, or a crash in between keeps only that.
        if let Some((from, answer)) = agent_told {
            self.directory.answer_agent(from, answer);
        }
    }

    /// Nothing changed and nothing is to be remembered.
    fn tell_unchanged(&mut self, verdict: Verdict<A::Refusal>, current: Current, now: Timestamp) {
        match verdict {
            Verdict::Working => {
                current.key.stay(self.agent.work_key());
                self.current = Some(current.caller);
            }
            Verdict::Done => match current.caller {
                Caller::Port { port, permit } => {
                    let seen = Ok(self.agent.clone().seen(now));
                    self.later(port, seen, permit);
                }
                Caller::Agent { from, permit } => {
                    drop(permit);
                    let answer = A::answer(Ok(Box::new(self.agent.clone())));
                    self.directory.answer_agent(from, answer);
                }
                Caller::Nobody => {}
            },
            Verdict::Refused(refusal) => {
                let told = A::not_done(refusal.clone(), now);
                self.refuse(current, told, Some(A::answer(Err(refusal))));
            }
        }
        if !self.agent.is_working() {
            self.slots = None;
        }
    }

    fn refuse(&self, current: Current, told: NotDone, answer: Option<Answer>) {
        let Current { caller, key } = current;
        // Freed before the caller is woken, who may come back at once with the same key.
        drop(key.claim(&self.directory));
        match caller {
            Caller::Port { port, permit } => self.later(port, Err(told), permit),
            Caller::Agent { from, permit } => {
                drop(permit);
                if let Some(answer) = answer {
                    self.directory.answer_agent(from, answer);
                }
            }
            Caller::Nobody => {}
        }
    }

    /// Answers from facts that may still be on their way to the disk.
    fn later(&self, port: Port, outcome: Outcome, permit: Permit) {
        if self.directory.told() >= self.number {
            drop(permit);
            // A caller that hung up needs no answer.
            let _ = port.send(outcome);
        } else {
            self.directory.repeat(Pending::Later {
                port,
                outcome,
                permit: Some(permit),
            });
        }
    }

    // --- coming and going ---

    fn arm(&mut self, myself: &ActorRef<AgentMessage<A>>, now: Timestamp) {
        if self.asked_to_leave {
            return; // A message of its own is on its way.
        }
        let working = self.agent.is_working();
        let by_itself = if working { None } else { self.agent.next_deadline() };
        // Whoever leaves forgets what is on its way, and would send it again.
        let used = if self.round.has_late() {
            now
        } else {
            self.last_used
        };
        let idle_at = (!working).then(|| used.saturating_add(self.directory.idle_ms()));
        let next = match self.round.again_at.or(self.room_at) {
            Some(again_at) => Some(again_at),
            None => [by_itself, idle_at, self.round.until].into_iter().flatten().min(),
        };
        if let Some(next) = next {
            let soonest = now.saturating_add(1);
            let actor = myself.clone();
            self.timer
                .arm(next.max(soonest), self.directory.clock(), move || {
                    // An actor that has gone needs no tick; the directory's heap has its deadline.
                    let _ = actor.cast(AgentMessage::Tick);
                });
        }
    }

    /// Proposes to leave when nobody needs an actor here; not before the last record is durable.
    fn try_to_leave(&mut self, myself: &ActorRef<AgentMessage<A>>, now: Timestamp) {
        let busy =
            self.agent.is_working() || !self.waiting.is_empty() || self.missed || self.round.has_late();
        let idle = now.since(self.last_used) >= self.directory.idle_ms();
        if busy || self.asked_to_leave || (!idle && self.agent.exists()) {
            return;
        }
        if self.directory.told() >= self.number {
            let left = Left {
                exists: self.agent.exists(),
                encoded: self.agent.encode().as_slice().into(),
                next_deadline: self.agent.next_deadline(),
            };
            let id = self.agent.id();
            self.leaving = self
                .directory
                .retire_agent::<A>(id, self.generation, self.handled, left);
            if self.leaving {
                metrics().actor_passivations.increment(1);
            }
            return;
        }
        self.asked_to_leave = true;
        let myself = myself.clone();
        self.directory.when_told(move || {
            // An actor that died meanwhile is read again by the supervisor.
            let _ = myself.cast(AgentMessage::Leave);
        });
    }
}

impl<A: Housed> Drop for Running<A> {
    fn drop(&mut self) {
        metrics().actors_running.decrement(1.0);
    }
}
