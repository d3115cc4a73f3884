//! The bytes of a group, frozen as format version 1.
//!
//! All numbers are little-endian.
//!
//! ```text
//!  group:   0  magic 89 'H' 'F' 'G'          4 bytes   no UTF-8 text contains the first byte, so no text can look like a group
//!           4  format version                u16
//!           6  partition                     u16
//!           8  epoch                         u32
//!          12  count of records              u32
//!          16  number of the first record    u64
//!          24  bytes of all records          u32
//!          28  reserved, zero                u32
//!          32  logged at, Unix ms            i64
//!          40  chain hash of the group before  32 bytes
//!          72  CRC32C of bytes 0..72         u32
//!          76  records, one after the other
//!           …  chain hash of this group: BLAKE3 of every byte above, 32 bytes
//!           …  end mark 'H' 'F' 'G' 'E' 'N' 'D' 0D 0A   8 bytes
//!
//!  record:  0  CRC32C of everything below    u32
//!           4  bytes of the payload          u32
//!           8  number                        u64
//!          16  payload
//!
//!  anchor:  0  magic 89 'H' 'F' 'J'          4 bytes   heads every segment file and database
//!           4  format version                u16
//!           6  partition                     u16
//!           8  epoch                         u32
//!          12  reserved, zero                u32
//!          16  number of the record before   u64
//!          24  its logged at, Unix ms        i64
//!          32  its chain hash                32 bytes
//!          64  CRC32C of bytes 0..64         u32
//! ```
//!
//! Compatibility: magic, version and the header's CRC32C keep their places for ever, so that an old release recognises a new
//! one's group and refuses it by name. Anything else may change only under a new version number, and every version ever
//! released stays readable. The golden bytes below hold version 1 still.
//!
//! The CRC32C finds accidents in a record that is read alone; the chain hash finds them in the whole log and shows that no
//! group was taken out, put in or swapped. Neither is a defence against somebody who rewrites the rest of the log as well.
use bytes::Bytes;

use super::{Anchor, ChainHash, Epoch, PartitionId, Record, RecordNumber};

/// The format version this release writes.
pub const VERSION: u16 = 1;
/// The largest group in bytes, all told: a group is one message of a replicated log one day.
pub const GROUP_BYTES_MAX: usize = 512 * 1024;
/// The bytes before the records of a group.
pub const HEAD_BYTES: usize = 76;
/// The bytes behind the records of a group.
pub const FOOT_BYTES: usize = 32 + END_MARK.len();
/// What a record takes beside its payload.
pub const RECORD_HEAD_BYTES: usize = 16;
/// The largest payload: alone in a group.
pub const PAYLOAD_BYTES_MAX: usize = GROUP_BYTES_MAX - HEAD_BYTES - FOOT_BYTES - RECORD_HEAD_BYTES;
/// The bytes of an anchor.
pub const ANCHOR_BYTES: usize = 68;
/// How a group begins.
pub const GROUP_MAGIC: [u8; 4] = [0x89, b'H', b'F', b'G'];
const ANCHOR_MAGIC: [u8; 4] = [0x89, b'H', b'F', b'J'];
const END_MARK: [u8; 8] = *b"HFGEND\r\n";

/// Why bytes are no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end too early.
    #[error("it is incomplete: {present} of {needed} bytes")]
    Short {
        /// How many there are.
        present: usize,
        /// How many there should be.
        needed: usize,
    },
    /// It does not begin like one.
    #[error("it does not begin with the magic bytes")]
    Magic,
    /// A newer release wrote it.
    #[error("it is in format version {0}")]
    Version(u16),
    /// The header changed.
    #[error("the checksum of its header does not match")]
    HeadChecksum,
    /// A field says what no writer says.
    #[error("its header makes no sense: {0}")]
    Field(&'static str),
    /// A record's length does not fit into the group.
    #[error("record {0} does not fit into its group")]
    RecordLength(RecordNumber),
    /// A record changed.
    #[error("the checksum of record {0} does not match")]
    RecordChecksum(RecordNumber),
    /// A record is out of order.
    #[error("record {found} stands where record {expected} should")]
    RecordOrder {
        /// The number it should have.
        expected: RecordNumber,
        /// The number it has.
        found: RecordNumber,
    },
    /// The group changed.
    #[error("its chain hash does not match its bytes")]
    Chain,
    /// The end is missing.
    #[error("its end mark is missing")]
    EndMark,
}

