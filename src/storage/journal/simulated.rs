//! A disk in memory that does what real ones do when the power fails: what was not synced may be there, may be lost, or may
//! be there in part, in any order. Everything it decides comes from its seed.
//!
//! What it promises is what a log may rely on: synced content and synced names stay; a 512-byte sector is written whole or
//! not at all; a rename is one step. After a failed sync the unsynced writes stay unsynced for ever, as on a kernel that marks
//! failed pages clean: a second sync that succeeds does not save them.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;

/// An operation that a plan may let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync_data`].
    Sync,
    /// Anything that changes names or lengths.
    Meta,
}

/// Decides about an operation before it happens, by its kind and its count since the disk was made; an error fails it. It
/// may also wait, which makes a slow disk.
pub type Plan = Box<dyn Fn(Operation, u64) -> io::Result<()> + Send + Sync>;

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    plan: Arc<Mutex<Option<Arc<Plan>>>>,
}

struct State {
    rng: fastrand::Rng,
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    operations: u64,
    power: bool,
    boots: u64,
}

#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Inode {
    /// The device has got as much of what was not synced as it has got: all of a change, nothing, or some of its sectors.
    fn settle(&mut self, rng: &mut fastrand::Rng) {
        for change in std::mem::take(&mut self.unsynced) {
            match rng.u8(0..3) {
                0 => {}
                1 => change.apply(&mut self.durable),
                _ => change.apply_torn(&mut self.durable, rng),
            }
        }
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

#[derive(Clone)]
enum NameChange {
    Add { path: PathBuf, inode: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Add { path, .. } | Self::Remove { path } => path.parent() == Some(dir),
            Self::Rename { from, to } => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Add { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate { len } => content.resize(*len, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// The part of the change that had reached the platter, sector by sector.
    fn apply_torn(&self, content: &mut Vec<u8>, rng: &mut fastrand::Rng) {
        let Self::Write { offset, bytes } = self else {
            if rng.bool() {
                self.apply(content);
            }
            return;
        };
        let mut begin = 0;
        while begin < bytes.len() {
            let sector_end = (offset + begin) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
            let end = bytes.len().min(sector_end - offset);
            if rng.bool() {
                Self::Write {
                    offset: offset + begin,
                    bytes: bytes[begin..end].to_vec(),
                }
                .apply(content);
            }
            begin = end;
        }
    }
}

impl SimulatedDisk {
    /// An empty disk whose crashes follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: fastrand::Rng::with_seed(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            directories: BTreeSet::new(),
            operations: 0,
            power: true,
            boots: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            plan: Arc::default(),
        }
    }

    /// Lets `plan` judge every operation from now on.
    pub fn set_plan(&self, plan: impl Fn(Operation, u64) -> io::Result<()> + Send + Sync + 'static) {
        *self.plan.lock() = Some(Arc::new(Box::new(plan)));
    }

    /// No operation fails any more.
    pub fn clear_plan(&self) {
        *self.plan.lock() = None;
    }

    /// How many operations were asked for so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Cuts the power: every operation fails until [`SimulatedDisk::power_on`], and what was not synced is decided now.
    pub fn crash(&self) {
        self.state.lock().crash();
    }

    /// Ends the process and not the machine: what was written stays, synced or not; its handles are dead.
    pub fn kill(&self) {
        self.state.lock().boots += 1;
    }

    /// Gives power again. Handles from before the crash stay dead.
    pub fn power_on(&self) {
        let mut state = self.state.lock();
        state.power = true;
        state.boots += 1;
    }

    /// A file's content as a program sees it now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state
            .names
            .get(path)
            .map(|inode| state.files[*inode].live.clone())
    }

    /// Changes a file behind everybody's back, durably: bit rot.
    pub fn overwrite(&self, path: &Path, content: &[u8]) {
        let mut state = self.state.lock();
        let inode = *state.names.get(path).expect("only a file that is there can rot");
        state.files[inode] = Inode {
            live: content.to_vec(),
            durable: content.to_vec(),
            ..Inode::default()
        };
    }

    /// Counts an operation and asks the plan, without holding the disk: the plan may wait.
    fn begin(&self, operation: Operation) -> io::Result<()> {
        let count = {
            let mut state = self.state.lock();
            state.check_power()?;
            state.operations += 1;
            state.operations
        };
        let plan = self.plan.lock().clone();
        if let Some(plan) = plan {
            plan(operation, count)?;
        }
        self.state.lock().check_power()
    }

    fn file(&self, inode: usize, boot: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile {
            disk: self.clone(),
            inode,
            boot,
        })
    }

    fn change_names(&self, change: NameChange) -> io::Result<()> {
        self.begin(Operation::Meta)?;
        let mut state = self.state.lock();
        change.apply(&mut state.names);
        state.unsynced_names.push(change);
        Ok(())
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.power {
            Ok(())
        } else {
            Err(io::Error::other("the power is off"))
        }
    }

    fn crash(&mut self) {
        self.power = false;
        let rng = &mut self.rng;
        for change in std::mem::take(&mut self.unsynced_names) {
            if rng.bool() {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        for file in &mut self.files {
            file.settle(rng);
            file.live.clone_from(&file.durable);
        }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.begin(Operation::Meta)?;
        let mut state = self.state.lock();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.files.len();
        state.files.push(Inode::default());
        let change = NameChange::Add {
            path: path.to_owned(),
            inode,
        };
        change.apply(&mut state.names);
        state.unsynced_names.push(change);
        Ok(self.file(inode, state.boots))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        state.check_power()?;
        Ok(self.file(state.inode(path)?, state.boots))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Meta)?;
        self.state.lock().directories.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_power()?;
        if !state.directories.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().chain(&state.directories);
        let mut names: Vec<String> = inside
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().inode(from)?;
        self.change_names(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().inode(path)?;
        self.change_names(NameChange::Remove {
            path: path.to_owned(),
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin(Operation::Meta)?;
        let mut state = self.state.lock();
        let (synced, rest) = std::mem::take(&mut state.unsynced_names)
            .into_iter()
            .partition(|change| change.touches(dir));
        state.unsynced_names = rest;
        let synced: Vec<NameChange> = synced;
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    boot: u64,
}

impl SimulatedFile {
    fn check_boot(&self, state: &State) -> io::Result<()> {
        state.check_power()?;
        if state.boots == self.boot {
            Ok(())
        } else {
            Err(io::Error::other("this handle died with the power"))
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.check_boot(&state)?;
        let file = &mut state.files[self.inode];
        change.apply(&mut file.live);
        file.unsynced.push(change);
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("a simulated file fits into memory");
        if let Err(error) = self.disk.begin(Operation::Write) {
            // A write that fails may have gone half way.
            let half = bytes[..bytes.len() / 2].to_vec();
            let _ = self.change(Change::Write { offset, bytes: half });
            return Err(error);
        }
        self.change(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state.lock();
        self.check_boot(&state)?;
        let live = &state.files[self.inode].live;
        let begin = usize::try_from(offset)
            .expect("a simulated file fits into memory")
            .min(live.len());
        let count = buffer.len().min(live.len() - begin);
        buffer[..count].copy_from_slice(&live[begin..begin + count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let judged = self.disk.begin(Operation::Sync);
        let mut state = self.disk.state.lock();
        self.check_boot(&state)?;
        let State { files, rng, .. } = &mut *state;
        let file = &mut files[self.inode];
        if let Err(error) = judged {
            // The system takes it for written all the same: a later sync has nothing left to do.
            file.settle(rng);
            return Err(error);
        }
        for change in std::mem::take(&mut file.unsynced) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.begin(Operation::Meta)?;
        self.change(Change::Truncate {
            len: usize::try_from(len).expect("a simulated file fits into memory"),
        })
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        self.check_boot(&state)?;
        Ok(state.files[self.inode].live.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with_file(seed: u64) -> (SimulatedDisk, Arc<dyn DiskFile>) {
        let disk = SimulatedDisk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/f")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        (disk, file)
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_may_tear() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..64 {
            let (disk, file) = disk_with_file(seed);
            file.write_at(0, &[1; 2_048]).unwrap();
            file.sync_data().unwrap();
            file.write_at(0, &[2; 1_024]).unwrap();
            disk.crash();
            assert!(file.sync_data().is_err());
            disk.power_on();
            let content = disk.content(Path::new("/d/f")).unwrap();
            assert_eq!(content[1_024..], [1; 1_024]);
            assert!(
                content[..1_024]
                    .chunks(SECTOR_BYTES)
                    .all(|sector| sector.iter().all(|byte| *byte == sector[0]))
            );
            outcomes.insert((content[0], content[SECTOR_BYTES]));
        }
        assert_eq!(outcomes.len(), 4, "lost, whole and both halves: {outcomes:?}");
    }

    #[test]
    fn a_failed_sync_is_not_healed_by_a_second_one() {
        let lost = (0..32).any(|seed| {
            let (disk, file) = disk_with_file(seed);
            file.write_at(0, b"promise").unwrap();
            disk.set_plan(|operation, _| match operation {
                Operation::Sync => Err(io::Error::from_raw_os_error(5)),
                Operation::Write | Operation::Meta => Ok(()),
            });
            file.sync_data().unwrap_err();
            disk.clear_plan();
            file.sync_data().unwrap();
            disk.crash();
            disk.power_on();
            disk.content(Path::new("/d/f")).unwrap() != b"promise"
        });
        assert!(lost);
    }
}
