//! `holdfast verify`: the laws over a data directory.
use std::path::PathBuf;

use clap::Args;

use super::{ConfigOptions, Failure, Output, serve};
use crate::config::Loaded;

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct VerifyOptions {
    /// Data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

pub(super) fn run(options: &VerifyOptions, _output: Output) -> Result<(), Failure> {
    let loaded = prepare(options)?;
    Err(Failure::failed(format!(
        "this build cannot read {}: it has no engine",
        loaded.config.data.dir.display()
    )))
}

/// Loads the configuration and makes sure that there is something to verify.
fn prepare(options: &VerifyOptions) -> Result<Loaded, Failure> {
    let mut flags = Vec::new();
    if let Some(dir) = &options.data_dir {
        flags.push(("data.dir".to_owned(), serve::text_of(dir)?));
    }
    let loaded = options.config.load(flags)?;
    let dir = &loaded.config.data.dir;
    if !dir.is_dir() {
        let message = format!("there is no data directory {}", dir.display());
        return Err(Failure::failed(message).next(format!("holdfast serve --data-dir {}", dir.display())));
    }
    Ok(loaded)
}
