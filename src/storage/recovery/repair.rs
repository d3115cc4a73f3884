//! `holdfast wal repair`: a log that a start refuses becomes one that it takes, by leaving out as little as can be.
//!
//! What is kept is a prefix of the log, so the house is one that was there once. Where the stored rows have more of the log
//! than can be read of it, nothing is lost but history: the log begins anew behind the rows, with whatever still continues
//! them. Otherwise it ends before its first break, be that damage or a record that does not fit the state before it. Good
//! records behind the break are lost then; [`RepairPlan::lost`] says which, before anything is changed. Replaced files and
//! databases stay beside the log under other names.
//!
//! What sled cannot read it forgets when it opens the database, so behind a break in a database only what lies in later
//! databases can be told. Positions above the cut are given out again: whoever has read them read of what is no more.
use super::{
    RecoverError, RecoverOptions,
    open::{Backend, check_was_not_lost, epoch_of, load_small},
    replay::Replay,
};
use crate::storage::{
    data_dir::DataDir,
    dto,
    journal::{
        Anchor, Damage, Group, RecordNumber,
        survey::{Chained, GroupPlace, Log, Survey},
    },
    record_words::{kinds, touched},
    state::{Checkpoint, StateStore},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Ids of one kind that are told by name; the rest is only counted.
const TOLD_MAX: usize = 20;

/// Where a log breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The file or database.
    pub file: PathBuf,
    /// Where in it; 0 where the engine has no offsets.
    pub offset: u64,
    /// The first record that cannot be used.
    pub record: u64,
    /// What is wrong there.
    pub reason: String,
    /// Whether it is the end of a write that was never completed, so that nobody was answered for it.
    pub torn: bool,
}

impl From<&Damage> for Break {
    fn from(damage: &Damage) -> Self {
        Self {
            file: damage.file.clone(),
            offset: damage.offset,
            record: damage.record.0,
            reason: damage.reason.clone(),
            torn: false,
        }
    }
}

/// Good records behind the break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub records: u64,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// When the last was written, Unix ms.
    pub until_ms: i64,
    /// How many things of each kind happened in them.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Reservations they are about.
    pub reservations: Named,
    /// Carts they are about.
    pub carts: Named,
    /// Orders they are about.
    pub orders: Named,
}

/// Some ids by name, all of them by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    ids: BTreeSet<String>,
}

impl Named {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The first twenty.
    pub fn some(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().take(TOLD_MAX).map(String::as_str)
    }
}

/// What a repair would do; nothing has been done yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPlan {
    /// Where the log breaks; `None` if it is sound.
    pub broken: Option<Break>,
    /// Up to where the stored rows have the log.
    pub stored: u64,
    /// The last record of the log that is kept, or that the rows have.
    pub keeps: u64,
    /// Whether the log begins anew behind the rows.
    pub begins_behind_rows: bool,
    /// Good records that are left out.
    pub lost: Lost,
    /// Files or databases that are replaced.
    pub replaces: Vec<PathBuf>,
    /// What stands before the first record of the new one.
    before: Anchor,
}

impl RepairPlan {
    /// Whether somebody may have been answered for something that is cut: for good records, or for those that cannot be read
    /// where the break is.
    pub fn cuts_answered(&self) -> bool {
        let spoilt = |broken: &Break| !broken.torn && broken.record > self.keeps;
        self.lost.records > 0 || self.broken.as_ref().is_some_and(spoilt)
    }
}

/// Looks at the log of a data directory and says what a repair would do.
///
/// # Errors
/// The rows cannot be read, a later release wrote the log, or the disk refuses.
pub fn plan_repair(dir: &DataDir, options: &RecoverOptions) -> Result<RepairPlan, RecoverError> {
    let options = options.as_found(dir)?;
    let journal = dir.journal_dir();
    let log = options.log(dir, &journal);
    let state = StateStore::open(&dir.state_dir(), options.state)?;
    let mark = state.checkpoint();
    check_was_not_lost(dir, mark)?;
    let stored = RecordNumber(mark.map_or(0, |mark| mark.number));
    let mut walk = Walk::new(mark, load_small(&state)?);
    let survey = log
        .survey(&mut |place, group| walk.group(place, group))
        .map_err(RecoverError::Open)?;
    let continues = walk.continues(mark, &survey);
    let plan = if continues {
        cut_behind(&log, walk, &survey, stored)?
    } else {
        let rows = mark.map_or(Anchor::GENESIS, anchor);
        begin_behind_rows(&log, load_small(&state)?, &survey, rows)?
    };
    state.close()?;
    Ok(plan)
}

