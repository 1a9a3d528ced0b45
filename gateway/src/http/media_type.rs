//! What a body says it is.
//!
//! Owns the one rule for JSON bodies of both planes. Does not read the body (`body`).

use http::{HeaderMap, header};

use super::Problem;
use crate::error::Code;

/// A body is JSON; one that doesn't say what it is, is taken for it.
///
/// # Errors
/// `unsupported-media-type` where it says that it is something else.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
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
