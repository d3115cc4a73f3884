//! The journal in plain append-only segment files: the honest floor for measurements and the escape hatch.
//!
//! A group is one write and one sync. Segments are filled with zeros before they are used, the next one ahead of need by a
//! thread of its own, so that neither a length nor an extent changes while buyers wait. See [`super::segment`] for the layout
//! and for what happens to a file that does not end well.
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::RwLock;

use crate::clock::Stopwatch;

use super::disk::{Disk, DiskFile};
use super::format::{self, LogHead};
use super::owner::{DurableEnd, TailKeeper};
use super::segment::{self, GROUPS_AT, Index, ScanPlan, Segment};
use super::survey::{EachGroup, GroupPlace};
use super::{
    Anchor, AppendError, BoxedError, Damage, Epoch, Group, Journal, LogReader, LogTrimmer, OpenError,
    PartitionId, Position, ReadError, Record, RecordNumber, Tail, TornTail,
};

const PREPARED: &str = "next.prepared";
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// What a file journal is told when it is opened.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The partition it holds.
    pub partition: PartitionId,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// The size of a segment in bytes, filled ahead of use; a group that is larger has a segment of its own.
    pub segment_bytes: u64,
    /// Whether a thread fills the next segment when the current one is half full. Without it the append that begins a segment
    /// fills it first, which is what a simulation wants: one order of operations.
    pub prepare_ahead: bool,
    /// What stands before the first record of a log that is created now; a restore continues the numbers of its snapshot.
    pub start: Anchor,
    /// Records up to here are known to have been durable, by whoever stored what they say: they are never taken for torn.
    pub proven: RecordNumber,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            partition: PartitionId(0),
            epoch: Epoch(1),
            segment_bytes: 64 * 1024 * 1024,
            prepare_ahead: true,
            start: Anchor::GENESIS,
            proven: RecordNumber::ZERO,
        }
    }
}

/// The owner's side of a log in segment files.
pub struct FileJournal {
    log: Arc<FileLog>,
    options: FileOptions,
    live: Arc<Segment>,
    keeper: TailKeeper,
    preparing: Option<JoinHandle<io::Result<()>>>,
    last_sync: Duration,
}

/// What owner, readers and trimmer share.
struct FileLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    segments: RwLock<VecDeque<Arc<Segment>>>,
    end: Arc<DurableEnd>,
}

impl FileJournal {
    /// Opens the log in `dir`, or creates it. Every group is read and verified; a torn tail is cut and synced.
    ///
    /// # Errors
    /// [`OpenError::Damage`] before good records (nothing was modified), or what the disk refused.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: FileOptions) -> Result<Self, OpenError> {
        disk.create_dir(dir)
            .map_err(|error| OpenError::disk(format!("cannot create {}", dir.display()), error))?;
        let mut found = scan_dir(&*disk, dir, options.partition, options.epoch, &mut |_, _| {})?;
        if let Some(torn) = &found.torn {
            torn.check_unproven(options.proven)?;
            let segment = found.segments.back().expect("a torn tail lies in a segment");
            cut(&*segment.file, torn)
                .map_err(|error| OpenError::disk(format!("cannot cut {}", torn.file.display()), error))?;
        }
        if found.segments.is_empty() {
            found.tail = options.start;
        }
        let log = FileLog {
            disk,
            dir: dir.to_owned(),
            segment_bytes: options.segment_bytes.max(GROUPS_AT),
            segments: RwLock::default(),
            end: Arc::new(DurableEnd::new(options.partition, found.tail.last)),
        };
        log.remove_prepared()
            .map_err(|error| OpenError::disk("cannot remove an unused segment", error))?;
        if found.segments.is_empty() {
            let created = log
                .prepare()
                .and_then(|()| log.begin_segment(options.partition, options.epoch, options.start));
            let segment = created.map_err(|error| {
                OpenError::disk(format!("cannot create a log in {}", dir.display()), error)
            })?;
            found.segments.push_back(segment);
        }
        let live = Arc::clone(found.segments.back().expect("a log has at least one segment"));
        log.make_durable(&live)
            .map_err(|error| OpenError::disk(format!("cannot sync {}", live.path.display()), error))?;
        *log.segments.write() = found.segments;
        Ok(Self {
            keeper: TailKeeper::new(Arc::clone(&log.end), options.epoch, found.tail, found.torn),
            log: Arc::new(log),
            options,
            live,
            preparing: None,
            last_sync: Duration::ZERO,
        })
    }

    fn write(&mut self, group: &Group) -> Result<(), BoxedError> {
        if !self.live.index.read().is_empty() && self.end_with(group) > self.log.segment_bytes {
            self.roll()?;
        }
        let offset = self.live.index.read().end;
        self.live.file.write_at(offset, group.bytes())?;
        let begin = Stopwatch::start();
        self.live.file.sync_data()?;
        self.last_sync = begin.elapsed();
        self.live.index.write().push(group);
        if self.options.prepare_ahead
            && self.preparing.is_none()
            && self.end_with(group) > self.log.segment_bytes / 2
        {
            let log = Arc::clone(&self.log);
            self.preparing = Some(
                thread::Builder::new()
                    .name("journal-ahead".into())
                    .spawn(move || log.prepare())?,
            );
        }
        Ok(())
    }

    fn end_with(&self, group: &Group) -> u64 {
        self.live.index.read().end + group.bytes().len() as u64
    }

    /// Goes on in a new segment; the one before is complete and synced.
    fn roll(&mut self) -> io::Result<()> {
        match self.preparing.take() {
            Some(thread) => thread
                .join()
                .map_err(|_| io::Error::other("the thread that fills segments panicked"))??,
            None => self.log.prepare()?,
        }
        let FileOptions { partition, epoch, .. } = self.options;
        self.live = self.log.begin_segment(partition, epoch, self.keeper.tail())?;
        self.log.segments.write().push_back(Arc::clone(&self.live));
        Ok(())
    }
}

