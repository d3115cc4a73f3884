//! Idempotency keys, ended holds and their lists: very many, written once, looked up seldom, gone after their retention.
//!
//! As rows of their own they would cost sled some ten microseconds each, twice. Here the keys, the ended holds and the list entries
//! of one checkpoint each become a *run*: items sorted by key in pages of one sled value. Memory holds the first key of each page
//! and a Bloom filter before each run (of keys and ended holds; lists are read in ranges), together about 2.4 bytes an item; so a
//! key that is nowhere costs no disk read, and one that is somewhere costs one page. Runs are merged, see `merge`; of several items
//! of one key the newest counts, and one that is gone hides the older ones. The payloads and rows lie apart in the order they were
//! written, see `values`, and are never copied.
//!
//! A key takes 35 bytes on disk beside its payload, an ended hold some 25 beside its row and 20 for each list, filters included; sled's
//! half-filled pages about double all that. Values are not compressed: ids and hashes, most of their bytes, hardly shrink.
//!
//! Retention is exact for who asks: what is older than the bound of its kind is not found, from the sweep on that set it. It leaves
//! the disk later: values a page at a time, items with their whole run, in the next merge of their run, or when half of their
//! run is past retention. Bounds only rise; they are stored, and lie in front of everything that was deleted because of them.
//!
//! # A run in a crash
//! Pages, first keys and filter are written and synced before the change that adds the run is begun (its redo has only the small
//! row of `Family::Run`), and the pages of runs that were merged or dropped are deleted after it is complete. So whatever the crash,
//! a run with a row is whole. Pages without one, of a change that never was or a merge cut short, are deleted when the store is
//! opened; the merge begins anew. The same holds for values above the stored bounds.
//!
//! # Readers
//! take the list of runs, then read pages without a lock. A page may be deleted under them; the list is another one by then, and
//! they begin again.
pub(super) mod item;
mod merge;
mod run;
#[cfg(test)]
mod tests;
mod values;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::StateError;
use super::changes::{RowChange, RowChanges};
use super::rows::{Family, Trees};
use item::{Item, Kind};
use run::{Cursor, Run, next_of, page_key};
pub(super) use write::RunsWriter;

/// How many pages of runs that are gone one change deletes at most.
const DOOMED_PAGES_PER_ROUND: usize = 16_384;
/// The key of the bounds in `Family::Run`; runs have longer ones.
const BOUNDS_KEY: [u8; 1] = [0];

/// The runs that readers see, newest first.
#[derive(Debug, Default, Clone)]
struct Lists([Vec<Arc<Run>>; 3]);

impl Lists {
    fn of(&self, kind: Kind) -> &[Arc<Run>] {
        &self.0[kind as usize]
    }

    fn add(&mut self, run: Arc<Run>) {
        let runs = &mut self.0[run.kind as usize];
        let at = runs.partition_point(|other| other.about.upto > run.about.upto);
        runs.insert(at, run);
    }

    fn remove(&mut self, run: &Arc<Run>) {
        self.0[run.kind as usize].retain(|other| !Arc::ptr_eq(other, run));
    }

