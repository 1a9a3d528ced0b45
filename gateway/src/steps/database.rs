//! An attempt at a database step: one statement, under the operator's permissions.
//!
//! Owns what an answer becomes. Does not connect (`database`). Invariant: the permission comes first.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::http::deadline;
use super::permissions::denied;
use super::{Inner, again, failed, parked};
use crate::circuit::{Key, Permit};
use crate::database::{Error, Statement};
use crate::error::Code;
use crate::jobs::runner::{Again, Task, TaskEnd};
use crate::model::job::DatabaseMode;
use crate::model::{JsonText, PermissionKind};
use crate::runtime::Permits as _;

/// Where the step has no time of its own the database's is shorter than this.
const NO_TIMEOUT: Duration = Duration::from_hours(1);

/// What is asked.
pub(super) struct Asked {
    pub(super) connection: String,
    pub(super) mode: DatabaseMode,
    pub(super) sql: String,
    pub(super) params: Vec<Value>,
}

#[derive(Serialize)]
struct Rows {
    rows: JsonText,
}

#[derive(Serialize)]
struct Changed {
    changed: u64,
}

pub(super) async fn run(inner: &Inner, task: &Task, asked: Asked) -> TaskEnd {
    let name = asked.connection.as_str();
    let kind = match asked.mode {
        DatabaseMode::Query => PermissionKind::DatabaseRead,
        DatabaseMode::Execute => PermissionKind::DatabaseWrite,
    };
    if let Err(denial) = inner.allowed.check(kind, name) {
        return denied(&denial);
    }
    let permit = match inner.circuits().ask(&Key::database(name)) {
        Ok(permit) => permit,
        Err(open) => return parked(open),
    };
    let databases = inner.outside.databases();
    let params = JsonText::of(&asked.params);
    let statement = Statement { sql: &asked.sql, params: params.as_str() };
    let deadline = deadline(task.timeout.unwrap_or(NO_TIMEOUT));
    let mut caller = databases.caller();
    let answer = match asked.mode {
        DatabaseMode::Query => databases
            .query(name, statement, deadline, &mut caller)
            .await
            .map(|rows| JsonText::parse(&rows).map(|rows| JsonText::of(&Rows { rows }))),
        DatabaseMode::Execute => databases
            .execute(name, statement, deadline, &mut caller)
            .await
            .map(|changed| Ok(JsonText::of(&Changed { changed }))),
    };
    settle(permit, &answer);
    match answer {
        Ok(Ok(output)) => inner.completed(output),
        Ok(Err(_)) => failed(Code::BadOutput.as_str(), "the rows have values that JSON does not", Again::Never),
        Err(error) => of_error(name, &error),
    }
}

/// A database that is too slow for many is one that fails.
fn settle<T>(permit: Permit, went: &Result<T, Error>) {
    match went {
        Ok(_) => permit.succeeded(),
        Err(Error::TimedOut) => permit.failed(),
        Err(error) if error.is_unavailable() => permit.failed(),
        Err(_) => drop(permit),
    }
}

fn of_error(name: &str, error: &Error) -> TaskEnd {
    let (code, again) = again::of_database(error);
    if let Error::Failed { source: Some(cause), .. } = error {
        tracing::warn!(database = name, %cause, "{error}");
    }
    let message = match error {
        Error::Unknown => format!("there is no database {name}"),
        Error::ReadOnly => format!("the operator has opened the database {name} for reading only"),
        Error::Invalid(_) | Error::TooLarge(_) | Error::TimedOut | Error::Failed { .. } => error.to_string(),
    };
    failed(code, message, again)
}
