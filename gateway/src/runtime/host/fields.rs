//! The fields of a log line: from a guest's names and JSON to the text of one object.
//!
//! Owns what of a field is kept. Invariant: whatever a guest passes, the text is an
//! object with each name once, which any JSON parser of ours can make a tree of.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::JsonObject;

/// How deep a field's arrays and objects may nest: a reader of the record adds levels
/// of its own, and must stay within its parser's recursion limit.
const DEPTH_MAX: usize = 64;

/// A name that `serde_json`'s reader takes for its own: JSON in a string follows.
const RESERVED_NAME: &str = "$serde_json::private::RawValue";

/// Up to so many names, looking at each is quicker than hashing them.
const NAMES_COMPARED_MAX: usize = 16;

/// The fields of one line, as they are added.
#[derive(Debug)]
pub(super) struct Fields {
    text: String,
    names: Names,
}

#[derive(Debug)]
enum Names {
    Few(Vec<String>),
    Many(HashSet<String>),
}

impl Fields {
    /// For about `count` fields.
    pub(super) fn with_capacity(count: usize) -> Self {
        let names = if count <= NAMES_COMPARED_MAX {
            Names::Few(Vec::with_capacity(count))
        } else {
            Names::Many(HashSet::new())
        };
        Self { text: "{".to_owned(), names }
    }

    /// Adds a field, unless there is one of this name, or readers take the name for another thing: as it is where it is JSON, else as a string.
    pub(super) fn add(&mut self, name: &str, json: &str) {
        if name == RESERVED_NAME || !self.names.insert(name) {
            return;
        }
        if self.text.len() > 1 {
            self.text.push(',');
        }
        push_string(&mut self.text, name);
        self.text.push(':');
        if is_readable(json) {
            self.text.push_str(json.trim_ascii());
        } else {
            push_string(&mut self.text, json);
        }
    }

    pub(super) fn finish(mut self) -> JsonObject {
        if self.text.len() == 1 {
            return JsonObject::default();
        }
        self.text.push('}');
        JsonObject::parse(self.text).unwrap_or_default()
    }
}

impl Names {
    /// Whether the name is new.
    fn insert(&mut self, name: &str) -> bool {
        match self {
            Self::Few(names) => {
                let is_new = names.iter().all(|other| other != name);
                if is_new {
                    names.push(name.to_owned());
                }
                is_new
            }
            Self::Many(names) => names.insert(name.to_owned()),
        }
    }
}

fn push_string(text: &mut String, value: &str) {
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        // Text is always written.
        text.push_str(&serde_json::to_string(value).unwrap_or_default());
    }
}

fn is_readable(json: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Readable { levels: DEPTH_MAX }.deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
}

/// Visits a whole value, and keeps nothing of it.
#[derive(Clone, Copy)]
struct Readable {
    levels: usize,
}

impl Readable {
    fn below<E: Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Readable {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while seq.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while map.next_key_seed(Name)?.is_some() {
            map.next_value_seed(below)?;
        }
        Ok(())
    }
}

/// A name that no reader takes for anything else.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        if name == RESERVED_NAME { Err(E::custom("a reserved name")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::model::{Level, LogLine};

    fn fields(pairs: &[(&str, &str)]) -> JsonObject {
        let mut fields = Fields::with_capacity(pairs.len());
        for (name, json) in pairs {
            fields.add(name, json);
        }
        fields.finish()
    }

    fn read(fields: &JsonObject) -> Map<String, Value> {
        serde_json::from_str(fields.as_str()).unwrap()
    }

    #[test]
    fn any_field_can_be_read_back_from_a_record() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let reserved = format!(r#"{{"a":1,"{RESERVED_NAME}":"no JSON"}}"#);
        let escaped = reserved.replace('$', "\\u0024");
        for json in [nested(DEPTH_MAX), nested(DEPTH_MAX + 1), nested(127), reserved, escaped, "1e400".to_owned()] {
            let fields = fields(&[("field", &json)]);
            let line = LogLine { at: Timestamp::UNIX_EPOCH, level: Level::Info, message: String::new(), fields };
            let record = serde_json::to_string(&[[[&line]]]).unwrap();
            let read: [[[LogLine; 1]; 1]; 1] = serde_json::from_str(&record).unwrap();
            assert_eq!(read, [[[line]]]);
            assert!(serde_json::from_str::<Value>(&record).is_ok(), "{record}");
        }
        assert!(read(&fields(&[("field", &nested(DEPTH_MAX))]))["field"].is_array());
        assert_eq!(read(&fields(&[("field", &nested(DEPTH_MAX + 1))]))["field"], nested(DEPTH_MAX + 1));
        assert!(read(&fields(&[("field", "{\"\\u0024serde_json::private::RawValue\":\"\"}")]))["field"].is_string());
    }

    proptest! {
        #[test]
        fn each_name_is_there_once_with_its_first_value(
            pairs in prop::collection::vec(("[ab\"\\\\\n\u{e9}]{0,2}", "[0-9a\" ]{0,3}|\\PC{0,5}"), 0..40)
        ) {
            let mut expected = BTreeMap::new();
            for (name, json) in &pairs {
                let value = serde_json::from_str::<Value>(json).unwrap_or_else(|_| Value::from(json.as_str()));
                expected.entry(name.clone()).or_insert(value);
            }
            let pairs: Vec<_> = pairs.iter().map(|(name, json)| (name.as_str(), json.as_str())).collect();
            prop_assert_eq!(read(&fields(&pairs)).into_iter().collect::<BTreeMap<_, _>>(), expected);
        }
    }
}
