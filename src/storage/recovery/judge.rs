//! Is a portable snapshot lawful? Its records are replayed upon its entities, every variant is counted again, carts and orders
//! are checked, all three compared (AGREE), and the digest of the states at its position is computed.
//!
//! Only of a file whose bytes have been verified ([`crate::storage::snapshot::verify`]). The file is read several times, each
//! time the parts that are needed; memory holds its records and what they touch, one variant at a time beside that, and some
//! 100 bytes for each hold of a cart.
use super::{
    RecoverError,
    entries::{to_ended, to_key, to_row},
    open::{each_agent_of, each_variant_of},
    replay::{Agents, Replay, StateDigest},
};
use crate::domain::{
    agree::Sides,
    ids::VariantOrdinal,
    rules::{Gate, Rules, UnknownRules},
    variant::Variant,
};
use crate::storage::{
    agents::StoredAgent,
    dto,
    entity_rows::{RowError, Variants, store_of},
    journal::{Record, RecordNumber},
    record::Fact,
    snapshot::{EntityKind, Entry, Item, SnapshotError, SnapshotReader, Stand},
    state::Family,
};
use hashbrown::HashSet;
use std::collections::BTreeMap;

/// Violations told before the rest is only counted.
const VIOLATIONS_TOLD: usize = 20;

/// Why a snapshot cannot be judged: it is not what a release of ours wrote, or one of a later release.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The file.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A later release wrote it, by rules that this one does not know.
    #[error("the snapshot cannot be read by this release: {0}")]
    Rules(#[from] UnknownRules),
    /// An entity in it is none.
    #[error("{what} in the snapshot cannot be read: {reason}")]
    Entity {
        /// Its kind, and the record it is at.
        what: String,
        /// Why.
        reason: String,
    },
    /// Its entities are not those of one house.
    #[error("the entities in the snapshot do not fit together: {0}")]
    Row(#[from] RowError),
    /// Its records do not fit its entities.
    #[error("the records in the snapshot do not fit its entities: {0}")]
    Replay(#[from] RecoverError),
    /// It breaks laws.
    #[error("the snapshot breaks laws: {}", .0.join("; "))]
    Laws(Vec<String>),
}

impl JudgeError {
    /// Whether the file is damaged or false, rather than of a later release or unreadable for now.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Snapshot(SnapshotError::Io { .. } | SnapshotError::UnknownFormat { .. })
            | Self::Rules(_)
            | Self::Replay(RecoverError::UnknownRules { .. }) => false,
            Self::Snapshot(_) | Self::Entity { .. } | Self::Row(_) | Self::Replay(_) | Self::Laws(_) => true,
        }
    }
}

/// What a snapshot amounts to at its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Variants that exist.
    pub variants: u64,
    /// Reservations they keep.
    pub holds: u64,
    /// Carts.
    pub carts: u64,
    /// Orders.
    pub orders: u64,
    /// Units on hand.
    pub on_hand: u64,
    /// Units in live holds.
    pub held: u64,
    /// Units sold and not shipped.
    pub committed: u64,
    /// Points in which holds, carts and orders do not agree; whoever opens it mends them.
    pub mends: u64,
    /// The digest of the states of variants, carts and orders.
    pub digest: [u8; 32],
    /// Which laws are broken, in words; empty when all is well. At most the first twenty.
    pub violations: Vec<String>,
    /// How many more there are.
    pub violations_untold: u64,
}

impl Judged {
    /// Itself, if no law is broken.
    ///
    /// # Errors
    /// [`JudgeError::Laws`].
    pub fn lawful(self) -> Result<Self, JudgeError> {
        if self.violations.is_empty() {
            return Ok(self);
        }
        Err(JudgeError::Laws(self.violations))
    }

    /// For the manifest.
    pub fn stand(&self) -> Stand {
        Stand {
            digest: self.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            variants: self.variants,
            reservations: self.holds,
            carts: self.carts,
            orders: self.orders,
            mends: self.mends,
        }
    }

    /// The sums of the laws, for the manifest.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        [
            ("onHand", self.on_hand),
            ("held", self.held),
            ("committed", self.committed),
        ]
        .map(|(name, units)| (name.to_owned(), units))
        .into()
    }

    fn violation(&mut self, what: impl ToString) {
        if self.violations.len() < VIOLATIONS_TOLD {
            self.violations.push(what.to_string());
        } else {
            self.violations_untold += 1;
        }
    }
}

/// Opens the snapshot; called once for each part that is read.
pub type OpenSnapshot<'a> = &'a dyn Fn() -> Result<SnapshotReader, SnapshotError>;

