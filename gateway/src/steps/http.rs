//! An attempt at an http step: one request, under the operator's permissions.
//!
//! Owns what leaves beside what the step says, and what an answer becomes. Does not check what may leave
//! (`runtime::Gate`, as for modules) nor connect (`egress`). Invariant: a secret is in nothing that the run keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::permissions::{DENIED, denied};
use super::{Inner, again, failed, failed_with, parked, trace_context};
use crate::egress::{self, Target, headers, secrets};
use crate::error::Code;
use crate::jobs::runner::{Again, HttpBody, Task, TaskEnd};
use crate::model::JsonText;
use crate::runtime::{CLOSED, Gate, Prepared, Refused, origin_of, settle};

/// What is kept of the body of an answer that is a failure: enough to see what the server says.
const EXCERPT_BYTES_MAX: usize = 4 * 1024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is asked.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<HttpBody>,
    pub(super) success: Option<Arc<[u16]>>,
}

pub(super) async fn run(inner: &Inner, task: &Task, asked: Asked) -> TaskEnd {
    let request = match prepare(inner, task, &asked) {
        Ok(request) => request,
        Err(refused) => return refusal(&refused),
    };
    let permit = match inner.circuits().ask(&origin_of(&request.target)) {
        Ok(permit) => permit,
        Err(open) => return parked(open),
    };
    let egress = inner.outside.egress();
    let deadline = deadline(task.timeout.unwrap_or(inner.http_timeout));
    let allowance = egress.allowance(&owner(task));
    match egress.send(request, deadline, &allowance).await {
        Ok(response) => {
            let status = response.status.as_u16();
            if is_success(status, asked.success.as_deref()) {
                permit.succeeded();
                inner.completed(output(&response))
            } else {
                settle(permit, Ok(status));
                of_status(&response, inner.clock.now())
            }
        }
        Err(error) => {
            settle(permit, Err(&error));
            of_error(&error)
        }
    }
}

/// Of the connections and the memory for answers, a job has the part that a module has; no module has this name.
fn owner(task: &Task) -> String {
    format!("job/{}", task.job)
}

/// A time that is too far away is a day.
pub(super) fn deadline(timeout: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(24);
    Instant::now() + timeout.min(FAR)
}

fn prepare(inner: &Inner, task: &Task, asked: &Asked) -> Result<egress::Request, Refused> {
    let gate = Gate {
        permits: &inner.allowed,
        secrets: Some(inner.outside.all_secrets()),
        trace_context: &trace_context(task),
        trace: None,
    };
    let given = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let Prepared { method, target, mut headers, .. } = gate.prepare(&asked.method, &asked.url, given)?;
    let bytes_max = usize::try_from(inner.outside.egress().request_bytes()).unwrap_or(usize::MAX);
    let body = match &asked.body {
        None => Bytes::new(),
        Some(HttpBody::Text(text)) => {
            add(&mut headers, CONTENT_TYPE, "text/plain; charset=utf-8");
            gate.fill(text.as_bytes(), &target, bytes_max)?.map_or_else(|| text.clone().into(), Bytes::from)
        }
        Some(HttpBody::Json(value)) => {
            add(&mut headers, CONTENT_TYPE, "application/json");
            let value = filled(&gate, value, &target, bytes_max)?;
            value.to_string().into()
        }
    };
    if !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        // A String of RFC 9651, as the draft has it.
        add(&mut headers, IDEMPOTENCY_KEY, &format!("\"{}\"", task.idempotency_key));
    }
    Ok(egress::Request { method, target, headers, body })
}

/// The value with secrets in its texts: in the tree, so that a quote in one ends no text.
fn filled(gate: &Gate<'_>, value: &Value, target: &Target, bytes_max: usize) -> Result<Value, Refused> {
    Ok(match value {
        Value::String(text) => match gate.fill(text.as_bytes(), target, bytes_max)? {
            Some(bytes) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
            None => value.clone(),
        },
        Value::Array(list) => {
            Value::Array(list.iter().map(|one| filled(gate, one, target, bytes_max)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let filled = |(name, one): (&String, &Value)| Ok((name.clone(), filled(gate, one, target, bytes_max)?));
            Value::Object(members.iter().map(filled).collect::<Result<_, Refused>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// What the step says itself is kept.
fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.entry(name).or_insert(value);
    }
}

fn is_success(status: u16, success: Option<&[u16]>) -> bool {
    success.map_or((200..300).contains(&status), |statuses| statuses.contains(&status))
}

/// Why nothing was sent.
pub(super) fn refusal(refused: &Refused) -> TaskEnd {
    let code = match refused {
        Refused::Denied(denial) => return denied(denial),
        Refused::NoSecret(_) => Code::NotFound,
        Refused::TooLarge(secrets::TooLarge(_))
        | Refused::Headers(headers::Error::TooMany | headers::Error::TooLarge) => Code::TooLarge,
        Refused::Method(_) | Refused::Target(_) | Refused::SecretInHeader(_) | Refused::Headers(_) => Code::BadRequest,
    };
    failed(code.as_str(), refused.to_string(), Again::Never)
}

fn of_error(error: &egress::Error) -> TaskEnd {
    let (code, again) = again::of_egress(error);
    if let egress::Error::Failed { at, source } = error {
        tracing::debug!(cause = %source, "{at}");
    }
    let message = if code == DENIED { CLOSED.to_owned() } else { error.to_string() };
    failed(code, message, again)
}

fn of_status(response: &egress::Response, now: Timestamp) -> TaskEnd {
    let status = response.status.as_u16();
    let again = again::of_status(status, retry_after(&response.headers, now));
    let excerpt = response.body.get(..response.body.len().min(EXCERPT_BYTES_MAX)).unwrap_or_default();
    let details = json!({"status": status, "body": String::from_utf8_lossy(excerpt)});
    failed_with("http-status", format!("the answer has the status {status}"), again, details)
}

/// `Retry-After`: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[derive(Serialize)]
struct Output {
    status: u16,
    /// Names in lower case, several values with commas between.
    headers: BTreeMap<String, String>,
    body: Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body {
    Json(JsonText),
    Text(String),
}

fn output(response: &egress::Response) -> JsonText {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &response.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    let (body, body_encoding) = match std::str::from_utf8(&response.body) {
        Ok("") => (Body::Json(JsonText::null()), None),
        Ok(text) => (parsed(text, headers.get(CONTENT_TYPE.as_str()).map(String::as_str)), None),
        Err(_) => (Body::Text(STANDARD.encode(&response.body)), Some("base64")),
    };
    JsonText::of(&Output { status: response.status.as_u16(), headers, body, body_encoding })
}

/// As JSON where the answer says so, or says nothing, or has an object or a list: a text of digits stays a text.
fn parsed(text: &str, content_type: Option<&str>) -> Body {
    let says_json = content_type.is_none_or(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    });
    let is_tree = text.trim_start().starts_with(['{', '[']);
    match JsonText::parse(text) {
        Ok(json) if says_json || is_tree => Body::Json(json),
        Ok(_) | Err(_) => Body::Text(text.to_owned()),
    }
}
