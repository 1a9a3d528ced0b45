//! `sluice:step/http`: one exchange with another server.
//!
//! Owns the order of the checks, and what the host adds: secrets, the trace, the idempotency key. Does not
//! connect (`egress`). Invariant: a secret is put in after its permission for exactly this host was asked
//! for, and is in nothing that the step gets back from the host itself.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::call::HostCall;
use crate::egress::{self, Target};
use crate::model::{Denial, PermissionKind};
use crate::runtime::bindings::sluice::step::http::{Host, Request, Response};
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;

/// Why an address is denied whatever the permissions say.
pub(super) const CLOSED: &str = "its address is not public, and the operator has not opened it";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Host for State {
    async fn send(&mut self, request: Request) -> Result<Response, HostError> {
        let call = HostCall::begin(self, "http.send")?;
        let answer = self.send(request, &call).await;
        call.end(answer)
    }
}

impl State {
    async fn send(&mut self, request: Request, call: &HostCall) -> Result<Response, HostError> {
        let deadline = self.http_deadline(request.timeout_ms);
        let request = self.prepare(request, call)?;
        let (kind, resource) = (kind(&request.method), request.target.resource().to_owned());
        match self.outside.egress.send(request, deadline).await {
            Ok(response) => Ok(Response {
                status: response.status.as_u16(),
                headers: response.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                body: response.body.into(),
            }),
            Err(error) => Err(self.told(error, kind, &resource)),
        }
    }

    fn http_deadline(&self, timeout_ms: Option<u32>) -> Instant {
        let deadline = self.call_deadline();
        let own = timeout_ms.map(|timeout| Instant::now() + Duration::from_millis(timeout.into()));
        own.map_or(deadline, |own| own.min(deadline))
    }

    /// What is sent, once it is known that it may be.
    fn prepare(&mut self, request: Request, call: &HostCall) -> Result<egress::Request, HostError> {
        let Request { method, url, headers, mut body, timeout_ms: _ } = request;
        let method = egress::method(&method).map_err(invalid)?;
        let target = Target::parse(&url).map_err(invalid)?;
        self.permit(kind(&method), target.resource())?;
        // Before anything is made of them: a guest may pass as much as it has memory.
        if headers.len() > egress::headers::HEADERS_MAX {
            return Err(invalid(egress::headers::Error::TooMany));
        }
        let mut filled = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            if !egress::headers::may_hold_secret(&name) && !egress::secrets::names(value.as_bytes()).is_empty() {
                return Err(HostError::InvalidArgument(format!("the header {name} can't have a secret")));
            }
            let value = self.put_secrets_in(value.into_bytes(), target.host(), egress::headers::BYTES_MAX)?;
            filled.push((name, value));
        }
        if let Some(text) = body.take() {
            let most = usize::try_from(self.outside.egress.request_bytes()).unwrap_or(usize::MAX);
            if text.len() > most {
                return Err(HostError::LimitExceeded(egress::Error::RequestTooLarge(most as u64).to_string()));
            }
            body = Some(self.put_secrets_in(text, target.host(), most)?.bytes);
        }
        let list = filled.iter().map(|(name, value)| (name.as_str(), value.bytes.as_slice()));
        let mut headers = egress::headers::outgoing(list, &target).map_err(invalid)?;
        for (name, value) in filled.iter().filter(|(_, value)| value.has_secret) {
            hide(&mut headers, name, &value.bytes);
        }
        // Many frameworks take such a request for a write.
        if kind(&method) == PermissionKind::HttpRead && egress::headers::overrides_method(&headers) {
            self.permit(PermissionKind::HttpWrite, target.resource())?;
        }
        self.add_own(&method, &mut headers, call);
        Ok(egress::Request { method, target, headers, body: body.unwrap_or_default().into() })
    }

    /// The text with the secrets that it names, each of which the module may use at this host.
    fn put_secrets_in(&mut self, text: Vec<u8>, host: &str, bytes_max: usize) -> Result<Filled, HostError> {
        for name in egress::secrets::names(&text) {
            self.permit(PermissionKind::SecretUse, &format!("{name}@{host}"))?;
            if !self.outside.secrets.has(name) {
                return Err(HostError::NotFound(format!("there is no secret {name}")));
            }
        }
        match egress::secrets::put_in(&self.outside.secrets, &text, bytes_max) {
            Ok(Some(bytes)) => Ok(Filled { bytes, has_secret: true }),
            Ok(None) => Ok(Filled { bytes: text, has_secret: false }),
            Err(too_large) => Err(HostError::LimitExceeded(too_large.to_string())),
        }
    }

    /// What the step did not say itself: which trace it belongs to, and by what key another attempt is known.
    fn add_own(&mut self, method: &Method, headers: &mut HeaderMap, call: &HostCall) {
        self.call.trace_context.send(call.trace(), headers);
        // RFC 9110, section 9.2.1.
        let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        if is_safe || headers.contains_key(IDEMPOTENCY_KEY) {
            return;
        }
        self.keyed_requests += 1;
        let key = self.idempotency_key();
        // One key names one request: a second one would be answered with the first one's answer.
        let key = if self.keyed_requests == 1 { key } else { format!("{key}-{}", self.keyed_requests) };
        // A String of RFC 9651, as the draft has it.
        let key = format!("\"{key}\"");
        if let Ok(key) = HeaderValue::try_from(key) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
    }

    fn told(&mut self, error: egress::Error, kind: PermissionKind, resource: &str) -> HostError {
        match error {
            egress::Error::Closed => {
                let denial = self.deny(Denial::of(kind, resource), CLOSED);
                HostError::PermissionDenied(format!("{denial} ({CLOSED})"))
            }
            egress::Error::TimedOut(_) => HostError::TimedOut(error.to_string()),
            egress::Error::TooLarge(_) | egress::Error::RequestTooLarge(_) => {
                HostError::LimitExceeded(error.to_string())
            }
            egress::Error::Length => invalid(error),
            egress::Error::Failed { at, ref source } => {
                let (module, execution_id) = (&self.call.module.name, self.call.execution_id);
                tracing::debug!(%module, %execution_id, resource, cause = %source, "{at}");
                HostError::Failed(at.to_string())
            }
        }
    }
}

/// A text after the secrets were put in.
struct Filled {
    bytes: Vec<u8>,
    has_secret: bool,
}

/// What kind of permission a method needs.
pub(super) fn kind(method: &Method) -> PermissionKind {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => PermissionKind::HttpRead,
        _ => PermissionKind::HttpWrite,
    }
}

/// Keeps a value out of what is printed, and out of HTTP/2's tables.
pub(super) fn hide(headers: &mut HeaderMap, name: &str, bytes: &[u8]) {
    let Ok(http::header::Entry::Occupied(mut values)) = headers.try_entry(name) else { return };
    values.iter_mut().filter(|value| value.as_bytes() == bytes).for_each(|value| value.set_sensitive(true));
}

/// A header's value as text; what is not UTF-8 in it, as replacement characters.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn invalid(error: impl std::fmt::Display) -> HostError {
    HostError::InvalidArgument(error.to_string())
}
