//! One record of the log, member by member, in the shapes of the API where it has them. For a person who wants to know what
//! was logged; no promise to programs.
use serde_json::{Map, Value, json};

use crate::cli::nouns::body;
use crate::domain::bulk;
use crate::domain::time::Timestamp;
use crate::domain::variant::{Event, Hold, Pin, Settings, Shopper};
use crate::http::time::Moment;
use crate::http::view::{
    CartView, FulfilmentView, ImportView, LedgerEntryView, MoneyView, OrderView, PolicyView, VariantView,
};
use crate::storage::dto;
use crate::storage::journal::Record;
use crate::storage::record::{Fact, Told, Turn, VariantFact};
use crate::storage::record_words::{kinds, touched};

/// Whom a record is about, in one cell.
pub(super) fn about(turn: &Turn) -> String {
    let touched = touched(turn);
    if let Some(first) = touched.reservations.first() {
        let more = touched.reservations.len() - 1;
        return if more == 0 {
            first.to_string()
        } else {
            format!("{first} +{more}")
        };
    }
    match &turn.fact {
        Fact::Variant(fact) => match &fact.named {
            Some((_, id)) => format!("variant {id}"),
            None => format!("variant #{}", fact.ordinal.0),
        },
        Fact::Policy { store, .. } => format!("store {store}"),
        Fact::Bulk { id, .. } => id.to_string(),
        Fact::Gate(gate) => format!("rule set {}", gate.rules),
        Fact::Told(_) => "a key".to_owned(),
        Fact::Cart(fact) => fact.cart.id.to_string(),
        Fact::Order(fact) => fact.order.id.to_string(),
    }
}

/// All that a record says.
///
/// # Errors
/// It cannot be read.
pub(super) fn whole(record: &Record) -> Result<Value, String> {
    let turn = dto::decode_turn(&record.payload)
        .map_err(|error| format!("record {} cannot be read: {error}", record.number))?;
    let (what, fact) = fact(&turn);
    let mut told = json!({
        "number": record.number.0,
        "loggedAt": Moment(Timestamp::from_millis(record.logged_at_ms)),
        "decidedAt": Moment(turn.at),
        "bytes": record.payload.len(),
        "kinds": kinds(&turn),
        "key": turn.key.map(|key| json!({"hash": hex(&key.hash), "fingerprint": hex(&key.fingerprint)})),
    });
    told[what] = fact;
    Ok(told)
}

/// The noun and what happened to it.
fn fact(turn: &Turn) -> (&'static str, Value) {
    match &turn.fact {
        Fact::Variant(fact) => ("variant", variant(fact)),
        Fact::Policy { store, changed } => (
            "policy",
            json!({"store": store.as_str(), "policy": body(&PolicyView::from(&changed.policy))}),
        ),
        Fact::Bulk { id, event } => ("bulk", bulk(&id.to_string(), event)),
        Fact::Gate(gate) => ("gate", json!({"rules": gate.rules.0, "release": gate.release})),
        Fact::Told(answer) => ("told", told(answer, turn.at)),
        Fact::Cart(fact) => ("cart", body(&CartView::new(&fact.cart, turn.at))),
        Fact::Order(fact) => ("order", body(&OrderView::new(&fact.order, turn.at))),
    }
}

fn variant(fact: &VariantFact) -> Value {
    let named = fact.named.as_ref();
    json!({
        "ordinal": fact.ordinal.0,
        "revision": fact.revision,
        "store": named.map(|(store, _)| store.as_str()),
        "id": named.map(|(_, id)| id.as_str()),
        "events": fact.events.iter().map(event).collect::<Vec<_>>(),
        "answered": fact.view.as_deref().map(|view| body(&VariantView::from(view))),
    })
}

