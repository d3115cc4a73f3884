//! A reservation: units kept for one shopper until a deadline.
//!
//! ```text
//!            Held                 Confirmed           Fulfilled, Cancelled (all units) ─► closed
//!  (none) ─────────► active ───────────────► confirmed
//!    │                 │ ├── Released ─► released (terminal)         Returned brings a closed one back for a while
//!    │ Prepared        │ └── Expired ──► expired  (terminal)
//!    ▼                 │
//!  tentative ──Held────┘   a coordinator's: counted, not listed, ends only by its decision (Withdrawn or Held)
//! ```
use crate::domain::{
    bulk::Attempt,
    ids::{CartId, CustomerId, OrderId, ReservationId, SessionId},
    time::Timestamp,
};

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldStatus {
    /// A coordinator's: counts as held, is not shown, ends by the coordinator's decision only.
    Tentative,
    /// Units are kept until the deadline.
    Active,
    /// Sold.
    Confirmed,
    /// Given back by somebody.
    Released,
    /// Given back by the deadline.
    Expired,
}

impl HoldStatus {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tentative => "tentative",
            Self::Active => "active",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// Which part of the shopper's way a hold covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Shopping: extensions are counted.
    Cart,
    /// Paying: the deadline may lie beyond the cart's last.
    Payment,
}

/// Why a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody gave it back.
    Released,
    /// Its deadline passed.
    Expired,
    /// It was sold.
    Confirmed,
}

impl EndReason {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Confirmed => "confirmed",
        }
    }
}

/// The end of a reservation's life as a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
}

/// What became of sold units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fulfilment {
    /// Units that left the warehouse.
    pub shipped: u32,
    /// Units cancelled before they left.
    pub cancelled: u32,
    /// Shipped units that came back.
    pub returned: u32,
}

/// What a coordinator intends to do with a reservation it has pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Make a tentative hold real.
    Reserve,
    /// Move the deadline to this moment.
    Extend(Timestamp),
    /// Sell.
    Confirm,
    /// Give back.
    Release,
    /// Move into the payment phase, until this moment.
    Pay(Timestamp),
    /// The same for a guest who has become a customer. It counts as the customer's from the promise on, so that two promises
    /// cannot both fit one customer's limit; let go, it is a guest's again.
    PayAs(Timestamp),
    /// Make a tentative hold real that takes over units of this one, the same cart's.
    TakeOver(ReservationId),
    /// Leave so many of its units, at most all, to a tentative hold that takes them over; until then they count there.
    Yield(u32),
}

/// A coordinator's mark: until it decides nobody else may act on the reservation, and its deadline rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose decision is awaited.
    pub attempt: Attempt,
    /// What a commit does.
    pub intent: Intent,
}

/// For whom a hold was made; any of them may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shopper {
    /// A customer of the shop.
    pub customer: Option<CustomerId>,
    /// A browser session.
    pub session: Option<SessionId>,
    /// A cart.
    pub cart: Option<CartId>,
}

/// Who a per-customer limit counts for: the customer, else the session, else the cart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A known customer.
    Customer(CustomerId),
    /// A guest by session.
    Session(SessionId),
    /// A guest by cart.
    Cart(CartId),
}

impl Shopper {
    /// Who limits count for; `None` when the caller named nobody.
    pub fn owner(&self) -> Option<Owner> {
        let customer = self.customer.clone().map(Owner::Customer);
        let session = || self.session.clone().map(Owner::Session);
        customer
            .or_else(session)
            .or_else(|| self.cart.clone().map(Owner::Cart))
    }
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id, which carries when it was created and for which variant.
    pub id: ReservationId,
    /// Units held, or sold once confirmed. Never zero.
    pub quantity: u32,
    /// Where it stands.
    pub status: HoldStatus,
    /// Which part of the shopper's way it covers.
    pub phase: Phase,
    /// For whom.
    pub shopper: Shopper,
    /// The order: the shop's, named at confirmation, or one made here, from its payment phase on.
    pub order: Option<OrderId>,
    /// The deadline.
    pub expires_at: Timestamp,
    /// The latest deadline extensions can reach in the cart phase. Once all units are shipped or cancelled, which no
    /// extension follows: until when the variant keeps the reservation, see [`Hold::closes_at`].
    pub max_expires_at: Timestamp,
    /// Extensions left.
    pub extensions_left: u8,
    /// Counts the reservation's own changes from 1; its ETag.
    pub version: u32,
    /// Its end, if it ended.
    pub ended: Option<Ended>,
    /// What became of the units once sold.
    pub fulfilment: Fulfilment,
    /// A coordinator's mark.
    pub pin: Option<Pin>,
}

