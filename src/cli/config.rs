//! `holdfast config print` and `holdfast config check`.
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{ConfigOptions, Exit, Failure, Output};
use crate::config::{Config, Problem};

/// The commands under `config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key with its value and source; secrets are masked
    Print(ConfigOptions),
    /// Check a configuration file, whatever the environment says
    Check(CheckOptions),
}

/// What to check.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Configuration file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
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
    let file = options.file.display();
    let problems = match Config::load(Some(&options.file), [], &[]) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(Problem::to_string).collect(),
    };
    let valid = problems.is_empty();
    let verdict = || {
        if valid {
            format!("{file}: valid\n")
        } else {
            String::new()
        }
    };
    output.data(
        verdict,
        &json!({ "file": file.to_string(), "valid": valid, "problems": problems }),
    )?;
    if valid {
        Ok(())
    } else {
        Err(Failure::new(Exit::Usage, problems.join("\n")))
    }
}
