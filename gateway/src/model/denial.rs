//! What a module tried and may not, as it is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExecutionId, PermissionKind};

/// A denial of one module, and how often there was the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "permission": "http:read", "resource": "https://api.example.com/orders/17", "count": 12,
    "first_at": "2026-01-31T12:00:00Z", "last_at": "2026-02-01T09:30:00Z",
    "execution_id": "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d",
}))]
pub struct RecordedDenial {
    /// What kind of thing it tried.
    pub permission: PermissionKind,
    /// On what: the resource of a permission that allows it, and nothing else.
    pub resource: String,
    /// Executions in which it was denied.
    pub count: u64,
    /// When the first of them started.
    pub first_at: Timestamp,
    /// When the last of them started.
    pub last_at: Timestamp,
    /// The last of them.
    pub execution_id: ExecutionId,
}
