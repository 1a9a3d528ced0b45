//! The answers of a case, in the place of servers and databases.
//!
//! Owns which answer is whose. Invariants: an answer is given once; what the case has no answer for fails the case,
//! and so does an answer that nobody asked for.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::case::{Base64, Case, DbAnswer, Exchange, HostError, HttpAnswer, Request, Response, Statement};
use super::json::Json;
use crate::runtime;

/// Of what nobody expected, each, and how many: enough to write the case by, whatever a step sends and how often.
const TOLD_CHARACTERS_MAX: usize = 2_000;
const UNEXPECTED_MAX: usize = 100;

/// What a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Execute,
}

/// The answers that are left of the case that runs.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    http: Vec<Exchange>,
    db: Vec<Statement>,
    unexpected: Vec<String>,
}

impl Answers {
    /// Takes those of the next case.
    pub(super) fn begin(&self, case: &Case) {
        *self.left() = Left { http: case.http.clone(), db: case.db.clone(), unexpected: Vec::new() };
    }

    /// What was asked and not expected, and what was expected and not asked.
    pub(super) fn end(&self) -> Vec<String> {
        let left = std::mem::take(&mut *self.left());
        let http = left.http.iter().map(|one| format!("{} {} was not asked", one.request.method, one.request.url));
        let db = left.db.iter().map(|one| format!("{} on {} was not run", one.sql, one.connection));
        left.unexpected.into_iter().chain(http).chain(db).collect()
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn statement(&self, connection: &str, sql: &str, params: &str, kind: Kind) -> Result<DbAnswer, runtime::HostError> {
        let given = Json::parse(params)
            .map_err(|_| runtime::HostError::InvalidArgument("the parameters are not JSON".to_owned()))?;
        let mut left = self.left();
        let fits = |one: &Statement| {
            let is_kind = match one.answer {
                DbAnswer::Rows(_) => kind == Kind::Query,
                DbAnswer::Changed(_) => kind == Kind::Execute,
                DbAnswer::Error(_) => true,
            };
            is_kind
                && one.connection == connection
                && one.sql == sql
                && one.params.as_ref().is_none_or(|own| *own == given)
        };
        match left.db.iter().position(fits) {
            Some(place) => Ok(left.db.remove(place).answer),
            None => Err(left.unexpected(&format!("{sql} on {connection} with {params}"))),
        }
    }
}

impl Left {
    fn unexpected(&mut self, what: &str) -> runtime::HostError {
        let (what, more) = match what.char_indices().nth(TOLD_CHARACTERS_MAX) {
            Some((end, _)) => (what.get(..end).unwrap_or_default(), " …"),
            None => (what, ""),
        };
        let told = format!("the case has no answer for {what}{more}");
        if self.unexpected.len() < UNEXPECTED_MAX {
            self.unexpected.push(told.clone());
        }
        runtime::HostError::Failed(told)
    }
}

impl runtime::StandIn for Answers {
    fn send(&self, request: runtime::HttpRequest) -> Result<runtime::HttpResponse, runtime::HostError> {
        let mut left = self.left();
        let Some(place) = left.http.iter().position(|one| one.request.fits(&request)) else {
            return Err(left.unexpected(&words(&request)));
        };
        match left.http.remove(place).answer {
            HttpAnswer::Response(mut response) => Ok(runtime::HttpResponse {
                status: response.status,
                headers: std::mem::take(&mut response.headers),
                body: response.bytes(),
            }),
            HttpAnswer::Error(error) => Err(error.into()),
        }
    }

    fn query(&self, connection: &str, sql: &str, params: &str) -> Result<String, runtime::HostError> {
        match self.statement(connection, sql, params, Kind::Query)? {
            DbAnswer::Rows(rows) => Ok(Json::List(rows).to_string()),
            DbAnswer::Error(error) => Err(error.into()),
            DbAnswer::Changed(_) => Ok("[]".to_owned()),
        }
    }

