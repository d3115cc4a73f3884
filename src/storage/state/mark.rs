//! The mark: how far the rows are. One row, `mark`, in a tree of its own:
//! `version u8 = 1 | change u64 | flag u8 | checkpoint 56 bytes | crc32c u32`, little-endian.
use super::StateError;
use super::changes::Checkpoint;
use super::generation::Generation;
use crate::storage::engine::EngineError;

const KEY: &[u8] = b"mark";
const VERSION: u8 = 1;

/// The last change that is in the rows completely, and the checkpoint they stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) change: u64,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Mark {
    /// The stored mark; `None` before the first change.
    pub(super) fn read(generation: &Generation) -> Result<Option<Mark>, StateError> {
        let dir = generation.engine.dir();
        let stored = generation.mark.get(KEY).map_err(EngineError::sled("read", dir))?;
        match stored {
            None => Ok(None),
            Some(bytes) => match Mark::from_bytes(&bytes) {
                Some(mark) => Ok(Some(mark)),
                None => Err(StateError::DamagedFile { path: dir.join("db") }),
            },
        }
    }

    /// Writes the mark; durable after the next sync.
    pub(super) fn write(&self, generation: &Generation) -> Result<(), StateError> {
        let write = EngineError::sled("write to", generation.engine.dir());
        generation.mark.insert(KEY, self.to_bytes()).map_err(write)?;
        Ok(())
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.change.to_le_bytes());
        out.push(u8::from(self.checkpoint.is_some()));
        out.extend_from_slice(
            &self
                .checkpoint
                .map_or([0; Checkpoint::BYTES], Checkpoint::to_bytes),
        );
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (version, rest) = bytes.split_first()?;
        let (change, rest) = rest.split_first_chunk()?;
        let (has_checkpoint, rest) = rest.split_first()?;
        let checkpoint = Checkpoint::from_bytes(rest)?;
        (*version == VERSION).then_some(Mark {
            change: u64::from_le_bytes(*change),
            checkpoint: (*has_checkpoint != 0).then_some(checkpoint),
        })
    }
}
