//! Reads a snapshot file from end to end, trusting nothing: every length is checked before it is used, every block before
//! it is unpacked, the whole before the iterator ends.
use super::{
    Counts, Damage, Digest, EntityKind, Item, Manifest, Place, SnapshotError, Summary,
    format::{Content, End, FORMAT, HEAD_BYTES, Head, MAGIC, PROLOGUE_BYTES, Prologue, take_item},
};
use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek},
    path::{Path, PathBuf},
};

/// Reads the whole file and judges it; keeps nothing of it.
///
/// # Errors
/// The first fault, with its place.
pub fn verify(path: &Path) -> Result<Summary, SnapshotError> {
    SnapshotReader::open(path)?.verify()
}

/// A snapshot being read: an iterator over its entities and then its records. Memory is bounded by one block. The end
/// comes only after count, digest and length of the file were found right; before that nothing is certain.
pub struct SnapshotReader {
    source: Source,
    manifest: Manifest,
    unpacker: zstd::bulk::Decompressor<'static>,
    block: Block,
    blocks: u32,
    counts: Counts,
    content_bytes: u64,
    last_record: Option<u64>,
    digest: blake3::Hasher,
    summary: Option<Summary>,
    /// What is read of a file that was verified before; `None` is everything.
    only: Option<Only>,
    /// Nothing more comes, good or bad.
    ended: bool,
}

/// A part of a snapshot.
#[derive(Clone, Copy)]
enum Only {
    Entities(&'static [EntityKind]),
    Records,
}

impl Only {
    fn wants(self, content: Content) -> bool {
        match (self, content) {
            (_, Content::End) => true,
            (Self::Entities(kinds), Content::Entities(kind)) => kinds.contains(&kind),
            (Self::Records, Content::Records) => true,
            (Self::Entities(_), Content::Records) | (Self::Records, Content::Entities(_)) => false,
        }
    }
}

/// The block being read.
struct Block {
    /// Where its head begins in the file.
    offset: u64,
    content: Content,
    bytes: Vec<u8>,
    at: usize,
    left: u32,
}

impl SnapshotReader {
    /// Opens a snapshot and reads its manifest.
    ///
    /// # Errors
    /// [`SnapshotError`]; a format of a later version is told apart from damage.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        Self::read(Source::open(path)?)
    }

    /// Reads a snapshot that is in memory, such as the one in the binary; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`SnapshotReader::open`].
    pub fn from_bytes(name: &Path, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, SnapshotError> {
        let bytes = bytes.into();
        Self::read(Source {
            path: name.to_owned(),
            length: bytes.len() as u64,
            input: Box::new(Cursor::new(bytes)),
            offset: 0,
        })
    }

    fn read(mut source: Source) -> Result<Self, SnapshotError> {
        let manifest = read_manifest(&mut source)?;
        let unpacker = zstd::bulk::Decompressor::new().map_err(|error| source.io("read", error))?;
        let block = Block {
            offset: 0,
            content: Content::End,
            bytes: Vec::new(),
            at: 0,
            left: 0,
        };
        Ok(Self {
            source,
            manifest,
            unpacker,
            block,
            blocks: 0,
            counts: Counts::default(),
            content_bytes: 0,
            last_record: None,
            digest: blake3::Hasher::new(),
            summary: None,
            only: None,
            ended: false,
        })
    }

    /// Steps over all entities of other kinds, and the records. Only of a file that [`verify`] has judged: what is stepped
    /// over is not looked at, so the end proves nothing.
    pub fn only(mut self, kinds: &'static [EntityKind]) -> Part {
        self.only = Some(Only::Entities(kinds));
        Part(self)
    }

    /// Steps over all entities, as [`SnapshotReader::only`] does over some.
    pub fn only_records(mut self) -> Part {
        self.only = Some(Only::Records);
        Part(self)
    }

    /// What the file says about itself; agrees with the content once the iterator has ended.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.source.length
    }

