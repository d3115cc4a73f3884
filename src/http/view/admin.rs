//! What operators see.
use crate::app::{HotVariant, Quarantined, Status};
use crate::config::Loaded;
use crate::domain::policy::{ExpiredLines, HoldLengths, Policy};
use crate::http::time::Moment;
use serde::Serialize;
use utoipa::ToSchema;

const MS: i64 = 1000;

/// A store's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Policy)]
pub struct PolicyView {
    /// Holds of customers.
    pub cart: HoldLengthsView,
    /// Holds without a customer id.
    pub guest: HoldLengthsView,
    /// Checkouts.
    pub payment: PaymentPolicyView,
    /// Unit limits.
    pub limits: LimitsView,
    /// A cart left alone this long is abandoned.
    pub cart_idle_seconds: i64,
    /// The longest ttl a caller may ask for.
    pub max_ttl_seconds: i64,
    /// What becomes of expired cart lines: `keep` or `remove`.
    #[schema(value_type = String)]
    pub expired_lines: &'static str,
    /// Counts changes; the ETag.
    pub version: u64,
}

/// Lengths of holds for one kind of shopper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HoldLengths)]
pub struct HoldLengthsView {
    /// A new hold's length.
    pub ttl_seconds: i64,
    /// One extension's length.
    pub extension_seconds: i64,
    /// How often a hold may be extended.
    pub max_extensions: u8,
}

/// How long a checkout may await its payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaymentPolicy)]
pub struct PaymentPolicyView {
    /// From checkout to the deadline.
    pub ttl_seconds: i64,
}

/// Unit limits; null is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Limits)]
pub struct LimitsView {
    /// Units in one order.
    pub units_per_order: Option<u32>,
    /// Units of one variant for one customer: live holds and purchases together.
    pub units_per_customer_per_variant: Option<u32>,
    /// Lines in one cart.
    pub lines_per_cart: u32,
    /// Purchases older than this many days no longer count; null is for ever.
    pub window_days: Option<u32>,
}

impl From<&Policy> for PolicyView {
    fn from(policy: &Policy) -> Self {
        let limits = policy.limits;
        Self {
            cart: lengths(policy.cart),
            guest: lengths(policy.guest),
            payment: PaymentPolicyView {
                ttl_seconds: policy.payment_ttl_ms / MS,
            },
            limits: LimitsView {
                units_per_order: limits.units_per_order,
                units_per_customer_per_variant: limits.units_per_customer_per_variant,
                lines_per_cart: limits.lines_per_cart,
                window_days: limits.window_days,
            },
            cart_idle_seconds: policy.cart_idle_ms / MS,
            max_ttl_seconds: policy.max_ttl_ms / MS,
            expired_lines: match policy.expired_lines {
                ExpiredLines::Keep => "keep",
                ExpiredLines::Remove => "remove",
            },
            version: policy.version,
        }
    }
}

const fn lengths(lengths: HoldLengths) -> HoldLengthsView {
    HoldLengthsView {
        ttl_seconds: lengths.ttl_ms / MS,
        extension_seconds: lengths.extension_ms / MS,
        max_extensions: lengths.max_extensions,
    }
}

/// The configuration of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Config)]
pub struct ConfigView {
    /// Every key, in the order of its section.
    pub items: Vec<ConfigRowView>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfigRow)]
pub struct ConfigRowView {
    /// Its dotted name.
    pub key: String,
    /// Its value; secrets masked.
    pub value: String,
    /// Where it comes from: `default`, `file`, `environment` or `flag`.
    pub source: String,
}

impl From<&Loaded> for ConfigView {
    fn from(loaded: &Loaded) -> Self {
        let row = |row: crate::config::Row| ConfigRowView {
            key: row.key.to_owned(),
            value: row.value,
            source: row.source.to_owned(),
        };
        Self {
            items: loaded.rows().into_iter().map(row).collect(),
        }
    }
}

/// That the process drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Drain)]
pub struct DrainView {
    /// `draining`.
    #[schema(value_type = String)]
    pub status: &'static str,
}

/// A variant by the commands it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HotVariant)]
pub struct HotVariantView {
    /// Which.
    pub variant_id: String,
    /// Commands since the process began.
    pub commands: u64,
    /// Commands on their way now.
    pub in_flight: usize,
}

impl From<HotVariant> for HotVariantView {
    fn from(hot: HotVariant) -> Self {
        Self {
            variant_id: hot.id.to_string(),
            commands: hot.commands,
            in_flight: hot.in_flight,
        }
    }
}

/// A variant that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Quarantined)]
pub struct QuarantinedView {
    /// Which.
    pub variant_id: String,
    /// Why: the broken law and the figures that show it, or the failure met again and again.
    pub reason: String,
}

impl From<Quarantined> for QuarantinedView {
    fn from(quarantined: Quarantined) -> Self {
        Self {
            variant_id: quarantined.id.to_string(),
            reason: quarantined.reason,
        }
    }
}

/// How the process is, over all stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Status)]
pub struct StatusView {
    /// The program's version.
    pub version: &'static str,
    /// `single`: it shares its log with nobody.
    #[schema(value_type = String)]
    pub role: &'static str,
    /// `serving` or `draining`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// Since when it serves.
    #[schema(value_type = String, format = DateTime)]
    pub since: Moment,
    /// For how long.
    pub uptime_seconds: i64,
    /// The epoch of its log.
    pub epoch: u64,
    /// The last durable record, as `<epoch>-<number>`.
    pub position: String,
    /// The record up to which all state is stored; 0 before the first checkpoint.
    pub checkpoint: u64,
    /// Variants in the shop.
    pub variants: u64,
    /// Variants whose actors run; the others sleep.
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
    /// The disk under the data directory.
    pub disk: DiskView,
    /// The moment this was told at.
    #[schema(value_type = String, format = DateTime)]
    pub server_time: Moment,
}

/// A disk and what is kept back of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Disk)]
pub struct DiskView {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes kept back.
    pub reserve_bytes: u64,
    /// Whether new holds are refused for want of space.
    pub below_reserve: bool,
}

impl From<&Status> for StatusView {
    fn from(status: &Status) -> Self {
        Self {
            version: status.version,
            role: "single",
            status: if status.draining { "draining" } else { "serving" },
            since: Moment(status.since),
            uptime_seconds: status.at.since(status.since) / MS,
            epoch: status.epoch,
            position: format!("{}-{}", status.epoch, status.last_record),
            checkpoint: status.checkpoint,
            variants: status.variants,
            running_variants: status.running_variants,
            quarantined_variants: status.quarantined_variants,
            live_holds: status.live_holds,
            held_units: status.held_units,
            carts: status.carts,
            orders: status.orders,
            in_flight: status.in_flight,
            queue_depth: status.queue_depth,
            log_bytes: status.log_bytes,
            disk: DiskView {
                free_bytes: status.disk_free_bytes,
                reserve_bytes: status.disk_reserve_bytes,
                below_reserve: status.disk_is_low,
            },
            server_time: Moment(status.at),
        }
    }
}
