//! `/api/v1/wasm/modules`: upload, list, show, change, denials, download, delete.
//!
//! Owns how modules are asked for and shown. Does not own what a module may be
//! (`registry`), nor the form of an upload (`upload`).

pub(super) mod change;
pub(super) mod denials;
mod settings;
pub(super) mod upload;
mod visible;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::Services;
use super::answer::{Listing, json, not_listed};
use super::audit::Trail;
use super::authorize::{AsAdmin, AsViewer};
use super::openapi::{ModulePath, Paging, refusals};
use super::query::Query;
use crate::error::Code;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::model::job::JobName;
use crate::model::{AuditEntry, Module, ModuleKind, ModuleRef, action};
use crate::registry::Revision;
use crate::store::{ModuleFilter, PageRequest};
use crate::{blob, registry};

/// More than anybody types, and little enough to look for.
const QUERY_CHARACTERS_MAX: usize = 200;

/// `{module}` of a path; what is no reference refers to nothing.
pub(super) struct Reference(ModuleRef);

impl<S: Send + Sync> FromRequestParts<S> for Reference {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let none = || Problem::new(Code::NotFound, "there is no such module");
        text.ok().and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(none)
    }
}

fn no_module(reference: &ModuleRef) -> Problem {
    Problem::new(Code::NotFound, format!("there is no module {reference}"))
}

/// The version that `reference` means, where the caller sees it: what it doesn't see is not there.
fn resolve(services: &Services, caller: &Caller, reference: &ModuleRef) -> Result<Arc<Revision>, Problem> {
    let snapshot = services.registry.snapshot();
    let found = snapshot.resolve(reference).filter(|revision| caller.sees_module(revision.module.name.as_str()));
    found.map(Arc::clone).ok_or_else(|| no_module(reference))
}

/// The one map from what the registry says to what a caller is told.
fn refused(error: registry::Error) -> Problem {
    let text = error.to_string();
    match error {
        registry::Error::Invalid(errors) => Problem::new(Code::InvalidModule, text).errors(errors),
        registry::Error::BadRequest(errors) => Problem::malformed(errors),
        registry::Error::Signature(refusal) => Problem::new(refusal.code(), text),
        registry::Error::VersionExists { .. } => Problem::new(Code::VersionExists, text),
        registry::Error::NotFound(_) => Problem::new(Code::NotFound, text),
        // The registry has logged it, with the module.
        registry::Error::Blob(blob::Error::Integrity { .. }) => {
            Problem::new(Code::Integrity, "the stored module is not what was uploaded")
        }
        error @ (registry::Error::Blob(blob::Error::Missing(_) | blob::Error::Unavailable { .. })
        | registry::Error::Store(_)
        | registry::Error::Compile(_)
        | registry::Error::Defect(_)) => Problem::internal(error),
    }
}

refusals! {
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited, Overloaded];
    /// Of one module.
    ModuleRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited];
    /// Of a deletion.
    DeleteRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, InUse, RateLimited];
    /// Of a download.
    DownloadRefusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited, Integrity, Overloaded];
}

/// List versions of modules
///
/// Needs the role `viewer`. By name, then the newest version first.
#[utoipa::path(
    get, path = "/api/v1/wasm/modules", operation_id = "list_modules", tag = "modules",
    params(
        ("q" = Option<String>, Query, description = "Text in the name or the description, in any case.", max_length = 200),
        ("name" = Option<String>, Query, description = "The exact name.", example = "order-rules"),
        ("kind" = inline(Option<ModuleKind>), Query, description = "The exact kind."),
        Paging,
    ),
    responses((status = 200, description = "A page of them.", body = Listing<Module>), ListRefusals)
)]
pub(super) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let (filter, page) = list_query(&uri)?;
    if !caller.sees_all_modules() {
        let found = visible::page(&services.registry.snapshot(), &caller, &filter, page);
        return Ok(json(StatusCode::OK, &Listing::new(page, found, |module| Module::clone(&module))));
    }
    let found = services.store.list_modules(&filter, page).await.map_err(not_listed)?;
    Ok(json(StatusCode::OK, &Listing::new(page, found, |module: Module| module)))
}

fn list_query(uri: &Uri) -> Result<(ModuleFilter, PageRequest), Problem> {
    let mut query = Query::of(uri, &["q", "name", "kind", "page", "limit"]);
    let filter = ModuleFilter {
        query: query.take("q", |text| match text.chars().count() {
            ..=QUERY_CHARACTERS_MAX => Ok(text.to_owned()),
            _ => Err(format!("has at most {QUERY_CHARACTERS_MAX} characters")),
        }),
        name: query.take("name", |text| Ok(text.to_owned())),
        kind: query.take("kind", |text| {
            let kinds = [ModuleKind::JobStep, ModuleKind::Http];
            kinds.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| "is job-step or http".to_owned())
        }),
    };
    let page = query.page();
    query.finish()?;
    Ok((filter, page))
}