    /// What the newest run that knows the key says of it.
    fn find(&self, trees: &Trees, kind: Kind, key: &[u8]) -> Result<Option<Item>, StateError> {
        for run in self.of(kind) {
            if let Some(item) = run.find(trees, key)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn sum(&self, kind: Kind, of: fn(&Run) -> u64) -> u64 {
        self.of(kind).iter().map(|run| of(run)).sum()
    }
}

/// How far values reach and retention has come; stored with every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    /// Keys logged before this are not found, in Unix milliseconds.
    pub(super) keys_from_ms: u64,
    /// Holds that ended before this are not found.
    pub(super) ended_from_ms: u64,
    /// The number of the last payload.
    last_payload: u64,
    /// The number of the last row of an ended hold.
    last_row: u64,
    payload_bytes: u64,
    row_bytes: u64,
}

impl Bounds {
    fn bound_ms(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Keys => self.keys_from_ms,
            Kind::Ended | Kind::Index => self.ended_from_ms,
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        [
            self.keys_from_ms,
            self.ended_from_ms,
            self.last_payload,
            self.last_row,
            self.payload_bytes,
            self.row_bytes,
        ]
        .map(u64::to_le_bytes)
        .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Bounds> {
        let (
            [
                keys_from_ms,
                ended_from_ms,
                last_payload,
                last_row,
                payload_bytes,
                row_bytes,
            ],
            [],
        ) = bytes.as_chunks::<8>()
        else {
            return None;
        };
        Some(Bounds {
            keys_from_ms: u64::from_le_bytes(*keys_from_ms),
            ended_from_ms: u64::from_le_bytes(*ended_from_ms),
            last_payload: u64::from_le_bytes(*last_payload),
            last_row: u64::from_le_bytes(*last_row),
            payload_bytes: u64::from_le_bytes(*payload_bytes),
            row_bytes: u64::from_le_bytes(*row_bytes),
        })
    }
}

/// What readers need.
#[derive(Debug)]
pub(super) struct Runs {
    lists: RwLock<Arc<Lists>>,
    keys_from_ms: AtomicU64,
    ended_from_ms: AtomicU64,
    payload_bytes: AtomicU64,
}

/// What a change does to the runs, written but not visible yet.
pub(super) struct Prepared {
    /// Belongs to the change.
    pub(super) rows: Vec<RowChange>,
    /// Whether pages were written that must be durable before the change begins.
    pub(super) needs_sync: bool,
    lists: Lists,
    gone: Vec<Arc<Run>>,
}

impl Runs {
    /// Reads what memory holds of the runs, and deletes pages of no run. After an interrupted change was completed.
    pub(super) fn load(trees: &Trees) -> Result<(Runs, RunsWriter), StateError> {
        let (mut lists, mut bounds) = (Lists::default(), Bounds::default());
        for (key, row) in trees.read_from(Family::Run, &[], usize::MAX)? {
            if *key == BOUNDS_KEY {
                bounds = Bounds::from_bytes(&row).ok_or_else(|| trees.damage(Family::Run, &key))?;
            } else {
                lists.add(Arc::new(Run::load(trees, &key, &row)?));
            }
        }
        for kind in Kind::ALL {
            delete_orphans(trees, kind, lists.of(kind))?;
        }
        delete_values(trees, Family::KeyPayload, bounds.last_payload)?;
        delete_values(trees, Family::EndedRow, bounds.last_row)?;
        let writer = RunsWriter::new(&lists, bounds);
        let runs = Runs {
            lists: RwLock::new(Arc::new(lists)),
            keys_from_ms: AtomicU64::new(bounds.keys_from_ms),
            ended_from_ms: AtomicU64::new(bounds.ended_from_ms),
            payload_bytes: AtomicU64::new(bounds.payload_bytes),
        };
        Ok((runs, writer))
    }

    fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.lists.read())
    }

    pub(super) fn bound_ms(&self, kind: Kind) -> u64 {
        let bound = match kind {
            Kind::Keys => &self.keys_from_ms,
            Kind::Ended | Kind::Index => &self.ended_from_ms,
        };
        bound.load(Ordering::Acquire)
    }

    /// Reads over a list of runs; once more when runs were deleted meanwhile. `trees` is asked after the list is taken, so that it
    /// has the pages of all its runs.
    fn steady<T>(
        &self,
        trees: impl Fn() -> Arc<Trees>,
        read: impl Fn(&Lists, &Trees) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        loop {
            let lists = self.lists();
            match read(&lists, &trees()) {
                Err(StateError::Damage { .. }) if !Arc::ptr_eq(&lists, &self.lists()) => {}
                settled => return settled,
            }
        }
    }

    /// An item that is not gone nor past retention.
    pub(super) fn find(
        &self,
        trees: impl Fn() -> Arc<Trees>,
        kind: Kind,
        key: &[u8],
    ) -> Result<Option<Item>, StateError> {
        let found = self.steady(trees, |lists, trees| lists.find(trees, kind, key))?;
        let from_ms = self.bound_ms(kind);
        Ok(found.filter(|item| !item.gone && item.at_ms >= from_ms))
    }

