//! The rows of an answer as JSON, written as they come.
//!
//! Owns the bounds of an answer, and how a value is written. Does not know databases. Invariant: what is
//! written is JSON, and never more than a row over its bounds.

use std::fmt::Write as _;

use base64::Engine as _;

use super::{Bounds, Error};

/// Integers up to here are exact in every language's numbers; larger ones are strings.
const EXACT_MAX: u64 = 1 << 53;

/// An answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Rows {
    json: Json,
    /// Each `"name":`, with the comma or the brace before it.
    columns: Vec<String>,
    rows: u64,
    bounds: Bounds,
}

impl Rows {
    /// An answer with these columns.
    ///
    /// # Errors
    /// Two have one name: an object can't have both.
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a str>, bounds: Bounds) -> Result<Self, Error> {
        let mut seen = std::collections::BTreeSet::new();
        let mut prefixes = Vec::new();
        for name in columns {
            if !seen.insert(name) {
                let name: String = name.chars().take(100).collect();
                return Err(Error::Invalid(format!("two columns are called `{name}`: name them with AS")));
            }
            let mut prefix = Json(String::from(if prefixes.is_empty() { "{" } else { "," }));
            prefix.text(name);
            prefix.0.push(':');
            prefixes.push(prefix.0);
        }
        Ok(Self { json: Json(String::from("[")), columns: prefixes, rows: 0, bounds })
    }

    /// Writes a row; `value` writes that of the column it is told, from 0.
    ///
    /// # Errors
    /// The answer is too large, or what `value` says.
    pub(super) fn row(&mut self, mut value: impl FnMut(usize, &mut Json) -> Result<(), Error>) -> Result<(), Error> {
        if self.rows == self.bounds.rows_max {
            return Err(Error::too_many_rows(self.bounds.rows_max));
        }
        if self.rows > 0 {
            self.json.0.push(',');
        }
        self.rows += 1;
        for (index, prefix) in self.columns.iter().enumerate() {
            self.json.0.push_str(prefix);
            value(index, &mut self.json)?;
            if self.json.0.len() as u64 > self.bounds.bytes_max {
                return Err(Error::too_many_bytes(self.bounds.bytes_max));
            }
        }
        self.json.0.push_str(if self.columns.is_empty() { "{}" } else { "}" });
        Ok(())
    }

    /// The whole answer.
    pub(super) fn finish(mut self) -> String {
        self.json.0.push(']');
        self.json.0
    }
}

/// Values as JSON text.
#[derive(Debug, Default)]
pub(super) struct Json(pub(super) String);

impl Json {
    pub(super) fn null(&mut self) {
        self.0.push_str("null");
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.0.push_str(if value { "true" } else { "false" });
    }

    /// A number, or a string where JSON's usual readers would round it.
    pub(super) fn integer(&mut self, value: i128) {
        // Writing to a string can't fail.
        let _ = if value.unsigned_abs() > u128::from(EXACT_MAX) {
            write!(self.0, "\"{value}\"")
        } else {
            write!(self.0, "{value}")
        };
    }

    /// A number; JSON has no `NaN` and no infinities, which are strings.
    pub(super) fn float(&mut self, value: f64) {
        match serde_json::Number::from_f64(value) {
            Some(number) => {
                let _ = write!(self.0, "{number}");
            }
            None if value.is_nan() => self.0.push_str("\"NaN\""),
            None if value > 0.0 => self.0.push_str("\"Infinity\""),
            None => self.0.push_str("\"-Infinity\""),
        }
    }

    /// The same of the half as precise: with its own digits, not those of the nearest double.
    pub(super) fn float32(&mut self, value: f32) {
        if value.is_finite() {
            let mut text = value.to_string();
            if !text.contains('.') {
                text.push_str(".0");
            }
            self.0.push_str(&text);
        } else {
            self.float(value.into());
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        // A string is always written.
        self.0.push_str(&serde_json::to_string(text).unwrap_or_default());
    }

    /// As base64.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.push('"');
        base64::engine::general_purpose::STANDARD.encode_string(bytes, &mut self.0);
        self.0.push('"');
    }

    /// What is JSON already; text that is none becomes a string.
    pub(super) fn json(&mut self, text: &str) {
        if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
            self.0.push_str(text);
        } else {
            self.text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { rows_max: 2, bytes_max: 60 };

    #[test]
    fn rows_are_objects_within_their_bounds() {
        let mut rows = Rows::new(["a", "b\"c"].into_iter(), BOUNDS).unwrap();
        rows.row(|index, json| {
            json.integer(index as i128);
            Ok(())
        })
        .unwrap();
        rows.row(|_, json| {
            json.null();
            Ok(())
        })
        .unwrap();
        assert_eq!(rows.row(|_, _| Ok(())).unwrap_err().to_string(), Error::too_many_rows(2).to_string());
        assert_eq!(rows.finish(), r#"[{"a":0,"b\"c":1},{"a":null,"b\"c":null}]"#);
        let mut rows = Rows::new(["a"].into_iter(), BOUNDS).unwrap();
        let long = rows.row(|_, json| {
            json.text(&"x".repeat(60));
            Ok(())
        });
        assert!(matches!(long, Err(Error::TooLarge(_))));
        assert!(matches!(Rows::new(["a", "a"].into_iter(), BOUNDS), Err(Error::Invalid(_))));
        assert_eq!(Rows::new(["a"].into_iter(), BOUNDS).unwrap().finish(), "[]");
    }

    #[test]
    fn values_that_json_has_no_number_for_are_strings() {
        let written = |write: &dyn Fn(&mut Json)| {
            let mut json = Json::default();
            write(&mut json);
            json.0
        };
        assert_eq!(written(&|json| json.integer(1 << 53)), "9007199254740992");
        assert_eq!(written(&|json| json.integer((1 << 53) + 1)), "\"9007199254740993\"");
        assert_eq!(written(&|json| json.integer(-(1 << 53) - 1)), "\"-9007199254740993\"");
        assert_eq!(written(&|json| json.float(f64::NAN)), "\"NaN\"");
        assert_eq!(written(&|json| json.float(f64::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(written(&|json| json.float(0.1)), "0.1");
        assert_eq!(written(&|json| json.float32(0.1)), "0.1");
        assert_eq!(written(&|json| json.float32(f32::INFINITY)), "\"Infinity\"");
        assert_eq!(written(&|json| json.bytes(b"\x00\xff")), "\"AP8=\"");
        assert_eq!(written(&|json| json.json("{\"a\": 1}")), "{\"a\": 1}");
        assert_eq!(written(&|json| json.json("{")), "\"{\"");
    }
}
