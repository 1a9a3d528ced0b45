//! PostgreSQL.
//!
//! Owns the connections to one server and what a statement goes through on it. Does not know the gateway's
//! own store, which may be the same server. Invariants: a query can't write, whatever functions it calls; a
//! statement that nobody waits for is cancelled; a connection serves again only when it is clean.

mod connect;
mod datetime;
mod decode;
mod encode;
mod failure;
mod flight;
mod line;
mod message;
mod pool;
mod session;
mod statement;
#[cfg(test)]
mod tests;

use self::connect::Connector;
use self::failure::{Failure, Stale};
pub(super) use self::pool::Connections;
use self::pool::Lease;
use super::caller::{Caller, CallerId};
use super::params::Param;
use super::{Bounds, Error, Statement};
use crate::config;

/// An array of small numbers takes twelve bytes an element on the wire, and may be two in JSON.
const WIRE_BYTES_PER_BYTE: u64 = 6;
/// For what is no value: descriptions of columns, a message.
const WIRE_BYTES_MORE: u64 = 256 * 1024;

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Pool {
    connections: Connections,
    bytes_max: u64,
}

impl Pool {
    /// Prepares them; the first statement connects.
    pub(super) fn open(
        url: &config::PostgresUrl,
        database: &config::Database,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let connector = Connector::new(url.clone(), database.timeout_ms)?;
        let wire_bytes_max = database.bytes_max.saturating_mul(WIRE_BYTES_PER_BYTE).saturating_add(WIRE_BYTES_MORE);
        let connections = Connections::new(connector, database.pool, wire_bytes_max);
        Ok(Self { connections, bytes_max: database.bytes_max })
    }

    /// The rows of a statement that only reads. Dropped, it is cancelled.
    pub(super) async fn query(
        &self,
        statement: Statement<'_>,
        bounds: Bounds,
        caller: &mut Caller,
    ) -> Result<String, Error> {
        let sql = statement::reading(statement.sql)?;
        let params = Param::list(statement.params)?;
        let params = params.as_slice();
        let query = |mut lease: Lease| async move {
            let rows = lease.session().query(sql, params, bounds).await;
            (lease, rows)
        };
        let (lease, rows) = self.run(sql, caller, query).await?;
        lease.give_back();
        Ok(rows)
    }

    /// The number of rows that a statement changed. Dropped, it is cancelled, and what wasn't committed by
    /// then isn't done.
    pub(super) async fn execute(&self, statement: Statement<'_>, caller: &mut Caller) -> Result<u64, Error> {
        let sql = statement::writing(statement.sql)?;
        let params = Param::list(statement.params)?;
        let params = params.as_slice();
        let change = |mut lease: Lease| async move {
            let changed = lease.session().change(sql, params).await;
            (lease, changed)
        };
        let (mut lease, changed) = self.run(sql, caller, change).await?;
        // What it returned may have used up all, and a commit that isn't answered may have been done.
        lease.session().wire.budget.grant(WIRE_BYTES_MORE);
        // Never a second time: it may have been done.
        match lease.session().commit().await {
            Ok(()) => {
                lease.give_back();
                Ok(changed)
            }
            // Not "too many bytes", by which nothing is done.
            Err(failure) => Err(let_go(lease, failure)),
        }
    }

    /// Does `work` on a connection; once more on another where it could not begin for what the first one was.
    async fn run<T, F>(&self, sql: &str, caller: &mut Caller, work: impl Fn(Lease) -> F) -> Result<(Lease, T), Error>
    where
        F: Future<Output = (Lease, Result<T, Failure>)>,
    {
        let caller = caller.visit(&self.connections);
        let (mut lease, failure) = match work(self.lease(caller).await?).await {
            (lease, Ok(done)) => return Ok((lease, done)),
            (lease, Err(failure)) => (lease, failure),
        };
        match failure.stale() {
            None => return Err(self.end(lease, failure)),
            Some(Stale::Statement) => lease.session().forget(sql),
            // The others were made to the same server, which was restarted since.
            Some(Stale::Connection) => self.connections.forget_idle(),
        }
        self.end(lease, failure);
        let mut lease = self.lease(caller).await?;
        // What was stale on one connection is on all.
        lease.session().forget(sql);
        match Box::pin(work(lease)).await {
            (lease, Ok(done)) => Ok((lease, done)),
            (lease, Err(failure)) => Err(self.end(lease, failure)),
        }
    }

    async fn lease(&self, caller: CallerId) -> Result<Lease, Error> {
        self.connections.lease(caller).await.map_err(Failure::into_error)
    }

    /// Lets go of a connection whose statement failed, and says why it did.
    fn end(&self, mut lease: Lease, failure: Failure) -> Error {
        if lease.session().wire.budget.is_used_up() && !matches!(failure, Failure::Refused(_)) {
            return Error::too_many_bytes(self.bytes_max);
        }
        let_go(lease, failure)
    }
}

fn let_go(lease: Lease, failure: Failure) -> Error {
    if failure.leaves_connection() {
        lease.give_back();
    }
    failure.into_error()
}
