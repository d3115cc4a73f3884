//! A plan carried out: the rows of the next epoch beside the current one, its log behind them, and only then `CURRENT`.
//!
//! States go in as they are, records are folded as a checkpoint folds the log, in one pass over the source; the laws are
//! counted over what came out. A pass that ends in an error has changed nothing that anybody reads: the unfinished epoch is
//! removed, or by the next try if the process was killed.
use super::super::{
    data_dir::{DataDir, NextEpoch},
    journal::{Epoch, Journal, Position, Record, RecordNumber},
    lineage::Lineage,
    recovery::{JournalPlace, OpenJournal, RecoverError, RecoverOptions, Seed, VerifyReport, judge_rows},
    snapshot::{Entry, Manifest, SnapshotError, SnapshotReader},
    state::StateStore,
};
use super::{
    Cut, Plan, RestoreError, Source, Wanted,
    amend::{Amended, amend},
    lost::write_down,
    source::{LogBehind, Visitor},
    survey::{Future, gate_of},
};
use crate::domain::rewind::HoldsRule;
use std::{collections::BTreeSet, ops::ControlFlow, path::PathBuf};

/// Entries between two words about the progress.
const TOLD_EVERY: u64 = 4_096;

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// States and records become rows.
    Filling {
        /// Of them so many,
        done: u64,
        /// of so many.
        total: u64,
    },
    /// The laws are counted over the rows.
    Checking,
    /// Deadlines move, variants are paused.
    Amending,
    /// The epoch is entered.
    Entering,
}

/// What a restore came to.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The new epoch, and its last record.
    pub position: Position,
    /// The last record of before that is in it.
    pub cut: Position,
    /// The digest of the states at the cut, see `recovery::state_digest`.
    pub digest: [u8; 32],
    /// What was counted at the cut.
    pub counted: VerifyReport,
    /// What was changed behind it.
    pub amended: Amended,
    /// Where the lost sales are written down.
    pub lost_file: Option<PathBuf>,
    /// The epoch of before, which stays until somebody removes it; none in a directory that was empty.
    pub left: Option<PathBuf>,
}

/// Fills an empty data directory with a whole snapshot, and has `journal` begin its log; `open` is called twice.
///
/// # Errors
/// [`RestoreError`]; nothing but an unused epoch's files was written then.
pub fn fill_empty(
    dir: &mut DataDir,
    options: &RecoverOptions,
    journal: &OpenJournal,
    open: impl Fn() -> Result<SnapshotReader, SnapshotError>,
) -> Result<Restored, RestoreError> {
    if !dir.is_unused()? {
        return Err(RestoreError::NotEmpty);
    }
    let source = Source {
        open: &open,
        log: None,
    };
    let manifest = source.manifest()?;
    let plan = Plan::whole(&manifest);
    carry_out(dir, options, journal, &source, &plan, &|_| {})
}

/// Carries a plan out in a data directory: its next epoch. The source is the one that was planned from.
///
/// # Errors
/// [`RestoreError`]; the current epoch is still the one before, unless only that it was entered could not be made durable.
pub fn carry_out(
    dir: &mut DataDir,
    options: &RecoverOptions,
    journal: &OpenJournal,
    source: &Source<'_>,
    plan: &Plan,
    progress: &dyn Fn(Step),
) -> Result<Restored, RestoreError> {
    let manifest = source.manifest()?;
    gate_of(&manifest).check()?;
    let left = (!dir.is_unused()?).then(|| dir.epoch_path());
    let newest = source.log.map_or(0, LogBehind::newest_epoch);
    let next = dir.begin_epoch(newest.max(manifest.epoch))?;
    let build = Build {
        options,
        journal,
        plan,
        epoch: Epoch(u32::try_from(next.epoch()).expect("an operator restores less than 2^32 times")),
        progress,
    };
    let built = build.epoch(&next, source, &manifest);
    let entered = built.and_then(|restored| {
        progress(Step::Entering);
        Lineage::note(dir.root(), next.epoch(), plan.cut, plan.wanted.now_ms)?;
        let lost_file = write_down(dir.root(), next.epoch(), &plan.lost)?;
        Ok(Restored {
            lost_file,
            left,
            ..restored
        })
    });
    match entered {
        Ok(restored) => {
            dir.enter_epoch(next)?;
            Ok(restored)
        }
        Err(error) => {
            // What cannot be removed now is removed by the next try.
            let _ = next.give_up();
            Err(error)
        }
    }
}

