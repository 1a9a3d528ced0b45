//! Bodies of the control plane that are one JSON object.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use serde_json::{Map, Value};

use super::Services;
use crate::error::{Code, FieldError};
use crate::http::Problem;
use crate::http::body::{self, Bounds};

/// Far more than any resource of ours takes.
const BODY_BYTES_MAX: u64 = 256 * 1024;

/// The members of the object that the body is; a body without a type is taken for JSON.
pub(super) async fn object(services: &Services, request: Request) -> Result<Map<String, Value>, Problem> {
    if !is_json(&request) {
        return Err(Problem::new(Code::UnsupportedMediaType, "the body is `application/json`"));
    }
    let timeout = Duration::from_millis(services.config.server.body_timeout_ms);
    let bytes = body::read(request.into_body(), Bounds { bytes_max: BODY_BYTES_MAX, timeout }).await?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Problem::malformed(vec![FieldError::new("", "wrong-type", "the body is an object")])),
        Err(error) => {
            let message = format!("the body is not JSON: {error}");
            Err(Problem::malformed(vec![FieldError::new("", "invalid-json", message)]))
        }
    }
}

fn is_json(request: &Request) -> bool {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
