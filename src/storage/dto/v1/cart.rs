//! A cart, and what happened to it. A million idle ones are kept: an idle cart of two lines takes less than 250 bytes.
use super::{
    Bits, Key, List, Mirror, Moment, Since, bounded, key_of, mark_of, order::Order, policy::Policy,
    variant::Money, words,
};
use crate::{
    domain::{
        cart::{self, LineId, MergeStrategy, NotExtended},
        ids::{CartId, CustomerId, ReservationId, SessionId, StoreId, VariantId, VariantOrdinal},
    },
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

words!(
    /// Whose quantities count.
    StrategyWord of MergeStrategy { Sum, Max, Keep }
);

words!(
    /// Why a line got no more time.
    NotExtendedWord of NotExtended { Limit, SaleNotOpen, InFlight, OwnedByOrder }
);

#[derive(Encode, BorrowDecode)]
enum Status {
    Active,
    CheckingOut(Bits),
    Ordered(Bits),
    Merging(Bits),
    Merged(Bits),
    Abandoned,
}

/// A cart. `touched` and `ended` count from `created_at`.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Cart<'a> {
    id: Bits,
    store: &'a str,
    customer: Option<&'a str>,
    session: Option<&'a str>,
    status: Status,
    lines: List<'a, Line<'a>>,
    next_line: u32,
    created_at: Moment,
    touched: Since,
    ended: Option<Since>,
    policy: Policy,
    version: u64,
    revision: u64,
    doing: Doing<'a>,
}

/// What a cart is in the middle of, and the strays beside it: an `Option` of the work until there were strays, and its bytes.
#[derive(Encode, BorrowDecode)]
enum Doing<'a> {
    Nothing,
    Work(Work<'a>),
    Beside(Vec<Stray>, Option<Work<'a>>),
}

#[derive(Clone, Copy, Encode, BorrowDecode)]
struct Stray {
    reservation: Bits,
    again_at: Moment,
    tries: u32,
}

impl From<&cart::Stray> for Stray {
    fn from(stray: &cart::Stray) -> Self {
        Self {
            reservation: stray.reservation.into(),
            again_at: stray.again_at.into(),
            tries: stray.tries,
        }
    }
}

impl TryFrom<Stray> for cart::Stray {
    type Error = FormatError;

    fn try_from(stray: Stray) -> Result<Self, FormatError> {
        Ok(Self {
            reservation: stray.reservation.try_into()?,
            again_at: stray.again_at.into(),
            tries: stray.tries,
        })
    }
}

impl<'a> Doing<'a> {
    fn of(cart: &'a cart::Cart) -> Self {
        let work = cart.work.as_ref().map(Work::of);
        if cart.strays.is_empty() {
            return work.map_or(Self::Nothing, Self::Work);
        }
        Self::Beside(cart.strays.iter().map(Stray::from).collect(), work)
    }

    fn restore(self) -> Result<(Vec<cart::Stray>, Option<cart::Work>), FormatError> {
        let (strays, work) = match self {
            Self::Nothing => (Vec::new(), None),
            Self::Work(work) => (Vec::new(), Some(work)),
            Self::Beside(strays, work) => (strays, work),
        };
        let strays = bounded(strays)?.into_iter().map(cart::Stray::try_from);
        Ok((
            strays.collect::<Result<_, _>>()?,
            work.map(Work::restore).transpose()?,
        ))
    }
}

impl<'a> Mirror<'a> for Cart<'a> {
    type Domain = cart::Cart;

    fn of(domain: &'a cart::Cart) -> Self {
        let since = |at| Since::of(at, domain.created_at);
        Self {
            id: (&domain.id).into(),
            store: domain.store.as_str(),
            customer: domain.customer.as_ref().map(CustomerId::as_str),
            session: domain.session.as_ref().map(SessionId::as_str),
            status: match &domain.status {
                cart::Status::Active => Status::Active,
                cart::Status::CheckingOut { order } => Status::CheckingOut(order.into()),
                cart::Status::Ordered { order } => Status::Ordered(order.into()),
                cart::Status::Merging { into } => Status::Merging(into.into()),
                cart::Status::Merged { into } => Status::Merged(into.into()),
                cart::Status::Abandoned => Status::Abandoned,
            },
            lines: List::Of(&domain.lines),
            next_line: domain.next_line,
            created_at: domain.created_at.into(),
            touched: since(domain.touched_at),
            ended: domain.ended_at.map(since),
            policy: Policy::of(&domain.policy),
            version: domain.version,
            revision: domain.revision,
            doing: Doing::of(domain),
        }
    }

    fn restore(self) -> Result<cart::Cart, FormatError> {
        let created_at = self.created_at.into();
        let (strays, work) = self.doing.restore()?;
        Ok(cart::Cart {
            id: self.id.try_into()?,
            store: StoreId::parse(self.store)?,
            customer: self.customer.map(CustomerId::parse).transpose()?,
            session: self.session.map(SessionId::parse).transpose()?,
            status: match self.status {
                Status::Active => cart::Status::Active,
                Status::CheckingOut(order) => cart::Status::CheckingOut {
                    order: order.try_into()?,
                },
                Status::Ordered(order) => cart::Status::Ordered {
                    order: order.try_into()?,
                },
                Status::Merging(into) => cart::Status::Merging {
                    into: into.try_into()?,
                },
                Status::Merged(into) => cart::Status::Merged {
                    into: into.try_into()?,
                },
                Status::Abandoned => cart::Status::Abandoned,
            },
            lines: bounded(self.lines.restore()?)?,
            next_line: self.next_line,
            created_at,
            touched_at: self.touched.after(created_at),
            ended_at: self.ended.map(|ended| ended.after(created_at)),
            policy: self.policy.restore()?,
            version: self.version,
            revision: self.revision,
            strays,
            work,
        })
    }
}

