//! The parameters of a statement: a JSON array, read without making a tree of what stays text.
//!
//! Invariant: a number is kept as it is written; what a driver makes of it is the driver's.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Error;

/// Of one statement: what SQLite takes, which is the least of the three.
const PARAMS_MAX: usize = 32_766;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Param<'a> {
    Null,
    Boolean(bool),
    /// As it is written.
    Number(&'a str),
    /// Without quotes and escapes.
    Text(Cow<'a, str>),
    /// An array or an object, as it is written.
    Json(&'a str),
}

impl<'a> Param<'a> {
    /// Those of a JSON array.
    ///
    /// # Errors
    /// It is none, or has too many.
    pub(super) fn list(params: &'a str) -> Result<Vec<Self>, Error> {
        let list: Vec<&'a RawValue> = serde_json::from_str(params)
            .map_err(|_| Error::Invalid("the parameters are not a JSON array".to_owned()))?;
        if list.len() > PARAMS_MAX {
            return Err(Error::Invalid(format!("a statement has at most {PARAMS_MAX} parameters")));
        }
        list.into_iter().map(|value| Self::one(value.get())).collect()
    }

    /// That of one JSON value.
    pub(super) fn one(json: &'a str) -> Result<Self, Error> {
        match json.as_bytes().first() {
            Some(b'n') => Ok(Self::Null),
            Some(b't') => Ok(Self::Boolean(true)),
            Some(b'f') => Ok(Self::Boolean(false)),
            Some(b'[' | b'{') => Ok(Self::Json(json)),
            Some(b'"') => {
                // A string without escapes is borrowed.
                let text = match json.get(1..json.len() - 1) {
                    Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
                    _ => Cow::Owned(serde_json::from_str(json).map_err(|_| lone_surrogate())?),
                };
                Ok(Self::Text(text))
            }
            _ => Ok(Self::Number(json)),
        }
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Json(_) => "an array or an object",
        }
    }
}

fn lone_surrogate() -> Error {
    Error::Invalid("a parameter has a lone surrogate, which no database can hold".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_kept_as_they_are_written() {
        let list = Param::list(r#" [null, true, 1.50, 12345678901234567890123, "a\"b", "plain", [1], {"a": 1 }] "#);
        assert_eq!(
            list.unwrap(),
            [
                Param::Null,
                Param::Boolean(true),
                Param::Number("1.50"),
                Param::Number("12345678901234567890123"),
                Param::Text("a\"b".into()),
                Param::Text("plain".into()),
                Param::Json("[1]"),
                Param::Json(r#"{"a": 1 }"#),
            ]
        );
        assert!(Param::list("[]").unwrap().is_empty());
        for wrong in ["", "{}", "null", "[1", "[\"\\ud800\"]", "[1] 2"] {
            assert!(matches!(Param::list(wrong), Err(Error::Invalid(_))), "{wrong}");
        }
        let many = format!("[{}]", vec!["1"; PARAMS_MAX + 1].join(","));
        assert!(matches!(Param::list(&many), Err(Error::Invalid(_))));
    }
}
