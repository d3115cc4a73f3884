//! `/api/stock/variants/{id}/history`: the story of a variant's units.
use super::Reply;
use super::variants::problem;
use crate::app::{EventPlace, HistoryAsk, Moment};
use crate::domain::ids::VariantId;
use crate::domain::time::Timestamp;
use crate::http::extract::ask::Look;
use crate::http::extract::query::{Params, id};
use crate::http::problem::Problem;
use crate::http::site::Site;
use crate::http::view::HistoryView;
use axum::extract::{Path, State};
use std::sync::Arc;

/// Tells what happened to a variant, how it stood at a moment, and who held its last unit.
///
/// Every record there is of it is read, so one such question is answered at a time. Where records and stored states do not
/// reach back to the moment asked for, `history-too-old` names the first record that they reach.
#[utoipa::path(get, path = "/api/stock/variants/{id}/history", tag = "variants",
    params(
        ("at" = Option<String>, Query, description = "A moment such as 2026-11-21T08:30:00Z; now without."),
        ("number" = Option<u64>, Query, description = "A record's number, instead of `at`.")),
    responses((status = 200, body = HistoryView, description = "Its story, newest event first")))]
pub(crate) async fn list_history(
    State(site): State<Arc<Site>>,
    Path(variant): Path<String>,
    Look(context): Look,
    mut params: Params,
) -> Result<Reply, Problem> {
    let variant = id::<VariantId>("id", &variant)?;
    let at = moment(&mut params)?;
    let wanted = params.page()?;
    params.finish()?;
    let ask = HistoryAsk {
        at,
        before: wanted.after(site.shop.epoch(), place)?,
        limit: wanted.limit as usize,
    };
    let story = site.shop.history(&context, &variant, ask).await;
    let story = story.map_err(|error| problem(&error, &variant))?;
    Ok(Reply::ok(&HistoryView::new(&variant, &story, site.shop.epoch())))
}

fn moment(params: &mut Params) -> Result<Moment, Problem> {
    let at = params.text("at")?.map(|text| instant(&text)).transpose()?;
    let number = params.text("number")?.map(|text| number(&text)).transpose()?;
    match (at, number) {
        (Some(_), Some(_)) => Err(Problem::invalid_parameter("number", "at or number, not both")),
        (Some(at), None) => Ok(Moment::Time(at)),
        (None, Some(number)) => Ok(Moment::Number(number)),
        (None, None) => Ok(Moment::Now),
    }
}

fn instant(text: &str) -> Result<Timestamp, Problem> {
    let expected = "a moment such as 2026-11-21T08:30:00Z";
    crate::http::time::read(text).ok_or_else(|| Problem::invalid_parameter("at", expected))
}

fn number(text: &str) -> Result<u64, Problem> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Problem::invalid_parameter("number", "the number of a record"))
}

/// The place that a cursor's key names.
pub(crate) fn place(key: &[u8]) -> Option<EventPlace> {
    let (number, index) = key.split_first_chunk::<8>()?;
    Some(EventPlace {
        number: u64::from_be_bytes(*number),
        index: u32::from_be_bytes(index.try_into().ok()?),
    })
}
