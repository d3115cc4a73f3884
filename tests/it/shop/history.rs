//! The story of a variant's units: the state behind every record, who held the last unit when, from log, archive, rows and
//! snapshots, and where it ends.
use super::{
    House, MINUTE, TTL, all_or_nothing, checkpoint, ctx, customer, hold, on_both_logs, stock, until_expired,
    variant, view,
    web::{Told, Web},
    wish,
};
use holdfast::{
    app::{ReserveAsk, Shop, recover_options},
    config::{ByteSize, JournalBackend},
    domain::variant::{Hold, HoldStatus, Variant},
    storage::{
        data_dir::DataDir,
        record::Fact,
        recovery,
        snapshot::{About, EntityKind, Entry, SnapshotWriter},
    },
};
use serde_json::{Value, json};

on_both_logs! {
    the_state_behind_every_record_is_the_one_that_a_replay_has,
    the_holder_of_the_last_unit_is_named,
    the_archive_reaches_behind_the_log,
    without_an_archive_the_story_says_where_it_begins,
    a_snapshot_reaches_behind_the_rows,
}

async fn history(web: &Web, query: &str) -> Told {
    web.get(&format!("/api/stock/variants/book/history{query}")).await
}

async fn take(shop: &Shop, who: &str, quantity: u32) -> Hold {
    let ask = ReserveAsk {
        shopper: customer(who),
        ..wish("book", quantity)
    };
    shop.reserve(&ctx(), ask).await.unwrap().body.hold
}

/// A bit of everything that moves units.
async fn busy(shop: &Shop, house: &House) {
    stock(shop, "other", 5).await;
    stock(shop, "book", 4).await;
    let sold = take(shop, "ann", 2).await;
    hold(shop, "other", 1).await;
    let given_back = take(shop, "bob", 1).await;
    take(shop, "cid", 1).await;
    shop.release(&ctx(), given_back.id).await.unwrap();
    shop.confirm(&ctx(), sold.id, None, None).await.unwrap();
    shop.bulk(&ctx(), all_or_nothing(&[("book", 1), ("other", 1)]))
        .await
        .unwrap();
    house.clock.advance(TTL);
    until_expired(shop, 3).await;
    shop.fulfil(&ctx(), sold.id, Some(1)).await.unwrap();
    shop.set_stock(&ctx(), &variant("book"), 9, None).await.unwrap();
    take(shop, "dot", 3).await;
    house.clock.advance(MINUTE);
    shop.take_back(&ctx(), sold.id, Some(1), true).await.unwrap();
}

/// The figures of a state: on hand, held, committed.
fn figures(state: &Value) -> [u64; 3] {
    ["onHand", "held", "committed"].map(|name| state[name].as_u64().unwrap_or_else(|| panic!("{state}")))
}

