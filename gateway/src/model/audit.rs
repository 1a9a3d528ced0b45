//! What was changed or refused, by whom and when.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AuditId;

/// The words of [`AuditEntry::action`]: what was done, or asked for.
pub mod action {
    /// A key was made.
    pub const KEY_CREATE: &str = "key.create";
    /// A key was deleted.
    pub const KEY_DELETE: &str = "key.delete";
    /// A version was uploaded.
    pub const MODULE_UPLOAD: &str = "module.upload";
    /// A version was deleted.
    pub const MODULE_DELETE: &str = "module.delete";
    /// A version's permissions were replaced.
    pub const MODULE_PERMISSIONS: &str = "module.permissions";
    /// A version's limits were replaced.
    pub const MODULE_LIMITS: &str = "module.limits";
    /// A job's definition was saved.
    pub const JOB_SAVE: &str = "job.save";
    /// A job was deleted.
    pub const JOB_DELETE: &str = "job.delete";
    /// A run was to end.
    pub const RUN_CANCEL: &str = "run.cancel";
    /// A run was to go on where it had failed.
    pub const RUN_RETRY: &str = "run.retry";
    /// A circuit was closed by hand.
    pub const CIRCUIT_CLOSE: &str = "circuit.close";
    /// A notification was to be sent again.
    pub const DELIVERY_REPLAY: &str = "delivery.replay";
    /// A request was not let through: its key, its role, its rate, or stored bytes that were changed.
    pub const REQUEST: &str = "request";
    /// Stored bytes, compiled code or a signature were not what they should be, whoever came upon it.
    pub const SECURITY_ALERT: &str = "security.alert";
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

impl AuditOutcome {
    /// The outcome as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d", "at": "2026-01-31T12:00:00Z", "actor": "admin", "action": "module.delete",
    "resource": "order-rules@1.2.0", "outcome": "done", "detail": {"key_id": "019ab3ef-90aa-7c11-8f02-6d1f0e9a7b35"},
    "request_id": "5f0c2a9d41b7e3860000000000000017", "address": "192.0.2.1",
}))]
pub struct AuditEntry {
    /// Later ones are greater.
    pub id: AuditId,
    /// When; of several refusals in one row the first.
    pub at: Timestamp,
    /// The name of the key; `None` where nobody proved to be anybody, or the gateway did it by itself.
    #[schema(required = true)]
    pub actor: Option<String>,
    /// One of [`action`]'s.
    #[schema(value_type = String)]
    pub action: Cow<'static, str>,
    /// What it was done to: `order-rules@1.2.0`, a key's id, a path.
    pub resource: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// More, by action: `key_id` is the id of the key, where one was given. Never a key, a body or a secret.
    #[schema(value_type = Object)]
    pub detail: Map<String, Value>,
    /// The request, where there was one.
    #[schema(required = true)]
    pub request_id: Option<String>,
    /// Where it came from, where it came from somewhere.
    #[schema(required = true)]
    pub address: Option<String>,
}

impl AuditEntry {
    /// The member of `detail` that names a key by its id.
    pub const KEY_ID: &'static str = "key_id";

    /// Something that the gateway did by itself.
    #[must_use]
    pub fn by_gateway(at: Timestamp, action: &'static str, resource: impl Into<String>) -> Self {
        Self {
            id: AuditId::generate(),
            at,
            actor: None,
            action: Cow::Borrowed(action),
            resource: resource.into(),
            outcome: AuditOutcome::Done,
            detail: Map::new(),
            request_id: None,
            address: None,
        }
    }

    /// The same, refused.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.outcome = AuditOutcome::Refused;
        self
    }

    /// With one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}
