//! Definitions of jobs.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::column::{count, count_of, json_text, micros, word};
use super::connect::{Failure, Lane};
use super::{PostgresStore, audit};
use crate::model::job::{Job, JobName};
use crate::model::{AuditEntry, JsonText};
use crate::store::jobs::Jobs;
use crate::store::{Error, JobSaved, NewJob, SaveJob};

/// One save at a time: two of one job would make the same revision, and two of two jobs one too many.
const LOCK: &str = "LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE";

const FIND: &str = "\
    SELECT j.name, j.revision, r.definition, j.created_at, j.updated_at, j.updated_by, j.is_deleted
    FROM jobs AS j JOIN job_revisions AS r ON r.job = j.name AND r.revision = j.revision WHERE j.name = $1";

const ALL: &str = "\
    SELECT j.name, j.revision, r.definition, j.created_at, j.updated_at, j.updated_by, j.is_deleted
    FROM jobs AS j JOIN job_revisions AS r ON r.job = j.name AND r.revision = j.revision
    WHERE NOT j.is_deleted ORDER BY j.name";

const COUNT: &str = "SELECT count(*) FROM jobs WHERE NOT is_deleted";

const SAVE: &str = "\
    INSERT INTO jobs (name, revision, is_deleted, created_at, updated_at, updated_by) VALUES ($1, $2, false, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET revision = $2, is_deleted = false, created_at = $3, updated_at = $4, updated_by = $5";

const SAVE_REVISION: &str = "INSERT INTO job_revisions (job, revision, definition) VALUES ($1, $2, $3)";

/// A job that was saved again may be told of again.
const OPEN_ENDPOINTS: &str = "DELETE FROM closed_endpoints WHERE job = $1";

const DELETE: &str = "UPDATE jobs SET is_deleted = true WHERE name = $1 AND NOT is_deleted";

const REVISION: &str = "SELECT definition FROM job_revisions WHERE job = $1 AND revision = $2";

#[async_trait]
impl Jobs for PostgresStore {
    async fn save_job(&self, job: &NewJob, how: SaveJob, jobs_max: u32, entry: &AuditEntry) -> Result<JobSaved, Error> {
        let (job, entry) = (job.clone(), entry.clone());
        self.write(Lane::Requests, "storing a job", move |tx| {
            Box::pin(async move {
                tx.batch_execute(LOCK).await?;
                let saved = save(tx, &job, how, jobs_max).await?;
                if matches!(saved, JobSaved::Created(_) | JobSaved::Updated(_)) {
                    audit::append(tx, &entry).await?;
                }
                Ok(saved)
            })
        })
        .await
    }

    async fn all_jobs(&self) -> Result<Vec<Job>, Error> {
        self.read("reading the jobs", |tx| {
            Box::pin(async move { tx.query(ALL, &[]).await?.iter().map(|row| Ok(stored(row)?.0)).collect() })
        })
        .await
    }

    async fn delete_job(&self, name: &JobName, entry: &AuditEntry) -> Result<bool, Error> {
        let (name, entry) = (name.clone(), entry.clone());
        self.write(Lane::Requests, "deleting a job", move |tx| {
            Box::pin(async move {
                if tx.execute(DELETE, &[&name.as_str()]).await? == 0 {
                    return Ok(false);
                }
                audit::append(tx, &entry).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn job_revision(&self, name: &JobName, revision: u64) -> Result<Option<JsonText>, Error> {
        let name = name.clone();
        self.read("reading a definition", move |tx| {
            Box::pin(async move {
                let found = tx.query_opt(REVISION, &[&name.as_str(), &count_of(revision)]).await?;
                found.map(|row| json_text(&row, 0)).transpose()
            })
        })
        .await
    }
}

async fn save(tx: &Transaction<'_>, job: &NewJob, how: SaveJob, jobs_max: u32) -> Result<JobSaved, Failure> {
    let name = job.name.as_str();
    let before = tx.query_opt(FIND, &[&name]).await?.map(|row| stored(&row)).transpose()?;
    let (last, is_there) = before.as_ref().map_or((0, false), |(before, is_deleted)| (before.revision, !is_deleted));
    if is_there && how == SaveJob::Create {
        return Ok(JobSaved::Exists);
    }
    if let Some((before, _)) = before.as_ref().filter(|(before, _)| is_there && before.definition == job.definition) {
        return Ok(JobSaved::Unchanged(before.clone()));
    }
    if !is_there && tx.query_one(COUNT, &[]).await?.try_get::<_, i64>(0)? >= i64::from(jobs_max) {
        return Ok(JobSaved::Full);
    }
    let created_at = before.filter(|_| is_there).map_or(job.at, |(before, _)| before.created_at);
    let revision = last + 1;
    let (stored_revision, definition) = (count_of(revision), job.definition.as_str());
    tx.execute(SAVE_REVISION, &[&name, &stored_revision, &definition]).await?;
    let (created, updated) = (created_at.as_microsecond(), job.at.as_microsecond());
    tx.execute(SAVE, &[&name, &stored_revision, &created, &updated, &job.by]).await?;
    tx.execute(OPEN_ENDPOINTS, &[&name]).await?;
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
fn stored(row: &Row) -> Result<(Job, bool), Failure> {
    let job = Job {
        name: word(row, 0)?,
        revision: count(row, 1)?,
        definition: json_text(row, 2)?,
        created_at: micros(row, 3)?,
        updated_at: micros(row, 4)?,
        updated_by: row.try_get(5)?,
    };
    Ok((job, row.try_get(6)?))
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [FIND, ALL, COUNT, SAVE, SAVE_REVISION, OPEN_ENDPOINTS, DELETE, REVISION].map(str::to_owned).to_vec()
}
