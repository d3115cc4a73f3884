//! Where carts and orders live: asleep as bytes, or as an actor. A million of them sleep in one map, so a place is small.
use super::{
    AgentAddress, AgentMessage,
    kind::Housed,
    shell::{Shell, Start},
};
use crate::{
    actor::{
        directory::{Directory, Unroutable, Who},
        message::Message,
        seat::{self, Route},
    },
    domain::{
        agent::{Answer, Ask},
        agree::Mend,
        cart::{self, Cart, Status},
        ids::{CartId, CustomerId, OrderId, StoreId},
        order::Order,
        time::Timestamp,
        variant::{self, Hold, Refusal},
    },
    storage::{keys::digest, recovery::RecoveredAgent},
    telemetry::metrics::metrics,
    workers::aside,
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorRuntime};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Maps of one kind of agent; each has its own lock.
const SHARDS: usize = 64;

/// A cart or an order, by the bits of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentId {
    /// A cart.
    Cart(u128),
    /// An order.
    Order(u128),
}

impl From<AgentId> for Who {
    fn from(id: AgentId) -> Self {
        match id {
            AgentId::Cart(bits) => Self::Cart(bits.to_be_bytes()),
            AgentId::Order(bits) => Self::Order(bits.to_be_bytes()),
        }
    }
}

impl AgentId {
    fn bits(self) -> u128 {
        match self {
            Self::Cart(bits) | Self::Order(bits) => bits,
        }
    }
}

/// The homes of both kinds, and who has which cart.
#[derive(Default)]
pub(in crate::actor) struct Homes {
    pub(super) carts: Home<Cart>,
    pub(super) orders: Home<Order>,
    /// Locked before any shard.
    customers: Mutex<Customers>,
}

/// The one cart that each customer shops with. A tree and not a hash table, as everything that has a place for each of a million
/// carts: it never has to be moved as a whole while somebody waits for its lock, and is fuller.
#[derive(Default)]
struct Customers {
    carts: BTreeMap<CustomerKey, u128>,
    /// Carts that somebody was sent to and that are not made yet.
    unmade: HashMap<u128, CustomerKey>,
}

/// A store's customer: 16 bytes of a digest over both ids. A quarter of their size, and nobody can find two customers with the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CustomerKey([u8; 16]);

impl CustomerKey {
    fn of(store: &StoreId, customer: &CustomerId) -> Self {
        let parts = [store.as_str().as_bytes(), customer.as_str().as_bytes(), b""];
        Self(digest(b"holdfast-customer-1", parts))
    }
}

impl Homes {
    /// A cart that a customer shops with is that customer's; one that has ended is nobody's any more.
    pub(super) fn index_customer(&self, cart: &Cart) {
        let (Some(customer), Some(bits)) = (&cart.customer, cart.id.bits()) else {
            return;
        };
        let shops = matches!(
            cart.status,
            Status::Active | Status::CheckingOut { .. } | Status::Merging { .. }
        );
        let key = CustomerKey::of(&cart.store, customer);
        let mut customers = self.customers.lock();
        if cart.exists() {
            customers.unmade.remove(&bits);
        }
        if shops {
            customers.carts.entry(key).or_insert(bits);
        } else if customers.carts.get(&key) == Some(&bits) {
            customers.carts.remove(&key);
        }
    }

    /// Sends to the cart of a customer; who has none gets `fresh`. Nobody else looks meanwhile, so that two first commands
    /// make one cart.
    fn with_cart_of<T>(
        &self,
        store: &StoreId,
        customer: &CustomerId,
        fresh: u128,
        send: impl FnOnce(u128) -> T,
    ) -> T {
        let key = CustomerKey::of(store, customer);
        let mut customers = self.customers.lock();
        let bits = *customers.carts.entry(key).or_insert(fresh);
        if bits == fresh {
            customers.unmade.insert(fresh, key);
        }
        send(bits)
    }

    /// A cart has left its seat without being made: its customer has none, unless somebody was sent to it since.
    pub(super) fn was_not_made(&self, bits: u128) {
        let mut customers = self.customers.lock();
        if self.carts.shard(bits).lock().contains_key(&bits) {
            return;
        }
        if let Some(key) = customers.unmade.remove(&bits) {
            customers.carts.remove(&key);
        }
    }
}

