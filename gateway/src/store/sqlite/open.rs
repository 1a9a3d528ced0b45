//! Opening the database: the lock, the settings, the schema.
//!
//! Owns all that is done before the first query. Invariant: a file that is not
//! ours to write is left as it was.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::Error;
use crate::store::schema::{Migrated, missing};

mod embedded {
    refinery::embed_migrations!("../migrations/sqlite");
}

/// "Slce", in the file's header: tells our databases from those of other programs.
const APPLICATION_ID: i32 = 0x536c_6365;

/// Another process can only be a person with the `sqlite3` command; they get this
/// long to end a transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Each statement of ours, with room to spare.
const STATEMENTS_CACHED: usize = 64;

pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) writer: Connection,
    pub(super) lock: DataLock,
    pub(super) migrated: Migrated,
}

/// Keeps other processes from the data; the operating system lets go of it when
/// the process ends, however it does.
#[derive(Debug, Clone)]
pub(super) struct DataLock(Arc<File>);

impl DataLock {
    pub(super) fn release(&self) {
        // What can't be unlocked is unlocked with the process.
        let _ = self.0.unlock();
    }
}

pub(super) fn open(path: &Path) -> Result<Opened, Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| refused(format!("the data folder {} can't be made", folder.display()), error))?;
    }
    let lock = lock(path)?;
    let mut writer = writer(path).map_err(|error| explain(path, error))?;
    check_ownership(&writer, path)?;
    let migrated = migrate(&mut writer, path)?;
    Ok(Opened { path: path.to_owned(), writer, lock, migrated })
}

/// A connection that writes. The settings are the connection's, WAL is the file's.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    // A connection is used by one thread at a time: it needs no mutex of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.execute_batch(
        // The log is cut back to 64 MiB after a burst; 16 MiB of pages keep the
        // upper levels of the indexes at hand.
        "PRAGMA journal_mode = WAL;
         PRAGMA foreign_keys = ON;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -16384;
         PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

/// A connection that can't write, whatever it is told.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// The lock is on a file of its own: `SQLite`'s locks on the database are lost when
/// anything else in the process closes that file.
fn lock(path: &Path) -> Result<DataLock, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| refused(format!("the data folder of {} can't be written", path.display()), error))?;
    match file.try_lock() {
        Ok(()) => Ok(DataLock(Arc::new(file))),
        Err(TryLockError::WouldBlock) => Err(Error::Open {
            reason: format!(
                "the database {} is in use by another process: stop that one, or give this one a data folder of its own",
                path.display()
            ),
            source: None,
        }),
        Err(TryLockError::Error(error)) => {
            Err(refused(format!("the data folder of {} can't be locked", path.display()), error))
        }
    }
}

/// Refuses the databases of other programs, before anything is written to them.
fn check_ownership(connection: &Connection, path: &Path) -> Result<(), Error> {
    let ours = || -> rusqlite::Result<bool> {
        if connection.is_readonly("main")? {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
                None,
            ));
        }
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application == APPLICATION_ID {
            return Ok(true);
        }
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != 0 || tables != 0 {
            return Ok(false);
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        Ok(true)
    };
    match ours() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Open {
            reason: format!("the database {} is another program's: give this one a file of its own", path.display()),
            source: None,
        }),
        Err(error) => Err(explain(path, error)),
    }
}

/// Which migrations the database lacks; all of them where there is none.
pub(super) fn check(path: &Path) -> Result<Migrated, Error> {
    let runner = embedded::migrations::runner();
    let mut applied = Vec::new();
    if path.exists() {
        let mut connection = reader(path).map_err(|error| explain(path, error))?;
        let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'refinery_schema_history'";
        let has_history: i64 =
            connection.query_row(known, [], |row| row.get(0)).map_err(|error| explain(path, error))?;
        if has_history > 0 {
            let found = runner.get_applied_migrations(&mut connection);
            applied = found.map_err(|error| refused(format!("the schema of {} can't be read", shown(path)), error))?;
        }
    }
    Ok(Migrated::of(shown(path), missing(runner.get_migrations(), &applied), applied.last()))
}

fn shown(path: &Path) -> String {
    format!("the database {}", path.display())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<Migrated, Error> {
    use refinery::error::Kind;
    let runner = embedded::migrations::runner();
    let run = |connection: &mut Connection| {
        let report = runner.run(connection)?;
        let last = runner.get_last_applied_migration(connection)?;
        Ok(Migrated::of(shown(path), report.applied_migrations(), last.as_ref()))
    };
    run(connection).map_err(|error: refinery::Error| {
        let shown = path.display();
        let reason = match error.kind() {
            Kind::MissingVersion(_) => {
                format!("the database {shown} was written by a newer version of sluice: start that version")
            }
            Kind::DivergentVersion(..) => {
                format!("the database {shown} was written by a version of sluice that this one does not know")
            }
            _ => format!("the schema of the database {shown} can't be brought up to date"),
        };
        refused(reason, error)
    })
}

#[cfg(test)]
pub(super) fn migrate_to(connection: &mut Connection, version: i32) {
    embedded::migrations::runner().set_target(refinery::Target::Version(version)).run(connection).unwrap();
}

fn explain(path: &Path, error: rusqlite::Error) -> Error {
    let shown = path.display();
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!("{shown} is not a SQLite database: move it away, or give another path")
        }
        Some(ErrorCode::DatabaseCorrupt) => format!("the database {shown} is damaged: restore a copy"),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            format!("the database {shown} can't be written: check the rights of the file and its folder")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("the database {shown} is locked by another program")
        }
        Some(ErrorCode::DiskFull) => format!("there is no room for the database {shown}"),
        _ => format!("the database {shown} can't be opened"),
    };
    refused(reason, error)
}

fn refused(reason: String, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Open { reason, source: Some(Box::new(source)) }
}
