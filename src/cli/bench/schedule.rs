//! When requests are due: the intended-time schedule of an open-loop run, and the two clocks that serve it.
//!
//! The schedule is fixed before the first request leaves. A slow server does not slow it down, so a request that had to
//! wait is measured from the moment it *should* have left; leaving that wait out would flatter the server.

use std::os::fd::OwnedFd;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

/// Nanoseconds in a second.
pub(super) const NANOS: u64 = 1_000_000_000;

/// How arrivals are spread around the mean rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// One request every 1/rate seconds.
    Constant,
    /// Independent buyers: exponential gaps with mean 1/rate.
    Poisson,
}

/// The intended send times of one round, in nanoseconds of the run's [`Stopwatch`].
#[derive(Debug)]
pub(super) struct Schedule {
    arrivals: Arrivals,
    start_ns: u64,
    end_ns: u64,
    gap_ns: f64,
    sent: u64,
    elapsed_ns: f64,
    rng: fastrand::Rng,
}

impl Schedule {
    /// Arrivals in `start_ns..end_ns` at `rate` requests a second; the same seed gives the same times.
    pub(super) fn new(rate: f64, arrivals: Arrivals, seed: u64, start_ns: u64, end_ns: u64) -> Schedule {
        assert!(rate > 0.0, "a schedule needs a rate above zero");
        let gap_ns = 1e9 / rate;
        Schedule {
            arrivals,
            start_ns,
            end_ns,
            gap_ns,
            sent: 0,
            elapsed_ns: 0.0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let at_ns = self.start_ns.saturating_add(whole(self.elapsed_ns));
        if at_ns >= self.end_ns {
            return None;
        }
        self.sent += 1;
        self.elapsed_ns = match self.arrivals {
            // From the index, not by adding: a sum of rounded gaps would drift.
            Arrivals::Constant => real(self.sent) * self.gap_ns,
            // 1 - f64() is in (0, 1], so the logarithm is finite.
            Arrivals::Poisson => self.elapsed_ns - (1.0 - self.rng.f64()).ln() * self.gap_ns,
        };
        Some(at_ns)
    }
}

/// The whole part of a non-negative figure; saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate; input is >= 0"
)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}

/// A count as a float, for ratios; exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of a run stay far below 2^53"
)]
pub(super) fn real(value: u64) -> f64 {
    value as f64
}

/// Nanoseconds as seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    real(ns) / 1e9
}

/// The run's own time: nanoseconds since it began. All times of schedule, ledger and verdict are of this one clock.
///
/// It is the house's stopwatch in whole nanoseconds: it measures a server from outside and decides nothing about stock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch {
    begun: crate::clock::Stopwatch,
}

impl Stopwatch {
    /// Starts at zero.
    pub(super) fn start() -> Stopwatch {
        Stopwatch {
            begun: crate::clock::Stopwatch::start(),
        }
    }

    /// Nanoseconds since the start.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("a run is shorter than 584 years")
    }
}

/// Wakes at a moment of the stopwatch, to some 50 microseconds. tokio's own timer counts in whole milliseconds, which is longer than
/// the latencies we measure.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
    stopwatch: Stopwatch,
}

/// The pacer wakes at most once in this time; arrivals that fall together leave together. It bounds the generator's own
/// share of the processor, and shows as lag.
const PACER_GRAIN_NS: u64 = 50_000;

impl Pacer {
    /// A timer on this thread's runtime.
    ///
    /// # Errors
    /// When the kernel gives no timer descriptor.
    #[expect(
        deprecated,
        reason = "sound for an OwnedFd, whose descriptor never changes; its successor is unsafe"
    )]
    pub(super) fn new(stopwatch: Stopwatch) -> std::io::Result<Pacer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Pacer {
            timer: AsyncFd::new(timer)?,
            stopwatch,
        })
    }

    /// Returns at `at_ns` or [`PACER_GRAIN_NS`] from now, whichever is later; at once when `at_ns` has passed.
    ///
    /// # Errors
    /// When the timer descriptor fails.
    pub(super) async fn until(&self, at_ns: u64) -> std::io::Result<()> {
        let now_ns = self.stopwatch.now_ns();
        if at_ns <= now_ns {
            return Ok(());
        }
        let wait_ns = (at_ns - now_ns).max(PACER_GRAIN_NS);
        let once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let delay = Timespec {
            tv_sec: i64::try_from(wait_ns / NANOS).expect("a wait is shorter than a run"),
            tv_nsec: i64::try_from(wait_ns % NANOS).expect("below 10^9"),
        };
        let spec = Itimerspec {
            it_interval: once,
            it_value: delay,
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0_u8; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_rate_does_not_drift() {
        let times: Vec<u64> = Schedule::new(3.0, Arrivals::Constant, 1, 0, 1000 * NANOS).collect();
        assert_eq!(times.len(), 3000);
        assert_eq!(times[2997], 999 * NANOS);
    }

    #[test]
    fn poisson_arrivals_keep_the_mean_and_repeat_with_the_seed() {
        let times: Vec<u64> = Schedule::new(1000.0, Arrivals::Poisson, 7, 5 * NANOS, 105 * NANOS).collect();
        assert!(
            (97_000..103_000).contains(&times.len()),
            "{} arrivals for a mean of 100,000",
            times.len()
        );
        assert!(times.is_sorted() && times[0] >= 5 * NANOS && *times.last().unwrap() < 105 * NANOS);
        let again: Vec<u64> = Schedule::new(1000.0, Arrivals::Poisson, 7, 5 * NANOS, 105 * NANOS).collect();
        let other: Vec<u64> = Schedule::new(1000.0, Arrivals::Poisson, 8, 5 * NANOS, 105 * NANOS).collect();
        assert_eq!(times, again);
        assert_ne!(times, other);
    }

    #[tokio::test]
    async fn the_pacer_never_wakes_early() {
        let stopwatch = Stopwatch::start();
        let pacer = Pacer::new(stopwatch).unwrap();
        for _ in 0..20 {
            let at_ns = stopwatch.now_ns() + 60_000;
            pacer.until(at_ns).await.unwrap();
            assert!(stopwatch.now_ns() >= at_ns);
        }
    }
}
