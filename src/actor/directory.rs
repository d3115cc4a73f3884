//! The directory: which variant lives where, and how a message gets there.
//!
//! It is the only place that turns an id into an actor, so that one day its answer may be another node. Nobody keeps an
//! `ActorRef` across an await. A variant that is not running is a few bytes; the first message starts its actor under
//! the entry's lock, and an idle actor goes back to bytes only if nothing was routed to it meanwhile, under the same
//! lock: no message can fall between two actors.
use super::{
    admission::{Admission, Permit, Shed},
    agent::{AgentId, Homes},
    bulk::{BulkActor, BulkStart, StillSettling},
    durable::Pending,
    entry::{Asleep, Closed, Desk, Entry, Failures, Seat},
    message::{BulkMessage, KeyClaim, ListId, Message},
    seat::Route,
    sleepers::Sleepers,
    supervisor::Supervisor,
    together::{Agreed, Closing, NotTogether},
    variant::{Start, VariantActor},
};
use crate::{
    clock::Clock,
    domain::{
        bulk::{Bulk, records_max},
        ids::{BulkId, ReservationId, StoreId, VariantId, VariantOrdinal},
        time::Timestamp,
        variant::{Hold, Variant},
    },
    storage::{
        dto,
        journal::{JournalQueue, RejectReason},
        keys::{Claim, Fingerprint, KeyHash, KeyTable},
        record::KeyMark,
    },
    telemetry::metrics::metrics,
    workers::{Workers, aside},
};
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use tokio::sync::oneshot;

/// Failures on one record after which a variant is quarantined.
const FAILURES_TOLERATED: u32 = 3;

/// Reads again, from rows and log, what no actor keeps.
pub trait Rebuild: Send + Sync {
    /// The variant as of its last durable record, and that record's number. Blocks on the disk.
    ///
    /// # Errors
    /// What an operator should read.
    fn variant(&self, ordinal: VariantOrdinal) -> Result<(Variant, u64), String>;

    /// A cart or an order as of its last durable record, encoded; `None` when it has none. Blocks on the disk.
    ///
    /// # Errors
    /// What an operator should read.
    fn agent(&self, id: AgentId) -> Result<Option<Vec<u8>>, String>;

    /// A reservation that has left its variant, as it ended; `None` when it is not remembered. Blocks on the disk.
    ///
    /// # Errors
    /// What an operator should read.
    fn ended(&self, id: ReservationId) -> Result<Option<Hold>, String>;
}

/// Limits of the actors.
#[derive(Clone, Copy, Debug)]
pub struct ActorLimits {
    /// An actor that is not used this long and holds nothing goes to sleep, ms.
    pub idle_ms: i64,
    /// Commands of callers that may wait in front of one cart or order.
    pub agent_waiting_max: usize,
}

/// What the actors work with.
pub struct Services {
    /// The time everybody agrees on.
    pub clock: Clock,
    /// The way to the log.
    pub queue: JournalQueue<Pending>,
    /// The bound before the mailboxes.
    pub admission: Arc<Admission>,
    /// Reads again what no actor keeps.
    pub rebuild: Arc<dyn Rebuild>,
    /// The idempotency keys, for work that goes on under one.
    pub keys: KeyTable,
    /// Who reads from the disk.
    pub workers: Arc<dyn Workers>,
    /// Their limits.
    pub limits: ActorLimits,
}

/// Coordinators; one that is resumed and waits for its slots is not there yet, but its id is taken.
type Bulks = HashMap<BulkId, Option<ActorRef<BulkMessage>>>;

/// Where every variant and every running coordinator lives.
pub struct Directory {
    myself: Weak<Self>,
    services: Services,
    names: RwLock<HashMap<(StoreId, VariantId), Arc<Entry>>>,
    /// By ordinal, which is the order of creation.
    entries: RwLock<Vec<Option<Arc<Entry>>>>,
    next_ordinal: AtomicU32,
    homes: Homes,
    generations: AtomicU64,
    bulks: Mutex<Bulks>,
    /// Whose actor is whose, for the supervisor.
    actors: Mutex<HashMap<ActorId, Who>>,
    sleepers: Arc<Sleepers>,
    supervisor: OnceLock<ActorCell>,
}