/// What the first bytes of a group say about the rest; its checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHead {
    /// The stream it belongs to.
    pub partition: PartitionId,
    /// The life of that stream.
    pub epoch: Epoch,
    /// The number of its first record.
    pub first: RecordNumber,
    /// How many records it holds, at least one.
    pub count: u32,
    /// When it was written, Unix milliseconds.
    pub logged_at_ms: i64,
    /// The chain hash of the group before it.
    pub previous: ChainHash,
    records_bytes: usize,
}

impl GroupHead {
    /// Reads the header of a group from the beginning of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        // The magic is judged first: four wrong bytes are no group, however few follow.
        if bytes.len() >= GROUP_MAGIC.len() && bytes[..GROUP_MAGIC.len()] != GROUP_MAGIC {
            return Err(FormatError::Magic);
        }
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Err(FormatError::Short {
                present: bytes.len(),
                needed: HEAD_BYTES,
            });
        };
        if crc32c::crc32c(&head[..72]) != u32_at(head, 72) {
            return Err(FormatError::HeadChecksum);
        }
        if u16_at(head, 4) != VERSION {
            return Err(FormatError::Version(u16_at(head, 4)));
        }
        let decoded = Self {
            partition: PartitionId(u16_at(head, 6)),
            epoch: Epoch(u32_at(head, 8)),
            count: u32_at(head, 12),
            first: RecordNumber(u64_at(head, 16)),
            records_bytes: u32_at(head, 24) as usize,
            logged_at_ms: i64::from_le_bytes(array_at(head, 32)),
            previous: array_at(head, 40),
        };
        decoded.check(u32_at(head, 28))?;
        Ok(decoded)
    }

    fn check(&self, reserved: u32) -> Result<(), FormatError> {
        if reserved != 0 {
            return Err(FormatError::Field("reserved bytes are not zero"));
        }
        if self.count == 0 {
            return Err(FormatError::Field("it holds no record"));
        }
        if self.group_bytes() > GROUP_BYTES_MAX {
            return Err(FormatError::Field("it is larger than a group may be"));
        }
        if self.records_bytes / RECORD_HEAD_BYTES < self.count as usize {
            return Err(FormatError::Field("its records cannot fit"));
        }
        if self.first == RecordNumber::ZERO || self.first.0.checked_add(u64::from(self.count)).is_none() {
            return Err(FormatError::Field("its numbers are out of range"));
        }
        Ok(())
    }

    /// The bytes of the whole group.
    pub fn group_bytes(&self) -> usize {
        HEAD_BYTES + self.records_bytes + FOOT_BYTES
    }

    /// The number of its last record.
    pub fn last(&self) -> RecordNumber {
        RecordNumber(self.first.0 + u64::from(self.count) - 1)
    }
}

/// A complete group: some records that are written and synced as one. It is only made by [`GroupBuilder`] and by
/// [`Group::decode`], so its bytes are always good. Cloning it copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    head: GroupHead,
    chain: ChainHash,
    bytes: Bytes,
}

impl Group {
    /// Reads one group from the beginning of `bytes`, checking everything; bytes behind it are not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn decode(bytes: &Bytes) -> Result<Self, FormatError> {
        let head = GroupHead::decode(bytes)?;
        let needed = head.group_bytes();
        if bytes.len() < needed {
            return Err(FormatError::Short {
                present: bytes.len(),
                needed,
            });
        }
        let bytes = bytes.slice(..needed);
        let (above, foot) = bytes.split_at(needed - FOOT_BYTES);
        let mut walk = Walk::new(&head, above);
        for _ in 0..head.count {
            walk.next()?;
        }
        if !walk.rest.is_empty() {
            return Err(FormatError::Field("bytes are left behind its last record"));
        }
        let chain = *blake3::hash(above).as_bytes();
        if foot[..32] != chain {
            return Err(FormatError::Chain);
        }
        if foot[32..] != END_MARK {
            return Err(FormatError::EndMark);
        }
        Ok(Self { head, chain, bytes })
    }

    /// The stream it belongs to.
    pub fn partition(&self) -> PartitionId {
        self.head.partition
    }

    /// The life of that stream.
    pub fn epoch(&self) -> Epoch {
        self.head.epoch
    }

    /// The number of its first record.
    pub fn first(&self) -> RecordNumber {
        self.head.first
    }

    /// The number of its last record.
    pub fn last(&self) -> RecordNumber {
        self.head.last()
    }

    /// How many records it holds.
    pub fn count(&self) -> u32 {
        self.head.count
    }

    /// When it was written, Unix milliseconds.
    pub fn logged_at_ms(&self) -> i64 {
        self.head.logged_at_ms
    }

    /// The chain hash of the group before it.
    pub fn previous(&self) -> &ChainHash {
        &self.head.previous
    }

    /// Its own chain hash.
    pub fn chain(&self) -> &ChainHash {
        &self.chain
    }

    /// What is written to the device.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its records in order; the payloads share the group's bytes.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let mut offset = HEAD_BYTES;
        (0..u64::from(self.head.count)).map(move |index| {
            let length = u32_at(&self.bytes, offset + 4) as usize;
            let begin = offset + RECORD_HEAD_BYTES;
            offset = begin + length;
            let number = RecordNumber(self.head.first.0 + index);
            let payload = self.bytes.slice(begin..offset);
            Record {
                number,
                logged_at_ms: self.head.logged_at_ms,
                payload,
            }
        })
    }

    /// Its records from number `from` on.
    pub fn records_from(&self, from: RecordNumber) -> impl Iterator<Item = Record> + '_ {
        self.records().skip_while(move |record| record.number < from)
    }
}

