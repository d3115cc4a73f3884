//! One record after the other into variants, carts, orders, policies and coordinators, as live actors would have applied
//! them.
use super::{
    super::{
        agents::StoredAgent,
        dto,
        entity_rows::{RowError, load_agent, load_variant},
        journal::{Record, RecordNumber},
        record::{Fact, Turn, VariantFact},
        state::StateStore,
    },
    RecoverError,
};
use crate::domain::{
    bulk::{self, Bulk},
    cart::{self, Cart},
    ids::{BulkId, StoreId, VariantOrdinal},
    order::Order,
    policy::Policy,
    rules::Gate,
    time::Timestamp,
    variant::Variant,
};
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// The one entity that is wanted, by ordinal or by the bits of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    Variant(VariantOrdinal),
    Cart(u128),
    Order(u128),
}

/// Carts or orders by the bits of their ids, with the last record in each; `None` for one that is forgotten, so that nobody
/// reads its row again.
pub(super) type Agents<A> = BTreeMap<u128, Option<(A, u64)>>;

/// State on its way through the log.
pub(super) struct Replay<'a> {
    /// Where an entity is read from when its first record comes.
    rows: Option<&'a StateStore>,
    /// The only entity that is wanted.
    only: Option<Only>,
    /// With the last record in each. Deleted ones stay, so that nobody reads their rows again.
    pub(super) variants: HashMap<VariantOrdinal, (Variant, u64)>,
    pub(super) policies: BTreeMap<StoreId, Policy>,
    pub(super) bulks: BTreeMap<BulkId, Bulk>,
    pub(super) carts: Agents<Cart>,
    pub(super) orders: Agents<Order>,
    /// Above every ordinal that was given out.
    pub(super) next_ordinal: u32,
    /// The latest moment a record was decided at.
    pub(super) decided_at: Timestamp,
    /// The rules that hold; none before the first gate.
    pub(super) gate: Option<Gate>,
}

impl<'a> Replay<'a> {
    /// From `rows`, or from nothing.
    pub(super) fn new(rows: Option<&'a StateStore>) -> Self {
        Self {
            rows,
            only: None,
            variants: HashMap::new(),
            policies: BTreeMap::new(),
            bulks: BTreeMap::new(),
            carts: Agents::new(),
            orders: Agents::new(),
            next_ordinal: 0,
            decided_at: Timestamp::from_millis(i64::MIN),
            gate: None,
        }
    }

