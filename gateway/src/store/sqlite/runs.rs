//! Runs: what is to be done, and what was.

mod claim;
mod view;

pub(super) use claim::lives;
pub(super) use view::visible;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::column::{Blob, Count, Id, Json, Micros, Word};
use super::{Durability, SqliteStore, audit, deliveries};
use crate::model::job::{Payload, Run, RunEvent, RunStatus, RunStep};
use crate::model::{AuditEntry, ExecutionId, RunId};
use crate::store::jobs::{Backlog, Beat, Runs};
use crate::store::{
    Error, HeldRun, Hold, IdempotencyKey, NewRun, Page, PageRequest, Requested, RunChange, RunChanged, RunFilter,
    RunSaved, WorkerId,
};

/// Nobody's where the session that it is made for is over.
const INSERT: &str = "\
    INSERT INTO runs (id, job, revision, status, step_ids, last_event, cancel_requested, retry_requested, worker, due_at,
                      created_at, traceparent, data_digest, data_bytes, data)
    VALUES (?1, ?2, ?3, 'queued', ?4, 0, 0, 0, (SELECT id FROM workers WHERE id = ?5), ?6, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (id) DO NOTHING";

const INSERT_TRIGGER: &str = "INSERT INTO run_triggers (run, digest, bytes, text) VALUES (?1, ?2, ?3, ?4)";

const KEY: &str = "\
    SELECT k.fingerprint, k.run, r.status, k.expires_at
    FROM idempotency_keys AS k LEFT JOIN runs AS r ON r.id = k.run WHERE k.scope = ?1 AND k.key = ?2";

const SAVE_KEY: &str = "\
    INSERT INTO idempotency_keys (scope, key, fingerprint, run, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (scope, key) DO UPDATE SET fingerprint = ?3, run = ?4, expires_at = ?5";

const HELD: &str = "SELECT number FROM runs WHERE id = ?1 AND worker = ?2";

/// A request to end it that nobody has answered makes it due at once.
const SAVE: &str = "\
    UPDATE runs SET
        status = ?2, error = ?3, started_at = ?4, ended_at = ?5, last_event = coalesce(?6, last_event), worker = ?7,
        due_at = CASE WHEN ?8 = 0 THEN NULL WHEN ?7 IS NOT NULL THEN due_at WHEN cancel_requested THEN 0 ELSE ?9 END,
        retry_requested = CASE WHEN ?10 THEN 0 ELSE retry_requested END,
        cancel_requested = CASE WHEN ?8 = 0 THEN 0 ELSE cancel_requested END
    WHERE number = ?1";

const SAVE_DATA: &str = "UPDATE runs SET data_digest = ?2, data_bytes = ?3, data = ?4 WHERE number = ?1";

const SAVE_STEP: &str = "\
    INSERT INTO run_steps (run, id, status, error, errors, next, is_taken, due_at, tries, completion, attempts, output_digest,
                           output_bytes, output)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
    ON CONFLICT (run, id) DO UPDATE SET
        status = ?3, error = ?4, errors = ?5, next = ?6, is_taken = ?7, due_at = ?8, tries = ?9, completion = ?10, attempts = ?11,
        output_digest = ?12, output_bytes = ?13, output = ?14";

/// One that is there is the same: the batch comes again whose first answer was lost.
const SAVE_EVENT: &str = "\
    INSERT INTO run_events (run, id, step, status, attempts, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (run, id) DO NOTHING";

const REQUEST_CANCEL: &str = "UPDATE runs SET cancel_requested = 1, due_at = 0 WHERE id = ?1 AND ended_at IS NULL";

const REQUEST_RETRY: &str = "\
    UPDATE runs SET retry_requested = 1, due_at = 0
    WHERE id = ?1 AND status IN ('failed', 'canceled') AND NOT retry_requested";

const STATUS: &str = "SELECT status FROM runs WHERE id = ?1";

const BACKLOG: &str = "\
    SELECT (SELECT count(*) FROM runs WHERE status = 'queued'), (SELECT count(*) FROM runs WHERE status = 'running'),
           (SELECT min(due_at) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL AND due_at <= ?1)";

