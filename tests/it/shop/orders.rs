//! The contract's `/api/orders`, over the router: paid once however often, late, failed, cancelled, shipped, returned.
use super::{House, MINUTE, TTL, on_both_logs, web::Web};
use holdfast::{config::JournalBackend, domain::order::Happened};
use serde_json::{Value, json};

/// The default policy's time for a payment, ms.
const PAYMENT: i64 = 35 * MINUTE;

on_both_logs! {
    an_order_is_paid_once_however_often_it_is_told,
    a_commit_at_the_deadline_has_one_winner,
    a_payment_across_a_restart_is_judged_by_its_logged_moment,
    a_late_payment_takes_free_units_or_is_refunded_once,
    a_payment_that_cannot_be_honoured_is_refunded_once,
    a_failed_payment_gives_the_cart_its_holds_back,
    a_cancelled_order_gives_each_unit_back_once,
    units_leave_and_come_back_once,
    orders_are_listed_by_customer_and_status,
    keys_answer_after_a_restart_what_they_answered_before,
    many_checkouts_at_once_share_pools_for_three,
    two_guests_who_turn_out_to_be_one_customer_have_one_limit,
    a_late_payment_takes_what_its_cart_holds_again,
    a_checkout_is_held_until_the_payments_deadline,
    a_refund_is_asked_for_by_one_record,
}

/// A late payment, told twice at once, again after a crash, and again after that: whoever pays money back reads one record.
fn a_refund_is_asked_for_by_one_record(backend: JournalBackend) {
    let mut house = House::new(backend);
    let confirm = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 1).await;
        let (_, order) = web.order("u1", "a", 1).await;
        house.clock.advance(PAYMENT + MINUTE);
        web.until(&order, "/status", json!("expired")).await;
        web.until("/api/stock/variants/a/availability", "/available", json!(1))
            .await;
        web.cart("u2", "a", 1).await;
        let confirm = format!("{order}/confirm");
        let (one, two) = tokio::join!(web.post(&confirm, pay("p")), web.post(&confirm, pay("p")));
        one.refused(409, "refund-required");
        two.refused(409, "refund-required");
        confirm
    });
    for _ in 0..2 {
        house.crash_and_open();
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            web.post(&confirm, pay("p")).await.refused(409, "refund-required");
        });
    }
    house.close();
    let audit = house.audit();
    let wanted = Happened::RefundRequired {
        reference: "p".to_owned(),
    };
    let refunds = audit.order_happenings().filter(|happened| **happened == wanted);
    assert_eq!(refunds.count(), 1);
}

fn pay(reference: &str) -> Value {
    json!({"paymentReference": reference})
}

fn an_order_is_paid_once_however_often_it_is_told(backend: JournalBackend) {
    let mut house = House::new(backend);
    let (order, first) = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 5).await;
        let cart = web.cart("u1", "a", 2).await;
        let made = web.post(&format!("{cart}/checkout"), json!({})).await.ok(201);
        let order = made.header("location").to_owned();
        assert_eq!(order, format!("/api/orders/{}", made.word("/id")));
        assert_eq!(
            (made.word("/status").as_str(), made.at("/expiresInMs")),
            ("pending_payment", json!(PAYMENT))
        );
        assert_eq!(made.at("/total"), json!({"amount": 2000, "currency": "USD"}));
        assert_eq!(web.get(&cart).await.word("/status"), "checking_out");
        let again = web
            .post(&format!("{cart}/checkout"), json!({}))
            .await
            .refused(409, "cart-checking-out");
        assert_eq!(again.word("/orderId"), made.word("/id"));
        web.post(&format!("{cart}/items"), json!({"variantId": "a", "quantity": 1}))
            .await
            .refused(409, "cart-checking-out");
        let body = json!({"paymentReference": "pay_1", "amount": 2000, "currency": "USD"});
        let path = format!("{order}/confirm");
        let (browser, webhook) = tokio::join!(web.post(&path, body.clone()), web.post(&path, body));
        let (browser, webhook) = (browser.ok(200), webhook.ok(200));
        assert_eq!(browser.text, webhook.text, "one order, one outcome, one body");
        assert_eq!(
            (
                browser.word("/status").as_str(),
                browser.word("/paymentReference").as_str()
            ),
            ("confirmed", "pay_1")
        );
        assert_eq!(web.figures("a").await, (3, 0, 2));
        web.until(&cart, "/status", json!("ordered")).await;
        web.post(&format!("{cart}/items"), json!({"variantId": "a", "quantity": 1}))
            .await
            .refused(409, "cart-ordered");
        (order, browser.text)
    });
    house.clock.advance(MINUTE);
    house.crash_and_open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let again = web.post(&format!("{order}/confirm"), pay("pay_1")).await.ok(200);
        assert_eq!(again.text, first, "the same body after a restart");
        assert_eq!(web.figures("a").await, (3, 0, 2));
    });
}

