//! A new key as a caller writes it: types, bounds, paths of mistakes.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api::json_body::unknown_members;
use crate::error::FieldError;
use crate::model::{NameGlobs, NewKey, Role};

/// Room for what people call their machines.
const NAME_CHARACTERS_MAX: usize = 100;

const MEMBERS: [&str; 5] = ["name", "role", "expires_at", "modules", "jobs"];

/// Decodes a key that is asked for at `now`.
pub(super) fn new_key(members: Map<String, Value>, now: Timestamp) -> Result<NewKey, Vec<FieldError>> {
    let mut errors = unknown_members("", &members, &MEMBERS);
    let mut read = Reader { members, errors: &mut errors };
    let name = read.required("name", name);
    let role = read.required("role", role);
    let expires_at = read.optional("expires_at", |value| end(value, now));
    let modules = read.globs("modules");
    let jobs = read.globs("jobs");
    if role == Some(Role::Admin) {
        // An admin can make any key, so that a restriction would be none.
        for (member, is_given) in [("modules", modules.is_some()), ("jobs", jobs.is_some())] {
            if is_given {
                let path = format!("/{member}");
                errors.push(FieldError::new(path, "invalid", "an admin reaches everything: leave it out, or null"));
            }
        }
    }
    match (name, role) {
        (Some(name), Some(role)) if errors.is_empty() => Ok(NewKey { name, role, expires_at, modules, jobs }),
        _ => Err(errors),
    }
}

struct Reader<'e> {
    members: Map<String, Value>,
    errors: &'e mut Vec<FieldError>,
}

impl Reader<'_> {
    fn required<T>(&mut self, member: &str, decode: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.members.contains_key(member) {
            self.errors.push(FieldError::new(format!("/{member}"), "required", "is missing"));
            return None;
        }
        let value = self.members.remove(member)?;
        decode(&value).map_err(|message| self.wrong(format!("/{member}"), message)).ok()
    }

    /// Null is not given.
    fn optional<T>(&mut self, member: &str, decode: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.members.remove(member).filter(|value| !value.is_null())?;
        decode(&value).map_err(|message| self.wrong(format!("/{member}"), message)).ok()
    }

    fn globs(&mut self, member: &str) -> Option<NameGlobs> {
        let patterns = self.optional(member, |value| {
            serde_json::from_value::<Vec<String>>(value.clone()).map_err(|_| "is a list of globs, or null".to_owned())
        })?;
        let bad = |bad: crate::model::BadGlob| {
            let index = bad.index.map_or_else(String::new, |index| format!("/{index}"));
            self.wrong(format!("/{member}{index}"), bad.message);
        };
        NameGlobs::new(patterns).map_err(bad).ok()
    }

    fn wrong(&mut self, path: String, message: String) {
        self.errors.push(FieldError::new(path, "invalid", message));
    }
}

fn name(value: &Value) -> Result<String, String> {
    let text = value.as_str().unwrap_or_default();
    let is_name = (1..=NAME_CHARACTERS_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && text.trim() == text;
    if is_name {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is text of 1 to {NAME_CHARACTERS_MAX} characters, without control characters, and without space at its ends"
    ))
}

fn role(value: &Value) -> Result<Role, String> {
    value.as_str().and_then(Role::parse).ok_or_else(|| "is viewer, invoker, editor or admin".to_owned())
}

fn end(value: &Value, now: Timestamp) -> Result<Timestamp, String> {
    let end = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    // As fine as it is stored.
    let end = end.and_then(|end| Timestamp::from_microsecond(end.as_microsecond()).ok());
    let end = end.ok_or("is a time such as 2026-01-31T12:00:00Z, or null")?;
    if end > now { Ok(end) } else { Err("is not in the future".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::json_body::MISTAKES_MAX;

    fn decoded(text: &str) -> Result<NewKey, Vec<(String, String)>> {
        let members = serde_json::from_str(text).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        new_key(members, now).map_err(|errors| errors.into_iter().map(|error| (error.path, error.code)).collect())
    }

    #[test]
    fn what_is_not_given_is_not_restricted() {
        let expected = NewKey::unrestricted("ci", Role::Invoker);
        assert_eq!(decoded(r#"{"name": "ci", "role": "invoker"}"#), Ok(expected.clone()));
        let nulls = r#"{"name": "ci", "role": "invoker", "expires_at": null, "modules": null, "jobs": null}"#;
        assert_eq!(decoded(nulls), Ok(expected));
    }

    #[test]
    fn every_member_is_read() {
        let key = decoded(
            r#"{"name": "ci", "role": "viewer", "expires_at": "2026-02-01T01:00:00.123456789+01:00",
                "modules": ["order-*"], "jobs": []}"#,
        )
        .unwrap();
        assert_eq!(key.expires_at, Some("2026-02-01T00:00:00.123456Z".parse().unwrap()));
        assert_eq!(key.modules.unwrap().patterns(), ["order-*"]);
        assert!(key.jobs.unwrap().patterns().is_empty());
    }

    #[test]
    fn all_mistakes_are_told_with_their_paths() {
        let text = r#"{"name": "", "role": "root", "expires_at": "2025-01-01T00:00:00Z", "modules": ["a", "[b"],
                       "jobs": "all", "a/b": 1}"#;
        let paths: Vec<_> = decoded(text).unwrap_err().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/a~1b", "/name", "/role", "/expires_at", "/modules/1", "/jobs"]);
        let missing = decoded("{}").unwrap_err();
        assert_eq!(missing, [("/name", "required"), ("/role", "required")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        for name in [" ci", "a\nb", &"x".repeat(101)] {
            let text = serde_json::json!({"name": name, "role": "viewer"}).to_string();
            assert_eq!(decoded(&text).unwrap_err()[0].0, "/name", "{name:?}");
        }
    }

    #[test]
    fn a_long_list_of_mistakes_makes_a_short_answer() {
        let members = (0..1_000).map(|index| format!("\"{index}\":0")).collect::<Vec<_>>().join(",");
        assert!(decoded(&format!("{{{members}}}")).unwrap_err().len() <= MISTAKES_MAX + MEMBERS.len());
    }

    #[test]
    fn an_admin_is_not_restricted() {
        let errors = decoded(r#"{"name": "a", "role": "admin", "modules": ["a"], "jobs": []}"#).unwrap_err();
        assert_eq!(errors.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["/modules", "/jobs"]);
        assert!(decoded(r#"{"name": "a", "role": "admin", "modules": null}"#).is_ok());
    }
}
