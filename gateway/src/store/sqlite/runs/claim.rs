//! Who works at which run.
//!
//! One process has the file, and one session at a time: a session that begins is the only one that lives.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::super::column::{Id, Micros};
use super::super::{Durability, SqliteStore};
use super::view;
use crate::model::RunId;
use crate::store::jobs::Beat;
use crate::store::{Error, HeldRun, WorkerId};

const BEGIN: &str = "INSERT OR IGNORE INTO workers (id) VALUES (?1)";
const END_OTHERS: &str = "DELETE FROM workers WHERE id <> ?1";
const END: &str = "DELETE FROM workers WHERE id = ?1";
const LIVES: &str = "SELECT EXISTS (SELECT 1 FROM workers WHERE id = ?1)";

const FREE_RUNS: &str = "UPDATE runs SET worker = NULL WHERE worker IS NOT NULL AND worker <> ?1";
const FREE_DELIVERIES: &str = "UPDATE deliveries SET worker = NULL WHERE worker IS NOT NULL AND worker <> ?1";
const LEAVE_RUNS: &str = "UPDATE runs SET worker = NULL WHERE worker = ?1";
const LEAVE_DELIVERIES: &str = "UPDATE deliveries SET worker = NULL WHERE worker = ?1";

const CANCELED: &str = "SELECT id FROM runs WHERE worker = ?1 AND cancel_requested";

/// From one job to the next in the index, whatever lies between: SQLite has no loose index scan of its own.
const DUE_JOBS: &str = "\
    WITH RECURSIVE names (job) AS (
        SELECT min(job) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(job) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL AND job > names.job)
        FROM names WHERE names.job IS NOT NULL)
    SELECT job FROM names
    WHERE job IS NOT NULL AND (SELECT min(due_at) FROM runs
                               WHERE worker IS NULL AND due_at IS NOT NULL AND job = names.job) <= ?1";

const DUE: &str = "\
    SELECT due_at, number FROM runs WHERE worker IS NULL AND due_at IS NOT NULL AND job = ?1 AND due_at <= ?2
    ORDER BY due_at, number LIMIT ?3";

const TAKE: &str = "UPDATE runs SET worker = ?2 WHERE number = ?1";

const NEXT: &str = "SELECT min(due_at) FROM runs WHERE worker IS NULL AND due_at IS NOT NULL";

pub(super) async fn beat(store: &SqliteStore, worker: WorkerId, is_first: bool) -> Result<Beat, Error> {
    if is_first {
        let begin = move |tx: &Transaction<'_>| {
            for statement in [END_OTHERS, BEGIN, FREE_RUNS, FREE_DELIVERIES] {
                tx.prepare_cached(statement)?.execute([worker.0.as_bytes()])?;
            }
            Ok(())
        };
        store.write("beginning a session", Durability::ProcessDeath, begin).await?;
    }
    store
        .read_unhurried("reading which runs are to end", move |tx| {
            if !lives(tx, worker)? {
                return Ok(Beat::Over);
            }
            let mut statement = tx.prepare_cached(CANCELED)?;
            let ids = statement.query_map([worker.0.as_bytes()], |row| Ok(row.get::<_, Id<RunId>>(0)?.0))?;
            Ok(Beat::Alive { cancel: ids.collect::<rusqlite::Result<_>>()? })
        })
        .await
}

/// Whether a session has not been followed by another. Within a transaction that writes it stays so.
pub(in crate::store::sqlite) fn lives(tx: &Transaction<'_>, worker: WorkerId) -> rusqlite::Result<bool> {
    tx.prepare_cached(LIVES)?.query_row([worker.0.as_bytes()], |row| row.get(0))
}

pub(super) async fn left(store: &SqliteStore, worker: WorkerId) -> Result<(), Error> {
    store
        .write("ending a session", Durability::ProcessDeath, move |tx| {
            for statement in [END, LEAVE_RUNS, LEAVE_DELIVERIES] {
                tx.prepare_cached(statement)?.execute([worker.0.as_bytes()])?;
            }
            Ok(())
        })
        .await
}

pub(super) async fn claim(
    store: &SqliteStore,
    worker: WorkerId,
    now: Timestamp,
    max: u32,
) -> Result<Vec<HeldRun>, Error> {
    // Most looks find nothing: no transaction that writes for those.
    let next = next_due(store).await?;
    if next.is_none_or(|due| due > now) {
        return Ok(Vec::new());
    }
    store
        .write("claiming runs", Durability::ProcessDeath, move |tx| {
            if !lives(tx, worker)? {
                return Ok(Vec::new());
            }
            let numbers = in_turn(due(tx, now, max)?, max);
            let mut held = Vec::with_capacity(numbers.len());
            for number in numbers {
                tx.prepare_cached(TAKE)?.execute(params![number, worker.0.as_bytes()])?;
                held.extend(view::by_number(tx, number)?);
            }
            Ok(held)
        })
        .await
}

pub(super) async fn next_due(store: &SqliteStore) -> Result<Option<Timestamp>, Error> {
    store
        .read_unhurried("reading when a run is due", |tx| {
            let due = tx.prepare_cached(NEXT)?.query_row([], |row| row.get::<_, Option<Micros>>(0))?;
            Ok(due.map(|micros| micros.0))
        })
        .await
}

/// A run that is due, and since when.
type Due = (i64, i64);

/// What is due, by job and in the order of each.
fn due(tx: &Transaction<'_>, now: Timestamp, max: u32) -> rusqlite::Result<Vec<Vec<Due>>> {
    let jobs: Vec<String> =
        tx.prepare_cached(DUE_JOBS)?.query_map([Micros(now)], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    // Where there are as many jobs as may be taken, nobody's second has its turn.
    let of_each = if u32::try_from(jobs.len()).is_ok_and(|jobs| jobs < max) { max } else { 1 };
    let mut statement = tx.prepare_cached(DUE)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    jobs.iter().map(|job| statement.query_map(params![job, Micros(now), of_each], row)?.collect()).collect()
}

/// The first of each, then the second of each, up to `max`; of as many as are first, those that wait longest.
fn in_turn(lists: Vec<Vec<Due>>, max: u32) -> Vec<i64> {
    let mut ranked: Vec<(usize, Due)> = lists.into_iter().flat_map(|list| list.into_iter().enumerate()).collect();
    ranked.sort_unstable();
    ranked.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    ranked.into_iter().map(|(_, (_, number))| number).collect()
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let sessions = [BEGIN, END_OTHERS, END, LIVES, FREE_RUNS, FREE_DELIVERIES, LEAVE_RUNS, LEAVE_DELIVERIES, CANCELED];
    sessions.into_iter().chain([DUE_JOBS, DUE, TAKE, NEXT]).map(str::to_owned).collect()
}
