//! `sluice:step/context`: the data of the call or job, and what the execution is.
//!
//! Owns the working copy of the data. Invariant: it stays an object within its
//! bound in the host's memory and in depth, and data that was not touched is passed
//! on as text, however large.

use serde_json::{Map, Value};

use super::call::HostCall;
use super::tree::{self, NoTree};
use crate::model::{JSON_DEPTH_MAX, JsonText};
use crate::runtime::bindings::sluice::step::context::{Execution, Host};
use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;

/// How much of the host's memory the data may take as a tree, and no more as text:
/// half of what a step has itself by default, and room for some MiB of records. A
/// bound on the text alone would not do: `[{"":0},…]` takes a hundred times its length.
const DATA_COST_MAX: usize = 32 * 1024 * 1024;

impl Host for State {
    fn current(&mut self) -> Execution {
        let in_run = self.call.in_run.as_deref();
        Execution {
            idempotency_key: self.idempotency_key(),
            execution_id: self.call.execution_id.to_string(),
            module: self.call.module.name.to_string(),
            version: self.call.module.version.to_string(),
            function: self.call.function.clone(),
            job: in_run.map(|run| run.job.to_string()),
            run_id: in_run.map(|run| run.run_id.to_string()),
            step_id: in_run.map(|run| run.step.to_string()),
            attempt: in_run.map_or(1, |run| run.attempt),
        }
    }

    fn get(&mut self, key: String) -> Result<Option<String>, HostError> {
        let call = HostCall::begin(self, "context.get")?;
        call.end(self.context.get(&key))
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
    working: Working,
}

#[derive(Debug)]
enum Working {
    /// Parsed when it is first asked for: most steps never do.
    Unread,
    /// Only passed on.
    TooLarge,
    Read(Data),
}

#[derive(Debug)]
struct Data {
    tree: Value,
    /// That of `tree`, always.
    cost: usize,
    changed: bool,
}

impl Context {
    /// `given` is an object; nothing is an empty one.
    pub(in crate::runtime) const fn new(given: Option<JsonText>) -> Self {
        Self { given, working: Working::Unread }
    }

    /// The data as the step left it.
    pub(in crate::runtime) fn finish(&mut self) -> Option<JsonText> {
        match &self.working {
            Working::Read(data) if data.changed => Some(JsonText::of(&data.tree)),
            _ => self.given.take(),
        }
    }

    fn data(&mut self) -> Result<&mut Data, HostError> {
        if matches!(self.working, Working::Unread) {
            let text = self.given.as_ref().map_or("{}", JsonText::as_str);
            // The text has been checked: the only reason for no tree is its size.
            self.working = tree::parse(text, DATA_COST_MAX).map_or(Working::TooLarge, |tree| {
                let cost = tree::cost(&tree);
                Working::Read(Data { tree, cost, changed: false })
            });
        }
        match &mut self.working {
            Working::Read(data) => Ok(data),
            Working::Unread | Working::TooLarge => Err(too_large()),
        }
    }

    fn get(&mut self, key: &str) -> Result<Option<String>, HostError> {
        let tree = &self.data()?.tree;
        let found = if key.starts_with('/') { tree.pointer(key) } else { tree.get(key) };
        Ok(found.map(Value::to_string))
    }

