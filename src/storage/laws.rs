//! The laws over a whole log, judged record by record: the one checker behind `verify`, the audits of tests and the simulation.
//!
//! It replays the log from its first record and holds each event against what was before. What it finds names the law, the
//! record, and how the entity stood before and after. It believes nothing that the house says of itself: states are what the
//! events make, and ends, payments and keys are counted here.
//!
//! | law | how it is judged |
//! |---|---|
//! | LOG_CLOSED | groups continue each other by number, by hash and in time; records can be read |
//! | NO_OVERSELL, CONSERVATION | after every event by the running sums, after every record by counting again |
//! | ONE_TERMINAL | a reservation that has ended ends no second time and is not changed; an order is decided once |
//! | EXPIRY_WINDOW | nothing expires before its deadline or out of order; nothing is sold at or behind it |
//! | ONCE_PER_KEY | no key is in two records as long as it is remembered |
//! | REPLAY_EQUAL | revisions follow each other; [`Checker::compare`] holds a recovered house against the replay |
//! | AGREE | carts and orders by themselves after every record; all three by [`Checker::agree`], where nobody is working |
//! | ACK_DURABLE | who was answered asks [`Checker::has_key`] and [`Checker::has_hold`] |
//!
//! Memory: the entities, and some 50 bytes for each key and each ended reservation of the log.
use super::{
    agents::StoredAgent,
    dto,
    journal::{Anchor, Group, Record, RecordNumber},
    record::{CartFact, Fact, OrderFact, Turn, VariantFact},
    recovery::{Recovered, RecoveredAgent},
};
use crate::domain::{
    agree::Sides,
    bulk::{self, Bulk},
    cart::{Cart, Happened},
    ids::{BulkId, ReservationId, VariantOrdinal},
    key::KeyMark,
    law::{Law, Violation},
    order::{self, Order},
    time::Timestamp,
    variant::{EndReason, Event, Hold, HoldStatus, Variant},
};
use hashbrown::HashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A law broken by a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{violation}\n  record {record}\n  before: {before}\n  after:  {after}")]
pub struct Broken {
    /// The law, who broke it, and the figures.
    pub violation: Violation,
    /// The record that shows it.
    pub record: RecordNumber,
    /// How its entity stood before.
    pub before: String,
    /// How it stands after.
    pub after: String,
}

/// How a variant stood, with the reservation an event is about.
struct Stood {
    revision: u64,
    on_hand: u64,
    held: u64,
    committed: u64,
    hold: Option<Hold>,
}

impl Stood {
    fn of(variant: &Variant, event: &Event) -> Self {
        let head = variant.head();
        Self {
            revision: head.revision,
            on_hand: head.on_hand,
            held: variant.held(),
            committed: variant.committed(),
            hold: event.hold().and_then(|hold| variant.hold(hold.id)).cloned(),
        }
    }
}

impl fmt::Display for Stood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            revision,
            on_hand,
            held,
            committed,
            hold,
        } = self;
        write!(
            f,
            "revision {revision}, on hand {on_hand}, held {held}, committed {committed}"
        )?;
        match hold {
            Some(hold) => write!(f, ", {hold:?}"),
            None => write!(f, ", no such reservation"),
        }
    }
}

/// The judge of one log.
#[derive(Default)]
pub struct Checker {
    behind: Option<Anchor>,
    last: RecordNumber,
    variants: BTreeMap<VariantOrdinal, (Variant, u64)>,
    carts: BTreeMap<u128, (Cart, u64)>,
    orders: BTreeMap<u128, (Order, u64)>,
    bulks: BTreeMap<BulkId, Bulk>,
    /// How reservations ended.
    ended: BTreeMap<ReservationId, EndReason>,
    /// Every reservation that ever was one, with its latest version.
    versions: HashMap<ReservationId, u32>,
    /// The latest revision of every cart and order that ever was.
    revisions: HashMap<u128, u64>,
    keys: HashMap<[u8; 16], Keyed>,
    /// What happened to an order at most once.
    decided: BTreeSet<(u128, &'static str)>,
    decided_at: Option<Timestamp>,
    /// How long a key is remembered, ms; for ever without.
    keys_ms: Option<i64>,
}

/// A key of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Route and body.
    pub fingerprint: [u8; 8],
    /// Its record.
    pub number: RecordNumber,
    /// When that was logged.
    pub logged_at_ms: i64,
}

impl Checker {
    /// A judge of a log in which a key may come again so long after its record, ms.
    pub fn forgetting_keys_after(keys_ms: i64) -> Self {
        Self {
            keys_ms: Some(keys_ms),
            ..Self::default()
        }
    }

