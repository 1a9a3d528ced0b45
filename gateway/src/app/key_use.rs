//! When keys were last used, on its way to the store.
//!
//! Owns the pace. Invariant: a request only leaves an atomic behind; what is here
//! is lost by `kill -9` and by nothing else.

use std::time::Duration;

use crate::http::auth::SharedKeys;
use crate::store::SharedStore;

/// Nobody needs to know it sooner: lists ask the keys themselves.
const FLUSH_AFTER: Duration = Duration::from_secs(10);

/// Stores the last use of keys, in batches.
pub(super) struct Service {
    keys: SharedKeys,
    store: SharedStore,
}

impl Service {
    pub(super) fn new(keys: SharedKeys, store: SharedStore) -> Self {
        Self { keys, store }
    }

    /// Runs until `shutdown` completes, and stores what is left.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(FLUSH_AFTER) => false,
                () = &mut shutdown => true,
            };
            self.flush().await;
            if stopping {
                return;
            }
        }
    }

    async fn flush(&self) {
        let uses = self.keys.take_uses();
        if !uses.is_empty()
            && let Err(error) = self.store.record_key_use(&uses).await
        {
            // The next use brings it up to date.
            tracing::warn!(error = &error as &dyn std::error::Error, "the last use of keys was not stored");
        }
    }
}
