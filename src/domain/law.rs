//! The laws by name. Each is a predicate in the noun's own `invariant.rs`; tests, recovery, snapshots and the checker
//! run the same ones.
use std::fmt;

/// A law of the house, stated positively in the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// held + committed <= on hand + backorder allowance.
    NoOversell,
    /// on hand = received + returned - shipped - written off; held and committed are the sums over holds.
    Conservation,
    /// A reservation ends exactly once.
    OneTerminal,
    /// A hold ends neither before its deadline by itself nor is it confirmed after it.
    ExpiryWindow,
    /// State equals the replay of its events.
    ReplayEqual,
    /// What was answered with success is in the durable log.
    AckDurable,
    /// One key has one effect and one answer.
    OncePerKey,
    /// Records are numbered and chained without a gap, and all of them can be read.
    LogClosed,
    /// Tentative holds belong to a coordinator that is still deciding; carts, orders and holds agree where nobody is working.
    Agree,
}

impl Law {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoOversell => "NO_OVERSELL",
            Self::Conservation => "CONSERVATION",
            Self::OneTerminal => "ONE_TERMINAL",
            Self::ExpiryWindow => "EXPIRY_WINDOW",
            Self::ReplayEqual => "REPLAY_EQUAL",
            Self::AckDurable => "ACK_DURABLE",
            Self::OncePerKey => "ONCE_PER_KEY",
            Self::LogClosed => "LOG_CLOSED",
            Self::Agree => "AGREE",
        }
    }
}

/// A broken law: which, where, and the figures that show it. A bug of ours or damage, never a caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} broken by {subject}: {evidence}", law.name())]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// The entity, as an operator would name it.
    pub subject: String,
    /// The figures.
    pub evidence: String,
}

impl Violation {
    /// A violation with its evidence written out.
    pub fn new(law: Law, subject: impl fmt::Display, evidence: impl fmt::Display) -> Self {
        Self {
            law,
            subject: subject.to_string(),
            evidence: evidence.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_reports_go_by() {
        let names = [
            Law::NoOversell,
            Law::Conservation,
            Law::OneTerminal,
            Law::ExpiryWindow,
            Law::ReplayEqual,
            Law::AckDurable,
            Law::OncePerKey,
            Law::LogClosed,
            Law::Agree,
        ]
        .map(Law::name);
        let known = "NO_OVERSELL CONSERVATION ONE_TERMINAL EXPIRY_WINDOW REPLAY_EQUAL ACK_DURABLE ONCE_PER_KEY LOG_CLOSED AGREE";
        assert_eq!(names.join(" "), known);
    }
}
