//! The closed loop: every lane has its next request under way as soon as it has its answer. One thread, on the client's core.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::ask::{Ask, Ids, customer, key};
use crate::checker::{Answered, Told};
use crate::cores::{Cores, Times};
use crate::http::{Connection, Template, answered_id};
use crate::store::Store;
use crate::trouble::Trouble;

/// How long the last answers are waited for.
const DRAIN: Duration = Duration::from_secs(20);

/// How long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// Not measured.
    pub(crate) warmup: Duration,
    /// Measured.
    pub(crate) measured: Duration,
}

/// How a store is asked natively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Connections.
    pub(crate) connections: usize,
    /// Exchanges under way at once, over all connections.
    pub(crate) lanes: usize,
    /// Holds of one exchange.
    pub(crate) batch: usize,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            connections,
            lanes,
            batch,
        } = self;
        write!(
            out,
            "connections {connections}, exchanges at once {lanes}, holds in each {batch}"
        )
    }
}

/// Whom a lane asks.
#[derive(Debug)]
pub(crate) enum Lane {
    /// Over HTTP, for a reservation.
    Hold(Connection, Template),
    /// Over HTTP, for its own words.
    Echo(Connection, Template),
    /// A store by its own client.
    Native(Arc<Store>, Arc<Ids>, usize),
}

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// For the checker.
    pub(crate) told: Told,
    /// Answers within the measured time.
    pub(crate) in_time: u64,
    /// From request to answer, µs, of exchanges that ended within the measured time.
    pub(crate) times_us: Vec<u32>,
    /// What went wrong first.
    pub(crate) first_trouble: Option<String>,
    /// How busy the client's and the servers' cores were, 0 to 1.
    pub(crate) busy: (f64, f64),
}

impl Load {
    /// A percentile of the times, ms.
    pub(crate) fn percentile_ms(&mut self, part: f64) -> f64 {
        self.times_us.sort_unstable();
        if self.times_us.is_empty() {
            return 0.0;
        }
        let last = self.times_us.len() - 1;
        // A rank below 2^32: exact in a double.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rank of few million entries"
        )]
        let at = (last as f64 * part).round() as usize;
        f64::from(self.times_us[at.min(last)]) / 1_000.0
    }
}

/// Lanes over HTTP, each with a connection of its own.
pub(crate) async fn http_lanes(
    address: SocketAddr,
    connections: usize,
    path: &str,
    echo: bool,
) -> Result<Vec<Lane>, Trouble> {
    let mut lanes = Vec::with_capacity(connections);
    for _ in 0..connections {
        let connection = Connection::open(address).await?;
        let template = Template::reserve(path);
        lanes.push(if echo {
            Lane::Echo(connection, template)
        } else {
            Lane::Hold(connection, template)
        });
    }
    Ok(lanes)
}

/// Lanes to a store.
pub(crate) fn native_lanes(store: &Arc<Store>, setting: Setting) -> Vec<Lane> {
    let ids = Arc::new(Ids::default());
    let lane = |_| Lane::Native(Arc::clone(store), Arc::clone(&ids), setting.batch);
    (0..setting.lanes).map(lane).collect()
}

struct Books {
    next: Cell<u64>,
    from: Instant,
    until: Instant,
    load: RefCell<Load>,
}

/// Drives the lanes, then waits for what is under way.
pub(crate) async fn drive(lanes: Vec<Lane>, length: Length, cores: &Cores) -> Load {
    let from = Instant::now() + length.warmup;
    let until = from + length.measured;
    let books = Rc::new(Books {
        next: Cell::new(0),
        from,
        until,
        load: RefCell::default(),
    });
    let all = LocalSet::new();
    let lanes_count = lanes.len();
    for lane in lanes {
        all.spawn_local(run(lane, Rc::clone(&books)));
    }
    let watch = async {
        passed(from).await;
        let begun = Times::now(cores);
        passed(until).await;
        (begun, Times::now(cores))
    };
    let (begun, ended) = all.run_until(watch).await;
    let drained = tokio::time::timeout(DRAIN, all).await;
    let mut load = books.load.take();
    if drained.is_err() {
        load.first_trouble.get_or_insert(format!(
            "some of {lanes_count} lanes had no answer within {DRAIN:?}"
        ));
    }
    let asked = books.next.get();
    let known = u64::try_from(load.told.answered.len()).expect("a length fits u64") + load.told.refused;
    load.told.unknown = asked.saturating_sub(known);
    load.busy = begun.busy_until(&ended);
    load
}

