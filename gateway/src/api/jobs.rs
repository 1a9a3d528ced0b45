//! `/api/v1/jobs`: save, check, list, show, delete, start.
//!
//! Owns how jobs are asked for and shown. Does not own what a job may be (`jobs::definition`). Invariants: a secret that
//! was written into a definition is never shown; a job that a key doesn't see is, for it, not there.

mod definition;
pub(super) mod start;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Services;
use super::answer::{Listing, json as answer, not_listed};
use super::audit::{Trail, to_the_end};
use super::authorize::{AsEditor, AsViewer};
use super::openapi::{Paging, refusals};
use super::query::Query;
use crate::error::{Code, FieldError};
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::jobs::{self, Checked, KnownJob};
use crate::model::action;
use crate::model::job::{Job, JobName};
use crate::store::{JobSaved, Page, SaveJob};

/// More than anybody types, and little enough to look for.
const QUERY_CHARACTERS_MAX: usize = 200;
/// What a caller is told to wait where too much is being started.
pub(super) const RETRY_AFTER_S: u32 = 1;

/// `{name}` of a path; what is no name is the name of nothing.
pub(super) struct Name(JobName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.ok().and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(no_job)
    }
}

fn no_job() -> Problem {
    Problem::new(Code::NotFound, "there is no such job")
}

/// A job where the caller sees it.
fn find(services: &Services, caller: &Caller, name: &JobName) -> Result<Arc<KnownJob>, Problem> {
    if !caller.sees_job(name.as_str()) {
        return Err(no_job());
    }
    services.jobs.find(name.as_str()).ok_or_else(no_job)
}

/// The one map from what the engine says to what a caller is told.
pub(super) fn refused(error: jobs::Error) -> Problem {
    match error {
        jobs::Error::Store(error) => not_listed(error),
        jobs::Error::Blobs(crate::blob::Error::Integrity { .. }) => {
            Problem::new(Code::Integrity, "what is stored of the run is not what was written").caused_by(error)
        }
        jobs::Error::Blobs(_) => Problem::internal(error),
        jobs::Error::TooLarge { limit } => Problem::new(Code::TooLarge, error.to_string()).limit(limit),
        jobs::Error::Overloaded => Problem::new(Code::Overloaded, error.to_string()).retry_after_s(RETRY_AFTER_S),
        jobs::Error::Conflict => Problem::new(Code::IdempotencyConflict, error.to_string()),
    }
}

/// A job as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
struct Shown {
    name: JobName,
    /// Each save that changes something is a new one; a run keeps that which it began with.
    revision: u64,
    /// As it was saved, with the defaults; `whsec_…` of hooks and notifications is hidden.
    #[schema(value_type = Object)]
    definition: Value,
    #[schema(required = true)]
    description: Option<String>,
    /// What is allowed and probably not meant; and what is wrong by now: a module that is gone.
    warnings: Vec<FieldError>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// The name of the key that saved this revision.
    updated_by: String,
}

impl Shown {
    fn of(job: &Job, warnings: Vec<FieldError>) -> Self {
        let mut definition: Value = serde_json::from_str(job.definition.as_str()).unwrap_or_default();
        definition::hide_secrets(&mut definition);
        Self {
            name: job.name.clone(),
            revision: job.revision,
            description: definition.get("description").and_then(Value::as_str).map(str::to_owned),
            definition,
            warnings,
            created_at: job.created_at,
            updated_at: job.updated_at,
            updated_by: job.updated_by.clone(),
        }
    }
}

/// A job in a list: without its definition, which may be large.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobSummary)]
struct Summary {
    name: JobName,
    revision: u64,
    #[schema(required = true)]
    description: Option<String>,
    /// How many steps it has.
    steps: usize,
    /// Whether a webhook can start it.
    hook: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    updated_by: String,
}

impl Summary {
    fn of(known: &KnownJob) -> Self {
        let KnownJob { job, definition, .. } = known;
        Self {
            name: job.name.clone(),
            revision: job.revision,
            description: definition.description.clone(),
            steps: definition.steps.len(),
            hook: definition.hook.is_some(),
            created_at: job.created_at,
            updated_at: job.updated_at,
            updated_by: job.updated_by.clone(),
        }
    }
}