/// Edge case A: the last unit, a second buyer waiting, success at T-1 ms, T, T+1 ms and T+10 min, twice each.
fn a_commit_at_the_deadline_has_one_winner(backend: JournalBackend) {
    for (after_ms, wins) in [(-1, true), (0, true), (1, false), (10 * MINUTE, false)] {
        let house = House::new(backend);
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            web.stock("a", 1).await;
            let (_, order) = web.order("u1", "a", 1).await;
            house.clock.advance(PAYMENT + after_ms);
            let second = json!({"variantId": "a", "quantity": 1, "customerId": "u2"});
            if wins {
                web.post("/api/cart/items", second)
                    .await
                    .refused(409, "insufficient-stock");
            } else {
                web.until(&order, "/status", json!("expired")).await;
                loop {
                    let taken = web.post("/api/cart/items", second.clone()).await;
                    if taken.status == 201 {
                        break;
                    }
                    taken.refused(409, "insufficient-stock");
                    tokio::task::yield_now().await;
                }
            }
            let path = format!("{order}/confirm");
            let (one, two) = tokio::join!(web.post(&path, pay("p")), web.post(&path, pay("p")));
            if wins {
                assert_eq!(one.ok(200).text, two.ok(200).text, "{after_ms}");
                assert_eq!(web.figures("a").await, (0, 0, 1), "{after_ms}");
            } else {
                let (one, two) = (
                    one.refused(409, "refund-required"),
                    two.refused(409, "refund-required"),
                );
                assert_eq!(one.at("/refund"), two.at("/refund"), "{after_ms}");
                let refunds = web.get(&order).await.at("/refunds");
                assert_eq!(refunds.as_array().unwrap().len(), 1, "{after_ms}: {refunds}");
                assert_eq!(web.figures("a").await, (0, 1, 0), "{after_ms}");
            }
        });
    }
}

/// Carts hold journal slots while they wait for orders, and orders tell carts: with one pool for both they would wait for each
/// other for ever.
fn many_checkouts_at_once_share_pools_for_three(backend: JournalBackend) {
    let mut house = House::build(backend, 2, true, |config| {
        config.admission.reserved = 3 * 14;
        config.admission.orders = 3 * 14;
    });
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 60).await;
        let mut carts = Vec::new();
        for shopper in 0..60 {
            carts.push(web.cart(&format!("u{shopper}"), "a", 1).await);
        }
        let mut asked: Vec<_> = carts
            .iter()
            .map(|cart| {
                let (web, path) = (&web, format!("{cart}/checkout"));
                Box::pin(async move { web.post(&path, json!({})).await })
            })
            .collect();
        std::future::poll_fn(|context| {
            asked.retain_mut(|request| match request.as_mut().poll(context) {
                std::task::Poll::Ready(told) => {
                    told.ok(201);
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
        assert_eq!(web.figures("a").await, (0, 60, 0));
    });
    house.crash();
    house.audit();
}

fn a_payment_across_a_restart_is_judged_by_its_logged_moment(backend: JournalBackend) {
    let mut house = House::new(backend);
    let (paid, unpaid, answer) = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 1).await;
        web.stock("b", 1).await;
        let ((_, paid), (_, unpaid)) = (web.order("u1", "a", 1).await, web.order("u2", "b", 1).await);
        house.clock.advance(PAYMENT - 1);
        let answer = web.post(&format!("{paid}/confirm"), pay("p")).await.ok(200);
        (paid, unpaid, answer.text)
    });
    house.crash();
    house.clock.advance(10 * MINUTE);
    house.open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        // Decided before anything is admitted, so the waiting buyer's first request finds the unit.
        web.until(&unpaid, "/status", json!("expired")).await;
        assert_eq!(
            web.post(&format!("{paid}/confirm"), pay("p")).await.ok(200).text,
            answer
        );
        assert_eq!(web.figures("a").await, (0, 0, 1));
        while web.figures("b").await != (1, 0, 0) {
            tokio::task::yield_now().await;
        }
        web.cart("u3", "b", 1).await;
        web.post(&format!("{unpaid}/confirm"), pay("q"))
            .await
            .refused(409, "refund-required");
        assert_eq!(web.figures("b").await, (0, 1, 0));
    });
}

