//! `holdfast verify`: does what lies on the disk obey the laws?
//!
//! The log is walked from end to end (LOG_CLOSED), the rows are loaded and the log behind them replayed, every variant is
//! counted again, carts and orders are checked, and all three compared with each other (AGREE). Where the log still begins with
//! record 1 every law is judged at every record of it by [`Checker`], and what it makes of nothing is compared (REPLAY_EQUAL).
//!
//! It modifies as little as it can. Segment files are only read. sled writes when it opens a database, so opening the
//! stored rows completes an interrupted change, and opening a log in sled cuts an unsynced tail: both as the next start
//! would. It takes the directory's lock, so it never runs beside a server.
use super::{
    RecoverError, RecoverOptions,
    open::{Backend, JournalPlace, check_was_not_lost, each_agent, each_variant, epoch_of, load_small},
    replay::{Agents, Replay, StateDigest},
};
use crate::{
    domain::{agree::Sides, variant::Variant},
    storage::{
        agents::StoredAgent,
        data_dir::DataDir,
        dto,
        journal::{
            Anchor, ChainHash, Group, RecordNumber, TornTail,
            disk::RealDisk,
            verify::{Verified, walk_files, walk_log},
        },
        laws::{Broken, Checker},
        state::{Family, StateStore},
    },
};

/// Violations told before the rest is only counted.
const VIOLATIONS_TOLD: usize = 20;

/// What a verification saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The first record of the log.
    pub first: u64,
    /// The last record of the log.
    pub last: u64,
    /// Groups of the log.
    pub groups: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// An unsynced tail that the next start cuts.
    pub torn: Option<TornTail>,
    /// Up to where the rows have the log; 0 before the first checkpoint.
    pub checkpoint: u64,
    /// Records replayed behind it.
    pub replayed: u64,
    /// Variants counted again.
    pub variants: u64,
    /// Reservations they keep.
    pub holds: u64,
    /// Carts checked.
    pub carts: u64,
    /// Orders checked.
    pub orders: u64,
    /// Points in which holds, carts and orders do not agree; the next start mends them.
    pub mends: u64,
    /// Ended reservations in the rows.
    pub ended: u64,
    /// Idempotency keys in the rows.
    pub keys: u64,
    /// Lines of the ledger in the rows.
    pub ledger: u64,
    /// Whether the whole log was replayed from nothing and compared.
    pub compared_with_whole_log: bool,
    /// The digest of the states of variants, carts and orders.
    pub digest: [u8; 32],
    /// What is wrong, in words; empty when all is well. At most the first twenty.
    pub violations: Vec<String>,
    /// How many more there are.
    pub violations_untold: u64,
}

impl VerifyReport {
    /// Whether nothing was found.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }

    fn violation(&mut self, what: impl ToString) {
        if self.violations.len() < VIOLATIONS_TOLD {
            self.violations.push(what.to_string());
        } else {
            self.violations_untold += 1;
        }
    }
}

/// Verifies the current epoch of a data directory.
///
/// # Errors
/// What could not be read at all; broken laws are in the report.
pub fn verify(dir: &DataDir, options: &RecoverOptions) -> Result<VerifyReport, RecoverError> {
    verify_epoch(dir, options)
        .map_err(|error| error.in_data_dir(dir.root(), &dir.journal_dir(), &dir.state_dir()))
}

fn verify_epoch(dir: &DataDir, options: &RecoverOptions) -> Result<VerifyReport, RecoverError> {
    let state = StateStore::open(&dir.state_dir(), options.state)?;
    let mark = state.checkpoint();
    check_was_not_lost(dir, mark)?;
    let mut walk = Walk {
        stored: RecordNumber(mark.map_or(0, |mark| mark.number)),
        chain: mark.map(|mark| mark.chain),
        continues: None,
        tail: load_small(&state)?,
        whole: None,
        laws: None,
        broken: None,
        keys_ms: options.keys_ms,
        replayed: 0,
        error: None,
    };
    let verified = walk.log(dir, options)?;
    let mut report = VerifyReport {
        first: verified.first.0,
        last: verified.last.0,
        groups: verified.groups,
        log_bytes: verified.bytes,
        torn: verified.torn,
        checkpoint: walk.stored.0,
        replayed: walk.replayed,
        compared_with_whole_log: walk.whole.is_some(),
        ..VerifyReport::default()
    };
    judge_log(&walk, &mut report);
    if let Some(broken) = &walk.broken {
        report.violation(broken);
    }
    if let Some(error) = walk.error {
        report.violation(format!("the log cannot be replayed: {error}"));
        return Ok(report);
    }
    judge_states(&state, walk.tail, walk.whole.as_ref(), &mut report)?;
    count_rows(&state, &mut report)?;
    Ok(report)
}

