//! One round's figures: what was measured, counted and timed, without a word about whether it was legal (see `verdict`).

use hdrhistogram::Histogram;

use super::ledger::Outcome;
use super::scenario::Target;
use super::schedule::{real, seconds};

/// Largest latency the histograms tell apart: one minute. Slower answers are booked there.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;
/// A round whose generator lagged more than this at the 99th percentile is void: its latencies would be the generator's.
pub(super) const GENERATOR_LAG_P99_MAX_NS: u64 = 1_000_000;

/// How many requests ended how, in the measured part of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Answered with success.
    pub(super) done: u64,
    /// Refused for lack of stock.
    pub(super) sold_out: u64,
    /// Refused because the hold had ended.
    pub(super) ended: u64,
    /// Turned away (429, 503).
    pub(super) shed: u64,
    /// Without an answer.
    pub(super) unknown: u64,
    /// Anything else.
    pub(super) unexpected: u64,
}

impl Tally {
    /// Counts one.
    pub(super) fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Done => &mut self.done,
            Outcome::SoldOut => &mut self.sold_out,
            Outcome::Ended => &mut self.ended,
            Outcome::Shed => &mut self.shed,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Unexpected => &mut self.unexpected,
        };
        *count += 1;
    }
}

/// What the server's process used in a round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Processor time, user and system.
    pub(super) cpu_seconds: f64,
    /// Resident memory at the end.
    pub(super) rss_bytes: u64,
    /// Bytes the process caused to be written to a device.
    pub(super) written_bytes: u64,
    /// Device syncs of the journal, when `/metrics` tells.
    pub(super) syncs: Option<u64>,
}

/// The figures of one round.
#[derive(Debug)]
pub(super) struct Round {
    /// Who was measured.
    pub(super) target: Target,
    /// Length of the measured part.
    pub(super) measured_ns: u64,
    /// Whether there was a schedule (open loop); without one, lag has no meaning.
    pub(super) scheduled: bool,
    /// Outcomes of the requests of the measured part.
    pub(super) tally: Tally,
    /// Business answers (success or refusal) that arrived within the measured part.
    pub(super) answered_in_time: u64,
    /// Intended time to complete answer; business answers only.
    pub(super) latency: Histogram<u64>,
    /// The same for refusals and turned-away requests only.
    pub(super) refusal_latency: Histogram<u64>,
    /// From being sent to the answer, of requests that were turned away: what a no costs whoever asks.
    pub(super) turned_away: Histogram<u64>,
    /// The same as `latency` for requests intended in the storm's seconds.
    pub(super) storm_latency: Histogram<u64>,
    /// The generator's own lag: actual send minus intended send, less the wait for a free connection.
    pub(super) lag: Histogram<u64>,
    /// Requests that found every connection busy.
    pub(super) waited: u64,
    /// Requests that were due but never left before the round was cut off.
    pub(super) unsent: u64,
    /// The first answer nobody expected, or the first connection error, for the reader.
    pub(super) first_trouble: Option<String>,
    /// What the server's process used.
    pub(super) usage: Option<Usage>,
    /// Its resident memory at the first and the last look in the measured part.
    pub(super) memory: Option<(u64, u64)>,
}

impl Round {
    /// Nothing measured yet.
    pub(super) fn new(target: Target, measured_ns: u64, scheduled: bool) -> Round {
        Round {
            target,
            measured_ns,
            scheduled,
            tally: Tally::default(),
            answered_in_time: 0,
            latency: histogram(),
            refusal_latency: histogram(),
            turned_away: histogram(),
            storm_latency: histogram(),
            lag: histogram(),
            waited: 0,
            unsent: 0,
            first_trouble: None,
            usage: None,
            memory: None,
        }
    }

    /// Business answers a second.
    pub(super) fn throughput(&self) -> f64 {
        real(self.answered_in_time) / seconds(self.measured_ns.max(1))
    }

    /// Requests a second that were sent.
    pub(super) fn sent(&self) -> f64 {
        let Tally {
            done,
            sold_out,
            ended,
            shed,
            unknown,
            unexpected,
        } = self.tally;
        real(done + sold_out + ended + shed + unknown + unexpected) / seconds(self.measured_ns.max(1))
    }

    /// Whether the generator lagged too much for the latencies to mean anything.
    pub(super) fn is_void(&self) -> bool {
        self.scheduled && self.lag.value_at_quantile(0.99) > GENERATOR_LAG_P99_MAX_NS
    }
}

/// An empty histogram of latencies in nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS).expect("constants that fit together");
    histogram.auto(false);
    histogram
}

/// The middle of some figures; the mean of the two middle ones when their number is even. `None` of nothing.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagging_generator_makes_the_round_void_at_its_bound_and_not_below() {
        let mut round = Round::new(Target::Holdfast, 1_000_000_000, true);
        round.lag.record_n(GENERATOR_LAG_P99_MAX_NS / 2, 98).unwrap();
        round.lag.record_n(2 * GENERATOR_LAG_P99_MAX_NS, 1).unwrap();
        assert!(round.is_void(), "1 of 99 is the 99th percentile");
        round.lag.record(GENERATOR_LAG_P99_MAX_NS / 2).unwrap();
        assert!(!round.is_void(), "1 of 100 is above the 99th percentile");
        round.lag.record(2 * GENERATOR_LAG_P99_MAX_NS).unwrap();
        assert!(round.is_void());
        round.scheduled = false;
        assert!(!round.is_void(), "a closed loop has no schedule to lag behind");
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
