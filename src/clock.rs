//! The house clock: the only reader of wall time.
//!
//! Everything that decides asks [`Clock::now`]. Behind it stands either the [`SystemClock`] of a running server or a
//! [`ManualClock`] that a test or a simulation turns by hand. Both never decrease, so that a deadline once passed stays
//! passed. What only measures (a histogram, a progress line) uses a [`Stopwatch`] and decides nothing.
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::domain::time::Timestamp;

/// Waits without deciding anything: a pause between two tries of something that the machine refused.
pub async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

/// How far the last logged moment may lie in the future of the wall clock before a start is refused, in milliseconds.
pub const MAX_START_GAP_MS: i64 = 60_000;

/// The house clock gains or loses at most one part in this many against the monotonic clock (5 %).
const SLEW_DIVISOR: i64 = 20;

/// How often the wall clock is read again while the house clock is in use, in microseconds of monotonic time.
const WALL_CHECK_US: i64 = 250_000;

/// The longest single nap of [`Clock::sleep_until`]; a longer sleep is made of several.
const LONGEST_NAP: Duration = Duration::from_secs(24 * 60 * 60);

/// A cheap-clone handle to the time everybody in the house agrees on.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System(Arc<SystemClock>),
    Manual(ManualClock),
}

impl Clock {
    /// The current moment. Never less than any moment this clock has told before, on any thread.
    #[track_caller]
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::System(clock) => clock.now(),
            Source::Manual(clock) => clock.now(),
        }
    }

    /// Waits until [`Clock::now`] has reached `target`; ready at once when it already has.
    ///
    /// A wake-up is a hint: who is woken judges by `now`, not by the tick. A manual clock wakes when it is turned and
    /// never if it is dropped before.
    pub fn sleep_until(&self, target: Timestamp) -> impl Future<Output = ()> + Send + 'static + use<> {
        let source = self.source.clone();
        async move {
            match source {
                Source::System(clock) => clock.sleep_until(target).await,
                Source::Manual(clock) => clock.sleep_until(target).await,
            }
        }
    }
}

impl From<SystemClock> for Clock {
    fn from(clock: SystemClock) -> Self {
        Self {
            source: Source::System(Arc::new(clock)),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self {
            source: Source::Manual(clock),
        }
    }
}

/// The clock of a running server (decisions 15): the wall time at start plus the monotonic time since, slewed towards
/// the wall clock by at most 5 % and never stepped.
///
/// A wall clock that jumps (an operator, a bad time server, a resumed virtual machine) therefore neither ends holds
/// early all at once nor keeps them for ever.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    slew: Mutex<Slew>,
}

impl SystemClock {
    /// Starts at the wall time, or at the last logged moment when that is later.
    ///
    /// # Errors
    /// [`ClockGap`] when the wall clock is more than [`MAX_START_GAP_MS`] behind `last_logged` and `accept` is false:
    /// then one of the two is wrong, and every deadline would be judged by the wrong one.
    pub fn start(last_logged: Option<Timestamp>, accept: bool) -> Result<Self, ClockGap> {
        let wall_us = wall_us();
        let house_us = first_moment_us(wall_us, last_logged, accept)?;
        Ok(Self {
            started: Instant::now(),
            slew: Mutex::new(Slew::new(house_us, wall_us)),
        })
    }

    /// The current moment.
    pub fn now(&self) -> Timestamp {
        let mut slew = self.slew.lock();
        // Read under the lock: moments then leave in the order of their readings.
        let elapsed_us = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let house_us = slew.read(elapsed_us, wall_us);
        Timestamp::from_millis(house_us.div_euclid(1000))
    }

    async fn sleep_until(&self, target: Timestamp) {
        loop {
            let missing_ms = target.since(self.now());
            let Some(nap) = nap(missing_ms) else { return };
            tokio::time::sleep(nap).await;
        }
    }
}

/// A wall clock that lies too far behind the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the wall clock is {gap_ms} ms behind the last record of the log: one of them is wrong \
     (set the clock, or accept the log's time with --accept-clock)"
)]
pub struct ClockGap {
    /// What the wall clock says.
    pub wall: Timestamp,
    /// The logged time of the newest record.
    pub last_logged: Timestamp,
    /// How far the wall clock lies behind, in milliseconds.
    pub gap_ms: i64,
}