/// Where one kind of agent lives.
pub(in crate::actor) struct Home<A: Housed> {
    shards: Vec<Mutex<BTreeMap<u128, Seat<A>>>>,
}

/// A cart's or an order's seat: its state as bytes while it sleeps.
type Seat<A> = seat::Seat<Box<[u8]>, ActorRef<AgentMessage<A>>, AgentMessage<A>, Unreadable>;

/// The state of one whose actor died could not be read again: nobody sits here before a restart has tried once more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable;

impl<A: Housed> Default for Home<A> {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
        }
    }
}

impl<A: Housed> Home<A> {
    fn shard(&self, bits: u128) -> &Mutex<BTreeMap<u128, Seat<A>>> {
        // The low bits of an id are random.
        &self.shards[(bits % SHARDS as u128) as usize]
    }

    fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// What an actor leaves behind.
pub(super) struct Left {
    pub(super) exists: bool,
    /// A copy, as [`RecoveredAgent::encoded`].
    pub(super) encoded: Box<[u8]>,
    pub(super) next_deadline: Option<Timestamp>,
}

impl Directory {
    // --- carts and orders from outside ---

    /// Sends a command to a cart.
    ///
    /// # Errors
    /// There is no such cart.
    pub fn route_cart(&self, id: &CartId, job: super::AgentJob<Cart>) -> Result<(), Unroutable> {
        let bits = id.bits().ok_or(Unroutable::Gone)?;
        self.route_agent(bits, AgentMessage::Job(Box::new(job)), || None)
    }

    /// Sends a command to the cart that a customer shops with. Who has none, and a guest, gets `fresh`, which the command
    /// makes.
    ///
    /// # Errors
    /// The cart's state cannot be read.
    pub fn route_new_cart(
        &self,
        customer: Option<&CustomerId>,
        fresh: &CartId,
        job: super::AgentJob<Cart>,
    ) -> Result<(), Unroutable> {
        let store = job.store.clone();
        let fresh = fresh.bits().ok_or(Unroutable::Gone)?;
        let send = |bits| {
            let unborn = || CartId::from_bits(bits).map(|id| Cart::unborn(id, store.clone()));
            self.route_agent(bits, AgentMessage::Job(Box::new(job)), unborn)
        };
        match customer {
            Some(customer) => self.homes().with_cart_of(&store, customer, fresh, send),
            None => send(fresh),
        }
    }

    /// Sends a command to an order.
    ///
    /// # Errors
    /// There is no such order.
    pub fn route_order(&self, id: &OrderId, job: super::AgentJob<Order>) -> Result<(), Unroutable> {
        let bits = id.bits().ok_or(Unroutable::Gone)?;
        self.route_agent(bits, AgentMessage::Job(Box::new(job)), || None)
    }

    /// Has a cart or an order shown as durable state has it.
    ///
    /// # Errors
    /// There is none.
    pub fn look_at(
        &self,
        id: AgentId,
        permit: crate::actor::Permit,
        port: crate::actor::message::Port,
    ) -> Result<(), Unroutable> {
        match id {
            AgentId::Cart(bits) => self.look_at_agent::<Cart>(bits, permit, port),
            AgentId::Order(bits) => self.look_at_agent::<Order>(bits, permit, port),
        }
    }

    fn look_at_agent<A: Housed>(
        &self,
        bits: u128,
        permit: crate::actor::Permit,
        port: crate::actor::message::Port,
    ) -> Result<(), Unroutable> {
        let asleep = match A::home(self).shard(bits).lock().get(&bits) {
            Some(Seat::Sleeping(state)) => Some(A::decode(state)),
            Some(Seat::Running { .. } | Seat::Rebuilding { .. } | Seat::Closed(_)) => None,
            None => return Err(Unroutable::Gone),
        };
        match asleep {
            Some(Ok(agent)) => {
                drop(permit);
                // A caller that hung up needs no answer.
                let _ = port.send(Ok(agent.seen(self.now())));
                Ok(())
            }
            Some(Err(error)) => {
                tracing::error!(agent = ?bits, %error, "a sleeping state cannot be read");
                Err(Unroutable::Quarantined)
            }
            None => self.route_agent::<A>(bits, AgentMessage::Look { permit, port }, || None),
        }
    }

