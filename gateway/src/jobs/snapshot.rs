//! All jobs, as they are now.
//!
//! Owns an immutable value that is swapped when a job changes, here or on another gateway. Invariant: what was saved here is in it
//! before the save is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::definition::{Known, KnownModule};
use super::handle::KnownJob;
use super::revision::Revision;
use super::revisions::Revisions;
use crate::config::Secrets;
use crate::model::job::{Job, JobName};
use crate::model::{EffectiveLimits, ModuleRef};
use crate::registry::Registry;
use crate::store::{self, SharedStore};

/// The jobs by name. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    store: SharedStore,
    revisions: Revisions,
    known: Arc<ArcSwap<BTreeMap<JobName, Arc<KnownJob>>>>,
    /// One reads and swaps at a time, so that nobody swaps in what is older.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Jobs {
    pub(super) async fn open(store: SharedStore, revisions: Revisions) -> Result<Self, store::Error> {
        let jobs = Self { store, revisions, known: Arc::default(), turn: Arc::default() };
        jobs.reload().await?;
        Ok(jobs)
    }

    /// Reads them again; those that did not change are kept as they are.
    pub(super) async fn reload(&self) -> Result<(), store::Error> {
        let _turn = self.turn.lock().await;
        let stored = self.store.all_jobs().await?;
        let before = self.known.load();
        let mut known = BTreeMap::new();
        for job in stored {
            let same = before.get(&job.name).filter(|known| known.job.revision == job.revision);
            if let Some(job) = same.cloned().or_else(|| self.read(job)) {
                known.insert(job.job.name.clone(), job);
            }
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// A definition that another version of this program stored may not be readable: the others are.
    fn read(&self, job: Job) -> Option<Arc<KnownJob>> {
        match Revision::stored(&job.definition) {
            Ok(revision) => {
                self.revisions.insert(&job.name, job.revision, Arc::clone(&revision));
                Some(Arc::new(KnownJob { definition: revision.definition.clone(), job, revision }))
            }
            Err(error) => {
                tracing::error!(job = %job.name, error, "the stored definition of a job can't be read");
                None
            }
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<KnownJob>> {
        self.known.load().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<KnownJob>> {
        self.known.load().values().cloned().collect()
    }
}

/// What definitions may refer to.
pub(super) struct World {
    pub(super) registry: Arc<Registry>,
    pub(super) databases: BTreeSet<String>,
    pub(super) secrets: Secrets,
    pub(super) ceilings: EffectiveLimits,
}

impl Known for World {
    fn module(&self, module: &ModuleRef) -> KnownModule {
        match self.registry.snapshot().resolve(module) {
            Some(revision) => KnownModule::Found { functions: revision.module.functions.clone() },
            None => KnownModule::NotFound,
        }
    }

    fn has_database(&self, name: &str) -> bool {
        self.databases.contains(name)
    }

    fn has_secret(&self, name: &str) -> bool {
        self.secrets.has(name)
    }

    fn ceilings(&self) -> EffectiveLimits {
        self.ceilings
    }
}