    fn set(&mut self, key: &str, json: &str) -> Result<(), HostError> {
        if key.len().saturating_add(json.len()) > DATA_COST_MAX {
            return Err(too_large());
        }
        let path = parse_key(key)?;
        let data = self.data()?;
        let Change { made, freed } = survey(&data.tree, &path)?;
        let room = (DATA_COST_MAX + freed).checked_sub(data.cost + made).ok_or_else(too_large)?;
        let value = tree::parse(json, room).map_err(|no_tree| match no_tree {
            NoTree::TooLarge => too_large(),
            NoTree::NotJson(error) => invalid(format!("the value is not JSON: {error}")),
        })?;
        if path.len() + depth(&value) > JSON_DEPTH_MAX {
            return Err(too_deep());
        }
        data.cost = (data.cost + made + tree::cost(&value)).saturating_sub(freed);
        *make(&mut data.tree, &path)? = value;
        data.changed = true;
        Ok(())
    }
}

fn too_large() -> HostError {
    HostError::LimitExceeded(format!("data may take {DATA_COST_MAX} bytes of the gateway's memory"))
}

fn too_deep() -> HostError {
    HostError::LimitExceeded(format!("data may be {JSON_DEPTH_MAX} levels deep"))
}

fn invalid(text: String) -> HostError {
    HostError::InvalidArgument(text)
}

/// The names on the way to a value: a JSON Pointer (RFC 6901) or one top-level name.
fn parse_key(key: &str) -> Result<Vec<String>, HostError> {
    let Some(pointer) = key.strip_prefix('/') else { return Ok(vec![key.to_owned()]) };
    // Counted before it is cut: a name costs more than its slash.
    if pointer.matches('/').count() >= JSON_DEPTH_MAX {
        return Err(too_deep());
    }
    Ok(pointer.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

/// The place of a value, with the objects on the way to it. Elements of arrays can
/// be replaced, and one appended with `-` or the index past the last. Fails only
/// where `survey` did.
fn make<'a>(data: &'a mut Value, path: &[String]) -> Result<&'a mut Value, HostError> {
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

/// What setting a value makes besides it, and what it frees.
struct Change {
    made: usize,
    freed: usize,
}

/// Looks at the way before anything is made: what is refused changes nothing.
fn survey(data: &Value, path: &[String]) -> Result<Change, HostError> {
    let mut value = data;
    let mut rest = path.iter();
    while let Some(token) = rest.next() {
        let (next, name) = match value {
            Value::Object(object) => (object.get(token), tree::text_cost(token)),
            Value::Array(array) => {
                let index = if token == "-" { Some(array.len()) } else { array_index(token) };
                match index {
                    Some(index) if index <= array.len() => (array.get(index), 0),
                    _ => return Err(invalid(format!("the array has no element {token}"))),
                }
            }
            _ => return Err(invalid(format!("what is above {token} is neither an object nor an array"))),
        };
        let Some(next) = next else {
            let below: usize = rest.map(|token| tree::OBJECT_BYTES + tree::text_cost(token)).sum();
            return Ok(Change { made: name + below, freed: 0 });
        };
        value = next;
    }
    Ok(Change { made: 0, freed: tree::cost(value) })
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
        let huge = format!("\"{}\"", "x".repeat(DATA_COST_MAX));
        assert!(matches!(context.set("b", &huge), Err(HostError::LimitExceeded(_))));
        assert_eq!(serde_json::from_str::<Value>(context.finish().unwrap().as_str()).unwrap(), data);
    }

    #[test]
    fn overwriting_a_value_again_and_again_does_not_use_up_the_bound() {
        let mut context = context(&json!({}));
        let value = format!("\"{}\"", "x".repeat(DATA_COST_MAX / 4));
        for _ in 0..20 {
            context.set("same", &value).unwrap();
        }
    }

    #[test]
    fn data_that_nobody_touched_keeps_its_text() {
        let text = "{\"n\": 1.50, \"n2\" : 12345678901234567890123}";
        let mut context = Context::new(Some(JsonText::parse(text).unwrap()));
        context.get("n").unwrap();
        assert_eq!(context.finish().unwrap().as_str(), text);
    }

    #[test]
    fn short_text_that_makes_a_large_tree_is_refused() {
        let objects = format!("[{}0]", "{\"\":0},".repeat(100_000));
        assert!(matches!(context(&json!({})).set("a", &objects), Err(HostError::LimitExceeded(_))));
        let numbers = format!("[{}0]", "0,".repeat(1_000_000));
        assert!(matches!(context(&json!({})).set("a", &numbers), Err(HostError::LimitExceeded(_))));
        let hidden = json!({ "$serde_json::private::RawValue": objects }).to_string();
        let mut context = context(&json!({}));
        context.set("a", &hidden).unwrap();
        assert_eq!(context.get("a").unwrap(), Some(hidden));
    }

    #[test]
    fn data_that_makes_too_large_a_tree_is_only_passed_on() {
        let text = format!("{{\"a\":[{}0]}}", "{\"\":0},".repeat(100_000));
        let mut context = Context::new(Some(JsonText::parse(&text).unwrap()));
        assert!(matches!(context.get("a"), Err(HostError::LimitExceeded(_))));
        assert!(matches!(context.set("b", "1"), Err(HostError::LimitExceeded(_))));
        assert_eq!(context.finish().unwrap().as_str(), text);
    }

    proptest! {
        #[test]
        fn the_cost_is_that_of_the_tree_after_any_sets(
            sets in prop::collection::vec(("(/?[ab])?(/[ab01-]){0,3}", crate::model::any_json()), 1..20)
        ) {
            let mut context = Context::new(None);
            for (key, value) in &sets {
                let before = context.data().unwrap().tree.clone();
                let set = context.set(key, &value.to_string());
                let data = context.data().unwrap();
                prop_assert_eq!(data.cost, tree::cost(&data.tree));
                prop_assert!(set.is_ok() || data.tree == before);
            }
        }

        #[test]
        fn what_is_set_is_got(keys in prop::collection::vec("[a-z~/]{0,6}", 1..6), value in "[ -~]{0,40}") {
            let mut context = Context::new(None);
            let json = Value::String(value).to_string();
            for key in &keys {
                if context.set(key, &json).is_ok() {
                    prop_assert_eq!(context.get(key).unwrap(), Some(json.clone()));
                }
            }
        }
    }
}