/// Reads one record out of the bytes of a group without hashing all of it: the header and this record are checked.
///
/// # Errors
/// What is wrong on the way to the record.
pub fn find_record(bytes: &Bytes, number: RecordNumber) -> Result<Option<Record>, FormatError> {
    let head = GroupHead::decode(bytes)?;
    let needed = head.group_bytes();
    if bytes.len() < needed {
        return Err(FormatError::Short {
            present: bytes.len(),
            needed,
        });
    }
    if number < head.first || number > head.last() {
        return Ok(None);
    }
    let mut walk = Walk::new(&head, &bytes[..needed - FOOT_BYTES]);
    for _ in head.first.0..number.0 {
        walk.skip()?;
    }
    let payload = walk.next()?;
    Ok(Some(Record {
        number,
        logged_at_ms: head.logged_at_ms,
        payload: bytes.slice_ref(payload),
    }))
}

/// The parts of a group that read well although the whole does not: its header, records, and its end mark. As far as the
/// lengths of its records lead.
pub(super) fn good_parts(head: &GroupHead, bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let end = head.group_bytes();
    let above = &bytes[..end - FOOT_BYTES];
    let mut parts: Vec<_> = std::iter::once(0..HEAD_BYTES).collect();
    let mut walk = Walk::new(head, above);
    for _ in 0..head.count {
        let begin = above.len() - walk.rest.len();
        match walk.next() {
            Ok(_) => parts.push(begin..above.len() - walk.rest.len()),
            Err(FormatError::RecordLength(_)) => break,
            Err(_) => {} // the step over it was taken
        }
    }
    if has_end_mark(&bytes[..end]) {
        parts.push(end - END_MARK.len()..end);
    }
    parts
}

/// Whether bytes end as a group does.
pub(super) fn has_end_mark(bytes: &[u8]) -> bool {
    bytes.ends_with(&END_MARK)
}

/// Steps through the records of a group, each step bounded by the bytes that are there.
struct Walk<'a> {
    rest: &'a [u8],
    expected: RecordNumber,
}

impl<'a> Walk<'a> {
    fn new(head: &GroupHead, above: &'a [u8]) -> Self {
        Self {
            rest: &above[HEAD_BYTES..],
            expected: head.first,
        }
    }

    /// Steps over a record; its bytes from the length on, and its checksum.
    fn skip(&mut self) -> Result<(u32, &'a [u8]), FormatError> {
        let short = FormatError::RecordLength(self.expected);
        if self.rest.len() < RECORD_HEAD_BYTES {
            return Err(short);
        }
        let (crc, length) = (u32_at(self.rest, 0), u32_at(self.rest, 4) as usize);
        if length > self.rest.len() - RECORD_HEAD_BYTES {
            return Err(short);
        }
        let (record, rest) = self.rest.split_at(RECORD_HEAD_BYTES + length);
        self.rest = rest;
        self.expected = self.expected.next();
        Ok((crc, &record[4..]))
    }

    /// Steps over a record and checks it; its payload.
    fn next(&mut self) -> Result<&'a [u8], FormatError> {
        let expected = self.expected;
        let (crc, covered) = self.skip()?;
        if crc32c::crc32c(covered) != crc {
            return Err(FormatError::RecordChecksum(expected));
        }
        let found = RecordNumber(u64_at(covered, 4));
        if found != expected {
            return Err(FormatError::RecordOrder { expected, found });
        }
        Ok(&covered[RECORD_HEAD_BYTES - 4..])
    }
}

/// Collects records into a group.
pub struct GroupBuilder {
    bytes: Vec<u8>,
    first: RecordNumber,
    count: u32,
}

