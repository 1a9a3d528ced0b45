//! Who works at which run.
//!
//! Invariant: a session is over by the database's clock, whatever those of the gateways say.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::PostgresStore;
use super::super::column::{count_of, micros_or_none};
use super::super::connect::{Failure, Lane};
use super::view;
use crate::model::RunId;
use crate::store::jobs::Beat;
use crate::store::{Error, HeldRun, WorkerId};

/// The database's time, and not that of the transaction's start.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}

const BEGIN: &str = concat!("INSERT INTO workers (id, until) VALUES ($1, ", now!(), " + $2)");

const EXTEND: &str = concat!("UPDATE workers SET until = ", now!(), " + $2 WHERE id = $1 AND until > ", now!());

const CANCELED: &str = "SELECT id FROM runs WHERE worker = $1 AND cancel_requested";

/// Sessions that are over. One that takes something at this moment is left to the next look.
const REAP: &str = concat!(
    "DELETE FROM workers WHERE id IN (SELECT id FROM workers WHERE until <= ",
    now!(),
    " ORDER BY id FOR UPDATE SKIP LOCKED) RETURNING id"
);

const LEAVE: &str = "DELETE FROM workers WHERE id = $1";

/// What they held, after they are gone: in a statement of its own, so that it sees what they took last. Where somebody writes
/// such a run at this moment, it waits for that.
const FREE: &str = "\
    WITH deliveries AS (UPDATE deliveries SET worker = NULL WHERE worker = ANY ($1))
    UPDATE runs SET worker = NULL
    WHERE number IN (SELECT number FROM runs WHERE worker = ANY ($1) ORDER BY number FOR UPDATE)";

/// Until the commit, nobody ends it: whoever did would not see what it takes now.
const LIVES: &str = concat!("SELECT FROM workers WHERE id = $1 AND until > ", now!(), " FOR KEY SHARE");

/// From one job to the next in the index, whatever lies between, and of each its first; then the first of each before the
/// second of any, and of as many as are first, those that wait longest. Where there are as many jobs as may be taken, nobody's
/// second has its turn. Those that another gateway is taking are passed over.
const CLAIM: &str = "\
    WITH RECURSIVE names (job) AS (
        (SELECT min(job) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL)
        UNION ALL
        SELECT (SELECT min(job) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL AND job > names.job)
        FROM names WHERE names.job IS NOT NULL),
    ready AS MATERIALIZED (
        SELECT job FROM names WHERE job IS NOT NULL
            AND EXISTS (SELECT 1 FROM runs WHERE worker IS NULL AND due_at IS NOT NULL AND job = names.job AND due_at <= $2)),
    due AS (
        SELECT d.number FROM ready CROSS JOIN LATERAL (
            SELECT number, due_at, row_number() OVER (ORDER BY due_at, number) AS rank FROM (
                SELECT number, due_at FROM runs
                WHERE worker IS NULL AND due_at IS NOT NULL AND job = ready.job AND due_at <= $2
                ORDER BY due_at, number
                LIMIT CASE WHEN (SELECT count(*) FROM ready) < $3 THEN $3 ELSE 1 END) AS first) AS d
        ORDER BY d.rank, d.due_at, d.number LIMIT $3),
    free AS (
        SELECT r.number FROM runs AS r WHERE r.number IN (SELECT number FROM due) AND r.worker IS NULL AND r.due_at IS NOT NULL
        FOR UPDATE SKIP LOCKED)
    UPDATE runs SET worker = $1 FROM free WHERE runs.number = free.number
    RETURNING runs.number";

const NEXT: &str = "SELECT min(due_at) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL";

const HELD_BY_THE_DEAD: &str = concat!("SELECT EXISTS (SELECT 1 FROM workers WHERE until <= ", now!(), ")");

pub(super) async fn beat(
    store: &PostgresStore,
    worker: WorkerId,
    lease_ms: u64,
    is_first: bool,
) -> Result<Beat, Error> {
    let lease = count_of(lease_ms.saturating_mul(1_000));
    store
        .write(Lane::Own, "telling that a session lives", move |tx| {
            Box::pin(async move {
                let changed = tx.execute(if is_first { BEGIN } else { EXTEND }, &[&worker.0, &lease]).await?;
                if changed == 0 {
                    return Ok(Beat::Over);
                }
                let rows = tx.query(CANCELED, &[&worker.0]).await?;
                let cancel = rows.iter().map(|row| row.try_get(0).map(RunId::from_uuid)).collect::<Result<_, _>>()?;
                Ok(Beat::Alive { cancel })
            })
        })
        .await
}

pub(super) async fn left(store: &PostgresStore, worker: WorkerId) -> Result<(), Error> {
    store
        .write(Lane::Own, "ending a session", move |tx| {
            Box::pin(async move {
                tx.execute(LEAVE, &[&worker.0]).await?;
                tx.execute(FREE, &[&[worker.0].as_slice()]).await?;
                Ok(())
            })
        })
        .await
}

pub(super) async fn claim(
    store: &PostgresStore,
    worker: WorkerId,
    now: Timestamp,
    max: u32,
) -> Result<Vec<HeldRun>, Error> {
    store
        .write(Lane::Own, "claiming runs", move |tx| {
            Box::pin(async move {
                if !reap_and_lives(tx, worker).await? {
                    return Ok(Vec::new());
                }
                let claim = tx.prepare_cached(CLAIM).await?;
                let rows = tx.query(&claim, &[&worker.0, &now.as_microsecond(), &i64::from(max)]).await?;
                if rows.is_empty() {
                    return Ok(Vec::new());
                }
                let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
                let client: &tokio_postgres::Transaction<'_> = tx;
                view::by_numbers(client, &numbers).await
            })
        })
        .await
}

/// Frees what sessions held that are over, and tells whether this one lives: until the commit, it does.
pub(in crate::store::postgres) async fn reap_and_lives(
    tx: &Transaction<'_>,
    worker: WorkerId,
) -> Result<bool, Failure> {
    let (some, lives) = (tx.prepare_cached(HELD_BY_THE_DEAD).await?, tx.prepare_cached(LIVES).await?);
    let id: [&(dyn ToSql + Sync); 1] = [&worker.0];
    let (some, lives) = futures_util::future::try_join(tx.query_one(&some, &[]), tx.query_opt(&lives, &id)).await?;
    if some.try_get(0)? {
        let dead = tx.query(REAP, &[]).await?;
        let dead = dead.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
        tx.execute(FREE, &[&dead]).await?;
    }
    Ok(lives.is_some())
}

pub(super) async fn next_due(store: &PostgresStore) -> Result<Option<Timestamp>, Error> {
    store
        .read("reading when a run is due", |tx| {
            Box::pin(async move { micros_or_none(&tx.query_one(NEXT, &[]).await?, 0) })
        })
        .await
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [BEGIN, EXTEND, CANCELED, REAP, LEAVE, FREE, LIVES, CLAIM, NEXT, HELD_BY_THE_DEAD].map(str::to_owned).to_vec()
}
