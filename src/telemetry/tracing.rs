//! The set-up of log lines: to stderr, for people or for collectors.
//!
//! Field names are the same everywhere: `request_id`, `variant`, `reservation`, `record`, `duration_ms`.
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// The span of one request: every line written while it is served carries its `request_id` and its trace.
pub fn request_span(request_id: &str, traceparent: &str, method: &str, route: &str) -> tracing::Span {
    tracing::info_span!("request", request_id, traceparent, method, route)
}

/// Why log lines cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TracingError {
    /// `log.level` is neither a level nor a filter.
    #[error(
        "log.level \"{level}\" is neither a level (error, warn, info, debug, trace) nor a filter: {message}"
    )]
    Level {
        /// What was written.
        level: String,
        /// What the parser says.
        message: String,
    },
    /// The process has been set up before.
    #[error("log lines are set up already")]
    Twice,
}

/// Sends log lines of `level` and above to stderr for the rest of the process.
///
/// # Errors
/// A level that cannot be read; a second set-up in one process.
pub fn install(format: LogFormat, level: &str) -> Result<(), TracingError> {
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    subscriber(format, level, colours, std::io::stderr)?
        .try_init()
        .map_err(|_| TracingError::Twice)
}

fn subscriber<W>(
    format: LogFormat,
    level: &str,
    colours: bool,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, TracingError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|error| TracingError::Level {
            level: level.to_owned(),
            message: error.to_string(),
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(lines.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, level: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, level, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            request_span("req-1", "00-1-2-00", "GET", "/api/stock").in_scope(|| {
                tracing::info!(variant = "123", "held");
                tracing::debug!("too quiet");
            });
        });
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_carry_their_request() {
        let text = written(LogFormat::Text, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("request_id=\"req-1\"") && text.contains("traceparent=\"00-1-2-00\""),
            "{text}"
        );
        assert!(
            text.contains("variant=\"123\"") && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    #[test]
    fn json_lines_are_objects() {
        let line: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, "info")).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["variant"]),
            (&"INFO".into(), &"held".into(), &"123".into())
        );
        assert_eq!(line["span"]["request_id"], "req-1");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let refused = subscriber(LogFormat::Text, "holdfast=loud", false, std::io::stderr)
            .err()
            .unwrap();
        assert!(
            refused
                .to_string()
                .starts_with("log.level \"holdfast=loud\" is neither"),
            "{refused}"
        );
        assert!(
            subscriber(
                LogFormat::Text,
                "info,holdfast::storage=debug",
                false,
                std::io::stderr
            )
            .is_ok()
        );
    }
}
