//! The checker: from what the client saw and the server's final state, were the laws kept?
//!
//! It uses client-observable facts only, so each answer is an interval: the server acted somewhere between sent and received. From the intervals follow
//! two counts for every moment: the units that were *surely* taken and those that were *possibly* taken. A law is
//! broken when even the kinder of the two breaks it; so an accusation is always right, and an unknown outcome
//! is counted as both.

use std::collections::HashMap;

use super::ledger::{Entry, HoldId, Operation, Outcome};
use super::schedule::seconds;

/// Slack around a deadline for the server's clock: it may be slewed by 5 % (decisions 15), and it rounds to milliseconds.
const CLOCK_SLEW_PERCENT: u64 = 5;
const CLOCK_SLACK_NS: u64 = 20_000_000;
/// Violations of one law told one by one; the others are counted.
const VIOLATIONS_TOLD_MAX: usize = 5;
/// A moment that never comes.
const NEVER: u64 = u64::MAX;

/// What the server says about a variant at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FinalStock {
    /// When it was asked, and when it had answered.
    pub(super) asked_ns: (u64, u64),
    /// Physical units.
    pub(super) on_hand: i64,
    /// Units in live holds.
    pub(super) held: i64,
    /// Units sold and not shipped.
    pub(super) committed: i64,
    /// What may still be held.
    pub(super) available: i64,
}

/// What the server says about a reservation at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinalStatus {
    /// A live hold.
    Active,
    /// Ended: sold.
    Confirmed,
    /// Ended: given back.
    Released,
    /// Ended: its time was up.
    Expired,
    /// The server does not know the id.
    Missing,
}

/// A status and when it was asked and answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct FinalHold {
    /// The reservation.
    pub(super) hold: HoldId,
    /// When it was asked, and when it had answered.
    pub(super) asked_ns: (u64, u64),
    /// The answer.
    pub(super) status: FinalStatus,
}

/// What the server's own counters gained over the run, where `/metrics` could be read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FinalCounters {
    /// Units sold twice by the server's own count.
    pub(super) oversell: Option<u64>,
    /// Reservations it granted.
    pub(super) granted: Option<u64>,
}

/// All the evidence of a run.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The client's ledger.
    pub(super) entries: &'a [Entry],
    /// Stock each variant was made with.
    pub(super) stock: &'a [u64],
    /// The server's final word on each variant.
    pub(super) variants: &'a [FinalStock],
    /// The server's final word on reservations: all of them, or an even sample.
    pub(super) holds: &'a [FinalHold],
    /// The server's counters.
    pub(super) counters: FinalCounters,
}

/// A broken law and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Violation {
    /// Name of the law.
    pub(super) law: &'static str,
    /// What shows it.
    pub(super) evidence: String,
}

/// The result.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    /// The first violations of each law.
    pub(super) violations: Vec<Violation>,
    /// How many there are.
    pub(super) violation_count: usize,
    /// Grants in the ledger.
    pub(super) grants: usize,
    /// Refusals whose legality was proven possible.
    pub(super) refusals: usize,
    /// Variants whose final state was compared.
    pub(super) variants: usize,
    /// Reservations whose final status was compared.
    pub(super) holds: usize,
    /// Requests whose outcome nobody knows.
    pub(super) unknown: usize,
}

impl Verdict {
    /// Whether every law was kept as far as anyone outside can tell.
    pub(super) fn holds_up(&self) -> bool {
        self.violation_count == 0
    }

    fn accuse(&mut self, law: &'static str, evidence: String) {
        self.violation_count += 1;
        let told = self
            .violations
            .iter()
            .filter(|violation| violation.law == law)
            .count();
        if told < VIOLATIONS_TOLD_MAX {
            self.violations.push(Violation { law, evidence });
        }
    }

    fn demand(&mut self, holds: bool, law: &'static str, evidence: impl FnOnce() -> String) {
        if !holds {
            self.accuse(law, evidence());
        }
    }
}

