//! A connection to a file, and what a statement may do on it.
//!
//! Owns how a file is opened, SQLite's own limits, and the authorizer. Invariants: nothing but what is listed here
//! is allowed, whatever the verb of a statement; and what one statement has in memory at once is bounded
//! by what its text has room for.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::cancellation::Cancellation;
use super::values::Failure;
use crate::database::Error;
use crate::database::sql::SQL_BYTES_MAX;

/// Steps of SQLite's machine between two looks at whether to go on: microseconds, or a few values.
const STEPS_BETWEEN_LOOKS: i32 = 100;

/// How much more memory SQLite may have in this process than when a statement began, or the statement ends. Some
/// of its own functions put no bound on what they collect (`json_group_array`). Other statements count
/// as well, since SQLite doesn't tell them apart; together they stay far below this.
const MEMORY_BYTES_MAX: i64 = 256 * 1024 * 1024;

/// What the values of one statement may have together, as far as can be told from its text: each has this,
/// divided by how many it could hold. What is sorted or grouped goes to temporary files past the caches.
const VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// However many there are: a row of a wide table has small values.
const VALUE_BYTES_MIN: usize = 64 * 1024;

/// In KiB, negative as SQLite has it: what a connection keeps of the file, and of temporary ones, in memory.
const CACHE_KIB: i32 = -2_048;

/// Beside [`Limit::SQLITE_LIMIT_LENGTH`], which is set for each statement.
const LIMITS: [(Limit, i32); 8] = [
    // The parser and the code generator recurse; the threads have 2 MiB of stack.
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    // Each is a frame of theirs too. Rows of `VALUES` are not counted.
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    // Of 24 bytes; an `INSERT` with as many parameters as there may be has some 100 000.
    (Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000),
    // `json_object` of fifty members. All arguments are in memory at once.
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    // Comparing takes text times pattern, and isn't looked at meanwhile.
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256),
    // Nobody has more triggers that trigger each other; recursion beyond ends with an error.
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 50),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// What would reach out of the database, or what another statement left on the connection.
const FUNCTIONS_DENIED: [&str; 6] =
    ["load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "total_changes"];
/// Those of the statement before, whoever's it was, unless a trigger asks.
const FUNCTIONS_OF_TRIGGERS: [&str; 2] = ["changes", "last_insert_rowid"];
/// Both keep what they have in tables of the same file.
const TABLE_MODULES: [&str; 2] = ["fts5", "rtree"];
/// What SQLite asks for itself: full text search whether the file changed, `ALTER TABLE … ADD COLUMN` whether
/// rows keep a new constraint. Both only read.
const PRAGMAS: [&str; 2] = ["data_version", "quick_check"];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A file as the configuration has it.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    is_read_only: bool,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// Device and inode of the file.
    identity: Option<(u64, u64)>,
    /// What the statement that is prepared reads and calls.
    mentions: Arc<AtomicUsize>,
}

impl File {
    pub(super) fn new(path: &Path, is_read_only: bool) -> Self {
        Self { path: path.to_owned(), is_read_only }
    }

    /// Whether the session's file is the one that the path leads to.
    pub(super) fn is_still(&self, session: &Session) -> bool {
        session.identity.is_some() && session.identity == self.identity()
    }

    /// Opens the file. Unless it is read only it is made where it is missing, with a write-ahead log, so that who
    /// reads and who writes don't wait for each other.
    pub(super) fn open(&self, access: Access) -> Result<Session, Failure> {
        let is_missing = std::fs::metadata(&self.path).map_or(true, |file| file.len() == 0);
        if is_missing && !self.is_read_only {
            self.make().map_err(not_opened)?;
        }
        let mode = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let connection = self.connect(mode).map_err(not_opened)?;
        let mentions = Arc::new(AtomicUsize::new(0));
        guard(&connection, access, &mentions).map_err(not_opened)?;
        Ok(Session { connection, identity: self.identity(), mentions })
    }

    fn make(&self) -> rusqlite::Result<()> {
        let made = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        // Writes the file's first page too.
        made.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
    }

