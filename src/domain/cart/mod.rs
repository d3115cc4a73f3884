//! A cart: what one shopper means to buy, line by line, each with its hold.
//!
//! ```text
//!            Created          CheckoutBegan             CheckedOut
//!  (none) ─────────► active ───────────────► checking_out ─────────► ordered ──(payment failed)──► active again
//!                     │  ▲                        │
//!                     │  └──── CheckoutRefused ───┘            refused lines: nothing was kept
//!                     ├── Merged ─────► merged     (its successor has the lines; refuses edits and names it)
//!                     └── Abandoned ──► abandoned  (idle too long, or deleted: everything was given back)
//! ```
//!
//! While its order awaits the payment a cart refuses edits, adds included, and names the order: the storefront leads there, to
//! pay, fail or cancel it, after which the cart is the shopper's again. A second cart beside it would be a second shopper.
//!
//! A line's hold is the variant's; the cart keeps what it was last told ([`Kept`]). A deadline is judged by the clock on both
//! sides, so an expired hold needs no message: the line shows it at once and says it with the next record.
//!
//! Deliberately absent: stock, prices of its own, payment. See `variant`, `order`.
mod checkout;
mod command;
mod decide;
mod invariant;
mod lapse;
mod merge;
mod refusal;
mod turn;
mod view;
mod work;

pub use command::Command;
pub use lapse::ENDED_KEPT_MS;
pub use refusal::Refusal;
pub use view::{LineStatus, LineView, View};

use super::{
    ids::{CartId, CustomerId, OrderId, ReservationId, SessionId, StoreId, VariantId, VariantOrdinal},
    key::KeyMark,
    money::{Currency, Money},
    order::Order,
    policy::{ExpiredLines, HoldLengths, Limits, Policy, Terms},
    time::Timestamp,
    variant::{Hold, Shopper},
};

/// One line of a cart, numbered within it and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub u32);

/// Where a cart stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The shopper shops.
    Active,
    /// Its order is being made or awaits its payment; it refuses edits.
    CheckingOut {
        /// The order.
        order: OrderId,
    },
    /// Its order was paid.
    Ordered {
        /// The order.
        order: OrderId,
    },
    /// It stands still: another cart takes over its lines.
    Merging {
        /// The other cart.
        into: CartId,
    },
    /// Another cart has its lines.
    Merged {
        /// Its successor.
        into: CartId,
    },
    /// Everything was given back.
    Abandoned,
}

/// A cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    /// Its id.
    pub id: CartId,
    /// Whose shop.
    pub store: StoreId,
    /// The customer, if it is not a guest's.
    pub customer: Option<CustomerId>,
    /// The browser session, if one was named.
    pub session: Option<SessionId>,
    /// Where it stands.
    pub status: Status,
    /// In the order they were added.
    pub lines: Vec<Line>,
    /// The number of the next line.
    pub next_line: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the shopper last did something with it.
    pub touched_at: Timestamp,
    /// When it was merged, ordered or abandoned.
    pub ended_at: Option<Timestamp>,
    /// The store's policy as of the last command; its timers go by it.
    pub policy: Policy,
    /// Counts the shopper's changes; the ETag. 0 before it is created.
    pub version: u64,
    /// Counts records.
    pub revision: u64,
    /// Holds that may be live under ids that no line has any more; they are given back in the background.
    pub strays: Vec<Stray>,
    /// What it is in the middle of.
    pub work: Option<Work>,
}

/// A hold that may have been made and that no line accounts for: its line left before its variant could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The hold, if there is one.
    pub reservation: ReservationId,
    /// When its variant is asked to give it back.
    pub again_at: Timestamp,
    /// How often it was asked.
    pub tries: u32,
}

impl Cart {
    /// A cart that has not been created yet.
    pub fn unborn(id: CartId, store: StoreId) -> Self {
        let lengths = HoldLengths {
            ttl_ms: 0,
            extension_ms: 0,
            max_extensions: 0,
        };
        let limits = Limits {
            units_per_order: None,
            units_per_customer_per_variant: None,
            lines_per_cart: 0,
            window_days: None,
        };
        Self {
            id,
            store,
            customer: None,
            session: None,
            status: Status::Active,
            lines: Vec::new(),
            next_line: 1,
            created_at: Timestamp::default(),
            touched_at: Timestamp::default(),
            ended_at: None,
            policy: Policy {
                cart: lengths,
                guest: lengths,
                payment_ttl_ms: 0,
                limits,
                cart_idle_ms: 0,
                max_ttl_ms: 0,
                expired_lines: ExpiredLines::Keep,
                version: 0,
            },
            version: 0,
            revision: 0,
            strays: Vec::new(),
            work: None,
        }
    }

