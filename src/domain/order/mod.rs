//! An order: the lines of a cart on their way from checkout to the shelf's end, with the saga that takes and confirms holds.
//!
//! ```text
//!  step      asks of every line           goes on when                          undo
//!  Taking    Prepare Pay / Prepare Reserve all promised: decision "taken"        Settle(abort), order refused
//!  Settling  Settle(commit)               all settled                           -
//!  (awaits payment: pay, fail, cancel, deadline)
//!  Retaking  Prepare Reserve               late payment, units free, or held     Settle(abort), refund required
//!                                          again by the same cart
//!  Confirming Confirm                      all sold: confirmed; a hold was lost: Retaking
//!  GivingBack Release or Reopen            all back                              -
//!  Moving    absolute totals               done                                  - (refused lines stay as they were)
//!  TellingCart (the cart) OrderStands      done                                  -
//! ```
//! The order's own record is the decision of its two-phase steps: without it after a crash everything prepared is let go, with it
//! the lines are told until they have done it. `payment_accepted` and `payment_expired` are logged before any variant hears of
//! them, and variants judge by that moment (decisions 20).
mod command;
mod decide;
mod invariant;
mod price;
mod refusal;
mod saga;

pub use command::{AfterSaleLine, Command, Movement};
pub use decide::REFUNDS_MAX;
pub use refusal::Refusal;

use super::{
    agent::{Agent, Answer, Ask, Next},
    ids::{CartId, CustomerId, OrderId, ReservationId, SessionId, Slot, StoreId, VariantId, VariantOrdinal},
    key::KeyMark,
    law::Violation,
    money::Money,
    policy::Terms,
    time::Timestamp,
    variant::{self, Fulfilment, Hold},
};

/// Where an order stands, as the contract names it; `Refused` and `Opening` are never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Its holds are being taken; nobody was answered yet.
    Opening,
    /// Some lines could not be had; nothing was kept.
    Refused,
    /// Holds are in the payment phase.
    PendingPayment,
    /// The payment failed; the cart has its holds back.
    PaymentFailed,
    /// Paid.
    Confirmed,
    /// Some units have left.
    PartiallyFulfilled,
    /// All units that were not cancelled have left.
    Fulfilled,
    /// Everything was cancelled.
    Cancelled,
    /// Everything that had left came back.
    Returned,
    /// The payment's deadline passed.
    Expired,
    /// It was paid too late and its units are gone.
    RefundRequired,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose shop.
    pub store: StoreId,
    /// The cart it was made of.
    pub cart: CartId,
    /// The customer.
    pub customer: Option<CustomerId>,
    /// The browser session.
    pub session: Option<SessionId>,
    /// Where it stands.
    pub status: Status,
    /// In the cart's order.
    pub lines: Vec<Line>,
    /// The terms its holds are taken by.
    pub terms: Terms,
    /// Until when a payment is in time.
    pub payment_deadline: Timestamp,
    /// How long after it the variants' own backstop is, ms.
    pub grace_ms: i64,
    /// The payment that was accepted, and when that was decided.
    pub payment: Option<Payment>,
    /// Payments that cannot be honoured, one each, and at most [`REFUNDS_MAX`] and one.
    pub refunds: Vec<Refund>,
    /// Why it could not be had, line by line: its cart may ask twice. Empty also when a line did not answer.
    pub refused: Vec<(VariantId, variant::Refusal)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes that a caller can see; the ETag.
    pub version: u64,
    /// Counts records.
    pub revision: u64,
    /// What it is in the middle of.
    pub work: Option<Work>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The shop's id.
    pub variant: VariantId,
    /// Where it lives.
    pub ordinal: VariantOrdinal,
    /// Units.
    pub quantity: u32,
    /// The price of one, as it was when the order was opened; kept for ever.
    pub unit_price: Option<Money>,
    /// The reservation behind it; another one after a late payment.
    pub reservation: ReservationId,
    /// Whether the cart had that reservation live when the order was begun; otherwise it is made anew.
    pub held: bool,
    /// The reservation as the variant last told of it: the variant may close and forget it, the order does not.
    pub hold: Option<Hold>,
    /// What became of the units. Moves only by the order's own decisions.
    pub fulfilment: Fulfilment,
}

/// A payment that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The caller's reference.
    pub reference: String,
    /// When it was accepted; variants judge by this moment.
    pub at: Timestamp,
}

/// A payment that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The caller's reference.
    pub reference: String,
    /// Why.
    pub reason: RefundReason,
    /// When it was asked for.
    pub at: Timestamp,
    /// When the shop said that it paid back.
    pub done_at: Option<Timestamp>,
}

/// Why a payment cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundReason {
    /// The units are gone: it came after the deadline, or they were lost.
    Expired,
    /// The order had failed.
    Failed,
    /// The order was cancelled.
    Cancelled,
    /// Another payment was accepted.
    AlreadyPaid,
    /// Its amount or currency is not the order's.
    AmountMismatch,
}

/// What an order is in the middle of: logged before anybody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Which step.
    pub step: Step,
    /// The key of the command behind it.
    pub key: Option<KeyMark>,
    /// When the step was begun.
    pub begun_at: Timestamp,
}

