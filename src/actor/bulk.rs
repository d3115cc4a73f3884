//! The coordinator's shell: it logs its intent, asks every line, decides, settles. Two messages a line, and the answer
//! leaves when the decision is durable; nobody waits inside a handler. Its journal slots come from the reserved pool,
//! all of them before it starts or goes on, so that it can always come to an end.
use super::{
    admission::Permit,
    directory::{Directory, Rebuild, Unroutable},
    durable::Pending,
    message::{Answer, BulkAddress, BulkMessage, KeyClaim, Logged, Message, Port},
};
use crate::{
    domain::{
        bulk::{
            ASK_AGAIN_MS, Action, Bulk, DECIDE_WITHIN_MS, Event, Gather, Line, LineOutcome, Next, Plan, Stage,
        },
        ids::{BulkId, ReservationId, VariantOrdinal},
        time::Timestamp,
        variant::{Command, Hold, Refusal, settled},
    },
    storage::record::{Fact, Turn},
    workers::aside,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{sync::oneshot, task::AbortHandle};

/// A line that has not said that it is settled is told again after so long, ms.
const SETTLE_AGAIN_MS: i64 = 1_000;

/// The ractor side of a coordinator.
pub(super) struct BulkActor;

/// What a coordinator starts with.
pub(super) struct BulkStart {
    pub(super) bulk: Bulk,
    directory: Arc<Directory>,
    /// The slots of the whole coordinator; freed at its end.
    permit: Permit,
    caller: Option<Caller>,
    /// Told when it has come to its end.
    done: Option<oneshot::Sender<()>>,
}

struct Caller {
    key: Option<KeyClaim>,
    port: Port,
}

impl BulkStart {
    /// A coordinator of before the restart.
    pub(super) fn resumed(
        bulk: Bulk,
        permit: Permit,
        done: oneshot::Sender<()>,
        directory: Arc<Directory>,
    ) -> Self {
        Self {
            bulk,
            directory,
            permit,
            caller: None,
            done: Some(done),
        }
    }
}

impl Directory {
    /// Starts a coordinator for a caller. `permit` covers [`records_max`](crate::domain::bulk::records_max) of the plan's
    /// lines.
    ///
    /// # Errors
    /// A coordinator of the same id is still settling; the caller's key is free again.
    pub fn start_bulk(
        self: &Arc<Self>,
        id: BulkId,
        plan: Plan,
        key: Option<KeyClaim>,
        permit: Permit,
        port: Port,
    ) -> Result<(), StillSettling> {
        let caller = Some(Caller { key, port });
        let start = BulkStart {
            bulk: Bulk::intended(id, plan),
            directory: Arc::clone(self),
            permit,
            caller,
            done: None,
        };
        self.enter_bulk(start)
    }
}

/// A coordinator of the same id has not come to its end yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillSettling;

/// A running coordinator.
pub(super) struct Running {
    myself: ActorRef<BulkMessage>,
    bulk: Bulk,
    gather: Gather,
    directory: Arc<Directory>,
    key: Option<KeyClaim>,
    port: Option<Port>,
    permit: Option<Permit>,
    /// Lines whose settlement has not been answered, by try and line.
    unsettled: BTreeSet<(u32, usize)>,
    timeout: Option<AbortHandle>,
    done: Option<oneshot::Sender<()>>,
    /// The id is free again.
    left: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also after a panic: the id must not stay taken. What was promised is settled at the next start.
        self.leave();
        if let Some(timeout) = self.timeout.take() {
            timeout.abort();
        }
    }
}

impl Actor for BulkActor {
    type Msg = BulkMessage;
    type State = Running;
    type Arguments = BulkStart;

    async fn pre_start(
        &self,
        myself: ActorRef<BulkMessage>,
        start: BulkStart,
    ) -> Result<Running, ActorProcessingErr> {
        let BulkStart {
            bulk,
            directory,
            permit,
            caller,
            done,
        } = start;
        let fresh = caller.is_some();
        let (key, port) = caller.map_or((None, None), |caller| (caller.key, Some(caller.port)));
        let gather = Gather::new(bulk.plan.mode, &bulk.plan.lines);
        let unsettled = BTreeSet::new();
        let mut running = Running {
            myself,
            bulk,
            gather,
            directory,
            key,
            port,
            permit: Some(permit),
            unsettled,
            timeout: None,
            done,
            left: false,
        };
        if fresh {
            running.begin();
        } else {
            running.resume();
        }
        running.finish_if_settled();
        Ok(running)
    }

