//! A shopper's whole way, its log cut off behind any record, as a crash leaves it: asked again under the same keys it comes to
//! the same end as without the crash, and each unit is where it would be.
use super::{Audit, House, on_both_logs, small, web::Web};
use holdfast::config::JournalBackend;
use serde_json::{Value, json};

on_both_logs! {
    a_sale_cut_behind_any_record_comes_to_the_same_end,
    a_failed_payment_cut_behind_any_record_comes_to_the_same_end,
    a_cancelled_order_cut_behind_any_record_comes_to_the_same_end,
}

/// How the way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Paid; of two units one leaves and comes back, the other is cancelled.
    Sold,
    Failed,
    Cancelled,
}

/// Units on hand of each variant.
const STOCK: i64 = 10;

/// Who walks, and what they were told.
struct Shopper<'a> {
    web: &'a Web,
    told: Vec<String>,
}

impl Shopper<'_> {
    async fn ask(&mut self, path: &str, key: &str, body: Value) -> Value {
        let told = self.web.keyed(path, key, body).await;
        assert!((200..300).contains(&told.status), "{path} {key}: {}", told.text);
        self.told.push(told.text.clone());
        told.json()
    }
}

/// The whole way, each request under its own key; what it came to, without ids and versions.
pub(super) async fn walk(web: &Web, ending: Ending) -> (Vec<String>, Value) {
    let mut shopper = Shopper {
        web,
        told: Vec::new(),
    };
    let first = json!({"variantId": "a", "quantity": 2, "customerId": "u1"});
    let made = shopper.ask("/api/cart/items", "k1", first).await;
    let cart = format!("/api/cart/{}", made["id"].as_str().unwrap());
    let second = json!({"variantId": "b", "quantity": 1});
    shopper.ask(&format!("{cart}/items"), "k2", second).await;
    let made = shopper.ask(&format!("{cart}/checkout"), "k3", json!({})).await;
    let order = format!("/api/orders/{}", made["id"].as_str().unwrap());
    let one = json!({"lines": [{"variantId": "a", "quantity": 1}]});
    let status = match ending {
        Ending::Sold => {
            let paid = json!({"paymentReference": "p"});
            shopper.ask(&format!("{order}/confirm"), "k4", paid).await;
            shopper.ask(&format!("{order}/fulfil"), "k5", one.clone()).await;
            shopper.ask(&format!("{order}/cancel"), "k6", one.clone()).await;
            shopper.ask(&format!("{order}/return"), "k7", one).await;
            "ordered"
        }
        Ending::Failed => {
            shopper.ask(&format!("{order}/fail"), "k4", Value::Null).await;
            "active"
        }
        Ending::Cancelled => {
            shopper.ask(&format!("{order}/cancel"), "k4", json!({})).await;
            "active"
        }
    };
    let cart = web.until(&cart, "/status", json!(status)).await.json();
    let order = web.get(&order).await.ok(200).json();
    let units = |line: &Value| json!([line["shipped"], line["cancelled"], line["returned"]]);
    let lines: Vec<Value> = order["lines"].as_array().unwrap().iter().map(units).collect();
    let held = |item: &Value| json!([item["quantity"], item["reservationStatus"]]);
    let items: Vec<Value> = cart["items"].as_array().unwrap().iter().map(held).collect();
    let end = json!({
        "order": [order["status"], order["paymentReference"], order["refunds"], lines],
        "cart": [cart["status"], items],
        "a": web.figures("a").await, "b": web.figures("b").await,
    });
    (shopper.told, end)
}

fn expect_nothing_under_way(audit: &Audit, case: &str) {
    assert!(audit.checker.carts().all(|cart| cart.work.is_none()), "{case}");
    assert!(audit.checker.orders().all(|order| order.work.is_none()), "{case}");
    assert_eq!(audit.holds(|hold| hold.pin.is_some()).count(), 0, "{case}");
}

fn cut_everywhere(backend: JournalBackend, ending: Ending) {
    let mut whole = House::new(backend);
    let end = whole.run(async |shop| {
        let web = Web::new(&whole, &shop);
        for id in ["a", "b"] {
            web.stock(id, STOCK.unsigned_abs()).await;
        }
        walk(&web, ending).await.1
    });
    whole.close();
    let audit = whole.audit();
    expect_nothing_under_way(&audit, "whole");
    // The gate of the log and two variants.
    for cut in 3..=audit.turns.len() {
        let case = format!("{ending:?} cut behind {cut} of {}", audit.turns.len());
        let mut house = House::from_log(backend, &audit.turns[..cut], small);
        let told = house.run(async |shop| {
            let web = Web::new(&house, &shop);
            for id in ["a", "b"] {
                let (free, held, sold) = web.figures(id).await;
                assert!(free >= 0 && free + held + sold <= STOCK, "{case}");
            }
            let (told, came_to) = walk(&web, ending).await;
            assert_eq!(came_to, end, "{case}");
            told
        });
        if cut % 4 > 0 {
            house.close();
            expect_nothing_under_way(&house.audit(), &case);
            continue;
        }
        house.crash_and_open();
        house.run(async |shop| {
            let (again, came_to) = walk(&Web::new(&house, &shop), ending).await;
            assert_eq!((again, came_to), (told, end.clone()), "word by word: {case}");
        });
        house.close();
        expect_nothing_under_way(&house.audit(), &case);
    }
}

fn a_sale_cut_behind_any_record_comes_to_the_same_end(backend: JournalBackend) {
    cut_everywhere(backend, Ending::Sold);
}

fn a_failed_payment_cut_behind_any_record_comes_to_the_same_end(backend: JournalBackend) {
    cut_everywhere(backend, Ending::Failed);
}

fn a_cancelled_order_cut_behind_any_record_comes_to_the_same_end(backend: JournalBackend) {
    cut_everywhere(backend, Ending::Cancelled);
}
