//! The variant's shell: receive, stamp the time, decide, apply, hand the record on.
//!
//! One message is one turn, and a turn never awaits: between `decide` and the push to the journal nothing can come in
//! between. The turn of a list that is taken over as one ends with a second message, and what comes before it waits
//! ([`super::together`]). The actor does not wait for the disk; it judges the next buyer. State may therefore run ahead of the log;
//! what is answered may not.
use super::{
    admission::Permit,
    agent::AgentAddress,
    directory::{Directory, Retired},
    durable::Pending,
    entry::Entry,
    message::{
        Answer, BulkAddress, BulkMessage, Draft, Drafting, Job, KeyClaim, ListId, Message, NotDone, Outcome,
        Port, Viewing, What,
    },
    timer::Timer,
};
use crate::{
    domain::{
        agent::{self, Quote, Told},
        bulk::LineOutcome,
        ids::{StoreId, VariantId},
        time::Timestamp,
        variant::{
            Command, Decision, EXPIRIES_PER_TURN, Event, Head, Hold, Import, Refusal, Reserve, Sell, Variant,
            View,
        },
    },
    storage::{
        dto,
        journal::RejectReason,
        record::{Fact, Turn, VariantFact},
    },
    telemetry::metrics::{self, metrics},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// A turn that found the reserved pool empty tries again after this long, ms.
const PAUSE_MS: i64 = 50;

/// With more reservations than this a variant stays awake once it was woken: encoding them again for every deadline
/// would cost more than the actor.
const SLEEPS_WITH_HOLDS_MAX: usize = 1_024;

/// The ractor side of a variant.
pub(super) struct VariantActor;

/// What an actor starts with.
pub(super) struct Start {
    pub(super) variant: Variant,
    pub(super) number: u64,
    pub(super) generation: u64,
    pub(super) entry: Arc<Entry>,
    pub(super) directory: Arc<Directory>,
}

/// A running variant.
pub(super) struct Running {
    variant: Variant,
    /// The last record of this variant.
    number: u64,
    generation: u64,
    entry: Arc<Entry>,
    directory: Arc<Directory>,
    timer: Timer,
    /// Routed messages taken from the mailbox, against the directory's count of those it put there.
    handled: u64,
    last_used: Timestamp,
    /// Woken by the heap or an import and not used by anybody since: it leaves as soon as its work is durable.
    only_woken: bool,
    /// The reserved pool was empty: nothing is tried before this moment.
    paused_until: Timestamp,
    leaving: bool,
    /// The journal has ended, and with it this life of the shop: nothing is done any more.
    ended: bool,
    /// A [`Message::More`] is in the mailbox.
    more: bool,
    /// A [`Message::Leave`] comes once its last record is durable.
    asked_to_leave: bool,
    /// The turn of a list that is to be taken over as one: until it is resolved nothing else happens here.
    drafted: Option<Drafted>,
    /// What came meanwhile: no more than a mailbox takes in the second that a list may take.
    aside: VecDeque<Message>,
}

/// A turn that is judged and may come to the log.
struct Drafted {
    list: ListId,
    events: Vec<Event>,
    at: Timestamp,
}

impl Actor for VariantActor {
    type Msg = Message;
    type State = Running;
    type Arguments = Start;

    async fn pre_start(&self, _: ActorRef<Message>, start: Start) -> Result<Running, ActorProcessingErr> {
        metrics().actor_starts.increment(1);
        metrics().actors_running.increment(1.0);
        let last_used = start.variant.head().decided_at;
        Ok(Running {
            variant: start.variant,
            number: start.number,
            generation: start.generation,
            entry: start.entry,
            directory: start.directory,
            timer: Timer::default(),
            handled: 0,
            last_used,
            only_woken: true,
            paused_until: last_used,
            leaving: false,
            ended: false,
            more: false,
            asked_to_leave: false,
            drafted: None,
            aside: VecDeque::new(),
        })
    }

    /// Nothing before this may fail: only from here on the supervisor hears of it.
    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let now = running.directory.now().max(running.variant.head().decided_at);
        (running.last_used, running.paused_until) = (now, now);
        running.entry.gate.publish(&running.variant, now);
        running.arm(&myself, now);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        if running.leaving || running.ended {
            // What came after is a tick: everything routed had been handled. The place may be another's by now.
            return Ok(());
        }
        let mut next = running.now_or_aside(message);
        while let Some(message) = next {
            running.handle(&myself, message);
            next = running.put_aside();
        }
        if running.leaving {
            myself.stop(None);
        }
        Ok(())
    }
}

