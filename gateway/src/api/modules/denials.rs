//! `GET` of what a version tried and may not.
//!
//! Owns how denials are asked for. Does not own what is denied (`runtime`) nor how much is kept (`store`).

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::{Reference, resolve};
use crate::api::Services;
use crate::api::answer::{Listing, json, not_listed};
use crate::api::authorize::AsViewer;
use crate::api::openapi::{ModulePath, Paging, refusals};
use crate::api::query::Query;
use crate::http::Problem;
use crate::model::RecordedDenial;

refusals! {
    /// Of a version's denials.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited, Overloaded];
}

/// List what a version tried and may not
///
/// Needs the role `viewer`. Each thing once, with how often; what was denied last comes first. The newest 1000 of a version are
/// kept, as long as executions are. A call's denials are here within a second of its end.
#[utoipa::path(
    get, path = "/api/v1/wasm/modules/{module}/denials", operation_id = "list_denials", tag = "modules",
    params(ModulePath, Paging),
    responses((status = 200, description = "A page of them.", body = Listing<RecordedDenial>), Refusals)
)]
pub(in crate::api) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    Reference(reference): Reference,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri, &["page", "limit"]);
    let page = query.page();
    query.finish()?;
    let module = resolve(&services, &caller, &reference)?.module.id;
    let found = services.store.list_denials(module, page).await.map_err(not_listed)?;
    Ok(json(StatusCode::OK, &Listing::new(page, found, |denial| denial)))
}
