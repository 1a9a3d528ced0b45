//! `/api/v1/wasm/modules`: upload, list, show, download, delete.
//!
//! Owns how modules are asked for and shown. Does not own what a module may be
//! (`registry`), nor the form of an upload (`upload`).

mod settings;
mod upload;

pub(super) use upload::upload;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::Services;
use super::answer::{Listing, json};
use super::authorize::{AsAdmin, AsViewer};
use super::query::Query;
use crate::error::Code;
use crate::http::Problem;
use crate::model::{Module, ModuleKind, ModuleRef};
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

fn resolve(services: &Services, reference: &ModuleRef) -> Result<Arc<Revision>, Problem> {
    services.registry.snapshot().resolve(reference).map(Arc::clone).ok_or_else(|| no_module(reference))
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

/// `GET /api/v1/wasm/modules`
pub(super) async fn list(State(services): State<Services>, _: AsViewer, uri: Uri) -> Result<Response, Problem> {
    let (filter, page) = list_query(&uri)?;
    let found = services.store.list_modules(&filter, page).await.map_err(Problem::internal)?;
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

/// `GET /api/v1/wasm/modules/{module}`
pub(super) async fn show(
    State(services): State<Services>,
    _: AsViewer,
    Reference(reference): Reference,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let revision = resolve(&services, &reference)?;
    Ok(json(StatusCode::OK, &*revision.module))
}

/// `DELETE /api/v1/wasm/modules/{module}`
pub(super) async fn delete(
    State(services): State<Services>,
    _: AsAdmin,
    Reference(reference): Reference,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    services.registry.delete(&reference).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /api/v1/wasm/modules/{module}/download`
pub(super) async fn download(
    State(services): State<Services>,
    _: AsViewer,
    Reference(reference): Reference,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let revision = resolve(&services, &reference)?;
    let module = &revision.module;
    let etag = format!("\"{}\"", module.sha256);
    if is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let turn = services.transfers.download().await?;
        let bytes = services.registry.download(module).await.map_err(refused)?;
        Body::from(turn.until_sent(bytes))
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

/// Whether `If-None-Match` has this tag. Compared weakly, as RFC 9110 says.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests;
