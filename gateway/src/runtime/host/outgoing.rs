//! `wasi:http/outgoing-handler`: linked, since components of many languages import
//! it without calling it, and denied.

use std::future::Future;

use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The hooks of a guest that may not send.
pub(in crate::runtime) struct DenyOutgoing;

type Sending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Sending), Error>> + Send>;

impl WasiHttpHooks for DenyOutgoing {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sending: Sending,
    ) -> Answer {
        Box::new(async { Err(ErrorCode::HttpRequestDenied.into()) })
    }
}
