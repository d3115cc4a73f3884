//! What is still known of a variant's past: its records in the log and in the archive of this epoch, and its states in the
//! stored rows and in portable snapshots, from which records are followed.
//!
//! Nothing is indexed by variant: every record is read. It is asked by a person, now and then; whoever asks reads in a
//! thread that may take its time. Deliberately absent: epochs before this one, whose numbers may name other records.
use super::{
    archive::{ArchiveError, ArchiveReader},
    data_dir::DataDir,
    dto::{self, FormatError},
    entity_rows::{RowError, load_variant},
    journal::{Epoch, Group, LogReader, PartitionId, ReadError, RecordNumber},
    record::{Fact, Turn},
    snapshot::{EntityKind, Item, SnapshotError, SnapshotReader},
    state::StateStore,
};
use crate::domain::{ids::VariantOrdinal, time::Timestamp, variant::Variant};
use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of the log read at a time.
const READ_BYTES: usize = 1 << 20;

/// Why the past cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A record.
    #[error("record {number} is damaged")]
    Record {
        /// Which.
        number: u64,
        /// How.
        source: FormatError,
    },
    /// A stored row.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A portable snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// What is met on the way through the records.
#[derive(Debug)]
pub enum Step {
    /// A turn of the variant.
    Turn {
        /// The number of its record.
        number: u64,
        /// When it was logged.
        logged_at: Timestamp,
        /// What it says.
        turn: Box<Turn>,
    },
    /// Records up to here are missing: what was followed so far is not certain any more.
    Gap {
        /// The first record behind it.
        next: u64,
    },
    /// A part of the log without a turn of the variant is behind us: whoever has enough can say so.
    Passed {
        /// The last record of it.
        number: u64,
        /// When it was logged.
        logged_at: Timestamp,
    },
}

/// A variant as it stood behind a record.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The variant.
    pub variant: Variant,
    /// The last record in it.
    pub number: u64,
    /// Up to here nothing else happened to it.
    pub through: u64,
}

/// The past of a house.
#[derive(Clone)]
pub struct Past {
    archive: PathBuf,
    snapshots: PathBuf,
    epoch: Epoch,
    reader: Arc<dyn LogReader>,
    state: Arc<StateStore>,
}

impl Past {
    /// The past of the house in a data directory.
    pub fn of(data_dir: &DataDir, reader: Arc<dyn LogReader>, state: Arc<StateStore>) -> Self {
        Self {
            archive: data_dir.archive_dir(),
            snapshots: data_dir.snapshots_dir(),
            epoch: Epoch(u32::try_from(data_dir.epoch()).unwrap_or(u32::MAX)),
            reader,
            state,
        }
    }

