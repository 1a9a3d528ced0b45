//! The databases that steps reach by the names their operator gave them.
//!
//! Owns the pools, the guards around a statement, and what its values are as JSON. Does not know
//! executions or permissions, and never the gateway's own store. Invariants: a statement runs alone, within
//! the bounds of its database, and is told to end when nobody waits for it any more; a connection that goes
//! back has nothing of whom it served.

mod caller;
mod error;
mod json;
mod mysql;
mod params;
mod postgres;
mod sql;
mod sqlite;

pub use caller::Caller;
pub use error::Error;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, DatabaseUrl};

/// One statement of a step.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// One statement. `$1`, `$2` are its parameters on every database; `?` too where the database has it.
    pub sql: &'a str,
    /// A JSON array.
    pub params: &'a str,
}

/// What one statement may take.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    rows_max: u64,
    bytes_max: u64,
}

/// All of them. One for a process, so that connections are shared by all executions.
#[derive(Debug, Default)]
pub struct Databases(BTreeMap<String, Database>);

#[derive(Debug)]
struct Database {
    driver: Driver,
    is_read_only: bool,
    timeout: Duration,
    bounds: Bounds,
}

#[derive(Debug)]
enum Driver {
    Postgres(postgres::Pool),
    MySql(mysql::Pool),
    Sqlite(sqlite::Pool),
}

/// Why the databases can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("the database `{name}` can't be used")]
pub struct OpenError {
    name: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Databases {
    /// Prepares the pools; nothing is connected to yet, so a database may be down.
    ///
    /// # Errors
    /// What no later try would mend: certificates that can't be read.
    pub fn open(databases: &BTreeMap<String, config::Database>) -> Result<Self, OpenError> {
        let open = |(name, config): (&String, &config::Database)| {
            let database = Database::open(config).map_err(|source| OpenError { name: name.clone(), source })?;
            Ok((name.clone(), database))
        };
        databases.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The rows of a statement that only reads, as a JSON array with an object a row. Dropped, the statement
    /// is cancelled at its database.
    ///
    /// # Errors
    /// What the step is told; nothing was changed.
    pub async fn query(
        &self,
        name: &str,
        statement: Statement<'_>,
        deadline: Instant,
        caller: &mut Caller,
    ) -> Result<String, Error> {
        let database = self.database(name)?;
        let query = async {
            match &database.driver {
                Driver::Postgres(pool) => pool.query(statement, database.bounds, caller).await,
                Driver::MySql(pool) => pool.query(statement, database.bounds).await,
                Driver::Sqlite(pool) => pool.query(statement, database.bounds).await,
            }
        };
        database.within(deadline, query).await
    }

    /// The number of rows that a statement changed. Dropped, it is cancelled at its database; whether it had
    /// been done by then is not known.
    ///
    /// # Errors
    /// What the step is told. With [`Error::TimedOut`] and [`Error::Failed`] it is not known whether the
    /// statement was done; with all others it was not.
    pub async fn execute(
        &self,
        name: &str,
        statement: Statement<'_>,
        deadline: Instant,
        caller: &mut Caller,
    ) -> Result<u64, Error> {
        let database = self.database(name)?;
        if database.is_read_only {
            return Err(Error::ReadOnly);
        }
        let execute = async {
            match &database.driver {
                Driver::Postgres(pool) => pool.execute(statement, caller).await,
                Driver::MySql(pool) => pool.execute(statement).await,
                Driver::Sqlite(pool) => pool.execute(statement).await,
            }
        };
        database.within(deadline, execute).await
    }

    /// Somebody who asks, and whose statements may know of each other. One for an execution.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::new()
    }

    fn database(&self, name: &str) -> Result<&Database, Error> {
        self.0.get(name).ok_or(Error::Unknown)
    }
}

impl Database {
    fn open(config: &config::Database) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let driver = match &config.url {
            DatabaseUrl::Postgres(postgres) => Driver::Postgres(postgres::Pool::open(postgres, config)?),
            DatabaseUrl::MySql(mysql) => Driver::MySql(mysql::Pool::open(mysql, config)?),
            DatabaseUrl::Sqlite { path } => Driver::Sqlite(sqlite::Pool::open(path, config)?),
        };
        Ok(Self {
            driver,
            is_read_only: config.read_only,
            timeout: Duration::from_millis(config.timeout_ms),
            bounds: Bounds { rows_max: config.rows_max, bytes_max: config.bytes_max },
        })
    }

    async fn within<T>(&self, deadline: Instant, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let deadline = deadline.min(Instant::now() + self.timeout);
        tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(Error::TimedOut))
    }
}
