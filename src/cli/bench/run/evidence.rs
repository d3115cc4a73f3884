//! The end of a run: what the server and its own counters say, put before the checker.

use std::time::Duration;

use super::{Bench, BenchError, counter, names};
use crate::cli::bench::inspect;
use crate::cli::bench::ledger::{Ledger, Operation};
use crate::cli::bench::scenario::Scenario;
use crate::cli::bench::schedule::NANOS;
use crate::cli::bench::verdict::{self, Evidence, FinalCounters, Verdict};
use crate::telemetry;

/// Labels of a granted reserve among the commands.
const GRANTED_LABELS: &[&str] = &["operation=\"reserve\"", "outcome=\"done\""];

impl Bench<'_> {
    /// Gathers the evidence and judges it.
    pub(super) async fn verdict(&mut self) -> Result<Verdict, BenchError> {
        let Some(api) = self.api else {
            return Ok(Verdict::default());
        };
        let (plan, ledger) = self.books.as_ref().expect("no round is under way");
        self.bar.set_message("checking every answer");
        self.wait_for_due_holds(ledger).await;
        let variants = inspect::final_stock(api, names(plan), self.stopwatch).await?;
        let holds = inspect::final_holds(api, ledger, self.stopwatch).await?;
        let counters = self.counters().await?;
        let (entries, stock) = (&ledger.entries[..], &self.stock[..]);
        Ok(verdict::judge(&Evidence {
            entries,
            stock,
            variants: &variants,
            holds: &holds,
            counters,
        }))
    }

    /// Short-lived holds should have expired before the final state is read, so that their expiry is checked too.
    async fn wait_for_due_holds(&self, ledger: &Ledger) {
        const SHORT_MS: u32 = 10_000;
        let reserves = ledger
            .entries
            .iter()
            .filter(|entry| entry.operation == Operation::Reserve);
        let short = reserves.filter(|entry| entry.ttl_ms <= SHORT_MS);
        let due_ns = short
            .map(|entry| entry.received_ns + u64::from(entry.ttl_ms) * 1_050_000)
            .max()
            .unwrap_or(0);
        let left_ns = (due_ns + NANOS / 10).saturating_sub(self.stopwatch.now_ns());
        if due_ns > 0 {
            tokio::time::sleep(Duration::from_nanos(left_ns)).await;
        }
    }

    async fn counters(&self) -> Result<FinalCounters, BenchError> {
        let Some((before, after)) = self.metrics_before.as_ref().zip(self.metrics().await?) else {
            return Ok(FinalCounters::default());
        };
        let gained = |name: &str, labels: &[&str]| {
            let (after, before) = (
                counter(&after, name, labels)?,
                counter(before, name, labels).unwrap_or(0),
            );
            Some(after.saturating_sub(before))
        };
        let oversell = gained(telemetry::OVERSELL_UNITS.name, &[]);
        // One command of a bulk request grants many holds, so the counts are of different things there.
        let counts_agree = self.args.scenario != Scenario::Bulk && self.server.is_some();
        let granted = counts_agree
            .then(|| gained(telemetry::COMMANDS.name, GRANTED_LABELS))
            .flatten();
        Ok(FinalCounters { oversell, granted })
    }
}
