//! `POST /hooks/{job}`: a webhook starts a run.
//!
//! Owns the way in: who signed it, and what of it is the trigger. Does not own the signature's form (`jobs::webhook`) nor the
//! run (`jobs`). Invariants: a job that can't be started so is not told from one that doesn't exist, and costs nothing to ask
//! for; nothing is read of a body before its signature was found good; a webhook that was taken once is never taken again.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::body::{self, Bounds, Room};
use super::{Body, Problem, media_type};
use crate::clock::Clock;
use crate::error::Code;
use crate::jobs::webhook::{self, Secret};
use crate::jobs::{self, Handle, KnownJob, Start, Started, cloudevent};
use crate::model::job::JobName;
use crate::model::{Digest, JsonText, RunId};
use crate::store::IdempotencyKey;

/// What a sender is told to wait where too much is being started.
const RETRY_AFTER_S: u32 = 1;
/// Version 00 has 55; later ones may have more.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// What hooks need of the rest of the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    /// Jobs and their runs.
    pub jobs: Handle,
    /// The time, which a signature is compared with.
    pub clock: Clock,
    /// Of a body.
    pub body: Bounds,
    /// For large bodies.
    pub room: Room,
}

#[derive(Serialize)]
struct Accepted<'a> {
    run_id: RunId,
    job: &'a JobName,
}

/// Answers a request to `/hooks/{name}`.
pub(super) async fn handle(hooks: &Hooks, name: &str, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return Problem::new(Code::MethodNotAllowed, "a webhook is sent with POST").allow("POST").into_response();
    }
    taken(hooks, name, request).await.unwrap_or_else(Problem::into_response)
}

async fn taken(hooks: &Hooks, name: &str, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let known = hooks.jobs.find(name).filter(|known| known.definition.hook.is_some());
    let known = known.ok_or_else(|| Problem::new(Code::NotFound, "there is no such hook"))?;
    let (parts, body) = request.into_parts();
    let (bytes, _room) = body::read_in(&hooks.room, body, hooks.body).await?;
    let id = verified(hooks, &known, &parts.headers, &bytes)?;
    let job = known.job.name.clone();
    let start = Start {
        trigger: trigger(&parts.headers, &bytes)?,
        idempotency: Some(IdempotencyKey {
            scope: format!("hook:{job}"),
            key: id,
            fingerprint: Digest::of(&bytes),
            expires_at: hooks.jobs.idempotency_until(),
            is_free_after_failure: false,
        }),
        traceparent: traceparent(&parts.headers),
        job: known,
    };
    match hooks.jobs.start(start).await.map_err(refused)? {
        Started::New(run_id) | Started::Before(run_id) => Ok(accepted(&Accepted { run_id, job: &job })),
        Started::Mismatch => {
            Err(Problem::new(Code::IdempotencyMismatch, "this webhook-id came with another body before"))
        }
    }
}

/// The id of a webhook that a secret of the hook signed.
fn verified(hooks: &Hooks, known: &KnownJob, headers: &HeaderMap, body: &[u8]) -> Result<String, Problem> {
    let texts = hooks.jobs.hook_secrets(known);
    let secrets: Vec<Secret> = texts.iter().filter_map(|text| Secret::parse(text.expose_secret()).ok()).collect();
    let verified = webhook::verify(&secrets, headers, body, hooks.clock.now());
    let verified = verified.map_err(|refused| Problem::new(Code::Unauthenticated, refused.to_string()))?;
    Ok(verified.id)
}

/// An event of `CloudEvents`, else the JSON that the body is; none is null.
fn trigger(headers: &HeaderMap, body: &Bytes) -> Result<JsonText, Problem> {
    if !cloudevent::is_event(headers) {
        if body.is_empty() {
            return Ok(JsonText::null());
        }
        media_type::require_json(headers)?;
        let text = std::str::from_utf8(body);
        let text = text.map_err(|_| Problem::new(Code::BadRequest, "the body is not UTF-8 text"))?;
        // As it came: its numbers and its order are the sender's.
        return JsonText::parse(text)
            .map_err(|error| Problem::new(Code::BadRequest, format!("the body is not JSON: {error}")));
    }
    match cloudevent::trigger(headers, body) {
        Ok(trigger) => Ok(JsonText::of(&trigger)),
        Err(cloudevent::Error::Event(mistakes)) => Err(Problem::malformed(mistakes)),
        Err(error @ (cloudevent::Error::Batch | cloudevent::Error::Format)) => {
            Err(Problem::new(Code::UnsupportedMediaType, error.to_string()))
        }
        Err(error @ cloudevent::Error::NotJson(_)) => Err(Problem::new(Code::BadRequest, error.to_string())),
    }
}

/// As it came: whoever sends it on checks it.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    (text.len() <= TRACEPARENT_BYTES_MAX).then(|| text.to_owned())
}

fn refused(error: jobs::Error) -> Problem {
    match error {
        jobs::Error::TooLarge { limit } => Problem::new(Code::TooLarge, error.to_string()).limit(limit),
        jobs::Error::Overloaded => Problem::new(Code::Overloaded, error.to_string()).retry_after_s(RETRY_AFTER_S),
        jobs::Error::Conflict => Problem::new(Code::IdempotencyConflict, error.to_string()),
        jobs::Error::Store(_) | jobs::Error::Blobs(_) => Problem::internal(error),
    }
}

fn accepted(accepted: &Accepted<'_>) -> Response<Body> {
    // This type holds nothing that could fail to be written.
    let mut response = Response::new(Body::from(serde_json::to_vec(accepted).unwrap_or_default()));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/runs/{}", accepted.run_id)) {
        headers.insert(header::LOCATION, location);
    }
    response
}
