//! What an expression became, as JSON or as text.
//!
//! Owns the bounds of what comes out. Invariant: nothing is copied that there is no room for.

use minijinja::Value as Evaluated;
use minijinja::value::ValueKind;
use serde_json::{Map, Number, Value};

use super::RESOLVED_BYTES_MAX;
use super::values::Node;
use crate::model::JSON_DEPTH_MAX;

/// What a scalar or the frame of a list is counted as, besides its text.
const VALUE_BYTES: usize = 16;

/// How much more may come out for one step.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new() -> Self {
        Self(RESOLVED_BYTES_MAX)
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            format!("what the step's templates become has more than {RESOLVED_BYTES_MAX} bytes: use less of the data")
        })?;
        Ok(())
    }

    fn take_value(&mut self, value: &Value) -> Result<(), String> {
        self.take(VALUE_BYTES)?;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.take(text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| self.take_value(item)),
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.take(name.len())?;
                self.take_value(value)
            }),
        }
    }
}

/// The value as JSON, numbers of each kind as they are.
pub(super) fn json(value: &Evaluated, room: &mut Room) -> Result<Value, String> {
    json_within(value, room, JSON_DEPTH_MAX)
}

/// A text as it is, all else as JSON.
pub(super) fn push_text(text: &mut String, value: &Evaluated, room: &mut Room) -> Result<(), String> {
    if value.kind() == ValueKind::String {
        let value = value.as_str().unwrap_or_default();
        room.take(value.len())?;
        text.push_str(value);
    } else {
        let value = json(value, room)?.to_string();
        text.push_str(&value);
    }
    Ok(())
}

fn json_within(value: &Evaluated, room: &mut Room, depth: usize) -> Result<Value, String> {
    if let Some(node) = value.downcast_object_ref::<Node>() {
        let value = node.json();
        if nests_deeper(value, depth) {
            return Err(too_deep());
        }
        room.take_value(value)?;
        return Ok(value.clone());
    }
    room.take(VALUE_BYTES)?;
    match value.kind() {
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            room.take(text.len())?;
            Ok(Value::String(text.to_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let items = value.try_iter().map_err(|error| super::text::in_words(&error))?.checked();
            items
                .map(|item| json_within(&item.map_err(|error| super::text::in_words(&error))?, room, depth))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        ValueKind::Map => object(value, room, depth.checked_sub(1).ok_or_else(too_deep)?),
        ValueKind::Undefined => Err("names what isn't there".to_owned()),
        other => Err(format!("becomes {other}, which JSON doesn't have")),
    }
}

fn object(value: &Evaluated, room: &mut Room, depth: usize) -> Result<Value, String> {
    let mut members = Map::new();
    for name in value.try_iter().map_err(|error| super::text::in_words(&error))?.checked() {
        let name = name.map_err(|error| super::text::in_words(&error))?;
        let member = value.get_item(&name).map_err(|error| super::text::in_words(&error))?;
        let name = name.as_str().ok_or("becomes an object with a name that is no text")?;
        room.take(name.len())?;
        members.insert(name.to_owned(), json_within(&member, room, depth)?);
    }
    Ok(Value::Object(members))
}

fn number(value: &Evaluated) -> Result<Value, String> {
    let number = if value.is_integer() {
        let signed = i64::try_from(value.clone()).ok().map(Number::from);
        signed.or_else(|| u64::try_from(value.clone()).ok().map(Number::from))
    } else {
        f64::try_from(value.clone()).ok().and_then(Number::from_f64)
    };
    number.map(Value::Number).ok_or_else(|| "becomes a number that is too large for JSON".to_owned())
}

fn nests_deeper(value: &Value, depth: usize) -> bool {
    let below = |below: fn(&Value, usize) -> bool, value: &Value| match depth.checked_sub(1) {
        Some(depth) => below(value, depth),
        None => true,
    };
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => true,
        Value::Array(items) => items.iter().any(|item| below(nests_deeper, item)),
        Value::Object(members) => members.values().any(|value| below(nests_deeper, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn too_deep() -> String {
    format!("becomes JSON that nests more than {JSON_DEPTH_MAX} deep")
}
