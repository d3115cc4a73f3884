//! What a seed draws once: limits, crowds, and how often each fault strikes. Some seeds know no crash, some little else.
use fastrand::Rng;

/// The options of one run.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    /// Requests that are made before the quiet phase.
    pub(crate) asks: u32,
    pub(crate) variants: u32,
    pub(crate) stock: u64,
    /// Requests on their way at once.
    pub(crate) crowd: usize,
    pub(crate) in_flight: usize,
    pub(crate) group_records: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) keys_in_memory: usize,
    pub(crate) idle_ms: u64,
    pub(crate) units_per_customer: Option<u32>,
    /// Parts in 1,000 of the messages of the network.
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    /// Requests without a key, in 100.
    pub(crate) unkeyed: u32,
    /// Callers who hang up, in 1,000 turns.
    pub(crate) hang_up: u32,
    /// Turns in 10,000 in which this strikes.
    pub(crate) crash: u32,
    pub(crate) disk_fault: u32,
    pub(crate) panic: u32,
    /// The longest sync, ms of the house's time.
    pub(crate) slow_sync_ms: i64,
    /// The longest the time moves in a turn, ms.
    pub(crate) pace_ms: i64,
    /// Jumps of the time by up to an hour, in 10,000 turns.
    pub(crate) jump: u32,
    /// Weights of what comes next: tasks, writer, rows, reads, requests, network, time, bells.
    pub(crate) weights: [u32; 8],
}

impl Swarm {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut rarely = |most: u32| if rng.bool() { 0 } else { rng.u32(1..=most) };
        let (lost, doubled, hang_up) = (rarely(150), rarely(150), rarely(20));
        let (crash, disk_fault, panic, jump) = (rarely(6), rarely(4), rarely(15), rarely(4));
        Self {
            asks: rng.u32(150..=900),
            variants: rng.u32(1..=6),
            stock: rng.u64(1..=30),
            crowd: rng.usize(1..=24),
            in_flight: rng.usize(8..=64),
            group_records: *rng.choice(&[1, 2, 8, 64]).expect("some"),
            segment_bytes: *rng.choice(&[16 << 10, 32 << 10, 128 << 10]).expect("some"),
            keys_in_memory: *rng.choice(&[128, 512, 100_000]).expect("some"),
            idle_ms: *rng.choice(&[1, 1_000, 60_000]).expect("some"),
            units_per_customer: rng.bool().then_some(6),
            lost,
            doubled,
            unkeyed: rng.u32(0..=40),
            hang_up,
            crash,
            disk_fault,
            panic,
            slow_sync_ms: if rng.bool() { 0 } else { rng.i64(1..=3_000) },
            pace_ms: *rng.choice(&[5, 200, 2_000, 20_000]).expect("some"),
            jump,
            weights: [
                rng.u32(10..=60),
                rng.u32(2..=20),
                rng.u32(0..=2),
                rng.u32(1..=10),
                rng.u32(2..=15),
                rng.u32(5..=25),
                rng.u32(1..=6),
                rng.u32(1..=10),
            ],
        }
    }
}
