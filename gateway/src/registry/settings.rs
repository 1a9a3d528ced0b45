//! What may be changed of a version after its upload: permissions and limits.
//!
//! Owns the order of check, row and snapshot. Does not own the checks (`request`).
//! Invariants: a change is whole or not there; an execution goes on with what it
//! started with, since it holds the revision of that moment.

use std::sync::Arc;

use super::service::in_task;
use super::{Error, Registry, request};
use crate::model::{Limits, Module, ModuleRef, Permission};

impl Registry {
    /// Replaces the permissions of one version, and gives the module as it is then. Its warnings of imports
    /// that no permission allows are made anew. A caller that leaves in the middle changes nothing.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with paths such as `/0/resource`; [`Error::NotFound`].
    pub async fn replace_permissions(
        self: &Arc<Self>,
        reference: &ModuleRef,
        permissions: Vec<Permission>,
    ) -> Result<Arc<Module>, Error> {
        let mistakes = request::check_permissions("", &permissions);
        if !mistakes.is_empty() {
            return Err(Error::BadRequest(mistakes));
        }
        let (registry, reference) = (Arc::clone(self), reference.clone());
        in_task(async move {
            let _row_and_snapshot = registry.rows.lock().await;
            let old = registry.module_of(&reference)?;
            let mut warnings = old.warnings.clone();
            let outdated = request::warnings(&old.imports, &old.permissions);
            warnings.retain(|warning| !outdated.contains(warning));
            warnings.extend(request::warnings(&old.imports, &permissions));
            if !registry.parts.store.replace_permissions(old.id, &permissions, &warnings).await? {
                return Err(Error::NotFound(reference));
            }
            Ok(registry.show(Module { permissions, warnings, ..Module::clone(&old) }))
        })
        .await
    }

    /// Replaces the own limits of one version, and gives the module as it is then. A caller that leaves in
    /// the middle changes nothing.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with paths such as `/fuel`; [`Error::NotFound`].
    pub async fn replace_limits(self: &Arc<Self>, reference: &ModuleRef, limits: Limits) -> Result<Arc<Module>, Error> {
        let mistakes = request::check_limits("", &limits, &self.parts.limits);
        if !mistakes.is_empty() {
            return Err(Error::BadRequest(mistakes));
        }
        let (registry, reference) = (Arc::clone(self), reference.clone());
        in_task(async move {
            let _row_and_snapshot = registry.rows.lock().await;
            let old = registry.module_of(&reference)?;
            if !registry.parts.store.replace_limits(old.id, &limits).await? {
                return Err(Error::NotFound(reference));
            }
            Ok(registry.show(Module { limits, ..Module::clone(&old) }))
        })
        .await
    }

    fn module_of(&self, reference: &ModuleRef) -> Result<Arc<Module>, Error> {
        self.find(reference).map(|revision| Arc::clone(&revision.module))
    }
}
