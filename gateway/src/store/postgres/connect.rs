//! Connections: how they are made, how long they may take, what their failures mean.
//!
//! Owns the settings of a session and the pools. Does not know tables. Invariants:
//! a connection whose call did not end well is closed and never used again; no call
//! waits longer than its time, whatever the server does; and no password, SQL or
//! row is in an error.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::future::BoxFuture;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Postgres;
use crate::store::Error;
use crate::tls;

/// The gateway's own: one for records of executions, one for readiness and heartbeats.
/// Neither waits for what requests ask for.
const OWN_CONNECTIONS: usize = 2;

/// Digests that are held at once: each for as long as an upload compiles. They are connections
/// apart, since whoever holds one needs another to go on.
const HOLDS: usize = 16;

/// Kept on top of what the server was given to answer a statement, so that it is the
/// server's error that is seen where it has one.
const GRACE: Duration = Duration::from_secs(1);

/// Whom a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// A request.
    Requests,
    /// The gateway itself.
    Own,
    /// A digest that is held. There is no limit to the wait for one.
    Holds,
}

/// How connections are made. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    config: Arc<tokio_postgres::Config>,
    tls: MakeRustlsConnect,
    session: Arc<str>,
    timeout: Duration,
    connect_timeout: Duration,
}

/// A connection by itself, which whoever has it has to drive.
pub(super) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Connector {
    pub(super) fn new(config: &Postgres) -> Result<Self, Error> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms);
        let mut connection = config.url.connection.clone();
        connection
            .connect_timeout(connect_timeout)
            // What was sent and not acknowledged for so long never will be.
            .tcp_user_timeout(timeout)
            // A peer that is gone without a word is noticed within a minute.
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
        if connection.get_application_name().is_none() {
            connection.application_name("sluice");
        }
        Ok(Self {
            config: Arc::new(connection),
            tls: tls::connector(&config.url.tls)
                .map_err(|error| Error::Open { reason: error.reason, source: Some(error.source) })?,
            session: session(config.timeout_ms).into(),
            timeout,
            connect_timeout,
        })
    }

    /// One connection that no pool knows.
    pub(super) async fn connect(&self) -> Result<(tokio_postgres::Client, Driver), Failure> {
        let connecting = self.config.connect(self.tls.clone());
        Ok(tokio::time::timeout(self.connect_timeout, connecting).await.map_err(|_| Failure::TooSlow)??)
    }

    fn pool(&self, size: usize, wait: Option<Duration>) -> Result<Pool, Error> {
        let manager = Manager::from_config(
            (*self.config).clone(),
            self.tls.clone(),
            // What was closed is found out without asking the server.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let session = Arc::clone(&self.session);
        let set = Hook::async_fn(move |client: &mut ClientWrapper, _| {
            let session = Arc::clone(&session);
            Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
        });
        Pool::builder(manager)
            .max_size(size)
            .timeouts(Timeouts { wait, create: Some(self.connect_timeout), recycle: Some(self.connect_timeout) })
            .runtime(Runtime::Tokio1)
            .post_create(set)
            .build()
            .map_err(|error| Error::Open {
                reason: "connections to the database can't be set up".to_owned(),
                source: Some(Box::new(error)),
            })
    }
}

/// What every session begins with. `statement_timeout` ends what takes too long on the
/// server too; the others end what a gateway left behind that died.
fn session(timeout_ms: u64) -> String {
    format!(
        "SET statement_timeout = {timeout_ms}; SET lock_timeout = {timeout_ms}; \
         SET idle_in_transaction_session_timeout = {idle_ms}; SET client_min_messages = 'warning'",
        idle_ms = timeout_ms.saturating_mul(2),
    )
}

/// The pools.
pub(super) struct Pools {
    requests: Pool,
    own: Pool,
    holds: Pool,
    /// No call takes longer: a wait for a connection, and two statements.
    patience: Duration,
}

impl Pools {
    pub(super) fn new(connector: &Connector, requests: u32) -> Result<Self, Error> {
        Ok(Self {
            requests: connector.pool(requests as usize, Some(connector.timeout))?,
            own: connector.pool(OWN_CONNECTIONS, Some(connector.timeout))?,
            holds: connector.pool(HOLDS, None)?,
            patience: connector.connect_timeout + connector.timeout * 2 + GRACE,
        })
    }

