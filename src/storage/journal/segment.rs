//! One segment file of the log, and the judgement over its end: finished, torn, or damaged.
//!
//! ```text
//!  <number of its first record, 20 digits>.log
//!   0     anchor (what stands before; see the format)   a block of its own, so that no append rewrites it
//!   4096  groups, one after the other
//!    …    zeros, written ahead of need, so that a sync need not update the file's length
//! ```
//!
//! Whoever writes has at most one group unsynced, and it is the last. So bytes that are no group, with nothing good after
//! them, may never have been completed: a *torn tail*, which is cut, because nobody was answered from it. They are *damage*,
//! and nothing is touched, if a header of a later group follows (a group is only begun when the one before is on the device),
//! if all their sectors were written (see [`super::torn`]), or if anything lies behind the end of the group they began.
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;

use super::disk::{Disk, DiskFile};
use super::format::{self, FormatError, GROUP_BYTES_MAX, Group, GroupHead, HEAD_BYTES, LogHead};
use super::torn::{self, Before};
use super::{
    Anchor, Damage, Epoch, OpenError, PartitionId, ReadError, Record, RecordNumber, TornTail, check_follows,
};

/// Where the groups of a segment begin.
pub(crate) const GROUPS_AT: u64 = 4_096;
const WINDOW_BYTES: usize = 1024 * 1024;

/// A segment that readers share with the writer.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The number of its first record, whether or not that is written yet.
    pub(crate) first: RecordNumber,
    pub(crate) index: RwLock<Index>,
}

/// Where the durable groups of a segment lie.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// First record and offset of every group, ascending.
    groups: Vec<(RecordNumber, u64)>,
    /// The first byte behind the last group.
    pub(crate) end: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            groups: Vec::new(),
            end: GROUPS_AT,
        }
    }

    pub(crate) fn push(&mut self, group: &Group) {
        self.groups.push((group.first(), self.end));
        self.end += group.bytes().len() as u64;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Where the last group lies and its length; before the first, where the head lies.
    pub(crate) fn last(&self) -> (u64, usize) {
        let offset = self.groups.last().map_or(0, |(_, offset)| *offset);
        let length = self.end - offset;
        (offset, usize::try_from(length).expect("a group fits into memory"))
    }

    /// The bytes of the groups from the one that holds `from`, as many as `max_bytes` allow, at least one.
    fn range(&self, from: RecordNumber, max_bytes: usize) -> Option<(u64, usize)> {
        let begin = self
            .groups
            .partition_point(|(first, _)| *first <= from)
            .checked_sub(1)?;
        let offset = self.groups[begin].1;
        let limit = offset.saturating_add(max_bytes as u64);
        let behind_one = self.groups.get(begin + 1).map_or(self.end, |(_, offset)| *offset);
        let fitting = self.groups.partition_point(|(_, offset)| *offset <= limit);
        let end = match self.groups.get(fitting) {
            None if self.end <= limit => self.end,
            // The last group that begins within the limit may reach beyond it: stop where it begins.
            _ => self.groups[fitting - 1].1,
        };
        let length = end.max(behind_one) - offset;
        Some((
            offset,
            usize::try_from(length).expect("max_bytes and one group fit into memory"),
        ))
    }
}

/// The name of the segment that begins with record `first`.
pub(crate) fn name(first: RecordNumber) -> String {
    format!("{:020}.log", first.0)
}

/// The first record of the segment called `name`; `None` if that is no segment's name.
pub(crate) fn first_of(name: &str) -> Option<RecordNumber> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    digits.parse().ok().map(RecordNumber)
}

impl Segment {
    /// Reads groups from the one that holds `from`, verified; nothing if the segment holds none so far.
    pub(crate) fn read(&self, from: RecordNumber, max_bytes: usize) -> Result<Vec<Group>, ReadError> {
        let Some((offset, length)) = self.index.read().range(from, max_bytes) else {
            return Ok(Vec::new());
        };
        let mut bytes = self.bytes(offset, length)?;
        let mut groups = Vec::new();
        let mut at = offset;
        while !bytes.is_empty() {
            let group = Group::decode(&bytes).map_err(|error| self.damage(from, at, error))?;
            at += group.bytes().len() as u64;
            bytes = bytes.slice(group.bytes().len()..);
            groups.push(group);
        }
        Ok(groups)
    }

    /// Reads one record.
    pub(crate) fn record(&self, number: RecordNumber) -> Result<Option<Record>, ReadError> {
        let Some((offset, length)) = self.index.read().range(number, 0) else {
            return Ok(None);
        };
        let bytes = self.bytes(offset, length)?;
        format::find_record(&bytes, number).map_err(|error| self.damage(number, offset, error).into())
    }

