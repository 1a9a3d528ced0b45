//! JSON as minijinja sees it, converted where it is looked at.
//!
//! Invariant: what was converted once is kept for the evaluation, so that a text is copied at most once however often
//! an expression names it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde_json::Value as Json;

use super::{Context, StepView};
use crate::model::job::StepId;

static NULL: Json = Json::Null;

/// All that an expression can name.
pub(super) fn root(context: &Context, env: &Value) -> Value {
    let run = &context.run;
    let run = Value::from_pairs([
        ("id", Value::from(run.id.to_string())),
        ("job", Value::from(run.job.as_str())),
        ("revision", Value::from(run.revision)),
        ("created_at", Value::from(run.created_at.to_string())),
    ]);
    Value::from_pairs([
        ("trigger", of(&context.trigger)),
        ("data", of(&context.data)),
        ("steps", Value::from_object(Steps { steps: Arc::clone(&context.steps), seen: Mutex::default() })),
        ("run", run),
        ("env", env.clone()),
    ])
}

/// `env`, converted once for each revision.
pub(super) fn env(env: &BTreeMap<String, String>) -> Value {
    Value::from_pairs(env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// A document.
fn of(json: &Arc<Json>) -> Value {
    scalar(json).unwrap_or_else(|| {
        Value::from_object(Node { root: Arc::clone(json), path: Vec::new(), seen: Mutex::default() })
    })
}

fn scalar(json: &Json) -> Option<Value> {
    match json {
        Json::Null => Some(Value::from(())),
        Json::Bool(value) => Some(Value::from(*value)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Some(Value::from(number)),
            (None, Some(number)) => Some(Value::from(number)),
            (None, None) => number.as_f64().map(Value::from),
        },
        Json::String(text) => Some(Value::from(text.as_str())),
        Json::Array(_) | Json::Object(_) => None,
    }
}

/// A list or an object within a document.
#[derive(Debug)]
pub(super) struct Node {
    root: Arc<Json>,
    path: Vec<Key>,
    seen: Mutex<HashMap<Key, Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(Arc<str>),
    Index(usize),
}

impl Key {
    fn of<'j>(&self, json: &'j Json) -> Option<&'j Json> {
        match self {
            Self::Name(name) => json.get(&**name),
            Self::Index(index) => json.get(*index),
        }
    }
}

impl Node {
    pub(super) fn json(&self) -> &Json {
        self.path.iter().try_fold(&*self.root, |at, key| key.of(at)).unwrap_or(&NULL)
    }

    fn member(&self, key: Key) -> Option<Value> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = seen.get(&key) {
            return Some(value.clone());
        }
        let json = key.of(self.json())?;
        let value = scalar(json).unwrap_or_else(|| {
            let path = self.path.iter().cloned().chain([key.clone()]).collect();
            Value::from_object(Self { root: Arc::clone(&self.root), path, seen: Mutex::default() })
        });
        seen.insert(key, value.clone());
        Some(value)
    }
}

impl Object for Node {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.json().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.json() {
            Json::Array(_) => self.member(Key::Index(key.as_usize()?)),
            _ => self.get_value_by_str(key.as_str()?),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.json().get(key)?;
        self.member(Key::Name(Arc::from(key)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json() {
            Json::Array(items) => Enumerator::Seq(items.len()),
            Json::Object(members) => {
                Enumerator::Values(members.keys().map(|name| Value::from(name.as_str())).collect())
            }
            _ => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.json() {
            Json::Array(items) => Some(items.len()),
            Json::Object(members) => Some(members.len()),
            _ => Some(0),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.json())
    }
}

/// `steps`.
#[derive(Debug)]
struct Steps {
    steps: Arc<BTreeMap<StepId, StepView>>,
    seen: Mutex<HashMap<StepId, Value>>,
}

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let (id, step) = self.steps.get_key_value(key)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let view = || {
            let output = step.output.as_ref().map_or_else(|| Value::from(()), of);
            Value::from_pairs([("status", Value::from(step.status.as_str())), ("output", output)])
        };
        Some(seen.entry(id.clone()).or_insert_with(view).clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.steps.keys().map(|id| Value::from(id.as_str())).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.steps.len())
    }
}
