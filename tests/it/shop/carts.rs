//! The contract's `/api/cart`, over the router: hold, change, merge, hand over to an order.
use super::{House, MINUTE, TTL, on_both_logs, web::Web};
use holdfast::{config::JournalBackend, domain::cart::Happened};
use serde_json::{Value, json};

on_both_logs! {
    a_cart_is_filled_changed_and_emptied,
    a_guest_acts_with_its_token_alone,
    a_customer_has_one_active_cart,
    a_repeat_gives_the_same_cart_and_token_after_a_restart,
    a_stale_view_changes_nothing,
    every_line_is_extended_by_one_button,
    an_expired_line_stays_and_is_held_again,
    a_dead_hold_is_not_brought_back_and_a_failed_plus_moves_no_deadline,
    two_carts_become_one_and_the_capped_line_is_named,
    a_checkout_names_every_line_that_cannot_be_had,
    a_customer_whose_cart_ends_meanwhile_gets_a_new_one,
    a_customer_whose_first_line_was_refused_tries_another,
    whoever_has_paid_or_called_off_shops_on_at_once,
    as_many_wait_in_front_of_one_cart_as_may,
    what_a_bulk_does_to_a_carts_hold_is_told_to_the_cart,
    a_cart_left_alone_gives_everything_back_and_says_so_once,
}

fn a_cart_is_filled_changed_and_emptied(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let made = web.post("/api/cart", json!({"customerId": "u1"})).await.ok(201);
        let cart = format!("/api/cart/{}", made.word("/id"));
        assert_eq!(
            (made.header("location"), made.header("cart-token")),
            (cart.as_str(), "")
        );
        assert_eq!(
            (made.at("/items"), made.at("/totals/items")),
            (json!([]), json!(0))
        );
        let item = json!({"variantId": "a", "quantity": 2, "campaign": "spring"});
        let added = web.post(&format!("{cart}/items"), item).await.ok(201);
        assert_eq!(
            (
                added.word("/items/0/reservationStatus").as_str(),
                added.at("/items/0/expiresInMs")
            ),
            ("active", json!(TTL))
        );
        assert_eq!(
            (
                added.at("/totals/amount"),
                added.word("/items/0/addedFromCampaign").as_str()
            ),
            (json!(2000), "spring")
        );
        let more = web
            .post(&format!("{cart}/items"), json!({"variantId": "a", "quantity": 1}))
            .await
            .ok(201);
        assert_eq!(
            (more.at("/items/0/quantity"), more.at("/items/1")),
            (json!(3), Value::Null),
            "one line a variant"
        );
        assert_eq!(web.figures("a").await, (7, 3, 0));
        let line = format!("{cart}/items/{}", more.word("/items/0/id"));
        let fewer = web
            .send("PATCH", &line, &[], json!({"quantity": 1}))
            .await
            .ok(200);
        assert_eq!(fewer.at("/items/0/quantity"), json!(1));
        assert_eq!(web.figures("a").await, (9, 1, 0));
        web.post("/api/cart/items", json!({"variantId": "absent", "quantity": 1}))
            .await
            .refused(404, "variant-not-found");
        let short = web
            .post(
                &format!("{cart}/items"),
                json!({"variantId": "a", "quantity": 20}),
            )
            .await;
        assert_eq!(
            short
                .refused(409, "insufficient-stock")
                .word("/lines/0/variantId"),
            "a"
        );
        web.send("DELETE", &format!("{cart}/items/line_9"), &[], Value::Null)
            .await
            .refused(404, "line-not-found");
        let empty = web.send("DELETE", &line, &[], Value::Null).await.ok(200);
        assert_eq!(
            (empty.at("/items"), web.figures("a").await),
            (json!([]), (10, 0, 0))
        );
        web.post(&format!("{cart}/checkout"), json!({}))
            .await
            .refused(409, "cart-empty");
        web.send("DELETE", &cart, &[], Value::Null).await.ok(204);
        web.send("DELETE", &cart, &[], Value::Null).await.ok(204);
        web.post(&format!("{cart}/items"), json!({"variantId": "a", "quantity": 1}))
            .await
            .refused(410, "cart-abandoned");
        let nowhere = "/api/cart/cart_00000000000070008000000000000000";
        web.get(nowhere).await.refused(404, "cart-not-found");
        web.post(
            &format!("{nowhere}/items"),
            json!({"variantId": "a", "quantity": 1}),
        )
        .await
        .refused(404, "cart-not-found");
    });
}

