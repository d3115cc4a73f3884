//! Lists and statistics (decisions 11) and policies.
use super::{
    House, MINUTE, START, TTL, ctx, every_hold, hold, in_cart, on_both_logs, refusal, stock, until_expired,
    variant, wish,
};
use holdfast::{
    app::{AppError, HoldFilter, ReserveAsk, Shop},
    config::JournalBackend,
    domain::{
        ids::{CartId, CustomerId, ReservationId},
        variant::{Hold, HoldStatus, Refusal, Settings},
    },
};

on_both_logs! {
    a_caller_reads_its_own_writes,
    pages_show_every_reservation_once,
    a_cart_is_released_as_a_whole,
    a_policy_is_kept_and_judged_by_version,
    guests_and_customers_have_their_own_lengths,
    purchases_count_against_a_limit_like_live_holds,
}

async fn hold_for(shop: &Shop, id: &str, customer: &str, cart: &str) -> Hold {
    let ask = ReserveAsk {
        shopper: in_cart(customer, cart),
        ..wish(id, 1)
    };
    shop.reserve(&ctx(), ask).await.unwrap().body.hold
}

fn of_customer(id: &str) -> HoldFilter {
    HoldFilter {
        customer: Some(CustomerId::parse(id).unwrap()),
        ..HoldFilter::default()
    }
}

fn of_cart(id: &str) -> HoldFilter {
    HoldFilter {
        cart: Some(CartId::parse(id).unwrap()),
        ..HoldFilter::default()
    }
}

fn that_are(status: HoldStatus, filter: HoldFilter) -> HoldFilter {
    HoldFilter {
        status: Some(status),
        ..filter
    }
}

async fn ids(shop: &Shop, filter: HoldFilter) -> Vec<ReservationId> {
    let holds = every_hold(shop, &filter, 2).await;
    assert!(
        holds
            .iter()
            .all(|hold| filter.status.is_none_or(|status| hold.status == status))
    );
    holds.into_iter().map(|hold| hold.id).collect()
}

fn a_caller_reads_its_own_writes(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        stock(&shop, "b", 10).await;
        let sold = hold_for(&shop, "a", "ada", "cart-1").await.id;
        assert_eq!(ids(&shop, of_customer("ada")).await, [sold]);
        house.clock.advance(1);
        let back = hold_for(&shop, "b", "ada", "cart-1").await.id;
        house.clock.advance(1);
        let other = hold_for(&shop, "b", "bob", "cart-2").await.id;
        assert_eq!(ids(&shop, of_cart("cart-1")).await, [sold, back]);
        let of_b = HoldFilter {
            variant: Some(variant("b")),
            ..HoldFilter::default()
        };
        assert_eq!(ids(&shop, of_b.clone()).await, [back, other]);
        shop.confirm(&ctx(), sold, None, None).await.unwrap();
        assert_eq!(
            ids(&shop, that_are(HoldStatus::Confirmed, of_customer("ada"))).await,
            [sold]
        );
        assert_eq!(
            ids(&shop, that_are(HoldStatus::Active, of_customer("ada"))).await,
            [back]
        );
        shop.release(&ctx(), back).await.unwrap();
        assert_eq!(ids(&shop, that_are(HoldStatus::Released, of_b)).await, [back]);
        assert!(
            ids(&shop, that_are(HoldStatus::Active, of_customer("ada")))
                .await
                .is_empty()
        );
        house.clock.advance(TTL);
        until_expired(&shop, 1).await;
        assert_eq!(
            ids(&shop, that_are(HoldStatus::Expired, HoldFilter::default())).await,
            [other]
        );
        assert_eq!(ids(&shop, HoldFilter::default()).await, [sold, back, other]);
        assert!(ids(&shop, of_customer("nobody")).await.is_empty());
    });
    let before = house.run(async |shop| super::picture(&shop).await);
    house.crash_and_open();
    assert_eq!(house.run(async |shop| super::picture(&shop).await), before);
    house.restart();
    assert_eq!(house.run(async |shop| super::picture(&shop).await), before);
}

fn pages_show_every_reservation_once(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 100).await;
        stock(&shop, "b", 100).await;
        let mut made = Vec::new();
        for number in 0..30 {
            made.push(hold_for(&shop, ["a", "b"][number % 2], "ada", "cart").await.id);
            house.clock.advance(1);
            if number % 3 == 0 {
                shop.release(&ctx(), made[number]).await.unwrap();
            }
            if number == 15 {
                shop.checkpoint().await.unwrap();
            }
        }
        for page in [1, 7, 29, 30, 31] {
            let shown = every_hold(&shop, &of_customer("ada"), page).await;
            let shown: Vec<_> = shown.into_iter().map(|hold| hold.id).collect();
            assert_eq!(shown, made, "in pages of {page}");
        }
    });
}