fn first_moment_us(wall_us: i64, last_logged: Option<Timestamp>, accept: bool) -> Result<i64, ClockGap> {
    let Some(last_logged) = last_logged else {
        return Ok(wall_us);
    };
    let wall = Timestamp::from_millis(wall_us.div_euclid(1000));
    let gap_ms = last_logged.since(wall);
    if gap_ms > MAX_START_GAP_MS && !accept {
        return Err(ClockGap {
            wall,
            last_logged,
            gap_ms,
        });
    }
    Ok(wall_us.max(last_logged.as_millis().saturating_mul(1000)))
}

/// The arithmetic of the slew, free of readings so that tests can inject them. All values are microseconds.
#[derive(Debug)]
struct Slew {
    /// Monotonic reading of the last comparison with the wall clock.
    anchor_us: i64,
    /// House time at that reading.
    house_us: i64,
    /// How far the wall was ahead (positive) or behind then: all that may be corrected until the next comparison.
    error_us: i64,
}

impl Slew {
    fn new(house_us: i64, wall_us: i64) -> Self {
        Self {
            anchor_us: 0,
            house_us,
            error_us: wall_us.saturating_sub(house_us),
        }
    }

    /// House time at the monotonic reading `elapsed_us`; looks at the wall clock now and then.
    fn read(&mut self, elapsed_us: i64, wall_us: impl FnOnce() -> i64) -> i64 {
        let since_us = elapsed_us.saturating_sub(self.anchor_us).max(0);
        let most_us = since_us / SLEW_DIVISOR;
        // At most 5 % of the time passed, and never past the wall: so the sum grows with `since_us`.
        let correction_us = self.error_us.clamp(-most_us, most_us);
        let house_us = self
            .house_us
            .saturating_add(since_us)
            .saturating_add(correction_us);
        if since_us >= WALL_CHECK_US {
            *self = Self {
                anchor_us: elapsed_us,
                house_us,
                error_us: wall_us().saturating_sub(house_us),
            };
        }
        house_us
    }
}

/// How long to nap before looking again, `None` when nothing is missing. Shorter than what is missing, because the
/// house clock may run up to 5 % fast; the remainder is napped in ever smaller steps down to a millisecond.
fn nap(missing_ms: i64) -> Option<Duration> {
    let missing_ms = u64::try_from(missing_ms).ok().filter(|ms| *ms > 0)?;
    let nap_ms = (missing_ms.saturating_mul(20) / 21).max(1);
    Some(Duration::from_millis(nap_ms).min(LONGEST_NAP))
}

/// Wall time in microseconds since the epoch; negative before 1970.
fn wall_us() -> i64 {
    let micros = |length: Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

/// A clock that stands still until somebody turns it. Clones show the same time.
///
/// Turning it and ringing for those who sleep are two things, as on any machine: a bell that rings late is a test's own
/// doing. Bells ring in the order of their moments, those of one moment in the order in which they were set.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<Manual>>,
}

#[derive(Debug)]
struct Manual {
    now: Timestamp,
    /// The bells that were set so far: tells those of one moment apart.
    set: u64,
    bells: BTreeMap<(Timestamp, u64), Waker>,
    reader: Option<Reader>,
}

/// Told from which line of the source each reading is taken, before it is.
#[derive(Clone)]
struct Reader(Arc<dyn Fn(&'static Location<'static>) + Send + Sync>);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        let state = Manual {
            now: start,
            set: 0,
            bells: BTreeMap::new(),
            reader: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The moment it shows.
    #[track_caller]
    pub fn now(&self) -> Timestamp {
        let reader = self.state.lock().reader.clone();
        if let Some(Reader(read)) = reader {
            read(Location::caller());
        }
        self.state.lock().now
    }

    /// Turns it forward by `ms` milliseconds and wakes the sleepers that are due. Nothing moves for a negative length.
    pub fn advance(&self, ms: i64) {
        self.turn(ms);
        self.ring(usize::MAX);
    }