fn a_guest_acts_with_its_token_alone(backend: JournalBackend) {
    let key = "0123456789abcdef";
    let flags = [("auth.admin_key".to_owned(), key.to_owned())];
    let secured = holdfast::config::Config::load(None, [], &flags).unwrap().config;
    let house = House::with(backend, |config| config.auth = secured.auth);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let bearer = format!("Bearer {key}");
        let admin = ("authorization", bearer.as_str());
        let variant = json!({"id": "a", "onHand": 10});
        web.send("POST", "/api/stock/variants", &[admin], variant)
            .await
            .ok(201);
        let item = json!({"variantId": "a", "quantity": 1});
        let mut carts = Vec::new();
        for _ in 0..2 {
            let made = web
                .send("POST", "/api/cart/items", &[admin], item.clone())
                .await
                .ok(201);
            assert_eq!(made.word("/cartToken"), made.header("cart-token"));
            carts.push((format!("/api/cart/{}", made.word("/id")), made.word("/cartToken")));
        }
        let [(mine, token), (other, others)] = &carts[..] else {
            panic!("two carts")
        };
        let shown = ("cart-token", token.as_str());
        web.get(mine).await.refused(401, "unauthenticated");
        let seen = web.send("GET", mine, &[shown], Value::Null).await.ok(200);
        assert_eq!(seen.at("/cartToken"), Value::Null, "told once");
        web.send("POST", &format!("{mine}/items"), &[shown], item.clone())
            .await
            .ok(201);
        let named = json!({"variantId": "a", "quantity": 1, "cartId": seen.word("/id")});
        web.send("POST", "/api/cart/items", &[shown], named).await.ok(201);
        web.send("POST", "/api/cart/items", &[shown], item.clone())
            .await
            .refused(401, "unauthenticated");
        web.send("GET", other, &[shown], Value::Null)
            .await
            .refused(403, "cart-token-invalid");
        web.send("GET", mine, &[admin, ("cart-token", others)], Value::Null)
            .await
            .refused(403, "cart-token-invalid");
        let merge = json!({"fromCartId": "x", "cartToken": others});
        web.send("POST", &format!("{mine}/merge"), &[shown], merge)
            .await
            .refused(401, "unauthenticated");
        for elsewhere in ["/api/orders", "/api/stock/variants", "/api/stock/reservations"] {
            web.send("GET", elsewhere, &[shown], Value::Null)
                .await
                .refused(401, "unauthenticated");
        }
        let whose = json!({"customerId": "victim"});
        web.send("POST", &format!("{mine}/checkout"), &[shown], whose)
            .await
            .refused(401, "unauthenticated");
        // One guest's key is no business of another's.
        let extend = async |cart: &str, token: &str| {
            let headers = [("cart-token", token), ("idempotency-key", "1")];
            web.send("POST", &format!("{cart}/extend"), &headers, json!({}))
                .await
                .ok(200)
        };
        extend(mine, token).await;
        extend(other, others).await;
        web.send("POST", &format!("{mine}/checkout"), &[shown], json!({}))
            .await
            .ok(201);
    });
}

fn a_customer_has_one_active_cart(backend: JournalBackend) {
    let mut house = House::new(backend);
    let first = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let first = web.cart("u1", "a", 1).await;
        assert_eq!(web.cart("u1", "a", 1).await, first);
        assert_ne!(web.cart("u2", "a", 1).await, first);
        first
    });
    house.crash_and_open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let again = web.post("/api/cart", json!({"customerId": "u1"})).await.ok(200);
        assert_eq!(format!("/api/cart/{}", again.word("/id")), first);
        assert_eq!(again.at("/items/0/quantity"), json!(2));
        web.send("DELETE", &first, &[], Value::Null).await.ok(204);
        let next = web.post("/api/cart", json!({"customerId": "u1"})).await.ok(201);
        assert_ne!(format!("/api/cart/{}", next.word("/id")), first);
    });
}

