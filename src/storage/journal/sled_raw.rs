//! What the raw bytes of a sled database say before sled opens it.
//!
//! sled takes the first bytes it cannot read for the end of its log and forgets everything behind them, without a word; good
//! records would be lost in silence (LOG_CLOSED). A group's head lies in one piece in the file and has a checksum, so the heads
//! are counted before sled looks. Whoever writes has at most one group unsynced: one that is missing afterwards was torn, and a
//! second one was durable once.
//!
//! Opening destroys the evidence, so a mark is left beside the database and every later start is refused as well.
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::format::{GROUP_MAGIC, GroupHead, HEAD_BYTES};
use super::{Damage, Epoch, OpenError, PartitionId, RecordNumber};
use crate::storage::engine::{parent_of, sync_dir};

const WINDOW_BYTES: usize = 1024 * 1024;

/// The last two groups, by number, whose heads are in a database's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastHeads {
    last: RecordNumber,
    /// The first record of the group before the last. It was durable before the last was begun.
    synced: RecordNumber,
}

impl LastHeads {
    /// Looks through the file of the database in `dir`; nothing if there is none.
    pub(super) fn find(dir: &Path, partition: PartitionId, epoch: Epoch) -> io::Result<Self> {
        let mut heads = Self::default();
        let mut file = match File::open(dir.join("db")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(heads),
            opened => opened?,
        };
        let mut window = Vec::with_capacity(WINDOW_BYTES + HEAD_BYTES);
        loop {
            let read = Read::by_ref(&mut file)
                .take(WINDOW_BYTES as u64)
                .read_to_end(&mut window)?;
            heads.look(&window, partition, epoch);
            if read == 0 {
                return Ok(heads);
            }
            // A head may lie across the edge.
            window.drain(..window.len().saturating_sub(HEAD_BYTES - 1));
        }
    }

    fn look(&mut self, bytes: &[u8], partition: PartitionId, epoch: Epoch) {
        let [begin, ..] = GROUP_MAGIC;
        let mut at = 0;
        while let Some(skip) = bytes[at..].iter().position(|byte| *byte == begin) {
            at += skip;
            if let Ok(head) = GroupHead::decode(&bytes[at..])
                && (head.partition, head.epoch) == (partition, epoch)
            {
                self.saw(head.first);
            }
            at += 1;
        }
    }

    fn saw(&mut self, first: RecordNumber) {
        if first > self.last {
            (self.synced, self.last) = (self.last, first);
        } else if first < self.last {
            self.synced = self.synced.max(first);
        }
    }

    /// Compares with what sled found: the last record of its log.
    ///
    /// # Errors
    /// [`OpenError::Damage`] if a group that was durable is gone; from then on [`refuse_marked`] refuses.
    pub(super) fn hold_to(self, dir: &Path, found: RecordNumber) -> Result<(), OpenError> {
        if self.synced <= found {
            return Ok(());
        }
        let damage = Damage {
            file: dir.to_owned(),
            record: found.next(),
            offset: 0,
            reason: format!("sled cannot read on, and record {} lies behind it", self.last),
        };
        let mark = mark_of(dir);
        let written = File::create(&mark).and_then(|mut file| {
            io::Write::write_all(
                &mut file,
                format!("{}\n{}\n", damage.record, damage.reason).as_bytes(),
            )?;
            file.sync_all()
        });
        written.map_err(|error| OpenError::disk(format!("cannot write {}", mark.display()), error))?;
        sync_dir(parent_of(dir))
            .map_err(|error| OpenError::disk(format!("cannot sync beside {}", mark.display()), error))?;
        Err(damage.into())
    }
}

/// Refuses a database that an earlier start found damaged.
///
/// # Errors
/// [`OpenError::Damage`] as it was found then.
pub(super) fn refuse_marked(dir: &Path) -> Result<(), OpenError> {
    let mark = mark_of(dir);
    let text = match fs::read_to_string(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| OpenError::disk(format!("cannot read {}", mark.display()), error))?,
    };
    let (record, reason) = text.trim_end().split_once('\n').unwrap_or_default();
    let damage = Damage {
        file: dir.to_owned(),
        record: RecordNumber(record.parse().unwrap_or_default()),
        offset: 0,
        reason: format!("{reason}; found by an earlier start, see {}", mark.display()),
    };
    Err(damage.into())
}

/// Where damage of the database in `dir` is noted.
fn mark_of(dir: &Path) -> PathBuf {
    dir.with_extension("sled.damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_groups_count_whatever_their_order_and_however_often() {
        let mut heads = LastHeads::default();
        for first in [3, 1, 7, 7, 5, 3] {
            heads.saw(RecordNumber(first));
        }
        let wanted = LastHeads {
            last: RecordNumber(7),
            synced: RecordNumber(5),
        };
        assert_eq!(heads, wanted);
    }
}
