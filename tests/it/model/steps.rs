//! Random steps: commands with odd figures, doubled and stale ids, and jumps of time.
use crate::world::START;
use holdfast::domain::{
    policy::{HoldLengths, Terms},
    time::MILLIS_PER_DAY,
    variant::{MAX_UNITS, Phase, ReservationMode, SaleState, Settings},
};
use proptest::{prelude::*, sample::Index};

pub(crate) const TERMS: Terms = Terms {
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

/// Lengths are multiples of this one, so that commands often meet a deadline to the millisecond.
const TICK_MS: i64 = 5_000;

#[derive(Clone, Debug)]
pub(crate) enum Step {
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
pub(crate) struct Rules {
    pub(crate) safety: u64,
    pub(crate) backorder: u64,
    pub(crate) untracked: bool,
    pub(crate) one_hold: bool,
    pub(crate) limit: Option<u32>,
    pub(crate) opens: Option<i64>,
    pub(crate) closes: Option<i64>,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let of = any::<Index>;
    let units = prop_oneof![20 => 1..6_u32, 1 => Just(0), 1 => Just(u32::MAX)];
    let some = proptest::option::of(0..5_u32);
    let ttl = prop_oneof![6 => Just(None), 6 => (1..20_i64).prop_map(|n| Some(n * TICK_MS)), 1 => Just(Some(0)), 1 => Just(Some(700_000))];
    let wait = prop_oneof![8 => 0..2_i64, 8 => (0..6_i64).prop_map(|n| n * TICK_MS), 2 => (6..40_i64).prop_map(|n| n * TICK_MS), 1 => Just(MILLIS_PER_DAY)];
    let phase = prop_oneof![Just(None), Just(Some(Phase::Cart)), Just(Some(Phase::Payment))];
    let by = prop_oneof![4 => Just(None), 4 => (1..18_i64).prop_map(|n| Some(n * TICK_MS)), 1 => Just(Some(-5)), 1 => Just(Some(i64::MAX))];
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

pub(crate) fn rules() -> impl Strategy<Value = Rules> {
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
    pub(crate) fn settings(&self) -> Settings {
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
