//! Permissions and limits as a caller writes them.
//!
//! Owns their form: types, known members, paths of mistakes. Does not own what
//! they may say (`registry`): whether a glob is one, whether a limit is too high.

use serde_json::{Map, Value};

use crate::api::json_body::{self, MISTAKES_MAX, unknown_members};
use crate::error::FieldError;
use crate::model::{Limits, Permission, whole_number};
use crate::registry::PERMISSIONS_MAX;

/// Where permissions or limits are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// In a part of this name: paths are `part` and `/part/…`.
    Part(&'static str),
    /// They are the whole body: paths are empty and `/…`.
    Body,
}

impl Place {
    fn whole(self) -> &'static str {
        match self {
            Self::Part(name) => name,
            Self::Body => "",
        }
    }

    /// As the beginning of other paths.
    fn pointer(self) -> String {
        match self {
            Self::Part(name) => format!("/{name}"),
            Self::Body => String::new(),
        }
    }
}

/// Decodes a list of permissions; each mistake has its path.
pub(super) fn permissions(place: Place, text: &str) -> Result<Vec<Permission>, Vec<FieldError>> {
    let Value::Array(items) = parsed(place, text)? else {
        return Err(vec![wrong_type(place.whole(), "is a list")]);
    };
    let (mut errors, list) = (Vec::new(), place.pointer());
    let mut permissions = Vec::with_capacity(items.len().min(PERMISSIONS_MAX));
    for (index, item) in items.into_iter().enumerate() {
        match permission(&format!("{list}/{index}"), item) {
            Ok(permission) => permissions.push(permission),
            Err(found) => errors.extend(found),
        }
        if errors.len() >= MISTAKES_MAX {
            break;
        }
    }
    none_or(errors, permissions)
}

fn none_or<T>(mut errors: Vec<FieldError>, value: T) -> Result<T, Vec<FieldError>> {
    errors.truncate(MISTAKES_MAX);
    if errors.is_empty() { Ok(value) } else { Err(errors) }
}

fn permission(path: &str, item: Value) -> Result<Permission, Vec<FieldError>> {
    let Value::Object(mut members) = item else {
        return Err(vec![wrong_type(path, "is an object with `permission` and `resource`")]);
    };
    let mut errors = unknown_members(path, &members, &["permission", "resource"]);
    let kind = member(path, &mut members, "permission", |value| {
        let kinds = "is http:read, http:write, database:read, database:write or secret:use";
        serde_json::from_value(value).map_err(|_| kinds)
    });
    let resource = member(path, &mut members, "resource", |value| match value {
        Value::String(text) => Ok(text),
        _ => Err("is text"),
    });
    match (kind, resource) {
        (Ok(permission), Ok(resource)) if errors.is_empty() => Ok(Permission { permission, resource }),
        (kind, resource) => {
            errors.extend(kind.err());
            errors.extend(resource.err());
            Err(errors)
        }
    }
}

/// Decodes limits; each mistake has its path.
pub(super) fn limits(place: Place, text: &str) -> Result<Limits, Vec<FieldError>> {
    let Value::Object(members) = parsed(place, text)? else {
        return Err(vec![wrong_type(place.whole(), "is an object")]);
    };
    let parent = place.pointer();
    let mut errors = unknown_members(&parent, &members, &["fuel", "memory_bytes", "timeout_ms"]);
    let mut limit = |name: &str| match members.get(name) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = whole_number(value);
            if number.is_none() {
                errors.push(wrong_type(&format!("{parent}/{name}"), "is a whole number or null"));
            }
            number
        }
    };
    let limits = Limits { fuel: limit("fuel"), memory_bytes: limit("memory_bytes"), timeout_ms: limit("timeout_ms") };
    none_or(errors, limits)
}

fn parsed(place: Place, text: &str) -> Result<Value, Vec<FieldError>> {
    json_body::value(place.whole(), text.as_bytes()).map_err(|error| vec![error])
}

fn member<T>(
    path: &str,
    members: &mut Map<String, Value>,
    name: &str,
    decode: impl FnOnce(Value) -> Result<T, &'static str>,
) -> Result<T, FieldError> {
    let path = format!("{path}/{name}");
    match members.remove(name) {
        None => Err(FieldError::new(path, "required", "is missing")),
        Some(value) => decode(value).map_err(|message| wrong_type(&path, message)),
    }
}

