//! Every limit of the house by name.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the sections: every key with meaning, unit and default |
//! | `load.rs` | the layers: defaults < file < environment < flags; unknown keys |
//! | `rules.rs` | how limits relate to each other |
//! | `show.rs` | the table of `config print` |
//! | `units.rs` | lengths, sizes and other values as text |
//!
//! A limit that lives nowhere else lives here; the floors take their section as an argument and never read a source
//! themselves. Deliberately absent: reloading (a limit holds from start to end of a process).
mod load;
mod rules;
mod show;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use load::nearest;
pub use load::{ConfigError, Loaded, Problem, Source};
pub use rules::MAX_GROUP_BYTES;
pub use show::Row;
pub use units::{ByteSize, CartSecret, JournalBackend, Length, LogFormat, Secret};

use units::Setting;

/// One key as the sources know it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The dotted name, `section.key`.
    pub name: &'static str,
    /// What stands there when no source says otherwise.
    pub default: &'static str,
    /// Whether its value is masked wherever it is shown.
    pub secret: bool,
}

/// Declares the sections: one struct each, the struct of all, the list of keys, and reading and showing by name.
macro_rules! sections {
    ($($(#[$section_doc:meta])* $section:ident: $Section:ident {
        $($(#[$doc:meta])* $field:ident: $type:ty = $default:literal,)+
    })+) => {
        $($(#[$section_doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Section {
            $($(#[$doc])* #[doc = ""] #[doc = concat!("Default: `", $default, "`.")] pub $field: $type,)+
        })+

        /// The whole configuration of a process.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[$section_doc])* pub $section: $Section,)+
        }

        /// Every key, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$($(Key {
            name: concat!(stringify!($section), ".", stringify!($field)),
            default: $default,
            secret: <$type as Setting>::SECRET,
        },)+)+];

        impl Config {
            /// Builds it from the text of every key; the error names the key whose text cannot be read.
            fn read(text: impl Fn(&'static str) -> String) -> Result<Self, (&'static str, String)> {
                Ok(Self {
                    $($section: $Section {
                        $($field: {
                            let name = concat!(stringify!($section), ".", stringify!($field));
                            <$type as Setting>::read(&text(name)).map_err(|message| (name, message))?
                        },)+
                    },)+
                })
            }

            /// The canonical text of every value, in the order of [`KEYS`], secrets masked.
            fn show(&self) -> Vec<String> {
                vec![$($(Setting::show(&self.$section.$field),)+)+]
            }
        }
    };
}

