//! The handles that other floors record with, made once and cached: recording is an atomic add, no lookup by name.
//!
//! A process has one [`Telemetry`] ([`install`]); several servers in one test process share it. Tests of this floor
//! make their own with [`Telemetry::new`].
use std::sync::OnceLock;
use std::time::Duration;

use hashbrown::HashMap;
pub use metrics::{Counter, Gauge, Histogram};
use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::RwLock;

use super::catalogue::{self as names, CATALOGUE, Kind, Spec};
use super::process::Process;

/// How often samples of histograms must be folded into their buckets: between two folds each sample takes memory.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<Telemetry> = OnceLock::new();

/// The telemetry of this process; made at the first call, the same ever after. Who serves also spawns
/// [`Telemetry::keep_up`].
pub fn install() -> &'static Telemetry {
    INSTALLED.get_or_init(Telemetry::new)
}

/// The handles of this process.
pub fn metrics() -> &'static Metrics {
    install().metrics()
}

/// A recorder with its handles and its text.
#[derive(Debug)]
pub struct Telemetry {
    handle: PrometheusHandle,
    metrics: Metrics,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// A recorder of its own with every metric of the catalogue at zero.
    pub fn new() -> Self {
        let builder = CATALOGUE
            .iter()
            .fold(PrometheusBuilder::new(), |builder, spec| match spec.kind {
                Kind::Histogram(buckets) => builder
                    .set_buckets_for_metric(Matcher::Full(spec.name.to_owned()), buckets)
                    .expect("the buckets of the catalogue are not empty"),
                Kind::Counter | Kind::Gauge => builder,
            });
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        for spec in CATALOGUE {
            let (name, unit, help) = (spec.name.into(), Some(spec.unit), spec.help.into());
            match spec.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, unit, help),
            }
        }
        Self {
            handle,
            metrics: Metrics::register(recorder),
        }
    }

    /// The handles.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The text that a Prometheus server scrapes.
    pub fn render(&self) -> String {
        self.metrics.process.refresh();
        self.handle.render()
    }

    /// Folds the samples taken since the last fold into their buckets.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Folds every [`UPKEEP_EVERY`], for ever: a task that a server spawns and drops.
    pub async fn keep_up(&self) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            self.upkeep();
        }
    }
}

/// Declares a label's values: an enum, its words, and all of them in order.
macro_rules! label {
    ($(#[$doc:meta])* $Label:ident { $($(#[$value_doc:meta])* $Value:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Label { $($(#[$value_doc])* $Value,)+ }

        impl $Label {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$Value,)+];

            /// The word on the wire.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Value => $word,)+ }
            }
        }
    };
}

label! {
    /// What a command asks for.
    Operation {
        /// Hold units.
        Reserve = "reserve",
        /// Hold lines of several variants.
        Bulk = "bulk",
        /// Hold longer.
        Extend = "extend",
        /// Turn a hold into committed units.
        Confirm = "confirm",
        /// Give a hold back.
        Release = "release",
        /// The house gives a due hold back.
        Expire = "expire",
        /// Ship committed units.
        Fulfil = "fulfil",
        /// Take committed units back before shipping.
        Cancel = "cancel",
        /// Take shipped units back.
        Return = "return",
        /// Change a cart.
        Cart = "cart",
        /// Bring an order on its way.
        Order = "order",
        /// Create or change a variant or its stock.
        Administer = "administer",
    }
}

label! {
    /// How a command ended.
    Outcome {
        /// It happened, and it is durable.
        Done = "done",
        /// It had happened before: the same answer again.
        Repeated = "repeated",
        /// Not enough units.
        InsufficientStock = "insufficient_stock",
        /// A unit limit of the shopper.
        LimitReached = "limit_reached",
        /// Sale not open.
        NotOpen = "not_open",
        /// The hold has ended already.
        Ended = "ended",
        /// No such variant or hold.
        NotFound = "not_found",
        /// The key was used for another request.
        KeyMismatch = "key_mismatch",
        /// Any other business no.
        Refused = "refused",
        /// Nobody waited any more when its turn came.
        Abandoned = "abandoned",
        /// Something of ours failed.
        Failed = "failed",
    }
}

