//! JSON that the control plane reads into something: whole bodies, and parts of an upload.
//!
//! Owns the reading and its mistakes: what is no JSON, a member that is there twice, members that are not known. Does not
//! own what the members say.

use std::time::Duration;

use axum::extract::Request;
use serde_json::{Map, Value};

use super::Services;
use crate::error::{Code, FieldError, pointer};
use crate::http::body::{self, Bounds};
use crate::http::{Problem, media_type};
use crate::model::DistinctValue;

/// Far more than any resource of ours takes.
const BODY_BYTES_MAX: u64 = 256 * 1024;

/// Mistakes that are told one by one: an answer is not to be larger than the request.
pub(super) const MISTAKES_MAX: usize = 100;

/// The members of the object that the body is; a body without a type is taken for JSON.
pub(super) async fn object(services: &Services, request: Request) -> Result<Map<String, Value>, Problem> {
    media_type::require_json(request.headers())?;
    let timeout = Duration::from_millis(services.config.server.body_timeout_ms);
    let bytes = body::read(request.into_body(), Bounds { bytes_max: BODY_BYTES_MAX, timeout }).await?;
    match value("", &bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Problem::malformed(vec![FieldError::new("", "wrong-type", "the body is an object")])),
        Err(error) => Err(Problem::malformed(vec![error])),
    }
}

/// The value that is written at `path`.
pub(super) fn value(path: &str, text: &[u8]) -> Result<Value, FieldError> {
    match serde_json::from_slice(text) {
        Ok(DistinctValue(value)) => Ok(value),
        // The only mistake that JSON itself does not have.
        Err(error) if error.is_data() => Err(FieldError::new(path, "duplicate", error.to_string())),
        Err(error) => Err(FieldError::new(path, "invalid-json", format!("is not JSON: {error}"))),
    }
}

/// The first members of the object at `parent` that are not known.
pub(super) fn unknown_members(parent: &str, members: &Map<String, Value>, known: &[&str]) -> Vec<FieldError> {
    let unknown = members.keys().filter(|name| !known.contains(&name.as_str()));
    let error = |name: &String| {
        let message = format!("there is no such member; there are {}", known.join(", "));
        FieldError::new(pointer(parent, name), Code::UnknownField.as_str(), message)
    };
    unknown.take(MISTAKES_MAX).map(error).collect()
}
