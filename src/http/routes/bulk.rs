//! `/api/stock/reservations/bulk`: one outcome over several variants.
use super::Reply;
use super::reservations::reservation_id;
use crate::app::{Answered, BulkAsk, BulkDone, BulkWhat};
use crate::domain::bulk::Mode;
use crate::domain::ids::ReservationId;
use crate::http::extract::ask::Ask;
use crate::http::extract::bodies::{BulkActionWord, BulkBody, BulkModeWord, millis};
use crate::http::extract::member::{Handle, Id};
use crate::http::failure;
use crate::http::problem::Problem;
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::view::{BulkLineView, BulkView};
use axum::extract::State;
use axum::http::StatusCode;
use std::sync::Arc;

/// Reserves, extends, confirms or releases up to 200 lines, together or each for itself.
#[utoipa::path(post, path = "/api/stock/reservations/bulk", tag = "reservations", request_body = BulkBody,
    responses(
        (status = 201, body = BulkView, description = "Every line was done"),
        (status = 200, body = BulkView, description = "Best effort: some lines were refused")))]
pub(crate) async fn bulk(
    State(site): State<Arc<Site>>,
    Ask { body, context }: Ask<BulkBody>,
) -> Result<Reply, Problem> {
    body.check()?;
    let mode = match body.mode {
        Some(BulkModeWord::BestEffort) => Mode::BestEffort,
        Some(BulkModeWord::AllOrNothing) | None => Mode::AllOrNothing,
    };
    let done = site
        .shop
        .bulk(
            &context,
            BulkAsk {
                mode,
                what: what(&body)?,
            },
        )
        .await;
    let done = done.map_err(|error| failure::problem(&error, Subject::default()))?;
    let status = if done.body.is_complete() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(Reply::json(status, &view(&done)).replayed(done.replayed))
}

fn what(body: &BulkBody) -> Result<BulkWhat, Problem> {
    Ok(match body.action {
        BulkActionWord::Reserve => BulkWhat::Reserve {
            lines: body.summed_lines()?,
            shopper: body.shopper(),
            ttl_ms: millis(body.ttl_seconds),
        },
        BulkActionWord::Extend => BulkWhat::Extend {
            ids: ids(body)?,
            by_ms: millis(body.seconds),
        },
        BulkActionWord::Confirm => BulkWhat::Confirm(ids(body)?),
        BulkActionWord::Release => BulkWhat::Release(ids(body)?),
    })
}

/// The reservations named, each once: the same work twice in one request is the same work.
fn ids(body: &BulkBody) -> Result<Vec<ReservationId>, Problem> {
    let mut ids = Vec::new();
    let named = body.reservation_ids.iter().flat_map(|list| &list.0);
    for (index, Id(Handle(text))) in named.enumerate() {
        let expected = "the id of a reservation, as this service gave it";
        let id = reservation_id(text)
            .map_err(|_| Problem::invalid_member(format!("reservationIds[{index}]"), expected))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn view(done: &Answered<BulkDone>) -> BulkView {
    let results: Vec<_> = done
        .body
        .lines
        .iter()
        .map(|(line, outcome)| BulkLineView::new(line, outcome, done.at))
        .collect();
    let succeeded = results.iter().filter(|line| line.ok).count();
    BulkView {
        succeeded,
        failed: results.len() - succeeded,
        results,
    }
}
