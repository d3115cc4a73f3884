//! How much memory a million of each costs: idle variants, live holds spread over variants, idle carts of one line. The whole house in
//! process, without HTTP. Told for the process that made them, and for one that was started on what it left.
//!
//! ```text
//! cargo bench --bench size -- [variants|holds|carts] [count] [sled|file]
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement prints its figures and stops when something fails"
)]
mod house;

use holdfast::{
    app::{NewItem, ReserveAsk, Shop, Whose},
    config::Config,
    domain::{
        ids::{CustomerId, VariantId},
        variant::{ReservationMode, Settings, Shopper},
    },
};
use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long whoever asks waits, ms.
const PATIENCE_MS: i64 = 60_000;

/// Requests on their way at once.
const AT_ONCE: u64 = 512;

/// Variants that holds and carts are spread over.
const VARIANTS: u64 = 1_000;

/// The process is started again on the directory in this argument, to be weighed after a restart.
const AGAIN: &str = "again";

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Variants,
    Holds,
    Carts,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let word = |place: usize, default: &str| arguments.get(place).map_or(default, String::as_str).to_owned();
    let backend = word(2, "sled");
    let count: u64 = word(1, "1000000").parse().unwrap();
    let named = word(0, "holds");
    if word(3, "") == AGAIN {
        weigh_again(&arguments[4], &backend, count).await;
        return;
    }
    let what = match named.as_str() {
        "variants" => What::Variants,
        "holds" => What::Holds,
        "carts" => What::Carts,
        other => panic!("{other}? variants, holds or carts"),
    };
    let data = tempfile::tempdir().unwrap().keep().join("data");
    let config = config(&data, &backend);
    let shop = house::open(&config).await.unwrap();
    if what != What::Variants {
        make(&shop, VARIANTS, variant).await;
    }
    let before = rss();
    let begun = Instant::now();
    match what {
        What::Variants => make(&shop, count, variant).await,
        What::Holds => make(&shop, count, hold).await,
        What::Carts => make(&shop, count, cart).await,
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = rss();
    println!(
        "{count} {named} on {backend}, made in {seconds:.0} s ({:.0}/s)",
        count as f64 / seconds
    );
    told("as they were made", before, after, count);
    // Idle ones fall asleep, and everything durable goes to the rows.
    come_to_rest(&shop).await;
    shop.checkpoint().await.unwrap();
    told("asleep, behind a checkpoint", before, rss(), count);
    shop.close().await;
    // In the place of this process, whose actors hold the directory as long as it lives.
    let count = count.to_string();
    let arguments = [&named, &count, &backend, AGAIN, data.to_str().unwrap()];
    let failed = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .exec();
    panic!("{failed}");
}

async fn weigh_again(data: &str, backend: &str, count: u64) {
    let before = rss();
    let begun = Instant::now();
    let shop = house::open(&config(Path::new(data), backend)).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    come_to_rest(&shop).await;
    told(
        &format!("after a restart of {seconds:.2} s"),
        before,
        rss(),
        count,
    );
    shop.close().await;
    std::fs::remove_dir_all(Path::new(data).parent().unwrap()).unwrap();
}

/// Gives those that are idle the time to fall asleep, and the allocator the time to give back what was freed.
async fn come_to_rest(shop: &Shop) {
    let clock = shop.clock();
    clock.sleep_until(clock.now().saturating_add(5_000)).await;
}

fn told(when: &str, before: u64, after: u64, count: u64) {
    let more = after.saturating_sub(before);
    println!(
        "{when:<32} RSS {:>6} MiB, {:>5.0} bytes each",
        after >> 20,
        more as f64 / count as f64
    );
}

/// Has so many made, many at once.
async fn make<F>(shop: &Arc<Shop>, count: u64, one: fn(Arc<Shop>, u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let makers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (shop, next) = (Arc::clone(shop), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    one(Arc::clone(&shop), number).await;
                }
            })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap();
    }
}

async fn variant(shop: Arc<Shop>, number: u64) {
    // Carts of what is taken at checkout have no holds.
    let settings = Settings {
        reservation_mode: if number.is_multiple_of(2) {
            ReservationMode::OnCart
        } else {
            ReservationMode::OnCheckout
        },
        ..Settings::default()
    };
    shop.create_variant(
        &house::context(&shop, PATIENCE_MS),
        &id_of(number),
        settings,
        1_000_000_000,
    )
    .await
    .unwrap();
}

async fn hold(shop: Arc<Shop>, number: u64) {
    let ask = ReserveAsk {
        variant: id_of(number % VARIANTS),
        quantity: 1,
        shopper: Shopper {
            customer: Some(CustomerId::parse(&format!("customer-{number}")).unwrap()),
            ..Shopper::default()
        },
        ttl_ms: None,
        allow_partial: false,
    };
    shop.reserve(&house::context(&shop, PATIENCE_MS), ask)
        .await
        .unwrap();
}

async fn cart(shop: Arc<Shop>, number: u64) {
    let whose = Whose {
        customer: Some(CustomerId::parse(&format!("customer-{number}")).unwrap()),
        session: None,
    };
    let item = NewItem {
        variant: id_of((number % VARIANTS) | 1),
        quantity: 1,
        campaign: None,
    };
    shop.add_item_to_new_cart(&house::context(&shop, PATIENCE_MS), whose, item)
        .await
        .unwrap();
}

fn id_of(number: u64) -> VariantId {
    VariantId::parse(&format!("variant-{number}")).unwrap()
}

fn config(data: &Path, backend: &str) -> Arc<Config> {
    let flags = [
        ("data.dir", data.to_str().unwrap()),
        ("journal.backend", backend),
        ("actor.idle", "1s"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Arc::new(Config::load(None, std::iter::empty(), &flags).unwrap().config)
}

/// What the process has in memory, bytes.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
