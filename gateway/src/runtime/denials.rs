//! What an execution tried and may not.
//!
//! Owns the check of a host call against the permissions of its module, and what is told of one that is
//! denied: counted always, logged and recorded once each. Invariant: what is checked is what is then done;
//! the text that names the missing permission covers that and nothing else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Call;
use crate::clock::Clock;
use crate::model::{Denial, ExecutionId, Module, PermissionKind, PermissionSet};
use crate::telemetry::ModuleMetrics;

/// Different denials of one execution that are logged and recorded: a person mends the first few and tries
/// again; a step that walks through the world is not to fill the log with it.
const DENIALS_MAX: usize = 32;

/// The denials of one execution, each once, in their order, over whichever interface it asked. A clone is the same.
#[derive(Clone)]
pub(super) struct Denials(Arc<Asker>);

/// Who asks, and what was denied to it until now.
struct Asker {
    module: Arc<Module>,
    permissions: Arc<PermissionSet>,
    metrics: ModuleMetrics,
    execution_id: ExecutionId,
    clock: Clock,
    /// `None` once they were recorded: what is denied to a request that outlives its execution is only counted.
    known: Mutex<Option<Vec<(Timestamp, Denial)>>>,
}

impl Denials {
    pub(super) fn of(call: &Call, clock: &Clock) -> Self {
        Self(Arc::new(Asker {
            module: Arc::clone(&call.module),
            permissions: Arc::clone(&call.permissions),
            metrics: call.metrics.clone(),
            execution_id: call.execution_id,
            clock: clock.clone(),
            known: Mutex::new(Some(Vec::new())),
        }))
    }

    /// Whether the module may do this; `resource` is in normal form.
    ///
    /// # Errors
    /// The permission that it would need.
    pub(super) fn check(&self, kind: PermissionKind, resource: &str) -> Result<(), Denial> {
        if self.0.permissions.allows(kind, resource) {
            return Ok(());
        }
        Err(self.deny(Denial::of(kind, resource), "none of its permissions covers it"))
    }

    /// Tells of a denial whatever the permissions say: the operator has closed what they would open.
    pub(super) fn deny(&self, denial: Denial, why: &'static str) -> Denial {
        let asker = &*self.0;
        asker.metrics.permission_denied(denial.permission);
        if self.is_new(&denial) {
            tracing::warn!(
                module = %asker.module.name,
                version = %asker.module.version,
                execution_id = %asker.execution_id,
                permission = denial.permission.as_str(),
                resource = denial.resource,
                why,
                "a step was denied something"
            );
        }
        denial
    }

    /// Keeps it where it is.
    fn is_new(&self, denial: &Denial) -> bool {
        let mut known = self.known();
        let Some(known) = &mut *known else { return false };
        let is_new = known.len() < DENIALS_MAX && known.iter().all(|(_, known)| known != denial);
        if is_new {
            known.push((self.0.clock.now(), denial.clone()));
        }
        is_new
    }

    /// All of them, with their times.
    pub(super) fn finish(&self) -> Vec<(Timestamp, Denial)> {
        self.known().take().unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, Option<Vec<(Timestamp, Denial)>>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