    fn connect(&self, mode: OpenFlags) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        // A lock is waited for where it can be told that nobody waits any more.
        connection.busy_timeout(Duration::ZERO)?;
        Ok(connection)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Session {
    /// Does `work`, which ends when it is cancelled. The outer error is of the connection.
    pub(super) fn watched<T>(
        &self,
        cancellation: &Arc<Cancellation>,
        work: impl FnOnce(&Self) -> T,
    ) -> Result<T, Error> {
        let watched = Arc::clone(cancellation);
        let memory_bytes = memory_used() + MEMORY_BYTES_MAX;
        let is_to_end = move || {
            if memory_used() > memory_bytes {
                watched.end_as_too_large();
            }
            watched.is_too_large() || watched.is_asked()
        };
        let hooked = self.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_to_end));
        hooked.map_err(|error| Error::from(Failure::from(error)))?;
        cancellation.enter(&self.connection);
        let done = work(self);
        cancellation.leave();
        Ok(done)
    }

    /// A statement; `weight` is how many values its text has room for, roughly.
    pub(super) fn prepare(&self, sql: &str, weight: usize) -> Result<rusqlite::Statement<'_>, Failure> {
        self.mentions.store(0, Ordering::Relaxed);
        let statement = self.connection.prepare(sql)?;
        let values = weight.max(self.mentions.load(Ordering::Relaxed)).max(statement.column_count()) + 1;
        let bytes = i32::try_from((VALUES_BYTES_MAX / values).max(VALUE_BYTES_MIN)).unwrap_or(i32::MAX);
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes)?;
        Ok(statement)
    }

    /// Rows that the last statement changed, triggers and foreign keys not counted.
    pub(super) fn changes(&self) -> u64 {
        self.connection.changes()
    }

    /// Whether nothing of the statement is left on it.
    pub(super) fn is_clean(&self) -> bool {
        let unwatched = self.connection.progress_handler(0, None::<fn() -> bool>).is_ok();
        unwatched && self.connection.is_autocommit() && !self.connection.is_busy()
    }
}

/// What SQLite has of this process's memory.
#[expect(unsafe_code, reason = "rusqlite has no safe call for it")]
fn memory_used() -> i64 {
    // SAFETY: it takes nothing, reads a counter under SQLite's own lock, and may be called at any time from any thread.
    unsafe { rusqlite::ffi::sqlite3_memory_used() }
}

/// Settings first: the authorizer allows none.
fn guard(connection: &Connection, access: Access, mentions: &Arc<AtomicUsize>) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false)?;
    // A misspelt column in double quotes is a mistake, not a text.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    // What doesn't fit into the caches is in files that have no name, not in memory.
    connection.pragma_update(None, "temp_store", "file")?;
    connection.pragma_update(None, "query_only", access == Access::Read)?;
    let sql_bytes = i32::try_from(SQL_BYTES_MAX).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, sql_bytes)?;
    for (limit, bound) in LIMITS {
        connection.set_limit(limit, bound)?;
    }
    let mentions = Arc::clone(mentions);
    connection.authorizer(Some(move |asked: AuthContext<'_>| {
        if matches!(asked.action, AuthAction::Read { .. } | AuthAction::Function { .. }) {
            mentions.fetch_add(1, Ordering::Relaxed);
        }
        if is_allowed(&asked, access) { Authorization::Allow } else { Authorization::Deny }
    }))
}

/// Whether a statement may do this; what is not named it may not.
fn is_allowed(asked: &AuthContext<'_>, access: Access) -> bool {
    if asked.database_name.is_some_and(|name| name != "main") {
        return is_empty_schema(&asked.action);
    }
    match asked.action {
        AuthAction::Select | AuthAction::Recursive | AuthAction::Read { .. } => true,
        AuthAction::Function { function_name } => {
            let is_in = |names: &[&str]| names.iter().any(|name| function_name.eq_ignore_ascii_case(name));
            !is_in(&FUNCTIONS_DENIED) && (asked.accessor.is_some() || !is_in(&FUNCTIONS_OF_TRIGGERS))
        }
        AuthAction::Pragma { pragma_name, .. } => PRAGMAS.contains(&pragma_name),
        // Direct writes of the schema are refused by SQLite itself; definitions are told as these, and a new index
        // is filled as an old one is made anew.
        AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::AlterTable { .. }
        | AuthAction::DropTable { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropView { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::Reindex { .. } => access == Access::Write,
        AuthAction::CreateVtable { module_name, .. } | AuthAction::DropVtable { module_name, .. } => {
            access == Access::Write && TABLE_MODULES.iter().any(|module| module_name.eq_ignore_ascii_case(module))
        }
        _ => false,
    }
}

/// The temporary database is the connection's, and the next one's too: nobody may make anything in it. `DROP` and
/// `ALTER` look into its schema for what refers to a table, and find nothing.
fn is_empty_schema(action: &AuthAction<'_>) -> bool {
    let (AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. }) = action else { return false };
    ["sqlite_temp_master", "sqlite_temp_schema"].contains(table_name)
}

fn not_opened(error: rusqlite::Error) -> Failure {
    Failure::from(error).or_not_opened()
}
