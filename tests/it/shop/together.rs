//! Lists that are taken over all or not at all: whole through refusals, repeats, shoppers and crashes.
use super::{
    House, checkpoint, expect_lawful,
    held::{let_all_run, send, until_held},
    hold,
    import::counts,
    on_both_logs, small, until, variant, view,
    web::{Told, Web},
};
use holdfast::{
    app::{AppError, Shop},
    config::JournalBackend,
    domain::{bulk::LineOutcome, variant::SaleState},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

on_both_logs! {
    a_list_happens_as_a_whole_or_every_refused_line_is_named,
    a_list_too_long_or_too_large_touches_nothing,
    a_repeated_list_is_answered_by_the_same,
    shoppers_who_buy_meanwhile_see_whole_lists_and_nothing_is_sold_twice,
    a_crash_at_any_moment_leaves_whole_lists,
    a_list_whose_group_is_on_its_way_is_told_by_nobody_and_lost_as_a_whole,
    an_actor_that_dies_at_any_of_its_turns_leaves_whole_lists,
    a_list_cut_between_its_lines_is_brought_to_its_end_by_a_repeat,
    an_interrupted_import_is_not_taken_up_as_a_list,
    a_variant_that_is_being_read_again_keeps_nobody_waiting,
    a_list_that_finds_no_room_in_time_keeps_no_other_waiting,
}

const ATOMIC: &str = "/api/stock/import?atomic=true";

async fn import(web: &Web, path: &str, key: Option<&str>, list: &str) -> Told {
    let mut headers = vec![("content-type", "application/x-ndjson")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    web.raw("POST", path, &headers, list).await
}

fn list(lines: impl IntoIterator<Item = Value>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

fn a_list_happens_as_a_whole_or_every_refused_line_is_named(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let stock = ["a", "b", "c", "d"].map(|id| json!({"id": id, "onHand": 10}));
        let made = import(&web, ATOMIC, None, &list(stock)).await.ok(200);
        assert_eq!((counts(&made), made.at("/total")), ([4, 0, 0, 0], json!(4)));
        hold(&shop, "a", 6).await;
        hold(&shop, "c", 6).await;
        let lines = |held: u64| {
            list([
                json!({"id": "a", "onHand": held}),
                json!({"id": "b", "delta": -4, "name": "Soap", "saleState": "paused"}),
                json!({"id": "c", "delta": -9, "backorderLimit": held - 3}),
                json!({"id": "new", "onHand": 7}),
                json!({"id": "d", "onHand": 10}),
            ])
        };
        for path in [ATOMIC, "/api/stock/import?atomic=true&dryRun=true"] {
            let told = import(&web, path, None, &lines(5))
                .await
                .refused(409, "lines-refused");
            let named = told.at("/lines");
            let named: Vec<_> = named.as_array().unwrap().iter().collect();
            let of = |line: &Value| {
                (
                    line["line"].clone(),
                    line["variantId"].clone(),
                    line["code"].clone(),
                )
            };
            assert_eq!(
                named.into_iter().map(of).collect::<Vec<_>>(),
                [
                    (json!(1), json!("a"), json!("below-held")),
                    (json!(3), json!("c"), json!("below-held")),
                ]
            );
            for id in ["a", "b", "c", "d"] {
                let head = view(&shop, id).await.head;
                assert_eq!((head.on_hand, head.version), (10, 1), "{id}");
            }
            web.get("/api/stock/variants/new")
                .await
                .refused(404, "variant-not-found");
        }
        let dry = import(&web, "/api/stock/import?dryRun=true&atomic=true", None, &lines(8)).await;
        let done = import(&web, ATOMIC, None, &lines(8)).await.ok(200);
        assert_eq!(counts(&done), [1, 3, 1, 0]);
        assert_eq!(counts(&dry.ok(200)), counts(&done), "it was foretold");
        let b = view(&shop, "b").await.head;
        assert_eq!(
            (b.on_hand, b.sale, b.settings.name.as_deref()),
            (6, SaleState::Paused, Some("Soap"))
        );
        let left = [("a", 8), ("c", 1), ("new", 7)];
        for (id, on_hand) in left {
            assert_eq!(view(&shop, id).await.head.on_hand, on_hand, "{id}");
        }
        let ledger = web.get("/api/stock/variants/b/ledger").await.ok(200);
        assert_eq!(
            (ledger.at("/items/1/delta"), ledger.word("/items/1/reference")),
            (json!(-4), "line 2".to_owned())
        );
        hold(&shop, "new", 7).await;
    });
    house.crash_and_open();
    house.run(async |shop| {
        for (id, on_hand) in [("a", 8), ("b", 6), ("c", 1), ("d", 10), ("new", 7)] {
            let view = view(&shop, id).await;
            expect_lawful(&view);
            assert_eq!(view.head.on_hand, on_hand, "{id}");
        }
    });
    house.close();
    house.audit();
}

fn a_list_too_long_or_too_large_touches_nothing(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let lines =
            |count: u64| list((0..count).map(|number| json!({"id": format!("v{number}"), "onHand": 1})));
        for path in [ATOMIC, "/api/stock/import?atomic=true&dryRun=true"] {
            let told = import(&web, path, None, &lines(201))
                .await
                .refused(422, "list-too-large");
            assert_eq!(told.at("/limitLines"), json!(200));
        }
        let name = "x".repeat(128);
        let attributes: serde_json::Map<_, _> = (0..30)
            .map(|number| (format!("key{number}"), name.clone().into()))
            .collect();
        let large =
            list((0..200).map(|number| json!({"id": format!("v{number}"), "attributes": attributes})));
        let told = import(&web, ATOMIC, None, &large)
            .await
            .refused(422, "list-too-large");
        assert_eq!(told.at("/limitBytes"), json!(512 * 1024));
        import(&web, ATOMIC, None, "{\"id\":\"a\",\"onHand\":-1}\n")
            .await
            .refused(422, "invalid-lines");
        until(|| shop.running_variants() == 0).await;
        assert_eq!(
            web.get("/api/stock/variants").await.ok(200).at("/items"),
            json!([])
        );
        let done = import(&web, ATOMIC, None, &lines(200)).await.ok(200);
        assert_eq!(counts(&done), [200, 0, 0, 0]);
        until(|| shop.running_variants() == 0).await;
    });
    house.close();
    house.audit();
}

