//! What every request and every answer goes through.
//!
//! Owns the dispatch between the planes, the request's id, the bound on heads,
//! the place of the rate limits, the last touches on answers, what is audited of
//! refusals, and what becomes of a panic. Does not own either
//! plane. Invariant: each request is answered once, counted once, and no panic
//! of one reaches another.

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::hooks::{self, Hooks};
use super::invoke::{self, Plane};
use super::rate_limit::{self, RateLimits, Standing};
use super::request_id::{self, RequestIds};
use super::{Body, Peer, Problem, RequestId, Service, Suspect, router};
use crate::error::Code;
use crate::store::refusals::{Refusal, Refusals};
use crate::telemetry::Metrics;

/// Both planes behind one door. Cheap to clone.
pub struct Handler<F> {
    parts: Arc<Parts<F>>,
    peer: Peer,
}

/// What is done at the door, whoever answers.
#[derive(Debug)]
pub struct Door {
    /// Counts answers.
    pub metrics: Metrics,
    /// Bounds the head of an HTTP/2 request (the listener bounds HTTP/1's).
    pub head_bytes: usize,
    /// Who may ask how often.
    pub rate_limits: Option<RateLimits>,
    /// Remembers who was refused.
    pub refusals: Refusals,
}

struct Parts<F> {
    plane: Plane,
    hooks: Hooks,
    control: F,
    door: Door,
    ids: RequestIds,
}

impl<F> Clone for Handler<F> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts), peer: self.peer }
    }
}

impl<F> Handler<F> {
    /// `control` answers everything that is neither an invocation nor a webhook.
    pub fn new(plane: Plane, hooks: Hooks, control: F, door: Door) -> Self {
        let parts = Parts { plane, hooks, control, door, ids: RequestIds::default() };
        Self { parts: Arc::new(parts), peer: Peer::default() }
    }
}

impl<F> Service for Handler<F>
where
    F: tower::Service<Request<Incoming>, Response = Response<axum::body::Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    type Body = Body;

    fn for_peer(&self, peer: Peer) -> Self {
        Self { parts: Arc::clone(&self.parts), peer }
    }

    async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, peer) = (&*self.parts, self.peer);
        let id = parts.ids.of(request.headers());
        // Both are views into the head's buffer: no copy.
        let (uri, version) = (request.uri().clone(), request.version());
        let method = request.method().clone();
        let mut standing = parts.standing(&uri, request.headers(), peer);
        let refusal = standing.as_mut().and_then(|standing| standing.refusal.take());
        let answer = match refusal {
            Some(problem) => problem.into_response(),
            None => {
                let answer = AssertUnwindSafe(parts.dispatch(&uri, request, &id, peer)).catch_unwind().await;
                answer.unwrap_or_else(|panic| after_panic(panic.as_ref(), &id))
            }
        };
        if is_error(answer.status()) {
            parts.remember_refusal(&answer, Asked { method: &method, path: uri.path(), id: &id, peer });
        }
        let mut answer = finish(answer, &id, &uri, version);
        if let Some(standing) = standing {
            standing.tell(answer.headers_mut());
        }
        parts.door.metrics.request_answered(answer.status().as_u16());
        answer
    }

    fn refuse(&self, problem: Problem) -> Response<Bytes> {
        let id = self.parts.ids.next();
        let mut answer = Problem::render(problem.into_response::<Bytes>(), &id, None);
        add_headers(&mut answer, &id);
        self.parts.door.metrics.request_answered(answer.status().as_u16());
        answer
    }
}

/// What a refused request was.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    id: &'a RequestId,
    peer: Peer,
}

impl<F> Parts<F> {
    /// Where the request stands with the limits; `None` where there are none.
    fn standing(&self, uri: &Uri, headers: &HeaderMap, peer: Peer) -> Option<Standing> {
        let limits = self.door.rate_limits.as_ref()?;
        if !rate_limit::covers(uri.path()) {
            return None;
        }
        Some(limits.check(peer, || self.plane.keys.authenticate(headers).ok()))
    }

