//! What requests are resolved in: immutable, swapped when something changes.
//!
//! Owns the way from a reference to a version. Does not own the modules' truth
//! (`store`). Invariant: the versions of a name are sorted, newest first, and
//! every version is found by its id too.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use semver::Version;

use super::trust::{Refusal, Trust};
use crate::model::{EffectiveLimits, Module, ModuleId, ModuleName, ModuleRef, PermissionSet};
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
    pub(super) trusted: Trusted,
    /// Made at the first call: most of many versions are never called.
    pub(super) permissions: OnceLock<Arc<PermissionSet>>,
}

/// Whether a version may run. Neither its signature nor the configuration changes, so it is asked once,
/// whatever else becomes of it. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Trusted {
    trust: Trust,
    answer: Arc<OnceLock<Result<(), Refusal>>>,
}

impl Trusted {
    pub(super) fn by(trust: Trust) -> Self {
        Self { trust, answer: Arc::default() }
    }
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trusted").field(&self.answer).finish()
    }
}

impl Revision {
    /// Whether it is signed as the operator asks, which was asked at upload by the
    /// configuration of then. To be called before its code is loaded: the first call
    /// checks the signature (some 50 µs), the others look at a flag.
    pub fn verify(&self) -> Result<(), &Refusal> {
        let answer = self.trusted.answer.get_or_init(|| self.trusted.trust.check_stored(&self.module));
        answer.as_ref().copied()
    }

    /// What it may do. The first call compiles the module's permissions, the others look at a flag. A list that
    /// an earlier version took and this one can't compile allows nothing, and is told once.
    pub fn permission_set(&self) -> &Arc<PermissionSet> {
        self.permissions.get_or_init(|| match PermissionSet::new(&self.module.permissions) {
            Ok(set) => Arc::new(set),
            Err(error) => {
                let Module { name, version, .. } = &*self.module;
                tracing::error!(
                    module = %name, %version, %error,
                    "the stored permissions can't be compiled, so everything is denied; replace them"
                );
                Arc::default()
            }
        })
    }

    /// Whether all that [`verify`](Self::verify) looks at is the same in `module`.
    pub(super) fn is_signed_as(&self, module: &Module) -> bool {
        let signed = |module: &Module| {
            let Module { name, version, sha256, signature, created_at, .. } = module;
            (name.clone(), version.clone(), *sha256, signature.clone(), *created_at)
        };
        signed(&self.module) == signed(module)
    }
}

/// All modules.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    names: HashMap<ModuleName, Versions>,
    ids: HashMap<ModuleId, Arc<Revision>>,
}

/// The versions of one name.
#[derive(Debug, Clone, Default)]
struct Versions {
    /// Newest first.
    sorted: Vec<Arc<Revision>>,
    /// The first that is not a pre-release: what most requests ask for.
    newest: Option<Arc<Revision>>,
}

/// The hyphenated form of a UUID; a text of this length that is one is an id.
const ID_LENGTH: usize = 36;

impl Snapshot {
    /// A snapshot of these revisions.
    pub(super) fn of(revisions: impl IntoIterator<Item = Arc<Revision>>) -> Self {
        let mut snapshot = Self::default();
        for revision in revisions {
            snapshot.insert(revision);
        }
        snapshot
    }

    /// This snapshot with one more revision; the others are shared with it.
    pub(super) fn with(&self, revision: Arc<Revision>) -> Self {
        let mut next = self.clone();
        next.insert(revision);
        next
    }

    /// This snapshot without one revision; the others are shared with it.
    #[must_use]
    pub fn without(&self, id: ModuleId) -> Self {
        let mut next = self.clone();
        if let Some(gone) = next.ids.remove(&id)
            && let Some(versions) = next.names.get_mut(&gone.module.name)
        {
            versions.remove(id);
            if versions.sorted.is_empty() {
                next.names.remove(&gone.module.name);
            }
        }
        next
    }

    fn insert(&mut self, revision: Arc<Revision>) {
        self.ids.insert(revision.module.id, Arc::clone(&revision));
        self.names.entry(revision.module.name.clone()).or_default().insert(revision);
    }

    /// The version that `reference` means now.
    #[must_use]
    pub fn resolve(&self, reference: &ModuleRef) -> Option<&Arc<Revision>> {
        match reference {
            ModuleRef::Id(id) => self.ids.get(id),
            ModuleRef::Newest(name) => self.names.get(name)?.newest.as_ref(),
            ModuleRef::Exact(name, version) => self.names.get(name)?.exact(version),
            ModuleRef::Matching(name, requirement) => {
                self.names.get(name)?.sorted.iter().find(|revision| requirement.matches(&revision.module.version))
            }
        }
    }

    /// The same for the text in a path; text that is no reference resolves to nothing.
    ///
    /// On the way of every request: a plain name or an id costs a look-up and no allocation.
    #[must_use]
    pub fn resolve_text(&self, reference: &str) -> Option<&Arc<Revision>> {
        if reference.contains('@') {
            return self.resolve(&reference.parse().ok()?);
        }
        if reference.len() == ID_LENGTH
            && let Ok(id) = reference.parse()
        {
            return self.ids.get(&id);
        }
        self.names.get(reference)?.newest.as_ref()
    }

    /// The version with exactly this name and version.
    #[must_use]
    pub fn find(&self, name: &ModuleName, version: &Version) -> Option<&Arc<Revision>> {
        self.names.get(name)?.exact(version)
    }

    /// Every version, in no order.
    pub fn revisions(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.ids.values()
    }
}

impl Versions {
    /// Builds count: `1.0.0+a` and `1.0.0+b` are two versions.
    fn exact(&self, version: &Version) -> Option<&Arc<Revision>> {
        let at = self.sorted.binary_search_by(|revision| version.cmp(&revision.module.version)).ok()?;
        self.sorted.get(at)
    }

    fn insert(&mut self, revision: Arc<Revision>) {
        let version = &revision.module.version;
        match self.sorted.binary_search_by(|other| version.cmp(&other.module.version)) {
            Ok(at) => {
                if let Some(slot) = self.sorted.get_mut(at) {
                    *slot = revision;
                }
            }
            Err(at) => self.sorted.insert(at, revision),
        }
        self.choose_newest();
    }

    fn remove(&mut self, id: ModuleId) {
        self.sorted.retain(|revision| revision.module.id != id);
        self.choose_newest();
    }

    fn choose_newest(&mut self) {
        self.newest = self.sorted.iter().find(|revision| revision.module.version.pre.is_empty()).cloned();
    }
}

#[cfg(test)]
mod tests;