/// Counts what is in the rows, with no log behind them.
///
/// # Errors
/// As [`verify`].
pub(in crate::storage) fn judge_rows(state: &StateStore) -> Result<VerifyReport, RecoverError> {
    let number = state.checkpoint().map_or(0, |mark| mark.number);
    let mut report = VerifyReport {
        last: number,
        checkpoint: number,
        ..VerifyReport::default()
    };
    judge_states(state, load_small(state)?, None, &mut report)?;
    report.ended = state.ended_len();
    report.keys = state.keys_len();
    Ok(report)
}

/// One walk over the log, for all that is asked of it.
struct Walk<'a> {
    stored: RecordNumber,
    /// The chain hash the rows end with.
    chain: Option<ChainHash>,
    /// Whether the log was seen to continue it.
    continues: Option<bool>,
    /// Rows and what comes behind them.
    tail: Replay<'a>,
    /// From nothing, if the log begins with record 1.
    whole: Option<Replay<'a>>,
    /// Judges it then, up to the first law that is broken.
    laws: Option<Checker>,
    broken: Option<Broken>,
    keys_ms: i64,
    replayed: u64,
    error: Option<RecoverError>,
}

impl Walk<'_> {
    fn log(&mut self, dir: &DataDir, options: &RecoverOptions) -> Result<Verified, RecoverError> {
        let journal = dir.journal_dir();
        let options = &options.as_found(dir)?;
        match options.backend {
            Backend::File => walk_files(
                &RealDisk,
                &journal,
                options.partition,
                epoch_of(dir),
                &mut |group| self.group(group),
            )
            .map_err(RecoverError::Open),
            Backend::Sled => {
                let place = JournalPlace {
                    dir: &journal,
                    partition: options.partition,
                    epoch: epoch_of(dir),
                    start: Anchor::GENESIS,
                    proven: self.stored,
                };
                let opened = options.journal()(place).map_err(RecoverError::Open)?;
                let reader = opened.reader();
                Ok(walk_log(&*reader, options.partition, &mut |group| {
                    self.group(group);
                })?)
            }
        }
    }

    fn group(&mut self, group: &Group) {
        if group.first() == RecordNumber(1) {
            self.whole = Some(Replay::new(None));
            self.laws = Some(Checker::forgetting_keys_after(self.keys_ms));
        }
        if let Some(laws) = &mut self.laws {
            self.broken = laws.group(group).err();
        }
        if self.broken.is_some() {
            self.laws = None;
        }
        if group.last() == self.stored {
            self.continues = Some(self.chain == Some(*group.chain()));
        } else if group.first() == self.stored.next() && self.chain.is_some() {
            self.continues = Some(self.chain == Some(*group.previous()));
        }
        if self.error.is_none() {
            self.error = self.replay(group).err();
        }
    }

    fn replay(&mut self, group: &Group) -> Result<(), RecoverError> {
        for record in group.records() {
            if let Some(whole) = &mut self.whole {
                whole.record(&record)?;
            }
            if record.number > self.stored {
                self.tail.record(&record)?;
                self.replayed += 1;
            }
        }
        Ok(())
    }
}

fn judge_log(walk: &Walk<'_>, report: &mut VerifyReport) {
    let stored = walk.stored.0;
    if report.last < stored {
        report.violation(format!(
            "LOG_CLOSED: the log ends at record {}, the stored states have everything up to record {stored}",
            report.last
        ));
    }
    if report.first > stored + 1 {
        report.violation(format!(
            "LOG_CLOSED: the log begins at record {}, the stored states end at record {stored}",
            report.first
        ));
    }
    if walk.continues == Some(false) {
        report.violation(format!(
            "LOG_CLOSED: the log does not continue the hash chain of the stored states at record {stored}"
        ));
    }
}

