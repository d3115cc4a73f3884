//! What a restore would mean, read and counted before anything is changed.
use super::super::{
    dto,
    entity_rows::{RowError, ledger_key},
    fate::{Fate, fate},
    journal::{Epoch, Position, Record, RecordNumber},
    record::{Fact, Turn, VariantFact},
    snapshot::{EntityKind, Entry, Manifest},
    state::Family,
};
use super::{
    Cut, RestoreError, Source, Wanted,
    lost::{Lost, LostSales, SoldAfter, Stock},
    source::{LogBehind, Visitor},
};
use crate::domain::{
    ids::{ReservationId, VariantOrdinal},
    rewind::{HoldsRule, Rewind},
    rules::{Gate, Rules},
    time::Timestamp,
    variant::{Event, Hold, HoldStatus, Phase},
};
use hashbrown::{HashMap, HashSet};
use std::{collections::BTreeSet, ops::ControlFlow};

/// About so many states and records become rows in a second on two old cores; for the estimate before the first measurement.
const ENTRIES_PER_SECOND: u64 = 60_000;

/// What a restore means: read from snapshot and log, nothing changed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What was wanted.
    pub wanted: Wanted,
    /// When the snapshot was taken, ms since the Unix epoch.
    pub taken_at_ms: i64,
    /// The snapshot's own position.
    pub snapshot: Position,
    /// The last record there is: the end of the log behind the snapshot, or of the snapshot without one.
    pub end: Position,
    /// The last record that is kept.
    pub cut: Position,
    /// The moment everything is put back to, ms since the Unix epoch.
    pub cut_at_ms: i64,
    /// When the last kept record was logged, ms since the Unix epoch.
    pub(super) logged_at_ms: i64,
    /// States in the snapshot.
    pub entities: u64,
    /// Records behind the states that are replayed.
    pub replayed: u64,
    /// Records of the current shop that are given up.
    pub lost_records: u64,
    /// Live holds at the cut.
    pub live_holds: u64,
    /// How many of them will have expired: by the rule, and by now.
    pub expired_holds: u64,
    /// Units sold after the cut, by variant in the order of creation.
    pub sold_after: Vec<SoldAfter>,
    /// Those of these variants that are there at the cut.
    pub(super) sold: BTreeSet<VariantOrdinal>,
    /// The sales behind the cut, in the order of their payment.
    pub lost: Vec<Lost>,
    /// How many of the lost sales find no stock at the cut.
    pub without_stock: u64,
    /// Why the logs do not tell all that came after the cut. What they do not tell is not in these figures, and every variant
    /// comes up paused.
    pub log_cut_short: Option<String>,
    /// Whether there was a log to tell what came after the snapshot.
    pub knows_what_came_after: bool,
    /// What the snapshot has of what came behind the cut.
    pub(super) future: Future,
    /// The size of the snapshot and of the records that are read.
    pub bytes: u64,
    /// About how long it takes.
    pub seconds: u64,
}

/// What a snapshot has of what came behind the cut: ledger, ended reservations and keys are read later than its states, because
/// they are only added to (`recovery::capture`). What came of it before the cut comes with the records.
#[derive(Clone, Debug, Default)]
pub(super) struct Future {
    ledger: HashSet<Vec<u8>>,
    ended: HashSet<ReservationId>,
}

impl Future {
    fn turn(&mut self, turn: &Turn) {
        let Fact::Variant(VariantFact { ordinal, events, .. }) = &turn.fact else {
            return;
        };
        let lines = events.iter().filter_map(Event::ledger_entry);
        self.ledger
            .extend(lines.map(|line| ledger_key(*ordinal, line.seq)));
        self.ended
            .extend(events.iter().filter_map(Event::hold).map(|hold| hold.id));
    }

