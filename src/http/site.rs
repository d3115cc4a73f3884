//! What the handlers share: the shop, and the few limits of the edge itself.
use super::health::Health;
use crate::config::Config;
use std::sync::Arc;
use std::time::Duration;

/// The state behind every route of the public listener.
#[derive(Clone, Debug)]
pub struct Site {
    /// How far the process is; an operator may ask it to drain.
    pub health: Arc<Health>,
    /// Whether a changing request without an idempotency key is refused.
    pub keys_required: bool,
    /// The largest body, bytes.
    pub body_max: usize,
    /// The largest body of a bulk request, bytes.
    pub bulk_body_max: usize,
    /// How long a body may take to arrive: half of the request's deadline, so that a slow sender is told apart from a slow answer.
    pub body_deadline: Duration,
}

impl Site {
    /// The site of a configuration.
    pub fn new(health: Arc<Health>, config: &Config) -> Self {
        Self {
            health,
            keys_required: config.keys.required,
            body_max: config.server.body_max.as_usize(),
            bulk_body_max: config.server.bulk_body_max.as_usize(),
            body_deadline: config.server.request_deadline.duration() / 2,
        }
    }
}
