//! A shop's list in and out: nothing is done on a fault, each line has one outcome through crash and repeat, and what was
//! written comes back byte for byte.
use super::{
    House, customer, hold, on_both_logs, variant, view,
    web::{Told, Web},
};
use holdfast::{config::JournalBackend, domain::variant::SaleState};
use proptest::{collection, option, prelude::*, sample::select};
use serde_json::{Value, json};

on_both_logs! {
    a_list_makes_and_changes_what_it_names,
    a_line_that_is_refused_stops_no_other,
    ten_thousand_lines_with_faults_do_nothing,
    an_interrupted_import_goes_on_under_its_key,
    an_import_leaves_no_actor_awake_and_is_one_picture_after_a_restart,
}

const IMPORT: &str = "/api/stock/import";
const EXPORT: &str = "/api/stock/export";
const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

async fn import(web: &Web, query: &str, form: &str, list: &str) -> Told {
    let path = format!("{IMPORT}{query}");
    web.raw("POST", &path, &[("content-type", form)], list).await
}

async fn keyed(web: &Web, key: &str, list: &str) -> Told {
    let headers = [("content-type", CSV), ("idempotency-key", key)];
    web.raw("POST", IMPORT, &headers, list).await
}

async fn export(web: &Web, form: &str) -> String {
    web.get(&format!("{EXPORT}?format={form}")).await.ok(200).text
}

/// Created, changed, unchanged, failed.
pub(super) fn counts(told: &Told) -> [u64; 4] {
    ["/created", "/changed", "/unchanged", "/failed"].map(|name| told.at(name).as_u64().unwrap())
}

fn a_list_makes_and_changes_what_it_names(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let list = "id,name,onHand,price.amount,price.currency,saleState\r\n\
                    soap,Soap,10,2599,USD,\r\ncup,Cup,3,,,paused\r\n";
        let made = import(&web, "", CSV, list).await.ok(200);
        assert_eq!((counts(&made), made.at("/total")), ([2, 0, 0, 0], json!(2)));
        assert_eq!(view(&shop, "cup").await.head.sale, SaleState::Paused);
        let again = import(&web, "", CSV, list).await.ok(200);
        assert_eq!(counts(&again), [0, 0, 2, 0], "what is so already is left alone");
        assert_eq!(view(&shop, "soap").await.head.version, 1);

        let changes = "{\"id\":\"soap\",\"delta\":-4,\"name\":null}\n{\"id\":\"cup\",\"saleState\":\"open\",\"onHand\":0}\n\
                       {\"id\":\"new\"}\n";
        let dry = import(&web, "?dryRun=true", NDJSON, changes).await.ok(200);
        assert_eq!((counts(&dry), dry.at("/dryRun")), ([1, 2, 0, 0], json!(true)));
        assert_eq!(
            dry.at("/changes/0"),
            json!({"line": 1, "variantId": "soap", "action": "change", "members": [
                {"member": "name", "before": "Soap", "after": null},
                {"member": "onHand", "before": 10, "after": 6},
            ]})
        );
        assert_eq!(
            dry.at("/changes/2"),
            json!({"line": 3, "variantId": "new", "action": "create", "members": []})
        );
        assert_eq!(view(&shop, "soap").await.head.on_hand, 10, "nothing was done");
        let done = import(&web, "", NDJSON, changes).await.ok(200);
        assert_eq!(counts(&done), [1, 2, 0, 0]);
        let soap = view(&shop, "soap").await;
        assert_eq!((soap.head.on_hand, soap.head.settings.name), (6, None));
        assert_eq!(soap.head.settings.price.unwrap().amount, 2599, "what is not mentioned stays");
        let ledger = web.get("/api/stock/variants/soap/ledger").await.ok(200);
        assert_eq!(
            (ledger.at("/items/1/delta"), ledger.word("/items/1/reason"), ledger.word("/items/1/reference")),
            (json!(-4), "import".to_owned(), "line 1".to_owned())
        );
    });
    house.close();
    house.audit();
}