    /// Goes through all records there are, oldest first, until `see` has enough. Those that the log lets go meanwhile are
    /// in the archive by then.
    ///
    /// # Errors
    /// Archive, log or a record cannot be read.
    pub fn walk(
        &self,
        ordinal: VariantOrdinal,
        mut see: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<(), PastError> {
        let archive = ArchiveReader::open(&self.archive)?;
        let archived = archive.range(self.epoch)?;
        let oldest = archived
            .as_ref()
            .map_or(RecordNumber(u64::MAX), |range| *range.start());
        let mut next = oldest.min(self.reader.first());
        if see(Step::Gap { next: next.0 }).is_break() {
            return Ok(());
        }
        loop {
            let mut over = |group: &Group, next: &mut RecordNumber| pass(group, next, ordinal, &mut see);
            if next < self.reader.first() && self.through_archive(&archive, &mut next, &mut over)?.is_break()
            {
                return Ok(());
            }
            if next < self.reader.first() {
                next = self.reader.first();
                if see(Step::Gap { next: next.0 }).is_break() {
                    return Ok(());
                }
            }
            let mut over = |group: &Group, next: &mut RecordNumber| pass(group, next, ordinal, &mut see);
            match self.through_log(&mut next, &mut over) {
                Err(PastError::Log(ReadError::Trimmed { .. })) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Up to where the log goes on, or the archive ends.
    fn through_archive(
        &self,
        archive: &ArchiveReader,
        next: &mut RecordNumber,
        over: &mut impl FnMut(&Group, &mut RecordNumber) -> Result<ControlFlow<()>, PastError>,
    ) -> Result<ControlFlow<()>, PastError> {
        let groups = match archive.groups(self.epoch, *next) {
            Ok(groups) => groups,
            Err(ArchiveError::NoEpoch(_) | ArchiveError::Begins { .. }) => {
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => return Err(error.into()),
        };
        for group in groups {
            let group = match group {
                Ok(group) => group,
                // The rest of the archive is behind the gap; the log may be nearer.
                Err(ArchiveError::Gap { .. }) => return Ok(ControlFlow::Continue(())),
                Err(error) => return Err(error.into()),
            };
            if over(&group, next)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if *next >= self.reader.first() {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn through_log(
        &self,
        next: &mut RecordNumber,
        over: &mut impl FnMut(&Group, &mut RecordNumber) -> Result<ControlFlow<()>, PastError>,
    ) -> Result<ControlFlow<()>, PastError> {
        while *next <= self.reader.last() {
            let groups = self.reader.read(PartitionId(0), *next, READ_BYTES)?;
            if groups.is_empty() {
                break;
            }
            for group in groups {
                if over(&group, next)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The variant as its rows have it.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn stored(&self, ordinal: VariantOrdinal) -> Result<Option<Standing>, PastError> {
        loop {
            let mark = |state: &StateStore| state.checkpoint().map(|mark| mark.number);
            let before = mark(&self.state);
            let found = load_variant(&self.state, ordinal)?;
            // Rows that changed while they were read may be of two moments.
            if mark(&self.state) == before {
                let through = before.unwrap_or_default();
                return Ok(found.map(|(variant, number)| Standing {
                    variant,
                    number,
                    through: through.max(number),
                }));
            }
        }
    }

    /// The variant as the newest snapshot of this epoch has it whose state of it is at or below record `at_most`. A snapshot
    /// that cannot be read is passed over: another may do.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn in_snapshots(&self, ordinal: VariantOrdinal, at_most: u64) -> io::Result<Option<Standing>> {
        let mut newest: Option<Standing> = None;
        for entry in fs::read_dir(&self.snapshots)? {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "holdfast") {
                continue;
            }
            match self.in_snapshot(&path, ordinal, at_most) {
                Ok(found) => {
                    let is_newer =
                        |found: &Standing| newest.as_ref().is_none_or(|newest| found.number > newest.number);
                    newest = found.filter(is_newer).or(newest.take());
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a snapshot is passed over");
                }
            }
        }
        Ok(newest)
    }

    /// Read to its end: nothing in a snapshot is certain before. Its records carry the state on to its position.
    fn in_snapshot(
        &self,
        path: &Path,
        ordinal: VariantOrdinal,
        at_most: u64,
    ) -> Result<Option<Standing>, PastError> {
        let reader = SnapshotReader::open(path)?;
        if reader.manifest().epoch != u64::from(self.epoch.0) {
            return Ok(None);
        }
        let through = reader.manifest().position.min(at_most);
        let mut found: Option<Standing> = None;
        for item in reader {
            match item? {
                Item::Entity(entry) => {
                    let may_be = entry.kind == EntityKind::VARIANT && entry.number <= at_most;
                    if !may_be || found.is_some() {
                        continue;
                    }
                    let number = entry.number;
                    let variant = dto::decode_variant(&entry.state)
                        .map_err(|source| PastError::Record { number, source })?;
                    if variant.head().ordinal == ordinal {
                        let through = through.max(number);
                        found = Some(Standing {
                            variant,
                            number,
                            through,
                        });
                    }
                }
                Item::Record(record) => {
                    let Some(found) = found.as_mut().filter(|found| found.number < record.number) else {
                        continue;
                    };
                    if record.number <= at_most {
                        follow(found, record.number, &record.payload)?;
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Carries a state on by a record, if it is one of its own.
fn follow(standing: &mut Standing, number: u64, payload: &[u8]) -> Result<(), PastError> {
    let turn = dto::decode_turn(payload).map_err(|source| PastError::Record { number, source })?;
    if let Fact::Variant(fact) = &turn.fact
        && fact.ordinal == standing.variant.head().ordinal
    {
        fact.events
            .iter()
            .for_each(|event| standing.variant.apply(event, turn.at));
        standing.number = number;
    }
    Ok(())
}

/// Shows a group's turns of one variant, from record `next` on.
fn pass(
    group: &Group,
    next: &mut RecordNumber,
    ordinal: VariantOrdinal,
    see: &mut impl FnMut(Step) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, PastError> {
    let logged_at = Timestamp::from_millis(group.logged_at_ms());
    for record in group.records_from(*next) {
        let number = record.number.0;
        let turn =
            dto::decode_turn(&record.payload).map_err(|source| PastError::Record { number, source })?;
        *next = record.number.next();
        if !matches!(&turn.fact, Fact::Variant(fact) if fact.ordinal == ordinal) {
            continue;
        }
        let turn = Box::new(turn);
        let step = Step::Turn {
            number,
            logged_at,
            turn,
        };
        if see(step).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let number = group.last().0;
    Ok(see(Step::Passed { number, logged_at }))
}
