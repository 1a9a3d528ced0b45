//! The schema: brought up to date by one gateway at a time.
//!
//! Owns the migrations and what is said when they, or the first connection, fail.
//! Invariant: two gateways that start together migrate once.

use futures_util::FutureExt as _;
use refinery::Runner;
use refinery::error::Kind;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{Connector, Failure};
use crate::config::Postgres;
use crate::store::Error;
use crate::store::schema::{Migrated, missing};

mod embedded {
    refinery::embed_migrations!("../migrations/postgres");
}

/// Of ours alone: a database may hold the tables of other programs that use refinery.
const HISTORY: &str = "sluice_schema_history";

/// "Sluice" as a number: whoever has this lock migrates. It ends with its connection.
/// Waiting for it has no limit, as a migration may take as long as it takes.
const LOCK: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET client_min_messages = 'warning';
                    SELECT pg_advisory_lock(91661126164325)";

/// Brings the schema up to date and tells what was done.
///
/// # Errors
/// As [`super::PostgresStore::open`].
pub async fn migrate(config: &Postgres) -> Result<Migrated, Error> {
    up(config, &Connector::new(config)?).await
}

/// Tells what [`migrate`] would do, and changes nothing.
///
/// # Errors
/// As [`super::PostgresStore::open`].
pub async fn check(config: &Postgres) -> Result<Migrated, Error> {
    let runner = runner();
    with_connection(config, &Connector::new(config)?, async |client| {
        let found = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY]).await;
        let has_history: bool = found.map_err(|error| explain(config, error.into()))?.get(0);
        let applied = if has_history {
            runner.get_applied_migrations_async(client).await.map_err(|error| describe(config, error))?
        } else {
            Vec::new()
        };
        Ok(Migrated::of(shown(config), missing(runner.get_migrations(), &applied), applied.last()))
    })
    .await
}

pub(super) async fn up(config: &Postgres, connector: &Connector) -> Result<Migrated, Error> {
    let runner = runner();
    with_connection(config, connector, async |client| {
        client.batch_execute(LOCK).await.map_err(|error| explain(config, error.into()))?;
        let report = runner.run_async(client).await.map_err(|error| describe(config, error))?;
        let last = runner.get_last_applied_migration_async(client).await.map_err(|error| describe(config, error))?;
        Ok(Migrated::of(shown(config), report.applied_migrations(), last.as_ref()))
    })
    .await
}

fn runner() -> Runner {
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name(HISTORY);
    runner
}

/// Runs `work` on a connection that is closed afterwards, and with it what it held.
async fn with_connection<T>(
    config: &Postgres,
    connector: &Connector,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut client, driver) = connector.connect().await.map_err(|failure| explain(config, failure))?;
    // Driven here rather than in a task, so that nothing is left when this is dropped. When
    // the connection breaks, the work fails by itself.
    let mut driver = driver.map(|_| ()).fuse();
    let work = async {
        let done = work(&mut client).await;
        drop(client);
        done
    };
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = &mut driver, if !futures_util::future::FusedFuture::is_terminated(&driver) => {}
        }
    }
}

/// An older schema.
#[cfg(test)]
pub(super) async fn up_to(config: &Postgres, version: i32) {
    let runner = runner().set_target(refinery::Target::Version(version));
    let connector = Connector::new(config).unwrap();
    let migrated = with_connection(config, &connector, async |client| {
        runner.run_async(client).await.map_err(|error| describe(config, error))
    });
    migrated.await.unwrap();
}

fn shown(config: &Postgres) -> String {
    format!("the database {} at {}", config.url.database(), config.url.address())
}

fn describe(config: &Postgres, error: refinery::Error) -> Error {
    let shown = shown(config);
    let reason = match error.kind() {
        Kind::MissingVersion(_) => {
            format!("{shown} was written by a newer version of sluice: start that version")
        }
        Kind::DivergentVersion(..) => {
            format!("{shown} was written by a version of sluice that this one does not know")
        }
        Kind::Connection(_, source) => {
            let state = source.downcast_ref().and_then(tokio_postgres::Error::code);
            match state {
                Some(state) if *state == SqlState::INSUFFICIENT_PRIVILEGE => {
                    format!(
                        "the user may not make tables in {shown}: grant it CREATE on the schema, or make it the owner"
                    )
                }
                Some(state) if *state == SqlState::DUPLICATE_TABLE => {
                    format!("{shown} has tables of another program: give this one a database, or a schema, of its own")
                }
                _ => format!("the schema of {shown} can't be brought up to date"),
            }
        }
        _ => format!("the schema of {shown} can't be brought up to date"),
    };
    let source: Box<dyn std::error::Error + Send + Sync> = match error.kind() {
        Kind::Connection(_, source) => match source.downcast_ref().and_then(tokio_postgres::Error::as_db_error) {
            // Without the statement, which refinery and the driver would add.
            Some(answer) => answer.message().to_owned().into(),
            None => "the connection failed".into(),
        },
        _ => Box::new(error),
    };
    Error::Open { reason, source: Some(source) }
}

/// Why there is no connection, and what to do.
fn explain(config: &Postgres, failure: Failure) -> Error {
    let (address, name) = (config.url.address(), config.url.database());
    let reason = match failure.state() {
        Some(state) if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) => {
            format!("the database at {address} refuses the user or the password of `[store] url`")
        }
        Some(state) if *state == SqlState::INVALID_CATALOG_NAME => {
            format!("there is no database {name} at {address}: make it, or mend `[store] url`")
        }
        Some(state) if *state == SqlState::TOO_MANY_CONNECTIONS => {
            format!(
                "the database at {address} has no connection left: raise its max_connections, or lower `[store] pool`"
            )
        }
        Some(_) => format!("the database at {address} refuses"),
        None => format!("the database at {address} can't be reached: is it running, and is `[store] url` right?"),
    };
    Error::Open { reason, source: Some(failure.told()) }
}
