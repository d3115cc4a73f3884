//! What the floors below measure, under the names of the catalogue.
use super::Shop;
use crate::{
    storage::{
        archive::ArchiveNews,
        checkpoint::{CheckpointMeasure, Checkpointer},
        journal::{GroupMeasure, JournalMetrics},
    },
    telemetry::metrics::metrics,
};
use std::sync::Arc;

/// How often the gauges that nobody pushes are read, ms.
const LOOK_MS: i64 = 1_000;

/// The journal's measurements; the checkpoint learns from them how much the log has grown.
pub(super) struct Journal {
    checkpointer: Checkpointer,
}

impl Journal {
    pub(super) fn new(checkpointer: Checkpointer) -> Self {
        Self { checkpointer }
    }
}

impl JournalMetrics for Journal {
    fn group(&self, measure: &GroupMeasure) {
        let metrics = metrics();
        metrics.journal_append_seconds.record(measure.append_seconds);
        metrics.journal_sync_seconds.record(measure.sync_seconds);
        metrics.journal_group_records.record(f64::from(measure.records));
        metrics.journal_group_bytes.record(gauge(measure.bytes as u64));
        metrics.journal_records.increment(u64::from(measure.records));
        self.checkpointer.grown(measure.bytes as u64);
    }

    fn unsynced(&self, records: u64) {
        metrics().journal_unsynced_records.set(gauge(records));
    }

    fn unavailable(&self) {
        tracing::warn!("the journal is unavailable; the same group is tried again");
    }
}

/// The checkpoint's measurements.
pub(super) fn checkpoint(measure: &CheckpointMeasure) {
    let metrics = metrics();
    metrics.checkpoint_record_number.set(gauge(measure.number));
    metrics.checkpoints.increment(1);
    metrics.checkpoint_seconds.record(measure.seconds);
}

/// What happened to the log archive.
pub(super) fn archive(news: &ArchiveNews<'_>) {
    let metrics = metrics();
    match news {
        ArchiveNews::Kept { bytes } => metrics.archive_bytes.set(gauge(*bytes)),
        ArchiveNews::Failed(error) => {
            metrics.archive_failures.increment(1);
            tracing::error!(%error, "the log archive failed; the log is kept until it succeeds");
        }
        ArchiveNews::Gap { last, next } => {
            metrics.archive_failures.increment(1);
            tracing::warn!(last = last.0, next = next.0, "the log archive has a gap");
        }
    }
}

/// Reads the gauges that nobody pushes, as long as the shop lives.
pub(super) fn keep_up(shop: &Arc<Shop>) {
    let (shop, clock) = (Arc::downgrade(shop), shop.clock().clone());
    tokio::spawn(async move {
        while let Some(shop) = shop.upgrade() {
            let totals = shop.projection.totals();
            let metrics = metrics();
            metrics.live_holds.set(gauge(totals.live_holds));
            metrics.held_units.set(gauge(totals.held_units));
            metrics.orders.set(gauge(totals.orders));
            metrics
                .commands_in_flight
                .set(gauge(shop.admission.in_flight() as u64));
            metrics
                .journal_queue_depth
                .set(gauge(shop.directory.queue_depth() as u64));
            metrics.journal_bytes.set(gauge(shop.reader.size_bytes()));
            metrics.keys_memory_entries.set(gauge(shop.keys.len() as u64));
            let rows_memory = shop.state.runs_memory_bytes();
            metrics.rows_memory_bytes.set(gauge(rows_memory as u64));
            let keys_bytes = shop.state.keys_bytes();
            metrics.keys_disk_bytes.set(gauge(keys_bytes));
            shop.disk
                .keys_occupy(keys_bytes, shop.config.keys.disk_max.bytes());
            drop(shop);
            clock.sleep_until(clock.now().saturating_add(LOOK_MS)).await;
        }
    });
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge needs no last digit beyond 2^53"
)]
fn gauge(value: u64) -> f64 {
    value as f64
}
