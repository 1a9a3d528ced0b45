//! `sluice:step/db`: denied until there are connections that steps may name.

use super::call::HostCall;
use crate::model::PermissionKind;
use crate::runtime::bindings::sluice::step::db::Host;
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;

/// How much of a guest's connection name is repeated to it.
const NAME_SHOWN_MAX: usize = 100;

impl Host for State {
    async fn query(&mut self, connection: String, _sql: String, _params: String) -> Result<String, HostError> {
        let call = HostCall::begin(self, "db.query")?;
        call.end(Err(self.deny_database(PermissionKind::DatabaseRead, &connection)))
    }

    async fn execute(&mut self, connection: String, _sql: String, _params: String) -> Result<u32, HostError> {
        let call = HostCall::begin(self, "db.execute")?;
        call.end(Err(self.deny_database(PermissionKind::DatabaseWrite, &connection)))
    }
}

impl State {
    fn deny_database(&mut self, kind: PermissionKind, connection: &str) -> HostError {
        let name: String = connection.chars().take(NAME_SHOWN_MAX).collect();
        self.deny(kind, &name);
        HostError::PermissionDenied(format!("{} {name}", kind.as_str()))
    }
}
