//! What was told of a success without a record of an entity.
use super::{List, Mirror, hold::Hold, refusal::Refusal, variant::View};
use crate::{
    domain::{ids::VariantId, variant},
    storage::{dto::FormatError, record},
};
use bincode::{BorrowDecode, Encode};

/// An answer that a key brings back.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Told<'a> {
    Done,
    Reservation(Box<Hold<'a>>),
    Variant(Box<View<'a>>),
    CleanedUp(u64, u64),
    Imported(Box<Report<'a>>),
    Snapshot(&'a str),
}

/// What became of an import.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Report<'a> {
    created: u64,
    changed: u64,
    unchanged: u64,
    failed: u64,
    failures: List<'a, Failure<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct Failure<'a> {
    line: u64,
    variant: &'a str,
    why: WhyNot<'a>,
}

#[derive(Encode, BorrowDecode)]
enum WhyNot<'a> {
    Refused(Refusal<'a>),
    Quarantined,
    Unknown,
}

impl<'a> Mirror<'a> for Report<'a> {
    type Domain = variant::ImportReport;

    fn of(domain: &'a variant::ImportReport) -> Self {
        Self {
            created: domain.created,
            changed: domain.changed,
            unchanged: domain.unchanged,
            failed: domain.failed,
            failures: List::Of(&domain.failures),
        }
    }

    fn restore(self) -> Result<variant::ImportReport, FormatError> {
        Ok(variant::ImportReport {
            created: self.created,
            changed: self.changed,
            unchanged: self.unchanged,
            failed: self.failed,
            failures: self.failures.restore()?,
        })
    }
}

impl<'a> Mirror<'a> for Failure<'a> {
    type Domain = variant::LineFailure;

    fn of(domain: &'a variant::LineFailure) -> Self {
        Self {
            line: domain.line,
            variant: domain.variant.as_str(),
            why: match &domain.why {
                variant::WhyNot::Refused(refusal) => WhyNot::Refused(Refusal::of(refusal)),
                variant::WhyNot::Quarantined => WhyNot::Quarantined,
                variant::WhyNot::Unknown => WhyNot::Unknown,
            },
        }
    }

    fn restore(self) -> Result<variant::LineFailure, FormatError> {
        Ok(variant::LineFailure {
            line: self.line,
            variant: VariantId::parse(self.variant)?,
            why: match self.why {
                WhyNot::Refused(refusal) => variant::WhyNot::Refused(refusal.restore()?),
                WhyNot::Quarantined => variant::WhyNot::Quarantined,
                WhyNot::Unknown => variant::WhyNot::Unknown,
            },
        })
    }
}

impl<'a> Mirror<'a> for Told<'a> {
    type Domain = record::Told;

    fn of(domain: &'a record::Told) -> Self {
        match domain {
            record::Told::Done => Self::Done,
            record::Told::Reservation(hold) => Self::Reservation(Box::new(Hold::of(hold))),
            record::Told::Variant(view) => Self::Variant(Box::new(View::of(view))),
            record::Told::CleanedUp { due, expired } => Self::CleanedUp(*due, *expired),
            record::Told::Imported(report) => Self::Imported(Box::new(Report::of(report))),
            record::Told::Snapshot(id) => Self::Snapshot(id),
        }
    }

    fn restore(self) -> Result<record::Told, FormatError> {
        Ok(match self {
            Self::Done => record::Told::Done,
            Self::Reservation(hold) => record::Told::Reservation(Box::new(hold.restore()?)),
            Self::Variant(view) => record::Told::Variant(Box::new(view.restore()?)),
            Self::CleanedUp(due, expired) => record::Told::CleanedUp { due, expired },
            Self::Imported(report) => record::Told::Imported(Box::new(report.restore()?)),
            Self::Snapshot(id) => record::Told::Snapshot(id.to_owned()),
        })
    }
}
