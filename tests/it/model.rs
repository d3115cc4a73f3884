//! Random commands against a variant and, beside it, against a model so naive that it is plainly right: a list of
//! reservations, sums counted anew each time, and every dead hold gone the moment it is due.
use crate::world::{Answer, START, World};
use holdfast::domain::{
    bulk::Attempt,
    ids::{BulkId, CustomerId, ReservationId, VariantOrdinal},
    policy::{HoldLengths, Terms},
    time::{MILLIS_PER_DAY, Timestamp},
    variant::{
        AfterSale, Command, Confirm, Event, Extend, Hold, HoldStatus, MAX_UNITS, Phase, Prepare, Refusal,
        ReservationMode, Reserve, SaleState, Settings, Shopper,
    },
};
use proptest::{prelude::*, sample::Index};

/// Stories per run and steps per story: together more than 10,000 steps.
const STORIES: u32 = 128;
const STEPS: usize = 160;

const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: 60_000,
        extension_ms: 30_000,
        max_extensions: 2,
    },
    payment_ttl_ms: 100_000,
    max_ttl_ms: 600_000,
    units_per_customer: None,
    window_days: Some(2),
};

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Reserve {
        who: u8,
        quantity: u32,
        ttl_ms: Option<i64>,
        partial: bool,
    },
    ReserveAgain(Index),
    Extend {
        of: Index,
        by_ms: Option<i64>,
        phase: Option<Phase>,
    },
    Resize {
        of: Index,
        quantity: u32,
    },
    Confirm {
        of: Index,
        quantity: Option<u32>,
    },
    Release(Index),
    After {
        of: Index,
        what: u8,
        quantity: Option<u32>,
        restock: bool,
    },
    PrepareNew {
        try_: u8,
        who: u8,
        quantity: u32,
    },
    Prepare {
        try_: u8,
        of: Index,
        what: u8,
    },
    Settle {
        try_: u8,
        of: Index,
        commit: bool,
    },
    SetStock(u64),
    Adjust(i64),
    Change(Rules),
    Sale(SaleState),
    Expire(usize),
    Delete,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    safety: u64,
    backorder: u64,
    untracked: bool,
    one_hold: bool,
    limit: Option<u32>,
    opens: Option<i64>,
    closes: Option<i64>,
}

