//! Writes a snapshot file: under a temporary name, synced, read back, renamed, its directory synced. A reader never sees
//! half a file, and a file without its first bytes (they are written last) is no snapshot.
use super::{
    About, Counts, Digest, Entry, Manifest, SnapshotError, SnapshotReader, Stand, Summary, TailRecord,
    format::{
        BLOCK_BYTES, Content, END_BYTES, ENTITY_FIXED_BYTES, ENTRY_BYTES_MAX, End, FORMAT, Head,
        ID_BYTES_MAX, MANIFEST_SPACE, PROLOGUE_BYTES, Prologue, RECORD_FIXED_BYTES, put_entity, put_record,
    },
    verify,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

/// What is written between two syncs: a flood of unsynced pages would hold up everybody else's.
const SYNC_BYTES: usize = 4 << 20;

/// zstd's level: 3 packs a million variants in seconds; higher ones gain a few percent.
const LEVEL: i32 = 3;

/// A snapshot being written. Dropped without [`SnapshotWriter::finish`], it leaves nothing behind.
pub struct SnapshotWriter {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    packer: zstd::bulk::Compressor<'static>,
    /// Entries of the open block, as they stand in the file once packed.
    block: Vec<u8>,
    content: Content,
    unsynced: usize,
    in_block: u32,
    blocks: u32,
    counts: Counts,
    content_bytes: u64,
    last_record: Option<u64>,
    digest: blake3::Hasher,
}

impl SnapshotWriter {
    /// Begins a snapshot that will be `path` once it is finished. Two writers of one path at a time are the caller's to
    /// prevent.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn create(path: &Path) -> Result<Self, SnapshotError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create(&partial).map_err(|source| failed("create", &partial, source))?;
        let mut writer = Self {
            path: path.to_owned(),
            partial,
            file,
            packer: zstd::bulk::Compressor::new(LEVEL)
                .map_err(|source| failed("pack blocks of", path, source))?,
            block: Vec::with_capacity(BLOCK_BYTES),
            content: Content::End,
            unsynced: 0,
            in_block: 0,
            blocks: 0,
            counts: Counts::default(),
            content_bytes: 0,
            last_record: None,
            digest: blake3::Hasher::new(),
        };
        writer.write(&[0; PROLOGUE_BYTES + MANIFEST_SPACE])?;
        Ok(writer)
    }

    /// Adds a state. Entities of one kind in a row share blocks.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], or the entry exceeds a limit, or records have begun.
    pub fn entity(&mut self, entry: &Entry) -> Result<(), SnapshotError> {
        if self.last_record.is_some() {
            return Err(SnapshotError::EntityAfterRecord);
        }
        if entry.id.len() > ID_BYTES_MAX {
            let bytes = entry.id.len();
            return Err(SnapshotError::IdTooLong { bytes });
        }
        entry_fits(ENTITY_FIXED_BYTES + entry.id.len() + entry.state.len())?;
        let content = Content::Entities(entry.kind);
        self.counts.add(entry.kind, 1);
        self.add(content, |block| put_entity(block, entry))
    }

    /// Adds a record of the log tail; each continues the one before.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], or the record exceeds a limit or leaves a gap.
    pub fn record(&mut self, record: &TailRecord) -> Result<(), SnapshotError> {
        if let Some(last) = self.last_record
            && last.checked_add(1) != Some(record.number)
        {
            let found = record.number;
            return Err(SnapshotError::RecordGap { last, found });
        }
        entry_fits(RECORD_FIXED_BYTES + record.payload.len())?;
        self.last_record = Some(record.number);
        self.counts.records += 1;
        self.add(Content::Records, |block| put_record(block, record))
    }

    fn add(&mut self, content: Content, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), SnapshotError> {
        if content != self.content {
            self.close_block()?;
            self.content = content;
        }
        let start = self.block.len();
        put(&mut self.block);
        self.digest.update(&content.code());
        self.digest.update(&self.block[start..]);
        self.in_block += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), SnapshotError> {
        if self.in_block == 0 {
            return Ok(());
        }
        let packed = self.packer.compress(&self.block);
        let packed = packed.map_err(|source| failed("pack blocks of", &self.path, source))?;
        let length = |bytes: usize| u32::try_from(bytes).expect("a block is bounded by UNPACKED_MAX");
        let head = Head {
            index: self.blocks,
            content: self.content,
            count: self.in_block,
            unpacked: length(self.block.len()),
            packed: length(packed.len()),
        };
        self.write(&head.seal(&packed))?;
        self.blocks += 1;
        self.content_bytes += self.block.len() as u64;
        self.in_block = 0;
        self.block.clear();
        Ok(())
    }

    /// Ends the file, syncs it, reads it back and gives it its name.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], a manifest beyond its space, or a file that reads back otherwise; the earlier file of that
    /// name, if any, is untouched then.
    pub fn finish(self, about: About) -> Result<Summary, SnapshotError> {
        let sealed = self.seal(about)?;
        sealed.publish_as_it_is()
    }

    /// Ends the file, syncs it and reads it back; it does not have its name yet.
    ///
    /// # Errors
    /// As [`SnapshotWriter::finish`].
    pub fn seal(mut self, about: About) -> Result<Sealed, SnapshotError> {
        self.close_block()?;
        let digest = Digest(self.digest.finalize().into());
        let end = End {
            entities: self.counts.all_entities(),
            records: self.counts.records,
            content_bytes: self.content_bytes,
            blocks: self.blocks,
            digest,
        };
        let length = u32::try_from(END_BYTES).expect("60");
        let head = Head {
            index: self.blocks,
            content: Content::End,
            count: 0,
            unpacked: length,
            packed: length,
        };
        self.write(&head.seal(&end.encode()))?;
        let manifest = Manifest::new(about, self.counts.clone(), digest);
        self.write_opening(&manifest)?;
        let summary = verify(&self.partial)?;
        if (summary.digest, &summary.counts) != (digest, &self.counts) {
            let path = self.partial.clone();
            return Err(SnapshotError::ReadBackDiffers { path });
        }
        Ok(Sealed {
            writer: self,
            manifest,
            summary,
        })
    }

    /// Writes prologue and manifest, and syncs.
    fn write_opening(&mut self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let opening = opening(manifest)?;
        self.file
            .rewind()
            .map_err(|source| failed("write", &self.partial, source))?;
        self.write(&opening)?;
        self.file
            .sync_all()
            .map_err(|source| failed("sync", &self.partial, source))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.file
            .write_all(bytes)
            .map_err(|source| failed("write", &self.partial, source))?;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file
                .sync_data()
                .map_err(|source| failed("sync", &self.partial, source))?;
        }
        Ok(())
    }
}

