//! The story of a variant's units: what happened to it, how it stood behind any record, and who held the last unit when.
//!
//! Told from its own records where they reach back to its creation; otherwise from the newest state at or below the
//! moment asked for (rows, then portable snapshots) and the records behind it. Where neither reaches, the answer names the
//! record from which on it is known.
use super::{AppError, Context, Offline, Shop, replay::blocking};
use crate::{
    actor::Shed,
    domain::{
        ids::{VariantId, VariantOrdinal},
        time::Timestamp,
        variant::{Event, Hold, HoldStatus, Variant, View},
    },
    storage::{
        past::{Past, Standing, Step},
        record::{Fact, VariantFact},
    },
};
use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The most live holds that a state tells one by one.
const HOLDS_TOLD_MAX: usize = 1_000;

/// Which moment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The last durable record.
    Now,
    /// Behind this record.
    Number(u64),
    /// Behind the last record logged by then.
    Time(Timestamp),
}

/// What is asked of a variant's past.
#[derive(Clone, Copy, Debug)]
pub struct HistoryAsk {
    /// How it stood when.
    pub at: Moment,
    /// Only what happened before this place.
    pub before: Option<EventPlace>,
    /// Events at most, the newest ones.
    pub limit: usize,
}

/// Where an event stands: its record, and its place in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// The record.
    pub number: u64,
    /// From 0.
    pub index: u32,
}

/// The units of a variant behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Physical units.
    pub on_hand: u64,
    /// Units in live holds.
    pub held: u64,
    /// Units sold and not shipped.
    pub committed: u64,
    /// Units free; `None` for untracked goods.
    pub available: Option<u64>,
}

/// Something that happened to a variant.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Where it stands.
    pub place: EventPlace,
    /// The logged moment.
    pub at: Timestamp,
    /// What.
    pub event: Event,
    /// The units behind it, as far as they are known.
    pub figures: Option<Figures>,
}

/// When the last unit was taken.
#[derive(Clone, Debug)]
pub struct LastUnit {
    /// By what.
    pub taken: Happened,
    /// When a unit was free again, if one was by the moment asked for.
    pub free_again: Option<(u64, Timestamp)>,
}

/// A variant's past.
#[derive(Clone, Debug)]
pub struct Story {
    /// The last record that counts.
    pub number: u64,
    /// The moment it is told for.
    pub at: Timestamp,
    /// The first record behind which its state is known.
    pub known_from: u64,
    /// How it stood; `None` before it was created.
    pub state: Option<View>,
    /// Its live holds then, in order of creation, at most [`HOLDS_TOLD_MAX`].
    pub holds: Vec<Hold>,
    /// How many more there were.
    pub holds_untold: usize,
    /// The last time that its last unit was taken, as far as its past is known.
    pub last_unit: Option<LastUnit>,
    /// What happened, newest first.
    pub events: Vec<Happened>,
    /// Whether something happened before those.
    pub more: bool,
}

impl Shop {
    /// The story of a variant. One at a time: all records are read.
    ///
    /// # Errors
    /// No such variant; [`AppError::HistoryTooOld`]; another story is being told; or an error of the way.
    pub async fn history(&self, ctx: &Context, id: &VariantId, ask: HistoryAsk) -> Result<Story, AppError> {
        let entry = self.variant(ctx, id)?;
        let turn = Arc::clone(&self.histories).try_acquire_owned();
        let turn = turn.map_err(|_| AppError::Shed(Shed::Process))?;
        let (past, now) = (self.past.clone(), self.clock.now());
        let stopped = Arc::new(AtomicBool::new(false));
        let unheard = StopWhenUnheard(Arc::clone(&stopped));
        let told = blocking(&*self.workers, move || {
            let told = story(&past, entry.ordinal, ask, now, &|| {
                stopped.load(Ordering::Relaxed)
            });
            drop(turn);
            told
        });
        let told = told.await;
        drop(unheard);
        told
    }
}

