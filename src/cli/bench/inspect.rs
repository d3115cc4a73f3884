//! What the checker needs from the server itself: the variants made before a run, the final state asked for after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::ledger::{HoldId, Ledger, Operation};
use super::schedule::Stopwatch;
use super::verdict::{FinalHold, FinalStatus, FinalStock};
use super::wire::{Connection, Lost};

/// Connections used to make variants and to ask for the final state.
const ASKING_CONNECTIONS: usize = 32;
/// Reservations of one validate request (api.md: at most 200).
const VALIDATE_IDS: usize = 200;
/// Reservations whose final status is asked for; of more than this, an even sample.
const FINAL_HOLDS_MAX: usize = 200_000;
/// How often a request is repeated after being turned away.
const TURNED_AWAY_MAX: u32 = 20;

/// Why the state could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No answer.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// An answer nobody expected.
    #[error("{request} was answered {status}: {body}")]
    Answer {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// The first bytes of the body.
        body: String,
    },
    /// A body without the members of its kind.
    #[error("{request} was answered with a body that cannot be read: {source}")]
    Body {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Asks one thing at a time and insists on an answer.
struct Asker {
    connection: Connection,
}

impl Asker {
    /// One request; turned away (429, 503) it waits as it was told and asks again.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        expect: u16,
    ) -> Result<Vec<u8>, InspectError> {
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut turned_away = 0;
        loop {
            let answer = self.connection.exchange(request.as_bytes()).await?;
            if answer.status == expect {
                return Ok(answer.body.to_vec());
            }
            turned_away += 1;
            if !matches!(answer.status, 429 | 503) || turned_away > TURNED_AWAY_MAX {
                return Err(InspectError::Answer {
                    request: format!("{method} {path}"),
                    status: answer.status,
                    body: String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned(),
                });
            }
            let pause = u64::from(answer.retry_after_seconds.unwrap_or(1));
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
    }
}

/// Runs `work` for every index below `count`, over some connections at once; results in order of the index.
async fn for_each<T, F>(address: SocketAddr, count: usize, work: F) -> Result<Vec<T>, InspectError>
where
    T: Send + 'static,
    F: AsyncWork<T>,
{
    let work = Arc::new(work);
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..ASKING_CONNECTIONS.min(count) {
        let work = Arc::clone(&work);
        tasks.spawn(async move {
            let mut asker = Asker {
                connection: Connection::new(address),
            };
            let mut results = Vec::new();
            for index in (lane..count).step_by(ASKING_CONNECTIONS) {
                results.push((index, work.run(&mut asker, index).await?));
            }
            Ok::<_, InspectError>(results)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(results) => all.extend(results?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    all.sort_by_key(|&(index, _)| index);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// One request of many.
trait AsyncWork<T>: Send + Sync + 'static {
    fn run(&self, asker: &mut Asker, index: usize) -> impl Future<Output = Result<T, InspectError>> + Send;
}

struct MakeVariants {
    names: Vec<String>,
    stock: Vec<u64>,
}

impl AsyncWork<()> for MakeVariants {
    async fn run(&self, asker: &mut Asker, index: usize) -> Result<(), InspectError> {
        let body = serde_json::json!({
            "id": self.names[index],
            "productId": "bench",
            "sku": self.names[index],
            "name": format!("Load test article {index}"),
            "category": "Load test",
            "price": {"amount": 100, "currency": "USD"},
            "onHand": self.stock[index],
        });
        asker
            .ask("POST", "/api/stock/variants", &body.to_string(), 201)
            .await?;
        Ok(())
    }
}

/// Makes the variants of a run.
///
/// # Errors
/// [`InspectError`].
pub(super) async fn make_variants(
    address: SocketAddr,
    names: Vec<String>,
    stock: Vec<u64>,
) -> Result<(), InspectError> {
    let count = names.len();
    for_each(address, count, MakeVariants { names, stock }).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariantBody {
    on_hand: i64,
    held: i64,
    committed: i64,
    available: i64,
}

struct ReadStock {
    names: Vec<String>,
    stopwatch: Stopwatch,
}

impl AsyncWork<FinalStock> for ReadStock {
    async fn run(&self, asker: &mut Asker, index: usize) -> Result<FinalStock, InspectError> {
        let path = format!("/api/stock/variants/{}", self.names[index]);
        let asked_ns = self.stopwatch.now_ns();
        let answer = asker.ask("GET", &path, "", 200).await?;
        let asked_ns = (asked_ns, self.stopwatch.now_ns());
        let body: VariantBody = read("GET", &path, &answer)?;
        let VariantBody {
            on_hand,
            held,
            committed,
            available,
        } = body;
        Ok(FinalStock {
            asked_ns,
            on_hand,
            held,
            committed,
            available,
        })
    }
}

/// The server's word on each variant.
///
/// # Errors
/// [`InspectError`].
pub(super) async fn final_stock(
    address: SocketAddr,
    names: Vec<String>,
    stopwatch: Stopwatch,
) -> Result<Vec<FinalStock>, InspectError> {
    let count = names.len();
    for_each(address, count, ReadStock { names, stopwatch }).await
}

#[derive(Deserialize)]
struct ValidateBody {
    results: Vec<ValidateResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValidateResult {
    reservation_id: String,
    status: Option<String>,
}

struct ReadHolds {
    holds: Vec<HoldId>,
    stopwatch: Stopwatch,
}

impl AsyncWork<Vec<FinalHold>> for ReadHolds {
    async fn run(&self, asker: &mut Asker, index: usize) -> Result<Vec<FinalHold>, InspectError> {
        const PATH: &str = "/api/stock/reservations/validate";
        let from = index * VALIDATE_IDS;
        let part = &self.holds[from..self.holds.len().min(from + VALIDATE_IDS)];
        let ids: Vec<String> = part.iter().map(HoldId::to_string).collect();
        let asked_ns = self.stopwatch.now_ns();
        let answer = asker
            .ask(
                "POST",
                PATH,
                &serde_json::json!({ "reservationIds": ids }).to_string(),
                200,
            )
            .await?;
        let asked_ns = (asked_ns, self.stopwatch.now_ns());
        let body: ValidateBody = read("POST", PATH, &answer)?;
        let status_of = |hold: HoldId| {
            let name = hold.to_string();
            let found = body.results.iter().find(|result| result.reservation_id == name);
            final_status(found.and_then(|result| result.status.as_deref()))
        };
        // In the order asked if the server keeps it (it does); otherwise looked up.
        let in_order = body.results.len() == ids.len()
            && body
                .results
                .iter()
                .zip(&ids)
                .all(|(result, id)| result.reservation_id == *id);
        let statuses: Vec<FinalStatus> = if in_order {
            body.results
                .iter()
                .map(|result| final_status(result.status.as_deref()))
                .collect()
        } else {
            part.iter().map(|&hold| status_of(hold)).collect()
        };
        Ok(part
            .iter()
            .zip(statuses)
            .map(|(&hold, status)| FinalHold {
                hold,
                asked_ns,
                status,
            })
            .collect())
    }
}

fn final_status(status: Option<&str>) -> FinalStatus {
    match status {
        Some("active") => FinalStatus::Active,
        Some("confirmed") => FinalStatus::Confirmed,
        Some("released") => FinalStatus::Released,
        Some("expired") => FinalStatus::Expired,
        _ => FinalStatus::Missing,
    }
}

/// The server's word on the reservations of the ledger: all of them, or an even sample of [`FINAL_HOLDS_MAX`].
///
/// # Errors
/// [`InspectError`].
pub(super) async fn final_holds(
    address: SocketAddr,
    ledger: &Ledger,
    stopwatch: Stopwatch,
) -> Result<Vec<FinalHold>, InspectError> {
    let reserves = ledger
        .entries
        .iter()
        .filter(|entry| entry.operation == Operation::Reserve);
    let all: Vec<HoldId> = reserves.filter_map(|entry| entry.hold).collect();
    let step = all.len().div_ceil(FINAL_HOLDS_MAX).max(1);
    let holds: Vec<HoldId> = all.into_iter().step_by(step).collect();
    let requests = holds.len().div_ceil(VALIDATE_IDS);
    let answers = for_each(address, requests, ReadHolds { holds, stopwatch }).await?;
    Ok(answers.into_iter().flatten().collect())
}

fn read<'a, T: Deserialize<'a>>(method: &str, path: &str, body: &'a [u8]) -> Result<T, InspectError> {
    serde_json::from_slice(body).map_err(|source| InspectError::Body {
        request: format!("{method} {path}"),
        source,
    })
}

/// The text of `/metrics`.
///
/// # Errors
/// [`InspectError`].
pub(super) async fn metrics(ops: SocketAddr) -> Result<String, InspectError> {
    let mut asker = Asker {
        connection: Connection::new(ops),
    };
    let answer = asker.ask("GET", "/metrics", "", 200).await?;
    String::from_utf8(answer).map_err(|error| Lost::Malformed(error.to_string()).into())
}

/// The sum of a metric's samples whose labels contain all the given `name="value"` texts; `None` when it has no sample at all.
pub(super) fn sample_sum(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (found, value) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let value: f64 = value.trim().parse().ok()?;
        Some((found, value))
    });
    let mut seen = false;
    let mut sum = 0.0;
    for (found, value) in samples {
        seen = true;
        if labels.iter().all(|label| found.contains(label)) {
            sum += value;
        }
    }
    seen.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let text = "# HELP a_total help\na_total{op=\"x\",out=\"ok\"} 3\na_total{op=\"y\",out=\"ok\"} 4\na_total_other 9\nb 2\n";
        assert_eq!(sample_sum(text, "a_total", &[]), Some(7.0));
        assert_eq!(
            sample_sum(text, "a_total", &["op=\"x\"", "out=\"ok\""]),
            Some(3.0)
        );
        assert_eq!(sample_sum(text, "a_total", &["op=\"z\""]), Some(0.0));
        assert_eq!(sample_sum(text, "b", &[]), Some(2.0));
        assert_eq!(sample_sum(text, "c", &[]), None);
    }
}
