//! What can go wrong in a run that is no broken law.

use crate::http::Lost;

/// Something outside failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// A file, a process or a socket.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Redis or the way to it.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// PostgreSQL or the way to it.
    #[error("PostgreSQL: {}", deepest(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// An HTTP exchange.
    #[error(transparent)]
    Http(#[from] Lost),
    /// An answer nobody expected.
    #[error("{0}")]
    Unexpected(String),
    /// A server that did not come up or did not end.
    #[error("{0}")]
    Server(String),
    /// The operator or the clock ended the run.
    #[error("the run was ended: {0}")]
    Ended(&'static str),
}

impl Trouble {
    /// Says what was tried when the system failed.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

/// The client's own text says `db error` and keeps what the server said as the source.
fn deepest(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |told| told.message().to_owned())
}
