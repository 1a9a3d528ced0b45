//! The checks of what surrounds a component's bytes, at an upload and later.
//!
//! Owns the bounds on permissions, limits and description. Does not look at the
//! bytes (`intake`). Invariant: every mistake is reported, not the first one.

use super::Upload;
use crate::config;
use crate::error::FieldError;
use crate::model::{Limits, Permission, PermissionKind, PermissionSet};

/// Permissions of one module. They are looked through at every host call.
pub const PERMISSIONS_MAX: usize = 200;
/// For people, on one screen.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 4096;

/// Every mistake in what came with the bytes.
pub(super) fn check(upload: &Upload, operator: &config::Limits) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if upload.description.chars().count() > DESCRIPTION_CHARACTERS_MAX {
        let message = format!("has at most {DESCRIPTION_CHARACTERS_MAX} characters");
        errors.push(FieldError::new("description", "too-long", message));
    }
    errors.extend(check_permissions("/permissions", &upload.permissions));
    errors.extend(check_limits("/limits", &upload.limits, operator));
    errors
}

/// Every mistake in a list of permissions, with paths below `path`.
pub(super) fn check_permissions(path: &str, permissions: &[Permission]) -> Vec<FieldError> {
    if permissions.len() > PERMISSIONS_MAX {
        let message = format!("a module has at most {PERMISSIONS_MAX} permissions");
        return vec![FieldError::new(path, "too-many", message)];
    }
    let mistake = |(index, permission): (usize, &Permission)| {
        let error = permission.check().err()?;
        Some(FieldError::new(format!("{path}/{index}/resource"), "bad-glob", error.to_string()))
    };
    let mistakes: Vec<_> = permissions.iter().enumerate().filter_map(mistake).collect();
    if !mistakes.is_empty() {
        return mistakes;
    }
    // Each one compiles; all of them together may be too much.
    let whole = PermissionSet::new(permissions).err();
    whole.map(|error| FieldError::new(path, "too-complex", error.to_string())).into_iter().collect()
}

/// Every mistake in limits, each with its path below `path`.
pub(super) fn check_limits(path: &str, limits: &Limits, operator: &config::Limits) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Limits { fuel, memory_bytes, timeout_ms } = *limits;
    let alone = [
        ("fuel", fuel, Limits { fuel, ..Limits::default() }),
        ("memory_bytes", memory_bytes, Limits { memory_bytes, ..Limits::default() }),
        ("timeout_ms", timeout_ms, Limits { timeout_ms, ..Limits::default() }),
    ];
    for (field, value, limits) in alone {
        let path = format!("{path}/{field}");
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
    errors
}

/// What the component imports and none of its permissions allows, and permissions that allow nothing.
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
    for permission in permissions.iter().filter(|permission| permission.covers_no_url()) {
        let Permission { permission: kind, resource } = permission;
        warnings.push(format!("{} {resource} covers nothing: a URL begins with https:// or http://", kind.as_str()));
    }
    warnings
}

#[cfg(test)]
mod tests;
