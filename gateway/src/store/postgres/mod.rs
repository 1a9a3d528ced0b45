//! What is kept, over `PostgreSQL`, which several gateways may share.
//!
//! Owns connections and the schema. One file an aggregate, SQL visible there.
//! Invariant: nothing is kept in this process that another gateway could change.

mod audit;
mod column;
mod connect;
mod deliveries;
mod denials;
mod executions;
mod jobs;
mod keys;
mod migrate;
mod modules;
mod page;
mod retention;
mod runs;
mod sharing;

pub use migrate::{check, migrate};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio_postgres::{IsolationLevel, Transaction};
use uuid::Uuid;

use self::connect::{Connector, Failure, Lane, Pools};
use super::{Error, Store, shared};
use crate::config::Postgres;

const ID: &str = "SELECT id FROM store";

/// Fails, too, where somebody removed the schema.
const PING: &str = "SELECT count(*) FROM sluice_schema_history";

/// A store in one database.
pub struct PostgresStore {
    connector: Connector,
    pools: Pools,
    /// Which gateway this is, of those that share the database.
    gateway: Uuid,
}

impl PostgresStore {
    /// Connects, brings the schema up to date, and tells the others that `gateway` lives. The
    /// id is the same at every start of one gateway, and no other one's.
    ///
    /// # Errors
    /// [`Error::Open`] with what an operator has to do: the server is away or refuses, the
    /// database is missing, not ours to change, or of a newer version.
    pub async fn open(config: &Postgres, gateway: Uuid) -> Result<Self, Error> {
        let connector = Connector::new(config)?;
        migrate::up(config, &connector).await?;
        let pools = Pools::new(&connector, config.pool)?;
        let store = Self { connector, pools, gateway };
        shared::Shared::heartbeat(&store).await?;
        Ok(store)
    }

    /// Runs `task` in a transaction that sees one state of the database.
    async fn read<T, F>(&self, context: &'static str, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t Transaction<'t>) -> BoxFuture<'t, Result<T, Failure>> + Send + 'static,
    {
        self.pools
            .run(Lane::Requests, context, |client| {
                Box::pin(async move {
                    // The driver's own client: the statements of lists are many, and are not kept.
                    let client: &mut tokio_postgres::Client = client;
                    let begun = client.build_transaction().read_only(true);
                    let tx = begun.isolation_level(IsolationLevel::RepeatableRead).start().await?;
                    let result = task(&tx).await?;
                    tx.commit().await?;
                    Ok(result)
                })
            })
            .await
    }

    /// Runs `task` in a transaction that is committed when it returns `Ok`. A call
    /// that is cancelled has happened or not, never half.
    async fn write<T, F>(&self, lane: Lane, context: &'static str, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t deadpool_postgres::Transaction<'t>) -> BoxFuture<'t, Result<T, Failure>> + Send + 'static,
    {
        self.pools
            .run(lane, context, |client| {
                Box::pin(async move {
                    let tx = client.transaction().await?;
                    let result = task(&tx).await?;
                    tx.commit().await?;
                    Ok(result)
                })
            })
            .await
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore")
            .field("gateway", &self.gateway)
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn id(&self) -> Result<Uuid, Error> {
        self.read("reading the store's id", |tx| Box::pin(async move { Ok(tx.query_one(ID, &[]).await?.try_get(0)?) }))
            .await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.pools
            .run(Lane::Own, "answering", |client| {
                Box::pin(async move {
                    let statement = client.prepare_cached(PING).await?;
                    client.query_one(&statement, &[]).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn close(&self) {
        self.sign_off().await;
        self.pools.close();
    }

    fn shared(&self) -> Option<&dyn shared::Shared> {
        Some(self)
    }
}

#[cfg(test)]
pub(crate) mod tests;