fn a_repeat_gives_the_same_cart_and_token_after_a_restart(backend: JournalBackend) {
    let mut house = House::new(backend);
    let calls = [
        ("/api/cart", "made", json!({"sessionId": "s"})),
        (
            "/api/cart/items",
            "added",
            json!({"variantId": "a", "quantity": 2}),
        ),
    ];
    let first = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let mut first = Vec::new();
        for (path, key, body) in &calls {
            first.push(web.keyed(path, key, body.clone()).await.ok(201));
        }
        first
    });
    for life in 0..2 {
        house.clock.advance(1_000);
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            for ((path, key, body), first) in calls.iter().zip(&first) {
                let again = web.keyed(path, key, body.clone()).await.ok(201);
                assert_eq!(
                    (&again.text, again.header("idempotent-replayed")),
                    (&first.text, "true"),
                    "life {life}"
                );
                for header in ["cart-token", "location", "etag"] {
                    assert_eq!(again.header(header), first.header(header), "{header}");
                }
            }
            assert_eq!(web.figures("a").await, (8, 2, 0));
            web.keyed("/api/cart", "added", json!({}))
                .await
                .refused(422, "idempotency-key-reused");
        });
        house.crash_and_open();
    }
}

fn a_stale_view_changes_nothing(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let cart = web.cart("u1", "a", 1).await;
        let seen = web.get(&cart).await.ok(200);
        let items = format!("{cart}/items");
        let item = json!({"variantId": "a", "quantity": 1});
        let now = ("if-match", seen.header("etag"));
        let fresh = web
            .send("POST", &items, &[now, ("idempotency-key", "k")], item.clone())
            .await
            .ok(201);
        assert_ne!(fresh.header("etag"), seen.header("etag"));
        let again = web
            .send("POST", &items, &[now, ("idempotency-key", "k")], item.clone())
            .await
            .ok(201);
        assert_eq!(
            again.text, fresh.text,
            "a repeat is answered before its view is judged"
        );
        let stale = web
            .send("POST", &items, &[now], item.clone())
            .await
            .refused(412, "stale-version");
        assert_eq!(stale.at("/version"), fresh.at("/version"));
        web.send("DELETE", &cart, &[now], Value::Null)
            .await
            .refused(412, "stale-version");
        web.send("POST", &items, &[("if-match", "*")], item).await.ok(201);
        assert_eq!(web.figures("a").await, (7, 3, 0));
    });
}

/// Abandoned by idling, across a restart: the units are free, the cart says so, and one record tells whoever reads the log.
fn a_cart_left_alone_gives_everything_back_and_says_so_once(backend: JournalBackend) {
    let idle = TTL - 5 * MINUTE;
    let mut house = House::with(backend, |config| {
        config.policy.cart_idle = format!("{}m", idle / MINUTE).parse().unwrap();
    });
    let cart = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 5).await;
        let cart = web.cart("u1", "a", 2).await;
        house.clock.advance(idle - 1);
        assert_eq!(web.get(&cart).await.word("/status"), "active");
        assert_eq!(web.figures("a").await, (3, 2, 0));
        cart
    });
    house.crash_and_open();
    for _ in 0..2 {
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            house.clock.advance(1);
            web.until(&cart, "/status", json!("abandoned")).await;
            web.until("/api/stock/variants/a/availability", "/available", json!(5))
                .await;
            assert_eq!(web.figures("a").await, (5, 0, 0));
            let more = json!({"variantId": "a", "quantity": 1});
            web.post(&format!("{cart}/items"), more)
                .await
                .refused(410, "cart-abandoned");
        });
        house.crash_and_open();
    }
    house.close();
    let audit = house.audit();
    let abandoned = audit
        .cart_happenings()
        .filter(|happened| **happened == Happened::Abandoned);
    assert_eq!(abandoned.count(), 1);
}

fn every_line_is_extended_by_one_button(backend: JournalBackend) {
    let house = House::with(backend, |config| config.policy.max_extensions = 1);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        web.stock("b", 10).await;
        let cart = web.cart("u1", "a", 1).await;
        web.post(&format!("{cart}/items"), json!({"variantId": "b", "quantity": 1}))
            .await
            .ok(201);
        let extended = web.post(&format!("{cart}/extend"), json!({})).await.ok(200);
        for line in 0..2 {
            assert_eq!(extended.at(&format!("/results/{line}/extended")), json!(true));
            assert_eq!(extended.at(&format!("/items/{line}/expiresInMs")), json!(2 * TTL));
        }
        let refused = web.post(&format!("{cart}/extend"), json!({})).await;
        refused.refused(409, "extension-limit");
    });
}

