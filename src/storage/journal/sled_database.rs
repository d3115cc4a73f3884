//! One of the sled databases of a log: the groups from one record on.
//!
//! ```text
//!  key 0,0              anchor: what stands before the first group; written just before the first group
//!  key first, chunk     bytes chunk * 4096 .. of the group whose first record is `first`; both big-endian, u64 and u32
//! ```
//!
//! A group's own header says how long it is and its end mark ends its last chunk, so a group that lost a chunk is noticed. No
//! value is above 4 KiB, because sled puts larger ones into blob files that it never syncs.
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::format::{self, FormatError, GROUP_BYTES_MAX, Group, GroupHead, LogHead};
use super::survey::{EachGroup, GroupPlace};
use super::{Anchor, Damage, OpenError, ReadError, Record, RecordNumber, check_follows};
use crate::storage::engine::{Engine, EngineError, EngineOptions, MAX_VALUE_BYTES};

/// An open database that holds groups.
pub(super) struct Database {
    /// `None` only while it is being dropped.
    engine: Option<Engine>,
    /// What it begins with.
    pub(super) head: LogHead,
}

fn key(first: RecordNumber, chunk: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&first.0.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// The record a key belongs to; `None` if it is no key of ours.
fn first_of(key: &[u8]) -> Option<RecordNumber> {
    let (first, chunk) = key.split_first_chunk::<8>()?;
    (chunk.len() == 4).then(|| RecordNumber(u64::from_be_bytes(*first)))
}

const ANCHOR_KEY: RecordNumber = RecordNumber::ZERO;

/// Opens or creates the database in `dir` and reads its anchor; without one it was made ahead and never used.
pub(super) fn open(
    dir: &Path,
    options: EngineOptions,
    next: RecordNumber,
) -> Result<(Engine, Option<LogHead>), OpenError> {
    let damage = |reason: String| Damage {
        file: dir.to_owned(),
        record: next,
        offset: 0,
        reason,
    };
    let engine = Engine::open(dir, options).map_err(|error| match &error {
        EngineError::Missing { .. } => damage(error.to_string()).into(),
        EngineError::Sled {
            source: source @ sled::Error::Corruption { .. },
            ..
        } => damage(source.to_string()).into(),
        EngineError::Io { .. } | EngineError::Sled { .. } => {
            OpenError::disk(format!("cannot open the database {}", dir.display()), error)
        }
    })?;
    let anchor = engine
        .db()
        .get(key(ANCHOR_KEY, 0))
        .map_err(|error| damage(error.to_string()))?;
    let Some(bytes) = anchor else {
        if engine.db().is_empty() {
            return Ok((engine, None));
        }
        return Err(damage("its anchor is missing".into()).into());
    };
    match LogHead::decode(&bytes) {
        Ok(head) => Ok((engine, Some(head))),
        Err(FormatError::Version(version)) => Err(OpenError::TooNew {
            file: dir.to_owned(),
            version,
        }),
        Err(error) => Err(damage(format!("its anchor: {error}")).into()),
    }
}

impl Database {
    /// A database whose anchor was read, or is written with its first group.
    pub(super) fn new(engine: Engine, head: LogHead) -> Self {
        Self {
            engine: Some(engine),
            head,
        }
    }

    fn engine(&self) -> &Engine {
        self.engine
            .as_ref()
            .expect("a database is open until it is dropped")
    }

    /// The record it begins with, whether or not that is written yet.
    pub(super) fn first(&self) -> RecordNumber {
        self.head.anchor.last.next()
    }

    pub(super) fn path(&self) -> &Path {
        self.engine().dir()
    }

    /// What it occupies on the device, in bytes; 0 if that cannot be told.
    pub(super) fn size_bytes(&self) -> u64 {
        self.engine().size_on_disk().unwrap_or(0)
    }

    /// Writes the anchor and makes it durable.
    pub(super) fn write_anchor(&self) -> Result<(), EngineError> {
        self.insert(&self.head.encode(), ANCHOR_KEY)?;
        self.sync()
    }

    /// Writes a group, behind the anchor if it is the first; durable after [`Database::sync`].
    pub(super) fn write(&self, group: &Group) -> Result<(), EngineError> {
        if group.first() == self.first() {
            self.insert(&self.head.encode(), ANCHOR_KEY)?;
        }
        self.insert(group.bytes(), group.first())
    }

    /// Not in one of sled's batches: what sled finds again after a crash is a beginning of what it wrote, so a group that was
    /// cut lacks its last values, and with them its end mark. A batch would write its manifest first, by itself: two writes
    /// and two rounds of waking for each group. Measured with 16 KB in groups a millisecond apart: 100 us less until it is
    /// durable, 120 us less of the processor.
    fn insert(&self, bytes: &[u8], first: RecordNumber) -> Result<(), EngineError> {
        for (chunk, value) in (0..).zip(bytes.chunks(MAX_VALUE_BYTES)) {
            self.engine()
                .db()
                .insert(key(first, chunk), value)
                .map_err(EngineError::sled("write to", self.path()))?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.engine().sync()
    }

    /// Removes the chunks of a group that is not whole.
    pub(super) fn remove(&self, first: RecordNumber) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for entry in self.engine().db().range(key(first, 0)..=key(first, u32::MAX)) {
            let (key, _) = entry.map_err(EngineError::sled("read", self.path()))?;
            batch.remove(key);
        }
        self.engine()
            .db()
            .apply_batch(batch)
            .map_err(EngineError::sled("write to", self.path()))?;
        self.sync()
    }

    /// The bytes stored for the group that begins with `first`, whole or not; nothing if there are none.
    pub(super) fn bytes(&self, first: RecordNumber) -> Result<Option<Bytes>, sled::Error> {
        let mut bytes = BytesMut::new();
        let mut expected = 0;
        for entry in self.engine().db().range(key(first, 0)..=key(first, u32::MAX)) {
            let (found, value) = entry?;
            // A missing chunk leaves a gap; what lies behind it does not belong to the group's beginning.
            if found != key(first, expected) || bytes.len() + value.len() > GROUP_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(&value);
            expected += 1;
        }
        Ok((expected > 0).then(|| bytes.freeze()))
    }

    /// Whether all values of a group that does not read well were stored once: its last one ends with the end mark, or they
    /// are as long as its header says. Values are written in order, so this is no torn write.
    fn was_complete(&self, first: RecordNumber, bytes: &Bytes) -> Result<bool, sled::Error> {
        if GroupHead::decode(bytes).is_ok_and(|head| head.group_bytes() <= bytes.len()) {
            return Ok(true);
        }
        let mut values = self.engine().db().range(key(first, 0)..=key(first, u32::MAX));
        match values.next_back() {
            None => Ok(false),
            Some(entry) => Ok(format::has_end_mark(&entry?.1)),
        }
    }

    /// The oldest record of a group that begins behind `number`, if any is stored.
    pub(super) fn begins_behind(&self, number: RecordNumber) -> Result<Option<RecordNumber>, sled::Error> {
        match self.engine().db().range(key(number.next(), 0)..).next() {
            None => Ok(None),
            Some(entry) => Ok(Some(first_of(&entry?.0).unwrap_or(RecordNumber(u64::MAX)))),
        }
    }

    /// The first records of all groups that are stored, whole or not, ascending.
    pub(super) fn firsts(&self) -> Result<Vec<RecordNumber>, sled::Error> {
        let mut firsts = Vec::new();
        for entry in self.engine().db().range(key(ANCHOR_KEY.next(), 0)..) {
            let (key, _) = entry?;
            firsts.extend(first_of(&key));
        }
        firsts.dedup();
        Ok(firsts)
    }

    /// The group that begins with `first`, verified.
    pub(super) fn group(&self, first: RecordNumber) -> Result<Group, ReadError> {
        let bytes = self
            .bytes(first)
            .map_err(|error| self.read_error(error))?
            .unwrap_or_default();
        let group = Group::decode(&bytes).map_err(|error| self.damage(first, &error.to_string()))?;
        if group.first() != first {
            return Err(self.damage(first, "another group lies in its place").into());
        }
        Ok(group)
    }

    /// The first record of the group that holds `number`, which is durable and not below this database.
    pub(super) fn group_of(&self, number: RecordNumber) -> Result<RecordNumber, ReadError> {
        let mut before = self
            .engine()
            .db()
            .range(key(ANCHOR_KEY.next(), 0)..=key(number, u32::MAX));
        match before.next_back() {
            Some(entry) => {
                let (key, _) = entry.map_err(|error| self.read_error(error))?;
                first_of(&key).ok_or_else(|| self.damage(number, "a foreign key").into())
            }
            None => Err(self.damage(number, "it is missing").into()),
        }
    }

    /// One record, checked without hashing its whole group.
    pub(super) fn record(&self, number: RecordNumber) -> Result<Option<Record>, ReadError> {
        let first = self.group_of(number)?;
        let bytes = self
            .bytes(first)
            .map_err(|error| self.read_error(error))?
            .unwrap_or_default();
        format::find_record(&bytes, number).map_err(|error| self.damage(number, &error.to_string()).into())
    }

    fn read_error(&self, error: sled::Error) -> ReadError {
        ReadError::disk(
            format!("cannot read the database {}", self.path().display()),
            error,
        )
    }

    pub(super) fn damage(&self, record: RecordNumber, reason: &str) -> Damage {
        Damage {
            file: self.path().to_owned(),
            record,
            offset: 0,
            reason: reason.to_owned(),
        }
    }

    /// Ends the database and returns its directory, which may then be removed.
    pub(super) fn close(mut self) -> Result<PathBuf, EngineError> {
        let path = self.path().to_owned();
        self.engine.take().map_or(Ok(()), Engine::close)?;
        Ok(path)
    }
}

impl Drop for Database {
    /// sled's threads hold the files a moment longer than its handle: whoever opens the log next would find them locked.
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            // What was acknowledged is synced, so there is nothing an error here could lose.
            let _ = engine.close();
        }
    }
}