    /// Turns it to `target` and wakes the sleepers that are due. Like any clock of the house it never goes back: an
    /// earlier `target` changes nothing.
    pub fn set(&self, target: Timestamp) {
        {
            let mut state = self.state.lock();
            state.now = state.now.max(target);
        }
        self.ring(usize::MAX);
    }

    /// Turns it forward by `ms` milliseconds and wakes nobody yet, see [`ManualClock::ring`].
    pub fn turn(&self, ms: i64) {
        let mut state = self.state.lock();
        state.now = state.now.saturating_add(ms.max(0));
    }

    /// Wakes at most `most` of the sleepers that are due; how many.
    pub fn ring(&self, most: usize) -> usize {
        let mut rung = 0;
        while rung < most {
            let bell = {
                let mut state = self.state.lock();
                let now = state.now;
                let due = state.bells.first_entry().filter(|bell| bell.key().0 <= now);
                due.map(|bell| bell.remove())
            };
            let Some(waker) = bell else { break };
            waker.wake();
            rung += 1;
        }
        rung
    }

    /// When the next sleeper is to be woken.
    pub fn next_bell(&self) -> Option<Timestamp> {
        self.state.lock().bells.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many tasks sleep on this clock or its clones: what a test waits for before it turns the clock.
    pub fn sleepers(&self) -> usize {
        self.state.lock().bells.len()
    }

    /// Has `read` told from where each reading is taken, before it is: a place where whoever reads the time can be stopped.
    pub fn watch(&self, read: impl Fn(&'static Location<'static>) + Send + Sync + 'static) {
        self.state.lock().reader = Some(Reader(Arc::new(read)));
    }

    fn sleep_until(&self, target: Timestamp) -> Sleep {
        Sleep {
            clock: self.clone(),
            target,
            bell: None,
        }
    }
}

/// Somebody who waits for a manual clock.
#[derive(Debug)]
struct Sleep {
    clock: ManualClock,
    target: Timestamp,
    /// The place of its bell among those of one moment.
    bell: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.state.lock();
        if state.now >= self.target {
            return Poll::Ready(());
        }
        let place = *self.bell.get_or_insert_with(|| {
            state.set += 1;
            state.set
        });
        state.bells.insert((self.target, place), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.bell {
            self.clock.state.lock().bells.remove(&(self.target, place));
        }
    }
}

/// Measures a length for metrics and progress lines. It must not take part in a decision: those ask the [`Clock`].
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// Starts measuring.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time since the start in seconds: what histograms take.
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3_600 * SECOND;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// Reads the slew every 100 ms of monotonic time and checks that it never decreases and never runs faster or
    /// slower than 5 %.
    fn run(slew: &mut Slew, from_us: i64, upto_us: i64, wall_us: impl Fn(i64) -> i64) -> i64 {
        let mut last = slew.read(from_us, || wall_us(from_us));
        for elapsed in (from_us + 100_000..=upto_us).step_by(100_000) {
            let now = slew.read(elapsed, || wall_us(elapsed));
            let step = now - last;
            assert!((95_000..=105_000).contains(&step), "100 ms became {step} us");
            last = now;
        }
        last
    }

    #[test]
    fn agrees_with_a_good_wall_clock() {
        let mut slew = Slew::new(0, 0);
        assert_eq!(run(&mut slew, 0, 10 * SECOND, |elapsed| elapsed), 10 * SECOND);
    }

    #[test]
    fn a_wall_clock_stepped_forward_is_caught_up_at_five_percent() {
        let mut slew = Slew::new(0, 0);
        let wall = |elapsed| {
            if elapsed < SECOND {
                elapsed
            } else {
                elapsed + 10 * SECOND
            }
        };
        let after_a_minute = run(&mut slew, 0, 61 * SECOND, wall);
        assert!(
            after_a_minute < 64 * SECOND + SECOND / 10,
            "ran {after_a_minute} us in 61 s"
        );
        // 10 s at 5 % take 200 s; then both agree exactly.
        assert_eq!(
            run(&mut slew, 61 * SECOND, 300 * SECOND, wall),
            wall(300 * SECOND)
        );
    }

