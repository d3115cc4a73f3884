//! tmp
use crate::{
    domain::{ids::*, variant::HoldStatus},
    storage::record::Turn,
};
#[derive(Debug, Default)]
pub struct Projection;
/// Filter
#[derive(Debug, Clone)]
pub struct Filter {
    pub store: StoreId,
    pub variant: Option<VariantOrdinal>,
    pub customer: Option<CustomerId>,
    pub cart: Option<CartId>,
    pub status: Option<HoldStatus>,
}
/// Page
#[derive(Debug, Clone)]
pub struct Page {
    pub ids: Vec<ReservationId>,
    pub next: Option<ReservationId>,
}
/// Statistics of a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    pub active: u64,
    pub confirmed: u64,
    pub released: u64,
    pub expired: u64,
    pub hold_ms: u64,
}
impl Projection {
    pub fn apply(&self, _: u64, _: &Turn) {}
    pub fn ended(&self, _: ReservationId) -> Option<u64> {
        None
    }
    pub fn list(&self, _: &Filter, _: Option<ReservationId>, _: usize) -> Result<Page, std::io::Error> {
        Ok(Page {
            ids: Vec::new(),
            next: None,
        })
    }
    pub fn statistics(&self, _: &StoreId) -> Statistics {
        Statistics::default()
    }
}
