//! What happened to a variant, and the lines of its ledger.
use super::{
    Bits, Mirror, Moment,
    hold::{Hold, Shopper},
    units,
    variant::{SaleWord, Settings},
    words,
};
use crate::{
    domain::variant::{self, LedgerKind},
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

words!(
    /// Which flow.
    FlowWord of LedgerKind { Received, WrittenOff, Shipped, Returned }
);

/// A line of the stock ledger.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct LedgerEntry<'a> {
    seq: u64,
    at: Moment,
    kind: FlowWord,
    delta: i64,
    before: u64,
    after: u64,
    reason: &'a str,
    reference: Option<&'a str>,
    by: &'a str,
    reservation: Option<Bits>,
}

impl<'a> Mirror<'a> for LedgerEntry<'a> {
    type Domain = variant::LedgerEntry;

    fn of(domain: &'a variant::LedgerEntry) -> Self {
        Self {
            seq: domain.seq,
            at: domain.at.into(),
            kind: domain.kind.into(),
            delta: domain.delta,
            before: domain.before,
            after: domain.after,
            reason: &domain.reason,
            reference: domain.reference.as_deref(),
            by: &domain.by,
            reservation: domain.reservation.map(Bits::from),
        }
    }

    fn restore(self) -> Result<variant::LedgerEntry, FormatError> {
        units(self.delta.unsigned_abs())?;
        Ok(variant::LedgerEntry {
            seq: self.seq,
            at: self.at.into(),
            kind: self.kind.into(),
            delta: self.delta,
            before: units(self.before)?,
            after: units(self.after)?,
            reason: self.reason.to_owned(),
            reference: self.reference.map(str::to_owned),
            by: self.by.to_owned(),
            reservation: self.reservation.map(TryInto::try_into).transpose()?,
        })
    }
}

