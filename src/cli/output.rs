//! The two ways out: data to stdout, messages to stderr.
#![expect(
    clippy::print_stderr,
    reason = "the one place that writes an operator's messages"
)]
use std::io::Write as _;

use serde::Serialize;
use serde_json::json;

use super::{Exit, Failure};

/// How a command talks: for people, or with `--json` for programs.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For programs when `json`.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether `--json` was given.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Writes data: `text` as it stands, or `value` as one line of JSON.
    ///
    /// # Errors
    /// When stdout cannot be written. A reader that has closed its end (`| head`) is none: it wants no more.
    pub fn data(self, text: impl FnOnce() -> String, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.json {
            let line = serde_json::to_string(value)
                .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
            format!("{line}\n")
        } else {
            text()
        };
        Self::bytes(text.as_bytes())
    }

    /// Writes data that is neither text nor JSON of ours, like a manual page.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
                Exit::Failed,
                format!("cannot write to stdout: {error}"),
            )),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Tells a person something that is not data; silent with `--json`.
    pub fn note(self, message: &str) {
        if !self.json {
            eprintln!("{message}");
        }
    }

    /// Tells a person which command helps next.
    pub fn next(self, command: &str) {
        self.note(&format!("\nnext: {command}"));
    }

    /// Tells why the command failed and what helps next.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            let told =
                json!({ "error": failure.message, "exitCode": failure.code as u8, "next": failure.next });
            eprintln!("{told}");
            return;
        }
        eprintln!("error: {}", failure.message.replace('\n', "\n       "));
        if let Some(next) = &failure.next {
            self.next(next);
        }
    }
}
