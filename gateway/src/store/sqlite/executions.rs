//! Executions and their logs.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, ToSql, Transaction, params};

use super::column::{Count, Id, Json, Micros, Word};
use super::{Durability, SqliteStore};
use crate::model::job::JobName;
use crate::model::{ExecutionError, ExecutionId, ExecutionRecord, Level, LogLine, ModuleId, RunId, Status};
use crate::store::{Error, ExecutionFilter, Executions, Page, PageRequest};

/// What [`record_of_row`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, m.id, m.name, m.version, e.function, e.status, e.started_at, e.duration_us, e.fuel,
                    e.memory_bytes, e.error_code, e.error_message, e.error_origin, e.lines_dropped, e.run_id, e.job
             FROM executions AS e JOIN modules AS m ON m.number = e.module ",
            $rest
        )
    };
}

const MODULE: &str = "SELECT number FROM modules WHERE id = ?1";

/// One row and no condition, so that it needs no statement journal: thousands of
/// these a second.
const INSERT: &str = "\
    INSERT INTO executions (id, module, function, status, started_at, duration_us, fuel, memory_bytes, error_code,
                            error_message, error_origin, lines_dropped, lines, run_id, job)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
    ON CONFLICT (id) DO NOTHING";

/// For an execution that is there already. Changes nothing where it has ended.
const END: &str = "\
    UPDATE executions SET
        module = ?2, function = ?3, status = ?4, started_at = ?5, duration_us = ?6, fuel = ?7, memory_bytes = ?8,
        error_code = ?9, error_message = ?10, error_origin = ?11, lines_dropped = ?12, lines = ?13,
        run_id = ?14, job = ?15
    WHERE id = ?1 AND status = 'running'";

/// The second condition is that of the index on what has not completed.
const END_RUNNING: &str = "\
    UPDATE executions SET status = 'failed', error_code = ?1, error_message = ?2, error_origin = ?3
    WHERE status = 'running' AND status <> 'completed'";

const FIND: &str = select!("WHERE e.id = ?1");

const FIND_LINES: &str = "SELECT lines FROM executions WHERE id = ?1";

/// Of a run; of one module where the second is bound.
const COUNT_OF_RUN: &str = "\
    SELECT count(*) FROM executions AS e
    WHERE e.run_id = ?1 AND (?2 IS NULL OR e.module = (SELECT number FROM modules WHERE id = ?2))";

const LIST_OF_RUN: &str = select!("WHERE e.run_id = ?1 AND (?2 IS NULL OR m.id = ?2) ORDER BY e.id LIMIT ?3 OFFSET ?4");

/// A run whose own row is gone is known by what is left of it.
const IS_RUN: &str = "\
    SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1) OR EXISTS (SELECT 1 FROM executions WHERE run_id = ?1)";

const COUNT: &str = "SELECT count(*) FROM executions AS e ";
const LIST: &str = select!("");
const LIST_END: &str = " ORDER BY e.id DESC LIMIT :limit OFFSET :offset";

#[async_trait]
impl Executions for SqliteStore {
    async fn record_executions(&self, records: Arc<[ExecutionRecord]>) -> Result<(), Error> {
        self.write("storing executions", Durability::ProcessDeath, move |tx| {
            let mut modules = HashMap::new();
            records.iter().try_for_each(|one| record(tx, &mut modules, one))
        })
        .await
    }

    async fn end_interrupted(&self, error: &ExecutionError) -> Result<u64, Error> {
        let error = error.clone();
        self.write("ending interrupted executions", Durability::PowerLoss, move |tx| {
            let ended = tx.prepare_cached(END_RUNNING)?.execute([error.code, error.message, error.origin])?;
            Ok(ended as u64)
        })
        .await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error> {
        self.read("reading an execution", move |tx| find(tx, id)).await
    }

    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        page: PageRequest,
    ) -> Result<Page<ExecutionRecord>, Error> {
        let filter = filter.clone();
        self.read("listing executions", move |tx| list(tx, &filter, page)).await
    }

    async fn execution_logs(
        &self,
        id: ExecutionId,
        module_id: Option<ModuleId>,
        level: Level,
        page: PageRequest,
    ) -> Result<Option<Page<ExecutionRecord>>, Error> {
        self.read("reading an execution's log", move |tx| {
            let Some(mut record) = find(tx, id)? else {
                return logs_of_run(tx, RunId::from_uuid(*id.as_uuid()), module_id, (level, page));
            };
            if module_id.is_some_and(|module_id| module_id != record.module_id) {
                return Ok(Some(Page { items: Vec::new(), total: 0 }));
            }
            if page.offset() > 0 {
                return Ok(Some(Page { items: Vec::new(), total: 1 }));
            }
            record.lines = lines(tx, id)?;
            record.lines.retain(|line| line.level >= level);
            Ok(Some(Page { items: vec![record], total: 1 }))
        })
        .await
    }
}

/// Numbers of modules by their ids, for one transaction.
type Modules = HashMap<ModuleId, Option<i64>>;

