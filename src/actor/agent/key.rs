//! The idempotency key of a command on its way through a cart or an order.
use crate::{
    actor::{directory::Directory, message::KeyClaim},
    domain::key::KeyMark,
    storage::keys::Claim,
};

/// The key that a success is remembered under.
pub(super) enum Key {
    None,
    /// Of a command that has not become work.
    Claimed(KeyClaim),
    /// Of the work that comes to its end. Its claim waits in the key table, where the death of an actor does not free it.
    OfWork(KeyMark),
}

impl Key {
    pub(super) fn of(claim: Option<KeyClaim>) -> Key {
        claim.map_or(Key::None, Key::Claimed)
    }

    pub(super) fn mark(&self) -> Option<KeyMark> {
        match self {
            Key::None => None,
            Key::Claimed(key) => Some(key.mark()),
            Key::OfWork(mark) => Some(*mark),
        }
    }

    /// The claim, to be filled or dropped.
    pub(super) fn claim(self, directory: &Directory) -> Option<Claim> {
        match self {
            Key::None => None,
            Key::Claimed(key) => Some(key.claim),
            Key::OfWork(mark) => directory.unpark_key(mark),
        }
    }

    /// Leaves the claim with the work that is in the log by now.
    pub(super) fn stay(self, work: Option<KeyMark>) {
        if let Key::Claimed(key) = self {
            debug_assert_eq!(work, Some(key.mark()), "work remembers its caller's key");
            key.claim.park();
        }
    }
}
