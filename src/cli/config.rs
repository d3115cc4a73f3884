//! `holdfast config print` and `holdfast config check`.
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::options::environment;
use super::{ConfigOptions, Exit, Failure, Output};
use crate::config::{Config, Problem};

/// The commands under `config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key with its value and source; secrets are masked
    Print(ConfigOptions),
    /// Check a configuration file, whatever the environment says, or without one what `serve` would start with
    Check(CheckOptions),
}

/// What to check.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Configuration file (TOML)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(command: ConfigCommand, output: Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Print(options) => {
            let loaded = options.load([])?;
            output.data(|| loaded.table(), &loaded.rows())
        }
        ConfigCommand::Check(options) => check(&options, output),
    }
}

fn check(options: &CheckOptions, output: Output) -> Result<(), Failure> {
    let (file, loaded) = match &options.file {
        Some(file) => (
            Some(file.display().to_string()),
            Config::load(Some(file), [], &[]),
        ),
        None => (None, Config::load(None, environment()?, &[])),
    };
    let problems = match loaded {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(Problem::to_string).collect(),
    };
    let valid = problems.is_empty();
    let verdict = || {
        if valid {
            format!("{}: valid\n", file.as_deref().unwrap_or("the configuration"))
        } else {
            String::new()
        }
    };
    output.data(
        verdict,
        &json!({ "file": file, "valid": valid, "problems": problems }),
    )?;
    if valid {
        Ok(())
    } else {
        Err(Failure::new(Exit::Usage, problems.join("\n")))
    }
}