impl Running {
    /// The message, if it is handled now. While a list has a turn of this variant in its hands, only what becomes of the list
    /// is; everything else is put aside.
    fn now_or_aside(&mut self, message: Message) -> Option<Message> {
        if self.drafted.is_none() || matches!(message, Message::Resolve { .. }) {
            return Some(message);
        }
        self.aside.push_back(message);
        None
    }

    /// The next message that was put aside and is handled now.
    fn put_aside(&mut self) -> Option<Message> {
        let waits = self.drafted.is_some() || self.leaving || self.ended;
        if waits { None } else { self.aside.pop_front() }
    }

    fn handle(&mut self, myself: &ActorRef<Message>, message: Message) {
        let now = self.directory.now().max(self.variant.head().decided_at);
        match message {
            Message::Command(job) if matches!(job.command, Command::Import(_)) => {
                // A list says something of every variant: one that only the list woke leaves again at once.
                self.handled += 1;
                self.command(*job, now);
                self.try_to_leave(myself, now);
            }
            Message::Command(job) => {
                self.used(now);
                self.command(*job, now);
            }
            Message::Ask { command, from } => {
                self.used(now);
                self.ask(&command, from, now);
            }
            Message::AgentAsk {
                command,
                permit,
                from,
            } => {
                self.used(now);
                self.ask_of_agent(&command, permit, from, now);
            }
            Message::Draft(drafting) => {
                self.handled += 1;
                self.draft(*drafting, now);
                self.try_to_leave(myself, now);
            }
            Message::Resolve { list, logged } => {
                self.handled += 1;
                self.resolve(list, logged, now);
                if self.aside.is_empty() {
                    self.try_to_leave(myself, now);
                }
            }
            Message::View(viewing) => {
                self.used(now);
                self.view(*viewing, now);
            }
            Message::Wake => {
                self.handled += 1;
                self.expire(myself, now);
            }
            Message::Tick => {
                self.timer.fired();
                if !self.more {
                    self.expire(myself, now);
                }
            }
            Message::More => {
                self.more = false;
                self.expire(myself, now);
            }
            Message::Leave => {
                self.asked_to_leave = false;
                self.try_to_leave(myself, now);
            }
        }
        if !self.leaving && !self.ended {
            self.arm(myself, now);
        }
    }

    fn used(&mut self, now: Timestamp) {
        self.handled += 1;
        self.last_used = now;
        self.only_woken = false;
    }

    fn command(&mut self, job: Job, now: Timestamp) {
        let Job {
            mut command,
            key,
            permit,
            deadline,
            port,
        } = job;
        if port.is_closed() || now > deadline {
            metrics().shed.of(metrics::Shed::Deadline).increment(1);
            // Judged by nobody, so it had no effect; the caller may have gone, then this goes nowhere.
            let _ = port.send(Err(NotDone::Late));
            return;
        }
        // The moment in the id is the one it is granted at.
        if let Command::Reserve(Reserve { id, .. }) | Command::Sell(Sell { id, .. }) = &mut command {
            *id = self.entry.new_reservation(now);
        }
        match self.variant.decide(&command, now) {
            Ok(Decision::Nothing) => self.later(port, Ok(Answer::Count(0)), permit),
            Ok(Decision::Granted(events)) if events.is_empty() => {
                self.later(port, Ok(Answer::Count(0)), permit)
            }
            Ok(Decision::Granted(events)) => {
                let changed = changed_in_a_cart(&events);
                let granted = Granted {
                    events,
                    key,
                    port: Some((port, None)),
                    permit: Some(permit),
                };
                if self.log(granted, now)
                    && let Some(hold) = changed
                {
                    self.directory.tell_cart(&hold);
                }
            }
            Ok(Decision::Repeat(hold)) => {
                // Freed before the caller is woken, who has the answer remembered under the same key.
                drop(key);
                let at = hold.told_at(now);
                self.later(port, Ok(Answer::Repeat { hold, at }), permit);
            }
            Ok(Decision::Refused { events, refusal }) => {
                let refused = Err(NotDone::Refused { refusal, at: now });
                let granted = Granted {
                    events,
                    key: None,
                    port: Some((port, Some(refused))),
                    permit: Some(permit),
                };
                self.log(granted, now);
            }
            Err(refusal) => {
                let waits = refusal.cites_a_fact();
                let refused = Err(NotDone::Refused { refusal, at: now });
                if waits {
                    self.later(port, refused, permit);
                } else {
                    // Freed before the caller is woken, who may come back at once with the same key.
                    drop(key);
                    drop(permit);
                    let _ = port.send(refused);
                }
            }
        }
    }

