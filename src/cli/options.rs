//! The options that every command with a configuration shares.
use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::config::{Config, Loaded};

/// Where the configuration comes from, beside the environment.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigOptions {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A value over file and environment, like policy.ttl=10m; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
}

impl ConfigOptions {
    /// Lays defaults, file, environment and flags over each other; `flags` are the command's own flags under their
    /// dotted keys and win over `--set`.
    ///
    /// # Errors
    /// Exit code 2 with everything that is wrong, each with its source.
    pub fn load(&self, flags: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Failure> {
        let mut layered = self.set.clone();
        layered.extend(flags);
        Ok(Config::load(self.config.as_deref(), environment()?, &layered)?)
    }
}

/// The environment as text. Only a variable of ours must be text; others are nobody's business here.
pub(super) fn environment() -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("HOLDFAST__")) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| Failure::new(Exit::Usage, format!("environment variable {name} is not UTF-8")))?;
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if name.contains('.') => Ok((name.to_owned(), value.to_owned())),
        _ => Err("wanted section.key=value, like policy.ttl=10m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_contain_the_sign() {
        assert_eq!(
            pair("auth.admin_key=a=b"),
            Ok(("auth.admin_key".to_owned(), "a=b".to_owned()))
        );
        assert!(pair("policy.ttl").is_err());
        assert!(pair("ttl=1m").is_err());
    }
}
