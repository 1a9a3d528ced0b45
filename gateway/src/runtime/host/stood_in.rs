//! `wasi:http/outgoing-handler` where somebody stands in for servers.
//!
//! Owns the translation. Does not say what is answered (`stand_in`). Invariant: what `sluice:step/http` would be
//! answered for the same request, a component that speaks WASI is answered too.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::runtime::bindings::sluice::step::http as step;
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::stand_in::StandIn;

/// Waits for the whole body, since that is what an answer is chosen by.
pub(super) async fn answer(
    stand_in: Arc<dyn StandIn>,
    request: Request<WasiBody>,
    request_bytes: u64,
) -> Result<Response<WasiBody>, Error> {
    let (head, body) = request.into_parts();
    let too_large = || Error::HttpRequestBodySize(Some(request_bytes));
    let body = Limited::new(body, usize::try_from(request_bytes).unwrap_or(usize::MAX));
    let body = body.collect().await.map_err(|_| too_large())?.to_bytes();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let answer = stand_in.send(step::Request {
        method: head.method.to_string(),
        url: head.uri.to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: (!body.is_empty()).then(|| body.to_vec()),
        timeout_ms: None,
    });
    let step::Response { status, headers, body } = answer.map_err(told)?;
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    response.body(body).map_err(|_| Error::HttpProtocolError)
}

/// The nearest of what WASI has.
fn told(error: HostError) -> Error {
    match error {
        HostError::PermissionDenied(_) => Error::HttpRequestDenied,
        HostError::InvalidArgument(_) => Error::HttpRequestUriInvalid,
        HostError::NotFound(_) => Error::DestinationNotFound,
        HostError::LimitExceeded(_) => Error::ConnectionLimitReached,
        HostError::TimedOut(_) => Error::HttpResponseTimeout,
        HostError::Failed(text) => Error::InternalError(Some(text)),
    }
}
