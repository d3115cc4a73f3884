//! How a command ends.
use std::process::ExitCode;

use crate::config::ConfigError;

/// The exit codes, a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Damage was found in stored data.
    Damage = 3,
    /// Two things differ, or a dry run would change something.
    Differs = 4,
    /// Refused because it is unsafe; the message names the flag that allows it.
    Unsafe = 5,
    /// The server cannot be reached.
    Unreachable = 6,
    /// The data directory is in use by another process.
    Locked = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: Exit,
    /// What happened, for a person.
    pub message: String,
    /// The command that helps next, ready to be pasted.
    pub next: Option<String>,
}

impl Failure {
    /// A failure with this code and message.
    pub fn new(code: Exit, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            next: None,
        }
    }

    /// A failure without a code of its own.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Names the command that helps next.
    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string()).next("holdfast config print")
    }
}
