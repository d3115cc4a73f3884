//! Opens rows and log, checks that they fit together, and replays.
use super::{
    super::{
        agents::StoredAgent,
        data_dir::DataDir,
        dto,
        entity_rows::{self, DECIDED_AT, GATE, NEXT_ORDINAL, RowError, Variants},
        journal::{
            Anchor, Epoch, Journal, LogReader, OpenError, PartitionId, RecordNumber, Tail,
            disk::RealDisk,
            file::{FileJournal, FileOptions},
            sled_log::{SledJournal, SledOptions},
        },
        keys::{Fingerprint, KeyEntry, KeyHash, KeyTable},
        projection::{Projection, Statistics, filling::Filling},
        record::{Fact, Turn, VariantFact},
        state::{Checkpoint, Family, StateOptions, StateStore},
    },
    RecoverError, behind,
    replay::{Agents, Replay},
};
use crate::domain::{
    agree::{Mend, Sides},
    bulk::Bulk,
    ids::{StoreId, VariantId, VariantOrdinal},
    rules::Gate,
    time::Timestamp,
    variant::Variant,
};
use hashbrown::HashMap;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

/// Which back end keeps the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Rotating sled databases.
    Sled,
    /// Plain segment files.
    File,
}

impl Backend {
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::File => "file",
        }
    }
}

/// How rows and log are opened.
#[derive(Clone, Copy, Debug)]
pub struct RecoverOptions {
    /// The partition.
    pub partition: PartitionId,
    /// Which back end keeps the log.
    pub backend: Backend,
    /// The size of a segment file, or of a sled database of the log, in bytes.
    pub segment_bytes: u64,
    /// sled's page cache for the log, in bytes.
    pub journal_cache_bytes: u64,
    /// How the stored rows are opened.
    pub state: StateOptions,
    /// Recent idempotency keys in memory.
    pub keys_memory_max: usize,
    /// How long a key is remembered, ms: [`super::verify`] judges one that comes again by it.
    pub keys_ms: i64,
}

/// Where a log lies, and what it is told when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct JournalPlace<'a> {
    /// The directory of its epoch.
    pub dir: &'a Path,
    /// The partition it holds.
    pub partition: PartitionId,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// What stands before its first record if it is created now.
    pub start: Anchor,
    /// Records up to this one are in the stored rows: they were durable, whatever the log says.
    pub proven: RecordNumber,
}

/// Opens the log at its place, or creates it there. Which back end that is, only whoever made this knows.
pub type OpenJournal = Arc<dyn Fn(JournalPlace<'_>) -> Result<Box<dyn Journal>, OpenError> + Send + Sync>;

impl RecoverOptions {
    /// With the back end that wrote the log of a data directory: whoever only looks need not know which that is, and must not
    /// begin another log beside it.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn as_found(self, dir: &DataDir) -> Result<Self, RecoverError> {
        let backend = log_backend(&dir.journal_dir(), self.backend)?;
        Ok(Self { backend, ..self })
    }

    /// Opens logs of the back end asked for.
    pub fn journal(self) -> OpenJournal {
        Arc::new(move |place| self.open_backend(place))
    }

    fn open_backend(&self, place: JournalPlace<'_>) -> Result<Box<dyn Journal>, OpenError> {
        let JournalPlace {
            dir,
            partition,
            epoch,
            start,
            proven,
        } = place;
        match self.backend {
            Backend::File => {
                let options = FileOptions {
                    partition,
                    epoch,
                    segment_bytes: self.segment_bytes,
                    start,
                    proven,
                    ..FileOptions::default()
                };
                Ok(Box::new(FileJournal::open(Arc::new(RealDisk), dir, options)?))
            }
            Backend::Sled => {
                let options = SledOptions {
                    partition,
                    start,
                    proven,
                    ..self.sled(epoch)
                };
                Ok(Box::new(SledJournal::open(dir, options)?))
            }
        }
    }

    /// How the databases of a log are opened.
    pub(super) fn sled(&self, epoch: Epoch) -> SledOptions {
        SledOptions {
            partition: self.partition,
            epoch,
            database_bytes: self.segment_bytes,
            cache_bytes: self.journal_cache_bytes,
            ..SledOptions::default()
        }
    }
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records replayed.
    pub replayed: u64,
    /// Records to replay.
    pub total: u64,
}

