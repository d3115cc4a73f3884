//! What the raw bytes of a sled database say before sled opens it.
//!
//! sled takes the first bytes it cannot read for the end of its log and forgets everything behind them, without a word; good
//! records would be lost in silence (LOG_CLOSED). A group's head lies in one piece in the file and has a checksum, so the heads
//! are counted before sled looks. Whoever writes has at most one group unsynced: a second one that is missing afterwards was
//! durable once. The last one, if it is missing, is judged by its own bytes as long as it lies in one piece (up to 4 KiB, one
//! value): if all its sectors were written and it still does not read well, it was durable once too, see [`super::torn`]. If its
//! bytes are good, or it is longer, what sled could not read lies around it, and that cannot be told from a torn write.
//!
//! Opening destroys the evidence, so a mark is left beside the database and every later start is refused as well.
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::format::{GROUP_MAGIC, Group, GroupHead, HEAD_BYTES};
use super::torn::{self, Before};
use super::{Damage, Epoch, OpenError, PartitionId, RecordNumber, TornTail};
use crate::storage::engine::{MAX_VALUE_BYTES, parent_of, sync_dir};

const WINDOW_BYTES: usize = 1024 * 1024;
/// Copies of the last group that are looked at.
const PLACES_MAX: usize = 16;

/// The last two groups, by number, whose heads are in a database's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastHeads {
    last: RecordNumber,
    /// Where heads of the last one lie, and how long it is: sled copies a row when it tidies up.
    places: Vec<(u64, usize)>,
    /// It lies in one piece, all of it was written, and it does not read well.
    is_damaged: bool,
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
        let mut begin = 0;
        loop {
            let read = Read::by_ref(&mut file)
                .take(WINDOW_BYTES as u64)
                .read_to_end(&mut window)?;
            heads.look(&window, begin, partition, epoch);
            if read == 0 {
                break;
            }
            // A head may lie across the edge.
            let done = window.len().saturating_sub(HEAD_BYTES - 1);
            window.drain(..done);
            begin += done as u64;
        }
        heads.judge(&file)?;
        Ok(heads)
    }

    /// Reads the last group where it lies in one piece.
    fn judge(&mut self, file: &File) -> io::Result<()> {
        for (offset, length) in &self.places {
            if *length > MAX_VALUE_BYTES {
                continue;
            }
            let mut bytes = vec![0; *length];
            match file.read_exact_at(&mut bytes, *offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read?,
            }
            self.is_damaged |= torn::was_complete(&bytes, *offset, Before::Anything)
                && Group::decode(&Bytes::from(bytes)).is_err();
        }
        Ok(())
    }

    fn look(&mut self, bytes: &[u8], offset: u64, partition: PartitionId, epoch: Epoch) {
        let [begin, ..] = GROUP_MAGIC;
        let mut at = 0;
        while let Some(skip) = bytes[at..].iter().position(|byte| *byte == begin) {
            at += skip;
            if let Ok(head) = GroupHead::decode(&bytes[at..])
                && (head.partition, head.epoch) == (partition, epoch)
            {
                self.saw(head.first, (offset + at as u64, head.group_bytes()));
            }
            at += 1;
        }
    }

    fn saw(&mut self, first: RecordNumber, place: (u64, usize)) {
        if first > self.last {
            (self.synced, self.last) = (self.last, first);
            self.places = vec![place];
        } else if first < self.last {
            self.synced = self.synced.max(first);
        } else if self.places.len() < PLACES_MAX && !self.places.contains(&place) {
            self.places.push(place);
        }
    }

    /// Compares with what sled found: the last record of its log. The torn tail that sled has forgotten, if it has.
    ///
    /// # Errors
    /// [`OpenError::Damage`] if a group that was durable is gone; from then on [`refuse_marked`] refuses.
    pub(super) fn hold_to(&self, dir: &Path, found: RecordNumber) -> Result<Option<TornTail>, OpenError> {
        if self.last <= found {
            return Ok(None);
        }
        let (offset, bytes) = self.places.first().copied().unwrap_or_default();
        let reason = if self.synced > found {
            format!("sled cannot read on, and record {} lies behind it", self.last)
        } else if self.is_damaged {
            "sled cannot read it, and it was complete once".to_owned()
        } else {
            return Ok(Some(TornTail {
                file: dir.to_owned(),
                offset,
                bytes: bytes as u64,
                record: self.last,
                reason: "sled cannot read it".to_owned(),
            }));
        };
        let damage = Damage {
            file: dir.to_owned(),
            record: found.next(),
            offset: if self.synced > found { 0 } else { offset },
            reason,
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
pub(super) fn mark_of(dir: &Path) -> PathBuf {
    dir.with_extension("sled.damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_groups_count_whatever_their_order_and_however_often() {
        let mut heads = LastHeads::default();
        for (place, first) in [3, 1, 7, 7, 5, 3].into_iter().enumerate() {
            heads.saw(RecordNumber(first), (place as u64, 100));
        }
        let wanted = LastHeads {
            last: RecordNumber(7),
            places: vec![(2, 100), (3, 100)],
            is_damaged: false,
            synced: RecordNumber(5),
        };
        assert_eq!(heads, wanted);
    }
}