    // --- the log ---

    /// The next group.
    ///
    /// # Errors
    /// The first law it breaks.
    pub fn group(&mut self, group: &Group) -> Result<(), Broken> {
        let behind = self.behind.unwrap_or(Anchor::GENESIS);
        let closed = group.first() == behind.last.next()
            && *group.previous() == behind.chain
            && group.logged_at_ms() >= behind.logged_at_ms;
        if !closed {
            let (first, at) = (group.first(), group.logged_at_ms());
            let evidence = format!(
                "a group from record {first} on, logged at {at}, does not continue the one before it"
            );
            let violation = Violation::new(Law::LogClosed, "the log", evidence);
            let before = format!("record {}, logged at {}", behind.last, behind.logged_at_ms);
            return Err(Broken {
                violation,
                record: first,
                before,
                after: format!("record {}", group.last()),
            });
        }
        for record in group.records() {
            self.record(&record)?;
        }
        self.behind = Some(Anchor::after(group));
        Ok(())
    }

    /// The next record.
    ///
    /// # Errors
    /// The first law it breaks.
    pub fn record(&mut self, record: &Record) -> Result<Turn, Broken> {
        let unreadable = |evidence: String| Broken {
            violation: Violation::new(Law::LogClosed, "the log", evidence),
            record: record.number,
            before: format!("record {}", self.last),
            after: String::new(),
        };
        if record.number != self.last.next() {
            return Err(unreadable(format!("record {} comes next", record.number)));
        }
        let turn = dto::decode_turn(&record.payload).map_err(|error| unreadable(error.to_string()))?;
        self.last = record.number;
        self.decided_at = self.decided_at.max(Some(turn.at));
        if let Some(key) = &turn.key {
            self.key(record, key)?;
        }
        match &turn.fact {
            Fact::Variant(fact) => self.variant(record.number, turn.at, fact)?,
            Fact::Cart(fact) => self.cart(record.number, fact)?,
            Fact::Order(fact) => self.order(record.number, fact)?,
            Fact::Bulk { id, event } => self.bulk(record.number, turn.at, *id, event)?,
            Fact::Policy { .. } | Fact::Gate(_) | Fact::Told(_) => {}
        }
        Ok(turn)
    }

    fn key(&mut self, record: &Record, key: &KeyMark) -> Result<(), Broken> {
        let keyed = Keyed {
            fingerprint: key.fingerprint,
            number: record.number,
            logged_at_ms: record.logged_at_ms,
        };
        let Some(earlier) = self.keys.insert(key.hash, keyed) else {
            return Ok(());
        };
        let forgotten = |ms: i64| keyed.logged_at_ms.saturating_sub(earlier.logged_at_ms) >= ms;
        if self.keys_ms.is_some_and(forgotten) {
            return Ok(());
        }
        Err(Broken {
            violation: Violation::new(
                Law::OncePerKey,
                "a key",
                format!("it is in the records {} and {}", earlier.number, keyed.number),
            ),
            record: record.number,
            before: format!("{earlier:?}"),
            after: format!("{keyed:?}"),
        })
    }

    // --- variants ---

    fn variant(&mut self, record: RecordNumber, at: Timestamp, fact: &VariantFact) -> Result<(), Broken> {
        if let Some((store, id)) = &fact.named {
            let unborn = Variant::unborn(store.clone(), id.clone(), fact.ordinal);
            self.variants.insert(fact.ordinal, (unborn, 0));
        }
        let broken = |violation, before: &dyn fmt::Display, after: &dyn fmt::Display| Broken {
            violation,
            record,
            before: before.to_string(),
            after: after.to_string(),
        };
        let Some((variant, number)) = self.variants.get_mut(&fact.ordinal) else {
            let violation = Violation::new(
                Law::ReplayEqual,
                format!("variant {}", fact.ordinal.0),
                "it was never created",
            );
            return Err(broken(violation, &"", &""));
        };
        let mut expired: Option<Timestamp> = None;
        for event in &fact.events {
            let before = Stood::of(variant, event);
            let judged = in_window(variant, event, at, &mut expired)
                .and_then(|()| end(&mut self.ended, event))
                .and_then(|()| {
                    variant.apply(event, at);
                    variant.check()
                });
            if let Some(hold) = event.hold() {
                self.versions.insert(hold.id, hold.version);
            }
            judged.map_err(|violation| {
                let after = Stood::of(variant, event);
                broken(violation, &before, &format!("{after}, by {event:?}"))
            })?;
        }
        *number = record.0;
        let judged = variant.recount().and_then(|()| {
            let revision = variant.head().revision;
            if revision == fact.revision {
                return Ok(());
            }
            let evidence = format!("revision {revision}, its record says {}", fact.revision);
            let subject = format!("variant {}", variant.head().id);
            Err(Violation::new(Law::ReplayEqual, subject, evidence))
        });
        judged.map_err(|violation| broken(violation, &"", &format!("{variant:?}")))?;
        if variant.head().deleted {
            self.variants.remove(&fact.ordinal);
        }
        Ok(())
    }