fn a_late_payment_takes_free_units_or_is_refunded_once(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 3).await;
        let (_, free) = web.order("u1", "a", 2).await;
        let (_, gone) = web.order("u2", "a", 1).await;
        house.clock.advance(PAYMENT + 1);
        web.until(&free, "/status", json!("expired")).await;
        web.until(&gone, "/status", json!("expired")).await;
        let sold = web.post(&format!("{free}/confirm"), pay("late")).await.ok(200);
        assert_eq!(
            (sold.word("/status").as_str(), sold.at("/refunds")),
            ("confirmed", json!([]))
        );
        web.cart("u3", "a", 1).await;
        for _ in 0..2 {
            let refused = web
                .post(&format!("{gone}/confirm"), pay("late"))
                .await
                .refused(409, "refund-required");
            assert_eq!(
                (
                    refused.word("/refund/paymentReference").as_str(),
                    refused.word("/refund/reason").as_str()
                ),
                ("late", "expired")
            );
        }
        let order = web.get(&gone).await.ok(200);
        assert_eq!(
            (order.word("/status").as_str(), order.at("/refunds/1")),
            ("refund_required", Value::Null)
        );
        let done = web
            .post(&format!("{gone}/refunds/late/done"), Value::Null)
            .await
            .ok(200);
        assert_eq!(done.word("/refunds/0/status"), "done");
        web.post(&format!("{gone}/refunds/other/done"), Value::Null)
            .await
            .refused(404, "refund-not-found");
        assert_eq!(web.figures("a").await, (0, 1, 2));
    });
}

fn a_payment_that_cannot_be_honoured_is_refunded_once(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 5).await;
        let (_, order) = web.order("u1", "a", 1).await;
        let path = format!("{order}/confirm");
        for body in [
            json!({"paymentReference": "less", "amount": 999, "currency": "USD"}),
            json!({"paymentReference": "less", "amount": 999, "currency": "USD"}),
            json!({"paymentReference": "euro", "amount": 1000, "currency": "EUR"}),
        ] {
            let refused = web.post(&path, body).await.refused(409, "amount-mismatch");
            assert_eq!(refused.word("/refund/reason"), "amount_mismatch");
        }
        web.post(&path, pay("right")).await.ok(200);
        let refused = web
            .post(&path, pay("second"))
            .await
            .refused(409, "refund-required");
        assert_eq!(refused.word("/refund/reason"), "already_paid");
        let told = web.get(&order).await.ok(200);
        assert_eq!(told.word("/status"), "confirmed", "refunds do not overwrite it");
        let references: Vec<_> = (0..3)
            .map(|at| told.word(&format!("/refunds/{at}/paymentReference")))
            .collect();
        assert_eq!(
            (references, told.at("/refunds/3")),
            (
                vec!["less".to_owned(), "euro".into(), "second".into()],
                Value::Null
            )
        );
    });
}

fn a_failed_payment_gives_the_cart_its_holds_back(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 2).await;
        let (cart, order) = web.order("u1", "a", 2).await;
        house.clock.advance(TTL + MINUTE);
        let failed = web.post(&format!("{order}/fail"), Value::Null).await.ok(200);
        assert_eq!(failed.word("/status"), "payment_failed");
        let open = web.until(&cart, "/status", json!("active")).await;
        assert_eq!(open.word("/items/0/reservationStatus"), "active");
        assert!(
            open.at("/items/0/expiresInMs").as_i64().unwrap() >= MINUTE,
            "never shorter than 60 s"
        );
        assert_eq!(web.figures("a").await, (0, 2, 0));
        let refused = web
            .post(&format!("{order}/confirm"), pay("p"))
            .await
            .refused(409, "refund-required");
        assert_eq!(refused.word("/refund/reason"), "failed");
        web.post(&format!("{cart}/checkout"), json!({})).await.ok(201);
    });
}