/// Who waits for a variant to be read again has a permit for its place, which would keep the place for ever.
impl Drop for Directory {
    fn drop(&mut self) {
        for entry in self.entries.get_mut().drain(..).flatten() {
            let seat = std::mem::replace(&mut entry.desk.lock().seat, Seat::Closed(Closed::Gone));
            drop(seat);
        }
    }
}

/// Who an actor is, or whose deadline it is. The bits of an id are kept as bytes, the most significant first: as a number their
/// alignment would make the entry of a deadline half as large again, and there are millions of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A variant.
    Variant(VariantOrdinal),
    /// A cart.
    Cart([u8; 16]),
    /// An order.
    Order([u8; 16]),
}

/// What an actor leaves behind.
pub(super) struct Retired {
    /// Whether there is a variant at all.
    pub(super) exists: bool,
    /// Its state.
    pub(super) encoded: Vec<u8>,
    /// Its last record.
    pub(super) number: u64,
    /// When something is due.
    pub(super) next_deadline: Option<Timestamp>,
}

/// Why a message could not be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// The variant is quarantined.
    Quarantined,
    /// The place was given up: its variant was deleted, or never created.
    Gone,
}

impl Directory {
    /// An empty directory; new variants are numbered from `next_ordinal`. Starts the supervisor.
    pub async fn start(services: Services, next_ordinal: u32) -> Arc<Self> {
        let directory = Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            services,
            names: RwLock::default(),
            entries: RwLock::default(),
            next_ordinal: AtomicU32::new(next_ordinal),
            homes: Homes::default(),
            generations: AtomicU64::new(0),
            bulks: Mutex::default(),
            actors: Mutex::default(),
            sleepers: Arc::default(),
            supervisor: OnceLock::new(),
        });
        let cell = Supervisor::start(Arc::downgrade(&directory)).await;
        directory.supervisor.set(cell).expect("set once, here");
        directory
    }

    /// Begins to wake sleeping variants at their deadlines. Called once coordinators of before are settled.
    pub fn start_timers(self: &Arc<Self>) {
        Sleepers::run(self);
    }

    /// Ends every actor, of a shop that is closed: what they know is in the log.
    pub fn end(&self) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.kill();
        }
    }

    // --- finding ---

    /// The variant with this id.
    pub fn find(&self, store: &StoreId, id: &VariantId) -> Option<Arc<Entry>> {
        // The map is keyed by the pair; both parts are cheap to clone.
        self.names.read().get(&(store.clone(), id.clone())).cloned()
    }

    /// The variant with this ordinal, which a reservation's id carries.
    pub fn by_ordinal(&self, ordinal: VariantOrdinal) -> Option<Arc<Entry>> {
        self.entries.read().get(ordinal.0 as usize)?.clone()
    }

    /// Whether a variant ever had this ordinal.
    pub fn has_given_out(&self, ordinal: VariantOrdinal) -> bool {
        ordinal.0 < self.next_ordinal.load(Ordering::Acquire)
    }

    /// Variants of a store in order of creation, after `after`, at most `limit`. One that is being created or deleted is
    /// among them: whether it is there, only its actor can say once that is durable.
    pub fn list(&self, store: &StoreId, after: Option<VariantOrdinal>, limit: usize) -> Vec<Arc<Entry>> {
        let entries = self.entries.read();
        let first = after.map_or(0, |ordinal| ordinal.0 as usize + 1);
        let rest = entries.iter().skip(first).flatten();
        rest.filter(|entry| entry.store == *store)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Every variant, in order of creation.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.read().iter().flatten().cloned().collect()
    }

    /// The variants whose actors run now.
    pub fn running(&self) -> Vec<Arc<Entry>> {
        let running: Vec<Who> = self.actors.lock().values().copied().collect();
        let entry = |who| match who {
            Who::Variant(ordinal) => self.by_ordinal(ordinal),
            Who::Cart(_) | Who::Order(_) => None,
        };
        running.into_iter().filter_map(entry).collect()
    }

    /// The place for a variant to be created: a new one, or the one that is there, whose actor will say so.
    pub fn place(&self, store: &StoreId, id: &VariantId) -> Arc<Entry> {
        let mut names = self.names.write();
        let key = (store.clone(), id.clone());
        // That there is none is true for readers once the deletion of the last one is durable.
        let behind = match names.get(&key).map(|entry| (entry, entry.deleted_by())) {
            Some((entry, None)) => return Arc::clone(entry),
            Some((_, Some(deleted_by))) => deleted_by,
            None => 0,
        };
        let ordinal = VariantOrdinal(self.next_ordinal.fetch_add(1, Ordering::AcqRel));
        let unborn = Variant::unborn(store.clone(), id.clone(), ordinal);
        let state = dto::encode_variant(&unborn).into();
        let entry = Arc::new(Entry::new(ordinal, store.clone(), id.clone(), state, behind));
        self.enter(Arc::clone(&entry));
        names.insert(key, Arc::clone(&entry));
        entry
    }

    /// Puts a recovered variant to sleep in its place.
    pub fn restore(
        &self,
        head: (StoreId, VariantId, VariantOrdinal),
        state: Vec<u8>,
        number: u64,
        next: Option<Timestamp>,
    ) {
        let (store, id, ordinal) = head;
        let entry = Arc::new(Entry::new(
            ordinal,
            store.clone(),
            id.clone(),
            state.into(),
            number,
        ));
        self.enter(Arc::clone(&entry));
        self.names.write().insert((store, id), entry);
        self.sleepers.add(Who::Variant(ordinal), next);
    }

    fn enter(&self, entry: Arc<Entry>) {
        let mut entries = self.entries.write();
        let place = entry.ordinal.0 as usize;
        if entries.len() <= place {
            entries.resize(place + 1, None);
        }
        entries[place] = Some(entry);
    }

    // --- routing ---

    /// Sends a message to a variant, starting its actor if it sleeps.
    ///
    /// # Errors
    /// The variant is quarantined; the message, with its permit and key, is dropped.
    pub fn route(&self, entry: &Arc<Entry>, message: Message) -> Result<(), Unroutable> {
        let mut desk = entry.desk.lock();
        match desk.seat.route(message) {
            Route::Send(actor, message) => {
                // The actor is alive: it leaves only under this lock. If it has just died, the supervisor rebuilds it
                // and the caller, whose port is dropped, learns that the outcome is unknown.
                let _ = actor.cast(message);
                Ok(())
            }
            Route::Start(Asleep { state, number }, message) => match dto::decode_variant(state) {
                Ok(variant) => {
                    let number = *number;
                    self.seat(entry, &mut desk, variant, number, [message]);
                    Ok(())
                }
                Err(error) => {
                    let reason = format!("its sleeping state cannot be read: {error}");
                    self.quarantine_locked(entry, &mut desk, reason);
                    Err(Unroutable::Quarantined)
                }
            },
            Route::Waits => Ok(()),
            Route::Closed(Closed::Quarantined { .. }) => Err(Unroutable::Quarantined),
            Route::Closed(Closed::Gone) => Err(Unroutable::Gone),
        }
    }

    /// Whether a variant's state is being read again: what is sent to it waits until that is done.
    pub fn is_rebuilding(&self, entry: &Entry) -> bool {
        matches!(entry.desk.lock().seat, Seat::Rebuilding { .. })
    }

    /// The state of a variant that sleeps, without waking it, if all that it rests on is durable. An actor that leaves has
    /// seen to that; what was not created yet waits for the deletion of the variant that had its id.
    pub fn sleeping(&self, entry: &Entry) -> Option<Arc<[u8]>> {
        match &entry.desk.lock().seat {
            Seat::Sleeping(Asleep { state, number }) => (self.told() >= *number).then(|| Arc::clone(state)),
            Seat::Running { .. } | Seat::Rebuilding { .. } | Seat::Closed(_) => None,
        }
    }

    fn seat(
        &self,
        entry: &Arc<Entry>,
        desk: &mut Desk,
        variant: Variant,
        number: u64,
        messages: impl IntoIterator<Item = Message>,
    ) {
        let directory = self.myself.upgrade().expect("a call on it holds it");
        let generation = self.next_generation();
        let start = Start {
            variant,
            number,
            generation,
            entry: Arc::clone(entry),
            directory,
        };
        let actor = self.enter_actor(Who::Variant(entry.ordinal), |supervisor| {
            let (actor, _) =
                ActorRuntime::<VariantActor>::spawn_linked_instant(None, VariantActor, start, supervisor)
                    .expect("an actor without a name cannot clash with another");
            actor
        });
        desk.seat = Seat::sit(actor, generation, messages, |actor, message| {
            // It has just started; if it dies at once it is rebuilt.
            let _ = actor.cast(message);
        });
    }

    /// An actor proposes to leave. Agreed only if it is the present one and everything routed to it was handled. What
    /// does not exist (any more) gives up its place.
    pub(super) fn retire(&self, entry: &Arc<Entry>, generation: u64, handled: u64, state: Retired) -> bool {
        // Names before desk, as everywhere: a place is given up under both.
        let mut names = (!state.exists).then(|| self.names.write());
        let mut desk = entry.desk.lock();
        if !desk.seat.may_leave(generation, handled) {
            return false;
        }
        match &mut names {
            Some(names) => {
                desk.seat = Seat::Closed(Closed::Gone);
                let key = (entry.store.clone(), entry.id.clone());
                if names.get(&key).is_some_and(|there| Arc::ptr_eq(there, entry)) {
                    names.remove(&key);
                }
                if let Some(place) = self.entries.write().get_mut(entry.ordinal.0 as usize) {
                    *place = None;
                }
            }
            None => {
                desk.seat = Seat::Sleeping(Asleep {
                    state: state.encoded.into(),
                    number: state.number,
                });
                self.sleepers
                    .add(Who::Variant(entry.ordinal), state.next_deadline);
            }
        }
        true
    }

    // --- failure ---

    /// The supervisor saw an actor end.
    pub(super) fn ended(&self, actor: ActorId, failure: Option<String>) {
        // The lock is free again before a seat is looked at: whoever starts an actor takes the two the other way round.
        let who = self.actors.lock().remove(&actor);
        let ordinal = match who {
            Some(Who::Variant(ordinal)) => ordinal,
            Some(Who::Cart(bytes)) => {
                let id = AgentId::Cart(u128::from_be_bytes(bytes));
                return self.agent_ended(id, actor, failure.as_deref());
            }
            Some(Who::Order(bytes)) => {
                let id = AgentId::Order(u128::from_be_bytes(bytes));
                return self.agent_ended(id, actor, failure.as_deref());
            }
            None => return,
        };
        let Some(entry) = self.by_ordinal(ordinal) else {
            return;
        };
        let mut desk = entry.desk.lock();
        if !desk.seat.ended(|seated| seated.get_id() == actor) {
            return; // It left in good order, or it was quarantined.
        }
        let failure = failure.unwrap_or_else(|| "it was stopped".to_owned());
        tracing::error!(variant = %entry.id, %failure, "variant actor failed; reading its state again");
        metrics().actor_restarts.increment(1);
        drop(desk);
        self.rebuild(&entry);
    }

    /// Resolves when everything queued until now is durable and told; `false` when the journal has ended before, and with
    /// it the process.
    pub fn caught_up(&self) -> impl Future<Output = bool> + Send + 'static + use<> {
        let (passed, barrier) = oneshot::channel::<()>();
        self.when_told(move || {
            // Whoever waited may have given up.
            let _ = passed.send(());
        });
        async move { barrier.await.is_ok() }
    }

    /// Reads a variant again from rows and log, behind a barrier through the journal: its last records may still be on
    /// their way.
    pub fn rebuild(&self, entry: &Arc<Entry>) {
        let barrier = self.caught_up();
        let rebuild = Arc::clone(&self.services.rebuild);
        let workers = self.workers();
        let directory = self.myself.upgrade().expect("a call on it holds it");
        let entry = Arc::clone(entry);
        tokio::spawn(async move {
            if !barrier.await {
                return;
            }
            let directory = Arc::downgrade(&directory);
            let ordinal = entry.ordinal;
            let read = aside(&*workers, move || rebuild.variant(ordinal)).await;
            let read = read.unwrap_or_else(|_| Err("reading its state panicked".to_owned()));
            if let Some(directory) = directory.upgrade() {
                directory.rebuilt(&entry, read);
            }
        });
    }

    fn rebuilt(&self, entry: &Arc<Entry>, read: Result<(Variant, u64), String>) {
        let mut desk = entry.desk.lock();
        let Some(waiting) = desk.seat.rebuilt() else {
            return;
        };
        match read {
            Ok((variant, number)) => {
                let failures = &mut desk.failures;
                failures.count = if failures.at_number == number {
                    failures.count + 1
                } else {
                    1
                };
                failures.at_number = number;
                if failures.count < FAILURES_TOLERATED {
                    self.seat(entry, &mut desk, variant, number, waiting);
                    return;
                }
                let reason = format!("its actor failed {FAILURES_TOLERATED} times at record {number}");
                self.quarantine_locked(entry, &mut desk, reason);
            }
            Err(reason) => self.quarantine_locked(entry, &mut desk, reason),
        }
    }

    /// Closes a variant until an operator has looked.
    pub(super) fn quarantine(&self, entry: &Entry, reason: String) {
        self.quarantine_locked(entry, &mut entry.desk.lock(), reason);
    }

    fn quarantine_locked(&self, entry: &Entry, desk: &mut Desk, reason: String) {
        tracing::error!(variant = %entry.id, %reason, "variant quarantined");
        metrics().quarantined_variants.increment(1.0);
        // What its actor published is not to be believed either.
        entry.gate.close();
        desk.seat = Seat::Closed(Closed::Quarantined { reason });
    }

    /// The quarantined variants and why.
    pub fn quarantined(&self) -> Vec<(Arc<Entry>, String)> {
        let reason = |entry: &Arc<Entry>| match &entry.desk.lock().seat {
            Seat::Closed(Closed::Quarantined { reason }) => Some(reason.clone()),
            Seat::Closed(Closed::Gone)
            | Seat::Sleeping(_)
            | Seat::Running { .. }
            | Seat::Rebuilding { .. } => None,
        };
        self.all()
            .into_iter()
            .filter_map(|entry| reason(&entry).map(|reason| (entry, reason)))
            .collect()
    }

    /// An operator has a quarantined variant read again; `false` if it is not quarantined.
    pub fn release_from_quarantine(&self, entry: &Arc<Entry>) -> bool {
        let mut desk = entry.desk.lock();
        if !matches!(desk.seat, Seat::Closed(Closed::Quarantined { .. })) {
            return false;
        }
        desk.failures = Failures::default();
        desk.seat = Seat::Rebuilding { waiting: Vec::new() };
        drop(desk);
        metrics().quarantined_variants.decrement(1.0);
        self.rebuild(entry);
        true
    }

    // --- coordinators ---

    /// Starts a coordinator. One with the same id that is still settling refuses the second, whose key is free again.
    pub(super) fn enter_bulk(&self, start: BulkStart) -> Result<(), StillSettling> {
        let mut bulks = self.bulks.lock();
        if bulks.contains_key(&start.bulk.id) {
            return Err(StillSettling);
        }
        self.seat_bulk(&mut bulks, start);
        Ok(())
    }

    fn seat_bulk(&self, bulks: &mut Bulks, start: BulkStart) {
        let id = start.bulk.id;
        let supervisor = self.supervisor.get().expect("set at start").clone();
        let (actor, _) = ActorRuntime::<BulkActor>::spawn_linked_instant(None, BulkActor, start, supervisor)
            .expect("an actor without a name cannot clash with another");
        bulks.insert(id, Some(actor));
    }

    /// Brings an unfinished coordinator of before the restart to its end, with its last record queued, once there are the slots
    /// it needs. Its id is taken from the call on, whenever that is: a request that comes earlier would start a second one.
    pub fn resume_bulk(self: &Arc<Self>, bulk: Bulk) -> impl Future<Output = ()> + Send + 'static {
        self.bulks.lock().insert(bulk.id, None);
        let directory = Arc::clone(self);
        async move {
            let slots = records_max(bulk.plan.lines.len());
            let permit = directory.services.admission.reserve_when_free(slots).await;
            let (done, finished) = oneshot::channel();
            let start = BulkStart::resumed(bulk, permit, done, Arc::clone(&directory));
            directory.seat_bulk(&mut directory.bulks.lock(), start);
            drop(directory);
            // Answered or not, it is never dropped half way.
            let _ = finished.await;
        }
    }

    pub(super) fn leave_bulk(&self, id: BulkId) {
        self.bulks.lock().remove(&id);
    }

    pub(super) fn tell_bulk(&self, id: BulkId, message: BulkMessage) {
        if let Some(Some(bulk)) = self.bulks.lock().get(&id) {
            // One that has just ended needs no answer.
            let _ = bulk.cast(message);
        }
    }

    // --- what actors work with ---

    pub(super) fn homes(&self) -> &Homes {
        &self.homes
    }

    pub(super) fn myself(&self) -> Arc<Self> {
        self.myself.upgrade().expect("a call on it holds it")
    }

    pub(super) fn rebuilder(&self) -> Arc<dyn Rebuild> {
        Arc::clone(&self.services.rebuild)
    }

    pub(super) fn workers(&self) -> Arc<dyn Workers> {
        Arc::clone(&self.services.workers)
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts an actor and keeps who it is, for the supervisor.
    pub(super) fn enter_actor<M>(
        &self,
        who: Who,
        spawn: impl FnOnce(ActorCell) -> ActorRef<M>,
    ) -> ActorRef<M> {
        let supervisor = self.supervisor.get().expect("set at start").clone();
        // Its end may be told before this returns, and finds it here.
        let mut actors = self.actors.lock();
        let actor = spawn(supervisor);
        actors.insert(actor.get_id(), who);
        actor
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.services.clock
    }

    #[track_caller]
    pub(super) fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    pub(super) fn idle_ms(&self) -> i64 {
        self.services.limits.idle_ms
    }

    pub(super) fn reserve_slots(&self, slots: usize) -> Result<Permit, Shed> {
        self.services.admission.reserve(slots)
    }

    /// Makes sure that the key of work that goes on is in flight.
    pub(super) fn park_key(&self, mark: KeyMark) {
        let fingerprint = Fingerprint(mark.fingerprint);
        self.services.keys.park(KeyHash(mark.hash), fingerprint);
    }

    /// The claim of work that has come to its end; `None` where a request took the key before the work went on after a restart.
    pub(super) fn unpark_key(&self, mark: KeyMark) -> Option<Claim> {
        self.services.keys.unpark(KeyHash(mark.hash))
    }

    /// Commands of callers that may wait in front of one cart or order.
    pub(super) fn agent_waiting_max(&self) -> usize {
        self.services.limits.agent_waiting_max
    }

    pub(super) async fn reserve_slots_when_free(&self, slots: usize) -> Permit {
        self.services.admission.reserve_when_free(slots).await
    }

    pub(super) fn reserve_order_slots(&self, slots: usize) -> Result<Permit, Shed> {
        self.services.admission.reserve_for_order(slots)
    }

    pub(super) fn sleepers(&self) -> Arc<Sleepers> {
        Arc::clone(&self.sleepers)
    }

    /// The last record that is durable and in the projections: what rests on it may be told.
    pub fn told(&self) -> u64 {
        self.services.queue.told().0
    }

    /// Entries on their way to the log.
    pub fn queue_depth(&self) -> usize {
        self.services.queue.depth()
    }

    /// Hands a record on.
    ///
    /// # Errors
    /// The journal has ended, and with it this life of the shop; or the record is larger than a group.
    ///
    /// # Panics
    /// On an answer that has no record.
    pub fn append(&self, pending: Pending) -> Result<u64, RejectReason> {
        let (payload, waits) = (pending.payload(), pending.waits());
        let queued = self.services.queue.append(payload, pending, waits);
        queued.map(|number| number.0).map_err(|rejected| rejected.reason)
    }

    /// Hands on the turns of several variants in one group with the record that closes it, if everybody who judged one
    /// still waits, and tells each of them its record's number. The desks are locked in one order and all at once: an actor
    /// that dies later is read again behind these records, and one that has died is not written for.
    ///
    /// # Errors
    /// Nothing was handed on: an actor has died, the records do not fit into one group, or the journal has ended.
    pub(super) fn append_together(
        &self,
        list: ListId,
        mut lines: Vec<Agreed>,
        Closing { turn, claim, port }: Closing,
        permit: Option<Permit>,
    ) -> Result<(), NotTogether> {
        lines.sort_by_key(|line| line.entry.ordinal);
        let mut records = Vec::with_capacity(lines.len() + 1);
        let mut seats = Vec::with_capacity(lines.len());
        let mut add = |turn, claim, port, permit| {
            let pending = Pending::Turn {
                turn,
                claim,
                port,
                permit,
            };
            let (payload, waits) = (pending.payload(), pending.waits());
            records.push((payload, pending, waits));
        };
        for Agreed { entry, draft, key } in &mut lines {
            seats.push((&**entry, draft.generation, draft.turn.is_some()));
            if let Some(mut turn) = draft.turn.take() {
                turn.key = key.as_ref().map(KeyClaim::mark);
                add(turn, key.take().map(|key| key.claim), None, None);
            }
        }
        add(Box::new(turn), claim, Some((port, None)), permit);
        let mut desks: Vec<_> = seats.iter().map(|(entry, ..)| entry.desk.lock()).collect();
        let mut places = seats.iter().zip(&desks);
        if !places.all(|((_, generation, _), desk)| desk.seat.is(*generation)) {
            return Err(NotTogether::Lost);
        }
        for (entry, ..) in seats.iter().filter(|(.., changes)| *changes) {
            // What was sold out is not for certain any more; the actor, which publishes it anew, may hear of it after the caller.
            entry.gate.close();
        }
        let first = self.services.queue.append_together(records);
        let mut number = first.map_err(|rejected| rejected.reason)?.0;
        for ((_, _, changes), desk) in seats.iter().zip(&mut desks) {
            let logged = changes.then_some(number);
            number += u64::from(*changes);
            tell(desk, Message::Resolve { list, logged });
        }
        Ok(())
    }

    /// Tells a variant that nothing was done of a list, if it may be waiting to hear that.
    pub(super) fn let_go(&self, entry: &Entry, list: ListId) {
        let logged = None;
        tell(&mut entry.desk.lock(), Message::Resolve { list, logged });
    }

    /// Answers when everything before it is durable.
    pub(super) fn repeat(&self, pending: Pending) {
        // Refused only when the journal has ended, and with it the process.
        let _ = self.services.queue.repeat(pending);
    }

    /// Calls when everything numbered until now is durable and told.
    pub(super) fn when_told(&self, call: impl FnOnce() + Send + 'static) {
        self.services.queue.when_told(call);
    }
}

/// Sends a message to whoever sits or will sit here; one that sleeps has nothing to hear.
fn tell(desk: &mut Desk, message: Message) {
    match &desk.seat {
        Seat::Running { .. } | Seat::Rebuilding { .. } => {
            if let Route::Send(actor, message) = desk.seat.route(message) {
                // If it has just died, the supervisor rebuilds it from the log.
                let _ = actor.cast(message);
            }
        }
        Seat::Sleeping(_) | Seat::Closed(_) => {}
    }
}
