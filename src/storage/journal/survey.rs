//! A log as it lies on the disk, for an operator: unit by unit up to the first break, what is still good behind it, and a new
//! unit in the place of broken ones. Whichever back end wrote it; nobody may use it meanwhile.
//!
//! A survey cuts nothing. Segment files are only read; sled itself forgets, the moment it opens a database, what it cannot
//! read, which is noted beside the database as any other opening would.
//!
//! # How a repair replaces units
//! The new unit is complete and synced under a name that is no unit's before it changes places, in one step, with the first
//! unit it replaces. Until the others have left, the log does not fit together, so a start that meets a repair that was cut
//! short refuses, and the repair can be done again: what is kept is in the new unit already.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::disk::{Disk, DiskFile, RealDisk};
use super::format::LogHead;
use super::segment::{self, GROUPS_AT};
use super::sled_log::{self, SledOptions};
use super::sled_raw;
use super::{Anchor, Damage, Epoch, Group, OpenError, PartitionId, RecordNumber, TornTail, file};
use crate::storage::engine::sync_dir;

/// Where a group lies.
#[derive(Clone, Copy, Debug)]
pub struct GroupPlace<'a> {
    /// The segment file or database.
    pub file: &'a Path,
    /// Its first byte there; 0 where the engine has no offsets.
    pub offset: u64,
    /// What stands before the first group of that file.
    pub before: Anchor,
}

/// Told of each verified group.
pub type EachGroup<'a> = dyn FnMut(GroupPlace<'_>, &Group) + 'a;

/// Which log is looked at.
#[derive(Clone, Debug)]
pub enum Log<'a> {
    /// Segment files.
    Files {
        /// Their directory.
        dir: &'a Path,
        /// The partition they hold.
        partition: PartitionId,
        /// The epoch they belong to.
        epoch: Epoch,
        /// The size of a segment, bytes.
        segment_bytes: u64,
    },
    /// Databases.
    Sled {
        /// Their directory.
        dir: &'a Path,
        /// How they are opened.
        options: SledOptions,
    },
}

/// A segment file or a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it lies.
    pub file: PathBuf,
    /// Groups that were verified.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The first record.
    pub first: Option<RecordNumber>,
    /// The last record.
    pub last: Option<RecordNumber>,
    /// When the first group was written, Unix ms.
    pub since_ms: i64,
    /// When the last group was written, Unix ms.
    pub until_ms: i64,
}

/// What a survey saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// In the order of the log.
    pub units: Vec<Unit>,
    /// Behind the last group that was verified; `None` before the first of a log that is broken there.
    pub tail: Option<Anchor>,
    /// An end that was never completed.
    pub torn: Option<TornTail>,
    /// The first break.
    pub damage: Option<Damage>,
}

impl Log<'_> {
    fn dir(&self) -> &Path {
        match self {
            Self::Files { dir, .. } | Self::Sled { dir, .. } => dir,
        }
    }

    /// The files or databases of the log, oldest first.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn unit_files(&self) -> Result<Vec<PathBuf>, OpenError> {
        let dir = self.dir();
        let names = RealDisk
            .list(dir)
            .map_err(|error| OpenError::disk(format!("cannot list {}", dir.display()), error))?;
        let is_unit = |name: &&String| match self {
            Self::Files { .. } => segment::first_of(name).is_some(),
            Self::Sled { .. } => sled_log::ordinal_of(name).is_some(),
        };
        Ok(names.iter().filter(is_unit).map(|name| dir.join(name)).collect())
    }

    /// Walks the log up to its first break and shows each group on the way.
    ///
    /// # Errors
    /// A later release wrote it, it is another partition's, or the disk refuses; damage is in the survey.
    pub fn survey(&self, each: &mut EachGroup<'_>) -> Result<Survey, OpenError> {
        let mut seen = Survey {
            units: self.unit_files()?.into_iter().map(Unit::empty).collect(),
            tail: None,
            torn: None,
            damage: None,
        };
        let mut look = |place: GroupPlace<'_>, group: &Group| {
            if let Some(unit) = seen.units.iter_mut().find(|unit| unit.file == place.file) {
                unit.take(group);
            }
            seen.tail = Some(Anchor::after(group));
            each(place, group);
        };
        let walked = match self {
            Self::Files {
                dir,
                partition,
                epoch,
                ..
            } => file::scan_dir(&RealDisk, dir, *partition, *epoch, &mut look)
                .map(|found| (found.tail, found.torn)),
            Self::Sled { dir, options } => sled_log::scan_dir(dir, options, &mut look),
        };
        match walked {
            Ok((tail, torn)) => (seen.tail, seen.torn) = (Some(tail), torn),
            Err(OpenError::Damage(damage)) => seen.damage = Some(damage),
            Err(error) => return Err(error),
        }
        Ok(seen)
    }

    /// Shows every group behind record `last` that is whole by itself, wherever it lies and whatever lies around it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn scattered(&self, last: RecordNumber, each: &mut dyn FnMut(&Group)) -> Result<(), OpenError> {
        let mut behind = |group: &Group| {
            if group.first() > last {
                each(group);
            }
        };
        for path in self.unit_files()? {
            match self {
                Self::Files { partition, .. } => {
                    segment::scattered(&RealDisk, &path, *partition, &mut behind)
                        .map_err(|error| OpenError::disk(format!("cannot read {}", path.display()), error))?
                }
                Self::Sled { options, .. } => sled_log::scattered(&path, options, &mut behind)?,
            }
        }
        Ok(())
    }

    /// Puts a new unit, which begins behind `before` and holds what `fill` gives it, in the place of `doomed`, which stay
    /// under other names: those names.
    ///
    /// # Errors
    /// The disk refuses; see the module's head for what a start makes of that.
    pub fn replace(
        &self,
        doomed: &[PathBuf],
        before: Anchor,
        fill: &mut dyn FnMut(&mut dyn FnMut(&Group) -> Result<(), OpenError>) -> Result<(), OpenError>,
    ) -> Result<Vec<PathBuf>, OpenError> {
        let fresh = self.dir().join("repaired");
        remove_all(&fresh).map_err(|error| refused(&fresh, error))?;
        match self {
            Self::Files {
                partition,
                epoch,
                segment_bytes,
                ..
            } => {
                let head = LogHead {
                    partition: *partition,
                    epoch: *epoch,
                    anchor: before,
                };
                let file = RealDisk.create(&fresh).map_err(|error| refused(&fresh, error))?;
                write_segment(&*file, &head, *segment_bytes, fill)?;
            }
            Self::Sled { options, .. } => sled_log::write_unit(&fresh, options, before, fill)?,
        }
        self.take_places(&fresh, doomed, before)
            .map_err(|error| refused(self.dir(), error))
    }

    /// The new unit changes places with the first doomed one, which then leaves as the others do.
    fn take_places(&self, fresh: &Path, doomed: &[PathBuf], before: Anchor) -> io::Result<Vec<PathBuf>> {
        let dir = self.dir();
        let name = match (self, doomed.first()) {
            (Self::Files { .. }, _) => dir.join(segment::name(before.last.next())),
            (Self::Sled { .. }, Some(first)) => first.clone(),
            (Self::Sled { .. }, None) => sled_log::path_of(dir, 1),
        };
        let mut kept = Vec::new();
        if let Some(first) = doomed.first() {
            sync(dir)?;
            renameat_with(CWD, fresh, CWD, first, RenameFlags::EXCHANGE)?;
            sync(dir)?;
            let aside = free_name(first)?;
            fs::rename(fresh, &aside)?;
            kept.push(aside);
            for other in &doomed[1..] {
                kept.push(step_aside(other)?);
            }
            if *first != name {
                fs::rename(first, &name)?;
            }
            for unit in doomed {
                remove_all(&sled_raw::mark_of(unit))?;
            }
        } else {
            fs::rename(fresh, &name)?;
        }
        sync(dir)?;
        Ok(kept)
    }
}

