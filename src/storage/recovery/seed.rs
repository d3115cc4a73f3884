//! A portable snapshot becomes the rows of a new epoch: `serve --demo`, and later a restore.
//!
//! The snapshot is read twice: first to its digest, because nothing in it is certain before, then into rows. States go in
//! as they are, the records behind them are folded as a checkpoint folds the log. The new epoch's log begins behind the
//! snapshot's position, with a hash chain of its own. Only when rows and log are durable does `CURRENT` name the epoch; a
//! crash before that leaves the epoch before, and the next try begins anew.
//!
use super::entries::{to_ended, to_key, to_row};
use super::{JournalPlace, OpenJournal, RecoverError, RecoverOptions};
use crate::domain::{
    cart::Cart,
    order::Order,
    rules::{Gate, Rules, UnknownRules},
    time::Timestamp,
    variant::Head,
};
use crate::storage::{
    agents::StoredAgent,
    checkpoint::{CheckpointError, fold::Fold},
    data_dir::{DataDir, DataDirError, NextEpoch},
    dto::{self, FormatError},
    entity_rows::{
        DECIDED_AT, GATE, NEXT_ORDINAL, agent_key, agent_row, bulk_key, head_key, head_row, hold_key,
        policy_key, purchases_key, store_of,
    },
    journal::{Anchor, Epoch, Record, RecordNumber},
    projection::{Statistics, selector::ended_lists},
    snapshot::{EntityKind, Entry, Item, SnapshotError, SnapshotReader, TailRecord},
    state::{Checkpoint, Family, RowChanges, StateError, StateStore},
};

/// Rows or records that go in as one change.
const AT_ONCE: usize = 10_000;

/// Why a snapshot could not become an epoch. The data directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The directory has data already.
    #[error("the data directory is in use already; a snapshot goes into an empty one")]
    NotEmpty,
    /// The snapshot is damaged, or of a later version.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A later release wrote it, by rules that this one does not know.
    #[error("the snapshot cannot be restored by this release: {0}")]
    Rules(#[from] UnknownRules),
    /// An entity in it is none.
    #[error("{what} in the snapshot cannot be restored: {reason}")]
    Entity {
        /// Its kind, and the record it is at.
        what: String,
        /// Why.
        reason: String,
    },
    /// Its records do not fit its states.
    #[error("the records in the snapshot do not fit its states")]
    Tail(#[from] CheckpointError),
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The stored rows could not be written.
    #[error("the stored states could not be written")]
    State(#[from] StateError),
    /// The log could not be created.
    #[error("the log could not be created")]
    Log(#[source] RecoverError),
}

/// What went in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// Variants.
    pub variants: u64,
    /// The last record number of the snapshot; the log goes on behind it.
    pub position: u64,
}

/// Fills an empty data directory from a snapshot, and has `journal` begin its log; `open` is called twice.
///
/// # Errors
/// [`SeedError`]; nothing but an unused epoch's files was written then.
pub fn seed_from_snapshot(
    dir: &mut DataDir,
    options: &RecoverOptions,
    journal: &OpenJournal,
    open: impl Fn() -> Result<SnapshotReader, SnapshotError>,
) -> Result<Seeded, SeedError> {
    if !dir.is_unused()? {
        return Err(SeedError::NotEmpty);
    }
    let snapshot = open()?;
    let gate = Gate {
        rules: Rules(snapshot.manifest().rules),
        release: snapshot.manifest().rules_since.clone(),
    };
    gate.check()?;
    snapshot.verify()?;
    let next = dir.begin_epoch()?;
    let state = StateStore::open(&next.state_dir(), options.state)?;
    let mut seed = Seed::new(&state, epoch_of(&next), &open()?);
    seed.changes.put(Family::Meta, GATE, dto::encode_gate(&gate));
    for item in open()? {
        match item? {
            Item::Entity(entry) => seed.entity(&entry)?,
            Item::Record(record) => seed.record(record)?,
        }
    }
    let (seeded, anchor) = seed.finish()?;
    state.close()?;
    let place = JournalPlace {
        dir: &next.journal_dir(),
        partition: options.partition,
        epoch: epoch_of(&next),
        start: anchor,
        proven: anchor.last,
    };
    let begun = journal(place).map_err(RecoverError::Open);
    drop(begun.map_err(SeedError::Log)?);
    dir.enter_epoch(next)?;
    Ok(seeded)
}

fn epoch_of(next: &NextEpoch) -> Epoch {
    Epoch(u32::try_from(next.epoch()).expect("an operator restores less than 2^32 times"))
}

struct Seed<'a> {
    state: &'a StateStore,
    epoch: Epoch,
    changes: RowChanges,
    records: Vec<Record>,
    seeded: Seeded,
    next_ordinal: u32,
    decided_at_ms: i64,
    logged_at_ms: i64,
    states_are_in: bool,
}

impl<'a> Seed<'a> {
    fn new(state: &'a StateStore, epoch: Epoch, snapshot: &SnapshotReader) -> Self {
        let about = snapshot.manifest();
        Self {
            state,
            epoch,
            changes: RowChanges::default(),
            records: Vec::new(),
            seeded: Seeded {
                variants: 0,
                position: about.position,
            },
            next_ordinal: 0,
            decided_at_ms: i64::MIN,
            logged_at_ms: about.created_at_ms,
            states_are_in: false,
        }
    }

    fn entity(&mut self, entry: &Entry) -> Result<(), SeedError> {
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
        self.seeded.variants += 1;
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

    fn record(&mut self, record: TailRecord) -> Result<(), SeedError> {
        self.end_states()?;
        self.logged_at_ms = self.logged_at_ms.max(record.logged_at);
        self.records.push(Record {
            number: RecordNumber(record.number),
            logged_at_ms: record.logged_at,
            payload: record.payload.into(),
        });
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
            number: self.seeded.position,
            epoch: u64::from(self.epoch.0),
            chain: Anchor::GENESIS.chain,
            logged_at_ms: u64::try_from(self.logged_at_ms).unwrap_or(0),
        };
        Ok(self.state.apply(std::mem::take(&mut self.changes), mark)?)
    }

    fn finish(mut self) -> Result<(Seeded, Anchor), SeedError> {
        self.end_states()?;
        if !self.records.is_empty() {
            self.fold()?;
        }
        let anchor = Anchor {
            last: RecordNumber(self.seeded.position),
            chain: Anchor::GENESIS.chain,
            logged_at_ms: self.logged_at_ms,
        };
        Ok((self.seeded, anchor))
    }
}
