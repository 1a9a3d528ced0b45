//! What the operator allows jobs, of `[jobs] permissions`.

use crate::jobs::runner::{Again, TaskEnd};
use crate::model::{Denial, Permission, PermissionKind, PermissionSet};
use crate::runtime::Permits;

/// The code of what is denied.
pub(super) const DENIED: &str = "permission-denied";

/// The permissions, ready to be asked.
#[derive(Debug)]
pub(super) struct Allowed(PermissionSet);

impl Allowed {
    /// A list that the configuration took; one that can't be compiled allows nothing, and is told.
    pub(super) fn new(permissions: &[Permission]) -> Self {
        Self(PermissionSet::new(permissions).unwrap_or_else(|error| {
            tracing::error!(%error, "[jobs] permissions can't be compiled, so everything is denied");
            PermissionSet::default()
        }))
    }
}

impl Permits for Allowed {
    fn check(&self, kind: PermissionKind, resource: &str) -> Result<(), Denial> {
        if self.0.allows(kind, resource) {
            return Ok(());
        }
        let denial = Denial::of(kind, resource);
        let (permission, resource) = (denial.permission.as_str(), &denial.resource);
        tracing::warn!(permission, resource, "a job was denied something");
        Err(denial)
    }
}

/// What a person is told who may add it.
pub(super) fn denial_message(denial: &Denial) -> String {
    format!("no permission covers it; {denial} in [jobs] permissions would")
}

/// A step that was denied something.
pub(super) fn denied(denial: &Denial) -> TaskEnd {
    super::failed(DENIED, denial_message(denial), Again::Never)
}
