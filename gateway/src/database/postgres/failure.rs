//! Why a statement failed here, and what that means: for the step, for the connection, for another try.
//!
//! Invariant: of what a server says a step gets the message and the SQLSTATE, which are about its own
//! statement; never detail and hint, which may hold rows, nor anything about the way to the server.

use std::error::Error as _;

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::Error;

/// What one message of a server may take in an answer. A function may raise any text.
const MESSAGE_CHARACTERS_MAX: usize = 1_000;

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// By us, with nothing left running on the connection.
    Refused(Error),
    /// The server, or the way to it, before a transaction began: nothing of the statement was done.
    NotBegun(tokio_postgres::Error),
    /// The server, or the way to it, later.
    Database(tokio_postgres::Error),
    /// No connection could be made.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// It was given up here while the server went on.
    Abandoned(Error),
}

/// Why a statement that could not begin may at a second try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stale {
    /// It was lost before, as all are when a server is restarted.
    Connection,
    /// What was prepared is no longer what the server has: a table was altered, or a statement before this
    /// one removed it.
    Statement,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// Whether the connection can be cleaned and serve again.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            // Where one that was prepared is gone, so are those of the driver, which it doesn't notice.
            Self::NotBegun(error) | Self::Database(error) => error
                .as_db_error()
                .is_some_and(|error| !is_fatal(error) && *error.code() != SqlState::INVALID_SQL_STATEMENT_NAME),
            Self::Unreachable(_) | Self::Abandoned(_) => false,
        }
    }

    /// Whether another try may go well, and why: nothing was done yet, or it was rolled back.
    pub(super) fn stale(&self) -> Option<Stale> {
        let is_stale = match self {
            Self::NotBegun(error) => return is_lost_connection(error).then_some(Stale::Connection),
            Self::Database(error) => error.as_db_error().is_some_and(is_stale_statement),
            Self::Refused(_) | Self::Unreachable(_) | Self::Abandoned(_) => false,
        };
        is_stale.then_some(Stale::Statement)
    }

    /// In words for the step.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Abandoned(error) => error,
            Self::Unreachable(source) => failed("the database can't be reached", source),
            Self::NotBegun(error) | Self::Database(error) => match error.as_db_error() {
                Some(answer) => told(answer),
                None => failed("the connection to the database was lost", error.into()),
            },
        }
    }
}

fn failed(what: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Failed { what: what.to_owned(), is_transient: true, source: Some(source) }
}

fn is_lost_connection(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(answer) => is_fatal(answer),
        None => error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>),
    }
}

fn is_stale_statement(answer: &DbError) -> bool {
    let has_other_columns =
        *answer.code() == SqlState::FEATURE_NOT_SUPPORTED && answer.routine() == Some("RevalidateCachedQuery");
    // Of the driver's own message: a function may raise the same, after it did something.
    let is_gone = *answer.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        && answer.routine() == Some("FetchPreparedStatement")
        && answer.where_().is_none();
    has_other_columns || is_gone
}

fn is_fatal(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
}

fn told(answer: &DbError) -> Error {
    let message: String = answer.message().chars().take(MESSAGE_CHARACTERS_MAX).collect();
    let code = answer.code();
    if *code == SqlState::QUERY_CANCELED {
        return Error::TimedOut;
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Error::Invalid(format!("{message}: a query only reads, and execute is for statements that write"));
    }
    if let Some(number) = parameter(answer) {
        return Error::Invalid(format!("${number}: {message}"));
    }
    // Of the system, its resources, its configuration and its own mistakes: with paths in them.
    let is_of_the_server = ["53", "58", "F0", "XX"].contains(&code.code().get(..2).unwrap_or_default());
    let message = if is_of_the_server { "the database failed" } else { message.as_str() };
    let what = format!("{message} ({})", code.code());
    Error::Failed { what, is_transient: is_transient(code), source: None }
}

/// The parameter whose text its type doesn't take, which PostgreSQL tells in the context.
fn parameter(answer: &DbError) -> Option<u32> {
    let (_, rest) = answer.where_()?.split_once("portal parameter $")?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

/// A lock, a serialization, a server that stops, a connection, resources.
fn is_transient(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ]
    .contains(code)
        || ["08", "53"].contains(&code.code().get(..2).unwrap_or_default())
}
