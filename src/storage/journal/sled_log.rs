//! The journal in sled, by the recipe of [`crate::storage::engine`]: a group in values of at most 4 KiB, in order, then
//! flush, then a sync of the device.
//!
//! sled's files, and the time it needs to open them, grow with what was written since they were opened. So the log lies in a
//! row of databases, each for a bounded number of bytes:
//!
//! ```text
//!  00000007.sled/   groups 1_200_001..   sealed
//!  00000008.sled/   groups 1_730_400..   live: appends go here
//!  00000009.sled/   empty: made ahead by a thread of its own, so that no append waits for it
//! ```
//!
//! Trimming removes whole directories, oldest first. Keys in the live database are not removed one by one: their removal would
//! be written and flushed in the way of answers, and its files would not get smaller before the next opening.
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::clock::Stopwatch;

use super::disk::{Disk, RealDisk};
use super::format::LogHead;
use super::owner::{DurableEnd, TailKeeper};
use super::sled_database::{self, Database};
use super::sled_raw::{self, LastHeads};
use super::survey::{EachGroup, Fill};
use super::{
    Anchor, AppendError, Epoch, Group, Journal, LogReader, LogTrimmer, OpenError, PartitionId, Position,
    ReadError, Record, RecordNumber, Tail, TornTail,
};
use crate::storage::engine::{Engine, EngineOptions, sync_dir};

const SUFFIX: &str = ".sled";
const TRIMMED_SUFFIX: &str = ".trimmed";

/// What a sled journal is told when it is opened.
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// The partition it holds.
    pub partition: PartitionId,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// How many bytes of groups go into one database.
    pub database_bytes: u64,
    /// sled's page cache for one database; the memory used is a multiple of it.
    pub cache_bytes: u64,
    /// What stands before the first record of a log that is created now; a restore continues the numbers of its snapshot.
    pub start: Anchor,
    /// Records up to here are known to have been durable, by whoever stored what they say: they are never taken for torn.
    pub proven: RecordNumber,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            partition: PartitionId(0),
            epoch: Epoch(1),
            database_bytes: 128 * 1024 * 1024,
            cache_bytes: 16 * 1024 * 1024,
            start: Anchor::GENESIS,
            proven: RecordNumber::ZERO,
        }
    }
}

impl SledOptions {
    fn engine(&self) -> EngineOptions {
        EngineOptions {
            cache_bytes: self.cache_bytes,
            mode: sled::Mode::HighThroughput,
        }
    }

    fn head(&self, anchor: Anchor) -> LogHead {
        LogHead {
            partition: self.partition,
            epoch: self.epoch,
            anchor,
        }
    }
}

/// The owner's side of a log in sled.
pub struct SledJournal {
    log: Arc<SledLog>,
    options: SledOptions,
    live: Arc<Database>,
    live_ordinal: u64,
    live_bytes: u64,
    ahead: Ahead,
    keeper: TailKeeper,
    last_sync: Duration,
}

/// The next database, made before it is needed.
enum Ahead {
    Unneeded,
    Preparing(JoinHandle<Result<Engine, OpenError>>),
    Ready(Engine),
}

/// What owner, readers and trimmer share.
struct SledLog {
    dir: PathBuf,
    databases: RwLock<VecDeque<Arc<Database>>>,
    /// No longer part of the log, oldest first; removed as soon as no reader is in them.
    leaving: Mutex<VecDeque<Arc<Database>>>,
    end: Arc<DurableEnd>,
}

pub(super) fn path_of(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(format!("{ordinal:08}{SUFFIX}"))
}

pub(super) fn ordinal_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() >= 8)?;
    digits.parse().ok()
}

/// The databases of a log as they were found, oldest first.
struct Found {
    databases: VecDeque<Arc<Database>>,
    live_ordinal: u64,
    live_bytes: u64,
    tail: Anchor,
    unused: Option<Engine>,
    torn: Option<TornTail>,
}