/// Judges a snapshot whose bytes have been verified.
///
/// # Errors
/// [`JudgeError`] when it cannot be replayed; broken laws are in the answer.
pub fn judge(open: OpenSnapshot<'_>) -> Result<Judged, JudgeError> {
    let manifest = open()?.manifest().clone();
    let gate = Gate {
        rules: Rules(manifest.rules),
        release: manifest.rules_since.clone(),
    };
    gate.check()?;
    let tail = read_tail(open)?;
    let touched = Touched::by(&tail)?;
    let mut replay = Replay::new(None);
    load_small(open, &mut replay)?;
    load_touched(open, &touched, &mut replay)?;
    for record in &tail {
        replay.record(record)?;
    }
    drop(tail);
    check_the_rest(open)?;
    let mut judged = judge_states(open, replay)?;
    if let Some(state) = manifest.state.filter(|state| *state != judged.stand()) {
        judged.violation(format!(
            "REPLAY_EQUAL: the manifest says that the states' digest is {}, it is {}",
            state.digest,
            judged.stand().digest
        ));
    }
    Ok(judged)
}

fn read_tail(open: OpenSnapshot<'_>) -> Result<Vec<Record>, JudgeError> {
    let mut tail = Vec::new();
    for item in open()?.only_records() {
        if let Item::Record(record) = item? {
            tail.push(Record {
                number: RecordNumber(record.number),
                logged_at_ms: record.logged_at,
                payload: record.payload.into(),
            });
        }
    }
    Ok(tail)
}

/// What the records are about, and so what has to be in memory before they are replayed.
#[derive(Default)]
struct Touched {
    variants: HashSet<VariantOrdinal>,
    carts: HashSet<u128>,
    orders: HashSet<u128>,
}

impl Touched {
    fn by(tail: &[Record]) -> Result<Self, RecoverError> {
        let mut touched = Self::default();
        for record in tail {
            let turn = dto::decode_turn(&record.payload).map_err(|error| RecoverError::Replay {
                number: record.number,
                reason: error.to_string(),
            })?;
            match turn.fact {
                Fact::Variant(fact) => {
                    touched.variants.insert(fact.ordinal);
                }
                Fact::Cart(fact) => {
                    touched.carts.insert(fact.cart.bits());
                }
                Fact::Order(fact) => {
                    touched.orders.insert(fact.order.bits());
                }
                Fact::Policy { .. } | Fact::Bulk { .. } | Fact::Gate(_) | Fact::Told(_) => {}
            }
        }
        Ok(touched)
    }
}

/// The entities of some kinds, in the order of the file.
fn entities(
    open: OpenSnapshot<'_>,
    kinds: &'static [EntityKind],
) -> Result<impl Iterator<Item = Result<Entry, JudgeError>> + use<>, JudgeError> {
    let items = open()?.only(kinds);
    Ok(items.filter_map(|item| match item {
        Ok(Item::Entity(entry)) => Some(Ok(entry)),
        Ok(Item::Record(_)) => None,
        Err(error) => Some(Err(error.into())),
    }))
}

fn wrong(entry: &Entry, reason: impl ToString) -> JudgeError {
    JudgeError::Entity {
        what: format!("one of the {} (record {})", entry.kind.name(), entry.number),
        reason: reason.to_string(),
    }
}

fn load_small(open: OpenSnapshot<'_>, replay: &mut Replay<'_>) -> Result<(), JudgeError> {
    for entry in entities(open, &[EntityKind::POLICY, EntityKind::BULK])? {
        let entry = entry?;
        if entry.kind == EntityKind::BULK {
            let bulk = dto::decode_bulk(&entry.state).map_err(|error| wrong(&entry, error))?;
            replay.bulks.insert(bulk.id, bulk);
        } else {
            let policy = dto::decode_policy(&entry.state).map_err(|error| wrong(&entry, error))?;
            replay
                .policies
                .insert(store_of(&entry.id, Family::Entity)?, policy);
        }
    }
    Ok(())
}

fn load_touched(
    open: OpenSnapshot<'_>,
    touched: &Touched,
    replay: &mut Replay<'_>,
) -> Result<(), JudgeError> {
    if !touched.variants.is_empty() {
        for variant in variants(open)? {
            let (variant, number) = variant?;
            let ordinal = variant.head().ordinal;
            if touched.variants.contains(&ordinal) {
                replay.variants.insert(ordinal, (variant, number));
            }
        }
    }
    load_agents(open, &[EntityKind::CART], &touched.carts, &mut replay.carts)?;
    load_agents(open, &[EntityKind::ORDER], &touched.orders, &mut replay.orders)
}

fn load_agents<A: StoredAgent>(
    open: OpenSnapshot<'_>,
    kind: &'static [EntityKind],
    touched: &HashSet<u128>,
    into: &mut Agents<A>,
) -> Result<(), JudgeError> {
    if touched.is_empty() {
        return Ok(());
    }
    for agent in agents::<A>(open, kind)? {
        let (agent, number) = agent?;
        if touched.contains(&agent.bits()) {
            into.insert(agent.bits(), Some((agent, number)));
        }
    }
    Ok(())
}

/// Carts or orders in the order of their ids.
fn agents<A: StoredAgent>(
    open: OpenSnapshot<'_>,
    kind: &'static [EntityKind],
) -> Result<impl Iterator<Item = Result<(A, u64), JudgeError>> + use<A>, JudgeError> {
    let mut before = None;
    Ok(entities(open, kind)?.map(move |entry| {
        let entry = entry?;
        let agent = A::decode(&entry.state).map_err(|error| wrong(&entry, error))?;
        if before.replace(agent.bits()) >= Some(agent.bits()) {
            return Err(wrong(&entry, "it is out of order"));
        }
        Ok((agent, entry.number))
    }))
}

