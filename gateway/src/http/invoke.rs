//! `POST /api/v1/wasm/modules/{module}/invoke`: the seam between requests and
//! the runtime.
//!
//! Placeholder: the service dispatches here, and the executions come with the
//! runtime. What it gets is below; what it returns may carry a [`Problem`].

use http::{Request, Response};
use hyper::body::Incoming;

use super::{Body, Problem, RequestId};
use crate::error::Code;

/// What an invocation needs of the rest of the gateway.
#[derive(Debug)]
pub struct Plane {}

/// Runs a function of `module`: the path's segment, percent-decoded, and not
/// checked in any other way. Dropped where the client leaves.
#[expect(clippy::unused_async, reason = "the seam is asynchronous; this placeholder has nothing to wait for")]
pub async fn handle(
    _plane: &Plane,
    module: &str,
    _request: Request<Incoming>,
    _request_id: &RequestId,
) -> Response<Body> {
    Problem::new(Code::NotFound, format!("there is no module {module}")).into_response()
}
