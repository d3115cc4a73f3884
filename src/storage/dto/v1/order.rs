//! An order, and what happened to it.
use super::{
    Bits, Key, List, Mirror, Moment, bounded,
    hold::{Fulfilment, Hold},
    key_of, mark_of,
    policy::Terms,
    refusal::Refusal,
    variant::Money,
    words,
};
use crate::{
    domain::{
        ids::{CustomerId, ReservationId, SessionId, StoreId, VariantId, VariantOrdinal},
        order::{self, Movement, RefundReason, Status, Then},
        variant,
    },
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

words!(
    /// Where an order stands.
    StatusWord of Status {
        Opening,
        Refused,
        PendingPayment,
        PaymentFailed,
        Confirmed,
        PartiallyFulfilled,
        Fulfilled,
        Cancelled,
        Returned,
        Expired,
        RefundRequired,
    }
);

words!(
    /// Why a payment cannot be honoured.
    ReasonWord of RefundReason { Expired, Failed, Cancelled, AlreadyPaid, AmountMismatch }
);

words!(
    /// What moves after the sale.
    MovementWord of Movement { Fulfil, Cancel, Return }
);

words!(
    /// What comes after promises are settled.
    ThenWord of Then { Await, Confirm, End, Undo, TryInOrder }
);

/// An order.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Order<'a> {
    id: Bits,
    store: &'a str,
    cart: Bits,
    customer: Option<&'a str>,
    session: Option<&'a str>,
    status: StatusWord,
    lines: List<'a, Line<'a>>,
    terms: Terms,
    payment_deadline: Moment,
    grace_ms: i64,
    payment: Option<(&'a str, Moment)>,
    refunds: List<'a, Refund<'a>>,
    refused: List<'a, Unavailable<'a>>,
    created_at: Moment,
    version: u64,
    revision: u64,
    work: Option<Work<'a>>,
}

impl<'a> Mirror<'a> for Order<'a> {
    type Domain = order::Order;

    fn of(domain: &'a order::Order) -> Self {
        let payment = domain.payment.as_ref();
        Self {
            id: (&domain.id).into(),
            store: domain.store.as_str(),
            cart: (&domain.cart).into(),
            customer: domain.customer.as_ref().map(CustomerId::as_str),
            session: domain.session.as_ref().map(SessionId::as_str),
            status: domain.status.into(),
            lines: List::Of(&domain.lines),
            terms: domain.terms.into(),
            payment_deadline: domain.payment_deadline.into(),
            grace_ms: domain.grace_ms,
            payment: payment.map(|payment| (payment.reference.as_str(), payment.at.into())),
            refunds: List::Of(&domain.refunds),
            refused: List::Of(&domain.refused),
            created_at: domain.created_at.into(),
            version: domain.version,
            revision: domain.revision,
            work: domain.work.as_ref().map(Work::of),
        }
    }

    fn restore(self) -> Result<order::Order, FormatError> {
        let lines: Vec<order::Line> = bounded(self.lines.restore()?)?;
        let payment = self.payment.map(|(reference, at)| order::Payment {
            reference: reference.to_owned(),
            at: at.into(),
        });
        Ok(order::Order {
            id: self.id.try_into()?,
            store: StoreId::parse(self.store)?,
            cart: self.cart.try_into()?,
            customer: self.customer.map(CustomerId::parse).transpose()?,
            session: self.session.map(SessionId::parse).transpose()?,
            status: self.status.into(),
            work: self.work.map(|work| work.restore(&lines)).transpose()?,
            lines,
            terms: self.terms.try_into()?,
            payment_deadline: self.payment_deadline.into(),
            grace_ms: self.grace_ms,
            payment,
            refunds: bounded(self.refunds.restore()?)?,
            refused: bounded(self.refused.restore()?)?,
            created_at: self.created_at.into(),
            version: self.version,
            revision: self.revision,
        })
    }
}

#[derive(Encode, BorrowDecode)]
struct Line<'a> {
    variant: &'a str,
    ordinal: u32,
    quantity: u32,
    unit_price: Option<Money<'a>>,
    reservation: Bits,
    held: bool,
    hold: Option<Hold<'a>>,
    fulfilment: Fulfilment,
}

impl<'a> Mirror<'a> for Line<'a> {
    type Domain = order::Line;

    fn of(domain: &'a order::Line) -> Self {
        Self {
            variant: domain.variant.as_str(),
            ordinal: domain.ordinal.0,
            quantity: domain.quantity,
            unit_price: domain.unit_price.as_ref().map(Money::of),
            reservation: domain.reservation.into(),
            held: domain.held,
            hold: domain.hold.as_ref().map(Hold::of),
            fulfilment: domain.fulfilment.into(),
        }
    }

    fn restore(self) -> Result<order::Line, FormatError> {
        if self.quantity == 0 {
            return Err(FormatError::Invalid("a line of no units"));
        }
        Ok(order::Line {
            variant: VariantId::parse(self.variant)?,
            ordinal: VariantOrdinal(self.ordinal),
            quantity: self.quantity,
            unit_price: self.unit_price.map(Money::restore).transpose()?,
            reservation: self.reservation.try_into()?,
            held: self.held,
            hold: self.hold.map(Hold::restore).transpose()?,
            fulfilment: self.fulfilment.restore(self.quantity)?,
        })
    }
}

