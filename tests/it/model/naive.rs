//! The naive side: a list of reservations and sums counted anew each time.
use super::{
    pick,
    said::Said,
    steps::{Rules, Step, TERMS},
};
use crate::world::START;
use holdfast::domain::{
    ids::ReservationId,
    time::Timestamp,
    variant::{MAX_UNITS, Phase, SaleState},
};
use proptest::sample::Index;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Tentative,
    Live,
    Sold,
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Keep,
    Extend(Timestamp),
    Sell,
    Release,
}

#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: ReservationId,
    pub(crate) who: u8,
    pub(crate) quantity: u32,
    pub(crate) state: State,
    pub(crate) phase: Phase,
    pub(crate) until: Timestamp,
    pub(crate) latest: Timestamp,
    pub(crate) extensions: u8,
    pub(crate) pin: Option<(u8, Wish)>,
    pub(crate) sold_day: i64,
    pub(crate) shipped: u32,
    pub(crate) cancelled: u32,
    pub(crate) returned: u32,
}

impl Kept {
    pub(crate) fn held(&self) -> u64 {
        if matches!(self.state, State::Live | State::Tentative) {
            u64::from(self.quantity)
        } else {
            0
        }
    }

    pub(crate) fn unshipped(&self) -> u32 {
        if self.state == State::Sold {
            self.quantity - self.shipped - self.cancelled
        } else {
            0
        }
    }
}

pub(crate) struct Model {
    pub(crate) now: Timestamp,
    pub(crate) on_hand: u64,
    pub(crate) rules: Rules,
    pub(crate) sale: SaleState,
    pub(crate) deleted: bool,
    pub(crate) all: Vec<Kept>,
}

impl Model {
    /// Every dead hold is gone at once.
    pub(crate) fn sweep(&mut self) {
        for hold in &mut self.all {
            if hold.state == State::Live && hold.pin.is_none() && hold.until <= self.now {
                hold.state = State::Ended;
            }
        }
    }

    pub(crate) fn held(&self) -> u64 {
        self.all.iter().map(Kept::held).sum()
    }

    pub(crate) fn committed(&self) -> u64 {
        self.all.iter().map(|hold| u64::from(hold.unshipped())).sum()
    }

    pub(crate) fn free(&self) -> u64 {
        let used = self.held() + self.committed() + self.rules.safety;
        (self.on_hand + self.rules.backorder).saturating_sub(used)
    }

    pub(crate) fn sale_now(&self) -> SaleState {
        match self.sale {
            SaleState::Draining if self.held() == 0 => SaleState::Closed,
            SaleState::Open
                if self
                    .rules
                    .closes
                    .is_some_and(|ms| START.saturating_add(ms) <= self.now) =>
            {
                SaleState::Closed
            }
            other => other,
        }
    }

    pub(crate) fn open(&self) -> bool {
        let scheduled = self
            .rules
            .opens
            .is_some_and(|ms| START.saturating_add(ms) > self.now);
        self.sale_now() == SaleState::Open && !scheduled
    }

    /// Units the shopper has: live, or bought today or yesterday and not given back.
    pub(crate) fn taken(&self, who: u8) -> u64 {
        let own = self.all.iter().filter(|hold| hold.who == who);
        own.map(|hold| {
            let recent = hold.state == State::Sold && hold.sold_day > self.now.day() - 2;
            let bought = if recent {
                hold.quantity - hold.cancelled - hold.returned
            } else {
                0
            };
            hold.held() + u64::from(bought)
        })
        .sum()
    }

    pub(crate) fn least(&self, rules: Rules) -> u64 {
        if rules.untracked {
            0
        } else {
            (self.held() + self.committed()).saturating_sub(rules.backorder)
        }
    }

    pub(crate) fn reserve(
        &mut self,
        id: ReservationId,
        who: u8,
        quantity: u32,
        ttl_ms: Option<i64>,
        partial: bool,
    ) -> Result<Kept, Said> {
        if !self.open() {
            return Err(Said::NotOpen);
        }
        if ttl_ms.is_some_and(|ttl| ttl > TERMS.max_ttl_ms) {
            return Err(Said::TtlTooLong);
        }
        if quantity == 0 || ttl_ms == Some(0) {
            return Err(Said::OutOfRange);
        }
        if self.rules.one_hold
            && who > 0
            && let Some(other) = self.all.iter().find(|hold| hold.who == who && hold.held() > 0)
        {
            return Err(Said::Held(other.id));
        }
        let mut granted = u64::from(quantity);
        if !self.rules.untracked {
            if self.free() < granted && (!partial || self.free() == 0) {
                return Err(Said::Insufficient(self.free()));
            }
            granted = granted.min(self.free());
        }
        granted = self.within_limit(who, granted, partial)?;
        let until = self.now.saturating_add(ttl_ms.unwrap_or(TERMS.lengths.ttl_ms));
        Ok(Kept {
            id,
            who,
            quantity: u32::try_from(granted).unwrap(),
            state: State::Live,
            phase: Phase::Cart,
            until,
            latest: until.saturating_add(60_000),
            extensions: 2,
            pin: None,
            sold_day: 0,
            shipped: 0,
            cancelled: 0,
            returned: 0,
        })
    }

