//! Keeps groups beyond the log: one thread, the checkpoint's, writes; see the module's head.
use super::{ArchiveError, epoch_dir, failed, synced};
use crate::storage::{
    journal::{
        Anchor, Epoch, Group, LogReader, PartitionId, RecordNumber, check_follows,
        disk::{Disk, DiskFile},
        format::{self, GroupHead, LogHead},
        segment::{self, GROUPS_AT, ScanPlan, Window},
    },
    trim_holds::{TrimHold, TrimHolds},
};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file that is not whole yet has this name.
const UNFINISHED: &str = "next.unfinished";
/// About how many bytes of log go into the archive at once, with one sync.
const READ_BYTES: usize = 4 << 20;

/// What is kept, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveOptions {
    /// The partition whose log is kept.
    pub partition: PartitionId,
    /// The epoch the log belongs to.
    pub epoch: Epoch,
    /// A file of about this many bytes is the last one no longer.
    pub file_bytes: u64,
    /// Above this many bytes in all the oldest file goes.
    pub max_bytes: u64,
    /// A file whose last group was logged longer ago goes, ms.
    pub max_age_ms: i64,
}

/// What happened to the archive.
#[derive(Debug)]
pub enum ArchiveNews<'a> {
    /// Groups were kept: the bytes of all files now.
    Kept {
        /// In all epochs.
        bytes: u64,
    },
    /// Nothing was kept this time; it is tried again.
    Failed(&'a ArchiveError),
    /// These records are in neither log nor archive.
    Gap {
        /// The last record before the gap.
        last: RecordNumber,
        /// The first record behind it.
        next: RecordNumber,
    },
}

