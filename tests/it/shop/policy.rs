//! A store's policy: what is read is durable (decisions 6).
use super::{House, ctx, hold, on_both_logs, stock};
use holdfast::{config::JournalBackend, domain::policy::Policy};

on_both_logs!(a_policy_outlives_crashes);

fn a_policy_outlives_crashes(backend: JournalBackend) {
    let mut house = House::new(backend);
    let wanted = |policy: Policy, ttl_ms| Policy {
        cart: holdfast::domain::policy::HoldLengths {
            ttl_ms,
            ..policy.cart
        },
        guest: holdfast::domain::policy::HoldLengths {
            ttl_ms,
            ..policy.guest
        },
        ..policy
    };
    house.run(|shop| async move {
        stock(&shop, "a", 10).await;
        let before = shop.policy(&ctx()).body;
        let set = shop
            .set_policy(&ctx(), wanted(before, 120_000), before.version)
            .await
            .unwrap();
        assert_eq!(shop.policy(&ctx()).body, set.body, "a caller reads its own write");
        shop.checkpoint().await.unwrap();
        let set = shop
            .set_policy(&ctx(), wanted(set.body, 240_000), set.body.version)
            .await
            .unwrap();
        assert_eq!(set.body.version, before.version + 2);
    });
    for checkpoint in [false, true] {
        house.crash_and_open();
        house.run(|shop| async move {
            let policy = shop.policy(&ctx()).body;
            assert_eq!((policy.cart.ttl_ms, policy.version), (240_000, 3));
            let hold = hold(&shop, "a", 1).await;
            assert_eq!(
                hold.expires_at.as_millis() - shop.clock().now().as_millis(),
                240_000
            );
            if checkpoint {
                return;
            }
            shop.checkpoint().await.unwrap();
        });
    }
}