label! {
    /// Why a command was turned away without being judged.
    Shed {
        /// All permits of the process are in use.
        Process = "process_full",
        /// All permits of the variant are in use.
        Variant = "variant_full",
        /// As many commands wait in front of the cart or order as may.
        Cart = "cart_full",
        /// The server is stopping.
        Draining = "draining",
        /// The server is still recovering.
        Starting = "starting",
        /// Below the disk reserve.
        DiskReserve = "disk_reserve",
        /// The key table is full.
        KeysFull = "keys_full",
        /// The variant is quarantined.
        Quarantined = "quarantined",
        /// Sold out, told from the published availability.
        SoldOut = "sold_out",
        /// The caller's deadline had passed.
        Deadline = "deadline",
    }
}

label! {
    /// What became of a line of an import.
    ImportLine {
        /// A variant entered the shop.
        Created = "created",
        /// A variant changed.
        Changed = "changed",
        /// The variant was so already.
        Unchanged = "unchanged",
        /// Nothing was done.
        Failed = "failed",
    }
}

label! {
    /// The method of a request; whatever is not listed counts as `OTHER`, so that callers cannot make series.
    Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// Anything else.
        Other = "OTHER",
    }
}

impl From<&str> for Method {
    fn from(method: &str) -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.word() == method)
            .unwrap_or(Self::Other)
    }
}

/// The route label of requests that no route matches.
pub const UNMATCHED_ROUTE: &str = "unmatched";

/// Every handle of the house. The catalogue says in full what each of them means.
#[derive(Debug)]
pub struct Metrics {
    pub(super) process: Process,
    /// Requests by route template, method and status.
    pub requests: Requests,
    /// Requests being served.
    pub requests_in_flight: Gauge,
    /// Open public connections.
    pub connections: Gauge,
    /// Commands turned away, by reason.
    pub shed: ShedCounters,
    /// Permits in use.
    pub commands_in_flight: Gauge,
    /// Commands by operation and outcome, and their durations.
    pub commands: Commands,
    /// Lines of imports, by outcome.
    pub import_lines: ImportLines,
    /// Reservations that have not ended.
    pub live_holds: Gauge,
    /// Units in live reservations.
    pub held_units: Gauge,
    /// Orders that were placed.
    pub orders: Gauge,
    /// Units beyond what may be sold; must stay 0.
    pub oversell_units: Gauge,
    /// Deadline to logged expiry, seconds.
    pub expiry_lag_seconds: Histogram,
    /// Entries before the writer thread.
    pub journal_queue_depth: Gauge,
    /// One group appended and synced, seconds.
    pub journal_append_seconds: Histogram,
    /// The sync of one group, seconds.
    pub journal_sync_seconds: Histogram,
    /// Records in a group.
    pub journal_group_records: Histogram,
    /// Bytes in a group.
    pub journal_group_bytes: Histogram,
    /// Records made durable.
    pub journal_records: Counter,
    /// Records not yet synced.
    pub journal_unsynced_records: Gauge,
    /// Bytes of the log on disk.
    pub journal_bytes: Gauge,
    /// Records replayed by this start's recovery.
    pub recovery_replayed_records: Gauge,
    /// Records this start's recovery has to replay.
    pub recovery_records: Gauge,
    /// Length of this start's recovery, seconds.
    pub recovery_seconds: Gauge,
    /// Actors started.
    pub actor_starts: Counter,
    /// Actors put to sleep.
    pub actor_passivations: Counter,
    /// Actors started again after a failure.
    pub actor_restarts: Counter,
    /// Holds and cart lines brought together by a start.
    pub mended: Counter,
    /// Actors awake.
    pub actors_running: Gauge,
    /// Variants closed by a broken law.
    pub quarantined_variants: Gauge,
    /// The record number up to which all state is stored.
    pub checkpoint_record_number: Gauge,
    /// Checkpoints finished.
    pub checkpoints: Counter,
    /// Length of a checkpoint, seconds.
    pub checkpoint_seconds: Histogram,
    /// Bytes of the log archive.
    pub archive_bytes: Gauge,
    /// Failed writes of the archive, and its gaps.
    pub archive_failures: Counter,
    /// When the newest sound snapshot was taken, Unix seconds.
    pub snapshot_last_success_seconds: Gauge,
    /// Length of the last snapshot, seconds.
    pub snapshot_seconds: Gauge,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: Gauge,
    /// Snapshots that failed.
    pub snapshot_failures: Counter,
    /// Keys in memory.
    pub keys_memory_entries: Gauge,
    /// Bytes of keys on disk.
    pub keys_disk_bytes: Gauge,
    /// Memory of filters and page indexes in front of the stored rows, bytes.
    pub rows_memory_bytes: Gauge,
    /// Bytes free under the data directory.
    pub disk_free_bytes: Gauge,
}

