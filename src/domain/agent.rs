//! Carts and orders do their work through other entities. What they are about to do is logged first, as part of their own
//! state ([`Agent::asks`] follows from it), so that a crash between any two steps is followed by the same asks again.
//!
//! ```text
//!  command ─decide─► Next { after: state with work } ──logged──► asks() ──► answers ─conclude─► Next { after } ──logged──► answer
//!                     │ nothing to ask: done at once                │  lost, late, after a restart: asked again
//!                     └──► answer                                   └── every ask may come twice and says the same
//! ```
//!
//! One piece of work at a time; who comes meanwhile waits in front of the entity, reads do not. The shell above knows
//! nothing of carts or orders: it logs what [`Next`] says, sends the asks, gathers the answers, arms one timer.
//!
//! A turn's record carries the whole state after it: carts and orders are small, and answers are rebuilt from the record alone.
use super::{
    cart,
    ids::{CartId, OrderId, VariantOrdinal},
    key::KeyMark,
    law::Violation,
    money::Money,
    order,
    time::Timestamp,
    variant::{self, Hold, ReservationMode},
};

/// The most journal entries that work with so many asks leads to. The longest is a checkout that collides and tries again in
/// order: a line is promised, let go, promised again and settled, with a record of the agent for each line in order; and a
/// repeat.
pub const fn entries_max(asks: usize) -> usize {
    6 * asks + 8
}

/// An entity that works through others.
pub trait Agent: Clone + PartialEq + std::fmt::Debug + Sized {
    /// What it can be asked to do.
    type Command;
    /// What happened, for feeds and counters; the state says what came of it.
    type Happened;
    /// Why it says no.
    type Refusal;

    /// Judges `command` at `now`. Only reads. `key` is kept with work that is begun, so that its last record carries it
    /// whatever happens in between.
    ///
    /// # Errors
    /// A refusal, which changes nothing.
    fn decide(
        &self,
        command: &Self::Command,
        key: Option<KeyMark>,
        now: Timestamp,
    ) -> Result<Next<Self>, Self::Refusal>;

    /// Whether it is in the middle of work: no other command is decided before that is concluded.
    fn is_working(&self) -> bool;

    /// Whether `command` has to wait for the work in hand. What two agents in the middle of work ask each other must not,
    /// or both would wait for ever: it is decided at once, and neither touches the work nor begins any.
    fn waits(&self, _command: &Self::Command) -> bool {
        self.is_working()
    }

    /// What the work in hand asks of others, in a fixed order; empty without work. The same until it is concluded.
    fn asks(&self) -> Vec<Ask>;

    /// What work that somebody else may have asked for already asks first: an actor that died, or the process before this one.
    /// As many asks, answered as those.
    fn asks_again(&self) -> Vec<Ask> {
        self.asks()
    }

    /// Goes on with the work in hand: one answer for each ask, in that order. If it is as it was and still working, all
    /// are asked again after a while, those too who have answered: every ask is one that may come twice. It goes on with the
    /// answers it has if the missing ones come meanwhile.
    fn conclude(&self, answers: &[Answer], now: Timestamp) -> Next<Self>;

    /// The earliest moment something happens by itself.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// What happens by itself at `now`; not while it is working.
    fn due(&self, now: Timestamp) -> Option<Next<Self>>;

    /// Asks how everything stands that others told it of: word of some of it was lost. `None` when there is nothing to ask;
    /// not while it is working.
    fn look(&self, _now: Timestamp) -> Option<Next<Self>> {
        None
    }

    /// What it is told by an answer that came when nobody waited for it any more.
    fn word_of(_answer: Answer) -> Option<Self::Command> {
        None
    }

    /// Its own laws.
    ///
    /// # Errors
    /// The law and the figures that show it.
    fn check(&self) -> Result<(), Violation>;
}

/// The next state of an entity and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next<A: Agent> {
    /// The whole state from now on.
    pub after: A,
    /// What happened, in order.
    pub happened: Vec<A::Happened>,
    /// What whoever asked is told.
    pub verdict: Verdict<A::Refusal>,
}

/// What whoever asked is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<R> {
    /// Nothing yet: work has begun or goes on.
    Working,
    /// It is done; the key, if there was one, belongs to this record.
    Done,
    /// Nothing was done, and what there was is undone: a refusal, which no key remembers.
    Refused(R),
}

/// Something asked of another entity. It may be sent twice, and its effect and answer are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Of a variant.
    Variant {
        /// Which.
        to: VariantOrdinal,
        /// What.
        command: Box<variant::Command>,
    },
    /// Of a cart.
    Cart {
        /// Which.
        to: CartId,
        /// What.
        command: Box<cart::Command>,
    },
    /// Of an order.
    Order {
        /// Which.
        to: OrderId,
        /// What.
        command: Box<order::Command>,
    },
}

impl Ask {
    /// Whether both go to the same entity.
    pub fn goes_where(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Variant { to, .. }, Self::Variant { to: other, .. }) => to == other,
            (Self::Cart { to, .. }, Self::Cart { to: other, .. }) => to == other,
            (Self::Order { to, .. }, Self::Order { to: other, .. }) => to == other,
            (Self::Variant { .. } | Self::Cart { .. } | Self::Order { .. }, _) => false,
        }
    }
}

/// What an entity answers another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A variant's.
    Variant {
        /// What became of the ask.
        told: Told,
        /// What the variant says of itself; `None` when it could not be asked.
        quote: Option<Quote>,
    },
    /// A cart's: its state after it did what was asked, or why it did not.
    Cart(Result<Box<cart::Cart>, cart::Refusal>),
    /// An order's.
    Order(Result<Box<order::Order>, order::Refusal>),
    /// Nobody answered in time: it may have happened or not.
    Unanswered,
}

/// What became of an ask of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The reservation as it stands.
    Hold(Box<Hold>),
    /// Nothing is held and nothing needs to be: the variant takes its units later, or gave them back already.
    Nothing,
    /// A no.
    Refused(variant::Refusal),
}

/// What a variant says of itself with every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The price of one unit now.
    pub price: Option<Money>,
    /// When its units are taken.
    pub mode: ReservationMode,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Slot;

    #[test]
    fn asks_go_the_same_way_to_the_same_entity_only() {
        let (at, slot) = (Timestamp::default(), Slot::of_cart(0));
        let order = |random| Ask::Order {
            to: OrderId::made(at, slot, random),
            command: Box::new(order::Command::Fail),
        };
        let cart = |random| Ask::Cart {
            to: CartId::made(at, slot, random),
            command: Box::new(cart::Command::Delete),
        };
        let variant = |number| Ask::Variant {
            to: VariantOrdinal(number),
            command: Box::new(variant::Command::Delete),
        };
        let asks = [order(1), order(2), cart(1), cart(2), variant(1), variant(2)];
        for (one, ask) in asks.iter().enumerate() {
            for (other, than) in asks.iter().enumerate() {
                assert_eq!(ask.goes_where(than), one == other, "{ask:?}, {than:?}");
            }
        }
    }
}