impl SledJournal {
    /// Opens the log in `dir`, or creates it. Every group is read and verified; a group at the end that is not whole is cut.
    ///
    /// # Errors
    /// [`OpenError::Damage`] before good records, or what the disk or sled refused.
    pub fn open(dir: &Path, options: SledOptions) -> Result<Self, OpenError> {
        RealDisk
            .create_dir(dir)
            .map_err(|error| OpenError::disk(format!("cannot create {}", dir.display()), error))?;
        finish_trimming(dir).map_err(|error| OpenError::disk("cannot remove a trimmed database", error))?;
        let mut found = find(dir, &options, &mut |_, _| {})?;
        if let Some(torn) = &found.torn {
            let live = found.databases.back().expect("a torn tail lies in a database");
            torn.check_unproven(options.proven)?;
            live.remove(torn.record)
                .map_err(|error| OpenError::disk(format!("cannot cut {}", torn.file.display()), error))?;
        }
        if found.databases.is_empty() {
            begin(dir, &options, &mut found)?;
        }
        let live = Arc::clone(found.databases.back().expect("a log has at least one database"));
        let log = SledLog {
            dir: dir.to_owned(),
            databases: RwLock::new(found.databases),
            leaving: Mutex::default(),
            end: Arc::new(DurableEnd::new(options.partition, found.tail.last)),
        };
        Ok(Self {
            keeper: TailKeeper::new(Arc::clone(&log.end), options.epoch, found.tail, found.torn),
            log: Arc::new(log),
            live,
            live_ordinal: found.live_ordinal,
            live_bytes: found.live_bytes,
            ahead: found.unused.map_or(Ahead::Unneeded, Ahead::Ready),
            options,
            last_sync: Duration::ZERO,
        })
    }

    fn write(&mut self, group: &Group) -> Result<(), super::BoxedError> {
        let bytes = group.bytes().len() as u64;
        if self.live_bytes > 0 && self.live_bytes + bytes > self.options.database_bytes {
            self.roll()?;
        }
        self.live.write(group)?;
        let begin = Stopwatch::start();
        self.live.sync()?;
        self.last_sync = begin.elapsed();
        self.live_bytes += bytes;
        if matches!(self.ahead, Ahead::Unneeded) && self.live_bytes > self.options.database_bytes / 2 {
            self.prepare()?;
        }
        Ok(())
    }

    fn prepare(&mut self) -> io::Result<()> {
        let path = path_of(&self.log.dir, self.live_ordinal + 1);
        let (options, next) = (self.options.engine(), self.keeper.tail().last.next());
        let make = move || sled_database::open(&path, options, next).map(|(engine, _)| engine);
        self.ahead = Ahead::Preparing(thread::Builder::new().name("journal-ahead".into()).spawn(make)?);
        Ok(())
    }

    /// Goes on in the next database; the one before is complete and synced.
    fn roll(&mut self) -> Result<(), super::BoxedError> {
        if matches!(self.ahead, Ahead::Unneeded) {
            self.prepare()?;
        }
        let engine = match std::mem::replace(&mut self.ahead, Ahead::Unneeded) {
            Ahead::Ready(engine) => engine,
            Ahead::Preparing(thread) => thread
                .join()
                .map_err(|_| "the thread that makes databases panicked")??,
            Ahead::Unneeded => unreachable!("it was prepared just above"),
        };
        self.live_ordinal += 1;
        self.live_bytes = 0;
        self.live = Arc::new(Database::new(engine, self.options.head(self.keeper.tail())));
        self.log.databases.write().push_back(Arc::clone(&self.live));
        Ok(())
    }
}

impl Drop for SledJournal {
    /// Whoever opens the log next must not meet our thread at work.
    fn drop(&mut self) {
        let engine = match std::mem::replace(&mut self.ahead, Ahead::Unneeded) {
            Ahead::Unneeded => None,
            Ahead::Ready(engine) => Some(engine),
            Ahead::Preparing(thread) => thread.join().ok().and_then(Result::ok),
        };
        if let Some(engine) = engine {
            // It is empty: nothing can be lost.
            let _ = engine.close();
        }
    }
}