    // --- carts, orders, coordinators ---

    fn cart(&mut self, record: RecordNumber, fact: &CartFact) -> Result<(), Broken> {
        let (after, bits) = (&fact.cart, fact.cart.bits());
        let before = self.carts.get(&bits).map(|(cart, _)| cart);
        let judged = follows(
            "cart",
            &after.id,
            before.map_or(0, |cart| cart.revision),
            after.revision,
        )
        .and_then(|()| after.check());
        judged.map_err(|violation| Broken {
            violation,
            record,
            before: format!("{before:?}"),
            after: format!("{:?}, {after:?}", fact.happened),
        })?;
        self.revisions.insert(bits, after.revision);
        if fact.happened.contains(&Happened::Forgotten) {
            self.carts.remove(&bits);
        } else {
            self.carts.insert(bits, (after.clone(), record.0));
        }
        Ok(())
    }

    fn order(&mut self, record: RecordNumber, fact: &OrderFact) -> Result<(), Broken> {
        let (after, bits) = (&fact.order, fact.order.bits());
        let before = self.orders.get(&bits).map(|(order, _)| order);
        let judged = follows(
            "order",
            &after.id,
            before.map_or(0, |order| order.revision),
            after.revision,
        )
        .and_then(|()| after.check())
        .and_then(|()| decide(&mut self.decided, fact));
        judged.map_err(|violation| Broken {
            violation,
            record,
            before: format!("{before:?}"),
            after: format!("{:?}, {after:?}", fact.happened),
        })?;
        self.revisions.insert(bits, after.revision);
        self.orders.insert(bits, (after.clone(), record.0));
        Ok(())
    }

    fn bulk(
        &mut self,
        record: RecordNumber,
        at: Timestamp,
        id: BulkId,
        event: &bulk::Event,
    ) -> Result<(), Broken> {
        let before = self.bulks.get(&id).cloned();
        let fits = match event {
            bulk::Event::Intended(plan) => {
                let earlier = self.bulks.insert(id, Bulk::intended(id, (**plan).clone()));
                earlier.is_none()
            }
            bulk::Event::Decided { .. } => self
                .bulks
                .get_mut(&id)
                .map(|bulk| bulk.apply(event, at))
                .is_some(),
            bulk::Event::Finished => self.bulks.remove(&id).is_some(),
        };
        if fits {
            return Ok(());
        }
        let evidence = "it intends, decides and finishes once each, in this order";
        Err(Broken {
            violation: Violation::new(Law::OneTerminal, format!("coordinator {id}"), evidence),
            record,
            before: format!("{before:?}"),
            after: format!("{event:?}"),
        })
    }

    // --- what is known now ---

    /// The last record.
    pub fn last(&self) -> RecordNumber {
        self.last
    }

    /// The point behind the last group; the hash in it stands for every byte of the log.
    pub fn behind(&self) -> Anchor {
        self.behind.unwrap_or(Anchor::GENESIS)
    }

    /// The latest moment a record was decided at.
    pub fn decided_at(&self) -> Option<Timestamp> {
        self.decided_at
    }