fn the_state_behind_every_record_is_the_one_that_a_replay_has(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| busy(&shop, &house).await);
    house.close();
    let turns = house.audit().turns;
    house.open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let book = view(&shop, "book").await.head.ordinal;
        let mut naive: Option<Variant> = None;
        let mut events = 0;
        for (number, turn) in (1..).zip(&turns) {
            if let Fact::Variant(fact) = &turn.fact
                && fact.ordinal == book
            {
                if let Some((store, id)) = &fact.named {
                    naive = Some(Variant::unborn(store.clone(), id.clone(), book));
                }
                for event in &fact.events {
                    naive.as_mut().unwrap().apply(event, turn.at);
                }
                events += fact.events.len();
            }
            let told = history(&web, &format!("?number={number}&limit=500"))
                .await
                .ok(200);
            assert_eq!(
                (told.at("/number"), told.at("/items").as_array().unwrap().len()),
                (json!(number), events)
            );
            let Some(naive) = &naive else {
                assert_eq!(
                    told.at("/state"),
                    Value::Null,
                    "record {number}: it was not there yet"
                );
                continue;
            };
            // A group is logged after its records are decided; what is due by then no longer counts.
            let logged_at = holdfast::http::time::read(&told.word("/at")).unwrap();
            assert!(logged_at >= turn.at, "record {number}");
            let live = |hold: &&Hold| {
                matches!(hold.status, HoldStatus::Active | HoldStatus::Tentative) && !hold.is_due(logged_at)
            };
            let holds: Vec<_> = naive
                .holds()
                .filter(live)
                .map(|hold| hold.id.to_string())
                .collect();
            let state = told.at("/state");
            let at = naive.view(logged_at);
            assert_eq!(
                figures(&state),
                [at.head.on_hand, at.held, at.committed],
                "record {number}"
            );
            let told_holds: Vec<_> = state["holds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hold| hold["reservationId"].clone())
                .collect();
            assert_eq!(told_holds, holds, "record {number}");
            if events > 0 {
                let newest = told.at("/items/0");
                assert_eq!(
                    figures(&newest),
                    [naive.head().on_hand, naive.held(), naive.committed()]
                );
            }
        }
        // Pages of one are the whole, newest first.
        let whole = history(&web, "?limit=500").await.ok(200);
        let mut paged = Vec::new();
        let mut query = "?limit=1".to_owned();
        loop {
            let page = history(&web, &query).await.ok(200);
            paged.extend(page.at("/items").as_array().unwrap().clone());
            match page.at("/nextCursor").as_str() {
                Some(cursor) => query = format!("?limit=1&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!((json!(paged), paged.len()), (whole.at("/items"), events));
        let now = view(&shop, "book").await;
        assert_eq!(
            figures(&whole.at("/state")),
            [now.head.on_hand, now.held, now.committed]
        );
    });
}

fn the_holder_of_the_last_unit_is_named(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        stock(&shop, "book", 2).await;
        let first = take(&shop, "ann", 1).await;
        assert_eq!(history(&web, "").await.ok(200).at("/lastUnit"), Value::Null);
        house.clock.advance(MINUTE);
        let taken_at = house.clock.now();
        take(&shop, "bob", 1).await;
        let before = taken_at.saturating_add(MINUTE - 1);
        house.clock.advance(MINUTE);
        shop.release(&ctx(), first.id).await.unwrap();
        house.clock.advance(MINUTE);

        // A minute later nobody had the last unit any more, but bob had had it.
        let now = history(&web, "").await.ok(200);
        let moment = |at| holdfast::http::time::Moment(at).to_string();
        assert_eq!(now.word("/lastUnit/taken/reservation/customerId"), "bob");
        assert_eq!(now.word("/lastUnit/taken/at"), moment(taken_at));
        assert_eq!(
            now.word("/lastUnit/freeAgainAt"),
            moment(taken_at.saturating_add(MINUTE))
        );
        // At the moment asked for he still had it.
        let then = history(&web, &format!("?at={}", moment(before))).await.ok(200);
        assert_eq!(then.word("/lastUnit/taken/reservation/customerId"), "bob");
        assert_eq!(then.at("/lastUnit/freeAgainAt"), Value::Null);
        assert_eq!(then.at("/state/available"), json!(0));
        assert_eq!(then.at("/state/holds").as_array().unwrap().len(), 2);
        let owners = ["/state/holds/0/customerId", "/state/holds/1/customerId"].map(|place| then.word(place));
        assert_eq!(owners, ["ann", "bob"]);
        history(&web, "?at=yesterday")
            .await
            .refused(422, "invalid-parameter");
        history(&web, "?number=-1")
            .await
            .refused(422, "invalid-parameter");
        history(&web, "?number=1&at=2026-11-21T08:30:00Z")
            .await
            .refused(422, "invalid-parameter");
        web.get("/api/stock/variants/none/history")
            .await
            .refused(404, "variant-not-found");
    });
    house.close();
}

/// So much that the log lets its beginning go at the next checkpoint.
async fn fill_the_log(shop: &Shop) {
    stock(shop, "filler", 10).await;
    for _ in 0..6 {
        for _ in 0..80 {
            let id = hold(shop, "filler", 1).await.id;
            shop.release(&ctx(), id).await.unwrap();
        }
        shop.checkpoint().await.unwrap();
    }
}

fn small(backend: JournalBackend, archive: bool) -> House {
    House::with(backend, |config| {
        config.journal.segment_bytes = ByteSize::from_bytes(64 << 10);
        config.journal.group_bytes = ByteSize::from_bytes(32 << 10);
        config.archive.enabled = archive;
    })
}