    /// A coordinator's command: its slots are taken, and the answer is a message that may leave once the record is
    /// queued, because the coordinator's own record comes later in the same log.
    fn ask(&mut self, command: &Command, from: BulkAddress, now: Timestamp) {
        let silent = |events| Granted {
            events,
            key: None,
            port: None,
            permit: None,
        };
        let mut logged = true;
        let outcome = match self.variant.decide(command, now) {
            Ok(Decision::Granted(events)) => {
                let hold = events.last().and_then(Event::hold).cloned();
                let changed = changed_in_a_cart(&events);
                logged = self.log(silent(events), now);
                if let Some(hold) = changed.filter(|_| logged) {
                    self.directory.tell_cart(&hold);
                }
                hold.filter(|_| logged)
                    .map_or(LineOutcome::Unanswered, LineOutcome::Done)
            }
            Ok(Decision::Repeat(hold)) => LineOutcome::Done(*hold),
            // No line of a bulk asks for something that holds nothing.
            Ok(Decision::Nothing) => LineOutcome::Unanswered,
            Ok(Decision::Refused { events, refusal }) => {
                self.log(silent(events), now);
                LineOutcome::Refused(refusal)
            }
            Err(refusal) => LineOutcome::Refused(refusal),
        };
        if !logged && matches!(command, Command::Settle { .. }) {
            return; // The coordinator asks again.
        }
        let settled = matches!(command, Command::Settle { .. });
        let answer = if settled {
            BulkMessage::Settled { from }
        } else {
            let outcome = Box::new(outcome);
            BulkMessage::Answered { from, outcome }
        };
        self.directory.tell_bulk(from.bulk, answer);
    }

    /// A cart's or an order's command: its permit goes on into the record, and the answer may leave once that is queued, as
    /// above.
    fn ask_of_agent(
        &mut self,
        command: &Command,
        mut permit: Option<Permit>,
        from: Option<AgentAddress>,
        now: Timestamp,
    ) {
        if let Some(permit) = &mut permit {
            permit.arrived();
        }
        let silent = |events| Granted {
            events,
            key: None,
            port: None,
            permit,
        };
        let told = match self.variant.decide(command, now) {
            Ok(Decision::Granted(events)) => {
                let hold = events.last().and_then(Event::hold).cloned();
                if !self.log(silent(events), now) {
                    return; // Nothing was done; the agent asks again.
                }
                hold.map_or(Told::Nothing, |hold| Told::Hold(Box::new(hold)))
            }
            Ok(Decision::Repeat(hold)) => Told::Hold(hold),
            Ok(Decision::Nothing) => Told::Nothing,
            Ok(Decision::Refused { events, refusal }) => {
                self.log(silent(events), now);
                Told::Refused(refusal)
            }
            Err(refusal) => Told::Refused(refusal),
        };
        let settings = &self.variant.head().settings;
        let quote = Some(Quote {
            price: settings.price,
            mode: settings.reservation_mode,
        });
        if let Some(from) = from {
            self.directory
                .answer_agent(from, agent::Answer::Variant { told, quote });
        }
    }

