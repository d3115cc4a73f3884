//! How limits relate to each other: asserted once, at load.
use super::{ByteSize, Config, Length};
use crate::domain::{agent, bulk, policy::LINES_PER_CART_MAX};

/// The journal entries of the largest piece of work: what the reserved pool must have room for.
const ENTRIES_MAX: usize = {
    let (cart, bulk) = (
        agent::entries_max(LINES_PER_CART_MAX as usize),
        bulk::records_max(bulk::LINES_MAX),
    );
    if cart > bulk { cart } else { bulk }
};

/// The largest group that any back end must take, bytes (a replicated log accepts no more in one append).
pub const MAX_GROUP_BYTES: ByteSize = ByteSize::from_bytes(512 * 1024);

/// The smallest group, so that every record finds one, with the longest ids everywhere: a checkout of the largest cart is about
/// 400 KiB, a full turn of expiries about 180 KiB, the decision of the largest bulk about 120 KiB.
const MIN_GROUP_BYTES: ByteSize = ByteSize::from_bytes(448 * 1024);

/// Returns one sentence per relation that does not hold; empty when all do.
pub(super) fn broken(config: &Config) -> Vec<String> {
    let mut broken = Vec::new();
    let mut assert = |holds: bool, sentence: String| {
        if !holds {
            broken.push(sentence);
        }
    };
    let Config {
        server,
        journal,
        admission,
        retention,
        archive,
        policy,
        ..
    } = config;

    for (name, value) in must_be_positive(config) {
        assert(value > 0, format!("{name} must be above zero"));
    }
    let slots = admission
        .max_in_flight
        .saturating_add(admission.reserved)
        .saturating_add(admission.orders);
    assert(
        slots <= journal.queue_capacity,
        format!(
            "admission.max_in_flight + admission.reserved + admission.orders must not exceed \
             journal.queue_capacity, or an admitted command could find the queue full: {} + {} + {} > {}",
            admission.max_in_flight, admission.reserved, admission.orders, journal.queue_capacity
        ),
    );
    assert(
        admission.reserved >= ENTRIES_MAX,
        format!(
            "admission.reserved must be at least {ENTRIES_MAX}, or the checkout of a cart of {LINES_PER_CART_MAX} lines never \
             finds room: {}",
            admission.reserved
        ),
    );
    assert(
        admission.orders >= ENTRIES_MAX,
        format!(
            "admission.orders must be at least {ENTRIES_MAX}, or an order of {LINES_PER_CART_MAX} lines never finds room: {}",
            admission.orders
        ),
    );
    assert(
        config.keys.memory_max > bulk::LINES_MAX,
        format!(
            "keys.memory_max must be more than {}, or a list of so many lines, each with a key, never finds room: {}",
            bulk::LINES_MAX,
            config.keys.memory_max
        ),
    );
    assert(
        policy.lines_per_cart <= LINES_PER_CART_MAX,
        format!(
            "policy.lines_per_cart must be at most {LINES_PER_CART_MAX}: {}",
            policy.lines_per_cart
        ),
    );
    assert(
        journal.group_bytes >= MIN_GROUP_BYTES,
        format!(
            "journal.group_bytes must be at least {MIN_GROUP_BYTES}, or the largest record finds no group: {}",
            journal.group_bytes
        ),
    );
    let mut at_most = |name: &str, value: String, holds: bool, bound_name: &str, bound: String| {
        assert(
            holds,
            format!("{name} must not exceed {bound_name}: {value} > {bound}"),
        );
    };
    at_most(
        "admission.max_per_variant",
        admission.max_per_variant.to_string(),
        admission.max_per_variant <= admission.max_in_flight,
        "admission.max_in_flight",
        admission.max_in_flight.to_string(),
    );
    at_most(
        "admission.max_per_cart",
        admission.max_per_cart.to_string(),
        admission.max_per_cart <= admission.max_in_flight,
        "admission.max_in_flight",
        admission.max_in_flight.to_string(),
    );
    at_most(
        "journal.group_records",
        journal.group_records.to_string(),
        journal.group_records <= journal.queue_capacity,
        "journal.queue_capacity",
        journal.queue_capacity.to_string(),
    );
    let sizes = [
        (
            "journal.group_bytes",
            journal.group_bytes,
            "the largest group",
            MAX_GROUP_BYTES,
        ),
        (
            "journal.group_bytes",
            journal.group_bytes,
            "journal.segment_bytes",
            journal.segment_bytes,
        ),
        (
            "journal.segment_bytes",
            journal.segment_bytes,
            "archive.max_bytes",
            archive.max_bytes,
        ),
        (
            "server.body_max",
            server.body_max,
            "server.bulk_body_max",
            server.bulk_body_max,
        ),
    ];
    for (name, value, bound_name, bound) in sizes {
        at_most(
            name,
            value.to_string(),
            value <= bound,
            bound_name,
            bound.to_string(),
        );
    }
    let guest_ttl = policy.guest_ttl.unwrap_or(policy.ttl);
    let lengths = [
        (
            "retention.keys",
            retention.keys,
            "retention.ended",
            retention.ended,
        ),
        ("policy.ttl", policy.ttl, "policy.max_ttl", policy.max_ttl),
        ("policy.guest_ttl", guest_ttl, "policy.max_ttl", policy.max_ttl),
    ];
    for (name, value, bound_name, bound) in lengths {
        at_most(
            name,
            value.to_string(),
            value <= bound,
            bound_name,
            bound.to_string(),
        );
    }
    assert(
        server.listen != server.ops_listen || server.listen.port() == 0,
        format!(
            "server.listen and server.ops_listen must differ: both are {}",
            server.listen
        ),
    );
    broken
}