/// A step of the saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every hold is asked for a promise to move into the payment phase.
    Taking {
        /// The try; the second one goes line by line in variant-id order.
        attempt: u32,
        /// In the second try, how many lines have promised.
        promised: u32,
    },
    /// Promises are kept or let go.
    Settling {
        /// Of which try.
        attempt: u32,
        /// Which reservations, line by line.
        reservations: Vec<ReservationId>,
        /// Kept?
        commit: bool,
        /// When that was decided.
        decided_at: Timestamp,
        /// What comes after.
        then: Then,
    },
    /// A late payment: units that are still free are asked for, all or nothing.
    Retaking {
        /// The payment.
        reference: String,
        /// The new reservations, line by line.
        reservations: Vec<ReservationId>,
    },
    /// Every hold is sold.
    Confirming,
    /// Every hold goes back: to the shelf, or to the cart.
    GivingBack {
        /// Back to the cart phase instead of to the shelf.
        reopen: bool,
        /// The payment that came after the deadline and before its timer: taken up once everything is back.
        late: Option<Late>,
    },
    /// Units leave, are cancelled or come back: lines are told their new totals.
    Moving {
        /// What moves.
        movement: Movement,
        /// Whether units can be sold again.
        restock: bool,
        /// The totals wanted, line by line.
        totals: Vec<Fulfilment>,
        /// Who asks, for the ledger.
        by: String,
    },
    /// The cart is told how the order stands.
    TellingCart {
        /// The cart is the shopper's again.
        reopen: bool,
    },
}

/// A payment that came late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The caller's reference.
    pub reference: String,
    /// The ids new reservations will have, line by line.
    pub reservations: Vec<ReservationId>,
}

/// What comes after promises are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The payment is awaited.
    Await,
    /// The holds are sold: it was a late payment.
    Confirm,
    /// Nothing: the order was refused, or the late payment is to be refunded.
    End,
    /// What was sold of the order before comes back: a hold was lost and its units are gone.
    Undo,
    /// The first try collided with another coordinator: once more, in variant-id order.
    TryInOrder,
}

/// What happened to an order in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was begun.
    Began,
    /// A step of the saga went on.
    Went,
    /// It cannot be had.
    Refused {
        /// Every line that said no.
        lines: Vec<(VariantId, variant::Refusal)>,
    },
    /// Holds are taken; the payment is awaited.
    Opened,
    /// A payment was accepted; the holds will be sold.
    PaymentAccepted,
    /// The payment's deadline passed first.
    PaymentExpired,
    /// The payment failed.
    PaymentFailed,
    /// Every unit is sold.
    Confirmed,
    /// A payment cannot be honoured.
    RefundRequired {
        /// Which.
        reference: String,
    },
    /// A refund was paid.
    RefundDone {
        /// Which.
        reference: String,
    },
    /// Units left.
    Fulfilled,
    /// Units were cancelled.
    Cancelled,
    /// Units came back.
    Returned,
    /// Of the units asked for these could not move; their lines are as they were.
    LinesRefused {
        /// Every line that said no.
        lines: Vec<(VariantId, variant::Refusal)>,
    },
}

impl Order {
    /// An order that has not been asked for yet.
    pub fn unborn(id: OrderId, store: StoreId) -> Self {
        // Replaced when it is opened; an order is made of a cart of its own place.
        let cart = id.bits().and_then(CartId::from_bits);
        Self {
            cart: cart.unwrap_or_else(|| CartId::made(Timestamp::default(), Slot::of_cart(0), 0)),
            id,
            store,
            customer: None,
            session: None,
            status: Status::Opening,
            lines: Vec::new(),
            terms: Terms::NONE,
            payment_deadline: Timestamp::default(),
            grace_ms: 0,
            payment: None,
            refunds: Vec::new(),
            refused: Vec::new(),
            created_at: Timestamp::default(),
            version: 0,
            revision: 0,
            work: None,
        }
    }

    /// Whether it has been asked for.
    pub fn exists(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether a caller may see it: not before its holds are taken, nor if they could not be.
    pub fn is_shown(&self) -> bool {
        self.exists() && !matches!(self.status, Status::Opening | Status::Refused)
    }
}

impl Agent for Order {
    type Command = Command;
    type Happened = Happened;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, key: Option<KeyMark>, now: Timestamp) -> Result<Next<Self>, Refusal> {
        self.judge(command, key, now)
    }

    fn is_working(&self) -> bool {
        self.work.is_some()
    }

    /// A cart whose answer was lost asks again to open it, while the order may be waiting for that cart.
    fn waits(&self, command: &Command) -> bool {
        self.is_working() && (self.status == Status::Opening || !matches!(command, Command::Open { .. }))
    }

    fn asks(&self) -> Vec<Ask> {
        self.work
            .as_ref()
            .map_or_else(Vec::new, |work| self.asks_of(work))
    }

    fn conclude(&self, answers: &[Answer], now: Timestamp) -> Next<Self> {
        match &self.work {
            Some(work) => self.goes(work, answers, now),
            None => saga::waiting(self),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let awaits = self.status == Status::PendingPayment && self.work.is_none();
        // The deadline itself is still in time.
        awaits.then(|| self.payment_deadline.saturating_add(1))
    }

    fn due(&self, now: Timestamp) -> Option<Next<Self>> {
        let due = self.next_deadline().is_some_and(|deadline| deadline <= now);
        due.then(|| self.expires(now))
    }

    fn check(&self) -> Result<(), Violation> {
        self.lawful()
    }
}