const OLD: &str =
    "SELECT number, id FROM runs WHERE ended_at < ?1 AND ended_at IS NOT NULL AND due_at IS NULL LIMIT ?2";

const REMEMBER: &str = "INSERT OR IGNORE INTO runs_gone (id) VALUES (?1)";

const DELETE: &str = "DELETE FROM runs WHERE number = ?1";

const DELETE_DELIVERIES: &str = "DELETE FROM deliveries WHERE run_id = ?1 AND status <> 'retrying'";

/// Those that were being tried when their run went, by now ended. An id begins with the time it was made, which is the run's end.
const DELETE_LATE_DELIVERIES: &str = "\
    DELETE FROM deliveries WHERE number IN (
        SELECT number FROM deliveries AS d
        WHERE d.id < ?1 AND d.status <> 'retrying' AND NOT EXISTS (SELECT 1 FROM runs WHERE id = d.run_id)
        ORDER BY d.id LIMIT ?2)";

const DELETE_KEYS: &str = "\
    DELETE FROM idempotency_keys WHERE (scope, key) IN
        (SELECT scope, key FROM idempotency_keys WHERE expires_at <= ?1 LIMIT ?2)";

const DELETE_REVISIONS: &str = "\
    DELETE FROM job_revisions WHERE rowid IN
        (SELECT r.rowid FROM job_revisions AS r JOIN jobs AS j ON j.name = r.job
         WHERE r.revision < j.revision
           AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job = r.job AND runs.revision = r.revision)
           AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.job = r.job AND d.revision = r.revision AND d.status = 'retrying')
         LIMIT ?1)";

const GONE: &str = "SELECT id FROM runs_gone LIMIT ?1";

const FORGET: &str = "DELETE FROM runs_gone WHERE id = ?1";

#[async_trait]
impl Runs for SqliteStore {
    async fn change_runs(&self, changes: Vec<RunChange>) -> Result<Vec<RunChanged>, Error> {
        self.write("changing runs", Durability::PowerLoss, move |tx| {
            changes.iter().map(|change| apply(tx, change)).collect()
        })
        .await
    }

    async fn worker_beat(&self, worker: WorkerId, _lease_ms: u64, is_first: bool) -> Result<Beat, Error> {
        claim::beat(self, worker, is_first).await
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
        self.read("reading a run", move |tx| Ok(view::find(tx, id)?.map(|held| held.run))).await
    }

    async fn list_runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, Error> {
        let filter = filter.clone();
        self.read("listing runs", move |tx| view::list(tx, &filter, page)).await
    }

    async fn run_events(&self, id: RunId, after: u64, max: u32) -> Result<Vec<RunEvent>, Error> {
        self.read("reading a run's events", move |tx| view::events(tx, id, after, max)).await
    }

    async fn request_cancel(&self, id: RunId, entry: &AuditEntry) -> Result<Requested, Error> {
        self.request("canceling a run", REQUEST_CANCEL, id, entry).await
    }

    async fn request_retry(&self, id: RunId, entry: &AuditEntry) -> Result<Requested, Error> {
        self.request("retrying a run", REQUEST_RETRY, id, entry).await
    }

    async fn run_backlog(&self, now: Timestamp) -> Result<Backlog, Error> {
        self.read("counting runs", move |tx| {
            tx.prepare_cached(BACKLOG)?.query_row([Micros(now)], |row| {
                Ok(Backlog {
                    queued: row.get::<_, Count>(0)?.0,
                    running: row.get::<_, Count>(1)?.0,
                    oldest_due: row.get::<_, Option<Micros>>(2)?.map(|micros| micros.0),
                })
            })
        })
        .await
    }