/// A definition without mistakes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobValid)]
struct Valid {
    valid: bool,
    /// What is allowed and probably not meant.
    warnings: Vec<FieldError>,
}

refusals! {
    /// Of a definition that is saved.
    SaveRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, InUse, TooLarge, UnsupportedMediaType, InvalidJob,
                    RateLimited, Overloaded];
    /// Of a definition that is checked.
    ValidateRefusals = [UnknownField, Unauthenticated, Forbidden, TooLarge, UnsupportedMediaType, InvalidJob, RateLimited];
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited];
    /// Of one job.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited];
    /// Of a job that is deleted.
    DeleteRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited, Overloaded];
}

/// Save a job
///
/// Needs the role `editor`. JSON, or YAML as `application/yaml`; up to 256 KiB. A job of this name gets a new revision, unless
/// it has this definition already; its runs keep theirs.
#[utoipa::path(
    post, path = "/api/v1/jobs", operation_id = "create_job", tag = "jobs",
    request_body(content((Value = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 201, description = "There is one now.", body = Shown, headers(("location", description = "Where it is."))),
        (status = 200, description = "It was there, and has this definition now.", body = Shown),
        SaveRefusals,
    )
)]
pub(super) async fn create(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    request: Request,
) -> Result<Response, Problem> {
    Query::of(request.uri(), &[]).finish()?;
    let definition = definition::read(&services, request).await?;
    save(services, caller, trail, definition).await
}

/// Save the job of this name
///
/// Needs the role `editor`. As `POST /api/v1/jobs`; the definition has this name, or none.
#[utoipa::path(
    put, path = "/api/v1/jobs/{name}", operation_id = "replace_job", tag = "jobs",
    params(("name" = inline(JobName), Path, description = "Its name.")),
    request_body(content((Value = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 201, description = "There is one now.", body = Shown, headers(("location", description = "Where it is."))),
        (status = 200, description = "It was there, and has this definition now.", body = Shown),
        SaveRefusals,
    )
)]
pub(super) async fn replace(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    Name(name): Name,
    request: Request,
) -> Result<Response, Problem> {
    Query::of(request.uri(), &[]).finish()?;
    let mut definition = definition::read(&services, request).await?;
    definition::set_name(&mut definition, &name).map_err(|error| definition::invalid(vec![error]))?;
    save(services, caller, trail, definition).await
}

async fn save(services: Services, caller: Caller, trail: Trail, definition: Value) -> Result<Response, Problem> {
    let checked = services.jobs.check(definition).map_err(definition::invalid)?;
    let name = checked.definition.name.clone();
    if !caller.sees_job(name.as_str()) {
        return Err(no_job());
    }
    let Checked { warnings, .. } = checked.clone();
    let audit = trail.entry(&services, &caller, action::JOB_SAVE, name.to_string());
    let by = caller.name().to_string();
    let jobs = services.jobs.clone();
    let saved = to_the_end(&services, async move {
        jobs.save(checked, SaveJob::CreateOrReplace, &by, audit).await.map_err(refused)
    })
    .await?;
    match saved {
        JobSaved::Created(job) => {
            let mut response = answer(StatusCode::CREATED, &Shown::of(&job, warnings));
            if let Ok(location) = HeaderValue::try_from(format!("/api/v1/jobs/{name}")) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        JobSaved::Updated(job) | JobSaved::Unchanged(job) => Ok(answer(StatusCode::OK, &Shown::of(&job, warnings))),
        JobSaved::Exists => Err(Problem::new(Code::InUse, "there is a job of this name")),
        JobSaved::Full => {
            Err(Problem::new(Code::InUse, "there are as many jobs as there may be: delete one that nobody uses"))
        }
    }
}

/// Check a definition
///
/// Needs the role `viewer`. As it would be saved, and nothing is saved.
#[utoipa::path(
    post, path = "/api/v1/jobs/validate", operation_id = "validate_job", tag = "jobs",
    request_body(content((Value = "application/json"), (String = "application/yaml"))),
    responses((status = 200, description = "It has no mistakes.", body = Valid), ValidateRefusals)
)]
pub(super) async fn validate(
    State(services): State<Services>,
    _: AsViewer,
    request: Request,
) -> Result<Response, Problem> {
    Query::of(request.uri(), &[]).finish()?;
    let definition = definition::read(&services, request).await?;
    let checked = services.jobs.check(definition).map_err(definition::invalid)?;
    Ok(answer(StatusCode::OK, &Valid { valid: true, warnings: checked.warnings }))
}

