//! Redis: `reserve.lua` for each hold. The client puts the asks of all callers of a connection into one pipeline.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline};

use crate::ask::{Ask, Held, KEY_TTL_MS, STOCK, TTL_MS, VARIANT, hold_id, hold_text, number_of};
use crate::checker::{Found, FoundHold};
use crate::trouble::Trouble;

/// The unit of work.
const SCRIPT: &str = include_str!("../../reserve.lua");
/// Keys read back in one exchange.
const PART: usize = 5_000;
/// What the client lets wait for a connection: more than is ever in flight.
const WAITING_MAX: usize = 4_096;

/// What the script answers: outcome, id, deadline.
type Told = (String, String, i64);

/// Connections to one Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    sha: String,
}

impl Redis {
    /// Connects and loads the script.
    pub(crate) async fn connect(port: u16, connections: usize) -> Result<Self, Trouble> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING_MAX);
        let mut made = Vec::new();
        for _ in 0..connections {
            let connection = client.get_multiplexed_async_connection_with_config(&config);
            made.push(connection.await?);
        }
        let mut first = made[0].clone();
        let sha = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(SCRIPT)
            .query_async(&mut first)
            .await?;
        Ok(Self {
            connections: made,
            next: AtomicUsize::new(0),
            sha,
        })
    }

    /// A handle to one of the connections, in turn.
    fn connection(&self) -> MultiplexedConnection {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[at].clone()
    }

    pub(super) async fn fill(&self) -> Result<(), Trouble> {
        let mut command = redis::cmd("HSET");
        command.arg(stock_key()).arg(&[("on_hand", STOCK), ("held", 0)]);
        command.exec_async(&mut self.connection()).await?;
        Ok(())
    }

    fn command(&self, ask: &Ask) -> Cmd {
        let id = hold_text(ask.id);
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(4);
        command
            .arg(stock_key())
            .arg(format!("key:{}", ask.key))
            .arg(format!("hold:{id}"));
        command.arg(format!("due:{VARIANT}"));
        command.arg(id).arg(VARIANT).arg(1).arg(&ask.customer);
        command.arg(TTL_MS).arg(KEY_TTL_MS);
        command
    }

    pub(super) async fn hold(&self, ask: &Ask) -> Result<Held, Trouble> {
        let command = self.command(ask);
        held(command.query_async(&mut self.connection()).await?)
    }

    pub(super) async fn hold_many(&self, asks: &[Ask]) -> Result<Vec<Held>, Trouble> {
        let mut pipeline = Pipeline::with_capacity(asks.len());
        for ask in asks {
            pipeline.add_command(self.command(ask));
        }
        let told: Vec<Told> = pipeline.query_async(&mut self.connection()).await?;
        told.into_iter().map(held).collect()
    }

    pub(super) async fn taken(&self) -> Result<u64, Trouble> {
        let mut command = redis::cmd("HGET");
        command.arg(stock_key()).arg("held");
        Ok(command.query_async(&mut self.connection()).await?)
    }

    pub(super) async fn found(&self) -> Result<Found, Trouble> {
        let mut connection = self.connection();
        let (on_hand, taken) = redis::cmd("HMGET")
            .arg(stock_key())
            .arg(&["on_hand", "held"])
            .query_async(&mut connection)
            .await?;
        let due: u64 = redis::cmd("ZCARD")
            .arg(format!("due:{VARIANT}"))
            .query_async(&mut connection)
            .await?;
        let (keys, holds) = names(&mut connection).await?;
        let led = leads(&mut connection, &keys).await?;
        let mut found = Vec::with_capacity(holds.len());
        for part in holds.chunks(PART) {
            let mut pipeline = Pipeline::with_capacity(part.len());
            for name in part {
                pipeline.cmd("HGET").arg(name).arg("quantity");
            }
            let units: Vec<u64> = pipeline.query_async(&mut connection).await?;
            for (name, units) in part.iter().zip(units) {
                let id = id_of(&name["hold:".len()..])?;
                let number = led.get(&id).copied();
                found.push(FoundHold { id, number, units });
            }
        }
        Ok(Found {
            on_hand,
            taken,
            count: count(found.len()),
            holds: found,
            beside: vec![("keys", count(keys.len())), ("deadlines", due)],
            ..Found::default()
        })
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits u64")
}

fn stock_key() -> String {
    format!("stock:{VARIANT}")
}

fn held((outcome, id, expires_at_ms): Told) -> Result<Held, Trouble> {
    match outcome.as_str() {
        "held" | "repeat" => Ok(Held {
            id: id_of(&id)?,
            expires_at_ms,
        }),
        _ => Err(Trouble::Unexpected(format!("the script answered {outcome}"))),
    }
}

fn id_of(text: &str) -> Result<u128, Trouble> {
    hold_id(text).ok_or_else(|| Trouble::Unexpected(format!("{text} is no hold of ours")))
}

/// The names of all idempotency keys and all holds.
async fn names(connection: &mut MultiplexedConnection) -> Result<(Vec<String>, Vec<String>), Trouble> {
    let (mut keys, mut holds) = (Vec::new(), Vec::new());
    let mut cursor = 0_u64;
    loop {
        let (next, part): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("COUNT")
            .arg(PART)
            .query_async(connection)
            .await?;
        for name in part {
            if name.starts_with("hold:") {
                holds.push(name);
            } else if name.starts_with("key:") {
                keys.push(name);
            }
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    // A scan may tell a name twice while the table grows or shrinks.
    for names in [&mut keys, &mut holds] {
        names.sort_unstable();
        names.dedup();
    }
    Ok((keys, holds))
}

/// Which key leads to a hold.
async fn leads(
    connection: &mut MultiplexedConnection,
    keys: &[String],
) -> Result<std::collections::HashMap<u128, u64>, Trouble> {
    let mut led = std::collections::HashMap::with_capacity(keys.len());
    for part in keys.chunks(PART) {
        let ids: Vec<String> = redis::cmd("MGET").arg(part).query_async(connection).await?;
        for (key, id) in part.iter().zip(ids) {
            let number = number_of(&key["key:".len()..]);
            let number = number.ok_or_else(|| Trouble::Unexpected(format!("{key} is no key of ours")))?;
            led.insert(id_of(&id)?, number);
        }
    }
    Ok(led)
}