    /// A found item's payload or row; `None` when retention took it meanwhile.
    pub(super) fn value(
        &self,
        trees: &Trees,
        kind: Kind,
        item: &Item,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let family = match kind {
            Kind::Keys => Family::KeyPayload,
            Kind::Ended | Kind::Index => Family::EndedRow,
        };
        match values::read(trees, family, item.seq)? {
            None if item.at_ms >= self.bound_ms(kind) => Err(trees.damage(family, &item.seq.to_be_bytes())),
            found => Ok(found),
        }
    }

    /// At most `limit` items after `after`, in order, as long as their keys begin with `prefix`.
    pub(super) fn range(
        &self,
        trees: impl Fn() -> Arc<Trees>,
        kind: Kind,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Item>, StateError> {
        let from = after.unwrap_or(prefix);
        let beyond = after.map(item::item_key);
        self.steady(trees, |lists, trees| {
            let mut cursors = Vec::new();
            for run in lists.of(kind) {
                cursors.push(Cursor::from(trees, Arc::clone(run), from)?);
            }
            let (mut items, bound_ms) = (Vec::new(), self.bound_ms(kind));
            while items.len() < limit {
                let next = next_of(&mut cursors, trees)?;
                let Some(item) = next.filter(|item| item.key.starts_with(prefix)) else {
                    break;
                };
                if !item.gone && item.at_ms >= bound_ms && beyond != Some(item.key) {
                    items.push(item);
                }
            }
            Ok(items)
        })
    }

    /// How many ended holds are stored, those that were stored twice or live again included until a merge.
    pub(super) fn ended(&self) -> u64 {
        self.lists().sum(Kind::Ended, |run| run.about.items)
    }

    /// How many keys are stored, on disk in all or not yet left out by a merge.
    pub(super) fn keys(&self) -> u64 {
        self.lists().sum(Kind::Keys, |run| run.about.items)
    }

    /// The bytes of the keys' runs and payloads.
    pub(super) fn keys_bytes(&self) -> u64 {
        self.lists().sum(Kind::Keys, |run| run.about.bytes) + self.payload_bytes.load(Ordering::Relaxed)
    }

    /// The memory of filters and first keys.
    pub(super) fn memory_bytes(&self) -> usize {
        let lists = self.lists();
        lists.0.iter().flatten().map(|run| run.memory_bytes()).sum()
    }

    /// Makes what was prepared visible, after its change is complete, and deletes pages of runs that are gone.
    pub(super) fn show(
        &self,
        trees: &Trees,
        writer: &mut RunsWriter,
        prepared: Prepared,
    ) -> Result<(), StateError> {
        *self.lists.write() = Arc::new(prepared.lists);
        writer.stored_bounds = writer.bounds;
        self.payload_bytes
            .store(writer.bounds.payload_bytes, Ordering::Relaxed);
        for run in prepared.gone {
            let family = run.kind.family();
            writer.doomed.extend(run.page_keys().map(|key| (family, key)));
        }
        Runs::delete_doomed(trees, writer)
    }

    /// Deletes a round's pages of runs that are gone.
    pub(super) fn delete_doomed(trees: &Trees, writer: &mut RunsWriter) -> Result<(), StateError> {
        let round = writer.doomed.len().min(DOOMED_PAGES_PER_ROUND);
        for (family, key) in writer.doomed.drain(..round) {
            trees.delete(family, &key)?;
        }
        Ok(())
    }

    /// From now on nothing older is found. Bounds only rise.
    pub(super) fn raise(&self, writer: &mut RunsWriter, keys_from_ms: u64, ended_from_ms: u64) {
        let bounds = &mut writer.bounds;
        bounds.keys_from_ms = bounds.keys_from_ms.max(keys_from_ms);
        bounds.ended_from_ms = bounds.ended_from_ms.max(ended_from_ms);
        self.keys_from_ms.store(bounds.keys_from_ms, Ordering::Release);
        self.ended_from_ms.store(bounds.ended_from_ms, Ordering::Release);
    }

    /// Writes the runs and values of a change and goes on merging. `now_ms` is the logged time of its checkpoint.
    pub(super) fn prepare(
        &self,
        trees: &Trees,
        writer: &mut RunsWriter,
        changes: &RowChanges,
        change: u64,
        now_ms: u64,
    ) -> Result<Prepared, StateError> {
        let mut prepared = self.nothing();
        writer.merge(trees, &mut prepared)?;
        let keys = writer.put_payloads(trees, changes, change)?;
        writer.add_run(trees, Kind::Keys, keys, &mut prepared)?;
        let (ended, listed) = writer.put_ended(&self.lists(), trees, changes, change, now_ms)?;
        writer.add_run(trees, Kind::Ended, ended, &mut prepared)?;
        writer.add_run(trees, Kind::Index, listed, &mut prepared)?;
        writer.bounds_row(&mut prepared);
        Ok(prepared)
    }

    /// Drops runs that are past the bounds and at most `pages_max` pages of values of either kind. Tells how many keys and ended
    /// holds went, and whether there is more.
    pub(super) fn prepare_sweep(
        &self,
        trees: &Trees,
        writer: &mut RunsWriter,
        pages_max: usize,
    ) -> Result<(Prepared, super::Swept), StateError> {
        let mut prepared = self.nothing();
        let mut swept = super::Swept::default();
        for run in self.lists().0.iter().flatten() {
            let is_past = run.about.newest_ms < writer.bounds.bound_ms(run.kind);
            if is_past && !writer.merges.iter().any(|merge| merge.reads(run)) {
                let items = usize::try_from(run.about.items).expect("items are counted in memory");
                match run.kind {
                    Kind::Keys => swept.keys += items,
                    Kind::Ended => swept.ended += items,
                    Kind::Index => {}
                }
                prepared.drop_run(run);
            }
        }
        let bounds = &mut writer.bounds;
        for (family, from_ms, left) in [
            (Family::KeyPayload, bounds.keys_from_ms, &mut bounds.payload_bytes),
            (Family::EndedRow, bounds.ended_from_ms, &mut bounds.row_bytes),
        ] {
            let (keys, bytes) = values::expired(trees, family, from_ms, pages_max)?;
            *left = left.saturating_sub(bytes);
            swept.more |= keys.len() == pages_max;
            let deletions = keys.into_iter().map(|key| RowChange {
                family,
                key,
                row: None,
            });
            prepared.rows.extend(deletions);
        }
        if !prepared.rows.is_empty() {
            writer.bounds_row(&mut prepared);
        }
        Ok((prepared, swept))
    }

    fn nothing(&self) -> Prepared {
        Prepared {
            rows: Vec::new(),
            needs_sync: false,
            lists: Lists::clone(&self.lists()),
            gone: Vec::new(),
        }
    }
}

impl Prepared {
    fn add_run(&mut self, run: Arc<Run>) {
        self.rows.push(run.row());
        self.lists.add(run);
        self.needs_sync = true;
    }

    fn drop_run(&mut self, run: &Arc<Run>) {
        self.rows.push(run.deletion());
        self.lists.remove(run);
        self.gone.push(Arc::clone(run));
    }
}

/// Deletes the pages of runs that do not exist.
fn delete_orphans(trees: &Trees, kind: Kind, runs: &[Arc<Run>]) -> Result<(), StateError> {
    let (family, mut from) = (kind.family(), page_key(0, 0));
    while let Some(key) = trees.first_key(family, &from)? {
        let number = key.first_chunk().ok_or_else(|| trees.damage(family, &key))?;
        let number = u64::from_be_bytes(*number);
        if runs.iter().all(|run| run.about.number != number) {
            trees.delete(family, &key)?;
            continue;
        }
        let Some(next) = number.checked_add(1) else { break };
        from = page_key(next, 0);
    }
    Ok(())
}

/// Deletes the pages of values above `last`, of a change that never was.
fn delete_values(trees: &Trees, family: Family, last: u64) -> Result<(), StateError> {
    let Some(first) = last.checked_add(1) else {
        return Ok(());
    };
    while let Some(key) = trees.first_key(family, &first.to_be_bytes())? {
        trees.delete(family, &key)?;
    }
    Ok(())
}
