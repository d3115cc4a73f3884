//! A bulk coordinator: its plan, its decision, where it stands.
use super::{
    Bits, List, Mirror, Moment,
    hold::{Hold, Shopper},
    policy::Terms,
    refusal::Refusal,
    words,
};
use crate::{
    domain::{
        bulk::{self, Mode},
        ids::{StoreId, VariantId, VariantOrdinal},
    },
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

words!(
    /// Whether lines stand and fall together.
    ModeWord of Mode { AllOrNothing, BestEffort }
);

#[derive(Encode, BorrowDecode)]
enum Action<'a> {
    Reserve(Shopper<'a>, Option<i64>),
    Extend(Option<i64>),
    Confirm,
    Release,
}

#[derive(Encode, BorrowDecode)]
struct Line<'a> {
    variant_id: &'a str,
    variant: Option<u32>,
    reservation: Bits,
    quantity: u32,
}

impl<'a> Mirror<'a> for Line<'a> {
    type Domain = bulk::Line;

    fn of(domain: &'a bulk::Line) -> Self {
        Self {
            variant_id: domain.variant_id.as_str(),
            variant: domain.variant.map(|ordinal| ordinal.0),
            reservation: domain.reservation.into(),
            quantity: domain.quantity,
        }
    }

    fn restore(self) -> Result<bulk::Line, FormatError> {
        Ok(bulk::Line {
            variant_id: VariantId::parse(self.variant_id)?,
            variant: self.variant.map(VariantOrdinal),
            reservation: self.reservation.try_into()?,
            quantity: self.quantity,
        })
    }
}

/// What was asked.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Plan<'a> {
    store: &'a str,
    mode: ModeWord,
    action: Action<'a>,
    lines: List<'a, Line<'a>>,
    terms: Terms,
}

impl<'a> Mirror<'a> for Plan<'a> {
    type Domain = bulk::Plan;

    fn of(domain: &'a bulk::Plan) -> Self {
        Self {
            store: domain.store.as_str(),
            mode: domain.mode.into(),
            action: match &domain.action {
                bulk::Action::Reserve { shopper, ttl_ms } => Action::Reserve(Shopper::of(shopper), *ttl_ms),
                bulk::Action::Extend { by_ms } => Action::Extend(*by_ms),
                bulk::Action::Confirm => Action::Confirm,
                bulk::Action::Release => Action::Release,
            },
            lines: List::Of(&domain.lines),
            terms: domain.terms.into(),
        }
    }

    fn restore(self) -> Result<bulk::Plan, FormatError> {
        let lines: Vec<bulk::Line> = self.lines.restore()?;
        if lines.is_empty() {
            return Err(FormatError::Invalid("a bulk without lines"));
        }
        Ok(bulk::Plan {
            store: StoreId::parse(self.store)?,
            mode: self.mode.into(),
            action: match self.action {
                Action::Reserve(shopper, ttl_ms) => bulk::Action::Reserve {
                    shopper: shopper.restore()?,
                    ttl_ms,
                },
                Action::Extend(by_ms) => bulk::Action::Extend { by_ms },
                Action::Confirm => bulk::Action::Confirm,
                Action::Release => bulk::Action::Release,
            },
            lines,
            terms: self.terms.into(),
        })
    }
}

#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum LineOutcome<'a> {
    Done(Hold<'a>),
    Refused(Refusal<'a>),
    Unanswered,
}

impl<'a> Mirror<'a> for LineOutcome<'a> {
    type Domain = bulk::LineOutcome;

    fn of(domain: &'a bulk::LineOutcome) -> Self {
        match domain {
            bulk::LineOutcome::Done(hold) => Self::Done(Hold::of(hold)),
            bulk::LineOutcome::Refused(refusal) => Self::Refused(Refusal::of(refusal)),
            bulk::LineOutcome::Unanswered => Self::Unanswered,
        }
    }

    fn restore(self) -> Result<bulk::LineOutcome, FormatError> {
        Ok(match self {
            Self::Done(hold) => bulk::LineOutcome::Done(hold.restore()?),
            Self::Refused(refusal) => bulk::LineOutcome::Refused(refusal.restore()?),
            Self::Unanswered => bulk::LineOutcome::Unanswered,
        })
    }
}

/// What happened to a coordinator.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Event<'a> {
    Intended(Box<Plan<'a>>),
    Decided(bool, List<'a, LineOutcome<'a>>),
    Finished,
}

impl<'a> Mirror<'a> for Event<'a> {
    type Domain = bulk::Event;

    fn of(domain: &'a bulk::Event) -> Self {
        match domain {
            bulk::Event::Intended(plan) => Self::Intended(Box::new(Plan::of(plan))),
            bulk::Event::Decided { commit, outcomes } => Self::Decided(*commit, List::Of(outcomes)),
            bulk::Event::Finished => Self::Finished,
        }
    }

    fn restore(self) -> Result<bulk::Event, FormatError> {
        Ok(match self {
            Self::Intended(plan) => bulk::Event::Intended(Box::new(plan.restore()?)),
            Self::Decided(commit, outcomes) => bulk::Event::Decided {
                commit,
                outcomes: outcomes.restore()?,
            },
            Self::Finished => bulk::Event::Finished,
        })
    }
}

#[derive(Encode, BorrowDecode)]
enum Stage {
    Trying,
    Decided(bool, Moment),
    Finished,
}

/// A coordinator, as the log knows it.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Bulk<'a> {
    id: Bits,
    plan: Plan<'a>,
    stage: Stage,
}

impl<'a> Mirror<'a> for Bulk<'a> {
    type Domain = bulk::Bulk;

    fn of(domain: &'a bulk::Bulk) -> Self {
        Self {
            id: domain.id.into(),
            plan: Plan::of(&domain.plan),
            stage: match domain.stage {
                bulk::Stage::Trying => Stage::Trying,
                bulk::Stage::Decided { commit, at } => Stage::Decided(commit, at.into()),
                bulk::Stage::Finished => Stage::Finished,
            },
        }
    }

    fn restore(self) -> Result<bulk::Bulk, FormatError> {
        Ok(bulk::Bulk {
            id: self.id.into(),
            plan: self.plan.restore()?,
            stage: match self.stage {
                Stage::Trying => bulk::Stage::Trying,
                Stage::Decided(commit, at) => bulk::Stage::Decided {
                    commit,
                    at: at.into(),
                },
                Stage::Finished => bulk::Stage::Finished,
            },
        })
    }
}
