//! The rivals, each through its best client: many asks in flight over few connections.
//!
//! | file | holds |
//! |---|---|
//! | [`redis`] | one Lua script for each hold; asks of many callers share a connection |
//! | [`postgres`] | one function call for each hold, or one for a batch |
//! | [`gather`] | batches made of the asks that wait, for the front |

pub(crate) mod gather;
pub(crate) mod postgres;
pub(crate) mod redis;

use crate::ask::{Ask, Held};
use crate::checker::Found;
use crate::trouble::Trouble;

/// A rival's store.
#[derive(Debug)]
pub(crate) enum Store {
    /// Redis.
    Redis(redis::Redis),
    /// PostgreSQL.
    Postgres(postgres::Postgres),
}

impl Store {
    /// Makes the hot variant in an empty store.
    pub(crate) async fn fill(&self) -> Result<(), Trouble> {
        match self {
            Self::Redis(redis) => redis.fill().await,
            Self::Postgres(postgres) => postgres.fill().await,
        }
    }

    /// One hold.
    pub(crate) async fn hold(&self, ask: &Ask) -> Result<Held, Trouble> {
        match self {
            Self::Redis(redis) => redis.hold(ask).await,
            Self::Postgres(postgres) => postgres.hold(ask).await,
        }
    }

    /// Many holds in one exchange: of Redis a pipeline, of PostgreSQL one call in one transaction.
    pub(crate) async fn hold_many(&self, asks: &[Ask]) -> Result<Vec<Held>, Trouble> {
        match self {
            Self::Redis(redis) => redis.hold_many(asks).await,
            Self::Postgres(postgres) => postgres.hold_many(asks).await,
        }
    }

    /// Everything that is stored. The repeats are not looked at here.
    pub(crate) async fn found(&self) -> Result<Found, Trouble> {
        match self {
            Self::Redis(redis) => redis.found().await,
            Self::Postgres(postgres) => postgres.found().await,
        }
    }

    /// Units counted down so far.
    pub(crate) async fn taken(&self) -> Result<u64, Trouble> {
        match self {
            Self::Redis(redis) => redis.taken().await,
            Self::Postgres(postgres) => postgres.taken().await,
        }
    }
}