impl GroupBuilder {
    /// What a group takes beside its records.
    pub const FRAME_BYTES: usize = HEAD_BYTES + FOOT_BYTES;

    /// A group that goes behind `tail`; `capacity` is a guess of its bytes.
    pub fn new(partition: PartitionId, epoch: Epoch, tail: &Anchor, capacity: usize) -> Self {
        let first = tail.last.next();
        let mut bytes = Vec::with_capacity(capacity.clamp(HEAD_BYTES + FOOT_BYTES, GROUP_BYTES_MAX));
        bytes.extend_from_slice(&GROUP_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&partition.0.to_le_bytes());
        bytes.extend_from_slice(&epoch.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]); // the count, known at the end
        bytes.extend_from_slice(&first.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 16]); // bytes of the records, reserved, logged at: known at the end
        bytes.extend_from_slice(&tail.chain);
        bytes.extend_from_slice(&[0; 4]); // the checksum
        Self {
            bytes,
            first,
            count: 0,
        }
    }

    /// Whether a payload of `length` bytes still fits into `group_bytes`.
    pub fn fits(&self, length: usize, group_bytes: usize) -> bool {
        let free = group_bytes
            .min(GROUP_BYTES_MAX)
            .saturating_sub(self.bytes.len() + FOOT_BYTES + RECORD_HEAD_BYTES);
        self.bytes.len() + FOOT_BYTES + RECORD_HEAD_BYTES <= group_bytes && length <= free
    }

    /// How many records it holds so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a record and returns its number. The caller has asked [`GroupBuilder::fits`].
    pub fn push(&mut self, payload: &[u8]) -> RecordNumber {
        assert!(
            self.fits(payload.len(), GROUP_BYTES_MAX),
            "a group stays within {GROUP_BYTES_MAX} bytes"
        );
        let number = self.first.plus(u64::from(self.count));
        let length = u32::try_from(payload.len()).expect("a group is smaller than 4 GiB");
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&number.0.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        let crc = crc32c::crc32c(&self.bytes[begin + 4..]);
        self.bytes[begin..begin + 4].copy_from_slice(&crc.to_le_bytes());
        self.count += 1;
        number
    }

    /// Closes the group; `None` if it holds no record.
    pub fn finish(mut self, logged_at_ms: i64) -> Option<Group> {
        if self.count == 0 {
            return None;
        }
        let records_bytes =
            u32::try_from(self.bytes.len() - HEAD_BYTES).expect("a group is smaller than 4 GiB");
        self.bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&records_bytes.to_le_bytes());
        self.bytes[32..40].copy_from_slice(&logged_at_ms.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[..72]);
        self.bytes[72..76].copy_from_slice(&crc.to_le_bytes());
        let chain = *blake3::hash(&self.bytes).as_bytes();
        self.bytes.extend_from_slice(&chain);
        self.bytes.extend_from_slice(&END_MARK);
        let head = GroupHead::decode(&self.bytes).expect("we have just written this header");
        Some(Group {
            head,
            chain,
            bytes: Bytes::from(self.bytes),
        })
    }
}

/// Whose log a segment or database is and what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// The stream.
    pub partition: PartitionId,
    /// The life of that stream.
    pub epoch: Epoch,
    /// The end of what lies before.
    pub anchor: Anchor,
}

