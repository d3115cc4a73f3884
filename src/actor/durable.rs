//! What the journal does with a record once it is on the device: projections, keys, then the answers, in log order.
use super::{
    admission::Permit,
    message::{Answer, Logged, Outcome, Port},
};
use crate::{
    domain::{bulk, variant::Event},
    storage::{
        journal::{Delivered, DurableObserver},
        keys::Claim,
        projection::Projection,
        record::{Fact, Turn},
    },
    telemetry::metrics::{self, Operation, metrics},
};
use std::{fmt, sync::Arc};
use tokio::sync::mpsc;

/// What travels with a journal entry.
pub enum Pending {
    /// A turn with a record.
    Turn {
        /// What the record says.
        turn: Box<Turn>,
        /// Its idempotency key.
        claim: Option<Claim>,
        /// Who waits, and for which answer if it is not the turn itself.
        port: Option<(Port, Option<Outcome>)>,
        /// The slots it uses; a line's are its coordinator's.
        permit: Option<Permit>,
    },
    /// An answer that repeats earlier facts and must not overtake them.
    Later {
        /// Who waits.
        port: Port,
        /// For what.
        outcome: Outcome,
        /// The slot it uses; a coordinator's are its own.
        permit: Option<Permit>,
    },
}

impl Pending {
    /// Whether somebody waits until it is durable.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Turn { port, .. } => port.is_some(),
            Self::Later { .. } => true,
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Turn { .. } => "Turn",
            Self::Later { .. } => "Later",
        })
    }
}

/// Runs on the journal's writer thread after each sync.
pub struct Durable {
    projection: Arc<Projection>,
    /// Answers are completed from one task in bulk: waking a future per answer from the writer thread would hold up
    /// the next group.
    answers: mpsc::UnboundedSender<Vec<Completion>>,
}

struct Completion {
    port: Port,
    outcome: Outcome,
    /// Freed after the answer has left.
    _permit: Option<Permit>,
}

impl Durable {
    /// Feeds `projection`; answers leave from a task of the current runtime. The channel is bounded by the permits of
    /// the answers in it.
    pub fn new(projection: Arc<Projection>) -> Self {
        let (answers, mut groups) = mpsc::unbounded_channel::<Vec<Completion>>();
        tokio::spawn(async move {
            while let Some(group) = groups.recv().await {
                for completion in group {
                    // A caller that hung up needs no answer; its fact stands.
                    let _ = completion.port.send(completion.outcome);
                }
            }
        });
        Self { projection, answers }
    }
}

/// Counts what the log says, whether or not a caller still waits for it.
fn count(turn: &Turn) {
    let commands = &metrics().commands;
    let done = |operation, times| commands.of(operation, metrics::Outcome::Done).increment(times);
    match &turn.fact {
        Fact::Variant(fact) => {
            let expired = fact
                .events
                .iter()
                .filter(|event| matches!(event, Event::Expired(_)));
            done(Operation::Expire, expired.count() as u64);
            if let Some(operation) = fact.events.last().and_then(operation_of) {
                done(operation, 1);
            }
        }
        Fact::Bulk {
            event: bulk::Event::Decided { commit: true, .. },
            ..
        } => done(Operation::Bulk, 1),
        Fact::Bulk { .. } | Fact::Gate(_) | Fact::Told(_) => {}
        Fact::Policy { .. } => done(Operation::Administer, 1),
    }
}

fn operation_of(event: &Event) -> Option<Operation> {
    match event {
        Event::Held(_) => Some(Operation::Reserve),
        Event::Extended(_) | Event::Resized(_) => Some(Operation::Extend),
        Event::Confirmed { .. } => Some(Operation::Confirm),
        Event::Released(_) => Some(Operation::Release),
        Event::Fulfilled { .. } => Some(Operation::Fulfil),
        Event::Cancelled { .. } => Some(Operation::Cancel),
        Event::Returned { .. } => Some(Operation::Return),
        Event::Created { .. }
        | Event::SettingsChanged { .. }
        | Event::SaleChanged { .. }
        | Event::StockChanged { .. }
        | Event::Deleted => Some(Operation::Administer),
        Event::Expired(_)
        | Event::Pinned(_)
        | Event::Unpinned(_)
        | Event::Withdrawn(_)
        | Event::Closed(_) => None,
    }
}

impl DurableObserver<Pending> for Durable {
    fn durable(&mut self, group: Vec<Delivered<Pending>>) {
        let mut completions = Vec::with_capacity(group.len());
        for Delivered { number, item, .. } in group {
            match item {
                Pending::Turn {
                    turn,
                    claim,
                    port,
                    permit,
                } => {
                    let number = number.expect("a turn has a record").0;
                    self.projection.apply(number, &turn);
                    count(&turn);
                    if let Some(claim) = claim {
                        claim.fill(number);
                    }
                    if let Some((port, outcome)) = port {
                        let logged = || Ok(Answer::Logged(Box::new(Logged { number, turn: *turn })));
                        let outcome = outcome.unwrap_or_else(logged);
                        completions.push(Completion {
                            port,
                            outcome,
                            _permit: permit,
                        });
                    }
                }
                Pending::Later {
                    port,
                    outcome,
                    permit,
                } => {
                    completions.push(Completion {
                        port,
                        outcome,
                        _permit: permit,
                    });
                }
            }
        }
        // The task ends only with the runtime, and then nobody waits.
        let _ = self.answers.send(completions);
    }
}