    fn bytes(&self, offset: u64, length: usize) -> Result<Bytes, ReadError> {
        let mut bytes = BytesMut::zeroed(length);
        let read = self
            .file
            .read_at(offset, &mut bytes)
            .map_err(|error| ReadError::disk(format!("cannot read {}", self.path.display()), error))?;
        bytes.truncate(read);
        if read < length {
            let short = FormatError::Short {
                present: read,
                needed: length,
            };
            return Err(self.damage(self.first, offset, short).into());
        }
        Ok(bytes.freeze())
    }

    fn damage(&self, record: RecordNumber, offset: u64, error: FormatError) -> Damage {
        Damage {
            file: self.path.clone(),
            record,
            offset,
            reason: error.to_string(),
        }
    }
}

/// What the scan of a segment found.
pub(crate) struct Scan {
    pub(crate) index: Index,
    /// Behind its last group.
    pub(crate) tail: Anchor,
    /// Bytes that follow and were never part of a whole group; only in the last segment.
    pub(crate) torn: Option<TornTail>,
}

/// Whose groups a scan accepts and which segment it looks at.
#[derive(Clone, Copy)]
pub(crate) struct ScanPlan<'a> {
    pub(crate) path: &'a Path,
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    /// Only the last segment may end with a torn group.
    pub(crate) is_last: bool,
}

impl ScanPlan<'_> {
    /// Reads and checks the anchor of a segment.
    pub(crate) fn head(&self, file: &dyn DiskFile) -> Result<LogHead, OpenError> {
        let mut bytes = [0; format::ANCHOR_BYTES];
        let read = file
            .read_at(0, &mut bytes)
            .map_err(|error| self.disk_error(error))?;
        let named = self
            .path
            .file_name()
            .and_then(|name| first_of(name.to_str()?))
            .unwrap_or_default();
        match LogHead::decode(&bytes[..read]) {
            Ok(head) => {
                let (found, wanted) = ((head.partition, head.epoch), (self.partition, self.epoch));
                OpenError::check_owner(self.path, found, wanted)?;
                if head.anchor.last.next() != named {
                    return Err(self.damage(named, 0, "it begins with another record than its name says"));
                }
                Ok(head)
            }
            Err(error) => Err(self.format_error(named, 0, error)),
        }
    }

    /// Walks all groups of a segment that begins behind `anchor`.
    pub(crate) fn scan(
        &self,
        file: &dyn DiskFile,
        anchor: Anchor,
        mut each: impl FnMut(u64, &Group),
    ) -> Result<Scan, OpenError> {
        let mut window = Window::new(file);
        let mut index = Index::new();
        let mut tail = anchor;
        let error = loop {
            match window.group(index.end).map_err(|error| self.disk_error(error))? {
                Err(error) => break error,
                Ok(group) => {
                    check_follows(self.partition, self.epoch, &tail, &group)
                        .map_err(|wrong| self.damage(tail.last.next(), index.end, wrong))?;
                    each(index.end, &group);
                    index.push(&group);
                    tail = Anchor::after(&group);
                }
            }
        };
        let torn = self.judge_rest(&mut window, index.end, &tail, error)?;
        Ok(Scan { index, tail, torn })
    }

    /// Says what the bytes from `offset` on are: zeros (`None`), a torn tail, or damage.
    fn judge_rest<F: Deref<Target: DiskFile>>(
        &self,
        window: &mut Window<F>,
        offset: u64,
        tail: &Anchor,
        error: FormatError,
    ) -> Result<Option<TornTail>, OpenError> {
        let record = tail.last.next();
        if let FormatError::Version(version) = error {
            return Err(OpenError::TooNew {
                file: self.path.to_owned(),
                version,
            });
        }
        planted!(SilentCut => return Ok(None));
        let rest = window
            .rest(offset, self.partition, tail.last)
            .map_err(|error| self.disk_error(error))?;
        if let Some(later) = rest.later_group {
            let reason = format!("{error}; a later group lies behind it, at offset {later}");
            return Err(self.damage(record, offset, &reason));
        }
        let Some(end) = rest.written_end else {
            return Ok(None);
        };
        if !self.is_last {
            return Err(self.format_error(record, offset, error));
        }
        let reason = error.to_string();
        let bytes = window
            .at(offset, GROUP_BYTES_MAX)
            .map_err(|error| self.disk_error(error))?;
        let group_bytes = GroupHead::decode(&bytes).map_or(GROUP_BYTES_MAX, |head| head.group_bytes());
        if end - offset > group_bytes as u64 {
            let reason = format!("{reason}; bytes lie behind its end, up to offset {end}");
            return Err(self.damage(record, offset, &reason));
        }
        if torn::was_complete(&bytes[..group_bytes.min(bytes.len())], offset, Before::Zeros) {
            let reason = format!("{reason}; it was complete once");
            return Err(self.damage(record, offset, &reason));
        }
        Ok(Some(TornTail {
            file: self.path.to_owned(),
            offset,
            bytes: end - offset,
            record,
            reason,
        }))
    }

    fn format_error(&self, record: RecordNumber, offset: u64, error: FormatError) -> OpenError {
        if let FormatError::Version(version) = error {
            return OpenError::TooNew {
                file: self.path.to_owned(),
                version,
            };
        }
        self.damage(record, offset, &error.to_string())
    }

    pub(crate) fn damage(&self, record: RecordNumber, offset: u64, reason: &str) -> OpenError {
        Damage {
            file: self.path.to_owned(),
            record,
            offset,
            reason: reason.to_owned(),
        }
        .into()
    }

    fn disk_error(&self, error: io::Error) -> OpenError {
        OpenError::disk(format!("cannot read {}", self.path.display()), error)
    }
}

