//! Who may run now: slots of the instance pool.
//!
//! Owns the semaphore below the pool. Invariant: what is admitted finds room in
//! the pool, so that its limits are never an error in the middle of a call.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Metrics;

/// Hands out slots. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    slots: Arc<Semaphore>,
    total: u32,
    wait: Duration,
    metrics: Metrics,
}

/// Slots of one execution; given back when dropped.
#[derive(Debug)]
pub(super) struct Slots {
    _permit: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.metrics.instances(-1);
    }
}

impl Admission {
    pub(super) fn new(total: u32, wait: Duration, metrics: Metrics) -> Self {
        Self { slots: Arc::new(Semaphore::new(total as usize)), total, wait, metrics }
    }

    /// How long a call waits at most.
    pub(super) fn wait_ms(&self) -> u64 {
        u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits for `weight` slots, first come first served, but no longer than the
    /// configured time; `None` when that is over. A component that needs more than
    /// all slots gets all. Cancelled, it leaves the queue.
    pub(super) async fn admit(&self, weight: u32) -> Option<Slots> {
        let weight = weight.clamp(1, self.total);
        let permit = match Arc::clone(&self.slots).try_acquire_many_owned(weight) {
            Ok(permit) => permit,
            Err(_) => {
                let permit = Arc::clone(&self.slots).acquire_many_owned(weight);
                tokio::time::timeout(self.wait, permit).await.ok()?.ok()?
            }
        };
        self.metrics.instances(1);
        Some(Slots { _permit: permit, metrics: self.metrics.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_call_that_leaves_while_it_waits_leaves_its_place_to_the_next() {
        let admission = Admission::new(1, Duration::from_hours(1), Metrics::new());
        let slot = admission.admit(1).await.unwrap();
        let mut next = pin!(admission.admit(1));
        {
            let mut leaving = pin!(admission.admit(1));
            assert!(matches!(futures_util::poll!(leaving.as_mut()), Poll::Pending));
            assert!(matches!(futures_util::poll!(next.as_mut()), Poll::Pending));
            drop(slot);
            assert!(matches!(futures_util::poll!(next.as_mut()), Poll::Pending), "the first in the queue is not it");
        }
        assert!(matches!(futures_util::poll!(next), Poll::Ready(Some(_))));
    }
}
