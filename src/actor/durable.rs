//! What the journal does with a record once it is on the device: projections, keys, then the answers, in log order.
use super::{
    admission::Permit,
    load::Load,
    message::{Answer, Logged, Outcome, Port},
};
use crate::{
    domain::{bulk, cart, order, variant::Event},
    storage::{
        dto,
        journal::{Delivered, DurableObserver, Waits},
        keys::{Claim, Fingerprint, KeyEntry, KeyHash, KeyTable},
        projection::Projection,
        record::{Fact, Turn},
    },
    telemetry::metrics::{self, Operation, metrics},
};
use std::{fmt, sync::Arc};
use tokio::{runtime::Handle, sync::mpsc};

/// What travels with a journal entry.
pub enum Pending {
    /// A turn with a record.
    Turn {
        /// What the record says.
        turn: Box<Turn>,
        /// The claim of its idempotency key; there is none when work of before a restart comes to its end.
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
    /// The record it is delivered with.
    ///
    /// # Panics
    /// On an answer that repeats earlier facts: it has none.
    pub(super) fn payload(&self) -> Vec<u8> {
        match self {
            Self::Turn { turn, .. } => dto::encode_turn(turn),
            Self::Later { .. } => unreachable!("an answer that repeats earlier facts has no record"),
        }
    }

    /// Who waits until it is durable.
    pub(super) fn waits(&self) -> Waits {
        match self {
            Self::Turn { port: None, .. } => Waits::Nobody,
            Self::Turn { port: Some(_), .. } | Self::Later { .. } => Waits::Somebody,
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
    keys: KeyTable,
    /// Answers are completed from one task in bulk: waking a future per answer from the writer thread would hold up
    /// the next group.
    answers: mpsc::UnboundedSender<Vec<Completion>>,
    load: Load,
}

struct Completion {
    port: Port,
    outcome: Outcome,
    /// Freed after the answer has left.
    _permit: Option<Permit>,
}

impl Durable {
    /// Feeds `projection` and `keys`; answers leave from a task of the current runtime. The channel is bounded by the permits of
    /// the answers in it.
    pub fn new(projection: Arc<Projection>, keys: KeyTable) -> Self {
        let (answers, mut groups) = mpsc::unbounded_channel::<Vec<Completion>>();
        tokio::spawn(async move {
            while let Some(group) = groups.recv().await {
                for completion in group {
                    // A caller that hung up needs no answer; its fact stands.
                    let _ = completion.port.send(completion.outcome);
                }
            }
        });
        Self {
            projection,
            keys,
            answers,
            load: Load::of(&Handle::current()),
        }
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
        Fact::Cart(fact) => {
            let counts = fact.happened.iter().any(is_done_to_a_cart);
            done(Operation::Cart, u64::from(counts));
        }
        Fact::Order(fact) => {
            let counts = fact.happened.iter().any(is_done_to_an_order);
            done(Operation::Order, u64::from(counts));
        }
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
        | Event::Closed(_)
        | Event::Rehomed { .. } => None,
    }
}

/// Whether it is what a command was for, and not a step on the way or the passing of time.
fn is_done_to_a_cart(happened: &cart::Happened) -> bool {
    use cart::Happened as Of;
    match happened {
        Of::Created
        | Of::LineHeld(_)
        | Of::LineUnconfirmed(_)
        | Of::LineChanged(_)
        | Of::LineRemoved(_)
        | Of::Extended
        | Of::TookOver(_)
        | Of::Capped(_)
        | Of::CheckedOut(_)
        | Of::Abandoned => true,
        Of::Began
        | Of::LineRefused(_)
        | Of::NotExtended(..)
        | Of::LineEnded(_)
        | Of::Frozen
        | Of::MergedInto(_)
        | Of::CheckoutBegan(_)
        | Of::CheckoutRefused(_)
        | Of::Reopened(_)
        | Of::Ordered(_)
        | Of::Forgotten => false,
    }
}

/// As [`is_done_to_a_cart`]; the payment's deadline and a refund that is asked for end an order too.
fn is_done_to_an_order(happened: &order::Happened) -> bool {
    use order::Happened as Of;
    match happened {
        Of::Opened
        | Of::PaymentExpired
        | Of::PaymentFailed
        | Of::Confirmed
        | Of::RefundRequired { .. }
        | Of::RefundDone { .. }
        | Of::Fulfilled
        | Of::Cancelled
        | Of::Returned => true,
        Of::Began | Of::Went | Of::Refused { .. } | Of::PaymentAccepted | Of::LinesRefused { .. } => false,
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
                    match (claim, &turn.key) {
                        (Some(claim), _) => claim.fill(number),
                        (None, Some(mark)) => {
                            let fingerprint = Fingerprint(mark.fingerprint);
                            self.keys
                                .restore(KeyHash(mark.hash), KeyEntry { fingerprint, number });
                        }
                        (None, None) => {}
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

    fn busy(&mut self) -> bool {
        self.load.is_high()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{bulk::Event as BulkEvent, ids::BulkId, key::KeyMark, time::Timestamp},
        storage::{
            journal::RecordNumber,
            keys::Claimed,
            state::{StateOptions, StateStore},
        },
    };

    #[tokio::test]
    async fn a_key_without_a_claim_is_known_once_its_record_is_durable() {
        let home = tempfile::tempdir().unwrap();
        let options = StateOptions {
            cache_bytes: 1 << 20,
            compact_floor_bytes: 1 << 30,
        };
        let state = Arc::new(StateStore::open(home.path(), options).unwrap());
        let keys = KeyTable::new(8, state.clone());
        let mut durable = Durable::new(Arc::new(Projection::new(state)), keys.clone());
        let (hash, fingerprint) = (KeyHash([1; 16]), Fingerprint([2; 8]));
        let turn = Turn {
            at: Timestamp::from_millis(0),
            fact: Fact::Bulk {
                id: BulkId(1),
                event: BulkEvent::Finished,
            },
            key: Some(KeyMark {
                hash: hash.0,
                fingerprint: fingerprint.0,
            }),
        };
        let item = Pending::Turn {
            turn: Box::new(turn),
            claim: None,
            port: None,
            permit: None,
        };
        durable.durable(vec![Delivered {
            number: Some(RecordNumber(9)),
            logged_at_ms: 0,
            item,
        }]);
        let claimed = keys.claim(hash, fingerprint).unwrap();
        assert!(matches!(claimed, Claimed::Known { number: 9 }), "{claimed:?}");
    }
}
