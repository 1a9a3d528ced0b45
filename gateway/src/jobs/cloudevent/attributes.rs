//! The context attributes of an event.
//!
//! Owns their names, types and bounds. Invariant: what `finish` gives has the four required ones, and texts only.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{DATA_CONTENT_TYPE, HEADER_PREFIX};
use crate::error::{FieldError, NAME_CHARACTERS_MAX, pointer, shortened};

/// Four are required and four optional; tracing, partitioning and the like add a dozen. Each costs a template's context.
const COUNT_MAX: usize = 64;
/// The specification advises 20.
const NAME_BYTES_MAX: usize = 64;
/// The longest URI that servers commonly take; an event is to stay under 64 KiB with its data.
const VALUE_BYTES_MAX: usize = 8 * 1024;
const SPEC_VERSION: &str = "1.0";
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];
/// The optional ones that are something when they are there.
const NOT_EMPTY: [&str; 3] = [DATA_CONTENT_TYPE, "dataschema", "subject"];

/// What is found of an event's attributes, and what is wrong with them.
pub(super) struct Attributes {
    are_headers: bool,
    count: usize,
    found: Map<String, Value>,
    mistakes: Vec<FieldError>,
}

impl Attributes {
    /// Of binary mode: paths of mistakes are names of headers.
    pub(super) fn of_headers() -> Self {
        Self { are_headers: true, count: 0, found: Map::new(), mistakes: Vec::new() }
    }

    /// Of structured mode: paths of mistakes are JSON Pointers.
    pub(super) fn of_members() -> Self {
        Self { are_headers: false, ..Self::of_headers() }
    }

    /// Whether another one is looked at; the one too many is a mistake, told once.
    pub(super) fn has_room(&mut self) -> bool {
        self.count += 1;
        if self.count == COUNT_MAX + 1 {
            let message = format!("an event has at most {COUNT_MAX} attributes here");
            self.mistakes.push(FieldError::new("", "too-many", message));
        }
        self.count <= COUNT_MAX
    }

    /// A mistake of one attribute.
    pub(super) fn refuse(&mut self, name: &str, code: &str, message: impl Into<String>) {
        let path = if self.are_headers {
            match name {
                DATA_CONTENT_TYPE if code != "misplaced" => "content-type".to_owned(),
                name => format!("{HEADER_PREFIX}{}", shortened(name, NAME_CHARACTERS_MAX)),
            }
        } else {
            pointer("", name)
        };
        self.mistakes.push(FieldError::new(path, code, message));
    }

    /// One in a header: quotes and backslashes are of older senders, percent signs of today's.
    pub(super) fn add_encoded(&mut self, name: &str, value: &[u8]) {
        let Some(unquoted) = unquoted(value) else {
            return self.refuse(name, "invalid", "a quote is not closed");
        };
        match percent_encoding::percent_decode(&unquoted).decode_utf8() {
            Ok(text) => self.add(name, text.into_owned()),
            Err(_) => self.refuse(name, "invalid", "expected UTF-8, percent-encoded"),
        }
    }

    /// The content type of a binary event's data, which is not encoded.
    pub(super) fn add_content_type(&mut self, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) => self.add(DATA_CONTENT_TYPE, text.to_owned()),
            Err(_) => self.refuse(DATA_CONTENT_TYPE, "invalid", "expected a media type"),
        }
    }

    /// One of a JSON event; `null` is one that is not there.
    pub(super) fn add_value(&mut self, name: &str, value: Value) {
        match value {
            Value::Null => {}
            Value::String(text) => self.add(name, text),
            Value::Bool(value) => self.add(name, value.to_string()),
            Value::Number(number) => match number.as_i64().map(i32::try_from) {
                Some(Ok(number)) => self.add(name, number.to_string()),
                _ => self.refuse(name, "invalid", "expected a whole number of 32 bits, or a text"),
            },
            Value::Array(_) | Value::Object(_) => {
                self.refuse(
                    name,
                    "invalid",
                    "an attribute is a text, a whole number, or true or false; the rest is `data`",
                );
            }
        }
    }

    /// Those that are there, with nothing wrong in them.
    pub(super) fn finish(mut self) -> Result<Map<String, Value>, Vec<FieldError>> {
        for name in REQUIRED {
            let path = if self.are_headers { format!("{HEADER_PREFIX}{name}") } else { format!("/{name}") };
            let is_told = self.mistakes.iter().any(|mistake| mistake.path == path);
            if !self.found.contains_key(name) && !is_told {
                self.refuse(name, "required", format!("a CloudEvent has `{name}`"));
            }
        }
        if self.mistakes.is_empty() { Ok(self.found) } else { Err(self.mistakes) }
    }

    fn add(&mut self, name: &str, text: String) {
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_name {
            let message = format!("an attribute's name is 1 to {NAME_BYTES_MAX} lower-case letters and digits");
            return self.refuse(name, "invalid-name", message);
        }
        if let Some((code, message)) = mistake(name, &text) {
            return self.refuse(name, code, message);
        }
        self.found.insert(name.to_owned(), Value::String(text));
    }
}

fn mistake(name: &str, text: &str) -> Option<(&'static str, Cow<'static, str>)> {
    if text.len() > VALUE_BYTES_MAX {
        return Some(("too-long", format!("at most {VALUE_BYTES_MAX} bytes").into()));
    }
    if text.chars().any(char::is_control) {
        return Some(("invalid", "an attribute has no control characters".into()));
    }
    if text.is_empty() && (REQUIRED.contains(&name) || NOT_EMPTY.contains(&name)) {
        return Some(("empty", "it may not be empty".into()));
    }
    match name {
        "specversion" if text != SPEC_VERSION => {
            Some(("unknown-version", "only CloudEvents 1.0 are known here".into()))
        }
        "time" if text.parse::<Timestamp>().is_err() => {
            Some(("invalid", "expected a time of RFC 3339, as in 2026-01-31T12:00:00Z".into()))
        }
        _ => None,
    }
}

/// A header's value without its quotes (RFC 7230, 3.2.6); `None` where one is not closed.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !value.contains(&b'"') {
        return Some(Cow::Borrowed(value));
    }
    let mut text = Vec::with_capacity(value.len());
    let mut is_quoted = false;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted => text.push(bytes.next()?),
            byte => text.push(byte),
        }
    }
    (!is_quoted).then_some(Cow::Owned(text))
}