/// Carries out a plan that was made of this directory, under the same lock: the names under which the replaced files and
/// databases stay.
///
/// # Errors
/// The disk refuses.
pub fn repair(
    dir: &DataDir,
    options: &RecoverOptions,
    plan: &RepairPlan,
) -> Result<Vec<PathBuf>, RecoverError> {
    if plan.broken.is_none() {
        return Ok(Vec::new());
    }
    let options = options.as_found(dir)?;
    let journal = dir.journal_dir();
    let log = options.log(dir, &journal);
    let keeps = RecordNumber(plan.keeps);
    let replaced = log.replace(&plan.replaces, plan.before, &mut |push| {
        let mut kept = Chained::behind(plan.before);
        let mut failed = None;
        log.scattered(plan.before.last, &mut |group| {
            if failed.is_none() && group.last() <= keeps && kept.takes(group) {
                failed = push(group).err();
            }
        })?;
        failed.map_or(Ok(()), Err)
    });
    replaced.map_err(RecoverError::Open)
}

impl RecoverOptions {
    /// The log of a data directory, to be looked at.
    pub fn log<'a>(&self, dir: &DataDir, journal: &'a Path) -> Log<'a> {
        match self.backend {
            Backend::File => Log::Files {
                dir: journal,
                partition: self.partition,
                epoch: epoch_of(dir),
                segment_bytes: self.segment_bytes,
            },
            Backend::Sled => Log::Sled {
                dir: journal,
                options: self.sled(epoch_of(dir)),
            },
        }
    }
}

fn anchor(mark: Checkpoint) -> Anchor {
    Anchor {
        last: RecordNumber(mark.number),
        chain: mark.chain,
        logged_at_ms: i64::try_from(mark.logged_at_ms).unwrap_or(i64::MAX),
    }
}

/// The good part of the log, on its way from the rows.
struct Walk<'a> {
    stored: RecordNumber,
    chain: Option<[u8; 32]>,
    continues: Option<bool>,
    replay: Replay<'a>,
    /// What stands before the first group of each file.
    begins: BTreeMap<PathBuf, Anchor>,
    /// Behind the last group that fits.
    tail: Option<Anchor>,
    /// Where a record did not fit the state before it.
    unfit: Option<Break>,
}

impl<'a> Walk<'a> {
    fn new(mark: Option<Checkpoint>, replay: Replay<'a>) -> Self {
        Self {
            stored: RecordNumber(mark.map_or(0, |mark| mark.number)),
            chain: mark.map(|mark| mark.chain),
            continues: None,
            replay,
            begins: BTreeMap::new(),
            tail: None,
            unfit: None,
        }
    }

    fn group(&mut self, place: GroupPlace<'_>, group: &Group) {
        self.begins.entry(place.file.to_owned()).or_insert(place.before);
        if group.last() == self.stored {
            self.continues = Some(self.chain == Some(*group.chain()));
        } else if group.first() == self.stored.next() && self.chain.is_some() {
            self.continues = Some(self.chain == Some(*group.previous()));
        }
        if self.unfit.is_none() {
            match self.fits(group) {
                Ok(()) => self.tail = Some(Anchor::after(group)),
                Err((record, reason)) => {
                    self.unfit = Some(Break {
                        file: place.file.to_owned(),
                        offset: place.offset,
                        record,
                        reason,
                        torn: false,
                    });
                }
            }
        }
    }

    /// Whether the records of the next group fit the state before them.
    fn fits(&mut self, group: &Group) -> Result<(), (u64, String)> {
        for record in group.records_from(self.stored.next()) {
            self.replay.record(&record).map_err(|error| {
                let reason = if let RecoverError::Replay { reason, .. } = error {
                    reason
                } else {
                    error.to_string()
                };
                (record.number.0, reason)
            })?;
        }
        Ok(())
    }

    /// Whether the log goes on where the rows end, as a start wants it.
    fn continues(&self, mark: Option<Checkpoint>, survey: &Survey) -> bool {
        let Some(mark) = mark else { return true };
        let ends_there = survey
            .tail
            .is_some_and(|tail| tail.last == self.stored && tail.chain == mark.chain);
        ends_there || self.continues == Some(true)
    }
}

