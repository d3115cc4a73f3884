//! `/api/stock/import` and `/api/stock/export`: a whole shop's list in and out.
use super::Reply;
use crate::app::Export;
use crate::http::extract::ask::Look;
use crate::http::extract::query::Params;
use crate::http::extract::upload::upload;
use crate::http::failure;
use crate::http::problem::{Code, Problem};
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::stock_file::{Format, Spooled};
use crate::http::view::ImportView;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// Where imports go: the frame gives them more time than other requests.
pub(crate) const IMPORT: &str = "/api/stock/import";

/// Bytes of an export that are written at a time.
const PART_BYTES: usize = 64 * 1024;
/// Parts of an export that wait for a slow reader.
const PARTS_WAITING_MAX: usize = 2;

/// Takes over a list of variants: those that are not there are made, the others changed as the list says.
///
/// Nothing is done when a line cannot be read, names a variant twice or books units of one that is not there: every such
/// line is told. Otherwise each line is one change of its variant; what a variant refuses (`below-held`) is reported in
/// `lines` and stops no other line.
///
/// With `atomic=true` a list of at most 200 lines happens as a whole or not at all: `lines-refused` names every line that its
/// variant refuses, and nothing is done. The change of all lines is one write of the log, and shoppers of these variants wait
/// the moment that it takes to ask all of them; whoever sees one line done finds every line done.
///
/// The columns of CSV are `id`, `productId`, `sku`, `name`, `category`, `price.amount`, `price.currency`, `onHand` or
/// `delta`, `safetyStock`, `backorderLimit`, `reservationMode`, `saleState`, `lowStockThreshold`, `opensAt`, `closesAt`,
/// `oneHoldPerCustomer`, `holdTtlSeconds`, `unitsPerCustomer`, `tags` and `attributes` (both JSON); a line of NDJSON has
/// the same members, with `price` as an object. Only `id` is needed; what is absent stays as it is; null, or an empty cell,
/// clears what can be cleared.
///
/// With an Idempotency-Key an import that was interrupted goes on where it stopped when it is sent again.
#[utoipa::path(post, path = "/api/stock/import", tag = "variants",
    params(
        ("dryRun" = Option<bool>, Query, description = "Only tell what would change."),
        ("atomic" = Option<bool>, Query, description = "All lines or none, of at most 200.")),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    responses((status = 200, body = ImportView, description = "Every line was judged")))]
pub(crate) async fn import_stock(State(site): State<Arc<Site>>, request: Request) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let mut params = Params::of(&parts.uri)?;
    let truth = [("true", true), ("false", false)];
    let dry_run = params.word("dryRun", &truth)?.unwrap_or(false);
    let atomic = params.word("atomic", &truth)?.unwrap_or(false);
    params.finish()?;
    let said = |error| failure::problem(&error, Subject::default());
    let seat = site.shop.import_seat().map_err(said)?;
    let upload = upload(&site, &parts, body, !dry_run).await?;
    let list = Arc::new(Spooled {
        spool: upload.spool,
        format: upload.format,
        by: Arc::clone(&upload.context.caller),
    });
    let (shop, context) = (&site.shop, &upload.context);
    if dry_run {
        let plan = if atomic {
            shop.plan_import_together(context, list).await
        } else {
            shop.plan_import(context, list).await
        };
        return Ok(Reply::ok(&ImportView::from(&plan.map_err(said)?)));
    }
    let done = if atomic {
        shop.import_together(context, list, seat).await
    } else {
        shop.import(context, list, seat).await
    };
    let done = done.map_err(said)?;
    Ok(Reply::ok(&ImportView::from(&done.body)).replayed(done.replayed))
}

/// Writes every variant in order of ids, with everything that an import can set.
///
/// Each line tells how its variant stood when it was written. An export that cannot be whole breaks off.
#[utoipa::path(get, path = "/api/stock/export", tag = "variants",
    params(("format" = Option<String>, Query, description = "`csv` or `ndjson`; Accept decides without it.")),
    responses((status = 200, description = "The list",
        content((String = "text/csv"), (String = "application/x-ndjson")))))]
pub(crate) async fn export_stock(
    State(site): State<Arc<Site>>,
    Look(context): Look,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let words = Format::ALL.map(|format| (format.word(), format));
    let named = params.word("format", &words)?;
    params.finish()?;
    let format = match named {
        Some(format) => format,
        None => accepted(&headers)?,
    };
    let export = site.shop.export(&context).await;
    let export = export.map_err(|error| failure::problem(&error, Subject::default()))?;
    let (parts, body) = mpsc::channel(PARTS_WAITING_MAX);
    tokio::spawn(write(export, format, parts));
    let file = format!("attachment; filename=\"stock.{}\"", format.word());
    let file = HeaderValue::try_from(file).expect("a word of ours");
    let content_type = match format {
        Format::Csv => HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
        Format::Ndjson => HeaderValue::from_static(Format::Ndjson.media_type()),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_DISPOSITION, file),
    ];
    let body = Body::new(Parts(body));
    Ok((StatusCode::OK, headers, body).into_response())
}

/// The form that the caller takes; the usual one when any will do.
fn accepted(headers: &HeaderMap) -> Result<Format, Problem> {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            any = true;
            let (range, weight) = range.split_once(';').unwrap_or((range, ""));
            if weight.replace(' ', "") == "q=0" {
                continue;
            }
            let range = range.trim().to_ascii_lowercase();
            let takes = |format: &Format| match range.split_once('/') {
                Some(("*", "*")) => true,
                Some((kind, "*")) => format.media_type().starts_with(&format!("{kind}/")),
                Some(_) | None => format.media_type() == range,
            };
            if let Some(format) = Format::ALL.into_iter().find(takes) {
                return Ok(format);
            }
        }
    }
    if any {
        return Err(Problem::new(Code::NotAcceptable));
    }
    Ok(Format::Csv)
}

/// Writes an export as fast as it is read.
async fn write(mut export: Export, format: Format, parts: mpsc::Sender<io::Result<Bytes>>) {
    let mut part = Vec::with_capacity(PART_BYTES);
    format.write_head(&mut part);
    loop {
        let next = export.next().await;
        match next {
            Ok(Some((id, sheet))) => format.write_line(&id, &sheet, &mut part),
            Ok(None) => {
                // Whoever has hung up misses nothing.
                let _ = parts.send(Ok(Bytes::from(part))).await;
                return;
            }
            Err(error) => {
                // Logged here, because the head of the answer has left: all that can be done is to break off.
                tracing::error!(%error, "an export broke off");
                let _ = parts.send(Err(io::Error::other("the export broke off"))).await;
                return;
            }
        }
        if part.len() >= PART_BYTES {
            let whole = std::mem::replace(&mut part, Vec::with_capacity(PART_BYTES));
            if parts.send(Ok(Bytes::from(whole))).await.is_err() {
                return;
            }
        }
    }
}

/// A body that somebody else writes.
struct Parts(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let part = ready!(self.0.poll_recv(context));
        Poll::Ready(part.map(|part| part.map(Frame::data)))
    }
}
