//! A request body too large for memory, laid down in the data directory until it is dealt with.
//!
//! The file has no name from the moment it is made: whatever becomes of the process, the space is given back. It is a
//! matter of one request and never synced; the log knows nothing of it.
use super::engine::EngineError;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// A spool being filled.
#[derive(Debug)]
pub struct Spooling {
    file: File,
    digest: blake3::Hasher,
}

/// A filled spool, which can be read from its beginning as often as wanted.
#[derive(Clone, Debug)]
pub struct Spool {
    file: Arc<File>,
    digest: blake3::Hash,
}

impl Spooling {
    /// An empty spool in the data directory `root`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn begin(root: &Path) -> Result<Self, EngineError> {
        let path = root.join(format!("spool-{:032x}", fastrand::u128(..)));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(EngineError::io("create", &path))?;
        fs::remove_file(&path).map_err(EngineError::io("unlink", &path))?;
        let digest = blake3::Hasher::new();
        Ok(Self { file, digest })
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The file system refuses; a full disk is one reason.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes)
    }

    /// The filled spool.
    pub fn finish(self) -> Spool {
        Spool {
            digest: self.digest.finalize(),
            file: Arc::new(self.file),
        }
    }
}

impl Spool {
    /// Of all its bytes.
    pub fn digest(&self) -> &blake3::Hash {
        &self.digest
    }

    /// Reads from the beginning.
    pub fn reader(&self) -> impl Read + Send + use<> {
        SpoolReader {
            file: Arc::clone(&self.file),
            at: 0,
        }
    }
}

struct SpoolReader {
    file: Arc<File>,
    at: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_read_twice_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let mut spooling = Spooling::begin(root.path()).unwrap();
        spooling.push(b"one ").unwrap();
        spooling.push(b"two").unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "it has no name");
        let spool = spooling.finish();
        assert_eq!(spool.digest(), &blake3::hash(b"one two"));
        for _ in 0..2 {
            let mut text = String::new();
            spool.reader().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two");
        }
    }
}
