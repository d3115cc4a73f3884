//! Which epoch began from where: the family tree of a data directory's epochs.
//!
//! ```text
//!  epoch 1   ───1────────100────────200              restored to 1-100 at 02:00: epoch 2
//!  epoch 2               └──101────────180            restored to 2-150 at 03:00: epoch 3
//!  epoch 3                         └──151───►         the current one
//! ```
//!
//! The current shop's history is one dense run of records through several epochs: here 1-1 to 1-100, 2-101 to 2-150, and 3-151
//! on. A moment belongs to the epoch that was the current one then: 02:30 is in epoch 2, whatever the log of epoch 1 has. What a
//! shop put back to some place lacks of the current one is everything of that history behind the point where the two part.
//!
//! `<data>/LINEAGE` is text: `holdfast-lineage 1`, then a line `<epoch> from <position> at <ms>` for each epoch that a restore
//! began, written before the epoch is entered. It outlives the epochs' directories. A shop opens without it or with a damaged one. A line above the current epoch is of a
//! restore that came to nothing. The first epoch of a new directory has no line; one above it without a line began from nobody
//! knows where, and whoever asks is told so.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    data_dir::{DataDirError, replace_file},
    engine::EngineError,
    journal::Position,
};

/// The name of the file.
pub(super) const LINEAGE: &str = "LINEAGE";
/// Its first line.
const FORMAT: &str = "holdfast-lineage 1";
/// The first epoch of a directory that was empty.
const FIRST: u64 = 1;

/// The epochs of a data directory and where they began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    current: u64,
    begun: BTreeMap<u64, Begun>,
}

/// Where an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    /// The last record of before that is in it.
    from: Position,
    /// When it was entered, ms since the Unix epoch.
    at_ms: i64,
}

/// Records of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The epoch.
    pub epoch: u64,
    /// The records behind this one,
    pub after: u64,
    /// up to this one; `u64::MAX` is the end of the log.
    pub upto: u64,
}

/// What the current shop's history has that another epoch's has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parted {
    /// Of the other epoch's own log, the records up to this one are in the current shop's history.
    pub shared: u64,
    /// What came in other epochs, oldest first.
    pub since: Vec<Span>,
    /// An epoch on the way of which it is not known where it began.
    pub unknown: Option<u64>,
}

impl Lineage {
    /// Reads what is written down in the data directory at `root`, whose current epoch is `current`.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] when it cannot be understood; the file system refuses.
    pub fn read(root: &Path, current: u64) -> Result<Self, DataDirError> {
        let path = root.join(LINEAGE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => FORMAT.to_owned(),
            Err(error) => return Err(EngineError::io("read", &path)(error).into()),
        };
        let mut lines = text.lines();
        if lines.next() != Some(FORMAT) {
            return Err(damaged(path, format!("does not begin with {FORMAT:?}")));
        }
        let begun =
            lines.map(|line| parse(line).ok_or_else(|| damaged(path.clone(), format!("says {line:?}"))));
        Ok(Self {
            current,
            begun: begun.collect::<Result<_, _>>()?,
        })
    }

    /// That of a directory of which nothing is known.
    pub fn unknown(current: u64) -> Self {
        Self {
            current,
            begun: BTreeMap::new(),
        }
    }

    /// Writes down, durably, that `epoch` begins behind `from` at this moment, in the data directory at `root`.
    ///
    /// # Errors
    /// As [`Lineage::read`].
    pub(super) fn note(root: &Path, epoch: u64, from: Position, at_ms: i64) -> Result<(), DataDirError> {
        let mut known = Self::read(root, epoch)?;
        known.begun.insert(epoch, Begun { from, at_ms });
        let lines = known.begun.iter();
        let lines = lines.map(|(epoch, Begun { from, at_ms })| format!("{epoch} from {from} at {at_ms}\n"));
        let text: String = std::iter::once(format!("{FORMAT}\n")).chain(lines).collect();
        Ok(replace_file(root, LINEAGE, text.as_bytes())?)
    }

    /// The current epoch.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// The epoch that was the current one at a moment, ms since the Unix epoch; of one from before the first that is written
    /// down, the one that this began from.
    pub fn current_at(&self, at_ms: i64) -> u64 {
        let known = || self.begun.range(..=self.current);
        let then = known().rev().find(|(_, begun)| begun.at_ms <= at_ms);
        then.map(|(epoch, _)| *epoch)
            .or_else(|| known().next().map(|(_, begun)| u64::from(begun.from.epoch.0)))
            .unwrap_or(self.current)
    }

    /// Whether it is known where an epoch began.
    pub fn knows(&self, epoch: u64) -> bool {
        epoch == FIRST || self.begun.contains_key(&epoch)
    }

    /// The history of an epoch, as far back as it is known; oldest first.
    fn history(&self, epoch: u64) -> Vec<Span> {
        let (mut epoch, mut upto) = (epoch, u64::MAX);
        let mut spans = Vec::new();
        loop {
            let begun = self.begun.get(&epoch).map(|begun| begun.from);
            // Each is below the one that began from it; a file that says otherwise leads nowhere.
            let from = begun.filter(|from| u64::from(from.epoch.0) < epoch);
            let after = from.map_or(0, |from| from.number.0);
            spans.push(Span { epoch, after, upto });
            let Some(from) = from else { break };
            (epoch, upto) = (u64::from(from.epoch.0), from.number.0);
        }
        spans.reverse();
        spans
    }

