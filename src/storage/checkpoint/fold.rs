//! Durable records folded into the rows as they stand after the last of them. Between is nothing: a hold that was made and
//! ended within the batch is written once, as ended.
use crate::domain::{
    bulk::{self, Bulk},
    cart,
    ids::{BulkId, ReservationId, StoreId, VariantId, VariantOrdinal},
    policy::Policy,
    rules::Gate,
    time::Timestamp,
    variant::{Event, Head, Owner, Purchases},
};
use crate::storage::{
    agents::StoredAgent,
    dto,
    entity_rows::{
        DECIDED_AT, GATE, NEXT_ORDINAL, RowError, agent_key, agent_row, bulk_key, departed_key, head_key,
        head_row, hold_key, ledger_key, load_head, policy_key, purchases_key, purchases_prefix,
    },
    fate::{Fate, fate},
    journal::Record,
    keys::{Fingerprint, KeyEntry, KeyHash},
    projection::{Statistics, selector::ended_lists},
    record::{Fact, Turn, VariantFact},
    state::{Family, RowChanges, StateStore},
};
use hashbrown::HashMap;

/// A batch of records on its way into rows.
pub(in crate::storage) struct Fold<'a> {
    state: &'a StateStore,
    changes: RowChanges,
    heads: HashMap<VariantOrdinal, (u64, Head)>,
    /// Small entries that point to the rest: growing this table moves all of them.
    holds: HashMap<ReservationId, Folded>,
    purchases: HashMap<(VariantOrdinal, Owner), Purchases>,
    policies: HashMap<StoreId, Policy>,
    bulks: HashMap<BulkId, Option<Bulk>>,
    /// Rows of carts and orders by key; `None` for one that is forgotten. A record says the whole state, so the last one wins.
    agents: HashMap<Vec<u8>, Option<Vec<u8>>>,
    statistics: HashMap<StoreId, Statistics>,
    next_ordinal: Option<u32>,
    decided_at: Option<i64>,
    gate: Option<Gate>,
}

/// A reservation at the end of the batch.
struct Folded {
    stands: Stands,
    /// It was away when the batch met it, or went away and came back.
    revived: bool,
}

enum Stands {
    /// The row it has.
    Kept(Box<[u8]>),
    Ended(Box<Ended>),
    Gone,
}

struct Ended {
    row: Vec<u8>,
    lists: Vec<(u8, u64)>,
    logged_at_ms: u64,
}

impl<'a> Fold<'a> {
    pub(in crate::storage) fn new(state: &'a StateStore) -> Self {
        Self {
            state,
            changes: RowChanges::default(),
            heads: HashMap::new(),
            holds: HashMap::new(),
            purchases: HashMap::new(),
            policies: HashMap::new(),
            bulks: HashMap::new(),
            agents: HashMap::new(),
            statistics: HashMap::new(),
            next_ordinal: None,
            decided_at: None,
            gate: None,
        }
    }

    /// Takes in the next record.
    pub(in crate::storage) fn record(&mut self, record: &Record) -> Result<(), RowError> {
        let turn = dto::decode_turn(&record.payload).map_err(|error| {
            RowError::content(Family::Entity, format!("record {}: {error}", record.number))
        })?;
        if let Some(mark) = &turn.key {
            let entry = KeyEntry {
                fingerprint: Fingerprint(mark.fingerprint),
                number: record.number.0,
            };
            let logged_at_ms = millis(record.logged_at_ms);
            self.changes
                .put_key(KeyHash(mark.hash), entry, &record.payload, logged_at_ms);
        }
        let at = turn.at.as_millis();
        self.decided_at = Some(self.decided_at.map_or(at, |latest| latest.max(at)));
        let Turn { at, fact, .. } = turn;
        match fact {
            Fact::Variant(fact) => self.variant(record, at, fact),
            Fact::Policy { store, changed } => {
                self.policies.insert(store, changed.policy);
                Ok(())
            }
            Fact::Bulk { id, event } => self.bulk(id, &event, at),
            Fact::Gate(gate) => {
                gate.check()
                    .map_err(|unknown| RowError::content(Family::Meta, unknown))?;
                self.gate = Some(gate);
                Ok(())
            }
            Fact::Told(_) => Ok(()),
            Fact::Cart(fact) => {
                let forgotten = fact.happened.contains(&cart::Happened::Forgotten);
                self.agent(record, (!forgotten).then_some(&fact.cart), fact.cart.bits());
                Ok(())
            }
            Fact::Order(fact) => {
                self.agent(record, Some(&fact.order), fact.order.bits());
                Ok(())
            }
        }
    }

