//! Reads the archive: what is there, and groups one after the other, verified.
use super::{ArchiveError, epoch_dir, failed, keeper, synced};
use crate::storage::journal::{
    Anchor, Epoch, Group, OpenError, PartitionId, RecordNumber, check_follows,
    disk::{Disk, DiskFile, RealDisk},
    format::{self, FormatError, GroupHead},
    segment::{self, GROUPS_AT, ScanPlan, Window},
};
use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The archive of a data directory, read only. Beside a running server what is read is what was synced when a file was
/// reached, and the oldest files may go.
#[derive(Clone)]
pub struct ArchiveReader {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    partition: PartitionId,
    epochs: Vec<Epoch>,
}

impl ArchiveReader {
    /// Looks at the archive in `root`; one that is not there is empty.
    ///
    /// # Errors
    /// What the disk refused.
    pub fn open(root: &Path) -> Result<Self, ArchiveError> {
        Self::open_on(Arc::new(RealDisk), root, PartitionId(0))
    }

    /// The same on any disk, of any partition.
    ///
    /// # Errors
    /// What the disk refused.
    pub fn open_on(disk: Arc<dyn Disk>, root: &Path, partition: PartitionId) -> Result<Self, ArchiveError> {
        let epochs = keeper::epochs(&*disk, root)?;
        Ok(Self {
            disk,
            root: root.to_owned(),
            partition,
            epochs,
        })
    }

    /// The epochs of which something may be kept, ascending.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The first and the last record of an epoch in the archive; `None` when it has none. Gaps between files show when they
    /// are read.
    ///
    /// # Errors
    /// The last file is damaged, or the disk refused.
    pub fn range(&self, epoch: Epoch) -> Result<Option<RangeInclusive<RecordNumber>>, ArchiveError> {
        let paths = keeper::paths(&*self.disk, &self.root, epoch)?;
        // A file that was begun and got no group yet says where the one before it ends.
        for path in paths.iter().rev() {
            let mut file = self.file(path, epoch)?;
            if let Some(last) = file.last_whole()? {
                return Ok(Some(first_of(&paths[0])..=last));
            }
        }
        Ok(None)
    }

    /// The groups of an epoch from the one that holds record `from` on, verified one by one: their checksums, their chain, and
    /// that none is missing. It ends behind the last whole group; the first error ends it too.
    ///
    /// # Errors
    /// [`ArchiveError::Begins`] and [`ArchiveError::NoEpoch`] when `from` is not there, or what is wrong with its file.
    pub fn groups(&self, epoch: Epoch, from: RecordNumber) -> Result<Groups, ArchiveError> {
        let paths = keeper::paths(&*self.disk, &self.root, epoch)?;
        let Some(oldest) = paths.first() else {
            return Err(ArchiveError::NoEpoch(epoch));
        };
        let behind = paths.partition_point(|path| first_of(path) <= from);
        let Some(index) = behind.checked_sub(1) else {
            let first = first_of(oldest);
            return Err(ArchiveError::Begins { epoch, first });
        };
        let mut rest: VecDeque<PathBuf> = paths.into_iter().skip(index).collect();
        let path = rest.pop_front().expect("the file that holds the record");
        let mut file = self.file(&path, epoch)?;
        file.skip_to(from)?;
        Ok(Groups {
            archive: self.clone(),
            epoch,
            file: Some(file),
            rest,
        })
    }

    fn file(&self, path: &Path, epoch: Epoch) -> Result<ArchiveFile, ArchiveError> {
        let file = self
            .disk
            .open(path)
            .map_err(|error| failed("open", path, error))?;
        let plan = ScanPlan {
            path,
            partition: self.partition,
            epoch,
            is_last: false,
        };
        let head = plan.head(&*file)?;
        let first = head.anchor.last.next();
        let synced = synced::read(&*file).map_err(|error| failed("read", path, error))?;
        Ok(ArchiveFile {
            path: path.to_owned(),
            window: Window::new(file),
            partition: self.partition,
            epoch,
            synced,
            first,
            at: GROUPS_AT,
            tail: head.anchor,
        })
    }
}

/// The number in the name of a file that the list was filtered by.
fn first_of(path: &Path) -> RecordNumber {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(segment::first_of).unwrap_or_default()
}

/// Groups in order, see [`ArchiveReader::groups`].
pub struct Groups {
    archive: ArchiveReader,
    epoch: Epoch,
    /// The file being read; `None` at the end.
    file: Option<ArchiveFile>,
    /// The files behind it.
    rest: VecDeque<PathBuf>,
}

