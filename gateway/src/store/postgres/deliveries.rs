//! Notifications.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::column::{count, count_of, json, json_of, micros, micros_or_none, small, storable, word};
use super::connect::{Failure, Lane};
use super::page::{self, Statements};
use super::runs::{reap_and_lives, visible};
use super::{PostgresStore, audit};
use crate::model::job::{Delivery, DeliveryAttempt, DeliveryStatus};
use crate::model::{AuditEntry, DeliveryId, RunId};
use crate::store::jobs::{ATTEMPTS_KEPT, Deliveries};
use crate::store::{DeliveryFilter, DeliveryTried, Error, Page, PageRequest, Replayed, WorkerId};

/// What [`delivery`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, job, run_id, revision, notify_index, url, status, attempts, tries, due_at, created_at, delivered_at, body
             FROM deliveries ",
            $rest
        )
    };
}

/// For an endpoint that wants nothing more it is dead from the start.
const INSERT: &str = "\
    INSERT INTO deliveries (id, job, run_id, revision, notify_index, url, status, attempts, tries, due_at, created_at, body)
    SELECT $1, $2, $3, $4, $5, $6, CASE WHEN closed THEN 'dead' ELSE $7::text END, '[]', 0, CASE WHEN closed THEN NULL ELSE $8::bigint END,
           $9, $10
    FROM (SELECT EXISTS (SELECT 1 FROM closed_endpoints WHERE job = $2 AND url = $6) AS closed) AS c
    ON CONFLICT (id) DO NOTHING";

const CLAIM: &str = "\
    WITH due AS (
        SELECT number FROM deliveries WHERE worker IS NULL AND due_at IS NOT NULL AND due_at <= $2 ORDER BY due_at LIMIT $3
        FOR UPDATE SKIP LOCKED)
    UPDATE deliveries SET worker = $1 FROM due WHERE deliveries.number = due.number
    RETURNING id, job, run_id, revision, notify_index, url, status, attempts, tries, due_at, created_at, delivered_at, body";

const NEXT: &str = "SELECT min(due_at) FROM deliveries WHERE worker IS NULL AND due_at IS NOT NULL";

const HELD: &str = "SELECT attempts FROM deliveries WHERE id = $1 AND worker = $2 FOR UPDATE";

/// One that was tried while its endpoint was closed is dead, whatever came of it but that it was taken.
const TRIED: &str = "\
    UPDATE deliveries SET
        worker = NULL, attempts = $3, tries = $4, delivered_at = $6,
        status = CASE WHEN $2::text = 'retrying' AND status = 'dead' THEN 'dead' ELSE $2::text END,
        due_at = CASE WHEN $2::text = 'retrying' AND status = 'dead' THEN NULL ELSE $5::bigint END
    WHERE id = $1";

const CLOSE: &str = "\
    INSERT INTO closed_endpoints (job, url) SELECT job, url FROM deliveries WHERE id = $1 ON CONFLICT DO NOTHING";

const BURY: &str = "\
    UPDATE deliveries SET status = 'dead', due_at = NULL
    WHERE status = 'retrying' AND (job, url) IN (SELECT job, url FROM deliveries WHERE id = $1)";

const OPEN: &str = "DELETE FROM closed_endpoints WHERE (job, url) IN (SELECT job, url FROM deliveries WHERE id = $1)";

const REPLAY: &str = "\
    UPDATE deliveries SET status = 'retrying', tries = 0, due_at = $2, delivered_at = NULL, worker = NULL WHERE id = $1";

const FIND: &str = select!("WHERE id = $1");

const JOBS: &str = "\
    WITH RECURSIVE names (job) AS (
        SELECT min(job) FROM deliveries
        UNION ALL
        SELECT (SELECT min(job) FROM deliveries WHERE job > names.job) FROM names WHERE names.job IS NOT NULL)
    SELECT job FROM names WHERE job IS NOT NULL";

const COUNT: &str = "SELECT count(*) FROM deliveries ";
const LIST: &str = select!("");

#[async_trait]
impl Deliveries for PostgresStore {
    async fn claim_deliveries(&self, worker: WorkerId, now: Timestamp, max: u32) -> Result<Vec<Delivery>, Error> {
        self.write(Lane::Own, "claiming notifications", move |tx| {
            Box::pin(async move {
                if !reap_and_lives(tx, worker).await? {
                    return Ok(Vec::new());
                }
                let claim = tx.prepare_cached(CLAIM).await?;
                let rows = tx.query(&claim, &[&worker.0, &now.as_microsecond(), &i64::from(max)]).await?;
                rows.iter().map(delivery).collect()
            })
        })
        .await
    }

    async fn delivery_tried(&self, tried: &DeliveryTried) -> Result<bool, Error> {
        let tried = tried.clone();
        self.write(Lane::Own, "storing a notification's attempt", move |tx| {
            Box::pin(async move { store(tx, &tried).await })
        })
        .await
    }

    async fn next_delivery_due(&self) -> Result<Option<Timestamp>, Error> {
        self.read("reading when a notification is due", |tx| {
            Box::pin(async move { micros_or_none(&tx.query_one(NEXT, &[]).await?, 0) })
        })
        .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        self.read("reading a notification", move |tx| {
            Box::pin(async move { tx.query_opt(FIND, &[id.as_uuid()]).await?.map(|row| delivery(&row)).transpose() })
        })
        .await
    }

