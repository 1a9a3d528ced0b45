//! `/api/v1/wasm/executions`: what ran, and what it logged.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use semver::Version;
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::answer::{Listing, json, not_listed};
use super::authorize::AsViewer;
use super::openapi::{Paging, refusals};
use super::path_id::{PathId, missing};
use super::query::Query;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::model::job::JobName;
use crate::model::{ExecutionError, ExecutionId, ExecutionRecord, Level, ModuleId, ModuleName, RunId, Status};
use crate::store::{ExecutionFilter, Page, PageRequest};

/// An execution without its log lines, which have an address of their own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Execution)]
struct Summary {
    execution_id: ExecutionId,
    module_id: ModuleId,
    module: ModuleName,
    #[schema(value_type = String, example = "1.2.0")]
    version: Version,
    function: String,
    status: Status,
    started_at: Timestamp,
    #[schema(required = true)]
    duration_us: Option<u64>,
    #[schema(required = true)]
    fuel: Option<u64>,
    #[schema(required = true)]
    memory_bytes: Option<u64>,
    #[schema(required = true)]
    error: Option<ExecutionError>,
    lines_dropped: u64,
}

impl From<ExecutionRecord> for Summary {
    fn from(record: ExecutionRecord) -> Self {
        Self {
            execution_id: record.execution_id,
            module_id: record.module_id,
            module: record.module,
            version: record.version,
            function: record.function,
            status: record.status,
            started_at: record.started_at,
            duration_us: record.duration_us,
            fuel: record.fuel,
            memory_bytes: record.memory_bytes,
            error: record.error,
            lines_dropped: record.lines_dropped,
        }
    }
}

refusals! {
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited, Overloaded];
    /// Of one execution.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited];
}

/// List executions
///
/// Needs the role `viewer`. The newest first.
#[utoipa::path(
    get, path = "/api/v1/wasm/executions", operation_id = "list_executions", tag = "executions",
    params(
        ("module_id" = inline(Option<ModuleId>), Query, description = "Of this version."),
        ("status" = inline(Option<Status>), Query, description = "In this state."),
        ("job" = Option<String>, Query, description = "Steps of runs of this job."),
        ("from" = Option<Timestamp>, Query, description = "Started at or after."),
        ("to" = Option<Timestamp>, Query, description = "Started before."),
        Paging,
    ),
    responses((status = 200, description = "A page of them.", body = Listing<Summary>), ListRefusals)
)]
pub(super) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let (mut filter, page) = list_query(&uri)?;
    if let Some(filter) = &mut filter {
        filter.visible = visible(&services, &caller);
    }
    let found = match filter {
        Some(filter) => services.store.list_executions(&filter, page).await.map_err(not_listed)?,
        None => Page { items: Vec::new(), total: 0 },
    };
    Ok(json(StatusCode::OK, &Listing::new(page, found, Summary::from)))
}

/// The versions that the caller sees; `None` where it sees all.
fn visible(services: &Services, caller: &Caller) -> Option<Vec<ModuleId>> {
    if caller.sees_all_modules() {
        return None;
    }
    let snapshot = services.registry.snapshot();
    let modules = snapshot.revisions().map(|revision| &revision.module);
    Some(modules.filter(|module| caller.sees_module(module.name.as_str())).map(|module| module.id).collect())
}

/// One execution, where the caller sees its module: what it doesn't see is not there.
async fn find(services: &Services, caller: &Caller, id: ExecutionId) -> Result<ExecutionRecord, Problem> {
    let found = services.store.execution(id).await.map_err(Problem::internal)?;
    found.filter(|record| caller.sees_module(record.module.as_str())).ok_or_else(missing::<ExecutionId>)
}

/// The filter is `None` where nothing can match.
fn list_query(uri: &Uri) -> Result<(Option<ExecutionFilter>, PageRequest), Problem> {
    let mut query = Query::of(uri, &["module_id", "status", "job", "from", "to", "page", "limit"]);
    let filter = ExecutionFilter {
        module_id: query.take("module_id", module_id),
        visible: None,
        status: query.take("status", |text| {
            Status::parse(text).ok_or_else(|| "is running, completed, invalid, failed or canceled".to_owned())
        }),
        job: None,
        from: query.take("from", time),
        to: query.take("to", time),
    };
    // A text that is no job's name is of none.
    let job = query.take("job", |text| Ok(text.parse::<JobName>().ok()));
    let page = query.page();
    query.finish()?;
    let filter = match job {
        None => Some(filter),
        Some(job) => job.map(|job| ExecutionFilter { job: Some(job), ..filter }),
    };
    Ok((filter, page))
}

fn module_id(text: &str) -> Result<ModuleId, String> {
    text.parse().map_err(|_| "is the id of a module".to_owned())
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "is a time such as 2026-01-31T12:00:00Z".to_owned())
}

/// Show one execution
///
/// Needs the role `viewer`. Readable within a second of its end.
#[utoipa::path(
    get, path = "/api/v1/wasm/executions/{execution_id}", operation_id = "show_execution", tag = "executions",
    params(("execution_id" = inline(ExecutionId), Path, description = "Its id.")),
    responses((status = 200, description = "The execution, without its log lines.", body = Summary), Refusals)
)]
pub(super) async fn show(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    PathId(id): PathId<ExecutionId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let record = find(&services, &caller, id).await?;
    Ok(json(StatusCode::OK, &Summary::from(record)))
}

