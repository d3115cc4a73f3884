//! The figures of a running server, read from the text that Prometheus scrapes.
//!
//! Percentiles come from a histogram's buckets: the upper bound of the bucket that the percentile falls into, so they are
//! never told better than they are.
use std::collections::HashMap;

use super::online::Server;
use super::{Exit, Failure};
use crate::telemetry::Spec;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// By name with labels.
    samples: HashMap<String, f64>,
    /// Upper bounds and cumulative counts, by the histogram's name.
    buckets: HashMap<String, Vec<(f64, f64)>>,
}

impl Figures {
    /// Asks the operations listener.
    pub(super) fn of(ops: &Server) -> Result<Self, Failure> {
        let answer = ops.get("/metrics").map_err(|failure| Failure {
            message: format!(
                "{}; the operations listener has an address of its own, named by --ops-url",
                failure.message
            ),
            ..failure
        })?;
        let text = answer.ok()?.text()?;
        Self::read(&text).ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("{} answered with no metrics", ops.address()),
            )
        })
    }

    /// Reads the text format; `None` if a line is none of it.
    fn read(text: &str) -> Option<Self> {
        let mut figures = Self::default();
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line.rsplit_once(' ')?;
            let value = value.parse().ok()?;
            if let Some((histogram, bound)) = bucket(name) {
                figures
                    .buckets
                    .entry(histogram.to_owned())
                    .or_default()
                    .push((bound, value));
            }
            figures.samples.insert(name.to_owned(), value);
        }
        Some(figures)
    }

    /// A counter or gauge without labels.
    pub(super) fn value(&self, spec: Spec) -> Option<f64> {
        self.samples.get(spec.name).copied()
    }

    /// The seconds (or whatever the histogram counts) that `share` of all samples stay below; `None` without samples.
    pub(super) fn below(&self, spec: Spec, share: f64) -> Option<f64> {
        self.between(spec, None, share)
    }

    /// As [`Figures::below`], of the samples since an earlier scrape.
    pub(super) fn since(&self, spec: Spec, before: &Self, share: f64) -> Option<f64> {
        self.between(spec, before.buckets.get(spec.name), share)
    }

    fn between(&self, spec: Spec, before: Option<&Vec<(f64, f64)>>, share: f64) -> Option<f64> {
        let now = self.buckets.get(spec.name)?;
        let counts: Vec<(f64, f64)> = now
            .iter()
            .enumerate()
            .map(|(index, (bound, count))| {
                let earlier = before
                    .and_then(|before| before.get(index))
                    .map_or(0.0, |(_, count)| *count);
                (*bound, count - earlier)
            })
            .collect();
        let (_, all) = *counts.last()?;
        if all <= 0.0 {
            return None;
        }
        counts
            .iter()
            .find(|(_, count)| *count >= all * share)
            .map(|(bound, _)| *bound)
    }
}

/// The histogram and the upper bound that a bucket's name says; none of ours has other labels than an operation's.
fn bucket(name: &str) -> Option<(&str, f64)> {
    let (histogram, rest) = name.split_once("_bucket{le=\"")?;
    let bound = rest.strip_suffix("\"}")?;
    let bound = if bound == "+Inf" {
        f64::INFINITY
    } else {
        bound.parse().ok()?
    };
    Some((histogram, bound))
}

/// Seconds of a percentile as a person reads them.
pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(bound) if bound.is_infinite() => "> 2.5 s".to_owned(),
        Some(bound) if bound < 1.0 => format!("< {} ms", trimmed(bound * 1000.0)),
        Some(bound) => format!("< {} s", trimmed(bound)),
    }
}

/// Without zeros at the end.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{JOURNAL_RECORDS, JOURNAL_SYNC_SECONDS};

    const TEXT: &str = "# HELP holdfast_journal_records_total x\n\
        holdfast_journal_records_total 12\n\n\
        holdfast_journal_sync_duration_seconds_bucket{le=\"0.0001\"} 0\n\
        holdfast_journal_sync_duration_seconds_bucket{le=\"0.00025\"} 90\n\
        holdfast_journal_sync_duration_seconds_bucket{le=\"0.005\"} 99\n\
        holdfast_journal_sync_duration_seconds_bucket{le=\"+Inf\"} 100\n\
        holdfast_journal_sync_duration_seconds_sum 1.5\n";

    #[test]
    fn gauges_and_percentiles_are_read() {
        let figures = Figures::read(TEXT).unwrap();
        assert_eq!(figures.value(JOURNAL_RECORDS), Some(12.0));
        let told = [0.5, 0.99, 1.0].map(|share| seconds(figures.below(JOURNAL_SYNC_SECONDS, share)));
        assert_eq!(told, ["< 0.25 ms", "< 5 ms", "> 2.5 s"]);
        assert_eq!(figures.since(JOURNAL_SYNC_SECONDS, &figures, 0.5), None);
        assert_eq!(seconds(None), "-");
        assert_eq!(seconds(Some(2.5)), "< 2.5 s");
    }

    #[test]
    fn what_is_no_metric_is_refused() {
        assert!(Figures::read("<html>").is_none());
        assert!(Figures::read("a b\n").is_none());
    }
}