    async fn list_deliveries(&self, filter: &DeliveryFilter, page: PageRequest) -> Result<Page<Delivery>, Error> {
        let filter = filter.clone();
        self.read("listing notifications", move |tx| Box::pin(async move { list(tx, &filter, page).await })).await
    }

    async fn replay_delivery(&self, id: DeliveryId, now: Timestamp, entry: &AuditEntry) -> Result<Replayed, Error> {
        let entry = entry.clone();
        self.write(Lane::Requests, "replaying a notification", move |tx| {
            Box::pin(async move {
                if tx.execute(REPLAY, &[id.as_uuid(), &now.as_microsecond()]).await? == 0 {
                    return Ok(Replayed::NotFound);
                }
                tx.execute(OPEN, &[id.as_uuid()]).await?;
                audit::append(tx, &entry).await?;
                Ok(Replayed::Accepted)
            })
        })
        .await
    }
}

/// Within the transaction of the end that it tells of.
pub(super) async fn insert(tx: &Transaction<'_>, delivery: &Delivery) -> Result<(), Failure> {
    let values: [&(dyn ToSql + Sync); 10] = [
        delivery.id.as_uuid(),
        &delivery.job.as_str(),
        delivery.run_id.as_uuid(),
        &count_of(delivery.revision),
        &i64::from(delivery.notify_index),
        &delivery.url,
        &delivery.status.as_str(),
        &delivery.due_at.map(Timestamp::as_microsecond),
        &delivery.created_at.as_microsecond(),
        &storable(&delivery.body),
    ];
    let insert = tx.prepare_cached(INSERT).await?;
    tx.execute(&insert, &values).await?;
    Ok(())
}

async fn store(tx: &Transaction<'_>, tried: &DeliveryTried) -> Result<bool, Failure> {
    let id = tried.id.as_uuid();
    let Some(row) = tx.query_opt(HELD, &[id, &tried.worker.0]).await? else { return Ok(false) };
    let mut attempts: Vec<DeliveryAttempt> = json(&row, 0)?;
    attempts.push(tried.attempt.clone());
    let excess = attempts.len().saturating_sub(ATTEMPTS_KEPT);
    attempts.drain(..excess);
    let delivered_at = (tried.status == DeliveryStatus::Delivered).then_some(tried.attempt.at.as_microsecond());
    let due_at = tried.due_at.map(Timestamp::as_microsecond);
    let attempts = storable(&json_of(&attempts)?);
    let place = i64::from(tried.tries);
    tx.execute(TRIED, &[id, &tried.status.as_str(), &attempts, &place, &due_at, &delivered_at]).await?;
    if tried.disables_endpoint {
        tx.execute(CLOSE, &[id]).await?;
        tx.execute(BURY, &[id]).await?;
    }
    Ok(true)
}

fn delivery(row: &Row) -> Result<Delivery, Failure> {
    Ok(Delivery {
        id: DeliveryId::from_uuid(row.try_get(0)?),
        job: word(row, 1)?,
        run_id: RunId::from_uuid(row.try_get(2)?),
        revision: count(row, 3)?,
        notify_index: small(row.try_get(4)?)?,
        url: row.try_get(5)?,
        status: word(row, 6)?,
        attempts: json(row, 7)?,
        tries: small(row.try_get(8)?)?,
        due_at: micros_or_none(row, 9)?,
        created_at: micros(row, 10)?,
        delivered_at: micros_or_none(row, 11)?,
        body: row.try_get(12)?,
    })
}

async fn list(
    tx: &tokio_postgres::Transaction<'_>,
    filter: &DeliveryFilter,
    page: PageRequest,
) -> Result<Page<Delivery>, Failure> {
    let (mut parts, mut values): (Vec<String>, Vec<Box<dyn ToSql + Sync + Send>>) = (Vec::new(), Vec::new());
    let mut add = |part: &str, value: Box<dyn ToSql + Sync + Send>| {
        values.push(value);
        parts.push(part.replace('?', &format!("${}", values.len())));
    };
    if let Some(job) = &filter.job {
        add("job = ?", Box::new(job.to_string()));
    }
    if let Some(status) = filter.status {
        add("status = ?", Box::new(status.as_str()));
    }
    if let Some(globs) = &filter.visible {
        add("job = ANY (?)", Box::new(visible(tx, JOBS, globs).await?));
    }
    page::page(tx, &statements_of(&parts), &values, page, delivery).await
}

fn statements_of(parts: &[String]) -> Statements {
    let condition = if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) };
    let (limit, offset) = (parts.len() + 1, parts.len() + 2);
    Statements {
        count: format!("{COUNT}{condition}"),
        list: format!("{LIST}{condition} ORDER BY id DESC LIMIT ${limit} OFFSET ${offset}"),
    }
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let narrowed = statements_of(&["job = $1".to_owned(), "job = ANY ($2)".to_owned()]);
    let fixed = [INSERT, CLAIM, NEXT, HELD, TRIED, CLOSE, BURY, OPEN, REPLAY, FIND, JOBS].map(str::to_owned);
    fixed.into_iter().chain([narrowed.count, narrowed.list]).collect()
}
