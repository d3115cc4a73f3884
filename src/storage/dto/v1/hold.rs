//! A reservation, its shopper, and what an owner bought.
use super::{Bits, List, Mirror, Moment, units, words};
use crate::{
    domain::{
        bulk,
        ids::{CartId, CustomerId, OrderId, SessionId},
        variant::{self, EndReason, HoldStatus, Phase},
    },
    storage::dto::FormatError,
};
use bincode::{BorrowDecode, Encode};

words!(
    /// Where a reservation stands.
    StatusWord of HoldStatus { Tentative, Active, Confirmed, Released, Expired }
);

words!(
    /// Shopping or paying.
    PhaseWord of Phase { Cart, Payment }
);

words!(
    /// Why a reservation ended.
    EndWord of EndReason { Released, Expired, Confirmed }
);

/// For whom.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Shopper<'a> {
    customer: Option<&'a str>,
    session: Option<&'a str>,
    cart: Option<&'a str>,
}

impl<'a> Mirror<'a> for Shopper<'a> {
    type Domain = variant::Shopper;

    fn of(domain: &'a variant::Shopper) -> Self {
        Self {
            customer: domain.customer.as_ref().map(CustomerId::as_str),
            session: domain.session.as_ref().map(SessionId::as_str),
            cart: domain.cart.as_ref().map(CartId::as_str),
        }
    }

    fn restore(self) -> Result<variant::Shopper, FormatError> {
        Ok(variant::Shopper {
            customer: self.customer.map(CustomerId::parse).transpose()?,
            session: self.session.map(SessionId::parse).transpose()?,
            cart: self.cart.map(CartId::parse).transpose()?,
        })
    }
}

/// A try of a coordinator and what its commit does.
#[derive(Clone, Copy, Encode, BorrowDecode)]
struct Pin {
    bulk: Bits,
    number: u32,
    intent: Intent,
}

#[derive(Clone, Copy, Encode, BorrowDecode)]
enum Intent {
    Reserve,
    Extend(Moment),
    Confirm,
    Release,
    Pay(Moment),
    PayAs(Moment),
    TakeOver(Bits),
    Yield(u32),
}

impl From<variant::Pin> for Pin {
    fn from(pin: variant::Pin) -> Self {
        Self {
            bulk: pin.attempt.bulk.into(),
            number: pin.attempt.number,
            intent: match pin.intent {
                variant::Intent::Reserve => Intent::Reserve,
                variant::Intent::Extend(at) => Intent::Extend(at.into()),
                variant::Intent::Confirm => Intent::Confirm,
                variant::Intent::Release => Intent::Release,
                variant::Intent::Pay(by) => Intent::Pay(by.into()),
                variant::Intent::PayAs(by) => Intent::PayAs(by.into()),
                variant::Intent::TakeOver(own) => Intent::TakeOver(own.into()),
                variant::Intent::Yield(units) => Intent::Yield(units),
            },
        }
    }
}

impl TryFrom<Pin> for variant::Pin {
    type Error = FormatError;

    fn try_from(pin: Pin) -> Result<Self, FormatError> {
        Ok(Self {
            attempt: bulk::Attempt {
                bulk: pin.bulk.into(),
                number: pin.number,
            },
            intent: match pin.intent {
                Intent::Reserve => variant::Intent::Reserve,
                Intent::Extend(at) => variant::Intent::Extend(at.into()),
                Intent::Confirm => variant::Intent::Confirm,
                Intent::Release => variant::Intent::Release,
                Intent::Pay(by) => variant::Intent::Pay(by.into()),
                Intent::PayAs(by) => variant::Intent::PayAs(by.into()),
                Intent::TakeOver(own) => variant::Intent::TakeOver(own.try_into()?),
                Intent::Yield(units) => variant::Intent::Yield(units),
            },
        })
    }
}

/// What became of sold units.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Fulfilment {
    shipped: u32,
    cancelled: u32,
    returned: u32,
}

impl From<variant::Fulfilment> for Fulfilment {
    fn from(fulfilment: variant::Fulfilment) -> Self {
        Self {
            shipped: fulfilment.shipped,
            cancelled: fulfilment.cancelled,
            returned: fulfilment.returned,
        }
    }
}

impl Fulfilment {
    /// Of `quantity` units. The domain subtracts these; more out than in would underflow there.
    pub(in crate::storage::dto) fn restore(self, quantity: u32) -> Result<variant::Fulfilment, FormatError> {
        let sold = u64::from(self.shipped) + u64::from(self.cancelled);
        if sold > u64::from(quantity) {
            return Err(FormatError::Invalid("more units shipped and cancelled than sold"));
        }
        if self.returned > self.shipped {
            return Err(FormatError::Invalid("more units returned than shipped"));
        }
        Ok(variant::Fulfilment {
            shipped: self.shipped,
            cancelled: self.cancelled,
            returned: self.returned,
        })
    }
}

