//! A house that serves, or one that lies on the disk, becomes a portable snapshot.
//!
//! No actor is asked for anything. The stored rows are, whole, the state behind the mark's record N, and the log says what
//! came after; so a snapshot is all rows at N and the records from N + 1 to P, the last durable one when the rows were read.
//! Its content is the state at P (decisions 14). Asking a million actors between two messages each would cost the sale more,
//! and its answer would be spread over as many records.
//!
//! ```text
//!  rows at N, one reading      variants, carts, orders, policies, coordinators ...    checkpoints wait, sales do not
//!  rows since, page by page    ledger, ended reservations, keys                       checkpoints run between two pages
//!  records N + 1 to P          a trim hold keeps them                                 P is read behind the last page
//! ```
//!
//! Ledger, ended reservations and keys may be read later than N, because they are only added to: what is newer than N is in the
//! records as well, and writing it twice writes it once. While the first part is read the log grows and the window of recent
//! keys fills, and an actor that died waits to be read again, if a checkpoint waits before it; nothing else.
//! `cargo bench --bench snapshot` tells for how long.
//!
//! The file is then read back and judged ([`super::judge`]) before it gets its name: no snapshot is listed that does not replay
//! to lawful state. Memory is bounded by a block of the file, and in the judgement by the variants that the records touch.
//!
//! Deliberately absent: priorities and schedules (the caller's thread).
use super::{
    JournalPlace, READ_BYTES, RecoverError, RecoverOptions, behind,
    entries::{self, ROWS},
    judge::{JudgeError, judge},
    open::{check_is_there, epoch_of},
};
use crate::domain::{
    ids::{ReservationId, StoreId, VariantOrdinal},
    rules::Gate,
};
use crate::storage::{
    checkpoint::Checkpointer,
    data_dir::DataDir,
    dto,
    entity_rows::{GATE, RowError, load_departed, load_head},
    journal::{Anchor, Epoch, LogReader, PartitionId, Position, ReadError, RecordNumber},
    record::Fact,
    snapshot::{
        About, EntityKind, Entry, Manifest, Shelf, SnapshotError, SnapshotReader, SnapshotWriter, TailRecord,
        id_of,
    },
    state::{Family, StateError, StateStore},
};
use hashbrown::HashMap;
use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Rows of ledger, keys or ended reservations that are read at once.
const PAGE_ROWS: usize = 512;

/// What the one who takes a snapshot says about it.
#[derive(Clone, Debug)]
pub struct CaptureAbout {
    /// The program and version that writes, as `holdfast 0.1.0`.
    pub written_by: String,
    /// The moment, ms since the Unix epoch.
    pub created_at_ms: i64,
    /// Why it was taken, in a sentence.
    pub source: String,
}

/// Where it goes.
#[derive(Clone, Copy, Debug)]
pub enum CaptureTo<'a> {
    /// Into this file.
    File(&'a Path),
    /// Into this folder, under a name that says when it was taken and of which position.
    Shelf(&'a Shelf),
}

/// A snapshot that was taken, read back and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// The file.
    pub path: PathBuf,
    /// What it says about itself.
    pub manifest: Manifest,
    /// The size of the file.
    pub bytes: u64,
    /// For how long checkpoints waited, in seconds.
    pub held_seconds: f64,
}

