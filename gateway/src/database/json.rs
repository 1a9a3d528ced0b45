//! The rows of an answer as JSON, written as they come.
//!
//! Owns the bounds of an answer, and how a value is written. Does not know databases. Invariant: what is
//! written is JSON, and no value is written, nor made ready, that its bounds have no room for.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;

use super::{Bounds, Error};

/// Integers up to here are exact in every language's numbers; larger ones are strings.
const EXACT_MAX: u64 = 1 << 53;

/// An answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Rows {
    json: Json,
    columns: Columns,
    count: u64,
    bounds: Bounds,
}

/// The columns of an answer: each `"name":`, with the comma or the brace before it. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Columns(Arc<[String]>);

impl Columns {
    /// Those with these names.
    ///
    /// # Errors
    /// Two have one name: an object can't have both.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let mut seen = std::collections::BTreeSet::new();
        let mut prefixes = Vec::new();
        for name in names {
            if !seen.insert(name) {
                let name: String = name.chars().take(100).collect();
                return Err(Error::Invalid(format!("two columns are called `{name}`: name them with AS")));
            }
            let mut prefix =
                Json { text: String::from(if prefixes.is_empty() { "{" } else { "," }), room: Room::default() };
            prefix.text(name);
            prefix.text.push(':');
            prefixes.push(prefix.text);
        }
        Ok(Self(prefixes.into()))
    }
}

impl Rows {
    /// An answer with columns of these names.
    ///
    /// # Errors
    /// Those of [`Columns::new`].
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>, bounds: Bounds) -> Result<Self, Error> {
        Ok(Self::of(Columns::new(names)?, bounds))
    }

    /// An answer with these columns.
    pub(super) fn of(columns: Columns, bounds: Bounds) -> Self {
        let room = Room { bytes_max: usize::try_from(bounds.bytes_max).unwrap_or(usize::MAX), is_full: false };
        Self { json: Json { text: String::from("["), room }, columns, count: 0, bounds }
    }

    /// Writes a row; `value` writes that of the column it is told, from 0.
    ///
    /// # Errors
    /// The answer is too large, or what `value` says.
    pub(super) fn row(&mut self, mut value: impl FnMut(usize, &mut Json) -> Result<(), Error>) -> Result<(), Error> {
        if self.count == self.bounds.rows_max {
            return Err(Error::too_many_rows(self.bounds.rows_max));
        }
        if self.count > 0 {
            self.json.text.push(',');
        }
        self.count += 1;
        for (index, prefix) in self.columns.0.iter().enumerate() {
            self.json.text.push_str(prefix);
            value(index, &mut self.json)?;
            if self.json.is_over() {
                return Err(Error::too_many_bytes(self.bounds.bytes_max));
            }
        }
        self.json.text.push_str(if self.columns.0.is_empty() { "{}" } else { "}" });
        if self.json.is_over() {
            return Err(Error::too_many_bytes(self.bounds.bytes_max));
        }
        Ok(())
    }

    /// The whole answer.
    pub(super) fn finish(mut self) -> String {
        self.json.text.push(']');
        self.json.text
    }
}

/// Values as JSON text. What there is no room for is not written whole, and the answer is given up.
#[derive(Debug, Default)]
pub(super) struct Json {
    pub(super) text: String,
    room: Room,
}

#[derive(Debug)]
struct Room {
    bytes_max: usize,
    /// Whether something wanted more.
    is_full: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes_max: usize::MAX, is_full: false }
    }
}

impl Json {
    /// Whether there is room for so many more bytes; where there is none, the answer is given up.
    fn reserve(&mut self, bytes: usize) -> bool {
        self.room.is_full |= bytes > self.room.bytes_max.saturating_sub(self.text.len());
        !self.room.is_full
    }

    /// Whether the answer is given up already: what is in many parts looks at it before each.
    pub(super) fn is_over(&self) -> bool {
        self.room.is_full || self.text.len() > self.room.bytes_max
    }

    pub(super) fn null(&mut self) {
        self.text.push_str("null");
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.text.push_str(if value { "true" } else { "false" });
    }

    /// A number, or a string where JSON's usual readers would round it.
    pub(super) fn integer(&mut self, value: i128) {
        // Writing to a string can't fail.
        let _ = if value.unsigned_abs() > u128::from(EXACT_MAX) {
            write!(self.text, "\"{value}\"")
        } else {
            write!(self.text, "{value}")
        };
    }

    /// A number; JSON has no `NaN` and no infinities, which are strings.
    pub(super) fn float(&mut self, value: f64) {
        match serde_json::Number::from_f64(value) {
            Some(number) => {
                let _ = write!(self.text, "{number}");
            }
            None if value.is_nan() => self.text.push_str("\"NaN\""),
            None if value > 0.0 => self.text.push_str("\"Infinity\""),
            None => self.text.push_str("\"-Infinity\""),
        }
    }