    fn variant(&mut self, record: &Record, at: Timestamp, fact: VariantFact) -> Result<(), RowError> {
        let ordinal = fact.ordinal;
        if let Some((store, id)) = fact.named {
            let next = ordinal.0 + 1;
            self.next_ordinal = Some(self.next_ordinal.map_or(next, |known| known.max(next)));
            self.named(ordinal, store, id)?;
        }
        let (number, head) = self.head(ordinal)?;
        if record.number.0 <= *number {
            return Ok(()); // a portable snapshot may have taken this variant later than the record
        }
        let store = head.store.clone();
        for event in fact.events {
            let (number, head) = self.head(ordinal)?;
            *number = record.number.0;
            head.apply(&event, at);
            if let Some(entry) = event.ledger_entry() {
                let row = dto::encode_ledger_entry(entry);
                self.changes
                    .put(Family::Ledger, ledger_key(ordinal, entry.seq), row);
            }
            self.buy(ordinal, &event)?;
            self.statistics(&store)?.count(&event);
            self.hold(&store, &event, record.logged_at_ms);
        }
        Ok(())
    }

    fn named(&mut self, ordinal: VariantOrdinal, store: StoreId, id: VariantId) -> Result<(), RowError> {
        let stored = load_head(self.state, ordinal)?;
        let head = stored.unwrap_or_else(|| (0, Head::unborn(store, id, ordinal)));
        self.heads.insert(ordinal, head);
        Ok(())
    }

    fn head(&mut self, ordinal: VariantOrdinal) -> Result<&mut (u64, Head), RowError> {
        if !self.heads.contains_key(&ordinal) {
            let stored = load_head(self.state, ordinal)?;
            let missing = || RowError::content(Family::Entity, format!("variant {} has no row", ordinal.0));
            self.heads.insert(ordinal, stored.ok_or_else(missing)?);
        }
        Ok(self
            .heads
            .get_mut(&ordinal)
            .expect("it was put there if it was not"))
    }

    fn hold(&mut self, store: &StoreId, event: &Event, logged_at_ms: i64) {
        let (id, stands) = match fate(event) {
            None => return,
            Some(Fate::Kept(hold)) => (hold.id, Stands::Kept(dto::encode_hold(hold).into())),
            Some(Fate::Withdrawn(hold)) => (hold.id, Stands::Gone),
            Some(Fate::Ended(hold)) => {
                let ended = Ended {
                    row: dto::encode_hold(hold),
                    lists: ended_lists(store, hold),
                    logged_at_ms: millis(logged_at_ms),
                };
                (hold.id, Stands::Ended(Box::new(ended)))
            }
        };
        let folded = self.holds.entry(id).or_insert(Folded {
            stands: Stands::Gone,
            revived: false,
        });
        folded.stands = stands;
        folded.revived |= matches!(event, Event::Returned { .. });
    }

    fn buy(&mut self, ordinal: VariantOrdinal, event: &Event) -> Result<(), RowError> {
        let (Event::Confirmed { hold, .. } | Event::Cancelled { hold, .. } | Event::Returned { hold, .. }) =
            event
        else {
            return Ok(());
        };
        let Some(owner) = hold.shopper.owner() else {
            return Ok(());
        };
        let key = (ordinal, owner);
        if !self.purchases.contains_key(&key) {
            let row = self.state.get(Family::Entity, &purchases_key(ordinal, &key.1))?;
            let stored = row.map(|row| dto::decode_purchases(&row)).transpose();
            let stored = stored.map_err(|error| RowError::content(Family::Entity, error))?;
            let (_, bought) = stored.unwrap_or_else(|| (key.1.clone(), Purchases::default()));
            self.purchases.insert(key.clone(), bought);
        }
        let bought = self.purchases.get_mut(&key);
        bought.expect("it was put there if it was not").apply(event);
        Ok(())
    }

    fn statistics(&mut self, store: &StoreId) -> Result<&mut Statistics, RowError> {
        if !self.statistics.contains_key(store) {
            let row = self.state.get(Family::Statistics, store.as_str().as_bytes())?;
            let stored = row.map(|row| {
                Statistics::from_row(&row)
                    .ok_or_else(|| RowError::content(Family::Statistics, "it has another length"))
            });
            let stored = stored.transpose()?.unwrap_or_default();
            self.statistics.insert(store.clone(), stored);
        }
        Ok(self
            .statistics
            .get_mut(store)
            .expect("it was put there if it was not"))
    }

    fn bulk(&mut self, id: BulkId, event: &bulk::Event, at: Timestamp) -> Result<(), RowError> {
        let bulk = match event {
            bulk::Event::Intended(plan) => Some(Bulk::intended(id, (**plan).clone())),
            bulk::Event::Finished => None,
            bulk::Event::Decided { .. } => {
                let mut bulk = match self.bulks.remove(&id).flatten() {
                    Some(bulk) => bulk,
                    None => self.stored_bulk(id)?,
                };
                bulk.apply(event, at);
                Some(bulk)
            }
        };
        self.bulks.insert(id, bulk);
        Ok(())
    }