    /// Of one entity, from where its rows have it.
    pub(super) fn only(only: Only, rows: &StateStore) -> Result<Replay<'static>, RowError> {
        let mut replay = Replay::new(None);
        replay.only = Some(only);
        match only {
            Only::Variant(ordinal) => {
                let stored = load_variant(rows, ordinal)?;
                replay.variants.extend(stored.map(|variant| (ordinal, variant)));
            }
            Only::Cart(bits) => {
                replay.carts.insert(bits, load_agent(rows, bits)?);
            }
            Only::Order(bits) => {
                replay.orders.insert(bits, load_agent(rows, bits)?);
            }
        }
        Ok(replay)
    }

    fn wants(&self, entity: Only) -> bool {
        self.only.is_none_or(|only| only == entity)
    }

    /// The variant, unless there is none.
    pub(super) fn into_variant(mut self, ordinal: VariantOrdinal) -> Option<(Variant, u64)> {
        let found = self.variants.remove(&ordinal);
        found.filter(|(variant, _)| !variant.head().deleted)
    }

    /// Applies the next record and says what it was.
    pub(super) fn record(&mut self, record: &Record) -> Result<Turn, RecoverError> {
        let wrong = |reason: String| RecoverError::Replay {
            number: record.number,
            reason,
        };
        let turn = dto::decode_turn(&record.payload).map_err(|error| wrong(error.to_string()))?;
        self.turn(record.number, &turn)?;
        Ok(turn)
    }

    /// Applies the next record, which says this.
    pub(super) fn turn(&mut self, number: RecordNumber, turn: &Turn) -> Result<(), RecoverError> {
        self.decided_at = self.decided_at.max(turn.at);
        match &turn.fact {
            Fact::Variant(fact) => self.variant(number, turn.at, fact)?,
            Fact::Policy { store, changed } => {
                self.policies.insert(store.clone(), changed.policy);
            }
            // Whoever wants one entity has not read the coordinators that began before its rows were written.
            Fact::Bulk { .. } if self.only.is_some() => {}
            Fact::Bulk { id, event } => self
                .bulk(*id, event, turn.at)
                .map_err(|reason| RecoverError::Replay { number, reason })?,
            Fact::Gate(gate) => self.enter(number, gate)?,
            Fact::Cart(fact) if self.wants(Only::Cart(fact.cart.bits())) => {
                let forgotten = fact.happened.contains(&cart::Happened::Forgotten);
                put(&mut self.carts, self.rows, number, &fact.cart, forgotten)?;
            }
            Fact::Order(fact) if self.wants(Only::Order(fact.order.bits())) => {
                put(&mut self.orders, self.rows, number, &fact.order, false)?;
            }
            Fact::Told(_) | Fact::Cart(_) | Fact::Order(_) => {}
        }
        Ok(())
    }

    /// Other rules hold from here on.
    fn enter(&mut self, number: RecordNumber, gate: &Gate) -> Result<(), RecoverError> {
        gate.check()
            .map_err(|unknown| RecoverError::UnknownRules { number, unknown })?;
        if let Some(before) = self.gate.as_ref().filter(|before| before.rules >= gate.rules) {
            return Err(RecoverError::Replay {
                number,
                reason: format!("it switches to rule set {} behind {}", gate.rules, before.rules),
            });
        }
        self.gate = Some(gate.clone());
        Ok(())
    }

    fn variant(
        &mut self,
        record: RecordNumber,
        at: Timestamp,
        fact: &VariantFact,
    ) -> Result<(), RecoverError> {
        if !self.wants(Only::Variant(fact.ordinal)) {
            return Ok(());
        }
        let wrong = |reason: String| RecoverError::Replay {
            number: record,
            reason,
        };
        let ordinal = fact.ordinal;
        if let Some((store, id)) = &fact.named {
            self.next_ordinal = self.next_ordinal.max(ordinal.0 + 1);
            self.variants
                .entry(ordinal)
                .or_insert_with(|| (Variant::unborn(store.clone(), id.clone(), ordinal), 0));
        } else if let (Some(rows), false) = (self.rows, self.variants.contains_key(&ordinal)) {
            let stored = load_variant(rows, ordinal)?;
            self.variants.extend(stored.map(|variant| (ordinal, variant)));
        }
        let known = self.variants.get_mut(&ordinal);
        let (variant, number) =
            known.ok_or_else(|| wrong(format!("there is no variant with ordinal {}", ordinal.0)))?;
        if record.0 <= *number {
            return Ok(());
        }
        for event in &fact.events {
            planted!(ReplayReadsClock => { variant.apply(event, crate::planted::wall()); continue });
            variant.apply(event, at);
        }
        *number = record.0;
        let revision = variant.head().revision;
        if revision != fact.revision {
            return Err(wrong(format!(
                "variant {} is at revision {revision} after it, the record says {}",
                variant.head().id,
                fact.revision
            )));
        }
        Ok(())
    }

    fn bulk(&mut self, id: BulkId, event: &bulk::Event, at: Timestamp) -> Result<(), String> {
        match event {
            bulk::Event::Intended(plan) => {
                self.bulks.insert(id, Bulk::intended(id, (**plan).clone()));
            }
            bulk::Event::Decided { .. } => {
                let bulk = self.bulks.get_mut(&id);
                bulk.ok_or_else(|| format!("{id} decides before it intends"))?
                    .apply(event, at);
            }
            bulk::Event::Finished => {
                self.bulks.remove(&id);
            }
        }
        Ok(())
    }
}

/// Replaces a cart or an order by what a record says of it, which has to be the next revision.
fn put<A: StoredAgent>(
    agents: &mut Agents<A>,
    rows: Option<&StateStore>,
    number: RecordNumber,
    after: &A,
    forgotten: bool,
) -> Result<(), RecoverError> {
    let bits = after.bits();
    if let (Some(rows), false) = (rows, agents.contains_key(&bits)) {
        agents.insert(bits, load_agent(rows, bits)?);
    }
    let before = agents.get(&bits).and_then(Option::as_ref);
    let revision = before.map_or(0, |(before, _)| before.revision());
    if after.revision() != revision + 1 {
        return Err(RecoverError::Replay {
            number,
            reason: format!(
                "{} {bits:032x} is at revision {revision} before it, the record says {} after it",
                A::NOUN,
                after.revision()
            ),
        });
    }
    agents.insert(bits, (!forgotten).then(|| (after.clone(), number.0)));
    Ok(())
}

/// The digest of states, variants in order of ordinals, then carts and orders in the order of their ids: equal digests are
/// equal states (REPLAY_EQUAL).
pub fn state_digest<'a>(
    variants: impl IntoIterator<Item = &'a Variant>,
    carts: impl IntoIterator<Item = &'a Cart>,
    orders: impl IntoIterator<Item = &'a Order>,
) -> [u8; 32] {
    let mut digest = StateDigest::default();
    variants
        .into_iter()
        .for_each(|variant| digest.add(&dto::encode_variant(variant)));
    carts
        .into_iter()
        .for_each(|cart| digest.add(&dto::encode_cart(cart)));
    orders
        .into_iter()
        .for_each(|order| digest.add(&dto::encode_order(order)));
    digest.finish()
}

/// A digest of encoded states, one after the other.
#[derive(Default)]
pub(super) struct StateDigest(blake3::Hasher);

impl StateDigest {
    pub(super) fn add(&mut self, encoded: &[u8]) {
        self.0.update(&(encoded.len() as u64).to_le_bytes());
        self.0.update(encoded);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