/// Who is told.
pub type ArchiveTold = Box<dyn Fn(&ArchiveNews<'_>) + Send>;

/// The writer of the archive.
pub struct Keeper {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    options: ArchiveOptions,
    hold: TrimHold,
    told: ArchiveTold,
    /// Every file in the order of epochs and records; unknown until the directory was read.
    files: Option<VecDeque<Kept>>,
    /// Behind the last group that is synced.
    tail: Option<Anchor>,
    /// The file that groups go to; a new one is begun where there is none.
    live: Option<Live>,
}

/// A file of the archive.
struct Kept {
    path: PathBuf,
    bytes: u64,
    /// When its last group was logged.
    newest_ms: i64,
}

struct Live {
    file: Arc<dyn DiskFile>,
    end: u64,
}

impl Keeper {
    /// A keeper for the archive in `root`. From here on `holds` keeps the whole log, until the directory has been read.
    pub fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        options: ArchiveOptions,
        holds: &TrimHolds,
        told: ArchiveTold,
    ) -> Self {
        Self {
            disk,
            root,
            options,
            hold: holds.hold("archive", RecordNumber::ZERO),
            told,
            files: None,
            tail: None,
            live: None,
        }
    }

    /// Keeps what the log has up to record `upto`, the end of a group, and lets the oldest go. `disk_is_low` says that space
    /// is worth more than history.
    pub fn follow(&mut self, log: &dyn LogReader, upto: RecordNumber, now_ms: i64, disk_is_low: bool) {
        let kept = self.try_follow(log, upto);
        if let Err(error) = &kept {
            (self.told)(&ArchiveNews::Failed(error));
            // What the file says behind its last synced group is unknown now: the next group begins a new one.
            self.live = None;
        }
        let left = self.let_go(now_ms, disk_is_low);
        if kept.is_err() && disk_is_low && left <= 1 {
            self.hold.advance(upto.next());
        }
    }

    fn try_follow(&mut self, log: &dyn LogReader, upto: RecordNumber) -> Result<(), ArchiveError> {
        if self.files.is_none() {
            self.files = Some(self.look()?);
        }
        let mut kept = false;
        loop {
            let mut from = self.tail.map_or(RecordNumber(1), |tail| tail.last.next());
            if from < log.first() {
                self.tell_gap(from, log.first());
                from = log.first();
            }
            if from > upto {
                break;
            }
            let groups = log.read(self.options.partition, from, self.read_bytes())?;
            let groups: Vec<_> = groups
                .into_iter()
                .take_while(|group| group.last() <= upto)
                .collect();
            if groups.is_empty() {
                break;
            }
            self.append(&groups)?;
            kept = true;
        }
        if let Some(tail) = self.tail {
            self.hold.advance(tail.last.next());
        }
        if kept {
            let bytes = self.bytes();
            (self.told)(&ArchiveNews::Kept { bytes });
        }
        Ok(())
    }

    fn read_bytes(&self) -> usize {
        usize::try_from(self.options.file_bytes).map_or(READ_BYTES, |bytes| bytes.min(READ_BYTES))
    }

    /// A log that never was longer than this has no gap before its first record.
    fn tell_gap(&self, missing: RecordNumber, next: RecordNumber) {
        if let Some(tail) = self.tail {
            debug_assert_eq!(tail.last.next(), missing);
            (self.told)(&ArchiveNews::Gap {
                last: tail.last,
                next,
            });
        }
    }

    fn append(&mut self, groups: &[Group]) -> Result<(), ArchiveError> {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else {
            return Ok(());
        };
        let follows = self.tail.filter(|tail| {
            let Self { options, .. } = self;
            check_follows(options.partition, options.epoch, tail, first).is_ok()
        });
        let is_full = |live: &Live| live.end >= self.options.file_bytes.max(GROUPS_AT + 1);
        if follows.is_none() || self.live.as_ref().is_none_or(is_full) {
            // The group says what comes before it but for the time, which is not above its own.
            let before = Anchor {
                last: RecordNumber(first.first().0 - 1),
                chain: *first.previous(),
                logged_at_ms: first.logged_at_ms(),
            };
            self.begin_file(follows.unwrap_or(before))?;
        }
        let bytes: Vec<u8> = groups
            .iter()
            .flat_map(|group| group.bytes().iter().copied())
            .collect();
        let live = self.live.as_mut().expect("begun above if there was none");
        let files = self.files.as_mut().expect("read before anything is appended");
        let kept = files.back_mut().expect("the live file is the last one");
        let end = live.end + bytes.len() as u64;
        { live.file.write_at(live.end, &bytes) }
            .and_then(|()| live.file.sync_data())
            .and_then(|()| synced::write(&*live.file, end))
            .and_then(|()| live.file.sync_data())
            .map_err(|error| failed("write to", &kept.path, error))?;
        live.end = end;
        (kept.bytes, kept.newest_ms) = (live.end, last.logged_at_ms());
        self.tail = Some(Anchor::after(last));
        self.hold.advance(last.last().next());
        Ok(())
    }

    /// Begins a file behind `before`: under another name until its head is durable. One that has the name already has no
    /// group that is needed: its first one was torn, and comes again.
    fn begin_file(&mut self, before: Anchor) -> Result<(), ArchiveError> {
        let ArchiveOptions { partition, epoch, .. } = self.options;
        let dir = epoch_dir(&self.root, epoch);
        let (unfinished, path) = (dir.join(UNFINISHED), dir.join(segment::name(before.last.next())));
        let head = LogHead {
            partition,
            epoch,
            anchor: before,
        };
        let mut block = vec![0; usize::try_from(GROUPS_AT).expect("a block")];
        block[..format::ANCHOR_BYTES].copy_from_slice(&head.encode());
        let begin = || -> io::Result<Arc<dyn DiskFile>> {
            self.disk.create_dir(&dir)?;
            match self.disk.remove(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let file = self.disk.create(&unfinished)?;
            file.write_at(0, &block)?;
            file.sync_data()?;
            self.disk.sync_dir(&dir)?;
            self.disk.rename(&unfinished, &path)?;
            self.disk.sync_dir(&dir)?;
            Ok(file)
        };
        let file = begin().map_err(|error| failed("begin", &path, error))?;
        let files = self.files.as_mut().expect("read before anything is appended");
        files.retain(|kept| kept.path != path);
        files.push_back(Kept {
            path,
            bytes: GROUPS_AT,
            newest_ms: before.logged_at_ms,
        });
        self.live = Some(Live { file, end: GROUPS_AT });
        Ok(())
    }

    /// Reads what lies there, and where the last file of our epoch ends.
    fn look(&mut self) -> Result<VecDeque<Kept>, ArchiveError> {
        let root = self.root.clone();
        self.disk
            .create_dir(&root)
            .map_err(|error| failed("create", &root, error))?;
        let mut files = VecDeque::new();
        for epoch in epochs(&*self.disk, &root)? {
            let paths = paths(&*self.disk, &root, epoch)?;
            for path in &paths {
                let (file, head) = self.open(path, epoch)?;
                // Where one file begins, the one before it has ended.
                if let (Some(before), Some(head)) = (files.back_mut(), &head) {
                    let before: &mut Kept = before;
                    before.newest_ms = before.newest_ms.max(head.anchor.logged_at_ms);
                }
                let bytes = file.len().map_err(|error| failed("read", path, error))?;
                let newest_ms = head.map_or(i64::MIN, |head| head.anchor.logged_at_ms);
                files.push_back(Kept {
                    path: path.clone(),
                    bytes,
                    newest_ms,
                });
            }
            if let (Some(path), Some(kept)) = (paths.last(), files.back_mut()) {
                let (file, head) = self.open(path, epoch)?;
                if epoch == self.options.epoch {
                    kept.newest_ms = kept.newest_ms.max(self.go_on(file, head)?);
                } else {
                    kept.newest_ms = kept.newest_ms.max(newest_of(&*file, path)?);
                }
            }
        }
        Ok(files)
    }

    /// Finds the last good group of the last file, and goes on behind it if nothing follows. When it was logged.
    fn go_on(&mut self, file: Arc<dyn DiskFile>, head: Option<LogHead>) -> Result<i64, ArchiveError> {
        let Some(head) = head else { return Ok(i64::MIN) };
        let ArchiveOptions { partition, epoch, .. } = self.options;
        let (mut tail, mut end) = (head.anchor, GROUPS_AT);
        let mut window = Window::new(&*file);
        while let Ok(group) = window
            .group(end)
            .map_err(|error| failed("read", &self.root, error))?
        {
            if check_follows(partition, epoch, &tail, &group).is_err() {
                break;
            }
            tail = Anchor::after(&group);
            end += group.bytes().len() as u64;
        }
        let length = file.len().map_err(|error| failed("read", &self.root, error))?;
        self.tail = Some(tail);
        self.live = (length == end).then_some(Live { file, end });
        Ok(tail.logged_at_ms)
    }

    /// A file and its head; a head that cannot be read is left for readers to name.
    fn open(&self, path: &Path, epoch: Epoch) -> Result<(Arc<dyn DiskFile>, Option<LogHead>), ArchiveError> {
        let file = self
            .disk
            .open(path)
            .map_err(|error| failed("open", path, error))?;
        let plan = ScanPlan {
            path,
            partition: self.options.partition,
            epoch,
            is_last: true,
        };
        let head = plan.head(&*file).ok();
        Ok((file, head))
    }

    fn bytes(&self) -> u64 {
        self.files.iter().flatten().map(|kept| kept.bytes).sum()
    }

    /// Removes the oldest files that are beyond a bound; while the disk is low, one more. How many files are left.
    fn let_go(&mut self, now_ms: i64, disk_is_low: bool) -> usize {
        let (mut bytes, mut gives_way) = (self.bytes(), disk_is_low);
        let Some(files) = &mut self.files else { return 0 };
        let oldest_ms = now_ms.saturating_sub(self.options.max_age_ms);
        while files.len() > 1 {
            let oldest = &files[0];
            if bytes <= self.options.max_bytes && oldest.newest_ms >= oldest_ms && !gives_way {
                break;
            }
            gives_way = false;
            bytes -= oldest.bytes;
            if let Err(error) = self.disk.remove(&oldest.path) {
                let error = failed("remove", &oldest.path, error);
                (self.told)(&ArchiveNews::Failed(&error));
            }
            files.pop_front();
        }
        files.len()
    }
}

/// The epochs that have a directory, ascending.
pub(super) fn epochs(disk: &dyn Disk, root: &Path) -> Result<Vec<Epoch>, ArchiveError> {
    let names = match disk.list(root) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("list", root, error)),
    };
    let mut epochs: Vec<Epoch> = names
        .iter()
        .filter_map(|name| name.parse().ok().map(Epoch))
        .collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// The files of an epoch in the order of their records.
pub(super) fn paths(disk: &dyn Disk, root: &Path, epoch: Epoch) -> Result<Vec<PathBuf>, ArchiveError> {
    let dir = epoch_dir(root, epoch);
    let names = match disk.list(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("list", &dir, error)),
    };
    // Zeros in front make the order of names that of numbers.
    Ok(names
        .iter()
        .filter(|name| segment::first_of(name).is_some())
        .map(|name| dir.join(name))
        .collect())
}

/// When the last group of a file was logged, by the heads of its groups alone.
fn newest_of(file: &dyn DiskFile, path: &Path) -> Result<i64, ArchiveError> {
    let mut window = Window::new(file);
    let (mut at, mut newest_ms) = (GROUPS_AT, i64::MIN);
    loop {
        let bytes = window
            .at(at, format::HEAD_BYTES)
            .map_err(|error| failed("read", path, error))?;
        let Ok(head) = GroupHead::decode(&bytes) else {
            return Ok(newest_ms);
        };
        newest_ms = newest_ms.max(head.logged_at_ms);
        at += head.group_bytes() as u64;
    }
}