/// The schema of definitions
///
/// Needs the role `viewer`. For editors; what it can't say, `validate` does.
#[utoipa::path(
    get, path = "/api/v1/jobs/schema.json", operation_id = "job_schema", tag = "jobs",
    responses(
        (status = 200, description = "A JSON Schema (draft 2020-12).", body = Value, content_type = "application/schema+json"),
        ListRefusals,
    )
)]
pub(super) async fn schema(_: AsViewer, uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], jobs::schema::TEXT).into_response())
}

/// List jobs
///
/// Needs the role `viewer`. By name, without their definitions.
#[utoipa::path(
    get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs",
    params(
        ("q" = Option<String>, Query, description = "Text in the name or the description, in any case.", max_length = 200),
        Paging,
    ),
    responses((status = 200, description = "A page of them.", body = Listing<Summary>), ListRefusals)
)]
pub(super) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri, &["q", "page", "limit"]);
    let wanted = query.take("q", |text| match text.chars().count() {
        ..=QUERY_CHARACTERS_MAX => Ok(text.to_lowercase()),
        _ => Err(format!("has at most {QUERY_CHARACTERS_MAX} characters")),
    });
    let page = query.page();
    query.finish()?;
    let mut all = services.jobs.jobs();
    all.retain(|known| caller.sees_job(known.job.name.as_str()) && wanted.as_ref().is_none_or(|q| has(known, q)));
    let total = all.len() as u64;
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let items = all.into_iter().skip(offset).take(page.limit as usize).collect();
    Ok(answer(StatusCode::OK, &Listing::new(page, Page { items, total }, |known: Arc<KnownJob>| Summary::of(&known))))
}

fn has(known: &KnownJob, lowered: &str) -> bool {
    known.job.name.as_str().contains(lowered)
        || known.definition.description.as_ref().is_some_and(|text| text.to_lowercase().contains(lowered))
}

/// Show one job
///
/// Needs the role `viewer`. Its newest revision.
#[utoipa::path(
    get, path = "/api/v1/jobs/{name}", operation_id = "show_job", tag = "jobs",
    params(("name" = inline(JobName), Path, description = "Its name.")),
    responses((status = 200, description = "The job.", body = Shown), Refusals)
)]
pub(super) async fn show(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    Name(name): Name,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let known = find(&services, &caller, &name)?;
    let definition = serde_json::from_str(known.job.definition.as_str()).unwrap_or_default();
    // What it refers to may have gone since it was saved.
    let warnings = services.jobs.check(definition).map_or_else(|mistakes| mistakes, |checked| checked.warnings);
    Ok(answer(StatusCode::OK, &Shown::of(&known.job, warnings)))
}

/// Delete a job
///
/// Needs the role `editor`. Its runs stay, and those that have begun go on.
#[utoipa::path(
    delete, path = "/api/v1/jobs/{name}", operation_id = "delete_job", tag = "jobs",
    params(("name" = inline(JobName), Path, description = "Its name.")),
    responses((status = 204, description = "It is gone."), DeleteRefusals)
)]
pub(super) async fn delete(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    Name(name): Name,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    find(&services, &caller, &name)?;
    let audit = trail.entry(&services, &caller, action::JOB_DELETE, name.to_string());
    let jobs = services.jobs.clone();
    let was_there = to_the_end(&services, async move { jobs.delete(&name, audit).await.map_err(refused) }).await?;
    if was_there { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(no_job()) }
}
