//! The body of an invoke request: cut into texts, checked, not made into trees.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Code, FieldError, NAME_CHARACTERS_MAX, pointer, shortened};
use crate::model::{DistinctMembers, JsonText, Limits, whole_number};

/// Variables of one call, and their names and values together: what fits a
/// process's environment on small systems.
const ENV_ENTRIES_MAX: usize = 200;
const ENV_BYTES_MAX: usize = 64 * 1024;

/// How long `env` may be as JSON: all of it escaped, and the rest of its text.
const ENV_TEXT_BYTES_MAX: usize = 8 * ENV_BYTES_MAX;

/// How long `limits` may be: three numbers and any amount of white space.
const LIMITS_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Mistakes that are told one by one, and how much of what a parser says: an answer is
/// not to be larger than the request.
const MISTAKES_MAX: usize = 20;
const PARSER_CHARACTERS_MAX: usize = 200;

/// What a caller asks for.
#[derive(Debug, PartialEq)]
pub(super) struct InvokeRequest {
    pub(super) input: JsonText,
    /// An object.
    pub(super) data: Option<JsonText>,
    pub(super) env: Vec<(String, String)>,
    pub(super) limits: Limits,
}

/// Why a body is no request: all mistakes at once, or the first of many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRequest {
    pub(super) code: Code,
    pub(super) detail: String,
    pub(super) errors: Vec<FieldError>,
}

impl InvokeRequest {
    /// Reads a body; an empty one asks for nothing.
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let Members { input, data, env, limits, unknown } = members(body)?;
        let mut mistakes = Mistakes::default();
        for name in &unknown.first {
            mistakes.unknown("", name, "input, data, env, limits");
        }
        mistakes.more_unknown(unknown.more);
        let input = input.map_or_else(|| Some(JsonText::null()), |raw| mistakes.json("/input", raw));
        let data = data.and_then(|raw| mistakes.object("/data", raw));
        let env = env.map_or_else(Vec::new, |raw| read_env(raw, &mut mistakes));
        let limits = limits.map_or_else(Limits::default, |raw| read_limits(raw, &mut mistakes));
        let input = mistakes.none_or(input)?;
        Ok(Self { input: input.unwrap_or_else(JsonText::null), data, env, limits })
    }
}

fn members(body: &[u8]) -> Result<Members<'_>, BadRequest> {
    if body.is_empty() {
        return Ok(Members::default());
    }
    serde_json::from_slice(body).map_err(|error| BadRequest {
        code: Code::BadRequest,
        detail: format!("the body is not a JSON object: {}", shortened(&error.to_string(), PARSER_CHARACTERS_MAX)),
        errors: Vec::new(),
    })
}

/// The members as they stand in the body.
#[derive(Default)]
struct Members<'a> {
    input: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    env: Option<&'a RawValue>,
    limits: Option<&'a RawValue>,
    unknown: Unknown,
}

/// The first names that are not known, and how many more there are.
#[derive(Default)]
struct Unknown {
    first: Vec<String>,
    more: usize,
}

impl Unknown {
    fn add(&mut self, name: &str) {
        if self.first.len() < MISTAKES_MAX {
            self.first.push(shortened(name, NAME_CHARACTERS_MAX).into_owned());
        } else {
            self.more += 1;
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Reads the members by hand so that several unknown ones are told, not only the first.
struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with input, data, env and limits")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let slot = match name.as_ref() {
                "input" => &mut members.input,
                "data" => &mut members.data,
                "env" => &mut members.env,
                "limits" => &mut members.limits,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    members.unknown.add(&name);
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::custom(format_args!("{name} is there twice")));
            }
        }
        Ok(members)
    }
}

#[derive(Default)]
struct Mistakes {
    /// The first of them.
    errors: Vec<FieldError>,
    count: usize,
    unknown: usize,
}

impl Mistakes {
    fn unknown(&mut self, parent: &str, name: &str, known: &str) {
        self.unknown += 1;
        let message = format!("{} is not known; known are {known}", shortened(name, NAME_CHARACTERS_MAX));
        self.add(pointer(parent, name), "unknown-field", message);
    }

    /// Only counts.
    fn more_unknown(&mut self, count: usize) {
        self.unknown += count;
        self.count += count;
    }

    fn add(&mut self, path: String, code: &str, message: impl Into<String>) {
        self.count += 1;
        if self.errors.len() < MISTAKES_MAX {
            self.errors.push(FieldError::new(path, code, message));
        }
    }