    /// Whether an entry is from behind record `cut`.
    pub(super) fn has(&self, entry: &Entry, cut: u64) -> bool {
        let id = || entry.id.as_slice().try_into().map(u128::from_be_bytes).ok();
        match entry.kind {
            EntityKind::KEY => entry.number > cut,
            EntityKind::LEDGER => self.ledger.contains(&entry.id),
            EntityKind::ENDED => id()
                .and_then(ReservationId::from_u128)
                .is_some_and(|id| self.ended.contains(&id)),
            _ => false,
        }
    }
}

impl Plan {
    /// Whether a variant had units sold after the cut, or may have had.
    pub(super) fn was_sold(&self, ordinal: VariantOrdinal) -> bool {
        if self.log_cut_short.is_some() {
            return true;
        }
        self.sold.contains(&ordinal)
    }

    /// The rule between the cut and the restore.
    pub(super) fn rewind(&self) -> Rewind {
        Rewind {
            rule: self.wanted.holds,
            cut_at: Timestamp::from_millis(self.cut_at_ms),
            now: Timestamp::from_millis(self.wanted.now_ms),
        }
    }
}

/// Reads snapshot and log from end to end and says what the restore would mean.
///
/// # Errors
/// [`RestoreError`]: damage, a gap, or a cut that cannot be reached.
pub fn survey(source: &Source<'_>, wanted: Wanted) -> Result<Plan, RestoreError> {
    let manifest = source.manifest()?;
    gate_of(&manifest).check()?;
    let shared = source.log.map_or(u64::MAX, LogBehind::shared);
    let mut surveyor = Surveyor::new(wanted.cut, manifest.position, shared);
    source.visit(&mut surveyor)?;
    if let Some(log) = source.log {
        surveyor.visit_since(log);
    }
    let position = |number| {
        let behind = source.log.filter(|_| number > manifest.position);
        let epoch = behind.and_then(|log| log.epoch_of(number));
        Position {
            epoch: Epoch(u32::try_from(epoch.unwrap_or(manifest.epoch)).unwrap_or(u32::MAX)),
            number: RecordNumber(number),
        }
    };
    let end = surveyor.end.unwrap_or(manifest.position);
    let cut = surveyor.judge_cut(&manifest)?;
    let logged_at_ms = surveyor.kept_at_ms.unwrap_or_else(|| {
        let after = surveyor.first_lost_at_ms.unwrap_or(i64::MAX);
        states_at_ms(&manifest).min(after)
    });
    let cut_at_ms = match wanted.cut {
        Cut::Time(at) => at.min(wanted.now_ms).max(logged_at_ms),
        Cut::End | Cut::Number(_) => logged_at_ms,
    };
    let rewind = Rewind {
        rule: wanted.holds,
        cut_at: Timestamp::from_millis(cut_at_ms),
        now: Timestamp::from_millis(wanted.now_ms),
    };
    let mut plan = Plan {
        wanted,
        taken_at_ms: manifest.created_at_ms,
        snapshot: position(manifest.position),
        end: position(end.max(cut)),
        cut: position(cut),
        cut_at_ms,
        logged_at_ms,
        entities: surveyor.entities,
        replayed: surveyor.replayed,
        lost_records: surveyor.lost,
        live_holds: surveyor.live.len() as u64,
        expired_holds: surveyor.expired(&rewind),
        sold_after: Vec::new(),
        sold: BTreeSet::new(),
        lost: Vec::new(),
        without_stock: 0,
        log_cut_short: surveyor.log_cut_short.take(),
        knows_what_came_after: source.log.is_some() || end > cut,
        future: surveyor.future,
        bytes: surveyor.bytes,
        seconds: 1 + (surveyor.entities + surveyor.replayed) / ENTRIES_PER_SECOND,
    };
    if !surveyor.sales.is_empty() {
        look_at_stock(source, &surveyor.sales, &rewind, &mut plan)?;
    }
    Ok(plan)
}

