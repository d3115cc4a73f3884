//! The snapshots of a server that is killed while it writes them: none is half there under a final name, and those of before
//! stay as they are.
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use holdfast::storage::snapshot;
use serde_json::Value;

use crate::server::Server;

const WHOLE: &str = ".holdfast";
const HALF: &str = ".holdfast.partial";

fn named(data_dir: &Path, ending: &str) -> BTreeSet<String> {
    // There is no folder before the first start has come so far.
    let Ok(entries) = fs::read_dir(data_dir.join("snapshots")) else {
        return BTreeSet::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(ending)).collect()
}

/// The snapshots under a final name.
pub(super) fn whole(data_dir: &Path) -> BTreeSet<String> {
    named(data_dir, WHOLE)
}

/// Whether one is being written, or was when the server died.
pub(super) fn half_written(data_dir: &Path) -> bool {
    !named(data_dir, HALF).is_empty()
}

/// Every snapshot that was ever seen under a final name, and its bytes.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<String, Vec<u8>>);

impl Shelf {
    /// Looks at what a kill has left: what is new is whole, what was there is there as it was.
    pub(super) fn judge(&mut self, data_dir: &Path) {
        let there = whole(data_dir);
        let path = |name: &str| data_dir.join("snapshots").join(name);
        for (name, bytes) in &self.0 {
            assert!(there.contains(name), "{name} is gone");
            assert!(fs::read(path(name)).unwrap() == *bytes, "{name} has changed");
        }
        for name in there {
            if let Entry::Vacant(fresh) = self.0.entry(name) {
                let path = path(fresh.key());
                let found = snapshot::verify(&path);
                found.unwrap_or_else(|error| panic!("half a snapshot under a final name: {error}"));
                fresh.insert(fs::read(path).unwrap());
            }
        }
    }

    /// The next server lists all of them, and nothing unfinished is left in its way.
    pub(super) fn served_by(&self, server: &Server, data_dir: &Path) {
        assert!(
            !half_written(data_dir),
            "what the kill left half written is still there"
        );
        let (mut listed, mut from) = (BTreeSet::new(), String::new());
        loop {
            let page = server.get(&format!("/api/admin/snapshots?limit=500{from}"));
            let ids = page["items"].as_array().unwrap().iter();
            listed.extend(ids.map(|item| format!("{}{WHOLE}", item["id"].as_str().unwrap())));
            match &page["nextCursor"] {
                Value::String(next) => from = format!("&cursor={next}"),
                _ => break,
            }
        }
        assert_eq!(listed, self.0.keys().cloned().collect());
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}
