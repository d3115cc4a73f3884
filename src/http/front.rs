//! What answers now: the routes of the shop that is open, or of a house that is being put back. Connections outlive both;
//! each request asks anew.
use axum::Router;
use parking_lot::RwLock;
use std::sync::Arc;

/// The routes of the moment. Clones are the same front.
#[derive(Clone, Debug)]
pub struct Front(Arc<RwLock<Router>>);

impl Front {
    /// The routes that answer now.
    pub fn now(&self) -> Router {
        self.0.read().clone()
    }

    /// Other routes answer from the next request on.
    pub fn set(&self, router: Router) {
        *self.0.write() = router;
    }
}

impl From<Router> for Front {
    fn from(router: Router) -> Self {
        Self(Arc::new(RwLock::new(router)))
    }
}
