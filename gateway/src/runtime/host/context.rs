//! `sluice:step/context`: the data of the call or job, and what the execution is.
//!
//! Owns the working copy of the data. Invariant: it stays an object within its
//! bound in bytes and depth, and data that was not touched is passed on as text.

use serde_json::{Map, Value};

use super::call::HostCall;
use crate::model::{JSON_DEPTH_MAX, JsonText};
use crate::runtime::bindings::sluice::step::context::{Execution, Host};
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;

/// How large a step may make the data, or how much it may add to larger data: what
/// a run hands from step to step, with room.
const DATA_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Host for State {
    fn current(&mut self) -> Execution {
        let id = self.call.execution_id.to_string();
        Execution {
            idempotency_key: id.clone(),
            execution_id: id,
            module: self.call.module.name.to_string(),
            version: self.call.module.version.to_string(),
            function: self.call.function.clone(),
            job: None,
            run_id: None,
            step_id: None,
            attempt: 1,
        }
    }

    fn get(&mut self, key: String) -> Result<Option<String>, HostError> {
        let call = HostCall::begin(self, "context.get")?;
        call.end(Ok(self.context.get(&key)))
    }

    fn set(&mut self, key: String, value: String) -> Result<(), HostError> {
        let call = HostCall::begin(self, "context.set")?;
        call.end(self.context.set(&key, &value))
    }
}

/// The data of one execution.
#[derive(Debug)]
pub(in crate::runtime) struct Context {
    given: Option<JsonText>,
    /// Parsed when it is first asked for: most steps never do.
    working: Option<Working>,
}

#[derive(Debug)]
struct Working {
    data: Value,
    bytes: usize,
    bytes_max: usize,
    changed: bool,
}

impl Context {
    /// `given` is an object; nothing is an empty one.
    pub(in crate::runtime) const fn new(given: Option<JsonText>) -> Self {
        Self { given, working: None }
    }

    /// The data as the step left it.
    pub(in crate::runtime) fn finish(self) -> Option<JsonText> {
        match self.working {
            Some(working) if working.changed => Some(JsonText::of(&working.data)),
            _ => self.given,
        }
    }

    fn working(&mut self) -> &mut Working {
        self.working.get_or_insert_with(|| {
            let text = self.given.as_ref().map_or("{}", JsonText::as_str);
            let data = serde_json::from_str(text).unwrap_or_else(|_| Value::Object(Map::new()));
            let bytes = text.len();
            Working { data, bytes, bytes_max: DATA_BYTES_MAX.max(bytes), changed: false }
        })
    }

    fn get(&mut self, key: &str) -> Option<String> {
        let data = &self.working().data;
        let found = if key.starts_with('/') { data.pointer(key) } else { data.get(key) };
        found.map(Value::to_string)
    }

    fn set(&mut self, key: &str, json: &str) -> Result<(), HostError> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| invalid(format!("the value is not JSON: {error}")))?;
        let path = parse_key(key);
        if path.len() + depth(&value) > JSON_DEPTH_MAX {
            return Err(HostError::LimitExceeded(format!("data may be {JSON_DEPTH_MAX} levels deep")));
        }
        let working = self.working();
        let added = key.len() + json.len();
        let removed = locate(&working.data, &path).map_or(0, size);
        let bytes = (working.bytes + added).saturating_sub(removed);
        if bytes > working.bytes_max {
            return Err(HostError::LimitExceeded(format!("data may have {} bytes", working.bytes_max)));
        }
        *make(&mut working.data, &path)? = value;
        working.bytes = bytes;
        working.changed = true;
        Ok(())
    }
}

fn invalid(text: String) -> HostError {
    HostError::InvalidArgument(text)
}

/// The names on the way to a value: a JSON Pointer (RFC 6901) or one top-level name.
fn parse_key(key: &str) -> Vec<String> {
    match key.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect(),
        None => vec![key.to_owned()],
    }
}

fn locate<'a>(data: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(data, |value, token| match value {
        Value::Object(object) => object.get(token),
        Value::Array(array) => array.get(array_index(token)?),
        _ => None,
    })
}

