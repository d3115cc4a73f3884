//! A store's policy: how long holds last and how much one shopper may take.
use super::time::Timestamp;

/// The most lines a policy can allow a cart. With the longest ids and names the record of a checkout, which has the cart and its
/// order, then still fits into a group.
pub const LINES_PER_CART_MAX: u32 = 500;

/// What becomes of a cart line whose hold expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiredLines {
    /// It stays, marked expired, until the shopper decides.
    Keep,
    /// It leaves the cart.
    Remove,
}

/// Lengths of holds for one kind of shopper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLengths {
    /// A new hold's length, ms.
    pub ttl_ms: i64,
    /// One extension's length, ms.
    pub extension_ms: i64,
    /// How often a hold may be extended.
    pub max_extensions: u8,
}

/// Unit limits; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units in one order.
    pub units_per_order: Option<u32>,
    /// Units of one variant for one customer: live holds and purchases together.
    pub units_per_customer_per_variant: Option<u32>,
    /// Lines in one cart.
    pub lines_per_cart: u32,
    /// Purchases older than this many days no longer count; `None` is for ever.
    pub window_days: Option<u32>,
}

/// A store's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Holds of customers, and of guests where `guest` says nothing else.
    pub cart: HoldLengths,
    /// Holds without a customer id.
    pub guest: HoldLengths,
    /// How long a checkout may await its payment, ms.
    pub payment_ttl_ms: i64,
    /// Unit limits.
    pub limits: Limits,
    /// A cart left alone this long is abandoned, ms.
    pub cart_idle_ms: i64,
    /// The longest ttl a caller may ask for, ms.
    pub max_ttl_ms: i64,
    /// What becomes of expired cart lines.
    pub expired_lines: ExpiredLines,
    /// Counts changes; 1 is the policy of the configuration.
    pub version: u64,
}

/// The part of a policy that one hold is judged by; it travels with the command, so that a variant needs no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Lengths for this shopper.
    pub lengths: HoldLengths,
    /// Length of the payment phase, ms.
    pub payment_ttl_ms: i64,
    /// The longest ttl a caller may ask for, ms.
    pub max_ttl_ms: i64,
    /// Units of this variant for one customer, unless the variant says otherwise.
    pub units_per_customer: Option<u32>,
    /// Over how many days purchases count.
    pub window_days: Option<u32>,
}

impl Terms {
    /// The terms of an entity that nobody has asked for yet.
    pub const NONE: Self = Self {
        lengths: HoldLengths {
            ttl_ms: 0,
            extension_ms: 0,
            max_extensions: 0,
        },
        payment_ttl_ms: 0,
        max_ttl_ms: 0,
        units_per_customer: None,
        window_days: None,
    };
}

impl Policy {
    /// The terms for a shopper with or without a customer id.
    pub fn terms(&self, guest: bool) -> Terms {
        Terms {
            lengths: if guest { self.guest } else { self.cart },
            payment_ttl_ms: self.payment_ttl_ms,
            max_ttl_ms: self.max_ttl_ms,
            units_per_customer: self.limits.units_per_customer_per_variant,
            window_days: self.limits.window_days,
        }
    }

    /// Judges a change: `expected` is the version the caller saw.
    ///
    /// # Errors
    /// The current version when the caller's view is stale.
    pub fn decide(&self, wanted: Self, expected: u64, now: Timestamp) -> Result<PolicyChanged, u64> {
        if expected != self.version {
            return Err(self.version);
        }
        Ok(PolicyChanged {
            policy: Self {
                version: self.version + 1,
                ..wanted
            },
            at: now,
        })
    }
}

/// A store's policy was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyChanged {
    /// The policy from now on.
    pub policy: Policy,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
impl Policy {
    /// One like another.
    pub(super) fn sample() -> Self {
        let lengths = HoldLengths {
            ttl_ms: 1,
            extension_ms: 1,
            max_extensions: 1,
        };
        Self {
            cart: lengths,
            guest: lengths,
            payment_ttl_ms: 1,
            limits: Limits {
                units_per_order: None,
                units_per_customer_per_variant: None,
                lines_per_cart: 9,
                window_days: None,
            },
            cart_idle_ms: 1,
            max_ttl_ms: 1,
            expired_lines: ExpiredLines::Keep,
            version: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_the_next_version_whatever_it_says_itself() {
        let at = Timestamp::from_millis(7);
        let now = Policy {
            max_ttl_ms: 2,
            version: 3,
            ..Policy::sample()
        };
        let wanted = Policy {
            max_ttl_ms: 1,
            version: 9,
            ..now
        };
        assert_eq!(now.decide(wanted, 2, at), Err(3));
        let policy = Policy { version: 4, ..wanted };
        assert_eq!(now.decide(wanted, 3, at), Ok(PolicyChanged { policy, at }));
    }
}