fn step() -> impl Strategy<Value = Step> {
    let of = any::<Index>;
    let units = prop_oneof![20 => 1..6_u32, 1 => Just(0), 1 => Just(u32::MAX)];
    let some = proptest::option::of(0..5_u32);
    let ttl = prop_oneof![6 => Just(None), 6 => (1..100_000_i64).prop_map(Some), 1 => Just(Some(0)), 1 => Just(Some(700_000))];
    let wait =
        prop_oneof![8 => 0..2_i64, 8 => 0..30_000_i64, 2 => 30_000..200_000_i64, 1 => Just(MILLIS_PER_DAY)];
    let phase = prop_oneof![Just(None), Just(Some(Phase::Cart)), Just(Some(Phase::Payment))];
    let by = prop_oneof![4 => Just(None), 4 => (1..90_000_i64).prop_map(Some), 1 => Just(Some(-5)), 1 => Just(Some(i64::MAX))];
    let level = prop_oneof![20 => 0..25_u64, 1 => Just(MAX_UNITS), 1 => Just(u64::MAX)];
    let delta = prop_oneof![20 => -8..12_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let sale = prop_oneof![
        6 => Just(SaleState::Open),
        1 => Just(SaleState::Paused),
        1 => Just(SaleState::Draining),
        1 => Just(SaleState::Closed)
    ];
    prop_oneof![
        20 => wait.prop_map(Step::Wait),
        30 => (0..4_u8, units.clone(), ttl, any::<bool>())
            .prop_map(|(who, quantity, ttl_ms, partial)| Step::Reserve { who, quantity, ttl_ms, partial }),
        2 => of().prop_map(Step::ReserveAgain),
        10 => (of(), by, phase).prop_map(|(of, by_ms, phase)| Step::Extend { of, by_ms, phase }),
        8 => (of(), units.clone()).prop_map(|(of, quantity)| Step::Resize { of, quantity }),
        10 => (of(), some.clone()).prop_map(|(of, quantity)| Step::Confirm { of, quantity }),
        6 => of().prop_map(Step::Release),
        12 => (of(), 0..3_u8, some, any::<bool>())
            .prop_map(|(of, what, quantity, restock)| Step::After { of, what, quantity, restock }),
        6 => (0..3_u8, 0..4_u8, units).prop_map(|(try_, who, quantity)| Step::PrepareNew { try_, who, quantity }),
        6 => (0..3_u8, of(), 0..3_u8).prop_map(|(try_, of, what)| Step::Prepare { try_, of, what }),
        14 => (0..3_u8, of(), any::<bool>()).prop_map(|(try_, of, commit)| Step::Settle { try_, of, commit }),
        3 => level.prop_map(Step::SetStock),
        4 => delta.prop_map(Step::Adjust),
        3 => rules().prop_map(Step::Change),
        3 => sale.prop_map(Step::Sale),
        5 => (1..5_usize).prop_map(Step::Expire),
        1 => prop_oneof![30 => Just(Step::Expire(1)), 1 => Just(Step::Delete)],
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let figure = prop_oneof![6 => Just(0), 4 => 0..5_u64, 1 => Just(MAX_UNITS), 1 => Just(u64::MAX)];
    let day = prop_oneof![6 => Just(None), 1 => (0..2_000_000_i64).prop_map(Some)];
    let flags = (proptest::bool::weighted(0.1), proptest::bool::weighted(0.3));
    let limit = proptest::option::of(1..6_u32);
    (figure.clone(), figure, flags, limit, day.clone(), day).prop_map(
        |(safety, backorder, (untracked, one_hold), limit, opens, closes)| Rules {
            safety,
            backorder,
            untracked,
            one_hold,
            limit,
            opens,
            closes,
        },
    )
}

impl Rules {
    fn settings(&self) -> Settings {
        Settings {
            safety_stock: self.safety,
            backorder_limit: self.backorder,
            reservation_mode: if self.untracked {
                ReservationMode::Untracked
            } else {
                ReservationMode::OnCart
            },
            one_hold_per_customer: self.one_hold,
            units_per_customer: self.limit,
            opens_at: self.opens.map(|ms| START.saturating_add(ms)),
            closes_at: self.closes.map(|ms| START.saturating_add(ms)),
            ..Settings::default()
        }
    }
}

/// An answer reduced to what both sides can say. A hold that is due has ended for the model, while the variant may
/// still have to log it, so that expired, released and unknown are one word here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Done,
    Repeat,
    Ended,
    Sold,
    Missing,
    Insufficient(u64),
    NotOpen,
    Limit(u64),
    Held(ReservationId),
    TtlTooLong,
    ExtensionLimit(Timestamp),
    NotConfirmed,
    Exceeds(u32),
    InFlight,
    Below(u64),
    HasHolds(u64, u64),
    OutOfRange,
}

fn said(answer: &Answer) -> Said {
    match answer {
        Answer::Granted(_) => Said::Done,
        Answer::Repeat(_) => Said::Repeat,
        Answer::Refused(_, refusal) => match refusal {
            Refusal::VariantNotFound => Said::Missing,
            Refusal::ReservationNotFound
            | Refusal::ReservationExpired { .. }
            | Refusal::ReservationReleased { .. } => Said::Ended,
            Refusal::InsufficientStock { available, .. } => Said::Insufficient(*available),
            Refusal::SaleNotOpen { .. } => Said::NotOpen,
            Refusal::LimitReached { taken, .. } => Said::Limit(*taken),
            Refusal::AlreadyHeld { id } => Said::Held(*id),
            Refusal::TtlTooLong { .. } => Said::TtlTooLong,
            Refusal::ExtensionLimit { max_expires_at } => Said::ExtensionLimit(*max_expires_at),
            Refusal::ReservationConfirmed { .. } => Said::Sold,
            Refusal::NotConfirmed => Said::NotConfirmed,
            Refusal::QuantityExceeds { allowed, .. } => Said::Exceeds(*allowed),
            Refusal::InFlight => Said::InFlight,
            Refusal::BelowHeld { least, .. } => Said::Below(*least),
            Refusal::HasActiveHolds { held, committed } => Said::HasHolds(*held, *committed),
            Refusal::OutOfRange => Said::OutOfRange,
            Refusal::AlreadyExists | Refusal::ExpectedMismatch { .. } | Refusal::VersionMismatch { .. } => {
                panic!("no step leads to {refusal:?}")
            }
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Tentative,
    Live,
    Sold,
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Keep,
    Extend(Timestamp),
    Sell,
    Release,
}

#[derive(Clone, Debug)]
struct Kept {
    id: ReservationId,
    who: u8,
    quantity: u32,
    state: State,
    phase: Phase,
    until: Timestamp,
    latest: Timestamp,
    extensions: u8,
    pin: Option<(u8, Wish)>,
    sold_day: i64,
    shipped: u32,
    cancelled: u32,
    returned: u32,
}

impl Kept {
    fn held(&self) -> u64 {
        if matches!(self.state, State::Live | State::Tentative) {
            u64::from(self.quantity)
        } else {
            0
        }
    }

    fn unshipped(&self) -> u32 {
        if self.state == State::Sold {
            self.quantity - self.shipped - self.cancelled
        } else {
            0
        }
    }
}

struct Model {
    now: Timestamp,
    on_hand: u64,
    rules: Rules,
    sale: SaleState,
    deleted: bool,
    all: Vec<Kept>,
}

impl Model {
    /// Every dead hold is gone at once.
    fn sweep(&mut self) {
        for hold in &mut self.all {
            if hold.state == State::Live && hold.pin.is_none() && hold.until <= self.now {
                hold.state = State::Ended;
            }
        }
    }

    fn held(&self) -> u64 {
        self.all.iter().map(Kept::held).sum()
    }

    fn committed(&self) -> u64 {
        self.all.iter().map(|hold| u64::from(hold.unshipped())).sum()
    }

    fn free(&self) -> u64 {
        let used = self.held() + self.committed() + self.rules.safety;
        (self.on_hand + self.rules.backorder).saturating_sub(used)
    }

    fn sale_now(&self) -> SaleState {
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

    fn open(&self) -> bool {
        let scheduled = self
            .rules
            .opens
            .is_some_and(|ms| START.saturating_add(ms) > self.now);
        self.sale_now() == SaleState::Open && !scheduled
    }

    /// Units the shopper has: live, or bought today or yesterday and not given back.
    fn taken(&self, who: u8) -> u64 {
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

    fn least(&self, rules: Rules) -> u64 {
        if rules.untracked {
            0
        } else {
            (self.held() + self.committed()).saturating_sub(rules.backorder)
        }
    }

    fn reserve(
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

    fn within_limit(&self, who: u8, wanted: u64, partial: bool) -> Result<u64, Said> {
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
    fn live(&self, at: usize) -> Result<(), Said> {
        match self.all[at].state {
            State::Tentative | State::Ended => Err(Said::Ended),
            State::Sold => Err(Said::Sold),
            State::Live if self.all[at].pin.is_some() => Err(Said::InFlight),
            State::Live => Ok(()),
        }
    }

    fn extended(
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

    fn sell(&mut self, at: usize, quantity: u32) {
        let day = self.now.day();
        let hold = &mut self.all[at];
        hold.quantity = quantity;
        hold.state = State::Sold;
        hold.sold_day = day;
        hold.pin = None;
    }

    /// Does what `step` says, or says why not. `id` is the id a new reservation gets.
    fn step(&mut self, step: &Step, id: ReservationId) -> Result<Said, Said> {
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

    fn set_level(&mut self, level: i128) -> Result<(), Said> {
        let least = self.least(self.rules);
        if level < i128::from(least) {
            return Err(Said::Below(least));
        }
        self.on_hand = u64::try_from(level).unwrap();
        Ok(())
    }

    fn resize(&mut self, at: usize, quantity: u32) -> Result<Said, Said> {
        self.live(at)?;
        let had = self.all[at].quantity;
        if quantity == 0 {
            return Err(Said::OutOfRange);
        }
        if quantity == had {
            return Ok(Said::Repeat);
        }
        if quantity > had {
            let more = u64::from(quantity - had);
            if !self.open() {
                return Err(Said::NotOpen);
            }
            if !self.rules.untracked && self.free() < more {
                return Err(Said::Insufficient(self.free()));
            }
            self.within_limit(self.all[at].who, more, false)?;
        }
        self.all[at].quantity = quantity;
        Ok(Said::Done)
    }

    fn confirm(&mut self, at: usize, quantity: Option<u32>) -> Result<Said, Said> {
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

    fn after(&mut self, at: usize, what: u8, quantity: Option<u32>, restock: bool) -> Result<(), Said> {
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

    fn settle(&mut self, try_: u8, at: usize, commit: bool) {
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

fn shopper(who: u8) -> Shopper {
    let customer = (who > 0).then(|| CustomerId::parse(&who.to_string()).unwrap());
    Shopper {
        customer,
        ..Shopper::default()
    }
}

fn attempt(try_: u8) -> Attempt {
    Attempt {
        bulk: BulkId(u128::from(try_ / 2)),
        number: u32::from(try_ % 2) + 1,
    }
}

fn reserve(id: ReservationId, who: u8, quantity: u32, ttl_ms: Option<i64>, allow_partial: bool) -> Reserve {
    Reserve {
        id,
        quantity,
        shopper: shopper(who),
        ttl_ms,
        allow_partial,
        terms: TERMS,
    }
}

/// The command for a step; `None` for those that are none.
fn command(step: &Step, id: ReservationId, model: &Model, world: &World) -> Option<Command> {
    let of = |index: &Index| model.all[pick(index, &model.all)].id;
    let by = "model".to_owned();
    Some(match step {
        Step::Wait(_) | Step::Expire(_) => return None,
        Step::Reserve {
            who,
            quantity,
            ttl_ms,
            partial,
        } => Command::Reserve(reserve(id, *who, *quantity, *ttl_ms, *partial)),
        Step::ReserveAgain(index) => Command::Reserve(reserve(of(index), 0, 1, None, false)),
        Step::Extend {
            of: index,
            by_ms,
            phase,
        } => Command::Extend(Extend {
            id: of(index),
            by_ms: *by_ms,
            phase: *phase,
            terms: TERMS,
        }),
        Step::Resize { of: index, quantity } => Command::Resize {
            id: of(index),
            quantity: *quantity,
            terms: TERMS,
        },
        Step::Confirm { of: index, quantity } => Command::Confirm(Confirm {
            id: of(index),
            quantity: *quantity,
            order: None,
        }),
        Step::Release(index) => Command::Release { id: of(index) },
        Step::After {
            of: index,
            what,
            quantity,
            restock,
        } => {
            let id = of(index);
            let closed = world
                .gone
                .get(&id)
                .filter(|hold| hold.status != HoldStatus::Tentative);
            let ask = AfterSale {
                id,
                quantity: *quantity,
                restock: *restock,
                closed: closed.cloned().map(Box::new),
                by,
                keep_ms: 45_000,
            };
            match what {
                0 => Command::Fulfil(ask),
                1 => Command::Cancel(ask),
                _ => Command::Return(ask),
            }
        }
        Step::PrepareNew { try_, who, quantity } => Command::Prepare {
            attempt: attempt(*try_),
            prepare: Prepare::Reserve(reserve(id, *who, *quantity, None, false)),
        },
        Step::Prepare {
            try_,
            of: index,
            what,
        } => Command::Prepare {
            attempt: attempt(*try_),
            prepare: match what {
                0 => Prepare::Extend(Extend {
                    id: of(index),
                    by_ms: None,
                    phase: None,
                    terms: TERMS,
                }),
                1 => Prepare::Confirm(of(index)),
                _ => Prepare::Release(of(index)),
            },
        },
        Step::Settle {
            try_,
            of: index,
            commit,
        } => Command::Settle {
            attempt: attempt(*try_),
            id: of(index),
            commit: *commit,
            decided_at: model.now,
        },
        Step::SetStock(on_hand) => Command::SetStock {
            on_hand: *on_hand,
            expected: None,
            by,
        },
        Step::Adjust(delta) => Command::Adjust {
            delta: *delta,
            reason: String::new(),
            reference: None,
            expected_on_hand: None,
            by,
        },
        Step::Change(rules) => Command::Change {
            settings: Box::new(rules.settings()),
            expected: None,
        },
        Step::Sale(sale) => Command::SetSale { sale: *sale },
        Step::Delete => Command::Delete { expected: None },
    })
}

/// Which reservation a step is about: one of the latest, as older ones have mostly ended.
fn pick(index: &Index, all: &[Kept]) -> usize {
    let recent = all.len().min(10);
    all.len() - recent + index.index(recent)
}

/// Steps that say something about an existing reservation.
fn target(step: &Step) -> Option<&Index> {
    match step {
        Step::ReserveAgain(of)
        | Step::Extend { of, .. }
        | Step::Resize { of, .. }
        | Step::Confirm { of, .. }
        | Step::Release(of)
        | Step::After { of, .. }
        | Step::Prepare { of, .. }
        | Step::Settle { of, .. } => Some(of),
        _ => None,
    }
}

/// Whether `step` is about a reservation that has ended.
fn is_about_ended(step: &Step, model: &Model) -> bool {
    target(step).is_some_and(|of| model.all[pick(of, &model.all)].state == State::Ended)
}

/// Whether both sides may answer differently: the variant has closed a reservation whose sold units all left, or has
/// ended one whose id must not be used again; the store behind it answers then.
fn answered_elsewhere(step: &Step, hold: &Kept) -> bool {
    let closed = hold.state == State::Sold && hold.unshipped() == 0;
    match step {
        Step::ReserveAgain(_) => closed || hold.state == State::Ended,
        Step::Settle { .. } | Step::After { .. } => false,
        _ => closed,
    }
}

fn expect_same(world: &World, model: &Model) {
    let variant = &world.variant;
    let view = variant.view(model.now);
    let available = (!model.rules.untracked).then(|| model.free());
    assert_eq!(
        (view.head.on_hand, view.held, view.committed, view.available),
        (model.on_hand, model.held(), model.committed(), available)
    );
    for kept in &model.all {
        let hold = variant.hold(kept.id).filter(|hold| !hold.is_due(model.now));
        match kept.state {
            State::Ended => assert_eq!(hold, None),
            State::Sold if kept.unshipped() == 0 => {}
            State::Sold | State::Live | State::Tentative => {
                expect_same_hold(hold.expect("the model keeps it"), kept);
            }
        }
    }
}

fn expect_same_hold(hold: &Hold, kept: &Kept) {
    let fulfilment = (
        hold.fulfilment.shipped,
        hold.fulfilment.cancelled,
        hold.fulfilment.returned,
    );
    assert_eq!(
        (hold.quantity, fulfilment),
        (kept.quantity, (kept.shipped, kept.cancelled, kept.returned))
    );
    assert_eq!(hold.pin.is_some(), kept.pin.is_some());
    if kept.state != State::Sold {
        assert_eq!(
            (hold.phase, hold.expires_at, hold.extensions_left),
            (kept.phase, kept.until, kept.extensions)
        );
    }
}

fn run(first: Rules, steps: &[Step]) {
    let rules = Rules {
        safety: first.safety.min(3),
        backorder: first.backorder.min(3),
        ..first
    };
    let mut world = World::new("model", VariantOrdinal(7));
    let create = Command::Create {
        settings: Box::new(rules.settings()),
        on_hand: 12,
        by: "model".to_owned(),
    };
    world.ask(&create, START);
    let mut model = Model {
        now: START,
        on_hand: 12,
        rules,
        sale: SaleState::Open,
        deleted: false,
        all: Vec::new(),
    };
    let mut stored = world.store();
    for (number, step) in steps.iter().enumerate() {
        if target(step).is_some() && model.all.is_empty() {
            continue;
        }
        if let Step::Wait(ms) = step {
            model.now = model.now.saturating_add(*ms);
        }
        model.sweep();
        take(step, &mut world, &mut model);
        if !model.deleted {
            expect_same(&world, &model);
        }
        world.expect_restore_equal(&stored);
        if number % 16 == 0 {
            stored = world.store();
            world.expect_replay_equal();
        }
    }
    world.expect_replay_equal();
}

fn take(step: &Step, world: &mut World, model: &mut Model) {
    if let Step::Expire(limit) = step {
        let events = world.expire(model.now, *limit);
        assert!(
            events
                .iter()
                .all(|event| matches!(event, Event::Expired(_) | Event::Closed(_)))
        );
        return;
    }
    let id = world.fresh_id(model.now);
    let Some(command) = command(step, id, model, world) else {
        return;
    };
    let elsewhere = target(step).is_some_and(|of| answered_elsewhere(step, &model.all[pick(of, &model.all)]));
    if elsewhere && matches!(step, Step::ReserveAgain(_)) {
        return;
    }
    let mut answer = said(&world.ask(&command, model.now));
    if answer == Said::NotConfirmed && is_about_ended(step, model) {
        // Dead, but its end is not logged yet: not sold either way.
        answer = Said::Ended;
    }
    if elsewhere {
        assert!(
            matches!(answer, Said::Ended | Said::Sold | Said::Repeat | Said::Missing),
            "{answer:?}"
        );
        return;
    }
    let expected = if model.deleted {
        Said::Missing
    } else {
        model.step(step, id).unwrap_or_else(|no| no)
    };
    assert_eq!(answer, expected, "{step:?}");
    model.sweep();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: STORIES, ..ProptestConfig::default() })]

    #[test]
    fn a_variant_answers_like_its_naive_model(
        first in rules(),
        steps in proptest::collection::vec(step(), STEPS),
    ) {
        run(first, &steps);
    }
}