    /// Runs `task` on a connection of its own. A call that is cancelled, or that takes
    /// too long, closes its connection, and what it had not committed did not happen.
    pub(super) async fn run<T, F>(&self, lane: Lane, context: &'static str, task: F) -> Result<T, Error>
    where
        F: for<'c> FnOnce(&'c mut ClientWrapper) -> BoxFuture<'c, Result<T, Failure>>,
    {
        let run = async {
            let mut lease = self.lease(lane).await?;
            let result = task(lease.client()?).await;
            if result.as_ref().err().is_none_or(Failure::leaves_the_connection_usable) {
                lease.give_back();
            }
            result
        };
        let result = tokio::time::timeout(self.patience, run).await.unwrap_or(Err(Failure::TooSlow));
        result.map_err(|failure| failure.into_error(context))
    }

    /// A connection for longer than one call.
    pub(super) async fn lease(&self, lane: Lane) -> Result<Lease, Failure> {
        let pool = match lane {
            Lane::Requests => &self.requests,
            Lane::Own => &self.own,
            Lane::Holds => &self.holds,
        };
        Ok(Lease(Some(pool.get().await?)))
    }

    /// Refuses all calls from now on; those that run end.
    pub(super) fn close(&self) {
        self.requests.close();
        self.own.close();
        self.holds.close();
    }
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").field("requests", &self.requests.status()).finish_non_exhaustive()
    }
}

/// A connection that is closed when this is dropped, unless it is given back.
pub(super) struct Lease(Option<Object>);

impl Lease {
    pub(super) fn client(&mut self) -> Result<&mut ClientWrapper, Failure> {
        self.0.as_deref_mut().ok_or(Failure::TooSlow)
    }

    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Whoever would have it next would wait for what still runs on it.
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server, or the way to it.
    Database(tokio_postgres::Error),
    /// There was no connection to be had.
    Pool(&'static str),
    /// It took longer than it may.
    TooSlow,
    /// A row that can't be read.
    Corrupt(Box<dyn std::error::Error + Send + Sync>),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => Self::Database(error),
            PoolError::Timeout(_) => Self::TooSlow,
            PoolError::Closed => Self::Pool("the store is closed"),
            PoolError::NoRuntimeSpecified => Self::Pool("there is no runtime"),
            PoolError::PostCreateHook(HookError::Message(_)) => Self::Pool("the session could not be set up"),
        }
    }
}

impl Failure {
    /// What the server answered, if it is the server that refused.
    pub(super) fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error) => error.code(),
            Self::Pool(_) | Self::TooSlow | Self::Corrupt(_) => None,
        }
    }

    fn leaves_the_connection_usable(&self) -> bool {
        match self {
            Self::Corrupt(_) => true,
            Self::Database(error) => error.code().is_some(),
            Self::Pool(_) | Self::TooSlow => false,
        }
    }

    pub(super) fn into_error(self, context: &'static str) -> Error {
        let passing = self.state().is_none_or(is_passing);
        match self {
            Self::Corrupt(source) => Error::Corrupt { what: "row", source },
            failure if failure.state().is_some_and(|state| TIMED_OUT.contains(state)) => Error::TooSlow { context },
            failure if passing => Error::Unavailable { context, source: failure.told() },
            failure => Error::Rejected { context, source: failure.told() },
        }
    }

    /// The cause in words. The driver's own may have the values of a row in its details.
    pub(super) fn told(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Database(error) => match error.as_db_error() {
                Some(answer) => format!("{} (SQLSTATE {})", answer.message(), answer.code().code()).into(),
                None => Box::new(error),
            },
            Self::Pool(reason) => reason.into(),
            Self::TooSlow => "it took too long".into(),
            Self::Corrupt(source) => source,
        }
    }
}

/// `statement_timeout` and `lock_timeout`: the server answers, and has more to do than time for it.
const TIMED_OUT: [SqlState; 2] = [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE];

/// Whether the same may work later: the server's state is at fault, and not what was asked.
fn is_passing(state: &SqlState) -> bool {
    // By class: connection, authorization, catalog (a database that is being restored), state
    // of the transaction (a standby that is read-only), rollback, resources, another's
    // lock, the operator, the system.
    ["08", "28", "3D", "25", "40", "53", "55", "57", "58"].contains(&state.code().get(..2).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_retry_can_mend_is_told_from_what_it_cannot() {
        for state in [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::QUERY_CANCELED,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::DISK_FULL,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ] {
            assert!(is_passing(&state), "{state:?}");
        }
        for state in [SqlState::UNIQUE_VIOLATION, SqlState::UNDEFINED_TABLE, SqlState::CHARACTER_NOT_IN_REPERTOIRE] {
            assert!(!is_passing(&state), "{state:?}");
        }
    }
}