/// A variant as it sleeps after a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredVariant {
    /// Whose it is.
    pub store: StoreId,
    /// The shop's id.
    pub id: VariantId,
    /// Its dense number.
    pub ordinal: VariantOrdinal,
    /// The last record in it.
    pub number: u64,
    /// Its state, see `dto::encode_variant`.
    pub encoded: Vec<u8>,
    /// When something happens in it by itself.
    pub next_deadline: Option<Timestamp>,
}

/// A cart or an order as it sleeps after a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredAgent {
    /// Whose shop.
    pub store: StoreId,
    /// Whether it is a customer's and not a guest's.
    pub has_customer: bool,
    /// The bits of its id.
    pub bits: u128,
    /// The last record in it.
    pub number: u64,
    /// Its state, see `dto::encode_cart` and `dto::encode_order`. A copy: what was encoded keeps the room that it grew into, and
    /// there are millions of these.
    pub encoded: Box<[u8]>,
    /// When something happens in it by itself.
    pub next_deadline: Option<Timestamp>,
    /// Whether it is in the middle of something: then it has to ask again what it asked before.
    pub working: bool,
}

impl RecoveredAgent {
    fn of<A: StoredAgent>(agent: &A, number: u64) -> Self {
        Self {
            store: agent.store().clone(),
            has_customer: agent.customer().is_some(),
            bits: agent.bits(),
            number,
            encoded: agent.encode().as_slice().into(),
            next_deadline: agent.next_deadline(),
            working: agent.is_working(),
        }
    }
}

/// Everything a house needs to go on.
pub struct Recovered {
    /// The log, acquired: ready for its writer.
    pub journal: Box<dyn Journal>,
    /// Where it ends, with the torn tail that was cut.
    pub tail: Tail,
    /// The stored rows.
    pub state: Arc<StateStore>,
    /// The idempotency keys of the tail, in front of the stored ones.
    pub keys: KeyTable,
    /// Lists and statistics.
    pub projection: Arc<Projection>,
    /// In order of ordinals. Deleted ones are not among them.
    pub variants: Vec<RecoveredVariant>,
    /// In order of ids. Forgotten ones are not among them.
    pub carts: Vec<RecoveredAgent>,
    /// In order of ids.
    pub orders: Vec<RecoveredAgent>,
    /// What carts, orders and holds do not agree about (AGREE), to be carried out by commands.
    pub mends: Vec<Mend>,
    /// Coordinators that are not finished, to be brought to their end.
    pub bulks: Vec<Bulk>,
    /// The ordinal of the next variant; none below it is ever given out again.
    pub next_ordinal: u32,
    /// The latest moment a record was decided at; the clock starts no earlier. `None` in an empty house.
    pub decided_at: Option<Timestamp>,
    /// The rules the log ends under; `None` in an empty house.
    pub gate: Option<Gate>,
    /// Up to where the rows had the log.
    pub checkpoint: Option<Checkpoint>,
    /// Records replayed behind that.
    pub replayed: u64,
}

/// Recovers the current epoch of a data directory, whose log `open` opens.
///
/// # Errors
/// [`RecoverError`]; damage has modified nothing in the log.
pub fn recover(
    dir: &DataDir,
    options: &RecoverOptions,
    open: &OpenJournal,
    progress: &dyn Fn(Progress),
) -> Result<Recovered, RecoverError> {
    recover_epoch(dir, options, open, progress)
        .map_err(|error| error.in_data_dir(dir.root(), &dir.journal_dir(), &dir.state_dir()))
}

