//! The deadlines of whoever is not running: one heap, one task. It starts each when something there is due, so that
//! variants may sleep with live holds and carts and orders with theirs; a restart fills the heap and starts nobody.
use super::{
    agent::AgentId,
    directory::{Directory, Who},
    message::Message,
};
use crate::domain::time::Timestamp;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};
use tokio::sync::Notify;

/// Sleeping variants woken before the task looks around again.
const WAKES_PER_TURN: usize = 256;

/// More variants than this running because of the heap is too many: the rest waits a moment, their units are free all
/// the same because every decision judges by the clock.
const PAUSE_MS: i64 = 20;

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    deadlines: Mutex<BTreeSet<(Timestamp, Who)>>,
    earlier: Notify,
}

impl Sleepers {
    /// A variant went to sleep with something due at `deadline`. A deadline of an earlier sleep may be in the heap
    /// still; waking a variant too early only costs a look.
    pub(super) fn add(&self, who: Who, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else { return };
        let mut deadlines = self.deadlines.lock();
        let first = deadlines.first().map(|(at, _)| *at);
        deadlines.insert((deadline, who));
        if first.is_none_or(|first| deadline < first) {
            self.earlier.notify_one();
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.deadlines.lock().first().map(|(at, _)| *at)
    }

    fn take_due(&self, now: Timestamp, limit: usize) -> Vec<Who> {
        let mut deadlines = self.deadlines.lock();
        let mut due = Vec::new();
        while due.len() < limit && deadlines.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(deadlines.pop_first().map(|(_, who)| who));
        }
        due
    }

    /// Runs as long as the directory lives.
    pub(super) fn run(directory: &Arc<Directory>) {
        let (clock, sleepers) = (directory.clock().clone(), directory.sleepers());
        let directory: Weak<Directory> = Arc::downgrade(directory);
        tokio::spawn(async move {
            while let Some(woken) = directory.upgrade().map(|directory| directory.wake_due()) {
                let full = woken == WAKES_PER_TURN;
                // A full turn means more are due: give the woken ones a moment.
                let soon = full.then(|| clock.now().saturating_add(PAUSE_MS));
                let next = soon.or_else(|| sleepers.first());
                let sleep = async {
                    match next {
                        Some(next) => clock.sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = sleep => {}
                    () = sleepers.earlier.notified(), if !full => {}
                }
            }
        });
    }
}

impl Directory {
    fn wake_due(&self) -> usize {
        let due = self.sleepers().take_due(self.now(), WAKES_PER_TURN);
        for who in &due {
            match *who {
                Who::Variant(ordinal) => {
                    if let Some(entry) = self.by_ordinal(ordinal) {
                        // A quarantined variant stays closed; its holds end when it is rebuilt.
                        let _ = self.route(&entry, Message::Wake);
                    }
                }
                Who::Cart(bytes) => self.wake_agent(AgentId::Cart(u128::from_be_bytes(bytes))),
                Who::Order(bytes) => self.wake_agent(AgentId::Order(u128::from_be_bytes(bytes))),
            }
        }
        due.len()
    }
}