    async fn handle(
        &self,
        _: ActorRef<BulkMessage>,
        message: BulkMessage,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        running.handle(message);
        running.finish_if_settled();
        Ok(())
    }
}

impl Running {
    fn begin(&mut self) {
        let now = self.directory.now();
        self.log(Event::Intended(Box::new(self.bulk.plan.clone())), now);
        let (sleep, myself) = (
            self.directory
                .clock()
                .sleep_until(now.saturating_add(DECIDE_WITHIN_MS)),
            self.myself.clone(),
        );
        let task = tokio::spawn(async move {
            sleep.await;
            // A coordinator that has ended needs no reminder.
            let _ = myself.cast(BulkMessage::TimedOut);
        });
        self.timeout = Some(task.abort_handle());
        for line in 0..self.bulk.plan.lines.len() {
            self.ask(line);
        }
    }

    /// After a restart: without a decision everything is given back, with one it is settled again. Both tries are
    /// settled the same way: a prepared line of the first was given back in the log before the second prepared it.
    fn resume(&mut self) {
        if self.bulk.stage == Stage::Trying {
            let event = Event::Decided {
                commit: false,
                outcomes: self.gather.outcomes(),
            };
            self.log(event, self.directory.now());
        }
        self.settle_as_decided(1);
        self.settle_as_decided(2);
    }

    fn handle(&mut self, message: BulkMessage) {
        match message {
            BulkMessage::Answered { from, outcome } if self.bulk.stage == Stage::Trying => {
                let next = self.gather.answered(from.number, from.line, *outcome);
                self.go_on(next);
            }
            BulkMessage::Answered { .. } => {}
            BulkMessage::Settled { from } => {
                self.unsettled.remove(&(from.number, from.line));
            }
            BulkMessage::AskAgain { number, line } => {
                // The reminder may be of an earlier coordinator with this id, over other lines.
                let known = line < self.bulk.plan.lines.len();
                if known && self.is_trying(number) {
                    self.ask(line);
                }
            }
            BulkMessage::SettleAgain => self.settle_again(),
            BulkMessage::LookedBack { number, ended } if self.is_trying(number) => {
                match self.gather.looked_back(&self.bulk.plan.action, ended) {
                    // What there was to look up has been.
                    Next::Decide { commit } => self.decide(commit),
                    next @ (Next::Wait | Next::Ask(_) | Next::AskAgain(_) | Next::TryInOrder) => {
                        self.go_on(next)
                    }
                }
            }
            // Whether or not somebody is still looking back: what is not known by now is refused.
            BulkMessage::TimedOut if self.bulk.stage == Stage::Trying => {
                if let Next::Decide { commit } = self.gather.timed_out() {
                    self.decide(commit);
                }
            }
            BulkMessage::LookedBack { .. } | BulkMessage::TimedOut => {}
        }
    }

    /// Whether nothing is decided and this try is the one that goes on.
    fn is_trying(&self, number: u32) -> bool {
        self.bulk.stage == Stage::Trying && number == self.gather.number()
    }

    fn go_on(&mut self, next: Next) {
        match next {
            Next::Wait => {}
            Next::Ask(line) => self.ask(line),
            Next::AskAgain(line) => self.ask_again(line),
            Next::TryInOrder => {
                self.settle(self.gather.number(), &[], self.directory.now());
                let first = self.gather.try_in_order();
                self.go_on(first);
            }
            Next::Decide { commit } => self.look_back(commit),
        }
    }

    fn ask(&mut self, line: usize) {
        let number = self.gather.number();
        let command = self.bulk.ask(&self.bulk.plan.lines[line], number);
        if let Some(outcome) = self.send(line, number, command) {
            let next = self.gather.answered(number, line, outcome);
            self.go_on(next);
        }
    }

    /// A line is in another coordinator's hands: it is asked again in a moment.
    fn ask_again(&self, line: usize) {
        let again = self.directory.now().saturating_add(ASK_AGAIN_MS);
        let (sleep, directory, bulk) = (
            self.directory.clock().sleep_until(again),
            Arc::clone(&self.directory),
            self.bulk.id,
        );
        let number = self.gather.number();
        tokio::spawn(async move {
            sleep.await;
            directory.tell_bulk(bulk, BulkMessage::AskAgain { number, line });
        });
    }

