//! `/healthz` and `/readyz`. They need no key: whoever asks is a load balancer
//! or an orchestrator, and learns nothing else. Invariant: however many ask, store
//! and blobs are asked once a second.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Services;
use super::answer::json;
use super::openapi::refusals;

/// Below what orchestrators wait by default for an answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a check is everybody's, from its begin: whoever asks needs no key, and each one is a
/// request to S3. Balancers ask every few seconds.
const CHECK_FOR: Duration = Duration::from_secs(1);

/// Whether the gateway is going away, and what came of the last check. Cheap to clone; all clones
/// are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Known>);

#[derive(Default)]
struct Known {
    draining: CancellationToken,
    checked: Mutex<Option<Checked>>,
}

/// A check that has begun. It goes on as long as anybody waits for it, and has ended in its own time.
struct Checked {
    began: Instant,
    verdict: Shared<BoxFuture<'static, Verdict>>,
}

/// Of the store and of the blobs.
type Verdict = (Check, Check);

impl Readiness {
    /// From now on `/readyz` sends new requests elsewhere.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Returns when the gateway is going away: who waits for something that may take long waits no longer.
    pub(super) async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// The check that began within the last second, or the one that `begin` makes.
    fn check(&self, begin: impl FnOnce() -> BoxFuture<'static, Verdict>) -> Shared<BoxFuture<'static, Verdict>> {
        let mut checked = self.0.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checked) = &*checked
            && checked.began.elapsed() < CHECK_FOR
        {
            return checked.verdict.clone();
        }
        let verdict = begin().shared();
        *checked = Some(Checked { began: Instant::now(), verdict: verdict.clone() });
        verdict
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("draining", &self.draining).finish_non_exhaustive()
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
    let verdict = services.readiness.check(|| {
        let (store, blobs) = (Arc::clone(&services.store), services.blobs.clone());
        async move { tokio::join!(check("store", store.ping()), check("blobs", blobs.ping())) }.boxed()
    });
    let (store, blobs) = verdict.await;
    answer(store, blobs)
}

fn answer(store: Check, blobs: Check) -> Response {
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    async fn shown(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_does_not_answer_is_named() {
        assert_eq!(shown(answer(Check::Ok, Check::Ok)).await, (200, r#"{"status":"ready"}"#.to_owned()));
        let expected = r#"{"status":"unavailable","checks":{"store":"ok","blobs":"failed"}}"#;
        assert_eq!(shown(answer(Check::Ok, Check::Failed)).await, (503, expected.to_owned()));
    }

    #[tokio::test]
    async fn a_failing_ping_fails_its_check() {
        assert_eq!(check("store", async { Ok::<_, std::io::Error>(()) }).await, Check::Ok);
        assert_eq!(check("store", async { Err(std::io::Error::other("down")) }).await, Check::Failed);
    }

    #[tokio::test]
    async fn a_check_is_everybodys_for_a_second_also_when_who_began_it_has_left() {
        let readiness = Readiness::default();
        let count = Arc::new(AtomicUsize::new(0));
        let begin = || {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                (Check::Ok, Check::Failed)
            }
            .boxed()
        };
        let mut left = Box::pin(readiness.check(begin));
        assert!(futures_util::poll!(&mut left).is_pending());
        drop(left);
        for _ in 0..100 {
            assert_eq!(readiness.check(begin).await, (Check::Ok, Check::Failed));
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        let mut checked = readiness.0.checked.lock().unwrap().take().unwrap();
        checked.began = checked.began.checked_sub(CHECK_FOR).unwrap();
        *readiness.0.checked.lock().unwrap() = Some(checked);
        readiness.check(begin).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
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
