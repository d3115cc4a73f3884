//! Holdfast, asked over HTTP like by anybody else: making the variant, reading the state back.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::json;

use crate::ask::{STOCK, VARIANT, hold_id, hold_text};
use crate::checker::{Answered, Found, FoundHold, Told};
use crate::front::RESERVE;
use crate::http::{Connection, Template, answered_id};
use crate::trouble::Trouble;

/// Holds looked up in one request; the most that Holdfast takes.
const LOOK_UP: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariantBody {
    on_hand: u64,
    held: u64,
    available: i64,
}

#[derive(Deserialize)]
struct StatisticsBody {
    active: u64,
}

#[derive(Deserialize)]
struct ValidateBody {
    results: Vec<ValidateResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValidateResult {
    reservation_id: String,
    status: Option<String>,
}

/// Makes the hot variant.
pub(crate) async fn fill(address: SocketAddr) -> Result<(), Trouble> {
    let body = json!({
        "id": VARIANT, "productId": "compare", "sku": VARIANT, "name": "The hot one", "category": "Load test",
        "price": {"amount": 100, "currency": "USD"}, "onHand": STOCK,
    });
    let mut connection = Connection::open(address).await?;
    ask::<serde_json::Value>(&mut connection, "POST", "/api/stock/variants", &body.to_string()).await?;
    Ok(())
}

/// What is stored: the variant's count, the number of live holds, and the answered holds that are found to be live. Some keys are sent
/// once more.
pub(crate) async fn found(address: SocketAddr, told: &Told, again: &[u64]) -> Result<Found, Trouble> {
    let mut connection = Connection::open(address).await?;
    let variant = stock(&mut connection).await?;
    let statistics: StatisticsBody =
        ask(&mut connection, "GET", "/api/stock/reservations/statistics", "").await?;
    let holds = live(&mut connection, &told.answered).await?;
    let mut template = Template::reserve(RESERVE);
    let mut repeats = Vec::new();
    for &number in again {
        let answer = connection.exchange(template.numbered(number)).await?;
        let id = answered_id(answer.body);
        let id = id.ok_or_else(|| Trouble::Unexpected(format!("{} to a key sent again", answer.status)))?;
        repeats.push(Answered { number, id });
    }
    let after = stock(&mut connection).await?;
    // What is neither held nor free must not be.
    let gone = i64::try_from(variant.on_hand)
        .ok()
        .map(|on_hand| on_hand - variant.available);
    if gone.and_then(|gone| u64::try_from(gone).ok()) != Some(variant.held) {
        return Err(Trouble::Unexpected(format!(
            "{} on hand, {} held, {} available",
            variant.on_hand, variant.held, variant.available
        )));
    }
    Ok(Found {
        on_hand: variant.on_hand,
        taken: variant.held,
        count: statistics.active,
        holds,
        beside: Vec::new(),
        repeats,
        taken_after_repeats: after.held,
    })
}

async fn stock(connection: &mut Connection) -> Result<VariantBody, Trouble> {
    ask(connection, "GET", &format!("/api/stock/variants/{VARIANT}"), "").await
}

async fn live(connection: &mut Connection, answered: &[Answered]) -> Result<Vec<FoundHold>, Trouble> {
    let mut holds = Vec::with_capacity(answered.len());
    for part in answered.chunks(LOOK_UP) {
        let ids: Vec<String> = part.iter().map(|hold| hold_text(hold.id)).collect();
        let body = json!({ "reservationIds": ids }).to_string();
        let told: ValidateBody = ask(connection, "POST", "/api/stock/reservations/validate", &body).await?;
        let live = told
            .results
            .iter()
            .filter(|result| result.status.as_deref() == Some("active"));
        holds.extend(live.filter_map(|result| {
            Some(FoundHold {
                id: hold_id(&result.reservation_id)?,
                number: None,
                units: 1,
            })
        }));
    }
    Ok(holds)
}

async fn ask<T: for<'a> Deserialize<'a>>(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &str,
) -> Result<T, Trouble> {
    let answer = connection.ask(method, path, body).await?;
    let read = serde_json::from_slice(answer.body).ok();
    let good = read.filter(|_| (200..300).contains(&answer.status));
    good.ok_or_else(|| {
        let told = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
        Trouble::Unexpected(format!("{method} {path} was answered {}: {told}", answer.status))
    })
}
