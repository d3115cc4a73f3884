//! `holdfast healthcheck`: one plain GET of `/readyz` on the operations listener; what a container's HEALTHCHECK runs.
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::online::{Address, Server};
use super::{ConfigOptions, Failure, Output};

/// How long the server may show no sign of life.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to ask.
#[derive(Debug, Args)]
pub(super) struct HealthcheckOptions {
    /// Whom to ask [default: /readyz on server.ops_listen of the configuration]
    #[arg(long, value_name = "URL", value_parser = Address::read)]
    url: Option<Address>,
    #[command(flatten)]
    config: ConfigOptions,
}

pub(super) fn run(options: &HealthcheckOptions, output: Output) -> Result<(), Failure> {
    let address = match &options.url {
        Some(address) => address.clone(),
        None => Address::of_listener(options.config.load([])?.config.server.ops_listen),
    };
    let path = address.path().unwrap_or("/readyz").to_owned();
    let server = Server::at(&address.root())?.patient(PATIENCE);
    let url = format!("{}{path}", server.address());
    let status = server.get(&path)?.status();
    let ready = status == 200;
    let word = || {
        if ready {
            "ready\n".to_owned()
        } else {
            format!("not ready ({status})\n")
        }
    };
    output.data(word, &json!({ "url": url, "status": status, "ready": ready }))?;
    if ready {
        Ok(())
    } else {
        Err(Failure::failed(format!("{url} answered {status}")))
    }
}
