//! What may be changed of a version after its upload: permissions and limits.
//!
//! Owns the order of check, row and snapshot. Does not own the checks (`request`).
//! Invariants: a change is whole or not there; an execution goes on with what it
//! started with, since it holds the revision of that moment.

use std::sync::Arc;

use super::service::{about, blocking, in_task, revised};
use super::{Error, Registry, request};
use crate::model::{AuditEntry, Limits, Module, ModuleRef, Permission};

impl Registry {
    /// Replaces the permissions of one version, and gives the module as it is then. Its warnings of imports
    /// that no permission allows are made anew, and `audit` is its row. A caller that leaves in the middle
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with paths such as `/0/resource`; [`Error::NotFound`].
    pub async fn replace_permissions(
        self: &Arc<Self>,
        reference: &ModuleRef,
        permissions: Vec<Permission>,
        audit: AuditEntry,
    ) -> Result<Arc<Module>, Error> {
        // The longest list takes a moment to compile.
        let permissions = blocking(move || match request::check_permissions("", &permissions) {
            mistakes if mistakes.is_empty() => Ok(permissions),
            mistakes => Err(Error::BadRequest(mistakes)),
        })
        .await?;
        let (registry, reference) = (Arc::clone(self), reference.clone());
        in_task(&self.parts.changes, async move {
            let _row_and_snapshot = registry.rows.lock().await;
            let revision = registry.find(&reference)?;
            let old = &revision.module;
            let mut warnings = old.warnings.clone();
            let outdated = request::warnings(&old.imports, &old.permissions);
            warnings.retain(|warning| !outdated.contains(warning));
            warnings.extend(request::warnings(&old.imports, &permissions));
            let audit = about(old, audit);
            if !registry.parts.store.replace_permissions(old.id, &permissions, &warnings, &audit).await? {
                return Err(Error::NotFound(reference));
            }
            let module = Module { permissions, warnings, ..Module::clone(old) };
            Ok(registry.show(revised(&registry.parts, &revision, module)))
        })
        .await
    }

    /// Replaces the own limits of one version, with `audit` as its row, and gives the module as it is then. A
    /// caller that leaves in the middle changes nothing.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with paths such as `/fuel`; [`Error::NotFound`].
    pub async fn replace_limits(
        self: &Arc<Self>,
        reference: &ModuleRef,
        limits: Limits,
        audit: AuditEntry,
    ) -> Result<Arc<Module>, Error> {
        let mistakes = request::check_limits("", &limits, &self.parts.limits);
        if !mistakes.is_empty() {
            return Err(Error::BadRequest(mistakes));
        }
        let (registry, reference) = (Arc::clone(self), reference.clone());
        in_task(&self.parts.changes, async move {
            let _row_and_snapshot = registry.rows.lock().await;
            let revision = registry.find(&reference)?;
            let audit = about(&revision.module, audit);
            if !registry.parts.store.replace_limits(revision.module.id, &limits, &audit).await? {
                return Err(Error::NotFound(reference));
            }
            let module = Module { limits, ..Module::clone(&revision.module) };
            Ok(registry.show(revised(&registry.parts, &revision, module)))
        })
        .await
    }
}