fn a_cart_is_released_as_a_whole(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        for cart in ["cart-1", "cart-1", "cart-2"] {
            hold_for(&shop, "a", "ada", cart).await;
        }
        let cart = CartId::parse("cart-1").unwrap();
        shop.release_cart(&ctx(), cart.clone()).await.unwrap();
        assert_eq!(super::view(&shop, "a").await.held, 1);
        let again = shop.release_cart(&ctx(), cart).await.unwrap();
        assert!(!again.replayed, "nothing is left to release, which is fine");
    });
}

fn a_policy_is_kept_and_judged_by_version(backend: JournalBackend) {
    let mut house = House::new(backend);
    let changed = house.run(async |shop| {
        let mut wanted = shop.policy(&ctx()).body;
        assert_eq!(wanted.version, 1);
        wanted.cart.ttl_ms = 2 * MINUTE;
        wanted.limits.units_per_customer_per_variant = Some(3);
        let changed = shop.set_policy(&ctx(), wanted, 1).await.unwrap().body;
        assert_eq!((changed.version, changed.cart.ttl_ms), (2, 2 * MINUTE));
        assert_eq!(
            refusal(shop.set_policy(&ctx(), wanted, 1).await),
            Refusal::VersionMismatch { current: 2 }
        );
        changed
    });
    for end in [House::crash, House::close] {
        end(&mut house);
        house.open();
        house.run(async |shop| {
            assert_eq!(shop.policy(&ctx()).body, changed);
            assert_eq!(
                refusal(shop.set_policy(&ctx(), changed, 1).await),
                Refusal::VersionMismatch { current: 2 }
            );
        });
    }
}

fn guests_and_customers_have_their_own_lengths(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        stock(&shop, "a", 10).await;
        let mut wanted = shop.policy(&ctx()).body;
        wanted.cart.ttl_ms = 30 * MINUTE;
        wanted.guest.ttl_ms = 5 * MINUTE;
        wanted.max_ttl_ms = 60 * MINUTE;
        shop.set_policy(&ctx(), wanted, 1).await.unwrap();
        let length = |hold: &Hold| hold.expires_at.since(START) / MINUTE;
        assert_eq!(length(&hold_for(&shop, "a", "ada", "cart").await), 30);
        assert_eq!(length(&hold(&shop, "a", 1).await), 5);
        let asked = shop
            .reserve(&ctx(), super::wish_for(60 * MINUTE, "a", 1))
            .await
            .unwrap();
        assert_eq!(length(&asked.body.hold), 60);
        let too_long = refusal(
            shop.reserve(&ctx(), super::wish_for(60 * MINUTE + 1, "a", 1))
                .await,
        );
        assert_eq!(too_long, Refusal::TtlTooLong { max_ms: 60 * MINUTE });
        let own = Settings {
            hold_ttl_ms: Some(MINUTE),
            ..Settings::default()
        };
        shop.create_variant(&ctx(), &variant("quick"), own, 1)
            .await
            .unwrap();
        assert_eq!(
            length(&hold_for(&shop, "quick", "ada", "cart").await),
            1,
            "a variant's own overrides"
        );
    });
}

fn purchases_count_against_a_limit_like_live_holds(backend: JournalBackend) {
    let mut house = House::with(backend, |config| {
        config.policy.units_per_customer_per_variant = Some(3)
    });
    let third = house.run(async |shop| {
        stock(&shop, "a", 10).await;
        let first = hold_for(&shop, "a", "ada", "cart").await.id;
        shop.confirm(&ctx(), first, None, None).await.unwrap();
        hold_for(&shop, "a", "ada", "cart").await;
        hold_for(&shop, "a", "ada", "cart").await.id
    });
    house.restart();
    house.run(async |shop| {
        let more = ReserveAsk {
            shopper: in_cart("ada", "another"),
            ..wish("a", 1)
        };
        let reached = refusal(shop.reserve(&ctx(), more.clone()).await);
        assert!(
            matches!(
                reached,
                Refusal::LimitReached {
                    limit: 3,
                    taken: 3,
                    requested: 1
                }
            ),
            "{reached:?}"
        );
        let grown: Result<_, AppError> = shop.resize(&ctx(), third, 2).await;
        assert!(matches!(refusal(grown), Refusal::LimitReached { .. }));
        shop.release(&ctx(), third).await.unwrap();
        shop.reserve(&ctx(), more).await.unwrap();
        hold_for(&shop, "a", "bob", "his").await;
    });
}
