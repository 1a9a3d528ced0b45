//! Runs as they are read.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Row, ToSql, Transaction, params};

use super::super::column::{Count, Id, Json, Micros, Word};
use super::payload;
use crate::model::RunId;
use crate::model::job::{Payload, Run, RunEvent, RunStep, StepId};
use crate::store::{HeldRun, Page, PageRequest, RunFilter};

/// What [`run_of_row`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.number, r.id, r.job, r.revision, r.status, r.error, r.last_event, r.cancel_requested, r.retry_requested,
                    r.created_at, r.started_at, r.ended_at, r.traceparent, r.step_ids, r.data_digest, r.data_bytes, r.data,
                    t.digest, t.bytes, t.text
             FROM runs AS r JOIN run_triggers AS t ON t.run = r.number ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE r.id = ?1");
const BY_NUMBER: &str = select!("WHERE r.number = ?1");

const STEPS: &str = "\
    SELECT id, status, error, errors, next, is_taken, due_at, tries, completion, attempts, output_digest, output_bytes, output
    FROM run_steps WHERE run = ?1";

const EVENTS: &str = "\
    SELECT e.id, e.step, e.status, e.attempts, e.at FROM run_events AS e JOIN runs AS r ON r.number = e.run
    WHERE r.id = ?1 AND e.id > ?2 ORDER BY e.id LIMIT ?3";

const JOBS: &str = "\
    WITH RECURSIVE names (job) AS (
        SELECT min(job) FROM runs
        UNION ALL
        SELECT (SELECT min(job) FROM runs WHERE job > names.job) FROM names WHERE names.job IS NOT NULL)
    SELECT job FROM names WHERE job IS NOT NULL";

const COUNT: &str = "SELECT count(*) FROM runs AS r ";
const LIST: &str = select!("");
const LIST_END: &str = " ORDER BY r.id DESC LIMIT :limit OFFSET :offset";

pub(super) fn find(tx: &Transaction<'_>, id: RunId) -> rusqlite::Result<Option<HeldRun>> {
    let found = tx.prepare_cached(BY_ID)?.query_row([Id(id)], run_of_row).optional()?;
    found.map(|found| with_steps(tx, found)).transpose()
}

pub(super) fn by_number(tx: &Transaction<'_>, number: i64) -> rusqlite::Result<Option<HeldRun>> {
    let found = tx.prepare_cached(BY_NUMBER)?.query_row([number], run_of_row).optional()?;
    found.map(|found| with_steps(tx, found)).transpose()
}

struct Found {
    number: i64,
    held: HeldRun,
    step_ids: Vec<StepId>,
}

fn run_of_row(row: &Row<'_>) -> rusqlite::Result<Found> {
    let time = |index| -> rusqlite::Result<_> { Ok(row.get::<_, Option<Micros>>(index)?.map(|micros| micros.0)) };
    let whole = |index| -> rusqlite::Result<Payload> {
        payload(row, index)?.ok_or(rusqlite::Error::InvalidColumnType(
            index,
            "payload".to_owned(),
            rusqlite::types::Type::Null,
        ))
    };
    let run = Run {
        id: row.get::<_, Id<_>>(1)?.0,
        job: row.get::<_, Word<_>>(2)?.0,
        revision: row.get::<_, Count>(3)?.0,
        status: row.get::<_, Word<_>>(4)?.0,
        error: row.get::<_, Option<Json<_>>>(5)?.map(|json| json.0),
        last_event: row.get::<_, Count>(6)?.0,
        cancel_requested: row.get(7)?,
        created_at: row.get::<_, Micros>(9)?.0,
        started_at: time(10)?,
        ended_at: time(11)?,
        traceparent: row.get(12)?,
        data: whole(14)?,
        trigger: whole(17)?,
        steps: Vec::new(),
    };
    let held = HeldRun { run, retry_requested: row.get(8)? };
    Ok(Found { number: row.get(0)?, held, step_ids: row.get::<_, Json<_>>(13)?.0 })
}

