//! Notifications.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, ToSql, Transaction, params};

use super::column::{Count, Id, Json, Micros, Word};
use super::runs::{lives, visible};
use super::{Durability, SqliteStore, audit};
use crate::model::job::{Delivery, DeliveryAttempt};
use crate::model::{AuditEntry, DeliveryId};
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
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, CASE WHEN closed THEN 'dead' ELSE ?7 END, '[]', 0, CASE WHEN closed THEN NULL ELSE ?8 END, ?9, ?10
    FROM (SELECT EXISTS (SELECT 1 FROM closed_endpoints WHERE job = ?2 AND url = ?6) AS closed)
    WHERE true ON CONFLICT (id) DO NOTHING";

const CLAIM: &str = "\
    UPDATE deliveries SET worker = ?1 WHERE number IN
        (SELECT number FROM deliveries WHERE worker IS NULL AND due_at IS NOT NULL AND due_at <= ?2 ORDER BY due_at LIMIT ?3)
    RETURNING id, job, run_id, revision, notify_index, url, status, attempts, tries, due_at, created_at, delivered_at, body";

const NEXT: &str = "SELECT min(due_at) FROM deliveries WHERE worker IS NULL AND due_at IS NOT NULL";

const HELD: &str = "SELECT attempts FROM deliveries WHERE id = ?1 AND worker = ?2";

/// One that was tried while its endpoint was closed is dead, whatever came of it but that it was taken.
const TRIED: &str = "\
    UPDATE deliveries SET
        worker = NULL, attempts = ?3, tries = ?4, delivered_at = ?6,
        status = CASE WHEN ?2 = 'retrying' AND status = 'dead' THEN 'dead' ELSE ?2 END,
        due_at = CASE WHEN ?2 = 'retrying' AND status = 'dead' THEN NULL ELSE ?5 END
    WHERE id = ?1";

const CLOSE: &str = "\
    INSERT OR IGNORE INTO closed_endpoints (job, url) SELECT job, url FROM deliveries WHERE id = ?1";

const BURY: &str = "\
    UPDATE deliveries SET status = 'dead', due_at = NULL
    WHERE status = 'retrying' AND (job, url) IN (SELECT job, url FROM deliveries WHERE id = ?1)";

const OPEN: &str = "\
    DELETE FROM closed_endpoints WHERE (job, url) IN (SELECT job, url FROM deliveries WHERE id = ?1)";

const REPLAY: &str = "\
    UPDATE deliveries SET status = 'retrying', tries = 0, due_at = ?2, delivered_at = NULL, worker = NULL WHERE id = ?1";

const FIND: &str = select!("WHERE id = ?1");

const JOBS: &str = "\
    WITH RECURSIVE names (job) AS (
        SELECT min(job) FROM deliveries
        UNION ALL
        SELECT (SELECT min(job) FROM deliveries WHERE job > names.job) FROM names WHERE names.job IS NOT NULL)
    SELECT job FROM names WHERE job IS NOT NULL";

const COUNT: &str = "SELECT count(*) FROM deliveries ";
const LIST: &str = select!("");
const LIST_END: &str = " ORDER BY id DESC LIMIT :limit OFFSET :offset";

#[async_trait]
impl Deliveries for SqliteStore {
    async fn claim_deliveries(&self, worker: WorkerId, now: Timestamp, max: u32) -> Result<Vec<Delivery>, Error> {
        if self.next_delivery_due().await?.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        self.write("claiming notifications", Durability::ProcessDeath, move |tx| {
            if !lives(tx, worker)? {
                return Ok(Vec::new());
            }
            tx.prepare_cached(CLAIM)?.query_map(params![worker.0.as_bytes(), Micros(now), max], delivery)?.collect()
        })
        .await
    }

    async fn delivery_tried(&self, tried: &DeliveryTried) -> Result<bool, Error> {
        let tried = tried.clone();
        self.write("storing a notification's attempt", Durability::PowerLoss, move |tx| store(tx, tried)).await
    }

    async fn next_delivery_due(&self) -> Result<Option<Timestamp>, Error> {
        self.read_unhurried("reading when a notification is due", |tx| {
            let due = tx.prepare_cached(NEXT)?.query_row([], |row| row.get::<_, Option<Micros>>(0))?;
            Ok(due.map(|micros| micros.0))
        })
        .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        self.read("reading a notification", move |tx| tx.prepare_cached(FIND)?.query_row([Id(id)], delivery).optional())
            .await
    }

    async fn list_deliveries(&self, filter: &DeliveryFilter, page: PageRequest) -> Result<Page<Delivery>, Error> {
        let filter = filter.clone();
        self.read("listing notifications", move |tx| list(tx, &filter, page)).await
    }