#[derive(Encode, BorrowDecode)]
struct Refund<'a> {
    reference: &'a str,
    reason: ReasonWord,
    at: Moment,
    done_at: Option<Moment>,
}

impl<'a> Mirror<'a> for Refund<'a> {
    type Domain = order::Refund;

    fn of(domain: &'a order::Refund) -> Self {
        Self {
            reference: &domain.reference,
            reason: domain.reason.into(),
            at: domain.at.into(),
            done_at: domain.done_at.map(Moment::from),
        }
    }

    fn restore(self) -> Result<order::Refund, FormatError> {
        Ok(order::Refund {
            reference: self.reference.to_owned(),
            reason: self.reason.into(),
            at: self.at.into(),
            done_at: self.done_at.map(Into::into),
        })
    }
}

#[derive(Encode, BorrowDecode)]
struct Work<'a> {
    step: Step<'a>,
    key: Option<Key>,
    begun_at: Moment,
}

#[derive(Encode, BorrowDecode)]
enum Step<'a> {
    Taking {
        attempt: u32,
        promised: u32,
    },
    Settling {
        attempt: u32,
        reservations: Vec<Bits>,
        commit: bool,
        decided_at: Moment,
        then: ThenWord,
    },
    Retaking {
        reference: &'a str,
        reservations: Vec<Bits>,
    },
    Confirming,
    GivingBack {
        reopen: bool,
        late: Option<Late<'a>>,
    },
    Moving {
        movement: MovementWord,
        restock: bool,
        totals: Vec<Fulfilment>,
        by: &'a str,
    },
    TellingCart(bool),
}

/// A payment that came late, with the reservations it may need.
#[derive(Encode, BorrowDecode)]
struct Late<'a> {
    reference: &'a str,
    reservations: Vec<Bits>,
}

impl<'a> Work<'a> {
    fn of(domain: &'a order::Work) -> Self {
        Self {
            step: Step::of(&domain.step),
            key: domain.key.as_ref().map(key_of),
            begun_at: domain.begun_at.into(),
        }
    }

    fn restore(self, lines: &[order::Line]) -> Result<order::Work, FormatError> {
        Ok(order::Work {
            step: self.step.restore(lines)?,
            key: self.key.map(mark_of),
            begun_at: self.begun_at.into(),
        })
    }
}

impl<'a> Step<'a> {
    fn of(domain: &'a order::Step) -> Self {
        match domain {
            order::Step::Taking { attempt, promised } => Self::Taking {
                attempt: *attempt,
                promised: *promised,
            },
            order::Step::Settling {
                attempt,
                reservations,
                commit,
                decided_at,
                then,
            } => Self::Settling {
                attempt: *attempt,
                reservations: bits_of(reservations),
                commit: *commit,
                decided_at: (*decided_at).into(),
                then: then.clone().into(),
            },
            order::Step::Retaking {
                reference,
                reservations,
            } => Self::Retaking {
                reference,
                reservations: bits_of(reservations),
            },
            order::Step::Confirming => Self::Confirming,
            order::Step::GivingBack { reopen, late } => Self::GivingBack {
                reopen: *reopen,
                late: late.as_ref().map(|late| Late {
                    reference: &late.reference,
                    reservations: bits_of(&late.reservations),
                }),
            },
            order::Step::Moving {
                movement,
                restock,
                totals,
                by,
            } => Self::Moving {
                movement: (*movement).into(),
                restock: *restock,
                totals: totals.iter().copied().map(Fulfilment::from).collect(),
                by,
            },
            order::Step::TellingCart { reopen } => Self::TellingCart(*reopen),
        }
    }

