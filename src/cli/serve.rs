//! `holdfast serve`: from flags to a running server.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{ConfigOptions, Exit, Failure, Output};
use crate::config::Loaded;
use crate::telemetry;

/// How to serve.
#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    /// Fill an empty data directory with the demo shop
    #[arg(long)]
    pub(super) demo: bool,
    /// Data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the public API [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address of the operations listener [default: 127.0.0.1:3001]
    #[arg(long, value_name = "ADDRESS:PORT")]
    ops_listen: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigOptions,
    /// Start although the wall clock is far behind the last record
    #[arg(long)]
    pub(super) accept_clock: bool,
}

impl ServeOptions {
    /// The flags that are limits, under their dotted keys.
    fn flags(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut flags = Vec::new();
        if let Some(dir) = &self.data_dir {
            flags.push(("data.dir".to_owned(), text_of(dir)?));
        }
        for (key, address) in [
            ("server.listen", self.listen),
            ("server.ops_listen", self.ops_listen),
        ] {
            flags.extend(address.map(|address| (key.to_owned(), address.to_string())));
        }
        Ok(flags)
    }
}

/// A path of the command line as the text that the configuration keeps.
pub(super) fn text_of(path: &std::path::Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(Exit::Usage, format!("{} is not UTF-8", path.display())))
}

pub(super) fn run(options: &ServeOptions, _output: Output) -> Result<(), Failure> {
    let loaded = prepare(options)?;
    let server = &loaded.config.server;
    Err(Failure::failed(format!(
        "nothing listens on {} yet: this build has no engine",
        server.listen
    )))
}

/// Loads the configuration, refuses what is unsafe, sets up log lines and metrics, and says what is used.
fn prepare(options: &ServeOptions) -> Result<Loaded, Failure> {
    let loaded = options.config.load(options.flags()?)?;
    let config = &loaded.config;
    refuse_exposure(&loaded)?;
    telemetry::tracing::install(config.log.format, &config.log.level)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    telemetry::install();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data.dir.display(),
        journal = ?config.journal.backend,
        demo = options.demo,
        accept_clock = options.accept_clock,
        "starting"
    );
    if config.auth.admin_key.is_none() {
        tracing::warn!("no auth.admin_key: whoever reaches this machine's loopback may do everything");
    }
    Ok(loaded)
}

/// Without credentials the server is open, and an open server stays on loopback.
fn refuse_exposure(loaded: &Loaded) -> Result<(), Failure> {
    if !loaded.config.is_exposed() {
        return Ok(());
    }
    let listen = loaded.config.server.listen;
    let message = format!("{listen} is reachable from other machines and no auth.admin_key is set");
    Err(Failure::new(Exit::Unsafe, message).next(format!(
        "HOLDFAST__AUTH__ADMIN_KEY=\"$(openssl rand -hex 32)\" holdfast serve --listen {listen}"
    )))
}