/// Why there is no snapshot. Nothing is left of it, and earlier ones are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The rows could not be read.
    #[error("the stored states could not be read")]
    Row(#[from] RowError),
    /// The log could not be read.
    #[error("the log could not be read")]
    Log(#[from] ReadError),
    /// The data directory could not be opened.
    #[error(transparent)]
    Open(#[from] RecoverError),
    /// The house ends.
    #[error("the server ends")]
    Stopped,
    /// What was written does not replay to lawful state: do not trust this house before it was verified.
    #[error("the snapshot was read back and found wrong")]
    Judge(#[from] JudgeError),
}

impl From<StateError> for CaptureError {
    fn from(error: StateError) -> Self {
        Self::Row(error.into())
    }
}

impl CaptureError {
    /// Whether the disk had no room for it.
    pub fn is_disk_full(&self) -> bool {
        let Self::Snapshot(SnapshotError::Io { source, .. }) = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Takes a snapshot of a house that serves. Blocks on the disk. When `stop` turns true it ends soon, without one.
///
/// # Errors
/// [`CaptureError`].
pub fn capture(
    checkpointer: &Checkpointer,
    epoch: Epoch,
    to: CaptureTo<'_>,
    about: &CaptureAbout,
    stop: &AtomicBool,
) -> Result<Captured, CaptureError> {
    let mut capture = Capture::begin(to, about, stop)?;
    let begin = crate::clock::Stopwatch::start();
    let (rows, kept) = checkpointer.with_rows("snapshot", |state, _| capture.rows(state));
    let held_seconds = begin.seconds();
    rows?;
    let mut at = Some(Page::FIRST);
    while let Some(page) = at {
        at = checkpointer
            .with_rows("snapshot", |state, _| capture.page(state, page))
            .0?;
    }
    let (reader, partition) = checkpointer.log();
    capture.tail(&**reader, partition)?;
    drop(kept);
    capture.finish(epoch, held_seconds)
}

/// Takes a snapshot of a data directory that nobody serves.
///
/// # Errors
/// [`CaptureError`].
pub fn capture_directory(
    dir: &DataDir,
    options: &RecoverOptions,
    to: CaptureTo<'_>,
    about: &CaptureAbout,
) -> Result<Captured, CaptureError> {
    let state = StateStore::open(&dir.state_dir(), options.state)?;
    let mark = state.checkpoint();
    check_is_there(dir, options.backend, mark)?;
    let place = JournalPlace {
        dir: &dir.journal_dir(),
        partition: options.partition,
        epoch: epoch_of(dir),
        start: Anchor::GENESIS,
        proven: RecordNumber(behind(mark).0 - 1),
    };
    let journal = options.journal()(place).map_err(RecoverError::Open)?;
    let never = AtomicBool::new(false);
    let mut capture = Capture::begin(to, about, &never)?;
    capture.rows(&state)?;
    let mut at = Some(Page::FIRST);
    while let Some(page) = at {
        at = capture.page(&state, page)?;
    }
    capture.tail(&*journal.reader(), options.partition)?;
    capture.finish(epoch_of(dir), 0.0)
}

/// A snapshot being taken.
struct Capture<'a> {
    to: CaptureTo<'a>,
    about: &'a CaptureAbout,
    stop: &'a AtomicBool,
    writer: SnapshotWriter,
    rows_number: RecordNumber,
    rows_logged_at_ms: Option<i64>,
    last: RecordNumber,
    logged_at_ms: Option<i64>,
    gate: Option<Gate>,
    /// Whose an ended reservation is, by the ordinal of its variant.
    stores: HashMap<VariantOrdinal, StoreId>,
}

/// Where the reading of what is only added to goes on.
enum Page {
    Ledger(Vec<u8>),
    Ended(Option<[u8; 16]>),
    Keys(Option<[u8; 16]>),
}

impl Page {
    const FIRST: Self = Self::Ledger(Vec::new());
}

impl<'a> Capture<'a> {
    fn begin(to: CaptureTo<'a>, about: &'a CaptureAbout, stop: &'a AtomicBool) -> Result<Self, CaptureError> {
        let writer = match to {
            CaptureTo::File(path) => SnapshotWriter::create(path)?,
            CaptureTo::Shelf(shelf) => SnapshotWriter::create(&shelf.begin_at(about.created_at_ms))?,
        };
        Ok(Self {
            to,
            about,
            stop,
            writer,
            rows_number: RecordNumber::ZERO,
            rows_logged_at_ms: None,
            last: RecordNumber::ZERO,
            logged_at_ms: None,
            gate: None,
            stores: HashMap::new(),
        })
    }

    /// Everything that changes; while this runs nobody else may change rows.
    fn rows(&mut self, state: &StateStore) -> Result<(), CaptureError> {
        if let Some(mark) = state.checkpoint() {
            self.rows_number = RecordNumber(mark.number);
            self.rows_logged_at_ms = i64::try_from(mark.logged_at_ms).ok();
            (self.last, self.logged_at_ms) = (self.rows_number, self.rows_logged_at_ms);
        }
        for row in state.scan(Family::Meta, &[], None, usize::MAX) {
            let (name, row) = row?;
            if name == GATE {
                let gate = dto::decode_gate(&row);
                self.gate = Some(gate.map_err(|error| RowError::content(Family::Meta, error))?);
            } else {
                self.row(EntityKind::META, name, row)?;
            }
        }
        for row in state.scan(Family::Statistics, &[], None, usize::MAX) {
            let (store, row) = row?;
            self.row(EntityKind::STATISTICS, store, row)?;
        }
        for (kind, first) in ROWS {
            for row in state.scan(Family::Entity, &[first], Some(&[first + 1]), usize::MAX) {
                let (key, row) = row?;
                let entry = entries::of_row(kind, &key[1..], &row, self.rows_number.0);
                let entry = entry.ok_or_else(|| RowError::content(Family::Entity, "it is too short"))?;
                self.put(&entry)?;
            }
        }
        for row in state.scan(Family::Hold, &[], None, usize::MAX) {
            let (key, row) = row?;
            self.row(EntityKind::HOLD, key, row)?;
        }
        Ok(())
    }

    fn row(&mut self, kind: EntityKind, id: Vec<u8>, state: Vec<u8>) -> Result<(), CaptureError> {
        let number = self.rows_number.0;
        self.put(&Entry {
            kind,
            id,
            number,
            state,
        })
    }

    fn put(&mut self, entry: &Entry) -> Result<(), CaptureError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(CaptureError::Stopped);
        }
        Ok(self.writer.entity(entry)?)
    }

    /// The next rows of what is only added to, and where it goes on.
    fn page(&mut self, state: &StateStore, page: Page) -> Result<Option<Page>, CaptureError> {
        Ok(match page {
            Page::Ledger(from) => {
                let mut last = None;
                for row in state.scan(Family::Ledger, &from, None, PAGE_ROWS) {
                    let (key, row) = row?;
                    last = Some([&key[..], &[0]].concat());
                    self.row(EntityKind::LEDGER, key, row)?;
                }
                Some(last.map_or(Page::Ended(None), Page::Ledger))
            }
            Page::Ended(after) => {
                let found = state.ended_after(after, PAGE_ROWS)?;
                for ended in &found.items {
                    let id = ReservationId::from_u128(u128::from_be_bytes(ended.id));
                    let id =
                        id.ok_or_else(|| RowError::content(Family::Ended, "its key is no reservation's"))?;
                    let store = self.store(state, id.variant())?;
                    let entry = entries::of_ended(ended, &store, self.rows_number.0);
                    self.put(&entry)?;
                }
                let next = found.next.map(|last| Page::Ended(Some(last)));
                Some(next.unwrap_or(Page::Keys(None)))
            }
            Page::Keys(after) => {
                let found = state.keys_after(after, PAGE_ROWS)?;
                for key in &found.items {
                    self.put(&entries::of_key(key))?;
                }
                found.next.map(|last| Page::Keys(Some(last)))
            }
        })
    }

    fn store(&mut self, state: &StateStore, ordinal: VariantOrdinal) -> Result<StoreId, CaptureError> {
        if let Some(store) = self.stores.get(&ordinal) {
            return Ok(store.clone());
        }
        let store = match load_head(state, ordinal)? {
            Some((_, head)) => head.store,
            None => {
                let missing =
                    || RowError::content(Family::Ended, format!("variant {} was never there", ordinal.0));
                load_departed(state, ordinal)?.ok_or_else(missing)?.0
            }
        };
        self.stores.insert(ordinal, store.clone());
        Ok(store)
    }

    /// The records behind the rows, up to the last that is durable now.
    fn tail(&mut self, log: &dyn LogReader, partition: PartitionId) -> Result<(), CaptureError> {
        let upto = log.last();
        while self.last < upto {
            let from = self.last.next();
            let groups = log.read(partition, from, READ_BYTES)?;
            if groups.is_empty() {
                break;
            }
            for record in groups.iter().flat_map(|group| group.records_from(from)) {
                if record.number > upto {
                    break;
                }
                if let Ok(turn) = dto::decode_turn(&record.payload)
                    && let Fact::Gate(gate) = turn.fact
                {
                    self.gate = Some(gate);
                }
                (self.last, self.logged_at_ms) = (record.number, Some(record.logged_at_ms));
                self.writer.record(&TailRecord {
                    number: record.number.0,
                    logged_at: record.logged_at_ms,
                    payload: record.payload.to_vec(),
                })?;
            }
        }
        Ok(())
    }

    fn finish(self, epoch: Epoch, held_seconds: f64) -> Result<Captured, CaptureError> {
        let Self { to, about, stop, .. } = self;
        // A log without a gate is judged by the rules of whoever goes on from it.
        let gate = self.gate.or_else(|| Gate::due(None, env!("CARGO_PKG_VERSION")));
        let gate = gate.expect("a gate is due where none stands");
        let position = Position {
            epoch,
            number: self.last,
        };
        let mut sealed = self.writer.seal(About {
            written_by: about.written_by.clone(),
            created_at_ms: about.created_at_ms,
            epoch: u64::from(position.epoch.0),
            position: position.number.0,
            logged_at_ms: self.logged_at_ms,
            rows_number: Some(self.rows_number.0),
            rows_logged_at_ms: self.rows_logged_at_ms,
            rules: gate.rules.0,
            rules_since: gate.release,
            totals: [].into(),
            attribution: Vec::new(),
            source: about.source.clone(),
        })?;
        if stop.load(Ordering::Relaxed) {
            return Err(CaptureError::Stopped);
        }
        let judged = judge(&|| SnapshotReader::open(sealed.unpublished()))?.lawful()?;
        let path = match to {
            CaptureTo::File(path) => path.to_owned(),
            CaptureTo::Shelf(shelf) => {
                let path = shelf.path_of(&id_of(about.created_at_ms, position));
                path.expect("what is made as an id is one")
            }
        };
        sealed.call(path.clone());
        let (manifest, summary) = sealed.publish(judged.stand(), judged.totals())?;
        Ok(Captured {
            path,
            manifest,
            bytes: summary.bytes,
            held_seconds,
        })
    }
}
