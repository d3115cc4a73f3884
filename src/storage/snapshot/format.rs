//! The bytes of format 1: prologue, block heads, entries, end mark. The layout is drawn at the module's head.
use super::{Damage, Digest, EntityKind, Entry, Item, TailRecord};

/// The format that this version writes, and the newest it reads.
pub const FORMAT: u16 = 1;
/// A block is closed as soon as its entries have this many bytes.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// The longest entry as it stands in a block. Entity states are stored in small pages and a log record is smaller than a
/// group (512 KiB), so both fit with room to spare.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;
/// The longest id of an entity.
pub const ID_BYTES_MAX: usize = 1024;

/// What a block may unpack to: one that was almost full, and one longest entry.
pub(super) const UNPACKED_MAX: usize = BLOCK_BYTES + ENTRY_BYTES_MAX;
/// What a block may take in the file: zstd's own bound for bytes that cannot be compressed, rounded up.
pub(super) const PACKED_MAX: usize = UNPACKED_MAX + UNPACKED_MAX / 128;
/// Where the writer leaves room for its manifest.
pub(super) const MANIFEST_SPACE: usize = 8 * 1024;
/// The longest manifest that is read.
pub(super) const MANIFEST_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(PACKED_MAX <= u32::MAX as usize && MANIFEST_SPACE <= MANIFEST_BYTES_MAX);

/// With a line end of each kind, so that a transfer as text shows at once.
pub(super) const MAGIC: [u8; 8] = *b"HFSNAP\r\n";
pub(super) const PROLOGUE_BYTES: usize = 24;
pub(super) const HEAD_BYTES: usize = 28;
pub(super) const END_BYTES: usize = 60;
/// Number and lengths in front of an entity's id and state.
pub(super) const ENTITY_FIXED_BYTES: usize = 14;
/// Number, time and length in front of a record's payload.
pub(super) const RECORD_FIXED_BYTES: usize = 20;
const BLOCK_MARK: [u8; 4] = *b"HFBK";

/// The first bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prologue {
    pub(super) format: u16,
    pub(super) manifest_bytes: u32,
    pub(super) manifest_crc: u32,
}