type VariantsOf = Box<dyn Iterator<Item = Result<(Variant, u64), JudgeError>>>;

/// Variants in the order of their ordinals, whole in one entry each, or put together from those of three kinds.
fn variants(open: OpenSnapshot<'_>) -> Result<VariantsOf, JudgeError> {
    let whole = entities(open, &[EntityKind::VARIANT])?.map(|entry| {
        let entry = entry?;
        let variant = dto::decode_variant(&entry.state).map_err(|error| wrong(&entry, error))?;
        Ok((variant, entry.number))
    });
    let rows = |kinds| -> Result<Rows, JudgeError> {
        Ok(Box::new(entities(open, kinds)?.map(|entry| {
            let entry = entry?;
            let row = to_row(&entry);
            Ok(row.unwrap_or((entry.id, entry.state)))
        })))
    };
    let mut parts = Variants::of_rows(
        rows(&[EntityKind::HEAD])?,
        rows(&[EntityKind::HOLD])?,
        rows(&[EntityKind::PURCHASES])?,
    );
    let mut ended = false;
    let parts = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let next = parts.next();
        ended = !matches!(next, Some(Ok(_)));
        if next.is_none() && parts.has_orphans() {
            let orphan = RowError::content(Family::Hold, "a reservation of no variant");
            return Some(Err(orphan.into()));
        }
        next
    });
    let mut before = None;
    Ok(Box::new(whole.chain(parts).map(move |variant| {
        let (variant, number) = variant?;
        let ordinal = variant.head().ordinal;
        if before.replace(ordinal) >= Some(ordinal) {
            let reason = format!("variant {} is out of order", variant.head().id);
            return Err(RowError::content(Family::Entity, reason).into());
        }
        Ok((variant, number))
    })))
}

type Rows = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>), JudgeError>>>;

/// What no law is about must be readable all the same.
fn check_the_rest(open: OpenSnapshot<'_>) -> Result<(), JudgeError> {
    const REST: &[EntityKind] = &[
        EntityKind::LEDGER,
        EntityKind::ENDED,
        EntityKind::KEY,
        EntityKind::DEPARTED,
    ];
    for entry in entities(open, REST)? {
        let entry = entry?;
        let read = match entry.kind {
            EntityKind::LEDGER => dto::decode_ledger_entry(&entry.state)
                .map(|_| ())
                .map_err(|error| error.to_string()),
            EntityKind::ENDED => to_ended(&entry).map(|_| ()),
            EntityKind::KEY => to_key(&entry).map(|_| ()).ok_or("it is too short".to_owned()),
            _ => dto::decode_name(&entry.state)
                .map(|_| ())
                .map_err(|error| error.to_string()),
        };
        read.map_err(|reason| wrong(&entry, reason))?;
    }
    Ok(())
}

fn judge_states(open: OpenSnapshot<'_>, replay: Replay<'_>) -> Result<Judged, JudgeError> {
    let mut judged = Judged::default();
    let (mut digest, mut sides) = (StateDigest::default(), Sides::default());
    let decided_at = replay.decided_at;
    each_variant_of(variants(open)?, replay.variants, |variant, _| {
        judged.variants += 1;
        judged.holds += variant.holds().len() as u64;
        judged.on_hand = judged.on_hand.saturating_add(variant.head().on_hand);
        judged.held = judged.held.saturating_add(variant.held());
        judged.committed = judged.committed.saturating_add(variant.committed());
        digest.add(&dto::encode_variant(&variant));
        sides.variant(&variant);
        if let Err(violation) = variant.recount() {
            judged.violation(violation);
        }
        Ok::<_, JudgeError>(())
    })?;
    let carts = agents(open, &[EntityKind::CART])?;
    judged.carts = judge_agents(carts, replay.carts, &mut digest, &mut judged, |cart| {
        sides.cart(cart);
    })?;
    let orders = agents(open, &[EntityKind::ORDER])?;
    judged.orders = judge_agents(orders, replay.orders, &mut digest, &mut judged, |order| {
        sides.order(order);
    })?;
    judged.mends = sides.reconcile(decided_at).len() as u64;
    judged.digest = digest.finish();
    Ok(judged)
}

fn judge_agents<A: StoredAgent>(
    stored: impl Iterator<Item = Result<(A, u64), JudgeError>>,
    replayed: Agents<A>,
    digest: &mut StateDigest,
    judged: &mut Judged,
    mut note: impl FnMut(&A),
) -> Result<u64, JudgeError> {
    let mut found = 0;
    each_agent_of(stored, replayed, |agent: &A, _| {
        found += 1;
        digest.add(&agent.encode());
        note(agent);
        if let Err(violation) = agent.check() {
            judged.violation(violation);
        }
        Ok::<_, JudgeError>(())
    })?;
    Ok(found)
}