/// The place of a value, with the objects on the way to it. Elements of arrays can
/// be replaced, and one appended with `-` or the index past the last.
fn make<'a>(data: &'a mut Value, path: &[String]) -> Result<&'a mut Value, HostError> {
    // Looked at before anything is made: what is refused changes nothing.
    check_way(data, path)?;
    path.iter().try_fold(data, |value, token| match value {
        Value::Object(object) => Ok(object.entry(token.clone()).or_insert_with(|| Value::Object(Map::new()))),
        Value::Array(array) => {
            let index = if token == "-" { array.len() } else { array_index(token).unwrap_or(usize::MAX) };
            if index == array.len() {
                array.push(Value::Object(Map::new()));
            }
            array.get_mut(index).ok_or_else(|| invalid(format!("the array has no element {token}")))
        }
        _ => Err(invalid(format!("what is above {token} is neither an object nor an array"))),
    })
}

fn check_way(data: &Value, path: &[String]) -> Result<(), HostError> {
    let mut value = data;
    for token in path {
        let next = match value {
            Value::Object(object) => object.get(token),
            Value::Array(array) => {
                let index = if token == "-" { Some(array.len()) } else { array_index(token) };
                match index {
                    Some(index) if index <= array.len() => array.get(index),
                    _ => return Err(invalid(format!("the array has no element {token}"))),
                }
            }
            _ => return Err(invalid(format!("what is above {token} is neither an object nor an array"))),
        };
        match next {
            Some(next) => value = next,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// RFC 6901 § 4: digits without a leading zero.
fn array_index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    if canonical { token.parse().ok() } else { None }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(array) => 1 + array.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// About as many bytes as the value has as text.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(array) => 2 + array.iter().map(|value| size(value) + 1).sum::<usize>(),
        Value::Object(object) => 2 + object.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn context(data: &Value) -> Context {
        Context::new(Some(JsonText::of(data)))
    }

    #[test]
    fn a_pointer_makes_the_objects_on_its_way() {
        let mut context = context(&json!({"a": {"list": [1, 2]}}));
        context.set("/a/b/c", "3").unwrap();
        context.set("/a/list/1", "\"two\"").unwrap();
        context.set("/a/list/-", "null").unwrap();
        context.set("x~1/y", "true").unwrap();
        let data = context.finish().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(data.as_str()).unwrap(),
            json!({"a": {"b": {"c": 3}, "list": [1, "two", null]}, "x~1/y": true})
        );
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let data = json!({"a": 1, "list": []});
        let mut context = context(&data);
        assert!(matches!(context.set("/a/b", "1"), Err(HostError::InvalidArgument(_))));
        assert!(matches!(context.set("/list/7/x", "1"), Err(HostError::InvalidArgument(_))));
        assert!(matches!(context.set("b", "nope"), Err(HostError::InvalidArgument(_))));
        assert!(matches!(context.set(&"/d".repeat(200), "1"), Err(HostError::LimitExceeded(_))));
        let huge = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX));
        assert!(matches!(context.set("b", &huge), Err(HostError::LimitExceeded(_))));
        assert_eq!(serde_json::from_str::<Value>(context.finish().unwrap().as_str()).unwrap(), data);
    }

    #[test]
    fn overwriting_a_value_again_and_again_does_not_use_up_the_bound() {
        let mut context = context(&json!({}));
        let value = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX / 4));
        for _ in 0..20 {
            context.set("same", &value).unwrap();
        }
    }

    #[test]
    fn data_that_nobody_touched_keeps_its_text() {
        let text = "{\"n\": 1.50, \"n2\" : 12345678901234567890123}";
        let mut context = Context::new(Some(JsonText::parse(text).unwrap()));
        context.get("n");
        assert_eq!(context.finish().unwrap().as_str(), text);
    }

    proptest! {
        #[test]
        fn what_is_set_is_got(keys in prop::collection::vec("[a-z~/]{0,6}", 1..6), value in "[ -~]{0,40}") {
            let mut context = Context::new(None);
            let json = Value::String(value).to_string();
            for key in &keys {
                if context.set(key, &json).is_ok() {
                    prop_assert_eq!(context.get(key), Some(json.clone()));
                }
            }
        }
    }
}