/// Edge case C over HTTP: repeated and interleaved, each unit comes back once.
fn a_cancelled_order_gives_each_unit_back_once(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let (cart, pending) = web.order("u1", "a", 2).await;
        web.post(&format!("{pending}/cancel"), json!({"closeCart": true}))
            .await
            .ok(200);
        web.until(&cart, "/status", json!("abandoned")).await;
        while web.figures("a").await != (10, 0, 0) {
            tokio::task::yield_now().await;
        }
        let (_, order) = web.order("u2", "a", 4).await;
        web.post(&format!("{order}/confirm"), pay("p")).await.ok(200);
        let cancel = format!("{order}/cancel");
        let one = json!({"lines": [{"variantId": "a", "quantity": 1}]});
        let first = web.keyed(&cancel, "k", one.clone()).await.ok(200);
        assert_eq!(first.at("/lines/0/cancelled"), json!(1));
        assert_eq!(web.keyed(&cancel, "k", one).await.ok(200).text, first.text);
        assert_eq!(web.figures("a").await, (7, 0, 3));
        let many = json!({"lines": [{"variantId": "a", "quantity": 4}]});
        web.post(&cancel, many).await.refused(409, "too-many-units");
        web.post(&cancel, json!({"lines": [{"variantId": "b"}]}))
            .await
            .refused(404, "line-not-found");
        let written_off = web.post(&cancel, json!({"restock": false})).await.ok(200);
        assert_eq!(
            (
                written_off.word("/status").as_str(),
                written_off.at("/lines/0/cancelled")
            ),
            ("cancelled", json!(4))
        );
        assert_eq!(web.figures("a").await, (7, 0, 0), "three were written off");
        web.post(&format!("{order}/fulfil"), Value::Null)
            .await
            .refused(409, "order-state");
    });
}

fn units_leave_and_come_back_once(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let (_, order) = web.order("u1", "a", 3).await;
        web.post(&format!("{order}/fulfil"), Value::Null)
            .await
            .refused(409, "order-state");
        web.post(&format!("{order}/confirm"), pay("p")).await.ok(200);
        let fulfil = format!("{order}/fulfil");
        let some = web
            .post(&fulfil, json!({"lines": [{"variantId": "a", "quantity": 2}]}))
            .await
            .ok(200);
        assert_eq!(
            (some.word("/status").as_str(), some.at("/lines/0/shipped")),
            ("partially_fulfilled", json!(2))
        );
        let all = web.post(&fulfil, Value::Null).await.ok(200);
        assert_eq!(all.word("/status"), "fulfilled");
        assert_eq!(web.figures("a").await, (7, 0, 0));
        let back = json!({"lines": [{"variantId": "a", "quantity": 1}], "restock": true});
        let path = format!("{order}/return");
        web.keyed(&path, "r", back.clone()).await.ok(200);
        web.keyed(&path, "r", back).await.ok(200);
        assert_eq!(web.figures("a").await, (8, 0, 0));
        let returned = web.post(&path, json!({"restock": false})).await.ok(200);
        assert_eq!(
            (
                returned.word("/status").as_str(),
                returned.at("/lines/0/returned")
            ),
            ("returned", json!(3))
        );
        assert_eq!(web.figures("a").await, (8, 0, 0), "two were written off");
    });
}

fn orders_are_listed_by_customer_and_status(backend: JournalBackend) {
    let mut house = House::new(backend);
    let made = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let mut made = Vec::new();
        for customer in ["u1", "u2", "u1"] {
            let (_, order) = web.order(customer, "a", 1).await;
            web.post(&format!("{order}/confirm"), pay("p")).await.ok(200);
            made.push(order.rsplit('/').next().unwrap().to_owned());
            house.clock.advance(1);
        }
        web.post(&format!("/api/orders/{}/fulfil", made[0]), Value::Null)
            .await
            .ok(200);
        made
    });
    for _ in 0..2 {
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            let ids = async |query: &str| {
                let told = web.get(&format!("/api/orders{query}")).await.ok(200);
                let ids: Vec<_> = told
                    .at("/items")
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["id"].as_str().unwrap().to_owned())
                    .collect();
                (ids, told.at("/nextCursor"))
            };
            assert_eq!(ids("").await, (made.clone(), Value::Null));
            assert_eq!(ids("?customerId=u1").await.0, [made[0].clone(), made[2].clone()]);
            assert_eq!(ids("?status=fulfilled").await.0, [made[0].clone()]);
            assert_eq!(ids("?customerId=u1&status=confirmed").await.0, [made[2].clone()]);
            let (page, cursor) = ids("?limit=2").await;
            let (rest, end) = ids(&format!("?limit=2&cursor={}", cursor.as_str().unwrap())).await;
            assert_eq!(([page, rest].concat(), end), (made.clone(), Value::Null));
            web.get("/api/orders?status=opening")
                .await
                .refused(422, "invalid-parameter");
            web.get("/api/orders/ord_00000000000070008000000000000000")
                .await
                .refused(404, "order-not-found");
            web.get("/api/orders/77").await.refused(404, "order-not-found");
        });
        house.crash_and_open();
    }
}

