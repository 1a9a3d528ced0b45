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
    /// A request was not let through: its key, its role, its rate, or stored bytes that were changed.
    pub const REQUEST: &str = "request";
    /// Stored bytes, compiled code or a signature were not what they should be, whoever came upon it.
    pub const SECURITY_ALERT: &str = "security.alert";
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Later ones are greater.
    pub id: AuditId,
    /// When; of several refusals in one row the first.
    pub at: Timestamp,
    /// The name of the key; `None` where nobody proved to be anybody, or the gateway did it by itself.
    pub actor: Option<String>,
    /// One of [`action`]'s.
    pub action: Cow<'static, str>,
    /// What it was done to: `order-rules@1.2.0`, a key's id, a path.
    pub resource: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// More, by action: never a key, a body or a secret.
    pub detail: Map<String, Value>,
    /// The request, where there was one.
    pub request_id: Option<String>,
    /// Where it came from, where it came from somewhere.
    pub address: Option<String>,
}

impl AuditEntry {
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