impl Metrics {
    /// Registers every metric of the catalogue, so that each is rendered from the first scrape on.
    fn register(recorder: PrometheusRecorder) -> Self {
        let of = &recorder;
        register_gauge(
            of,
            names::BUILD_INFO,
            vec![Label::new("version", env!("CARGO_PKG_VERSION"))],
        )
        .set(1.0);
        Self {
            process: Process {
                rss_bytes: gauge(of, names::PROCESS_RSS),
                open_fds: gauge(of, names::PROCESS_FDS),
                threads: gauge(of, names::PROCESS_THREADS),
            },
            requests_in_flight: gauge(of, names::REQUESTS_IN_FLIGHT),
            connections: gauge(of, names::CONNECTIONS),
            shed: ShedCounters::register(of),
            commands_in_flight: gauge(of, names::IN_FLIGHT),
            commands: Commands::register(of),
            import_lines: ImportLines::register(of),
            live_holds: gauge(of, names::LIVE_HOLDS),
            held_units: gauge(of, names::HELD_UNITS),
            orders: gauge(of, names::ORDERS),
            oversell_units: gauge(of, names::OVERSELL_UNITS),
            expiry_lag_seconds: histogram(of, names::EXPIRY_LAG),
            journal_queue_depth: gauge(of, names::JOURNAL_QUEUE_DEPTH),
            journal_append_seconds: histogram(of, names::JOURNAL_APPEND_SECONDS),
            journal_sync_seconds: histogram(of, names::JOURNAL_SYNC_SECONDS),
            journal_group_records: histogram(of, names::JOURNAL_GROUP_RECORDS),
            journal_group_bytes: histogram(of, names::JOURNAL_GROUP_BYTES),
            journal_records: counter(of, names::JOURNAL_RECORDS),
            journal_unsynced_records: gauge(of, names::JOURNAL_UNSYNCED),
            journal_bytes: gauge(of, names::JOURNAL_BYTES),
            recovery_replayed_records: gauge(of, names::RECOVERY_REPLAYED),
            recovery_records: gauge(of, names::RECOVERY_RECORDS),
            recovery_seconds: gauge(of, names::RECOVERY_SECONDS),
            actor_starts: counter(of, names::ACTOR_STARTS),
            actor_passivations: counter(of, names::ACTOR_PASSIVATIONS),
            actor_restarts: counter(of, names::ACTOR_RESTARTS),
            mended: counter(of, names::MENDED),
            actors_running: gauge(of, names::ACTORS_RUNNING),
            quarantined_variants: gauge(of, names::QUARANTINED),
            checkpoint_record_number: gauge(of, names::CHECKPOINT_NUMBER),
            checkpoints: counter(of, names::CHECKPOINTS),
            checkpoint_seconds: histogram(of, names::CHECKPOINT_SECONDS),
            archive_bytes: gauge(of, names::ARCHIVE_BYTES),
            archive_failures: counter(of, names::ARCHIVE_FAILURES),
            snapshot_last_success_seconds: gauge(of, names::SNAPSHOT_LAST_SUCCESS),
            snapshot_seconds: gauge(of, names::SNAPSHOT_SECONDS),
            snapshot_bytes: gauge(of, names::SNAPSHOT_BYTES),
            snapshot_failures: counter(of, names::SNAPSHOT_FAILURES),
            keys_memory_entries: gauge(of, names::KEYS_MEMORY),
            keys_disk_bytes: gauge(of, names::KEYS_DISK_BYTES),
            rows_memory_bytes: gauge(of, names::ROWS_MEMORY),
            disk_free_bytes: gauge(of, names::DISK_FREE),
            requests: Requests::register(recorder),
        }
    }
}

/// Requests by route template, method and status.
///
/// Routes are the router's templates, methods and statuses are few: so the number of series is bounded by the program.
#[derive(Debug)]
pub struct Requests {
    recorder: PrometheusRecorder,
    by_route: RwLock<HashMap<Box<str>, RouteCounters>>,
}

