//! Prometheus metrics.

use crate::error::Code;
use crate::model::{ModuleName, PermissionKind, Status};

/// All metric families of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {}

/// The handles of one module version, resolved once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModuleMetrics {}

/// What an operator should be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityAlert {
    /// Stored bytes did not have their digest.
    Integrity,
    /// A compiled artefact on disk did not have its HMAC.
    Artifact,
}

impl Metrics {
    /// New families, all at zero.
    pub fn new() -> Self {
        todo!()
    }
    /// The handles of a version.
    pub fn module(&self, _name: &ModuleName, _version: &semver::Version) -> ModuleMetrics {
        todo!()
    }
    /// Forgets a version that was deleted.
    pub fn forget_module(&self, _name: &ModuleName, _version: &semver::Version) {}
    /// The text that `/metrics` answers.
    pub fn encode(&self) -> String {
        todo!()
    }
    /// Counts an answer by its status class and route group.
    pub fn request_answered(&self, _status: u16) {}
    /// Counts a refusal for want of a slot.
    pub fn overloaded(&self) {}
    /// An artefact was found in the cache.
    pub fn cache_hit(&self) {}
    /// An artefact had to be mapped or compiled.
    pub fn cache_miss(&self) {}
    /// What the cache holds now.
    pub fn cache_holds(&self, _modules: usize, _bytes: u64) {}
    /// Instances that run now.
    pub fn instances(&self, _running: i64) {}
    /// A component was compiled.
    pub fn compiled(&self, _seconds: f64) {}
    /// A compiled component was loaded (mapped, or fetched and compiled).
    pub fn loaded(&self, _seconds: f64) {}
    /// Execution records that were dropped because the queue was full or the store failed.
    pub fn records_dropped(&self, _count: u64) {}
    /// An operator should look.
    pub fn security_alert(&self, _alert: SecurityAlert) {}
}

impl ModuleMetrics {
    /// An execution ended.
    pub fn execution_ended(
        &self,
        _status: Status,
        _code: Option<Code>,
        _duration_us: u64,
        _fuel: Option<u64>,
        _memory_bytes: u64,
    ) {
    }
    /// A host call was denied for want of a permission.
    pub fn permission_denied(&self, _kind: PermissionKind) {}
    /// Log lines over the bounds.
    pub fn log_lines_dropped(&self, _count: u64) {}
}
