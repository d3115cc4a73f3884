//! Every metric: name, unit, help and, for histograms, buckets. `metrics.rs` registers each of them exactly once.
use metrics::Unit;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by bucket; the slice holds the upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name on the wire, unit and `_total` included.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What one step of it is.
    pub unit: Unit,
    /// One sentence for the operator who meets it first.
    pub help: &'static str,
}

/// Durations from 0.1 ms to 2.5 s.
const DURATIONS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Durations of work in the background, from a millisecond to a minute.
const LONG_DURATIONS: &[f64] = &[
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Records in one group.
const GROUP_RECORDS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// Bytes in one group, up to the largest that is allowed.
const GROUP_BYTES: &[f64] = &[
    512.0, 2048.0, 8192.0, 32768.0, 65536.0, 131_072.0, 262_144.0, 524_288.0,
];

/// Declares the metrics as constants and lists them all.
macro_rules! catalogue {
    ($($constant:ident = $kind:expr, $unit:ident, $name:literal, $help:literal;)+) => {
        $(pub(crate) const $constant: Spec = Spec { name: $name, kind: $kind, unit: Unit::$unit, help: $help };)+

        /// Every metric of the house, in the order of the request's way through it.
        pub const CATALOGUE: &[Spec] = &[$($constant,)+];
    };
}

catalogue! {
    REQUESTS = Kind::Counter, Count, "holdfast_http_requests_total",
        "Requests answered, by route template, method and status.";
    REQUESTS_IN_FLIGHT = Kind::Gauge, Count, "holdfast_http_requests_in_flight",
        "Requests that are being served.";
    CONNECTIONS = Kind::Gauge, Count, "holdfast_http_connections",
        "Open connections on the public listener.";
    SHED = Kind::Counter, Count, "holdfast_shed_total",
        "Commands turned away at once instead of being queued, by reason.";
    IN_FLIGHT = Kind::Gauge, Count, "holdfast_commands_in_flight",
        "Admission permits in use: commands between permit and answer.";
    COMMANDS = Kind::Counter, Count, "holdfast_commands_total",
        "Commands judged, by operation and outcome.";
    COMMAND_SECONDS = Kind::Histogram(DURATIONS), Seconds, "holdfast_command_duration_seconds",
        "From a command's arrival in the house to its durable answer, by operation.";
    LIVE_HOLDS = Kind::Gauge, Count, "holdfast_live_holds",
        "Reservations that have not ended.";
    HELD_UNITS = Kind::Gauge, Count, "holdfast_held_units",
        "Units in live reservations.";
    ORDERS = Kind::Gauge, Count, "holdfast_orders",
        "Orders that were placed, in the index in memory; about 100 bytes each.";
    OVERSELL_UNITS = Kind::Gauge, Count, "holdfast_oversell_units",
        "Units held or committed beyond what may be sold; must stay 0.";
    EXPIRY_LAG = Kind::Histogram(DURATIONS), Seconds, "holdfast_expiry_lag_seconds",
        "From a hold's deadline to its logged expiry (its units are sellable again at the deadline).";
    JOURNAL_QUEUE_DEPTH = Kind::Gauge, Count, "holdfast_journal_queue_depth",
        "Entries waiting before the writer thread.";
    JOURNAL_APPEND_SECONDS = Kind::Histogram(DURATIONS), Seconds, "holdfast_journal_append_duration_seconds",
        "Appending one group, its device sync included.";
    JOURNAL_SYNC_SECONDS = Kind::Histogram(DURATIONS), Seconds, "holdfast_journal_sync_duration_seconds",
        "The device sync of one group.";
    JOURNAL_GROUP_RECORDS = Kind::Histogram(GROUP_RECORDS), Count, "holdfast_journal_group_records",
        "Records in one group.";
    JOURNAL_GROUP_BYTES = Kind::Histogram(GROUP_BYTES), Bytes, "holdfast_journal_group_size_bytes",
        "Bytes in one group.";
    JOURNAL_RECORDS = Kind::Counter, Count, "holdfast_journal_records_total",
        "Records made durable by this process.";
    JOURNAL_UNSYNCED = Kind::Gauge, Count, "holdfast_journal_unsynced_records",
        "Records queued or written whose device sync has not returned.";
    JOURNAL_BYTES = Kind::Gauge, Bytes, "holdfast_journal_bytes",
        "Bytes of the log on disk.";
    RECOVERY_REPLAYED = Kind::Gauge, Count, "holdfast_recovery_replayed_records",
        "Records replayed by the recovery of this start.";
    RECOVERY_RECORDS = Kind::Gauge, Count, "holdfast_recovery_records",
        "Records that the recovery of this start has to replay.";
    RECOVERY_SECONDS = Kind::Gauge, Seconds, "holdfast_recovery_duration_seconds",
        "How long the recovery of this start took; 0 while it runs.";
    ACTOR_STARTS = Kind::Counter, Count, "holdfast_actor_starts_total",
        "Actors started, by first use or a due deadline.";
    ACTOR_PASSIVATIONS = Kind::Counter, Count, "holdfast_actor_passivations_total",
        "Idle actors put to sleep.";
    ACTOR_RESTARTS = Kind::Counter, Count, "holdfast_actor_restarts_total",
        "Actors started again after a failure.";
    MENDED = Kind::Counter, Count, "holdfast_mended_total",
        "Holds and cart lines that did not agree after a restart and were brought together.";
    ACTORS_RUNNING = Kind::Gauge, Count, "holdfast_actors_running",
        "Actors that are awake.";
    QUARANTINED = Kind::Gauge, Count, "holdfast_quarantined_variants",
        "Variants closed because a law was broken or a record failed three times; must stay 0.";
    CHECKPOINT_NUMBER = Kind::Gauge, Count, "holdfast_checkpoint_record_number",
        "The record number up to which all state is stored.";
    CHECKPOINTS = Kind::Counter, Count, "holdfast_checkpoints_total",
        "Checkpoints finished.";
    CHECKPOINT_SECONDS = Kind::Histogram(LONG_DURATIONS), Seconds, "holdfast_checkpoint_duration_seconds",
        "From the start of a checkpoint to its synced rows.";
    ARCHIVE_BYTES = Kind::Gauge, Bytes, "holdfast_archive_bytes",
        "Bytes of the log archive on disk.";
    ARCHIVE_FAILURES = Kind::Counter, Count, "holdfast_archive_failures_total",
        "Failed writes of the log archive and gaps left in it; the log grows until a write succeeds.";
    SNAPSHOT_LAST_SUCCESS = Kind::Gauge, Seconds, "holdfast_snapshot_last_success_timestamp_seconds",
        "When the newest sound snapshot was taken, Unix time; 0 before the first.";
    SNAPSHOT_SECONDS = Kind::Gauge, Seconds, "holdfast_snapshot_last_duration_seconds",
        "How long the last snapshot took, its verification included.";
    SNAPSHOT_BYTES = Kind::Gauge, Bytes, "holdfast_snapshot_last_size_bytes",
        "Bytes of the last snapshot.";
    SNAPSHOT_FAILURES = Kind::Counter, Count, "holdfast_snapshot_failures_total",
        "Snapshots that failed, a full disk included; alert on any increase.";
    KEYS_MEMORY = Kind::Gauge, Count, "holdfast_keys_memory_entries",
        "Idempotency keys in memory.";
    KEYS_DISK_BYTES = Kind::Gauge, Bytes, "holdfast_keys_disk_bytes",
        "Bytes of idempotency keys on disk; new keyed writes are refused at keys.disk_max.";
    ROWS_MEMORY = Kind::Gauge, Bytes, "holdfast_rows_memory_bytes",
        "Memory of the filters and page indexes of stored keys and ended reservations.";
    DISK_FREE = Kind::Gauge, Bytes, "holdfast_disk_free_bytes",
        "Bytes free under the data directory; new holds are refused below disk.reserve.";
    BUILD_INFO = Kind::Gauge, Count, "holdfast_build_info",
        "Always 1; the labels name the version of the program.";
    PROCESS_RSS = Kind::Gauge, Bytes, "process_resident_memory_bytes",
        "Resident memory of the process.";
    PROCESS_FDS = Kind::Gauge, Count, "process_open_fds",
        "Open file descriptors of the process.";
    PROCESS_THREADS = Kind::Gauge, Count, "process_threads",
        "Threads of the process.";
}
