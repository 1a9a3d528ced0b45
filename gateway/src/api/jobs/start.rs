//! `POST /api/v1/jobs/{name}/runs`.
//!
//! Owns what of a request starts a run, and how long its caller waits. Does not own the run (`jobs`).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;

use super::{Name, find, refused};
use crate::api::Services;
use crate::api::authorize::AsInvoker;
use crate::api::openapi::refusals;
use crate::api::path_id::missing;
use crate::api::query::Query;
use crate::api::runs::{RunShown, answer};
use crate::error::{Code, FieldError};
use crate::http::auth::Caller;
use crate::http::body::{self, Bounds};
use crate::http::{Problem, invoke, media_type};
use crate::jobs::{Start, Started, idempotency};
use crate::model::job::JobName;
use crate::model::{Digest, JsonText, RunId};
use crate::store::IdempotencyKey;

/// Longer, a connection without a byte is cut by what stands in between.
const WAIT_MS_MAX: u32 = 60_000;
/// Version 00 has 55; later ones may have more.
const TRACEPARENT_BYTES_MAX: usize = 256;

refusals! {
    /// Of a start.
    Refusals = [UnknownField, Unauthenticated, Forbidden, NotFound, IdempotencyConflict, IdempotencyMismatch, TooLarge,
                UnsupportedMediaType, RateLimited, Overloaded];
}

/// Start a run
///
/// Needs the role `invoker`. The body is the trigger, any JSON; without one it is null. With `wait_ms` the answer is the run
/// when it has ended, whatever its end; or as it is when that time is over.
#[utoipa::path(
    post, path = "/api/v1/jobs/{name}/runs", operation_id = "start_run", tag = "runs",
    params(
        ("name" = inline(JobName), Path, description = "The job."),
        ("wait_ms" = Option<u32>, Query, description = "How long to wait for its end.", minimum = 0, maximum = 60_000),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible characters: the same key and body \
            of the same API key start one run, unless that failed or was canceled."),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: 202 at once, whatever `wait_ms` says."),
    ),
    request_body(content = Option<serde_json::Value>, description = "The trigger."),
    responses(
        (status = 200, description = "It has ended.", body = RunShown, headers(("location", description = "Where it is."))),
        (status = 202, description = "It goes on.", body = RunShown,
         headers(("location", description = "Where it is."), ("preference-applied", description = "`respond-async`."))),
        Refusals,
    )
)]
pub(in crate::api) async fn start(
    State(services): State<Services>,
    AsInvoker(caller): AsInvoker,
    Name(name): Name,
    request: Request,
) -> Result<Response, Problem> {
    let wait = wait(request.uri())?;
    let job = find(&services, &caller, &name)?;
    let (parts, body) = request.into_parts();
    media_type::require_json(&parts.headers)?;
    let key = idempotency::parse(&parts.headers).map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    let server = &services.config.server;
    let timeout = Duration::from_millis(server.body_timeout_ms);
    let bytes = body::read(body, Bounds { bytes_max: server.body_bytes as u64, timeout }).await?;
    let trigger = trigger(&bytes)?;
    let idempotency = key.map(|key| idempotency_key(&services, &caller, &name, key, &bytes));
    drop(bytes);
    let start = Start { job, trigger, idempotency, traceparent: traceparent(&parts.headers) };
    let id = match services.jobs.start(start).await.map_err(refused)? {
        Started::New(id) | Started::Before(id) => id,
        Started::Mismatch => {
            let detail = "this Idempotency-Key came with another body: send a new key with a new request";
            return Err(Problem::new(Code::IdempotencyMismatch, detail));
        }
    };
    let is_async = invoke::prefers_async(&parts.headers);
    let mut response = ended(&services, id, wait.filter(|_| !is_async)).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/runs/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if is_async {
        response.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
    }
    Ok(response)
}

/// The run when it has ended, or when the time, or the gateway's, is over.
async fn ended(services: &Services, id: RunId, wait: Option<Duration>) -> Result<Response, Problem> {
    let waited = match wait {
        None => None,
        Some(wait) => tokio::select! {
            run = services.jobs.wait(id, wait) => run.map_err(refused)?,
            () = services.readiness.draining() => None,
        },
    };
    let run = match waited {
        Some(run) => run,
        None => services.jobs.run(id).await.map_err(refused)?.ok_or_else(missing::<RunId>)?,
    };
    let has_ended = wait.is_some() && run.status.is_end();
    answer(services, if has_ended { 200 } else { 202 }, run).await
}

fn wait(uri: &Uri) -> Result<Option<Duration>, Problem> {
    let mut query = Query::of(uri, &["wait_ms"]);
    let wait = query.take("wait_ms", |text| {
        let wait = text.parse().ok().filter(|wait| *wait <= WAIT_MS_MAX);
        wait.ok_or_else(|| format!("is a whole number from 0 to {WAIT_MS_MAX}"))
    });
    query.finish()?;
    Ok(wait.map(|wait: u32| Duration::from_millis(wait.into())))
}

fn trigger(bytes: &[u8]) -> Result<JsonText, Problem> {
    if bytes.is_empty() {
        return Ok(JsonText::null());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::new(Code::BadRequest, "the body is not UTF-8 text"))?;
    let wrong = |error| FieldError::new("", "invalid-json", format!("is not JSON: {error}"));
    JsonText::parse(text).map_err(|error| Problem::malformed(vec![wrong(error)]))
}

fn idempotency_key(services: &Services, caller: &Caller, job: &JobName, key: String, body: &[u8]) -> IdempotencyKey {
    IdempotencyKey {
        scope: format!("key:{}:{job}", caller.id()),
        key,
        fingerprint: Digest::of(body),
        expires_at: services.jobs.idempotency_until(),
        is_free_after_failure: true,
    }
}

/// As it came: whoever sends it on checks it.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    (text.len() <= TRACEPARENT_BYTES_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_any_json_and_nothing_is_null() {
        assert_eq!(trigger(b"").unwrap().as_str(), "null");
        assert_eq!(trigger(b"{\"total\": 1.50}").unwrap().as_str(), "{\"total\": 1.50}");
        assert_eq!(trigger(b"{").unwrap_err().code(), Code::BadRequest);
        assert_eq!(trigger(b"\"\xff\"").unwrap_err().code(), Code::BadRequest);
    }

    #[test]
    fn nobody_waits_longer_than_a_minute() {
        let of = |query: &str| wait(&format!("/api/v1/jobs/a/runs?{query}").parse().unwrap());
        assert_eq!(of("").unwrap(), None);
        assert_eq!(of("wait_ms=60000").unwrap(), Some(Duration::from_mins(1)));
        for wrong in ["wait_ms=60001", "wait_ms=-1", "wait_ms=x"] {
            assert_eq!(of(wrong).unwrap_err().code(), Code::BadRequest, "{wrong}");
        }
        assert_eq!(of("wait=1").unwrap_err().code(), Code::UnknownField);
    }
}