    /// Carts and orders, for gauges.
    pub fn agents(&self) -> (usize, usize) {
        (self.homes().carts.count(), self.homes().orders.count())
    }

    /// Puts a recovered cart to sleep in its place.
    pub fn restore_cart(&self, cart: RecoveredAgent) {
        if cart.has_customer
            && let Ok(cart) = Cart::decode(&cart.encoded)
        {
            self.homes().index_customer(&cart);
        }
        self.restore_agent::<Cart>(cart);
    }

    /// Puts a recovered order to sleep in its place.
    pub fn restore_order(&self, order: RecoveredAgent) {
        self.restore_agent::<Order>(order);
    }

    fn restore_agent<A: Housed>(&self, agent: RecoveredAgent) {
        let RecoveredAgent {
            bits,
            encoded,
            next_deadline,
            ..
        } = agent;
        let seat = Seat::Sleeping(encoded);
        A::home(self).shard(bits).lock().insert(bits, seat);
        self.sleepers().add(A::agent_id(bits).into(), next_deadline);
    }

    /// After a restart: wakes an agent that was in the middle of something or has something due; resolves when it has come to
    /// the end of that.
    pub fn settle_agent(&self, id: AgentId) -> oneshot::Receiver<()> {
        let (settled, told) = oneshot::channel();
        // One that has gone has nothing to settle, and its sender is dropped.
        let _ = match id {
            AgentId::Cart(bits) => {
                self.route_agent::<Cart>(bits, AgentMessage::TellWhenSettled(settled), || None)
            }
            AgentId::Order(bits) => {
                self.route_agent::<Order>(bits, AgentMessage::TellWhenSettled(settled), || None)
            }
        };
        told
    }

    /// Brings carts and holds together that do not agree after a restart. Its journal slots must be there.
    pub fn mend(&self, mend: &Mend) {
        match mend {
            Mend::Release { reservation } => {
                let command = Box::new(variant::Command::Release { id: *reservation });
                if let Some(entry) = self.by_ordinal(reservation.variant()) {
                    // A quarantined variant is brought together when it is rebuilt and the house starts again.
                    let ask = Message::AgentAsk {
                        command,
                        permit: None,
                        from: None,
                    };
                    let _ = self.route(&entry, ask);
                }
            }
            Mend::Thaw { cart, into } => {
                let thaw = cart::Command::Thaw {
                    into: into.clone(),
                    merged: false,
                };
                if let Some(bits) = cart.bits() {
                    let _ = self.route_agent::<Cart>(bits, AgentMessage::Notice(Box::new(thaw)), || None);
                }
            }
            Mend::TellCart { order, reopen } => {
                let stands = cart::Command::OrderStands {
                    order: order.clone(),
                    reopen: *reopen,
                };
                if let Some(bits) = order.cart.bits() {
                    let _ = self.route_agent::<Cart>(bits, AgentMessage::Notice(Box::new(stands)), || None);
                }
            }
            Mend::EndLine {
                cart, reservation, ..
            } => {
                let lost = cart::Command::HoldLost {
                    reservation: *reservation,
                };
                if let Some(bits) = cart.bits() {
                    let _ = self.route_agent::<Cart>(bits, AgentMessage::Notice(Box::new(lost)), || None);
                }
            }
        }
    }

    // --- between entities ---

    /// Tells a cart that somebody else changed one of its holds.
    pub(in crate::actor) fn tell_cart(&self, hold: &Hold) {
        let Some(bits) = hold.shopper.cart.as_ref().and_then(CartId::bits) else {
            return;
        };
        let notice = AgentMessage::Notice(Box::new(cart::Command::HoldChanged(Box::new(hold.clone()))));
        // A cart that has gone needs to know nothing.
        let _ = self.route_agent::<Cart>(bits, notice, || None);
    }

