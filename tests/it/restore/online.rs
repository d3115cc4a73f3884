//! Over HTTP, while the process goes on: plan, token, run; callers wait meanwhile and find the shop as it was.
use super::Home;
use axum::{
    body::Body,
    http::{Method, Request},
};
use holdfast::{
    app::{House, Stage},
    http::{front::Front, health::Health, time::Moment},
    storage::{
        journal::{Epoch, OpenError},
        recovery::OpenJournal,
    },
};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{Arc, mpsc};
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// What was answered.
struct Answer {
    status: u16,
    code: String,
    replayed: bool,
    retry_after: bool,
    body: Value,
}

/// A house behind its front.
struct Served {
    home: Home,
    house: Arc<House>,
    front: Front,
    health: Arc<Health>,
}

impl Served {
    async fn open(home: Home, journal: OpenJournal) -> Self {
        let shop = home.open(home.journal()).await;
        let house = House::new(shop, journal, Arc::new(|why| panic!("{why}")));
        let health = Arc::new(Health::default());
        let front = Front::of(&house, &home.loaded, &health);
        Self {
            home,
            house,
            front,
            health,
        }
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = self
            .front
            .now()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap();
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status: head.status.as_u16(),
            code: body["code"].as_str().unwrap_or_default().to_owned(),
            replayed: head.headers.contains_key("idempotent-replayed"),
            retry_after: head.headers.contains_key("retry-after"),
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, None, Some(body)).await
    }

    async fn reserve(&self, key: &str, quantity: u32) -> Answer {
        let ask = json!({"variantId": "soap", "quantity": quantity});
        self.send("POST", "/api/stock/reservations", Some(key), Some(ask))
            .await
    }

    async fn plan(&self, ask: Value) -> Value {
        let planned = self.post("/api/admin/restore", ask).await;
        assert_eq!(planned.status, 200, "{}", planned.body);
        planned.body
    }

    async fn run(&self, token: &Value) -> Answer {
        self.post("/api/admin/restore", json!({"planToken": token})).await
    }

    async fn operation(&self, begun: &Answer) -> Value {
        let id = begun.body["id"].as_str().unwrap();
        self.get(&format!("/api/admin/operations/{id}")).await.body
    }
}

/// A closed shop with one hold, made under the key `before`, and its snapshot; how the hold was answered.
fn before(backend: &str) -> (Home, Value) {
    let home = Home::new(backend);
    let runtime = runtime();
    let (served, held) = runtime.block_on(async {
        let journal = home.journal();
        let served = Served::open(home, journal).await;
        let made = served
            .post("/api/stock/variants", json!({"id": "soap", "onHand": 10}))
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
        let held = served.reserve("before", 2).await;
        assert_eq!(held.status, 201, "{}", held.body);
        served.house.close().await;
        (served, held.body)
    });
    // The rows are free again when nobody holds the shop.
    drop(runtime);
    let Served {
        home, house, front, ..
    } = served;
    drop((front, house));
    home.capture(&home.data().join("snapshots/first.holdfast"));
    (home, held)
}

impl Served {
    /// Opens the shop and sells three, under the key `after`.
    async fn sold(home: Home, journal: OpenJournal) -> Self {
        let served = Self::open(home, journal).await;
        let sale = served.reserve("after", 3).await;
        let id = sale.body["id"].as_str().unwrap().to_owned();
        let confirmed = served
            .post(&format!("/api/stock/reservations/{id}/confirm"), json!({}))
            .await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.body);
        served
    }
}