fn a_line_that_is_refused_stops_no_other(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        import(
            &web,
            "",
            CSV,
            "id,onHand,backorderLimit\na,10,0\nb,10,5\nc,10,0\n",
        )
        .await
        .ok(200);
        hold(&shop, "a", 6).await;
        hold(&shop, "b", 12).await;
        let list = "id,onHand,backorderLimit\na,5,0\nb,7,6\nc,5,0\n";
        let dry = import(&web, "?dryRun=true", CSV, list).await.ok(200);
        let done = import(&web, "", CSV, list).await.ok(200);
        assert_eq!(counts(&done), [0, 2, 0, 1]);
        assert_eq!(
            (counts(&dry), dry.at("/lines")),
            (counts(&done), done.at("/lines")),
            "it was foretold"
        );
        let line = done.at("/lines/0");
        assert_eq!(
            (&line["line"], &line["variantId"], &line["code"], &line["minimum"]),
            (&json!(2), &json!("a"), &json!("below-held"), &json!(6))
        );
        assert_eq!(view(&shop, "a").await.head.on_hand, 10);
        // Less stock and more backorder in one line: they are judged together.
        assert_eq!(view(&shop, "b").await.head.on_hand, 7);
        assert_eq!(view(&shop, "c").await.head.on_hand, 5);
        let below = import(&web, "", CSV, "id,delta\na,-11\nc,1\n").await.ok(200);
        assert_eq!(
            (counts(&below), below.at("/lines/0/minimum")),
            ([0, 1, 0, 1], json!(6))
        );
    });
    house.close();
    house.audit();
}

fn ten_thousand_lines_with_faults_do_nothing(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let line = |number: u64| match number {
            4_321 => "v4321,-1,\n".to_owned(),
            5_000 => "v17,1,\n".to_owned(),
            9_999 => "nobody,,3\n".to_owned(),
            number => format!("v{number},{number},\n"),
        };
        // The header is line 1, so each number is its line.
        let list: String = (2..=10_001).map(line).collect();
        let told = import(&web, "", CSV, &format!("id,onHand,delta\n{list}"))
            .await
            .refused(422, "invalid-lines");
        assert_eq!(told.at("/total"), json!(3));
        assert_eq!(
            told.at("/lines"),
            json!([
                {"line": 4321, "member": "onHand", "problem": "expected a whole number from 0 to 1000000000000"},
                {"line": 5000, "member": "id", "problem": "v17 stands on line 17 too", "firstLine": 17},
                {"line": 9999, "member": "delta", "problem": "there is no variant nobody whose units could change"},
            ])
        );
        assert_eq!(web.get("/api/stock/variants").await.ok(200).at("/items"), json!([]));
        // Only the first hundred are told.
        let all: String = (0..1_000).map(|number| format!("v{number},x,\n")).collect();
        let told = import(&web, "", CSV, &format!("id,onHand,delta\n{all}"))
            .await
            .refused(422, "invalid-lines");
        assert_eq!(
            (told.at("/total"), told.at("/lines").as_array().unwrap().len()),
            (json!(1_000), 100)
        );
    });
    house.close();
    assert_eq!(house.audit().checker.variants().count(), 0, "nothing was done");
}

