//! What answers now: the routes of the shop that is open, or of a house that is being put back. Connections outlive both;
//! each request asks anew.
use super::{
    frame::Frame,
    health::Health,
    router::{restoring, router},
    site::Site,
};
use crate::{
    app::{House, Stage},
    config::Loaded,
};
use axum::Router;
use parking_lot::RwLock;
use std::sync::Arc;

/// The routes of the moment. Clones are the same front.
#[derive(Clone, Debug)]
pub struct Front(Arc<RwLock<Router>>);

impl Front {
    /// What answers at each stage of the house: the shop that is open, or that it is being put back. `health` is told as well.
    pub fn of(house: &Arc<House>, loaded: &Arc<Loaded>, health: &Arc<Health>) -> Self {
        let frame = Frame::new(&loaded.config.server);
        let front = Self::from(restoring(Arc::clone(house), loaded, frame.clone()));
        let (loaded, health) = (Arc::clone(loaded), Arc::clone(health));
        // The routes hold the house and the house holds this, so this must hold neither.
        let (whose, routes) = (Arc::downgrade(house), Arc::downgrade(&front.0));
        house.tell(move |stage| {
            let (Some(house), Some(routes)) = (whose.upgrade(), routes.upgrade()) else {
                return;
            };
            health.restores(matches!(stage, Stage::Restoring(_)));
            Self(routes).set(match stage {
                Stage::Open(shop) => {
                    let site = Site::new(Arc::clone(shop), house, Arc::clone(&loaded));
                    router(site, frame.clone())
                }
                Stage::Restoring(_) => restoring(house, &loaded, frame.clone()),
            });
        });
        front
    }

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