fn the_archive_reaches_behind_the_log(backend: JournalBackend) {
    let mut house = small(backend, true);
    let before = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        busy(&shop, &house).await;
        let before = history(&web, "?limit=500").await.ok(200);
        fill_the_log(&shop).await;
        before
    });
    house.close();
    let first = house.first_record();
    assert!(first > 100, "the log begins at record {first}");
    house.open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let number = before.at("/number");
        let then = history(&web, &format!("?number={number}&limit=500"))
            .await
            .ok(200);
        for place in ["/items", "/state/holds", "/lastUnit", "/knownFrom"] {
            assert_eq!(then.at(place), before.at(place), "{place}");
        }
        let again = history(&web, "?limit=500").await.ok(200);
        assert_eq!(again.at("/items"), before.at("/items"), "nothing happened since");
    });
}

fn without_an_archive_the_story_says_where_it_begins(backend: JournalBackend) {
    let mut house = small(backend, false);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        busy(&shop, &house).await;
        let busy_until = history(&web, "").await.ok(200).at("/items/0/number");
        fill_the_log(&shop).await;
        history(&web, "?number=10").await.refused(410, "history-too-old");
        let told = history(&web, "?number=10").await;
        assert_eq!(
            told.at("/oldestNumber"),
            busy_until,
            "behind the last record in its rows"
        );
        let now = history(&web, "").await.ok(200);
        let seen = view(&shop, "book").await;
        assert_eq!(
            figures(&now.at("/state")),
            [seen.head.on_hand, seen.held, seen.committed]
        );
        assert_eq!((now.at("/items"), now.at("/knownFrom")), (json!([]), busy_until));
        // What happens from here on is told with its figures.
        take(&shop, "eve", 1).await;
        let now = history(&web, "").await.ok(200);
        assert_eq!(now.at("/items").as_array().unwrap().len(), 1);
        assert_eq!(now.at("/items/0/held"), now.at("/state/held"));
    });
    house.close();
}

fn a_snapshot_reaches_behind_the_rows(backend: JournalBackend) {
    let mut house = small(backend, false);
    let before = house.run(async |shop| {
        busy(&shop, &house).await;
        fill_the_log(&shop).await;
        view(&shop, "book").await
    });
    house.close();
    let number = snapshot_of(&house, "book");
    house.open();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        take(&shop, "eve", 1).await;
        checkpoint(&shop).await;
        // The rows are past that place, and the creation has left the log.
        let then = history(&web, &format!("?number={number}")).await.ok(200);
        assert_eq!(
            figures(&then.at("/state")),
            [before.head.on_hand, before.held, before.committed]
        );
        assert_eq!(
            (then.at("/knownFrom"), then.at("/items")),
            (json!(number), json!([]))
        );
        let now = history(&web, "").await.ok(200);
        assert_eq!(now.at("/state/held"), json!(before.held + 1));
        history(&web, &format!("?number={}", number - 1))
            .await
            .refused(410, "history-too-old");
    });
    house.close();
}

/// Writes a snapshot with the state of one variant of a house that is not open; its position.
fn snapshot_of(house: &House, id: &str) -> u64 {
    let data_dir = DataDir::open(house.path()).unwrap();
    let options = recover_options(&house.config);
    let recovered = recovery::recover(&data_dir, &options, &options.journal(), &|_| {}).unwrap();
    let number = recovered.journal.reader().last().0;
    let found = recovered
        .variants
        .iter()
        .find(|variant| variant.id.as_str() == id);
    let mut writer = SnapshotWriter::create(&data_dir.snapshots_dir().join("one.holdfast")).unwrap();
    let entry = Entry {
        kind: EntityKind::VARIANT,
        id: id.as_bytes().to_vec(),
        number,
        state: found.unwrap().encoded.clone(),
    };
    writer.entity(&entry).unwrap();
    let about = About {
        written_by: "a test".into(),
        created_at_ms: 0,
        epoch: data_dir.epoch(),
        position: number,
        logged_at_ms: None,
        rows_number: None,
        rows_logged_at_ms: None,
        rules: 1,
        rules_since: "0.1.0".into(),
        totals: [].into(),
        attribution: Vec::new(),
        source: "a test".into(),
    };
    writer.finish(about).unwrap();
    number
}