fn an_interrupted_import_goes_on_under_its_key(backend: JournalBackend) {
    const LINES: u64 = 3_000;
    let mut house = House::new(backend);
    let list = |cells: &str| {
        (0..LINES)
            .map(|number| format!("v{number},{cells}\n"))
            .collect::<String>()
    };
    let deltas = format!("id,delta\n{}", list("5"));
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let counted = format!("id,onHand\n{}", list("10"));
        assert_eq!(
            counts(&import(&web, "", CSV, &counted).await.ok(200)),
            [LINES, 0, 0, 0]
        );
        let (interrupted, watching) = (Web::new(&house, &shop), Web::new(&house, &shop));
        let sent = deltas.clone();
        tokio::spawn(async move { keyed(&interrupted, "k", &sent).await });
        watching
            .until("/api/stock/variants/v100", "/onHand", json!(15))
            .await;
        house.gate.close();
        super::held::until_held(&house.gate).await;
    });
    house.crash_and_open();
    let first = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let mut changed = 0;
        for number in 0..LINES {
            changed += view(&shop, &format!("v{number}")).await.head.on_hand - 10;
        }
        assert!(
            changed > 0 && changed < 5 * LINES,
            "it was interrupted: {changed}"
        );
        // Another list under the key of the first is found out before it touches anything.
        keyed(&web, "k", "id,delta\nv2999,1\n")
            .await
            .refused(422, "idempotency-key-reused");
        let done = keyed(&web, "k", &deltas).await.ok(200);
        assert_eq!(
            (counts(&done), done.header("idempotent-replayed")),
            ([0, LINES, 0, 0], "")
        );
        for number in 0..LINES {
            let head = view(&shop, &format!("v{number}")).await.head;
            assert_eq!((head.on_hand, head.ledger_seq), (15, 2), "v{number}: once");
        }
        done.text
    });
    house.restart();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let again = keyed(&web, "k", &deltas).await.ok(200);
        assert_eq!(
            (again.text.as_str(), again.header("idempotent-replayed")),
            (first.as_str(), "true")
        );
        assert_eq!(view(&shop, "v0").await.head.on_hand, 15);
    });
    house.close();
    house.audit();
}

fn an_import_leaves_no_actor_awake_and_is_one_picture_after_a_restart(backend: JournalBackend) {
    let mut house = House::new(backend);
    let before = house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let list: String = (0..500).map(|number| format!("v{number},7\n")).collect();
        import(&web, "", CSV, &format!("id,onHand\n{list}")).await.ok(200);
        super::until(|| shop.running_variants() == 0).await;
        (export(&web, "csv").await, export(&web, "ndjson").await)
    });
    house.restart();
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        assert_eq!((export(&web, "csv").await, export(&web, "ndjson").await), before);
        assert_eq!(shop.running_variants(), 0, "reading wakes nobody");
    });
}

#[test]
fn what_a_caller_sends_wrong_is_refused_by_name() {
    let mut house = House::with(JournalBackend::File, |config| {
        config.server.import_body_max = holdfast::config::ByteSize::from_bytes(64);
    });
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        let ok = "id,onHand\na,1\n";
        for form in [
            "application/json",
            "text/plain",
            "",
            "text/csv; charset=iso-8859-1",
        ] {
            import(&web, "", form, ok)
                .await
                .refused(415, "unsupported-media-type");
        }
        let packed = [("content-type", CSV), ("content-encoding", "gzip")];
        web.raw("POST", IMPORT, &packed, ok)
            .await
            .refused(415, "unsupported-media-type");
        let key = [("content-type", CSV), ("idempotency-key", "a b")];
        web.raw("POST", IMPORT, &key, ok)
            .await
            .refused(400, "invalid-header");
        import(&web, "?atomic=maybe", CSV, ok)
            .await
            .refused(422, "invalid-parameter");
        import(&web, "?dryrun=true", CSV, ok)
            .await
            .refused(422, "invalid-parameter");
        import(&web, "?dryRun=yes", CSV, ok)
            .await
            .refused(422, "invalid-parameter");
        let at_the_limit = format!("id\n{}\n", "x".repeat(60));
        assert_eq!(at_the_limit.len(), 64);
        assert_eq!(
            counts(&import(&web, "", CSV, &at_the_limit).await.ok(200)),
            [1, 0, 0, 0]
        );
        let told = import(&web, "", CSV, &format!("{at_the_limit}\n"))
            .await
            .refused(413, "body-too-large");
        assert_eq!(told.at("/limitBytes"), json!(64));
        let told = import(&web, "", CSV, "id,onhand\na,1\n")
            .await
            .refused(422, "invalid-lines");
        assert_eq!(
            told.at("/lines"),
            json!([{"line": 1, "member": "onhand", "problem": "no such column, did you mean onHand?"}])
        );
        web.raw("GET", EXPORT, &[("accept", "application/json")], "")
            .await
            .refused(406, "not-acceptable");
        web.get("/api/stock/export?format=xml")
            .await
            .refused(422, "invalid-parameter");
        let told = web
            .raw(
                "GET",
                EXPORT,
                &[("accept", "text/html, application/x-ndjson;q=0.5")],
                "",
            )
            .await;
        assert_eq!(told.ok(200).header("content-type"), NDJSON);
        let told = web.raw("GET", EXPORT, &[("accept", "*/*")], "").await;
        assert_eq!(
            told.ok(200).header("content-type"),
            "text/csv; charset=utf-8; header=present"
        );
    });
    house.close();
}