impl Groups {
    fn advance(&mut self) -> Result<Option<Group>, ArchiveError> {
        loop {
            let Some(file) = &mut self.file else {
                return Ok(None);
            };
            let next = self.rest.front().map(|path| first_of(path));
            // What stands behind the place where the next file begins says nothing.
            let is_done = next.is_some_and(|next| file.tail.last.next() >= next);
            if !is_done && let Some(group) = file.group()? {
                return Ok(Some(group));
            }
            let Some(path) = self.rest.pop_front() else {
                self.file = None;
                return Ok(None);
            };
            let (before, offset, name) = (file.tail, file.at, file.path.clone());
            let following = self.archive.file(&path, self.epoch)?;
            if following.tail.last > before.last {
                return Err(ArchiveError::Gap {
                    file: name,
                    offset,
                    last: before.last,
                    next: following.first,
                });
            }
            if following.tail.chain != before.chain {
                let reason = "it does not continue the hash chain of the file before";
                return Err(following.plan().damage(following.first, 0, reason).into());
            }
            self.file = Some(following);
        }
    }
}

impl Iterator for Groups {
    type Item = Result<Group, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.file = None;
        }
        next
    }
}

/// A file being read.
struct ArchiveFile {
    path: PathBuf,
    window: Window<Arc<dyn DiskFile>>,
    partition: PartitionId,
    epoch: Epoch,
    /// Up to here groups are known to have been synced.
    synced: u64,
    first: RecordNumber,
    /// The next group begins here.
    at: u64,
    /// Behind the group before it.
    tail: Anchor,
}

impl ArchiveFile {
    fn plan(&self) -> ScanPlan<'_> {
        ScanPlan {
            path: &self.path,
            partition: self.partition,
            epoch: self.epoch,
            is_last: false,
        }
    }

    /// Steps over groups by their heads, up to the one that holds `from` or the last; the chain is taken up there.
    fn skip_to(&mut self, from: RecordNumber) -> Result<(), ArchiveError> {
        while let Some(head) = self.head()? {
            if head.last() >= from {
                if self.at > GROUPS_AT {
                    self.tail.chain = head.previous;
                }
                break;
            }
            self.step_over(&head);
        }
        Ok(())
    }

    /// The last record in a group that is whole; the groups before it were synced earlier.
    fn last_whole(&mut self) -> Result<Option<RecordNumber>, ArchiveError> {
        let (mut before, mut begin) = (None, None);
        while let Some(head) = self.head()? {
            if begin.is_some() {
                before = Some(self.tail.last);
            }
            begin = Some(self.at);
            self.step_over(&head);
        }
        let Some(begin) = begin else { return Ok(None) };
        let last = self
            .window
            .group(begin)
            .map_err(|error| failed("read", &self.path, error))?;
        Ok(last.map_or(before, |group| Some(group.last())))
    }

    /// The head of the next group, if one stands there.
    fn head(&mut self) -> Result<Option<GroupHead>, ArchiveError> {
        let bytes = self
            .window
            .at(self.at, format::HEAD_BYTES)
            .map_err(|error| failed("read", &self.path, error))?;
        let head = GroupHead::decode(&bytes).ok();
        Ok(head.filter(|head| head.first == self.tail.last.next()))
    }

    fn step_over(&mut self, head: &GroupHead) {
        self.at += head.group_bytes() as u64;
        self.tail.last = head.last();
        self.tail.logged_at_ms = head.logged_at_ms;
    }

    /// The next group; `None` behind the last that is whole.
    fn group(&mut self) -> Result<Option<Group>, ArchiveError> {
        let read = self
            .window
            .group(self.at)
            .map_err(|error| failed("read", &self.path, error))?;
        let damage = |reason: &str| self.plan().damage(self.tail.last.next(), self.at, reason).into();
        match read {
            Ok(group) => {
                check_follows(self.partition, self.epoch, &self.tail, &group).map_err(damage)?;
                self.at += group.bytes().len() as u64;
                self.tail = Anchor::after(&group);
                Ok(Some(group))
            }
            Err(FormatError::Version(version)) => {
                let file = self.path.clone();
                Err(OpenError::TooNew { file, version }.into())
            }
            Err(error) if self.at < self.synced => Err(damage(&error.to_string())),
            // Never finished, or nothing; the next file goes on here, or names the gap.
            Err(_) => Ok(None),
        }
    }
}

impl std::fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dirs: Vec<_> = self
            .epochs
            .iter()
            .map(|epoch| epoch_dir(&self.root, *epoch))
            .collect();
        f.debug_struct("ArchiveReader").field("epochs", &dirs).finish()
    }
}
