//! How far the process is, for orchestrators and operators: starting, ready, draining.
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;
use utoipa::ToSchema;

/// A phase of the process's life; it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Reading stored states and replaying the log.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what was begun, taking nothing new.
    Draining,
}

/// The phase, and how much of the log is replayed. Shared by recovery (which reports), the listeners (which end when it
/// says draining) and the operations routes (which show it).
#[derive(Debug)]
pub struct Health {
    phase: watch::Sender<Phase>,
    replayed: AtomicU64,
    total: AtomicU64,
    restoring: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            replayed: AtomicU64::new(0),
            total: AtomicU64::new(0),
            restoring: AtomicBool::new(false),
        }
    }
}

impl Health {
    /// Where the process is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Recovery reports its progress: records replayed of records to replay.
    pub fn replayed(&self, records: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.replayed.store(records, Ordering::Relaxed);
    }

    /// Recovery is over and the public listener is open.
    pub fn ready(&self) {
        self.advance(Phase::Ready);
    }

    /// A restore begins, or has ended.
    pub fn restores(&self, restoring: bool) {
        self.restoring.store(restoring, Ordering::Release);
    }

    /// Whether the shop is being put back.
    pub fn is_restoring(&self) -> bool {
        self.restoring.load(Ordering::Acquire)
    }

    /// A signal or an operator asks the process to end in order.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends when the process is asked to drain.
    pub async fn drain_wanted(&self) {
        let mut phase = self.phase.subscribe();
        let wanted = phase.wait_for(|phase| *phase == Phase::Draining).await;
        wanted.expect("the sender lives in self, which outlives this future");
    }

    /// The replay's progress as operators see it.
    pub fn startup(&self) -> Startup {
        let (replayed, total) = (
            self.replayed.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        );
        let started = self.phase() > Phase::Starting;
        let percent = match (started, total) {
            (true, _) => 100,
            (false, 0) => 0,
            (false, total) => (u128::from(replayed) * 100 / u128::from(total)).min(100) as u8,
        };
        Startup {
            started,
            records_replayed: replayed,
            records_total: total,
            percent,
        }
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }
}

/// How far the replay of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Startup {
    /// Whether it is over.
    pub started: bool,
    /// Records replayed so far.
    pub records_replayed: u64,
    /// Records to replay.
    pub records_total: u64,
    /// Of them, in whole percent.
    pub percent: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let health = Health::default();
        health.drain();
        health.ready();
        assert_eq!(health.phase(), Phase::Draining);
    }

    #[test]
    fn progress_is_in_whole_percent() {
        let health = Health::default();
        assert_eq!(health.startup().percent, 0);
        health.replayed(2, 3);
        assert_eq!((health.startup().percent, health.startup().started), (66, false));
        health.ready();
        assert_eq!((health.startup().percent, health.startup().started), (100, true));
    }
}