    fn execute(&self, connection: &str, sql: &str, params: &str) -> Result<u32, runtime::HostError> {
        match self.statement(connection, sql, params, Kind::Execute)? {
            DbAnswer::Changed(changed) => Ok(changed),
            DbAnswer::Error(error) => Err(error.into()),
            DbAnswer::Rows(_) => Ok(0),
        }
    }
}

impl Request {
    /// Whether it is this one, as far as the case says.
    fn fits(&self, request: &runtime::HttpRequest) -> bool {
        let lower = |headers: &[(String, String)]| -> Vec<(String, String)> {
            let mut headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
            headers.sort();
            headers
        };
        self.method == request.method
            && self.url == request.url
            && self.headers.as_ref().is_none_or(|own| lower(own) == lower(&request.headers))
            && self.body.as_ref().is_none_or(|own| is_body(own, request.body.as_deref()))
            && self.body_base64.as_ref().is_none_or(|own| request.body.as_deref() == Some(own.0.as_slice()))
            && self.timeout_ms.as_ref().is_none_or(|own| *own == Json::of(&request.timeout_ms))
    }
}

/// A text is compared as it is, JSON by its value, and `null` is no body at all.
fn is_body(expected: &Json, body: Option<&[u8]>) -> bool {
    match expected {
        Json::Null => body.is_none(),
        Json::Text(text) => text.as_bytes() == body.unwrap_or_default(),
        other => {
            let body = body.and_then(|body| std::str::from_utf8(body).ok()).and_then(|text| Json::parse(text).ok());
            body.is_some_and(|body| body == *other)
        }
    }
}

/// A request that nobody expected, for whoever writes the case.
fn words(request: &runtime::HttpRequest) -> String {
    let mut words = format!("{} {}", request.method, request.url);
    for (name, value) in &request.headers {
        let _ = write!(words, " {name}: {value}");
    }
    if let Some(timeout_ms) = request.timeout_ms {
        let _ = write!(words, " (timeout_ms: {timeout_ms})");
    }
    if let Some(body) = &request.body {
        let _ = write!(words, " {}", String::from_utf8_lossy(body));
    }
    words
}

impl Response {
    fn bytes(self) -> Vec<u8> {
        match (self.body_base64, self.body) {
            (Some(Base64(bytes)), _) => bytes,
            (None, Some(Json::Text(text))) => text.into_bytes(),
            (None, Some(other)) => other.to_string().into_bytes(),
            (None, None) => Vec::new(),
        }
    }
}

impl From<HostError> for runtime::HostError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::PermissionDenied(text) => Self::PermissionDenied(text),
            HostError::InvalidArgument(text) => Self::InvalidArgument(text),
            HostError::NotFound(text) => Self::NotFound(text),
            HostError::LimitExceeded(text) => Self::LimitExceeded(text),
            HostError::TimedOut(text) => Self::TimedOut(text),
            HostError::Failed(text) => Self::Failed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fits(expected: &Value, body: Option<&[u8]>, timeout_ms: Option<u32>) -> bool {
        let mut request = json!({"method": "PUT", "url": "https://a.example/"});
        if let (Value::Object(request), Value::Object(expected)) = (&mut request, expected.clone()) {
            request.extend(expected);
        }
        let request: Request = serde_json::from_value(request).unwrap();
        request.fits(&runtime::HttpRequest {
            method: "PUT".to_owned(),
            url: "https://a.example/".to_owned(),
            headers: Vec::new(),
            body: body.map(<[u8]>::to_vec),
            timeout_ms,
        })
    }

    #[test]
    fn a_body_is_compared_as_the_case_says_it() {
        for (expected, body, is_same) in [
            (json!({}), None, true),
            (json!({}), Some("any"), true),
            (json!({"body": null}), None, true),
            (json!({"body": null}), Some(""), false),
            (json!({"body": ""}), None, true),
            (json!({"body": ""}), Some(""), true),
            (json!({"body": "a"}), Some("a"), true),
            (json!({"body": "a"}), Some("\"a\""), false),
            (json!({"body": {"a": 1}}), Some("{ \"a\" : 1 }"), true),
            (json!({"body": {"a": 1}}), Some("{\"a\":1.0}"), true),
            (json!({"body": {"a": 1}}), Some("{\"a\":1.00000000000000000001}"), false),
            (json!({"body": {"a": 1}}), None, false),
            (json!({"body_base64": ""}), Some(""), true),
            (json!({"body_base64": ""}), None, false),
            (json!({"body_base64": "YQ=="}), Some("a"), true),
            (json!({"body_base64": "YQ=="}), Some("b"), false),
        ] {
            assert_eq!(fits(&expected, body.map(str::as_bytes), None), is_same, "{expected} {body:?}");
        }
    }

    #[test]
    fn a_timeout_is_compared_where_the_case_has_one() {
        for (expected, timeout_ms, is_same) in [
            (json!({}), Some(5), true),
            (json!({"timeout_ms": 5}), Some(5), true),
            (json!({"timeout_ms": 5}), Some(6), false),
            (json!({"timeout_ms": 0}), None, false),
            (json!({"timeout_ms": null}), None, true),
            (json!({"timeout_ms": null}), Some(0), false),
        ] {
            assert_eq!(fits(&expected, None, timeout_ms), is_same, "{expected} {timeout_ms:?}");
        }
    }
}
