//! Executions and their logs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::PostgresStore;
use super::column::{count, count_of, count_or_none, json_of, json_or_none, micros, storable, word};
use super::connect::{Failure, Lane};
use super::page::{self, Statements};
use crate::model::{ExecutionError, ExecutionId, ExecutionRecord, Level, LogLine, ModuleId, RunId, Status};
use crate::store::{Error, ExecutionFilter, Executions, Page, PageRequest};

/// What [`record_of_row`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, m.id, m.name, m.version, e.function, e.status, e.started_at, e.duration_us, e.fuel,
                    e.memory_bytes, e.error, e.lines_dropped, e.run_id, e.job
             FROM executions AS e JOIN modules AS m ON m.number = e.module ",
            $rest
        )
    };
}

/// A whole batch: thousands of rows a second in statements of hundreds. The modules' rows
/// are locked against deletion until the commit; those that are gone drop out. Executions
/// in the order of their ids, so that two batches can't wait for each other.
const RECORD: &str = "\
    WITH known AS MATERIALIZED (SELECT id, number FROM modules WHERE id = ANY ($2) ORDER BY number FOR KEY SHARE)
    INSERT INTO executions (id, module, function, status, started_at, duration_us, fuel, memory_bytes, error,
                            lines_dropped, lines, gateway, run_id, job)
    SELECT r.id, k.number, r.function, r.status, r.started_at, r.duration_us, r.fuel, r.memory_bytes, r.error,
           r.lines_dropped, r.lines, CASE r.status WHEN 'running' THEN $12::uuid END, r.run_id, r.job
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                $8::bigint[], $9::text[], $10::bigint[], $11::text[], $13::uuid[], $14::text[])
         AS r (id, module_id, function, status, started_at, duration_us, fuel, memory_bytes, error, lines_dropped, lines,
               run_id, job)
    JOIN known AS k ON k.id = r.module_id
    ORDER BY r.id
    ON CONFLICT (id) DO UPDATE SET
        module = excluded.module, function = excluded.function, status = excluded.status,
        started_at = excluded.started_at, duration_us = excluded.duration_us, fuel = excluded.fuel,
        memory_bytes = excluded.memory_bytes, error = excluded.error, lines_dropped = excluded.lines_dropped,
        lines = excluded.lines, gateway = excluded.gateway, run_id = excluded.run_id, job = excluded.job
    WHERE executions.status = 'running'";

/// What runs has not completed, so the index on that serves it.
const END_OWN: &str = "\
    UPDATE executions SET status = 'failed', error = $1, gateway = NULL
    WHERE status = 'running' AND gateway = $2";

const FIND: &str = select!("WHERE e.id = $1");

const FIND_LINES: &str = "SELECT lines FROM executions WHERE id = $1";

/// Of a run; of one module where the second is not NULL.
const COUNT_OF_RUN: &str = "\
    SELECT count(*) FROM executions AS e
    WHERE e.run_id = $1 AND ($2::uuid IS NULL OR e.module = (SELECT number FROM modules WHERE id = $2))";

const LIST_OF_RUN: &str =
    select!("WHERE e.run_id = $1 AND ($2::uuid IS NULL OR m.id = $2) ORDER BY e.id LIMIT $3 OFFSET $4");

const LINES_OF_ALL: &str = "SELECT id, lines FROM executions WHERE id = ANY ($1) AND lines IS NOT NULL";

/// A run whose own row is gone is known by what is left of it.
const IS_RUN: &str = "\
    SELECT EXISTS (SELECT 1 FROM runs WHERE id = $1) OR EXISTS (SELECT 1 FROM executions WHERE run_id = $1)";

const COUNT: &str = "SELECT count(*) FROM executions AS e ";
const LIST: &str = select!("");