impl Drop for FileJournal {
    /// Whoever opens the log next must not meet our thread at work.
    fn drop(&mut self) {
        if let Some(thread) = self.preparing.take() {
            // Its result is without meaning now: an unused segment is removed at the next opening.
            let _ = thread.join();
        }
    }
}

impl Journal for FileJournal {
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
        self.keeper.wrote(group, written, &self.live.path)
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

impl FileLog {
    /// What was found is believed from now on, so it has to be on the device: whoever ended before its sync, or because of it,
    /// left it in the system's memory only. It is written again, because a sync that failed once is said to succeed the next
    /// time, whatever became of the bytes. Only the last group and the name of its file can be so.
    fn make_durable(&self, live: &Segment) -> io::Result<()> {
        let (offset, length) = live.index.read().last();
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match live.file.read_at(offset + filled as u64, &mut bytes[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        live.file.write_at(offset, &bytes)?;
        live.file.sync_data()?;
        self.disk.sync_dir(&self.dir)
    }

    fn remove_prepared(&self) -> io::Result<()> {
        match self.disk.remove(&self.dir.join(PREPARED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a file of zeros that becomes the next segment. Its name is durable before it is ever renamed: otherwise a power
    /// failure could give the new name to an older file of the same name, left by a start that was interrupted.
    fn prepare(&self) -> io::Result<()> {
        let file = self.disk.create(&self.dir.join(PREPARED))?;
        let mut offset = 0;
        while offset < self.segment_bytes {
            let length = (self.segment_bytes - offset).min(ZEROS.len() as u64);
            file.write_at(
                offset,
                &ZEROS[..usize::try_from(length).expect("it is at most the length of a slice")],
            )?;
            offset += length;
        }
        file.sync_data()?;
        self.disk.sync_dir(&self.dir)
    }

    /// Turns the prepared file into the segment behind `anchor`; nothing may be appended before its name is durable.
    fn begin_segment(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        anchor: Anchor,
    ) -> io::Result<Arc<Segment>> {
        let prepared = self.dir.join(PREPARED);
        let first = anchor.last.next();
        let path = self.dir.join(segment::name(first));
        let file = self.disk.open(&prepared)?;
        file.write_at(
            0,
            &LogHead {
                partition,
                epoch,
                anchor,
            }
            .encode(),
        )?;
        file.sync_data()?;
        self.disk.rename(&prepared, &path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Arc::new(Segment {
            path,
            file,
            first,
            index: RwLock::new(Index::new()),
        }))
    }

    /// The segment that holds `from`; `None` if that record is not durable yet.
    fn holding(&self, partition: PartitionId, from: RecordNumber) -> Result<Option<Arc<Segment>>, ReadError> {
        let segments = self.segments.read();
        let first = segments.front().expect("a log has at least one segment").first;
        if from < first {
            return Err(ReadError::Trimmed { first });
        }
        if !self.end.has(partition, from) {
            return Ok(None);
        }
        let behind = segments.partition_point(|segment| segment.first <= from);
        Ok(Some(Arc::clone(&segments[behind - 1])))
    }
}

impl LogReader for FileLog {
    fn read(
        &self,
        partition: PartitionId,
        from: RecordNumber,
        max_bytes: usize,
    ) -> Result<Vec<Group>, ReadError> {
        let mut groups: Vec<Group> = Vec::new();
        let (mut from, mut budget) = (from.max(RecordNumber(1)), max_bytes);
        while let Some(segment) = self.holding(partition, from)? {
            let more = segment.read(from, budget)?;
            let Some(last) = more.last() else { break };
            from = last.last().next();
            let bytes: usize = more.iter().map(|group| group.bytes().len()).sum();
            groups.extend(more);
            if bytes >= budget {
                break;
            }
            budget -= bytes;
            // Another segment only while at least half of what was asked for is still missing.
            if budget < max_bytes / 2 {
                break;
            }
        }
        Ok(groups)
    }

    fn record(&self, partition: PartitionId, number: RecordNumber) -> Result<Option<Record>, ReadError> {
        self.holding(partition, number)?
            .map_or(Ok(None), |segment| segment.record(number))
    }

    fn first(&self) -> RecordNumber {
        self.segments
            .read()
            .front()
            .expect("a log has at least one segment")
            .first
    }

    fn last(&self) -> RecordNumber {
        self.end.last()
    }

    fn size_bytes(&self) -> u64 {
        let segments = self.segments.read();
        segments
            .iter()
            .map(|segment| segment.index.read().end.max(self.segment_bytes))
            .sum()
    }
}

impl LogTrimmer for FileLog {
    fn trim(&self, partition: PartitionId, upto: RecordNumber) -> Result<RecordNumber, AppendError> {
        self.end.check_partition(partition)?;
        let mut removed = Vec::new();
        {
            let mut segments = self.segments.write();
            // A segment may go when the next one begins at or below what must stay, and holds a group: the last group stays.
            while segments.len() > 1
                && segments[1].first <= upto.next()
                && !segments[1].index.read().is_empty()
            {
                removed.extend(segments.pop_front());
            }
        }
        for segment in &removed {
            let done = self
                .disk
                .remove(&segment.path)
                .and_then(|()| self.disk.sync_dir(&self.dir));
            done.map_err(|error| {
                AppendError::fatal(format!("cannot remove {}", segment.path.display()), error)
            })?;
        }
        Ok(self.first())
    }
}

/// All segments of a log as they lie on the disk.
pub(super) struct Found {
    segments: VecDeque<Arc<Segment>>,
    pub(super) tail: Anchor,
    pub(super) torn: Option<TornTail>,
}

/// Reads and verifies every group of a log; modifies nothing.
pub(super) fn scan_dir(
    disk: &dyn Disk,
    dir: &Path,
    partition: PartitionId,
    epoch: Epoch,
    each: &mut EachGroup<'_>,
) -> Result<Found, OpenError> {
    let names = disk
        .list(dir)
        .map_err(|error| OpenError::disk(format!("cannot list {}", dir.display()), error))?;
    let firsts: Vec<RecordNumber> = names.iter().filter_map(|name| segment::first_of(name)).collect();
    let mut found = Found {
        segments: VecDeque::new(),
        tail: Anchor::GENESIS,
        torn: None,
    };
    for (index, first) in firsts.iter().enumerate() {
        let path = dir.join(segment::name(*first));
        let plan = ScanPlan {
            path: &path,
            partition,
            epoch,
            is_last: index + 1 == firsts.len(),
        };
        let file = disk
            .open(&path)
            .map_err(|error| OpenError::disk(format!("cannot open {}", path.display()), error))?;
        let head = plan.head(&*file)?;
        if let Some(before) = found.segments.back() {
            check_adjacent(before, &found.tail, &head.anchor)?;
        }
        let scan = plan.scan(&*file, head.anchor, |offset, group| {
            let place = GroupPlace {
                file: &path,
                offset,
                before: head.anchor,
            };
            each(place, group);
        })?;
        found.tail = scan.tail;
        found.torn = scan.torn;
        found.segments.push_back(Arc::new(Segment {
            path,
            file,
            first: *first,
            index: RwLock::new(scan.index),
        }));
    }
    Ok(found)
}

/// The next segment begins where the one before it ends; otherwise groups, or whole files, are missing.
fn check_adjacent(before: &Segment, tail: &Anchor, next: &Anchor) -> Result<(), OpenError> {
    if tail == next {
        return Ok(());
    }
    let reason = if tail.last == next.last {
        "the next segment does not continue the hash chain".to_owned()
    } else {
        format!("the log goes on with record {}", next.last.next())
    };
    let offset = before.index.read().end;
    Err(Damage {
        file: before.path.clone(),
        record: tail.last.next(),
        offset,
        reason,
    }
    .into())
}

/// Overwrites a torn tail with zeros, so that the space stays allocated, and syncs. The header goes last, when nothing lies behind
/// it on the device: should this be interrupted anywhere, what is left is still a torn tail.
fn cut(file: &dyn DiskFile, torn: &TornTail) -> io::Result<()> {
    let head = torn.bytes.min(format::HEAD_BYTES as u64);
    for part in [head..torn.bytes, 0..head] {
        let mut end = part.end;
        while end > part.start {
            let length = (end - part.start).min(ZEROS.len() as u64);
            end -= length;
            let zeros = &ZEROS[..usize::try_from(length).expect("it is at most the length of a slice")];
            file.write_at(torn.offset + end, zeros)?;
        }
        file.sync_data()?;
    }
    Ok(())
}
