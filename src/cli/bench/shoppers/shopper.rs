//! One shopper's connection: JSON in, JSON out.
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::cli::bench::wire::{Connection, Lost};

/// How often a request is repeated, under its key, after being turned away or losing its answer.
const REPEATS_MAX: u32 = 30;

/// A shopper.
#[derive(Debug)]
pub(super) struct Shopper {
    connection: Connection,
    /// Begins every key of this run.
    run: String,
    next_key: u64,
    /// Requests sent, repeats included.
    pub(super) requests: u64,
    /// Requests that were turned away or lost and sent again.
    pub(super) repeats: u64,
}

/// An answer: status and body; no body is `null`.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Told {
    /// A text member of the body.
    pub(super) fn text(&self, member: &str) -> Option<String> {
        self.body.get(member)?.as_str().map(str::to_owned)
    }

    /// The problem's code and detail, for a report.
    pub(super) fn trouble(&self, request: &str) -> String {
        let code = self.text("code").unwrap_or_default();
        let detail = self.text("detail").unwrap_or_default();
        format!("{request} was answered {} {code} {detail}", self.status)
    }
}

impl Shopper {
    /// A shopper at a server; `lane` keeps the keys of several apart.
    pub(super) fn new(address: SocketAddr, run: &str, lane: usize) -> Self {
        Self {
            connection: Connection::new(address),
            run: format!("{run}-{lane:x}"),
            next_key: 0,
            requests: 0,
            repeats: 0,
        }
    }

    /// Sends one request under a key of its own and insists on an answer: turned away (429, 503) or cut off it asks again
    /// under the same key, which is what the key is for.
    ///
    /// # Errors
    /// The server could not be reached, again and again.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Told, Lost> {
        self.next_key += 1;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: {}-{:x}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.run,
            self.next_key,
            body.len(),
        );
        let mut repeats = 0;
        loop {
            self.requests += 1;
            let pause = match self.connection.exchange(request.as_bytes()).await {
                Ok(answer) if !matches!(answer.status, 429 | 503) => {
                    let status = answer.status;
                    let body = if answer.body.is_empty() {
                        Value::Null
                    } else {
                        serde_json::from_slice(answer.body)
                            .map_err(|error| Lost::Malformed(error.to_string()))?
                    };
                    return Ok(Told { status, body });
                }
                Ok(answer) => u64::from(answer.retry_after_seconds.unwrap_or(1)) * 1000,
                Err(lost) if repeats >= REPEATS_MAX => return Err(lost),
                Err(_) => 100,
            };
            repeats += 1;
            self.repeats += 1;
            if repeats > REPEATS_MAX {
                return Err(Lost::Malformed(format!(
                    "{method} {path} is turned away for ever"
                )));
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}