    fn json(&mut self, path: &str, raw: &RawValue) -> Option<JsonText> {
        JsonText::parse(raw.get()).map_err(|error| self.add(path.to_owned(), "malformed", error.to_string())).ok()
    }

    /// `null` is as good as nothing.
    fn object(&mut self, path: &str, raw: &RawValue) -> Option<JsonText> {
        if raw.get() == "null" {
            return None;
        }
        let json = self.json(path, raw)?;
        if json.is_object() {
            return Some(json);
        }
        self.add(path.to_owned(), "wrong-type", "an object is wanted");
        None
    }

    /// The members of an object as they stand, by name.
    fn map<'a>(&mut self, path: &str, raw: &'a RawValue) -> BTreeMap<String, &'a RawValue> {
        if self.object(path, raw).is_none() {
            return BTreeMap::new();
        }
        match serde_json::from_str(raw.get()) {
            Ok(DistinctMembers(members)) => members,
            Err(error) => {
                self.add(path.to_owned(), "duplicate", error.to_string());
                BTreeMap::new()
            }
        }
    }

    fn none_or<T>(self, value: T) -> Result<T, BadRequest> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        let code = if self.unknown == self.count { Code::UnknownField } else { Code::BadRequest };
        let mut detail =
            self.errors.iter().map(|error| format!("{}: {}", error.path, error.message)).collect::<Vec<_>>().join("; ");
        let more = self.count - self.errors.len();
        if more > 0 {
            detail += &format!("; and {more} more");
        }
        Err(BadRequest { code, detail, errors: self.errors })
    }
}

fn read_env(raw: &RawValue, mistakes: &mut Mistakes) -> Vec<(String, String)> {
    let too_large = format!("at most {ENV_ENTRIES_MAX} variables with {ENV_BYTES_MAX} bytes together");
    if raw.get().len() > ENV_TEXT_BYTES_MAX {
        mistakes.add("/env".to_owned(), "too-large", too_large);
        return Vec::new();
    }
    let map = mistakes.map("/env", raw);
    if map.len() > ENV_ENTRIES_MAX {
        mistakes.add("/env".to_owned(), "too-large", too_large);
        return Vec::new();
    }
    let mut env = Vec::with_capacity(map.len());
    for (name, value) in map {
        match serde_json::from_str::<String>(value.get()) {
            _ if name.is_empty() || name.contains(['=', '\0']) => {
                mistakes.add(pointer("/env", &name), "malformed", "a name is not empty and has no = and no NUL");
            }
            Ok(value) if value.contains('\0') => {
                mistakes.add(pointer("/env", &name), "malformed", "a value has no NUL");
            }
            Ok(value) => env.push((name, value)),
            Err(_) => mistakes.add(pointer("/env", &name), "wrong-type", "a string is wanted"),
        }
    }
    if env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > ENV_BYTES_MAX {
        mistakes.add("/env".to_owned(), "too-large", too_large);
    }
    env
}

