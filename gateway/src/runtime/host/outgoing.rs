//! `wasi:http/outgoing-handler`: the same way out as `sluice:step/http`, for components that speak WASI.
//!
//! Owns the translation. Does not connect (`egress`). Invariant: nothing leaves that `sluice:step/http` of the
//! same step would not send: the same permissions, filter and bounds.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::http::kind;
use crate::clock::Clock;
use crate::egress::{self, Target};
use crate::model::{Denial, ExecutionId, Module, PermissionKind, PermissionSet};
use crate::runtime::Call;
use crate::runtime::denials::{Asker, Denials};
use crate::runtime::outside::Outside;
use crate::telemetry::{ModuleMetrics, Sampled, TraceContext};

/// What a guest may write ahead to one body. The default of 1 MiB would let one with
/// a thousand bodies fill the host before anything is sent.
const BODY_CHUNK_BYTES: usize = 4 * 1024;

type Sending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Box<dyn Future<Output = Result<(Response<WasiBody>, Sending), Error>> + Send>;

/// The hooks of one execution.
pub(in crate::runtime) struct Outgoing {
    module: Arc<Module>,
    permissions: Arc<PermissionSet>,
    metrics: ModuleMetrics,
    execution_id: ExecutionId,
    trace: Option<Sampled>,
    trace_context: TraceContext,
    outside: Arc<Outside>,
    clock: Clock,
    deadline: Instant,
    allowance: egress::Allowance,
    /// Requests that may be made until the store's count is asked again, and those that were.
    calls_left: u32,
    calls_made: u32,
    denials: Denials,
    /// What turned out to be closed while it was asked for.
    closed: Closed,
}

type Closed = Arc<Mutex<Vec<Denial>>>;

impl Outgoing {
    pub(in crate::runtime) fn new(call: &Call, outside: &Arc<Outside>, clock: &Clock, deadline: Instant) -> Self {
        Self {
            module: Arc::clone(&call.module),
            permissions: Arc::clone(&call.permissions),
            metrics: call.metrics.clone(),
            execution_id: call.execution_id,
            trace: call.trace.clone(),
            trace_context: call.trace_context.clone(),
            outside: Arc::clone(outside),
            clock: clock.clone(),
            deadline,
            allowance: egress::Allowance::default(),
            calls_left: 0,
            calls_made: 0,
            denials: Denials::default(),
            closed: Closed::default(),
        }
    }

    /// All that was denied until now.
    pub(in crate::runtime) fn take_denials(&mut self) -> Denials {
        let closed = std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        for denial in closed {
            let asker = Asker {
                module: &self.module,
                permissions: &self.permissions,
                metrics: &self.metrics,
                execution_id: self.execution_id,
            };
            self.denials.deny(asker, denial, super::http::CLOSED, &self.clock);
        }
        std::mem::take(&mut self.denials)
    }

    /// How many requests were made since this was last asked; `left` more may be.
    pub(in crate::runtime) fn settle(&mut self, left: impl FnOnce(u32) -> u32) {
        self.calls_left = left(std::mem::take(&mut self.calls_made));
    }

    fn prepare(&mut self, request: Request<WasiBody>, call: Option<&Sampled>) -> Result<Prepared, Error> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or(Error::ConnectionLimitReached)?;
        self.calls_made += 1;
        let (head, body) = request.into_parts();
        let method = egress::method(head.method.as_str()).map_err(|_| Error::HttpRequestMethodInvalid)?;
        let target = Target::parse(&head.uri.to_string()).map_err(|error| match error {
            egress::BadTarget::TooLong => Error::HttpRequestUriTooLong,
            _ => Error::HttpRequestUriInvalid,
        })?;
        let kind = kind(&method);
        self.permit(kind, target.resource())?;
        let mut headers = self.headers(&head.headers, &target)?;
        // Many frameworks take such a request for a write.
        if kind == PermissionKind::HttpRead && egress::headers::overrides_method(&headers) {
            self.permit(PermissionKind::HttpWrite, target.resource())?;
        }
        self.trace_context.send(call, &mut headers);
        let body = body.map_err(|error| Box::new(error) as _).boxed_unsync();
        let closed = Denial::of(kind, target.resource());
        Ok(Prepared { request: egress::Request { method, target, headers, body }, closed })
    }

    /// With the secrets that they name. Bodies are streams here, and are sent as they are.
    fn headers(&mut self, given: &HeaderMap, target: &Target) -> Result<HeaderMap, Error> {
        let mut filled = Vec::with_capacity(given.len());
        for (name, value) in given {
            for secret in egress::secrets::names(value.as_bytes()) {
                if !egress::headers::may_hold_secret(name.as_str()) {
                    return Err(Error::HttpProtocolError);
                }
                self.permit(PermissionKind::SecretUse, &format!("{secret}@{}", target.host()))?;
                if !self.outside.secrets.has(secret) {
                    return Err(Error::HttpRequestDenied);
                }
            }
            let value = egress::secrets::put_in(&self.outside.secrets, value.as_bytes(), egress::headers::BYTES_MAX)
                .map_err(|_| Error::HttpRequestHeaderSectionSize(None))?;
            filled.push((name, value));
        }
        let list = given
            .iter()
            .zip(&filled)
            .map(|((name, plain), (_, secret))| (name.as_str(), secret.as_deref().unwrap_or(plain.as_bytes())));
        // What is not theirs to say, the interface has refused already.
        let mut headers = egress::headers::outgoing(list, target).map_err(|_| Error::HttpProtocolError)?;
        for (name, secret) in &filled {
            if let Some(secret) = secret {
                super::http::hide(&mut headers, name.as_str(), secret);
            }
        }
        Ok(headers)
    }

    fn permit(&mut self, kind: PermissionKind, resource: &str) -> Result<(), Error> {
        let asker = Asker {
            module: &self.module,
            permissions: &self.permissions,
            metrics: &self.metrics,
            execution_id: self.execution_id,
        };
        self.denials.check(asker, kind, resource, &self.clock).map_err(|_| Error::HttpRequestDenied)
    }
}

