//! The audit: rows that are only ever added, and swept by age.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Error, Page, PageRequest};
use crate::model::AuditEntry;

/// What the audit is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// By this actor, exactly.
    pub actor: Option<String>,
    /// This action, exactly.
    pub action: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// Who did what.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Adds rows in one transaction. Shared, because a backend takes them to another thread.
    async fn append_audit(&self, entries: Arc<[AuditEntry]>) -> Result<(), Error>;
    /// A page of the audit, newest first (by time, then id).
    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, Error>;
}
