//! Parameters, values and errors of SQLite.
//!
//! Owns what they are on either side. Invariant: an integer is never rounded.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, Statement, ToSql};

use crate::database::Error;
use crate::database::json::Json;
use crate::database::params::Param;

/// Why a statement did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another has the file; nothing was done.
    Locked,
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Locked => {
                Self::Failed { what: "the database is locked by another".to_owned(), is_transient: true, source: None }
            }
            Failure::Final(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let said = match &error {
            rusqlite::Error::SqliteFailure(_, said) => said.clone().unwrap_or_default(),
            // Its own words without the statement.
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            rusqlite::Error::MultipleStatement => "only one statement is run at a time".to_owned(),
            _ => String::new(),
        };
        let invalid = |said: String| Self::Final(Error::Invalid(said));
        let failed = |what: &str| {
            let source = Some(Box::from(error.to_string()));
            Self::Final(Error::Failed { what: what.to_owned(), is_transient: false, source })
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::OperationInterrupted) => Self::Final(Error::TimedOut),
            Some(ErrorCode::OutOfMemory) => Self::Final(Error::TooLarge(
                "the statement takes too much memory, or is made of too many levels".to_owned(),
            )),
            Some(ErrorCode::TooBig) => Self::Final(Error::TooLarge("a value of the statement is too long".to_owned())),
            Some(ErrorCode::AuthorizationForStatementDenied) => {
                invalid(format!("the statement does what none may do here: {said}"))
            }
            // The mistakes that SQLite finds in a statement, and what a trigger raises.
            Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
                Self::Final(Error::Failed { what: said, is_transient: false, source: None })
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => failed("the database can't be written"),
            Some(ErrorCode::CannotOpen) => failed("the database can't be opened"),
            Some(ErrorCode::DiskFull) => failed("the database is full"),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => failed("the database is damaged"),
            Some(ErrorCode::SystemIoFailure) => failed("the database can't be read or written"),
            None if !said.is_empty() => invalid(said),
            _ => failed("the database failed"),
        }
    }
}

impl Failure {
    /// The same, where it was met on the way to the database: the statement is not to blame.
    pub(super) fn or_not_opened(self) -> Self {
        match self {
            Self::Final(Error::Invalid(said) | Error::Failed { what: said, source: None, .. }) => {
                let what = "the database can't be opened".to_owned();
                Self::Final(Error::Failed { what, is_transient: false, source: Some(said.into()) })
            }
            Self::Final(error) => Self::Final(error),
            Self::Locked => Self::Locked,
        }
    }
}

/// Ours, without a cause that SQLite tells.
pub(super) fn failed(what: &str) -> Error {
    Error::Failed { what: what.to_owned(), is_transient: false, source: None }
}

/// Binds the parameters: `$1` and `?1` by their number, `?` by its place.
pub(super) fn bind(statement: &mut Statement<'_>, params: &[Param<'_>]) -> Result<(), Failure> {
    let mut numbers = Vec::with_capacity(statement.parameter_count());
    let (mut dollars, mut others) = (false, false);
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            None => index,
            Some(name) if name.starts_with('?') => index,
            Some(name) => {
                let number = name.strip_prefix('$').and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                number.ok_or_else(|| Error::Invalid("parameters are `$1`, `?1` or `?`, not names".to_owned()))?
            }
        };
        let is_dollar = statement.parameter_name(index).is_some_and(|name| name.starts_with('$'));
        dollars |= is_dollar;
        others |= !is_dollar;
        numbers.push(number);
    }
    if dollars && others {
        return Err(Error::Invalid("parameters are either `$1` or `?`, not both".to_owned()).into());
    }
    let needed = numbers.iter().copied().max().unwrap_or(0);
    if needed != params.len() {
        return Err(Error::wrong_count(needed, params.len()).into());
    }
    for (index, number) in numbers.into_iter().enumerate() {
        if let Some(param) = params.get(number - 1) {
            statement.raw_bind_parameter(index + 1, Bound::new(param)?)?;
        }
    }
    Ok(())
}

/// A parameter as SQLite has it.
struct Bound<'a>(ValueRef<'a>);

impl<'a> Bound<'a> {
    fn new(param: &'a Param<'_>) -> Result<Self, Error> {
        Ok(Self(match param {
            Param::Null => ValueRef::Null,
            Param::Boolean(boolean) => ValueRef::Integer((*boolean).into()),
            Param::Number(text) => number(text)?,
            Param::Text(text) => ValueRef::Text(text.as_bytes()),
            Param::Json(json) => ValueRef::Text(json.as_bytes()),
        }))
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// An integer where it is written as one, else the nearest double.
fn number(text: &str) -> Result<ValueRef<'static>, Error> {
    if !text.contains(['.', 'e', 'E']) {
        let integer = text.parse().map(ValueRef::Integer);
        return integer.map_err(|_| Error::Invalid("a parameter is past 64 bits: pass it as a string".to_owned()));
    }
    let float = text.parse().ok().filter(|float: &f64| float.is_finite());
    float.map(ValueRef::Real).ok_or_else(|| Error::Invalid("a parameter is past a double".to_owned()))
}

/// Writes a value by how it is stored, not by what its column is declared.
pub(super) fn write(value: rusqlite::Result<ValueRef<'_>>, json: &mut Json) -> Result<(), Error> {
    match value.map_err(|error| Error::from(Failure::from(error)))? {
        ValueRef::Null => json.null(),
        ValueRef::Integer(integer) => json.integer(integer.into()),
        ValueRef::Real(real) => json.float(real),
        // SQLite keeps any bytes as text.
        ValueRef::Text(text) => json.text_lossy(text),
        ValueRef::Blob(bytes) => json.bytes(bytes),
    }
    Ok(())
}