impl Journal for SledJournal {
    fn acquire(&mut self, partition: PartitionId) -> Result<Tail, AppendError> {
        self.keeper.acquire(partition)
    }

    fn append(
        &mut self,
        partition: PartitionId,
        expected: RecordNumber,
        group: &Group,
    ) -> Result<Position, AppendError> {
        self.keeper.guard(partition, expected, group)?;
        let written = self.write(group);
        self.keeper.wrote(group, written, self.live.path())
    }

    fn last_sync(&self) -> Duration {
        self.last_sync
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.log) as Arc<dyn LogReader>
    }

    fn trimmer(&self) -> Arc<dyn LogTrimmer> {
        Arc::clone(&self.log) as Arc<dyn LogTrimmer>
    }
}

impl SledLog {
    /// The database that holds `from`; `None` if that record is not durable yet.
    fn holding(
        &self,
        partition: PartitionId,
        from: RecordNumber,
    ) -> Result<Option<Arc<Database>>, ReadError> {
        let databases = self.databases.read();
        let first = databases
            .front()
            .expect("a log has at least one database")
            .first();
        if from < first {
            return Err(ReadError::Trimmed { first });
        }
        if !self.end.has(partition, from) {
            return Ok(None);
        }
        let behind = databases.partition_point(|database| database.first() <= from);
        Ok(Some(Arc::clone(&databases[behind - 1])))
    }

    /// Removes what left the log, oldest first, up to the first that a reader is still in.
    fn remove_leaving(&self) -> Result<(), super::BoxedError> {
        let mut leaving = self.leaving.lock();
        while let Some(database) = leaving.pop_front() {
            let database = match Arc::try_unwrap(database) {
                Ok(database) => database,
                Err(in_use) => {
                    leaving.push_front(in_use);
                    return Ok(());
                }
            };
            let path = database.close()?;
            // Half a directory would look like damage, so it gets another name first.
            let doomed = path.with_extension(&TRIMMED_SUFFIX[1..]);
            fs::rename(&path, &doomed)?;
            sync_dir(&self.dir)?;
            fs::remove_dir_all(&doomed)?;
        }
        Ok(())
    }
}

impl LogReader for SledLog {
    fn read(
        &self,
        partition: PartitionId,
        from: RecordNumber,
        max_bytes: usize,
    ) -> Result<Vec<Group>, ReadError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut bytes = 0;
        let mut next = from.max(RecordNumber(1));
        while let Some(database) = self.holding(partition, next)? {
            let first = if groups.is_empty() {
                database.group_of(next)?
            } else {
                next
            };
            let group = database.group(first)?;
            bytes += group.bytes().len();
            if bytes > max_bytes && !groups.is_empty() {
                break;
            }
            next = group.last().next();
            groups.push(group);
        }
        Ok(groups)
    }

    fn record(&self, partition: PartitionId, number: RecordNumber) -> Result<Option<Record>, ReadError> {
        self.holding(partition, number)?
            .map_or(Ok(None), |database| database.record(number))
    }

    fn first(&self) -> RecordNumber {
        self.databases
            .read()
            .front()
            .expect("a log has at least one database")
            .first()
    }

    fn last(&self) -> RecordNumber {
        self.end.last()
    }

    fn size_bytes(&self) -> u64 {
        let databases: Vec<_> = self.databases.read().iter().cloned().collect();
        databases.iter().map(|database| database.size_bytes()).sum()
    }
}

impl LogTrimmer for SledLog {
    fn trim(&self, partition: PartitionId, upto: RecordNumber) -> Result<RecordNumber, AppendError> {
        self.end.check_partition(partition)?;
        {
            let mut databases = self.databases.write();
            // A database may go when the next one begins at or below what must stay, and holds a group: the last group stays.
            while databases.len() > 1
                && databases[1].first() <= upto.next()
                && databases[1].first() <= self.last()
            {
                self.leaving.lock().extend(databases.pop_front());
            }
        }
        self.remove_leaving().map_err(|error| {
            AppendError::fatal(format!("cannot trim the log in {}", self.dir.display()), error)
        })?;
        Ok(self.first())
    }
}