impl Offline {
    /// The story of a variant; `None` if there is none of this id.
    ///
    /// # Errors
    /// As [`Shop::history`].
    pub fn history(&self, id: &VariantId, ask: HistoryAsk) -> Result<Option<Story>, AppError> {
        let Some(ordinal) = self.ordinal(id) else {
            return Ok(None);
        };
        story(&self.past(), ordinal, ask, self.at(), &|| false).map(Some)
    }
}

/// Ends the reading when nobody waits for it any more.
struct StopWhenUnheard(Arc<AtomicBool>);

impl Drop for StopWhenUnheard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn story(
    past: &Past,
    ordinal: VariantOrdinal,
    ask: HistoryAsk,
    now: Timestamp,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Story, AppError> {
    let unreadable = |error| AppError::internal("a variant's past could not be read", &error);
    let rows = past.stored(ordinal).map_err(unreadable)?;
    let read = |base: Option<Standing>| -> Result<Telling, AppError> {
        let mut telling = Telling::new(ask, base);
        past.walk(ordinal, |step| {
            if is_stopped() {
                return ControlFlow::Break(());
            }
            telling.see(step)
        })
        .map_err(unreadable)?;
        telling.take_base_at_the_end();
        Ok(telling)
    };
    let mut telling = read(rows.clone())?;
    if !telling.is_known()
        && let Some(base) = past
            .in_snapshots(ordinal, telling.number)
            .map_err(|error| AppError::internal("the snapshots could not be listed", &error))?
    {
        telling = read(Some(base))?;
    }
    telling.told(now, rows.map(|rows| rows.number))
}

/// A story being told, record by record.
struct Telling {
    ask: HistoryAsk,
    /// A state to follow records from, if they do not reach back to the creation.
    base: Option<Standing>,
    /// Every record from this one on has been seen.
    whole_from: u64,
    /// The variant, once its state is known.
    variant: Option<Variant>,
    known_from: Option<u64>,
    /// The moment asked for is behind us.
    is_reached: bool,
    /// A record behind the moment says that the variant was created there.
    is_still_unborn: bool,
    /// The last record that counts.
    number: u64,
    /// The last record of the last whole group that counts, and when it was logged.
    passed: u64,
    logged_at: Timestamp,
    last_unit: Option<LastUnit>,
    events: VecDeque<Happened>,
    more: bool,
}

impl Telling {
    fn new(ask: HistoryAsk, base: Option<Standing>) -> Self {
        Self {
            ask,
            base,
            whole_from: 0,
            variant: None,
            known_from: None,
            is_reached: false,
            is_still_unborn: false,
            number: 0,
            passed: 0,
            logged_at: Timestamp::default(),
            last_unit: None,
            events: VecDeque::new(),
            more: false,
        }
    }

    fn is_known(&self) -> bool {
        self.variant.is_some() || self.is_still_unborn
    }

    fn is_behind(&self, number: u64, logged_at: Timestamp) -> bool {
        match self.ask.at {
            Moment::Now => false,
            Moment::Number(last) => number > last,
            Moment::Time(last) => logged_at > last,
        }
    }

    fn see(&mut self, step: Step) -> ControlFlow<()> {
        match step {
            Step::Gap { next } => {
                self.whole_from = next;
                (self.variant, self.known_from) = (None, None);
            }
            Step::Passed { number, logged_at } if self.is_behind(number, logged_at) => {
                self.reach(logged_at);
                self.take_base_at_the_end();
                // Not known yet: the next turn tells whether it was there already.
                if self.is_known() {
                    return ControlFlow::Break(());
                }
            }
            Step::Passed { number, logged_at } => {
                (self.number, self.passed, self.logged_at) = (number, number, logged_at);
            }
            Step::Turn {
                number,
                logged_at,
                turn,
            } => {
                let Fact::Variant(fact) = turn.fact else {
                    return ControlFlow::Continue(());
                };
                if self.is_behind(number, logged_at) {
                    self.reach(logged_at);
                    self.is_still_unborn = self.variant.is_none() && fact.named.is_some();
                    return ControlFlow::Break(());
                }
                self.take_base(number);
                self.turn(number, turn.at, fact);
                self.number = number;
            }
        }
        ControlFlow::Continue(())
    }

    /// The moment asked for is behind us, at the latest in a group that was logged at `logged_at`.
    fn reach(&mut self, logged_at: Timestamp) {
        if self.is_reached {
            return;
        }
        self.is_reached = true;
        if let Moment::Number(last) = self.ask.at {
            if self.passed < last {
                self.logged_at = logged_at;
            }
            self.number = last;
        }
    }

    /// Goes on from the base where every record behind it is there.
    fn take_base(&mut self, next: u64) {
        if self.variant.is_some() {
            return;
        }
        let base = self
            .base
            .take_if(|base| base.number < next && base.through + 1 >= self.whole_from);
        if let Some(base) = base {
            self.known_from = Some(base.number.max(1));
            self.variant = Some(base.variant);
        }
    }

    /// Nothing happened behind the base.
    fn take_base_at_the_end(&mut self) {
        self.take_base(self.number.saturating_add(1));
    }

    fn turn(&mut self, number: u64, at: Timestamp, fact: VariantFact) {
        if let Some((store, id)) = fact.named {
            self.variant = Some(Variant::unborn(store, id, fact.ordinal));
            self.known_from = Some(number);
        }
        // A base that has this record already must not take it in again.
        let is_new = |variant: &Variant| variant.head().revision < fact.revision;
        let follows = self.variant.as_ref().is_some_and(is_new);
        for (index, event) in (0..).zip(fact.events) {
            let before = self.figures();
            if follows && let Some(variant) = &mut self.variant {
                variant.apply(&event, at);
            }
            let place = EventPlace { number, index };
            let figures = self.figures();
            let happened = Happened {
                place,
                at,
                event,
                figures,
            };
            self.follow_last_unit(before, &happened);
            self.keep(happened);
        }
    }

    fn figures(&self) -> Option<Figures> {
        let variant = self.variant.as_ref()?;
        Some(Figures {
            on_hand: variant.head().on_hand,
            held: variant.held(),
            committed: variant.committed(),
            available: variant.published_available(),
        })
    }

    fn follow_last_unit(&mut self, before: Option<Figures>, happened: &Happened) {
        let (Some(before), Some(after)) = (before, happened.figures) else {
            return;
        };
        match (before.available, after.available) {
            (Some(free), Some(0)) if free > 0 => {
                self.last_unit = Some(LastUnit {
                    taken: happened.clone(),
                    free_again: None,
                });
            }
            (Some(0), Some(free)) if free > 0 => {
                if let Some(last) = &mut self.last_unit {
                    last.free_again = Some((happened.place.number, happened.at));
                }
            }
            (_, _) => {}
        }
    }

    /// Keeps the newest events before the place asked for.
    fn keep(&mut self, happened: Happened) {
        if self.ask.before.is_some_and(|before| happened.place >= before) {
            return;
        }
        self.events.push_back(happened);
        if self.events.len() > self.ask.limit {
            self.events.pop_front();
            self.more = true;
        }
    }

    fn told(self, now: Timestamp, rows: Option<u64>) -> Result<Story, AppError> {
        if !self.is_known() {
            return Err(AppError::HistoryTooOld { known_from: rows });
        }
        let at = match self.ask.at {
            Moment::Now => now,
            Moment::Number(_) => self.logged_at,
            Moment::Time(at) => at,
        };
        let held = |hold: &Hold| matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative);
        let live = |hold: &&Hold| held(hold) && !hold.is_due(at);
        let holds = || self.variant.iter().flat_map(Variant::holds).filter(live);
        let told = holds().take(HOLDS_TOLD_MAX).cloned().collect();
        Ok(Story {
            number: self.number,
            at,
            known_from: self.known_from.unwrap_or(self.number.saturating_add(1)),
            state: self
                .variant
                .as_ref()
                .map(|variant| variant.view(at.max(variant.head().decided_at))),
            holds: told,
            holds_untold: holds().count().saturating_sub(HOLDS_TOLD_MAX),
            last_unit: self.last_unit,
            events: self.events.into_iter().rev().collect(),
            more: self.more,
        })
    }
}
