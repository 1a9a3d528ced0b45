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
mod pool;
mod session;
mod statement;
#[cfg(test)]
mod tests;

use self::connect::Connector;
use self::failure::Failure;
use self::pool::{Connections, Lease};
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
        postgres: &config::Postgres,
        database: &config::Database,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let connector = Connector::new(postgres, database.timeout_ms)?;
        let wire_bytes_max = database.bytes_max.saturating_mul(WIRE_BYTES_PER_BYTE).saturating_add(WIRE_BYTES_MORE);
        let connections = Connections::new(connector, database.pool, wire_bytes_max);
        Ok(Self { connections, bytes_max: database.bytes_max })
    }

    /// The rows of a statement that only reads. Dropped, it is cancelled.
    pub(super) async fn query(&self, statement: Statement<'_>, bounds: Bounds) -> Result<String, Error> {
        let sql = statement::reading(statement.sql)?;
        let params = Param::list(statement.params)?;
        for is_last in [false, true] {
            let mut lease = self.lease().await?;
            let session = self::session(&mut lease)?;
            if is_last {
                // What was stale on one connection is on all.
                session.forget(sql);
            }
            let result = session.query(sql, &params, bounds).await;
            match self.end(lease, sql, result) {
                Ended::Again(_) if !is_last => {}
                ended => return ended.into_result(),
            }
        }
        Err(Error::TimedOut)
    }

    /// The number of rows that a statement changed. Dropped, it is cancelled, and what wasn't committed by
    /// then isn't done.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, Error> {
        let sql = statement::writing(statement.sql)?;
        let params = Param::list(statement.params)?;
        for is_last in [false, true] {
            let mut lease = self.lease().await?;
            let session = self::session(&mut lease)?;
            if is_last {
                session.forget(sql);
            }
            let changed = match session.change(sql, &params).await {
                Ok(changed) => changed,
                Err(failure) => match self.end(lease, sql, Err(failure)) {
                    Ended::Again(_) if !is_last => continue,
                    ended => return ended.into_result(),
                },
            };
            let committed = session.commit().await.map(|()| changed);
            // Never a second time: it may have been done.
            return self.end(lease, sql, committed).into_result();
        }
        Err(Error::TimedOut)
    }

    async fn lease(&self) -> Result<Lease, Error> {
        self.connections.lease().await.map_err(Failure::into_error)
    }

    /// Lets go of a connection after its statement.
    fn end<T>(&self, mut lease: Lease, sql: &str, result: Result<T, Failure>) -> Ended<T> {
        let failure = match result {
            Ok(value) => {
                lease.give_back();
                return Ended::Well(value);
            }
            Err(failure) => failure,
        };
        let session = match self::session(&mut lease) {
            Ok(session) => session,
            Err(error) => return Ended::Badly(error),
        };
        if session.wire.allowance.is_used_up() {
            return Ended::Badly(Error::too_many_bytes(self.bytes_max));
        }
        let is_stale = failure.is_stale_statement();
        let is_lost = failure.is_lost_connection() && session.has_served;
        if is_stale {
            session.forget(sql);
        }
        if is_lost {
            // They were made to the same server, which was restarted since.
            self.connections.forget_idle();
        }
        if failure.leaves_connection() {
            lease.give_back();
        }
        let error = failure.into_error();
        if is_stale || is_lost { Ended::Again(error) } else { Ended::Badly(error) }
    }
}

/// How a statement ended.
enum Ended<T> {
    Well(T),
    /// What was wrong is the connection, or what had been prepared on it.
    Again(Error),
    Badly(Error),
}

impl<T> Ended<T> {
    fn into_result(self) -> Result<T, Error> {
        match self {
            Self::Well(value) => Ok(value),
            Self::Again(error) | Self::Badly(error) => Err(error),
        }
    }
}

fn session(lease: &mut Lease) -> Result<&mut session::Session, Error> {
    lease.session().map_err(Failure::into_error)
}
