//! What the handlers share: the shop, and the few limits of the edge itself.
use super::auth::Guest;
use crate::app::{Context, House, RequestKey, Shop};
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::domain::ids::StoreId;
use axum::http::request::Parts;
use std::sync::Arc;
use std::time::Duration;

/// Who asks, for ledger and audit, as long as there is one key for all.
const CALLER: &str = "api";
/// The store of callers whose credentials name none.
///
/// # Panics
/// Never: its name is an id.
pub fn default_store() -> StoreId {
    StoreId::parse("default").expect("a constant within the limits of ids")
}

/// The state behind every route of the public listener.
#[derive(Clone)]
pub struct Site {
    /// The use cases.
    pub shop: Arc<Shop>,
    /// The house that the shop is in.
    pub house: Arc<House>,
    /// The configuration with the source of each value, for operators.
    pub loaded: Arc<Loaded>,
    edge: Edge,
}

impl Site {
    /// The site of a shop in its house.
    pub fn new(shop: Arc<Shop>, house: Arc<House>, loaded: Arc<Loaded>) -> Self {
        let edge = Edge::new(shop.clock().clone(), &loaded.config);
        Self {
            shop,
            house,
            loaded,
            edge,
        }
    }

    /// What reading a request needs.
    pub(super) fn edge(&self) -> &Edge {
        &self.edge
    }
}

/// What reading a request needs: limits, the time, and who asks. It knows no shop, so reading can be tested alone.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Whether a changing request without an idempotency key is refused.
    pub(super) keys_required: bool,
    /// The largest body, bytes.
    pub(super) body_max: usize,
    /// The largest body of a bulk request, bytes.
    pub(super) bulk_body_max: usize,
    /// The largest list of an import, bytes.
    pub(super) import_body_max: usize,
    /// How long a body may take to arrive: half of the caller's deadline, so that a slow sender is told apart from a
    /// slow answer.
    pub(super) body_deadline: Duration,
    request_deadline_ms: i64,
    clock: Clock,
    store: StoreId,
    caller: Arc<str>,
}

impl Edge {
    /// The edge of a configuration.
    pub fn new(clock: Clock, config: &Config) -> Self {
        let server = &config.server;
        Self {
            keys_required: config.keys.required,
            body_max: server.body_max.as_usize(),
            bulk_body_max: server.bulk_body_max.as_usize(),
            import_body_max: server.import_body_max.as_usize(),
            body_deadline: server.request_deadline.duration() / 2,
            request_deadline_ms: server.request_deadline.as_millis(),
            clock,
            store: default_store(),
            caller: Arc::from(CALLER),
        }
    }

    /// Who asks: the guest it was let in as, or whoever has the key.
    pub(super) fn caller<'a>(&'a self, parts: &'a Parts) -> &'a Arc<str> {
        parts
            .extensions
            .get::<Guest>()
            .map_or(&self.caller, |Guest(caller)| caller)
    }

    /// The store of whoever asks.
    pub(super) fn store(&self) -> &StoreId {
        &self.store
    }

    /// A caller's context, and until when they wait.
    pub(super) fn context(&self, caller: &Arc<str>, key: Option<RequestKey>) -> Context {
        Context {
            store: self.store.clone(),
            caller: Arc::clone(caller),
            key,
            deadline: self.clock.now().saturating_add(self.request_deadline_ms),
        }
    }

    /// The key of a request: the same key of another store or caller is another key.
    pub(super) fn request_key(&self, caller: &str, key: &str, request: (&str, &str, &[u8])) -> RequestKey {
        RequestKey::new(&self.store, caller, key, request)
    }
}

/// A router's state that can read requests.
pub trait HasEdge: Send + Sync {
    /// What reading needs.
    fn edge(&self) -> &Edge;
}

impl HasEdge for Arc<Site> {
    fn edge(&self) -> &Edge {
        &self.edge
    }
}

impl HasEdge for Arc<Edge> {
    fn edge(&self) -> &Edge {
        self
    }
}
