//! A store's policy, and the terms cut out of it. Small, because every cart carries one.
use super::{Mirror, Moment, Span, words};
use crate::{
    domain::policy::{self, ExpiredLines},
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

words!(
    /// What becomes of expired cart lines.
    ExpiredWord of ExpiredLines { Keep, Remove }
);

#[derive(Clone, Copy, Encode, BorrowDecode)]
struct HoldLengths {
    ttl: Span,
    extension: Span,
    max_extensions: u8,
}

impl From<policy::HoldLengths> for HoldLengths {
    fn from(lengths: policy::HoldLengths) -> Self {
        Self {
            ttl: Span::of(lengths.ttl_ms),
            extension: Span::of(lengths.extension_ms),
            max_extensions: lengths.max_extensions,
        }
    }
}

impl TryFrom<HoldLengths> for policy::HoldLengths {
    type Error = FormatError;

    fn try_from(lengths: HoldLengths) -> Result<Self, FormatError> {
        Ok(Self {
            ttl_ms: lengths.ttl.ms()?,
            extension_ms: lengths.extension.ms()?,
            max_extensions: lengths.max_extensions,
        })
    }
}

/// A policy.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Policy {
    cart: HoldLengths,
    guest: HoldLengths,
    payment_ttl: Span,
    units_per_order: Option<u32>,
    units_per_customer_per_variant: Option<u32>,
    lines_per_cart: u32,
    window_days: Option<u32>,
    cart_idle: Span,
    max_ttl: Span,
    expired_lines: ExpiredWord,
    version: u64,
}

impl<'a> Mirror<'a> for Policy {
    type Domain = policy::Policy;

    fn of(domain: &'a policy::Policy) -> Self {
        Self {
            cart: domain.cart.into(),
            guest: domain.guest.into(),
            payment_ttl: Span::of(domain.payment_ttl_ms),
            units_per_order: domain.limits.units_per_order,
            units_per_customer_per_variant: domain.limits.units_per_customer_per_variant,
            lines_per_cart: domain.limits.lines_per_cart,
            window_days: domain.limits.window_days,
            cart_idle: Span::of(domain.cart_idle_ms),
            max_ttl: Span::of(domain.max_ttl_ms),
            expired_lines: domain.expired_lines.into(),
            version: domain.version,
        }
    }

    fn restore(self) -> Result<policy::Policy, FormatError> {
        Ok(policy::Policy {
            cart: self.cart.try_into()?,
            guest: self.guest.try_into()?,
            payment_ttl_ms: self.payment_ttl.ms()?,
            limits: policy::Limits {
                units_per_order: self.units_per_order,
                units_per_customer_per_variant: self.units_per_customer_per_variant,
                lines_per_cart: self.lines_per_cart,
                window_days: self.window_days,
            },
            cart_idle_ms: self.cart_idle.ms()?,
            max_ttl_ms: self.max_ttl.ms()?,
            expired_lines: self.expired_lines.into(),
            version: self.version,
        })
    }
}

/// A policy and since when.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct PolicyChanged {
    policy: Policy,
    at: Moment,
}

impl<'a> Mirror<'a> for PolicyChanged {
    type Domain = policy::PolicyChanged;

    fn of(domain: &'a policy::PolicyChanged) -> Self {
        Self {
            policy: Policy::of(&domain.policy),
            at: domain.at.into(),
        }
    }

    fn restore(self) -> Result<policy::PolicyChanged, FormatError> {
        Ok(policy::PolicyChanged {
            policy: self.policy.restore()?,
            at: self.at.into(),
        })
    }
}

/// The part of a policy one hold is judged by.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Terms {
    lengths: HoldLengths,
    payment_ttl: Span,
    max_ttl: Span,
    units_per_customer: Option<u32>,
    window_days: Option<u32>,
}

impl From<policy::Terms> for Terms {
    fn from(terms: policy::Terms) -> Self {
        Self {
            lengths: terms.lengths.into(),
            payment_ttl: Span::of(terms.payment_ttl_ms),
            max_ttl: Span::of(terms.max_ttl_ms),
            units_per_customer: terms.units_per_customer,
            window_days: terms.window_days,
        }
    }
}

impl TryFrom<Terms> for policy::Terms {
    type Error = FormatError;

    fn try_from(terms: Terms) -> Result<Self, FormatError> {
        Ok(Self {
            lengths: terms.lengths.try_into()?,
            payment_ttl_ms: terms.payment_ttl.ms()?,
            max_ttl_ms: terms.max_ttl.ms()?,
            units_per_customer: terms.units_per_customer,
            window_days: terms.window_days,
        })
    }
}
