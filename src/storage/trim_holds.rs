//! Who still needs old records: the log is trimmed only below all of them.
use super::journal::RecordNumber;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// The registry. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct TrimHolds {
    shared: Arc<Mutex<Registered>>,
}

#[derive(Debug, Default)]
struct Registered {
    next: u64,
    needed: BTreeMap<u64, (&'static str, RecordNumber)>,
}

/// Keeps records in the log until it is dropped: a running snapshot, an archive, a reader.
#[derive(Debug)]
#[must_use = "dropping it lets the records go"]
pub struct TrimHold {
    shared: Arc<Mutex<Registered>>,
    id: u64,
}

impl TrimHolds {
    /// Keeps record `from` and everything after it; `name` is for those who ask why the log grows.
    pub fn hold(&self, name: &'static str, from: RecordNumber) -> TrimHold {
        let mut registered = self.shared.lock();
        let id = registered.next;
        registered.next += 1;
        registered.needed.insert(id, (name, from));
        TrimHold {
            shared: Arc::clone(&self.shared),
            id,
        }
    }

    /// The oldest record somebody needs, and who.
    pub fn oldest(&self) -> Option<(&'static str, RecordNumber)> {
        let registered = self.shared.lock();
        registered.needed.values().min_by_key(|(_, from)| *from).copied()
    }

    /// How far the log may be trimmed when the stored states have everything up to `stored`.
    pub(super) fn limit(&self, stored: RecordNumber) -> RecordNumber {
        match self.oldest() {
            Some((_, from)) if from <= stored => RecordNumber(from.0.saturating_sub(1)),
            Some(_) | None => stored,
        }
    }
}

impl TrimHold {
    /// From now on only record `from` and what comes after it is needed.
    pub fn advance(&self, from: RecordNumber) {
        let mut registered = self.shared.lock();
        if let Some((_, needed)) = registered.needed.get_mut(&self.id) {
            *needed = from.max(*needed);
        }
    }
}

impl Drop for TrimHold {
    fn drop(&mut self) {
        self.shared.lock().needed.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_trimmed_below_whoever_needs_most() {
        let holds = TrimHolds::default();
        assert_eq!(holds.limit(RecordNumber(9)), RecordNumber(9));
        let archive = holds.hold("archive", RecordNumber(3));
        let reader = holds.hold("reader", RecordNumber(5));
        assert_eq!(holds.oldest(), Some(("archive", RecordNumber(3))));
        assert_eq!(holds.limit(RecordNumber(9)), RecordNumber(2));
        archive.advance(RecordNumber(8));
        archive.advance(RecordNumber(1));
        assert_eq!(holds.limit(RecordNumber(9)), RecordNumber(4));
        drop(reader);
        assert_eq!(holds.limit(RecordNumber(9)), RecordNumber(7));
        assert_eq!(holds.limit(RecordNumber(5)), RecordNumber(5));
        drop(archive);
        assert_eq!(holds.oldest(), None);
    }
}
