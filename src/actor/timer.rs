//! The one timer of an actor. It is a hint: who is woken judges by the clock.
use crate::{clock::Clock, domain::time::Timestamp};
use tokio::task::AbortHandle;

/// One armed timer; arming it for later than it is armed already changes nothing, because whoever is woken early arms
/// it again. A new hold's deadline lies behind the earliest one, so the hot path arms nothing.
#[derive(Debug, Default)]
pub(super) struct Timer {
    armed: Option<(Timestamp, AbortHandle)>,
}

impl Timer {
    /// Makes sure that the actor is woken at `deadline` or before.
    pub(super) fn arm(&mut self, deadline: Timestamp, clock: &Clock, tick: impl FnOnce() + Send + 'static) {
        if self.armed.as_ref().is_some_and(|(armed, _)| *armed <= deadline) {
            return;
        }
        self.disarm();
        let sleep = clock.sleep_until(deadline);
        let task = tokio::spawn(async move {
            sleep.await;
            tick();
        });
        self.armed = Some((deadline, task.abort_handle()));
    }

    /// The tick has come.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }

    fn disarm(&mut self) {
        if let Some((_, task)) = self.armed.take() {
            task.abort();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}