    fn restore(self, lines: &[order::Line]) -> Result<order::Step, FormatError> {
        let for_each_line = |entries: usize| {
            (entries == lines.len())
                .then_some(())
                .ok_or(FormatError::Invalid("a step with other lines than its order"))
        };
        let ids = |reservations: Vec<Bits>| -> Result<Vec<ReservationId>, FormatError> {
            for_each_line(reservations.len())?;
            reservations.into_iter().map(ReservationId::try_from).collect()
        };
        Ok(match self {
            Self::Taking { attempt, promised } => {
                if promised as usize > lines.len() {
                    return Err(FormatError::Invalid("more promises than lines"));
                }
                order::Step::Taking { attempt, promised }
            }
            Self::Settling {
                attempt,
                reservations,
                commit,
                decided_at,
                then,
            } => order::Step::Settling {
                attempt,
                reservations: ids(reservations)?,
                commit,
                decided_at: decided_at.into(),
                then: then.into(),
            },
            Self::Retaking {
                reference,
                reservations,
            } => order::Step::Retaking {
                reference: reference.to_owned(),
                reservations: ids(reservations)?,
            },
            Self::Confirming => order::Step::Confirming,
            Self::GivingBack { reopen, late } => {
                let late = late.map(|late| {
                    Ok::<_, FormatError>(order::Late {
                        reference: late.reference.to_owned(),
                        reservations: ids(late.reservations)?,
                    })
                });
                order::Step::GivingBack {
                    reopen,
                    late: late.transpose()?,
                }
            }
            Self::Moving {
                movement,
                restock,
                totals,
                by,
            } => {
                for_each_line(totals.len())?;
                let totals = totals.into_iter().zip(lines);
                let totals = totals.map(|(wanted, line)| wanted.restore(line.quantity));
                order::Step::Moving {
                    movement: movement.into(),
                    restock,
                    totals: totals.collect::<Result<Vec<variant::Fulfilment>, _>>()?,
                    by: by.to_owned(),
                }
            }
            Self::TellingCart(reopen) => order::Step::TellingCart { reopen },
        })
    }
}

fn bits_of(reservations: &[ReservationId]) -> Vec<Bits> {
    reservations.iter().copied().map(Bits::from).collect()
}

/// A line that cannot be had.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Unavailable<'a> {
    variant: &'a str,
    refusal: Refusal<'a>,
}

impl<'a> Mirror<'a> for Unavailable<'a> {
    type Domain = (VariantId, variant::Refusal);

    fn of((variant, refusal): &'a (VariantId, variant::Refusal)) -> Self {
        Self {
            variant: variant.as_str(),
            refusal: Refusal::of(refusal),
        }
    }

    fn restore(self) -> Result<(VariantId, variant::Refusal), FormatError> {
        Ok((VariantId::parse(self.variant)?, self.refusal.restore()?))
    }
}

/// What happened to an order.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Happened<'a> {
    Began,
    Went,
    Refused(List<'a, Unavailable<'a>>),
    Opened,
    PaymentAccepted,
    PaymentExpired,
    PaymentFailed,
    Confirmed,
    RefundRequired(&'a str),
    RefundDone(&'a str),
    Fulfilled,
    Cancelled,
    Returned,
    LinesRefused(List<'a, Unavailable<'a>>),
}

impl<'a> Mirror<'a> for Happened<'a> {
    type Domain = order::Happened;

    fn of(domain: &'a order::Happened) -> Self {
        use order::Happened as Of;
        match domain {
            Of::Began => Self::Began,
            Of::Went => Self::Went,
            Of::Refused { lines } => Self::Refused(List::Of(lines)),
            Of::Opened => Self::Opened,
            Of::PaymentAccepted => Self::PaymentAccepted,
            Of::PaymentExpired => Self::PaymentExpired,
            Of::PaymentFailed => Self::PaymentFailed,
            Of::Confirmed => Self::Confirmed,
            Of::RefundRequired { reference } => Self::RefundRequired(reference),
            Of::RefundDone { reference } => Self::RefundDone(reference),
            Of::Fulfilled => Self::Fulfilled,
            Of::Cancelled => Self::Cancelled,
            Of::Returned => Self::Returned,
            Of::LinesRefused { lines } => Self::LinesRefused(List::Of(lines)),
        }
    }

    fn restore(self) -> Result<order::Happened, FormatError> {
        use order::Happened as Of;
        Ok(match self {
            Self::Began => Of::Began,
            Self::Went => Of::Went,
            Self::Refused(lines) => Of::Refused {
                lines: bounded(lines.restore()?)?,
            },
            Self::Opened => Of::Opened,
            Self::PaymentAccepted => Of::PaymentAccepted,
            Self::PaymentExpired => Of::PaymentExpired,
            Self::PaymentFailed => Of::PaymentFailed,
            Self::Confirmed => Of::Confirmed,
            Self::RefundRequired(reference) => Of::RefundRequired {
                reference: reference.to_owned(),
            },
            Self::RefundDone(reference) => Of::RefundDone {
                reference: reference.to_owned(),
            },
            Self::Fulfilled => Of::Fulfilled,
            Self::Cancelled => Of::Cancelled,
            Self::Returned => Of::Returned,
            Self::LinesRefused(lines) => Of::LinesRefused {
                lines: bounded(lines.restore()?)?,
            },
        })
    }
}