fn recover_epoch(
    dir: &DataDir,
    options: &RecoverOptions,
    open: &OpenJournal,
    progress: &dyn Fn(Progress),
) -> Result<Recovered, RecoverError> {
    let state = Arc::new(StateStore::open(&dir.state_dir(), options.state)?);
    let mark = state.checkpoint();
    let epoch = epoch_of(dir);
    check_is_there(dir, options.backend, mark)?;
    let place = JournalPlace {
        dir: &dir.journal_dir(),
        partition: options.partition,
        epoch,
        start: Anchor::GENESIS,
        proven: RecordNumber(mark.map_or(0, |mark| mark.number)),
    };
    let mut journal = open(place).map_err(RecoverError::Open)?;
    let tail = journal.acquire(options.partition)?;
    let reader = journal.reader();
    check_continues(mark, &tail, &*reader, options.partition, dir)?;
    dir.begin()
        .map_err(|error| RecoverError::Open(OpenError::disk("cannot begin the epoch", error)))?;
    let keys = KeyTable::new(options.keys_memory_max, state.clone());
    keys.checkpointed(mark.map_or(0, |mark| mark.number));
    let projection = Arc::new(Projection::new(Arc::clone(&state)));
    let mut replay = load_small(&state)?;
    let mut beside = Beside::load(&state, &keys, &projection, &replay)?;
    let log = (&*reader, options.partition);
    let replayed = replay_tail(log, (behind(mark), tail.last), &mut replay, &mut beside, progress)?;
    let decided_at = replay.decided_at;
    let next_ordinal = replay.next_ordinal;
    let gate = replay.gate.clone();
    let bulks: Vec<_> = replay.bulks.values().cloned().collect();
    let mut filling = beside.filling;
    let Settled {
        variants,
        carts,
        orders,
        mends,
    } = settle_all(&state, replay, &mut filling)?;
    filling.finish();
    Ok(Recovered {
        journal,
        tail,
        state,
        keys,
        projection,
        variants,
        carts,
        orders,
        mends,
        bulks,
        next_ordinal,
        decided_at: (decided_at.as_millis() != i64::MIN).then_some(decided_at),
        gate,
        checkpoint: mark,
        replayed,
    })
}

pub(super) fn epoch_of(dir: &DataDir) -> Epoch {
    Epoch(u32::try_from(dir.epoch()).expect("an operator restores less than 2^32 times"))
}

/// A log of the other back end, or one that is gone, is not replaced by an empty one.
pub(super) fn check_is_there(
    dir: &DataDir,
    backend: Backend,
    mark: Option<Checkpoint>,
) -> Result<(), RecoverError> {
    let journal = dir.journal_dir();
    let names = names_in(&journal)?;
    if let Some(found) = other_backend(&names, backend) {
        return Err(RecoverError::OtherBackend { dir: journal, found });
    }
    if let Some(mark) = mark.filter(|_| has_no_log(&names)) {
        return Err(RecoverError::Replay {
            number: RecordNumber(mark.number).next(),
            reason: "the log is gone".to_owned(),
        });
    }
    check_was_not_lost(dir, mark)
}

/// An epoch that was begun and has no log any more, nor states that say what was in it, is not begun anew.
pub(super) fn check_was_not_lost(dir: &DataDir, mark: Option<Checkpoint>) -> Result<(), RecoverError> {
    if mark.is_none() && dir.has_begun() && has_no_log(&names_in(&dir.journal_dir())?) {
        return Err(RecoverError::Gone {
            file: dir.journal_dir(),
            record: RecordNumber(1),
            reason: "there are no stored states either, and this epoch was begun".to_owned(),
        });
    }
    Ok(())
}

/// Whether nothing is there but a file that was laid out for later.
fn has_no_log(names: &[PathBuf]) -> bool {
    names
        .iter()
        .all(|name| name.extension().is_some_and(|ext| ext == "prepared"))
}

fn names_in(dir: &Path) -> Result<Vec<PathBuf>, RecoverError> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| Ok(PathBuf::from(entry?.file_name())))
            .collect()
    };
    list()
        .map_err(|error| RecoverError::Open(OpenError::disk(format!("cannot list {}", dir.display()), error)))
}

fn other_backend(names: &[PathBuf], wanted: Backend) -> Option<Backend> {
    let has = |suffix: &str| {
        names
            .iter()
            .any(|name| name.extension().is_some_and(|ext| ext == suffix))
    };
    match wanted {
        Backend::File => has("sled").then_some(Backend::Sled),
        Backend::Sled => has("log").then_some(Backend::File),
    }
}

/// Which back end wrote the log in a directory; `wanted` where there is none.
pub(in crate::storage) fn log_backend(dir: &Path, wanted: Backend) -> Result<Backend, RecoverError> {
    Ok(other_backend(&names_in(dir)?, wanted).unwrap_or(wanted))
}

