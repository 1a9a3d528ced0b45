//! Deletes what is old, and what there is too much of.
//!
//! Owns when, and how much at once. Does not own rows (`store`). Invariant: whoever
//! writes beside it waits for one batch at most, and then has a turn.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::config;
use crate::store::{self, SharedStore};

/// Often enough that a sweep is short.
const EVERY: Duration = Duration::from_mins(1);
/// Rows of one transaction: a few milliseconds of writing.
const BATCH_ROWS: u32 = 200;
/// Between two batches, so that the recorder is never behind a queue of them.
const PAUSE: Duration = Duration::from_millis(5);
/// Executions that are over the count are deleted by so many at once. To know which they are, the store walks over
/// them; to know how many, over all that there are.
const EXECUTIONS_A_COUNT: u64 = 1_000_000;

/// Sweeps one store.
pub(super) struct Sweeper {
    config: config::Retention,
    store: SharedStore,
    clock: Clock,
}

/// What one sweep deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Swept {
    executions: u64,
    denials: u64,
    audit: u64,
}

impl Sweeper {
    pub(super) fn new(config: config::Retention, store: SharedStore, clock: Clock) -> Self {
        Self { config, store, clock }
    }

    /// Sweeps at the start and every minute, until `shutdown` completes. Dropped in a sweep, it
    /// has deleted some whole batches.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        let sweeps = async {
            loop {
                match self.sweep().await {
                    Ok(swept) if swept == Swept::default() => {}
                    Ok(Swept { executions, denials, audit }) => {
                        tracing::info!(executions, denials, audit, "swept what was over its retention");
                    }
                    Err(error) => {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::warn!(error, "what is over its retention was not swept; it is tried again");
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            () = sweeps => {}
            () = shutdown => {}
        }
    }

    async fn sweep(&self) -> Result<Swept, store::Error> {
        let mut swept = Swept::default();
        if let Some(before) = self.days_ago(self.config.executions_days) {
            swept.executions += self.in_batches(|limit| self.store.delete_oldest_executions(before, limit)).await?;
            swept.denials += self.in_batches(|limit| self.store.delete_oldest_denials(before, limit)).await?;
        }
        if let Some(max) = self.config.executions_max {
            swept.executions += self.executions_over(max).await?;
        }
        if let Some(before) = self.days_ago(self.config.audit_days) {
            swept.audit += self.in_batches(|limit| self.store.delete_oldest_audit(before, limit)).await?;
        }
        Ok(swept)
    }

    fn days_ago(&self, days: Option<u64>) -> Option<Timestamp> {
        let hours = i64::try_from(days?.checked_mul(24)?).ok()?;
        self.clock.now().checked_sub(SignedDuration::from_hours(hours)).ok()
    }

    /// Deletes until there is nothing left to delete.
    async fn in_batches<F: Future<Output = Result<u64, store::Error>>>(
        &self,
        delete: impl Fn(u32) -> F,
    ) -> Result<u64, store::Error> {
        let mut all = 0;
        loop {
            let deleted = delete(BATCH_ROWS).await?;
            all += deleted;
            if deleted < u64::from(BATCH_ROWS) {
                return Ok(all);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Counts once, and deletes what started before the first that stays: of two gateways that counted the
    /// same, the second finds it gone and takes no more.
    async fn executions_over(&self, max: u64) -> Result<u64, store::Error> {
        let mut all = 0;
        loop {
            let excess = self.store.count_executions().await?.saturating_sub(max);
            if excess == 0 {
                return Ok(all);
            }
            let stays = self.store.start_after_oldest(excess.min(EXECUTIONS_A_COUNT)).await?;
            let before = stays.unwrap_or(Timestamp::MAX);
            let deleted = self.in_batches(|limit| self.store.delete_oldest_executions(before, limit)).await?;
            all += deleted;
            // Where nothing goes, all that is left is running.
            if deleted == 0 || excess <= EXECUTIONS_A_COUNT {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{AuditEntry, Denial, ExecutionId, ExecutionRecord, Module, PermissionKind, Status, action};
    use crate::store::contract::{module, record, row};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{
        Audit as _, AuditFilter, DenialBatch, Denials as _, ExecutionFilter, Executions as _, Modules as _,
        PageRequest, Store as _,
    };

    const FIRST: PageRequest = PageRequest { page: 1, limit: 200 };

    struct Kept {
        store: Arc<SqliteStore>,
        module: Module,
        clock: Clock,
        hand: crate::clock::ManualClock,
        _folder: tempfile::TempDir,
    }

    impl Kept {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Arc::new(SqliteStore::open(&folder.path().join("sluice.db")).await.unwrap());
            let (clock, hand) = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
            let module = module("a", "1.0.0");
            store.insert_module(&module, &row()).await.unwrap();
            Self { store, module, clock, hand, _folder: folder }
        }

        /// Executions that start now, a millisecond apart.
        async fn execute(&self, count: usize) {
            let records: Vec<_> = (0..count)
                .map(|_| {
                    let started_at = self.clock.now();
                    self.hand.advance_ms(1);
                    ExecutionRecord {
                        execution_id: ExecutionId::starting(started_at),
                        started_at,
                        ..record(&self.module, Status::Completed)
                    }
                })
                .collect();
            self.store.record_executions(Arc::from(records)).await.unwrap();
        }

        async fn executions(&self) -> u64 {
            self.store.list_executions(&ExecutionFilter::default(), FIRST).await.unwrap().total
        }

        fn sweeper(&self, config: config::Retention) -> Sweeper {
            Sweeper::new(config, Arc::clone(&self.store) as SharedStore, self.clock.clone())
        }
    }

    fn nothing() -> config::Retention {
        config::Retention { executions_days: None, executions_max: None, audit_days: None }
    }

    #[tokio::test]
    async fn executions_go_when_they_are_over_their_age_and_not_before() {
        let kept = Kept::new().await;
        kept.execute(500).await;
        kept.hand.advance_ms(24 * 3_600_000 - 1000);
        kept.execute(3).await;
        let sweeper = kept.sweeper(config::Retention { executions_days: Some(1), ..nothing() });
        assert_eq!(sweeper.sweep().await.unwrap(), Swept::default());
        kept.hand.advance_ms(1000);
        assert_eq!(sweeper.sweep().await.unwrap(), Swept { executions: 500, denials: 0, audit: 0 });
        assert_eq!(kept.executions().await, 3);
    }

    #[tokio::test]
    async fn denials_go_with_the_age_of_executions() {
        let kept = Kept::new().await;
        for resource in ["old", "new"] {
            let run = ExecutionRecord { started_at: kept.clock.now(), ..record(&kept.module, Status::Completed) };
            let mut batch = DenialBatch::default();
            batch.add(&run, [Denial { permission: PermissionKind::DatabaseRead, resource: resource.to_owned() }]);
            kept.store.record_denials(Arc::new(batch)).await.unwrap();
            kept.hand.advance_ms(24 * 3_600_000);
        }
        let sweeper = kept.sweeper(config::Retention { executions_days: Some(1), ..nothing() });
        assert_eq!(sweeper.sweep().await.unwrap(), Swept { denials: 1, ..Swept::default() });
        let left = kept.store.list_denials(kept.module.id, FIRST).await.unwrap();
        assert_eq!((left.total, left.items[0].resource.as_str()), (1, "new"));
    }

    #[tokio::test]
    async fn the_oldest_executions_over_the_count_go() {
        let kept = Kept::new().await;
        kept.execute(2900).await;
        let newest = kept.clock.now();
        kept.execute(100).await;
        let sweeper = kept.sweeper(config::Retention { executions_max: Some(100), ..nothing() });
        assert_eq!(sweeper.sweep().await.unwrap(), Swept { executions: 2900, denials: 0, audit: 0 });
        let left = kept.store.list_executions(&ExecutionFilter::default(), FIRST).await.unwrap();
        assert_eq!(left.total, 100);
        assert!(left.items.iter().all(|record| record.started_at >= newest));
        assert_eq!(sweeper.sweep().await.unwrap(), Swept::default());
    }

    #[tokio::test]
    async fn the_audit_goes_by_age_and_nothing_goes_that_is_to_stay() {
        let kept = Kept::new().await;
        kept.execute(10).await;
        let rows: Vec<_> = (0..300).map(|_| AuditEntry::by_gateway(kept.clock.now(), action::REQUEST, "/")).collect();
        kept.store.append_audit(Arc::from(rows)).await.unwrap();
        kept.hand.advance_ms(100 * 24 * 3_600_000);
        assert_eq!(kept.sweeper(nothing()).sweep().await.unwrap(), Swept::default());
        let sweeper = kept.sweeper(config::Retention { audit_days: Some(99), ..nothing() });
        // With that of the module.
        assert_eq!(sweeper.sweep().await.unwrap(), Swept { executions: 0, denials: 0, audit: 301 });
        assert_eq!(kept.store.list_audit(&AuditFilter::default(), FIRST).await.unwrap().total, 0);
        assert_eq!(kept.executions().await, 10);
    }

    #[tokio::test]
    async fn a_store_that_fails_is_told_and_a_stop_ends_the_task() {
        let kept = Kept::new().await;
        kept.store.close().await;
        let sweeper = kept.sweeper(config::Retention::default());
        sweeper.sweep().await.unwrap_err();
        sweeper.run(std::future::ready(())).await;
    }
}
