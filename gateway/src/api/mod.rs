//! The control plane: modules, executions, keys, the audit, health.
//!
//! Owns its routes; one file a resource, each with its requests, answers and
//! handlers. Does not own sockets, bounds on connections, authentication itself
//! or the rendering of problems (`http`), nor any rule about modules
//! (`registry`). Invariant: every route but `/healthz`, `/readyz`, `/metrics` and
//! the document of the API asks for a role before it looks at anything else.

mod answer;
mod audit;
mod authorize;
mod circuits;
mod deliveries;
mod executions;
mod health;
mod jobs;
mod json_body;
mod keys;
mod metrics;
mod modules;
mod openapi;
mod path_id;
mod query;
mod runs;
mod transfers;

pub use health::Readiness;
pub use runs::Listeners;
pub use transfers::Transfers;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tokio_util::task::TaskTracker;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::blob::Blobs;
use crate::circuit::Circuits;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Code;
use crate::http::Problem;
use crate::http::auth::SharedKeys;
use crate::registry::Registry;
use crate::store::SharedStore;
use crate::telemetry::Metrics;

/// What the handlers need of the rest of the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Modules.
    pub registry: Arc<Registry>,
    /// Jobs and their runs.
    pub jobs: crate::jobs::Handle,
    /// Who is left alone for a while.
    pub circuits: Circuits,
    /// Who listens to runs.
    pub listeners: Listeners,
    /// Rows: lists and executions.
    pub store: SharedStore,
    /// Bytes: whether they can be had, and where uploads are spooled.
    pub blobs: Blobs,
    /// The time.
    pub clock: Clock,
    /// Who may call.
    pub keys: SharedKeys,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// Bounds.
    pub config: Arc<Config>,
    /// Whether the gateway is going away.
    pub readiness: Readiness,
    /// Modules on their way in or out.
    pub transfers: Transfers,
    /// Changes that go on when their caller has left, for the stop to wait for.
    pub changes: TaskTracker,
}

/// The routes of the control plane.
pub fn router(services: Services) -> Router {
    let document = document(&services.config.limits);
    let (router, _) = routes().split_for_parts();
    let document = document.map(Bytes::from).map_err(Arc::new);
    let show = move || {
        let document = document.clone();
        async move { document.map(openapi::show).map_err(Problem::internal) }
    };
    router
        .route(openapi::PATH, get(show))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        // Bodies have bounds of their own, with problems for answers.
        .layer(DefaultBodyLimit::disable())
        .with_state(services)
}

/// The `OpenAPI` document of a gateway with these limits.
fn document(limits: &config::Limits) -> Result<String, serde_json::Error> {
    openapi::text(routes().into_openapi(), limits)
}

/// Each route with its part of the document.
fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::with_openapi(openapi::Base::openapi())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::show))
        .routes(routes!(modules::upload::upload, modules::list))
        .routes(routes!(modules::show, modules::delete))
        .routes(routes!(modules::change::replace_permissions))
        .routes(routes!(modules::change::replace_limits))
        .routes(routes!(modules::denials::list))
        .routes(routes!(modules::download))
        .routes(routes!(executions::list))
        .routes(routes!(executions::show))
        .routes(routes!(executions::logs))
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::validate))
        .routes(routes!(jobs::schema))
        .routes(routes!(jobs::replace, jobs::show, jobs::delete))
        .routes(routes!(jobs::start::start))
        .routes(routes!(runs::list))
        .routes(routes!(runs::show))
        .routes(routes!(runs::events::listen))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::retry))
        .routes(routes!(circuits::list))
        .routes(routes!(circuits::close))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::delete))
        .routes(routes!(audit::list))
}

async fn no_route() -> Problem {
    Problem::new(Code::NotFound, "there is nothing at this path")
}

/// `Allow` is the router's to add.
async fn wrong_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the path does not have this method; `Allow` has those it has")
}

#[cfg(test)]
mod tests;