/// Limits for which zero would mean that nothing works at all.
fn must_be_positive(config: &Config) -> Vec<(&'static str, u64)> {
    let Config {
        server,
        journal,
        admission,
        checkpoint,
        state,
        keys,
        retention,
        archive,
        snapshots,
        actor,
        policy,
        payment,
        ..
    } = config;
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let ms = |length: Length| length.as_millis().unsigned_abs();
    let units = |limit: Option<u32>| limit.map_or(1, u64::from);
    vec![
        ("server.request_deadline", ms(server.request_deadline)),
        ("server.header_read_timeout", ms(server.header_read_timeout)),
        ("server.body_max", server.body_max.bytes()),
        ("server.connections_max", count(server.connections_max)),
        ("journal.group_records", count(journal.group_records)),
        ("journal.group_bytes", journal.group_bytes.bytes()),
        ("admission.max_in_flight", count(admission.max_in_flight)),
        ("admission.max_per_variant", count(admission.max_per_variant)),
        ("admission.max_per_cart", count(admission.max_per_cart)),
        ("checkpoint.every", ms(checkpoint.every)),
        ("checkpoint.log_bytes", checkpoint.log_bytes.bytes()),
        ("state.cache", state.cache.bytes()),
        ("keys.memory_max", count(keys.memory_max)),
        ("keys.disk_max", keys.disk_max.bytes()),
        ("retention.keys", ms(retention.keys)),
        ("archive.max_bytes", archive.max_bytes.bytes()),
        ("archive.max_age", ms(archive.max_age)),
        ("snapshots.every", snapshots.every.map_or(1, ms)),
        ("snapshots.keep", count(snapshots.keep)),
        ("actor.idle", ms(actor.idle)),
        ("policy.ttl", ms(policy.ttl)),
        ("policy.guest_ttl", policy.guest_ttl.map_or(1, ms)),
        ("policy.extension", ms(policy.extension)),
        ("policy.payment_ttl", ms(policy.payment_ttl)),
        ("policy.units_per_order", units(policy.units_per_order)),
        (
            "policy.units_per_customer_per_variant",
            units(policy.units_per_customer_per_variant),
        ),
        ("policy.lines_per_cart", u64::from(policy.lines_per_cart)),
        ("policy.cart_idle", ms(policy.cart_idle)),
        ("policy.limits_window_days", units(policy.limits_window_days)),
        ("payment.grace", ms(payment.grace)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        broken(&config)
    }

    #[test]
    fn the_defaults_hold_together() {
        assert_eq!(broken(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn a_full_admission_fits_the_queue_exactly() {
        assert!(sentences(|config| config.journal.queue_capacity = 20_480).is_empty());
        let broken = sentences(|config| config.journal.queue_capacity = 20_479);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].ends_with("8192 + 8192 + 4096 > 20479"), "{broken:?}");
    }

    #[test]
    fn the_largest_cart_fits_the_reserved_pool_exactly() {
        assert!(sentences(|config| config.admission.reserved = 3_008).is_empty());
        assert_eq!(
            sentences(|config| config.admission.reserved = 3_007),
            [
                "admission.reserved must be at least 3008, or the checkout of a cart of 500 lines never finds room: 3007"
            ]
        );
    }

    #[test]
    fn the_keys_of_the_longest_list_fit_the_table_exactly() {
        assert!(sentences(|config| config.keys.memory_max = 201).is_empty());
        assert_eq!(
            sentences(|config| config.keys.memory_max = 200),
            [
                "keys.memory_max must be more than 200, or a list of so many lines, each with a key, never finds room: 200"
            ]
        );
    }

    #[test]
    fn ended_holds_outlive_their_keys() {
        let day = Config::default().retention.keys;
        let more = Length::from_millis(day.as_millis().unsigned_abs() + 1);
        assert_eq!(
            sentences(|config| config.retention.keys = more),
            ["retention.keys must not exceed retention.ended: 86400001ms > 1d"]
        );
        assert!(sentences(|config| config.retention.ended = more).is_empty());
    }

    #[test]
    fn a_group_stays_within_what_every_back_end_takes() {
        let broken = sentences(|config| config.journal.group_bytes = ByteSize::from_bytes(512 * 1024 + 1));
        assert_eq!(
            broken,
            ["journal.group_bytes must not exceed the largest group: 524289B > 512KiB"]
        );
    }

    #[test]
    fn every_broken_relation_is_told_at_once() {
        let broken = sentences(|config| {
            config.server.ops_listen = config.server.listen;
            config.admission.max_per_variant = 0;
            config.policy.ttl = Length::from_millis(2 * 86_400_000);
        });
        assert_eq!(broken.len(), 4, "{broken:#?}");
    }
}