/// An event's own members; its kind is among the record's.
fn event(event: &Event) -> Value {
    let mut members = Map::new();
    if let Some(reservation) = event.hold() {
        members.insert("reservation".to_owned(), hold(reservation));
    }
    if let Some(entry) = event.ledger_entry() {
        members.insert("ledger".to_owned(), body(&LedgerEntryView::from(entry)));
    }
    match event {
        Event::Created { settings: said, .. } | Event::SettingsChanged { settings: said } => {
            members.insert("settings".to_owned(), settings(said));
        }
        Event::SaleChanged { sale } => {
            members.insert("saleState".to_owned(), sale.as_str().into());
        }
        Event::Confirmed { given_back, .. } => {
            members.insert("givenBack".to_owned(), (*given_back).into());
        }
        Event::Fulfilled { quantity, .. }
        | Event::Cancelled { quantity, .. }
        | Event::Returned { quantity, .. } => {
            members.insert("quantity".to_owned(), (*quantity).into());
        }
        Event::Rehomed { from, .. } => {
            members.insert("from".to_owned(), shopper(from));
        }
        Event::StockChanged { .. }
        | Event::Deleted
        | Event::Held(_)
        | Event::Extended(_)
        | Event::Resized(_)
        | Event::Released(_)
        | Event::Expired(_)
        | Event::Pinned(_)
        | Event::Unpinned(_)
        | Event::Withdrawn(_)
        | Event::Closed(_) => {}
    }
    Value::Object(members)
}

fn hold(hold: &Hold) -> Value {
    json!({
        "id": hold.id.to_string(),
        "quantity": hold.quantity,
        "status": hold.status.as_str(),
        "shopper": shopper(&hold.shopper),
        "orderId": hold.order.as_ref().map(|order| order.as_str()),
        "expiresAt": Moment(hold.expires_at),
        "maxExpiresAt": Moment(hold.latest_deadline()),
        "extensionsLeft": hold.extensions_left,
        "endedAt": hold.ended.map(|ended| Moment(ended.at)),
        "endReason": hold.ended.map(|ended| ended.reason.as_str()),
        "fulfilment": FulfilmentView::from(hold.fulfilment),
        "pinnedBy": hold.pin.map(pin),
        "version": hold.version,
    })
}

fn pin(pin: Pin) -> String {
    format!("{pin:?}")
}

fn shopper(shopper: &Shopper) -> Value {
    json!({
        "customerId": shopper.customer.as_ref().map(|id| id.as_str()),
        "sessionId": shopper.session.as_ref().map(|id| id.as_str()),
        "cartId": shopper.cart.as_ref().map(|id| id.as_str()),
    })
}

fn settings(settings: &Settings) -> Value {
    json!({
        "productId": settings.product_id,
        "sku": settings.sku,
        "name": settings.name,
        "category": settings.category,
        "tags": settings.tags,
        "attributes": settings.attributes,
        "price": settings.price.map(MoneyView::from),
        "safetyStock": settings.safety_stock,
        "backorderLimit": settings.backorder_limit,
        "reservationMode": settings.reservation_mode.as_str(),
        "lowStockThreshold": settings.low_stock_threshold,
        "opensAt": settings.opens_at.map(Moment),
        "closesAt": settings.closes_at.map(Moment),
        "oneHoldPerCustomer": settings.one_hold_per_customer,
        "holdTtlMs": settings.hold_ttl_ms,
        "unitsPerCustomer": settings.units_per_customer,
    })
}

/// A coordinator's step. Its plan has shapes of its own, which are told as they are called in the source.
fn bulk(id: &str, event: &bulk::Event) -> Value {
    match event {
        bulk::Event::Intended(plan) => json!({"id": id, "intends": format!("{plan:?}")}),
        bulk::Event::Decided { commit, outcomes } => {
            let outcomes: Vec<String> = outcomes.iter().map(|outcome| format!("{outcome:?}")).collect();
            json!({"id": id, "commits": commit, "outcomes": outcomes})
        }
        bulk::Event::Finished => json!({"id": id}),
    }
}

fn told(answer: &Told, at: Timestamp) -> Value {
    match answer {
        Told::Done => json!({"done": true, "at": Moment(at)}),
        Told::Reservation(reservation) => json!({"reservation": hold(reservation)}),
        Told::Variant(view) => json!({"variant": body(&VariantView::from(view.as_ref()))}),
        Told::CleanedUp { due, expired } => json!({"due": due, "expired": expired}),
        Told::Imported(report) => json!({"import": body(&ImportView::from(report.as_ref()))}),
        Told::Snapshot(id) => json!({"snapshot": id}),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
