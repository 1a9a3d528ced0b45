//! A few connections, used on blocking threads.
//!
//! Owns connections and whose turn it is. Does not know SQL. Invariant: a
//! connection is used by one call at a time, to the call's end, even when
//! whoever waits for the answer has left.
//!
//! deadpool-sqlite fits this rusqlite and was weighed: it opens connections for
//! writing only, puts one back while a cancelled call still runs on it, asks the
//! database once more at each use, and closes in the background, so that a store
//! could not tell when its files are closed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::store::Error;

type Open = Box<dyn Fn() -> rusqlite::Result<Connection> + Send + Sync>;

pub(super) struct Pool {
    open: Open,
    size: u32,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// At most `size` connections, opened when they are needed.
    pub(super) fn new(size: u32, open: impl Fn() -> rusqlite::Result<Connection> + Send + Sync + 'static) -> Self {
        Self {
            open: Box::new(open),
            size,
            slots: Arc::new(Semaphore::new(size as usize)),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs `task` on a connection of its own, in turn. A call that is cancelled
    /// before its turn does nothing; later it runs to its end unheard.
    pub(super) async fn run<T, F>(self: &Arc<Self>, context: &'static str, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let slots = Arc::clone(&self.slots);
        let slot = slots.acquire_owned().await.map_err(|closed| unavailable(context, closed))?;
        let pool = Arc::clone(self);
        spawn_blocking(move || {
            // Declared first, so that it is given back after the connection.
            let _slot = slot;
            let mut connection = pool.take()?;
            let result = task(&mut connection);
            pool.put_back(connection);
            result
        })
        .await
        .map_err(|panicked| unavailable(context, panicked))?
        .map_err(|error| classify(context, error))
    }

    /// Waits for the calls whose turn has come, refuses all others, and closes
    /// the connections.
    pub(super) async fn close(self: &Arc<Self>) {
        // Fails where the pool is closed already, and then nothing is left to do.
        let _all = self.slots.acquire_many(self.size).await;
        self.slots.close();
        let connections = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        // Closing the last connection writes the log back into the database.
        let _ = spawn_blocking(move || drop(connections)).await;
    }

    pub(super) fn add_idle(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// All slots, as long calls would take them.
    #[cfg(test)]
    pub(super) async fn occupy(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_many_owned(self.size).await.unwrap()
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| (self.open)(), Ok)
    }

    fn put_back(&self, connection: Connection) {
        // A transaction that could not even be rolled back ends with its connection.
        if connection.is_autocommit() {
            self.add_idle(connection);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).finish_non_exhaustive()
    }
}

fn unavailable(context: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable { context, source: Box::new(source) }
}

fn classify(context: &'static str, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, OperationInterrupted};
    if error.sqlite_error_code() == Some(OperationInterrupted) {
        return Error::TooSlow { context };
    }
    let corrupt = match &error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        other => matches!(other.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)),
    };
    if corrupt { Error::Corrupt { what: "row", source: Box::new(error) } } else { unavailable(context, error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Arc<Pool> {
        Arc::new(Pool::new(1, Connection::open_in_memory))
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_runs_to_its_end_before_the_next() {
        let pool = pool();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let slow = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run("testing", move |connection| {
                    let _ = started.send(());
                    let _ = released.recv();
                    connection.execute_batch("CREATE TABLE t (x)")
                })
                .await
            }
        });
        has_started.await.unwrap();
        slow.abort();
        assert!(slow.await.unwrap_err().is_cancelled());
        release.send(()).unwrap();
        pool.run("testing", |connection| connection.execute_batch("INSERT INTO t VALUES (1)")).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_costs_the_connection_and_not_the_pool() {
        let pool = pool();
        let error = pool.run("testing", |_| -> rusqlite::Result<()> { panic!("on purpose") }).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { context: "testing", .. }));
        pool.run("testing", |connection| connection.execute_batch("SELECT 1")).await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_that_was_left_open_does_not_reach_the_next_call() {
        let pool = pool();
        pool.run("testing", |connection| connection.execute_batch("BEGIN")).await.unwrap();
        pool.run("testing", |connection| connection.execute_batch("BEGIN; COMMIT")).await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_pool_refuses() {
        let pool = pool();
        pool.close().await;
        pool.close().await;
        assert!(pool.run("testing", |connection| connection.execute_batch("SELECT 1")).await.is_err());
    }
}
