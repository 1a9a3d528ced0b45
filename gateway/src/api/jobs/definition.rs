//! A definition on its way in and out.
//!
//! Owns the two forms that it comes in, and what is hidden of it. Does not own what it says (`jobs::definition`).

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use serde_json::Value;

use crate::api::Services;
use crate::error::{Code, FieldError};
use crate::http::body::{self, Bounds};
use crate::http::{Problem, media_type};
use crate::jobs::definition::{DEFINITION_BYTES_MAX, parse_json, parse_yaml};
use crate::model::job::JobName;

/// What stands in the place of a secret.
const HIDDEN: &str = "whsec_***";

/// The types that YAML has, the registered one (RFC 9512) first.
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

/// The definition that a request has.
pub(super) async fn read(services: &Services, request: Request) -> Result<Value, Problem> {
    let is_yaml = is_yaml(request.headers())?;
    let timeout = Duration::from_millis(services.config.server.body_timeout_ms);
    let bounds = Bounds { bytes_max: DEFINITION_BYTES_MAX as u64, timeout };
    let bytes = body::read(request.into_body(), bounds).await?;
    let parsed = if is_yaml { parse_yaml(&bytes) } else { parse_json(&bytes) };
    parsed.map_err(|error| Problem::malformed(vec![error]))
}

fn is_yaml(headers: &HeaderMap) -> Result<bool, Problem> {
    let value = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if YAML.iter().any(|yaml| essence.eq_ignore_ascii_case(yaml)) {
        return Ok(true);
    }
    let neither = |_| {
        Problem::new(
            Code::UnsupportedMediaType,
            "a job is JSON or YAML: send content-type: application/json or application/yaml",
        )
    };
    media_type::require_json(headers).map(|()| false).map_err(neither)
}

/// Puts the name of the path into a definition that has none.
pub(super) fn set_name(definition: &mut Value, name: &JobName) -> Result<(), FieldError> {
    // What is no object has a mistake that the check tells.
    let Value::Object(members) = definition else { return Ok(()) };
    match members.get("name") {
        None => {
            members.insert("name".to_owned(), name.as_str().into());
            Ok(())
        }
        Some(Value::String(given)) if given != name.as_str() => {
            Err(FieldError::new("/name", "mismatch", format!("the path names {name}: leave it out, or let them agree")))
        }
        Some(_) => Ok(()),
    }
}

/// All that is wrong with a definition.
pub(super) fn invalid(errors: Vec<FieldError>) -> Problem {
    let detail = match errors.as_slice() {
        [error] => format!("{}: {}", error.path, error.message),
        errors => format!("the definition has {} mistakes", errors.len()),
    };
    Problem::new(Code::InvalidJob, detail).errors(errors)
}

/// Takes out the secrets that are written into a definition; names of `[secrets]` stay.
pub(super) fn hide_secrets(definition: &mut Value) {
    for secret in definition.pointer_mut("/hook/secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        hide(secret);
    }
    for notify in definition.pointer_mut("/notify").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(secret) = notify.get_mut("secret") {
            hide(secret);
        }
    }
}

fn hide(secret: &mut Value) {
    if secret.as_str().is_some_and(|text| text.trim_start().starts_with("whsec_")) {
        *secret = Value::String(HIDDEN.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_hidden_and_the_name_of_one_is_shown() {
        let mut definition = json!({
            "hook": {"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "{{secret:hook}}"]},
            "notify": [{"url": "https://a.example/", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}],
        });
        hide_secrets(&mut definition);
        assert!(!definition.to_string().contains("MfKQ"), "{definition}");
        assert_eq!(definition["hook"]["secrets"], json!(["whsec_***", "{{secret:hook}}"]));
        assert_eq!(definition["notify"][0]["secret"], "whsec_***");
    }

    #[test]
    fn a_name_that_is_not_that_of_the_path_is_a_mistake() {
        let name: JobName = "intake".parse().unwrap();
        let mut without = json!({"steps": []});
        set_name(&mut without, &name).unwrap();
        assert_eq!(without["name"], "intake");
        assert_eq!(set_name(&mut json!({"name": "other"}), &name).unwrap_err().path, "/name");
        set_name(&mut json!({"name": "intake"}), &name).unwrap();
    }

    #[test]
    fn a_job_is_json_or_yaml_and_nothing_else() {
        let of = |value: &'static str| {
            is_yaml(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]))
        };
        assert!(!is_yaml(&HeaderMap::new()).unwrap() && !of("application/json").unwrap());
        for yaml in ["application/yaml", "Application/X-YAML; charset=utf-8", "text/yaml"] {
            assert!(of(yaml).unwrap(), "{yaml}");
        }
        assert_eq!(of("text/plain").unwrap_err().code(), Code::UnsupportedMediaType);
    }
}
