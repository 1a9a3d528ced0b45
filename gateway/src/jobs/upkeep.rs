//! What is done now and then: the backlog is counted, what is old is deleted.
//!
//! Owns when. Invariant: a run's rows go before its bytes, and what is left of a crash in between is remembered.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::steady::Steady;
use crate::blob::Blobs;
use crate::store::{self, SharedStore};
use crate::telemetry::Metrics;

/// Between two looks at the backlog: a count of rows, which a store of a million runs takes a moment for.
const LOOK: Duration = Duration::from_secs(15);
/// Between two sweeps.
const SWEEP: Duration = Duration::from_mins(10);
/// Rows of one transaction.
const ROWS: u32 = 200;

/// Does it until it is cancelled.
pub(super) struct Upkeep {
    pub(super) store: SharedStore,
    pub(super) blobs: Blobs,
    pub(super) clock: Steady,
    pub(super) metrics: Metrics,
    pub(super) retention: SignedDuration,
}

impl Upkeep {
    pub(super) async fn run(&self) {
        let mut sweep_at = tokio::time::Instant::now();
        loop {
            if let Err(error) = self.look().await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the backlog of runs could not be counted");
            }
            if tokio::time::Instant::now() >= sweep_at {
                sweep_at += SWEEP;
                if let Err(error) = self.sweep().await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "runs that are over their retention were not swept; it is tried again");
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&self) -> Result<(), store::Error> {
        let now = self.clock.now();
        let backlog = self.store.run_backlog(now).await?;
        let age = |due: Timestamp| now.duration_since(due).as_secs_f64().max(0.0);
        self.metrics.jobs().backlog(backlog.queued, backlog.running, backlog.oldest_due.map_or(0.0, age));
        Ok(())
    }

    /// Deletes what is old, a few rows at a time so that nobody waits for it.
    pub(super) async fn sweep(&self) -> Result<(), store::Error> {
        let now = self.clock.now();
        let before = now.checked_sub(self.retention).unwrap_or(Timestamp::MIN);
        while self.store.delete_ended_runs(before, ROWS).await? >= u64::from(ROWS) {
            tokio::task::yield_now().await;
        }
        while self.store.delete_expired_keys(now, ROWS).await? >= u64::from(ROWS) {
            tokio::task::yield_now().await;
        }
        loop {
            let gone = self.store.runs_without_rows(ROWS).await?;
            let mut swept = Vec::new();
            for &run in &gone {
                match self.blobs.delete_of_run(run).await {
                    Ok(()) => swept.push(run),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, run_id = %run, "what a run held is not deleted; it is tried again");
                    }
                }
            }
            self.store.forget_runs(&swept).await?;
            // What could not be deleted now is the next sweep's.
            if swept.len() < ROWS as usize {
                return Ok(());
            }
        }
    }
}
