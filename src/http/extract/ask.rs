//! A whole request that changes something: its body, and the key that makes a retry safe.
use super::bodies::Body;
use super::body::{check_content_type, parse};
use super::header::{Expected, idempotency_key, if_match};
use super::query::Params;
use crate::app::Context;
use crate::http::problem::{Code, Problem};
use crate::http::site::HasEdge;
use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;

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

/// The body of a route that takes none, but parameters that it judges itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamsOnly {}

impl Body for ParamsOnly {
    const OPTIONAL: bool = true;
    const PARAMS: bool = true;
}

impl<S: HasEdge, T: Body> FromRequest<S> for Ask<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let edge = state.edge();
        let (parts, body) = request.into_parts();
        if !T::PARAMS {
            // Dropped in silence, `?dryRun=true` where the body says it would be a clean-up.
            Params::of(&parts.uri)?.finish()?;
        }
        let key = idempotency_key(&parts.headers)?;
        if key.is_none() && edge.keys_required && !T::READS {
            return Err(Problem::new(Code::IdempotencyKeyMissing));
        }
        let limit = if T::BULK {
            edge.bulk_body_max
        } else {
            edge.body_max
        };
        let arriving = tokio::time::timeout(edge.body_deadline, collect(body, limit));
        let bytes = arriving.await.map_err(|_| Problem::new(Code::RequestTimeout))??;
        let body = if bytes.is_empty() && T::OPTIONAL {
            parse(b"{}")?
        } else {
            check_content_type(&parts.headers)?;
            parse(&bytes)?
        };
        let caller = edge.caller(&parts);
        let key = key.map(|key| {
            let (route, target) = address(&parts);
            edge.request_key(caller, key, (&route, target, &bytes))
        });
        Ok(Self {
            body,
            context: edge.context(caller, key),
        })
    }
}

async fn collect(body: HttpBody, limit: usize) -> Result<Bytes, Problem> {
    // A body that says it is too large is not waited for.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(_) => {
            Err(Problem::new(Code::MalformedRequest)
                .detail("the body broke off or was not framed as HTTP says"))
        }
    }
}

fn too_large(limit: usize) -> Problem {
    let problem = Problem::new(Code::BodyTooLarge).detail(format!("the body is larger than {limit} bytes"));
    problem.with("limitBytes", limit)
}

/// Route (method and template) and target (path and query) of a request, for its key's fingerprint.
pub(super) fn address(parts: &Parts) -> (String, &str) {
    let template = parts
        .extensions
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let method = parts.method.as_str();
    let mut route = String::with_capacity(method.len() + 1 + template.len());
    for part in [method, " ", template] {
        route.push_str(part);
    }
    (route, target)
}

/// A request that only looks.
#[derive(Clone, Debug)]
pub struct Look(pub Context);

impl<S: HasEdge> FromRequestParts<S> for Look {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let edge = state.edge();
        Ok(Self(edge.context(edge.caller(parts), None)))
    }
}

/// If-Match where it is required: that it is missing is said after what is wrong with the request itself.
#[derive(Clone, Copy, Debug)]
pub struct RequiredIfMatch(Option<Expected>);

impl RequiredIfMatch {
    /// What the caller believes is there.
    ///
    /// # Errors
    /// `precondition-required` without the header.
    pub fn expected(self) -> Result<Expected, Problem> {
        self.0.ok_or_else(|| Problem::new(Code::PreconditionRequired))
    }
}

impl<S: Sync> FromRequestParts<S> for RequiredIfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if_match(&parts.headers).map(Self)
    }
}

/// If-Match where it is optional: without one, whatever is there.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(pub Expected);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if_match(&parts.headers).map(|expected| Self(expected.unwrap_or(Expected::Any)))
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

#[cfg(test)]
mod tests;