    #[test]
    fn a_wall_clock_stepped_back_slows_the_house_and_never_turns_it_back() {
        let mut slew = Slew::new(HOUR, HOUR);
        let wall = |elapsed| HOUR + elapsed - 10 * SECOND;
        let after_a_minute = run(&mut slew, 0, 60 * SECOND, wall);
        assert!(after_a_minute > HOUR + 56 * SECOND);
        assert_eq!(
            run(&mut slew, 60 * SECOND, 300 * SECOND, wall),
            wall(300 * SECOND)
        );
    }

    #[test]
    fn a_long_silence_corrects_no_more_than_was_seen() {
        let mut slew = Slew::new(0, 0);
        // Nobody asked for an hour, in which the wall clock jumped by a day: the house still shows one hour.
        assert_eq!(slew.read(HOUR, || 25 * HOUR), HOUR);
        assert_eq!(slew.read(HOUR + 20 * SECOND, || 25 * HOUR), HOUR + 21 * SECOND);
    }

    #[test]
    fn starts_at_the_wall_or_at_the_log_whichever_is_later() {
        assert_eq!(first_moment_us(5_000_000, None, false), Ok(5_000_000));
        assert_eq!(first_moment_us(5_000_000, Some(at(4_000)), false), Ok(5_000_000));
        assert_eq!(first_moment_us(5_000_000, Some(at(6_000)), false), Ok(6_000_000));
    }

    #[test]
    fn a_gap_above_sixty_seconds_is_refused_unless_accepted() {
        assert_eq!(first_moment_us(0, Some(at(60_000)), false), Ok(60_000_000));
        let gap = ClockGap {
            wall: at(0),
            last_logged: at(60_001),
            gap_ms: 60_001,
        };
        assert_eq!(first_moment_us(0, Some(at(60_001)), false), Err(gap));
        assert_eq!(first_moment_us(0, Some(at(60_001)), true), Ok(60_001_000));
    }

    #[test]
    fn a_future_last_record_holds_the_system_clock_up() {
        let wall = Timestamp::from_millis(wall_us().div_euclid(1000));
        let last_logged = wall.saturating_add(30_000);
        let clock = Clock::from(SystemClock::start(Some(last_logged), false).unwrap());
        assert!(clock.now() >= last_logged);
        assert!(SystemClock::start(Some(wall.saturating_add(120_000)), false).is_err());
        assert!(SystemClock::start(Some(wall.saturating_add(120_000)), true).is_ok());
    }

    #[test]
    fn naps_stay_below_what_a_fast_house_clock_needs() {
        assert_eq!(nap(0), None);
        assert_eq!(nap(-5), None);
        assert_eq!(nap(1), Some(Duration::from_millis(1)));
        assert_eq!(nap(2_100), Some(Duration::from_millis(2_000)));
        assert_eq!(nap(i64::MAX), Some(LONGEST_NAP));
    }

    #[tokio::test]
    async fn the_system_clock_wakes_no_earlier_than_asked() {
        let clock = Clock::from(SystemClock::start(None, false).unwrap());
        let target = clock.now().saturating_add(20);
        clock.sleep_until(target).await;
        assert!(clock.now() >= target);
    }

    #[tokio::test]
    async fn a_turned_clock_wakes_those_who_are_due() {
        let hand = ManualClock::new(at(1_000));
        let clock = Clock::from(hand.clone());
        let early = tokio::spawn(clock.sleep_until(at(2_000)));
        let late = tokio::spawn(clock.sleep_until(at(3_000)));
        while hand.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        hand.advance(1_000);
        early.await.unwrap();
        assert!(!late.is_finished());
        hand.set(at(5_000));
        late.await.unwrap();
        assert_eq!(clock.now(), at(5_000));
        clock.sleep_until(at(5_000)).await;
    }

    #[test]
    fn a_manual_clock_never_goes_back() {
        let hand = ManualClock::new(at(10));
        hand.set(at(5));
        hand.advance(-5);
        assert_eq!(hand.now(), at(10));
        hand.advance(i64::MAX);
        assert_eq!(hand.now(), at(i64::MAX));
    }
}