    /// Every variant that was not deleted.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.variants.values().map(|(variant, _)| variant)
    }

    /// Every cart that was not forgotten.
    pub fn carts(&self) -> impl Iterator<Item = &Cart> {
        self.carts.values().map(|(cart, _)| cart)
    }

    /// Every order.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.orders.values().map(|(order, _)| order)
    }

    /// The coordinators that have not finished.
    pub fn bulks(&self) -> impl Iterator<Item = &Bulk> {
        self.bulks.values()
    }

    /// The record that has this key.
    pub fn has_key(&self, hash: &[u8; 16]) -> Option<Keyed> {
        self.keys.get(hash).copied()
    }

    /// Whether the log has this version of a reservation, or a later one.
    pub fn has_hold(&self, hold: &Hold) -> bool {
        self.versions
            .get(&hold.id)
            .is_some_and(|version| *version >= hold.version)
    }

    /// Whether the log has this revision of a cart, or a later one.
    pub fn has_cart(&self, cart: &Cart) -> bool {
        self.has_revision(cart.bits(), cart.revision)
    }

    /// Whether the log has this revision of an order, or a later one.
    pub fn has_order(&self, order: &Order) -> bool {
        self.has_revision(order.bits(), order.revision)
    }

    fn has_revision(&self, bits: u128, revision: u64) -> bool {
        self.revisions.get(&bits).is_some_and(|known| *known >= revision)
    }

    /// AGREE between holds, carts and orders. To be asked where no saga is in flight.
    ///
    /// # Errors
    /// What they do not agree about, first of all.
    pub fn agree(&self, now: Timestamp) -> Result<(), Violation> {
        let mut sides = Sides::default();
        self.variants().for_each(|variant| sides.variant(variant));
        self.carts().for_each(|cart| sides.cart(cart));
        self.orders().for_each(|order| sides.order(order));
        let mends = sides.reconcile(now);
        match mends.first() {
            None => Ok(()),
            Some(first) => {
                let evidence = format!("{} points, the first to be mended by {first:?}", mends.len());
                Err(Violation::new(Law::Agree, "holds, carts and orders", evidence))
            }
        }
    }

    /// REPLAY_EQUAL: a recovered house is what the log says.
    ///
    /// # Errors
    /// The first entity that differs.
    pub fn compare(&self, recovered: &Recovered) -> Result<(), Violation> {
        let differs =
            |subject: &str, evidence: String| Err(Violation::new(Law::ReplayEqual, subject, evidence));
        if recovered.tail.last != self.last {
            let evidence = format!("it ends at {}, the log at {}", recovered.tail.last, self.last);
            return differs("the recovered log", evidence);
        }
        let recovered_variants = recovered
            .variants
            .iter()
            .map(|variant| (variant.number, &*variant.encoded));
        let variants = self.variants.values();
        let variants = variants.map(|(variant, number)| (*number, dto::encode_variant(variant)));
        same("variants", recovered_variants, variants)?;
        let carts = self
            .carts
            .values()
            .map(|(cart, number)| (*number, dto::encode_cart(cart)));
        same("carts", states(&recovered.carts), carts)?;
        let orders = self
            .orders
            .values()
            .map(|(order, number)| (*number, dto::encode_order(order)));
        same("orders", states(&recovered.orders), orders)?;
        let bulks: Vec<BulkId> = recovered.bulks.iter().map(|bulk| bulk.id).collect();
        let replayed: Vec<BulkId> = self.bulks.keys().copied().collect();
        if bulks != replayed {
            return differs(
                "coordinators",
                format!("{bulks:?} are recovered, {replayed:?} are not finished"),
            );
        }
        Ok(())
    }
}

fn states(agents: &[RecoveredAgent]) -> impl Iterator<Item = (u64, &[u8])> {
    agents.iter().map(|agent| (agent.number, &*agent.encoded))
}

fn same<'a>(
    what: &str,
    recovered: impl Iterator<Item = (u64, &'a [u8])>,
    mut replayed: impl Iterator<Item = (u64, Vec<u8>)>,
) -> Result<(), Violation> {
    let differs = |evidence: String| Err(Violation::new(Law::ReplayEqual, what, evidence));
    for (place, (number, state)) in recovered.enumerate() {
        match replayed.next() {
            Some(again) if (again.0, &*again.1) == (number, state) => {}
            Some((again, _)) => {
                return differs(format!(
                    "number {place} was recovered at record {number}, is replayed at {again}, and differs"
                ));
            }
            None => return differs(format!("number {place} was recovered and is not in the log")),
        }
    }
    match replayed.next() {
        None => Ok(()),
        Some((number, _)) => differs(format!("one of record {number} was not recovered")),
    }
}

fn follows(noun: &str, id: &impl fmt::Display, before: u64, after: u64) -> Result<(), Violation> {
    if after == before + 1 {
        return Ok(());
    }
    let evidence = format!("revision {after} follows revision {before}");
    Err(Violation::new(Law::ReplayEqual, format!("{noun} {id}"), evidence))
}