fn what_a_bulk_does_to_a_carts_hold_is_told_to_the_cart(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let ways = ["release", "confirm", "extend"]
            .into_iter()
            .flat_map(|action| [(action, "all_or_nothing"), (action, "best_effort")])
            .chain([("the whole cart", "")]);
        for (number, (action, mode)) in ways.enumerate() {
            let (variant, case) = (format!("v{number}"), format!("{action} {mode}"));
            web.stock(&variant, 2).await;
            let cart = web.cart(&format!("u{number}"), &variant, 2).await;
            let held = web.get(&cart).await.ok(200);
            let hold = held.word("/items/0/reservationId");
            if mode.is_empty() {
                let id = cart.rsplit('/').next().unwrap();
                let path = format!("/api/stock/reservations?cartId={id}");
                web.send("DELETE", &path, &[], Value::Null).await.ok(204);
            } else {
                let bulk = json!({"action": action, "mode": mode, "reservationIds": [hold]});
                web.post("/api/stock/reservations/bulk", bulk).await.ok(201);
            }
            // It is answered when it is decided; what it promised is settled behind that.
            let mut told = web.get(&cart).await.ok(200);
            for _ in 0..10_000 {
                if told.at("/items/0") != held.at("/items/0") {
                    break;
                }
                tokio::task::yield_now().await;
                told = web.get(&cart).await.ok(200);
            }
            let stands = told.at("/items/0/reservationStatus");
            match action {
                "confirm" => {
                    assert_eq!(told.at("/items"), json!([]), "{case}: it was bought");
                    let empty = web.post(&format!("{cart}/checkout"), json!({})).await;
                    empty.refused(409, "cart-empty");
                }
                "extend" => assert_eq!(told.at("/items/0/expiresInMs"), json!(2 * TTL), "{case}"),
                _ => {
                    assert_eq!(stands, json!("expired"), "{case}: it was given back");
                    let again = json!({"variantId": variant, "quantity": 1});
                    web.post(&format!("{cart}/items"), again)
                        .await
                        .refused(409, "insufficient-stock");
                }
            }
        }
    });
}

fn an_expired_line_stays_and_is_held_again(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 2).await;
        let cart = web.cart("u1", "a", 2).await;
        house.clock.advance(TTL - 1);
        assert_eq!(web.get(&cart).await.word("/items/0/reservationStatus"), "active");
        house.clock.advance(1);
        let expired = web.get(&cart).await.ok(200);
        assert_eq!(expired.word("/items/0/reservationStatus"), "expired");
        assert_eq!(
            (expired.at("/items/0/expiresInMs"), expired.at("/expiresAt")),
            (json!(0), Value::Null)
        );
        let line = format!("{cart}/items/{}", expired.word("/items/0/id"));
        let held = web
            .send("PATCH", &line, &[], json!({"quantity": 2}))
            .await
            .ok(200);
        assert_eq!(held.word("/items/0/reservationStatus"), "active");
        assert_ne!(
            held.at("/items/0/reservationId"),
            expired.at("/items/0/reservationId")
        );
        assert_eq!(web.figures("a").await, (0, 2, 0));
    });
}

/// Edge case B: 5 of 5 expire, another takes 3, the first extends, touches and holds again; before and after the sweep.
fn a_dead_hold_is_not_brought_back_and_a_failed_plus_moves_no_deadline(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 5).await;
        let cart = web.cart("u1", "a", 5).await;
        let line = format!("{cart}/items/{}", web.get(&cart).await.word("/items/0/id"));
        house.clock.advance(MINUTE);
        let before = web.get(&cart).await.word("/items/0/reservedUntil");
        web.post(&format!("{cart}/items"), json!({"variantId": "a", "quantity": 1}))
            .await
            .refused(409, "insufficient-stock");
        assert_eq!(
            web.get(&cart).await.word("/items/0/reservedUntil"),
            before,
            "a failed + moves no deadline"
        );
        house.clock.advance(TTL);
        let other = web.cart("u2", "a", 3).await;
        let extended = web.post(&format!("{cart}/extend"), json!({})).await;
        assert!(matches!(extended.status, 409 | 410), "{}", extended.text);
        let refused = web
            .send("PATCH", &line, &[], json!({"quantity": 5}))
            .await
            .refused(409, "insufficient-stock");
        assert_eq!(
            (refused.at("/requested"), refused.at("/available")),
            (json!(5), json!(2))
        );
        let held = web
            .send("PATCH", &line, &[], json!({"quantity": 2}))
            .await
            .ok(200);
        assert_eq!(held.word("/items/0/reservationStatus"), "active");
        assert_eq!(web.figures("a").await, (0, 5, 0));
        web.send("PATCH", &line, &[], json!({"quantity": 2}))
            .await
            .ok(200);
        assert_eq!(
            web.get(&other).await.at("/items/0/quantity"),
            json!(3),
            "nobody lost what was held"
        );
    });
}

