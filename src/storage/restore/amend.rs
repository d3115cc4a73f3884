//! What a restore does behind the cut: deadlines moved by the operator's rule, variants paused whose sales are lost. All of it
//! are records, the first ones of the new log, so that a replay of the cut and the log gives the same house (REPLAY_EQUAL).
use super::super::{
    checkpoint::{fold::Fold, mark},
    dto,
    entity_rows::{self, Variants, load_variant},
    journal::{
        Anchor, Epoch, Journal, PartitionId,
        format::{GROUP_BYTES_MAX, GroupBuilder},
    },
    record::{CartFact, Fact, OrderFact, Turn, VariantFact},
    state::StateStore,
};
use super::{Plan, RestoreError};
use crate::domain::{
    cart::{self, Cart, Kept},
    ids::ReservationId,
    order::{self, Order},
    rewind::{Busy, HoldsRule, Rewind},
    time::Timestamp,
    variant::{Event, Hold, Variant},
};
use hashbrown::HashMap;

/// Events of one record: a variant with a million holds is changed in pieces.
const EVENTS_PER_TURN: usize = 256;

/// About how many bytes of log are folded into the rows at once.
const FOLD_BYTES: usize = 16 << 20;

/// What was changed behind the cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amended {
    /// Records it took.
    pub records: u64,
    /// Holds with another deadline.
    pub holds: u64,
    /// Carts whose lines have another deadline.
    pub carts: u64,
    /// Orders with another payment deadline.
    pub orders: u64,
    /// Variants that come up paused.
    pub paused: u64,
}

/// Writes the records and brings the rows up to them.
pub(super) fn amend(
    state: &StateStore,
    mut journal: Box<dyn Journal>,
    partition: PartitionId,
    epoch: Epoch,
    anchor: Anchor,
    plan: &Plan,
) -> Result<Amended, RestoreError> {
    journal.acquire(partition)?;
    let now_ms = plan.wanted.now_ms.max(anchor.logged_at_ms);
    let mut log = Log {
        journal,
        partition,
        epoch,
        group: GroupBuilder::new(partition, epoch, &anchor, 0),
        anchor,
        now_ms,
        amended: Amended::default(),
    };
    if plan.wanted.holds == HoldsRule::Keep && plan.log_cut_short.is_none() {
        pause(state, plan, &mut log)?;
    } else {
        move_all(state, plan, &mut log)?;
    }
    log.flush()?;
    let amended = log.amended;
    log.fold_into(state, anchor)?;
    Ok(amended)
}

/// Only the variants that were sold.
fn pause(state: &StateStore, plan: &Plan, log: &mut Log) -> Result<(), RestoreError> {
    let (rewind, busy) = (plan.rewind(), Busy::default());
    for ordinal in &plan.sold {
        if let Some((variant, _)) = load_variant(state, *ordinal)? {
            log.variant(&variant, rewind.variant(&variant, true, &busy))?;
        }
    }
    Ok(())
}

/// Holds first, then the carts and orders that know of them.
fn move_all(state: &StateStore, plan: &Plan, log: &mut Log) -> Result<(), RestoreError> {
    let rewind = plan.rewind();
    let mut busy = Busy::default();
    for cart in entity_rows::agents::<Cart>(state) {
        busy.cart(&cart?.0);
    }
    for order in entity_rows::agents::<Order>(state) {
        busy.order(&order?.0);
    }
    let mut moved = Moved::default();
    for stored in Variants::all(state) {
        let (variant, _) = stored?;
        let sold = plan.was_sold(variant.head().ordinal);
        let events = rewind.variant(&variant, sold, &busy);
        events
            .iter()
            .filter_map(Event::hold)
            .for_each(|hold| moved.note(hold));
        log.variant(&variant, events)?;
    }
    move_agents(state, &rewind, &moved, log)
}

