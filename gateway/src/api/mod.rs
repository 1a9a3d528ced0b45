//! The control plane: modules, executions, health.
//!
//! Owns its routes; one file a resource, each with its requests, answers and
//! handlers. Does not own sockets, bounds on connections, authentication itself
//! or the rendering of problems (`http`), nor any rule about modules
//! (`registry`). Invariant: every route but `/healthz`, `/readyz` and `/metrics`
//! asks for a role before it looks at anything else.

mod answer;
mod authorize;
mod executions;
mod health;
mod metrics;
mod modules;
mod query;
mod transfers;

pub use health::Readiness;
pub use transfers::Transfers;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};

use crate::blob::Blobs;
use crate::config::Config;
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
    /// Rows: lists and executions.
    pub store: SharedStore,
    /// Bytes; only asked whether they are there.
    pub blobs: Blobs,
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
}

/// The routes of the control plane.
pub fn router(services: Services) -> Router {
    routes().with_state(services)
}

fn routes() -> Router<Services> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/api/v1/wasm/modules", post(modules::upload::upload).get(modules::list))
        .route("/api/v1/wasm/modules/{module}", get(modules::show).delete(modules::delete))
        .route("/api/v1/wasm/modules/{module}/permissions", put(modules::change::replace_permissions))
        .route("/api/v1/wasm/modules/{module}/limits", put(modules::change::replace_limits))
        .route("/api/v1/wasm/modules/{module}/download", get(modules::download))
        .route("/api/v1/wasm/executions", get(executions::list))
        .route("/api/v1/wasm/executions/{execution}", get(executions::show))
        .route("/api/v1/wasm/executions/{execution}/logs", get(executions::logs))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        // Bodies have bounds of their own, with problems for answers.
        .layer(DefaultBodyLimit::disable())
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
