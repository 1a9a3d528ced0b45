//! `/api/v1/runs`: list, show, listen, cancel, retry.
//!
//! Owns how runs are asked for. Does not own how one is written (`shown`), listened to (`events`), nor how it goes on (`jobs`).
//! Invariant: a run of a job that a key doesn't see is, for it, not there.

pub(super) mod events;
mod shown;

pub use events::Listeners;
pub(super) use shown::{RunShown, answer};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use self::shown::RunSummary;
use super::Services;
use super::answer::{Listing, json};
use super::audit::{Trail, to_the_end};
use super::authorize::{AsEditor, AsViewer};
use super::executions::time;
use super::jobs::refused;
use super::openapi::{Paging, refusals};
use super::path_id::{PathId, missing};
use super::query::Query;
use crate::error::Code;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::model::job::{Run, RunStatus};
use crate::model::{RunId, action};
use crate::store::{PageRequest, Requested, RunFilter};

refusals! {
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited, Overloaded];
    /// Of one run.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited, Overloaded];
    /// Of a run that is to end.
    CancelRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RunEnded, RateLimited, Overloaded];
    /// Of a run that is to go on.
    RetryRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RunEnded, InUse, RateLimited, Overloaded];
}

/// One run, where the caller sees its job.
async fn find(services: &Services, caller: &Caller, id: RunId) -> Result<Run, Problem> {
    let found = services.jobs.run(id).await.map_err(refused)?;
    found.filter(|run| caller.sees_job(run.job.as_str())).ok_or_else(missing::<RunId>)
}

/// List runs
///
/// Needs the role `viewer`. The newest first, without their steps.
#[utoipa::path(
    get, path = "/api/v1/runs", operation_id = "list_runs", tag = "runs",
    params(
        ("job" = Option<String>, Query, description = "Of this job.", example = "order-intake"),
        ("status" = inline(Option<RunStatus>), Query, description = "In this state."),
        ("from" = Option<Timestamp>, Query, description = "Made at or after."),
        ("to" = Option<Timestamp>, Query, description = "Made before."),
        Paging,
    ),
    responses((status = 200, description = "A page of them.", body = Listing<RunSummary>), ListRefusals)
)]
pub(super) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let (mut filter, page) = list_query(&uri)?;
    filter.visible = caller.jobs().cloned();
    let found = services.jobs.runs(&filter, page).await.map_err(refused)?;
    Ok(json(StatusCode::OK, &Listing::new(page, found, |run: Run| RunSummary::of(&run))))
}

fn list_query(uri: &Uri) -> Result<(RunFilter, PageRequest), Problem> {
    let mut query = Query::of(uri, &["job", "status", "from", "to", "page", "limit"]);
    let filter = RunFilter {
        job: query.take("job", |text| text.parse().map_err(|_| "is the name of a job".to_owned())),
        status: query.take("status", |text| {
            RunStatus::parse(text).ok_or_else(|| "is queued, running, completed, failed or canceled".to_owned())
        }),
        visible: None,
        from: query.take("from", time),
        to: query.take("to", time),
    };
    let page = query.page();
    query.finish()?;
    Ok((filter, page))
}

/// Show one run
///
/// Needs the role `viewer`. With its steps, their attempts and outputs. A large answer is sent while it is read.
#[utoipa::path(
    get, path = "/api/v1/runs/{run_id}", operation_id = "show_run", tag = "runs",
    params(("run_id" = inline(RunId), Path, description = "Its id.")),
    responses((status = 200, description = "The run.", body = RunShown), Refusals)
)]
pub(super) async fn show(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    PathId(id): PathId<RunId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let run = find(&services, &caller, id).await?;
    answer(&services, 200, run).await
}

/// Cancel a run
///
/// Needs the role `editor`. What is in flight is broken off; the answer is the run as it is now, and it ends soon.
#[utoipa::path(
    post, path = "/api/v1/runs/{run_id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(("run_id" = inline(RunId), Path, description = "Its id.")),
    responses((status = 202, description = "It will end.", body = RunShown), CancelRefusals)
)]
pub(super) async fn cancel(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    PathId(id): PathId<RunId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    find(&services, &caller, id).await?;
    let audit = trail.entry(&services, &caller, action::RUN_CANCEL, id.to_string());
    let jobs = services.jobs.clone();
    let requested = to_the_end(&services, async move { jobs.cancel(id, audit).await.map_err(refused) }).await?;
    match requested {
        Requested::Accepted => answer(&services, 202, find(&services, &caller, id).await?).await,
        Requested::NotFound => Err(missing::<RunId>()),
        Requested::Refused(status) => {
            Err(Problem::new(Code::RunEnded, format!("the run has ended: it is {}", status.as_str())))
        }
    }
}

/// Retry a run
///
/// Needs the role `editor`. A run that failed or was canceled goes on at the steps that did not complete; what completed is not
/// done again. One that completed is 409 `run-ended`, one that goes on is 409 `in-use`.
#[utoipa::path(
    post, path = "/api/v1/runs/{run_id}/retry", operation_id = "retry_run", tag = "runs",
    params(("run_id" = inline(RunId), Path, description = "Its id.")),
    responses((status = 202, description = "It will go on.", body = RunShown), RetryRefusals)
)]
pub(super) async fn retry(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    PathId(id): PathId<RunId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    find(&services, &caller, id).await?;
    let audit = trail.entry(&services, &caller, action::RUN_RETRY, id.to_string());
    let jobs = services.jobs.clone();
    let requested = to_the_end(&services, async move { jobs.retry(id, audit).await.map_err(refused) }).await?;
    match requested {
        Requested::Accepted => answer(&services, 202, find(&services, &caller, id).await?).await,
        Requested::NotFound => Err(missing::<RunId>()),
        Requested::Refused(status) => Err(not_retried(status)),
    }
}

fn not_retried(status: RunStatus) -> Problem {
    if status.is_end() {
        return Problem::new(Code::RunEnded, format!("the run is {}: start a new one", status.as_str()));
    }
    Problem::new(Code::InUse, format!("the run is {}: cancel it first, or wait for its end", status.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/api/v1/runs?{query}").parse().unwrap()
    }

    #[test]
    fn every_filter_is_read_and_wrong_ones_are_named() {
        let (filter, _) = list_query(&uri("job=intake&status=failed&from=2026-01-01T00:00:00Z")).unwrap();
        assert_eq!((filter.job.unwrap().as_str(), filter.status), ("intake", Some(RunStatus::Failed)));
        assert!(filter.from.is_some() && filter.to.is_none());
        for wrong in ["job=A", "status=done", "to=later", "limit=201"] {
            assert_eq!(list_query(&uri(wrong)).unwrap_err().code(), Code::BadRequest, "{wrong}");
        }
        assert_eq!(list_query(&uri("state=failed")).unwrap_err().code(), Code::UnknownField);
    }

    #[test]
    fn what_goes_on_is_told_from_what_is_done() {
        assert_eq!(not_retried(RunStatus::Completed).code(), Code::RunEnded);
        assert_eq!(not_retried(RunStatus::Queued).code(), Code::InUse);
        assert_eq!(not_retried(RunStatus::Running).code(), Code::InUse);
    }
}