#[derive(Encode, BorrowDecode)]
struct Line<'a> {
    id: u32,
    variant: &'a str,
    ordinal: u32,
    quantity: u32,
    unit_price: Option<Money<'a>>,
    campaign: Option<&'a str>,
    hold: LineHold,
}

#[derive(Encode, BorrowDecode)]
enum LineHold {
    None,
    Held(Kept),
    Ended(Kept),
    Unconfirmed(Bits, Moment, u32),
}

impl<'a> Mirror<'a> for Line<'a> {
    type Domain = cart::Line;

    fn of(domain: &'a cart::Line) -> Self {
        Self {
            id: domain.id.0,
            variant: domain.variant.as_str(),
            ordinal: domain.ordinal.0,
            quantity: domain.quantity,
            unit_price: domain.unit_price.as_ref().map(Money::of),
            campaign: domain.campaign.as_deref(),
            hold: match domain.hold {
                cart::LineHold::None => LineHold::None,
                cart::LineHold::Held(kept) => LineHold::Held(kept.into()),
                cart::LineHold::Ended(kept) => LineHold::Ended(kept.into()),
                cart::LineHold::Unconfirmed {
                    reservation,
                    again_at,
                    tries,
                } => LineHold::Unconfirmed(reservation.into(), again_at.into(), tries),
            },
        }
    }

    fn restore(self) -> Result<cart::Line, FormatError> {
        Ok(cart::Line {
            id: LineId(self.id),
            variant: VariantId::parse(self.variant)?,
            ordinal: VariantOrdinal(self.ordinal),
            quantity: wanted(self.quantity)?,
            unit_price: self.unit_price.map(Money::restore).transpose()?,
            campaign: self.campaign.map(str::to_owned),
            hold: match self.hold {
                LineHold::None => cart::LineHold::None,
                LineHold::Held(kept) => cart::LineHold::Held(kept.try_into()?),
                LineHold::Ended(kept) => cart::LineHold::Ended(kept.try_into()?),
                LineHold::Unconfirmed(reservation, again_at, tries) => cart::LineHold::Unconfirmed {
                    reservation: reservation.try_into()?,
                    again_at: again_at.into(),
                    tries,
                },
            },
        })
    }
}