fn judge_states(
    state: &StateStore,
    tail: Replay<'_>,
    whole: Option<&Replay<'_>>,
    report: &mut VerifyReport,
) -> Result<(), RecoverError> {
    let mut digest = StateDigest::default();
    let mut sides = Sides::default();
    if let Some(whole) = whole {
        compare_small(&tail, whole, report);
    }
    each_variant(state, tail.variants, |variant, number| {
        report.variants += 1;
        report.holds += variant.holds().len() as u64;
        digest.add(&dto::encode_variant(&variant));
        sides.variant(&variant);
        if let Err(violation) = variant.recount() {
            report.violation(violation);
        }
        if let Some(whole) = whole {
            compare(&variant, number, whole, report);
        }
        Ok(())
    })?;
    if let Some(whole) = whole {
        let replayed = whole.variants.values();
        let expected = replayed.filter(|(variant, _)| variant.head().exists()).count() as u64;
        same_number("variants", report.variants, expected, report);
    }
    let again = whole.map(|whole| &whole.carts);
    report.carts = judge_agents(state, tail.carts, again, &mut digest, report, |cart| {
        sides.cart(cart)
    })?;
    let again = whole.map(|whole| &whole.orders);
    report.orders = judge_agents(state, tail.orders, again, &mut digest, report, |order| {
        sides.order(order);
    })?;
    report.digest = digest.finish();
    report.mends = sides.reconcile(tail.decided_at).len() as u64;
    Ok(())
}

/// Carts or orders; how many there are.
fn judge_agents<A: StoredAgent>(
    state: &StateStore,
    replayed: Agents<A>,
    whole: Option<&Agents<A>>,
    digest: &mut StateDigest,
    report: &mut VerifyReport,
    mut note: impl FnMut(&A),
) -> Result<u64, RecoverError> {
    let mut found = 0;
    each_agent(state, replayed, |agent: &A, number| {
        found += 1;
        digest.add(&agent.encode());
        note(agent);
        if let Err(violation) = agent.check() {
            report.violation(violation);
        }
        if let Some(whole) = whole {
            let again = whole.get(&agent.bits()).and_then(Option::as_ref);
            if !again.is_some_and(|(again, last)| again == agent && *last == number) {
                report.violation(format!(
                    "REPLAY_EQUAL: {} {:032x} differs from the replay of the whole log",
                    A::NOUN,
                    agent.bits()
                ));
            }
        }
        Ok(())
    })?;
    if let Some(whole) = whole {
        let expected = whole.values().flatten().count() as u64;
        same_number(&format!("{}s", A::NOUN), found, expected, report);
    }
    Ok(found)
}

fn same_number(what: &str, found: u64, expected: u64, report: &mut VerifyReport) {
    if found != expected {
        report.violation(format!(
            "REPLAY_EQUAL: {found} {what} from the stored states, {expected} from the whole log"
        ));
    }
}

fn compare_small(tail: &Replay<'_>, whole: &Replay<'_>, report: &mut VerifyReport) {
    if tail.gate != whole.gate {
        report.violation("REPLAY_EQUAL: the rules differ from those of the whole log");
    }
    if tail.policies != whole.policies {
        report.violation("REPLAY_EQUAL: policies differ from those of the whole log");
    }
    if tail.bulks != whole.bulks {
        report.violation("REPLAY_EQUAL: unfinished coordinators differ from those of the whole log");
    }
    if tail.next_ordinal != whole.next_ordinal {
        report.violation("REPLAY_EQUAL: the next variant's ordinal differs from that of the whole log");
    }
}

fn compare(variant: &Variant, number: u64, whole: &Replay<'_>, report: &mut VerifyReport) {
    let head = variant.head();
    let replayed = whole.variants.get(&head.ordinal);
    if !replayed.is_some_and(|(again, last)| again == variant && *last == number) {
        report.violation(format!(
            "REPLAY_EQUAL: variant {} of store {} differs from the replay of the whole log",
            head.id, head.store
        ));
    }
}

fn count_rows(state: &StateStore, report: &mut VerifyReport) -> Result<(), RecoverError> {
    let count = |family| -> Result<u64, RecoverError> {
        let mut rows = 0;
        for row in state.scan(family, &[], None, usize::MAX) {
            row?;
            rows += 1;
        }
        Ok(rows)
    };
    // Every page is read, whatever it holds.
    for family in Family::ALL {
        count(family)?;
    }
    report.ended = state.ended_len();
    report.keys = state.keys_len();
    report.ledger = count(Family::Ledger)?;
    Ok(())
}
