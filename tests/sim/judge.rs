//! The judge stands between the journal and its disk: every group that is durable goes to the one checker of the laws, before
//! anybody is answered from it. Answers are held against what it has seen; a log that is opened again against what it was.
use crate::asks::Facts;
use holdfast::{
    domain::{
        law::{Law, Violation},
        order::Status,
        time::Timestamp,
        variant::{Event, HoldStatus, View},
    },
    storage::{
        dto,
        journal::{
            AppendError, Group, Journal, LogReader, LogTrimmer, PartitionId, Position, RecordNumber, Tail,
        },
        laws::Checker,
        record::{Fact, Told},
    },
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What is known of the log and of the answers.
pub(crate) struct Judge {
    pub(crate) checker: Checker,
    /// What was told under each key.
    told: HashMap<[u8; 16], String>,
    /// The first violation; what comes behind it follows from it.
    pub(crate) broken: Option<String>,
    pub(crate) records: u64,
    /// Every record is printed.
    pub(crate) prints: bool,
    pub(crate) answers: u64,
}

/// Shared by everybody in the house.
pub(crate) type SharedJudge = Arc<Mutex<Judge>>;

impl Judge {
    pub(crate) fn new(keys_ms: i64) -> SharedJudge {
        Arc::new(Mutex::new(Self {
            checker: Checker::forgetting_keys_after(keys_ms),
            told: HashMap::new(),
            broken: None,
            records: 0,
            prints: false,
            answers: 0,
        }))
    }

    pub(crate) fn violation(&mut self, what: impl ToString) {
        self.broken.get_or_insert_with(|| what.to_string());
    }

    fn breaks(&mut self, law: Law, subject: &str, evidence: String) {
        self.violation(Violation::new(law, subject, evidence));
    }

    fn durable(&mut self, group: &Group) {
        if self.broken.is_some() {
            return;
        }
        self.records += u64::from(group.count());
        if self.prints {
            for record in group.records() {
                let turn = dto::decode_turn(&record.payload);
                println!("{} {} {turn:?}", record.number, record.logged_at_ms);
            }
        }
        if let Err(broken) = self.checker.group(group) {
            self.violation(broken);
        } else if let Err(part) = whole_lists(group) {
            self.violation(part);
        }
    }

    /// A log was opened that ends at `tail`: everything that was durable is in it, as it was.
    fn opened(&mut self, tail: &Tail, reader: &dyn LogReader) {
        let known = self.checker.behind();
        if tail.last < known.last {
            let evidence = format!("it ends at record {}, {} was durable", tail.last, known.last);
            return self.breaks(Law::AckDurable, "the log that was opened", evidence);
        }
        let from = if known.last == RecordNumber::ZERO {
            known.last.next()
        } else {
            known.last
        };
        let mut next = from;
        while next <= tail.last {
            let groups = match reader.read(PartitionId(0), next, 1 << 20) {
                Ok(groups) => groups,
                Err(error) => {
                    return self.breaks(Law::LogClosed, "the log that was opened", error.to_string());
                }
            };
            let Some(last) = groups.last().map(Group::last) else {
                return;
            };
            for group in &groups {
                if group.last() > known.last {
                    // It was on its way when the process ended, and it arrived.
                    self.durable(group);
                } else if *group.chain() != known.chain {
                    let evidence = format!("record {} has another hash than it had", known.last);
                    return self.breaks(Law::AckDurable, "the log that was opened", evidence);
                }
            }
            next = last.next();
        }
    }

    /// An answer leaves the house: what it says is durable, and under its key the same was always told.
    pub(crate) fn answered(&mut self, key: Option<([u8; 16], [u8; 8])>, text: &str, facts: &Facts) {
        self.answers += 1;
        if let Some((hash, fingerprint)) = key {
            match self.checker.has_key(&hash) {
                Some(keyed) if keyed.fingerprint == fingerprint => {}
                found => {
                    let evidence = format!("answered with {text}, its key is {found:?} in the log");
                    return self.breaks(Law::AckDurable, "a keyed request", evidence);
                }
            }
            let told = self.told.entry(hash).or_insert_with(|| text.to_owned());
            if told != text {
                let evidence = format!("it was told\n  {told}\nand then\n  {text}");
                return self.breaks(Law::OncePerKey, "a keyed request", evidence);
            }
        }
        self.expect_durable(facts);
        if let Some(view) = &facts.view {
            self.expect_conserved(view);
        }
    }

    fn expect_durable(&mut self, facts: &Facts) {
        // One that is due is shown as expired before its record says so.
        let told = facts
            .holds
            .iter()
            .filter(|hold| hold.status != HoldStatus::Expired);
        for hold in told {
            if !self.checker.has_hold(hold) {
                let evidence = format!("told, and not in the log so: {hold:?}");
                return self.breaks(Law::AckDurable, &hold.id.to_string(), evidence);
            }
        }
        let not_so = |what: String| format!("told, and not in the log so: {what}");
        if let Some(cart) = facts.carts.iter().find(|cart| !self.checker.has_cart(cart)) {
            return self.breaks(Law::AckDurable, cart.id.as_str(), not_so(format!("{cart:?}")));
        }
        if let Some(order) = facts.orders.iter().find(|order| !self.checker.has_order(order)) {
            self.breaks(Law::AckDurable, order.id.as_str(), not_so(format!("{order:?}")));
        }
    }

    fn expect_conserved(&mut self, view: &View) {
        let head = &view.head;
        let have = head.on_hand + head.settings.backorder_limit;
        let used = view.held + view.committed;
        let free = have.saturating_sub(used + head.settings.safety_stock);
        if head.tracks_stock() && (view.available != Some(free) || used > have) {
            self.breaks(
                Law::Conservation,
                &format!("variant {}", head.id),
                format!("{view:?}"),
            );
        }
    }

    /// Nothing is under way any more: holds have ended, work is done, and all sides agree.
    pub(crate) fn expect_rest(&mut self, now: Timestamp) {
        if self.broken.is_some() {
            return;
        }
        let checker = &self.checker;
        let mut stuck: Vec<String> = Vec::new();
        for variant in checker.variants().filter(|variant| variant.held() > 0) {
            stuck.extend(
                variant
                    .holds()
                    .filter(|hold| matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative))
                    .map(|hold| format!("a hold of variant {}: {hold:?}", variant.head().id)),
            );
        }
        stuck.extend(checker.bulks().map(|bulk| format!("a coordinator: {bulk:?}")));
        stuck.extend(
            checker
                .carts()
                .filter(|cart| cart.work.is_some())
                .map(|cart| format!("a cart at work: {cart:?}")),
        );
        stuck.extend(
            checker
                .orders()
                .filter(|order| {
                    order.work.is_some() || matches!(order.status, Status::Opening | Status::PendingPayment)
                })
                .map(|order| format!("an order: {order:?}")),
        );
        let agree = checker.agree(now);
        if let Some(first) = stuck.first() {
            self.violation(format!(
                "LIVENESS: {} are stuck, the first is {first}",
                stuck.len()
            ));
        } else if let Err(violation) = agree {
            self.violation(violation);
        }
    }
}