    /// Whether it was created and is not forgotten. In the middle of its first add it is not there yet.
    pub fn exists(&self) -> bool {
        self.version > 0
    }

    /// One line.
    pub fn line(&self, id: LineId) -> Option<&Line> {
        self.lines.iter().find(|line| line.id == id)
    }

    /// The line of a variant.
    pub fn line_of(&self, variant: VariantOrdinal) -> Option<&Line> {
        self.lines.iter().find(|line| line.ordinal == variant)
    }

    /// The currency of its first line that has a price.
    pub fn currency(&self) -> Option<Currency> {
        self.lines
            .iter()
            .find_map(|line| line.unit_price)
            .map(|price| price.currency)
    }

    /// Units over all lines.
    pub fn units(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.quantity)).sum()
    }

    /// For whom its holds are.
    pub fn shopper(&self) -> Shopper {
        Shopper {
            customer: self.customer.clone(),
            session: self.session.clone(),
            cart: Some(self.id.clone()),
        }
    }

    /// The store's terms for its shopper.
    pub fn terms(&self) -> Terms {
        self.policy.terms(self.customer.is_none())
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub id: LineId,
    /// The shop's id of what it is about.
    pub variant: VariantId,
    /// Where that lives.
    pub ordinal: VariantOrdinal,
    /// Units the shopper wants, at least 1.
    pub quantity: u32,
    /// The price of one unit, locked until the hold ends.
    pub unit_price: Option<Money>,
    /// The campaign it was added from.
    pub campaign: Option<String>,
    /// What stands behind it.
    pub hold: LineHold,
}

/// What stands behind a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineHold {
    /// Nothing yet: the variant's units are taken at checkout, or never counted.
    None,
    /// Units are held until the deadline; past it by the clock they are not.
    Held(Kept),
    /// The hold ended; the line waits for the shopper.
    Ended(Kept),
    /// The variant could not be asked; it is asked again at `again_at` under the id `reservation`. With no tries nobody has
    /// been asked under that id by anything but the work in hand.
    Unconfirmed {
        /// The id the hold has if it was made after all.
        reservation: ReservationId,
        /// When the variant is asked again.
        again_at: Timestamp,
        /// How often it was asked.
        tries: u32,
    },
}

impl LineHold {
    /// The reservation that may be live as far as the cart knows; a deadline is for the clock to judge.
    pub fn maybe_live(&self) -> Option<ReservationId> {
        match self {
            Self::Held(kept) => Some(kept.reservation),
            Self::Unconfirmed {
                reservation, tries, ..
            } => (*tries > 0).then_some(*reservation),
            Self::Ended(_) | Self::None => None,
        }
    }

    /// Whether a deadline the cart knows of has come.
    pub fn is_due(&self, now: Timestamp) -> bool {
        matches!(self, Self::Held(kept) if kept.expires_at <= now)
    }
}

impl From<&Hold> for Kept {
    fn from(hold: &Hold) -> Self {
        Self {
            reservation: hold.id,
            expires_at: hold.expires_at,
            max_expires_at: hold.max_expires_at,
            extensions_left: hold.extensions_left,
            version: hold.version,
        }
    }
}

/// A hold as the variant last told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub reservation: ReservationId,
    /// Its deadline.
    pub expires_at: Timestamp,
    /// The latest deadline extensions can reach.
    pub max_expires_at: Timestamp,
    /// Extensions left.
    pub extensions_left: u8,
    /// The reservation's version, which tells an extension that was made from one that is asked for.
    pub version: u32,
}

/// What a cart is in the middle of: logged before anybody is asked, gone with the record that concludes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What.
    pub task: Task,
    /// The key of the command behind it.
    pub key: Option<KeyMark>,
    /// When it was begun; what it asks is judged by variants at their own time.
    pub begun_at: Timestamp,
    /// Whether a shopper asked for it: then it counts as a change of the cart.
    pub by_shopper: bool,
}