/// The log is kept up to its first break.
fn cut_behind(
    log: &Log<'_>,
    walk: Walk<'_>,
    survey: &Survey,
    stored: RecordNumber,
) -> Result<RepairPlan, RecoverError> {
    let Walk {
        mut begins,
        tail,
        mut replay,
        unfit,
        ..
    } = walk;
    let begin = begins.values().next().copied();
    let tail = tail.or(if unfit.is_some() { begin } else { survey.tail });
    let tail = tail.unwrap_or(Anchor::GENESIS);
    let damage = survey.damage.as_ref().map(Break::from);
    let torn = survey.torn.as_ref().map(|torn| Break {
        file: torn.file.clone(),
        offset: torn.offset,
        record: torn.record.0,
        reason: format!("{} (never completed)", torn.reason),
        torn: true,
    });
    let broken = unfit.clone().or(damage).or(torn);
    let mut kept = Chained::behind(tail);
    if unfit.is_none() && broken.is_some() {
        // A database that an earlier start found damaged is not walked, but may be read.
        let mut fits = true;
        log.scattered(tail.last, &mut |group| {
            fits = fits && group.records().all(|record| replay.record(&record).is_ok());
            fits = fits && kept.takes(group);
        })
        .map_err(RecoverError::Open)?;
    }
    let at = broken
        .as_ref()
        .and_then(|broken| survey.units.iter().position(|unit| unit.file == broken.file));
    let replaces: Vec<PathBuf> = match (&broken, at) {
        (None, _) => Vec::new(),
        (Some(_), at) => survey.units[at.unwrap_or(survey.units.len().saturating_sub(1))..]
            .iter()
            .map(|unit| unit.file.clone())
            .collect(),
    };
    let first = replaces.first().and_then(|first| begins.remove(first));
    Ok(RepairPlan {
        lost: lost(log, kept.tail().last, broken.is_some())?,
        broken,
        stored: stored.0,
        keeps: kept.tail().last.0,
        begins_behind_rows: false,
        replaces,
        before: first.unwrap_or(tail),
    })
}

/// The rows have more than can be read of the log, or the log does not continue them: it begins anew.
fn begin_behind_rows(
    log: &Log<'_>,
    mut replay: Replay<'_>,
    survey: &Survey,
    rows: Anchor,
) -> Result<RepairPlan, RecoverError> {
    let mut kept = Chained::behind(rows);
    let mut fits = true;
    log.scattered(rows.last, &mut |group| {
        let next = fits && kept.takes(group);
        if next {
            fits = group.records().all(|record| replay.record(&record).is_ok());
        }
    })
    .map_err(RecoverError::Open)?;
    let ends = survey.tail.map_or(0, |tail| tail.last.0);
    let broken = survey.damage.as_ref().map_or_else(
        || Break {
            file: survey
                .units
                .last()
                .map_or_else(PathBuf::new, |unit| unit.file.clone()),
            offset: 0,
            record: ends + 1,
            reason: format!(
                "the stored states have everything up to record {}, which it does not continue",
                rows.last
            ),
            torn: false,
        },
        Break::from,
    );
    Ok(RepairPlan {
        lost: lost(log, kept.tail().last, true)?,
        broken: Some(broken),
        stored: rows.last.0,
        keeps: kept.tail().last.0,
        begins_behind_rows: true,
        replaces: survey.units.iter().map(|unit| unit.file.clone()).collect(),
        before: rows,
    })
}

/// Good records behind what is kept.
fn lost(log: &Log<'_>, kept: RecordNumber, is_cut: bool) -> Result<Lost, RecoverError> {
    let mut lost = Lost::default();
    if !is_cut {
        return Ok(lost);
    }
    let mut seen = BTreeSet::new();
    log.scattered(kept, &mut |group| {
        if seen.insert(group.first()) {
            lost.take(group);
        }
    })
    .map_err(RecoverError::Open)?;
    Ok(lost)
}

impl Lost {
    fn take(&mut self, group: &Group) {
        if self.records == 0 {
            self.first = group.first().0;
        }
        self.records += u64::from(group.count());
        self.last = self.last.max(group.last().0);
        self.until_ms = group.logged_at_ms();
        for record in group.records() {
            let Ok(turn) = dto::decode_turn(&record.payload) else {
                *self.kinds.entry("unreadable").or_default() += 1;
                continue;
            };
            for kind in kinds(&turn) {
                *self.kinds.entry(kind).or_default() += 1;
            }
            let touched = touched(&turn);
            let reservations = touched.reservations.iter().map(ToString::to_string);
            self.reservations.ids.extend(reservations);
            self.carts.ids.extend(touched.cart.map(|cart| cart.to_string()));
            self.orders
                .ids
                .extend(touched.order.map(|order| order.to_string()));
        }
    }
}
