//! The handlers, one file per resource: typed path, query and body in, one call of the app, one view out.
pub(crate) mod admin;
pub(crate) mod bulk;
pub(crate) mod carts;
pub(crate) mod history;
pub(crate) mod orders;
pub(crate) mod reservations;
pub(crate) mod restore;
pub(crate) mod snapshots;
pub(crate) mod sold;
pub(crate) mod stock;
pub(crate) mod stock_file;
pub(crate) mod variants;

use super::extract::header::{CART_TOKEN, Expected, IDEMPOTENT_REPLAYED, etag};
use super::site::Site;
use super::view::ListPage;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt::Write as _;

/// What most answers fit into, bytes: a reservation is about 600.
const BODY_BYTES: usize = 1024;

/// Headers of an answer: six of ours, and room for what the server adds.
const HEADERS: usize = 12;

/// An answer being put together: a body, then its headers.
pub(crate) struct Reply(Response);

impl Reply {
    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::written(status, |bytes| {
            serde_json::to_writer(bytes, body).expect("views are plain data");
        })
    }

    /// A JSON body written in one piece of memory from the first byte to the socket; axum's own way copies it when it is
    /// complete.
    fn written(status: StatusCode, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(BODY_BYTES);
        write(&mut bytes);
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Self(response)
    }

    fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    fn no_content() -> Self {
        Self(StatusCode::NO_CONTENT.into_response())
    }

    /// The version that If-Match can name.
    fn etag(mut self, version: u64) -> Self {
        self.0.headers_mut().insert(header::ETAG, etag(version));
        self
    }

    /// Where the created thing is.
    fn location(mut self, collection: &str, id: impl std::fmt::Display) -> Self {
        let mut path = String::with_capacity(collection.len() + LOCATION_ID_BYTES);
        path.push_str(collection);
        path.push('/');
        write!(Escaped(&mut path), "{id}").expect("a string takes everything");
        let path = HeaderValue::try_from(path).expect("escaped to visible ASCII");
        self.0.headers_mut().insert(header::LOCATION, path);
        self
    }

    /// The token that a guest's new cart is acted on with.
    fn cart_token(mut self, token: Option<&str>) -> Self {
        if let Some(token) = token {
            let token = HeaderValue::try_from(token).expect("hexadecimal digits");
            self.0.headers_mut().insert(CART_TOKEN, token);
        }
        self
    }

    /// Says that an idempotency key brought back an earlier answer.
    fn replayed(mut self, replayed: bool) -> Self {
        if replayed {
            self.0
                .headers_mut()
                .insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        }
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.0
    }
}

/// Room for an id of ours and its slash.
const LOCATION_ID_BYTES: usize = 48;

/// What is written to it becomes a segment of a path (RFC 3986: whatever is not unreserved is escaped).
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                self.0.push(char::from(byte));
            } else {
                write!(self.0, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// The version the app must find; `None` takes any.
const fn version(expected: Expected) -> Option<u64> {
    match expected {
        Expected::Any => None,
        Expected::Version(version) => Some(version),
    }
}

fn page<T>(site: &Site, items: Vec<T>, next: Option<Vec<u8>>) -> ListPage<T> {
    ListPage::new(site.shop.epoch(), items, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_becomes_one_segment_of_a_path() {
        for (id, segment) in [("a b/ü?", "a%20b%2F%C3%BC%3F"), ("rsv_0-1.2~", "rsv_0-1.2~")] {
            let reply = Reply::no_content().location("/api/things", id);
            assert_eq!(
                reply.0.headers()[header::LOCATION],
                format!("/api/things/{segment}")
            );
        }
    }
}