/// Show one version
///
/// Needs the role `viewer`. Of a name it is the newest that is not a pre-release.
#[utoipa::path(
    get, path = "/api/v1/wasm/modules/{module}", operation_id = "show_module", tag = "modules",
    params(ModulePath),
    responses((status = 200, description = "The version.", body = Module), ModuleRefusals)
)]
pub(super) async fn show(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    Reference(reference): Reference,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let revision = resolve(&services, &caller, &reference)?;
    Ok(json(StatusCode::OK, &*revision.module))
}

/// Delete one version
///
/// Needs the role `admin`. Its permissions, executions and logs go with it, and its bytes when no other version has them.
/// Executions that run finish.
#[utoipa::path(
    delete, path = "/api/v1/wasm/modules/{module}", operation_id = "delete_module", tag = "modules",
    params(ModulePath),
    responses((status = 204, description = "It is gone."), DeleteRefusals)
)]
pub(super) async fn delete(
    State(services): State<Services>,
    AsAdmin(caller): AsAdmin,
    trail: Trail,
    Reference(reference): Reference,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let module = Arc::clone(&resolve(&services, &caller, &reference)?.module);
    let resource = format!("{}@{}", module.name, module.version);
    let entry = trail.entry(&services, &caller, action::MODULE_DELETE, resource);
    let users = services.jobs.users_of(module.id);
    if !users.is_empty() {
        return Err(in_use(&services, entry, &users).await);
    }
    // By id: it is this version that the caller sees.
    let deleted = services.registry.delete(&ModuleRef::Id(module.id), entry).await;
    deleted.map_err(|error| match error {
        registry::Error::NotFound(_) => no_module(&reference),
        error => refused(error),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// How many jobs are named that need a module.
const USERS_MAX: usize = 20;

/// Audits that a version stays, and says whose it is.
async fn in_use(services: &Services, entry: AuditEntry, users: &[JobName]) -> Problem {
    let names: Vec<&str> = users.iter().take(USERS_MAX).map(JobName::as_str).collect();
    let more = users.len().checked_sub(USERS_MAX).filter(|more| *more > 0);
    let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
    let detail =
        format!("jobs need it: {}{more}; save them with another module, or delete them, first", names.join(", "));
    let problem = Problem::new(Code::InUse, detail);
    let entry = entry.refused().with("code", problem.code().as_str());
    match services.store.append_audit([entry].into()).await {
        Ok(()) => problem,
        Err(error) => Problem::internal(error),
    }
}

/// Download a version's bytes
///
/// Needs the role `viewer`.
#[utoipa::path(
    get, path = "/api/v1/wasm/modules/{module}/download", operation_id = "download_module", tag = "modules",
    params(
        ModulePath,
        ("If-None-Match" = Option<String>, Header, description = "Tags that the caller has already."),
    ),
    responses(
        (status = 200, description = "The component.", body = inline(File), content_type = "application/wasm",
         headers(("etag", description = "The digest, in quotes."),
                 ("content-disposition", description = "A file name of name and version."))),
        (status = 304, description = "The caller has it.", headers(("etag", description = "The digest, in quotes."))),
        DownloadRefusals,
    )
)]
pub(super) async fn download(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    Reference(reference): Reference,
    request: Parts,
) -> Result<Response, Problem> {
    Query::of(&request.uri, &[]).finish()?;
    let revision = resolve(&services, &caller, &reference)?;
    let module = &revision.module;
    let etag = format!("\"{}\"", module.sha256);
    if is_known(&request.headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let body = if request.method == Method::HEAD {
        Body::empty()
    } else {
        let turn = services.transfers.download(caller.id()).await?;
        let component = match services.registry.download(module).await {
            Ok(component) => component,
            Err(error) => {
                // It may have been deleted since it was found.
                resolve(&services, &caller, &ModuleRef::Id(module.id))?;
                return Err(refused(error));
            }
        };
        // Read whole and verified by now; what goes wrong from here on breaks the body off.
        let timeout = Duration::from_millis(services.config.server.body_timeout_ms);
        Body::from_stream(turn.until_sent(component.chunks(), timeout))
    };
    let file = format!("attachment; filename=\"{}-{}.wasm\"", module.name, module.version);
    let headers = [
        (header::CONTENT_TYPE, "application/wasm".to_owned()),
        (header::CONTENT_LENGTH, module.size_bytes.to_string()),
        (header::CONTENT_DISPOSITION, file),
        (header::ETAG, etag),
    ];
    Ok((headers, body).into_response())
}

/// The bytes of a component.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it describes a body")]
struct File(Vec<u8>);

/// Whether `If-None-Match` has this tag. Compared weakly, as RFC 9110 says.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests;
