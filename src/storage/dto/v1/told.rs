//! What was told of a success without a record of an entity.
use super::{Mirror, hold::Hold, variant::View};
use crate::storage::{dto::FormatError, record};
use bincode::{BorrowDecode, Encode};

/// An answer that a key brings back.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Told<'a> {
    Done,
    Reservation(Box<Hold<'a>>),
    Variant(Box<View<'a>>),
    CleanedUp(u64, u64),
    Snapshot(&'a str),
}

impl<'a> Mirror<'a> for Told<'a> {
    type Domain = record::Told;

    fn of(domain: &'a record::Told) -> Self {
        match domain {
            record::Told::Done => Self::Done,
            record::Told::Reservation(hold) => Self::Reservation(Box::new(Hold::of(hold))),
            record::Told::Variant(view) => Self::Variant(Box::new(View::of(view))),
            record::Told::CleanedUp { due, expired } => Self::CleanedUp(*due, *expired),
            record::Told::Snapshot(id) => Self::Snapshot(id),
        }
    }

    fn restore(self) -> Result<record::Told, FormatError> {
        Ok(match self {
            Self::Done => record::Told::Done,
            Self::Reservation(hold) => record::Told::Reservation(Box::new(hold.restore()?)),
            Self::Variant(view) => record::Told::Variant(Box::new(view.restore()?)),
            Self::CleanedUp(due, expired) => record::Told::CleanedUp { due, expired },
            Self::Snapshot(id) => record::Told::Snapshot(id.to_owned()),
        })
    }
}