    /// Reads what is left and judges the whole; keeps nothing of it.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn verify(mut self) -> Result<Summary, SnapshotError> {
        for item in self.by_ref() {
            item?;
        }
        Ok(self
            .into_summary()
            .expect("a reader that ended without an error has seen the end mark"))
    }

    /// What was found, once the iterator has ended without an error.
    pub fn into_summary(self) -> Option<Summary> {
        self.summary
    }

    /// The next entry, or `None` after the end mark.
    fn advance(&mut self) -> Result<Option<Item>, SnapshotError> {
        while self.block.left == 0 {
            let (offset, index) = (self.source.offset, self.blocks);
            let damaged = |source: &Source, damage| source.damaged(Place::Block(index), offset, damage);
            if self.block.at < self.block.bytes.len() {
                let damage = Damage::Malformed("the block is longer than its entries");
                return Err(self
                    .source
                    .damaged(Place::Block(index - 1), self.block.offset, damage));
            }
            let Some((head, payload)) = self.read_block()? else {
                self.blocks += 1;
                continue;
            };
            if head.content == Content::End {
                if self.only.is_some() {
                    return Ok(None);
                }
                let end = End::decode(&payload).map_err(|damage| damaged(&self.source, damage))?;
                self.close(end, offset)?;
                return Ok(None);
            }
            if self.last_record.is_some() && head.content != Content::Records {
                let damage = Damage::Malformed("entities come after the records of the log tail");
                return Err(damaged(&self.source, damage));
            }
            let bytes = self
                .unpack(&payload, head.unpacked)
                .map_err(|damage| damaged(&self.source, damage))?;
            self.block = Block {
                offset,
                content: head.content,
                bytes,
                at: 0,
                left: head.count,
            };
            self.content_bytes += u64::from(head.unpacked);
            self.blocks += 1;
        }
        let item = self.take_item();
        item.map(Some).map_err(|damage| {
            self.source
                .damaged(Place::Block(self.blocks - 1), self.block.offset, damage)
        })
    }

    /// The next block's head and payload, checked but still packed; `None` for one that is stepped over.
    fn read_block(&mut self) -> Result<Option<(Head, Vec<u8>)>, SnapshotError> {
        let (place, offset) = (Place::Block(self.blocks), self.source.offset);
        let head_bytes = self.source.read::<HEAD_BYTES>(place)?;
        let (raw, crc) =
            Head::decode(&head_bytes).map_err(|damage| self.source.damaged(place, offset, damage))?;
        if let Some(only) = self.only {
            let head = Head::check(raw, self.blocks);
            let head = head.map_err(|damage| self.source.damaged(place, offset, damage))?;
            if !only.wants(head.content) {
                self.source.skip(raw.packed)?;
                return Ok(None);
            }
        }
        let payload = self.source.read_vec(raw.packed, place)?;
        let judge = || {
            let computed = crc32c::crc32c_append(crc32c::crc32c(&head_bytes[..HEAD_BYTES - 4]), &payload);
            if computed != crc {
                return Err(Damage::Checksum);
            }
            Head::check(raw, self.blocks)
        };
        let head = judge().map_err(|damage| self.source.damaged(place, offset, damage))?;
        Ok(Some((head, payload)))
    }

    /// Unpacks into exactly the declared room, so that a bomb bursts here.
    fn unpack(&mut self, packed: &[u8], declared: u32) -> Result<Vec<u8>, Damage> {
        let mut bytes = Vec::with_capacity(declared as usize);
        match self.unpacker.decompress_to_buffer(packed, &mut bytes) {
            Ok(length) if length == declared as usize => Ok(bytes),
            Ok(_) | Err(_) => Err(Damage::Unpack { declared }),
        }
    }

    fn take_item(&mut self) -> Result<Item, Damage> {
        let block = &mut self.block;
        let start = block.at;
        let (item, length) = take_item(block.content, &block.bytes[start..])?;
        block.at += length;
        block.left -= 1;
        match &item {
            Item::Entity(entry) => self.counts.add(entry.kind, 1),
            Item::Record(record) => {
                if let Some(last) = self.last_record
                    && last.checked_add(1) != Some(record.number)
                {
                    return Err(Damage::Malformed("the records of the log tail have a gap"));
                }
                self.last_record = Some(record.number);
                self.counts.records += 1;
            }
        }
        self.digest.update(&block.content.code());
        self.digest.update(&block.bytes[start..block.at]);
        Ok(item)
    }

    /// Compares what was read with the end mark and the manifest, and looks for bytes behind.
    fn close(&mut self, end: End, offset: u64) -> Result<(), SnapshotError> {
        let digest = Digest(self.digest.finalize().into());
        let found = End {
            entities: self.counts.all_entities(),
            records: self.counts.records,
            content_bytes: self.content_bytes,
            blocks: self.blocks,
            digest,
        };
        let place = Place::Block(self.blocks);
        if found.digest != end.digest {
            return Err(self.source.damaged(place, offset, Damage::Digest));
        }
        if found != end {
            let damage = Damage::Malformed("the end mark counts otherwise");
            return Err(self.source.damaged(place, offset, damage));
        }
        for (member, agrees) in [
            ("format", self.manifest.format == FORMAT),
            ("digest", self.manifest.digest == digest.to_string()),
            ("counts", self.manifest.counts == self.counts),
        ] {
            if !agrees {
                let damage = Damage::ManifestDiffers(member);
                return Err(self
                    .source
                    .damaged(Place::Manifest, PROLOGUE_BYTES as u64, damage));
            }
        }
        if self.source.offset != self.source.length {
            let offset = self.source.offset;
            return Err(self.source.damaged(Place::AfterEnd, offset, Damage::Trailing));
        }
        self.summary = Some(Summary {
            bytes: self.source.length,
            digest,
            counts: self.counts.clone(),
            blocks: self.blocks,
        });
        Ok(())
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Item, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A part of a snapshot being read, see [`SnapshotReader::only`].
pub struct Part(SnapshotReader);

impl Iterator for Part {
    type Item = Result<Item, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

fn read_manifest(source: &mut Source) -> Result<Manifest, SnapshotError> {
    let mut bytes = [0; PROLOGUE_BYTES];
    let (magic, rest) = bytes.split_at_mut(MAGIC.len());
    if source.length >= MAGIC.len() as u64 {
        source.fill(magic, Place::Prologue)?;
    }
    if magic != MAGIC {
        let path = source.path.clone();
        return Err(SnapshotError::NotASnapshot { path });
    }
    source.fill(rest, Place::Prologue)?;
    let prologue = Prologue::decode(&bytes);
    let prologue = prologue.map_err(|damage| source.damaged(Place::Prologue, 0, damage))?;
    let offset = source.offset;
    let json = source.read_vec(prologue.manifest_bytes, Place::Manifest)?;
    if crc32c::crc32c(&json) != prologue.manifest_crc {
        return Err(source.damaged(Place::Manifest, offset, Damage::Checksum));
    }
    if prologue.format == 0 || prologue.format > FORMAT {
        return Err(SnapshotError::UnknownFormat {
            path: source.path.clone(),
            format: prologue.format,
            written_by: writer_named_in(&json),
        });
    }
    serde_json::from_slice(&json)
        .map_err(|error| source.damaged(Place::Manifest, offset, Damage::Manifest(error.to_string())))
}

/// Who wrote a file of a later format; the manifest keeps this member in every format.
fn writer_named_in(json: &[u8]) -> String {
    let manifest = serde_json::from_slice::<serde_json::Value>(json).ok();
    let writer = manifest
        .as_ref()
        .and_then(|manifest| manifest["writtenBy"].as_str());
    writer
        .unwrap_or("a version that does not say its name")
        .to_owned()
}

/// Where a snapshot is read from.
trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

/// The input with its name and position, so that every fault can say where it is.
struct Source {
    path: PathBuf,
    input: Box<dyn Input>,
    offset: u64,
    length: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, SnapshotError> {
        let path = path.to_owned();
        match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((length, file)) => Ok(Self {
                path,
                input: Box::new(BufReader::new(file)),
                offset: 0,
                length,
            }),
            Err(source) => Err(SnapshotError::Io {
                doing: "open",
                path,
                source,
            }),
        }
    }

    fn read<const N: usize>(&mut self, place: Place) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, place)?;
        Ok(bytes)
    }

    /// Reads `length` bytes; the caller has checked it against a limit, this also against what the file has left.
    fn read_vec(&mut self, length: u32, place: Place) -> Result<Vec<u8>, SnapshotError> {
        if u64::from(length) > self.length.saturating_sub(self.offset) {
            return Err(self.damaged(place, self.length, Damage::Truncated));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, place)?;
        Ok(bytes)
    }

    fn skip(&mut self, length: u32) -> Result<(), SnapshotError> {
        let skipped = self.input.seek_relative(i64::from(length));
        skipped.map_err(|error| self.io("read", error))?;
        self.offset += u64::from(length);
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], place: Place) -> Result<(), SnapshotError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(place, self.length, Damage::Truncated))
            }
            Err(error) => Err(self.io("read", error)),
        }
    }

    fn damaged(&self, place: Place, offset: u64, damage: Damage) -> SnapshotError {
        SnapshotError::Damaged {
            path: self.path.clone(),
            place,
            offset,
            damage,
        }
    }

    fn io(&self, doing: &'static str, source: io::Error) -> SnapshotError {
        let path = self.path.clone();
        SnapshotError::Io { doing, path, source }
    }
}
