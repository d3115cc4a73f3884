//! One run of records out of the places they lie in: the snapshot's own, then the archive's, then the journal's.
use super::super::{
    archive::{ArchiveError, ArchiveReader},
    data_dir::DataDir,
    journal::{
        Anchor, ChainHash, Epoch, Group, Journal, LogReader, PartitionId, ReadError, Record, RecordNumber,
        disk::RealDisk, verify::walk_files,
    },
    recovery::{Backend, JournalPlace, RecoverOptions, log_backend},
    snapshot::{Entry, Item, Manifest, SnapshotError, SnapshotReader},
};
use super::RestoreError;
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// About how many bytes of log are read at once.
const READ_BYTES: usize = 4 << 20;

/// What is restored from.
pub struct Source<'a> {
    /// Opens the snapshot; called more than once.
    pub open: &'a dyn Fn() -> Result<SnapshotReader, SnapshotError>,
    /// The log behind it, if there is one at hand.
    pub log: Option<&'a LogBehind>,
}

/// The log of a snapshot's epoch: what was archived of it, and what the journal still has.
pub struct LogBehind {
    partition: PartitionId,
    epoch: Epoch,
    archive: ArchiveReader,
    archive_dir: PathBuf,
    journal: Piece,
    /// Where the journal lies, for messages.
    dir: PathBuf,
    /// The current epoch of the directory it is in.
    newest: u64,
}

/// The journal of the epoch.
enum Piece {
    /// Open: the running shop's, or one in sled, which `_journal` keeps open.
    Open {
        reader: Arc<dyn LogReader>,
        _journal: Option<Box<dyn Journal>>,
    },
    /// Segment files that nobody has open. They are only read.
    Files,
}

impl LogBehind {
    /// The log of an epoch in a data directory that nobody uses but us.
    ///
    /// # Errors
    /// The journal of a back end that has to be opened cannot be.
    pub fn of_data_dir(dir: &DataDir, epoch: u64, options: &RecoverOptions) -> Result<Self, RestoreError> {
        let places = (dir.archive_dir(), DataDir::journal_dir_in(dir.root(), epoch));
        Self::closed(places, epoch, dir.epoch(), options)
    }

    /// The log of an epoch that nobody has open, whose archive and journal lie in these two directories; `newest` is the
    /// current epoch there.
    ///
    /// # Errors
    /// As [`LogBehind::of_data_dir`].
    pub fn closed(
        (archive_dir, journal_dir): (PathBuf, PathBuf),
        epoch: u64,
        newest: u64,
        options: &RecoverOptions,
    ) -> Result<Self, RestoreError> {
        let epoch = Epoch(u32::try_from(epoch).unwrap_or(u32::MAX));
        // One that is not kept any more is not begun again.
        let backend = if journal_dir.is_dir() {
            log_backend(&journal_dir, options.backend).map_err(RestoreError::Log)?
        } else {
            Backend::File
        };
        let journal = match backend {
            Backend::File => Piece::Files,
            Backend::Sled => {
                let place = JournalPlace {
                    dir: &journal_dir,
                    partition: options.partition,
                    epoch,
                    start: Anchor::GENESIS,
                    proven: RecordNumber::ZERO,
                };
                let options = RecoverOptions { backend, ..*options };
                let mut journal = options.journal()(place)?;
                journal.acquire(options.partition)?;
                Piece::Open {
                    reader: journal.reader(),
                    _journal: Some(journal),
                }
            }
        };
        Ok(Self {
            partition: options.partition,
            epoch,
            archive: ArchiveReader::open(&archive_dir)?,
            archive_dir,
            journal,
            dir: journal_dir,
            newest,
        })
    }

    /// The log of a shop that is open, whose archive and journal lie in these two directories.
    ///
    /// # Errors
    /// The archive cannot be listed.
    pub fn live(
        (archive_dir, dir): (&Path, &Path),
        epoch: u64,
        partition: PartitionId,
        reader: Arc<dyn LogReader>,
    ) -> Result<Self, RestoreError> {
        Ok(Self {
            partition,
            epoch: Epoch(u32::try_from(epoch).unwrap_or(u32::MAX)),
            archive: ArchiveReader::open(archive_dir)?,
            archive_dir: archive_dir.to_owned(),
            journal: Piece::Open {
                reader,
                _journal: None,
            },
            dir: dir.to_owned(),
            newest: epoch,
        })
    }

    /// The current epoch of the directory it is in: a new one is above it.
    pub(super) fn newest_epoch(&self) -> u64 {
        self.newest
    }

    /// Groups from the one with record `from` on, until `each` has enough: the archive's, then those that the journal has
    /// still. What the archive cannot give the journal may have.
    fn walk(
        &self,
        from: RecordNumber,
        each: &mut dyn FnMut(&Group) -> Result<ControlFlow<()>, RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut run = Run {
            next: from,
            chain: None,
            each,
            stopped: false,
            refused: None,
        };
        let archived = self.walk_archive(&mut run);
        if let Some(error) = run.refused.take() {
            return Err(error);
        }
        let rest = match &self.journal {
            _ if run.stopped => Ok(()),
            Piece::Open { reader, .. } => self.walk_open(&**reader, &mut run),
            Piece::Files if self.dir.is_dir() => self.walk_files(&mut run),
            Piece::Files => Ok(()),
        };
        match (archived, run.refused, rest) {
            (_, Some(error), _) => Err(error),
            // What the archive said is nearer to the cause.
            (Err(archived), None, Err(RestoreError::Gap { .. })) => Err(archived),
            (_, None, rest) => rest,
        }
    }

