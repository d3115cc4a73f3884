//! Carts and orders: one shell for both, see `domain::agent` for what they have in common.
//!
//! ```text
//!  route ──► waiting ──► decide ──► log ──► asks ──► answers ──► conclude ──► log ──► answer
//!              │ one piece of work at a time; looks are answered at once from what is logged
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `home` | where agents live: asleep as bytes, or as an actor; a million of them may sleep |
//! | `key` | the idempotency key of a command that may become work |
//! | `kind` | what the shell has to know of a cart and of an order |
//! | `round` | what work has asked others, and what they have answered |
//! | `shell` | the actor |
//!
//! Work is begun only with journal slots for all of it, so that it always comes to an end. Each ask takes one of them along,
//! into the entry it leads to; the others stay until the work is concluded. An ask that is still on its way is not sent a
//! second time. What an agent asks of others leaves once its own record is queued: in one partition a later record implies the
//! earlier ones (decisions 6). A lost answer is asked for again, and so is everything after a restart.
mod home;
mod key;
mod kind;
mod round;
mod shell;

pub use home::AgentId;
pub(super) use home::Homes;

use super::{
    admission::Permit,
    message::{KeyClaim, Port},
};
use crate::domain::{
    agent::{Agent, Answer},
    ids::StoreId,
    time::Timestamp,
};
use tokio::sync::oneshot;

/// Where an agent expects an answer: data, not a port, so that it survives a restart of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentAddress {
    /// The agent.
    pub agent: AgentId,
    /// Which of its rounds of asks.
    pub round: u64,
    /// Which ask of the round.
    pub place: usize,
}

/// To an agent's actor.
pub(super) enum AgentMessage<A: Agent> {
    /// A caller's command.
    Job(Box<AgentJob<A>>),
    /// Another agent's command.
    Asked {
        command: Box<A::Command>,
        /// Room for the record that ends it at once.
        permit: Permit,
        from: AgentAddress,
    },
    /// Something that others did and it has to know.
    Notice(Box<A::Command>),
    /// A look at its durable state.
    Look { permit: Permit, port: Port },
    /// The answer to one of its asks.
    Answered { from: AgentAddress, answer: Box<Answer> },
    /// Its own timer.
    Tick,
    /// The directory's heap, or a restart, says that there is something to do.
    Wake,
    /// A restart wants to know when it is in the middle of nothing any more.
    TellWhenSettled(oneshot::Sender<()>),
    /// What it waited for is durable: it may leave if nothing has come since.
    Leave,
}

/// A caller's command with everything it needs on its way.
pub struct AgentJob<A: Agent> {
    /// Whose shop the caller is in.
    pub store: StoreId,
    /// What is asked.
    pub command: A::Command,
    /// The version the caller saw; `None` takes any.
    pub expected: Option<u64>,
    /// The idempotency key, claimed.
    pub key: Option<KeyClaim>,
    /// Room for it among the requests.
    pub permit: Permit,
    /// When the caller stops waiting; a command not judged by then is dropped.
    pub deadline: Timestamp,
    /// Where the answer goes.
    pub port: Port,
}