fn a_repeated_list_is_answered_by_the_same(backend: JournalBackend) {
    let mut house = House::new(backend);
    let lines = list([json!({"id": "a", "delta": 5}), json!({"id": "b", "delta": -5})]);
    let first = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let stock = list([json!({"id": "a", "onHand": 4}), json!({"id": "b", "onHand": 4})]);
        import(&web, ATOMIC, None, &stock).await.ok(200);
        import(&web, ATOMIC, Some("k"), &lines)
            .await
            .refused(409, "lines-refused");
        // A refusal is no fact: asked again it is judged afresh.
        import(&web, "/api/stock/import", None, "{\"id\":\"b\",\"onHand\":9}\n")
            .await
            .ok(200);
        let first = import(&web, ATOMIC, Some("k"), &lines).await.ok(200);
        assert_eq!(counts(&first), [0, 2, 0, 0]);
        checkpoint(&shop).await;
        first.text
    });
    for _ in 0..2 {
        house.crash_and_open();
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            let again = import(&web, ATOMIC, Some("k"), &lines).await.ok(200);
            assert_eq!(
                (again.text.as_str(), again.header("idempotent-replayed")),
                (first.as_str(), "true")
            );
            for path in ["/api/stock/import", "/api/stock/import?atomic=false"] {
                import(&web, path, Some("k"), &lines)
                    .await
                    .refused(422, "idempotency-key-reused");
            }
            import(&web, ATOMIC, Some("k"), "{\"id\":\"a\",\"delta\":1}\n")
                .await
                .refused(422, "idempotency-key-reused");
            let on_hand = (
                view(&shop, "a").await.head.on_hand,
                view(&shop, "b").await.head.on_hand,
            );
            assert_eq!(on_hand, (9, 4), "once");
        });
    }
    house.close();
    house.audit();
}

