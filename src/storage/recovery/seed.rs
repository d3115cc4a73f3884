//! States and records of a portable snapshot become the rows of a new epoch; `restore` reads them and says how far.
//!
//! States go in as they are, the records behind them are folded as a checkpoint folds the log. The new epoch's log begins
//! behind the last of them, with a hash chain of its own.
//!
use super::entries::{to_ended, to_key, to_row};
use crate::domain::{cart::Cart, order::Order, rules::Gate, time::Timestamp, variant::Head};
use crate::storage::{
    agents::StoredAgent,
    checkpoint::{CheckpointError, fold::Fold},
    dto::{self, FormatError},
    entity_rows::{
        DECIDED_AT, GATE, NEXT_ORDINAL, agent_key, agent_row, bulk_key, head_key, head_row, hold_key,
        policy_key, purchases_key, store_of,
    },
    journal::{Anchor, Epoch, Record, RecordNumber},
    projection::{Statistics, selector::ended_lists},
    snapshot::{EntityKind, Entry},
    state::{Checkpoint, Family, RowChanges, StateError, StateStore},
};

/// Rows or records that go in as one change.
const AT_ONCE: usize = 10_000;

/// Why states and records did not become rows.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// An entity in the snapshot is none.
    #[error("{what} in the snapshot cannot be restored: {reason}")]
    Entity {
        /// Its kind, and the record it is at.
        what: String,
        /// Why.
        reason: String,
    },
    /// The records do not fit the states.
    #[error("the records do not fit the states of the snapshot: {0}")]
    Tail(#[from] CheckpointError),
    /// The stored rows could not be written.
    #[error("the stored states could not be written")]
    State(#[from] StateError),
}

/// Rows on their way in.
pub(in crate::storage) struct Seed<'a> {
    state: &'a StateStore,
    epoch: Epoch,
    changes: RowChanges,
    records: Vec<Record>,
    /// The last record that goes in.
    last: u64,
    next_ordinal: u32,
    decided_at_ms: i64,
    logged_at_ms: i64,
    states_are_in: bool,
}

impl<'a> Seed<'a> {
    /// Rows up to record `last`, none of them logged before `logged_at_ms` as far as it is known.
    pub(in crate::storage) fn new(state: &'a StateStore, epoch: Epoch, last: u64, logged_at_ms: i64) -> Self {
        Self {
            state,
            epoch,
            changes: RowChanges::default(),
            records: Vec::new(),
            last,
            next_ordinal: 0,
            decided_at_ms: i64::MIN,
            logged_at_ms,
            states_are_in: false,
        }
    }

    /// Puts in the rules that hold.
    pub(in crate::storage) fn put_gate(&mut self, gate: &Gate) {
        self.changes.put(Family::Meta, GATE, dto::encode_gate(gate));
    }

    /// Puts in a state.
    pub(in crate::storage) fn entity(&mut self, entry: &Entry) -> Result<(), SeedError> {
        let put = self.put_entity(entry);
        put.map_err(|reason| SeedError::Entity {
            what: format!("one of the {} (record {})", entry.kind.name(), entry.number),
            reason,
        })?;
        if self.changes.len() >= AT_ONCE {
            self.write()?;
        }
        Ok(())
    }

    fn put_entity(&mut self, entry: &Entry) -> Result<(), String> {
        let wrong = |error: FormatError| error.to_string();
        let state = entry.state.as_slice();
        match entry.kind {
            EntityKind::VARIANT => self.put_variant(entry)?,
            EntityKind::POLICY => {
                let policy = dto::decode_policy(state).map_err(wrong)?;
                let store = store_of(&entry.id, Family::Entity).map_err(|error| error.to_string())?;
                let row = dto::encode_policy(&policy);
                self.changes.put(Family::Entity, policy_key(&store), row);
            }
            EntityKind::BULK => {
                let bulk = dto::decode_bulk(state).map_err(wrong)?;
                self.changes.put(Family::Entity, bulk_key(bulk.id), state);
            }
            EntityKind::HEAD => {
                let head = dto::decode_head(state).map_err(wrong)?;
                self.has_variant(&head);
                self.put_row(entry)?;
            }
            EntityKind::PURCHASES => {
                dto::decode_purchases(state).map_err(wrong)?;
                self.put_row(entry)?;
            }
            EntityKind::HOLD => {
                dto::decode_hold(state).map_err(wrong)?;
                self.changes.put(Family::Hold, entry.id.as_slice(), state);
            }
            EntityKind::DEPARTED => {
                dto::decode_name(state).map_err(wrong)?;
                self.ordinal_is_taken(&entry.id)?;
                self.put_row(entry)?;
            }
            EntityKind::STATISTICS => {
                Statistics::from_row(state).ok_or("it has another length")?;
                self.changes.put(Family::Statistics, entry.id.as_slice(), state);
            }
            EntityKind::META => self.put_fact(entry)?,
            EntityKind::CART => {
                let cart = self.put_agent::<Cart>(entry)?;
                self.decided_at(cart.touched_at.max(cart.ended_at.unwrap_or(cart.touched_at)));
            }
            EntityKind::ORDER => {
                let order = self.put_agent::<Order>(entry)?;
                self.decided_at(order.payment.map_or(order.created_at, |payment| payment.at));
            }
            EntityKind::LEDGER => {
                dto::decode_ledger_entry(state).map_err(wrong)?;
                self.changes.put(Family::Ledger, entry.id.as_slice(), state);
            }
            EntityKind::ENDED => self.put_ended(entry)?,
            EntityKind::KEY => self.put_key(entry).ok_or("it has another length")?,
            EntityKind(kind) => return Err(format!("this release knows no entities of kind {kind}")),
        }
        Ok(())
    }

