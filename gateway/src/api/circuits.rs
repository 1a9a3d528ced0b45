//! `/api/v1/circuits`: who is left alone for a while, and how that is ended by hand.
//!
//! Owns how they are asked for. Does not own when one opens (`circuit`). They are this gateway's own: another on the same store
//! has others.

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::Services;
use super::answer::{Listing, json};
use super::audit::{Trail, to_the_end};
use super::authorize::{AsEditor, AsViewer};
use super::openapi::{Paging, refusals};
use super::query::Query;
use crate::circuit::CircuitState;
use crate::error::Code;
use crate::http::Problem;
use crate::http::auth::Caller;
use crate::model::action;
use crate::store::Page;

refusals! {
    /// Of a list.
    ListRefusals = [UnknownField, Unauthenticated, Forbidden, RateLimited];
    /// Of one that is closed.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, RateLimited];
}

/// Whether the caller sees the module that a circuit is about, or of.
fn sees(caller: &Caller, circuit: &CircuitState) -> bool {
    let is_module = circuit.kind == "module";
    let about = is_module.then(|| circuit.name.split('@').next().unwrap_or_default());
    let names = [about, circuit.module.as_deref()];
    names.into_iter().flatten().all(|name| caller.sees_module(name))
}

/// List circuits
///
/// Needs the role `viewer`. Those of this gateway that something went through lately.
#[utoipa::path(
    get, path = "/api/v1/circuits", operation_id = "list_circuits", tag = "jobs", params(Paging),
    responses((status = 200, description = "A page of them.", body = Listing<CircuitState>), ListRefusals)
)]
pub(super) async fn list(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri, &["page", "limit"]);
    let page = query.page();
    query.finish()?;
    let mut all = services.circuits.list();
    all.retain(|circuit| sees(&caller, circuit));
    let total = all.len() as u64;
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let items = all.into_iter().skip(offset).take(page.limit as usize).collect();
    Ok(json(StatusCode::OK, &Listing::new(page, Page { items, total }, |circuit: CircuitState| circuit)))
}

/// Close a circuit
///
/// Needs the role `editor`. Others are let through from now on, until it opens again.
#[utoipa::path(
    post, path = "/api/v1/circuits/{circuit}/close", operation_id = "close_circuit", tag = "jobs",
    params(("circuit" = String, Path, description = "Its id.")),
    responses((status = 204, description = "It is closed."), Refusals)
)]
pub(super) async fn close(
    State(services): State<Services>,
    AsEditor(caller): AsEditor,
    trail: Trail,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[]).finish()?;
    let missing = || Problem::new(Code::NotFound, "there is no such circuit");
    let all = services.circuits.list();
    let found = all.into_iter().find(|circuit| circuit.id == id && sees(&caller, circuit)).ok_or_else(missing)?;
    let audit = trail.entry(&services, &caller, action::CIRCUIT_CLOSE, found.name.clone()).with("id", id.clone());
    let (circuits, store) = (services.circuits.clone(), services.store.clone());
    to_the_end(&services, async move {
        // Its row first: nothing is done that nobody could look up.
        store.append_audit([audit].into()).await.map_err(Problem::internal)?;
        if circuits.close(&id) { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(missing()) }
    })
    .await
}
