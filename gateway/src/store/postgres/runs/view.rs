//! Runs as they are read.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row, Transaction};

use super::super::column::{ceiling_micros, count, json, json_or_none, micros, micros_or_none, payload, small, word};
use super::super::connect::Failure;
use super::super::page::{self, Statements};
use crate::model::job::{Run, RunEvent, RunStep, StepId};
use crate::model::{NameGlobs, RunId};
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

const BY_ID: &str = select!("WHERE r.id = $1");
const BY_NUMBERS: &str = select!("WHERE r.number = ANY ($1) ORDER BY r.number");

const STEPS: &str = "\
    SELECT run, id, status, error, errors, next, is_taken, due_at, tries, completion, attempts, output_digest, output_bytes, output
    FROM run_steps WHERE run = ANY ($1)";

const EVENTS: &str = "\
    SELECT e.id, e.step, e.status, e.attempts, e.at FROM run_events AS e JOIN runs AS r ON r.number = e.run
    WHERE r.id = $1 AND e.id > $2 ORDER BY e.id LIMIT $3";

const JOBS: &str = "\
    WITH RECURSIVE names (job) AS (
        SELECT min(job) FROM runs
        UNION ALL
        SELECT (SELECT min(job) FROM runs WHERE job > names.job) FROM names WHERE names.job IS NOT NULL)
    SELECT job FROM names WHERE job IS NOT NULL";

const COUNT: &str = "SELECT count(*) FROM runs AS r ";
const LIST: &str = select!("");

struct Found {
    number: i64,
    held: HeldRun,
    step_ids: Vec<StepId>,
}

pub(super) async fn find(tx: &Transaction<'_>, id: RunId) -> Result<Option<HeldRun>, Failure> {
    let found = tx.query_opt(BY_ID, &[id.as_uuid()]).await?;
    let found = found.map(|row| run_of_row(&row)).transpose()?;
    Ok(with_steps(tx, found.into_iter().collect()).await?.pop())
}

pub(super) async fn by_numbers(tx: &impl GenericClient, numbers: &[i64]) -> Result<Vec<HeldRun>, Failure> {
    let rows = tx.query(BY_NUMBERS, &[&numbers]).await?;
    let found = rows.iter().map(run_of_row).collect::<Result<_, _>>()?;
    with_steps(tx, found).await
}

fn run_of_row(row: &Row) -> Result<Found, Failure> {
    let missing = || Failure::Corrupt("a run without its data".into());
    let run = Run {
        id: RunId::from_uuid(row.try_get(1)?),
        job: word(row, 2)?,
        revision: count(row, 3)?,
        status: word(row, 4)?,
        error: json_or_none(row, 5)?,
        last_event: count(row, 6)?,
        cancel_requested: row.try_get(7)?,
        created_at: micros(row, 9)?,
        started_at: micros_or_none(row, 10)?,
        ended_at: micros_or_none(row, 11)?,
        traceparent: row.try_get(12)?,
        data: payload(row, 14)?.ok_or_else(missing)?,
        trigger: payload(row, 17)?.ok_or_else(missing)?,
        steps: Vec::new(),
    };
    let held = HeldRun { run, retry_requested: row.try_get(8)? };
    Ok(Found { number: row.try_get(0)?, held, step_ids: json(row, 13)? })
}

/// All steps in the order of the definition; those without a row are as they were at first.
async fn with_steps(tx: &impl GenericClient, found: Vec<Found>) -> Result<Vec<HeldRun>, Failure> {
    let numbers: Vec<_> = found.iter().map(|found| found.number).collect();
    let mut stored: HashMap<(i64, StepId), RunStep> = HashMap::new();
    for row in tx.query(STEPS, &[&numbers]).await? {
        let step = step_of_row(&row)?;
        stored.insert((row.try_get(0)?, step.id.clone()), step);
    }
    let whole = |found: Found| {
        let Found { number, mut held, step_ids } = found;
        let mut step = |id: StepId| stored.remove(&(number, id.clone())).unwrap_or_else(|| RunStep::untouched(id));
        held.run.steps = step_ids.into_iter().map(&mut step).collect();
        held
    };
    Ok(found.into_iter().map(whole).collect())
}