/// The log has every record behind the mark, and continues the chain the mark knows.
fn check_continues(
    mark: Option<Checkpoint>,
    tail: &Tail,
    reader: &dyn LogReader,
    partition: PartitionId,
    dir: &DataDir,
) -> Result<(), RecoverError> {
    let next = behind(mark);
    let stored = RecordNumber(next.0 - 1);
    let broken = |record, reason: String| {
        Err(RecoverError::Replay {
            number: record,
            reason,
        })
    };
    if tail.last < stored {
        return broken(
            tail.last.next(),
            format!(
                "the log in {} ends at record {}, but the stored states have everything up to record {stored}",
                dir.journal_dir().display(),
                tail.last
            ),
        );
    }
    if reader.first() > next {
        return Err(RecoverError::Gone {
            file: dir.state_dir(),
            record: next,
            reason: format!(
                "the stored states have everything up to record {stored}, the log begins at record {}",
                reader.first()
            ),
        });
    }
    let Some(mark) = mark else { return Ok(()) };
    let continues = if tail.last == stored {
        tail.chain == mark.chain
    } else {
        let groups = reader.read(partition, next, 1)?;
        groups
            .first()
            .is_some_and(|group| group.first() == next && *group.previous() == mark.chain)
    };
    if continues {
        return Ok(());
    }
    broken(
        next,
        "it does not continue the hash chain that the stored states end with".to_owned(),
    )
}

/// How many groups' worth of records wait between the two threads of a replay.
const STEPS_AHEAD: usize = 8;

/// About how many bytes of log are replayed as one step: few enough to stay in the processors' caches.
const STEP_BYTES: usize = 256 << 10;

/// Records with their numbers, shared by the two threads of a replay.
type Step = Arc<Vec<(RecordNumber, Turn)>>;

/// What a replay beside the states fills: keys, lists and statistics.
struct Beside<'a> {
    state: &'a StateStore,
    keys: &'a KeyTable,
    filling: Filling<'a>,
}

impl<'a> Beside<'a> {
    fn load(
        state: &'a StateStore,
        keys: &'a KeyTable,
        projection: &'a Projection,
        replay: &Replay<'_>,
    ) -> Result<Self, RecoverError> {
        let mut filling = Filling::new(projection);
        for row in state.scan(Family::Statistics, &[], None, usize::MAX) {
            let (store, row) = row?;
            let store = entity_rows::store_of(&store, Family::Statistics)?;
            let statistics = Statistics::from_row(&row)
                .ok_or_else(|| RowError::content(Family::Statistics, "it has another length"))?;
            filling.statistics(&store, statistics);
        }
        for (store, policy) in &replay.policies {
            filling.policy(store.clone(), *policy);
        }
        Ok(Self { state, keys, filling })
    }

    /// What the journal's writer would have done with a record.
    fn follow(&mut self, number: RecordNumber, turn: &Turn) -> Result<(), RecoverError> {
        if let Some(mark) = turn.key {
            let entry = KeyEntry {
                fingerprint: Fingerprint(mark.fingerprint),
                number: number.0,
            };
            self.keys.restore(KeyHash(mark.hash), entry);
        }
        if let Fact::Variant(VariantFact {
            ordinal, named: None, ..
        }) = &turn.fact
            && !self.filling.knows(*ordinal)
        {
            let stored = entity_rows::load_head(self.state, *ordinal)?;
            let (_, head) = stored.ok_or_else(|| RecoverError::Replay {
                number,
                reason: format!("there is no variant with ordinal {}", ordinal.0),
            })?;
            self.filling.settle(*ordinal, &head.store);
        }
        self.filling.record(number.0, turn);
        Ok(())
    }
}

/// Reads the tail and replays it on two threads: one reads, decodes and follows, the other applies. How many records.
fn replay_tail(
    log: (&dyn LogReader, PartitionId),
    (mut next, last): (RecordNumber, RecordNumber),
    replay: &mut Replay<'_>,
    beside: &mut Beside<'_>,
    progress: &dyn Fn(Progress),
) -> Result<u64, RecoverError> {
    let first = next;
    let mut told = Progress {
        replayed: 0,
        total: last.next().0 - first.0,
    };
    progress(told);
    let (steps, to_apply) = mpsc::sync_channel::<Step>(STEPS_AHEAD);
    thread::scope(|scope| {
        let applying = scope.spawn(move || {
            to_apply
                .into_iter()
                .try_for_each(|step| apply_step(replay, &step))
        });
        let mut read = || -> Result<(), RecoverError> {
            while next <= last {
                let step = read_step(log, next)?;
                let Some((reached, _)) = step.last() else { break };
                next = reached.next();
                // The other one has ended only if a record could not be applied, which is told below.
                if steps.send(Arc::clone(&step)).is_err() {
                    break;
                }
                for (number, turn) in step.iter() {
                    beside.follow(*number, turn)?;
                }
                told.replayed = next.0 - first.0;
                progress(told);
            }
            Ok(())
        };
        let read = read();
        drop(steps);
        let applied = applying
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Whoever applies is behind: its record is the first that is wrong.
        applied.and(read)
    })?;
    Ok(told.replayed)
}