    /// The records behind record `number` of epoch `from` in the history of `to`, oldest first; `None` when that record is not
    /// in it.
    pub fn way(&self, from: u64, number: u64, to: u64) -> Option<Vec<Span>> {
        let history = self.history(to);
        let at = history
            .iter()
            .position(|span| span.epoch == from && span.upto >= number)?;
        let mut way = history[at..].to_vec();
        way[0].after = number;
        Some(way)
    }

    /// What the current shop's history has that the history of `epoch` has not.
    pub fn parted(&self, epoch: u64) -> Parted {
        let (current, other) = (self.history(self.current), self.history(epoch));
        let mut parted = Parted::default();
        for span in current.iter().rev() {
            if span.epoch == epoch {
                parted.shared = span.upto;
                break;
            }
            let both = other.iter().find(|other| other.epoch == span.epoch);
            let after = both.map_or(span.after, |both| both.upto);
            if after < span.upto {
                parted.since.push(Span { after, ..*span });
            }
            if both.is_some() {
                break;
            }
            if span.after == 0 && !self.knows(span.epoch) {
                parted.unknown = Some(span.epoch);
            }
        }
        parted.since.reverse();
        parted
    }
}

fn parse(line: &str) -> Option<(u64, Begun)> {
    let (epoch, rest) = line.split_once(" from ")?;
    let (from, at_ms) = rest.split_once(" at ")?;
    let begun = Begun {
        from: from.parse().ok()?,
        at_ms: at_ms.parse().ok()?,
    };
    Some((epoch.parse().ok()?, begun))
}

fn damaged(path: PathBuf, problem: String) -> DataDirError {
    let problem = format!("{problem} (without the file every variant comes out of a restore paused)");
    DataDirError::Damaged { path, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The directory of the module's head, and a side branch: epoch 4 from 1-120, then 5 from 3-170.
    fn grown() -> (tempfile::TempDir, Lineage) {
        let dir = tempfile::tempdir().unwrap();
        for (epoch, from, at_ms) in [
            (2, "1-100", 2_000),
            (3, "2-150", 3_000),
            (4, "1-120", 4_000),
            (5, "3-170", 5_000),
        ] {
            Lineage::note(dir.path(), epoch, from.parse().unwrap(), at_ms).unwrap();
        }
        let lineage = Lineage::read(dir.path(), 5).unwrap();
        (dir, lineage)
    }

    fn span(epoch: u64, after: u64, upto: u64) -> Span {
        Span { epoch, after, upto }
    }

    const END: u64 = u64::MAX;

    #[test]
    fn the_way_from_a_snapshot_leads_through_the_epochs() {
        let (_dir, lineage) = grown();
        let way = |from, number, to| lineage.way(from, number, to);
        let all = [
            span(1, 90, 100),
            span(2, 100, 150),
            span(3, 150, 170),
            span(5, 170, END),
        ];
        assert_eq!(way(1, 90, 5).unwrap(), all);
        assert_eq!(way(1, 100, 5).unwrap()[0], span(1, 100, 100));
        assert_eq!(way(1, 101, 5), None, "that record was given up");
        assert_eq!(way(1, 101, 4).unwrap(), [span(1, 101, 120), span(4, 120, END)]);
        assert_eq!(way(2, 120, 4), None);
        assert_eq!(way(2, 160, 2).unwrap(), [span(2, 160, END)]);
    }

    #[test]
    fn what_the_current_shop_has_and_another_epoch_lacks() {
        let (_dir, lineage) = grown();
        let parted = |shared, since: &[Span]| Parted {
            shared,
            since: since.to_vec(),
            unknown: None,
        };
        assert_eq!(lineage.parted(5), parted(END, &[]));
        assert_eq!(lineage.parted(3), parted(170, &[span(5, 170, END)]));
        let two = [span(2, 100, 150), span(3, 150, 170), span(5, 170, END)];
        assert_eq!(lineage.parted(1), parted(100, &two));
        assert_eq!(lineage.parted(4), parted(0, &two), "they part at 1-100");
        let back = Lineage {
            current: 4,
            ..lineage
        };
        assert_eq!(back.parted(5), parted(0, &[span(1, 100, 120), span(4, 120, END)]));
    }

    #[test]
    fn a_moment_is_of_the_epoch_that_was_current_then() {
        let (dir, lineage) = grown();
        let at = |at_ms| lineage.current_at(at_ms);
        assert_eq!([0, 1_999, 2_000, 3_500, 9_000].map(at), [1, 1, 2, 3, 5]);
        // What came to nothing is not asked.
        let before = Lineage::read(dir.path(), 3).unwrap();
        assert_eq!(before.current_at(9_000), 3);
    }

    #[test]
    fn what_is_not_written_down_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let lineage = Lineage::read(dir.path(), 6).unwrap();
        let parted = lineage.parted(5);
        assert_eq!((parted.unknown, parted.since), (Some(6), vec![span(6, 0, END)]));
        assert_eq!((lineage.way(5, 1, 6), lineage.current_at(0)), (None, 6));
        let new = Lineage::read(dir.path(), 1).unwrap();
        assert_eq!(
            new.parted(7).unknown,
            None,
            "a new directory began with its first record"
        );
        fs::write(dir.path().join(LINEAGE), "holdfast-lineage 1\n2 from 1-x at 3\n").unwrap();
        let damaged = Lineage::read(dir.path(), 2).unwrap_err();
        assert!(damaged.to_string().contains("1-x"), "{damaged}");
    }
}
