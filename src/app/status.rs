//! How the server is, in one look: what an operator asks first. Durations and rates are in the metrics.
use super::Shop;
use crate::domain::time::Timestamp;

/// Figures of the whole process, over all stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// Since when it serves.
    pub since: Timestamp,
    /// Whether it takes nothing new any more.
    pub draining: bool,
    /// The epoch of its log.
    pub epoch: u64,
    /// The last durable record.
    pub last_record: u64,
    /// Up to where the stored rows have the log; 0 before the first checkpoint.
    pub checkpoint: u64,
    /// Variants, awake or asleep.
    pub variants: u64,
    /// Variants whose actors run.
    pub running_variants: u64,
    /// Variants that are set aside.
    pub quarantined_variants: u64,
    /// Live holds.
    pub live_holds: u64,
    /// Units in them.
    pub held_units: u64,
    /// Carts that are not forgotten.
    pub carts: u64,
    /// Orders that were placed.
    pub orders: u64,
    /// Commands between permit and answer.
    pub in_flight: u64,
    /// Entries before the journal's writer.
    pub queue_depth: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes that may still be written.
    pub disk_free_bytes: u64,
    /// Bytes kept back.
    pub disk_reserve_bytes: u64,
    /// Whether new holds are refused for want of space.
    pub disk_is_low: bool,
    /// The moment this was told at.
    pub at: Timestamp,
}

impl Shop {
    /// How the server is now.
    pub fn status(&self) -> Status {
        let totals = self.projection.totals();
        let (carts, _) = self.directory.agents();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            since: self.since,
            draining: self.is_draining(),
            epoch: self.epoch(),
            last_record: self.reader.last().0,
            checkpoint: self.state.checkpoint().map_or(0, |mark| mark.number),
            variants: self.directory.all().len() as u64,
            running_variants: self.running_variants() as u64,
            quarantined_variants: self.directory.quarantined().len() as u64,
            live_holds: totals.live_holds,
            held_units: totals.held_units,
            carts: carts as u64,
            orders: totals.orders,
            in_flight: self.in_flight() as u64,
            queue_depth: self.directory.queue_depth() as u64,
            log_bytes: self.reader.size_bytes(),
            disk_free_bytes: self.disk.free_bytes(),
            disk_reserve_bytes: self.config.disk.reserve.bytes(),
            disk_is_low: self.disk_is_low(),
            at: self.clock.now(),
        }
    }
}
