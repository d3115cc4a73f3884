//! A shopper's whole way, and the shop put back by an operator to any record of it: whoever asks again under the same keys comes to
//! the same end, with the holds as they were and with their deadlines moved; with every hold ended, nothing stays behind.
use super::{
    House, on_both_logs, small, until_settled,
    way::{Ending, walk},
    web::Web,
};
use holdfast::{
    app::recover_options,
    config::JournalBackend,
    domain::rewind::HoldsRule,
    storage::{
        data_dir::DataDir,
        recovery::{self, CaptureAbout, CaptureTo, capture_directory},
        restore::{Cut, Logs, Source, Wanted, carry_out, survey},
        snapshot::SnapshotReader,
    },
};
use serde_json::Value;
use std::{ops::RangeInclusive, path::PathBuf};

on_both_logs! {
    a_sale_put_back_to_any_record_comes_to_the_same_end,
    a_failed_payment_put_back_to_any_record_comes_to_the_same_end,
    a_cancelled_order_put_back_to_any_record_comes_to_the_same_end,
}

/// Units on hand of each variant.
const STOCK: u64 = 10;

/// What may become of the holds, by turns.
const RULES: [HoldsRule; 3] = [HoldsRule::Keep, HoldsRule::Rebase, HoldsRule::Expire];

/// How long after its last record the shop is put back, ms: less than any deadline.
const LATER_MS: i64 = 20_000;

/// A closed shop that a shopper went through, its snapshot of before, and what the way came to.
struct Walked {
    house: House,
    snapshot: PathBuf,
    /// The last record of the snapshot, and the last of the log.
    records: RangeInclusive<u64>,
    end: Value,
}

fn walked(backend: JournalBackend, ending: Ending) -> Walked {
    let mut house = House::new(backend);
    house.run(async |shop| {
        let web = Web::new(&house, &shop);
        for id in ["a", "b"] {
            web.stock(id, STOCK).await;
        }
    });
    house.close();
    let snapshot = house.path().join("before.holdfast");
    let about = CaptureAbout {
        written_by: "test".to_owned(),
        created_at_ms: house.clock.now().as_millis(),
        source: "a test".to_owned(),
    };
    let dir = DataDir::open(house.path()).unwrap();
    let captured = capture_directory(
        &dir,
        &recover_options(&house.config),
        CaptureTo::File(&snapshot),
        &about,
    );
    let first = captured.unwrap().manifest.position;
    drop(dir);
    house.open();
    let end = house.run(async |shop| walk(&Web::new(&house, &shop), ending).await.1);
    house.close();
    let dir = DataDir::open(house.path()).unwrap();
    let last = recovery::verify(&dir, &recover_options(&house.config))
        .unwrap()
        .last;
    drop(dir);
    house.clock.advance(LATER_MS);
    Walked {
        house,
        snapshot,
        records: first..=last,
        end,
    }
}

impl Walked {
    /// A new shop, closed, put back to a record of this one.
    fn put_back(&self, backend: JournalBackend, number: u64, rule: HoldsRule) -> House {
        let (into, from) = (
            House::unopened(backend, small),
            DataDir::open(self.house.path()).unwrap(),
        );
        let options = recover_options(&into.config);
        let open = || SnapshotReader::open(&self.snapshot);
        let logs = Logs::of_data_dir(&from, &recover_options(&self.house.config)).unwrap();
        let log = logs
            .behind(open().unwrap().manifest(), Cut::Number(number), true)
            .unwrap();
        let source = Source {
            open: &open,
            log: Some(&log),
        };
        let now = self.house.clock.now();
        let wanted = Wanted {
            cut: Cut::Number(number),
            holds: rule,
            now_ms: now.as_millis(),
        };
        let plan = survey(&source, wanted).unwrap();
        let mut dir = DataDir::open(into.path()).unwrap();
        carry_out(&mut dir, &options, &options.journal(), &source, &plan, &|_| {}).unwrap();
        drop(dir);
        expect_sound(&into, &format!("put back to {number}, {rule:?}"));
        into.clock.advance(now.since(into.clock.now()));
        into
    }
}

/// The laws hold over a closed shop, and carts, orders and holds agree or are brought together by the next start.
fn expect_sound(house: &House, case: &str) {
    let dir = DataDir::open(house.path()).unwrap();
    let report = recovery::verify(&dir, &recover_options(&house.config)).unwrap();
    assert!(report.is_sound(), "{case}: {:?}", report.violations);
}

fn put_back_everywhere(backend: JournalBackend, ending: Ending) {
    let walked = walked(backend, ending);
    let records = walked.records.clone();
    assert!(records.clone().count() > 10, "{records:?}");
    // On sled, which takes its time to open, every other record.
    let step = if backend == JournalBackend::Sled { 2 } else { 1 };
    for (number, rule) in records.step_by(step).zip(RULES.into_iter().cycle()) {
        let case = format!("{ending:?} put back to {number}, {rule:?}");
        let mut house = walked.put_back(backend, number, rule);
        house.open();
        house.run(async |shop| {
            let web = Web::new(&house, &shop);
            for id in ["a", "b"] {
                // What was sold behind the cut comes up paused.
                let resume = format!("/api/stock/variants/{id}/resume");
                web.post(&resume, Value::Null).await.ok(200);
            }
            if rule == HoldsRule::Expire {
                until_settled(&shop).await;
            } else {
                assert_eq!(walk(&web, ending).await.1, walked.end, "{case}");
            }
        });
        house.close();
        expect_sound(&house, &case);
        expect_nothing_under_way(&house, &case);
    }
}

/// No cart and no order is in the middle of something.
fn expect_nothing_under_way(house: &House, case: &str) {
    let dir = DataDir::open(house.path()).unwrap();
    let options = recover_options(&house.config);
    let recovered = recovery::recover(&dir, &options, &options.journal(), &|_| {}).unwrap();
    let agents = recovered.carts.iter().chain(&recovered.orders);
    assert_eq!(agents.filter(|agent| agent.working).count(), 0, "{case}");
    assert!(recovered.bulks.is_empty(), "{case}");
    assert!(recovered.mends.is_empty(), "{case}: {:?}", recovered.mends);
}

fn a_sale_put_back_to_any_record_comes_to_the_same_end(backend: JournalBackend) {
    put_back_everywhere(backend, Ending::Sold);
}

fn a_failed_payment_put_back_to_any_record_comes_to_the_same_end(backend: JournalBackend) {
    put_back_everywhere(backend, Ending::Failed);
}

fn a_cancelled_order_put_back_to_any_record_comes_to_the_same_end(backend: JournalBackend) {
    put_back_everywhere(backend, Ending::Cancelled);
}
