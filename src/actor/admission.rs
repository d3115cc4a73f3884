//! Admission: ractor mailboxes are unbounded, so the bound is here, before them.
//!
//! One permit is the journal slots its command can use, so that a push to the queue cannot fail. The permit moves with
//! the message into the journal entry and is freed when that entry is answered or dropped; a caller that hangs up makes
//! no room. Expiries, coordinators and barriers draw on a pool of their own, so that a flood of requests cannot stop units
//! from coming back. Nothing enters the queue without a permit, and both pools together fit it: it cannot overflow.
use super::entry::Entry;
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// How much may be on its way.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Requests in the whole process.
    pub max_in_flight: usize,
    /// Requests for one variant.
    pub max_per_variant: usize,
    /// Journal slots for expiries, coordinators and barriers.
    pub reserved: usize,
    /// Journal slots for orders. Carts wait for orders while they hold slots; orders wait for nobody who does.
    pub orders: usize,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The process has as many requests on their way as it may.
    Process,
    /// The variant has.
    Variant,
    /// The cart or order has.
    Cart,
    /// Too many bulk lines are on their way.
    Reserved,
    /// The server is draining.
    Draining,
}

/// The bound before the mailboxes.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    in_flight: AtomicUsize,
    reserved: AtomicUsize,
    orders: AtomicUsize,
    draining: AtomicBool,
    freed: Notify,
    /// Slots of the reserved pool came back.
    reserved_freed: Notify,
}

impl Admission {
    /// Admits up to `limits`.
    pub fn new(limits: AdmissionLimits) -> Self {
        let none = || AtomicUsize::new(0);
        Self {
            limits,
            in_flight: none(),
            reserved: none(),
            orders: none(),
            draining: AtomicBool::new(false),
            freed: Notify::new(),
            reserved_freed: Notify::new(),
        }
    }

    /// A permit for one request.
    ///
    /// # Errors
    /// The process is full or draining.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Shed> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Shed::Draining);
        }
        take(&self.in_flight, 1, self.limits.max_in_flight).ok_or(Shed::Process)?;
        Ok(Permit {
            admission: Arc::clone(self),
            pool: Pool::Request,
            slots: 1,
            variant: None,
            with: None,
            way: None,
        })
    }

    /// `slots` of the reserved pool, if it has them. Draining does not close this pool: business under way ends.
    ///
    /// # Errors
    /// The pool is empty.
    pub fn reserve(self: &Arc<Self>, slots: usize) -> Result<Permit, Shed> {
        take(&self.reserved, slots, self.limits.reserved).ok_or(Shed::Reserved)?;
        Ok(Permit {
            admission: Arc::clone(self),
            pool: Pool::Reserved,
            slots,
            variant: None,
            with: None,
            way: None,
        })
    }

    /// `slots` of the orders' pool, if it has them. Draining does not close it.
    ///
    /// # Errors
    /// The pool is empty.
    pub fn reserve_for_order(self: &Arc<Self>, slots: usize) -> Result<Permit, Shed> {
        take(&self.orders, slots, self.limits.orders).ok_or(Shed::Reserved)?;
        Ok(Permit {
            admission: Arc::clone(self),
            pool: Pool::Orders,
            slots,
            variant: None,
            with: None,
            way: None,
        })
    }

    /// `slots` of the reserved pool, as soon as it has them: for what cannot be left undone.
    ///
    /// # Panics
    /// When the whole pool is smaller: the wait would never end. The configuration's rules see to it.
    pub async fn reserve_when_free(self: &Arc<Self>, slots: usize) -> Permit {
        let whole = self.limits.reserved;
        assert!(
            slots <= whole,
            "the reserved pool of {whole} slots never has {slots}"
        );
        loop {
            let freed = self.reserved_freed.notified();
            if let Ok(permit) = self.reserve(slots) {
                return permit;
            }
            freed.await;
        }
    }

    /// No new requests from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether new requests are turned away.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Resolves when nothing is on its way any more; meant for after [`Admission::drain`].
    pub async fn idle(&self) {
        loop {
            let freed = self.freed.notified();
            if self.in_flight() == 0
                && self.reserved_in_use() == 0
                && self.orders.load(Ordering::Acquire) == 0
            {
                return;
            }
            freed.await;
        }
    }

    /// Requests on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Reserved slots in use.
    pub fn reserved_in_use(&self) -> usize {
        self.reserved.load(Ordering::Acquire)
    }
}

#[derive(Clone, Copy, Debug)]
enum Pool {
    Request,
    Reserved,
    Orders,
}

/// Room for a command on its way; dropping it frees the room.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    pool: Pool,
    slots: usize,
    variant: Option<Arc<Entry>>,
    /// Room that is freed with it.
    with: Option<Box<Permit>>,
    /// While somebody watches: alive until what it is for has [arrived](Permit::arrived).
    way: Option<Arc<()>>,
}

/// Tells whether something sent with a permit is still on its way.
#[derive(Debug)]
pub(super) struct Watch(Weak<()>);