    /// The same of the half as precise: with its own digits, not those of the nearest double.
    pub(super) fn float32(&mut self, value: f32) {
        if value.is_finite() {
            let mut text = value.to_string();
            if !text.contains('.') {
                text.push_str(".0");
            }
            self.text.push_str(&text);
        } else {
            self.float(value.into());
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.text_lossy(text.as_bytes());
    }

    /// Text of a database that keeps any bytes as text: what is not UTF-8 is U+FFFD.
    pub(super) fn text_lossy(&mut self, text: &[u8]) {
        // No escape is shorter than what it stands for, and U+FFFD isn't either.
        if !self.reserve(text.len() + 2) {
            return;
        }
        self.text.push('"');
        for chunk in text.utf8_chunks() {
            self.escaped(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
            if !self.reserve(1) {
                return;
            }
        }
        self.text.push('"');
    }

    /// What is between the quotes, as far as there is room.
    fn escaped(&mut self, mut text: &str) {
        while let Some((plain, special, rest)) = split_at_special(text) {
            self.text.push_str(plain);
            match special {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                other => {
                    // Writing to a string can't fail.
                    let _ = write!(self.text, "\\u{:04x}", u32::from(other));
                }
            }
            if !self.reserve(rest.len()) {
                return;
            }
            text = rest;
        }
        self.text.push_str(text);
    }

    /// As base64.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if !self.reserve(bytes.len().div_ceil(3).saturating_mul(4).saturating_add(2)) {
            return;
        }
        self.text.push('"');
        base64::engine::general_purpose::STANDARD.encode_string(bytes, &mut self.text);
        self.text.push('"');
    }

    /// [`Self::json`] of text that any bytes may be.
    pub(super) fn json_lossy(&mut self, raw: &[u8]) {
        match std::str::from_utf8(raw) {
            Ok(text) => self.json(text),
            // What is not UTF-8 is no JSON.
            Err(_) => self.text_lossy(raw),
        }
    }

    /// What is JSON already; text that is none becomes a string.
    pub(super) fn json(&mut self, text: &str) {
        if !self.reserve(text.len()) {
            return;
        }
        if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
            self.text.push_str(text);
        } else {
            self.text(text);
        }
    }
}

/// At the first character that a JSON string has to escape.
fn split_at_special(text: &str) -> Option<(&str, char, &str)> {
    let place = text.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..=0x1f))?;
    let (plain, rest) = text.split_at(place);
    let mut rest = rest.chars();
    let special = rest.next()?;
    Some((plain, special, rest.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_written_so_that_it_is_read_again(text in "(?s).{0,40}", bytes in prop::collection::vec(0_u8.., 0..40)) {
            let mut json = Json::default();
            json.text(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&json.text).unwrap(), text);
            let mut json = Json::default();
            json.text_lossy(&bytes);
            prop_assert_eq!(serde_json::from_str::<String>(&json.text).unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_parameter_is_the_nearest_double_of_its_digits(digits in "[1-9][0-9]{14,19}\\.[0-9]{1,3}", exponent in -30_i32..30) {
            let text = format!("{digits}e{exponent}");
            prop_assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
    }

    #[test]
    fn a_value_that_there_is_no_room_for_is_not_made_ready() {
        let bounds = Bounds { rows_max: 1, bytes_max: 1_000 };
        let writes: [&dyn Fn(&mut Json); 7] = [
            &|json| json.text(&"\0".repeat(900)),
            &|json| json.text(&"x".repeat(1_000_000)),
            &|json| json.text_lossy(&[0xff; 900]),
            &|json| json.bytes(&[0; 900]),
            &|json| json.json(&format!("[{}1]", "1,".repeat(100_000))),
            &|json| json.json_lossy(&[0xff; 900]),
            &|json| json.json_lossy(&vec![b'1'; 100_000]),
        ];
        for write in writes {
            let mut rows = Rows::new(["a"].into_iter(), bounds).unwrap();
            let row = rows.row(|_, json| {
                write(json);
                Ok(())
            });
            assert!(matches!(row, Err(Error::TooLarge(_))));
            assert!(rows.json.text.capacity() < 2_500, "{}", rows.json.text.capacity());
        }
    }

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
            json.text
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
        assert_eq!(written(&|json| json.json_lossy(b"[1]")), "[1]");
        assert_eq!(written(&|json| json.json_lossy(b"[\"\xff\"]")), "\"[\\\"\u{fffd}\\\"]\"");
    }
}