impl Prologue {
    pub(super) fn encode(self) -> [u8; PROLOGUE_BYTES] {
        let mut bytes = [0; PROLOGUE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.manifest_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.manifest_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a prologue whose magic has been checked. The format number is not judged here.
    pub(super) fn decode(bytes: &[u8; PROLOGUE_BYTES]) -> Result<Self, Damage> {
        let mut fields = Fields(bytes);
        fields.skip(8);
        let format = fields.u16();
        fields.skip(2);
        let (manifest_bytes, manifest_crc, crc) = (fields.u32(), fields.u32(), fields.u32());
        if crc != crc32c::crc32c(&bytes[..20]) {
            return Err(Damage::Checksum);
        }
        within("the manifest's length", manifest_bytes, MANIFEST_BYTES_MAX)?;
        Ok(Self {
            format,
            manifest_bytes,
            manifest_crc,
        })
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Entities(EntityKind),
    Records,
    End,
}

impl Content {
    /// The two bytes that stand for it, in a block's head and in the digest.
    pub(super) const fn code(self) -> [u8; 2] {
        match self {
            Self::Entities(kind) => [1, kind.0],
            Self::Records => [2, 0],
            Self::End => [255, 0],
        }
    }

    fn from_code(code: [u8; 2]) -> Result<Self, Damage> {
        match code {
            [1, kind] => Ok(Self::Entities(EntityKind(kind))),
            [2, 0] => Ok(Self::Records),
            [255, 0] => Ok(Self::End),
            _ => Err(Damage::Malformed("the block's content is of no known kind")),
        }
    }
}

/// The head of a block; its checksum also covers the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) index: u32,
    pub(super) content: Content,
    pub(super) count: u32,
    pub(super) unpacked: u32,
    pub(super) packed: u32,
}

impl Head {
    /// Head and payload, ready to be written.
    pub(super) fn seal(self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
        bytes.extend(BLOCK_MARK);
        bytes.extend(self.index.to_le_bytes());
        bytes.extend(self.content.code());
        bytes.extend([0, 0]);
        for field in [self.count, self.unpacked, self.packed] {
            bytes.extend(field.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Reads a head far enough to fetch its payload: mark, lengths within their limits, and the checksum it claims. What
    /// else it says counts only after [`Head::check`].
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<(RawHead, u32), Damage> {
        let mut fields = Fields(bytes);
        if fields.array::<4>() != BLOCK_MARK {
            return Err(Damage::NoBlock);
        }
        let (index, code) = (fields.u32(), fields.array::<2>());
        fields.skip(2);
        let (count, unpacked, packed, crc) = (fields.u32(), fields.u32(), fields.u32(), fields.u32());
        within("the unpacked length", unpacked, UNPACKED_MAX)?;
        within("the packed length", packed, PACKED_MAX)?;
        let raw = RawHead {
            index,
            code,
            count,
            unpacked,
            packed,
        };
        Ok((raw, crc))
    }

    /// The head once its bytes and payload are known to be those that were written, at the place they were written for.
    pub(super) fn check(raw: RawHead, index: u32) -> Result<Self, Damage> {
        if raw.index != index {
            return Err(Damage::WrongBlock { found: raw.index });
        }
        let content = Content::from_code(raw.code)?;
        if content != Content::End && raw.count == 0 {
            return Err(Damage::Malformed("the block is empty"));
        }
        Ok(Self {
            index,
            content,
            count: raw.count,
            unpacked: raw.unpacked,
            packed: raw.packed,
        })
    }
}

/// A head of which only the lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawHead {
    index: u32,
    code: [u8; 2],
    count: u32,
    unpacked: u32,
    pub(super) packed: u32,
}

/// The last bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) entities: u64,
    pub(super) records: u64,
    pub(super) content_bytes: u64,
    pub(super) blocks: u32,
    pub(super) digest: Digest,
}

impl End {
    pub(super) fn encode(self) -> [u8; END_BYTES] {
        let mut bytes = [0; END_BYTES];
        bytes[..8].copy_from_slice(&self.entities.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.content_bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[28..].copy_from_slice(&self.digest.0);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        if bytes.len() != END_BYTES {
            return Err(Damage::Malformed("the end mark has another length"));
        }
        let mut fields = Fields(bytes);
        Ok(Self {
            entities: fields.u64(),
            records: fields.u64(),
            content_bytes: fields.u64(),
            blocks: fields.u32(),
            digest: Digest(fields.array()),
        })
    }
}

/// Appends an entity to a block. The caller has checked its lengths.
pub(super) fn put_entity(block: &mut Vec<u8>, entry: &Entry) {
    let id_bytes = u16::try_from(entry.id.len()).expect("checked against ID_BYTES_MAX");
    let state_bytes = u32::try_from(entry.state.len()).expect("checked against ENTRY_BYTES_MAX");
    block.extend(entry.number.to_le_bytes());
    block.extend(id_bytes.to_le_bytes());
    block.extend(state_bytes.to_le_bytes());
    block.extend(&entry.id);
    block.extend(&entry.state);
}

/// Appends a record to a block. The caller has checked its length.
pub(super) fn put_record(block: &mut Vec<u8>, record: &TailRecord) {
    let payload_bytes = u32::try_from(record.payload.len()).expect("checked against ENTRY_BYTES_MAX");
    block.extend(record.number.to_le_bytes());
    block.extend(record.logged_at.to_le_bytes());
    block.extend(payload_bytes.to_le_bytes());
    block.extend(&record.payload);
}

/// Reads the entry at the start of `bytes`; also returns its length.
pub(super) fn take_item(content: Content, bytes: &[u8]) -> Result<(Item, usize), Damage> {
    let short = || Damage::Malformed("an entry goes beyond its block");
    let (fixed, tail) = match content {
        Content::Entities(_) => bytes.split_at_checked(ENTITY_FIXED_BYTES),
        Content::Records => bytes.split_at_checked(RECORD_FIXED_BYTES),
        Content::End => None,
    }
    .ok_or_else(short)?;
    let mut fields = Fields(fixed);
    let number = fields.u64();
    if let Content::Entities(kind) = content {
        let (id_bytes, state_bytes) = (usize::from(fields.u16()), fields.u32() as usize);
        within("the id's length", id_bytes, ID_BYTES_MAX)?;
        let (id, tail) = tail.split_at_checked(id_bytes).ok_or_else(short)?;
        let state = tail.get(..state_bytes).ok_or_else(short)?;
        let entry = Entry {
            kind,
            id: id.to_vec(),
            number,
            state: state.to_vec(),
        };
        Ok((Item::Entity(entry), ENTITY_FIXED_BYTES + id_bytes + state_bytes))
    } else {
        let (logged_at, payload_bytes) = (fields.u64().cast_signed(), fields.u32() as usize);
        let payload = tail.get(..payload_bytes).ok_or_else(short)?.to_vec();
        let record = TailRecord {
            number,
            logged_at,
            payload,
        };
        Ok((Item::Record(record), RECORD_FIXED_BYTES + payload_bytes))
    }
}

fn within<N: TryInto<u64>>(what: &'static str, found: N, limit: usize) -> Result<(), Damage> {
    let (found, limit) = (found.try_into().unwrap_or(u64::MAX), limit as u64);
    (found <= limit)
        .then_some(())
        .ok_or(Damage::OverLimit { what, found, limit })
}

/// Fixed fields read one after another; the callers pass slices that are long enough.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .expect("the layout's length was checked");
        self.0 = rest;
        *field
    }

    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prologue_head_and_end_are_frozen() {
        let prologue = Prologue {
            format: 1,
            manifest_bytes: 0x0102,
            manifest_crc: 0x0a0b_0c0d,
        };
        assert_eq!(
            hex(&prologue.encode()),
            "4846534e41500d0a01000000020100000d0c0b0a4bf2f0e4"
        );
        assert_eq!(Prologue::decode(&prologue.encode()), Ok(prologue));

        let head = Head {
            index: 7,
            content: Content::Entities(EntityKind::VARIANT),
            count: 2,
            unpacked: 300,
            packed: 3,
        };
        let sealed = head.seal(b"abc");
        assert_eq!(
            hex(&sealed),
            "4846424b0700000001010000020000002c01000003000000bd93fcc4616263"
        );
        let (raw, _) = Head::decode(sealed[..HEAD_BYTES].try_into().unwrap()).unwrap();
        assert_eq!(Head::check(raw, 7), Ok(head));
        assert_eq!(Head::check(raw, 8), Err(Damage::WrongBlock { found: 7 }));

        let end = End {
            entities: 1,
            records: 2,
            content_bytes: 3,
            blocks: 4,
            digest: Digest([5; 32]),
        };
        assert_eq!(End::decode(&end.encode()), Ok(end));
    }

    #[test]
    fn lengths_are_checked_at_their_limits() {
        let head = |unpacked: usize| {
            let unpacked = u32::try_from(unpacked).unwrap();
            let content = Content::Records;
            let head = Head {
                index: 0,
                content,
                count: 1,
                unpacked,
                packed: 0,
            };
            Head::decode(head.seal(b"")[..].try_into().unwrap()).map(|_| ())
        };
        assert_eq!(head(UNPACKED_MAX), Ok(()));
        assert!(matches!(head(UNPACKED_MAX + 1), Err(Damage::OverLimit { .. })));
        assert_eq!(within("x", MANIFEST_BYTES_MAX, MANIFEST_BYTES_MAX), Ok(()));
    }

    #[test]
    fn an_entry_beyond_its_block_is_malformed() {
        let record = TailRecord {
            number: 9,
            logged_at: -1,
            payload: b"payload".to_vec(),
        };
        let mut block = Vec::new();
        put_record(&mut block, &record);
        for length in 0..block.len() {
            assert!(take_item(Content::Records, &block[..length]).is_err(), "{length}");
        }
        assert_eq!(
            take_item(Content::Records, &block),
            Ok((Item::Record(record), block.len()))
        );
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