/// A reservation.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Hold<'a> {
    id: Bits,
    quantity: u32,
    status: StatusWord,
    phase: PhaseWord,
    shopper: Shopper<'a>,
    order: Option<&'a str>,
    expires_at: Moment,
    max_expires_at: Moment,
    extensions_left: u8,
    version: u32,
    ended: Option<(Moment, EndWord)>,
    fulfilment: Fulfilment,
    pin: Option<Pin>,
}

impl<'a> Mirror<'a> for Hold<'a> {
    type Domain = variant::Hold;

    fn of(domain: &'a variant::Hold) -> Self {
        Self {
            id: domain.id.into(),
            quantity: domain.quantity,
            status: domain.status.into(),
            phase: domain.phase.into(),
            shopper: Shopper::of(&domain.shopper),
            order: domain.order.as_ref().map(OrderId::as_str),
            expires_at: domain.expires_at.into(),
            max_expires_at: domain.max_expires_at.into(),
            extensions_left: domain.extensions_left,
            version: domain.version,
            ended: domain.ended.map(|ended| (ended.at.into(), ended.reason.into())),
            fulfilment: domain.fulfilment.into(),
            pin: domain.pin.map(Pin::from),
        }
    }

    fn restore(self) -> Result<variant::Hold, FormatError> {
        if self.quantity == 0 {
            return Err(FormatError::Invalid("a reservation of no units"));
        }
        let fulfilment = self.fulfilment.restore(self.quantity)?;
        let status = HoldStatus::from(self.status);
        let live = matches!(status, HoldStatus::Tentative | HoldStatus::Active);
        if live == self.ended.is_some() {
            return Err(FormatError::Invalid("a reservation's status and end disagree"));
        }
        // The domain subtracts these.
        let too_many = |pin: Pin| matches!(pin.intent, Intent::Yield(units) if units > self.quantity);
        if self.pin.is_some_and(too_many) {
            return Err(FormatError::Invalid(
                "a reservation leaves more units than it has",
            ));
        }
        Ok(variant::Hold {
            id: self.id.try_into()?,
            quantity: self.quantity,
            status,
            phase: self.phase.into(),
            shopper: self.shopper.restore()?,
            order: self.order.map(OrderId::parse).transpose()?,
            expires_at: self.expires_at.into(),
            max_expires_at: self.max_expires_at.into(),
            extensions_left: self.extensions_left,
            version: self.version,
            ended: self.ended.map(|(at, reason)| variant::Ended {
                at: at.into(),
                reason: reason.into(),
            }),
            fulfilment,
            pin: self.pin.map(variant::Pin::try_from).transpose()?,
        })
    }
}

/// Who limits count for.
#[derive(Encode, BorrowDecode)]
enum Owner<'a> {
    Customer(&'a str),
    Session(&'a str),
    Cart(&'a str),
}

/// What one owner bought: units by day since the epoch.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Bought<'a> {
    owner: Owner<'a>,
    days: List<'a, Day>,
}

#[derive(Encode, BorrowDecode)]
struct Day {
    day: i64,
    units: u64,
}

impl<'a> Mirror<'a> for Day {
    type Domain = (i64, u64);

    fn of(domain: &'a (i64, u64)) -> Self {
        Self {
            day: domain.0,
            units: domain.1,
        }
    }

    fn restore(self) -> Result<(i64, u64), FormatError> {
        Ok((self.day, units(self.units)?))
    }
}

impl<'a> Bought<'a> {
    pub(in crate::storage::dto) fn of_both(
        owner: &'a variant::Owner,
        purchases: &'a variant::Purchases,
    ) -> Self {
        Self {
            owner: match owner {
                variant::Owner::Customer(id) => Owner::Customer(id.as_str()),
                variant::Owner::Session(id) => Owner::Session(id.as_str()),
                variant::Owner::Cart(id) => Owner::Cart(id.as_str()),
            },
            days: List::Of(&purchases.0),
        }
    }
}

impl<'a> Mirror<'a> for Bought<'a> {
    type Domain = (variant::Owner, variant::Purchases);

    fn of((owner, purchases): &'a (variant::Owner, variant::Purchases)) -> Self {
        Self::of_both(owner, purchases)
    }

    fn restore(self) -> Result<(variant::Owner, variant::Purchases), FormatError> {
        let owner = match self.owner {
            Owner::Customer(id) => variant::Owner::Customer(CustomerId::parse(id)?),
            Owner::Session(id) => variant::Owner::Session(SessionId::parse(id)?),
            Owner::Cart(id) => variant::Owner::Cart(CartId::parse(id)?),
        };
        let days: Vec<(i64, u64)> = self.days.restore()?;
        let total = days
            .iter()
            .try_fold(0, |sum: u64, (_, units)| sum.checked_add(*units));
        units(total.unwrap_or(u64::MAX))?;
        Ok((owner, variant::Purchases(days)))
    }
}
