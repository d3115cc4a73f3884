//! One run of records out of the places they lie in: the snapshot's own, then the archive's, then the journal's.
use super::super::{
    archive::{ArchiveError, ArchiveReader},
    data_dir::DataDir,
    journal::{
        Anchor, ChainHash, Epoch, Group, Journal, LogReader, PartitionId, ReadError, Record, RecordNumber,
        disk::RealDisk, verify::walk_files,
    },
    lineage::{Lineage, Parted, Span},
    recovery::{Backend, JournalPlace, RecoverOptions, log_backend},
    snapshot::{Entry, Item, Manifest, SnapshotError, SnapshotReader},
};
use super::{Cut, RestoreError};
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

/// The logs of a data directory: the journal and the archive of each of its epochs.
#[derive(Clone)]
pub struct Logs {
    root: PathBuf,
    options: RecoverOptions,
    lineage: Lineage,
    /// The current epoch's journal where a shop has it open.
    live: Option<Arc<dyn LogReader>>,
}

impl Logs {
    /// Those of a data directory that nobody uses but us.
    ///
    /// # Errors
    /// Where its epochs began is written down and cannot be read.
    pub fn of_data_dir(dir: &DataDir, options: &RecoverOptions) -> Result<Self, RestoreError> {
        let lineage = Lineage::read(dir.root(), dir.epoch())?;
        Ok(Self::new(dir, options, lineage, None))
    }

    /// Those of a data directory where a shop is open, whose journal `reader` reads. It sells on where nobody can read which epoch
    /// began from where: that is told.
    pub fn live(dir: &DataDir, options: &RecoverOptions, reader: Arc<dyn LogReader>) -> Self {
        let lineage = Lineage::read(dir.root(), dir.epoch()).unwrap_or_else(|error| {
            tracing::error!(%error, "a restore will not know what was sold since");
            Lineage::unknown(dir.epoch())
        });
        Self::new(dir, options, lineage, Some(reader))
    }

    fn new(
        dir: &DataDir,
        options: &RecoverOptions,
        lineage: Lineage,
        live: Option<Arc<dyn LogReader>>,
    ) -> Self {
        Self {
            root: dir.root().to_owned(),
            options: *options,
            lineage,
            live,
        }
    }

    /// Which epoch began from where.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The log behind a snapshot, up to the end of the epoch that `cut` means; `named` says that it was named and is not the
    /// nearest of the current shop's history. A moment is in the epoch that was current then. A number is in the snapshot's own
    /// epoch if that was named, so that a restore can be undone; in the current shop's history otherwise, as the end is.
    ///
    /// # Errors
    /// The snapshot is not of the history the cut is in; a log cannot be opened.
    pub fn behind(&self, snapshot: &Manifest, cut: Cut, named: bool) -> Result<LogBehind, RestoreError> {
        let (own, lineage) = (snapshot.epoch, &self.lineage);
        let meant = match cut {
            Cut::Number(_) if named => own,
            Cut::Time(_) | Cut::End | Cut::Number(_) => cut.epoch(lineage),
        };
        let way = match lineage.way(own, snapshot.position, meant) {
            Some(way) => way,
            None if matches!(cut, Cut::Time(_)) && lineage.knows(meant) => {
                return Err(RestoreError::OtherHistory { snapshot: own, meant });
            }
            None => vec![Span {
                epoch: own,
                after: snapshot.position,
                upto: u64::MAX,
            }],
        };
        let Parted {
            shared,
            since,
            unknown,
        } = lineage.parted(way.last().map_or(own, |span| span.epoch));
        let open = |span: Span| Ok::<_, RestoreError>((span, self.epoch(span.epoch)?));
        Ok(LogBehind {
            way: way.into_iter().map(open).collect::<Result<_, _>>()?,
            shared,
            since: since.into_iter().map(open).collect::<Result<_, _>>()?,
            unknown,
            newest: lineage.current(),
        })
    }

    /// The log of an epoch; one that is not kept any more is empty.
    fn epoch(&self, number: u64) -> Result<EpochLog, RestoreError> {
        let epoch = Epoch(u32::try_from(number).unwrap_or(u32::MAX));
        let (archive_dir, dir) = (
            DataDir::archive_dir_in(&self.root),
            DataDir::journal_dir_in(&self.root, number),
        );
        let live = self.live.as_ref().filter(|_| number == self.lineage.current());
        let journal = match live {
            Some(reader) => Piece::Open {
                reader: Arc::clone(reader),
                _journal: None,
            },
            None => self.closed(epoch, &dir)?,
        };
        Ok(EpochLog {
            partition: self.options.partition,
            epoch,
            archive: ArchiveReader::open(&archive_dir)?,
            archive_dir,
            journal,
            dir,
        })
    }