/// A request that may be sent, and what is denied where its host turns out to be closed.
struct Prepared {
    request: egress::Request<egress::RequestBody>,
    closed: Denial,
}

impl WasiHttpHooks for Outgoing {
    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: Sending) -> Answer {
        // Until the head of the answer is there.
        let call = self.trace.as_ref().map(|trace| trace.child("outgoing-handler.handle"));
        let Prepared { request, closed } = match self.prepare(request, call.as_ref()) {
            Ok(prepared) => prepared,
            Err(error) => return Box::new(async { Err(error) }),
        };
        let (outside, all_closed) = (Arc::clone(&self.outside), Arc::clone(&self.closed));
        let allowance = self.allowance.clone();
        let times = times(options.unwrap_or_default(), self.deadline);
        Box::new(async move {
            let answer = outside.egress.stream(request, times, &allowance).await;
            drop(call);
            let response = answer.map_err(|error| {
                if matches!(error, egress::Error::Closed) {
                    all_closed.lock().unwrap_or_else(PoisonError::into_inner).push(closed);
                }
                told(error)
            })?;
            let response = response.map(|body| body.map_err(told).boxed_unsync());
            Ok((response, Box::new(async { Ok(()) }) as Sending))
        })
    }

    fn set_host_header(&mut self) -> bool {
        // `egress` does, from the URL that was checked.
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

/// The bounds in time of one exchange; what the guest doesn't bound, the execution does.
fn times(options: RequestOptions, deadline: Instant) -> egress::Times {
    let until = egress::Times::until(deadline);
    egress::Times {
        connect: options.connect_timeout.unwrap_or(until.connect),
        first_byte: options.first_byte_timeout.unwrap_or(until.first_byte),
        between_bytes: options.between_bytes_timeout.unwrap_or(until.between_bytes),
        ..until
    }
}

fn told(error: egress::Error) -> Error {
    match error {
        egress::Error::Closed => Error::DestinationIpProhibited,
        egress::Error::TimedOut(egress::Wait::Connection) => Error::ConnectionTimeout,
        egress::Error::TimedOut(egress::Wait::Head) => Error::HttpResponseTimeout,
        egress::Error::TimedOut(egress::Wait::Body) => Error::ConnectionReadTimeout,
        egress::Error::TooLarge(bytes) => Error::HttpResponseBodySize(Some(bytes)),
        egress::Error::RequestTooLarge(bytes) => Error::HttpRequestBodySize(Some(bytes)),
        egress::Error::Length => Error::HttpRequestBodySize(None),
        egress::Error::Failed { at, source } => {
            tracing::debug!(cause = %source, "{at}");
            match at {
                egress::Failure::Url => Error::HttpRequestUriInvalid,
                egress::Failure::NoSuchHost => Error::DestinationNotFound,
                egress::Failure::Names => Error::DnsError { rcode: None, info_code: None },
                egress::Failure::Connect => Error::ConnectionRefused,
                egress::Failure::ConnectTime => Error::ConnectionTimeout,
                egress::Failure::Tls => Error::TlsProtocolError,
                egress::Failure::Closed => Error::ConnectionTerminated,
                egress::Failure::HeadTooLarge => Error::HttpResponseHeaderSectionSize(None),
                egress::Failure::NotHttp => Error::HttpProtocolError,
                egress::Failure::Answer => Error::HttpResponseIncomplete,
            }
        }
    }
}
