//! The whole house in the process of a bench.
#![allow(
    dead_code,
    reason = "a bench that goes through the router asks the shop nothing itself"
)]
use holdfast::{
    app::{Context, OpenError, Shop, ShopOptions, Time, configured_journal},
    config::Config,
    domain::ids::StoreId,
};
use std::sync::Arc;

/// Opens the shop of a configuration; the process ends if it does.
pub(crate) async fn open(config: &Arc<Config>) -> Result<Arc<Shop>, OpenError> {
    let opening = Shop::open(ShopOptions {
        config: Arc::clone(config),
        journal: configured_journal(config),
        time: Time::System { accept_gap: false },
        seed: None,
        progress: Box::new(|_| {}),
        workers: holdfast::workers::threads(),
        on_fatal: Arc::new(|why| {
            println!("{why}");
            std::process::exit(1);
        }),
    });
    opening.await.map(|(shop, _)| shop)
}

/// A caller of the default store, who waits for so long, ms.
pub(crate) fn context(shop: &Shop, patience_ms: i64) -> Context {
    Context {
        store: StoreId::parse("default").unwrap(),
        caller: "bench".into(),
        key: None,
        deadline: shop.clock().now().saturating_add(patience_ms),
    }
}
