//! JSON text that has been checked once and is passed on as it is.
//!
//! Parsing into a tree and writing it out again costs more than a small guest
//! runs, and changes what the author sees (order, number format). So text stays
//! text; what is checked is that a tree could be made of it.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep arrays and objects may nest; `serde_json`'s own recursion limit,
/// which keeps a parser's stack within a thread's.
pub const JSON_DEPTH_MAX: usize = 127;

/// One JSON document as text: well-formed, at most [`JSON_DEPTH_MAX`] deep, every
/// number representable as `i64`, `u64` or finite `f64`, every string as Unicode.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

/// Why a text is not JSON, with the position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(String);

impl JsonText {
    /// Checks `text`.
    ///
    /// # Errors
    /// Tells what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, NotJson> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// Any text: as it is where it is JSON, else as a JSON string.
    #[must_use]
    pub fn parse_or_string(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|_| Self::of(text))
    }

    /// The text of a value; `null` for one that JSON doesn't have.
    #[must_use]
    pub fn of(value: &(impl serde::Serialize + ?Sized)) -> Self {
        serde_json::to_string(value).map_or_else(|_| Self::null(), |text| Self(Arc::from(text)))
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::from("null"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the document is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.as_str().trim_start().starts_with('{')
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Becomes part of a larger JSON document, as it is.
impl serde::Serialize for JsonText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// One JSON object as text, to be passed on as it is.
#[derive(Clone)]
pub struct JsonObject(Box<RawValue>);

impl JsonObject {
    /// The object that a map or a struct is written as; an empty one for what JSON doesn't have.
    #[must_use]
    pub fn of(value: &(impl serde::Serialize + ?Sized)) -> Self {
        serde_json::to_string(value).ok().and_then(Self::parse).unwrap_or_default()
    }

    /// The object that `text` is, if it is one.
    #[must_use]
    pub fn parse(text: String) -> Option<Self> {
        RawValue::from_string(text).ok().and_then(Self::from_raw)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    fn from_raw(raw: Box<RawValue>) -> Option<Self> {
        raw.get().starts_with('{').then_some(Self(raw))
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_default())
    }
}

impl PartialEq for JsonObject {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for JsonObject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// From JSON text only, which is copied without a look into it.
impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(raw).ok_or_else(|| serde::de::Error::custom("an object was expected"))
    }
}

fn check(text: &str) -> Result<(), NotJson> {
    serde_json::from_str::<Representable>(text).map(|_| ()).map_err(|error| NotJson(error.to_string()))
}

/// Visits a whole document without keeping any of it. Unlike `IgnoredAny` it
/// makes the parser convert every number and unescape every string, so that
/// `1e400` and a lone surrogate are errors, and it is subject to the recursion
/// limit.
struct Representable;

impl<'de> Deserialize<'de> for Representable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RepresentableVisitor)
    }
}

struct RepresentableVisitor;

impl<'de> Visitor<'de> for RepresentableVisitor {
    type Value = Representable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Representable, E> {
        Ok(Representable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Representable, E> {
        Ok(Representable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Representable, E> {
        Ok(Representable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Representable, E> {
        Ok(Representable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Representable, E> {
        Ok(Representable)
    }

    fn visit_unit<E>(self) -> Result<Representable, E> {
        Ok(Representable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Representable, A::Error> {
        while seq.next_element::<Representable>()?.is_some() {}
        Ok(Representable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Representable, A::Error> {
        while map.next_entry::<Representable, Representable>()?.is_some() {}
        Ok(Representable)
    }
}

/// Any JSON value, for property tests.
#[cfg(test)]
pub(crate) fn any_json() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    use serde_json::Value;

    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_that_no_value_can_hold_is_refused() {
        for text in ["1e400", "-1e999", r#""\ud800""#, r#"{"\udc00":1}"#, "", "{", "nul", "01", "[1,]", "NaN"] {
            assert!(JsonText::parse(text).is_err(), "{text}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(JsonText::parse(&nested(JSON_DEPTH_MAX)).is_ok());
        assert!(JsonText::parse(&nested(JSON_DEPTH_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_made_into_a_tree(text in "\\PC{0,60}") {
            let taken = JsonText::parse(&text).is_ok();
            prop_assert_eq!(taken, serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }

        #[test]
        fn every_tree_is_taken_as_text(value in any_json()) {
            let text = value.to_string();
            let taken = JsonText::parse(&text).unwrap();
            prop_assert_eq!(taken.as_str(), text);
        }
    }
}
