//! `sluice:step/db`: one statement on a database that the operator has named.
//!
//! Owns what a step is told. Does not connect (`database`). Invariant: the permission comes first, so that a
//! step learns nothing of databases that it may not use, not even their names.

use super::call::HostCall;
use crate::circuit::{Key, Permit};
use crate::config::DATABASE_NAME_BYTES_MAX;
use crate::database::{Error, Statement};
use crate::model::{Denial, ModuleName, PermissionKind};
use crate::runtime::bindings::sluice::step::db::Host;
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::outside::Outside;
use crate::runtime::state::State;

impl Host for State {
    async fn query(&mut self, connection: String, sql: String, params: String) -> Result<String, HostError> {
        let call = HostCall::begin(self, "db.query")?;
        let answer = match self.outside.stand_in.clone() {
            Some(stand_in) => self
                .permit(PermissionKind::DatabaseRead, &connection)
                .and_then(|()| stand_in.query(&connection, &sql, &params)),
            None => self.query(&connection, Statement { sql: &sql, params: &params }).await,
        };
        call.end(answer)
    }

    async fn execute(&mut self, connection: String, sql: String, params: String) -> Result<u32, HostError> {
        let call = HostCall::begin(self, "db.execute")?;
        let answer = match self.outside.stand_in.clone() {
            Some(stand_in) => self
                .permit(PermissionKind::DatabaseWrite, &connection)
                .and_then(|()| stand_in.execute(&connection, &sql, &params)),
            None => self.execute(&connection, Statement { sql: &sql, params: &params }).await,
        };
        call.end(answer)
    }
}

impl State {
    async fn query(&mut self, name: &str, statement: Statement<'_>) -> Result<String, HostError> {
        self.permit(PermissionKind::DatabaseRead, name)?;
        let deadline = self.call_deadline();
        let Self { outside, database_caller, call, .. } = self;
        let caller = database_caller.get_or_insert_with(|| outside.databases.caller());
        let permit = circuit(outside, &call.module.name, name)?;
        let rows = outside.databases.query(name, statement, deadline, caller).await;
        settle(permit, &rows);
        rows.map_err(|error| self.database_error(name, error))
    }

    async fn execute(&mut self, name: &str, statement: Statement<'_>) -> Result<u32, HostError> {
        self.permit(PermissionKind::DatabaseWrite, name)?;
        let deadline = self.call_deadline();
        let Self { outside, database_caller, call, .. } = self;
        let caller = database_caller.get_or_insert_with(|| outside.databases.caller());
        let permit = circuit(outside, &call.module.name, name)?;
        let changed = outside.databases.execute(name, statement, deadline, caller).await;
        settle(permit, &changed);
        // The interface tells no more.
        changed
            .map(|changed| u32::try_from(changed).unwrap_or(u32::MAX))
            .map_err(|error| self.database_error(name, error))
    }

    fn permit(&self, kind: PermissionKind, name: &str) -> Result<(), HostError> {
        check_name(name)?;
        self.denials.check(kind, name).map_err(|denial| HostError::PermissionDenied(denial.to_string()))
    }

    fn database_error(&mut self, name: &str, error: Error) -> HostError {
        let text = error.to_string();
        match error {
            Error::Unknown => HostError::NotFound(format!("there is no database {name}")),
            Error::ReadOnly => {
                let why = "the operator has opened it for reading only";
                let denial = self.denials.deny(Denial::of(PermissionKind::DatabaseWrite, name), why);
                HostError::PermissionDenied(format!("{denial} ({why})"))
            }
            Error::Invalid(_) => HostError::InvalidArgument(text),
            Error::TooLarge(_) => HostError::LimitExceeded(text),
            Error::TimedOut => HostError::TimedOut(text),
            Error::Failed { source, is_transient, .. } => {
                let (module, execution_id) = (&self.call.module.name, self.call.execution_id);
                match source {
                    // Once an execution: a step may try ten thousand times.
                    Some(cause) if !self.has_told_of_databases => {
                        self.has_told_of_databases = true;
                        tracing::warn!(%module, %execution_id, database = name, %cause, "{text}");
                    }
                    _ => tracing::debug!(%module, %execution_id, database = name, is_transient, "{text}"),
                }
                HostError::Failed(text)
            }
        }
    }
}

/// Whether the database is left alone.
fn circuit(outside: &Outside, module: &ModuleName, name: &str) -> Result<Permit, HostError> {
    let permit = outside.circuits.ask_for_module(module, &Key::database(name));
    permit.map_err(|open| HostError::Failed(open.to_string()))
}

/// A statement that takes too long is the step's own doing.
fn settle<T>(permit: Permit, went: &Result<T, Error>) {
    match went {
        Ok(_) => permit.succeeded(),
        Err(error) if error.is_unavailable() => permit.failed(),
        Err(_) => drop(permit),
    }
}

/// Before it is matched with anything: a guest may pass megabytes.
fn check_name(name: &str) -> Result<(), HostError> {
    if name.len() <= DATABASE_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(HostError::InvalidArgument(format!("the name of a database has at most {DATABASE_NAME_BYTES_MAX} bytes")))
}