    async fn replay_delivery(&self, id: DeliveryId, now: Timestamp, entry: &AuditEntry) -> Result<Replayed, Error> {
        let entry = entry.clone();
        self.write("replaying a notification", Durability::PowerLoss, move |tx| {
            if tx.prepare_cached(REPLAY)?.execute(params![Id(id), Micros(now)])? == 0 {
                return Ok(Replayed::NotFound);
            }
            tx.prepare_cached(OPEN)?.execute([Id(id)])?;
            audit::append(tx, &entry)?;
            Ok(Replayed::Accepted)
        })
        .await
    }
}

/// Within the transaction of the end that it tells of.
pub(super) fn insert(tx: &Transaction<'_>, delivery: &Delivery) -> rusqlite::Result<()> {
    tx.prepare_cached(INSERT)?.execute(params![
        Id(delivery.id),
        delivery.job.as_str(),
        Id(delivery.run_id),
        Count(delivery.revision),
        delivery.notify_index,
        delivery.url,
        delivery.status.as_str(),
        delivery.due_at.map(Micros),
        Micros(delivery.created_at),
        delivery.body,
    ])?;
    Ok(())
}

fn store(tx: &Transaction<'_>, tried: DeliveryTried) -> rusqlite::Result<bool> {
    let held = tx
        .prepare_cached(HELD)?
        .query_row(params![Id(tried.id), tried.worker.0.as_bytes()], |row| row.get::<_, Json<Vec<DeliveryAttempt>>>(0));
    let Some(Json(mut attempts)) = held.optional()? else { return Ok(false) };
    let delivered_at =
        (tried.status == crate::model::job::DeliveryStatus::Delivered).then_some(Micros(tried.attempt.at));
    attempts.push(tried.attempt);
    let excess = attempts.len().saturating_sub(ATTEMPTS_KEPT);
    attempts.drain(..excess);
    tx.prepare_cached(TRIED)?.execute(params![
        Id(tried.id),
        tried.status.as_str(),
        Json(attempts),
        tried.tries,
        tried.due_at.map(Micros),
        delivered_at,
    ])?;
    if tried.disables_endpoint {
        tx.prepare_cached(CLOSE)?.execute([Id(tried.id)])?;
        tx.prepare_cached(BURY)?.execute([Id(tried.id)])?;
    }
    Ok(true)
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let time = |index| -> rusqlite::Result<_> { Ok(row.get::<_, Option<Micros>>(index)?.map(|micros| micros.0)) };
    Ok(Delivery {
        id: row.get::<_, Id<_>>(0)?.0,
        job: row.get::<_, Word<_>>(1)?.0,
        run_id: row.get::<_, Id<_>>(2)?.0,
        revision: row.get::<_, Count>(3)?.0,
        notify_index: row.get(4)?,
        url: row.get(5)?,
        status: row.get::<_, Word<_>>(6)?.0,
        attempts: row.get::<_, Json<_>>(7)?.0,
        tries: row.get(8)?,
        due_at: time(9)?,
        created_at: row.get::<_, Micros>(10)?.0,
        delivered_at: time(11)?,
        body: row.get(12)?,
    })
}

/// Parts of a condition, and the values of their parameters.
type Narrowed = (Vec<&'static str>, Vec<(&'static str, Box<dyn ToSql>)>);

fn list(tx: &Transaction<'_>, filter: &DeliveryFilter, page: PageRequest) -> rusqlite::Result<Page<Delivery>> {
    let (mut parts, mut values): Narrowed = (Vec::new(), Vec::new());
    if let Some(job) = &filter.job {
        parts.push("job = :job");
        values.push((":job", Box::new(job.to_string())));
    }
    if let Some(status) = filter.status {
        parts.push("status = :status");
        values.push((":status", Box::new(status.as_str())));
    }
    if let Some(globs) = &filter.visible {
        parts.push("job IN (SELECT value FROM json_each(:visible))");
        values.push((":visible", Box::new(Json(visible(tx, JOBS, globs)?))));
    }
    let condition = if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) };
    let mut values: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, &**value)).collect();
    let total =
        tx.prepare(&format!("{COUNT}{condition}"))?.query_row(values.as_slice(), |row| row.get::<_, Count>(0))?.0;
    if page.offset() >= total {
        // The database would walk over all rows to find that out.
        return Ok(Page { items: Vec::new(), total });
    }
    let offset = Count(page.offset());
    values.push((":limit", &page.limit));
    values.push((":offset", &offset));
    let mut statement = tx.prepare(&format!("{LIST}{condition}{LIST_END}"))?;
    let items = statement.query_map(values.as_slice(), delivery)?.collect::<rusqlite::Result<_>>()?;
    Ok(Page { items, total })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let list = format!("{LIST}WHERE job = :job AND status = :status{LIST_END}");
    let fixed = [INSERT, CLAIM, NEXT, HELD, TRIED, CLOSE, BURY, OPEN, REPLAY, FIND, JOBS, COUNT].map(str::to_owned);
    fixed.into_iter().chain([list]).collect()
}
