//! A connection to a file, and what a statement may do on it.
//!
//! Owns how a file is opened, SQLite's own limits, and the authorizer. Invariants: nothing but what is listed here
//! is allowed, whatever the verb of a statement; what one statement has in memory is bounded (`memory`), and so is
//! the time between two looks at whether it is to end.

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
use super::{functions, memory};
use crate::config;
use crate::database::Error;
use crate::database::sql::SQL_BYTES_MAX;

/// Steps of SQLite's machine between two looks at whether to go on: microseconds, or a few values.
const STEPS_BETWEEN_LOOKS: i32 = 100;

/// What a statement may take: its values, what it collects (`json_group_array` puts no bound on that), and what it
/// sorts and groups, which has no files. Twice what its values may have.
const MEMORY_BYTES_MAX: i64 = 128 * 1024 * 1024;
/// What it may take while it is prepared, where views and common tables double at each use. The longest texts and
/// the schema of thousands of tables need a third.
const PREPARING_BYTES_MAX: i64 = 48 * 1024 * 1024;

/// What the values of one statement may have together, as far as can be told from its text: each has this,
/// divided by how many it could hold.
const VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// However few there are: one look at a value (`LIKE`) is not interrupted, and no answer of the usual size holds it.
const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// However many there are: a row of a wide table has small values.
const VALUE_BYTES_MIN: usize = 64 * 1024;

/// In KiB, negative as SQLite has it: what a connection keeps of the file, and of temporary ones, in memory.
const CACHE_KIB: i32 = -2_048;

/// Beside [`Limit::SQLITE_LIMIT_LENGTH`], which is set for each statement.
const LIMITS: [(Limit, i32); 9] = [
    // Some twenty queries in one another; each is a few frames of the code generator, which no other limit counts.
    (Limit::SQLITE_LIMIT_PARSER_DEPTH, 200),
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
/// They compare all names of one object with all of the other, uninterrupted. With values of the least size
/// that is a fraction of a second.
const FUNCTIONS_SLOW: [&str; 2] = ["json_patch", "jsonb_patch"];
/// For these each character of a path may be looked for in all of it.
const COLUMNS_SLOW: [(&str, &str); 2] = [("json_tree", "key"), ("json_tree", "path")];
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
    bytes_max: u64,
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
    pub(super) fn new(path: &Path, config: &config::Database) -> Self {
        Self { path: path.to_owned(), is_read_only: config.read_only, bytes_max: config.file_bytes_max }
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
        self.bound(&connection).map_err(not_opened)?;
        guard(&connection, access, &mentions).map_err(not_opened)?;
        Ok(Session { connection, identity: self.identity(), mentions })
    }

    fn make(&self) -> rusqlite::Result<()> {
        let made = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        // Writes the file's first page too.
        made.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
    }

    /// Of the connection, not of the file. A file that is larger already grows no more.
    fn bound(&self, connection: &Connection) -> rusqlite::Result<()> {
        let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = u32::try_from(self.bytes_max / u64::from(page_bytes.max(1))).unwrap_or(u32::MAX - 1).max(1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
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
        let hooked = self.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || watched.is_asked()));
        hooked.map_err(|error| Error::from(Failure::from(error)))?;
        cancellation.enter(&self.connection);
        let budget = memory::Budget::new(MEMORY_BYTES_MAX);
        let done = work(self);
        drop(budget);
        cancellation.leave();
        self.unwatch()?;
        Ok(done)
    }

    fn unwatch(&self) -> Result<(), Error> {
        let unhooked = self.connection.progress_handler(0, None::<fn() -> bool>);
        unhooked.map_err(|error| Failure::from(error).into())
    }

    /// A statement; `weight` is how many values its text has room for, roughly.
    pub(super) fn prepare(&self, sql: &str, weight: usize) -> Result<rusqlite::Statement<'_>, Failure> {
        self.mentions.store(0, Ordering::Relaxed);
        // The schema is read with it, whose texts know nothing of the statement before.
        let bytes = i32::try_from(VALUE_BYTES_MAX).unwrap_or(i32::MAX);
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes)?;
        let statement = memory::within(PREPARING_BYTES_MAX, || self.connection.prepare(sql))?;
        let values = weight.max(self.mentions.load(Ordering::Relaxed)).max(statement.column_count()) + 1;
        let bytes = (VALUES_BYTES_MAX / values).clamp(VALUE_BYTES_MIN, VALUE_BYTES_MAX);
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes)?;
        Ok(statement)
    }

    /// Rows that the last statement changed, triggers and foreign keys not counted.
    pub(super) fn changes(&self) -> u64 {
        self.connection.changes()
    }

    /// Whether nothing of the statement is left on it.
    pub(super) fn is_clean(&self) -> bool {
        self.connection.is_autocommit() && !self.connection.is_busy()
    }
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
    // Files would have no bound; what is in memory is the statement's.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "query_only", access == Access::Read)?;
    let sql_bytes = i32::try_from(SQL_BYTES_MAX).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, sql_bytes)?;
    functions::install(connection)?;
    for (limit, bound) in LIMITS {
        connection.set_limit(limit, bound)?;
    }
    let mentions = Arc::clone(mentions);
    connection.authorizer(Some(move |asked: AuthContext<'_>| {
        mentions.fetch_add(values_of(&asked.action), Ordering::Relaxed);
        if is_allowed(&asked, access) { Authorization::Allow } else { Authorization::Deny }
    }))
}

/// How many values this stands for; what is slow, for so many that each is of the least size.
fn values_of(action: &AuthAction<'_>) -> usize {
    let is_slow = match action {
        AuthAction::Read { table_name, column_name } => COLUMNS_SLOW
            .iter()
            .any(|(table, column)| table_name.eq_ignore_ascii_case(table) && column_name.eq_ignore_ascii_case(column)),
        AuthAction::Function { function_name } => {
            FUNCTIONS_SLOW.iter().any(|name| function_name.eq_ignore_ascii_case(name))
        }
        _ => return 0,
    };
    if is_slow { VALUES_BYTES_MAX / VALUE_BYTES_MIN } else { 1 }
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