    pub(crate) fn within_limit(&self, who: u8, wanted: u64, partial: bool) -> Result<u64, Said> {
        let Some(limit) = self.rules.limit.filter(|_| who > 0) else {
            return Ok(wanted);
        };
        let left = u64::from(limit).saturating_sub(self.taken(who));
        if wanted > left && (!partial || left == 0) {
            return Err(Said::Limit(self.taken(who)));
        }
        Ok(wanted.min(left))
    }

    /// Who may act on a reservation.
    pub(crate) fn live(&self, at: usize) -> Result<(), Said> {
        match self.all[at].state {
            State::Tentative | State::Ended => Err(Said::Ended),
            State::Sold => Err(Said::Sold),
            State::Live if self.all[at].pin.is_some() => Err(Said::InFlight),
            State::Live => Ok(()),
        }
    }

    pub(crate) fn extended(
        &self,
        at: usize,
        by_ms: Option<i64>,
        phase: Option<Phase>,
    ) -> Result<(Phase, Timestamp, u8), Said> {
        if matches!(self.sale_now(), SaleState::Draining | SaleState::Closed) {
            return Err(Said::NotOpen);
        }
        let hold = &self.all[at];
        let paying = self.now.saturating_add(TERMS.payment_ttl_ms);
        let to = phase.unwrap_or(hold.phase);
        let latest = match (hold.phase, to) {
            (Phase::Cart, Phase::Payment) if self.now < hold.latest => {
                return Ok((to, hold.until.max(paying), hold.extensions));
            }
            (Phase::Cart, Phase::Payment) => return Ok((to, hold.until, hold.extensions)),
            (Phase::Payment, Phase::Cart) => {
                let minute = self.now.saturating_add(60_000);
                let until = if minute <= hold.latest {
                    hold.until.max(minute).min(hold.latest)
                } else {
                    hold.until.max(hold.latest).min(minute)
                };
                return Ok((to, until, hold.extensions));
            }
            (Phase::Cart, Phase::Cart) => hold.latest,
            (Phase::Payment, Phase::Payment) => hold.latest.max(paying),
        };
        let until = hold.until.saturating_add(by_ms.unwrap_or(30_000)).min(latest);
        if hold.extensions == 0 || until <= hold.until {
            return Err(Said::ExtensionLimit(latest));
        }
        Ok((to, until, hold.extensions - 1))
    }

    pub(crate) fn sell(&mut self, at: usize, quantity: u32) {
        let day = self.now.day();
        let hold = &mut self.all[at];
        hold.quantity = quantity;
        hold.state = State::Sold;
        hold.sold_day = day;
        hold.pin = None;
    }

    /// Does what `step` says, or says why not. `id` is the id a new reservation gets.
    pub(crate) fn step(&mut self, step: &Step, id: ReservationId) -> Result<Said, Said> {
        let at = |index: &Index| pick(index, &self.all);
        match step {
            Step::Wait(_) | Step::Expire(_) => {}
            Step::Reserve {
                who,
                quantity,
                ttl_ms,
                partial,
            } => {
                let hold = self.reserve(id, *who, *quantity, *ttl_ms, *partial)?;
                self.all.push(hold);
            }
            Step::ReserveAgain(of) => {
                let at = at(of);
                return match self.all[at].state {
                    State::Tentative => Err(Said::InFlight),
                    State::Live => self.live(at).map(|()| Said::Repeat),
                    State::Sold => Ok(Said::Repeat),
                    State::Ended => Err(Said::Ended),
                };
            }
            Step::Extend { of, by_ms, phase } => {
                let at = at(of);
                self.live(at)?;
                let (phase, until, extensions) = self.extended(at, *by_ms, *phase)?;
                let hold = &mut self.all[at];
                (hold.phase, hold.until, hold.extensions) = (phase, until, extensions);
            }
            Step::Resize { of, quantity } => return self.resize(at(of), *quantity),
            Step::Confirm { of, quantity } => return self.confirm(at(of), *quantity),
            Step::Release(of) => {
                let at = at(of);
                self.live(at)?;
                self.all[at].state = State::Ended;
            }
            Step::After {
                of,
                what,
                quantity,
                restock,
            } => self.after(at(of), *what, *quantity, *restock)?,
            Step::PrepareNew { try_, who, quantity } => {
                let mut hold = self.reserve(id, *who, *quantity, None, false)?;
                hold.state = State::Tentative;
                hold.pin = Some((*try_, Wish::Keep));
                self.all.push(hold);
            }
            Step::Prepare { try_, of, what } => {
                let at = at(of);
                if self.all[at].pin.is_some_and(|(by, _)| by == *try_) {
                    return Ok(Said::Repeat);
                }
                if *what == 1 && self.all[at].state == State::Sold {
                    // A sale may be confirmed again; there is nothing to promise.
                    return Ok(Said::Repeat);
                }
                self.live(at)?;
                let wish = match what {
                    0 => Wish::Extend(self.extended(at, None, None)?.1),
                    1 => Wish::Sell,
                    _ => Wish::Release,
                };
                self.all[at].pin = Some((*try_, wish));
            }
            Step::Settle { try_, of, commit } => self.settle(*try_, at(of), *commit),
            Step::SetStock(level) if *level > MAX_UNITS => return Err(Said::OutOfRange),
            Step::SetStock(level) => self.set_level(i128::from(*level))?,
            Step::Adjust(delta) => {
                let after = i128::from(self.on_hand) + i128::from(*delta);
                if delta.unsigned_abs() > MAX_UNITS || after > i128::from(MAX_UNITS) {
                    return Err(Said::OutOfRange);
                }
                self.set_level(after)?;
            }
            Step::Change(rules) => {
                if rules.safety > MAX_UNITS || rules.backorder > MAX_UNITS {
                    return Err(Said::OutOfRange);
                }
                if self.on_hand < self.least(*rules) {
                    return Err(Said::Below(self.least(*rules)));
                }
                self.rules = *rules;
            }
            Step::Sale(sale) => self.sale = *sale,
            Step::Delete if self.held() + self.committed() > 0 => {
                return Err(Said::HasHolds(self.held(), self.committed()));
            }
            Step::Delete => self.deleted = true,
        }
        Ok(Said::Done)
    }

