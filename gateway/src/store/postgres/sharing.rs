//! Several gateways on one database: changes, heartbeats, held digests.
//!
//! Invariant: what is held ends with its connection, so a gateway that is killed
//! holds nothing, and needs nobody to clean up after it.

use std::future::poll_fn;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio_postgres::{AsyncMessage, Client};

use super::PostgresStore;
use super::column::json_of;
use super::connect::{Driver, Failure, Lane, Lease};
use crate::model::{Digest, ExecutionError};
use crate::store::Error;
use crate::store::shared::{Hold, Listener, Shared};

const LISTEN: &str = "LISTEN sluice_changes";

const CHANGE_NUMBER: &str = "SELECT number FROM changes";

/// The database's clock, which is the same for all.
const HEARTBEAT: &str = "\
    INSERT INTO gateways (id, seen_at) VALUES ($1, now()) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";

const SIGN_OFF: &str = "DELETE FROM gateways WHERE id = $1";

/// Also those of gateways that signed off, and whatever has no owner.
const END_ABANDONED: &str = "\
    UPDATE executions AS e SET status = 'failed', error = $1, gateway = NULL
    WHERE e.status = 'running' AND e.gateway IS DISTINCT FROM $2
        AND NOT EXISTS (SELECT 1 FROM gateways AS g
                        WHERE g.id = e.gateway AND g.seen_at > now() - $3::bigint * interval '1 millisecond')";

/// A gateway that was silent for a day is not coming back under this id.
const FORGET: &str = "DELETE FROM gateways WHERE seen_at < now() - interval '1 day'";

/// In a space of its own, by the first half of the digest: two that share it wait for each other, and
/// that is all. The lock is the session's, and longer than a statement may take:
/// the other gateway may be compiling.
const HOLD: &str = "SELECT pg_advisory_lock($1)";
const HOLD_TIMEOUTS: &str = "SET statement_timeout = 120000; SET lock_timeout = 120000";
/// For a server that does not even end the wait.
const HOLD_MAX: Duration = Duration::from_secs(125);

impl PostgresStore {
    /// Tells the others that this gateway is gone. They find out by themselves, too.
    pub(super) async fn sign_off(&self) {
        let gateway = self.gateway;
        let signed_off = self.pools.run(Lane::Own, "signing off", move |client| {
            Box::pin(async move { Ok(client.execute(SIGN_OFF, &[&gateway]).await?) })
        });
        if let Err(error) = signed_off.await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::debug!(error, "the other gateways were not told that this one stops");
        }
    }

    async fn lock(&self, lease: &mut Lease, digest: Digest) -> Result<(), Failure> {
        let client = lease.client()?;
        client.batch_execute(HOLD_TIMEOUTS).await?;
        client.execute(HOLD, &[&lock_number(digest)]).await?;
        Ok(())
    }
}

fn lock_number(digest: Digest) -> i64 {
    digest.as_bytes().first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

#[async_trait]
impl Shared for PostgresStore {
    async fn listen(&self) -> Result<Box<dyn Listener>, Error> {
        const CONTEXT: &str = "listening to changes";
        let (client, mut driver) = self.connector.connect().await.map_err(|failure| failure.into_error(CONTEXT))?;
        let listening = tokio::select! {
            listening = client.batch_execute(LISTEN) => listening.map_err(Failure::from),
            () = broken(&mut driver) => Err(Failure::Pool("the connection was lost")),
        };
        listening.map_err(|failure| failure.into_error(CONTEXT))?;
        Ok(Box::new(Changes { _client: client, driver }))
    }

    async fn change_number(&self) -> Result<i64, Error> {
        self.pools
            .run(Lane::Own, "looking for changes", |client| {
                Box::pin(async move {
                    let statement = client.prepare_cached(CHANGE_NUMBER).await?;
                    Ok(client.query_one(&statement, &[]).await?.try_get(0)?)
                })
            })
            .await
    }

    async fn hold(&self, digest: Digest) -> Result<Hold, Error> {
        const CONTEXT: &str = "holding a module's bytes";
        // Not given back: dropping it closes the connection, and that ends the lock.
        let mut lease = self.pools.lease(Lane::Holds).await.map_err(|failure| failure.into_error(CONTEXT))?;
        let locked = tokio::time::timeout(HOLD_MAX, self.lock(&mut lease, digest)).await;
        locked.unwrap_or(Err(Failure::TooSlow)).map_err(|failure| failure.into_error(CONTEXT))?;
        Ok(Hold::of(lease))
    }

    async fn heartbeat(&self) -> Result<(), Error> {
        let gateway = self.gateway;
        self.pools
            .run(Lane::Own, "telling that this gateway lives", move |client| {
                Box::pin(async move {
                    client.execute(HEARTBEAT, &[&gateway]).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn end_abandoned(&self, silent_for: Duration, error: &ExecutionError) -> Result<u64, Error> {
        let (error, gateway) = (error.clone(), self.gateway);
        let silent_ms = i64::try_from(silent_for.as_millis()).unwrap_or(i64::MAX);
        self.write(Lane::Own, "ending abandoned executions", move |tx| {
            Box::pin(async move {
                let ended = tx.execute(END_ABANDONED, &[&json_of(&error)?, &gateway, &silent_ms]).await?;
                tx.execute(FORGET, &[]).await?;
                Ok(ended)
            })
        })
        .await
    }
}

/// A connection that listens.
struct Changes {
    /// The connection ends when this is dropped.
    _client: Client,
    driver: Driver,
}

#[async_trait]
impl Listener for Changes {
    async fn changed(&mut self) -> Result<(), Error> {
        const CONTEXT: &str = "listening to changes";
        let mut changed = false;
        loop {
            let message = poll_fn(|ctx| self.driver.poll_message(ctx));
            let message = if changed {
                // A burst is one change to whoever looks at everything.
                match message.now_or_never() {
                    Some(message) => message,
                    None => return Ok(()),
                }
            } else {
                message.await
            };
            match message {
                Some(Ok(AsyncMessage::Notification(_))) => changed = true,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Failure::Database(error).into_error(CONTEXT)),
                None => return Err(Failure::Pool("the connection was closed").into_error(CONTEXT)),
            }
        }
    }
}

/// Drives a connection until it ends.
async fn broken(driver: &mut Driver) {
    while let Some(Ok(_)) = poll_fn(|ctx| driver.poll_message(ctx)).await {}
}

/// Every statement that can be prepared here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [CHANGE_NUMBER, HEARTBEAT, SIGN_OFF, END_ABANDONED, FORGET, HOLD].map(str::to_owned).to_vec()
}
