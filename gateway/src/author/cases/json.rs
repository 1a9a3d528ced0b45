//! The values of cases: JSON whose numbers keep their digits.
//!
//! Owns the tree, and when two of them are the same. Invariant: what is read is written again with the same digits and
//! the same order of members, whatever a double could hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::number::Number;
use crate::model::JSON_DEPTH_MAX;

/// Around an answer's body there are four in a case: `{"http": [{"response": {"body": …}}]}`. Without them every
/// document that a gateway takes could not be written in a case.
const DEPTH_MAX: usize = JSON_DEPTH_MAX + 4;

/// A JSON document.
#[derive(Debug, Clone)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// As it is written.
    Number(Number),
    /// A string, without its escapes.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of the document; of members with the same name the last one counts.
    Object(Vec<(String, Json)>),
}

/// Why a text is no document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// A string is no Unicode.
    #[error("{reason} at line {line}")]
    Text {
        /// What it has.
        reason: String,
        /// Where it begins.
        line: usize,
    },
    /// No gateway takes it.
    #[error("lists and objects nest deeper than {JSON_DEPTH_MAX} levels")]
    TooDeep,
}

impl Json {
    /// Reads a document.
    ///
    /// # Errors
    /// It is none, or nests too deep.
    pub fn parse(text: &str) -> Result<Self, Error> {
        read(text, serde_json::from_str(text)?, DEPTH_MAX)
    }

    /// The document of a value; `null` for one that JSON doesn't have.
    #[must_use]
    pub fn of(value: &(impl Serialize + ?Sized)) -> Self {
        let text = serde_json::to_string(value).unwrap_or_default();
        Self::parse(&text).unwrap_or(Self::Null)
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// For a member of a struct: `null` is a value, and only absence is none.
    pub(crate) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(Some)
    }
}

/// One level at a time: text that is raw is passed over without recursion, and keeps its digits. `whole` is what the
/// document is part of.
fn read(whole: &str, raw: &RawValue, levels: usize) -> Result<Json, Error> {
    let text = raw.get();
    let is_nested = text.starts_with(['{', '[']);
    let levels = levels.checked_sub(usize::from(is_nested)).ok_or(Error::TooDeep)?;
    let failed = |error: serde_json::Error| Error::at(whole, text, &error);
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(failed)?;
            let member = |(name, raw)| Ok((name, read(whole, raw, levels)?));
            Json::Object(members.into_iter().map(member).collect::<Result<_, Error>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(failed)?;
            Json::List(items.into_iter().map(|raw| read(whole, raw, levels)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Json::Text(serde_json::from_str(text).map_err(failed)?),
        Some(b't') => Json::Bool(true),
        Some(b'f') => Json::Bool(false),
        Some(b'n') => Json::Null,
        _ => Json::Number(Number::new(text)),
    })
}

impl Error {
    /// Where `part` is in the document, for an error that only knows the part.
    fn at(whole: &str, part: &str, error: &serde_json::Error) -> Self {
        let offset = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        let before = whole.get(..offset).unwrap_or_default().matches('\n').count();
        let text = error.to_string();
        let reason = text.split_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
        Self::Text { reason, line: before + error.line() }
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// From JSON text only, whose digits it keeps.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => {
                let raw: &RawValue = serde_json::from_str(number.as_str()).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, value))),
        }
    }
}

/// On one line.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// By value: the order of an object's members is none, and a number is what it is worth.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Number(one), Self::Number(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::List(one), Self::List(other)) => one == other,
            (Self::Object(one), Self::Object(other)) => by_name(one) == by_name(other),
            (Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) | Self::Object(_), _) => {
                false
            }
        }
    }
}

/// The members of an object to look up, in the order of their names.
pub(super) fn by_name(members: &[(String, Json)]) -> BTreeMap<&str, &Json> {
    members.iter().map(|(name, value)| (name.as_str(), value)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::model::any_json;

    #[test]
    fn digits_and_the_order_of_members_stay_as_they_are_written() {
        let text = r#"{"b":12345678901234567890123,"a":[1.50,1e400,-0,0.10000000000000000001],"ü":"\"x","n":null,"t":true,"f":false}"#;
        let document = Json::parse(text).unwrap();
        assert_eq!(document.to_string(), text);
        assert_eq!(Json::parse(&serde_json::to_string_pretty(&document).unwrap()).unwrap(), document);
        let other = text.replace("90123", "90124");
        assert_ne!(Json::parse(&other).unwrap(), document);
    }

    #[test]
    fn of_members_with_the_same_name_the_last_one_counts() {
        assert_eq!(Json::parse(r#"{"a":1,"a":2}"#).unwrap(), Json::parse(r#"{"a":2.0}"#).unwrap());
    }

    #[test]
    fn what_is_no_document_is_told_with_its_line() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(&nested(DEPTH_MAX)).is_ok());
        for (text, why) in [
            (nested(DEPTH_MAX + 1).as_str(), "deeper than 127 levels"),
            (nested(100_000).as_str(), "deeper than 127 levels"),
            ("{\n\"a\": 1,\n", "line 3"),
            ("{\n\"a\":\n\"\\ud800\"}", "line 3"),
            ("[1,\n{\"\\udc00\": 1}]", "line 2"),
            ("01", "line 1"),
            ("", "line 1"),
        ] {
            let said = Json::parse(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn two_documents_are_equal_as_their_values_are(one in any_json(), other in any_json()) {
            prop_assert_eq!(Json::of(&one) == Json::of(&other), one == other);
            let written: Value = serde_json::from_str(&Json::of(&one).to_string()).unwrap();
            prop_assert_eq!(written, one);
        }
    }
}