/// Removes the directories whose removal was interrupted.
fn finish_trimming(dir: &Path) -> io::Result<()> {
    for name in RealDisk.list(dir)? {
        if name.ends_with(TRIMMED_SUFFIX) {
            fs::remove_dir_all(dir.join(name))?;
        }
    }
    Ok(())
}

/// Opens and verifies the databases in order, showing each group, and closes them again: where the log ends, and its
/// torn tail, which stays.
pub(super) fn scan_dir(
    dir: &Path,
    options: &SledOptions,
    each: &mut EachGroup<'_>,
) -> Result<(Anchor, Option<TornTail>), OpenError> {
    let found = find(dir, options, each)?;
    found.unused.map_or(Ok(()), closed)?;
    Ok((found.tail, found.torn))
}

/// Shows every group of a database that reads well, whatever it follows. One that was found damaged is opened all the same.
pub(super) fn scattered(
    path: &Path,
    options: &SledOptions,
    each: &mut dyn FnMut(&Group),
) -> Result<(), OpenError> {
    let (engine, head) = match sled_database::open(path, options.engine(), RecordNumber(1)) {
        // Nothing in it can be read.
        Err(OpenError::Damage(_)) => return Ok(()),
        opened => opened?,
    };
    let Some(head) = head else { return closed(engine) };
    let database = Database::new(engine, head);
    let firsts = database
        .firsts()
        .map_err(|error| OpenError::disk(format!("cannot read {}", path.display()), error))?;
    for first in firsts {
        if let Ok(group) = database.group(first) {
            each(&group);
        }
    }
    Ok(())
}

/// Makes a database in `path` that begins behind `before` and holds what `fill` gives it, durably.
pub(super) fn write_unit(
    path: &Path,
    options: &SledOptions,
    before: Anchor,
    fill: &mut Fill<'_>,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::disk(format!("cannot write the database {}", path.display()), error);
    let (engine, _) = sled_database::open(path, options.engine(), before.last.next())?;
    let database = Database::new(engine, options.head(before));
    database.write_anchor().map_err(failed)?;
    fill(&mut |group| database.write(group).map_err(failed))?;
    database.sync().map_err(failed)?;
    database.close().map_err(failed)?;
    Ok(())
}

fn closed(engine: Engine) -> Result<(), OpenError> {
    engine
        .close()
        .map_err(|error| OpenError::disk("cannot close a database", error))
}

/// Opens and verifies the databases in order.
fn find(dir: &Path, options: &SledOptions, each: &mut EachGroup<'_>) -> Result<Found, OpenError> {
    let names = RealDisk
        .list(dir)
        .map_err(|error| OpenError::disk(format!("cannot list {}", dir.display()), error))?;
    let mut found = Found {
        databases: VecDeque::new(),
        live_ordinal: 0,
        live_bytes: 0,
        tail: options.start,
        unused: None,
        torn: None,
    };
    for ordinal in names.iter().filter_map(|name| ordinal_of(name)) {
        let path = path_of(dir, ordinal);
        sled_raw::refuse_marked(&path)?;
        let heads = LastHeads::before_opening(&path, options.partition, options.epoch)?;
        let (engine, head) = sled_database::open(&path, options.engine(), found.tail.last.next())?;
        let Some(head) = head else {
            // With its anchor it lost the first group it was given, if there was one.
            heads.hold_to(&path, found.tail.last)?;
            found.unused = Some(engine);
            continue;
        };
        let owner = (head.partition, head.epoch);
        OpenError::check_owner(&path, owner, (options.partition, options.epoch))?;
        take(&mut found, Database::new(engine, head), each)?;
        let lost = heads.hold_to(&path, found.tail.last)?;
        found.torn = found.torn.take().or(lost);
        found.live_ordinal = ordinal;
    }
    Ok(found)
}