/// A journal that waits before it begins the log of epoch 2: the test says when, or that it cannot be begun.
fn waiting(home: &Home, reached: mpsc::Sender<()>, go: mpsc::Receiver<Result<(), String>>) -> OpenJournal {
    let (journal, go) = (home.journal(), Mutex::new(go));
    Arc::new(move |place| {
        if place.epoch == Epoch(2) && std::fs::read_dir(place.dir).unwrap().next().is_none() {
            reached.send(()).unwrap();
            if let Err(why) = go.lock().recv().unwrap() {
                return Err(OpenError::Disk {
                    context: why,
                    source: "the test says so".into(),
                });
            }
        }
        journal(place)
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Waits for the restore to come to its log, on a thread that may wait.
async fn reached(at_log: mpsc::Receiver<()>) {
    tokio::task::spawn_blocking(move || at_log.recv().unwrap())
        .await
        .unwrap();
}

fn restored(backend: &str) {
    let (home, held) = before(backend);
    runtime().block_on(async {
        let (at_log, is_at_log) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let journal = waiting(&home, at_log, gone);
        let served = Served::sold(home, journal).await;

        let plan = served.plan(json!({"holds": "keep"})).await;
        assert_eq!(
            plan["soldAfter"],
            json!([{"variantId": "soap", "units": 3, "existed": true}])
        );
        assert_eq!(
            (&plan["lostSales"], &plan["lostSalesWithoutStock"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(plan["holdsLive"], 1);
        let before = served.plan(json!({})).await;

        let list = "/api/stock/reservations?limit=1";
        let first = served.get(list).await.body;
        let cursor = first["nextCursor"].as_str().unwrap().to_owned();
        let rest = format!("{list}&cursor={cursor}");
        assert_eq!(served.get(&rest).await.body["items"].as_array().unwrap().len(), 1);

        // Ten minutes later the plan is worth nothing.
        served.home.clock.advance(10 * 60_000 + 1);
        let stale = served.run(&plan["planToken"]).await;
        assert_eq!((stale.status, stale.code.as_str()), (409, "plan-stale"));
        let unknown = served.run(&json!("plan_0")).await;
        assert_eq!((unknown.status, unknown.code.as_str()), (409, "plan-stale"));
        let plan = served.plan(json!({"file": "first.holdfast"})).await;
        let other = served.plan(json!({})).await;

        let run = json!({"planToken": plan["planToken"]});
        let begun = served
            .send("POST", "/api/admin/restore", Some("run-it"), Some(run))
            .await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        reached(is_at_log).await;
        let waits = served.get("/api/stock/variants/soap").await;
        assert_eq!(
            (waits.status, waits.code.as_str(), waits.retry_after),
            (503, "restoring", true)
        );
        assert_eq!(waits.body["operationId"], begun.body["id"], "who knows more");
        let waits = served.reserve("before", 2).await;
        assert_eq!((waits.status, waits.code.as_str()), (503, "restoring"));
        assert!(served.health.is_restoring());
        let operation = served.operation(&begun).await;
        assert_eq!(
            (&operation["status"], &operation["phase"]),
            (&json!("running"), &json!("amending"))
        );
        go.send(Ok(())).unwrap();
        let shop = served.house.shop().await;

        assert!(!served.health.is_restoring());
        let operation = served.operation(&begun).await;
        assert_eq!(operation["status"], "done", "{operation}");
        assert_eq!(
            (&operation["done"], &operation["result"]["cut"]),
            (&operation["total"], &plan["cut"])
        );
        assert!(operation["total"].as_u64().unwrap() > 0, "{operation}");
        assert!(
            operation["result"]["position"]
                .as_str()
                .unwrap()
                .starts_with("2-"),
            "{operation}"
        );
        assert_eq!(operation["result"]["variantsPaused"], 1);
        let lost = operation["result"]["lostSalesFile"].as_str().unwrap();
        assert!(
            std::fs::read_to_string(lost)
                .unwrap()
                .contains("\"variantId\":\"soap\"")
        );

        // A page of before does not go on in the shop that was put back, which lacks what stood before it.
        let told = served.get(&rest).await;
        assert_eq!((told.status, told.code.as_str()), (410, "cursor-too-old"));

        // As it was then, and paused because it was sold since.
        let soap = served.get("/api/stock/variants/soap").await.body;
        assert_eq!(
            (&soap["held"], &soap["committed"], &soap["saleState"]),
            (&json!(2), &json!(0), &json!("paused"))
        );
        let again = served.reserve("before", 2).await;
        assert_eq!((again.status, again.replayed, &again.body), (201, true, &held));
        let fresh = served.reserve("after", 3).await;
        assert_eq!((fresh.status, fresh.code.as_str()), (409, "sale-not-open"));
        assert_eq!(
            served
                .send("POST", "/api/stock/variants/soap/resume", None, None)
                .await
                .status,
            200
        );
        assert_eq!(served.reserve("after", 3).await.status, 201);

        let keyed = |key, ask| served.send("POST", "/api/admin/restore", Some(key), Some(ask));
        let token = json!({"planToken": plan["planToken"]});
        let again = keyed("plan-it", json!({})).await;
        let twice = keyed("plan-it", json!({})).await;
        assert_eq!(
            (again.replayed, twice.replayed, &again.body),
            (false, true, &twice.body)
        );
        for (key, ask) in [("plan-it", token.clone()), ("run-it", json!({}))] {
            let reused = keyed(key, ask).await;
            assert_eq!(
                (reused.status, reused.code.as_str()),
                (422, "idempotency-key-reused")
            );
        }
        let same = keyed("run-it", token).await;
        assert_eq!(
            (same.status, same.replayed, &same.body["id"]),
            (202, true, &begun.body["id"])
        );

        // The token names its operation; plans of the epoch before are worth nothing.
        let same = served.run(&plan["planToken"]).await;
        assert_eq!((same.status, &same.body["id"]), (202, &begun.body["id"]));
        for old in [&before, &other] {
            let stale = served.run(&old["planToken"]).await;
            assert_eq!((stale.status, stale.code.as_str()), (409, "plan-stale"));
        }
        drop(shop);

        // Another restore undoes it: the log of the epoch before is still there.
        let end: u64 = plan["position"].as_str().unwrap()[2..].parse().unwrap();
        let undo = served
            .plan(json!({"file": "first.holdfast", "toNumber": end}))
            .await;
        assert_eq!(
            (&undo["cut"], &undo["soldAfter"]),
            (&plan["position"], &json!([]))
        );
        assert!(
            undo["recordsLost"].as_u64().unwrap() > 0,
            "what came in epoch 2 is given up: {undo}"
        );
        let begun = served.run(&undo["planToken"]).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        let shop = served.house.shop().await;
        let operation = served.operation(&begun).await;
        assert_eq!(operation["status"], "done", "{operation}");
        let soap = served.get("/api/stock/variants/soap").await.body;
        assert_eq!((&soap["held"], &soap["committed"]), (&json!(2), &json!(3)));
        shop.close().await;
        drop(shop);
        let current = std::fs::read_to_string(served.home.data().join("CURRENT")).unwrap();
        assert!(current.ends_with("epoch 3\n"), "{current}");
        assert!(
            served.home.data().join("epochs/1").is_dir(),
            "the epoch of before is kept"
        );
    });
}

#[test]
fn a_running_shop_is_put_back_on_files() {
    restored("file");
}

#[test]
fn a_running_shop_is_put_back_on_sled() {
    restored("sled");
}

impl Served {
    async fn sell(&self, variant: &str, quantity: u32) {
        let ask = json!({"variantId": variant, "quantity": quantity});
        let held = self.post("/api/stock/reservations", ask).await;
        let id = held.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", held.body));
        let confirm = format!("/api/stock/reservations/{id}/confirm");
        let confirmed = self.post(&confirm, json!({})).await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    }

    async fn create(&self, variant: &str, units: u32) {
        let made = self
            .post("/api/stock/variants", json!({"id": variant, "onHand": units}))
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// Plans and runs; what the plan said.
    async fn put_back(&self, ask: Value) -> Value {
        let plan = self.plan(ask).await;
        let begun = self.run(&plan["planToken"]).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        drop(self.house.shop().await);
        let operation = self.operation(&begun).await;
        assert_eq!(operation["status"], "done", "{operation}");
        plan
    }

    /// Committed units and the sale's state.
    async fn standing(&self, variant: &str) -> (u64, String) {
        let view = self.get(&format!("/api/stock/variants/{variant}")).await.body;
        let committed = view["committed"].as_u64().unwrap_or_else(|| panic!("{view}"));
        (committed, view["saleState"].as_str().unwrap().to_owned())
    }

    fn moment(&self) -> String {
        Moment(self.home.clock.now()).to_string()
    }
}

fn sold(variant: &str, units: u32, existed: bool) -> Value {
    json!({"variantId": variant, "units": units, "existed": existed})
}

/// Two restores of one snapshot: the sales between them are the second one's to lose, and no log of the snapshot's own epoch
/// has them.
fn sold_between_two_restores(backend: &str) {
    let (home, _) = before(backend);
    runtime().block_on(async {
        let journal = home.journal();
        let served = Served::open(home, journal).await;
        served.home.clock.advance(1_000);
        let in_epoch_1 = served.moment();
        served.home.clock.advance(1_000);
        let first = served.put_back(json!({})).await;
        assert_eq!(
            (&first["recordsLost"], &first["soldAfter"]),
            (&json!(0), &json!([]))
        );

        served.home.clock.advance(1_000);
        served.create("towel", 5).await;
        served.sell("soap", 3).await;
        served.sell("towel", 2).await;
        served.home.clock.advance(1_000);
        let between = served.moment();
        served.home.clock.advance(1_000);
        served.sell("soap", 1).await;

        let all = json!([sold("soap", 4, true), sold("towel", 2, false)]);
        let number = first["position"].as_str().unwrap()[2..].parse::<u64>().unwrap();
        for ask in [
            json!({}),
            json!({"file": "first.holdfast"}),
            json!({"toNumber": number}),
            json!({"file": "first.holdfast", "toNumber": number}),
            json!({"toTime": in_epoch_1}),
        ] {
            let plan = served.plan(ask.clone()).await;
            assert_eq!(
                (&plan["soldAfter"], &plan["lostSales"], &plan["logCutShort"]),
                (&all, &json!(3), &Value::Null),
                "{ask}"
            );
            assert!(plan["recordsLost"].as_u64().unwrap() >= 6, "{ask}: {plan}");
            assert!(plan["cut"].as_str().unwrap().starts_with("1-"), "{ask}: {plan}");
        }

        // A second of the epoch that has no snapshot of its own.
        let plan = served.put_back(json!({"toTime": between})).await;
        assert!(plan["cut"].as_str().unwrap().starts_with("2-"), "{plan}");
        assert_eq!(plan["soldAfter"], json!([sold("soap", 1, true)]));
        assert_eq!(served.standing("soap").await, (3, "paused".to_owned()));
        assert_eq!(served.standing("towel").await, (2, "open".to_owned()));

        // Back to the start: what was lost before is not lost again.
        let plan = served.put_back(json!({})).await;
        assert_eq!(
            plan["soldAfter"],
            json!([sold("soap", 3, true), sold("towel", 2, false)])
        );
        assert_eq!(served.standing("soap").await, (0, "paused".to_owned()));
        let lost = served.home.data().join("lost-orders-4.ndjson");
        assert_eq!(std::fs::read_to_string(lost).unwrap().lines().count(), 2);

        // Another variant has the number now that the towel had.
        served.create("brush", 5).await;
        served.sell("brush", 1).await;
        let plan = served.put_back(json!({"toTime": between})).await;
        assert_eq!(plan["soldAfter"], json!([sold("brush", 1, false)]));
        assert_eq!(served.standing("towel").await, (2, "open".to_owned()));
        let gone = served.get("/api/stock/variants/brush").await;
        assert_eq!(gone.code, "variant-not-found");
        served.create("brush", 5).await;
        served.sell("brush", 1).await;

        // A variant of the same name under another number.
        let made_first = json!({"toTime": served.moment()});
        served.home.clock.advance(1_000);
        let other = served.put_back(json!({})).await;
        assert_eq!(other["soldAfter"].as_array().unwrap().len(), 3, "{other}");
        served.create("brush", 5).await;
        served.sell("brush", 4).await;
        let plan = served.plan(made_first).await;
        assert_eq!(plan["soldAfter"], json!([sold("brush", 4, true)]), "{plan}");
        served.house.close().await;
    });
}

#[test]
fn sales_between_two_restores_of_a_snapshot_are_told_on_files() {
    sold_between_two_restores("file");
}

#[test]
fn sales_between_two_restores_of_a_snapshot_are_told_on_sled() {
    sold_between_two_restores("sled");
}

#[test]
fn a_restore_that_fails_goes_back_to_the_shop_as_it_was() {
    let (home, _) = before("file");
    runtime().block_on(async {
        let (at_log, is_at_log) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let journal = waiting(&home, at_log, gone);
        let served = Served::sold(home, journal).await;
        let plan = served.plan(json!({})).await;
        let begun = served.run(&plan["planToken"]).await;
        reached(is_at_log).await;
        go.send(Err("no space".to_owned())).unwrap();
        let shop = served.house.shop().await;
        let operation = served.operation(&begun).await;
        assert_eq!(operation["status"], "failed", "{operation}");
        assert!(
            operation["error"].as_str().unwrap().contains("no space"),
            "{operation}"
        );
        let soap = served.get("/api/stock/variants/soap").await.body;
        assert_eq!(
            (&soap["held"], &soap["committed"], &soap["saleState"]),
            (&json!(2), &json!(3), &json!("open"))
        );
        assert_eq!(served.reserve("more", 1).await.status, 201, "it sells on");
        assert!(matches!(served.house.stage(), Stage::Open(_)));
        shop.close().await;
        drop(shop);
        assert!(
            !served.home.data().join("epochs/2").exists(),
            "nothing is half restored"
        );
    });
}

#[test]
fn what_cannot_be_planned_is_told() {
    let (home, _) = before("file");
    runtime().block_on(async {
        let journal = home.journal();
        let served = Served::sold(home, journal).await;
        for (ask, status, code) in [
            (json!({"file": "none.holdfast"}), 404, "snapshot-not-found"),
            (json!({"file": "../CURRENT"}), 404, "snapshot-not-found"),
            (json!({"toNumber": 0}), 404, "snapshot-not-found"),
            (
                json!({"file": "first.holdfast", "toNumber": 0}),
                422,
                "cut-unreachable",
            ),
            (
                json!({"file": "first.holdfast", "toNumber": 1_000}),
                422,
                "cut-unreachable",
            ),
            (
                json!({"toNumber": 1, "toTime": "2027-01-15T08:00:00Z"}),
                422,
                "invalid-member",
            ),
            (
                json!({"planToken": "plan_1", "holds": "keep"}),
                422,
                "invalid-member",
            ),
        ] {
            let told = served.post("/api/admin/restore", ask.clone()).await;
            assert_eq!(
                (told.status, told.code.as_str()),
                (status, code),
                "{ask}: {}",
                told.body
            );
        }
        let path = served.home.data().join("snapshots/first.holdfast");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 50;
        bytes[at] ^= 8;
        std::fs::write(&path, bytes).unwrap();
        let told = served
            .post("/api/admin/restore", json!({"file": "first.holdfast"}))
            .await;
        assert_eq!((told.status, told.code.as_str()), (422, "snapshot-damaged"));
        assert_eq!(
            served.get("/api/admin/operations/op_1").await.code,
            "operation-not-found"
        );
        served.house.close().await;
    });
}