fn record(tx: &Transaction<'_>, modules: &mut Modules, record: &ExecutionRecord) -> rusqlite::Result<()> {
    let module = match modules.get(&record.module_id) {
        Some(known) => *known,
        None => {
            let id = record.module_id;
            let number = tx.prepare_cached(MODULE)?.query_row([Id(id)], |row| row.get(0)).optional()?;
            *modules.entry(id).or_insert(number)
        }
    };
    // The module was deleted meanwhile.
    let Some(module) = module else { return Ok(()) };
    if store(tx, INSERT, module, record)? == 0 {
        store(tx, END, module, record)?;
    }
    Ok(())
}

fn store(tx: &Transaction<'_>, sql: &str, module: i64, record: &ExecutionRecord) -> rusqlite::Result<usize> {
    let error = record.error.as_ref();
    tx.prepare_cached(sql)?.execute(params![
        Id(record.execution_id),
        module,
        record.function,
        record.status.as_str(),
        Micros(record.started_at),
        record.duration_us.map(Count),
        record.fuel.map(Count),
        record.memory_bytes.map(Count),
        error.map(|error| error.code.as_str()),
        error.map(|error| error.message.as_str()),
        error.map(|error| error.origin.as_str()),
        Count(record.lines_dropped),
        (!record.lines.is_empty()).then_some(Json(&record.lines)),
        record.run_id.map(Id),
        record.job.as_ref().map(JobName::as_str),
    ])
}

fn find(tx: &Transaction<'_>, id: ExecutionId) -> rusqlite::Result<Option<ExecutionRecord>> {
    tx.prepare_cached(FIND)?.query_row([Id(id)], record_of_row).optional()
}

fn lines(tx: &Transaction<'_>, id: ExecutionId) -> rusqlite::Result<Vec<LogLine>> {
    let lines =
        tx.prepare_cached(FIND_LINES)?.query_row([Id(id)], |row| row.get::<_, Option<Json<_>>>(0)).optional()?;
    Ok(lines.flatten().map_or_else(Vec::new, |json| json.0))
}

fn logs_of_run(
    tx: &Transaction<'_>,
    run: RunId,
    module_id: Option<ModuleId>,
    (level, page): (Level, PageRequest),
) -> rusqlite::Result<Option<Page<ExecutionRecord>>> {
    let module = module_id.map(Id);
    let total = tx.prepare_cached(COUNT_OF_RUN)?.query_row(params![Id(run), module], |row| row.get::<_, Count>(0))?.0;
    if total == 0 && !tx.prepare_cached(IS_RUN)?.query_row([Id(run)], |row| row.get::<_, bool>(0))? {
        return Ok(None);
    }
    let mut statement = tx.prepare_cached(LIST_OF_RUN)?;
    let found = statement.query_map(params![Id(run), module, page.limit, Count(page.offset())], record_of_row)?;
    let mut items = found.collect::<rusqlite::Result<Vec<_>>>()?;
    for item in &mut items {
        item.lines = lines(tx, item.execution_id)?;
        item.lines.retain(|line| line.level >= level);
    }
    Ok(Some(Page { items, total }))
}

/// Parts of a condition, and the values of their parameters.
type Narrowed = (Vec<&'static str>, Vec<(&'static str, Box<dyn ToSql>)>);

/// What `filter` narrows a list to, besides the state. Only what is asked for, so that an index serves it.
fn narrowed(filter: &ExecutionFilter) -> Narrowed {
    let (mut parts, mut values): Narrowed = (Vec::new(), Vec::new());
    if let Some(id) = filter.module_id {
        parts.push("e.module = (SELECT number FROM modules WHERE id = :module_id)");
        values.push((":module_id", Box::new(Id(id))));
    }
    if let Some(job) = &filter.job {
        parts.push("e.job = :job");
        values.push((":job", Box::new(job.to_string())));
    }
    if let Some(visible) = &filter.visible {
        parts.push(
            "e.module IN (SELECT number FROM modules WHERE id IN (SELECT unhex(value) FROM json_each(:visible)))",
        );
        let hex: Vec<_> = visible.iter().map(|id| id.as_uuid().simple().to_string()).collect();
        values.push((":visible", Box::new(Json(hex))));
    }
    if let Some(from) = filter.from {
        parts.push("e.id >= :from");
        values.push((":from", Box::new(ExecutionId::first_bytes_from(from))));
    }
    if let Some(to) = filter.to {
        parts.push("e.id < :to");
        values.push((":to", Box::new(ExecutionId::first_bytes_from(to))));
    }
    (parts, values)
}

/// What has not completed. Each by name, since the index on them has them by state; and the second condition
/// lets the planner see that it is that index.
const INCOMPLETE: &str = "e.status IN ('running', 'invalid', 'failed', 'canceled') AND e.status <> 'completed'";

