//! Why a statement failed here, and what that means: for the step, for the connection, for another try.
//!
//! Invariant: of what a server says a step gets the message and the SQLSTATE, which are about its own
//! statement; never detail and hint, which may hold rows, nor anything about the way to the server.

use std::error::Error as _;

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::Error;
use super::flight::Answer;

/// What one message of a server may take in an answer. A function may raise any text.
const MESSAGE_CHARACTERS_MAX: usize = 1_000;

const LOST: &str = "the connection to the database was lost";

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// By us, with nothing left running on the connection.
    Refused(Error),
    /// The server, or the way to it, before a transaction began: nothing of the statement was done.
    NotBegun(Fault),
    /// The server, or the way to it, later.
    Database(Fault),
    /// No connection could be made.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// It was given up here while the server went on.
    Abandoned(Error),
}

/// What a server, or the way to it, did: as the driver tells it, or as it was heard in a flight.
#[derive(Debug)]
pub(super) enum Fault {
    Driver(tokio_postgres::Error),
    Answer(Answer),
    Line(std::io::Error),
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
        Self::Database(error.into())
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(answer) => Self::Answer(answer.into()),
            None => Self::Driver(error),
        }
    }
}

impl From<&DbError> for Answer {
    fn from(error: &DbError) -> Self {
        Self {
            is_fatal: matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic)),
            code: error.code().clone(),
            message: error.message().to_owned(),
            context: error.where_().map(str::to_owned),
            routine: error.routine().map(str::to_owned),
        }
    }
}

impl Failure {
    /// Whether the connection can be cleaned and serve again.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            // Where one that was prepared is gone, so are others, which nobody noticed.
            Self::NotBegun(Fault::Answer(answer)) | Self::Database(Fault::Answer(answer)) => {
                !answer.is_fatal && answer.code != SqlState::INVALID_SQL_STATEMENT_NAME
            }
            Self::NotBegun(_) | Self::Database(_) | Self::Unreachable(_) | Self::Abandoned(_) => false,
        }
    }

    /// Whether another try may go well, and why: nothing was done yet, or it was rolled back.
    pub(super) fn stale(&self) -> Option<Stale> {
        match self {
            Self::NotBegun(fault) if fault.is_lost_connection() => Some(Stale::Connection),
            Self::NotBegun(Fault::Answer(answer)) | Self::Database(Fault::Answer(answer)) => {
                is_stale_statement(answer).then_some(Stale::Statement)
            }
            Self::NotBegun(_) | Self::Database(_) | Self::Refused(_) | Self::Unreachable(_) | Self::Abandoned(_) => {
                None
            }
        }
    }

    /// In words for the step.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Abandoned(error) => error,
            Self::Unreachable(source) => failed("the database can't be reached", source),
            Self::NotBegun(fault) | Self::Database(fault) => match fault {
                Fault::Answer(answer) => told(&answer),
                Fault::Driver(error) => failed(LOST, error.into()),
                Fault::Line(error) => failed(LOST, error.into()),
            },
        }
    }
}

fn failed(what: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Failed { what: what.to_owned(), is_transient: true, source: Some(source) }
}

impl Fault {
    fn is_lost_connection(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.is_fatal,
            Self::Driver(error) => {
                error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
            }
            Self::Line(_) => true,
        }
    }
}

fn is_stale_statement(answer: &Answer) -> bool {
    let routine = answer.routine.as_deref();
    let has_other_columns = answer.code == SqlState::FEATURE_NOT_SUPPORTED && routine == Some("RevalidateCachedQuery");
    // Of the protocol's own message: a function may raise the same, after it did something.
    let is_gone = answer.code == SqlState::INVALID_SQL_STATEMENT_NAME
        && routine == Some("FetchPreparedStatement")
        && answer.context.is_none();
    has_other_columns || is_gone
}

fn told(answer: &Answer) -> Error {
    let message: String = answer.message.chars().take(MESSAGE_CHARACTERS_MAX).collect();
    let code = &answer.code;
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
fn parameter(answer: &Answer) -> Option<u32> {
    let (_, rest) = answer.context.as_deref()?.split_once("portal parameter $")?;
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
