//! `wasi:http/outgoing-handler`: the same way out as `sluice:step/http`, for components that speak WASI.
//!
//! Owns the translation. Does not say what may be sent (`request`) and does not connect (`egress`). Invariant:
//! nothing leaves that `sluice:step/http` of the same step would not send. Bodies are streams here, and are sent as
//! they are.

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::call::HostCalls;
use super::request::{CLOSED, Gate, Prepared, Refused, origin_of, settle};
use super::stood_in;
use crate::egress::{self, BadTarget, headers, secrets};
use crate::model::{Denial, ModuleName};
use crate::runtime::denials::Denials;
use crate::runtime::outside::Outside;
use crate::runtime::stand_in::StandIn;
use crate::runtime::state::State;
use crate::telemetry::{Sampled, TraceContext};

/// What a guest may write ahead to one body. The default of 1 MiB would let one with
/// a thousand bodies fill the host before anything is sent.
const BODY_CHUNK_BYTES: usize = 4 * 1024;
/// Of the call's span.
const NAME: &str = "outgoing-handler.handle";

type Sending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Box<dyn Future<Output = Result<(Response<WasiBody>, Sending), Error>> + Send>;

/// The hooks of one execution.
pub(in crate::runtime) struct Outgoing {
    denials: Denials,
    calls: HostCalls,
    trace: Option<Sampled>,
    trace_context: TraceContext,
    outside: Arc<Outside>,
    module: ModuleName,
    allowance: egress::Allowance,
    deadline: Instant,
}

impl Outgoing {
    pub(in crate::runtime) fn of(state: &mut State) -> Self {
        Self {
            denials: state.denials.clone(),
            calls: state.host_calls.clone(),
            trace: state.call.trace.clone(),
            trace_context: state.call.trace_context.clone(),
            outside: Arc::clone(&state.outside),
            module: state.call.module.name.clone(),
            allowance: state.allowance(),
            deadline: state.call_deadline(),
        }
    }

    /// What is sent, and what is denied where its host turns out to be closed.
    fn prepare(
        &self,
        request: Request<WasiBody>,
        trace: Option<&Sampled>,
    ) -> Result<(egress::Request<egress::RequestBody>, Denial), Refused> {
        let (head, body) = request.into_parts();
        let prepared = self.check(&head, trace)?;
        let denial = prepared.denial();
        let Prepared { method, target, headers, .. } = prepared;
        let body = body.map_err(|error| Box::new(error) as _).boxed_unsync();
        Ok((egress::Request { method, target, headers, body }, denial))
    }

    fn check(&self, head: &http::request::Parts, trace: Option<&Sampled>) -> Result<Prepared, Refused> {
        let (permits, trace_context) = (&self.denials, &self.trace_context);
        let gate = Gate { permits, secrets: self.outside.secrets(), trace_context, trace };
        let given = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        gate.prepare(head.method.as_str(), &head.uri.to_string(), given)
    }

    /// The request and its span, until the head of the answer is there.
    fn begin(&self, request: Request<WasiBody>) -> Result<Begun, Error> {
        let span = self.calls.begin(self.trace.as_ref(), NAME);
        let span = span.map_err(|_| Error::ConnectionLimitReached)?;
        let (request, denial) = self.prepare(request, span.as_ref()).map_err(|refused| {
            record_error(span.as_ref(), refused.kind());
            refusal(refused)
        })?;
        Ok(Begun { request, denial, span })
    }

    /// It counts as a call, and what would not be sent is not answered.
    fn stood_in(&self, stand_in: Arc<dyn StandIn>, request: Request<WasiBody>) -> Answer {
        if self.calls.begin(None, NAME).is_err() {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        }
        let (head, body) = request.into_parts();
        if let Err(refused) = self.check(&head, None) {
            return Box::new(async { Err(refusal(refused)) });
        }
        let request_bytes = self.outside.egress.request_bytes();
        Box::new(async move {
            let response = stood_in::answer(stand_in, Request::from_parts(head, body), request_bytes).await?;
            Ok((response, Box::new(async { Ok(()) }) as Sending))
        })
    }
}

/// A request that may be sent.
struct Begun {
    request: egress::Request<egress::RequestBody>,
    denial: Denial,
    span: Option<Sampled>,
}

impl WasiHttpHooks for Outgoing {
    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: Sending) -> Answer {
        if let Some(stand_in) = self.outside.stand_in.clone() {
            return self.stood_in(stand_in, request);
        }
        let Begun { request, denial, span } = match self.begin(request) {
            Ok(begun) => begun,
            Err(error) => return Box::new(async { Err(error) }),
        };
        let (outside, denials, allowance) = (Arc::clone(&self.outside), self.denials.clone(), self.allowance.clone());
        let times = times(options.unwrap_or_default(), self.deadline);
        let Ok(permit) = self.outside.circuits.ask_for_module(&self.module, &origin_of(&request.target)) else {
            record_error(span.as_ref(), "failed");
            return Box::new(async { Err(Error::DestinationUnavailable) });
        };
        Box::new(async move {
            let answer = outside.egress.stream(request, times, &allowance).await;
            settle(permit, answer.as_ref().map(|response| response.status().as_u16()));
            if let Err(error) = &answer {
                record_error(span.as_ref(), kind(error));
            }
            drop(span);
            let response = answer.map_err(|error| {
                if matches!(error, egress::Error::Closed) {
                    denials.deny(denial, CLOSED);
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

fn record_error(span: Option<&Sampled>, kind: &'static str) {
    if let Some(span) = span {
        span.record_error(kind);
    }
}

/// As a span has it: the name of the error in `sluice:step`.
const fn kind(error: &egress::Error) -> &'static str {
    match error {
        egress::Error::Closed => "permission-denied",
        egress::Error::TimedOut(_) => "timed-out",
        egress::Error::TooLarge(_) | egress::Error::RequestTooLarge(_) => "limit-exceeded",
        egress::Error::Length => "invalid-argument",
        egress::Error::Failed { .. } => "failed",
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

/// What a step is told of what it may not send.
fn refusal(refused: Refused) -> Error {
    match refused {
        Refused::Target(BadTarget::TooLong) => Error::HttpRequestUriTooLong,
        Refused::Target(
            BadTarget::Malformed(_)
            | BadTarget::Scheme
            | BadTarget::UserInfo
            | BadTarget::DotSegment
            | BadTarget::Character
            | BadTarget::Percent
            | BadTarget::Host
            | BadTarget::Port,
        ) => Error::HttpRequestUriInvalid,
        Refused::Denied(_) | Refused::NoSecret(_) => Error::HttpRequestDenied,
        Refused::SecretInHeader(_) => Error::HttpProtocolError,
        Refused::TooLarge(secrets::TooLarge(bytes)) => Error::HttpRequestBodySize(Some(bytes as u64)),
        Refused::Method(error) | Refused::Headers(error) => match error {
            headers::Error::Method | headers::Error::MethodClosed(_) => Error::HttpRequestMethodInvalid,
            headers::Error::TooMany | headers::Error::TooLarge => Error::HttpRequestHeaderSectionSize(None),
            headers::Error::Name { .. }
            | headers::Error::Value(_)
            | headers::Error::OfTheConnection(_)
            | headers::Error::AnotherPath(_)
            | headers::Error::Host
            | headers::Error::Length => Error::HttpProtocolError,
        },
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