/// Under this much time left a hold that can be extended says so, ms (decisions: five minutes).
pub const NEEDS_EXTENSION_MS: i64 = 5 * 60 * 1000;

impl Hold {
    /// Whether it belongs to a cart made here, not to one of the shop's own.
    pub fn is_in_a_cart(&self) -> bool {
        self.shopper
            .cart
            .as_ref()
            .is_some_and(|cart| cart.bits().is_some())
    }

    /// The order made here that owns it: nobody else may act on it.
    pub fn owning_order(&self) -> Option<&OrderId> {
        self.order.as_ref().filter(|order| order.bits().is_some())
    }

    /// Units that count as held: live or tentative.
    pub fn held_units(&self) -> u64 {
        match self.status {
            HoldStatus::Tentative | HoldStatus::Active => u64::from(self.quantity - self.yielded()),
            HoldStatus::Confirmed | HoldStatus::Released | HoldStatus::Expired => 0,
        }
    }

    /// Its units that count with the hold that takes them over.
    fn yielded(&self) -> u32 {
        match self.pin.map(|pin| pin.intent) {
            Some(Intent::Yield(units)) => units,
            Some(
                Intent::Reserve
                | Intent::Extend(_)
                | Intent::Confirm
                | Intent::Release
                | Intent::Pay(_)
                | Intent::PayAs(_)
                | Intent::TakeOver(_),
            )
            | None => 0,
        }
    }

    /// Units sold that are neither shipped nor cancelled.
    pub fn committed_units(&self) -> u64 {
        match self.status {
            HoldStatus::Confirmed => {
                u64::from(self.quantity - self.fulfilment.shipped - self.fulfilment.cancelled)
            }
            HoldStatus::Tentative | HoldStatus::Active | HoldStatus::Released | HoldStatus::Expired => 0,
        }
    }

    /// Whether its deadline has come. A pinned hold waits for its coordinator.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// The moment it ends by itself, if it does.
    pub fn deadline(&self) -> Option<Timestamp> {
        planted!(ExpireEarly => return self.is_live().then(|| self.expires_at.saturating_add(-1_000)));
        self.is_live().then_some(self.expires_at)
    }

    /// Active, and nobody has put its end off.
    fn is_live(&self) -> bool {
        self.status == HoldStatus::Active && self.pin.is_none()
    }

    /// When a reservation brought back by a return leaves the variant again.
    pub fn closes_at(&self) -> Option<Timestamp> {
        self.is_fulfilled().then_some(self.max_expires_at)
    }

    /// The latest deadline that it can have, or had: none of the sold ones moves any more.
    pub fn latest_deadline(&self) -> Timestamp {
        if self.is_fulfilled() {
            self.expires_at
        } else {
            self.max_expires_at
        }
    }

    /// Sold, and every unit shipped or cancelled.
    fn is_fulfilled(&self) -> bool {
        self.status == HoldStatus::Confirmed && self.committed_units() == 0
    }

    /// Whether a shopper should be asked to extend: little time left and extensions left.
    pub fn needs_extension(&self, now: Timestamp) -> bool {
        self.status == HoldStatus::Active
            && self.extensions_left > 0
            && self.expires_at.since(now) < NEEDS_EXTENSION_MS
    }

    /// The moment a repeated answer about an ended reservation tells, so that it repeats to the byte.
    pub fn told_at(&self, now: Timestamp) -> Timestamp {
        self.ended.map_or(now, |ended| ended.at)
    }

    pub(super) fn ended(&self, status: HoldStatus, reason: EndReason, at: Timestamp) -> Self {
        Self {
            status,
            ended: Some(Ended { at, reason }),
            pin: None,
            version: self.version + 1,
            ..self.clone()
        }
    }
}