fn read_step(
    (reader, partition): (&dyn LogReader, PartitionId),
    next: RecordNumber,
) -> Result<Step, RecoverError> {
    let groups = reader.read(partition, next, STEP_BYTES)?;
    let mut step = Vec::with_capacity(groups.iter().map(|group| group.count() as usize).sum());
    for group in &groups {
        for record in group.records_from(next) {
            let turn = dto::decode_turn(&record.payload).map_err(|error| RecoverError::Replay {
                number: record.number,
                reason: error.to_string(),
            })?;
            step.push((record.number, turn));
        }
    }
    Ok(Arc::new(step))
}

fn apply_step(replay: &mut Replay<'_>, step: &Step) -> Result<(), RecoverError> {
    step.iter()
        .try_for_each(|(number, turn)| replay.turn(*number, turn))
}

/// Everything in the rows but variants, carts and orders, which are read when they are needed.
pub(super) fn load_small(state: &StateStore) -> Result<Replay<'_>, RecoverError> {
    let mut replay = Replay::new(Some(state));
    for entry in entity_rows::policies(state) {
        let (store, policy) = entry?;
        replay.policies.insert(store, policy);
    }
    for bulk in entity_rows::bulks(state) {
        let bulk = bulk?;
        replay.bulks.insert(bulk.id, bulk);
    }
    let wrong = || RowError::content(Family::Meta, "it has another length");
    if let Some(row) = state.get(Family::Meta, NEXT_ORDINAL)? {
        replay.next_ordinal = u32::from_be_bytes(row.try_into().map_err(|_| wrong())?);
    }
    if let Some(row) = state.get(Family::Meta, DECIDED_AT)? {
        let at = i64::from_be_bytes(row.try_into().map_err(|_| wrong())?);
        replay.decided_at = Timestamp::from_millis(at);
    }
    if let Some(row) = state.get(Family::Meta, GATE)? {
        let gate = dto::decode_gate(&row).map_err(|error| RowError::content(Family::Meta, error))?;
        let number = RecordNumber(state.checkpoint().map_or(0, |mark| mark.number));
        gate.check()
            .map_err(|unknown| RecoverError::UnknownRules { number, unknown })?;
        replay.gate = Some(gate);
    }
    Ok(replay)
}

/// Every variant as it stands after the tail, in order of ordinals.
pub(super) fn each_variant(
    state: &StateStore,
    replayed: HashMap<VariantOrdinal, (Variant, u64)>,
    each: impl FnMut(Variant, u64) -> Result<(), RecoverError>,
) -> Result<(), RecoverError> {
    let stored = Variants::all(state).map(|variant| variant.map_err(RecoverError::from));
    each_variant_of(stored, replayed, each)
}

/// The same of variants that come from elsewhere, in order of ordinals.
pub(super) fn each_variant_of<E>(
    stored: impl Iterator<Item = Result<(Variant, u64), E>>,
    mut replayed: HashMap<VariantOrdinal, (Variant, u64)>,
    mut each: impl FnMut(Variant, u64) -> Result<(), E>,
) -> Result<(), E> {
    for stored in stored {
        let (variant, number) = stored?;
        match replayed.remove(&variant.head().ordinal) {
            None => each(variant, number)?,
            Some((variant, _)) if variant.head().deleted => {}
            Some((variant, number)) => each(variant, number)?,
        }
    }
    // What is left was created in the tail: with ordinals above all that are stored.
    let mut created: Vec<_> = replayed.into_values().collect();
    created.sort_unstable_by_key(|(variant, _)| variant.head().ordinal);
    for (variant, number) in created {
        if variant.head().exists() {
            each(variant, number)?;
        }
    }
    Ok(())
}

