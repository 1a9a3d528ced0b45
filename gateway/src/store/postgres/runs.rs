//! Runs: what is to be done, and what was.

mod change;
mod claim;
mod view;

pub(super) use claim::reap_and_lives;
pub(super) use view::visible;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::column::{count, micros_or_none, word};
use super::connect::Lane;
use super::{PostgresStore, audit};
use crate::model::job::{Run, RunEvent};
use crate::model::{AuditEntry, ExecutionId, RunId};
use crate::store::jobs::{Backlog, Beat, Runs};
use crate::store::{Error, HeldRun, Page, PageRequest, Requested, RunChange, RunChanged, RunFilter, WorkerId};

const REQUEST_CANCEL: &str = "UPDATE runs SET cancel_requested = true, due_at = 0 WHERE id = $1 AND ended_at IS NULL";

const REQUEST_RETRY: &str = "\
    UPDATE runs SET retry_requested = true, due_at = 0
    WHERE id = $1 AND status IN ('failed', 'canceled') AND NOT retry_requested";

const STATUS: &str = "SELECT status FROM runs WHERE id = $1";

const BACKLOG: &str = "\
    SELECT (SELECT count(*) FROM runs WHERE status = 'queued'), (SELECT count(*) FROM runs WHERE status = 'running'),
           (SELECT min(due_at) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL AND due_at <= $1)";

/// The run's blobs are remembered in the same statement.
const DELETE: &str = "\
    WITH old AS (
        SELECT number, id FROM runs WHERE ended_at < $1 AND ended_at IS NOT NULL AND due_at IS NULL ORDER BY number LIMIT $2
        FOR UPDATE SKIP LOCKED),
    remembered AS (INSERT INTO runs_gone (id) SELECT id FROM old ON CONFLICT DO NOTHING),
    told AS (DELETE FROM deliveries WHERE run_id IN (SELECT id FROM old) AND status <> 'retrying')
    DELETE FROM runs WHERE number IN (SELECT number FROM old)";

/// Those that were being tried when their run went, by now ended. An id begins with the time it was made, which is the run's end.
const DELETE_LATE_DELIVERIES: &str = "\
    DELETE FROM deliveries WHERE number = ANY (ARRAY(
        SELECT number FROM deliveries AS d
        WHERE d.id < $1 AND d.status <> 'retrying' AND NOT EXISTS (SELECT 1 FROM runs WHERE id = d.run_id)
        ORDER BY d.id LIMIT $2))";

const DELETE_KEYS: &str = "\
    DELETE FROM idempotency_keys WHERE (scope, key) IN
        (SELECT scope, key FROM idempotency_keys WHERE expires_at <= $1 ORDER BY scope, key LIMIT $2 FOR UPDATE SKIP LOCKED)";

const DELETE_REVISIONS: &str = "\
    DELETE FROM job_revisions WHERE (job, revision) IN
        (SELECT r.job, r.revision FROM job_revisions AS r JOIN jobs AS j ON j.name = r.job
         WHERE r.revision < j.revision
           AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job = r.job AND runs.revision = r.revision)
           AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.job = r.job AND d.revision = r.revision AND d.status = 'retrying')
         LIMIT $1)";

const GONE: &str = "SELECT id FROM runs_gone LIMIT $1";

const FORGET: &str = "DELETE FROM runs_gone WHERE id = ANY ($1)";

#[async_trait]
impl Runs for PostgresStore {
    async fn change_runs(&self, changes: Vec<RunChange>) -> Result<Vec<RunChanged>, Error> {
        self.write(Lane::Own, "changing runs", move |tx| Box::pin(async move { change::apply(tx, &changes).await }))
            .await
    }

    async fn worker_beat(&self, worker: WorkerId, lease_ms: u64, is_first: bool) -> Result<Beat, Error> {
        claim::beat(self, worker, lease_ms, is_first).await
    }

    async fn worker_left(&self, worker: WorkerId) -> Result<(), Error> {
        claim::left(self, worker).await
    }

    async fn claim_runs(&self, worker: WorkerId, now: Timestamp, max: u32) -> Result<Vec<HeldRun>, Error> {
        claim::claim(self, worker, now, max).await
    }

