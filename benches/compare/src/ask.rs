//! What is asked, the same of everybody: one unit of one hot variant, for a customer, until a deadline, under a key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The hot variant.
pub(crate) const VARIANT: &str = "hot";
/// Its units: more than any leg can take.
pub(crate) const STOCK: u64 = 100_000_000;
/// How long a hold lives, ms; longer than any leg.
pub(crate) const TTL_MS: i64 = 900_000;
/// How long a key is kept, ms: a day, as Holdfast does.
pub(crate) const KEY_TTL_MS: i64 = 86_400_000;

/// One request to a store; who asks makes the id.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Idempotency key.
    pub(crate) key: String,
    /// The buyer.
    pub(crate) customer: String,
    /// Of the hold, if it is granted.
    pub(crate) id: u128,
}

/// A hold as a store answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Of the hold: the asked one, or that of an earlier answer to the same key.
    pub(crate) id: u128,
    /// When it falls due, ms.
    pub(crate) expires_at_ms: i64,
}

/// The key of the request with this number; requests are numbered through each leg, and each leg begins with an empty store.
pub(crate) fn key(number: u64) -> String {
    format!("k{number:016x}")
}

/// The number in a key.
pub(crate) fn number_of(key: &str) -> Option<u64> {
    u64::from_str_radix(key.strip_prefix('k')?, 16).ok()
}

/// The customer of the request with this number: in a flash sale they are many.
pub(crate) fn customer(number: u64) -> String {
    format!("c{number:016x}")
}

/// The text of a hold's id.
pub(crate) fn hold_text(id: u128) -> String {
    format!("rsv_{id:032x}")
}

/// The id in a text.
pub(crate) fn hold_id(text: &str) -> Option<u128> {
    u128::from_str_radix(text.strip_prefix("rsv_")?, 16).ok()
}

/// Ids in the order of time, as Holdfast makes them: a random order would be unkind to an index.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    next: AtomicU64,
}

impl Ids {
    /// A new id.
    pub(crate) fn next(&self) -> u128 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = now.map_or(0, |since| since.as_millis());
        millis << 64 | u128::from(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        assert_eq!(number_of(&key(0xfeed)), Some(0xfeed));
        assert_eq!(number_of("c0"), None);
        assert_eq!(hold_id(&hold_text(7 << 100)), Some(7 << 100));
        assert_eq!(hold_id("7"), None);
    }

    #[test]
    fn ids_rise_and_never_repeat() {
        let ids = Ids::default();
        let made: Vec<u128> = (0..1_000).map(|_| ids.next()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
