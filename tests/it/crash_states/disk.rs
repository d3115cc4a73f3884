//! What may lie on a disk when the power goes: the changes up to a moment, without some of those that no sync had made durable.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::trace::{Data, Event, Names, Node};

pub(super) const SECTOR_BYTES: usize = 512;

impl Data {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(content, *offset, bytes),
            Self::Resize { length } => content.resize(*length, 0),
            Self::Extend { length } => content.resize(content.len().max(*length), 0),
        }
    }

    /// Only some of its sectors: those that `reaches` says of, by their number.
    fn apply_torn(&self, content: &mut Vec<u8>, reaches: &mut dyn FnMut(usize) -> bool) {
        let Self::Write { offset, bytes } = self else {
            return;
        };
        let mut begin = 0;
        let mut number = 0;
        while begin < bytes.len() {
            let left = SECTOR_BYTES - (offset + begin) % SECTOR_BYTES;
            let end = (begin + left).min(bytes.len());
            if reaches(number) {
                put(content, offset + begin, &bytes[begin..end]);
            }
            (begin, number) = (end, number + 1);
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// How a write that was under way reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Torn {
    /// So many sectors from its beginning.
    First(usize),
    /// Every second bit of this number says of a sector whether it did.
    Some(u64),
}

/// The changes that did not reach the disk, by their events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) events: BTreeSet<usize>,
    pub(super) torn: Option<(usize, Torn)>,
}

/// A file's content: what no sync is missing for, and the changes behind it.
#[derive(Default)]
struct File {
    durable: Vec<u8>,
    changes: Vec<usize>,
}

/// The disk on its way through the events.
pub(super) struct Disk<'a> {
    events: &'a [Event],
    /// Events that have happened.
    reached: usize,
    /// Changes that no sync has made durable, in their order.
    pending: BTreeSet<usize>,
    files: BTreeMap<Node, File>,
    names: Vec<usize>,
}

impl<'a> Disk<'a> {
    pub(super) fn new(events: &'a [Event]) -> Self {
        Self {
            events,
            reached: 0,
            pending: BTreeSet::new(),
            files: BTreeMap::new(),
            names: Vec::new(),
        }
    }

    /// Lets everything happen up to (and without) this event.
    pub(super) fn go_to(&mut self, event: usize) {
        while self.reached < event {
            match &self.events[self.reached] {
                Event::Data { node, .. } => {
                    self.pending.insert(self.reached);
                    self.files.entry(*node).or_default().changes.push(self.reached);
                }
                Event::Names { .. } => {
                    self.pending.insert(self.reached);
                    self.names.push(self.reached);
                }
                Event::Sync { node, begun, .. } => self.sync(*node, *begun),
                Event::Told(_) => {}
            }
            self.reached += 1;
        }
    }

    fn sync(&mut self, synced: Node, begun: usize) {
        let events = self.events;
        self.pending.retain(|index| match &events[*index] {
            Event::Data { node, ended, .. } => *node != synced || *ended >= begun,
            Event::Names { names, ended } => names.dir() != synced || *ended >= begun,
            Event::Sync { .. } | Event::Told(_) => true,
        });
        let Some(file) = self.files.get_mut(&synced) else {
            return;
        };
        while let Some(first) = file.changes.first().copied()
            && !self.pending.contains(&first)
        {
            let Event::Data { data, .. } = &events[first] else {
                break;
            };
            data.apply(&mut file.durable);
            file.changes.remove(0);
        }
    }

    /// The changes that may be lost now: of content, of names.
    pub(super) fn pending(&self) -> (Vec<usize>, Vec<usize>) {
        let is_data = |index: &usize| matches!(self.events[*index], Event::Data { .. });
        self.pending.iter().partition(|index| is_data(index))
    }

    /// Lays the tree out in an empty directory as it is without what was lost.
    pub(super) fn lay_out(&self, lost: &Lost, target: &Path) {
        let mut entries: BTreeMap<(Node, &str), Node> = BTreeMap::new();
        let mut dirs = BTreeSet::from([0]);
        for index in self.names.iter().filter(|index| !lost.events.contains(index)) {
            let Event::Names { names, .. } = &self.events[*index] else {
                continue;
            };
            match names {
                Names::Add {
                    dir,
                    name,
                    node,
                    is_dir,
                } => {
                    entries.insert((*dir, name), *node);
                    if *is_dir {
                        dirs.insert(*node);
                    }
                }
                Names::Remove { dir, name } => _ = entries.remove(&(*dir, name.as_str())),
                Names::Move { from, to, node } => {
                    if entries.get(&(from.0, from.1.as_str())) == Some(node) {
                        entries.remove(&(from.0, from.1.as_str()));
                    }
                    entries.insert((to.0, &to.1), *node);
                    // A directory whose making was lost and whose new name was not is there all the same.
                    if self.is_dir(*node) {
                        dirs.insert(*node);
                    }
                }
            }
        }
        self.lay_out_dir(0, &entries, &dirs, lost, target);
    }

    fn is_dir(&self, wanted: Node) -> bool {
        self.names.iter().any(|index| {
            matches!(
                &self.events[*index],
                Event::Names { names: Names::Add { node, is_dir: true, .. }, .. } if *node == wanted
            )
        })
    }

    fn lay_out_dir(
        &self,
        dir: Node,
        entries: &BTreeMap<(Node, &str), Node>,
        dirs: &BTreeSet<Node>,
        lost: &Lost,
        target: &Path,
    ) {
        for ((_, name), node) in entries.range((dir, "")..).take_while(|((of, _), _)| *of == dir) {
            let path = target.join(name);
            if dirs.contains(node) {
                fs::create_dir(&path).unwrap();
                self.lay_out_dir(*node, entries, dirs, lost, &path);
            } else {
                let content = self.content(*node, lost);
                fs::File::create(&path).unwrap().write_all(&content).unwrap();
            }
        }
    }

    fn content(&self, node: Node, lost: &Lost) -> Vec<u8> {
        let Some(file) = self.files.get(&node) else {
            return Vec::new();
        };
        let mut content = file.durable.clone();
        for index in &file.changes {
            let Event::Data { data, .. } = &self.events[*index] else {
                continue;
            };
            match lost.torn {
                Some((torn, how)) if torn == *index => {
                    data.apply_torn(&mut content, &mut |sector| match how {
                        Torn::First(count) => sector < count,
                        Torn::Some(bits) => bits >> (sector * 2 % 64) & 1 == 1,
                    });
                }
                _ if lost.events.contains(index) => {}
                _ => data.apply(&mut content),
            }
        }
        content
    }
}