#[async_trait]
impl Executions for PostgresStore {
    async fn record_executions(&self, records: Arc<[ExecutionRecord]>) -> Result<(), Error> {
        let gateway = self.gateway;
        self.pools
            .run(Lane::Own, "storing executions", move |client| {
                Box::pin(async move {
                    let batch = Batch::of(&records)?;
                    let statement = client.prepare_cached(RECORD).await?;
                    // One statement is a transaction of its own.
                    client.execute(&statement, &batch.values(&gateway)).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn end_interrupted(&self, error: &ExecutionError) -> Result<u64, Error> {
        let (error, gateway) = (error.clone(), self.gateway);
        self.write(Lane::Own, "ending interrupted executions", move |tx| {
            Box::pin(async move { Ok(tx.execute(END_OWN, &[&json_of(&error)?, &gateway]).await?) })
        })
        .await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error> {
        self.read("reading an execution", move |tx| Box::pin(async move { find(tx, id).await })).await
    }

    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        page: PageRequest,
    ) -> Result<Page<ExecutionRecord>, Error> {
        let filter = filter.clone();
        self.read("listing executions", move |tx| Box::pin(async move { list(tx, &filter, page).await })).await
    }

    async fn execution_logs(
        &self,
        id: ExecutionId,
        module_id: Option<ModuleId>,
        level: Level,
        page: PageRequest,
    ) -> Result<Option<Page<ExecutionRecord>>, Error> {
        self.read("reading an execution's log", move |tx| {
            Box::pin(async move {
                let Some(mut record) = find(tx, id).await? else {
                    return logs_of_run(tx, *id.as_uuid(), module_id, (level, page)).await;
                };
                if module_id.is_some_and(|module_id| module_id != record.module_id) {
                    return Ok(Some(Page { items: Vec::new(), total: 0 }));
                }
                if page.offset() > 0 {
                    return Ok(Some(Page { items: Vec::new(), total: 1 }));
                }
                let row = tx.query_one(FIND_LINES, &[id.as_uuid()]).await?;
                record.lines = json_or_none::<Vec<LogLine>>(&row, 0)?.unwrap_or_default();
                record.lines.retain(|line| line.level >= level);
                Ok(Some(Page { items: vec![record], total: 1 }))
            })
        })
        .await
    }
}

/// Records by column, as one statement takes them.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    modules: Vec<Uuid>,
    functions: Vec<String>,
    statuses: Vec<&'static str>,
    started_at: Vec<i64>,
    durations: Vec<Option<i64>>,
    fuel: Vec<Option<i64>>,
    memory: Vec<Option<i64>>,
    errors: Vec<Option<String>>,
    dropped: Vec<i64>,
    lines: Vec<Option<String>>,
    run_ids: Vec<Option<Uuid>>,
    jobs: Vec<Option<String>>,
}

impl Batch {
    fn of(records: &[ExecutionRecord]) -> Result<Self, Failure> {
        let mut batch = Self::default();
        for record in last_of_each(records) {
            batch.push(record)?;
        }
        Ok(batch)
    }

    fn push(&mut self, record: &ExecutionRecord) -> Result<(), Failure> {
        self.ids.push(*record.execution_id.as_uuid());
        self.modules.push(*record.module_id.as_uuid());
        self.functions.push(storable(&record.function));
        self.statuses.push(record.status.as_str());
        self.started_at.push(record.started_at.as_microsecond());
        self.durations.push(record.duration_us.map(count_of));
        self.fuel.push(record.fuel.map(count_of));
        self.memory.push(record.memory_bytes.map(count_of));
        self.errors.push(record.error.as_ref().map(json_of).transpose()?);
        self.dropped.push(count_of(record.lines_dropped));
        self.lines.push(if record.lines.is_empty() { None } else { Some(json_of(&record.lines)?) });
        self.run_ids.push(record.run_id.map(|id| *id.as_uuid()));
        self.jobs.push(record.job.as_ref().map(ToString::to_string));
        Ok(())
    }

    fn values<'b>(&'b self, gateway: &'b Uuid) -> [&'b (dyn ToSql + Sync); 14] {
        [
            &self.ids,
            &self.modules,
            &self.functions,
            &self.statuses,
            &self.started_at,
            &self.durations,
            &self.fuel,
            &self.memory,
            &self.errors,
            &self.dropped,
            &self.lines,
            gateway,
            &self.run_ids,
            &self.jobs,
        ]
    }
}

/// What is left of records that are stored one after the other: one statement can't
/// write a row twice.
fn last_of_each(records: &[ExecutionRecord]) -> Vec<&ExecutionRecord> {
    let mut last: Vec<&ExecutionRecord> = Vec::with_capacity(records.len());
    let mut places: HashMap<ExecutionId, usize> = HashMap::with_capacity(records.len());
    for record in records {
        match places.entry(record.execution_id) {
            Entry::Vacant(place) => {
                place.insert(last.len());
                last.push(record);
            }
            Entry::Occupied(place) => {
                if let Some(earlier) = last.get_mut(*place.get())
                    && earlier.status == Status::Running
                {
                    *earlier = record;
                }
            }
        }
    }
    last
}

async fn find(tx: &Transaction<'_>, id: ExecutionId) -> Result<Option<ExecutionRecord>, Failure> {
    tx.query_opt(FIND, &[id.as_uuid()]).await?.as_ref().map(record_of_row).transpose()
}

async fn logs_of_run(
    tx: &Transaction<'_>,
    run: Uuid,
    module_id: Option<ModuleId>,
    (level, page): (Level, PageRequest),
) -> Result<Option<Page<ExecutionRecord>>, Failure> {
    let module = module_id.map(|id| *id.as_uuid());
    let total = count(&tx.query_one(COUNT_OF_RUN, &[&run, &module]).await?, 0)?;
    if total == 0 && !tx.query_one(IS_RUN, &[&run]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let (limit, offset) = (i64::from(page.limit), count_of(page.offset()));
    let rows = tx.query(LIST_OF_RUN, &[&run, &module, &limit, &offset]).await?;
    let mut items = rows.iter().map(record_of_row).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<Uuid> = items.iter().map(|item| *item.execution_id.as_uuid()).collect();
    let mut lines: HashMap<Uuid, Vec<LogLine>> = HashMap::with_capacity(ids.len());
    for row in tx.query(LINES_OF_ALL, &[&ids]).await? {
        lines.insert(row.try_get(0)?, json_or_none(&row, 1)?.unwrap_or_default());
    }
    for item in &mut items {
        item.lines = lines.remove(item.execution_id.as_uuid()).unwrap_or_default();
        item.lines.retain(|line| line.level >= level);
    }
    Ok(Some(Page { items, total }))
}

/// The condition for `filter`, with the values of its parameters. Only what is asked
/// for, so that an index serves it.
fn condition(filter: &ExecutionFilter) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
    let mut values: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
    let mut parts = Vec::new();
    if let Some(module_id) = filter.module_id {
        values.push(Box::new(*module_id.as_uuid()));
        parts.push(format!("e.module = (SELECT number FROM modules WHERE id = ${})", values.len()));
    }
    if let Some(job) = &filter.job {
        values.push(Box::new(job.to_string()));
        parts.push(format!("e.job = ${}", values.len()));
    }
    if let Some(visible) = &filter.visible {
        values.push(Box::new(visible.iter().map(|id| *id.as_uuid()).collect::<Vec<Uuid>>()));
        parts.push(format!("e.module IN (SELECT number FROM modules WHERE id = ANY (${}))", values.len()));
    }
    if let Some(status) = filter.status {
        // Written out: the planner then sees that the index on what has not completed will do.
        parts.push(format!("e.status = '{}'", status.as_str()));
    }
    for (bound, operator) in [(filter.from, ">="), (filter.to, "<")] {
        if let Some(bound) = bound {
            // An id begins with the time of the start, so that the order of the list is that of its bounds.
            values.push(Box::new(Uuid::from_bytes(ExecutionId::first_bytes_from(bound))));
            parts.push(format!("e.id {operator} ${}", values.len()));
        }
    }
    let condition = if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) };
    (condition, values)
}

fn list_sql(condition: &str, values: usize) -> String {
    format!("{LIST}{condition} ORDER BY e.id DESC LIMIT ${} OFFSET ${}", values + 1, values + 2)
}

async fn list(
    tx: &Transaction<'_>,
    filter: &ExecutionFilter,
    page: PageRequest,
) -> Result<Page<ExecutionRecord>, Failure> {
    let (condition, values) = condition(filter);
    let list = list_sql(&condition, values.len());
    let statements = Statements { count: format!("{COUNT}{condition}"), list };
    page::page(tx, &statements, &values, page, record_of_row).await
}

fn record_of_row(row: &Row) -> Result<ExecutionRecord, Failure> {
    Ok(ExecutionRecord {
        execution_id: ExecutionId::from_uuid(row.try_get(0)?),
        module_id: ModuleId::from_uuid(row.try_get(1)?),
        module: word(row, 2)?,
        version: word(row, 3)?,
        function: row.try_get(4)?,
        status: word(row, 5)?,
        started_at: micros(row, 6)?,
        duration_us: count_or_none(row, 7)?,
        fuel: count_or_none(row, 8)?,
        memory_bytes: count_or_none(row, 9)?,
        error: json_or_none(row, 10)?,
        lines: Vec::new(),
        lines_dropped: count(row, 11)?,
        run_id: row.try_get::<_, Option<Uuid>>(12)?.map(RunId::from_uuid),
        job: row.try_get::<_, Option<&str>>(13)?.map(|_| word(row, 13)).transpose()?,
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let fixed = [RECORD, END_OWN, FIND, FIND_LINES, COUNT_OF_RUN, LIST_OF_RUN, LINES_OF_ALL, IS_RUN];
    let mut all = fixed.map(str::to_owned).to_vec();
    let bounds = [None, Some(jiff::Timestamp::UNIX_EPOCH)];
    let (module, job) = (Some(ModuleId::generate()), "intake".parse::<crate::model::job::JobName>().ok());
    for (module_id, visible, job) in
        [(None, None, None), (module, None, None), (None, Some(Vec::new()), None), (None, None, job)]
    {
        for status in [None].into_iter().chain(Status::ALL.map(Some)) {
            for (from, to) in [(bounds[0], bounds[0]), (bounds[1], bounds[1]), (bounds[0], bounds[1])] {
                let (visible, job) = (visible.clone(), job.clone());
                let (condition, values) = condition(&ExecutionFilter { module_id, visible, status, job, from, to });
                all.push(format!("{COUNT}{condition}"));
                all.push(list_sql(&condition, values.len()));
            }
        }
    }
    all
}
