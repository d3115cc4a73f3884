//! Who may call. Without an admin key the service is open, and then it listens on loopback only (the configuration
//! refuses anything else); with one, every `/api` route wants it as a bearer token.
use super::problem::{Code, Problem};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The key that callers must show. Only its hash is kept, so that neither a dump nor the time a comparison takes tells
/// its length or content.
#[derive(Clone)]
pub struct AdminKey([u8; 32]);

impl AdminKey {
    /// Takes the key's text.
    pub fn new(key: &str) -> Self {
        Self(*blake3::hash(key.as_bytes()).as_bytes())
    }

    fn opens_for(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
        else {
            return false;
        };
        let Some((scheme, token)) = value.split_once(' ') else {
            return false;
        };
        let shown = blake3::hash(token.trim_start().as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && bool::from(shown.as_bytes().ct_eq(&self.0))
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(masked)")
    }
}

/// Lets a request pass that shows the key.
pub async fn require_key(State(key): State<Arc<AdminKey>>, request: Request, next: Next) -> Response {
    if key.opens_for(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(Code::Unauthenticated).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_the_whole_key_opens() {
        let key = AdminKey::new("s3cret");
        let opens = |value: &'static str| {
            key.opens_for(&HeaderMap::from_iter([(
                header::AUTHORIZATION,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(opens("Bearer s3cret") && opens("bearer s3cret"));
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cretx",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(!opens(refused), "{refused}");
        }
        assert!(!key.opens_for(&HeaderMap::new()));
        assert_eq!(format!("{key:?}"), "AdminKey(masked)");
    }
}