/// A file that is whole, synced and read back, under its temporary name. Dropped, it leaves nothing behind.
pub struct Sealed {
    writer: SnapshotWriter,
    manifest: Manifest,
    summary: Summary,
}

impl Sealed {
    /// Where it can be read until it is published.
    pub fn unpublished(&self) -> &Path {
        &self.writer.partial
    }

    /// Gives it another name than was said when it was begun, in the same folder.
    pub fn call(&mut self, path: PathBuf) {
        self.writer.path = path;
    }

    /// Writes what the content amounts to into its manifest, and gives the file its name, durably.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], a manifest beyond its space, or one that reads back otherwise.
    pub fn publish(
        mut self,
        state: Stand,
        totals: BTreeMap<String, u64>,
    ) -> Result<(Manifest, Summary), SnapshotError> {
        self.manifest.state = Some(state);
        self.manifest.totals = totals;
        self.writer.write_opening(&self.manifest)?;
        if *SnapshotReader::open(&self.writer.partial)?.manifest() != self.manifest {
            let path = self.writer.partial.clone();
            return Err(SnapshotError::ReadBackDiffers { path });
        }
        let manifest = self.manifest.clone();
        Ok((manifest, self.publish_as_it_is()?))
    }

    fn publish_as_it_is(self) -> Result<Summary, SnapshotError> {
        let Self { writer, summary, .. } = self;
        let (partial, path) = (&writer.partial, &writer.path);
        fs::rename(partial, path).map_err(|source| failed("rename", partial, source))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| failed("sync", folder, source))?;
        Ok(summary)
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // After the rename there is nothing of this name; an error here hides no earlier one.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Prologue and manifest.
fn opening(manifest: &Manifest) -> Result<Vec<u8>, SnapshotError> {
    let mut json = serde_json::to_vec_pretty(manifest).expect("text, numbers and maps with text keys");
    json.push(b'\n');
    if json.len() > MANIFEST_SPACE {
        return Err(SnapshotError::ManifestTooLong { bytes: json.len() });
    }
    json.resize(MANIFEST_SPACE, b' ');
    let prologue = Prologue {
        format: FORMAT,
        manifest_bytes: u32::try_from(json.len()).expect("MANIFEST_SPACE"),
        manifest_crc: crc32c::crc32c(&json),
    };
    Ok([&prologue.encode()[..], &json].concat())
}

fn entry_fits(bytes: usize) -> Result<(), SnapshotError> {
    (bytes <= ENTRY_BYTES_MAX)
        .then_some(())
        .ok_or(SnapshotError::EntryTooLarge { bytes })
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> SnapshotError {
    let path = path.to_owned();
    SnapshotError::Io { doing, path, source }
}
