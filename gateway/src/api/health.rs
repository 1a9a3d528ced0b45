//! `/healthz` and `/readyz`. They need no key: whoever asks is a load balancer
//! or an orchestrator, and learns nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::answer::json;
use super::openapi::refusals;

/// Below what orchestrators wait by default for an answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the gateway is going away. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/readyz` sends new requests elsewhere.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`, `ready`, `draining` or `unavailable`.
    #[schema(pattern = "^(ok|ready|draining|unavailable)$", example = "ok")]
    status: &'static str,
    /// Where something does not answer, what.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Checks, required = false)]
    checks: Option<Checks>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    /// `ok` or `failed`.
    #[schema(pattern = "^(ok|failed)$")]
    store: &'static str,
    /// `ok` or `failed`.
    #[schema(pattern = "^(ok|failed)$")]
    blobs: &'static str,
}

refusals! {
    /// Of whatever needs no key.
    Refusals = [];
}

/// Whether the process lives
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "health", security(()),
    responses((status = 200, description = "It does.", body = Health), Refusals)
)]
pub(super) async fn alive() -> Response {
    json(StatusCode::OK, &Health { status: "ok", checks: None })
}

/// Whether requests are to be sent here
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "They are.", body = Health),
        (status = 503, description = "Not now: the gateway is going away, or what it needs does not answer.", body = Health),
        Refusals,
    )
)]
pub(super) async fn ready(State(services): State<Services>) -> Response {
    if services.readiness.is_draining() {
        return json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "draining", checks: None });
    }
    let (store, blobs) = tokio::join!(check("store", services.store.ping()), check("blobs", services.blobs.ping()));
    verdict(store, blobs)
}

fn verdict(store: Check, blobs: Check) -> Response {
    if store == Check::Ok && blobs == Check::Ok {
        return json(StatusCode::OK, &Health { status: "ready", checks: None });
    }
    let checks = Checks { store: store.as_str(), blobs: blobs.as_str() };
    json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "unavailable", checks: Some(checks) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Ok,
    Failed,
}

impl Check {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

async fn check<E>(what: &'static str, ping: impl Future<Output = Result<(), E>>) -> Check
where
    E: std::error::Error + 'static,
{
    match tokio::time::timeout(CHECK_TIMEOUT, ping).await {
        Ok(Ok(())) => Check::Ok,
        Ok(Err(error)) => {
            tracing::warn!(what, error = &error as &dyn std::error::Error, "not ready");
            Check::Failed
        }
        Err(_) => {
            tracing::warn!(what, "not ready: no answer in time");
            Check::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn shown(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_does_not_answer_is_named() {
        assert_eq!(shown(verdict(Check::Ok, Check::Ok)).await, (200, r#"{"status":"ready"}"#.to_owned()));
        let expected = r#"{"status":"unavailable","checks":{"store":"ok","blobs":"failed"}}"#;
        assert_eq!(shown(verdict(Check::Ok, Check::Failed)).await, (503, expected.to_owned()));
    }

    #[tokio::test]
    async fn a_failing_ping_fails_its_check() {
        assert_eq!(check("store", async { Ok::<_, std::io::Error>(()) }).await, Check::Ok);
        assert_eq!(check("store", async { Err(std::io::Error::other("down")) }).await, Check::Failed);
    }

    #[test]
    fn draining_is_seen_by_all_clones() {
        let readiness = Readiness::default();
        let other = readiness.clone();
        assert!(!other.is_draining());
        readiness.drain();
        assert!(other.is_draining());
    }
}