    fn agent<A: StoredAgent>(&mut self, record: &Record, after: Option<&A>, bits: u128) {
        let row = after.map(|agent| agent_row(record.number.0, agent));
        self.agents.insert(agent_key::<A>(bits), row);
    }

    fn stored_bulk(&self, id: BulkId) -> Result<Bulk, RowError> {
        let row = self.state.get(Family::Entity, &bulk_key(id))?;
        let row = row.ok_or_else(|| RowError::content(Family::Entity, format!("{id} has no row")))?;
        dto::decode_bulk(&row).map_err(|error| RowError::content(Family::Entity, error))
    }

    /// The rows to write.
    pub(in crate::storage) fn finish(mut self) -> Result<RowChanges, RowError> {
        for (id, folded) in std::mem::take(&mut self.holds) {
            self.finish_hold(id, folded);
        }
        for ((ordinal, owner), bought) in std::mem::take(&mut self.purchases) {
            let key = purchases_key(ordinal, &owner);
            let deleted = self.heads.get(&ordinal).is_some_and(|(_, head)| head.deleted);
            if bought.0.is_empty() || deleted {
                self.changes.delete(Family::Entity, key);
            } else {
                self.changes
                    .put(Family::Entity, key, dto::encode_purchases(&owner, &bought));
            }
        }
        for (ordinal, (number, head)) in std::mem::take(&mut self.heads) {
            if head.deleted {
                self.finish_deleted(&head)?;
            } else {
                self.changes
                    .put(Family::Entity, head_key(ordinal), head_row(number, &head));
            }
        }
        for (store, policy) in &self.policies {
            self.changes
                .put(Family::Entity, policy_key(store), dto::encode_policy(policy));
        }
        for (id, bulk) in &self.bulks {
            match bulk {
                Some(bulk) => self
                    .changes
                    .put(Family::Entity, bulk_key(*id), dto::encode_bulk(bulk)),
                None => self.changes.delete(Family::Entity, bulk_key(*id)),
            }
        }
        for (key, row) in self.agents.drain() {
            match row {
                Some(row) => self.changes.put(Family::Entity, key, row),
                None => self.changes.delete(Family::Entity, key),
            }
        }
        for (store, statistics) in &self.statistics {
            self.changes
                .put(Family::Statistics, store.as_str(), statistics.to_row());
        }
        self.finish_meta()?;
        Ok(self.changes)
    }

    fn finish_hold(&mut self, id: ReservationId, folded: Folded) {
        let ended_key = id.as_u128().to_be_bytes();
        if folded.revived {
            self.changes.revive(ended_key);
        }
        match folded.stands {
            Stands::Kept(row) => self.changes.put(Family::Hold, hold_key(id), row),
            Stands::Gone => self.changes.delete(Family::Hold, hold_key(id)),
            Stands::Ended(ended) => {
                self.changes
                    .put_ended(ended_key, ended.logged_at_ms, &ended.row, &ended.lists);
                self.changes.delete(Family::Hold, hold_key(id));
            }
        }
    }

    /// A deleted variant keeps nothing but its ledger and its name.
    fn finish_deleted(&mut self, head: &Head) -> Result<(), RowError> {
        let ordinal = head.ordinal;
        self.changes.delete(Family::Entity, head_key(ordinal));
        self.changes.put(
            Family::Entity,
            departed_key(ordinal),
            dto::encode_name(&head.store, &head.id),
        );
        let prefix = purchases_prefix(ordinal.0);
        for row in self.state.scan(Family::Entity, &prefix, None, usize::MAX) {
            let (key, _) = row?;
            if !key.starts_with(&prefix) {
                break;
            }
            self.changes.delete(Family::Entity, key);
        }
        Ok(())
    }

    fn finish_meta(&mut self) -> Result<(), RowError> {
        if let Some(next) = self.next_ordinal {
            let known = self.state.get(Family::Meta, NEXT_ORDINAL)?;
            let known = known
                .and_then(|row| row.try_into().ok())
                .map_or(0, u32::from_be_bytes);
            self.changes
                .put(Family::Meta, NEXT_ORDINAL, next.max(known).to_be_bytes());
        }
        if let Some(gate) = &self.gate {
            self.changes.put(Family::Meta, GATE, dto::encode_gate(gate));
        }
        if let Some(at) = self.decided_at {
            let known = self.state.get(Family::Meta, DECIDED_AT)?;
            let known = known
                .and_then(|row| row.try_into().ok())
                .map_or(at, i64::from_be_bytes);
            self.changes
                .put(Family::Meta, DECIDED_AT, at.max(known).to_be_bytes());
        }
        Ok(())
    }
}

/// Times before 1970 do not occur; they would count as 1970.
pub(in crate::storage) fn millis(at_ms: i64) -> u64 {
    u64::try_from(at_ms).unwrap_or(0)
}
