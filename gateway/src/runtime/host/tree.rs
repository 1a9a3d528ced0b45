//! JSON trees made of text that a guest or a caller wrote.
//!
//! Owns what a tree costs in the host's memory. Invariant: nothing is made past the
//! bound that is given, and what is made has the text's own nodes only.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What a value or a name costs besides its text: its place in an array that grows
/// by doubling or in a half-filled B-tree node, and the allocation of its text.
const NODE_BYTES: usize = 64;

/// What an object costs besides its names and values: a B-tree node has room for
/// eleven, and is allocated for one.
pub(super) const OBJECT_BYTES: usize = NODE_BYTES + 640;

/// Why there is no tree.
#[derive(Debug)]
pub(super) enum NoTree {
    TooLarge,
    NotJson(serde_json::Error),
}

/// The tree of `json`, if it costs no more than `cost_max`.
pub(super) fn parse(json: &str, cost_max: usize) -> Result<Value, NoTree> {
    let mut budget = Budget { left: Some(cost_max) };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = Tree(&mut budget).deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) if budget.left.is_none() => Err(NoTree::TooLarge),
        Err(error) => Err(NoTree::NotJson(error)),
    }
}

/// About how many bytes of the host's memory a tree takes; its text is never longer.
pub(super) fn cost(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE_BYTES,
        Value::String(text) => text_cost(text),
        Value::Array(array) => NODE_BYTES + array.iter().map(cost).sum::<usize>(),
        Value::Object(object) => {
            OBJECT_BYTES + object.iter().map(|(name, value)| text_cost(name) + cost(value)).sum::<usize>()
        }
    }
}

/// The cost of a string or a name. It is charged as it is written, with its escapes:
/// `\u0000` is one byte in a tree and six when the tree is passed on.
pub(super) fn text_cost(text: &str) -> usize {
    let written = |byte: u8| match byte {
        0..=0x1f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    NODE_BYTES + text.bytes().map(written).sum::<usize>()
}

struct Budget {
    /// `None` once it was not enough.
    left: Option<usize>,
}

impl Budget {
    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.left = self.left.and_then(|left| left.checked_sub(bytes));
        self.left.map(|_| ()).ok_or_else(|| E::custom("too large"))
    }
}

/// Makes a tree and pays for each node first. `Value`'s own parser would make more
/// than the text's nodes: it takes an object with a certain private name for JSON
/// in a string.
struct Tree<'a>(&'a mut Budget);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.0.take(NODE_BYTES).map(|()| Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.0.take(NODE_BYTES).map(|()| Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.0.take(NODE_BYTES).map(|()| Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.0.take(NODE_BYTES).map(|()| Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.0.take(NODE_BYTES).map(|()| Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.take(text_cost(text)).map(|()| Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.take(NODE_BYTES)?;
        let mut array = Vec::new();
        while let Some(value) = seq.next_element_seed(Tree(&mut *self.0))? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.take(OBJECT_BYTES)?;
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            self.0.take(text_cost(&name))?;
            let value = map.next_value_seed(Tree(&mut *self.0))?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_in_a_string_stays_a_string() {
        for json in [
            r#"{"$serde_json::private::RawValue":"[{},{}]"}"#,
            r#"{"a":1,"\u0024serde_json::private::RawValue":"no JSON"}"#,
        ] {
            let value = parse(json, usize::MAX).unwrap();
            assert!(value["$serde_json::private::RawValue"].is_string(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_tree_is_made_if_and_only_if_its_cost_is_within_the_bound(value in crate::model::any_json()) {
            let (text, cost) = (value.to_string(), cost(&value));
            prop_assert!(text.len() <= cost);
            prop_assert_eq!(parse(&text, cost).ok(), Some(serde_json::from_str::<Value>(&text).unwrap()));
            prop_assert!(matches!(parse(&text, cost - 1), Err(NoTree::TooLarge)));
        }

        #[test]
        fn a_tree_is_made_of_the_same_text_as_any_parser_does(text in "[\\[\\]{}:,\"a0-9.e \\\\-]{0,12}") {
            prop_assert_eq!(parse(&text, usize::MAX).ok(), serde_json::from_str::<Value>(&text).ok());
        }
    }
}
