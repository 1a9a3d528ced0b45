//! Definitions of runs, by job and revision.
//!
//! Owns those that runs needed lately. A revision never changes, so what is here is right.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::revision::Revision;
use crate::model::job::JobName;
use crate::store::SharedStore;

/// Revisions at once; a definition has 256 KiB at most, and most have a few.
const REVISIONS_MAX: NonZeroUsize = NonZeroUsize::new(512).unwrap();

type Known = LruCache<(JobName, u64), Arc<Revision>>;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Revisions {
    store: SharedStore,
    known: Arc<Mutex<Known>>,
}

impl Revisions {
    pub(super) fn new(store: SharedStore) -> Self {
        Self { store, known: Arc::new(Mutex::new(LruCache::new(REVISIONS_MAX))) }
    }

    /// One that was just read anyway.
    pub(super) fn insert(&self, job: &JobName, number: u64, revision: Arc<Revision>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).put((job.clone(), number), revision);
    }

    /// One revision; `None`, told in the log, where it can't be had now.
    pub(super) async fn get(&self, job: &JobName, number: u64) -> Option<Arc<Revision>> {
        let key = (job.clone(), number);
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(known));
        }
        let text = match self.store.job_revision(job, number).await {
            Ok(Some(text)) => text,
            Ok(None) => {
                tracing::error!(%job, revision = number, "the definition of a run is not there");
                return None;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, %job, revision = number, "the definition of a run could not be read");
                return None;
            }
        };
        match Revision::stored(&text) {
            Ok(revision) => {
                self.insert(job, number, Arc::clone(&revision));
                Some(revision)
            }
            Err(error) => {
                tracing::error!(%job, revision = number, error, "the definition of a run can't be read");
                None
            }
        }
    }
}