const VARIANTS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn stocked(web: &Web, on_hand: u64) {
    let stock = VARIANTS.map(|id| json!({"id": id, "onHand": on_hand}));
    import(web, ATOMIC, None, &list(stock)).await.ok(200);
}

fn shoppers_who_buy_meanwhile_see_whole_lists_and_nothing_is_sold_twice(backend: JournalBackend) {
    let mut house = House::by_the_wall(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        stocked(&web, 12).await;
        let ended = Arc::new(AtomicUsize::new(0));
        let lists = {
            let (web, ended) = (Web::new(&house, &shop), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut done = 0;
                for round in 0..60 {
                    let delta = if round % 2 == 0 { -4 } else { 4 };
                    let lines = VARIANTS.map(|id| json!({"id": id, "delta": delta}));
                    let told = import(&web, ATOMIC, None, &list(lines)).await;
                    if told.status == 200 {
                        done += 1;
                    } else {
                        told.refused(409, "lines-refused");
                    }
                }
                ended.fetch_add(1, Ordering::Release);
                done
            })
        };
        let shoppers: Vec<_> = (0..4)
            .map(|number| {
                let (shop, ended) = (Arc::clone(&shop), Arc::clone(&ended));
                tokio::spawn(async move {
                    let mut step: usize = number;
                    while ended.load(Ordering::Acquire) == 0 {
                        buy(&shop, VARIANTS[step % 5], step).await;
                        step += 1;
                    }
                })
            })
            .collect();
        // Whoever finds a list done in one variant finds it done in every other.
        while ended.load(Ordering::Acquire) == 0 {
            let mut seen = 0;
            for id in VARIANTS {
                let view = view(&shop, id).await;
                expect_lawful(&view);
                assert!(view.head.version >= seen, "half of a list is seen in {id}");
                seen = view.head.version;
            }
        }
        let done = lists.await.unwrap();
        for shopper in shoppers {
            shopper.await.unwrap();
        }
        assert!(done > 0, "some lists could be had");
        for id in VARIANTS {
            assert_eq!(view(&shop, id).await.head.version, 1 + done, "{id}");
        }
    });
    house.crash();
    house.audit();
}

