//! The checks of an upload's form: what surrounds the component's bytes.
//!
//! Owns the bounds on permissions, limits and description. Does not look at the
//! bytes (`intake`). Invariant: every mistake is reported, not the first one.

use super::Upload;
use crate::config;
use crate::error::FieldError;
use crate::model::{Limits, Permission, PermissionKind};

/// Permissions of one module. They are looked through at every host call.
const PERMISSIONS_MAX: usize = 200;
/// For people, on one screen.
const DESCRIPTION_CHARACTERS_MAX: usize = 4096;

/// Every mistake in what came with the bytes.
pub(super) fn check(upload: &Upload, operator: &config::Limits) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if upload.description.chars().count() > DESCRIPTION_CHARACTERS_MAX {
        let message = format!("has at most {DESCRIPTION_CHARACTERS_MAX} characters");
        errors.push(FieldError::new("description", "too-long", message));
    }
    check_permissions(&upload.permissions, &mut errors);
    check_limits(&upload.limits, operator, &mut errors);
    errors
}

fn check_permissions(permissions: &[Permission], errors: &mut Vec<FieldError>) {
    if permissions.len() > PERMISSIONS_MAX {
        let message = format!("a module has at most {PERMISSIONS_MAX} permissions");
        errors.push(FieldError::new("/permissions", "too-many", message));
        return;
    }
    for (index, permission) in permissions.iter().enumerate() {
        if let Err(error) = permission.check() {
            errors.push(FieldError::new(format!("/permissions/{index}/resource"), "bad-glob", error.to_string()));
        }
    }
}

/// Each limit on its own, so that all that are wrong are told.
fn check_limits(limits: &Limits, operator: &config::Limits, errors: &mut Vec<FieldError>) {
    let Limits { fuel, memory_bytes, timeout_ms } = *limits;
    let alone = [
        ("fuel", fuel, Limits { fuel, ..Limits::default() }),
        ("memory_bytes", memory_bytes, Limits { memory_bytes, ..Limits::default() }),
        ("timeout_ms", timeout_ms, Limits { timeout_ms, ..Limits::default() }),
    ];
    for (field, value, limits) in alone {
        let path = format!("/limits/{field}");
        if value == Some(0) {
            errors.push(FieldError::new(path, "out-of-range", format!("{field} is at least 1")));
        } else if let Err(error) = operator.effective().lowered_by(&limits) {
            let message = match error.ceiling {
                0 => format!("{field} can't be set: the operator turned its metering off"),
                _ => error.to_string(),
            };
            errors.push(FieldError::new(path, "above-ceiling", message));
        }
    }
}

/// What the component imports and none of its permissions allows.
pub(super) fn warnings(imports: &[String], permissions: &[Permission]) -> Vec<String> {
    const HTTP: &[PermissionKind] = &[PermissionKind::HttpRead, PermissionKind::HttpWrite];
    const DATABASE: &[PermissionKind] = &[PermissionKind::DatabaseRead, PermissionKind::DatabaseWrite];
    let needs = [
        ("sluice:step/http@", HTTP, "http:read or http:write"),
        ("wasi:http/outgoing-handler@", HTTP, "http:read or http:write"),
        ("sluice:step/db@", DATABASE, "database:read or database:write"),
    ];
    let mut warnings = Vec::new();
    for import in imports {
        for (prefix, kinds, wanted) in needs {
            if import.starts_with(prefix) && !permissions.iter().any(|one| kinds.contains(&one.permission)) {
                warnings
                    .push(format!("it imports {import} without a permission for {wanted}: every call of it is denied"));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
