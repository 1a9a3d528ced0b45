//! JSON objects in which no member is there twice.
//!
//! Readers disagree on which of two members of one name counts, so such a text may say one thing to whoever checks it
//! and another to us. Owns the refusal, for all that is read into something. Does not own text that is only passed on
//! (`json`). Invariant: no member is lost silently.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::error::{NAME_CHARACTERS_MAX, shortened};

/// The members of one object, by name. What their values hold is for `V` to say.
#[derive(Debug)]
pub struct DistinctMembers<V>(pub BTreeMap<String, V>);

/// A value all of whose objects, at any depth, have distinct members.
#[derive(Debug)]
pub struct DistinctValue(pub Value);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for DistinctMembers<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for MembersVisitor<V> {
    type Value = DistinctMembers<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctMembers<V>, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            if members.contains_key(&name) {
                let name = shortened(&name, NAME_CHARACTERS_MAX);
                return Err(A::Error::custom(format_args!("{name} is there twice")));
            }
            members.insert(name, value);
        }
        Ok(DistinctMembers(members))
    }
}

impl<'de> Deserialize<'de> for DistinctValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(DistinctValue(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        let DistinctMembers(members) = MembersVisitor::<DistinctValue>(PhantomData).visit_map(map)?;
        Ok(Value::Object(members.into_iter().map(|(name, DistinctValue(value))| (name, value)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(text).map(|DistinctValue(value)| value)
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_at_any_depth() {
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "c": 2, "\u0061": 3}}]"#] {
            let error = read(text).unwrap_err();
            assert!(error.is_data() && error.to_string().starts_with("a is there twice"), "{error}");
        }
        assert_eq!(read(r#"[{"a": 1}, {"a": {"a": 2}}]"#).unwrap(), serde_json::json!([{"a": 1}, {"a": {"a": 2}}]));
        let long = "x".repeat(10_000);
        assert!(read(&format!(r#"{{"{long}": 1, "{long}": 1}}"#)).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn what_is_no_json_is_no_mistake_of_data() {
        for text in ["", "{", "1e400", "[1] 2", &"[".repeat(100_000)] {
            assert!(!read(text).unwrap_err().is_data(), "{text:.10}");
        }
    }

    proptest! {
        #[test]
        fn p_a_value_without_such_members_is_read_as_by_serde(value in crate::model::any_json()) {
            let text = value.to_string();
            prop_assert_eq!(read(&text).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
