//! A body too large for memory: a list of stock, laid down as it arrives. What arrives is bounded as a whole, and each part
//! of it must come in time; how long the whole takes is the sender's line's business.
use super::ask::address;
use super::header::idempotency_key;
use crate::app::{Context, RequestKey};
use crate::http::failure;
use crate::http::problem::{Code, Problem};
use crate::http::refusal::Subject;
use crate::http::site::Site;
use crate::http::stock_file::Format;
use crate::storage::spool::Spool;
use axum::body::{Body, HttpBody as _};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;

/// Bytes gathered before they are written.
const PART_BYTES: usize = 1 << 20;

/// A list that has arrived.
pub(crate) struct Upload {
    /// Its bytes.
    pub(crate) spool: Spool,
    /// Its form.
    pub(crate) format: Format,
    /// Who sent it under which key.
    pub(crate) context: Context,
}

/// Takes in a list; `keyed` where it is to change something.
///
/// # Errors
/// What is wrong with head or body, or the disk refuses.
pub(crate) async fn upload(site: &Site, parts: &Parts, body: Body, keyed: bool) -> Result<Upload, Problem> {
    let edge = site.edge();
    let format = format(&parts.headers)?;
    let key = idempotency_key(&parts.headers)?;
    if key.is_none() && edge.keys_required && keyed {
        return Err(Problem::new(Code::IdempotencyKeyMissing));
    }
    let spool = spooled(site, body).await?;
    let caller = edge.caller(parts);
    let key = key.filter(|_| keyed).map(|key| {
        let (route, target) = address(parts);
        RequestKey::of_spooled(edge.store(), caller, key, (&route, target, &spool))
    });
    Ok(Upload {
        context: edge.context(caller, key),
        spool,
        format,
    })
}

async fn spooled(site: &Site, mut body: Body) -> Result<Spool, Problem> {
    let (edge, shop) = (site.edge(), &site.shop);
    let said = |error| failure::problem(&error, Subject::default());
    let limit = edge.import_body_max as u64;
    let too_large = || {
        Problem::new(Code::BodyTooLarge)
            .detail(format!("the body is larger than {limit} bytes"))
            .with("limitBytes", limit)
    };
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let mut spooling = shop.spool().await.map_err(said)?;
    let (mut part, mut arrived) = (Vec::new(), 0);
    loop {
        let frame = tokio::time::timeout(edge.body_deadline, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Problem::new(Code::RequestTimeout))? else {
            break;
        };
        let frame = frame.map_err(|_| {
            Problem::new(Code::MalformedRequest).detail("the body broke off or was not framed as HTTP says")
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        arrived += bytes.len() as u64;
        if arrived > limit {
            return Err(too_large());
        }
        part.extend_from_slice(&bytes);
        if part.len() >= PART_BYTES {
            spooling = shop
                .push(spooling, std::mem::take(&mut part))
                .await
                .map_err(said)?;
        }
    }
    Ok(shop.push(spooling, part).await.map_err(said)?.finish())
}

/// The form that Content-Type says. A packed body is refused: what it unpacks to has no bound.
fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let unsupported = || Problem::new(Code::UnsupportedMediaType);
    let text = |name| {
        let value = headers
            .get(name)
            .map(|value: &axum::http::HeaderValue| value.to_str());
        value.transpose().map_err(|_| unsupported())
    };
    let encoding = text(header::CONTENT_ENCODING)?.unwrap_or("identity");
    if !encoding.trim().eq_ignore_ascii_case("identity") {
        return Err(unsupported().detail("send the list as it is, without Content-Encoding"));
    }
    let content_type = text(header::CONTENT_TYPE)?.unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    };
    if !parts.all(utf8) {
        return Err(unsupported().detail("lists are read as UTF-8"));
    }
    let known = Format::ALL
        .into_iter()
        .find(|format| format.media_type().eq_ignore_ascii_case(essence));
    known.ok_or_else(|| unsupported().detail("a list is text/csv or application/x-ndjson"))
}
