//! What is kept, over `SQLite`.
//!
//! Owns the database file, its lock and its schema. One file an aggregate, SQL
//! visible there. Invariant: one process uses a data folder at a time, and all
//! that touches the file runs on blocking threads.

mod audit;
mod column;
mod deliveries;
mod denials;
mod executions;
mod jobs;
mod keys;
mod modules;
mod open;
mod pool;
mod retention;
mod runs;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use uuid::Uuid;

use self::open::DataLock;
use self::pool::Pool;
use super::schema::Migrated;
use super::{Error, Store};

/// Lists and look-ups at once. They are short, and the data plane makes none.
const READERS: u32 = 4;

/// What a request may read for: nobody waits longer for a list, and there are few readers.
const READ_MAX: Duration = Duration::from_secs(10);
/// Steps of the database's machine between two looks at the clock: a fraction of a millisecond.
const STEPS_A_LOOK: i32 = 10_000;

const ID: &str = "SELECT id FROM store";

const PING: &str = "SELECT count(*) FROM refinery_schema_history";

/// A store in one `SQLite` file.
#[derive(Debug)]
pub struct SqliteStore {
    // SQLite has one writer at a time; with one connection, writers queue in
    // order instead of polling a lock.
    writer: Arc<Pool>,
    readers: Arc<Pool>,
    read_max: Duration,
    /// Readiness doesn't wait for lists.
    pings: Arc<Pool>,
    lock: DataLock,
}

/// Brings the schema of the database at `path` up to date, made where it is missing, and
/// tells what was done.
///
/// # Errors
/// As [`SqliteStore::open`].
pub async fn migrate(path: &Path) -> Result<Migrated, Error> {
    opening(path, |path| open::open(path).map(|opened| opened.migrated)).await
}

/// Tells what [`migrate`] would do, and changes nothing.
///
/// # Errors
/// As [`SqliteStore::open`].
pub async fn check(path: &Path) -> Result<Migrated, Error> {
    opening(path, open::check).await
}

async fn opening<T: Send + 'static>(
    path: &Path,
    open: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let path = path.to_owned();
    let shown = path.display().to_string();
    let opened = tokio::task::spawn_blocking(move || open(&path)).await;
    opened.map_err(|panicked| Error::Open {
        reason: format!("opening the database {shown} failed"),
        source: Some(Box::new(panicked)),
    })?
}

/// What a write has to survive once it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The power going: one fsync a commit. What people decide is rare and dear.
    PowerLoss,
    /// `kill -9`. The file stays whole when the power goes, and may lack the
    /// last commits; for what is written thousands of times a second.
    ProcessDeath,
}

impl SqliteStore {
    /// Opens the database at `path`, made where it is missing with its folder, and
    /// brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Open`] with what an operator has to do: the folder can't be written,
    /// another process uses it, the file is no database, not ours, or of a newer version.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let open::Opened { path, writer: first, lock, .. } = opening(path, open::open).await?;
        let writer = Pool::new(1, {
            let path = path.clone();
            move || open::writer(&path)
        });
        // Kept open from here on: readers need the shared memory that it made.
        writer.add_idle(first);
        let pings = Pool::new(1, {
            let path = path.clone();
            move || open::reader(&path)
        });
        let readers = Pool::new(READERS, move || open::reader(&path));
        let (writer, readers, pings) = (Arc::new(writer), Arc::new(readers), Arc::new(pings));
        Ok(Self { writer, readers, read_max: READ_MAX, pings, lock })
    }

    /// Runs `task` in a transaction that sees one state of the database, for a request: within
    /// [`READ_MAX`], the wait for a reader included.
    async fn read<T, F>(&self, context: &'static str, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let until = Instant::now() + self.read_max;
        let read = self.readers.run(context, move |connection| {
            // A call that was given up ends too, and its reader is another's.
            connection.progress_handler(STEPS_A_LOOK, Some(move || Instant::now() >= until))?;
            task(&connection.transaction()?)
        });
        tokio::time::timeout_at(until.into(), read).await.unwrap_or(Err(Error::TooSlow { context }))
    }

    /// The same for the gateway itself, which has the time.
    async fn read_unhurried<T, F>(&self, context: &'static str, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let read = move |connection: &mut Connection| {
            connection.progress_handler(0, None::<fn() -> bool>)?;
            task(&connection.transaction()?)
        };
        self.readers.run(context, read).await
    }

    /// Runs `task` in a transaction that is committed when it returns `Ok`. A call
    /// that is cancelled has happened or not, never half.
    async fn write<T, F>(&self, context: &'static str, durability: Durability, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        // A cancelled or closing caller leaves the lock to whoever runs last.
        let held = self.lock.clone();
        self.writer
            .run(context, move |connection| {
                let _held = held;
                set_durability(connection, durability)?;
                let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let result = task(&tx)?;
                tx.commit()?;
                Ok(result)
            })
            .await
    }
}

fn set_durability(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessDeath => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)
}

#[async_trait]
impl Store for SqliteStore {
    async fn id(&self) -> Result<Uuid, Error> {
        self.read_unhurried("reading the store's id", |tx| {
            Ok(Uuid::from_bytes(tx.prepare_cached(ID)?.query_row([], |row| row.get(0))?))
        })
        .await
    }

    async fn ping(&self) -> Result<(), Error> {
        let ping = |connection: &mut Connection| connection.prepare_cached(PING)?.query_row([], |_| Ok(()));
        self.pings.run("answering", ping).await
    }

    async fn close(&self) {
        self.pings.close().await;
        self.readers.close().await;
        self.writer.close().await;
        self.lock.release();
    }
}

#[cfg(test)]
mod tests;
