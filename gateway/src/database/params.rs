//! The parameters of a statement: a JSON array, read without making a tree of what stays text.
//!
//! Invariant: a number is kept as it is written; what a driver makes of it is the driver's.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Error;

/// Of one statement: what SQLite takes, which is the least of the three.
const PARAMS_MAX: usize = 32_766;

/// All of them together, as they are written. Databases take 16 MiB in one statement as a rule; a guest has more.
const PARAMS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// As many values as a statement may have: a guest's list may have a hundred times what its text takes.
struct List<'a> {
    values: Vec<&'a RawValue>,
    has_more: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
        let mut list = List { values: Vec::new(), has_more: false };
        while list.values.len() < PARAMS_MAX {
            let Some(value) = seq.next_element()? else { return Ok(list) };
            list.values.push(value);
        }
        // To the end all the same, or it would be no JSON.
        while seq.next_element::<IgnoredAny>()?.is_some() {
            list.has_more = true;
        }
        Ok(list)
    }
}

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
        if params.len() > PARAMS_BYTES_MAX {
            return Err(Error::TooLarge(format!(
                "the parameters of a statement have at most {PARAMS_BYTES_MAX} bytes"
            )));
        }
        let list: List<'a> = serde_json::from_str(params)
            .map_err(|_| Error::Invalid("the parameters are not a JSON array".to_owned()))?;
        if list.has_more {
            return Err(Error::TooLarge(format!("a statement has at most {PARAMS_MAX} parameters")));
        }
        list.values.into_iter().map(|value| Self::one(value.get())).collect()
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
        let many = |count| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(Param::list(&many(PARAMS_MAX)).unwrap().len(), PARAMS_MAX);
        assert!(matches!(Param::list(&many(PARAMS_MAX + 1)), Err(Error::TooLarge(_))));
        assert!(matches!(Param::list(&format!("[\"{}\"]", "a".repeat(PARAMS_BYTES_MAX))), Err(Error::TooLarge(_))));
    }
}