    fn put_variant(&mut self, entry: &Entry) -> Result<(), String> {
        let variant = dto::decode_variant(&entry.state).map_err(|error| error.to_string())?;
        variant.recount().map_err(|violation| violation.to_string())?;
        let head = variant.head();
        let ordinal = head.ordinal;
        self.changes
            .put(Family::Entity, head_key(ordinal), head_row(entry.number, head));
        for hold in variant.holds() {
            self.changes
                .put(Family::Hold, hold_key(hold.id), dto::encode_hold(hold));
        }
        for (owner, bought) in variant.purchases() {
            let row = dto::encode_purchases(owner, bought);
            self.changes
                .put(Family::Entity, purchases_key(ordinal, owner), row);
        }
        self.has_variant(head);
        Ok(())
    }

    fn has_variant(&mut self, head: &Head) {
        self.next_ordinal = self.next_ordinal.max(head.ordinal.0 + 1);
        self.decided_at(head.decided_at);
    }

    /// A row that stands in the file as it stands in the store.
    fn put_row(&mut self, entry: &Entry) -> Result<(), String> {
        let (key, row) = to_row(entry).ok_or("it is no row")?;
        self.changes.put(Family::Entity, key, row);
        Ok(())
    }

    /// An ordinal that was given out is never given out again.
    fn ordinal_is_taken(&mut self, id: &[u8]) -> Result<(), String> {
        let ordinal = u32::from_be_bytes(id.try_into().map_err(|_| "its id has another length")?);
        self.next_ordinal = self.next_ordinal.max(ordinal.saturating_add(1));
        Ok(())
    }

    /// What is known of the whole beside what its entities say.
    fn put_fact(&mut self, entry: &Entry) -> Result<(), String> {
        let wrong = |_| "it has another length";
        let state = entry.state.as_slice();
        match entry.id.as_slice() {
            NEXT_ORDINAL => {
                let next = u32::from_be_bytes(state.try_into().map_err(wrong)?);
                self.next_ordinal = self.next_ordinal.max(next);
            }
            DECIDED_AT => {
                let at = i64::from_be_bytes(state.try_into().map_err(wrong)?);
                self.decided_at(Timestamp::from_millis(at));
            }
            name => {
                return Err(format!(
                    "this release knows no fact {}",
                    String::from_utf8_lossy(name)
                ));
            }
        }
        Ok(())
    }

    fn put_agent<A: StoredAgent>(&mut self, entry: &Entry) -> Result<A, String> {
        let agent = A::decode(&entry.state).map_err(|error| error.to_string())?;
        agent.check().map_err(|violation| violation.to_string())?;
        let row = agent_row(entry.number, &agent);
        self.changes
            .put(Family::Entity, agent_key::<A>(agent.bits()), row);
        Ok(agent)
    }

    fn decided_at(&mut self, at: Timestamp) {
        self.decided_at_ms = self.decided_at_ms.max(at.as_millis());
    }

    fn put_ended(&mut self, entry: &Entry) -> Result<(), String> {
        let (store, row, hold) = to_ended(entry)?;
        let ended_at_ms = hold.ended.map_or(self.logged_at_ms, |ended| ended.at.as_millis());
        let lists = ended_lists(&store, &hold);
        let ended_at_ms = u64::try_from(ended_at_ms).unwrap_or(0);
        self.changes
            .put_ended(hold.id.as_u128().to_be_bytes(), ended_at_ms, row, &lists);
        Ok(())
    }

    fn put_key(&mut self, entry: &Entry) -> Option<()> {
        let key = to_key(entry)?;
        self.changes
            .put_key(key.hash, key.entry, &key.payload, key.logged_at_ms);
        Some(())
    }

    /// Writes what is known of the states, once, before the records: folding them may raise both figures.
    fn end_states(&mut self) -> Result<(), SeedError> {
        if std::mem::replace(&mut self.states_are_in, true) {
            return Ok(());
        }
        let next_ordinal = self.next_ordinal.to_be_bytes();
        self.changes.put(Family::Meta, NEXT_ORDINAL, next_ordinal);
        if self.decided_at_ms > i64::MIN {
            self.changes
                .put(Family::Meta, DECIDED_AT, self.decided_at_ms.to_be_bytes());
        }
        self.write()
    }

    /// Puts in the next record behind the states.
    pub(in crate::storage) fn record(&mut self, record: Record) -> Result<(), SeedError> {
        self.end_states()?;
        self.logged_at_ms = self.logged_at_ms.max(record.logged_at_ms);
        self.records.push(record);
        if self.records.len() >= AT_ONCE {
            self.fold()?;
        }
        Ok(())
    }

    fn fold(&mut self) -> Result<(), SeedError> {
        let mut fold = Fold::new(self.state);
        for record in std::mem::take(&mut self.records) {
            fold.record(&record).map_err(CheckpointError::from)?;
        }
        self.changes = fold.finish().map_err(CheckpointError::from)?;
        self.write()
    }

    fn write(&mut self) -> Result<(), SeedError> {
        let mark = Checkpoint {
            number: self.last,
            epoch: u64::from(self.epoch.0),
            chain: Anchor::GENESIS.chain,
            logged_at_ms: u64::try_from(self.logged_at_ms).unwrap_or(0),
        };
        Ok(self.state.apply(std::mem::take(&mut self.changes), mark)?)
    }

    /// Where the log goes on.
    pub(in crate::storage) fn finish(mut self) -> Result<Anchor, SeedError> {
        self.end_states()?;
        if !self.records.is_empty() {
            self.fold()?;
        }
        Ok(Anchor {
            last: RecordNumber(self.last),
            chain: Anchor::GENESIS.chain,
            logged_at_ms: self.logged_at_ms,
        })
    }
}
