//! The coordinator of a bulk request: one outcome over several variants.
//!
//! ```text
//!  Intended ──► asks every line ──► Decided(commit) ──► settles every line ──► Finished
//!                  │ a refusal, or 5 s          ▲
//!                  └──────► Decided(abort) ─────┘        a collision with another coordinator: once more, in id order
//! ```
//! A line is asked to *prepare* (a tentative hold, or a pin on a reservation); the decision record makes it real or frees
//! it: all lines or none, or with best effort every line that was promised. So the record that answers the request is the
//! one by which it happens, with its key, in either mode. After a crash a coordinator without a decision gives everything
//! back, one with a decision settles again. An aborted bulk is a refusal: it is not remembered under its key, and a retry
//! is judged afresh.
mod attempt;
mod gather;

pub use attempt::Attempt;
pub use gather::{ASK_AGAIN_MS, Gather, Next};

use super::{
    ids::{BulkId, ReservationId, StoreId, VariantId, VariantOrdinal},
    policy::Terms,
    time::Timestamp,
    variant::{Command, Extend, Hold, Prepare, Refusal, Reserve, Shopper},
};

/// How long a coordinator may take to decide, ms; what it has not heard by then is given back. Less than a caller waits by
/// default, so that the caller hears of it.
pub const DECIDE_WITHIN_MS: i64 = 4_000;

/// The most lines of one coordinator.
pub const LINES_MAX: usize = 200;

/// The most journal entries a coordinator over `lines` lines leads to: two tries with a promise and a settlement each, its
/// own three records, and its answer.
pub const fn records_max(lines: usize) -> usize {
    4 * lines + 4
}

/// Whether lines stand and fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every line or none.
    AllOrNothing,
    /// Every line that can be had.
    BestEffort,
}

/// What is done to every line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hold units.
    Reserve {
        /// For whom.
        shopper: Shopper,
        /// The length asked for, ms.
        ttl_ms: Option<i64>,
    },
    /// Move deadlines.
    Extend {
        /// By how much, ms; the store's extension otherwise.
        by_ms: Option<i64>,
    },
    /// Sell.
    Confirm,
    /// Give back.
    Release,
}

/// One line: a variant and the reservation made or meant there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The shop's id, for answers.
    pub variant_id: VariantId,
    /// Where it lives; `None` when there is no such variant.
    pub variant: Option<VariantOrdinal>,
    /// The reservation's id; drawn beforehand for a new hold.
    pub reservation: ReservationId,
    /// Units wanted by a new hold; 0 otherwise.
    pub quantity: u32,
}

/// A bulk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose.
    pub store: StoreId,
    /// Whether lines stand and fall together.
    pub mode: Mode,
    /// What is done.
    pub action: Action,
    /// To what. At least one.
    pub lines: Vec<Line>,
    /// The store's terms.
    pub terms: Terms,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// Done (or promised): the reservation as it stands.
    Done(Hold),
    /// Refused.
    Refused(Refusal),
    /// Its variant did not answer in time; nothing was done there.
    Unanswered,
}

impl LineOutcome {
    /// Whether the line was done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// What happened to a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It will try.
    Intended(Box<Plan>),
    /// It decided.
    Decided {
        /// Every promise that was made is kept, or none.
        commit: bool,
        /// Line by line, as answered.
        outcomes: Vec<LineOutcome>,
    },
    /// Every line is settled; nothing is left to do.
    Finished,
}

/// Where a coordinator stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Asking.
    Trying,
    /// Decided, settling.
    Decided {
        /// Line by line whether its promise is kept; one that is not named here is not.
        kept: Vec<bool>,
        /// When.
        at: Timestamp,
    },
    /// Done.
    Finished,
}

/// A coordinator, as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Its id.
    pub id: BulkId,
    /// What was asked.
    pub plan: Plan,
    /// Where it stands.
    pub stage: Stage,
}

impl Bulk {
    /// A coordinator that has just logged its intent.
    pub fn intended(id: BulkId, plan: Plan) -> Self {
        Self {
            id,
            plan,
            stage: Stage::Trying,
        }
    }

    /// Changes by what happened at `at`.
    pub fn apply(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Intended(plan) => {
                self.plan = (**plan).clone();
                self.stage = Stage::Trying;
            }
            Event::Decided { commit, outcomes } => {
                let kept = outcomes.iter().map(|outcome| *commit && outcome.is_done());
                self.stage = Stage::Decided {
                    kept: kept.collect(),
                    at,
                };
            }
            Event::Finished => self.stage = Stage::Finished,
        }
    }

    /// What a line is asked in the try `number`.
    pub fn ask(&self, line: &Line, number: u32) -> Command {
        let plan = &self.plan;
        let reserve = |shopper: &Shopper, ttl_ms| Reserve {
            id: line.reservation,
            quantity: line.quantity,
            shopper: shopper.clone(),
            ttl_ms,
            allow_partial: false,
            terms: plan.terms,
            for_order: None,
        };
        let extend = |by_ms| Extend {
            id: line.reservation,
            by_ms,
            phase: None,
            terms: plan.terms,
            seen: None,
        };
        let prepare = match &plan.action {
            Action::Reserve { shopper, ttl_ms } => Prepare::Reserve(reserve(shopper, *ttl_ms)),
            Action::Extend { by_ms } => Prepare::Extend(extend(*by_ms)),
            Action::Confirm => Prepare::Confirm(line.reservation),
            Action::Release => Prepare::Release(line.reservation),
        };
        Command::Prepare {
            attempt: Attempt {
                bulk: self.id,
                number,
            },
            prepare,
        }
    }

    /// What a line is told once the try `number` is decided.
    pub fn settle(&self, line: &Line, number: u32, commit: bool, decided_at: Timestamp) -> Command {
        Command::Settle {
            attempt: Attempt {
                bulk: self.id,
                number,
            },
            id: line.reservation,
            commit,
            decided_at,
            shopper: None,
        }
    }
}
