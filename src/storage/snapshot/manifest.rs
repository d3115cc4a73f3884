//! The description at the head of a snapshot file, for people and tools that only look.
use super::{EntityKind, format::FORMAT};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What the one who takes a snapshot says about it; the writer adds what it counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The program and version that writes, as `holdfast 0.1.0`.
    pub written_by: String,
    /// When the snapshot was taken, ms since the Unix epoch.
    pub created_at_ms: i64,
    /// The epoch of the log.
    pub epoch: u64,
    /// The record number whose state this is.
    pub position: u64,
    /// When that record was logged, ms since the Unix epoch.
    pub logged_at_ms: Option<i64>,
    /// Up to which record the entities are; the records behind it follow them.
    pub rows_number: Option<u64>,
    /// When that record was logged, ms since the Unix epoch.
    pub rows_logged_at_ms: Option<i64>,
    /// The rules that hold there, see `domain::rules`.
    pub rules: u32,
    /// The release that switched them on.
    pub rules_since: String,
    /// Sums of the laws over all entities, by name: `onHand`, `held`, `committed`, ...
    pub totals: BTreeMap<String, u64>,
    /// Whose data is inside, as their licences ask to be told.
    pub attribution: Vec<String>,
    /// Where the content comes from, in a sentence.
    pub source: String,
}

/// The manifest as it stands in the file. Members may be added; none is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The format number, as in the prologue.
    pub format: u16,
    /// The program and version that wrote the file.
    pub written_by: String,
    /// When the snapshot was taken, ms since the Unix epoch.
    pub created_at_ms: i64,
    /// The epoch of the log.
    pub epoch: u64,
    /// The record number whose state this is.
    pub position: u64,
    /// When that record was logged, ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_at_ms: Option<i64>,
    /// Up to which record the entities are; the records behind it follow them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_number: Option<u64>,
    /// When that record was logged, ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_logged_at_ms: Option<i64>,
    /// The rules that hold there: a release that does not know them must not go on from here.
    pub rules: u32,
    /// The release that switched them on, and the one that is needed at least.
    pub rules_since: String,
    /// Entries by kind.
    pub counts: Counts,
    /// Sums of the laws over all entities, by name.
    pub totals: BTreeMap<String, u64>,
    /// The content's digest in hexadecimal digits.
    pub digest: String,
    /// What the content amounts to at its position, once somebody has replayed it and found every law kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Stand>,
    /// Whose data is inside.
    pub attribution: Vec<String>,
    /// Where the content comes from.
    pub source: String,
}

impl Manifest {
    pub(super) fn new(about: About, counts: Counts, digest: Digest) -> Self {
        Self {
            format: FORMAT,
            written_by: about.written_by,
            created_at_ms: about.created_at_ms,
            epoch: about.epoch,
            position: about.position,
            logged_at_ms: about.logged_at_ms,
            rows_number: about.rows_number,
            rows_logged_at_ms: about.rows_logged_at_ms,
            rules: about.rules,
            rules_since: about.rules_since,
            counts,
            totals: about.totals,
            digest: digest.to_string(),
            state: None,
            attribution: about.attribution,
            source: about.source,
        }
    }
}

/// What a snapshot amounts to at its position, after the replay of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stand {
    /// The digest of the states of variants, carts and orders, in hexadecimal digits; see `recovery::state_digest`.
    pub digest: String,
    /// Variants that exist.
    pub variants: u64,
    /// Reservations they keep.
    pub reservations: u64,
    /// Carts.
    pub carts: u64,
    /// Orders.
    pub orders: u64,
    /// Points in which holds, carts and orders do not agree at this very record; whoever opens it mends them.
    pub mends: u64,
}

/// Entries of a snapshot by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Entities by the name of their kind; kinds without any are left out.
    pub entities: BTreeMap<String, u64>,
    /// Records of the log tail.
    pub records: u64,
}

impl Counts {
    /// Entities of one kind.
    pub fn of(&self, kind: EntityKind) -> u64 {
        self.entities.get(&kind.name()).copied().unwrap_or(0)
    }

    /// Entities of all kinds.
    pub fn all_entities(&self) -> u64 {
        self.entities.values().sum()
    }

    pub(super) fn add(&mut self, kind: EntityKind, entities: u64) {
        *self.entities.entry(kind.name()).or_default() += entities;
    }
}

/// BLAKE3 over the content, see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