/// Judges a run.
pub(super) fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let stories = stories(evidence.entries, &mut verdict);
    answers_are_expected(evidence.entries, &mut verdict);
    endings_are_lawful(&stories, &mut verdict);
    let mut by_variant: Vec<Vec<&Story>> = vec![Vec::new(); evidence.stock.len()];
    for story in &stories {
        by_variant[story.variant as usize].push(story);
    }
    let mut refusals: Vec<Vec<&Entry>> = vec![Vec::new(); evidence.stock.len()];
    for entry in evidence
        .entries
        .iter()
        .filter(|entry| entry.outcome == Outcome::SoldOut)
    {
        refusals[entry.variant as usize].push(entry);
    }
    for (variant, stories) in by_variant.iter().enumerate() {
        never_oversold(variant, stories, evidence.stock[variant], &mut verdict);
        refusals_are_lawful(
            variant,
            stories,
            &refusals[variant],
            evidence.stock[variant],
            &mut verdict,
        );
    }
    for (variant, last) in evidence.variants.iter().enumerate() {
        stock_agrees(
            variant,
            &by_variant[variant],
            last,
            evidence.stock[variant],
            &mut verdict,
        );
    }
    statuses_agree(&stories, evidence.holds, &mut verdict);
    counters_agree(&stories, evidence.counters, &mut verdict);
    verdict
}

/// An attempt to end a hold.
#[derive(Debug, Clone, Copy)]
struct Ending {
    outcome: Outcome,
    sent_ns: u64,
    received_ns: u64,
}

/// All that is known of one reservation.
#[derive(Debug)]
struct Story {
    /// `None` for a reserve without an answer.
    hold: Option<HoldId>,
    variant: u32,
    sent_ns: u64,
    received_ns: u64,
    ttl_ns: u64,
    confirm: Option<Ending>,
    release: Option<Ending>,
}

impl Story {
    /// Before this it cannot have expired.
    fn earliest_expiry_ns(&self) -> u64 {
        self.sent_ns + self.ttl_ns.saturating_sub(self.clock_slack_ns())
    }

    /// After this it must have expired, if nothing else ended it.
    fn latest_expiry_ns(&self) -> u64 {
        if self.hold.is_none() {
            NEVER
        } else {
            self.received_ns + self.ttl_ns + self.clock_slack_ns()
        }
    }

    fn clock_slack_ns(&self) -> u64 {
        self.ttl_ns * CLOCK_SLEW_PERCENT / 100 + CLOCK_SLACK_NS
    }

    fn confirmed(&self) -> bool {
        self.confirm.is_some_and(|ending| ending.outcome == Outcome::Done)
    }

    fn released(&self) -> bool {
        self.release.is_some_and(|ending| ending.outcome == Outcome::Done)
    }

    fn confirm_unknown(&self) -> bool {
        self.confirm
            .is_some_and(|ending| ending.outcome == Outcome::Unknown)
    }

    fn release_unknown(&self) -> bool {
        self.release
            .is_some_and(|ending| ending.outcome == Outcome::Unknown)
    }

    /// While its unit was surely taken (held or committed).
    fn surely(&self) -> Option<(u64, u64)> {
        self.hold?;
        let until = if self.confirmed() {
            NEVER
        } else {
            // Whatever became of a release, it may have worked from the moment it left.
            self.release
                .map_or(NEVER, |release| release.sent_ns)
                .min(self.earliest_expiry_ns())
        };
        (self.received_ns < until).then_some((self.received_ns, until))
    }

    /// While its unit was possibly taken.
    fn possibly(&self) -> (u64, u64) {
        let until = if self.confirmed() || self.confirm_unknown() {
            NEVER
        } else if self.released() {
            self.release.map_or(NEVER, |release| release.received_ns)
        } else {
            self.latest_expiry_ns()
        };
        (self.sent_ns, until)
    }
}

/// Puts the lines of each reservation together.
fn stories(entries: &[Entry], verdict: &mut Verdict) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    let mut by_hold: HashMap<HoldId, usize> = HashMap::new();
    let reserves = entries
        .iter()
        .filter(|entry| entry.operation == Operation::Reserve);
    for entry in reserves.filter(|entry| matches!(entry.outcome, Outcome::Done | Outcome::Unknown)) {
        if let Some(hold) = entry.hold {
            verdict.grants += 1;
            if by_hold.insert(hold, stories.len()).is_some() {
                verdict.accuse("ONE_ID", format!("{hold} was granted twice"));
            }
        }
        stories.push(Story {
            hold: entry.hold,
            variant: entry.variant,
            sent_ns: entry.sent_ns,
            received_ns: entry.received_ns,
            ttl_ns: u64::from(entry.ttl_ms) * 1_000_000,
            confirm: None,
            release: None,
        });
    }
    for entry in entries {
        let Some(&index) = entry.hold.as_ref().and_then(|hold| by_hold.get(hold)) else {
            continue;
        };
        let ending = Ending {
            outcome: entry.outcome,
            sent_ns: entry.sent_ns,
            received_ns: entry.received_ns,
        };
        match entry.operation {
            Operation::Reserve => {}
            Operation::Confirm => stories[index].confirm = Some(ending),
            Operation::Release => stories[index].release = Some(ending),
        }
    }
    stories
}

