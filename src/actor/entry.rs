//! One variant's place in the directory: who it is, whether it runs, and what it has published.
use super::{message::Message, seat};
use crate::domain::{
    ids::{ReservationId, Slot, StoreId, VariantId, VariantOrdinal},
    time::Timestamp,
    variant::Variant,
};
use parking_lot::Mutex;
use ractor::ActorRef;
use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// A variant's place. It outlives the variant's actors.
#[derive(Debug)]
pub struct Entry {
    /// Its dense number.
    pub ordinal: VariantOrdinal,
    /// Whose.
    pub store: StoreId,
    /// The shop's id.
    pub id: VariantId,
    /// The published availability.
    pub gate: Gate,
    /// Commands routed since the process began, for the list of hot variants.
    pub commands: AtomicU64,
    /// The record that deletes it, set in that turn: the id is free for another variant. Zero until then.
    deleted_by: AtomicU64,
    /// Makes reservation ids of one millisecond differ; begins at a random number.
    salt: AtomicU32,
    pub(super) in_flight: AtomicUsize,
    pub(super) desk: Mutex<Desk>,
}

/// Who sits here now.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) seat: Seat,
    pub(super) failures: Failures,
}

/// A variant's seat.
pub(super) type Seat = seat::Seat<Asleep, ActorRef<Message>, Message, Closed>;

/// A variant that does not run.
#[derive(Debug)]
pub(super) struct Asleep {
    pub(super) state: Arc<[u8]>,
    /// Its last record; for one that is not made yet, what must be durable before that may be said.
    pub(super) number: u64,
}

/// Why nobody may sit here.
#[derive(Debug)]
pub(super) enum Closed {
    /// Until an operator has looked.
    Quarantined { reason: String },
    /// Nobody ever again: the place was given up.
    Gone,
}

/// Failures without progress: three on one revision are a poisoned record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    pub(super) at_number: u64,
    pub(super) count: u32,
}

impl Entry {
    pub(super) fn new(
        ordinal: VariantOrdinal,
        store: StoreId,
        id: VariantId,
        state: Arc<[u8]>,
        number: u64,
    ) -> Self {
        let seat = Seat::Sleeping(Asleep { state, number });
        Self {
            ordinal,
            store,
            id,
            gate: Gate::default(),
            commands: AtomicU64::new(0),
            deleted_by: AtomicU64::new(0),
            salt: AtomicU32::new(fastrand::u32(..)),
            in_flight: AtomicUsize::new(0),
            desk: Mutex::new(Desk {
                seat,
                failures: Failures::default(),
            }),
        }
    }

    /// The record that deletes it, durable or not.
    pub(super) fn deleted_by(&self) -> Option<u64> {
        Some(self.deleted_by.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    /// The id is free for another variant, whose place comes behind this record.
    pub(super) fn was_deleted_by(&self, number: u64) {
        self.deleted_by.store(number, Ordering::Release);
    }

    /// Commands on their way to it.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// An id for a reservation to be made now, unlike any other of this variant: the counter in it comes round only
    /// after 2^30 ids, and the millisecond has passed by then.
    pub fn new_reservation(&self, now: Timestamp) -> ReservationId {
        let slot = Slot::of_variant(&self.store, &self.id);
        ReservationId::new(now, slot, self.ordinal, self.salt.fetch_add(1, Ordering::Relaxed))
    }
}

/// The published availability, reduced to the one question that may be answered without a message: until when is the
/// variant certainly sold out? Written by the actor in the turn that changes the state, before the record is queued;
/// zero until this process has published something (decisions 4). Beside it, for the refusal's figures: when units may
/// come back.
#[derive(Debug, Default)]
pub struct Gate {
    sold_out_until: AtomicI64,
    release_at: AtomicI64,
}

/// A variant that is sold out for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldOut {
    /// When its next hold ends by itself.
    pub next_release_at: Option<Timestamp>,
}

impl Gate {
    /// Publishes the state after a turn.
    pub(super) fn publish(&self, variant: &Variant, now: Timestamp) {
        let release_at = variant.next_release_at(now).unwrap_or(FOR_EVER);
        self.release_at.store(release_at.as_millis(), Ordering::Release);
        self.sold_out_until
            .store(sold_out_until(variant, now).as_millis(), Ordering::Release);
    }

    /// Nothing is certain any more: every reserve goes to the actor, or to what is said in its place.
    pub(super) fn close(&self) {
        self.sold_out_until.store(0, Ordering::Release);
    }

    /// Whether a reserve at `now` is certain to find nothing.
    pub fn sold_out(&self, now: Timestamp) -> Option<SoldOut> {
        let until = Timestamp::from_millis(self.sold_out_until.load(Ordering::Acquire));
        let release_at = Timestamp::from_millis(self.release_at.load(Ordering::Acquire));
        (now < until).then_some(SoldOut {
            next_release_at: (release_at < FOR_EVER).then_some(release_at),
        })
    }
}

/// Until this moment nothing comes back by itself.
const FOR_EVER: Timestamp = Timestamp::from_millis(i64::MAX);

fn sold_out_until(variant: &Variant, now: Timestamp) -> Timestamp {
    let settings = &variant.head().settings;
    // A shopper's own hold is told by the actor, and so is a sale that is not open.
    let plain = variant.head().exists() && !settings.one_hold_per_customer && variant.is_open(now);
    if !plain || variant.published_available() != Some(0) {
        return Timestamp::from_millis(0);
    }
    let release = variant.next_deadline().unwrap_or(FOR_EVER);
    settings
        .closes_at
        .map_or(release, |closes_at| release.min(closes_at))
}
