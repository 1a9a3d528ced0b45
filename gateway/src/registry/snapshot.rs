//! What requests are resolved in: immutable, swapped when something changes.

use std::sync::Arc;

use crate::model::{EffectiveLimits, Module, ModuleRef};
use crate::telemetry::ModuleMetrics;

/// One version, with what was worked out once for all its executions.
#[derive(Debug)]
pub struct Revision {
    /// The module as it is shown.
    pub module: Arc<Module>,
    /// The operator's limits, lowered by the module's own.
    pub limits: EffectiveLimits,
    /// Its counters.
    pub metrics: ModuleMetrics,
}

/// All modules.
#[derive(Debug, Default)]
pub struct Snapshot {}

impl Snapshot {
    /// The version that `reference` means now.
    #[must_use]
    pub fn resolve(&self, _reference: &ModuleRef) -> Option<&Arc<Revision>> {
        None
    }
    /// The same for the text in a path; text that is no reference resolves to nothing.
    #[must_use]
    pub fn resolve_text(&self, _reference: &str) -> Option<&Arc<Revision>> {
        None
    }
}