/// Units of a line.
fn wanted(quantity: u32) -> Result<u32, FormatError> {
    if quantity == 0 {
        return Err(FormatError::Invalid("a line of no units"));
    }
    Ok(quantity)
}

/// A hold as the variant last told of it. Its deadline counts from its creation, which its id says; the latest one from the
/// deadline.
#[derive(Clone, Copy, Encode, BorrowDecode)]
struct Kept {
    reservation: Bits,
    expires: Since,
    max_expires: Since,
    extensions_left: u8,
    version: u32,
}

impl From<cart::Kept> for Kept {
    fn from(kept: cart::Kept) -> Self {
        Self {
            reservation: kept.reservation.into(),
            expires: Since::of(kept.expires_at, kept.reservation.created_at()),
            max_expires: Since::of(kept.max_expires_at, kept.expires_at),
            extensions_left: kept.extensions_left,
            version: kept.version,
        }
    }
}

impl TryFrom<Kept> for cart::Kept {
    type Error = FormatError;

    fn try_from(kept: Kept) -> Result<Self, FormatError> {
        let reservation: ReservationId = kept.reservation.try_into()?;
        let expires_at = kept.expires.after(reservation.created_at());
        Ok(Self {
            reservation,
            expires_at,
            max_expires_at: kept.max_expires.after(expires_at),
            extensions_left: kept.extensions_left,
            version: kept.version,
        })
    }
}

#[derive(Encode, BorrowDecode)]
struct Work<'a> {
    task: Task<'a>,
    key: Option<Key>,
    begun_at: Moment,
    by_shopper: bool,
}

#[derive(Encode, BorrowDecode)]
enum Task<'a> {
    Hold {
        line: u32,
        reservation: Bits,
        quantity: u32,
        new: bool,
    },
    Resize {
        line: u32,
        quantity: u32,
    },
    Remove {
        lines: List<'a, LineNumber>,
        abandon: bool,
    },
    Extend(Option<i64>),
    Merge {
        /// As the shopper named it; it may turn out to be none of ours.
        from: &'a str,
        strategy: StrategyWord,
        stage: MergeStage<'a>,
        capped: List<'a, Capped<'a>>,
    },
    Checkout {
        order: Bits,
        customer: Option<&'a str>,
        grace_ms: i64,
    },
    Undo {
        line: u32,
        reservation: Bits,
        new: bool,
    },
    Look {
        lines: List<'a, LineNumber>,
        bought: bool,
    },
    GiveBack(Vec<Bits>),
}

#[derive(Encode, BorrowDecode)]
enum MergeStage<'a> {
    Freezing,
    Moving(List<'a, Line<'a>>, List<'a, Line<'a>>),
    Ending(bool),
}

/// A line of which there are fewer units than were wanted.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Capped<'a> {
    variant: &'a str,
    wanted: u32,
    got: u32,
}

impl<'a> Mirror<'a> for Capped<'a> {
    type Domain = cart::Capped;

    fn of(domain: &'a cart::Capped) -> Self {
        Self {
            variant: domain.variant.as_str(),
            wanted: domain.wanted,
            got: domain.got,
        }
    }

    fn restore(self) -> Result<cart::Capped, FormatError> {
        Ok(cart::Capped {
            variant: VariantId::parse(self.variant)?,
            wanted: self.wanted,
            got: self.got,
        })
    }
}

/// A line's number in a list.
#[derive(Encode, BorrowDecode)]
struct LineNumber(u32);

impl<'a> Mirror<'a> for LineNumber {
    type Domain = LineId;

    fn of(domain: &'a LineId) -> Self {
        Self(domain.0)
    }

    fn restore(self) -> Result<LineId, FormatError> {
        Ok(LineId(self.0))
    }
}

impl<'a> Mirror<'a> for Work<'a> {
    type Domain = cart::Work;

    fn of(domain: &'a cart::Work) -> Self {
        Self {
            task: Task::of(&domain.task),
            key: domain.key.as_ref().map(key_of),
            begun_at: domain.begun_at.into(),
            by_shopper: domain.by_shopper,
        }
    }

    fn restore(self) -> Result<cart::Work, FormatError> {
        Ok(cart::Work {
            task: self.task.restore()?,
            key: self.key.map(mark_of),
            begun_at: self.begun_at.into(),
            by_shopper: self.by_shopper,
        })
    }
}

