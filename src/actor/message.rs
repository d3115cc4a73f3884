//! What travels between the floors and the actors.
use super::{admission::Permit, agent::AgentAddress};
use crate::{
    domain::{
        bulk::LineOutcome,
        cart::{self, Cart},
        ids::{BulkId, ReservationId},
        order::{self, Order},
        time::Timestamp,
        variant::{Command, Hold, Import, Refusal, View},
    },
    storage::{
        keys::{Claim, Fingerprint},
        record::{KeyMark, Turn},
    },
};
use tokio::sync::oneshot;

/// To a variant's actor.
#[derive(Debug)]
pub enum Message {
    /// A caller's command.
    Command(Box<Job>),
    /// A coordinator's command about one of its lines; its slots are the coordinator's.
    Ask {
        /// What is asked.
        command: Box<Command>,
        /// Where the answer goes.
        from: BulkAddress,
    },
    /// A cart's or an order's command.
    AgentAsk {
        /// What is asked.
        command: Box<Command>,
        /// Room for the record it leads to; a restart that mends has its own.
        permit: Option<Permit>,
        /// Where the answer goes, if anywhere.
        from: Option<AgentAddress>,
    },
    /// A line of a list that is taken over as one.
    Draft(Box<Drafting>),
    /// What became of such a list.
    Resolve {
        /// Which.
        list: ListId,
        /// The record of this variant's turn; `None` where nothing was done.
        logged: Option<u64>,
    },
    /// A look at durable state.
    View(Box<Viewing>),
    /// The directory's heap says that something is due.
    Wake,
    /// The actor's own timer.
    Tick,
    /// The actor's own word: a full turn of expiries left more that is due.
    More,
    /// What the actor waited for is durable: it may leave if nobody has written since.
    Leave,
}

/// Where a coordinator expects an answer: data, not a port, so that it survives a restart of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkAddress {
    /// The coordinator.
    pub bulk: BulkId,
    /// Its try.
    pub number: u32,
    /// The line of its plan.
    pub line: usize,
}

/// To a coordinator.
#[derive(Debug)]
pub(super) enum BulkMessage {
    /// A line's answer.
    Answered {
        /// Which.
        from: BulkAddress,
        /// What.
        outcome: Box<LineOutcome>,
    },
    /// A line is settled.
    Settled {
        /// Which.
        from: BulkAddress,
    },
    /// It is time to ask a line again that was in another coordinator's hands.
    AskAgain {
        /// In which try.
        number: u32,
        /// Which.
        line: usize,
    },
    /// It is time to tell the lines again that have not said they are settled.
    SettleAgain,
    /// It is known what became of reservations that their variants keep no longer.
    LookedBack {
        /// In which try it was asked.
        number: u32,
        /// By line, those that are remembered.
        ended: Vec<(usize, Hold)>,
    },
    /// Time is up.
    TimedOut,
}

/// A caller's command with everything it needs on its way.
#[derive(Debug)]
pub struct Job {
    /// What is asked.
    pub command: Command,
    /// The idempotency key, claimed.
    pub key: Option<KeyClaim>,
    /// Room in the journal.
    pub permit: Permit,
    /// When the caller stops waiting; a command not judged by then is dropped.
    pub deadline: Timestamp,
    /// Where the answer goes.
    pub port: Port,
}

/// A list that is taken over as one, since the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(pub(super) u64);

/// A line of a list that is taken over as one, for its variant to judge.
#[derive(Debug)]
pub struct Drafting {
    /// Which list.
    pub list: ListId,
    /// What the line says.
    pub import: Import,
    /// Room in the journal for what is due there.
    pub permit: Permit,
    /// When nobody waits for the answer any longer; a line not judged by then is dropped.
    pub deadline: Timestamp,
    /// Where the answer goes.
    pub port: oneshot::Sender<Judged>,
}

/// What a variant says to its line.
pub type Judged = Result<Draft, NotDone>;

/// A turn that its variant has judged and that is not in the log. The variant waits until it knows whether it will be.
#[derive(Debug)]
pub struct Draft {
    /// Whose turn it is: of this life of the variant's actor.
    pub(super) generation: u64,
    /// What its record would say; `None` when the line changes nothing.
    pub turn: Option<Box<Turn>>,
}

/// A claimed key and what it was claimed for.
#[derive(Debug)]
pub struct KeyClaim {
    /// The claim; dropped unfilled it frees the key.
    pub claim: Claim,
    /// Route and body.
    pub fingerprint: Fingerprint,
}

impl KeyClaim {
    /// The record's own entry.
    pub fn mark(&self) -> KeyMark {
        KeyMark {
            hash: self.claim.hash().0,
            fingerprint: self.fingerprint.0,
        }
    }
}

/// A look at durable state.
#[derive(Debug)]
pub struct Viewing {
    /// At what.
    pub what: What,
    /// Room in the journal queue.
    pub permit: Permit,
    /// When the caller stops waiting; a look not taken by then is dropped.
    pub deadline: Timestamp,
    /// Where the answer goes.
    pub port: Port,
}

/// What is looked at.
#[derive(Debug)]
pub enum What {
    /// The variant.
    Variant,
    /// Some of its reservations.
    Holds(Vec<ReservationId>),
    /// How many of them are due.
    Due,
}

/// Where a caller waits.
pub type Port = oneshot::Sender<Outcome>;

/// What a caller gets.
pub type Outcome = Result<Answer, NotDone>;

/// An answer that rests on durable facts.
#[derive(Debug)]
pub enum Answer {
    /// It happened.
    Logged(Box<Logged>),
    /// It had happened before.
    Repeat {
        /// The reservation as it stands.
        hold: Box<Hold>,
        /// The moment to tell.
        at: Timestamp,
    },
    /// The variant.
    Variant(Box<View>),
    /// The cart.
    Cart {
        /// As it stands.
        cart: Box<Cart>,
        /// The moment to tell.
        at: Timestamp,
    },
    /// The order.
    Order {
        /// As it stands.
        order: Box<Order>,
        /// The moment to tell.
        at: Timestamp,
    },
    /// So many.
    Count(usize),
    /// The reservations asked for, in that order; `None` for those the variant does not keep.
    Holds {
        /// One each.
        holds: Vec<Option<Hold>>,
        /// The moment to tell.
        at: Timestamp,
    },
}

/// A turn and the number its record got.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The record's number.
    pub number: u64,
    /// What it says.
    pub turn: Turn,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// The domain says no.
    Refused {
        /// Why.
        refusal: Refusal,
        /// When it was judged.
        at: Timestamp,
    },
    /// A cart says no.
    CartRefused {
        /// Why.
        refusal: cart::Refusal,
        /// When it was judged.
        at: Timestamp,
    },
    /// An order says no.
    OrderRefused {
        /// Why.
        refusal: order::Refusal,
        /// When it was judged.
        at: Timestamp,
    },
    /// As many commands wait in front of the cart or order as may; it had no effect.
    Crowded,
    /// The caller's deadline passed before the command was judged; it had no effect.
    Late,
    /// The variant broke a law or cannot be rebuilt.
    Quarantined,
}
