//! The story of a variant's units.
use super::Shown;
use crate::app::{Happened, Story};
use crate::domain::ids::{CartId, CustomerId, OrderId, ReservationId, SessionId, VariantId};
use crate::domain::variant::{Hold, View};
use crate::http::extract::query::Cursor;
use crate::http::time::Moment;
use crate::storage::record_words::variant_kind;
use serde::Serialize;
use utoipa::ToSchema;

/// What happened to a variant, how it stood at a moment, and who held its last unit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = History)]
pub struct HistoryView {
    /// Which.
    #[schema(value_type = String, example = "123")]
    pub variant_id: Shown<VariantId>,
    /// The last record that counts.
    pub number: u64,
    /// The moment it is told for.
    #[schema(value_type = String, format = DateTime)]
    pub at: Moment,
    /// The first record behind which its state is known.
    pub known_from: u64,
    /// How it stood; null before it was created.
    pub state: Option<HistoryStateView>,
    /// The last time that its last unit was taken; null if that never happened since `knownFrom`.
    pub last_unit: Option<LastUnitView>,
    /// What happened, newest first.
    pub items: Vec<HistoryEventView>,
    /// Where the next page starts: give it back as `cursor`. Null on the last page.
    pub next_cursor: Option<String>,
}

/// A variant at a moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HistoryState)]
pub struct HistoryStateView {
    /// Physical units.
    pub on_hand: u64,
    /// Units in live holds.
    pub held: u64,
    /// Units sold and not shipped.
    pub committed: u64,
    /// Units free; null for untracked goods.
    pub available: Option<u64>,
    /// As in the variant.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// The live holds, in order of creation, at most 1,000.
    pub holds: Vec<HeldView>,
    /// How many more there were.
    pub holds_omitted: usize,
}

/// A live hold: how many units, whose, until when.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HistoryHold)]
pub struct HeldView {
    /// Which.
    #[schema(value_type = String)]
    pub reservation_id: Shown<ReservationId>,
    /// Units.
    pub quantity: u32,
    /// The shop's customer.
    #[schema(value_type = Option<String>)]
    pub customer_id: Option<Shown<CustomerId>>,
    /// A guest's browser session.
    #[schema(value_type = Option<String>)]
    pub session_id: Option<Shown<SessionId>>,
    /// The cart.
    #[schema(value_type = Option<String>)]
    pub cart_id: Option<Shown<CartId>>,
    /// The order.
    #[schema(value_type = Option<String>)]
    pub order_id: Option<Shown<OrderId>>,
    /// The deadline.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
}

/// When the last unit was taken.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LastUnit)]
pub struct LastUnitView {
    /// By what, and by whom.
    pub taken: HistoryEventView,
    /// When a unit was free again, if one was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub free_again_at: Option<Moment>,
    /// The record of that.
    pub free_again_number: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HistoryEvent)]
pub struct HistoryEventView {
    /// The record it stands in.
    pub number: u64,
    /// The logged moment.
    #[schema(value_type = String, format = DateTime)]
    pub at: Moment,
    /// As `reservation.held`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// The reservation, as it stood afterwards.
    pub reservation: Option<HeldView>,
    /// Units in (positive) or out, where units on hand changed.
    pub delta: Option<i64>,
    /// Why they changed.
    pub reason: Option<String>,
    /// Who changed them.
    pub by: Option<String>,
    /// Units on hand behind it; null, like the others, where the state is not known.
    pub on_hand: Option<u64>,
    /// Units in live holds behind it.
    pub held: Option<u64>,
    /// Units sold and not shipped behind it.
    pub committed: Option<u64>,
    /// Units free behind it.
    pub available: Option<u64>,
}

impl HistoryView {
    /// A variant's story, read in `epoch`.
    pub fn new(variant: &VariantId, story: &Story, epoch: u64) -> Self {
        let last = story.events.last().filter(|_| story.more);
        Self {
            variant_id: Shown(variant.clone()),
            number: story.number,
            at: Moment(story.at),
            known_from: story.known_from,
            state: story.state.as_ref().map(|view| state(view, story)),
            last_unit: story.last_unit.as_ref().map(|last| LastUnitView {
                taken: HistoryEventView::from(&last.taken),
                free_again_at: last.free_again.map(|(_, at)| Moment(at)),
                free_again_number: last.free_again.map(|(number, _)| number),
            }),
            items: story.events.iter().map(HistoryEventView::from).collect(),
            next_cursor: last.map(|last| {
                let place = last.place;
                let key = [&place.number.to_be_bytes()[..], &place.index.to_be_bytes()[..]].concat();
                Cursor { epoch, key }.to_string()
            }),
        }
    }
}

fn state(view: &View, story: &Story) -> HistoryStateView {
    HistoryStateView {
        on_hand: view.head.on_hand,
        held: view.held,
        committed: view.committed,
        available: view.available,
        status: view.status.as_str(),
        holds: story.holds.iter().map(HeldView::from).collect(),
        holds_omitted: story.holds_untold,
    }
}

impl From<&Hold> for HeldView {
    fn from(hold: &Hold) -> Self {
        Self {
            reservation_id: Shown(hold.id),
            quantity: hold.quantity,
            customer_id: hold.shopper.customer.clone().map(Shown),
            session_id: hold.shopper.session.clone().map(Shown),
            cart_id: hold.shopper.cart.clone().map(Shown),
            order_id: hold.order.clone().map(Shown),
            expires_at: Moment(hold.expires_at),
        }
    }
}

impl From<&Happened> for HistoryEventView {
    fn from(happened: &Happened) -> Self {
        let (entry, figures) = (happened.event.ledger_entry(), happened.figures);
        Self {
            number: happened.place.number,
            at: Moment(happened.at),
            kind: variant_kind(&happened.event),
            reservation: happened.event.hold().map(HeldView::from),
            delta: entry.map(|entry| entry.delta),
            reason: entry.map(|entry| entry.reason.clone()),
            by: entry.map(|entry| entry.by.clone()),
            on_hand: figures.map(|figures| figures.on_hand),
            held: figures.map(|figures| figures.held),
            committed: figures.map(|figures| figures.committed),
            available: figures.and_then(|figures| figures.available),
        }
    }
}
