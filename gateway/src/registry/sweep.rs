//! Blobs that nothing refers to: what a crash left, and what was too young to go.
//!
//! Owns what is removed and what is told. Does not own how old is old enough (`blob`).
//! Invariants: bytes that a row refers to at that moment, or that an upload is about to
//! refer to, are not removed; and nothing is removed from another store's bucket.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, Registry};
use crate::blob::{Deleted, Owner};
use crate::model::Digest;

/// How many digests a log line names.
const DIGESTS_LOGGED_MAX: usize = 10;

/// What is known of whose bucket it is. A folder is always ours.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    is_anothers: AtomicBool,
}

impl Bucket {
    /// Whether gateways on another store have it, as far as the last sweep found out.
    pub(super) fn is_anothers(&self) -> bool {
        self.is_anothers.load(Ordering::Relaxed)
    }

    /// Notes what a sweep found out, and tells it once.
    fn note(&self, owner: Owner) {
        let was_anothers = self.is_anothers.swap(owner == Owner::Another, Ordering::Relaxed);
        if owner == Owner::Another && !was_anothers {
            tracing::error!(
                "the bucket belongs to gateways on another store, which remove what their store does not know: nothing is \
                 swept, and modules of this store will lose their bytes. Give this gateway the same `[store]` as those, or \
                 a bucket or prefix of its own"
            );
        }
    }
}

/// At start: forgets code that no module has, tells of bytes that are missing, and removes what no
/// row refers to. Failing at it is no reason not to start.
pub(super) async fn at_start(registry: &Registry, wanted: HashSet<Digest>) {
    if first(registry, &wanted).await {
        registry.parts.compiler.retain(wanted).await;
    }
}

/// The same without the code; whether the blobs could be listed, and may be swept.
pub(super) async fn first(registry: &Registry, wanted: &HashSet<Digest>) -> bool {
    let Some(stored) = stored(registry, wanted).await else { return false };
    let missing: Vec<_> = wanted.difference(&stored).take(DIGESTS_LOGGED_MAX).collect();
    if !missing.is_empty() {
        tracing::error!(?missing, "modules have lost their bytes");
    }
    remove_all(registry, stored.difference(wanted).copied()).await;
    true
}

/// At start: forgets code that no module has, without asking for blobs. Not where the store has no modules: it
/// may be the wrong one.
pub(super) async fn code(registry: &Registry, wanted: HashSet<Digest>) {
    if !wanted.is_empty() {
        registry.parts.compiler.retain(wanted).await;
    }
}

/// Later: removes what no row refers to. `known` may be behind what other gateways did.
pub(super) async fn again(registry: &Registry, known: &HashSet<Digest>) {
    if let Some(stored) = stored(registry, known).await {
        remove_all(registry, stored.difference(known).copied()).await;
    }
}

/// What is stored, where that can be had and may be swept.
async fn stored(registry: &Registry, wanted: &HashSet<Digest>) -> Option<HashSet<Digest>> {
    let listed = async {
        // First, since it is all that the store's other gateways have to know of a bucket that is empty.
        let owner = registry.parts.blobs.claim(registry.parts.store.id().await?).await?;
        // Also where nothing may be listed: deletions ask for it.
        registry.bucket.note(owner);
        Ok::<_, Error>((owner, registry.parts.blobs.list().await?))
    };
    let (owner, stored): (_, HashSet<Digest>) = match listed.await {
        Ok((owner, digests)) => (owner, digests.into_iter().collect()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "unreferenced blobs were not swept");
            return None;
        }
    };
    if owner == Owner::Another {
        return None;
    }
    if wanted.is_empty() && !stored.is_empty() {
        // More likely the wrong store than the last module deleted right before a crash.
        tracing::warn!(
            count = stored.len(),
            "the store has no modules, but there are blobs: they are kept. If `[store]` means another database than \
             before, mend it or restore that database; if nothing is missing, remove the blobs while no gateway runs"
        );
        return None;
    }
    Some(stored)
}

async fn remove_all(registry: &Registry, unwanted: impl Iterator<Item = Digest>) {
    let mut swept = Vec::new();
    for digest in unwanted {
        match remove(registry, digest).await {
            Ok(Deleted::Gone) => swept.push(digest),
            Ok(Deleted::Kept) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "unreferenced blobs were not swept");
                break;
            }
        }
    }
    if !swept.is_empty() {
        let first: Vec<_> = swept.iter().take(DIGESTS_LOGGED_MAX).collect();
        tracing::info!(count = swept.len(), ?first, "swept blobs that no module refers to");
    }
}

async fn remove(registry: &Registry, digest: Digest) -> Result<Deleted, Error> {
    // An upload, here or on another gateway, stores bytes before their row: what had none when the snapshot
    // was made may have one as soon as it can be held.
    let _held = registry.hold(digest).await?;
    if registry.parts.store.digest_in_use(digest).await? {
        return Ok(Deleted::Kept);
    }
    Ok(registry.parts.blobs.delete(digest).await?)
}
