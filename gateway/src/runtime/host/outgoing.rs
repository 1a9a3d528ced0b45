//! `wasi:http/outgoing-handler`: linked, since components of many languages import
//! it without calling it, and denied.

use std::future::Future;

use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// What a guest may write ahead to one body. The default of 1 MiB would let one with
/// a thousand bodies fill the host before anything is denied.
const BODY_CHUNK_BYTES: usize = 4 * 1024;

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

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}
