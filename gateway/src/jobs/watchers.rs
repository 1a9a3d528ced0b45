//! Who waits for a change of a run.
//!
//! Owns a place for each run that somebody waits for here. Invariant: a run that nobody waits for costs nothing but a look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::RunId;

/// The waiting ones. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<Mutex<HashMap<RunId, Watched>>>);

#[derive(Debug, Default)]
struct Watched {
    changed: Arc<Notify>,
    count: usize,
}

/// A place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    watchers: Watchers,
    id: RunId,
    changed: Arc<Notify>,
}

impl Watchers {
    /// From now on `id`'s changes are told.
    pub(super) fn watch(&self, id: RunId) -> Watcher {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = all.entry(id).or_default();
        watched.count += 1;
        Watcher { watchers: self.clone(), id, changed: Arc::clone(&watched.changed) }
    }

    /// A change of `id` is stored.
    pub(super) fn tell(&self, id: RunId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = all.get(&id) {
            watched.changed.notify_waiters();
        }
    }
}

impl Watcher {
    /// What completes at the next change after it was asked for.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut all = self.watchers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = all.get_mut(&self.id) {
            watched.count -= 1;
            if watched.count == 0 {
                all.remove(&self.id);
            }
        }
    }
}