fn move_agents(
    state: &StateStore,
    rewind: &Rewind,
    moved: &Moved,
    log: &mut Log,
) -> Result<(), RestoreError> {
    for stored in entity_rows::agents::<Cart>(state) {
        let (cart, _) = stored?;
        if let Some(cart) = rewind.cart(&cart, |id| moved.in_carts.get(&id).copied()) {
            let happened = vec![cart::Happened::Extended];
            log.amended.carts += 1;
            log.push(Fact::Cart(Box::new(CartFact { cart, happened })))?;
        }
    }
    for stored in entity_rows::agents::<Order>(state) {
        let (order, _) = stored?;
        if let Some(order) = rewind.order(&order, |id| moved.in_orders.get(&id).cloned()) {
            let happened = vec![order::Happened::Went];
            log.amended.orders += 1;
            log.push(Fact::Order(Box::new(OrderFact { order, happened })))?;
        }
    }
    Ok(())
}

/// Holds with another deadline, as far as carts and orders made here know of them.
#[derive(Default)]
struct Moved {
    in_carts: HashMap<ReservationId, Kept>,
    in_orders: HashMap<ReservationId, Hold>,
}

impl Moved {
    fn note(&mut self, hold: &Hold) {
        if hold.is_in_a_cart() {
            self.in_carts.insert(hold.id, Kept::from(hold));
        }
        if hold.owning_order().is_some() {
            self.in_orders.insert(hold.id, hold.clone());
        }
    }
}

/// The new log and what is on its way into it.
struct Log {
    journal: Box<dyn Journal>,
    partition: PartitionId,
    epoch: Epoch,
    group: GroupBuilder,
    /// Behind the last group that was written.
    anchor: Anchor,
    now_ms: i64,
    amended: Amended,
}

impl Log {
    fn variant(&mut self, variant: &Variant, events: Vec<Event>) -> Result<(), RestoreError> {
        let head = variant.head();
        let mut revision = head.revision;
        for events in events.chunks(EVENTS_PER_TURN) {
            revision += events.len() as u64;
            let holds = events.iter().filter(|event| event.hold().is_some()).count();
            self.amended.holds += holds as u64;
            self.amended.paused += (events.len() - holds) as u64;
            self.push(Fact::Variant(VariantFact {
                ordinal: head.ordinal,
                revision,
                named: None,
                events: events.to_vec(),
                view: None,
            }))?;
        }
        Ok(())
    }

    fn push(&mut self, fact: Fact) -> Result<(), RestoreError> {
        let payload = dto::encode_turn(&Turn {
            at: Timestamp::from_millis(self.now_ms),
            fact,
            key: None,
        });
        if !self.group.fits(payload.len(), GROUP_BYTES_MAX) {
            self.flush()?;
        }
        self.group.push(&payload);
        self.amended.records += 1;
        Ok(())
    }

    /// Writes the group in hand, durably.
    fn flush(&mut self) -> Result<(), RestoreError> {
        let empty = GroupBuilder::new(self.partition, self.epoch, &self.anchor, 0);
        let Some(group) = std::mem::replace(&mut self.group, empty).finish(self.now_ms) else {
            return Ok(());
        };
        self.journal.append(self.partition, self.anchor.last, &group)?;
        self.anchor = Anchor::after(&group);
        self.group = GroupBuilder::new(self.partition, self.epoch, &self.anchor, 0);
        Ok(())
    }

    /// Brings the rows up to the log, as a checkpoint would.
    fn fold_into(self, state: &StateStore, from: Anchor) -> Result<(), RestoreError> {
        let reader = self.journal.reader();
        let mut next = from.last.next();
        while next <= self.anchor.last {
            let groups = reader.read(self.partition, next, FOLD_BYTES)?;
            let Some(last) = groups.last() else { break };
            let mut fold = Fold::new(state);
            for group in &groups {
                for record in group.records_from(next) {
                    fold.record(&record)?;
                }
            }
            state.apply(fold.finish()?, mark(last.epoch(), &Anchor::after(last)))?;
            next = last.last().next();
        }
        Ok(())
    }
}
