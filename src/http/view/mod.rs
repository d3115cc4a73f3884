//! Translate out: what callers see, one struct per shape of the contract. The schemas of the OpenAPI document are these
//! structs; nothing else is serialised at the edge.
mod admin;
mod bulk;
mod cart;
mod history;
mod order;
mod reservation;
mod restore;
mod snapshot;
mod stock_file;
mod variant;

pub use admin::{
    ConfigRowView, ConfigView, DiskView, DrainView, HoldLengthsView, HotVariantView, LimitsView,
    PaymentPolicyView, PolicyView, QuarantinedView, StatusView,
};
pub use bulk::{BulkLineView, BulkView};
pub use cart::{
    CartItemView, CartView, CurrencyText, ExtendedCart, ExtendedLine, LineHandle, TotalsView, WarningView,
};
pub use history::{HeldView, HistoryEventView, HistoryStateView, HistoryView, LastUnitView};
pub use order::{OrderLineView, OrderView, OrderWarningView, RefundView, order_status};
pub use reservation::{
    CleanupView, FulfilmentView, ReservationView, StatisticsView, ValidationView, ValidationsView,
};
pub use restore::{OperationView, RestorePlanView, RestoredView, SoldAfterView};
pub use snapshot::{SnapshotCountsView, SnapshotView};
pub use stock_file::{ImportChangeView, ImportMemberView, ImportView};
pub(crate) use stock_file::{failed, fault};
pub use variant::{
    AdjustmentView, AvailabilitiesView, AvailabilityView, LedgerEntryView, MoneyView, VariantView,
};

use super::extract::query::Cursor;
use serde::{Serialize, Serializer};
use std::fmt;
use utoipa::ToSchema;

/// An id (or another short text of ours) in a body, written without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<T>(pub T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Page)]
pub struct ListPage<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page starts: give it back as `cursor`. Null on the last page.
    pub next_cursor: Option<String>,
}

impl<T> ListPage<T> {
    /// A page that was read in `epoch`; `next` is the sort key of its last item, unless it is the last page.
    pub fn new(epoch: u64, items: Vec<T>, next: Option<Vec<u8>>) -> Self {
        Self {
            items,
            next_cursor: next.map(|key| Cursor { epoch, key }.to_string()),
        }
    }
}