/// Holds some units, and sells and ships, or gives back; now and then of two variants together.
async fn buy(shop: &Shop, id: &str, step: usize) {
    let ctx = super::ctx();
    if step.is_multiple_of(5) {
        let other = VARIANTS[(step / 5) % 5];
        let lines = [(id, 1), (other, 1)];
        let asked = super::all_or_nothing(if id == other { &lines[..1] } else { &lines });
        match shop.bulk(&ctx, asked).await {
            Ok(done) => {
                for (_, outcome) in done.body.lines {
                    let LineOutcome::Done(held) = outcome else {
                        panic!("{outcome:?}")
                    };
                    // It may be settling still.
                    while shop.release(&ctx, held.id).await.is_err() {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Err(AppError::BulkRefused { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    match shop
        .reserve(&ctx, super::wish(id, 1 + u32::try_from(step % 3).unwrap()))
        .await
    {
        Ok(held) if step.is_multiple_of(7) => {
            let id = held.body.hold.id;
            shop.confirm(&ctx, id, None, None).await.unwrap();
            shop.fulfil(&ctx, id, None).await.unwrap();
        }
        Ok(held) => {
            shop.release(&ctx, held.body.hold.id).await.unwrap();
        }
        Err(AppError::Refused { .. }) => tokio::task::yield_now().await,
        Err(error) => panic!("{error:?}"),
    }
}

/// One unit more of every variant, and one variant more.
async fn one_more(web: &Web, life: usize, number: usize) -> Told {
    let lines = VARIANTS.iter().map(|id| json!({"id": id, "delta": 1}));
    let new = json!({"id": format!("new-{life}-{number}"), "onHand": 1});
    until_taken(web, &format!("list-{life}-{number}"), &list(lines.chain([new]))).await
}

/// Comes again under its key as long as nothing but the moment is in the way.
async fn until_taken(web: &Web, key: &str, list: &str) -> Told {
    loop {
        let told = import(web, ATOMIC, Some(key), list).await;
        if told.status == 200 {
            return told;
        }
        assert_eq!(told.at("/retryable"), json!(true), "{}", told.text);
        tokio::task::yield_now().await;
    }
}

fn a_crash_at_any_moment_leaves_whole_lists(backend: JournalBackend) {
    const LIVES: usize = 6;
    const LISTS: usize = 20;
    let mut house = House::by_the_wall(backend);
    house.run(async |shop| stocked(&Web::new(&house, &shop), 1_000).await);
    let whole = async |shop: &Arc<Shop>| {
        let on_hand = view(shop, "a").await.head.on_hand;
        for id in VARIANTS {
            assert_eq!(view(shop, id).await.head.on_hand, on_hand, "{id}");
        }
        let (variants, _) = shop.list_variants(&super::ctx(), None, 1_000).await.unwrap();
        let made = variants.len() - VARIANTS.len();
        assert_eq!(on_hand, 1_000 + made as u64, "what a list makes is there with it");
        made
    };
    let mut before = 0;
    for life in 0..LIVES {
        house.run(async |shop| {
            let answered = Arc::new(AtomicUsize::new(0));
            for number in 0..LISTS {
                let (web, answered) = (Web::new(&house, &shop), Arc::clone(&answered));
                tokio::spawn(async move {
                    one_more(&web, life, number).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                });
            }
            // Another moment in every life; whatever is under way then is lost.
            until(|| answered.load(Ordering::Relaxed) >= life * 3).await;
        });
        house.crash_and_open();
        let made = house.run(async |shop| whole(&shop).await);
        assert!(made >= before + life * 3, "what was answered is there");
        before = made;
    }
    for _ in 0..2 {
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            for (life, number) in (0..LIVES).flat_map(|life| (0..LISTS).map(move |number| (life, number))) {
                assert_eq!(counts(&one_more(&web, life, number).await), [1, 5, 0, 0], "once");
            }
            assert_eq!(whole(&shop).await, LIVES * LISTS, "each list once");
        });
        house.restart();
    }
    house.close();
    house.audit();
}

fn a_list_whose_group_is_on_its_way_is_told_by_nobody_and_lost_as_a_whole(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        stocked(&Web::new(&house, &shop), 10).await;
        house.gate.close();
        let web = Web::new(&house, &shop);
        let sent = tokio::spawn(async move { one_more(&web, 0, 0).await });
        until_held(&house.gate).await;
        let seen = VARIANTS.map(|id| send(&shop, async move |shop| view(&shop, id).await));
        let_all_run().await;
        assert!(!sent.is_finished());
        assert!(
            seen.iter().all(|seen| !seen.is_finished()),
            "they wait for what they would tell"
        );
    });
    house.crash_and_open();
    house.run(async |shop| {
        for id in VARIANTS {
            assert_eq!(view(&shop, id).await.head.on_hand, 10, "{id}");
        }
        let new = shop.get_variant(&super::ctx(), &variant("new-0-0")).await;
        assert!(matches!(new, Err(AppError::Refused { .. })), "{new:?}");
        one_more(&Web::new(&house, &shop), 0, 0).await;
        assert_eq!(view(&shop, "e").await.head.on_hand, 11);
    });
    house.close();
    house.audit();
}

fn an_actor_that_dies_at_any_of_its_turns_leaves_whole_lists(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        stocked(&web, 10).await;
        let died = Arc::new(AtomicUsize::new(0));
        for turn in 1..=24 {
            let (left, died) = (AtomicUsize::new(turn), Arc::clone(&died));
            house.clock.watch(move |place| {
                let is_turn = place.file().ends_with("actor/variant.rs");
                if is_turn && left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    died.fetch_add(1, Ordering::Relaxed);
                    // Without the hook's message: it is meant.
                    std::panic::resume_unwind(Box::new("a panic of the test"));
                }
            });
            let lines = list(VARIANTS.map(|id| json!({"id": id, "delta": 1})));
            let told = until_taken(&web, &format!("list-{turn}"), &lines).await;
            assert_eq!(counts(&told), [0, 5, 0, 0], "{turn}");
            house.clock.watch(|_| {});
            for id in VARIANTS {
                let view = view(&shop, id).await;
                assert_eq!(view.head.on_hand, 10 + turn as u64, "{id} at {turn}");
            }
        }
        // Each variant judges its line and hears what became of it.
        assert!(died.load(Ordering::Relaxed) >= 2 * VARIANTS.len(), "{died:?}");
        assert!(shop.quarantined(&super::ctx()).is_empty());
    });
    house.close();
    house.audit();
}