impl<'a> Mirror<'a> for Task<'a> {
    type Domain = cart::Task;

    fn of(domain: &'a cart::Task) -> Self {
        match domain {
            cart::Task::Hold {
                line,
                reservation,
                quantity,
                new,
            } => Self::Hold {
                line: line.0,
                reservation: (*reservation).into(),
                quantity: *quantity,
                new: *new,
            },
            cart::Task::Resize { line, quantity } => Self::Resize {
                line: line.0,
                quantity: *quantity,
            },
            cart::Task::Remove { lines, abandon } => Self::Remove {
                lines: List::Of(lines),
                abandon: *abandon,
            },
            cart::Task::Extend { by_ms } => Self::Extend(*by_ms),
            cart::Task::Merge(merge) => Self::Merge {
                from: merge.from.as_str(),
                strategy: merge.strategy.into(),
                stage: match &merge.stage {
                    cart::MergeStage::Freezing => MergeStage::Freezing,
                    cart::MergeStage::Moving { lines, surplus } => {
                        MergeStage::Moving(List::Of(lines), List::Of(surplus))
                    }
                    cart::MergeStage::Ending { merged } => MergeStage::Ending(*merged),
                },
                capped: List::Of(&merge.capped),
            },
            cart::Task::Checkout {
                order,
                customer,
                grace_ms,
            } => Self::Checkout {
                order: order.into(),
                customer: customer.as_ref().map(CustomerId::as_str),
                grace_ms: *grace_ms,
            },
            cart::Task::Undo {
                line,
                reservation,
                new,
            } => Self::Undo {
                line: line.0,
                reservation: (*reservation).into(),
                new: *new,
            },
            cart::Task::Look { lines, bought } => Self::Look {
                lines: List::Of(lines),
                bought: *bought,
            },
            cart::Task::GiveBack { reservations } => {
                Self::GiveBack(reservations.iter().map(|id| (*id).into()).collect())
            }
        }
    }

    fn restore(self) -> Result<cart::Task, FormatError> {
        Ok(match self {
            Self::Hold {
                line,
                reservation,
                quantity,
                new,
            } => cart::Task::Hold {
                line: LineId(line),
                reservation: reservation.try_into()?,
                quantity: wanted(quantity)?,
                new,
            },
            Self::Resize { line, quantity } => cart::Task::Resize {
                line: LineId(line),
                quantity: wanted(quantity)?,
            },
            Self::Remove { lines, abandon } => cart::Task::Remove {
                lines: bounded(lines.restore()?)?,
                abandon,
            },
            Self::Extend(by_ms) => cart::Task::Extend { by_ms },
            Self::Merge {
                from,
                strategy,
                stage,
                capped,
            } => cart::Task::Merge(cart::Merge {
                from: CartId::parse(from)?,
                strategy: strategy.into(),
                stage: match stage {
                    MergeStage::Freezing => cart::MergeStage::Freezing,
                    MergeStage::Moving(lines, surplus) => cart::MergeStage::Moving {
                        lines: bounded(lines.restore()?)?,
                        surplus: bounded(surplus.restore()?)?,
                    },
                    MergeStage::Ending(merged) => cart::MergeStage::Ending { merged },
                },
                capped: bounded(capped.restore()?)?,
            }),
            Self::Checkout {
                order,
                customer,
                grace_ms,
            } => cart::Task::Checkout {
                order: order.try_into()?,
                customer: customer.map(CustomerId::parse).transpose()?,
                grace_ms,
            },
            Self::Undo {
                line,
                reservation,
                new,
            } => cart::Task::Undo {
                line: LineId(line),
                reservation: reservation.try_into()?,
                new,
            },
            Self::Look { lines, bought } => cart::Task::Look {
                lines: bounded(lines.restore()?)?,
                bought,
            },
            Self::GiveBack(reservations) => cart::Task::GiveBack {
                reservations: bounded(reservations)?
                    .into_iter()
                    .map(ReservationId::try_from)
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

/// What happened to a cart.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) enum Happened<'a> {
    Created,
    Began,
    LineHeld(u32),
    LineUnconfirmed(u32),
    LineRefused(u32),
    LineChanged(u32),
    LineEnded(u32),
    LineRemoved(u32),
    Extended,
    Frozen,
    TookOver(Bits),
    MergedInto(Bits),
    CheckoutBegan(Bits),
    CheckoutRefused(Bits),
    CheckedOut(Box<Order<'a>>),
    Reopened(Bits),
    Ordered(Bits),
    Abandoned,
    Forgotten,
    Capped(Capped<'a>),
    NotExtended(u32, NotExtendedWord),
}

impl<'a> Mirror<'a> for Happened<'a> {
    type Domain = cart::Happened;

    fn of(domain: &'a cart::Happened) -> Self {
        use cart::Happened as Of;
        match domain {
            Of::Created => Self::Created,
            Of::Began => Self::Began,
            Of::LineHeld(line) => Self::LineHeld(line.0),
            Of::LineUnconfirmed(line) => Self::LineUnconfirmed(line.0),
            Of::LineRefused(line) => Self::LineRefused(line.0),
            Of::LineChanged(line) => Self::LineChanged(line.0),
            Of::LineEnded(line) => Self::LineEnded(line.0),
            Of::LineRemoved(line) => Self::LineRemoved(line.0),
            Of::Extended => Self::Extended,
            Of::Frozen => Self::Frozen,
            Of::TookOver(from) => Self::TookOver(from.into()),
            Of::MergedInto(into) => Self::MergedInto(into.into()),
            Of::CheckoutBegan(order) => Self::CheckoutBegan(order.into()),
            Of::CheckoutRefused(order) => Self::CheckoutRefused(order.into()),
            Of::CheckedOut(order) => Self::CheckedOut(Box::new(Order::of(order))),
            Of::Reopened(order) => Self::Reopened(order.into()),
            Of::Ordered(order) => Self::Ordered(order.into()),
            Of::Abandoned => Self::Abandoned,
            Of::Forgotten => Self::Forgotten,
            Of::Capped(capped) => Self::Capped(Capped::of(capped)),
            Of::NotExtended(line, why) => Self::NotExtended(line.0, (*why).into()),
        }
    }

    fn restore(self) -> Result<cart::Happened, FormatError> {
        use cart::Happened as Of;
        Ok(match self {
            Self::Created => Of::Created,
            Self::Began => Of::Began,
            Self::LineHeld(line) => Of::LineHeld(LineId(line)),
            Self::LineUnconfirmed(line) => Of::LineUnconfirmed(LineId(line)),
            Self::LineRefused(line) => Of::LineRefused(LineId(line)),
            Self::LineChanged(line) => Of::LineChanged(LineId(line)),
            Self::LineEnded(line) => Of::LineEnded(LineId(line)),
            Self::LineRemoved(line) => Of::LineRemoved(LineId(line)),
            Self::Extended => Of::Extended,
            Self::Frozen => Of::Frozen,
            Self::TookOver(from) => Of::TookOver(from.try_into()?),
            Self::MergedInto(into) => Of::MergedInto(into.try_into()?),
            Self::CheckoutBegan(order) => Of::CheckoutBegan(order.try_into()?),
            Self::CheckoutRefused(order) => Of::CheckoutRefused(order.try_into()?),
            Self::CheckedOut(order) => Of::CheckedOut(Box::new(order.restore()?)),
            Self::Reopened(order) => Of::Reopened(order.try_into()?),
            Self::Ordered(order) => Of::Ordered(order.try_into()?),
            Self::Abandoned => Of::Abandoned,
            Self::Forgotten => Of::Forgotten,
            Self::Capped(capped) => Of::Capped(capped.restore()?),
            Self::NotExtended(line, why) => Of::NotExtended(LineId(line), why.into()),
        })
    }
}
