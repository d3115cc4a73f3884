//! A whole request that changes something: its body, and the key that makes a retry safe.
use super::bodies::Body;
use super::body::{check_content_type, parse};
use super::header::{Expected, idempotency_key, if_match, required_if_match};
use super::query::Params;
use crate::app::Context;
use crate::http::problem::{Code, Problem};
use crate::http::site::Site;
use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use std::sync::Arc;

/// A request that changes something: its body, and who asks under which key.
#[derive(Clone, Debug)]
pub struct Ask<T> {
    /// The body, checked.
    pub body: T,
    /// Store, caller, key and deadline.
    pub context: Context,
}

/// The body of a route that takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoBody {}

impl Body for NoBody {
    const OPTIONAL: bool = true;
}

impl<T: Body> FromRequest<Arc<Site>> for Ask<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key = idempotency_key(&parts.headers)?;
        if key.is_none() && site.keys_required {
            return Err(Problem::new(Code::IdempotencyKeyMissing));
        }
        let limit = if T::BULK {
            site.bulk_body_max
        } else {
            site.body_max
        };
        let arriving = tokio::time::timeout(site.body_deadline, collect(body, limit));
        let bytes = arriving.await.map_err(|_| Problem::new(Code::RequestTimeout))??;
        let body = if bytes.is_empty() && T::OPTIONAL {
            parse(b"{}")?
        } else {
            check_content_type(&parts.headers)?;
            parse(&bytes)?
        };
        let key = key.map(|key| {
            let (route, target) = address(&parts);
            site.request_key(key, &route, target, &bytes)
        });
        Ok(Self {
            body,
            context: site.context(key),
        })
    }
}

async fn collect(body: HttpBody, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let problem =
                Problem::new(Code::BodyTooLarge).detail(format!("the body is larger than {limit} bytes"));
            Err(problem.with("limitBytes", limit))
        }
        Err(_) => {
            Err(Problem::new(Code::MalformedRequest)
                .detail("the body broke off or was not framed as HTTP says"))
        }
    }
}

/// Route (method and template) and target (path and query) of a request, for its key's fingerprint.
fn address(parts: &Parts) -> (String, &str) {
    let template = parts
        .extensions
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    (format!("{} {template}", parts.method), target)
}

/// A request that only looks.
#[derive(Clone, Debug)]
pub struct Look(pub Context);

impl FromRequestParts<Arc<Site>> for Look {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, site: &Arc<Site>) -> Result<Self, Problem> {
        Ok(Self(site.context(None)))
    }
}

/// If-Match where it may be absent.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(pub Option<Expected>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if_match(&parts.headers).map(Self)
    }
}

/// If-Match where it is required.
#[derive(Clone, Copy, Debug)]
pub struct RequiredIfMatch(pub Expected);

impl<S: Sync> FromRequestParts<S> for RequiredIfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        required_if_match(&parts.headers).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_tells_paths_and_queries_apart() {
        let of = |method: &str, uri: &str| {
            let (parts, ()) = axum::http::Request::builder()
                .method(method)
                .uri(uri)
                .body(())
                .unwrap()
                .into_parts();
            let (route, target) = address(&parts);
            (route, target.to_owned())
        };
        let all = [
            of("POST", "/a/1"),
            of("PUT", "/a/1"),
            of("POST", "/a/2"),
            of("POST", "/a/1?x=1"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(index));
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(collect(HttpBody::from("1234"), 4).await.unwrap(), "1234");
        assert_eq!(
            collect(HttpBody::from("12345"), 4).await.unwrap_err().code(),
            Code::BodyTooLarge
        );
    }
}