/// Where the walk over a database ended.
pub(super) struct Walked {
    pub(super) tail: Anchor,
    /// The bytes of its groups.
    pub(super) bytes: u64,
    /// A group at the end that is not whole: its bytes and what is wrong.
    pub(super) torn: Option<(u64, String)>,
}

impl Database {
    /// Reads and verifies every group, and shows each on the way.
    pub(super) fn walk(&self, each: &mut EachGroup<'_>) -> Result<Walked, OpenError> {
        let mut walked = Walked {
            tail: self.head.anchor,
            bytes: 0,
            torn: None,
        };
        let engine_error = |error: sled::Error| {
            OpenError::disk(
                format!("cannot read the database {}", self.path().display()),
                error,
            )
        };
        loop {
            let next = walked.tail.last.next();
            let Some(bytes) = self.bytes(next).map_err(engine_error)? else {
                break;
            };
            match Group::decode(&bytes) {
                Ok(group) => {
                    check_follows(self.head.partition, self.head.epoch, &walked.tail, &group)
                        .map_err(|wrong| self.damage(next, wrong))?;
                    walked.tail = Anchor::after(&group);
                    walked.bytes += group.bytes().len() as u64;
                    let place = GroupPlace {
                        file: self.path(),
                        offset: 0,
                        before: self.head.anchor,
                    };
                    each(place, &group);
                }
                Err(FormatError::Version(version)) => {
                    return Err(OpenError::TooNew {
                        file: self.path().to_owned(),
                        version,
                    });
                }
                Err(error) if self.was_complete(next, &bytes).map_err(engine_error)? => {
                    let reason = format!("{error}; it was complete once");
                    return Err(self.damage(next, &reason).into());
                }
                Err(error) => {
                    walked.torn = Some((bytes.len() as u64, error.to_string()));
                    break;
                }
            }
        }
        let next = walked.tail.last.next();
        if let Some(later) = self.begins_behind(next).map_err(engine_error)? {
            let what = walked
                .torn
                .map_or("it is missing".to_owned(), |(_, reason)| reason);
            return Err(self
                .damage(next, &format!("{what}; the log goes on with record {later}"))
                .into());
        }
        Ok(walked)
    }
}
