//! What every request and every answer goes through.
//!
//! Owns the dispatch between the planes, the request's id, the bound on heads,
//! the last touches on answers, and what becomes of a panic. Does not own either
//! plane. Invariant: each request is answered once, counted once, and no panic
//! of one reaches another.

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::invoke::{self, Plane};
use super::request_id::{self, RequestIds};
use super::{Body, Problem, RequestId, Service, router};
use crate::error::Code;
use crate::telemetry::Metrics;

/// Both planes behind one door. Cheap to clone.
pub struct Handler<F>(Arc<Parts<F>>);

struct Parts<F> {
    plane: Plane,
    control: F,
    metrics: Metrics,
    head_bytes: usize,
    ids: RequestIds,
}

impl<F> Clone for Handler<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Handler<F> {
    /// `control` answers everything that isn't an invocation; `head_bytes` bounds
    /// the head of an HTTP/2 request (the listener bounds HTTP/1's).
    pub fn new(plane: Plane, control: F, metrics: Metrics, head_bytes: usize) -> Self {
        Self(Arc::new(Parts { plane, control, metrics, head_bytes, ids: RequestIds::default() }))
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

    async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        let parts = &*self.0;
        let id = parts.ids.of(request.headers());
        // Both are views into the head's buffer: no copy.
        let (uri, version) = (request.uri().clone(), request.version());
        let answer = AssertUnwindSafe(parts.dispatch(&uri, request, &id)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|panic| after_panic(panic.as_ref(), &id));
        let answer = finish(answer, &id, &uri, version);
        parts.metrics.request_answered(answer.status().as_u16());
        answer
    }

    fn refuse(&self, problem: Problem) -> Response<Bytes> {
        let id = self.0.ids.next();
        let mut answer = Problem::render(problem.into_response::<Bytes>(), &id, None);
        add_headers(&mut answer, &id);
        self.0.metrics.request_answered(answer.status().as_u16());
        answer
    }
}

impl<F> Parts<F>
where
    F: tower::Service<Request<Incoming>, Response = Response<axum::body::Body>, Error = Infallible> + Clone,
{
    async fn dispatch(&self, uri: &Uri, mut request: Request<Incoming>, id: &RequestId) -> Response<Body> {
        if request.version() == Version::HTTP_2 && head_bytes(&request) > self.head_bytes {
            let problem = Problem::new(Code::HeadersTooLarge, "the request's head is over its bound");
            return problem.limit(self.head_bytes as u64).into_response();
        }
        match router::invoked_module(uri.path()) {
            Some(module) if request.method() == Method::POST => invoke::handle(&self.plane, &module, request).await,
            Some(_) => {
                Problem::new(Code::MethodNotAllowed, "a module is invoked with POST").allow("POST").into_response()
            }
            None => {
                request.extensions_mut().insert(id.clone());
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
