//! `/api/stock/reservations/bulk`: one outcome over several variants.
use super::Reply;
use crate::app::{Answered, BulkAsk, BulkDone, BulkWhat};
use crate::domain::bulk::Mode;
use crate::http::extract::ask::Ask;
use crate::http::extract::bodies::{BulkActionWord, BulkBody, BulkModeWord, millis};
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
            ids: body.reservations(),
            by_ms: millis(body.seconds),
        },
        BulkActionWord::Confirm => BulkWhat::Confirm(body.reservations()),
        BulkActionWord::Release => BulkWhat::Release(body.reservations()),
    })
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