/// What lies behind the last good group.
struct Rest {
    /// Where the header of a later group begins.
    later_group: Option<u64>,
    /// Behind the last byte that is not zero.
    written_end: Option<u64>,
}

/// Reads a file forwards in large steps.
pub(crate) struct Window<F> {
    file: F,
    begin: u64,
    bytes: Bytes,
}

impl<F: Deref<Target: DiskFile>> Window<F> {
    pub(crate) fn new(file: F) -> Self {
        Self {
            file,
            begin: 0,
            bytes: Bytes::new(),
        }
    }

    /// The bytes from `offset` on: at least `length`, fewer only where the file ends.
    pub(crate) fn at(&mut self, offset: u64, length: usize) -> io::Result<Bytes> {
        let end = self.begin + self.bytes.len() as u64;
        if offset < self.begin || offset + length as u64 > end {
            let mut bytes = BytesMut::zeroed(WINDOW_BYTES.max(length));
            let read = self.file.read_at(offset, &mut bytes)?;
            bytes.truncate(read);
            (self.begin, self.bytes) = (offset, bytes.freeze());
        }
        let skip = usize::try_from(offset - self.begin).expect("the offset lies in the window");
        Ok(self.bytes.slice(skip..))
    }

    pub(crate) fn group(&mut self, offset: u64) -> io::Result<Result<Group, FormatError>> {
        let needed = match GroupHead::decode(&self.at(offset, HEAD_BYTES)?) {
            Ok(head) => head.group_bytes(),
            Err(error) => return Ok(Err(error)),
        };
        debug_assert!(needed <= GROUP_BYTES_MAX);
        Ok(Group::decode(&self.at(offset, needed)?))
    }

    fn rest(&mut self, offset: u64, partition: PartitionId, last: RecordNumber) -> io::Result<Rest> {
        let mut rest = Rest {
            later_group: None,
            written_end: None,
        };
        let mut at = offset;
        loop {
            let bytes = self.at(at, WINDOW_BYTES)?;
            if let Some(behind) = torn::behind_last(&bytes) {
                rest.written_end = Some(at + behind as u64);
                let found = find_head(&bytes, partition, last, if at == offset { 1 } else { 0 });
                rest.later_group = found.map(|index| at + index as u64);
            }
            if rest.later_group.is_some() || bytes.len() < WINDOW_BYTES {
                return Ok(rest);
            }
            // A header may lie across the edge of two windows.
            at += (WINDOW_BYTES - HEAD_BYTES) as u64;
        }
    }
}

/// Shows every group of a segment that is whole by itself, whatever lies around it.
pub(crate) fn scattered(
    disk: &dyn Disk,
    path: &Path,
    partition: PartitionId,
    each: &mut dyn FnMut(&Group),
) -> io::Result<()> {
    let file = disk.open(path)?;
    let mut window = Window::new(&*file);
    let mut at = GROUPS_AT;
    loop {
        match window.group(at)? {
            Ok(group) => {
                at += group.bytes().len() as u64;
                each(&group);
            }
            Err(_) => match window.rest(at, partition, RecordNumber::ZERO)?.later_group {
                Some(later) => at = later,
                None => return Ok(()),
            },
        }
    }
}

/// Finds the header of a group behind record `last`. Its checksum, its partition and its number must all fit, so other bytes
/// are not taken for one by chance.
fn find_head(bytes: &[u8], partition: PartitionId, last: RecordNumber, from: usize) -> Option<usize> {
    let magic = format::GROUP_MAGIC;
    (from..bytes.len().saturating_sub(HEAD_BYTES - 1)).find(|index| {
        bytes[*index] == magic[0]
            && GroupHead::decode(&bytes[*index..])
                .is_ok_and(|head| head.partition == partition && head.first > last)
    })
}
