//! One keep-alive HTTP/1.1 connection with as little cost as we can have: bytes built before, one write, reused buffers, no header map.
//! Holdfast, the fronts and the echo are asked by this and nothing else.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ask;

/// First size of the read buffer: one ordinary answer in one read.
const ANSWER_BYTES_USUAL: usize = 4 << 10;
/// Most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most headers of one answer.
const HEADERS_MAX: usize = 32;

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The connection failed.
    #[error("the connection to {0} failed: {1}")]
    Broken(SocketAddr, std::io::Error),
    /// The server closed it before the answer was complete.
    #[error("{0} closed the connection before the answer was complete")]
    Closed(SocketAddr),
    /// The bytes were not an answer we understand.
    #[error("not an HTTP answer: {0}")]
    Malformed(String),
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body's bytes.
    pub(crate) body: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Lost> {
        let broken = |error| Lost::Broken(address, error);
        let stream = TcpStream::connect(address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let input = vec![0; ANSWER_BYTES_USUAL];
        Ok(Self {
            address,
            stream,
            input,
        })
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Lost> {
        let broken = |error| Lost::Broken(self.address, error);
        self.stream.write_all(request).await.map_err(broken)?;
        let mut filled = 0;
        let mut head = None;
        loop {
            if filled == self.input.len() {
                if filled >= ANSWER_BYTES_MAX {
                    return Err(Lost::Malformed(format!("above {ANSWER_BYTES_MAX} bytes")));
                }
                self.input.resize(filled * 2, 0);
            }
            let read = self.stream.read(&mut self.input[filled..]).await;
            match read.map_err(broken)? {
                0 => return Err(Lost::Closed(self.address)),
                read => filled += read,
            }
            if head.is_none() {
                head = parse_head(&self.input[..filled])?;
            }
            let Some(known) = head else { continue };
            let whole = known.head_bytes + known.body_bytes;
            if filled > whole {
                return Err(Lost::Malformed("bytes after the answer".to_owned()));
            }
            if filled == whole {
                return Ok(Answer {
                    status: known.status,
                    body: &self.input[known.head_bytes..whole],
                });
            }
        }
    }

    /// Asks what is no part of the measurement.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer<'_>, Lost> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.exchange(request.as_bytes()).await
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Lost> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(bytes)
        .map_err(|error| Lost::Malformed(error.to_string()))?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let mut head = Head {
        status: response.code.expect("a complete head has a status"),
        head_bytes,
        body_bytes: 0,
    };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.parse().ok());
            head.body_bytes =
                length.ok_or_else(|| Lost::Malformed("a content-length that is no number".to_owned()))?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Lost::Malformed("a chunked answer".to_owned()));
        }
    }
    Ok(Some(head))
}

/// The bytes of a reserve; from one request to the next only the digits of key and customer change.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    key_at: usize,
    customer_at: usize,
}

impl Template {
    /// A reserve sent to this path.
    pub(crate) fn reserve(path: &str) -> Self {
        let (key, customer) = (ask::key(0), ask::customer(0));
        let body = format!(
            "{{\"variantId\":\"{}\",\"quantity\":1,\"customerId\":\"{customer}\",\"ttlSeconds\":{}}}",
            ask::VARIANT,
            ask::TTL_MS / 1_000
        );
        let length = body.len();
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        // Behind the letter that says what it is.
        let key_at = bytes.find(&key).expect("just written") + 1;
        let customer_at = bytes.find(&customer).expect("just written") + 1;
        Self {
            bytes: bytes.into_bytes(),
            key_at,
            customer_at,
        }
    }

    /// The request with this number.
    pub(crate) fn numbered(&mut self, number: u64) -> &[u8] {
        for (at, shift) in (0..64).step_by(4).rev().enumerate() {
            let digit = b"0123456789abcdef"[(number >> shift & 15) as usize];
            self.bytes[self.key_at + at] = digit;
            self.bytes[self.customer_at + at] = digit;
        }
        &self.bytes
    }
}

/// The hold's id at the head of a reservation's JSON.
pub(crate) fn answered_id(body: &[u8]) -> Option<u128> {
    let rest = body.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|&byte| byte == b'"')?;
    ask::hold_id(std::str::from_utf8(&rest[..end]).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_differs_in_key_and_customer_only() {
        let mut template = Template::reserve("/api/stock/reservations");
        let text = String::from_utf8(template.numbered(0xab_cdef).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Idempotency-Key: k0000000000abcdef\r\n"), "{head}");
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        let told = r#"{"variantId":"hot","quantity":1,"customerId":"c0000000000abcdef","ttlSeconds":900}"#;
        assert_eq!(body, told);
        assert_eq!(ask::key(0xab_cdef), "k0000000000abcdef");
    }

    #[test]
    fn an_answer_tells_its_hold() {
        let body = format!("{{\"id\":\"{}\",\"quantity\":1}}", ask::hold_text(42));
        assert_eq!(answered_id(body.as_bytes()), Some(42));
        assert_eq!(answered_id(b"{}"), None);
    }

    #[test]
    fn a_head_is_understood_once_it_is_whole() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nETag: 1\r\n\r\n{}";
        assert!(parse_head(&text[..30]).unwrap().is_none());
        let head = parse_head(text).unwrap().unwrap();
        assert_eq!((head.status, head.body_bytes), (201, 2));
        assert!(parse_head(b"SSH-2.0\r\n\r\n").is_err());
    }
}
