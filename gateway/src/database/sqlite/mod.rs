//! SQLite files that steps may reach.
//!
//! Owns the threads that statements run on, and how one is ended. What a connection may do is `connection`'s,
//! what its values are `values`'. Invariant: a slot is taken for as long as a thread works, also when
//! nobody waits for it any more.

mod cancellation;
mod connection;
mod functions;
mod memory;
mod values;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::cancellation::Cancellation;
use self::connection::{Access, File, Session};
use super::params::Param;
use super::sql::{self, Dialect};
use super::{Bounds, Error, Statement, json};
use crate::config;

/// While another process, or a statement that writes, has the file; then it is tried again.
const LOCKED_PAUSE: Duration = Duration::from_millis(5);

/// Statements that read. Others are not even given to a connection that could not do them anyway.
const READS: [&str; 4] = ["SELECT", "WITH", "VALUES", "EXPLAIN"];
/// Statements that change rows, and tell how many.
const CHANGES: [&str; 5] = ["INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"];
/// Statements that change what there is.
const DEFINES: [&str; 3] = ["CREATE", "ALTER", "DROP"];

/// The connections to one file.
#[derive(Debug)]
pub(super) struct Pool(Arc<Connections>);

#[derive(Debug)]
struct Connections {
    file: File,
    slots: Arc<Semaphore>,
    /// SQLite has one writer at a time: who waits here waits in order, and takes no slot from who reads.
    writer: Arc<Semaphore>,
    readers_idle: Mutex<Vec<Session>>,
    writers_idle: Mutex<Vec<Session>>,
}

/// A statement as a thread takes it with it.
struct Work {
    sql: String,
    params: String,
    /// What the statement could hold at once: a bound on each value follows from it.
    weight: usize,
    bounds: Bounds,
}

impl Pool {
    /// Touches nothing yet.
    pub(super) fn open(
        path: &Path,
        config: &config::Database,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        if !memory::is_counted() {
            return Err("SQLite was set up before its memory could be bounded".into());
        }
        Ok(Self(Arc::new(Connections {
            file: File::new(path, config),
            slots: Arc::new(Semaphore::new(usize::try_from(config.pool).unwrap_or(Semaphore::MAX_PERMITS))),
            writer: Arc::new(Semaphore::new(1)),
            readers_idle: Mutex::default(),
            writers_idle: Mutex::default(),
        })))
    }

    /// The rows of a statement that reads.
    pub(super) async fn query(&self, statement: Statement<'_>, bounds: Bounds) -> Result<String, Error> {
        let (work, verb) = Work::new(statement, bounds)?;
        if !READS.contains(&verb.as_str()) {
            return Err(Error::Invalid(format!("a query begins with {}", READS.join(", "))));
        }
        self.run(Access::Read, move |session, cancellation| {
            let params = Param::list(&work.params)?;
            while_locked(cancellation, || work.query(session, &params))
        })
        .await
    }

    /// How many rows a statement changed; 0 for one that changes what there is.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, Error> {
        // Nothing is answered with, so what a value may have does not depend on the configuration.
        let (work, verb) = Work::new(statement, Bounds { rows_max: 0, bytes_max: 0 })?;
        let counts = CHANGES.contains(&verb.as_str());
        if !counts && !DEFINES.contains(&verb.as_str()) {
            let allowed = [&CHANGES[..], &DEFINES[..]].concat().join(", ");
            return Err(Error::Invalid(format!("what is executed begins with {allowed}; what reads is a query")));
        }
        self.run(Access::Write, move |session, cancellation| {
            let params = Param::list(&work.params)?;
            let changed = while_locked(cancellation, || work.execute(session, &params))?;
            // Of a definition SQLite would tell the number of the statement before.
            Ok(if counts { changed } else { 0 })
        })
        .await
    }

    /// Does `work` on a thread. Dropped, it has the statement end; the slot is free once it has.
    async fn run<T, F>(&self, access: Access, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Session, &Cancellation) -> Result<T, Error> + Send + 'static,
    {
        let connections = Arc::clone(&self.0);
        let closed = |_| values::failed("the database is closed");
        let turn = match access {
            Access::Read => None,
            Access::Write => Some(Arc::clone(&connections.writer).acquire_owned().await.map_err(closed)?),
        };
        let slot = Arc::clone(&connections.slots).acquire_owned().await.map_err(closed)?;
        let cancellation = Arc::new(Cancellation::default());
        let _cancel_when_dropped = cancellation::Guard::new(&cancellation);
        let done = spawn_blocking(move || {
            // Declared first, so that they are given back last.
            let _turn_and_slot = (turn, slot);
            connections.with_session(access, &cancellation, work)
        });
        done.await.unwrap_or_else(|_| Err(values::failed("the statement broke off")))
    }
}

impl Connections {
    fn with_session<T>(
        &self,
        access: Access,
        cancellation: &Arc<Cancellation>,
        work: impl FnOnce(&Session, &Cancellation) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let idle = match access {
            Access::Read => &self.readers_idle,
            Access::Write => &self.writers_idle,
        };
        let waiting = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match waiting {
            Some(session) if self.file.is_still(&session) => session,
            // The file is another one now, or there is no connection yet.
            Some(_) | None => while_locked(cancellation, || self.file.open(access))?,
        };
        let done = session.watched(cancellation, |session| work(session, cancellation))?;
        if session.is_clean() {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
        done
    }
}

impl Work {
    /// With its first word.
    fn new(statement: Statement<'_>, bounds: Bounds) -> Result<(Self, String), Error> {
        let tokens = sql::tokens(statement.sql, Dialect::Sqlite)?;
        let verb = sql::verb(&tokens, statement.sql);
        let (sql, params) = (statement.sql.to_owned(), statement.params.to_owned());
        // What holds a value takes about four: a name, a comma, a parenthesis and what is done with it.
        Ok((Self { sql, params, weight: tokens.len() / 4, bounds }, verb))
    }

    fn query(&self, session: &Session, params: &[Param<'_>]) -> Result<String, values::Failure> {
        let mut statement = session.prepare(&self.sql, self.weight)?;
        if !statement.readonly() {
            return Err(Error::Invalid("a query only reads".to_owned()).into());
        }
        values::bind(&mut statement, params)?;
        let mut answer = json::Rows::new(statement.column_names().into_iter(), self.bounds)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            // To tell a value SQLite may write it out, which its own limit bounds.
            answer.row(|column, json| values::write(memory::unchecked(|| row.get_ref(column)), json))?;
        }
        Ok(answer.finish())
    }

    fn execute(&self, session: &Session, params: &[Param<'_>]) -> Result<u64, values::Failure> {
        let mut statement = session.prepare(&self.sql, self.weight)?;
        if statement.readonly() {
            return Err(Error::Invalid("a statement that only reads is a query".to_owned()).into());
        }
        values::bind(&mut statement, params)?;
        let mut rows = statement.raw_query();
        // What `RETURNING` returns is nobody's; all is done at the last of them.
        while rows.next()?.is_some() {}
        Ok(session.changes())
    }
}

/// Tries again while the file is locked, until it is cancelled: a statement that found a lock did nothing.
fn while_locked<T>(
    cancellation: &Cancellation,
    mut attempt: impl FnMut() -> Result<T, values::Failure>,
) -> Result<T, Error> {
    while !cancellation.is_asked() {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(values::Failure::Final(error)) => return Err(error),
            Err(values::Failure::Locked) => std::thread::sleep(LOCKED_PAUSE),
        }
    }
    Err(Error::TimedOut)
}