    async fn next_run_due(&self) -> Result<Option<Timestamp>, Error> {
        claim::next_due(self).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        self.read("reading a run", move |tx| {
            Box::pin(async move { Ok(view::find(tx, id).await?.map(|held| held.run)) })
        })
        .await
    }

    async fn list_runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, Error> {
        let filter = filter.clone();
        self.read("listing runs", move |tx| Box::pin(async move { view::list(tx, &filter, page).await })).await
    }

    async fn run_events(&self, id: RunId, after: u64, max: u32) -> Result<Vec<RunEvent>, Error> {
        self.read("reading a run's events", move |tx| Box::pin(async move { view::events(tx, id, after, max).await }))
            .await
    }

    async fn request_cancel(&self, id: RunId, entry: &AuditEntry) -> Result<Requested, Error> {
        self.request("canceling a run", REQUEST_CANCEL, id, entry).await
    }

    async fn request_retry(&self, id: RunId, entry: &AuditEntry) -> Result<Requested, Error> {
        self.request("retrying a run", REQUEST_RETRY, id, entry).await
    }

    async fn run_backlog(&self, now: Timestamp) -> Result<Backlog, Error> {
        self.read("counting runs", move |tx| {
            Box::pin(async move {
                let row = tx.query_one(BACKLOG, &[&now.as_microsecond()]).await?;
                Ok(Backlog { queued: count(&row, 0)?, running: count(&row, 1)?, oldest_due: micros_or_none(&row, 2)? })
            })
        })
        .await
    }

    async fn delete_ended_runs(&self, ended_before: Timestamp, max: u32) -> Result<u64, Error> {
        self.write(Lane::Own, "deleting old runs", move |tx| {
            Box::pin(async move {
                let max = i64::from(max);
                let deleted = tx.execute(DELETE, &[&ended_before.as_microsecond(), &max]).await?;
                let first = Uuid::from_bytes(ExecutionId::first_bytes_from(ended_before));
                tx.execute(DELETE_LATE_DELIVERIES, &[&first, &max]).await?;
                Ok(deleted)
            })
        })
        .await
    }

    async fn delete_expired_keys(&self, now: Timestamp, max: u32) -> Result<u64, Error> {
        self.write(Lane::Own, "deleting old keys and revisions", move |tx| {
            Box::pin(async move {
                let keys = tx.execute(DELETE_KEYS, &[&now.as_microsecond(), &i64::from(max)]).await?;
                Ok(keys.max(tx.execute(DELETE_REVISIONS, &[&i64::from(max)]).await?))
            })
        })
        .await
    }

    async fn runs_without_rows(&self, max: u32) -> Result<Vec<RunId>, Error> {
        self.read("reading what runs left", move |tx| {
            Box::pin(async move {
                let rows = tx.query(GONE, &[&i64::from(max)]).await?;
                Ok(rows.iter().map(|row| row.try_get(0).map(RunId::from_uuid)).collect::<Result<_, _>>()?)
            })
        })
        .await
    }

    async fn forget_runs(&self, ids: &[RunId]) -> Result<(), Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| *id.as_uuid()).collect();
        self.write(Lane::Own, "forgetting what runs left", move |tx| {
            Box::pin(async move {
                tx.execute(FORGET, &[&ids]).await?;
                Ok(())
            })
        })
        .await
    }
}

impl PostgresStore {
    async fn request(
        &self,
        context: &'static str,
        sql: &'static str,
        id: RunId,
        entry: &AuditEntry,
    ) -> Result<Requested, Error> {
        let entry = entry.clone();
        self.write(Lane::Requests, context, move |tx| {
            Box::pin(async move {
                if tx.execute(sql, &[id.as_uuid()]).await? > 0 {
                    audit::append(tx, &entry).await?;
                    return Ok(Requested::Accepted);
                }
                let found = tx.query_opt(STATUS, &[id.as_uuid()]).await?;
                found.map_or(Ok(Requested::NotFound), |row| word(&row, 0).map(Requested::Refused))
            })
        })
        .await
    }
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let own = [REQUEST_CANCEL, REQUEST_RETRY, STATUS, BACKLOG, DELETE, DELETE_LATE_DELIVERIES];
    let rest = [DELETE_KEYS, DELETE_REVISIONS, GONE, FORGET];
    let own = own.into_iter().chain(rest).map(str::to_owned);
    own.chain(change::statements()).chain(claim::statements()).chain(view::statements()).collect()
}
