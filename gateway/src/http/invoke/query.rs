//! What an invoke request says outside its body.

use http::{HeaderMap, header};

use super::super::Problem;
use crate::error::{Code, FieldError};

/// The function that is called where none is named.
const DEFAULT_FUNCTION: &str = "run";

/// Long enough for any export's name.
const FUNCTION_LENGTH_MAX: usize = 256;

/// The `function` parameter. Names of exports are kebab-case, so what is escaped
/// names no function, and is not decoded.
pub(super) fn function(query: Option<&str>) -> Result<String, Problem> {
    let mut function = None;
    let mut errors = Vec::new();
    for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name != "function" {
            let name: String = name.chars().take(FUNCTION_LENGTH_MAX).collect();
            let message = format!("{name} is not known; known is function");
            errors.push(FieldError::new(name, "unknown-field", message));
        } else if function.replace(value).is_some() {
            errors.push(FieldError::new("function", "duplicate", "function is there twice"));
        } else if value.is_empty() || value.len() > FUNCTION_LENGTH_MAX {
            errors.push(FieldError::new("function", "malformed", "the name of a function is wanted"));
        }
    }
    if errors.is_empty() {
        Ok(function.unwrap_or(DEFAULT_FUNCTION).to_owned())
    } else {
        Err(Problem::malformed(errors))
    }
}

/// A body is JSON; one that doesn't say what it is, is taken for it.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.to_ascii_lowercase().ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, "the body is JSON: send content-type: application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_run_unless_another_is_named_once() {
        assert_eq!(function(None).unwrap(), "run");
        assert_eq!(function(Some("")).unwrap(), "run");
        assert_eq!(function(Some("function=summarize")).unwrap(), "summarize");
        assert_eq!(function(Some("fn=a&x")).unwrap_err().code(), Code::UnknownField);
        for query in ["function=", "function=a&function=b", "function"] {
            assert_eq!(function(Some(query)).unwrap_err().code(), Code::BadRequest, "{query}");
        }
    }

    #[test]
    fn a_body_that_says_it_is_something_else_is_refused() {
        let headers =
            |value: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, http::HeaderValue::from_static(value))]);
        assert!(require_json(&HeaderMap::new()).is_ok());
        for value in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.acme+json"] {
            assert!(require_json(&headers(value)).is_ok(), "{value}");
        }
        for value in ["text/plain", "application/x-www-form-urlencoded", "+json", ""] {
            assert_eq!(require_json(&headers(value)).unwrap_err().code(), Code::UnsupportedMediaType, "{value}");
        }
    }
}