    fn walk_archive(&self, run: &mut Run<'_>) -> Result<(), RestoreError> {
        let groups = match self.archive.groups(self.epoch, run.next) {
            Ok(groups) => groups,
            Err(ArchiveError::NoEpoch(_)) => return Ok(()),
            Err(ArchiveError::Begins { first, .. }) => {
                return Err(gap(run.next, first, &self.archive_dir));
            }
            Err(error) => return Err(error.into()),
        };
        for group in groups {
            self.take(run, &group?, &self.archive_dir)?;
            if run.stopped {
                break;
            }
        }
        Ok(())
    }

    fn walk_open(&self, reader: &dyn LogReader, run: &mut Run<'_>) -> Result<(), RestoreError> {
        while !run.stopped {
            let groups = match reader.read(self.partition, run.next, READ_BYTES) {
                Err(ReadError::Trimmed { first }) if first > run.next => {
                    return Err(gap(run.next, first, &self.dir));
                }
                read => read?,
            };
            if groups.is_empty() {
                return Ok(());
            }
            for group in &groups {
                self.take(run, group, &self.dir)?;
            }
        }
        Ok(())
    }

    fn walk_files(&self, run: &mut Run<'_>) -> Result<(), RestoreError> {
        let mut failed = None;
        let walked = walk_files(&RealDisk, &self.dir, self.partition, self.epoch, &mut |group| {
            if failed.is_none() {
                failed = self.take(run, group, &self.dir).err();
            }
        });
        match failed {
            Some(error) => Err(error),
            // Whoever has enough does not mind what comes after.
            None if run.stopped => Ok(()),
            None => Ok(walked.map(|_| ())?),
        }
    }

    /// Shows the next group. What `each` refuses ends the walk for good.
    fn take(&self, run: &mut Run<'_>, group: &Group, dir: &Path) -> Result<(), RestoreError> {
        if run.stopped || group.last() < run.next {
            return Ok(());
        }
        if group.first() > run.next {
            return Err(gap(run.next, group.first(), dir));
        }
        let continues = |chain| group.first() != run.next || *group.previous() == chain;
        if !run.chain.is_none_or(continues) {
            return Err(RestoreError::Damage(format!(
                "the group of record {} in {} does not continue the one before",
                group.first(),
                dir.display()
            )));
        }
        match (run.each)(group) {
            Ok(more) => run.stopped = more.is_break(),
            Err(error) => {
                run.stopped = true;
                run.refused = Some(error);
            }
        }
        run.next = group.last().next();
        run.chain = Some(*group.chain());
        Ok(())
    }
}

/// Records that are missing before `first`.
fn gap(next: RecordNumber, first: RecordNumber, dir: &Path) -> RestoreError {
    RestoreError::Gap {
        from: next.0,
        to: first.0 - 1,
        file: dir.to_owned(),
    }
}

/// A walk under way.
struct Run<'a> {
    next: RecordNumber,
    /// The hash that the next group continues.
    chain: Option<ChainHash>,
    each: &'a mut dyn FnMut(&Group) -> Result<ControlFlow<()>, RestoreError>,
    stopped: bool,
    /// Why `each` would not go on.
    refused: Option<RestoreError>,
}

/// Who looks at a source.
pub(super) trait Visitor {
    /// The next state.
    fn entity(&mut self, entry: &Entry) -> Result<(), RestoreError>;

    /// The next record; numbers are dense. `Break` when the rest does not matter.
    fn record(&mut self, record: Record) -> Result<ControlFlow<()>, RestoreError>;

    /// The log could not be read on behind the records there were.
    fn log_ends(&mut self, error: RestoreError) -> Result<(), RestoreError> {
        Err(error)
    }
}

impl Source<'_> {
    /// The snapshot's description; nothing in it is certain yet.
    pub(super) fn manifest(&self) -> Result<Manifest, RestoreError> {
        Ok((self.open)()?.manifest().clone())
    }

    /// Shows everything, in order. The snapshot has been found right from end to end when this returns.
    pub(super) fn visit(&self, visitor: &mut dyn Visitor) -> Result<(), RestoreError> {
        let snapshot = (self.open)()?;
        let position = snapshot.manifest().position;
        let mut more = ControlFlow::Continue(());
        let mut last = None;
        for item in snapshot {
            match item? {
                Item::Entity(entry) => visitor.entity(&entry)?,
                Item::Record(record) => {
                    let record = Record {
                        number: RecordNumber(record.number),
                        logged_at_ms: record.logged_at,
                        payload: record.payload.into(),
                    };
                    last = Some(record.clone());
                    if more.is_continue() {
                        more = visitor.record(record)?;
                    }
                }
            }
        }
        let (Some(log), true) = (self.log, more.is_continue()) else {
            return Ok(());
        };
        let next = RecordNumber(position).next();
        // From the record that both have, if the log still has it.
        let mut each = |group: &Group| {
            if let Some(same) = &last {
                is_same(same, group)?;
            }
            for record in group.records_from(next) {
                if visitor.record(record)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        let from = last.as_ref().map_or(next, |last| last.number);
        let walked = match log.walk(from, &mut each) {
            // The log begins right behind the snapshot, which is fine.
            Err(RestoreError::Gap { to, .. }) if to + 1 == next.0 => log.walk(next, &mut each),
            walked => walked,
        };
        walked.or_else(|error| visitor.log_ends(error))
    }
}

/// The snapshot's last record is the log's.
fn is_same(last: &Record, group: &Group) -> Result<(), RestoreError> {
    let again = (group.first() <= last.number).then(|| group.records_from(last.number).next());
    match again.flatten() {
        Some(again) if again.number == last.number && again != *last => Err(RestoreError::Foreign {
            number: last.number.0,
        }),
        Some(_) | None => Ok(()),
    }
}