fn two_carts_become_one_and_the_capped_line_is_named(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 100).await;
        web.stock("b", 5).await;
        let mine = web.cart("u1", "a", 60).await;
        let guest = web
            .post("/api/cart/items", json!({"variantId": "a", "quantity": 40}))
            .await
            .ok(201);
        let from = guest.word("/id");
        let from_path = format!("/api/cart/{from}");
        web.post(
            &format!("{from_path}/items"),
            json!({"variantId": "b", "quantity": 2}),
        )
        .await
        .ok(201);
        let merge = format!("{mine}/merge");
        let wrong = json!({"fromCartId": from, "cartToken": "00", "strategy": "sum"});
        web.post(&merge, wrong).await.refused(403, "cart-token-invalid");
        let ask = json!({"fromCartId": from, "cartToken": guest.word("/cartToken"), "strategy": "sum"});
        let merged = web.keyed(&merge, "m", ask.clone()).await.ok(200);
        assert_eq!(
            (merged.at("/items/0/quantity"), merged.at("/items/1/quantity")),
            (json!(100), json!(2))
        );
        assert_eq!(merged.at("/warnings"), json!([]));
        assert_eq!(
            (web.figures("a").await, web.figures("b").await),
            ((0, 100, 0), (3, 2, 0))
        );
        let gone = web.get(&from_path).await.ok(200);
        assert_eq!(format!("/api/cart/{}", gone.word("/mergedInto")), mine);
        let refused = web
            .post(
                &format!("{from_path}/items"),
                json!({"variantId": "b", "quantity": 1}),
            )
            .await;
        assert_eq!(
            format!(
                "/api/cart/{}",
                refused.refused(410, "cart-merged").word("/mergedInto")
            ),
            mine
        );
        assert_eq!(web.keyed(&merge, "m", ask).await.ok(200).text, merged.text);
        let own = mine.rsplit('/').next().unwrap();
        // Itself, and what was never made here and so is nobody who could be asked.
        for other in [json!(own), json!("x"), json!(1550)] {
            web.post(&merge, json!({"fromCartId": other}))
                .await
                .refused(409, "merge-conflict");
        }
    });
}

fn a_checkout_names_every_line_that_cannot_be_had(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        for id in ["a", "b", "c"] {
            web.stock(id, 2).await;
        }
        let cart = web.cart("u1", "a", 2).await;
        for id in ["b", "c"] {
            web.post(&format!("{cart}/items"), json!({"variantId": id, "quantity": 2}))
                .await
                .ok(201);
        }
        house.clock.advance(TTL);
        web.cart("u2", "a", 1).await;
        web.cart("u3", "b", 2).await;
        let refused = web
            .post(&format!("{cart}/checkout"), json!({}))
            .await
            .refused(409, "lines-unavailable");
        let told = refused.at("/lines");
        let mut lines: Vec<_> = told
            .as_array()
            .unwrap()
            .iter()
            .map(|line| (line["variantId"].clone(), line["available"].clone()))
            .collect();
        lines.sort_by_key(|(variant, _)| variant.to_string());
        assert_eq!(lines, [(json!("a"), json!(1)), (json!("b"), json!(0))]);
        assert_eq!(
            web.until(&cart, "/status", json!("active")).await.at("/items/2"),
            web.get(&cart).await.at("/items/2")
        );
        assert_eq!(web.figures("c").await.2, 0);
    });
}

/// The cart is found, and has ended when it is asked.
fn a_customer_whose_cart_ends_meanwhile_gets_a_new_one(backend: JournalBackend) {
    // One thread: both are on their way to the cart before it does anything.
    let house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 5).await;
        let cart = web.cart("u1", "a", 2).await;
        let delete = web.send("DELETE", &cart, &[], Value::Null);
        let (gone, made) = tokio::join!(delete, web.post("/api/cart", json!({"customerId": "u1"})));
        gone.ok(204);
        let made = made.ok(201);
        assert_ne!(format!("/api/cart/{}", made.word("/id")), cart);
        assert_eq!(
            (made.word("/status").as_str(), made.at("/items")),
            ("active", json!([]))
        );
        assert_eq!(web.figures("a").await, (5, 0, 0));
        // The same by an add: nobody's item is lost in the cart that ends.
        let cart = format!("/api/cart/{}", made.word("/id"));
        web.post(&format!("{cart}/items"), json!({"variantId": "a", "quantity": 1}))
            .await
            .ok(201);
        let delete = web.send("DELETE", &cart, &[], Value::Null);
        let item = json!({"variantId": "a", "quantity": 3, "customerId": "u1"});
        let (gone, added) = tokio::join!(delete, web.post("/api/cart/items", item));
        gone.ok(204);
        assert_eq!(added.ok(201).at("/items/0/quantity"), json!(3));
        assert_eq!(web.figures("a").await, (2, 3, 0));
    });
}

