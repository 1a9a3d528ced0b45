//! Blobs that nothing refers to: what a crash left, and what was too young to go.
//!
//! Owns what is removed and what is told. Does not own how old is old enough (`blob`).
//! Invariant: bytes that a row refers to at that moment are not removed.

use std::collections::HashSet;

use super::service::{Parts, hold_everywhere};
use crate::blob::Deleted;
use crate::model::Digest;

/// How many digests a log line names.
const DIGESTS_LOGGED_MAX: usize = 10;

/// At start: forgets code that no module has, tells of bytes that are missing, and removes what no
/// row refers to. Failing at it is no reason not to start.
pub(super) async fn at_start(parts: &Parts, wanted: HashSet<Digest>) {
    if first(parts, &wanted).await {
        parts.compiler.retain(wanted).await;
    }
}

/// The same without the code; whether the blobs could be listed, and may be swept.
pub(super) async fn first(parts: &Parts, wanted: &HashSet<Digest>) -> bool {
    let Some(stored) = stored(parts, wanted).await else { return false };
    let missing: Vec<_> = wanted.difference(&stored).take(DIGESTS_LOGGED_MAX).collect();
    if !missing.is_empty() {
        tracing::error!(?missing, "modules have lost their bytes");
    }
    remove_all(parts, stored.difference(wanted).copied()).await;
    true
}

/// At start: forgets code that no module has, without asking for blobs. Not where the store has no modules: it
/// may be the wrong one.
pub(super) async fn code(parts: &Parts, wanted: HashSet<Digest>) {
    if !wanted.is_empty() {
        parts.compiler.retain(wanted).await;
    }
}

/// Later: removes what no row refers to. `known` may be behind what other gateways did.
pub(super) async fn again(parts: &Parts, known: &HashSet<Digest>) {
    if let Some(stored) = stored(parts, known).await {
        remove_all(parts, stored.difference(known).copied()).await;
    }
}

/// What is stored, where that can be had and may be swept.
async fn stored(parts: &Parts, wanted: &HashSet<Digest>) -> Option<HashSet<Digest>> {
    let stored: HashSet<Digest> = match parts.blobs.list().await {
        Ok(digests) => digests.into_iter().collect(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "unreferenced blobs were not swept");
            return None;
        }
    };
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

async fn remove_all(parts: &Parts, unwanted: impl Iterator<Item = Digest>) {
    let mut swept = Vec::new();
    for digest in unwanted {
        match remove(parts, digest).await {
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

async fn remove(parts: &Parts, digest: Digest) -> Result<Deleted, super::Error> {
    // Another gateway stores bytes before their row: what had none when the snapshot was made may have one
    // as soon as it can be held.
    let _held = hold_everywhere(parts, digest).await?;
    if parts.store.digest_in_use(digest).await? {
        return Ok(Deleted::Kept);
    }
    Ok(parts.blobs.delete(digest).await?)
}
