//! What the shell has to know of a cart and of an order.
use super::{
    super::{
        admission::{Permit, Shed},
        directory::Directory,
        message::{Answer as Told, NotDone},
    },
    home::{AgentId, Home},
};
use crate::{
    domain::{
        agent::{Agent, Answer},
        cart::{self, Cart},
        ids::StoreId,
        key::KeyMark,
        order::{self, Order},
        time::Timestamp,
    },
    storage::{
        dto::{self, FormatError},
        record::{CartFact, Fact, OrderFact},
    },
};

/// An agent that lives in the directory.
pub(in crate::actor) trait Housed:
    Agent<Command: Clone + Send + 'static, Happened: Send, Refusal: Clone + Send> + Send + Sync + 'static
{
    /// Where its kind lives.
    fn home(directory: &Directory) -> &Home<Self>;

    /// The kind's id with these bits.
    fn agent_id(bits: u128) -> AgentId;

    /// Which it is.
    fn id(&self) -> AgentId;

    /// Whose shop it is in.
    fn store(&self) -> &StoreId;

    /// What a caller in another shop is told.
    fn not_found() -> Self::Refusal;

    /// Its bytes.
    fn encode(&self) -> Vec<u8>;

    /// It again.
    ///
    /// # Errors
    /// The bytes are no agent of this kind.
    fn decode(bytes: &[u8]) -> Result<Self, FormatError>;

    /// What its record says.
    fn fact(after: Self, happened: Vec<Self::Happened>) -> Fact;

    /// Its number of records.
    fn revision(&mut self) -> &mut u64;

    /// The key of the work in hand.
    fn work_key(&self) -> Option<KeyMark>;

    /// Counts its visible changes; what a caller's If-Match is held against.
    fn version(&self) -> u64;

    /// Journal slots for work of its kind.
    ///
    /// # Errors
    /// The pool has none.
    fn reserve(directory: &Directory, slots: usize) -> Result<Permit, Shed>;

    /// Whether it has been made and is not forgotten.
    fn exists(&self) -> bool;

    /// Its state, for a caller.
    fn seen(self, at: Timestamp) -> Told;

    /// Its refusal, for a caller.
    fn not_done(refusal: Self::Refusal, at: Timestamp) -> NotDone;

    /// Its answer to another agent.
    fn answer(done: Result<Box<Self>, Self::Refusal>) -> Answer;

    /// Keeps the directory's indexes in step with a record that is on its way.
    fn index(&self, directory: &Directory);

    /// One has left its seat and there is nothing of it.
    fn gone(directory: &Directory, bits: u128);
}

impl Housed for Cart {
    fn home(directory: &Directory) -> &Home<Self> {
        &directory.homes().carts
    }

    fn agent_id(bits: u128) -> AgentId {
        AgentId::Cart(bits)
    }

    fn store(&self) -> &StoreId {
        &self.store
    }

    fn not_found() -> cart::Refusal {
        cart::Refusal::NotFound
    }

    fn id(&self) -> AgentId {
        AgentId::Cart(self.id.bits().expect("carts here have ids made here"))
    }

    fn encode(&self) -> Vec<u8> {
        dto::encode_cart(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        dto::decode_cart(bytes)
    }

    fn fact(cart: Self, happened: Vec<cart::Happened>) -> Fact {
        Fact::Cart(Box::new(CartFact { cart, happened }))
    }

    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }

    fn work_key(&self) -> Option<KeyMark> {
        self.work.as_ref().and_then(|work| work.key)
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn reserve(directory: &Directory, slots: usize) -> Result<Permit, Shed> {
        directory.reserve_slots(slots)
    }

    fn exists(&self) -> bool {
        self.version > 0
    }

    fn seen(self, at: Timestamp) -> Told {
        Told::Cart {
            cart: Box::new(self),
            at,
        }
    }

    fn not_done(refusal: cart::Refusal, at: Timestamp) -> NotDone {
        NotDone::CartRefused { refusal, at }
    }

    fn answer(done: Result<Box<Self>, cart::Refusal>) -> Answer {
        Answer::Cart(done)
    }

    fn index(&self, directory: &Directory) {
        directory.homes().index_customer(self);
    }

    fn gone(directory: &Directory, bits: u128) {
        directory.homes().was_not_made(bits);
    }
}

impl Housed for Order {
    fn home(directory: &Directory) -> &Home<Self> {
        &directory.homes().orders
    }

    fn agent_id(bits: u128) -> AgentId {
        AgentId::Order(bits)
    }

    fn store(&self) -> &StoreId {
        &self.store
    }

    fn not_found() -> order::Refusal {
        order::Refusal::NotFound
    }

    fn id(&self) -> AgentId {
        AgentId::Order(self.id.bits().expect("orders here have ids made here"))
    }

    fn encode(&self) -> Vec<u8> {
        dto::encode_order(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        dto::decode_order(bytes)
    }

    fn fact(order: Self, happened: Vec<order::Happened>) -> Fact {
        Fact::Order(Box::new(OrderFact { order, happened }))
    }

    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }

    fn work_key(&self) -> Option<KeyMark> {
        self.work.as_ref().and_then(|work| work.key)
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn reserve(directory: &Directory, slots: usize) -> Result<Permit, Shed> {
        directory.reserve_order_slots(slots)
    }

    fn exists(&self) -> bool {
        self.revision > 0
    }

    fn seen(self, at: Timestamp) -> Told {
        Told::Order {
            order: Box::new(self),
            at,
        }
    }

    fn not_done(refusal: order::Refusal, at: Timestamp) -> NotDone {
        NotDone::OrderRefused { refusal, at }
    }

    fn answer(done: Result<Box<Self>, order::Refusal>) -> Answer {
        Answer::Order(done)
    }

    fn index(&self, _: &Directory) {}

    fn gone(_: &Directory, _: u128) {}
}