/// When the record was logged that a snapshot's states are at, as far as the file knows.
pub(super) fn states_at_ms(manifest: &Manifest) -> i64 {
    manifest.rows_logged_at_ms.unwrap_or(manifest.created_at_ms)
}

/// The rules that hold in a snapshot.
pub(super) fn gate_of(manifest: &Manifest) -> Gate {
    Gate {
        rules: Rules(manifest.rules),
        release: manifest.rules_since.clone(),
    }
}

/// A second look, only at the variants that were sold after the cut.
fn look_at_stock(
    source: &Source<'_>,
    sales: &LostSales,
    rewind: &Rewind,
    plan: &mut Plan,
) -> Result<(), RestoreError> {
    let mut stock = Stock::new(sales, plan.cut.number.0);
    source.visit(&mut stock)?;
    stock.assemble();
    (plan.sold_after, plan.sold) = stock.sold_after(sales);
    plan.lost = sales.in_order(&stock);
    plan.without_stock = stock.cannot_fill(sales, &plan.lost, rewind);
    Ok(())
}

/// A live hold: its deadline, and what a rule needs to know.
#[derive(Clone, Copy)]
struct Live {
    expires_at: Timestamp,
    /// No rule moves it and no clock ends it.
    rests: bool,
    pays: bool,
}

/// Reads everything once.
struct Surveyor {
    cut: Cut,
    /// The last record that is in the snapshot itself.
    position: u64,
    entities: u64,
    /// The highest record in a state: nothing before it can be had.
    first: u64,
    /// The first record behind the states.
    first_record: Option<u64>,
    replayed: u64,
    bytes: u64,
    live: HashMap<ReservationId, Live>,
    kept: Option<u64>,
    kept_at_ms: Option<i64>,
    first_lost_at_ms: Option<i64>,
    end: Option<u64>,
    /// The last record on the way that is in the current shop's history.
    shared: u64,
    /// Records of that history behind the cut.
    lost: u64,
    sales: LostSales,
    log_cut_short: Option<String>,
    future: Future,
}

impl Surveyor {
    fn new(cut: Cut, position: u64, shared: u64) -> Self {
        Self {
            cut,
            position,
            shared,
            lost: 0,
            future: Future::default(),
            entities: 0,
            first: 0,
            first_record: None,
            replayed: 0,
            bytes: 0,
            live: HashMap::new(),
            kept: None,
            kept_at_ms: None,
            first_lost_at_ms: None,
            end: None,
            sales: LostSales::default(),
            log_cut_short: None,
        }
    }

    /// What the current shop has in epochs that are not on the way.
    fn visit_since(&mut self, log: &LogBehind) {
        let end = self.end.unwrap_or(self.position);
        let short = (self.shared < u64::MAX && end < self.shared)
            .then(|| format!("records {} to {} are missing", end + 1, self.shared));
        let since = log.since(&mut |record| {
            self.lost += 1;
            self.sales.turn(decode(&record)?);
            Ok(())
        });
        let all = [self.log_cut_short.take(), short, since];
        let all: Vec<String> = all.into_iter().flatten().collect();
        self.log_cut_short = (!all.is_empty()).then(|| all.join("; "));
    }

    /// The number of the last record that is kept.
    fn judge_cut(&self, manifest: &Manifest) -> Result<u64, RestoreError> {
        let end = self.end.unwrap_or(manifest.position);
        let states_at = self.states_at(manifest);
        let (cut, wanted) = match self.cut {
            Cut::End => return Ok(end),
            Cut::Number(number) => (Some(number), format!("record {number}")),
            Cut::Time(at) => {
                let reaches = self.kept.is_some() || at >= states_at_ms(manifest);
                let cut = self.kept.unwrap_or(states_at);
                (reaches.then_some(cut), "that moment".to_owned())
            }
        };
        match cut {
            Some(cut) if cut > end => Err(RestoreError::Behind { last: end, wanted }),
            Some(cut) if cut >= states_at => Ok(cut),
            Some(_) | None => Err(RestoreError::Before {
                first: states_at,
                wanted,
            }),
        }
    }