#[test]
fn an_export_tells_nothing_that_a_sale_changes() {
    let mut house = House::new(JournalBackend::File);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        import(&web, "", CSV, "id,onHand\nb,5\na,5\nc,5\n").await.ok(200);
        let before = export(&web, "csv").await;
        let ids: Vec<_> = before
            .lines()
            .map(|line| line.split(',').next().unwrap())
            .collect();
        assert_eq!(ids, ["id", "a", "b", "c"], "in order of ids");
        let ask = super::wish("a", 2);
        let ask = holdfast::app::ReserveAsk {
            shopper: customer("u"),
            ..ask
        };
        shop.reserve(&super::ctx(), ask).await.unwrap();
        assert_eq!(export(&web, "csv").await, before);
        shop.delete_variant(&super::ctx(), &variant("b"), None)
            .await
            .unwrap();
        let after = export(&web, "csv").await;
        assert_eq!(
            after.lines().count(),
            3,
            "one that was deleted is not told: {after}"
        );
    });
    house.close();
}

/// A line as a shop could send it.
fn line() -> impl Strategy<Value = Value> {
    let text = || "[ -~äß€]{1,20}";
    (
        option::of(text()),
        option::of((0..100_000_i64, select(vec!["USD", "EUR"]))),
        collection::vec(text(), 0..3),
        collection::btree_map(text(), text(), 0..3),
        (0..1_000_u64, 0..50_u64),
        select(vec!["on_cart", "on_checkout", "untracked"]),
        select(vec!["open", "paused", "draining"]),
        option::of(1..100_000_i64),
    )
        .prop_map(|(name, price, tags, attributes, (on_hand, threshold), mode, sale, ttl)| {
            json!({
                "name": name, "price": price.map(|(amount, currency)| json!({"amount": amount, "currency": currency})),
                "tags": tags, "attributes": attributes, "onHand": on_hand, "lowStockThreshold": threshold,
                "reservationMode": mode, "saleState": sale, "holdTtlSeconds": ttl,
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Export, import into an empty shop and into one where everything is different, export: byte for byte the same.
    #[test]
    fn a_shop_comes_back_byte_for_byte(
        shop in collection::btree_map("[ -~äß€]{1,12}", line(), 0..12),
        other in line(),
    ) {
        let with_id = |id: &str, line: &Value| {
            let mut line = line.clone();
            line["id"] = json!(id);
            format!("{line}\n")
        };
        let list: String = shop.iter().map(|(id, line)| with_id(id, line)).collect();
        let others: String = shop.keys().map(|id| with_id(id, &other)).collect();
        let mut first = House::new(JournalBackend::File);
        let written = first.run(async |shop| {
            let web = Web::new(&first, &shop);
            import(&web, "", NDJSON, &list).await.ok(200);
            [export(&web, "csv").await, export(&web, "ndjson").await]
        });
        first.close();
        for (form, list) in [(CSV, &written[0]), (NDJSON, &written[1])] {
            let mut second = House::new(JournalBackend::File);
            second.run(async |shop| {
                let web = Web::new(&second, &shop);
                import(&web, "", NDJSON, &others).await.ok(200);
                import(&web, "", form, list).await.ok(200);
                assert_eq!([export(&web, "csv").await, export(&web, "ndjson").await], written);
            });
            second.close();
        }
    }
}