impl Watch {
    /// It has not been handled, nor was it lost.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Permit {
    /// Both permits as one.
    #[must_use]
    pub fn with(mut self, mut other: Self) -> Self {
        if let Some(before) = self.with.take() {
            other = other.with(*before);
        }
        self.with = Some(Box::new(other));
        self
    }

    /// One slot of it as a permit of its own, which travels with what it is for; `None` when it has no slot left.
    pub(super) fn split(&mut self) -> Option<Self> {
        if self.slots == 0 {
            return self.with.as_mut()?.split();
        }
        self.slots -= 1;
        Some(Self {
            admission: Arc::clone(&self.admission),
            pool: self.pool,
            slots: 1,
            variant: None,
            with: None,
            way: None,
        })
    }

    /// Watches what it is sent with.
    pub(super) fn watch(&mut self) -> Watch {
        let way = self.way.get_or_insert_default();
        Watch(Arc::downgrade(way))
    }

    /// What it was sent with is being handled; the room goes on with what comes of it.
    pub(super) fn arrived(&mut self) {
        self.way = None;
    }

    /// The same permit, counted for a variant too.
    ///
    /// # Errors
    /// The variant is full; the permit is given back.
    pub fn for_variant(mut self, entry: &Arc<Entry>) -> Result<Self, Shed> {
        take(
            &entry.in_flight,
            self.slots,
            self.admission.limits.max_per_variant,
        )
        .ok_or(Shed::Variant)?;
        self.variant = Some(Arc::clone(entry));
        Ok(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(entry) = &self.variant {
            entry.in_flight.fetch_sub(self.slots, Ordering::AcqRel);
        }
        let admission = &self.admission;
        let before = match self.pool {
            Pool::Request => admission.in_flight.fetch_sub(self.slots, Ordering::AcqRel),
            Pool::Orders => admission.orders.fetch_sub(self.slots, Ordering::AcqRel),
            Pool::Reserved => {
                let before = admission.reserved.fetch_sub(self.slots, Ordering::AcqRel);
                admission.reserved_freed.notify_waiters();
                before
            }
        };
        if before == self.slots {
            admission.freed.notify_waiters();
        }
    }
}

fn take(used: &AtomicUsize, slots: usize, max: usize) -> Option<()> {
    planted!(UnboundedQueue => { used.fetch_add(slots, Ordering::AcqRel); return Some(()) });
    let room = |used: usize| used.checked_add(slots).filter(|used| *used <= max);
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
        .ok()
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        Arc::new(Admission::new(AdmissionLimits {
            max_in_flight: 2,
            max_per_variant: 1,
            reserved: 3,
            orders: 1,
        }))
    }

    #[test]
    fn the_edge_is_exact_and_a_drop_makes_room() {
        let admission = admission();
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), Shed::Process);
        drop(first);
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn the_reserved_pool_is_apart_and_outlives_draining() {
        let admission = admission();
        admission.drain();
        assert_eq!(admission.admit().unwrap_err(), Shed::Draining);
        let block = admission.reserve(3).unwrap();
        assert_eq!(admission.reserve(1).unwrap_err(), Shed::Reserved);
        drop(block);
        assert_eq!(admission.reserved_in_use(), 0);
    }

    #[test]
    fn a_slot_that_is_split_off_is_freed_by_itself() {
        let admission = admission();
        let mut work = admission.reserve(1).unwrap().with(admission.reserve(1).unwrap());
        let (first, second) = (work.split().unwrap(), work.split().unwrap());
        assert!(work.split().is_none(), "it had two");
        drop(work);
        assert_eq!(admission.reserved_in_use(), 2, "both are on their way");
        drop(first);
        assert_eq!(admission.reserved_in_use(), 1);
        drop(second);
        assert_eq!(admission.reserved_in_use(), 0);
    }

    #[test]
    fn what_is_on_its_way_is_seen_until_it_arrives_or_is_lost() {
        let admission = admission();
        let (mut arrives, mut lost) = (admission.reserve(1).unwrap(), admission.reserve(1).unwrap());
        let watches = [arrives.watch(), lost.watch()];
        let seen = || watches.each_ref().map(Watch::is_on_its_way);
        assert_eq!(seen(), [true, true]);
        arrives.arrived();
        drop(lost);
        assert_eq!(seen(), [false, false]);
        assert_eq!(admission.reserved_in_use(), 1, "its entry still needs room");
    }

    #[tokio::test]
    async fn what_cannot_be_left_undone_waits_for_room() {
        let admission = admission();
        let (one, two) = (admission.reserve(1).unwrap(), admission.reserve(2).unwrap());
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.reserve_when_free(3).await }
        });
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one slot is not enough");
        drop(two);
        let permit = waiting.await.unwrap();
        assert_eq!(admission.reserve(1).unwrap_err(), Shed::Reserved);
        drop(permit);
        assert_eq!(admission.reserved_in_use(), 0);
    }
}