    /// Judges a line of a list that is taken over as one, and waits if it can be had. What is due goes to the log by itself:
    /// it has ended whatever becomes of the list.
    fn draft(&mut self, drafting: Drafting, now: Timestamp) {
        let Drafting {
            list,
            import,
            permit,
            deadline,
            port,
        } = drafting;
        let drafted = if port.is_closed() || now > deadline {
            metrics().shed.of(metrics::Shed::Deadline).increment(1);
            Err(NotDone::Late)
        } else {
            self.judge(import, permit, now)
        };
        let told = drafted.map(|events| {
            let revision = self.variant.head().revision + events.len() as u64;
            let turn = (!events.is_empty()).then(|| Box::new(self.turn(events.clone(), revision, None, now)));
            let at = now;
            self.drafted = Some(Drafted { list, events, at });
            let generation = self.generation;
            Draft { generation, turn }
        });
        // Whoever has given up says so by letting go.
        let _ = port.send(told);
    }

    /// What a line would do here, after what is due; no events where it changes nothing.
    fn judge(&mut self, import: Import, permit: Permit, now: Timestamp) -> Result<Vec<Event>, NotDone> {
        let (mut due, refusal) = match self.variant.decide(&Command::Import(Box::new(import)), now) {
            Ok(Decision::Granted(events)) => (events, None),
            Ok(Decision::Nothing | Decision::Repeat(_)) => (Vec::new(), None),
            Ok(Decision::Refused { events, refusal }) => (events, Some(refusal)),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let events = due.split_off(due.partition_point(|event| event.hold().is_some()));
        let due = Granted {
            events: due,
            key: None,
            port: None,
            permit: Some(permit),
        };
        if !self.log(due, now) {
            return Err(if self.leaving {
                NotDone::Quarantined
            } else {
                NotDone::Late
            });
        }
        if let Some(refusal) = refusal {
            return Err(NotDone::Refused { refusal, at: now });
        }
        if let Err(violation) = self.variant.check_after(&events, now) {
            // A bug of ours, as in `log`: none of it reaches the log.
            self.directory.quarantine(&self.entry, violation.to_string());
            self.leaving = true;
            return Err(NotDone::Quarantined);
        }
        Ok(events)
    }

    /// What the record of these events says, the last of which leads to `revision`; `view` is what whoever asked is shown.
    fn turn(&self, events: Vec<Event>, revision: u64, view: Option<Box<View>>, at: Timestamp) -> Turn {
        let head = self.variant.head();
        Turn {
            at,
            fact: Fact::Variant(VariantFact {
                ordinal: head.ordinal,
                revision,
                named: named(head, &events),
                events,
                view,
            }),
            key: None,
        }
    }

    /// A list is done with: its turn here is in the log, or nothing happened. What came meanwhile is handled next.
    fn resolve(&mut self, list: ListId, logged: Option<u64>, now: Timestamp) {
        // One that was refused, or asked an earlier life of this variant, is not waited for.
        let Some(Drafted { events, at, .. }) = self.drafted.take_if(|drafted| drafted.list == list) else {
            return;
        };
        if let Some(number) = logged {
            for event in &events {
                self.variant.apply(event, at);
            }
            self.number = number;
        }
        self.entry.gate.publish(&self.variant, now);
    }

    fn view(&mut self, viewing: Viewing, now: Timestamp) {
        let Viewing {
            what,
            permit,
            deadline,
            port,
        } = viewing;
        if port.is_closed() || now > deadline {
            metrics().shed.of(metrics::Shed::Deadline).increment(1);
            let _ = port.send(Err(NotDone::Late));
            return;
        }
        let outcome = match what {
            What::Variant if self.variant.head().exists() => {
                Ok(Answer::Variant(Box::new(self.variant.view(now))))
            }
            What::Variant => Err(NotDone::Refused {
                refusal: Refusal::VariantNotFound,
                at: now,
            }),
            What::Due => Ok(Answer::Count(self.variant.due_count(now))),
            What::Holds(ids) => {
                let hold = |id| self.variant.hold(id).cloned();
                Ok(Answer::Holds {
                    holds: ids.into_iter().map(hold).collect(),
                    at: now,
                })
            }
        };
        self.later(port, outcome, permit);
    }

    /// Gives back what is due, a bounded number a turn, so that buyers come in between.
    fn expire(&mut self, myself: &ActorRef<Message>, now: Timestamp) {
        let Ok(permit) = self.directory.reserve_slots(1) else {
            self.paused_until = now.saturating_add(PAUSE_MS);
            return;
        };
        let events = self.variant.expire_due(now, EXPIRIES_PER_TURN);
        if events.is_empty() {
            drop(permit);
            self.try_to_leave(myself, now);
            return;
        }
        for hold in events
            .iter()
            .filter(|event| matches!(event, Event::Expired(_)))
            .filter_map(Event::hold)
        {
            metrics()
                .expiry_lag_seconds
                .record(seconds(now.since(hold.expires_at)));
        }
        self.log(
            Granted {
                events,
                key: None,
                port: None,
                permit: Some(permit),
            },
            now,
        );
        if self
            .variant
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            // A full turn: the rest takes its place behind the buyers who wait, once.
            self.more = myself.cast(Message::More).is_ok();
        } else {
            self.try_to_leave(myself, now);
        }
    }

