//! Walks a whole log and says whether LOG_CLOSED holds: numbers contiguous, groups chained, nothing torn in the middle.
use std::path::Path;

use super::disk::Disk;
use super::{Epoch, Group, LogReader, OpenError, PartitionId, ReadError, RecordNumber, TornTail, file};

/// What a walk over a whole log saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first record of the log.
    pub first: RecordNumber,
    /// The last record of the log.
    pub last: RecordNumber,
    /// Groups that were read.
    pub groups: u64,
    /// Bytes of those groups.
    pub bytes: u64,
    /// An unsynced tail that the next start will cut.
    pub torn: Option<TornTail>,
}

/// Verifies the segment files in `dir` without opening them for use; modifies nothing.
///
/// # Errors
/// The first violation, or what the disk refused.
pub fn verify_files(
    disk: &dyn Disk,
    dir: &Path,
    partition: PartitionId,
    epoch: Epoch,
) -> Result<Verified, OpenError> {
    walk_files(disk, dir, partition, epoch, &mut |_| {})
}

/// As [`verify_files`], and shows each verified group on the way.
///
/// # Errors
/// As [`verify_files`].
pub fn walk_files(
    disk: &dyn Disk,
    dir: &Path,
    partition: PartitionId,
    epoch: Epoch,
    each: &mut dyn FnMut(&Group),
) -> Result<Verified, OpenError> {
    let mut seen = Seen::default();
    let found = file::scan_dir(disk, dir, partition, epoch, &mut |_, group| {
        seen.first.get_or_insert(group.first());
        seen.groups += 1;
        seen.bytes += group.bytes().len() as u64;
        each(group);
    })?;
    let last = found.tail.last;
    Ok(Verified {
        first: seen.first.unwrap_or(last.next()),
        last,
        groups: seen.groups,
        bytes: seen.bytes,
        torn: found.torn,
    })
}

#[derive(Default)]
struct Seen {
    first: Option<RecordNumber>,
    groups: u64,
    bytes: u64,
}

/// Verifies a log of any back end through its reader, while it is in use; groups that become durable meanwhile count.
///
/// # Errors
/// The first violation, or what the disk refused.
pub fn verify_log(reader: &dyn LogReader, partition: PartitionId) -> Result<Verified, ReadError> {
    walk_log(reader, partition, &mut |_| {})
}

/// As [`verify_log`], and shows each verified group on the way.
///
/// # Errors
/// As [`verify_log`].
pub fn walk_log(
    reader: &dyn LogReader,
    partition: PartitionId,
    each: &mut dyn FnMut(&Group),
) -> Result<Verified, ReadError> {
    const STEP_BYTES: usize = 4 * 1024 * 1024;
    let mut verified = Verified {
        first: reader.first(),
        last: RecordNumber(reader.first().0 - 1),
        groups: 0,
        bytes: 0,
        torn: None,
    };
    let mut chain = None;
    loop {
        let groups = reader.read(partition, verified.last.next(), STEP_BYTES)?;
        if groups.is_empty() {
            return Ok(verified);
        }
        for group in groups {
            let expected = verified.last.next();
            if group.first() != expected || chain.is_some_and(|chain| chain != *group.previous()) {
                let reason = format!(
                    "the group of record {} does not continue the one before",
                    group.first()
                );
                return Err(super::Damage {
                    file: "journal".into(),
                    record: expected,
                    offset: 0,
                    reason,
                }
                .into());
            }
            chain = Some(*group.chain());
            verified.last = group.last();
            verified.groups += 1;
            verified.bytes += group.bytes().len() as u64;
            each(&group);
        }
    }
}