    pub(crate) fn set_level(&mut self, level: i128) -> Result<(), Said> {
        let least = self.least(self.rules);
        if level < i128::from(least) {
            return Err(Said::Below(least));
        }
        self.on_hand = u64::try_from(level).unwrap();
        Ok(())
    }

    pub(crate) fn resize(&mut self, at: usize, quantity: u32) -> Result<Said, Said> {
        self.live(at)?;
        let had = self.all[at].quantity;
        if quantity == 0 {
            return Err(Said::OutOfRange);
        }
        if quantity > had {
            let more = u64::from(quantity - had);
            if !self.open() {
                return Err(Said::NotOpen);
            }
            if !self.rules.untracked && self.free() < more {
                return Err(Said::Insufficient(self.free() + u64::from(had)));
            }
            let who = self.all[at].who;
            self.within_limit(who, more, false).map_err(|said| match said {
                Said::Limit(taken) => Said::Limit(taken - u64::from(had)),
                other => other,
            })?;
        }
        self.all[at].quantity = quantity;
        Ok(Said::Done)
    }

    pub(crate) fn confirm(&mut self, at: usize, quantity: Option<u32>) -> Result<Said, Said> {
        let hold = &self.all[at];
        if hold.state == State::Sold {
            let same = quantity.is_none_or(|quantity| quantity == hold.quantity);
            return if same { Ok(Said::Repeat) } else { Err(Said::Sold) };
        }
        self.live(at)?;
        let had = self.all[at].quantity;
        match quantity.unwrap_or(had) {
            0 => Err(Said::OutOfRange),
            wanted if wanted > had => Err(Said::Exceeds(had)),
            wanted => {
                self.sell(at, wanted);
                Ok(Said::Done)
            }
        }
    }

    pub(crate) fn after(
        &mut self,
        at: usize,
        what: u8,
        quantity: Option<u32>,
        restock: bool,
    ) -> Result<(), Said> {
        let hold = &self.all[at];
        match hold.state {
            State::Live => return Err(Said::NotConfirmed),
            State::Tentative | State::Ended => return Err(Said::Ended),
            State::Sold => {}
        }
        let left = if what == 2 {
            hold.shipped - hold.returned
        } else {
            hold.unshipped()
        };
        let wanted = quantity.unwrap_or(left);
        if wanted == 0 {
            return Err(Said::Exceeds(0));
        }
        if wanted > left {
            return Err(Said::Exceeds(left));
        }
        let (units, counted) = (u64::from(wanted), !self.rules.untracked);
        let enough = self.on_hand >= units;
        match what {
            0 if counted && !enough => return Err(Said::Insufficient(self.on_hand)),
            0 => {
                self.all[at].shipped += wanted;
                self.on_hand -= if counted { units } else { 0 };
            }
            1 => {
                self.all[at].cancelled += wanted;
                self.on_hand -= if counted && !restock && enough { units } else { 0 };
            }
            _ if self.on_hand + units > MAX_UNITS => return Err(Said::OutOfRange),
            _ => {
                self.all[at].returned += wanted;
                self.on_hand += if counted && restock { units } else { 0 };
            }
        }
        Ok(())
    }

    pub(crate) fn settle(&mut self, try_: u8, at: usize, commit: bool) {
        let Some((_, wish)) = self.all[at].pin.filter(|(by, _)| *by == try_) else {
            return;
        };
        let hold = &mut self.all[at];
        hold.pin = None;
        match (wish, commit) {
            (Wish::Keep, true) => hold.state = State::Live,
            (Wish::Keep, false) => hold.state = State::Ended,
            (_, false) => {}
            (Wish::Extend(until), true) => {
                hold.until = until;
                hold.extensions -= 1;
            }
            (Wish::Sell, true) => {
                let quantity = hold.quantity;
                self.sell(at, quantity);
            }
            (Wish::Release, true) => hold.state = State::Ended,
        }
    }
}