/// Show what an execution logged
///
/// Needs the role `viewer`. A run's id is taken, too: then it is what all of its steps logged, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/wasm/executions/{execution_id}/logs", operation_id = "list_logs", tag = "executions",
    params(
        ("execution_id" = inline(ExecutionId), Path, description = "Its id."),
        ("module_id" = inline(Option<ModuleId>), Query, description = "Of this version only."),
        ("level" = inline(Option<Level>), Query, description = "Lines of this level and above."),
        Paging,
    ),
    responses((status = 200, description = "A page of entries, each with its lines.", body = Listing<ExecutionRecord>), Refusals)
)]
pub(super) async fn logs(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    PathId(id): PathId<ExecutionId>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = logs_query(&uri)?;
    may_see_logs(&services, &caller, id).await?;
    let found = services.store.execution_logs(id, asked.module_id, asked.level, asked.page).await;
    let found = found.map_err(Problem::internal)?.ok_or_else(missing::<ExecutionId>)?;
    Ok(json(StatusCode::OK, &Listing::new(asked.page, found, |entry| entry)))
}

/// An execution's for who sees its module, a run's for who sees its job: what its steps returned is shown to them, too.
async fn may_see_logs(services: &Services, caller: &Caller, id: ExecutionId) -> Result<(), Problem> {
    if caller.sees_all_modules() && caller.jobs().is_none() {
        return Ok(());
    }
    if let Some(record) = services.store.execution(id).await.map_err(Problem::internal)? {
        return if caller.sees_module(record.module.as_str()) { Ok(()) } else { Err(missing::<ExecutionId>()) };
    }
    let run = services.store.run(RunId::from_uuid(*id.as_uuid())).await.map_err(Problem::internal)?;
    run.filter(|run| caller.sees_job(run.job.as_str())).map(|_| ()).ok_or_else(missing::<ExecutionId>)
}

#[derive(Debug, PartialEq)]
struct Logs {
    module_id: Option<ModuleId>,
    level: Level,
    page: PageRequest,
}

fn logs_query(uri: &Uri) -> Result<Logs, Problem> {
    let mut query = Query::of(uri, &["module_id", "level", "page", "limit"]);
    let level = |text: &str| Level::parse(text).ok_or_else(|| "is debug, info, warn or error".to_owned());
    let asked = Logs {
        module_id: query.take("module_id", module_id),
        level: query.take("level", level).unwrap_or(Level::Debug),
        page: query.page(),
    };
    query.finish()?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn uri(query: &str) -> Uri {
        format!("/api/v1/wasm/executions?{query}").parse().unwrap()
    }

    fn record() -> ExecutionRecord {
        ExecutionRecord {
            execution_id: ExecutionId::starting("2026-01-31T12:00:00Z".parse().unwrap()),
            module_id: ModuleId::generate(),
            module: "rules".parse().unwrap(),
            version: Version::new(1, 2, 0),
            function: "run".to_owned(),
            status: Status::Completed,
            started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            duration_us: Some(184),
            fuel: None,
            memory_bytes: Some(65536),
            error: None,
            lines: Vec::new(),
            lines_dropped: 3,
            run_id: None,
            job: None,
        }
    }

    #[test]
    fn a_summary_has_every_member_of_an_entry_but_its_lines() {
        let record = record();
        let mut entry = serde_json::to_value(&record).unwrap();
        entry.as_object_mut().unwrap().remove("lines").unwrap();
        assert_eq!(serde_json::to_value(Summary::from(record)).unwrap(), entry);
        assert_eq!(entry["started_at"], "2026-01-31T12:00:00Z");
    }

    #[test]
    fn every_filter_is_read() {
        let id = ModuleId::generate();
        let text = format!("module_id={id}&status=failed&from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00%2B01:00");
        let (filter, _) = list_query(&uri(&text)).unwrap();
        let filter = filter.unwrap();
        assert_eq!((filter.module_id, filter.status), (Some(id), Some(Status::Failed)));
        assert_eq!(filter.from, filter.to);
        assert!(filter.from.is_some());
    }

    #[test]
    fn a_filter_by_what_is_no_job_matches_nothing() {
        assert_eq!(list_query(&uri("job=intake")).unwrap().0.unwrap().job, "intake".parse().ok());
        assert!(list_query(&uri("job=In%20take")).unwrap().0.is_none());
        assert!(list_query(&uri("job=")).unwrap().0.is_some());
    }

    #[test]
    fn filters_that_are_wrong_are_named() {
        for text in ["module_id=1", "status=done", "from=yesterday", "to=2026-13-01T00:00:00Z", "limit=1000"] {
            assert_eq!(list_query(&uri(text)).unwrap_err().code(), Code::BadRequest, "{text}");
        }
        assert_eq!(list_query(&uri("level=warn")).unwrap_err().code(), Code::UnknownField);
    }

    #[test]
    fn logs_are_shown_from_debug_unless_told() {
        let page = PageRequest { page: 1, limit: 50 };
        assert_eq!(logs_query(&uri("")).unwrap(), Logs { module_id: None, level: Level::Debug, page });
        assert_eq!(logs_query(&uri("level=warn")).unwrap().level, Level::Warn);
        assert_eq!(logs_query(&uri("level=loud")).unwrap_err().code(), Code::BadRequest);
    }
}
