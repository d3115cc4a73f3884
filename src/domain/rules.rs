//! Which rules a log was judged by, as a number (design, twelve points, 8).
//!
//! What `apply` makes of an event is part of the stored format: a release that applied old records in a new way would come
//! to another state than the one that was promised. So every change of `apply`, or of what an event implies, is a new rule
//! set. A record of its own, the gate, says from which place of the log on one holds; records before it are applied by the
//! rules before it, for ever. A release that does not know the rules of a gate must not go on from there.
//!
//! There is one rule set so far. The change that brings the second hands [`Rules`] to the `apply` it changes.
use std::fmt;

/// A set of rules, from 1; each release knows those up to [`Rules::CURRENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rules(pub u32);

impl Rules {
    /// The rules that this release judges by.
    pub const CURRENT: Self = Self(1);

    /// Whether this release can apply records under these rules.
    pub fn are_known(self) -> bool {
        (1..=Self::CURRENT.0).contains(&self.0)
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From here on these rules hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Which.
    pub rules: Rules,
    /// The release that switched them on, as `0.1.0`: the one an operator needs at least.
    pub release: String,
}

impl Gate {
    /// The gate that `release` puts into a log that stands `before`; none if its rules hold already.
    pub fn due(before: Option<&Gate>, release: &str) -> Option<Self> {
        (before.is_none_or(|gate| gate.rules < Rules::CURRENT)).then(|| Self {
            rules: Rules::CURRENT,
            release: release.to_owned(),
        })
    }

    /// Whether this release may go on from here.
    ///
    /// # Errors
    /// [`UnknownRules`].
    pub fn check(&self) -> Result<(), UnknownRules> {
        if self.rules.are_known() {
            return Ok(());
        }
        Err(UnknownRules(self.clone()))
    }
}

/// Rules of another release. Nothing is damaged: that release reads on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "holdfast {} switched to rule set {}, and this release knows rule sets up to {}: use holdfast {} or later",
    _0.release, _0.rules, Rules::CURRENT, _0.release
)]
pub struct UnknownRules(pub Gate);

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(rules: u32) -> Gate {
        Gate {
            rules: Rules(rules),
            release: "9.9.9".to_owned(),
        }
    }

    #[test]
    fn a_gate_is_due_once() {
        let first = Gate::due(None, "0.1.0").unwrap();
        assert_eq!((first.rules, first.release.as_str()), (Rules::CURRENT, "0.1.0"));
        assert_eq!(Gate::due(Some(&first), "0.2.0"), None);
        assert!(Gate::due(Some(&gate(Rules::CURRENT.0 - 1)), "0.2.0").is_some());
    }

    #[test]
    fn rules_of_a_later_release_are_refused_by_its_name() {
        assert_eq!(gate(Rules::CURRENT.0).check(), Ok(()));
        for unknown in [0, Rules::CURRENT.0 + 1] {
            let text = gate(unknown).check().unwrap_err().to_string();
            assert!(
                text.contains("holdfast 9.9.9") && text.contains(&format!("rule set {unknown},")),
                "{text}"
            );
        }
    }
}