/// Waits for a moment.
async fn passed(moment: Instant) {
    let never = std::future::pending::<()>();
    tokio::time::timeout_at(moment.into(), never).await.ok();
}

async fn run(mut lane: Lane, books: Rc<Books>) {
    let mut answered = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= books.until {
            return;
        }
        let batch = lane.batch();
        let first = books.next.get();
        books.next.set(first + batch);
        let outcome = lane.ask(first, &mut answered).await;
        let now = Instant::now();
        let mut load = books.load.borrow_mut();
        match outcome {
            Ok(Outcome::Done) => {
                load.told.answered.append(&mut answered);
                if (books.from..books.until).contains(&now) {
                    load.in_time += batch;
                    let took = u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX);
                    load.times_us.push(took);
                }
            }
            Ok(Outcome::Refused(why)) => {
                load.told.refused += batch;
                load.first_trouble.get_or_insert(why);
            }
            Err(trouble) => {
                // A lane whose request has an unknown outcome ends: what it does next would be a guess.
                load.first_trouble.get_or_insert(trouble.to_string());
                return;
            }
        }
    }
}

enum Outcome {
    Done,
    Refused(String),
}

impl Lane {
    /// Holds of one exchange.
    fn batch(&self) -> u64 {
        match self {
            Self::Hold(..) | Self::Echo(..) => 1,
            Self::Native(_, _, batch) => u64::try_from(*batch).expect("a batch fits u64"),
        }
    }

    /// One exchange, for the requests from this number on.
    async fn ask(&mut self, number: u64, answered: &mut Vec<Answered>) -> Result<Outcome, Trouble> {
        match self {
            Self::Hold(connection, template) => {
                let answer = connection.exchange(template.numbered(number)).await?;
                if answer.status != 201 {
                    let told = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
                    return Ok(Outcome::Refused(format!("{} {told}", answer.status)));
                }
                let id = answered_id(answer.body);
                let id = id.ok_or_else(|| Trouble::Unexpected("a reservation without an id".to_owned()))?;
                answered.push(Answered { number, id });
            }
            Self::Echo(connection, template) => {
                let answer = connection.exchange(template.numbered(number)).await?;
                if answer.status != 200 || !answer.body.starts_with(b"{\"variantId\":\"hot\"") {
                    return Ok(Outcome::Refused(format!("{} to an echo", answer.status)));
                }
                // Not a hold, but an answer: the count of what is unknown needs it.
                answered.push(Answered {
                    number,
                    id: u128::from(number),
                });
            }
            Self::Native(store, ids, 1) => {
                let held = store.hold(&asked(ids, number)).await?;
                answered.push(Answered { number, id: held.id });
            }
            Self::Native(store, ids, batch) => {
                let numbers = number..number + u64::try_from(*batch).expect("a batch fits u64");
                let asks: Vec<Ask> = numbers.clone().map(|number| asked(ids, number)).collect();
                let held = store.hold_many(&asks).await?;
                if held.len() != asks.len() {
                    let told = format!("{} answers to {} asks", held.len(), asks.len());
                    return Err(Trouble::Unexpected(told));
                }
                let pairs = numbers.zip(held);
                answered.extend(pairs.map(|(number, held)| Answered { number, id: held.id }));
            }
        }
        Ok(Outcome::Done)
    }
}

/// The ask with this number.
pub(crate) fn asked(ids: &Ids, number: u64) -> Ask {
    Ask {
        key: key(number),
        customer: customer(number),
        id: ids.next(),
    }
}