    async fn delete_ended_runs(&self, ended_before: Timestamp, max: u32) -> Result<u64, Error> {
        self.write("deleting old runs", Durability::ProcessDeath, move |tx| {
            let old: Vec<(i64, Id<RunId>)> = tx
                .prepare_cached(OLD)?
                .query_map(params![Micros(ended_before), max], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (number, id) in &old {
                tx.prepare_cached(REMEMBER)?.execute([id])?;
                tx.prepare_cached(DELETE_DELIVERIES)?.execute([id])?;
                tx.prepare_cached(DELETE)?.execute([number])?;
            }
            let first = ExecutionId::first_bytes_from(ended_before);
            tx.prepare_cached(DELETE_LATE_DELIVERIES)?.execute(params![first, max])?;
            Ok(old.len() as u64)
        })
        .await
    }

    async fn delete_expired_keys(&self, now: Timestamp, max: u32) -> Result<u64, Error> {
        self.write("deleting old keys and revisions", Durability::ProcessDeath, move |tx| {
            let keys = tx.prepare_cached(DELETE_KEYS)?.execute(params![Micros(now), max])?;
            let revisions = tx.prepare_cached(DELETE_REVISIONS)?.execute([max])?;
            Ok(keys.max(revisions) as u64)
        })
        .await
    }

    async fn runs_without_rows(&self, max: u32) -> Result<Vec<RunId>, Error> {
        self.read("reading what runs left", move |tx| {
            tx.prepare_cached(GONE)?.query_map([max], |row| Ok(row.get::<_, Id<_>>(0)?.0))?.collect()
        })
        .await
    }

    async fn forget_runs(&self, ids: &[RunId]) -> Result<(), Error> {
        let ids = ids.to_vec();
        self.write("forgetting what runs left", Durability::ProcessDeath, move |tx| {
            let mut statement = tx.prepare_cached(FORGET)?;
            ids.into_iter().try_for_each(|id| statement.execute([Id(id)]).map(|_| ()))
        })
        .await
    }
}

impl SqliteStore {
    async fn request(
        &self,
        context: &'static str,
        sql: &'static str,
        id: RunId,
        entry: &AuditEntry,
    ) -> Result<Requested, Error> {
        let entry = entry.clone();
        self.write(context, Durability::PowerLoss, move |tx| {
            if tx.prepare_cached(sql)?.execute([Id(id)])? > 0 {
                audit::append(tx, &entry)?;
                return Ok(Requested::Accepted);
            }
            let status = tx.prepare_cached(STATUS)?.query_row([Id(id)], |row| row.get::<_, Word<RunStatus>>(0));
            Ok(status.optional()?.map_or(Requested::NotFound, |status| Requested::Refused(status.0)))
        })
        .await
    }
}

fn apply(tx: &Transaction<'_>, change: &RunChange) -> rusqlite::Result<RunChanged> {
    match change {
        RunChange::Create(new) => create(tx, new),
        RunChange::Save(saved) => save(tx, saved),
    }
}

fn create(tx: &Transaction<'_>, new: &NewRun) -> rusqlite::Result<RunChanged> {
    if let Some(key) = &new.idempotency {
        if let Some(found) = known(tx, key, new)? {
            return Ok(found);
        }
        let fingerprint = key.fingerprint.as_bytes();
        tx.prepare_cached(SAVE_KEY)?.execute(params![
            key.scope,
            key.key,
            fingerprint,
            Id(new.id),
            Micros(key.expires_at)
        ])?;
    }
    let step_ids: Vec<_> = new.steps.iter().map(|step| &step.id).collect();
    let data = Blob::of(Some(&new.data));
    let inserted = tx.prepare_cached(INSERT)?.execute(params![
        Id(new.id),
        new.job.as_str(),
        Count(new.revision),
        Json(step_ids),
        new.worker.map(|worker| worker.0.into_bytes()),
        Micros(new.created_at),
        new.traceparent,
        data.digest,
        data.size,
        data.text,
    ])?;
    // The same batch again, whose first answer was lost.
    if inserted == 0 {
        return Ok(RunChanged::Done);
    }
    let number = tx.last_insert_rowid();
    let trigger = Blob::of(Some(&new.trigger));
    tx.prepare_cached(INSERT_TRIGGER)?.execute(params![number, trigger.digest, trigger.size, trigger.text])?;
    Ok(RunChanged::Done)
}

/// What a key that was used before stands for.
fn known(tx: &Transaction<'_>, key: &IdempotencyKey, new: &NewRun) -> rusqlite::Result<Option<RunChanged>> {
    let found = tx.prepare_cached(KEY)?.query_row(params![key.scope, key.key], |row| {
        let status = row.get::<_, Option<Word<RunStatus>>>(2)?.map(|status| status.0);
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Id<RunId>>(1)?.0, status, row.get::<_, Micros>(3)?.0))
    });
    let Some((fingerprint, run, status, expires_at)) = found.optional()? else { return Ok(None) };
    let has_failed = matches!(status, Some(RunStatus::Failed | RunStatus::Canceled));
    if run == new.id || expires_at <= new.created_at || (key.is_free_after_failure && (has_failed || status.is_none()))
    {
        return Ok(None);
    }
    let is_same = fingerprint == key.fingerprint.as_bytes();
    Ok(Some(if is_same { RunChanged::Existing(run) } else { RunChanged::Mismatch }))
}