    /// The record that the states are at: what the file says of it, or what follows from its entries.
    fn states_at(&self, manifest: &Manifest) -> u64 {
        let behind = self.first_record.map_or(manifest.position, |first| first - 1);
        self.first.max(manifest.rows_number.unwrap_or(behind))
    }

    fn expired(&self, rewind: &Rewind) -> u64 {
        let expires = |live: &&Live| {
            let due = live.expires_at <= rewind.now;
            !live.rests
                && match rewind.rule {
                    HoldsRule::Keep => due,
                    HoldsRule::Rebase => live.expires_at <= rewind.cut_at,
                    HoldsRule::Expire => due || !live.pays,
                }
        };
        self.live.values().filter(expires).count() as u64
    }

    fn hold_if_live(&mut self, hold: &Hold) {
        if hold.status != HoldStatus::Active {
            return;
        }
        let live = Live {
            expires_at: hold.expires_at,
            rests: hold.pin.is_some(),
            pays: hold.phase == Phase::Payment,
        };
        self.live.insert(hold.id, live);
    }

    fn kept_turn(&mut self, turn: &Turn) {
        let Fact::Variant(VariantFact { events, .. }) = &turn.fact else {
            return;
        };
        for event in events {
            match fate(event) {
                Some(Fate::Kept(hold)) if hold.status == HoldStatus::Active => self.hold_if_live(hold),
                Some(Fate::Kept(hold) | Fate::Ended(hold) | Fate::Withdrawn(hold)) => {
                    self.live.remove(&hold.id);
                }
                None => {}
            }
        }
    }
}

/// What a record says.
pub(super) fn decode(record: &Record) -> Result<Turn, RestoreError> {
    dto::decode_turn(&record.payload).map_err(|error| {
        RowError::content(Family::Entity, format!("record {}: {error}", record.number)).into()
    })
}

impl Visitor for Surveyor {
    fn entity(&mut self, entry: &Entry) -> Result<(), RestoreError> {
        self.entities += 1;
        if entry.kind != EntityKind::KEY {
            self.first = self.first.max(entry.number);
        }
        self.bytes += entry.state.len() as u64;
        let wrong = |error| RowError::content(Family::Hold, error);
        if entry.kind == EntityKind::VARIANT {
            let variant = dto::decode_variant(&entry.state).map_err(wrong)?;
            variant.holds().for_each(|hold| self.hold_if_live(hold));
        } else if entry.kind == EntityKind::HOLD {
            let hold = dto::decode_hold(&entry.state).map_err(wrong)?;
            self.hold_if_live(&hold);
        }
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<ControlFlow<()>, RestoreError> {
        self.first_record.get_or_insert(record.number.0);
        self.end = Some(record.number.0);
        let turn = decode(&record)?;
        if self.cut.keeps(record.number.0, record.logged_at_ms) {
            self.kept = Some(record.number.0);
            self.kept_at_ms = Some(record.logged_at_ms);
            self.replayed += 1;
            self.bytes += record.payload.len() as u64;
            self.kept_turn(&turn);
        } else {
            self.first_lost_at_ms.get_or_insert(record.logged_at_ms);
            if record.number.0 <= self.position {
                self.future.turn(&turn);
            }
            if record.number.0 <= self.shared {
                self.lost += 1;
                self.sales.turn(turn);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Behind the cut a log that breaks off only leaves the figures incomplete.
    fn log_ends(&mut self, error: RestoreError) -> Result<(), RestoreError> {
        let reached = match self.cut {
            Cut::End => false,
            Cut::Number(number) => self.end.is_some_and(|end| end >= number),
            Cut::Time(_) => self.first_lost_at_ms.is_some(),
        };
        if !reached {
            return Err(error);
        }
        self.log_cut_short = Some(error.to_string());
        Ok(())
    }
}