/// Every cart, or every order, as it stands after the tail, in the order of ids.
pub(super) fn each_agent<A: StoredAgent>(
    state: &StateStore,
    replayed: Agents<A>,
    each: impl FnMut(&A, u64) -> Result<(), RecoverError>,
) -> Result<(), RecoverError> {
    let stored = entity_rows::agents::<A>(state).map(|agent| agent.map_err(RecoverError::from));
    each_agent_of(stored, replayed, each)
}

/// The same of carts or orders that come from elsewhere, in the order of ids.
pub(super) fn each_agent_of<A: StoredAgent, E>(
    mut stored: impl Iterator<Item = Result<(A, u64), E>>,
    replayed: Agents<A>,
    mut each: impl FnMut(&A, u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut replayed = replayed.into_iter().peekable();
    let mut row = stored.next().transpose()?;
    loop {
        let in_row = row.as_ref().map(|(agent, _)| agent.bits());
        let in_tail = replayed.peek().map(|(bits, _)| *bits);
        let take_tail = match (in_row, in_tail) {
            (None, None) => return Ok(()),
            (Some(row), Some(tail)) => tail <= row,
            (row, _) => row.is_none(),
        };
        // The tail's word counts where both have it.
        let mut stands = None;
        if !take_tail || in_row == in_tail {
            stands = std::mem::replace(&mut row, stored.next().transpose()?);
        }
        if take_tail {
            stands = replayed.next().and_then(|(_, stands)| stands);
        }
        if let Some((agent, number)) = stands {
            each(&agent, number)?;
        }
    }
}

/// Everything as it sleeps.
struct Settled {
    variants: Vec<RecoveredVariant>,
    carts: Vec<RecoveredAgent>,
    orders: Vec<RecoveredAgent>,
    mends: Vec<Mend>,
}

fn settle_all(
    state: &StateStore,
    replay: Replay<'_>,
    filling: &mut Filling<'_>,
) -> Result<Settled, RecoverError> {
    let decided_at = replay.decided_at;
    let mut sides = Sides::default();
    let (found, to_settle) = mpsc::sync_channel::<(Variant, u64)>(STEPS_AHEAD);
    let variants = thread::scope(|scope| {
        let settling = scope.spawn(move || {
            to_settle
                .into_iter()
                .map(|(variant, number)| settle(&variant, number))
                .collect::<Result<Vec<_>, _>>()
        });
        let walked = each_variant(state, replay.variants, |variant, number| {
            filling.variant(&variant);
            sides.variant(&variant);
            // The other one has ended only if a law is broken, which is told below.
            let _ = found.send((variant, number));
            Ok(())
        });
        drop(found);
        let settled = settling
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        walked.and(settled)
    })?;
    let carts = sleeping(state, replay.carts, |cart| sides.cart(cart))?;
    let orders = sleeping(state, replay.orders, |order| {
        filling.order(order);
        sides.order(order);
    })?;
    Ok(Settled {
        variants,
        carts,
        orders,
        mends: sides.reconcile(decided_at),
    })
}

/// A variant goes to sleep, its laws checked by counting again.
fn settle(variant: &Variant, number: u64) -> Result<RecoveredVariant, RecoverError> {
    variant
        .recount()
        .map_err(|violation| RecoverError::Law { violation, number })?;
    let head = variant.head();
    Ok(RecoveredVariant {
        store: head.store.clone(),
        id: head.id.clone(),
        ordinal: head.ordinal,
        number,
        encoded: dto::encode_variant(variant),
        next_deadline: variant.next_deadline(),
    })
}

/// Carts or orders that obey their laws, as they sleep.
fn sleeping<A: StoredAgent>(
    state: &StateStore,
    replayed: Agents<A>,
    mut note: impl FnMut(&A),
) -> Result<Vec<RecoveredAgent>, RecoverError> {
    let mut sleeping = Vec::new();
    each_agent(state, replayed, |agent: &A, number| {
        agent
            .check()
            .map_err(|violation| RecoverError::Law { violation, number })?;
        note(agent);
        sleeping.push(RecoveredAgent::of(agent, number));
        Ok(())
    })?;
    Ok(sleeping)
}