/// The counters of one route template.
type RouteCounters = HashMap<(Method, u16), Counter>;

impl Requests {
    fn register(recorder: PrometheusRecorder) -> Self {
        let requests = Self {
            recorder,
            by_route: RwLock::default(),
        };
        // One known combination, so that the family is there from the first scrape on.
        requests.of(UNMATCHED_ROUTE, Method::Other, 404).increment(0);
        requests
    }

    /// The counter of one combination; `route` is a template of the router or [`UNMATCHED_ROUTE`], never a path.
    pub fn of(&self, route: &str, method: Method, status: u16) -> Counter {
        if let Some(counter) = self
            .by_route
            .read()
            .get(route)
            .and_then(|known| known.get(&(method, status)))
        {
            return counter.clone();
        }
        let labels = vec![
            Label::new("route", route.to_owned()),
            Label::new("method", method.word()),
            Label::new("status", status.to_string()),
        ];
        let counter = register_counter(&self.recorder, names::REQUESTS, labels);
        self.by_route
            .write()
            .entry(route.into())
            .or_default()
            .insert((method, status), counter.clone());
        counter
    }
}

/// Commands by operation and outcome, and their durations by operation.
#[derive(Debug)]
pub struct Commands {
    outcomes: Vec<Vec<Counter>>,
    seconds: Vec<Histogram>,
}

impl Commands {
    fn register(recorder: &PrometheusRecorder) -> Self {
        let operation_label = |operation: Operation| Label::new("operation", operation.word());
        let outcomes = |operation: Operation| {
            let counter = |outcome: &Outcome| {
                let labels = vec![operation_label(operation), Label::new("outcome", outcome.word())];
                register_counter(recorder, names::COMMANDS, labels)
            };
            Outcome::ALL.iter().map(counter).collect()
        };
        let seconds = |operation: &Operation| {
            register_histogram(
                recorder,
                names::COMMAND_SECONDS,
                vec![operation_label(*operation)],
            )
        };
        Self {
            outcomes: Operation::ALL.iter().copied().map(outcomes).collect(),
            seconds: Operation::ALL.iter().map(seconds).collect(),
        }
    }

    /// How many commands of this operation ended so.
    pub fn of(&self, operation: Operation, outcome: Outcome) -> &Counter {
        &self.outcomes[operation as usize][outcome as usize]
    }

    /// From permit to durable answer, seconds.
    pub fn seconds(&self, operation: Operation) -> &Histogram {
        &self.seconds[operation as usize]
    }
}

/// Commands turned away, by reason.
#[derive(Debug)]
pub struct ShedCounters {
    by_reason: Vec<Counter>,
}

impl ShedCounters {
    fn register(recorder: &PrometheusRecorder) -> Self {
        let counter = |reason: &Shed| {
            register_counter(recorder, names::SHED, vec![Label::new("reason", reason.word())])
        };
        Self {
            by_reason: Shed::ALL.iter().map(counter).collect(),
        }
    }

    /// How many were turned away for this reason.
    pub fn of(&self, reason: Shed) -> &Counter {
        &self.by_reason[reason as usize]
    }
}

/// Lines of imports, by outcome.
#[derive(Debug)]
pub struct ImportLines {
    by_outcome: Vec<Counter>,
}

impl ImportLines {
    fn register(recorder: &PrometheusRecorder) -> Self {
        let counter = |outcome: &ImportLine| {
            let labels = vec![Label::new("outcome", outcome.word())];
            register_counter(recorder, names::IMPORT_LINES, labels)
        };
        Self {
            by_outcome: ImportLine::ALL.iter().map(counter).collect(),
        }
    }

    /// How many lines ended so.
    pub fn of(&self, outcome: ImportLine) -> &Counter {
        &self.by_outcome[outcome as usize]
    }
}

/// Every series is of interest to the same collector, so that level and target say nothing here.
const METADATA: Metadata<'static> = Metadata::new("holdfast", Level::INFO, None);

fn counter(recorder: &PrometheusRecorder, spec: Spec) -> Counter {
    register_counter(recorder, spec, Vec::new())
}

fn gauge(recorder: &PrometheusRecorder, spec: Spec) -> Gauge {
    register_gauge(recorder, spec, Vec::new())
}