/// An event. The hold of most is the whole hold as it stands afterwards.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Event<'a> {
    Created(Box<Settings<'a>>, Option<LedgerEntry<'a>>),
    SettingsChanged(Box<Settings<'a>>),
    SaleChanged(SaleWord),
    StockChanged(Option<LedgerEntry<'a>>),
    Deleted,
    Held(Hold<'a>),
    Extended(Hold<'a>),
    Resized(Hold<'a>),
    Confirmed(Hold<'a>, u32),
    Released(Hold<'a>),
    Expired(Hold<'a>),
    Pinned(Hold<'a>),
    Unpinned(Hold<'a>),
    Withdrawn(Hold<'a>),
    Fulfilled(AfterSale<'a>),
    Cancelled(AfterSale<'a>),
    Returned(AfterSale<'a>),
    Closed(Hold<'a>),
    Rehomed(Hold<'a>, Shopper<'a>),
}

/// Sold units leave, are cancelled or come back.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct AfterSale<'a> {
    hold: Hold<'a>,
    quantity: u32,
    entry: Option<Box<LedgerEntry<'a>>>,
}

impl<'a> AfterSale<'a> {
    fn of(hold: &'a variant::Hold, quantity: u32, entry: Option<&'a variant::LedgerEntry>) -> Self {
        Self {
            hold: Hold::of(hold),
            quantity,
            entry: entry.map(|entry| Box::new(LedgerEntry::of(entry))),
        }
    }

    fn restore(self) -> Result<(variant::Hold, u32, Option<variant::LedgerEntry>), FormatError> {
        let entry = self.entry.map(|entry| entry.restore()).transpose()?;
        Ok((self.hold.restore()?, self.quantity, entry))
    }
}

impl<'a> Mirror<'a> for Event<'a> {
    type Domain = variant::Event;

    fn of(domain: &'a variant::Event) -> Self {
        use variant::Event as Of;
        match domain {
            Of::Created { settings, entry } => Self::Created(
                Box::new(Settings::of(settings)),
                entry.as_ref().map(LedgerEntry::of),
            ),
            Of::SettingsChanged { settings } => Self::SettingsChanged(Box::new(Settings::of(settings))),
            Of::SaleChanged { sale } => Self::SaleChanged((*sale).into()),
            Of::StockChanged { entry } => Self::StockChanged(entry.as_ref().map(LedgerEntry::of)),
            Of::Deleted => Self::Deleted,
            Of::Held(hold) => Self::Held(Hold::of(hold)),
            Of::Extended(hold) => Self::Extended(Hold::of(hold)),
            Of::Resized(hold) => Self::Resized(Hold::of(hold)),
            Of::Confirmed { hold, given_back } => Self::Confirmed(Hold::of(hold), *given_back),
            Of::Released(hold) => Self::Released(Hold::of(hold)),
            Of::Expired(hold) => Self::Expired(Hold::of(hold)),
            Of::Pinned(hold) => Self::Pinned(Hold::of(hold)),
            Of::Unpinned(hold) => Self::Unpinned(Hold::of(hold)),
            Of::Withdrawn(hold) => Self::Withdrawn(Hold::of(hold)),
            Of::Fulfilled {
                hold,
                quantity,
                entry,
            } => Self::Fulfilled(AfterSale::of(hold, *quantity, entry.as_ref())),
            Of::Cancelled {
                hold,
                quantity,
                entry,
            } => Self::Cancelled(AfterSale::of(hold, *quantity, entry.as_ref())),
            Of::Returned {
                hold,
                quantity,
                entry,
            } => Self::Returned(AfterSale::of(hold, *quantity, entry.as_ref())),
            Of::Closed(hold) => Self::Closed(Hold::of(hold)),
            Of::Rehomed { hold, from } => Self::Rehomed(Hold::of(hold), Shopper::of(from)),
        }
    }

    fn restore(self) -> Result<variant::Event, FormatError> {
        use variant::Event as Of;
        Ok(match self {
            Self::Created(settings, entry) => Of::Created {
                settings: Box::new(settings.restore()?),
                entry: entry.map(LedgerEntry::restore).transpose()?,
            },
            Self::SettingsChanged(settings) => Of::SettingsChanged {
                settings: Box::new(settings.restore()?),
            },
            Self::SaleChanged(sale) => Of::SaleChanged { sale: sale.into() },
            Self::StockChanged(entry) => Of::StockChanged {
                entry: entry.map(LedgerEntry::restore).transpose()?,
            },
            Self::Deleted => Of::Deleted,
            Self::Held(hold) => Of::Held(hold.restore()?),
            Self::Extended(hold) => Of::Extended(hold.restore()?),
            Self::Resized(hold) => Of::Resized(hold.restore()?),
            Self::Confirmed(hold, given_back) => Of::Confirmed {
                hold: hold.restore()?,
                given_back,
            },
            Self::Released(hold) => Of::Released(hold.restore()?),
            Self::Expired(hold) => Of::Expired(hold.restore()?),
            Self::Pinned(hold) => Of::Pinned(hold.restore()?),
            Self::Unpinned(hold) => Of::Unpinned(hold.restore()?),
            Self::Withdrawn(hold) => Of::Withdrawn(hold.restore()?),
            Self::Fulfilled(sold) => {
                let (hold, quantity, entry) = sold.restore()?;
                Of::Fulfilled {
                    hold,
                    quantity,
                    entry,
                }
            }
            Self::Cancelled(sold) => {
                let (hold, quantity, entry) = sold.restore()?;
                Of::Cancelled {
                    hold,
                    quantity,
                    entry,
                }
            }
            Self::Returned(sold) => {
                let (hold, quantity, entry) = sold.restore()?;
                Of::Returned {
                    hold,
                    quantity,
                    entry,
                }
            }
            Self::Closed(hold) => Of::Closed(hold.restore()?),
            Self::Rehomed(hold, from) => Of::Rehomed {
                hold: hold.restore()?,
                from: from.restore()?,
            },
        })
    }
}
