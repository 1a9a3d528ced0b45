//! Which runs this gateway takes.
//!
//! Owns when it looks for runs that are due: when one was made here without a place, when a place came free, when the next is due, and
//! now and then, for those of other gateways.

use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::store::{self, WorkerId};

/// Runs that are taken at once: more would hold up the store's other work for the time that it takes to read them.
const CLAIM_MAX: usize = 64;
/// Between two tries at a store that is away.
const AGAIN: Duration = Duration::from_millis(500);

impl Worker {
    /// Takes runs that are due until it is cancelled.
    pub(in crate::jobs) async fn claim(self: &Arc<Self>) {
        loop {
            let wait = match self.claim_all().await {
                Ok(wait) => wait,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "runs could not be claimed; it is tried again");
                    AGAIN
                }
            };
            let _ = tokio::time::timeout(wait, self.wake.notified()).await;
        }
    }

    /// Takes what there is, as far as there are places, and tells how long there is nothing to take.
    async fn claim_all(self: &Arc<Self>) -> Result<Duration, store::Error> {
        loop {
            let free = self.free().min(CLAIM_MAX);
            let Some(session) = self.sessions.current().filter(|_| free > 0) else { return Ok(self.config.poll) };
            let taken = self.claim_some(session.id, free).await?;
            if taken < free {
                return self.idle_for().await;
            }
        }
    }

    async fn claim_some(self: &Arc<Self>, worker: WorkerId, free: usize) -> Result<usize, store::Error> {
        let max = u32::try_from(free).unwrap_or(u32::MAX);
        let claimed = self.store.claim_runs(worker, self.clock.now(), max).await?;
        let count = claimed.len();
        for held in claimed {
            // Places may have gone to runs that were started meanwhile: one that has none waits for it, held.
            let Some(place) = self.place_of(worker).await else { return Ok(count) };
            self.drive_claimed(place, held);
        }
        Ok(count)
    }

    /// A place in this session, once one is free; `None` where the session is over, and with it the claim.
    async fn place_of(&self, worker: WorkerId) -> Option<super::Place> {
        let session = self.sessions.current().filter(|session| session.id == worker)?;
        let permit = tokio::select! {
            permit = Arc::clone(&self.places).acquire_owned() => permit.ok()?,
            () = session.lost.cancelled() => return None,
        };
        Some(super::Place { session, permit })
    }

    /// Until the next run is due that nobody holds.
    async fn idle_for(&self) -> Result<Duration, store::Error> {
        let Some(due) = self.store.next_run_due().await? else { return Ok(self.config.poll) };
        let left = due.duration_since(self.clock.now());
        // One that is due already and could not be taken is another's at this moment.
        Ok(Duration::try_from(left).unwrap_or_default().clamp(Duration::from_millis(10), self.config.poll))
    }
}
