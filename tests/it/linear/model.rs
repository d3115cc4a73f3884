//! The naive variant: units counted one by one, every dead hold gone at once. What a real variant answers must be what this one
//! would have answered, in some order.
use std::collections::BTreeMap;

/// When something was asked or answered: a place in one order of everything that was observed.
pub(crate) type Stamp = u64;

/// What a client asks of a variant. A hold is named by the stamp of the reserve that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Reserve {
        quantity: u64,
        ttl_ms: i64,
    },
    Release {
        of: Stamp,
    },
    Confirm {
        of: Stamp,
    },
    Resize {
        of: Stamp,
        quantity: u64,
    },
    Adjust {
        delta: i64,
    },
    Look,
    LookAt {
        of: Stamp,
    },
    /// Somebody turns the clock.
    Tick {
        ms: i64,
    },
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stand {
    Live,
    Sold,
    Released,
    Expired,
}

/// The figures of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) on_hand: u64,
    pub(crate) held: u64,
    pub(crate) committed: u64,
    pub(crate) available: u64,
}

/// What it is answered. `None` in a member is what this way of asking does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Hold {
        stand: Option<Stand>,
        quantity: Option<u64>,
        until_ms: Option<i64>,
    },
    Short {
        available: u64,
    },
    /// Nobody can act on the hold any more.
    Ended(Stand),
    Seen(Figures),
    /// The level would fall below this.
    TooLow {
        least: u64,
    },
    Turned,
}

impl Answer {
    /// Whether an observed answer is this one, as far as it shows anything.
    fn is_seen_as(&self, observed: &Self) -> bool {
        fn shows<T: PartialEq>(told: &Option<T>, seen: &Option<T>) -> bool {
            seen.is_none() || told == seen
        }
        match (self, observed) {
            (
                Self::Hold {
                    stand,
                    quantity,
                    until_ms,
                },
                Self::Hold {
                    stand: seen_stand,
                    quantity: seen_quantity,
                    until_ms: seen_until,
                },
            ) => shows(stand, seen_stand) && shows(quantity, seen_quantity) && shows(until_ms, seen_until),
            (told, seen) => told == seen,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hold {
    quantity: u64,
    stand: Stand,
    until_ms: i64,
}

/// The variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    on_hand: u64,
    now_ms: i64,
    holds: BTreeMap<Stamp, Hold>,
}

impl Variant {
    /// Fresh, with its first stock, at some moment.
    pub(crate) fn new(on_hand: u64, now_ms: i64) -> Self {
        Self {
            on_hand,
            now_ms,
            holds: BTreeMap::new(),
        }
    }

    fn units(&self, stand: Stand) -> u64 {
        let of = self.holds.values().filter(|hold| hold.stand == stand);
        of.map(|hold| hold.quantity).sum()
    }

    fn used(&self) -> u64 {
        self.units(Stand::Live) + self.units(Stand::Sold)
    }

    fn free(&self) -> u64 {
        self.on_hand - self.used()
    }

    fn figures(&self) -> Figures {
        Figures {
            on_hand: self.on_hand,
            held: self.units(Stand::Live),
            committed: self.units(Stand::Sold),
            available: self.free(),
        }
    }

    fn sweep(&mut self) {
        for hold in self.holds.values_mut() {
            if hold.stand == Stand::Live && hold.until_ms <= self.now_ms {
                hold.stand = Stand::Expired;
            }
        }
    }

    /// The state after `op` if it was answered like this, or if nobody knows how it was answered. `Err` when it cannot have been
    /// answered like this; `Ok(None)` when it changes nothing.
    pub(crate) fn after(
        &self,
        op: &Op,
        stamp: Stamp,
        observed: Option<&Answer>,
    ) -> Result<Option<Self>, Answer> {
        let (answer, after) = self.judge(op, stamp);
        if observed.is_none_or(|observed| answer.is_seen_as(observed)) {
            Ok(after)
        } else {
            Err(answer)
        }
    }

    fn judge(&self, op: &Op, stamp: Stamp) -> (Answer, Option<Self>) {
        match op {
            Op::Reserve { quantity, ttl_ms } => self.reserve(stamp, *quantity, *ttl_ms),
            Op::Release { of } => self.end(*of, Stand::Released),
            Op::Confirm { of } => self.end(*of, Stand::Sold),
            Op::Resize { of, quantity } => self.resize(*of, *quantity),
            Op::Adjust { delta } => self.adjust(*delta),
            Op::Look => (Answer::Seen(self.figures()), None),
            Op::LookAt { of } => (self.shown(*of), None),
            Op::Tick { ms } => {
                let mut after = self.clone();
                after.now_ms += ms;
                after.sweep();
                (Answer::Turned, Some(after))
            }
        }
    }

    fn reserve(&self, stamp: Stamp, quantity: u64, ttl_ms: i64) -> (Answer, Option<Self>) {
        if self.free() < quantity {
            let available = self.free();
            return (Answer::Short { available }, None);
        }
        let mut after = self.clone();
        let hold = Hold {
            quantity,
            stand: Stand::Live,
            until_ms: self.now_ms + ttl_ms,
        };
        after.holds.insert(stamp, hold);
        (after.shown(stamp), Some(after))
    }

    /// Sold or given back. Twice is once; what was given back or has expired may be given back again, and is told as it stands.
    fn end(&self, of: Stamp, to: Stand) -> (Answer, Option<Self>) {
        let Some(hold) = self.holds.get(&of) else {
            // It was never granted, so nobody can have named it.
            return (Answer::Turned, None);
        };
        match (hold.stand, to) {
            (Stand::Live, _) => {
                let mut after = self.clone();
                after.holds.get_mut(&of).expect("it was just there").stand = to;
                (after.shown(of), Some(after))
            }
            (Stand::Sold, Stand::Sold) | (Stand::Released | Stand::Expired, Stand::Released) => {
                (self.shown(of), None)
            }
            (stand, _) => (Answer::Ended(stand), None),
        }
    }

    fn resize(&self, of: Stamp, quantity: u64) -> (Answer, Option<Self>) {
        let Some(hold) = self.holds.get(&of) else {
            return (Answer::Turned, None);
        };
        if hold.stand != Stand::Live {
            return (Answer::Ended(hold.stand), None);
        }
        if quantity > hold.quantity && self.free() < quantity - hold.quantity {
            let available = self.free() + hold.quantity;
            return (Answer::Short { available }, None);
        }
        let mut after = self.clone();
        after.holds.get_mut(&of).expect("it was just there").quantity = quantity;
        (after.shown(of), Some(after))
    }

    fn adjust(&self, delta: i64) -> (Answer, Option<Self>) {
        let level = self.on_hand.checked_add_signed(delta);
        let Some(level) = level.filter(|level| *level >= self.used()) else {
            let least = self.used();
            return (Answer::TooLow { least }, None);
        };
        let mut after = self.clone();
        after.on_hand = level;
        (Answer::Seen(after.figures()), Some(after))
    }

    fn shown(&self, of: Stamp) -> Answer {
        let Some(hold) = self.holds.get(&of) else {
            return Answer::Turned;
        };
        Answer::Hold {
            stand: Some(hold.stand),
            quantity: Some(hold.quantity),
            until_ms: Some(hold.until_ms),
        }
    }
}