    /// Wakes an agent: something is due, or was under way before a restart.
    pub fn wake_agent(&self, id: AgentId) {
        // One that has gone has nothing due.
        let _ = match id {
            AgentId::Cart(bits) => self.route_agent::<Cart>(bits, AgentMessage::Wake, || None),
            AgentId::Order(bits) => self.route_agent::<Order>(bits, AgentMessage::Wake, || None),
        };
    }

    /// Sends what an agent asks, with room for what it leads to; the answer if it cannot be sent.
    pub(super) fn send_ask(
        &self,
        ask: Ask,
        store: &StoreId,
        permit: crate::actor::Permit,
        from: AgentAddress,
    ) -> Option<Answer> {
        match ask {
            Ask::Variant { to, command } => {
                let gone = || Answer::Variant {
                    told: crate::domain::agent::Told::Refused(Refusal::VariantNotFound),
                    quote: None,
                };
                let Some(entry) = self.by_ordinal(to) else {
                    return Some(gone());
                };
                let ask = Message::AgentAsk {
                    command,
                    permit: Some(permit),
                    from: Some(from),
                };
                match self.route(&entry, ask) {
                    Ok(()) => None,
                    Err(Unroutable::Gone) => Some(gone()),
                    Err(Unroutable::Quarantined) => Some(Answer::Unanswered),
                }
            }
            Ask::Cart { to, command } => {
                let gone = || Answer::Cart(Err(cart::Refusal::NotFound));
                // A caller may have named one that was never made here.
                let Some(bits) = to.bits() else {
                    return Some(gone());
                };
                let asked = AgentMessage::Asked {
                    command,
                    permit,
                    from,
                };
                let sent = self.route_agent::<Cart>(bits, asked, || None);
                sent.err().map(|why| match why {
                    Unroutable::Gone => gone(),
                    Unroutable::Quarantined => Answer::Unanswered,
                })
            }
            Ask::Order { to, command } => {
                let gone = || Answer::Order(Err(crate::domain::order::Refusal::NotFound));
                let Some(bits) = to.bits() else {
                    return Some(gone());
                };
                let unborn = || Some(Order::unborn(to.clone(), store.clone()));
                let asked = AgentMessage::Asked {
                    command,
                    permit,
                    from,
                };
                let sent = self.route_agent::<Order>(bits, asked, unborn);
                sent.err().map(|why| match why {
                    Unroutable::Gone => gone(),
                    Unroutable::Quarantined => Answer::Unanswered,
                })
            }
        }
    }

    /// Brings an answer to the agent that asked; one that has gone asks again when it is back.
    pub(in crate::actor) fn answer_agent(&self, from: AgentAddress, answer: Answer) {
        let answer = Box::new(answer);
        let _ = match from.agent {
            AgentId::Cart(bits) => {
                self.route_agent::<Cart>(bits, AgentMessage::Answered { from, answer }, || None)
            }
            AgentId::Order(bits) => {
                self.route_agent::<Order>(bits, AgentMessage::Answered { from, answer }, || None)
            }
        };
    }

    fn route_agent<A: Housed>(
        &self,
        bits: u128,
        message: AgentMessage<A>,
        unborn: impl FnOnce() -> Option<A>,
    ) -> Result<(), Unroutable> {
        let mut seats = A::home(self).shard(bits).lock();
        let (agent, message) = match seats.get_mut(&bits) {
            None => (unborn().ok_or(Unroutable::Gone)?, message),
            Some(seat) => match seat.route(message) {
                Route::Send(actor, message) => {
                    // The actor is alive: it leaves only under this lock.
                    let _ = actor.cast(message);
                    return Ok(());
                }
                Route::Waits => return Ok(()),
                Route::Closed(Unreadable) => return Err(Unroutable::Quarantined),
                Route::Start(state, message) => {
                    let agent = A::decode(state).map_err(|error| {
                        tracing::error!(agent = ?bits, %error, "a sleeping state cannot be read");
                        Unroutable::Quarantined
                    })?;
                    (agent, message)
                }
            },
        };
        let seat = self.seat_agent(agent, [message]);
        seats.insert(bits, seat);
        Ok(())
    }