fn read_limits(raw: &RawValue, mistakes: &mut Mistakes) -> Limits {
    let mut limits = Limits::default();
    if raw.get().len() > LIMITS_TEXT_BYTES_MAX {
        let message = format!("at most {LIMITS_TEXT_BYTES_MAX} bytes");
        mistakes.add("/limits".to_owned(), "too-large", message);
        return limits;
    }
    for (name, value) in mistakes.map("/limits", raw) {
        let slot = match name.as_str() {
            "fuel" => &mut limits.fuel,
            "memory_bytes" => &mut limits.memory_bytes,
            "timeout_ms" => &mut limits.timeout_ms,
            _ => {
                mistakes.unknown("/limits", &name, "fuel, memory_bytes, timeout_ms");
                continue;
            }
        };
        let value: serde_json::Value = serde_json::from_str(value.get()).unwrap_or_default();
        match whole_number(&value) {
            _ if value.is_null() => {}
            Some(number) if number > 0 => *slot = Some(number),
            _ => mistakes.add(pointer("/limits", &name), "wrong-type", "a positive whole number is wanted"),
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> (Code, Vec<String>) {
        let refusal = InvokeRequest::parse(body.as_bytes()).unwrap_err();
        (refusal.code, refusal.errors.into_iter().map(|error| error.path).collect())
    }

    #[test]
    fn all_members_are_optional() {
        for body in ["", "{}", "{\"data\": null, \"env\": null, \"limits\": {\"fuel\": null}}"] {
            let request = InvokeRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(request.input.as_str(), "null");
            assert_eq!((request.data, request.env, request.limits), (None, Vec::new(), Limits::default()));
        }
    }

    #[test]
    fn the_input_is_passed_on_as_it_is_written() {
        let request = InvokeRequest::parse(br#"{"input": {"b":1.50,  "a":[1e2]}}"#).unwrap();
        assert_eq!(request.input.as_str(), r#"{"b":1.50,  "a":[1e2]}"#);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        assert_eq!(
            refused(
                r#"{"x": 1, "data": [], "env": {"A": 1, "B=": "b"}, "limits": {"fuel": -1, "memory": 5}, "input": 1e400}"#
            ),
            (
                Code::BadRequest,
                ["/x", "/input", "/data", "/env/A", "/env/B=", "/limits/fuel", "/limits/memory"]
                    .map(str::to_owned)
                    .to_vec()
            )
        );
    }

    #[test]
    fn only_unknown_members_have_their_own_code() {
        assert_eq!(refused(r#"{"x/y": 1, "z": 2}"#), (Code::UnknownField, vec!["/x~1y".to_owned(), "/z".to_owned()]));
    }

    #[test]
    fn a_variable_or_limit_that_is_there_twice_is_refused() {
        let body = r#"{"env": {"A": "1", "B": "2", "A": "3"}, "limits": {"fuel": 1, "fuel": 2}}"#;
        assert_eq!(refused(body), (Code::BadRequest, vec!["/env".to_owned(), "/limits".to_owned()]));
    }

    #[test]
    fn what_is_no_object_or_too_deep_is_refused() {
        for body in ["[]", "1", "nope", "{\"input\":", "{\"input\":1,\"input\":2}", "\u{feff}{}"] {
            assert_eq!(refused(body).0, Code::BadRequest, "{body}");
        }
        let deep = format!("{{\"input\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refused(&deep), (Code::BadRequest, vec!["/input".to_owned()]));
        let unknown = format!("{{\"x\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refused(&unknown).0, Code::UnknownField);
    }

    #[test]
    fn many_mistakes_are_counted_and_the_first_are_told() {
        let member = |index: usize| format!("\"{}{index}\":0", "é".repeat(1_000));
        let members = (0..1_000).map(member).collect::<Vec<_>>().join(",");
        let refusal = InvokeRequest::parse(format!("{{{members}}}").as_bytes()).unwrap_err();
        assert_eq!((refusal.code, refusal.errors.len()), (Code::UnknownField, MISTAKES_MAX));
        assert!(refusal.detail.ends_with("; and 980 more") && refusal.detail.len() < 20_000, "{}", refusal.detail);
        let env = (0..150).map(|index| format!("\"{index}\":0")).collect::<Vec<_>>().join(",");
        let refusal = InvokeRequest::parse(format!("{{\"x\":0,\"env\":{{{env}}}}}").as_bytes()).unwrap_err();
        assert_eq!((refusal.code, refusal.errors.len()), (Code::BadRequest, MISTAKES_MAX));
        assert!(refusal.detail.ends_with("; and 131 more"), "{}", refusal.detail);
        let text = format!("\"{}\"", "x".repeat(1_000_000));
        assert!(InvokeRequest::parse(text.as_bytes()).unwrap_err().detail.len() < 1_000);
    }

    #[test]
    fn members_that_are_too_long_are_refused_unread() {
        let long = |member: &str, bytes: usize| format!("{{\"{member}\": {{\"a\":\"{}\"}}}}", "x".repeat(bytes));
        for body in [long("limits", LIMITS_TEXT_BYTES_MAX), long("env", ENV_TEXT_BYTES_MAX), long("env", ENV_BYTES_MAX)]
        {
            let errors = InvokeRequest::parse(body.as_bytes()).unwrap_err().errors;
            assert_eq!(errors.iter().map(|error| error.code.as_str()).collect::<Vec<_>>(), ["too-large"]);
        }
        assert!(InvokeRequest::parse(long("env", ENV_BYTES_MAX - 1).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = InvokeRequest::parse(&body);
        }

        /// P3: what the caller gives is what the function gets.
        #[test]
        fn p3_any_json_value_reaches_the_input_unchanged(value in crate::model::any_json()) {
            let body = format!("{{\"input\":{value}}}");
            let request = InvokeRequest::parse(body.as_bytes()).unwrap();
            prop_assert_eq!(request.input.as_str(), value.to_string());
        }
    }
}