/// The work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Hold units for a line: a new one, an ended one, or one that could not be confirmed.
    Hold {
        /// Which line; it is in the cart already, and leaves again if it was `new` and is refused.
        line: LineId,
        /// The id the reservation will have.
        reservation: ReservationId,
        /// Units.
        quantity: u32,
        /// Whether the line was put in for this.
        new: bool,
    },
    /// Change how many units a line holds.
    Resize {
        /// Which line.
        line: LineId,
        /// Units from now on.
        quantity: u32,
    },
    /// Give the holds of these lines back, and take the lines out.
    Remove {
        /// Which.
        lines: Vec<LineId>,
        /// And the cart ends: it was deleted or left alone.
        abandon: bool,
    },
    /// Give a new hold back: its variant turned out to be priced in another currency than the cart.
    Undo {
        /// Which line.
        line: LineId,
        /// The hold.
        reservation: ReservationId,
        /// Whether the line was put in for it.
        new: bool,
    },
    /// Move every line's deadline.
    Extend {
        /// By how much, ms; the store's extension otherwise.
        by_ms: Option<i64>,
    },
    /// Take over another cart's lines.
    Merge(Merge),
    /// Ask how the holds of these lines stand: word of them was lost, or an order may have taken units over.
    Look {
        /// Which.
        lines: Vec<LineId>,
        /// Whether what is gone was bought: then its line leaves instead of waiting for the shopper.
        bought: bool,
    },
    /// Give strays back.
    GiveBack {
        /// Which; their ids say whose units they are.
        reservations: Vec<ReservationId>,
    },
    /// Have an order made of the lines, once it is known what is held for those that are unconfirmed.
    Checkout {
        /// The order.
        order: OrderId,
        /// The customer it is for.
        customer: Option<CustomerId>,
        /// How long after the payment's deadline the variants' backstop is, ms.
        grace_ms: i64,
    },
}

/// A merge on its way: this cart takes over the lines of `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The other cart.
    pub from: CartId,
    /// Whose quantities count where both have a variant.
    pub strategy: MergeStrategy,
    /// How far it is.
    pub stage: MergeStage,
    /// Lines of which there will be fewer units than both carts together wanted.
    pub capped: Vec<Capped>,
}

/// A line of which a merge left fewer units than were wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capped {
    /// The variant.
    pub variant: VariantId,
    /// Units wanted.
    pub wanted: u32,
    /// Units in the cart now; 0 without a line.
    pub got: u32,
}

/// How far a merge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeStage {
    /// The other cart is asked to stand still and to name its lines.
    Freezing,
    /// The variants are asked, one line of the other cart each.
    Moving {
        /// The other cart's lines that are still to be taken over, as it named them.
        lines: Vec<Line>,
        /// Its lines for which there is no room here: their holds are given back.
        surplus: Vec<Line>,
    },
    /// The other cart is told to end, or to go on.
    Ending {
        /// Whether this cart has its lines.
        merged: bool,
    },
}

/// What a merge does where both carts have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStrategy {
    /// Both quantities together.
    Sum,
    /// The larger.
    Max,
    /// This cart's own.
    Keep,
}

/// What happened to a cart in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was made.
    Created,
    /// Work was begun.
    Began,
    /// A line came in, or one that had ended is held again.
    LineHeld(LineId),
    /// A line stays although its variant could not be asked.
    LineUnconfirmed(LineId),
    /// A line was refused and is as it was before.
    LineRefused(LineId),
    /// A line's quantity changed.
    LineChanged(LineId),
    /// A line's hold ended: by its deadline, or somebody else ended it.
    LineEnded(LineId),
    /// A line left.
    LineRemoved(LineId),
    /// Deadlines moved.
    Extended,
    /// It stands still for a merge into another cart.
    Frozen,
    /// It took over another cart's lines.
    TookOver(CartId),
    /// Of one line there are fewer units than both carts wanted.
    Capped(Capped),
    /// Another cart has its lines.
    MergedInto(CartId),
    /// An order is being made.
    CheckoutBegan(OrderId),
    /// The order was refused; the cart is the shopper's again.
    CheckoutRefused(OrderId),
    /// The order awaits its payment; as it stood then, for the answer.
    CheckedOut(Box<Order>),
    /// The order came to nothing; the cart is the shopper's again.
    Reopened(OrderId),
    /// The order was paid.
    Ordered(OrderId),
    /// It was left alone or deleted, and gave everything back.
    Abandoned,
    /// It is forgotten.
    Forgotten,
    /// A line got no more time.
    NotExtended(LineId, NotExtended),
}

/// Why a live hold got no more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotExtended {
    /// Its deadline can move no further.
    Limit,
    /// The sale is ending.
    SaleNotOpen,
    /// A coordinator is deciding about it.
    InFlight,
    /// An order has it.
    OwnedByOrder,
}
