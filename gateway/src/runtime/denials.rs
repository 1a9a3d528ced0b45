//! What an execution tried and may not.
//!
//! Owns the check of a host call against the permissions of its module, and what is told of one that is
//! denied: counted always, logged and recorded once each. Invariant: what is checked is what is then done;
//! the text that names the missing permission covers that and nothing else.

use jiff::Timestamp;

use super::Call;
use crate::clock::Clock;
use crate::model::{Denial, ExecutionId, Module, PermissionKind, PermissionSet};
use crate::telemetry::ModuleMetrics;

/// Different denials of one execution that are logged and recorded: a person mends the first few and tries
/// again; a step that walks through the world is not to fill the log with it.
const DENIALS_MAX: usize = 32;

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) module: &'a Module,
    pub(super) permissions: &'a PermissionSet,
    pub(super) metrics: &'a ModuleMetrics,
    pub(super) execution_id: ExecutionId,
}

impl<'a> Asker<'a> {
    pub(super) fn of(call: &'a Call) -> Self {
        Self {
            module: &call.module,
            permissions: &call.permissions,
            metrics: &call.metrics,
            execution_id: call.execution_id,
        }
    }
}

/// The denials of one execution, each once, in their order.
#[derive(Debug, Default)]
pub(super) struct Denials(Vec<(Timestamp, Denial)>);

impl Denials {
    /// Whether the module may do this; `resource` is in normal form.
    ///
    /// # Errors
    /// The permission that it would need.
    pub(super) fn check(
        &mut self,
        asker: Asker<'_>,
        kind: PermissionKind,
        resource: &str,
        clock: &Clock,
    ) -> Result<(), Denial> {
        if asker.permissions.allows(kind, resource) {
            return Ok(());
        }
        Err(self.deny(asker, Denial::of(kind, resource), "none of its permissions covers it", clock))
    }

    /// Tells of a denial whatever the permissions say: the operator has closed what they would open.
    pub(super) fn deny(&mut self, asker: Asker<'_>, denial: Denial, why: &'static str, clock: &Clock) -> Denial {
        asker.metrics.permission_denied(denial.permission);
        let is_known = self.0.iter().any(|(_, known)| *known == denial);
        if !is_known && self.0.len() < DENIALS_MAX {
            tracing::warn!(
                module = %asker.module.name,
                version = %asker.module.version,
                execution_id = %asker.execution_id,
                permission = denial.permission.as_str(),
                resource = denial.resource,
                why,
                "a step was denied something"
            );
            self.0.push((clock.now(), denial.clone()));
        }
        denial
    }

    /// Those of both.
    pub(super) fn join(&mut self, other: Self) {
        for (at, denial) in other.0 {
            if self.0.len() < DENIALS_MAX && self.0.iter().all(|(_, known)| *known != denial) {
                self.0.push((at, denial));
            }
        }
    }

    /// All of them, with their times.
    pub(super) fn finish(&mut self) -> Vec<(Timestamp, Denial)> {
        std::mem::take(&mut self.0)
    }
}
