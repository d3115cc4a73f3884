//! `holdfast serve`: from flags to a running server.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::data_dir::{failed_to_open, text_of};
use super::{ConfigOptions, Exit, Failure, Output, demo};
use crate::app::{House, OnFatal, Opened, Seed, Shop, ShopOptions, Stage, Time, configured_journal};
use crate::clock::Stopwatch;
use crate::config::Loaded;
use crate::http::frame::Frame;
use crate::http::front::Front;
use crate::http::health::Health;
use crate::http::listener::{self, Drained, ListenerLimits};
use crate::http::operations::{Operations, operations};
use crate::storage::snapshot::SnapshotReader;
use crate::telemetry;
use crate::telemetry::metrics::metrics;
use crate::workers::threads;

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

pub(super) fn run(options: &ServeOptions, output: Output) -> Result<(), Failure> {
    let loaded = Arc::new(prepare(options)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(serve(options, &loaded, output))
}

/// The life of a server: the operations listener opens first and closes last, the public one only while there is a shop.
async fn serve(options: &ServeOptions, loaded: &Arc<Loaded>, output: Output) -> Result<(), Failure> {
    let server = &loaded.config.server;
    let telemetry = telemetry::install();
    tokio::spawn(telemetry.keep_up());
    let health = Arc::new(Health::default());
    let (ops, ops_address) = bind(server.ops_listen).await?;
    let state = Operations {
        health: Arc::clone(&health),
        metrics: Arc::new(|| telemetry.render()),
    };
    let ops_router = operations(state, Frame::new(server));
    let (close_ops, ops_closes) = oneshot::channel::<()>();
    let ops = tokio::spawn(listener::serve(
        ops,
        ops_router,
        ListenerLimits::operations(server),
        async {
            // Closed by name below, or by a failure that ends this function.
            let _ = ops_closes.await;
        },
    ));

    let shop = open(options, loaded, &health).await?;
    let (public, address) = bind(server.listen).await?;
    let house = House::new(shop, configured_journal(&loaded.config), ending());
    let front = Front::of(&house, loaded, &health);
    health.ready();
    tracing::info!(api = %address, ops = %ops_address, "ready");
    let told =
        serde_json::json!({ "api": format!("http://{address}"), "ops": format!("http://{ops_address}") });
    output.data(
        || format!("listening api=http://{address} ops=http://{ops_address}\n"),
        &told,
    )?;

    let ends = end_wanted(Arc::clone(&house), Arc::clone(&health));
    let drained = listener::serve(public, front, ListenerLimits::public(server), ends).await;
    if drained == Drained::Cut {
        tracing::warn!("the drain deadline passed; connections were cut");
    }
    house.close().await;
    let _ = close_ops.send(());
    // The operations listener has nothing that could fail to end.
    let _ = ops.await;
    tracing::info!("ended in good order");
    Ok(())
}

/// Ends the process when the disk can no longer be trusted.
fn ending() -> OnFatal {
    Arc::new(|why| {
        // What was not answered was not promised; the next start recovers from what is on the device.
        tracing::error!(%why, "the disk can no longer be trusted: ending");
        std::process::exit(i32::from(Exit::Failed as u8));
    })
}

async fn open(
    options: &ServeOptions,
    loaded: &Arc<Loaded>,
    health: &Arc<Health>,
) -> Result<Arc<Shop>, Failure> {
    let demo = || SnapshotReader::from_bytes(Path::new("demo.holdfast"), demo::SNAPSHOT);
    let seed = options.demo.then_some(Box::new(demo) as Seed);
    let reported = Arc::clone(health);
    let begun = Stopwatch::start();
    let opening = Shop::open(ShopOptions {
        config: Arc::new(loaded.config.clone()),
        journal: configured_journal(&loaded.config),
        time: Time::System {
            accept_gap: options.accept_clock,
        },
        seed,
        progress: Box::new(move |progress| {
            reported.replayed(progress.replayed, progress.total);
            metrics().recovery_replayed_records.set(gauge(progress.replayed));
            metrics().recovery_records.set(gauge(progress.total));
        }),
        on_fatal: ending(),
        workers: threads(),
    });
    let (shop, opened) = opening
        .await
        .map_err(|error| failed_to_open(&error, &loaded.config.data.dir))?;
    metrics().recovery_seconds.set(begun.seconds());
    let Opened {
        variants,
        replayed,
        torn_bytes,
        settled,
    } = opened;
    let seconds = begun.seconds();
    tracing::info!(variants, replayed, settled, seconds, "recovered");
    if torn_bytes > 0 {
        tracing::warn!(
            torn_bytes,
            "a torn tail was cut off the log; nobody was answered from it"
        );
    }
    Ok(shop)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Resolves when a signal or an operator asks the server to end; from then on new requests are turned away.
async fn end_wanted(house: Arc<House>, health: Arc<Health>) {
    let mut terminate = signal(SignalKind::terminate()).expect("a runtime with its driver takes signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a runtime with its driver takes signals");
    let why = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = house.end_wanted() => "an operator",
    };
    health.drain();
    if let Stage::Open(shop) = house.stage() {
        tracing::info!(why, in_flight = shop.in_flight(), "draining");
        shop.drain();
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge needs no last digit beyond 2^53"
)]
fn gauge(value: u64) -> f64 {
    value as f64
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