    /// Decides, once it is known how those reservations ended that their variants keep no longer: the decision's record then
    /// says all that is answered, and a repeat tells the same however long ago that was.
    fn look_back(&mut self, commit: bool) {
        let gone = self.gone();
        if gone.is_empty() {
            return self.decide(commit);
        }
        let (rebuild, myself) = (self.directory.rebuilder(), self.myself.clone());
        let number = self.gather.number();
        let workers = self.directory.workers();
        // The records they ended with may still be on their way.
        let told = self.directory.caught_up();
        tokio::spawn(async move {
            if !told.await {
                return; // The journal has ended, and with it the process.
            }
            let looked = aside(&*workers, move || remembered(&*rebuild, gone)).await;
            // What could not be looked up is said to be unknown.
            let ended = looked.unwrap_or_default();
            // A coordinator that is out of time has decided without.
            let _ = myself.cast(BulkMessage::LookedBack { number, ended });
        });
    }

    /// The lines whose reservations their variants keep no longer.
    fn gone(&self) -> Vec<(usize, ReservationId)> {
        let plan = &self.bulk.plan;
        if matches!(plan.action, Action::Reserve { .. }) {
            return Vec::new();
        }
        let outcomes = self.gather.outcomes();
        let lines = plan.lines.iter().zip(&outcomes).enumerate();
        let gone = lines.filter(|(_, (line, outcome))| {
            let unknown = match outcome {
                LineOutcome::Refused(Refusal::ReservationNotFound | Refusal::VariantNotFound) => true,
                // Its deadline came with the question: given back all the same.
                LineOutcome::Refused(Refusal::ReservationExpired { .. }) => plan.action == Action::Release,
                LineOutcome::Refused(_) | LineOutcome::Done(_) | LineOutcome::Unanswered => false,
            };
            unknown && line.variant.is_some()
        });
        gone.map(|(place, (line, _))| (place, line.reservation)).collect()
    }

    fn decide(&mut self, commit: bool) {
        let now = self.directory.now();
        let number = self.gather.number();
        let mut outcomes = self.gather.outcomes();
        if commit {
            for outcome in &mut outcomes {
                // One that is not pinned was what it should become, and stays as it is.
                if let LineOutcome::Done(hold) = outcome
                    && hold.pin.is_some()
                {
                    *hold = settled(hold, true, now)
                        .hold()
                        .cloned()
                        .expect("settling is about a hold");
                }
            }
        }
        let decided = self.log(Event::Decided { commit, outcomes }, now);
        self.settle_as_decided(number);
        self.answer(decided);
    }

    /// Answers from the decision, once it is durable. Queued behind the settlements, which are in the lines' mailboxes by
    /// now: whoever hears of the decision and looks at a line finds what it made of it.
    fn answer(&mut self, decided: Option<Logged>) {
        if let (Some(port), Some(decided)) = (self.port.take(), decided) {
            self.directory.repeat(Pending::Later {
                port,
                outcome: Ok(Answer::Logged(Box::new(decided))),
                permit: None,
            });
        }
    }

    fn settle_as_decided(&mut self, number: u32) {
        if let Stage::Decided { kept, at } = &self.bulk.stage {
            let (kept, at) = (kept.clone(), *at);
            self.settle(number, &kept, at);
        }
    }

    /// Sends the decision to every line that may have prepared something: to keep its promise, or to let go.
    fn settle(&mut self, number: u32, kept: &[bool], decided_at: Timestamp) {
        for line in 0..self.bulk.plan.lines.len() {
            let commit = kept.get(line).copied().unwrap_or(false);
            let command = self
                .bulk
                .settle(&self.bulk.plan.lines[line], number, commit, decided_at);
            // A variant that has gone has nothing to settle; a quarantined one is told again until it is back.
            match self.send(line, number, command) {
                None | Some(LineOutcome::Unanswered) => {
                    self.unsettled.insert((number, line));
                }
                Some(LineOutcome::Done(_) | LineOutcome::Refused(_)) => {}
            }
        }
        self.remind();
    }