/// As an operator does who puts the shop back to a record between two lines of a list.
fn a_list_cut_between_its_lines_is_brought_to_its_end_by_a_repeat(backend: JournalBackend) {
    let lines = list([
        json!({"id": "a", "delta": 5}),
        json!({"id": "b", "onHand": 4}),
        json!({"id": "c", "delta": -2, "name": "Soap"}),
        json!({"id": "new", "onHand": 7}),
    ]);
    let figures = async |shop: &Shop| {
        let mut figures = Vec::new();
        for id in ["a", "b", "c", "new"] {
            let head = view(shop, id).await.head;
            figures.push((head.on_hand, head.version));
        }
        figures
    };
    let mut whole = House::new(backend);
    let end = whole.run(async |shop| {
        let web = Web::new(&whole, &shop);
        let stock = ["a", "b", "c"].map(|id| json!({"id": id, "onHand": 4}));
        import(&web, ATOMIC, None, &list(stock)).await.ok(200);
        import(&web, ATOMIC, Some("k"), &lines).await.ok(200);
        figures(&shop).await
    });
    assert_eq!(end, [(9, 2), (4, 1), (2, 3), (7, 1)]);
    whole.close();
    let audit = whole.audit();
    // Three lines that change something, and the report.
    let last = audit.turns.len();
    for cut in last - 4..=last {
        let mut house = House::from_log(backend, &audit.turns[..cut], small);
        let told = house.run(async |shop| {
            let web = Web::new(&house, &shop);
            let told = import(&web, ATOMIC, Some("k"), &lines).await.ok(200);
            assert_eq!(figures(&shop).await, end, "cut behind {cut} of {last}");
            told
        });
        assert_eq!(counts(&told), [1, 2, 1, 0], "cut behind {cut} of {last}");
        let replayed = told.headers.contains_key("idempotent-replayed");
        assert_eq!(replayed, cut == last);
        house.close();
        house.audit();
    }
}