fn keys_answer_after_a_restart_what_they_answered_before(backend: JournalBackend) {
    let mut house = House::new(backend);
    let (calls, first) = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 10).await;
        let cart = web.cart("u1", "a", 2).await;
        let checkout = format!("{cart}/checkout");
        let made = web.keyed(&checkout, "checkout", json!({})).await.ok(201);
        let order = made.header("location").to_owned();
        let mut calls = vec![(checkout, "checkout", json!({}))];
        let mut first = vec![made.text];
        for (verb, key, body) in [
            ("confirm", "confirm", pay("p")),
            (
                "fulfil",
                "fulfil",
                json!({"lines": [{"variantId": "a", "quantity": 1}]}),
            ),
            ("cancel", "cancel", json!({})),
            ("return", "return", json!({})),
        ] {
            let path = format!("{order}/{verb}");
            first.push(web.keyed(&path, key, body.clone()).await.ok(200).text);
            calls.push((path, key, body));
        }
        (calls, first)
    });
    house.clock.advance(MINUTE);
    house.crash_and_open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        for ((path, key, body), first) in calls.iter().zip(&first) {
            let again = web.keyed(path, key, body.clone()).await;
            assert_eq!(
                (&again.text, again.header("idempotent-replayed")),
                (first, "true"),
                "{path}"
            );
        }
        assert_eq!(web.figures("a").await, (10, 0, 0));
    });
}

/// Two carts of guests are checked out at once for one customer: the variant owns the limit, and one of them passes it.
fn two_guests_who_turn_out_to_be_one_customer_have_one_limit(backend: JournalBackend) {
    let house = House::with(backend, |config| {
        config.policy.units_per_customer_per_variant = Some(3);
    });
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 9).await;
        let mut carts = Vec::new();
        for session in ["s1", "s2"] {
            let item = json!({"variantId": "a", "quantity": 2, "sessionId": session});
            let cart = web.post("/api/cart/items", item).await.ok(201).word("/id");
            carts.push(format!("/api/cart/{cart}/checkout"));
        }
        let ann = json!({"customerId": "ann"});
        let (one, two) = tokio::join!(web.post(&carts[0], ann.clone()), web.post(&carts[1], ann.clone()));
        let (done, refused) = if one.status == 201 { (one, two) } else { (two, one) };
        done.ok(201);
        let refused = refused.refused(409, "lines-unavailable");
        assert_eq!(refused.word("/lines/0/code"), "limit-reached");
        assert_eq!(
            web.figures("a").await,
            (5, 4, 0),
            "the other cart has its hold as before"
        );
    });
}

fn a_late_payment_takes_what_its_cart_holds_again(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 2).await;
        let (cart, order) = web.order("u1", "a", 2).await;
        house.clock.advance(PAYMENT + 1);
        let open = web.until(&cart, "/status", json!("active")).await;
        let line = format!("{cart}/items/{}", open.word("/items/0/id"));
        web.send("PATCH", &line, &[], json!({"quantity": 2}))
            .await
            .ok(200);
        assert_eq!(web.figures("a").await, (0, 2, 0));
        let path = format!("{order}/confirm");
        let (browser, webhook) = tokio::join!(web.post(&path, pay("late")), web.post(&path, pay("late")));
        assert_eq!(browser.ok(200).text, webhook.ok(200).text);
        assert_eq!(web.figures("a").await, (0, 0, 2));
        let left = web.until(&cart, "/items", json!([])).await;
        assert_eq!(left.word("/status"), "active");
    });
}

fn a_checkout_is_held_until_the_payments_deadline(backend: JournalBackend) {
    let house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        web.stock("a", 2).await;
        let (cart, order) = web.order("u1", "a", 1).await;
        let order = web.get(&order).await;
        let shown = web.get(&cart).await;
        assert_eq!(shown.at("/items/0/reservedUntil"), order.at("/paymentDeadline"));
        assert_eq!(shown.at("/expiresInMs"), json!(PAYMENT));
    });
}