    /// Takes to the audit what was refused to somebody who is known, or for a reason that
    /// somebody should look at. A key that was made up is neither.
    fn remember_refusal(&self, answer: &Response<Body>, asked: Asked<'_>) {
        let Some(problem) = answer.extensions().get::<Problem>() else { return };
        let code = problem.code();
        let suspect = problem.suspected();
        match code {
            Code::Forbidden | Code::RateLimited | Code::Integrity => {}
            Code::Unauthenticated if suspect.is_some() => {}
            _ => return,
        }
        let (actor, claimed) = match suspect.cloned() {
            Some(Suspect::Proven(key)) => (Some(key), None),
            Some(Suspect::Claimed(key)) => (None, Some(key)),
            None => (None, None),
        };
        self.door.refusals.record(Refusal {
            code: code.as_str(),
            actor,
            claimed,
            method: asked.method.to_string(),
            path: asked.path.to_owned(),
            request_id: asked.id.as_str().to_owned(),
            address: asked.peer.to_string(),
            network: asked.peer.network().to_string(),
        });
    }
}

impl<F> Parts<F>
where
    F: tower::Service<Request<Incoming>, Response = Response<axum::body::Body>, Error = Infallible> + Clone,
{
    async fn dispatch(&self, uri: &Uri, mut request: Request<Incoming>, id: &RequestId, peer: Peer) -> Response<Body> {
        let head_bytes_max = self.door.head_bytes;
        if request.version() == Version::HTTP_2 && head_bytes(&request) > head_bytes_max {
            let problem = Problem::new(Code::HeadersTooLarge, "the request's head is over its bound");
            return problem.limit(head_bytes_max as u64).into_response();
        }
        if let Some(job) = router::hook(uri.path()) {
            return hooks::handle(&self.hooks, job, request).await;
        }
        match router::invoked_module(uri.path()) {
            Some(module) if request.method() == Method::POST => invoke::handle(&self.plane, &module, request).await,
            Some(_) => {
                Problem::new(Code::MethodNotAllowed, "a module is invoked with POST").allow("POST").into_response()
            }
            None => {
                request.extensions_mut().insert(id.clone());
                request.extensions_mut().insert(peer);
                match self.control.clone().oneshot(request).await {
                    Ok(response) => response.map(Body::from),
                    Err(never) => match never {},
                }
            }
        }
    }
}

/// A head's size as HTTP/1 would write it: the request line, and four bytes of
/// punctuation a header.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |text| text.as_str().len())
        + uri.authority().map_or(0, |text| text.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.method().as_str().len() + target + headers.sum::<usize>()
}

fn after_panic(panic: &(dyn Any + Send), id: &RequestId) -> Response<Body> {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| Cow::Borrowed(*text))
        .or_else(|| panic.downcast_ref::<String>().map(|text| Cow::Borrowed(text.as_str())))
        .unwrap_or(Cow::Borrowed("no message"));
    tracing::error!(request_id = id.as_str(), panic = %message, "a handler panicked");
    Problem::new(Code::Internal, "").into_response()
}

fn finish(answer: Response<Body>, id: &RequestId, uri: &Uri, version: Version) -> Response<Body> {
    let mut answer = if is_error(answer.status()) { Problem::render(answer, id, Some(uri.path())) } else { answer };
    // What is left of the request may still be on its way, and would be taken
    // for the next one. HTTP/2 has streams for that, and no such header.
    let leaves_a_rest = matches!(answer.status(), StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE);
    if leaves_a_rest && version != Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    add_headers(&mut answer, id);
    answer
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn add_headers<B>(answer: &mut Response<B>, id: &RequestId) {
    let headers = answer.headers_mut();
    headers.insert(request_id::HEADER, id.as_header().clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests;