    // --- the log ---

    /// Applies the events and hands their records to the journal: one record, unless the command needed more expiries
    /// than a turn may log. Those go ahead in records of their own, whose slots come from the reserved pool. `false` when
    /// nothing was done: the pool is empty, or the variant is quarantined by what the events would have made of it.
    fn log(&mut self, granted: Granted, now: Timestamp) -> bool {
        let Granted {
            mut events,
            key,
            port,
            permit,
        } = granted;
        if events.is_empty() {
            return true;
        }
        // The last record has the command's own event beside a turn's expiries.
        let ahead = events.len().saturating_sub(2) / EXPIRIES_PER_TURN;
        let Ok(mut slots) = (0..ahead)
            .map(|_| self.directory.reserve_slots(1))
            .collect::<Result<Vec<_>, _>>()
        else {
            // Nothing was applied; the caller may come again when there is room.
            metrics().shed.of(metrics::Shed::Process).increment(1);
            if let Some((port, _)) = port {
                let _ = port.send(Err(NotDone::Late));
            }
            return false;
        };
        for event in &events {
            self.variant.apply(event, now);
        }
        if let Err(violation) = self.variant.check() {
            // A bug of ours: nothing of this turn reaches the log, and the state it spoiled is dropped.
            metrics().oversell_units.increment(units(self.variant.oversold()));
            self.directory.quarantine(&self.entry, violation.to_string());
            if let Some((port, _)) = port {
                let _ = port.send(Err(NotDone::Quarantined));
            }
            self.leaving = true;
            return false;
        }
        self.entry.gate.publish(&self.variant, now);
        while events.len() > EXPIRIES_PER_TURN + 1 {
            let rest = events.split_off(EXPIRIES_PER_TURN);
            let expired = Granted {
                events,
                key: None,
                port: None,
                permit: slots.pop(),
            };
            self.append(expired, rest.len(), now);
            events = rest;
        }
        self.append(
            Granted {
                events,
                key,
                port,
                permit,
            },
            0,
            now,
        );
        if self.variant.head().deleted {
            // Only now: whoever creates a variant of this id anew must come behind this record.
            self.entry.was_deleted_by(self.number);
        }
        true
    }

    /// Hands one record to the journal, with `later` events of the same turn still to come.
    fn append(&mut self, granted: Granted, later: usize, now: Timestamp) {
        let Granted {
            events,
            key,
            port,
            permit,
        } = granted;
        let shops_side = events.last().is_some_and(|event| event.hold().is_none());
        let view = shops_side.then(|| Box::new(self.variant.view(now)));
        let revision = self.variant.head().revision - later as u64;
        let turn = Box::new(Turn {
            key: key.as_ref().map(KeyClaim::mark),
            ..self.turn(events, revision, view, now)
        });
        let claim = key.map(|key| key.claim);
        let pending = Pending::Turn {
            turn,
            claim,
            port,
            permit,
        };
        match self.directory.append(pending) {
            Ok(number) => self.number = number,
            Err(RejectReason::Closed) => self.ended = true,
            // The state has run ahead of a log that will never catch up, so it is dropped.
            Err(reason @ RejectReason::TooLarge) => {
                self.directory.quarantine(&self.entry, reason.to_string());
                self.leaving = true;
            }
        }
    }