fn answers_are_expected(entries: &[Entry], verdict: &mut Verdict) {
    for entry in entries {
        verdict.unknown += usize::from(entry.outcome == Outcome::Unknown);
        verdict.demand(entry.outcome != Outcome::Unexpected, "CONTRACT", || {
            let of = entry.hold.map_or_else(String::new, |hold| format!(" of {hold}"));
            format!(
                "{:?}{of} due at {:.3} s was answered {}",
                entry.operation,
                seconds(entry.intended_ns),
                entry.status
            )
        });
    }
}

/// ONE_TERMINAL and EXPIRY_WINDOW, from the answers to confirm and release.
fn endings_are_lawful(stories: &[Story], verdict: &mut Verdict) {
    for story in stories {
        let Some(hold) = story.hold else { continue };
        verdict.demand(!(story.confirmed() && story.released()), "ONE_TERMINAL", || {
            format!("{hold} was both confirmed and released")
        });
        if let Some(confirm) = story.confirm {
            let late = confirm.outcome == Outcome::Done && confirm.sent_ns > story.latest_expiry_ns();
            verdict.demand(!late, "EXPIRY_WINDOW", || {
                format!("{hold} was confirmed after its deadline")
            });
        }
        let only = [(story.confirm, story.release), (story.release, story.confirm)];
        for (ending, other) in only {
            let Some(ending) = ending else { continue };
            // Nobody else knows these ids: a hold that had ended before its deadline had ended by the other attempt.
            let early = ending.outcome == Outcome::Ended
                && other.is_none()
                && ending.received_ns < story.earliest_expiry_ns();
            verdict.demand(!early, "EXPIRY_WINDOW", || {
                format!("{hold} had ended before its deadline")
            });
        }
    }
}

/// NO_OVERSELL: the units surely taken at once never exceed the stock.
fn never_oversold(variant: usize, stories: &[&Story], stock: u64, verdict: &mut Verdict) {
    let mut steps: Vec<(u64, i64)> = Vec::with_capacity(2 * stories.len());
    for (from, until) in stories.iter().filter_map(|story| story.surely()) {
        steps.push((from, 1));
        steps.push((until, -1));
    }
    // At the same moment the ends come first: the sure count is a lower bound.
    steps.sort_unstable();
    let limit = i64::try_from(stock).unwrap_or(i64::MAX);
    let mut taken = 0;
    for (at_ns, step) in steps {
        taken += step;
        if taken > limit {
            let at = seconds(at_ns);
            verdict.accuse(
                "NO_OVERSELL",
                format!("variant {variant}: {taken} of {stock} units taken at {at:.6} s"),
            );
            return;
        }
    }
}

/// A refusal is lawful when all units may have been taken at some moment while it was under way.
fn refusals_are_lawful(
    variant: usize,
    stories: &[&Story],
    refusals: &[&Entry],
    stock: u64,
    verdict: &mut Verdict,
) {
    if refusals.is_empty() {
        return;
    }
    let full = FullTimes::of(stories, stock);
    for refusal in refusals {
        verdict.refusals += 1;
        verdict.demand(full.touches(refusal.sent_ns, refusal.received_ns), "UNDERSELL", || {
            let at = seconds(refusal.sent_ns);
            format!("variant {variant}: refused as sold out at {at:.6} s, when not all of {stock} units could be taken")
        });
    }
}

/// The spans in which all units of a variant were possibly taken; disjoint and in order.
#[derive(Debug)]
struct FullTimes {
    spans: Vec<(u64, u64)>,
}

impl FullTimes {
    fn of(stories: &[&Story], stock: u64) -> FullTimes {
        let mut steps: Vec<(u64, i64)> = Vec::with_capacity(2 * stories.len());
        for (from, until) in stories.iter().map(|story| story.possibly()) {
            steps.push((from, 1));
            steps.push((until, -1));
        }
        // At the same moment the beginnings come first: the possible count is an upper bound.
        steps.sort_unstable_by_key(|&(at, step)| (at, -step));
        let limit = i64::try_from(stock).unwrap_or(i64::MAX);
        if limit == 0 {
            return FullTimes {
                spans: vec![(0, NEVER)],
            };
        }
        let mut spans = Vec::new();
        let (mut taken, mut since) = (0_i64, None);
        for (at_ns, step) in steps {
            taken += step;
            match since {
                None if taken >= limit => since = Some(at_ns),
                Some(from) if taken < limit => {
                    spans.push((from, at_ns));
                    since = None;
                }
                _ => {}
            }
        }
        spans.extend(since.map(|from| (from, NEVER)));
        FullTimes { spans }
    }

