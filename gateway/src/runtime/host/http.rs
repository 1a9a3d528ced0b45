//! `sluice:step/http`: one exchange with another server.
//!
//! Owns the translation, what the host adds to a request that may not be repeated, and secrets in bodies. Does not
//! say what may be sent (`request`) and does not connect (`egress`). Invariant: a secret is in nothing that the step
//! gets back from the host itself.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::call::HostCall;
use super::request::{CLOSED, Gate, Prepared, Refused, origin_of, settle};
use crate::egress::{self, Target, headers};
use crate::model::Denial;
use crate::runtime::bindings::sluice::step::http::{Host, Request, Response};
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Host for State {
    async fn send(&mut self, request: Request) -> Result<Response, HostError> {
        let call = HostCall::begin(self, "http.send")?;
        let answer = match self.outside.stand_in.clone() {
            // What would not be sent is not answered.
            Some(stand_in) => self.prepare(request.clone(), &call).and_then(|_| stand_in.send(request)),
            None => self.send(request, &call).await,
        };
        call.end(answer)
    }
}

impl State {
    async fn send(&mut self, request: Request, call: &HostCall) -> Result<Response, HostError> {
        let deadline = self.http_deadline(request.timeout_ms);
        let (request, denial) = self.prepare(request, call)?;
        let allowance = self.allowance();
        let origin = origin_of(&request.target);
        let permit = self.outside.circuits.ask_for_module(&self.call.module.name, &origin);
        let permit = permit.map_err(|open| HostError::Failed(open.to_string()))?;
        let answer = self.outside.egress.send(request, deadline, &allowance).await;
        settle(permit, answer.as_ref().map(|response| response.status.as_u16()));
        match answer {
            Ok(response) => {
                // Its room is given back with it: what is returned is copied into the step's memory at once.
                let egress::Response { status, headers, body, room: _room } = response;
                Ok(Response {
                    status: status.as_u16(),
                    headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                    body: body.into(),
                })
            }
            Err(error) => Err(self.told(&error, denial)),
        }
    }

    fn http_deadline(&self, timeout_ms: Option<u32>) -> Instant {
        let deadline = self.call_deadline();
        let own = timeout_ms.map(|timeout| Instant::now() + Duration::from_millis(timeout.into()));
        own.map_or(deadline, |own| own.min(deadline))
    }

    /// What is sent, once it is known that it may be, and what is denied where its host turns out to be closed.
    fn prepare(&mut self, request: Request, call: &HostCall) -> Result<(egress::Request, Denial), HostError> {
        let Request { method, url, headers, body, timeout_ms: _ } = request;
        let gate = Gate {
            permits: &self.denials,
            secrets: self.outside.secrets(),
            trace_context: &self.call.trace_context,
            trace: call.trace(),
        };
        let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let prepared = gate.prepare(&method, &url, given).map_err(refusal)?;
        let body = body.map(|body| self.body(&gate, body, &prepared.target)).transpose()?.unwrap_or_default();
        let denial = prepared.denial();
        let Prepared { method, target, mut headers, .. } = prepared;
        self.add_key(&method, &mut headers);
        Ok((egress::Request { method, target, headers, body }, denial))
    }

    /// Looked through for names of secrets only where it may be sent.
    fn body(&self, gate: &Gate<'_>, body: Vec<u8>, target: &Target) -> Result<Bytes, HostError> {
        let bytes_max = self.outside.egress.request_bytes();
        if body.len() as u64 > bytes_max {
            return Err(HostError::LimitExceeded(egress::Error::RequestTooLarge(bytes_max).to_string()));
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let filled = gate.fill(&body, target, bytes_max).map_err(refusal)?;
        Ok(filled.unwrap_or(body).into())
    }

    /// By what another attempt is known, where the step did not say it.
    fn add_key(&mut self, method: &Method, headers: &mut HeaderMap) {
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

    fn told(&self, error: &egress::Error, denial: Denial) -> HostError {
        match error {
            egress::Error::Closed => {
                let denial = self.denials.deny(denial, CLOSED);
                HostError::PermissionDenied(format!("{denial} ({CLOSED})"))
            }
            egress::Error::TimedOut(_) => HostError::TimedOut(error.to_string()),
            egress::Error::TooLarge(_) | egress::Error::RequestTooLarge(_) => {
                HostError::LimitExceeded(error.to_string())
            }
            egress::Error::Length => HostError::InvalidArgument(error.to_string()),
            egress::Error::Failed { at, source } => {
                let (module, execution_id) = (&self.call.module.name, self.call.execution_id);
                tracing::debug!(%module, %execution_id, resource = denial.resource, cause = %source, "{at}");
                HostError::Failed(at.to_string())
            }
        }
    }
}

/// What a step is told of what it may not send.
fn refusal(refused: Refused) -> HostError {
    let text = refused.to_string();
    match refused {
        Refused::Denied(_) => HostError::PermissionDenied(text),
        Refused::NoSecret(_) => HostError::NotFound(text),
        Refused::TooLarge(_) => HostError::LimitExceeded(text),
        Refused::Target(_) | Refused::SecretInHeader(_) => HostError::InvalidArgument(text),
        Refused::Method(error) | Refused::Headers(error) => match error {
            headers::Error::TooMany | headers::Error::TooLarge => HostError::LimitExceeded(text),
            headers::Error::Method
            | headers::Error::MethodClosed(_)
            | headers::Error::Name { .. }
            | headers::Error::Value(_)
            | headers::Error::OfTheConnection(_)
            | headers::Error::AnotherPath(_)
            | headers::Error::Host
            | headers::Error::Length => HostError::InvalidArgument(text),
        },
    }
}

/// A header's value as text; what is not UTF-8 in it, as replacement characters.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
