//! MySQL and MariaDB servers that steps may reach.
//!
//! Owns the course of a statement. How one is connected is `connect`'s, who has a connection `lease`'s, what may be
//! said `statement`'s. Invariant: what a step wrote is only ever prepared, which takes one statement; the
//! sentences that are sent as text are all here, and hold nothing of a step.

mod connect;
mod failure;
mod lease;
mod statement;
mod values;

use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use mysql_async::{BinaryProtocol, Conn, QueryResult};

use self::connect::Server;
use self::failure::Failure;
use self::lease::Leases;
use self::statement::Prepared;
use super::{Bounds, Error, Statement, json};
use crate::config;

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Pool(Arc<Leases>);

/// How a connection is before a statement is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// In a transaction that is read only.
    Read,
    /// Each statement for itself.
    Write,
}

impl Pool {
    /// Connects to nobody yet.
    pub(super) fn open(
        mysql: &config::MySql,
        config: &config::Database,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let slots = usize::try_from(config.pool).unwrap_or(tokio::sync::Semaphore::MAX_PERMITS);
        Ok(Self(Leases::new(Server::new(mysql, config)?, slots)))
    }

    /// The rows of a statement that reads.
    pub(super) async fn query(&self, statement: Statement<'_>, bounds: Bounds) -> Result<String, Error> {
        let prepared = statement::reading(statement)?;
        let mut lease = self.0.lease(Access::Read).await?;
        let answer = match lease.connection() {
            Some(connection) => query(connection, prepared, bounds).await,
            None => Err(Failure::lost()),
        };
        self.done(lease, answer).await
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, Error> {
        let prepared = statement::writing(statement)?;
        let mut lease = self.0.lease(Access::Write).await?;
        let changed = match lease.connection() {
            Some(connection) => execute(connection, prepared).await,
            None => Err(Failure::lost()),
        };
        self.done(lease, changed).await
    }

    /// A connection goes back unless something may be left on its way; then it is killed, with what runs on it.
    async fn done<T>(&self, lease: lease::Lease, result: Result<T, Failure>) -> Result<T, Error> {
        if result.as_ref().err().is_none_or(Failure::leaves_connection) {
            lease.give_back().await;
        }
        result.map_err(Failure::into_error)
    }
}

async fn query(connection: &mut Conn, prepared: Prepared<'_>, bounds: Bounds) -> Result<String, Failure> {
    let mut rows = run(connection, prepared).await?;
    let columns = rows.columns().unwrap_or_default();
    let names: Vec<_> = columns.iter().map(|column| column.name_str().into_owned()).collect();
    let mut answer = json::Rows::new(names.iter().map(String::as_str), bounds).map_err(Failure::Abandoned)?;
    while let Some(row) = rows.next().await? {
        let write = |index, json: &mut json::Json| {
            if let (Some(column), Some(value)) = (columns.get(index), row.as_ref(index)) {
                values::write(value, column, json);
            } else {
                json.null();
            }
            Ok(())
        };
        answer.row(write).map_err(Failure::Abandoned)?;
    }
    Ok(answer.finish())
}

async fn execute(connection: &mut Conn, prepared: Prepared<'_>) -> Result<u64, Failure> {
    let mut rows = run(connection, prepared).await?;
    let mut returned = 0;
    // What `RETURNING` returns is nobody's.
    while rows.next().await.map_err(Failure::of_a_change)?.is_some() {
        returned += 1;
    }
    // A statement that returns rows tells no number.
    Ok(rows.affected_rows().max(returned))
}

async fn run<'a>(
    connection: &'a mut Conn,
    prepared: Prepared<'_>,
) -> Result<QueryResult<'a, 'static, BinaryProtocol>, Failure> {
    let statement = connection.prep(prepared.sql).await?;
    let (has, given) = (usize::from(statement.num_params()), prepared.values.len());
    if has != given {
        return Err(Failure::Refused(Error::wrong_count(has, given)));
    }
    Ok(connection.exec_iter(statement, prepared.values).await?)
}