impl LogHead {
    /// The bytes of an anchor.
    pub fn encode(&self) -> [u8; ANCHOR_BYTES] {
        let mut bytes = [0; ANCHOR_BYTES];
        bytes[..4].copy_from_slice(&ANCHOR_MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.partition.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.anchor.last.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.anchor.logged_at_ms.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.anchor.chain);
        let crc = crc32c::crc32c(&bytes[..64]);
        bytes[64..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads an anchor from the beginning of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some(head) = bytes.first_chunk::<ANCHOR_BYTES>() else {
            return Err(FormatError::Short {
                present: bytes.len(),
                needed: ANCHOR_BYTES,
            });
        };
        if head[..4] != ANCHOR_MAGIC {
            return Err(FormatError::Magic);
        }
        if crc32c::crc32c(&head[..64]) != u32_at(head, 64) {
            return Err(FormatError::HeadChecksum);
        }
        if u16_at(head, 4) != VERSION {
            return Err(FormatError::Version(u16_at(head, 4)));
        }
        let anchor = Anchor {
            last: RecordNumber(u64_at(head, 16)),
            logged_at_ms: i64::from_le_bytes(array_at(head, 24)),
            chain: array_at(head, 32),
        };
        if anchor.last.0 == u64::MAX {
            return Err(FormatError::Field("its number is out of range"));
        }
        Ok(Self {
            partition: PartitionId(u16_at(head, 6)),
            epoch: Epoch(u32_at(head, 8)),
            anchor,
        })
    }
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N]
        .try_into()
        .expect("a slice of N bytes is an array of N bytes")
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(payloads: &[&[u8]]) -> Group {
        let tail = Anchor {
            last: RecordNumber(41),
            chain: [7; 32],
            logged_at_ms: 1_000,
        };
        let mut builder = GroupBuilder::new(PartitionId(2), Epoch(3), &tail, 0);
        for payload in payloads {
            builder.push(payload);
        }
        builder.finish(1_234_567_890_123).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let group = sample(&[b"hold 2 of soap", b""]);
        assert_eq!(
            hex(group.bytes()),
            include_str!("../../../tests/golden/journal-group-v1.hex").trim()
        );
        let head = LogHead {
            partition: PartitionId(2),
            epoch: Epoch(3),
            anchor: Anchor::after(&group),
        };
        assert_eq!(
            hex(&head.encode()),
            include_str!("../../../tests/golden/journal-anchor-v1.hex").trim()
        );
        assert_eq!(LogHead::decode(&head.encode()), Ok(head));
    }

    #[test]
    fn a_group_reads_back() {
        let group = sample(&[b"a", b"", b"ccc"]);
        let mut bytes = group.bytes().to_vec();
        bytes.extend_from_slice(b"what follows is not looked at");
        let decoded = Group::decode(&Bytes::from(bytes)).unwrap();
        assert_eq!(decoded, group);
        let payloads: Vec<_> = decoded
            .records()
            .map(|record| (record.number.0, record.payload.to_vec()))
            .collect();
        assert_eq!(
            payloads,
            [(42, b"a".to_vec()), (43, vec![]), (44, b"ccc".to_vec())]
        );
        assert_eq!(decoded.records_from(RecordNumber(44)).count(), 1);
        assert_eq!(
            find_record(group.bytes(), RecordNumber(44))
                .unwrap()
                .unwrap()
                .payload,
            b"ccc".as_slice()
        );
        assert_eq!(find_record(group.bytes(), RecordNumber(45)), Ok(None));
    }

    #[test]
    fn the_largest_group_is_exactly_the_limit() {
        let group = sample(&[&vec![0; PAYLOAD_BYTES_MAX]]);
        assert_eq!(group.bytes().len(), GROUP_BYTES_MAX);
        assert_eq!(Group::decode(group.bytes()).unwrap(), group);
        let builder = GroupBuilder::new(PartitionId(0), Epoch(0), &Anchor::GENESIS, 0);
        assert!(builder.fits(PAYLOAD_BYTES_MAX, GROUP_BYTES_MAX));
        assert!(!builder.fits(PAYLOAD_BYTES_MAX + 1, GROUP_BYTES_MAX));
        assert!(!builder.fits(0, HEAD_BYTES));
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let good = sample(&[b"a", b"bb"]).bytes().to_vec();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Group::decode(&Bytes::from(bad)).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(
                Group::decode(&Bytes::copy_from_slice(&good[..length])).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = sample(&[b"a"]).bytes().to_vec();
        bytes[4] = 2;
        let crc = crc32c::crc32c(&bytes[..72]);
        bytes[72..76].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Group::decode(&Bytes::from(bytes)), Err(FormatError::Version(2)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&GROUP_MAGIC);
            }
            let bytes = Bytes::from(bytes);
            prop_assert!(Group::decode(&bytes).is_err());
            prop_assert!(find_record(&bytes, RecordNumber(1)).is_err());
            let _ = LogHead::decode(&bytes);
        }

        // The header's checksum is made right again, so that the checks behind it are reached.
        #[test]
        fn mutated_groups_never_panic(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let good = sample(&slices);
            let mut bytes = good.bytes().to_vec();
            for (index, value) in &edits {
                let index = index.index(bytes.len());
                bytes[index] = *value;
            }
            let crc = crc32c::crc32c(&bytes[..72]);
            bytes[72..76].copy_from_slice(&crc.to_le_bytes());
            if let Ok(group) = Group::decode(&Bytes::from(bytes.clone())) {
                prop_assert_eq!(group, good);
            }
            for number in 40..52 {
                let _ = find_record(&Bytes::from(bytes.clone()), RecordNumber(number));
            }
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(Group::decode(&Bytes::from(bytes)).is_err());
        }
    }
}