fn as_many_wait_in_front_of_one_cart_as_may(backend: JournalBackend) {
    for (asked, turned_away) in [(2, 0), (3, 0), (4, 1), (6, 3)] {
        // One thread: all of them stand before the cart when it begins with the first.
        let house = House::in_one_thread(backend, |config| config.admission.max_per_cart = 2);
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            web.stock("a", 9).await;
            let cart = web.cart("u1", "a", 1).await;
            let path = format!("{cart}/items");
            let mut waiting = Vec::new();
            for _ in 0..asked {
                let item = json!({"variantId": "a", "quantity": 1});
                waiting.push(Box::pin(web.post(&path, item)));
            }
            let told = all_of(waiting).await;
            let (refused, done): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| told.status == 429);
            assert_eq!((refused.len(), done.len()), (turned_away, asked - turned_away));
            for told in refused {
                assert_ne!(told.header("retry-after"), "");
                told.refused(429, "too-many-requests");
            }
            let units = web.get(&cart).await.at("/items/0/quantity");
            assert_eq!(units, json!(1 + asked - turned_away));
        });
    }
}

/// All at once, in this order.
async fn all_of<F: Future + Unpin>(mut asked: Vec<F>) -> Vec<F::Output> {
    let mut told = Vec::new();
    std::future::poll_fn(|context| {
        asked.retain_mut(|request| match std::pin::Pin::new(request).poll(context) {
            std::task::Poll::Ready(answer) => {
                told.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if asked.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    told
}

/// The cart that was to be born with the first line is forgotten, and the second is born in its place. The log once counted
/// both as one cart, in the server's memory only: every start after that was refused as damage.
fn a_customer_whose_first_line_was_refused_tries_another(backend: JournalBackend) {
    let mut house = House::new(backend);
    let cart = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 1).await;
        web.stock("b", 5).await;
        let item =
            |variant, quantity| json!({"variantId": variant, "quantity": quantity, "customerId": "u1"});
        for _ in 0..3 {
            web.post("/api/cart/items", item("a", 9))
                .await
                .refused(409, "insufficient-stock");
        }
        web.post("/api/cart/items", item("b", 2)).await.ok(201);
        let both = web.post("/api/cart/items", item("a", 1)).await.ok(201);
        both.word("/id")
    });
    house.crash_and_open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let shown = web.get(&format!("/api/cart/{cart}")).await.ok(200);
        assert_eq!(
            (shown.at("/items/0/quantity"), shown.at("/items/1/quantity")),
            (json!(2), json!(1))
        );
        assert_eq!(web.figures("b").await, (3, 2, 0));
    });
}

/// An order tells its cart of its end a moment after it has told the shop.
fn whoever_has_paid_or_called_off_shops_on_at_once(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 1_000).await;
        let item = json!({"variantId": "a", "quantity": 1, "customerId": "u1"});
        for turn in 0..60 {
            let added = web.post("/api/cart/items", item.clone()).await.ok(201);
            let cart = added.word("/id");
            let order = web
                .post(&format!("/api/cart/{cart}/checkout"), json!({}))
                .await
                .ok(201);
            web.post("/api/cart/items", item.clone())
                .await
                .refused(409, "cart-checking-out");
            let order = format!("/api/orders/{}", order.word("/id"));
            let (end, stays) = match turn % 3 {
                0 => ("confirm", false),
                1 => ("fail", true),
                _ => ("cancel", true),
            };
            let body = if turn % 3 == 0 {
                json!({"paymentReference": format!("p{turn}")})
            } else {
                json!({})
            };
            web.post(&format!("{order}/{end}"), body).await.ok(200);
            let next = web.post("/api/cart/items", item.clone()).await.ok(201);
            assert_eq!(next.word("/id") == cart, stays, "{end}");
        }
    });
}
