//! PostgreSQL: `schema.sql`, one function call for each hold or for a batch, statements prepared, asks pipelined on each connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_postgres::{Client, Config, NoTls, Row, Statement};
use uuid::Uuid;

use crate::ask::{Ask, Held, STOCK, TTL_MS, VARIANT, number_of};
use crate::checker::{Found, FoundHold};
use crate::trouble::Trouble;

/// Tables and functions.
const SCHEMA: &str = include_str!("../../schema.sql");
/// The superuser that `initdb` makes, and the database that it makes.
pub(crate) const USER: &str = "holdfast";
const DATABASE: &str = "postgres";

#[derive(Debug)]
struct Connection {
    client: Client,
    one: Statement,
    many: Statement,
}

/// Connections to one PostgreSQL.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Vec<Connection>,
    next: AtomicUsize,
}

async fn client(port: u16) -> Result<Client, Trouble> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(USER).dbname(DATABASE);
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client; what it has to say, the client says too.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// Makes tables and functions; also the answer to whether the server is ready.
pub(crate) async fn make_schema(port: u16) -> Result<(), Trouble> {
    client(port).await?.batch_execute(SCHEMA).await?;
    Ok(())
}

/// Whether the server answers.
pub(crate) async fn ready(port: u16) -> bool {
    match client(port).await {
        Ok(client) => client.simple_query("select 1").await.is_ok(),
        Err(_) => false,
    }
}

impl Postgres {
    /// Connects; the schema is there.
    pub(crate) async fn connect(port: u16, connections: usize) -> Result<Self, Trouble> {
        let mut made = Vec::new();
        for _ in 0..connections {
            let client = client(port).await?;
            let one = client.prepare("select * from reserve($1, $2, $3, $4, $5, $6)");
            let one = one.await?;
            let many = client.prepare("select * from reserve_many($1, $2, $3, $4, $5)");
            let many = many.await?;
            made.push(Connection { client, one, many });
        }
        Ok(Self {
            connections: made,
            next: AtomicUsize::new(0),
        })
    }

    /// One of the connections, in turn.
    fn connection(&self) -> &Connection {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len()]
    }

    pub(super) async fn fill(&self) -> Result<(), Trouble> {
        let client = &self.connection().client;
        client.batch_execute("truncate hold, variant").await?;
        let stock = i64::try_from(STOCK).expect("a stock fits i64");
        client
            .execute(
                "insert into variant (id, on_hand) values ($1, $2)",
                &[&VARIANT, &stock],
            )
            .await?;
        // What was written so far is no part of what is measured next.
        client.batch_execute("checkpoint").await?;
        Ok(())
    }

    pub(super) async fn hold(&self, ask: &Ask) -> Result<Held, Trouble> {
        let Connection { client, one, .. } = self.connection();
        let id = Uuid::from_u128(ask.id);
        let row = client
            .query_one(one, &[&VARIANT, &1_i32, &ask.key, &ask.customer, &id, &TTL_MS])
            .await?;
        held(&row)
    }

    pub(super) async fn hold_many(&self, asks: &[Ask]) -> Result<Vec<Held>, Trouble> {
        let Connection { client, many, .. } = self.connection();
        let keys: Vec<&str> = asks.iter().map(|ask| ask.key.as_str()).collect();
        let customers: Vec<&str> = asks.iter().map(|ask| ask.customer.as_str()).collect();
        let ids: Vec<Uuid> = asks.iter().map(|ask| Uuid::from_u128(ask.id)).collect();
        let rows = client
            .query(many, &[&VARIANT, &keys, &customers, &ids, &TTL_MS])
            .await?;
        rows.iter().map(held).collect()
    }

    pub(super) async fn taken(&self) -> Result<u64, Trouble> {
        let client = &self.connection().client;
        let row = client.query_one("select held from variant where id = $1", &[&VARIANT]);
        units(row.await?.try_get(0)?)
    }

    pub(super) async fn found(&self) -> Result<Found, Trouble> {
        let client = &self.connection().client;
        let row = client
            .query_one("select on_hand, held from variant where id = $1", &[&VARIANT])
            .await?;
        let rows = client.query("select id, key, quantity from hold", &[]).await?;
        let mut holds = Vec::with_capacity(rows.len());
        for row in &rows {
            let key: &str = row.try_get(1)?;
            let number = number_of(key);
            holds.push(FoundHold {
                id: row.try_get::<_, Uuid>(0)?.as_u128(),
                number: Some(number.ok_or_else(|| Trouble::Unexpected(format!("{key} is no key of ours")))?),
                units: units(i64::from(row.try_get::<_, i32>(2)?))?,
            });
        }
        Ok(Found {
            on_hand: units(row.try_get(0)?)?,
            taken: units(row.try_get(1)?)?,
            count: u64::try_from(holds.len()).expect("a length fits u64"),
            holds,
            ..Found::default()
        })
    }
}

fn units(stored: i64) -> Result<u64, Trouble> {
    u64::try_from(stored).map_err(|_| Trouble::Unexpected(format!("{stored} units are stored")))
}

fn held(row: &Row) -> Result<Held, Trouble> {
    match row.try_get(0)? {
        "held" | "repeat" => Ok(Held {
            id: row.try_get::<_, Uuid>(1)?.as_u128(),
            expires_at_ms: row.try_get(2)?,
        }),
        outcome => Err(Trouble::Unexpected(format!("the function answered {outcome}"))),
    }
}