fn step_of_row(row: &Row) -> Result<RunStep, Failure> {
    Ok(RunStep {
        id: word(row, 1)?,
        status: word(row, 2)?,
        error: json_or_none(row, 3)?,
        errors: json_or_none(row, 4)?.unwrap_or_default(),
        next: json_or_none(row, 5)?,
        is_taken: row.try_get(6)?,
        due_at: micros_or_none(row, 7)?,
        tries: small(row.try_get(8)?)?,
        completion: row.try_get::<_, Option<i64>>(9)?.map(small).transpose()?,
        attempts: json(row, 10)?,
        output: payload(row, 11)?,
    })
}

pub(super) async fn events(tx: &Transaction<'_>, id: RunId, after: u64, max: u32) -> Result<Vec<RunEvent>, Failure> {
    let after = super::super::column::count_of(after);
    let event = |row: &Row| {
        Ok(RunEvent {
            id: count(row, 0)?,
            step: row.try_get::<_, Option<&str>>(1)?.map(|_| word(row, 1)).transpose()?,
            status: row.try_get(2)?,
            attempts: small(row.try_get(3)?)?,
            at: micros(row, 4)?,
        })
    };
    tx.query(EVENTS, &[id.as_uuid(), &after, &i64::from(max)]).await?.iter().map(event).collect()
}

/// Of names that a restricted key may see, those that have rows.
pub(in crate::store::postgres) async fn visible(
    tx: &Transaction<'_>,
    jobs: &str,
    globs: &NameGlobs,
) -> Result<Vec<String>, Failure> {
    let rows = tx.query(jobs, &[]).await?;
    let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok(names.into_iter().filter(|name| globs.is_match(name)).collect())
}

pub(super) async fn list(tx: &Transaction<'_>, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, Failure> {
    let (mut parts, mut values): (Vec<String>, Vec<Box<dyn ToSql + Sync + Send>>) = (Vec::new(), Vec::new());
    let mut add = |part: &str, value: Box<dyn ToSql + Sync + Send>| {
        values.push(value);
        parts.push(part.replace('?', &format!("${}", values.len())));
    };
    if let Some(job) = &filter.job {
        add("r.job = ?", Box::new(job.to_string()));
    }
    if let Some(status) = filter.status {
        add("r.status = ?", Box::new(status.as_str()));
    }
    if let Some(globs) = &filter.visible {
        add("r.job = ANY (?)", Box::new(visible(tx, JOBS, globs).await?));
    }
    if let Some(from) = filter.from {
        add("r.created_at >= ?", Box::new(ceiling_micros(from)));
    }
    if let Some(to) = filter.to {
        add("r.created_at < ?", Box::new(ceiling_micros(to)));
    }
    page::page(tx, &statements_of(&parts), &values, page, |row| Ok(run_of_row(row)?.held.run)).await
}

fn statements_of(parts: &[String]) -> Statements {
    let condition = if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) };
    let (limit, offset) = (parts.len() + 1, parts.len() + 2);
    Statements {
        count: format!("{COUNT}{condition}"),
        list: format!("{LIST}{condition} ORDER BY r.id DESC LIMIT ${limit} OFFSET ${offset}"),
    }
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let narrowed =
        statements_of(&["r.job = $1".to_owned(), "r.job = ANY ($2)".to_owned(), "r.created_at < $3".to_owned()]);
    let fixed = [BY_ID, BY_NUMBERS, STEPS, EVENTS, JOBS].map(str::to_owned);
    fixed.into_iter().chain([narrowed.count, narrowed.list]).collect()
}