sections! {
    /// The listeners and what a request may cost.
    server: Server {
        /// Address of the public API. Anything but loopback needs `auth.admin_key`.
        listen: SocketAddr = "127.0.0.1:3000",
        /// Address of the operations listener: metrics and probes.
        ops_listen: SocketAddr = "127.0.0.1:3001",
        /// How long a caller waits for its answer before it gets 503; work nobody waits for is dropped.
        request_deadline: Length = "5s",
        /// How long a stopping server waits for running requests.
        drain_deadline: Length = "10s",
        /// The largest request body, bytes.
        body_max: ByteSize = "64KiB",
        /// The largest body of a bulk request, bytes.
        bulk_body_max: ByteSize = "256KiB",
        /// The largest list of an import, bytes; it is laid down in the data directory while it is dealt with.
        import_body_max: ByteSize = "64MiB",
        /// How long the caller of an import waits; the import goes on to its end all the same.
        import_deadline: Length = "10m",
        /// Open connections on the public listener; more wait in the kernel.
        connections_max: usize = "12000",
        /// How long a client may take to send its request head.
        header_read_timeout: Length = "10s",
    }

    /// Who may do what.
    auth: Auth {
        /// The key that operators send. Without it the server is open, and therefore on loopback only.
        admin_key: Option<Secret> = "none",
        /// What the tokens of guest carts are made with: 64 hexadecimal digits. `none` is a secret of its own, kept in
        /// the data directory; several servers behind one name need the same.
        cart_secret: Option<CartSecret> = "none",
    }

    /// Where the data lies.
    data: Data {
        /// The data directory; created when missing, used by one process at a time.
        dir: PathBuf = "./data",
    }

    /// The log.
    journal: Journal {
        /// Which back end keeps it: `sled` or `file`.
        backend: JournalBackend = "sled",
        /// Slots of the queue before the writer thread, records.
        queue_capacity: usize = "32768",
        /// The most records in one group (one device sync).
        group_records: usize = "4096",
        /// The most bytes in one group; at most 512 KiB.
        group_bytes: ByteSize = "512KiB",
        /// The size of one segment of the log, bytes: what trimming gives back at once.
        segment_bytes: ByteSize = "256MiB",
    }

    /// How much is let in; the rest is answered at once with 503 or 429.
    admission: Admission {
        /// Commands of callers between permit and answer, in the whole process.
        max_in_flight: usize = "8192",
        /// The same for one variant, so that one hot article does not starve the shop.
        max_per_variant: usize = "4096",
        /// Commands that may wait in front of one cart, or one order, for what it is in the middle of.
        max_per_cart: usize = "64",
        /// Journal slots kept for expiry and other messages of the house itself.
        reserved: usize = "8192",
        /// Journal slots kept for orders, which carts wait for.
        orders: usize = "4096",
    }

    /// When changed state is saved and the log trimmed.
    checkpoint: Checkpoint {
        /// The longest time between two checkpoints while something changes.
        every: Length = "10s",
        /// A checkpoint starts early when the log has grown by this many bytes.
        log_bytes: ByteSize = "64MiB",
    }

    /// The database of stored states.
    state: State {
        /// Its cache, bytes. Memory use is a small multiple of it.
        cache: ByteSize = "64MiB",
    }

    /// Idempotency keys.
    keys: Keys {
        /// Recent keys kept in memory; older ones are read from disk.
        memory_max: usize = "1000000",
        /// Keys on disk, bytes. At this size new keyed writes get 503.
        disk_max: ByteSize = "8GiB",
        /// Whether a creating request without a key is refused.
        required: bool = "false",
    }

    /// How long ended things are remembered.
    retention: Retention {
        /// Idempotency keys, from their logged time.
        keys: Length = "24h",
        /// Ended reservations, from their end; past it an id is 404. At least `retention.keys`.
        ended: Length = "24h",
    }

    /// The disk under the data directory.
    disk: Disk {
        /// Bytes kept free: below it new holds, imports and snapshots are refused, what ends holds goes on.
        reserve: ByteSize = "256MiB",
    }

    /// The log archive: what the log let go, so that a restore can go to any moment between snapshots.
    archive: Archive {
        /// Whether there is one.
        enabled: bool = "true",
        /// Above this size the oldest of it goes, bytes.
        max_bytes: ByteSize = "4GiB",
        /// What was logged longer ago than this goes.
        max_age: Length = "7d",
    }

    /// Portable snapshots, taken while serving.
    snapshots: Snapshots {
        /// The time between two snapshots that nobody asked for; `none` takes none.
        every: Option<Length> = "6h",
        /// So many of those are kept; one that somebody asked for stays until somebody removes it.
        keep: usize = "8",
        /// Whether a stopping server takes one at its end.
        on_drain: bool = "false",
    }

    /// Virtual actors.
    actor: Actor {
        /// A variant without live holds that was idle this long is put to sleep.
        idle: Length = "60s",
    }

    /// The policy of a store that has set none of its own.
    policy: PolicyDefaults {
        /// How long a hold lasts.
        ttl: Length = "15m",
        /// How long a guest's hold lasts; `none` is the same as `policy.ttl`.
        guest_ttl: Option<Length> = "none",
        /// What one extension adds.
        extension: Length = "15m",
        /// How often a hold may be extended.
        max_extensions: u8 = "3",
        /// How long a checkout may await its payment.
        payment_ttl: Length = "35m",
        /// The longest ttl a caller may ask for.
        max_ttl: Length = "24h",
        /// Units in one order; `none` is unlimited.
        units_per_order: Option<u32> = "none",
        /// Units of one variant for one customer, live holds and purchases together; `none` is unlimited.
        units_per_customer_per_variant: Option<u32> = "none",
        /// Lines in one cart.
        lines_per_cart: u32 = "100",
        /// A cart left alone this long is abandoned.
        cart_idle: Length = "24h",
        /// Purchases older than this many days no longer count; `none` is for ever.
        limits_window_days: Option<u32> = "none",
    }

    /// Checkouts.
    payment: Payment {
        /// How long after its payment's deadline a hold ends by itself if its order is lost.
        grace: Length = "60s",
    }

    /// The log lines on stderr.
    log: Log {
        /// `text` or `json`.
        format: LogFormat = "text",
        /// The least level that is written, or a filter such as `info,holdfast::storage=debug`.
        level: String = "info",
    }
}

impl Default for Config {
    fn default() -> Self {
        let default = |name| {
            let key = KEYS
                .iter()
                .find(|key| key.name == name)
                .expect("the list of keys is made with the sections");
            key.default.to_owned()
        };
        Self::read(default).expect("a test reads every default")
    }
}

impl Config {
    /// Whether the public API would be open to other machines without any credential: such a start is refused.
    pub fn is_exposed(&self) -> bool {
        self.auth.admin_key.is_none() && !self.server.listen.ip().is_loopback()
    }
}
