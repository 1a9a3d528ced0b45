//! What an invoke request says in its query.

use super::super::Problem;
use crate::error::{FieldError, NAME_CHARACTERS_MAX, shortened};

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
            let name = shortened(name, NAME_CHARACTERS_MAX);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

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
}