impl Plan {
    /// Everything that is in a snapshot, as it was.
    fn whole(manifest: &Manifest) -> Self {
        let position = Position {
            epoch: Epoch(u32::try_from(manifest.epoch).unwrap_or(u32::MAX)),
            number: RecordNumber(manifest.position),
        };
        let at = manifest.created_at_ms;
        Self {
            wanted: Wanted {
                cut: Cut::End,
                holds: HoldsRule::Keep,
                now_ms: at,
            },
            taken_at_ms: at,
            snapshot: position,
            end: position,
            cut: position,
            cut_at_ms: at,
            logged_at_ms: at,
            entities: manifest.counts.all_entities(),
            replayed: manifest.counts.records,
            lost_records: 0,
            live_holds: 0,
            expired_holds: 0,
            sold_after: Vec::new(),
            sold: BTreeSet::new(),
            lost: Vec::new(),
            without_stock: 0,
            log_cut_short: None,
            knows_what_came_after: false,
            future: Future::default(),
            bytes: 0,
            seconds: 0,
        }
    }
}

/// The building of one epoch.
struct Build<'a> {
    options: &'a RecoverOptions,
    journal: &'a OpenJournal,
    plan: &'a Plan,
    epoch: Epoch,
    progress: &'a dyn Fn(Step),
}

impl Build<'_> {
    fn epoch(
        &self,
        next: &NextEpoch,
        source: &Source<'_>,
        manifest: &Manifest,
    ) -> Result<Restored, RestoreError> {
        let state = StateStore::open(&next.state_dir(), self.options.state)?;
        let mut filler = Filler {
            seed: Seed::new(&state, self.epoch, self.plan.cut.number.0, self.plan.logged_at_ms),
            build: self,
            done: 0,
        };
        filler.seed.put_gate(&gate_of(manifest));
        source.visit(&mut filler)?;
        let anchor = filler.seed.finish()?;
        let total = self.plan.entities + self.plan.replayed;
        (self.progress)(Step::Filling { done: total, total });
        (self.progress)(Step::Checking);
        let counted = judge_rows(&state).map_err(RestoreError::Log)?;
        if let Some(broken) = counted.violations.first() {
            return Err(RestoreError::Law(broken.clone()));
        }
        (self.progress)(Step::Amending);
        let place = JournalPlace {
            dir: &next.journal_dir(),
            partition: self.options.partition,
            epoch: self.epoch,
            start: anchor,
            proven: anchor.last,
        };
        let log: Box<dyn Journal> =
            (self.journal)(place).map_err(|error| RestoreError::Log(RecoverError::Open(error)))?;
        let amended = amend(&state, log, self.options.partition, self.epoch, anchor, self.plan)?;
        state.close()?;
        Ok(Restored {
            position: Position {
                epoch: self.epoch,
                number: RecordNumber(anchor.last.0 + amended.records),
            },
            cut: self.plan.cut,
            digest: counted.digest,
            counted,
            amended,
            lost_file: None,
            left: None,
        })
    }
}

/// Puts what it is shown into rows, up to the cut.
struct Filler<'a> {
    seed: Seed<'a>,
    build: &'a Build<'a>,
    done: u64,
}

impl Filler<'_> {
    fn tell(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(TOLD_EVERY) {
            let total = self.build.plan.entities + self.build.plan.replayed;
            (self.build.progress)(Step::Filling {
                done: self.done.min(total),
                total,
            });
        }
    }
}

impl Visitor for Filler<'_> {
    fn entity(&mut self, entry: &Entry) -> Result<(), RestoreError> {
        let plan = self.build.plan;
        if !plan.future.has(entry, plan.cut.number.0) {
            self.seed.entity(entry)?;
        }
        self.tell();
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<ControlFlow<()>, RestoreError> {
        let cut = self.build.plan.cut.number;
        if record.number > cut {
            return Ok(ControlFlow::Break(()));
        }
        let is_last = record.number == cut;
        self.seed.record(record)?;
        self.tell();
        Ok(if is_last {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}
