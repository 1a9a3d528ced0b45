//! The sweeps of a bucket that several gateways share: one at the start, and then again and again.
//!
//! Owns when. Does not own what is swept (`registry`). Invariants: a sweep that is cut off leaves
//! the rest to the next one; and no start waits for one.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::blob::Blobs;
use crate::registry::Registry;

/// Bytes stay for an hour after they were put, so coming more often finds no more.
const EVERY: Duration = Duration::from_hours(1);

/// Sweeps now, and again and again until the handle is dropped. A folder is swept at start only: what is
/// not wanted there goes at once.
pub(super) fn spawn(blobs: &Blobs, registry: &Arc<Registry>) -> Option<AbortOnDropHandle<()>> {
    let registry = Arc::clone(registry);
    blobs.is_shared().then(|| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            registry.sweep_first().await;
            loop {
                tokio::time::sleep(EVERY).await;
                registry.sweep().await;
            }
        }))
    })
}
