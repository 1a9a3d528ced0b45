//! Refusals and failures as problem details (RFC 9457).
//!
//! Owns the members, their names and the headers that belong to a code. Does
//! not own the codes (`error`). A handler returns a [`Problem`]; it travels in
//! the response's extensions and is rendered once, outermost, by what knows the
//! request's id and path. Invariant: nothing of a cause is ever rendered; it is
//! logged there instead.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::request_id::RequestId;
use crate::error::{Code, FieldError};
use crate::model::{ExecutionId, JsonText, KeyHolder};

/// What every internal error says; the log has the rest under the request's id.
const INTERNAL_DETAIL: &str = "something went wrong here; the log has the cause under this request id";

/// Why a request was not answered with what it asked for. Boxed, because
/// results carry it and it is rare.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    execution_id: Option<ExecutionId>,
    limit: Option<u64>,
    used: Option<u64>,
    failure: Option<JsonText>,
    headers: HeaderMap,
    suspect: Option<Suspect>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Whoever was refused: a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspect {
    /// The key was there, secret and all.
    Proven(KeyHolder),
    /// Only its public part was; the rest was another.
    Claimed(KeyHolder),
}

/// A problem as it is written.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Members<'a> {
    /// `urn:sluice:error:` and the code.
    #[schema(format = "uri")]
    r#type: String,
    /// A summary, the same for every occurrence.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong this time, for people.
    detail: &'a str,
    /// The path that was asked for; not known where the request's head was no HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    instance: Option<&'a str>,
    /// The reason, for programs.
    #[schema(value_type = Code)]
    code: &'static str,
    /// As in `x-request-id`: the log has more under it.
    request_id: &'a str,
    /// Whose fault it is: `guest` is the module that ran.
    #[schema(pattern = "^(gateway|guest)$")]
    origin: &'static str,
    /// Each mistake on its own.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: &'a [FieldError],
    /// The execution that it happened in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ExecutionId, required = false)]
    execution_id: Option<&'a ExecutionId>,
    /// The bound that was gone over, in its own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    limit: Option<u64>,
    /// What was used of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    used: Option<u64>,
    /// What the step said about its failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = crate::runtime::StepFailure, required = false)]
    failure: Option<&'a JsonText>,
}

impl Problem {
    /// A problem; `detail` is a sentence that a caller may read. That of
    /// [`Code::Internal`] is always the same.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = if code == Code::Internal { Cow::Borrowed(INTERNAL_DETAIL) } else { detail.into() };
        Self(Box::new(Parts {
            code,
            detail,
            errors: Vec::new(),
            execution_id: None,
            limit: None,
            used: None,
            failure: None,
            headers: HeaderMap::new(),
            suspect: None,
            cause: None,
        }))
    }

    /// An internal error. The cause is logged where the problem is rendered.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Code::Internal, "").caused_by(cause)
    }

    /// One or more mistakes in the parameters, parts or members of a request.
    /// It is `unknown-field` where they are of that kind only.
    pub fn malformed(errors: Vec<FieldError>) -> Self {
        let unknown = Code::UnknownField.as_str();
        let code = match errors.as_slice() {
            [] => Code::BadRequest,
            errors if errors.iter().all(|error| error.code == unknown) => Code::UnknownField,
            _ => Code::BadRequest,
        };
        let detail = match errors.as_slice() {
            [error] => format!("{}: {}", error.path, error.message),
            errors => format!("{} parts of the request are wrong", errors.len()),
        };
        Self::new(code, detail).errors(errors)
    }

    /// With the mistakes, each with its path.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With the execution that it happened in.
    #[must_use]
    pub fn execution_id(mut self, id: ExecutionId) -> Self {
        self.0.execution_id = Some(id);
        self
    }

    /// With the bound that was gone over, in its own unit.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// With what was used of the bound, in its unit.
    #[must_use]
    pub fn used(mut self, used: u64) -> Self {
        self.0.used = Some(used);
        self
    }

    /// With what the step said about its failure.
    #[must_use]
    pub fn failure(mut self, failure: JsonText) -> Self {
        self.0.failure = Some(failure);
        self
    }

    /// With `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.0.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// With `Allow`.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.0.headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        self
    }

    /// With whoever was refused, for the audit; a caller is not told.
    #[must_use]
    pub fn suspect(mut self, suspect: Suspect) -> Self {
        self.0.suspect = Some(suspect);
        self
    }

    /// Whoever was refused, where that is known.
    #[must_use]
    pub fn suspected(&self) -> Option<&Suspect> {
        self.0.suspect.as_ref()
    }

    /// With what caused it, for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Its HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// An answer that carries the problem to where it is rendered.
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }

    /// Renders the problem that `response` carries, if it does, and logs its
    /// cause. Headers that are on the response already stay.
    pub(super) fn render<B: From<Bytes>>(
        mut response: Response<B>,
        request_id: &RequestId,
        instance: Option<&str>,
    ) -> Response<B> {
        let Some(problem) = response.extensions_mut().remove::<Self>() else { return response };
        problem.log_cause(request_id);
        *response.status_mut() = problem.status();
        *response.body_mut() = B::from(Bytes::from(problem.to_json(request_id, instance)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Whoever made the empty response may have counted its body.
        headers.remove(header::CONTENT_LENGTH);
        if problem.code() == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers.extend(problem.0.headers);
        response
    }

    fn to_json(&self, request_id: &RequestId, instance: Option<&str>) -> Vec<u8> {
        let parts = &self.0;
        let members = Members {
            r#type: format!("urn:sluice:error:{}", parts.code),
            title: parts.code.title(),
            status: parts.code.status(),
            detail: &parts.detail,
            instance,
            code: parts.code.as_str(),
            request_id: request_id.as_str(),
            origin: parts.code.origin().as_str(),
            errors: &parts.errors,
            execution_id: parts.execution_id.as_ref(),
            limit: parts.limit,
            used: parts.used,
            failure: parts.failure.as_ref(),
        };
        serde_json::to_vec(&members).unwrap_or_default()
    }

    fn log_cause(&self, request_id: &RequestId) {
        let Some(cause) = &self.0.cause else { return };
        tracing::error!(
            request_id = request_id.as_str(),
            code = self.0.code.as_str(),
            error = cause.as_ref() as &(dyn StdError + 'static),
            "the request failed"
        );
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        Self::into_response(self)
    }
}

#[cfg(test)]
mod tests;