    fn touches(&self, from: u64, to: u64) -> bool {
        let first = self.spans.partition_point(|&(_, until)| until < from);
        self.spans.get(first).is_some_and(|&(since, _)| since <= to)
    }
}

/// The server's final stock against what the ledger proves.
fn stock_agrees(variant: usize, stories: &[&Story], last: &FinalStock, stock: u64, verdict: &mut Verdict) {
    verdict.variants += 1;
    let (asked, answered) = last.asked_ns;
    let surely = stories.iter().filter_map(|story| story.surely());
    let least = count(
        surely
            .filter(|&(from, until)| from <= asked && until >= answered)
            .count(),
    );
    let possibly = stories.iter().map(|story| story.possibly());
    let most = count(
        possibly
            .filter(|&(from, until)| from <= answered && until >= asked)
            .count(),
    );
    let taken = last.held + last.committed;
    verdict.demand((least..=most).contains(&taken), "METRICS_TRUE", || {
        format!(
            "variant {variant}: the server counts {taken} units taken, the ledger proves {least} to {most}"
        )
    });
    let sold = count(stories.iter().filter(|story| story.confirmed()).count());
    let sold_most = sold + count(stories.iter().filter(|story| story.confirm_unknown()).count());
    verdict.demand(
        (sold..=sold_most).contains(&last.committed),
        "METRICS_TRUE",
        || {
            format!(
                "variant {variant}: the server counts {} units sold, the ledger {sold} to {sold_most}",
                last.committed
            )
        },
    );
    verdict.demand(u64::try_from(last.on_hand) == Ok(stock), "CONSERVATION", || {
        format!(
            "variant {variant}: {} units on hand of {stock}, though none was shipped",
            last.on_hand
        )
    });
    verdict.demand(taken <= last.on_hand, "NO_OVERSELL", || {
        format!("variant {variant}: {taken} units taken of {}", last.on_hand)
    });
    verdict.demand(
        last.available == (last.on_hand - taken).max(0),
        "CONSERVATION",
        || {
            format!(
                "variant {variant}: {} available of {} with {taken} taken",
                last.available, last.on_hand
            )
        },
    );
}

/// Every answered hold exists, or has ended as it should.
fn statuses_agree(stories: &[Story], holds: &[FinalHold], verdict: &mut Verdict) {
    let by_hold: HashMap<HoldId, &Story> = stories
        .iter()
        .filter_map(|story| story.hold.map(|hold| (hold, story)))
        .collect();
    for last in holds {
        let Some(story) = by_hold.get(&last.hold) else {
            continue;
        };
        verdict.holds += 1;
        let law = if last.status == FinalStatus::Missing {
            "ACK_DURABLE"
        } else {
            "ONE_TERMINAL"
        };
        verdict.demand(may_be(story, last), law, || {
            let told = (story.confirmed(), story.released());
            format!(
                "{} is {:?}; (confirmed, released) was answered {told:?}",
                last.hold, last.status
            )
        });
    }
}

fn may_be(story: &Story, last: &FinalHold) -> bool {
    let (asked, answered) = last.asked_ns;
    let open = !story.confirmed() && !story.released();
    match last.status {
        FinalStatus::Confirmed => story.confirmed() || (story.confirm_unknown() && !story.released()),
        FinalStatus::Released => story.released() || (story.release_unknown() && !story.confirmed()),
        FinalStatus::Active => open && asked <= story.latest_expiry_ns(),
        FinalStatus::Expired => open && answered >= story.earliest_expiry_ns(),
        FinalStatus::Missing => false,
    }
}

/// METRICS_TRUE: the server's counters equal what its answers said.
fn counters_agree(stories: &[Story], counters: FinalCounters, verdict: &mut Verdict) {
    if let Some(oversell) = counters.oversell {
        verdict.demand(oversell == 0, "NO_OVERSELL", || {
            format!("the server's own counter says {oversell}")
        });
    }
    if let Some(granted) = counters.granted {
        let known = stories.iter().filter(|story| story.hold.is_some()).count() as u64;
        let most = stories.len() as u64;
        verdict.demand((known..=most).contains(&granted), "METRICS_TRUE", || {
            format!("the server counts {granted} grants, the ledger {known} to {most}")
        });
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).expect("a ledger fits in memory")
}

#[cfg(test)]
mod tests;
