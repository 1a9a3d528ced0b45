//! Loaded components by digest: least recently used ones go first.
//!
//! Owns what is mapped now, within a bound on modules and one on bytes. Does not
//! own how a component is loaded. Invariant: of concurrent misses of one digest
//! one loads, and whoever leaves doesn't stop it for the others.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use lru::LruCache;

use crate::model::Digest;
use crate::telemetry::Metrics;

/// What a cache holds: something that knows how large it is.
pub trait Weigh: Send + Sync + 'static {
    /// Bytes that are kept mapped for it.
    fn bytes(&self) -> u64;
}

/// The bounds of a cache.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all entries; the newest one stays even when it alone is larger.
    pub bytes_max: u64,
    /// Entries.
    pub entries_max: usize,
}

type Loading<T, E> = Shared<Pin<Box<dyn Future<Output = Result<Arc<T>, E>> + Send>>>;

/// A cache of `T` by digest; loading may fail with `E`. Cheap to share behind an `Arc`.
pub struct Cache<T, E> {
    bounds: Bounds,
    metrics: Metrics,
    inner: Mutex<Inner<T, E>>,
}

struct Inner<T, E> {
    entries: LruCache<Digest, Arc<T>>,
    bytes: u64,
    loading: HashMap<Digest, Loading<T, E>>,
}

impl<T: Weigh, E: Clone + Send + Sync + 'static> Cache<T, E> {
    /// An empty cache.
    #[must_use]
    pub fn new(bounds: Bounds, metrics: Metrics) -> Self {
        let inner = Inner { entries: LruCache::unbounded(), bytes: 0, loading: HashMap::new() };
        Self { bounds, metrics, inner: Mutex::new(inner) }
    }

    /// The entry, if it is there; it is then the most recently used one.
    pub fn get(&self, digest: &Digest) -> Option<Arc<T>> {
        self.lock().entries.get(digest).cloned()
    }

    /// The entry, or what `load` makes, in a task of its own: whoever is cancelled
    /// while waiting leaves the load running for the others.
    ///
    /// # Errors
    /// What `load` fails with, told to everyone who waits; the next call loads again.
    pub async fn get_or_load<F>(self: &Arc<Self>, digest: Digest, load: F) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let loading = {
            let mut inner = self.lock();
            if let Some(found) = inner.entries.get(&digest) {
                return Ok(Arc::clone(found));
            }
            match inner.loading.get(&digest) {
                Some(loading) => loading.clone(),
                None => {
                    let loading = self.start(digest, load);
                    inner.loading.insert(digest, loading.clone());
                    loading
                }
            }
        };
        loading.await
    }

    fn start<F>(self: &Arc<Self>, digest: Digest, load: F) -> Loading<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let cache = Arc::clone(self);
        let task = async move {
            // Forgotten on every way out, a panic of `load` too, or the digest could
            // never be loaded again.
            let _forget = ForgetLoading { cache: &cache, digest };
            let loaded = Arc::new(load.await?);
            cache.insert(digest, &loaded);
            Ok(loaded)
        };
        let shared = (Box::pin(task) as Pin<Box<dyn Future<Output = _> + Send>>).shared();
        tokio::spawn(shared.clone().map(|_| ()));
        shared
    }

    fn insert(&self, digest: Digest, loaded: &Arc<T>) {
        let mut evicted = Vec::new();
        let mut inner = self.lock();
        inner.bytes += loaded.bytes();
        if let Some((_, old)) = inner.entries.push(digest, Arc::clone(loaded)) {
            inner.bytes -= old.bytes();
            evicted.push(old);
        }
        while inner.entries.len() > 1
            && (inner.entries.len() > self.bounds.entries_max || inner.bytes > self.bounds.bytes_max)
        {
            let Some((_, old)) = inner.entries.pop_lru() else { break };
            inner.bytes -= old.bytes();
            evicted.push(old);
        }
        self.metrics.cache_holds(inner.entries.len(), inner.bytes);
        drop(inner);
        // Unmapping takes time: not under the lock.
        drop(evicted);
    }

    /// Waits for a load of this digest that runs now to end.
    pub async fn settled(&self, digest: &Digest) {
        let loading = self.lock().loading.get(digest).cloned();
        if let Some(loading) = loading {
            // Whoever asked for it is told what came of it.
            let _ = loading.await;
        }
    }

    /// Forgets an entry; whoever runs it keeps it alive until the end.
    pub fn remove(&self, digest: &Digest) {
        let mut inner = self.lock();
        let removed = inner.entries.pop(digest);
        if let Some(removed) = &removed {
            inner.bytes -= removed.bytes();
        }
        self.metrics.cache_holds(inner.entries.len(), inner.bytes);
        drop(inner);
        drop(removed);
    }

    /// How many entries there are, and their bytes.
    #[cfg(test)]
    fn size(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.entries.len(), inner.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T, E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct ForgetLoading<'a, T: Weigh, E: Clone + Send + Sync + 'static> {
    cache: &'a Cache<T, E>,
    digest: Digest,
}

impl<T: Weigh, E: Clone + Send + Sync + 'static> Drop for ForgetLoading<'_, T, E> {
    fn drop(&mut self) {
        let forgotten = self.cache.lock().loading.remove(&self.digest);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests;