impl Unit {
    fn empty(file: PathBuf) -> Self {
        Self {
            file,
            groups: 0,
            records: 0,
            bytes: 0,
            first: None,
            last: None,
            since_ms: 0,
            until_ms: 0,
        }
    }

    fn take(&mut self, group: &Group) {
        if self.first.is_none() {
            self.first = Some(group.first());
            self.since_ms = group.logged_at_ms();
        }
        self.groups += 1;
        self.records += u64::from(group.count());
        self.bytes += group.bytes().len() as u64;
        self.last = Some(group.last());
        self.until_ms = group.logged_at_ms();
    }
}

/// Groups that follow each other from some point on: each continues the chain of the one before, wherever it was found.
pub struct Chained {
    tail: Anchor,
}

impl Chained {
    /// From this point on.
    pub fn behind(from: Anchor) -> Self {
        Self { tail: from }
    }

    /// Whether the group is the next one.
    pub fn takes(&mut self, group: &Group) -> bool {
        let next = group.first() == self.tail.last.next() && *group.previous() == self.tail.chain;
        if next {
            self.tail = Anchor::after(group);
        }
        next
    }

    /// Behind the last one that was taken.
    pub fn tail(&self) -> Anchor {
        self.tail
    }
}

fn write_segment(
    file: &dyn DiskFile,
    head: &LogHead,
    segment_bytes: u64,
    fill: &mut dyn FnMut(&mut dyn FnMut(&Group) -> Result<(), OpenError>) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::disk("cannot write a new segment", error);
    file.truncate(segment_bytes.max(GROUPS_AT)).map_err(failed)?;
    file.write_at(0, &head.encode()).map_err(failed)?;
    let mut offset = GROUPS_AT;
    fill(&mut |group| {
        file.write_at(offset, group.bytes()).map_err(failed)?;
        offset += group.bytes().len() as u64;
        Ok(())
    })?;
    file.sync_data().map_err(failed)
}

/// Gives a unit a name that no unit has.
fn step_aside(unit: &Path) -> io::Result<PathBuf> {
    let aside = free_name(unit)?;
    fs::rename(unit, &aside)?;
    Ok(aside)
}

/// `<unit>.bak`, or the first free `<unit>.bak2`, `<unit>.bak3`, …
fn free_name(unit: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let mut name = unit.as_os_str().to_owned();
        name.push(match number {
            1 => ".bak".to_owned(),
            number => format!(".bak{number}"),
        });
        let name = PathBuf::from(name);
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    unreachable!("a directory has fewer than 2^32 names")
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    sync_dir(dir).map_err(io::Error::other)
}

fn refused(path: &Path, error: io::Error) -> OpenError {
    OpenError::disk(format!("cannot repair {}", path.display()), error)
}
