//! One lock a digest, so that storing bytes for one name and deleting them for
//! another never cross.
//!
//! Owns the locks and nothing that they protect. Invariant: two holders never
//! have the same digest at once, and a lock that nobody wants takes no memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::model::Digest;

/// Locks by digest. Shared by reference.
#[derive(Debug, Default)]
pub(super) struct DigestLocks(Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>);

impl DigestLocks {
    /// Waits for the lock of `digest`; a caller that is dropped while waiting leaves nothing behind.
    pub(super) async fn lock(&self, digest: Digest) -> OwnedMutexGuard<()> {
        self.of(digest).lock_owned().await
    }

    fn of(&self, digest: Digest) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are uploads at this moment, so a walk is cheap.
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(digest, Arc::downgrade(&lock));
        lock
    }
}