    /// The journal of an epoch that nobody has open.
    fn closed(&self, epoch: Epoch, dir: &Path) -> Result<Piece, RestoreError> {
        // One that is not kept any more is not begun again.
        let backend = if dir.is_dir() {
            log_backend(dir, self.options.backend).map_err(RestoreError::Log)?
        } else {
            Backend::File
        };
        let Backend::Sled = backend else {
            return Ok(Piece::Files);
        };
        let place = JournalPlace {
            dir,
            partition: self.options.partition,
            epoch,
            start: Anchor::GENESIS,
            proven: RecordNumber::ZERO,
        };
        let options = RecoverOptions {
            backend,
            ..self.options
        };
        let mut journal = options.journal()(place)?;
        journal.acquire(options.partition)?;
        Ok(Piece::Open {
            reader: journal.reader(),
            _journal: Some(journal),
        })
    }
}

/// The log behind a snapshot, through as many epochs as it takes, and what the current shop has beside it.
pub struct LogBehind {
    /// One dense run of records.
    way: Vec<(Span, EpochLog)>,
    /// Of the last epoch on the way, the records up to this one are in the current shop's history.
    shared: u64,
    /// What the current shop has of other epochs.
    since: Vec<(Span, EpochLog)>,
    /// An epoch of that history of which it is not known where it began.
    unknown: Option<u64>,
    /// The current epoch of the directory it is in.
    newest: u64,
}

/// Looks at the next records: a group, and the last number in it that counts.
type Each<'a> = &'a mut dyn FnMut(&Group, u64) -> Result<ControlFlow<()>, RestoreError>;

impl LogBehind {
    /// The current epoch of the directory it is in: a new one is above it.
    pub(super) fn newest_epoch(&self) -> u64 {
        self.newest
    }

    /// The last record behind the snapshot that is in the current shop's history: what comes after was given up before.
    pub(super) fn shared(&self) -> u64 {
        self.shared
    }

    /// The epoch that a record on the way is of.
    pub(super) fn epoch_of(&self, number: u64) -> Option<u64> {
        let span = self.way.iter().find(|(span, _)| number <= span.upto);
        span.map(|(span, _)| span.epoch)
    }

    /// Groups from the one with record `from` on, until `each` has enough.
    fn walk(&self, from: RecordNumber, each: Each<'_>) -> Result<(), RestoreError> {
        let mut next = from;
        for (span, log) in &self.way {
            if log.walk_span(&mut next, span.upto, each)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Shows the records that the current shop has of other epochs, oldest first, and says why some of them cannot be shown.
    pub(super) fn since(&self, each: &mut dyn FnMut(Record) -> Result<(), RestoreError>) -> Option<String> {
        let unknown = self
            .unknown
            .map(|epoch| format!("it is not written down where epoch {epoch} began"));
        let mut missing = unknown.into_iter().collect::<Vec<_>>();
        for (span, log) in &self.since {
            let mut next = RecordNumber(span.after).next();
            let mut shown = |group: &Group, upto: u64| {
                for record in group.records_from(RecordNumber(span.after).next()) {
                    if record.number.0 <= upto {
                        each(record)?;
                    }
                }
                Ok(ControlFlow::Continue(()))
            };
            let mut walked = log.walk_span(&mut next, span.upto, &mut shown);
            if let Err(RestoreError::Gap { from, to, .. }) = walked
                && from == span.after + 1
            {
                // What there is tells of some sales at least.
                missing.extend(walked.err().map(|error| error.to_string()));
                next = RecordNumber(to).next();
                walked = log.walk_span(&mut next, span.upto, &mut shown);
            }
            missing.extend(walked.err().map(|error| error.to_string()));
        }
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// The log of an epoch: what was archived of it, and what the journal still has.
struct EpochLog {
    partition: PartitionId,
    epoch: Epoch,
    archive: ArchiveReader,
    archive_dir: PathBuf,
    journal: Piece,
    /// Where the journal lies, for messages.
    dir: PathBuf,
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

impl EpochLog {
    /// Shows the groups with the records from `next` to `upto`, none of which is missing, and takes `next` along.
    fn walk_span(
        &self,
        next: &mut RecordNumber,
        upto: u64,
        each: Each<'_>,
    ) -> Result<ControlFlow<()>, RestoreError> {
        if next.0 > upto {
            return Ok(ControlFlow::Continue(()));
        }
        let mut more = ControlFlow::Continue(());
        self.walk(*next, &mut |group| {
            more = each(group, upto)?;
            *next = group.last().next();
            let done = more.is_break() || group.last().0 >= upto;
            Ok(if done {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        if more.is_continue() && upto < u64::MAX {
            if next.0 <= upto {
                return Err(gap(*next, RecordNumber(upto).next(), &self.dir));
            }
            *next = RecordNumber(upto).next();
        }
        Ok(more)
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
        let mut each = |group: &Group, upto: u64| {
            if let Some(same) = &last {
                is_same(same, group)?;
            }
            for record in group.records_from(next) {
                if record.number.0 <= upto && visitor.record(record)?.is_break() {
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