/// All steps in the order of the definition; those without a row are as they were at first.
fn with_steps(tx: &Transaction<'_>, found: Found) -> rusqlite::Result<HeldRun> {
    let Found { number, mut held, step_ids } = found;
    let mut statement = tx.prepare_cached(STEPS)?;
    let rows = statement.query_map([number], step_of_row)?;
    let mut stored: HashMap<StepId, RunStep> =
        rows.map(|step| step.map(|step| (step.id.clone(), step))).collect::<rusqlite::Result<_>>()?;
    held.run.steps =
        step_ids.into_iter().map(|id| stored.remove(&id).unwrap_or_else(|| RunStep::untouched(id))).collect();
    Ok(held)
}

fn step_of_row(row: &Row<'_>) -> rusqlite::Result<RunStep> {
    Ok(RunStep {
        id: row.get::<_, Word<_>>(0)?.0,
        status: row.get::<_, Word<_>>(1)?.0,
        error: row.get::<_, Option<Json<_>>>(2)?.map(|json| json.0),
        errors: row.get::<_, Option<Json<_>>>(3)?.map_or_else(Vec::new, |json| json.0),
        next: row.get::<_, Option<Json<_>>>(4)?.map(|json| json.0),
        is_taken: row.get(5)?,
        due_at: row.get::<_, Option<Micros>>(6)?.map(|micros| micros.0),
        tries: row.get(7)?,
        completion: row.get(8)?,
        attempts: row.get::<_, Json<_>>(9)?.0,
        output: payload(row, 10)?,
    })
}

pub(super) fn events(tx: &Transaction<'_>, id: RunId, after: u64, max: u32) -> rusqlite::Result<Vec<RunEvent>> {
    let event = |row: &Row<'_>| {
        Ok(RunEvent {
            id: row.get::<_, Count>(0)?.0,
            step: row.get::<_, Option<Word<_>>>(1)?.map(|word| word.0),
            status: row.get(2)?,
            attempts: row.get(3)?,
            at: row.get::<_, Micros>(4)?.0,
        })
    };
    tx.prepare_cached(EVENTS)?.query_map(params![Id(id), Count(after), max], event)?.collect()
}

/// Of names that a restricted key may see, those that have runs.
pub(in crate::store::sqlite) fn visible(
    tx: &Transaction<'_>,
    jobs: &str,
    globs: &crate::model::NameGlobs,
) -> rusqlite::Result<Vec<String>> {
    let names = tx.prepare_cached(jobs)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(names.into_iter().filter(|name| globs.is_match(name)).collect())
}

type Narrowed = (Vec<&'static str>, Vec<(&'static str, Box<dyn ToSql>)>);

fn narrowed(tx: &Transaction<'_>, filter: &RunFilter) -> rusqlite::Result<Narrowed> {
    let (mut parts, mut values): Narrowed = (Vec::new(), Vec::new());
    if let Some(job) = &filter.job {
        parts.push("r.job = :job");
        values.push((":job", Box::new(job.to_string())));
    }
    if let Some(status) = filter.status {
        parts.push("r.status = :status");
        values.push((":status", Box::new(status.as_str())));
    }
    if let Some(globs) = &filter.visible {
        parts.push("r.job IN (SELECT value FROM json_each(:visible))");
        values.push((":visible", Box::new(Json(visible(tx, JOBS, globs)?))));
    }
    if let Some(from) = filter.from {
        parts.push("r.created_at >= :from");
        values.push((":from", Box::new(super::super::column::ceiling_micros(from))));
    }
    if let Some(to) = filter.to {
        parts.push("r.created_at < :to");
        values.push((":to", Box::new(super::super::column::ceiling_micros(to))));
    }
    Ok((parts, values))
}

pub(super) fn list(tx: &Transaction<'_>, filter: &RunFilter, page: PageRequest) -> rusqlite::Result<Page<Run>> {
    let (parts, values) = narrowed(tx, filter)?;
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
    let runs = statement.query_map(values.as_slice(), |row| Ok(run_of_row(row)?.held.run))?;
    Ok(Page { items: runs.collect::<rusqlite::Result<_>>()?, total })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let list = format!("{LIST}WHERE r.job = :job AND r.status = :status{LIST_END}");
    let fixed = [BY_ID, BY_NUMBER, STEPS, EVENTS, JOBS, COUNT].map(str::to_owned);
    fixed.into_iter().chain([list]).collect()
}