fn wrong_type(path: &str, message: &str) -> FieldError {
    FieldError::new(path, "wrong-type", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PermissionKind;

    const PART: Place = Place::Part("permissions");
    const LIMITS: Place = Place::Part("limits");

    fn mistakes<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<(String, String)> {
        result.unwrap_err().into_iter().map(|error| (error.path, error.code)).collect()
    }

    fn pair(path: &str, code: &str) -> (String, String) {
        (path.to_owned(), code.to_owned())
    }

    #[test]
    fn well_formed_permissions_and_limits_are_decoded() {
        let decoded = permissions(PART, r#"[{"permission": "http:read", "resource": "https://a/*"}]"#).unwrap();
        let expected = Permission { permission: PermissionKind::HttpRead, resource: "https://a/*".to_owned() };
        assert_eq!(decoded, [expected]);
        assert_eq!(permissions(PART, "[]").unwrap(), []);
        let decoded = limits(LIMITS, r#"{"fuel": 5, "timeout_ms": null}"#).unwrap();
        assert_eq!(decoded, Limits { fuel: Some(5), memory_bytes: None, timeout_ms: None });
    }

    #[test]
    fn each_mistake_in_permissions_has_its_path() {
        let text = r#"[{"permission": "http:all", "resource": 1}, 7, {"resource": "a", "a/b": 1}]"#;
        let expected = [
            pair("/permissions/0/permission", "wrong-type"),
            pair("/permissions/0/resource", "wrong-type"),
            pair("/permissions/1", "wrong-type"),
            pair("/permissions/2/a~1b", "unknown-field"),
            pair("/permissions/2/permission", "required"),
        ];
        assert_eq!(mistakes(permissions(PART, text)), expected);
        assert_eq!(mistakes(permissions(PART, "{}")), [pair("permissions", "wrong-type")]);
        assert_eq!(mistakes(permissions(PART, "[")), [pair("permissions", "invalid-json")]);
    }

    #[test]
    fn each_mistake_in_limits_has_its_path() {
        let text = r#"{"fuel": -1, "memory_bytes": 1.5, "timeout_ms": "1", "output_bytes": 1}"#;
        let expected = [
            pair("/limits/output_bytes", "unknown-field"),
            pair("/limits/fuel", "wrong-type"),
            pair("/limits/memory_bytes", "wrong-type"),
            pair("/limits/timeout_ms", "wrong-type"),
        ];
        assert_eq!(mistakes(limits(LIMITS, text)), expected);
        assert_eq!(mistakes(limits(LIMITS, "[]")), [pair("limits", "wrong-type")]);
        let deep = "[".repeat(100_000);
        assert_eq!(mistakes(limits(LIMITS, &deep)), [pair("limits", "invalid-json")]);
    }

    #[test]
    fn mistakes_in_a_whole_body_have_paths_from_its_root() {
        let text = r#"[{"permission": "http:read", "resource": 1}, 7]"#;
        let expected = [pair("/0/resource", "wrong-type"), pair("/1", "wrong-type")];
        assert_eq!(mistakes(permissions(Place::Body, text)), expected);
        assert_eq!(mistakes(permissions(Place::Body, "{}")), [pair("", "wrong-type")]);
        assert_eq!(mistakes(limits(Place::Body, r#"{"fuel": "1"}"#)), [pair("/fuel", "wrong-type")]);
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused() {
        let text = r#"[{"permission": "http:read", "resource": "https://a/*", "resource": "**"}]"#;
        assert_eq!(mistakes(permissions(PART, text)), [pair("permissions", "duplicate")]);
        assert_eq!(mistakes(limits(Place::Body, r#"{"fuel": 1, "fuel": 2}"#)), [pair("", "duplicate")]);
    }

    #[test]
    fn a_long_list_of_mistakes_makes_a_short_answer() {
        let members = (0..1_000).map(|index| format!("\"{index}\":0")).collect::<Vec<_>>().join(",");
        for text in [format!("[{}1]", "1,".repeat(100_000)), format!("[{{{members}}}]")] {
            assert_eq!(mistakes(permissions(Place::Body, &text)).len(), MISTAKES_MAX);
        }
        assert_eq!(mistakes(limits(Place::Body, &format!("{{{members}}}"))).len(), MISTAKES_MAX);
    }
}
