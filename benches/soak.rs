//! Endless load in short: the whole house in process, without HTTP, until so many records are logged. Shows that the data
//! directory stays bounded and how long a restart takes afterwards. Retention is set to seconds, so that what a day
//! keeps in a shop comes and goes many times within the run.
//!
//! ```text
//! cargo bench --bench soak -- [records] [sled|file] [retention seconds]
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement prints its figures and stops when something fails"
)]
mod house;

use holdfast::{
    app::{AppError, RequestKey, ReserveAsk, Shop},
    config::Config,
    domain::{
        ids::VariantId,
        variant::{Settings, Shopper},
    },
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a shopper waits, ms.
const PATIENCE_MS: i64 = 30_000;
const SHOPPERS: u64 = 512;
const VARIANTS: u64 = 200;
const ON_HAND: u64 = 1_000_000_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let records: u64 = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let backend = arguments.next().unwrap_or_else(|| "sled".to_owned());
    let retention = arguments.next().unwrap_or_else(|| "30".to_owned());
    let home = tempfile::tempdir().unwrap();
    let flags = [
        ("data.dir", home.path().join("data").to_str().unwrap().to_owned()),
        ("journal.backend", backend.clone()),
        ("retention.keys", format!("{retention}s")),
        ("retention.ended", format!("{retention}s")),
    ]
    .map(|(key, value)| (key.to_owned(), value));
    let config = Arc::new(Config::load(None, std::iter::empty(), &flags).unwrap().config);
    let shop = house::open(&config).await.unwrap();
    for number in 0..VARIANTS {
        let ctx = house::context(&shop, PATIENCE_MS);
        let id = VariantId::parse(&format!("v{number}")).unwrap();
        shop.create_variant(&ctx, &id, Settings::default(), ON_HAND)
            .await
            .unwrap();
    }
    println!(
        "{records} records on {backend}, retention {retention} s, {SHOPPERS} shoppers, {VARIANTS} variants"
    );
    println!(
        "{:>12} {:>10} {:>12} {:>10}",
        "records", "records/s", "directory", "of it log"
    );
    let logged = Arc::new(AtomicU64::new(0));
    let shoppers: Vec<_> = (0..SHOPPERS)
        .map(|number| tokio::spawn(shopper(Arc::clone(&shop), number, Arc::clone(&logged), records)))
        .collect();
    let (begun, mut largest, mut last) = (Instant::now(), 0, (Instant::now(), 0));
    let mut ticks = tokio::time::interval(Duration::from_secs(10));
    while logged.load(Ordering::Relaxed) < records {
        ticks.tick().await;
        let (now, done) = (Instant::now(), logged.load(Ordering::Relaxed));
        let rate = (done - last.1) as f64 / (now - last.0).as_secs_f64().max(0.001);
        last = (now, done);
        let directory = bytes(&config.data.dir);
        largest = largest.max(directory);
        let log = bytes(&config.data.dir.join("epochs/1/journal"));
        println!(
            "{done:>12} {rate:>10.0} {:>8} MiB {:>6} MiB",
            directory >> 20,
            log >> 20
        );
    }
    for shopper in shoppers {
        shopper.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let done = logged.load(Ordering::Relaxed);
    println!(
        "{done} records in {seconds:.0} s, {:.0}/s; directory at most {} MiB",
        done as f64 / seconds,
        largest >> 20
    );
    shop.close().await;
    drop(shop);
    let (shop, took) = reopen(&config).await;
    println!(
        "restarted in {:.2} s; directory {} MiB",
        took.as_secs_f64(),
        bytes(&config.data.dir) >> 20
    );
    shop.close().await;
}

/// One of many: holds, asks for more time half of the time, gives it back. Nothing is shipped: the ledger keeps a line per
/// shipment for ever, and that is no leak.
async fn shopper(shop: Arc<Shop>, number: u64, logged: Arc<AtomicU64>, records: u64) {
    let mut turn = number;
    while logged.load(Ordering::Relaxed) < records {
        turn += SHOPPERS;
        let mut ctx = house::context(&shop, PATIENCE_MS);
        let key = turn.to_string();
        ctx.key = Some(RequestKey::new(&ctx.store, "soak", &key, ("POST /soak", "", b"")));
        let variant = VariantId::parse(&format!("v{}", turn % VARIANTS)).unwrap();
        let ask = ReserveAsk {
            variant,
            quantity: 1,
            shopper: Shopper::default(),
            ttl_ms: None,
            allow_partial: false,
        };
        let held = match shop.reserve(&ctx, ask).await {
            Ok(held) => held.body.hold.id,
            // Full windows and deadlines are part of endless load: come again.
            Err(AppError::KeysFull | AppError::Shed(_) | AppError::Late | AppError::OutcomeUnknown) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        let ctx = house::context(&shop, PATIENCE_MS);
        if turn.is_multiple_of(2) {
            shop.extend(&ctx, held, None, None).await.unwrap();
            logged.fetch_add(1, Ordering::Relaxed);
        }
        shop.release(&ctx, held).await.unwrap();
        logged.fetch_add(2, Ordering::Relaxed);
    }
}

/// Opens again, and says how long that took. A restart is another process; in this one whoever held the shop last may still be
/// ending its databases, and until then an opening finds them locked.
async fn reopen(config: &Arc<Config>) -> (Arc<Shop>, Duration) {
    let waiting = Instant::now();
    loop {
        let begun = Instant::now();
        match house::open(config).await {
            Ok(shop) => return (shop, begun.elapsed()),
            Err(error) => assert!(waiting.elapsed() < Duration::from_secs(60), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the files below a directory occupy.
fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes(&entry.path()),
        Ok(about) => std::os::unix::fs::MetadataExt::blocks(&about) * 512,
        // It went between the listing and the look.
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}