    fn seat_agent<A: Housed>(
        &self,
        agent: A,
        messages: impl IntoIterator<Item = AgentMessage<A>>,
    ) -> Seat<A> {
        let id = agent.id();
        let generation = self.next_generation();
        let start = Start {
            agent,
            generation,
            directory: self.myself(),
        };
        let actor = self.enter_actor(id.into(), |supervisor| {
            let (actor, _) =
                ActorRuntime::<Shell<A>>::spawn_linked_instant(None, Shell::default(), start, supervisor)
                    .expect("an actor without a name cannot clash with another");
            actor
        });
        Seat::sit(actor, generation, messages, |actor, message| {
            // It has just started; if it dies at once it is rebuilt.
            let _ = actor.cast(message);
        })
    }

    /// An agent proposes to leave. Agreed only if it is the present one and everything routed to it was handled.
    pub(super) fn retire_agent<A: Housed>(
        &self,
        id: AgentId,
        generation: u64,
        handled: u64,
        left: Left,
    ) -> bool {
        let bits = id.bits();
        let mut seats = A::home(self).shard(bits).lock();
        let seat = seats.get(&bits);
        if !seat.is_some_and(|seat| seat.may_leave(generation, handled)) {
            return false;
        }
        if left.exists {
            seats.insert(bits, Seat::Sleeping(left.encoded));
            drop(seats);
            self.sleepers().add(id.into(), left.next_deadline);
        } else {
            seats.remove(&bits);
            drop(seats);
            A::gone(self, bits);
        }
        true
    }

    /// The supervisor saw an agent's actor end. If it did not leave in good order its state is read again, behind a
    /// barrier through the journal: its last records may still be on their way.
    pub(in crate::actor) fn agent_ended(&self, id: AgentId, actor: ractor::ActorId, failure: Option<&str>) {
        match id {
            AgentId::Cart(bits) => self.rebuild_agent::<Cart>(bits, actor, failure),
            AgentId::Order(bits) => self.rebuild_agent::<Order>(bits, actor, failure),
        }
    }

    fn rebuild_agent<A: Housed>(&self, bits: u128, actor: ractor::ActorId, failure: Option<&str>) {
        {
            let mut seats = A::home(self).shard(bits).lock();
            let seat = seats.get_mut(&bits);
            if !seat.is_some_and(|seat| seat.ended(|seated| seated.get_id() == actor)) {
                return; // It left in good order.
            }
        }
        let failure = failure.unwrap_or("it was stopped");
        tracing::error!(agent = ?bits, failure, "an agent's actor failed; reading its state again");
        metrics().actor_restarts.increment(1);
        let barrier = self.caught_up();
        let (rebuild, directory) = (self.rebuilder(), std::sync::Arc::downgrade(&self.myself()));
        let (id, workers) = (A::agent_id(bits), self.workers());
        tokio::spawn(async move {
            if !barrier.await {
                return; // The journal has ended, and with it the process.
            }
            let read = aside(&*workers, move || rebuild.agent(id)).await;
            let read = read.unwrap_or_else(|_| Err("reading its state panicked".to_owned()));
            if let Some(directory) = directory.upgrade() {
                directory.agent_rebuilt::<A>(bits, read);
            }
        });
    }

    fn agent_rebuilt<A: Housed>(&self, bits: u128, read: Result<Option<Vec<u8>>, String>) {
        let mut seats = A::home(self).shard(bits).lock();
        let Some(waiting) = seats.get_mut(&bits).and_then(Seat::rebuilt) else {
            return;
        };
        let agent = read.and_then(|bytes| {
            bytes
                .map(|bytes| A::decode(&bytes).map_err(|error| error.to_string()))
                .transpose()
        });
        match agent {
            Ok(Some(agent)) => {
                let seat = self.seat_agent(agent, waiting);
                seats.insert(bits, seat);
            }
            // It was never logged; whoever waits for it learns that nothing is known.
            Ok(None) => {
                seats.remove(&bits);
                drop(seats);
                A::gone(self, bits);
            }
            Err(reason) => {
                tracing::error!(agent = ?bits, reason, "an agent cannot be read again; restart to try once more");
                // Its place stays taken: another one of this id would begin anew in the middle of its records.
                seats.insert(bits, Seat::Closed(Unreadable));
            }
        }
    }
}
