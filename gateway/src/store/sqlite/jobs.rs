//! Definitions of jobs.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::column::{Count, Micros, Text, Word};
use super::{Durability, SqliteStore, audit};
use crate::model::job::{Job, JobName};
use crate::model::{AuditEntry, JsonText};
use crate::store::jobs::Jobs;
use crate::store::{Error, JobSaved, NewJob, SaveJob};

const FIND: &str = "\
    SELECT j.name, j.revision, r.definition, j.created_at, j.updated_at, j.updated_by, j.is_deleted
    FROM jobs AS j JOIN job_revisions AS r ON r.job = j.name AND r.revision = j.revision WHERE j.name = ?1";

const ALL: &str = "\
    SELECT j.name, j.revision, r.definition, j.created_at, j.updated_at, j.updated_by, j.is_deleted
    FROM jobs AS j JOIN job_revisions AS r ON r.job = j.name AND r.revision = j.revision
    WHERE NOT j.is_deleted ORDER BY j.name";

const COUNT: &str = "SELECT count(*) FROM jobs WHERE NOT is_deleted";

const SAVE: &str = "\
    INSERT INTO jobs (name, revision, is_deleted, created_at, updated_at, updated_by) VALUES (?1, ?2, 0, ?3, ?4, ?5)
    ON CONFLICT (name) DO UPDATE SET revision = ?2, is_deleted = 0, created_at = ?3, updated_at = ?4, updated_by = ?5";

const SAVE_REVISION: &str = "INSERT INTO job_revisions (job, revision, definition) VALUES (?1, ?2, ?3)";

/// A job that was saved again may be told of again.
const OPEN_ENDPOINTS: &str = "DELETE FROM closed_endpoints WHERE job = ?1";

const DELETE: &str = "UPDATE jobs SET is_deleted = 1 WHERE name = ?1 AND NOT is_deleted";

const REVISION: &str = "SELECT definition FROM job_revisions WHERE job = ?1 AND revision = ?2";

#[async_trait]
impl Jobs for SqliteStore {
    async fn save_job(&self, job: &NewJob, how: SaveJob, jobs_max: u32, entry: &AuditEntry) -> Result<JobSaved, Error> {
        let (job, entry) = (job.clone(), entry.clone());
        self.write("storing a job", Durability::PowerLoss, move |tx| {
            let saved = save(tx, &job, how, jobs_max)?;
            if matches!(saved, JobSaved::Created(_) | JobSaved::Updated(_)) {
                audit::append(tx, &entry)?;
            }
            Ok(saved)
        })
        .await
    }

    async fn all_jobs(&self) -> Result<Vec<Job>, Error> {
        self.read_unhurried("reading the jobs", |tx| {
            tx.prepare_cached(ALL)?.query_map([], |row| Ok(stored(row)?.0))?.collect()
        })
        .await
    }

    async fn delete_job(&self, name: &JobName, entry: &AuditEntry) -> Result<bool, Error> {
        let (name, entry) = (name.clone(), entry.clone());
        self.write("deleting a job", Durability::PowerLoss, move |tx| {
            if tx.prepare_cached(DELETE)?.execute([name.as_str()])? == 0 {
                return Ok(false);
            }
            audit::append(tx, &entry)?;
            Ok(true)
        })
        .await
    }

    async fn job_revision(&self, name: &JobName, revision: u64) -> Result<Option<JsonText>, Error> {
        let name = name.clone();
        self.read_unhurried("reading a definition", move |tx| {
            let found = tx
                .prepare_cached(REVISION)?
                .query_row(params![name.as_str(), Count(revision)], |row| row.get::<_, Text>(0));
            Ok(found.optional()?.map(|text| text.0))
        })
        .await
    }
}

fn save(tx: &Transaction<'_>, job: &NewJob, how: SaveJob, jobs_max: u32) -> rusqlite::Result<JobSaved> {
    let before = tx.prepare_cached(FIND)?.query_row([job.name.as_str()], stored).optional()?;
    let (last, is_there) = before.as_ref().map_or((0, false), |(before, is_deleted)| (before.revision, !is_deleted));
    if is_there && how == SaveJob::Create {
        return Ok(JobSaved::Exists);
    }
    if let Some((before, _)) = before.as_ref().filter(|(before, _)| is_there && before.definition == job.definition) {
        return Ok(JobSaved::Unchanged(before.clone()));
    }
    let count: i64 = tx.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    if !is_there && count >= i64::from(jobs_max) {
        return Ok(JobSaved::Full);
    }
    let created_at = before.filter(|_| is_there).map_or(job.at, |(before, _)| before.created_at);
    let (name, revision) = (job.name.as_str(), last + 1);
    tx.prepare_cached(SAVE_REVISION)?.execute(params![name, Count(revision), job.definition.as_str()])?;
    tx.prepare_cached(SAVE)?.execute(params![name, Count(revision), Micros(created_at), Micros(job.at), job.by])?;
    tx.prepare_cached(OPEN_ENDPOINTS)?.execute([name])?;
    let job = Job {
        name: job.name.clone(),
        revision,
        definition: job.definition.clone(),
        created_at,
        updated_at: job.at,
        updated_by: job.by.clone(),
    };
    Ok(if is_there { JobSaved::Updated(job) } else { JobSaved::Created(job) })
}

/// A job, and whether it was deleted.
fn stored(row: &Row<'_>) -> rusqlite::Result<(Job, bool)> {
    let job = Job {
        name: row.get::<_, Word<_>>(0)?.0,
        revision: row.get::<_, Count>(1)?.0,
        definition: row.get::<_, Text>(2)?.0,
        created_at: row.get::<_, Micros>(3)?.0,
        updated_at: row.get::<_, Micros>(4)?.0,
        updated_by: row.get(5)?,
    };
    Ok((job, row.get(6)?))
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [FIND, ALL, COUNT, SAVE, SAVE_REVISION, OPEN_ENDPOINTS, DELETE, REVISION].map(str::to_owned).to_vec()
}