fn histogram(recorder: &PrometheusRecorder, spec: Spec) -> Histogram {
    register_histogram(recorder, spec, Vec::new())
}

fn register_counter(recorder: &PrometheusRecorder, spec: Spec, labels: Vec<Label>) -> Counter {
    recorder.register_counter(&Key::from_parts(spec.name, labels), &METADATA)
}

fn register_gauge(recorder: &PrometheusRecorder, spec: Spec, labels: Vec<Label>) -> Gauge {
    recorder.register_gauge(&Key::from_parts(spec.name, labels), &METADATA)
}

fn register_histogram(recorder: &PrometheusRecorder, spec: Spec, labels: Vec<Label>) -> Histogram {
    recorder.register_histogram(&Key::from_parts(spec.name, labels), &METADATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_with_help_and_type_from_the_start() {
        let text = Telemetry::new().render();
        for spec in CATALOGUE {
            let kind = match spec.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            assert!(
                text.contains(&format!("# HELP {} {}\n", spec.name, spec.help)),
                "{} has no help",
                spec.name
            );
            assert!(
                text.contains(&format!("# TYPE {} {kind}\n", spec.name)),
                "{} has no type",
                spec.name
            );
        }
        let types = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(
            types,
            CATALOGUE.len(),
            "something is rendered that the catalogue does not list"
        );
    }

    #[test]
    fn no_histogram_becomes_a_summary() {
        let telemetry = Telemetry::new();
        let metrics = telemetry.metrics();
        metrics.journal_sync_seconds.record(0.0002);
        metrics.commands.seconds(Operation::Reserve).record(0.0003);
        telemetry.upkeep();
        let text = telemetry.render();
        assert!(!text.contains("quantile="));
        assert!(text.contains("holdfast_journal_sync_duration_seconds_bucket{le=\"0.00025\"} 1\n"));
        assert!(text.contains("holdfast_command_duration_seconds_count{operation=\"reserve\"} 1\n"));
    }

    #[test]
    fn names_follow_the_conventions() {
        for spec in CATALOGUE {
            let Spec { name, kind, unit, .. } = spec;
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(
                name.ends_with("_seconds"),
                *unit == metrics::Unit::Seconds,
                "{name}"
            );
            assert_eq!(name.ends_with("_bytes"), *unit == metrics::Unit::Bytes, "{name}");
            assert!(
                name.starts_with("holdfast_") || name.starts_with("process_"),
                "{name}"
            );
            if let Kind::Histogram(buckets) = kind {
                assert!(buckets.is_sorted_by(|one, next| one < next), "{name}");
            }
        }
    }

    #[test]
    fn known_label_values_start_at_zero_and_count() {
        let telemetry = Telemetry::new();
        let text = telemetry.render();
        assert!(text.contains("holdfast_shed_total{reason=\"process_full\"} 0\n"));
        assert!(
            text.contains(
                "holdfast_commands_total{operation=\"reserve\",outcome=\"insufficient_stock\"} 0\n"
            )
        );
        telemetry
            .metrics()
            .commands
            .of(Operation::Return, Outcome::Failed)
            .increment(2);
        telemetry.metrics().shed.of(Shed::Deadline).increment(1);
        let text = telemetry.render();
        assert!(text.contains("holdfast_commands_total{operation=\"return\",outcome=\"failed\"} 2\n"));
        assert!(text.contains("holdfast_shed_total{reason=\"deadline\"} 1\n"));
    }

    #[test]
    fn requests_count_by_template_and_by_known_methods_only() {
        let telemetry = Telemetry::new();
        let requests = &telemetry.metrics().requests;
        for method in ["GET", "GET", "BREW", "FROB"] {
            requests
                .of("/api/stock/{sku}", Method::from(method), 200)
                .increment(1);
        }
        let text = telemetry.render();
        assert!(
            text.contains("{route=\"/api/stock/{sku}\",method=\"GET\",status=\"200\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("{route=\"/api/stock/{sku}\",method=\"OTHER\",status=\"200\"} 2\n"));
    }

    #[test]
    fn the_process_is_measured() {
        let telemetry = Telemetry::new();
        let text = telemetry.render();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_threads ") >= 1.0);
    }

    #[test]
    fn a_process_has_one_telemetry() {
        assert!(std::ptr::eq(install(), install()));
        assert!(std::ptr::eq(metrics(), install().metrics()));
    }
}
