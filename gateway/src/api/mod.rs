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

pub use health::Readiness;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

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
        .route("/api/v1/wasm/modules", post(modules::upload).get(modules::list))
        .route("/api/v1/wasm/modules/{module}", get(modules::show).delete(modules::delete))
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
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    fn bare() -> Router {
        Router::new()
            .route("/there", get(async || "here").delete(async || "gone"))
            .fallback(no_route)
            .method_not_allowed_fallback(wrong_method)
    }

    async fn asked(method: &str, path: &str) -> axum::response::Response {
        bare().oneshot(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn an_unknown_route_is_not_found() {
        let response = asked("GET", "/nowhere").await;
        assert_eq!(response.extensions().get::<Problem>().unwrap().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_which_there_are() {
        let response = asked("PUT", "/there").await;
        assert_eq!(response.extensions().get::<Problem>().unwrap().code(), Code::MethodNotAllowed);
        let allowed = response.headers()["allow"].to_str().unwrap();
        assert!(allowed.contains("GET") && allowed.contains("DELETE"), "{allowed}");
    }

    #[test]
    fn the_routes_do_not_overlap_and_are_a_control_plane_for_the_data_plane() {
        fn is_control_plane<F>(_: &crate::http::service::Handler<F>)
        where
            crate::http::service::Handler<F>: crate::http::Service,
        {
        }
        let _: fn(&crate::http::service::Handler<Router>) = is_control_plane;
        // Panics where two routes overlap.
        drop(routes());
    }
}
