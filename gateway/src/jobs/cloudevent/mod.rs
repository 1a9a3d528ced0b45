//! `CloudEvents` over HTTP 1.0.2: what a request starts a run with.
//!
//! Owns the reading of both content modes, and what of an event becomes the trigger. Does not own signatures (`webhook`)
//! nor the body's bound (`http::body`). Invariants: an event in binary and in structured mode is the same trigger; all
//! mistakes of an event are told together.

mod attributes;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

use self::attributes::Attributes;
use crate::error::FieldError;
use crate::model::{DistinctMembers, JSON_DEPTH_MAX};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch";
/// What all formats of events begin with, and nothing else may.
const ANY_FORMAT: &str = "application/cloudevents";
const HEADER_PREFIX: &str = "ce-";
const DATA: &str = "data";
const DATA_BASE64: &str = "data_base64";
const DATA_CONTENT_TYPE: &str = "datacontenttype";
/// As strict as senders are: some leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a request starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Several events in one request: a run has one trigger.
    #[error("a batch of CloudEvents starts no run: send each event in a request of its own")]
    Batch,
    /// An event in a format that is not JSON.
    #[error(
        "send a CloudEvent as `application/cloudevents+json`, or its attributes as `ce-…` headers and its data as the body"
    )]
    Format,
    /// A body that has to be JSON, and is not.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// An event with mistakes. Paths are the names of headers in binary mode, and JSON Pointers in structured mode.
    #[error("the CloudEvent has mistakes")]
    Event(Vec<FieldError>),
}

/// What a run starts with: `{event: {…attributes}, data}` of a `CloudEvent`, else the body's JSON, or `null` for an empty one.
///
/// Attributes are texts, as `CloudEvents` write their types (a structured event's `5` is `"5"`, as it is in a header).
/// Data is JSON where its content type says so, or none is given; else a text where it is UTF-8, else its base64.
pub fn trigger(headers: &HeaderMap, body: &[u8]) -> Result<Value, Error> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = essence(content_type.as_deref().unwrap_or_default());
    if essence.starts_with(BATCH) {
        return Err(Error::Batch);
    }
    if essence == STRUCTURED {
        return structured(body);
    }
    if essence.starts_with(ANY_FORMAT) {
        return Err(Error::Format);
    }
    if headers.keys().any(|name| name.as_str().starts_with(HEADER_PREFIX)) {
        return binary(headers, body);
    }
    if body.is_empty() { Ok(Value::Null) } else { from_json(body) }
}

/// Whether a request says that it is an event, or several.
#[must_use]
pub fn is_event(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    essence(content_type.as_deref().unwrap_or_default()).starts_with(ANY_FORMAT)
        || headers.keys().any(|name| name.as_str().starts_with(HEADER_PREFIX))
}

fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Value, Error> {
    let mut found = Attributes::of_headers();
    let names = headers.keys().filter_map(|name| Some((name, name.as_str().strip_prefix(HEADER_PREFIX)?)));
    for (header, name) in names {
        if !found.has_room() {
            break;
        }
        if name == DATA_CONTENT_TYPE || name == DATA {
            let instead = if name == DATA { "the body" } else { "the header `content-type`" };
            found.refuse(name, "misplaced", format!("send it as {instead}"));
            continue;
        }
        let mut values = headers.get_all(header).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => found.add_encoded(name, value.as_bytes()),
            _ => found.refuse(name, "duplicate", "send it once"),
        }
    }
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        found.add_content_type(content_type.as_bytes());
    }
    let event = found.finish().map_err(Error::Event)?;
    let data =
        if body.is_empty() { Value::Null } else { content(body, declared(&event).unwrap_or("application/json"))? };
    // It is a level deeper in the trigger, which has to be readable again.
    if is_deeper_than(&data, JSON_DEPTH_MAX - 1) {
        return Err(Error::NotJson(format!("it nests deeper than {} levels", JSON_DEPTH_MAX - 1)));
    }
    Ok(json!({"event": event, "data": data}))
}

fn structured(body: &[u8]) -> Result<Value, Error> {
    let members: DistinctMembers<Value> =
        serde_json::from_slice(body).map_err(|error| Error::NotJson(error.to_string()))?;
    let mut found = Attributes::of_members();
    let (mut data, mut bytes) = (None, None);
    for (name, value) in members.0 {
        match (name.as_str(), value) {
            (DATA, value) => data = Some(value),
            (DATA_BASE64, Value::Null) => {}
            (DATA_BASE64, Value::String(text)) => match BASE64.decode(&text) {
                Ok(decoded) => bytes = Some(decoded),
                Err(_) => found.refuse(DATA_BASE64, "invalid", "expected base64"),
            },
            (DATA_BASE64, _) => found.refuse(DATA_BASE64, "invalid", "expected a text of base64"),
            (name, value) if found.has_room() => found.add_value(name, value),
            _ => {}
        }
    }
    if data.is_some() && bytes.is_some() {
        found.refuse(DATA_BASE64, "conflict", "send one of `data` and `data_base64`");
    }
    let event = found.finish().map_err(Error::Event)?;
    let data = match bytes {
        // Who writes base64 has bytes, unless they say that it is JSON.
        Some(bytes) => content(&bytes, declared(&event).unwrap_or("application/octet-stream"))
            .map_err(|error| Error::Event(vec![FieldError::new("/data_base64", "invalid", error.to_string())]))?,
        None => data.unwrap_or_default(),
    };
    if is_deeper_than(&data, JSON_DEPTH_MAX - 1) {
        let message = format!("it nests deeper than {} levels", JSON_DEPTH_MAX - 1);
        return Err(Error::Event(vec![FieldError::new("/data_base64", "too-deep", message)]));
    }
    Ok(json!({"event": event, "data": data}))
}

fn declared(event: &Map<String, Value>) -> Option<&str> {
    event.get(DATA_CONTENT_TYPE).and_then(Value::as_str)
}

/// Data of a content type as JSON.
fn content(bytes: &[u8], content_type: &str) -> Result<Value, Error> {
    if is_json(&essence(content_type)) {
        return from_json(bytes);
    }
    Ok(std::str::from_utf8(bytes).map_or_else(|_| Value::from(BASE64.encode(bytes)), Value::from))
}

fn from_json(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::NotJson(error.to_string()))
}

fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json") || (essence.len() > 5 && essence.ends_with("+json"))
}

/// A media type without parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The parser bounds the depth, and with it this recursion.
fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper_than(item, left)),
        Value::Object(members) => members.values().any(|member| is_deeper_than(member, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests;
