//! How busy the processors are with what the house does: requests, actors, answers.
//!
//! It is told by the time that the runtime's workers were not parked. A worker that lost its processor to somebody else's work counts
//! as busy, which is meant: whoever waits for it waits for a processor.
use crate::clock::Stopwatch;
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeMetrics};

/// The load is looked at anew after this long; the workers tell their time only now and then.
const WINDOW: Duration = Duration::from_millis(10);

/// From this share of their time on the workers count as busy, in percent. Below, work rarely waits for a worker.
const HIGH_PERCENT: u32 = 75;

/// Looks at the workers of one runtime.
pub(super) struct Load {
    runtime: RuntimeMetrics,
    since: Stopwatch,
    worked_before: Duration,
    high: bool,
}

impl Load {
    /// Of this runtime; not high until it was looked at.
    pub(super) fn of(runtime: &Handle) -> Self {
        let runtime = runtime.metrics();
        Self {
            since: Stopwatch::start(),
            worked_before: worked(&runtime),
            runtime,
            high: false,
        }
    }

    /// Whether the workers had hardly a moment to spare lately.
    pub(super) fn is_high(&mut self) -> bool {
        let elapsed = self.since.elapsed();
        if elapsed >= WINDOW {
            let worked = worked(&self.runtime);
            let workers = u32::try_from(self.runtime.num_workers()).unwrap_or(u32::MAX);
            self.high = is_high(worked.saturating_sub(self.worked_before), elapsed, workers);
            (self.since, self.worked_before) = (Stopwatch::start(), worked);
        }
        self.high
    }
}

/// What all workers have worked since the runtime began.
fn worked(runtime: &RuntimeMetrics) -> Duration {
    (0..runtime.num_workers())
        .map(|worker| runtime.worker_total_busy_duration(worker))
        .sum()
}

fn is_high(worked: Duration, elapsed: Duration, workers: u32) -> bool {
    worked * 100 >= elapsed * workers * HIGH_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_quarters_of_all_workers_time_is_high() {
        let ms = Duration::from_millis;
        assert!(!is_high(ms(0), ms(10), 2));
        assert!(!is_high(ms(14), ms(10), 2));
        assert!(is_high(ms(15), ms(10), 2));
        assert!(!is_high(ms(15), ms(10), 4));
    }
}