fn save(tx: &Transaction<'_>, saved: &RunSaved) -> rusqlite::Result<RunChanged> {
    let held = tx.prepare_cached(HELD)?.query_row(params![Id(saved.id), saved.worker.0.as_bytes()], |row| row.get(0));
    let Some(number): Option<i64> = held.optional()? else { return Ok(RunChanged::Lost) };
    let (worker, due_at) = match saved.hold {
        Hold::Keep => (Some(saved.worker.0.into_bytes()), None),
        Hold::Until(due) => (None, Some(Micros(due))),
        Hold::Ended => (None, None),
    };
    tx.prepare_cached(SAVE)?.execute(params![
        number,
        saved.status.as_str(),
        saved.error.as_ref().map(Json),
        saved.started_at.map(Micros),
        saved.ended_at.map(Micros),
        saved.events.last().map(|event| Count(event.id)),
        worker,
        saved.hold != Hold::Ended,
        due_at,
        saved.clears_requests,
    ])?;
    if let Some(data) = &saved.data {
        let data = Blob::of(Some(data));
        tx.prepare_cached(SAVE_DATA)?.execute(params![number, data.digest, data.size, data.text])?;
    }
    saved.steps.iter().try_for_each(|step| save_step(tx, number, step))?;
    for event in &saved.events {
        tx.prepare_cached(SAVE_EVENT)?.execute(params![
            number,
            Count(event.id),
            event.step.as_ref().map(crate::model::job::StepId::as_str),
            event.status,
            event.attempts,
            Micros(event.at),
        ])?;
    }
    saved.deliveries.iter().try_for_each(|delivery| deliveries::insert(tx, delivery))?;
    Ok(RunChanged::Done)
}

fn save_step(tx: &Transaction<'_>, number: i64, step: &RunStep) -> rusqlite::Result<()> {
    let output = Blob::of(step.output.as_ref());
    tx.prepare_cached(SAVE_STEP)?.execute(params![
        number,
        step.id.as_str(),
        step.status.as_str(),
        step.error.as_ref().map(Json),
        (!step.errors.is_empty()).then_some(Json(&step.errors)),
        step.next.as_ref().map(Json),
        step.is_taken,
        step.due_at.map(Micros),
        step.tries,
        step.completion,
        Json(&step.attempts),
        output.digest,
        output.size,
        output.text,
    ])?;
    Ok(())
}

/// A payload of three columns, of which the first is `first`.
fn payload(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<Payload>> {
    super::column::payload(row, first)
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let own = [
        INSERT,
        INSERT_TRIGGER,
        KEY,
        SAVE_KEY,
        HELD,
        SAVE,
        SAVE_DATA,
        SAVE_STEP,
        SAVE_EVENT,
        REQUEST_CANCEL,
        REQUEST_RETRY,
        STATUS,
        BACKLOG,
        OLD,
        REMEMBER,
        DELETE,
        DELETE_DELIVERIES,
        DELETE_LATE_DELIVERIES,
        DELETE_KEYS,
        DELETE_REVISIONS,
        GONE,
        FORGET,
    ];
    own.map(str::to_owned).into_iter().chain(claim::statements()).chain(view::statements()).collect()
}