    /// Answers from facts that may still be on their way to the disk.
    fn later(&self, port: Port, outcome: Outcome, permit: Permit) {
        planted!(ReorderedAnswers => { drop(permit); _ = port.send(outcome); return });
        if self.directory.told() >= self.number {
            drop(permit);
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

    fn arm(&mut self, myself: &ActorRef<Message>, now: Timestamp) {
        if self.more || self.asked_to_leave {
            return; // A message of its own is on its way.
        }
        let idle_at =
            (self.variant.held() == 0).then(|| self.last_used.saturating_add(self.directory.idle_ms()));
        let paused = (self.paused_until > now).then_some(self.paused_until);
        let next = [self.variant.next_deadline(), idle_at, paused]
            .into_iter()
            .flatten()
            .min();
        if let Some(next) = next {
            let soonest = now.saturating_add(1).max(self.paused_until);
            let actor = myself.clone();
            self.timer
                .arm(next.max(soonest), self.directory.clock(), move || {
                    // An actor that has gone needs no tick; the directory's heap has its deadline.
                    let _ = actor.cast(Message::Tick);
                });
        }
    }

    /// Proposes to leave when nobody needs an actor here; not before the last record is durable.
    fn try_to_leave(&mut self, myself: &ActorRef<Message>, now: Timestamp) {
        if self.leaving || self.drafted.is_some() {
            return; // Its seat is closed already, or what it judged is still to come to the log.
        }
        let idle = now.since(self.last_used) >= self.directory.idle_ms() && self.variant.held() == 0;
        let only_woken = self.only_woken && self.variant.holds().len() <= SLEEPS_WITH_HOLDS_MAX;
        if !idle && !only_woken {
            return;
        }
        if self.directory.told() >= self.number {
            self.leave();
            return;
        }
        if self.asked_to_leave {
            return;
        }
        self.asked_to_leave = true;
        let myself = myself.clone();
        self.directory.when_told(move || {
            // An actor that died meanwhile is rebuilt by the supervisor.
            let _ = myself.cast(Message::Leave);
        });
    }

    fn leave(&mut self) {
        let retired = Retired {
            exists: self.variant.head().exists(),
            encoded: dto::encode_variant(&self.variant),
            number: self.number,
            next_deadline: self.variant.next_deadline(),
        };
        self.leaving = self
            .directory
            .retire(&self.entry, self.generation, self.handled, retired);
        if self.leaving {
            metrics().actor_passivations.increment(1);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        metrics().actors_running.decrement(1.0);
    }
}

/// Store and id, said with the creation.
fn named(head: &Head, events: &[Event]) -> Option<(StoreId, VariantId)> {
    let creates = matches!(events.first(), Some(Event::Created { .. }));
    creates.then(|| (head.store.clone(), head.id.clone()))
}

fn seconds(ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

/// Units as a gauge shows them; far below the range in which floats count exactly.
fn units(units: u64) -> f64 {
    f64::from(u32::try_from(units).unwrap_or(u32::MAX))
}

/// The hold that a turn changed or ended, if it is one of a cart made here: its cart has to know. What a coordinator promised is
/// not done yet, and of what is held anew its cart was the one who asked.
fn changed_in_a_cart(events: &[Event]) -> Option<Hold> {
    let last = events.last()?;
    let promised = matches!(last, Event::Pinned(_) | Event::Unpinned(_) | Event::Withdrawn(_));
    let hold = last
        .hold()
        .filter(|hold| !promised && hold.is_in_a_cart() && hold.version > 1);
    hold.cloned()
}

/// What a turn leads to, with what travels along.
struct Granted {
    events: Vec<Event>,
    key: Option<KeyClaim>,
    port: Option<(Port, Option<Outcome>)>,
    permit: Option<Permit>,
}
