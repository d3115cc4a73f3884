//! What the handlers share: the shop, and the few limits of the edge itself.
use crate::app::{Context, RequestKey, Shop};
use crate::config::Loaded;
use crate::domain::ids::StoreId;
use std::sync::Arc;
use std::time::Duration;

/// Who asks, for ledger and audit, as long as there is one key for all.
const CALLER: &str = "api";
/// The store of callers whose credentials name none.
const STORE: &str = "default";

/// The state behind every route of the public listener.
#[derive(Clone)]
pub struct Site {
    /// The use cases.
    pub shop: Arc<Shop>,
    /// The configuration with the source of each value, for operators.
    pub loaded: Arc<Loaded>,
    /// Whether a changing request without an idempotency key is refused.
    pub(super) keys_required: bool,
    /// The largest body, bytes.
    pub(super) body_max: usize,
    /// The largest body of a bulk request, bytes.
    pub(super) bulk_body_max: usize,
    /// How long a body may take to arrive: half of the caller's deadline, so that a slow sender is told apart from a
    /// slow answer.
    pub(super) body_deadline: Duration,
    request_deadline_ms: i64,
    store: StoreId,
    caller: Arc<str>,
}

impl Site {
    /// The site of a shop.
    pub fn new(shop: Arc<Shop>, loaded: Arc<Loaded>) -> Self {
        let (server, keys) = (&loaded.config.server, &loaded.config.keys);
        Self {
            shop,
            keys_required: keys.required,
            body_max: server.body_max.as_usize(),
            bulk_body_max: server.bulk_body_max.as_usize(),
            body_deadline: server.request_deadline.duration() / 2,
            request_deadline_ms: server.request_deadline.as_millis(),
            store: StoreId::parse(STORE).expect("a constant within the limits of ids"),
            caller: Arc::from(CALLER),
            loaded,
        }
    }

    /// Who asks, and until when they wait.
    pub(super) fn context(&self, key: Option<RequestKey>) -> Context {
        let deadline = self.shop.clock().now().saturating_add(self.request_deadline_ms);
        Context {
            store: self.store.clone(),
            caller: Arc::clone(&self.caller),
            key,
            deadline,
        }
    }

    /// The key of a request: the same key of another store or caller is another key.
    pub(super) fn request_key(&self, key: &str, route: &str, target: &str, body: &[u8]) -> RequestKey {
        RequestKey::new(&self.store, &self.caller, key, (route, target, body))
    }
}