fn an_interrupted_import_is_not_taken_up_as_a_list(backend: JournalBackend) {
    let lines = list([json!({"id": "a", "delta": 5}), json!({"id": "b", "delta": 5})]);
    let mut whole = House::new(backend);
    whole.run(async |shop| {
        let web = Web::new(&whole, &shop);
        let stock = ["a", "b"].map(|id| json!({"id": id, "onHand": 4}));
        import(&web, ATOMIC, None, &list(stock)).await.ok(200);
        let line_by_line = "/api/stock/import";
        import(&web, line_by_line, Some("k"), &lines).await.ok(200);
    });
    whole.close();
    let audit = whole.audit();
    // Its mark, two lines and the report.
    let last = audit.turns.len();
    for cut in last - 3..last {
        let house = House::from_log(backend, &audit.turns[..cut], small);
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            let before = view(&shop, "a").await.head.on_hand + view(&shop, "b").await.head.on_hand;
            import(&web, ATOMIC, Some("k"), &lines)
                .await
                .refused(422, "idempotency-key-reused");
            let after = view(&shop, "a").await.head.on_hand + view(&shop, "b").await.head.on_hand;
            assert_eq!(after, before, "cut behind {cut} of {last}");
        });
    }
}

fn a_variant_that_is_being_read_again_keeps_nobody_waiting(backend: JournalBackend) {
    let mut house = House::in_one_thread(backend, |_| {});
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        stocked(&web, 10).await;
        // It is read again behind everything that is on its way, and that does not arrive.
        house.gate.close();
        let first = send(&shop, async move |shop| {
            shop.reserve(&super::ctx(), super::wish("a", 1)).await.is_ok()
        });
        until_held(&house.gate).await;
        let strikes = std::sync::atomic::AtomicBool::new(true);
        house.clock.watch(move |place| {
            if place.file().ends_with("actor/variant.rs") && strikes.swap(false, Ordering::Relaxed) {
                // Without the hook's message: it is meant.
                std::panic::resume_unwind(Box::new("a panic of the test"));
            }
        });
        let lost = send(&shop, async move |shop| {
            shop.reserve(&super::ctx(), super::wish("c", 1)).await.is_err()
        });
        let_all_run().await;
        house.clock.watch(|_| {});
        let sent = tokio::spawn({
            let web = Web::new(&house, &shop);
            let lines = list(VARIANTS.map(|id| json!({"id": id, "delta": 1})));
            async move { import(&web, ATOMIC, None, &lines).await }
        });
        until(|| sent.is_finished()).await;
        let told = sent.await.unwrap();
        assert_eq!(
            (told.status, told.at("/retryable")),
            (503, json!(true)),
            "{}",
            told.text
        );
        let then = send(&shop, async move |shop| {
            shop.reserve(&super::ctx(), super::wish("b", 1)).await.is_ok()
        });
        house.gate.open();
        assert!(first.await.unwrap() && then.await.unwrap() && lost.await.unwrap());
        let lines = list(VARIANTS.map(|id| json!({"id": id, "delta": 1})));
        until_taken(&web, "once-it-is-there", &lines).await;
    });
    house.close();
    house.audit();
}

fn a_list_that_finds_no_room_in_time_keeps_no_other_waiting(backend: JournalBackend) {
    // Room for one list of so many lines.
    let mut house = House::in_one_thread(backend, |config| config.admission.reserved = 2 * 5 + 1);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        stocked(&web, 10).await;
        let lines = list(VARIANTS.map(|id| json!({"id": id, "delta": 1})));
        let send = || {
            let (web, lines) = (Web::new(&house, &shop), lines.clone());
            tokio::spawn(async move { import(&web, ATOMIC, None, &lines).await })
        };
        house.gate.close();
        let under_way = send();
        until_held(&house.gate).await;
        let late = [send(), send()];
        for late in late {
            // How long it may wait is counted from when it begins to, which is behind work of another thread.
            until(|| {
                house.clock.advance(1_000);
                late.is_finished()
            })
            .await;
            let told = late.await.unwrap();
            assert_eq!(
                (told.status, told.at("/retryable")),
                (503, json!(true)),
                "{}",
                told.text
            );
        }
        house.gate.open();
        under_way.await.unwrap();
        import(&web, ATOMIC, None, &lines).await.ok(200);
        assert_eq!(view(&shop, "a").await.head.on_hand, 12);
    });
    house.close();
    house.audit();
}