    /// Lines that have not answered are told again after a while: their actor may have died with the message.
    fn remind(&self) {
        let again = self.directory.now().saturating_add(SETTLE_AGAIN_MS);
        let (sleep, directory, bulk) = (
            self.directory.clock().sleep_until(again),
            Arc::downgrade(&self.directory),
            self.bulk.id,
        );
        tokio::spawn(async move {
            sleep.await;
            if let Some(directory) = directory.upgrade() {
                directory.tell_bulk(bulk, BulkMessage::SettleAgain);
            }
        });
    }

    fn settle_again(&mut self) {
        let Stage::Decided { kept, at } = &self.bulk.stage else {
            return;
        };
        let (kept, at) = (kept.clone(), *at);
        for (number, line) in self.unsettled.clone() {
            let commit = kept.get(line).copied().unwrap_or(false);
            let command = self.bulk.settle(&self.bulk.plan.lines[line], number, commit, at);
            if let Some(LineOutcome::Refused(_)) = self.send(line, number, command) {
                self.unsettled.remove(&(number, line));
            }
        }
        self.remind();
    }

    /// Sends a command to a line's variant; when it cannot be sent, what that means for the line.
    fn send(&self, line: usize, number: u32, command: Command) -> Option<LineOutcome> {
        let Line { variant, .. } = &self.bulk.plan.lines[line];
        let find = |ordinal: VariantOrdinal| self.directory.by_ordinal(ordinal);
        let Some(entry) = variant.and_then(find) else {
            return Some(LineOutcome::Refused(Refusal::VariantNotFound));
        };
        let from = BulkAddress {
            bulk: self.bulk.id,
            number,
            line,
        };
        let ask = Message::Ask {
            command: Box::new(command),
            from,
        };
        match self.directory.route(&entry, ask) {
            Ok(()) => None,
            Err(Unroutable::Gone) => Some(LineOutcome::Refused(Refusal::VariantNotFound)),
            Err(Unroutable::Quarantined) => Some(LineOutcome::Unanswered),
        }
    }

    /// Gives the id free, once: somebody else may have it after that.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.directory.leave_bulk(self.bulk.id);
        }
    }

    fn finish_if_settled(&mut self) {
        let decided = matches!(self.bulk.stage, Stage::Decided { .. });
        if decided && self.unsettled.is_empty() {
            self.log(Event::Finished, self.directory.now());
            // Before anybody is told: whoever hears of the end may start another one of this id.
            self.leave();
            if let Some(done) = self.done.take() {
                // Whoever resumed it may have given up waiting.
                let _ = done.send(());
            }
            self.myself.stop(None);
        }
    }

    /// Hands a record on; `None` when the journal has ended, and with it the process.
    fn log(&mut self, event: Event, at: Timestamp) -> Option<Logged> {
        self.bulk.apply(&event, at);
        // Only a kept promise is remembered under its key: an abort is a refusal, and a retry is judged afresh.
        let (kept, last) = match &event {
            Event::Decided { commit, .. } => (*commit, false),
            Event::Finished => (false, true),
            Event::Intended(_) => (false, false),
        };
        let decided = matches!(event, Event::Decided { .. });
        let key = self.key.take_if(|_| kept);
        let turn = Box::new(Turn {
            at,
            fact: Fact::Bulk {
                id: self.bulk.id,
                event,
            },
            key: key.as_ref().map(KeyClaim::mark),
        });
        if decided && !kept {
            self.key = None;
        }
        let permit = self.permit.take_if(|_| last);
        let claim = key.map(|key| key.claim);
        let logged = (*turn).clone();
        let pending = Pending::Turn {
            turn,
            claim,
            port: None,
            permit,
        };
        let number = self.directory.append(pending).ok()?;
        Some(Logged { number, turn: logged })
    }
}

/// The reservations that have ended, those that are remembered. Blocks on the disk.
fn remembered(rebuild: &dyn Rebuild, gone: Vec<(usize, ReservationId)>) -> Vec<(usize, Hold)> {
    let ended = gone.into_iter().filter_map(|(line, id)| match rebuild.ended(id) {
        Ok(hold) => hold.map(|hold| (line, hold)),
        Err(error) => {
            tracing::error!(reservation = %id, %error, "a reservation that has ended cannot be read");
            None
        }
    });
    ended.collect()
}