/// The part of a condition that asks for a state.
const fn in_state(status: Status) -> &'static str {
    match status {
        Status::Completed => "e.status = 'completed'",
        // The second condition lets the planner see that the index on what has not completed will do.
        Status::Running => "e.status = 'running' AND e.status <> 'completed'",
        Status::Invalid => "e.status = 'invalid' AND e.status <> 'completed'",
        Status::Failed => "e.status = 'failed' AND e.status <> 'completed'",
        Status::Canceled => "e.status = 'canceled' AND e.status <> 'completed'",
    }
}

fn where_all(parts: &[&str]) -> String {
    if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) }
}

/// Counts what `filter` narrows to. Rows are wide and there are millions of them, so none of these
/// walks over rows: there is an index by module, which has all of them, one of those of jobs, and one of those
/// that have not completed, which are few.
fn count_sql(filter: &ExecutionFilter, mut parts: Vec<&'static str>) -> String {
    let counted = |parts: &[&str]| format!("{COUNT}{}", where_all(parts));
    let of_state = |status| counted(&[parts.as_slice(), &[status]].concat());
    let incomplete = of_state(INCOMPLETE);
    match filter.status {
        Some(Status::Completed) | None => {}
        Some(status) => return of_state(in_state(status)),
    }
    let by_index = filter.module_id.is_some() || filter.visible.is_some() || filter.job.is_some();
    if !parts.is_empty() && !by_index {
        // A stretch of time, of each module in its turn.
        parts.push("e.module IN (SELECT number FROM modules)");
    }
    match filter.status {
        Some(_) => format!("SELECT ({}) - ({incomplete})", counted(&parts)),
        None => counted(&parts),
    }
}

fn list_sql(filter: &ExecutionFilter, mut parts: Vec<&'static str>) -> String {
    if filter.from.is_none() && filter.to.is_none() {
        // All of them, in the order of their ids.
        parts.push("e.id >= x''");
    }
    parts.extend(filter.status.map(in_state));
    format!("{LIST}{}{LIST_END}", where_all(&parts))
}

fn list(tx: &Transaction<'_>, filter: &ExecutionFilter, page: PageRequest) -> rusqlite::Result<Page<ExecutionRecord>> {
    let (parts, values) = narrowed(filter);
    let mut values: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, &**value)).collect();
    let total = tx
        .prepare_cached(&count_sql(filter, parts.clone()))?
        .query_row(values.as_slice(), |row| row.get::<_, Count>(0))?;
    if page.offset() >= total.0 {
        // The database would walk over all rows to find that out.
        return Ok(Page { items: Vec::new(), total: total.0 });
    }
    let mut statement = tx.prepare_cached(&list_sql(filter, parts))?;
    let offset = Count(page.offset());
    values.extend([(":limit", &page.limit as &dyn ToSql), (":offset", &offset)]);
    let items = statement.query_map(values.as_slice(), record_of_row)?.collect::<Result<_, _>>()?;
    Ok(Page { items, total: total.0 })
}

fn record_of_row(row: &Row<'_>) -> rusqlite::Result<ExecutionRecord> {
    let error = match row.get::<_, Option<String>>(10)? {
        Some(code) => Some(ExecutionError { code, message: row.get(11)?, origin: row.get(12)? }),
        None => None,
    };
    let count =
        |index| -> rusqlite::Result<Option<u64>> { Ok(row.get::<_, Option<Count>>(index)?.map(|count| count.0)) };
    Ok(ExecutionRecord {
        execution_id: row.get::<_, Id<_>>(0)?.0,
        module_id: row.get::<_, Id<_>>(1)?.0,
        module: row.get::<_, Word<_>>(2)?.0,
        version: row.get::<_, Word<_>>(3)?.0,
        function: row.get(4)?,
        status: row.get::<_, Word<_>>(5)?.0,
        started_at: row.get::<_, Micros>(6)?.0,
        duration_us: count(7)?,
        fuel: count(8)?,
        memory_bytes: count(9)?,
        error,
        lines: Vec::new(),
        lines_dropped: row.get::<_, Count>(13)?.0,
        run_id: row.get::<_, Option<Id<_>>>(14)?.map(|id| id.0),
        job: row.get::<_, Option<Word<_>>>(15)?.map(|name| name.0),
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let fixed = [MODULE, INSERT, END, END_RUNNING, FIND, FIND_LINES, COUNT_OF_RUN, LIST_OF_RUN, IS_RUN];
    let mut all = fixed.map(str::to_owned).to_vec();
    let (module, job) = (Some(ModuleId::generate()), "intake".parse::<JobName>().ok());
    for (module_id, visible, job) in
        [(None, None, None), (module, None, None), (None, Some(Vec::new()), None), (None, None, job)]
    {
        for status in [None].into_iter().chain(Status::ALL.map(Some)) {
            for from in [None, Some(jiff::Timestamp::UNIX_EPOCH)] {
                let (visible, job) = (visible.clone(), job.clone());
                let filter = ExecutionFilter { module_id, visible, status, job, from, to: from };
                let (parts, _) = narrowed(&filter);
                all.push(count_sql(&filter, parts.clone()));
                all.push(list_sql(&filter, parts));
            }
        }
    }
    all
}