/// A journal under the eyes of the judge.
pub(crate) struct Watched {
    inner: Box<dyn Journal>,
    judge: SharedJudge,
}

impl Watched {
    pub(crate) fn new(inner: Box<dyn Journal>, judge: SharedJudge) -> Self {
        Self { inner, judge }
    }
}

impl Journal for Watched {
    fn acquire(&mut self, partition: PartitionId) -> Result<Tail, AppendError> {
        let tail = self.inner.acquire(partition)?;
        self.judge.lock().opened(&tail, &*self.inner.reader());
        Ok(tail)
    }

    fn append(
        &mut self,
        partition: PartitionId,
        expected: RecordNumber,
        group: &Group,
    ) -> Result<Position, AppendError> {
        let position = self.inner.append(partition, expected, group)?;
        self.judge.lock().durable(group);
        Ok(position)
    }

    fn last_sync(&self) -> Duration {
        self.inner.last_sync()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.inner.reader()
    }

    fn trimmer(&self) -> Arc<dyn LogTrimmer> {
        self.inner.trimmer()
    }
}

/// Every list in a group is there with all of its lines and its report. Only lists change units by lines here.
fn whole_lists(group: &Group) -> Result<(), String> {
    let mut lines = 0;
    for record in group.records() {
        let Ok(turn) = dto::decode_turn(&record.payload) else {
            return Ok(()); // The checker has said so.
        };
        match turn.fact {
            Fact::Told(Told::Imported(report)) if report.changed != lines => {
                let number = record.number;
                return Err(format!(
                    "WHOLE_LISTS broken by record {number}: {lines} lines before {report:?}"
                ));
            }
            Fact::Told(Told::Imported(_)) => lines = 0,
            Fact::Variant(fact) => lines += u64::from(fact.events.iter().any(is_line)),
            Fact::Policy { .. }
            | Fact::Bulk { .. }
            | Fact::Gate(_)
            | Fact::Told(_)
            | Fact::Cart(_)
            | Fact::Order(_) => {}
        }
    }
    if lines == 0 {
        return Ok(());
    }
    Err(format!(
        "WHOLE_LISTS broken by record {}: {lines} lines without a report",
        group.last()
    ))
}

fn is_line(event: &Event) -> bool {
    let Event::StockChanged { entry: Some(entry) } = event else {
        return false;
    };
    let reference = entry.reference.as_deref();
    reference.is_some_and(|reference| reference.starts_with("line "))
}