/// Adds the next database to what was found, if it goes on where the one before ends.
fn take(found: &mut Found, database: Database, each: &mut EachGroup<'_>) -> Result<(), OpenError> {
    let next = found.tail.last.next();
    let goes_on = found.tail == database.head.anchor && found.torn.is_none() && found.unused.is_none();
    if let Some(before) = found.databases.back().filter(|_| !goes_on) {
        let reason = format!(
            "the log goes on with record {} in the next database",
            database.first()
        );
        return Err(before.damage(next, &reason).into());
    }
    let walked = database.walk(each)?;
    found.tail = walked.tail;
    found.live_bytes = walked.bytes;
    found.torn = walked.torn.map(|(bytes, reason)| {
        let record = found.tail.last.next();
        TornTail {
            file: database.path().to_owned(),
            offset: 0,
            bytes,
            record,
            reason,
        }
    });
    found.databases.push_back(Arc::new(database));
    Ok(())
}

/// Begins a log that holds nothing yet.
fn begin(dir: &Path, options: &SledOptions, found: &mut Found) -> Result<(), OpenError> {
    const FIRST_ORDINAL: u64 = 1;
    let engine = match found.unused.take() {
        Some(engine) => engine,
        None => {
            sled_database::open(
                &path_of(dir, FIRST_ORDINAL),
                options.engine(),
                options.start.last.next(),
            )?
            .0
        }
    };
    let database = Database::new(engine, options.head(options.start));
    database
        .write_anchor()
        .map_err(|error| OpenError::disk(format!("cannot create a log in {}", dir.display()), error))?;
    found.live_ordinal = FIRST_ORDINAL;
    found.databases.push_back(Arc::new(database));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::journal::format::{GroupBuilder, GroupHead};

    /// A log of groups of one record each, behind the beginning.
    fn fill(dir: &Path, options: &SledOptions, groups: u64) {
        let mut journal = SledJournal::open(dir, options.clone()).unwrap();
        let mut tail = options.start;
        for _ in 0..groups {
            let mut group = GroupBuilder::new(options.partition, options.epoch, &tail, 0);
            group.push(b"a record of the house");
            let group = group.finish(1).unwrap();
            journal.append(options.partition, tail.last, &group).unwrap();
            tail = Anchor::after(&group);
        }
    }

    /// Spoils the fourth group in a database's file, and with it all that sled can read.
    fn spoil(database: &Path) {
        let db = database.join("db");
        let mut bytes = fs::read(&db).unwrap();
        let begins = |at: &usize| GroupHead::decode(&bytes[*at..]).is_ok();
        let fourth = (0..bytes.len()).filter(begins).nth(3).unwrap();
        bytes[fourth + 100] ^= 0x20;
        fs::write(&db, bytes).unwrap();
    }

    #[test]
    fn a_kill_while_sled_opens_leaves_the_evidence_of_damage_to_the_next_start() {
        let home = tempfile::tempdir().unwrap();
        let options = SledOptions::default();
        fill(home.path(), &options, 20);
        let path = path_of(home.path(), 1);
        spoil(&path);
        // Two starts that are killed behind sled's opening: sled has forgotten what it could not read.
        for _ in 0..2 {
            LastHeads::before_opening(&path, options.partition, options.epoch).unwrap();
            Engine::open(&path, options.engine()).unwrap().close().unwrap();
        }
        for start in 0..2 {
            let Err(OpenError::Damage(damage)) = SledJournal::open(home.path(), options.clone()) else {
                panic!("start {start}: it opened")
            };
            assert_eq!(damage.file, path);
            assert!(damage.reason.contains("record 20 lies behind it"), "{damage}");
        }
    }

    #[test]
    fn an_opening_that_comes_to_its_end_leaves_nothing_beside_the_database() {
        let home = tempfile::tempdir().unwrap();
        let options = SledOptions::default();
        fill(home.path(), &options, 3);
        drop(SledJournal::open(home.path(), options).unwrap());
        assert_eq!(RealDisk.list(home.path()).unwrap(), ["00000001.sled"]);
    }
}
