//! Too much: `--overload`. What is left of the most that a server does when more is asked of it than it takes in, by many
//! who ask again at once. The flood is as strong as the generator can make it beside the server; the report says how
//! strong that was.
use rustix::process::{Resource, getrlimit};

use super::{Bench, BenchError, Leg, Pace, Round, Target};
use crate::cli::bench::schedule::real;

/// Files that a process needs beside its connections.
const FILES_BESIDE: u64 = 200;
/// How soon after the flood the server is measured again.
const RECOVERY_SECONDS: u32 = 1;

/// How many times the peak is to be asked for (proof.md, as the other targets).
pub(in crate::cli::bench) const TIMES: f64 = 10.0;
/// What must be left of the peak.
pub(in crate::cli::bench) const GOODPUT_MIN: f64 = 0.9;
/// How long whoever is turned away waits for that, at the 99th percentile.
pub(in crate::cli::bench) const TURNED_AWAY_P99_MAX_MS: f64 = 5.0;
/// By how much memory may grow beyond what the grants take.
pub(in crate::cli::bench) const MEMORY_GROWTH_MAX: f64 = 0.05;

impl Bench<'_> {
    /// The peak, the flood and what follows it.
    pub(super) async fn overload(&mut self, connections: u32) -> Result<Vec<Round>, BenchError> {
        let peak = Leg {
            pace: Pace::Closed,
            ..self.usual_leg(0)
        };
        self.settle().await;
        let before = self.round(0, Target::Holdfast, peak).await?;
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let allowed = u32::try_from(allowed.saturating_sub(FILES_BESIDE)).unwrap_or(u32::MAX);
        let flood = Leg {
            pace: Pace::Flood,
            connections: connections.min(allowed),
            ..peak
        };
        self.settle().await;
        let flooded = self.round(1, Target::Holdfast, flood).await?;
        let after = Leg {
            warmup: RECOVERY_SECONDS,
            ..peak
        };
        let after = self.round(2, Target::Holdfast, after).await?;
        Ok(vec![before, flooded, after])
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli::bench) struct Overload {
    /// Requests a second that were really sent, as a share of the peak.
    pub(in crate::cli::bench) sent: f64,
    /// Business answers a second, as a share of the peak.
    pub(in crate::cli::bench) goodput: f64,
    /// From sent to answered, of those who were turned away.
    pub(in crate::cli::bench) turned_away_p99_ms: f64,
    /// Growth of the resident memory in the flood beyond what its grants took at the peak's price, as a share of it.
    pub(in crate::cli::bench) memory_growth: Option<f64>,
    /// Business answers a second after it, as a share of the peak.
    pub(in crate::cli::bench) after: f64,
}

impl Overload {
    /// From the three rounds of a run; `None` of any other run.
    pub(in crate::cli::bench) fn of(rounds: &[Round]) -> Option<Self> {
        let [before, flooded, after] = rounds else {
            return None;
        };
        let peak = before.throughput().max(f64::MIN_POSITIVE);
        let price = before
            .memory
            .map(|(first, last)| (real(last) - real(first)).max(0.0) / real(before.answered_in_time.max(1)));
        let growth = price.zip(flooded.memory).map(|(price, (first, last))| {
            (real(last) - real(first) - price * real(flooded.answered_in_time)) / real(first.max(1))
        });
        Some(Self {
            sent: flooded.sent() / peak,
            goodput: flooded.throughput() / peak,
            turned_away_p99_ms: real(flooded.turned_away.value_at_quantile(0.99)) / 1e6,
            memory_growth: growth,
            after: after.throughput() / peak,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_as_shares_of_the_peak() {
        let round = |answered: u64, shed: u64, memory| {
            let mut round = Round::new(Target::Holdfast, 10_000_000_000, true);
            round.answered_in_time = answered;
            round.tally.done = answered;
            round.tally.shed = shed;
            round.memory = Some(memory);
            round
        };
        let mut flooded = round(800, 7_200, (2_000_000, 2_180_000));
        flooded.turned_away.record(3_000_000).unwrap();
        let rounds = [
            round(1_000, 0, (1_000_000, 1_100_000)),
            flooded,
            round(900, 0, (1, 1)),
        ];
        let told = Overload::of(&rounds).unwrap();
        let near = |is: f64, wanted: f64| assert!((is - wanted).abs() < 0.001, "{is}, not {wanted}");
        near(told.sent, 8.0);
        near(told.goodput, 0.8);
        near(told.after, 0.9);
        near(told.turned_away_p99_ms, 3.0);
        // 800 grants at 100 bytes, and 100,000 bytes beside them.
        near(told.memory_growth.unwrap(), 0.05);
        assert!(Overload::of(&rounds[..2]).is_none());
    }
}