/// EXPIRY_WINDOW.
fn in_window(
    variant: &Variant,
    event: &Event,
    at: Timestamp,
    expired: &mut Option<Timestamp>,
) -> Result<(), Violation> {
    let Some((hold, before)) = event.hold().and_then(|hold| Some((hold, variant.hold(hold.id)?))) else {
        return Ok(());
    };
    let broken = |evidence: String| Err(Violation::new(Law::ExpiryWindow, hold.id, evidence));
    match event {
        Event::Expired(_) => {
            let deadline = before.expires_at;
            if at < deadline {
                return broken(format!("it expired at {at:?}, before its deadline {deadline:?}"));
            }
            if expired
                .replace(deadline)
                .is_some_and(|earlier| earlier > deadline)
            {
                return broken(format!(
                    "it expired behind one whose deadline is later than {deadline:?}"
                ));
            }
            Ok(())
        }
        Event::Confirmed { .. } => {
            // A coordinator judged when it pinned it. An order's payment counts by the moment it was accepted, whenever its
            // variant hears of it.
            let judged_at = match before.owning_order() {
                Some(_) => hold.ended.map_or(at, |ended| ended.at),
                None => at,
            };
            if before.pin.is_none() && judged_at >= before.expires_at {
                return broken(format!(
                    "it was sold at {judged_at:?}, its deadline was {:?}",
                    before.expires_at
                ));
            }
            Ok(())
        }
        Event::Created { .. }
        | Event::SettingsChanged { .. }
        | Event::SaleChanged { .. }
        | Event::StockChanged { .. }
        | Event::Deleted
        | Event::Held(_)
        | Event::Extended(_)
        | Event::Resized(_)
        | Event::Released(_)
        | Event::Pinned(_)
        | Event::Unpinned(_)
        | Event::Withdrawn(_)
        | Event::Closed(_)
        | Event::Rehomed { .. }
        | Event::Fulfilled { .. }
        | Event::Cancelled { .. }
        | Event::Returned { .. } => Ok(()),
    }
}

/// ONE_TERMINAL of reservations.
fn end(ended: &mut BTreeMap<ReservationId, EndReason>, event: &Event) -> Result<(), Violation> {
    let Some(hold) = event.hold() else { return Ok(()) };
    let earlier = ended.get(&hold.id).copied();
    let allowed = match event {
        Event::Confirmed { .. } | Event::Released(_) | Event::Expired(_) => {
            let reason = hold.ended.map(|ended| ended.reason);
            match reason {
                Some(reason) => ended.insert(hold.id, reason).is_none(),
                None => false,
            }
        }
        Event::Fulfilled { .. } | Event::Cancelled { .. } | Event::Returned { .. } | Event::Closed(_) => {
            earlier == Some(EndReason::Confirmed)
        }
        // With its cart a sold one changes hands too.
        Event::Rehomed { .. } => earlier.is_none() || hold.status == HoldStatus::Confirmed,
        Event::Held(_)
        | Event::Extended(_)
        | Event::Resized(_)
        | Event::Pinned(_)
        | Event::Unpinned(_)
        | Event::Withdrawn(_) => earlier.is_none(),
        Event::Created { .. }
        | Event::SettingsChanged { .. }
        | Event::SaleChanged { .. }
        | Event::StockChanged { .. }
        | Event::Deleted => true,
    };
    if allowed {
        return Ok(());
    }
    let evidence = match earlier {
        Some(reason) => format!("it had ended, {}, before", reason.as_str()),
        None => "it has not ended".to_owned(),
    };
    Err(Violation::new(Law::OneTerminal, hold.id, evidence))
}

/// ONE_TERMINAL of orders: their payment is decided once, and each other payment is given back once.
fn decide(decided: &mut BTreeSet<(u128, &'static str)>, fact: &OrderFact) -> Result<(), Violation> {
    let bits = fact.order.bits();
    for happened in &fact.happened {
        let end = match happened {
            order::Happened::PaymentAccepted => "payment accepted",
            order::Happened::PaymentExpired => "payment expired",
            order::Happened::PaymentFailed => "payment failed",
            order::Happened::Confirmed => "confirmed",
            order::Happened::Began
            | order::Happened::Went
            | order::Happened::Opened
            | order::Happened::Refused { .. }
            | order::Happened::LinesRefused { .. }
            | order::Happened::RefundRequired { .. }
            | order::Happened::RefundDone { .. }
            | order::Happened::Fulfilled
            | order::Happened::Cancelled
            | order::Happened::Returned => continue,
        };
        let again = !decided.insert((bits, end));
        let both = decided.contains(&(bits, "payment failed")) && decided.contains(&(bits, "confirmed"));
        if again || both {
            let evidence = if again {
                format!("{end} twice")
            } else {
                "its payment failed and it was confirmed".to_owned()
            };
            return Err(Violation::new(
                Law::OneTerminal,
                format!("order {}", fact.order.id),
                evidence,
            ));
        }
    }
    let refunds = fact.order.refunds.iter();
    let references: BTreeSet<&str> = refunds.map(|refund| refund.reference.as_str()).collect();
    if references.len() < fact.order.refunds.len() {
        let subject = format!("order {}", fact.order.id);
        return Err(Violation::new(
            Law::OneTerminal,
            subject,
            "one payment is given back twice",
        ));
    }
    Ok(())
}
